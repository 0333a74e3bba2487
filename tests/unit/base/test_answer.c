/* SPDX-License-Identifier: Apache-2.0 */
/* Answers: made once, shared, never changed; there is always one, even without memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/answer.h"
#include "base/utf8.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/valgrind.h"

static bool is_utf8(const char *text)
{
	for (size_t left = strlen(text), step; left > 0; left -= step, text += step)
		if ((step = utf8_char(text, left)) == 0)
			return false;
	return true;
}

static void a_result_keeps_its_bytes(void **state)
{
	(void)state;
	char body[] = "{\"n\":1.10}";
	struct answer *answer = answer_result(slice_of(body), true, NULL);
	body[2] = 'x';
	assert_int_equal(answer->outcome, OUTCOME_OK);
	assert_true(slice_equal(answer_body(answer), SLICE("{\"n\":1.10}")));
	assert_true(answer->json);
	assert_string_equal(answer->content_type, "application/json");
	assert_string_equal(answer->detail, "");
	assert_int_equal(answer->retry_after_s, 0);
	answer_unref(answer);
}

static void a_content_type_is_kept_or_replaced_when_too_long(void **state)
{
	(void)state;
	char type[ANSWER_TYPE_BYTES + 1];
	memset(type, 'a', sizeof type);
	type[ANSWER_TYPE_BYTES - 1] = '\0';
	struct answer *longest = answer_result(SLICE("x"), false, type);
	assert_string_equal(longest->content_type, type);
	answer_unref(longest);
	type[ANSWER_TYPE_BYTES - 1] = 'a';
	type[ANSWER_TYPE_BYTES] = '\0';
	struct answer *too_long = answer_result(SLICE("x"), false, type);
	assert_string_equal(too_long->content_type, "application/octet-stream");
	answer_unref(too_long);
}

static void an_upstream_error_carries_what_the_provider_said(void **state)
{
	(void)state;
	struct answer *answer =
		answer_upstream_error(OUTCOME_TOOL_ERROR, 422, 7, SLICE("{\"code\":5}"), "%s said %d", "search", 422);
	assert_int_equal(answer->outcome, OUTCOME_TOOL_ERROR);
	assert_int_equal(answer->upstream_status, 422);
	assert_int_equal(answer->retry_after_s, 7);
	assert_true(answer->json);
	assert_true(slice_equal(answer_body(answer), SLICE("{\"code\":5}")));
	assert_string_equal(answer->detail, "search said 422");
	answer_unref(answer);
	answer = answer_upstream_error(OUTCOME_UPSTREAM_ERROR, 500, 0, (struct slice){ NULL, 0 }, "failed");
	assert_false(answer->json);
	assert_int_equal(answer_body(answer).len, 0);
	answer_unref(answer);
}

/* `fill` bytes of ASCII, then characters of each length, far beyond the end. */
static void check_cut(const char *character, size_t fill)
{
	char text[2 * ANSWER_DETAIL_BYTES + 1] = "";
	size_t step = strlen(character), at = fill;
	memset(text, 'a', fill);
	for (; at + step < sizeof text; at += step)
		memcpy(text + at, character, step + 1);
	struct answer *answer = answer_error(OUTCOME_INTERNAL, "%s", text);
	size_t len = strlen(answer->detail);
	assert_true(is_utf8(answer->detail));
	assert_memory_equal(answer->detail, text, len);
	/* nothing more would have fitted */
	assert_true(len < ANSWER_DETAIL_BYTES && len + step >= ANSWER_DETAIL_BYTES);
	answer_unref(answer);
}

static void a_long_detail_is_cut_at_a_characters_border(void **state)
{
	(void)state;
	static const char *const characters[] = { "z", "\u00e4", "\u20ac", "\U0001F68C" };
	for (size_t i = 0; i < countof(characters); i++)
		for (size_t fill = 0; fill < ANSWER_DETAIL_BYTES; fill++)
			check_cut(characters[i], fill);
}

static void a_detail_that_just_fits_is_kept(void **state)
{
	(void)state;
	char text[ANSWER_DETAIL_BYTES];
	memset(text, 'a', sizeof text);
	memcpy(text + sizeof text - 4, "\u20ac", 4);
	struct answer *answer = answer_error(OUTCOME_INTERNAL, "%s", text);
	assert_string_equal(answer->detail, text);
	answer_unref(answer);
}

static void bytes_that_are_no_text_do_not_run_the_cut_out_of_the_detail(void **state)
{
	(void)state;
	char text[2 * ANSWER_DETAIL_BYTES];
	for (int byte = 1; byte < 256; byte++) {
		memset(text, byte, sizeof text);
		text[sizeof text - 1] = '\0';
		struct answer *answer = answer_error(OUTCOME_INTERNAL, "%s", text);
		assert_true(strlen(answer->detail) >= ANSWER_DETAIL_BYTES - 5);
		assert_true(is_utf8(answer->detail));
		answer_unref(answer);
	}
}

