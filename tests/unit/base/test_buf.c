/* SPDX-License-Identifier: Apache-2.0 */
/* The buffer: grows within its bound, fails stickily, hands its bytes on without a copy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "tests/support/alloc_fail.h"

static void assert_text(const struct buf *buf, const char *text)
{
	assert_true(slice_equal(buf_slice(buf), slice_of(text)));
}

static void an_empty_buffer_is_usable_without_memory(void **state)
{
	(void)state;
	struct buf buf = BUF_INIT(100);
	alloc_reset();
	assert_int_equal(buf_slice(&buf).len, 0);
	assert_string_equal(buf_cstr(&buf), "");
	buf_put(&buf, (struct slice){ NULL, 0 });
	buf_put_text(&buf, "");
	assert_int_equal(alloc_count(), 0);
	buf_fini(&buf);
	struct blob *blob = buf_take_blob(&buf);
	assert_non_null(blob);
	assert_int_equal(blob->len, 0);
	blob_unref(blob);
}

static void writes_follow_each_other(void **state)
{
	(void)state;
	struct buf buf;
	buf_init(&buf, 1000);
	buf_put(&buf, SLICE("a\0b"));
	buf_put_char(&buf, '-');
	buf_put_u64(&buf, 0);
	buf_put_char(&buf, '-');
	buf_put_u64(&buf, UINT64_MAX);
	buf_printf(&buf, "-%s-%d", "text", -5);
	buf_printf(&buf, "%s", "");
	assert_true(slice_equal(buf_slice(&buf), SLICE("a\0b-0-18446744073709551615-text--5")));
	assert_int_equal(buf_cstr(&buf)[buf.len], '\0');
	assert_false(buf.failed);
	buf_fini(&buf);
}

static void it_grows_to_its_bound_and_not_a_byte_further(void **state)
{
	(void)state;
	for (size_t max = 0; max < 600; max += 7) {
		struct buf buf = BUF_INIT(max);
		for (size_t i = 0; i < max; i++)
			buf_put_char(&buf, 'x');
		assert_false(buf.failed);
		assert_int_equal(buf.len, max);
		assert_true(max == 0 || buf.store->len <= max);
		buf_put_char(&buf, 'y');
		assert_true(buf.failed);
		assert_int_equal(buf.len, max);
		buf_fini(&buf);
	}
}

static void printf_fills_it_to_the_last_byte(void **state)
{
	(void)state;
	struct buf buf = BUF_INIT(10);
	buf_printf(&buf, "%s", "0123456789");
	assert_false(buf.failed);
	assert_text(&buf, "0123456789");
	buf_printf(&buf, "%c", 'x');
	assert_true(buf.failed);
	buf_fini(&buf);
	buf_init(&buf, 0);
	buf_printf(&buf, "%s", "");
	assert_false(buf.failed);
	buf_fini(&buf);
}

static void failure_is_sticky_until_reset(void **state)
{
	(void)state;
	struct buf buf = BUF_INIT(4);
	buf_put_text(&buf, "ab");
	buf_put_text(&buf, "too long");
	buf_put_char(&buf, 'c'); /* would fit */
	assert_true(buf.failed);
	assert_text(&buf, "ab");
	assert_null(buf_take_blob(&buf));
	buf_reset(&buf);
	alloc_reset();
	buf_put_text(&buf, "wxyz");
	assert_int_equal(alloc_count(), 0);
	assert_text(&buf, "wxyz");
	buf_fini(&buf);
	assert_false(buf.failed);
}

static void an_absurd_reservation_fails_instead_of_wrapping(void **state)
{
	(void)state;
	struct buf buf = BUF_INIT(SIZE_MAX);
	buf_put_text(&buf, "abc");
	assert_false(buf_reserve(&buf, SIZE_MAX - 8));
	assert_text(&buf, "abc");
	buf_reset(&buf);
	assert_false(buf_reserve(&buf, SIZE_MAX));
	buf_fini(&buf);
}

static void reserved_room_is_there(void **state)
{
	(void)state;
	struct buf buf = BUF_INIT(100000);
	assert_true(buf_reserve(&buf, 50000));
	alloc_reset();
	for (int i = 0; i < 50000; i++)
		buf_put_char(&buf, 'x');
	assert_int_equal(alloc_count(), 0);
	buf_fini(&buf);
}

static void taking_the_blob_copies_nothing_and_empties_the_buffer(void **state)
{
	(void)state;
	struct buf buf = BUF_INIT(1000);
	buf_put_text(&buf, "hello");
	const char *bytes = buf_slice(&buf).at;
	alloc_reset();
	struct blob *blob = buf_take_blob(&buf);
	assert_int_equal(alloc_count(), 0);
	assert_ptr_equal(blob->bytes, bytes);
	assert_int_equal(blob->len, 5);
	assert_string_equal(blob->bytes, "hello");
	assert_int_equal(buf.len, 0);
	assert_null(buf.store);
	buf_put_text(&buf, "again"); /* a buffer of its own */
	assert_string_equal(blob->bytes, "hello");
	blob_unref(blob);
	buf_fini(&buf);
}

static void a_mostly_empty_blob_is_trimmed_or_kept_when_memory_is_out(void **state)
{
	(void)state;
	for (size_t fail = 0; fail <= 1; fail++) {
		struct buf buf = BUF_INIT(1 << 20);
		assert_true(buf_reserve(&buf, 100000));
		buf_put_text(&buf, "hello");
		alloc_reset();
		alloc_fail_at(fail);
		struct blob *blob = buf_take_blob(&buf);
		assert_int_equal(alloc_count(), 1);
		alloc_reset();
		assert_non_null(blob);
		assert_int_equal(blob->len, 5);
		assert_string_equal(blob->bytes, "hello");
		blob_unref(blob);
	}
}

