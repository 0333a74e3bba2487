/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_store.c: the rows of the disk tier's file, in SQLite; every statement is prepared once, and changes gather in one
 * transaction until disk_store_commit. How the file is found, made and given up is in disk_store_open.c.
 */
#include <stdio.h>

#include "cache/disk/disk_store_private.h"
#include "cache/key.h"

enum {
	PAGES_PER_ROW = 4,      /* room for the tree around a row */
	ROWS_PER_STEP = 32,     /* removed at once to make room */
	ROWS_PER_SWEEP = 256,   /* by a purge, between two look-ups */
	EVICT_STEPS_MAX = 4096, /* a row of 16 MiB may take the place of as many small ones */
};

static const char *const texts[STATEMENT_COUNT] = {
	[GET] = "SELECT value FROM entries WHERE digest = ?1",
	[HAS] = "SELECT 1 FROM entries WHERE digest = ?1 AND stored >= ?2",
	[PUT] = "INSERT OR REPLACE INTO entries (digest, tool, stored, gone, value) VALUES (?1, ?2, ?3, ?4, ?5)",
	[REMOVE] = "DELETE FROM entries WHERE digest = ?1",
	[PURGE_ALL] = "DELETE FROM entries",
	[SWEEP_ALL] = "DELETE FROM entries WHERE id IN (SELECT id FROM entries LIMIT ?2)",
	[SWEEP_TOOL] = "DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE tool = ?1 LIMIT ?2)",
	[SWEEP_PREFIX] = ("DELETE FROM entries WHERE id IN"
			  " (SELECT id FROM entries WHERE substr(tool, 1, length(?1)) = ?1 LIMIT ?2)"),
	[COUNT_TOOL] = "SELECT count(*) FROM entries WHERE tool = ?1",
	[COUNT_PREFIX] = "SELECT count(*) FROM entries WHERE substr(tool, 1, length(?1)) = ?1",
	[NOTE_PURGE] = "INSERT OR REPLACE INTO purges (text, number) VALUES (?1, ?2)",
	[DROP_PURGES] = "DELETE FROM purges WHERE number < ?1",
	[NEXT_PURGE] = "SELECT number, text FROM purges WHERE number > ?1 ORDER BY number LIMIT 1",
	[EXPIRE] = "DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE gone <= ?1 ORDER BY gone LIMIT ?2)",
	[EVICT] = "DELETE FROM entries WHERE id IN (SELECT id FROM entries ORDER BY id LIMIT ?1)",
	[EVICT_COLD] = ("DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE id > ?2 AND NOT EXISTS"
			" (SELECT 1 FROM hot WHERE hot.digest = entries.digest) ORDER BY id LIMIT ?1) RETURNING id"),
	[CLEAR_HOT] = "DELETE FROM hot",
	[ADD_HOT] = "INSERT INTO hot (digest) VALUES (?1)",
	[NEXT_HOT] = ("SELECT hot.rank, entries.value FROM hot JOIN entries ON entries.digest = hot.digest "
		      "WHERE hot.rank > ?1 ORDER BY hot.rank LIMIT 1"),
	[NEXT_NEWEST] = "SELECT id, value FROM entries WHERE id < ?1 ORDER BY id DESC LIMIT 1",
	[ENTRIES] = "SELECT count(*) FROM entries",
	[PAGES] = "PRAGMA page_count",
	[FREE_PAGES] = "PRAGMA freelist_count",
	[BEGIN] = "BEGIN",
	[COMMIT] = "COMMIT",
};

/* --- faults --- */

static enum disk_fault fault_of(int code)
{
	switch (code & 0xff) {
	case SQLITE_OK:
	case SQLITE_DONE:
	case SQLITE_ROW:
		return DISK_OK;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_FORMAT:
	case SQLITE_ERROR: /* a table is not what it was */
	case SQLITE_SCHEMA:
	case SQLITE_CONSTRAINT: /* an index that does not fit its table */
		return DISK_DAMAGED;
	case SQLITE_FULL:
		return DISK_FULL;
	case SQLITE_NOMEM:
		return DISK_NO_MEMORY;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return DISK_IN_USE;
	default:
		return DISK_FAILED;
	}
}

enum disk_fault disk_store_note_failure(struct disk_store *store, int code)
{
	snprintf(store->trouble, sizeof store->trouble, "%s",
		 store->db ? sqlite3_errmsg(store->db) : sqlite3_errstr(code));
	return fault_of(code);
}

const char *disk_store_trouble(const struct disk_store *store)
{
	return store->trouble;
}

/* --- statements --- */

static void end_reading(struct disk_store *store)
{
	if (store->reading)
		sqlite3_reset(store->reading);
	store->reading = NULL;
}

