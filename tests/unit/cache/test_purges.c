/* SPDX-License-Identifier: Apache-2.0 */
/* What purges cover, as text and by number, and for how long memory is believed meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/validity.h"
#include "tests/support/cache_keys.h"

static bool news_only(const void *context, const struct key *key, struct slice tag)
{
	(void)context;
	return slice_equal(key_tool(key), SLICE("paper")) && slice_equal(tag, SLICE("news"));
}

static const struct purge_tags tags = { news_only, NULL };

static struct key *key_named(const char *tool, unsigned id)
{
	struct key_maker *maker = key_maker_new(0, 8);
	char arguments[32];
	struct json_fault fault;
	struct key *key;
	snprintf(arguments, sizeof arguments, "{\"id\":%u}", id);
	const struct key_parts parts = { .tool = slice_of(tool), .arguments = slice_of(arguments) };
	assert_int_equal(key_make(maker, &parts, &key, &fault), OUTCOME_OK);
	key_maker_free(maker);
	return key;
}

static bool scope_covers(const struct purge_scope *scope, const char *tool)
{
	struct key *key = key_named(tool, 0);
	bool covers = purge_scope_covers(scope, key, &tags);
	key_unref(key);
	return covers;
}

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
		assert_true(scope_covers(&scope, "any"));
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
	return scope_covers(&read, tool);
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

static struct validity rule;
static struct purges *const purges = &rule.purges;

static int begin_anew(void **state)
{
	(void)state;
	memset(&rule, 0, sizeof rule);
	purges_init(purges);
	return 0;
}

static int end(void **state)
{
	(void)state;
	purges_fini(purges);
	return 0;
}

/* Of an answer that has just come from outside. */
static bool refused(const char *tool, uint64_t number)
{
	struct key *key = key_named(tool, 0);
	bool covered = purges_cover(purges, key, number, 0, purges_event(purges), &tags);
	key_unref(key);
	return covered;
}

/* Of one fetched here, when that event was the last. */
static bool invalidated(const char *tool, uint64_t number, uint64_t event)
{
	struct key *key = key_named(tool, 0);
	bool covered = purges_cover(purges, key, number, event, event, &tags);
	key_unref(key);
	return covered;
}

static void a_value_is_refused_that_is_older_than_its_purge(void **state)
{
	(void)state;
	assert_false(refused("paper", 0));
	purges_note(purges, SLICE("tool=paper\n"), 10);
	assert_true(refused("paper", 9) && refused("paper", 0));
	assert_false(refused("paper", 10) || refused("radio", 0));
	purges_note(purges, SLICE("tool=paper\n"), 5); /* old news */
	assert_true(refused("paper", 9));
	purges_note(purges, SLICE("tag=news\n"), 20);
	assert_true(refused("paper", 19));
	assert_false(refused("paper", 20) || refused("radio", 19));
	assert_int_equal(purges->count, 2);
	purges_note(purges, SLICE(""), 30); /* makes those moot */
	assert_int_equal(purges->count, 1);
	assert_true(refused("radio", 29));
	assert_false(refused("radio", 30));
}

static void a_purge_without_a_number_is_newer_than_what_comes_from_outside(void **state)
{
	struct purge_notice notice;
	(void)state;
	purges_note(purges, SLICE("tool=radio\n"), 100);
	uint64_t before = purges_event(purges), event = purges_note_own(purges, SLICE("tool=paper\n"), true);
	assert_true(refused("paper", 100) && refused("paper", PURGE_NUMBER_MAX));
	assert_false(refused("radio", 100));
	assert_true(invalidated("paper", 100, before)); /* a fetch that was under way */
	assert_false(invalidated("paper", 100, event)); /* one that began since */
	assert_false(purges_is_published(purges, SLICE("tool=paper\n")));
	assert_true(purges_take_waiting(purges, &notice));
	assert_int_equal(notice.event, event);
	assert_int_equal(notice.number, 0);
	assert_false(purges_take_waiting(purges, &notice)); /* on its way */
	purges_say_again(purges);                           /* nobody knows whether it came */
	assert_true(purges_take_waiting(purges, &notice));
	purges_published(purges, SLICE("tool=paper\n"), notice.event, 120, 0);
	assert_true(purges_is_published(purges, SLICE("tool=paper\n")));
	assert_true(refused("paper", 119));
	assert_false(refused("paper", 120));
	assert_false(invalidated("paper", 100, event)); /* what was fetched after it, before it had its number */
}

