/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A large answer is looked at while it arrives, so that its last byte costs no more than the others. Bytes that have been
 * looked at become worse behind the reader's back: who accepts them has not looked at them again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

#include "base/json_arriving.h"
#include "tests/support/dialect_feed.h"
#include "tests/support/instructions.h"
#include "upstream/dialects/envelope.h"
#include "upstream/dialects/graphql.h"

enum { LARGE = 3 * JSON_AHEAD_BYTES, SMALL = JSON_AHEAD_BYTES / 2, PIECE = 10000 };

/* <before>"aaa...a"<after>, of which the first half is spoiled once three quarters have been fed. Returns the outcome. */
static enum outcome outcome_of(const struct dialect *dialect, const char *type, const char *before, size_t len,
			       const char *after)
{
	struct feed feed = { .count = 1 };
	struct dialect_sink sink = { .answered = feed_answered, .doubted = feed_doubted, .context = &feed };
	struct dialect_decoder *decoder = dialect_decoder_new(dialect, 1, 7, 32, &sink);
	struct buf body = BUF_INIT(1 << 24);
	buf_put_text(&body, before);
	size_t start = body.len;
	for (size_t i = 0; i < len; i++)
		buf_put_char(&body, 'a');
	size_t end = body.len;
	buf_put_text(&body, after);
	assert_true(decoder && !body.failed);
	dialect->head(decoder, 200, slice_of(type), 0);
	for (size_t fed = PIECE; fed < start + len / 4 * 3; fed += PIECE)
		assert_true(dialect->feed(decoder, (struct slice){ body.store->bytes, fed }));
	memset(body.store->bytes + start, '\1', len / 2);
	assert_true(dialect->feed(decoder, (struct slice){ body.store->bytes, end }));
	dialect->finish(decoder, buf_slice(&body));
	enum outcome outcome = feed.answers[0]->outcome;
	dialect->decoder_free(decoder);
	feed_fini(&feed);
	buf_fini(&body);
	return outcome;
}

static const struct {
	const struct dialect *dialect;
	const char *type, *before, *after;
} rows[] = {
	{ &dialect_rest, "application/json", "{\"x\":\"", "\"}" },
	{ &dialect_rest, "", "[\"", "\"]  " },
	{ &dialect_jsonrpc, "application/json", "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":[\"", "\"]}\n" },
	{ &dialect_jsonrpc, "application/json", "[{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":[\"", "\"]} , 1]" },
};

static void large_answers_are_looked_at_as_they_arrive(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		enum outcome large = outcome_of(rows[i].dialect, rows[i].type, rows[i].before, LARGE, rows[i].after);
		enum outcome small = outcome_of(rows[i].dialect, rows[i].type, rows[i].before, SMALL, rows[i].after);
		assert_int_equal(large, OUTCOME_OK);
		if (*rows[i].type) /* what is no JSON is a result where nobody said that it is */
			assert_int_equal(small, OUTCOME_UPSTREAM_ERROR);
	}
}

static void what_comes_last_is_looked_at_too(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		if (!*rows[i].type)
			continue;
		char after[64];
		snprintf(after, sizeof after, "\1%s", rows[i].after);
		assert_int_equal(outcome_of(rows[i].dialect, rows[i].type, rows[i].before, LARGE, after),
				 OUTCOME_UPSTREAM_ERROR);
	}
}

enum { BLANKS = 600 };

struct blanks {
	const struct dialect *dialect;
	size_t piece;
};

static void feed_blanks(const void *context)
{
	static const char nothing[] = "";
	const struct blanks *blanks = context;
	struct feed feed = { .count = 1 };
	struct dialect_sink sink = { .answered = feed_answered, .doubted = feed_doubted, .context = &feed };
	struct dialect_decoder *decoder = dialect_decoder_new(blanks->dialect, 1, 7, 32, &sink);
	char body[BLANKS];
	memset(body, ' ', sizeof body);
	assert_true(decoder);
	blanks->dialect->head(decoder, 200, slice_of("application/json"), 0);
	for (size_t fed = blanks->piece; fed <= BLANKS; fed += blanks->piece)
		assert_true(blanks->dialect->feed(decoder, (struct slice){ body, fed }));
	blanks->dialect->finish(decoder, slice_of(nothing));
	blanks->dialect->decoder_free(decoder);
	feed_fini(&feed);
}

static void check_blanks(const struct dialect *dialect)
{
	const uint64_t whole = count_instructions(feed_blanks, &(struct blanks){ dialect, BLANKS }),
		       pieces = count_instructions(feed_blanks, &(struct blanks){ dialect, BLANKS / 30 });
	if (whole && pieces) /* where they tell something */
		assert_in_range(pieces, 1, 3 * whole);
}

/* A provider's 4 MiB of blanks, each looked at again with each piece of 16 KiB behind it, took 0.8 s of a worker's time. */
static void blanks_before_a_value_are_passed_over_once(void **state)
{
	(void)state;
	struct dialect_error error = { 0 };
	struct envelope_settings settings = { .item = "{arguments}", .answer_framing = "ndjson" };
	envelope_fill(&settings);
	struct dialect *lines = envelope_new(&settings, &error), *graphql = graphql_new(&(struct graphql_settings){ 0 });
	assert_true(lines && graphql);
	check_blanks(lines);
	check_blanks(graphql);
	envelope_free(lines);
	graphql_free(graphql);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(large_answers_are_looked_at_as_they_arrive),
		cmocka_unit_test(what_comes_last_is_looked_at_too),
		cmocka_unit_test(blanks_before_a_value_are_passed_over_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
