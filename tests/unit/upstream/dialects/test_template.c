/* SPDX-License-Identifier: Apache-2.0 */
/* Templates: what is a placeholder and what is text, and what a value becomes in each place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/dialect_error.h"
#include "upstream/dialects/template.h"

static struct dialect_error error;

/* Fill `text` in, at that place; what was written goes to `out`. */
static enum template_result fill(const char *text, enum template_place place, const char *arguments, char *out,
				 size_t out_bytes, struct template_fault *fault)
{
	struct template *template = template_new(text, place, &error);
	assert_non_null(template);
	struct buf buf = BUF_INIT(1 << 20);
	struct template_fault scratch;
	enum template_result result = template_write(template, slice_of(arguments), &buf, fault ? fault : &scratch);
	assert_false(buf.failed);
	snprintf(out, out_bytes, "%s", buf_cstr(&buf));
	buf_fini(&buf);
	template_free(template);
	return result;
}

static void expect(const char *text, enum template_place place, const char *arguments, const char *wanted)
{
	char out[1000];
	assert_int_equal(fill(text, place, arguments, out, sizeof out, NULL), TEMPLATE_WRITTEN);
	assert_string_equal(out, wanted);
}

static void expect_refused(const char *text, enum template_place place, const char *arguments, const char *what)
{
	char out[1000];
	struct template_fault fault;
	struct template *template = template_new(text, place, &error);
	assert_non_null(template);
	template_free(template);
	assert_int_equal(fill(text, place, arguments, out, sizeof out, &fault), TEMPLATE_REFUSED);
	assert_int_equal(fault.missing, what == NULL);
	if (what)
		assert_string_equal(fault.what, what);
}

static void expect_bad(const char *text, enum template_place place, const char *wanted)
{
	assert_null(template_new(text, place, &error));
	assert_non_null(strstr(error_text(&error), wanted));
}

static void a_placeholder_is_a_name_in_braces_and_all_else_is_text(void **state)
{
	(void)state;
	expect("{\"q\": {q}}", TEMPLATE_BODY, "{\"q\":1.50}", "{\"q\": 1.50}");
	expect("{}{ q}{1q}{q }{q", TEMPLATE_BODY, "{\"q\":1}", "{}{ q}{1q}{q }{q");
	expect("{a}{a}", TEMPLATE_BODY, "{\"a\":[1]}", "[1][1]");
	expect("{_a.b-c}", TEMPLATE_BODY, "{\"_a.b-c\":true}", "true");
	expect("{{a}}", TEMPLATE_BODY, "{\"a\":\"x\"}", "{\"x\"}");
	expect("", TEMPLATE_BODY, "{}", "");
	expect("plain", TEMPLATE_HEADER, "{}", "plain");
}

static void a_path_encodes_all_but_unreserved_characters(void **state)
{
	(void)state;
	expect("/forecast/{city}", TEMPLATE_PATH, "{\"city\":\"S\\u00e3o Paulo\"}", "/forecast/S%C3%A3o%20Paulo");
	expect("/a/{x}/b", TEMPLATE_PATH, "{\"x\":\"-._~09azAZ\"}", "/a/-._~09azAZ/b");
	expect("/a/{x}", TEMPLATE_PATH, "{\"x\":\"%2c?#&=+;\"}", "/a/%252c%3F%23%26%3D%2B%3B");
	expect("/a/{x}/{y}", TEMPLATE_PATH, "{\"x\":12e3,\"y\":true}", "/a/12e3/true");
	expect("/a%20b/{x}", TEMPLATE_PATH, "{\"x\":\"...\"}", "/a%20b/...");
}

static void a_path_refuses_values_that_would_change_its_meaning(void **state)
{
	(void)state;
	expect_refused("/a/{x}", TEMPLATE_PATH, "{\"x\":\"\"}", "is empty");
	expect_refused("/a/{x}", TEMPLATE_PATH, "{\"x\":\"a\\u0000b\"}", "holds a NUL");
	expect_refused("/a/{x}", TEMPLATE_PATH, "{\"x\":{}}", "is an object");
	expect_refused("/a/{x}", TEMPLATE_PATH, "{\"x\":[1]}", "is an array");
	expect_refused("/a/{x}", TEMPLATE_PATH, "{\"x\":null}", NULL);
	expect_refused("/a/{x}", TEMPLATE_PATH, "{\"y\":1}", NULL);
}

