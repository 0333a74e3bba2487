/* SPDX-License-Identifier: Apache-2.0 */
/* Walking over JSON that has been checked: members, elements, types, strings, numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/json.h"
#include "tests/support/instructions.h"

static void walking_yields_what_was_written(void **state)
{
	(void)state;
	struct slice object =
		SLICE(" { \"a\" : 1 ,\"b\\n\":[ 1,\"]\" , {\"x\":\"}\"} ] , \"\" : \"\\\"\\\\\" ,\"d\":{ } } ");
	static const char *const expected[][2] = {
		{ "\"a\"", "1" },
		{ "\"b\\n\"", "[ 1,\"]\" , {\"x\":\"}\"} ]" },
		{ "\"\"", "\"\\\"\\\\\"" },
		{ "\"d\"", "{ }" },
	};
	struct json_walk walk = json_walk(object);
	struct slice name, value;
	for (size_t i = 0; i < countof(expected); i++) {
		assert_true(json_next_member(&walk, &name, &value));
		assert_true(slice_equal(name, slice_of(expected[i][0])));
		assert_true(slice_equal(value, slice_of(expected[i][1])));
	}
	assert_false(json_next_member(&walk, &name, &value));
	assert_false(json_next_member(&walk, &name, &value));
	struct slice array;
	assert_true(json_member(object, SLICE("b\n"), &array));
	walk = json_walk(array);
	static const enum json_type types[] = { JSON_NUMBER, JSON_STRING, JSON_OBJECT };
	for (size_t i = 0; i < countof(types); i++) {
		assert_true(json_next_element(&walk, &value));
		assert_int_equal(json_type(value), types[i]);
	}
	assert_false(json_next_element(&walk, &value));
}

/* A value of any kind, nested up to `depth`; its bytes are ones that a reader might trip over. */
static void put_value(struct buf *out, unsigned depth, unsigned *seed)
{
	static const char *const scalars[] = {
		"0",        "\"\"",           "\"[{\\\"\"",
		"\"\\\\\"", "\"}]\\\\\\\"\"", "\"abcdefghijklmnopqrstuvwxyz{abcdefghijklmnopqrstuvwxyz]0123456789\"",
		"true"
	};
	unsigned kind = (unsigned)rand_r(seed) % (depth ? 4 : 2);
	if (kind < 2) {
		buf_put_text(out, scalars[(unsigned)rand_r(seed) % countof(scalars)]);
		return;
	}
	buf_put_text(out, kind == 2 ? "[" : "{\"a\":");
	put_value(out, depth - 1, seed);
	for (unsigned i = (unsigned)rand_r(seed) % 4; i > 0; i--) {
		if (kind == 2)
			buf_put_char(out, ',');
		else
			buf_printf(out, ",\"%u\":", i);
		put_value(out, depth - 1, seed);
	}
	buf_put_text(out, kind == 2 ? "]" : "}");
}

static void what_is_large_is_passed_over_whole(void **state)
{
	(void)state;
	for (unsigned round = 1; round <= 3000; round++) {
		unsigned seed = round;
		struct buf text = BUF_INIT(1 << 24);
		struct slice element;
		size_t ends[3];
		for (size_t i = 0; i < countof(ends); i++) {
			buf_put_text(&text, i ? "," : "[");
			put_value(&text, 7, &seed);
			ends[i] = text.len;
		}
		buf_put_text(&text, "]");
		assert_false(text.failed);
		struct json_walk walk = json_walk(buf_slice(&text));
		for (size_t i = 0; i < countof(ends); i++) {
			assert_true(json_next_element(&walk, &element));
			assert_ptr_equal(element.at + element.len, text.store->bytes + ends[i]);
		}
		assert_false(json_next_element(&walk, &element));
		buf_fini(&text);
	}
}

