/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of random arguments: equal when and only when the arguments mean the same, whatever their spelling; and which
 * arguments count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "cache/key.h"

enum { DEPTH = 16, ROUNDS = 50000, MEMBERS = 4 };

static struct key_maker *makers[2]; /* with a memory, without */
static unsigned seed = 1;

static unsigned roll(unsigned below)
{
	return (unsigned)rand_r(&seed) % below;
}

/* --- documents: a small space, so that equal ones come up often, of what parsers like to merge --- */

struct value {
	unsigned kind; /* 0: scalar, 1: array, 2: object */
	unsigned scalar, count;
	struct value *items[MEMBERS];
	unsigned names[MEMBERS]; /* of an object: rising, so that equal ones are equal here */
};

static const char *const scalars[] = {
	"0",
	"-0",
	"0.0",
	"1",
	"1.0",
	"10",
	"1e1",
	"18446744073709551616",
	"18446744073709551615",
	"-9223372036854775809",
	"true",
	"false",
	"null",
	"\"\"",
	"\"a\"",
	"\"A\"",
	"\"a\\u0000\"",
	"\"\\u0000\"",
	"\"\303\251\"",
	"\"e\314\201\"",
	"\"1\"",
	"\"true\"",
	"\"{}\"",
	"\"a\\\"b\"",
	"\"a\\\\b\"",
	"\"\\/\"",
	"\"\\ud83d\\ude00\"",
};
/* Each in two spellings. */
static const char *const names[][2] = {
	{ "\"a\"", "\"\\u0061\"" }, { "\"b\"", "\"\\u0062\"" },        { "\"a\\u0000\"", "\"\\u0061\\u0000\"" },
	{ "\"\"", "\"\"" },         { "\"\303\251\"", "\"\\u00e9\"" }, { "\"a.b\"", "\"a\\u002eb\"" },
};

static struct value *make_value(unsigned depth, bool object)
{
	struct value *value = test_calloc(1, sizeof *value);
	value->kind = object ? 2 : depth ? roll(3) : 0;
	value->scalar = roll(countof(scalars));
	value->count = value->kind ? roll(MEMBERS) : 0;
	unsigned name = 0;
	for (unsigned i = 0; i < value->count; i++) {
		name += roll(2);
		if (name >= countof(names)) {
			value->count = i;
			break;
		}
		value->names[i] = name++;
		value->items[i] = make_value(depth ? depth - 1 : 0, false);
	}
	return value;
}

static void free_value(struct value *value)
{
	for (unsigned i = 0; i < value->count; i++)
		free_value(value->items[i]);
	test_free(value);
}

static bool same(const struct value *a, const struct value *b)
{
	bool equal = a->kind == b->kind && a->count == b->count && (a->kind || a->scalar == b->scalar);
	for (unsigned i = 0; equal && i < a->count; i++)
		equal = (a->kind == 1 || a->names[i] == b->names[i]) && same(a->items[i], b->items[i]);
	return equal;
}

static void put_blanks(struct buf *out)
{
	static const char *const blanks[] = { "", "", "", " ", "\n", "\t\r " };
	buf_put_text(out, blanks[roll(countof(blanks))]);
}

/* A string with some of its plain characters escaped. */
static void put_respelled(struct buf *out, const char *text)
{
	for (const char *at = text; *at; at++) {
		bool plain = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z');
		if (*text == '"' && plain && (at == text || at[-1] != '\\') && !strchr(text, '\\') && roll(3) == 0)
			buf_printf(out, "\\u%04x", (unsigned)*at);
		else
			buf_put_char(out, *at);
	}
}

