/* SPDX-License-Identifier: Apache-2.0 */
/* lane.c: the waiting line. */
#include "batcher/lane.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { GAP_SMOOTHING = 16 };

struct lane_group *lane_group_new(struct slice key)
{
	if (key.len > SIZE_MAX - sizeof(struct lane_group))
		return NULL;
	struct lane_group *group = calloc(1, sizeof *group + key.len);
	if (!group)
		return NULL;
	TAILQ_INIT(&group->lanes);
	group->key_len = key.len;
	if (key.len)
		memcpy(group->key, key.at, key.len);
	return group;
}

void lane_group_free(struct lane_group *group)
{
	assert(TAILQ_EMPTY(&group->lanes));
	free(group);
}

struct lane *lane_new(uint64_t seed)
{
	struct lane *lane = calloc(1, sizeof *lane);
	if (!lane)
		return NULL;
	TAILQ_INIT(&lane->arrivals);
	TAILQ_INIT(&lane->again);
	for (size_t i = 0; i < LANE_LEVELS; i++)
		TAILQ_INIT(&lane->levels[i]);
	table_init(&lane->entries);
	lane->seed = seed;
	return lane;
}

void lane_free(struct lane *lane)
{
	if (!lane)
		return;
	assert(lane->items == 0);
	table_fini(&lane->entries);
	free(lane);
}

static uint64_t hash_entry(const struct lane *lane, uint64_t caller, uint8_t level)
{
	return table_hash_number(lane->seed, caller) + level;
}

static struct lane_entry *find_entry(const struct lane *lane, uint64_t caller, uint8_t level)
{
	struct table_node *node = table_first(&lane->entries, hash_entry(lane, caller, level));
	for (; node; node = table_again(node)) {
		struct lane_entry *entry = container_of(node, struct lane_entry, node);
		if (entry->caller == caller && entry->level == level)
			return entry;
	}
	return NULL;
}

static struct lane_entry *begin_entry(struct lane *lane, uint64_t caller, uint8_t level, uint64_t now_us)
{
	struct lane_entry *entry = malloc(sizeof *entry);
	if (!entry)
		return NULL;
	TAILQ_INIT(&entry->items);
	entry->count = 0;
	entry->caller = caller;
	entry->level = level;
	entry->since_us = now_us;
	TAILQ_INSERT_TAIL(&lane->levels[level], entry, next);
	table_insert(&lane->entries, &entry->node, hash_entry(lane, caller, level));
	return entry;
}

static void end_entry(struct lane *lane, struct lane_entry *entry)
{
	TAILQ_REMOVE(&lane->levels[entry->level], entry, next);
	table_remove(&lane->entries, &entry->node);
	free(entry);
}

static void note_arrival(struct lane *lane, uint64_t now_us)
{
	uint64_t gap_us = lane->came_us ? window_elapsed_us(lane->came_us, now_us) : 0;
	if (lane->gap_us == 0)
		lane->gap_us = gap_us;
	else
		lane->gap_us += gap_us / GAP_SMOOTHING;
	lane->gap_us -= lane->gap_us / GAP_SMOOTHING;
	if (lane->came_us && lane->gap_us == 0)
		lane->gap_us = 1; /* 0 would say that nothing is known */
	lane->came_us = now_us;
}

bool lane_add(struct lane *lane, struct batch_item *item, uint64_t now_us)
{
	assert(item->urgency < LANE_LEVELS);
	struct lane_entry *entry = find_entry(lane, item->caller, item->urgency);
	if (!entry)
		entry = begin_entry(lane, item->caller, item->urgency, now_us);
	if (!entry)
		return false;
	item->lane = lane;
	item->entry = entry;
	item->added_us = now_us;
	item->queued_us = now_us;
	note_arrival(lane, now_us);
	TAILQ_INSERT_TAIL(&entry->items, item, next);
	entry->count++;
	lane->level_items[item->urgency]++;
	lane->bands.of[band_of(item->urgency)]++;
	TAILQ_INSERT_TAIL(&lane->arrivals, item, arrival);
	due_set(&lane->urgent, &item->urgent, item->urgent_us);
	lane->items++;
	lane->bytes += item->call.arguments.len;
	return true;
}

