/* SPDX-License-Identifier: Apache-2.0 */
/* dispatch.c: flights, batchers, and what landing means. */
#include "gateway/call/dispatch.h"

#include <assert.h>
#include <stdlib.h>

#include "gateway/call/dispatch_private.h"
#include "gateway/tools/registry.h"

enum { KEPT_TRIPS = 1024 };
#define NEARLY_US (5 * CLOCK_US_PER_MS) /* timers of a deadline do not ring to the microsecond */

struct dispatch *dispatch_new(struct worker *worker)
{
	const struct generation *generation = worker_generation(worker);
	struct dispatch *dispatch = calloc(1, sizeof *dispatch);
	if (!dispatch)
		return NULL;
	TAILQ_INIT(&dispatch->looking);
	TAILQ_INIT(&dispatch->recycled);
	dispatch->worker = worker;
	dispatch->flights = flights_new();
	dispatch->providers = calloc(generation->upstream_count + 1, sizeof *dispatch->providers);
	if (!dispatch->flights || !dispatch->providers)
		goto fail;
	dispatch->provider_count = generation->upstream_count;
	for (unsigned i = 0; i < generation->upstream_count; i++) {
		struct provider *provider = &dispatch->providers[i];
		provider->dispatch = dispatch;
		provider->upstream = &generation->upstreams[i];
		if (!worker_owns(worker, provider->upstream))
			continue;
		provider->batcher = batcher_new(&provider->upstream->batch, &provider->upstream->settings,
						worker->transport, worker->loop, worker->meter);
		if (!provider->batcher)
			goto fail;
		if (provider->upstream->settings.dialect->lists_tools)
			batcher_watch(provider->batcher, registry_watcher(worker->gateway->registry, i));
	}
	return dispatch;
fail:
	dispatch_free(dispatch);
	return NULL;
}

void dispatch_free(struct dispatch *dispatch)
{
	if (!dispatch)
		return;
	assert(dispatch->busy == 0);
	for (size_t i = 0; i < dispatch->provider_count; i++)
		batcher_free(dispatch->providers[i].batcher);
	struct trip *trip;
	while ((trip = TAILQ_FIRST(&dispatch->recycled))) {
		TAILQ_REMOVE(&dispatch->recycled, trip, next);
		free(trip);
	}
	free(dispatch->providers);
	flights_free(dispatch->flights);
	free(dispatch);
}

/* ---------------------------------------------------------------- trips */

static struct trip *trip_new(struct dispatch *dispatch)
{
	struct trip *trip = TAILQ_FIRST(&dispatch->recycled);
	if (trip) {
		TAILQ_REMOVE(&dispatch->recycled, trip, next);
		dispatch->recycled_count--;
	} else {
		trip = malloc(sizeof *trip);
		if (!trip)
			return NULL;
	}
	memset(trip, 0, offsetof(struct trip, traceparent));
	dispatch->busy++;
	return trip;
}

static void trip_free(struct dispatch *dispatch, struct trip *trip)
{
	assert(trip->flight.waiter_count == 0 && !trip->flight.key);
	blob_unref(trip->body);
	blob_unref(trip->group);
	dispatch->busy--;
	if (dispatch->recycled_count >= KEPT_TRIPS) {
		free(trip);
		return;
	}
	TAILQ_INSERT_HEAD(&dispatch->recycled, trip, next);
	dispatch->recycled_count++;
}

void dispatch_end_trip(struct dispatch *dispatch, struct trip *trip)
{
	dispatch_release(dispatch, trip);
	flights_remove(dispatch->flights, &trip->flight);
	trip_free(dispatch, trip);
}

void dispatch_send_home(struct dispatch *dispatch, struct call *call, struct answer *answer)
{
	loop_disarm(dispatch->worker->loop, &call->timer);
	call->answer = answer;
	call->trip = NULL;
	call->at_owner = false;
	call_return(call, dispatch->worker);
}

