/* SPDX-License-Identifier: Apache-2.0 */
/* Calls over a tier behind memory that answers when the test says so: what waits, joins, leaves and ends meanwhile. */
#include "tests/support/fake_tier.h"

#include "tests/support/alloc_fail.h"

static void a_hit_is_served_and_kept_in_memory(void **state)
{
	(void)state;
	struct ask ask;
	for (unsigned home = 0; home < WORKERS; home++) {
		start_asked(&ask, home);
		assert_int_equal(ask.ended, 0);
		hit(&tiers[0], &ask, 10 * S, 60 * S);
		assert_got(&ask, SOURCE_HIT);
		assert_true(ask.has_entry);
		ask_settled(&ask, home, "cached", 1);
		assert_got(&ask, SOURCE_HIT);
		assert_int_equal(tiers[0].asked, 1);
		assert_int_equal(fake_sent(), 0);
		stop();
	}
}

static void a_miss_is_fetched_and_stored_in_both(void **state)
{
	(void)state;
	struct ask ask;
	start_asked(&ask, 1);
	assert_int_equal(fake_sent(), 0); /* not before the look-up has ended */
	miss(&tiers[0]);
	assert_int_equal(fake_sent(), 1);
	finish_all();
	assert_got(&ask, SOURCE_MISS);
	assert_true(ask.stored);
	assert_int_equal(tiers[0].stored, 1);
	stop();
}

static void a_tier_that_is_away_costs_nothing(void **state)
{
	(void)state;
	struct ask ask;
	start_with(gateway_yaml);
	tiers[0].away = true;
	ask_settled(&ask, 0, "cached", 1);
	assert_int_equal(fake_sent(), 1);
	finish_all();
	assert_got(&ask, SOURCE_MISS);
	stop();
}

static void who_asks_meanwhile_shares_the_look_up(void **state)
{
	(void)state;
	struct ask asks[6];
	for (int found = 0; found < 2; found++) {
		start_with(gateway_yaml);
		for (unsigned i = 0; i < countof(asks); i++)
			ask_settled(&asks[i], i % 2, "cached", 1);
		assert_int_equal(tiers[0].asked, 1);
		if (found)
			hit(&tiers[0], &asks[0], 0, 60 * S);
		else
			miss(&tiers[0]);
		finish_all();
		assert_int_equal(fake_sent(), found ? 0 : 1);
		for (unsigned i = 0; i < countof(asks); i++)
			assert_got(&asks[i], found ? SOURCE_HIT : i ? SOURCE_COLLAPSED : SOURCE_MISS);
		stop();
	}
}

static void each_caller_is_served_as_it_wishes(void **state)
{
	(void)state;
	struct ask any, fresh, only, anew;
	start_asked(&any, 0);
	ask_init(&fresh, 1, "cached", 1);
	fresh.caller.directives.has_max_age = true;
	fresh.caller.directives.max_age_us = 5 * S;
	ask_send(&world, &fresh);
	ask_init(&only, 0, "cached", 1);
	only.caller.directives.only_if_cached = true;
	ask_send(&world, &only);
	ask_init(&anew, 1, "cached", 1);
	anew.caller.directives.no_cache = true;
	ask_send(&world, &anew);
	gateway_settle(&world);
	hit(&tiers[0], &any, 10 * S, 60 * S);
	assert_got(&any, SOURCE_HIT);
	assert_got(&only, SOURCE_HIT);
	assert_int_equal(fresh.ended, 0);
	finish_all();
	assert_int_equal(fake_sent(), 1);
	assert_int_equal(fresh.outcome, OUTCOME_OK);
	assert_int_equal(anew.outcome, OUTCOME_OK);
	stop();
}

static void only_if_cached_never_fetches(void **state)
{
	(void)state;
	struct ask only, other;
	start_with(gateway_yaml);
	ask_init(&only, 1, "cached", 1);
	only.caller.directives.only_if_cached = true;
	ask_send(&world, &only);
	gateway_settle(&world);
	miss(&tiers[0]);
	assert_ended(&only, OUTCOME_NOT_CACHED);
	tiers[0].away = true;
	ask_init(&only, 1, "cached", 1);
	only.caller.directives.only_if_cached = true;
	ask_send(&world, &only);
	gateway_settle(&world);
	assert_ended(&only, OUTCOME_NOT_CACHED);
	ask_settled(&other, 0, "cached", 1); /* a fetch is under way now */
	ask_init(&only, 1, "cached", 1);
	only.caller.directives.only_if_cached = true;
	ask_send(&world, &only);
	gateway_settle(&world);
	assert_ended(&only, OUTCOME_NOT_CACHED);
	finish_all();
	assert_int_equal(fake_sent(), 1);
	stop();
}

