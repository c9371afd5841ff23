/* SPDX-License-Identifier: ISC */
/*
 * explain: `carontectl explain`: the verdict that the daemon would give on one recipient, by the
 * daemon's own code, from the same files, opened as the same user. It speaks of a daemon that would
 * start now: one that runs knows the tables as they were when it read them.
 */
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "ctl/inner.h"
#include "ctl/explain.h"
#include "policy/policy.h"
#include "check/privilege.h"
#include "check/resolver.h"
#include "check/tables.h"
#include "smtp/path.h"
#include "smtp/words.h"

#define STATUS_REFUSED 1
#define WHY_MAX	       1024
#define PREFIX_MAX     64

struct explain {
	struct ctl_config from;
	bool login;
	struct addr client, proxy;
	const char *ip, *proxy_ip;	  /* as given; no PROXY_IP: the client comes by itself */
	char *sender, *recipient;	  /* in angle brackets, owned */
	struct smtp_path from_path, path; /* the sender's and the recipient's */
	struct tables_plan plan;
	struct policy policy;
};

static void usage(FILE *out)
{
	fputs("usage: carontectl explain [-c FILE] [-o NAME=VALUE]... [--login] [--proxy IP] IP "
	      "SENDER RECIPIENT\n" CTL_CONFIG_USAGE
	      "  -l, --login              of a client that has logged in\n"
	      "  -p, --proxy IP           of one that the balancer at IP passes on (PROXY_FROM)\n"
	      "  -h, --help               print this, end\n"
	      "An empty SENDER, or <>, is that of a bounce. Exits 0: let through, 1: refused.\n",
	      out);
}

/* An address may be given with its angle brackets or without. */
static char *bracketed(const char *text)
{
	char *out = NULL;

	if (asprintf(&out, *text == '<' ? "%s" : "<%s>", text) < 0)
		return NULL;
	return out;
}

/* With the port that the log has behind it, which means nothing here, or without. */
static bool parse_client(struct addr *a, const char *text)
{
	char ip[ADDR_TEXT_MAX];
	size_t n = strlen(text);

	if (addr_parse_ip(a, text) == 0 || resolver_literal(text, a))
		return true;
	if (n > 2 && n < sizeof(ip) && text[0] == '[' && text[n - 1] == ']') {
		memcpy(ip, text + 1, n - 2);
		ip[n - 2] = '\0';
		text = ip;
	}
	return addr_parse_ip(a, text) == 0;
}

/* False: said. */
static bool read_address(struct addr *a, const char *text)
{
	if (parse_client(a, text))
		return true;
	fprintf(stderr, "carontectl explain: %s: is no IP address\n", text);
	return false;
}

static int read_arguments(struct explain *e, int argc, char **argv)
{
	static const struct option options[] = {
		CTL_CONFIG_LONG,
		{ "login", no_argument, NULL, 'l' },
		{ "proxy", required_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, CTL_CONFIG_SHORT "lp:h", options, NULL)) != -1) {
		if (ctl_config_option(&e->from, c, optarg))
			continue;
		if (c == 'l') {
			e->login = true;
			continue;
		}
		if (c == 'p') {
			e->proxy_ip = optarg;
			continue;
		}
		usage(c == 'h' ? stdout : stderr);
		return c == 'h' ? EX_OK : EX_USAGE;
	}
	if (argc - optind != 3) {
		fputs("carontectl explain: IP SENDER RECIPIENT are wanted\n", stderr);
		usage(stderr);
		return EX_USAGE;
	}
	e->ip = argv[optind];
	if (!read_address(&e->client, e->ip) ||
	    (e->proxy_ip && !read_address(&e->proxy, e->proxy_ip)))
		return EX_USAGE;
	e->sender = bracketed(argv[optind + 1]);
	e->recipient = bracketed(argv[optind + 2]);
	return e->sender && e->recipient ? -1 : EX_OSERR;
}

