/* SPDX-License-Identifier: Apache-2.0 */
/* The strict JSON scanner: what it accepts, what it refuses and where, the canonical form, writing. */
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
#include "tests/support/json_merged.h"
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

/* The caller gives the blob back. */
static struct blob *canonical(struct slice text)
{
	struct buf out = BUF_INIT(1 << 24);
	struct json_fault fault = { 0 };
	if (!json_canonical(text, DEPTH, NULL, &out, &fault)) {
		buf_fini(&out);
		return NULL;
	}
	return buf_take_blob(&out);
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

/* {"<prefix>N":0,...}: N from 0 to members - 1, times `factor` modulo `members`. */
static void put_members(struct buf *out, const char *prefix, size_t members, size_t factor)
{
	for (size_t i = 0; i < members; i++)
		buf_printf(out, "%c\"%s%06zu\":0", i ? ',' : '{', prefix, i * factor % members);
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

/* --- The canonical form --- */

static void the_canonical_form_is_as_documented(void **state)
{
	(void)state;
	static const struct {
		const char *text, *form;
	} rows[] = {
		{ " 1 ", "1" },
		{ "1.10", "1.10" },
		{ "-0.0", "-0.0" },
		{ "1E400", "1E400" },
		{ "123456789012345678901234567890.123456", "123456789012345678901234567890.123456" },
		{ "\t[ 1 ,\n2 , [ ] , { } ]\r", "[1,2,[],{}]" },
		{ "{ \"b\" : 1 , \"a\" : 2 }", "{\"a\":2,\"b\":1}" },
		{ "{\"b\":{\"d\":1,\"c\":2},\"a\":{\"f\":1,\"e\":2}}",
		  "{\"a\":{\"e\":2,\"f\":1},\"b\":{\"c\":2,\"d\":1}}" },
		{ "[{\"b\":1,\"a\":2},{\"a\":1,\"b\":2},{\"b\":1,\"a\":2}]",
		  "[{\"a\":2,\"b\":1},{\"a\":1,\"b\":2},{\"a\":2,\"b\":1}]" },
		{ "{\"a\":[[{\"y\":0,\"x\":[{\"q\":1,\"p\":2}, 3]}]],\"b\":0}",
		  "{\"a\":[[{\"x\":[{\"p\":2,\"q\":1},3],\"y\":0}]],\"b\":0}" },
		{ "{\"c\":1,\"b\":{\"z\":1,\"y\":2},\"a\":[{}, {\"n\":1,\"m\":2} ]}",
		  "{\"a\":[{},{\"m\":2,\"n\":1}],\"b\":{\"y\":2,\"z\":1},\"c\":1}" },
		{ "\"\\u0041\\/\\u002f\\u0022\\u005c\"", "\"A//\\\"\\\\\"" },
		{ "\"\\u0008\\u000c\\u000A\\u000d\\u0009\\u0000\\u001F\\u007f\"",
		  "\"\\b\\f\\n\\r\\t\\u0000\\u001f\177\"" },
		{ "\"\\u00e4\\u20AC\\ud83d\\ude00\"", "\"\303\244\342\202\254\360\237\230\200\"" },
		{ "{\"\\u0062\":1,\"a\":2}", "{\"a\":2,\"b\":1}" },
		/* by the bytes of what names mean: \n < " < A < \ < a < ä */
		{ "{\"\303\244\":6,\"a\":5,\"\\\\\":4,\"A\":3,\"\\\"\":2,\"\\n\":1}",
		  "{\"\\n\":1,\"\\\"\":2,\"A\":3,\"\\\\\":4,\"a\":5,\"\303\244\":6}" },
		/* the example of RFC 8785, 3.2.3: by UTF-8 the emoji comes after the Hebrew letter, other than by
		   UTF-16 */
		{ "{\"\\u20ac\":1,\"\\r\":2,\"\\ufb33\":3,\"1\":4,\"\\ud83d\\ude00\":5,\"\\u0080\":6,\"\\u00f6\":7}",
		  "{\"\\r\":2,\"1\":4,\"\302\200\":6,\"\303\266\":7,\"\342\202\254\":1,\"\357\254\263\":3,"
		  "\"\360\237\230\200\":5}" },
		{ "{\"aa\":1,\"a\":2,\"\":3,\"a\\u0000\":4}", "{\"\":3,\"a\":2,\"a\\u0000\":4,\"aa\":1}" },
		{ "{\"12345678b\":1,\"12345678\":2,\"12345678a\":3,\"1234567\":4}",
		  "{\"1234567\":4,\"12345678\":2,\"12345678a\":3,\"12345678b\":1}" },
		{ " { \"a\" : \" b \" , \"c\" : [ \"\\u0020\" ] } ", "{\"a\":\" b \",\"c\":[\" \"]}" },
	};
	for (size_t i = 0; i < countof(rows); i++) {
		struct blob *form = canonical(slice_of(rows[i].text));
		assert_non_null(form);
		assert_string_equal(form->bytes, rows[i].form);
		struct blob *again = canonical(blob_slice(form));
		assert_non_null(again);
		assert_string_equal(again->bytes, rows[i].form);
		blob_unref(form);
		blob_unref(again);
	}
}

static void what_a_tree_would_merge_stays_apart(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(json_merged); i++) {
		struct blob *one = canonical(json_merged[i].one), *other = canonical(json_merged[i].other);
		assert_true((one == NULL) == json_merged[i].refused);
		assert_false(one && other && slice_equal(blob_slice(one), blob_slice(other)));
		blob_unref(one);
		blob_unref(other);
	}
}

static void the_canonical_form_is_appended_and_a_refused_text_appends_nothing(void **state)
{
	(void)state;
	struct buf out = BUF_INIT(1000);
	struct json_fault fault = { 0 };
	buf_put_text(&out, "key:");
	assert_true(json_canonical(SLICE(" {\"b\":1,\"a\":[ ]}"), DEPTH, NULL, &out, &fault));
	assert_string_equal(buf_cstr(&out), "key:{\"a\":[],\"b\":1}");
	assert_false(json_canonical(SLICE("{\"b\":1,\"a\":[ }"), DEPTH, NULL, &out, &fault));
	assert_string_equal(buf_cstr(&out), "key:{\"a\":[],\"b\":1}");
	buf_fini(&out);
}

static void a_full_buffer_is_no_fault_of_the_text(void **state)
{
	(void)state;
	struct buf out = BUF_INIT(12);
	struct json_fault fault = { 0 };
	assert_true(json_canonical(SLICE("[ 1, 2, 3, 4 ]  "), DEPTH, NULL, &out, &fault));
	assert_string_equal(buf_cstr(&out), "[1,2,3,4]");
	assert_false(json_canonical(SLICE("[5,6]"), DEPTH, NULL, &out, &fault));
	assert_true(fault.out_of_memory);
	buf_fini(&out);
}

/* --- Properties. A value is what a seed makes of it; a spelling is one of the many ways to write it. --- */

static unsigned draw(uint64_t *state, unsigned below)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)((*state >> 33) % below);
}

