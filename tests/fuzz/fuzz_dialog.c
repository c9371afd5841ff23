/* SPDX-License-Identifier: ISC */
/*
 * A whole dialog, without sockets, against a destination that reads what it gets by the letter of
 * RFC 5321 and 3030: where it takes octets for a command, that command is one that was judged.
 * Nobody but the local domain is ever a recipient, chunks come only for somebody, a message is
 * accepted for the client as often as by the destination. A destination that answers in the middle
 * of a chunk gets nothing more. However the client's octets are cut, the dialog is the same. When
 * the client has sent all it has, the session ends.
 *
 * The client waits for the answers to DATA and AUTH, or does not; what it sends early is refused.
 *
 * A destination may lose its place: it gives up a message after some octet of it, and looks for the
 * end from there as if a line began; it answers there, or at the end. Where it is far away, it has
 * all that is sent before an answer to any of it is here. Wherever it gives up, no transaction
 * begins in what it then takes for commands.
 *
 * There may be a certificate. What the client has said before its handshake counts for nothing
 * after it, octets that come behind STARTTLS before its answer end the session unsaid. What must
 * not be said in clear never reaches the destination, nor does STARTTLS.
 *
 * It may have to be told of the client: by XFORWARD with each MAIL, or by a header ahead of its
 * greeting, for which it may have no more than a refusal. Where it does not take that, it gets no
 * mail.
 *
 * With the gateway dialog the destination hears of transactions alone, one at a time; a connection
 * that is given back owes nothing, is in the middle of nothing, and has no transaction open that
 * RSET is not said for. It then serves the next transaction, unless it turns out dead.
 */
#include <stdio.h>

#include "fuzz.h"
#include "local.h"
#include "../dialog/stands.h"
#include "dialog/dialog.h"

#define CHOICES	   5 /* the first octets of the input */
#define OUT_MAX	   (1u << 17)
#define SIZE	   40
#define HEADER_MAX 30
#define LINE_LIMIT 25
/* Chunks of our own making that are not answered yet. */
#define CHUNKS_OPEN 3
/* Of a destination that says no SIZE, be it that it knows no EHLO. */
#define MESSAGE_MAX 50

enum mode { LINE, DATA, SWALLOW, CHUNK, CONTINUATION };

/* What the first octet of the input chooses. */
enum {
	WITH_CHUNKING = 1,
	WITH_BINARYMIME = 2,
	WITH_PIPELINING = 4,
	WITH_EARLY = 8,
	WITH_NORMALIZE = 16,
	WITH_GATEWAY = 32,
	WITH_AUTH = 64,
	WITH_DEATHS = 128, /* connections that are given back are dead when they are used again */
};

/* What the third octet does: where it is less, it stands for cuts and the client waits. */
#define IMPATIENT 128

/* What the fourth octet chooses. */
enum {
	GIVES_UP_AFTER = 63, /* octets of a message; 0: never */
	ANSWERS_AT_ONCE = 64,
	IS_FAR = 128,
};

/* What the fifth octet chooses. */
enum {
	WITH_CERTIFICATE = 1,
	FOR_ALL = 2,	 /* TLS_CLIENTS_REQUIRED */
	FOR_LOGIN = 4,	 /* TLS_REQUIRED_FOR_LOGIN */
	FIRST = 8,	 /* at a port where TLS comes first */
	IS_LATER = 16,	 /* the first one is told to come later */
	FAILS = 32,	 /* the handshake does */
	IS_OFFERED = 64, /* by the destination */
	IS_TOLD = 128	 /* of the client: as the next ones of the second octet say */
};
enum {
	BY_COMMAND = 1, /* else by a header */
	KNOWS_NOT = 2,	/* it does not take that */
	SAYS_SO_LATE = 4
};

/* The destination, and one connection to it. */
struct model {
	enum mode mode;
	uint8_t tls;
	bool clear;	/* the client has no TLS */
	bool unhelloed; /* … has it, and has not said EHLO since */
	uint8_t offers, seed;
	bool early, spoke_early; /* it answers the first chunk in its middle */
	bool dead;		 /* it reads and says nothing any more */
	bool gateway, logged_in;
	bool sized; /* it says that it takes SIZE octets, and never gets one more */
	bool plain; /* it refuses EHLO */
	bool mail, chunked, last;
	uint8_t gives_up;
	bool lost;	/* it has given up, and reads what it must not */
	bool forwarded; /* XFORWARD was said for the next MAIL */
	bool is_behind; /* each of its replies comes with the next one: WAITS, and THIS, its lines */
	char waits[512], this[512];
	unsigned recipients, commands, accepted;
	uint64_t left, half, size;
	uint64_t counted; /* as a server counts that stores each newline that is none as two */
	bool cr;
	size_t seen; /* of what it got */
	char replies[OUT_MAX];
	size_t said;
};

