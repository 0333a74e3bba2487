/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dispatch_tier.c: a trip before it boards a batch: it looks in the tier behind memory; where a fleet shares that tier
 * and has nothing there, it asks for the lease of the fetch, and if another gateway has it, waits for that one's
 * answer, for a bounded time, and then fetches all the same. The lease keeps a provider from being asked the same by
 * every gateway; nothing relies on it.
 */
#include "gateway/call/dispatch_private.h"

/* Between two looks at what the other gateway is at: twice as long each time, a half of it by chance. */
#define POLL_FIRST_US (4 * CLOCK_US_PER_MS)
#define POLL_LAST_US (40 * CLOCK_US_PER_MS)

/* ---------------------------------------------------------------- who waits */

/* What this caller may have of an entry from there, if anything. True: it has its answer. */
static bool serve(struct dispatch *dispatch, struct call *call, struct entry *entry, bool waited, uint64_t now_us)
{
	const struct worker *worker = dispatch->worker;
	const struct cache_ask ask = { &call->tool->cache, &call->wish, &worker->tags, now_us };
	struct cache_found found = cache_judge(entry, &ask);
	call->lack = found.lack;
	if (!found.entry)
		return false;
	call->tier = worker->tier->kind->label;
	if (found.verdict == CACHE_VERDICT_HIT || found.verdict == CACHE_VERDICT_STALE) {
		call->source = found.verdict == CACHE_VERDICT_HIT ? SOURCE_HIT : SOURCE_STALE;
		if (waited && call->source == SOURCE_HIT) { /* it was a miss when it came */
			call->source = SOURCE_COLLAPSED;
			call->lack = LACK_ANSWER;
		}
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
		if (entry && serve(dispatch, call, entry, trip->waited, now_us))
			answer = answer_ref(entry->answer);
		else if (call->wish.only_if_cached)
			answer = call_not_cached();
		if (answer) {
			flight_leave(waiter);
			dispatch_send_home(dispatch, call, answer);
		}
	}
}

/* On a trip in the batcher it is the batcher that minds the deadlines of those who are not in more of a hurry. */
static void hand_over_deadlines(struct dispatch *dispatch, struct trip *trip)
{
	struct waiter *waiter;
	TAILQ_FOREACH (waiter, &trip->flight.waiters, next) {
		struct call *call = container_of(waiter, struct call, waiter);
		call->look_us = trip->looked_us ? loop_now(dispatch->worker->loop) - trip->looked_us : 0;
		if (call->deadline_us >= trip->item.deadline_us)
			loop_disarm(dispatch->worker->loop, &call->timer);
	}
}

/* Nothing is to be had there: fetch for who is left. */
static void go_on(struct dispatch *dispatch, struct trip *trip, uint64_t now_us)
{
	dispatch_stop_looking(dispatch, trip);
	hand_over_deadlines(dispatch, trip);
	if (dispatch_take_tool(trip))
		dispatch_depart(dispatch, trip, now_us);
	else
		dispatch_end_trip(dispatch, trip);
}

void dispatch_go_on(struct dispatch *dispatch, struct trip *trip, uint64_t now_us)
{
	serve_waiters(dispatch, trip, NULL, now_us);
	go_on(dispatch, trip, now_us);
}

/* ---------------------------------------------------------------- what is there */

/* What came goes into memory and to who may have it, if it still counts. Takes `entry`, which may be NULL. */
static void use(struct dispatch *dispatch, struct trip *trip, struct entry *entry, uint64_t now_us)
{
	struct worker *worker = dispatch->worker;
	struct cache *cache = worker->gateway->cache;
	const struct cache_ask ask = { .policy = &trip->tool->cache, .tags = &worker->tags, .now_us = now_us };
	enum verdict_of_validity verdict = entry ? cache_validity(cache, entry, &trip->begun, &ask) : STILL_VALID;
	if (verdict == NOT_VALID_PURGED)
		tier_remove(worker->tier, trip->flight.key->digest, now_us); /* if not, the next one will */
	if (verdict != STILL_VALID) {
		entry_unref(entry);
		entry = NULL;
	}
	if (entry)
		cache_admit(cache, entry, &trip->begun, &worker->tags);
	serve_waiters(dispatch, trip, entry, now_us);
	entry_unref(entry);
}

static void prepare(struct dispatch *dispatch, struct trip *trip,
		    void (*done)(struct tier_lookup *lookup, struct entry *entry))
{
	trip->lookup.done = done;
	trip->begun = cache_begin(dispatch->worker->gateway->cache, trip->flight.key);
}

/* ---------------------------------------------------------------- the lease */

