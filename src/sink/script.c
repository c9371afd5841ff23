/* SPDX-License-Identifier: ISC */
/*
 * script: parsing rules and their texts, and finding the one that fits. Everything here but the
 * finding runs at start; memory is never given back.
 */
#include "sink/script.h"

#include <errno.h>
#include <stdlib.h>

#include "base/diag.h"

static const char *const event_names[SINK_EV_COUNT] = {
	[SINK_EV_UNKNOWN] = "UNKNOWN",	 [SINK_EV_HELO] = "HELO",
	[SINK_EV_EHLO] = "EHLO",	 [SINK_EV_MAIL] = "MAIL",
	[SINK_EV_RCPT] = "RCPT",	 [SINK_EV_DATA] = "DATA",
	[SINK_EV_BDAT] = "BDAT",	 [SINK_EV_RSET] = "RSET",
	[SINK_EV_NOOP] = "NOOP",	 [SINK_EV_HELP] = "HELP",
	[SINK_EV_VRFY] = "VRFY",	 [SINK_EV_AUTH] = "AUTH",
	[SINK_EV_STARTTLS] = "STARTTLS", [SINK_EV_QUIT] = "QUIT",
	[SINK_EV_AUTHDATA] = "AUTHDATA", [SINK_EV_ANY] = "ANY",
	[SINK_EV_EOD] = "EOD",		 [SINK_EV_BODY] = "BODY",
	[SINK_EV_CONNECT] = "CONNECT",	 [SINK_EV_GREETING] = "GREETING",
};

/* Which events a deed can be asked for at. */
#define BIT(ev)	 (1u << (ev))
#define COMMANDS (BIT(SINK_EV_ANY + 1) - 1)
static const uint32_t deed_events[] = {
	[SINK_REPLY] = COMMANDS | BIT(SINK_EV_EOD) | BIT(SINK_EV_GREETING),
	[SINK_DELAY] = BIT(SINK_EV_COUNT) - 1,
	[SINK_DROP] = BIT(SINK_EV_COUNT) - 1,
	[SINK_STALL] = BIT(SINK_EV_COUNT) - 1,
	[SINK_SAY] = BIT(SINK_EV_BODY),
};

static void *take(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	if (!p)
		die(71, "out of memory");
	return p;
}

static enum sink_event event_named(struct span name, unsigned count)
{
	unsigned ev;

	for (ev = 0; ev < count; ev++)
		if (span_eq_nocase(name, span_str(event_names[ev])))
			break;
	return ev;
}

enum sink_event sink_event_of_verb(struct span verb)
{
	enum sink_event ev = event_named(verb, SINK_EV_VERBS);

	return ev == SINK_EV_VERBS ? SINK_EV_UNKNOWN : ev;
}

/* Reads a decimal number at *AT and steps behind it; false when there is none or it is too large.
 */
static bool take_number(const char **at, uint64_t *out)
{
	char *end;

	if (**at < '0' || **at > '9')
		return false;
	errno = 0;
	*out = strtoull(*at, &end, 10);
	*at = end;
	return errno == 0;
}

/* The substring at *AT, up to the end or to an `=` without a backslash before it. */
static struct span take_needle(const char **at)
{
	uint8_t *to = take(strlen(*at));
	size_t n = 0;

	for (; **at && **at != '='; (*at)++) {
		if (**at == '\\' && ((*at)[1] == '=' || (*at)[1] == '\\'))
			(*at)++;
		to[n++] = (uint8_t) * *at;
	}
	return span_of(to, n);
}

