/* SPDX-License-Identifier: ISC */
/* authorities: see authorities.h. */
#include "check/authorities.h"

#include <stdlib.h>
#include <string.h>

#include "check/hints.h"
#include "tls/peer.h"

static bool are_needed(const struct route *r)
{
	for (unsigned i = 0; i < r->count; i++)
		if (r->destination[i].secure.tls == ROUTE_TLS_VERIFY)
			return true;
	return false;
}

static int plan_for_destinations(struct tables_plan *plan, struct config *c)
{
	const char *path = c->set.tls_destination_ca_file;

	if (*path == '/')
		return tables_add_file(plan, SETTING_TLS_DESTINATION_CA_FILE, path, strlen(path));
	config_fault(c, SETTING_TLS_DESTINATION_CA_FILE, "\"%s\": %s", path,
		     *path ? hints_path(path, strlen(path))
			   : "a destination has tls=verify, which needs it");
	return 0;
}

/* Empty: no authority is known, and certificates are told of by their digests. */
static int plan_for_clients(struct tables_plan *plan, struct config *c)
{
	const char *path = c->set.tls_client_ca_file;

	if (*path == '/')
		return tables_add_file(plan, SETTING_TLS_CLIENT_CA_FILE, path, strlen(path));
	if (*path)
		config_fault(c, SETTING_TLS_CLIENT_CA_FILE, "\"%s\": %s", path,
			     hints_path(path, strlen(path)));
	return 0;
}

int authorities_plan(struct tables_plan *plan, const struct route *r, struct config *c)
{
	int err = are_needed(r) ? plan_for_destinations(plan, c) : 0;

	if (!err && c->set.tls_client_certificates == TLS_CLIENT_CERTIFICATES_ASK)
		err = plan_for_clients(plan, c);
	return err;
}

static void read_file(struct tables_text *t, const struct tables_file *f, struct config *c)
{
	char why[TLS_WHY_MAX];
	X509_STORE *store;

	if (!tables_read(f, t, c))
		return;
	store = tls_authorities(span_of(t->data, t->n), why);
	if (!store)
		config_fault(c, f->setting, "%s: %s", f->path, why);
	X509_STORE_free(store);
}

void authorities_read(struct tables_text text[AUTHORITIES], const struct tables_plan *plan,
		      struct config *c)
{
	memset(text, 0, AUTHORITIES * sizeof(*text));
	for (unsigned i = 0; i < plan->count; i++) {
		const struct tables_file *f = &plan->file[i];

		if (f->fd < 0)
			continue;
		if (f->setting == SETTING_TLS_DESTINATION_CA_FILE)
			read_file(&text[AUTHORITIES_DESTINATIONS], f, c);
		else if (f->setting == SETTING_TLS_CLIENT_CA_FILE)
			read_file(&text[AUTHORITIES_CLIENTS], f, c);
	}
}
