/* SPDX-License-Identifier: Apache-2.0 */
/* A text that arrives piece by piece, and moves: the verdict is the one on the whole, and each byte is looked at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/json_arriving.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/json_members.h"
#include "tests/support/json_texts.h"

enum { DEPTH = 64 };

/* Look at the first `len` bytes in a block of their exact size, which is gone afterwards. */
static enum json_soundness look_at(struct json_arriving *arriving, struct slice text, size_t len,
				   struct json_fault *fault)
{
	char *block = malloc(len ? len : 1);
	assert_non_null(block);
	memcpy(block, text.at, len);
	enum json_soundness verdict =
		json_arriving_look(arriving, (struct slice){ block, len }, len == text.len, fault);
	free(block);
	return verdict;
}

/* In pieces of 1 to `most` bytes: what json_check says of the whole. */
static void assert_agrees(struct slice text, unsigned max_depth, unsigned most, unsigned *seed)
{
	struct json_fault whole = { 0 }, fault = { 0 };
	struct json_arriving *arriving = json_arriving_new(max_depth);
	enum json_soundness verdict = JSON_UNDECIDED;
	bool sound = json_check(text, max_depth, NULL, &whole);
	assert_non_null(arriving);
	for (size_t len = 0; len < text.len && verdict == JSON_UNDECIDED;) {
		len += 1 + (unsigned)rand_r(seed) % most;
		len = len < text.len ? len : text.len;
		verdict = look_at(arriving, text, len, &fault);
	}
	if (text.len == 0)
		verdict = look_at(arriving, text, 0, &fault);
	if (verdict != (sound ? JSON_SOUND : JSON_FAULTY))
		fail_msg("%.*s: %d, but %s", SLICE_ARG(text), verdict, sound ? "sound" : whole.what);
	if (!sound && (strcmp(fault.what, whole.what) != 0 || fault.at != whole.at))
		fail_msg("%.*s: %s at %zu, not %s at %zu", SLICE_ARG(text), fault.what, fault.at, whole.what, whole.at);
	json_arriving_free(arriving);
}

static void every_text_gets_the_verdict_on_the_whole(void **state)
{
	(void)state;
	unsigned seed = 1;
	for (unsigned most = 1; most < 40; most = most * 3) {
		for (size_t i = 0; i < countof(json_good); i++)
			assert_agrees(json_good[i], DEPTH, most, &seed);
		for (size_t i = 0; i < countof(json_bad); i++)
			assert_agrees(json_bad[i], DEPTH, most, &seed);
	}
}

static void put_random_string(struct buf *out, unsigned *seed)
{
	static const char *const parts[] = {
		"a", "b", "\\n",  "\\u0061", "\\ud83d\\ude00", "\303\244", "\342\202\254", "\360\237\230\200",
		"{", "]", "\\\"", "\\\\"
	};
	buf_put_char(out, '"');
	for (unsigned i = (unsigned)rand_r(seed) % 4; i > 0; i--)
		buf_put_text(out, parts[(unsigned)rand_r(seed) % countof(parts)]);
	buf_put_char(out, '"');
}

static void put_random_value(struct buf *out, unsigned depth, unsigned *seed)
{
	static const char *const scalars[] = { "1", "-12.5e+3", "true", "null", "false", "0", " 7 " };
	unsigned kind = (unsigned)rand_r(seed) % (depth ? 5 : 2), count = (unsigned)rand_r(seed) % 5;
	if (kind == 0)
		buf_put_text(out, scalars[(unsigned)rand_r(seed) % countof(scalars)]);
	else if (kind == 1)
		put_random_string(out, seed);
	if (kind < 2)
		return;
	bool object = kind > 2;
	buf_put_text(out, object ? "{ " : "[");
	for (unsigned i = 0; i < count; i++) {
		buf_put_text(out, i ? "," : "");
		if (object) {
			put_random_string(out, seed); /* often one that is there already, spelled in another way */
			buf_put_text(out, ": ");
		}
		put_random_value(out, depth - 1, seed);
	}
	buf_put_text(out, object ? "}" : "]\n");
}

