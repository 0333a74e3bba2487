/* SPDX-License-Identifier: Apache-2.0 */
/*
 * await_lists.h: requests that came before the MCP servers behind had said which tools they have. They are put aside
 * and served again when there is news, so that after a start nobody is told that a tool is unknown, or keeps an empty
 * list, because a server was a second slower than its first caller. Worker's thread.
 */
#ifndef JITNEY_GATEWAY_CALL_AWAIT_LISTS_H
#define JITNEY_GATEWAY_CALL_AWAIT_LISTS_H

#include "gateway/call/route.h"

/* What is wanted of the lists. */
struct lists_awaited {
	/* The tool that is called; not in the catalogue. Empty: all lists. */
	struct slice tool;
	uint64_t timeout_us; /* what the caller has left; CLOCK_NEVER: he has said none */
};

/*
 * Put a request aside, if waiting may help: a list is awaited that may hold the tool (until the caller's deadline or
 * the upstream's timeout; where a first attempt to list has failed already, no longer than mcp.await_lists after the
 * start), or any list is awaited (until then). `serve` is called again with the request and a copy of `rest`, once or
 * more, or nothing follows because the client has left. False: go on with what there is.
 */
bool lists_await(struct worker *worker, struct request *request, const struct lists_awaited *awaited,
		 route_function *serve, struct slice rest) MUST_CHECK;

/* Whether a list is awaited that may hold a tool of that name: which upstream's, in *upstream. */
bool lists_may_hold(const struct worker *worker, struct slice tool, unsigned *upstream);
/* Whether no list is awaited. */
bool lists_known(const struct worker *worker);
/* Whether the first lists are all there, or have been waited for long enough. */
bool lists_complete(const struct worker *worker);

/* There is a new catalogue, or the gateway drains: all that wait are served with what there is, by and by. */
void lists_changed(struct worker *worker);
/* Once a turn: serve a few of those that need not wait any more, in the order of coming. */
void lists_serve(struct worker *worker);
/* Whether the loop has to turn again at once. */
bool lists_due(const struct worker *worker);

#endif