static void no_cache_does_not_look(void **state)
{
	(void)state;
	struct ask ask;
	start_with(gateway_yaml);
	ask_init(&ask, 0, "cached", 1);
	ask.caller.directives.no_cache = true;
	ask_send(&world, &ask);
	finish_all();
	assert_int_equal(tiers[0].asked, 0);
	assert_int_equal(tiers[0].stored, 1);
	ask_init(&ask, 0, "cached", 2);
	ask.caller.directives.no_store = true;
	ask_send(&world, &ask);
	finish_all();
	assert_int_equal(tiers[0].asked, 0);
	assert_int_equal(tiers[0].stored, 1);
	stop();
}

static void a_stale_hit_is_served_and_refreshed_once(void **state)
{
	(void)state;
	struct ask asks[4];
	for (unsigned home = 0; home < WORKERS; home++) {
		start_with(gateway_yaml);
		for (unsigned i = 0; i < countof(asks); i++)
			ask_settled(&asks[i], home, "cached", 1);
		hit(&tiers[0], &asks[0], 70 * S, 60 * S);
		for (unsigned i = 0; i < countof(asks); i++)
			assert_got(&asks[i], SOURCE_STALE);
		assert_int_equal(fake_sent(), 1);
		finish_all();
		assert_int_equal(tiers[0].asked, 1);
		ask_settled(&asks[0], home, "cached", 1);
		assert_got(&asks[0], SOURCE_HIT);
		stop();
	}
}

static void a_stale_hit_covers_a_provider_that_fails(void **state)
{
	(void)state;
	struct ask ask;
	start_asked(&ask, 1);
	hit(&tiers[0], &ask, 200 * S, 60 * S);
	assert_int_equal(ask.ended, 0);
	fake_answer(fake_nth(0), 0,
		    answer_upstream_error(OUTCOME_UPSTREAM_UNAVAILABLE, 0, 1, (struct slice){ NULL, 0 },
					  "It is gone, for a second."));
	fake_complete(fake_nth(0), OUTCOME_OK);
	gateway_settle(&world);
	assert_got(&ask, SOURCE_STALE);
	stop();
}

/* --- one fetch for a fleet --- */

static void who_has_the_claim_fetches_and_gives_it_back(void **state)
{
	(void)state;
	struct ask ask;
	start_fleet();
	ask_settled(&ask, 1, "cached", 1);
	miss(&tiers[0]);
	assert_int_equal(tiers[0].claimed, 1);
	assert_int_equal(fake_sent(), 0);
	answer_claim(&tiers[0], CLAIM_OURS);
	assert_int_equal(fake_sent(), 1);
	assert_int_equal(tiers[0].released, 0);
	finish_all();
	assert_got(&ask, SOURCE_MISS);
	assert_int_equal(tiers[0].stored, 1);
	assert_int_equal(tiers[0].released, 1);
	stop();
}

static void a_claim_is_given_back_when_nobody_waits(void **state)
{
	(void)state;
	struct ask ask;
	start_fleet();
	ask_settled(&ask, 0, "cached", 1);
	miss(&tiers[0]);
	answer_claim(&tiers[0], CLAIM_OURS);
	ask_cancel(&ask);
	gateway_settle(&world);
	assert_int_equal(tiers[0].released, 1);
	stop();
}

/* Turn until the fetch has looked again. */
static void poll(struct fake_tier *fake)
{
	for (unsigned i = 0; i < 60 && !fake->lookup; i++) {
		gateway_pass(&world, CLOCK_US_PER_MS);
		gateway_settle(&world);
	}
}

