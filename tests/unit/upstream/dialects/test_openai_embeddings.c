/* SPDX-License-Identifier: Apache-2.0 */
/* The openai-embeddings dialect: what is written, which calls may share a request, and what becomes of answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "tests/support/alloc_fail.h"
#include "upstream/upstream.h"

static const struct dialect *const dialect = &dialect_openai_embeddings;
static struct dialect_route route = { .dialect = &dialect_openai_embeddings };

/* --- helpers --- */

enum { CALLS = 16 };

/* What a decoder said about each call. */
struct delivered {
	struct answer *answers[CALLS];
	enum outcome outcome;
};

static void keep(void *context, size_t index, struct answer *answer)
{
	struct delivered *delivered = context;
	assert_true(index < CALLS);
	assert_null(delivered->answers[index]);
	delivered->answers[index] = answer;
}

static void forget(struct delivered *delivered)
{
	for (size_t i = 0; i < CALLS; i++)
		answer_unref(delivered->answers[i]);
}

/* Feed `body` in two pieces. False: no memory for a decoder. */
static bool answer_with(struct delivered *delivered, const char *const *arguments, size_t count, unsigned status,
			const char *body, size_t cut)
{
	struct upstream_call calls[CALLS];
	struct dialect_sink sink = { .answered = keep, .context = delivered };
	*delivered = (struct delivered){ .outcome = OUTCOME_OK };
	for (size_t i = 0; i < count; i++)
		calls[i] = (struct upstream_call){ .route = &route, .arguments = slice_of(arguments[i]) };
	struct dialect_decoder *decoder = dialect->decoder_new(count, 1, 32, &sink);
	if (!decoder)
		return false;
	dialect->expect(decoder, calls);
	dialect->head(decoder, status, SLICE("application/json"), 0);
	assert_true(dialect->feed(decoder, (struct slice){ body, cut }));
	delivered->outcome = dialect->finish(decoder, slice_of(body));
	dialect->decoder_free(decoder);
	for (size_t i = 0; i < count; i++)
		assert_non_null(delivered->answers[i]);
	return true;
}

static char *group_of(const char *arguments)
{
	struct buf out = BUF_INIT(1000);
	dialect->group(&route, slice_of(arguments), &out);
	char *text = strdup(buf_cstr(&out));
	buf_fini(&out);
	return text;
}

static void expect_same_group(const char *a, const char *b, bool same)
{
	char *first = group_of(a), *second = group_of(b);
	assert_int_equal(strcmp(first, second) == 0, same);
	free(first);
	free(second);
}

static void expect_refused(const char *arguments, const char *word)
{
	struct answer *answer = dialect->check(&route, slice_of(arguments));
	if (!word) {
		assert_null(answer);
		return;
	}
	assert_non_null(answer);
	assert_int_equal(answer->outcome, OUTCOME_INVALID_REQUEST);
	assert_non_null(strstr(answer->detail, word));
	answer_unref(answer);
}

static void expect_written(const char *const *arguments, size_t count, const char *body)
{
	struct upstream_call calls[CALLS];
	for (size_t i = 0; i < count; i++)
		calls[i] = (struct upstream_call){ .route = &route, .arguments = slice_of(arguments[i]) };
	struct encoded_request request = { .target = BUF_INIT(1000),
					   .headers = BUF_INIT(1000),
					   .body = BUF_INIT(1000) };
	assert_true(dialect->encode(calls, count, 1, &request));
	assert_string_equal(request.method, "POST");
	assert_string_equal(buf_cstr(&request.target), "/embeddings");
	assert_string_equal(buf_cstr(&request.body), body);
	buf_fini(&request.target);
	buf_fini(&request.body);
}

/* --- asking --- */

static void inputs_of_many_calls_become_one_array(void **state)
{
	(void)state;
	static const char *const texts[] = { "{\"user\":\"u\",\"model\":\"m\",\"input\":\"a\"}",
					     "{\"model\":\"m\",\"input\":\"b\",\"user\":\"u\"}" };
	static const char *const lists[] = { "{\"model\":\"m\",\"input\":[\"a\",\"b\"],\"extra\":1.0}" };
	static const char *const codes[] = { "{\"model\":\"m\",\"input\":[1,2]}" };
	expect_written(texts, 2, "{\"model\":\"m\",\"user\":\"u\",\"input\":[\"a\",\"b\"]}");
	expect_written(lists, 1, "{\"model\":\"m\",\"extra\":1.0,\"input\":[\"a\",\"b\"]}");
	expect_written(codes, 1, "{\"model\":\"m\",\"input\":[[1,2]]}");
}

