/* SPDX-License-Identifier: ISC */
/*
 * worker_version: the versions of the configuration that a worker serves. New sessions get the
 * newest one; a session keeps the one that it began with; one that has no session any more is given
 * back. The master says over the channel that there is a newer one, and is told what is in use.
 */
#ifndef PROXY_WORKER_VERSION_H
#define PROXY_WORKER_VERSION_H

#include "base/list.h"
#include "proxy/dialog.h"
#include "proxy/runtime.h"
#include "proxy/version.h"

struct warm;
struct worker;

struct worker_version {
	struct list link;
	struct runtime rt;
	struct version own; /* mapped by this worker; else rt.version is the master's */
	struct xmllog log;  /* with this version's LOG_LEVEL */
	struct dialog_env env;
	struct warm *warm; /* DIALOG_GATEWAY; else NULL */
	unsigned users;	   /* sessions, and whatever else keeps it */
};

/* The version that the worker is started with. 0 or -ENOMEM. */
int worker_version_begin(struct worker *w, const struct runtime *rt)
	__attribute__((warn_unused_result));
/* Listens to the master from now on; W has its engine. */
void worker_version_listen(struct worker *w);
/* The newest version, for one more user. */
struct worker_version *worker_version_get(struct worker *w);
void worker_version_put(struct worker *w, struct worker_version *v);

#endif
