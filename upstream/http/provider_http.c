/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider_http.c: providers over HTTP: their life, the pool of connections and who waits for a place in it, and how
 * calls become a delivery (delivery.h).
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "upstream/http/check.h"
#include "upstream/http/delivery.h"

/* --- life --- */

static void show_state(const struct http_upstream *upstream, const struct endpoint *endpoint)
{
	enum endpoint_state state = endpoint_state(endpoint);
	for (size_t i = 0; i < ENDPOINT_STATE_COUNT; i++)
		meter_set(upstream->meter, METRIC_ID_ENDPOINT_STATE, upstream->places[endpoint->index].label, i,
			  i == (size_t)state);
}

/* Changes only: a provider that is down for an hour is some lines. */
static void on_changed(void *context, struct endpoint *endpoint)
{
	struct http_upstream *upstream = context;
	const struct place *place = &upstream->places[endpoint->index];
	struct log_line line UNCLEARED;
	show_state(upstream, endpoint);
	if (upstream->base.settings->boards)
		endpoint_board_write(&upstream->base.settings->boards[endpoint->index], endpoint->reason);
	if (upstream->checks)
		checks_note(upstream->checks, endpoint);
	if (endpoint->ejected)
		meter_add(upstream->meter, METRIC_ID_ENDPOINT_EJECTIONS, place->label,
			  endpoint->unreachable ? EJECTION_UNREACHABLE : EJECTION_FAILURES, 1);
	bool up = endpoint_state(endpoint) == ENDPOINT_STATE_UP;
	if (!log_begin(&line, up ? &EVENT_ENDPOINT_UP : &EVENT_ENDPOINT_STATE))
		return;
	log_cstr(&line, "upstream", upstream->base.settings->name);
	log_cstr(&line, "endpoint", place->shown);
	log_cstr(&line, "state", endpoint_state_word(endpoint_state(endpoint)));
	log_text(&line, "reason", slice_of(endpoint->reason));
	log_end(&line);
}

static bool set_places(struct http_upstream *upstream)
{
	const struct upstream_settings *settings = upstream->base.settings;
	for (size_t i = 0; i < settings->endpoint_count; i++) {
		struct place *place = &upstream->places[i];
		if (!(place->url = strdup(settings->endpoints[i])) || !(place->parsed = http_url_new(place->url)))
			return false;
		place->shown = settings->shown ? settings->shown[i] : place->url;
		place->label = upstream_endpoint_label(settings, i);
		place->reached = true;
		meter_set(upstream->meter, METRIC_ID_UPSTREAM_HEALTHY, place->label, 0, 1);
		show_state(upstream, &upstream->set->endpoints[i]);
	}
	return true;
}

static void http_free(struct upstream *base)
{
	struct http_upstream *upstream = container_of(base, struct http_upstream, base);
	assert(upstream->under_way == 0 && TAILQ_EMPTY(&upstream->waiting));
	for (size_t i = 0; i < upstream->base.settings->endpoint_count; i++) {
		free(upstream->places[i].url);
		http_url_free(upstream->places[i].parsed);
	}
	checks_free(upstream->checks);
	endpoint_set_free(upstream->set);
	http_headers_fini(&upstream->headers);
	connections_leave(upstream->connections);
	free(upstream);
}

static struct endpoint_set *make_set(struct http_upstream *upstream)
{
	const struct upstream_settings *settings = upstream->base.settings;
	const struct endpoint_policy *policy = settings->balancing ? settings->balancing : &endpoint_default_policy;
	struct endpoint_set *set =
		endpoint_set_new(policy, settings->weights, settings->endpoint_count, clock_now_us());
	if (!set)
		return NULL;
	set->changed = on_changed;
	set->context = upstream;
	return set;
}

static struct upstream *http_make(const struct upstream_settings *settings, struct transport *transport,
				  struct loop *loop, struct meter *meter)
{
	assert(settings->endpoint_count > 0 && settings->pool_max > 0);
	struct http_upstream *upstream = calloc(1, sizeof *upstream + settings->endpoint_count * sizeof(struct place));
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
	upstream->set = make_set(upstream);
	if (!upstream->connections || !upstream->set || !set_places(upstream) ||
	    !(upstream->checks = checks_new(upstream))) {
		http_free(&upstream->base);
		return NULL;
	}
	return &upstream->base;
}

/* --- the pool --- */

static void stop_waiting(struct delivery *delivery)
{
	loop_disarm(delivery->upstream->base.loop, &delivery->timer);
	if (delivery->state == DELIVERY_WAITING)
		TAILQ_REMOVE(&delivery->upstream->waiting, delivery, next);
	delivery->state = DELIVERY_NEW;
}

/* Take a place in the pool and go. What may not wait takes nobody's place. */
static bool set_out(struct delivery *delivery)
{
	delivery->counted = !delivery->urgent;
	delivery->upstream->under_way += delivery->counted;
	delivery->state = DELIVERY_UNDER_WAY;
	return attempt_set_out(delivery);
}