static void a_text_that_others_cut_in_a_character_becomes_text(void **state)
{
	(void)state;
	struct answer *answer = answer_error(OUTCOME_INTERNAL, "type (%.*s) \xff.", 5, "\"ab\u20ac");
	assert_string_equal(answer->detail, "type (\"ab?"
					    "?) ?.");
	answer_unref(answer);
}

static void without_memory_an_error_is_still_an_answer(void **state)
{
	(void)state;
	alloc_fail_at(1);
	struct answer *answer = answer_error(OUTCOME_INTERNAL, "detail");
	alloc_fail_at(1);
	struct answer *other = answer_upstream_error(OUTCOME_TOOL_ERROR, 500, 0, SLICE("{}"), "detail");
	alloc_reset();
	assert_ptr_equal(answer, other);
	assert_int_equal(answer->outcome, OUTCOME_OVERLOADED);
	assert_true(answer->retry_after_s > 0);
	assert_int_not_equal(answer->detail[0], '\0');
	assert_int_equal(answer_body(answer).len, 0);
	assert_int_equal(answer->bytes[0], '\0');
	answer_unref(answer_ref(answer));
	answer_unref(answer);
	answer_unref(other);
	assert_int_equal(answer->outcome, OUTCOME_OVERLOADED); /* not freed */
}

static void without_memory_there_is_no_result(void **state)
{
	(void)state;
	alloc_fail_at(1);
	assert_null(answer_result(SLICE("{}"), true, NULL));
	alloc_reset();
	answer_unref(NULL);
}

static void a_body_length_that_would_wrap_is_refused(void **state)
{
	(void)state;
	assert_null(answer_result((struct slice){ "x", SIZE_MAX - 8 }, false, NULL));
}

static void *share_and_drop(void *context)
{
	struct answer *answer = context;
	for (int i = 0; i < 10000; i++)
		answer_unref(answer_ref(answer));
	answer_unref(answer);
	return NULL;
}

static void many_threads_share_one_answer(void **state)
{
	(void)state;
	enum { THREADS = 4 };
	pthread_t threads[THREADS];
	struct answer *answer = answer_result(SLICE("{}"), true, NULL);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, share_and_drop, answer_ref(answer)), 0);
	answer_unref(answer);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static void an_mcp_answer_keeps_a_body_within_the_result_once(void **state)
{
	(void)state;
	const char *text = "{\"content\":[],\"structuredContent\":{\"n\":1}}";
	struct slice full = slice_of(text), body = { strstr(text, "{\"n\""), 7 };
	struct answer *answer = answer_mcp(OUTCOME_OK, full, body, true, NULL, "%s", "");
	assert_true(slice_equal(answer_full(answer), full));
	assert_true(slice_equal(answer_body(answer), body));
	assert_int_equal(answer_held_bytes(answer), full.len + 1);
	assert_string_equal(answer->content_type, "application/json");
	answer_unref(answer);
}

static void an_mcp_answer_keeps_a_body_of_its_own_behind_the_result(void **state)
{
	(void)state;
	struct slice full = SLICE("{\"content\":[{\"type\":\"text\",\"text\":\"a\\nb\"}]}");
	struct answer *answer = answer_mcp(OUTCOME_OK, full, SLICE("a\nb"), false, "text/plain", "it said %d", 1);
	assert_true(slice_equal(answer_full(answer), full));
	assert_true(slice_equal(answer_body(answer), SLICE("a\nb")));
	assert_int_equal(answer_held_bytes(answer), full.len + 3 + 1);
	assert_string_equal(answer->content_type, "text/plain");
	assert_string_equal(answer->detail, "it said 1");
	answer_unref(answer);
}

static void an_answer_that_is_no_mcp_result_has_no_full_form(void **state)
{
	(void)state;
	struct answer *answer = answer_result(SLICE("[1]"), true, NULL);
	assert_int_equal(answer_full(answer).len, 0);
	assert_int_equal(answer_held_bytes(answer), 4);
	answer_unref(answer);
}

/* Whether the kernel has been asked for huge pages at this place; true where it knows none. */
static bool is_wanted_huge(const void *place)
{
	char line[512];
	bool within = false, wanted = false, known = false;
	FILE *file = fopen("/proc/self/smaps", "r");
	while (file && fgets(line, sizeof line, file)) {
		uintptr_t begin, end;
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &begin, &end) == 2)
			within = (uintptr_t)place >= begin && (uintptr_t)place < end;
		known |= strncmp(line, "THPeligible:", 12) == 0;
		wanted |= within && strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " hg");
	}
	if (file)
		fclose(file);
	return wanted || !known;
}

