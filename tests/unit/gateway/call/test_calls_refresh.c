/* SPDX-License-Identifier: Apache-2.0 */
/* Background refreshes: early or late, one for each answer, so many for each upstream; and what is kept of refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/support/gateway_world.h"

#define S CLOCK_US_PER_S

static const char yaml[] = "listen: 127.0.0.1:0\n"
			   "workers: 2\n"
			   "cache: { memory: { size: 16MiB } }\n"
			   "upstreams:\n"
			   "  near: { dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ], refreshes: 3 }\n"
			   "  far: { dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ], refreshes: 0 }\n"
			   "tools:\n"
			   "  cached:\n"
			   "    upstream: near\n"
			   "    annotations: { read_only: true }\n"
			   "    cache: { ttl: 60s, stale_while_revalidate: 1h, negative_ttl: 10s, scope: shared }\n"
			   "  far_cached:\n"
			   "    upstream: far\n"
			   "    annotations: { read_only: true }\n"
			   "    cache: { ttl: 60s, stale_while_revalidate: 1h, scope: shared }\n"
			   "  counted:\n"
			   "    upstream: near\n"
			   "    annotations: { read_only: true }\n"
			   "    cache: { ttl: 60s, scope: shared, key: { ignore: [ tag ] } }\n";
enum { NEAR, FAR };

static struct gateway_world world;

static int start(void **state)
{
	(void)state;
	gateway_start(&world, yaml);
	return 0;
}

static void finish_all(void)
{
	gateway_settle(&world);
	while (fake_nth(0)) {
		fake_finish(fake_nth(0));
		gateway_settle(&world);
	}
}

static int stop(void **state)
{
	(void)state;
	finish_all();
	gateway_stop(&world);
	return 0;
}

static enum call_source ask(unsigned worker, const char *tool, unsigned tag)
{
	struct ask asked;
	ask_once(&world, &asked, worker, tool, tag);
	if (!asked.ended)
		finish_all();
	assert_int_equal(asked.ended, 1);
	return asked.source;
}

static int64_t refreshes(unsigned upstream, enum refresh_result result)
{
	return gateway_metric(&world, METRIC_ID_CACHE_REFRESHES, upstream, result);
}

static void an_upstream_has_only_so_many_refreshes_at_once(void **state)
{
	(void)state;
	for (unsigned tag = 0; tag < 10; tag++)
		assert_int_equal(ask(tag % 2, "cached", tag), SOURCE_MISS);
	gateway_pass(&world, 61 * S);
	for (unsigned tag = 0; tag < 10; tag++)
		assert_int_equal(ask(tag % 2, "cached", tag), SOURCE_STALE);
	assert_int_equal(refreshes(NEAR, REFRESH_BEGUN), 3);
	assert_int_equal(refreshes(NEAR, REFRESH_SKIPPED), 7);
	assert_int_equal(atomic_load(&world.gateway.refreshes[NEAR]), 3);
	finish_all();
	assert_int_equal(atomic_load(&world.gateway.refreshes[NEAR]), 0);
	for (unsigned tag = 0; tag < 10; tag++) /* the three are fresh, three more find a place */
		assert_int_equal(ask(tag % 2, "cached", tag), tag < 3 ? SOURCE_HIT : SOURCE_STALE);
	assert_int_equal(refreshes(NEAR, REFRESH_BEGUN), 6);
}

static void where_none_is_allowed_stale_answers_are_served_as_they_are(void **state)
{
	(void)state;
	assert_int_equal(ask(0, "far_cached", 1), SOURCE_MISS);
	gateway_pass(&world, 61 * S);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(ask(i % 2, "far_cached", 1), SOURCE_STALE);
	assert_int_equal(refreshes(FAR, REFRESH_BEGUN), 0);
	assert_int_equal(refreshes(FAR, REFRESH_SKIPPED), 5);
}

