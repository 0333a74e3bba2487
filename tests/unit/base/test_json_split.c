/* SPDX-License-Identifier: Apache-2.0 */
/* Elements of an array that arrives in pieces: the same ones wherever it is cut, and each as soon as it is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/json_split.h"
#include "tests/support/json_texts.h"

enum { DEPTH = 64, MOST_ELEMENTS = 64 };

/* What was found: copies, since the text may move. */
struct found {
	struct blob *elements[MOST_ELEMENTS];
	size_t count;
	enum json_split_event last;
};

static void forget(struct found *found)
{
	for (size_t i = 0; i < found->count; i++)
		blob_unref(found->elements[i]);
	found->count = 0;
}

/* Show the first `len` bytes, in a block of exactly that size that is gone afterwards, and take what is found. */
static void show(struct json_split *split, struct slice text, size_t len, bool last, struct found *found)
{
	char *block = malloc(len ? len : 1);
	assert_non_null(block);
	if (len)
		memcpy(block, text.at, len);
	struct slice element;
	while ((found->last = json_split_next(split, (struct slice){ block, len }, last, DEPTH, &element)) ==
	       JSON_SPLIT_ELEMENT) {
		assert_true(found->count < MOST_ELEMENTS);
		assert_true(element.at >= block && element.at + element.len <= block + len);
		found->elements[found->count++] = blob_copy(element);
	}
	assert_true(split->at <= len);
	free(block);
}

static void split_whole(struct slice text, struct found *found)
{
	struct json_split split;
	json_split_init(&split);
	found->count = 0;
	show(&split, text, text.len, true, found);
}

static void assert_same(const struct found *a, const struct found *b)
{
	assert_int_equal(a->last, b->last);
	assert_int_equal(a->count, b->count);
	for (size_t i = 0; i < a->count; i++)
		assert_true(slice_equal(blob_slice(a->elements[i]), blob_slice(b->elements[i])));
}

/* Cut at every place, and byte by byte; with the last bytes known to be the last, or told so afterwards. */
static void assert_same_however_cut(struct slice text)
{
	struct found whole, pieces;
	split_whole(text, &whole);
	assert_int_not_equal(whole.last, JSON_SPLIT_MORE);
	for (size_t cut = 0; cut <= text.len; cut++) {
		struct json_split split;
		json_split_init(&split);
		pieces.count = 0;
		show(&split, text, cut, false, &pieces);
		show(&split, text, text.len, true, &pieces);
		assert_same(&pieces, &whole);
		forget(&pieces);
	}
	struct json_split split;
	json_split_init(&split);
	pieces.count = 0;
	for (size_t len = 0; len <= text.len; len++)
		show(&split, text, len, false, &pieces);
	show(&split, text, text.len, true, &pieces);
	assert_same(&pieces, &whole);
	forget(&pieces);
	forget(&whole);
}

static void assert_elements_as_walked(struct slice text)
{
	struct found whole;
	split_whole(text, &whole);
	assert_int_equal(whole.last, JSON_SPLIT_END);
	struct json_walk walk = json_walk(text);
	struct slice element;
	size_t count = 0;
	while (json_next_element(&walk, &element)) {
		assert_true(count < whole.count);
		assert_true(slice_equal(element, blob_slice(whole.elements[count++])));
	}
	assert_int_equal(count, whole.count);
	forget(&whole);
}

static void put_random_value(struct buf *out, unsigned *seed, unsigned depth)
{
	static const char *const scalars[] = { "1",
					       "-2.5e3",
					       "true",
					       "null",
					       "\"\"",
					       "\"a,b\"",
					       "\"]\"",
					       "\"\\\"\"",
					       "\"\\\\\"",
					       "\"{[\"",
					       "\"\\u0022,\\\\\\\"\"",
					       "\"\303\244\"" };
	static const char *const blanks[] = { "", "", "", " ", "\n", "\r\n\t" };
	unsigned kind = (unsigned)rand_r(seed) % (depth ? 8 : 5), members = (unsigned)rand_r(seed) % 4;
	buf_put_text(out, blanks[(unsigned)rand_r(seed) % countof(blanks)]);
	if (kind < 5) {
		buf_put_text(out, scalars[(unsigned)rand_r(seed) % countof(scalars)]);
	} else {
		buf_put_char(out, kind == 5 ? '{' : '[');
		for (unsigned i = 0; i < members; i++) {
			if (i)
				buf_put_char(out, ',');
			if (kind == 5)
				buf_printf(out, "\"%u]\\\"\":", i);
			put_random_value(out, seed, depth - 1);
		}
		buf_put_char(out, kind == 5 ? '}' : ']');
	}
	buf_put_text(out, blanks[(unsigned)rand_r(seed) % countof(blanks)]);
}

