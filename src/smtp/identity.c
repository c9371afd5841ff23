/* SPDX-License-Identifier: ISC */
/* identity: see identity.h. */
#include "smtp/identity.h"

#include "smtp/param.h"
#include "smtp/put.h"

#define VALUE_MAX 255 /* octets as xtext: 2.4 of XCLIENT_README */

static const char unknown[] = "[UNAVAILABLE]";

static const struct attribute {
	const char *name;
	uint32_t bit;
} attributes[] = {
	{ "NAME", SMTP_ATTRIBUTE_NAME },	 { "ADDR", SMTP_ATTRIBUTE_ADDR },
	{ "PORT", SMTP_ATTRIBUTE_PORT },	 { "PROTO", SMTP_ATTRIBUTE_PROTO },
	{ "HELO", SMTP_ATTRIBUTE_HELO },	 { "SOURCE", SMTP_ATTRIBUTE_SOURCE },
	{ "IDENT", SMTP_ATTRIBUTE_IDENT },	 { "DESTADDR", SMTP_ATTRIBUTE_DESTADDR },
	{ "DESTPORT", SMTP_ATTRIBUTE_DESTPORT },
};

#define ATTRIBUTES (sizeof(attributes) / sizeof(attributes[0]))

const char smtp_identity_no_xclient[] = "it does not offer XCLIENT with ADDR";
const char smtp_identity_no_xforward[] = "it does not offer XFORWARD with ADDR, and PIPELINING";

static uint32_t attribute_of(struct span word)
{
	for (size_t i = 0; i < ATTRIBUTES; i++)
		if (span_eq_nocase(word, span_str(attributes[i].name)))
			return attributes[i].bit;
	return 0;
}

uint32_t smtp_identity_offered(const struct smtp_reply *reply, struct span keyword)
{
	uint32_t offered = 0;
	struct span line;
	size_t at = 0;

	if (reply->code != 250 || !smtp_reply_line(reply, &at, &line))
		return 0;
	while (smtp_reply_line(reply, &at, &line)) {
		if (!span_eq_nocase(smtp_word(&line), keyword))
			continue;
		while (line.n > 0)
			offered |= attribute_of(smtp_word(&line));
	}
	return offered;
}

/* ---- reading ---- */

const char smtp_identity_offer[] = "NAME ADDR PORT PROTO HELO DESTADDR DESTPORT";

#define REVERSE_NAME (1u << 30)
#define LOGIN	     (1u << 31)

/* Those that others say as well. */
static uint32_t heard_attribute(struct span word)
{
	if (span_eq_nocase(word, SPAN("REVERSE_NAME")))
		return REVERSE_NAME;
	if (span_eq_nocase(word, SPAN("LOGIN")))
		return LOGIN;
	return attribute_of(word) & ~(uint32_t)(SMTP_ATTRIBUTE_SOURCE | SMTP_ATTRIBUTE_IDENT);
}

static bool is_unknown(struct span value)
{
	return span_eq_nocase(value, SPAN("[UNAVAILABLE]")) ||
	       span_eq_nocase(value, SPAN("[TEMPUNAVAIL]"));
}

static bool read_address(struct span value, struct addr *a)
{
	struct span prefix = SPAN("IPV6:");
	bool six = span_starts_nocase(value, prefix);
	uint16_t port = a->port;
	char text[ADDR_TEXT_MAX];

	value = span_from(value, six ? prefix.n : 0);
	if (value.n == 0 || value.n >= sizeof(text) || memchr(value.p, 0, value.n))
		return false;
	memcpy(text, value.p, value.n);
	text[value.n] = '\0';
	if (six != (strchr(text, ':') != NULL) || addr_parse_ip(a, text) != 0)
		return false;
	a->port = port;
	return true;
}

static bool read_port(struct span value, struct addr *a)
{
	uint64_t port = 0;

	if (!is_unknown(value) && (!smtp_number(value, &port) || port > UINT16_MAX))
		return false;
	a->port = (uint16_t)port;
	return true;
}

/* Visible ASCII, which is all that xtext has. */
static bool is_text(struct span value)
{
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] < 33 || value.p[i] > 126)
			return false;
	return value.n > 0 && value.n <= VALUE_MAX;
}

static bool take_value(uint32_t bit, struct span value, struct smtp_identity *said)
{
	switch (bit) {
	case SMTP_ATTRIBUTE_ADDR:
		said->has_client = true;
		return read_address(value, &said->client);
	case SMTP_ATTRIBUTE_PORT:
		return read_port(value, &said->client);
	case SMTP_ATTRIBUTE_DESTADDR:
		said->has_to = !is_unknown(value);
		return !said->has_to || read_address(value, &said->to);
	case SMTP_ATTRIBUTE_DESTPORT:
		return read_port(value, &said->to);
	case LOGIN:
		return is_unknown(value);
	default:
		return bit != 0 && is_text(value);
	}
}

