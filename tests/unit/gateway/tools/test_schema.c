/* SPDX-License-Identifier: Apache-2.0 */
/* Schemas mended for those who take less than JSON Schema allows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/json.h"
#include "gateway/tools/schema.h"

static void expect_mended(const char *schema, const char *expected)
{
	struct buf out = BUF_INIT(1 << 20);
	struct json_fault fault;
	schema_put_mended(&out, slice_of(schema));
	assert_string_equal(buf_cstr(&out), expected);
	assert_true(json_check(buf_slice(&out), 100, NULL, &fault));
	buf_fini(&out);
}

static void what_is_valid_goes_through_byte_for_byte(void **state)
{
	(void)state;
	static const char *const ok[] = {
		"{ \"type\" : \"object\", \"properties\" : { } }",
		"{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"type\":\"object\",\"$defs\":{\"a\":{"
		"\"$anchor\":\"x\",\"type\":\"object\"}},\"properties\":{\"n\":{\"type\":[\"number\",\"null\"],"
		"\"default\":null,\"enum\":[1.50,null]},\"l\":{\"type\":\"array\",\"items\":{\"const\":null}}},"
		"\"if\":{\"required\":[\"n\"]},\"then\":{},\"additionalProperties\":false}",
	};
	for (size_t i = 0; i < sizeof ok / sizeof ok[0]; i++)
		expect_mended(ok[i], ok[i]);
}

static void type_and_properties_are_put_in(void **state)
{
	(void)state;
	expect_mended("{}", "{\"type\":\"object\",\"properties\":{}}");
	expect_mended("null", "{\"type\":\"object\",\"properties\":{}}");
	expect_mended("true", "{\"type\":\"object\",\"properties\":{}}");
	expect_mended("{\"type\":\"object\"}", "{\"type\":\"object\",\"properties\":{}}");
	expect_mended("{\"type\":[\"object\",\"null\"],\"title\":\"T\"}",
		      "{\"type\":\"object\",\"properties\":{},\"title\":\"T\"}");
	expect_mended("{\"type\":null,\"properties\":null,\"required\":null}",
		      "{\"type\":\"object\",\"properties\":{}}");
	expect_mended("{\"properties\":{\"a\":{}},\"required\":[\"a\"],\"x\":1.0}",
		      "{\"type\":\"object\",\"properties\":{\"a\":{}},\"required\":[\"a\"],\"x\":1.0}");
}

static void nulls_that_say_nothing_are_dropped(void **state)
{
	(void)state;
	expect_mended("{\"type\":\"object\",\"properties\":{\"a\":null,\"b\":{\"description\":null,\"default\":null,"
		      "\"anyOf\":[null,{\"title\":null}]}},\"required\":null}",
		      "{\"type\":\"object\",\"properties\":{\"a\":{},\"b\":{\"default\":null,\"anyOf\":[{},{}]}}}");
}

static void arrays_say_something_of_their_items(void **state)
{
	(void)state;
	expect_mended("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\"},\"b\":{\"type\":\"array\","
		      "\"items\":null},\"c\":{\"type\":\"array\",\"prefixItems\":[{}]}}}",
		      "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"items\":{}},\"b\":{\"type\":"
		      "\"array\",\"items\":{}},\"c\":{\"type\":\"array\",\"prefixItems\":[{}]}}}");
}

static void alternatives_at_the_top_are_merged(void **state)
{
	(void)state;
	expect_mended(
		"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"}},\"required\":[\"a\"],"
		"\"anyOf\":[{\"properties\":{\"a\":{},\"b\":{}},\"required\":[\"b\"]},{\"properties\":{\"c\":{}}}],"
		"\"allOf\":[{\"properties\":{\"d\":{}},\"required\":[\"d\",\"a\"]}],\"description\":\"D\"}",
		"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"},\"d\":{},\"b\":{},\"c\":{}},"
		"\"required\":[\"a\",\"d\"],\"description\":\"D\"}");
	expect_mended("{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"x\":{}},\"required\":[\"x\"]},7]}",
		      "{\"type\":\"object\",\"properties\":{\"x\":{}}}");
}

static void a_schema_of_no_object_cannot_be_mended(void **state)
{
	(void)state;
	assert_non_null(schema_fault(SLICE("{\"type\":\"string\"}")));
	assert_non_null(schema_fault(SLICE("{\"type\":[\"string\"]}")));
	assert_null(schema_fault(SLICE("{\"type\":null}")));
	assert_null(schema_fault(SLICE("{}")));
	assert_null(schema_fault(SLICE("{\"type\":[\"null\",\"object\"]}")));
	assert_true(schema_is_object(SLICE(" {\"type\":\"object\"} ")));
	assert_false(schema_is_object(SLICE("{\"type\":[\"object\"]}")));
	assert_false(schema_is_object(SLICE("{}")));
}

static void expect_without(const char *schema, const char *constants, const char *expected)
{
	struct buf out = BUF_INIT(1 << 20);
	schema_put_without(&out, slice_of(schema), slice_of(constants));
	assert_string_equal(buf_cstr(&out), expected);
	buf_fini(&out);
}

static void constants_are_hidden(void **state)
{
	(void)state;
	expect_without(
		"{\"type\":\"object\",\"properties\":{\"\\u006bey\":{},\"city\":{\"type\":\"string\"}},\"required\":["
		"\"key\",\"city\"],\"$defs\":{\"key\":{}}}",
		"{\"key\":\"k\",\"more\":1}",
		"{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}},\"required\":[\"city\"],"
		"\"$defs\":{\"key\":{}}}");
	expect_without("{\"properties\":{\"key\":{}},\"required\":[\"key\"]}", "{\"key\":1}",
		       "{\"properties\":{},\"required\":[]}");
}

static void names_are_plain_at_every_depth(void **state)
{
	(void)state;
	assert_true(schema_names_are_plain(SLICE("{\"properties\":{\"a-b.c_9\":{}},\"$defs\":{\"a b\":{}}}")));
	assert_false(schema_names_are_plain(SLICE("{\"properties\":{\"a b\":{}}}")));
	assert_false(schema_names_are_plain(
		SLICE("{\"properties\":{\"a\":{\"items\":{\"anyOf\":[{\"properties\":{\"\":1}}]}}}}")));
	assert_true(
		schema_names_are_plain(SLICE("{\"properties\":{\"a\":{\"default\":{\"properties\":{\"a b\":1}}}}}")));
}

/* Names that are in every part, and names that are in one only: each stands once, and the work grows with the text. */
static void a_part_may_have_very_many_names(void **state)
{
	(void)state;
	enum { NAMES = 80000 }; /* and half of it more: JSON_UNSORTED_MAX */
	struct buf schema = BUF_INIT(1 << 28), out = BUF_INIT(1 << 28);
	struct json_fault fault;
	struct slice properties, required, element, value;
	size_t count = 0;
	buf_put_text(&schema, "{\"properties\":{");
	for (int i = 0; i < NAMES; i++)
		buf_printf(&schema, "%s\"a%d\":{}", i ? "," : "", i);
	buf_put_text(&schema, "},\"allOf\":[{\"properties\":{");
	for (int i = 0; i < NAMES; i++)
		buf_printf(&schema, "%s\"%c%d\":{}", i ? "," : "", i % 2 ? 'a' : 'b', i);
	buf_put_text(&schema, "},\"required\":[");
	for (int i = 0; i < NAMES; i++)
		buf_printf(&schema, "%s\"a%d\"", i ? "," : "", i / 2);
	buf_put_text(&schema, "]}]}");
	schema_put_mended(&out, buf_slice(&schema));
	assert_false(out.failed);
	assert_true(json_check(buf_slice(&out), 100, NULL, &fault));
	assert_true(json_member(buf_slice(&out), SLICE("properties"), &properties));
	struct json_walk walk = json_walk(properties);
	for (count = 0; json_next_member(&walk, &element, &value); count++)
		continue;
	assert_int_equal(count, NAMES + NAMES / 2);
	assert_true(json_member(buf_slice(&out), SLICE("required"), &required));
	walk = json_walk(required);
	for (count = 0; json_next_element(&walk, &element); count++)
		continue;
	assert_int_equal(count, NAMES / 2);
	buf_fini(&schema);
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_part_may_have_very_many_names),
		cmocka_unit_test(what_is_valid_goes_through_byte_for_byte),
		cmocka_unit_test(type_and_properties_are_put_in),
		cmocka_unit_test(nulls_that_say_nothing_are_dropped),
		cmocka_unit_test(arrays_say_something_of_their_items),
		cmocka_unit_test(alternatives_at_the_top_are_merged),
		cmocka_unit_test(a_schema_of_no_object_cannot_be_mended),
		cmocka_unit_test(constants_are_hidden),
		cmocka_unit_test(names_are_plain_at_every_depth),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
