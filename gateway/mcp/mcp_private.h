/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mcp_private.h: what the files behind mcp.h share.
 *
 *   mcp.c          one POST: what must hold of it, its messages, each to its method
 *   message.c  a message's text into slices
 *   origin.c   CORS, bearer tokens, RFC 9728
 *   headers.c  eras, and the headers that 2026-07-28 mirrors from the body
 *   tools_list.c    initialize, server/discover, tools/list
 *   tools_call.c     a POST with one message: its call out, its answer home
 *   array.c    a POST with many
 *   result.c    results and errors as JSON-RPC
 *   notifications.c     word of calls under way: progress and log messages
 *   subscriptions.c   subscriptions/listen
 */
#ifndef JITNEY_GATEWAY_MCP_MCP_PRIVATE_H
#define JITNEY_GATEWAY_MCP_MCP_PRIVATE_H

#include "base/mcp.h"
#include "gateway/call/caller.h"
#include "gateway/call/call.h"
#include "gateway/mcp/mcp.h"
#include "gateway/mcp/message.h"
#include "gateway/call/pieces.h"
#include "gateway/call/reply.h"

#define MCP_SERVER_INFO "{\"name\":\"jitney\",\"version\":\"" JITNEY_VERSION "\"}"

enum { MCP_REPLY_BYTES_MAX = 512 << 20 };

/* A JSON-RPC error. */
struct mcp_error {
	unsigned status;      /* of HTTP, if it is all there is to say */
	int code;             /* of base/mcp.h, or an HTTP status where JSON-RPC has no code */
	enum outcome outcome; /* its word is data.code */
	uint32_t retry_after_s;
	struct slice requested; /* UNSUPPORTED_VERSION: what was asked for, raw; else empty */
	char message[ANSWER_DETAIL_BYTES];
};

/* Fill all of it in; the message is cut to what fits. */
void mcp_error_set(struct mcp_error *error, unsigned status, int code, enum outcome outcome, const char *format, ...)
	PRINTF_LIKE(5, 6);

/* --- result.c --- */

/* Append an error response. id: raw, or empty for null. */
void mcp_reply_error(struct buf *out, struct slice id, const struct mcp_error *error, const char *request_id);
/* Append how a response with a result begins, up to the result. */
void mcp_reply_head(struct buf *out, struct slice id);
/* How a result of our own begins: its bracket, and what 2026-07-28 wants in every one; a member follows. Static. */
const char *mcp_own_result(enum mcp_era era);
/* Append a response around `result`, one JSON object. Modern: given resultType and serverInfo if it has none; nothing
 * else of it is touched. */
void mcp_reply_result(struct buf *out, struct slice id, enum mcp_era era, struct slice result);
/* Append the response to a tools/call whose call has ended; what is long of it is noted in `rest`, behind: slices of the
 * call's answer and of static text. */
void mcp_put_call(struct buf *out, struct pieces *rest, struct slice id, enum mcp_era era, const struct call *call,
		  const char *request_id);
/* The same for one of an array, which has no X-Attempts: a result that took several has them in its _meta. */
void mcp_put_call_of_array(struct buf *out, struct pieces *rest, struct slice id, const struct call *call,
			   const char *request_id);

/* --- headers.c --- */

/* By what a request has that only one era has. */
enum mcp_era mcp_era_of(const struct request *request, const struct mcp_request *asked);
/* Append what base64 (RFC 4648, 4, with its padding) stands for. False: it is none. */
bool mcp_from_base64(struct slice text, struct buf *out) MUST_CHECK;
/* What 2026-07-28 demands of every request, in its order. False: *error. */
bool mcp_check_modern(const struct request *request, const struct mcp_request *asked,
		      struct mcp_error *error) MUST_CHECK;
/* Mcp-Param-*: the arguments that the schema wants mirrored (x-mcp-header). arguments: an object, or empty. */
bool mcp_check_param_headers(const struct request *request, struct slice schema, struct slice arguments,
			     struct mcp_error *error) MUST_CHECK;

/* --- origin.c --- */

/* Whether the request may go on without a token, or brings one. */
bool mcp_check_token(const struct worker *worker, const struct request *request) MUST_CHECK;
/* The headers that let a page of an allowed origin read the reply. */
void mcp_put_cors(struct reply *reply, const struct request *request);
/* WWW-Authenticate, for a 401. */
void mcp_put_challenge(struct reply *reply, const struct worker *worker, const struct request *request);
/* OPTIONS. */
void mcp_preflight(struct request *request);

/* --- tools_list.c --- */

/* Append the response. False: *error. worker NULL: without the servers' instructions, of which an array of these would
 * make megabytes. */
void mcp_reply_initialize(struct buf *out, const struct worker *worker, const struct mcp_request *asked);
void mcp_reply_discover(struct buf *out, const struct worker *worker, const struct mcp_request *asked);
/* What is long is noted in `rest`, behind what is appended, and kept there. */
bool mcp_put_tools(struct buf *out, struct pieces *rest, const struct worker *worker, enum mcp_era era,
		   const struct mcp_request *asked, struct mcp_error *error) MUST_CHECK;
