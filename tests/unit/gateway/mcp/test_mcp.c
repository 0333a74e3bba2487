/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mcp.h over whole workers and a real socket: what needs a clock turned by hand, news of the catalogue, or memory that
 * runs out. The wire itself is tested from outside (tests/integration/test_mcp_*.py).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/json.h"
#include "gateway/mcp/mcp.h"
#include "gateway/server/seats.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/gateway_world.h"
#include "tests/support/http_world.h"

enum { TURNS = 50, REQUEST_BYTES = 2048, MOST_ALLOCATIONS = 2000 };

#define META                                                                                                           \
	"\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\","                                       \
	"\"io.modelcontextprotocol/clientCapabilities\":{}}"

static const char call_write[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\","
				 "\"params\":{\"name\":\"write\",\"arguments\":{\"tag\":7}}}";
static const char call_far[] =
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\","
	"\"params\":{\"name\":\"far_cached\",\"arguments\":{\"tag\":7},\"_meta\":{\"traceparent\":\"x\"}}}";
static const char array[] = "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"},"
			    "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/call\",\"params\":{\"name\":\"write\"}},"
			    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"},"
			    "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"tools/call\",\"params\":{\"name\":\"nope\"}}]";
static const char list[] =
	"{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"tools/list\",\"params\":{\"cursor\":\"YQ==\"}}";
static const char hello[] = "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\","
			    "\"params\":{\"protocolVersion\":\"2025-06-18\"}}";
static const char listen_to_tools[] = "{\"jsonrpc\":\"2.0\",\"id\":\"l\",\"method\":\"subscriptions/listen\","
				      "\"params\":{\"notifications\":{\"toolsListChanged\":true}," META "}}";

/* A gateway that listens, and one client of it. */
struct front {
	struct gateway_world world;
	struct http_world address; /* only where to connect to */
	struct client client;
};

static void front_start(struct front *front)
{
	char error[200] = "";
	struct sockaddr local = { .sa_family = AF_UNIX };
	gateway_start(&front->world, gateway_yaml);
	front->world.config->generation.http = http_world_settings();
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, &local, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(fd, 8), 0);
	front->address.address_bytes = sizeof front->address.address;
	assert_int_equal(getsockname(fd, (struct sockaddr *)&front->address.address, &front->address.address_bytes), 0);
	assert_true(worker_add_seat(front->world.gateway.workers[0], fd, false, NULL, 0, error, sizeof error));
	worker_open(front->world.gateway.workers[0]);
	client_open(&front->address, &front->client);
}

static void turn(struct front *front)
{
	gateway_settle(&front->world);
	while (fake_under_way())
		fake_finish(fake_nth(0));
	gateway_settle(&front->world);
	client_read(&front->client);
}

static void front_stop(struct front *front)
{
	client_close(&front->client);
	gateway_pass(&front->world, CLOCK_US_PER_S);
	for (int i = 0; i < 4; i++)
		turn(front);
	gateway_stop(&front->world);
}

static void post(struct front *front, const char *headers, const char *body)
{
	char text[REQUEST_BYTES];
	int len = snprintf(text, sizeof text,
			   "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%s"
			   "Content-Length: %zu\r\n\r\n%s",
			   headers, strlen(body), body);
	assert_in_range(len, 1, sizeof text - 1);
	client_send(&front->client, (struct slice){ text, (size_t)len });
}

static void post_listen(struct front *front)
{
	post(front, "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen\r\n", listen_to_tools);
}

static bool has_come(const struct front *front, const char *text)
{
	struct slice in = buf_slice(&front->client.in);
	return memmem(in.at, in.len, text, strlen(text)) != NULL;
}

static void wait_for(struct front *front, const char *text)
{
	for (int i = 0; i < TURNS && !has_come(front, text); i++)
		turn(front);
	if (!has_come(front, text))
		fail_msg("\"%s\" has not come", text);
}

static int64_t subscriptions(const struct front *front)
{
	return gateway_metric(&front->world, METRIC_ID_MCP_SUBSCRIPTIONS, 0, 0);
}

static void acknowledged(struct front *front)
{
	front_start(front);
	post_listen(front);
	wait_for(front, "notifications/subscriptions/acknowledged");
	assert_int_equal(subscriptions(front), 1);
}

/* ---------------------------------------------------------------- tests */

static void a_call_is_answered_over_both_workers(void **state)
{
	struct front front = { 0 };
	(void)state;
	front_start(&front);
	post(&front, "", call_far);
	wait_for(&front, "\"structuredContent\":{\"tag\":7}");
	front_stop(&front);
}