static void random_texts_get_it_too_sound_or_broken(void **state)
{
	(void)state;
	for (unsigned round = 1; round <= 4000; round++) {
		unsigned seed = round;
		struct buf text = BUF_INIT(1 << 20);
		put_random_value(&text, 6, &seed);
		assert_agrees(buf_slice(&text), DEPTH, 1 + round % 30, &seed);
		assert_agrees(buf_slice(&text), 3, 1 + round % 30, &seed);
		if (text.len) /* one byte is another, or the text ends there */
			text.store->bytes[(unsigned)rand_r(&seed) % text.len] =
				"\"\\{}[],:x\x80 0"[(unsigned)rand_r(&seed) % 13];
		assert_agrees(buf_slice(&text), DEPTH, 1 + round % 30, &seed);
		if (text.len)
			text.len = (unsigned)rand_r(&seed) % text.len;
		assert_agrees(buf_slice(&text), DEPTH, 1 + round % 30, &seed);
		buf_fini(&text);
	}
}

/* What cannot be mended is known before the rest has come. */
static void a_fault_is_told_as_soon_as_it_is_one(void **state)
{
	(void)state;
	struct json_fault fault;
	struct json_arriving *arriving = json_arriving_new(DEPTH);
	struct slice text = SLICE("{\"a\":1,\"a\":2}  and so on");
	assert_int_equal(json_arriving_look(arriving, text, false, &fault), JSON_FAULTY);
	assert_string_equal(fault.what, "duplicate member name");
	assert_int_equal(fault.at, 7);
	text.len = 3; /* it stays so */
	assert_int_equal(json_arriving_look(arriving, text, true, &fault), JSON_FAULTY);
	assert_int_equal(fault.at, 7);
	json_arriving_free(arriving);
}

static uint64_t cpu_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

enum shape {
	SHAPE_ARRAYS,
	SHAPE_STRINGS,
	SHAPE_ESCAPES,
	SHAPE_NAME,
	SHAPE_DIGITS,
	SHAPE_OBJECTS,
	SHAPE_FLAT,
	SHAPE_COUNT
};
static const char *const shape_names[SHAPE_COUNT] = { "arrays",     "strings", "escapes", "one name",
						      "one number", "objects", "members" };

static void put_shape(struct buf *out, enum shape shape, size_t bytes)
{
	static const char *const units[SHAPE_COUNT] = {
		"[],", "\"a\",", "\\n", "\\u00e4", "7", "{\"b\":1,\"a\":2},", ""
	};
	static const char *const ends[SHAPE_COUNT][2] = { { "[", "0]" },      { "[", "0]" }, { "\"", "\"" },
							  { "{\"", "\":1}" }, { "", "" },    { "[", "0]" },
							  { "", "}" } };
	buf_put_text(out, ends[shape][0]);
	if (shape == SHAPE_FLAT)
		put_members(out, "member", bytes / 16 < JSON_UNSORTED_MAX ? bytes / 16 : JSON_UNSORTED_MAX, 7919);
	else
		while (out->len < bytes)
			buf_put_text(out, units[shape]);
	buf_put_text(out, ends[shape][1]);
}

