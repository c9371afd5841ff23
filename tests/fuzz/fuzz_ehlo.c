/* SPDX-License-Identifier: ISC */
/*
 * The answer to EHLO as a client sees it: a well-formed reply that names no extension beside those
 * of the mask and of the destination, each once, and filtered again stays as it is.
 */
#include "fuzz.h"
#include "smtp/ehlo.h"
#include "smtp/offer.h"

static const struct {
	const char *name;
	uint32_t ext;
} known[] = {
	{ "PIPELINING", SMTP_EXT_PIPELINING },
	{ "SIZE", SMTP_EXT_SIZE },
	{ "8BITMIME", SMTP_EXT_8BITMIME },
	{ "SMTPUTF8", SMTP_EXT_SMTPUTF8 },
	{ "DSN", SMTP_EXT_DSN },
	{ "ENHANCEDSTATUSCODES", SMTP_EXT_ENHANCED },
	{ "AUTH", SMTP_EXT_AUTH },
	{ "HELP", SMTP_EXT_HELP },
	{ "CHUNKING", SMTP_EXT_CHUNKING },
	{ "BINARYMIME", SMTP_EXT_BINARYMIME },
	{ "STARTTLS", SMTP_EXT_STARTTLS },
	{ "XCLIENT", SMTP_EXT_XCLIENT },
};

/* The extension that LINE names; "AUTH=" is told from "AUTH " by *OLD. */
static uint32_t named(struct span line, bool *old)
{
	size_t n = 0;

	while (n < line.n && line.p[n] != ' ' && line.p[n] != '=')
		n++;
	*old = n < line.n && line.p[n] == '=';
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (span_eq_nocase(span_of(line.p, n), span_str(known[i].name)))
			return known[i].ext;
	return 0;
}

/* What REPLY offers, as the client sees it. */
static int filter(const struct smtp_reply *reply, uint32_t mask, uint32_t *ext, uint64_t *size,
		  struct buf *out)
{
	struct smtp_offer offer;

	smtp_offer_read(&offer, reply);
	if (!(offer.ext & mask & SMTP_EXT_SIZE)) /* each is of no use without the other */
		offer.ext &= ~(uint32_t)SMTP_EXT_CHUNKING;
	if (!(offer.ext & mask & SMTP_EXT_CHUNKING))
		offer.ext &= ~(uint32_t)SMTP_EXT_BINARYMIME;
	*ext = offer.ext;
	*size = offer.size_max;
	return smtp_ehlo_filter(reply, &offer, mask, out);
}

static void check_answer(const struct smtp_reply *from, struct span out, uint32_t mask,
			 uint32_t ext)
{
	struct span first, line, was;
	struct smtp_reply reply;
	uint32_t seen = 0, seen_old = 0;
	size_t used, at = 0, was_at = 0;
	bool old;

	CHECK(smtp_reply_parse(out, &reply, &used) == SMTP_REPLY_OK && used == out.n);
	CHECK(reply.code == 250);
	CHECK(smtp_reply_line(&reply, &at, &first) && smtp_reply_line(from, &was_at, &was));
	CHECK(span_eq(first, was));
	while (smtp_reply_line(&reply, &at, &line)) {
		uint32_t one = named(line, &old), *all = old ? &seen_old : &seen;

		CHECK(one && (one & mask) && (one & ext));
		CHECK(!old || one == SMTP_EXT_AUTH);
		CHECK(!(*all & one));
		*all |= one;
		for (size_t i = 0; i < line.n; i++)
			CHECK(line.p[i] >= ' ' && line.p[i] <= '~');
	}
	CHECK((seen | seen_old) == (ext & mask));
}

/* *N octets at P, filtered again with the same and with no mask. */
static void check_again(struct span out, uint32_t mask, uint32_t want_ext, uint64_t want_size)
{
	uint8_t *mem = malloc(SMTP_REPLY_MAX + SMTP_EHLO_GROWS);
	struct smtp_reply reply;
	struct buf again;
	uint32_t ext;
	uint64_t size;
	size_t used;

	CHECK(mem && smtp_reply_parse(out, &reply, &used) == SMTP_REPLY_OK);
	buf_init(&again, mem, SMTP_REPLY_MAX + SMTP_EHLO_GROWS);
	CHECK(filter(&reply, mask, &ext, &size, &again) == 0);
	CHECK(span_eq(buf_span(&again), out));
	CHECK(ext == (want_ext & mask));
	CHECK(size == (mask & SMTP_EXT_SIZE ? want_size : 0));
	/* Where there is no room, nothing is written. */
	buf_init(&again, mem, out.n - 1);
	CHECK(filter(&reply, mask, &ext, &size, &again) == -ENOBUFS);
	CHECK(buf_len(&again) == 0);
	free(mem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	uint32_t mask = fuzz_choice(&in), ext = ~0u;
	uint8_t *copy = NULL, *mem = NULL;
	struct smtp_reply reply;
	uint64_t size_max = 1;
	size_t used;
	struct buf out;

	mask |= (uint32_t)fuzz_choice(&in) << 8;
	copy = fuzz_copy(in);
	mem = malloc(SMTP_REPLY_MAX + SMTP_EHLO_GROWS);
	CHECK(mem);
	if (smtp_reply_parse(span_of(copy, in.n), &reply, &used) == SMTP_REPLY_OK &&
	    reply.code == 250) {
		buf_init(&out, mem, SMTP_REPLY_MAX + SMTP_EHLO_GROWS);
		CHECK(filter(&reply, mask, &ext, &size_max, &out) == 0);
		CHECK(buf_len(&out) <= reply.text.n + SMTP_EHLO_GROWS);
		check_answer(&reply, buf_span(&out), mask, ext);
		check_again(buf_span(&out), mask, ext, size_max);
	}
	free(mem);
	free(copy);
	return 0;
}
