/* SPDX-License-Identifier: Apache-2.0 */
/* The envelope dialect: what its presets write, and what becomes of answers of every shape in every fragmentation. */
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
#include "upstream/dialects/envelope.h"
#include "upstream/upstream.h"

/* --- helpers --- */

static struct dialect *new_envelope(struct envelope_settings *settings)
{
	struct dialect_error error = { 0 };
	envelope_fill(settings);
	struct dialect *dialect = envelope_new(settings, &error);
	if (!dialect)
		fail_msg("%s", error_text(&error));
	return dialect;
}

static struct dialect_route *new_route(const struct dialect *dialect, struct route_settings settings)
{
	struct dialect_error error = { 0 };
	settings.own = dialect;
	if (!settings.tool)
		settings.tool = "find";
	struct dialect_route *route = dialect->route_new(&settings, &error);
	if (!route)
		fail_msg("%s", error_text(&error));
	return route;
}

/* What one request holds: "METHOD target|headers|type|body". Ids begin with 5. */
static char *encode(const struct dialect *dialect, struct route_settings settings, const char *const *arguments,
		    size_t count)
{
	struct dialect_route *route = new_route(dialect, settings);
	struct upstream_call calls[8];
	struct encoded_request request = { .target = BUF_INIT(9000),
					   .headers = BUF_INIT(9000),
					   .body = BUF_INIT(9000) };
	for (size_t i = 0; i < count; i++) {
		calls[i] = (struct upstream_call){ .route = route, .arguments = slice_of(arguments[i]) };
		assert_null(dialect->check(route, calls[i].arguments));
	}
	assert_true(dialect->encode(calls, count, 5, &request));
	struct buf text = BUF_INIT(30000);
	buf_printf(&text, "%s %s|%s|%s|", request.method, buf_cstr(&request.target), buf_cstr(&request.headers),
		   request.content_type);
	buf_put(&text, buf_slice(&request.body));
	char *copy = strdup(buf_cstr(&text));
	buf_fini(&text);
	buf_fini(&request.target);
	buf_fini(&request.headers);
	buf_fini(&request.body);
	dialect_route_unref(route);
	return copy;
}

static void expect_request(struct envelope_settings envelope, struct route_settings settings,
			   const char *const *arguments, size_t count, const char *expected)
{
	struct dialect *dialect = new_envelope(&envelope);
	char *text = encode(dialect, settings, arguments, count);
	assert_string_equal(text, expected);
	free(text);
	envelope_free(dialect);
}

/* Feed one whole text. */
static void answer_with(struct envelope_settings settings, size_t count, unsigned status, const char *body)
{
	struct dialect *dialect = new_envelope(&settings);
	size_t all = strlen(body);
	assert_true(feed_run(&fed, dialect, count, 5, status, "application/json", slice_of(body), &all, 1));
	envelope_free(dialect);
	expect_each_once(count);
}

static const struct envelope_settings graph = { .preset = "microsoft-graph" },
				      msearch = { .preset = "elasticsearch-msearch" },
				      bulk = { .preset = "elasticsearch-bulk" }, odata = { .preset = "odata-json" };

/* --- writing --- */

static void graph_items_are_requests_with_string_ids(void **state)
{
	(void)state;
	static const char *const users[] = { "{\"user\":\"a b\"}", "{\"user\":\"c?d\"}" };
	expect_request(graph, (struct route_settings){ .http_method = "GET", .path = "/users/{user}" }, users, 2,
		       "POST /$batch||application/json|{\"requests\":[{\"id\":\"5\",\"method\":\"GET\",\"url\":"
		       "\"/users/a%20b\"},{\"id\":\"6\",\"method\":\"GET\",\"url\":\"/users/c%3Fd\"}]}");
}

