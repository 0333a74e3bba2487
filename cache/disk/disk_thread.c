/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_thread.c: the thread of the disk tier. Look-ups go before changes; changes gather in one transaction while there
 * are more. What is in the file may be outdated once a change has failed, so then it is begun anew.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/timed_wait.h"
#include "cache/disk/disk_private.h"
#include "cache/stored_value.h"

#define RETRY_MOST_US (60 * CLOCK_US_PER_S)
enum { SCRATCH_KEPT_BYTES = 256 * 1024 };

/* --- up and away --- */

static enum disk_trouble trouble_of(enum disk_fault fault)
{
	switch (fault) {
	case DISK_IN_USE:
		return DISK_TROUBLE_IN_USE;
	case DISK_FOREIGN:
		return DISK_TROUBLE_FOREIGN;
	case DISK_DAMAGED:
		return DISK_TROUBLE_DAMAGED;
	case DISK_FULL:
		return DISK_TROUBLE_FULL;
	case DISK_NO_MEMORY:
		return DISK_TROUBLE_NO_MEMORY;
	default:
		return DISK_TROUBLE_FAILED;
	}
}

static void count_trouble(struct disk *disk, enum disk_trouble trouble)
{
	meter_add(disk->meter, METRIC_ID_DISK_ERRORS, trouble, 0, 1);
}

/* For scrapes and pages. */
static void show_stats(struct disk *disk)
{
	const struct disk_store_stats none = { 0 };
	struct disk_store_stats stats = disk->store ? disk_store_stats(disk->store) : none;
	atomic_store_explicit(&disk->entries, stats.entries, memory_order_relaxed);
	atomic_store_explicit(&disk->bytes, stats.bytes, memory_order_relaxed);
	meter_add(disk->meter, METRIC_ID_CACHE_EVICTIONS, TIER_DISK, EVICT_SIZE, stats.evicted - disk->counted.evicted);
	meter_add(disk->meter, METRIC_ID_CACHE_EVICTIONS, TIER_DISK, EVICT_EXPIRED,
		  stats.expired - disk->counted.expired);
	disk->counted = stats;
}

/* It cannot be used now; tried again, later each time. */
static void go_away(struct disk *disk, enum disk_fault fault, const char *why)
{
	bool notice = atomic_exchange(&disk->state, DISK_AWAY) != DISK_AWAY || strcmp(disk->trouble, why) != 0;
	count_trouble(disk, trouble_of(fault));
	pthread_mutex_lock(&disk->mutex);
	snprintf(disk->trouble, sizeof disk->trouble, "%s", why);
	pthread_mutex_unlock(&disk->mutex);
	disk->retry_us = clock_now_us() + disk->retry_after_us;
	disk->retry_after_us = 2 * disk->retry_after_us < RETRY_MOST_US ? 2 * disk->retry_after_us : RETRY_MOST_US;
	if (notice)
		log_message(&EVENT_DISK_CACHE_UNAVAILABLE, "%s: %s; calls go on without it",
			    disk_settings_shown(disk->settings), why);
}

static void begin_anew(struct disk *disk, enum disk_fault fault);
static enum disk_fault note_purges(struct disk *disk);
static enum disk_fault read_purges(struct disk *disk);

static void open_store(struct disk *disk)
{
	char why[128];
	const char *anew;
	enum disk_fault fault = disk_store_open(disk->settings, &disk->store, &anew, why, sizeof why);
	if (fault != DISK_OK) {
		go_away(disk, fault, why);
		return;
	}
	if (anew) {
		count_trouble(disk, DISK_TROUBLE_DAMAGED);
		log_message(&EVENT_DISK_CACHE_RECREATED, "%s/cache.db was deleted and begun anew: %s",
			    disk_settings_shown(disk->settings), anew);
	}
	fault = read_purges(disk);
	if (fault == DISK_OK)
		fault = note_purges(disk);
	if (fault != DISK_OK) {
		begin_anew(disk, fault);
		return;
	}
	show_stats(disk);
	disk_load_begin(disk);
	log_message(&EVENT_DISK_CACHE_UP, "%s: %llu answers", disk_settings_shown(disk->settings),
		    (unsigned long long)atomic_load(&disk->entries));
	atomic_store(&disk->state, DISK_UP);
}

