/* SPDX-License-Identifier: ISC */
/*
 * body: what the messages contain. Lines of 76 printable octets, made from the seed, as encoded
 * parts of real mail have; every 40th begins with a dot, so that who forgets to take one out, or
 * takes one too many, is found out. The line that holds the number makes each message unlike every
 * other, so that a message lost and another delivered twice are seen too.
 */
#include "inner.h"

#include <err.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define LINE	  78u /* with CR LF */
#define DOT_EVERY 40u

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

void load_head(char out[LOAD_HEAD + 1], uint64_t number)
{
	int n = snprintf(out, LOAD_HEAD + 1, "X-Load: %018llu\r\n", (unsigned long long)number);

	CHECK(n == (int)LOAD_HEAD);
}

static const char header[] = "From: <load@client.test>\r\n"
			     "Subject: caronte-load\r\n"
			     "\r\n";

/* N octets at P: the header, then lines; it always ends in CR LF. */
static void fill(uint8_t *p, size_t n, uint64_t seed)
{
	static const char letters[64] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
					"abcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t at = sizeof(header) - 1, line;

	memcpy(p, header, at);
	for (unsigned nth = 1; at < n; nth++) {
		line = n - at < LINE + 2 ? n - at : LINE;
		if (line > LINE)
			line -= 2; /* two octets at least stay for the last line */
		for (size_t i = 0; i < line - 2; i++) {
			seed = i % 10 ? seed >> 6 : mix(seed + at + i);
			p[at + i] = (uint8_t)letters[seed & 63];
		}
		if (nth % DOT_EVERY == 0 && line > 2)
			p[at] = '.';
		memcpy(p + at + line - 2, "\r\n", 2);
		at += line;
	}
}

/* TEXT with dots doubled and the end of data. */
static struct span stuff(struct span text)
{
	uint8_t *out = malloc(text.n + text.n / LINE + 8);
	bool start = true;
	size_t n = 0;

	if (!out)
		err(EX_OSERR, "bodies");
	for (size_t i = 0; i < text.n; i++) {
		if (start && text.p[i] == '.')
			out[n++] = '.';
		out[n++] = text.p[i];
		start = text.p[i] == '\n';
	}
	memcpy(out + n, ".\r\n", 3);
	return span_of(out, n + 3);
}

void load_bodies_make(struct load_bodies *b, const struct load_options *o)
{
	b->opt = o;
	b->weights = 0;
	for (unsigned i = 0; i < o->size_count; i++) {
		struct load_body *body = &b->body[i];
		size_t n = o->sizes[i].octets - LOAD_HEAD;
		uint8_t *text = malloc(n);

		if (!text)
			err(EX_OSERR, "bodies");
		fill(text, n, mix(o->seed + i));
		body->octets = o->sizes[i].octets;
		body->content = span_of(text, n);
		body->wire = o->bdat ? span_of(NULL, 0) : stuff(body->content);
		b->weights += o->sizes[i].weight;
	}
}

const struct load_body *load_body_of(const struct load_bodies *b, uint64_t number)
{
	uint64_t at = mix(b->opt->seed ^ (number * 2 + 1)) % b->weights;

	for (unsigned i = 0;; i++) {
		if (at < b->opt->sizes[i].weight)
			return &b->body[i];
		at -= b->opt->sizes[i].weight;
	}
}

int load_digest(const struct load_bodies *b, uint64_t number, char out[65])
{
	const struct load_body *body = load_body_of(b, number);
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	char head[LOAD_HEAD + 1];
	uint8_t sum[32];
	bool good;

	load_head(head, number);
	good = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
	       EVP_DigestUpdate(md, head, LOAD_HEAD) == 1 &&
	       EVP_DigestUpdate(md, body->content.p, body->content.n) == 1 &&
	       EVP_DigestFinal_ex(md, sum, NULL) == 1;
	EVP_MD_CTX_free(md);
	for (unsigned i = 0; good && i < sizeof(sum); i++)
		sprintf(out + (size_t)2 * i, "%02x", sum[i]);
	return good ? 0 : -ENOMEM;
}