/* Into memory and the tier behind it. True: it is in one of them, or on its way. */
static bool store(struct worker *worker, struct trip *trip, struct answer *answer, const struct batch_facts *facts)
{
	const struct cache_fill fill = { &trip->tool->cache, facts->waited_us + facts->upstream_us,
					 loop_now(worker->loop), &trip->begun, &worker->tags };
	struct entry *entry;
	bool drop, stored = cache_store_entry(worker->gateway->cache, trip->flight.key, answer, &fill, worker->meter,
					      &entry, &drop);
	if (worker->tier && entry && tier_put(worker->tier, entry, trip->leased, fill.now_us)) {
		stored = true;
		trip->leased = false; /* the others find the answer instead */
	}
	if (worker->tier && drop)
		tier_remove(worker->tier, trip->flight.key->digest, fill.now_us);
	entry_unref(entry);
	return stored;
}

/* Whether the flight died of its first caller's deadline and this one, who came later, has time left: it asks anew, once
 * (twice would be a provider that does not answer, asked again and again). */
static bool leads_again(const struct trip *trip, const struct call *call, const struct answer *answer, uint64_t now_us)
{
	bool timed_out = answer->outcome == OUTCOME_UPSTREAM_TIMEOUT || answer->outcome == OUTCOME_DEADLINE_EXCEEDED;
	return timed_out && !call->led_again && trip->item.deadline_us <= clock_add(now_us, NEARLY_US) &&
	       call->deadline_us > clock_add(now_us, NEARLY_US);
}

static void lead_again(struct dispatch *dispatch, struct call *call)
{
	loop_disarm(dispatch->worker->loop, &call->timer);
	call->led_again = true;
	call->trip = NULL;
	if (call->source == SOURCE_COLLAPSED)
		call->source = SOURCE_MISS;
	dispatch_take(dispatch, call);
}

/* The trip is over: everybody who waits gets a reference to the answer, which is taken. */
static void land(struct dispatch *dispatch, struct trip *trip, struct answer *answer, const struct batch_facts *facts)
{
	bool stored = trip->store && store(dispatch->worker, trip, answer, facts);
	uint64_t now_us = loop_now(dispatch->worker->loop);
	dispatch_release(dispatch, trip);
	flights_remove(dispatch->flights, &trip->flight);
	struct waiter *waiter;
	while ((waiter = flight_take(&trip->flight))) {
		struct call *call = container_of(waiter, struct call, waiter);
		if (leads_again(trip, call, answer, now_us)) {
			lead_again(dispatch, call);
			continue;
		}
		call->facts = *facts;
		call->stored = stored;
		dispatch_send_home(dispatch, call, answer_ref(answer));
	}
	answer_unref(answer);
	trip_free(dispatch, trip);
}

static void item_answered(struct batch_item *item, struct answer *answer, const struct batch_facts *facts)
{
	struct trip *trip = container_of(item, struct trip, item);
	if (answer->outcome == OUTCOME_SHUTTING_DOWN && facts->id && !item->call.repeatable) {
		/* it was on its way when the gateway gave up: not the same as never sent */
		answer_unref(answer);
		answer =
			answer_error(OUTCOME_OUTCOME_UNKNOWN, "The gateway shut down before the provider had answered; "
							      "whether the call was carried out is not known.");
	}
	land(trip->provider->dispatch, trip, answer, facts);
}

static bool wants(const struct call *call, enum mcp_note_kind note)
{
	return call->noted && (note == MCP_NOTE_PROGRESS ? call->asks.progress : call->asks.level != MCP_LEVEL_NONE);
}

/* The server is at work on it: those who wait have the tool's time anew, but for who has said how long he waits. */
static void extend_deadlines(struct trip *trip)
{
	struct dispatch *dispatch = trip->provider->dispatch;
	struct batch_item *item = &trip->item;
	uint64_t now_us = loop_now(dispatch->worker->loop), latest_us = item->deadline_us;
	uint64_t most_us = trip->provider->upstream->settings.mcp_progress_us;
	struct waiter *waiter;
	TAILQ_FOREACH (waiter, &trip->flight.waiters, next) {
		struct call *call = container_of(waiter, struct call, waiter);
		uint64_t due_us = clock_add(now_us, call->tool->timeout_us),
			 end_us = clock_add(call->started_us, most_us);
		due_us = due_us < end_us ? due_us : end_us;
		due_us = due_us < call->wanted_us ? due_us : call->wanted_us;
		if (due_us <= call->deadline_us)
			continue;
		call->deadline_us = due_us;
		if (call->timer.place)
			loop_arm(dispatch->worker->loop, &call->timer, due_us);
		latest_us = due_us > latest_us ? due_us : latest_us;
	}
	if (latest_us == item->deadline_us)
		return;
	batcher_set_deadlines(trip->provider->batcher, item, latest_us, item->urgent_us);
	trip->provider->news = true;
}

