/* SPDX-License-Identifier: ISC */
/*
 * Several sessions of the gateway dialog and the connections that they share, without sockets. The
 * input is the order of events: who sends what, what arrives, who refuses, dies or leaves. Each
 * destination's reply names the command that it answers, so that what must be true can be seen:
 *
 * - A reply answers its own command, of its own client, and nothing else does.
 *
 * - A message goes to exactly those of whom the client was told 2xx, once; 250 is never invented.
 *
 * - What a transaction uses is what the client has asked for, on a connection that can do it.
 *
 * - A connection that is given back owes nothing, and none with a login ever is.
 *
 * - With all that was to come arrived, no command is left without an answer.
 *
 * - Of a body that is counted, the answer to a chunk is the client's only where it refuses.
 *
 * - Where a destination loses its place, that is, gives up a message after some octet of it and
 *   looks for the end from there as if a line began, no transaction begins in what it then takes
 * for commands.
 *
 * - Nothing that was said in clear counts after a handshake, what comes behind STARTTLS ends the
 *   session unsaid, and what needs TLS goes to no destination in clear.
 *
 * A destination that says more than it should (`odd`) only must not harm anybody but its client.
 */
#include <stdio.h>

#include "fuzz.h"
#include "local.h"
#include "world.h"
#include "../dialog/stands.h"
#include "dialog/dialog.h"

/* ---- what a client sees ---- */

static unsigned push(struct client *c, enum kind kind, uint32_t uses)
{
	struct asked *a = &all->asked[all->count];

	CHECK(all->count < COMMANDS && c->last < COMMANDS);
	*a = (struct asked){ .kind = (uint8_t)kind, .client = c->number };
	a->uses = uses;
	c->waiting[c->last++] = all->count;
	return all->count++;
}

static bool told_of(const struct asked *a, unsigned number, char what, unsigned of, unsigned code)
{
	switch (what) {
	case 'R':
		return a->kind == RCPT && of == number;
	case 'M':
		return (a->kind == RCPT && of == mail_of(a) && code / 100 != 2) ||
		       (a->kind == MAIL && of == number);
	case 'D':
		return a->kind == DATA && (of == mail_of(a) || of == 0);
	case 'E':
		return (a->kind == MESSAGE || a->kind == CHUNK) && of == mail_of(a);
	case 'B':
		return (a->kind == CHUNK || (a->kind == MESSAGE && code / 100 != 2)) &&
		       of == mail_of(a);
	case 'A':
		return a->kind == AUTH || a->kind == CONTINUATION;
	case 'G':
		return (a->kind == RCPT || a->kind == AUTH) && code / 100 != 2;
	case 'N':
		return a->kind == OTHER;
	default:
		return false;
	}
}

static void told(struct client *c, struct span line)
{
	unsigned code = (unsigned)atoi((const char *)line.p);
	unsigned of = line.n > 5 ? (unsigned)atoi((const char *)line.p + 5) : 0;
	char what = (char)line.p[4];
	bool tagged = line.n > 7 && line.p[5] >= '0' && line.p[5] <= '9' && what >= 'A';
	struct asked *a;

	if (c->first == c->last) {
		CHECK(c->d.end != END_RUNS); /* alone: the last words */
		CHECK(!tagged || what == 'X');
		return;
	}
	a = &all->asked[c->waiting[c->first]];
	if (c->odd)
		tagged = false;
	if (tagged && what != 'X')
		CHECK(told_of(a, c->waiting[c->first], what, of, code));
	a->answered = true;
	a->good = code / 100 == 2;
	CHECK(a->kind == DATA || code != 354);
	if (a->kind == RCPT || a->kind == CHUNK || a->kind == MESSAGE)
		CHECK(!a->good || tagged || c->odd);
	if (a->kind == MESSAGE && a->good && !c->odd)
		CHECK(what == 'E' && all->asked[mail_of(a)].delivered);
	c->first++;
	if (code == 354) {
		c->in_body = true;
		push(c, MESSAGE, 0);
	}
	if (code == 334)
		push(c, CONTINUATION, 0);
	else if (what == 'A' && code == 235 && tagged)
		CHECK(c->conn && c->conn->login);
}

