/* SPDX-License-Identifier: ISC */
/*
 * explain_refusal: words for the rule of smtp/path.h that an address breaks. The parser alone
 * refuses; this looks for the reason afterwards, the most telling one first, and says something
 * general where it finds none.
 */
#include <string.h>

#include "ctl/explain.h"
#include "smtp/path.h"

/* What stands in the path outside and inside of quotes. */
struct found {
	bool control, eight_bit, blank, bracket, routing, comment, open_quote, quote_inside;
	size_t ats;	      /* outside of quotes */
	const char *at, *end; /* the first of them; the closing angle bracket, or the end */
};

static void look_at(struct found *f, const char *p, bool quoted, const char *start)
{
	unsigned char c = (unsigned char)*p;

	f->control |= c < 0x20 || c == 0x7f;
	f->eight_bit |= c >= 0x80;
	f->bracket |= c == '<' || c == '>';
	if (quoted)
		return;
	f->blank |= c == ' ';
	f->routing |= (c == ':' && !(f->at && f->at[1] == '[')) || c == '\\';
	f->comment |= c == '(' || c == ')';
	f->quote_inside |= c == '"' && p != start && !f->at;
	if (c == '@' && f->ats++ == 0)
		f->at = p;
}

/* PATH from behind its opening bracket to the last closing one. */
static struct found look(const char *start)
{
	const char *close = strrchr(start, '>');
	struct found f = { .end = close ? close : start + strlen(start) };
	bool quoted = false;

	for (const char *p = start; p < f.end; p++) {
		bool closing = quoted && *p == '"';

		look_at(&f, p, quoted, start);
		if (quoted && *p == '\\' && p + 1 < f.end)
			look_at(&f, ++p, true, start);
		else if (closing)
			quoted = false;
		else if (*p == '"' && p == start)
			quoted = true;
	}
	f.open_quote = quoted;
	return f;
}

static const char *wrong_mailbox(const struct found *f, const char *start)
{
	if (f->ats == 0)
		return "it has no domain";
	if (f->at == start)
		return "it has no local part";
	if (f->ats > 1)
		return "it has more than one @ outside of quotes";
	if ((size_t)(f->at - start) > SMTP_LOCAL_MAX)
		return "its local part is longer than 64 octets";
	if (f->at + 1 == f->end)
		return "it has no domain";
	if ((size_t)(f->end - f->at - 1) > SMTP_DOMAIN_MAX || f->end - start + 2 > SMTP_PATH_MAX)
		return "its domain, or all of it, is too long";
	if (f->at[1] == '[')
		return "the literal in its domain is no address: [192.0.2.1] or [IPv6:2001:db8::1]";
	if (f->eight_bit)
		return "it holds octets that are no UTF-8 text, or characters that no address has";
	return "its local part or its domain holds what neither may hold";
}

const char *explain_refusal(const char *path, bool reverse)
{
	const char *start = path + 1;
	struct found f = look(start);

	if (*f.end && f.end[1])
		return "there is text behind it";
	if (!*f.end)
		return "its angle bracket is not closed";
	if (f.end == start && !reverse)
		return "the empty path is no recipient";
	if (f.control)
		return "it holds control characters";
	if (*start == '@')
		return "it has a source route, or no local part";
	if (f.open_quote)
		return "its quoted string is not closed";
	if (f.bracket)
		return "there is an angle bracket inside it";
	if (f.quote_inside)
		return "a quoted string stands beside other text";
	if (f.comment)
		return "it holds a comment";
	if (f.blank)
		return "it holds a blank outside of quotes";
	if (f.routing)
		return "it holds a : or a \\ outside of quotes, which servers read differently";
	if (strncmp(start, "\"\"@", 3) == 0)
		return "it has no local part";
	return wrong_mailbox(&f, start);
}
