/* SPDX-License-Identifier: Apache-2.0 */
/* Problems as callers see them (RFC 9457), byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/json.h"
#include "gateway/call/reply.h"
#include "tests/support/config_tools.h"
#include "tests/support/gateway_world.h"

static struct gateway_world world;

/* Takes the answer. `tool`: the problem is about a call of it; NULL: about none. */
static void assert_problem(struct answer *answer, const char *tool, const char *expected)
{
	struct buf text = BUF_INIT(1 << 20);
	struct call *call = NULL;
	gateway_start(&world, gateway_yaml);
	if (tool) {
		call = call_new(world.gateway.workers[0]);
		assert_non_null(call);
		call->tool = config_tool(world.config, tool);
		call->answer = answer_ref(answer);
	}
	problem_put(&text, answer, "id-1", call);
	assert_string_equal(buf_cstr(&text), expected);
	if (call)
		call_free(call);
	buf_fini(&text);
	answer_unref(answer);
	gateway_stop(&world);
}

static void a_problem_of_the_gateway_names_no_provider(void **state)
{
	(void)state;
	assert_problem(
		answer_error(OUTCOME_UNKNOWN_TOOL, "There is no tool \"%s\".", "x"), NULL,
		"{\"type\":\"urn:jitney:problem:unknown_tool\",\"title\":\"There is no such tool\",\"status\":404,"
		"\"detail\":\"There is no tool \\\"x\\\".\",\"code\":\"unknown_tool\",\"request_id\":\"id-1\","
		"\"retryable\":false}");
	assert_problem(
		answer_error(OUTCOME_OVERLOADED, "Full."), NULL,
		"{\"type\":\"urn:jitney:problem:overloaded\",\"title\":\"The gateway is at its limit\",\"status\":503,"
		"\"detail\":\"Full.\",\"code\":\"overloaded\",\"request_id\":\"id-1\",\"retryable\":true,"
		"\"retry_after\":1}");
}

static void a_providers_problem_has_what_it_said(void **state)
{
	(void)state;
	assert_problem(answer_upstream_error(OUTCOME_TOOL_ERROR, 200, 0, SLICE("{\"code\":-1}"), "No."), "cached",
		       "{\"type\":\"urn:jitney:problem:tool_error\",\"title\":\"The tool answered with an error\","
		       "\"status\":502,\"detail\":\"No.\",\"code\":\"tool_error\",\"request_id\":\"id-1\","
		       "\"retryable\":false,\"upstream\":{\"name\":\"near\",\"status\":200,\"error\":{\"code\":-1}}}");
	assert_problem(
		answer_error(OUTCOME_UPSTREAM_TIMEOUT, "Slow."), "cached",
		"{\"type\":\"urn:jitney:problem:upstream_timeout\",\"title\":\"The provider did not answer in time\","
		"\"status\":504,\"detail\":\"Slow.\",\"code\":\"upstream_timeout\",\"request_id\":\"id-1\","
		"\"retryable\":true,\"upstream\":{\"name\":\"near\"}}");
}

static void what_may_not_be_repeated_is_not_retryable(void **state)
{
	(void)state;
	assert_problem(answer_error(OUTCOME_UPSTREAM_ERROR, "Lost."), "write",
		       "{\"type\":\"urn:jitney:problem:upstream_error\",\"title\":\"The provider failed\","
		       "\"status\":502,\"detail\":\"Lost.\",\"code\":\"upstream_error\",\"request_id\":\"id-1\","
		       "\"retryable\":false,\"upstream\":{\"name\":\"near\"}}");
}

static void every_problem_is_json_whatever_its_detail(void **state)
{
	(void)state;
	static const char *const details[] = {
		"", "\"\\/", "a\nb\tc", "\x01\x1f", "\xc3\xa4\xe2\x82\xac", "</script>"
	};
	for (int outcome = OUTCOME_OK + 1; outcome < OUTCOME_COUNT; outcome++)
		for (size_t i = 0; i < countof(details); i++) {
			struct answer *answer = answer_error((enum outcome)outcome, "%s", details[i]);
			struct buf text = BUF_INIT(1 << 20);
			struct json_fault fault;
			problem_put(&text, answer, details[i], NULL);
			assert_true(json_check(buf_slice(&text), 10, NULL, &fault));
			buf_fini(&text);
			answer_unref(answer);
		}
}

static void sources_have_words(void **state)
{
	(void)state;
	assert_string_equal(source_word(SOURCE_NONE), "none");
	assert_string_equal(source_word(SOURCE_HIT), "hit");
	assert_string_equal(source_word(SOURCE_STALE), "stale");
	assert_string_equal(source_word(SOURCE_MISS), "miss");
	assert_string_equal(source_word(SOURCE_COLLAPSED), "collapsed");
	assert_string_equal(source_word(SOURCE_REQUEST), "bypass");
	assert_string_equal(source_word(SOURCE_BYPASS), "bypass");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_problem_of_the_gateway_names_no_provider),
		cmocka_unit_test(a_providers_problem_has_what_it_said),
		cmocka_unit_test(what_may_not_be_repeated_is_not_retryable),
		cmocka_unit_test(every_problem_is_json_whatever_its_detail),
		cmocka_unit_test(sources_have_words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
