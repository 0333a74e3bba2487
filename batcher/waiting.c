/* SPDX-License-Identifier: Apache-2.0 */
/* waiting.c: the lanes: found, made, freed; and which of them may send, or when to look again. */
#include <assert.h>
#include <stdlib.h>

#include "batcher/batcher_private.h"

#define OF_LATE_US (10 * CLOCK_US_PER_S)

static struct lane_group *find_group(const struct batcher *batcher, struct slice key, uint64_t hash)
{
	for (struct table_node *node = table_first(&batcher->groups, hash); node; node = table_again(node)) {
		struct lane_group *group = container_of(node, struct lane_group, node);
		if (slice_equal(lane_group_key(group), key))
			return group;
	}
	return NULL;
}

static struct lane_group *need_group(struct batcher *batcher, struct slice key)
{
	uint64_t hash = table_hash(batcher->seed, key);
	struct lane_group *group = find_group(batcher, key, hash);
	if (group)
		return group;
	group = lane_group_new(key);
	if (group)
		table_insert(&batcher->groups, &group->node, hash);
	return group;
}

static void free_if_empty(struct batcher *batcher, struct lane_group *group)
{
	if (!TAILQ_EMPTY(&group->lanes))
		return;
	table_remove(&batcher->groups, &group->node);
	lane_group_free(group);
}

struct learned_tool *waiting_tool(struct batcher *batcher, unsigned number)
{
	uint64_t hash = table_hash_number(batcher->seed, number);
	for (struct table_node *node = table_first(&batcher->tools, hash); node; node = table_again(node)) {
		struct learned_tool *tool = container_of(node, struct learned_tool, node);
		if (tool->number == number)
			return tool;
	}
	struct learned_tool *tool = calloc(1, sizeof *tool);
	if (!tool)
		return NULL;
	tool->number = number;
	if (waiting_has_others(batcher))
		tool->common = common_find_tool(&batcher->common, number, &tool->costs);
	tool->next = batcher->tool_list;
	batcher->tool_list = tool;
	table_insert(&batcher->tools, &tool->node, hash);
	return tool;
}

static bool is_paused(const struct batcher *batcher, const struct learned_tool *tool)
{
	uint64_t now_us = loop_now(batcher->loop);
	return pauses_tool_until_us(batcher->pauses, tool->number, now_us) > now_us;
}

/* Whether calls of that tool have a lane of their own now. */
static bool travels_alone(const struct batcher *batcher, const struct batch_item *item)
{
	return item->learned && (item->learned->latency.measured_alone > 0 || is_paused(batcher, item->learned));
}

/* Where calls of that tool belong now. */
static bool is_for(const struct lane *lane, const struct batch_item *item, bool alone)
{
	return lane->class == (item->learned ? item->learned->latency.class : 0) && lane->alone == alone &&
	       (!alone || lane->tool == item->tool);
}

static struct lane *new_lane(struct batcher *batcher, struct lane_group *group, const struct batch_item *item,
			     bool alone)
{
	struct lane *lane = lane_new(batcher->seed);
	if (!lane)
		return NULL;
	lane->group = group;
	lane->class = item->learned ? item->learned->latency.class : 0;
	lane->alone = alone;
	lane->tool = item->tool;
	lane->learned = alone ? item->learned : NULL;
	lane->shares = &batcher->policy.shares;
	TAILQ_INSERT_TAIL(&group->lanes, lane, sibling);
	return lane;
}

struct lane *waiting_lane(struct batcher *batcher, const struct batch_item *item)
{
	struct lane_group *group = need_group(batcher, item->lane_key);
	struct lane *lane;
	bool alone = travels_alone(batcher, item);
	if (!group)
		return NULL;
	TAILQ_FOREACH (lane, &group->lanes, sibling) {
		if (is_for(lane, item, alone))
			return lane;
	}
	lane = new_lane(batcher, group, item, alone);
	if (!lane)
		free_if_empty(batcher, group);
	return lane;
}

