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
 * A destination that says more than it should (`odd`) only must not harm anybody but its client.
 */
#include <stdio.h>

#include "fuzz.h"
#include "local.h"
#include "../dialog/stands.h"
#include "dialog/dialog.h"

enum { CLIENTS = 3, CONNS = 64, COMMANDS = 500, RCPTS = 64, OCTETS = 1 << 15, EVENTS = 400 };

#define MESSAGE_MAX 450 /* of a destination that says no SIZE */
#define CHUNKS_OPEN 3	/* of a counted body, before the first of them is answered */

enum kind { OTHER, MAIL, RCPT, DATA, MESSAGE, CHUNK, AUTH, CONTINUATION };

struct octets {
	uint8_t p[OCTETS];
	size_t n, taken;
};

/* A command of a client, by its number; what it has come to. */
struct asked {
	uint8_t kind;
	bool answered, good;
	bool delivered; /* MAIL: its message was taken by a destination */
	unsigned client;
	uint32_t uses;
};

enum mode { LINE, BODY, SWALLOWING, CHUNKED, CREDENTIALS };

struct conn {
	enum mode mode;
	bool idle, dead, closing, login, refuses_ehlo, greeted, last;
	bool refused;	     /* a chunk of the message, so the others too */
	bool odd;	     /* it has said more than it should */
	bool lied;	     /* … out of the blue, perhaps 250 for a message */
	bool lost, smuggled; /* it has given up a message; and then heard MAIL */
	unsigned gives_up;   /* after so many octets of the next message; 0: never */
	uint32_t ext;
	unsigned owner, mail;
	unsigned rcpt[RCPTS], rcpts;
	uint64_t left;
	struct octets in, out; /* what it was sent; its replies */
};

struct client {
	struct dialog d;
	struct dialog_work work;
	struct conn *conn;
	struct octets in, out;	    /* what it has sent; the replies to it */
	unsigned waiting[COMMANDS]; /* numbers of what is not answered, oldest first */
	unsigned first, last, number;
	bool in_body, gone, at_gate;
	bool odd; /* so was a destination of it */
	/* Of a counted body, the chunks that have not reached the destination: where they end there
	 */
	size_t chunk_end[CHUNKS_OPEN];
	unsigned chunks;
};

static struct {
	struct span choices;
	uint32_t seed;
	struct dialog_env env;
	struct policy policy;
	struct xmllog log;
	struct smtp_offer offer;
	struct asked asked[COMMANDS];
	unsigned count, conns, clients;
	struct client client[CLIENTS];
	struct conn conn[CONNS];
} * all;

static const uint32_t extensions = SMTP_EXT_PIPELINING | SMTP_EXT_8BITMIME | SMTP_EXT_DSN |
				   SMTP_EXT_CHUNKING | SMTP_EXT_AUTH | SMTP_EXT_SIZE;

static struct client *owner(const struct conn *c)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		if (all->client[i].conn == c)
			return &all->client[i];
	return NULL;
}

/* The input's choices, and behind its end as many more as EVENTS needs, which it stands for. */
static unsigned choose(unsigned n)
{
	uint8_t c;

	if (all->choices.n == 0) {
		all->seed = all->seed * 1664525 + 1013904223;
		return (all->seed >> 16) % n;
	}
	c = fuzz_choice(&all->choices);
	all->seed = all->seed * 31 + c;
	return c % n;
}

static void put(struct octets *o, struct span s)
{
	CHECK(o->n + s.n <= OCTETS);
	if (s.n)
		memcpy(o->p + o->n, s.p, s.n);
	o->n += s.n;
}

static void put_text(struct octets *o, const char *text)
{
	put(o, span_str(text));
}

static struct span rest(const struct octets *o)
{
	return span_of(o->p + o->taken, o->n - o->taken);
}

/* The MAIL of the transaction that a command belongs to; 0: none. */
static unsigned mail_of(const struct asked *a)
{
	for (unsigned i = (unsigned)(a - all->asked); i > 0; i--) {
		const struct asked *mail = &all->asked[i];

		if (mail->kind == MAIL && mail->client == a->client &&
		    (mail->good || !mail->answered))
			return i;
	}
	return 0;
}

/* ---- the destination ---- */

