/* SPDX-License-Identifier: Apache-2.0 */
/* memory_entries.h: entries of the memory tier by number, for its tests: each remembers a serial. After cmocka.h. */
#ifndef TESTS_SUPPORT_MEMORY_ENTRIES_H
#define TESTS_SUPPORT_MEMORY_ENTRIES_H

#include "cache/memory.h"
#include "tests/support/cache_keys.h"

enum { KIB = 1024, ROOMY = 4 * 1024 * KIB };
static const uint64_t never = UINT64_MAX;

/* An entry for a key by number; the body begins with `serial`. */
static inline struct entry *make_entry(struct key *key, uint64_t serial, size_t body_len, uint64_t gone_us)
{
	char *body = test_calloc(1, body_len + sizeof serial);
	memcpy(body, &serial, sizeof serial);
	struct answer *answer = answer_result((struct slice){ body, body_len + sizeof serial }, true, NULL);
	test_free(body);
	assert_non_null(answer);
	struct entry *entry = entry_new(key, answer);
	answer_unref(answer);
	assert_non_null(entry);
	entry->fresh_until_us = gone_us;
	return entry;
}

static inline uint64_t serial_of(const struct entry *entry)
{
	uint64_t serial;
	memcpy(&serial, entry->answer->bytes, sizeof serial);
	return serial;
}

static inline bool put(struct memory *memory, uint64_t id, uint64_t serial, size_t body_len, uint64_t gone_us)
{
	struct key *key = key_of_id(id);
	struct entry *entry = make_entry(key, serial, body_len, gone_us);
	bool stored = memory_put(memory, entry);
	entry_unref(entry);
	key_unref(key);
	return stored;
}

/* The serial of what is there, or -1. */
static inline int64_t get(struct memory *memory, uint64_t id, uint64_t now_us)
{
	struct key *key = key_of_id(id);
	struct entry *entry = memory_get(memory, key, now_us);
	key_unref(key);
	int64_t serial = entry ? (int64_t)serial_of(entry) : -1;
	entry_unref(entry);
	return serial;
}

/* Bytes so that `room` entries of this size fit, in one shard. */
static inline size_t bytes_for(size_t room, size_t entry_size_bytes)
{
	size_t bytes = room * entry_size_bytes;
	for (int i = 0; i < 4; i++) {
		struct memory *memory = memory_new(bytes, 1);
		bytes = room * entry_size_bytes + memory_stats(memory).bytes;
		memory_free(memory);
	}
	return bytes;
}

static inline size_t sample_bytes(size_t body_len)
{
	struct key *key = key_of_id(0);
	struct entry *entry = make_entry(key, 0, body_len, never);
	size_t bytes = entry_bytes(entry);
	entry_unref(entry);
	key_unref(key);
	return bytes;
}

#endif