void waiting_free(struct batcher *batcher, struct lane *lane)
{
	struct lane_group *group = lane->group;
	due_clear(&batcher->looks, &lane->look);
	TAILQ_REMOVE(&group->lanes, lane, sibling);
	lane_free(lane);
	free_if_empty(batcher, group);
}

/* Whether all that wait in the lane, or are to be sent again, are of one caller. */
static bool only_caller(const struct lane *lane, uint64_t *caller)
{
	const struct batch *again = TAILQ_FIRST(&lane->again);
	if (!again)
		return lane_only_caller(lane, caller);
	if (lane->items > 0 || again->count != 1 || again->live != 1 || TAILQ_NEXT(again, next))
		return false;
	*caller = again->items[0]->caller;
	return true;
}

/* The most urgent of what it would send. */
static enum priority_band band_of_lane(const struct lane *lane)
{
	const struct batch *again = TAILQ_FIRST(&lane->again);
	enum priority_band band = bands_most_urgent(&lane->bands);
	for (size_t i = 0; again && i < again->count; i++)
		if (again->items[i] && band_of(again->items[i]->urgency) < band)
			band = band_of(again->items[i]->urgency);
	return band == BAND_COUNT ? BAND_USUAL : band;
}

/* The line it is in. */
static struct run_queue *line_of(struct batcher *batcher, const struct lane *lane)
{
	return &waiting_class(batcher, lane)->ready[lane->band];
}

static void set_ready(struct batcher *batcher, struct lane *lane, uint64_t now_us)
{
	uint64_t caller;
	due_clear(&batcher->looks, &lane->look);
	lane->band = (uint8_t)band_of_lane(lane);
	batcher->run_queue_lanes++;
	run_queue_add(line_of(batcher, lane), lane, only_caller(lane, &caller) ? &caller : NULL, now_us);
	lane->ready_us = now_us;
}

void waiting_pass(struct batcher *batcher, struct lane *lane)
{
	if (!lane->entry)
		return;
	batcher->run_queue_lanes--;
	run_queue_remove(line_of(batcher, lane), lane);
}

static struct band_counts count_ready(const struct batcher *batcher, uint64_t now_us);

/* So many exchanges give each of the callers in it one call. */
static size_t weight_of(const struct batcher *batcher, const struct lane *lane)
{
	size_t shared = window_most(&batcher->policy);
	size_t weight = (lane->entries.count + shared - 1) / shared;
	return weight ? weight : 1;
}

void waiting_take(struct batcher *batcher, struct lane *lane, uint64_t now_us)
{
	run_queue_weigh(lane, weight_of(batcher, lane));
	if (batcher->run_queue_lanes > 1) {
		struct band_counts ready = count_ready(batcher, now_us);
		bands_take(&batcher->owed_bands, &batcher->policy.shares, &ready, (enum priority_band)lane->band);
	}
	batcher->run_queue_lanes--;
	run_queue_serve(line_of(batcher, lane), lane, now_us);
}

/* Calls of others have come into a lane that takes turns as one caller's, or more urgent ones, or those have left. */
static void review_turn(struct batcher *batcher, struct lane *lane)
{
	uint64_t caller, ready_us = lane->ready_us;
	bool same_band = band_of_lane(lane) == (enum priority_band)lane->band;
	bool same_turn = !lane->entry->of_one || (only_caller(lane, &caller) && run_queue_is_of(lane, caller));
	if (same_band && same_turn)
		return;
	waiting_pass(batcher, lane);
	set_ready(batcher, lane, loop_now(batcher->loop));
	lane->ready_us = ready_us;
}

void waiting_mark_dirty(struct batcher *batcher, struct lane *lane)
{
	if (lane->items == 0 && TAILQ_EMPTY(&lane->again)) {
		waiting_pass(batcher, lane);
		lane->completed = false; /* those who had gathered have gone another way */
	}
	if (lane->entry)
		review_turn(batcher, lane);
	else
		due_set(&batcher->looks, &lane->look, 0);
}

/* Nothing is left of it: but those who have just been answered may call again, and what is known of them is kept until
 * they should have. */
