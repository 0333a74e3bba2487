/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h: the memory tier: answers by key, bounded in bytes, evicted by S3-FIFO (Yang et al., "FIFO queues are all
 * you need for cache eviction", SOSP 2023): a small queue of 10 % through which one-hit wonders pass, a main queue,
 * and a ghost queue of hashes. What has expired is found by a hashed timing wheel (Varghese and Lauck, "Hashed and
 * Hierarchical Timing Wheels", SOSP 1987, scheme 6). No I/O, no clock call. Sharded by hash, one short mutex a shard;
 * entries are handed out by reference and freed outside the lock.
 */
#ifndef JITNEY_CACHE_MEMORY_H
#define JITNEY_CACHE_MEMORY_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/answer.h"
#include "base/compiler.h"
#include "cache/key.h"
#include "metrics/catalogue.h"

/*
 * One stored answer, refcounted; a reply holds a reference and reads, without a copy.
 * Who may touch a field: c constant after memory_put, a atomic, m the shard's mutex. All times are monotonic and
 * exclusive: at fresh_until_us the entry is stale.
 */
struct entry {
	atomic_uint refs;      /* a */
	uint32_t cost_us;      /* c: what fetching it took; 0: not known */
	struct key *key;       /* c: owned reference */
	struct answer *answer; /* c: owned reference */
	uint64_t made_us;      /* c: when the provider was asked, less the Age it gave: its age counts from here */
	uint64_t stored_us;    /* c: when the provider had answered: the policy's times count from here */
	uint64_t put_us;       /* c: when it came into this memory */
	uint64_t number;       /* c: the largest of purges that was known before it was fetched: see purges.h */
	atomic_uint_fast64_t evaluated; /* a: up to which event of purges it has been held against them */
	uint64_t fresh_until_us;        /* c */
	uint64_t revalidate_until_us;   /* c: stale-while-revalidate ends; >= fresh_until_us */
	uint64_t error_until_us;        /* c: stale-if-error ends; >= fresh_until_us */
	size_t bytes;                   /* c: see entry_bytes */
	atomic_bool refreshing;         /* a: a background refresh is under way: at most one */

	uint8_t queue;                /* m: memory.c's, as what follows */
	uint8_t frequency;            /* m: look-ups since it came into its queue, at most 3 */
	struct entry *next_in_bucket; /* m */
	LIST_ENTRY(entry) due;        /* m: in the slot of the wheel where its entry_gone_us lies */
	TAILQ_ENTRY(entry) order;     /* m: in its queue; once it has left, in the list of what is to be released */
};
TAILQ_HEAD(entries, entry);
LIST_HEAD(due_entries, entry);

/* A new entry with one reference; takes references of its own on key and answer. NULL when out of memory. */
struct entry *entry_new(struct key *key, struct answer *answer) MUST_CHECK;
struct entry *entry_ref(struct entry *entry);
void entry_unref(struct entry *entry);
/* From this time on nobody may serve it. */
uint64_t entry_gone_us(const struct entry *entry);
/* Bytes an entry is accounted for: key, answer, bookkeeping, the allocator's rounding. */
size_t entry_bytes(const struct entry *entry);

struct memory; /* safe from any thread unless said otherwise */

/* At most `bytes` over `shards` (a power of two) shards, tables included: what is not an entry is allocated here, about
 * 3 % of the whole. With less than a few KiB a shard nothing fits. NULL when out of memory. */
struct memory *memory_new(size_t bytes, size_t shards) MUST_CHECK;
enum { MEMORY_GROWS = 8 };
/* At most `bytes` from now on; what is too much leaves before this returns. MEMORY_GROWS times what it was made with at
 * most, since its tables stay as they are. One thread at a time. */
void memory_resize(struct memory *memory, size_t bytes);
/* No thread may use it any more; entries still out stay valid. */
void memory_free(struct memory *memory);

/* The entry of an equal key, stale or fresh, with a reference for the caller; NULL if there is none, or its
 * entry_gone_us has come (then it is dropped). No allocation. */
struct entry *memory_get(struct memory *memory, const struct key *key, uint64_t now_us);
/* Store, replacing an equal key, whose place and frequency it inherits. The memory takes a reference of its own. An
 * entry is put once in its life. False when it does not fit (more than 1/8 of a shard): nothing changed, but an older
 * entry of that key is dropped, since it is outdated. No allocation. */
bool memory_put(struct memory *memory, struct entry *entry);
enum memory_added { MEMORY_ADDED, MEMORY_KNOWN, MEMORY_NO_ROOM };
/* The same, unless there is an equal key, or something would have to leave for it: for what another process knew. */
enum memory_added memory_add(struct memory *memory, struct entry *entry);
/* Drop one key. True if it was there. */
bool memory_remove(struct memory *memory, const struct key *key);
/* The entry of the key with this digest (KEY_DIGEST_BYTES), with a reference for the caller, or NULL; that is no
 * look-up of a caller's, and does not count as one. */
struct entry *memory_peek(struct memory *memory, const uint8_t *digest);
/* Drop one key by its digest, whoever else has put something there meanwhile. True if it was there. */
bool memory_remove_digest(struct memory *memory, const uint8_t *digest);
/* An answer of this key is too large to be stored: counted, and an older one is dropped, since it is outdated. */
void memory_refuse(struct memory *memory, const struct key *key);
/* Drop this entry, if it is still there. */
bool memory_remove_entry(struct memory *memory, struct entry *entry);
/*
 * Drop entries for which `match` says so, a few hundred at a time; *place is 0 at first, and again when it has gone
 * round. Sees every entry that was put before the round began; what is put meanwhile may be missed. Returns how many
 * were dropped in this step.
 *
 * match  called under a shard's lock: quick, no call back into the memory.
 */
size_t memory_sweep(struct memory *memory, size_t *place, bool (*match)(struct entry *entry, void *context),
		    void *context);
/* Drop the entries whose entry_gone_us has come, looking at `budget` entries at most; goes on where the last call
 * ended. One thread at a time. */
void memory_expire(struct memory *memory, uint64_t now_us, size_t budget);

/* Which entries there are, the most wanted first: those in main before those in small, then by look-ups, then the younger.
 * It holds none of them: memory_peek says whether one is still there, so that going through the list slowly keeps nothing
 * alive that has left. */
struct memory_list {
	struct memory_listed {
		uint64_t heat;
		uint8_t digest[KEY_DIGEST_BYTES];
	} * all;
	size_t count;
};
/* All there are, a few hundred under a lock at a time; for a thread that has time to sort. False: out of memory. */
bool memory_list(struct memory *memory, struct memory_list *list) MUST_CHECK;
void memory_list_free(struct memory_list *list);

struct memory_stats {
	uint64_t entries;
	uint64_t bytes; /* entries and tables; <= capacity_bytes, but for a memory too small for its tables */
	uint64_t capacity_bytes;
	uint64_t evictions[EVICT_REASON_COUNT];
};
/* Summed over the shards, each under its lock for a moment. */
struct memory_stats memory_stats(struct memory *memory);

#endif
