/* dispatch.c: flights, batchers, and what landing means. */
#include "gateway/dispatch.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "gateway/call.h"
#include "gateway/registry.h"
#include "gateway/worker.h"

/* One fetch under way: a flight of calls and its seat in a batch. */
struct trip {
	struct flight flight; /* who waits; keyed if it may be shared */
	struct batch_item item;
	struct provider *provider;
	const struct tool *tool;
	struct blob *body;  /* keeps item.call.arguments alive: the call that led may leave before the trip ends */
	struct blob *group; /* item.lane_key's bytes; NULL: shares its lane with all others */
	bool store;         /* the answer may go into the cache */
	struct tier_lookup lookup; /* under way: not in the batcher yet */
	uint64_t mark;             /* cache_mark before the look-up */
	struct cache_begun begun;  /* before the look-up, then before the fetch */
	uint64_t looked_us;        /* when it began */
	char traceparent[56];
	char idempotency_key[256];
	TAILQ_ENTRY(trip) next; /* in dispatch->recycled or, while looking, dispatch->looking */
};
TAILQ_HEAD(trips, trip);

/* An upstream of ours. */
struct provider {
	struct dispatch *dispatch;
	struct batcher *batcher; /* NULL: belongs to another worker */
	bool news;               /* something was added or cancelled since its last tick */
};

enum { KEPT_TRIPS = 1024 };

struct dispatch {
	struct worker *worker;
	struct flights *flights;
	struct provider *providers; /* by upstream */
	size_t provider_count;
	struct trips looking; /* in the tier behind memory */
	struct trips recycled;
	size_t recycled_count;
	size_t busy;
};