struct play {
	struct dialog d;
	struct dialog_work work;
	struct dialog_env env;
	struct xmllog log;
	struct policy policy;
	struct model model;
	struct span in; /* of the client, as far as it has come */
	size_t taken;	/* of `replies` */
	uint8_t to_client[OUT_MAX], to_dest[OUT_MAX];
	size_t client_n, dest_n;
	/* What was said by the handshake, or before the session ended for what was injected. */
	size_t clear_n, injected_n;
	bool injected;
	/* The gateway dialog: has a connection; there is one that was given back; how many so far.
	 */
	bool joined, idle;
	unsigned connections, uses;
	bool deaths, far, at_gate;
	struct smtp_owed idle_offer; /* what is known of it */
	struct smtp_offer clients_offer;
	uint8_t repaired[4096];
};

/* ---- the destination ---- */

static void say_now(struct model *m, const char *text)
{
	size_t n = strlen(text);

	CHECK(m->said + n <= sizeof(m->replies));
	memcpy(m->replies + m->said, text, n);
	m->said += n;
}

static void say(struct model *m, const char *text)
{
	if (!m->is_behind) {
		say_now(m, text);
		return;
	}
	CHECK(strlen(m->this) + strlen(text) < sizeof(m->this));
	strcat(m->this, text);
	if (text[3] == '-')
		return;
	say_now(m, m->waits);
	strcpy(m->waits, m->this);
	*m->this = '\0';
}

/* A refusal now and then. */
static bool refuses(const struct model *m)
{
	return m->seed && (m->commands * 7 + m->seed) % 5 == 0;
}

static void forget(struct model *m)
{
	m->mail = m->chunked = false;
	m->recipients = 0;
	m->size = m->counted = 0;
	m->cr = false;
}

static void message_over(struct model *m)
{
	bool good = !refuses(m);

	m->accepted += good;
	say(m, good ? "250 kept\r\n" : "452 full\r\n");
	/* That a refused last chunk ends the transaction, no RFC says; whose connection it is has
	 * to see to that. */
	if (good || !m->chunked || m->seed % 2 || !m->gateway || m->logged_in)
		forget(m);
}

static void chunk_over(struct model *m)
{
	m->mode = LINE;
	if (m->spoke_early)
		return;
	if (m->last)
		message_over(m);
	else
		say(m, refuses(m) ? "452 full\r\n" : "250 more\r\n");
}

static bool offers(const struct model *m, uint8_t what)
{
	return !m->plain && (m->offers & what);
}

/* Octets of a message that it may be sent, whatever its client has said. */
static uint64_t limit(const struct model *m)
{
	return m->sized && !m->plain ? SIZE : MESSAGE_MAX;
}

static bool is_told(const struct model *m, bool by_command)
{
	return (m->tls & IS_TOLD) && !(m->seed & BY_COMMAND) == !by_command;
}

static bool knows_not(const struct model *m)
{
	return m->seed & KNOWS_NOT;
}

/* The connection begins. */
static void welcome(struct model *m)
{
	m->forwarded = m->is_behind = false;
	say(m, "220 d\r\n");
	if (!is_told(m, false) || !knows_not(m))
		return;
	m->is_behind = m->seed & SAYS_SO_LATE;
	strcpy(m->waits, "500 what\r\n");
	*m->this = '\0';
	if (!m->is_behind)
		say(m, m->waits);
}

/* MAIL goes with XFORWARD, or behind a header that was understood. */
static void check_told(struct model *m)
{
	CHECK(!is_told(m, false) || !knows_not(m));
	CHECK(!is_told(m, true) || (m->forwarded && !knows_not(m)));
	m->forwarded = false;
}

static void on_forward(struct model *m)
{
	CHECK(is_told(m, true) && !knows_not(m) && !m->mail && !m->forwarded);
	m->commands++;
	m->forwarded = true;
	say(m, refuses(m) ? "550 no\r\n" : "250 told\r\n");
}

