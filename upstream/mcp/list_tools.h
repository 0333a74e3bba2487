/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list_tools.h: a server's tools, gathered page by page from its answers to tools/list: one JSON array of the Tool
 * objects, bytes as they came, less those that no caller could use. Bounded in pages, tools and bytes.
 */
#ifndef JITNEY_UPSTREAM_MCP_LIST_TOOLS_H
#define JITNEY_UPSTREAM_MCP_LIST_TOOLS_H

#include "base/buf.h"
#include "base/compiler.h"
#include "base/slice.h"
#include "upstream/mcp/mcp_message.h"

enum { MCP_PAGES_MAX = 500, MCP_TOOLS_MAX = 10000, MCP_LIST_WHY_BYTES = 200 };

/* A list that is coming in page by page. */
struct mcp_tools {
	struct buf list;    /* "[{...},{...}", then "]" */
	struct buf cursor;  /* raw, of the next page; empty: none */
	struct buf earlier; /* raw, of page 2, 3, 5, 9, ...: who goes round in circles comes by the last of them again */
	bool param_headers; /* drop tools whose x-mcp-header annotations are invalid: modern, over HTTP */
	size_t count, pages, dropped;
	uint64_t ttl_ms;              /* the smallest of the pages; UINT64_MAX: none said */
	const char *why_dropped;      /* the last one: static, a phrase */
	char why[MCP_LIST_WHY_BYTES]; /* MCP_PAGE_BAD: what is wrong, for people; the server's own words if it has any */
};

/* How long after a complete list the next one is asked for, if nobody says that it has changed; UINT64_MAX: never.
 * refresh_us: how old it may become, 0: as old as it likes; ttl_ms: what the server says of that. */
uint64_t mcp_list_refresh_us(uint64_t refresh_us, uint64_t ttl_ms);
/* The same after one that has failed, so often in a row, >= 1. */
uint64_t mcp_list_retry_us(uint64_t refresh_us, unsigned failures);

/*
 * When a list is asked for because the server says that it has changed: soon, since somebody may wait for the new tool,
 * and once for a burst of such words; but a server that says so all the time is asked less and less often.
 */
struct mcp_list_limiter {
	uint64_t asked_us; /* when it was asked so last; 0: never */
	uint64_t gap_us;   /* not again before that has passed */
};
/* When to ask, if the word comes now. */
uint64_t mcp_list_limiter_due(const struct mcp_list_limiter *limiter, uint64_t now_us);
/* It is asked now, for that reason. */
void mcp_list_limiter_asked(struct mcp_list_limiter *limiter, uint64_t now_us);

/* An empty list, of so many bytes at most. param_headers: arguments may be asked for as headers (param_headers.h). */
void mcp_tools_init(struct mcp_tools *tools, size_t max_bytes, bool param_headers);
void mcp_tools_fini(struct mcp_tools *tools);

enum mcp_page {
	MCP_PAGE_LAST, /* the list is complete: mcp_tools_list */
	MCP_PAGE_MORE, /* ask for the page at tools->cursor */
	MCP_PAGE_BAD   /* give it up: tools->why says what is wrong */
};
/* One answer to tools/list. Tools without a name, and those that can only be called as tasks, are left out. */
enum mcp_page mcp_tools_take(struct mcp_tools *tools, const struct mcp_message *answer);

/* The list, after MCP_PAGE_LAST; valid until mcp_tools_fini. */
struct slice mcp_tools_list(const struct mcp_tools *tools);

#endif
