/* SPDX-License-Identifier: Apache-2.0 */
/* MCP's messages: what is written in each era, how what comes is told apart, and what REST callers get of a result. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "tests/support/alloc_fail.h"
#include "upstream/mcp/mcp_message.h"

static struct buf out = BUF_INIT(100000);

static int clear(void **state)
{
	(void)state;
	buf_fini(&out);
	return 0;
}

static void expect_written(const char *text)
{
	struct json_fault fault;
	assert_true(json_check(buf_slice(&out), 32, NULL, &fault));
	assert_string_equal(buf_cstr(&out), text);
	buf_reset(&out);
}

static void expect_holds(const char *part)
{
	if (!strstr(buf_cstr(&out), part))
		fail_msg("\"%s\" is not in %s", part, buf_cstr(&out));
}

/* --- writing --- */

static const struct mcp_trace untraced, traced = { { "00-1-2-01", 9 }, { NULL, 0 } },
					stated = { { "00-1-2-01", 9 }, { "a=\"1", 4 } };

static void legacy_requests_carry_no_meta(void **state)
{
	(void)state;
	struct slice none = { NULL, 0 };
	const struct mcp_asks nothing = { 0 }, all = { true, mcp_level_of(SLICE("warning")) };
	mcp_put_initialize(&out, 1, NULL);
	expect_holds("\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{}");
	buf_reset(&out);
	mcp_put_initialize(&out, 1, "2025-03-26");
	expect_holds("\"protocolVersion\":\"2025-03-26\"");
	buf_reset(&out);
	mcp_put_initialized(&out);
	expect_written("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}");
	mcp_put_tools_list(&out, MCP_LEGACY, 2, none);
	expect_written("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/list\"}");
	mcp_put_tools_list(&out, MCP_LEGACY, 3, SLICE("\"c\\\"2\""));
	expect_written("{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"tools/list\",\"params\":{\"cursor\":\"c\\\"2\"}}");
	mcp_put_tools_call(&out, MCP_LEGACY, 4, SLICE("\"echo\""), SLICE("{\"n\": 1.0}"), untraced, nothing);
	expect_written("{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\","
		       "\"arguments\":{\"n\": 1.0}}}");
	mcp_put_tools_call(&out, MCP_LEGACY, 4, SLICE("\"echo\""), SLICE("{}"), stated, all);
	expect_holds(
		"\"arguments\":{},\"_meta\":{\"progressToken\":4,\"traceparent\":\"00-1-2-01\",\"tracestate\":\"a=\\\"1\"}}}");
	buf_reset(&out);
	mcp_put_tools_call(&out, MCP_LEGACY, 4, SLICE("\"echo\""), SLICE("{}"), traced, nothing);
	expect_holds("\"_meta\":{\"traceparent\":\"00-1-2-01\"}}}");
	buf_reset(&out);
	mcp_put_cancelled(&out, MCP_LEGACY, 4);
	expect_written("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":4,"
		       "\"reason\":\"nobody waits for it\"}}");
}