static void random_arrays_give_the_elements_that_walking_gives_however_cut(void **state)
{
	(void)state;
	unsigned seed = 3;
	for (int round = 0; round < 300; round++) {
		struct buf out = BUF_INIT(1 << 20);
		buf_put_char(&out, '[');
		for (int elements = rand_r(&seed) % 6, i = 0; i < elements; i++) {
			if (i)
				buf_put_char(&out, ',');
			put_random_value(&out, &seed, 3);
		}
		buf_put_text(&out, round % 2 ? "]" : " ]\n");
		struct json_fault fault;
		if (json_check(buf_slice(&out), DEPTH, NULL, &fault)) {
			assert_elements_as_walked(buf_slice(&out));
			assert_same_however_cut(buf_slice(&out));
		} else {
			assert_string_equal(buf_cstr(&out), "[ ]\n"); /* no other way to be wrong */
		}
		buf_fini(&out);
	}
}

static void random_arrays_come_in_random_pieces(void **state)
{
	(void)state;
	unsigned seed = 9;
	for (int round = 0; round < 300; round++) {
		struct buf out = BUF_INIT(1 << 20);
		buf_put_char(&out, '[');
		for (int elements = 1 + rand_r(&seed) % 20, i = 0; i < elements; i++) {
			if (i)
				buf_put_char(&out, ',');
			put_random_value(&out, &seed, 4);
		}
		buf_put_char(&out, ']');
		struct found whole, pieces = { .count = 0 };
		split_whole(buf_slice(&out), &whole);
		struct json_split split;
		json_split_init(&split);
		for (size_t len = 0; len < out.len; len += (size_t)rand_r(&seed) % 30)
			show(&split, buf_slice(&out), len, false, &pieces);
		show(&split, buf_slice(&out), out.len, true, &pieces);
		assert_same(&pieces, &whole);
		forget(&pieces);
		forget(&whole);
		buf_fini(&out);
	}
}

static void texts_good_or_bad_split_the_same_however_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(json_good); i++)
		assert_same_however_cut(json_good[i]);
	for (size_t i = 0; i < countof(json_bad); i++)
		assert_same_however_cut(json_bad[i]);
}

static void a_good_text_is_never_broken(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(json_good); i++) {
		struct found whole;
		split_whole(json_good[i], &whole);
		assert_int_equal(whole.last, JSON_SPLIT_END);
		if (json_good[i].at[0] == '[')
			assert_elements_as_walked(json_good[i]);
		else if (json_trim(json_good[i]).at[0] != '[') {
			assert_int_equal(whole.count, 1);
			assert_true(slice_equal(blob_slice(whole.elements[0]), json_trim(json_good[i])));
		}
		forget(&whole);
	}
}

static void a_bad_text_is_broken_or_has_an_element_that_is(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(json_bad); i++) {
		struct found whole;
		struct json_fault fault;
		split_whole(json_bad[i], &whole);
		bool sound = whole.last == JSON_SPLIT_END;
		for (size_t n = 0; n < whole.count; n++)
			sound = sound && json_check(blob_slice(whole.elements[n]), DEPTH, NULL, &fault);
		if (sound)
			fail_msg("taken for sound: %.*s", SLICE_ARG(json_bad[i]));
		forget(&whole);
	}
}

static void an_element_is_there_with_its_last_byte(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		size_t elements;
	} rows[] = {
		{ "[{}", 1 },
		{ "[{\"a\":[1]}", 1 },
		{ "[\"a\"", 1 },
		{ "[[]", 1 },
		{ "[1", 0 },
		{ "[1 ", 1 },
		{ "[1,", 1 },
		{ "[true,", 1 },
		{ "[1,2,3", 2 },
		{ "[1,2,3]", 3 },
		{ "[{\"a\":1},{\"b\"", 1 },
		{ "[{\"a\":1},{\"b\":2}", 2 },
		{ "{\"a\":1}", 1 },
		{ "\"a\"", 1 },
		{ "12", 0 },
	};
	for (size_t i = 0; i < countof(rows); i++) {
		struct json_split split;
		struct found found = { .count = 0 };
		json_split_init(&split);
		show(&split, slice_of(rows[i].text), strlen(rows[i].text), false, &found);
		assert_int_equal(found.count, rows[i].elements);
		assert_int_not_equal(found.last, JSON_SPLIT_BROKEN);
		forget(&found);
	}
}