static void calls_that_differ_in_more_than_the_input_are_kept_apart(void **state)
{
	(void)state;
	static const char plain[] = "{\"model\":\"m\",\"input\":\"a\"}";
	expect_same_group(plain, "{\"input\":\"b\",\"model\":\"m\"}", true);
	expect_same_group(plain, "{\"model\":\"n\",\"input\":\"a\"}", false);
	expect_same_group(plain, "{\"model\":\"m\",\"input\":[1]}", false);
	expect_same_group(plain, "{\"model\":\"m\",\"input\":\"a\",\"dimensions\":8}", false);
	expect_same_group(plain, "{\"model\":\"m\",\"input\":\"a\",\"user\":\"u\"}", false);
	expect_same_group(plain, "{\"model\":\"m\",\"input\":\"a\",\"encoding_format\":\"base64\"}", false);
	expect_same_group("{\"model\":\"m\",\"input\":[1]}", "{\"model\":\"m\",\"input\":[2,3]}", true);
}

static void a_call_with_a_list_of_inputs_travels_alone(void **state)
{
	(void)state;
	static const char list[] = "{\"model\":\"m\",\"input\":[\"a\",\"b\"]}";
	expect_same_group(list, list, false);
}

static void what_a_provider_would_refuse_for_all_is_refused_before(void **state)
{
	(void)state;
	expect_refused("{\"model\":\"m\",\"input\":\"a\"}", NULL);
	expect_refused("{\"model\":\"m\",\"input\":[[1],[2]]}", NULL);
	expect_refused("{\"input\":\"a\"}", "model");
	expect_refused("{\"model\":5,\"input\":\"a\"}", "model");
	expect_refused("{\"model\":\"m\"}", "input");
	static const char *const bad[] = { "\"\"",    "[]",    "[\"\"]", "[1,\"a\"]", "[[]]",
					   "[[1],2]", "[1.5]", "[-1]",   "{}",        "null" };
	for (size_t i = 0; i < countof(bad); i++) {
		char arguments[100];
		snprintf(arguments, sizeof arguments, "{\"model\":\"m\",\"input\":%s}", bad[i]);
		expect_refused(arguments, "input");
	}
}

/* --- answers --- */

static const char *const three[] = { "{\"model\":\"m\",\"input\":\"a\"}", "{\"model\":\"m\",\"input\":\"bb\"}",
				     "{\"model\":\"m\",\"input\":\"ccccccc\"}" };

static void results_are_told_apart_by_index_in_every_fragmentation(void **state)
{
	(void)state;
	static const char body[] =
		"{\"object\":\"list\",\"data\":[{\"index\":2,\"embedding\":\"Cg==\"},"
		"{\"embedding\":[1.0, 2e3],\"index\":0},{\"index\":1,\"embedding\":[],\"index2\":1}],"
		"\"model\":\"m-1\"}";
	for (size_t cut = 0; cut < sizeof body; cut++) {
		struct delivered delivered;
		assert_true(answer_with(&delivered, three, 3, 200, body, cut));
		assert_int_equal(delivered.outcome, OUTCOME_OK);
		assert_string_equal(delivered.answers[0]->bytes,
				    "{\"object\":\"list\",\"data\":[{\"index\":0,\"embedding\":"
				    "[1.0, 2e3]}],\"model\":\"m-1\"}");
		assert_string_equal(delivered.answers[1]->bytes,
				    "{\"object\":\"list\",\"data\":[{\"index\":0,\"embedding\":"
				    "[],\"index2\":1}],\"model\":\"m-1\"}");
		assert_string_equal(delivered.answers[2]->bytes,
				    "{\"object\":\"list\",\"data\":[{\"index\":0,\"embedding\":"
				    "\"Cg==\"}],\"model\":\"m-1\"}");
		forget(&delivered);
	}
}

