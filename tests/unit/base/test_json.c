/* SPDX-License-Identifier: Apache-2.0 */
/* The strict JSON scanner: what it accepts, what it refuses and where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#define json_type json_c_type /* json-c has the name too */
#include <json-c/json.h>
#undef json_type
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/json_members.h"
#include "tests/support/json_texts.h"

enum { DEPTH = 64 };

/* Texts are handed over in a block of their exact size, so that the sanitizer sees a byte read too many. */
static bool check_exact(struct slice text, unsigned max_depth, struct json_fault *fault)
{
	char *block = malloc(text.len ? text.len : 1);
	assert_non_null(block);
	if (text.len)
		memcpy(block, text.at, text.len);
	bool accepted = json_check((struct slice){ block, text.len }, max_depth, NULL, fault);
	struct buf out = BUF_INIT(1 << 24);
	struct json_fault other = { 0 };
	/* the two front doors agree on everything */
	assert_int_equal(json_canonical((struct slice){ block, text.len }, max_depth, NULL, &out, &other), accepted);
	if (!accepted) {
		assert_string_equal(other.what, fault->what);
		assert_int_equal(other.at, fault->at);
		assert_false(fault->out_of_memory);
		assert_true(fault->at <= text.len);
		assert_int_equal(out.len, 0);
	}
	buf_fini(&out);
	free(block);
	return accepted;
}

static void assert_accepted(struct slice text)
{
	struct json_fault fault = { 0 };
	if (!check_exact(text, DEPTH, &fault))
		fail_msg("refused: %.*s (%s at %zu)", SLICE_ARG(text), fault.what, fault.at);
}

static void assert_refused(struct slice text)
{
	struct json_fault fault = { 0 };
	if (check_exact(text, DEPTH, &fault))
		fail_msg("accepted: %.*s", SLICE_ARG(text));
	assert_non_null(fault.what);
}

/* --- The grammar --- */

static void texts_of_the_grammar_are_accepted(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(json_good); i++)
		assert_accepted(json_good[i]);
}

static void texts_outside_the_grammar_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(json_bad); i++)
		assert_refused(json_bad[i]);
}

static void no_beginning_of_a_text_is_a_text(void **state)
{
	(void)state;
	struct slice text =
		SLICE("{\"a\":[1.5e3,true,null,\"x\\u00e9\\ud83d\\ude00\303\244\"],\"b\":{\"c\":{},\"d\":[]}}");
	assert_accepted(text);
	for (size_t len = 0; len < text.len; len++)
		assert_refused((struct slice){ text.at, len });
}

static bool has_long_number(struct slice text)
{
	size_t digits = 0;
	for (size_t i = 0; i < text.len && digits < 19; i++)
		digits = text.at[i] >= '0' && text.at[i] <= '9' ? digits + 1 : 0;
	return digits == 19;
}

/*
 * Not its strict mode: that of 0.18 takes every byte beyond ASCII for a control character. Nor integers of more than 64 bits,
 * which JSON allows and newer versions refuse.
 */
static void json_c_agrees_about_what_we_accept(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(json_good); i++) {
		if (has_long_number(json_good[i]))
			continue;
		struct json_tokener *tokener = json_tokener_new_ex(DEPTH);
		json_tokener_set_flags(tokener, JSON_TOKENER_VALIDATE_UTF8 | JSON_TOKENER_ALLOW_TRAILING_CHARS);
		struct slice text = json_good[i];
		struct json_object *object = json_tokener_parse_ex(tokener, text.at, (int)text.len);
		if (json_tokener_get_error(tokener) == json_tokener_continue) /* a number may go on */
			object = json_tokener_parse_ex(tokener, " ", 1);
		if (json_tokener_get_error(tokener) != json_tokener_success)
			fail_msg("json-c refuses %.*s: %s", (int)text.len, text.at,
				 json_tokener_error_desc(json_tokener_get_error(tokener)));
		json_object_put(object);
		json_tokener_free(tokener);
	}
}

