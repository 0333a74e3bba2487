/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mcp_exchange.h: calls to an MCP server over HTTP on their way: a call set is what the caller holds, its attempts its HTTP
 * exchanges: one, or one a call where arrays are not taken.
 *
 *   new -> WAITING (no session yet) -> GOING -> each answer delivered as it comes -> completed
 *            |   ^                       |-> the session was lost: repeatable calls wait for the new one, once
 *            v   `-----------------------|
 *     delivered: closed, or too late     `-> the stream broke off with an event id: RESUMING -> GOING (legacy)
 */
#ifndef JITNEY_UPSTREAM_MCP_MCP_EXCHANGE_H
#define JITNEY_UPSTREAM_MCP_MCP_EXCHANGE_H

#include "upstream/mcp/control.h"
#include "upstream/mcp/mcp_route.h"

TAILQ_HEAD(mcp_call_sets, mcp_call_set);

struct mcp_upstream {
	struct upstream base;
	struct upstream_settings inner; /* the settings, for upstream_http */
	struct upstream *http;
	struct transport *transport; /* counts what is held */
	struct meter *meter;
	struct mcp_control control;
	struct mcp_call_sets sets;    /* but for */
	struct mcp_call_sets waiting; /* those in SET_WAITING */
	size_t waiting_count;
	bool arrays_refused; /* by this server: calls go one by one */
};

enum mcp_set_state { SET_WAITING, SET_GOING, SET_RESUMING };

struct mcp_set_item {
	const struct mcp_route *route; /* held: the call may be written again when its tool has gone from the list */
	struct slice arguments;        /* in set->texts */
	bool repeatable;
	struct mcp_asks asks;
	bool delivered;
	bool refused;        /* `held` would go to events->refused */
	struct answer *held; /* until it is known whether the attempt goes on; NULL: none */
};

struct mcp_attempt {
	struct mcp_post post;
	struct mcp_call_set *set;
	struct exchange *exchange; /* NULL: none under way */
	struct answer *refusal;    /* it could not set out: for its calls, from the timer */
	size_t first, count;       /* of the set's items */
	size_t resumes;
	bool array, resuming;
};

struct mcp_call_set {
	struct exchange base; /* what the caller holds */
	struct mcp_upstream *upstream;
	const struct upstream_events *events;
	void *context;
	uint64_t deadline_us;
	uint64_t end_us; /* as far as progress may put the deadline off; deadline_us: it may not */
	uint8_t kind;    /* enum attempt_kind */
	enum mcp_set_state state;
	struct loop_timer timer;
	struct buf texts;       /* arguments, traceparent, tracestate, idempotency key */
	size_t held;            /* bytes of it that are counted */
	struct mcp_trace trace; /* of one that carries a single call, as the key */
	struct slice idempotency_key;
	bool again;      /* it has been sent anew in another session */
	bool extended;   /* progress has put its deadline off */
	bool delivering; /* callbacks run; an abort only marks it */
	bool aborted;
	enum outcome outcome;
	size_t delivered_count, attempt_count, count;
	struct mcp_attempt *attempts; /* room for count */
	TAILQ_ENTRY(mcp_call_set) next;
	struct mcp_set_item items[];
};

/* What an attempt writes, and what it does with messages that are no answers: call_messages.c. */
extern const struct mcp_post_ops mcp_attempt_messages;

/* Between two turns of its life; deadline_us, events and context are the maker's to set. NULL: *refusal says why (memory or
 * limits.in_flight_bytes are out). */
struct mcp_call_set *call_set_new(struct mcp_upstream *upstream, const struct upstream_call *calls, size_t count,
				  struct answer **refusal) MUST_CHECK;
/* Whether one of its calls is to be told of progress. */
bool call_set_asks_progress(const struct mcp_call_set *set);
/* All calls that have no answer set out, in an array if there are several and the server takes them. */
void call_set_go(struct mcp_call_set *set);
/* Until the session is there, or the deadline. */
void call_set_wait(struct mcp_call_set *set);
/* A waiting set will not go: `answer` (taken) is for all its calls. It is gone afterwards. */
void call_set_close(struct mcp_call_set *set, struct answer *answer);
/* Nobody waits any more: end it. Not from within its callbacks. */
void call_set_abort(struct mcp_call_set *set);

/* The server is not open for calls: nothing was sent. Never NULL. */
struct answer *mcp_closed_answer(const struct mcp_upstream *upstream, const char *why);

#endif