/* What is in the file may be outdated, or is not what was put there: begin anew. */
static void begin_anew(struct disk *disk, enum disk_fault fault)
{
	char why[128];
	snprintf(why, sizeof why, "%s", disk_store_trouble(disk->store));
	if (!disk_store_discard(disk->store))
		atomic_store(&disk->must_empty, true);
	disk->store = NULL;
	disk->counted = (struct disk_store_stats){ 0 };
	disk->uncommitted = 0;
	atomic_store(&disk->loading, false);
	log_message(&EVENT_DISK_CACHE_RECREATED, "%s/cache.db was deleted and will be begun anew: %s",
		    disk_settings_shown(disk->settings), why);
	go_away(disk, fault, why);
	show_stats(disk);
}

/* After a change. */
static void settle_change(struct disk *disk, enum disk_fault fault)
{
	if (fault != DISK_OK && fault != DISK_ABSENT) {
		begin_anew(disk, fault);
		return;
	}
	disk->retry_after_us = DISK_RETRY_FIRST_US;
	if (++disk->uncommitted >= CHANGES_PER_COMMIT) {
		disk->uncommitted = 0;
		fault = disk_store_commit(disk->store);
		if (fault != DISK_OK)
			begin_anew(disk, fault);
	}
	show_stats(disk);
}

/* After a purge, which is told as done: it must outlive the machine. */
static void settle_purge(struct disk *disk, enum disk_fault fault)
{
	if (fault == DISK_OK)
		fault = disk_store_commit_for_good(disk->store);
	disk->uncommitted = 0;
	settle_change(disk, fault);
}

/* --- look-ups --- */

/* What a value is worth. A row that is worth nothing goes. */
static void read_value(struct disk *disk, struct disk_lookup *lookup, struct slice value)
{
	const struct stored_clock clock = { clock_now_us(), clock_wall_us() };
	enum stored_fault fault = stored_value_decode(value, lookup->key, &clock, &lookup->entry);
	if (fault == STORED_OK)
		return;
	if (fault != STORED_GONE) {
		lookup->failed = true;
		count_trouble(disk, fault == STORED_NO_MEMORY ? DISK_TROUBLE_NO_MEMORY
				    : fault == STORED_CLOCK   ? DISK_TROUBLE_CLOCK
				    : fault == STORED_DAMAGED ? DISK_TROUBLE_VALUE
							      : DISK_TROUBLE_FOREIGN);
	}
	if (fault != STORED_NO_MEMORY)
		settle_change(disk, disk_store_remove(disk->store, lookup->key->digest));
}

static void look_up(struct disk *disk, struct disk_lookup *lookup)
{
	struct slice value;
	uint64_t begun_us = clock_now_us();
	if (!disk->store || atomic_load(&lookup->unwanted)) {
		lookup->failed = true;
	} else {
		enum disk_fault fault = disk_store_get(disk->store, lookup->key->digest, &value);
		if (fault == DISK_OK) {
			read_value(disk, lookup, value);
		} else if (fault == DISK_NO_MEMORY) {
			lookup->failed = true;
			count_trouble(disk, DISK_TROUBLE_NO_MEMORY);
		} else if (fault != DISK_ABSENT) {
			lookup->failed = true;
			begin_anew(disk, fault);
		}
		meter_observe(disk->meter, METRIC_ID_DISK_DURATION, DISK_JOB_GET, clock_now_us() - begun_us);
	}
	mailbox_post(lookup->home, &lookup->mail);
}

/* --- changes --- */

enum disk_fault disk_write(struct disk *disk, const struct entry *entry)
{
	const struct stored_clock clock = { clock_now_us(), clock_wall_us() };
	buf_reset(&disk->scratch);
	if (entry_gone_us(entry) <= clock.now_us)
		return disk_store_remove(disk->store, entry->key->digest);
	size_t most = disk->settings->size_bytes / 8;
	if (!stored_value_encode(entry, disk->settings->compress_bytes, &clock, &disk->scratch) ||
	    disk->scratch.len > most) {
		meter_add(disk->meter, METRIC_ID_CACHE_EVICTIONS, TIER_DISK, EVICT_TOO_LARGE, 1);
		return disk_store_remove(disk->store, entry->key->digest); /* it is outdated all the same */
	}
	const struct disk_row row = { entry->key->digest, key_tool(entry->key), buf_slice(&disk->scratch),
				      stored_wall_us(entry->stored_us, &clock),
				      stored_wall_us(entry_gone_us(entry), &clock) };
	enum disk_fault fault = disk_store_put(disk->store, &row, clock.wall_us);
	if (disk->scratch.len > SCRATCH_KEPT_BYTES)
		buf_fini(&disk->scratch);
	return fault;
}

