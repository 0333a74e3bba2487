/* SPDX-License-Identifier: Apache-2.0 */
/* endpoint.c: the addresses of a provider: chosen by what is known of them, left alone when they fail. */
#include "upstream/http/endpoint.h"

#include "base/random.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEAK_HALVES_US (10 * CLOCK_US_PER_S) /* a peak latency is believed half as much after that */
#define SLOW_START_US (10 * CLOCK_US_PER_S)  /* from a tenth of its weight to all of it */
#define UNREACHABLE_US CLOCK_US_PER_S        /* left alone after the first connection that did not come about */
#define REFUSED_US (100 * CLOCK_US_PER_MS)   /* a connection that fails sooner was refused */
#define UNKNOWN_US (100 * CLOCK_US_PER_MS)   /* taken for the latency of one that is busy and has not answered yet */
#define UNKNOWN_PATIENCE_US CLOCK_US_PER_S
#define LEAST_PATIENCE_US (50 * CLOCK_US_PER_MS)
enum { EXPLORES_ONE_IN = 20, DOUBLINGS_MAX = 20, OVERTAKEN_FOR_ONE = 4 };

const struct endpoint_policy endpoint_default_policy = { .balance = BALANCE_ADAPTIVE,
							 .failures = 5,
							 .base_us = 30 * CLOCK_US_PER_S,
							 .max_us = 300 * CLOCK_US_PER_S,
							 .share = 50 };

/* --- life --- */

struct endpoint_set *endpoint_set_new(const struct endpoint_policy *policy, const unsigned *weights, size_t count,
				      uint64_t seed)
{
	assert(count > 0 && count <= ENDPOINTS_MAX);
	struct endpoint_set *set = calloc(1, sizeof *set + count * sizeof(struct endpoint));
	if (!set)
		return NULL;
	set->policy = policy;
	set->random = seed | 1;
	set->count = count;
	for (size_t i = 0; i < count; i++) {
		set->endpoints[i].index = (unsigned)i;
		set->endpoints[i].key = i + 1;
		set->endpoints[i].weight = weights ? weights[i] : 1;
		TAILQ_INIT(&set->endpoints[i].visits);
	}
	return set;
}

void endpoint_set_free(struct endpoint_set *set)
{
	for (size_t i = 0; set && i < set->count; i++)
		assert(set->endpoints[i].under_way == 0);
	free(set);
}

void endpoint_leave(struct endpoint *endpoint)
{
	endpoint->absent = true;
}

void endpoint_return(struct endpoint *endpoint)
{
	endpoint->absent = false;
}

void endpoint_join(struct endpoint *endpoint, uint64_t key, bool slowly, uint64_t now_us)
{
	assert(endpoint->absent && endpoint->under_way == 0);
	*endpoint = (struct endpoint){
		.index = endpoint->index, .weight = endpoint->weight, .key = key, .back_us = slowly ? now_us : 0
	};
	TAILQ_INIT(&endpoint->visits);
}

void endpoint_inherit(struct endpoint *endpoint, const struct endpoint *from)
{
	struct endpoint was = *endpoint;
	assert(was.under_way == 0);
	*endpoint = *from;
	endpoint->index = was.index;
	endpoint->weight = was.weight;
	endpoint->absent = was.absent;
	endpoint->probing = false;
	endpoint->under_way = 0;
	TAILQ_INIT(&endpoint->visits);
}

void endpoint_set_inherit(struct endpoint_set *set, const struct endpoint_set *from)
{
	set->random = from->random;
	set->slowest_us = from->slowest_us;
	set->slowest_at_us = from->slowest_at_us;
}

size_t endpoint_count(const struct endpoint_set *set)
{
	size_t count = 0;
	for (size_t i = 0; i < set->count; i++)
		count += !set->endpoints[i].absent;
	return count;
}

/* --- states --- */

