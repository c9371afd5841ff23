/* SPDX-License-Identifier: ISC */
/*
 * Paths of MAIL and RCPT: what is taken has one meaning. Written again and read again it is the
 * same path; nothing in it can be read as a second address or as a second path; its flags say what
 * is in its octets.
 */
#include "fuzz.h"
#include "smtp/path.h"

static bool holds(struct span s, const char *any)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] && strchr(any, s.p[i]))
			return true;
	return false;
}

static bool holds_eight_bit(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] >= 0x80)
			return true;
	return false;
}

/* How often C stands outside quotes. */
static unsigned unquoted(struct span s, uint8_t c)
{
	bool quoted = false;
	unsigned count = 0;

	for (size_t i = 0; i < s.n; i++) {
		if (quoted && s.p[i] == '\\')
			i++;
		else if (s.p[i] == '"')
			quoted = !quoted;
		else if (!quoted && s.p[i] == c)
			count++;
	}
	CHECK(!quoted);
	return count;
}

static void check_parts(const struct smtp_path *path, bool reverse)
{
	struct span local = path->local, domain = path->domain;

	CHECK(!path->null || (reverse && !path->postmaster && !path->bare));
	CHECK(!path->bare || reverse);
	CHECK(!path->postmaster || !reverse);
	if (path->null || path->postmaster) {
		CHECK(domain.n == 0 && !path->routed && !path->quoted && !path->eight_bit);
		return;
	}
	CHECK(local.n >= 1 && local.n <= SMTP_LOCAL_MAX);
	CHECK(path->bare ? domain.n == 0 : domain.n >= 1 && domain.n <= SMTP_DOMAIN_MAX);
	CHECK(path->quoted == (local.p[0] == '"'));
	CHECK(path->eight_bit == (holds_eight_bit(local) || holds_eight_bit(domain)));
	CHECK(path->literal == (domain.n > 0 && domain.p[0] == '['));
	CHECK(domain.n == 0 || domain.p[domain.n - 1] != '.');
	/* More may count as routing than these, but never less. */
	CHECK(path->routed || !holds(local, "%!@:\\"));
	CHECK(path->quoted || !holds(local, " @:\\\"<>(),;[]"));
	CHECK(!holds(domain, " @\\\"<>(),;%!"));
	CHECK(path->literal || !holds(domain, "[]:"));
}

static void check_rebuilt(const struct smtp_path *path, struct span built, bool reverse)
{
	struct smtp_path again;
	char text[SMTP_PATH_MAX + 1];
	size_t used, len = smtp_path_text(path, text);
	uint8_t *copy = fuzz_copy(built);

	CHECK(built.n >= 2 && built.n <= SMTP_PATH_MAX);
	CHECK(built.p[0] == '<' && built.p[built.n - 1] == '>');
	CHECK(unquoted(built, '<') == 1 && unquoted(built, '>') == 1);
	CHECK(unquoted(built, '@') == (path->null || path->postmaster || path->bare ? 0 : 1));
	CHECK(!memchr(built.p + 1, '<', built.n - 1) && !memchr(built.p, '>', built.n - 1));
	for (size_t i = 0; i < built.n; i++)
		CHECK(!fuzz_is_control(built.p[i]));
	CHECK(text[len] == '\0' && span_eq(span_of(text, len), span_of(built.p + 1, built.n - 2)));

	CHECK(smtp_path_parse(&again, span_of(copy, built.n), reverse, &used) == SMTP_PATH_OK);
	CHECK(used == built.n);
	CHECK(again.null == path->null && again.postmaster == path->postmaster);
	CHECK(again.bare == path->bare);
	CHECK(again.quoted == path->quoted && again.routed == path->routed);
	CHECK(again.eight_bit == path->eight_bit && again.literal == path->literal);
	CHECK(path->postmaster ? span_eq_nocase(again.local, path->local)
			       : span_eq(again.local, path->local));
	CHECK(span_eq(again.domain, path->domain));
	free(copy);
}

/* Nothing but a blank behind a path leaves it one. */
static void check_followed(struct span in, bool reverse)
{
	uint8_t *more = malloc(in.n + 2);
	struct smtp_path path;
	size_t used;

	CHECK(more);
	memcpy(more, in.p, in.n);
	memcpy(more + in.n, " X", 2);
	CHECK(smtp_path_parse(&path, span_of(more, in.n + 2), reverse, &used) == SMTP_PATH_OK);
	CHECK(used == in.n);
	memcpy(more + in.n, "X ", 2);
	CHECK(smtp_path_parse(&path, span_of(more, in.n + 2), reverse, &used) == SMTP_PATH_BESIDE);
	memcpy(more + in.n, ">", 1);
	CHECK(smtp_path_parse(&path, span_of(more, in.n + 1), reverse, &used) == SMTP_PATH_BESIDE);
	free(more);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	bool reverse = fuzz_choice(&in) & 1;
	uint8_t *copy = fuzz_copy(in), mem[SMTP_PATH_MAX];
	struct smtp_path path;
	struct buf out;
	size_t used = 0;

	enum smtp_path_fault fault = smtp_path_parse(&path, span_of(copy, in.n), reverse, &used);

	if (fault != SMTP_PATH_OK) {
		CHECK(*smtp_path_reply(fault, reverse) == '5' && fault != SMTP_PATH_NEEDS_UTF8);
	} else {
		CHECK(used >= 2 && used <= in.n);
		CHECK(used == in.n || copy[used] == ' ');
		check_parts(&path, reverse);
		buf_init(&out, mem, sizeof(mem));
		CHECK(smtp_path_build(&path, &out) == 0);
		check_rebuilt(&path, buf_span(&out), reverse);
		check_followed(span_of(copy, used), reverse);
		/* Where there is no room, nothing is written. */
		size_t n = buf_len(&out);

		buf_init(&out, mem, n - 1);
		CHECK(smtp_path_build(&path, &out) == -ENOBUFS && buf_len(&out) == 0);
	}
	free(copy);
	return 0;
}