/* A page fault is a microsecond or two of a loop's turn, and 32 MiB would be 8,192 of them. */
static void a_large_answer_asks_for_huge_pages(void **state)
{
	enum { BYTES = 16 << 20 };
	char *text = malloc(BYTES);
	(void)state;
	assert_non_null(text);
	memset(text, 'x', BYTES);
	text[0] = text[BYTES - 1] = '"';
	const struct slice raw = { text, BYTES };
	struct answer *answer = answer_mcp_text(raw, raw, NULL);
	assert_int_equal(answer->body_len, BYTES - 2);
	if (heap_is_own()) /* others copy what is only made shorter */
		assert_true(is_wanted_huge(answer->bytes + BYTES));
	answer_unref(answer);
	free(text);
}

/* A copy of 15 MiB is 15 ms of a turn on a busy machine. */
static void a_result_that_is_nearly_all_of_a_store_stays_in_it(void **state)
{
	enum { BYTES = 2 << 20, BEFORE = 40 };
	(void)state;
	struct blob *store = blob_alloc(BYTES);
	assert_non_null(store);
	memset(store->bytes, 'x', BYTES);
	const struct slice body = { store->bytes + BEFORE, BYTES - BEFORE - 1 };
	struct answer *answer = answer_result_in(store, body, true, NULL), *copied = answer_result(body, true, NULL);
	assert_int_equal(atomic_load(&store->refs), 2);
	blob_unref(store);
	assert_ptr_equal(answer_body(answer).at, body.at);
	assert_int_equal(answer_body(answer).len, body.len);
	assert_int_equal(answer_full(answer).len, 0);
	assert_int_equal(answer_held_bytes(answer), answer_held_bytes(copied));
	assert_true(answer_tag(answer) == answer_tag(copied));
	assert_string_equal(answer->content_type, "application/json");
	assert_true(answer->json && answer->outcome == OUTCOME_OK);
	assert_true(slice_equal(answer_body(answer), answer_body(copied)));
	answer_unref(copied);
	answer_unref(answer);
}

/* What holds much else would keep that too. */
static void a_result_that_is_small_or_but_a_part_of_a_store_is_copied(void **state)
{
	enum { BYTES = 2 << 20 };
	(void)state;
	struct blob *large = blob_alloc(BYTES), *small = blob_alloc(1000);
	assert_true(large && small);
	memset(large->bytes, 'x', BYTES);
	memset(small->bytes, 'x', 1000);
	const struct {
		struct blob *store;
		size_t len;
	} cases[] = { { large, BYTES - BYTES / 15 }, { small, 1000 }, { NULL, BYTES } };
	for (size_t i = 0; i < countof(cases); i++) {
		const struct slice body = { cases[i].store ? cases[i].store->bytes : large->bytes, cases[i].len };
		struct answer *answer = answer_result_in(cases[i].store, body, false, "text/plain");
		assert_ptr_not_equal(answer_body(answer).at, body.at);
		assert_true(slice_equal(answer_body(answer), body));
		assert_string_equal(answer->content_type, "text/plain");
		answer_unref(answer);
		assert_int_equal(atomic_load(&large->refs), 1);
	}
	blob_unref(large);
	blob_unref(small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_result_that_is_nearly_all_of_a_store_stays_in_it),
		cmocka_unit_test(a_result_that_is_small_or_but_a_part_of_a_store_is_copied),
		cmocka_unit_test(a_result_keeps_its_bytes),
		cmocka_unit_test(a_content_type_is_kept_or_replaced_when_too_long),
		cmocka_unit_test(an_upstream_error_carries_what_the_provider_said),
		cmocka_unit_test(a_long_detail_is_cut_at_a_characters_border),
		cmocka_unit_test(a_detail_that_just_fits_is_kept),
		cmocka_unit_test(bytes_that_are_no_text_do_not_run_the_cut_out_of_the_detail),
		cmocka_unit_test(a_text_that_others_cut_in_a_character_becomes_text),
		cmocka_unit_test(without_memory_an_error_is_still_an_answer),
		cmocka_unit_test(without_memory_there_is_no_result),
		cmocka_unit_test(a_body_length_that_would_wrap_is_refused),
		cmocka_unit_test(an_mcp_answer_keeps_a_body_within_the_result_once),
		cmocka_unit_test(an_mcp_answer_keeps_a_body_of_its_own_behind_the_result),
		cmocka_unit_test(an_answer_that_is_no_mcp_result_has_no_full_form),
		cmocka_unit_test(a_large_answer_asks_for_huge_pages),
		cmocka_unit_test(many_threads_share_one_answer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
