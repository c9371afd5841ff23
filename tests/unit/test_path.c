/* SPDX-License-Identifier: ISC */
/* Paths: one reading or none (smtp/path.c). Each row is what stands behind "TO:" or "FROM:". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "feed.h"
#include "smtp/path.h"

#define S(lit)                                                                                     \
	{                                                                                          \
		(const uint8_t *)(lit), sizeof(lit) - 1                                            \
	}
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum { FWD = 1, REV = 2, BOTH = 3, BARE = 4 /* as a sender without a domain */ };

static bool taken(struct smtp_path *path, struct span in, bool reverse, size_t *used)
{
	return smtp_path_parse(path, in, reverse, used) == SMTP_PATH_OK;
}

struct row {
	struct span in;
	int as;		   /* as which kind of path it is taken; the other one is refused */
	const char *flags; /* n null, p postmaster, b bare, q quoted, r routed, 8 eight_bit, l
			      literal */
	const char *built; /* NULL: refused both ways */
};

static const struct row rows[] = {
	/* Plain ones. */
	{ S("<u@c>"), BOTH, "", "<u@c>" },
	{ S(" <u@c>"), BOTH, "", "<u@c>" },
	{ S("<U.V+tag@Mail.Example.COM>"), BOTH, "", "<U.V+tag@Mail.Example.COM>" },
	{ S("<!#$%&'*+-/=?^_`{|}~@c>"), BOTH, "r", "<!#$%&'*+-/=?^_`{|}~@c>" },
	{ S("<#$&'*+-/=^?_`{|}~@c>"), BOTH, "", "<#$&'*+-/=^?_`{|}~@c>" },
	{ S("<-u-@c>"), BOTH, "", "<-u-@c>" },
	{ S("<|prog@c>"), BOTH, "", "<|prog@c>" },
	{ S("<postmaster@c>"), BOTH, "", "<postmaster@c>" },
	{ S("<u@c> SIZE=5"), BOTH, "", "<u@c>" },
	{ S("<u@c> "), BOTH, "", "<u@c>" },
	/* Without a domain. */
	{ S("<>"), REV, "n", "<>" },
	{ S(" <>"), REV, "n", "<>" },
	{ S("<> BODY=7BIT"), REV, "n", "<>" },
	{ S("<postmaster>"), FWD | BARE, "p", "<postmaster>" },
	{ S("<PostMaster>"), FWD | BARE, "p", "<postmaster>" },
	{ S("<POSTMASTER> NOTIFY=NEVER"), FWD | BARE, "p", "<postmaster>" },
	{ S("<postmaster@>"), 0, "", NULL },
	{ S("<PostMaster@>"), 0, "", NULL },
	{ S("<\"postmaster\">"), 0, "", NULL },
	{ S("<postmaster.>"), REV, "b", "<postmaster.>" },
	{ S("<postmaste>"), REV, "b", "<postmaste>" },
	{ S("<postmasters>"), REV, "b", "<postmasters>" },
	{ S("<root>"), REV, "b", "<root>" },
	{ S("<evil%postmaster>"), 0, "", NULL },
	{ S("<@>"), 0, "", NULL },
	{ S("<@c>"), 0, "", NULL },
	{ S("<u@>"), 0, "", NULL },
	{ S("< >"), 0, "", NULL },
	/* Brackets, blanks, text beside. */
	{ S(""), 0, "", NULL },
	{ S(" "), 0, "", NULL },
	{ S("<"), 0, "", NULL },
	{ S(">"), 0, "", NULL },
	{ S("u@c"), 0, "", NULL },
	{ S("u@c>"), 0, "", NULL },
	{ S("<u@c"), 0, "", NULL },
	{ S("<u@c SIZE=1"), 0, "", NULL },
	{ S("<u"), 0, "", NULL },
	{ S("<u@"), 0, "", NULL },
	{ S("<<u@c>>"), 0, "", NULL },
	{ S("<<u@c>"), 0, "", NULL },
	{ S("<u@c>>"), 0, "", NULL },
	{ S("<u@c><v@d>"), 0, "", NULL },
	{ S("<u@c>,<v@d>"), 0, "", NULL },
	{ S("<u@c,v@d>"), 0, "", NULL },
	{ S("<u@c>v@d"), 0, "", NULL },
	{ S("v@d<u@c>"), 0, "", NULL },
	{ S("name <u@c>"), 0, "", NULL },
	{ S("\"name\" <u@c>"), 0, "", NULL },
	{ S("<u@c>\t"), 0, "", NULL },
	{ S("<u@c>\tSIZE=1"), 0, "", NULL },
	{ S("  <u@c>"), 0, "", NULL },
	{ S("\t<u@c>"), 0, "", NULL },
	{ S(" \t<u@c>"), 0, "", NULL },
	{ S("< u@c>"), 0, "", NULL },
	{ S("<u@c >"), 0, "", NULL },
	{ S("<u @c>"), 0, "", NULL },
	{ S("<u@ c>"), 0, "", NULL },
	{ S("<u v@c>"), 0, "", NULL },
	{ S("<u\tv@c>"), 0, "", NULL },
	{ S("<u@c\t>"), 0, "", NULL },
	{ S("<u@c;v@d>"), 0, "", NULL },
	{ S("<group:u@c;>"), 0, "", NULL },
	/* Source routes. */
	{ S("<@a:u@c>"), 0, "", NULL },
	{ S("<@a,@b:u@c>"), 0, "", NULL },
	{ S("<@a@b:u@c>"), 0, "", NULL },
	{ S("<a:u@c>"), 0, "", NULL },
	{ S("<node::u@c>"), 0, "", NULL },
	{ S("<u:@c>"), 0, "", NULL },
	/* Two readings of the domain. */
	{ S("<u@evil@local>"), 0, "", NULL },
	{ S("<u@@local>"), 0, "", NULL },
	{ S("<u\\@evil@local>"), 0, "", NULL },
	{ S("<u\\v@local>"), 0, "", NULL },
	{ S("<\\u@local>"), 0, "", NULL },
	{ S("<u@evil\\@local>"), 0, "", NULL },
	{ S("<u@evil%local>"), 0, "", NULL },
	{ S("<u@evil!local>"), 0, "", NULL },
	/* Routing that one parser reads like the next: only told. */
	{ S("<u%evil@local>"), BOTH, "r", "<u%evil@local>" },
	{ S("<evil!u@local>"), BOTH, "r", "<evil!u@local>" },
	{ S("<u%evil%other@local>"), BOTH, "r", "<u%evil%other@local>" },
	{ S("<%@local>"), BOTH, "r", "<%@local>" },
	{ S("<\"u@evil\"@local>"), BOTH, "qr", "<\"u@evil\"@local>" },
	{ S("<\"u%evil\"@local>"), BOTH, "qr", "<\"u%evil\"@local>" },
	{ S("<\"evil!u\"@local>"), BOTH, "qr", "<\"evil!u\"@local>" },
	{ S("<\"@a:u\"@local>"), BOTH, "qr", "<\"@a:u\"@local>" },
	{ S("<\":include:/etc/x\"@local>"), BOTH, "qr", "<\":include:/etc/x\"@local>" },
	{ S("<\"u\\@evil\"@local>"), BOTH, "qr", "<\"u\\@evil\"@local>" },
	{ S("<\"u\\\\\"@local>"), BOTH, "qr", "<\"u\\\\\"@local>" },
	{ S("<\"u\\\"v\"@local>"), BOTH, "qr", "<\"u\\\"v\"@local>" },
	{ S("<\"\\u\"@local>"), BOTH, "qr", "<\"\\u\"@local>" },
	{ S("<IMCEASMTP-u+40evil+2Eexample@local>"), BOTH, "r",
	  "<IMCEASMTP-u+40evil+2Eexample@local>" },
	{ S("<imceax400-u@local>"), BOTH, "r", "<imceax400-u@local>" },
	{ S("<\"imceasmtp-u+40evil\"@local>"), BOTH, "qr", "<\"imceasmtp-u+40evil\"@local>" },
	{ S("<IMCEAEX-_O=x@local>"), BOTH, "", "<IMCEAEX-_O=x@local>" },
	{ S("<imceasar@local>"), BOTH, "", "<imceasar@local>" },
	{ S("<imcea@local>"), BOTH, "", "<imcea@local>" },
	{ S("<ximceasmtp-u@local>"), BOTH, "", "<ximceasmtp-u@local>" },
	{ S("<=?utf-8?q?u=25evil?=@local>"), BOTH, "r", "<=?utf-8?q?u=25evil?=@local>" },
	{ S("<u=?us-ascii?b?dUBldmls?=@local>"), BOTH, "r", "<u=?us-ascii?b?dUBldmls?=@local>" },
	{ S("<\"=?utf-8?q?u=40evil?=\"@local>"), BOTH, "qr", "<\"=?utf-8?q?u=40evil?=\"@local>" },
	{ S("<u=x?y@local>"), BOTH, "", "<u=x?y@local>" },
	/* Quoted strings. */
	{ S("<\"a b\"@c>"), BOTH, "q", "<\"a b\"@c>" },
	{ S("<\"a\"@c>"), BOTH, "q", "<\"a\"@c>" },
	{ S("<\"a(b),;[.]\"@c>"), BOTH, "q", "<\"a(b),;[.]\"@c>" },
	{ S("<\" \"@c>"), BOTH, "q", "<\" \"@c>" },
	{ S("<\"\"@c>"), 0, "", NULL },
	{ S("<\"a\">"), 0, "", NULL },
	{ S("<\"a\"b@c>"), 0, "", NULL },
	{ S("<a\"b\"@c>"), 0, "", NULL },
	{ S("<a\"b@c>"), 0, "", NULL },
	{ S("<a.\"b\"@c>"), 0, "", NULL },
	{ S("<\"a\".\"b\"@c>"), 0, "", NULL },
	{ S("<\"a\"\"b\"@c>"), 0, "", NULL },
	{ S("<\"a\" @c>"), 0, "", NULL },
	{ S("<\"a@c>"), 0, "", NULL },
	{ S("<\"a\\\"@c>"), 0, "", NULL },
	{ S("<\"a\\"), 0, "", NULL },
	{ S("<\"a"), 0, "", NULL },
	{ S("<\""), 0, "", NULL },
	{ S("<\"a\""), 0, "", NULL },
	{ S("<\"a\"@"), 0, "", NULL },
	{ S("<\"a\tb\"@c>"), 0, "", NULL },
	{ S("<\"a\\\tb\"@c>"), 0, "", NULL },
	{ S("<\"u@evil> \"@local>"), 0, "", NULL },
	{ S("<\"a>b\"@c>"), 0, "", NULL },
	{ S("<\"a<b\"@c>"), 0, "", NULL },
	{ S("<\"a\\>b\"@c>"), 0, "", NULL },
	{ S("<\"u@c\">"), 0, "", NULL },
	/* Comments. */
	{ S("<u@(comment)c>"), 0, "", NULL },
	{ S("<u(comment)@c>"), 0, "", NULL },
	{ S("<(comment)u@c>"), 0, "", NULL },
	{ S("<u@c(comment)>"), 0, "", NULL },
	{ S("(comment)<u@c>"), 0, "", NULL },
	{ S("<u@c>(comment)"), 0, "", NULL },
	/* Dots. */
	{ S("<u..v@c>"), BOTH, "", "<u..v@c>" },
	{ S("<.u@c>"), BOTH, "", "<.u@c>" },
	{ S("<u.@c>"), BOTH, "", "<u.@c>" },
	{ S("<.@c>"), 0, "", NULL },
	{ S("<..@c>"), 0, "", NULL },
	{ S("<u@c.>"), BOTH, "", "<u@c>" },
	{ S("<u@a.c.>"), BOTH, "", "<u@a.c>" },
	{ S("<u@c..>"), 0, "", NULL },
	{ S("<u@.c>"), 0, "", NULL },
	{ S("<u@.>"), 0, "", NULL },
	{ S("<u@..>"), 0, "", NULL },
	{ S("<u@a..c>"), 0, "", NULL },
	/* Domains. */
	{ S("<u@my_host.c>"), BOTH, "", "<u@my_host.c>" },
	{ S("<u@-a-.c>"), BOTH, "", "<u@-a-.c>" },
	{ S("<u@xn--bcher-kva.example>"), BOTH, "", "<u@xn--bcher-kva.example>" },
	{ S("<u@127.0.0.1>"), BOTH, "", "<u@127.0.0.1>" },
	{ S("<u@*>"), 0, "", NULL },
	{ S("<u@#123>"), 0, "", NULL },
	{ S("<u@a/b>"), 0, "", NULL },
	{ S("<u@\"c\">"), 0, "", NULL },
	{ S("<u@c:25>"), 0, "", NULL },
	{ S("<u@[127.0.0.1]>"), BOTH, "l", "<u@[127.0.0.1]>" },
	{ S("<u@[IPv6:::1]>"), BOTH, "l", "<u@[IPv6:::1]>" },
	{ S("<u@[ipv6:2001:DB8::1]> X"), BOTH, "l", "<u@[ipv6:2001:DB8::1]>" },
	{ S("<u@[IPv6:::ffff:192.0.2.1]>"), BOTH, "l", "<u@[IPv6:::ffff:192.0.2.1]>" },
	{ S("<u@[]>"), 0, "", NULL },
	{ S("<u@[>"), 0, "", NULL },
	{ S("<u@["), 0, "", NULL },
	{ S("<u@]>"), 0, "", NULL },
	{ S("<u@[127.0.0.1>"), 0, "", NULL },
	{ S("<u@[127.0.0.1].>"), 0, "", NULL },
	{ S("<u@[127.0.0.1]c>"), 0, "", NULL },
	{ S("<u@c[127.0.0.1]>"), 0, "", NULL },
	{ S("<u@[127.0.0]>"), 0, "", NULL },
	{ S("<u@[127.1]>"), 0, "", NULL },
	{ S("<u@[127.0.0.1.]>"), 0, "", NULL },
	{ S("<u@[127.0.0.01]>"), 0, "", NULL },
	{ S("<u@[256.0.0.1]>"), 0, "", NULL },
	{ S("<u@[ 127.0.0.1]>"), 0, "", NULL },
	{ S("<u@[127.0.0.1 ]>"), 0, "", NULL },
	{ S("<u@[127.0.0.1\0]>"), 0, "", NULL },
	{ S("<u@[IPv6:]>"), 0, "", NULL },
	{ S("<u@[IPv6:127.0.0.1]>"), 0, "", NULL },
	{ S("<u@[::1]>"), 0, "", NULL },
	{ S("<u@[IPv6:fe80::1%lo]>"), 0, "", NULL },
	{ S("<u@[x:tag]>"), 0, "", NULL },
	{ S("<u@[evil.example]>"), 0, "", NULL },
	/* Control characters, octets above ASCII. */
	{ S("<u\0@c>"), 0, "", NULL },
	{ S("<u@c\0>"), 0, "", NULL },
	{ S("<u@c>\0"), 0, "", NULL },
	{ S("<u\x7f@c>"), 0, "", NULL },
	{ S("<u\r@c>"), 0, "", NULL },
	{ S("<u@c\n>"), 0, "", NULL },
	{ S("<\"u\r\n\"@c>"), 0, "", NULL },
	{ S("<\"u\x7f\"@c>"), 0, "", NULL },
	{ S("<\xc3\xbc@c>"), BOTH, "8", "<\xc3\xbc@c>" },
	{ S("<u@b\xc3\xbc.c>"), BOTH, "8", "<u@b\xc3\xbc.c>" },
	{ S("<u@\xe4\xb8\xad.\xe5\x9b\xbd.>"), BOTH, "8", "<u@\xe4\xb8\xad.\xe5\x9b\xbd>" },
	{ S("<\"\xf0\x9f\x93\xa7 x\"@c>"), BOTH, "q8", "<\"\xf0\x9f\x93\xa7 x\"@c>" },
	{ S("<\"\\\xc3\xbc\"@c>"), 0, "", NULL },
	{ S("<\xfc@c>"), 0, "", NULL },
	{ S("<u@\xfc.c>"), 0, "", NULL },
	{ S("<\xc3@c>"), 0, "", NULL },
	{ S("<u@\xc3>"), 0, "", NULL },
	{ S("<u@c\xe2\x82"), 0, "", NULL },
	{ S("<u\xc1\x80@c>"), 0, "", NULL },	     /* an overlong @ */
	{ S("<u\xe0\x81\x80@c>"), 0, "", NULL },     /* and a longer one */
	{ S("<u\xed\xa0\x80@c>"), 0, "", NULL },     /* a surrogate */
	{ S("<u\xf4\x90\x80\x80@c>"), 0, "", NULL }, /* above U+10FFFF */
	{ S("<u\xf8\x88\x80\x80\x80@c>"), 0, "", NULL },
	{ S("<u\xc2\x85@c>"), 0, "", NULL },	 /* NEL */
	{ S("<\"\xc2\x80\"@c>"), 0, "", NULL },	 /* another C1 control */
	{ S("<u\xe2\x80\xa8@c>"), 0, "", NULL }, /* LINE SEPARATOR */
	{ S("<u\xef\xbc\xa0"
	    "evil@local>"),
	  BOTH, "r8",
	  "<u\xef\xbc\xa0"
	  "evil@local>" },
	{ S("<u\xef\xbc\x85"
	    "evil@local>"),
	  BOTH, "r8",
	  "<u\xef\xbc\x85"
	  "evil@local>" },
	{ S("<\"evil\xef\xbc\x81u\"@local>"), BOTH, "qr8", "<\"evil\xef\xbc\x81u\"@local>" },
};

