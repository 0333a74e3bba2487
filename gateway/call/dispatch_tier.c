/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dispatch_tier.c: a fetch before it boards a batch: it looks in the tier behind memory; where a fleet shares that tier
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
static bool serve_entry(struct dispatch *dispatch, struct call *call, struct entry *entry, bool waited, uint64_t now_us)
{
	const struct worker *worker = dispatch->worker;
	const struct cache_ask ask = { &call->tool->cache, &call->directives, &worker->tags, now_us };
	struct cache_found found = cache_evaluate(entry, &ask);
	call->miss_reason = found.miss_reason;
	if (!found.entry)
		return false;
	call->tier = worker->tier->kind->label;
	if (found.decision == CACHE_DECISION_HIT || found.decision == CACHE_DECISION_STALE) {
		call->source = found.decision == CACHE_DECISION_HIT ? SOURCE_HIT : SOURCE_STALE;
		if (waited && call->source == SOURCE_HIT) { /* it was a miss when it came */
			call->source = SOURCE_COLLAPSED;
			call->miss_reason = MISS_ANSWER;
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
static void serve_waiters(struct dispatch *dispatch, struct fetch *fetch, struct entry *entry, uint64_t now_us)
{
	struct waiter *waiter = TAILQ_FIRST(&fetch->flight.waiters), *next;
	for (; waiter; waiter = next) {
		struct call *call = container_of(waiter, struct call, waiter);
		struct answer *answer = NULL;
		next = TAILQ_NEXT(waiter, next);
		call->look_us = fetch->looked_us ? now_us - fetch->looked_us : 0;
		if (entry && serve_entry(dispatch, call, entry, fetch->waited, now_us))
			answer = answer_ref(entry->answer);
		else if (call->directives.only_if_cached)
			answer = call_not_cached();
		if (answer) {
			flight_leave(waiter);
			dispatch_send_home(dispatch, call, answer);
		}
	}
}

/* On a fetch in the batcher it is the batcher that minds the deadlines of those who are not in more of a hurry. */
static void hand_over_deadlines(struct dispatch *dispatch, struct fetch *fetch)
{
	struct waiter *waiter;
	TAILQ_FOREACH (waiter, &fetch->flight.waiters, next) {
		struct call *call = container_of(waiter, struct call, waiter);
		call->look_us = fetch->looked_us ? loop_now(dispatch->worker->loop) - fetch->looked_us : 0;
		if (call->deadline_us >= fetch->item.deadline_us)
			loop_disarm(dispatch->worker->loop, &call->timer);
	}
}

/* Nothing is to be had there: fetch for who is left. */
static void go_on(struct dispatch *dispatch, struct fetch *fetch, uint64_t now_us)
{
	dispatch_stop_looking(dispatch, fetch);
	hand_over_deadlines(dispatch, fetch);
	if (dispatch_take_tool(fetch))
		dispatch_depart(dispatch, fetch, now_us);
	else
		dispatch_end_fetch(dispatch, fetch);
}

void dispatch_go_on(struct dispatch *dispatch, struct fetch *fetch, uint64_t now_us)
{
	serve_waiters(dispatch, fetch, NULL, now_us);
	go_on(dispatch, fetch, now_us);
}

/* ---------------------------------------------------------------- what is there */

/* What came goes into memory and to who may have it, if it still counts. Takes `entry`, which may be NULL. */
static void use_entry(struct dispatch *dispatch, struct fetch *fetch, struct entry *entry, uint64_t now_us)
{
	struct worker *worker = dispatch->worker;
	struct cache *cache = worker->gateway->cache;
	const struct cache_ask ask = { .policy = &fetch->tool->cache, .tags = &worker->tags, .now_us = now_us };
	enum validity_decision decision = entry ? cache_validity(cache, entry, &fetch->epoch, &ask) : STILL_VALID;
	if (decision == NOT_VALID_PURGED)
		tier_remove(worker->tier, fetch->flight.key->digest, now_us); /* if not, the next one will */
	if (decision != STILL_VALID) {
		entry_unref(entry);
		entry = NULL;
	}
	if (entry)
		cache_admit(cache, entry, &fetch->epoch, &worker->tags);
	serve_waiters(dispatch, fetch, entry, now_us);
	entry_unref(entry);
}

static void prepare_lookup(struct dispatch *dispatch, struct fetch *fetch,
			   void (*done)(struct tier_lookup *lookup, struct entry *entry))
{
	fetch->lookup.done = done;
	fetch->epoch = cache_epoch_now(dispatch->worker->gateway->cache, fetch->flight.key);
}

/* ---------------------------------------------------------------- the lease */

static void count_lease(const struct dispatch *dispatch, enum lease_result result)
{
	meter_add(dispatch->worker->meter, METRIC_ID_REDIS_LEASES, result, 0, 1);
}

/* At most half of the time that is left, so that there is time to fetch. */
static uint64_t patience_us(const struct dispatch *dispatch, const struct fetch *fetch, uint64_t now_us)
{
	uint64_t claim_us = dispatch->worker->tier->claim_us, deadline_us = fetch->item.deadline_us;
	uint64_t half_us = deadline_us > now_us ? (deadline_us - now_us) / 2 : 0;
	return claim_us < half_us ? claim_us : half_us;
}

static void on_claimed(struct tier_lookup *lookup, struct entry *entry);

/* True: claimed will be called. */
static bool claim_fetch(struct dispatch *dispatch, struct fetch *fetch, uint64_t now_us)
{
	if (!fetch->wait_until_us)
		fetch->wait_until_us = now_us + patience_us(dispatch, fetch, now_us);
	if (now_us >= fetch->wait_until_us)
		return false;
	prepare_lookup(dispatch, fetch, on_claimed);
	return tier_claim(dispatch->worker->tier, &fetch->lookup, fetch->flight.key, now_us);
}

static void poll_again(struct loop_timer *timer, uint64_t now_us)
{
	struct fetch *fetch = container_of(timer, struct fetch, poll);
	struct dispatch *dispatch = fetch->provider->dispatch;
	if (claim_fetch(dispatch, fetch, now_us))
		return;
	count_lease(dispatch, LEASE_EXPIRED);
	go_on(dispatch, fetch, now_us);
}

static void wait_for_other(struct dispatch *dispatch, struct fetch *fetch, uint64_t now_us)
{
	uint64_t pause_us = POLL_FIRST_US << (fetch->polls < 4 ? fetch->polls : 4);
	pause_us = pause_us < POLL_LAST_US ? pause_us : POLL_LAST_US;
	pause_us = pause_us / 2 + (now_us ^ fetch->flight.key->hash) % (pause_us / 2);
	uint64_t due_us = now_us + pause_us;
	fetch->polls++;
	fetch->waited = true;
	fetch->poll = LOOP_TIMER_INIT(poll_again);
	loop_arm(dispatch->worker->loop, &fetch->poll, due_us < fetch->wait_until_us ? due_us : fetch->wait_until_us);
}

static void on_claimed(struct tier_lookup *lookup, struct entry *entry)
{
	struct fetch *fetch = container_of(lookup, struct fetch, lookup);
	struct dispatch *dispatch = fetch->provider->dispatch;
	uint64_t now_us = loop_now(dispatch->worker->loop);
	bool found = entry != NULL;
	fetch->leased = lookup->claim == CLAIM_OURS ? dispatch->worker->tier : NULL;
	use_entry(dispatch, fetch, entry, now_us);
	if (fetch->leased)
		count_lease(dispatch, LEASE_TAKEN);
	else if (fetch->waited && found)
		count_lease(dispatch, LEASE_WAITED);
	if (lookup->claim == CLAIM_HELD && dispatch_take_tool(fetch))
		wait_for_other(dispatch, fetch, now_us);
	else
		go_on(dispatch, fetch, now_us);
}

void dispatch_release(struct dispatch *dispatch, struct fetch *fetch)
{
	struct tier *tier = dispatch->worker->tier;
	if (fetch->leased && fetch->leased == tier) /* else it ends by itself */
		tier_release(tier, fetch->flight.key->digest, loop_now(dispatch->worker->loop));
	fetch->leased = NULL;
}

/* ---------------------------------------------------------------- the look-up */

static void looked_up(struct tier_lookup *lookup, struct entry *entry)
{
	struct fetch *fetch = container_of(lookup, struct fetch, lookup);
	struct dispatch *dispatch = fetch->provider->dispatch;
	uint64_t now_us = loop_now(dispatch->worker->loop);
	use_entry(dispatch, fetch, entry, now_us);
	if (!dispatch_take_tool(fetch) || lookup->failed || !claim_fetch(dispatch, fetch, now_us))
		go_on(dispatch, fetch, now_us);
}

bool dispatch_look(struct dispatch *dispatch, struct fetch *fetch, uint64_t now_us)
{
	if (!dispatch->worker->tier || !fetch->store)
		return false;
	prepare_lookup(dispatch, fetch, looked_up);
	if (!tier_get(dispatch->worker->tier, &fetch->lookup, fetch->flight.key, now_us))
		return false;
	fetch->looked_us = now_us;
	fetch->looking = true;
	TAILQ_INSERT_TAIL(&dispatch->looking, fetch, next);
	return true;
}

void dispatch_use_tier(struct dispatch *dispatch, struct tier *tier)
{
	struct worker *worker = dispatch->worker;
	struct fetch *fetch;
	while ((fetch = TAILQ_FIRST(&dispatch->looking)))
		dispatch_go_on(dispatch, fetch, loop_now(worker->loop));
	tier_free(worker->tier);
	worker->tier = tier;
}

void dispatch_stop_looking(struct dispatch *dispatch, struct fetch *fetch)
{
	if (!fetch->looking)
		return;
	fetch->looking = false;
	tier_cancel(dispatch->worker->tier, &fetch->lookup);
	loop_disarm(dispatch->worker->loop, &fetch->poll);
	TAILQ_REMOVE(&dispatch->looking, fetch, next);
}
