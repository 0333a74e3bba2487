/* SPDX-License-Identifier: Apache-2.0 */
/* The graphql dialect: how operations become one document, and how its answer is taken apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "tests/support/dialect_error.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/dialect_expect.h"
#include "upstream/dialects/graphql.h"
#include "upstream/upstream.h"

/* --- helpers --- */

enum { CALLS = FEED_MAX_CALLS };

static struct dialect *dialect;
static struct dialect_route *route; /* of the tool under test */
static struct upstream_call calls[CALLS];

static void use(const char *merge, const char *operation, bool repeatable)
{
	struct dialect_error error = { 0 };
	dialect = graphql_new(&(struct graphql_settings){ .merge = merge, .max = CALLS });
	assert_non_null(dialect);
	struct route_settings settings = {
		.tool = "find", .operation = operation, .repeatable = repeatable, .own = dialect
	};
	route = dialect->route_new(&settings, &error);
	if (!route)
		fail_msg("%s", error_text(&error));
	for (size_t i = 0; i < CALLS; i++)
		calls[i] = (struct upstream_call){ .route = route, .arguments = SLICE("{\"id\":7}") };
}

static void done(void)
{
	feed_fini(&fed);
	dialect_route_unref(route);
	dialect_release(dialect);
}

static void answer(size_t count, unsigned status, const char *body)
{
	answer_both_ways(dialect, calls, count, status, NULL, body);
}

static void expect_written(size_t count, const char *body)
{
	struct encoded_request request = { .target = BUF_INIT(9000),
					   .headers = BUF_INIT(9000),
					   .body = BUF_INIT(90000) };
	assert_true(dialect->encode(calls, count, 1, &request));
	assert_string_equal(buf_cstr(&request.body), body);
	assert_string_equal(request.method, "POST");
	assert_non_null(strstr(buf_cstr(&request.headers), "application/graphql-response+json"));
	buf_fini(&request.target);
	buf_fini(&request.headers);
	buf_fini(&request.body);
}

static void expect_refused(const char *operation, const char *why)
{
	struct dialect_error error = { 0 };
	struct dialect *own = graphql_new(&(struct graphql_settings){ .merge = NULL });
	struct route_settings settings = { .tool = "find", .operation = operation, .own = own };
	assert_null(own->route_new(&settings, &error));
	assert_string_equal(error_text(&error), why);
	dialect_release(own);
}

static void expect_group(const char *operation, bool repeatable, const char *group)
{
	struct buf first = BUF_INIT(100), second = BUF_INIT(100);
	use(NULL, operation, repeatable);
	dialect->group(route, SLICE("{}"), &first);
	dialect->group(route, SLICE("{}"), &second);
	if (group)
		assert_string_equal(buf_cstr(&first), group);
	assert_int_equal(strcmp(buf_cstr(&first), buf_cstr(&second)) == 0, group != NULL);
	buf_fini(&first);
	buf_fini(&second);
	done();
}

/* --- writing --- */

static void a_lone_call_is_the_operation_as_it_was_written(void **state)
{
	(void)state;
	use(NULL, "query U($id: ID!) { # one\n user(id: $id) { name } }", true);
	calls[0].arguments = SLICE("{\"id\": 1.50, \"other\": 2}");
	expect_written(
		1, "{\"query\":\"query U($id: ID!) { # one\\n user(id: $id) { name } }\",\"variables\":{\"id\":1.50}}");
	done();
}

static void two_calls_are_one_document_with_names_of_their_own(void **state)
{
	(void)state;
	use(NULL,
	    "query U($id: ID!, $n: Int = 3) { user(id: $id) { name } all: users(first: $n, w: [{a: $id}]) { ...F } }"
	    " fragment F on User { id friend(id: $id) { ...G } } fragment G on User { name }",
	    true);
	calls[1].arguments = SLICE("{\"n\": null, \"id\": \"x\"}");
	expect_written(2, "{\"query\":\"query($j0_id:ID!$j0_n:Int=3 $j1_id:ID!$j1_n:Int=3)"
			  "{j0_user:user(id:$j0_id){name}j0_all:users(first:$j0_n w:[{a:$j0_id}]){...j0_F} "
			  "j1_user:user(id:$j1_id){name}j1_all:users(first:$j1_n w:[{a:$j1_id}]){...j1_F}}"
			  "fragment j0_F on User{id friend(id:$j0_id){...j0_G}}fragment j0_G on User{name} "
			  "fragment j1_F on User{id friend(id:$j1_id){...j1_G}}fragment j1_G on User{name}\","
			  "\"variables\":{\"j0_id\":7,\"j1_id\":\"x\",\"j1_n\":null}}");
	done();
}

