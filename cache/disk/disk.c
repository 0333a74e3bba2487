/* SPDX-License-Identifier: Apache-2.0 */
/* disk.c: what other threads ask of the disk tier: look-ups and changes queued for its thread, its start and end. */
#include "cache/disk/disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/timed_wait.h"
#include "cache/disk/disk_private.h"

#define STOP_PATIENCE_US (3 * CLOCK_US_PER_S) /* beyond the snapshot */

/* --- the workers' side --- */

static bool is_slow(struct disk *disk, uint64_t now_us)
{
	uint64_t since_us = atomic_load_explicit(&disk->busy_since_us, memory_order_relaxed);
	return since_us && now_us > since_us && now_us - since_us > disk->settings->timeout_us;
}

enum disk_skip disk_ask(struct disk *disk, struct disk_lookup *lookup, uint64_t now_us)
{
	if (atomic_load(&disk->state) != DISK_UP)
		return DISK_SKIP_DOWN;
	if (is_slow(disk, now_us))
		return DISK_SKIP_SLOW;
	enum disk_skip skip = DISK_SKIP_COUNT;
	pthread_mutex_lock(&disk->mutex);
	if (atomic_load(&disk->must_empty) || *disk_pending(disk, lookup->key->digest))
		skip = DISK_SKIP_CHANGING;
	else if (disk->lookup_count >= LOOKUPS_MAX)
		skip = DISK_SKIP_BUSY;
	if (skip == DISK_SKIP_COUNT) {
		lookup->next = NULL;
		*disk->last_lookup = lookup;
		disk->last_lookup = &lookup->next;
		disk->lookup_count++;
		pthread_cond_signal(&disk->stirred);
	}
	pthread_mutex_unlock(&disk->mutex);
	return skip;
}

static void append_locked(struct disk *disk, struct change *change)
{
	change->next = NULL;
	*disk->last_change = change;
	disk->last_change = &change->next;
	disk->change_count++;
	if (disk_change_has_key(change))
		++*disk_pending(disk, change->digest);
	if (change->entry)
		disk->change_bytes += entry_bytes(change->entry);
	pthread_cond_signal(&disk->stirred);
}

/* Take a change; a removal that finds no room empties all. */
static void append_change(struct disk *disk, struct change *change)
{
	pthread_mutex_lock(&disk->mutex);
	bool room = disk->change_count < REMOVALS_MAX;
	if (room)
		append_locked(disk, change);
	else
		atomic_store(&disk->must_empty, true);
	pthread_mutex_unlock(&disk->mutex);
	if (!room)
		free(change);
}

void disk_remove(struct disk *disk, const uint8_t *digest)
{
	struct change *change = calloc(1, sizeof *change);
	if (!change || atomic_load(&disk->state) == DISK_AWAY) {
		atomic_store(&disk->must_empty, true); /* there may be a file by the time it is back */
		free(change);
		return;
	}
	change->kind = CHANGE_REMOVE;
	memcpy(change->digest, digest, sizeof change->digest);
	append_change(disk, change);
}

bool disk_keep(struct disk *disk, const struct entry *entry, enum disk_skip *skip)
{
	*skip = DISK_SKIP_DOWN;
	if (atomic_load(&disk->state) == DISK_AWAY)
		return false;
	struct change *change = calloc(1, sizeof *change);
	*skip = DISK_SKIP_NO_MEMORY;
	if (change) {
		*change = (struct change){ .kind = CHANGE_PUT, .entry = entry_ref((struct entry *)(uintptr_t)entry) };
		memcpy(change->digest, entry->key->digest, sizeof change->digest);
		*skip = DISK_SKIP_BUSY;
		pthread_mutex_lock(&disk->mutex);
		bool room =
			disk->change_count < CHANGES_MAX && disk->change_bytes + entry_bytes(entry) <= CHANGE_BYTES_MAX;
		if (room)
			append_locked(disk, change);
		pthread_mutex_unlock(&disk->mutex);
		if (room)
			return true;
		entry_unref(change->entry);
		free(change);
	}
	disk_remove(disk, entry->key->digest); /* what is there is outdated all the same */
	return false;
}

/* False: the thread could not do it. */
static bool hand_over(struct disk *disk, enum change_kind kind, struct disk_purge *purge)
{
	struct change *change = atomic_load(&disk->state) != DISK_AWAY ? calloc(1, sizeof *change) : NULL;
	if (!change)
		return false;
	change->kind = kind;
	change->purge = purge;
	pthread_mutex_lock(&disk->mutex);
	append_locked(disk, change);
	pthread_mutex_unlock(&disk->mutex);
	return true;
}

