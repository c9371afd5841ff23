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
 * message.
 *
 * With the gateway dialog the destination hears of transactions alone, one at a time; a connection
 * that is given back owes nothing, is in the middle of nothing, and has no transaction open that
 * RSET is not said for. It then serves the next transaction, unless it turns out dead.
 */
#include <stdio.h>

#include "fuzz.h"
#include "model.h"
#include "../dialog/stands.h"
#include "dialog/dialog.h"

#define CHOICES 5 /* the first octets of the input */
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
	if (p->in.n == 0 || dialog_chunk_unanswered(&p->d))
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
		dialog_chunk_reached(&p->d);
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
