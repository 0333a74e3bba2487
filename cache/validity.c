/* SPDX-License-Identifier: Apache-2.0 */
/* validity.c: purges, and what is heard of a fleet, held against an answer. */
#include "cache/validity.h"

struct cache_epoch validity_epoch(const struct validity *validity, const uint8_t *digest)
{
	/* in this order: a purge in between makes both too small, not too large */
	struct cache_epoch epoch = { .event = purges_event(&validity->purges) };
	epoch.number = purges_number(&validity->purges);
	epoch.replaced = atomic_load(&validity->replaced[digest[0]]);
	return epoch;
}

/* Whether a copy made at put_us still counts: changes of it would have been heard of, or its coherence window is open. */
static bool is_synced(const struct validity *validity, uint64_t put_us, uint64_t now_us)
{
	if (!atomic_load_explicit(&validity->shared, memory_order_acquire))
		return true;
	bool synced = atomic_load_explicit(&validity->synced, memory_order_acquire);
	uint64_t lost_us = atomic_load_explicit(&validity->unsynced_from_us, memory_order_acquire);
	if (put_us < atomic_load_explicit(&validity->synced_from_us, memory_order_acquire))
		return false;
	return synced || now_us < clock_add(put_us > lost_us ? put_us : lost_us,
					    atomic_load_explicit(&validity->coherence_us, memory_order_relaxed));
}

static bool is_ahead(struct validity *validity, const struct entry *entry)
{
	if (entry->number <= purges_number(&validity->purges))
		return false;
	atomic_store_explicit(&validity->purges.ahead, entry->number, memory_order_relaxed);
	return true;
}

/* `asked`: see purges_cover. What has been evaluated is not evaluated again. */
static bool is_purged(struct purges *purges, struct entry *entry, uint64_t asked, const struct purge_tags *tags)
{
	uint64_t evaluated = atomic_load_explicit(&entry->evaluated, memory_order_relaxed),
		 newest = purges_event(purges);
	if (evaluated >= newest && asked >= newest) /* nearly always */
		return false;
	if (purges_cover(purges, entry->key, entry->number, evaluated, asked, tags))
		return true;
	/* two who evaluate at once: the older event costs another look, no more */
	atomic_store_explicit(&entry->evaluated, newest, memory_order_relaxed);
	return false;
}

bool validity_is_purged(struct validity *validity, struct entry *entry, const struct purge_tags *tags)
{
	return is_purged(&validity->purges, entry, UINT64_MAX, tags);
}

enum validity_decision validity_of(struct validity *validity, struct entry *entry, const struct cache_epoch *epoch,
				   const struct purge_tags *tags, uint64_t now_us)
{
	if (!epoch && !is_synced(validity, entry->put_us, now_us))
		return NOT_VALID_UNSYNCED;
	if (epoch && is_ahead(validity, entry))
		return NOT_VALID_AHEAD;
	return is_purged(&validity->purges, entry, epoch ? epoch->event : UINT64_MAX, tags) ? NOT_VALID_PURGED
											    : STILL_VALID;
}

void validity_share(struct validity *validity, uint64_t coherence_us)
{
	atomic_store_explicit(&validity->coherence_us, coherence_us, memory_order_relaxed);
	atomic_store_explicit(&validity->shared, true, memory_order_release);
}

void validity_unshare(struct validity *validity)
{
	atomic_store_explicit(&validity->shared, false, memory_order_release);
}

/* What is asked for just now may have changed unheard: it must not be put behind the moment from which all is
 * believed. */
static void change_all(struct validity *validity)
{
	for (size_t i = 0; i < REPLACED_SLOTS; i++)
		atomic_fetch_add(&validity->replaced[i], 1);
}

void validity_forget(struct validity *validity)
{
	change_all(validity);
	atomic_store(&validity->synced_from_us, clock_now_us() + 1);
}

void validity_synced(struct validity *validity)
{
	validity_forget(validity);
	atomic_store(&validity->synced, true);
}

void validity_lost_sync(struct validity *validity, uint64_t now_us)
{
	if (!atomic_load(&validity->synced))
		return; /* the first loss counts */
	atomic_store(&validity->unsynced_from_us, now_us);
	atomic_store(&validity->synced, false);
}