/* However a provider reads it: decoded again and again, with backslashes for slashes, cut at what cuts a segment. */
static void no_value_makes_a_path_climb_in_any_reading(void **state)
{
	(void)state;
	static const char wrong[] = "makes a segment that a server may read as '.' or '..'";
	static const char *const values[] = {
		".",     "..",     "\\u002e.",   "%2e",   "%2e%2E",     ".%2e",     "%252e%252e", "%25252e.",
		"..;",   "..;a=b", "..?x",       "..#x",  ".. ",        "..%00",    "..%20",      "x%2F..",
		"..%2f", "x%5c..", "x%5C..%5Cy", "x%2f.", "%2e%2e%2fx", "x%252f..", ".%3b",       "..%09",
	};
	char arguments[64];
	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		snprintf(arguments, sizeof arguments, "{\"x\":\"%s\"}", values[i]);
		expect_refused("/a/{x}", TEMPLATE_PATH, arguments, wrong);
		expect_refused("/a/{x}/b", TEMPLATE_PATH, arguments, wrong);
		expect_refused("/a/{x+}", TEMPLATE_PATH, arguments, wrong);
		snprintf(arguments, sizeof arguments, "{\"x\":\"a/%s/b\"}", values[i]);
		expect_refused("/a/{x+}", TEMPLATE_PATH, arguments, wrong);
	}
	expect_refused("/a/{x}{y}", TEMPLATE_PATH, "{\"x\":\".\",\"y\":\".\"}", wrong);
	expect_refused("/a/.{x}", TEMPLATE_PATH, "{\"x\":\".\"}", wrong);
	expect_refused("/a/{x}.", TEMPLATE_PATH, "{\"x\":\".\"}", wrong);
	expect_refused("/a/%25{x}", TEMPLATE_PATH, "{\"x\":\"2e\"}", wrong);
	expect_refused("/a/{x+}", TEMPLATE_PATH, "{\"x\":\"a\\\\..\\\\b\"}", wrong);
	static const char *const harmless[] = { "...", "..a", "a..", ".a", "1.2.3", "a;..", "%2e%2ea" };
	for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
		char out[100];
		snprintf(arguments, sizeof arguments, "{\"x\":\"%s\"}", harmless[i]);
		assert_int_equal(fill("/a/{x}", TEMPLATE_PATH, arguments, out, sizeof out, NULL), TEMPLATE_WRITTEN);
	}
	expect_bad("/a/../b", TEMPLATE_PATH, "a segment is '.' or '..'");
	expect_bad("/a/%2e", TEMPLATE_PATH, "a segment is '.' or '..'");
}

static void a_value_is_one_segment_unless_the_template_says_several(void **state)
{
	(void)state;
	static const char one[] = "holds a slash, and its placeholder stands for one segment ({name+} takes several)";
	static const char empty[] = "has nothing before, behind or between its slashes";
	expect_refused("/a/{x}", TEMPLATE_PATH, "{\"x\":\"b/c\"}", one);
	expect_refused("/a/{x}", TEMPLATE_PATH, "{\"x\":\"b\\\\c\"}", one);
	expect("/a/{x+}/z", TEMPLATE_PATH, "{\"x\":\"b c/d?\"}", "/a/b%20c/d%3F/z");
	expect("/a/{x+}", TEMPLATE_PATH, "{\"x\":7}", "/a/7");
	expect_refused("/a/{x+}", TEMPLATE_PATH, "{\"x\":\"/b\"}", empty);
	expect_refused("/a/{x+}", TEMPLATE_PATH, "{\"x\":\"b//c\"}", empty);
	expect_refused("/a/{x+}", TEMPLATE_PATH, "{\"x\":\"b/\"}", empty);
	expect_refused("/a/{x+}", TEMPLATE_PATH, "{\"x\":\"\"}", "is empty");
	expect("{x+}", TEMPLATE_QUERY, "{}", "%7Bx%2B%7D"); /* text elsewhere */
}

static void a_form_is_encoded_whatever_its_values_hold(void **state)
{
	(void)state;
	expect("user={u}&role=guest&n={n?}", TEMPLATE_FORM, "{\"u\":\"bob&role=admin&x=\"}",
	       "user=bob%26role%3Dadmin%26x%3D&role=guest&n=");
	expect("{arguments}", TEMPLATE_FORM, "{\"a b\":\"c&d\",\"n\":1.50,\"o\":{\"x\":[1]},\"z\":null,\"t\":true}",
	       "a%20b=c%26d&n=1.50&o=%7B%22x%22%3A%5B1%5D%7D&t=true");
	expect("{arguments}", TEMPLATE_FORM, "{}", "");
	expect_refused("u={u}", TEMPLATE_FORM, "{}", NULL);
	expect_refused("u={u}", TEMPLATE_FORM, "{\"u\":null}", NULL);
}

static void a_query_encodes_its_own_text_too_and_takes_objects_as_json(void **state)
{
	(void)state;
	expect("a b={x}&", TEMPLATE_QUERY, "{\"x\":\"&=\"}", "a%20b%3D%26%3D%26");
	expect("{x}", TEMPLATE_QUERY, "{\"x\":{\"a\":[1]}}", "%7B%22a%22%3A%5B1%5D%7D");
	expect("{x}", TEMPLATE_QUERY, "{\"x\":\"\"}", "");
	expect("{arguments}", TEMPLATE_QUERY, " {\"x\":1} ", "%7B%22x%22%3A1%7D");
}