/* Out of everything but its turn's list of turns. */
static void detach_item(struct lane *lane, struct batch_item *item)
{
	assert(item->lane == lane);
	TAILQ_REMOVE(&item->entry->items, item, next);
	item->entry->count--;
	lane->level_items[item->entry->level]--;
	lane->bands.of[band_of(item->entry->level)]--;
	TAILQ_REMOVE(&lane->arrivals, item, arrival);
	due_clear(&lane->urgent, &item->urgent);
	lane->items--;
	lane->bytes -= item->call.arguments.len;
	item->lane = NULL;
	item->entry = NULL;
}

void lane_remove(struct lane *lane, struct batch_item *item)
{
	struct lane_entry *entry = item->entry;
	detach_item(lane, item);
	if (TAILQ_EMPTY(&entry->items))
		end_entry(lane, entry);
}

void lane_set_urgent(struct lane *lane, struct batch_item *item, uint64_t urgent_us)
{
	assert(item->lane == lane);
	item->urgent_us = urgent_us;
	due_set(&lane->urgent, &item->urgent, urgent_us);
}

/* Each of the others has a turn for each of its own. */
size_t lane_ahead(const struct lane *lane, const struct batch_item *item)
{
	const struct lane_entry *own = find_entry(lane, item->caller, item->urgency);
	size_t in_entries = ((own ? own->count : 0) + 1) * lane->entries.count, as_urgent = 0;
	for (size_t level = 0; level <= item->urgency; level++)
		as_urgent += lane->level_items[level];
	return in_entries < as_urgent ? in_entries : as_urgent;
}

struct batch_item *lane_next(const struct lane *lane)
{
	const struct lane_entry *best = NULL;
	uint64_t best_us = CLOCK_NEVER;
	enum priority_band owed = bands_owed(&lane->owed_bands, &lane->bands);
	for (size_t level = 0; level < LANE_LEVELS; level++) {
		if (owed != BAND_COUNT && band_of((uint8_t)level) != owed)
			continue;
		const struct lane_entry *entry = TAILQ_FIRST(&lane->levels[level]);
		uint64_t stands_us = entry ? clock_add(entry->since_us, level * LANE_STEP_US) : CLOCK_NEVER;
		if (entry && (!best || stands_us < best_us)) {
			best = entry;
			best_us = stands_us;
		}
	}
	if (!best)
		return NULL;
	return lane->newest_first ? TAILQ_LAST(&best->items, batch_item_list) : TAILQ_FIRST(&best->items);
}

void lane_take(struct lane *lane, struct batch_item *item, uint64_t now_us)
{
	static const struct band_shares nothing;
	struct lane_entry *entry = item->entry;
	bands_take(&lane->owed_bands, lane->shares ? lane->shares : &nothing, &lane->bands, band_of(entry->level));
	detach_item(lane, item);
	if (TAILQ_EMPTY(&entry->items)) {
		end_entry(lane, entry);
		return;
	}
	entry->since_us = now_us;
	TAILQ_REMOVE(&lane->levels[entry->level], entry, next);
	TAILQ_INSERT_TAIL(&lane->levels[entry->level], entry, next);
}

bool lane_only_caller(const struct lane *lane, uint64_t *caller)
{
	const struct lane_entry *seen = NULL;
	for (size_t level = 0; level < LANE_LEVELS; level++) {
		const struct lane_entry *entry = TAILQ_FIRST(&lane->levels[level]);
		if (!entry)
			continue;
		if (TAILQ_NEXT(entry, next) || (seen && seen->caller != entry->caller))
			return false;
		seen = entry;
	}
	if (seen)
		*caller = seen->caller;
	return seen != NULL;
}

struct window_view lane_view(const struct lane *lane)
{
	const struct batch_item *oldest = TAILQ_FIRST(&lane->arrivals);
	return (struct window_view){
		.items = lane->items,
		.bytes = lane->bytes,
		.oldest_us = oldest ? oldest->added_us : CLOCK_NEVER,
		.urgent_us = due_first_us(&lane->urgent),
		.in_flight = lane->in_flight,
		.completed = lane->completed,
		.gap_us = lane->gap_us,
		.company = lane->company,
	};
}