static void graph_items_with_a_body_say_its_type(void **state)
{
	(void)state;
	static const char *const mail[] = { "{\"to\":\"x\",\"n\": 1.0}" };
	static const struct route_pair headers[] = { { "If-Match", "{to}" } };
	expect_request(graph, (struct route_settings){ .path = "/me/mail", .body = "{\"m\": {n}}" }, mail, 1,
		       "POST /$batch||application/json|{\"requests\":[{\"id\":\"5\",\"method\":\"POST\",\"url\":"
		       "\"/me/mail\",\"headers\":{\"Content-Type\":\"application/json\"},\"body\":{\"m\": 1.0}}]}");
	expect_request(graph,
		       (struct route_settings){
			       .http_method = "DELETE", .path = "/me/mail", .headers = headers, .header_count = 1 },
		       mail, 1,
		       "POST /$batch||application/json|{\"requests\":[{\"id\":\"5\",\"method\":\"DELETE\",\"url\":"
		       "\"/me/mail\",\"headers\":{\"If-Match\":\"x\"}}]}");
}

static void odata_urls_are_relative_and_errors_do_not_stop_the_batch(void **state)
{
	(void)state;
	static const char *const keys[] = { "{\"key\":7}" };
	expect_request(odata, (struct route_settings){ .http_method = "GET", .path = "/Customers({key})" }, keys, 1,
		       "POST /$batch|Prefer: continue-on-error, odata.continue-on-error\n|application/json|"
		       "{\"requests\":[{\"id\":\"5\",\"method\":\"GET\",\"url\":\"Customers(7)\"}]}");
}

static void ndjson_items_keep_their_lines_whatever_the_arguments_hold(void **state)
{
	(void)state;
	static const char *const searches[] = { "{\n \"q\":\r\n 1}", "{\"q\":\"a\\nb\"}" };
	expect_request(msearch, (struct route_settings){ .tool = "find" }, searches, 2,
		       "POST /_msearch||application/x-ndjson|{}\n{  \"q\":   1}\n{}\n{\"q\":\"a\\nb\"}\n");
	static const char *const docs[] = { "{\"index\":\"x\",\"document\":{\"id\":1}}" };
	expect_request(bulk, (struct route_settings){ .tool = "find" }, docs, 1,
		       "POST /_bulk||application/x-ndjson|{\"index\":{\"_index\":\"x\"}}\n{\"id\":1}\n");
}

static void a_tool_may_write_the_whole_item_of_a_batch_by_position(void **state)
{
	(void)state;
	static const char *const arguments[] = { "{\"id\":\"k\"}" };
	expect_request(bulk, (struct route_settings){ .body = "{\"delete\":{\"_index\":\"x\",\"_id\":{id}}}\n" },
		       arguments, 1,
		       "POST /_bulk||application/x-ndjson|{\"delete\":{\"_index\":\"x\",\"_id\":\"k\"}}\n");
}

static void an_own_envelope_places_name_id_and_arguments(void **state)
{
	(void)state;
	static const char *const arguments[] = { "{\"a\":1}", "{}" };
	expect_request((struct envelope_settings){ .method = "PUT",
						   .path = "/run?v=2",
						   .body = "{\"v\":1,\"calls\":{items},\"end\":true}",
						   .item = "{\"n\":{id_number},\"do\":{tool},\"with\":{arguments}}",
						   .id = "n" },
		       (struct route_settings){ .method = "find{x}" }, arguments, 2,
		       "PUT /run?v=2||application/json|{\"v\":1,\"calls\":[{\"n\":5,\"do\":\"find{x}\",\"with\":"
		       "{\"a\":1}},{\"n\":6,\"do\":\"find{x}\",\"with\":{}}],\"end\":true}");
}

static void a_missing_argument_is_named(void **state)
{
	(void)state;
	struct envelope_settings settings = bulk;
	struct dialect *dialect = new_envelope(&settings);
	struct dialect_route *route = new_route(dialect, (struct route_settings){ .tool = "find" });
	struct answer *answer = dialect->check(route, SLICE("{\"index\":\"x\"}"));
	assert_int_equal(answer->outcome, OUTCOME_INVALID_REQUEST);
	assert_string_equal(answer->detail, "argument 'document' is missing; tool 'find' needs it in its item");
	answer_unref(answer);
	dialect_route_unref(route);
	envelope_free(dialect);
}

static void refuses(struct envelope_settings settings, const char *expected)
{
	struct dialect_error error = { 0 };
	envelope_fill(&settings);
	assert_null(envelope_new(&settings, &error));
	if (!strstr(error_text(&error), expected))
		fail_msg("\"%s\" is not in \"%s\"", expected, error_text(&error));
}