static void read_replies(struct client *c)
{
	struct buf *b = &c->work.to_client;
	const uint8_t *end;

	CHECK(!c->injected || buf_len(b) == 0);
	put(&c->out, buf_span(b));
	buf_consume(b, buf_len(b));
	while ((end = memchr(c->out.p + c->out.taken, '\n', c->out.n - c->out.taken)) != NULL) {
		struct span line = span_of(c->out.p + c->out.taken,
					   (size_t)(end + 1 - (c->out.p + c->out.taken)));

		CHECK(line.n >= 6 && line.p[0] >= '2' && line.p[0] <= '5');
		c->out.taken += line.n;
		if (line.p[3] == ' ')
			told(c, line);
	}
	if (c->out.taken == c->out.n)
		c->out.taken = c->out.n = 0;
}

/* ---- the session's part ---- */

static void to_conn(struct client *c, struct span s)
{
	struct conn *to = c->conn;

	if (s.n == 0 || link_closes(&c->d.link))
		return;
	CHECK(to);
	put(&to->in, s);
}

static void collect(struct client *c)
{
	struct span s = buf_span(&c->work.to_destination);

	read_replies(c);
	/* One that cannot pipeline owes nothing when it gets a command. */
	if (s.n > 0 && c->conn && !(c->conn->ext & SMTP_EXT_PIPELINING) && !c->conn->closing &&
	    !c->conn->odd && !link_closes(&c->d.link))
		CHECK(c->conn->in.taken == c->conn->in.n && c->conn->out.taken == c->conn->out.n);
	to_conn(c, s);
	buf_consume(&c->work.to_destination, s.n);
	dialog_flushed(&c->d, c->d.destination.unsent);
	if (dialog_chunk_leaves(&c->d))
		dialog_message_given(&c->d);
}

/* The next chunk of a counted body waits for an answer. */
static bool answer_waits(const struct client *c)
{
	return dialog_counts(&c->d) && (c->chunk_end || dialog_chunk_unanswered(&c->d));
}

/* The destination has read the chunk. */
static void note_chunk(struct client *c)
{
	if (!c->chunk_end || c->conn->in.taken < c->chunk_end)
		return;
	c->chunk_end = 0;
	if (dialog_counts(&c->d))
		dialog_chunk_reached(&c->d);
}

static bool move_body(struct client *c)
{
	struct dialog_forward f;
	struct span in = rest(&c->in);

	if (in.n == 0 || answer_waits(c))
		return false;
	dialog_body(&c->d, (uint8_t *)(uintptr_t)in.p, in.n, NULL, false, &f);
	c->at_gate = f.gate;
	c->in.taken += f.consumed;
	CHECK(!f.command_len ||
	      (c->d.message.way == MESSAGE_COUNTED && c->conn && all->env.data_as_bdat));
	to_conn(c, span_of(f.command, f.command_len));
	if (f.cr_first)
		to_conn(c, SPAN("\r"));
	to_conn(c, f.octets);
	if (!dialog_in_body(&c->d))
		dialog_message_given(&c->d);
	else if (f.command_len)
		c->chunk_end = c->conn->in.n;
	return f.consumed > 0;
}

static bool move_chunk(struct client *c)
{
	struct span in = rest(&c->in);
	size_t n = c->d.message.left < in.n ? (size_t)c->d.message.left : in.n;
	bool sent = !message_is_discarded(&c->d.message);

	if (n == 0) {
		if (c->d.client_closed)
			dialog_client_lost(&c->d);
		return false;
	}
	sent = sent && dialog_chunk_look(&c->d, span_of(in.p, n));
	if (sent)
		to_conn(c, span_of(in.p, n));
	c->in.taken += n;
	dialog_chunk(&c->d, n, sent ? n : 0);
	return true;
}

static void close_conn(struct client *c)
{
	c->conn->dead = true;
	c->conn = NULL;
	c->chunk_end = 0;
}

