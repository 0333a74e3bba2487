/* SPDX-License-Identifier: Apache-2.0 */
/* The jsonrpc dialect: what is written, and what becomes of answers of every shape in every fragmentation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdint.h>
#include <stdio.h>

#include "base/json.h"
#include "tests/support/dialect_error.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/dialect_expect.h"
#include "upstream/upstream.h"

static const struct dialect *const dialect = &dialect_jsonrpc;

/* --- helpers --- */

/* Feed one whole text; ids begin with 5. */
static void answer_with(size_t count, unsigned status, const char *body)
{
	size_t all = strlen(body);
	assert_true(feed_run(&fed, dialect, count, 5, status, "application/json", slice_of(body), &all, 1));
	expect_each_once(count);
}

static struct dialect_route *new_route(const char *method)
{
	struct dialect_error error = { 0 };
	struct route_settings settings = { .tool = "search", .method = method };
	struct dialect_route *route = dialect->route_new(&settings, &error);
	assert_non_null(route);
	return route;
}

static char *encode(struct dialect_route *route, const char *const *arguments, size_t count, uint64_t first_id)
{
	struct upstream_call calls[8];
	for (size_t i = 0; i < count; i++)
		calls[i] = (struct upstream_call){ .route = route, .arguments = slice_of(arguments[i]) };
	struct encoded_request request = { .target = BUF_INIT(1000),
					   .headers = BUF_INIT(1000),
					   .body = BUF_INIT(1000) };
	assert_true(dialect->encode(calls, count, first_id, &request));
	assert_string_equal(request.method, "POST");
	assert_string_equal(request.content_type, "application/json");
	assert_int_equal(request.target.len + request.headers.len, 0);
	char *text = strdup(buf_cstr(&request.body));
	buf_fini(&request.body);
	return text;
}

/* --- writing --- */

static void one_call_is_an_object_and_many_are_an_array(void **state)
{
	(void)state;
	static const char *const arguments[] = { "{\"q\": 1.0}", "{}", "{\"n\":123456789012345678901234567890}" };
	struct dialect_route *route = new_route("web.search");
	char *one = encode(route, arguments, 1, 7),
	     *three = encode(route, arguments, 3, UINT64_C(18446744073709551000));
	assert_string_equal(one, "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"web.search\",\"params\":{\"q\": 1.0}}");
	assert_string_equal(
		three,
		"[{\"jsonrpc\":\"2.0\",\"id\":18446744073709551000,\"method\":\"web.search\",\"params\":{\"q\": 1.0}},"
		"{\"jsonrpc\":\"2.0\",\"id\":18446744073709551001,\"method\":\"web.search\",\"params\":{}},"
		"{\"jsonrpc\":\"2.0\",\"id\":18446744073709551002,\"method\":\"web.search\",\"params\":"
		"{\"n\":123456789012345678901234567890}}]");
	free(one);
	free(three);
	dialect_route_unref(route);
}

static void the_method_is_the_tools_name_unless_set_and_is_escaped(void **state)
{
	(void)state;
	static const char *const arguments[] = { "{}" };
	struct dialect_route *plain = new_route(NULL), *odd = new_route("a\"b\\c\n");
	char *first = encode(plain, arguments, 1, 1), *second = encode(odd, arguments, 1, 1);
	assert_non_null(strstr(first, "\"method\":\"search\""));
	assert_non_null(strstr(second, "\"method\":\"a\\\"b\\\\c\\n\""));
	free(first);
	free(second);
	dialect_route_unref(plain);
	dialect_route_unref(odd);
	struct dialect_error error = { 0 };
	struct route_settings empty = { .tool = "t", .method = "" };
	assert_null(dialect->route_new(&empty, &error));
	assert_string_equal(error_text(&error), "method: is empty");
}

