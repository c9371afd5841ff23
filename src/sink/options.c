/* SPDX-License-Identifier: ISC */
/* options: see options.h. */
#include "sink/options.h"

#include <argp.h>
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "smtp/command.h"

enum key {
	KEY_LISTEN = 'l',
	KEY_NAME = 'n',
	KEY_VERSION = 'V',
	KEY_HELP = 'h',
	KEY_MAILDIR = 256,
	KEY_COUNT,
	KEY_FSYNC,
	KEY_DIGEST,
	KEY_RAW,
	KEY_TRANSCRIPT,
	KEY_REPORT,
	KEY_GREETING,
	KEY_EXT,
	KEY_AUTH,
	KEY_REPLY,
	KEY_DELAY,
	KEY_DROP,
	KEY_STALL,
	KEY_SAY,
	KEY_SLOW,
	KEY_RCVBUF,
	KEY_MAX,
	KEY_MESSAGES,
	KEY_LINE_ENDS,
	KEY_WORKERS,
	KEY_ENGINE,
	KEY_PROXY,
};

static const char about[] =
	"A small SMTP server that takes all mail: the destination for trying, testing and measuring "
	"caronte. It is not for real mail."
	"\v"
	"WHEN is [CONNECTION/]EVENT[#N[+]][:SUBSTRING], or BODY[#N]@OCTETS. EVENT is a command "
	"(HELO EHLO MAIL RCPT DATA BDAT RSET NOOP HELP VRFY AUTH STARTTLS QUIT UNKNOWN, or ANY), "
	"AUTHDATA, EOD (end of data), CONNECT or GREETING. #N is its number in the connection (N+: "
	"that one and all later ones), SUBSTRING stands in the line.\n\n"
	"TEXT is sent to the letter; \\r \\n \\t \\0 \\\\ \\xHH are octets, \\pMS; pauses, \\! at the "
	"end closes the connection, \\^ resets it. CR LF is added where TEXT holds neither, but not "
	"after \\c.\n\n"
	"See caronte-sink(8).";

static const struct argp_option keys[] = {
	{ NULL, 0, NULL, 0, "Where and as whom:", 1 },
	{ "listen", KEY_LISTEN, "ADDRESS:PORT|unix:PATH", 0, "Default 127.0.0.1:225; port 0: any",
	  1 },
	{ "name", KEY_NAME, "HOST", 0, "Name in the greeting", 1 },
	{ "max", KEY_MAX, "N", 0, "Sessions at once, then 421 (default 10000)", 1 },
	{ "workers", KEY_WORKERS, "N", 0, "Processes (default 1)", 1 },
	{ "engine", KEY_ENGINE, "NAME", 0, "auto, io_uring or epoll", 1 },
	{ "proxy", KEY_PROXY, NULL, 0, "Each connection begins with a PROXY header", 1 },
	{ NULL, 0, NULL, 0, "What becomes of mail:", 2 },
	{ "count", KEY_COUNT, NULL, 0, "Throw it away and count it (default)", 2 },
	{ "maildir", KEY_MAILDIR, "DIR", 0, "Deliver into DIR, octets as they came", 2 },
	{ "fsync", KEY_FSYNC, NULL, 0, "Sync each file before 250", 2 },
	{ "messages", KEY_MESSAGES, "N", 0, "Exit 0 after N messages", 2 },
	{ NULL, 0, NULL, 0, "What is recorded:", 3 },
	{ "raw", KEY_RAW, "DIR", 0, "Octets received, into DIR/connection-N.raw", 3 },
	{ "transcript", KEY_TRANSCRIPT, "FILE", 0, "The dialog, line by line; - is stdout", 3 },
	{ "report", KEY_REPORT, "FILE", 0, "Counters as JSON, on SIGUSR1 and at exit", 3 },
	{ "digest", KEY_DIGEST, NULL, 0, "SHA-256 of each message in the report", 3 },
	{ NULL, 0, NULL, 0, "How it answers:", 4 },
	{ "greeting", KEY_GREETING, "TEXT", 0, "The whole greeting", 4 },
	{ "ext", KEY_EXT, "LINE", 0,
	  "Offer this in place of the default extensions; repeatable; "
	  "none: offer nothing",
	  4 },
	{ "auth", KEY_AUTH, "USER:PASSWORD", 0, "Take AUTH PLAIN and LOGIN of this user", 4 },
	{ "line-ends", KEY_LINE_ENDS, "strict|lax|7bit", 0,
	  "lax: LF ends lines and data too; 7bit: so does what has the eighth bit set", 4 },
	{ NULL, 0, NULL, 0, "How it misbehaves (all repeatable):", 5 },
	{ "reply", KEY_REPLY, "WHEN=TEXT", 0, "Answer this", 5 },
	{ "delay", KEY_DELAY, "WHEN=MS", 0, "Wait before the answer", 5 },
	{ "drop", KEY_DROP, "WHEN[=HOW]", 0,
	  "End the connection in place of the answer: close, fin or "
	  "rst",
	  5 },
	{ "stall", KEY_STALL, "WHEN", 0, "Neither answer nor read any more", 5 },
	{ "say", KEY_SAY, "BODY@N=TEXT", 0, "Send TEXT in the midst of a body", 5 },
	{ "slow", KEY_SLOW, "RATE", 0, "Read at most RATE octets/s on each connection", 5 },
	{ "rcvbuf", KEY_RCVBUF, "OCTETS", 0, "Receive buffer of the sockets", 5 },
	{ NULL, KEY_HELP, NULL, OPTION_HIDDEN, NULL, -1 },
	{ "version", KEY_VERSION, NULL, 0, "Print the version", -1 },
	{ 0 }
};