static void fields_of_the_root_are_found_in_fragments_too(void **state)
{
	(void)state;
	use(NULL,
	    "{ ...R ... on Query @include(if: true) { a ... { b: c } } } fragment R on Query { d { e } ...S }"
	    " fragment S on Query { f }",
	    true);
	expect_written(2, "{\"query\":\"query{...j0_R...on Query@include(if:true){j0_a:a...{j0_b:c}} "
			  "...j1_R...on Query@include(if:true){j1_a:a...{j1_b:c}}}"
			  "fragment j0_R on Query{j0_d:d{e}...j0_S}fragment j0_S on Query{j0_f:f} "
			  "fragment j1_R on Query{j1_d:d{e}...j1_S}fragment j1_S on Query{j1_f:f}\",\"variables\":{}}");
	done();
}

static void strings_and_comments_hold_what_they_like(void **state)
{
	(void)state;
	use(NULL,
	    "{ a(x: \"} $id # \\\" {\", y: \"\"\"b \\\"\"\" } $ # \"\"\", z: [\"\" \"q\"], n: -1.5e+3) # } $x\n b }",
	    true);
	expect_written(2, "{\"query\":\"query{j0_a:a(x:\\\"} $id # \\\\\\\" {\\\"y:\\\"\\\"\\\"b \\\\\\\"\\\"\\\" } $ "
			  "# \\\"\\\"\\\""
			  "z:[\\\"\\\" \\\"q\\\"]n:-1.5e+3)j0_b:b "
			  "j1_a:a(x:\\\"} $id # \\\\\\\" {\\\"y:\\\"\\\"\\\"b \\\\\\\"\\\"\\\" } $ # \\\"\\\"\\\""
			  "z:[\\\"\\\" \\\"q\\\"]n:-1.5e+3)j1_b:b}\",\"variables\":{}}");
	done();
}

static void a_list_holds_whole_operations(void **state)
{
	(void)state;
	use("array", "query($id: ID!) { user(id: $id) { name } }", false);
	expect_written(2, "[{\"query\":\"query($id: ID!) { user(id: $id) { name } }\",\"variables\":{\"id\":7}},"
			  "{\"query\":\"query($id: ID!) { user(id: $id) { name } }\",\"variables\":{\"id\":7}}]");
	done();
}

static void only_what_may_be_sent_again_shares_a_document(void **state)
{
	(void)state;
	expect_group("{ a }", true, "q");
	expect_group("query Q { a }", true, "q");
	expect_group("mutation { a }", true, "m");
	expect_group("mutation { a }", false, NULL);
	expect_group("{ a }", false, NULL);
	expect_group("query @live { a }", true, NULL);
	expect_group("{ ...R q { ...R } } fragment R on Query { a }", true, NULL);
}

static void mistakes_in_an_operation_are_named_with_their_line(void **state)
{
	(void)state;
	expect_refused(NULL, "operation: is missing: a query or mutation with $variables");
	expect_refused("", "operation: line 1: no operation");
	expect_refused("{ a }\n{ b }", "operation: line 2: a second operation; a tool has one");
	expect_refused("subscription { a }",
		       "operation: line 1: a subscription; only queries and mutations have one answer");
	expect_refused("{ a(x: $y) }", "operation: line 1: a variable that the operation does not declare");
	expect_refused("{\n ...F }", "operation: line 2: a fragment that is not defined");
	expect_refused("{ a } fragment F on A { b } fragment F on A { b }",
		       "operation: line 1: a fragment that is there twice");
	expect_refused("{ a { }", "operation: line 1: a field expected, not '}'");
	expect_refused("{ a ", "operation: line 1: a field expected, the text ends");
	expect_refused("{ a(x: \"q) }", "operation: line 1: a value expected, not '\"'");
	expect_refused("{ a(x: \"\"\"q) }", "operation: line 1: a value expected, not '\"'");
	expect_refused("query($a: Int, $a: Int) { a }", "operation: line 1: a variable that is there twice");
	expect_refused("query($a) { a }", "operation: line 1: ':' expected, not ')'");
	expect_refused("type Query { a: Int }", "operation: line 1: a query or a mutation expected, not 'type'");
	expect_refused("{ a } fragment F { b }", "operation: line 1: 'on' expected, not '{'");
	expect_refused("{ a \x01 }", "operation: line 1: a control character");
	expect_refused("{ a \xff }", "operation: line 1: not UTF-8");
}

