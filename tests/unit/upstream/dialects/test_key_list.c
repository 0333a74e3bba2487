/* SPDX-License-Identifier: Apache-2.0 */
/* The rest dialect with key lists: which calls share a request, its address, and who gets which item. */
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
#include "upstream/dialects/key_list.h"
#include "upstream/upstream.h"

/* --- helpers --- */

static struct dialect *dialect;
static struct dialect_route *route; /* of the tool under test */
static struct upstream_call calls[FEED_MAX_CALLS];

static const struct key_list_settings user_keys = {
	.parameter = "ids", .argument = "id", .list = "items", .key = "id"
};
static const struct route_settings users = {
	.tool = "users", .path = "/users", .repeatable = true, .key_list = &user_keys
};

static void use(struct route_settings settings)
{
	struct dialect_error error = { 0 };
	dialect = key_list_new(50);
	settings.own = dialect;
	route = dialect->route_new(&settings, &error);
	if (!route)
		fail_msg("%s", error_text(&error));
}

static void done(void)
{
	feed_fini(&fed);
	dialect_route_unref(route);
	dialect_release(dialect);
}

static void answer(size_t count, unsigned status, const char *body)
{
	answer_both_ways(dialect, calls, count, status, "application/json", body);
}

static void expect_refused(struct route_settings settings, const char *why)
{
	struct dialect_error error = { 0 };
	struct dialect *own = key_list_new(50);
	settings.own = own;
	assert_null(own->route_new(&settings, &error));
	if (!strstr(error_text(&error), why))
		fail_msg("\"%s\" is not in \"%s\"", why, error_text(&error));
	dialect_release(own);
}

/* A call for each of the arguments, NULL behind the last. */
static size_t call_with(const char *const *arguments)
{
	size_t count = 0;
	for (; arguments[count]; count++)
		calls[count] = (struct upstream_call){ .route = route, .arguments = slice_of(arguments[count]) };
	return count;
}
#define CALL_WITH(...) call_with((const char *const[]){ __VA_ARGS__, NULL })

static void expect_target(size_t count, const char *target)
{
	struct encoded_request request = { .target = BUF_INIT(HTTP_TARGET_BYTES),
					   .headers = BUF_INIT(900),
					   .body = BUF_INIT(900) };
	assert_true(dialect->encode(calls, count, 1, &request));
	assert_string_equal(buf_cstr(&request.target), target);
	buf_fini(&request.target);
	buf_fini(&request.headers);
	buf_fini(&request.body);
}

static void expect_same_group(const char *a, const char *b, bool same)
{
	struct buf first = BUF_INIT(1000), second = BUF_INIT(1000);
	dialect->group(route, slice_of(a), &first);
	dialect->group(route, slice_of(b), &second);
	assert_int_equal(strcmp(buf_cstr(&first), buf_cstr(&second)) == 0, same);
	buf_fini(&first);
	buf_fini(&second);
}

static void expect_argument(const char *arguments, const char *detail)
{
	struct answer *refusal = dialect->check(route, slice_of(arguments));
	if (!detail) {
		assert_null(refusal);
		return;
	}
	assert_non_null(refusal);
	assert_int_equal(refusal->outcome, OUTCOME_INVALID_REQUEST);
	if (!strstr(refusal->detail, detail))
		fail_msg("\"%s\" is not in \"%s\"", detail, refusal->detail);
	answer_unref(refusal);
}

/* --- writing --- */

static void keys_stand_in_one_query_each_once(void **state)
{
	(void)state;
	use(users);
	expect_target(CALL_WITH("{\"id\":7}"), "/users?ids=7");
	expect_target(CALL_WITH("{\"id\":7}", "{\"id\":\"b\"}", "{\"id\":\"7\"}", "{\"id\":\"a b&\\u00e9\"}"),
		      "/users?ids=7,a%20b%26%C3%A9,b");
	done();
}

static void other_arguments_are_the_templates(void **state)
{
	(void)state;
	const struct route_pair query[] = { { "lang", "{lang?}" } };
	struct route_settings settings = users;
	struct key_list_settings keys = user_keys;
	settings.key_list = &keys;
	settings.query = query;
	settings.query_count = 1;
	use(settings);
	expect_target(CALL_WITH("{\"id\":7,\"lang\":\"de\"}", "{\"lang\":\"de\",\"id\":8}"), "/users?lang=de&ids=7,8");
	expect_target(CALL_WITH("{\"id\":7}"), "/users?ids=7");
	done();
}

