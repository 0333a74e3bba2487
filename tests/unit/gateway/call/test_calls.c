/* SPDX-License-Identifier: Apache-2.0 */
/* A call's life over whole workers in one thread: look-up, flight, deadlines, grace, limits, and the post between. */
#include <stdio.h>

#include "tests/support/alloc_fail.h"
#include "tests/support/cache_ask.h"
#include "tests/support/config_tools.h"
#include "tests/support/gateway_test.h"

#define MS CLOCK_US_PER_MS
#define S CLOCK_US_PER_S

/* In the cache from now on. */
static void fetch(const char *tool, unsigned tag)
{
	struct ask ask;
	ask_once(&world, &ask, 0, tool, tag);
	finish_all();
	assert_got(&ask, SOURCE_MISS);
	assert_true(ask.stored);
}

/* --- memory --- */

static void a_miss_is_fetched_and_a_second_call_hits(void **state)
{
	(void)state;
	struct ask first, second;
	gateway_start(&world, gateway_yaml);
	ask_once(&world, &first, 0, "cached", 1);
	assert_int_equal(first.ended, 0);
	assert_int_equal(gateway_metric(&world, METRIC_ID_IN_FLIGHT, 0, 0), 1);
	gateway_turn(&world, 0);
	assert_int_equal(fake_under_way(), 1);
	finish_all();
	assert_got(&first, SOURCE_MISS);
	assert_true(first.stored);
	assert_int_equal(first.facts.items, 1);
	ask_once(&world, &second, 1, "cached", 1); /* at another worker */
	assert_got(&second, SOURCE_HIT);
	assert_true(second.has_entry);
	assert_int_equal(second.facts.id, 0);
	assert_int_equal(fake_sent(), 1);
	stop();
}

static void a_hit_allocates_nothing(void **state)
{
	(void)state;
	struct ask ask;
	gateway_start(&world, gateway_yaml);
	fetch("cached", 1);
	ask_once(&world, &ask, 0, "cached", 1); /* the call and the parsed key are kept from here on */
	alloc_reset();
	for (int i = 0; i < 10000; i++) {
		ask_once(&world, &ask, 0, "cached", 1);
		assert_int_equal(ask.source, SOURCE_HIT);
	}
	assert_int_equal(alloc_count(), 0);
	stop();
}

static void tenants_do_not_see_each_others_answers(void **state)
{
	(void)state;
	struct ask mine, yours, mine_again;
	gateway_start(&world, gateway_yaml);
	ask_init(&mine, 0, "tenants", 1);
	memcpy(mine.caller.tenant, "tmine", mine.caller.tenant_len = 5);
	yours = mine_again = mine;
	memcpy(yours.caller.tenant, "tyour", 5);
	assert_true(ask_send(&world, &mine));
	assert_true(ask_send(&world, &yours)); /* nor share they a flight */
	finish_all();
	assert_got(&mine, SOURCE_MISS);
	assert_got(&yours, SOURCE_MISS);
	assert_true(ask_send(&world, &mine_again));
	assert_got(&mine_again, SOURCE_HIT);
	stop();
}

static void what_the_caller_wishes_is_done(void **state)
{
	(void)state;
	struct ask only, no_cache, no_store, merged;
	gateway_start(&world, gateway_yaml);
	ask_init(&only, 0, "cached", 1);
	only.caller.directives.only_if_cached = true;
	assert_true(ask_send(&world, &only));
	assert_ended(&only, OUTCOME_NOT_CACHED);
	ask_init(&no_store, 0, "cached", 1);
	no_store.caller.directives.no_store = true;
	assert_true(ask_send(&world, &no_store));
	ask_once(&world, &merged, 0, "cached", 1); /* does not ride with one that must not be stored */
	finish_all();
	assert_got(&no_store, SOURCE_REQUEST);
	assert_false(no_store.stored);
	assert_got(&merged, SOURCE_MISS);
	assert_true(merged.stored);
	ask_init(&no_cache, 0, "cached", 1);
	no_cache.caller.directives.no_cache = true;
	assert_true(ask_send(&world, &no_cache));
	finish_all();
	assert_got(&no_cache, SOURCE_REQUEST);
	assert_true(no_cache.stored);
	stop();
}

