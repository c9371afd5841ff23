/* SPDX-License-Identifier: ISC */
/*
 * warnings: what is legal and probably not meant, for `caronte -t`. Each has the place of
 * its setting, as a fault has. None of them is a reason not to start.
 */
#include "check/warnings.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "check/expiry.h"
#include "route/parse.h"

struct warning_to {
	const struct config *config;
	FILE *out;
	unsigned count;
};

__attribute__((format(printf, 3, 4))) static void warn(struct warning_to *w, enum setting s,
						       const char *fmt, ...)
{
	const struct config *c = w->config;
	va_list ap;

	/* The default has no line. */
	fprintf(w->out, "%s", c->where[s].file ? c->where[s].file : c->path ? c->path : "default");
	if (c->where[s].line)
		fprintf(w->out, ":%u", c->where[s].line);
	fprintf(w->out, ": %s: warning: ", config_name(s));
	va_start(ap, fmt);
	vfprintf(w->out, fmt, ap);
	va_end(ap);
	fputc('\n', w->out);
	w->count++;
}

bool check_is_open(const struct policy *p, enum setting *s, const char **why)
{
	*s = SETTING_RELAY_GUARD;
	*why = "is off";
	if (!p->guard)
		return true;
	*s = SETTING_RELAY_NETWORKS;
	*why = "holds all addresses";
	if (policy_networks_everybody(p->networks))
		return true;
	*why = "holds all addresses, and whoever comes may name one of RELAY_NETWORKS as the "
	       "client's";
	*s = SETTING_PROXY_FROM;
	if (p->networks && policy_networks_everybody(p->balancers))
		return true;
	*s = SETTING_XCLIENT_FROM;
	return p->networks && policy_networks_everybody(p->renamers);
}

static bool is_zero(const struct addr *a)
{
	static const uint8_t zero[sizeof(a->ip)];

	return memcmp(a->ip, zero, sizeof(zero)) == 0;
}

static bool is_loopback(const struct addr *a)
{
	static const uint8_t six[16] = { [15] = 1 };

	return a->family == 4 ? a->ip[0] == 127 : memcmp(a->ip, six, sizeof(six)) == 0;
}

/* Addresses that are good within an organisation or a link only (RFC 1918, 3927, 6598, 4193, 4291).
 */
static bool is_private(const struct addr *a)
{
	const uint8_t *ip = a->ip;

	if (a->family != 4)
		return (ip[0] & 0xfe) == 0xfc || (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80);
	return ip[0] == 10 || (ip[0] == 172 && (ip[1] & 0xf0) == 16) ||
	       (ip[0] == 192 && ip[1] == 168) || (ip[0] == 169 && ip[1] == 254) ||
	       (ip[0] == 100 && (ip[1] & 0xc0) == 64);
}

static bool strangers_come(const struct listen_set *set)
{
	for (unsigned i = 0; i < set->count; i++)
		if (!is_loopback(&set->addr[i]))
			return true;
	return false;
}

static void warn_of_relaying(struct warning_to *w, const struct check *k)
{
	enum setting s;
	const char *why;

	if (check_is_open(&k->policy, &s, &why))
		warn(w, s, "%s: everybody may relay through this machine", why);
	else if (!k->policy.recipients || policy_recipients_count(k->policy.recipients) == 0) {
		if (strangers_come(&k->listen))
			warn(w, SETTING_RECIPIENTS,
			     "%s: clients that have not logged in and are in no relay network can "
			     "send to nobody but <postmaster>",
			     k->policy.recipients ? "the file holds no address" : "is not set");
	}
}

/* Who brings clients from everywhere relays for them all where it fails to say so. */
static void warn_of_proxies(struct warning_to *w, const struct policy *p)
{
	static const char relays[] =
		"holds addresses of RELAY_NETWORKS: whatever comes from there without a client's "
		"address may relay";
	enum setting s;
	const char *why;

	if (check_is_open(p, &s, &why))
		return;
	if (policy_networks_meet(p->networks, p->balancers))
		warn(w, SETTING_PROXY_FROM, "%s", relays);
	if (policy_networks_meet(p->networks, p->renamers))
		warn(w, SETTING_XCLIENT_FROM, "%s", relays);
}

static void warn_of_metrics(struct warning_to *w, const struct check *k)
{
	const struct addr *a = &k->metrics;

	if (!a->family || is_loopback(a) || is_private(a))
		return;
	warn(w, SETTING_METRICS_ADDRESS,
	     "%s: %s, and whoever reaches it can read the figures and the destinations' names",
	     w->config->set.metrics_address,
	     is_zero(a) ? "is every address of this machine" : "is a public address");
}

static void warn_of_name(struct warning_to *w, const struct check *k)
{
	if (!strchr(k->probe.name, '.'))
		warn(w, SETTING_SERVER_NAME,
		     "%s%s has no dot: there are servers that refuse all mail of a client that calls "
		     "itself so",
		     *w->config->set.server_name ? "" : "is not set, and the host's name ",
		     k->probe.name);
}