static void mistakes_in_an_envelope_are_named(void **state)
{
	(void)state;
	refuses((struct envelope_settings){ .path = "/x" }, "item: is missing");
	refuses((struct envelope_settings){ .item = "{arguments}", .id = "id" }, "item: needs {id}");
	refuses((struct envelope_settings){ .item = "{arguments}", .match = "id" }, "id: is missing");
	refuses((struct envelope_settings){ .item = "{arguments}", .path = "x" }, "path: must begin with '/'");
	refuses((struct envelope_settings){ .item = "{arguments}", .path = "/a b" }, "path: ");
	refuses((struct envelope_settings){ .item = "{arguments}", .body = "{}" }, "body: needs {items} once");
	refuses((struct envelope_settings){ .item = "{arguments}", .body = "{items}{items}" }, "body: needs {items}");
	refuses((struct envelope_settings){ .item = "{arguments}", .body = "\"{items}\"" }, "body: not JSON");
	refuses((struct envelope_settings){ .item = "x", .body = "{items}", .framing = "ndjson" }, "body: NDJSON");
	refuses((struct envelope_settings){ .item = "x", .list = "a", .answer_framing = "ndjson" }, "list: NDJSON");
	refuses((struct envelope_settings){ .item = "x", .list = "a..b" }, "list: an empty name");
	refuses((struct envelope_settings){ .item = "x", .list = "a." }, "list: an empty name");
	refuses((struct envelope_settings){ .item = "x", .result = "a.b.c.d.e.f.g.h.i" }, "result: more than 8");
	refuses((struct envelope_settings){ .item = "x", .errors = "400-" }, "errors: ");
	refuses((struct envelope_settings){ .item = "x", .errors = "4000" }, "errors: ");
	refuses((struct envelope_settings){ .item = "x", .errors = "500-400" }, "errors: ");
	refuses((struct envelope_settings){ .item = "x", .errors = "400," }, "errors: ");
}

static void refuses_route(struct envelope_settings envelope, struct route_settings settings, const char *expected)
{
	struct dialect_error error = { 0 };
	struct dialect *dialect = new_envelope(&envelope);
	settings.tool = "find";
	settings.own = dialect;
	assert_null(dialect->route_new(&settings, &error));
	if (!strstr(error_text(&error), expected))
		fail_msg("\"%s\" is not in \"%s\"", expected, error_text(&error));
	envelope_free(dialect);
}

static void mistakes_in_a_tool_are_named(void **state)
{
	(void)state;
	static const struct route_pair pair[] = { { "a", "{a}" } };
	refuses_route(msearch, (struct route_settings){ .path = "/x" }, "path: does nothing");
	refuses_route(msearch, (struct route_settings){ .method = "x" }, "method: does nothing");
	refuses_route(msearch, (struct route_settings){ .http_method = "GET" }, "method: does nothing");
	refuses_route(msearch, (struct route_settings){ .query = pair, .query_count = 1 }, "query: does nothing");
	refuses_route(msearch, (struct route_settings){ .headers = pair, .header_count = 1 }, "headers: does nothing");
	refuses_route(msearch, (struct route_settings){ .body = "{\"q\":\"{q}\"}" }, "body: not JSON");
	refuses_route(graph, (struct route_settings){ .path = "x" }, "path: ");
	refuses_route((struct envelope_settings){ .item = "{\"id\":{id}}", .id = "id" },
		      (struct route_settings){ .body = "{q}" }, "body: the envelope's item has no {body}");
	refuses_route((struct envelope_settings){ .item = "{\"x\":[{body?}]}" },
		      (struct route_settings){ .http_method = "GET" }, "item: ");
	refuses_route((struct envelope_settings){ .item = "[{arguments}" }, (struct route_settings){ .tool = "find" },
		      "item: not JSON");
}

/* --- reading --- */

