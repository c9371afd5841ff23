/* SPDX-License-Identifier: ISC */
/* authorities: see authorities.h. */
#include "check/authorities.h"

#include <stdlib.h>
#include <string.h>

#include "tls/peer.h"

static bool are_needed(const struct route *r)
{
	for (unsigned i = 0; i < r->count; i++)
		if (r->destination[i].secure.tls == ROUTE_TLS_VERIFY)
			return true;
	return false;
}

int authorities_plan(struct tables_plan *plan, const struct route *r, struct config *c)
{
	const char *path = c->set.tls_destination_ca_file;

	if (!are_needed(r))
		return 0;
	if (*path == '/')
		return tables_add_file(plan, SETTING_TLS_DESTINATION_CA_FILE, path, strlen(path));
	config_fault(c, SETTING_TLS_DESTINATION_CA_FILE,
		     *path ? "\"%s\": write it from / on"
			   : "\"%s\": a destination has tls=verify, which needs it",
		     path);
	return 0;
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

void authorities_read(struct tables_text *t, const struct tables_plan *plan, struct config *c)
{
	*t = (struct tables_text){ 0 };
	for (unsigned i = 0; i < plan->count; i++)
		if (plan->file[i].setting == SETTING_TLS_DESTINATION_CA_FILE &&
		    plan->file[i].fd >= 0)
			read_file(t, &plan->file[i], c);
}