/* --- purges --- */

/* Those that wait get their numbers, and are written down: what is read after a restart is held against them. */
static enum disk_fault note_purges(struct disk *disk)
{
	struct purges *purges = &cache_rule(disk->cache)->purges;
	struct purge_notice notice;
	enum disk_fault fault = DISK_OK;
	while (fault == DISK_OK && purges_take_waiting(purges, &notice)) {
		struct slice text = { notice.text, notice.len };
		uint64_t number = purges_number(purges) + 1;
		fault = disk_store_note_purge(disk->store, text, number);
		if (fault == DISK_OK)
			fault = disk_store_commit_for_good(disk->store);
		if (fault == DISK_OK)
			purges_published(purges, text, notice.event, number, 0);
	}
	if (fault != DISK_OK)
		purges_say_again(purges);
	return fault;
}

/* What an earlier process has written down. */
static enum disk_fault read_purges(struct disk *disk)
{
	struct purges *purges = &cache_rule(disk->cache)->purges;
	uint64_t number = 0;
	struct slice text;
	enum disk_fault fault;
	while ((fault = disk_store_next_purge(disk->store, &number, &text)) == DISK_OK)
		purges_note(purges, text, number);
	return fault == DISK_ABSENT ? DISK_OK : fault;
}

/* The next rows. *count 0: all have gone. */
static enum disk_fault sweep_some(struct disk *disk, struct disk_purge *purge, size_t *count)
{
	struct slice names = buf_slice(&purge->names);
	enum disk_fault fault = DISK_OK;
	*count = 0;
	if (purge->what == DISK_PURGE_ALL)
		return disk_store_sweep_all(disk->store, count);
	if (purge->what == DISK_PURGE_PREFIX)
		return disk_store_sweep_prefix(disk->store, names, count);
	while (fault == DISK_OK && !*count && purge->at < names.len) {
		fault = disk_store_sweep_tool(disk->store, slice_of(names.at + purge->at), count);
		if (!*count)
			purge->at += strlen(names.at + purge->at) + 1;
	}
	return fault;
}

static void end_purge(struct disk *disk, struct disk_purge *purge, bool done)
{
	meter_add(disk->meter, METRIC_ID_CACHE_EVICTIONS, TIER_DISK, EVICT_PURGED, purge->count);
	disk->sweeping = NULL;
	purge->ended(purge, purge->count, done);
}

/* A step of the purge under way. */
static void sweep_step(struct disk *disk)
{
	struct disk_purge *purge = disk->sweeping;
	size_t count = 0;
	enum disk_fault fault = disk->store ? sweep_some(disk, purge, &count) : DISK_OK;
	purge->count += count;
	if (fault != DISK_OK)
		settle_change(disk, fault);
	else
		show_stats(disk);
	if (!disk->store || !count)
		end_purge(disk, purge, disk->store != NULL);
}

static void begin_purge(struct disk *disk, struct disk_purge *purge)
{
	purge->count = purge->at = 0;
	if (!disk->store) {
		atomic_store(&disk->must_empty, true);
		end_purge(disk, purge, false);
		return;
	}
	enum disk_fault fault = note_purges(disk);
	if (fault == DISK_OK && purge->what == DISK_PURGE_KEY) {
		fault = disk_store_remove(disk->store, purge->digest);
		purge->count = fault == DISK_OK;
		settle_purge(disk, fault == DISK_ABSENT ? DISK_OK : fault);
	} else if (fault != DISK_OK) {
		settle_change(disk, fault);
	}
	if (!disk->store || purge->what == DISK_PURGE_KEY)
		end_purge(disk, purge, disk->store != NULL);
	else
		disk->sweeping = purge;
}