static void graph_answers_come_in_any_order_each_with_its_own_status(void **state)
{
	(void)state;
	answer_with(graph, 5, 200,
		    "{\"responses\":[{\"id\":\"9\",\"status\":204},"
		    "{\"id\":\"7\",\"status\":429,\"headers\":{\"retry-after\":\"12\"},\"body\":{\"error\":1}},"
		    "{\"id\":\"5\",\"status\":200,\"headers\":{},\"body\":{\"name\": 1.0}},"
		    "{\"id\":\"6\",\"status\":404,\"body\":{\"error\":{\"code\":\"NotFound\"}}},"
		    "{\"id\":\"8\",\"status\":503,\"headers\":{\"Retry-After\":\"3\"},\"body\":null}],\"@x\":1}");
	expect_result(0, "{\"name\": 1.0}");
	expect_error(1, OUTCOME_TOOL_ERROR, "404");
	assert_string_equal(fed.answers[1]->bytes, "{\"error\":{\"code\":\"NotFound\"}}");
	expect_error(2, OUTCOME_RATE_LIMITED, "429");
	assert_int_equal(fed.answers[2]->retry_after_s, 12);
	expect_error(3, OUTCOME_UPSTREAM_UNAVAILABLE, "503");
	expect_result(4, "null");
	assert_int_equal(fed.outcome, OUTCOME_OK);
	feed_fini(&fed);
}

static void ids_that_are_missing_twice_or_unknown_harm_nobody_else(void **state)
{
	(void)state;
	answer_with(odata, 3, 200,
		    "{\"responses\":[{\"id\":\"6\",\"status\":200,\"body\":1},{\"id\":\"6\",\"status\":200,\"body\":2},"
		    "{\"id\":\"99\",\"status\":200,\"body\":3},{\"status\":200,\"body\":4},7,"
		    "{\"id\":\"7\",\"status\":\"x\"}]}");
	expect_error(0, OUTCOME_UPSTREAM_ERROR, "nothing for this call");
	expect_result(1, "1");
	expect_error(2, OUTCOME_UPSTREAM_ERROR, "no status");
	assert_int_equal(fed.outcome, OUTCOME_OK);
	feed_fini(&fed);
}

static void searches_are_answered_by_position_with_their_errors(void **state)
{
	(void)state;
	answer_with(msearch, 3, 200,
		    "{\"took\":3,\"responses\":[{\"hits\":1,\"status\":200},"
		    "{\"error\":{\"type\":\"x\",\"reason\":\"no such index\"},\"status\":404},"
		    "{\"error\":{\"type\":\"y\"},\"status\":500}]}");
	expect_result(0, "{\"hits\":1,\"status\":200}");
	expect_error(1, OUTCOME_TOOL_ERROR, "404");
	assert_string_equal(fed.answers[1]->bytes, "{\"type\":\"x\",\"reason\":\"no such index\"}");
	expect_error(2, OUTCOME_UPSTREAM_ERROR, "500");
	feed_fini(&fed);
}

static void bulk_items_are_found_below_the_name_of_their_action(void **state)
{
	(void)state;
	answer_with(bulk, 4, 200,
		    "{\"took\":3,\"errors\":true,\"items\":[{\"index\":{\"_id\":\"1\",\"status\":201}},"
		    "{\"create\":{\"_id\":\"2\",\"status\":409,\"error\":{\"reason\":\"exists\"}}},"
		    "{\"update\":{\"_id\":\"3\",\"status\":429,\"error\":{\"reason\":\"queue\"}}},{}]}");
	expect_result(0, "{\"_id\":\"1\",\"status\":201}");
	expect_error(1, OUTCOME_TOOL_ERROR, "409");
	expect_error(2, OUTCOME_RATE_LIMITED, "429");
	expect_error(3, OUTCOME_UPSTREAM_ERROR, "no status");
	feed_fini(&fed);
}

