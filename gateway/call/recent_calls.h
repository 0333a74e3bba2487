/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recent_calls.h: a worker's last calls, for whoever asks why one took so long: two rings of fixed size, one of all and one of
 * those worth a look later (failed, of unknown outcome, slow), which many others do not push out. Its worker adds; any
 * thread copies, a few at a time, and meanwhile a call may go unremembered: the worker waits for nobody.
 */
#ifndef JITNEY_GATEWAY_CALL_RECENT_CALLS_H
#define JITNEY_GATEWAY_CALL_RECENT_CALLS_H

#include "base/compiler.h"
#include "base/outcome.h"
#include "base/slice.h"
#include "batcher/batcher.h"
#include "gateway/http/http.h"

enum {
	RECENT_CALLS = 256,
	NOTABLE_CALLS = 128,
	RECENT_DETAIL_BYTES = 160,
	RECENT_TENANT_BYTES = 48,
	RECENT_SLOW_US = 1000000 /* a call that took longer is worth a look */
};

struct recent_call {
	uint64_t started_us, ended_us; /* of the loops' clock; ended_us 0: nothing stands here; under way: now */
	uint64_t to_wall_us;           /* what that clock lacked of the wall's when the call ended: so its time stays */
	uint64_t look_us;              /* spent on a tier outside the process */
	uint64_t bytes;                /* of the answer */
	uint64_t sent;                 /* call->sent: tells which one it was while it was under way */
	uint64_t number;               /* of its worker's calls: tells two copies of one from two calls */
	struct batch_facts facts;      /* zero: it never left */
	unsigned tool;                 /* its metrics label */
	unsigned status;
	enum outcome outcome;
	unsigned home;     /* under way: its worker */
	bool under_way;    /* it has not ended (under_way.h), and has no status, outcome, bytes and number */
	bool looking;      /* likewise: it looks in a tier outside the process, or waits for another gateway */
	const char *cache; /* how the answer came about: static */
	char request_id[REQUEST_ID_BYTES];
	char tenant[RECENT_TENANT_BYTES]; /* "": not named by a trusted proxy; cut if longer */
	char detail[RECENT_DETAIL_BYTES]; /* "": none; cut if longer */
};

struct recent_calls;

/* NULL when out of memory. */
struct recent_calls *recent_calls_new(void) MUST_CHECK;
void recent_calls_free(struct recent_calls *recent);
/* A place for a call that ended, with what a call before has left in it: to be filled whole, at once, and then kept. Never
 * NULL. The worker's thread. */
struct recent_call *recent_calls_begin(struct recent_calls *recent);
void recent_calls_end(struct recent_calls *recent);
/* Text into one of a call's places, cut to what fits, whole characters only. */
void recent_calls_put(char *to, size_t room, struct slice text);
/* Copy what there is, in no order, without saying any call twice; `to` has room for RECENT_CALLS + NOTABLE_CALLS. Returns how
 * many. Any thread. */
size_t recent_calls_copy(struct recent_calls *recent, struct recent_call *to);

#endif
