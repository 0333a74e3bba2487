/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_store.h: the file of the disk tier: stored values by digest in one SQLite database, bounded in bytes. Only
 * purges are synced, so a crash of the machine may damage it: whatever is found damaged, the file is good for nothing
 * but speed and is begun anew. Blocks as long as the disk does: for the thread of disk_thread.c only.
 */
#ifndef JITNEY_CACHE_DISK_DISK_STORE_H
#define JITNEY_CACHE_DISK_DISK_STORE_H

#include "base/compiler.h"
#include "base/slice.h"
#include "cache/disk/disk_settings.h"

enum disk_fault {
	DISK_OK,
	DISK_ABSENT,   /* there is no such row */
	DISK_IN_USE,   /* another process has the directory */
	DISK_FOREIGN,  /* the file is somebody else's: left alone */
	DISK_DAMAGED,  /* it must be begun anew */
	DISK_FULL,     /* no room, though all that may go has gone */
	DISK_FAILED,   /* anything else: rights, I/O */
	DISK_NO_MEMORY /* nothing is wrong with the file */
};

struct disk_store; /* of the thread that opens it (asserted) */

/* What is stored under a digest; borrowed. Times by the wall clock. */
struct disk_row {
	const uint8_t *digest;
	struct slice tool, value;
	uint64_t stored_us, gone_us;
};

/*
 * Open the file in settings->path, or make it, and keep other processes out until disk_store_close. A file that is
 * damaged, of another version or larger than it may be is begun anew: *anew says why (static), else NULL.
 *
 * OK, IN_USE, FOREIGN, FAILED, NO_MEMORY; `why` is a phrase where it is not OK.
 */
enum disk_fault disk_store_open(const struct disk_settings *settings, struct disk_store **out, const char **anew,
				char *why, size_t why_bytes) MUST_CHECK;
/* What was not committed is lost. NULL is allowed. */
void disk_store_close(struct disk_store *store);
/* Close, and delete the file: whatever state it is in, the next open begins anew. False: it cannot be deleted. */
bool disk_store_discard(struct disk_store *store) MUST_CHECK;
/* What went wrong last, for the log. */
const char *disk_store_trouble(const struct disk_store *store);

/* OK, ABSENT, or a fault. *value: until the next call of any of these. */
enum disk_fault disk_store_get(struct disk_store *store, const uint8_t *digest, struct slice *value) MUST_CHECK;
/* Whether that digest's row was stored at that time or later: OK or ABSENT, or a fault. */
enum disk_fault disk_store_has(struct disk_store *store, const uint8_t *digest, uint64_t stored_us) MUST_CHECK;
/* Store, replacing an equal digest, after making room: first what is gone, then the oldest. */
enum disk_fault disk_store_put(struct disk_store *store, const struct disk_row *row, uint64_t wall_us) MUST_CHECK;
/* OK, ABSENT, or a fault. */
enum disk_fault disk_store_remove(struct disk_store *store, const uint8_t *digest) MUST_CHECK;
/* Remove everything. *count: how many went. */
enum disk_fault disk_store_purge_all(struct disk_store *store, size_t *count) MUST_CHECK;
/* Remove some of all / of a tool's answers / of those of tools whose names begin so, and commit. *count 0: all have
 * gone. */
enum disk_fault disk_store_sweep_all(struct disk_store *store, size_t *count) MUST_CHECK;
enum disk_fault disk_store_sweep_tool(struct disk_store *store, struct slice tool, size_t *count) MUST_CHECK;
enum disk_fault disk_store_sweep_prefix(struct disk_store *store, struct slice prefix, size_t *count) MUST_CHECK;
/* How many of a tool's answers / of those of tools whose names begin so there are. */
enum disk_fault disk_store_count_tool(struct disk_store *store, struct slice tool, size_t *count) MUST_CHECK;
enum disk_fault disk_store_count_prefix(struct disk_store *store, struct slice prefix, size_t *count) MUST_CHECK;
/* Keep in mind that what this text names was purged, under this number (purges.h); to be committed for good. One of
 * everything, the empty text, takes the place of all before it. */
enum disk_fault disk_store_note_purge(struct disk_store *store, struct slice text, uint64_t number) MUST_CHECK;
/* Walk them: *number is 0 at first. ABSENT: the end. */
enum disk_fault disk_store_next_purge(struct disk_store *store, uint64_t *number, struct slice *text) MUST_CHECK;
/* Changes so far survive the end of the process, though not that of the machine. */
enum disk_fault disk_store_commit(struct disk_store *store) MUST_CHECK;

/* The same, and that of the machine: for purges, since a log that loses its end is a consistent, older database, in
 * which what was purged is back. */
enum disk_fault disk_store_commit_for_good(struct disk_store *store) MUST_CHECK;

/* The list of what was wanted most, from the last snapshot: emptied, then written hottest first. From then on what is
 * in the list does not make room for what is put, which comes back as FULL when nothing else is left. */
enum disk_fault disk_store_clear_hot(struct disk_store *store) MUST_CHECK;
enum disk_fault disk_store_add_hot(struct disk_store *store, const uint8_t *digest) MUST_CHECK;
/* Walk it: *place is 0 at first. ABSENT: the end. */
enum disk_fault disk_store_next_hot(struct disk_store *store, int64_t *place, struct slice *value) MUST_CHECK;
/* Walk all, newest first: *place is INT64_MAX at first. */
enum disk_fault disk_store_next_newest(struct disk_store *store, int64_t *place, struct slice *value) MUST_CHECK;

struct disk_store_stats {
	uint64_t entries, bytes; /* rows; pages in use, in bytes */
	uint64_t evicted,
		expired; /* rows removed since the file was opened, to make room, because their time had passed */
};
/* From memory: no I/O. */
struct disk_store_stats disk_store_stats(const struct disk_store *store);

#endif