static void greet(struct model *m, bool extended)
{
	/* It is asked for its limits before anything else, whatever the client says. */
	CHECK(extended || m->plain);
	forget(m);
	if (extended && m->plain) {
		say(m, "502 what\r\n");
		return;
	}
	if (!extended) {
		say(m, "250 d\r\n");
		return;
	}
	say(m, "250-d\r\n");
	if (m->tls & IS_OFFERED)
		say(m, "250-STARTTLS\r\n");
	if (is_told(m, true) && !knows_not(m))
		say(m, "250-XFORWARD NAME ADDR PROTO HELO\r\n");
	if (m->offers & WITH_CHUNKING)
		say(m, "250-CHUNKING\r\n");
	if (m->offers & WITH_BINARYMIME)
		say(m, "250-BINARYMIME\r\n");
	if (m->offers & WITH_PIPELINING)
		say(m, "250-PIPELINING\r\n");
	if (m->offers & WITH_AUTH)
		say(m, "250-AUTH PLAIN\r\n");
	if (m->sized)
		say(m, "250-SIZE 40\r\n");
	say(m, "250 8BITMIME\r\n");
}

static void on_chunk(struct model *m, const struct smtp_command *cmd)
{
	/* Nobody is asked to take octets for nobody. */
	CHECK(offers(m, WITH_CHUNKING) && m->mail && m->recipients > 0);
	m->chunked = true;
	m->mode = CHUNK;
	m->size += cmd->chunk_size;
	CHECK(m->size <= limit(m));
	m->left = cmd->chunk_size;
	m->half = m->left / 2;
	m->last = cmd->chunk_last;
}

static void auth_over(struct model *m)
{
	m->mode = LINE;
	m->logged_in = !refuses(m);
	say(m, m->logged_in ? "235 welcome\r\n" : "535 no\r\n");
}

/* What concerns the destination of a transaction, or of a login. */
static bool is_its_business(enum smtp_verb verb)
{
	return verb == SMTP_VERB_EHLO || verb == SMTP_VERB_HELO || verb == SMTP_VERB_MAIL ||
	       verb == SMTP_VERB_RCPT || verb == SMTP_VERB_DATA || verb == SMTP_VERB_BDAT ||
	       verb == SMTP_VERB_AUTH;
}

static bool is_local(const struct model *m, const struct smtp_command *rcpt)
{
	return m->logged_in || rcpt->path.postmaster ||
	       span_eq_nocase(rcpt->path.domain, SPAN("example.net"));
}

/* … or goes on with it. */
static bool ends_message(enum smtp_verb verb)
{
	return verb == SMTP_VERB_BDAT || verb == SMTP_VERB_RSET || verb == SMTP_VERB_EHLO ||
	       verb == SMTP_VERB_HELO || verb == SMTP_VERB_QUIT || verb == SMTP_VERB_MAIL;
}

static void check_tls(const struct model *m, enum smtp_verb verb)
{
	bool needed = (m->tls & WITH_CERTIFICATE) && m->clear;
	bool mail = verb == SMTP_VERB_MAIL || verb == SMTP_VERB_RCPT || verb == SMTP_VERB_DATA ||
		    verb == SMTP_VERB_BDAT;

	CHECK(verb != SMTP_VERB_STARTTLS);
	CHECK(!needed || !(m->tls & FOR_ALL) || (!mail && verb != SMTP_VERB_AUTH));
	CHECK(!needed || !(m->tls & FOR_LOGIN) || verb != SMTP_VERB_AUTH);
	CHECK(!m->unhelloed || (!mail && verb != SMTP_VERB_AUTH));
}

static void on_line(struct model *m, struct span line)
{
	struct smtp_command cmd;
	bool no;

	if (span_starts_nocase(line, SPAN("XFORWARD "))) {
		on_forward(m);
		return;
	}
	CHECK(!smtp_command_parse(&cmd, line, 0x7ff)); /* rebuilt, so to the letter */
	check_tls(m, cmd.verb);
	CHECK(!m->gateway || m->logged_in || is_its_business(cmd.verb));
	/* What it refuses between chunks it may refuse for good, and the next one's octets too. */
	CHECK(!m->chunked || ends_message(cmd.verb));
	m->commands++;
	no = refuses(m);
	switch (cmd.verb) {
	case SMTP_VERB_EHLO:
	case SMTP_VERB_HELO:
		greet(m, cmd.verb == SMTP_VERB_EHLO);
		return;
	case SMTP_VERB_MAIL:
		/* BODY=7BIT would change how it reads the message (build.c). */
		CHECK(!cmd.has_body || cmd.body_8bit || cmd.body_binary);
		CHECK(!m->mail || !m->gateway || m->logged_in);
		check_told(m);
		no |= m->mail;
		m->mail |= !no;
		break;
	case SMTP_VERB_RCPT:
		CHECK(is_local(m, &cmd));
		CHECK((m->logged_in || !cmd.path.routed) && !m->chunked);
		no |= !m->mail;
		m->recipients += !no;
		break;
	case SMTP_VERB_DATA:
		CHECK(!m->chunked);
		no |= m->recipients == 0;
		if (!no) {
			m->mode = DATA;
			say(m, "354 go\r\n");
			return;
		}
		break;
	case SMTP_VERB_BDAT:
		on_chunk(m, &cmd);
		return;
	case SMTP_VERB_AUTH:
		CHECK(offers(m, WITH_AUTH) && !m->mail && span_eq(cmd.arg, SPAN("PLAIN")));
		if (cmd.rest.p) {
			auth_over(m);
		} else {
			m->mode = CONTINUATION;
			say(m, "334 \r\n");
		}
		return;
	case SMTP_VERB_RSET:
		no = false;
		forget(m);
		break;
	default:
		break;
	}
	say(m, no ? "550 no\r\n" : "250 ok\r\n");
}

