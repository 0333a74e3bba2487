/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_settings.h: where the disk tier is and how large it may become: what the configuration says. Knows nothing of
 * the file's format, so that the gateway's configuration can hold it.
 */
#ifndef JITNEY_CACHE_DISK_DISK_SETTINGS_H
#define JITNEY_CACHE_DISK_DISK_SETTINGS_H

#include <stddef.h>
#include <stdint.h>

/* Frozen; outlives the disk. */
struct disk_settings {
	const char *path;      /* a directory of our own */
	size_t size_bytes;     /* what the file may grow to */
	uint64_t timeout_us;   /* the longest a look-up may hold up a call */
	uint64_t snapshot_us;  /* the longest the snapshot at the end may take; 0: none */
	size_t compress_bytes; /* answers of at least this length are compressed; 0: none */
	const char *shown;     /* what messages call the path; NULL: by itself */
};

/* What messages call the directory. */
static inline const char *disk_settings_shown(const struct disk_settings *settings)
{
	return settings->shown ? settings->shown : settings->path;
}

#endif
