/* SPDX-License-Identifier: ISC */
/*
 * path: see path.h. One pass from left to right; each part takes only the octets that it may hold,
 * so that whatever is left over at its end is a fault of the whole path. The first fault that is
 * met, from left to right, is the one that is told.
 */
#include "smtp/path.h"

#include <arpa/inet.h>

#include "smtp/put.h"
#include "smtp/utf8.h"
#include "smtp/words.h"

struct cursor {
	struct span in;
	size_t at;
	enum smtp_path_fault fault;
};

/* The octet at the cursor, or -1 at the end. */
static int peek(const struct cursor *c)
{
	return c->at < c->in.n ? c->in.p[c->at] : -1;
}

static bool take(struct cursor *c, int octet)
{
	if (peek(c) != octet)
		return false;
	c->at++;
	return true;
}

static bool fail(struct cursor *c, enum smtp_path_fault fault)
{
	c->fault = fault;
	return false;
}

/* What is wrong with the octet at the cursor, which ends no part of a path. */
static bool fail_here(struct cursor *c, enum smtp_path_fault otherwise)
{
	int octet = peek(c);

	if (octet < 0)
		return fail(c, SMTP_PATH_NOT_CLOSED);
	if (octet < 0x20 || octet == 0x7f)
		return fail(c, SMTP_PATH_CONTROL);
	switch (octet) {
	case ' ':
		return fail(c, SMTP_PATH_BLANK);
	case '(':
	case ')':
		return fail(c, SMTP_PATH_COMMENT);
	case ':':
	case '\\':
		return fail(c, SMTP_PATH_ROUTING);
	case '"':
		return fail(c, SMTP_PATH_QUOTE);
	case '<':
	case '>':
		return fail(c, SMTP_PATH_BRACKET);
	case '@':
		return fail(c, SMTP_PATH_TWO_AT);
	default:
		return fail(c, otherwise);
	}
}