static void expect_meta(void)
{
	expect_holds("\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"");
	expect_holds("\"io.modelcontextprotocol/clientInfo\":{\"name\":\"jitney\"");
	expect_holds("\"io.modelcontextprotocol/clientCapabilities\":{}");
	struct json_fault fault;
	assert_true(json_check(buf_slice(&out), 32, NULL, &fault));
	buf_reset(&out);
}

static void modern_requests_say_in_meta_who_speaks_which_version(void **state)
{
	(void)state;
	struct slice none = { NULL, 0 };
	const struct mcp_asks all = { true, mcp_level_of(SLICE("warning")) }, unasked = { false, MCP_LEVEL_UNASKED };
	mcp_put_discover(&out, 1);
	expect_meta();
	mcp_put_tools_list(&out, MCP_MODERN, 2, none);
	expect_meta();
	mcp_put_tools_list(&out, MCP_MODERN, 3, SLICE("\"c\""));
	expect_holds("{\"cursor\":\"c\",\"_meta\"");
	expect_meta();
	mcp_put_tools_call(&out, MCP_MODERN, 4, SLICE("\"echo\""), SLICE("{}"), traced, all);
	expect_holds("\"traceparent\":\"00-1-2-01\"");
	expect_holds("\"progressToken\":4,");
	expect_holds("\"io.modelcontextprotocol/logLevel\":\"warning\",");
	expect_meta();
	mcp_put_tools_call(&out, MCP_MODERN, 4, SLICE("\"echo\""), SLICE("{}"), untraced, unasked);
	assert_null(strstr(buf_cstr(&out), "logLevel"));
	expect_meta();
	mcp_put_listen(&out, 5);
	expect_holds("\"notifications\":{\"toolsListChanged\":true}");
	expect_meta();
	mcp_put_cancelled(&out, MCP_MODERN, 5);
	expect_meta();
}

/* --- reading --- */

static struct mcp_message message;
static const char *fault;

static bool read_text(const char *text)
{
	return mcp_read(slice_of(text), 32, NULL, &message, &fault);
}

static void kinds_are_told_by_method_and_id(void **state)
{
	(void)state;
	uint64_t id;
	assert_true(read_text(" {\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{\"a\":1}} "));
	assert_int_equal(message.kind, MCP_RESULT);
	assert_true(mcp_id(&message, &id));
	assert_int_equal(id, 0);
	assert_true(slice_equal(mcp_result_member(&message, "a"), SLICE("1")));
	assert_int_equal(mcp_result_member(&message, "b").len, 0);
	assert_true(read_text("{\"id\":\"17\",\"result\":[]}"));
	assert_true(mcp_id(&message, &id));
	assert_int_equal(id, 17);
	assert_int_equal(mcp_result_member(&message, "a").len, 0);
	assert_true(read_text("{\"id\":\"x\",\"result\":null}"));
	assert_false(mcp_id(&message, &id));
	assert_true(read_text("{\"id\":3,\"method\":\"ping\"}"));
	assert_int_equal(message.kind, MCP_REQUEST);
	assert_true(read_text("{\"method\":\"notifications/tools/list_changed\",\"params\":{}}"));
	assert_int_equal(message.kind, MCP_NOTIFICATION);
	assert_true(mcp_method_is(&message, "notifications/tools/list_changed"));
	assert_true(read_text("{\"id\":null,\"error\":{\"code\":-32700,\"message\":\"m\"}}"));
	assert_int_equal(message.kind, MCP_ERROR);
	assert_int_equal(mcp_error_code(&message), MCP_PARSE_ERROR);
	assert_true(read_text("{\"id\":1,\"error\":{\"code\":1e3}}"));
	assert_int_equal(mcp_error_code(&message), 0);
	assert_true(read_text("{\"id\":1,\"error\":null,\"result\":{}}"));
	assert_int_equal(message.kind, MCP_RESULT);
}

static void the_id_of_a_cut_answer_is_found_where_servers_write_it(void **state)
{
	(void)state;
	uint64_t id;
	static const char *const starts[] = { "{\"jsonrpc\":\"2.0\",\"id\":17,\"result\":{\"a",
					      " { \"id\" : 17 , \"result\": 1" };
	static const char *const ends[] = { "xx\"}]},\"jsonrpc\":\"2.0\",\"id\":17}", "5, \"id\": 17 } \r" };
	static const char *const none[] = { "",
					    "{",
					    "}",
					    "{\"id\":17",
					    "{\"id\":17}",
					    "{\"id\":\"17\",",
					    "{\"result\":{\"id\":17,",
					    "17}",
					    "\"id\":17}",
					    "{\"a\":1,\"id\":17}}",
					    "{\"jsonrpc\":17,\"id\":17,",
					    ",\"id\":99999999999999999999}",
					    ",\\\"id\\\":17}" };
	for (size_t i = 0; i < countof(starts); i++) {
		id = 0;
		assert_true(mcp_id_at_start(slice_of(starts[i]), &id));
		assert_int_equal(id, 17);
		id = 0;
		assert_true(mcp_id_at_end(slice_of(ends[i]), &id));
		assert_int_equal(id, 17);
	}
	for (size_t i = 0; i < countof(none); i++) {
		assert_false(mcp_id_at_start(slice_of(none[i]), &id));
		assert_false(mcp_id_at_end(slice_of(none[i]), &id));
	}
}

static void progress_is_of_the_request_its_token_names(void **state)
{
	(void)state;
	uint64_t id;
	assert_true(
		read_text("{\"method\":\"notifications/progress\",\"params\":{\"progress\":1,\"progressToken\":17}}"));
	assert_true(mcp_progress_id(&message, &id));
	assert_int_equal(id, 17);
	static const char *const others[] = {
		"{\"method\":\"notifications/progress\",\"params\":{\"progressToken\":\"ours\"}}",
		"{\"method\":\"notifications/progress\",\"params\":{\"progress\":1}}",
		"{\"method\":\"notifications/progress\",\"params\":[17]}",
		"{\"method\":\"notifications/progress\"}",
		"{\"method\":\"notifications/message\",\"params\":{\"progressToken\":17}}",
	};
	for (size_t i = 0; i < countof(others); i++) {
		assert_true(read_text(others[i]));
		assert_false(mcp_progress_id(&message, &id));
	}
}

static void what_is_no_message_is_refused_with_a_reason(void **state)
{
	(void)state;
	static const char *const bad[] = { "",
					   "[]",
					   "{",
					   "{}",
					   "{\"id\":1}",
					   "{\"id\":[],\"result\":1}",
					   "{\"result\":1}",
					   "{\"id\":1,\"result\":1,\"error\":{}}",
					   "{\"id\":1,\"method\":2}",
					   "{\"id\":1,\"id\":2,\"result\":1}" };
	for (size_t i = 0; i < countof(bad); i++) {
		fault = NULL;
		assert_false(read_text(bad[i]));
		assert_non_null(fault);
	}
}

static void a_ping_is_answered_and_all_else_refused_under_the_servers_id(void **state)
{
	(void)state;
	assert_true(read_text("{\"id\":\"a\\\"b\",\"method\":\"ping\"}"));
	assert_true(mcp_put_reply(&out, &message));
	expect_written("{\"jsonrpc\":\"2.0\",\"id\":\"a\\\"b\",\"result\":{}}");
	assert_true(read_text("{\"id\":-1.5,\"method\":\"sampling/createMessage\"}"));
	assert_false(mcp_put_reply(&out, &message));
	expect_holds("\"id\":-1.5,\"error\":{\"code\":-32601,");
}

/* --- results --- */

static struct answer *answer_of(const char *text)
{
	assert_true(read_text(text));
	struct answer *answer = mcp_answer(&message, 32, 200);
	assert_non_null(answer);
	return answer;
}

static void expect_body(const char *result, const char *body, bool json, const char *type)
{
	char text[2000];
	snprintf(text, sizeof text, "{\"id\":1,\"result\":%s}", result);
	struct answer *answer = answer_of(text);
	assert_int_equal(answer->outcome, OUTCOME_OK);
	assert_true(slice_equal(answer_body(answer), slice_of(body)));
	assert_true(slice_equal(answer_full(answer), slice_of(result)));
	assert_int_equal(answer->json, json);
	assert_string_equal(answer->content_type, type);
	assert_string_equal(answer->detail, "");
	answer_unref(answer);
}

static void rest_callers_get_the_plainest_form(void **state)
{
	(void)state;
	static const char *const json = "application/json", *const plain = "text/plain; charset=utf-8";
	expect_body("{\"content\":[{\"type\":\"text\",\"text\":\"x\"}],\"structuredContent\":{\"n\":1.0}}",
		    "{\"n\":1.0}", true, json);
	expect_body("{\"content\":[{\"type\":\"text\",\"text\":\"{\\\"n\\\": 1.0}\"}]}", "{\"n\": 1.0}", true, json);
	expect_body("{\"content\":[{\"type\":\"text\",\"text\":\"h\\u00e9 you\"}]}", "h\xc3\xa9 you", false, plain);
	expect_body("{\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"text\":\"b\",\"type\":\"text\"}]}", "a\nb",
		    false, plain);
	expect_body("{\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image\",\"data\":\"\"}]}",
		    "[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image\",\"data\":\"\"}]", true, json);
	expect_body("{\"content\":[]}", "[]", true, json);
	expect_body("{\"resultType\":\"complete\",\"content\":[{\"type\":\"text\",\"text\":\"\"}]}", "", false, plain);
	expect_body("{\"content\":{},\"structuredContent\":null}", "{}", true, json);
	expect_body("{\"x\":1}", "{\"x\":1}", true, json);
}

static void expect_failure(const char *text, enum outcome outcome, const char *detail, const char *body)
{
	struct json_fault json_fault;
	struct answer *answer = answer_of(text);
	assert_int_equal(answer->outcome, outcome);
	if (!strstr(answer->detail, detail))
		fail_msg("\"%s\" is not in \"%s\"", detail, answer->detail);
	assert_true(slice_equal(answer_body(answer), slice_of(body)));
	assert_true(answer_body(answer).len == 0 || json_check(answer_body(answer), 32, NULL, &json_fault));
	answer_unref(answer);
}

static void a_tools_error_is_a_tool_error_with_its_text(void **state)
{
	(void)state;
	expect_failure("{\"id\":1,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"no "
		       "\\\"way\\\"\"}],\"isError\":true}}",
		       OUTCOME_TOOL_ERROR, "the tool answered: no \"way\"", "\"no \\\"way\\\"\"");
	expect_failure(
		"{\"id\":1,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"{\\\"e\\\":1}\"}],\"isError\":true}}",
		OUTCOME_TOOL_ERROR, "{\"e\":1}", "{\"e\":1}");
	expect_failure("{\"id\":1,\"result\":{\"content\":[],\"isError\":true}}", OUTCOME_TOOL_ERROR, "without a text",
		       "[]");
	expect_failure("{\"id\":1,\"result\":{\"resultType\":\"input_required\"}}", OUTCOME_TOOL_ERROR, "asks its user",
		       "{\"resultType\":\"input_required\"}");
	expect_failure("{\"id\":1,\"result\":{\"resultType\":\"task\"}}", OUTCOME_TOOL_ERROR, "task",
		       "{\"resultType\":\"task\"}");
	expect_failure("{\"id\":1,\"result\":{\"resultType\":7}}", OUTCOME_TOOL_ERROR, "type (7)",
		       "{\"resultType\":7}");
	expect_failure("{\"id\":1,\"result\":\"x\"}", OUTCOME_UPSTREAM_ERROR, "no object", "\"x\"");
}

/* More than is read to find out whether it is JSON: decoded where it is kept, and of an error as much as is said of it. */
static void a_long_text_is_decoded_once(void **state)
{
	enum { LINES = 200 * 1000 };
	static const char line[] = "a \\\"line\\\"\\n", meaning[] = "a \"line\"\n";
	struct buf text = BUF_INIT(1 << 24), body = BUF_INIT(1 << 24);
	(void)state;
	for (int error = 0; error < 2; error++) {
		buf_reset(&text);
		buf_reset(&body);
		buf_put_text(&text, "{\"id\":1,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"");
		for (int i = 0; i < LINES; i++) {
			buf_put_text(&text, line);
			buf_put_text(&body, error ? line : meaning);
		}
		buf_put_text(&text, error ? "\"}],\"isError\":true}}" : "\"}]}}");
		struct answer *answer = answer_of(buf_cstr(&text));
		assert_int_equal(answer->outcome, error ? OUTCOME_TOOL_ERROR : OUTCOME_OK);
		struct slice got = answer_body(answer);
		if (error)
			got = (struct slice){ got.at + 1, got.len - 2 };
		assert_true(slice_equal(got, buf_slice(&body)));
		assert_true(error ? answer->json : strcmp(answer->content_type, "text/plain; charset=utf-8") == 0);
		if (error)
			assert_non_null(strstr(answer->detail, "the tool answered: a \"line\"\na \"line\""));
		assert_true(answer_full(answer).len > got.len);
		assert_int_equal(answer->bytes[answer_held_bytes(answer) - 1], '\0');
		answer_unref(answer);
	}
	buf_fini(&text);
	buf_fini(&body);
}

static void a_protocol_error_is_the_callers_the_gateways_or_the_tools(void **state)
{
	(void)state;
	expect_failure("{\"id\":1,\"error\":{\"code\":-32602,\"message\":\"Unknown tool: x\"}}",
		       OUTCOME_INVALID_REQUEST, "Unknown tool: x", "{\"code\":-32602,\"message\":\"Unknown tool: x\"}");
	expect_failure("{\"id\":1,\"error\":{\"code\":-32601,\"message\":\"m\"}}", OUTCOME_UPSTREAM_ERROR, "-32601",
		       "{\"code\":-32601,\"message\":\"m\"}");
	expect_failure("{\"id\":1,\"error\":{\"code\":-32020,\"message\":\"m\"}}", OUTCOME_UPSTREAM_ERROR, "-32020",
		       "{\"code\":-32020,\"message\":\"m\"}");
	expect_failure("{\"id\":1,\"error\":{\"code\":-32603,\"message\":\"boom\"}}", OUTCOME_TOOL_ERROR, "boom",
		       "{\"code\":-32603,\"message\":\"boom\"}");
	expect_failure("{\"id\":1,\"error\":\"odd\"}", OUTCOME_TOOL_ERROR, "no message", "\"odd\"");
}

static void without_memory_a_result_is_refused_and_nothing_leaks(void **state)
{
	(void)state;
	static const char text[] = "{\"content\":[{\"type\":\"text\",\"text\":\"[1,2]\"}]}";
	bool done = false;
	for (size_t n = 1; !done && n < 100; n++) {
		message = (struct mcp_message){ .kind = MCP_RESULT, .result = slice_of(text) };
		alloc_fail_at(n);
		struct answer *answer = mcp_answer(&message, 32, 200);
		done = alloc_count() < n;
		alloc_reset();
		assert_true(answer->outcome == OUTCOME_OK || answer->outcome == OUTCOME_OVERLOADED);
		assert_true(!done || answer->outcome == OUTCOME_OK);
		answer_unref(answer);
	}
	assert_true(done);
}

static void expect_mended(const char *text, const char *result)
{
	struct buf mended = BUF_INIT(1000);
	char line[200];
	snprintf(line, sizeof line, "{\"id\":1,\"result\":\"%s\"}", text);
	struct json_ahead ahead = { 0 };
	bool read = mcp_read_mended(slice_of(line), 10, NULL, &ahead, &mended, &message, &fault);
	assert_int_equal(read, result != NULL);
	if (read) {
		assert_int_equal(message.result.len, strlen(result) + 2);
		assert_memory_equal(message.result.at + 1, result, strlen(result));
	}
	buf_fini(&mended);
}

static void halves_of_surrogate_pairs_are_mended_and_nothing_else(void **state)
{
	(void)state;
	expect_mended("\\ud83d", "\\ufffd");
	expect_mended("\\uD83D\\uDE00 \\uDE00", "\\uD83D\\uDE00 \\ufffd");
	expect_mended("\\ud83d\\ud83d\\ude00", "\\ufffd\\ud83d\\ude00");
	expect_mended("\\\\ud83d", "\\\\ud83d");
	expect_mended("\\ud83d\\\\ude00", "\\ufffd\\\\ude00");
	expect_mended("\\ud83", NULL);
	expect_mended("\\ud83d \t", NULL);
}

static void whose_a_broken_answer_is(void **state)
{
	(void)state;
	static const char *const answers[] = { "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"a\":NaN}}",
					       "{\"id\":7,\"result\":", "{\"result\":{,},\"jsonrpc\":\"2.0\",\"id\":7}",
					       "{\"error\":{},\"id\":7}" };
	static const char *const others[] = { "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\",}", "id 7",
					      "{\"x\":7}", "" };
	uint64_t id;
	for (size_t i = 0; i < countof(answers); i++) {
		id = 0;
		assert_true(mcp_id_of_broken(slice_of(answers[i]), &id));
		assert_int_equal(id, 7);
	}
	for (size_t i = 0; i < countof(others); i++)
		assert_false(mcp_id_of_broken(slice_of(others[i]), &id));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(halves_of_surrogate_pairs_are_mended_and_nothing_else),
		cmocka_unit_test(whose_a_broken_answer_is),
		cmocka_unit_test_teardown(legacy_requests_carry_no_meta, clear),
		cmocka_unit_test_teardown(modern_requests_say_in_meta_who_speaks_which_version, clear),
		cmocka_unit_test(kinds_are_told_by_method_and_id),
		cmocka_unit_test(the_id_of_a_cut_answer_is_found_where_servers_write_it),
		cmocka_unit_test(progress_is_of_the_request_its_token_names),
		cmocka_unit_test(what_is_no_message_is_refused_with_a_reason),
		cmocka_unit_test_teardown(a_ping_is_answered_and_all_else_refused_under_the_servers_id, clear),
		cmocka_unit_test(rest_callers_get_the_plainest_form),
		cmocka_unit_test(a_tools_error_is_a_tool_error_with_its_text),
		cmocka_unit_test(a_long_text_is_decoded_once),
		cmocka_unit_test(a_protocol_error_is_the_callers_the_gateways_or_the_tools),
		cmocka_unit_test(without_memory_a_result_is_refused_and_nothing_leaks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
