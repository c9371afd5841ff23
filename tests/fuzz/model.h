/* SPDX-License-Identifier: ISC */
/*
 * model: the destination of fuzz_dialog, and what an input chooses of it. It CHECKs what it gets.
 */
#ifndef TESTS_FUZZ_MODEL_H
#define TESTS_FUZZ_MODEL_H

#include "dialog/dialog.h"
#include "local.h"

#define OUT_MAX	   (1u << 17)
#define SIZE	   40
#define HEADER_MAX 30
#define LINE_LIMIT 25
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
	SAYS_SO_LATE = 4,
	HIDES_SIZE = 8 /* it says nothing of one, where it has no limit to say */
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
	bool lost; /* it has given up, and reads what it must not */
	/* XFORWARD was said for the next MAIL; and was refused; this transaction has begun so. */
	bool forwarded, refused_it, untold;
	/* Each of its replies comes with the next one: WAITS, and THIS, its lines. */
	bool is_behind;
	char waits[512], this[512];
	unsigned recipients, commands, accepted;
	uint64_t left, half, size;
	uint64_t counted; /* as a server counts that stores each newline that is none as two */
	bool cr;
	size_t seen; /* of what it got */
	char replies[OUT_MAX];
	size_t said;
};

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
	m->mail = m->chunked = m->untold = false;
	m->recipients = 0;
	m->size = m->counted = 0;
	m->cr = false;
}

static void message_over(struct model *m)
{
	bool good = !refuses(m);

	CHECK(!m->untold);
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

static bool says_size(const struct model *m)
{
	return m->sized || !(m->seed & HIDES_SIZE);
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
	m->forwarded = m->refused_it = m->is_behind = false;
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
	CHECK(is_told(m, true) && !knows_not(m) && !m->forwarded);
	m->commands++;
	m->forwarded = true;
	/* (A transaction may be open whose DATA was refused.) */
	m->refused_it = m->mail || refuses(m);
	say(m, m->refused_it ? "550 no\r\n" : "250 told\r\n");
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
	if (says_size(m))
		say(m, m->sized ? "250-SIZE 40\r\n" : "250-SIZE\r\n");
	say(m, "250 8BITMIME\r\n");
}

static void on_chunk(struct model *m, const struct smtp_command *cmd)
{
	/* Nobody is asked to take octets for nobody, or with a limit that nobody knows. */
	CHECK(offers(m, WITH_CHUNKING) && says_size(m) && m->mail && m->recipients > 0);
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
		if (!no)
			m->untold = m->refused_it;
		m->refused_it = false;
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

#endif