bool smtp_identity_parse(struct span args, struct smtp_identity *said)
{
	uint32_t seen = 0;

	*said = (struct smtp_identity){ .has_client = false };
	while (args.n > 0) {
		struct span word = smtp_word(&args);
		const uint8_t *equals = word.n ? memchr(word.p, '=', word.n) : NULL;
		size_t n = equals ? (size_t)(equals - word.p) : word.n;
		uint32_t bit = heard_attribute(span_of(word.p, n));

		if (!equals || seen & bit || !take_value(bit, span_from(word, n + 1), said))
			return false;
		seen |= bit;
	}
	return seen != 0;
}

/* ---- writing ---- */

static void begin(struct smtp_put *w, uint32_t bit)
{
	smtp_put_str(w, " ");
	for (size_t i = 0; i < ATTRIBUTES; i++)
		if (attributes[i].bit == bit)
			smtp_put_str(w, attributes[i].name);
	smtp_put_str(w, "=");
}

/* What stands for itself in xtext. */
static bool is_plain(uint8_t c)
{
	return c >= 33 && c <= 126 && c != '+' && c != '=';
}

/* VALUE as xtext: its length; 0: it is longer than VALUE_MAX. */
static size_t as_xtext(const char *value, char out[VALUE_MAX])
{
	static const char digits[] = "0123456789ABCDEF";
	size_t n = 0;

	for (; *value; value++) {
		uint8_t c = (uint8_t)*value;
		bool plain = is_plain(c);

		if (n + (plain ? 1 : 3) > VALUE_MAX)
			return 0;
		if (plain) {
			out[n++] = (char)c;
			continue;
		}
		out[n++] = '+';
		out[n++] = digits[c >> 4];
		out[n++] = digits[c & 15];
	}
	return n;
}

/* A value that may be anything. One in brackets would be taken for a word of the protocol. */
static void put_text(struct smtp_put *w, uint32_t bit, const char *value)
{
	char text[VALUE_MAX];
	size_t n = *value == '[' ? 0 : as_xtext(value, text);

	begin(w, bit);
	smtp_put_span(w, n > 0 ? span_of(text, n) : span_str(unknown));
}

/* A word of ours, or of the protocol's. */
static void put_word(struct smtp_put *w, uint32_t bit, const char *value)
{
	begin(w, bit);
	smtp_put_str(w, value);
}

static void put_address(struct smtp_put *w, uint32_t bit, const struct addr *a)
{
	char text[ADDR_TEXT_MAX];

	begin(w, bit);
	addr_format_ip(a, text);
	smtp_put_str(w, a->family == 6 ? "IPV6:" : "");
	smtp_put_str(w, text);
}

static void put_port(struct smtp_put *w, uint32_t bit, const struct addr *a)
{
	begin(w, bit);
	smtp_put_number(w, a->port);
}

/* VERB, and where the client comes from. */
static struct smtp_put begin_command(const char *verb, uint32_t offered, const struct addr *client,
				     struct buf *out)
{
	struct smtp_put w = smtp_put_start(out);

	CHECK(offered & SMTP_ATTRIBUTE_ADDR);
	smtp_put_str(&w, verb);
	if (offered & SMTP_ATTRIBUTE_NAME)
		put_word(&w, SMTP_ATTRIBUTE_NAME, unknown);
	put_address(&w, SMTP_ATTRIBUTE_ADDR, client);
	if (offered & SMTP_ATTRIBUTE_PORT)
		put_port(&w, SMTP_ATTRIBUTE_PORT, client);
	return w;
}

int smtp_identity_xclient(uint32_t offered, const struct addr *client, const struct addr *to,
			  struct buf *out)
{
	struct smtp_put w = begin_command("XCLIENT", offered, client, out);

	if (offered & SMTP_ATTRIBUTE_DESTADDR)
		put_address(&w, SMTP_ATTRIBUTE_DESTADDR, to);
	if (offered & SMTP_ATTRIBUTE_DESTPORT)
		put_port(&w, SMTP_ATTRIBUTE_DESTPORT, to);
	smtp_put_str(&w, "\r\n");
	return smtp_put_done(&w);
}

int smtp_identity_xforward(uint32_t offered, const struct addr *client, const char *helo,
			   bool extended, const char *id, struct buf *out)
{
	struct smtp_put w = begin_command("XFORWARD", offered, client, out);

	if (offered & SMTP_ATTRIBUTE_PROTO)
		put_word(&w, SMTP_ATTRIBUTE_PROTO, extended ? "ESMTP" : "SMTP");
	if (offered & SMTP_ATTRIBUTE_HELO)
		put_text(&w, SMTP_ATTRIBUTE_HELO, helo);
	if (offered & SMTP_ATTRIBUTE_IDENT)
		put_text(&w, SMTP_ATTRIBUTE_IDENT, id);
	if (offered & SMTP_ATTRIBUTE_SOURCE)
		put_word(&w, SMTP_ATTRIBUTE_SOURCE, "REMOTE");
	smtp_put_str(&w, "\r\n");
	return smtp_put_done(&w);
}
