/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.c: the memory tier. A shard is one mutex over a hash table whose size is fixed at the start (from the byte
 * budget and the smallest entry there can be), two queues and a ghost table: after memory_new nothing here allocates,
 * nothing is rehashed, and the lock is held for a bounded number of steps.
 */
#include "cache/memory.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "cache/memory_private.h"

enum {
	FREQUENCY_MAX = 3,      /* 2 bits */
	PROMOTE_FREQUENCY = 2,  /* looked up so often while small: goes on to main. With 1, calls in pairs flush main */
	SMALL_DIVISOR = 10,     /* the small queue's share of the bytes */
	LARGEST_DIVISOR = 8,    /* an entry has at most this share of a shard */
	BYTES_PER_BUCKET = 512, /* about the smallest entry: bookkeeping, key and answer with hardly a body */
	STEPS_PER_LOCK = 256,   /* a big entry displaces thousands of small ones: the lock is let go in between */
	WHEEL_SLOTS_MAX = 4096, /* of a second each: what lives longer is looked at every 68 minutes */
	BUCKETS_PER_SLOT = 8    /* a small memory has a small wheel */
};

/* What malloc really takes: 8 bytes of header, multiples of 16; whole pages where glibc starts to map. */
static size_t heap_bytes(size_t bytes)
{
	if (bytes >= 128 * 1024)
		return (bytes + 16 + 4095) & ~(size_t)4095;
	size_t chunk = (bytes + 8 + 15) & ~(size_t)15;
	return chunk < 32 ? 32 : chunk;
}

struct entry *entry_new(struct key *key, struct answer *answer)
{
	struct entry *entry = calloc(1, sizeof *entry);
	if (!entry)
		return NULL;
	atomic_init(&entry->refs, 1);
	atomic_init(&entry->refreshing, false);
	atomic_init(&entry->evaluated, 0);
	entry->key = key_ref(key);
	entry->answer = answer_ref(answer);
	entry->queue = QUEUE_NEW;
	entry->bytes = heap_bytes(sizeof *entry) + heap_bytes(sizeof *key + key->len) +
		       heap_bytes(sizeof *answer + answer_held_bytes(answer));
	return entry;
}

struct entry *entry_ref(struct entry *entry)
{
	atomic_fetch_add_explicit(&entry->refs, 1, memory_order_relaxed);
	return entry;
}

void entry_unref(struct entry *entry)
{
	if (!entry || atomic_fetch_sub_explicit(&entry->refs, 1, memory_order_acq_rel) != 1)
		return;
	key_unref(entry->key);
	answer_unref(entry->answer);
	free(entry);
}

uint64_t entry_gone_us(const struct entry *entry)
{
	uint64_t gone_us = entry->fresh_until_us;
	if (gone_us < entry->revalidate_until_us)
		gone_us = entry->revalidate_until_us;
	return gone_us < entry->error_until_us ? entry->error_until_us : gone_us;
}

size_t entry_bytes(const struct entry *entry)
{
	return entry->bytes;
}

/* --- finding one's place: shard by the hash's upper bits, bucket and ghost set by its lower half --- */

static struct shard *shard_of_hash(struct memory *memory, uint64_t hash)
{
	return &memory->shards[(hash >> 48) & (memory->shard_count - 1)];
}

/* The lower half of the hash, scaled to 0 .. count - 1. */
static size_t scale_hash(uint64_t hash, size_t count)
{
	return (size_t)(((hash & UINT32_MAX) * (uint64_t)count) >> 32);
}

static struct shard *shard_of(struct memory *memory, const struct key *key)
{
	return shard_of_hash(memory, key->hash);
}

static struct entry **bucket_of(const struct memory *memory, struct shard *shard, const struct key *key)
{
	return &shard->buckets[scale_hash(key->hash, memory->bucket_count)];
}

static struct entry *find_locked(const struct memory *memory, struct shard *shard, const struct key *key)
{
	struct entry *entry = *bucket_of(memory, shard, key);
	while (entry && !key_equal(entry->key, key))
		entry = entry->next_in_bucket;
	return entry;
}

