/* SPDX-License-Identifier: Apache-2.0 */
/* directives.h: what a caller asked of the cache (RFC 9111, 5.2.1). */
#ifndef JITNEY_CACHE_DIRECTIVES_H
#define JITNEY_CACHE_DIRECTIVES_H

#include <stdint.h>

#include "base/compiler.h"
#include "base/slice.h"

/* What the caller asked for with Cache-Control (RFC 9111, 5.2.1). */
struct cache_directives {
	bool no_cache; /* do not serve from the cache; the answer may be stored */
	bool no_store; /* neither serve nor store */
	bool only_if_cached;
	bool any_stale; /* max-stale without a value */
	/* 0 is a limit too: max-stale=0 and min-fresh=0 want nothing stale */
	bool has_max_age, has_max_stale, has_min_fresh;
	uint64_t max_age_us;
	uint64_t max_stale_us;
	uint64_t min_fresh_us;
};

/* Read a Cache-Control value into *directives (added to what is there; of two limits the stricter one counts). Unknown
 * directives are ignored, as the RFC says; false when a known one that needs delta-seconds has none, or a list is not
 * one. Numbers beyond 2^31 seconds count as 2^31. */
bool cache_directives_parse(struct slice value, struct cache_directives *directives);

/*
 * Whether an answer of this age is new enough for who says this: the one place that knows, for what is kept and for a
 * fetch under way. Its age counts from when its provider was asked, not from when it came (RFC 9111, 4.2.3): what has
 * changed since then it does not know of. max-age=0 takes nothing that was asked for before, in the same reading of the
 * clock either: there nobody can tell what came first.
 */
static inline bool cache_directives_accept_age(const struct cache_directives *directives, uint64_t age_us)
{
	return !directives->no_cache &&
	       (!directives->has_max_age || (directives->max_age_us && age_us <= directives->max_age_us));
}

#endif
