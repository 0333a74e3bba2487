/* SPDX-License-Identifier: Apache-2.0 */
/* Cache keys: equal for calls that mean the same, different for all others, cheap when the very same bytes repeat. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "cache/key.h"
#include "base/buf.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/json_merged.h"

enum { DEPTH = 64, SLOTS = 256 };

static struct key_parts parts_of(const char *tool, const char *version, const char *identity, struct slice arguments)
{
	return (struct key_parts){ slice_of(tool), slice_of(version), slice_of(identity), arguments, NULL, false };
}

static struct key *key_of_parts(struct key_maker *maker, struct key_parts parts)
{
	struct key *key;
	struct json_fault fault = { 0 };
	assert_int_equal(key_make(maker, &parts, &key, &fault), OUTCOME_OK);
	assert_non_null(key);
	return key;
}

static struct key *key_of(struct key_maker *maker, const char *arguments)
{
	return key_of_parts(maker, parts_of("tool", "1", "alice", slice_of(arguments)));
}

static void assert_equal_and_forget(struct key *a, struct key *b)
{
	assert_true(key_equal(a, b));
	assert_memory_equal(a->digest, b->digest, KEY_DIGEST_BYTES);
	assert_int_equal(a->len, b->len);
	assert_memory_equal(a->bytes, b->bytes, a->len);
	key_unref(a);
	key_unref(b);
}

static void assert_different_and_forget(struct key *a, struct key *b)
{
	assert_false(key_equal(a, b));
	assert_memory_not_equal(a->digest, b->digest, KEY_DIGEST_BYTES);
	assert_true(a->hash != b->hash);
	key_unref(a);
	key_unref(b);
}

static void spellings_of_the_same_arguments_have_one_key(void **state)
{
	(void)state;
	static const char *const spellings[] = {
		"{\"a\":1,\"b\":[true,\"x\"]}",
		"{\"b\":[true,\"x\"],\"a\":1}",
		" { \"b\" : [ true , \"\\u0078\" ] , \"\\u0061\" : 1 } \n",
	};
	struct key_maker *maker = key_maker_new(SLOTS, DEPTH), *without_memory = key_maker_new(0, DEPTH);
	for (size_t i = 0; i < countof(spellings); i++)
		for (size_t j = 0; j < countof(spellings); j++)
			assert_equal_and_forget(key_of(maker, spellings[i]), key_of(without_memory, spellings[j]));
	key_maker_free(maker);
	key_maker_free(without_memory);
}

static void calls_that_differ_in_any_part_have_different_keys(void **state)
{
	(void)state;
	const struct key_parts parts[] = {
		parts_of("tool", "1", "alice", SLICE("{}")),
		parts_of("tool", "1", "bob", SLICE("{}")),
		parts_of("tool", "1", "", SLICE("{}")),
		parts_of("tool", "2", "alice", SLICE("{}")),
		parts_of("tool", "", "alice", SLICE("{}")),
		parts_of("tools", "1", "alice", SLICE("{}")),
		parts_of("tool", "1", "alice", SLICE("{\"a\":1}")),
		parts_of("tool", "1", "alice", SLICE("{\"a\":1.0}")),
		/* the same bytes in a row, parted elsewhere */
		parts_of("tool1", "", "alice", SLICE("{}")),
		parts_of("tool1a", "", "lice", SLICE("{}")),
		parts_of("tool", "1alice", "", SLICE("{}")),
		parts_of("", "tool1", "alice", SLICE("{}")),
		parts_of("tool", "1", "alice{}", SLICE("{}")),
	};
	struct key_maker *maker = key_maker_new(SLOTS, DEPTH);
	for (size_t i = 0; i < countof(parts); i++)
		for (size_t j = 0; j < i; j++)
			assert_different_and_forget(key_of_parts(maker, parts[i]), key_of_parts(maker, parts[j]));
	key_maker_free(maker);
}