struct dispatch *dispatch_new(struct worker *worker)
{
	const struct config *config = worker->gateway->config;
	struct dispatch *dispatch = calloc(1, sizeof *dispatch);
	if (!dispatch)
		return NULL;
	TAILQ_INIT(&dispatch->looking);
	TAILQ_INIT(&dispatch->recycled);
	dispatch->worker = worker;
	dispatch->flights = flights_new();
	dispatch->providers = calloc(config->upstream_count + 1, sizeof *dispatch->providers);
	if (!dispatch->flights || !dispatch->providers)
		goto fail;
	dispatch->provider_count = config->upstream_count;
	for (unsigned i = 0; i < config->upstream_count; i++) {
		struct provider *provider = &dispatch->providers[i];
		provider->dispatch = dispatch;
		if (i % config->workers != worker->index)
			continue; /* see upstream_owner */
		provider->batcher = batcher_new(&config->upstreams[i].batch, &config->upstreams[i].settings,
						worker->transport, worker->loop, worker->meter);
		if (!provider->batcher)
			goto fail;
		if (config->upstreams[i].settings.dialect->lists_tools)
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

/* The call has its answer and goes home. Takes `answer`. */
static void send_home(struct dispatch *dispatch, struct call *call, struct answer *answer)
{
	loop_disarm(dispatch->worker->loop, &call->timer);
	call->answer = answer;
	call->trip = NULL;
	call->at_owner = false;
	call_return(call, dispatch->worker);
}

/* Into memory and the tier behind it. True: it is in one of them, or on its way. */
static bool store(struct worker *worker, const struct trip *trip, struct answer *answer,
		  const struct batch_facts *facts)
{
	const struct cache_fill fill = { &trip->tool->cache, facts->waited_us + facts->upstream_us,
					 loop_now(worker->loop), &trip->begun };
	struct entry *entry;
	bool drop, stored = cache_store_entry(worker->gateway->cache, trip->flight.key, answer, &fill, worker->meter,
					      &entry, &drop);
	if (worker->tier && entry && tier_put(worker->tier, entry, fill.now_us))
		stored = true;
	if (worker->tier && drop)
		tier_remove(worker->tier, trip->flight.key->digest, fill.now_us);
	entry_unref(entry);
	return stored;
}

/* The trip is over: everybody who waits gets a reference to the answer, which is taken. */
static void land(struct dispatch *dispatch, struct trip *trip, struct answer *answer, const struct batch_facts *facts)
{
	bool stored = trip->store && store(dispatch->worker, trip, answer, facts);
	flights_remove(dispatch->flights, &trip->flight);
	struct waiter *waiter;
	while ((waiter = flight_take(&trip->flight))) {
		struct call *call = container_of(waiter, struct call, waiter);
		call->facts = *facts;
		call->stored = stored;
		send_home(dispatch, call, answer_ref(answer));
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
}

/* Its last waiter has left: nobody wants the answer. */
static void give_up(struct dispatch *dispatch, struct trip *trip)
{
	if (trip->lookup.operation) {
		tier_cancel(dispatch->worker->tier, &trip->lookup);
		TAILQ_REMOVE(&dispatch->looking, trip, next);
	} else {
		batcher_cancel(trip->provider->batcher, &trip->item, loop_now(dispatch->worker->loop));
		trip->provider->news = true;
	}
	flights_remove(dispatch->flights, &trip->flight);
	trip_free(dispatch, trip);
}

/* The tool of one who waits. False: nobody does. */
static bool take_tool(struct trip *trip)
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
	if (!take_tool(trip))
		give_up(dispatch, trip);
}

/* On a shared trip a call that is in more of a hurry than the trip has its own deadline: it leaves, the others stay. */
static void deadline_passed(struct loop_timer *timer, uint64_t now_us)
{
	struct call *call = container_of(timer, struct call, timer);
	struct trip *trip = call->trip;
	struct dispatch *dispatch = trip->provider->dispatch;
	bool sent = trip->item.batch != NULL;
	call->facts.waited_us = trip->lookup.operation ? 0 : now_us - trip->item.added_us;
	leave(dispatch, call);
	send_home(
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
	if (call->deadline_us < trip->item.deadline_us || trip->lookup.operation)
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
	if (trip->lookup.operation) {
		item->urgent_us = call->deadline_us < item->urgent_us ? call->deadline_us : item->urgent_us;
	} else if (call->deadline_us < item->urgent_us) {
		batcher_set_deadlines(trip->provider->batcher, item, item->deadline_us, call->deadline_us);
		trip->provider->news = true;
	}
}

static void join_or_not(struct dispatch *dispatch, struct trip *trip, struct call *call)
{
	if (call->wish.only_if_cached && !trip->lookup.operation)
		send_home(dispatch, call, call_not_cached()); /* a fetch is under way, which it does not want */
	else
		join(dispatch, trip, call);
}

/* Calls that the dialect keeps apart get lanes of their own; so does a call with an Idempotency-Key, because only one
 * that travels alone can carry it. False: out of memory. */
static bool fill_lane_key(struct trip *trip, const struct call *call)
{
	const struct dialect_route *route = call->tool->route;
	bool alone = trip->idempotency_key[0] != '\0';
	if (!route->dialect->group && !alone)
		return true;
	struct buf group = BUF_INIT(SIZE_MAX / 4);
	if (route->dialect->group)
		route->dialect->group(route, call->arguments, &group);
	if (alone) /* no two trips have the same address */
		buf_put(&group, (struct slice){ (const char *)&trip, sizeof trip });
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
	return fill_lane_key(trip, call);
}

/* Into the batcher. */
static void depart(struct dispatch *dispatch, struct trip *trip, uint64_t now_us)
{
	const char *why;
	if (trip->store)
		trip->begun = cache_begin(dispatch->worker->gateway->cache, trip->flight.key);
	enum outcome outcome = batcher_add(trip->provider->batcher, &trip->item, now_us, &why);
	if (outcome != OUTCOME_OK) {
		const struct batch_facts none = { 0 };
		const char *name = dispatch->worker->gateway->config->upstreams[trip->tool->upstream].settings.name;
		struct answer *answer =
			answer_upstream_error(outcome, 0, 1, (struct slice){ NULL, 0 }, "%s: %s", name, why);
		land(dispatch, trip, answer, &none);
		return;
	}
	trip->provider->news = true;
}

/* ---------------------------------------------------------------- the tier behind memory */

/* What this caller may have of an entry from there, if anything. True: it has its answer. */
static bool serve(struct call *call, struct entry *entry, enum cache_tier tier, uint64_t now_us)
{
	struct cache_found found = cache_judge(entry, &call->wish, now_us);
	call->lack = found.lack;
	if (!found.entry)
		return false;
	call->tier = tier;
	if (found.verdict == CACHE_VERDICT_HIT || found.verdict == CACHE_VERDICT_STALE) {
		call->source = found.verdict == CACHE_VERDICT_HIT ? SOURCE_HIT : SOURCE_STALE;
		call->entry = found.entry;
		call->refresh = found.refresh;
		return true;
	}
	entry_unref(call->fallback); /* ours was stored later, or memory's was gone */
	call->fallback = found.entry;
	return false;
}

/* Everybody who waits and can be answered now: from `entry` (NULL: there is none), or because they want no fetch. */
static void serve_waiters(struct dispatch *dispatch, struct trip *trip, struct entry *entry, uint64_t now_us)
{
	struct waiter *waiter = TAILQ_FIRST(&trip->flight.waiters), *next;
	for (; waiter; waiter = next) {
		struct call *call = container_of(waiter, struct call, waiter);
		struct answer *answer = NULL;
		next = TAILQ_NEXT(waiter, next);
		call->look_us = trip->looked_us ? now_us - trip->looked_us : 0;
		if (entry && serve(call, entry, dispatch->worker->tier->kind->label, now_us))
			answer = answer_ref(entry->answer);
		else if (call->wish.only_if_cached)
			answer = call_not_cached();
		if (answer) {
			flight_leave(waiter);
			send_home(dispatch, call, answer);
		} else if (call->deadline_us >= trip->item.deadline_us) {
			loop_disarm(dispatch->worker->loop, &call->timer);
		}
	}
}

/* After the look-up, or without one: who is not served is fetched for. */
static void go_on(struct dispatch *dispatch, struct trip *trip, struct entry *entry)
{
	uint64_t now_us = loop_now(dispatch->worker->loop);
	serve_waiters(dispatch, trip, entry, now_us);
	if (take_tool(trip)) {
		depart(dispatch, trip, now_us);
		return;
	}
	flights_remove(dispatch->flights, &trip->flight);
	trip_free(dispatch, trip);
}

/* Whether a purge covers what came from there: one that overtook it, or one that its writer had not heard of. */
static bool is_purged(struct dispatch *dispatch, const struct trip *trip, const struct entry *entry, uint64_t now_us)
{
	struct worker *worker = dispatch->worker;
	const struct purge_tags tags = worker_tags(worker);
	if (cache_begin(worker->gateway->cache, trip->flight.key).mark != trip->begun.mark)
		return true;
	if (!cache_is_purged(worker->gateway->cache, entry, &tags))
		return false;
	tier_remove(worker->tier, trip->flight.key->digest, now_us); /* if not, the next one will */
	return true;
}

static void looked_up(struct tier_lookup *lookup, struct entry *entry)
{
	struct trip *trip = container_of(lookup, struct trip, lookup);
	struct dispatch *dispatch = trip->provider->dispatch;
	struct cache *cache = dispatch->worker->gateway->cache;
	TAILQ_REMOVE(&dispatch->looking, trip, next);
	if (entry && is_purged(dispatch, trip, entry, loop_now(dispatch->worker->loop))) {
		entry_unref(entry);
		entry = NULL;
	}
	if (entry)
		cache_admit(cache, entry, trip->mark);
	go_on(dispatch, trip, entry);
	entry_unref(entry);
}

/* True: looked_up will be called. */
static bool look_outside(struct dispatch *dispatch, struct trip *trip, uint64_t now_us)
{
	struct tier *tier = dispatch->worker->tier;
	if (!tier || !trip->store)
		return false;
	trip->lookup.done = looked_up;
	trip->mark = cache_mark(dispatch->worker->gateway->cache, trip->flight.key);
	trip->begun = cache_begin(dispatch->worker->gateway->cache, trip->flight.key);
	if (!tier_get(tier, &trip->lookup, trip->flight.key, now_us))
		return false;
	trip->looked_us = now_us;
	TAILQ_INSERT_TAIL(&dispatch->looking, trip, next);
	return true;
}

static void lead(struct dispatch *dispatch, struct call *call, bool shared)
{
	uint64_t now_us = loop_now(dispatch->worker->loop);
	struct trip *trip = trip_new(dispatch);
	if (!trip || !fill_item(trip, call, shared)) {
		if (trip)
			trip_free(dispatch, trip);
		send_home(dispatch, call, answer_error(OUTCOME_OVERLOADED, "The gateway is out of memory."));
		return;
	}
	trip->provider = &dispatch->providers[call->tool->upstream];
	trip->tool = call->tool;
	trip->store = shared && call->tool->cache.ttl_us > 0;
	flights_add(dispatch->flights, &trip->flight, shared ? call->key : NULL);
	bool looking = call->source == SOURCE_MISS && look_outside(dispatch, trip, now_us);
	board(trip, call);
	if (!looking && call->wish.only_if_cached)
		go_on(dispatch, trip, NULL);
	else if (!looking)
		depart(dispatch, trip, now_us);
}

/* Between the home worker's look and the call's arrival here a flight may have landed. */
static bool landed_meanwhile(struct dispatch *dispatch, struct call *call)
{
	const struct cache_wish wish = { 0 };
	struct worker *worker = dispatch->worker;
	if (call->tool->cache.ttl_us == 0 || call->source != SOURCE_MISS)
		return false;
	struct cache_found found = cache_find(worker->gateway->cache, call->key, &wish, loop_now(worker->loop), NULL);
	/* An older entry the caller has seen, and not wanted (max-age=0, say). */
	if (found.verdict != CACHE_VERDICT_HIT || found.entry->stored_us < call->started_us) {
		if (found.refresh)
			cache_refreshed(found.entry);
		entry_unref(found.entry);
		return false;
	}
	call->source = SOURCE_COLLAPSED;
	call->stored = true;
	meter_add(worker->meter, METRIC_ID_COALESCED, call->tool->index, 0, 1);
	send_home(dispatch, call, answer_ref(found.entry->answer));
	entry_unref(found.entry);
	return true;
}

void dispatch_take(struct dispatch *dispatch, struct call *call)
{
	bool shared = call->key && !call->wish.no_store;
	call->at_owner = true;
	if (shared) {
		struct flight *flight = flights_find(dispatch->flights, call->key);
		if (flight) {
			join_or_not(dispatch, container_of(flight, struct trip, flight), call);
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
	send_home(dispatch, call, answer_error(OUTCOME_CANCELLED, "The caller left."));
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
		TAILQ_REMOVE(&dispatch->looking, trip, next);
		tier_cancel(dispatch->worker->tier, &trip->lookup);
		land(dispatch, trip, answer_ref(answer), &none);
	}
	for (size_t i = 0; i < dispatch->provider_count; i++)
		if (dispatch->providers[i].batcher)
			batcher_abort_all(dispatch->providers[i].batcher, answer, now_us);
}
