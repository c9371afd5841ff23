/* SPDX-License-Identifier: ISC */
/* options: the command line of caronte-load. */
#include "inner.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* The sizes of `--size mail`, octets and weight, made after what mail servers report: half of all
 * mail is below 20 KB, notices and bounces; one in six has pictures or a page of HTML with its
 * parts; one in fifty an attachment, which makes most of the octets. */
static const struct load_size mail[] = {
	{ 2000, 100 },	{ 4000, 160 },	{ 8000, 180 },	 { 16000, 150 }, { 32000, 130 },
	{ 64000, 110 }, { 128000, 80 }, { 256000, 45 },	 { 512000, 20 }, { 1000000, 13 },
	{ 2000000, 7 }, { 5000000, 3 }, { 10000000, 2 },
};

static const char help[] =
	"caronte-load: sends mail as fast as asked, and measures how it is taken\n"
	"\n"
	"Usage: caronte-load [OPTION]... ADDRESS:PORT\n"
	"\n"
	"What is sent:\n"
	"  -m, --messages N         messages in all (1000)\n"
	"  -s, --size SIZE          octets of each message, 128 to 268435456 (2048); or\n"
	"      --size SIZE:WEIGHT,...  drawn from these; or `mail', a mixture like real mail\n"
	"  -b, --bdat               by BDAT (RFC 3030) in place of DATA\n"
	"      --chunk SIZE         octets of a BDAT chunk (the whole message)\n"
	"  -x, --refused            no message: a recipient that must get 550\n"
	"  -i, --idle N             no message: opens N connections, says EHLO, prints a line when\n"
	"                           all are up, and holds them until INT or TERM\n"
	"      --seed N             of contents and sizes (1)\n"
	"How:\n"
	"  -c, --connections N      connections at a time, at most (16)\n"
	"  -k, --per-connection N   messages of a connection (1)\n"
	"  -p, --pipelining         MAIL, RCPT and DATA, or BDAT, in one go, where offered\n"
	"  -r, --rate R             open loop: R messages a second are due, whatever becomes of them;\n"
	"                           without it the next begins when one is done\n"
	"      --from ADDRESS,...   IP addresses to come from, in turn\n"
	"      --proxy ADDRESS,...  a PROXY header (version 2) first, for clients at these, in turn\n"
	"      --tls                TLS from the first octet; certificates are not verified\n"
	"      --starttls           TLS by STARTTLS, where offered\n"
	"      --resume             TLS sessions of connections before are resumed\n"
	"      --half-open WHERE    with --idle and --tls: connections stop before their ClientHello\n"
	"                           (connect) or behind it (hello)\n"
	"      --timeout S          seconds without any progress that end a connection (60)\n"
	"      --helo NAME          name in EHLO (load.test)\n"
	"      --sender ADDRESS     (load@client.test)\n"
	"      --recipient ADDRESS  (box@local.test; with --refused, somebody@stranger.test)\n"
	"What is told:\n"
	"      --digests FILE       SHA-256 of each message that was acknowledged, one a line\n"
	"  -h, --help, -V, --version\n"
	"\n"
	"The figures are one JSON object on standard output. See caronte-load(8).\n";

enum {
	KEY_CHUNK = 256,
	KEY_SEED,
	KEY_FROM,
	KEY_PROXY,
	KEY_TLS,
	KEY_STARTTLS,
	KEY_RESUME,
	KEY_HALF_OPEN,
	KEY_TIMEOUT,
	KEY_HELO,
	KEY_SENDER,
	KEY_RECIPIENT,
	KEY_DIGESTS
};

static const struct option keys[] = {
	{ "messages", required_argument, NULL, 'm' },
	{ "size", required_argument, NULL, 's' },
	{ "bdat", no_argument, NULL, 'b' },
	{ "chunk", required_argument, NULL, KEY_CHUNK },
	{ "refused", no_argument, NULL, 'x' },
	{ "idle", required_argument, NULL, 'i' },
	{ "seed", required_argument, NULL, KEY_SEED },
	{ "connections", required_argument, NULL, 'c' },
	{ "per-connection", required_argument, NULL, 'k' },
	{ "pipelining", no_argument, NULL, 'p' },
	{ "rate", required_argument, NULL, 'r' },
	{ "from", required_argument, NULL, KEY_FROM },
	{ "proxy", required_argument, NULL, KEY_PROXY },
	{ "tls", no_argument, NULL, KEY_TLS },
	{ "starttls", no_argument, NULL, KEY_STARTTLS },
	{ "resume", no_argument, NULL, KEY_RESUME },
	{ "half-open", required_argument, NULL, KEY_HALF_OPEN },
	{ "timeout", required_argument, NULL, KEY_TIMEOUT },
	{ "helo", required_argument, NULL, KEY_HELO },
	{ "sender", required_argument, NULL, KEY_SENDER },
	{ "recipient", required_argument, NULL, KEY_RECIPIENT },
	{ "digests", required_argument, NULL, KEY_DIGESTS },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ 0 },
};