/* Its number is overwritten by ours, and word of it may come later, or never. */
static void what_another_gateway_purged_before_ours_was_told_is_not_lost(void **state)
{
	struct purge_notice notice;
	(void)state;
	purges_note(purges, SLICE("tool=radio\n"), 100);
	uint64_t paper = purges_note_own(purges, SLICE("tool=paper\n"), true);
	uint64_t print = purges_note_own(purges, SLICE("tool=print\n"), true);
	while (purges_take_waiting(purges, &notice))
		continue;
	purges_published(purges, SLICE("tool=paper\n"), paper, 120, 100); /* which was known when ours was asked for */
	assert_false(invalidated("paper", 100, print));
	purges_published(purges, SLICE("tool=print\n"), print, 121, 101);
	assert_true(invalidated("print", 100, print));
	purges_note(purges, SLICE("tool=print\n"), 101); /* late */
	assert_true(invalidated("print", 100, print));
	assert_false(refused("print", 121) || refused("paper", 120));
	assert_false(invalidated("print", 121, purges_event(purges)));
}

static void what_is_asked_for_twice_is_told_twice(void **state)
{
	struct purge_notice first, second;
	(void)state;
	purges_note_own(purges, SLICE("tool=paper\n"), true);
	assert_true(purges_take_waiting(purges, &first));
	purges_note_own(purges, SLICE("tool=paper\n"), true);
	purges_published(purges, SLICE("tool=paper\n"), first.event, 50, 0);
	assert_true(refused("paper", 50)); /* the second is newer, and nobody knows its number */
	assert_true(purges_take_waiting(purges, &second));
	purges_note(purges, SLICE("tool=paper\n"), 60); /* another gateway's meanwhile */
	purges_published(purges, SLICE("tool=paper\n"), second.event, 61, 0);
	assert_true(refused("paper", 60));
	assert_false(refused("paper", 61) || purges_take_waiting(purges, &second));
}

/* Else gateways that purge the same at once would make each other do it for ever, and one whose first word was carried
 * out and not answered would hear of that one, and say a third. */
static void what_is_said_is_not_said_again_for_what_is_heard_of_the_same(void **state)
{
	struct purge_notice notice;
	(void)state;
	purges_note_own(purges, SLICE("tool=paper\n"), true);
	assert_true(purges_take_waiting(purges, &notice));
	uint64_t asked = purges_event(purges);
	purges_note(purges, SLICE("tool=paper\n"), 60); /* later than ours, whose answer is still under way */
	assert_true(refused("paper", PURGE_NUMBER_MAX));
	assert_true(invalidated("paper", 59, asked));
	assert_false(purges_take_waiting(purges, &(struct purge_notice){ 0 }));
	assert_true(purges_published(purges, SLICE("tool=paper\n"), notice.event, 50, 0));
	assert_false(purges_published(purges, SLICE("tool=paper\n"), notice.event, 50, 0));
	assert_false(purges_take_waiting(purges, &notice));
	assert_true(refused("paper", 59) && invalidated("paper", 59, asked));
	assert_false(refused("paper", 60));
}

/* Two gateways find that Redis has no list. */
static void a_list_that_another_has_begun_is_not_begun_again(void **state)
{
	struct purge_notice notice;
	(void)state;
	purges_begin(purges);
	assert_true(refused("paper", 49) && refused("paper", PURGE_NUMBER_MAX));
	assert_true(purges_take_waiting(purges, &notice) && notice.begins);
	purges_note(purges, SLICE(""), 50); /* the other's, before Redis answers ours */
	purges_published(purges, SLICE(""), notice.event, 50, 0);
	assert_true(refused("paper", 49));
	assert_false(refused("paper", 50));
	assert_false(purges_take_waiting(purges, &notice));
}

static void what_is_asked_for_while_a_list_is_begun_is_told(void **state)
{
	struct purge_notice notice;
	(void)state;
	purges_begin(purges);
	uint64_t event = purges_note_own(purges, SLICE(""), true);
	purges_note(purges, SLICE(""), 50);
	assert_true(refused("paper", 50)); /* somebody's purge of everything, newer than that */
	assert_true(purges_take_waiting(purges, &notice));
	assert_false(notice.begins);
	assert_true(notice.event > event);
	purges_published(purges, SLICE(""), notice.event, 51, 50);
	assert_true(refused("paper", 50));
	assert_false(refused("paper", 51));
}

static void without_a_fleet_they_number_themselves(void **state)
{
	(void)state;
	uint64_t before = purges_event(purges);
	purges_note_own(purges, SLICE("tool=paper\n"), false);
	assert_true(refused("paper", 0) && invalidated("paper", 0, before));
	assert_false(refused("paper", 1) || refused("radio", 0));
	purges_note_own(purges, SLICE("tool=paper\n"), false);
	assert_true(refused("paper", 1));
	assert_true(purges_is_published(purges, SLICE("tool=paper\n")));
}