static void part(struct client *c)
{
	enum link_parting how = (enum link_parting)c->d.link.parting;
	struct conn *conn = c->conn;

	/* One that has lost its place is nobody else's, however it went on. */
	CHECK(!conn->lost || conn->lied || how == LINK_CLOSES);
	if (how != LINK_CLOSES && dialog_gateway_clean(&c->d) && !conn->dead && !conn->closing &&
	    !conn->odd) {
		CHECK(conn->mode == LINE && !conn->login);
		CHECK(conn->in.taken == conn->in.n && conn->out.taken == conn->out.n);
		CHECK(how == LINK_GIVES_BEGUN || !conn->mail);
		CHECK(c->d.destination.ext == conn->ext);
		CHECK(c->d.destination.size_max == (conn->ext & SMTP_EXT_SIZE ? 500 : MESSAGE_MAX));
		CHECK(smtp_mechanisms_empty(&c->d.destination.mechanisms) ==
		      !(conn->ext & SMTP_EXT_AUTH));
		conn->mail = conn->rcpts = 0;
		conn->idle = true;
		c->conn = NULL;
	} else {
		close_conn(c);
	}
	dialog_gateway_parted(&c->d);
}

static struct conn *an_idle_one(void)
{
	unsigned skip = choose(4);

	for (unsigned i = 0; i < all->conns; i++) {
		struct conn *conn = &all->conn[i];

		if (!conn->idle || (conn->dead && choose(2)) || skip--)
			continue;
		if (conn->out.n > conn->out.taken) { /* it has said something */
			conn->idle = false;
			conn->dead = true;
			continue;
		}
		return conn;
	}
	return NULL;
}

static bool reach(struct client *c)
{
	static const struct smtp_mechanisms none;
	struct addr addr = { .family = 4 };
	struct conn *conn = c->d.link.kind == LINK_FRESH ? NULL : an_idle_one();

	CHECK(!c->conn);
	if (!conn && (all->conns == CONNS || choose(32) == 31)) {
		dialog_close(&c->d, "421 4.3.2 No destination\r\n", END_LOST_DESTINATION,
			     REASON_NO_CONNECTION);
		return true;
	}
	link_enter(&c->d, LINK_REACHING);
	if (conn) {
		conn->idle = false;
		conn->owner = c->number;
		c->conn = conn;
		dialog_gateway_taken(
			&c->d, &addr,
			&(struct smtp_owed){
				.ext = conn->ext,
				.size_max = conn->ext & SMTP_EXT_SIZE ? 500 : MESSAGE_MAX,
				.mechanisms = conn->ext & SMTP_EXT_AUTH ? all->offer.login : none,
			},
			0);
		return true;
	}
	conn = &all->conn[all->conns++];
	conn->owner = c->number;
	conn->ext = EXTENSIONS;
	for (unsigned n = choose(3); n > 0; n--)
		conn->ext &= ~(1u << choose(9));
	conn->refuses_ehlo = choose(16) == 15;
	c->conn = conn;
	dialog_gateway_connected(&c->d, &addr);
	reply(conn, choose(16) == 15 ? 554 : 220, 'G', 1);
	return true;
}

/* The owner's look at the dialog; true where anything has changed. */
static bool tend(struct client *c)
{
	const struct link *l = &c->d.link;
	bool on = c->d.gateway.on;

	if (c->d.end != END_RUNS) {
		if (c->conn)
			close_conn(c);
		return false;
	}
	if (c->conn && l->state == LINK_PARTING) {
		part(c);
		return true;
	}
	CHECK(c->conn || on || message_is_discarded(&c->d.message));
	CHECK(c->conn || l->state < LINK_REACHING);
	return !c->conn && on && l->state == LINK_WANTED && reach(c);
}

/* Takes N octets of what its destination has said. */
static bool hear(struct client *c, size_t n)
{
	struct conn *conn = c->conn;
	struct span said;

	if (!conn || !link_talks(&c->d.link) || c->d.end != END_RUNS)
		return false;
	note_chunk(c);
	if (conn->in.taken == conn->in.n)
		dialog_message_reached(&c->d);
	said = rest(&conn->out);
	said.n = fuzz_min(said.n, n);
	n = dialog_from_destination(&c->d, said);
	conn->out.taken += n;
	return n > 0;
}