static void an_absent_optional_argument_leaves_the_whole_out(void **state)
{
	(void)state;
	char out[100];
	assert_int_equal(fill("{d?}", TEMPLATE_QUERY, "{}", out, sizeof out, NULL), TEMPLATE_LEFT_OUT);
	assert_int_equal(fill("{d?}", TEMPLATE_QUERY, "{\"d\":null}", out, sizeof out, NULL), TEMPLATE_LEFT_OUT);
	assert_int_equal(fill("Bearer {d?}", TEMPLATE_HEADER, "{}", out, sizeof out, NULL), TEMPLATE_LEFT_OUT);
	expect("{d?}", TEMPLATE_QUERY, "{\"d\":3}", "3");
	expect_refused("{d}", TEMPLATE_QUERY, "{}", NULL);
	expect_refused("{d}", TEMPLATE_HEADER, "{}", NULL);
	expect("{\"a\":{a?}}", TEMPLATE_BODY, "{}", "{\"a\":null}");
	expect("{\"a\":{a}}", TEMPLATE_BODY, "{\"a\":null}", "{\"a\":null}");
	expect_refused("{\"a\":{a}}", TEMPLATE_BODY, "{}", NULL);
}

static void a_header_takes_text_without_control_characters(void **state)
{
	(void)state;
	expect("v {x}", TEMPLATE_HEADER, "{\"x\":\"a\\tb \\u00e9\"}", "v a\tb \xc3\xa9");
	static const char *const wrong = "holds a line break or another control character";
	expect_refused("{x}", TEMPLATE_HEADER, "{\"x\":\"a\\r\\nEvil: 1\"}", wrong);
	expect_refused("{x}", TEMPLATE_HEADER, "{\"x\":\"a\\n\"}", wrong);
	expect_refused("{x}", TEMPLATE_HEADER, "{\"x\":\"\\u0000\"}", wrong);
	expect_refused("{x}", TEMPLATE_HEADER, "{\"x\":\"\\u007f\"}", wrong);
	expect_refused("{x}", TEMPLATE_HEADER, "{\"x\":{}}", "is an object");
}

static void a_body_splices_raw_values_and_the_whole_object(void **state)
{
	(void)state;
	expect("{arguments}", TEMPLATE_BODY, " {\"n\": 1.10, \"s\":\"\\u0041\"}\n", "{\"n\": 1.10, \"s\":\"\\u0041\"}");
	expect("{\"q\":{q},\"all\":{arguments}}", TEMPLATE_BODY, "{\"q\":\"a\\\"b\"}",
	       "{\"q\":\"a\\\"b\",\"all\":{\"q\":\"a\\\"b\"}}");
}

static void bad_templates_say_what_and_where(void **state)
{
	(void)state;
	expect_bad("forecast", TEMPLATE_PATH, "character 1");
	expect_bad("{city}", TEMPLATE_PATH, "begins with '/'");
	expect_bad("/a b", TEMPLATE_PATH, "character 3: byte 0x20");
	expect_bad("/a/{city", TEMPLATE_PATH, "character 4: a brace");
	expect_bad("/a?x=1", TEMPLATE_PATH, "character 3: '?'");
	expect_bad("/%4", TEMPLATE_PATH, "character 2: byte 0x25");
	expect_bad("/{x?}", TEMPLATE_PATH, "none is optional");
	expect_bad("/{arguments}", TEMPLATE_PATH, "{arguments} is an object");
	expect_bad("{arguments}", TEMPLATE_HEADER, "{arguments} is an object");
	expect_bad("a\r\nb", TEMPLATE_HEADER, "character 2: control character 0x0d");
}

static bool is_json(const char *text)
{
	struct template *template = template_new(text, TEMPLATE_BODY, &error);
	assert_non_null(template);
	bool ok = template_check_json(template, &error);
	template_free(template);
	return ok;
}

static void a_body_template_is_json_with_placeholders_as_whole_values(void **state)
{
	(void)state;
	assert_true(is_json("{\"q\": {q}, \"n\": [{n}, {m?}]}"));
	assert_true(is_json("{arguments}"));
	assert_true(is_json("{q}"));
	assert_false(is_json("{\"q\": \"{q}\"}"));
	assert_non_null(strstr(error_text(&error), "without quotes"));
	assert_false(is_json("{{q}: 1}"));
	assert_false(is_json("{\"a\": 1{q}}"));
	assert_false(is_json("{\"a\": {q}"));
	assert_false(is_json("q={q}"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_placeholder_is_a_name_in_braces_and_all_else_is_text),
		cmocka_unit_test(a_path_encodes_all_but_unreserved_characters),
		cmocka_unit_test(a_path_refuses_values_that_would_change_its_meaning),
		cmocka_unit_test(no_value_makes_a_path_climb_in_any_reading),
		cmocka_unit_test(a_value_is_one_segment_unless_the_template_says_several),
		cmocka_unit_test(a_form_is_encoded_whatever_its_values_hold),
		cmocka_unit_test(a_query_encodes_its_own_text_too_and_takes_objects_as_json),
		cmocka_unit_test(an_absent_optional_argument_leaves_the_whole_out),
		cmocka_unit_test(a_header_takes_text_without_control_characters),
		cmocka_unit_test(a_body_splices_raw_values_and_the_whole_object),
		cmocka_unit_test(bad_templates_say_what_and_where),
		cmocka_unit_test(a_body_template_is_json_with_placeholders_as_whole_values),
	};
	return cmocka_run_group_tests_name("template", tests, NULL, NULL);
}