static void wait_for_company(struct batcher *batcher, struct lane *lane, uint64_t now_us)
{
	const struct lane_class *class = waiting_class(batcher, lane);
	uint64_t until_us = clock_add(lane->company.back_us, learned_plan(batcher, class, now_us).gather_us);
	lane->came_us = lane->gap_us = 0; /* how calls come is another matter when they come again */
	if (lane->company.items > 1 && class->exchange.exchange_us >= WINDOW_FAST_US && until_us > now_us)
		due_set(&batcher->looks, &lane->look, until_us);
	else
		waiting_free(batcher, lane);
}

void waiting_evaluate(struct batcher *batcher, struct lane *lane, uint64_t now_us)
{
	assert(!lane->entry);
	uint64_t held_until_us = waiting_tool_held_until_us(batcher, lane);
	if (held_until_us > now_us) {
		due_set(&batcher->looks, &lane->look, held_until_us);
		return;
	}
	if (!TAILQ_EMPTY(&lane->again)) {
		set_ready(batcher, lane, now_us);
		return;
	}
	if (lane->items == 0 && lane->in_flight == 0 && lane->resting == 0) {
		wait_for_company(batcher, lane, now_us);
		return;
	}
	struct window_view view = learned_view(batcher, lane, now_us);
	struct batch_policy policy = learned_policy(batcher, waiting_class(batcher, lane));
	struct window_decision decision = window_evaluate(&policy, &view, now_us);
	if (decision.held && !lane->held_us)
		lane->held_us = now_us;
	if (decision.leave)
		set_ready(batcher, lane, now_us);
	else if (decision.again_us == CLOCK_NEVER)
		due_clear(&batcher->looks, &lane->look);
	else
		due_set(&batcher->looks, &lane->look, decision.again_us);
}

/* However it has become empty: nobody else would say that nobody waits any more. */
static void tell_no_line(struct batcher *batcher)
{
	if (!batcher->line_told || batcher->waiting_items > 0)
		return;
	meter_set(batcher->meter, METRIC_ID_QUEUE_WAIT, batcher->label, 0, 0);
	batcher->line_told = false;
}

void waiting_count(struct batcher *batcher, const struct lane *lane, struct batch_item *item, int by)
{
	size_t bytes = item->call.arguments.len;
	enum priority_band band = band_of(item->urgency);
	batcher->waiting_items += (size_t)by;
	batcher->bands.of[band] += (size_t)by;
	meter_move(batcher->meter, METRIC_ID_BAND_WAITING, batcher->label, band, by);
	batcher->waiting_bytes = by > 0 ? batcher->waiting_bytes + bytes : batcher->waiting_bytes - bytes;
	waiting_class(batcher, lane)->outstanding += (size_t)by;
	if (waiting_has_others(batcher) && by < 0)
		common_leave_queue(&batcher->common, bytes);
	meter_move(batcher->meter, METRIC_ID_BATCH_WAITING, batcher->label, lane->class, by);
	if (by < 0)
		TAILQ_REMOVE(&batcher->lines[band], item, line);
	else
		TAILQ_INSERT_TAIL(&batcher->lines[band], item, line);
	tell_no_line(batcher);
}

bool waiting_is_full_of_items(const struct batcher *batcher)
{
	size_t waiting = waiting_has_others(batcher) ? common_waiting_items(&batcher->common) : batcher->waiting_items;
	return waiting >= batcher->policy.queue_items;
}

bool waiting_is_full_of_bytes(const struct batcher *batcher, size_t bytes)
{
	size_t waiting = waiting_has_others(batcher) ? common_waiting_bytes(&batcher->common) : batcher->waiting_bytes;
	return bytes > batcher->policy.queue_bytes || waiting > batcher->policy.queue_bytes - bytes;
}

bool waiting_reserve(struct batcher *batcher, size_t bytes)
{
	return !waiting_has_others(batcher) ||
	       common_enter_queue(&batcher->common, bytes, batcher->policy.queue_items, batcher->policy.queue_bytes);
}

