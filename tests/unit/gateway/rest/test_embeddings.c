/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embeddings.h over whole workers and a real socket: memory that runs out, clients that leave. The wire itself is
 * tested from outside (tests/integration/test_embeddings.py).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/support/alloc_fail.h"
#include "tests/support/front.h"

enum { MOST_ALLOCATIONS = 3000 };

static const char yaml[] =
	"listen: 127.0.0.1:0\n"
	"workers: 2\n"
	"limits: { in_flight: 8 }\n"
	"upstreams:\n"
	"  near: { dialect: openai-embeddings, endpoints: [ { url: \"http://h\" } ], timeout: 10s }\n"
	"  far: { dialect: openai-embeddings, endpoints: [ { url: \"http://h\" } ], timeout: 10s }\n"
	"tools:\n"
	"  near_embed:\n"
	"    upstream: near\n"
	"    models: [ near ]\n"
	"    annotations: { read_only: true }\n"
	"    cache: { ttl: 60s, scope: shared }\n"
	"  far_embed: { upstream: far, models: [ far ] }\n";

static const char result[] =
	"{\"object\":\"list\",\"data\":[{\"index\":0,\"embedding\":[1.50]}],\"model\":\"m\","
	"\"usage\":{\"prompt_tokens\":3,\"total_tokens\":3},\"x_jitney\":{\"usage_estimated\":true}}";

static void wait_for(struct front *front, const char *text)
{
	for (int i = 0; i < FRONT_TURNS && !front_has(front, text); i++)
		front_turn(front, slice_of(result));
	if (!front_has(front, text))
		fail_msg("\"%s\" has not come: %s", text, buf_cstr(&front->client.in));
}

static void each_input_is_a_call_and_the_sum_is_theirs(void **state)
{
	(void)state;
	struct front front = { 0 };
	front_start(&front, yaml);
	front_post(&front, "/v1/embeddings", "", SLICE("{\"model\":\"far\",\"input\":[\"a\",\"b\",[1]]}"));
	wait_for(&front, "\"data\":[{\"index\":0,\"embedding\":[1.50]},{\"index\":1,\"embedding\":[1.50]},"
			 "{\"index\":2,\"embedding\":[1.50]}]");
	assert_true(front_has(&front, "\"usage\":{\"prompt_tokens\":9,\"total_tokens\":9}"));
	assert_true(front_has(&front, "X-Usage-Estimated: true"));
	front_stop(&front);
}

static void an_input_from_memory_is_in_nobodys_bill(void **state)
{
	(void)state;
	struct front front = { 0 };
	front_start(&front, yaml);
	front_post(&front, "/v1/embeddings", "", SLICE("{\"model\":\"near\",\"input\":\"a\"}"));
	wait_for(&front, "\"prompt_tokens\":3");
	front_post(&front, "/v1/embeddings", "", SLICE("{\"model\":\"near\",\"input\":[\"a\",\"b\"]}"));
	wait_for(&front, "\"unbilled_inputs\":1");
	assert_false(front_has(&front, "\"prompt_tokens\":6"));
	front_stop(&front);
}

static void more_inputs_than_calls_at_once_are_refused(void **state)
{
	(void)state;
	struct front front = { 0 };
	front_start(&front, yaml);
	front_post(&front, "/v1/embeddings", "",
		   SLICE("{\"model\":\"near\",\"input\":[[1],[2],[3],[4],[5],[6],[7],[8],[9]]}"));
	wait_for(&front, "limits.in_flight");
	assert_true(front_has(&front, "HTTP/1.1 413"));
	front_stop(&front);
}

static void a_client_that_leaves_leaves_no_call_behind(void **state)
{
	(void)state;
	struct front front = { 0 };
	front_start(&front, yaml);
	front_post(&front, "/v1/embeddings", "", SLICE("{\"model\":\"far\",\"input\":[\"a\",\"b\"]}"));
	gateway_settle(&front.world);
	front_stop(&front);
}

/*
 * Post with the nth allocation failing, counted from the post (early) or from the provider's answer: the client gets an
 * answer or loses its connection, and nothing is left behind. True: there were not so many.
 */
static bool served_without(size_t nth, bool early, const char *body)
{
	struct front front = { 0 };
	front_start(&front, yaml);
	front_post(&front, "/v1/embeddings", "", slice_of(body));
	alloc_reset();
	alloc_fail_at(early ? nth : 0);
	gateway_settle(&front.world);
	gateway_settle(&front.world);
	bool all = alloc_count() < nth;
	alloc_reset();
	if (!early) {
		struct answer *answer = front_result(slice_of(result));
		alloc_reset();
		alloc_fail_at(nth);
		front_answer(&front, answer);
		all = alloc_count() < nth;
		alloc_reset();
		answer_unref(answer);
	}
	for (int i = 0; i < FRONT_TURNS && front.client.in.len == 0 && !front.client.ended; i++) {
		gateway_pass(&front.world, CLOCK_US_PER_S / 2);
		front_turn(&front, slice_of(result));
	}
	assert_true(front.client.in.len > 0 || front.client.ended);
	front_stop(&front);
	return all;
}

static void without_memory_a_request_is_shed_and_nothing_leaks(void **state)
{
	(void)state;
	static const char *const bodies[] = {
		"{\"model\":\"near\",\"input\":\"a\"}",
		"{\"model\":\"far\",\"input\":[\"a\",\"b\"],\"user\":\"u\"}",
		"{\"model\":\"near\",\"input\":[[1,2],[3]]}",
		"{\"model\":\"none\",\"input\":\"a\"}",
		"{\"model\":",
	};
	for (size_t i = 0; i < countof(bodies); i++)
		for (int early = 0; early < 2; early++)
			for (size_t n = 1; !served_without(n, early, bodies[i]); n++)
				assert_true(n < MOST_ALLOCATIONS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_input_is_a_call_and_the_sum_is_theirs),
		cmocka_unit_test(an_input_from_memory_is_in_nobodys_bill),
		cmocka_unit_test(more_inputs_than_calls_at_once_are_refused),
		cmocka_unit_test(a_client_that_leaves_leaves_no_call_behind),
		cmocka_unit_test(without_memory_a_request_is_shed_and_nothing_leaks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