static void parts_with_nul_bytes_and_lengths_in_them_do_not_run_together(void **state)
{
	(void)state;
	const struct key_parts one = { SLICE("a\0\0\0\1b"), SLICE(""), SLICE("c"), SLICE("{}"), NULL, false };
	const struct key_parts other = { SLICE("a"), SLICE("b"), SLICE("\0\0\0c"), SLICE("{}"), NULL, false };
	const struct key_parts third = { SLICE("a\0\0\0\1"), SLICE("b"), SLICE("c"), SLICE("{}"), NULL, false };
	struct key_maker *maker = key_maker_new(SLOTS, DEPTH);
	assert_different_and_forget(key_of_parts(maker, one), key_of_parts(maker, other));
	assert_different_and_forget(key_of_parts(maker, one), key_of_parts(maker, third));
	key_maker_free(maker);
}

static void what_a_tree_would_merge_has_different_keys(void **state)
{
	(void)state;
	struct key_maker *maker = key_maker_new(SLOTS, DEPTH);
	for (size_t i = 0; i < countof(json_merged); i++) {
		struct key *keys[2];
		for (int side = 0; side < 2; side++) {
			struct buf arguments = BUF_INIT(1000);
			struct json_fault fault = { 0 };
			buf_put_text(&arguments, "{\"x\":");
			buf_put(&arguments, side ? json_merged[i].other : json_merged[i].one);
			buf_put_text(&arguments, "}");
			struct key_parts parts = parts_of("tool", "1", "", buf_slice(&arguments));
			bool refused = side == 0 && json_merged[i].refused;
			assert_int_equal(key_make(maker, &parts, &keys[side], &fault),
					 refused ? OUTCOME_INVALID_JSON : OUTCOME_OK);
			assert_int_equal(keys[side] == NULL, refused);
			buf_fini(&arguments);
		}
		if (keys[0])
			assert_different_and_forget(keys[0], keys[1]);
		else
			key_unref(keys[1]);
	}
	key_maker_free(maker);
}

static void arguments_must_be_one_json_object(void **state)
{
	(void)state;
	static const struct {
		struct slice arguments;
		enum outcome outcome;
		size_t at;
	} rows[] = {
		{ SLICE("{\"a\":1,}"), OUTCOME_INVALID_JSON, 7 },
		{ SLICE("{} {}"), OUTCOME_INVALID_JSON, 3 },
		{ SLICE("{\"a\":1,\"a\":1}"), OUTCOME_INVALID_JSON, 7 },
		{ SLICE("{\"a\":[[[[1]]]]}"), OUTCOME_INVALID_JSON, 8 },
		{ SLICE("{\"a\":1}\0"), OUTCOME_INVALID_JSON, 7 },
		{ SLICE(""), OUTCOME_INVALID_JSON, 0 },
		{ SLICE("[]"), OUTCOME_INVALID_REQUEST, 0 },
		{ SLICE(" \"{}\""), OUTCOME_INVALID_REQUEST, 0 },
		{ SLICE("1"), OUTCOME_INVALID_REQUEST, 0 },
		{ SLICE("null"), OUTCOME_INVALID_REQUEST, 0 },
	};
	struct key_maker *maker = key_maker_new(SLOTS, 4);
	for (int round = 0; round < 2; round++) { /* what was refused is not remembered as something else */
		for (size_t i = 0; i < countof(rows); i++) {
			struct key *key;
			struct json_fault fault = { 0 };
			struct key_parts parts = parts_of("tool", "1", "", rows[i].arguments);
			assert_int_equal(key_make(maker, &parts, &key, &fault), rows[i].outcome);
			assert_null(key);
			assert_non_null(fault.what);
			assert_int_equal(fault.at, rows[i].at);
		}
	}
	key_maker_free(maker);
}

