/* SPDX-License-Identifier: Apache-2.0 */
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
	const char *word;
	enum outcome outcome;
	unsigned status;
} contract[] = {
	{ "ok", OUTCOME_OK, 200 },
	{ "invalid_json", OUTCOME_INVALID_JSON, 400 },
	{ "invalid_request", OUTCOME_INVALID_REQUEST, 400 },
	{ "unauthorized", OUTCOME_UNAUTHORIZED, 401 },
	{ "forbidden", OUTCOME_FORBIDDEN, 403 },
	{ "unknown_tool", OUTCOME_UNKNOWN_TOOL, 404 },
	{ "not_found", OUTCOME_NOT_FOUND, 404 },
	{ "method_not_allowed", OUTCOME_METHOD_NOT_ALLOWED, 405 },
	{ "payload_too_large", OUTCOME_PAYLOAD_TOO_LARGE, 413 },
	{ "unsupported_media_type", OUTCOME_UNSUPPORTED_MEDIA_TYPE, 415 },
	{ "rate_limited", OUTCOME_RATE_LIMITED, 429 },
	{ "headers_too_large", OUTCOME_HEADERS_TOO_LARGE, 431 },
	{ "cancelled", OUTCOME_CANCELLED, 499 },
	{ "internal", OUTCOME_INTERNAL, 500 },
	{ "upstream_error", OUTCOME_UPSTREAM_ERROR, 502 },
	{ "tool_error", OUTCOME_TOOL_ERROR, 502 },
	{ "outcome_unknown", OUTCOME_OUTCOME_UNKNOWN, 502 },
	{ "overloaded", OUTCOME_OVERLOADED, 503 },
	{ "upstream_unavailable", OUTCOME_UPSTREAM_UNAVAILABLE, 503 },
	{ "shutting_down", OUTCOME_SHUTTING_DOWN, 503 },
	{ "upstream_timeout", OUTCOME_UPSTREAM_TIMEOUT, 504 },
	{ "deadline_exceeded", OUTCOME_DEADLINE_EXCEEDED, 504 },
	{ "not_cached", OUTCOME_NOT_CACHED, 504 },
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
	clock_set(5);
	assert_int_equal(clock_now_us(), 5);
	assert_true(clock_wall_us() >= wall); /* the wall clock is not turned */
	clock_set(0);
	assert_true(clock_now_us() >= before);
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
		cmocka_unit_test(never_plus_anything_is_never),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
