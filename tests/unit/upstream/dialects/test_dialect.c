/* SPDX-License-Identifier: Apache-2.0 */
/* What dialects share: the constants of a route in a call's arguments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/support/alloc_fail.h"
#include "upstream/dialects/dialect.h"

static void expect(const char *constants, const char *arguments, const char *expected)
{
	struct buf out = BUF_INIT(4096);
	dialect_put_arguments(&out, constants, slice_of(arguments));
	assert_string_equal(buf_cstr(&out), expected);
	buf_fini(&out);
}

static void without_constants_arguments_go_as_they_came(void **state)
{
	(void)state;
	expect(NULL, "{ \"a\" : 1.0 }", "{ \"a\" : 1.0 }");
	expect("{}", "{ \"a\" : 1.0 }", "{ \"a\" : 1.0 }");
}

static void constants_come_first_and_cannot_be_overridden(void **state)
{
	(void)state;
	expect("{\"a\":1}", "{}", "{\"a\":1}");
	expect("{\"a\":1}", "{\"b\":2.50}", "{\"a\":1,\"b\":2.50}");
	expect("{\"a\":1,\"c\":[]}", "{\"a\":2,\"b\":{\"a\":3},\"c\":4}", "{\"a\":1,\"c\":[],\"b\":{\"a\":3}}");
	expect("{\"a\":1}", "{\"\\u0061\":2}", "{\"a\":1}");
	expect("{\"\\u0061\":1}", "{\"a\":2}", "{\"\\u0061\":1}");
}

static void without_memory_no_argument_slips_past_a_constant(void **state)
{
	(void)state;
	struct buf out = BUF_INIT(4096);
	buf_put_char(&out, 'x'); /* its memory is there */
	alloc_fail_at(1);
	dialect_put_arguments(&out, "{\"a\":1}", SLICE("{\"a\":2}"));
	alloc_reset();
	assert_string_equal(buf_cstr(&out), "x{\"a\":1}");
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_constants_arguments_go_as_they_came),
		cmocka_unit_test(constants_come_first_and_cannot_be_overridden),
		cmocka_unit_test(without_memory_no_argument_slips_past_a_constant),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