static void count_lease(const struct dispatch *dispatch, enum lease_result result)
{
	meter_add(dispatch->worker->meter, METRIC_ID_REDIS_LEASES, result, 0, 1);
}

/* At most half of the time that is left, so that there is time to fetch. */
static uint64_t patience_us(const struct dispatch *dispatch, const struct trip *trip, uint64_t now_us)
{
	uint64_t claim_us = dispatch->worker->tier->claim_us, deadline_us = trip->item.deadline_us;
	uint64_t half_us = deadline_us > now_us ? (deadline_us - now_us) / 2 : 0;
	return claim_us < half_us ? claim_us : half_us;
}

static void claimed(struct tier_lookup *lookup, struct entry *entry);

/* True: claimed will be called. */
static bool claim(struct dispatch *dispatch, struct trip *trip, uint64_t now_us)
{
	if (!trip->wait_until_us)
		trip->wait_until_us = now_us + patience_us(dispatch, trip, now_us);
	if (now_us >= trip->wait_until_us)
		return false;
	prepare(dispatch, trip, claimed);
	return tier_claim(dispatch->worker->tier, &trip->lookup, trip->flight.key, now_us);
}

static void poll_again(struct loop_timer *timer, uint64_t now_us)
{
	struct trip *trip = container_of(timer, struct trip, poll);
	struct dispatch *dispatch = trip->provider->dispatch;
	if (claim(dispatch, trip, now_us))
		return;
	count_lease(dispatch, LEASE_EXPIRED);
	go_on(dispatch, trip, now_us);
}

static void wait_for_other(struct dispatch *dispatch, struct trip *trip, uint64_t now_us)
{
	uint64_t pause_us = POLL_FIRST_US << (trip->polls < 4 ? trip->polls : 4);
	pause_us = pause_us < POLL_LAST_US ? pause_us : POLL_LAST_US;
	pause_us = pause_us / 2 + (now_us ^ trip->flight.key->hash) % (pause_us / 2);
	uint64_t due_us = now_us + pause_us;
	trip->polls++;
	trip->waited = true;
	trip->poll = LOOP_TIMER_INIT(poll_again);
	loop_arm(dispatch->worker->loop, &trip->poll, due_us < trip->wait_until_us ? due_us : trip->wait_until_us);
}

static void claimed(struct tier_lookup *lookup, struct entry *entry)
{
	struct trip *trip = container_of(lookup, struct trip, lookup);
	struct dispatch *dispatch = trip->provider->dispatch;
	uint64_t now_us = loop_now(dispatch->worker->loop);
	bool found = entry != NULL;
	trip->leased = lookup->claim == CLAIM_OURS;
	use(dispatch, trip, entry, now_us);
	if (trip->leased)
		count_lease(dispatch, LEASE_TAKEN);
	else if (trip->waited && found)
		count_lease(dispatch, LEASE_WAITED);
	if (lookup->claim == CLAIM_HELD && dispatch_take_tool(trip))
		wait_for_other(dispatch, trip, now_us);
	else
		go_on(dispatch, trip, now_us);
}

void dispatch_release(struct dispatch *dispatch, struct trip *trip)
{
	if (trip->leased)
		tier_release(dispatch->worker->tier, trip->flight.key->digest, loop_now(dispatch->worker->loop));
	trip->leased = false;
}

/* ---------------------------------------------------------------- the look-up */

static void looked_up(struct tier_lookup *lookup, struct entry *entry)
{
	struct trip *trip = container_of(lookup, struct trip, lookup);
	struct dispatch *dispatch = trip->provider->dispatch;
	uint64_t now_us = loop_now(dispatch->worker->loop);
	use(dispatch, trip, entry, now_us);
	if (!dispatch_take_tool(trip) || lookup->failed || !claim(dispatch, trip, now_us))
		go_on(dispatch, trip, now_us);
}

bool dispatch_look(struct dispatch *dispatch, struct trip *trip, uint64_t now_us)
{
	if (!dispatch->worker->tier || !trip->store)
		return false;
	prepare(dispatch, trip, looked_up);
	if (!tier_get(dispatch->worker->tier, &trip->lookup, trip->flight.key, now_us))
		return false;
	trip->looked_us = now_us;
	trip->looking = true;
	TAILQ_INSERT_TAIL(&dispatch->looking, trip, next);
	return true;
}

void dispatch_stop_looking(struct dispatch *dispatch, struct trip *trip)
{
	if (!trip->looking)
		return;
	trip->looking = false;
	tier_cancel(dispatch->worker->tier, &trip->lookup);
	loop_disarm(dispatch->worker->loop, &trip->poll);
	TAILQ_REMOVE(&dispatch->looking, trip, next);
}