/* The most that is appended, beside what is noted. */
enum { MCP_LIST_OUT_BYTES = 1024 };
/* Whether a message in the body asks for what the first lists of the servers behind may have: then the request waits,
 * and is served again (await_lists.h). */
bool mcp_await_lists(struct worker *worker, struct request *request, const struct caller *caller) MUST_CHECK;
/* The tool a tools/call names, or NULL with *error. */
const struct tool *mcp_find_tool(const struct worker *worker, struct slice raw_name, struct mcp_error *error);

/* --- mcp.c: one message --- */

/* A message and what is to become of it. */
struct mcp_message {
	struct worker *worker;
	struct request *request;
	bool in_array;
	struct caller caller; /* of the message: its _meta may bring a trace */
	struct buf *out;      /* for ANSWERED: the response, */
	struct pieces *rest;  /* and what is long of it, behind */
	/* mcp_take_message sets */
	struct mcp_request asked;
	enum mcp_era era;
	unsigned status;         /* ANSWERED: of HTTP, if the response is all there is to say; 0: 200 */
	const struct tool *tool; /* CALLS */
	struct slice arguments;  /* CALLS: an object */
};

enum mcp_taken {
	MCP_SILENT,   /* a notification or a response: nothing is said */
	MCP_ANSWERED, /* `out` and `rest` have the response */
	MCP_CALLS,    /* a call is to be made */
	MCP_LISTS,    /* in an array only: the list of tools is asked for, mcp_put_list writes it */
	MCP_STREAMS   /* not in an array: the request is a subscription's now */
};

/* Read a message (a value that json_check has accepted, trimmed), check all that must hold of it, and serve it if that
 * takes no call. */
enum mcp_taken mcp_take_message(struct mcp_message *message, struct slice text) MUST_CHECK;
/* The response to tools/list. */
void mcp_put_list(struct mcp_message *message);
/* An error is the response; counted. */
void mcp_put_error(struct mcp_message *message, enum reject_reason reason, const struct mcp_error *error);

/* What every reply on /mcp has: X-Request-Id and CORS. */
void mcp_reply_init(struct reply *reply, const struct request *request, unsigned status);
/* Reply with a text of ours, which is emptied; `call`: whose headers go with it, or NULL. */
void mcp_reply_text(struct request *request, unsigned status, struct buf *text, const struct call *call);
/* Whether the client takes a stream of events; and whether it takes nothing else. */
bool mcp_takes_events(const struct request *request);
bool mcp_wants_events(const struct request *request);

/* --- array.c --- */

/* Serve the array of messages that the request's body is (`text`: without the blanks around it), which is taken. */
void mcp_serve_array(struct worker *worker, struct request *request, const struct caller *caller, struct slice text);

/* --- tools_call.c --- */

/* A POST with one message. */
struct mcp_exchange {
	struct worker *worker;
	struct request *request;
	struct blob *body;
	struct slice id; /* in body */
	enum mcp_era era;
	bool events;        /* answer as text/event-stream, because the client takes nothing else */
	bool listens;       /* the client takes an event stream */
	bool started;       /* the stream's head is out: something came before the result */
	struct slice token; /* for progress, raw, in body; empty: none is wanted */
	struct call *call;  /* or NULL */
};

/* Serve the one message that the request's body is, which is taken. */
void mcp_serve_message(struct worker *worker, struct request *request, const struct caller *caller);

/* --- notifications.c --- */

/* logging/setLevel: the level is checked. False: *error. */
bool mcp_check_level(const struct mcp_request *asked, struct mcp_error *error) MUST_CHECK;
/* What the caller wants to hear of its call: into the exchange and call->asks. */
void mcp_ask_notifications(struct mcp_exchange *exchange, const struct mcp_request *asked, struct call *call);

/* --- subscriptions.c --- */

/* Open a stream. True: the request is its own now. False: *error. */
bool mcp_listen(struct worker *worker, struct request *request, const struct mcp_request *asked,
		struct mcp_error *error) MUST_CHECK;
/* The head of a stream of events; `call`: whose headers go with it, or NULL. */
void mcp_start_events(struct request *request, const struct call *call);
/* The headers of such a head. */
void mcp_put_events_head(struct reply *reply);
/* Append an event: `text` is one JSON text. By pieces: these two, and PIECE_EVENT between them. */
void mcp_append_event(struct buf *out, struct slice text);
#define MCP_EVENT_BEGINS "event: message\ndata: "
#define MCP_EVENT_ENDS "\n\n"
/* One event: `text` is one JSON text. False: memory is out, or the client does not read. */
bool mcp_put_event(struct request *request, struct slice text) MUST_CHECK;

#endif
