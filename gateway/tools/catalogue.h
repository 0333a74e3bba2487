/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalogue.h: the tools there are, as of one moment: those of the configuration and those that MCP servers say they
 * have (registry.h). A snapshot, never changed. Each worker has the current one (worker->catalogue; the next one comes
 * by mail, between requests), each call holds the one it found its tool in, and a replaced snapshot is freed when the
 * last call that holds it has ended: so a `struct tool` lives as long as the call, and no call takes a lock.
 */
#ifndef JITNEY_GATEWAY_TOOLS_CATALOGUE_H
#define JITNEY_GATEWAY_TOOLS_CATALOGUE_H

#include <stdint.h>
#include <sys/queue.h>

#include "base/compiler.h"
#include "base/slice.h"
#include "gateway/config/config.h"
#include "gateway/tools/definitions.h"
#include "gateway/tools/mcp_tool_list.h"

struct catalogue;

enum { CATALOGUE_INSTRUCTIONS_BYTES = 16 * 1024 };

/* One upstream's part in a catalogue. */
enum tool_list_state {
	TOOL_LIST_DECLARED, /* its tools are those of the configuration: it is not asked */
	TOOL_LIST_AWAITED,  /* it has not said yet which tools it has */
	TOOL_LIST_KEPT,     /* what it said before the gateway was started: in force until it speaks */
	TOOL_LIST_FRESH,    /* what it said last */
	TOOL_LIST_STALE     /* what it said before it failed to answer: still in force */
};

struct tool_list_status {
	enum tool_list_state state;
	const char *why;    /* but for FRESH: why the last attempt failed; "" if none has */
	uint64_t listed_us; /* monotonic: when it last said which tools it has; 0: never. KEPT: maybe before
					       that clock began; then the difference to now is right all the same */
	size_t tools;       /* in the catalogue */
	const struct refused_tool *refused; /* and not in it, though nobody wished so */
	size_t refused_count;
};

/* The tool of that name, or NULL. */
const struct tool *catalogue_tool(const struct catalogue *catalogue, struct slice name);
/* All of them, by name. */
size_t catalogue_count(const struct catalogue *catalogue);
const struct tool *catalogue_nth(const struct catalogue *catalogue, size_t n);
/* All of them as documents: of one that is in force. */
const struct definitions *catalogue_definitions(const struct catalogue *catalogue);
/* The generation of the configuration it was made for, which it holds: what a tool's `upstream` is an index in. */
const struct generation *catalogue_made_for(const struct catalogue *catalogue);
/* Rises whenever the list that MCP callers see is another one. */
uint64_t catalogue_generation(const struct catalogue *catalogue);
/* What the servers that are listed say of the use of their tools: a JSON string, each behind its upstream's name, in
 * the order of the configuration, CATALOGUE_INSTRUCTIONS_BYTES of text at most; empty: nothing. */
struct slice catalogue_instructions(const struct catalogue *catalogue);
/* What became of an upstream's list. */
struct tool_list_status catalogue_status(const struct catalogue *catalogue, unsigned upstream);

/* --- Who keeps it alive --- */

/* A worker's own count, without an atomic but for its first hold: the worker's thread only, which must see the
 * catalogue kept by somebody (itself, or a reference on its way) until this has returned. */
struct catalogue *catalogue_hold(struct catalogue *catalogue, unsigned worker);
void catalogue_drop(struct catalogue *catalogue, unsigned worker);

/* --- In whose hands it is in force --- */

/* A reference of who reads its documents, now or later: a worker's current one, or one that it is offered. The maker has
 * the first. Any thread. */
struct catalogue *catalogue_enforce(struct catalogue *catalogue);
/* Give it back: another one is in force there. With the last such reference the documents go, which are several times
 * as long as the lists themselves: calls that have begun hold no more than their tools, however many lists come while
 * they last. NULL is allowed. Any thread. */
void catalogue_retire(struct catalogue *catalogue);

/* --- Making one --- */

/* One upstream's share. Borrowed: a catalogue takes references and copies of its own. */
struct catalogue_part {
	struct mcp_tool_list *tool_list; /* NULL: none (yet) */
	enum tool_list_state state;
	const char *why;
	uint64_t listed_us;
	struct slice instructions; /* text; empty: none */
};

/* `parts`: one for each upstream of the configuration, or NULL: all DECLARED. before: the catalogue this one replaces,
 * or NULL. A name that several tools want is a declared one's, else the first upstream's in the configuration.
 * workers: how many hold it. It holds the generation. The reference is one of catalogue_enforce. NULL: out of
 * memory. */
struct catalogue *catalogue_new(const struct generation *generation, unsigned workers,
				const struct catalogue_part *parts, const struct catalogue *before) MUST_CHECK;

/* --- News --- */

/* Somebody on a worker who wants to know when the list that MCP callers see has changed (subscriptions/listen). */
struct catalogue_listener {
	/* worker->catalogue is the new one. May take itself off the list, and nobody else. The worker's thread. */
	void (*changed)(struct catalogue_listener *listener);
	TAILQ_ENTRY(catalogue_listener) next; /* in worker->listeners */
};
TAILQ_HEAD(catalogue_listeners, catalogue_listener);

#endif
