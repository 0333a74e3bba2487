/* SPDX-License-Identifier: Apache-2.0 */
/* The rest dialect: the requests that templates make, what is refused before anything is sent, what answers become. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/support/dialect_error.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/dialect_feed.h"
#include "upstream/upstream.h"

static const struct dialect *const dialect = &dialect_rest;
static struct feed fed;

/* --- helpers --- */

static struct dialect_route *new_route(const struct route_settings *settings)
{
	struct dialect_error error = { 0 };
	struct dialect_route *route = dialect->route_new(settings, &error);
	if (!route)
		fail_msg("%s", error_text(&error));
	return route;
}

static void expect_bad_route(const struct route_settings *settings, const char *wanted)
{
	struct dialect_error error = { 0 };
	assert_null(dialect->route_new(settings, &error));
	if (!strstr(error_text(&error), wanted))
		fail_msg("\"%s\" is not in \"%s\"", wanted, error_text(&error));
}

/* Write one call and compare all there is to it. */
static void expect_request(const struct route_settings *settings, const char *arguments, const char *method,
			   const char *target, const char *headers, const char *body)
{
	struct dialect_route *route = new_route(settings);
	struct upstream_call call = { .route = route, .arguments = slice_of(arguments) };
	struct encoded_request request = { .target = BUF_INIT(HTTP_TARGET_BYTES),
					   .headers = BUF_INIT(HTTP_HEADER_BYTES),
					   .body = BUF_INIT(100000) };
	assert_null(dialect->check(route, call.arguments));
	assert_true(dialect->encode(&call, 1, 9, &request));
	assert_string_equal(request.method, method);
	assert_string_equal(buf_cstr(&request.target), target);
	assert_string_equal(buf_cstr(&request.headers), headers);
	assert_string_equal(buf_cstr(&request.body), body);
	if (*body)
		assert_string_equal(request.content_type, "application/json");
	else
		assert_null(request.content_type);
	buf_fini(&request.target);
	buf_fini(&request.headers);
	buf_fini(&request.body);
	dialect_route_unref(route);
}

static void expect_refusal(const struct route_settings *settings, const char *arguments, const char *detail)
{
	struct dialect_route *route = new_route(settings);
	struct answer *refusal = dialect->check(route, slice_of(arguments));
	assert_non_null(refusal);
	assert_int_equal(refusal->outcome, OUTCOME_INVALID_REQUEST);
	assert_string_equal(refusal->detail, detail);
	answer_unref(refusal);
	dialect_route_unref(route);
}

static void answer_with(unsigned status, const char *type, const char *body)
{
	size_t half = strlen(body) / 2;
	assert_true(feed_run(&fed, dialect, 1, 5, status, type, slice_of(body), &half, 1));
	assert_int_equal(fed.emitted[0], 1);
}

static void expect_answer(enum outcome outcome, bool json, const char *body)
{
	assert_int_equal(fed.answers[0]->outcome, outcome);
	assert_int_equal(fed.answers[0]->json, json);
	assert_string_equal(fed.answers[0]->bytes, body);
}

/* --- writing --- */

static void the_default_posts_the_arguments_to_the_tools_name(void **state)
{
	(void)state;
	struct route_settings settings = { .tool = "send mail" };
	expect_request(&settings, "{\"to\": \"x\", \"n\":1.0}", "POST", "/send%20mail", "",
		       "{\"to\": \"x\", \"n\":1.0}");
}

static void methods_without_a_body_have_none_by_default(void **state)
{
	(void)state;
	static const char *const bodyless[] = { "GET", "HEAD", "DELETE" };
	for (size_t i = 0; i < countof(bodyless); i++) {
		struct route_settings settings = { .tool = "t", .http_method = bodyless[i] };
		expect_request(&settings, "{\"a\":1}", bodyless[i], "/t", "", "");
	}
	static const char *const with[] = { "PUT", "PATCH" };
	for (size_t i = 0; i < countof(with); i++) {
		struct route_settings settings = { .tool = "t", .http_method = with[i] };
		expect_request(&settings, "{\"a\":1}", with[i], "/t", "", "{\"a\":1}");
	}
	struct route_settings delete_with_body = { .tool = "t", .http_method = "DELETE", .body = "{\"ids\":{ids}}" };
	expect_request(&delete_with_body, "{\"ids\":[1,2]}", "DELETE", "/t", "", "{\"ids\":[1,2]}");
	struct route_settings post_without = { .tool = "t", .body = "" };
	expect_request(&post_without, "{\"a\":1}", "POST", "/t", "", "");
}

