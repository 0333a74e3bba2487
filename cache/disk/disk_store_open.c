/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_store_open.c: the disk tier's file: whose directory it is in, whose file it is, its tables; made where there is
 * none, and begun anew where it is of no use.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/disk/disk_store_private.h"

enum {
	APPLICATION = 0x6a69746e, /* "jitn": whose file it is */
	VERSION = 2,              /* of the tables; another one is begun anew */
	CACHE_KIB = 2048          /* SQLite's own memory for pages */
};

static const char schema[] =
	"CREATE TABLE entries (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE,"
	" tool BLOB NOT NULL, stored INTEGER NOT NULL, gone INTEGER NOT NULL, value BLOB NOT NULL);"
	"CREATE INDEX by_gone ON entries (gone);"
	"CREATE INDEX by_tool ON entries (tool);"
	"CREATE TABLE hot (rank INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE);"
	"CREATE TABLE purges (text BLOB NOT NULL UNIQUE, number INTEGER NOT NULL UNIQUE);";

static bool delete_files(const char *path)
{
	bool gone = true;
	static const char *const endings[] = { "", "-wal", "-shm", "-journal" };
	char name[PATH_MAX_BYTES + sizeof "-journal"];
	for (size_t i = 0; i < countof(endings); i++) {
		snprintf(name, sizeof name, "%s%s", path, endings[i]);
		gone = (unlink(name) == 0 || errno == ENOENT) && gone; /* most of them are not there */
	}
	return gone;
}

static void close_database(struct disk_store *store)
{
	disk_store_finalize(store);
	sqlite3_close(store->db);
	store->db = NULL;
	store->changing = false;
	store->stats = (struct disk_store_stats){ 0 };
}

void disk_store_close(struct disk_store *store)
{
	if (!store)
		return;
	close_database(store);
	if (store->lock_fd >= 0)
		close(store->lock_fd);
	free(store);
}

bool disk_store_discard(struct disk_store *store)
{
	close_database(store);
	bool gone = delete_files(store->path);
	disk_store_close(store);
	return gone;
}

/* What PRAGMA `name` says. */
static enum disk_fault ask_number(struct disk_store *store, const char *text, int64_t *number)
{
	sqlite3_stmt *statement;
	int code = sqlite3_prepare_v2(store->db, text, -1, &statement, NULL);
	if (code == SQLITE_OK) {
		code = sqlite3_step(statement);
		if (code == SQLITE_ROW)
			*number = sqlite3_column_int64(statement, 0);
	}
	enum disk_fault fault = code == SQLITE_ROW ? DISK_OK : disk_store_note_failure(store, code);
	sqlite3_finalize(statement);
	return fault;
}

/* Keys hold arguments and values answers: nobody else's to read, whoever made the directory. SQLite gives its log the
 * rights of the database. */
