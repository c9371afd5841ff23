/* SPDX-License-Identifier: ISC */
/*
 * carontectl check-destination: connects to every address of every destination as Caronte would,
 * and warns about each thing that makes it unsafe, or slow, behind a proxy. Without --recipient no
 * message is sent: MAIL and RCPT are taken back by RSET.
 *
 * Refuses to judge more than it has seen: an answer that tells nothing is a warning that says so.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "ctl/check_destination.h"
#include "ctl/check_destination_tls.h"
#include "ctl/inner.h"
#include "io/net.h"
#include "check/name.h"
#include "route/parse.h"
#include "route/route.h"
#include "smtp/command.h"

#define PATIENCE_S    30
#define EXIT_WARNINGS 1
#define CONNECTIONS   100
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
	char name[NAME_MAX_OCTETS + 1]; /* ours */
	const char *destination;	/* NULL: those of the configuration */
	unsigned seconds;
	unsigned connections;
};

static const char knows_header[] =
	"it must know the PROXY header: Postfix smtpd_upstream_proxy_protocol=haproxy in "
	"master.cf, Exim hosts_proxy, OpenSMTPD listen … proxy-v2; and where it does, let "
	"Caronte's address in";

/* A header of the PROXY protocol stands before all that is said. */
static bool has_header(const struct destination_check *k)
{
	return route_identity_binds(k->at.identity);
}

static const char *cure_of(const struct destination_check *k, enum probe_heard heard)
{
	static const char answers[] = "what answers there must be an SMTP server: DESTINATIONS of "
				      "Caronte";
	static const char waits[] = "what answers there must be an SMTP server, or it waits for a "
				    "PROXY header (identity=proxy2) or for TLS (wrap): "
				    "DESTINATIONS of Caronte";
	static const char lets_in[] = "it must let Caronte's address in, however many connections "
				      "come from there: Postfix smtpd_client_restrictions, Exim "
				      "acl_smtp_connect, OpenSMTPD listen";

	if (k->hello.lmtp)
		return "name the port of SMTP in DESTINATIONS of Caronte";
	if (heard == PROBE_SILENT)
		return has_header(k) ? answers : waits;
	if (has_header(k))
		return knows_header;
	return heard == PROBE_REPLY ? lets_in : answers;
}

/* Reports an answer that is no welcome; the report begins with WHAT the destination does. */
static void say_unwelcome(struct destination_check *k, const char *what, enum probe_heard heard,
			  const struct smtp_reply *reply)
{
	bool lmtp = k->hello.lmtp;
	char words[DESTINATION_TEXT];

	destination_words(heard, reply, words);
	destination_warn(k, cure_of(k, heard), "%s %s%s%s", what,
			 lmtp ? "(this is an LMTP port, SMTP is needed) " : "", words,
			 has_header(k) && heard == PROBE_REPLY && !lmtp
				 ? ": it seems to take the PROXY header for a command"
				 : "");
}

static bool check_greeting(struct destination_check *k)
{
	char words[DESTINATION_TEXT];
	enum smtp_hello_result how;
	enum probe_heard heard;
	struct smtp_reply reply;

	destination_say(k, SMTP_HELLO_GREETING);
	how = destination_answer(k, &heard, &reply);
	destination_words(heard, &reply, words);
	if (how == SMTP_HELLO_BAD || reply.code != 220 || k->hello.lmtp) {
		say_unwelcome(k, "it greets with", heard, &reply);
		return false;
	}
	destination_good(k, "it greets with %s", words);
	return true;
}

static void judge_extensions(struct destination_check *k, uint32_t ext)
{
	k->pipelining = ext & SMTP_EXT_PIPELINING;
	if (k->pipelining)
		destination_good(k, "it knows PIPELINING");
	else
		destination_warn(
			k,
			"Postfix smtpd_discard_ehlo_keywords, Exim "
			"pipelining_advertise_hosts; OpenSMTPD has none",
			"it does not know PIPELINING: every command waits for the reply to "
			"the one before");
	if (!(ext & SMTP_EXT_SIZE))
		destination_note(k, "it does not say its SIZE: MAX_MESSAGE_MIB is taken for it, "
				    "and chunks (CHUNKING) are not used");
	if (ext & SMTP_EXT_AUTH)
		destination_good(k, "it offers AUTH");
	else
		destination_note(k, "it offers no AUTH%s: nobody can log in through Caronte",
				 ext & SMTP_EXT_STARTTLS
					 ? " (perhaps only after STARTTLS: tls= in DESTINATIONS of "
					   "Caronte)"
					 : "");
}

