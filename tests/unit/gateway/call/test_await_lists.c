/* SPDX-License-Identifier: Apache-2.0 */
/* Many requests that wait for the same list, or until the same moment: a turn serves few of them, in their order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "gateway/call/await_lists.h"
#include "tests/support/gateway_world.h"

enum { COUNT = 100, FEW = 16 };

static const char yaml[] = "listen: 127.0.0.1:0\n"
			   "workers: 1\n"
			   "upstreams:\n"
			   "  server: { dialect: mcp, endpoints: [ { url: \"http://h/mcp\" } ], timeout: 5s }\n";

static struct request requests[COUNT];
static size_t served, in_order;

static void serve(struct worker *worker, struct request *request, struct slice rest)
{
	(void)worker;
	assert_true(request->received_us); /* not served before */
	request->received_us = 0;
	in_order += request == &requests[served];
	assert_true(slice_equal(rest, SLICE("rest")));
	assert_null(request->gone);
	served++;
}

static void await_all(struct gateway_world *world, uint64_t timeout_us)
{
	const struct lists_awaited awaited = { SLICE("server__tool"), timeout_us };
	served = in_order = 0;
	for (size_t i = 0; i < COUNT; i++) {
		requests[i] = (struct request){ .received_us = world->now_us };
		assert_true(lists_await(world->gateway.workers[0], &requests[i], &awaited, serve, SLICE("rest")));
		assert_non_null(requests[i].gone);
	}
	gateway_turn(world, 0);
	assert_int_equal(served, 0);
}

static void expect_few_a_turn(struct gateway_world *world)
{
	while (served < COUNT) {
		size_t before = served;
		gateway_turn(world, 0);
		assert_true(served > before && served <= before + FEW);
	}
	gateway_turn(world, 0);
	assert_int_equal(served, COUNT);
}

static void after_change(void **state)
{
	struct gateway_world world;
	(void)state;
	gateway_start(&world, yaml);
	await_all(&world, CLOCK_NEVER);
	lists_changed(world.gateway.workers[0]);
	expect_few_a_turn(&world);
	assert_int_equal(in_order, COUNT);
	gateway_stop(&world);
}

static void at_the_same_moment(void **state)
{
	struct gateway_world world;
	(void)state;
	gateway_start(&world, yaml);
	await_all(&world, CLOCK_US_PER_S);
	gateway_pass(&world, CLOCK_US_PER_S);
	expect_few_a_turn(&world);
	gateway_stop(&world);
}

static void who_leaves_is_not_served(void **state)
{
	struct gateway_world world;
	(void)state;
	gateway_start(&world, yaml);
	await_all(&world, CLOCK_NEVER);
	for (size_t i = COUNT / 2; i < COUNT; i++) {
		if (i == COUNT * 3 / 4)
			lists_changed(world.gateway.workers[0]);
		requests[i].gone(&requests[i]);
	}
	while (served < COUNT / 2)
		gateway_turn(&world, 0);
	gateway_turn(&world, 0);
	assert_int_equal(served, COUNT / 2);
	gateway_stop(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(after_change),
		cmocka_unit_test(at_the_same_moment),
		cmocka_unit_test(who_leaves_is_not_served),
	};
	return cmocka_run_group_tests_name("await lists", tests, NULL, NULL);
}