static void templates_fill_path_query_headers_and_body(void **state)
{
	(void)state;
	static const struct route_pair query[] = { { "days", "{days?}" },
						   { "units&", "metric" },
						   { "f", "{filter?}" } };
	static const struct route_pair headers[] = { { "X-Lang", "{lang?}" }, { "X-Plan", "p-{plan}" } };
	struct route_settings settings = { .tool = "forecast",
					   .http_method = "POST",
					   .path = "/forecast/{city}",
					   .query = query,
					   .query_count = 3,
					   .headers = headers,
					   .header_count = 2,
					   .body = "{\"q\": {q}, \"n\": {n?}}" };
	expect_request(&settings, "{\"city\":\"a?b\",\"plan\":\"\",\"q\":\"x\\ny\"}", "POST",
		       "/forecast/a%3Fb?units%26=metric", "X-Plan: p-\n", "{\"q\": \"x\\ny\", \"n\": null}");
	expect_request(&settings,
		       "{\"city\":1,\"plan\":2,\"q\":{},\"days\":3,\"lang\":\"en\",\"filter\":{\"a\":1},\"n\":-0.0}",
		       "POST", "/forecast/1?days=3&units%26=metric&f=%7B%22a%22%3A1%7D", "X-Lang: en\nX-Plan: p-2\n",
		       "{\"q\": {}, \"n\": -0.0}");
}

static void what_cannot_be_written_is_refused_by_name(void **state)
{
	(void)state;
	static const struct route_pair query[] = { { "days", "{days}" } };
	static const struct route_pair headers[] = { { "X-Lang", "{lang?}" } };
	struct route_settings settings = { .tool = "forecast",
					   .http_method = "GET",
					   .path = "/{city}",
					   .query = query,
					   .query_count = 1,
					   .headers = headers,
					   .header_count = 1 };
	expect_refusal(&settings, "{\"days\":1}", "argument 'city' is missing; tool 'forecast' needs it in its path");
	expect_refusal(&settings, "{\"city\":null,\"days\":1}",
		       "argument 'city' is missing; tool 'forecast' needs it in its path");
	expect_refusal(&settings, "{\"city\":\"x\"}",
		       "argument 'days' is missing; tool 'forecast' needs it in its query parameter days");
	expect_refusal(&settings, "{\"city\":\"..\",\"days\":1}",
		       "argument 'city' makes a segment that a server may read as '.' or '..'; tool 'forecast' cannot "
		       "put it in its path");
	expect_refusal(&settings, "{\"city\":\"../admin/users\",\"days\":1}",
		       "argument 'city' holds a slash, and its placeholder stands for one segment ({name+} takes "
		       "several); tool 'forecast' cannot put it in its path");
	expect_refusal(&settings, "{\"city\":[],\"days\":1}",
		       "argument 'city' is an array; tool 'forecast' cannot put it in its path");
	expect_refusal(
		&settings, "{\"city\":\"x\",\"days\":1,\"lang\":\"en\\r\\nX: y\"}",
		"argument 'lang' holds a line break or another control character; tool 'forecast' cannot put it in "
		"its header X-Lang");
	struct route_settings body = { .tool = "t", .body = "[{q}]" };
	expect_refusal(&body, "{}", "argument 'q' is missing; tool 't' needs it in its body");
}

