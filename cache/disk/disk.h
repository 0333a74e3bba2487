/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk.h: the disk tier's thread, one for the process, over the file (disk_store.h). Workers hand it look-ups and
 * changes through two bounded queues and never wait for it; disk_tier.c is their side. It opens the file, and opens it
 * anew when it is damaged or cannot be written; loads memory from it when the process starts, and writes what memory
 * holds into it when the process ends.
 */
#ifndef JITNEY_CACHE_DISK_DISK_H
#define JITNEY_CACHE_DISK_DISK_H

#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/loop.h"
#include "cache/cache.h"
#include "cache/disk/disk_settings.h"
#include "cache/tier.h"
#include "metrics/metrics.h"

struct disk; /* any thread, unless said otherwise */

/*
 * settings  frozen, outlive the disk.
 * cache     loaded at the start, and listed at the end.
 * metrics   gets a meter for the thread and a scrape hook; nothing may be scraped after disk_free.
 * NULL when memory is out. Main thread. Touches no file.
 */
struct disk *disk_new(const struct disk_settings *settings, struct cache *cache, struct metrics *metrics) MUST_CHECK;
/* Start the thread. False and errno. Main thread, after whatever forks. */
bool disk_start(struct disk *disk) MUST_CHECK;
/*
 * End the thread: what is queued is done first, then memory's answers are written, hottest first, for
 * settings->snapshot_us at most. False: the disk hangs and so does the thread, which is left alone: nothing that it
 * uses may be freed. Main thread, when no worker runs any more. Allowed if it was not started.
 */
bool disk_stop(struct disk *disk) MUST_CHECK;
/* After disk_stop, and after its tiers. NULL is allowed. */
void disk_free(struct disk *disk);

/* A worker's side. tier.h; the same `meter` as the worker's. NULL when memory is out. Main thread. */
struct tier *disk_tier_new(struct disk *disk, struct loop *loop, struct meter *meter) MUST_CHECK;

/* What a purge takes away, and who wants to know when it is written and all of it has gone; or how much that would be. */
struct disk_purge {
	enum { DISK_PURGE_ALL, DISK_PURGE_PREFIX, DISK_PURGE_TOOLS, DISK_PURGE_KEY } what;
	struct buf names; /* PREFIX: it; TOOLS: names, each ended by NUL. Owned by whoever made the purge */
	uint8_t digest[KEY_DIGEST_BYTES]; /* KEY */
	/* On the disk's thread; `done` false: the disk is away, and (of a purge) is emptied before it is used again. */
	void (*ended)(struct disk_purge *purge, size_t count, bool done);
	/* the thread's */
	size_t count, at;
};
/* After cache_purge, by which nothing of it is served any more. `ended` is called once, maybe before this returns. */
void disk_purge(struct disk *disk, struct disk_purge *purge);
/* Only count what it would take away. `ended` likewise. */
void disk_count(struct disk *disk, struct disk_purge *purge);

enum disk_state {
	DISK_STARTING,
	DISK_UP,
	DISK_AWAY /* in use elsewhere, or it cannot be opened or written: tried again */
};
struct disk_status {
	enum disk_state state;
	uint64_t entries, bytes, capacity_bytes, loaded;
	bool loading;
	char trouble[128]; /* AWAY: why */
};
/* As of now. Any thread. */
void disk_status(struct disk *disk, struct disk_status *status);

#endif