static struct entry *find_digest_locked(const struct memory *memory, struct shard *shard, uint64_t hash,
					const uint8_t *digest)
{
	struct entry *entry = shard->buckets[scale_hash(hash, memory->bucket_count)];
	while (entry && memcmp(entry->key->digest, digest, KEY_DIGEST_BYTES) != 0)
		entry = entry->next_in_bucket;
	return entry;
}

/* --- ghosts --- */

static struct ghost_set *ghost_set_of(const struct memory *memory, struct shard *shard, const struct key *key)
{
	return &shard->ghosts[scale_hash(key->hash, memory->ghost_set_count)];
}

/* Takes the set's oldest place. */
static void add_ghost_locked(const struct memory *memory, struct shard *shard, const struct key *key)
{
	struct ghost_set *set = ghost_set_of(memory, shard, key);
	struct ghost *oldest = &set->ways[0];
	if (++shard->ghost_clock == 0)
		shard->ghost_clock = 1;
	for (size_t i = 0; i < GHOST_WAYS && oldest->born; i++) {
		struct ghost *way = &set->ways[i];
		if (!way->born || shard->ghost_clock - way->born > shard->ghost_clock - oldest->born)
			oldest = way;
	}
	*oldest = (struct ghost){ .mark = (uint32_t)(key->hash >> 32), .born = shard->ghost_clock };
}

/* Whether the key's ghost was there; it is gone now. The queue of ghosts is as long as there are entries. */
static bool take_ghost_locked(const struct memory *memory, struct shard *shard, const struct key *key)
{
	struct ghost_set *set = ghost_set_of(memory, shard, key);
	for (size_t i = 0; i < GHOST_WAYS; i++) {
		struct ghost *way = &set->ways[i];
		if (!way->born || way->mark != (uint32_t)(key->hash >> 32))
			continue;
		bool young = shard->ghost_clock - way->born < shard->count;
		way->born = 0;
		if (young)
			return true;
	}
	return false;
}

/* --- queues --- */

static void enqueue_locked(struct shard *shard, struct entry *entry, enum queue queue)
{
	TAILQ_INSERT_HEAD(queue == QUEUE_MAIN ? &shard->main : &shard->small, entry, order);
	entry->queue = (uint8_t)queue;
	shard->bytes += entry->bytes;
	if (queue == QUEUE_SMALL)
		shard->small_bytes += entry->bytes;
}

static void dequeue_locked(struct shard *shard, struct entry *entry)
{
	TAILQ_REMOVE(entry->queue == QUEUE_MAIN ? &shard->main : &shard->small, entry, order);
	shard->bytes -= entry->bytes;
	if (entry->queue == QUEUE_SMALL)
		shard->small_bytes -= entry->bytes;
	entry->queue = QUEUE_LEFT;
}

/* --- the wheel: a slot a second, round and round --- */

static struct due_entries *slot_of(const struct memory *memory, struct shard *shard, uint64_t us)
{
	return &shard->wheel[us / CLOCK_US_PER_S % memory->slot_count];
}

/* Take an entry out; it is released by release_all, after the lock. */
static void drop_locked(const struct memory *memory, struct shard *shard, struct entry *entry, enum evict_reason reason,
			struct entries *dropped)
{
	struct entry **at = bucket_of(memory, shard, entry->key);
	while (*at != entry)
		at = &(*at)->next_in_bucket;
	*at = entry->next_in_bucket;
	dequeue_locked(shard, entry);
	LIST_REMOVE(entry, due);
	shard->count--;
	shard->evictions[reason]++;
	TAILQ_INSERT_TAIL(dropped, entry, order);
}

static void insert_locked(const struct memory *memory, struct shard *shard, struct entry *entry, enum queue queue)
{
	struct entry **bucket = bucket_of(memory, shard, entry->key);
	entry->next_in_bucket = *bucket;
	*bucket = entry;
	enqueue_locked(shard, entry, queue);
	LIST_INSERT_HEAD(slot_of(memory, shard, entry_gone_us(entry)), entry, due);
	shard->count++;
}

static void release_all(struct entries *dropped)
{
	struct entry *entry;
	while ((entry = TAILQ_FIRST(dropped))) {
		TAILQ_REMOVE(dropped, entry, order);
		entry_unref(entry);
	}
}

