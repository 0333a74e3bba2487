/* SPDX-License-Identifier: Apache-2.0 */
/* Event streams: every form that servers send, in every fragmentation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/alloc_fail.h"
#include "tests/support/instructions.h"
#include "upstream/mcp/sse.h"

/* All events' data, each with a | behind it; "!" for too large. */
static struct buf delivered = BUF_INIT(10000);
static struct sse sse;

static bool take(struct slice text, bool last)
{
	struct slice data;
	enum sse_step step;
	while ((step = sse_next(&sse, text, last, &data)) == SSE_DATA) {
		buf_put(&delivered, data);
		buf_put_char(&delivered, '|');
	}
	return step == SSE_MORE;
}

/* Feed `text` cut in two at every place, and byte by byte with what was read taken away. */
static void expect_in_all_pieces(const char *text, const char *events)
{
	size_t len = strlen(text);
	for (size_t cut = 0; cut <= len; cut++) {
		char *part = malloc(cut + 1);
		assert_non_null(part);
		memcpy(part, text, cut);
		sse_init(&sse, 1000);
		buf_reset(&delivered);
		assert_true(take((struct slice){ part, cut }, false));
		free(part);
		assert_true(take((struct slice){ text, len }, true));
		assert_string_equal(buf_cstr(&delivered), events);
		sse_fini(&sse);
	}
	sse_init(&sse, 1000);
	buf_reset(&delivered);
	size_t from = 0;
	for (size_t end = 0; end <= len; end++) {
		assert_true(take((struct slice){ text + from, end - from }, end == len));
		size_t gone = sse.at;
		sse_dropped(&sse, gone);
		from += gone;
	}
	assert_string_equal(buf_cstr(&delivered), events);
	sse_fini(&sse);
}

static void events_are_found_in_every_fragmentation(void **state)
{
	(void)state;
	expect_in_all_pieces("data: a\n\ndata: b\n\n", "a|b|");
	expect_in_all_pieces("event: message\r\ndata: a\r\n\r\ndata:b\r\n\r\n", "a|b|");
	expect_in_all_pieces("data: a\r\rdata: b\r\r", "a|b|");
	expect_in_all_pieces("data: {\"a\":\ndata: 1}\n\n", "{\"a\":\n1}|");
	expect_in_all_pieces(": hello\n\n:\n\ndata:  two blanks\n\n", " two blanks|");
	expect_in_all_pieces("\xef\xbb\xbf"
			     "data: a\n\n",
			     "a|");
	expect_in_all_pieces("data\n\ndata: \n\ndata: x\n\n", "x|");
	expect_in_all_pieces("nonsense\nfoo: bar\ndata: x\n\n", "x|");
	expect_in_all_pieces("", "");
	expect_in_all_pieces("data: not ended", "not ended|");
	expect_in_all_pieces("data: not ended\n", "not ended|");
}

static void a_priming_event_sets_the_id_and_says_nothing(void **state)
{
	(void)state;
	expect_in_all_pieces("id: 7-a\nretry: 500\ndata:\n\n", "");
	sse_init(&sse, 1000);
	assert_true(take(SLICE("id: 7-a\nretry: 500\ndata:\n\nid: 8\ndata: x\n\nretry: soon\n\n"), false));
	assert_int_equal(sse.id_len, 1);
	assert_memory_equal(sse.id, "8", 1);
	assert_int_equal(sse.retry_ms, 500);
	sse_fini(&sse);
	sse_init(&sse, 1000);
	assert_true(take(SLICE("data: x\n\n"), false));
	assert_int_equal(sse.id_len, 0);
	assert_true(sse.retry_ms == UINT64_MAX);
	sse_fini(&sse);
}

static void an_event_over_the_cap_ends_the_stream(void **state)
{
	(void)state;
	static const char large[] = "data: 0123456789\n\ndata: x\n\n", endless[] = "data: 0123456789";
	sse_init(&sse, 8);
	assert_false(take(slice_of(large), false));
	assert_false(take(slice_of(large), false));
	sse_fini(&sse);
	sse_init(&sse, 8);
	assert_false(take(slice_of(endless), false));
	sse_fini(&sse);
}

