/* SPDX-License-Identifier: Apache-2.0 */
/* disk_tier.c: a worker's side of the disk: look-ups with a deadline each, whatever the disk's thread does. */
#include <assert.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "cache/disk/disk_private.h"

enum { LOOKUPS_PER_WORKER = 512 };

/* A look-up under way. Its deadline passes on this side alone: `carried` then comes back to be used again. */
struct asking {
	struct disk_lookup carried;
	struct disk_tier *tier;
	struct tier_lookup *lookup; /* NULL: nobody waits any more */
	uint64_t until_us;
	TAILQ_ENTRY(asking) next; /* in tier->waiting, in the order of their deadlines, while somebody waits */
	struct asking *next_spare;
};
TAILQ_HEAD(askings, asking);

struct disk_tier {
	struct tier base;
	struct disk *disk;
	struct loop *loop;
	struct meter *meter;
	struct askings waiting;
	struct asking *all, *spare;
	struct mailbox answers; /* from the thread */
};

static struct disk_tier *tier_of(struct tier *base)
{
	return container_of(base, struct disk_tier, base);
}

static void count_skip(struct disk_tier *tier, enum disk_skip skip)
{
	meter_add(tier->meter, METRIC_ID_DISK_SKIPPED, skip, 0, 1);
}

static void give_back(struct disk_tier *tier, struct asking *asking)
{
	key_unref(asking->carried.key);
	asking->carried.key = NULL;
	asking->next_spare = tier->spare;
	tier->spare = asking;
}

static void take_answer(struct mail *mail);

static bool disk_get(struct tier *base, struct tier_lookup *lookup, struct key *key, uint64_t now_us)
{
	struct disk_tier *tier = tier_of(base);
	struct asking *asking = tier->spare;
	assert(!lookup->operation);
	if (!asking) {
		count_skip(tier, DISK_SKIP_BUSY);
		return false;
	}
	tier->spare = asking->next_spare;
	asking->lookup = lookup;
	asking->until_us = clock_add(now_us, tier->disk->settings->timeout_us);
	asking->carried = (struct disk_lookup){ .home = &tier->answers, .mail.open = take_answer, .key = key_ref(key) };
	enum disk_skip skip = disk_ask(tier->disk, &asking->carried, now_us);
	if (skip != DISK_SKIP_COUNT) {
		count_skip(tier, skip);
		give_back(tier, asking);
		return false;
	}
	lookup->operation = asking;
	TAILQ_INSERT_TAIL(&tier->waiting, asking, next);
	return true;
}

/* The thread may still be at it: it comes back by its mail. */
static void forget_asking(struct disk_tier *tier, struct asking *asking)
{
	TAILQ_REMOVE(&tier->waiting, asking, next);
	asking->lookup->operation = NULL;
	asking->lookup = NULL;
	atomic_store(&asking->carried.unwanted, true);
}

static void disk_cancel(struct tier *base, struct tier_lookup *lookup)
{
	forget_asking(tier_of(base), lookup->operation);
}

static void count_result(struct disk_tier *tier, const struct entry *entry, bool failed, uint64_t now_us)
{
	enum cache_result result = failed ? CACHE_ERROR : CACHE_MISS;
	if (entry)
		result = now_us < entry->fresh_until_us ? CACHE_HIT : CACHE_STALE;
	meter_add(tier->meter, METRIC_ID_CACHE_REQUESTS, TIER_DISK, result, 1);
}

/* The thread has answered, in time or not. */
static void take_answer(struct mail *mail)
{
	struct disk_lookup *carried = container_of(mail, struct disk_lookup, mail);
	struct asking *asking = container_of(carried, struct asking, carried);
	struct disk_tier *tier = asking->tier;
	struct tier_lookup *lookup = asking->lookup;
	struct entry *entry = carried->entry;
	carried->entry = NULL;
	if (lookup) {
		TAILQ_REMOVE(&tier->waiting, asking, next);
		lookup->operation = NULL;
		count_result(tier, entry, carried->failed, loop_now(tier->loop));
	}
	give_back(tier, asking); /* who is told now may ask with it again */
	if (lookup)
		lookup->done(lookup, entry);
	else
		entry_unref(entry);
}

static void disk_tick(struct tier *base, uint64_t now_us)
{
	struct disk_tier *tier = tier_of(base);
	struct asking *asking;
	mailbox_open(&tier->answers);
	while ((asking = TAILQ_FIRST(&tier->waiting)) && asking->until_us <= now_us) {
		struct tier_lookup *lookup = asking->lookup;
		forget_asking(tier, asking);
		count_skip(tier, DISK_SKIP_TIMEOUT);
		count_result(tier, NULL, true, now_us);
		lookup->done(lookup, NULL);
	}
}

static uint64_t disk_deadline(const struct tier *base)
{
	const struct disk_tier *tier = container_of(base, const struct disk_tier, base);
	const struct asking *first = TAILQ_FIRST(&tier->waiting);
	return first ? first->until_us : CLOCK_NEVER;
}

static bool disk_put(struct tier *base, struct entry *entry, unsigned how, uint64_t now_us)
{
	struct disk_tier *tier = tier_of(base);
	enum disk_skip skip;
	(void)how;
	(void)now_us;
	if (disk_keep(tier->disk, entry, &skip))
		return true;
	count_skip(tier, skip);
	return false;
}

/* A removal that cannot be kept in mind empties the disk: it is done, one way or the other. */
static bool remove_key(struct tier *base, const uint8_t *digest, uint64_t now_us)
{
	(void)now_us;
	disk_remove(tier_of(base)->disk, digest);
	return true;
}

static void free_tier(struct tier *base)
{
	struct disk_tier *tier = tier_of(base);
	assert(TAILQ_EMPTY(&tier->waiting));
	for (size_t i = 0; tier->all && i < LOOKUPS_PER_WORKER; i++) {
		entry_unref(tier->all[i].carried.entry);
		key_unref(tier->all[i].carried.key);
	}
	free(tier->all);
	free(tier);
}

static const struct tier_kind disk_kind = {
	.label = TIER_DISK,
	.get = disk_get,
	.cancel = disk_cancel,
	.put = disk_put,
	.remove = remove_key,
	.tick = disk_tick,
	.deadline = disk_deadline,
	.free = free_tier,
};

struct tier *disk_tier_new(struct disk *disk, struct loop *loop, struct meter *meter)
{
	struct disk_tier *tier = calloc(1, sizeof *tier);
	if (!tier)
		return NULL;
	tier->base.kind = &disk_kind;
	tier->base.owner = loop_owner(loop);
	tier->disk = disk;
	tier->loop = loop;
	tier->meter = meter;
	TAILQ_INIT(&tier->waiting);
	tier->all = calloc(LOOKUPS_PER_WORKER, sizeof *tier->all);
	if (!tier->all) {
		free_tier(&tier->base);
		return NULL;
	}
	mailbox_init(&tier->answers, loop);
	for (size_t i = 0; i < LOOKUPS_PER_WORKER; i++) {
		tier->all[i].tier = tier;
		tier->all[i].next_spare = tier->spare;
		tier->spare = &tier->all[i];
	}
	return &tier->base;
}