static void reply(struct conn *c, unsigned code, char what, unsigned number)
{
	char text[64];

	if (choose(8) == 7)
		snprintf(text, sizeof(text), "%u-first\r\n%u %c%u\r\n", code, code, what, number);
	else
		snprintf(text, sizeof(text), "%u %c%u\r\n", code, what, number);
	put_text(&c->out, text);
}

static bool refuses(void)
{
	return choose(6) == 5;
}

static void hello(struct conn *c, bool extended)
{
	if (extended && c->refuses_ehlo) {
		put_text(&c->out, "502 what\r\n");
		return;
	}
	c->greeted = true;
	if (!extended)
		c->ext = 0;
	put_text(&c->out, "250-d\r\n");
	if (c->ext & SMTP_EXT_PIPELINING)
		put_text(&c->out, "250-PIPELINING\r\n");
	if (c->ext & SMTP_EXT_8BITMIME)
		put_text(&c->out, "250-8BITMIME\r\n");
	if (c->ext & SMTP_EXT_DSN)
		put_text(&c->out, "250-DSN\r\n");
	if (c->ext & SMTP_EXT_CHUNKING)
		put_text(&c->out, "250-CHUNKING\r\n");
	if (c->ext & SMTP_EXT_AUTH)
		put_text(&c->out, "250-AUTH PLAIN\r\n");
	if (c->ext & SMTP_EXT_SIZE)
		put_text(&c->out, "250-SIZE 500\r\n");
	put_text(&c->out, "250 X-MORE\r\n");
}

static struct asked *asked_of(const struct conn *c, struct span local, char letter,
			      unsigned *number)
{
	char text[16] = "";

	CHECK(local.n > 1 && local.n < sizeof(text) && local.p[0] == letter);
	memcpy(text, local.p + 1, local.n - 1);
	*number = (unsigned)atoi(text);
	CHECK(*number < all->count && all->asked[*number].client == c->owner);
	return &all->asked[*number];
}

static void on_mail(struct conn *c, const struct smtp_command *cmd)
{
	unsigned number;
	struct asked *a = asked_of(c, cmd->path.local, 's', &number);

	CHECK(a->kind == MAIL && a->uses == cmd->ext && (c->odd || (cmd->ext & ~c->ext) == 0));
	if (c->mail) {
		CHECK(c->login || c->odd);
		reply(c, 503, 'M', number);
		return;
	}
	if (refuses()) {
		reply(c, choose(2) ? 550 : 450, 'M', number);
		return;
	}
	c->mail = number;
	c->rcpts = 0;
	c->refused = false;
	reply(c, 250, 'M', number);
}

static void on_rcpt(struct conn *c, const struct smtp_command *cmd)
{
	unsigned number;
	struct asked *a = asked_of(c, cmd->path.local, 'r', &number);

	CHECK(a->kind == RCPT && a->uses == cmd->ext && (c->odd || (cmd->ext & ~c->ext) == 0));
	CHECK(c->login || span_eq(cmd->path.domain, SPAN("example.net")));
	CHECK(!c->mail || mail_of(a) == c->mail || c->login || c->odd);
	/* There are some that take recipients without a sender. */
	if (!c->mail && choose(2)) {
		reply(c, 250, 'R', number);
		return;
	}
	if (!c->mail || refuses() || c->rcpts == RCPTS) {
		reply(c, choose(2) ? 550 : 450, 'R', number);
		return;
	}
	c->rcpt[c->rcpts++] = number;
	reply(c, 250, 'R', number);
}

/* The destination says that it has the message: it is for those whom the client believes in. */
static void message_over(struct conn *c)
{
	struct asked *mail = &all->asked[c->mail];
	unsigned good = 0;

	CHECK(c->odd || (c->mail && c->rcpts > 0));
	for (unsigned i = 0; i < all->count; i++)
		if (all->asked[i].kind == RCPT && mail_of(&all->asked[i]) == c->mail)
			good += all->asked[i].good;
	CHECK(c->odd || (good == c->rcpts && !mail->delivered));
	mail->delivered = !c->refused && !refuses();
	reply(c, mail->delivered ? 250 : 452, 'E', c->mail);
	c->mail = 0;
}