static void put_blanks(struct buf *out, uint64_t *spelling)
{
	while (draw(spelling, 4) == 0)
		buf_put_char(out, " \n\t\r"[draw(spelling, 4)]);
}

/* One of its spellings. */
static void put_code(struct buf *out, uint32_t code, uint64_t *spelling)
{
	const char *hex = draw(spelling, 2) ? "\\u%04x" : "\\u%04X";
	static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
	const char *letter = code && code < 0x80 ? strchr(meanings, (int)code) : NULL;
	bool must = code < 0x20 || code == '"' || code == '\\';
	if (letter && draw(spelling, 2)) {
		buf_put_char(out, '\\');
		buf_put_char(out, letters[letter - meanings]);
	} else if (code >= 0x10000 && draw(spelling, 2)) {
		buf_printf(out, draw(spelling, 2) ? "\\u%04x\\u%04X" : "\\u%04X\\u%04x", 0xD7C0 + (code >> 10),
			   0xDC00 + (code & 0x3FF));
	} else if (code < 0x10000 && (must || draw(spelling, 3) == 0)) {
		buf_printf(out, strcmp(hex, "\\u%04x") == 0 ? "\\u%04x" : "\\u%04X", code);
	} else if (code < 0x80) {
		buf_put_char(out, (char)code);
	} else {
		struct buf utf8 = BUF_INIT(8);
		char escape[16];
		snprintf(escape, sizeof escape, code < 0x10000 ? "\"\\u%04x\"" : "\"\\u%04x\\u%04x\"",
			 code < 0x10000 ? code : 0xD7C0 + (code >> 10), 0xDC00 + (code & 0x3FF));
		json_unescape(slice_of(escape), &utf8);
		buf_put(out, buf_slice(&utf8));
		buf_fini(&utf8);
	}
}

