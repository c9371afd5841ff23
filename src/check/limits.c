/* SPDX-License-Identifier: ISC */
/* limits: see limits.h. */
#include "check/limits.h"

#include "base/bounds.h"
#include "shared/seats.h"

/* Engine, eventfd, signalfd, pipes between the processes, standard streams, and some to spare. */
#define DESCRIPTORS_OWN 64

struct io_limits limits_io(const struct settings *set)
{
	unsigned sessions = (unsigned)set->max_sessions + WORKER_REFUSALS;

	return (struct io_limits){
		.ops = 4 * sessions + SEATS_PLACES(sessions) + DESTINATIONS_MAX + LISTEN_MAX +
		       WARM_MAX + DOOR_MAX + 2,
		.timers = sessions,
		.block_size = WORKER_BLOCK,
		.block_count = WORKER_BLOCKS,
	};
}

uint64_t limits_descriptors(unsigned sessions, unsigned workers, unsigned addresses)
{
	return 2 * (uint64_t)sessions + SEATS_PLACES(sessions) + WORKER_REFUSALS +
	       2 * WORKER_PIPES + (uint64_t)workers * addresses + DESTINATIONS_MAX + WARM_MAX +
	       DOOR_MAX + COPY_OPEN + DESCRIPTORS_OWN;
}
