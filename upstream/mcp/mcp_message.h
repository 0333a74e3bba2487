/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mcp_message.h: MCP's messages as bytes, written and taken apart, in both eras of the protocol: "legacy" (2024-11-05
 * to 2025-11-25: initialize first) and "modern" (2026-07-28: every request says in _meta who speaks which version).
 * Knows no transport: HTTP (session.h) and child processes bring their own. Arguments, names and results are
 * spliced as the bytes they came in. Source of the rules: modelcontextprotocol.io, the revisions named.
 */
#ifndef JITNEY_UPSTREAM_MCP_MCP_MESSAGE_H
#define JITNEY_UPSTREAM_MCP_MCP_MESSAGE_H

#include <stdint.h>

#include "base/answer.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "base/json_arriving.h"
#include "base/mcp.h"
#include "base/slice.h"
#include "metrics/catalogue.h"

/*
 * --- Writing: append one message to `out`, without a line end. `id` is ours: an unsigned number, never used twice on
 * one session. Strings marked raw are JSON strings with their quotes. ---
 */

/* version: the newest that the operator allows; NULL: MCP_VERSION_LEGACY. Legacy; the first message. */
void mcp_put_initialize(struct buf *out, uint64_t id, const char *version);
/* Legacy; after the answer to initialize. */
void mcp_put_initialized(struct buf *out);
/* Modern; tells what the server is. */
void mcp_put_discover(struct buf *out, uint64_t id);
/* Whether it is there at all: ping, or in the modern era, which has none, server/discover. */
void mcp_put_ping(struct buf *out, enum mcp_era era, uint64_t id);
/* raw_cursor: empty for the first page, else the nextCursor of the page before. */
void mcp_put_tools_list(struct buf *out, enum mcp_era era, uint64_t id, struct slice raw_cursor);
/* What _meta says of the trace that a call is part of, by MCP's and OpenTelemetry's conventions: W3C's texts. */
struct mcp_trace {
	struct slice parent, state; /* empty: none; no state goes without a parent */
};
/* arguments: one JSON object. asks: a
 * token for progress is `id`; a level is asked of a modern server only, a legacy one has a level for all. */
void mcp_put_tools_call(struct buf *out, enum mcp_era era, uint64_t id, struct slice raw_name, struct slice arguments,
			struct mcp_trace trace, struct mcp_asks asks);
/* Modern over HTTP: a stream of list_changed notifications, which stays open. */
void mcp_put_listen(struct buf *out, uint64_t id);
/* Request `id` of ours is not waited for any more. No answer will come. */
void mcp_put_cancelled(struct buf *out, enum mcp_era era, uint64_t id);
/* The right answer to any request of a server's: ping gets {}, all else MCP_METHOD_NOT_FOUND. We declare no
 * capabilities, so there is nothing else that it may ask. True: it was a ping. */
struct mcp_message;
bool mcp_put_reply(struct buf *out, const struct mcp_message *request);

/* --- Reading --- */

enum { MCP_INSTRUCTIONS_BYTES = 4096 };

enum mcp_kind {
	MCP_RESULT,
	MCP_ERROR,
	MCP_REQUEST, /* the server asks: its id is a number space of its own */
	MCP_NOTIFICATION
};

/* One message; slices of the text, raw; empty: absent. */
struct mcp_message {
	enum mcp_kind kind;
	bool is_rpc_2;       /* it says "jsonrpc": "2.0" */
	struct slice id;     /* of an error it may be null */
	struct slice method; /* with its quotes */
	struct slice params, result, error;
};

/*
 * Take one message apart. `text`: all of it, one JSON object. json_depth: cap on the nesting of results.
 * False: it is none; *fault (static, a phrase) says why. scratch: see json_check.
 */
bool mcp_read(struct slice text, unsigned json_depth, struct json_scratch *scratch, struct mcp_message *message,
	      const char **fault) MUST_CHECK;

/*
 * The same with what has been looked at of it ahead (base/json_arriving.h), which ends with it, for a server that may
 * have cut a character in two: JavaScript's strings can hold half a surrogate pair, and are written with it
 * ("\\ud83d"), which other readers of JSON refuse. Each half becomes U+FFFD; the message's slices then point into
 * `mended`, which is reused from call to call and is the caller's to end.
 */
bool mcp_read_mended(struct slice text, unsigned json_depth, struct json_scratch *scratch, struct json_ahead *ahead,
		     struct buf *mended, struct mcp_message *message, const char **fault) MUST_CHECK;
/* This is the beginning of a message that has not ended; `ahead` has looked at nothing else. */
void mcp_look_ahead(struct json_ahead *ahead, struct slice beginning, unsigned json_depth);

/* Whether the method is this one ("notifications/tools/list_changed"). */
bool mcp_method_is(const struct mcp_message *message, const char *method);
/* The id as a number of ours. False: none that we could have given. */
bool mcp_id(const struct mcp_message *message, uint64_t *id);
/* The id of an answer of which only the first bytes are there, or the last ones up to its end: if it stands before, or
 * behind, all members that are not short texts, as every server known writes it. */
bool mcp_id_at_start(struct slice text, uint64_t *id);
bool mcp_id_at_end(struct slice text, uint64_t *id);
/* Whether what begins so is a request or notification, by a method that stands as the id of an answer would. */
bool mcp_asks_at_start(struct slice text);
/* The id of an answer that cannot be read, if it can be seen nevertheless. */
bool mcp_id_of_broken(struct slice text, uint64_t *id);
/* Whether it is notifications/progress for a request of ours, whose id is its token. */
bool mcp_progress_id(const struct mcp_message *message, uint64_t *id);
/* Append the text of an MCP_ERROR, if it has one. */
void mcp_error_put_text(const struct mcp_message *message, struct buf *out);
/* The code of an MCP_ERROR; 0: it has none that can be read. */
int mcp_error_code(const struct mcp_message *message);
/* Whether a version that we could speak in that era is in an array of raw strings; what is no array has none. */
bool mcp_lists_version(struct slice versions, enum mcp_era era);
/* Replace `text` by the `instructions` of an answer to initialize or server/discover: whole characters, of
 * MCP_INSTRUCTIONS_BYTES at most; empty: it has none. */
void mcp_take_instructions(const struct mcp_message *answer, struct buf *text);
/* A member of a result object; empty if absent or the result is no object. */
struct slice mcp_result_member(const struct mcp_message *message, const char *name);

/*
 * The answer to tools/call from its MCP_RESULT or MCP_ERROR, for REST and MCP callers (answer_mcp). Never NULL.
 * status: the provider's HTTP status, 0 over other transports.
 *
 * A REST caller's body: structuredContent if there is one; else the text, if the content is nothing but text (several
 * are joined by a line feed), as JSON if the only text is JSON, else as text/plain; else the content list.
 *   isError                         TOOL_ERROR, the text as detail, the same body as JSON
 *   resultType "input_required", "task" or unknown: TOOL_ERROR: callers here have no way to go on
 *   error -32602                    INVALID_REQUEST: the server does not know the tool or refuses the arguments
 *   error -32700, -32600, -32601, -32020 to -32022: UPSTREAM_ERROR: it did not understand the request; nothing ran
 *   any other error                 TOOL_ERROR: nobody knows how far the tool came
 *   no object as result             UPSTREAM_ERROR
 */
struct answer *mcp_answer(const struct mcp_message *message, unsigned json_depth, unsigned status);
/* The answer to a call that the server has answered with what cannot be read. NULL: out of memory. */
struct answer *mcp_broken_answer(const char *fault);

#endif
