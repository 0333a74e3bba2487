/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MCP servers behind the front door, at a scripted provider: callers that leave at every moment, and memory that is out
 * at every moment. What travels in which era is for tests/integration/test_mcp_upstream.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/provider.h"
#include "upstream/http/transport.h"
#include "upstream/upstream.h"

enum { CALLS = 4 };
#define PATIENCE_US (20 * CLOCK_US_PER_S)

/* --- the server --- */

static atomic_uint calls_seen; /* messages of tools/call */
static atomic_uint strangers;  /* messages of tools/call for another tool than t */
static atomic_bool lose_next;  /* answer the next call with 404 */
static atomic_uint singles;    /* calls that came alone since then */
static atomic_bool is_out;     /* answer all with 503 */
static atomic_bool part_ways;  /* refuse arrays, and hold the first single call until the test releases it */

static bool has(const struct provider_request *request, const char *text)
{
	return memmem(request->body.at, request->body.len, text, strlen(text)) != NULL;
}

static void answer(struct provider_request *request, struct slice id, const char *result)
{
	struct buf out = BUF_INIT(10000);
	buf_printf(&out, "{\"jsonrpc\":\"2.0\",\"id\":%.*s,\"result\":%s}", SLICE_ARG(id), result);
	provider_write(request,
		       "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: s\r\n"
		       "Content-Length: %zu\r\n\r\n%s",
		       out.len, buf_cstr(&out));
	buf_fini(&out);
}

static void answer_calls(struct provider_request *request)
{
	struct json_walk walk = json_walk(request->body);
	struct slice element, id;
	struct buf out = BUF_INIT(10000);
	bool array = request->body.at[0] == '[';
	struct slice one = request->body;
	while (array ? json_next_element(&walk, &element) : one.len > 0) {
		if (!array) {
			element = one;
			one.len = 0;
		}
		json_member(element, SLICE("id"), &id);
		atomic_fetch_add(&calls_seen, 1);
		if (!memmem(element.at, element.len, "\"name\":\"t\"", strlen("\"name\":\"t\"")))
			atomic_fetch_add(&strangers, 1);
		buf_printf(&out, "id: 1\r\ndata: {\"id\":%.*s,\"result\":{\"content\":[]}}\r\n\r\n", SLICE_ARG(id));
	}
	provider_answer(request, "200 OK", "text/event-stream", buf_slice(&out));
	buf_fini(&out);
}

static void hold_first(struct provider_request *request)
{
	if (atomic_load(&part_ways) && atomic_fetch_add(&singles, 1) == 0)
		provider_hold(request);
	answer_calls(request);
}

static enum provider_then serve(struct provider_request *request)
{
	struct slice id = { NULL, 0 };
	if (request->body.len && request->body.at[0] == '{')
		json_member(request->body, SLICE("id"), &id);
	if (atomic_load(&is_out))
		provider_answer(request, "503 Service Unavailable", NULL, SLICE("later"));
	else if (has(request, "server/discover"))
		provider_answer(request, "400 Bad Request", NULL, SLICE("no"));
	else if (has(request, "\"initialize\""))
		answer(request, id,
		       "{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{},"
		       "\"instructions\":\"Ask \\\"t\\\".\"}");
	else if (has(request, "tools/list"))
		answer(request, id, "{\"tools\":[{\"name\":\"t\"}]}");
	else if (!has(request, "tools/call"))
		provider_answer(request, "202 Accepted", NULL, (struct slice){ "", 0 });
	else if (atomic_exchange(&lose_next, false))
		provider_answer(request, "404 Not Found", NULL, SLICE("gone"));
	else if (atomic_load(&part_ways) && request->body.at[0] == '[')
		provider_answer(
			request, "200 OK", "application/json",
			SLICE("{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,\"message\":\"no\"}}"));
	else
		hold_first(request);
	return PROVIDER_KEEP;
}

/* --- the gateway's side --- */

struct world {
	struct provider *provider;
	struct loop *loop;
	struct metrics *metrics;
	struct meter *meter;
	struct transport *transport;
	struct upstream *upstream;
	struct upstream_settings settings;
	struct dialect_route *route;
	char url[100];
	const char *endpoint;
	struct upstream_watcher watcher;
	size_t lists, failed_lists;
	bool instructed;
};

