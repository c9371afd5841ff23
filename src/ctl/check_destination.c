/* SPDX-License-Identifier: ISC */
/*
 * carontectl check-destination: connects to every address of every destination as Caronte would,
 * and warns about each thing that makes it unsafe, or slow, behind a proxy. Without --recipient no
 * message is sent: MAIL and RCPT are taken back by RSET.
 *
 * Refuses to judge more than it has seen: an answer that tells nothing is a warning that says so.
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "ctl/check_destination.h"
#include "ctl/ctl.h"
#include "io/net.h"
#include "proxy/resolver.h"
#include "route/route.h"
#include "smtp/command.h"
#include "smtp/offer.h"

#define PATIENCE_S    30
#define EXIT_WARNINGS 1
/*
 * Of a domain that is nobody's (RFC 2606), so that the destination has no reason to take them. It
 * has no mail server either (RFC 7505), and may be refused for that by one that relays: so the
 * other is of an address that is nobody's (RFC 5737), for which no name is looked up.
 */
static const char *const foreign[] = { "caronte-relay-check@example.com",
				       "caronte-relay-check@[192.0.2.1]" };

struct arguments {
	struct ctl_config config;
	const char *recipient;
	unsigned seconds;
};

void destination_say(struct destination_check *k, bool good, const char *fmt, ...)
{
	va_list ap;

	printf("%s: %s: ", k->label, good ? "good" : "warning");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	if (!good)
		k->warnings++;
}

void destination_words(enum probe_heard heard, const struct smtp_reply *reply, char *out)
{
	size_t n = 0;

	switch (heard) {
	case PROBE_CLOSED:
		strcpy(out, "a closed connection");
		return;
	case PROBE_SILENT:
		strcpy(out, "silence");
		return;
	case PROBE_MALFORMED:
		strcpy(out, "a malformed reply");
		return;
	case PROBE_REPLY:
		break;
	}
	/* The first line; a terminal shall not obey what stands there. */
	while (n < reply->text.n && n < DESTINATION_TEXT - 1 && reply->text.p[n] != '\r') {
		uint8_t c = reply->text.p[n];

		out[n++] = c >= ' ' && c < 0x7f ? (char)c : '?';
	}
	out[n] = '\0';
}

unsigned destination_hear(struct destination_check *k, char *words)
{
	struct smtp_reply reply;
	enum probe_heard heard = probe_hear(&k->smtp, &reply);

	destination_words(heard, &reply, words);
	return heard == PROBE_REPLY ? reply.code : 0;
}

static bool check_greeting(struct destination_check *k)
{
	char words[DESTINATION_TEXT];
	unsigned code = destination_hear(k, words);

	destination_say(k, code == 220, "it greets with %s", words);
	return code == 220;
}

static void judge_extensions(struct destination_check *k, uint32_t ext)
{
	k->pipelining = ext & SMTP_EXT_PIPELINING;
	if (k->pipelining)
		destination_say(k, true, "it knows PIPELINING");
	else
		destination_say(k, false,
				"it does not know PIPELINING: every command waits for the reply to "
				"the one before");
	if (ext & SMTP_EXT_AUTH)
		destination_say(k, true, "it offers AUTH");
	else
		destination_say(k, false, "it offers no AUTH%s: nobody can log in through Caronte",
				ext & SMTP_EXT_STARTTLS
					? " (perhaps only after STARTTLS, which Caronte does not "
					  "use)"
					: "");
}

static bool check_hello(struct destination_check *k)
{
	char name[64], words[DESTINATION_TEXT];
	struct smtp_reply reply;
	enum probe_heard heard;
	struct smtp_offer offer;

	probe_own_name(&k->smtp, name);
	probe_say(&k->smtp, "EHLO %s", name);
	heard = probe_hear(&k->smtp, &reply);
	if (heard == PROBE_REPLY && reply.code == 250) {
		smtp_offer_read(&offer, &reply);
		judge_extensions(k, offer.ext);
		return true;
	}
	destination_words(heard, &reply, words);
	destination_say(k, false, "EHLO %s gets %s", name, words);
	if (heard != PROBE_REPLY)
		return false;
	probe_say(&k->smtp, "HELO %s", name);
	return destination_hear(k, words) == 250;
}

/* True: it refuses this one. */
static bool refuses(struct destination_check *k, const char *recipient)
{
	char words[DESTINATION_TEXT];
	unsigned code;

	probe_say(&k->smtp, "RCPT TO:<%s>", recipient);
	code = destination_hear(k, words);
	if (code / 100 == 2)
		destination_say(k, false,
				"it relays for our address: RCPT TO:<%s> gets %s; the guard of "
				"Caronte is the only one",
				recipient, words);
	else if (code / 100 == 5)
		destination_say(k, true, "it refuses mail from our address to <%s>: %s", recipient,
				words);
	else
		destination_say(k, false, "RCPT TO:<%s> gets %s: whether it relays is not known",
				recipient, words);
	return code / 100 == 5;
}

/* Whether it takes mail for others from us. */
static void check_relay(struct destination_check *k)
{
	char words[DESTINATION_TEXT];
	unsigned code;

	probe_say(&k->smtp, "MAIL FROM:<>");
	code = destination_hear(k, words);
	if (code / 100 != 2) {
		destination_say(k, false, "MAIL FROM:<> gets %s: whether it relays is not known",
				words);
		return;
	}
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]) && refuses(k, foreign[i]); i++)
		;
	probe_say(&k->smtp, "RSET");
	code = destination_hear(k, words);
	if (code / 100 != 2)
		destination_say(k, false, "RSET gets %s", words);
}