/* What stands in a message that it has given up, or, where it has found the end, what comes next.
 */
static void on_lost_line(struct model *m, struct span line)
{
	struct smtp_command cmd;
	bool no = smtp_command_parse(&cmd, line, 0x7ff);

	m->mail |= !no && cmd.verb == SMTP_VERB_MAIL;
	/* Nobody has judged this recipient. */
	CHECK(no || !m->mail || cmd.verb != SMTP_VERB_RCPT || is_local(m, &cmd));
	say(m, "500 what\r\n");
}

static bool step_line(struct model *m, struct span in)
{
	const uint8_t *end = in.n ? memchr(in.p, '\n', in.n) : NULL;

	if (!end)
		return false;
	CHECK(m->lost || (end > in.p && end[-1] == '\r'));
	m->seen += (size_t)(end - in.p) + 1;
	if (m->lost)
		on_lost_line(m, span_of(in.p, (size_t)(end - in.p) - (end > in.p)));
	else if (m->mode == CONTINUATION)
		auth_over(m);
	else
		on_line(m, span_of(in.p, (size_t)(end - in.p) - 1));
	return true;
}

/* Octets of a message up to its first empty line, or all. */
static size_t header_of(struct span message)
{
	const uint8_t *empty;

	if (message.n >= 2 && memcmp(message.p, "\r\n", 2) == 0)
		return 2;
	empty = memmem(message.p, message.n, "\r\n\r\n", 4);
	return empty ? (size_t)(empty - message.p) + 4 : message.n;
}

/* No line is longer than it may be, as far as it has come. */
static bool lines_fit(struct span message)
{
	size_t line = 0;

	for (size_t i = 0; i < message.n; i++) {
		line = message.p[i] == '\n' ? 0 : line + 1;
		if (line > LINE_LIMIT)
			return false;
	}
	return true;
}

/* Octets up to the end of a message of which IN begins at the start of a line; 0: none. */
static size_t end_of(struct span in)
{
	const uint8_t *end = in.n ? memmem(in.p, in.n, "\r\n.\r\n", 5) : NULL;

	if (in.n >= 3 && memcmp(in.p, ".\r\n", 3) == 0)
		return 3;
	return end ? (size_t)(end - in.p) + 5 : 0;
}

static void give_up(struct model *m)
{
	m->seen += m->gives_up & GIVES_UP_AFTER;
	m->lost = true;
	m->mode = SWALLOW;
	forget(m);
	if (m->gives_up & ANSWERS_AT_ONCE)
		say(m, "452 full\r\n");
}

static bool step_swallow(struct model *m, struct span in)
{
	size_t n = end_of(in);

	if (n == 0)
		return false;
	m->seen += n;
	m->mode = LINE;
	if (!(m->gives_up & ANSWERS_AT_ONCE))
		say(m, "452 full\r\n");
	return true;
}

static bool step_data(struct model *m, struct span in)
{
	size_t n = end_of(in), place = m->gives_up & GIVES_UP_AFTER;

	if (place && in.n >= place && (n == 0 || n > place)) {
		give_up(m);
		return true;
	}
	/* It is never more than it takes, and a dot. */
	CHECK(n || in.n <= limit(m) + 1);
	if (n)
		in.n = n;
	CHECK(lines_fit(in));
	if (!n)
		return false;
	CHECK(in.n <= limit(m) + 3);
	CHECK(header_of(in) <= HEADER_MAX);
	m->seen += in.n;
	m->mode = LINE;
	message_over(m);
	return true;
}