static void an_address_over_the_cap_is_refused(void **state)
{
	(void)state;
	struct route_settings settings = { .tool = "t", .path = "/{x}", .http_method = "GET" };
	static char arguments[HTTP_TARGET_BYTES + 100] = "{\"x\":\"";
	size_t start = strlen(arguments);
	memset(arguments + start, 'a', HTTP_TARGET_BYTES - 1);
	strcpy(arguments + start + HTTP_TARGET_BYTES - 1, "\"}");
	struct dialect_route *route = new_route(&settings);
	assert_null(dialect->check(route, slice_of(arguments)));
	strcpy(arguments + start + HTTP_TARGET_BYTES - 1, "a\"}");
	struct answer *refusal = dialect->check(route, slice_of(arguments));
	assert_non_null(refusal);
	assert_int_equal(refusal->outcome, OUTCOME_INVALID_REQUEST);
	assert_non_null(strstr(refusal->detail, "make an address of 16385 bytes"));
	answer_unref(refusal);
	dialect_route_unref(route);
}

static void bad_routes_name_the_place(void **state)
{
	(void)state;
	static const struct route_pair bad_header[] = { { "X Y", "1" } }, framing[] = { { "content-length", "1" } };
	static const struct route_pair bad_value[] = { { "X-Y", "a\nb" } };
	struct route_settings method = { .tool = "t", .http_method = "get" };
	expect_bad_route(&method, "method: 'get' is not one of POST, GET");
	struct route_settings path = { .tool = "t", .path = "/{x" };
	expect_bad_route(&path, "path: character 2: a brace");
	struct route_settings header = { .tool = "t", .headers = bad_header, .header_count = 1 };
	expect_bad_route(&header, "headers.X Y: not a header name");
	header.headers = framing;
	expect_bad_route(&header, "headers.content-length: the gateway sets this header itself");
	header.headers = bad_value;
	expect_bad_route(&header, "headers.X-Y: character 2: control character 0x0a");
	struct route_settings head = { .tool = "t", .http_method = "HEAD", .body = "{arguments}" };
	expect_bad_route(&head, "body: a HEAD request has none");
	struct route_settings quoted = { .tool = "t", .body = "{\"q\":\"{q}\"}" };
	expect_bad_route(&quoted, "body: not JSON once its placeholders are filled in");
}

static void a_body_of_another_type_need_not_be_json(void **state)
{
	(void)state;
	static const struct route_pair headers[] = { { "Content-Type", "text/plain" } };
	struct route_settings settings = { .tool = "t", .headers = headers, .header_count = 1, .body = "say {x}!" };
	struct dialect_route *route = new_route(&settings);
	dialect_route_unref(route);
}

/* Where nobody knows how to write a value so that it stays one, none is written. */
static void a_body_takes_arguments_only_where_they_stay_values(void **state)
{
	(void)state;
	static const char *const refused[] = { "application/xml", "text/html", "multipart/form-data; boundary=x",
					       "{type}" };
	struct route_pair headers[] = { { "Content-Type", NULL }, { "content-type", "text/plain" } };
	struct route_settings settings = { .tool = "t", .headers = headers, .header_count = 1 };
	for (size_t i = 0; i < countof(refused); i++) {
		headers[0].value = refused[i];
		settings.body = "<a>{x}</a>";
		expect_bad_route(&settings, "body: arguments can be written into JSON");
		settings.body = "<a>1</a>";
		dialect_route_unref(new_route(&settings));
	}
	settings.body = "{\"q\":\"{q}\"}";
	headers[0].value = "application/vnd.x+json";
	expect_bad_route(&settings, "body: not JSON once");
	settings.body = "{\"q\":{q}}\n{\"q\":\"{q}\"}\n";
	headers[0].value = "application/x-ndjson";
	expect_bad_route(&settings, "body: not JSON once");
	settings.body = "{\"q\":{q}}\n{arguments}\n";
	dialect_route_unref(new_route(&settings));
	settings.header_count = 2;
	expect_bad_route(&settings, "of which there are two");
}

static void a_forms_values_stay_values(void **state)
{
	(void)state;
	static const struct route_pair headers[] = { { "Content-Type", "application/x-www-form-urlencoded" } };
	struct route_settings settings = { .tool = "t", .headers = headers, .header_count = 1, .path = "/x" };
	settings.body = "user={user}&role=guest";
	expect_request(&settings, "{\"user\":\"bob&role=admin&x=\"}", "POST", "/x",
		       "Content-Type: application/x-www-form-urlencoded\n",
		       "user=bob%26role%3Dadmin%26x%3D&role=guest");
	settings.body = NULL;
	expect_request(&settings, "{\"user\":\"a b\",\"n\":1}", "POST", "/x",
		       "Content-Type: application/x-www-form-urlencoded\n", "user=a%20b&n=1");
}

