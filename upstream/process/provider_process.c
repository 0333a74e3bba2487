/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider_process.c: providers that are child processes. An exchange is some lines written at once; each of its calls
 * is answered when its own line comes, from whichever process, and is cancelled by itself.
 */
#include <assert.h>
#include <stdlib.h>

#include "upstream/provider.h"
#include "upstream/process/pool.h"
#include "upstream/process/fork_server.h"

enum { REQUEST_BODY_BYTES = 256 * 1024 * 1024 };

struct process_upstream {
	struct upstream base;
	struct process_pool *pool;
	struct meter *meter;
};

struct errand {
	struct exchange base; /* what the caller holds */
	struct process_upstream *upstream;
	const struct upstream_events *events;
	void *context;
	struct buf lines; /* of all calls */
	uint64_t begun_us;
	struct loop_timer timer; /* the deadline */
	bool telling;            /* callbacks run; an abort only marks it */
	bool aborted;
	enum outcome outcome; /* OK: the provider has answered some */
	size_t left;          /* calls without an answer */
	size_t count;
	struct item {
		struct pool_call call;
		struct errand *errand;
		bool open; /* no answer yet */
	} items[];
};

static void errand_free(struct errand *errand)
{
	struct loop *loop = errand->upstream->base.loop;
	for (size_t i = 0; i < errand->count; i++)
		if (errand->items[i].open)
			process_pool_forget(errand->upstream->pool, &errand->items[i].call, false);
	loop_disarm(loop, &errand->timer);
	loop_timers_release(loop, 1);
	buf_fini(&errand->lines);
	free(errand);
}

static void count_exchange(const struct errand *errand, enum outcome outcome)
{
	const struct upstream_settings *settings = errand->upstream->base.settings;
	struct meter *meter = errand->upstream->meter;
	if (settings->endpoint_count)
		meter_add(meter, METRIC_ID_UPSTREAM_REQUESTS, settings->first_endpoint_label, outcome, 1);
	meter_observe(meter, METRIC_ID_UPSTREAM_DURATION, settings->label,
		      loop_now(errand->upstream->base.loop) - errand->begun_us);
}

/* After a callback has run: is it over? True: the errand is gone. */
static bool land_if_done(struct errand *errand)
{
	const struct upstream_events *events = errand->events;
	void *context = errand->context;
	enum outcome outcome = errand->aborted ? OUTCOME_CANCELLED : errand->outcome;
	bool aborted = errand->aborted;
	if (errand->left && !aborted)
		return false;
	count_exchange(errand, outcome);
	errand_free(errand);
	if (!aborted)
		events->landed(context, outcome);
	return true;
}

static void tell(struct item *item, struct answer *answer)
{
	struct errand *errand = item->errand;
	item->open = false;
	errand->left--;
	if (answer->outcome == OUTCOME_OK || answer->outcome == OUTCOME_TOOL_ERROR)
		errand->outcome = OUTCOME_OK;
	else if (errand->left == 0 && errand->outcome != OUTCOME_OK)
		errand->outcome = answer->outcome;
	errand->events->answered(errand->context, (size_t)(item - errand->items), answer);
}

static void on_answered(struct pool_call *call, struct answer *answer)
{
	struct item *item = container_of(call, struct item, call);
	struct errand *errand = item->errand;
	errand->telling = true;
	tell(item, answer);
	errand->telling = false;
	land_if_done(errand);
}

/* Its server is at work. */
static void put_off_deadline(struct errand *errand)
{
	const struct upstream_settings *settings = errand->upstream->base.settings;
	struct loop *loop = errand->upstream->base.loop;
	uint64_t due_us = clock_add(loop_now(loop), settings->timeout_us);
	uint64_t end_us = clock_add(errand->begun_us, settings->mcp_progress_us);
	due_us = due_us < end_us ? due_us : end_us;
	if (errand->timer.place && due_us > errand->timer.due_us && errand->left)
		loop_arm(loop, &errand->timer, due_us);
}

static void on_noted(struct pool_call *call, enum mcp_note_kind note, struct slice params)
{
	struct item *item = container_of(call, struct item, call);
	struct errand *errand = item->errand;
	if (note == MCP_NOTE_PROGRESS)
		put_off_deadline(errand);
	if (errand->events->noted)
		errand->events->noted(errand->context, (size_t)(item - errand->items), note, params);
}

static struct answer *timeout_answer(const struct item *item)
{
	const char *name = item->errand->upstream->base.settings->name;
	if (!process_pool_sent(&item->call))
		return answer_error(OUTCOME_UPSTREAM_UNAVAILABLE,
				    "%s: no process took the call in time: all are busy or still starting (pool.max)",
				    name);
	if (item->call.repeatable)
		return answer_error(OUTCOME_UPSTREAM_TIMEOUT, "%s: its process did not answer in time", name);
	return answer_error(OUTCOME_OUTCOME_UNKNOWN,
			    "%s: its process did not answer in time; whether the call was carried out is not known",
			    name);
}

static void on_deadline(struct loop_timer *timer, uint64_t now_us)
{
	struct errand *errand = container_of(timer, struct errand, timer);
	(void)now_us;
	errand->telling = true;
	for (size_t i = 0; i < errand->count && !errand->aborted; i++) {
		struct item *item = &errand->items[i];
		if (!item->open)
			continue;
		struct answer *answer = timeout_answer(item);
		process_pool_forget(errand->upstream->pool, &item->call, true);
		tell(item, answer);
	}
	errand->telling = false;
	land_if_done(errand);
}

/* --- sending --- */