static enum disk_fault count_named(struct disk *disk, const struct disk_purge *purge, size_t *count)
{
	struct slice names = buf_slice(&purge->names);
	enum disk_fault fault = DISK_OK;
	size_t more = 0;
	if (purge->what == DISK_PURGE_PREFIX)
		return disk_store_count_prefix(disk->store, names, count);
	if (purge->what == DISK_PURGE_KEY) {
		fault = disk_store_has(disk->store, purge->digest, 0);
		*count = fault == DISK_OK;
		return fault == DISK_ABSENT ? DISK_OK : fault;
	}
	*count = purge->what == DISK_PURGE_ALL ? disk_store_stats(disk->store).entries : 0;
	for (size_t at = 0; purge->what == DISK_PURGE_TOOLS && fault == DISK_OK && at < names.len; *count += more) {
		fault = disk_store_count_tool(disk->store, slice_of(names.at + at), &more);
		at += strlen(names.at + at) + 1;
	}
	return fault;
}

/* What goes wrong here goes wrong with the next look-up too, which begins the file anew. */
static void count_purge(struct disk *disk, struct disk_purge *purge)
{
	size_t count = 0;
	bool done = disk->store && count_named(disk, purge, &count) == DISK_OK;
	purge->ended(purge, count, done);
}

static void carry_out(struct disk *disk, struct change *change)
{
	static const enum disk_job jobs[] = {
		[CHANGE_PUT] = DISK_JOB_PUT, [CHANGE_REMOVE] = DISK_JOB_REMOVE, [CHANGE_PURGE] = DISK_JOB_PURGE
	};
	uint64_t begun_us = clock_now_us();
	if (change->kind == CHANGE_COUNT) {
		count_purge(disk, change->purge);
		return;
	}
	if (change->kind == CHANGE_PURGE)
		begin_purge(disk, change->purge);
	else if (disk->store && change->kind == CHANGE_PUT)
		settle_change(disk, disk_write(disk, change->entry));
	else if (disk->store)
		settle_change(disk, disk_store_remove(disk->store, change->digest));
	else if (change->kind == CHANGE_REMOVE)
		atomic_store(&disk->must_empty, true);
	meter_observe(disk->meter, METRIC_ID_DISK_DURATION, jobs[change->kind], clock_now_us() - begun_us);
}

/* --- the thread --- */

enum work { WORK_EMPTY, WORK_LOOKUP, WORK_SWEEP, WORK_CHANGE, WORK_COMMIT, WORK_LOAD, WORK_OPEN, WORK_STOP };

static struct disk_lookup *take_lookup_locked(struct disk *disk)
{
	struct disk_lookup *lookup = disk->lookups;
	disk->lookups = lookup->next;
	if (!disk->lookups)
		disk->last_lookup = &disk->lookups;
	disk->lookup_count--;
	return lookup;
}

/* It is done: look-ups may ask for its key again. */
static void end_change(struct disk *disk, struct change *change)
{
	pthread_mutex_lock(&disk->mutex);
	if (disk_change_has_key(change))
		--*disk_pending(disk, change->digest);
	pthread_mutex_unlock(&disk->mutex);
	entry_unref(change->entry);
	free(change);
}

/* What is to be done next; waits until there is something. */
static enum work next_work(struct disk *disk, struct disk_lookup **lookup, struct change **change)
{
	for (;;) {
		bool too_late = disk->stopping && clock_now_us() >= disk->stop_us;
		if (!disk->store && !disk->stopping && clock_now_us() >= disk->retry_us)
			return WORK_OPEN;
		if (disk->store && atomic_load(&disk->must_empty))
			return WORK_EMPTY; /* before what waits, which may be what was to be removed */
		if (disk->lookups) {
			*lookup = take_lookup_locked(disk);
			return WORK_LOOKUP;
		}
		if (disk->sweeping && !too_late)
			return WORK_SWEEP;
		if (disk->changes && !too_late) {
			*change = disk_take_change_locked(disk);
			return WORK_CHANGE;
		}
		if (disk->uncommitted)
			return WORK_COMMIT;
		if (disk->stopping)
			return WORK_STOP;
		if (disk->store && atomic_load(&disk->loading))
			return WORK_LOAD;
		atomic_store_explicit(&disk->busy_since_us, 0, memory_order_relaxed);
		timed_wait(&disk->stirred, &disk->mutex, disk->store ? CLOCK_NEVER : disk->retry_us);
	}
}