static void on_line(struct conn *c, struct span line)
{
	struct smtp_command cmd;

	if (c->mode == CREDENTIALS) {
		c->mode = LINE;
		c->login = span_eq(line, SPAN("AGEAYg==")) && !refuses();
		reply(c, c->login ? 235 : 535, 'A', 0);
		return;
	}
	CHECK(!smtp_command_parse(&cmd, line, 0x7ff));
	CHECK(c->greeted || c->odd || cmd.verb == SMTP_VERB_EHLO || cmd.verb == SMTP_VERB_HELO);
	switch (cmd.verb) {
	case SMTP_VERB_EHLO:
	case SMTP_VERB_HELO:
		CHECK(!c->mail || c->login || c->odd);
		c->mail = 0;
		hello(c, cmd.verb == SMTP_VERB_EHLO);
		break;
	case SMTP_VERB_MAIL:
		on_mail(c, &cmd);
		break;
	case SMTP_VERB_RCPT:
		on_rcpt(c, &cmd);
		break;
	case SMTP_VERB_DATA:
		/* One that cares for nothing says 354 to whoever asks. */
		if (c->rcpts && c->mail ? refuses() : choose(2)) {
			reply(c, c->rcpts ? 451 : 554, 'D', c->mail);
			if (c->login) /* whose client may go on with MAIL */
				c->mail = 0;
			break;
		}
		reply(c, 354, 'D', c->mail);
		c->mode = BODY;
		c->gives_up = choose(8) == 7 ? 1 + choose(20) : 0;
		break;
	case SMTP_VERB_BDAT:
		CHECK(c->odd || ((c->ext & SMTP_EXT_CHUNKING) && c->mail && c->rcpts));
		c->mode = CHUNKED;
		c->left = cmd.chunk_size;
		c->last = cmd.chunk_last;
		break;
	case SMTP_VERB_AUTH:
		CHECK(c->odd || ((c->ext & SMTP_EXT_AUTH) && !c->mail && !c->login));
		c->mode = cmd.rest.p ? LINE : CREDENTIALS;
		c->login = cmd.rest.p && !refuses();
		reply(c, c->mode == CREDENTIALS ? 334 : c->login ? 235 : 535, 'A', 0);
		break;
	default:
		CHECK(c->login || c->odd); /* or it would be Caronte's to answer */
		if (cmd.verb == SMTP_VERB_RSET)
			c->mail = 0;
		reply(c, cmd.verb == SMTP_VERB_QUIT ? 221 : 250, 'N', 0);
	}
}

/* Octets up to the end of a message of which IN begins at the start of a line; 0: none. */
static size_t end_of(struct span in)
{
	const uint8_t *end = in.n ? memmem(in.p, in.n, "\r\n.\r\n", 5) : NULL;

	if (in.n >= 3 && memcmp(in.p, ".\r\n", 3) == 0)
		return 3;
	return end ? (size_t)(end - in.p) + 5 : 0;
}

/* What it says in the middle of a message is no answer to anybody's command. */
static bool step_swallowing(struct conn *c, struct span in)
{
	size_t n = end_of(in);

	if (n == 0)
		return false;
	c->in.taken += n;
	c->mode = LINE;
	c->mail = c->rcpts = 0;
	put_text(&c->out, "452 full\r\n");
	return true;
}

/* A line of a message that it has given up, or, where it has found the end, of what comes next. */
static void on_lost_line(struct conn *c, struct span line)
{
	struct smtp_command cmd;
	bool good = !smtp_command_parse(&cmd, line, 0x7ff);

	c->smuggled |= good && cmd.verb == SMTP_VERB_MAIL;
	/* Nobody has judged this recipient. */
	CHECK(!c->smuggled || !good || cmd.verb != SMTP_VERB_RCPT || c->login ||
	      span_eq(cmd.path.domain, SPAN("example.net")));
	put_text(&c->out, "500 what\r\n");
}

static bool step_body(struct conn *c, struct span in)
{
	size_t n = end_of(in);

	if (c->gives_up && in.n >= c->gives_up && (n == 0 || n > c->gives_up)) {
		c->in.taken += c->gives_up;
		c->mode = SWALLOWING;
		c->lost = c->odd = true;
		if (owner(c))
			owner(c)->odd = true;
		return true;
	}
	if (n == 0)
		return false;
	c->in.taken += n;
	CHECK(c->odd || (c->mail && c->rcpts > 0)); /* no dot without a recipient */
	c->mode = LINE;
	message_over(c);
	return true;
}