_Noreturn static void wrong(const char *option, const char *text, const char *wanted)
{
	errx(EX_USAGE, "%s: %s: %s is wanted", option, text, wanted);
}

/* A decimal number at *AT, which is moved behind it. */
static uint64_t number_at(const char **at, const char *option, uint64_t min, uint64_t max)
{
	const char *text = *at;
	char wanted[64], *end;
	uint64_t n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || n < min || n > max) {
		snprintf(wanted, sizeof(wanted), "a number from %llu to %llu",
			 (unsigned long long)min, (unsigned long long)max);
		wrong(option, text, wanted);
	}
	*at = end;
	return n;
}

static uint64_t number(const char *text, const char *option, uint64_t min, uint64_t max)
{
	const char *at = text;
	uint64_t n = number_at(&at, option, min, max);

	if (*at)
		wrong(option, text, "a number and nothing behind it");
	return n;
}

static void take_sizes(struct load_options *o, const char *text)
{
	const char *at = text;

	o->size_count = 0;
	if (strcmp(text, "mail") == 0) {
		o->size_count = sizeof(mail) / sizeof(mail[0]);
		memcpy(o->sizes, mail, sizeof(mail));
		return;
	}
	do {
		struct load_size *s = &o->sizes[o->size_count];

		if (o->size_count++ == LOAD_SIZES_MAX)
			wrong("--size", text, "a list of at most 64 sizes");
		s->octets = (uint32_t)number_at(&at, "--size", LOAD_SIZE_MIN, LOAD_SIZE_MAX);
		s->weight = 1;
		if (*at == ':') {
			at++;
			s->weight = (uint32_t)number_at(&at, "--size", 1, 1000000000);
		}
	} while (*at++ == ',');
	if (at[-1])
		wrong("--size", text, "SIZE, SIZE:WEIGHT,... or `mail'");
}

/* A list of IP addresses: how many. */
static unsigned take_addresses(struct addr out[LOAD_SOURCES_MAX], const char *option, char *text)
{
	char *save = NULL;
	unsigned n = 0;

	for (char *ip = strtok_r(text, ",", &save); ip; ip = strtok_r(NULL, ",", &save)) {
		if (n == LOAD_SOURCES_MAX)
			wrong(option, ip, "a list of at most 64 addresses");
		if (addr_parse_ip(&out[n++], ip) < 0)
			wrong(option, ip, "an IP address");
	}
	return n;
}

static void take_to(struct load_options *o, const char *text)
{
	const char *colon = strrchr(text, ':'), *from = text;
	size_t n = colon ? (size_t)(colon - text) : 0;
	char ip[64];

	if (n >= 2 && *text == '[' && colon[-1] == ']') {
		from++;
		n -= 2;
	}
	if (n == 0 || n >= sizeof(ip))
		wrong("where to", text, "ADDRESS:PORT");
	memcpy(ip, from, n);
	ip[n] = '\0';
	if (addr_parse_ip(&o->to, ip) < 0 || (o->to.family == 6) != (from > text))
		wrong("where to", text, "an IP address (IPv6 in brackets) and a port");
	o->to.port = (uint16_t)number(colon + 1, "where to", 1, 65535);
}

/* What stands in a command: bounded, and nothing that would end the line. */
static const char *word(const char *text, const char *option)
{
	if (strlen(text) > 400 || text[strcspn(text, "\r\n")])
		wrong(option, text, "one line of at most 400 octets");
	return text;
}

static void take_rate(struct load_options *o, const char *text)
{
	char *end;

	o->rate = strtod(text, &end);
	if (end == text || *end || !isfinite(o->rate) || o->rate <= 0 || o->rate > 10e6)
		wrong("--rate", text, "a number of messages a second, more than 0");
}

static void take_tls(struct load_options *o, enum load_tls tls)
{
	if (o->tls && o->tls != tls)
		errx(EX_USAGE, "--tls and --starttls exclude one another");
	o->tls = tls;
}