/* One that was left out, or one more in front, shifts all behind it: nobody gets what may be another's. */
static void items_by_position_count_only_if_there_are_as_many_as_calls(void **state)
{
	(void)state;
	static const char *const bodies[] = { "[1,2]", "[0,1,2,3]", "[1,2,3", "[1,2,x]", "[]", "[1,2,3,", "{}" };
	struct envelope_settings plain = { .item = "{arguments}" };
	for (size_t i = 0; i < countof(bodies); i++) {
		answer_with(plain, 3, 200, bodies[i]);
		for (size_t call = 0; call < 3; call++)
			assert_int_equal(fed.answers[call]->outcome, OUTCOME_UPSTREAM_ERROR);
		assert_int_equal(fed.outcome, OUTCOME_UPSTREAM_ERROR);
		feed_fini(&fed);
	}
	answer_with(plain, 3, 200, "[1,2]");
	expect_error(1, OUTCOME_UPSTREAM_ERROR, "has 2 items, and no item says whose it is; the request held 3 calls");
	feed_fini(&fed);
	struct envelope_settings lines = { .item = "{arguments}", .answer_framing = "ndjson" };
	answer_with(lines, 2, 200, "{\"took\":1}\n{\"a\":1}\n{\"a\":2}\n");
	expect_error(1, OUTCOME_UPSTREAM_ERROR, "at least 3 items");
	feed_fini(&fed);
	answer_with(lines, 2, 200, "{\"a\":1}\n{\"a\":2}");
	expect_result(1, "{\"a\":2}");
	feed_fini(&fed);
}

static void items_by_position_are_held_until_the_list_has_ended(void **state)
{
	(void)state;
	struct envelope_settings settings = msearch;
	struct dialect *dialect = new_envelope(&settings);
	struct dialect_sink sink = { .answered = feed_answered, .context = &fed };
	fed = (struct feed){ .count = 2 };
	struct dialect_decoder *decoder = dialect_decoder_new(dialect, 2, 5, 32, &sink);
	dialect->head(decoder, 200, SLICE(""), 0);
	assert_true(dialect->feed(decoder, SLICE("{\"responses\":[{\"status\":200},{\"status\":200}")));
	assert_int_equal(fed.emitted[0] + fed.emitted[1], 0);
	assert_true(dialect->feed(decoder, SLICE("{\"responses\":[{\"status\":200},{\"status\":200}],\"took\":")));
	assert_int_equal(fed.emitted[0] + fed.emitted[1], 2);
	dialect->decoder_free(decoder);
	feed_fini(&fed);
	envelope_free(dialect);
}

static void lines_are_items_too(void **state)
{
	(void)state;
	struct envelope_settings lines = {
		.item = "{\"n\":{id}}", .answer_framing = "ndjson", .id = "n", .result = "r.v", .error = "e"
	};
	answer_with(
		lines, 4, 200,
		"{\"n\":6,\"r\":{\"v\":[1]}}\r\n\n{\"n\":\"5\",\"e\":{\"message\":\"no\"}}\n{bad\n{\"n\":8,\"r\":1}");
	expect_error(0, OUTCOME_TOOL_ERROR, "the tool answered: no");
	expect_result(1, "[1]");
	expect_error(2, OUTCOME_UPSTREAM_ERROR, "cannot be read");
	expect_error(3, OUTCOME_UPSTREAM_ERROR, "neither a result nor an error");
	feed_fini(&fed);
}

/* Whoever breaks a value over several lines speaks NDJSON no more: a line within it may look like another call's item. */
static void a_value_over_several_lines_speaks_for_no_other_call(void **state)
{
	static const char *const bodies[] = {
		"{\"n\":7,\"r\":\"7\"}\n{\"n\":5,\"r\":\n{\"n\":6,\"r\":\"forged\"}\n}\n{\"n\":6,\"r\":1}\n",
		"{\"n\":7,\"r\":\"7\"}\n{\"r\":[1,\r\n{\"n\":6,\"r\":\"forged\"}\r\n],\"n\":5}",
		"{\"n\":7,\"r\":\"7\"}\n{\"n\":5,\"r\":\"\n{\"n\":6,\"r\":\"forged\"}\n\"}",
	};
	(void)state;
	for (size_t i = 0; i < countof(bodies); i++)
		for (size_t cut = 0; cut <= strlen(bodies[i]); cut++) {
			struct envelope_settings lines = { .item = "{\"n\":{id}}",
							   .answer_framing = "ndjson",
							   .id = "n",
							   .result = "r",
							   .error = "e" };
			struct dialect *dialect = new_envelope(&lines);
			assert_true(feed_run(&fed, dialect, 3, 5, 200, NULL, slice_of(bodies[i]), &cut, 1));
			expect_error(0, OUTCOME_UPSTREAM_ERROR, "cannot be read");
			expect_error(1, OUTCOME_UPSTREAM_ERROR, "cannot be read");
			expect_result(2, "\"7\"");
			feed_fini(&fed);
			envelope_free(dialect);
		}
}