void waiting_unreserve(struct batcher *batcher, size_t bytes)
{
	if (waiting_has_others(batcher))
		common_leave_queue(&batcher->common, bytes);
}

/* How many exchanges this class and all slower ones may have under way: each faster class that has had calls of late
 * keeps some to itself, since a slot that a slow call has taken comes back late. */
static size_t slots_for(const struct batcher *batcher, size_t class, uint64_t now_us)
{
	size_t slots = limiter_limit(&batcher->limiter) + waiting_overdue(batcher) + waiting_freed(batcher);
	size_t kept = slots / 4 ? slots / 4 : 1, all = slots;
	for (size_t i = 0; i < class && slots > 1; i++) {
		uint64_t used_us = batcher->classes[i].used_us;
		if (used_us && window_elapsed_us(used_us, now_us) < OF_LATE_US)
			slots = slots > kept + 1 ? slots - kept : 1;
	}
	if (waiting_has_others(batcher)) /* what is kept is kept by all of them together; else taking one decides */
		slots = slots < all ? slots / common_members(&batcher->common) : SIZE_MAX;
	return slots ? slots : 1;
}

/* The provider's word, or the pace that it has taught. */
static uint64_t all_held_until_us(const struct batcher *batcher)
{
	uint64_t visit_us = learned_rate_visit_us(&batcher->rates->learned_rate);
	uint64_t until_us = pauses_until_us(batcher->pauses);
	return visit_us > until_us ? visit_us : until_us;
}

uint64_t waiting_tool_held_until_us(const struct batcher *batcher, const struct lane *lane)
{
	const struct learned_tool *tool = lane->learned;
	return tool ? pauses_tool_until_us(batcher->pauses, tool->number, loop_now(batcher->loop)) : 0;
}

uint64_t waiting_held_until_us(const struct batcher *batcher, const struct lane *lane)
{
	uint64_t all_us = all_held_until_us(batcher), tool_us = waiting_tool_held_until_us(batcher, lane);
	return tool_us > all_us ? tool_us : all_us;
}

uint64_t waiting_rate_us(const struct batcher *batcher)
{
	return allowed_free_us(batcher->allowed);
}

uint64_t waiting_earliest_us(const struct batcher *batcher, const struct lane *lane)
{
	uint64_t held_us = waiting_held_until_us(batcher, lane);
	size_t all = waiting_has_others(batcher) ? common_waiting_items(&batcher->common) : batcher->waiting_items;
	uint64_t rate_us = allowed_free_after_us(batcher->allowed, all / batcher->policy.max_items);
	size_t ahead = batcher->waiting_items / batcher->policy.max_items;
	if (held_us)
		held_us = clock_add(held_us, (uint64_t)((double)ahead * batcher->rates->learned_rate.step_us));
	return held_us > rate_us ? held_us : rate_us;
}

/* Whether calls of this lane travel alone, and not only to see what they take so. */
static bool travel_alone(const struct batcher *batcher, const struct lane *lane, uint64_t now_us)
{
	const struct lane_class *class = &batcher->classes[lane->class];
	bool off = learned_singles(batcher, class, now_us) && !arrays_explore(&class->arrays, now_us);
	return off || window_single(&batcher->policy);
}

/* What a call of this lane costs, as far as it is known: by its tool if calls travel alone, else by its class. */
static const struct costs *costs_of_call(const struct batcher *batcher, const struct lane *lane,
					 const struct batch_item *item, uint64_t now_us)
{
	bool single = travel_alone(batcher, lane, now_us);
	bool own = single && item->learned && costs_known(&item->learned->costs);
	return own ? &item->learned->costs : &batcher->classes[lane->class].costs;
}

/* Lanes take turns, and callers in them; and no more can leave before it than its band's share lets. */
static size_t count_ahead(const struct batcher *batcher, const struct lane *lane, const struct batch_item *item)
{
	enum priority_band band = band_of(item->urgency);
	size_t ahead = lane_ahead(lane, item), others = 0, of_others = (ahead + 1) * (batcher->groups.count - 1);
	for (int i = 0; i <= (int)band; i++)
		others += batcher->bands.of[i] - lane->bands.of[i];
	ahead += others < of_others ? others : of_others;
	size_t by_share = bands_ahead(&batcher->policy.shares, &batcher->bands, band);
	return ahead < by_share ? ahead : by_share;
}

