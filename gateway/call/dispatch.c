/* SPDX-License-Identifier: Apache-2.0 */
/* dispatch.c: flights, batchers, and what completion means. */
#include "gateway/call/dispatch.h"

#include <assert.h>
#include <stdlib.h>

#include "gateway/call/dispatch_private.h"

enum { KEPT_TRIPS = 1024 };
#define NEARLY_US (5 * CLOCK_US_PER_MS) /* timers of a deadline do not ring to the microsecond */

struct dispatch *dispatch_new(struct worker *worker)
{
	struct dispatch *dispatch = calloc(1, sizeof *dispatch);
	if (!dispatch)
		return NULL;
	TAILQ_INIT(&dispatch->under_way);
	TAILQ_INIT(&dispatch->looking);
	TAILQ_INIT(&dispatch->recycled);
	TAILQ_INIT(&dispatch->providers);
	dispatch->worker = worker;
	dispatch->flights = flights_new();
	if (dispatch->flights && dispatch_open(dispatch, worker_generation(worker)))
		return dispatch;
	dispatch_free(dispatch);
	return NULL;
}

void dispatch_free(struct dispatch *dispatch)
{
	if (!dispatch)
		return;
	assert(dispatch->busy == 0);
	struct provider *provider;
	while ((provider = TAILQ_FIRST(&dispatch->providers)))
		provider_close(provider);
	struct fetch *fetch;
	while ((fetch = TAILQ_FIRST(&dispatch->recycled))) {
		TAILQ_REMOVE(&dispatch->recycled, fetch, next);
		free(fetch);
	}
	flights_free(dispatch->flights);
	free(dispatch);
}

/* ---------------------------------------------------------------- fetches */

static struct fetch *take_fetch(struct dispatch *dispatch)
{
	struct fetch *fetch = TAILQ_FIRST(&dispatch->recycled);
	if (fetch) {
		TAILQ_REMOVE(&dispatch->recycled, fetch, next);
		dispatch->recycled_count--;
	} else {
		fetch = malloc(sizeof *fetch);
		if (!fetch)
			return NULL;
	}
	memset(fetch, 0, offsetof(struct fetch, traceparent));
	TAILQ_INSERT_TAIL(&dispatch->under_way, fetch, among);
	dispatch->busy++;
	return fetch;
}

static void free_fetch(struct dispatch *dispatch, struct fetch *fetch)
{
	assert(fetch->flight.waiter_count == 0 && !fetch->flight.key);
	blob_unref(fetch->body);
	blob_unref(fetch->group);
	blob_unref(fetch->tracestate);
	if (fetch->provider)
		fetch->provider->fetches--;
	TAILQ_REMOVE(&dispatch->under_way, fetch, among);
	dispatch->busy--;
	if (dispatch->recycled_count >= KEPT_TRIPS) {
		free(fetch);
		return;
	}
	TAILQ_INSERT_HEAD(&dispatch->recycled, fetch, next);
	dispatch->recycled_count++;
}

void dispatch_end_fetch(struct dispatch *dispatch, struct fetch *fetch)
{
	dispatch_release(dispatch, fetch);
	flights_remove(dispatch->flights, &fetch->flight);
	free_fetch(dispatch, fetch);
}

void dispatch_send_home(struct dispatch *dispatch, struct call *call, struct answer *answer)
{
	loop_disarm(dispatch->worker->loop, &call->timer);
	call->answer = answer;
	call->fetch = NULL;
	call->at_owner = false;
	call_return(call, dispatch->worker);
}

/* Into memory and the tier behind it. True: it is in one of them, or on its way. */
static bool store_answer(struct worker *worker, struct fetch *fetch, struct answer *answer,
			 const struct batch_facts *facts)
{
	uint64_t now_us = loop_now(worker->loop);
	const struct cache_fill fill = {
		.policy = &fetch->tool->cache,
		.cost_us = facts->waited_us + facts->upstream_us,
		.asked_us = facts->left_us ? facts->left_us : now_us,
		.now_us = now_us,
		.epoch = &fetch->epoch,
		.tags = &worker->tags,
	};
	struct entry *entry;
	bool drop, stored = cache_store_entry(worker->gateway->cache, fetch->flight.key, answer, &fill, worker->meter,
					      &entry, &drop);
	unsigned how = (fetch->leased == worker->tier ? TIER_RELEASES : 0) | (fetch->lookup.failed ? TIER_REPLACES : 0);
	if (worker->tier && entry && tier_put(worker->tier, entry, how, fill.now_us)) {
		stored = true;
		fetch->leased = NULL; /* the others find the answer instead */
	}
	if (worker->tier && drop)
		tier_remove(worker->tier, fetch->flight.key->digest, fill.now_us);
	entry_unref(entry);
	return stored;
}