static void a_separator_may_repeat_the_parameter_or_need_encoding(void **state)
{
	(void)state;
	struct route_settings settings = users;
	struct key_list_settings keys = user_keys;
	settings.key_list = &keys;
	keys.separator = "&ids[]=";
	keys.parameter = "ids[]";
	use(settings);
	expect_target(CALL_WITH("{\"id\":\"a,b\"}", "{\"id\":\"&\"}"), "/users?ids%5B%5D=%26&ids[]=a%2Cb");
	expect_argument("{\"id\":\"a&ids[]=b\"}", NULL);
	done();
	keys.separator = "|";
	use(settings);
	expect_target(CALL_WITH("{\"id\":1}", "{\"id\":2}"), "/users?ids%5B%5D=1%7C2");
	expect_argument("{\"id\":\"a|b\"}", "holds what separates keys");
	done();
}

static void calls_share_when_all_but_the_key_is_equal(void **state)
{
	(void)state;
	use(users);
	expect_same_group("{\"id\":7}", "{\"id\":\"x\"}", true);
	expect_same_group("{\"id\":7,\"a\":1,\"b\":{\"c\":2}}", "{\"b\": {\"c\":2}, \"id\":8, \"a\":1}", true);
	expect_same_group("{\"id\":7,\"a\":1}", "{\"id\":7,\"a\":2}", false);
	expect_same_group("{\"id\":7,\"a\":1}", "{\"id\":7}", false);
	done();
}

static void a_plain_tool_of_the_same_upstream_is_as_ever(void **state)
{
	(void)state;
	use((struct route_settings){ .tool = "plain", .path = "/plain/{id}", .http_method = "GET" });
	expect_same_group("{\"id\":7}", "{\"id\":7}", false);
	expect_target(CALL_WITH("{\"id\":7}"), "/plain/7");
	answer(1, 200, "{\"id\": 7}");
	expect(0, OUTCOME_OK, "{\"id\": 7}");
	answer(1, 404, "{\"no\":1}");
	expect(0, OUTCOME_TOOL_ERROR, "{\"no\":1}");
	expect_argument("{}", "argument 'id' is missing");
	done();
}

static void a_key_is_a_string_or_a_number(void **state)
{
	(void)state;
	use(users);
	expect_argument("{\"id\":7}", NULL);
	expect_argument("{\"id\":\"x\"}", NULL);
	expect_argument("{}", "argument 'id' is missing; it is the key of tool 'users'");
	expect_argument("{\"id\":null}", "is missing");
	expect_argument("{\"id\":[7]}", "must be a string or a number");
	expect_argument("{\"id\":true}", "must be a string or a number");
	expect_argument("{\"id\":\"\"}", "is empty");
	expect_argument("{\"id\":\"7,8\"}", "holds what separates keys");
	expect_argument("{\"id\":\"7\\u002c8\"}", "holds what separates keys");
	expect_argument("{\"id\":\"\\u0000\"}", "holds a NUL");
	done();
}

/* Whatever the batcher lets together can be written. */
static void no_batch_makes_an_address_that_is_too_long(void **state)
{
	(void)state;
	const struct route_pair query[] = { { "q", "{q?}" } };
	struct route_settings settings = users;
	struct key_list_settings keys = user_keys;
	settings.key_list = &keys;
	char longest[KEY_LIST_BYTES], text[2 * HTTP_TARGET_BYTES], many[50][100];
	settings.query = query;
	settings.query_count = 1;
	use(settings);
	memset(longest, '%', sizeof longest - 1);
	longest[1360] = '\0';
	snprintf(text, sizeof text, "{\"id\":7,\"q\":\"%s\"}", longest);
	expect_argument(text, NULL);
	longest[1360] = '%';
	snprintf(text, sizeof text, "{\"id\":7,\"q\":\"%.1400s\"}", longest);
	expect_argument(text, "4096 without the key");
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	snprintf(text, sizeof text, "{\"id\":\"%s%s%s%s\"}", longest, longest, longest, longest);
	expect_argument(text, "is the most");
	size_t bytes = 0;
	for (size_t i = 0; i < countof(many); i++) {
		int len = snprintf(
			many[i], sizeof many[i], "{\"id\":\"%02zu%.*s\"}", i, 70,
			"\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82"
			"\xac"
			"\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82"
			"\xac"
			"\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac");
		bytes += (size_t)len;
		calls[i] = (struct upstream_call){ .route = route, .arguments = slice_of(many[i]) };
	}
	assert_in_range(bytes, KEY_LIST_BYTES - 200, KEY_LIST_BYTES);
	struct encoded_request request = { .target = BUF_INIT(HTTP_TARGET_BYTES),
					   .headers = BUF_INIT(900),
					   .body = BUF_INIT(900) };
	assert_true(dialect->encode(calls, countof(many), 1, &request));
	assert_true(request.target.len < 3 * KEY_LIST_BYTES + 20);
	buf_fini(&request.target);
	buf_fini(&request.headers);
	done();
}

