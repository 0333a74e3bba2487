/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upstream_world.h: the world of one test of upstream/http: a loop, a transport, an upstream, and what becomes of an
 * exchange; and a provider that answers JSON-RPC well. For test programs that play the provider themselves.
 */
#ifndef JITNEY_TESTS_UPSTREAM_WORLD_H
#define JITNEY_TESTS_UPSTREAM_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "tests/support/dialect_error.h"
#include "tests/support/provider.h"
#include "upstream/http/transport.h"
#include "upstream/upstream.h"

enum { MAX_CALLS = 128 };
#define PATIENCE_US (60 * CLOCK_US_PER_S)

/* --- the world of one test --- */

struct world {
	struct loop *loop;
	struct metrics *metrics;
	struct meter *meter;
	struct transport *transport;
	struct upstream *upstream;
	struct upstream_settings settings;
	struct dialect_route *route;
	char urls[4][100];
	const char *endpoints[4];
};

/* What became of one exchange. */
struct completion {
	struct world *world;
	struct exchange *exchange;
	struct answer *answers[MAX_CALLS];
	size_t answered;
	bool completed;
	uint64_t completed_us; /* as the loop tells the time */
	enum outcome outcome;
	bool abort_at_first;
};

static inline void on_answered(void *context, size_t index, struct answer *answer)
{
	struct completion *completion = context;
	assert_false(completion->completed);
	assert_true(index < MAX_CALLS);
	assert_null(completion->answers[index]);
	completion->answers[index] = answer;
	completion->answered++;
	if (completion->abort_at_first)
		upstream_abort(completion->exchange);
}

static inline void on_completed(void *context, enum outcome outcome)
{
	struct completion *completion = context;
	assert_false(completion->completed);
	completion->completed = true;
	completion->completed_us = loop_now(completion->world->loop);
	completion->outcome = outcome;
}

static const struct upstream_events events = { .answered = on_answered, .completed = on_completed };

static inline void completion_fini(struct completion *completion)
{
	for (size_t i = 0; i < MAX_CALLS; i++)
		answer_unref(completion->answers[i]);
}

static const char *const upstream_names[] = { "search" };
static const char *const endpoint_names[] = { "a", "b", "c", "d" };
static const size_t endpoint_upstreams[] = { 0, 0, 0, 0 };

static inline void world_init(struct world *world, const struct dialect *dialect)
{
	memset(world, 0, sizeof *world);
	struct metrics_names names = { .upstreams = upstream_names,
				       .upstream_count = 1,
				       .endpoints = endpoint_names,
				       .endpoint_upstreams = endpoint_upstreams,
				       .endpoint_count = 4 };
	world->loop = loop_new();
	world->metrics = metrics_new(&names);
	assert_non_null(world->metrics);
	world->meter = metrics_meter(world->metrics);
	assert_non_null(world->meter);
	world->transport = transport_new(world->loop, world->meter, 200);
	assert_non_null(world->transport);
	world->settings = (struct upstream_settings){
		.name = "search",
		.dialect = dialect,
		.endpoints = world->endpoints,
		.pool_max = 100,
		.idle_timeout_us = 60 * CLOCK_US_PER_S,
		.connect_timeout_us = 5 * CLOCK_US_PER_S,
		.timeout_us = 10 * CLOCK_US_PER_S,
		.answer_bytes = 1 << 20,
		.json_depth = 32,
	};
	struct dialect_error error = { 0 };
	struct route_settings route = { .tool = "t" };
	world->route = dialect->route_new(&route, &error);
	assert_string_equal(error_text(&error), "");
	assert_non_null(world->route);
}

static inline void add_endpoint(struct world *world, unsigned port)
{
	size_t i = world->settings.endpoint_count++;
	snprintf(world->urls[i], sizeof world->urls[i], "http://127.0.0.1:%u/rpc", port);
	world->endpoints[i] = world->urls[i];
}

static inline void world_open(struct world *world)
{
	world->upstream = upstream_new(&world->settings, world->transport, world->loop, world->meter);
	assert_non_null(world->upstream);
}

static inline void world_fini(struct world *world)
{
	upstream_free(world->upstream);
	dialect_route_unref(world->route);
	transport_free(world->transport);
	/* every socket has been counted in and out */
	assert_int_equal(metrics_read(world->metrics, METRIC_ID_UPSTREAM_CONNECTIONS, 0, CONNECTION_BUSY), 0);
	assert_int_equal(metrics_read(world->metrics, METRIC_ID_UPSTREAM_CONNECTIONS, 0, CONNECTION_IDLE), 0);
	loop_free(world->loop);
	metrics_free(world->metrics);
}

static inline void turn(struct world *world)
{
	loop_wait(world->loop, clock_now_us() + 20 * CLOCK_US_PER_MS);
	transport_tick(world->transport);
	loop_run_timers(world->loop);
}

static inline void wait_completed(struct completion *completion)
{
	uint64_t latest = clock_now_us() + PATIENCE_US;
	while (!completion->completed && clock_now_us() < latest)
		turn(completion->world);
	assert_true(completion->completed);
}