static void embeddings_that_are_too_few_too_many_or_placeless_are_nobodys(void **state)
{
	(void)state;
	static const char *const bodies[] = {
		"{\"data\":[{\"index\":0,\"embedding\":[1]},{\"index\":1,\"embedding\":[3]}]}",
		"{\"data\":[{\"index\":0,\"embedding\":[1]},{\"index\":\"1\",\"embedding\":[1]},"
		"{\"index\":2,\"embedding\":[3]}]}",
		"{\"data\":[{\"index\":0,\"embedding\":[1]},{\"index\":1,\"embedding\":[2]},{\"embedding\":[1]},"
		"{\"index\":2,\"embedding\":[3]}]}",
		"{\"data\":[{\"index\":0,\"embedding\":[1]},{\"index\":1,\"embedding\":[2]},"
		"{\"index\":1,\"embedding\":[2]},{\"index\":2,\"embedding\":[3]}]}",
		"{\"data\":[{\"index\":0,\"embedding\":[1]},{\"index\":1,\"embedding\":[2]},"
		"{\"index\":2,\"embedding\":[3]},{\"index\":3,\"embedding\":[4]}]}",
	};
	for (size_t i = 0; i < countof(bodies); i++) {
		struct delivered delivered;
		assert_true(answer_with(&delivered, three, 3, 200, bodies[i], 3));
		assert_int_equal(delivered.outcome, OUTCOME_UPSTREAM_ERROR);
		for (size_t call = 0; call < 3; call++) {
			assert_int_equal(delivered.answers[call]->outcome, OUTCOME_UPSTREAM_ERROR);
			assert_non_null(strstr(delivered.answers[call]->detail, "inputs of 3"));
		}
		forget(&delivered);
	}
}

static void answers_that_are_none_fail_all_calls(void **state)
{
	(void)state;
	static const char *const bodies[] = {
		"", "{", "[]", "5", "{\"data\":5}", "{\"error\":{\"message\":\"no\"}}", "{\"data\":[]}"
	};
	for (size_t i = 0; i < countof(bodies); i++) {
		struct delivered delivered;
		assert_true(answer_with(&delivered, three, 3, 200, bodies[i], 0));
		assert_int_equal(delivered.outcome, OUTCOME_UPSTREAM_ERROR);
		for (size_t j = 0; j < 3; j++)
			assert_int_equal(delivered.answers[j]->outcome, OUTCOME_UPSTREAM_ERROR);
		forget(&delivered);
	}
}

static void a_refusal_is_the_calls_own_only_when_it_was_alone(void **state)
{
	(void)state;
	static const char said[] = "{\"error\":{\"message\":\"too long\",\"type\":\"invalid_request_error\"}}";
	struct delivered delivered;
	assert_true(answer_with(&delivered, three, 3, 400, said, 0));
	assert_int_equal(delivered.answers[2]->outcome, OUTCOME_UPSTREAM_ERROR);
	forget(&delivered);
	assert_true(answer_with(&delivered, three, 1, 400, said, 0));
	assert_int_equal(delivered.answers[0]->outcome, OUTCOME_TOOL_ERROR);
	assert_string_equal(delivered.answers[0]->bytes, said);
	forget(&delivered);
	assert_true(answer_with(&delivered, three, 3, 429, said, 0));
	assert_int_equal(delivered.answers[1]->outcome, OUTCOME_RATE_LIMITED);
	forget(&delivered);
}

static void a_call_alone_gets_the_usage_as_it_came(void **state)
{
	(void)state;
	static const char *const list[] = { "{\"model\":\"m\",\"input\":[\"a\",\"b\"]}" };
	struct delivered delivered;
	assert_true(answer_with(&delivered, list, 1, 200,
				"{\"data\":[{\"index\":1,\"embedding\":[2]},{\"index\":0,\"embedding\":[1]}],"
				"\"usage\":{\"prompt_tokens\": 7,\"more\":{}}}",
				9));
	assert_string_equal(delivered.answers[0]->bytes,
			    "{\"object\":\"list\",\"data\":[{\"index\":0,\"embedding\":[1]},"
			    "{\"index\":1,\"embedding\":[2]}],"
			    "\"usage\":{\"prompt_tokens\": 7,\"more\":{}}}");
	forget(&delivered);
}

