/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_upstream.h: stands in for upstream/upstream.h's upstream_new, _free, _watch, _send and _abort, and takes any
 * URL. It keeps every exchange until the test answers its calls, in any order, and completes it. A test program that lists
 * fake_upstream.c among its sources gets these instead of the archive's.
 */
#ifndef TESTS_SUPPORT_FAKE_UPSTREAM_H
#define TESTS_SUPPORT_FAKE_UPSTREAM_H

#include <stdint.h>

#include "upstream/upstream.h"

struct fake_call {
	struct slice arguments; /* borrowed from the caller of upstream_send */
	struct slice echo;      /* a copy: the call may be forgotten while it travels */
	bool repeatable;
	bool answered;
};

/* One exchange under way. */
struct exchange {
	struct exchange *next; /* in order of sending */
	struct fake_call *calls;
	size_t count;
	size_t answered;
	uint64_t deadline_us;
	const struct upstream_events *events;
	void *context;
	bool unsent; /* set by the test: upstream_sent is false */
};

/* Everything back to the start: nothing may be under way. */
void fake_reset(void);
/* Called with each exchange as it is sent; NULL: none. */
void fake_on_send(void (*on_send)(const struct exchange *exchange));
/* The next `count` sends are refused with an answer of this outcome. */
void fake_refuse(size_t count, enum outcome outcome);

/* Who watches the tools of the upstream with this metrics index (below 64); NULL: nobody. */
const struct upstream_watcher *fake_watcher(unsigned label);

/* Of the upstream made last. */
struct retry_budget *fake_retry_budget(void);
size_t fake_sent(void); /* exchanges sent since the reset */
size_t fake_refused(void);
size_t fake_aborted(void);
size_t fake_under_way(void);
/* The nth under way, 0 the oldest; NULL if there are fewer. */
struct exchange *fake_nth(size_t n);

/* Answer a call, the reference is taken; once each. */
void fake_answer(struct exchange *exchange, size_t index, struct answer *answer);
/* Answer a call with its own arguments. */
void fake_echo(struct exchange *exchange, size_t index);
/* The provider refuses the whole exchange with this status (0: it hangs up): repeatable calls that have no answer are
 * handed back, the others fail; then it completes. */
void fake_refuse_whole(struct exchange *exchange, unsigned status, uint32_t retry_after_s);
/* Likewise, but each call by itself and with its own arguments in the refusal and in its detail, as an MCP server without
 * arrays does. */
void fake_refuse_each(struct exchange *exchange, unsigned status, uint32_t retry_after_s);
/* All calls must be answered. */
void fake_complete(struct exchange *exchange, enum outcome outcome);
/* Echo what is unanswered, in order, and complete. */
void fake_finish(struct exchange *exchange);

#endif