/* It is never over its limit, or it might take the rest of the chunk for commands. */
static void count(struct model *m, struct span in)
{
	for (size_t i = 0; i < in.n; i++) {
		uint8_t c = in.p[i];

		m->counted += 1u + (m->cr != (c == '\n'));
		m->cr = c == '\r';
	}
	CHECK(m->counted <= limit(m));
}

static bool step_chunk(struct model *m, struct span in)
{
	static const char *const words[] = { "250 ok\r\n", "552 no\r\n", "421 bye\r\n",
					     "354 go\r\n" };
	uint64_t n = m->left < in.n ? m->left : in.n;

	if (m->left > 0 && in.n == 0)
		return false;
	count(m, span_of(in.p, n));
	m->left -= n;
	m->seen += n;
	if (m->early && !m->spoke_early && m->left > 0 && m->left <= m->half) {
		m->spoke_early = true;
		if (m->seed % 5 < 4)
			say(m, words[m->seed % 5]);
		else
			m->dead = true;
	}
	if (m->left == 0)
		chunk_over(m);
	return true;
}

/* One step over what it has got; false when it needs more. */
static bool model_step(struct model *m, struct span got)
{
	struct span in = span_from(got, m->seen);

	if (m->dead)
		return false;
	if (m->mode == DATA)
		return step_data(m, in);
	if (m->mode == SWALLOW)
		return step_swallow(m, in);
	return m->mode == CHUNK ? step_chunk(m, in) : step_line(m, in);
}

/* ---- the session's part ---- */

static void add(uint8_t *out, size_t *n, struct span s)
{
	CHECK(*n + s.n <= OUT_MAX);
	if (s.n)
		memcpy(out + *n, s.p, s.n);
	*n += s.n;
}

static void to_destination(struct play *p, struct span s)
{
	if (link_closes(&p->d.link))
		return;
	CHECK(s.n == 0 || !p->d.gateway.on || p->joined);
	/* It has answered in the middle of a chunk, and that is known: it gets nothing more. */
	CHECK(!p->model.spoke_early || p->taken < p->model.said || s.n == 0);
	add(p->to_dest, &p->dest_n, s);
}

/* All octets of the message, or of the chunk, are with the destination. */
static void message_left(struct play *p)
{
	dialog_message_given(&p->d);
	dialog_message_reached(&p->d);
}

static void collect(struct play *p)
{
	struct span c = buf_span(&p->work.to_client), s = buf_span(&p->work.to_destination);

	add(p->to_client, &p->client_n, c);
	buf_consume(&p->work.to_client, c.n);
	to_destination(p, s);
	buf_consume(&p->work.to_destination, s.n);
	dialog_flushed(&p->d, p->d.destination.unsent);
	if (dialog_chunk_leaves(&p->d))
		message_left(p);
}

static size_t move_chunk(struct play *p)
{
	size_t n = p->d.message.left < p->in.n ? (size_t)p->d.message.left : p->in.n;
	bool sent = !message_is_discarded(&p->d.message);

	if (n == 0) {
		if (p->d.client_closed)
			dialog_client_lost(&p->d);
		return 0;
	}
	/* What need not be seen may be spliced. */
	if (sent && (n % 2 || dialog_chunk_must_be_seen(&p->d)))
		sent = dialog_chunk_look(&p->d, span_of(p->in.p, n));
	if (sent)
		to_destination(p, span_of(p->in.p, n));
	dialog_chunk(&p->d, n, sent ? n : 0);
	return n;
}

static size_t move_data(struct play *p)
{
	struct dialog_forward f;
	struct buf out;

	/* What is in its socket's queue while answers to chunks are waited for. */
	if (p->in.n == 0 || dialog_chunks_unanswered(&p->d) >= CHUNKS_OPEN)
		return 0;
	buf_init(&out, p->repaired, sizeof(p->repaired));
	dialog_body(&p->d, (uint8_t *)(uintptr_t)p->in.p, p->in.n, &out, false, &f);
	p->at_gate = f.gate;
	to_destination(p, span_of(f.command, f.command_len));
	if (f.cr_first)
		to_destination(p, SPAN("\r"));
	to_destination(p, f.octets);
	if (!dialog_in_body(&p->d))
		message_left(p);
	else if (f.command_len)
		dialog_chunks_reached(&p->d, 1);
	return f.consumed;
}

/* ---- the gateway dialog's connections ---- */

static void note_told(struct play *p)
{
	const struct model *m = &p->model;

	dialog_note_told(&p->d, is_told(m, true)    ? DIALOG_FORWARDS
				: is_told(m, false) ? DIALOG_TOLD_AHEAD
						    : DIALOG_UNTOLD);
}