/* Random escapes at random places: a quote or a backslash that is escaped, even the last byte of a block, ends nothing. */
static void strings_of_many_escapes_end_where_they_end(void **state)
{
	static const char *const parts[] = { "\\\"",           "\\\\", "\\n",         "\\u00e4",
					     "\\ud83d\\ude00", "x",    "plain words", "\xc3\xa4" };
	static const char *const meanings[] = { "\"", "\\",          "\n",      "\xc3\xa4", "\xf0\x9f\x98\x80",
						"x",  "plain words", "\xc3\xa4" };
	unsigned seed = 7;
	(void)state;
	for (int i = 0; i < 3000; i++) {
		struct buf text = BUF_INIT(1 << 16), meaning = BUF_INIT(1 << 16), got = BUF_INIT(1 << 16);
		buf_put_text(&text, "[\"");
		for (int left = rand_r(&seed) % 60; left > 0; left--) {
			size_t which = (size_t)rand_r(&seed) % countof(parts);
			buf_put_text(&text, parts[which]);
			buf_put_text(&meaning, meanings[which]);
		}
		size_t len = text.len;
		buf_put_text(&text, "\",\"]\",[7]]");
		struct json_walk walk = json_walk(buf_slice(&text));
		struct slice value;
		assert_true(json_next_element(&walk, &value));
		assert_int_equal(value.len, len);
		json_unescape(value, &got);
		assert_true(slice_equal(buf_slice(&got), buf_slice(&meaning)));
		struct buf narrow = BUF_INIT(meaning.len); /* what is decoded fits, where what is written does not */
		json_unescape(value, &narrow);
		assert_true(!narrow.failed && slice_equal(buf_slice(&narrow), buf_slice(&meaning)));
		assert_true(json_next_element(&walk, &value) && json_string_is(value, SLICE("]")));
		assert_true(json_next_element(&walk, &value) && slice_equal(value, SLICE("[7]")));
		assert_false(json_next_element(&walk, &value));
		buf_fini(&text);
		buf_fini(&meaning);
		buf_fini(&got);
		buf_fini(&narrow);
	}
}

static void empty_containers_yield_nothing(void **state)
{
	(void)state;
	struct slice name, value;
	static const char *const empties[] = { "[]", "{}", " [ ] ", "{\n}", "", " ", "[" };
	for (size_t i = 0; i < countof(empties); i++) {
		struct json_walk walk = json_walk(slice_of(empties[i]));
		assert_false(json_next_element(&walk, &value));
		walk = json_walk(slice_of(empties[i]));
		assert_false(json_next_member(&walk, &name, &value));
	}
}

static void members_are_found_by_what_their_names_mean(void **state)
{
	(void)state;
	struct slice object = SLICE("{\"\\u0061b\":1,\"k\\u0000x\":2,\"k\":3,\"\\ud83d\\ude00\":4,\"\":5,\"long name "
				    "of no interest\":6}"),
		     value;
	static const struct {
		struct slice name;
		char value;
	} rows[] = {
		{ SLICE("ab"), '1' }, { SLICE("k\0x"), '2' }, { SLICE("k"), '3' }, { SLICE("\360\237\230\200"), '4' },
		{ SLICE(""), '5' },
	};
	for (size_t i = 0; i < countof(rows); i++) {
		assert_true(json_member(object, rows[i].name, &value));
		assert_int_equal(value.len, 1);
		assert_int_equal(value.at[0], rows[i].value);
	}
	static const struct slice absent[] = { SLICE("a"),    SLICE("abc"),      SLICE("k\0"),
					       SLICE("k\0y"), SLICE("\\u0061b"), SLICE("\360\237\230") };
	for (size_t i = 0; i < countof(absent); i++)
		assert_false(json_member(object, absent[i], &value));
}