static void another_ones_answer_is_waited_for(void **state)
{
	(void)state;
	struct ask asks[3];
	start_fleet();
	ask_settled(&asks[0], 0, "cached", 1);
	miss(&tiers[0]);
	for (unsigned i = 0; i < 5; i++) {
		answer_claim(&tiers[0], CLAIM_HELD);
		assert_int_equal(tiers[0].claimed, i + 1);
		poll(&tiers[0]);
		assert_non_null(tiers[0].lookup);
	}
	ask_settled(&asks[1], 1, "cached", 1);
	answer_claim(&tiers[0], CLAIM_HELD);
	ask_settled(&asks[2], 1, "cached", 1); /* between two looks */
	poll(&tiers[0]);
	hit(&tiers[0], &asks[0], 0, 60 * S);
	for (unsigned i = 0; i < countof(asks); i++) {
		assert_got(&asks[i], SOURCE_COLLAPSED);
		assert_true(asks[i].has_entry);
	}
	assert_int_equal(fake_sent(), 0);
	assert_int_equal(tiers[0].released, 0);
	stop();
}

static void it_is_waited_for_no_longer_than_a_claim_lasts(void **state)
{
	(void)state;
	struct ask ask;
	start_fleet();
	uint64_t until_us = world.now_us + S;
	ask_settled(&ask, 0, "cached", 1);
	miss(&tiers[0]);
	while (!fake_sent()) {
		assert_true(world.now_us <= until_us + 2 * CLOCK_US_PER_MS);
		if (tiers[0].lookup)
			answer_claim(&tiers[0], CLAIM_HELD);
		gateway_pass(&world, CLOCK_US_PER_MS);
		gateway_settle(&world);
	}
	finish_all();
	assert_got(&ask, SOURCE_MISS);
	assert_int_equal(tiers[0].released, 0);
	stop();
}

static void a_tier_that_goes_away_is_not_waited_for(void **state)
{
	(void)state;
	struct ask ask;
	for (unsigned when = 0; when < 3; when++) {
		start_fleet();
		ask_settled(&ask, 0, "cached", 1);
		tiers[0].away = when == 0;
		tiers[0].lookup->failed = when == 1;
		miss(&tiers[0]);
		if (when == 2)
			answer_claim(&tiers[0], CLAIM_NONE);
		assert_int_equal(fake_sent(), 1);
		assert_int_equal(tiers[0].claimed, when == 2);
		finish_all();
		assert_got(&ask, SOURCE_MISS);
		stop();
	}
}

static void who_waits_may_leave_and_the_end_ends_it(void **state)
{
	(void)state;
	struct ask ask;
	for (unsigned end = 0; end < 2; end++) {
		start_fleet();
		ask_settled(&ask, 0, "cached", 1);
		miss(&tiers[0]);
		answer_claim(&tiers[0], CLAIM_HELD);
		if (end) {
			struct answer *answer = answer_error(OUTCOME_SHUTTING_DOWN, "The end.");
			dispatch_abort_all(world.gateway.workers[0]->dispatch, answer, world.now_us);
			answer_unref(answer);
			gateway_settle(&world);
			assert_ended(&ask, OUTCOME_SHUTTING_DOWN);
		} else {
			ask_cancel(&ask);
			gateway_settle(&world);
		}
		poll(&tiers[0]);
		assert_null(tiers[0].lookup);
		assert_int_equal(fake_sent(), 0);
		stop();
	}
}

static void callers_leave_and_the_last_one_ends_the_look_up(void **state)
{
	(void)state;
	struct ask first, second;
	start_asked(&first, 0);
	ask_settled(&second, 1, "cached", 1);
	ask_cancel(&first);
	gateway_settle(&world);
	assert_int_equal(tiers[0].cancelled, 0);
	ask_cancel(&second);
	gateway_settle(&world);
	assert_int_equal(tiers[0].cancelled, 1);
	assert_int_equal(fake_sent(), 0);
	ask_settled(&first, 0, "cached", 1); /* and it begins anew */
	ask_settled(&second, 1, "cached", 1);
	ask_cancel(&first);
	hit(&tiers[0], &second, 0, 60 * S);
	assert_got(&second, SOURCE_HIT);
	stop();
}