enum endpoint_state endpoint_state(const struct endpoint *endpoint)
{
	if (endpoint->draining)
		return ENDPOINT_STATE_DRAINING;
	if (endpoint->check_failed)
		return ENDPOINT_STATE_FAILED_CHECK;
	return endpoint->ejected ? ENDPOINT_STATE_EJECTED : ENDPOINT_STATE_UP;
}

static void note_change(struct endpoint_set *set, struct endpoint *endpoint, const char *reason, uint64_t now_us)
{
	endpoint->changed_us = now_us;
	snprintf(endpoint->reason, sizeof endpoint->reason, "%s", reason ? reason : "");
	if (set->changed)
		set->changed(set->context, endpoint);
}

static bool is_well(const struct endpoint *endpoint)
{
	return !endpoint->absent && !endpoint->draining && !endpoint->check_failed && !endpoint->ejected;
}

static size_t count_well(const struct endpoint_set *set)
{
	size_t well = 0;
	for (size_t i = 0; i < set->count; i++)
		well += is_well(&set->endpoints[i]);
	return well;
}

/* So many are ejected for their failures. */
static size_t count_ejected(const struct endpoint_set *set)
{
	size_t ejected = 0;
	for (size_t i = 0; i < set->count; i++) {
		const struct endpoint *endpoint = &set->endpoints[i];
		ejected += !endpoint->absent && endpoint->ejected && !endpoint->unreachable;
	}
	return ejected;
}

static uint64_t double_time(uint64_t first_us, size_t times, uint64_t max_us)
{
	uint64_t us = first_us << (times < DOUBLINGS_MAX ? times : DOUBLINGS_MAX);
	return us < max_us ? us : max_us;
}

/* --- failures --- */

/* Whether failures are enough, and the others can do without it. */
static bool may_eject(const struct endpoint_set *set, const struct endpoint *endpoint)
{
	if (endpoint->ejected)
		return true; /* its probe has failed */
	if (endpoint->failed < set->policy->failures || count_well(set) <= is_well(endpoint))
		return false;
	return (count_ejected(set) + 1) * 100 <= endpoint_count(set) * set->policy->share;
}

static void eject_endpoint(struct endpoint_set *set, struct endpoint *endpoint, bool unreachable, const char *reason,
			   uint64_t now_us)
{
	const struct endpoint_policy *policy = set->policy;
	uint64_t first_us = unreachable && endpoint->failed < policy->failures ? UNREACHABLE_US : policy->base_us;
	bool changed = !endpoint->ejected || endpoint->unreachable != unreachable;
	if (first_us > policy->base_us)
		first_us = policy->base_us;
	endpoint->until_us = clock_add(now_us, double_time(first_us, endpoint->times, policy->max_us));
	endpoint->times += first_us == policy->base_us;
	endpoint->ejected = true;
	endpoint->unreachable = unreachable;
	if (changed)
		note_change(set, endpoint, reason, now_us);
}

/*
 * Nobody gets through to the only one left, or to any: those who call are told so at once, after enough failures,
 * instead of each finding out for itself. It is tried again every second.
 */
static void hold_last(struct endpoint_set *set, struct endpoint *endpoint, const char *reason, uint64_t now_us)
{
	/* one that was ejected for failures is told too: whoever hears of it tries to connect, and no call does */
	bool changed = !endpoint->ejected || !endpoint->unreachable;
	endpoint->until_us = clock_add(now_us, UNREACHABLE_US);
	endpoint->ejected = endpoint->unreachable = true;
	if (changed)
		note_change(set, endpoint, reason, now_us);
}

static void note_unreachable(struct endpoint_set *set, struct endpoint *endpoint, const char *reason, uint64_t now_us)
{
	bool others = count_well(set) > is_well(endpoint);
	if (others)
		eject_endpoint(set, endpoint, true, reason, now_us);
	else if (endpoint->failed >= set->policy->failures || endpoint->ejected)
		hold_last(set, endpoint, reason, now_us);
}

