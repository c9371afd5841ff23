/* SPDX-License-Identifier: ISC */
/*
 * Command lines: what the destination gets is written from what was understood, is one canonical
 * line, and means to whoever reads it what it meant to us. A refusal is one whole reply. What is
 * offered changes nothing but whether a command is taken.
 */
#include "fuzz.h"
#include "smtp/build.h"
#include "smtp/command.h"
#include "smtp/line.h"
#include "smtp/param.h"
#include "smtp/reply.h"

#define ALL_OFFERED 0x7ffu

static void check_refusal(const char *fault, const struct smtp_command *cmd)
{
	struct smtp_reply reply;
	size_t used;

	CHECK(smtp_reply_parse(span_str(fault), &reply, &used) == SMTP_REPLY_OK);
	CHECK(used == strlen(fault) && reply.lines == 1);
	CHECK(reply.code >= 500 && reply.code <= 599);
	CHECK((reply.code == 500) == (cmd->verb == SMTP_VERB_UNKNOWN));
	CHECK((reply.code == 502) ==
	      (cmd->verb == SMTP_VERB_REFUSED || cmd->verb == SMTP_VERB_XFORWARD));
}

static bool same_span(struct span a, struct span b)
{
	return !a.p == !b.p && span_eq(a, b);
}

/* The same text once decoded; each may be written in the loose or in the strict form. */
static bool same_xtext(struct span a, struct span b)
{
	size_t i = 0, j = 0;

	if (!a.p || !b.p)
		return !a.p == !b.p;
	for (; i < a.n && j < b.n; i++, j++) {
		struct span in[2] = { span_from(a, i), span_from(b, j) };
		unsigned c[2];

		for (unsigned k = 0; k < 2; k++) {
			c[k] = in[k].p[0];
			if (c[k] != '+')
				continue;
			char text[3] = { (char)in[k].p[1], (char)in[k].p[2], '\0' };

			CHECK(in[k].n >= 3);
			c[k] = (unsigned)strtoul(text, NULL, 16);
			*(k ? &j : &i) += 2;
		}
		if (c[0] != c[1])
			return false;
	}
	return i == a.n && j == b.n;
}

static bool same_path(const struct smtp_path *a, const struct smtp_path *b)
{
	return a->null == b->null && a->postmaster == b->postmaster && a->bare == b->bare &&
	       a->quoted == b->quoted && a->routed == b->routed && a->eight_bit == b->eight_bit &&
	       a->literal == b->literal && (a->postmaster || span_eq(a->local, b->local)) &&
	       span_eq(a->domain, b->domain);
}

/* B is what A became for a destination that is told everything and trusts us with all of it. */
static void check_same(const struct smtp_command *a, const struct smtp_command *b)
{
	CHECK(a->verb == b->verb && a->ext == b->ext);
	CHECK(a->verb == SMTP_VERB_AUTH ? span_eq_nocase(a->arg, b->arg) : span_eq(a->arg, b->arg));
	CHECK(same_span(a->rest, b->rest));
	CHECK(same_path(&a->path, &b->path));
	CHECK(a->has_size == b->has_size && a->size == b->size);
	CHECK(a->has_body == b->has_body && a->body_8bit == b->body_8bit);
	CHECK(a->body_binary == b->body_binary && a->smtputf8 == b->smtputf8);
	CHECK(a->ret_full == b->ret_full && a->ret_hdrs == b->ret_hdrs);
	CHECK(a->has_notify == b->has_notify && a->notify == b->notify);
	CHECK(a->has_auth == b->has_auth && same_xtext(a->auth, b->auth));
	CHECK(same_xtext(a->envid, b->envid) && same_xtext(a->orcpt, b->orcpt));
	CHECK(a->chunk_size == b->chunk_size && a->chunk_last == b->chunk_last);
}

static bool is_strict(struct span s, bool stranger)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '=' || (stranger && s.p[i] && strchr("<>\"\\,;()", s.p[i])))
			return false;
		if (s.p[i] == '+' && (!memchr("0123456789ABCDEF", s.p[i + 1], 16) ||
				      !memchr("0123456789ABCDEF", s.p[i + 2], 16)))
			return false;
	}
	return true;
}