/* STARTTLS was said: see session/secure.c. True where anything has changed. */
static bool secure(struct client *c)
{
	const struct dialog_secure how = { .version = "TLSv1.3", .cipher = "c" };

	if (!dialog_tls_is_asked(&c->d))
		return false;
	CHECK(all->env.starttls && !c->secure);
	if (c->in.n > c->in.taken) {
		c->injected = true;
		dialog_tls_injected(&c->d);
		return true;
	}
	if (choose(8) == 7) {
		dialog_tls_later(&c->d);
		return true;
	}
	dialog_tls_begins(&c->d);
	collect(c);
	CHECK(c->first == c->last && all->asked[c->starttls].good);
	if (choose(8) == 7) {
		dialog_client_lost(&c->d);
		return true;
	}
	dialog_tls_done(&c->d, &how);
	CHECK(!c->d.who.logged_in && *dialog_helo(&c->d) == '\0');
	c->secure = all->count;
	if (all->count + 20 < COMMANDS && choose(8)) {
		put_text(&c->in, "EHLO c\r\n");
		push(c, OTHER, 0);
	}
	return true;
}

static void turn(struct client *c, size_t heard)
{
	bool moved;

	if (c->d.end != END_RUNS)
		return;
	do {
		size_t n = 0;

		moved = false;
		if (dialog_in_chunk(&c->d))
			moved = move_chunk(c);
		else if (dialog_in_body(&c->d))
			moved = move_body(c);
		else
			n = dialog_from_client(&c->d, rest(&c->in));
		c->in.taken += n;
		collect(c);
		moved |= n > 0;
		moved |= hear(c, heard);
		collect(c);
		moved |= tend(c);
		collect(c);
		moved |= secure(c);
		collect(c);
		CHECK(stands(&c->d));
	} while (moved && c->d.end == END_RUNS);
	tend(c);
	collect(c);
}

/* ---- events ---- */

/* Where dialogs keep what only some have. */
static struct pool *more(void)
{
	static struct pool pool;

	if (!pool.mem)
		CHECK(pool_init(&pool, sizeof(struct dialog_more), CLIENTS) == 0);
	return &pool;
}

/* Another client comes. */
static void begin(struct client *c)
{
	struct xmllog_session id = { 1, 1 };
	struct addr addr = { .family = 4 };

	if (c->conn)
		close_conn(c);
	dialog_release(&c->d);
	memset(c, 0, sizeof(*c));
	c->number = all->clients++;
	dialog_work_init(&c->work);
	dialog_init(&c->d, &all->env, &addr, false, &id);
	c->d.work = &c->work;
	dialog_gateway_greet(&c->d);
	buf_clear(&c->work.to_client);
	put_text(&c->in, "EHLO c\r\n");
	push(c, OTHER, 0);
	turn(c, 0);
}

