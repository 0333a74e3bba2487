/* SPDX-License-Identifier: Apache-2.0 */
/* Entries as bytes: there and back, every way of being damaged, clocks that differ, memory that is out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "cache/stored_value.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/cache_keys.h"

static const struct stored_clock now = { 5000 * CLOCK_US_PER_S, UINT64_C(1700000000) * CLOCK_US_PER_S };

static struct stored_clock later(uint64_t mono_us, int64_t wall_us)
{
	return (struct stored_clock){ now.now_us + mono_us, now.wall_us + (uint64_t)wall_us };
}

static struct entry *entry_of(struct answer *answer)
{
	struct key *key = key_of_id(7);
	struct entry *entry = entry_new(key, answer);
	assert_non_null(entry);
	entry->made_us = now.now_us - 15 * CLOCK_US_PER_S;
	entry->stored_us = now.now_us - 10 * CLOCK_US_PER_S;
	entry->fresh_until_us = now.now_us + 60 * CLOCK_US_PER_S;
	entry->revalidate_until_us = now.now_us + 90 * CLOCK_US_PER_S;
	entry->error_until_us = now.now_us + 3600 * CLOCK_US_PER_S;
	entry->cost_us = 1234;
	key_unref(key);
	answer_unref(answer);
	return entry;
}

static struct entry *plain_entry(void)
{
	return entry_of(answer_result(SLICE("{\"a\":[1,2,3],\"b\":\"text\"}"), true, NULL));
}

static void encode(const struct entry *entry, size_t compress, struct buf *out)
{
	buf_init(out, 1 << 26);
	assert_true(stored_value_encode(entry, compress, &now, out));
}

/* There and back; the new entry. */
static struct entry *again(struct entry *entry, size_t compress)
{
	struct buf out;
	struct entry *read = NULL;
	encode(entry, compress, &out);
	assert_int_equal(stored_value_decode(buf_slice(&out), entry->key, &now, &read), STORED_OK);
	buf_fini(&out);
	assert_true(slice_equal(answer_body(read->answer), answer_body(entry->answer)));
	assert_true(slice_equal(answer_full(read->answer), answer_full(entry->answer)));
	assert_int_equal(read->answer->outcome, entry->answer->outcome);
	assert_int_equal(read->answer->json, entry->answer->json);
	assert_string_equal(read->answer->content_type, entry->answer->content_type);
	assert_string_equal(read->answer->detail, entry->answer->detail);
	assert_int_equal(read->made_us, entry->made_us);
	assert_int_equal(read->stored_us, entry->stored_us);
	assert_int_equal(read->fresh_until_us, entry->fresh_until_us);
	assert_int_equal(read->revalidate_until_us, entry->revalidate_until_us);
	assert_int_equal(read->error_until_us, entry->error_until_us);
	assert_int_equal(read->cost_us, entry->cost_us);
	return read;
}

static void answers_of_every_kind_come_back(void **state)
{
	(void)state;
	struct answer *answers[] = {
		answer_result(SLICE("{\"a\":1.0}"), true, NULL),
		answer_result(SLICE(""), false, "text/plain"),
		answer_result(SLICE("\0\xff bytes\r\n"), false, "application/octet-stream"),
		answer_mcp(OUTCOME_OK, SLICE("{\"content\":[],\"structuredContent\":{\"a\":1}}"), SLICE("{\"a\":1}"),
			   true, NULL, "%s", ""),
		answer_mcp(OUTCOME_TOOL_ERROR, SLICE("{\"isError\":true}"), SLICE("\"no\""), true, NULL, "%s",
			   "It said no."),
		answer_upstream_error(OUTCOME_TOOL_ERROR, 404, 7, SLICE("{\"error\":1}"), "Not there."),
	};
	for (size_t i = 0; i < countof(answers); i++) {
		struct entry *entry = entry_of(answers[i]), *read = again(entry, 0);
		assert_int_equal(read->answer->upstream_status, entry->answer->upstream_status);
		assert_int_equal(read->answer->retry_after_s, entry->answer->retry_after_s);
		entry_unref(read);
		entry_unref(entry);
	}
}

static void a_body_within_its_full_form_is_stored_once(void **state)
{
	(void)state;
	const char full[] = "{\"content\":[],\"structuredContent\":{\"a\":1}}";
	struct slice body = { strstr(full, "{\"a\""), 7 };
	struct entry *entry = entry_of(answer_mcp(OUTCOME_OK, slice_of(full), body, true, NULL, "%s", ""));
	struct entry *read = again(entry, 0);
	assert_int_equal(answer_held_bytes(read->answer), sizeof full);
	entry_unref(read);
	entry_unref(entry);
}

