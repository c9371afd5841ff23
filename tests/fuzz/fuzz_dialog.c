/* SPDX-License-Identifier: ISC */
/*
 * A whole dialog, without sockets, against a destination that reads what it gets by the letter of
 * RFC 5321 and 3030: where it takes octets for a command, that command is one that was judged.
 * Nobody but the local domain is ever a recipient, chunks come only for somebody, a message is
 * accepted for the client as often as by the destination. A destination that answers in the middle
 * of a chunk gets nothing more. However the client's octets are cut, the dialog is the same. When
 * the client has sent all it has, the session ends.
 */
#include <stdio.h>

#include "fuzz.h"
#include "proxy/dialog.h"

#define OUT_MAX (1u << 17)

enum mode { LINE, DATA, CHUNK };

/* The destination. */
struct model {
	enum mode mode;
	uint8_t offers, seed;
	bool early, spoke_early; /* it answers the first chunk in its middle */
	bool mail, chunked, last;
	unsigned recipients, commands, accepted;
	uint64_t left, half;
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
	uint8_t repaired[4096];
};

static void *recipients(void)
{
	static void *table;
	struct span text = SPAN("@example.net\n");
	struct policy_faults faults = { NULL };

	if (!table) {
		size_t room = (policy_recipients_room(text) + 63) / 64 * 64;

		table = aligned_alloc(64, room);
		CHECK(table);
		memset(table, 0, room);
		CHECK(policy_recipients_build(table, room, text, &faults) > 0);
	}
	return table;
}

/* ---- the destination ---- */

static void say(struct model *m, const char *text)
{
	size_t n = strlen(text);

	CHECK(m->said + n <= sizeof(m->replies));
	memcpy(m->replies + m->said, text, n);
	m->said += n;
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
}

static void message_over(struct model *m)
{
	bool good = !refuses(m);

	m->accepted += good;
	say(m, good ? "250 kept\r\n" : "452 full\r\n");
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

static void greet(struct model *m, bool extended)
{
	forget(m);
	if (!extended) {
		say(m, "250 d\r\n");
		return;
	}
	say(m, "250-d\r\n");
	if (m->offers & 1)
		say(m, "250-CHUNKING\r\n");
	if (m->offers & 2)
		say(m, "250-BINARYMIME\r\n");
	if (m->offers & 4)
		say(m, "250-PIPELINING\r\n");
	say(m, "250 8BITMIME\r\n");
}

static void on_chunk(struct model *m, const struct smtp_command *cmd)
{
	/* Nobody is asked to take octets for nobody. */
	CHECK((m->offers & 1) && m->mail && m->recipients > 0);
	m->chunked = true;
	m->mode = CHUNK;
	m->left = cmd->chunk_size;
	m->half = m->left / 2;
	m->last = cmd->chunk_last;
}

static void on_line(struct model *m, struct span line)
{
	struct smtp_command cmd;
	bool no;

	CHECK(!smtp_command_parse(&cmd, line, 0x7ff)); /* rebuilt, so to the letter */
	m->commands++;
	no = refuses(m);
	switch (cmd.verb) {
	case SMTP_VERB_EHLO:
	case SMTP_VERB_HELO:
		greet(m, cmd.verb == SMTP_VERB_EHLO);
		return;
	case SMTP_VERB_MAIL:
		no |= m->mail;
		m->mail |= !no;
		break;
	case SMTP_VERB_RCPT:
		CHECK(cmd.path.postmaster || span_eq_nocase(cmd.path.domain, SPAN("example.net")));
		CHECK(!cmd.path.routed && !m->chunked);
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
	case SMTP_VERB_RSET:
		no = false;
		forget(m);
		break;
	default:
		break;
	}
	say(m, no ? "550 no\r\n" : "250 ok\r\n");
}

/* One step over what it has got; false when it needs more. */
static bool model_step(struct model *m, struct span got)
{
	struct span in = span_from(got, m->seen);
	const uint8_t *end;

	switch (m->mode) {
	case LINE:
		end = in.n ? memchr(in.p, '\n', in.n) : NULL;
		if (!end)
			return false;
		CHECK(end > in.p && end[-1] == '\r');
		m->seen += (size_t)(end - in.p) + 1;
		on_line(m, span_of(in.p, (size_t)(end - in.p) - 1));
		return true;
	case DATA:
		/* What it begins with is behind the CR LF of DATA. */
		if (in.n >= 3 && memcmp(in.p, ".\r\n", 3) == 0) {
			m->seen += 3;
		} else {
			end = in.n ? memmem(in.p, in.n, "\r\n.\r\n", 5) : NULL;
			if (!end)
				return false;
			m->seen += (size_t)(end - in.p) + 5;
		}
		m->mode = LINE;
		message_over(m);
		return true;
	default:
		if (m->left > 0 && in.n == 0)
			return false;
		uint64_t n = m->left < in.n ? m->left : in.n;

		m->left -= n;
		m->seen += n;
		if (m->early && !m->spoke_early && m->left > 0 && m->left <= m->half) {
			static const char *const words[] = { "250 ok\r\n", "552 no\r\n",
							     "421 bye\r\n", "354 go\r\n" };

			m->spoke_early = true;
			say(m, words[m->seed % 4]);
		}
		if (m->left == 0)
			chunk_over(m);
		return true;
	}
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
	if (p->d.drop_destination)
		return;
	/* It has answered in the middle of a chunk, and that is known: it gets nothing more. */
	CHECK(!p->model.spoke_early || p->taken < p->model.said || s.n == 0);
	add(p->to_dest, &p->dest_n, s);
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
		dialog_body_sent(&p->d);
}

static size_t move_chunk(struct play *p)
{
	size_t n = p->d.chunk_left < p->in.n ? (size_t)p->d.chunk_left : p->in.n;
	bool sent = !p->d.discard;

	if (n == 0) {
		if (p->d.client_closed)
			dialog_client_lost(&p->d);
		return 0;
	}
	if (sent)
		to_destination(p, span_of(p->in.p, n));
	dialog_chunk(&p->d, n, sent ? n : 0);
	return n;
}

static size_t move_data(struct play *p)
{
	struct dialog_forward f;
	struct buf out;

	if (p->in.n == 0)
		return 0;
	buf_init(&out, p->repaired, sizeof(p->repaired));
	dialog_body(&p->d, p->in, &out, false, &f);
	if (f.cr_first)
		to_destination(p, SPAN("\r"));
	to_destination(p, f.octets);
	if (!dialog_in_body(&p->d))
		dialog_body_sent(&p->d);
	return f.consumed;
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
		moved = n > 0;
		while (!p->d.drop_destination &&
		       model_step(&p->model, span_of(p->to_dest, p->dest_n)))
			moved = true;
		n = dialog_from_destination(
			&p->d, span_of(p->model.replies + p->taken, p->model.said - p->taken));
		p->taken += n;
		moved |= n > 0;
		collect(p);
	} while (moved && p->d.end == DIALOG_RUNS);
}