static void take_half_open(struct load_options *o, const char *text)
{
	if (strcmp(text, "connect") == 0)
		o->half_open = LOAD_BEFORE_HELLO;
	else if (strcmp(text, "hello") == 0)
		o->half_open = LOAD_BEHIND_HELLO;
	else
		wrong("--half-open", text, "`connect' or `hello'");
}

static bool take_secure(struct load_options *o, int key, const char *arg)
{
	switch (key) {
	case KEY_TLS:
		take_tls(o, LOAD_TLS_FIRST);
		return true;
	case KEY_STARTTLS:
		take_tls(o, LOAD_STARTTLS);
		return true;
	case KEY_RESUME:
		o->resume = true;
		return true;
	case KEY_HALF_OPEN:
		take_half_open(o, arg);
		return true;
	default:
		return false;
	}
}

static bool take_long(struct load_options *o, int key, char *arg)
{
	switch (key) {
	case KEY_CHUNK:
		o->chunk = (uint32_t)number(arg, "--chunk", 1, LOAD_SIZE_MAX);
		return true;
	case KEY_SEED:
		o->seed = number(arg, "--seed", 0, UINT64_MAX);
		return true;
	case KEY_FROM:
		o->from_count = take_addresses(o->from, "--from", arg);
		return true;
	case KEY_PROXY:
		o->proxied_count = take_addresses(o->proxied, "--proxy", arg);
		return true;
	case KEY_TIMEOUT:
		o->timeout_s = (unsigned)number(arg, "--timeout", 1, 86400);
		return true;
	case KEY_HELO:
		o->helo = word(arg, "--helo");
		return true;
	case KEY_SENDER:
		o->sender = word(arg, "--sender");
		return true;
	case KEY_RECIPIENT:
		o->recipient = word(arg, "--recipient");
		return true;
	case KEY_DIGESTS:
		o->digests = arg;
		return true;
	default:
		return take_secure(o, key, arg);
	}
}

static void take(struct load_options *o, int key, char *arg)
{
	switch (key) {
	case 'm':
		o->messages = number(arg, "--messages", 1, 1000000000);
		return;
	case 's':
		take_sizes(o, arg);
		return;
	case 'b':
		o->bdat = true;
		return;
	case 'x':
		o->refused = true;
		return;
	case 'i':
		o->idle = (unsigned)number(arg, "--idle", 1, 1000000);
		return;
	case 'c':
		o->connections = (unsigned)number(arg, "--connections", 1, 1000000);
		return;
	case 'k':
		o->per_connection = (unsigned)number(arg, "--per-connection", 1, 1000000000);
		return;
	case 'p':
		o->pipelining = true;
		return;
	case 'r':
		take_rate(o, arg);
		return;
	case 'h':
		fputs(help, stdout);
		exit(0);
	case 'V':
		printf("caronte-load %s\n", CARONTE_VERSION);
		exit(0);
	default:
		if (!take_long(o, key, arg))
			errx(EX_USAGE, "try `caronte-load --help'");
	}
}

void load_options_read(struct load_options *o, int argc, char **argv)
{
	int key;

	*o = (struct load_options){
		.messages = 1000,
		.connections = 16,
		.per_connection = 1,
		.timeout_s = 60,
		.seed = 1,
		.helo = "load.test",
		.sender = "load@client.test",
		.sizes = { { 2048, 1 } },
		.size_count = 1,
	};
	while ((key = getopt_long(argc, argv, "m:s:bxi:c:k:pr:hV", keys, NULL)) != -1)
		take(o, key, optarg);
	if (optind + 1 != argc)
		errx(EX_USAGE, "one ADDRESS:PORT is wanted; try `caronte-load --help'");
	take_to(o, argv[optind]);
	if (!o->recipient)
		o->recipient = o->refused ? "somebody@stranger.test" : "box@local.test";
	if (o->refused + (o->idle > 0) + o->bdat > 1)
		errx(EX_USAGE, "--refused, --idle and --bdat exclude one another");
	if (o->chunk && !o->bdat)
		errx(EX_USAGE, "--chunk is for --bdat");
	if (o->half_open && (!o->idle || o->tls != LOAD_TLS_FIRST))
		errx(EX_USAGE, "--half-open is for --idle with --tls");
	if (o->resume && !o->tls)
		errx(EX_USAGE, "--resume is for --tls and --starttls");
	for (unsigned i = 0; i < o->from_count; i++)
		if (o->from[i].family != o->to.family)
			errx(EX_USAGE, "--from: not of the family of %s", argv[optind]);
	if (o->connections > o->messages)
		o->connections = (unsigned)o->messages;
}
