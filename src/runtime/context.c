/* SPDX-License-Identifier: ISC */
/* context: see context.h. */
#include "runtime/context.h"

#include <errno.h>
#include <stdio.h>

#include "base/diag.h"
#include "check/certificates.h"
#include "route/parse.h"
#include "route/shared.h"
#include "shared/memory.h"

#define CLIENT_FAULTS 10 /* from tick to tick */

void context_version_begin(struct context *ctx, struct context_version *v,
			   const struct smtp_offer *offer)
{
	const struct settings *set = &v->rt.config->set;

	/* One record at a time is made, so several handles of one ring do not disturb one another.
	 */
	v->log = ctx->log;
	v->log.level = ctx->log.level = set->log_level;
	v->env = (struct dialog_env){
		.policy = &v->rt.policy,
		.log = &v->log,
		.stats = ctx->stats,
		.max_errors = (unsigned)set->max_errors,
		.max_idle = (unsigned)set->max_idle_commands,
		.header_max = (uint64_t)set->max_header_kib << 10,
		.message_max = (uint64_t)set->max_message_mib << 20,
		.line_max = (uint64_t)set->max_line_kib << 10,
		.normalize = set->bare_newline == BARE_NEWLINE_NORMALIZE,
		.data_as_bdat = set->data_as_bdat,
		.add_received = set->add_received,
		.starttls = v->tls != NULL,
		.tls_required = set->tls_clients_required,
		.tls_for_login = v->tls && set->tls_required_for_login,
		.offer = offer,
		.name = v->rt.name,
		.more = &ctx->more,
	};
	list_init(&v->link);
	list_add_tail(&ctx->versions, &v->link);
	ctx->newest = v;
	ctx->rt = &v->rt;
}

struct context_version *context_version_get(struct context *ctx)
{
	ctx->newest->users++;
	return ctx->newest;
}

void context_version_put(struct context *ctx, struct context_version *v)
{
	CHECK(v->users > 0);
	if (--v->users == 0 && v != ctx->newest)
		io_defer(ctx->io, &ctx->released);
}

_Static_assert(ROUTE_PIN == TLS_DIGEST, "both are SHA-256 of a public key");

static struct tls_peer *load_peer(const struct runtime *rt, unsigned dest, X509_STORE *authorities,
				  char why[TLS_WHY_MAX])
{
	const struct route_destination *d = &rt->route->destination[dest];
	const struct route_secure *s = &d->secure;
	char host[DESTINATION_NAME_MAX];

	if (s->tls == ROUTE_TLS_VERIFY && !authorities) {
		snprintf(why, TLS_WHY_MAX, "there are no authorities for %s", d->name);
		return NULL;
	}
	route_host(d->name, host);
	return tls_peer_make(
		&(struct tls_peer_want){
			.name = *s->name ? s->name : host,
			.verify = s->tls == ROUTE_TLS_VERIFY ? authorities : NULL,
			.pin = s->pin,
			.pins = s->pins,
			.others = rt->resumption,
			.place = rt->slot[dest],
			.version = rt->number,
			.kernel = rt->kernel_tls,
		},
		why);
}

static bool load_peers(struct context_version *v, char why[TLS_WHY_MAX])
{
	const struct route *r = v->rt.route;
	struct span text = v->rt.version->authorities[AUTHORITIES_DESTINATIONS];
	X509_STORE *authorities = text.n ? tls_authorities(text, why) : NULL;
	bool good = text.n == 0 || authorities;

	for (unsigned i = 0; good && i < r->count; i++) {
		if (r->destination[i].secure.tls == ROUTE_TLS_NONE)
			continue;
		v->peers[i] = load_peer(&v->rt, i, authorities, why);
		good = v->peers[i] != NULL;
	}
	X509_STORE_free(authorities);
	return good;
}

int context_map_keys(struct context_version *v, int fd)
{
	if (fd < 0 || v->rt.version->chains.n == 0)
		return 0;
	v->keys = shared_attach(fd, 1, false, &v->keys_n);
	return v->keys ? 0 : -ENOMEM;
}

static void forget_keys(struct context_version *v)
{
	if (v->keys)
		shared_unmap(v->keys, v->keys_n);
	v->keys = NULL;
}