/* Until the first of its calls has its answer. */
static inline void wait_answered(struct completion *completion)
{
	uint64_t latest = clock_now_us() + PATIENCE_US;
	while (completion->answered == 0 && clock_now_us() < latest)
		turn(completion->world);
	assert_true(completion->answered > 0);
}

static inline void send_many(struct world *world, struct completion *completion, size_t count, bool repeatable,
			     uint64_t timeout_us)
{
	static struct upstream_call calls[MAX_CALLS];
	for (size_t i = 0; i < count; i++)
		calls[i] = (struct upstream_call){ .route = world->route,
						   .arguments = SLICE("{\"q\":1.0}"),
						   .repeatable = repeatable };
	struct answer *refusal = NULL;
	bool abort_at_first = completion->abort_at_first;
	*completion = (struct completion){ .world = world, .abort_at_first = abort_at_first };
	loop_wait(world->loop, 0); /* a fresh now, as at the end of a worker's turn */
	completion->exchange = upstream_send(world->upstream, calls, count, loop_now(world->loop) + timeout_us, &events,
					     completion, &refusal);
	assert_non_null(completion->exchange);
	assert_null(refusal);
}

static inline void call_once(struct world *world, struct completion *completion, bool repeatable)
{
	send_many(world, completion, 1, repeatable, 10 * CLOCK_US_PER_S);
	wait_completed(completion);
	assert_int_equal(completion->answered, 1);
}

/* One call from start to end; its answer's outcome. */
static inline enum outcome outcome_of(struct world *world, bool repeatable)
{
	struct completion completion = { 0 };
	call_once(world, &completion, repeatable);
	enum outcome outcome = completion.answers[0]->outcome;
	completion_fini(&completion);
	return outcome;
}

static inline void expect_detail(const struct answer *answer, const char *part)
{
	if (!strstr(answer->detail, part))
		fail_msg("\"%s\" is not in \"%s\"", part, answer->detail);
}

/* --- what providers do --- */

/* The ids of a request's calls, in order. */
static inline size_t read_ids(struct slice body, uint64_t *ids, size_t max)
{
	struct slice raw, element;
	if (json_type(json_trim(body)) == JSON_OBJECT)
		return json_member(body, SLICE("id"), &raw) && json_u64(raw, &ids[0]) ? 1 : 0;
	struct json_walk walk = json_walk(body);
	size_t count = 0;
	while (count < max && json_next_element(&walk, &element))
		if (json_member(element, SLICE("id"), &raw) && json_u64(raw, &ids[count]))
			count++;
	return count;
}

/* A provider's words, without an allocation that a test could make fail. */
struct words {
	size_t len;
	char at[16 * 1024];
};

static inline void say(struct words *words, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline void say(struct words *words, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	words->len += (size_t)vsnprintf(words->at + words->len, sizeof words->at - words->len, format, args);
	va_end(args);
	assert(words->len < sizeof words->at);
}

/* A good JSON-RPC answer, backwards if it is an array. */
static inline struct slice good_answer(struct words *words, struct slice body)
{
	uint64_t ids[MAX_CALLS];
	size_t count = read_ids(body, ids, MAX_CALLS);
	bool array = json_type(json_trim(body)) == JSON_ARRAY;
	words->len = 0;
	say(words, "%s", array ? "[" : "");
	for (size_t i = count; i-- > 0;)
		say(words, "{\"jsonrpc\":\"2.0\",\"id\":%llu,\"result\":{\"n\":%llu.50}}%s", (unsigned long long)ids[i],
		    (unsigned long long)ids[i], i ? "," : "");
	say(words, "%s", array ? "]" : "");
	return (struct slice){ words->at, words->len };
}

static inline enum provider_then answer_well(struct provider_request *request)
{
	struct words words;
	provider_answer(request, "200 OK", "application/json", good_answer(&words, request->body));
	return PROVIDER_KEEP;
}

static inline enum provider_then hold_then_answer(struct provider_request *request)
{
	provider_hold(request);
	return answer_well(request);
}

/* A provider and a world with it as the one endpoint, to be changed before world_open. */
static inline struct provider *prepare_with(struct world *world, const struct dialect *dialect,
					    enum provider_then (*handler)(struct provider_request *), void *context)
{
	struct provider *provider = provider_start(handler, context);
	world_init(world, dialect);
	add_endpoint(world, provider_port(provider));
	return provider;
}

static inline struct provider *start_with(struct world *world, enum provider_then (*handler)(struct provider_request *),
					  void *context)
{
	struct provider *provider = prepare_with(world, &dialect_jsonrpc, handler, context);
	world_open(world);
	return provider;
}

static inline void end(struct world *world, struct provider *provider)
{
	world_fini(world);
	if (provider)
		provider_stop(provider);
}

static inline int64_t read_metric(const struct world *world, enum metric metric, size_t label1, size_t label2)
{
	return metrics_read(world->metrics, metric, label1, label2);
}

/* A program's tests, with the library that upstreams are made of. */
static inline int run_with_upstream(const char *name, const struct CMUnitTest *tests, size_t count)
{
	signal(SIGPIPE, SIG_IGN);
	if (!upstream_library_init())
		return 1;
	int failed = _cmocka_run_group_tests(name, tests, count, NULL, NULL);
	upstream_library_fini();
	return failed;
}

#endif
