/* SPDX-License-Identifier: Apache-2.0 */
/* cache_store.h: store an answer as the gateway does, for tests that do not care for the entry. */
#ifndef TESTS_SUPPORT_CACHE_STORE_H
#define TESTS_SUPPORT_CACHE_STORE_H

#include "cache/cache.h"

/* Whether there was something to store. */
static inline bool store_answer(struct cache *cache, struct key *key, struct answer *answer,
				const struct cache_fill *fill, struct meter *meter)
{
	struct entry *entry;
	bool drop, stored = cache_store_entry(cache, key, answer, fill, meter, &entry, &drop);
	entry_unref(entry);
	return stored;
}

#endif