/* Everybody who waits and asked for it hears it. */
static void item_noted(struct batch_item *item, enum mcp_note_kind note, struct slice params)
{
	struct trip *trip = container_of(item, struct trip, item);
	struct waiter *waiter;
	TAILQ_FOREACH (waiter, &trip->flight.waiters, next) {
		struct call *call = container_of(waiter, struct call, waiter);
		if (wants(call, note))
			call_note(call, trip->provider->dispatch->worker, note, params);
	}
	if (note == MCP_NOTE_PROGRESS)
		extend_deadlines(trip);
}

/* Its last waiter has left: nobody wants the answer. */
static void give_up(struct dispatch *dispatch, struct trip *trip)
{
	if (trip->looking) {
		dispatch_stop_looking(dispatch, trip);
	} else {
		batcher_cancel(trip->provider->batcher, &trip->item, loop_now(dispatch->worker->loop));
		trip->provider->news = true;
	}
	dispatch_end_trip(dispatch, trip);
}

bool dispatch_take_tool(struct trip *trip)
{
	const struct waiter *waiter = TAILQ_FIRST(&trip->flight.waiters);
	if (!waiter)
		return false;
	trip->tool = container_of(waiter, struct call, waiter)->tool;
	trip->item.call.route = trip->tool->route;
	return true;
}

/*
 * The call leaves its trip, and with it goes what keeps its tool alive (its catalogue): the trip goes on with the tool
 * of one who still waits. It is the same tool, though maybe of a later catalogue: name and version are in the key.
 */
static void leave(struct dispatch *dispatch, struct call *call)
{
	struct trip *trip = call->trip;
	flight_leave(&call->waiter);
	if (!dispatch_take_tool(trip))
		give_up(dispatch, trip);
}

/* On a shared trip a call that is in more of a hurry than the trip has its own deadline: it leaves, the others stay. */
static void deadline_passed(struct loop_timer *timer, uint64_t now_us)
{
	struct call *call = container_of(timer, struct call, timer);
	struct trip *trip = call->trip;
	struct dispatch *dispatch = trip->provider->dispatch;
	bool sent = trip->item.batch != NULL;
	call->facts.waited_us = trip->looking ? 0 : now_us - trip->item.added_us;
	leave(dispatch, call);
	dispatch_send_home(
		dispatch, call,
		sent ? answer_error(OUTCOME_UPSTREAM_TIMEOUT, "The provider did not answer before the call's deadline.")
		     : answer_error(OUTCOME_DEADLINE_EXCEEDED,
				    "The call's deadline passed while it waited for its turn; it was not sent."));
}

static void board(struct trip *trip, struct call *call)
{
	call->trip = trip;
	call->timer = LOOP_TIMER_INIT(deadline_passed);
	flight_join(&trip->flight, &call->waiter);
	/* in the batcher the trip's own deadline is the batcher's affair */
	if (call->deadline_us < trip->item.deadline_us || trip->looking)
		loop_arm(trip->provider->dispatch->worker->loop, &call->timer, call->deadline_us);
}

/* ---------------------------------------------------------------- taking calls */

static void join(struct dispatch *dispatch, struct trip *trip, struct call *call)
{
	struct batch_item *item = &trip->item;
	board(trip, call);
	if (call->source == SOURCE_MISS)
		call->source = SOURCE_COLLAPSED;
	meter_add(dispatch->worker->meter, METRIC_ID_COALESCED, trip->tool->index, 0, 1);
	if (trip->looking) {
		item->urgent_us = call->deadline_us < item->urgent_us ? call->deadline_us : item->urgent_us;
	} else if (call->deadline_us < item->urgent_us) {
		batcher_set_deadlines(trip->provider->batcher, item, item->deadline_us, call->deadline_us);
		trip->provider->news = true;
	}
}

/*
 * A purge has come since its provider was asked: who was there gets what it says, and nobody else does. The next call
 * asks anew, and so do the other gateways. While a trip looks, what it finds is held against the purges by itself.
 */