static void arguments_that_are_no_object_are_refused_at_home(void **state)
{
	(void)state;
	static const struct {
		const char *arguments;
		enum outcome outcome;
	} table[] = {
		{ "{\"a\":1,}", OUTCOME_INVALID_JSON },
		{ "[1]", OUTCOME_INVALID_REQUEST },
		{ "7", OUTCOME_INVALID_REQUEST },
		{ "{} {}", OUTCOME_INVALID_JSON },
	};
	gateway_start(&world, gateway_yaml);
	for (size_t i = 0; i < countof(table); i++)
		for (int repeatable = 0; repeatable < 2; repeatable++) {
			struct ask ask;
			ask_init(&ask, 0, repeatable ? "cached" : "write", 0);
			snprintf(ask.arguments, sizeof ask.arguments, "%s", table[i].arguments);
			assert_true(ask_send(&world, &ask));
			assert_ended(&ask, table[i].outcome);
			assert_int_equal(ask.source, SOURCE_NONE);
		}
	assert_int_equal(fake_sent(), 0);
	stop();
}

/* --- flights --- */

static void identical_calls_share_one_fetch(void **state)
{
	(void)state;
	struct ask calls[6];
	gateway_start(&world, gateway_yaml);
	for (unsigned i = 0; i < countof(calls); i++) {
		ask_once(&world, &calls[i], i % 2, "cached", 1);
		gateway_settle(&world); /* the later ones join while it travels */
	}
	assert_int_equal(fake_sent(), 1);
	finish_all();
	assert_int_equal(fake_sent(), 1);
	assert_got(&calls[0], SOURCE_MISS);
	for (unsigned i = 1; i < countof(calls); i++)
		assert_got(&calls[i], SOURCE_COLLAPSED);
	unsigned label = config_tool(world.config, "cached")->index;
	assert_int_equal(gateway_metric(&world, METRIC_ID_COALESCED, label, 0), countof(calls) - 1);
	stop();
}

static void calls_that_are_not_cached_are_merged_if_repeatable(void **state)
{
	(void)state;
	struct ask calls[3];
	gateway_start(&world, gateway_yaml);
	for (unsigned i = 0; i < countof(calls); i++)
		ask_once(&world, &calls[i], 0, "merged", 1);
	gateway_turn(&world, 0);
	assert_int_equal(fake_nth(0)->count, 1);
	finish_all();
	for (unsigned i = 0; i < countof(calls); i++)
		assert_got(&calls[i], SOURCE_BYPASS);
	ask_once(&world, &calls[0], 0, "merged", 1);
	assert_int_equal(calls[0].ended, 0); /* nothing was kept */
	stop();
	assert_int_equal(fake_sent(), 2);
}

/* Kept or not: its provider was asked before. */
static void who_asks_after_a_purge_joins_no_fetch_from_before(void **state)
{
	static const char *const tools[] = { "cached", "merged" };
	struct ask before, after, joined;
	(void)state;
	for (size_t i = 0; i < countof(tools); i++) {
		gateway_start(&world, gateway_yaml);
		ask_once(&world, &before, 0, tools[i], 1);
		gateway_settle(&world);
		ask_purge_all(world.gateway.cache);
		ask_once(&world, &after, 0, tools[i], 1);
		ask_once(&world, &joined, 1, tools[i], 1);
		finish_all();
		assert_int_equal(fake_sent(), 2);
		assert_true(before.own && after.own && joined.own);
		stop();
	}
}