static void the_digest_is_the_same_in_every_process(void **state)
{
	(void)state;
	/* printf '\1\0\0\0\4tool\0\0\0\0011\0\0\0\5alice\0\0\0\7{"a":1}' | sha256sum */
	static const char expected[] = "845757d490956c4f00423415672507caddf4b5cd56b1741768982a558e62fffb";
	struct key_maker *maker = key_maker_new(SLOTS, DEPTH);
	struct key *key = key_of(maker, "{ \"a\": 1 }");
	static const char bytes[] = "\1\0\0\0\4tool\0\0\0\0011\0\0\0\5alice\0\0\0\7{\"a\":1}";
	assert_int_equal(key->len, sizeof bytes - 1);
	assert_memory_equal(key->bytes, bytes, sizeof bytes - 1);
	char hex[2 * KEY_DIGEST_BYTES + 1];
	for (int i = 0; i < KEY_DIGEST_BYTES; i++)
		snprintf(hex + 2 * i, 3, "%02x", key->digest[i]);
	assert_string_equal(hex, expected);
	key_unref(key);
	key_maker_free(maker);
}

static void a_repeat_of_the_very_same_bytes_allocates_nothing_and_is_the_same_key(void **state)
{
	(void)state;
	struct key_maker *maker = key_maker_new(SLOTS, DEPTH);
	struct key *first = key_of(maker, "{\"b\":1, \"a\":2}");
	alloc_reset();
	for (int i = 0; i < 100; i++) {
		struct key *again = key_of(maker, "{\"b\":1, \"a\":2}");
		assert_ptr_equal(again, first);
		key_unref(again);
	}
	assert_int_equal(alloc_count(), 0);
	/* another spelling is parsed, and makes an equal key */
	struct key *other = key_of(maker, "{\"a\":2,\"b\":1}");
	assert_ptr_not_equal(other, first);
	assert_int_not_equal(alloc_count(), 0);
	assert_equal_and_forget(other, first);
	key_maker_free(maker);
}

static void a_key_outlives_its_maker(void **state)
{
	(void)state;
	struct key_maker *maker = key_maker_new(SLOTS, DEPTH);
	struct key *key = key_of(maker, "{}"), *shared = key_ref(key);
	key_maker_free(maker);
	key_unref(key);
	assert_int_equal(shared->bytes[shared->len - 1], '}');
	key_unref(shared);
	key_unref(NULL);
	assert_null(key_ref(NULL));
	key_maker_free(NULL);
}

static void calls_that_fight_for_one_slot_still_get_their_own_keys(void **state)
{
	(void)state;
	struct key_maker *one_slot = key_maker_new(1, DEPTH), *none = key_maker_new(0, DEPTH),
			 *three = key_maker_new(3, DEPTH);
	unsigned seed = 4;
	for (int round = 0; round < 3000; round++) {
		char arguments[64], tool[8];
		snprintf(arguments, sizeof arguments, "{\"b\":%d,\"a\":\"%.*s\"}", rand_r(&seed) % 3, rand_r(&seed) % 3,
			 "xx");
		snprintf(tool, sizeof tool, "t%d", rand_r(&seed) % 2);
		struct key_parts parts = parts_of(tool, "1", rand_r(&seed) % 2 ? "alice" : "bob", slice_of(arguments));
		struct key *key = key_of_parts(none, parts);
		assert_equal_and_forget(key_ref(key), key_of_parts(one_slot, parts));
		assert_equal_and_forget(key, key_of_parts(three, parts));
	}
	key_maker_free(one_slot);
	key_maker_free(three);
	key_maker_free(none);
}

static void calls_too_long_to_remember_have_keys_too(void **state)
{
	(void)state;
	struct key_maker *maker = key_maker_new(SLOTS, DEPTH);
	for (size_t len = KEY_MEMO_BYTES - 60; len < KEY_MEMO_BYTES + 60; len++) {
		struct buf arguments = BUF_INIT(1 << 20);
		buf_printf(&arguments, "{\"a\":\"%0*d\"}", (int)len, 7);
		struct key *first = key_of(maker, buf_cstr(&arguments)), *again = key_of(maker, buf_cstr(&arguments));
		assert_equal_and_forget(first, again);
		buf_fini(&arguments);
	}
	struct buf huge = BUF_INIT(1 << 24);
	buf_printf(&huge, "{\"b\":\"%0250000d\",\"a\":0}", 7);
	struct key *key = key_of(maker, buf_cstr(&huge));
	assert_in_range(key->len, huge.len, huge.len + 40);
	assert_equal_and_forget(key, key_of(maker, buf_cstr(&huge)));
	buf_fini(&huge);
	key_maker_free(maker);
}