static void flags_of(const struct smtp_path *p, char *out)
{
	if (p->null)
		*out++ = 'n';
	if (p->postmaster)
		*out++ = 'p';
	if (p->bare)
		*out++ = 'b';
	if (p->quoted)
		*out++ = 'q';
	if (p->routed)
		*out++ = 'r';
	if (p->eight_bit)
		*out++ = '8';
	if (p->literal)
		*out++ = 'l';
	*out = '\0';
}

/* What was built must be taken again, and mean the same. */
static void check_built(const struct smtp_path *path, struct span want, bool reverse)
{
	uint8_t room[SMTP_PATH_MAX];
	char text[SMTP_PATH_MAX + 1];
	struct smtp_path again;
	struct buf out;
	size_t used;

	for (size_t cap = 0; cap < want.n; cap++) {
		buf_init(&out, room, cap);
		assert_int_equal(smtp_path_build(path, &out), -ENOBUFS);
		assert_int_equal(buf_len(&out), 0);
	}
	buf_init(&out, room, sizeof(room));
	assert_int_equal(smtp_path_build(path, &out), 0);
	assert_true(span_eq(buf_span(&out), want));
	assert_int_equal(smtp_path_text(path, text), want.n - 2);
	assert_int_equal(strlen(text), want.n - 2);
	assert_memory_equal(text, want.p + 1, want.n - 2);
	assert_true(taken(&again, buf_span(&out), reverse, &used));
	assert_int_equal(used, want.n);
	assert_true(again.routed == path->routed && again.quoted == path->quoted &&
		    again.literal == path->literal && again.eight_bit == path->eight_bit &&
		    again.null == path->null && again.postmaster == path->postmaster &&
		    again.bare == path->bare);
	assert_true(path->postmaster || span_eq(again.local, path->local));
	assert_true(span_eq(again.domain, path->domain));
}