static void a_request_over_its_cap_is_not_written(void **state)
{
	(void)state;
	struct dialect_route *route = new_route(NULL);
	struct upstream_call call = { .route = route, .arguments = SLICE("{\"q\":\"0123456789\"}") };
	struct encoded_request request = { .target = BUF_INIT(10), .headers = BUF_INIT(10), .body = BUF_INIT(40) };
	assert_false(dialect->encode(&call, 1, 1, &request));
	buf_fini(&request.body);
	dialect_route_unref(route);
}

/* --- reading --- */

static const char three_mixed[] =
	" [ {\"jsonrpc\":\"2.0\",\"id\":7,\"result\": [1.00, \"]}\\\"[\"] } ,\n"
	"{\"id\":\"5\",\"result\":{\"a\":\"\\u00e9\\ud83d\\ude00\"},\"jsonrpc\":\"2.0\"},"
	"{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32000,\"message\":\"no \\\"such\\\" city\"},\"id\":6}] \r\n";

static void expect_three_mixed(void)
{
	expect_result(0, "{\"a\":\"\\u00e9\\ud83d\\ude00\"}");
	expect_error(1, OUTCOME_TOOL_ERROR, "the tool answered: no \"such\" city");
	assert_string_equal(fed.answers[1]->bytes, "{\"code\":-32000,\"message\":\"no \\\"such\\\" city\"}");
	assert_true(fed.answers[1]->json);
	assert_int_equal(fed.answers[1]->upstream_status, 200);
	expect_result(2, "[1.00, \"]}\\\"[\"]");
	assert_int_equal(fed.outcome, OUTCOME_OK);
}

static void answers_come_in_any_order_and_any_two_fragments(void **state)
{
	(void)state;
	size_t len = strlen(three_mixed);
	for (size_t cut = 0; cut <= len; cut++) {
		size_t cuts[] = { cut, len };
		assert_true(feed_run(&fed, dialect, 3, 5, 200, NULL, slice_of(three_mixed), cuts, 2));
		expect_three_mixed();
		feed_fini(&fed);
	}
	size_t bytes[sizeof three_mixed];
	for (size_t i = 0; i < len; i++)
		bytes[i] = i + 1;
	assert_true(feed_run(&fed, dialect, 3, 5, 200, NULL, slice_of(three_mixed), bytes, len));
	expect_three_mixed();
	feed_fini(&fed);
	/* not fed at all before the end */
	assert_true(feed_run(&fed, dialect, 3, 5, 200, NULL, slice_of(three_mixed), NULL, 0));
	expect_three_mixed();
	feed_fini(&fed);
}

static void an_item_is_emitted_when_its_bytes_are_complete(void **state)
{
	(void)state;
	static const char text[] = "[{\"id\":6,\"result\":1},{\"id\":5,\"res";
	struct dialect_sink sink = { .answered = feed_answered, .context = &fed };
	fed = (struct feed){ .count = 2 };
	struct dialect_decoder *decoder = dialect->decoder_new(2, 5, 32, &sink);
	dialect->head(decoder, 200, SLICE(""), 0);
	assert_true(dialect->feed(decoder, (struct slice){ text, 19 }));
	assert_int_equal(fed.emitted[1], 0);
	assert_true(dialect->feed(decoder, slice_of(text)));
	assert_int_equal(fed.emitted[1], 1);
	assert_int_equal(fed.emitted[0], 0);
	dialect->decoder_free(decoder); /* given up in the middle */
	feed_fini(&fed);
}

static void any_truncation_leaves_complete_items_answered(void **state)
{
	(void)state;
	static const char text[] = "[{\"id\":5,\"result\":1},{\"id\":6,\"result\":2},{\"id\":7,\"result\":3}]";
	for (size_t len = 0; len < strlen(text); len++) {
		struct slice part = { text, len };
		assert_true(feed_run(&fed, dialect, 3, 5, 200, NULL, part, &len, 1));
		for (size_t i = 0; i < 3; i++) {
			assert_int_equal(fed.emitted[i], 1);
			bool complete = len >= 20 + i * 20; /* an item is 19 bytes, and a bracket or comma before it */
			assert_int_equal(fed.answers[i]->outcome, complete ? OUTCOME_OK : OUTCOME_UPSTREAM_ERROR);
		}
		assert_int_equal(fed.outcome, OUTCOME_UPSTREAM_ERROR);
		feed_fini(&fed);
	}
}