/* The client is told 501, and nothing is judged. */
static int refuse_path(enum smtp_path_fault fault, bool reverse)
{
	printf("verdict:  refuse\nreply:    %s", smtp_path_reply(fault, reverse));
	printf("because:  %s is not taken for an address\n",
	       reverse ? "what stands in MAIL" : "what stands in RCPT");
	return STATUS_REFUSED;
}

static enum smtp_path_fault parse(struct smtp_path *path, const char *text, bool reverse)
{
	struct span s = span_str(text);
	size_t used;
	enum smtp_path_fault fault = smtp_path_parse(path, s, reverse, &used);

	/* Parameters may follow a path in a command, but not here. */
	return fault == SMTP_PATH_OK && used < s.n ? SMTP_PATH_BESIDE : fault;
}

/* Reads the tables as the daemon will: as USER. An exit status when that cannot be. */
static int read_tables(struct explain *e, struct config *c)
{
	struct privilege_id id;
	const char *wrong = privilege_find(&id, c->set.user);
	char why[WHY_MAX];
	int err;

	if (wrong) {
		config_fault(c, SETTING_USER, "%s%s%s", c->set.user, *c->set.user ? ": " : "",
			     wrong);
		return EX_CONFIG;
	}
	err = tables_plan(&e->plan, c);
	if (!err && id.change && privilege_drop(&id, why, sizeof(why)) != 0) {
		fprintf(stderr, "carontectl explain: %s\n", why);
		return EX_NOPERM;
	}
	for (unsigned i = 0; !err && i < e->plan.count; i++)
		if (tables_open(&e->plan.file[i], why, sizeof(why)) != 0)
			config_fault(c, e->plan.file[i].setting, "%s", why);
	if (!err)
		err = tables_build(&e->policy, &e->plan, c);
	if (err) {
		fprintf(stderr, "carontectl explain: the tables cannot be built: %s\n",
			strerror(-err));
		return EX_OSERR;
	}
	return c->fault_count ? EX_CONFIG : EX_OK;
}

static void print_network(const struct explain *e)
{
	char network[PREFIX_MAX];

	if (!policy_networks_explain(e->policy.networks, &e->client, network, sizeof(network)))
		return;
	printf("because:  %s is in %s\n", e->ip, network);
	explain_network(&e->plan, &e->client, network, stdout);
}

static void print_recipient(const struct explain *e, const struct policy_address *a)
{
	const char *which = "";

	policy_recipients_match(e->policy.recipients, a, e->policy.delimiters, &which);
	if (strcmp(which, "address") == 0)
		printf("because:  the address is in RECIPIENTS\n");
	else if (strcmp(which, "domain") == 0)
		printf("because:  its domain is in RECIPIENTS\n");
	else if (strcmp(which, "extension") == 0)
		printf("because:  the address without its extension is in RECIPIENTS\n"
		       "          (RECIPIENT_DELIMITER is \"%s\")\n",
		       e->policy.delimiters);
	else if (strcmp(which, "bounce") == 0)
		printf("because:  it is the address of a bounce, and is in RECIPIENTS\n"
		       "          without its tag (prvs=TAG=user, RECIPIENT_DELIMITER)\n");
	else if (a->postmaster)
		printf("because:  <postmaster> is always local\n");
	else
		printf("because:  the postmaster of a domain in RECIPIENTS is local\n");
	explain_recipient(&e->plan, a, e->policy.delimiters, which, stdout);
}

static void print_denied(const struct explain *e, const struct policy_address *a,
			 enum policy_rule rule)
{
	struct policy_address plain = *a;

	printf("reply:    550 5.7.1 Relaying denied. \n");
	printf("because:  not logged in, %s is in no network of RELAY_NETWORKS,\n          ",
	       e->ip);
	plain.routed = false;
	if (rule == POLICY_UNKNOWN_USER)
		printf("and of the recipient only the domain is in RECIPIENTS, not the user\n");
	else if (a->routed &&
		 policy_recipients_match(e->policy.recipients, &plain, e->policy.delimiters, NULL))
		printf("and the local part carries routing, so that only this very address in\n"
		       "          RECIPIENTS would let it through\n");
	else
		printf("and the recipient is not in RECIPIENTS\n");
}