static void check_row(size_t i, bool reverse)
{
	const struct row *row = &rows[i];
	struct span in = feed_guard(row->in);
	bool want = row->as & (reverse ? REV | BARE : FWD), bare = reverse && (row->as & BARE);
	static const struct smtp_path zero;
	struct smtp_path path;
	char flags[8];
	size_t used;

	if (taken(&path, in, reverse, &used) != want)
		fail_msg("row %zu (%.*s) reverse %d", i, (int)row->in.n, (const char *)row->in.p,
			 reverse);
	if (!want) {
		char text[SMTP_PATH_MAX + 1];

		assert_int_equal(used, 0);
		assert_memory_equal(&path, &zero, sizeof(zero));
		assert_int_equal(smtp_path_text(&path, text), 0);
		return;
	}
	flags_of(&path, flags);
	assert_string_equal(flags, bare ? "b" : row->flags);
	assert_int_equal(in.p[used - 1], '>');
	assert_true(used == in.n || in.p[used] == ' ');
	check_built(&path, bare ? span_of(in.p, used) : span_str(row->built), reverse);
}

static void path_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		check_row(i, false);
		check_row(i, true);
		/* A path cut short anywhere is no path, and no octet behind it is read. */
		for (size_t n = 0; n < rows[i].in.n; n++) {
			struct span in = feed_guard(span_of(rows[i].in.p, n));
			struct smtp_path path;
			size_t used = 0;
			bool ok = taken(&path, in, true, &used);

			assert_true(used <= n && ok == (used > 0));
			assert_true(!ok || in.p[used - 1] == '>');
		}
	}
}