static void an_object_answers_an_array_of_one_and_an_array_a_single_call(void **state)
{
	(void)state;
	answer_with(1, 200, "{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":null}");
	expect_result(0, "null");
	feed_fini(&fed);
	answer_with(1, 200, "[{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":false}]");
	expect_result(0, "false");
	feed_fini(&fed);
	answer_with(2, 200, "{\"jsonrpc\":\"2.0\",\"id\":6,\"result\":1}");
	expect_error(0, OUTCOME_UPSTREAM_ERROR, "nothing for this call");
	expect_result(1, "1");
	feed_fini(&fed);
}

static void missing_duplicate_and_unknown_ids_have_their_outcomes(void **state)
{
	(void)state;
	answer_with(3, 200,
		    "[{\"id\":5,\"result\":\"first\"},{\"id\":5,\"result\":\"second\"},{\"id\":4,\"result\":0},{\"id\":"
		    "8,\"result\":0},"
		    "{\"id\":null,\"result\":0},{\"id\":7.0,\"result\":0},{\"id\":-6,\"result\":0},{\"id\":\"\","
		    "\"result\":0},"
		    "{\"id\":99999999999999999999999,\"result\":0},{\"result\":0},{\"id\":[6],\"result\":0},"
		    "{\"id\":\"7\",\"result\":\"text id\"}]");
	expect_result(0, "\"first\"");
	expect_error(1, OUTCOME_UPSTREAM_ERROR, "nothing for this call");
	expect_result(2, "\"text id\"");
	feed_fini(&fed);
}

/* A stray one, on a connection that should not have been used again. */
static void anothers_error_is_not_ours(void **state)
{
	(void)state;
	for (size_t count = 1; count <= 3; count += 2) {
		answer_with(count, 200, "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":1,\"message\":\"secret\"},\"id\":4}");
		for (size_t i = 0; i < count; i++)
			expect_error(i, OUTCOME_UPSTREAM_ERROR, "nothing for this call");
		feed_fini(&fed);
	}
}

static void one_error_object_speaks_for_all(void **state)
{
	(void)state;
	answer_with(3, 200, "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32600,\"message\":\"too many\"},\"id\":null}");
	for (size_t i = 0; i < 3; i++) {
		expect_error(i, OUTCOME_UPSTREAM_ERROR, "refused the request as a whole; the request held 3 calls");
		assert_string_equal(fed.answers[i]->bytes, FEED_NOT_SHOWN);
	}
	assert_int_equal(fed.outcome, OUTCOME_UPSTREAM_ERROR);
	feed_fini(&fed);
	answer_with(1, 200, "{\"error\":{\"code\":-32700,\"message\":\"parse\"}}");
	expect_error(0, OUTCOME_UPSTREAM_ERROR, "parse");
	feed_fini(&fed);
}

static void result_and_error_both_or_neither_is_the_providers_failure(void **state)
{
	(void)state;
	answer_with(5, 200,
		    "[{\"id\":5,\"result\":1,\"error\":{\"message\":\"x\"}},{\"id\":6},{\"id\":7,\"result\":1,"
		    "\"error\":null},"
		    "{\"id\":8,\"result\":null,\"error\":{\"message\":\"x\"}},{\"id\":9,\"error\":\"just text\"}]");
	expect_error(0, OUTCOME_UPSTREAM_ERROR, "a result and an error at once");
	expect_error(1, OUTCOME_UPSTREAM_ERROR, "neither a result nor an error");
	expect_result(2, "1"); /* JSON-RPC 1.0 says null for none */
	expect_error(3, OUTCOME_TOOL_ERROR, "the tool answered: x");
	expect_error(4, OUTCOME_TOOL_ERROR, "the tool answered: just text");
	assert_string_equal(fed.answers[4]->bytes, "\"just text\"");
	feed_fini(&fed);
}