static void a_fault_says_what_is_wrong_and_where(void **state)
{
	(void)state;
	static const struct {
		const char *text, *what;
		size_t at;
	} rows[] = {
		{ "", "unexpected end of text", 0 },
		{ "  ", "unexpected end of text", 2 },
		{ "[1,", "unexpected end of text", 3 },
		{ "{\"a\":1", "unexpected end of text", 6 },
		{ "\"abc", "unexpected end of text in a string", 4 },
		{ "[1 2]", "expected ',' or ']'", 3 },
		{ "{\"a\":1 2}", "expected ',' or '}'", 7 },
		{ "{\"a\" 1}", "expected ':'", 5 },
		{ "{a:1}", "expected a member name", 1 },
		{ "{\"a\":1,}", "expected a member name", 7 },
		{ "[1,]", "expected a value", 3 },
		{ "[nul]", "expected a value", 1 },
		{ "{} x", "more text after the value", 3 },
		{ "[01]", "a number with a leading zero", 1 },
		{ "[-]", "a number without digits", 2 },
		{ "[1.]", "a number without digits after its point", 3 },
		{ "[1e+]", "a number without digits in its exponent", 4 },
		{ "\"a\nb\"", "control character in a string", 2 },
		{ "\"a\\x\"", "malformed escape", 2 },
		{ "\"a\\u12\"", "malformed escape", 2 },
		{ "\"a\\", "malformed escape", 2 },
		{ "\"a\\ud83d\"", "lone surrogate", 2 },
		{ "\"a\303\244\300\200\"", "invalid UTF-8", 4 },
		{ "{\"a\":1,\"b\":2,\"a\":3}", "duplicate member name", 13 },
		{ "{\"b\":1,\"\\u0062\":2}", "duplicate member name", 7 },
		{ "[[[[[1]]]]]", "nested too deeply", 4 },
	};
	for (size_t i = 0; i < countof(rows); i++) {
		struct json_fault fault = { 0 };
		assert_false(check_exact(slice_of(rows[i].text), 4, &fault));
		assert_string_equal(fault.what, rows[i].what);
		assert_int_equal(fault.at, rows[i].at);
	}
}

/* --- Limits --- */

/* `depth` opening brackets, innermost a 1, and the closing ones. */
static struct blob *nest(size_t depth, const char *open, const char *close)
{
	struct buf out = BUF_INIT(1 << 24);
	for (size_t i = 0; i < depth; i++)
		buf_put_text(&out, open);
	buf_put_text(&out, "1");
	for (size_t i = 0; i < depth; i++)
		buf_put_text(&out, close);
	return buf_take_blob(&out);
}

static void nesting_is_allowed_up_to_the_depth_asked_for_and_no_deeper(void **state)
{
	(void)state;
	static const unsigned depths[] = { 0, 1, 2, 63, 64, 999, 1000 };
	for (size_t i = 0; i < countof(depths); i++) {
		for (int object = 0; object < 3; object++) {
			const char *open = object == 2 ? "{\"b\":1,\"a\":" : object ? "{\"a\":" : "[";
			const char *close = object ? "}" : "]";
			struct json_fault fault = { 0 };
			struct blob *just = nest(depths[i], open, close), *over = nest(depths[i] + 1, open, close);
			assert_true(check_exact(blob_slice(just), depths[i], &fault));
			assert_false(check_exact(blob_slice(over), depths[i], &fault));
			assert_string_equal(fault.what, "nested too deeply");
			assert_int_equal(fault.at, depths[i] * strlen(open));
			blob_unref(just);
			blob_unref(over);
		}
	}
}