static void without_memory_it_says_so(void **state)
{
	static const char *const texts[] = { "data: x\ndata: y\n\n", "data: x\n" };
	(void)state;
	for (size_t i = 0; i < countof(texts); i++) {
		sse_init(&sse, 1000);
		alloc_fail_at(1);
		assert_false(take(slice_of(texts[i]), false));
		alloc_reset();
		sse_fini(&sse);
	}
}

/* It may be as long as an answer. */
static void a_lone_line_is_where_it_came(void **state)
{
	static const char text[] = ": x\nid: 1\ndata: one\n\ndata: two\r\n\r\n";
	struct slice data;
	(void)state;
	sse_init(&sse, 1000);
	alloc_fail_at(1); /* no memory is asked for */
	assert_int_equal(sse_next(&sse, slice_of(text), false, &data), SSE_DATA);
	assert_ptr_equal(data.at, strstr(text, "one"));
	assert_int_equal(sse_next(&sse, slice_of(text), false, &data), SSE_DATA);
	assert_ptr_equal(data.at, strstr(text, "two"));
	assert_int_equal(data.len, 3);
	assert_int_equal(sse_next(&sse, slice_of(text), false, &data), SSE_MORE);
	alloc_reset();
	sse_fini(&sse);
}

static void what_there_is_of_a_lone_line_is_known_before_its_end(void **state)
{
	(void)state;
	static const struct {
		const char *text, *under_way;
	} rows[] = {
		{ "data: {\"a\":", "{\"a\":" },
		{ "id: 7\ndata:{", "{" },
		{ "data: a\n\ndata: b", "b" },
		{ "data: a\ndata: b", "" },
		{ "data: a\n", "" },
		{ "data:", "" },
		{ "id: 77", "" },
		{ "", "" },
	};
	for (size_t i = 0; i < countof(rows); i++) {
		struct slice text = slice_of(rows[i].text);
		sse_init(&sse, 1000);
		assert_true(take(text, false));
		assert_true(slice_equal(sse_under_way(&sse, text), slice_of(rows[i].under_way)));
		sse_fini(&sse);
	}
	buf_reset(&delivered);
}

struct stream {
	char text[16500];
	size_t len;
};

static void read_stream(const void *context)
{
	const struct stream *stream = context;
	sse_init(&sse, sizeof stream->text);
	take((struct slice){ stream->text, stream->len }, false);
	sse_fini(&sse);
}

/* So many lines that are empty and end with \r, and so many bytes behind them that end no line. */
static uint64_t count_stream(size_t lines, size_t behind)
{
	static struct stream stream;
	stream.len = lines + behind;
	assert_true(stream.len <= sizeof stream.text);
	memset(stream.text, '\r', lines);
	memset(stream.text + lines, ':', behind);
	return count_instructions(read_stream, &stream);
}

/* A server's megabytes of \r, each with a search for a \n in all the others behind it, held a worker for seconds. */
static void lines_that_end_with_cr_cost_no_more_for_what_is_behind_them(void **state)
{
	(void)state;
	const uint64_t both = count_stream(500, 16000), lines = count_stream(500, 0), behind = count_stream(0, 16000);
	if (!both || !lines || !behind)
		skip(); /* not where they tell something */
	assert_in_range(both, 1, 2 * (lines + behind));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(events_are_found_in_every_fragmentation),
		cmocka_unit_test(a_priming_event_sets_the_id_and_says_nothing),
		cmocka_unit_test(an_event_over_the_cap_ends_the_stream),
		cmocka_unit_test(without_memory_it_says_so),
		cmocka_unit_test(a_lone_line_is_where_it_came),
		cmocka_unit_test(what_there_is_of_a_lone_line_is_known_before_its_end),
		cmocka_unit_test(lines_that_end_with_cr_cost_no_more_for_what_is_behind_them),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	buf_fini(&delivered);
	return failed;
}
