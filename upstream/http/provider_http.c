/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider_http.c: providers over HTTP: their life, the pool of connections and who waits for a place in it, and how
 * calls become a request (http_request.h).
 */
#include <assert.h>
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>

#include "upstream/http/check.h"
#include "upstream/http/http_request.h"
#include "upstream/http/roster.h"

/* --- life --- */

static void http_free(struct upstream *base)
{
	struct http_upstream *upstream = container_of(base, struct http_upstream, base);
	assert(upstream->under_way == 0 && TAILQ_EMPTY(&upstream->waiting));
	if (upstream->roster) {
		checks_free(upstream->roster->checks);
		upstream->roster->checks = NULL;
		assert(upstream->roster->holders == 1);
		roster_unref(upstream->roster);
	}
	http_headers_fini(&upstream->headers);
	connections_leave(upstream->connections);
	free(upstream);
}

static void http_adjust(struct upstream *base)
{
	struct http_upstream *upstream = container_of(base, struct http_upstream, base);
	struct roster *before = upstream->roster;
	if (roster_fits(before)) {
		roster_adjust(before);
		upstream->outdated = false;
		return;
	}
	struct roster *next = roster_new(upstream, before);
	upstream->outdated = !next;
	if (!next)
		return; /* tried again with the next calls */
	roster_retire(before);
	roster_unref(before);
	upstream->roster = next;
	roster_enter(next);
}

static struct upstream *http_make(const struct upstream_settings *settings, struct transport *transport,
				  struct loop *loop, struct meter *meter)
{
	assert(settings->endpoint_count > 0 && settings->pool_max > 0);
	struct http_upstream *upstream = calloc(1, sizeof *upstream);
	if (!upstream)
		return NULL;
	upstream->base.settings = settings;
	upstream->transport = transport;
	upstream->base.loop = loop;
	upstream->meter = meter;
	upstream->next_id = 1;
	http_headers_init(&upstream->headers, settings);
	TAILQ_INIT(&upstream->waiting);
	upstream->connections = connections_new(transport, settings->label);
	if (!upstream->connections || !(upstream->roster = roster_new(upstream, NULL))) {
		http_free(&upstream->base);
		return NULL;
	}
	roster_enter(upstream->roster);
	return &upstream->base;
}

/* --- the pool --- */

static void stop_waiting(struct http_request *request)
{
	loop_disarm(request->upstream->base.loop, &request->timer);
	if (request->state == REQUEST_WAITING)
		TAILQ_REMOVE(&request->upstream->waiting, request, next);
	request->state = REQUEST_NEW;
}

/* Take a place in the pool and go. What may not wait takes nobody's place. */
static bool set_out(struct http_request *request)
{
	request->counted = !request->urgent;
	request->upstream->under_way += request->counted;
	request->state = REQUEST_UNDER_WAY;
	return attempt_set_out(request);
}

/* Fill the places that have become free. Calls nobody back: whoever cannot set out is told by its timer. */
static void set_out_waiting(struct http_upstream *upstream)
{
	struct http_request *request;
	while (upstream->under_way < upstream->base.settings->pool_max && (request = TAILQ_FIRST(&upstream->waiting))) {
		stop_waiting(request);
		if (set_out(request))
			continue;
		request->state = REQUEST_STUCK;
		loop_arm(upstream->base.loop, &request->timer, loop_now(upstream->base.loop));
	}
}

/* --- the end of a request --- */

uint64_t http_request_time_left(const struct http_request *request)
{
	uint64_t now_us = loop_now(request->upstream->base.loop);
	return request->deadline_us > now_us ? request->deadline_us - now_us : 0;
}

static void request_free(struct http_request *request)
{
	struct http_upstream *upstream = request->upstream;
	upstream->under_way -= request->counted;
	stop_waiting(request);
	loop_timers_release(upstream->base.loop, 1);
	if (request->hedge) { /* before the first: it borrows from that */
		upstream->under_way -= request->hedge->placed;
		attempt_fini(request->hedge);
		free(request->hedge);
	}
	attempt_fini(&request->first);
	buf_fini(&request->target);
	if (request->held)
		transport_let_go_request(upstream->transport, request->held);
	free(request);
	set_out_waiting(upstream);
}

static void count_exchange(const struct http_request *request, enum outcome outcome)
{
	const struct http_upstream *upstream = request->upstream;
	const struct attempt *attempt = request->speaking ? request->speaking : &request->first;
	if (!attempt->place)
		return;
	meter_add(upstream->meter, METRIC_ID_UPSTREAM_REQUESTS, attempt->place->label, outcome, 1);
	if (request->endless)
		return;
	meter_observe(upstream->meter, METRIC_ID_UPSTREAM_DURATION, upstream->base.settings->label,
		      loop_now(upstream->base.loop) - attempt->begun_us);
}