/* Stores and removals that wait: what they are about goes anyway. */
static struct change *take_moot_changes(struct disk *disk)
{
	struct change *moot = NULL, **at = &disk->changes;
	pthread_mutex_lock(&disk->mutex);
	atomic_store(&disk->must_empty, false); /* one that comes from here on empties again */
	disk->last_change = &disk->changes;
	while (*at) {
		struct change *change = *at;
		if (!disk_change_has_key(change)) {
			disk->last_change = at = &change->next;
			continue;
		}
		*at = change->next;
		change->next = moot;
		moot = change;
		disk->change_count--;
		disk->change_bytes -= change->entry ? entry_bytes(change->entry) : 0;
	}
	pthread_mutex_unlock(&disk->mutex);
	return moot;
}

static void empty_store(struct disk *disk)
{
	size_t count;
	struct change *moot = take_moot_changes(disk);
	enum disk_fault fault = disk_store_purge_all(disk->store, &count);
	meter_add(disk->meter, METRIC_ID_CACHE_EVICTIONS, TIER_DISK, EVICT_PURGED, count);
	log_message(&EVENT_DISK_CACHE_CLEARED, "a removal could not be kept in mind until it was done");
	if (fault == DISK_OK)
		fault = note_purges(disk);
	settle_purge(disk, fault);
	while (moot) {
		struct change *next = moot->next;
		end_change(disk, moot);
		moot = next;
	}
}

static void commit_changes(struct disk *disk)
{
	disk->uncommitted = 0;
	enum disk_fault fault = disk->store ? disk_store_commit(disk->store) : DISK_OK;
	if (fault != DISK_OK)
		begin_anew(disk, fault);
}

static void load_entry(struct disk *disk)
{
	enum disk_fault fault = disk_load_step(disk);
	if (fault != DISK_OK)
		begin_anew(disk, fault);
}

/* Whether something that there was no time for should have gone. */
static bool has_removals(struct disk *disk)
{
	bool found = false;
	pthread_mutex_lock(&disk->mutex);
	for (const struct change *change = disk->changes; change; change = change->next)
		found = found || change->kind == CHANGE_REMOVE || change->kind == CHANGE_PURGE;
	pthread_mutex_unlock(&disk->mutex);
	return found;
}

static void finish_thread(struct disk *disk)
{
	if (disk->sweeping) /* what it has not taken away is refused by what it has written down */
		end_purge(disk, disk->sweeping, disk->store != NULL);
	if (disk->store && (has_removals(disk) || atomic_load(&disk->must_empty)))
		empty_store(disk);
	if (!disk->store)
		return;
	enum disk_fault fault = disk_snapshot(disk);
	if (fault == DISK_OK)
		fault = disk_store_commit(disk->store);
	if (fault != DISK_OK) {
		begin_anew(disk, fault);
		return;
	}
	disk_store_close(disk->store);
	disk->store = NULL;
}

void *disk_run(void *context)
{
	struct disk *disk = context;
	meter_claim(disk->meter);
	for (;;) {
		struct disk_lookup *lookup = NULL;
		struct change *change = NULL;
		pthread_mutex_lock(&disk->mutex);
		enum work work = next_work(disk, &lookup, &change);
		pthread_mutex_unlock(&disk->mutex);
		atomic_store_explicit(&disk->busy_since_us, clock_now_us(), memory_order_relaxed);
		if (work == WORK_STOP)
			break;
		if (work == WORK_OPEN)
			open_store(disk);
		else if (work == WORK_EMPTY)
			empty_store(disk);
		else if (work == WORK_LOOKUP)
			look_up(disk, lookup);
		else if (work == WORK_SWEEP)
			sweep_step(disk);
		else if (work == WORK_COMMIT)
			commit_changes(disk);
		else if (work == WORK_LOAD && disk->store)
			load_entry(disk);
		if (change) {
			carry_out(disk, change);
			end_change(disk, change);
		}
	}
	finish_thread(disk);
	pthread_mutex_lock(&disk->mutex);
	disk->ended = true;
	pthread_cond_signal(&disk->has_ended);
	pthread_mutex_unlock(&disk->mutex);
	return NULL;
}
