/* SPDX-License-Identifier: ISC */
/*
 * Streams with a TLS layer, by each engine: two of them that talk to each other, and one whose peer
 * is OpenSSL in the hands of the test, or no TLS at all.
 */
#include "harness.h"

#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../unit/certs.h"
#include "io/stream.h"
#include "tls/conn.h"
#include "tls/handshake.h"
#include "tls/kernel.h"
#include "tls/secrets.h"
#include "tls/set.h"

#define LARGE (300 * 1000)

/* ---- a server and what it needs ---- */

struct world {
	struct tls tls;
	struct tls_set *set;
	SSL_CTX *client;
	struct ticket_page *page;
};

static struct tls_pair usual_pair(void)
{
	static struct tls_pair pair;

	if (!pair.own)
		pair = cert_make(&(struct cert_wish){ .names = "DNS:mx.test" });
	return pair;
}

static void open_world_for(struct env *e, struct world *w, unsigned most, bool kernel)
{
	struct tls_pair pair = usual_pair();
	struct tls_policy policy = { .min_version = TLS1_2_VERSION,
				     .level = 2,
				     .ciphers = "",
				     .groups = "",
				     .ticket_hours = 2,
				     .kernel = kernel };
	char why[TLS_WHY_MAX];
	enum tls_part part;

	w->page = calloc(1, TICKET_PAGE_SIZE);
	ticket_begin(w->page);
	ticket_turn(w->page, 2, 1);
	policy.tickets = w->page;
	w->set = tls_set_make(&policy, &part, why);
	assert_non_null(w->set);
	assert_true(tls_set_add(w->set, 0, &pair, why));
	assert_true(tls_set_ready(w->set));
	w->client = SSL_CTX_new(TLS_client_method());
	tls_context_usual(w->client, kernel);
	assert_int_equal(tls_init(&w->tls, e->io, 8, most, kernel), 0);
}

static void open_world(struct env *e, struct world *w, unsigned most)
{
	open_world_for(e, w, most, false);
}

static void close_world(struct world *w)
{
	assert_int_equal(w->tls.under_way, 0);
	assert_int_equal(w->tls.conns.in_use, 0);
	assert_int_equal(w->tls.outs.in_use, 0);
	tls_destroy(&w->tls);
	tls_set_free(w->set);
	SSL_CTX_free(w->client);
	free(w->page);
}

static struct stream layered(struct world *w, int fd, SSL_CTX *ctx, bool server)
{
	struct tls_role role = { .ctx = ctx, .server = server };
	struct tls_conn *c = tls_begin(&w->tls, fd, &role);
	struct stream st = stream_of(fd);

	assert_non_null(c);
	stream_put_on(&st, &c->layer);
	return st;
}

static struct stream server_on(struct world *w, int fd)
{
	return layered(w, fd, tls_set_context(w->set), true);
}

struct pair {
	struct stream server, client;
};

/* How W has ended, which may have been while something else was awaited. */
static int outcome(struct env *e, struct watch *w)
{
	run_until(e, &w->over);
	assert_int_equal(w->calls, 1);
	return w->res;
}

/* Shakes hands over a fresh connection. */
static struct pair meet(struct env *e, struct world *w)
{
	struct watch a, b;
	struct pair p;
	int sv[2];

	tcp_pair(sv);
	p.server = server_on(w, sv[0]);
	p.client = layered(w, sv[1], w->client, false);
	watch_init(&a);
	watch_init(&b);
	tls_handshake(tls_of(&p.server), &a.op);
	tls_handshake(tls_of(&p.client), &b.op);
	assert_true(io_in_flight(&a.op) && io_in_flight(&b.op));
	assert_int_equal(outcome(e, &a), 0);
	assert_int_equal(outcome(e, &b), 0);
	return p;
}

static void part(struct env *e, struct pair *p)
{
	stream_close(e->io, &p->server);
	stream_close(e->io, &p->client);
}

static void send_all(struct env *e, struct stream *st, const void *octets, size_t n)
{
	struct watch w;

	watch_init(&w);
	stream_send(e->io, st, &w.op, octets, n, 0);
	assert_int_equal(w.calls, 0);
	assert_int_equal(await(e, &w), n);
}