static void one_key_is_covered_and_its_neighbours_are_not(void **state)
{
	char text[PURGE_TEXT_BYTES];
	struct key *key = key_named("paper", 7), *other = key_named("paper", 8);
	(void)state;
	uint64_t before = purges_event(purges);
	struct slice scope = purge_key_write(key->digest, text);
	purges_note(purges, scope, 10);
	assert_true(purges_cover(purges, key, 9, 0, UINT64_MAX, &tags));
	assert_true(purges_cover(purges, key, 9, before, before, &tags));
	assert_false(purges_cover(purges, key, 10, 0, UINT64_MAX, &tags));
	assert_false(purges_cover(purges, other, 9, 0, UINT64_MAX, &tags));
	assert_int_equal(purges->count, 0); /* it takes no place among the scopes */
	key_unref(key);
	key_unref(other);
}

/* What was asked for before a purge that is forgotten cannot be told from what it covered. */
static void keys_that_are_forgotten_concern_only_what_was_under_way(void **state)
{
	char text[PURGE_TEXT_BYTES];
	uint8_t digest[KEY_DIGEST_BYTES] = { 0 };
	struct key *key = key_named("paper", 7);
	(void)state;
	memcpy(digest, key->digest, 2);
	uint64_t before = purges_event(purges), number = 10;
	for (uint8_t i = 0; i <= PURGED_KEY_WAYS; i++) {
		digest[31] = i;
		purges_note(purges, purge_key_write(digest, text), number++);
	}
	assert_true(purges_cover(purges, key, 9, before, before, &tags));
	assert_false(purges_cover(purges, key, 9, 0, purges_event(purges), &tags));
	assert_false(purges_cover(purges, key, 9, before, UINT64_MAX, &tags)); /* in memory: see purges.h */
	key_unref(key);
}

static void too_many_purges_are_one_of_everything(void **state)
{
	char text[64];
	(void)state;
	for (unsigned i = 0; i < PURGES_MAX; i++) {
		snprintf(text, sizeof text, "tool=t%u\n", i);
		purges_note(purges, slice_of(text), 1000 + i);
	}
	assert_false(refused("radio", 0));
	purges_note(purges, SLICE("tool=more\n"), 7);
	assert_int_equal(purges->count, 1);
	assert_true(refused("radio", 1000 + PURGES_MAX - 2));
	assert_false(refused("t0", 1000 + PURGES_MAX - 1));
}

/* If one of them was to be told, so is what they have become. */
static void too_many_untold_ones_are_told_as_one_of_everything(void **state)
{
	struct purge_notice notice;
	char text[64];
	(void)state;
	for (unsigned i = 0; i <= PURGES_MAX; i++) {
		snprintf(text, sizeof text, "tool=t%u\n", i);
		if (i == 3)
			purges_note_own(purges, slice_of(text), true);
		else
			purges_note(purges, slice_of(text), 1000 + i);
	}
	assert_int_equal(purges->count, 1);
	assert_true(refused("radio", PURGE_NUMBER_MAX));
	assert_true(purges_take_waiting(purges, &notice));
	assert_int_equal(notice.len, 0);
}

static void what_redis_has_lost_is_told_once_more_under_its_number(void **state)
{
	struct purge_notice notice;
	(void)state;
	purges_note(purges, SLICE(""), 5);
	purges_note(purges, SLICE("tool=paper\n"), 10);
	purges_note(purges, SLICE("tool=radio\n"), 11);
	purges_read_begin(purges);
	purges_note(purges, SLICE(""), 5);
	purges_note(purges, SLICE("tool=radio\n"), 11);
	purges_read_end(purges, 0);
	assert_true(purges_take_waiting(purges, &notice));
	assert_int_equal(notice.number, 10);
	assert_true(slice_equal((struct slice){ notice.text, notice.len }, SLICE("tool=paper\n")));
	assert_false(purges_take_waiting(purges, &notice));
	assert_true(refused("paper", 9));
	assert_false(refused("paper", 10));
}

/* Five keys of one set, numbered 10 to 14: the first has made room. */
static void note_five_keys(void)
{
	uint8_t digest[KEY_DIGEST_BYTES] = { 0 };
	char text[PURGE_TEXT_BYTES];
	for (uint8_t i = 0; i <= PURGED_KEY_WAYS; i++) {
		digest[KEY_DIGEST_BYTES - 1] = i;
		purges_note(purges, purge_key_write(digest, text), 10 + i);
	}
}