static sqlite3_stmt *use_statement(struct disk_store *store, enum statement which)
{
	assert_owner(&store->owner);
	end_reading(store);
	return store->statements[which];
}

/* Carry out what returns no row. */
static enum disk_fault carry_out(struct disk_store *store, sqlite3_stmt *statement)
{
	int code = sqlite3_step(statement);
	enum disk_fault fault = code == SQLITE_DONE ? DISK_OK : disk_store_note_failure(store, code);
	sqlite3_reset(statement);
	sqlite3_clear_bindings(statement);
	return fault;
}

/* The one number a statement returns. */
static enum disk_fault read_number(struct disk_store *store, sqlite3_stmt *statement, uint64_t *number)
{
	int code = sqlite3_step(statement);
	enum disk_fault fault = code == SQLITE_ROW ? DISK_OK : disk_store_note_failure(store, code);
	if (fault == DISK_OK)
		*number = (uint64_t)sqlite3_column_int64(statement, 0);
	sqlite3_reset(statement);
	return fault;
}

/* A row with a value in this column; it stays out until the next use. */
static enum disk_fault read_row(struct disk_store *store, sqlite3_stmt *statement, int column, struct slice *value)
{
	int code = sqlite3_step(statement);
	if (code != SQLITE_ROW) {
		enum disk_fault fault = code == SQLITE_DONE ? DISK_ABSENT : disk_store_note_failure(store, code);
		sqlite3_reset(statement);
		return fault;
	}
	store->reading = statement;
	const void *bytes = sqlite3_column_blob(statement, column);
	size_t len = (size_t)sqlite3_column_bytes(statement, column);
	if (!bytes && sqlite3_errcode(store->db) == SQLITE_NOMEM)
		return DISK_NO_MEMORY;
	*value = (struct slice){ bytes ? bytes : "", bytes ? len : 0 };
	return DISK_OK;
}

static void bind_bytes(sqlite3_stmt *statement, int place, struct slice bytes)
{
	sqlite3_bind_blob(statement, place, bytes.len ? bytes.at : "", (int)bytes.len, SQLITE_STATIC);
}

static void bind_digest(sqlite3_stmt *statement, int place, const uint8_t *digest)
{
	sqlite3_bind_blob(statement, place, digest, KEY_DIGEST_BYTES, SQLITE_STATIC);
}

/* A change begins: open the transaction if none is. */
static enum disk_fault begin_transaction(struct disk_store *store)
{
	if (store->changing)
		return DISK_OK;
	enum disk_fault fault = carry_out(store, use_statement(store, BEGIN));
	store->changing = fault == DISK_OK;
	return fault;
}

/* A change that takes rows away; *count: how many. */
static enum disk_fault take_away(struct disk_store *store, sqlite3_stmt *statement, size_t *count)
{
	enum disk_fault fault = begin_transaction(store);
	if (fault == DISK_OK)
		fault = carry_out(store, statement);
	*count = fault == DISK_OK ? (size_t)sqlite3_changes(store->db) : 0;
	store->stats.entries -= *count < store->stats.entries ? *count : store->stats.entries;
	return fault;
}

enum disk_fault disk_store_commit(struct disk_store *store)
{
	if (!store->changing)
		return DISK_OK;
	enum disk_fault fault = carry_out(store, use_statement(store, COMMIT));
	store->changing = fault != DISK_OK;
	return fault;
}

enum disk_fault disk_store_execute(struct disk_store *store, const char *text)
{
	int code = sqlite3_exec(store->db, text, NULL, NULL, NULL);
	return code == SQLITE_OK ? DISK_OK : disk_store_note_failure(store, code);
}

/* The checkpoint moves it from the log into the database: a log that is written anew is never synced. */
enum disk_fault disk_store_commit_for_good(struct disk_store *store)
{
	/* the level cannot be changed within a transaction, so what is open ends first */
	end_reading(store);
	enum disk_fault fault = disk_store_commit(store);
	if (fault == DISK_OK)
		fault = disk_store_execute(store, "PRAGMA synchronous = FULL; PRAGMA wal_checkpoint(TRUNCATE)");
	enum disk_fault after = disk_store_execute(store, "PRAGMA synchronous = OFF");
	return fault == DISK_OK ? after : fault;
}

/* --- room --- */

static enum disk_fault measure_pages(struct disk_store *store, uint64_t *used_pages)
{
	uint64_t pages, unused = 0;
	enum disk_fault fault = read_number(store, use_statement(store, PAGES), &pages);
	if (fault == DISK_OK)
		fault = read_number(store, use_statement(store, FREE_PAGES), &unused);
	if (fault != DISK_OK)
		return fault;
	*used_pages = pages > unused ? pages - unused : 0;
	store->stats.bytes = *used_pages * PAGE_BYTES;
	return DISK_OK;
}

