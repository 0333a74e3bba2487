/* SPDX-License-Identifier: Apache-2.0 */
/*
 * random.h: numbers that look random, for pauses that are not to end together, choices, ids, loads and providers that are
 * made up: none of them secret. A sequence is the same in every run and on every machine for the same state, which rand()'s
 * is not. Whoever has a state owns it, on one thread. And what nobody can guess, for a state to begin with, and for keys.
 */
#ifndef JITNEY_BASE_RANDOM_H
#define JITNEY_BASE_RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/* At most 256 bytes that nobody can guess. Early in the machine's life it waits until there are any. False: the system
 * gives none, and there must be no secret. Any thread. */
bool random_secret(void *to, size_t bytes) MUST_CHECK;
/* A number to begin with, such as a table's against keys that are made to collide: as above, but where the system has none
 * yet it is taken from the time and from where `owner` lies. It never waits. Any thread. */
uint64_t random_fresh(const void *owner);

#define RANDOM_STEP UINT64_C(0x9e3779b97f4a7c15)

/* The state of a sequence of random_next; equal seeds give equal sequences, and seeds that are near each other none alike. */
static inline uint64_t random_seeded(uint64_t seed)
{
	return (seed * 2 + 1) * RANDOM_STEP | 1;
}

/* The next number: xorshift64* (Vigna 2016). At 0, where that would stay, it begins with 1. */
static inline uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state ? *state : 1;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * UINT64_C(2685821657736338717);
}

/* The next one, in (0, 1]. */
static inline double random_part(uint64_t *state)
{
	return (double)(random_next(state) >> 11) / 9007199254740992.0 + 1e-16;
}

/* The end of splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): numbers that differ
 * a little become numbers that differ in everything; no two become the same. */
static inline uint64_t random_mix(uint64_t number)
{
	number = (number ^ (number >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	number = (number ^ (number >> 27)) * UINT64_C(0x94d049bb133111eb);
	return number ^ (number >> 31);
}

/* An id: none comes twice within 2^64. Who has two of them can tell how many there were between, and which comes next. */
static inline uint64_t random_id(uint64_t *state)
{
	return random_mix(*state += RANDOM_STEP);
}

/* Ids that strangers see: the same, and without the key none tells of others. Both from random_secret. */
struct random_ids {
	uint64_t state, key;
};

static inline uint64_t random_ids_next(struct random_ids *ids)
{
	return random_mix(random_id(&ids->state) ^ ids->key);
}

#endif
