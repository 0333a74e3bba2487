/* SPDX-License-Identifier: Apache-2.0 */
/* wish.c: what a caller's Cache-Control asks for. */
#include "cache/wish.h"

#include "base/cache_control.h"
#include "base/clock.h"

static bool read_us(const struct cache_directive *directive, uint64_t *us)
{
	uint64_t seconds;
	bool good = cache_directive_seconds(directive, &seconds);
	*us = seconds * CLOCK_US_PER_S;
	return good;
}

static bool wish_max_age(struct cache_wish *wish, const struct cache_directive *directive)
{
	uint64_t us;
	if (!read_us(directive, &us))
		return false;
	if (!wish->has_max_age || us < wish->max_age_us)
		wish->max_age_us = us;
	wish->has_max_age = true;
	return true;
}

static bool wish_max_stale(struct cache_wish *wish, const struct cache_directive *directive)
{
	uint64_t us;
	if (!directive->has_value) {
		wish->any_stale = true;
		return true;
	}
	if (!read_us(directive, &us))
		return false;
	if (!wish->has_max_stale || us < wish->max_stale_us)
		wish->max_stale_us = us;
	wish->has_max_stale = true;
	return true;
}

static bool wish_min_fresh(struct cache_wish *wish, const struct cache_directive *directive)
{
	uint64_t us;
	if (!read_us(directive, &us))
		return false;
	if (us > wish->min_fresh_us)
		wish->min_fresh_us = us;
	wish->has_min_fresh = true;
	return true;
}

/* A value where none belongs ("no-cache=x") does not make the wish weaker. */
static bool apply_directive(struct cache_wish *wish, const struct cache_directive *directive)
{
	if (cache_directive_is(directive, "max-age"))
		return wish_max_age(wish, directive);
	if (cache_directive_is(directive, "max-stale"))
		return wish_max_stale(wish, directive);
	if (cache_directive_is(directive, "min-fresh"))
		return wish_min_fresh(wish, directive);
	wish->no_cache |= cache_directive_is(directive, "no-cache");
	wish->no_store |= cache_directive_is(directive, "no-store");
	wish->only_if_cached |= cache_directive_is(directive, "only-if-cached");
	return true;
}

bool cache_wish_parse(struct slice value, struct cache_wish *wish)
{
	struct slice rest = value;
	struct cache_directive directive;
	bool broken;
	while (cache_directive_next(&rest, &directive, &broken))
		if (!apply_directive(wish, &directive))
			return false;
	return !broken;
}
