/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tracer.c: a queue under a short mutex, and its thread. It takes what has come within a second, or a requestful, and posts
 * it; while the collector is slow the queue fills up, and what has no room is dropped.
 */
#include "gateway/trace/tracer.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/random.h"

enum { REQUEST_CALLS = 512, REQUEST_BYTES_MAX = 16 << 20 };
#define GATHER_US CLOCK_US_PER_S /* how long calls are gathered for a request */

static const struct signal traces = {
	.number = OTLP_TRACES,
	.name = "traces",
	.items = "spans",
	.metric = METRIC_ID_OTLP_SPANS,
	.not_sent = &EVENT_TRACES_NOT_SENT,
	.sent = &EVENT_TRACES_SENT,
	.rejected = &EVENT_TRACES_REJECTED,
};

static void free_calls(struct traced_calls *calls)
{
	struct traced_call *call;
	while ((call = TAILQ_FIRST(calls))) {
		TAILQ_REMOVE(calls, call, next);
		free(call);
	}
}

void tracer_keep(struct tracer *tracer, const struct traced_call *call, struct meter *meter)
{
	struct traced_call *copy = malloc(sizeof *copy);
	if (copy) {
		*copy = *call;
		pthread_mutex_lock(&tracer->sender.mutex);
		bool room = tracer->queued < TRACE_QUEUE_CALLS;
		if (room) {
			TAILQ_INSERT_TAIL(&tracer->queue, copy, next);
			if (++tracer->queued == REQUEST_CALLS)
				pthread_cond_signal(&tracer->sender.said);
		}
		pthread_mutex_unlock(&tracer->sender.mutex);
		if (room)
			return;
		free(copy);
	}
	meter_add(meter, METRIC_ID_OTLP_SPANS, OTLP_QUEUE_FULL, 0, 1);
}

/* --- the thread --- */

/* Gather for a while, for as long as nobody is told anything; then those that make one request. False: it is the end, and
 * there are none. */
static bool take_calls(struct tracer *tracer, struct traced_calls *calls)
{
	struct sender *sender = &tracer->sender;
	TAILQ_INIT(calls);
	pthread_mutex_lock(&sender->mutex);
	while (!sender->stopping && !sender->settings && !tracer->queued)
		sender_wait_locked(sender, CLOCK_NEVER);
	uint64_t until_us = clock_now_us() + GATHER_US;
	while (!sender->stopping && tracer->queued < REQUEST_CALLS && sender_wait_locked(sender, until_us))
		;
	for (size_t i = 0; i < REQUEST_CALLS && tracer->queued; i++, tracer->queued--) {
		struct traced_call *call = TAILQ_FIRST(&tracer->queue);
		TAILQ_REMOVE(&tracer->queue, call, next);
		TAILQ_INSERT_TAIL(calls, call, next);
	}
	bool more = !sender->stopping || !TAILQ_EMPTY(calls);
	pthread_mutex_unlock(&sender->mutex);
	return more;
}

static void send_calls(struct tracer *tracer, const struct traced_calls *calls)
{
	struct buf body = BUF_INIT(REQUEST_BYTES_MAX);
	struct trace_settings *settings = sender_settings(&tracer->sender);
	size_t spans = settings ? otlp_put_request(&tracer->otlp, settings, calls, &body) : 0;
	if (spans)
		sender_post(&tracer->sender, buf_slice(&body), spans);
	else if (settings)
		sender_count(&tracer->sender, OTLP_FAILED, 1);
	trace_settings_unref(settings);
	buf_fini(&body);
}

static void *run_tracer(void *context)
{
	struct tracer *tracer = context;
	struct traced_calls calls;
	while (take_calls(tracer, &calls)) {
		if (!TAILQ_EMPTY(&calls))
			send_calls(tracer, &calls);
		free_calls(&calls);
	}
	return NULL;
}

/* --- the main thread --- */

bool tracer_init(struct tracer *tracer, const char *instance)
{
	TAILQ_INIT(&tracer->queue);
	tracer->queued = 0;
	tracer->otlp = (struct otlp){ .instance = instance };
	return random_secret(&tracer->otlp.seed, sizeof tracer->otlp.seed) &&
	       sender_init(&tracer->sender, &traces, run_tracer, tracer);
}

void tracer_fini(struct tracer *tracer)
{
	free_calls(&tracer->queue);
	sender_fini(&tracer->sender);
}