static void whoever_listens_hears_of_other_tools(void **state)
{
	struct front front = { 0 };
	struct catalogue_listener *listener, *next;
	(void)state;
	acknowledged(&front);
	struct worker *worker = front.world.gateway.workers[0];
	assert_false(has_come(&front, "list_changed"));
	for (listener = TAILQ_FIRST(&worker->listeners); listener; listener = next) {
		next = TAILQ_NEXT(listener, next);
		listener->changed(listener);
	}
	wait_for(&front, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\",\"params\":{\"_meta\":"
			 "{\"io.modelcontextprotocol/subscriptionId\":\"l\"}}}\n\n");
	front_stop(&front);
}

static void a_quiet_stream_is_kept_alive(void **state)
{
	struct front front = { 0 };
	(void)state;
	acknowledged(&front);
	gateway_pass(&front.world, 14 * CLOCK_US_PER_S);
	turn(&front);
	assert_false(has_come(&front, "\n: "));
	gateway_pass(&front.world, CLOCK_US_PER_S);
	wait_for(&front, "\n: still here\n\n");
	front_stop(&front);
}

static void a_client_that_leaves_ends_its_stream(void **state)
{
	struct front front = { 0 };
	(void)state;
	acknowledged(&front);
	front_stop(&front);
}

static void draining_ends_all_streams_and_opens_none(void **state)
{
	struct front front = { 0 };
	(void)state;
	acknowledged(&front);
	atomic_store(&front.world.gateway.draining, true);
	mcp_end_subscriptions(front.world.gateway.workers[0], NULL);
	wait_for(&front, "\r\n0\r\n\r\n");
	assert_int_equal(subscriptions(&front), 0);
	post_listen(&front);
	wait_for(&front, "shutting_down");
	front_stop(&front);
}

/* The provider's answer, with or without the allocation failing that is the nth from here. */
static void answer_one(struct front *front, size_t nth)
{
	struct exchange *exchange = fake_nth(0);
	struct answer *answer = answer_result(SLICE("{\"tag\":7}"), true, NULL);
	assert_non_null(answer);
	assert_int_equal(exchange->count, 1);
	alloc_reset();
	alloc_fail_at(nth);
	fake_answer(exchange, 0, answer);
	fake_complete(exchange, OUTCOME_OK);
	gateway_settle(&front->world);
}

/* One allocation of the many fails, before the provider has the call or after it has answered: the client gets an
 * answer or loses its connection, and nothing is left behind. True: there were not so many. */
static bool served_without(size_t nth, bool late, const char *headers, const char *body)
{
	struct front front = { 0 };
	front_start(&front);
	post(&front, headers, body);
	alloc_reset();
	alloc_fail_at(late ? 0 : nth);
	gateway_settle(&front.world);
	gateway_settle(&front.world);
	bool all = alloc_count() < nth;
	alloc_reset();
	if (late && fake_under_way()) {
		answer_one(&front, nth);
		all = alloc_count() < nth;
		alloc_reset();
	}
	for (int i = 0; i < TURNS && front.client.in.len == 0 && !front.client.ended; i++) {
		gateway_pass(&front.world, CLOCK_US_PER_S / 2);
		turn(&front);
	}
	assert_true(front.client.in.len > 0 || front.client.ended);
	front_stop(&front);
	return all;
}

static void check_without_memory(const char *headers, const char *body)
{
	size_t early = 1, late = 1;
	while (!served_without(early, false, headers, body))
		assert_true(++early < MOST_ALLOCATIONS);
	while (!served_without(late, true, headers, body))
		assert_true(++late < MOST_ALLOCATIONS);
}

static void without_memory_a_request_is_shed_and_nothing_leaks(void **state)
{
	(void)state;
	check_without_memory("", call_write);
	check_without_memory("", call_far);
	check_without_memory("Accept: text/event-stream\r\n", call_write);
	check_without_memory("", array);
	check_without_memory("", list);
	check_without_memory("Origin: http://localhost\r\n", hello);
	check_without_memory("", "{");
	check_without_memory("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen\r\n",
			     listen_to_tools);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_call_is_answered_over_both_workers),
		cmocka_unit_test(whoever_listens_hears_of_other_tools),
		cmocka_unit_test(a_quiet_stream_is_kept_alive),
		cmocka_unit_test(a_client_that_leaves_ends_its_stream),
		cmocka_unit_test(draining_ends_all_streams_and_opens_none),
		cmocka_unit_test(without_memory_a_request_is_shed_and_nothing_leaks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