/* He may have written something just before: what was asked for earlier does not know of it. */
static void who_wants_a_new_answer_joins_no_fetch_that_was_sent(void **state)
{
	static const char *const tools[] = { "cached", "merged" };
	struct ask before, anew, joined;
	(void)state;
	for (size_t i = 0; i < countof(tools); i++) {
		gateway_start(&world, gateway_yaml);
		ask_once(&world, &before, 0, tools[i], 1);
		gateway_settle(&world);
		ask_init(&anew, 0, tools[i], 1);
		anew.caller.directives.no_cache = true;
		assert_true(ask_send(&world, &anew));
		ask_once(&world, &joined, 1, tools[i], 1); /* what was asked for later is good enough for him */
		finish_all();
		assert_int_equal(fake_sent(), 2);
		assert_true(before.own && anew.own && joined.own);
		assert_false(before.stored); /* it would take the place of the newer one, if it landed later */
		stop();
	}
}

/* What was sent longer ago than he says is too old for him, though it has not come yet; what he will wait for longer is
 * not. */
static void a_max_age_counts_from_when_the_provider_was_asked(void **state)
{
	static const char *const tools[] = { "cached", "merged" };
	static const struct {
		unsigned max_age_s, after_s;
		size_t sent;
	} cases[] = { { 0, 0, 2 }, { 0, 1, 2 }, { 2, 1, 1 }, { 2, 2, 2 } };
	struct ask before, anew;
	(void)state;
	for (size_t i = 0; i < countof(tools) * countof(cases); i++) {
		const char *tool = tools[i / countof(cases)];
		gateway_start(&world, gateway_yaml);
		ask_once(&world, &before, 0, tool, 1);
		gateway_settle(&world);
		gateway_pass(&world, cases[i % countof(cases)].after_s * S);
		ask_init(&anew, 0, tool, 1);
		anew.caller.directives.has_max_age = true;
		anew.caller.directives.max_age_us = cases[i % countof(cases)].max_age_s * S;
		assert_true(ask_send(&world, &anew));
		finish_all();
		assert_int_equal(fake_sent(), cases[i % countof(cases)].sent);
		assert_true(before.own && anew.own);
		stop();
	}
}

static void calls_that_are_not_repeatable_are_never_merged(void **state)
{
	(void)state;
	struct ask calls[5];
	gateway_start(&world, gateway_yaml);
	for (unsigned i = 0; i < countof(calls); i++)
		ask_once(&world, &calls[i], i % 2, "write", 1);
	gateway_settle(&world);
	size_t fetched = 0;
	while (fake_nth(0)) {
		for (size_t i = 0; i < fake_nth(0)->count; i++)
			assert_false(fake_nth(0)->calls[i].repeatable);
		fetched += fake_nth(0)->count;
		fake_finish(fake_nth(0));
		gateway_settle(&world);
	}
	assert_int_equal(fetched, countof(calls));
	for (unsigned i = 0; i < countof(calls); i++)
		assert_got(&calls[i], SOURCE_BYPASS);
	stop();
}

static void the_leader_leaves_and_the_joiner_gets_its_answer(void **state)
{
	(void)state;
	for (int travelling = 0; travelling < 2; travelling++) {
		struct ask leader, joiner;
		gateway_start(&world, gateway_yaml);
		ask_once(&world, &leader, 0, "cached", 1);
		if (travelling)
			gateway_turn(&world, 0);
		ask_once(&world, &joiner, 0, "cached", 1);
		ask_cancel(&leader);
		finish_all();
		assert_int_equal(leader.ended, 0);
		assert_got(&joiner, SOURCE_COLLAPSED);
		assert_int_equal(fake_sent(), 1);
		assert_int_equal(fake_aborted(), 0);
		stop();
	}
}

static void when_all_have_left_the_fetch_is_ended(void **state)
{
	(void)state;
	struct ask leader, joiner, later;
	gateway_start(&world, gateway_yaml);
	ask_once(&world, &leader, 0, "cached", 1);
	gateway_turn(&world, 0);
	ask_once(&world, &joiner, 1, "cached", 1);
	gateway_settle(&world);
	ask_cancel(&leader);
	ask_cancel(&joiner);
	gateway_settle(&world);
	assert_int_equal(fake_aborted(), 1);
	assert_int_equal(fake_under_way(), 0);
	ask_once(&world, &later, 0, "cached", 1); /* anew */
	finish_all();
	assert_got(&later, SOURCE_MISS);
	assert_int_equal(fake_sent(), 2);
	stop();
	assert_int_equal(leader.ended + joiner.ended, 0);
}