/* A line break between an argument's tokens is a blank there, and would be the end of a line here. */
static void an_argument_begins_no_line_of_its_own(void **state)
{
	(void)state;
	struct route_pair headers[] = { { "Content-Type", "application/x-ndjson" } };
	struct route_settings settings = { .tool = "t", .headers = headers, .header_count = 1, .path = "/x" };
	settings.body = "{\"index\":{}}\n{\"doc\":{x}}\n";
	expect_request(&settings, "{\"x\":[1,\r\n{\"delete\":\"a\\n\"}\n,2]}", "POST", "/x",
		       "Content-Type: application/x-ndjson\n",
		       "{\"index\":{}}\n{\"doc\":[1,  {\"delete\":\"a\\n\"} ,2]}\n");
	headers[0].value = "text/plain";
	settings.body = "temperature value={x}\n";
	expect_request(&settings, "{\"x\":{\n\"y\":1}}", "POST", "/x", "Content-Type: text/plain\n",
		       "temperature value={ \"y\":1}\n");
	headers[0].value = "application/json";
	settings.body = NULL;
	expect_request(&settings, "{\n\"y\":1}", "POST", "/x", "Content-Type: application/json\n", "{\n\"y\":1}");
}

/* --- reading --- */

static void a_good_answers_body_is_the_result_as_it_came(void **state)
{
	(void)state;
	answer_with(200, "application/json", " {\"n\": 1.0} \n");
	expect_answer(OUTCOME_OK, true, " {\"n\": 1.0} \n");
	assert_string_equal(fed.answers[0]->content_type, "application/json");
	assert_int_equal(fed.outcome, OUTCOME_OK);
	feed_fini(&fed);
	answer_with(201, "application/geo+json; charset=utf-8", "[1]");
	expect_answer(OUTCOME_OK, true, "[1]");
	feed_fini(&fed);
	answer_with(200, "Application/JSON ;x", "{}");
	expect_answer(OUTCOME_OK, true, "{}");
	feed_fini(&fed);
	answer_with(200, "text/plain; charset=utf-8", "not { json");
	expect_answer(OUTCOME_OK, false, "not { json");
	assert_string_equal(fed.answers[0]->content_type, "text/plain; charset=utf-8");
	feed_fini(&fed);
	answer_with(200, NULL, "{\"a\":1}");
	expect_answer(OUTCOME_OK, true, "{\"a\":1}");
	feed_fini(&fed);
	answer_with(200, NULL, "bytes");
	expect_answer(OUTCOME_OK, false, "bytes");
	assert_string_equal(fed.answers[0]->content_type, "application/octet-stream");
	feed_fini(&fed);
	answer_with(200, "text/x\x01", "bytes");
	assert_string_equal(fed.answers[0]->content_type, "application/octet-stream");
	feed_fini(&fed);
}

/* An answer without a body: the length was said or not, the tool's method. */
static void answer_empty(unsigned status, const char *type, const char *length, const char *method)
{
	struct route_settings settings = { .tool = "t", .http_method = method };
	struct dialect_route *route = new_route(&settings);
	const struct upstream_call call = { .route = route, .arguments = SLICE("{}") };
	const struct dialect_sink sink = { .answered = feed_answered, .context = &fed };
	fed = (struct feed){ .count = 1 };
	struct dialect_decoder *decoder = dialect->decoder_new(1, 5, 32, &sink);
	dialect->expect(decoder, &call);
	if (length)
		dialect->header(decoder, slice_of(length));
	dialect->head(decoder, status, slice_of(type), 0);
	fed.outcome = dialect->finish(decoder, SLICE(""));
	dialect->decoder_free(decoder);
	dialect_route_unref(route);
}

