/* SPDX-License-Identifier: ISC */
/*
 * auth: AUTH PLAIN (RFC 4616) and LOGIN (RFC 4954 4), with and without an initial response, against
 * the one user of --auth. The transcript shows the credentials: this is a server for tests.
 */
#include "sink/inner.h"
#include "smtp/base64.h"
#include "smtp/command.h"

#define CREDENTIALS_MAX 1024

#define GO_ON	   SPAN("334 \r\n")
#define ASK_NAME   SPAN("334 VXNlcm5hbWU6\r\n")
#define ASK_SECRET SPAN("334 UGFzc3dvcmQ6\r\n")
#define GOOD	   SPAN("235 2.7.0 Authentication successful\r\n")
#define WRONG	   SPAN("535 5.7.8 Authentication credentials invalid\r\n")
#define CANCELLED  SPAN("501 5.7.0 Authentication cancelled\r\n")
#define MALFORMED  SPAN("501 5.5.2 Not base64\r\n")

static bool same(struct span given, const char *wanted)
{
	return wanted && span_eq(given, span_str(wanted));
}

/* authorization-id NUL name NUL password; the first is not looked at. */
static bool plain_right(const struct sink_options *o, struct span given)
{
	const uint8_t *nul = given.n ? memchr(given.p, 0, given.n) : NULL;
	struct span name, password;

	if (!nul)
		return false;
	name = span_from(given, (size_t)(nul + 1 - given.p));
	nul = name.n ? memchr(name.p, 0, name.n) : NULL;
	if (!nul)
		return false;
	password = span_from(name, (size_t)(nul + 1 - name.p));
	name.n = (size_t)(nul - name.p);
	return same(name, o->user) && same(password, o->password);
}

/* Takes what was awaited, decoded. */
static struct span take(struct sink_session *s, struct span given)
{
	const struct sink_options *o = s->sink->opt;

	switch (s->login) {
	case SINK_LOGIN_PLAIN:
		return plain_right(o, given) ? GOOD : WRONG;
	case SINK_LOGIN_NAME:
		s->login_name_right = same(given, o->user);
		s->login = SINK_LOGIN_PASSWORD;
		return ASK_SECRET;
	case SINK_LOGIN_PASSWORD:
		return s->login_name_right && same(given, o->password) ? GOOD : WRONG;
	case SINK_LOGIN_NONE:
		break;
	}
	return WRONG;
}

static struct span take_coded(struct sink_session *s, struct span coded)
{
	uint8_t plain[CREDENTIALS_MAX];
	size_t n = 0;

	if (span_eq(coded, SPAN("*")))
		return CANCELLED;
	if (coded.n && !span_eq(coded, SPAN("="))) {
		if (!smtp_base64_valid(coded) || coded.n > CREDENTIALS_MAX)
			return MALFORMED;
		n = smtp_base64_decode(coded, plain, sizeof(plain));
	}
	return take(s, span_of(plain, n));
}

struct span sink_auth_begin(struct sink_session *s, struct span arg)
{
	struct span mechanism = arg;
	const uint8_t *blank = arg.n ? memchr(arg.p, ' ', arg.n) : NULL;

	s->login = SINK_LOGIN_NONE;
	if (!s->sink->opt->user)
		return SPAN("502 5.5.1 AUTH is not offered\r\n");
	if (!s->greeted || s->mail || s->logged_in)
		return SPAN("503 5.5.1 Bad sequence of commands\r\n");
	if (blank)
		mechanism.n = (size_t)(blank - arg.p);
	if (span_eq_nocase(mechanism, SPAN("PLAIN")))
		s->login = SINK_LOGIN_PLAIN;
	else if (span_eq_nocase(mechanism, SPAN("LOGIN")))
		s->login = SINK_LOGIN_NAME;
	else
		return SPAN("504 5.5.4 Mechanism not offered\r\n");
	if (blank)
		return take_coded(s, span_from(arg, mechanism.n + 1));
	return s->login == SINK_LOGIN_PLAIN ? GO_ON : ASK_NAME;
}

struct span sink_auth_go_on(struct sink_session *s, struct span line)
{
	return take_coded(s, line);
}

void sink_auth_done(struct sink_session *s, uint8_t digit)
{
	s->phase = digit == '3' ? SINK_AUTHDATA : SINK_COMMAND;
	s->watch_early = true;
	if (digit == '3')
		return;
	s->login = SINK_LOGIN_NONE;
	if (digit == '2') {
		s->logged_in = true;
		s->sink->stats->logins++;
	} else if (digit) {
		s->sink->stats->failed_logins++;
	}
}
