/* SPDX-License-Identifier: Apache-2.0 */
/* hard_disk.c: a VFS around SQLite's own. Version 1 of the methods is enough: the log is used without shared memory. */
#include "tests/support/hard_disk.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

struct hard_file {
	sqlite3_file base;
	sqlite3_file *real; /* behind this struct */
	long unsynced;      /* writes; the disk's thread only */
};

static sqlite3_vfs *real_vfs;
static sqlite3_vfs hard_vfs;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t freed = PTHREAD_COND_INITIALIZER;
static bool hanging;         /* m */
static atomic_bool waiting;  /* a */
static atomic_bool filled;   /* a */
static atomic_long unsynced; /* a: of all files */

static sqlite3_file *real_of(sqlite3_file *file)
{
	return ((struct hard_file *)(void *)file)->real;
}

static void pass(void)
{
	pthread_mutex_lock(&mutex);
	while (hanging) {
		atomic_store(&waiting, true);
		pthread_cond_wait(&freed, &mutex);
	}
	atomic_store(&waiting, false);
	pthread_mutex_unlock(&mutex);
}

static void note_safe(sqlite3_file *file)
{
	struct hard_file *hard = (struct hard_file *)(void *)file;
	atomic_fetch_sub(&unsynced, hard->unsynced);
	hard->unsynced = 0;
}

static int do_close(sqlite3_file *file)
{
	note_safe(file);
	return real_of(file)->pMethods->xClose(real_of(file));
}

static int do_read(sqlite3_file *file, void *to, int bytes, sqlite3_int64 at)
{
	pass();
	return real_of(file)->pMethods->xRead(real_of(file), to, bytes, at);
}

static int do_write(sqlite3_file *file, const void *from, int bytes, sqlite3_int64 at)
{
	pass();
	((struct hard_file *)(void *)file)->unsynced++;
	atomic_fetch_add(&unsynced, 1);
	return atomic_load(&filled) ? SQLITE_FULL : real_of(file)->pMethods->xWrite(real_of(file), from, bytes, at);
}

static int do_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	return real_of(file)->pMethods->xTruncate(real_of(file), size);
}

static int do_sync(sqlite3_file *file, int flags)
{
	int code = real_of(file)->pMethods->xSync(real_of(file), flags);
	if (code == SQLITE_OK)
		note_safe(file);
	return code;
}

static int do_size(sqlite3_file *file, sqlite3_int64 *size)
{
	return real_of(file)->pMethods->xFileSize(real_of(file), size);
}

static int do_lock(sqlite3_file *file, int lock)
{
	return real_of(file)->pMethods->xLock(real_of(file), lock);
}

static int do_unlock(sqlite3_file *file, int lock)
{
	return real_of(file)->pMethods->xUnlock(real_of(file), lock);
}

static int do_check(sqlite3_file *file, int *result)
{
	return real_of(file)->pMethods->xCheckReservedLock(real_of(file), result);
}

static int do_control(sqlite3_file *file, int operation, void *argument)
{
	return real_of(file)->pMethods->xFileControl(real_of(file), operation, argument);
}

static int do_sector(sqlite3_file *file)
{
	return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int do_traits(sqlite3_file *file)
{
	return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

static const sqlite3_io_methods methods = {
	.iVersion = 1,
	.xClose = do_close,
	.xRead = do_read,
	.xWrite = do_write,
	.xTruncate = do_truncate,
	.xSync = do_sync,
	.xFileSize = do_size,
	.xLock = do_lock,
	.xUnlock = do_unlock,
	.xCheckReservedLock = do_check,
	.xFileControl = do_control,
	.xSectorSize = do_sector,
	.xDeviceCharacteristics = do_traits,
};

static int do_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags, int *out)
{
	struct hard_file *file = (struct hard_file *)(void *)base;
	(void)vfs;
	file->real = (sqlite3_file *)(void *)(file + 1);
	file->unsynced = 0;
	int code = real_vfs->xOpen(real_vfs, name, file->real, flags, out);
	base->pMethods = file->real->pMethods ? &methods : NULL;
	return code;
}

void hard_disk_install(void)
{
	if (real_vfs)
		return;
	sqlite3_initialize();
	real_vfs = sqlite3_vfs_find(NULL);
	hard_vfs = *real_vfs;
	hard_vfs.zName = "hard";
	hard_vfs.szOsFile = (int)sizeof(struct hard_file) + real_vfs->szOsFile;
	hard_vfs.xOpen = do_open;
	if (sqlite3_vfs_register(&hard_vfs, 1) != SQLITE_OK)
		abort();
}

void hard_disk_hang(bool hang)
{
	pthread_mutex_lock(&mutex);
	hanging = hang;
	pthread_cond_broadcast(&freed);
	pthread_mutex_unlock(&mutex);
}

bool hard_disk_is_waited_for(void)
{
	return atomic_load(&waiting);
}

void hard_disk_fill(bool full)
{
	atomic_store(&filled, full);
}

long hard_disk_unsynced(void)
{
	return atomic_load(&unsynced);
}