/* In slices; what is looked at again is no more than what is looked at. With JITNEY_JSON_BYTES the longest slice is told. */
static void slices_of_a_long_text_are_looked_at_once(void **state)
{
	(void)state;
	const char *asked = getenv("JITNEY_JSON_BYTES");
	size_t bytes = asked ? strtoul(asked, NULL, 10) : 300000, slice = asked ? 256 << 10 : 7000;
	for (int shape = 0; shape < SHAPE_COUNT; shape++) {
		struct buf text = BUF_INIT(1 << 28);
		struct json_fault fault;
		struct json_arriving *arriving = json_arriving_new(DEPTH);
		enum json_soundness verdict = JSON_UNDECIDED;
		uint64_t longest_us = 0, all_us = 0;
		put_shape(&text, (enum shape)shape, bytes);
		assert_false(text.failed);
		for (size_t len = slice; verdict == JSON_UNDECIDED; len += slice) {
			bool whole = len >= text.len;
			uint64_t before_us = cpu_us();
			verdict = json_arriving_look(
				arriving, (struct slice){ text.store->bytes, whole ? text.len : len }, whole, &fault);
			uint64_t took_us = cpu_us() - before_us;
			all_us += took_us;
			longest_us = took_us > longest_us ? took_us : longest_us;
			assert_true(verdict != JSON_UNDECIDED || !whole);
		}
		if (verdict != JSON_SOUND)
			fail_msg("%s: %s at %zu", shape_names[shape], fault.what, fault.at);
		if (asked)
			printf("%s: %zu bytes, all %zu us, longest slice %zu us, memory %zu\n", shape_names[shape],
			       text.len, (size_t)all_us, (size_t)longest_us, json_arriving_bytes(arriving));
		json_arriving_free(arriving);
		buf_fini(&text);
	}
}

static void memory_that_is_out_is_said(void **state)
{
	(void)state;
	struct slice text = SLICE("{\"b\\n\":[{\"x\":1}],\"a\\u0061\":\"\"}");
	for (unsigned nth = 1;; nth++) {
		struct json_fault fault = { 0 };
		alloc_fail_at(nth);
		struct json_arriving *arriving = json_arriving_new(DEPTH);
		enum json_soundness verdict = JSON_UNDECIDED;
		for (size_t len = 1; arriving && verdict == JSON_UNDECIDED; len++)
			verdict = json_arriving_look(arriving, (struct slice){ text.at, len }, len == text.len, &fault);
		alloc_reset();
		json_arriving_free(arriving);
		if (verdict == JSON_SOUND)
			break;
		assert_true(!arriving || fault.out_of_memory);
	}
}

/* Megabytes of members that are open are not moved again and again as there are more: there is room for all there may be. */
static void many_open_members_get_room_once(void **state)
{
	(void)state;
	enum { BYTES = 9, MEMBERS = JSON_OPEN_MAX + 16, MEBIBYTE = 1 << 20 };
	char *text = malloc((size_t)MEMBERS * (BYTES + 6));
	struct json_arriving *arriving = json_arriving_new(DEPTH);
	struct json_fault fault;
	size_t len = 0, before = json_arriving_bytes(arriving), grown = 0;
	enum json_soundness verdict = JSON_UNDECIDED;
	assert_non_null(text);
	for (int i = 0; i < MEMBERS && verdict == JSON_UNDECIDED; i++) {
		len += (size_t)sprintf(text + len, "%c\"%0*d\":0", i ? ',' : '{', BYTES, i);
		if (i % 1024 == 1023)
			verdict = json_arriving_look(arriving, (struct slice){ text, len }, false, &fault);
		grown += json_arriving_bytes(arriving) > 4 * MEBIBYTE && json_arriving_bytes(arriving) != before;
		before = json_arriving_bytes(arriving);
	}
	verdict = json_arriving_look(arriving, (struct slice){ text, len }, false, &fault);
	assert_int_equal(verdict, JSON_FAULTY);
	assert_string_equal(fault.what, "too many members of objects that are open at once");
	assert_int_equal(grown, 1);
	assert_in_range(before, 0, 24 * MEBIBYTE);
	json_arriving_free(arriving);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_text_gets_the_verdict_on_the_whole),
		cmocka_unit_test(random_texts_get_it_too_sound_or_broken),
		cmocka_unit_test(a_fault_is_told_as_soon_as_it_is_one),
		cmocka_unit_test(slices_of_a_long_text_are_looked_at_once),
		cmocka_unit_test(memory_that_is_out_is_said),
		cmocka_unit_test(many_open_members_get_room_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
