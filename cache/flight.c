/* SPDX-License-Identifier: Apache-2.0 */
/* flight.c: the table of flights: chains by hash, doubled when there are more flights than chains. */
#include "cache/flight.h"

#include <assert.h>
#include <stdlib.h>

enum { FIRST_BUCKETS = 64 };

struct flights {
	struct flight **buckets;
	size_t bucket_count; /* power of two */
	size_t count;
};

struct flights *flights_new(void)
{
	struct flights *flights = malloc(sizeof *flights);
	if (!flights)
		return NULL;
	flights->count = 0;
	flights->bucket_count = FIRST_BUCKETS;
	flights->buckets = calloc(FIRST_BUCKETS, sizeof *flights->buckets);
	if (flights->buckets)
		return flights;
	free(flights);
	return NULL;
}

void flights_free(struct flights *flights)
{
	if (!flights)
		return;
	assert(flights->count == 0);
	free(flights->buckets);
	free(flights);
}

static struct flight **bucket_of(const struct flights *flights, const struct key *key)
{
	return &flights->buckets[key->hash & (flights->bucket_count - 1)];
}

struct flight *flights_find(const struct flights *flights, const struct key *key)
{
	struct flight *flight = *bucket_of(flights, key);
	while (flight && !key_equal(flight->key, key))
		flight = flight->next_in_bucket;
	return flight;
}

static void link_flight(struct flights *flights, struct flight *flight)
{
	struct flight **bucket = bucket_of(flights, flight->key);
	flight->next_in_bucket = *bucket;
	*bucket = flight;
}

/* Twice the chains; without memory for them it stays as it is. */
static void grow_flights(struct flights *flights)
{
	struct flight **old = flights->buckets;
	size_t old_count = flights->bucket_count;
	struct flight **buckets = calloc(old_count * 2, sizeof *buckets);
	if (!buckets)
		return;
	flights->buckets = buckets;
	flights->bucket_count = old_count * 2;
	for (size_t i = 0; i < old_count; i++) {
		struct flight *next;
		for (struct flight *flight = old[i]; flight; flight = next) {
			next = flight->next_in_bucket;
			link_flight(flights, flight);
		}
	}
	free(old);
}

void flights_add(struct flights *flights, struct flight *flight, struct key *key)
{
	TAILQ_INIT(&flight->waiters);
	flight->waiter_count = 0;
	flight->next_in_bucket = NULL;
	flight->key = NULL;
	if (!key)
		return;
	assert(!flights_find(flights, key));
	flight->key = key_ref(key);
	if (flights->count == flights->bucket_count)
		grow_flights(flights);
	link_flight(flights, flight);
	flights->count++;
}

void flights_remove(struct flights *flights, struct flight *flight)
{
	if (!flight->key)
		return;
	struct flight **at = bucket_of(flights, flight->key);
	while (*at != flight)
		at = &(*at)->next_in_bucket;
	*at = flight->next_in_bucket;
	flight->next_in_bucket = NULL;
	flights->count--;
	key_unref(flight->key);
	flight->key = NULL;
}

void flight_join(struct flight *flight, struct waiter *waiter)
{
	assert(!waiter->flight);
	waiter->flight = flight;
	TAILQ_INSERT_TAIL(&flight->waiters, waiter, next);
	flight->waiter_count++;
}

void flight_leave(struct waiter *waiter)
{
	struct flight *flight = waiter->flight;
	if (!flight)
		return;
	TAILQ_REMOVE(&flight->waiters, waiter, next);
	flight->waiter_count--;
	waiter->flight = NULL;
}

struct waiter *flight_take(struct flight *flight)
{
	struct waiter *waiter = TAILQ_FIRST(&flight->waiters);
	if (waiter)
		flight_leave(waiter);
	return waiter;
}