static bool is_overtaken(struct dispatch *dispatch, struct trip *trip)
{
	struct worker *worker = dispatch->worker;
	const struct cache_begun *begun = &trip->begun;
	if (!trip->store || trip->looking ||
	    !purges_cover(&cache_rule(worker->gateway->cache)->purges, trip->flight.key, begun->number, begun->event,
			  begun->event, &worker->tags))
		return false;
	dispatch_release(dispatch, trip);
	trip->store = false;
	flights_remove(dispatch->flights, &trip->flight);
	return true;
}

static void join_or_not(struct dispatch *dispatch, struct trip *trip, struct call *call)
{
	if (call->wish.only_if_cached && !trip->looking)
		dispatch_send_home(dispatch, call,
				   call_not_cached()); /* a fetch is under way, which it does not want */
	else
		join(dispatch, trip, call);
}

/*
 * Who may share a request: an Idempotency-Key travels alone, because only such a call can carry it; a write with
 * writes of its own caller (batch.writes), for what fails a request fails it for all in it. Then come the dialect's own
 * reasons. The first byte tells the kinds apart. Nothing: anybody may. False: out of memory.
 */
static bool fill_lane_key(struct trip *trip, const struct call *call, const struct upstream_config *upstream)
{
	const struct dialect_route *route = call->tool->route;
	bool write =
		!trip->item.call.repeatable && upstream->writes != WRITES_OF_ANY && upstream_shares_requests(upstream);
	bool alone = trip->idempotency_key[0] != '\0' || (write && upstream->writes == WRITES_ALONE);
	if (!route->dialect->group && !alone && !write)
		return true;
	struct buf group = BUF_INIT(SIZE_MAX / 4);
	buf_put_char(&group, alone ? 'a' : write ? 'w' : 'g');
	if (alone) { /* no two trips have the same address */
		buf_put(&group, (struct slice){ (const char *)&trip, sizeof trip });
	} else if (write) {
		buf_put_u64(&group, call->identity.len);
		buf_put_char(&group, ':');
		buf_put(&group, call->identity);
	}
	if (route->dialect->group)
		route->dialect->group(route, call->arguments, &group);
	trip->group = buf_take_blob(&group);
	buf_fini(&group);
	if (trip->group)
		trip->item.lane_key = blob_slice(trip->group);
	return trip->group != NULL;
}

/* False: out of memory. */
static bool fill_item(struct trip *trip, const struct call *call, bool shared)
{
	struct batch_item *item = &trip->item;
	memcpy(trip->traceparent, call->traceparent, sizeof trip->traceparent);
	memcpy(trip->idempotency_key, call->idempotency_key, sizeof trip->idempotency_key);
	trip->body = blob_ref(call->body);
	item->call.route = call->tool->route;
	item->call.arguments = call->arguments;
	item->call.repeatable = tool_is_repeatable(call->tool);
	item->call.traceparent = slice_of(trip->traceparent);
	item->call.idempotency_key = slice_of(trip->idempotency_key);
	/* A trip that others may join lasts as long as the tool may take: the leader's own hurry is not theirs. */
	item->deadline_us = shared ? clock_add(call->started_us, call->tool->timeout_us) : call->deadline_us;
	item->urgent_us = call->deadline_us;
	item->tool = call->tool->index;
	item->caller = call->asker_number;
	item->urgency = call->urgency;
	item->answered = item_answered;
	item->call.asks = call->asks;
	item->noted = item_noted;
	return fill_lane_key(trip, call, call_upstream(call));
}

void dispatch_depart(struct dispatch *dispatch, struct trip *trip, uint64_t now_us)
{
	const char *why;
	if (trip->store)
		trip->begun = cache_begin(dispatch->worker->gateway->cache, trip->flight.key);
	enum outcome outcome = batcher_add(trip->provider->batcher, &trip->item, now_us, &why);
	if (outcome != OUTCOME_OK) {
		const struct batch_facts none = { 0 };
		const char *name = trip->provider->upstream->settings.name;
		struct answer *answer =
			answer_upstream_error(outcome, 0, 1, (struct slice){ NULL, 0 }, "%s: %s", name, why);
		land(dispatch, trip, answer, &none);
		return;
	}
	trip->provider->news = true;
}

