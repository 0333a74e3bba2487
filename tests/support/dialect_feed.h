/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dialect_feed.h: feeds an answer's bytes to a dialect by hand, in any fragments, and keeps what it emits. For the
 * tests of the dialects and their fuzz target.
 */
#ifndef JITNEY_TESTS_DIALECT_FEED_H
#define JITNEY_TESTS_DIALECT_FEED_H

#include <stdlib.h>

#include "upstream/dialects/dialect.h"

enum { FEED_MAX_CALLS = 64 };

/* What stands in place of what a provider said of several calls at once. */
#define FEED_NOT_SHOWN "\"not shown: it may be about another call of the same request\""

struct feed {
	struct answer *answers[FEED_MAX_CALLS];
	unsigned emitted[FEED_MAX_CALLS]; /* how often: each index exactly once is right */
	size_t count;
	bool stray; /* an index out of range */
	bool doubted[FEED_MAX_CALLS];
	enum outcome outcome;
};

/* A number below `below`, the same ones in each run (Marsaglia 2003: xorshift). */
static inline uint32_t feed_pick(uint32_t below)
{
	static uint32_t seed = 20261121;
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed % below;
}

static inline void feed_answered(void *context, size_t index, struct answer *answer)
{
	struct feed *feed = context;
	if (index >= feed->count) {
		feed->stray = true;
		answer_unref(answer);
		return;
	}
	feed->emitted[index]++;
	answer_unref(feed->answers[index]);
	feed->answers[index] = answer;
}

static inline void feed_doubted(void *context, size_t index, struct answer *answer)
{
	struct feed *feed = context;
	if (index < feed->count)
		feed->doubted[index] = true;
	feed_answered(context, index, answer);
}

static inline void feed_fini(struct feed *feed)
{
	for (size_t i = 0; i < feed->count; i++)
		answer_unref(feed->answers[i]);
	*feed = (struct feed){ .count = 0 };
}

/* The whole life of a decoder. calls: what it is told to expect; NULL: nothing. cuts[i]: ends of fragments, ascending.
 * Every fragment is fed from a copy of exactly its size at an address of its own, as a growing buffer would have it.
 * False: out of memory. */
static inline bool feed_calls(struct feed *feed, const struct dialect *dialect, const struct upstream_call *calls,
			      size_t count, uint64_t first_id, unsigned status, const char *type, struct slice body,
			      const size_t *cuts, size_t cut_count)
{
	struct dialect_sink sink = { .answered = feed_answered, .doubted = feed_doubted, .context = feed };
	*feed = (struct feed){ .count = count };
	struct dialect_decoder *decoder = dialect_decoder_new(dialect, count, first_id, 32, &sink);
	if (!decoder)
		return false;
	if (calls && dialect->expect)
		dialect->expect(decoder, calls);
	dialect->head(decoder, status, (struct slice){ type, type ? strlen(type) : 0 }, status == 429 ? 7 : 0);
	bool more = true;
	for (size_t i = 0; more && i < cut_count; i++) {
		char *copy = malloc(cuts[i] + 1);
		if (!copy)
			continue;
		memcpy(copy, body.at, cuts[i]);
		more = dialect->feed(decoder, (struct slice){ copy, cuts[i] });
		free(copy);
	}
	feed->outcome = dialect->finish(decoder, body);
	dialect->decoder_free(decoder);
	return true;
}

static inline bool feed_run(struct feed *feed, const struct dialect *dialect, size_t count, uint64_t first_id,
			    unsigned status, const char *type, struct slice body, const size_t *cuts, size_t cut_count)
{
	return feed_calls(feed, dialect, NULL, count, first_id, status, type, body, cuts, cut_count);
}

#endif