static bool parse_parts(size_t local, size_t domain, const char *suffix, bool quoted)
{
	static char text[1024];
	struct smtp_path path;
	size_t used, n = 0;

	text[n++] = '<';
	memset(text + n, 'l', local);
	if (quoted)
		text[n] = text[n + local - 1] = '"';
	n += local;
	text[n++] = '@';
	memset(text + n, 'd', domain);
	n += domain;
	n += (size_t)snprintf(text + n, sizeof(text) - n, "%s>", suffix);
	if (!taken(&path, feed_guard(span_of(text, n)), false, &used))
		return false;
	assert_int_equal(path.local.n, local);
	assert_int_equal(path.domain.n, domain);
	return true;
}

static void path_limits(void **state)
{
	(void)state;
	/* Google, SendGrid, SRS and mailing lists send more than the RFC's 64. */
	assert_true(parse_parts(64, 10, "", false));
	assert_true(parse_parts(65, 10, "", false));
	assert_true(parse_parts(90, 163, "", true));
	assert_true(parse_parts(243, 10, "", false)); /* 256 with < @ > */
	assert_false(parse_parts(244, 10, "", false));
	assert_true(parse_parts(252, 1, "", true));
	assert_false(parse_parts(253, 1, "", true));
	assert_false(parse_parts(900, 1, "", false));
	assert_true(parse_parts(1, 252, "", false)); /* 256 with < @ > */
	assert_false(parse_parts(1, 253, "", false));
	assert_true(parse_parts(1, 252, ".", false)); /* the dot is dropped */
	assert_false(parse_parts(1, 253, ".", false));
	assert_true(parse_parts(64, 189, "", false));
	assert_false(parse_parts(64, 190, "", false));
	assert_false(parse_parts(1, 255, "", false));
	assert_false(parse_parts(1, 256, "", false));
	assert_false(parse_parts(1, 900, "", false));
}

