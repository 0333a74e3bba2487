/* SPDX-License-Identifier: Apache-2.0 */
/* memory_purge.h: a purge of the memory tier that has ended when it returns. */
#ifndef TESTS_SUPPORT_MEMORY_PURGE_H
#define TESTS_SUPPORT_MEMORY_PURGE_H

#include "cache/memory.h"

/* Once round; how many have gone. */
static inline size_t purge_matching(struct memory *memory, bool (*match)(struct entry *entry, void *context),
				    void *context)
{
	size_t place = 0, dropped = 0;
	do
		dropped += memory_sweep(memory, &place, match, context);
	while (place);
	return dropped;
}

#endif