/* --- usage --- */

static uint64_t tokens_of(const struct answer *answer, const char *name)
{
	struct slice usage, raw;
	uint64_t number = 0;
	assert_true(json_member(answer_body(answer), SLICE("usage"), &usage));
	assert_true(json_member(usage, slice_of(name), &raw) && json_u64(raw, &number));
	return number;
}

static uint64_t seed = 7;

static uint64_t below(uint64_t bound)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (seed >> 33) % bound;
}

/* One exchange of random calls with a random total: all shares add up to it. */
static void share_once(void)
{
	char arguments[CALLS][128], body[2048];
	const char *pointers[CALLS] = { NULL };
	size_t count = 1 + below(CALLS), len;
	uint64_t total = below(4) ? below(100000) : UINT64_MAX - below(9), sum = 0, sum_all = 0;
	len = (size_t)snprintf(body, sizeof body, "{\"data\":[");
	for (size_t i = 0; i < count; i++) {
		snprintf(arguments[i], sizeof arguments[i], "{\"model\":\"m\",\"input\":\"%.*s\"}",
			 (int)(1 + below(60)), "tttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt");
		pointers[i] = arguments[i];
		len += (size_t)snprintf(body + len, sizeof body - len, "%s{\"index\":%zu,\"embedding\":[%zu]}",
					i ? "," : "", count - 1 - i, count - 1 - i);
	}
	snprintf(body + len, sizeof body - len, "],\"usage\":{\"total_tokens\":%lu,\"prompt_tokens\":%lu}}",
		 (unsigned long)total, (unsigned long)total);
	struct delivered delivered;
	assert_true(answer_with(&delivered, pointers, count, 200, body, len));
	for (size_t i = 0; i < count; i++) {
		struct json_fault fault;
		assert_true(json_check(answer_body(delivered.answers[i]), 10, NULL, &fault));
		assert_int_equal(strstr(delivered.answers[i]->bytes, "usage_estimated") != NULL, count > 1);
		sum += tokens_of(delivered.answers[i], "prompt_tokens");
		sum_all += tokens_of(delivered.answers[i], "total_tokens");
	}
	assert_true(sum == total && sum_all == total);
	forget(&delivered);
}

static void shares_of_the_usage_always_add_up(void **state)
{
	(void)state;
	for (int i = 0; i < 10000; i++)
		share_once();
}

static void without_memory_every_call_still_gets_its_answer(void **state)
{
	(void)state;
	static const char body[] = "{\"data\":[{\"index\":0,\"embedding\":[1]},{\"index\":1,\"embedding\":[1]},"
				   "{\"index\":2,\"embedding\":[3]}],\"usage\":{\"prompt_tokens\":9}}";
	size_t failures = 0;
	for (size_t n = 1;; n++) {
		struct delivered delivered = { .outcome = OUTCOME_OK };
		alloc_reset();
		alloc_fail_at(n);
		bool made = answer_with(&delivered, three, 3, 200, body, 5);
		bool reached = alloc_count() >= n;
		alloc_reset();
		for (size_t i = 0; made && i < 3; i++)
			failures += delivered.answers[i]->outcome != OUTCOME_OK;
		forget(&delivered);
		if (!reached)
			break;
	}
	assert_true(failures > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inputs_of_many_calls_become_one_array),
		cmocka_unit_test(calls_that_differ_in_more_than_the_input_are_kept_apart),
		cmocka_unit_test(a_call_with_a_list_of_inputs_travels_alone),
		cmocka_unit_test(what_a_provider_would_refuse_for_all_is_refused_before),
		cmocka_unit_test(results_are_told_apart_by_index_in_every_fragmentation),
		cmocka_unit_test(embeddings_that_are_too_few_too_many_or_placeless_are_nobodys),
		cmocka_unit_test(answers_that_are_none_fail_all_calls),
		cmocka_unit_test(a_refusal_is_the_calls_own_only_when_it_was_alone),
		cmocka_unit_test(a_call_alone_gets_the_usage_as_it_came),
		cmocka_unit_test(shares_of_the_usage_always_add_up),
		cmocka_unit_test(without_memory_every_call_still_gets_its_answer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