static void nesting_has_an_end(void **state)
{
	(void)state;
	char deep[1000] = "";
	for (size_t i = 0; i < 300; i++)
		strcat(deep, "{a");
	expect_refused(deep, "operation: line 1: nested too deep");
}

static void a_variable_that_must_be_there_is_named(void **state)
{
	(void)state;
	use(NULL, "query($id: ID!, $n: Int! = 3, $m: [Int!]) { user(id: $id, n: $n, m: $m) { name } }", true);
	assert_null(dialect->check(route, SLICE("{\"id\":7}")));
	for (int i = 0; i < 2; i++) {
		struct answer *refusal = dialect->check(route, slice_of(i ? "{\"id\":null}" : "{}"));
		assert_int_equal(refusal->outcome, OUTCOME_INVALID_REQUEST);
		assert_string_equal(refusal->detail, "argument 'id' is missing; tool 'find' needs it in its operation");
		answer_unref(refusal);
	}
	done();
}

/* --- reading --- */

static void values_go_back_byte_for_byte_under_their_own_names(void **state)
{
	(void)state;
	use(NULL, "{ user { n } all { m } }", true);
	answer(3, 200,
	       "{\"extensions\":{\"x\":1},\"data\":{\"j1_user\": { \"n\" : 1.50 },\"j0_user\":{\"n\":\"}\"},"
	       "\"j0_all\":null,\"j1_all\":[ ],\"j2_user\":2,\"j9_user\":3,\"other\":4}}");
	assert_int_equal(fed.outcome, OUTCOME_OK);
	expect(0, OUTCOME_OK, "{\"user\":{\"n\":\"}\"},\"all\":null}");
	expect(1, OUTCOME_OK, "{\"user\":{ \"n\" : 1.50 },\"all\":[ ]}");
	expect(2, OUTCOME_OK, "{\"user\":2}");
	done();
}

/* "j00_user" is no name that was asked for: with "j0_user" beside it one answer would have two members of a name. */
static void a_name_written_otherwise_is_nobodys(void **state)
{
	(void)state;
	use(NULL, "{ user { n } }", true);
	answer(2, 200, "{\"data\":{\"j00_user\":8,\"j0_user\":1,\"j01_user\":9,\"j1_user\":2}}");
	expect(0, OUTCOME_OK, "{\"user\":1}");
	expect(1, OUTCOME_OK, "{\"user\":2}");
	answer(2, 200,
	       "{\"errors\":[{\"message\":\"no\",\"path\":[\"j01_user\"]}],\"data\":{\"j0_user\":1,\"j1_user\":2}}");
	assert_int_equal(fed.answers[1]->outcome, OUTCOME_UPSTREAM_ERROR);
	done();
}

static void an_error_is_that_calls_whose_field_its_path_names(void **state)
{
	(void)state;
	use(NULL, "{ user { n } }", true);
	answer(3, 200,
	       "{\"errors\":[{\"message\":\"no\",\"locations\":[{\"line\":1}],\"path\":[\"j1_user\",0,\"n\"],"
	       "\"extensions\":{\"code\":5}}],\"data\":{\"j0_user\":1,\"j1_user\":{\"n\":null},\"j2_user\":3}}");
	assert_int_equal(fed.outcome, OUTCOME_OK);
	expect(0, OUTCOME_OK, "{\"user\":1}");
	expect(1, OUTCOME_TOOL_ERROR,
	       "{\"errors\":[{\"path\":[\"user\",0,\"n\"],\"message\":\"no\","
	       "\"extensions\":{\"code\":5}}],\"data\":{\"user\":{\"n\":null}}}");
	assert_string_equal(fed.answers[1]->detail, "the tool answered: no");
	expect(2, OUTCOME_OK, "{\"user\":3}");
	done();
}