static void the_list_is_found_along_its_path_only(void **state)
{
	(void)state;
	struct envelope_settings deep = { .item = "{arguments}", .list = "a.b" };
	answer_with(deep, 1, 200,
		    "{\"b\":[1],\"x\":{\"a\":{\"b\":[2]}},\"y\":\"\\\"a\\\":{\",\"\\u0061\" : {\"c\":[3],\"b\" :[4]}}");
	expect_result(0, "4");
	feed_fini(&fed);
	struct envelope_settings top = { .item = "{arguments}" };
	answer_with(top, 2, 200, " [1, {\"x\":2}] ");
	expect_result(0, "1");
	expect_result(1, "{\"x\":2}");
	feed_fini(&fed);
}

static void an_answer_without_the_list_refuses_all(void **state)
{
	(void)state;
	answer_with(graph, 2, 200, "{\"error\":{\"code\":\"BadRequest\"}}");
	for (size_t i = 0; i < 2; i++) {
		expect_error(i, OUTCOME_UPSTREAM_ERROR, "has no list at responses");
		assert_string_equal(fed.answers[i]->bytes, FEED_NOT_SHOWN);
	}
	assert_int_equal(fed.outcome, OUTCOME_UPSTREAM_ERROR);
	feed_fini(&fed);
	answer_with(graph, 1, 200, "{\"error\":{\"code\":\"BadRequest\"}}");
	expect_error(0, OUTCOME_UPSTREAM_ERROR, "has no list at responses");
	assert_string_equal(fed.answers[0]->bytes, "{\"error\":{\"code\":\"BadRequest\"}}");
	feed_fini(&fed);
	answer_with(graph, 1, 429, "{\"error\":1}");
	expect_error(0, OUTCOME_RATE_LIMITED, "429");
	assert_int_equal(fed.answers[0]->retry_after_s, 7);
	assert_int_equal(fed.outcome, OUTCOME_RATE_LIMITED);
	feed_fini(&fed);
	/* nothing was done, it says; but who has a result is not sent again */
	answer_with(graph, 2, 429, "{\"responses\":[{\"id\":\"6\",\"status\":200,\"body\":1}]}");
	expect_result(1, "1");
	expect_error(0, OUTCOME_RATE_LIMITED, "429");
	feed_fini(&fed);
	answer_with(graph, 1, 200, "");
	expect_error(0, OUTCOME_UPSTREAM_ERROR, "is empty");
	feed_fini(&fed);
}

static void what_came_before_the_cut_counts(void **state)
{
	(void)state;
	answer_with(graph, 2, 200, "{\"responses\":[{\"id\":\"6\",\"status\":200,\"body\":1},{\"id\":\"5\",");
	expect_error(0, OUTCOME_UPSTREAM_ERROR, "cannot be read");
	expect_result(1, "1");
	assert_int_equal(fed.outcome, OUTCOME_UPSTREAM_ERROR);
	feed_fini(&fed);
}

static void every_two_fragments_give_what_the_whole_gives(void **state)
{
	(void)state;
	static const char body[] = "{\"a\":\"\\\\\\\"[\",\"responses\":[{\"id\":\"5\",\"status\":200,\"body\":\"]}\"},"
				   "{\"id\":\"6\",\"status\":400,\"body\":{}}],\"z\":[1]}";
	struct envelope_settings settings = graph;
	struct dialect *dialect = new_envelope(&settings);
	for (size_t a = 0; a < sizeof body; a++)
		for (size_t b = a; b < sizeof body; b++) {
			size_t cuts[] = { a, b };
			assert_true(feed_run(&fed, dialect, 2, 5, 200, NULL, slice_of(body), cuts, 2));
			expect_result(0, "\"]}\"");
			expect_error(1, OUTCOME_TOOL_ERROR, "400");
			feed_fini(&fed);
		}
	envelope_free(dialect);
}