/* --- eviction: S3-FIFO --- */

/* Look at the oldest in the small queue: what is wanted moves to main, the rest leaves a ghost. */
static void step_small_locked(const struct memory *memory, struct shard *shard, struct entries *dropped)
{
	struct entry *entry = TAILQ_LAST(&shard->small, entries);
	if (entry->frequency < PROMOTE_FREQUENCY) {
		add_ghost_locked(memory, shard, entry->key);
		drop_locked(memory, shard, entry, EVICT_SIZE, dropped);
		return;
	}
	dequeue_locked(shard, entry);
	entry->frequency = 0;
	enqueue_locked(shard, entry, QUEUE_MAIN);
}

/* Look at the oldest in main: what has been looked up gets another round. */
static void step_main_locked(const struct memory *memory, struct shard *shard, struct entries *dropped)
{
	struct entry *entry = TAILQ_LAST(&shard->main, entries);
	if (entry->frequency == 0) {
		drop_locked(memory, shard, entry, EVICT_SIZE, dropped);
		return;
	}
	entry->frequency--;
	TAILQ_REMOVE(&shard->main, entry, order);
	TAILQ_INSERT_HEAD(&shard->main, entry, order);
}

/* Make `bytes` fit. False: did what may be done under one lock, call again. */
static bool make_room_locked(const struct memory *memory, struct shard *shard, size_t bytes, struct entries *dropped)
{
	for (int steps = 0; shard->bytes + bytes > shard->limit_bytes; steps++) {
		if (steps == STEPS_PER_LOCK)
			return false;
		/* below its share the small queue cannot be all there is, so main is not empty */
		if (shard->small_bytes && shard->small_bytes >= shard->limit_bytes / SMALL_DIVISOR)
			step_small_locked(memory, shard, dropped);
		else
			step_main_locked(memory, shard, dropped);
	}
	return true;
}

/* --- the front door --- */

struct entry *memory_get(struct memory *memory, const struct key *key, uint64_t now_us)
{
	struct shard *shard = shard_of(memory, key);
	struct entries dropped = TAILQ_HEAD_INITIALIZER(dropped);
	pthread_mutex_lock(&shard->mutex);
	struct entry *entry = find_locked(memory, shard, key);
	if (entry && now_us >= entry_gone_us(entry)) {
		drop_locked(memory, shard, entry, EVICT_EXPIRED, &dropped);
		entry = NULL;
	}
	if (entry) {
		entry_ref(entry);
		if (entry->frequency < FREQUENCY_MAX)
			entry->frequency++;
	}
	pthread_mutex_unlock(&shard->mutex);
	release_all(&dropped);
	return entry;
}

/* Drop an equal key; the new entry goes where the old one had got to. */
static enum queue replace_locked(const struct memory *memory, struct shard *shard, struct entry *entry,
				 struct entries *dropped)
{
	struct entry *old = find_locked(memory, shard, entry->key);
	if (!old)
		return QUEUE_NEW;
	enum queue queue = old->queue;
	entry->frequency = old->frequency;
	drop_locked(memory, shard, old, EVICT_REPLACED, dropped);
	return queue;
}

enum memory_added memory_add(struct memory *memory, struct entry *entry)
{
	struct shard *shard = shard_of(memory, entry->key);
	enum memory_added added = MEMORY_ADDED;
	assert(entry->queue == QUEUE_NEW);
	pthread_mutex_lock(&shard->mutex);
	if (find_locked(memory, shard, entry->key))
		added = MEMORY_KNOWN;
	else if (entry->bytes > shard->limit_bytes / LARGEST_DIVISOR ||
		 shard->bytes + entry->bytes > shard->limit_bytes)
		added = MEMORY_NO_ROOM;
	else {
		entry->frequency = PROMOTE_FREQUENCY; /* it has earned its place elsewhere */
		insert_locked(memory, shard, entry_ref(entry), QUEUE_SMALL);
	}
	pthread_mutex_unlock(&shard->mutex);
	return added;
}