static void an_empty_answer_is_null_where_it_was_meant(void **state)
{
	(void)state;
	static const struct {
		unsigned status;
		const char *type, *length, *method;
		bool null;
	} cases[] = {
		{ 204, "application/json", NULL, "POST", true },
		{ 205, "application/json", NULL, "POST", true },
		{ 200, "", NULL, "POST", true },
		{ 200, "text/plain", NULL, "POST", true },
		{ 200, "application/json", "0", "POST", true },
		{ 200, "application/json", NULL, "HEAD", true },
		{ 200, "application/json", "99", "HEAD", true },
		{ 200, "application/json", NULL, "POST", false },
		{ 201, "text/json", NULL, "GET", false },
	};
	for (size_t i = 0; i < countof(cases); i++) {
		answer_empty(cases[i].status, cases[i].type, cases[i].length, cases[i].method);
		assert_int_equal(fed.answers[0]->outcome, cases[i].null ? OUTCOME_OK : OUTCOME_UPSTREAM_ERROR);
		assert_string_equal(fed.answers[0]->bytes, cases[i].null ? "null" : "");
		feed_fini(&fed);
	}
}

static void json_that_is_none_is_the_providers_failure(void **state)
{
	(void)state;
	static const char *const bad[] = { "{\"a\":", "{\"a\":1,\"a\":2}", "NaN", "\"\\ud83d\"", "{} {}" };
	for (size_t i = 0; i < countof(bad); i++) {
		answer_with(200, "application/json", bad[i]);
		expect_answer(OUTCOME_UPSTREAM_ERROR, false, "");
		assert_non_null(strstr(fed.answers[0]->detail, "says it is JSON and is not: "));
		assert_int_equal(fed.outcome, OUTCOME_UPSTREAM_ERROR);
		feed_fini(&fed);
	}
}

static void statuses_have_their_outcomes(void **state)
{
	(void)state;
	static const struct {
		unsigned status;
		enum outcome outcome, exchange;
	} cases[] = {
		{ 302, OUTCOME_UPSTREAM_ERROR, OUTCOME_UPSTREAM_ERROR },
		{ 400, OUTCOME_TOOL_ERROR, OUTCOME_OK },
		{ 401, OUTCOME_UPSTREAM_ERROR, OUTCOME_UPSTREAM_ERROR },
		{ 403, OUTCOME_UPSTREAM_ERROR, OUTCOME_UPSTREAM_ERROR },
		{ 404, OUTCOME_TOOL_ERROR, OUTCOME_OK },
		{ 408, OUTCOME_UPSTREAM_TIMEOUT, OUTCOME_UPSTREAM_TIMEOUT },
		{ 422, OUTCOME_TOOL_ERROR, OUTCOME_OK },
		{ 429, OUTCOME_RATE_LIMITED, OUTCOME_RATE_LIMITED },
		{ 500, OUTCOME_UPSTREAM_ERROR, OUTCOME_UPSTREAM_ERROR },
		{ 502, OUTCOME_UPSTREAM_ERROR, OUTCOME_UPSTREAM_ERROR },
		{ 503, OUTCOME_UPSTREAM_UNAVAILABLE, OUTCOME_UPSTREAM_UNAVAILABLE },
		{ 504, OUTCOME_UPSTREAM_TIMEOUT, OUTCOME_UPSTREAM_TIMEOUT },
	};
	for (size_t i = 0; i < countof(cases); i++) {
		answer_with(cases[i].status, "application/json", "{\"why\": 1.0}");
		expect_answer(cases[i].outcome, true, "{\"why\": 1.0}");
		assert_int_equal(fed.outcome, cases[i].exchange);
		assert_int_equal(fed.answers[0]->upstream_status, cases[i].status);
		assert_int_equal(fed.answers[0]->retry_after_s, cases[i].status == 429 ? 7 : 0);
		assert_true(fed.answers[0]->detail[0] != '\0');
		feed_fini(&fed);
	}
}

static void what_a_provider_says_in_plain_text_becomes_a_short_string(void **state)
{
	(void)state;
	answer_with(404, "text/html", "<b>\"no\"</b>\r\n");
	expect_answer(OUTCOME_TOOL_ERROR, true, "\"<b>\\\"no\\\"</b>\"");
	feed_fini(&fed);
	char text[1000] = "";
	for (int i = 0; i < 300; i++)
		strcat(text, "\xc3\xa9");
	answer_with(500, "text/plain", text);
	assert_int_equal(fed.answers[0]->body_len, 2 + 200 * 2);
	feed_fini(&fed);
	static char big[70 * 1024];
	big[0] = big[sizeof big - 2] = '"';
	memset(big + 1, 'x', sizeof big - 3);
	answer_with(400, "application/json", big);
	assert_int_equal(fed.answers[0]->body_len, 2 + 2 + 199); /* quotes, the escaped quote, 199 more */
	feed_fini(&fed);
	answer_with(500, NULL, "");
	expect_answer(OUTCOME_UPSTREAM_ERROR, false, "");
	feed_fini(&fed);
}

