/* SPDX-License-Identifier: ISC */
/*
 * local: whom the destinations of the dialogs' fuzz targets have: everybody at example.net.
 */
#ifndef TESTS_FUZZ_LOCAL_H
#define TESTS_FUZZ_LOCAL_H

#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "policy/policy.h"

static inline void *local_recipients(void)
{
	static void *table;
	struct span text = SPAN("@example.net\n");
	struct policy_faults faults = { NULL };

	if (!table) {
		size_t room = (policy_recipients_room(text) + 63) / 64 * 64;

		table = aligned_alloc(64, room);
		CHECK(table);
		memset(table, 0, room);
		CHECK(policy_recipients_build(table, room, text, &faults) > 0);
	}
	return table;
}

#endif