/* The next octets of a stream of N, however they come: HOW says by which operation. */
static size_t next(struct env *e, struct stream *st, uint8_t *to, size_t n, unsigned how)
{
	struct watch w;
	ssize_t got;

	watch_init(&w);
	if (how == 0) {
		stream_recv(e->io, st, &w.op, to, n);
		got = await(e, &w);
	} else if (how == 1) {
		stream_recv_block(e->io, st, &w.op);
		got = await(e, &w);
		if (got > 0)
			memcpy(to, w.op.block.data, (size_t)got);
		io_block_put(e->io, &w.op.block);
	} else {
		stream_await(e->io, st, &w.op);
		assert_true(await(e, &w) > 0);
		got = stream_take(st, to, n);
		if (got == -EAGAIN)
			return 0;
	}
	assert_true(got > 0);
	return (size_t)got;
}

/* FROM sends N octets, and TO receives them while they come. */
static void carry(struct env *e, struct stream *from, struct stream *to, size_t n, unsigned how)
{
	static uint8_t out[LARGE], in[LARGE + 16384];
	struct watch w;
	size_t got = 0;

	fill_pattern(out, n, n, 0);
	watch_init(&w);
	stream_mark(from);
	stream_send(e->io, from, &w.op, out, n, 0);
	while (got < n)
		got += next(e, to, in + got, how == 1 ? LARGE : n - got, how);
	assert_int_equal(got, n);
	assert_true(has_pattern(in, n, n, 0));
	assert_int_equal(outcome(e, &w), n);
	stream_count(from, (int)n);
	assert_true(stream_has_sent(from));
}

/* ---- keys for the kernel (tls/secrets.h) ---- */