#define A60 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define L60 "." A60

/* The fault that is told, of both kinds of path alike where a row does not say which. */
static void path_faults(void **state)
{
	static const struct {
		const char *path;
		enum smtp_path_fault fault;
		int as;
	} cases[] = {
		{ "", SMTP_PATH_NO_BRACKETS, BOTH },
		{ "a@b.test", SMTP_PATH_NO_BRACKETS, BOTH },
		{ "\t<a@b.test>", SMTP_PATH_NO_BRACKETS, BOTH },
		{ "<", SMTP_PATH_NOT_CLOSED, BOTH },
		{ "<a", SMTP_PATH_NOT_CLOSED, BOTH },
		{ "<a@", SMTP_PATH_NO_DOMAIN, BOTH },
		{ "<a@c.test", SMTP_PATH_NOT_CLOSED, BOTH },
		{ "<a@c.test>x", SMTP_PATH_BESIDE, BOTH },
		{ "<a@c.test>>", SMTP_PATH_BESIDE, BOTH },
		{ "<>", SMTP_PATH_EMPTY, FWD },
		{ "<a>", SMTP_PATH_NO_DOMAIN, FWD },
		{ "<a@>", SMTP_PATH_NO_DOMAIN, BOTH },
		{ "<@b.test>", SMTP_PATH_SOURCE_ROUTE, BOTH },
		{ "<@b.test:a@c.test>", SMTP_PATH_SOURCE_ROUTE, BOTH },
		{ "<\"\"@b.test>", SMTP_PATH_NO_LOCAL, BOTH },
		{ "<...@c.test>", SMTP_PATH_NO_LOCAL, BOTH },
		{ "<a@b@c.test>", SMTP_PATH_TWO_AT, BOTH },
		{ "<a:b@c.test>", SMTP_PATH_ROUTING, BOTH },
		{ "<a\\@b@c.test>", SMTP_PATH_ROUTING, BOTH },
		{ "<a b@c.test>", SMTP_PATH_BLANK, BOTH },
		{ "<a@c.test >", SMTP_PATH_BLANK, BOTH },
		{ "<(x)a@c.test>", SMTP_PATH_COMMENT, BOTH },
		{ "<a@c.test(x)>", SMTP_PATH_COMMENT, BOTH },
		{ "<a\"b\"@c.test>", SMTP_PATH_QUOTE, BOTH },
		{ "<\"a\"b@c.test>", SMTP_PATH_QUOTE, BOTH },
		{ "<\"a@c.test>", SMTP_PATH_BRACKET, BOTH },
		{ "<\"a@c.test", SMTP_PATH_QUOTE_OPEN, BOTH },
		{ "<\"a\\", SMTP_PATH_QUOTE_OPEN, BOTH },
		{ "<\"a<b\"@c.test>", SMTP_PATH_BRACKET, BOTH },
		{ "<a<b@c.test>", SMTP_PATH_BRACKET, BOTH },
		{ "<<a@c.test>", SMTP_PATH_BRACKET, BOTH },
		{ "<a\rb@c.test>", SMTP_PATH_CONTROL, BOTH },
		{ "<\"a\tb\"@c.test>", SMTP_PATH_CONTROL, BOTH },
		{ "<a@c.test\x7f>", SMTP_PATH_CONTROL, BOTH },
		{ "<a,b@c.test>", SMTP_PATH_LOCAL, BOTH },
		{ "<" A60 A60 A60 A60 A60 "@c.test>", SMTP_PATH_LOCAL_LONG, BOTH },
		{ "<" A60 A60 A60 A60 A60 ">", SMTP_PATH_LOCAL_LONG, BOTH },
		{ "<a@a" L60 L60 L60 L60 L60 ">", SMTP_PATH_LONG, BOTH },
		{ "<" A60 "@a" L60 L60 L60 ".aaaaaaaaaa>", SMTP_PATH_LONG, BOTH },
		{ "<a@[1.2.3]>", SMTP_PATH_LITERAL, BOTH },
		{ "<a@[IPv6:::g]>", SMTP_PATH_LITERAL, BOTH },
		{ "<a@[1.2.3.4>", SMTP_PATH_LITERAL, BOTH },
		{ "<a@b\xff.test>", SMTP_PATH_UTF8, BOTH },
		{ "<a@b\xe2\x80\xa8.test>", SMTP_PATH_UTF8, BOTH },
		{ "<\"\\\xc3\xbc\"@c.test>", SMTP_PATH_UTF8, BOTH },
		{ "<a@b..test>", SMTP_PATH_LABEL, BOTH },
		{ "<a@.test>", SMTP_PATH_LABEL, BOTH },
		{ "<a@b_%.test>", SMTP_PATH_DOMAIN, BOTH },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		for (int reverse = 0; reverse < 2; reverse++) {
			struct smtp_path path;
			size_t used;

			if (!(cases[i].as & (reverse ? REV : FWD)))
				continue;
			enum smtp_path_fault fault = smtp_path_parse(
				&path, feed_guard(span_str(cases[i].path)), reverse, &used);

			if (fault != cases[i].fault)
				fail_msg("%s: %d", cases[i].path, fault);
			const char *reply = smtp_path_reply(fault, reverse);

			assert_int_equal(strncmp(reply, reverse ? "501 5.1.7 " : "501 5.1.3 ", 10),
					 0);
			assert_string_equal(reply + strlen(reply) - 2, "\r\n");
		}
}

/* Each octet in each place: taken exactly where it stands in the list. */
static void path_octets(void **state)
{
	static const char atext[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "!#$%&'*+-/=?^_`{|}~";
	static const char label[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "-_";
	struct smtp_path path;
	size_t used;

	(void)state;
	for (unsigned c = 0; c < 256; c++) {
		char local[] = "<aXb@c>", quoted[] = "<\"aXb\"@c>", domain[] = "<u@aXb>";
		char pair[] = "<\"a\\Xb\"@c>", behind[] = "<u@c>X", before[] = "X<u@c>";
		bool printable = c >= 0x20 && c < 0x7f, angle = c == '<' || c == '>';

		local[2] = domain[4] = quoted[3] = pair[4] = behind[5] = before[0] = (char)c;
		assert_int_equal(taken(&path, feed_guard(span_of(local, 7)), false, &used),
				 c == '.' || (c && strchr(atext, (int)c) != NULL));
		assert_true(path.routed == (c == '%' || c == '!'));
		assert_int_equal(taken(&path, feed_guard(span_of(domain, 7)), false, &used),
				 c == '.' || (c && strchr(label, (int)c) != NULL));
		/* (A backslash before b is a pair, a quote ends the string before b.) */
		assert_int_equal(taken(&path, feed_guard(span_of(quoted, 9)), false, &used),
				 printable && !angle && c != '"');
		assert_true(path.routed == (c && strchr("%!@:\\", (int)c) != NULL));
		assert_int_equal(taken(&path, feed_guard(span_of(pair, 10)), false, &used),
				 printable && !angle);
		assert_int_equal(taken(&path, feed_guard(span_of(behind, 6)), false, &used),
				 c == ' ');
		assert_int_equal(taken(&path, feed_guard(span_of(before, 6)), false, &used),
				 c == ' ');
	}
}

/* Reads BUILT as the most careless of servers do: the path ends at the first >, the domain begins
 * at the first @, or at the last. Unless the path is marked, all must find the same domain. */
static void check_careless(struct span built, const struct smtp_path *path)
{
	const uint8_t *end = memchr(built.p, '>', built.n);
	const uint8_t *first = memchr(built.p, '@', built.n);
	const uint8_t *last = memrchr(built.p, '@', built.n);

	assert_ptr_equal(end, built.p + built.n - 1);
	if (path->null || path->postmaster || path->bare)
		return;
	assert_true(span_eq(span_of(last + 1, (size_t)(end - last - 1)), path->domain));
	if (path->routed)
		return;
	assert_ptr_equal(first, last);
	for (size_t i = 0; i < path->local.n; i++)
		assert_null(strchr("%!:\\", path->local.p[i]));
}

/* Random strings of the octets that smugglers use. */
static void path_random(void **state)
{
	static const char *const bits[] = { "<",
					    ">",
					    "@",
					    "\"",
					    "\\",
					    ":",
					    ",",
					    "%",
					    "!",
					    ".",
					    " ",
					    "u",
					    "evil",
					    "local",
					    "(",
					    ")",
					    "[",
					    "]",
					    "\t",
					    "\r\n",
					    "\xc3\xbc",
					    "\xc3",
					    "\xef\xbc\xa0",
					    "1.2.3.4",
					    "IPv6:",
					    "postmaster",
					    ";",
					    "IMCEASMTP-" };
	unsigned count_taken = 0;

	(void)state;
	srandom(2);
	for (unsigned round = 0; round < 300000; round++) {
		char text[96];
		size_t n = 0, count = (size_t)random() % 7, used;
		struct smtp_path path;
		uint8_t room[SMTP_PATH_MAX];
		struct buf out;

		n += (size_t)snprintf(text, sizeof(text), "<");
		for (size_t i = 0; i < count; i++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s",
					      bits[(size_t)random() % COUNT(bits)]);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s",
				      random() % 2 ? "@local>" : ">");
		if (!taken(&path, feed_guard(span_of(text, n)), random() % 2, &used))
			continue;
		count_taken++;
		buf_init(&out, room, sizeof(room));
		assert_int_equal(smtp_path_build(&path, &out), 0);
		check_careless(buf_span(&out), &path);
	}
	assert_true(count_taken > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(path_rows),   cmocka_unit_test(path_limits),
		cmocka_unit_test(path_faults), cmocka_unit_test(path_octets),
		cmocka_unit_test(path_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
