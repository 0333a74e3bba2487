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
	struct transport *transport; /* counts what is held; NULL: nobody does */
	struct meter *meter;
};

struct process_exchange {
	struct exchange base; /* what the caller holds */
	struct process_upstream *upstream;
	const struct upstream_events *events;
	void *context;
	struct buf lines; /* of all calls */
	size_t held;      /* bytes of it that are counted */
	uint64_t begun_us;
	struct loop_timer timer; /* the deadline */
	bool delivering;         /* callbacks run; an abort only marks it */
	bool aborted;
	enum outcome outcome; /* OK: the provider has answered some */
	size_t left;          /* calls without an answer */
	size_t count;
	struct item {
		struct pool_call call;
		struct process_exchange *exchange;
		bool open; /* no answer yet */
	} items[];
};

/* Its callers' time, not their patience, has run out: calls that travel together end with the last one's deadline,
 * those before it one by one, and whose timer is the first to tell, ours or the batch's, is chance. */
static bool is_late(const struct process_exchange *exchange)
{
	uint64_t timeout_us = exchange->upstream->base.settings->timeout_us;
	uint64_t took_us = loop_now(exchange->upstream->base.loop) - exchange->begun_us;
	return took_us >= timeout_us - timeout_us / 8;
}

static void exchange_free(struct process_exchange *exchange)
{
	struct loop *loop = exchange->upstream->base.loop;
	for (size_t i = 0; i < exchange->count; i++)
		if (exchange->items[i].open)
			process_pool_forget(exchange->upstream->pool, &exchange->items[i].call, is_late(exchange));
	loop_disarm(loop, &exchange->timer);
	loop_timers_release(loop, 1);
	buf_fini(&exchange->lines);
	if (exchange->held)
		transport_let_go_request(exchange->upstream->transport, exchange->held);
	free(exchange);
}

static void count_exchange(const struct process_exchange *exchange, enum outcome outcome)
{
	const struct upstream_settings *settings = exchange->upstream->base.settings;
	struct meter *meter = exchange->upstream->meter;
	if (settings->endpoint_count)
		meter_add(meter, METRIC_ID_UPSTREAM_REQUESTS, upstream_endpoint_label(settings, 0), outcome, 1);
	meter_observe(meter, METRIC_ID_UPSTREAM_DURATION, settings->label,
		      loop_now(exchange->upstream->base.loop) - exchange->begun_us);
}

/* After a callback has run: is it over? True: the exchange is gone. */
static bool complete_if_done(struct process_exchange *exchange)
{
	const struct upstream_events *events = exchange->events;
	void *context = exchange->context;
	enum outcome outcome = exchange->aborted ? OUTCOME_CANCELLED : exchange->outcome;
	bool aborted = exchange->aborted;
	if (exchange->left && !aborted)
		return false;
	count_exchange(exchange, outcome);
	exchange_free(exchange);
	if (!aborted)
		events->completed(context, outcome);
	return true;
}

static void deliver_answer(struct item *item, struct answer *answer)
{
	struct process_exchange *exchange = item->exchange;
	item->open = false;
	exchange->left--;
	if (answer->outcome == OUTCOME_OK || answer->outcome == OUTCOME_TOOL_ERROR)
		exchange->outcome = OUTCOME_OK;
	else if (exchange->left == 0 && exchange->outcome != OUTCOME_OK)
		exchange->outcome = answer->outcome;
	exchange->events->answered(exchange->context, (size_t)(item - exchange->items), answer);
}

static void on_answered(struct pool_call *call, struct answer *answer)
{
	struct item *item = container_of(call, struct item, call);
	struct process_exchange *exchange = item->exchange;
	exchange->delivering = true;
	deliver_answer(item, answer);
	exchange->delivering = false;
	complete_if_done(exchange);
}

/* Its server is at work. */
static void put_off_deadline(struct process_exchange *exchange)
{
	const struct upstream_settings *settings = exchange->upstream->base.settings;
	struct loop *loop = exchange->upstream->base.loop;
	uint64_t due_us = clock_add(loop_now(loop), settings->timeout_us);
	uint64_t end_us = clock_add(exchange->begun_us, settings->mcp_progress_us);
	due_us = due_us < end_us ? due_us : end_us;
	if (exchange->timer.place && due_us > exchange->timer.due_us && exchange->left)
		loop_arm(loop, &exchange->timer, due_us);
}

static void on_call_notification(struct pool_call *call, enum mcp_notification_kind note, struct slice params)
{
	struct item *item = container_of(call, struct item, call);
	struct process_exchange *exchange = item->exchange;
	if (note == MCP_NOTIFICATION_PROGRESS)
		put_off_deadline(exchange);
	if (exchange->events->on_notification)
		exchange->events->on_notification(exchange->context, (size_t)(item - exchange->items), note, params);
}

static struct answer *timeout_answer(const struct item *item)
{
	const char *name = item->exchange->upstream->base.settings->name;
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
	struct process_exchange *exchange = container_of(timer, struct process_exchange, timer);
	(void)now_us;
	exchange->delivering = true;
	for (size_t i = 0; i < exchange->count && !exchange->aborted; i++) {
		struct item *item = &exchange->items[i];
		if (!item->open)
			continue;
		struct answer *answer = timeout_answer(item);
		process_pool_forget(exchange->upstream->pool, &item->call, true);
		deliver_answer(item, answer);
	}
	exchange->delivering = false;
	complete_if_done(exchange);
}

/* --- sending --- */