static void client_says(struct client *c)
{
	static const char *const others[] = { "RSET\r\n",      "NOOP\r\n",    "EHLO c\r\n",
					      "HELO c\r\n",    "BOGUS\r\n",   "MAIL FROM:<a\r\n",
					      "RCPT TO:x\r\n", "STARTTLS\r\n" };
	static const char *const texts[] = { "text\r\n", "MAIL FROM:<>\r\n",
					     "RCPT TO:<v@far.example>\r\n",
					     "x.\r\nMAIL FROM:<>\r\nRCPT TO:<v@far.example>\r\n",
					     ".\r\n" };
	static const struct {
		const char *text;
		uint32_t uses;
	} mails[] = { { "", 0 },
		      { " BODY=8BITMIME", SMTP_EXT_8BITMIME },
		      { " RET=FULL", SMTP_EXT_DSN },
		      { " SIZE=400", SMTP_EXT_SIZE } };
	struct asked *youngest = c->first < c->last ? &all->asked[c->waiting[c->last - 1]] : NULL;
	char text[128];
	enum smtp_order_state state = c->d.server.state;
	unsigned what = choose(16), which;

	if (what < 12 && choose(4)) /* mostly what makes sense */
		what = state < SMTP_ORDER_MAIL ? 0 : what < 3 ? 3 : what;
	if (what >= 10 && what < 12 && state < SMTP_ORDER_MAIL && choose(64))
		return;
	if (c->gone || c->d.end != END_RUNS || all->count + 20 > COMMANDS)
		return;
	if (c->in_body) {
		put_text(&c->in, texts[what < 8 ? choose(4) : 4]);
		c->in_body = what < 8;
		return;
	}
	if (youngest && youngest->kind == CONTINUATION) {
		put_text(&c->in, what < 12 ? "AGEAYg==\r\n" : "*\r\n");
		youngest->kind = AUTH;
		return;
	}
	/* What comes too early is another target's business, but for now and then. */
	if (youngest &&
	    (youngest->kind == DATA || youngest->kind == AUTH || youngest->kind == MESSAGE) &&
	    choose(255))
		return;
	if (youngest && c->waiting[c->last - 1] == c->starttls && choose(32))
		return;
	switch (what) {
	case 0:
	case 1:
	case 2:
		which = choose(4);
		snprintf(text, sizeof(text), "MAIL FROM:<s%u@c.test>%s\r\n", all->count,
			 c->d.server.offered ? mails[which].text : "");
		push(c, MAIL, c->d.server.offered ? mails[which].uses : 0);
		break;
	case 3:
	case 4:
	case 5:
	case 6:
		which = c->d.server.offered && choose(8) == 7;
		snprintf(text, sizeof(text), "RCPT TO:<r%u@%s>%s\r\n", all->count,
			 choose(4) == 3 ? "far.example" : "example.net",
			 which ? " NOTIFY=NEVER" : "");
		push(c, RCPT, which ? (uint32_t)SMTP_EXT_DSN : 0);
		break;
	case 7:
	case 8:
	case 9:
		snprintf(text, sizeof(text), "DATA\r\n");
		push(c, DATA, 0);
		break;
	case 10:
	case 11:
		if (!c->d.server.offered)
			return;
		which = choose(4);
		snprintf(text, sizeof(text), "BDAT %u%s\r\n%.*s", which, choose(2) ? " LAST" : "",
			 (int)which, "12345");
		push(c, CHUNK, 0);
		break;
	case 12:
		snprintf(text, sizeof(text),
			 choose(2) ? "AUTH PLAIN\r\n" : "AUTH PLAIN AGEAYg==\r\n");
		push(c, AUTH, 0);
		break;
	default:
		which = choose(9);
		snprintf(text, sizeof(text), "%s", others[fuzz_min(which, 7)]);
		if (which >= 7)
			c->starttls = all->count;
		push(c, OTHER, 0);
	}
	put_text(&c->in, text);
}

/* The connection's end: everything that it has said has come. */
static bool lose(struct client *c)
{
	struct dialog *d = &c->d;

	if (!c->conn || !(c->conn->dead || c->conn->closing) || d->end != END_RUNS ||
	    !link_talks(&d->link))
		return false;
	if (c->conn->out.taken < c->conn->out.n && !c->conn->dead)
		return false;
	dialog_destination_lost(d, false);
	return true;
}

/* Its destination has read all that it was sent, and what it has to say about it is here. */
static bool opens_gate(struct client *c)
{
	if (!c->at_gate)
		return false;
	while (c->conn && conn_step(c->conn))
		;
	turn(c, OCTETS);
	if (!c->at_gate || c->d.end != END_RUNS || !dialog_in_body(&c->d))
		return c->at_gate = false;
	c->at_gate = false;
	dialog_gate_open(&c->d);
	return true;
}

