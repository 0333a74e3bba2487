/* SPDX-License-Identifier: Apache-2.0 */
/* cache_fixture.h: one cache, and a key that is not jittered, for each test of a program. */
#ifndef TESTS_SUPPORT_CACHE_FIXTURE_H
#define TESTS_SUPPORT_CACHE_FIXTURE_H

#include "cache/cache.h"
#include "tests/support/cache_keys.h"

enum { FIXTURE_BYTES = 4 * 1024 * 1024 };

struct fixture {
	struct metrics *metrics;
	struct meter *meter;
	struct cache *cache;
	struct key *key;
	struct cache_policy policy; /* the program's own */
};

static inline int fixture_setup(void **state)
{
	static const char *const tools[] = { "a", "b", "c", "d" };
	static const struct metrics_names names = { .tools = tools, .tool_count = countof(tools) };
	static struct fixture fixture;
	fixture.metrics = metrics_new(&names);
	fixture.meter = fixture.metrics ? metrics_meter(fixture.metrics) : NULL;
	fixture.cache = fixture.meter ? cache_new(FIXTURE_BYTES, fixture.metrics) : NULL;
	fixture.key = key_with_hash(1, 40, 0); /* hash 0: no jitter, so that times are round */
	*state = &fixture;
	return fixture.cache ? 0 : -1;
}

static inline int fixture_teardown(void **state)
{
	struct fixture *fixture = *state;
	cache_free(fixture->cache);
	metrics_free(fixture->metrics);
	key_unref(fixture->key);
	return 0;
}

#endif
