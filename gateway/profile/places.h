/* SPDX-License-Identifier: Apache-2.0 */
/* places.h: every place that occurs in the stacks of a profile, once, with its name. One thread. */
#ifndef JITNEY_GATEWAY_PROFILE_PLACES_H
#define JITNEY_GATEWAY_PROFILE_PLACES_H

#include "gateway/profile/stacks.h"

struct place {
	struct table_node node;
	uintptr_t address;
	struct symbol symbol;
	size_t number; /* in places->all */
};

struct places {
	struct table table;
	struct place *all; /* owned */
	size_t count;
};

/* All of `stacks`, named by `namer`. False: out of memory, nothing is there. Not to be moved afterwards. */
bool places_init(struct places *places, const struct stacks *stacks, const struct namer *namer) MUST_CHECK;
void places_fini(struct places *places);
/* One that occurs in them. */
const struct place *places_find(const struct places *places, uintptr_t address);

#endif