static void mistakes_in_a_tool_are_named(void **state)
{
	(void)state;
	const struct route_pair pair[] = { { "x", "{arguments}" } };
	struct route_settings settings = users;
	struct key_list_settings keys = user_keys;
	settings.key_list = &keys;
	settings.path = "/users/{id}";
	expect_refused(settings, "key_list.argument: it (or {arguments}) may not stand elsewhere");
	settings = users;
	settings.query = pair;
	settings.query_count = 1;
	expect_refused(settings, "may not stand elsewhere");
	settings = users;
	settings.http_method = "POST";
	expect_refused(settings, "key_list: is for method GET");
	settings = users;
	settings.body = "{}";
	expect_refused(settings, "has no body");
	settings = users;
	settings.repeatable = false;
	expect_refused(settings, "needs annotations.read_only or idempotent");
	settings.repeatable = true;
	settings.key_list = &keys;
	keys.separator = "\n";
	expect_refused(settings, "a character that no query may hold");
	keys.separator = NULL;
	keys.list = "a..b";
	expect_refused(settings, "key_list.list: an empty name");
	settings = users;
	settings.path = "users";
	expect_refused(settings, "path: ");
}

/* --- reading --- */

static void each_call_gets_the_item_with_its_key(void **state)
{
	(void)state;
	use(users);
	size_t count = CALL_WITH("{\"id\":7}", "{\"id\":\"x\"}", "{\"id\":\"7\"}", "{\"id\":\"\\u0078y\"}");
	answer(count, 200,
	       "{\"n\":[{\"id\":7}],\"items\":[{\"id\":\"x\\u0079\",\"v\":1},{\"id\":\"7\", \"v\":2},5,{\"id\":{}},"
	       "{\"id\":\"x\",\"v\":1.50},{\"id\":7,\"v\":3},{\"id\":\"who\"},{}],\"end\":{}}");
	assert_int_equal(fed.outcome, OUTCOME_OK);
	expect(0, OUTCOME_OK, "{\"id\":\"7\", \"v\":2}");
	expect(1, OUTCOME_OK, "{\"id\":\"x\",\"v\":1.50}");
	expect(2, OUTCOME_OK, "{\"id\":\"7\", \"v\":2}");
	expect(3, OUTCOME_OK, "{\"id\":\"x\\u0079\",\"v\":1}");
	done();
}

static void an_object_may_be_named_by_key(void **state)
{
	(void)state;
	struct route_settings settings = users;
	struct key_list_settings keys = user_keys;
	settings.key_list = &keys;
	keys.key = NULL;
	keys.list = NULL;
	keys.result = "v.w";
	use(settings);
	size_t count = CALL_WITH("{\"id\":7}", "{\"id\":\"a\"}", "{\"id\":\"b\"}");
	answer(count, 200, "{\"7\":{\"v\":{\"w\":null}},\"b\":{\"v\":1},\"c\":2}");
	assert_int_equal(fed.outcome, OUTCOME_OK);
	expect(0, OUTCOME_OK, "null");
	assert_true(fed.doubted[1]);
	expect_error(1, OUTCOME_UPSTREAM_ERROR, "nothing under this one");
	expect_error(2, OUTCOME_UPSTREAM_ERROR, "item for this key has no result");
	answer(count, 200, "[]");
	assert_int_equal(fed.outcome, OUTCOME_UPSTREAM_ERROR);
	expect_error(0, OUTCOME_UPSTREAM_ERROR, "no object at .");
	done();
}

static void a_key_that_is_not_there_has_its_own_outcome(void **state)
{
	(void)state;
	use(users);
	size_t count = CALL_WITH("{\"id\":7}", "{\"id\":\"7\"}"); /* one key */
	answer(count, 200, "{\"items\":[]}");
	assert_int_equal(fed.outcome, OUTCOME_OK);
	expect_error(1, OUTCOME_TOOL_ERROR, "the provider has nothing under this key");
	assert_false(fed.doubted[1]);
	done();
	struct route_settings settings = users;
	struct key_list_settings keys = user_keys;
	settings.key_list = &keys;
	keys.missing = "null";
	use(settings);
	count = CALL_WITH("{\"id\":8}");
	answer(count, 200, "{\"items\":[{\"id\":7}]}");
	expect(0, OUTCOME_OK, "null");
	done();
}