static void put_random_string(struct buf *out, uint64_t *value, uint64_t *spelling, bool nul)
{
	static const uint32_t codes[] = { 'a',  'b',  '/',    '"',    '\\',    '\n',     '\t', 1,
					  0x7f, 0xe4, 0x20ac, 0xfffd, 0x1f600, 0x10ffff, 0 };
	buf_put_char(out, '"');
	for (unsigned len = draw(value, 5); len > 0; len--)
		put_code(out, codes[draw(value, nul ? countof(codes) : countof(codes) - 1)], spelling);
	buf_put_char(out, '"');
}

static void put_value(struct buf *out, uint64_t *value, uint64_t *spelling, unsigned depth);

/* The names are a letter apart, whatever follows it, so there are no duplicates. Members come in an order of the
 * spelling's. */
static void put_object(struct buf *out, uint64_t *value, uint64_t *spelling, unsigned depth)
{
	unsigned members = draw(value, 6);
	uint64_t seed = *value;
	unsigned first = members ? draw(spelling, members) : 0, stride = draw(spelling, 2) ? 1 : members - 1;
	buf_put_char(out, '{');
	for (unsigned i = 0; i < members; i++) {
		unsigned number = (first + i * stride) % members;
		uint64_t own = seed ^ (number + 1) * UINT64_C(0x9E3779B97F4A7C15);
		put_blanks(out, spelling);
		struct buf name = BUF_INIT(1000);
		put_random_string(&name, &own, spelling, false);
		buf_put_char(out, '"');
		put_code(out, "xyz/\n\""[number], spelling);
		buf_put(out, (struct slice){ name.store->bytes + 1, name.len - 1 });
		buf_fini(&name);
		put_blanks(out, spelling);
		buf_put_char(out, ':');
		put_value(out, &own, spelling, depth - 1);
		if (i + 1 < members)
			buf_put_char(out, ',');
	}
	put_blanks(out, spelling);
	buf_put_char(out, '}');
}

static void put_array(struct buf *out, uint64_t *value, uint64_t *spelling, unsigned depth)
{
	buf_put_char(out, '[');
	unsigned elements = draw(value, 5);
	for (unsigned i = 0; i < elements; i++) {
		if (i)
			buf_put_char(out, ',');
		put_value(out, value, spelling, depth - 1);
	}
	put_blanks(out, spelling);
	buf_put_char(out, ']');
}

static void put_value(struct buf *out, uint64_t *value, uint64_t *spelling, unsigned depth)
{
	put_blanks(out, spelling);
	switch (draw(value, depth ? 7 : 5)) {
	case 0:
		buf_put_text(out, "null");
		break;
	case 1:
		buf_put_text(out, draw(value, 2) ? "true" : "false");
		break;
	case 2:
		buf_printf(out, "%d", (int)draw(value, 100) - 20);
		break;
	case 3:
	case 4:
		put_random_string(out, value, spelling, true);
		break;
	case 5:
		put_array(out, value, spelling, depth);
		break;
	default:
		put_object(out, value, spelling, depth);
	}
	put_blanks(out, spelling);
}

