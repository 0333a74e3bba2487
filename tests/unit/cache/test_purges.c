/* What purges cover, as text and by number, and for how long memory is believed meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "cache/purges.h"
#include "cache/trust.h"

static bool news_only(const void *context, struct slice tool, struct slice tag)
{
	(void)context;
	return slice_equal(tool, SLICE("paper")) && slice_equal(tag, SLICE("news"));
}

static const struct purge_tags tags = { news_only, NULL };

static void a_scope_is_the_same_after_writing_and_reading(void **state)
{
	static const char *const words[] = { "", "web_search", "a=b", "x&y" };
	char text[PURGE_TEXT_BYTES];
	(void)state;
	for (size_t i = 0; i < 256; i++) {
		const struct purge_scope scope = { slice_of(words[i % 4]), slice_of(words[i / 4 % 4]),
						   slice_of(words[i / 16 % 4]), slice_of(words[i / 64]) };
		const struct purge_scope again = purge_scope_read(purge_scope_write(&scope, text));
		assert_true(slice_equal(scope.tool, again.tool) && slice_equal(scope.prefix, again.prefix));
		assert_true(slice_equal(scope.tag, again.tag) && slice_equal(scope.key, again.key));
	}
}

static void what_cannot_be_said_or_read_is_everything(void **state)
{
	static const char *const odd[] = { "x", "\n", "tool=\n", "tool=a", "tool=a\ncolour=red\n", "tool=a\n\n" };
	char text[PURGE_TEXT_BYTES], word[PURGE_TEXT_BYTES];
	(void)state;
	for (size_t i = 0; i < countof(odd); i++) {
		const struct purge_scope scope = purge_scope_read(slice_of(odd[i]));
		assert_true(purge_scope_covers(&scope, SLICE("any"), &tags));
	}
	memset(word, 'w', sizeof word);
	for (size_t len = PURGE_TEXT_BYTES - 8; len <= PURGE_TEXT_BYTES; len++) {
		const struct purge_scope scope = { .tool = { word, len } };
		size_t written = purge_scope_write(&scope, text).len;
		assert_int_equal(written, len + 6 <= PURGE_TEXT_BYTES ? len + 6 : 0);
	}
	const struct purge_scope lines = { .tool = SLICE("a\nb") };
	assert_int_equal(purge_scope_write(&lines, text).len, 0);
}

static bool covers(const char *scope, const char *tool)
{
	const struct purge_scope read = purge_scope_read(slice_of(scope));
	return purge_scope_covers(&read, slice_of(tool), &tags);
}

static void a_scope_covers_what_matches_all_of_it(void **state)
{
	(void)state;
	assert_true(covers("", "paper"));
	assert_true(covers("tool=paper\n", "paper"));
	assert_false(covers("tool=paper\n", "papers"));
	assert_true(covers("prefix=pa\n", "paper"));
	assert_false(covers("prefix=paper_\n", "paper"));
	assert_true(covers("tag=news\n", "paper"));
	assert_false(covers("tag=news\n", "radio"));
	assert_false(covers("tool=paper\ntag=old\n", "paper"));
	assert_true(covers("tool=paper\nprefix=p\ntag=news\n", "paper"));
}

static struct purges purges;

static bool refused(const char *tool, uint64_t generation)
{
	return purges_cover(&purges, slice_of(tool), generation, &tags);
}

static void a_value_is_refused_that_is_older_than_its_purge(void **state)
{
	(void)state;
	memset(&purges, 0, sizeof purges);
	purges_init(&purges);
	assert_false(refused("paper", 0));
	purges_add(&purges, SLICE("tool=paper\n"), 10);
	assert_true(refused("paper", 9) && refused("paper", 0));
	assert_false(refused("paper", 10) || refused("radio", 0));
	purges_add(&purges, SLICE("tool=paper\n"), 5); /* old news */
	assert_true(refused("paper", 9));
	purges_add_next(&purges, SLICE("tag=news\n"));
	assert_int_equal(purges_newest(&purges), 11);
	assert_true(refused("paper", 10));
	assert_false(refused("paper", 11) || refused("radio", 10));
	purges_add(&purges, SLICE("tag=news\n"), 20); /* its number has come */
	assert_true(refused("paper", 19));
	assert_int_equal(purges.count, 2);
	purges_fini(&purges);
}

static void too_many_purges_are_one_of_everything(void **state)
{
	char text[64];
	(void)state;
	memset(&purges, 0, sizeof purges);
	purges_init(&purges);
	for (unsigned i = 0; i < PURGES_MAX; i++) {
		snprintf(text, sizeof text, "tool=t%u\n", i);
		purges_add(&purges, slice_of(text), 1000 + i);
	}
	assert_false(refused("radio", 0));
	purges_add(&purges, SLICE("tool=more\n"), 7);
	assert_int_equal(purges.count, 1);
	assert_true(refused("radio", 1000 + PURGES_MAX - 2));
	assert_false(refused("t0", 1000 + PURGES_MAX - 1));
	purges_fini(&purges);
}

#define S CLOCK_US_PER_S

static void memory_is_believed_as_long_as_changes_are_heard_of(void **state)
{
	struct trust trust = { 0 };
	(void)state;
	assert_true(trust_holds(&trust, 0, 1000 * S)); /* nobody else there */
	trust_need(&trust, 5 * S);
	assert_true(trust_holds(&trust, 100 * S, 104 * S)); /* not heard of anything yet */
	assert_false(trust_holds(&trust, 100 * S, 105 * S));
	trust_begin(&trust, 200 * S);
	assert_false(trust_holds(&trust, 199 * S, 200 * S));
	assert_true(trust_holds(&trust, 200 * S, 9000 * S));
	trust_end(&trust, 300 * S);
	trust_end(&trust, 400 * S); /* the first loss counts */
	assert_true(trust_holds(&trust, 250 * S, 304 * S));
	assert_false(trust_holds(&trust, 250 * S, 305 * S));
	assert_false(trust_holds(&trust, 199 * S, 301 * S)); /* from before the last gap */
	assert_true(trust_holds(&trust, 310 * S, 314 * S));  /* of the gap itself */
	assert_false(trust_holds(&trust, 310 * S, 315 * S));
	trust_begin(&trust, 500 * S);
	assert_false(trust_holds(&trust, 499 * S, 500 * S));
	assert_true(trust_holds(&trust, 501 * S, 502 * S));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_scope_is_the_same_after_writing_and_reading),
		cmocka_unit_test(what_cannot_be_said_or_read_is_everything),
		cmocka_unit_test(a_scope_covers_what_matches_all_of_it),
		cmocka_unit_test(a_value_is_refused_that_is_older_than_its_purge),
		cmocka_unit_test(too_many_purges_are_one_of_everything),
		cmocka_unit_test(memory_is_believed_as_long_as_changes_are_heard_of),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
