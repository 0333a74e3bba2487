/* SPDX-License-Identifier: Apache-2.0 */
/* outside_private.h: what outside.c (values, look-ups, stores) and outside_fleet.c (purges, another gateway) share. */
#ifndef TESTS_SUPPORT_OUTSIDE_PRIVATE_H
#define TESTS_SUPPORT_OUTSIDE_PRIVATE_H

#include "tests/support/outside.h"

enum { OUTSIDE_VALUES = 256 };
#define OUTSIDE_LATE_US (300 * CLOCK_US_PER_MS) /* what is sent arrives within, where it arrives at all */

struct outside_value {
	struct key *key; /* owned; NULL: the place is free */
	struct buf bytes;
	const void *lease; /* whose; NULL: nobody's */
	uint64_t lease_until_us;
};

struct outside {
	enum outside_kind kind;
	unsigned *seed;
	struct gateway_world *world; /* NULL: none is attached */
	struct outside_value values[OUTSIDE_VALUES];
	struct outside_counts counts;
};
extern struct outside outside;

static inline unsigned outside_roll(unsigned sides)
{
	return (unsigned)rand_r(outside.seed) % sides;
}

/* The same moment on both clocks. */
struct stored_clock outside_clock(void);
/* The key's place, a new one if need be; NULL: there is no room. */
struct outside_value *outside_place(struct key *key);
struct outside_value *outside_find(const uint8_t *digest);

/* --- outside_fleet.c --- */

void fleet_begin(void);
void fleet_attach(void);
void fleet_detach(void);
void fleet_turn(void);
void fleet_stir(void);

#endif
