/*
 * memory.h: the memory tier: answers by key, bounded in bytes, evicted by S3-FIFO (Yang et al., "FIFO queues are all
 * you need for cache eviction", SOSP 2023): a small queue of 10 % through which one-hit wonders pass, a main queue,
 * and a ghost queue of hashes. No I/O, no clock call. Sharded by hash, one short mutex a shard; entries are handed out
 * by reference and freed outside the lock.
 */
#ifndef JITNEY_CACHE_MEMORY_H
#define JITNEY_CACHE_MEMORY_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/answer.h"
#include "base/compiler.h"
#include "cache/key.h"
#include "metrics/catalogue.h"

/* One stored answer. Refcounted; constant after memory_put but for what is marked. */
struct entry {
	atomic_uint refs;
	struct key *key;          /* owned reference */
	struct answer *answer;    /* owned reference */
	uint32_t tool;            /* index in the configuration, for purging */
	uint64_t stored_us;       /* monotonic, as all times here */
	uint64_t fresh_until_us;
	uint64_t revalidate_until_us; /* stale-while-revalidate ends; >= fresh_until_us */
	uint64_t error_until_us;      /* stale-if-error ends; >= fresh_until_us */
	atomic_bool refreshing;   /* a background refresh is under way: at most one. Any thread */
};

/* A new entry with one reference; takes references of its own on key and answer. NULL when out of memory. */
struct entry *entry_new(struct key *key, struct answer *answer) MUST_CHECK;
struct entry *entry_ref(struct entry *entry);
void entry_unref(struct entry *entry);
/* After this time nobody may serve it. */
uint64_t entry_gone_us(const struct entry *entry);
/* Bytes an entry is accounted for: key, answer, bookkeeping, the allocator's rounding. */
size_t entry_bytes(const struct entry *entry);

struct memory; /* safe from any thread unless said otherwise */

/* At most `bytes` over `shards` (a power of two) shards. NULL when out of memory. */
struct memory *memory_new(size_t bytes, size_t shards) MUST_CHECK;
/* No thread may use it any more; entries still out stay valid. */
void memory_free(struct memory *memory);

/* The entry of an equal key, stale or fresh, with a reference for the caller; NULL if there is none, or it is past
 * entry_gone_us (then it is dropped). No allocation. */
struct entry *memory_get(struct memory *memory, const struct key *key, uint64_t now_us);
/* Store, replacing an equal key. The memory takes a reference of its own. False when it does not fit (more than 1/8 of
 * a shard) or memory is out: nothing changed, but an older entry of that key is dropped, since it is outdated. */
bool memory_put(struct memory *memory, struct entry *entry);
/* Drop one key. True if it was there. */
bool memory_remove(struct memory *memory, const struct key *key);
/* Drop all entries for which `match` says so; returns how many. One shard at a time is locked meanwhile. */
size_t memory_purge(struct memory *memory, bool (*match)(const struct entry *entry, void *context), void *context);
/* Drop entries past entry_gone_us, looking at no more than `budget` entries; goes on where the last call ended. */
void memory_sweep(struct memory *memory, uint64_t now_us, size_t budget);

struct memory_stats {
	uint64_t entries, bytes, capacity_bytes;
	uint64_t evictions[EVICT_REASON_COUNT];
};
/* Summed over the shards, each under its lock for a moment. */
struct memory_stats memory_stats(struct memory *memory);

#endif