/* In any spelling: blanks, order of members, escapes. */
static void put_value(struct buf *out, const struct value *value)
{
	unsigned order[MEMBERS] = { 0 };
	for (unsigned i = 0; i < value->count; i++) {
		unsigned j = value->kind == 2 ? roll(i + 1) : i;
		order[i] = order[j];
		order[j] = i;
	}
	put_blanks(out);
	if (!value->kind)
		put_respelled(out, scalars[value->scalar]);
	else
		buf_put_char(out, value->kind == 1 ? '[' : '{');
	for (unsigned i = 0; i < value->count; i++) {
		const struct value *item = value->items[order[i]];
		put_blanks(out);
		if (i)
			buf_put_char(out, ',');
		put_blanks(out);
		if (value->kind == 2) {
			buf_put_text(out, names[value->names[order[i]]][roll(2)]);
			put_blanks(out);
			buf_put_char(out, ':');
		}
		put_value(out, item);
	}
	put_blanks(out);
	if (value->kind)
		buf_put_char(out, value->kind == 1 ? ']' : '}');
	put_blanks(out);
}

static struct key *key_of(struct slice arguments, const struct key_filter *filter, const char *version)
{
	const struct key_parts parts = { SLICE("tool"), slice_of(version), SLICE(""), arguments, filter, false };
	struct key *key;
	struct json_fault fault = { 0 };
	enum outcome outcome = key_make(makers[roll(2)], &parts, &key, &fault);
	if (outcome != OUTCOME_OK)
		fail_msg("%.*s: %s at %zu", (int)arguments.len, arguments.at, fault.what, fault.at);
	return key;
}

static struct key *key_of_value(const struct value *value)
{
	struct buf text = BUF_INIT(1 << 16);
	put_value(&text, value);
	struct key *key = key_of(buf_slice(&text), NULL, "1");
	buf_fini(&text);
	return key;
}

static void keys_are_equal_exactly_when_the_arguments_mean_the_same(void **state)
{
	(void)state;
	unsigned equal = 0;
	struct value *last = make_value(2, true);
	for (int i = 0; i < ROUNDS; i++) {
		struct value *value = make_value(roll(3), true);
		struct key *one = key_of_value(last), *respelled = key_of_value(last), *other = key_of_value(value);
		assert_true(key_equal(one, respelled));
		assert_memory_equal(one->digest, respelled->digest, KEY_DIGEST_BYTES);
		assert_int_equal(key_equal(one, other), same(last, value));
		assert_int_equal(memcmp(one->digest, other->digest, KEY_DIGEST_BYTES) == 0, same(last, value));
		equal += same(last, value);
		key_unref(one);
		key_unref(respelled);
		key_unref(other);
		free_value(last);
		last = value;
	}
	free_value(last);
	assert_in_range(equal, 100, ROUNDS / 2); /* both sides have been seen */
}

/* --- which arguments count --- */

static const char *const request_id[] = { "id", "t\303\251" };
static const struct key_filter ignoring = { .ignore = request_id, .ignore_count = countof(request_id) };
static const char *const query[] = { "q", "lang" };
static const struct key_filter only = { .only = query, .only_count = countof(query) };

static void assert_keys(const char *one, const char *other, const struct key_filter *filter, bool equal)
{
	for (int i = 0; i < 8; i++) { /* both makers, and the memory of one of them */
		struct key *a = key_of(slice_of(one), filter, "2"), *b = key_of(slice_of(other), filter, "2");
		assert_int_equal(key_equal(a, b), equal);
		key_unref(a);
		key_unref(b);
	}
}

static void ignored_arguments_make_no_difference(void **state)
{
	(void)state;
	assert_keys("{\"q\":1,\"id\":7}", "{\"id\":[8,{}],\"q\":1}", &ignoring, true);
	assert_keys("{\"q\":1,\"id\":7}", "{\"q\":1}", &ignoring, true);
	assert_keys("{\"id\":7}", "{}", &ignoring, true);
	assert_keys("{\"t\\u00e9\":7,\"\\u0069d\":1,\"z\":1,\"a\":2}", "{\"a\":2,\"z\":1}", &ignoring, true);
	assert_keys("{\"q\":1,\"id\":7}", "{\"q\":2,\"id\":7}", &ignoring, false);
	assert_keys("{\"q\":{\"id\":1}}", "{\"q\":{\"id\":2}}", &ignoring, false); /* the top level only */
	assert_keys("{\"ids\":1}", "{\"ids\":2}", &ignoring, false);
	assert_keys("{\"id\\u0000\":1}", "{\"id\\u0000\":2}", &ignoring, false);
}

