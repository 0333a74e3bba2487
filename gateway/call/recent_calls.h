/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recent_calls.h: a worker's last calls, for whoever asks why one took so long: two rings of fixed size, one of all and one of
 * those worth a look later (failed, of unknown outcome, slow), which many others do not push out. Its worker adds; any
 * thread copies. The lock is the worker's alone but for the moments of a copy, some 20 us.
 */
#ifndef JITNEY_GATEWAY_CALL_RECENT_CALLS_H
#define JITNEY_GATEWAY_CALL_RECENT_CALLS_H

#include "gateway/call/call.h"
#include "gateway/http/http.h"

enum {
	RECENT_CALLS = 256,
	NOTABLE_CALLS = 128,
	RECENT_DETAIL_BYTES = 160,
	RECENT_TENANT_BYTES = 48,
	RECENT_SLOW_US = 1000000 /* a call that took longer is worth a look */
};

struct recent_call {
	uint64_t started_us, ended_us; /* of the loops' clock; ended_us 0: nothing stands here */
	uint64_t look_us;              /* spent on a tier outside the process */
	uint64_t bytes;                /* of the answer */
	uint64_t number;               /* of its worker's calls: tells two copies of one from two calls */
	struct batch_facts facts;      /* zero: it never left */
	unsigned tool;                 /* its metrics label */
	unsigned status;
	enum outcome outcome;
	enum call_source source;
	char request_id[REQUEST_ID_BYTES];
	char tenant[RECENT_TENANT_BYTES];  /* "": not named by a trusted proxy; cut if longer */
	char detail[RECENT_DETAIL_BYTES];  /* "": none; cut if longer */
};

struct recent_calls;

/* NULL when out of memory. */
struct recent_calls *recent_calls_new(void) MUST_CHECK;
void recent_calls_free(struct recent_calls *recent);
/* A call that ended, as its caller saw it: with its answer, or, of a caller who has left, without (OUTCOME_CANCELLED). The
 * worker's thread. */
void recent_calls_add(struct recent_calls *recent, const struct call *call, const struct request *request,
		      unsigned status, uint64_t bytes, uint64_t now_us);
/* Copy what there is, in no order, without saying any call twice; `to` has room for RECENT_CALLS + NOTABLE_CALLS. Returns how
 * many. Any thread. */
size_t recent_calls_copy(struct recent_calls *recent, struct recent_call *to);

#endif