static enum disk_fault keep_private(struct disk_store *store)
{
	int fd = open(store->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	bool ok = fd >= 0 && fchmod(fd, 0600) == 0;
	if (!ok)
		snprintf(store->trouble, sizeof store->trouble, "cannot open it: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return ok ? DISK_OK : DISK_FAILED;
}

/* Whose file it is; nothing is written. OK, *empty: it is new; DAMAGED with *anew set: ours, and of no use. */
static enum disk_fault recognise_file(struct disk_store *store, uint64_t size_bytes, const char **anew, bool *empty)
{
	int64_t application = 0, version = 0, pages = 0, page_bytes = 0, tables = 0;
	enum disk_fault fault = ask_number(store, "PRAGMA application_id", &application);
	if (fault == DISK_OK)
		fault = ask_number(store, "PRAGMA user_version", &version);
	if (fault == DISK_OK)
		fault = ask_number(store, "PRAGMA page_count", &pages);
	if (fault == DISK_OK)
		fault = ask_number(store, "PRAGMA page_size", &page_bytes);
	if (fault == DISK_OK)
		fault = ask_number(store, "SELECT count(*) FROM sqlite_schema", &tables);
	*empty = tables == 0;
	if (fault != DISK_OK || *empty)
		return fault;
	if (application != APPLICATION) {
		snprintf(store->trouble, sizeof store->trouble, "%s", "cache.db is another program's database");
		return DISK_FOREIGN;
	}
	if (version != VERSION || page_bytes != PAGE_BYTES)
		*anew = "it was written by another version";
	else if ((uint64_t)pages * PAGE_BYTES > size_bytes)
		*anew = "it is larger than cache.disk.size";
	return *anew ? DISK_DAMAGED : DISK_OK;
}

/* A change must be written whole or not at all, though not synced: the log is for the end of the process, not of the
 * machine. In exclusive mode its index is on the heap: no shared memory. */
static enum disk_fault set_up(struct disk_store *store, uint64_t size_bytes)
{
	char text[256];
	snprintf(text, sizeof text,
		 "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 512; "
		 "PRAGMA journal_size_limit = 4194304; PRAGMA max_page_count = %llu;",
		 (unsigned long long)(size_bytes / PAGE_BYTES));
	return disk_store_execute(store, text);
}

static enum disk_fault make_tables(struct disk_store *store)
{
	char text[1024];
	snprintf(text, sizeof text, "BEGIN; PRAGMA application_id = %d; PRAGMA user_version = %d; %s COMMIT;",
		 APPLICATION, VERSION, schema);
	return disk_store_execute(store, text);
}

static enum disk_fault open_database(struct disk_store *store, uint64_t size_bytes, const char **anew)
{
	char text[160];
	bool empty = false;
	enum disk_fault fault = keep_private(store);
	if (fault != DISK_OK)
		return fault;
	int code = sqlite3_open_v2(store->path, &store->db,
				   SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	if (code != SQLITE_OK)
		return disk_store_note_failure(store, code);
	snprintf(text, sizeof text,
		 "PRAGMA locking_mode = EXCLUSIVE; PRAGMA page_size = %d; PRAGMA mmap_size = 0; "
		 "PRAGMA cache_size = -%d; PRAGMA temp_store = MEMORY;",
		 PAGE_BYTES, CACHE_KIB);
	fault = disk_store_execute(store, text);
	if (fault == DISK_OK)
		fault = recognise_file(store, size_bytes, anew, &empty);
	if (fault == DISK_OK)
		fault = set_up(store, size_bytes);
	if (fault == DISK_OK && empty)
		fault = make_tables(store);
	return fault == DISK_OK ? disk_store_prepare(store) : fault;
}

/* The directory is one process's: by a lock that ends with the process. */
static enum disk_fault lock_directory(struct disk_store *store, const char *path)
{
	char name[PATH_MAX_BYTES];
	snprintf(name, sizeof name, "%s/lock", path);
	if (mkdir(path, 0700) < 0 && errno != EEXIST) {
		snprintf(store->trouble, sizeof store->trouble, "cannot make the directory: %s", strerror(errno));
		return DISK_FAILED;
	}
	store->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (store->lock_fd >= 0 && flock(store->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return DISK_OK;
	bool taken = store->lock_fd >= 0 && errno == EWOULDBLOCK;
	snprintf(store->trouble, sizeof store->trouble, "%s",
		 taken ? "another process uses it; each gateway needs a directory of its own" : strerror(errno));
	return taken ? DISK_IN_USE : DISK_FAILED;
}

/* What cannot be used is deleted and tried once more. */
static enum disk_fault open_or_begin_anew(struct disk_store *store, const struct disk_settings *settings,
					  const char **anew)
{
	enum disk_fault fault = open_database(store, settings->size_bytes, anew);
	if (fault != DISK_DAMAGED)
		return fault;
	if (!*anew)
		*anew = "it is damaged";
	close_database(store);
	if (!delete_files(store->path)) {
		snprintf(store->trouble, sizeof store->trouble, "%s and cannot be deleted: %s", *anew, strerror(errno));
		return DISK_FAILED;
	}
	const char *again = NULL;
	fault = open_database(store, settings->size_bytes, &again);
	return fault == DISK_DAMAGED ? DISK_FAILED : fault;
}

enum disk_fault disk_store_open(const struct disk_settings *settings, struct disk_store **out, const char **anew,
				char *why, size_t why_bytes)
{
	struct disk_store *store = calloc(1, sizeof *store);
	*out = NULL;
	*anew = NULL;
	snprintf(why, why_bytes, "out of memory");
	if (!store)
		return DISK_NO_MEMORY;
	owner_claim(&store->owner);
	store->lock_fd = -1;
	store->limit_pages = (settings->size_bytes - settings->size_bytes / 16) / PAGE_BYTES;
	snprintf(store->path, sizeof store->path, "%s/cache.db", settings->path);
	enum disk_fault fault = lock_directory(store, settings->path);
	if (fault == DISK_OK)
		fault = open_or_begin_anew(store, settings, anew);
	if (fault == DISK_OK) {
		*out = store;
		return DISK_OK;
	}
	snprintf(why, why_bytes, "%s", store->trouble);
	disk_store_close(store);
	return fault;
}