/* What a destination that was told HOW must not learn, and what it must. */
static void check_told(const struct smtp_command *a, const struct smtp_command *b,
		       const struct smtp_rebuild *how)
{
	CHECK(a->verb == b->verb && same_path(&a->path, &b->path));
	CHECK(!(b->ext & ~how->ext));
	CHECK(b->has_auth == (a->has_auth && (how->ext & SMTP_EXT_AUTH)));
	if (b->has_auth && !how->logged_in)
		CHECK(span_eq(b->auth, SPAN("<>")));
	if (b->envid.p)
		CHECK(same_xtext(a->envid, b->envid) && is_strict(b->envid, !how->trusted));
	if (b->orcpt.p) {
		const uint8_t *type = memchr(b->orcpt.p, ';', b->orcpt.n);

		CHECK(same_xtext(a->orcpt, b->orcpt) && b->orcpt.n <= 500 && type);
		CHECK(is_strict(span_from(b->orcpt, (size_t)(type - b->orcpt.p) + 1),
				!how->trusted));
	}
	if (b->has_notify && !how->trusted) {
		uint8_t left = a->notify & (uint8_t)~SMTP_NOTIFY_SUCCESS;

		CHECK(b->notify == (left ? left : SMTP_NOTIFY_NEVER));
	}
}

/* One line, no octet that acts on anything, and no more than one path. */
static void check_canonical(const struct smtp_command *cmd, struct span line)
{
	size_t n = line.n - 2, used;
	struct span again;
	const uint8_t *at;

	CHECK(line.n > 2 && line.n <= smtp_line_limit(line));
	CHECK(line.n <= cmd->line.n + 2 + SMTP_REBUILT_MORE);
	CHECK(cmd->verb != SMTP_VERB_RCPT || line.n <= 512 + 500);
	CHECK(smtp_line_cut(line, smtp_line_limit(line), &again, &used) == SMTP_LINE_OK);
	CHECK(used == line.n && again.n == n);
	for (size_t i = 0; i < n; i++)
		CHECK(!fuzz_is_control(line.p[i]));
	CHECK(line.p[n - 1] != ' ');
	if (cmd->verb != SMTP_VERB_MAIL && cmd->verb != SMTP_VERB_RCPT)
		return;
	/* Its first angle brackets are those of the path, also for who knows no quotes. */
	at = memchr(line.p, '<', n);
	CHECK(at && at[-1] == ':');
	at = memchr(line.p, '>', n);
	CHECK(at && (at + 1 == line.p + n || at[1] == ' '));
}

static struct span build(const struct smtp_command *cmd, const struct smtp_rebuild *how)
{
	uint8_t *mem = malloc(SMTP_AUTH_LINE_MAX);
	struct buf out;
	size_t n;

	CHECK(mem);
	buf_init(&out, mem, SMTP_AUTH_LINE_MAX);
	CHECK(smtp_command_build(cmd, how, &out) == 0);
	n = buf_len(&out);
	buf_init(&out, mem, n - 1);
	CHECK(smtp_command_build(cmd, how, &out) == -ENOBUFS && buf_len(&out) == 0);
	buf_init(&out, mem, n);
	CHECK(smtp_command_build(cmd, how, &out) == 0 && buf_len(&out) == n);
	return buf_span(&out);
}

/* BODY=7BIT means no more than its absence, and is left out (build.c). */
static struct smtp_command without_7bit(const struct smtp_command *cmd)
{
	struct smtp_command told = *cmd;

	if (told.has_body && !told.body_8bit && !told.body_binary) {
		told.has_body = false;
		told.ext &= ~(uint32_t)SMTP_EXT_8BITMIME;
	}
	return told;
}

