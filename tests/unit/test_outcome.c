/* Outcomes are the contract's words and statuses, written down here a second time on purpose; clock and sums of time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/outcome.h"

static const struct {
	enum outcome outcome;
	const char *word;
	unsigned status;
} contract[] = {
	{ OUTCOME_OK, "ok", 200 },
	{ OUTCOME_INVALID_JSON, "invalid_json", 400 },
	{ OUTCOME_INVALID_REQUEST, "invalid_request", 400 },
	{ OUTCOME_UNAUTHORIZED, "unauthorized", 401 },
	{ OUTCOME_FORBIDDEN, "forbidden", 403 },
	{ OUTCOME_UNKNOWN_TOOL, "unknown_tool", 404 },
	{ OUTCOME_NOT_FOUND, "not_found", 404 },
	{ OUTCOME_METHOD_NOT_ALLOWED, "method_not_allowed", 405 },
	{ OUTCOME_PAYLOAD_TOO_LARGE, "payload_too_large", 413 },
	{ OUTCOME_UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", 415 },
	{ OUTCOME_RATE_LIMITED, "rate_limited", 429 },
	{ OUTCOME_HEADERS_TOO_LARGE, "headers_too_large", 431 },
	{ OUTCOME_CANCELLED, "cancelled", 499 },
	{ OUTCOME_INTERNAL, "internal", 500 },
	{ OUTCOME_UPSTREAM_ERROR, "upstream_error", 502 },
	{ OUTCOME_TOOL_ERROR, "tool_error", 502 },
	{ OUTCOME_OUTCOME_UNKNOWN, "outcome_unknown", 502 },
	{ OUTCOME_OVERLOADED, "overloaded", 503 },
	{ OUTCOME_UPSTREAM_UNAVAILABLE, "upstream_unavailable", 503 },
	{ OUTCOME_SHUTTING_DOWN, "shutting_down", 503 },
	{ OUTCOME_UPSTREAM_TIMEOUT, "upstream_timeout", 504 },
	{ OUTCOME_DEADLINE_EXCEEDED, "deadline_exceeded", 504 },
	{ OUTCOME_NOT_CACHED, "not_cached", 504 },
};

static void words_and_statuses_are_the_contracts(void **state)
{
	(void)state;
	assert_int_equal(countof(contract), OUTCOME_COUNT);
	for (size_t i = 0; i < countof(contract); i++) {
		assert_string_equal(outcome_word(contract[i].outcome), contract[i].word);
		assert_int_equal(outcome_status(contract[i].outcome), contract[i].status);
	}
}

static void every_outcome_has_a_word_and_a_title_of_its_own(void **state)
{
	(void)state;
	for (int i = 0; i < OUTCOME_COUNT; i++)
		for (int j = 0; j <= i; j++) {
			enum outcome a = (enum outcome)i, b = (enum outcome)j;
			assert_true((i == j) == (strcmp(outcome_word(a), outcome_word(b)) == 0));
			assert_true((i == j) == (strcmp(outcome_title(a), outcome_title(b)) == 0));
		}
}

static void a_lost_answer_or_a_wrong_request_is_never_retryable(void **state)
{
	(void)state;
	assert_false(outcome_retryable(OUTCOME_OUTCOME_UNKNOWN));
	assert_false(outcome_retryable(OUTCOME_TOOL_ERROR));
	for (int i = 0; i < OUTCOME_COUNT; i++)
		if (outcome_status((enum outcome)i) < 500 && i != OUTCOME_RATE_LIMITED)
			assert_false(outcome_retryable((enum outcome)i));
	assert_true(outcome_retryable(OUTCOME_OVERLOADED));
	assert_true(outcome_retryable(OUTCOME_SHUTTING_DOWN));
}

static void the_clock_moves_forward_and_tests_turn_it(void **state)
{
	(void)state;
	uint64_t before = clock_now_us();
	assert_true(before > 0);
	assert_true(clock_now_us() >= before);
	uint64_t wall = clock_wall_us();
	clock_set_for_test(5);
	assert_int_equal(clock_now_us(), 5);
	assert_true(clock_wall_us() >= wall); /* the wall clock is not turned */
	clock_set_for_test(0);
	assert_true(clock_now_us() >= before);
}

static void a_threads_cpu_time_grows_with_its_work(void **state)
{
	(void)state;
	uint64_t before = clock_thread_cpu_us();
	while (clock_thread_cpu_us() == before)
		continue;
	assert_true(clock_thread_cpu_us() > before);
}

static void never_plus_anything_is_never(void **state)
{
	(void)state;
	assert_true(clock_add(CLOCK_NEVER, 0) == CLOCK_NEVER);
	assert_true(clock_add(CLOCK_NEVER, 1) == CLOCK_NEVER);
	assert_true(clock_add(CLOCK_NEVER - 1, 5) == CLOCK_NEVER);
	assert_true(clock_add(1, CLOCK_NEVER) == CLOCK_NEVER);
	assert_int_equal(clock_add(2, 3), 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_and_statuses_are_the_contracts),
		cmocka_unit_test(every_outcome_has_a_word_and_a_title_of_its_own),
		cmocka_unit_test(a_lost_answer_or_a_wrong_request_is_never_retryable),
		cmocka_unit_test(the_clock_moves_forward_and_tests_turn_it),
		cmocka_unit_test(a_threads_cpu_time_grows_with_its_work),
		cmocka_unit_test(never_plus_anything_is_never),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