/* How long the oldest exchange of that class has been under way. */
static uint64_t oldest_age_us(const struct batcher *batcher, unsigned class, uint64_t now_us)
{
	const struct batch *batch;
	TAILQ_FOREACH (batch, &batcher->sent, next)
		if (batch->lane->class == class)
			return window_elapsed_us(batch->sent_us, now_us);
	return 0;
}

/* Its slots are those of all members, who take turns, and so do their lines. */
static void view_others(const struct batcher *batcher, struct admission_view *view)
{
	size_t all = common_waiting_items(&batcher->common), members = common_members(&batcher->common);
	size_t others = all > batcher->waiting_items ? all - batcher->waiting_items : 0;
	size_t between = (view->ahead + 1) * (members - 1);
	view->ahead += others < between ? others : between;
	view->waiting += others;
}

static void tell_line(struct batcher *batcher, uint64_t wait_us)
{
	if (batcher->silent)
		return;
	meter_set(batcher->meter, METRIC_ID_QUEUE_WAIT, batcher->label, 0, (int64_t)wait_us);
	batcher->line_told = true;
}

struct admission_decision waiting_admits(struct batcher *batcher, const struct lane *lane,
					 const struct batch_item *item, uint64_t earliest_us, uint64_t now_us)
{
	uint64_t held_us = window_elapsed_us(now_us, earliest_us);
	const struct lane_class *class = &batcher->classes[lane->class];
	const struct costs *costs = costs_of_call(batcher, lane, item, now_us);
	if (batcher->waiting_items == 0) {
		admission_empty(&batcher->admission, now_us);
		if (held_us > 0)
			tell_line(batcher, held_us);
		return (struct admission_decision){ .admitted = true };
	}
	bool single = travel_alone(batcher, lane, now_us);
	struct admission_view view = {
		.ahead = count_ahead(batcher, lane, item),
		.waiting = batcher->waiting_items,
		.batch = single ? 1 : learned_policy(batcher, class).max_items,
		.slots = limiter_reachable(&batcher->limiter),
		.round_trip_us = class->exchange.exchange_us,
		.deadline_us = item->urgent_us < item->deadline_us ? item->urgent_us : item->deadline_us,
	};
	if (costs_known(costs)) {
		view.fixed_us = costs->fixed_us;
		view.item_us = costs->item_us;
	} else if (costs->samples == 0) {
		view.fixed_us = (double)oldest_age_us(batcher, lane->class, now_us);
		view.slots = limiter_limit(&batcher->limiter);
		view.doubles = view.slots < limiter_reachable(&batcher->limiter);
	}
	if (waiting_has_others(batcher))
		view_others(batcher, &view);
	struct admission_decision decision = admission_evaluate(&batcher->admission, &view, now_us);
	tell_line(batcher, held_us > decision.wait_us ? held_us : decision.wait_us);
	return decision;
}

bool waiting_is_late(const struct batcher *batcher, const struct lane *lane, const struct batch_item *item,
		     uint64_t now_us)
{
	const struct costs *costs = costs_of_call(batcher, lane, item, now_us);
	if (batcher->in_flight == 0 || !costs_known(costs))
		return false;
	uint64_t least_us = (uint64_t)costs_expected_us(costs, 1),
		 late_us = batcher->classes[lane->class].exchange.exchange_us;
	return clock_add(now_us, least_us > late_us ? least_us : late_us) > item->deadline_us;
}

