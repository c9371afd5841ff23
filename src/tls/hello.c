/* SPDX-License-Identifier: ISC */
/* hello: see hello.h. A ClientHello may come in any number of records, each with octets of it. */
#include "tls/hello.h"

#define RECORD_HEAD    5
#define HANDSHAKE_HEAD 4
#define HANDSHAKE      22 /* type of a record: RFC 8446 5.1 */
#define CLIENT_HELLO   1  /* type of a handshake message: RFC 8446 4 */

/* What the records have brought of the message: its head, and how many octets. */
struct message {
	uint8_t head[HANDSHAKE_HEAD];
	size_t n;
};

/* The head of a record as far as it is here: a handshake record of SSL 3.0 or a later version, with
 * 1 to 16384 octets. */
static bool is_head(struct span in)
{
	if (in.p[0] != HANDSHAKE || (in.n > 1 && in.p[1] != 3))
		return false;
	if (in.n > 3 && in.p[3] > 0x40)
		return false;
	if (in.n < RECORD_HEAD)
		return true;
	size_t len = (size_t)in.p[3] << 8 | in.p[4];

	return len > 0 && len <= 16384;
}

static void add(struct message *m, struct span octets)
{
	for (size_t i = 0; i < octets.n && m->n + i < HANDSHAKE_HEAD; i++)
		m->head[m->n + i] = octets.p[i];
	m->n += octets.n;
}

static enum tls_hello_result judge(const struct message *m)
{
	size_t len;

	if (m->n > 0 && m->head[0] != CLIENT_HELLO)
		return TLS_HELLO_NONE;
	if (m->n < HANDSHAKE_HEAD)
		return TLS_HELLO_MORE;
	len = HANDSHAKE_HEAD +
	      ((size_t)m->head[1] << 16 | (size_t)m->head[2] << 8 | (size_t)m->head[3]);
	if (len > TLS_HELLO_MAX)
		return TLS_HELLO_TOO_LARGE;
	return m->n < len ? TLS_HELLO_MORE : TLS_HELLO_WHOLE;
}

enum tls_hello_result tls_hello_look(struct span in)
{
	struct message m = { 0 };
	enum tls_hello_result how = TLS_HELLO_MORE;
	size_t came = in.n;

	while (in.n > 0 && how == TLS_HELLO_MORE) {
		if (!is_head(in))
			return TLS_HELLO_NONE;
		if (in.n < RECORD_HEAD)
			break;
		size_t len = (size_t)in.p[3] << 8 | in.p[4];

		in = span_from(in, RECORD_HEAD);
		if (len > in.n)
			len = in.n;
		add(&m, span_of(in.p, len));
		in = span_from(in, len);
		how = judge(&m);
	}
	return how == TLS_HELLO_MORE && came >= TLS_HELLO_MAX ? TLS_HELLO_TOO_LARGE : how;
}