static void an_item_is_answered_before_the_list_ends(void **state)
{
	(void)state;
	struct envelope_settings settings = graph;
	struct dialect *dialect = new_envelope(&settings);
	struct dialect_sink sink = { .answered = feed_answered, .context = &fed };
	fed = (struct feed){ .count = 2 };
	struct dialect_decoder *decoder = dialect_decoder_new(dialect, 2, 5, 32, &sink);
	dialect->head(decoder, 200, SLICE(""), 0);
	assert_true(dialect->feed(decoder, SLICE("{\"responses\":[{\"id\":\"6\",\"status\":200,\"body\":1},")));
	assert_int_equal(fed.emitted[1], 1);
	assert_int_equal(fed.emitted[0], 0);
	dialect->decoder_free(decoder);
	feed_fini(&fed);
	envelope_free(dialect);
}

/* --- any batch --- */

enum ending { ENDING_OK, ENDING_TOOL_ERROR, ENDING_LIMITED, ENDING_MISSING, ENDINGS };

static void put_answer(struct buf *out, bool by_id, size_t index, enum ending ending)
{
	static const unsigned statuses[] = { 200, 400, 429 };
	if (by_id)
		buf_printf(out,
			   "{\"id\":\"%zu\",\"status\":%u,\"headers\":{\"Retry-After\":\"%zu\"},\"body\":[%zu,\"]\"]}",
			   index + 5, statuses[ending], index + 1, index);
	else
		buf_printf(out, "{\"create\":{\"status\":%u,\"%s\":[%zu,\"}\"]}}", statuses[ending],
			   ending == ENDING_OK ? "r" : "error", index);
}

/* A batch by id in any order with calls left out, or by position. */
static void put_batch(struct buf *out, bool by_id, size_t count, enum ending *endings)
{
	size_t order[FEED_MAX_CALLS];
	for (size_t i = 0; i < count; i++) {
		endings[i] = feed_pick(by_id ? ENDINGS : ENDING_MISSING);
		order[i] = i;
	}
	for (size_t i = count; by_id && i > 1; i--) {
		size_t j = feed_pick((uint32_t)i), swap = order[j];
		order[j] = order[i - 1];
		order[i - 1] = swap;
	}
	buf_put_text(out, by_id ? "{\"x\":[[]],\"responses\":[" : "{\"took\":1,\"items\": [");
	bool first = true;
	for (size_t i = 0; i < count; i++) {
		if (endings[order[i]] == ENDING_MISSING)
			continue;
		buf_put_text(out, first ? "" : ",");
		first = false;
		put_answer(out, by_id, order[i], endings[order[i]]);
	}
	buf_put_text(out, feed_pick(2) ? "]}" : "],\"end\":{}}");
}

static void expect_ending(size_t index, bool by_id, enum ending ending)
{
	static const enum outcome outcomes[] = { OUTCOME_OK, OUTCOME_TOOL_ERROR, OUTCOME_RATE_LIMITED,
						 OUTCOME_UPSTREAM_ERROR };
	char own[40];
	snprintf(own, sizeof own, by_id ? "[%zu,\"]\"]" : "[%zu,\"}\"]", index);
	assert_int_equal(fed.emitted[index], 1);
	assert_int_equal(fed.answers[index]->outcome, outcomes[ending]);
	if (ending != ENDING_MISSING)
		assert_non_null(strstr(fed.answers[index]->bytes, own));
	if (by_id && ending == ENDING_LIMITED)
		assert_int_equal(fed.answers[index]->retry_after_s, index + 1);
}

