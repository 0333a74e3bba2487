/* SPDX-License-Identifier: Apache-2.0 */
/*
 * random.h: numbers that look random and are the same in every run and on every machine, which rand() is not: for loads
 * and providers that are made up. Not for secrets. xorshift64* (Vigna 2016).
 */
#ifndef JITNEY_BASE_RANDOM_H
#define JITNEY_BASE_RANDOM_H

#include <stdint.h>

/* The state of a sequence; equal seeds give equal sequences. */
static inline uint64_t random_seeded(uint64_t seed)
{
	return (seed * 2 + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1; /* odd, so never 0, where the sequence would stay */
}

/* The next number, in (0, 1]. */
static inline double random_part(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (double)((*state * UINT64_C(2685821657736338717)) >> 11) / 9007199254740992.0 + 1e-16;
}

#endif