static void errors_about_the_document_are_about_all_calls(void **state)
{
	(void)state;
	use(NULL, "{ user { n } }", true);
	static const char *const bodies[] = {
		"{\"errors\":[{\"message\":\"no\"}]}",
		"{\"errors\":[{\"message\":\"no\",\"path\":[\"j0_user\"]}],\"data\":null}",
		"{\"errors\":[{\"message\":\"no\"}],\"data\":{\"j0_user\":1,\"j1_user\":2}}",
		"{\"errors\":[{\"message\":\"no\",\"path\":[]}],\"data\":{\"j0_user\":1,\"j1_user\":2}}",
		"{\"errors\":[{\"message\":\"no\",\"path\":[\"j7_user\"]}],\"data\":{\"j0_user\":1,\"j1_user\":2}}",
		"{\"errors\":[\"no\"],\"data\":{}}",
	};
	for (size_t i = 0; i < countof(bodies); i++)
		for (unsigned status = 200; status <= 400; status += 200) {
			answer(2, status, bodies[i]);
			assert_int_equal(fed.outcome, OUTCOME_UPSTREAM_ERROR);
			assert_int_equal(fed.answers[0]->outcome, OUTCOME_UPSTREAM_ERROR);
			assert_int_equal(fed.answers[1]->outcome, OUTCOME_UPSTREAM_ERROR);
			assert_non_null(strstr(fed.answers[1]->detail, "as a whole; the request held 2 calls"));
			assert_string_equal(fed.answers[0]->bytes, FEED_NOT_SHOWN);
		}
	done();
}

static void a_lone_calls_errors_are_its_own(void **state)
{
	(void)state;
	use(NULL, "{ user { n } }", true);
	answer(1, 400, "{\"errors\":[{\"message\":\"no\",\"locations\":[]}]}");
	assert_int_equal(fed.outcome, OUTCOME_OK);
	expect(0, OUTCOME_TOOL_ERROR, "{\"errors\":[{\"message\":\"no\",\"locations\":[]}]}");
	answer(1, 200, "{\"data\": {\"user\": null}, \"errors\": [], \"extensions\": {}}");
	expect(0, OUTCOME_OK, "{\"user\": null}");
	answer(1, 200, "{\"data\":null}");
	expect(0, OUTCOME_OK, "null");
	done();
}

static void a_failing_status_speaks_where_there_is_no_data(void **state)
{
	(void)state;
	static const struct {
		unsigned status;
		enum outcome outcome;
	} cases[] = { { 401, OUTCOME_UPSTREAM_ERROR },
		      { 429, OUTCOME_RATE_LIMITED },
		      { 500, OUTCOME_UPSTREAM_ERROR },
		      { 503, OUTCOME_UPSTREAM_UNAVAILABLE } };
	use(NULL, "{ user { n } }", true);
	for (size_t i = 0; i < countof(cases); i++)
		for (size_t count = 1; count < 3; count++) {
			answer(count, cases[i].status, "{\"errors\":[{\"message\":\"no\"}]}");
			assert_int_equal(fed.outcome, cases[i].outcome);
			assert_int_equal(fed.answers[0]->outcome, cases[i].outcome);
		}
	answer(2, 500, "{\"data\":{\"j0_user\":1,\"j1_user\":2}}");
	expect(1, OUTCOME_OK, "{\"user\":2}");
	done();
}

static void what_is_no_graphql_answer_fails_all_calls(void **state)
{
	(void)state;
	use(NULL, "{ user { n } }", true);
	static const char *const bodies[] = { "",
					      "{",
					      "[]",
					      "{}",
					      "<html>",
					      "{\"data\":7}",
					      "{\"errors\":[]}",
					      "{\"data\":{\"j0_user\":1,\"j0_user\":2}}" };
	for (size_t i = 0; i < countof(bodies); i++) {
		answer(2, 200, bodies[i]);
		assert_int_equal(fed.outcome, OUTCOME_UPSTREAM_ERROR);
		assert_int_equal(fed.answers[1]->outcome, OUTCOME_UPSTREAM_ERROR);
	}
	done();
}

static void a_call_without_its_fields_has_no_answer_unless_they_may_be_left_out(void **state)
{
	(void)state;
	use(NULL, "{ user { n } }", true);
	answer(2, 200, "{\"data\":{\"j0_user\":1}}");
	assert_int_equal(fed.answers[1]->outcome, OUTCOME_UPSTREAM_ERROR);
	done();
	use(NULL, "{ user @include(if: false) { n } }", true);
	answer(2, 200, "{\"data\":{\"j0_user\":1}}");
	expect(1, OUTCOME_OK, "{}");
	done();
}