static void each_call_of_2000_random_batches_gets_exactly_its_own(void **state)
{
	(void)state;
	struct envelope_settings settings[] = { graph, bulk };
	struct dialect *dialects[] = { new_envelope(&settings[0]), new_envelope(&settings[1]) };
	for (unsigned round = 0; round < 2000; round++) {
		bool by_id = round % 2 == 0;
		size_t count = 1 + feed_pick(20), cuts[40], cut_count = 0;
		enum ending endings[FEED_MAX_CALLS];
		struct buf body = BUF_INIT(100000);
		put_batch(&body, by_id, count, endings);
		for (size_t at = feed_pick(100); at < body.len && cut_count < countof(cuts); at += 1 + feed_pick(100))
			cuts[cut_count++] = at;
		assert_true(feed_run(&fed, dialects[!by_id], count, 5, 200, NULL, buf_slice(&body), cuts, cut_count));
		assert_false(fed.stray);
		for (size_t i = 0; i < count; i++)
			expect_ending(i, by_id, endings[i]);
		feed_fini(&fed);
		buf_fini(&body);
	}
	envelope_free(dialects[0]);
	envelope_free(dialects[1]);
}

/* --- memory --- */

static void run_once(void)
{
	struct dialect_error error = { 0 };
	struct envelope_settings settings = graph;
	envelope_fill(&settings);
	struct dialect *dialect = envelope_new(&settings, &error);
	if (!dialect)
		return;
	struct route_settings tool = { .tool = "find", .path = "/x/{q}", .own = dialect };
	struct dialect_route *route = dialect->route_new(&tool, &error);
	if (route) {
		struct upstream_call call = { .route = route, .arguments = SLICE("{\"q\":\"a\\nb\"}") };
		struct encoded_request request = { .target = BUF_INIT(900),
						   .headers = BUF_INIT(900),
						   .body = BUF_INIT(900) };
		answer_unref(dialect->check(route, call.arguments));
		(void)dialect->encode(&call, 1, 5, &request);
		buf_fini(&request.target);
		buf_fini(&request.headers);
		buf_fini(&request.body);
		if (feed_run(&fed, dialect, 2, 5, 200, NULL,
			     SLICE("{\"responses\":[{\"id\":\"5\",\"status\":400,\"body\":1}]}"), NULL, 0)) {
			assert_int_equal(fed.emitted[0], 1);
			assert_int_equal(fed.emitted[1], 1);
		}
		feed_fini(&fed);
		dialect_route_unref(route);
	}
	envelope_free(dialect);
}

static void every_allocation_may_fail(void **state)
{
	(void)state;
	assert_in_range(alloc_fail_each(run_once), 1, 999);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(graph_items_are_requests_with_string_ids),
		cmocka_unit_test(graph_items_with_a_body_say_its_type),
		cmocka_unit_test(odata_urls_are_relative_and_errors_do_not_stop_the_batch),
		cmocka_unit_test(ndjson_items_keep_their_lines_whatever_the_arguments_hold),
		cmocka_unit_test(a_tool_may_write_the_whole_item_of_a_batch_by_position),
		cmocka_unit_test(an_own_envelope_places_name_id_and_arguments),
		cmocka_unit_test(a_missing_argument_is_named),
		cmocka_unit_test(mistakes_in_an_envelope_are_named),
		cmocka_unit_test(mistakes_in_a_tool_are_named),
		cmocka_unit_test(graph_answers_come_in_any_order_each_with_its_own_status),
		cmocka_unit_test(ids_that_are_missing_twice_or_unknown_harm_nobody_else),
		cmocka_unit_test(searches_are_answered_by_position_with_their_errors),
		cmocka_unit_test(bulk_items_are_found_below_the_name_of_their_action),
		cmocka_unit_test(items_by_position_count_only_if_there_are_as_many_as_calls),
		cmocka_unit_test(items_by_position_are_held_until_the_list_has_ended),
		cmocka_unit_test(lines_are_items_too),
		cmocka_unit_test(a_value_over_several_lines_speaks_for_no_other_call),
		cmocka_unit_test(the_list_is_found_along_its_path_only),
		cmocka_unit_test(an_answer_without_the_list_refuses_all),
		cmocka_unit_test(what_came_before_the_cut_counts),
		cmocka_unit_test(every_two_fragments_give_what_the_whole_gives),
		cmocka_unit_test(an_item_is_answered_before_the_list_ends),
		cmocka_unit_test(each_call_of_2000_random_batches_gets_exactly_its_own),
		cmocka_unit_test(every_allocation_may_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