static void check_address(struct destination_check *k)
{
	char words[DESTINATION_TEXT];
	int err = probe_dial(&k->smtp, &k->addr, k->patience_ms);

	if (err) {
		destination_say(k, false, "cannot be connected to: %s", strerror(-err));
		return;
	}
	if (check_greeting(k) && check_hello(k)) {
		check_relay(k);
		probe_say(&k->smtp, "QUIT");
		if (destination_hear(k, words) != 221)
			destination_say(k, false, "QUIT gets %s", words);
		probe_hang_up(&k->smtp);
		if (k->recipient)
			destination_check_ends(k);
	}
	probe_hang_up(&k->smtp);
}

/* The number of warnings. */
static unsigned check_destination(const struct arguments *a, const char *name)
{
	struct addr found[NET_RESOLVE_MAX];
	int n = net_resolve(name, found);
	unsigned warnings = 0;
	struct addr literal;

	if (n <= 0) {
		printf("%s: warning: does not resolve\n", name);
		return 1;
	}
	for (int i = 0; i < n; i++) {
		char label[ROUTE_NAME_MAX + ADDR_TEXT_MAX + 4], ip[ADDR_TEXT_MAX];
		struct destination_check k = {
			.label = label,
			.addr = found[i],
			.patience_ms = a->seconds * 1000,
			.recipient = a->recipient,
		};

		addr_format_ip(&found[i], ip);
		snprintf(label, sizeof(label), resolver_literal(name, &literal) ? "%s" : "%s (%s)",
			 name, ip);
		check_address(&k);
		warnings += k.warnings;
	}
	return warnings;
}

/* ---- arguments ---- */

static void usage(FILE *out)
{
	fputs("usage: carontectl check-destination [OPTION]...\n" CTL_CONFIG_USAGE
	      "  -r, --recipient ADDRESS  also try which other ends of data are taken, by messages\n"
	      "                           to this address, which may be delivered\n"
	      "  -t, --timeout SECONDS    for each step (30)\n"
	      "  -h, --help               print this, end\n",
	      out);
}

/* Goes between angle brackets to servers whose care is what is in doubt. */
static bool plain_address(const char *text)
{
	const char *at = strrchr(text, '@');

	if (!at || at == text || !at[1] || strlen(text) > SMTP_PATH_MAX)
		return false;
	for (; *text; text++)
		if (*text <= ' ' || *text > '~' || *text == '<' || *text == '>')
			return false;
	return true;
}

/* -1: go on; else the exit status. */
static int read_option(struct arguments *a, int c)
{
	switch (c) {
	case 'r':
		a->recipient = optarg;
		if (plain_address(optarg))
			return -1;
		fprintf(stderr, "carontectl check-destination: %s: no address like user@domain\n",
			optarg);
		return EX_USAGE;
	case 't':
		return ctl_seconds("check-destination", optarg, &a->seconds) ? -1 : EX_USAGE;
	case 'h':
		usage(stdout);
		return EX_OK;
	default:
		return ctl_config_option(&a->config, c, optarg) ? -1 : EX_USAGE;
	}
}

static int read_arguments(struct arguments *a, int argc, char **argv)
{
	static const struct option options[] = {
		CTL_CONFIG_LONG,
		{ "recipient", required_argument, NULL, 'r' },
		{ "timeout", required_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int status = -1;
	int c;

	while (status < 0 &&
	       (c = getopt_long(argc, argv, CTL_CONFIG_SHORT "r:t:h", options, NULL)) != -1)
		status = read_option(a, c);
	if (status < 0 && optind < argc) {
		fprintf(stderr, "carontectl check-destination: %s: no such argument\n",
			argv[optind]);
		status = EX_USAGE;
	}
	if (status == EX_USAGE)
		usage(stderr);
	return status;
}

static void report(void *ctx, const char *what)
{
	(void)ctx;
	fprintf(stderr, "carontectl: DESTINATIONS: %s\n", what);
}

static int run(const struct arguments *a)
{
	struct config *c = ctl_config_load(&a->config);
	unsigned warnings = 0;
	struct route route;

	if (!c)
		return EX_CONFIG;
	/* Whether the list fits the cooperation mode is not what is asked here. */
	if (!route_parse(&route, c->set.destinations, ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS, report,
			 NULL)) {
		config_free(c);
		return EX_CONFIG;
	}
	if (a->recipient)
		printf("up to %d messages may be delivered to %s at each address of each of %u "
		       "destinations\n",
		       DESTINATION_MESSAGES, a->recipient, route.count);
	for (unsigned i = 0; i < route.count; i++)
		warnings += check_destination(a, route.destination[i].name);
	config_free(c);
	printf("%u warning%s\n", warnings, warnings == 1 ? "" : "s");
	return warnings ? EXIT_WARNINGS : EX_OK;
}

int ctl_check_destination(int argc, char **argv)
{
	struct arguments a = { .seconds = PATIENCE_S };
	int status;

	if (!ctl_config_open(&a.config, argc))
		return EX_OSERR;
	status = read_arguments(&a, argc, argv);
	if (status < 0)
		status = run(&a);
	ctl_config_close(&a.config);
	return status;
}
