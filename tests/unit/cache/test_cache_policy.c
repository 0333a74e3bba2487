/* SPDX-License-Identifier: Apache-2.0 */
/* A tool's cache policy: what is kept and for how long, what the provider may say, when an answer is fetched early. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/clock.h"
#include "cache/cache.h"
#include "tests/support/cache_ask.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/cache_keys.h"
#include "tests/support/cache_store.h"

#define S CLOCK_US_PER_S

static const uint64_t stored_us = 1000 * S;

static int setup(void **state)
{
	int failed = fixture_setup(state);
	((struct fixture *)*state)->policy = (struct cache_policy){ .ttl_us = 100 * S,
								    .stale_while_revalidate_us = 50 * S,
								    .stale_if_error_us = 500 * S };
	return failed;
}

/* Takes the answer. */
static bool store(struct fixture *fixture, struct answer *answer, uint64_t cost_us)
{
	const struct cache_fill fill = { &fixture->policy, cost_us, stored_us, stored_us, NULL, &ask_no_tags };
	bool stored = store_answer(fixture->cache, fixture->key, answer, &fill, fixture->meter);
	answer_unref(answer);
	return stored;
}

static struct answer *result(const char *text)
{
	return answer_result(slice_of(text), true, NULL);
}

static struct cache_found find_at(struct fixture *fixture, uint64_t after_us)
{
	const struct cache_directives directives = { 0 };
	return ask_cache(fixture->cache, fixture->key, &directives, stored_us + after_us, fixture->meter);
}

static enum cache_decision decision_at(struct fixture *fixture, uint64_t after_us)
{
	struct cache_found found = find_at(fixture, after_us);
	if (found.refresh)
		cache_refreshed(found.entry);
	entry_unref(found.entry);
	return found.decision;
}

static uint64_t entries(struct fixture *fixture)
{
	return cache_memory_stats(fixture->cache).entries;
}

/* --- refusals --- */

static void a_tools_refusal_is_kept_for_its_own_time_and_never_stale(void **state)
{
	struct fixture *fixture = *state;
	assert_false(store(fixture, answer_error(OUTCOME_TOOL_ERROR, "No."), 0));
	fixture->policy.negative_ttl_us = 10 * S;
	assert_true(store(fixture, answer_error(OUTCOME_TOOL_ERROR, "No."), 0));
	struct cache_found found = find_at(fixture, 10 * S - 1);
	assert_int_equal(found.decision, CACHE_DECISION_HIT);
	assert_int_equal(found.entry->answer->outcome, OUTCOME_TOOL_ERROR);
	entry_unref(found.entry);
	found = find_at(fixture, 10 * S);
	assert_int_equal(found.decision, CACHE_DECISION_MISS);
	assert_null(found.entry); /* nothing to fall back on either */
}

static void trouble_on_the_way_is_never_kept(void **state)
{
	struct fixture *fixture = *state;
	fixture->policy.negative_ttl_us = 10 * S;
	for (int outcome = 0; outcome < OUTCOME_COUNT; outcome++) {
		if (outcome == OUTCOME_OK || outcome == OUTCOME_TOOL_ERROR)
			continue;
		struct answer *answer = answer_upstream_error((enum outcome)outcome, 404, 0, SLICE("{}"), "No.");
		assert_false(cache_keeps(&fixture->policy, answer));
		assert_false(store(fixture, answer, 0));
		assert_int_equal(entries(fixture), 0);
	}
}

static void a_refusal_that_is_not_kept_leaves_the_older_result(void **state)
{
	struct fixture *fixture = *state;
	assert_true(store(fixture, result("1"), 0));
	assert_false(store(fixture, answer_error(OUTCOME_TOOL_ERROR, "No."), 0));
	assert_int_equal(decision_at(fixture, 1), CACHE_DECISION_HIT);
}

/* --- sizes --- */