bool memory_put(struct memory *memory, struct entry *entry)
{
	struct shard *shard = shard_of(memory, entry->key);
	struct entries dropped = TAILQ_HEAD_INITIALIZER(dropped);
	enum queue queue = QUEUE_NEW;
	assert(entry->queue == QUEUE_NEW);
	for (bool done = false; !done;) {
		pthread_mutex_lock(&shard->mutex);
		if (entry->bytes > shard->limit_bytes / LARGEST_DIVISOR) {
			pthread_mutex_unlock(&shard->mutex);
			release_all(&dropped);
			memory_refuse(memory, entry->key);
			return false;
		}
		enum queue inherited = replace_locked(memory, shard, entry, &dropped);
		if (inherited != QUEUE_NEW)
			queue = inherited;
		else if (queue == QUEUE_NEW)
			queue = take_ghost_locked(memory, shard, entry->key) ? QUEUE_MAIN : QUEUE_SMALL;
		done = make_room_locked(memory, shard, entry->bytes, &dropped);
		if (done)
			insert_locked(memory, shard, entry_ref(entry), queue);
		pthread_mutex_unlock(&shard->mutex);
	}
	release_all(&dropped);
	return true;
}

bool memory_remove(struct memory *memory, const struct key *key)
{
	struct shard *shard = shard_of(memory, key);
	struct entries dropped = TAILQ_HEAD_INITIALIZER(dropped);
	pthread_mutex_lock(&shard->mutex);
	struct entry *entry = find_locked(memory, shard, key);
	if (entry)
		drop_locked(memory, shard, entry, EVICT_PURGED, &dropped);
	pthread_mutex_unlock(&shard->mutex);
	release_all(&dropped);
	return entry != NULL;
}

struct entry *memory_peek(struct memory *memory, const uint8_t *digest)
{
	uint64_t hash = key_hash(digest);
	struct shard *shard = shard_of_hash(memory, hash);
	pthread_mutex_lock(&shard->mutex);
	struct entry *entry = find_digest_locked(memory, shard, hash, digest);
	if (entry)
		entry_ref(entry);
	pthread_mutex_unlock(&shard->mutex);
	return entry;
}

bool memory_remove_digest(struct memory *memory, const uint8_t *digest)
{
	uint64_t hash = key_hash(digest);
	struct shard *shard = shard_of_hash(memory, hash);
	struct entries dropped = TAILQ_HEAD_INITIALIZER(dropped);
	pthread_mutex_lock(&shard->mutex);
	struct entry *entry = find_digest_locked(memory, shard, hash, digest);
	if (entry)
		drop_locked(memory, shard, entry, EVICT_PURGED, &dropped);
	pthread_mutex_unlock(&shard->mutex);
	release_all(&dropped);
	return entry != NULL;
}

bool memory_remove_entry(struct memory *memory, struct entry *entry)
{
	struct shard *shard = shard_of(memory, entry->key);
	struct entries dropped = TAILQ_HEAD_INITIALIZER(dropped);
	pthread_mutex_lock(&shard->mutex);
	bool there = find_locked(memory, shard, entry->key) == entry;
	if (there)
		drop_locked(memory, shard, entry, EVICT_PURGED, &dropped);
	pthread_mutex_unlock(&shard->mutex);
	release_all(&dropped);
	return there;
}

void memory_refuse(struct memory *memory, const struct key *key)
{
	struct shard *shard = shard_of(memory, key);
	struct entries dropped = TAILQ_HEAD_INITIALIZER(dropped);
	pthread_mutex_lock(&shard->mutex);
	struct entry *entry = find_locked(memory, shard, key);
	if (entry)
		drop_locked(memory, shard, entry, EVICT_REPLACED, &dropped);
	shard->evictions[EVICT_TOO_LARGE]++;
	pthread_mutex_unlock(&shard->mutex);
	release_all(&dropped);
}

/* Drop what matches in buckets [from, to) of one shard; returns how many. */
static size_t sift_buckets(struct memory *memory, struct shard *shard, size_t from, size_t to,
			   bool (*match)(struct entry *entry, void *context), void *context)
{
	struct entries dropped = TAILQ_HEAD_INITIALIZER(dropped);
	size_t count = 0;
	pthread_mutex_lock(&shard->mutex);
	for (size_t i = from; i < to; i++) {
		struct entry *next;
		for (struct entry *entry = shard->buckets[i]; entry; entry = next) {
			next = entry->next_in_bucket;
			if (!match(entry, context))
				continue;
			drop_locked(memory, shard, entry, EVICT_PURGED, &dropped);
			count++;
		}
	}
	pthread_mutex_unlock(&shard->mutex);
	release_all(&dropped);
	return count;
}