static void come_back(struct endpoint_set *set, struct endpoint *endpoint, const char *reason, uint64_t now_us)
{
	endpoint->ejected = endpoint->unreachable = false;
	endpoint->back_us = now_us;
	endpoint->peak_us = 0; /* what it was like before it failed, or while it did */
	note_change(set, endpoint, reason, now_us);
}

static void note_failed(struct endpoint_set *set, struct endpoint *endpoint, enum endpoint_result result,
			const char *reason, uint64_t now_us)
{
	endpoint->failed++;
	if (result == ENDPOINT_UNREACHABLE)
		note_unreachable(set, endpoint, reason, now_us);
	else if (endpoint->ejected && count_well(set) == 0)
		come_back(set, endpoint, "a connection came about", now_us); /* the last one is never ejected */
	else if (may_eject(set, endpoint))
		eject_endpoint(set, endpoint, false, reason, now_us);
}

static void note_answered(struct endpoint_set *set, struct endpoint *endpoint, const struct endpoint_visit *visit,
			  uint64_t now_us)
{
	endpoint->failed = endpoint->overtaken = 0;
	/* an answer to what was asked before it was ejected does not bring it back, but to be reached does */
	if (endpoint->ejected && (visit->probe || endpoint->unreachable || visit->begun_us > endpoint->changed_us))
		come_back(set, endpoint, "it answered", now_us);
	else if (!endpoint->ejected && now_us > clock_add(endpoint->back_us, set->policy->max_us))
		endpoint->times = 0;
}

/* --- latency --- */

static uint64_t decay_peak(uint64_t peak_us, uint64_t at_us, uint64_t now_us)
{
	uint64_t since_us = now_us > at_us ? now_us - at_us : 0;
	return (uint64_t)((double)peak_us * exp2(-(double)since_us / (double)PEAK_HALVES_US));
}

static uint64_t decayed_peak(const struct endpoint *endpoint, uint64_t now_us)
{
	return decay_peak(endpoint->peak_us, endpoint->peak_at_us, now_us);
}

/* Up at once, down by and by: towards what was measured. */
static void note_latency(struct endpoint *endpoint, uint64_t took_us, uint64_t now_us)
{
	uint64_t peak_us = decayed_peak(endpoint, now_us);
	took_us += took_us == 0;
	endpoint->peak_us = took_us > peak_us ? took_us : peak_us - (peak_us - took_us) / 8;
	endpoint->peak_at_us = now_us;
}