static void an_answer_over_max_entry_is_not_kept_and_outdates_the_older_one(void **state)
{
	struct fixture *fixture = *state;
	fixture->policy.max_entry_bytes = 4;
	assert_true(store(fixture, result("1234"), 0));
	assert_false(store(fixture, result("12345"), 0));
	assert_int_equal(entries(fixture), 0);
	assert_int_equal(cache_memory_stats(fixture->cache).evictions[EVICT_TOO_LARGE], 1);
	assert_int_equal(cache_memory_stats(fixture->cache).evictions[EVICT_REPLACED], 1);
}

/* --- the provider's word --- */

static struct answer *limited(uint32_t seconds, bool no_stale)
{
	struct answer *answer = result("1");
	answer->reuse_said = true;
	answer->reuse_s = seconds;
	answer->reuse_no_stale = no_stale;
	return answer;
}

static void the_provider_may_shorten_but_not_lengthen(void **state)
{
	struct fixture *fixture = *state;
	fixture->policy.provider_headers = true;
	assert_true(store(fixture, limited(7, false), 0));
	assert_int_equal(decision_at(fixture, 7 * S - 1), CACHE_DECISION_HIT);
	assert_int_equal(decision_at(fixture, 7 * S), CACHE_DECISION_STALE);
	assert_true(store(fixture, limited(1000, false), 0));
	assert_int_equal(decision_at(fixture, 100 * S - 1), CACHE_DECISION_HIT);
	assert_int_equal(decision_at(fixture, 100 * S), CACHE_DECISION_STALE);
	assert_true(store(fixture, result("1"), 0)); /* says nothing */
	assert_int_equal(decision_at(fixture, 100 * S - 1), CACHE_DECISION_HIT);
}

static void the_provider_may_forbid_grace(void **state)
{
	struct fixture *fixture = *state;
	fixture->policy.provider_headers = true;
	assert_true(store(fixture, limited(UINT32_MAX, true), 0));
	assert_int_equal(decision_at(fixture, 100 * S - 1), CACHE_DECISION_HIT);
	struct cache_found found = find_at(fixture, 100 * S);
	assert_int_equal(found.decision, CACHE_DECISION_MISS);
	assert_null(found.entry);
}

static void the_provider_may_forbid_keeping_and_what_was_kept_goes(void **state)
{
	struct fixture *fixture = *state;
	fixture->policy.provider_headers = true;
	assert_true(store(fixture, result("1"), 0));
	assert_false(store(fixture, limited(0, false), 0));
	assert_int_equal(entries(fixture), 0);
}

static void unasked_the_provider_has_no_say(void **state)
{
	struct fixture *fixture = *state;
	assert_true(store(fixture, limited(0, true), 0));
	assert_int_equal(decision_at(fixture, 100 * S - 1), CACHE_DECISION_HIT);
	assert_int_equal(decision_at(fixture, 100 * S), CACHE_DECISION_STALE);
}

/* --- early --- */

/* How many of `tries` look-ups, a microsecond apart from `after_us` on, want to refresh. */
static unsigned early(struct fixture *fixture, uint64_t after_us, unsigned tries)
{
	unsigned wanted = 0;
	for (unsigned i = 0; i < tries; i++) {
		struct cache_found found = find_at(fixture, after_us + i);
		assert_int_equal(found.decision, CACHE_DECISION_HIT);
		wanted += found.refresh;
		if (found.refresh)
			cache_refreshed(found.entry);
		entry_unref(found.entry);
	}
	return wanted;
}

static void the_chance_of_an_early_refresh_is_what_the_paper_says(void **state)
{
	struct fixture *fixture = *state;
	enum { TRIES = 20000 };
	assert_true(store(fixture, result("1"), 2 * S));
	/* P(-ln u >= left / cost) is e^-(left / cost) */
	assert_in_range(early(fixture, 98 * S, TRIES), TRIES * 0.368 * 0.9, TRIES * 0.368 * 1.1);
	assert_in_range(early(fixture, 94 * S, TRIES), TRIES * 0.0498 * 0.85, TRIES * 0.0498 * 1.15);
	assert_int_equal(early(fixture, 10 * S, TRIES), 0); /* 45 costs away: e^-45 */
}