/* Spelling `spelling` of value `value`. The caller gives it back. */
static struct blob *spell(uint64_t value, uint64_t spelling, unsigned depth)
{
	struct buf out = BUF_INIT(1 << 24);
	value *= UINT64_C(0x9E3779B97F4A7C15);
	spelling *= UINT64_C(0xBF58476D1CE4E5B9);
	put_value(&out, &value, &spelling, depth);
	return buf_take_blob(&out);
}

static struct json_object *tree(struct blob *text)
{
	struct json_tokener *tokener = json_tokener_new_ex(DEPTH);
	struct json_object *object = json_tokener_parse_ex(tokener, text->bytes, (int)text->len + 1);
	assert_int_equal(json_tokener_get_error(tokener), json_tokener_success);
	json_tokener_free(tokener);
	return object;
}

static void all_spellings_of_a_value_have_one_canonical_form(void **state)
{
	(void)state;
	for (uint64_t value = 0; value < 400; value++) {
		struct blob *first = NULL;
		for (uint64_t spelling = 0; spelling < 20; spelling++) {
			struct blob *text = spell(value, spelling, 6), *form = canonical(blob_slice(text));
			if (!form)
				fail_msg("refused: %s", text->bytes);
			if (first && !slice_equal(blob_slice(first), blob_slice(form)))
				fail_msg("%s\nis not\n%s\nfor\n%s", form->bytes, first->bytes, text->bytes);
			struct json_object *a = tree(text), *b = tree(form);
			assert_true(json_object_equal(a, b));
			json_object_put(a);
			json_object_put(b);
			blob_unref(text);
			if (first)
				blob_unref(form);
			else
				first = form;
		}
		blob_unref(first);
	}
}

static void values_have_the_same_canonical_form_only_if_a_tree_says_they_are_equal(void **state)
{
	(void)state;
	enum { VALUES = 400 };
	static struct blob *forms[VALUES];
	static struct json_object *trees[VALUES];
	unsigned equal = 0;
	for (unsigned i = 0; i < VALUES; i++) {
		struct blob *text = spell(i + 1000, i, 2); /* shallow: so that some are equal by chance */
		forms[i] = canonical(blob_slice(text));
		assert_non_null(forms[i]);
		trees[i] = tree(text);
		blob_unref(text);
	}
	for (unsigned i = 0; i < VALUES; i++) {
		for (unsigned j = 0; j < i; j++) {
			bool same = slice_equal(blob_slice(forms[i]), blob_slice(forms[j]));
			assert_int_equal(same, json_object_equal(trees[i], trees[j]) != 0);
			equal += same;
		}
	}
	assert_true(equal > 100);
	for (unsigned i = 0; i < VALUES; i++) {
		blob_unref(forms[i]);
		json_object_put(trees[i]);
	}
}

/* --- Writing --- */

static void any_bytes_become_a_valid_string(void **state)
{
	(void)state;
	uint64_t random = 5;
	for (int round = 0; round < 20000; round++) {
		char bytes[40];
		size_t len = draw(&random, sizeof bytes + 1);
		for (size_t i = 0; i < len; i++)
			bytes[i] = (char)(draw(&random, 3) ? draw(&random, 0x80) : draw(&random, 0x100));
		struct slice text = { bytes, len };
		struct buf out = BUF_INIT(1000), back = BUF_INIT(1000);
		struct json_fault fault = { 0 };
		json_put_string(&out, text);
		assert_false(out.failed);
		assert_true(json_check(buf_slice(&out), 0, NULL, &fault));
		json_unescape(buf_slice(&out), &back);
		assert_int_equal(slice_equal(buf_slice(&back), text), json_utf8(text));
		assert_int_equal(json_string_is(buf_slice(&out), text), json_utf8(text));
		/* what is written is canonical */
		struct blob *form = canonical(buf_slice(&out));
		assert_true(slice_equal(blob_slice(form), buf_slice(&out)));
		blob_unref(form);
		buf_fini(&out);
		buf_fini(&back);
	}
}