void http_request_complete(struct http_request *request, enum outcome outcome)
{
	const struct upstream_events *events = request->events;
	void *context = request->context;
	bool aborted = request->aborted;
	count_exchange(request, aborted ? OUTCOME_CANCELLED : outcome);
	request_free(request);
	if (!aborted)
		events->completed(context, outcome);
}

static void on_timer(struct loop_timer *timer, uint64_t now_us)
{
	struct http_request *request = container_of(timer, struct http_request, timer);
	(void)now_us;
	if (request->state == REQUEST_UNDER_WAY)
		attempt_hedge(request);
	else if (request->state == REQUEST_WAITING)
		answers_fail(request, EXCHANGE_NOT_SENT, "no connection became free in time: all of pool.max are busy");
	else if (request->unusable)
		answers_fail(request, EXCHANGE_NOT_SENT, "none of its endpoints can be reached");
	else
		answers_fail(request, EXCHANGE_NO_MEMORY, "the gateway is out of memory");
}

/* --- sending --- */

/* Why the dialect could not write them. */
static struct answer *encode_refusal(const struct http_upstream *upstream, const struct upstream_call *calls,
				     size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct answer *refusal = upstream->base.settings->dialect->check(calls[i].route, calls[i].arguments);
		if (refusal)
			return refusal;
	}
	return answer_error(OUTCOME_OVERLOADED, "%s: the request is over %d MiB, or the gateway is out of memory",
			    upstream->base.settings->name, REQUEST_BODY_BYTES / (1024 * 1024));
}

/* What leaves is a copy of what the calls hold, and counts beside it, from so many bytes on. */
static bool hold_body(struct http_request *request, size_t bytes)
{
	if (bytes < HELD_FROM_BYTES || bytes <= request->held)
		return true;
	if (!transport_hold_request(request->upstream->transport, bytes - request->held))
		return false;
	request->held = bytes;
	return true;
}

/* What the calls' arguments take, before any of it is written. */
static bool hold_arguments(struct http_request *request, const struct upstream_call *calls)
{
	size_t bytes = 0;
	for (size_t i = 0; i < request->count; i++)
		bytes += calls[i].arguments.len;
	return hold_body(request, bytes);
}

/* Let the dialect write the calls into the request's first exchange. NULL, or why not. */
static struct answer *encode_calls(struct http_request *request, const struct upstream_call *calls, uint64_t first_id)
{
	struct encoded_request encoded = { .target = BUF_INIT(HTTP_TARGET_BYTES),
					   .headers = BUF_INIT(HTTP_HEADER_BYTES),
					   .body = BUF_INIT(REQUEST_BODY_BYTES) };
	const struct http_upstream *upstream = request->upstream;
	struct answer *refusal = NULL;
	if (!hold_arguments(request, calls))
		return upstream_no_room(upstream->base.settings);
	if (!upstream->base.settings->dialect->encode(calls, request->count, first_id, &encoded))
		refusal = encode_refusal(upstream, calls, request->count);
	else if (encoded.body.store && !hold_body(request, encoded.body.store->len))
		refusal = upstream_no_room(upstream->base.settings);
	else
		refusal = http_headers_write(&request->upstream->headers, &request->first.exchange, &encoded,
					     request->count == 1 ? calls : NULL);
	request->first.exchange.method = encoded.method;
	request->first.exchange.has_body = encoded.content_type != NULL;
	request->first.exchange.body = encoded.body;
	request->target = encoded.target;
	request->urgent = encoded.urgent || encoded.endless;
	request->endless = encoded.endless;
	if (encoded.endless)
		request->deadline_us = CLOCK_NEVER;
	buf_fini(&encoded.headers);
	return refusal;
}

uint64_t hash_text(struct slice text)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < text.len; i++)
		hash = (hash ^ (unsigned char)text.at[i]) * UINT64_C(0x100000001b3);
	return hash;
}

uint64_t hash_arguments(struct slice text)
{
	enum { LONG_BYTES = 4096 };
	uint64_t hash = hash_text((struct slice){ text.at, text.len < LONG_BYTES ? text.len : text.len % 8 });
	if (text.len < LONG_BYTES)
		return hash;
	for (size_t at = text.len % 8; at < text.len; at += 8) {
		uint64_t word;
		memcpy(&word, text.at + at, sizeof word);
		hash = (hash ^ le64toh(word)) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 32;
	}
	return hash;
}