static void fresh_connection(struct play *p, struct addr *addr)
{
	struct model *m = &p->model;
	uint8_t offers = m->offers;

	/* Every other one can do less than the last. */
	if (m->seed >= 128)
		offers ^= p->connections % 2 ? WITH_CHUNKING : 0;
	m->offers = offers;
	m->mode = LINE;
	m->spoke_early = m->dead = m->logged_in = m->lost = false;
	forget(m);
	p->connections++;
	p->uses = 0;
	link_enter(&p->d, LINK_REACHING);
	note_told(p);
	dialog_gateway_connected(&p->d, addr);
	welcome(m);
}

static void used_connection(struct play *p, struct addr *addr)
{
	CHECK(p->d.link.kind != LINK_FRESH);
	link_enter(&p->d, LINK_REACHING);
	p->uses++;
	p->model.dead = p->deaths && (p->model.seed + p->uses) % 3 == 0;
	dialog_gateway_taken(&p->d, addr, &p->idle_offer, 0);
}

/* It has done with the connection, and says what is to become of it. */
static void take_back(struct play *p)
{
	enum link_parting how = (enum link_parting)p->d.link.parting;
	struct model *m = &p->model;

	if (how != LINK_CLOSES) {
		/* One that says more than it was asked for is no connection for others. */
		CHECK(!m->lost);
		CHECK(dialog_gateway_clean(&p->d));
		CHECK(m->mode == LINE && !m->spoke_early && !m->dead && !m->logged_in);
		CHECK(m->seen == p->dest_n && m->said == p->taken);
		CHECK(how == LINK_GIVES_BEGUN || !m->mail);
		forget(m);
		CHECK(p->d.destination.size_max == limit(m));
		p->idle_offer = p->d.destination;
		p->idle = true;
	} else {
		m->seen = p->dest_n;
		m->said = p->taken;
		p->idle = false;
	}
	p->joined = false;
	dialog_gateway_parted(&p->d);
}

/* True where anything has changed. */
static bool tend(struct play *p)
{
	const struct link *l = &p->d.link;
	struct addr addr = { .family = 4 };

	if (!p->d.gateway.on || p->d.end != END_RUNS)
		return false;
	if (p->joined && l->state == LINK_PARTING) {
		take_back(p);
		return true;
	}
	CHECK(p->joined || l->state < LINK_PARTING);
	if (l->state != LINK_WANTED)
		return false;
	CHECK(!p->joined);
	p->joined = true;
	if (p->idle && l->kind != LINK_FRESH)
		used_connection(p, &addr);
	else
		fresh_connection(p, &addr);
	p->idle = false;
	return true;
}

/* True where that is news. */
static bool dies(struct play *p)
{
	if (!p->model.dead || !link_talks(&p->d.link))
		return false;
	dialog_destination_lost(&p->d, false);
	return true;
}

/* ---- TLS ---- */

/* The handshake is over, and the client has said nothing yet. */
static void shaken(struct play *p, bool first)
{
	const struct dialog_secure how = { .version = "TLSv1.3", .cipher = "c", .first = first };

	CHECK(p->in.n == 0 && p->client_n == p->clear_n);
	dialog_tls_done(&p->d, &how);
	CHECK(p->d.tls == DIALOG_SECURE && *dialog_helo(&p->d) == '\0' && !p->d.who.logged_in);
	CHECK(first || p->d.server.state == SMTP_ORDER_START);
	CHECK(p->d.message.state == MESSAGE_NONE);
	/* Nobody who had logged in can begin anew. (A transaction whose DATA was refused may be
	 * open at the destination: the EHLO that must come now ends it.) */
	CHECK(p->d.gateway.on || !p->model.logged_in);
	p->model.clear = false;
}

/* As session/secure.c does: true where STARTTLS was said, and something was done about it. */
static bool secure(struct play *p)
{
	uint8_t *tls = &p->model.tls;

	if (!dialog_tls_is_asked(&p->d))
		return false;
	CHECK((*tls & WITH_CERTIFICATE) && p->model.clear);
	if (p->in.n > 0) {
		p->injected = true;
		p->injected_n = p->client_n;
		dialog_tls_injected(&p->d);
		CHECK(p->d.end == END_PROTOCOL);
		return true;
	}
	if (*tls & IS_LATER) {
		*tls &= (uint8_t)~IS_LATER;
		dialog_tls_later(&p->d);
		return true;
	}
	p->clear_n = p->client_n;
	dialog_tls_begins(&p->d);
	collect(p);
	CHECK(p->client_n > p->clear_n && memcmp(p->to_client + p->clear_n, "220 ", 4) == 0);
	p->clear_n = p->client_n;
	if (*tls & FAILS)
		dialog_client_lost(&p->d);
	else
		shaken(p, false);
	return true;
}

