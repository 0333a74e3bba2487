/* SPDX-License-Identifier: Apache-2.0 */
/* The runs that strings are scanned by, against a loop over the bytes: every byte at every place and alignment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json_chars.h"

enum { ROOM = 70 };

static const char *plain_end_by_bytes(const char *p, const char *end)
{
	while (p < end && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 && *p != '"' && *p != '\\')
		p++;
	return p;
}

static const char *quote_by_bytes(const char *p, const char *end)
{
	while (p < end && *p != '"' && *p != '\\')
		p++;
	return p;
}

static void assert_same_runs(const char *p, const char *end)
{
	assert_ptr_equal(json_plain_end(p, end), plain_end_by_bytes(p, end));
	assert_ptr_equal(json_quote_or_backslash(p, end), quote_by_bytes(p, end));
}

static void a_run_ends_at_the_first_byte_that_is_not_plain(void **state)
{
	(void)state;
	for (size_t len = 0; len <= ROOM; len++) {
		char *text = malloc(len ? len : 1); /* of the exact size, for the sanitizer */
		assert_non_null(text);
		for (size_t at = 0; at < len; at++) {
			for (int byte = 0; byte < 256; byte++) {
				memset(text, byte % 3 ? 'a' : 0x7f, len);
				text[at] = (char)byte;
				assert_same_runs(text + at % 5 * (at >= 5), text + len);
			}
		}
		assert_same_runs(text, text + len);
		free(text);
	}
}

static void runs_of_random_bytes_agree_with_a_plain_loop(void **state)
{
	(void)state;
	unsigned seed = 11;
	char text[ROOM];
	for (int round = 0; round < 20000; round++) {
		for (size_t i = 0; i < sizeof text; i++)
			text[i] = (char)(rand_r(&seed) % 40 ? 0x20 + rand_r(&seed) % 0x60 : rand_r(&seed));
		size_t from = (size_t)rand_r(&seed) % ROOM;
		assert_same_runs(text + from, text + sizeof text);
	}
}

static void every_code_point_survives_writing_and_reading(void **state)
{
	(void)state;
	for (uint32_t code = 0; code <= 0x10FFFF; code++) {
		if (code >= 0xD800 && code <= 0xDFFF)
			continue;
		char spelt[6], escape[13];
		uint32_t again = 0;
		size_t len = json_escape_write(spelt, code);
		assert_in_range(len, 1, 6);
		if (spelt[0] == '\\') {
			assert_int_equal(json_escape_read(spelt, spelt + len, &again), len);
			assert_int_equal(again, code);
		}
		if (code >= 0x10000)
			snprintf(escape, sizeof escape, "\\u%04x\\u%04X", 0xD800 + ((code - 0x10000) >> 10),
				 0xDC00 + (code & 0x3FF));
		else
			snprintf(escape, sizeof escape, "\\u%04X", code);
		assert_int_equal(json_escape_read(escape, escape + strlen(escape), &again), strlen(escape));
		assert_int_equal(again, code);
		/* no part of it is an escape */
		for (size_t cut = 0; cut < strlen(escape); cut++)
			assert_int_equal(json_escape_read(escape, escape + cut, &again), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_run_ends_at_the_first_byte_that_is_not_plain),
		cmocka_unit_test(runs_of_random_bytes_agree_with_a_plain_loop),
		cmocka_unit_test(every_code_point_survives_writing_and_reading),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
