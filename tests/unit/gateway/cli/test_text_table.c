/* SPDX-License-Identifier: Apache-2.0 */
/* test_text_table.c: what fits, what is cut, what is cleaned, and how numbers are written. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "gateway/cli/text_table.h"
#include "tests/support/alloc_fail.h"

static const struct text_column columns[] = {
	{ "NAME", true, 0 },
	{ "COUNT", false, 0 },
	{ "TIME", false, 2 },
	{ "WHY", true, 1 },
};

static void add(struct text_table *table, const char *name, double count, double us, const char *why)
{
	struct text_row *row = text_table_add(table);
	assert_non_null(row);
	text_cell_put(&row->cells[0], slice_of(name));
	text_cell_number(&row->cells[1], count);
	text_cell_time(&row->cells[2], us);
	text_cell_put(&row->cells[3], slice_of(why));
}

static void expect_text(const struct text_table *table, int width, const char *expected)
{
	struct buf out = BUF_INIT(65536);
	text_table_put(table, width, &out);
	assert_string_equal(buf_cstr(&out), expected);
	buf_fini(&out);
}

static void columns_leave_by_rank_where_there_is_no_room(void **state)
{
	struct text_table table = { 0 };
	(void)state;
	text_table_begin(&table, columns, countof(columns));
	add(&table, "search", 12345678, 1500, "connection refused by the peer");
	add(&table, "f", 7, 20, "");
	expect_text(&table, 0,
		    "NAME    COUNT   TIME  WHY\n"
		    "search  12.3M  1.5ms  connection refused by the peer\n"
		    "f           7   20us  \n");
	expect_text(&table, 48,
		    "NAME    COUNT   TIME  WHY\n"
		    "search  12.3M  1.5ms  connection refused by the \n"
		    "f           7   20us  \n");
	expect_text(&table, 42, "NAME    COUNT  WHY\nsearch  12.3M  connection refused by the p\nf           7  \n");
	expect_text(&table, 20, "NAME    COUNT\nsearch  12.3M\nf           7\n");
	text_table_fini(&table);
}

static void rows_are_sorted_by_what_they_mean(void **state)
{
	struct text_table table = { 0 };
	(void)state;
	text_table_begin(&table, columns, countof(columns));
	add(&table, "b", 5, 1e6, "");
	add(&table, "A", 1000, 900, "x");
	add(&table, "c", 5, 2e3, "y");
	text_table_sort(&table, 1, false);
	assert_string_equal(table.rows[0].cells[0].text, "A");
	assert_string_equal(table.rows[1].cells[0].text, "b"); /* alike: by name */
	text_table_sort(&table, 2, true);
	assert_string_equal(table.rows[0].cells[2].text, "900us");
	text_table_sort(&table, 0, false);
	assert_string_equal(table.rows[2].cells[0].text, "c");
	text_cell_none(&table.rows[0].cells[1]);
	text_table_sort(&table, 1, false);
	assert_string_equal(table.rows[2].cells[1].text, "-");
	assert_true(text_row_has(&table, &table.rows[0], ""));
	assert_false(text_row_has(&table, &table.rows[1], "900")); /* numbers are not looked at */
	text_table_fini(&table);
}

static void nothing_steers_a_terminal(void **state)
{
	struct text_cell cell;
	(void)state;
	text_cell_put(&cell, SLICE("a\x1b[31m\tb\r\n\x7f\xc2\x9b\xff\0z"));
	assert_string_equal(cell.text, "a?[31m?b??"
				       "????z");
	text_cell_put(&cell, SLICE("a\xe2\x80\xae"
				   "b\xef\xbb\xbf"
				   "c\xf3\xa0\x81\xa1"));
	assert_string_equal(cell.text, "a?b?c?");
	text_cell_put(&cell, SLICE("gr\xc3\xbc\xc3\x9f \xe4\xb8\xad"));
	assert_string_equal(cell.text, "gr\xc3\xbc\xc3\x9f \xe4\xb8\xad");
	assert_int_equal(text_width(cell.text), 7);
	assert_int_equal(text_fit(cell.text, 6), 7); /* half of a wide character is none */
}

static void a_long_text_is_cut_between_characters(void **state)
{
	struct text_cell cell;
	char text[2 * TEXT_CELL_BYTES];
	(void)state;
	for (size_t i = 0; i < sizeof text; i += 2)
		memcpy(text + i, "\xc3\xbc", 2);
	text_cell_put(&cell, (struct slice){ text, sizeof text });
	assert_int_equal(strlen(cell.text), (TEXT_CELL_BYTES - 1) / 2 * 2);
	assert_int_equal(text_width(cell.text), (TEXT_CELL_BYTES - 1) / 2);
}

static void numbers_are_short(void **state)
{
	static const struct {
		void (*write)(struct text_cell *cell, double value);
		double value;
		const char *text;
	} cases[] = {
		{ text_cell_number, 0, "0" },          { text_cell_number, 7, "7" },
		{ text_cell_number, 7.256, "7.26" },   { text_cell_number, 80.12, "80.1" },
		{ text_cell_number, 9999, "9999" },    { text_cell_number, 10000, "10.0k" },
		{ text_cell_number, 999960, "1000k" }, { text_cell_number, 1.5e12, "1500G" },
		{ text_cell_time, 0, "0us" },          { text_cell_time, 999, "999us" },
		{ text_cell_time, 1000, "1.0ms" },     { text_cell_time, 9.96e3, "10ms" },
		{ text_cell_time, 2.5e6, "2.5s" },     { text_cell_time, 599e6, "599s" },
		{ text_cell_time, 1500e6, "25m" },     { text_cell_time, 90000e6, "25h" },
		{ text_cell_bytes, 512, "512 B" },     { text_cell_bytes, 1536, "1.5 KiB" },
		{ text_cell_share, 0, "0%" },          { text_cell_share, 0.0123, "1.2%" },
		{ text_cell_share, 0.456, "46%" },     { text_cell_share, 1, "100%" },
	};
	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct text_cell cell;
		cases[i].write(&cell, cases[i].value);
		assert_string_equal(cell.text, cases[i].text);
	}
}

static void without_memory_rows_are_missing_and_it_says_so(void **state)
{
	struct text_table table = { 0 };
	(void)state;
	text_table_begin(&table, columns, countof(columns));
	alloc_fail_at(1);
	assert_null(text_table_add(&table));
	alloc_reset();
	assert_true(table.failed);
	text_table_fini(&table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(columns_leave_by_rank_where_there_is_no_room),
		cmocka_unit_test(rows_are_sorted_by_what_they_mean),
		cmocka_unit_test(nothing_steers_a_terminal),
		cmocka_unit_test(a_long_text_is_cut_between_characters),
		cmocka_unit_test(numbers_are_short),
		cmocka_unit_test(without_memory_rows_are_missing_and_it_says_so),
	};
	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
