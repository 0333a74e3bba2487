/* SPDX-License-Identifier: Apache-2.0 */
/* cache_ask.h: who asks a cache in tests: of a tool whose policy allows whatever an answer was stored with, and that
 * has no tag. */
#ifndef TESTS_SUPPORT_CACHE_ASK_H
#define TESTS_SUPPORT_CACHE_ASK_H

#include <assert.h>

#include "cache/cache.h"

static inline bool ask_has_no_tag(const void *context, const struct key *key, struct slice tag)
{
	(void)context;
	(void)key;
	(void)tag;
	return false;
}

static const struct purge_tags ask_no_tags = { ask_has_no_tag, NULL };
static const struct cache_policy ask_any_policy = { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, 0, true };

/* What a caller's Cache-Control says, which must be understood. */
static inline struct cache_directives directives_of(const char *text)
{
	struct cache_directives directives = { 0 };
	bool understood = cache_directives_parse(slice_of(text), &directives);
	assert(understood);
	return directives;
}

static inline struct cache_found ask_cache(struct cache *cache, const struct key *key,
					   const struct cache_directives *directives, uint64_t now_us,
					   struct meter *meter)
{
	const struct cache_ask ask = { &ask_any_policy, directives, &ask_no_tags, now_us };
	return cache_find(cache, key, &ask, meter);
}

/* Everything is purged, and has left memory; returns how many have. */
static inline size_t ask_purge(struct cache *cache, const struct purge_scope *scope)
{
	uint64_t before = cache_purged(cache);
	cache_purge(cache, scope);
	while (cache_sweep(cache, &ask_no_tags, UINT64_MAX))
		continue;
	return (size_t)(cache_purged(cache) - before);
}

static inline size_t ask_purge_all(struct cache *cache)
{
	static const struct purge_scope everything;
	return ask_purge(cache, &everything);
}

#endif
