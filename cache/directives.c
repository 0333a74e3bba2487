/* SPDX-License-Identifier: Apache-2.0 */
/* directives.c: what a caller's Cache-Control asks for. */
#include "cache/directives.h"

#include "base/cache_control.h"
#include "base/clock.h"

static bool read_us(const struct cache_directive *directive, uint64_t *us)
{
	uint64_t seconds;
	bool good = cache_directive_seconds(directive, &seconds);
	*us = seconds * CLOCK_US_PER_S;
	return good;
}

static bool directives_max_age(struct cache_directives *directives, const struct cache_directive *directive)
{
	uint64_t us;
	if (!read_us(directive, &us))
		return false;
	if (!directives->has_max_age || us < directives->max_age_us)
		directives->max_age_us = us;
	directives->has_max_age = true;
	return true;
}

static bool directives_max_stale(struct cache_directives *directives, const struct cache_directive *directive)
{
	uint64_t us;
	if (!directive->has_value) {
		directives->any_stale = true;
		return true;
	}
	if (!read_us(directive, &us))
		return false;
	if (!directives->has_max_stale || us < directives->max_stale_us)
		directives->max_stale_us = us;
	directives->has_max_stale = true;
	return true;
}

static bool directives_min_fresh(struct cache_directives *directives, const struct cache_directive *directive)
{
	uint64_t us;
	if (!read_us(directive, &us))
		return false;
	if (us > directives->min_fresh_us)
		directives->min_fresh_us = us;
	directives->has_min_fresh = true;
	return true;
}

/* A value where none belongs ("no-cache=x") does not make the directive weaker. */
static bool apply_directive(struct cache_directives *directives, const struct cache_directive *directive)
{
	if (cache_directive_is(directive, "max-age"))
		return directives_max_age(directives, directive);
	if (cache_directive_is(directive, "max-stale"))
		return directives_max_stale(directives, directive);
	if (cache_directive_is(directive, "min-fresh"))
		return directives_min_fresh(directives, directive);
	directives->no_cache |= cache_directive_is(directive, "no-cache");
	directives->no_store |= cache_directive_is(directive, "no-store");
	directives->only_if_cached |= cache_directive_is(directive, "only-if-cached");
	return true;
}

bool cache_directives_parse(struct slice value, struct cache_directives *directives)
{
	struct slice rest = value;
	struct cache_directive directive;
	bool broken;
	while (cache_directive_next(&rest, &directive, &broken))
		if (!apply_directive(directives, &directive))
			return false;
	return !broken;
}