static void a_bad_item_does_not_touch_its_neighbours(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"{\"id\":6,\"result\":\"\\ud83d\"}", "{\"id\":6,\"result\":{\"a\":1,\"a\":2}}",
		"{\"id\":6,\"result\":01}",          "{\"id\":6,\"result\":\"\xff\"}",
		"{\"id\":6,\"id\":6,\"result\":1}",  "6"
	};
	for (size_t i = 0; i < countof(bad); i++) {
		char text[200];
		snprintf(text, sizeof text, "[{\"id\":5,\"result\":1},%s,{\"id\":7,\"result\":3}]", bad[i]);
		answer_with(3, 200, text);
		expect_result(0, "1");
		expect_error(1, OUTCOME_UPSTREAM_ERROR, "cannot be read: ");
		expect_result(2, "3");
		feed_fini(&fed);
	}
}

static void text_that_is_no_json_ends_the_reading(void **state)
{
	(void)state;
	static const char *const bad[] = { "[{\"id\":5,\"result\":1},}", "[{\"id\":5,\"result\":1}}",
					   "[{\"id\":5,\"result\":1},", "[{\"id\":5,\"result\":1}] x" };
	for (size_t i = 0; i < countof(bad); i++) {
		answer_with(2, 200, bad[i]);
		expect_result(0, "1");
		assert_int_equal(fed.answers[1]->outcome, OUTCOME_UPSTREAM_ERROR);
		assert_int_equal(fed.answers[1]->body_len, 0);
		feed_fini(&fed);
	}
	answer_with(1, 200, "<html>");
	expect_error(0, OUTCOME_UPSTREAM_ERROR, "cannot be read: ");
	feed_fini(&fed);
	answer_with(1, 200, " ");
	expect_error(0, OUTCOME_UPSTREAM_ERROR, "is empty");
	feed_fini(&fed);
	answer_with(2, 200, "[]");
	expect_error(0, OUTCOME_UPSTREAM_ERROR, "nothing for this call");
	assert_int_equal(fed.outcome, OUTCOME_UPSTREAM_ERROR);
	feed_fini(&fed);
}

static void nesting_is_capped_for_the_result_alone(void **state)
{
	(void)state;
	char deep[200] = "[{\"id\":5,\"result\":", *at = deep + strlen(deep);
	for (int over = 0; over < 2; over++) {
		int depth = 32 + over;
		memset(at, '[', (size_t)depth);
		memset(at + depth, ']', (size_t)depth);
		strcpy(at + 2 * depth, "},{\"id\":6,\"result\":2}]");
		answer_with(2, 200, deep);
		assert_int_equal(fed.answers[0]->outcome, over ? OUTCOME_UPSTREAM_ERROR : OUTCOME_OK);
		feed_fini(&fed);
	}
}

static void a_status_speaks_where_no_item_does(void **state)
{
	(void)state;
	static const struct {
		unsigned status;
		enum outcome outcome;
		const char *detail;
	} cases[] = {
		{ 400, OUTCOME_UPSTREAM_ERROR, "HTTP status 400" },
		{ 401, OUTCOME_UPSTREAM_ERROR, "refused the gateway's credentials" },
		{ 403, OUTCOME_UPSTREAM_ERROR, "credentials" },
		{ 408, OUTCOME_UPSTREAM_TIMEOUT, "HTTP 408" },
		{ 429, OUTCOME_RATE_LIMITED, "HTTP 429" },
		{ 500, OUTCOME_UPSTREAM_ERROR, "HTTP status 500" },
		{ 503, OUTCOME_UPSTREAM_UNAVAILABLE, "HTTP 503" },
		{ 504, OUTCOME_UPSTREAM_TIMEOUT, "HTTP 504" },
		{ 302, OUTCOME_UPSTREAM_ERROR, "redirect (HTTP 302)" },
	};
	static const char *const bodies[] = { "", "{\"why\":\"because\"}", "no\tway" };
	static const char *const said[] = { "", "{\"why\":\"because\"}", "\"no way\"" };
	for (size_t i = 0; i < countof(cases); i++)
		for (size_t j = 0; j < 2 * countof(bodies); j++) {
			size_t count = 1 + j / countof(bodies), body = j % countof(bodies);
			answer_with(count, cases[i].status, bodies[body]);
			for (size_t call = 0; call < count; call++) {
				expect_error(call, cases[i].outcome, cases[i].detail);
				assert_string_equal(fed.answers[call]->bytes,
						    count == 1 || !body ? said[body] : FEED_NOT_SHOWN);
			}
			assert_int_equal(fed.answers[0]->upstream_status, cases[i].status);
			assert_int_equal(fed.answers[0]->retry_after_s, cases[i].status == 429 ? 7 : 0);
			assert_int_equal(fed.outcome, cases[i].outcome);
			feed_fini(&fed);
		}
}