static bool step_chunk(struct conn *c, struct span in)
{
	size_t n = c->left < in.n ? (size_t)c->left : in.n;

	c->left -= n;
	c->in.taken += n;
	if (c->left > 0)
		return n > 0;
	c->mode = LINE;
	if (c->last) {
		message_over(c);
		return true;
	}
	c->refused |= refuses();
	reply(c, c->refused ? 452 : 250, 'B', c->mail);
	return true;
}

/* It deals with one thing that it was sent; false: it needs more. */
static bool conn_step(struct conn *c)
{
	struct span in = rest(&c->in);
	const uint8_t *end;

	if (c->dead || c->closing)
		return false;
	if (c->mode == BODY)
		return step_body(c, in);
	if (c->mode == SWALLOWING)
		return step_swallowing(c, in);
	if (c->mode == CHUNKED)
		return step_chunk(c, in);
	end = in.n ? memchr(in.p, '\n', in.n) : NULL;
	if (!end)
		return false;
	CHECK(c->lost || (end > in.p && end[-1] == '\r'));
	c->in.taken += (size_t)(end - in.p) + 1;
	if (c->lost)
		on_lost_line(c, span_of(in.p, (size_t)(end - in.p) - (end > in.p)));
	else
		on_line(c, span_of(in.p, (size_t)(end - in.p) - 1));
	return true;
}

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

/* The next chunk of a counted body waits for answers. */
static bool answers_wait(const struct client *c)
{
	unsigned most = c->d.destination.ext & SMTP_EXT_PIPELINING ? CHUNKS_OPEN : 1;

	return dialog_counts(&c->d) && c->chunks + dialog_chunks_unanswered(&c->d) >= most;
}

/* The destination has read all of these chunks. */
static void note_chunks(struct client *c)
{
	unsigned n = 0;

	while (n < c->chunks && c->conn->in.taken >= c->chunk_end[n])
		n++;
	c->chunks -= n;
	memmove(c->chunk_end, c->chunk_end + n, c->chunks * sizeof(c->chunk_end[0]));
	if (dialog_counts(&c->d))
		dialog_chunks_reached(&c->d, n);
}

static bool move_body(struct client *c)
{
	struct dialog_forward f;
	struct span in = rest(&c->in);

	if (in.n == 0 || answers_wait(c))
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
		c->chunk_end[c->chunks++] = c->conn->in.n;
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
	c->chunks = 0;
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
		dialog_gateway_taken(&c->d, &addr, conn->ext,
				     conn->ext & SMTP_EXT_SIZE ? 500 : MESSAGE_MAX,
				     conn->ext & SMTP_EXT_AUTH ? &all->offer.login : &none, 0);
		return true;
	}
	conn = &all->conn[all->conns++];
	conn->owner = c->number;
	conn->ext = extensions;
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
	note_chunks(c);
	if (conn->in.taken == conn->in.n)
		dialog_message_reached(&c->d);
	said = rest(&conn->out);
	said.n = fuzz_min(said.n, n);
	n = dialog_from_destination(&c->d, said);
	conn->out.taken += n;
	return n > 0;
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
	static const char *const others[] = { "RSET\r\n",     "NOOP\r\n",  "EHLO c\r\n",
					      "HELO c\r\n",   "BOGUS\r\n", "MAIL FROM:<a\r\n",
					      "RCPT TO:x\r\n" };
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
		snprintf(text, sizeof(text), "%s", others[choose(7)]);
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
		(struct smtp_offer){ .ext = extensions, .size_max = 500, .mechanisms = "PLAIN" };
	smtp_mechanisms_add(&all->offer.login, SPAN("PLAIN"));
	all->env = (struct dialog_env){ .policy = &all->policy,
					.log = &all->log,
					.offer = &all->offer,
					.name = "p",
					.message_max = MESSAGE_MAX,
					.more = more() };
	all->env.data_as_bdat = choose(2);
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