static void no_depth_asked_for_goes_beyond_the_limit(void **state)
{
	(void)state;
	struct json_fault fault = { 0 };
	struct blob *over = nest(JSON_DEPTH_MAX + 1, "[", "]"), *hostile = nest(1000000, "[", "]");
	assert_false(check_exact(blob_slice(over), 4000000000u, &fault));
	assert_false(check_exact(blob_slice(hostile), 4000000000u, &fault));
	assert_int_equal(fault.at, JSON_DEPTH_MAX);
	blob_unref(over);
	blob_unref(hostile);
}

static void a_hundred_thousand_members_are_checked_for_duplicates(void **state)
{
	(void)state;
	enum { MEMBERS = 100003 }; /* a prime, so that every factor gives each name once */
	static const size_t factors[] = { 1, MEMBERS - 1, 7919, 50021 };
	static const char *const prefixes[] = { "", "the_same_long_beginning_for_all_of_them_", "\\u0061\\/" };
	for (size_t p = 0; p < countof(prefixes); p++) {
		for (size_t f = 0; f < countof(factors); f++) {
			struct buf out = BUF_INIT(1 << 24);
			struct json_fault fault = { 0 };
			put_members(&out, prefixes[p], MEMBERS, factors[f]);
			size_t open = out.len;
			buf_put_char(&out, '}');
			assert_true(check_exact(buf_slice(&out), 1, &fault));
			out.len = open;
			buf_printf(&out, ",\"%s%06d\":1}", prefixes[p], MEMBERS / 2);
			assert_false(check_exact(buf_slice(&out), 1, &fault));
			assert_string_equal(fault.what, "duplicate member name");
			assert_int_equal(fault.at, open + 1);
			buf_fini(&out);
		}
	}
}

/* front F10: names out of order are sorted, and too many of them would hold a worker up. */
static void names_out_of_order_are_bounded(void **state)
{
	(void)state;
	for (int kind = 0; kind < 5; kind++) {
		struct buf text = BUF_INIT(SIZE_MAX);
		struct json_fault fault;
		bool small = kind == 3, split = kind == 4;
		size_t count = kind == 0 ? JSON_UNSORTED_MAX : 2 * JSON_UNSORTED_MAX;
		buf_put_text(&text, small || split ? "[{" : "{");
		for (size_t i = 0; i < count; i++) {
			bool first = i == 0 || (small && i % 8 == 0) || (split && i == JSON_UNSORTED_MAX);
			if (i && first)
				buf_put_text(&text, "},{");
			else if (i)
				buf_put_char(&text, ',');
			/* the odd multiplier makes each name once, in no order; kind 2: in order */
			size_t name = kind == 2 ? i : i * 40503 % count;
			buf_printf(&text, "\"a common beginning %08zu\":%zu", name, i);
		}
		buf_put_text(&text, small || split ? "}]" : "}");
		bool may = kind == 0 || kind == 2 || kind == 3;
		assert_int_equal(json_check(buf_slice(&text), 2, NULL, &fault), may);
		if (!may)
			assert_string_equal(fault.what, "too many member names that are not in order");
		if (kind == 0) {
			struct buf out = BUF_INIT(SIZE_MAX);
			struct slice name, value;
			size_t expected = 0;
			assert_true(json_canonical(buf_slice(&text), 2, NULL, &out, &fault));
			struct json_walk walk = json_walk(buf_slice(&out));
			for (; json_next_member(&walk, &name, &value); expected++)
				assert_int_equal(strtoul(name.at + strlen("\"a common beginning "), NULL, 10),
						 expected);
			assert_int_equal(expected, count);
			buf_fini(&out);
		}
		buf_fini(&text);
	}
}

