/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cache-Control as a caller's directives. Properties: a list that is accepted is accepted again and wishes no more;
 * another directive behind it never makes the directives weaker; what follows a list that is none is not looked at.
 */
#include "base/buf.h"
#include "cache/directives.h"
#include "tests/support/fuzz.h"

static bool no_weaker(const struct cache_directives *than, const struct cache_directives *directives)
{
	return directives->no_cache >= than->no_cache && directives->no_store >= than->no_store &&
	       directives->only_if_cached >= than->only_if_cached && directives->has_max_age >= than->has_max_age &&
	       directives->has_min_fresh >= than->has_min_fresh && directives->min_fresh_us >= than->min_fresh_us &&
	       (!than->has_max_age || directives->max_age_us <= than->max_age_us) &&
	       (!than->has_max_stale || directives->max_stale_us <= than->max_stale_us);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = { (const char *)data, size };
	struct cache_directives once = { 0 };
	if (!cache_directives_parse(text, &once))
		return 0;
	struct cache_directives twice = once;
	must(cache_directives_parse(text, &twice));
	must(no_weaker(&once, &twice) && no_weaker(&twice, &once));
	struct buf longer = BUF_INIT(size + 64);
	buf_put(&longer, text);
	buf_put_text(&longer, ", max-age=3, min-fresh=\"4\", max-stale=5, no-store");
	struct cache_directives more = { 0 };
	must(longer.failed || cache_directives_parse(buf_slice(&longer), &more));
	must(longer.failed || (no_weaker(&once, &more) && more.no_store && more.has_max_stale));
	buf_fini(&longer);
	return 0;
}
