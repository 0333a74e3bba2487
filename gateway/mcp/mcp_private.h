/*
 * mcp_private.h: what the files behind mcp.h share.
 *
 *   mcp.c          one POST: what must hold of it, its messages, each to its method
 *   message.c  a message's text into slices
 *   origin.c   CORS, bearer tokens, RFC 9728
 *   headers.c  eras, and the headers that 2026-07-28 mirrors from the body
 *   list_tools.c    initialize, server/discover, tools/list
 *   tools_call.c     tools/call, alone or in an array: calls out, answers home
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

void mcp_error_set(struct mcp_error *error, unsigned status, int code, enum outcome outcome, const char *format, ...)
	PRINTF_LIKE(5, 6);

/* --- result.c --- */

/* Append an error response. id: raw, or empty for null. */
void mcp_reply_error(struct buf *out, struct slice id, const struct mcp_error *error, const char *request_id);
/* Append a response around `result`, one JSON object. Modern: given resultType and serverInfo if it has none; nothing
 * else of it is touched. */
void mcp_reply_result(struct buf *out, struct slice id, enum mcp_era era, struct slice result);
/* Append the response to a tools/call whose call has ended. */
void mcp_reply_call(struct buf *out, struct slice id, enum mcp_era era, const struct call *call,
		    const char *request_id);

/* --- headers.c --- */

enum mcp_era mcp_era_of(const struct request *request, const struct mcp_request *asked);
/* Append what base64 (RFC 4648, 4, with its padding) stands for. False: it is none. */
bool mcp_from_base64(struct slice text, struct buf *out) MUST_CHECK;
/* What 2026-07-28 demands of every request, in its order. False: *error. */
bool mcp_check_modern(const struct request *request, const struct mcp_request *asked,
		      struct mcp_error *error) MUST_CHECK;
/* Mcp-Param-*: the arguments that the schema wants mirrored (x-mcp-header). arguments: an object, or empty. */
bool mcp_check_mirrored(const struct request *request, struct slice schema, struct slice arguments,
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

/* --- list_tools.c --- */

/* Append the response. False: *error. */
void mcp_reply_initialize(struct buf *out, const struct mcp_request *asked);
void mcp_reply_discover(struct buf *out, const struct worker *worker, const struct mcp_request *asked);
bool mcp_reply_tools(struct buf *out, const struct worker *worker, enum mcp_era era, const struct mcp_request *asked,
		     struct mcp_error *error) MUST_CHECK;
/* The tool a tools/call names, or NULL with *error. */
const struct tool *mcp_find_tool(const struct worker *worker, struct slice raw_name, struct mcp_error *error);

/* --- tools_call.c --- */

/* One message of a POST. */
struct mcp_seat {
	struct slice id; /* in exchange->body */
	enum mcp_era era;
	bool silent;        /* gets no response: a notification or a response */
	bool away;          /* its call is not home yet */
	struct slice token; /* for progress, raw, in exchange->body; empty: none is wanted */
	unsigned status;    /* of HTTP, if it is the only one */
	struct call *call;  /* or NULL */
	struct buf text;    /* the response, if no call gives it */
};

/* All messages of one POST. */
struct mcp_exchange {
	struct worker *worker;
	struct request *request;
	struct blob *body;
	bool array;
	bool events;  /* answer as text/event-stream, because the client takes nothing else */
	bool listens; /* the client takes an event stream */
	bool started; /* the stream's head is out: something came before the result */
	size_t away;
	size_t count;
	struct mcp_seat seats[];
};

/* NULL: out of memory. Takes the request's body. */
struct mcp_exchange *mcp_exchange_new(struct worker *worker, struct request *request, size_t count) MUST_CHECK;
void mcp_exchange_free(struct mcp_exchange *exchange);
/* Look the call up and, if need be, send it. asker: as rest.c's. */
void mcp_call_tool(struct mcp_exchange *exchange, struct mcp_seat *seat, const struct mcp_request *asked,
		   const struct asker *asker);
/* All seats have been taken: answer, now or when the last call is home. */
void mcp_exchange_settle(struct mcp_exchange *exchange);

/* --- notifications.c --- */

/* logging/setLevel: the level is checked. False: *error. */
bool mcp_check_level(const struct mcp_request *asked, struct mcp_error *error) MUST_CHECK;
/* What the caller wants to hear of its call: into the seat and call->asks. */
void mcp_note_asks(const struct mcp_exchange *exchange, struct mcp_seat *seat, const struct mcp_request *asked,
		   struct call *call);

/* --- mcp.c --- */

/* What every reply on /mcp has: X-Request-Id and CORS. */
void mcp_reply_init(struct reply *reply, const struct request *request, unsigned status);
/* Reply with a text of ours, which is emptied; `call`: whose headers go with it, or NULL. */
void mcp_reply_text(struct request *request, unsigned status, struct buf *text, const struct call *call);

/* --- subscriptions.c --- */

/* Open a stream. True: the request is its own now. False: *error. */
bool mcp_listen(struct worker *worker, struct request *request, const struct mcp_request *asked,
		struct mcp_error *error) MUST_CHECK;
/* The head of a stream of events; `call`: whose headers go with it, or NULL. */
void mcp_start_events(struct request *request, const struct call *call);
/* One event: `text` is one JSON text. False: memory is out, or the client does not read. */
bool mcp_put_event(struct request *request, struct slice text) MUST_CHECK;

#endif
