/* SPDX-License-Identifier: Apache-2.0 */
/* batcher_world.c: see the header. */
#include "tests/support/batcher_world.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { LABEL = 1 };

static const char *const tool_names[] = { "tool", "one", "two", "three", "four", "five" };
static const char *const upstream_names[] = { "other", "this" };
static const char *const endpoint_names[] = { "http://127.0.0.1:1" };
static const size_t endpoint_upstreams[] = { LABEL };
static const struct metrics_names names = {
	tool_names,     countof(tool_names), upstream_names,          countof(upstream_names),
	endpoint_names, endpoint_upstreams,  countof(endpoint_names), 0,
};

struct batch_policy world_policy(void)
{
	return (struct batch_policy){
		.mode = BATCH_ADAPTIVE,
		.max_items = 10,
		.max_bytes = 1000,
		.window_us = 5000,
		.concurrency = 4,
		.queue_items = 100,
		.queue_bytes = 10000,
	};
}

void world_start(struct world *world, const struct batch_policy *policy, size_t max_calls)
{
	fake_reset();
	world->policy = *policy;
	world->dialect = (struct dialect){ .name = "fake", .max_calls = max_calls };
	world->settings = (struct upstream_settings){
		.name = "this", .dialect = &world->dialect, .label = LABEL, .retries = { 2, 25000, 20 }
	};
	world->now_us = CLOCK_US_PER_S;
	clock_set(world->now_us);
	world->loop = loop_new();
	world->metrics = metrics_new(&names);
	assert(world->loop && world->metrics);
	struct meter *meter = metrics_meter(world->metrics);
	assert(meter);
	world->batcher = batcher_new(&world->policy, &world->settings, NULL, world->loop, meter);
	assert(world->batcher);
}

void world_stop(struct world *world)
{
	assert(world_metric(world, METRIC_ID_BATCH_WAITING, 0) == 0);
	assert(world_metric(world, METRIC_ID_BATCH_IN_FLIGHT, 0) == 0);
	batcher_free(world->batcher);
	metrics_free(world->metrics);
	loop_free(world->loop);
	clock_set(0);
}

void world_pass(struct world *world, uint64_t us)
{
	world->now_us += us;
	clock_set(world->now_us);
	loop_wait(world->loop, world->now_us);
}

void world_tick(struct world *world)
{
	batcher_tick(world->batcher, world->now_us);
}

int64_t world_metric(const struct world *world, enum metric metric, size_t label2)
{
	return metrics_read(world->metrics, metric, LABEL, label2);
}

int64_t world_flushes(const struct world *world, enum flush_reason reason)
{
	return world_metric(world, METRIC_ID_BATCH_FLUSHES, reason);
}

static void note_answer(struct batch_item *item, struct answer *answer, const struct batch_facts *facts)
{
	struct probe *probe = container_of(item, struct probe, item);
	probe->answered++;
	probe->outcome = answer->outcome;
	probe->retry_after_s = answer->retry_after_s;
	probe->own = slice_equal(answer_body(answer), item->call.arguments);
	probe->mute = answer_body(answer).len == 0 && !strstr(answer->detail, "\"tag\"");
	probe->facts = *facts;
	answer_unref(answer);
	if (probe->then)
		probe->then(probe);
}

void call_init(struct world *world, struct probe *probe, unsigned tag)
{
	memset(probe, 0, sizeof *probe);
	probe->world = world;
	snprintf(probe->arguments, sizeof probe->arguments, "{\"tag\":%u}", tag);
	snprintf(probe->key, sizeof probe->key, "key");
	probe->item.call.arguments = slice_of(probe->arguments);
	probe->item.call.repeatable = true;
	probe->item.lane_key = slice_of(probe->key);
	probe->item.deadline_us = world->now_us + 60 * CLOCK_US_PER_S;
	probe->item.urgent_us = CLOCK_NEVER;
	probe->item.caller = 1;
	probe->item.urgency = 3;
	probe->item.answered = note_answer;
}

enum outcome call_add(struct probe *probe)
{
	const char *why = NULL;
	unsigned before = probe->answered;
	enum outcome outcome = batcher_add(probe->world->batcher, &probe->item, probe->world->now_us, &why);
	assert((outcome == OUTCOME_OK) == (why == NULL));
	assert(probe->answered == before);
	return outcome;
}

void calls_add(struct world *world, struct probe *probes, size_t count, unsigned tag)
{
	for (size_t i = 0; i < count; i++) {
		call_init(world, &probes[i], tag + (unsigned)i);
		enum outcome outcome = call_add(&probes[i]);
		assert(outcome == OUTCOME_OK);
	}
}