/* The part of a rule that says when, up to the end or the `=`. */
static const char *take_when(struct sink_rule *r, const char **at)
{
	const char *slash = *at + strspn(*at, "0123456789");
	uint64_t n;
	size_t len;

	if (slash > *at && *slash == '/') {
		if (!take_number(at, &r->connection) || r->connection == 0)
			return "bad connection number";
		(*at)++;
	}
	len = strcspn(*at, "#@:=");
	r->event = event_named(span_of(*at, len), SINK_EV_COUNT);
	if (r->event == SINK_EV_COUNT)
		return "unknown event (a verb, ANY, UNKNOWN, AUTHDATA, EOD, BODY, CONNECT, GREETING)";
	*at += len;
	if (**at == '#') {
		(*at)++;
		if (!take_number(at, &n) || n == 0 || n > UINT32_MAX)
			return "a number from 1 must follow #";
		r->nth = (unsigned)n;
		r->onwards = **at == '+';
		*at += r->onwards;
	}
	if ((**at == '@') != (r->event == SINK_EV_BODY))
		return "BODY, and only BODY, takes @OCTETS";
	if (**at == '@') {
		(*at)++;
		if (!take_number(at, &r->at))
			return "a number must follow @";
	}
	if (**at == ':') {
		(*at)++;
		r->needle = take_needle(at);
	}
	return **at && **at != '=' ? "something is left over before =" : NULL;
}

static int hex_digit(char c)
{
	c = (char)ascii_lower((uint8_t)c);
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A text on its way to be compiled. */
struct compiler {
	struct sink_rule *r;
	uint8_t *to;
	size_t n, begun; /* octets so far, and where the step at hand began */
	bool newline, as_is;
};

static void end_step(struct compiler *c, uint32_t pause_ms, enum sink_ending ending)
{
	c->r->steps[c->r->step_count++] =
		(struct sink_step){ span_of(c->to + c->begun, c->n - c->begun), pause_ms, ending };
	c->begun = c->n;
}

/* One escape at AT, behind its backslash. Octets used up, or 0 where it is none that we know. */
static size_t take_escape(struct compiler *c, const char *at)
{
	static const char plain[] = "r\rn\nt\t0\0\\\\";
	const char *from = at;
	uint64_t ms;

	for (size_t i = 0; i + 1 < sizeof(plain); i += 2) {
		if (*at == plain[i]) {
			c->to[c->n++] = (uint8_t)plain[i + 1];
			c->newline |= *at == 'r' || *at == 'n';
			return 1;
		}
	}
	switch (*at) {
	case 'x':
		if (hex_digit(at[1]) < 0 || hex_digit(at[2]) < 0)
			return 0;
		c->to[c->n++] = (uint8_t)(hex_digit(at[1]) * 16 + hex_digit(at[2]));
		return 3;
	case 'c':
		c->as_is = true;
		return 1;
	case 'p':
		at++;
		if (!take_number(&at, &ms) || ms > UINT32_MAX || *at != ';')
			return 0;
		end_step(c, (uint32_t)ms, SINK_GO_ON);
		return (size_t)(at + 1 - from);
	case '!':
		c->r->ending = SINK_POLITE;
		return at[1] ? 0 : 1;
	case '^':
		c->r->ending = SINK_RESET;
		return at[1] ? 0 : 1;
	default:
		return 0;
	}
}

/* CR LF is added to a text that holds neither CR nor LF: nobody means to leave it out by accident.
 */
static const char *take_text(struct sink_rule *r, const char *at)
{
	size_t len = strlen(at), most = len / 2 + 1, used;
	struct compiler c = { .r = r };

	/* The octets stand behind the steps. */
	r->steps = take(most * sizeof(*r->steps) + len + 2);
	c.to = (uint8_t *)(r->steps + most);
	while (*at) {
		if (*at != '\\') {
			c.to[c.n++] = (uint8_t)*at++;
			continue;
		}
		used = take_escape(&c, ++at);
		if (!used)
			return "bad escape (\\r \\n \\t \\0 \\\\ \\xHH \\pMS; \\c, at the end \\! \\^)";
		at += used;
	}
	if (c.n > 0 && !c.newline && !c.as_is) {
		c.to[c.n++] = '\r';
		c.to[c.n++] = '\n';
	}
	end_step(&c, 0, r->ending);
	return NULL;
}

static const char *take_ms(struct sink_rule *r, const char *at)
{
	uint64_t ms;

	if (!take_number(&at, &ms) || *at || ms > UINT32_MAX)
		return "milliseconds must follow =";
	r->ms = (uint32_t)ms;
	return NULL;
}

static const char *take_ending(struct sink_rule *r, const char *at)
{
	static const struct {
		const char *name;
		enum sink_ending ending;
	} endings[] = { { "close", SINK_CLOSE }, { "fin", SINK_POLITE }, { "rst", SINK_RESET } };

	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		if (strcmp(at, endings[i].name) == 0) {
			r->ending = endings[i].ending;
			return NULL;
		}
	}
	return "close, fin or rst must follow =";
}

