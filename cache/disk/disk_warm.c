/* SPDX-License-Identifier: Apache-2.0 */
/* disk_warm.c: from the file into memory at the start, from memory into the file at the end. */
#include "cache/disk/disk_private.h"
#include "cache/stored_value.h"

enum { REFUSED_MOST = 64 };

void disk_load_begin(struct disk *disk)
{
	disk->load_hot = 0;
	disk->load_newest = INT64_MAX;
	disk->load_refused = 0;
	atomic_store(&disk->loading, disk->settings->snapshot_us > 0);
}

/* Whether a change waits, so that what is read now may be what it is about to remove. */
static bool is_changing(struct disk *disk)
{
	pthread_mutex_lock(&disk->mutex);
	bool changing = disk->change_count || atomic_load(&disk->must_empty);
	pthread_mutex_unlock(&disk->mutex);
	return changing;
}

/* Into memory, if it is good. What memory has no room for again and again ends the loading. */
static void admit_value(struct disk *disk, struct slice value)
{
	const struct stored_clock clock = { clock_now_us(), clock_wall_us() };
	struct entry *entry;
	if (stored_value_read(value, &clock, &entry) != STORED_OK)
		return; /* whoever looks it up removes it */
	enum memory_added added = is_changing(disk) ? MEMORY_KNOWN : cache_warm(disk->cache, entry);
	if (added == MEMORY_ADDED)
		atomic_fetch_add_explicit(&disk->loaded, 1, memory_order_relaxed);
	disk->load_refused = added == MEMORY_NO_ROOM ? disk->load_refused + 1 : 0;
	entry_unref(entry);
}

enum disk_fault disk_load_step(struct disk *disk)
{
	struct slice value;
	bool hot = disk->load_hot >= 0;
	if (is_changing(disk))
		return DISK_OK; /* first things first */
	enum disk_fault fault = hot ? disk_store_next_hot(disk->store, &disk->load_hot, &value)
				    : disk_store_next_newest(disk->store, &disk->load_newest, &value);
	if (fault == DISK_OK) {
		admit_value(disk, value);
		if (disk->load_refused >= REFUSED_MOST)
			atomic_store(&disk->loading, false);
		return DISK_OK;
	}
	if (fault == DISK_NO_MEMORY || (fault == DISK_ABSENT && !hot))
		atomic_store(&disk->loading, false);
	else if (fault == DISK_ABSENT)
		disk->load_hot = -1;
	return fault == DISK_ABSENT || fault == DISK_NO_MEMORY ? DISK_OK : fault;
}

/* One entry, if it is still in memory, and its rank. */
static enum disk_fault keep_hot(struct disk *disk, const uint8_t *digest, const struct stored_clock *clock)
{
	struct entry *entry = cache_peek(disk->cache, digest);
	if (!entry)
		return DISK_ABSENT;
	enum disk_fault fault = disk_store_has(disk->store, digest, stored_wall_us(entry->stored_us, clock));
	if (fault == DISK_ABSENT)
		fault = disk_write(disk, entry);
	entry_unref(entry);
	return fault == DISK_OK ? disk_store_add_hot(disk->store, digest) : fault;
}

enum disk_fault disk_snapshot(struct disk *disk)
{
	const struct stored_clock clock = { clock_now_us(), clock_wall_us() };
	struct memory_list list;
	if (!disk->settings->snapshot_us || !cache_list(disk->cache, &list))
		return DISK_OK; /* without a list of the hot ones the newest are loaded first */
	enum disk_fault fault = disk_store_clear_hot(disk->store);
	size_t i = 0;
	for (; i < list.count && fault == DISK_OK && clock_now_us() < disk->stop_us; i++) {
		fault = keep_hot(disk, list.all[i].digest, &clock);
		if (fault == DISK_ABSENT)
			fault = DISK_OK; /* it was gone, or too large */
	}
	memory_list_free(&list);
	return fault == DISK_FULL ? DISK_OK : fault; /* the hottest are there */
}