/* What the client is told over TLS offers none of it, and no EXTERNAL at all. */
static void check_offers(const struct play *p)
{
	struct span said = span_of(p->to_client + p->clear_n, p->client_n - p->clear_n);

	CHECK(!p->injected || p->client_n == p->injected_n);
	if (!p->model.clear && said.n > 0)
		CHECK(!memmem(said.p, said.n, "STARTTLS\r\n", 10));
	if (!(p->model.tls & WITH_CERTIFICATE) && p->client_n > 0)
		CHECK(!memmem(p->to_client, p->client_n, "250-STARTTLS\r\n", 14) &&
		      !memmem(p->to_client, p->client_n, "250 STARTTLS\r\n", 14));
}

static void settle(struct play *p)
{
	bool moved;

	do {
		size_t n = dialog_in_chunk(&p->d)  ? move_chunk(p)
			   : dialog_in_body(&p->d) ? move_data(p)
						   : dialog_from_client(&p->d, p->in);

		p->in = span_from(p->in, n);
		collect(p);
		CHECK(stands(&p->d));
		moved = n > 0;
		p->model.unhelloed = p->d.tls == DIALOG_SECURE && !*dialog_helo(&p->d);
		if (moved && p->far)
			continue;
		while (!link_closes(&p->d.link) &&
		       model_step(&p->model, span_of(p->to_dest, p->dest_n)))
			moved = true;
		n = dialog_from_destination(
			&p->d, span_of(p->model.replies + p->taken, p->model.said - p->taken));
		p->taken += n;
		moved |= n > 0;
		collect(p);
		moved |= tend(p);
		collect(p);
		moved |= secure(p);
		collect(p);
		CHECK(stands(&p->d));
		/* It has had the time to say that it has given up. */
		if (!moved && p->at_gate) {
			p->at_gate = false;
			dialog_gate_open(&p->d);
			moved = true;
		}
		if (!moved)
			moved = dies(p);
	} while (moved && p->d.end == END_RUNS);
}

/* What clients are offered: what the first connection's EHLO will say, and a SIZE. */
static void make_offer(struct play *p)
{
	uint8_t offers = p->model.offers;
	uint32_t ext = SMTP_EXT_8BITMIME | SMTP_EXT_SIZE;

	ext |= offers & WITH_PIPELINING ? SMTP_EXT_PIPELINING : 0u;
	ext |= offers & WITH_AUTH ? SMTP_EXT_AUTH : 0u;
	ext |= offers & WITH_CHUNKING ? SMTP_EXT_CHUNKING : 0u;
	if ((offers & WITH_CHUNKING) && (offers & WITH_BINARYMIME))
		ext |= SMTP_EXT_BINARYMIME;
	p->clients_offer =
		(struct smtp_offer){ .ext = ext, .size_max = 1000, .mechanisms = "PLAIN" };
	smtp_mechanisms_add(&p->clients_offer.login, SPAN("PLAIN"));
	p->env.offer = &p->clients_offer;
	p->env.name = "proxy.example";
}

/* Where dialogs keep what only some have. */
static struct pool *more(void)
{
	static struct pool pool;

	if (!pool.mem)
		CHECK(pool_init(&pool, sizeof(struct dialog_more), 1) == 0);
	return &pool;
}

/* How many of its octets a client sends that waits after STARTTLS, DATA and AUTH and the line after
 * AUTH. */
static size_t until_it_waits(struct span octets, size_t at)
{
	bool login = false;

	for (size_t i = 0, line = 0; i < octets.n; i++) {
		struct span s = span_of(octets.p + line, i - line);
		bool was_login = login;

		if (octets.p[i] != '\n')
			continue;
		login = span_starts_nocase(s, SPAN("AUTH"));
		line = i + 1;
		if (line > at && (was_login || login || span_starts_nocase(s, SPAN("DATA")) ||
				  span_starts_nocase(s, SPAN("STARTTLS"))))
			return line - at;
	}
	return octets.n - at;
}

/* The whole session; CUTS other than 0: the client's octets come in pieces. */
static struct play *play(struct span octets, const uint8_t choice[CHOICES], uint32_t cuts)
{
	uint8_t flags = choice[0], seed = choice[1], tls = choice[4];
	bool waits = choice[2] < IMPATIENT;
	struct play *p = calloc(1, sizeof(*p));
	struct xmllog_session id = { 1, 1 };
	struct addr addr = { .family = 4 };
	uint8_t *copy = fuzz_copy(octets);
	size_t at = 0;