struct completion {
	struct exchange *exchange;
	size_t answered, refused;
	unsigned outcomes; /* a bit for each that was told */
	bool completed, abort_at_first, aborted;
};

static void on_answered(void *context, size_t index, struct answer *result)
{
	struct completion *completion = context;
	assert_true(index < CALLS && !completion->completed && !completion->aborted);
	completion->answered++;
	completion->outcomes |= 1u << result->outcome;
	answer_unref(result);
	if (!completion->abort_at_first)
		return;
	completion->aborted = true;
	upstream_abort(completion->exchange);
}

static void on_completed(void *context, enum outcome outcome)
{
	struct completion *completion = context;
	(void)outcome;
	assert_false(completion->completed || completion->aborted);
	completion->completed = true;
}

static void on_tools(void *context, struct slice tools, struct slice instructions)
{
	struct world *world = context;
	assert_true(slice_equal(tools, SLICE("[{\"name\":\"t\"}]")));
	if (instructions.len) /* without memory there are none */
		assert_true(slice_equal(instructions, SLICE("Ask \"t\".")));
	world->instructed |= instructions.len > 0;
	world->lists++;
}

static void on_tools_failed(void *context, const char *why)
{
	struct world *world = context;
	assert_string_not_equal(why, "");
	world->failed_lists++;
}

static const char *const names[] = { "m" };
static const size_t endpoint_upstreams[] = { 0 };

static struct dialect_route *new_route(const char *tool)
{
	struct route_settings settings = { .tool = tool };
	struct dialect_error error = { 0 };
	struct dialect_route *route = dialect_mcp.route_new(&settings, &error);
	assert_non_null(route);
	return route;
}

static void world_init(struct world *world)
{
	struct metrics_names metric_names = { .upstreams = names,
					      .upstream_count = 1,
					      .endpoints = names,
					      .endpoint_upstreams = endpoint_upstreams,
					      .endpoint_count = 1 };
	*world = (struct world){ .provider = provider_start(serve, NULL), .loop = loop_new() };
	world->metrics = metrics_new(&metric_names);
	assert_non_null(world->metrics);
	world->meter = metrics_meter(world->metrics);
	world->transport = transport_new(world->loop, world->meter, 20);
	assert_non_null(world->transport);
	snprintf(world->url, sizeof world->url, "http://127.0.0.1:%u/mcp", provider_port(world->provider));
	world->endpoint = world->url;
	world->settings = (struct upstream_settings){ .name = "m",
						      .dialect = &dialect_mcp,
						      .endpoints = &world->endpoint,
						      .endpoint_count = 1,
						      .pool_max = 10,
						      .idle_timeout_us = 60 * CLOCK_US_PER_S,
						      .connect_timeout_us = 5 * CLOCK_US_PER_S,
						      .timeout_us = 10 * CLOCK_US_PER_S,
						      .answer_bytes = 1 << 20,
						      .mcp_list_bytes = 1 << 20,
						      .json_depth = 32 };
	world->route = new_route("t");
	world->watcher = (struct upstream_watcher){ on_tools, on_tools_failed, world };
	atomic_store(&lose_next, false);
}

static void world_fini(struct world *world)
{
	upstream_free(world->upstream);
	dialect_route_unref(world->route);
	transport_free(world->transport);
	metrics_free(world->metrics);
	loop_free(world->loop);
	provider_stop(world->provider);
}

static void turn(struct world *world)
{
	loop_wait(world->loop, clock_now_us() + 20 * CLOCK_US_PER_MS);
	transport_tick(world->transport);
	loop_run_timers(world->loop);
}

static bool open_upstream(struct world *world)
{
	world->upstream = upstream_new(&world->settings, world->transport, world->loop, world->meter);
	if (world->upstream)
		upstream_watch(world->upstream, &world->watcher);
	return world->upstream != NULL;
}

/* False: refused at once. */
static bool send_calls(struct world *world, struct completion *completion, size_t count, bool repeatable)
{
	static const struct upstream_events events = { .answered = on_answered, .completed = on_completed };
	struct upstream_call calls[CALLS];
	struct answer *refusal = NULL;
	for (size_t i = 0; i < count; i++)
		calls[i] = (struct upstream_call){ .route = world->route,
						   .arguments = SLICE("{}"),
						   .repeatable = repeatable };
	completion->exchange = upstream_send(world->upstream, calls, count, clock_now_us() + 10 * CLOCK_US_PER_S,
					     &events, completion, &refusal);
	assert_true((completion->exchange == NULL) == (refusal != NULL));
	answer_unref(refusal);
	return completion->exchange != NULL;
}