void disk_purge(struct disk *disk, struct disk_purge *purge)
{
	if (hand_over(disk, CHANGE_PURGE, purge))
		return;
	atomic_store(&disk->must_empty, true);
	purge->ended(purge, 0, false);
}

void disk_count(struct disk *disk, struct disk_purge *purge)
{
	if (!hand_over(disk, CHANGE_COUNT, purge))
		purge->ended(purge, 0, false);
}

void disk_status(struct disk *disk, struct disk_status *status)
{
	*status = (struct disk_status){
		.state = (enum disk_state)atomic_load(&disk->state),
		.entries = atomic_load(&disk->entries),
		.bytes = atomic_load(&disk->bytes),
		.capacity_bytes = disk->settings->size_bytes,
		.loaded = atomic_load(&disk->loaded),
		.loading = atomic_load(&disk->loading),
	};
	pthread_mutex_lock(&disk->mutex);
	memcpy(status->trouble, disk->trouble, sizeof status->trouble);
	pthread_mutex_unlock(&disk->mutex);
}

/* --- shared with the thread --- */

struct change *disk_take_change_locked(struct disk *disk)
{
	struct change *change = disk->changes;
	disk->changes = change->next;
	if (!disk->changes)
		disk->last_change = &disk->changes;
	disk->change_count--;
	if (change->entry)
		disk->change_bytes -= entry_bytes(change->entry);
	return change;
}

/* --- life --- */

static void report_metrics(void *context, struct meter *meter)
{
	struct disk *disk = context;
	meter_set(meter, METRIC_ID_CACHE_ENTRIES, TIER_DISK, 0, (int64_t)atomic_load(&disk->entries));
	meter_set(meter, METRIC_ID_CACHE_BYTES, TIER_DISK, 0, (int64_t)atomic_load(&disk->bytes));
	meter_set(meter, METRIC_ID_DISK_UP, 0, 0, atomic_load(&disk->state) == DISK_UP);
}

struct disk *disk_new(const struct disk_settings *settings, struct cache *cache, struct metrics *metrics)
{
	struct disk *disk = calloc(1, sizeof *disk);
	struct meter *meter = metrics_meter(metrics);
	if (!disk || !meter) {
		free(disk);
		return NULL;
	}
	disk->settings = settings;
	disk->cache = cache;
	disk->meter = meter;
	disk->last_lookup = &disk->lookups;
	disk->last_change = &disk->changes;
	disk->retry_after_us = DISK_RETRY_FIRST_US;
	buf_init(&disk->scratch, VALUE_BYTES_MAX);
	pthread_mutex_init(&disk->mutex, NULL);
	timed_wait_init(&disk->stirred);
	timed_wait_init(&disk->has_ended);
	metrics_on_scrape(metrics, report_metrics, disk);
	return disk;
}

bool disk_start(struct disk *disk)
{
	int result = pthread_create(&disk->thread, NULL, disk_run, disk);
	if (result) {
		errno = result;
		return false;
	}
	pthread_setname_np(disk->thread, "disk");
	disk->started = true;
	return true;
}

/* What came too late. */
static void drop_changes(struct disk *disk)
{
	while (disk->changes) {
		struct change *change = disk_take_change_locked(disk);
		if (change->purge)
			change->purge->ended(change->purge, 0, false);
		entry_unref(change->entry);
		free(change);
	}
}

bool disk_stop(struct disk *disk)
{
	if (!disk->started)
		return true;
	uint64_t now_us = clock_now_us(), last_us = now_us + disk->settings->snapshot_us + STOP_PATIENCE_US;
	bool in_time = true;
	pthread_mutex_lock(&disk->mutex);
	disk->stopping = true;
	disk->stop_us = now_us + disk->settings->snapshot_us;
	pthread_cond_signal(&disk->stirred);
	while (!disk->ended && in_time)
		in_time = timed_wait(&disk->has_ended, &disk->mutex, last_us);
	bool ended = disk->ended;
	pthread_mutex_unlock(&disk->mutex);
	if (!ended) {
		log_message(&EVENT_DISK_CACHE_HUNG, "%s does not answer; it is left as it is",
			    disk_settings_shown(disk->settings));
		return false;
	}
	pthread_join(disk->thread, NULL);
	disk->started = false;
	drop_changes(disk);
	return true;
}

void disk_free(struct disk *disk)
{
	if (!disk)
		return;
	drop_changes(disk);
	buf_fini(&disk->scratch);
	pthread_mutex_destroy(&disk->mutex);
	pthread_cond_destroy(&disk->stirred);
	pthread_cond_destroy(&disk->has_ended);
	free(disk);
}
