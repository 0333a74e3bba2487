/* SPDX-License-Identifier: Apache-2.0 */
/* Exports: written and read again; what is of another version, cut, changed or too late. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/clock.h"
#include "cache/dump.h"
#include "tests/support/alloc_fail.h"

static struct entry *entry_of(const char *arguments, uint64_t lives_us)
{
	struct key_maker *maker = key_maker_new(0, 10);
	const struct key_parts parts = { SLICE("tool"), SLICE("1"), SLICE("me"), slice_of(arguments), NULL, false };
	struct key *key;
	struct json_fault fault;
	assert_int_equal(key_make(maker, &parts, &key, &fault), OUTCOME_OK);
	struct answer *answer = answer_result(SLICE("{\"a\":[1,2,3]}"), true, NULL);
	struct entry *entry = entry_new(key, answer);
	uint64_t now_us = clock_now_us();
	entry->made_us = entry->stored_us = now_us - 1000;
	entry->fresh_until_us = entry->revalidate_until_us = entry->error_until_us = now_us + lives_us;
	answer_unref(answer);
	key_unref(key);
	key_maker_free(maker);
	return entry;
}

/* The line of an entry, without its end. */
static struct slice line_of(struct buf *out, const struct entry *entry)
{
	buf_reset(out);
	assert_true(dump_put_entry(out, entry));
	struct slice line = buf_slice(out);
	assert_int_equal(line.at[line.len - 1], '\n');
	return (struct slice){ line.at, line.len - 1 };
}

static void what_is_written_is_read_again(void **state)
{
	struct buf out = BUF_INIT(1 << 20);
	(void)state;
	for (unsigned n = 0; n < 30; n++) { /* all lengths of base64's padding */
		char arguments[64] = "{\"q\":\"";
		memset(arguments + 6, 'x', n);
		strcpy(arguments + 6 + n, "\"}");
		struct entry *entry = entry_of(arguments, 60 * CLOCK_US_PER_S), *again = NULL;
		/* a line holds seconds from when it was written, so what passes until it is read is gained */
		uint64_t begun_us = clock_now_us();
		assert_int_equal(dump_read_entry(line_of(&out, entry), &again), DUMP_OK);
		uint64_t took_us = clock_now_us() - begun_us;
		assert_true(key_equal(again->key, entry->key));
		assert_true(slice_equal(answer_body(again->answer), answer_body(entry->answer)));
		assert_true(again->fresh_until_us <= entry->fresh_until_us + took_us + 2);
		assert_true(slice_equal(key_tool(again->key), SLICE("tool")));
		entry_unref(again);
		entry_unref(entry);
	}
	buf_fini(&out);
}

static void every_change_of_a_line_is_noticed(void **state)
{
	struct buf out = BUF_INIT(1 << 20);
	struct entry *entry = entry_of("{}", 60 * CLOCK_US_PER_S), *again = NULL;
	struct slice line = line_of(&out, entry);
	(void)state;
	for (size_t i = 0; i < line.len; i++) {
		char *at = out.store->bytes + i, was = *at;
		assert_int_equal(dump_read_entry((struct slice){ line.at, i }, &again), DUMP_DAMAGED);
		*at = was == 'A' ? 'B' : 'A';
		/* in the padding a few bits mean nothing */
		if (dump_read_entry(line, &again) == DUMP_OK) {
			assert_true(i + 4 >= line.len);
			entry_unref(again);
		}
		*at = was;
	}
	entry_unref(entry);
	buf_fini(&out);
}

static void what_is_past_its_time_is_neither_written_nor_read(void **state)
{
	struct buf out = BUF_INIT(1 << 20);
	struct entry *entry = entry_of("{}", CLOCK_US_PER_S), *again = NULL;
	(void)state;
	struct slice line = line_of(&out, entry);
	entry->fresh_until_us = entry->revalidate_until_us = entry->error_until_us = entry->stored_us;
	struct buf none = BUF_INIT(1 << 20);
	assert_false(dump_put_entry(&none, entry));
	assert_int_equal(none.len, 0);
	uint64_t limit_us = clock_now_us() + 20 * CLOCK_US_PER_S;
	enum dump_fault fault = DUMP_OK;
	while (fault == DUMP_OK && clock_now_us() < limit_us) {
		fault = dump_read_entry(line, &again);
		if (fault == DUMP_OK)
			entry_unref(again);
	}
	assert_int_equal(fault, DUMP_GONE);
	entry_unref(entry);
	buf_fini(&none);
	buf_fini(&out);
}

static void heads_of_other_versions_are_refused_by_name(void **state)
{
	static const struct {
		const char *line, *expected;
	} cases[] = {
		{ "{\"jitney_cache\":2,\"key_scheme\":1,\"value_format\":2}", "its layout is 2, this one reads 1." },
		{ "{\"jitney_cache\":1,\"key_scheme\":7,\"value_format\":2}",
		  "its scheme of keys is 7, this one reads 1." },
		{ "{\"jitney_cache\":1,\"key_scheme\":1,\"value_format\":0}",
		  "its format of values is 0, this one reads 2." },
		{ "{\"jitney_cache\":1,\"key_scheme\":1}", "not the head of an export" },
		{ "{\"jitney_cache\":-1,\"key_scheme\":1,\"value_format\":2}", "not the head of an export" },
		{ "[1]", "not the head of an export" },
		{ "", "not the head of an export" },
	};
	struct buf head = BUF_INIT(1000);
	char why[256];
	size_t count;
	(void)state;
	dump_put_head(&head);
	head.len--;
	assert_true(dump_check_head(buf_slice(&head), why, sizeof why));
	assert_false(dump_is_end(buf_slice(&head), &count));
	for (size_t i = 0; i < countof(cases); i++) {
		assert_false(dump_check_head(slice_of(cases[i].line), why, sizeof why));
		if (!strstr(why, cases[i].expected))
			fail_msg("%s: %s", cases[i].line, why);
	}
	buf_reset(&head);
	dump_put_end(&head, 12);
	head.len--;
	assert_true(dump_is_end(buf_slice(&head), &count) && count == 12);
	buf_fini(&head);
}

static void without_memory_nothing_is_read_or_lost(void **state)
{
	struct buf out = BUF_INIT(1 << 20);
	struct entry *entry = entry_of("{}", 60 * CLOCK_US_PER_S), *again = NULL;
	struct slice line = line_of(&out, entry);
	bool done = false;
	(void)state;
	for (size_t n = 1; !done; n++) {
		alloc_fail_at(n);
		enum dump_fault fault = dump_read_entry(line, &again);
		alloc_reset();
		done = fault == DUMP_OK;
		assert_true(done || fault == DUMP_NO_MEMORY);
	}
	entry_unref(again);
	for (size_t n = 1, written = 0; !written; n++) {
		struct buf other = BUF_INIT(1 << 20);
		alloc_fail_at(n);
		written = dump_put_entry(&other, entry);
		alloc_reset();
		buf_fini(&other);
	}
	entry_unref(entry);
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read_again),
		cmocka_unit_test(every_change_of_a_line_is_noticed),
		cmocka_unit_test(what_is_past_its_time_is_neither_written_nor_read),
		cmocka_unit_test(heads_of_other_versions_are_refused_by_name),
		cmocka_unit_test(without_memory_nothing_is_read_or_lost),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