/* Whose turn has come for longest in that band, of those whose class may have one more exchange under way. */
static struct lane *first_in_band(const struct batcher *batcher, size_t band, uint64_t now_us)
{
	struct lane *first = NULL;
	uint64_t longest_us = CLOCK_NEVER;
	size_t in_flight = 0;
	for (size_t i = LATENCY_CLASS_COUNT; i-- > 0;) {
		struct lane *lane = run_queue_first(&batcher->classes[i].ready[band]);
		uint64_t since_us = lane ? run_queue_since_us(&batcher->classes[i].ready[band]) : CLOCK_NEVER;
		in_flight += batcher->classes[i].in_flight;
		if (lane && in_flight < slots_for(batcher, i, now_us) && since_us <= longest_us) {
			first = lane;
			longest_us = since_us;
		}
	}
	return first;
}

/* Bands with a lane that may send. */
static struct band_counts count_ready(const struct batcher *batcher, uint64_t now_us)
{
	struct band_counts ready;
	for (size_t band = 0; band < BAND_COUNT; band++)
		ready.of[band] = first_in_band(batcher, band, now_us) != NULL;
	return ready;
}

static struct lane *first_ready(const struct batcher *batcher, uint64_t now_us)
{
	if (batcher->run_queue_lanes == 0)
		return NULL;
	if (bands_anybody_owed(&batcher->owed_bands)) {
		struct band_counts ready = count_ready(batcher, now_us);
		enum priority_band band = bands_owed(&batcher->owed_bands, &ready);
		if (band != BAND_COUNT)
			return first_in_band(batcher, band, now_us);
	}
	struct lane *lane = NULL;
	for (size_t band = 0; band < BAND_COUNT && !lane; band++)
		lane = first_in_band(batcher, band, now_us);
	return lane;
}

/* Lanes keep their place in the line while all are held: who lost it each time would never be the first. */
static uint64_t slot_free_us(const struct batcher *batcher, uint64_t now_us)
{
	uint64_t held_us = all_held_until_us(batcher);
	if (waiting_has_others(batcher)) /* whether there is one is found out by taking it */
		return held_us;
	uint64_t rate_us = waiting_rate_us(batcher),
		 limit_us = limiter_free_us(&batcher->limiter, waiting_under_way(batcher), batcher->overdue, now_us);
	rate_us = rate_us > held_us ? rate_us : held_us;
	return rate_us > limit_us ? rate_us : limit_us;
}

bool waiting_learns_with_others(const struct batcher *batcher)
{
	return waiting_has_others(batcher) && !batcher->limiter.fixed;
}

bool waiting_held_back(const struct batcher *batcher)
{
	if (batcher->common.waits && waiting_rate_us(batcher) <= loop_now(batcher->loop))
		return true; /* not for a rate */
	return batcher->run_queue_lanes > 0 && waiting_is_full(batcher) &&
	       all_held_until_us(batcher) <= loop_now(batcher->loop);
}

struct lane *waiting_next(const struct batcher *batcher, uint64_t now_us)
{
	return slot_free_us(batcher, now_us) > now_us ? NULL : first_ready(batcher, now_us);
}

/* When a lane may send, if nothing happens before. */
static uint64_t ready_due_us(const struct batcher *batcher, uint64_t now_us)
{
	if (!first_ready(batcher, now_us))
		return CLOCK_NEVER;
	uint64_t free_us = slot_free_us(batcher, now_us);
	/* Who stands in the line of all workers is told when there is a slot; who does not yet gets into it by trying to
	 * take one, as soon as nothing else holds it. */
	uint64_t common_us = batcher->common.waits ? common_free_us(&batcher->common, now_us) : 0;
	return free_us > common_us ? free_us : common_us;
}

uint64_t waiting_due_us(const struct batcher *batcher, uint64_t now_us)
{
	if (batcher->run_queue_lanes == 0) /* asked three times a turn of each upstream: mostly there is nobody */
		return CLOCK_NEVER;
	uint64_t due_us = ready_due_us(batcher, now_us);
	/* an exchange may hold no slot any more from then on */
	uint64_t look_us = waiting_held_back(batcher) ? batcher->overdue_look_us : CLOCK_NEVER;
	due_us = look_us < due_us ? look_us : due_us;
	return due_us > now_us ? due_us : 0;
}
