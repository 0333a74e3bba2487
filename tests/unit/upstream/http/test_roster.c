/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other endpoints for a provider that runs: what is under way at one that goes, what is known of one that stays, and memory
 * that is out over it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/support/alloc_fail.h"
#include "tests/support/upstream_world.h"
#include "upstream/endpoint_settings.h"

static const struct endpoint_policy in_turn = { .balance = BALANCE_ROUND_ROBIN,
						.failures = 2,
						.base_us = 60 * CLOCK_US_PER_S,
						.max_us = 60 * CLOCK_US_PER_S,
						.share = 50 };

static void open_at(struct world *world, struct provider *const *providers, size_t count)
{
	world_init(world, &dialect_jsonrpc);
	world->settings.balancing = &in_turn;
	for (size_t i = 0; i < count; i++)
		add_endpoint(world, provider_port(providers[i]));
	world_open(world);
}

/* The settings name these from now on. */
static void name_others(struct world *world, struct provider *const *providers, size_t count)
{
	world->settings.endpoint_count = 0;
	for (size_t i = 0; i < count; i++)
		add_endpoint(world, provider_port(providers[i]));
	upstream_adjust(world->upstream);
}

static void call_times(struct world *world, size_t count)
{
	for (size_t i = 0; i < count; i++)
		assert_int_equal(outcome_of(world, false), OUTCOME_OK);
}

static enum provider_then hang_up(struct provider_request *request)
{
	(void)request;
	return PROVIDER_CLOSE;
}

static void what_is_under_way_at_one_that_goes_is_finished(void **state)
{
	(void)state;
	struct world world;
	struct provider *going = provider_start(hold_then_answer, NULL), *coming = provider_start(answer_well, NULL);
	struct completion held = { 0 };
	open_at(&world, &going, 1);
	send_many(&world, &held, 3, false, 20 * CLOCK_US_PER_S);
	uint64_t latest = clock_now_us() + PATIENCE_US;
	while (provider_requests(going) == 0 && clock_now_us() < latest)
		turn(&world);
	name_others(&world, &coming, 1);
	call_times(&world, 4);
	name_others(&world, (struct provider *[]){ coming, going }, 2);
	name_others(&world, &coming, 1);
	assert_int_equal(provider_requests(coming), 4);
	provider_release(going, 1);
	wait_completed(&held);
	assert_int_equal(held.answered, 3);
	assert_int_equal(held.answers[0]->outcome, OUTCOME_OK);
	completion_fini(&held);
	provider_stop(going);
	end(&world, coming);
}

static void one_that_stays_is_known_as_before(void **state)
{
	(void)state;
	struct world world;
	struct provider *well = provider_start(answer_well, NULL), *ill = provider_start(hang_up, NULL),
			*third = provider_start(answer_well, NULL);
	open_at(&world, (struct provider *[]){ well, ill }, 2);
	for (size_t i = 0; i < 8; i++)
		outcome_of(&world, false);
	assert_int_equal(read_metric(&world, METRIC_ID_ENDPOINT_STATE, 1, ENDPOINT_STATE_EJECTED), 1);
	size_t tried = provider_requests(ill);
	name_others(&world, (struct provider *[]){ ill, third, well }, 3);
	assert_int_equal(read_metric(&world, METRIC_ID_ENDPOINT_STATE, 0, ENDPOINT_STATE_EJECTED), 1);
	call_times(&world, 12);
	assert_int_equal(provider_requests(ill), tried);
	assert_true(provider_requests(third) > 0);
	assert_int_equal(provider_connections(well), 1);
	name_others(&world, (struct provider *[]){ third, well }, 2); /* it is gone, and so is what is said of it */
	for (size_t label = 0; label < 3; label++)
		assert_int_equal(read_metric(&world, METRIC_ID_ENDPOINT_STATE, label, ENDPOINT_STATE_EJECTED), 0);
	call_times(&world, 4);
	provider_stop(ill);
	provider_stop(third);
	end(&world, well);
}

/* Whichever allocation fails: all goes on at those of before, and the next call, or the next settings, find it mended. */
static void memory_that_is_out_changes_nothing(void **state)
{
	(void)state;
	struct world world;
	struct provider *first = provider_start(answer_well, NULL), *second = provider_start(answer_well, NULL);
	open_at(&world, &first, 1);
	call_times(&world, 2);
	size_t before = provider_requests(first), failed = 0;
	for (size_t n = 1;; n++) {
		alloc_reset();
		alloc_fail_at(n);
		name_others(&world, &second, 1);
		bool all = alloc_count() < n;
		alloc_reset();
		if (all)
			break;
		failed++;
		call_times(&world, 2);
		name_others(&world, &first, 1);
		call_times(&world, 1);
		before = provider_requests(first);
	}
	assert_true(failed > 5);
	size_t there = provider_requests(second);
	call_times(&world, 3);
	assert_int_equal(provider_requests(second), there + 3);
	assert_int_equal(provider_requests(first), before);
	provider_stop(second);
	end(&world, first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_under_way_at_one_that_goes_is_finished),
		cmocka_unit_test(one_that_stays_is_known_as_before),
		cmocka_unit_test(memory_that_is_out_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
