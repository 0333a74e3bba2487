/* SPDX-License-Identifier: Apache-2.0 */
/* What a caller's Cache-Control asks for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "cache/directives.h"
#include "tests/support/cache_ask.h"

#define S CLOCK_US_PER_S
#define DELTA_MAX_US (2147483648 * S)

static void each_directive_is_understood(void **state)
{
	(void)state;
	assert_true(directives_of("no-cache").no_cache);
	assert_true(directives_of("no-store").no_store);
	assert_true(directives_of("only-if-cached").only_if_cached);
	struct cache_directives directives = directives_of("max-age=0");
	assert_true(directives.has_max_age);
	assert_int_equal(directives.max_age_us, 0);
	assert_int_equal(directives_of("max-age=60").max_age_us, 60 * S);
	assert_int_equal(directives_of("min-fresh=7").min_fresh_us, 7 * S);
	directives = directives_of("max-stale");
	assert_true(directives.any_stale);
	assert_int_equal(directives.max_stale_us, 0);
	directives = directives_of("max-stale=9");
	assert_false(directives.any_stale);
	assert_int_equal(directives.max_stale_us, 9 * S);
}

static void nothing_is_wished_by_nothing(void **state)
{
	(void)state;
	static const struct cache_directives none;
	static const char *const texts[] = {
		"",
		" ",
		",",
		" , ,\t,",
		"no-transform",
		"stale-if-error=60",
		"x=\"a, no-cache\"",
		"no-cached",
		"no-cach",
		"max-age-x=1",
		"community=\"a\\\"b\"",
	};
	for (size_t i = 0; i < countof(texts); i++) {
		struct cache_directives directives = directives_of(texts[i]);
		assert_memory_equal(&directives, &none, sizeof none);
	}
}

static void lists_may_be_oddly_spaced_quoted_and_in_any_case(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"max-age=5,no-store,max-stale=6",
		" \tmax-age=5 ,\t no-store , max-stale=6\t ",
		",,max-age=5,, ,no-store,,max-stale=6,,",
		"MAX-AGE=5, No-Store, Max-Stale=6",
		"max-age=\"5\", no-store, max-stale=\"6\"",
		"max-age=\"\\5\", no-store, max-stale=\"\\6\"",
		"max-age = 5, no-store, max-stale= \"6\"",
		"x=\"1, max-age=9\", max-age=005, y, no-store=\"z\", max-stale=6",
	};
	for (size_t i = 0; i < countof(texts); i++) {
		struct cache_directives directives = directives_of(texts[i]);
		assert_true(directives.has_max_age && directives.no_store && !directives.no_cache &&
			    !directives.any_stale);
		assert_int_equal(directives.max_age_us, 5 * S);
		assert_int_equal(directives.max_stale_us, 6 * S);
	}
}

static void huge_numbers_saturate(void **state)
{
	(void)state;
	static const char *const numbers[] = { "2147483648", "2147483649", "4294967296", "18446744073709551616",
					       "99999999999999999999999999999999999999999999999999" };
	for (size_t i = 0; i < countof(numbers); i++) {
		char text[200];
		const char *number = numbers[i];
		snprintf(text, sizeof text, "max-age=%s, max-stale=%s, min-fresh=\"%s\"", number, number, number);
		struct cache_directives directives = directives_of(text);
		assert_int_equal(directives.max_age_us, DELTA_MAX_US);
		assert_int_equal(directives.max_stale_us, DELTA_MAX_US);
		assert_int_equal(directives.min_fresh_us, DELTA_MAX_US);
	}
	assert_int_equal(directives_of("max-age=2147483647").max_age_us, 2147483647 * S);
}

static void known_directives_with_bad_values_are_refused(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"max-age",
		"max-age=",
		"max-age=x",
		"max-age=-1",
		"max-age=1.5",
		"max-age=\"\"",
		"max-age=\" 5\"",
		"max-age=5s",
		"max-stale=",
		"max-stale=\"x\"",
		"min-fresh",
		"min-fresh=0x10",
		"max-age=\"5",
		"max-age=\"5\\",
		"no-cache max-age=5",
		"max-age=5 6",
		"=5",
		"max-age=5;no-store",
		"no-store, max-age=x",
		"\"no-store\"",
		"max-age=\"5\"6",
		"max-age=\"\\\"",
		"a=b=c",
		"no\x01-cache",
	};
	for (size_t i = 0; i < countof(texts); i++) {
		struct cache_directives directives = { 0 };
		if (cache_directives_parse(slice_of(texts[i]), &directives))
			fail_msg("accepted: %s", texts[i]);
	}
}

static void several_fields_add_up_and_the_stricter_limit_counts(void **state)
{
	(void)state;
	struct cache_directives directives = directives_of("max-age=60, min-fresh=1, max-stale=100");
	assert_true(cache_directives_parse(SLICE("no-store, max-age=50, max-age=70, min-fresh=3, max-stale=200"),
					   &directives));
	assert_true(directives.no_store);
	assert_int_equal(directives.max_age_us, 50 * S);
	assert_int_equal(directives.min_fresh_us, 3 * S);
	assert_int_equal(directives.max_stale_us, 100 * S);
}

static void every_cut_of_a_list_ends_inside_its_bytes(void **state)
{
	(void)state;
	static const char text[] = " ,x=\"a\\\"b\", max-age = \"\\6\\0\" ,no-store";
	for (size_t len = 0; len < sizeof text; len++) {
		char *exact = malloc(len + !len); /* ASan sees a read beyond */
		assert_non_null(exact);
		memcpy(exact, text, len);
		struct cache_directives directives = { 0 };
		(void)cache_directives_parse((struct slice){ exact, len }, &directives);
		free(exact);
	}
}

static void zero_is_a_limit_too(void **state)
{
	(void)state;
	struct cache_directives directives = directives_of("max-stale=0, min-fresh=0");
	assert_true(directives.has_max_stale && directives.has_min_fresh && !directives.any_stale);
	assert_int_equal(directives.max_stale_us + directives.min_fresh_us, 0);
	directives = directives_of("max-stale=0, max-stale=9, min-fresh=9, min-fresh=0");
	assert_int_equal(directives.max_stale_us, 0);
	assert_int_equal(directives.min_fresh_us, 9 * S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_directive_is_understood),
		cmocka_unit_test(nothing_is_wished_by_nothing),
		cmocka_unit_test(lists_may_be_oddly_spaced_quoted_and_in_any_case),
		cmocka_unit_test(huge_numbers_saturate),
		cmocka_unit_test(known_directives_with_bad_values_are_refused),
		cmocka_unit_test(several_fields_add_up_and_the_stricter_limit_counts),
		cmocka_unit_test(every_cut_of_a_list_ends_inside_its_bytes),
		cmocka_unit_test(zero_is_a_limit_too),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
