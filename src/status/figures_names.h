/* SPDX-License-Identifier: ISC */
/*
 * figures_names: what the two documents (figures.c, figures_metrics.c) share: the words for what is
 * counted, the same in both and, where the log has one, the log's.
 */
#ifndef STATUS_FIGURES_NAMES_H
#define STATUS_FIGURES_NAMES_H

#include "status/figures.h"
#include "check/warnings.h"
#include "smtp/reason.h"

static inline uint64_t figures_get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static inline const char *figures_limit_name(unsigned i)
{
	return i == STATS_MAX_SESSIONS ? "MAX_SESSIONS" : "MAX_SESSIONS_PER_ADDRESS";
}

static inline const char *figures_end_name(unsigned i)
{
	return i == STATS_END_WORKER_DIED ? "worker-died" : session_end_name((enum session_end)i);
}

static inline const char *figures_result_name(unsigned i)
{
	return i == STATS_ACCEPTED ? "accepted" : i == STATS_DEFERRED ? "deferred" : "refused";
}

static inline const char *figures_rule_name(unsigned i)
{
	return i == STATS_RULE_DESTINATION ? "destination" : policy_rule_name((enum policy_rule)i);
}

static inline const char *figures_handshake_name(unsigned i)
{
	static const char *const names[STATS_HANDSHAKES] = { "full", "resumed", "failed" };

	return names[i];
}

static inline const char *figures_login_name(unsigned i)
{
	return i ? "accept" : "refuse";
}

static inline const char *figures_class_name(unsigned i)
{
	static const char *const names[] = { "2xx", "3xx", "4xx", "5xx" };

	return names[i];
}

static inline const char *figures_time_name(unsigned i)
{
	return i == STATS_CONNECT ? "connect" : i == STATS_REPLY ? "reply" : "message";
}

static inline const char *figures_engine(const struct runtime *rt)
{
	return rt->engine == IO_ENGINE_URING ? "io_uring" : "epoll";
}

/* False: everybody may relay through this machine. */
static inline bool figures_guard(const struct runtime *rt)
{
	enum setting s;
	const char *why;

	return !check_is_open(&rt->policy, &s, &why);
}

/* Records that the log lost since the start. */
static inline uint64_t figures_log_dropped(const struct runtime *rt)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < rt->ring_count; i++)
		n += xmllog_ring_dropped(rt->rings[i]);
	return n;
}

/* Whether to tell of the worker of a slot: it accepts connections, or it is one from before an
 * upgrade that still ends its sessions. */
static inline bool figures_worker(const struct runtime *rt, unsigned slot)
{
	return slot / rt->workers == rt->generation || figures_get(&rt->stats->worker[slot].pid);
}

#endif