static void a_slow_answer_is_fetched_anew_before_it_ends_by_one(void **state)
{
	(void)state;
	struct ask first;
	ask_once(&world, &first, 0, "cached", 1);
	gateway_settle(&world);
	gateway_pass(&world, 2 * S); /* what it costs */
	finish_all();
	assert_int_equal(first.ended, 1);
	size_t sent = fake_sent();
	for (unsigned i = 0; i < 53 && fake_sent() == sent; i++) { /* a look-up a second, until 1 s before the end */
		gateway_pass(&world, S);
		for (unsigned j = 0; j < 5; j++) {
			struct ask hit;
			ask_once(&world, &hit, j % 2, "cached", 1);
			assert_int_equal(hit.source, SOURCE_HIT);
		}
		gateway_settle(&world);
	}
	for (unsigned i = 0; i < 2000 && fake_sent() == sent; i++) {
		struct ask hit;
		gateway_pass(&world, 100);
		ask_once(&world, &hit, 0, "cached", 1);
		assert_int_equal(hit.source, SOURCE_HIT);
		gateway_settle(&world);
	}
	assert_int_equal(fake_sent(), sent + 1);
	finish_all();
	gateway_pass(&world, 20 * S);
	assert_int_equal(ask(0, "cached", 1), SOURCE_HIT); /* it began anew */
	assert_int_equal(refreshes(NEAR, REFRESH_BEGUN), 1);
}

static void a_refusal_is_kept_and_not_refreshed(void **state)
{
	(void)state;
	struct ask asked;
	ask_once(&world, &asked, 0, "cached", 1);
	gateway_settle(&world);
	fake_answer(fake_nth(0), 0, answer_error(OUTCOME_TOOL_ERROR, "No."));
	fake_complete(fake_nth(0), OUTCOME_OK);
	gateway_settle(&world);
	assert_int_equal(asked.outcome, OUTCOME_TOOL_ERROR);
	assert_true(asked.stored);
	ask_once(&world, &asked, 1, "cached", 1);
	assert_int_equal(asked.outcome, OUTCOME_TOOL_ERROR);
	assert_int_equal(asked.source, SOURCE_HIT);
	assert_true(asked.has_entry);
	gateway_pass(&world, 10 * S);
	assert_int_equal(ask(0, "cached", 1), SOURCE_MISS);
	assert_int_equal(refreshes(NEAR, REFRESH_BEGUN), 0);
}

static void calls_that_differ_in_nothing_that_counts_are_one(void **state)
{
	(void)state;
	struct ask asks[4];
	for (unsigned i = 0; i < countof(asks); i++)
		ask_once(&world, &asks[i], i % 2, "counted", i);
	finish_all();
	assert_int_equal(fake_sent(), 1);
	for (unsigned i = 0; i < countof(asks); i++)
		assert_int_equal(asks[i].source, i ? SOURCE_COLLAPSED : SOURCE_MISS);
	assert_int_equal(ask(0, "counted", 99), SOURCE_HIT);
}

/* An answer may be about to be stale as it comes (by dice: of so many some are). Whoever finds it on his way begins no
 * refresh; somebody must be able to later. */
static void a_refresh_that_was_not_begun_on_the_way_can_be_begun_later(void **state)
{
	static const char short_lived[] =
		"listen: 127.0.0.1:0\n"
		"workers: 2\n"
		"upstreams:\n"
		"  near: { dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ], timeout: 10s }\n"
		"  far: { dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ], timeout: 10s }\n"
		"tools:\n"
		"  short:\n"
		"    upstream: far\n"
		"    annotations: { read_only: true }\n"
		"    timeout: 5s\n"
		"    cache: { ttl: 4s, stale_while_revalidate: 30s, scope: shared }\n";
	(void)state;
	gateway_start(&world, short_lived);
	for (unsigned tag = 1; tag <= 300; tag++) {
		struct ask first, crossing, late;
		ask_once(&world, &first, 1, "short", tag);
		gateway_turn(&world, 1);
		gateway_pass(&world, 2 * S);
		ask_once(&world, &crossing, 0, "short", tag);
		gateway_turn(&world, 0); /* posted */
		fake_finish(fake_nth(0));
		gateway_settle(&world);
		assert_int_equal(crossing.source, SOURCE_COLLAPSED);
		gateway_pass(&world, 5 * S);
		size_t before = fake_sent();
		ask_once(&world, &late, 0, "short", tag);
		gateway_settle(&world);
		assert_int_equal(late.source, SOURCE_STALE);
		assert_int_equal(fake_sent(), before + 1);
		finish_all();
	}
	gateway_stop(&world);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_WORLD(an_upstream_has_only_so_many_refreshes_at_once),
		IN_WORLD(where_none_is_allowed_stale_answers_are_served_as_they_are),
		IN_WORLD(a_slow_answer_is_fetched_anew_before_it_ends_by_one),
		IN_WORLD(a_refusal_is_kept_and_not_refreshed),
		IN_WORLD(calls_that_differ_in_nothing_that_counts_are_one),
		cmocka_unit_test(a_refresh_that_was_not_begun_on_the_way_can_be_begun_later),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