/* Fill the places that have become free. Calls nobody back: whoever cannot set out is told by its timer. */
static void set_out_waiting(struct http_upstream *upstream)
{
	struct delivery *delivery;
	while (upstream->under_way < upstream->base.settings->pool_max &&
	       (delivery = TAILQ_FIRST(&upstream->waiting))) {
		stop_waiting(delivery);
		if (set_out(delivery))
			continue;
		delivery->state = DELIVERY_STUCK;
		loop_arm(upstream->base.loop, &delivery->timer, loop_now(upstream->base.loop));
	}
}

/* --- the end of a delivery --- */

uint64_t delivery_time_left(const struct delivery *delivery)
{
	uint64_t now_us = loop_now(delivery->upstream->base.loop);
	return delivery->deadline_us > now_us ? delivery->deadline_us - now_us : 0;
}

static void delivery_free(struct delivery *delivery)
{
	struct http_upstream *upstream = delivery->upstream;
	upstream->under_way -= delivery->counted;
	stop_waiting(delivery);
	loop_timers_release(upstream->base.loop, 1);
	if (delivery->hedge) { /* before the first: it borrows from that */
		upstream->under_way -= delivery->hedge->placed;
		attempt_fini(delivery->hedge);
		free(delivery->hedge);
	}
	attempt_fini(&delivery->first);
	buf_fini(&delivery->target);
	free(delivery);
	set_out_waiting(upstream);
}

static void count_exchange(const struct delivery *delivery, enum outcome outcome)
{
	const struct http_upstream *upstream = delivery->upstream;
	const struct attempt *attempt = delivery->speaking ? delivery->speaking : &delivery->first;
	if (!attempt->place)
		return;
	meter_add(upstream->meter, METRIC_ID_UPSTREAM_REQUESTS, attempt->place->label, outcome, 1);
	if (delivery->endless)
		return;
	meter_observe(upstream->meter, METRIC_ID_UPSTREAM_DURATION, upstream->base.settings->label,
		      loop_now(upstream->base.loop) - attempt->begun_us);
}

void delivery_land(struct delivery *delivery, enum outcome outcome)
{
	const struct upstream_events *events = delivery->events;
	void *context = delivery->context;
	bool aborted = delivery->aborted;
	count_exchange(delivery, aborted ? OUTCOME_CANCELLED : outcome);
	delivery_free(delivery);
	if (!aborted)
		events->landed(context, outcome);
}

static void on_timer(struct loop_timer *timer, uint64_t now_us)
{
	struct delivery *delivery = container_of(timer, struct delivery, timer);
	(void)now_us;
	if (delivery->state == DELIVERY_UNDER_WAY)
		attempt_hedge(delivery);
	else if (delivery->state == DELIVERY_WAITING)
		answers_fail(delivery, EXCHANGE_NOT_SENT,
			     "no connection became free in time: all of pool.max are busy");
	else if (delivery->unusable)
		answers_fail(delivery, EXCHANGE_NOT_SENT, "none of its endpoints can be reached");
	else
		answers_fail(delivery, EXCHANGE_NO_MEMORY, "the gateway is out of memory");
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

/* Write the request into the delivery. NULL, or why not. */
static struct answer *write_request(struct delivery *delivery, const struct upstream_call *calls, uint64_t first_id)
{
	struct http_request request = { .target = BUF_INIT(HTTP_TARGET_BYTES),
					.headers = BUF_INIT(HTTP_HEADER_BYTES),
					.body = BUF_INIT(REQUEST_BODY_BYTES) };
	const struct http_upstream *upstream = delivery->upstream;
	struct answer *refusal = NULL;
	if (!upstream->base.settings->dialect->encode(calls, delivery->count, first_id, &request))
		refusal = encode_refusal(upstream, calls, delivery->count);
	else
		refusal = http_headers_write(&delivery->upstream->headers, &delivery->first.exchange, &request,
					     delivery->count == 1 ? calls : NULL);
	delivery->first.exchange.method = request.method;
	delivery->first.exchange.has_body = request.content_type != NULL;
	delivery->first.exchange.body = request.body;
	delivery->target = request.target;
	delivery->urgent = request.urgent || request.endless;
	delivery->endless = request.endless;
	if (request.endless)
		delivery->deadline_us = CLOCK_NEVER;
	buf_fini(&request.headers);
	return refusal;
}

/* FNV-1a. */
static uint64_t hash_of(struct slice text)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < text.len; i++)
		hash = (hash ^ (unsigned char)text.at[i]) * UINT64_C(0x100000001b3);
	return hash;
}