static void warn_of_pair(struct warning_to *w, enum setting s, const struct keyring_about *about,
			 const struct tls_pair *pair)
{
	int64_t now_s = (int64_t)time(NULL);
	char words[EXPIRY_WORDS];

	if (expiry_of(about, now_s) != EXPIRY_FAR) {
		expiry_words(about, now_s, words);
		warn(w, s, "%s", words);
	}
	if (tls_pair_is_alone(pair))
		warn(w, s,
		     "%.*s: has no certificate of its issuer: whoever verifies it must know that one "
		     "already, as nobody knows an intermediate one (fullchain.pem has both)",
		     (int)about->file.n, (const char *)about->file.p);
}

static void warn_of_certificates(struct warning_to *w, const struct certificates *k)
{
	struct span chains = span_of(k->chains, k->chains_n);
	struct keyring_reader abouts = { chains }, pairs = { chains };
	struct keyring_about about;
	struct tls_pair pair;
	unsigned group;

	for (;;) {
		bool named = k->chains_n - pairs.rest.n < k->named;

		if (!keyring_next_about(&abouts, &about) || !keyring_next(&pairs, &group, &pair))
			return;
		warn_of_pair(w, named ? SETTING_TLS_CERTIFICATE : SETTING_TLS_CERTIFICATE_DIR,
			     &about, &pair);
		tls_pair_free(&pair);
	}
}

static bool is_on_this_machine(const struct check *k, unsigned dest)
{
	for (unsigned i = 0; i < k->probe.resolved[dest].n; i++) {
		const struct addr *a = &k->probe.resolved[dest].a[i];

		if (a->family != ADDR_UNIX && !is_loopback(a))
			return false;
	}
	return true;
}

/* Passwords that come by TLS alone go on in clear. */
static void warn_of_passwords(struct warning_to *w, const struct check *k)
{
	for (unsigned i = 0; i < k->route.count; i++) {
		const struct route_destination *d = &k->route.destination[i];

		if (d->secure.tls < ROUTE_TLS_REQUIRE && !is_on_this_machine(k, i))
			warn(w, SETTING_DESTINATIONS,
			     "%s: what clients log in with over TLS goes on in clear; tls=require or "
			     "more is meant",
			     d->name);
	}
}

static bool has_port(const char *name, const char *port)
{
	const char *colon = strrchr(name, ':');

	return colon && strcmp(colon + 1, port) == 0;
}

static void warn_of_destinations(struct warning_to *w, const struct check *k)
{
	for (unsigned i = 0; i < k->route.count; i++) {
		const struct route_destination *d = &k->route.destination[i];
		struct addr a;

		if (has_port(d->name, "465") && !d->secure.wrap)
			warn(w, SETTING_DESTINATIONS,
			     "%s: at this port TLS comes first as a rule: wrap is meant", d->name);
		if (d->secure.tls == ROUTE_TLS_VERIFY && !*d->secure.name &&
		    route_literal(d->name, &a))
			warn(w, SETTING_DESTINATIONS,
			     "%s: its certificate must be for this address: name=HOST is meant",
			     d->name);
	}
}

static void warn_of_tls(struct warning_to *w, const struct check *k)
{
	const struct settings *set = &w->config->set;
	bool has_certificate = k->certificates.count > 0;

	if (has_certificate && set->tls_required_for_login)
		warn_of_passwords(w, k);
	if (!has_certificate && set->tls_required_for_login &&
	    w->config->where[SETTING_TLS_REQUIRED_FOR_LOGIN].file)
		warn(w, SETTING_TLS_REQUIRED_FOR_LOGIN,
		     "has no effect without a certificate: AUTH is offered and taken in clear");
	if (set->tls_clients_required && !has_certificate)
		warn(w, SETTING_TLS_CLIENTS_REQUIRED, "has no effect without a certificate");
	else if (set->tls_clients_required && listen_has_port(&k->listen, 25))
		warn(w, SETTING_TLS_CLIENTS_REQUIRED,
		     "a server that takes mail from everybody at port 25 must not ask for TLS "
		     "(RFC 3207 4)");
}

unsigned check_print_warnings(const struct check *k, const struct config *c, FILE *out)
{
	struct warning_to w = { .config = c, .out = out };

	warn_of_relaying(&w, k);
	warn_of_proxies(&w, &k->policy);
	warn_of_metrics(&w, k);
	warn_of_name(&w, k);
	warn_of_certificates(&w, &k->certificates);
	warn_of_tls(&w, k);
	warn_of_destinations(&w, k);
	if (c->set.log_level >= 4)
		warn(&w, SETTING_LOG_LEVEL, "a copy of each message is kept in DEBUG_DIR");
	return w.count;
}