/* Whether the flight died of its first caller's deadline and this one, who came later, has time left: it asks anew,
 * once (twice would be a provider that does not answer, asked again and again). */
static bool leads_again(const struct fetch *fetch, const struct call *call, const struct answer *answer,
			uint64_t now_us)
{
	bool timed_out = answer->outcome == OUTCOME_UPSTREAM_TIMEOUT || answer->outcome == OUTCOME_DEADLINE_EXCEEDED;
	return timed_out && !call->led_again && fetch->item.deadline_us <= clock_add(now_us, NEARLY_US) &&
	       call->deadline_us > clock_add(now_us, NEARLY_US);
}

static void lead_again(struct dispatch *dispatch, struct call *call)
{
	loop_disarm(dispatch->worker->loop, &call->timer);
	call->led_again = true;
	call->fetch = NULL;
	if (call->source == SOURCE_COLLAPSED)
		call->source = SOURCE_MISS;
	dispatch_take(dispatch, call);
}

/* The fetch is over: everybody who waits gets a reference to the answer, which is taken. */
static void complete_fetch(struct dispatch *dispatch, struct fetch *fetch, struct answer *answer,
			   const struct batch_facts *facts)
{
	if (answer->outcome != OUTCOME_OK)
		provider_note_failure(fetch->provider, answer);
	bool stored = fetch->store && store_answer(dispatch->worker, fetch, answer, facts);
	uint64_t now_us = loop_now(dispatch->worker->loop);
	dispatch_release(dispatch, fetch);
	flights_remove(dispatch->flights, &fetch->flight);
	struct waiter *waiter;
	while ((waiter = flight_take(&fetch->flight))) {
		struct call *call = container_of(waiter, struct call, waiter);
		if (leads_again(fetch, call, answer, now_us)) {
			lead_again(dispatch, call);
			continue;
		}
		call->facts = *facts;
		call->stored = stored;
		dispatch_send_home(dispatch, call, answer_ref(answer));
	}
	answer_unref(answer);
	free_fetch(dispatch, fetch);
}

static void item_answered(struct batch_item *item, struct answer *answer, const struct batch_facts *facts)
{
	struct fetch *fetch = container_of(item, struct fetch, item);
	if (answer->outcome == OUTCOME_SHUTTING_DOWN && facts->id && !item->call.repeatable) {
		/* it was on its way when the gateway gave up: not the same as never sent */
		answer_unref(answer);
		answer =
			answer_error(OUTCOME_OUTCOME_UNKNOWN, "The gateway shut down before the provider had answered; "
							      "whether the call was carried out is not known.");
	}
	complete_fetch(fetch->provider->dispatch, fetch, answer, facts);
}

static bool wants_notification(const struct call *call, enum mcp_notification_kind note)
{
	return call->on_notification &&
	       (note == MCP_NOTIFICATION_PROGRESS ? call->asks.progress : call->asks.level != MCP_LEVEL_NONE);
}