static bool check_hello(struct destination_check *k)
{
	enum smtp_hello_result how;
	enum probe_heard heard;
	struct smtp_reply reply;

	destination_say(k, SMTP_HELLO_EHLO);
	how = destination_answer(k, &heard, &reply);
	if (how == SMTP_HELLO_GOOD && reply.code == 250) {
		k->size_max = k->hello.offer.size_max;
		k->forward = k->hello.forward;
		judge_extensions(k, k->hello.offer.ext);
		return true;
	}
	say_unwelcome(k, "EHLO gets", heard, &reply);
	/* A refused header has its own reply, and each one that follows is that to what was said
	 * before. */
	if (how == SMTP_HELLO_ON && !has_header(k)) {
		destination_say(k, k->hello.step);
		how = destination_answer(k, &heard, &reply);
	}
	return how == SMTP_HELLO_GOOD && !has_header(k);
}

/* Whether it is told of clients, so that its own rules may judge them. */
static bool is_told_of_clients(const struct destination_check *k)
{
	return k->at.identity == ROUTE_IDENTITY_XCLIENT || route_identity_binds(k->at.identity);
}

/* True: it refuses this one. */
static bool refuses(struct destination_check *k, const char *recipient)
{
	char words[DESTINATION_TEXT];
	unsigned code;

	probe_say(&k->smtp, "RCPT TO:<%s>", recipient);
	code = destination_hear(k, words);
	if (code / 100 == 2 && is_told_of_clients(k))
		destination_note(k, "it relays for our own address: RCPT TO:<%s> gets %s",
				 recipient, words);
	else if (code / 100 == 2)
		destination_warn(
			k,
			"keep RELAY_GUARD of Caronte, and strangers from this port; or take "
			"Caronte's address out of Postfix mynetworks, Exim relay_from_hosts, "
			"OpenSMTPD match from",
			"it relays for our address: RCPT TO:<%s> gets %s; the guard of "
			"Caronte is the only one",
			recipient, words);
	else if (code / 100 == 5)
		destination_good(k, "it refuses mail from our address to <%s>: %s", recipient,
				 words);
	else
		destination_warn(k, NULL, "RCPT TO:<%s> gets %s: whether it relays is not known",
				 recipient, words);
	return code / 100 == 5;
}

/* A step that a server has no reason to refuse. */
static void check_taken(struct destination_check *k, enum smtp_hello_step step, const char *name)
{
	char words[DESTINATION_TEXT];
	enum probe_heard heard;
	struct smtp_reply reply;

	destination_say(k, step);
	if (destination_answer(k, &heard, &reply) == SMTP_HELLO_GOOD)
		return;
	destination_words(heard, &reply, words);
	destination_warn(k, NULL, "%s gets %s", name, words);
}

/* Whether it takes mail for others from us. */
static void check_relay(struct destination_check *k)
{
	char words[DESTINATION_TEXT];
	unsigned code;

	probe_say(&k->smtp, "MAIL FROM:<>");
	code = destination_hear(k, words);
	if (code / 100 != 2) {
		destination_warn(k, NULL, "MAIL FROM:<> gets %s: whether it relays is not known",
				 words);
		return;
	}
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]) && refuses(k, foreign[i]); i++)
		;
	check_taken(k, SMTP_HELLO_RSET, "RSET");
}

/* Where there is no TLS. */
static const char *cure_of_tls(const struct probe_smtp *s)
{
	static const char insecure[] =
		"its certificate must be as tls= in DESTINATIONS asks: of an authority in "
		"TLS_DESTINATION_CA_FILE, with its intermediates, and for the name that name= says "
		"(verify), or with a key of pin=; a port where TLS comes first wants wrap";
	static const char unwrapped[] =
		"TLS does not come first at this port: in DESTINATIONS of Caronte tls=require "
		"without wrap, or another port";

	if (s->astray)
		return knows_header;
	return s->not_tls ? unwrapped : insecure;
}