/* What the calls are, before any of it is written. What they want to go by is the first one's. */
static void read_calls(struct http_request *request, const struct upstream_call *calls)
{
	request->repeatable = true;
	request->kind = (enum attempt_kind)calls[0].kind;
	for (size_t i = 0; i < request->count; i++) {
		request->items[i].repeatable = calls[i].repeatable;
		request->repeatable &= calls[i].repeatable;
	}
	const struct endpoint_policy *policy = request->upstream->roster->set->policy;
	request->pick.repeatable = request->repeatable;
	if (policy->balance == BALANCE_AFFINITY)
		request->pick.affinity =
			policy->affinity == AFFINITY_KEY ? hash_arguments(calls[0].arguments) : calls[0].caller;
}

/* Room for a second attempt beside the first, while the calls can be shown to its decoder. Without memory there is
 * none. */
static void prepare_hedge(struct http_request *request, const struct upstream_call *calls, uint64_t first_id)
{
	const struct http_upstream *upstream = request->upstream;
	const struct upstream_settings *settings = upstream->base.settings;
	bool wanted = settings->hedge_p95 || settings->hedge_us;
	if (!wanted || request->count > 1 || !request->repeatable || endpoint_count(upstream->roster->set) < 2)
		return;
	struct attempt *hedge = calloc(1, sizeof *hedge);
	if (hedge && !attempt_init(hedge, request, calls, first_id)) {
		attempt_fini(hedge);
		free(hedge);
		hedge = NULL;
	}
	request->hedge = hedge;
}

/* NULL: out of memory. */
static struct http_request *request_new(struct http_upstream *upstream, const struct upstream_call *calls, size_t count,
					uint64_t first_id)
{
	struct http_request *request = calloc(1, sizeof *request + count * sizeof(struct item));
	if (!request)
		return NULL;
	if (!loop_timers_reserve(upstream->base.loop, 1)) {
		free(request);
		return NULL;
	}
	request->upstream = upstream;
	request->count = count;
	request->timer = LOOP_TIMER_INIT(on_timer);
	read_calls(request, calls);
	if (!attempt_init(&request->first, request, calls, first_id)) {
		request_free(request);
		return NULL;
	}
	prepare_hedge(request, calls, first_id);
	return request;
}

/* All places of the pool are taken: wait for one, at most until the deadline. */
static void wait_for_place(struct http_request *request)
{
	struct http_upstream *upstream = request->upstream;
	request->state = REQUEST_WAITING;
	TAILQ_INSERT_TAIL(&upstream->waiting, request, next);
	loop_arm(upstream->base.loop, &request->timer, request->deadline_us);
}

/* NULL, or why not. */
static struct answer *send_request(struct http_request *request, const struct upstream_call *calls, uint64_t first_id)
{
	struct http_upstream *upstream = request->upstream;
	struct answer *refusal = encode_calls(request, calls, first_id);
	if (refusal)
		return refusal;
	if (upstream->under_way >= upstream->base.settings->pool_max && !request->urgent)
		wait_for_place(request);
	else if (!set_out(request))
		return request->unusable ? attempt_unusable_answer(upstream) : answer_no_memory();
	return NULL;
}

static struct exchange *http_send(struct upstream *base, const struct upstream_call *calls, size_t count,
				  uint64_t deadline_us, const struct upstream_events *events, void *context,
				  struct answer **refusal)
{
	struct http_upstream *upstream = container_of(base, struct http_upstream, base);
	uint64_t first_id = upstream->next_id;
	upstream->next_id += count;
	if (upstream->outdated)
		http_adjust(base);
	struct http_request *request = request_new(upstream, calls, count, first_id);
	if (!request) {
		*refusal = answer_no_memory();
		return NULL;
	}
	uint64_t latest_us = clock_add(loop_now(upstream->base.loop), base->settings->timeout_us);
	request->deadline_us = deadline_us < latest_us ? deadline_us : latest_us;
	request->events = events;
	request->context = context;
	if (!(*refusal = send_request(request, calls, first_id)))
		return &request->base;
	request_free(request);
	return NULL;
}

static void http_abort(struct exchange *exchange)
{
	struct http_request *request = container_of(exchange, struct http_request, base);
	request->aborted = true;
	if (request->delivering)
		return;
	attempt_give_up(request);
	http_request_complete(request, OUTCOME_CANCELLED);
}

static bool http_sent(const struct exchange *base)
{
	const struct http_request *request = container_of(base, const struct http_request, base);
	return request->sent || attempt_sent(&request->first) || (request->hedge && attempt_sent(request->hedge));
}

static size_t http_attempts(const struct exchange *base)
{
	size_t attempts = container_of(base, const struct http_request, base)->attempts;
	return attempts ? attempts : 1;
}

const struct upstream_kind upstream_http = {
	.make = http_make,
	.free = http_free,
	.adjust = http_adjust,
	.send = http_send,
	.abort = http_abort,
	.sent = http_sent,
	.attempts = http_attempts,
};
