/* SPDX-License-Identifier: ISC */
/* proxy: see proxy.h. */
#include "smtp/proxy.h"

#include <stdio.h>

#include "smtp/put.h"

static const uint8_t signature[] = "\r\n\r\n\0\r\nQUIT\n";

#define SIGNATURE (sizeof(signature) - 1)

/* What stands before an IPv4 address in an IPv6 address (RFC 4291 2.5.5.2). */
static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

/* Of version 2: version and command, family and protocol, types of what follows the addresses. */
enum { LOCAL = 0x20, PROXY = 0x21 };
enum { UNSPECIFIED = 0x00, TCP4 = 0x11, TCP6 = 0x21 };
enum {
	AUTHORITY = 0x02,
	CRC32C = 0x03,
	UNIQUE_ID = 0x05,
	SSL = 0x20,
	SSL_VERSION = 0x21,
	SSL_CIPHER = 0x23
};
enum { ADDRESSES4 = 12, ADDRESSES6 = 36 };
#define CLIENT_SSL  0x01
#define ID_MAX	    128
#define TAKEN_MAX   232 /* octets of a header: Exim (4.96) takes no more */
#define HOST_OCTETS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._"
#define NOT_CHECKED 1 /* PP2_TYPE_SSL, verify: the client has shown no certificate that we trust */

static enum smtp_proxy_result bad(const char **why, const char *what)
{
	*why = what;
	return SMTP_PROXY_BAD;
}

/* ---- version 1 ---- */

/* Takes the word up to the next blank off *IN, with that blank. */
static struct span word(struct span *in)
{
	const uint8_t *blank = in->n ? memchr(in->p, ' ', in->n) : NULL;
	struct span w = span_of(in->p, blank ? (size_t)(blank - in->p) : in->n);

	*in = span_from(*in, w.n + (blank ? 1 : 0));
	return w;
}

/* An address of FAMILY as the text has it: no blank, zone or port. */
static bool address(struct span text, uint8_t family, struct addr *a)
{
	char copy[ADDR_TEXT_MAX];

	if (text.n == 0 || text.n >= sizeof(copy) || memchr(text.p, 0, text.n))
		return false;
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	if ((strchr(copy, ':') != NULL) != (family == 6))
		return false;
	return addr_parse_ip(a, copy) == 0;
}

/* Without a leading zero. */
static bool port(struct span text, uint16_t *into)
{
	unsigned v = 0;

	if (text.n == 0 || text.n > 5 || (text.p[0] == '0' && text.n > 1))
		return false;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		v = v * 10 + text.p[i] - '0';
	}
	*into = (uint16_t)v;
	return v <= UINT16_MAX;
}

/* LINE is what stands between "PROXY " and CR LF. */
static enum smtp_proxy_result parse_words(struct span line, struct smtp_proxy *h, const char **why)
{
	struct span kind = word(&line);
	uint8_t family = span_eq(kind, SPAN("TCP4")) ? 4 : span_eq(kind, SPAN("TCP6")) ? 6 : 0;
	struct span from, to, from_port, to_port;

	if (span_eq(kind, SPAN("UNKNOWN"))) {
		h->local = true;
		return SMTP_PROXY_OK;
	}
	if (!family)
		return bad(why, "neither TCP4, TCP6 nor UNKNOWN");
	from = word(&line);
	to = word(&line);
	from_port = word(&line);
	to_port = line;
	if (!address(from, family, &h->from) || !address(to, family, &h->to))
		return bad(why, "an address is wrong");
	if (!port(from_port, &h->from.port) || !port(to_port, &h->to.port))
		return bad(why, "a port is wrong");
	return SMTP_PROXY_OK;
}

static enum smtp_proxy_result parse_line(struct span in, struct smtp_proxy *h, const char **why)
{
	static const struct span begin = { (const uint8_t *)"PROXY ", 6 };
	size_t common = in.n < begin.n ? in.n : begin.n;
	size_t most = in.n < SMTP_PROXY_LINE_MAX ? in.n : SMTP_PROXY_LINE_MAX;
	const uint8_t *lf;

	if (memcmp(in.p, begin.p, common) != 0)
		return bad(why, "no header");
	lf = memchr(in.p, '\n', most);
	if (!lf && most == SMTP_PROXY_LINE_MAX)
		return bad(why, "a line of more than 107 octets");
	if (!lf)
		return SMTP_PROXY_MORE;
	h->n = (size_t)(lf - in.p) + 1;
	if (h->n <= begin.n || lf[-1] != '\r')
		return bad(why, "a line that does not end with CR LF");
	return parse_words(span_of(in.p + begin.n, h->n - begin.n - 2), h, why);
}

/* ---- version 2 ---- */

static unsigned be16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