	CHECK(p);
	p->policy = (struct policy){ .guard = true, .recipients = local_recipients() };
	p->env = (struct dialog_env){
		.policy = &p->policy, .log = &p->log, .max_errors = 20, .more = more()
	};
	p->env.normalize = flags & WITH_NORMALIZE;
	p->env.data_as_bdat = seed & 32;
	p->env.header_max = HEADER_MAX;
	p->env.line_max = LINE_LIMIT;
	p->env.message_max = MESSAGE_MAX;
	p->env.starttls = tls & WITH_CERTIFICATE;
	p->env.tls_required = tls & FOR_ALL;
	p->env.tls_for_login = (tls & WITH_CERTIFICATE) && (tls & FOR_LOGIN);
	p->deaths = flags & WITH_DEATHS;
	xmllog_open(&p->log, NULL, -1, 0);
	p->model = (struct model){
		.offers = flags & (WITH_CHUNKING | WITH_BINARYMIME | WITH_PIPELINING | WITH_AUTH),
		.early = flags & WITH_EARLY,
		.gateway = flags & WITH_GATEWAY,
		.seed = seed,
		.sized = seed & 64,
		.plain = seed % 16 == 3,
		.gives_up = choice[3],
		.tls = tls,
		.clear = true,
	};
	p->far = choice[3] & IS_FAR;
	dialog_work_init(&p->work);
	if (flags & WITH_GATEWAY)
		make_offer(p);
	dialog_init(&p->d, &p->env, &addr, false, &id);
	p->d.work = &p->work;
	if ((tls & WITH_CERTIFICATE) && (tls & FIRST)) {
		dialog_tls_comes_first(&p->d);
		shaken(p, true);
	}
	if (flags & WITH_GATEWAY) {
		dialog_gateway_greet(&p->d);
	} else {
		link_enter(&p->d, LINK_REACHING);
		note_told(p);
		dialog_connected(&p->d, &addr);
		welcome(&p->model);
	}
	p->in = span_of(copy, 0);
	settle(p);
	while (at < octets.n && p->d.end == END_RUNS) {
		size_t n = waits ? until_it_waits(octets, at) : octets.n - at;

		if (cuts)
			n = fuzz_min(fuzz_step(&cuts), n);
		p->in.n += n;
		at += n;
		settle(p);
	}
	if (p->d.end == END_RUNS) {
		dialog_client_closed(&p->d);
		settle(p);
	}
	/* It has missed the end, and waits for another one. */
	if (p->d.end == END_RUNS && p->model.mode == SWALLOW) {
		dialog_destination_lost(&p->d, true);
		settle(p);
	}
	CHECK(p->d.end != END_RUNS);
	check_offers(p);
	CHECK(p->d.messages == p->model.accepted);
	CHECK(!p->model.spoke_early || !link_talks(&p->d.link) || p->model.gateway);
	p->in = (struct span){ 0 };
	dialog_release(&p->d);
	CHECK(more()->in_use == 0);
	free(copy);
	return p;
}

/* Octets behind STARTTLS, DATA and AUTH are early only while there is no answer, and of a message
 * that is refused in its middle what has come is passed on: so there cuts do matter. */
static bool cuts_matter(struct span octets)
{
	for (size_t i = 0; i + 4 <= octets.n; i++)
		if (span_starts_nocase(span_from(octets, i), SPAN("DATA")) ||
		    span_starts_nocase(span_from(octets, i), SPAN("AUTH")) ||
		    span_starts_nocase(span_from(octets, i), SPAN("STARTTLS")))
			return true;
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	uint8_t choice[CHOICES], flags;
	struct play *whole, *cut;

	for (size_t i = 0; i < sizeof(choice); i++)
		choice[i] = fuzz_choice(&in);
	flags = choice[0];
	if (in.n > 4000)
		return 0;
	whole = play(in, choice, 0);
	cut = play(in, choice, 1u + choice[2]);
	/* What is passed on before an answer can be refused by it: that hangs on the time. */
	if (!(flags & (WITH_PIPELINING | WITH_EARLY)) && !choice[3] && !cuts_matter(in)) {
		CHECK(whole->d.end == cut->d.end);
		CHECK(span_eq(span_of(whole->to_client, whole->client_n),
			      span_of(cut->to_client, cut->client_n)));
		CHECK(span_eq(span_of(whole->to_dest, whole->dest_n),
			      span_of(cut->to_dest, cut->dest_n)));
	}
	free(whole);
	free(cut);
	return 0;
}