static void a_lists_responses_are_the_calls_in_order(void **state)
{
	(void)state;
	use("array", "{ user { n } }", false);
	answer(4, 400, "[{\"data\":{\"user\": 1}},{\"errors\":[{\"message\":\"no\"}]},{\"no\":1},{\"data\":7}]");
	assert_int_equal(fed.outcome, OUTCOME_OK);
	expect(0, OUTCOME_OK, "{\"user\": 1}");
	expect(1, OUTCOME_TOOL_ERROR, "{\"errors\":[{\"message\":\"no\"}]}");
	assert_int_equal(fed.answers[2]->outcome, OUTCOME_UPSTREAM_ERROR);
	answer(2, 200, "{\"errors\":[{\"message\":\"batching is off\"}]}");
	assert_int_equal(fed.outcome, OUTCOME_UPSTREAM_ERROR);
	assert_string_equal(fed.answers[1]->bytes, FEED_NOT_SHOWN);
	answer(2, 503, "[]");
	assert_int_equal(fed.outcome, OUTCOME_UPSTREAM_UNAVAILABLE);
	done();
}

static void a_list_that_is_short_long_or_unsound_is_nobodys(void **state)
{
	(void)state;
	static const char *const bodies[] = {
		"[]",
		"[{\"data\":1}]",
		"[{\"data\":1},{\"data\":2},{\"data\":3},{\"data\":4}]",
		"[{\"data\":1},{\"data\":2},{\"data\":+3}]",
		"[{\"data\":1},{\"data\":2},{\"data\":3}",
	};
	use("array", "{ user { n } }", false);
	for (size_t i = 0; i < countof(bodies); i++) {
		answer(3, 200, bodies[i]);
		assert_int_equal(fed.outcome, OUTCOME_UPSTREAM_ERROR);
		for (size_t call = 0; call < 3; call++)
			assert_int_equal(fed.answers[call]->outcome, OUTCOME_UPSTREAM_ERROR);
	}
	done();
}

static void a_lists_responses_are_held_until_it_has_ended(void **state)
{
	(void)state;
	struct dialect_sink sink = { .answered = feed_answered, .context = &fed };
	use("array", "{ user { n } }", false);
	fed = (struct feed){ .count = 2 };
	struct dialect_decoder *decoder = dialect_decoder_new(dialect, 2, 1, 32, &sink);
	dialect->expect(decoder, calls);
	dialect->head(decoder, 200, SLICE(""), 0);
	assert_true(dialect->feed(decoder, SLICE("[{\"data\":{}},{\"data\":{}}")));
	assert_int_equal(fed.emitted[0] + fed.emitted[1], 0);
	assert_true(dialect->feed(decoder, SLICE("[{\"data\":{}},{\"data\":{}}] ")));
	assert_int_equal(fed.emitted[0] + fed.emitted[1], 2);
	dialect->decoder_free(decoder);
	done();
}

/* --- any batch --- */

/* Each call's field has its number; some fail, data and errors in any order. */
static void put_batch(struct buf *out, size_t count, bool *fails)
{
	struct buf errors = BUF_INIT(1 << 20), data = BUF_INIT(1 << 20);
	size_t first = feed_pick((uint32_t)count);
	for (size_t n = 0; n < count; n++) {
		size_t i = (first + n) % count;
		fails[i] = feed_pick(4) == 0;
		if (fails[i])
			buf_printf(&errors, "%s{\"path\":[\"j%zu_user\"],\"message\":\"%zu\"}", errors.len ? "," : "",
				   i, i);
		buf_printf(&data, "%s\"j%zu_user\":[%zu,\"}\"]", data.len ? "," : "", i, i);
	}
	bool before = feed_pick(2);
	buf_put_char(out, '{');
	if (before)
		buf_printf(out, "\"errors\":[%s],", buf_cstr(&errors));
	buf_printf(out, "\"data\":{%s}", buf_cstr(&data));
	if (!before)
		buf_printf(out, ",\"errors\":[%s]", buf_cstr(&errors));
	buf_put_char(out, '}');
	buf_fini(&errors);
	buf_fini(&data);
}

