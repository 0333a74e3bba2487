/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flight.h: single flight. Callers waiting on the same key share one fetch. A table of flights by key; who waits on
 * one is a list. Owned by one thread (the upstream's), so no lock. What a flight carries is its owner's business:
 * struct flight is embedded.
 */
#ifndef JITNEY_CACHE_FLIGHT_H
#define JITNEY_CACHE_FLIGHT_H

#include <stddef.h>
#include <sys/queue.h>

#include "base/compiler.h"
#include "cache/key.h"

/* One caller waiting. Embedded in the call. */
struct waiter {
	TAILQ_ENTRY(waiter) next;
	struct flight *flight; /* NULL: waits on nothing */
};
TAILQ_HEAD(waiters, waiter);

struct flight {
	struct key *key; /* owned reference; NULL: shared with nobody, in no table */
	struct waiters waiters;
	size_t waiter_count;
	struct flight *next_in_bucket;
};

struct flights; /* the table */

/* Empty. NULL: out of memory. */
struct flights *flights_new(void) MUST_CHECK;
/* Must be empty. NULL is allowed. */
void flights_free(struct flights *flights);

/* The flight of an equal key, or NULL. */
struct flight *flights_find(const struct flights *flights, const struct key *key);
/* Initialise a flight; with a key (a reference is taken) it can be found from now on, with NULL never. The table grows
 * by itself and works on, more slowly, if it cannot. There must be no flight of an equal key. */
void flights_add(struct flights *flights, struct flight *flight, struct key *key);
/* Take it out so that the next call of that key starts anew, and drop the key. Waiters stay. Allowed if it has no key. */
void flights_remove(struct flights *flights, struct flight *flight);

/* Wait on a flight, last in line (waiter->flight must be NULL) / stop waiting (nothing happens if it waits on
 * nothing). */
void flight_join(struct flight *flight, struct waiter *waiter);
void flight_leave(struct waiter *waiter);
/* First waiter, taken out; NULL when there is none left. */
struct waiter *flight_take(struct flight *flight);

#endif