static void only_the_named_arguments_make_a_difference(void **state)
{
	(void)state;
	assert_keys("{\"q\":1,\"x\":7}", "{\"y\":8,\"q\":1}", &only, true);
	assert_keys("{\"x\":7}", "{}", &only, true);
	assert_keys("{\"q\":1}", "{\"lang\":1}", &only, false);
	assert_keys("{\"q\":1,\"lang\":2}", "{\"q\":1}", &only, false);
	assert_keys("{\"lang\":2,\"a\":0,\"q\":1}", "{\"q\":1,\"lang\":2}", &only, true);
}

static void what_does_not_count_is_checked_all_the_same(void **state)
{
	(void)state;
	static const char *const bad[] = { "{\"id\":}", "{\"id\":1,\"id\":1}", "{\"id\":\"\\ud800\"}", "[]" };
	for (size_t i = 0; i < countof(bad); i++) {
		const struct key_parts parts = { SLICE("tool"),    SLICE("2"), SLICE(""),
						 slice_of(bad[i]), &ignoring,  false };
		struct key *key;
		struct json_fault fault;
		assert_int_not_equal(key_make(makers[i % 2], &parts, &key, &fault), OUTCOME_OK);
		assert_null(key);
	}
}

static void a_filtered_key_is_the_key_of_what_counts(void **state)
{
	(void)state;
	for (int i = 0; i < ROUNDS / 10; i++) {
		static const char *const ignored[] = { "a", "a.b" };
		static const struct key_filter filter = { .ignore = ignored, .ignore_count = countof(ignored) };
		struct value *value = make_value(2, true);
		struct buf whole = BUF_INIT(1 << 16), rest = BUF_INIT(1 << 16);
		put_value(&whole, value);
		unsigned kept = 0;
		for (unsigned j = 0; j < value->count; j++) {
			if (value->names[j] == 0 || value->names[j] == 5) {
				free_value(value->items[j]);
				continue;
			}
			value->names[kept] = value->names[j];
			value->items[kept++] = value->items[j];
		}
		value->count = kept;
		put_value(&rest, value);
		struct key *filtered = key_of(buf_slice(&whole), &filter, "3"),
			   *plain = key_of(buf_slice(&rest), NULL, "3");
		assert_true(key_equal(filtered, plain));
		key_unref(filtered);
		key_unref(plain);
		buf_fini(&whole);
		buf_fini(&rest);
		free_value(value);
	}
}

static void a_key_tells_its_tool(void **state)
{
	(void)state;
	struct key *key = key_of(SLICE("{}"), NULL, "1");
	assert_true(slice_equal(key_tool(key), SLICE("tool")));
	for (size_t len = 0; len < key->len; len++) { /* bytes from elsewhere are read within their bounds */
		struct key *cut = malloc(sizeof *cut + len);
		assert_non_null(cut);
		cut->len = len;
		memcpy(cut->bytes, key->bytes, len);
		struct slice tool = key_tool(cut);
		assert_int_equal(tool.len, len < 9 ? 0 : 4);
		free(cut);
	}
	key_unref(key);
}

static int setup(void **state)
{
	(void)state;
	makers[0] = key_maker_new(64, DEPTH);
	makers[1] = key_maker_new(0, DEPTH);
	return makers[0] && makers[1] ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	key_maker_free(makers[0]);
	key_maker_free(makers[1]);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_equal_exactly_when_the_arguments_mean_the_same),
		cmocka_unit_test(ignored_arguments_make_no_difference),
		cmocka_unit_test(only_the_named_arguments_make_a_difference),
		cmocka_unit_test(what_does_not_count_is_checked_all_the_same),
		cmocka_unit_test(a_filtered_key_is_the_key_of_what_counts),
		cmocka_unit_test(a_key_tells_its_tool),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