static void check_address(struct destination_check *k)
{
	static const char elsewhere[] =
		"it must listen there (Postfix inet_interfaces and master.cf, Exim "
		"local_interfaces, OpenSMTPD listen), no firewall be in between, and DESTINATIONS "
		"of Caronte be right";
	static const char here[] =
		"it must listen there (Postfix master.cf: a service of the type unix), who runs "
		"this must be permitted to (as USER of Caronte is), and DESTINATIONS of Caronte be "
		"right";
	int err = probe_dial(&k->smtp, &k->at, k->patience_ms);

	if (err == -EPROTO && *k->smtp.why) {
		destination_warn(k, cure_of_tls(&k->smtp), "%s", probe_error(&k->smtp, err));
		return;
	}
	if (err) {
		destination_warn(k, k->at.path ? here : elsewhere, "cannot be connected to: %s",
				 probe_error(&k->smtp, err));
		return;
	}
	if (*k->smtp.how)
		destination_good(k, "TLS: %s", k->smtp.how);
	if (check_greeting(k) && check_hello(k)) {
		check_relay(k);
		check_taken(k, SMTP_HELLO_QUIT, "QUIT");
		probe_hang_up(&k->smtp);
		destination_check_identity(k);
		if (k->recipient) {
			destination_check_ends(k);
			destination_check_places(k);
		}
		destination_check_crowd(k);
	}
	probe_hang_up(&k->smtp);
}

/* So many sessions Caronte may have there. */
static unsigned crowd_of(const struct arguments *a, const struct settings *set,
			 const struct route_destination *d)
{
	unsigned n = a->connections;

	if (n > (unsigned)set->max_sessions)
		n = (unsigned)set->max_sessions;
	return d->max && n > d->max ? d->max : n;
}

static bool takes_ipv6(const struct settings *set)
{
	const char *on = set->listen_address;

	return !*on || strchr(on, ':') || *set->proxy_from || *set->xclient_from;
}

/* Of D, which is at AT, and is called LABEL. The number of warnings. */
static unsigned check_place(const struct arguments *a, const struct settings *set,
			    const struct route_destination *d, const struct probe_place *at,
			    const char *label)
{
	struct destination_check k = {
		.label = label,
		.at = *at,
		.patience_ms = a->seconds * 1000,
		.name = a->name,
		.recipient = a->recipient,
		.crowd = crowd_of(a, set, d),
		.ipv6 = takes_ipv6(set),
		.limits = { .message_mib = (unsigned)set->max_message_mib,
			    .line_kib = (unsigned)set->max_line_kib,
			    .header_kib = (unsigned)set->max_header_kib },
	};

	check_address(&k);
	return k.warnings;
}

/* The number of warnings. */
static unsigned check_destination(const struct arguments *a, const struct settings *set,
				  const struct route_destination *d, const struct probe_tls *tls)
{
	const char *name = d->name;
	struct probe_place at = {
		.path = route_path(name),
		.tls = tls,
		.identity = d->identity,
	};
	struct addr found[NET_RESOLVE_MAX];
	unsigned warnings = 0;
	struct addr literal;
	int n;

	if (at.path)
		return check_place(a, set, d, &at, name);
	n = net_resolve(name, found);
	if (n <= 0) {
		printf("%s: warning: does not resolve\n"
		       "%s: cure: DESTINATIONS of Caronte, or the name in DNS or /etc/hosts\n",
		       name, name);
		return 1;
	}
	for (int i = 0; i < n; i++) {
		char label[DESTINATION_NAME_MAX + ADDR_TEXT_MAX + 4], ip[ADDR_TEXT_MAX];

		at.addr = found[i];
		addr_format_ip(&found[i], ip);
		snprintf(label, sizeof(label), route_literal(name, &literal) ? "%s" : "%s (%s)",
			 name, ip);
		warnings += check_place(a, set, d, &at, label);
	}
	return warnings;
}

/* The number of warnings. */
static unsigned check_with_tls(const struct arguments *a, const struct settings *set,
			       const struct route_destination *d)
{
	struct probe_tls tls;
	char why[512];
	unsigned warnings;

	if (d->secure.tls == ROUTE_TLS_NONE)
		return check_destination(a, set, d, NULL);
	if (!probe_tls_make(&tls, d, set->tls_destination_ca_file, a->name, why, sizeof(why))) {
		printf("%s: warning: %s\n", d->name, why);
		return 1;
	}
	warnings = check_destination(a, set, d, &tls);
	probe_tls_free(&tls);
	return warnings;
}

/* ---- arguments ---- */