static uint64_t number(const char *text, const char *what, uint64_t min, uint64_t max)
{
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end || n < min || n > max)
		errx(EX_USAGE, "%s: %s: a number from %llu to %llu is wanted", what, text,
		     (unsigned long long)min, (unsigned long long)max);
	return n;
}

static void take_listen(struct sink_options *o, const char *text)
{
	char ip[64];
	const char *colon = strrchr(text, ':');
	const char *from = text;
	size_t n = colon ? (size_t)(colon - text) : 0;

	o->listen_path = NULL;
	if (strncmp(text, "unix:", 5) == 0) {
		o->listen_path = text + 5;
		return;
	}
	if (n >= 2 && *text == '[' && colon[-1] == ']') {
		from++;
		n -= 2;
	}
	if (n == 0 || n >= sizeof(ip))
		errx(EX_USAGE, "--listen: %s: ADDRESS:PORT or unix:PATH is wanted", text);
	memcpy(ip, from, n);
	ip[n] = '\0';
	if (addr_parse_ip(&o->listen, ip) < 0 || (o->listen.family == 6) != (from > text))
		errx(EX_USAGE, "--listen: %s: no address (IPv6 in brackets)", text);
	o->listen.port = (uint16_t)number(colon + 1, "--listen", 0, 65535);
}

static void take_rule(struct sink_options *o, enum sink_deed deed, const char *option,
		      const char *text)
{
	const char *fault = sink_script_add(&o->script, deed, text);

	if (fault)
		errx(EX_USAGE, "%s: %s: %s", option, text, fault);
}

static void take_greeting(struct sink_options *o, const char *text)
{
	char *rule;

	if (asprintf(&rule, "GREETING=%s", text) < 0)
		err(EX_OSERR, "--greeting");
	take_rule(o, SINK_REPLY, "--greeting", rule);
	free(rule);
}

static void take_auth(struct sink_options *o, char *text)
{
	char *colon = strchr(text, ':');

	if (!colon || colon == text)
		errx(EX_USAGE, "--auth: USER:PASSWORD is wanted");
	*colon = '\0';
	o->user = text;
	o->password = colon + 1;
}

static void take_ext(struct sink_options *o, const char *text)
{
	if (o->ext_count == SINK_EXTS_MAX)
		errx(EX_USAGE, "--ext: too many");
	o->exts[o->ext_count++] = text;
}

static unsigned choice(const char *text, const char *option, const char *const *names)
{
	for (unsigned i = 0; names[i]; i++)
		if (strcmp(text, names[i]) == 0)
			return i;
	errx(EX_USAGE, "%s: %s: no such choice", option, text);
}

