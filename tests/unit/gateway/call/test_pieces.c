/* SPDX-License-Identifier: Apache-2.0 */
/* Long texts piece by piece: whatever the parts, they read as if they had been made at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>

#include "base/json.h"
#include "gateway/call/pieces.h"

enum { LONG = 5 * PIECE_BYTES + 17, OUT_MAX = 64 << 20 };

/* LONG bytes of `unit` over and over, cut anywhere. */
static struct slice repeat(const char *unit)
{
	char *bytes = malloc(LONG);
	assert_non_null(bytes);
	for (size_t i = 0; i < LONG; i++)
		bytes[i] = unit[i % strlen(unit)];
	return (struct slice){ bytes, LONG };
}

static void forget(struct slice text)
{
	free((void *)(uintptr_t)text.at);
}

/* Piece by piece; each is a bounded step, and what is said of it before is what it takes. */
static size_t write_by_pieces(struct pieces *pieces, struct buf *out)
{
	size_t steps = 0;
	for (size_t next; (next = pieces_next(pieces)) > 0; steps++) {
		size_t left = pieces_left(pieces);
		assert_in_range(next, 1, PIECE_BYTES);
		pieces_write(pieces, out);
		assert_int_equal(pieces_left(pieces), left - next);
	}
	assert_int_equal(pieces_left(pieces), 0);
	assert_false(out->failed);
	return steps;
}

static void a_string_is_cut_between_characters(void **state)
{
	static const char *const units[] = { "x",          "\xc3\xa4", "a\xe2\x82\xac", "\xf0\x9f\x98\x80\xc3\xa4z",
					     "\"\\\n\x01", "\xff\x80" };
	(void)state;
	for (size_t i = 0; i < countof(units); i++) {
		struct slice text = repeat(units[i]);
		struct pieces pieces = { 0 };
		struct buf out = BUF_INIT(OUT_MAX), whole = BUF_INIT(OUT_MAX);
		json_put_string(&whole, text);
		pieces_put_string(&pieces, text);
		assert_in_range(write_by_pieces(&pieces, &out), 6, 10);
		assert_true(slice_equal(buf_slice(&out), buf_slice(&whole)));
		buf_fini(&out);
		buf_fini(&whole);
		forget(text);
	}
}

static void an_empty_string_is_one(void **state)
{
	(void)state;
	struct pieces pieces = { 0 };
	struct buf out = BUF_INIT(OUT_MAX);
	pieces_put_string(&pieces, SLICE(""));
	pieces_put(&pieces, SLICE(""));
	pieces_write_all(&pieces, &out);
	assert_string_equal(buf_cstr(&out), "\"\"");
	buf_fini(&out);
}

static void base64_has_its_padding_at_the_end_only(void **state)
{
	(void)state;
	struct slice bytes = repeat("abcdefgh");
	struct pieces pieces = { 0 };
	struct buf out = BUF_INIT(OUT_MAX);
	pieces_put_base64(&pieces, bytes);
	write_by_pieces(&pieces, &out);
	assert_int_equal(out.len, (LONG + 2) / 3 * 4);
	struct slice text = buf_slice(&out);
	const char *padding = memchr(text.at, '=', text.len);
	assert_true(!padding || padding >= text.at + text.len - 2);
	buf_fini(&out);
	forget(bytes);
}

static void what_ends_lines_is_kept_apart(void **state)
{
	static const struct {
		enum piece_form raw;
		const char *expected;
	} cases[] = { { PIECE_RAW, "{\n\"a\":\r\n1}\n\n" },
		      { PIECE_EVENT, "{\ndata: \"a\":\ndata: \ndata: 1}\n\n" },
		      { PIECE_LINE, "{ \"a\":  1}\n\n" } };
	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct pieces pieces = { .raw = cases[i].raw };
		struct buf out = BUF_INIT(OUT_MAX);
		pieces_put(&pieces, SLICE("{\n\"a\":\r\n1}"));
		pieces_put_text(&pieces, "\n\n"); /* ours is ours */
		pieces_write_all(&pieces, &out);
		assert_string_equal(buf_cstr(&out), cases[i].expected);
		buf_fini(&out);
	}
}

static void what_is_kept_goes_with_them(void **state)
{
	(void)state;
	struct blob *blob = blob_copy(SLICE("kept"));
	struct pieces pieces = { .raw = PIECE_LINE, .keeps = blob_ref(blob) };
	assert_non_null(blob);
	pieces_put(&pieces, blob_slice(blob));
	pieces_fini(&pieces);
	assert_int_equal(atomic_load(&blob->refs), 1);
	assert_int_equal(pieces_left(&pieces), 0);
	assert_int_equal(pieces.raw, PIECE_RAW);
	blob_unref(blob);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_string_is_cut_between_characters),
		cmocka_unit_test(an_empty_string_is_one),
		cmocka_unit_test(base64_has_its_padding_at_the_end_only),
		cmocka_unit_test(what_ends_lines_is_kept_apart),
		cmocka_unit_test(what_is_kept_goes_with_them),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
