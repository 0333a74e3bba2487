/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fetch that is put off, by the provider's pause, a rate, or the rest before a retry: whoever of those who share it
 * cannot wait as long is told at once, and the others wait on.
 */
#include "tests/support/gateway_test.h"

#define MS CLOCK_US_PER_MS
#define S CLOCK_US_PER_S

static void set_out(struct ask *ask, unsigned worker, const char *tool, unsigned tag, uint64_t timeout_us)
{
	ask_init(ask, worker, tool, tag);
	ask->caller.timeout_us = timeout_us;
	assert_true(ask_send(&world, ask));
	gateway_settle(&world);
}

static void refuse_first(unsigned status, uint32_t retry_after_s)
{
	fake_refuse_whole(fake_nth(0), status, retry_after_s);
	gateway_settle(&world);
}

static void assert_told_to_come_again(const struct ask *ask, uint32_t retry_after_s)
{
	assert_ended(ask, OUTCOME_RATE_LIMITED);
	assert_in_range(ask->retry_after_s, retry_after_s, retry_after_s + 1);
}

/* Tool by tool, for it may be cached or only merged, and be at home with its owner or not. */
static void who_cannot_wait_for_the_pause_is_told_at_once(void **state)
{
	static const char *const tools[] = { "cached", "far_cached", "merged", "far_merged" };
	(void)state;
	for (size_t i = 0; i < countof(tools); i++) {
		struct ask ask;
		gateway_start(&world, gateway_yaml);
		set_out(&ask, 0, tools[i], 1, 200 * MS);
		refuse_first(429, 4);
		assert_told_to_come_again(&ask, 4);
		gateway_pass(&world, 10 * S);
		gateway_settle(&world);
		assert_int_equal(fake_sent(), 1); /* nobody wants it any more */
		stop();
	}
}

static void others_wait_on_for_the_same_answer(void **state)
{
	struct ask hurried, patient, joiner;
	(void)state;
	gateway_start(&world, gateway_yaml);
	set_out(&hurried, 0, "cached", 1, 200 * MS);
	set_out(&patient, 1, "cached", 1, CLOCK_NEVER);
	set_out(&joiner, 1, "cached", 1, 300 * MS);
	assert_int_equal(fake_sent(), 1);
	refuse_first(429, 2);
	assert_told_to_come_again(&hurried, 2);
	assert_told_to_come_again(&joiner, 2);
	assert_int_equal(patient.ended, 0);
	gateway_pass(&world, 2 * S);
	gateway_settle(&world);
	assert_int_equal(fake_sent(), 2);
	finish_all();
	assert_got(&patient, SOURCE_COLLAPSED);
	stop();
}

static void who_joins_a_fetch_that_is_put_off_is_told_as_well(void **state)
{
	struct ask patient, hurried, other;
	(void)state;
	gateway_start(&world, gateway_yaml);
	set_out(&patient, 0, "cached", 1, CLOCK_NEVER);
	refuse_first(429, 3);
	gateway_pass(&world, 1 * S);
	set_out(&hurried, 0, "cached", 1, 1900 * MS);
	assert_told_to_come_again(&hurried, 2);
	set_out(&other, 0, "cached", 1, 2100 * MS);
	assert_int_equal(other.ended, 0);
	gateway_pass(&world, 2 * S);
	finish_all();
	assert_got(&patient, SOURCE_MISS);
	assert_got(&other, SOURCE_COLLAPSED);
	stop();
}

/* Its first caller comes while the provider is left alone, or waits behind the one that is told to pause. */
static void who_waits_or_comes_during_the_pause_is_told_as_well(void **state)
{
	struct ask patient, waiting, later;
	(void)state;
	gateway_start(&world, gateway_yaml);
	set_out(&patient, 0, "cached", 1, CLOCK_NEVER);
	set_out(&waiting, 0, "cached", 2, 300 * MS);
	refuse_first(429, 3);
	if (fake_nth(0))
		refuse_first(429, 3);
	assert_told_to_come_again(&waiting, 3);
	set_out(&later, 0, "cached", 3, 300 * MS);
	assert_told_to_come_again(&later, 3);
	assert_int_equal(patient.ended, 0);
	gateway_pass(&world, 3 * S);
	finish_all();
	assert_got(&patient, SOURCE_MISS);
	stop();
}