static error_t take_record(struct sink_options *o, int key, char *arg)
{
	switch (key) {
	case KEY_MAILDIR:
		o->maildir = arg;
		return 0;
	case KEY_COUNT:
		o->maildir = NULL;
		return 0;
	case KEY_FSYNC:
		o->fsync = true;
		return 0;
	case KEY_DIGEST:
		o->digest = true;
		return 0;
	case KEY_RAW:
		o->raw = arg;
		return 0;
	case KEY_TRANSCRIPT:
		o->transcript = arg;
		return 0;
	case KEY_REPORT:
		o->report = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t take_script(struct sink_options *o, int key, char *arg)
{
	switch (key) {
	case KEY_GREETING:
		take_greeting(o, arg);
		return 0;
	case KEY_REPLY:
		take_rule(o, SINK_REPLY, "--reply", arg);
		return 0;
	case KEY_DELAY:
		take_rule(o, SINK_DELAY, "--delay", arg);
		return 0;
	case KEY_DROP:
		take_rule(o, SINK_DROP, "--drop", arg);
		return 0;
	case KEY_STALL:
		take_rule(o, SINK_STALL, "--stall", arg);
		return 0;
	case KEY_SAY:
		take_rule(o, SINK_SAY, "--say", arg);
		return 0;
	case KEY_SLOW:
		o->rate = number(arg, "--slow", 1, UINT32_MAX);
		return 0;
	case KEY_RCVBUF:
		o->rcvbuf = (int)number(arg, "--rcvbuf", 1, 1 << 30);
		return 0;
	default:
		return take_record(o, key, arg);
	}
}

/* What the process is, and what it offers. */
static error_t take_server(struct sink_options *o, int key, char *arg)
{
	static const char *const engines[] = { "auto", "io_uring", "epoll", NULL };
	static const char *const ends[] = { "strict", "lax", "7bit", NULL };

	switch (key) {
	case KEY_LISTEN:
		take_listen(o, arg);
		return 0;
	case KEY_NAME:
		o->name = arg;
		return 0;
	case KEY_MAX:
		o->sessions = (unsigned)number(arg, "--max", 1, 100000);
		return 0;
	case KEY_WORKERS:
		o->workers = (unsigned)number(arg, "--workers", 1, SINK_WORKERS_MAX);
		return 0;
	case KEY_ENGINE:
		o->engine = (enum io_engine)choice(arg, "--engine", engines);
		return 0;
	case KEY_PROXY:
		o->proxy = true;
		return 0;
	case KEY_MESSAGES:
		o->messages = number(arg, "--messages", 1, UINT64_MAX);
		return 0;
	case KEY_EXT:
		take_ext(o, arg);
		return 0;
	case KEY_AUTH:
		take_auth(o, arg);
		return 0;
	case KEY_LINE_ENDS:
		o->line_ends = (enum sink_line_ends)choice(arg, "--line-ends", ends);
		return 0;
	default:
		return take_script(o, key, arg);
	}
}

static error_t take_key(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case KEY_HELP:
		argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
		return 0;
	case KEY_VERSION:
		printf("caronte-sink %s\n", CARONTE_VERSION);
		exit(0);
	case ARGP_KEY_ARG:
		argp_error(state, "%s: no argument is wanted", arg);
		return 0;
	default:
		return take_server(state->input, key, arg);
	}
}

/* What the server says by itself, made once. */

static const struct {
	const char *keyword;
	uint32_t ext;
	const char *line; /* offered by default; NULL: not */
} extensions[] = {
	{ "PIPELINING", SMTP_EXT_PIPELINING, "PIPELINING" },
	{ "SIZE", SMTP_EXT_SIZE, "SIZE 104857600" },
	{ "8BITMIME", SMTP_EXT_8BITMIME, "8BITMIME" },
	{ "SMTPUTF8", SMTP_EXT_SMTPUTF8, "SMTPUTF8" },
	{ "DSN", SMTP_EXT_DSN, "DSN" },
	{ "ENHANCEDSTATUSCODES", SMTP_EXT_ENHANCED, "ENHANCEDSTATUSCODES" },
	{ "AUTH", SMTP_EXT_AUTH, NULL },
	{ "HELP", SMTP_EXT_HELP, "HELP" },
	{ "CHUNKING", SMTP_EXT_CHUNKING, "CHUNKING" },
	{ "BINARYMIME", SMTP_EXT_BINARYMIME, "BINARYMIME" },
};

#define EXTENSIONS (sizeof(extensions) / sizeof(extensions[0]))

static void default_exts(struct sink_options *o)
{
	for (size_t i = 0; i < EXTENSIONS; i++)
		if (extensions[i].line)
			take_ext(o, extensions[i].line);
	if (o->user)
		take_ext(o, "AUTH PLAIN LOGIN");
}

static void note_ext(struct sink_options *o, const char *line)
{
	struct span word = span_of(line, strcspn(line, " ="));

	for (size_t i = 0; i < EXTENSIONS; i++)
		if (span_eq_nocase(word, span_str(extensions[i].keyword)))
			o->offered |= extensions[i].ext;
	if (span_eq_nocase(word, SPAN("SIZE")))
		o->size_max = strtoull(line + word.n, NULL, 10);
}

static struct span print(const char *fmt, const char *name)
{
	char *text;

	if (asprintf(&text, fmt, name) < 0)
		err(EX_OSERR, "start");
	return span_str(text);
}

static struct span print_ehlo(const struct sink_options *o)
{
	char *text;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	if (!f)
		err(EX_OSERR, "start");
	fprintf(f, "250%c%s\r\n", o->ext_count ? '-' : ' ', o->name);
	for (unsigned i = 0; i < o->ext_count; i++)
		fprintf(f, "250%c%s\r\n", i + 1 < o->ext_count ? '-' : ' ', o->exts[i]);
	if (fclose(f) != 0)
		err(EX_OSERR, "start");
	return span_of(text, n);
}

void sink_options_read(struct sink_options *o, int argc, char **argv)
{
	static char host[256];
	const struct argp argp = { keys, take_key, NULL, about, NULL, NULL, NULL };

	memset(o, 0, sizeof(*o));
	if (gethostname(host, sizeof(host) - 1) < 0)
		strcpy(host, "localhost");
	o->name = host;
	o->workers = 1;
	take_listen(o, "127.0.0.1:225");
	argp_err_exit_status = EX_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, o);
	if (o->ext_count == 0)
		default_exts(o);
	else if (o->ext_count == 1 && strcmp(o->exts[0], "none") == 0)
		o->ext_count = 0;
	for (unsigned i = 0; i < o->ext_count; i++)
		note_ext(o, o->exts[i]);
	o->greeting = print("220 %s ESMTP caronte-sink\r\n", o->name);
	o->helo = print("250 %s\r\n", o->name);
	o->bye = print("221 2.0.0 %s closing\r\n", o->name);
	o->ehlo = print_ehlo(o);
}