size_t memory_sweep(struct memory *memory, size_t *place, bool (*match)(struct entry *entry, void *context),
		    void *context)
{
	size_t count = memory->bucket_count, steps = (count + BUCKETS_PER_LOCK - 1) / BUCKETS_PER_LOCK;
	struct shard *shard = &memory->shards[*place / steps];
	size_t from = *place % steps * BUCKETS_PER_LOCK;
	size_t to = from + BUCKETS_PER_LOCK < count ? from + BUCKETS_PER_LOCK : count;
	*place = *place + 1 < steps * memory->shard_count ? *place + 1 : 0;
	return sift_buckets(memory, shard, from, to, match, context);
}

/* `to` is empty. */
static void move_all(struct due_entries *from, struct due_entries *to)
{
	*to = *from;
	if (to->lh_first)
		to->lh_first->due.le_prev = &to->lh_first;
	LIST_INIT(from);
}

/* Whether there is more to look at: what is left of a slot, or the next slot up to now's, which stays to be looked at
 * again as long as it is now's. A wheel that stood still for more than a round goes round once. */
static bool next_slot_locked(const struct memory *memory, struct shard *shard, uint64_t now_us, bool *last)
{
	uint64_t now_s = now_us / CLOCK_US_PER_S;
	if (!LIST_EMPTY(&shard->passing))
		return true;
	if (*last)
		return false;
	if (shard->count == 0) /* a new one's wheel would go round once, since it has stood still for ever */
		shard->wheel_at = now_s;
	if (now_s - shard->wheel_at > memory->slot_count)
		shard->wheel_at = now_s - memory->slot_count;
	move_all(slot_of(memory, shard, shard->wheel_at * CLOCK_US_PER_S), &shard->passing);
	*last = shard->wheel_at == now_s;
	shard->wheel_at += !*last;
	return true;
}

/* Look at so many entries at most, empty slots counting as one; returns how many. */
static size_t expire_locked(const struct memory *memory, struct shard *shard, uint64_t now_us, size_t most, bool *last,
			    struct entries *dropped)
{
	size_t looked = 0;
	for (; looked < most && next_slot_locked(memory, shard, now_us, last); looked++) {
		struct entry *entry = LIST_FIRST(&shard->passing);
		if (!entry)
			continue;
		if (now_us >= entry_gone_us(entry)) {
			drop_locked(memory, shard, entry, EVICT_EXPIRED, dropped);
			continue;
		}
		LIST_REMOVE(entry, due); /* of a later round */
		LIST_INSERT_HEAD(slot_of(memory, shard, entry_gone_us(entry)), entry, due);
	}
	return looked;
}

/* The same for one shard, the lock let go in between. */
static size_t expire_shard(struct memory *memory, struct shard *shard, uint64_t now_us, size_t budget)
{
	bool last = false;
	size_t looked = 0, step;
	do {
		struct entries dropped = TAILQ_HEAD_INITIALIZER(dropped);
		size_t most = budget - looked < STEPS_PER_LOCK ? budget - looked : STEPS_PER_LOCK;
		pthread_mutex_lock(&shard->mutex);
		step = expire_locked(memory, shard, now_us, most, &last, &dropped);
		pthread_mutex_unlock(&shard->mutex);
		release_all(&dropped);
		looked += step;
	} while (step == STEPS_PER_LOCK && looked < budget);
	return looked;
}

void memory_expire(struct memory *memory, uint64_t now_us, size_t budget)
{
	for (size_t i = 0; i < memory->shard_count && budget; i++) {
		size_t shard = memory->expire_at++ & (memory->shard_count - 1);
		budget -= expire_shard(memory, &memory->shards[shard], now_us, budget);
	}
}