static void item_errors_are_heard_under_a_bad_status_and_results_are_not(void **state)
{
	(void)state;
	answer_with(3, 500, "[{\"id\":5,\"error\":{\"message\":\"mine\"}},{\"id\":6,\"result\":1}]");
	expect_error(0, OUTCOME_TOOL_ERROR, "the tool answered: mine");
	expect_error(1, OUTCOME_UPSTREAM_ERROR, "HTTP status 500");
	expect_error(2, OUTCOME_UPSTREAM_ERROR, "HTTP status 500");
	assert_int_equal(fed.outcome, OUTCOME_OK);
	feed_fini(&fed);
	answer_with(2, 429, "{\"error\":{\"message\":\"slow down\"},\"id\":null}");
	expect_error(1, OUTCOME_RATE_LIMITED, "HTTP 429");
	assert_string_equal(fed.answers[1]->bytes, FEED_NOT_SHOWN);
	feed_fini(&fed);
	/* 429: nothing was done, and the calls may be sent again; but not the one that has a result */
	answer_with(2, 429, "[{\"id\":6,\"result\":1}]");
	expect_result(1, "1");
	expect_error(0, OUTCOME_RATE_LIMITED, "HTTP 429");
	feed_fini(&fed);
}

static void long_messages_are_cut_and_control_bytes_stay_text(void **state)
{
	(void)state;
	char text[2000] = "{\"id\":5,\"error\":{\"message\":\"";
	for (int i = 0; i < 300; i++)
		strcat(text, "\\u00e9");
	strcat(text, "\"}}");
	answer_with(1, 200, text);
	assert_int_equal(fed.answers[0]->outcome, OUTCOME_TOOL_ERROR);
	assert_true(json_utf8(slice_of(fed.answers[0]->detail)));
	feed_fini(&fed);
}

/* Random batches, orders and fragments: each call gets its own result, always. */
static void random_batches_are_taken_apart_right(void **state)
{
	(void)state;
	unsigned seed = 42;
	for (int round = 0; round < 500; round++) {
		size_t count = 1 + (size_t)rand_r(&seed) % 20, order[20];
		uint64_t first_id = (uint64_t)rand_r(&seed);
		struct buf body = BUF_INIT(1 << 20);
		for (size_t i = 0; i < count; i++) {
			size_t j = (size_t)rand_r(&seed) % (i + 1);
			order[i] = order[j];
			order[j] = i;
		}
		buf_put_text(&body, "[");
		for (size_t i = 0; i < count; i++) {
			static const char *const nasty[] = {
				"", "[[[{{{", "\\\\\\\"", "]}]},,::", "\\n\\u0041\\\"\\\\", "\xc3\xa9"
			};
			buf_printf(&body, "%s{\"result\":{\"n\":[%zu.0,\"%s%s\"]},\"id\":%llu}", i ? " ,\n" : "",
				   order[i], nasty[rand_r(&seed) % 6], nasty[rand_r(&seed) % 6],
				   (unsigned long long)(first_id + order[i]));
		}
		buf_put_text(&body, "]");
		size_t cuts[100], cut_count = 0;
		for (size_t at = 0; at < body.len && cut_count < 100; at += 1 + (size_t)rand_r(&seed) % 60)
			cuts[cut_count++] = at;
		assert_true(feed_run(&fed, dialect, count, first_id, 200, NULL, buf_slice(&body), cuts, cut_count));
		for (size_t i = 0; i < count; i++) {
			char start[40];
			snprintf(start, sizeof start, "{\"n\":[%zu.0,", i);
			assert_int_equal(fed.emitted[i], 1);
			assert_int_equal(fed.answers[i]->outcome, OUTCOME_OK);
			assert_memory_equal(fed.answers[i]->bytes, start, strlen(start));
		}
		feed_fini(&fed);
		buf_fini(&body);
	}
}

