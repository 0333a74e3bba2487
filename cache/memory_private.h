/* SPDX-License-Identifier: Apache-2.0 */
/* memory_private.h: the memory tier's tables, for memory.c and memory_list.c. */
#ifndef JITNEY_CACHE_MEMORY_PRIVATE_H
#define JITNEY_CACHE_MEMORY_PRIVATE_H

#include <pthread.h>

#include "cache/memory.h"

enum {
	GHOST_WAYS = 8,         /* one cache line */
	BUCKETS_PER_LOCK = 256, /* in a step of a sweep, or of a list: the lock is let go in between */
	CACHE_LINE_BYTES = 64
};

/* Where an entry is. LEFT: out of the tables, and may still be held. */
enum queue { QUEUE_NEW, QUEUE_SMALL, QUEUE_MAIN, QUEUE_LEFT };

/* A key that has left the small queue unloved: only a mark of its hash. Comes back soon: belongs into main. */
struct ghost {
	uint32_t mark; /* upper half of the hash */
	uint32_t born; /* the shard's ghost_clock then; 0: empty */
};

/* Ghosts of the hashes that fall into one place; a new one takes the oldest's. */
struct ghost_set {
	struct ghost ways[GHOST_WAYS];
};

struct shard {
	_Alignas(CACHE_LINE_BYTES) pthread_mutex_t mutex;
	struct entry **buckets;     /* c: the array; m: what is in it */
	struct ghost_set *ghosts;   /* c: the array; m: what is in it */
	size_t limit_bytes;         /* c: for entries */
	size_t table_bytes;         /* c: this struct and its arrays */
	struct entries small, main; /* m: newest first */
	size_t small_bytes, bytes;  /* m: of the small queue, of both */
	size_t count;               /* m: entries in both */
	struct due_entries *wheel;  /* c: the array; m: entries by the second in which they are gone */
	struct due_entries passing; /* m: what is left of the slot that memory_expire is at */
	uint64_t wheel_at;          /* m: the second of that slot; all before are done */
	uint32_t ghost_clock;       /* m: ghosts ever born; wraps, by when older ones have been overwritten */
	uint64_t evictions[EVICT_REASON_COUNT]; /* m */
};

struct memory {
	size_t shard_count;           /* c: power of two */
	size_t bucket_count;          /* c: in each shard */
	size_t ghost_set_count;       /* c: in each shard */
	size_t slot_count;            /* c: in each wheel */
	atomic_size_t capacity_bytes; /* a */
	size_t expire_at;             /* memory_expire's: the shard it begins with */
	struct shard shards[];
};

#endif