static void broken_utf8_becomes_the_replacement_character(void **state)
{
	(void)state;
	struct buf out = BUF_INIT(1000);
	json_put_string(&out, SLICE("a\377\303\244\355\240\200\"\n\001"));
	assert_string_equal(buf_cstr(&out),
			    "\"a\357\277\275\303\244\357\277\275\357\277\275\357\277\275\\\"\\n\\u0001\"");
	buf_fini(&out);
}

static void utf8_is_exactly_what_the_rfc_counts(void **state)
{
	(void)state;
	unsigned two = 0, three = 0, four = 0;
	char bytes[4];
	for (unsigned code = 0; code < 0x10000; code++) {
		bytes[0] = (char)(code >> 8);
		bytes[1] = (char)code;
		two += json_utf8((struct slice){ bytes, 2 });
	}
	assert_int_equal(two, 128 * 128 + 1920);
	for (unsigned code = 0xE00000; code < 0x1000000; code++) {
		bytes[0] = (char)(code >> 16);
		bytes[1] = (char)(code >> 8);
		bytes[2] = (char)code;
		three += json_utf8((struct slice){ bytes, 3 });
	}
	assert_int_equal(three, 0x10000 - 0x800 - 2048);
	for (unsigned lead = 0xF000; lead < 0x10000; lead++) {
		for (unsigned tail = 0; tail < 0x10000; tail += 0x0101) {
			memcpy(bytes, (char[]){ (char)(lead >> 8), (char)lead, (char)(tail >> 8), (char)tail }, 4);
			four += json_utf8((struct slice){ bytes, 4 });
		}
	}
	/* F0 90-BF, F1-F3 80-BF, F4 80-8F: 256 pairs, and 64 of the tails tried are continuations */
	assert_int_equal(four, (48 + 3 * 64 + 16) * 64);
	assert_true(json_utf8((struct slice){ NULL, 0 }));
	assert_true(json_utf8(SLICE("plain text longer than a word \303\244 and more")));
	assert_false(json_utf8(SLICE("plain text longer than a word \303")));
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

static void every_allocation_of_a_canonical_form_may_fail(void **state)
{
	(void)state;
	struct buf text = BUF_INIT(1 << 20);
	put_members(&text, "\\n", 1000, 999);
	buf_put_char(&text, '}');
	bool done = false;
	for (size_t n = 1; !done; n++) {
		struct json_fault fault = { 0 };
		struct buf out = BUF_INIT(1 << 20);
		alloc_fail_at(n);
		done = json_canonical(buf_slice(&text), DEPTH, NULL, &out, &fault);
		alloc_reset();
		assert_int_equal(fault.out_of_memory, !done);
		assert_int_equal(out.len > 0, done);
		buf_fini(&out);
	}
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
		cmocka_unit_test(the_canonical_form_is_as_documented),
		cmocka_unit_test(what_a_tree_would_merge_stays_apart),
		cmocka_unit_test(the_canonical_form_is_appended_and_a_refused_text_appends_nothing),
		cmocka_unit_test(a_full_buffer_is_no_fault_of_the_text),
		cmocka_unit_test(all_spellings_of_a_value_have_one_canonical_form),
		cmocka_unit_test(values_have_the_same_canonical_form_only_if_a_tree_says_they_are_equal),
		cmocka_unit_test(any_bytes_become_a_valid_string),
		cmocka_unit_test(broken_utf8_becomes_the_replacement_character),
		cmocka_unit_test(utf8_is_exactly_what_the_rfc_counts),
		cmocka_unit_test(scratch_memory_is_reused),
		cmocka_unit_test(scratch_memory_of_a_huge_text_is_given_back),
		cmocka_unit_test(every_allocation_of_a_check_may_fail),
		cmocka_unit_test(every_allocation_of_a_canonical_form_may_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