static void a_wide_and_deep_text_out_of_order_is_copied_once_a_byte(void **state)
{
	(void)state;
	/* every level out of order: were each level put in order by copying what is in it, this would be 2 GB of
	 * copying */
	struct buf text = BUF_INIT(1 << 24), out = BUF_INIT(1 << 24);
	struct json_fault fault = { 0 };
	for (int i = 0; i < JSON_DEPTH_MAX; i++)
		buf_put_text(&text, "{\"b\":");
	buf_put_char(&text, '"');
	for (int i = 0; i < 2000000; i++)
		buf_put_char(&text, 'x');
	buf_put_char(&text, '"');
	for (int i = 0; i < JSON_DEPTH_MAX; i++)
		buf_put_text(&text, ",\"a\":0}");
	assert_true(json_canonical(buf_slice(&text), JSON_DEPTH_MAX, NULL, &out, &fault));
	assert_int_equal(out.len, text.len);
	assert_memory_equal(out.store->bytes, "{\"a\":0,\"b\":{\"a\":0,\"b\":", 22);
	buf_fini(&text);
	buf_fini(&out);
}

/* --- Memory --- */

static void scratch_memory_is_reused(void **state)
{
	(void)state;
	struct json_scratch scratch = { NULL, 0 };
	struct json_fault fault = { 0 };
	struct buf out = BUF_INIT(10000);
	struct slice text = SLICE("{\"b\":[1,{\"d\":1,\"\\u0063\":2}], \"a\":{}}");
	assert_true(json_canonical(text, DEPTH, &scratch, &out, &fault));
	alloc_reset();
	for (int i = 0; i < 10; i++) {
		buf_reset(&out);
		assert_true(json_canonical(text, DEPTH, &scratch, &out, &fault));
		assert_true(json_check(text, DEPTH, &scratch, &fault));
	}
	assert_int_equal(alloc_count(), 0);
	json_scratch_fini(&scratch);
	json_scratch_fini(&scratch);
	buf_fini(&out);
}

static void scratch_memory_of_a_huge_text_is_given_back(void **state)
{
	(void)state;
	struct json_scratch scratch = { NULL, 0 };
	struct json_fault fault = { 0 };
	struct buf text = BUF_INIT(1 << 24);
	put_members(&text, "", 50000, 1);
	buf_put_char(&text, '}');
	assert_true(json_check(buf_slice(&text), DEPTH, &scratch, &fault));
	assert_true(scratch.bytes <= 256 * 1024);
	json_scratch_fini(&scratch);
	buf_fini(&text);
}

static void every_allocation_of_a_check_may_fail(void **state)
{
	(void)state;
	struct buf text = BUF_INIT(1 << 20);
	put_members(&text, "\\n", 1000, 999); /* enough for the scratch memory to grow several times */
	buf_put_char(&text, '}');
	bool done = false;
	size_t failures = 0;
	for (size_t n = 1; !done; n++) {
		struct json_fault fault = { 0 };
		alloc_fail_at(n);
		done = json_check(buf_slice(&text), DEPTH, NULL, &fault);
		alloc_reset();
		assert_int_equal(fault.out_of_memory, !done);
		failures += !done;
	}
	assert_true(failures >= 3);
	buf_fini(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_of_the_grammar_are_accepted),
		cmocka_unit_test(texts_outside_the_grammar_are_refused),
		cmocka_unit_test(no_beginning_of_a_text_is_a_text),
		cmocka_unit_test(json_c_agrees_about_what_we_accept),
		cmocka_unit_test(a_fault_says_what_is_wrong_and_where),
		cmocka_unit_test(nesting_is_allowed_up_to_the_depth_asked_for_and_no_deeper),
		cmocka_unit_test(no_depth_asked_for_goes_beyond_the_limit),
		cmocka_unit_test(a_hundred_thousand_members_are_checked_for_duplicates),
		cmocka_unit_test(names_out_of_order_are_bounded),
		cmocka_unit_test(a_wide_and_deep_text_out_of_order_is_copied_once_a_byte),
		cmocka_unit_test(scratch_memory_is_reused),
		cmocka_unit_test(scratch_memory_of_a_huge_text_is_given_back),
		cmocka_unit_test(every_allocation_of_a_check_may_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