static void running_out_of_memory_is_told(void **state)
{
	(void)state;
	static const struct route_pair query[] = { { "days", "{days?}" } };
	static const struct route_pair headers[] = { { "X-Lang", "{lang?}" } };
	struct route_settings settings = { .tool = "t",
					   .path = "/{city}",
					   .query = query,
					   .query_count = 1,
					   .headers = headers,
					   .header_count = 1,
					   .body = "{\"q\":{q}}" };
	struct slice arguments = SLICE("{\"city\":\"x y\",\"q\":\"z\",\"days\":\"2\",\"lang\":\"en\"}");
	bool failed = true;
	for (size_t n = 1; failed; n++) {
		struct dialect_error error = { 0 };
		alloc_reset();
		alloc_fail_at(n);
		struct dialect_route *route = dialect->route_new(&settings, &error);
		struct answer *refusal = route ? dialect->check(route, arguments) : NULL;
		failed = alloc_count() >= n;
		alloc_reset();
		if (!route && !strstr(error_text(&error), "out of memory"))
			fail_msg("%s", error_text(&error));
		if (refusal)
			assert_int_equal(refusal->outcome, OUTCOME_OVERLOADED);
		assert_true(failed || (route && !refusal));
		answer_unref(refusal);
		dialect_route_unref(route);
		assert_true(n < 200);
	}
	failed = true;
	for (size_t n = 1; failed; n++) {
		alloc_fail_at(n);
		bool ran = feed_run(&fed, dialect, 1, 1, n % 2 ? 200 : 404, NULL, SLICE("{\"a\":{\"b\":1}}"), NULL, 0);
		failed = alloc_count() >= n;
		alloc_reset();
		if (ran)
			assert_int_equal(fed.emitted[0], 1);
		feed_fini(&fed);
	}
}

/* Arguments may be megabytes: what is only asked, whether they can be written, makes no copy of them. */
static void to_check_arguments_does_not_copy_them(void **state)
{
	const struct route_settings settings = { .tool = "t", .path = "/send" };
	struct dialect_route *route = new_route(&settings);
	(void)state;
	alloc_reset();
	assert_null(dialect->check(route, SLICE("{\"a\":1}")));
	assert_int_equal(alloc_count(), 1); /* its address, which may be too long */
	alloc_reset();
	dialect_route_unref(route);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(to_check_arguments_does_not_copy_them),
		cmocka_unit_test(the_default_posts_the_arguments_to_the_tools_name),
		cmocka_unit_test(methods_without_a_body_have_none_by_default),
		cmocka_unit_test(templates_fill_path_query_headers_and_body),
		cmocka_unit_test(what_cannot_be_written_is_refused_by_name),
		cmocka_unit_test(an_address_over_the_cap_is_refused),
		cmocka_unit_test(bad_routes_name_the_place),
		cmocka_unit_test(a_body_of_another_type_need_not_be_json),
		cmocka_unit_test(a_body_takes_arguments_only_where_they_stay_values),
		cmocka_unit_test(a_forms_values_stay_values),
		cmocka_unit_test(an_argument_begins_no_line_of_its_own),
		cmocka_unit_test(a_good_answers_body_is_the_result_as_it_came),
		cmocka_unit_test(an_empty_answer_is_null_where_it_was_meant),
		cmocka_unit_test(json_that_is_none_is_the_providers_failure),
		cmocka_unit_test(statuses_have_their_outcomes),
		cmocka_unit_test(what_a_provider_says_in_plain_text_becomes_a_short_string),
		cmocka_unit_test(running_out_of_memory_is_told),
	};
	return cmocka_run_group_tests_name("dialect_rest", tests, NULL, NULL);
}