/* It could wait for the first pause, but not for the one that another request brings meanwhile. */
static void a_longer_pause_is_told_to_what_is_put_off_already(void **state)
{
	static const char *const tools[] = { "write", "cached", "merged" };
	(void)state;
	for (size_t i = 0; i < countof(tools); i++) {
		struct ask hurried, patient;
		gateway_start(&world, gateway_yaml);
		set_out(&hurried, 0, tools[i], 1, 2 * S);
		set_out(&patient, 0, "tenants", 2, CLOCK_NEVER);
		gateway_pass(&world, 20 * MS); /* it need not wait for company that long */
		gateway_settle(&world);
		assert_int_equal(fake_under_way(), 2);
		refuse_first(429, 1);
		assert_int_equal(hurried.ended, 0);
		refuse_first(429, 4);
		assert_ended(&hurried, OUTCOME_RATE_LIMITED);
		assert_int_equal(patient.ended, 0);
		gateway_pass(&world, 4 * S);
		finish_all();
		assert_got(&patient, SOURCE_MISS);
		stop();
	}
}

static void a_configured_rate_is_told_likewise(void **state)
{
	static const char yaml[] =
		"listen: 127.0.0.1:0\n"
		"workers: 2\n"
		"cache: { memory: { size: 16MiB } }\n"
		"upstreams:\n"
		"  near: { dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ], rate: { requests: 2/min } }\n"
		"tools:\n"
		"  cached: { upstream: near, timeout: 60s, annotations: { read_only: true }, cache: { ttl: 60s, scope: shared } }\n";
	struct ask first, hurried, patient;
	(void)state;
	gateway_start(&world, yaml);
	set_out(&first, 0, "cached", 1, CLOCK_NEVER);
	finish_all();
	assert_got(&first, SOURCE_MISS);
	set_out(&hurried, 0, "cached", 2, 1 * S);
	assert_told_to_come_again(&hurried, 30);
	set_out(&patient, 0, "cached", 3, CLOCK_NEVER);
	set_out(&hurried, 1, "cached", 3, 2 * S);
	assert_ended(&hurried, OUTCOME_RATE_LIMITED);
	assert_int_equal(patient.ended, 0);
	gateway_pass(&world, 40 * S);
	finish_all();
	assert_got(&patient, SOURCE_MISS);
	stop();
}

/* Nobody rests beyond his deadline: what the provider said is told to him, and not to who has time for a second try. */
static void who_cannot_wait_for_the_retry_is_told_what_was_said(void **state)
{
	struct ask hurried, patient;
	(void)state;
	gateway_start(&world, gateway_yaml);
	set_out(&hurried, 0, "cached", 1, 1 * MS);
	set_out(&patient, 0, "cached", 1, CLOCK_NEVER);
	for (unsigned round = 0; hurried.ended == 0; round++) { /* the rest is drawn by lot */
		assert_true(round < 20);
		refuse_first(503, 0);
		if (hurried.ended)
			break;
		gateway_pass(&world, 100 * MS);
		finish_all();
		gateway_stop(&world);
		gateway_start(&world, gateway_yaml);
		set_out(&hurried, 0, "cached", 1, 1 * MS);
		set_out(&patient, 0, "cached", 1, CLOCK_NEVER);
	}
	assert_ended(&hurried, OUTCOME_UPSTREAM_ERROR);
	assert_int_equal(patient.ended, 0);
	gateway_pass(&world, 1 * S);
	finish_all();
	assert_got(&patient, SOURCE_COLLAPSED);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_cannot_wait_for_the_pause_is_told_at_once),
		cmocka_unit_test(others_wait_on_for_the_same_answer),
		cmocka_unit_test(who_joins_a_fetch_that_is_put_off_is_told_as_well),
		cmocka_unit_test(who_waits_or_comes_during_the_pause_is_told_as_well),
		cmocka_unit_test(a_longer_pause_is_told_to_what_is_put_off_already),
		cmocka_unit_test(a_configured_rate_is_told_likewise),
		cmocka_unit_test(who_cannot_wait_for_the_retry_is_told_what_was_said),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