/* The server is at work on it: those who wait have the tool's time anew, but for who has said how long he waits. */
static void extend_deadlines(struct fetch *fetch)
{
	struct dispatch *dispatch = fetch->provider->dispatch;
	struct batch_item *item = &fetch->item;
	uint64_t now_us = loop_now(dispatch->worker->loop), latest_us = item->deadline_us;
	uint64_t most_us = fetch->provider->now.settings.mcp_progress_us;
	struct waiter *waiter;
	TAILQ_FOREACH (waiter, &fetch->flight.waiters, next) {
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
	batcher_set_deadlines(fetch->provider->batcher, item, latest_us, item->urgent_us);
	fetch->provider->changed = true;
}

/* Everybody who waits and asked for it hears it. */
static void notify_waiters(struct batch_item *item, enum mcp_notification_kind note, struct slice params)
{
	struct fetch *fetch = container_of(item, struct fetch, item);
	struct waiter *waiter;
	TAILQ_FOREACH (waiter, &fetch->flight.waiters, next) {
		struct call *call = container_of(waiter, struct call, waiter);
		if (wants_notification(call, note))
			call_notify(call, fetch->provider->dispatch->worker, note, params);
	}
	if (note == MCP_NOTIFICATION_PROGRESS)
		extend_deadlines(fetch);
}

/* Its last waiter has left: nobody wants the answer. */
static void give_up(struct dispatch *dispatch, struct fetch *fetch)
{
	if (fetch->looking) {
		dispatch_stop_looking(dispatch, fetch);
	} else {
		batcher_cancel(fetch->provider->batcher, &fetch->item, loop_now(dispatch->worker->loop));
		fetch->provider->changed = true;
	}
	dispatch_end_fetch(dispatch, fetch);
}

bool dispatch_take_tool(struct fetch *fetch)
{
	const struct waiter *waiter = TAILQ_FIRST(&fetch->flight.waiters);
	if (!waiter)
		return false;
	fetch->tool = container_of(waiter, struct call, waiter)->tool;
	fetch->item.call.route = fetch->tool->route;
	return true;
}

/*
 * The call leaves its fetch, and with it goes what keeps its tool alive (its catalogue): the fetch goes on with the
 * tool of one who still waits. It is the same tool, though maybe of a later catalogue: name and version are in the key.
 */
static void leave_fetch(struct dispatch *dispatch, struct call *call)
{
	struct fetch *fetch = call->fetch;
	flight_leave(&call->waiter);
	if (!dispatch_take_tool(fetch))
		give_up(dispatch, fetch);
}

/* On a shared fetch a call that is in more of a hurry than the fetch has its own deadline: it leaves, the others
 * stay. */
static void deadline_passed(struct loop_timer *timer, uint64_t now_us)
{
	struct call *call = container_of(timer, struct call, timer);
	struct fetch *fetch = call->fetch;
	struct dispatch *dispatch = fetch->provider->dispatch;
	struct answer *answer = fetch->looking ? answer_error(OUTCOME_DEADLINE_EXCEEDED,
							      "The call's deadline passed before it could be sent.")
					       : batcher_expired(fetch->provider->batcher, &fetch->item, now_us);
	call->facts.waited_us = fetch->looking ? 0 : now_us - fetch->item.added_us;
	leave_fetch(dispatch, call);
	dispatch_send_home(dispatch, call, answer);
}

/* The fetch is put off: who cannot wait as long is told now, the others stay. */
static void let_hurried_go(struct batch_item *item, uint64_t until_us, struct answer *answer,
			   const struct batch_facts *facts)
{
	struct fetch *fetch = container_of(item, struct fetch, item);
	struct dispatch *dispatch = fetch->provider->dispatch;
	uint64_t urgent_us = CLOCK_NEVER;
	struct waiter *waiter = TAILQ_FIRST(&fetch->flight.waiters), *after;
	for (; waiter; waiter = after) {
		struct call *call = container_of(waiter, struct call, waiter);
		after = TAILQ_NEXT(waiter, next);
		if (call->deadline_us > until_us) {
			urgent_us = call->deadline_us < urgent_us ? call->deadline_us : urgent_us;
			continue;
		}
		flight_leave(waiter);
		call->facts = *facts;
		dispatch_send_home(dispatch, call, answer_ref(answer));
	}
	if (!dispatch_take_tool(fetch))
		give_up(dispatch, fetch);
	else
		batcher_set_deadlines(fetch->provider->batcher, item, item->deadline_us, urgent_us);
}

static void board_fetch(struct fetch *fetch, struct call *call)
{
	call->fetch = fetch;
	call->timer = LOOP_TIMER_INIT(deadline_passed);
	flight_join(&fetch->flight, &call->waiter);
	/* in the batcher the fetch's own deadline is the batcher's affair */
	if (call->deadline_us < fetch->item.deadline_us || fetch->looking)
		loop_arm(fetch->provider->dispatch->worker->loop, &call->timer, call->deadline_us);
}

/* ---------------------------------------------------------------- taking calls */

static void join_fetch(struct dispatch *dispatch, struct fetch *fetch, struct call *call)
{
	struct batch_item *item = &fetch->item;
	board_fetch(fetch, call);
	if (call->source == SOURCE_MISS)
		call->source = SOURCE_COLLAPSED;
	meter_add(dispatch->worker->meter, METRIC_ID_COALESCED, fetch->tool->index, 0, 1);
	if (fetch->looking) {
		item->urgent_us = call->deadline_us < item->urgent_us ? call->deadline_us : item->urgent_us;
	} else if (call->deadline_us < item->urgent_us) {
		batcher_set_deadlines(fetch->provider->batcher, item, item->deadline_us, call->deadline_us);
		fetch->provider->changed = true;
	}
}

/* Nobody joins it any more, and it is not kept: what is asked from here on is newer. */
static void set_apart(struct dispatch *dispatch, struct fetch *fetch)
{
	dispatch_release(dispatch, fetch);
	fetch->store = false;
	flights_remove(dispatch->flights, &fetch->flight);
}

/*
 * A purge has come since its provider was asked: who was there gets what it says, and nobody else does. The next call
 * asks anew, and so do the other gateways. While a fetch looks, what it finds is held against the purges by itself.
 */
static bool is_invalidated(struct dispatch *dispatch, struct fetch *fetch)
{
	struct worker *worker = dispatch->worker;
	const struct cache_epoch *epoch = &fetch->epoch;
	if (fetch->looking || !purges_cover(&cache_rule(worker->gateway->cache)->purges, fetch->flight.key,
					    epoch->number, epoch->event, epoch->event, &worker->tags))
		return false;
	set_apart(dispatch, fetch);
	return true;
}

/*
 * Its provider was asked too long ago for this caller: before he asked, if he wants a new answer (he may have written
 * something just before), or longer ago than his max-age. The other way round who comes next may join his. A refresh
 * wants any newer one.
 */
static bool is_too_early(struct dispatch *dispatch, struct fetch *fetch, const struct call *call)
{
	uint64_t left_us = fetch->looking ? CLOCK_NEVER : batch_item_left_us(&fetch->item);
	if (call->refreshes || left_us == CLOCK_NEVER)
		return false;
	uint64_t lands_us = loop_now(dispatch->worker->loop) + 1; /* not yet, that is */
	if (cache_directives_accept_age(&call->directives, lands_us > left_us ? lands_us - left_us : 1))
		return false;
	set_apart(dispatch, fetch);
	return true;
}

static void join_or_not(struct dispatch *dispatch, struct fetch *fetch, struct call *call)
{
	if (call->directives.only_if_cached && !fetch->looking)
		dispatch_send_home(dispatch, call,
				   call_not_cached()); /* a fetch is under way, which it does not want */
	else
		join_fetch(dispatch, fetch, call);
}

/*
 * Who may share a request: an Idempotency-Key travels alone, because only such a call can carry it; a write with
 * writes of its own caller (batch.writes), for what fails a request fails it for all in it. Then come the dialect's own
 * reasons. The first byte tells the kinds apart. Nothing: anybody may. False: out of memory.
 */
static bool fill_lane_key(struct fetch *fetch, const struct call *call, const struct upstream_config *upstream)
{
	const struct dialect_route *route = call->tool->route;
	enum company company = tool_company(call->tool, upstream);
	bool alone = fetch->idempotency_key[0] != '\0' || company == COMPANY_OF_NOBODY;
	bool write = company == COMPANY_OF_ONE_CALLER;
	if (!route->dialect->group && !alone && !write)
		return true;
	struct buf group = BUF_INIT(SIZE_MAX / 4);
	buf_put_char(&group, alone ? 'a' : write ? 'w' : 'g');
	if (alone) { /* no two fetches have the same address */
		buf_put(&group, (struct slice){ (const char *)&fetch, sizeof fetch });
	} else if (write) {
		buf_put_u64(&group, call->identity.len);
		buf_put_char(&group, ':');
		buf_put(&group, call->identity);
	}
	if (route->dialect->group)
		route->dialect->group(route, call->arguments, &group);
	fetch->group = buf_take_blob(&group);
	buf_fini(&group);
	if (fetch->group)
		fetch->item.lane_key = blob_slice(fetch->group);
	return fetch->group != NULL;
}

/* False: out of memory. */
static bool fill_item(struct fetch *fetch, const struct call *call, bool shared)
{
	struct batch_item *item = &fetch->item;
	memcpy(fetch->traceparent, call->traceparent, sizeof fetch->traceparent);
	memcpy(fetch->idempotency_key, call->idempotency_key, sizeof fetch->idempotency_key);
	fetch->body = blob_ref(call->body);
	item->call.route = call->tool->route;
	item->call.arguments = call->arguments;
	item->call.repeatable = tool_is_repeatable(call->tool);
	item->call.traceparent = slice_of(fetch->traceparent);
	if (call->tracestate) {
		fetch->tracestate = blob_ref(call->tracestate);
		item->call.tracestate = blob_slice(fetch->tracestate);
	}
	item->call.idempotency_key = slice_of(fetch->idempotency_key);
	/* A fetch that others may join lasts as long as the tool may take: the leader's own hurry is not theirs. */
	item->deadline_us = shared ? clock_add(call->started_us, call->tool->timeout_us) : call->deadline_us;
	item->urgent_us = call->deadline_us;
	item->tool = call->tool->index;
	item->caller = call->caller_number;
	item->urgency = call->urgency;
	item->answered = item_answered;
	item->call.asks = call->asks;
	item->on_notification = notify_waiters;
	item->put_off = shared ? let_hurried_go : NULL;
	return fill_lane_key(fetch, call, call_upstream(call));
}

void dispatch_depart(struct dispatch *dispatch, struct fetch *fetch, uint64_t now_us)
{
	const char *why;
	if (fetch->flight.key) /* kept or not: who asks after a purge does not join */
		fetch->epoch = cache_epoch_now(dispatch->worker->gateway->cache, fetch->flight.key);
	enum outcome outcome = batcher_add(fetch->provider->batcher, &fetch->item, now_us, &why);
	if (outcome != OUTCOME_OK) {
		const struct batch_facts none = { 0 };
		const char *name = fetch->provider->upstream->settings.name;
		struct answer *answer =
			answer_upstream_error(outcome, 0, 1, (struct slice){ NULL, 0 }, "%s: %s", name, why);
		complete_fetch(dispatch, fetch, answer, &none);
		return;
	}
	fetch->provider->changed = true;
}

/* NULL: out of memory. */
static struct fetch *make_fetch(struct dispatch *dispatch, struct call *call, bool shared)
{
	struct provider *provider = provider_here(dispatch->worker, call_upstream(call));
	struct fetch *fetch = provider_open(provider, dispatch) ? take_fetch(dispatch) : NULL;
	if (!fetch)
		return NULL;
	fetch->provider = provider;
	provider->fetches++;
	if (fill_item(fetch, call, shared))
		return fetch;
	free_fetch(dispatch, fetch);
	return NULL;
}

static void lead_fetch(struct dispatch *dispatch, struct call *call, bool shared)
{
	uint64_t now_us = loop_now(dispatch->worker->loop);
	struct fetch *fetch = make_fetch(dispatch, call, shared);
	if (!fetch) {
		dispatch_send_home(dispatch, call, answer_no_memory());
		return;
	}
	fetch->tool = call->tool;
	fetch->store = shared && tool_is_cached(call->tool);
	flights_add(dispatch->flights, &fetch->flight, shared ? call->key : NULL);
	bool looking = call->source == SOURCE_MISS && dispatch_look(dispatch, fetch, now_us);
	board_fetch(fetch, call);
	if (!looking && call->directives.only_if_cached)
		dispatch_go_on(dispatch, fetch, now_us);
	else if (!looking)
		dispatch_depart(dispatch, fetch, now_us);
}

/* Between the home worker's look and the call's arrival here a flight may have completed, which he may have. */
static bool completed_meanwhile(struct dispatch *dispatch, struct call *call)
{
	struct worker *worker = dispatch->worker;
	if (!tool_is_cached(call->tool) || call->source != SOURCE_MISS)
		return false;
	const struct cache_ask ask = { &call->tool->cache, &call->directives, &worker->tags, loop_now(worker->loop) };
	struct cache_found found = cache_find(worker->gateway->cache, call->key, &ask, NULL);
	if (found.refresh) /* the next one may begin it */
		cache_refreshed(found.entry);
	/* An older entry the caller has seen, and not wanted. */
	if (found.decision != CACHE_DECISION_HIT || found.entry->put_us < call->started_us) {
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
	assert_owner(worker_owner(dispatch->worker));
	bool shared = call->key && !call->directives.no_store;
	call->at_owner = true;
	if (shared) {
		struct flight *flight = flights_find(dispatch->flights, call->key);
		struct fetch *fetch = flight ? container_of(flight, struct fetch, flight) : NULL;
		if (fetch && !is_invalidated(dispatch, fetch) && !is_too_early(dispatch, fetch, call)) {
			join_or_not(dispatch, fetch, call);
			return;
		}
		if (completed_meanwhile(dispatch, call))
			return;
	}
	lead_fetch(dispatch, call, shared);
}

void dispatch_cancel(struct dispatch *dispatch, struct call *call)
{
	assert_owner(worker_owner(dispatch->worker));
	if (!call->at_owner)
		return; /* crossed in the post */
	leave_fetch(dispatch, call);
	dispatch_send_home(dispatch, call, answer_error(OUTCOME_CANCELLED, "The caller left."));
}

/* ---------------------------------------------------------------- the turn */

/* Large requests have so many bytes a turn, all upstreams' together (loop_afford): who has written some lets those behind him
 * go first in the next one, or he would have all of it for as long as he has more. */
static void tick_provider(struct dispatch *dispatch, struct provider *provider, uint64_t now_us)
{
	struct loop *loop = dispatch->worker->loop;
	if (!provider->changed && batcher_deadline(provider->batcher) > now_us)
		return;
	size_t written = loop_afforded(loop, LOOP_WRITES);
	provider->changed = false;
	batcher_tick(provider->batcher, now_us);
	if (loop_afforded(loop, LOOP_WRITES) != written)
		dispatch->first = TAILQ_NEXT(provider, next);
}

void dispatch_tick(struct dispatch *dispatch, uint64_t now_us)
{
	assert_owner(worker_owner(dispatch->worker));
	struct provider *provider = dispatch->first, *after;
	for (size_t left = dispatch->provider_count; left; left--, provider = after) {
		if (!provider)
			provider = TAILQ_FIRST(&dispatch->providers);
		after = TAILQ_NEXT(provider, next);
		tick_provider(dispatch, provider, now_us);
		provider_close_if_over(provider);
	}
}

uint64_t dispatch_deadline(const struct dispatch *dispatch)
{
	uint64_t deadline = CLOCK_NEVER;
	const struct provider *provider;
	TAILQ_FOREACH (provider, &dispatch->providers, next) {
		if (provider->changed)
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
	assert_owner(worker_owner(dispatch->worker));
	const struct batch_facts none = { 0 };
	struct fetch *fetch;
	while ((fetch = TAILQ_FIRST(&dispatch->looking))) {
		dispatch_stop_looking(dispatch, fetch);
		complete_fetch(dispatch, fetch, answer_ref(answer), &none);
	}
	struct provider *provider;
	TAILQ_FOREACH (provider, &dispatch->providers, next)
		batcher_abort_all(provider->batcher, answer, now_us);
}

void dispatch_leave(struct dispatch *dispatch, uint64_t timeout_us)
{
	assert_owner(worker_owner(dispatch->worker));
	struct provider *provider;
	TAILQ_FOREACH (provider, &dispatch->providers, next)
		batcher_leave(provider->batcher, timeout_us);
}

bool dispatch_leaving(const struct dispatch *dispatch)
{
	const struct provider *provider;
	TAILQ_FOREACH (provider, &dispatch->providers, next)
		if (batcher_leaving(provider->batcher))
			return true;
	return false;
}
