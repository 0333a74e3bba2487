/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outside.h: a tier behind memory for whole workers in virtual time, a model of Redis or of the disk: what is put there
 * is bytes (stored_value.h), arrives late or never, and is read later still; other people damage it, mix it up, evict it. Behind
 * Redis there is another gateway (outside_fleet.c), which fetches, stores and purges, and a list of purges that may be
 * lost. All of it by dice, equal for equal seeds. One test at a time.
 */
#ifndef TESTS_SUPPORT_OUTSIDE_H
#define TESTS_SUPPORT_OUTSIDE_H

#include "cache/stored_value.h"
#include "tests/support/gateway_world.h"

enum outside_kind { OUTSIDE_NONE, OUTSIDE_REDIS, OUTSIDE_DISK };

/* A scenario begins, with nothing stored. `seed` is the test's, and used up by this as well. */
void outside_begin(enum outside_kind kind, unsigned *seed);
/* Its end; nothing may be attached. */
void outside_end(void);

/* The workers of this gateway, which has just been started, have the tier from now on. */
void outside_attach(struct gateway_world *world);
/* Before that gateway is stopped: what is on its way is lost, but the disk's. No call is under way. */
void outside_detach(void);

/* What is due, but for look-ups and stores, which the workers' own turns take care of. */
void outside_turn(void);
/* Something happens there. */
void outside_stir(void);
/* An operator of this gateway purges. */
void outside_purge(const struct purge_scope *scope);

/* How often a look-up found something / what was damaged was found / another gateway stored and purged. */
struct outside_counts {
	size_t found, damaged, others_stored, others_purged;
};
struct outside_counts outside_counts(void);

#endif