/* The whole session; CUTS other than 0: the client's octets come in pieces. */
static struct play *play(struct span octets, uint8_t flags, uint8_t seed, uint32_t cuts)
{
	struct play *p = calloc(1, sizeof(*p));
	struct xmllog_session id = { 1, 1 };
	struct addr addr = { .family = 4 };
	uint8_t *copy = fuzz_copy(octets);
	size_t at = 0;

	CHECK(p);
	p->policy = (struct policy){ .guard = true, .recipients = recipients() };
	p->env = (struct dialog_env){ .policy = &p->policy, .log = &p->log, .max_errors = 20 };
	p->env.normalize = flags & 16;
	xmllog_open(&p->log, NULL, -1, 0);
	p->model = (struct model){ .offers = flags & 7, .early = flags & 8, .seed = seed };
	dialog_work_init(&p->work);
	dialog_init(&p->d, &p->env, &addr, false, &id);
	p->d.work = &p->work;
	dialog_connected(&p->d, &addr);
	say(&p->model, "220 d\r\n");
	p->in = span_of(copy, 0);
	settle(p);
	while (at < octets.n && p->d.end == DIALOG_RUNS) {
		size_t n = cuts ? fuzz_min(fuzz_step(&cuts), octets.n - at) : octets.n - at;

		p->in.n += n;
		at += n;
		settle(p);
	}
	if (p->d.end == DIALOG_RUNS) {
		dialog_client_closed(&p->d);
		settle(p);
	}
	CHECK(p->d.end != DIALOG_RUNS);
	CHECK(p->d.messages == p->model.accepted);
	CHECK(!p->model.spoke_early || p->d.drop_destination);
	p->in = (struct span){ 0 };
	free(copy);
	return p;
}

/* Octets behind DATA and AUTH are early only while there is no answer, so there cuts do matter. */
static bool cuts_matter(struct span octets)
{
	for (size_t i = 0; i + 4 <= octets.n; i++)
		if (span_starts_nocase(span_from(octets, i), SPAN("DATA")) ||
		    span_starts_nocase(span_from(octets, i), SPAN("AUTH")))
			return true;
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	uint8_t flags = fuzz_choice(&in), seed = fuzz_choice(&in), cuts = fuzz_choice(&in);
	struct play *whole, *cut;

	if (in.n > 4000)
		return 0;
	whole = play(in, flags, seed, 0);
	cut = play(in, flags, seed, 1u + cuts);
	/* What is passed on before an answer can be refused by it: that hangs on the time. */
	if (!(flags & (4 | 8)) && !cuts_matter(in)) {
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