/* {"b":"7...7"<blanks>,"a":0}: longer than KEY_SPELLED_BYTES. */
static struct slice spell(struct buf *arguments, const char *blanks, const char *last)
{
	buf_printf(arguments, "{\"b\":\"%0*d\"%s,%s}", KEY_SPELLED_BYTES, 7, blanks, last);
	assert_false(arguments->failed);
	return buf_slice(arguments);
}

static void arguments_of_many_bytes_count_as_they_are_spelled(void **state)
{
	(void)state;
	static const char *const ignored[] = { "a" };
	const struct key_filter filter = { .ignore = ignored, .ignore_count = 1 };
	struct key_maker *maker = key_maker_new(SLOTS, DEPTH);
	struct buf texts[4] = { BUF_INIT(1 << 20), BUF_INIT(1 << 20), BUF_INIT(1 << 20), BUF_INIT(1 << 20) };
	struct key_parts one = parts_of("tool", "1", "alice", spell(&texts[0], "", "\"a\":0"));
	struct key_parts other = parts_of("tool", "1", "alice", spell(&texts[1], " ", "\"a\":0"));
	struct key_parts third = parts_of("tool", "1", "alice", spell(&texts[2], "", "\"a\":1"));
	struct key_parts broken = parts_of("tool", "1", "alice", spell(&texts[3], "", "\"b\":1"));
	struct key *key = key_of_parts(maker, one);
	struct json_fault fault;
	bool wrong;
	assert_true(key->len < 100); /* none of the bytes is held twice */
	assert_true(slice_equal(key_tool(key), SLICE("tool")));
	struct key *again = key_restore((struct slice){ key->bytes, key->len }, key->digest, &wrong);
	assert_non_null(again);
	assert_equal_and_forget(again, key_ref(key));
	assert_equal_and_forget(key_ref(key), key_of_parts(maker, one));
	assert_different_and_forget(key_ref(key), key_of_parts(maker, other));
	assert_different_and_forget(key, key_of_parts(maker, third));
	one.filter = other.filter = third.filter = &filter;
	assert_equal_and_forget(key_of_parts(maker, one), key_of_parts(maker, third));
	assert_equal_and_forget(key_of_parts(maker, one), key_of_parts(maker, other)); /* blanks between members */
	assert_int_equal(key_make(maker, &broken, &key, &fault), OUTCOME_INVALID_JSON);
	assert_string_equal(fault.what, "duplicate member name");
	for (size_t i = 0; i < countof(texts); i++)
		buf_fini(&texts[i]);
	key_maker_free(maker);
}

static void hashes_spread_and_are_not_the_digest(void **state)
{
	(void)state;
	enum { KEYS = 4096, BUCKETS = 64 };
	unsigned low[BUCKETS] = { 0 }, high[BUCKETS] = { 0 };
	struct key_maker *maker = key_maker_new(0, DEPTH);
	for (int i = 0; i < KEYS; i++) {
		char arguments[32];
		snprintf(arguments, sizeof arguments, "{\"n\":%d}", i);
		struct key *key = key_of(maker, arguments);
		for (size_t at = 0; at + 8 <= KEY_DIGEST_BYTES; at++)
			assert_memory_not_equal(&key->hash, key->digest + at, 8);
		low[key->hash % BUCKETS]++;
		high[key->hash >> 58]++;
		key_unref(key);
	}
	for (int i = 0; i < BUCKETS; i++) {
		/* 64 expected, its deviation is 8 */
		assert_in_range(low[i], 16, 128);
		assert_in_range(high[i], 16, 128);
	}
	key_maker_free(maker);
}