static void usage(FILE *out)
{
	fputs("usage: carontectl check-destination [OPTION]... "
	      "[HOST:PORT | unix:/PATH][,...]\n" CTL_CONFIG_USAGE
	      "  -n, --connections N      try so many at a time, 0 or 1: do not (100)\n"
	      "  -r, --recipient ADDRESS  also try which other ends of data are taken, and how long\n"
	      "                           a line, a header and a message may be, by messages to\n"
	      "                           this address, which may be delivered\n"
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

static bool read_connections(const char *text, unsigned *n)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || value > DESTINATION_CROWD_MAX) {
		fprintf(stderr, "carontectl check-destination: %s: 0 to %d connections\n", text,
			DESTINATION_CROWD_MAX);
		return false;
	}
	*n = (unsigned)value;
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
	case 'n':
		return read_connections(optarg, &a->connections) ? -1 : EX_USAGE;
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
		{ "connections", required_argument, NULL, 'n' },
		{ "recipient", required_argument, NULL, 'r' },
		{ "timeout", required_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int status = -1;
	int c;

	while (status < 0 &&
	       (c = getopt_long(argc, argv, CTL_CONFIG_SHORT "n:r:t:h", options, NULL)) != -1)
		status = read_option(a, c);
	if (status < 0 && optind < argc)
		a->destination = argv[optind++];
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
	fprintf(stderr, "carontectl%s: %s\n", (const char *)ctx, what);
}

static bool parse(struct route *route, const char *list, char *whose)
{
	/* Whether the list fits the cooperation mode is not what is asked here. */
	return route_parse(route, list, ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS, report, whose);
}

/* D, which was named without options, is as the daemon has it. */
static void take_options(struct route_destination *d, const struct route_destination *known)
{
	*d = *known;
	if (d->secure.tls != ROUTE_TLS_NONE || d->identity != ROUTE_IDENTITY_NONE)
		printf("%s: note: it is spoken to by its options in DESTINATIONS; options behind "
		       "the argument take their place\n",
		       d->name);
}

/* Chooses the destinations to check: those of GIVEN, which the command line names (PLAIN: without
 * options), or where it names none, those of SET. */
static bool choose(const struct settings *set, const struct route *given, bool plain,
		   struct route *route)
{
	static char setting[] = ": DESTINATIONS";
	struct route configured;

	if (given->count == 0)
		return parse(route, set->destinations, setting);
	*route = *given;
	if (!parse(&configured, set->destinations, setting))
		return false;
	for (unsigned i = 0; i < route->count; i++) {
		struct route_destination *d = &route->destination[i];
		int known = route_find(&configured, d->name);

		if (known >= 0 && plain)
			take_options(d, &configured.destination[known]);
		else if (known >= 0 && !d->max)
			d->max = configured.destination[known].max;
	}
	return true;
}

/* Ours, as the daemon has it. False: said. */
static bool find_name(struct arguments *a, const struct settings *set)
{
	if (!*set->server_name) {
		name_find(a->name);
		return true;
	}
	snprintf(a->name, sizeof(a->name), "%s", set->server_name);
	if (name_valid(set->server_name))
		return true;
	fprintf(stderr, "carontectl: SERVER_NAME: %s: is no host name\n", set->server_name);
	return false;
}

static int run(struct arguments *a)
{
	static char argument[] = " check-destination";
	struct route route, given = { .count = 0 };
	struct config *c;
	unsigned warnings = 0;

	if (a->destination && !parse(&given, a->destination, argument))
		return EX_USAGE;
	c = ctl_config_load(&a->config);
	if (!c)
		return EX_CONFIG;
	if (!find_name(a, &c->set) ||
	    !choose(&c->set, &given, a->destination && !strchr(a->destination, ','), &route)) {
		config_free(c);
		return EX_CONFIG;
	}
	if (a->recipient)
		printf("up to %d messages may be delivered to %s at each address of each of %u "
		       "destinations\n",
		       DESTINATION_MESSAGES, a->recipient, route.count);
	for (unsigned i = 0; i < route.count; i++)
		warnings += check_with_tls(a, &c->set, &route.destination[i]);
	config_free(c);
	printf("%u warning%s\n", warnings, warnings == 1 ? "" : "s");
	return warnings ? EXIT_WARNINGS : EX_OK;
}

int ctl_check_destination(int argc, char **argv)
{
	struct arguments a = { .seconds = PATIENCE_S, .connections = CONNECTIONS };
	int status;

	if (!ctl_config_open(&a.config, argc))
		return EX_OSERR;
	status = read_arguments(&a, argc, argv);
	if (status < 0)
		status = run(&a);
	ctl_config_close(&a.config);
	return status;
}