static void types_are_told_by_the_first_byte(void **state)
{
	(void)state;
	assert_int_equal(json_type(SLICE("{}")), JSON_OBJECT);
	assert_int_equal(json_type(SLICE("[]")), JSON_ARRAY);
	assert_int_equal(json_type(SLICE("\"\"")), JSON_STRING);
	assert_int_equal(json_type(SLICE("-1")), JSON_NUMBER);
	assert_int_equal(json_type(SLICE("7")), JSON_NUMBER);
	assert_int_equal(json_type(SLICE("true")), JSON_TRUE);
	assert_int_equal(json_type(SLICE("false")), JSON_FALSE);
	assert_int_equal(json_type(SLICE("null")), JSON_NULL);
}

static void unescaping_gives_the_bytes_that_are_meant(void **state)
{
	(void)state;
	struct buf out = BUF_INIT(1000);
	json_unescape(SLICE("\"a\\u0000b\\n\\\"\\\\\\/\\u00e4\\ud83d\\ude00 end\""), &out);
	assert_true(slice_equal(buf_slice(&out), SLICE("a\0b\n\"\\/\303\244\360\237\230\200 end")));
	buf_reset(&out);
	json_unescape(SLICE("\"\""), &out);
	assert_int_equal(out.len, 0);
	buf_fini(&out);
}

static void only_plain_integers_that_fit_are_integers(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t number;
	} rows[] = { { "0", 0 }, { "7", 7 }, { "1234567890", 1234567890 }, { "18446744073709551615", UINT64_MAX } };
	uint64_t number;
	for (size_t i = 0; i < countof(rows); i++) {
		assert_true(json_u64(slice_of(rows[i].text), &number));
		assert_true(number == rows[i].number);
	}
	static const char *const none[] = { "",
					    "-",
					    "-0",
					    "-1",
					    "+1",
					    "00",
					    "01",
					    "1.0",
					    "1e2",
					    "18446744073709551616",
					    "18446744073709551620",
					    "99999999999999999999",
					    "100000000000000000000",
					    " 1",
					    "1 ",
					    "0x1",
					    "a",
					    "1a" };
	for (size_t i = 0; i < countof(none); i++)
		assert_false(json_u64(slice_of(none[i]), &number));
}

/* Passed over whole. */
static void pass_over(const void *text)
{
	struct json_walk walk = json_walk(*(const struct slice *)text);
	struct slice element;
	while (json_next_element(&walk, &element))
		continue;
}

/* An array of an array: in it `between`, again and again, in so many brackets more. */
static uint64_t instructions_of(const char *between, size_t open)
{
	enum { BYTES = 20000 };
	static char at[BYTES];
	size_t step = strlen(between);
	memset(at, ' ', sizeof at);
	memset(at, '[', 2 + open);
	for (size_t i = 2 + open; i + step < BYTES - 2 - open; i += step)
		memcpy(at + i, between, step);
	memset(at + BYTES - 2 - open, ']', 2 + open);
	const struct slice text = { at, sizeof at };
	return count_instructions(pass_over, &text);
}

/* Where fewer are open than a block of 64 bytes closes it has to be looked where it closes them: 15 MB of it, bracket by
 * bracket, took 33 ms of a worker's turn. */
static void brackets_that_lie_close_together_are_counted_quickly(void **state)
{
	(void)state;
	const uint64_t shallow = instructions_of("[{}],", 0), deep = instructions_of("[{}],", 64);
	if (!shallow)
		skip();
	assert_in_range(shallow, deep, 3 * deep);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(walking_yields_what_was_written),
		cmocka_unit_test(what_is_large_is_passed_over_whole),
		cmocka_unit_test(strings_of_many_escapes_end_where_they_end),
		cmocka_unit_test(brackets_that_lie_close_together_are_counted_quickly),
		cmocka_unit_test(empty_containers_yield_nothing),
		cmocka_unit_test(members_are_found_by_what_their_names_mean),
		cmocka_unit_test(types_are_told_by_the_first_byte),
		cmocka_unit_test(unescaping_gives_the_bytes_that_are_meant),
		cmocka_unit_test(only_plain_integers_that_fit_are_integers),
	};
	return cmocka_run_group_tests_name("json: walking", tests, NULL, NULL);
}