/* The oldest but the hot ones. */
static enum disk_fault evict_cold(struct disk_store *store, size_t *count)
{
	enum disk_fault fault = begin_transaction(store);
	sqlite3_stmt *statement = use_statement(store, EVICT_COLD);
	int code = SQLITE_DONE;
	*count = 0;
	sqlite3_bind_int(statement, 1, ROWS_PER_STEP);
	sqlite3_bind_int64(statement, 2, store->cold);
	while (fault == DISK_OK && (code = sqlite3_step(statement)) == SQLITE_ROW) {
		int64_t id = sqlite3_column_int64(statement, 0);
		store->cold = id > store->cold ? id : store->cold;
		++*count;
	}
	if (fault == DISK_OK && code != SQLITE_DONE)
		fault = disk_store_note_failure(store, code);
	sqlite3_reset(statement);
	store->stats.entries -= *count < store->stats.entries ? *count : store->stats.entries;
	return fault;
}

/* Take some away: what is gone, else the oldest. *count 0: there is nothing left. */
static enum disk_fault evict_some(struct disk_store *store, uint64_t wall_us, size_t *count)
{
	sqlite3_stmt *statement = use_statement(store, EXPIRE);
	sqlite3_bind_int64(statement, 1, (sqlite3_int64)wall_us);
	sqlite3_bind_int(statement, 2, ROWS_PER_STEP);
	enum disk_fault fault = take_away(store, statement, count);
	store->stats.expired += *count;
	if (fault != DISK_OK || *count)
		return fault;
	if (store->sparing) {
		fault = evict_cold(store, count);
	} else {
		statement = use_statement(store, EVICT);
		sqlite3_bind_int(statement, 1, ROWS_PER_STEP);
		fault = take_away(store, statement, count);
	}
	store->stats.evicted += *count;
	return fault;
}

static enum disk_fault make_room(struct disk_store *store, size_t bytes, uint64_t wall_us)
{
	uint64_t wanted = bytes / PAGE_BYTES + PAGES_PER_ROW, used = 0;
	for (int steps = 0; steps < EVICT_STEPS_MAX; steps++) {
		size_t count = 1;
		enum disk_fault fault = measure_pages(store, &used);
		if (fault != DISK_OK || used + wanted <= store->limit_pages)
			return fault;
		fault = evict_some(store, wall_us, &count);
		if (fault != DISK_OK)
			return fault;
		if (!count)
			break;
	}
	return DISK_FULL;
}

/* --- the front door --- */

enum disk_fault disk_store_get(struct disk_store *store, const uint8_t *digest, struct slice *value)
{
	sqlite3_stmt *statement = use_statement(store, GET);
	bind_digest(statement, 1, digest);
	return read_row(store, statement, 0, value);
}

enum disk_fault disk_store_has(struct disk_store *store, const uint8_t *digest, uint64_t stored_us)
{
	struct slice ignored;
	sqlite3_stmt *statement = use_statement(store, HAS);
	bind_digest(statement, 1, digest);
	sqlite3_bind_int64(statement, 2, (sqlite3_int64)stored_us);
	return read_row(store, statement, 0, &ignored);
}

enum disk_fault disk_store_put(struct disk_store *store, const struct disk_row *row, uint64_t wall_us)
{
	enum disk_fault fault = disk_store_remove(store, row->digest);
	if (fault == DISK_ABSENT)
		fault = DISK_OK;
	if (fault == DISK_OK)
		fault = make_room(store, row->tool.len + row->value.len, wall_us);
	if (fault != DISK_OK)
		return fault;
	sqlite3_stmt *statement = use_statement(store, PUT);
	bind_digest(statement, 1, row->digest);
	bind_bytes(statement, 2, row->tool);
	sqlite3_bind_int64(statement, 3, (sqlite3_int64)row->stored_us);
	sqlite3_bind_int64(statement, 4, (sqlite3_int64)(row->gone_us > INT64_MAX ? INT64_MAX : row->gone_us));
	bind_bytes(statement, 5, row->value);
	fault = carry_out(store, statement);
	if (fault == DISK_OK)
		store->stats.entries++;
	return fault;
}

enum disk_fault disk_store_remove(struct disk_store *store, const uint8_t *digest)
{
	size_t count;
	sqlite3_stmt *statement = use_statement(store, REMOVE);
	bind_digest(statement, 1, digest);
	enum disk_fault fault = take_away(store, statement, &count);
	return fault == DISK_OK && !count ? DISK_ABSENT : fault;
}

enum disk_fault disk_store_purge_all(struct disk_store *store, size_t *count)
{
	return take_away(store, use_statement(store, PURGE_ALL), count);
}