/* Whether the connection comes so far. False: said. */
static bool is_let_in(const struct explain *e)
{
	const struct policy_networks *balancers = e->policy.balancers;
	const struct addr *peer = e->proxy_ip ? &e->proxy : &e->client;
	bool listed = balancers && policy_networks_match(balancers, peer);

	if (e->proxy_ip && !listed)
		printf("verdict:  refuse\nreply:    %s"
		       "because:  %s is in no network of PROXY_FROM, and a header is no SMTP\n",
		       smtp_words(WORD_FOREIGN), e->proxy_ip);
	else if (!e->proxy_ip && listed)
		printf("verdict:  refuse\n"
		       "because:  %s is in PROXY_FROM: a connection from there without a header is\n"
		       "          closed (--proxy %s, and the client that the header names)\n",
		       e->ip, e->ip);
	return listed == (e->proxy_ip != NULL);
}

static int judge(const struct explain *e)
{
	struct policy_client client = {
		.logged_in = e->login,
		.in_network = policy_networks_match(e->policy.networks, &e->client),
	};
	const struct smtp_path *p = &e->path;

	if (e->from_path.bare && !client.logged_in && !client.in_network)
		return refuse_path(SMTP_PATH_NO_DOMAIN, true);
	struct policy_address a = { p->local,  p->domain, p->postmaster,
				    p->routed, p->quoted, e->from_path.null };
	enum policy_rule rule = policy_judge(&e->policy, &client, &a);

	printf("verdict:  %s\nrule:     %s\n", policy_accepts(rule) ? "accept" : "refuse",
	       policy_rule_name(rule));
	switch (rule) {
	case POLICY_LOGIN:
		printf("because:  a client that has logged in may send to anybody\n");
		break;
	case POLICY_RELAY_NETWORK:
		print_network(e);
		break;
	case POLICY_RECIPIENT:
		print_recipient(e, &a);
		break;
	case POLICY_GUARD_OFF:
		printf("because:  RELAY_GUARD is off: everybody may send to anybody\n");
		break;
	default:
		print_denied(e, &a, rule);
	}
	if (e->proxy_ip)
		printf("note:     by the word of %s, which is in PROXY_FROM\n", e->proxy_ip);
	if (e->from_path.eight_bit || p->eight_bit)
		printf("note:     the %s needs SMTPUTF8 of the client's MAIL and of the "
		       "destination\n",
		       p->eight_bit ? "recipient" : "sender");
	return policy_accepts(rule) ? EX_OK : STATUS_REFUSED;
}

static int run(struct explain *e)
{
	struct config *c = ctl_config_load(&e->from);
	enum smtp_path_fault fault;
	int status;

	if (!c)
		return EX_CONFIG;
	status = read_tables(e, c);
	config_print_faults(c, stderr);
	config_free(c);
	if (status)
		return status;
	if (!is_let_in(e))
		return STATUS_REFUSED;
	fault = parse(&e->from_path, e->sender, true);
	if (fault != SMTP_PATH_OK)
		return refuse_path(fault, true);
	fault = parse(&e->path, e->recipient, false);
	if (fault != SMTP_PATH_OK)
		return refuse_path(fault, false);
	return judge(e);
}

int ctl_explain(int argc, char **argv)
{
	static struct explain e;
	int status = EX_OSERR;

	if (!ctl_config_open(&e.from, argc))
		return status;
	status = read_arguments(&e, argc, argv);
	if (status < 0)
		status = run(&e);
	tables_free(&e.plan);
	free(e.sender);
	free(e.recipient);
	ctl_config_close(&e.from);
	return status;
}