/* Each call's own line. */
static void cut_lines(struct process_exchange *exchange, const struct upstream_call *calls)
{
	struct slice left = buf_slice(&exchange->lines);
	for (size_t i = 0; i < exchange->count; i++) {
		struct item *item = &exchange->items[i];
		const char *end = memchr(left.at, '\n', left.len);
		assert(end);
		item->exchange = exchange;
		item->open = true;
		item->call.line.text = (struct slice){ left.at, (size_t)(end + 1 - left.at) };
		item->call.repeatable = calls[i].repeatable;
		item->call.answered = on_answered;
		item->call.asks = calls[i].asks;
		item->call.on_notification = on_call_notification;
		left.at += item->call.line.text.len;
		left.len -= item->call.line.text.len;
	}
}

/* Lines are a copy of what the calls hold, and count beside it, from so many bytes on. */
static bool hold_lines(struct process_exchange *exchange, size_t bytes)
{
	if (bytes < HELD_FROM_BYTES || bytes <= exchange->held)
		return true;
	if (!transport_hold_request(exchange->upstream->transport, bytes - exchange->held))
		return false;
	exchange->held = bytes;
	return true;
}

/* NULL, or why not. */
static struct answer *write_lines(struct process_exchange *exchange, const struct upstream_call *calls)
{
	const struct process_upstream *upstream = exchange->upstream;
	const char *name = upstream->base.settings->name;
	size_t bytes = 0;
	for (size_t i = 0; i < exchange->count; i++)
		bytes += calls[i].arguments.len;
	if (!hold_lines(exchange, bytes))
		return upstream_no_room(upstream->base.settings);
	bool room = true;
	for (size_t i = 0; i < exchange->count && room; i++) {
		uint64_t id = exchange->items[i].call.id = process_pool_id(upstream->pool);
		room = dialect_put_line(&calls[i], id, process_pool_era(upstream->pool), &exchange->lines);
	}
	if (!room)
		return answer_error(OUTCOME_OVERLOADED, "%s: the call is over %d MiB, or the gateway is out of memory",
				    name, REQUEST_BODY_BYTES / (1024 * 1024));
	return hold_lines(exchange, exchange->lines.store->len) ? NULL : upstream_no_room(upstream->base.settings);
}

static struct process_exchange *exchange_new(struct process_upstream *upstream, size_t count)
{
	struct process_exchange *exchange = calloc(1, sizeof *exchange + count * sizeof(struct item));
	if (!exchange || !loop_timers_reserve(upstream->base.loop, 1)) {
		free(exchange);
		return NULL;
	}
	exchange->upstream = upstream;
	exchange->timer = LOOP_TIMER_INIT(on_deadline);
	exchange->begun_us = loop_now(upstream->base.loop);
	exchange->outcome = OUTCOME_UPSTREAM_ERROR;
	exchange->count = exchange->left = count;
	buf_init(&exchange->lines, REQUEST_BODY_BYTES);
	return exchange;
}

static struct exchange *process_send(struct upstream *base, const struct upstream_call *calls, size_t count,
				     uint64_t deadline_us, const struct upstream_events *events, void *context,
				     struct answer **refusal)
{
	struct process_upstream *upstream = container_of(base, struct process_upstream, base);
	*refusal = process_pool_refusal(upstream->pool);
	if (*refusal)
		return NULL;
	struct process_exchange *exchange = exchange_new(upstream, count);
	*refusal = exchange
			   ? write_lines(exchange, calls)
			   : answer_error(OUTCOME_OVERLOADED, "%s: the gateway is out of memory", base->settings->name);
	if (*refusal) {
		if (exchange)
			exchange_free(exchange);
		return NULL;
	}
	exchange->events = events;
	exchange->context = context;
	cut_lines(exchange, calls);
	uint64_t latest_us = clock_add(exchange->begun_us, base->settings->timeout_us);
	loop_arm(base->loop, &exchange->timer, deadline_us < latest_us ? deadline_us : latest_us);
	for (size_t i = 0; i < count; i++)
		process_pool_put(upstream->pool, &exchange->items[i].call);
	process_pool_flush(upstream->pool);
	return &exchange->base;
}

static void process_abort(struct exchange *base)
{
	struct process_exchange *exchange = container_of(base, struct process_exchange, base);
	exchange->aborted = true;
	if (!exchange->delivering)
		complete_if_done(exchange);
}

static void process_forget(struct exchange *base, size_t index)
{
	struct process_exchange *exchange = container_of(base, struct process_exchange, base);
	struct item *item = &exchange->items[index];
	assert(index < exchange->count);
	if (!item->open)
		return;
	item->open = false;
	process_pool_forget(exchange->upstream->pool, &item->call, is_late(exchange));
	if (--exchange->left == 0) /* completes from the loop, as always */
		loop_arm(exchange->upstream->base.loop, &exchange->timer, loop_now(exchange->upstream->base.loop));
}

static bool process_sent(const struct exchange *base)
{
	const struct process_exchange *exchange = container_of(base, const struct process_exchange, base);
	for (size_t i = 0; i < exchange->count; i++)
		if (!exchange->items[i].open || process_pool_sent(&exchange->items[i].call))
			return true;
	return false;
}

/* --- life --- */

static struct upstream *process_make(const struct upstream_settings *settings, struct transport *transport,
				     struct loop *loop, struct meter *meter)
{
	struct process_upstream *upstream = calloc(1, sizeof *upstream);
	if (!upstream || !(upstream->pool = process_pool_new(settings, transport, loop, meter))) {
		free(upstream);
		return NULL;
	}
	upstream->base.settings = settings;
	upstream->base.loop = loop;
	upstream->transport = transport;
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
	return fork_server_join(timeout_us);
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
