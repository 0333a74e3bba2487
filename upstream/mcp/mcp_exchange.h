/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mcp_exchange.h: calls to an MCP server over HTTP on their way: a ride is what the caller holds, its legs are its HTTP
 * exchanges: one, or one a call where arrays are not taken.
 *
 *   new -> WAITING (no session yet) -> GOING -> each call told as it is answered -> landed
 *            |   ^                       |-> the session was lost: repeatable calls wait for the new one, once
 *            v   `-----------------------|
 *          told: closed, or too late     `-> the stream broke off with an event id: RESUMING -> GOING (legacy)
 */
#ifndef JITNEY_UPSTREAM_MCP_MCP_EXCHANGE_H
#define JITNEY_UPSTREAM_MCP_MCP_EXCHANGE_H

#include "upstream/mcp/control.h"
#include "upstream/mcp/mcp_route.h"

TAILQ_HEAD(ride_list, ride);

struct mcp_upstream {
	struct upstream base;
	struct upstream_settings inner; /* the settings, for upstream_http */
	struct upstream *http;
	struct meter *meter;
	struct mcp_control control;
	struct ride_list rides;   /* but for */
	struct ride_list waiting; /* those in RIDE_WAITING */
	size_t waiting_count;
	bool arrays_refused; /* by this server: calls go one by one */
};

enum ride_state { RIDE_WAITING, RIDE_GOING, RIDE_RESUMING };

struct ride_item {
	const struct mcp_route *route; /* held: the call may be written again when its tool has gone from the list */
	struct slice arguments;        /* in ride->texts */
	bool repeatable;
	struct mcp_asks asks;
	bool told;
	bool refused;        /* `held` would go to events->refused */
	struct answer *held; /* until it is known whether the leg goes on; NULL: none */
};

struct leg {
	struct mcp_post post;
	struct ride *ride;
	struct exchange *trip;  /* NULL: none under way */
	struct answer *refusal; /* it could not set out: for its calls, from the timer */
	size_t first, count;    /* of the ride's items */
	size_t resumes;
	bool array, resuming;
};

struct ride {
	struct exchange base; /* what the caller holds */
	struct mcp_upstream *upstream;
	const struct upstream_events *events;
	void *context;
	uint64_t deadline_us;
	uint64_t end_us; /* as far as progress may put the deadline off; deadline_us: it may not */
	uint8_t kind;    /* enum attempt_kind */
	enum ride_state state;
	struct loop_timer timer;
	struct buf texts; /* arguments, traceparent, idempotency key */
	struct slice traceparent, idempotency_key;
	bool again;    /* it has been sent anew in another session */
	bool extended; /* progress has put its deadline off */
	bool telling;  /* callbacks run; an abort only marks it */
	bool aborted;
	enum outcome outcome;
	size_t told_count, leg_count, count;
	struct leg *legs; /* room for count */
	TAILQ_ENTRY(ride) next;
	struct ride_item items[];
};

/* What a leg writes, and what it does with messages that are no answers: call_messages.c. */
extern const struct mcp_post_ops leg_messages;

/* Between two turns of its life; deadline_us, events and context are the maker's to set. NULL: out of memory. */
struct ride *ride_new(struct mcp_upstream *upstream, const struct upstream_call *calls, size_t count) MUST_CHECK;
/* Whether one of its calls is to be told of progress. */
bool ride_asks_progress(const struct ride *ride);
/* All calls that have no answer set out, in an array if there are several and the server takes them. */
void ride_go(struct ride *ride);
/* Until the session is there, or the deadline. */
void ride_wait(struct ride *ride);
/* A waiting ride will not go: `answer` (taken) is for all its calls. It is gone afterwards. */
void ride_close(struct ride *ride, struct answer *answer);
/* Nobody waits any more: end it. Not from within its callbacks. */
void ride_abort(struct ride *ride);

/* The server is not open for calls: nothing was sent. Never NULL. */
struct answer *ride_closed_answer(const struct mcp_upstream *upstream, const char *why);

#endif