static void random_batches_give_each_call_its_own(void **state)
{
	(void)state;
	use(NULL, "{ user }", true);
	for (size_t round = 0; round < 10000; round++) {
		bool fails[CALLS];
		size_t count = 2 + feed_pick(CALLS - 2);
		struct buf body = BUF_INIT(1 << 20);
		put_batch(&body, count, fails);
		assert_true(feed_calls(&fed, dialect, calls, count, 1, 200, NULL, buf_slice(&body), NULL, 0));
		for (size_t i = 0; i < count; i++) {
			char own[60];
			assert_int_equal(fed.emitted[i], 1);
			snprintf(own, sizeof own, "{\"user\":[%zu,\"}\"]}", i);
			if (fails[i])
				snprintf(own, sizeof own, "the tool answered: %zu", i);
			if (fails[i])
				assert_string_equal(fed.answers[i]->detail, own);
			else
				expect(i, OUTCOME_OK, own);
		}
		feed_fini(&fed);
		buf_fini(&body);
	}
	done();
}

/* --- memory --- */

static void run_once(void)
{
	struct dialect_error error = { 0 };
	struct dialect *own = graphql_new(&(struct graphql_settings){ .max = 5 });
	if (!own)
		return;
	struct route_settings tool = { .tool = "find",
				       .operation = "query($id: ID!) { user(id: $id) { ...F } } fragment F on U { n }",
				       .repeatable = true,
				       .own = own };
	struct dialect_route *one = own->route_new(&tool, &error);
	if (one) {
		struct upstream_call two[2] = { { .route = one, .arguments = SLICE("{\"id\":1}") },
						{ .route = one, .arguments = SLICE("{\"id\":2}") } };
		struct encoded_request request = { .target = BUF_INIT(900),
						   .headers = BUF_INIT(900),
						   .body = BUF_INIT(900) };
		struct feed delivered;
		answer_unref(own->check(one, two[0].arguments));
		if (own->encode(two, 2, 5, &request))
			assert_non_null(strstr(buf_cstr(&request.body), "j1_id"));
		buf_fini(&request.target);
		buf_fini(&request.headers);
		buf_fini(&request.body);
		if (feed_calls(
			    &delivered, own, two, 2, 5, 200, NULL,
			    SLICE("{\"errors\":[{\"path\":[\"j0_user\"],\"message\":\"a\"}],\"data\":{\"j1_user\":1}}"),
			    NULL, 0)) {
			assert_int_equal(delivered.emitted[0], 1);
			assert_int_equal(delivered.emitted[1], 1);
		}
		feed_fini(&delivered);
		dialect_route_unref(one);
	}
	dialect_release(own);
}

static void every_allocation_may_fail(void **state)
{
	(void)state;
	assert_in_range(alloc_fail_each(run_once), 1, 999);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_lone_call_is_the_operation_as_it_was_written),
		cmocka_unit_test(two_calls_are_one_document_with_names_of_their_own),
		cmocka_unit_test(fields_of_the_root_are_found_in_fragments_too),
		cmocka_unit_test(strings_and_comments_hold_what_they_like),
		cmocka_unit_test(a_list_holds_whole_operations),
		cmocka_unit_test(only_what_may_be_sent_again_shares_a_document),
		cmocka_unit_test(mistakes_in_an_operation_are_named_with_their_line),
		cmocka_unit_test(nesting_has_an_end),
		cmocka_unit_test(a_variable_that_must_be_there_is_named),
		cmocka_unit_test(values_go_back_byte_for_byte_under_their_own_names),
		cmocka_unit_test(a_name_written_otherwise_is_nobodys),
		cmocka_unit_test(an_error_is_that_calls_whose_field_its_path_names),
		cmocka_unit_test(errors_about_the_document_are_about_all_calls),
		cmocka_unit_test(a_lone_calls_errors_are_its_own),
		cmocka_unit_test(a_failing_status_speaks_where_there_is_no_data),
		cmocka_unit_test(what_is_no_graphql_answer_fails_all_calls),
		cmocka_unit_test(a_call_without_its_fields_has_no_answer_unless_they_may_be_left_out),
		cmocka_unit_test(a_lists_responses_are_the_calls_in_order),
		cmocka_unit_test(a_list_that_is_short_long_or_unsound_is_nobodys),
		cmocka_unit_test(a_lists_responses_are_held_until_it_has_ended),
		cmocka_unit_test(random_batches_give_each_call_its_own),
		cmocka_unit_test(every_allocation_may_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