/* A mapped address is IPv4, as everywhere (addr.h). */
static void unmap(struct addr *a)
{
	if (a->family != 6 || memcmp(a->ip, mapped, sizeof(mapped)) != 0)
		return;
	a->family = 4;
	memcpy(a->ip, a->ip + sizeof(mapped), 4);
	memset(a->ip + 4, 0, sizeof(a->ip) - 4);
}

static void take_addresses(const uint8_t *p, struct smtp_proxy *h, bool six)
{
	size_t n = six ? 16 : 4;

	h->from = h->to = (struct addr){ .family = six ? 6 : 4 };
	memcpy(h->from.ip, p, n);
	memcpy(h->to.ip, p + n, n);
	h->from.port = (uint16_t)be16(p + 2 * n);
	h->to.port = (uint16_t)be16(p + 2 * n + 2);
	unmap(&h->from);
	unmap(&h->to);
}

/* CRC-32C (RFC 3720 B.4) of IN, in which the four octets from HOLE on count as zero. */
static uint32_t crc32c(struct span in, size_t hole)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < in.n; i++) {
		crc ^= i >= hole && i < hole + 4 ? 0u : in.p[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

static bool crc_is_right(struct span header, size_t at)
{
	const uint8_t *p = header.p + at;

	return crc32c(header, at) == ((uint32_t)be16(p) << 16 | be16(p + 2));
}

/* What stands from AT on in HEADER: types that we do not know are skipped. */
static enum smtp_proxy_result look_at_more(struct span header, size_t at, const char **why)
{
	while (at < header.n) {
		unsigned type = header.p[at], length;

		if (header.n - at < 3)
			return bad(why, "octets behind the addresses that are cut off");
		length = be16(header.p + at + 1);
		at += 3;
		if (length > header.n - at)
			return bad(why, "a value behind the addresses that is longer than the "
					"header");
		if (type == CRC32C && (length != 4 || !crc_is_right(header, at)))
			return bad(why, "a wrong checksum");
		at += length;
	}
	return SMTP_PROXY_OK;
}

static enum smtp_proxy_result parse_body(struct span header, struct smtp_proxy *h, const char **why)
{
	unsigned command = header.p[SIGNATURE], family = header.p[SIGNATURE + 1];
	size_t body = header.n - SMTP_PROXY_HEAD;
	size_t need = family == TCP4 ? ADDRESSES4 : family == TCP6 ? ADDRESSES6 : 0;

	/* The addresses of a connection of its own are of no matter, whatever they are. */
	h->local = command == LOCAL || family == UNSPECIFIED;
	if (h->local)
		return SMTP_PROXY_OK;
	if (body < need)
		return bad(why, "shorter than its addresses");
	take_addresses(header.p + SMTP_PROXY_HEAD, h, family == TCP6);
	return look_at_more(header, SMTP_PROXY_HEAD + need, why);
}

static enum smtp_proxy_result parse_binary(struct span in, struct smtp_proxy *h, const char **why)
{
	size_t common = in.n < SIGNATURE ? in.n : SIGNATURE;
	unsigned length;

	if (memcmp(in.p, signature, common) != 0)
		return bad(why, "no header");
	if (in.n > SIGNATURE && in.p[SIGNATURE] != LOCAL && in.p[SIGNATURE] != PROXY)
		return bad(why, "another version or command");
	if (in.n > SIGNATURE + 1 && in.p[SIGNATURE + 1] != UNSPECIFIED &&
	    in.p[SIGNATURE + 1] != TCP4 && in.p[SIGNATURE + 1] != TCP6 && in.p[SIGNATURE] == PROXY)
		return bad(why, "another family or protocol");
	if (in.n < SMTP_PROXY_HEAD)
		return SMTP_PROXY_MORE;
	length = be16(in.p + SIGNATURE + 2);
	if (length > SMTP_PROXY_BODY_MAX)
		return bad(why, "longer than 552 octets");
	h->n = SMTP_PROXY_HEAD + length;
	if (in.n < h->n)
		return SMTP_PROXY_MORE;
	return parse_body(span_of(in.p, h->n), h, why);
}

enum smtp_proxy_result smtp_proxy_parse(struct span in, struct smtp_proxy *header, const char **why)
{
	*header = (struct smtp_proxy){ .local = false };
	*why = "";
	if (in.n == 0)
		return SMTP_PROXY_MORE;
	return in.p[0] == signature[0] ? parse_binary(in, header, why)
				       : parse_line(in, header, why);
}

/* ---- writing ---- */

static bool is_six(const struct addr *from, const struct addr *to)
{
	return from->family == 6 || to->family == 6;
}

/* A as an IPv6 address where SIX, mapped if it is none. */
static size_t octets(const struct addr *a, bool six, uint8_t out[16])
{
	if (six && a->family != 6) {
		memcpy(out, mapped, sizeof(mapped));
		memcpy(out + sizeof(mapped), a->ip, 4);
	} else {
		memcpy(out, a->ip, sizeof(a->ip));
	}
	return six ? 16 : 4;
}

static void put_address(struct smtp_put *w, const struct addr *a, bool six)
{
	char text[ADDR_TEXT_MAX];

	addr_format_ip(a, text);
	smtp_put_str(w, six && a->family != 6 ? "::ffff:" : "");
	smtp_put_str(w, text);
}

int smtp_proxy_write_line(const struct addr *from, const struct addr *to, struct buf *out)
{
	struct smtp_put w = smtp_put_start(out);
	bool six = is_six(from, to);

	if (!from->family) {
		smtp_put_str(&w, "PROXY UNKNOWN\r\n");
		return smtp_put_done(&w);
	}
	smtp_put_str(&w, six ? "PROXY TCP6 " : "PROXY TCP4 ");
	put_address(&w, from, six);
	smtp_put_str(&w, " ");
	put_address(&w, to, six);
	smtp_put_str(&w, " ");
	smtp_put_number(&w, from->port);
	smtp_put_str(&w, " ");
	smtp_put_number(&w, to->port);
	smtp_put_str(&w, "\r\n");
	return smtp_put_done(&w);
}

static void put_octet(struct smtp_put *w, unsigned value)
{
	uint8_t octet = (uint8_t)value;

	smtp_put_span(w, span_of(&octet, 1));
}

static void put_be16(struct smtp_put *w, unsigned value)
{
	put_octet(w, value >> 8);
	put_octet(w, value & 0xff);
}

static void put_value(struct smtp_put *w, unsigned type, const char *text, size_t most)
{
	size_t n = text ? strlen(text) : 0;

	if (n == 0)
		return;
	n = n < most ? n : most;
	put_octet(w, type);
	put_be16(w, (unsigned)n);
	smtp_put_span(w, span_of(text, n));
}

static unsigned value_length(const char *text)
{
	return text && *text ? 3 + (unsigned)strlen(text) : 0;
}

static void put_tls(struct smtp_put *w, const struct smtp_proxy_more *more)
{
	if (!more->version)
		return;
	put_octet(w, SSL);
	put_be16(w, 5 + value_length(more->version) + value_length(more->cipher));
	put_octet(w, CLIENT_SSL);
	put_be16(w, 0);
	put_be16(w, NOT_CHECKED);
	put_value(w, SSL_VERSION, more->version, SIZE_MAX);
	put_value(w, SSL_CIPHER, more->cipher, SIZE_MAX);
}

static void put_addresses(struct smtp_put *w, const struct addr *from, const struct addr *to)
{
	bool six = is_six(from, to);
	uint8_t ip[16];

	smtp_put_span(w, span_of(ip, octets(from, six, ip)));
	smtp_put_span(w, span_of(ip, octets(to, six, ip)));
	put_be16(w, from->port);
	put_be16(w, to->port);
}

/* A host's name by its octets, as far as a certificate is looked for by it: whatever else a client
 * asks for is for nobody's eyes. */
static bool is_host(const char *name)
{
	size_t n = strlen(name);

	return n > 0 && strspn(name, HOST_OCTETS) == n;
}

/* The last value, where there is room for it. */
static void put_name(struct smtp_put *w, const char *name)
{
	size_t so_far = buf_len(w->out) - w->before;

	if (name && is_host(name) && so_far + value_length(name) <= TAKEN_MAX)
		put_value(w, AUTHORITY, name, SIZE_MAX);
}

int smtp_proxy_write(const struct addr *from, const struct addr *to,
		     const struct smtp_proxy_more *more, struct buf *out)
{
	struct smtp_put w = smtp_put_start(out);
	size_t at = buf_len(out) + SIGNATURE + 2;
	bool own = !from->family;

	smtp_put_span(&w, span_of(signature, SIGNATURE));
	put_octet(&w, own ? LOCAL : PROXY);
	put_octet(&w, own ? UNSPECIFIED : is_six(from, to) ? TCP6 : TCP4);
	put_be16(&w, 0);
	if (!own) {
		put_addresses(&w, from, to);
		put_value(&w, UNIQUE_ID, more->id, ID_MAX);
		put_tls(&w, more);
		put_name(&w, more->name);
	}
	if (!w.error) {
		size_t body = buf_len(out) - at - 2;
		uint8_t *length = out->data + out->head + at;

		length[0] = (uint8_t)(body >> 8);
		length[1] = (uint8_t)body;
	}
	return smtp_put_done(&w);
}