struct memory_stats memory_stats(struct memory *memory)
{
	struct memory_stats stats = {
		.capacity_bytes = atomic_load_explicit(&memory->capacity_bytes, memory_order_relaxed),
	};
	for (size_t i = 0; i < memory->shard_count; i++) {
		struct shard *shard = &memory->shards[i];
		pthread_mutex_lock(&shard->mutex);
		stats.entries += shard->count;
		stats.bytes += shard->table_bytes + shard->bytes;
		for (int reason = 0; reason < EVICT_REASON_COUNT; reason++)
			stats.evictions[reason] += shard->evictions[reason];
		pthread_mutex_unlock(&shard->mutex);
	}
	return stats;
}

/* --- start and end --- */

/* What is left of a shard's share for entries. */
static size_t share_of(const struct memory *memory, const struct shard *shard, size_t bytes)
{
	size_t share_bytes = bytes / memory->shard_count;
	return share_bytes > shard->table_bytes ? share_bytes - shard->table_bytes : 0;
}

static void resize_shard(const struct memory *memory, struct shard *shard, size_t bytes)
{
	for (bool done = false; !done;) {
		struct entries dropped = TAILQ_HEAD_INITIALIZER(dropped);
		pthread_mutex_lock(&shard->mutex);
		shard->limit_bytes = share_of(memory, shard, bytes);
		done = make_room_locked(memory, shard, 0, &dropped);
		pthread_mutex_unlock(&shard->mutex);
		release_all(&dropped);
	}
}

void memory_resize(struct memory *memory, size_t bytes)
{
	atomic_store_explicit(&memory->capacity_bytes, bytes, memory_order_relaxed);
	for (size_t i = 0; i < memory->shard_count; i++)
		resize_shard(memory, &memory->shards[i], bytes);
}

static bool shard_init(struct shard *shard, const struct memory *memory)
{
	shard->buckets = calloc(memory->bucket_count, sizeof(struct entry *));
	shard->ghosts = calloc(memory->ghost_set_count, sizeof(struct ghost_set));
	shard->wheel = calloc(memory->slot_count, sizeof *shard->wheel); /* empty lists are NULL */
	LIST_INIT(&shard->passing);
	shard->table_bytes = sizeof *shard + heap_bytes(memory->bucket_count * sizeof(struct entry *)) +
			     heap_bytes(memory->ghost_set_count * sizeof(struct ghost_set)) +
			     heap_bytes(memory->slot_count * sizeof *shard->wheel);
	shard->limit_bytes = share_of(memory, shard, memory->capacity_bytes);
	TAILQ_INIT(&shard->small);
	TAILQ_INIT(&shard->main);
	pthread_mutex_init(&shard->mutex, NULL);
	return shard->buckets && shard->ghosts && shard->wheel;
}

static void shard_fini(struct shard *shard)
{
	release_all(&shard->small);
	release_all(&shard->main);
	pthread_mutex_destroy(&shard->mutex);
	free(shard->buckets);
	free(shard->ghosts);
	free(shard->wheel);
}

struct memory *memory_new(size_t bytes, size_t shards)
{
	assert(shards > 0 && shards <= 1u << 16 && (shards & (shards - 1)) == 0);
	/* both structs are multiples of a cache line, as aligned_alloc wants it */
	size_t size = sizeof(struct memory) + shards * sizeof(struct shard);
	struct memory *memory = aligned_alloc(CACHE_LINE_BYTES, size);
	if (!memory)
		return NULL;
	memset(memory, 0, size);
	memory->shard_count = shards;
	atomic_init(&memory->capacity_bytes, bytes);
	memory->bucket_count = bytes / shards / BYTES_PER_BUCKET + 1;
	memory->ghost_set_count = memory->bucket_count / GHOST_WAYS + 1;
	memory->slot_count = memory->bucket_count / BUCKETS_PER_SLOT + 1;
	if (memory->slot_count > WHEEL_SLOTS_MAX)
		memory->slot_count = WHEEL_SLOTS_MAX;
	bool complete = true;
	for (size_t i = 0; i < shards; i++)
		complete &= shard_init(&memory->shards[i], memory);
	if (complete)
		return memory;
	memory_free(memory);
	return NULL;
}

void memory_free(struct memory *memory)
{
	if (!memory)
		return;
	for (size_t i = 0; i < memory->shard_count; i++)
		shard_fini(&memory->shards[i]);
	free(memory);
}