static bool write_much(struct buf *buf)
{
	for (int i = 0; i < 200; i++) {
		buf_put_text(buf, "some text ");
		buf_printf(buf, "and number %d\n", i);
		buf_put_u64(buf, (uint64_t)i);
		buf_put_char(buf, ' ');
	}
	return !buf->failed;
}

/* realloc hands out what the last owner has left there. */
static void a_blob_made_by_a_buffer_has_no_takers(void **state)
{
	(void)state;
	mallopt(M_PERTURB, 0x5a);
	struct buf buf = BUF_INIT(1 << 20);
	for (size_t len = 1; len < 1 << 18; len *= 4) {
		assert_true(buf_reserve(&buf, len));
		assert_int_equal(atomic_load(&buf.store->takers), 0);
		buf_put_text(&buf, "x");
		struct blob *blob = buf_take_blob(&buf);
		assert_int_equal(atomic_load(&blob->takers), 0);
		assert_int_equal(atomic_load(&blob->refs), 1);
		blob_unref(blob);
	}
	mallopt(M_PERTURB, 0);
	buf_fini(&buf);
}

static void any_allocation_may_fail(void **state)
{
	(void)state;
	size_t failures = 0;
	for (bool whole = false; !whole;) {
		struct buf buf = BUF_INIT(1 << 20);
		alloc_reset();
		alloc_fail_at(failures + 1);
		whole = write_much(&buf);
		struct blob *blob = buf_take_blob(&buf);
		alloc_reset();
		assert_true(whole == (blob != NULL));
		assert_true(buf_cstr(&buf) != NULL);
		blob_unref(blob);
		buf_fini(&buf);
		failures += !whole;
	}
	assert_true(failures > 3);
}

static void slices_compare_by_bytes_and_print_within_bounds(void **state)
{
	(void)state;
	char out[16];
	assert_true(slice_equal((struct slice){ NULL, 0 }, SLICE("")));
	assert_true(slice_equal(slice_of(NULL), slice_of("")));
	assert_false(slice_equal(SLICE("a"), SLICE("ab")));
	assert_false(slice_equal(SLICE("a\0b"), SLICE("a\0c")));
	struct slice part = { "abcdef", 3 }, none = { NULL, 0 };
	snprintf(out, sizeof out, "%.*s|%.*s", SLICE_ARG(part), SLICE_ARG(none));
	assert_string_equal(out, "abc|");
	struct slice huge = { "x", (size_t)UINT32_MAX + 1 };
	const struct {
		int precision;
		const char *at;
	} printed = { SLICE_ARG(huge) };
	assert_int_equal(printed.precision, 0x7fffffff);
	assert_ptr_equal(printed.at, huge.at);
}

/* Memory comes with whatever was in it: a reply whose blob is counted as taken already is never counted. */
static void what_is_shared_of_it_is_not_changed(void **state)
{
	struct buf buf = BUF_INIT(SIZE_MAX / 4);
	(void)state;
	buf_put_text(&buf, "shared");
	struct blob *store = blob_ref(buf.store);
	size_t room = store->len;
	for (size_t i = 0; i < 2 * room; i++)
		buf_put_char(&buf, 'x'); /* in what is left of it, and then elsewhere */
	assert_ptr_not_equal(buf.store, store);
	assert_int_equal(buf.len, strlen("shared") + 2 * room);
	assert_memory_equal(buf.store->bytes, "sharedxx", 8);
	assert_int_equal(atomic_load(&buf.store->refs), 1);
	assert_int_equal(atomic_load(&store->refs), 1); /* ours */
	assert_int_equal(store->len, room);
	assert_memory_equal(store->bytes, "sharedxx", 8);
	blob_unref(store);
	buf_fini(&buf);
}

static void the_blob_it_makes_has_no_takers(void **state)
{
	(void)state;
	mallopt(M_PERTURB, 0x5a);
	struct buf buf = BUF_INIT(1000);
	buf_put_text(&buf, "x");
	mallopt(M_PERTURB, 0);
	struct blob *blob = buf_take_blob(&buf);
	assert_non_null(blob);
	assert_int_equal(atomic_load(&blob->takers), 0);
	assert_int_equal(atomic_load(&blob->refs), 1);
	blob_unref(blob);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_buffer_is_usable_without_memory),
		cmocka_unit_test(writes_follow_each_other),
		cmocka_unit_test(it_grows_to_its_bound_and_not_a_byte_further),
		cmocka_unit_test(printf_fills_it_to_the_last_byte),
		cmocka_unit_test(failure_is_sticky_until_reset),
		cmocka_unit_test(an_absurd_reservation_fails_instead_of_wrapping),
		cmocka_unit_test(reserved_room_is_there),
		cmocka_unit_test(taking_the_blob_copies_nothing_and_empties_the_buffer),
		cmocka_unit_test(a_mostly_empty_blob_is_trimmed_or_kept_when_memory_is_out),
		cmocka_unit_test(a_blob_made_by_a_buffer_has_no_takers),
		cmocka_unit_test(any_allocation_may_fail),
		cmocka_unit_test(what_is_shared_of_it_is_not_changed),
		cmocka_unit_test(the_blob_it_makes_has_no_takers),
		cmocka_unit_test(slices_compare_by_bytes_and_print_within_bounds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