static void check_rebuilt(const struct smtp_command *cmd, const struct smtp_rebuild *how)
{
	struct span line = build(cmd, how), fixed;
	struct smtp_command again;
	bool all = how->ext == ALL_OFFERED && how->logged_in && how->trusted;

	check_canonical(cmd, line);
	/* An address in UTF-8 is never sent to who does not offer it: that is the dialog's to see.
	 */
	if (!(cmd->path.eight_bit && !(how->ext & SMTP_EXT_SMTPUTF8))) {
		CHECK(smtp_command_parse(&again, span_of(line.p, line.n - 2), how->ext) == NULL);
		if (all) {
			struct smtp_command told = without_7bit(cmd);

			check_same(&told, &again);
		}
		check_told(cmd, &again, how);
		fixed = build(&again, how);
		CHECK(span_eq(fixed, line));
		free((void *)(uintptr_t)fixed.p);
	}
	free((void *)(uintptr_t)line.p);
}

/* The case of the verb says nothing. */
static void check_case(struct span line, uint32_t offered, const struct smtp_command *cmd,
		       const char *fault)
{
	uint8_t *copy = fuzz_copy(line);
	struct smtp_command other;

	for (size_t i = 0; i < line.n && copy[i] != ' '; i++)
		if (ascii_lower(copy[i]) >= 'a' && ascii_lower(copy[i]) <= 'z')
			copy[i] ^= 0x20;
	CHECK(smtp_command_parse(&other, span_of(copy, line.n), offered) == fault);
	CHECK(other.verb == cmd->verb);
	free(copy);
}

/* The number of a chunk is the one that stands there, for whoever reads it in 32 bits too. */
static void check_chunk(struct span line, const struct smtp_command *cmd)
{
	uint64_t number = 0;
	size_t i = 5;

	CHECK(span_starts_nocase(line, SPAN("BDAT ")) && cmd->chunk_size <= INT32_MAX);
	for (; i < line.n && line.p[i] >= '0' && line.p[i] <= '9'; i++)
		number = number * 10 + (line.p[i] - '0');
	CHECK(i > 5 && number == cmd->chunk_size);
	if (line.p[line.n - 1] == ' ') /* one is forgiven */
		line.n--;
	CHECK(cmd->chunk_last == (i < line.n));
	CHECK(i == line.n || span_eq_nocase(span_from(line, i), SPAN(" LAST")));
}

static void check_line(struct span line, uint32_t offered, const struct smtp_rebuild *how)
{
	const struct smtp_rebuild whole = { ALL_OFFERED, true, true };
	struct smtp_command all, cmd;
	const char *all_fault = smtp_command_parse(&all, line, ALL_OFFERED);
	const char *fault = smtp_command_parse(&cmd, line, offered);

	CHECK(cmd.verb == all.verb && *smtp_verb_name(cmd.verb));
	check_case(line, offered, &cmd, fault);
	/* Taken is what is well-formed and needs nothing that was not offered. */
	CHECK(!fault == (!all_fault && !(all.ext & ~offered)));
	if (all_fault)
		check_refusal(all_fault, &all);
	if (fault) {
		check_refusal(fault, &cmd);
		return;
	}
	check_same(&all, &cmd);
	if (cmd.verb == SMTP_VERB_XCLIENT) {
		/* It is for us alone. */
		CHECK(cmd.identity.has_client == (cmd.identity.client.family != 0));
		return;
	}
	if (cmd.verb == SMTP_VERB_BDAT)
		check_chunk(line, &cmd);
	check_rebuilt(&cmd, &whole);
	if (how->trusted || smtp_stranger_fits(&cmd)) /* else it is refused */
		check_rebuilt(&cmd, how);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size), line;
	uint32_t offered = fuzz_choice(&in), ext = fuzz_choice(&in);
	uint8_t more = fuzz_choice(&in);
	struct smtp_rebuild how = { .logged_in = more & 1, .trusted = more & 2 };
	size_t used;

	offered |= (more & 0x1cu) << 6;
	how.ext = ext | (more & 0xe0u) << 3;
	while (smtp_line_cut(in, smtp_line_limit(in), &line, &used) == SMTP_LINE_OK) {
		uint8_t *copy = fuzz_copy(line);

		check_line(span_of(copy, line.n), offered, &how);
		free(copy);
		in = span_from(in, used);
	}
	return 0;
}
