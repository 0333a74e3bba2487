/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dialect_fuzz.h: whatever a provider sends, in whatever pieces: each call is answered exactly once, and pieces give
 * what the whole gives. For the fuzz targets of the dialects. The first byte of the input seeds the sizes of the
 * pieces, the second chooses the number of calls (ids begin with 1), the third the status.
 */
#ifndef JITNEY_TESTS_DIALECT_FUZZ_H
#define JITNEY_TESTS_DIALECT_FUZZ_H

#include <stdint.h>

#include "base/json.h"
#include "tests/support/dialect_feed.h"
#include "tests/support/fuzz.h"

enum { FUZZ_MAX_CALLS = 8, FUZZ_HEAD = 3 };

static inline void check_feed(const struct feed *feed)
{
	struct json_fault fault;
	must(!feed->stray);
	for (size_t i = 0; i < feed->count; i++) {
		must(feed->emitted[i] == 1);
		const struct answer *answer = feed->answers[i];
		if (answer->json)
			must(json_check(answer_body(answer), 48, NULL, &fault));
		must(json_utf8(slice_of(answer->detail)));
		must((answer->outcome == OUTCOME_OK) == (answer->detail[0] == '\0'));
	}
}

static inline void must_agree(const struct feed *a, const struct feed *b)
{
	must(a->outcome == b->outcome);
	for (size_t i = 0; i < a->count; i++) {
		must(a->answers[i]->outcome == b->answers[i]->outcome);
		must(slice_equal(answer_body(a->answers[i]), answer_body(b->answers[i])));
	}
}

/* calls: FUZZ_MAX_CALLS of them, which the decoder is told to expect; NULL: nothing. */
static inline void fuzz_dialect(const struct dialect *dialect, const struct upstream_call *calls, const uint8_t *data,
				size_t size)
{
	static const unsigned statuses[] = { 200, 200, 200, 200, 400, 429, 500, 503 };
	enum { CUTS = 64 };
	if (size < FUZZ_HEAD)
		return;
	uint32_t seed = data[0];
	size_t count = 1 + data[1] % FUZZ_MAX_CALLS, cuts[CUTS], cut_count = 0;
	unsigned status = statuses[data[2] % countof(statuses)];
	struct slice body = { (const char *)data + FUZZ_HEAD, size - FUZZ_HEAD };
	for (size_t at = 0; at <= body.len && cut_count < CUTS; at += 1 + (seed >> 16) % 16) {
		cuts[cut_count++] = at;
		seed = seed * 1103515245 + 12345;
	}
	struct feed whole, pieces;
	must(feed_calls(&whole, dialect, calls, count, 1, status, NULL, body, NULL, 0));
	must(feed_calls(&pieces, dialect, calls, count, 1, status, NULL, body, cuts, cut_count));
	check_feed(&whole);
	check_feed(&pieces);
	must_agree(&whole, &pieces);
	feed_fini(&whole);
	feed_fini(&pieces);
}

#endif
