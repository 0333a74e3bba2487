/* SPDX-License-Identifier: Apache-2.0 */
/* run_queue.c: round-robin over callers. */
#include "batcher/run_queue.h"

#include <assert.h>
#include <stdlib.h>

#include "batcher/lane.h"

void run_queue_init(struct run_queue *queue, uint64_t seed)
{
	TAILQ_INIT(&queue->entries);
	table_init(&queue->callers);
	queue->seed = seed;
}

void run_queue_fini(struct run_queue *queue)
{
	assert(TAILQ_EMPTY(&queue->entries));
	table_fini(&queue->callers);
}

static struct run_queue_entry *find_entry(const struct run_queue *queue, uint64_t caller)
{
	struct table_node *node = table_first(&queue->callers, table_hash_number(queue->seed, caller));
	for (; node; node = table_again(node)) {
		struct run_queue_entry *entry = container_of(node, struct run_queue_entry, node);
		if (entry->caller == caller)
			return entry;
	}
	return NULL;
}

/* An entry that others may join must not live in one of its lanes. */
static struct run_queue_entry *begin_entry(struct run_queue *queue, struct lane *lane, const uint64_t *caller,
					   uint64_t now_us)
{
	struct run_queue_entry *entry = caller ? malloc(sizeof *entry) : NULL;
	bool of_one = entry != NULL;
	if (!entry)
		entry = &lane->own_entry;
	*entry = (struct run_queue_entry){ .of_one = of_one, .since_us = now_us };
	TAILQ_INIT(&entry->lanes);
	if (!of_one && lane->owed > 0) { /* it goes on with the turn it had */
		entry->since_us = lane->owed_since_us;
		TAILQ_INSERT_HEAD(&queue->entries, entry, next);
	} else {
		TAILQ_INSERT_TAIL(&queue->entries, entry, next);
	}
	if (of_one) {
		entry->caller = *caller;
		table_insert(&queue->callers, &entry->node, table_hash_number(queue->seed, *caller));
	}
	return entry;
}

static void end_entry(struct run_queue *queue, struct run_queue_entry *entry)
{
	TAILQ_REMOVE(&queue->entries, entry, next);
	if (!entry->of_one)
		return;
	table_remove(&queue->callers, &entry->node);
	free(entry);
}

void run_queue_add(struct run_queue *queue, struct lane *lane, const uint64_t *caller, uint64_t now_us)
{
	assert(!lane->entry);
	struct run_queue_entry *entry = caller ? find_entry(queue, *caller) : NULL;
	lane->entry = entry ? entry : begin_entry(queue, lane, caller, now_us);
	TAILQ_INSERT_TAIL(&lane->entry->lanes, lane, next);
}

void run_queue_remove(struct run_queue *queue, struct lane *lane)
{
	struct run_queue_entry *entry = lane->entry;
	TAILQ_REMOVE(&entry->lanes, lane, next);
	lane->entry = NULL;
	if (TAILQ_EMPTY(&entry->lanes))
		end_entry(queue, entry);
}

void run_queue_weigh(struct lane *lane, size_t weight)
{
	assert(weight >= 1);
	if (lane->owed == 0)
		lane->owed = weight;
}

void run_queue_serve(struct run_queue *queue, struct lane *lane, uint64_t now_us)
{
	struct run_queue_entry *entry = lane->entry;
	lane->owed_since_us = entry->since_us;
	lane->owed -= lane->owed > 0;
	entry->since_us = now_us;
	TAILQ_REMOVE(&queue->entries, entry, next);
	TAILQ_INSERT_TAIL(&queue->entries, entry, next);
	run_queue_remove(queue, lane);
}

bool run_queue_is_of(const struct lane *lane, uint64_t caller)
{
	return lane->entry->of_one && lane->entry->caller == caller;
}

struct lane *run_queue_first(const struct run_queue *queue)
{
	const struct run_queue_entry *entry = TAILQ_FIRST(&queue->entries);
	return entry ? TAILQ_FIRST(&entry->lanes) : NULL;
}

uint64_t run_queue_since_us(const struct run_queue *queue)
{
	assert(!TAILQ_EMPTY(&queue->entries));
	return TAILQ_FIRST(&queue->entries)->since_us;
}
