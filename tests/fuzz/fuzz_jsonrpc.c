/*
 * Whatever a provider sends, in whatever pieces: each call is answered exactly once, and pieces give what the whole
 * gives. The first byte seeds the sizes of the pieces, the second chooses the number of calls (ids begin with 1), the
 * third the status.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/json.h"
#include "tests/support/dialect_feed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_feed(const struct feed *feed)
{
	struct json_fault fault;
	must(!feed->stray);
	for (size_t i = 0; i < feed->count; i++) {
		must(feed->emitted[i] == 1);
		const struct answer *answer = feed->answers[i];
		if (answer->json)
			must(json_check(answer_body(answer), 34, NULL, &fault));
		must(json_utf8(slice_of(answer->detail)));
		must((answer->outcome == OUTCOME_OK) == (answer->detail[0] == '\0'));
	}
}

static void must_agree(const struct feed *a, const struct feed *b)
{
	must(a->outcome == b->outcome);
	for (size_t i = 0; i < a->count; i++) {
		must(a->answers[i]->outcome == b->answers[i]->outcome);
		must(slice_equal(answer_body(a->answers[i]), answer_body(b->answers[i])));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned statuses[] = { 200, 200, 200, 200, 400, 429, 500, 503 };
	enum { CUTS = 64 };
	if (size < 3)
		return 0;
	uint32_t seed = data[0];
	size_t count = 1 + data[1] % 8, cuts[CUTS], cut_count = 0;
	unsigned status = statuses[data[2] % countof(statuses)];
	struct slice body = { (const char *)data + 3, size - 3 };
	for (size_t at = 0; at <= body.len && cut_count < CUTS; at += 1 + (seed >> 16) % 16) {
		cuts[cut_count++] = at;
		seed = seed * 1103515245 + 12345;
	}
	struct feed whole, pieces;
	must(feed_run(&whole, &dialect_jsonrpc, count, 1, status, NULL, body, NULL, 0));
	must(feed_run(&pieces, &dialect_jsonrpc, count, 1, status, NULL, body, cuts, cut_count));
	check_feed(&whole);
	check_feed(&pieces);
	must_agree(&whole, &pieces);
	feed_fini(&whole);
	feed_fini(&pieces);
	return 0;
}