static const char *take_value(struct sink_rule *r, const char *value)
{
	switch (r->deed) {
	case SINK_REPLY:
	case SINK_SAY:
		return value ? take_text(r, value) : "=TEXT is missing";
	case SINK_DELAY:
		return value ? take_ms(r, value) : "=MILLISECONDS is missing";
	case SINK_DROP:
		r->ending = SINK_CLOSE;
		return value ? take_ending(r, value) : NULL;
	case SINK_STALL:
		return value ? "nothing may follow" : NULL;
	}
	return "unknown deed";
}

static const char *take_rule(struct sink_rule *r, const char *arg)
{
	const char *fault = take_when(r, &arg);

	if (fault)
		return fault;
	if (!(deed_events[r->deed] & BIT(r->event)))
		return r->deed == SINK_SAY ? "only BODY@OCTETS can be said something at"
					   : "there is no reply to put another in place of";
	return take_value(r, *arg ? arg + 1 : NULL);
}

static void forget(struct sink_rule *r)
{
	free(r->steps);
	free((void *)r->needle.p);
}

const char *sink_script_add(struct sink_script *script, enum sink_deed deed, const char *arg)
{
	struct sink_rule *r = &script->rules[script->count];
	const char *fault;

	if (script->count == SINK_RULES_MAX)
		return "too many rules";
	*r = (struct sink_rule){ .deed = deed };
	fault = take_rule(r, arg);
	if (fault) {
		forget(r);
		return fault;
	}
	script->count++;
	script->events |= r->event == SINK_EV_ANY ? COMMANDS : BIT(r->event);
	return NULL;
}

static bool holds(struct span line, struct span needle)
{
	return needle.n == 0 || (line.n && memmem(line.p, line.n, needle.p, needle.n));
}

static bool fits(const struct sink_rule *r, const struct sink_moment *m)
{
	unsigned nth = r->event == SINK_EV_ANY ? m->any : m->nth;

	if (r->event != m->event && !(r->event == SINK_EV_ANY && m->any))
		return false;
	if (r->connection && r->connection != m->connection)
		return false;
	if (r->nth && (r->onwards ? nth < r->nth : nth != r->nth))
		return false;
	return holds(m->line, r->needle);
}

const struct sink_rule *sink_script_find(const struct sink_script *script, enum sink_deed deed,
					 const struct sink_moment *m)
{
	if (!(script->events & BIT(m->event)))
		return NULL;
	for (unsigned i = 0; i < script->count; i++)
		if (script->rules[i].deed == deed && fits(&script->rules[i], m))
			return &script->rules[i];
	return NULL;
}

const struct sink_rule *sink_script_body(const struct sink_script *script,
					 const struct sink_rule *after, const struct sink_moment *m)
{
	const struct sink_rule *best = NULL;

	if (!(script->events & BIT(SINK_EV_BODY)))
		return NULL;
	for (unsigned i = 0; i < script->count; i++) {
		const struct sink_rule *r = &script->rules[i];

		if (r->event != SINK_EV_BODY || !fits(r, m))
			continue;
		if (after && (r->at < after->at || (r->at == after->at && r <= after)))
			continue;
		if (!best || r->at < best->at)
			best = r;
	}
	return best;
}