static void an_error_goes_to_all_who_wait_and_is_not_stored(void **state)
{
	(void)state;
	struct ask calls[3];
	gateway_start(&world, gateway_yaml);
	for (unsigned i = 0; i < countof(calls); i++)
		ask_once(&world, &calls[i], i % 2, "cached", 1);
	gateway_settle(&world);
	fake_answer(fake_nth(0), 0, answer_error(OUTCOME_TOOL_ERROR, "No such city."));
	fake_complete(fake_nth(0), OUTCOME_OK);
	gateway_settle(&world);
	for (unsigned i = 0; i < countof(calls); i++) {
		assert_ended(&calls[i], OUTCOME_TOOL_ERROR);
		assert_false(calls[i].stored);
	}
	ask_once(&world, &calls[0], 0, "cached", 1);
	assert_int_equal(calls[0].ended, 0);
	stop();
}

static void a_flight_that_completed_on_the_way_is_a_hit(void **state)
{
	(void)state;
	struct ask first, crossing;
	gateway_start(&world, gateway_yaml);
	ask_once(&world, &first, 1, "far_cached", 1);
	gateway_turn(&world, 1);
	ask_once(&world, &crossing, 0, "far_cached", 1);
	gateway_turn(&world, 0); /* posted */
	fake_finish(fake_nth(0));
	gateway_settle(&world);
	assert_got(&first, SOURCE_MISS);
	assert_got(&crossing, SOURCE_COLLAPSED);
	assert_int_equal(fake_sent(), 1);
	stop();
}

/* Its provider was asked before this caller asked, who wants nothing as old as that. */
static void what_completed_on_the_way_may_be_too_old(void **state)
{
	(void)state;
	struct ask first, crossing;
	gateway_start(&world, gateway_yaml);
	ask_once(&world, &first, 1, "far_cached", 1);
	gateway_turn(&world, 1);
	gateway_pass(&world, S);
	ask_init(&crossing, 0, "far_cached", 1);
	crossing.caller.directives.has_max_age = true;
	assert_true(ask_send(&world, &crossing));
	gateway_turn(&world, 0); /* posted */
	fake_finish(fake_nth(0));
	finish_all();
	assert_got(&first, SOURCE_MISS);
	assert_true(crossing.own);
	assert_int_equal(fake_sent(), 2);
	stop();
}

/* --- deadlines --- */

static void a_hurried_leader_leaves_at_its_own_deadline(void **state)
{
	(void)state;
	struct ask leader, joiner;
	gateway_start(&world, gateway_yaml);
	ask_init(&leader, 0, "cached", 1);
	leader.caller.timeout_us = 100 * MS;
	assert_true(ask_send(&world, &leader));
	gateway_turn(&world, 0);
	ask_once(&world, &joiner, 0, "cached", 1);
	gateway_pass(&world, 99 * MS);
	gateway_turn(&world, 0);
	assert_int_equal(leader.ended, 0);
	gateway_pass(&world, 1 * MS);
	gateway_turn(&world, 0);
	assert_ended(&leader, OUTCOME_DEADLINE_EXCEEDED); /* its own doing, not the provider's */
	assert_int_equal(joiner.ended, 0);
	gateway_pass(&world, 4 * S);
	finish_all();
	assert_got(&joiner, SOURCE_COLLAPSED);
	stop();
}

static void a_hurried_joiner_leaves_at_its_own_deadline(void **state)
{
	(void)state;
	struct ask leader, joiners[3];
	gateway_start(&world, gateway_yaml);
	ask_once(&world, &leader, 0, "cached", 1);
	gateway_turn(&world, 0);
	for (unsigned i = 0; i < countof(joiners); i++) {
		ask_init(&joiners[i], i % 2, "cached", 1);
		joiners[i].caller.timeout_us = (300 - 100 * i) * MS;
		assert_true(ask_send(&world, &joiners[i]));
	}
	gateway_settle(&world);
	for (unsigned i = countof(joiners); i-- > 0;) {
		assert_int_equal(joiners[i].ended, 0);
		gateway_pass(&world, 100 * MS);
		gateway_settle(&world);
		assert_ended(&joiners[i], OUTCOME_DEADLINE_EXCEEDED);
	}
	finish_all();
	assert_got(&leader, SOURCE_MISS);
	stop();
}