static void turn_until_completed(struct world *world, struct completion *completion)
{
	uint64_t limit_us = clock_now_us() + PATIENCE_US;
	while (!completion->completed && clock_now_us() < limit_us)
		turn(world);
	assert_true(completion->completed);
}

/* --- tests --- */

static void calls_that_come_before_the_session_wait_for_it(void **state)
{
	struct world world;
	struct completion one = { .answered = 0 }, three = { .answered = 0 };
	(void)state;
	world_init(&world);
	assert_true(open_upstream(&world));
	turn(&world);
	assert_true(send_calls(&world, &one, 1, false));
	assert_true(send_calls(&world, &three, 3, true));
	turn_until_completed(&world, &one);
	turn_until_completed(&world, &three);
	assert_int_equal(one.answered, 1);
	assert_int_equal(three.answered, 3);
	assert_int_equal(one.outcomes | three.outcomes, 1u << OUTCOME_OK);
	world_fini(&world);
}

static void a_write_is_seen_once_whatever_becomes_of_its_session(void **state)
{
	struct world world;
	(void)state;
	world_init(&world);
	assert_true(open_upstream(&world));
	for (int repeatable = 0; repeatable < 2; repeatable++) {
		struct completion completion = { .answered = 0 };
		unsigned before = atomic_load(&calls_seen);
		atomic_store(&lose_next, true);
		assert_true(send_calls(&world, &completion, 1, repeatable));
		turn_until_completed(&world, &completion);
		assert_int_equal(completion.outcomes, 1u << (repeatable ? OUTCOME_OK : OUTCOME_UPSTREAM_UNAVAILABLE));
		assert_int_equal(atomic_load(&calls_seen) - before, repeatable);
	}
	assert_int_equal(metrics_read(world.metrics, METRIC_ID_MCP_LOST, 0, 0), 2);
	world_fini(&world);
}

/* The tool's list is replaced: whoever had no hold of his own finds other things where the route was. */
static void drop_route(struct world *world)
{
	dialect_route_unref(world->route);
	world->route = new_route("s");
}

/* A call is written when its session is there, and again when that was lost; its tool may be gone from the list. */
static void a_call_outlives_the_list_that_its_tool_was_in(void **state)
{
	struct world world;
	(void)state;
	atomic_store(&strangers, 0);
	world_init(&world);
	assert_true(open_upstream(&world));
	for (int round = 0; round < 3; round++) {
		struct completion completion = { .answered = 0 };
		if (round)
			atomic_store(&lose_next, true);
		assert_true(send_calls(&world, &completion, round == 2 ? CALLS : 1, true));
		drop_route(&world);
		turn_until_completed(&world, &completion);
		assert_int_equal(completion.outcomes, 1u << OUTCOME_OK);
		dialect_route_unref(world.route);
		world.route = new_route("t");
	}
	assert_int_equal(atomic_load(&strangers), 0);
	world_fini(&world);
}

/* Reads around a write: the session is lost, the write is told so, and the reads go on in two exchanges, of which the
 * second finds out that the server takes no arrays while the first is under way. */
/* Until so many lists have failed in all; the time of the last. */
static uint64_t turn_until_failed(struct world *world, size_t lists)
{
	uint64_t limit_us = clock_now_us() + PATIENCE_US;
	while (world->failed_lists < lists && clock_now_us() < limit_us)
		turn(world);
	assert_int_equal(world->failed_lists, lists);
	return clock_now_us();
}

/* That it has failed again is told to whoever waits, which is not to ask: 1, 2, ... seconds, not one each time. */
static void a_server_that_nobody_asks_for_is_tried_less_and_less_often(void **state)
{
	struct world world;
	(void)state;
	world_init(&world);
	atomic_store(&is_out, true);
	assert_true(open_upstream(&world));
	uint64_t first_us = turn_until_failed(&world, 2);
	assert_in_range(turn_until_failed(&world, 3) - first_us, 3 * CLOCK_US_PER_S / 2, UINT64_MAX);
	atomic_store(&is_out, false);
	world_fini(&world);
}