static bool is_alnum(int c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* RFC 5322 3.2.3. */
static bool is_atext(int c)
{
	return is_alnum(c) || (c > 0 && c < 0x80 && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

/* Characters that some server may turn into % ! @ : or \ (Unicode NFKC). */
static bool folds_to_routing(int32_t code)
{
	static const uint16_t folded[] = {
		0xff05, 0xfe6a,					/* % */
		0xff01, 0xfe57, 0xfe15, 0x203c, 0x2048, 0x2049, /* ! */
		0xff20, 0xfe6b,					/* @ */
		0xff1a, 0xfe55, 0xfe13, 0x2a74,			/* : */
		0xff3c, 0xfe68,					/* \ */
	};

	for (size_t i = 0; i < sizeof(folded) / sizeof(folded[0]); i++)
		if (code == folded[i])
			return true;
	return false;
}

/* One character above ASCII. C1 controls and Unicode's line separators are control characters. */
static bool take_utf8(struct smtp_path *path, struct cursor *c, int32_t *code)
{
	*code = smtp_utf8_next(c->in, &c->at);
	if (*code < 0xa0 || *code == 0x2028 || *code == 0x2029)
		return fail(c, SMTP_PATH_UTF8);
	path->eight_bit = true;
	return true;
}

/* Behind the opening quote, to behind the closing one (RFC 5321 4.1.2 Quoted-string). */
static bool take_quoted(struct smtp_path *path, struct cursor *c)
{
	size_t start = c->at;
	int32_t code;
	int octet;

	path->quoted = true;
	while ((octet = peek(c)) >= 0 && octet != '"') {
		if (octet >= 0x80) {
			if (!take_utf8(path, c, &code))
				return false;
			path->routed |= folds_to_routing(code);
			continue;
		}
		c->at++;
		if (octet == '\\') {
			path->routed = true;
			octet = peek(c);
			c->at++;
		}
		if (octet < 0)
			break;
		if (octet < 0x20 || octet == 0x7f)
			return fail(c, SMTP_PATH_CONTROL);
		if (octet >= 0x80)
			return fail(c, SMTP_PATH_UTF8);
		/* A server that looks for the first > would see another path. */
		if (octet == '<' || octet == '>')
			return fail(c, SMTP_PATH_BRACKET);
		path->routed |= strchr("%!@:", octet) != NULL;
	}
	if (octet < 0)
		return fail(c, SMTP_PATH_QUOTE_OPEN);
	if (c->at == start)
		return fail(c, SMTP_PATH_NO_LOCAL);
	return take(c, '"');
}

static bool take_dot_string(struct smtp_path *path, struct cursor *c)
{
	size_t start = c->at;
	bool any = false;
	int32_t code;
	int octet;

	for (; (octet = peek(c)) >= 0; any |= octet != '.') {
		if (octet >= 0x80) {
			if (!take_utf8(path, c, &code))
				return false;
			path->routed |= folds_to_routing(code);
			continue;
		}
		if (octet != '.' && !is_atext(octet))
			break;
		path->routed |= octet == '%' || octet == '!';
		c->at++;
	}
	if (any)
		return true;
	if (c->at > start) /* dots alone */
		return fail(c, SMTP_PATH_NO_LOCAL);
	return octet == '@' ? fail(c, SMTP_PATH_SOURCE_ROUTE) : fail_here(c, SMTP_PATH_LOCAL);
}

/* Exchange packs foreign addresses as IMCEAtype-address and unpacks them before it routes; EX is
 * its own directory and leads nowhere else. */
static bool is_encapsulated(struct span local, bool quoted)
{
	struct span s = quoted ? span_from(local, 1) : local;
	size_t type = 5;

	if (!span_starts_nocase(s, SPAN("IMCEA")) || span_starts_nocase(s, SPAN("IMCEAEX-")))
		return false;
	while (type < s.n && is_alnum(s.p[type]))
		type++;
	return type < s.n && s.p[type] == '-';
}

/* Python's servers (aiosmtpd, smtpd) decode what looks like a word of RFC 2047, as headers have
 * them: "=?utf-8?q?user=25domain?=". */
static bool is_encoded(struct span local)
{
	return local.n >= 2 && memmem(local.p, local.n, "=?", 2);
}

static bool take_local(struct smtp_path *path, struct cursor *c)
{
	size_t start = c->at;

	if (!(take(c, '"') ? take_quoted(path, c) : take_dot_string(path, c)))
		return false;
	path->local = span_of(c->in.p + start, c->at - start);
	path->routed |= is_encapsulated(path->local, path->quoted) || is_encoded(path->local);
	return path->local.n <= SMTP_LOCAL_MAX || fail(c, SMTP_PATH_LOCAL_LONG);
}

/* Behind the opening bracket, to behind the closing one (4.1.3): an IPv4 or an IPv6 address. */
static bool take_literal(struct smtp_path *path, struct cursor *c)
{
	char text[64];
	uint8_t address[16];
	struct span body = span_from(c->in, c->at);
	const uint8_t *close = body.n ? memchr(body.p, ']', body.n) : NULL;
	int family = AF_INET;

	if (!close)
		return fail(c, SMTP_PATH_LITERAL);
	body.n = (size_t)(close - body.p);
	c->at += body.n + 1;
	if (span_starts_nocase(body, SPAN("IPv6:"))) {
		body = span_from(body, 5);
		family = AF_INET6;
	}
	if (body.n >= sizeof(text) || (body.n && memchr(body.p, '\0', body.n)))
		return fail(c, SMTP_PATH_LITERAL);
	memcpy(text, body.p, body.n);
	text[body.n] = '\0';
	path->literal = true;
	return inet_pton(family, text, address) == 1 || fail(c, SMTP_PATH_LITERAL);
}

/* Labels of letters, digits, hyphens, underscores and UTF-8; none is empty but for one final dot.
 */
static bool take_name(struct smtp_path *path, struct cursor *c, bool *final_dot)
{
	bool label = false;
	int32_t code;
	int octet;

	while ((octet = peek(c)) >= 0 && octet != '>') {
		if (octet >= 0x80) {
			if (!take_utf8(path, c, &code))
				return false;
			label = true;
			continue;
		}
		if (octet == '.') {
			if (!label)
				return fail(c, SMTP_PATH_LABEL);
			label = false;
		} else if (is_alnum(octet) || octet == '-' || octet == '_') {
			label = true;
		} else {
			return fail_here(c, SMTP_PATH_DOMAIN);
		}
		c->at++;
	}
	*final_dot = !label;
	return true;
}

static bool take_domain(struct smtp_path *path, struct cursor *c)
{
	size_t start = c->at;
	bool final_dot = false;

	if (!(take(c, '[') ? take_literal(path, c) : take_name(path, c, &final_dot)))
		return false;
	path->domain = span_of(c->in.p + start, c->at - start);
	if (path->domain.n == 0)
		return fail(c, SMTP_PATH_NO_DOMAIN);
	path->domain.n -= final_dot;
	return (path->domain.n <= SMTP_DOMAIN_MAX &&
		path->local.n + path->domain.n + 3 <= SMTP_PATH_MAX) ||
	       fail(c, SMTP_PATH_LONG);
}

/* Between the brackets. */
static bool take_mailbox(struct smtp_path *path, struct cursor *c, bool reverse)
{
	if (peek(c) == '>') {
		path->null = true;
		return reverse || fail(c, SMTP_PATH_EMPTY);
	}
	if (!take_local(path, c))
		return false;
	if (take(c, '@'))
		return take_domain(path, c);
	if (peek(c) != '>')
		return fail_here(c, path->quoted ? SMTP_PATH_QUOTE : SMTP_PATH_LOCAL);
	path->bare = reverse && !path->quoted && !path->routed;
	path->postmaster = !reverse && span_eq_nocase(path->local, SPAN("postmaster"));
	return path->bare || path->postmaster || fail(c, SMTP_PATH_NO_DOMAIN);
}

/* To the octet that follows the path. */
static bool take_path(struct smtp_path *path, struct cursor *c, bool reverse)
{
	take(c, ' ');
	if (!take(c, '<'))
		return fail(c, SMTP_PATH_NO_BRACKETS);
	if (!take_mailbox(path, c, reverse))
		return false;
	if (!take(c, '>'))
		return fail_here(c, SMTP_PATH_DOMAIN);
	return c->at == c->in.n || peek(c) == ' ' || fail(c, SMTP_PATH_BESIDE);
}

enum smtp_path_fault smtp_path_parse(struct smtp_path *path, struct span in, bool reverse,
				     size_t *used)
{
	struct cursor c = { .in = in };

	*path = (struct smtp_path){ 0 };
	*used = 0;
	if (!take_path(path, &c, reverse)) {
		*path = (struct smtp_path){ 0 }; /* half an address must not be taken for one */
		return c.fault;
	}
	*used = c.at;
	return SMTP_PATH_OK;
}

const char *smtp_path_reply(enum smtp_path_fault fault, bool reverse)
{
#define X(name, text) [SMTP_PATH_##name] = { WORD_RCPT_##name, WORD_MAIL_##name },
	static const uint8_t replies[][2] = { SMTP_WORDS_OF_PATHS(X) };
#undef X

	CHECK(fault > SMTP_PATH_OK && fault <= SMTP_PATH_NEEDS_UTF8);
	return smtp_words(replies[fault][reverse]);
}

int smtp_path_build(const struct smtp_path *path, struct buf *out)
{
	struct smtp_put w = smtp_put_start(out);

	CHECK(path->null || path->local.n > 0);
	smtp_put_str(&w, "<");
	if (path->postmaster) {
		smtp_put_str(&w, "postmaster");
	} else if (!path->null) {
		smtp_put_span(&w, path->local);
		if (!path->bare)
			smtp_put_str(&w, "@");
		smtp_put_span(&w, path->domain);
	}
	smtp_put_str(&w, ">");
	return smtp_put_done(&w);
}

size_t smtp_path_text(const struct smtp_path *path, char *out)
{
	uint8_t room[SMTP_PATH_MAX];
	struct buf b;
	size_t len;

	out[0] = '\0';
	if (path->local.n == 0)
		return 0;
	buf_init(&b, room, sizeof(room));
	CHECK(smtp_path_build(path, &b) == 0);
	len = buf_len(&b) - 2;
	memcpy(out, room + 1, len);
	out[len] = '\0';
	return len;
}