static void a_number_alone_ends_with_the_text(void **state)
{
	(void)state;
	struct json_split split;
	struct found found = { .count = 0 };
	json_split_init(&split);
	show(&split, SLICE(" 12"), 3, false, &found);
	assert_int_equal(found.last, JSON_SPLIT_MORE);
	show(&split, SLICE(" 123 \n"), 6, false, &found);
	assert_int_equal(found.last, JSON_SPLIT_MORE);
	show(&split, SLICE(" 123 \n"), 6, true, &found);
	assert_int_equal(found.last, JSON_SPLIT_END);
	assert_int_equal(found.count, 1);
	assert_string_equal(found.elements[0]->bytes, "123");
	forget(&found);
}

static void only_blanks_may_follow_the_end(void **state)
{
	(void)state;
	struct json_split split;
	struct slice element, text = SLICE("[]  \n x");
	json_split_init(&split);
	for (size_t len = 2; len < text.len; len++)
		assert_int_equal(json_split_next(&split, (struct slice){ text.at, len }, false, DEPTH, &element),
				 JSON_SPLIT_END);
	for (int i = 0; i < 3; i++)
		assert_int_equal(json_split_next(&split, text, i == 2, DEPTH, &element), JSON_SPLIT_BROKEN);
}

static void a_text_that_stops_early_is_broken_only_when_it_is_the_last(void **state)
{
	(void)state;
	static const char *const texts[] = { "",       " ", "[",        "[1",  "[1,", "[1,{", "[\"a",
					     "[\"a\\", "{", "{\"a\":1", "\"a", "[[]", "[1 " };
	for (size_t i = 0; i < countof(texts); i++) {
		struct json_split split;
		struct found found = { .count = 0 };
		json_split_init(&split);
		show(&split, slice_of(texts[i]), strlen(texts[i]), false, &found);
		assert_int_equal(found.last, JSON_SPLIT_MORE);
		show(&split, slice_of(texts[i]), strlen(texts[i]), true, &found);
		assert_int_equal(found.last, JSON_SPLIT_BROKEN);
		forget(&found);
	}
}

static void nesting_counts_the_array_itself(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		unsigned depth;
	} rows[] = { { "1", 0 },           { "[1]", 1 },
		     { "[[1]]", 2 },       { "[{\"a\":[1]}]", 3 },
		     { "{\"a\":[1]}", 2 }, { "[1,\"[[[[\",[]]", 2 } };
	for (size_t i = 0; i < countof(rows); i++) {
		for (unsigned depth = 0; depth < 5; depth++) {
			struct json_split split;
			struct slice element;
			enum json_split_event event;
			json_split_init(&split);
			while ((event = json_split_next(&split, slice_of(rows[i].text), true, depth, &element)) ==
			       JSON_SPLIT_ELEMENT)
				;
			assert_int_equal(event, depth < rows[i].depth ? JSON_SPLIT_BROKEN : JSON_SPLIT_END);
		}
	}
}

static void no_byte_is_looked_at_twice(void **state)
{
	(void)state;
	/* bytes that were looked at may turn into anything: had they been read again, the text would be broken */
	struct slice text = SLICE(" [ {\"a\" : [ 1 , \"x\\\\\" ] } , \"b\\\"\" , 12.5 , [ ] ] ");
	char seen[100];
	struct json_split split;
	struct slice element;
	size_t count = 0;
	json_split_init(&split);
	memset(seen, '}', sizeof seen);
	for (size_t len = 1; len <= text.len; len++) {
		memset(seen, '}', len - 1);
		seen[len - 1] = text.at[len - 1];
		if (split.at < len - 1) /* a byte left for the next call, as an element ended before it */
			memcpy(seen + split.at, text.at + split.at, len - split.at);
		enum json_split_event event;
		while ((event = json_split_next(&split, (struct slice){ seen, len }, len == text.len, DEPTH,
						&element)) == JSON_SPLIT_ELEMENT)
			count++;
		assert_int_not_equal(event, JSON_SPLIT_BROKEN);
		assert_int_equal(split.at, len);
	}
	assert_int_equal(count, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_arrays_give_the_elements_that_walking_gives_however_cut),
		cmocka_unit_test(random_arrays_come_in_random_pieces),
		cmocka_unit_test(texts_good_or_bad_split_the_same_however_cut),
		cmocka_unit_test(a_good_text_is_never_broken),
		cmocka_unit_test(a_bad_text_is_broken_or_has_an_element_that_is),
		cmocka_unit_test(an_element_is_there_with_its_last_byte),
		cmocka_unit_test(a_number_alone_ends_with_the_text),
		cmocka_unit_test(only_blanks_may_follow_the_end),
		cmocka_unit_test(a_text_that_stops_early_is_broken_only_when_it_is_the_last),
		cmocka_unit_test(nesting_counts_the_array_itself),
		cmocka_unit_test(no_byte_is_looked_at_twice),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