static const struct {
	int version;
	const char *name; /* of the cipher */
	size_t key_n;	  /* 0: none for the kernel */
} ciphers[] = {
	{ TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", 16 },
	{ TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384", 32 },
	{ TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305", 0 },
	{ TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", 16 },
	{ TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384", 32 },
	{ TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256", 0 },
};
#define CIPHERS (sizeof(ciphers) / sizeof(*ciphers))

static struct pair meet_by(struct env *e, struct world *w, size_t cipher)
{
	SSL_CTX *ctx = w->client;

	SSL_CTX_set_min_proto_version(ctx, ciphers[cipher].version);
	SSL_CTX_set_max_proto_version(ctx, ciphers[cipher].version);
	if (ciphers[cipher].version == TLS1_3_VERSION)
		assert_int_equal(SSL_CTX_set_ciphersuites(ctx, ciphers[cipher].name), 1);
	else
		assert_int_equal(SSL_CTX_set_cipher_list(ctx, ciphers[cipher].name), 1);
	return meet(e, w);
}

/* Opens the record of N octets at R, whose header is among them, as the kernel would: with K. How
 * many octets; OUT gets them, in TLS 1.3 with the type of the record behind them. */
static int open_record(const struct offload *o, const struct offload_keys *k, const uint8_t *r,
		       size_t n, uint8_t *out)
{
	const EVP_CIPHER *kind = o->key_n == 16 ? EVP_aes_128_gcm() : EVP_aes_256_gcm();
	bool new = o->version == TLS1_3_VERSION;
	size_t at = new ? 5 : 13, text = n - at - 16;
	uint8_t nonce[OFFLOAD_NONCE], with[13], tag[16];
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int len, last;

	memcpy(nonce, k->nonce, sizeof(nonce));
	for (size_t i = 0; i < OFFLOAD_SEQUENCE && new; i++)
		nonce[OFFLOAD_SALT + i] ^= k->sequence[i];
	if (!new) /* the kernel's next one is what OpenSSL takes next */
		assert_memory_equal(r + 5, k->nonce + OFFLOAD_SALT, 8);
	memcpy(with, new ? r : k->sequence, new ? 5 : 8);
	if (!new) {
		memcpy(with + 8, r, 3);
		with[11] = (uint8_t)(text >> 8);
		with[12] = (uint8_t)text;
	}
	memcpy(tag, r + n - 16, sizeof(tag));
	assert_int_equal(EVP_DecryptInit_ex(ctx, kind, NULL, k->key, nonce), 1);
	assert_int_equal(EVP_DecryptUpdate(ctx, NULL, &len, with, new ? 5 : 13), 1);
	assert_int_equal(EVP_DecryptUpdate(ctx, out, &len, r + at, (int)text), 1);
	assert_int_equal(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, 16, tag), 1);
	assert_int_equal(EVP_DecryptFinal_ex(ctx, out + len, &last), 1);
	EVP_CIPHER_CTX_free(ctx);
	return len + last;
}

/* What FROM says next is a record that its own keys open, at the place that they are for. */
static void says(struct env *e, struct stream *from, struct stream *to, const struct offload *o)
{
	uint8_t raw[2048], text[2048];
	ssize_t n;
	size_t at = 0;

	send_all(e, from, "word", 4);
	n = recv(to->fd, raw, sizeof(raw), 0);
	assert_true(n > 0);
	/* A ticket of TLS 1.3 may stand before it. */
	for (size_t len; at + (len = 5 + (size_t)(raw[at + 3] << 8 | raw[at + 4])) < (size_t)n;)
		at += len;
	n = open_record(o, &o->ours, raw + at, (size_t)n - at, text);
	assert_int_equal(n, o->version == TLS1_3_VERSION ? 5 : 4);
	assert_memory_equal(text, "word", 4);
}

static void keys(struct env *e)
{
	struct offload server, client;
	struct world w;
	struct pair p;

	open_world_for(e, &w, 2, true);
	for (size_t i = 0; i < CIPHERS; i++) {
		p = meet_by(e, &w, i);
		assert_int_equal(tls_secrets_keys(tls_of(&p.server), &server),
				 ciphers[i].key_n > 0);
		assert_int_equal(tls_secrets_keys(tls_of(&p.client), &client),
				 ciphers[i].key_n > 0);
		assert_int_equal(server.key_n, ciphers[i].key_n);
		if (ciphers[i].key_n) {
			assert_memory_equal(server.ours.key, client.theirs.key, OFFLOAD_KEY);
			assert_memory_equal(server.theirs.key, client.ours.key, OFFLOAD_KEY);
			says(e, &p.server, &p.client, &server);
			says(e, &p.client, &p.server, &client);
		}
		part(e, &p);
	}
	close_world(&w);
}

/* Whether the kernel takes them over or not, they talk. */
static void taken_over(struct env *e)
{
	struct world w;
	struct pair p;

	open_world_for(e, &w, 2, true);
	for (size_t i = 0; i < CIPHERS; i++) {
		struct stream *both[2] = { &p.server, &p.client };

		p = meet_by(e, &w, i);
		for (size_t k = 0; k < 2; k++) {
			bool taken = tls_kernel_take_over(tls_of(both[k]));

			tls_kernel_settle(tls_of(both[k]));
			assert_int_equal(tls_of(both[k])->ssl == NULL, taken);
			assert_null(tls_of(both[k])->secrets);
			assert_false(taken && !ciphers[i].key_n);
		}
		carry(e, &p.server, &p.client, LARGE, 0);
		carry(e, &p.client, &p.server, LARGE, 0);
		part(e, &p);
	}
	close_world(&w);
}

/* ---- talking ---- */

static void talks(struct env *e, int version)
{
	static const size_t sizes[] = { 1, 200, 16384, 16385, 131072, LARGE };
	struct world w;
	struct pair p;

	open_world(e, &w, 2);
	SSL_CTX_set_max_proto_version(w.client, version);
	p = meet(e, &w);
	assert_int_equal(SSL_version(tls_of(&p.server)->ssl), version);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (unsigned how = 0; how < 3; how++) {
			carry(e, &p.client, &p.server, sizes[i], how);
			carry(e, &p.server, &p.client, sizes[i], how);
		}
	for (int i = 0; i < 5000 && stream_acked(&p.client) != STREAM_ACKED_ALL; i++)
		poll(NULL, 0, 1);
	assert_int_equal(stream_acked(&p.client), STREAM_ACKED_ALL);
	part(e, &p);
	close_world(&w);
}

static void tls13_talks(struct env *e)
{
	talks(e, TLS1_3_VERSION);
}

static void tls12_talks(struct env *e)
{
	talks(e, TLS1_2_VERSION);
}

/* Octets that wait inside of the layer wake a reader, who sees nothing in the socket. */
static void pending_data_and_engine_silent(struct env *e)
{
	struct world w;
	struct pair p;
	uint8_t in[8];

	open_world(e, &w, 2);
	p = meet(e, &w);
	send_all(e, &p.client, "abcdef", 6);
	assert_int_equal(next(e, &p.server, in, 2, 0), 2);
	assert_false(stream_silent(&p.server));
	assert_int_equal(stream_unread(&p.server), 4);
	assert_int_equal(next(e, &p.server, in + 2, 2, 0), 2);
	assert_int_equal(next(e, &p.server, in + 4, 2, 2), 2);
	assert_memory_equal(in, "abcdef", 6);
	assert_int_equal(stream_unread(&p.server), 0);
	assert_true(stream_silent(&p.server));
	part(e, &p);
	close_world(&w);
}

/* A ticket comes after the handshake, and is no word of the peer's. */
static void tickets_are_silent(struct env *e)
{
	struct stream *heard[1];
	struct world w;
	struct pair p;
	uint8_t in[8];

	open_world(e, &w, 2);
	p = meet(e, &w);
	heard[0] = &p.client;
	assert_int_equal(stream_heard(heard, 1), 0);
	assert_true(stream_silent(&p.client));
	assert_int_equal(stream_take(&p.client, in, sizeof(in)), -EAGAIN);
	stream_say(&p.server, "220 hi\r\n", 8);
	for (int i = 0; i < 5000 && stream_silent(&p.client); i++)
		poll(NULL, 0, 1);
	assert_int_equal(stream_heard(heard, 1), 1);
	assert_int_equal(stream_take(&p.client, in, sizeof(in)), 8);
	assert_memory_equal(in, "220 hi\r\n", 8);
	part(e, &p);
	close_world(&w);
}

/* ---- ends ---- */

static int recv_one(struct env *e, struct stream *st)
{
	struct watch w;
	uint8_t c;

	watch_init(&w);
	stream_recv(e->io, st, &w.op, &c, 1);
	return await(e, &w);
}

static void tidy_end(struct env *e)
{
	struct world w;
	struct pair p;

	open_world(e, &w, 2);
	p = meet(e, &w);
	stream_half_close(&p.client);
	assert_int_equal(recv_one(e, &p.server), 0);
	assert_true(tls_of(&p.server)->tidy);
	assert_false(stream_silent(&p.server));
	/* The other direction goes on. */
	send_all(e, &p.server, "bye", 3);
	assert_int_equal(recv_one(e, &p.client), 1);
	part(e, &p);
	close_world(&w);
}

static void untidy_end(struct env *e)
{
	struct world w;
	struct pair p;

	open_world(e, &w, 2);
	p = meet(e, &w);
	shutdown(p.client.fd, SHUT_WR);
	assert_int_equal(recv_one(e, &p.server), 0);
	assert_false(tls_of(&p.server)->tidy);
	assert_false(stream_silent(&p.server));
	assert_int_equal(recv_one(e, &p.server), 0);
	part(e, &p);
	close_world(&w);
}

/* An octet that was changed on its way ends the stream, and nothing of its record is seen. */
static void changed_record(struct env *e)
{
	static const uint8_t wrong[] = { 23, 3,	 3,  0,	 20, 1,	 2,  3,	 4,  5,	 6,  7, 8,
					 9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20 };
	struct world w;
	struct pair p;
	struct watch s;

	open_world(e, &w, 2);
	p = meet(e, &w);
	assert_int_equal(send(p.client.fd, wrong, sizeof(wrong), MSG_NOSIGNAL), sizeof(wrong));
	assert_int_equal(recv_one(e, &p.server), -EPROTO);
	assert_int_equal(tls_of(&p.server)->fault, TLS_FAULT_PROTOCOL);
	assert_int_equal(recv_one(e, &p.server), -EPROTO);
	watch_init(&s);
	stream_send(e->io, &p.server, &s.op, "x", 1, 0);
	assert_int_equal(s.calls, 0);
	assert_true(await(e, &s) < 0);
	part(e, &p);
	close_world(&w);
}

static void key_updates(struct env *e)
{
	struct world w;
	struct pair p;

	open_world(e, &w, 2);
	p = meet(e, &w);
	for (unsigned i = 0; i < 33; i++) {
		assert_int_equal(SSL_key_update(tls_of(&p.client)->ssl, SSL_KEY_UPDATE_REQUESTED),
				 1);
		send_all(e, &p.client, "x", 1);
		assert_int_equal(recv_one(e, &p.server), i < 32 ? 1 : -EPROTO);
	}
	/* The server's own new keys are understood. */
	part(e, &p);
	p = meet(e, &w);
	assert_int_equal(SSL_key_update(tls_of(&p.client)->ssl, SSL_KEY_UPDATE_REQUESTED), 1);
	carry(e, &p.client, &p.server, 1000, 0);
	carry(e, &p.server, &p.client, 1000, 0);
	part(e, &p);
	close_world(&w);
}

/* More of them in one go than anybody needs: the peer is read no further, whatever it has sent. */
static void keyupdate_flood(struct env *e)
{
	struct world w;
	struct pair p;
	struct tls_conn *c;
	int res = 1;

	open_world(e, &w, 2);
	p = meet(e, &w);
	c = tls_of(&p.client);
	for (unsigned i = 0; i < 3000; i++) {
		assert_int_equal(SSL_key_update(c->ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
		assert_int_equal(SSL_do_handshake(c->ssl), 1);
	}
	send_all(e, &p.client, "x", 1);
	while (res > 0)
		res = recv_one(e, &p.server);
	assert_int_equal(res, -EPROTO);
	assert_in_range(tls_of(&p.server)->late, 33, 1000);
	part(e, &p);
	close_world(&w);
}

/* ---- cancelling ---- */

static void cancels(struct env *e)
{
	struct world w;
	struct pair p;
	struct watch r, s;
	uint8_t in[4];

	open_world(e, &w, 2);
	p = meet(e, &w);
	watch_init(&r);
	stream_recv(e->io, &p.server, &r.op, in, sizeof(in));
	stream_cancel(e->io, &p.server, &r.op);
	assert_int_equal(r.calls, 0);
	assert_int_equal(await(e, &r), -ECANCELED);
	/* One that would have found octets inside: none of them is lost. */
	send_all(e, &p.client, "abcd", 4);
	assert_int_equal(next(e, &p.server, in, 2, 0), 2);
	watch_again(&r);
	stream_recv(e->io, &p.server, &r.op, in, sizeof(in));
	stream_cancel(e->io, &p.server, &r.op);
	assert_int_equal(await(e, &r), -ECANCELED);
	assert_int_equal(next(e, &p.server, in, 2, 0), 2);
	assert_memory_equal(in, "cd", 2);
	/* A peer that does not read. */
	static uint8_t lots[LARGE];
	bool stuck = false;

	small_buffer(p.server.fd);
	while (!stuck) {
		watch_init(&s);
		stream_send(e->io, &p.server, &s.op, lots, sizeof(lots), 0);
		run_for(e, 20);
		stuck = !s.over;
	}
	stream_cancel(e->io, &p.server, &s.op);
	assert_int_equal(await(e, &s), -ECANCELED);
	part(e, &p);
	close_world(&w);
}

/* ---- handshakes ---- */

/* What becomes of a handshake when a peer sends OCTETS, and then (END) no more. */
static enum tls_fault after(struct env *e, const void *octets, size_t n, bool end)
{
	enum tls_fault fault;
	struct world w;
	struct watch h;
	int sv[2];

	open_world(e, &w, 2);
	tcp_pair(sv);
	struct stream st = server_on(&w, sv[0]);

	watch_init(&h);
	tls_handshake(tls_of(&st), &h.op);
	if (n)
		assert_int_equal(send(sv[1], octets, n, MSG_NOSIGNAL), n);
	if (end)
		shutdown(sv[1], SHUT_WR);
	if (!end && n == 0)
		stream_cancel(e->io, &st, &h.op);
	assert_true(await(e, &h) < 0);
	fault = tls_of(&st)->fault;
	assert_null(tls_of(&st)->ssl);
	stream_close(e->io, &st);
	close(sv[1]);
	close_world(&w);
	return fault;
}

static void peers_that_speak_no_tls(struct env *e)
{
	assert_int_equal(after(e, "EHLO client.test\r\n", 18, false), TLS_FAULT_NOT_TLS);
	assert_int_equal(after(e, "\x16\x03\x01\x02\x00\x01\x00\x20\x00", 9, false),
			 TLS_FAULT_PROTOCOL); /* a ClientHello of 8 KiB */
	assert_int_equal(after(e, "\x16\x03\x01", 3, true), TLS_FAULT_CLOSED);
	assert_int_equal(after(e, "", 0, true), TLS_FAULT_CLOSED);
	assert_int_equal(after(e, "", 0, false), TLS_FAULT_TIMEOUT);
}

/* A cancel that comes together with octets is none the less one. */
static void cancelled_while_it_comes(struct env *e)
{
	struct world w;
	struct watch h;
	int sv[2];

	open_world(e, &w, 2);
	tcp_pair(sv);
	struct stream st = server_on(&w, sv[0]);

	watch_init(&h);
	tls_handshake(tls_of(&st), &h.op);
	run_for(e, 1);
	assert_int_equal(send(sv[1], "\x16\x03\x01", 3, MSG_NOSIGNAL), 3);
	stream_cancel(e->io, &st, &h.op);
	assert_int_equal(await(e, &h), -ECANCELED);
	assert_int_equal(tls_of(&st)->fault, TLS_FAULT_TIMEOUT);
	stream_close(e->io, &st);
	close(sv[1]);
	close_world(&w);
}

/* A ClientHello that OpenSSL has made. */
static size_t make_hello(uint8_t *out, size_t cap, void (*change)(SSL *ssl))
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	BIO *bio = BIO_new(BIO_s_mem());

	if (change)
		change(ssl);
	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), bio);
	SSL_set_connect_state(ssl);
	(void)SSL_do_handshake(ssl);
	int n = BIO_read(bio, out, (int)cap);

	assert_true(n > 0);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	ERR_clear_error();
	return (size_t)n;
}

static void only_p384(SSL *ssl)
{
	SSL_set1_groups_list(ssl, "P-384");
}

static void only_tls11(SSL *ssl)
{
	SSL_set_security_level(ssl, 0);
	SSL_set_min_proto_version(ssl, TLS1_VERSION);
	SSL_set_max_proto_version(ssl, TLS1_1_VERSION);
}

static void http(SSL *ssl)
{
	SSL_set_alpn_protos(ssl, (const unsigned char *)"\x02h2\x08http/1.1", 12);
}

static enum tls_fault answer_to(struct env *e, void (*change)(SSL *ssl), bool alpn)
{
	uint8_t hello[4096], in[512];
	size_t n = make_hello(hello, sizeof(hello), change);
	enum tls_fault fault;
	struct world w;
	struct watch h;
	int sv[2];

	open_world(e, &w, 2);
	tcp_pair(sv);
	struct stream st = server_on(&w, sv[0]);

	tls_of(&st)->role.alpn = alpn;
	watch_init(&h);
	tls_handshake(tls_of(&st), &h.op);
	/* In the smallest pieces: it is put together first. */
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(send(sv[1], hello + i, 1, MSG_NOSIGNAL), 1);
		if (i % 64 == 0)
			run_for(e, 1);
	}
	for (int i = 0; i < 200 && !h.over && !io_in_flight(&tls_of(&st)->rx); i++)
		run_for(e, 5);
	run_for(e, 20);
	if (!h.over)
		stream_cancel(e->io, &st, &h.op);
	assert_true(outcome(e, &h) < 0);
	fault = tls_of(&st)->fault;
	if (fault != TLS_FAULT_TIMEOUT) { /* the peer is told */
		assert_true(recv(sv[1], in, sizeof(in), 0) >= 7);
		assert_int_equal(in[0], 21);
	}
	stream_close(e->io, &st);
	close(sv[1]);
	close_world(&w);
	return fault;
}

static void clients_that_are_refused(struct env *e)
{
	assert_int_equal(answer_to(e, NULL, true), TLS_FAULT_TIMEOUT); /* it waits for the rest */
	assert_int_equal(answer_to(e, only_p384, false), TLS_FAULT_CIPHER);
	assert_int_equal(answer_to(e, only_tls11, false), TLS_FAULT_VERSION);
	assert_int_equal(answer_to(e, http, true), TLS_FAULT_ALPN);
	assert_int_equal(answer_to(e, http, false), TLS_FAULT_TIMEOUT);
}

/* One handshake at a time: the next begins when the first is over, in their order. One that gives
 * up while it waits makes no difference. */
static void turns(struct env *e)
{
	enum { COUNT = 4 };
	struct stream server[COUNT], client[COUNT];
	struct watch a[COUNT], b[COUNT];
	struct world w;

	open_world(e, &w, 1);
	for (unsigned i = 0; i < COUNT; i++) {
		int sv[2];

		tcp_pair(sv);
		server[i] = server_on(&w, sv[0]);
		client[i] = stream_of(sv[1]);
		watch_init(&a[i]);
		tls_handshake(tls_of(&server[i]), &a[i].op);
	}
	uint8_t hello[4096];
	size_t n = make_hello(hello, sizeof(hello), NULL);

	/* The first never goes on behind its ClientHello. */
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(send(client[i].fd, hello, n, MSG_NOSIGNAL), n);
		run_for(e, 30);
	}
	assert_int_equal(w.tls.under_way, 1);
	assert_int_equal(tls_of(&server[1])->state, TLS_WAITING);
	for (unsigned i = 2; i < COUNT; i++) {
		client[i] = layered(&w, client[i].fd, w.client, false);
		/* The clients of this test have their turns too, and are not to wait for them. */
		w.tls.most = 3;
		watch_init(&b[i]);
		tls_handshake(tls_of(&client[i]), &b[i].op);
	}
	w.tls.most = 1;
	run_for(e, 30);
	assert_false(a[2].over);
	stream_cancel(e->io, &server[1], &a[1].op);
	assert_int_equal(await(e, &a[1]), -ECANCELED);
	assert_int_equal(tls_of(&server[1])->fault, TLS_FAULT_TIMEOUT);
	w.tls.most = 3;
	stream_cancel(e->io, &server[0], &a[0].op);
	assert_int_equal(await(e, &a[0]), -ECANCELED);
	for (unsigned i = 2; i < COUNT; i++) {
		assert_int_equal(outcome(e, &a[i]), 0);
		assert_int_equal(outcome(e, &b[i]), 0);
	}
	for (unsigned i = 0; i < COUNT; i++) {
		stream_close(e->io, &server[i]);
		stream_close(e->io, &client[i]);
	}
	close_world(&w);
}

/* A connection that ends without a handshake, or within one, leaves nothing behind. */
static void left_alone(struct env *e)
{
	struct world w;
	int sv[2];

	open_world(e, &w, 1);
	tcp_pair(sv);
	struct tls_conn *c = tls_begin(&w.tls, sv[0], &(struct tls_role){ .server = true });

	tls_end(c);
	io_close(e->io, sv[0]);
	close(sv[1]);
	close_world(&w);
}

const struct engine_case tls_cases[] = {
	{ .name = "tls 1.3 talks", .run = tls13_talks, .seeds = 4 },
	{ .name = "tls 1.2 talks", .run = tls12_talks, .seeds = 4 },
	{ .name = "tls keys for the kernel", .run = keys },
	{ .name = "tls taken over by the kernel", .run = taken_over },
	{ .name = "tls pending_data_and_engine_silent", .run = pending_data_and_engine_silent },
	{ .name = "tls tickets are silent", .run = tickets_are_silent },
	{ .name = "tls tidy end", .run = tidy_end },
	{ .name = "tls untidy end", .run = untidy_end },
	{ .name = "tls changed record", .run = changed_record },
	{ .name = "tls key updates", .run = key_updates, .seeds = 4 },
	{ .name = "tls keyupdate_flood", .run = keyupdate_flood, .seeds = 2 },
	{ .name = "tls cancelled while it comes", .run = cancelled_while_it_comes },
	{ .name = "tls cancels", .run = cancels, .seeds = 4 },
	{ .name = "tls peers that speak none", .run = peers_that_speak_no_tls, .seeds = 4 },
	{ .name = "tls clients that are refused", .run = clients_that_are_refused, .seeds = 3 },
	{ .name = "tls turns", .run = turns, .seeds = 4 },
	{ .name = "tls left alone", .run = left_alone },
	{ 0 },
};