static void arrays_refused_beside_an_exchange_under_way(void **state)
{
	static const struct upstream_events events = { .answered = on_answered, .completed = on_completed };
	static const bool repeatable[CALLS] = { true, false, true, true };
	struct world world;
	struct completion completion = { .answered = 0 };
	struct upstream_call calls[CALLS];
	struct answer *refusal = NULL;
	(void)state;
	world_init(&world);
	assert_true(open_upstream(&world));
	for (uint64_t limit_us = clock_now_us() + PATIENCE_US; !world.lists && clock_now_us() < limit_us;)
		turn(&world);
	assert_true(world.instructed);
	for (size_t i = 0; i < CALLS; i++)
		calls[i] = (struct upstream_call){ .route = world.route,
						   .arguments = SLICE("{}"),
						   .repeatable = repeatable[i] };
	atomic_store(&lose_next, true);
	atomic_store(&part_ways, true);
	atomic_store(&singles, 0);
	completion.exchange = upstream_send(world.upstream, calls, CALLS, clock_now_us() + 10 * CLOCK_US_PER_S, &events,
					    &completion, &refusal);
	assert_non_null(completion.exchange);
	for (uint64_t limit_us = clock_now_us() + PATIENCE_US; atomic_load(&singles) < 1 && clock_now_us() < limit_us;)
		turn(&world);
	for (int i = 0; i < 20; i++)
		turn(&world);
	provider_release(world.provider, 1);
	turn_until_completed(&world, &completion);
	atomic_store(&part_ways, false);
	assert_int_equal(completion.answered, CALLS);
	assert_true(completion.outcomes & 1u << OUTCOME_OK);
	for (int i = 0; i < 20; i++)
		turn(&world);
	world_fini(&world);
}

static void callers_may_leave_at_any_moment(void **state)
{
	struct world world;
	(void)state;
	world_init(&world);
	assert_true(open_upstream(&world));
	for (int turns = 0; turns < 12; turns++) {
		struct completion completion = { .answered = 0 };
		assert_true(send_calls(&world, &completion, 1 + (size_t)turns % CALLS, true));
		for (int i = 0; i < turns && !completion.completed; i++)
			turn(&world);
		completion.aborted = true;
		if (!completion.completed)
			upstream_abort(completion.exchange);
	}
	struct completion rude = { .abort_at_first = true };
	assert_true(send_calls(&world, &rude, CALLS, true));
	for (uint64_t limit_us = clock_now_us() + PATIENCE_US; !rude.answered && clock_now_us() < limit_us;)
		turn(&world);
	assert_int_equal(rude.answered, 1);
	world_fini(&world); /* in the same turn */
}

/* One whole life with the nth allocation failing: nothing leaks, every call is told. True: none failed. */
static bool live_without(size_t nth)
{
	struct world world;
	world_init(&world);
	alloc_fail_at(nth);
	if (open_upstream(&world)) {
		struct completion completion = { .answered = 0 };
		for (int i = 0; i < 4; i++)
			turn(&world);
		atomic_store(&lose_next, nth % 2);
		if (send_calls(&world, &completion, nth % 3 + 1, true)) {
			turn_until_completed(&world, &completion);
			assert_int_equal(completion.answered, nth % 3 + 1);
		}
	}
	bool whole = alloc_count() < nth;
	alloc_reset();
	world_fini(&world);
	return whole;
}

static void memory_may_be_out_at_any_moment(void **state)
{
	(void)state;
	bool whole = false;
	for (size_t nth = 1; !whole && nth < 2000; nth++)
		whole = live_without(nth);
	assert_true(whole);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	if (!upstream_library_init())
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_that_come_before_the_session_wait_for_it),
		cmocka_unit_test(a_write_is_seen_once_whatever_becomes_of_its_session),
		cmocka_unit_test(a_call_outlives_the_list_that_its_tool_was_in),
		cmocka_unit_test(a_server_that_nobody_asks_for_is_tried_less_and_less_often),
		cmocka_unit_test(arrays_refused_beside_an_exchange_under_way),
		cmocka_unit_test(callers_may_leave_at_any_moment),
		cmocka_unit_test(memory_may_be_out_at_any_moment),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	upstream_library_fini();
	return failed;
}