static void a_key_that_redis_has_lost_and_nobody_knows_any_more_is_everything(void **state)
{
	struct purge_notice notice;
	(void)state;
	note_five_keys();
	purges_read_begin(purges);
	purges_read_end(purges, 10); /* it had the one that is forgotten */
	while (purges_take_waiting(purges, &notice))
		assert_int_not_equal(notice.len, 0);
	assert_false(refused("paper", 14));
	purges_read_begin(purges);
	purges_read_end(purges, 9);
	assert_true(purges_take_waiting(purges, &notice));
	assert_int_equal(notice.len, 0);
	assert_int_equal(notice.number, 0);
	assert_true(refused("paper", 14));
}

#define S CLOCK_US_PER_S

static bool believed(uint64_t put_us, uint64_t now_us)
{
	struct answer *answer = answer_result(SLICE("1"), true, NULL);
	struct key *key = key_of_id(1);
	struct entry *entry = entry_new(key, answer);
	entry->put_us = put_us;
	bool valid = validity_of(&rule, entry, NULL, &tags, now_us) == STILL_VALID;
	entry_unref(entry);
	key_unref(key);
	answer_unref(answer);
	return valid;
}

static void memory_is_believed_as_long_as_changes_are_heard_of(void **state)
{
	(void)state;
	assert_true(believed(0, 1000 * S)); /* nobody else there */
	validity_share(&rule, 5 * S);
	assert_true(believed(100 * S, 104 * S)); /* not heard of anything yet */
	assert_false(believed(100 * S, 105 * S));
	clock_set(200 * S - 1);
	validity_synced(&rule);
	assert_false(believed(199 * S, 200 * S));
	assert_true(believed(200 * S, 9000 * S));
	validity_lost_sync(&rule, 300 * S);
	validity_lost_sync(&rule, 400 * S); /* the first loss counts */
	assert_true(believed(250 * S, 304 * S));
	assert_false(believed(250 * S, 305 * S));
	assert_false(believed(199 * S, 301 * S)); /* from before the last gap */
	assert_true(believed(310 * S, 314 * S));  /* of the gap itself */
	assert_false(believed(310 * S, 315 * S));
	clock_set(500 * S - 1);
	validity_synced(&rule);
	assert_false(believed(499 * S, 500 * S));
	assert_true(believed(501 * S, 502 * S));
	clock_set(600 * S - 1);
	validity_forget(&rule); /* all of Redis was emptied */
	assert_false(believed(599 * S, 600 * S));
	assert_true(believed(600 * S, 9000 * S));
	clock_set(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_scope_is_the_same_after_writing_and_reading),
		cmocka_unit_test(what_cannot_be_said_or_read_is_everything),
		cmocka_unit_test(a_scope_covers_what_matches_all_of_it),
		cmocka_unit_test_setup_teardown(a_value_is_refused_that_is_older_than_its_purge, begin_anew, end),
		cmocka_unit_test_setup_teardown(a_purge_without_a_number_is_newer_than_what_comes_from_outside,
						begin_anew, end),
		cmocka_unit_test_setup_teardown(what_another_gateway_purged_before_ours_was_told_is_not_lost,
						begin_anew, end),
		cmocka_unit_test_setup_teardown(what_is_asked_for_twice_is_told_twice, begin_anew, end),
		cmocka_unit_test_setup_teardown(
			what_is_said_is_not_said_again_for_what_is_heard_of_the_same, begin_anew, end),
		cmocka_unit_test_setup_teardown(a_list_that_another_has_begun_is_not_begun_again, begin_anew, end),
		cmocka_unit_test_setup_teardown(what_is_asked_for_while_a_list_is_begun_is_told, begin_anew, end),
		cmocka_unit_test_setup_teardown(without_a_fleet_they_number_themselves, begin_anew, end),
		cmocka_unit_test_setup_teardown(one_key_is_covered_and_its_neighbours_are_not, begin_anew, end),
		cmocka_unit_test_setup_teardown(keys_that_are_forgotten_concern_only_what_was_under_way, begin_anew,
						end),
		cmocka_unit_test_setup_teardown(too_many_purges_are_one_of_everything, begin_anew, end),
		cmocka_unit_test_setup_teardown(too_many_untold_ones_are_told_as_one_of_everything, begin_anew, end),
		cmocka_unit_test_setup_teardown(what_redis_has_lost_is_told_once_more_under_its_number, begin_anew,
						end),
		cmocka_unit_test_setup_teardown(a_key_that_redis_has_lost_and_nobody_knows_any_more_is_everything,
						begin_anew, end),
		cmocka_unit_test_setup_teardown(memory_is_believed_as_long_as_changes_are_heard_of, begin_anew, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
