/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_store_private.h: what the rows (disk_store.c) and the file they are in (disk_store_open.c) share. Of the thread
 * that opens it, as all of disk_store.h.
 */
#ifndef JITNEY_CACHE_DISK_DISK_STORE_PRIVATE_H
#define JITNEY_CACHE_DISK_DISK_STORE_PRIVATE_H

#include <sqlite3.h>

#include "base/owner.h"
#include "cache/disk/disk_store.h"

enum { PAGE_BYTES = 4096, PATH_MAX_BYTES = 4096, TROUBLE_BYTES = 160 };

/* disk_store.c has their texts. */
enum statement {
	GET,
	HAS,
	PUT,
	REMOVE,
	PURGE_ALL,
	SWEEP_ALL,
	SWEEP_TOOL,
	SWEEP_PREFIX,
	COUNT_TOOL,
	COUNT_PREFIX,
	NOTE_PURGE,
	DROP_PURGES,
	NEXT_PURGE,
	EXPIRE,
	EVICT,
	EVICT_COLD,
	CLEAR_HOT,
	ADD_HOT,
	NEXT_HOT,
	NEXT_NEWEST,
	ENTRIES,
	PAGES,
	FREE_PAGES,
	BEGIN,
	COMMIT,
	STATEMENT_COUNT
};

struct disk_store {
	struct owner owner; /* the thread that opened it */
	sqlite3 *db;
	sqlite3_stmt *statements[STATEMENT_COUNT];
	sqlite3_stmt *reading; /* has a row out, whose value is borrowed; NULL: none */
	int lock_fd;
	uint64_t limit_pages;
	bool changing; /* a transaction is open */
	bool sparing;  /* the hot ones are being written: they stay */
	int64_t cold;  /* sparing: rows up to this id are hot, or have gone */
	struct disk_store_stats stats;
	char path[PATH_MAX_BYTES]; /* of the file */
	char trouble[TROUBLE_BYTES];
};

/* Keep what SQLite says of this code as the store's trouble. Which fault it is. */
enum disk_fault disk_store_note_failure(struct disk_store *store, int code);
/* Carry out statements that return no rows, such as PRAGMAs. */
enum disk_fault disk_store_execute(struct disk_store *store, const char *text) MUST_CHECK;
/* The database is open and has its tables: make the statements ready, and count what is there. */
enum disk_fault disk_store_prepare(struct disk_store *store) MUST_CHECK;
/* Undo it, as far as it came. */
void disk_store_finalize(struct disk_store *store);

#endif
