/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worlds.h: providers by name, as they are met: one list for `jitney simulate --world`, `./dev bench --regret` and the
 * tests.
 */
#ifndef JITNEY_GATEWAY_CLI_WORLDS_H
#define JITNEY_GATEWAY_CLI_WORLDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "upstream/provider_model.h"

struct world {
	const char *name;
	const char *what; /* for people */
	struct provider_model provider;
	double capacity;     /* calls a second it can do at best; or, if that has no end, a busy day's */
	uint64_t usual_us;   /* what a call takes, about */
	uint64_t slowest_us; /* what a slow one takes, about */
	uint64_t well_us;    /* when it begins to be well for good; 0: from the start */
	bool ill;            /* it never is: some calls must fail */
};

extern const struct world worlds[];
extern const size_t world_count;

/* NULL: there is none of this name. */
const struct world *world_named(const char *name);

#endif