static void an_early_refresh_is_one_callers(void **state)
{
	struct fixture *fixture = *state;
	unsigned wanted = 0;
	assert_true(store(fixture, result("1"), 10 * S));
	for (uint64_t i = 0; i < 1000; i++) {
		struct cache_found found = find_at(fixture, 99 * S + i);
		wanted += found.refresh;
		entry_unref(found.entry);
	}
	assert_int_equal(wanted, 1);
}

static void without_a_known_cost_nothing_is_early(void **state)
{
	struct fixture *fixture = *state;
	assert_true(store(fixture, result("1"), 0));
	assert_int_equal(early(fixture, 100 * S - 1000, 1000), 0);
	fixture->policy.negative_ttl_us = 100 * S;
	assert_true(store(fixture, answer_error(OUTCOME_TOOL_ERROR, "No."), 10 * S));
	assert_int_equal(early(fixture, 100 * S - 1000, 1000), 0); /* a refusal just ends */
}

static void who_wants_no_fetch_starts_none_early(void **state)
{
	struct fixture *fixture = *state;
	const struct cache_directives directives = { .only_if_cached = true };
	assert_true(store(fixture, result("1"), 20 * S));
	for (uint64_t i = 0; i < 1000; i++) {
		struct cache_found found = ask_cache(fixture->cache, fixture->key, &directives,
						     stored_us + 100 * S - 1000 + i, fixture->meter);
		assert_int_equal(found.decision, CACHE_DECISION_HIT);
		assert_false(found.refresh);
		entry_unref(found.entry);
	}
}

static void what_is_slower_to_fetch_than_it_lives_is_not_fetched_all_the_time(void **state)
{
	struct fixture *fixture = *state;
	assert_true(store(fixture, result("1"), 1000 * S)); /* counts as 25 s */
	assert_in_range(early(fixture, 0, 10000), 10000 * 0.0183 * 0.8, 10000 * 0.0183 * 1.2);
}

/* --- tags --- */

static void equal_answers_have_equal_tags_and_others_have_not(void **state)
{
	(void)state;
	struct answer *answers[] = { result("1"), result("1"), result("2"),
				     answer_result(SLICE("1"), false, "text/plain"), result("") };
	for (size_t i = 0; i < countof(answers); i++)
		for (size_t j = 0; j < countof(answers); j++)
			assert_int_equal(answer_tag(answers[i]) == answer_tag(answers[j]), i == j || i + j == 1);
	assert_int_equal(answer_tag(answers[0]), answer_tag(answers[0]));
	for (size_t i = 0; i < countof(answers); i++)
		answer_unref(answers[i]);
}

static void a_stored_answer_has_its_tag_already(void **state)
{
	struct fixture *fixture = *state;
	struct answer *answer = answer_ref(result("1"));
	assert_int_equal(atomic_load(&answer->tag), 0);
	assert_true(store(fixture, answer, 0));
	assert_int_not_equal(atomic_load(&answer->tag), 0);
	answer_unref(answer);
}

#define WITH_CACHE(test) cmocka_unit_test_setup_teardown(test, setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_CACHE(a_tools_refusal_is_kept_for_its_own_time_and_never_stale),
		WITH_CACHE(trouble_on_the_way_is_never_kept),
		WITH_CACHE(a_refusal_that_is_not_kept_leaves_the_older_result),
		WITH_CACHE(an_answer_over_max_entry_is_not_kept_and_outdates_the_older_one),
		WITH_CACHE(the_provider_may_shorten_but_not_lengthen),
		WITH_CACHE(the_provider_may_forbid_grace),
		WITH_CACHE(the_provider_may_forbid_keeping_and_what_was_kept_goes),
		WITH_CACHE(unasked_the_provider_has_no_say),
		WITH_CACHE(the_chance_of_an_early_refresh_is_what_the_paper_says),
		WITH_CACHE(an_early_refresh_is_one_callers),
		WITH_CACHE(without_a_known_cost_nothing_is_early),
		WITH_CACHE(who_wants_no_fetch_starts_none_early),
		WITH_CACHE(what_is_slower_to_fetch_than_it_lives_is_not_fetched_all_the_time),
		cmocka_unit_test(equal_answers_have_equal_tags_and_others_have_not),
		WITH_CACHE(a_stored_answer_has_its_tag_already),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
