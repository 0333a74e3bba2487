/* SPDX-License-Identifier: Apache-2.0 */
/* cache_keys.h: keys by number, made by hand, for what stores by key but does not care how keys are made. */
#ifndef TESTS_SUPPORT_CACHE_KEYS_H
#define TESTS_SUPPORT_CACHE_KEYS_H

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cache/key.h"

/* splitmix64: evenly spread, and the same in every run. */
static inline uint64_t mix64(uint64_t n)
{
	n += UINT64_C(0x9E3779B97F4A7C15);
	n = (n ^ (n >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	n = (n ^ (n >> 27)) * UINT64_C(0x94D049BB133111EB);
	return n ^ (n >> 31);
}

/* A key whose bytes begin with `id` and are `len` (>= 8) long, with a hash of the caller's choice. One reference. */
static inline struct key *key_with_hash(uint64_t id, size_t len, uint64_t hash)
{
	struct key *key = malloc(sizeof *key + len);
	if (!key)
		abort();
	atomic_init(&key->refs, 1);
	key->hash = hash;
	key->len = len;
	memset(key->bytes, 'k', len);
	memcpy(key->bytes, &id, sizeof id);
	memset(key->digest, 0, sizeof key->digest);
	memcpy(key->digest, &id, sizeof id);
	return key;
}

static inline struct key *key_of_id(uint64_t id)
{
	return key_with_hash(id, 40, mix64(id));
}

#endif
