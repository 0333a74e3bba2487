/* SPDX-License-Identifier: Apache-2.0 */
/* Which of a server's tools callers see, and what they are called. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "gateway/tools/tool_names.h"

static void globs_match_whole_names(void **state)
{
	(void)state;
	static const struct {
		const char *glob, *text;
		bool matches;
	} table[] = {
		{ "read", "read", true },
		{ "read", "reads", false },
		{ "read", "rea", false },
		{ "read_*", "read_file", true },
		{ "read_*", "read_", true },
		{ "read_*", "write_file", false },
		{ "*", "", true },
		{ "*", "anything", true },
		{ "", "", true },
		{ "", "a", false },
		{ "*_file", "read_file", true },
		{ "*a*b", "xxaxxaxb", true },
		{ "*a*b", "xxaxxaxbc", false },
		{ "r?ad", "read", true },
		{ "r?ad", "rad", false },
		{ "??", "a", false },
		{ "a**b", "ab", true },
		{ "[ab]", "a", false },
	};
	for (size_t i = 0; i < countof(table); i++)
		if (glob_matches(table[i].glob, slice_of(table[i].text)) != table[i].matches)
			fail_msg("%s against %s", table[i].glob, table[i].text);
}

static void a_glob_full_of_stars_ends_in_good_time(void **state)
{
	(void)state;
	char text[4096];
	memset(text, 'a', sizeof text);
	assert_false(glob_matches("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", (struct slice){ text, sizeof text }));
}

static void deny_wins_over_allow(void **state)
{
	(void)state;
	static const char *const allow[] = { "read_*", "list" }, *const deny[] = { "*_secret" };
	struct exposure exposure = { 0 };
	assert_true(exposure_shows(&exposure, SLICE("anything")));
	exposure.only_allowed = true; /* expose: { allow: [] } */
	assert_false(exposure_shows(&exposure, SLICE("anything")));
	exposure.allow = allow;
	exposure.allow_count = countof(allow);
	exposure.deny = deny;
	exposure.deny_count = countof(deny);
	assert_true(exposure_shows(&exposure, SLICE("read_file")));
	assert_true(exposure_shows(&exposure, SLICE("list")));
	assert_false(exposure_shows(&exposure, SLICE("write_file")));
	assert_false(exposure_shows(&exposure, SLICE("read_secret")));
}

static void expect_name(enum tool_name_rules names, const char *remote, const char *expected)
{
	struct upstream_config upstream = { .settings.name = "files", .exposure.names = names };
	struct buf out = BUF_INIT(1000);
	exposure_put_name(&out, &upstream, slice_of(remote));
	assert_string_equal(buf_cstr(&out), expected);
	buf_fini(&out);
}

static void names_are_prefixed_or_plain_and_fit_everybody(void **state)
{
	(void)state;
	expect_name(NAMES_PREFIXED, "read", "files__read");
	expect_name(NAMES_PLAIN, "read-File_2", "read-File_2");
	expect_name(NAMES_PLAIN, "fs.read file/\xc3\xa9", "fs_read_file___");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(globs_match_whole_names),
		cmocka_unit_test(a_glob_full_of_stars_ends_in_good_time),
		cmocka_unit_test(deny_wins_over_allow),
		cmocka_unit_test(names_are_prefixed_or_plain_and_fit_everybody),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