static void what_compresses_well_is_compressed(void **state)
{
	(void)state;
	enum { LEN = 100000 };
	char *text = malloc(LEN);
	struct buf out;
	assert_non_null(text);
	for (int i = 0; i < LEN; i++)
		text[i] = "{\"item\":1234,}"[i % 14];
	struct entry *entry = entry_of(answer_result((struct slice){ text, LEN }, false, NULL));
	encode(entry, 4096, &out);
	assert_true(out.len < LEN / 10);
	buf_fini(&out);
	encode(entry, LEN + 1, &out); /* below the threshold */
	assert_true(out.len > LEN);
	buf_fini(&out);
	entry_unref(again(entry, 4096));
	entry_unref(entry);
	for (int i = 0; i < LEN; i++)
		text[i] = (char)mix64((uint64_t)i);
	entry = entry_of(answer_result((struct slice){ text, LEN }, false, NULL));
	encode(entry, 4096, &out); /* noise does not: it stays as it is */
	assert_true(out.len > LEN);
	buf_fini(&out);
	entry_unref(again(entry, 4096));
	entry_unref(entry);
	free(text);
}

static void every_cut_and_every_changed_bit_is_noticed(void **state)
{
	(void)state;
	for (size_t compress = 0; compress < 2; compress++) {
		char long_text[600] = "";
		memset(long_text, 'a', sizeof long_text - 1);
		struct entry *entry =
			compress ? entry_of(answer_result(slice_of(long_text), false, NULL)) : plain_entry();
		struct entry *read = NULL;
		struct buf out;
		encode(entry, compress, &out);
		char *bytes = malloc(out.len + 1);
		assert_non_null(bytes);
		memcpy(bytes, buf_slice(&out).at, out.len);
		bytes[out.len] = 'x';
		for (size_t len = 0; len <= out.len + 1; len++)
			if (len != out.len)
				assert_int_not_equal(
					stored_value_decode((struct slice){ bytes, len }, entry->key, &now, &read),
					STORED_OK);
		for (size_t bit = 0; bit < out.len * 8; bit++) {
			bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
			assert_int_not_equal(
				stored_value_decode((struct slice){ bytes, out.len }, entry->key, &now, &read),
				STORED_OK);
			bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
		}
		assert_int_equal(stored_value_decode((struct slice){ bytes, out.len }, entry->key, &now, &read),
				 STORED_OK);
		entry_unref(read);
		free(bytes);
		buf_fini(&out);
		entry_unref(entry);
	}
}

static void another_keys_value_is_foreign(void **state)
{
	(void)state;
	struct entry *entry = plain_entry(), *read = NULL;
	struct buf out;
	encode(entry, 0, &out);
	struct key *other = key_of_id(8), *twin = key_with_hash(7, 41, 1);
	assert_int_equal(stored_value_decode(buf_slice(&out), other, &now, &read), STORED_FOREIGN);
	/* the same digest, other bytes */
	assert_int_equal(stored_value_decode(buf_slice(&out), twin, &now, &read), STORED_FOREIGN);
	assert_int_equal(stored_value_decode(SLICE("GIF89a.............."), entry->key, &now, &read), STORED_FOREIGN);
	key_unref(other);
	key_unref(twin);
	buf_fini(&out);
	entry_unref(entry);
}

static void clocks_that_differ_never_make_it_fresher(void **state)
{
	(void)state;
	struct entry *entry = plain_entry(), *read = NULL;
	struct buf out;
	encode(entry, 0, &out);
	/* 30 s later by both: 30 s less to live */
	struct stored_clock clock = later(30 * CLOCK_US_PER_S, 30 * (int64_t)CLOCK_US_PER_S);
	assert_int_equal(stored_value_decode(buf_slice(&out), entry->key, &clock, &read), STORED_OK);
	assert_int_equal(read->fresh_until_us, clock.now_us + 30 * CLOCK_US_PER_S);
	assert_int_equal(read->stored_us, clock.now_us - 40 * CLOCK_US_PER_S);
	assert_int_equal(read->made_us, clock.now_us - 45 * CLOCK_US_PER_S);
	entry_unref(read);
	/* our clock is 40 s behind the writer's: it counts as stored now, and is fresh for its own 70 s */
	clock = later(0, -40 * (int64_t)CLOCK_US_PER_S);
	assert_int_equal(stored_value_decode(buf_slice(&out), entry->key, &clock, &read), STORED_OK);
	assert_int_equal(read->stored_us, clock.now_us);
	assert_int_equal(read->made_us, clock.now_us - 5 * CLOCK_US_PER_S);
	assert_int_equal(read->fresh_until_us, clock.now_us + 70 * CLOCK_US_PER_S);
	entry_unref(read);
	clock = later(0, -80 * (int64_t)CLOCK_US_PER_S);
	assert_int_equal(stored_value_decode(buf_slice(&out), entry->key, &clock, &read), STORED_CLOCK);
	clock = later(0, 3601 * (int64_t)CLOCK_US_PER_S);
	assert_int_equal(stored_value_decode(buf_slice(&out), entry->key, &clock, &read), STORED_GONE);
	/* a machine that has just been started: age is what it can be */
	clock = (struct stored_clock){ 2 * CLOCK_US_PER_S, now.wall_us };
	assert_int_equal(stored_value_decode(buf_slice(&out), entry->key, &clock, &read), STORED_OK);
	assert_int_equal(read->stored_us, 0);
	entry_unref(read);
	buf_fini(&out);
	entry_unref(entry);
}