/* What the calls are, before any of it is written. What they want to go by is the first one's. */
static void read_calls(struct delivery *delivery, const struct upstream_call *calls)
{
	delivery->repeatable = true;
	delivery->kind = (enum attempt_kind)calls[0].kind;
	for (size_t i = 0; i < delivery->count; i++) {
		delivery->items[i].repeatable = calls[i].repeatable;
		delivery->repeatable &= calls[i].repeatable;
	}
	const struct endpoint_policy *policy = delivery->upstream->set->policy;
	delivery->pick.repeatable = delivery->repeatable;
	if (policy->balance == BALANCE_AFFINITY)
		delivery->pick.affinity =
			policy->affinity == AFFINITY_KEY ? hash_of(calls[0].arguments) : calls[0].caller;
}

/* Room for a second attempt beside the first, while the calls can be shown to its decoder. Without memory there is
 * none. */
static void prepare_hedge(struct delivery *delivery, const struct upstream_call *calls, uint64_t first_id)
{
	const struct http_upstream *upstream = delivery->upstream;
	const struct upstream_settings *settings = upstream->base.settings;
	bool wanted = settings->hedge_p95 || settings->hedge_us;
	if (!wanted || delivery->count > 1 || !delivery->repeatable || upstream->set->count < 2)
		return;
	struct attempt *hedge = calloc(1, sizeof *hedge);
	if (hedge && !attempt_init(hedge, delivery, calls, first_id)) {
		attempt_fini(hedge);
		free(hedge);
		hedge = NULL;
	}
	delivery->hedge = hedge;
}

/* NULL: out of memory. */
static struct delivery *delivery_new(struct http_upstream *upstream, const struct upstream_call *calls, size_t count,
				     uint64_t first_id)
{
	struct delivery *delivery = calloc(1, sizeof *delivery + count * sizeof(struct item));
	if (!delivery)
		return NULL;
	if (!loop_timers_reserve(upstream->base.loop, 1)) {
		free(delivery);
		return NULL;
	}
	delivery->upstream = upstream;
	delivery->count = count;
	delivery->timer = LOOP_TIMER_INIT(on_timer);
	read_calls(delivery, calls);
	if (!attempt_init(&delivery->first, delivery, calls, first_id)) {
		delivery_free(delivery);
		return NULL;
	}
	prepare_hedge(delivery, calls, first_id);
	return delivery;
}

static struct answer *out_of_memory(void)
{
	return answer_error(OUTCOME_OVERLOADED, "the gateway is out of memory");
}

/* All places of the pool are taken: wait for one, at most until the deadline. */
static void wait_for_place(struct delivery *delivery)
{
	struct http_upstream *upstream = delivery->upstream;
	delivery->state = DELIVERY_WAITING;
	TAILQ_INSERT_TAIL(&upstream->waiting, delivery, next);
	loop_arm(upstream->base.loop, &delivery->timer, delivery->deadline_us);
}

/* NULL, or why not. */
static struct answer *send_delivery(struct delivery *delivery, const struct upstream_call *calls, uint64_t first_id)
{
	struct http_upstream *upstream = delivery->upstream;
	struct answer *refusal = write_request(delivery, calls, first_id);
	if (refusal)
		return refusal;
	if (upstream->under_way >= upstream->base.settings->pool_max && !delivery->urgent)
		wait_for_place(delivery);
	else if (!set_out(delivery))
		return delivery->unusable ? attempt_unusable_answer(upstream) : out_of_memory();
	return NULL;
}

static struct exchange *http_send(struct upstream *base, const struct upstream_call *calls, size_t count,
				  uint64_t deadline_us, const struct upstream_events *events, void *context,
				  struct answer **refusal)
{
	struct http_upstream *upstream = container_of(base, struct http_upstream, base);
	uint64_t first_id = upstream->next_id;
	upstream->next_id += count;
	struct delivery *delivery = delivery_new(upstream, calls, count, first_id);
	if (!delivery) {
		*refusal = out_of_memory();
		return NULL;
	}
	uint64_t latest_us = clock_add(loop_now(upstream->base.loop), base->settings->timeout_us);
	delivery->deadline_us = deadline_us < latest_us ? deadline_us : latest_us;
	delivery->events = events;
	delivery->context = context;
	if (!(*refusal = send_delivery(delivery, calls, first_id)))
		return &delivery->base;
	delivery_free(delivery);
	return NULL;
}

static void http_abort(struct exchange *exchange)
{
	struct delivery *delivery = container_of(exchange, struct delivery, base);
	delivery->aborted = true;
	if (delivery->telling)
		return;
	attempt_give_up(delivery);
	delivery_land(delivery, OUTCOME_CANCELLED);
}

static bool http_sent(const struct exchange *base)
{
	const struct delivery *delivery = container_of(base, const struct delivery, base);
	return delivery->sent || attempt_sent(&delivery->first) || (delivery->hedge && attempt_sent(delivery->hedge));
}

static size_t http_attempts(const struct exchange *base)
{
	size_t attempts = container_of(base, const struct delivery, base)->attempts;
	return attempts ? attempts : 1;
}

const struct upstream_kind upstream_http = {
	.make = http_make,
	.free = http_free,
	.send = http_send,
	.abort = http_abort,
	.sent = http_sent,
	.attempts = http_attempts,
};