static void the_providers_slowness_is_a_timeout(void **state)
{
	(void)state;
	struct ask alone, leader, joiner;
	gateway_start(&world, gateway_yaml);
	ask_once(&world, &alone, 0, "write", 1);
	ask_once(&world, &leader, 0, "cached", 2);
	ask_once(&world, &joiner, 0, "cached", 2);
	gateway_turn(&world, 0);
	gateway_pass(&world, 5 * S);
	gateway_settle(&world);
	assert_ended(&alone, OUTCOME_OUTCOME_UNKNOWN); /* it was sent, and may not be sent again */
	assert_ended(&leader, OUTCOME_UPSTREAM_TIMEOUT);
	assert_ended(&joiner, OUTCOME_UPSTREAM_TIMEOUT);
	stop();
}

/* Three of them came while the first one travelled, 4 s before it gave up; the provider has lost the first request. */
static void who_joined_late_asks_anew_when_the_first_one_gives_up(void **state)
{
	(void)state;
	struct ask leader, joiners[3];
	gateway_start(&world, gateway_yaml);
	ask_once(&world, &leader, 0, "cached", 2);
	gateway_turn(&world, 0);
	gateway_pass(&world, 4 * S);
	for (unsigned i = 0; i < countof(joiners); i++)
		ask_once(&world, &joiners[i], i % 2, "cached", 2);
	gateway_settle(&world);
	assert_int_equal(fake_sent(), 1);
	gateway_pass(&world, 1 * S);
	gateway_settle(&world);
	assert_ended(&leader, OUTCOME_UPSTREAM_TIMEOUT);
	assert_int_equal(fake_sent(), 2); /* one for the three */
	for (unsigned i = 0; i < countof(joiners); i++)
		assert_int_equal(joiners[i].ended, 0);
	finish_all();
	assert_got(&joiners[0], SOURCE_MISS);
	assert_got(&joiners[1], SOURCE_COLLAPSED);
	assert_got(&joiners[2], SOURCE_COLLAPSED);
	stop();
}

static void nobody_asks_anew_twice(void **state)
{
	(void)state;
	struct ask leader, joiner, later;
	gateway_start(&world, gateway_yaml);
	ask_once(&world, &leader, 0, "cached", 2);
	gateway_turn(&world, 0);
	gateway_pass(&world, 3 * S);
	ask_once(&world, &joiner, 0, "cached", 2);
	gateway_settle(&world);
	gateway_pass(&world, 2 * S);
	gateway_settle(&world);
	assert_int_equal(fake_sent(), 2);
	ask_once(&world, &later, 0, "cached", 2);
	gateway_settle(&world);
	gateway_pass(&world, 3 * S);
	gateway_settle(&world);
	assert_ended(&joiner, OUTCOME_UPSTREAM_TIMEOUT);
	finish_all();
	assert_int_equal(later.ended, 1);
	assert_int_equal(fake_sent(), 3);
	stop();
}

/* The second one asks anew, and the third one with him; when that ends with the second one's time, the third one still has
 * some of his, and is told all the same. */
static void who_has_asked_anew_with_another_does_not_do_so_again(void **state)
{
	(void)state;
	struct ask first, second, third;
	gateway_start(&world, gateway_yaml);
	ask_once(&world, &first, 0, "cached", 2);
	gateway_settle(&world);
	gateway_pass(&world, 2 * S);
	ask_once(&world, &second, 0, "cached", 2);
	gateway_settle(&world);
	gateway_pass(&world, S);
	ask_once(&world, &third, 0, "cached", 2);
	gateway_settle(&world);
	gateway_pass(&world, 2 * S);
	gateway_settle(&world);
	assert_int_equal(fake_sent(), 2);
	assert_int_equal(second.ended + third.ended, 0);
	gateway_pass(&world, 2 * S);
	gateway_settle(&world);
	assert_ended(&second, OUTCOME_UPSTREAM_TIMEOUT);
	assert_ended(&third, OUTCOME_UPSTREAM_TIMEOUT);
	assert_int_equal(fake_sent(), 2);
	stop();
}