static bool begin_loading(struct context *ctx, struct context_version *v,
			  struct tls_loading *loading, char why[TLS_WHY_MAX])
{
	const struct version *of = v->rt.version;
	const struct tls_keys keys = { ctx->distant, span_of(v->keys, v->keys_n) };
	struct tls_policy policy = certificates_policy(&of->config.set, v->rt.tickets);
	struct span text = of->authorities[AUTHORITIES_CLIENTS];
	bool good;

	policy.kernel = v->rt.kernel_tls;
	policy.client_authorities = text.n ? tls_authorities(text, why) : NULL;
	good = (text.n == 0 || policy.client_authorities) &&
	       tls_load_begin(loading, &policy, of->chains, &keys, why);
	X509_STORE_free(policy.client_authorities);
	return good;
}

/* As context_load_tls(), of the clients' certificates. */
static int load_certificates(struct context *ctx, struct context_version *v,
			     struct tls_loading *loading, unsigned most, char why[TLS_WHY_MAX])
{
	const struct version *of = v->rt.version;
	enum tls_load got = TLS_LOAD_FAILED;

	if (of->chains.n == 0)
		return 0;
	if (loading->set || begin_loading(ctx, v, loading, why))
		got = tls_load_some(loading, most, why);
	if (got == TLS_LOAD_MORE)
		return 1;
	if (got == TLS_LOADED)
		v->tls = loading->set;
	else
		tls_set_free(loading->set);
	*loading = (struct tls_loading){ 0 };
	forget_keys(v);
	return got == TLS_LOADED ? 0 : -EPROTO;
}

int context_load_tls(struct context *ctx, struct context_version *v, struct tls_loading *loading,
		     unsigned most)
{
	char why[TLS_WHY_MAX];
	int left = load_certificates(ctx, v, loading, most, why);

	if (left > 0 || (left == 0 && load_peers(v, why)))
		return left;
	context_fault_record(ctx, "certificate", why);
	context_free_tls(v);
	return -EPROTO;
}

void context_free_tls(struct context_version *v)
{
	tls_set_free(v->tls);
	v->tls = NULL;
	forget_keys(v);
	for (unsigned i = 0; i < DESTINATIONS_MAX; i++) {
		tls_peer_free(v->peers[i]);
		v->peers[i] = NULL;
	}
}

void context_destination_record(struct context *ctx, const struct runtime *rt, unsigned dest,
				enum route_health health, const char *why)
{
	if (!xmllog_begin(&ctx->log, XMLLOG_DESTINATION, NULL))
		return;
	xmllog_text(&ctx->log, XMLLOG_A_ADDRESS, rt->route->destination[dest].name);
	xmllog_text(&ctx->log, XMLLOG_A_STATE, route_health_name(health));
	xmllog_text(&ctx->log, XMLLOG_A_WHY, why);
	xmllog_end(&ctx->log);
}

void context_fault_record(struct context *ctx, const char *what, const char *detail)
{
	if (!xmllog_begin(&ctx->log, XMLLOG_FAULT, NULL))
		return;
	xmllog_text(&ctx->log, XMLLOG_A_WHAT, what);
	xmllog_text(&ctx->log, XMLLOG_A_DETAIL, detail);
	xmllog_end(&ctx->log);
}

void context_tell_faults(struct context *ctx)
{
	unsigned left = ctx->client_faults.left;

	ctx->client_faults.told = ctx->client_faults.left = 0;
	if (left == 0 || !xmllog_begin(&ctx->log, XMLLOG_FAULT, NULL))
		return;
	xmllog_text(&ctx->log, XMLLOG_A_WHAT, "client-faults");
	xmllog_num(&ctx->log, XMLLOG_A_COUNT, left);
	xmllog_end(&ctx->log);
}

/* True: one more may be told. */
static bool may_tell(struct context *ctx)
{
	if (ctx->client_faults.told == CLIENT_FAULTS) {
		ctx->client_faults.left++;
		return false;
	}
	ctx->client_faults.told++;
	return true;
}

void context_client_fault(struct context *ctx, const char *what, const struct xmllog_session *id,
			  const struct addr *client, const char *detail)
{
	if (!may_tell(ctx) || !xmllog_begin(&ctx->log, XMLLOG_FAULT, id))
		return;
	xmllog_text(&ctx->log, XMLLOG_A_WHAT, what);
	xmllog_addr(&ctx->log, XMLLOG_A_CLIENT, client);
	xmllog_text(&ctx->log, XMLLOG_A_DETAIL, detail);
	xmllog_end(&ctx->log);
}
