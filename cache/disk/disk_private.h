/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_private.h: what the disk's thread (disk_thread.c, disk_warm.c) and the other threads' side (disk.c, disk_tier.c)
 * share.
 */
#ifndef JITNEY_CACHE_DISK_DISK_PRIVATE_H
#define JITNEY_CACHE_DISK_DISK_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/mailbox.h"
#include "cache/disk/disk.h"
#include "cache/disk/disk_store.h"

enum {
	LOOKUPS_MAX = 1024,          /* asked and not answered, over all workers */
	CHANGES_MAX = 8192,          /* stores that wait; one more is turned into a removal */
	CHANGE_BYTES_MAX = 32 << 20, /* of their entries, which wait with them */
	REMOVALS_MAX = 65536,        /* then everything is removed */
	PENDING_SLOTS = 4096,        /* changes that wait, by digest */
	VALUE_BYTES_MAX = 16 << 20,  /* of one stored value */
	CHANGES_PER_COMMIT = 64
};

#define DISK_RETRY_FIRST_US CLOCK_US_PER_S /* away: tried again, later each time */

/* A look-up on its way: the worker's, then the thread's, then the worker's again. */
struct disk_lookup {
	struct disk_lookup *next; /* in disk->lookups */
	struct mail mail;         /* home */
	struct mailbox *home;     /* c: the worker's side, where it is opened */
	struct key *key;          /* c while on its way */
	atomic_bool unwanted;     /* a: nobody waits for it any more */
	struct entry *entry;      /* the thread's, then the worker's: what was found; a reference */
	bool failed;              /* likewise: it is no answer that nothing was found */
};

/* Something to be done to the file, in its turn. */
struct change {
	enum change_kind { CHANGE_PUT, CHANGE_REMOVE, CHANGE_PURGE, CHANGE_COUNT } kind;
	struct change *next;
	struct entry *entry;              /* PUT: a reference */
	uint8_t digest[KEY_DIGEST_BYTES]; /* PUT, REMOVE */
	struct disk_purge *purge;         /* PURGE, COUNT */
};

/* Whether it is about one key, for which a look-up waits meanwhile. */
static inline bool disk_change_has_key(const struct change *change)
{
	return change->kind == CHANGE_PUT || change->kind == CHANGE_REMOVE;
}

struct disk {
	const struct disk_settings *settings;        /* c */
	struct cache *cache;                         /* c; safe inside */
	struct meter *meter;                         /* the thread's */
	pthread_t thread;                            /* main's, to join */
	bool started;                                /* main's */
	atomic_uint_fast64_t busy_since_us;          /* a: when the thread took up what it is at; 0: it waits */
	atomic_bool must_empty;                      /* a: a removal was lost: all must go before the next look-up */
	atomic_uint_fast64_t entries, bytes, loaded; /* a: written by the thread, for whoever wants to know */
	atomic_int state;                            /* a: enum disk_state */
	atomic_bool loading;                         /* a */

	pthread_mutex_t mutex; /* short: for the fields marked m */
	pthread_cond_t stirred, has_ended;
	struct disk_lookup *lookups, **last_lookup; /* m: oldest first */
	size_t lookup_count;                        /* m */
	struct change *changes, **last_change;      /* m: oldest first */
	size_t change_count, change_bytes;          /* m */
	uint16_t pending[PENDING_SLOTS];            /* m: puts and removals that wait, by digest */
	bool stopping, ended;                       /* m */
	char trouble[128];                          /* m: why it is away */

	/* the thread's */
	struct disk_store *store;    /* NULL: away */
	struct disk_purge *sweeping; /* under way: what it names is being removed; NULL: none */
	struct disk_store_stats counted;
	struct buf scratch; /* a value being encoded */
	unsigned uncommitted;
	uint64_t retry_us, retry_after_us;
	int64_t load_hot, load_newest; /* how far loading has got; load_hot < 0: beyond the hot ones */
	unsigned load_refused;         /* entries in a row that memory had no room for */
	uint64_t stop_us;              /* m: stopping: all should have ended by then */
};

/* How many puts and removals wait whose digests fall into this one's slot: 0 says that none is of it. Under the
 * mutex. */
static inline uint16_t *disk_pending(struct disk *disk, const uint8_t *digest)
{
	return &disk->pending[(digest[0] | digest[1] << 8) & (PENDING_SLOTS - 1)];
}

/* --- disk.c, for the workers' side --- */

/* NULL: it is on its way, and comes back by its mail. Else why not. */
enum disk_skip disk_ask(struct disk *disk, struct disk_lookup *lookup, uint64_t now_us) MUST_CHECK;
/* Store an entry; false, and the older one of its key is removed, when too much waits. */
bool disk_keep(struct disk *disk, const struct entry *entry, enum disk_skip *skip) MUST_CHECK;
void disk_remove(struct disk *disk, const uint8_t *digest);

/* --- disk.c, for the thread --- */

/* The oldest that waits; there is one. The mutex is held. */
struct change *disk_take_change_locked(struct disk *disk);

/* --- disk_thread.c --- */

/* The thread's function: until disk->stopping. `context`: the struct disk. */
void *disk_run(void *context);

/* Encode and store. */
enum disk_fault disk_write(struct disk *disk, const struct entry *entry) MUST_CHECK;

/* --- disk_warm.c: the thread's --- */

/* From now on disk_load_step has something to do. */
void disk_load_begin(struct disk *disk);
/* One entry into memory. OK, whether or not there are more (disk->loading), or what is wrong with the file. */
enum disk_fault disk_load_step(struct disk *disk) MUST_CHECK;
/* Write what memory holds, hottest first, until disk->stop_us. */
enum disk_fault disk_snapshot(struct disk *disk) MUST_CHECK;

#endif
