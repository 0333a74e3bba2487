/* SPDX-License-Identifier: Apache-2.0 */
/* memory_list.c: what is in the memory tier, as a list, hottest first: for who exports or keeps it. */
#include <stdlib.h>

#include "cache/memory_private.h"

enum { LIST_STEP = 4096, HEAT_SHIFT = 60, HEAT_MAIN = 4 };

static uint64_t heat_of(const struct entry *entry)
{
	uint64_t rank = entry->frequency + (entry->queue == QUEUE_MAIN ? HEAT_MAIN : 0);
	return rank << HEAT_SHIFT | entry->stored_us;
}

static int compare_heat(const void *a, const void *b)
{
	uint64_t one = ((const struct memory_listed *)a)->heat, other = ((const struct memory_listed *)b)->heat;
	return one < other ? 1 : one > other ? -1 : 0;
}

static void list_entry(struct memory_listed *listed, const struct entry *entry)
{
	listed->heat = heat_of(entry);
	memcpy(listed->digest, entry->key->digest, sizeof listed->digest);
}

/* What is in buckets [from, to) of one shard, as far as there is room; returns how many there are. */
static size_t list_buckets(struct shard *shard, size_t from, size_t to, struct memory_list *list, size_t room)
{
	size_t count = 0;
	pthread_mutex_lock(&shard->mutex);
	for (size_t i = from; i < to; i++)
		for (struct entry *entry = shard->buckets[i]; entry; entry = entry->next_in_bucket, count++)
			if (count < room)
				list_entry(&list->all[list->count + count], entry);
	pthread_mutex_unlock(&shard->mutex);
	return count;
}

/* Room for `more` beyond what there is. False: out of memory. */
static bool list_reserve(struct memory_list *list, size_t *room, size_t more)
{
	if (*room - list->count >= more)
		return true;
	size_t wanted = list->count + more + *room / 2;
	struct memory_listed *all = reallocarray(list->all, wanted, sizeof *all);
	if (!all)
		return false;
	list->all = all;
	*room = wanted;
	return true;
}

/* One shard's, the lock let go in between. */
static bool list_shard(const struct memory *memory, struct shard *shard, struct memory_list *list, size_t *room)
{
	for (size_t from = 0; from < memory->bucket_count; from += BUCKETS_PER_LOCK) {
		size_t to =
			from + BUCKETS_PER_LOCK < memory->bucket_count ? from + BUCKETS_PER_LOCK : memory->bucket_count;
		if (!list_reserve(list, room, LIST_STEP))
			return false;
		size_t left = *room - list->count;
		size_t count = list_buckets(shard, from, to, list, left);
		list->count += count < left ? count : left; /* more than 16 a bucket: the rest is left out */
	}
	return true;
}

bool memory_list(struct memory *memory, struct memory_list *list)
{
	size_t room = 0;
	bool ok = true;
	*list = (struct memory_list){ NULL, 0 };
	for (size_t i = 0; ok && i < memory->shard_count; i++)
		ok = list_shard(memory, &memory->shards[i], list, &room);
	if (!ok)
		memory_list_free(list);
	else if (list->count)
		qsort(list->all, list->count, sizeof *list->all, compare_heat);
	return ok;
}

void memory_list_free(struct memory_list *list)
{
	free(list->all);
	*list = (struct memory_list){ NULL, 0 };
}