/* It may be on the next page. */
static void a_key_that_is_not_there_in_company_is_doubted(void **state)
{
	(void)state;
	static const char *const missing[] = { "error", "null" };
	for (size_t i = 0; i < countof(missing); i++) {
		struct route_settings settings = users;
		struct key_list_settings keys = user_keys;
		settings.key_list = &keys;
		keys.missing = missing[i];
		use(settings);
		size_t count = CALL_WITH("{\"id\":7}", "{\"id\":8}", "{\"id\":9}");
		answer(count, 200, "{\"items\":[{\"id\":8}]}");
		assert_int_equal(fed.outcome, OUTCOME_OK);
		expect(1, OUTCOME_OK, "{\"id\":8}");
		assert_true(fed.doubted[0] && !fed.doubted[1] && fed.doubted[2]);
		expect_error(0, OUTCOME_UPSTREAM_ERROR, "could not be asked for alone");
		done();
	}
}

static void without_the_list_nobody_is_told_that_a_key_is_not_there(void **state)
{
	(void)state;
	static const struct {
		const char *body, *detail;
	} cases[] = { { "", "is empty" },
		      { "{\"items\":{}}", "no list at items" },
		      { "{\"error\":1}", "no list at items" },
		      { "{\"items\":[", "not JSON" },
		      { "{\"items\":[]]", "nothing under this one" },
		      { "{\"items\":[{\"id\":01}]}", "cannot be read" },
		      { "{\"items\":[}", "not JSON" } };
	use(users);
	size_t count = CALL_WITH("{\"id\":7}", "{\"id\":8}");
	for (size_t i = 0; i < countof(cases); i++) {
		answer(count, 200, cases[i].body);
		if (i != 4)
			assert_int_equal(fed.outcome, OUTCOME_UPSTREAM_ERROR);
		expect_error(1, OUTCOME_UPSTREAM_ERROR, cases[i].detail);
		assert_int_equal(fed.doubted[1], i == 4);
	}
	answer(count, 200, "{\"items\":[{\"id\":7},{\"id\":8");
	expect(0, OUTCOME_OK, "{\"id\":7}");
	assert_int_equal(fed.answers[1]->outcome, OUTCOME_UPSTREAM_ERROR);
	done();
}

static void a_failing_status_concerns_all_calls(void **state)
{
	(void)state;
	use(users);
	size_t count = CALL_WITH("{\"id\":7}", "{\"id\":8}");
	answer(count, 404, "{\"items\":[{\"id\":7}]}");
	assert_int_equal(fed.outcome, OUTCOME_UPSTREAM_ERROR);
	expect(0, OUTCOME_UPSTREAM_ERROR, FEED_NOT_SHOWN);
	answer(count, 429, "{}");
	assert_int_equal(fed.outcome, OUTCOME_RATE_LIMITED);
	answer(1, 404, "{\"no\":1}");
	assert_int_equal(fed.outcome, OUTCOME_OK);
	expect(0, OUTCOME_TOOL_ERROR, "{\"no\":1}");
	done();
}

static void items_are_handed_out_as_they_come(void **state)
{
	(void)state;
	struct dialect_sink sink = { .answered = feed_answered, .context = &fed };
	use(users);
	size_t count = CALL_WITH("{\"id\":7}", "{\"id\":8}");
	fed = (struct feed){ .count = count };
	struct dialect_decoder *decoder = dialect_decoder_new(dialect, count, 1, 32, &sink);
	dialect->expect(decoder, calls);
	dialect->head(decoder, 200, SLICE(""), 0);
	assert_true(dialect->feed(decoder, SLICE("{\"items\":[{\"id\":8},")));
	assert_int_equal(fed.emitted[1], 1);
	assert_int_equal(fed.emitted[0], 0);
	dialect->decoder_free(decoder);
	done();
}

/* --- any batch --- */