/* Committed at once, so that the log stays small and what is looked up meanwhile is not kept waiting. */
static enum disk_fault sweep_rows(struct disk_store *store, enum statement which, struct slice name, size_t *count)
{
	sqlite3_stmt *statement = use_statement(store, which);
	bind_bytes(statement, 1, name);
	sqlite3_bind_int(statement, 2, ROWS_PER_SWEEP);
	enum disk_fault fault = take_away(store, statement, count);
	return fault == DISK_OK ? disk_store_commit(store) : fault;
}

enum disk_fault disk_store_sweep_all(struct disk_store *store, size_t *count)
{
	return sweep_rows(store, SWEEP_ALL, (struct slice){ 0 }, count);
}

enum disk_fault disk_store_sweep_tool(struct disk_store *store, struct slice tool, size_t *count)
{
	return sweep_rows(store, SWEEP_TOOL, tool, count);
}

enum disk_fault disk_store_sweep_prefix(struct disk_store *store, struct slice prefix, size_t *count)
{
	return sweep_rows(store, SWEEP_PREFIX, prefix, count);
}

static enum disk_fault count_rows(struct disk_store *store, enum statement which, struct slice name, size_t *count)
{
	uint64_t number = 0;
	sqlite3_stmt *statement = use_statement(store, which);
	bind_bytes(statement, 1, name);
	enum disk_fault fault = read_number(store, statement, &number);
	*count = (size_t)number;
	return fault;
}

enum disk_fault disk_store_count_tool(struct disk_store *store, struct slice tool, size_t *count)
{
	return count_rows(store, COUNT_TOOL, tool, count);
}

enum disk_fault disk_store_count_prefix(struct disk_store *store, struct slice prefix, size_t *count)
{
	return count_rows(store, COUNT_PREFIX, prefix, count);
}

enum disk_fault disk_store_note_purge(struct disk_store *store, struct slice text, uint64_t number)
{
	enum disk_fault fault = begin_transaction(store);
	if (fault == DISK_OK && !text.len) {
		sqlite3_stmt *drop = use_statement(store, DROP_PURGES);
		sqlite3_bind_int64(drop, 1, (sqlite3_int64)number);
		fault = carry_out(store, drop);
	}
	if (fault != DISK_OK)
		return fault;
	sqlite3_stmt *note = use_statement(store, NOTE_PURGE);
	bind_bytes(note, 1, text);
	sqlite3_bind_int64(note, 2, (sqlite3_int64)number);
	return carry_out(store, note);
}

enum disk_fault disk_store_clear_hot(struct disk_store *store)
{
	enum disk_fault fault = begin_transaction(store);
	store->sparing = true;
	store->cold = 0;
	return fault == DISK_OK ? carry_out(store, use_statement(store, CLEAR_HOT)) : fault;
}

enum disk_fault disk_store_add_hot(struct disk_store *store, const uint8_t *digest)
{
	enum disk_fault fault = begin_transaction(store);
	sqlite3_stmt *statement = use_statement(store, ADD_HOT);
	bind_digest(statement, 1, digest);
	return fault == DISK_OK ? carry_out(store, statement) : fault;
}

static enum disk_fault next_row(struct disk_store *store, enum statement which, int64_t *place, struct slice *value)
{
	sqlite3_stmt *statement = use_statement(store, which);
	sqlite3_bind_int64(statement, 1, *place);
	enum disk_fault fault = read_row(store, statement, 1, value);
	if (store->reading)
		*place = sqlite3_column_int64(statement, 0);
	return fault;
}

enum disk_fault disk_store_next_hot(struct disk_store *store, int64_t *place, struct slice *value)
{
	return next_row(store, NEXT_HOT, place, value);
}

enum disk_fault disk_store_next_newest(struct disk_store *store, int64_t *place, struct slice *value)
{
	return next_row(store, NEXT_NEWEST, place, value);
}

enum disk_fault disk_store_next_purge(struct disk_store *store, uint64_t *number, struct slice *text)
{
	return next_row(store, NEXT_PURGE, (int64_t *)number, text);
}

struct disk_store_stats disk_store_stats(const struct disk_store *store)
{
	return store->stats;
}

/* --- prepare --- */

enum disk_fault disk_store_prepare(struct disk_store *store)
{
	for (size_t i = 0; i < STATEMENT_COUNT; i++) {
		int code = sqlite3_prepare_v3(store->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &store->statements[i],
					      NULL);
		if (code != SQLITE_OK)
			return disk_store_note_failure(store, code);
	}
	uint64_t used;
	enum disk_fault fault = read_number(store, use_statement(store, ENTRIES), &store->stats.entries);
	return fault == DISK_OK ? measure_pages(store, &used) : fault;
}

void disk_store_finalize(struct disk_store *store)
{
	end_reading(store);
	for (size_t i = 0; i < STATEMENT_COUNT; i++) {
		sqlite3_finalize(store->statements[i]);
		store->statements[i] = NULL;
	}
}