static void without_memory_every_call_is_still_answered_once(void **state)
{
	(void)state;
	bool failed = true;
	for (size_t n = 1; failed; n++) {
		size_t cuts[] = { 50, 120, strlen(three_mixed) };
		alloc_reset();
		alloc_fail_at(n);
		bool ran = feed_run(&fed, dialect, 3, 5, 200, NULL, slice_of(three_mixed), cuts, 3);
		failed = alloc_count() >= n;
		alloc_reset();
		for (size_t i = 0; ran && i < 3; i++)
			assert_int_equal(fed.emitted[i], 1);
		feed_fini(&fed);
		assert_true(n < 200);
	}
	failed = true;
	static const char arguments[] = "{\"q\":1}";
	for (size_t n = 1; failed; n++) {
		struct dialect_error error = { 0 };
		struct route_settings settings = { .tool = "t" };
		alloc_fail_at(n);
		struct dialect_route *route = dialect->route_new(&settings, &error);
		struct upstream_call call = { .route = route, .arguments = slice_of(arguments) };
		struct encoded_request request = { .target = BUF_INIT(1000),
						   .headers = BUF_INIT(1000),
						   .body = BUF_INIT(1000) };
		bool ok = route && dialect->encode(&call, 1, 1, &request);
		failed = alloc_count() >= n;
		alloc_reset();
		if (!route)
			assert_string_equal(error_text(&error), "out of memory");
		assert_true(ok || failed);
		buf_fini(&request.body);
		dialect_route_unref(route);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_call_is_an_object_and_many_are_an_array),
		cmocka_unit_test(the_method_is_the_tools_name_unless_set_and_is_escaped),
		cmocka_unit_test(a_request_over_its_cap_is_not_written),
		cmocka_unit_test(answers_come_in_any_order_and_any_two_fragments),
		cmocka_unit_test(an_item_is_emitted_when_its_bytes_are_complete),
		cmocka_unit_test(any_truncation_leaves_complete_items_answered),
		cmocka_unit_test(an_object_answers_an_array_of_one_and_an_array_a_single_call),
		cmocka_unit_test(missing_duplicate_and_unknown_ids_have_their_outcomes),
		cmocka_unit_test(anothers_error_is_not_ours),
		cmocka_unit_test(one_error_object_speaks_for_all),
		cmocka_unit_test(result_and_error_both_or_neither_is_the_providers_failure),
		cmocka_unit_test(a_bad_item_does_not_touch_its_neighbours),
		cmocka_unit_test(text_that_is_no_json_ends_the_reading),
		cmocka_unit_test(nesting_is_capped_for_the_result_alone),
		cmocka_unit_test(a_status_speaks_where_no_item_does),
		cmocka_unit_test(item_errors_are_heard_under_a_bad_status_and_results_are_not),
		cmocka_unit_test(long_messages_are_cut_and_control_bytes_stay_text),
		cmocka_unit_test(random_batches_are_taken_apart_right),
		cmocka_unit_test(without_memory_every_call_is_still_answered_once),
	};
	return cmocka_run_group_tests_name("dialect_jsonrpc", tests, NULL, NULL);
}