static void random_batches_give_each_call_its_own(void **state)
{
	(void)state;
	enum { KEYS = 30, COUNT = 40 };
	char arguments[COUNT][40];
	use(users);
	for (size_t round = 0; round < 10000; round++) {
		size_t count = 1 + feed_pick(COUNT), keys[COUNT], first = feed_pick(KEYS);
		bool there[KEYS];
		struct buf body = BUF_INIT(1 << 20);
		for (size_t i = 0; i < count; i++) {
			keys[i] = feed_pick(KEYS);
			snprintf(arguments[i], sizeof arguments[i], feed_pick(2) ? "{\"id\":%zu}" : "{\"id\":\"%zu\"}",
				 keys[i]);
			calls[i] = (struct upstream_call){ .route = route, .arguments = slice_of(arguments[i]) };
		}
		buf_put_text(&body, "{\"items\":[{}");
		for (size_t n = 0; n < KEYS; n++) {
			size_t key = (first + n) % KEYS;
			there[key] = feed_pick(4) > 0;
			if (there[key])
				buf_printf(&body, feed_pick(2) ? ",{\"id\":%zu}" : ",{\"id\":\"%zu\"}", key);
		}
		buf_put_text(&body, "]}");
		assert_true(feed_calls(&fed, dialect, calls, count, 1, 200, NULL, buf_slice(&body), NULL, 0));
		for (size_t i = 0; i < count; i++) {
			struct slice id;
			uint64_t number;
			assert_int_equal(fed.emitted[i], 1);
			assert_int_equal(fed.answers[i]->outcome == OUTCOME_OK, there[keys[i]]);
			if (!there[keys[i]])
				continue;
			assert_true(json_member(answer_body(fed.answers[i]), SLICE("id"), &id));
			if (json_type(id) == JSON_STRING)
				id = (struct slice){ id.at + 1, id.len - 2 };
			assert_true(json_u64(id, &number));
			assert_int_equal(number, keys[i]);
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
	struct dialect *own = key_list_new(5);
	if (!own)
		return;
	struct route_settings settings = users;
	struct key_list_settings keys = user_keys;
	settings.key_list = &keys;
	settings.own = own;
	struct dialect_route *one = own->route_new(&settings, &error);
	if (one) {
		struct upstream_call two[2] = { { .route = one, .arguments = SLICE("{\"id\":\"a\\n\"}") },
						{ .route = one, .arguments = SLICE("{\"id\":2}") } };
		struct encoded_request request = { .target = BUF_INIT(900),
						   .headers = BUF_INIT(900),
						   .body = BUF_INIT(900) };
		struct buf group = BUF_INIT(900);
		struct feed delivered;
		answer_unref(own->check(one, two[0].arguments));
		own->group(one, two[0].arguments, &group);
		buf_fini(&group);
		if (own->encode(two, 2, 5, &request))
			assert_string_equal(buf_cstr(&request.target), "/users?ids=2,a%0A");
		buf_fini(&request.target);
		buf_fini(&request.headers);
		if (feed_calls(&delivered, own, two, 2, 5, 200, NULL, SLICE("{\"items\":[{\"id\":\"a\\n\"}]}"), NULL,
			       0)) {
			assert_int_equal(delivered.emitted[0], 1);
			assert_int_equal(delivered.emitted[1], 1);
			assert_true(delivered.answers[1]->outcome != OUTCOME_OK);
		}
		feed_fini(&delivered);
		dialect_route_unref(one);
	}
	dialect_release(own);
}

/* A decoder holds the route of its calls, and may go on when they have ended, and their configuration with them. */
static void a_route_keeps_its_dialect(void **state)
{
	(void)state;
	use(users);
	dialect_release(dialect);
	assert_int_equal(route->dialect->max_calls, 50);
	assert_null(route->dialect->check(route, SLICE("{\"id\":1}")));
	dialect_route_unref(route);
}

static void every_allocation_may_fail(void **state)
{
	(void)state;
	assert_in_range(alloc_fail_each(run_once), 1, 999);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_stand_in_one_query_each_once),
		cmocka_unit_test(other_arguments_are_the_templates),
		cmocka_unit_test(a_separator_may_repeat_the_parameter_or_need_encoding),
		cmocka_unit_test(calls_share_when_all_but_the_key_is_equal),
		cmocka_unit_test(a_plain_tool_of_the_same_upstream_is_as_ever),
		cmocka_unit_test(a_key_is_a_string_or_a_number),
		cmocka_unit_test(no_batch_makes_an_address_that_is_too_long),
		cmocka_unit_test(mistakes_in_a_tool_are_named),
		cmocka_unit_test(each_call_gets_the_item_with_its_key),
		cmocka_unit_test(an_object_may_be_named_by_key),
		cmocka_unit_test(a_key_that_is_not_there_has_its_own_outcome),
		cmocka_unit_test(a_key_that_is_not_there_in_company_is_doubted),
		cmocka_unit_test(without_the_list_nobody_is_told_that_a_key_is_not_there),
		cmocka_unit_test(a_failing_status_concerns_all_calls),
		cmocka_unit_test(items_are_handed_out_as_they_come),
		cmocka_unit_test(random_batches_give_each_call_its_own),
		cmocka_unit_test(a_route_keeps_its_dialect),
		cmocka_unit_test(every_allocation_may_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