static void a_deadline_passes_while_looking(void **state)
{
	(void)state;
	struct ask hurried, patient;
	start_asked(&patient, 0);
	ask_init(&hurried, 1, "cached", 1);
	hurried.caller.timeout_us = S;
	ask_send(&world, &hurried);
	gateway_settle(&world);
	gateway_pass(&world, 2 * S);
	gateway_settle(&world);
	assert_ended(&hurried, OUTCOME_DEADLINE_EXCEEDED);
	assert_int_equal(patient.ended, 0);
	gateway_pass(&world, 4 * S); /* the tool's own 5 s */
	gateway_settle(&world);
	assert_ended(&patient, OUTCOME_DEADLINE_EXCEEDED);
	assert_int_equal(tiers[0].cancelled, 1);
	assert_int_equal(fake_sent(), 0);
	stop();
}

static void the_end_ends_look_ups(void **state)
{
	(void)state;
	struct ask ask;
	start_asked(&ask, 1);
	struct answer *answer = answer_error(OUTCOME_SHUTTING_DOWN, "The end.");
	dispatch_abort_all(world.gateway.workers[0]->dispatch, answer, world.now_us);
	answer_unref(answer);
	gateway_settle(&world);
	assert_ended(&ask, OUTCOME_SHUTTING_DOWN);
	assert_int_equal(tiers[0].cancelled, 1);
	stop();
}

static void what_must_not_be_kept_goes_from_the_tier_too(void **state)
{
	(void)state;
	static const char yaml[] = "workers: 1\n"
				   "upstreams: { s: { dialect: jsonrpc, endpoints: [ { url: \"http://h/\" } ] } }\n"
				   "tools: { t: { upstream: s, annotations: { read_only: true },\n"
				   "  cache: { ttl: 1m, scope: shared, max_entry: 1B } } }\n";
	struct ask ask;
	start_with(yaml);
	tiers[0].away = true;
	ask_once(&world, &ask, 0, "t", 1);
	finish_all();
	assert_ended(&ask, OUTCOME_OK);
	assert_false(ask.stored);
	assert_int_equal(tiers[0].removed, 1);
	assert_int_equal(tiers[0].stored, 0);
	stop();
}

static void without_memory_calls_are_shed_and_nothing_else(void **state)
{
	(void)state;
	bool done = false;
	for (size_t n = 1; !done; n++) {
		struct ask ask;
		start_with(gateway_yaml);
		alloc_fail_at(n);
		ask_init(&ask, 1, "cached", 1);
		bool sent = ask_send(&world, &ask);
		gateway_settle(&world);
		if (tiers[0].lookup)
			miss(&tiers[0]);
		done = alloc_count() < n; /* the fake provider's own allocations are not meant */
		alloc_reset();
		finish_all();
		if (sent && ask.outcome != OUTCOME_OK)
			assert_ended(&ask, OUTCOME_OVERLOADED);
		stop();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hit_is_served_and_kept_in_memory),
		cmocka_unit_test(a_miss_is_fetched_and_stored_in_both),
		cmocka_unit_test(a_tier_that_is_away_costs_nothing),
		cmocka_unit_test(who_asks_meanwhile_shares_the_look_up),
		cmocka_unit_test(each_caller_is_served_as_it_wishes),
		cmocka_unit_test(only_if_cached_never_fetches),
		cmocka_unit_test(no_cache_does_not_look),
		cmocka_unit_test(a_stale_hit_is_served_and_refreshed_once),
		cmocka_unit_test(a_stale_hit_covers_a_provider_that_fails),
		cmocka_unit_test(who_has_the_claim_fetches_and_gives_it_back),
		cmocka_unit_test(a_claim_is_given_back_when_nobody_waits),
		cmocka_unit_test(another_ones_answer_is_waited_for),
		cmocka_unit_test(it_is_waited_for_no_longer_than_a_claim_lasts),
		cmocka_unit_test(a_tier_that_goes_away_is_not_waited_for),
		cmocka_unit_test(who_waits_may_leave_and_the_end_ends_it),
		cmocka_unit_test(callers_leave_and_the_last_one_ends_the_look_up),
		cmocka_unit_test(a_deadline_passes_while_looking),
		cmocka_unit_test(the_end_ends_look_ups),
		cmocka_unit_test(what_must_not_be_kept_goes_from_the_tier_too),
		cmocka_unit_test(without_memory_calls_are_shed_and_nothing_else),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