/* Each call's own line. */
static void cut_lines(struct errand *errand, const struct upstream_call *calls, uint64_t first_id)
{
	struct slice left = buf_slice(&errand->lines);
	for (size_t i = 0; i < errand->count; i++) {
		struct item *item = &errand->items[i];
		const char *end = memchr(left.at, '\n', left.len);
		assert(end);
		item->errand = errand;
		item->open = true;
		item->call.id = first_id + i;
		item->call.line = (struct slice){ left.at, (size_t)(end + 1 - left.at) };
		item->call.repeatable = calls[i].repeatable;
		item->call.answered = on_answered;
		item->call.asks = calls[i].asks;
		item->call.noted = on_noted;
		left.at += item->call.line.len;
		left.len -= item->call.line.len;
	}
}

static bool write_lines(struct errand *errand, const struct upstream_call *calls, uint64_t first_id)
{
	buf_init(&errand->lines, REQUEST_BODY_BYTES);
	return dialect_put_lines(calls, errand->count, first_id, process_pool_era(errand->upstream->pool),
				 &errand->lines);
}

static struct errand *errand_new(struct process_upstream *upstream, size_t count)
{
	struct errand *errand = calloc(1, sizeof *errand + count * sizeof(struct item));
	if (!errand || !loop_timers_reserve(upstream->base.loop, 1)) {
		free(errand);
		return NULL;
	}
	errand->upstream = upstream;
	errand->timer = LOOP_TIMER_INIT(on_deadline);
	errand->begun_us = loop_now(upstream->base.loop);
	errand->outcome = OUTCOME_UPSTREAM_ERROR;
	errand->count = errand->left = count;
	return errand;
}

static struct exchange *process_send(struct upstream *base, const struct upstream_call *calls, size_t count,
				     uint64_t deadline_us, const struct upstream_events *events, void *context,
				     struct answer **refusal)
{
	struct process_upstream *upstream = container_of(base, struct process_upstream, base);
	if ((*refusal = process_pool_refusal(upstream->pool)))
		return NULL;
	uint64_t first_id = process_pool_ids(upstream->pool, count);
	struct errand *errand = errand_new(upstream, count);
	if (!errand || !write_lines(errand, calls, first_id)) {
		if (errand)
			errand_free(errand);
		*refusal =
			answer_error(OUTCOME_OVERLOADED, "%s: the call is over %d MiB, or the gateway is out of memory",
				     base->settings->name, REQUEST_BODY_BYTES / (1024 * 1024));
		return NULL;
	}
	errand->events = events;
	errand->context = context;
	cut_lines(errand, calls, first_id);
	uint64_t latest_us = clock_add(errand->begun_us, base->settings->timeout_us);
	loop_arm(base->loop, &errand->timer, deadline_us < latest_us ? deadline_us : latest_us);
	for (size_t i = 0; i < count; i++)
		process_pool_put(upstream->pool, &errand->items[i].call);
	process_pool_flush(upstream->pool);
	return &errand->base;
}

static void process_abort(struct exchange *exchange)
{
	struct errand *errand = container_of(exchange, struct errand, base);
	errand->aborted = true;
	if (!errand->telling)
		land_if_done(errand);
}

/* Its callers' time, not their patience, has run out: calls that travel together end with the last one's deadline, those
 * before it one by one. */
static bool is_late(const struct errand *errand)
{
	uint64_t timeout_us = errand->upstream->base.settings->timeout_us;
	uint64_t took_us = loop_now(errand->upstream->base.loop) - errand->begun_us;
	return took_us >= timeout_us - timeout_us / 8;
}

static void process_forget(struct exchange *exchange, size_t index)
{
	struct errand *errand = container_of(exchange, struct errand, base);
	struct item *item = &errand->items[index];
	assert(index < errand->count);
	if (!item->open)
		return;
	item->open = false;
	process_pool_forget(errand->upstream->pool, &item->call, is_late(errand));
	if (--errand->left == 0) /* lands from the loop, as always */
		loop_arm(errand->upstream->base.loop, &errand->timer, loop_now(errand->upstream->base.loop));
}

static bool process_sent(const struct exchange *exchange)
{
	const struct errand *errand = container_of(exchange, const struct errand, base);
	for (size_t i = 0; i < errand->count; i++)
		if (!errand->items[i].open || process_pool_sent(&errand->items[i].call))
			return true;
	return false;
}

/* --- life --- */

static struct upstream *process_make(const struct upstream_settings *settings, struct transport *transport,
				     struct loop *loop, struct meter *meter)
{
	struct process_upstream *upstream = calloc(1, sizeof *upstream);
	(void)transport;
	if (!upstream || !(upstream->pool = process_pool_new(settings, loop, meter))) {
		free(upstream);
		return NULL;
	}
	upstream->base.settings = settings;
	upstream->base.loop = loop;
	upstream->meter = meter;
	return &upstream->base;
}

static void process_upstream_free(struct upstream *base)
{
	struct process_upstream *upstream = container_of(base, struct process_upstream, base);
	process_pool_free(upstream->pool);
	free(upstream);
}

static void process_watch(struct upstream *base, const struct upstream_watcher *watcher)
{
	process_pool_watch(container_of(base, struct process_upstream, base)->pool, watcher);
}

bool upstream_await_children(uint64_t timeout_us)
{
	return warden_join(timeout_us);
}

const struct upstream_kind upstream_process = {
	.make = process_make,
	.free = process_upstream_free,
	.send = process_send,
	.abort = process_abort,
	.forget = process_forget,
	.sent = process_sent,
	.watch = process_watch,
};
