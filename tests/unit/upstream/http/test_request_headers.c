/* SPDX-License-Identifier: Apache-2.0 */
/* Request heads: who may say what, and which requests share their lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <curl/curl.h>
#include <stdio.h>

#include "tests/support/alloc_fail.h"
#include "upstream/dialects/dialect.h"
#include "upstream/http/exchange.h"
#include "upstream/http/request_headers.h"
#include "upstream/upstream.h"

static const struct upstream_header configured[] = { { "X-Team", "blue" } };
static const struct upstream_settings settings = { .name = "u", .headers = configured, .header_count = 1 };

struct world {
	struct http_headers headers;
	struct encoded_request request;
	struct upstream_call call;
};

static void world_init(struct world *world)
{
	*world = (struct world){ .request = { .method = "POST",
					      .headers = BUF_INIT(1000),
					      .body = BUF_INIT(4 << 20),
					      .content_type = "application/json" } };
	http_headers_init(&world->headers, &settings);
}

static void world_fini(struct world *world)
{
	buf_fini(&world->request.headers);
	buf_fini(&world->request.body);
	http_headers_fini(&world->headers);
}

/* All lines with a | behind each; the exchange is done with then. *shared: they are the upstream's. */
static const char *written(struct world *world, bool *shared)
{
	static char text[1000];
	struct http_exchange exchange = { .method = "POST" };
	assert_null(http_headers_write(&world->headers, &exchange, &world->request, &world->call));
	*shared = exchange.standing != NULL;
	size_t len = 0;
	const struct curl_slist *line = *shared ? exchange.standing : exchange.headers;
	for (; line; line = line->next)
		len += (size_t)snprintf(text + len, sizeof text - len, "%s|", line->data);
	curl_slist_free_all(exchange.headers);
	return text;
}

#define COMMON "X-Team: blue|Content-Type: application/json|Accept: application/json|"

static void requests_of_a_kind_share_their_lines(void **state)
{
	(void)state;
	struct world world;
	bool shared;
	world_init(&world);
	for (int i = 0; i < 3; i++) {
		assert_string_equal(written(&world, &shared), COMMON);
		assert_true(shared);
	}
	world.request.content_type = NULL;
	world.request.accept = "text/plain";
	assert_string_equal(written(&world, &shared), "X-Team: blue|Content-Type:|Accept: text/plain|");
	assert_true(shared);
	world.request.accept = "text/html"; /* a third kind: written each time */
	assert_string_equal(written(&world, &shared), "X-Team: blue|Content-Type:|Accept: text/html|");
	assert_false(shared);
	world_fini(&world);
}

static void what_is_one_calls_own_is_not_shared(void **state)
{
	(void)state;
	struct world world;
	bool shared;
	world_init(&world);
	world.call.traceparent = SLICE("00-a-b-01");
	world.call.idempotency_key = SLICE("k");
	assert_string_equal(written(&world, &shared), COMMON "traceparent: 00-a-b-01|Idempotency-Key: k|");
	assert_false(shared);
	world.call.traceparent = world.call.idempotency_key = (struct slice){ NULL, 0 };
	assert_string_equal(written(&world, &shared), COMMON);
	assert_true(shared);
	buf_put_text(&world.request.headers, "accept: a/b\nx-team: red\n");
	assert_string_equal(written(&world, &shared), "accept: a/b|x-team: red|Content-Type: application/json|");
	assert_false(shared);
	world_fini(&world);
}

static void nobody_waits_for_a_100_with_a_large_body(void **state)
{
	(void)state;
	struct world world;
	bool shared;
	world_init(&world);
	assert_true(buf_reserve(&world.request.body, 1 << 20));
	world.request.body.len = 1 << 20;
	assert_string_equal(written(&world, &shared), COMMON "Expect:|");
	assert_false(shared);
	world_fini(&world);
}

static void without_memory_a_request_is_refused_and_nothing_is_kept(void **state)
{
	(void)state;
	struct world world;
	struct answer *refusal;
	size_t failures = 0;
	do {
		world_init(&world);
		struct http_exchange exchange = { .method = "POST" };
		alloc_reset();
		alloc_fail_at(failures + 1);
		refusal = http_headers_write(&world.headers, &exchange, &world.request, &world.call);
		alloc_reset();
		if (refusal) {
			assert_int_equal(refusal->outcome, OUTCOME_OVERLOADED);
			assert_null(exchange.standing);
			assert_null(world.headers.standing[0].lines);
			failures++;
		}
		answer_unref(refusal);
		curl_slist_free_all(exchange.headers);
		world_fini(&world);
	} while (refusal);
	assert_true(failures > 0);
}

/* Two lines of one name are read as either, or both, by whoever is on the way. */
static void a_callers_line_never_stands_beside_the_operators(void **state)
{
	(void)state;
	struct world world;
	bool shared;
	world_init(&world);
	world.call.idempotency_key = SLICE("the caller's");
	world.call.traceparent = SLICE("00-1-2-3");
	buf_put_text(&world.request.headers, "idempotency-key: order-7\n");
	assert_string_equal(written(&world, &shared), "idempotency-key: order-7|" COMMON "traceparent: 00-1-2-3|");
	world_fini(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_callers_line_never_stands_beside_the_operators),
		cmocka_unit_test(requests_of_a_kind_share_their_lines),
		cmocka_unit_test(what_is_one_calls_own_is_not_shared),
		cmocka_unit_test(nobody_waits_for_a_100_with_a_large_body),
		cmocka_unit_test(without_memory_a_request_is_refused_and_nothing_is_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