static uint64_t larger_of(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void note_answer_time(struct endpoint_set *set, struct endpoint *endpoint, uint64_t took_us, uint64_t now_us)
{
	endpoint->answer_us = endpoint->answer_us ? (7 * endpoint->answer_us + took_us) / 8 : took_us + 1;
	if (took_us < decay_peak(set->slowest_us, set->slowest_at_us, now_us))
		return;
	set->slowest_us = took_us;
	set->slowest_at_us = now_us;
}

/* How long an answer is waited for before its lack is the endpoint's fault and not the call's hurry. Tools of one
 * provider differ: what the fast ones take says little of a slow one. */
static uint64_t patience_us(const struct endpoint_set *set, const struct endpoint *endpoint, uint64_t now_us)
{
	uint64_t answer_us = endpoint->answer_us;
	for (size_t i = 0; i < set->count && endpoint->answer_us == 0; i++)
		if (set->endpoints[i].answer_us && (answer_us == 0 || set->endpoints[i].answer_us < answer_us))
			answer_us = set->endpoints[i].answer_us;
	if (answer_us == 0)
		return UNKNOWN_PATIENCE_US;
	uint64_t slowest_us = decay_peak(set->slowest_us, set->slowest_at_us, now_us);
	return larger_of(larger_of(4 * answer_us, 2 * slowest_us), LEAST_PATIENCE_US);
}

bool endpoint_had_time(const struct endpoint_set *set, const struct endpoint_visit *visit, uint64_t now_us)
{
	return now_us - visit->begun_us >= patience_us(set, visit->endpoint, now_us);
}

/* What the next request would take there: the peak, or what the oldest one there has taken already. */
static uint64_t expected_us(const struct endpoint *endpoint, uint64_t now_us)
{
	const struct endpoint_visit *oldest = TAILQ_FIRST(&endpoint->visits);
	uint64_t waited_us = oldest && now_us > oldest->begun_us ? now_us - oldest->begun_us : 0;
	uint64_t peak_us = decayed_peak(endpoint, now_us);
	if (endpoint->peak_us == 0 && oldest)
		peak_us = UNKNOWN_US;
	return waited_us > peak_us ? waited_us : peak_us;
}

static double weight_of(const struct endpoint *endpoint, uint64_t now_us)
{
	uint64_t since_us = now_us - endpoint->back_us;
	if (endpoint->back_us == 0 || since_us >= SLOW_START_US)
		return endpoint->weight;
	return endpoint->weight * (0.1 + 0.9 * (double)since_us / (double)SLOW_START_US);
}

static double load_of(const struct endpoint *endpoint, uint64_t now_us)
{
	return (double)(endpoint->under_way + 1) / weight_of(endpoint, now_us);
}

static double cost_of(const struct endpoint *endpoint, uint64_t now_us)
{
	return (double)(expected_us(endpoint, now_us) + 1) * load_of(endpoint, now_us);
}

/* --- choosing --- */

struct candidates {
	size_t count;
	struct endpoint *all[ENDPOINTS_MAX];
};

static struct endpoint *find_cheapest(const struct candidates *candidates, uint64_t now_us,
				      double (*cost)(const struct endpoint *endpoint, uint64_t now_us))
{
	struct endpoint *best = candidates->all[0];
	for (size_t i = 1; i < candidates->count; i++)
		if (cost(candidates->all[i], now_us) < cost(best, now_us))
			best = candidates->all[i];
	return best;
}

static struct endpoint *draw_one(struct endpoint_set *set, const struct candidates *candidates)
{
	return candidates->all[random_next(&set->random) % candidates->count];
}

static struct endpoint *choose_of_two(struct endpoint_set *set, const struct candidates *candidates, uint64_t now_us)
{
	size_t first = random_next(&set->random) % candidates->count;
	size_t second = (first + 1 + random_next(&set->random) % (candidates->count - 1)) % candidates->count;
	struct endpoint *a = candidates->all[first], *b = candidates->all[second];
	return cost_of(b, now_us) < cost_of(a, now_us) ? b : a;
}

static double latency_of(const struct endpoint *endpoint, uint64_t now_us)
{
	/* several at once are tried before any is known; then the load tells them apart */
	return (double)expected_us(endpoint, now_us) + 1e-3 * load_of(endpoint, now_us);
}

static struct endpoint *choose_fastest(struct endpoint_set *set, const struct candidates *candidates, uint64_t now_us)
{
	if (random_next(&set->random) % EXPLORES_ONE_IN == 0)
		return draw_one(set, candidates);
	return find_cheapest(candidates, now_us, latency_of);
}

/* Smooth weighted round-robin, as in nginx: each gains its weight, the richest goes and pays for all. */
static struct endpoint *choose_in_turn(const struct candidates *candidates, uint64_t now_us)
{
	struct endpoint *best = candidates->all[0]; /* there is always one */
	int64_t total = 0;
	for (size_t i = 0; i < candidates->count; i++) {
		int64_t weight = (int64_t)(weight_of(candidates->all[i], now_us) * 1000);
		candidates->all[i]->turn += weight;
		total += weight;
		if (candidates->all[i]->turn > best->turn)
			best = candidates->all[i];
	}
	best->turn -= total;
	return best;
}

static double busy_of(const struct endpoint *endpoint, uint64_t now_us)
{
	return (double)endpoint->under_way / weight_of(endpoint, now_us);
}

/* Among equals in turn: else the first of the list had all that comes one by one. */
static struct endpoint *choose_least_loaded(const struct candidates *candidates, uint64_t now_us)
{
	struct candidates equal UNCLEARED;
	equal.count = 0;
	double least = busy_of(find_cheapest(candidates, now_us, busy_of), now_us);
	for (size_t i = 0; i < candidates->count; i++)
		if (busy_of(candidates->all[i], now_us) <= least)
			equal.all[equal.count++] = candidates->all[i];
	return choose_in_turn(&equal, now_us);
}

static uint64_t mix_bits(uint64_t bits)
{
	bits ^= bits >> 33; /* murmur3's finaliser */
	bits *= UINT64_C(0xff51afd7ed558ccd);
	bits ^= bits >> 33;
	bits *= UINT64_C(0xc4ceb9fe1a85ec53);
	return bits ^ bits >> 33;
}

/* Rendezvous: each endpoint draws a number from the key, weighted; the highest has it. When one leaves, only its own
 * keys move. Slow start does not count: keys would move twice. */
static struct endpoint *choose_by_key(const struct candidates *candidates, uint64_t key)
{
	struct endpoint *best = NULL;
	double highest = 0;
	for (size_t i = 0; i < candidates->count; i++) {
		struct endpoint *endpoint = candidates->all[i];
		uint64_t drawn = mix_bits(key ^ mix_bits(endpoint->key));
		double unit = ((double)(drawn >> 11) + 0.5) / (double)(UINT64_C(1) << 53);
		double score = -(double)endpoint->weight / log(unit);
		if (!best || score > highest) {
			best = endpoint;
			highest = score;
		}
	}
	return best;
}

static struct endpoint *choose_endpoint(struct endpoint_set *set, const struct candidates *candidates, uint64_t key,
					uint64_t now_us)
{
	if (candidates->count == 1)
		return candidates->all[0];
	switch ((enum endpoint_balance)set->policy->balance) {
	case BALANCE_FASTEST:
		return choose_fastest(set, candidates, now_us);
	case BALANCE_LEAST_LOADED:
		return choose_least_loaded(candidates, now_us);
	case BALANCE_ROUND_ROBIN:
		return choose_in_turn(candidates, now_us);
	case BALANCE_AFFINITY:
		return choose_by_key(candidates, key);
	case BALANCE_ADAPTIVE:
		break;
	}
	return choose_of_two(set, candidates, now_us);
}

/* --- who may be chosen --- */

/* Whether it may be probed now by such a request. One that did not answer is probed by a write only if nothing else
 * comes along for a while. */
static bool is_due(const struct endpoint_set *set, const struct endpoint *endpoint, bool repeatable, uint64_t now_us)
{
	if (endpoint->absent || !endpoint->ejected || endpoint->draining || endpoint->check_failed || endpoint->probing)
		return false;
	if (endpoint->unreachable && set->connects)
		return false;
	bool any = repeatable || endpoint->unreachable;
	return now_us >= (any ? endpoint->until_us : clock_add(endpoint->until_us, set->policy->base_us));
}

static bool is_tried(const struct endpoint_pick *pick, const struct endpoint *endpoint)
{
	return pick->tried >> endpoint->index & 1;
}

/* Whether it was out of reach a few times only, as during a restart. */
static bool may_be_back(const struct endpoint_set *set, const struct endpoint *endpoint)
{
	return !endpoint->absent && endpoint->unreachable && !endpoint->draining && !endpoint->check_failed &&
	       endpoint->failed < set->policy->failures;
}

/* panic: ejections and checks count no more, but who cannot be reached is no help. */
static void gather_candidates(const struct endpoint_set *set, const struct endpoint_pick *pick, bool panic,
			      bool tried_too, struct candidates *candidates)
{
	candidates->count = 0;
	for (size_t i = 0; i < set->count; i++) {
		struct endpoint *endpoint = (struct endpoint *)(uintptr_t)&set->endpoints[i];
		bool usable =
			panic ? !endpoint->absent && !endpoint->draining && !endpoint->unreachable : is_well(endpoint);
		if (usable && (tried_too || !is_tried(pick, endpoint)))
			candidates->all[candidates->count++] = endpoint;
	}
}

static bool is_panic(const struct endpoint_set *set)
{
	size_t eligible = 0;
	for (size_t i = 0; i < set->count; i++)
		eligible += !set->endpoints[i].absent && !set->endpoints[i].draining;
	return count_well(set) * 2 < eligible;
}

/* None is well: those that may be back. */
static void gather_hopeful(const struct endpoint_set *set, const struct endpoint_pick *pick,
			   struct candidates *candidates)
{
	for (size_t i = 0; i < set->count; i++)
		if (may_be_back(set, &set->endpoints[i]) && !is_tried(pick, &set->endpoints[i]))
			candidates->all[candidates->count++] = (struct endpoint *)(uintptr_t)&set->endpoints[i];
}

static struct endpoint *find_due(struct endpoint_set *set, const struct endpoint_pick *pick, uint64_t now_us)
{
	for (size_t i = 0; i < set->count; i++)
		if (is_due(set, &set->endpoints[i], pick->repeatable, now_us) && !is_tried(pick, &set->endpoints[i]))
			return &set->endpoints[i];
	return NULL;
}

struct endpoint *endpoint_pick(struct endpoint_set *set, const struct endpoint_pick *pick, uint64_t now_us)
{
	struct candidates candidates UNCLEARED;
	struct endpoint *due = find_due(set, pick, now_us);
	if (due)
		return due;
	bool panic = is_panic(set);
	gather_candidates(set, pick, panic, false, &candidates);
	if (candidates.count == 0)
		gather_hopeful(set, pick, &candidates);
	if (candidates.count == 0)
		gather_candidates(set, pick, panic, true, &candidates);
	return candidates.count ? choose_endpoint(set, &candidates, pick->affinity, now_us) : NULL;
}

bool endpoint_another(const struct endpoint_set *set, const struct endpoint_pick *pick, uint64_t now_us)
{
	struct candidates candidates;
	for (size_t i = 0; i < set->count; i++)
		if (is_due(set, &set->endpoints[i], pick->repeatable, now_us) && !is_tried(pick, &set->endpoints[i]))
			return true;
	gather_candidates(set, pick, is_panic(set), false, &candidates);
	if (candidates.count == 0)
		gather_hopeful(set, pick, &candidates);
	return candidates.count > 0;
}

uint64_t endpoint_usable_us(const struct endpoint_set *set, uint64_t now_us)
{
	uint64_t first_us = CLOCK_NEVER;
	for (size_t i = 0; i < set->count; i++) {
		const struct endpoint *endpoint = &set->endpoints[i];
		if (endpoint->absent)
			continue;
		uint64_t at_us = is_well(endpoint) ? now_us : endpoint->draining ? CLOCK_NEVER : endpoint->until_us;
		/* a probe is under way: its word is to be awaited */
		if (!is_well(endpoint) && at_us <= now_us)
			at_us = clock_add(now_us, UNREACHABLE_US);
		first_us = at_us < first_us ? at_us : first_us;
	}
	return first_us;
}

/* --- visits --- */

/* Others were faster so many times in a row that it is no chance. */
static bool is_overtaken_for_good(const struct endpoint_set *set, struct endpoint *endpoint)
{
	if (++endpoint->overtaken < OVERTAKEN_FOR_ONE * set->policy->failures)
		return false;
	endpoint->failed = set->policy->failures - 1;
	return true;
}

/* Whether the failure is news of the endpoint. Refusals of what was under way at once are one event, and so is all that
 * was under way as it was ejected. */
static bool is_new_event(struct endpoint *endpoint, const struct endpoint_visit *visit, enum endpoint_result result,
			 uint64_t now_us)
{
	bool refused = result == ENDPOINT_UNREACHABLE && now_us - visit->begun_us < REFUSED_US;
	if (refused && endpoint->failed && visit->begun_us < endpoint->refused_us)
		return false;
	endpoint->refused_us = refused ? now_us : endpoint->refused_us;
	if (!endpoint->ejected || visit->probe)
		return true;
	endpoint->failed += endpoint->unreachable && visit->begun_us > endpoint->changed_us;
	return false;
}

void endpoint_begin(struct endpoint_set *set, struct endpoint_visit *visit, struct endpoint *endpoint, uint64_t now_us)
{
	assert(!visit->endpoint);
	*visit = (struct endpoint_visit){ .endpoint = endpoint, .begun_us = now_us };
	/* one of those that panic sends there before its time is none */
	visit->probe = is_due(set, endpoint, true, now_us);
	endpoint->probing |= visit->probe;
	endpoint->under_way++;
	TAILQ_INSERT_TAIL(&endpoint->visits, visit, next);
}

void endpoint_end(struct endpoint_set *set, struct endpoint_visit *visit, enum endpoint_result result,
		  const char *reason, uint64_t now_us)
{
	struct endpoint *endpoint = visit->endpoint;
	if (!endpoint)
		return;
	uint64_t took_us = now_us - visit->begun_us;
	TAILQ_REMOVE(&endpoint->visits, visit, next);
	endpoint->under_way--;
	endpoint->probing &= !visit->probe;
	visit->endpoint = NULL;
	if (endpoint->absent || (result == ENDPOINT_TIMED_OUT && took_us < patience_us(set, endpoint, now_us)))
		result = ENDPOINT_NOTHING; /* as endpoint_had_time */
	if (result == ENDPOINT_OVERTAKEN)
		result = is_overtaken_for_good(set, endpoint) ? ENDPOINT_TIMED_OUT : ENDPOINT_NOTHING;
	if (result == ENDPOINT_ANSWERED)
		note_answered(set, endpoint, visit, now_us);
	else if (result != ENDPOINT_NOTHING && is_new_event(endpoint, visit, result, now_us))
		note_failed(set, endpoint, result, reason, now_us);
	if (result == ENDPOINT_ANSWERED)
		note_answer_time(set, endpoint, took_us, now_us);
	/* what nobody waited for to its end took that long at least */
	if (result == ENDPOINT_ANSWERED || took_us > decayed_peak(endpoint, now_us))
		note_latency(endpoint, took_us, now_us);
}

/* --- what is said from outside --- */

void endpoint_checked(struct endpoint_set *set, struct endpoint *endpoint, bool well, const char *reason,
		      uint64_t now_us)
{
	if (endpoint->absent)
		return;
	if (well && endpoint->ejected && endpoint->unreachable) {
		endpoint->check_failed = false;
		endpoint->failed = 0;
		come_back(set, endpoint, reason, now_us);
		return;
	}
	if (endpoint->check_failed == !well)
		return;
	endpoint->check_failed = !well;
	if (well)
		endpoint->back_us = now_us;
	if (well && endpoint->ejected) /* the state that shows now has another reason than a good check */
		reason = "its checks are good again, but calls had failed there";
	note_change(set, endpoint, reason, now_us);
}

void endpoint_drain(struct endpoint_set *set, struct endpoint *endpoint, bool draining, uint64_t now_us)
{
	if (endpoint->absent || endpoint->draining == draining)
		return;
	endpoint->draining = draining;
	if (!draining)
		endpoint->back_us = now_us;
	note_change(set, endpoint, draining ? "an operator drains it" : "an operator ended the drain", now_us);
}