static void what_does_not_fit_is_not_written(void **state)
{
	(void)state;
	struct entry *entry = plain_entry();
	struct buf out = BUF_INIT(100);
	assert_false(stored_value_encode(entry, 0, &now, &out));
	buf_fini(&out);
	entry_unref(entry);
}

static void without_memory_it_is_a_miss_that_blames_nobody(void **state)
{
	(void)state;
	char text[3000];
	memset(text, 'z', sizeof text);
	struct entry *entry = entry_of(answer_result((struct slice){ text, sizeof text }, false, NULL)), *read = NULL;
	struct buf out;
	encode(entry, 64, &out);
	for (size_t n = 1;; n++) {
		alloc_fail_at(n);
		enum stored_fault fault = stored_value_decode(buf_slice(&out), entry->key, &now, &read);
		alloc_reset();
		if (fault == STORED_OK)
			break;
		assert_int_equal(fault, STORED_NO_MEMORY);
	}
	entry_unref(read);
	buf_fini(&out);
	for (size_t n = 1;; n++) {
		buf_init(&out, 1 << 20);
		alloc_fail_at(n);
		bool ok = stored_value_encode(entry, 64, &now, &out);
		alloc_reset();
		buf_fini(&out);
		if (ok)
			break;
	}
	entry_unref(entry);
}

/* Who may write there may write what no provider could have said: a line of headers of his own, say. */
static void a_strangers_content_type_is_one_line_or_none_of_his(void **state)
{
	static const char *const types[] = { "text/plain\r\nX-His: 1", "a\nb", "t\x7f", "\x01" };
	(void)state;
	for (size_t i = 0; i < countof(types); i++) {
		struct entry *entry = plain_entry(), *read = NULL;
		struct buf out;
		snprintf(entry->answer->content_type, sizeof entry->answer->content_type, "%s", types[i]);
		encode(entry, 0, &out);
		assert_int_equal(stored_value_decode(buf_slice(&out), entry->key, &now, &read), STORED_OK);
		assert_string_equal(read->answer->content_type, "application/octet-stream");
		buf_fini(&out);
		entry_unref(read);
		entry_unref(entry);
	}
}

int main(int argc, char **argv)
{
	if (argc == 2) { /* write seeds for the fuzz target into that directory */
		struct entry *entries[] = {
			plain_entry(),
			entry_of(answer_mcp(OUTCOME_OK, SLICE("{\"content\":[]}"), SLICE("[]"), true, NULL, "%s", "")),
			entry_of(answer_upstream_error(OUTCOME_TOOL_ERROR, 404, 7, SLICE("1"), "No."))
		};
		for (size_t i = 0; i < countof(entries); i++)
			for (size_t compress = 0; compress < 2; compress++) {
				char path[512];
				struct buf out;
				snprintf(path, sizeof path, "%s/value%zu%zu", argv[1], i, compress);
				encode(entries[i], compress, &out);
				FILE *file = fopen(path, "w");
				if (!file || fputc(1, file) == EOF ||
				    fwrite(buf_slice(&out).at, 1, out.len, file) != out.len)
					return 1;
				fclose(file);
				buf_fini(&out);
			}
		return 0;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_of_every_kind_come_back),
		cmocka_unit_test(a_body_within_its_full_form_is_stored_once),
		cmocka_unit_test(what_compresses_well_is_compressed),
		cmocka_unit_test(every_cut_and_every_changed_bit_is_noticed),
		cmocka_unit_test(another_keys_value_is_foreign),
		cmocka_unit_test(clocks_that_differ_never_make_it_fresher),
		cmocka_unit_test(what_does_not_fit_is_not_written),
		cmocka_unit_test(a_strangers_content_type_is_one_line_or_none_of_his),
		cmocka_unit_test(without_memory_it_is_a_miss_that_blames_nobody),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