static void lead(struct dispatch *dispatch, struct call *call, bool shared)
{
	uint64_t now_us = loop_now(dispatch->worker->loop);
	struct trip *trip = trip_new(dispatch);
	if (!trip || !fill_item(trip, call, shared)) {
		if (trip)
			trip_free(dispatch, trip);
		dispatch_send_home(dispatch, call, answer_error(OUTCOME_OVERLOADED, "The gateway is out of memory."));
		return;
	}
	trip->provider = &dispatch->providers[call->tool->upstream];
	trip->tool = call->tool;
	trip->store = shared && call->tool->cache.ttl_us > 0;
	flights_add(dispatch->flights, &trip->flight, shared ? call->key : NULL);
	bool looking = call->source == SOURCE_MISS && dispatch_look(dispatch, trip, now_us);
	board(trip, call);
	if (!looking && call->wish.only_if_cached)
		dispatch_go_on(dispatch, trip, now_us);
	else if (!looking)
		dispatch_depart(dispatch, trip, now_us);
}

/* Between the home worker's look and the call's arrival here a flight may have landed. */
static bool landed_meanwhile(struct dispatch *dispatch, struct call *call)
{
	const struct cache_wish wish = { 0 };
	struct worker *worker = dispatch->worker;
	if (call->tool->cache.ttl_us == 0 || call->source != SOURCE_MISS)
		return false;
	const struct cache_ask ask = { &call->tool->cache, &wish, &worker->tags, loop_now(worker->loop) };
	struct cache_found found = cache_find(worker->gateway->cache, call->key, &ask, NULL);
	/* An older entry the caller has seen, and not wanted (max-age=0, say). */
	if (found.verdict != CACHE_VERDICT_HIT || found.entry->put_us < call->started_us) {
		if (found.refresh)
			cache_refreshed(found.entry);
		entry_unref(found.entry);
		return false;
	}
	call->source = SOURCE_COLLAPSED;
	call->stored = true;
	meter_add(worker->meter, METRIC_ID_COALESCED, call->tool->index, 0, 1);
	dispatch_send_home(dispatch, call, answer_ref(found.entry->answer));
	entry_unref(found.entry);
	return true;
}

void dispatch_take(struct dispatch *dispatch, struct call *call)
{
	bool shared = call->key && !call->wish.no_store;
	call->at_owner = true;
	if (shared) {
		struct flight *flight = flights_find(dispatch->flights, call->key);
		struct trip *trip = flight ? container_of(flight, struct trip, flight) : NULL;
		if (trip && !is_overtaken(dispatch, trip)) {
			join_or_not(dispatch, trip, call);
			return;
		}
		if (landed_meanwhile(dispatch, call))
			return;
	}
	lead(dispatch, call, shared);
}

void dispatch_cancel(struct dispatch *dispatch, struct call *call)
{
	if (!call->at_owner)
		return; /* crossed in the post */
	leave(dispatch, call);
	dispatch_send_home(dispatch, call, answer_error(OUTCOME_CANCELLED, "The caller left."));
}

/* ---------------------------------------------------------------- the turn */

void dispatch_tick(struct dispatch *dispatch, uint64_t now_us)
{
	for (size_t i = 0; i < dispatch->provider_count; i++) {
		struct provider *provider = &dispatch->providers[i];
		if (!provider->batcher || (!provider->news && batcher_deadline(provider->batcher) > now_us))
			continue;
		provider->news = false;
		batcher_tick(provider->batcher, now_us);
	}
}

uint64_t dispatch_deadline(const struct dispatch *dispatch)
{
	uint64_t deadline = CLOCK_NEVER;
	for (size_t i = 0; i < dispatch->provider_count; i++) {
		const struct provider *provider = &dispatch->providers[i];
		if (!provider->batcher)
			continue;
		if (provider->news)
			return 0;
		uint64_t due = batcher_deadline(provider->batcher);
		deadline = due < deadline ? due : deadline;
	}
	return deadline;
}

size_t dispatch_busy(const struct dispatch *dispatch)
{
	return dispatch->busy;
}

void dispatch_abort_all(struct dispatch *dispatch, struct answer *answer, uint64_t now_us)
{
	const struct batch_facts none = { 0 };
	struct trip *trip;
	while ((trip = TAILQ_FIRST(&dispatch->looking))) {
		dispatch_stop_looking(dispatch, trip);
		land(dispatch, trip, answer_ref(answer), &none);
	}
	for (size_t i = 0; i < dispatch->provider_count; i++)
		if (dispatch->providers[i].batcher)
			batcher_abort_all(dispatch->providers[i].batcher, answer, now_us);
}
