/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dialect_expect.h: what a test of a dialect asserts of the answers it has fed. A test program's own `fed`, which the
 * test gives back (feed_fini). After cmocka.h.
 */
#ifndef JITNEY_TESTS_DIALECT_EXPECT_H
#define JITNEY_TESTS_DIALECT_EXPECT_H

#include <stdio.h>
#include <string.h>

#include "tests/support/dialect_feed.h"

static struct feed fed;

/* Each call has one answer, and nobody else has any. */
static inline void expect_each_once(size_t count)
{
	assert_false(fed.stray);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(fed.emitted[i], 1);
}

static inline void expect_error(size_t index, enum outcome outcome, const char *detail)
{
	assert_int_equal(fed.answers[index]->outcome, outcome);
	if (!strstr(fed.answers[index]->detail, detail))
		fail_msg("\"%s\" is not in \"%s\"", detail, fed.answers[index]->detail);
}

/* A whole answer of JSON. */
static inline void expect_result(size_t index, const char *body)
{
	assert_int_equal(fed.answers[index]->outcome, OUTCOME_OK);
	assert_true(fed.answers[index]->json);
	assert_string_equal(fed.answers[index]->bytes, body);
}

/* Part of an answer, or all. */
static inline void expect(size_t index, enum outcome outcome, const char *body)
{
	char text[2000];
	snprintf(text, sizeof text, "%.*s", SLICE_ARG(answer_body(fed.answers[index])));
	assert_string_equal(text, body);
	assert_int_equal(fed.answers[index]->outcome, outcome);
}

/* As one whole, then byte by byte with the same result; ids begin with 1. */
static inline void answer_both_ways(const struct dialect *dialect, const struct upstream_call *calls, size_t count,
				    unsigned status, const char *type, const char *body)
{
	size_t cuts[4000], len = strlen(body);
	struct feed whole;
	assert_true(len < countof(cuts));
	for (size_t i = 0; i < len; i++)
		cuts[i] = i + 1;
	assert_true(feed_calls(&whole, dialect, calls, count, 1, status, type, slice_of(body), NULL, 0));
	feed_fini(&fed);
	assert_true(feed_calls(&fed, dialect, calls, count, 1, status, type, slice_of(body), cuts, len));
	assert_int_equal(fed.outcome, whole.outcome);
	expect_each_once(count);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(fed.answers[i]->outcome, whole.answers[i]->outcome);
		assert_true(slice_equal(answer_body(fed.answers[i]), answer_body(whole.answers[i])));
	}
	feed_fini(&whole);
}

#endif