static void every_allocation_may_fail(void **state)
{
	(void)state;
	struct key_maker *maker = NULL;
	for (size_t n = 1; !maker; n++) {
		alloc_fail_at(n);
		maker = key_maker_new(SLOTS, DEPTH);
		alloc_reset();
	}
	key_maker_free(maker);
	bool done = false;
	size_t shed = 0;
	for (size_t n = 1; !done; n++) {
		struct key *key;
		struct json_fault fault = { 0 };
		struct key_parts parts = parts_of("tool", "1", "", SLICE(" {\"b\":1,\"a\":{\"\\u0064\":1,\"c\":2}}"));
		maker = key_maker_new(SLOTS, DEPTH);
		assert_non_null(maker);
		alloc_reset();
		alloc_fail_at(n);
		enum outcome outcome = key_make(maker, &parts, &key, &fault);
		done = alloc_count() < n;
		alloc_reset();
		assert_true(outcome == OUTCOME_OK || outcome == OUTCOME_OVERLOADED);
		assert_int_equal(key != NULL, outcome == OUTCOME_OK);
		assert_int_equal(fault.out_of_memory, outcome != OUTCOME_OK);
		shed += outcome != OUTCOME_OK;
		/* the maker has taken no harm */
		struct key *after = key_of_parts(maker, parts);
		assert_true(!key || key_equal(key, after));
		key_unref(key);
		key_unref(after);
		key_maker_free(maker);
	}
	assert_true(shed >= 3);
}

enum { THREADS = 4, CALLS = 2000 };

static void *make_many(void *hashes_out)
{
	uint64_t *hashes = hashes_out;
	struct key_maker *maker = key_maker_new(SLOTS, DEPTH);
	for (int i = 0; i < CALLS; i++) {
		char arguments[32];
		snprintf(arguments, sizeof arguments, "{\"n\":%d}", i % 500);
		struct key_parts parts = parts_of("tool", "1", "", slice_of(arguments));
		struct json_fault fault;
		struct key *key;
		if (key_make(maker, &parts, &key, &fault) == OUTCOME_OK)
			hashes[i] = key->hash;
		key_unref(key);
	}
	key_maker_free(maker);
	return NULL;
}

static void makers_on_different_threads_agree(void **state)
{
	(void)state;
	static uint64_t hashes[THREADS][CALLS];
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, make_many, hashes[i]), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (int i = 1; i < THREADS; i++)
		assert_memory_equal(hashes[i], hashes[0], sizeof hashes[0]);
	assert_true(hashes[0][0] != 0 && hashes[0][0] == hashes[0][500] && hashes[0][0] != hashes[0][1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(makers_on_different_threads_agree), /* first: the makers race to be the first */
		cmocka_unit_test(spellings_of_the_same_arguments_have_one_key),
		cmocka_unit_test(calls_that_differ_in_any_part_have_different_keys),
		cmocka_unit_test(parts_with_nul_bytes_and_lengths_in_them_do_not_run_together),
		cmocka_unit_test(what_a_tree_would_merge_has_different_keys),
		cmocka_unit_test(arguments_must_be_one_json_object),
		cmocka_unit_test(the_digest_is_the_same_in_every_process),
		cmocka_unit_test(a_repeat_of_the_very_same_bytes_allocates_nothing_and_is_the_same_key),
		cmocka_unit_test(a_key_outlives_its_maker),
		cmocka_unit_test(calls_that_fight_for_one_slot_still_get_their_own_keys),
		cmocka_unit_test(calls_too_long_to_remember_have_keys_too),
		cmocka_unit_test(arguments_of_many_bytes_count_as_they_are_spelled),
		cmocka_unit_test(hashes_spread_and_are_not_the_digest),
		cmocka_unit_test(every_allocation_may_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
