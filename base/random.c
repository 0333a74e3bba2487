/* SPDX-License-Identifier: Apache-2.0 */
/* random.c: what the system knows and nobody can guess. */
#include "base/random.h"

#include <sys/random.h>

#include "base/clock.h"

bool random_secret(void *to, size_t bytes)
{
	return getrandom(to, bytes, 0) == (ssize_t)bytes;
}

uint64_t random_fresh(const void *owner)
{
	uint64_t seed;
	if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) == sizeof seed)
		return seed;
	return random_mix((uint64_t)(uintptr_t)owner ^ clock_now_us());
}