static void ask_as(struct ask *ask, const char *caller, const char *tool, unsigned tag)
{
	ask_init(ask, 0, tool, tag);
	strcpy(ask->caller.name + 1, caller);
	ask->caller.name_len = 1 + strlen(caller);
	assert_true(ask_send(&world, ask));
}

/* Two callers' three calls, and how many requests they become. */
static void expect_requests(const char *writes, const char *annotations, size_t wanted)
{
	char yaml[600];
	struct ask asks[3];
	snprintf(yaml, sizeof yaml,
		 "listen: 127.0.0.1:0\n"
		 "workers: 1\n"
		 "upstreams:\n"
		 "  near: { dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ]%s }\n"
		 "tools:\n"
		 "  tool: { upstream: near%s }\n",
		 writes, annotations);
	gateway_start(&world, yaml);
	ask_as(&asks[0], "a", "tool", 1);
	ask_as(&asks[1], "b", "tool", 2);
	ask_as(&asks[2], "a", "tool", 3);
	gateway_settle(&world);
	assert_int_equal(fake_sent(), wanted);
	finish_all();
	for (size_t i = 0; i < countof(asks); i++)
		assert_got(&asks[i], SOURCE_BYPASS);
	stop();
}

static void writes_share_requests_within_one_caller_unless_told_otherwise(void **state)
{
	(void)state;
	expect_requests("", "", 2);
	expect_requests(", batch: { writes: caller }", "", 2);
	expect_requests(", batch: { writes: any }", "", 1);
	expect_requests(", batch: { writes: alone }", "", 3);
	expect_requests("", ", annotations: { idempotent: true }", 1);
	expect_requests(", batch: { writes: alone }", ", annotations: { read_only: true }", 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_miss_is_fetched_and_a_second_call_hits),
		cmocka_unit_test(a_hit_allocates_nothing),
		cmocka_unit_test(writes_share_requests_within_one_caller_unless_told_otherwise),
		cmocka_unit_test(who_joined_late_asks_anew_when_the_first_one_gives_up),
		cmocka_unit_test(nobody_asks_anew_twice),
		cmocka_unit_test(who_has_asked_anew_with_another_does_not_do_so_again),
		cmocka_unit_test(tenants_do_not_see_each_others_answers),
		cmocka_unit_test(what_the_caller_wishes_is_done),
		cmocka_unit_test(arguments_that_are_no_object_are_refused_at_home),
		cmocka_unit_test(identical_calls_share_one_fetch),
		cmocka_unit_test(calls_that_are_not_cached_are_merged_if_repeatable),
		cmocka_unit_test(who_asks_after_a_purge_joins_no_fetch_from_before),
		cmocka_unit_test(who_wants_a_new_answer_joins_no_fetch_that_was_sent),
		cmocka_unit_test(a_max_age_counts_from_when_the_provider_was_asked),
		cmocka_unit_test(calls_that_are_not_repeatable_are_never_merged),
		cmocka_unit_test(the_leader_leaves_and_the_joiner_gets_its_answer),
		cmocka_unit_test(when_all_have_left_the_fetch_is_ended),
		cmocka_unit_test(an_error_goes_to_all_who_wait_and_is_not_stored),
		cmocka_unit_test(a_flight_that_completed_on_the_way_is_a_hit),
		cmocka_unit_test(what_completed_on_the_way_may_be_too_old),
		cmocka_unit_test(a_hurried_leader_leaves_at_its_own_deadline),
		cmocka_unit_test(a_hurried_joiner_leaves_at_its_own_deadline),
		cmocka_unit_test(the_providers_slowness_is_a_timeout),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
