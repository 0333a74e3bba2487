/* SPDX-License-Identifier: Apache-2.0 */
/* The canonical form of JSON: as documented, one for all spellings of a value, other ones for other values; and writing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#define json_type json_c_type /* json-c has the name too */
#include <json-c/json.h>
#undef json_type
#include <stdio.h>

#include "base/json.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/json_members.h"
#include "tests/support/json_merged.h"

enum { DEPTH = 64 };

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

/* --- The canonical form --- */

static const struct {
	const char *text, *form;
} documented[] = {
	{ " 1 ", "1" },
	{ "1.10", "1.10" },
	{ "-0.0", "-0.0" },
	{ "1E400", "1E400" },
	{ "123456789012345678901234567890.123456", "123456789012345678901234567890.123456" },
	{ "\t[ 1 ,\n2 , [ ] , { } ]\r", "[1,2,[],{}]" },
	{ "{ \"b\" : 1 , \"a\" : 2 }", "{\"a\":2,\"b\":1}" },
	{ "{\"b\":{\"d\":1,\"c\":2},\"a\":{\"f\":1,\"e\":2}}", "{\"a\":{\"e\":2,\"f\":1},\"b\":{\"c\":2,\"d\":1}}" },
	{ "[{\"b\":1,\"a\":2},{\"a\":1,\"b\":2},{\"b\":1,\"a\":2}]",
	  "[{\"a\":2,\"b\":1},{\"a\":1,\"b\":2},{\"a\":2,\"b\":1}]" },
	{ "{\"a\":[[{\"y\":0,\"x\":[{\"q\":1,\"p\":2}, 3]}]],\"b\":0}",
	  "{\"a\":[[{\"x\":[{\"p\":2,\"q\":1},3],\"y\":0}]],\"b\":0}" },
	{ "{\"c\":1,\"b\":{\"z\":1,\"y\":2},\"a\":[{}, {\"n\":1,\"m\":2} ]}",
	  "{\"a\":[{},{\"m\":2,\"n\":1}],\"b\":{\"y\":2,\"z\":1},\"c\":1}" },
	{ "\"\\u0041\\/\\u002f\\u0022\\u005c\"", "\"A//\\\"\\\\\"" },
	{ "\"\\u0008\\u000c\\u000A\\u000d\\u0009\\u0000\\u001F\\u007f\"", "\"\\b\\f\\n\\r\\t\\u0000\\u001f\177\"" },
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

static void the_canonical_form_is_as_documented(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(documented); i++) {
		struct blob *form = canonical(slice_of(documented[i].text));
		assert_non_null(form);
		assert_string_equal(form->bytes, documented[i].form);
		struct blob *again = canonical(blob_slice(form));
		assert_non_null(again);
		assert_string_equal(again->bytes, documented[i].form);
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

/* Every string of up to three of these against every text of up to three of those: the same as to write it out. */
static void a_string_is_what_its_escapes_mean(void **state)
{
	(void)state;
	static const char *const raws[] = { "", "a", "b", "\\u0061", "\\u0062", "\\\\", "\\n", "\\/" };
	static const char *const texts[] = { "", "a", "b", "\\", "\n", "/", "n", "u" };
	enum { N = 8 };
	for (int i = 0; i < N * N * N; i++) {
		struct buf raw = BUF_INIT(100), meant = BUF_INIT(100);
		buf_printf(&raw, "\"%s%s%s\"", raws[i % N], raws[i / N % N], raws[i / N / N]);
		json_unescape(buf_slice(&raw), &meant);
		for (int j = 0; j < N * N * N; j++) {
			char text[10];
			snprintf(text, sizeof text, "%s%s%s", texts[j % N], texts[j / N % N], texts[j / N / N]);
			assert_int_equal(json_string_is(buf_slice(&raw), slice_of(text)),
					 slice_equal(buf_slice(&meant), slice_of(text)));
		}
		buf_fini(&raw);
		buf_fini(&meant);
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
		cmocka_unit_test(the_canonical_form_is_as_documented),
		cmocka_unit_test(what_a_tree_would_merge_stays_apart),
		cmocka_unit_test(the_canonical_form_is_appended_and_a_refused_text_appends_nothing),
		cmocka_unit_test(a_full_buffer_is_no_fault_of_the_text),
		cmocka_unit_test(all_spellings_of_a_value_have_one_canonical_form),
		cmocka_unit_test(values_have_the_same_canonical_form_only_if_a_tree_says_they_are_equal),
		cmocka_unit_test(any_bytes_become_a_valid_string),
		cmocka_unit_test(a_string_is_what_its_escapes_mean),
		cmocka_unit_test(broken_utf8_becomes_the_replacement_character),
		cmocka_unit_test(utf8_is_exactly_what_the_rfc_counts),
		cmocka_unit_test(every_allocation_of_a_canonical_form_may_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