static void event(void)
{
	struct client *c = &all->client[choose(CLIENTS)];
	struct conn *conn = c->conn;

	if (c->d.end != END_RUNS && all->count + 20 < COMMANDS) {
		begin(c);
		return;
	}

	switch (choose(32)) {
	case 0 ... 15:
		client_says(c);
		break;
	case 16 ... 18:
		if (conn)
			conn_step(conn);
		break;
	case 19:
		opens_gate(c);
		break;
	case 20 ... 23:
		turn(c, 1u + choose(40));
		return;
	case 24:
		if (conn && choose(12) == 11) {
			conn->dead = true;
			lose(c);
		}
		break;
	case 25: /* one that nobody has now */
		for (unsigned i = 0; i < all->conns; i++)
			if (all->conn[i].idle && choose(2)) {
				all->conn[i].dead = true;
				if (choose(2))
					put_text(&all->conn[i].out, "421 X1\r\n");
			}
		break;
	case 26:
		if (conn && !conn->closing && !conn->dead && choose(12) == 11) {
			put_text(&conn->out, "421 X1\r\n");
			conn->closing = true;
		}
		break;
	case 27:
		if (choose(16) == 15 && !c->gone) {
			c->gone = true;
			if (choose(2))
				dialog_client_closed(&c->d);
			else
				dialog_client_lost(&c->d);
		}
		break;
	case 28:
		if (choose(16) == 15 && c->d.end == END_RUNS)
			dialog_client_timeout(&c->d);
		break;
	case 29:
		if (conn && choose(16) == 15 && smtp_owed_owes(&c->d.destination) &&
		    c->d.end == END_RUNS && link_talks(&c->d.link))
			dialog_destination_lost(&c->d, true);
		else if (conn && choose(16) == 15 && !conn->closing) {
			conn->odd = conn->lied = c->odd = true;
			put_text(&conn->out, choose(2) ? "250 what\r\n" : "550 Z");
		}
		break;
	default:
		if (conn)
			while (conn_step(conn))
				;
		turn(c, OCTETS);
		return;
	}
	if (choose(2))
		turn(c, 0);
}

/* Everything that was to come arrives. */
static void settle(void)
{
	bool moved;

	do {
		moved = false;
		for (unsigned i = 0; i < CLIENTS; i++) {
			struct client *c = &all->client[i];

			turn(c, OCTETS);
			while (c->conn && c->d.end == END_RUNS && conn_step(c->conn))
				moved = true;
			turn(c, OCTETS);
			if (opens_gate(c)) {
				moved = true;
				turn(c, OCTETS);
			}
			if (lose(c)) {
				moved = true;
				turn(c, OCTETS);
			}
		}
	} while (moved);
}

static void check_end(const struct client *c)
{
	if (c->d.end != END_RUNS || c->odd)
		return;
	CHECK(!c->gone || c->d.server.state == SMTP_ORDER_EOD || c->first < c->last);
	/* What is not answered now waits for the client itself. */
	for (unsigned i = c->first; i < c->last; i++) {
		unsigned kind = all->asked[c->waiting[i]].kind;

		CHECK(kind == MESSAGE || kind == CONTINUATION || kind == CHUNK);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 3000)
		return 0;
	all = calloc(1, sizeof(*all));
	CHECK(all);
	all->choices = span_of(data, size);
	all->count = 1; /* 0 is no command */
	all->policy = (struct policy){ .guard = true, .recipients = local_recipients() };
	all->offer =
		(struct smtp_offer){ .ext = EXTENSIONS, .size_max = 500, .mechanisms = "PLAIN" };
	smtp_mechanisms_add(&all->offer.login, SPAN("PLAIN"));
	all->env = (struct dialog_env){ .policy = &all->policy,
					.log = &all->log,
					.offer = &all->offer,
					.name = "p",
					.message_max = MESSAGE_MAX,
					.more = more() };
	all->env.data_as_bdat = choose(2);
	all->env.starttls = choose(2);
	all->env.tls_required = choose(4) == 3;
	all->env.tls_for_login = all->env.starttls && choose(2);
	xmllog_open(&all->log, NULL, -1, 0);
	for (unsigned i = 0; i < CLIENTS; i++)
		begin(&all->client[i]);
	for (unsigned i = 0; i < EVENTS || all->choices.n > 0; i++)
		event();
	settle();
	for (unsigned i = 0; i < CLIENTS; i++)
		check_end(&all->client[i]);
	for (unsigned i = 0; i < CLIENTS; i++)
		dialog_release(&all->client[i].d);
	CHECK(more()->in_use == 0);
	free(all);
	return 0;
}
