/* SPDX-License-Identifier: Apache-2.0 */
/* When a list is asked for again, and how many pages it has. What else it may be is for test_mcp_message.c and the fuzzers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

#include "base/clock.h"
#include "upstream/mcp/list_tools.h"

/* How often a server that says list_changed every `every_us` is asked in `span_us`. */
static unsigned count_lists(struct mcp_list_limiter *limiter, uint64_t from_us, uint64_t span_us, uint64_t every_us)
{
	unsigned lists = 0;
	uint64_t due_us = CLOCK_NEVER;
	for (uint64_t now_us = from_us; now_us < from_us + span_us; now_us += every_us) {
		if (now_us >= due_us) {
			mcp_list_limiter_asked(limiter, due_us);
			due_us = CLOCK_NEVER;
			lists++;
		}
		if (due_us == CLOCK_NEVER)
			due_us = mcp_list_limiter_due(limiter, now_us);
	}
	return lists;
}

static void a_change_is_asked_for_soon_and_a_storm_seldom(void **state)
{
	(void)state;
	struct mcp_list_limiter limiter = { 0 };
	uint64_t now_us = 100 * CLOCK_US_PER_S;
	assert_int_equal(mcp_list_limiter_due(&limiter, now_us), now_us + 100 * CLOCK_US_PER_MS);
	assert_in_range(count_lists(&limiter, now_us, 60 * CLOCK_US_PER_S, 10 * CLOCK_US_PER_MS), 5, 14);
	assert_in_range(count_lists(&limiter, now_us + 60 * CLOCK_US_PER_S, 600 * CLOCK_US_PER_S, 10 * CLOCK_US_PER_MS),
			50, 61);
	now_us += 720 * CLOCK_US_PER_S; /* it has been calm for a minute */
	assert_int_equal(mcp_list_limiter_due(&limiter, now_us), now_us + 100 * CLOCK_US_PER_MS);
	mcp_list_limiter_asked(&limiter, now_us);
	assert_int_equal(mcp_list_limiter_due(&limiter, now_us + CLOCK_US_PER_S), now_us + 1100 * CLOCK_US_PER_MS);
}

/* Each change is a list that calls under way hold: a word a second is a storm, too. */
static void a_word_a_second_is_a_storm(void **state)
{
	(void)state;
	struct mcp_list_limiter limiter = { 0 };
	unsigned first = count_lists(&limiter, CLOCK_US_PER_S, 60 * CLOCK_US_PER_S, 1200 * CLOCK_US_PER_MS);
	assert_in_range(first, 5, 14);
	assert_in_range(count_lists(&limiter, 61 * CLOCK_US_PER_S, 600 * CLOCK_US_PER_S, 1200 * CLOCK_US_PER_MS), 40,
			61);
}

/* Somebody who adds a tool every ten seconds sees each at once. */
static void changes_now_and_then_are_seen_at_once(void **state)
{
	(void)state;
	struct mcp_list_limiter limiter = { 0 };
	for (uint64_t now_us = CLOCK_US_PER_S; now_us < 600 * CLOCK_US_PER_S; now_us += 10 * CLOCK_US_PER_S) {
		uint64_t due_us = mcp_list_limiter_due(&limiter, now_us);
		assert_int_equal(due_us, now_us + 100 * CLOCK_US_PER_MS);
		mcp_list_limiter_asked(&limiter, due_us);
	}
}

/* How many pages are asked for of a list whose page `last` leads to page `back`; 0: the end of a list comes there. */
static unsigned count_pages(unsigned last, unsigned back, enum mcp_page *how)
{
	struct mcp_tools tools;
	struct json_scratch scratch = { 0 };
	unsigned pages = 0, page = 1;
	mcp_tools_init(&tools, 1 << 20, false);
	do {
		char text[200], next[40] = "";
		const char *fault;
		struct mcp_message message;
		page = page < last ? page + 1 : back;
		if (page)
			snprintf(next, sizeof next, ",\"nextCursor\":\"%u\"", page);
		snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"tools\":[]%s}}", next);
		assert_true(mcp_read(slice_of(text), 8, &scratch, &message, &fault));
		*how = mcp_tools_take(&tools, &message);
		pages++;
	} while (*how == MCP_PAGE_MORE);
	mcp_tools_fini(&tools);
	json_scratch_fini(&scratch);
	return pages;
}

static void a_list_that_goes_round_in_circles_ends(void **state)
{
	(void)state;
	enum mcp_page how;
	for (unsigned last = 2; last < 40; last++)
		for (unsigned back = 2; back <= last; back++) {
			assert_in_range(count_pages(last, back, &how), last, 4 * last);
			assert_int_equal(how, MCP_PAGE_BAD);
		}
	assert_int_equal(count_pages(MCP_PAGES_MAX, 0, &how), MCP_PAGES_MAX);
	assert_int_equal(how, MCP_PAGE_LAST);
	assert_int_equal(count_pages(MCP_PAGES_MAX + 1, 0, &how), MCP_PAGES_MAX);
	assert_int_equal(how, MCP_PAGE_BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_change_is_asked_for_soon_and_a_storm_seldom),
		cmocka_unit_test(a_word_a_second_is_a_storm),
		cmocka_unit_test(changes_now_and_then_are_seen_at_once),
		cmocka_unit_test(a_list_that_goes_round_in_circles_ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
