/* SPDX-License-Identifier: Apache-2.0 */
/* mcp.c: /mcp: what must hold of a request, and its messages, each to its method. */
#include "gateway/mcp/mcp.h"

#include <strings.h>

#include "base/json.h"
#include "gateway/mcp/mcp_private.h"
#include "gateway/call/front.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"

/* ---------------------------------------------------------------- replies */

void mcp_reply_init(struct reply *reply, const struct request *request, unsigned status)
{
	reply_init(reply, status);
	reply_header_text(reply, "X-Request-Id", slice_of(request->id));
	mcp_put_cors(reply, request);
}

void mcp_reply_text(struct request *request, unsigned status, struct buf *text, const struct call *call)
{
	struct reply reply UNCLEARED;
	mcp_reply_init(&reply, request, status);
	if (call)
		reply_put_call(&reply, call);
	if (status != 202) {
		reply_send_text(request, &reply, "application/json", text);
		return;
	}
	buf_fini(text);
	request_reply(request, &reply);
}

static int code_of(enum outcome outcome)
{
	switch (outcome) {
	case OUTCOME_INVALID_JSON:
		return MCP_PARSE_ERROR;
	case OUTCOME_UNAUTHORIZED:
	case OUTCOME_FORBIDDEN:
	case OUTCOME_PAYLOAD_TOO_LARGE:
	case OUTCOME_OVERLOADED:
	case OUTCOME_DEADLINE_EXCEEDED:
	case OUTCOME_SHUTTING_DOWN:
		return (int)outcome_status(outcome); /* JSON-RPC has no code for it */
	default:
		return MCP_INVALID_REQUEST;
	}
}

/* The whole request is refused with one error, its id null. */
static void refuse_as_jsonrpc(struct worker *worker, struct request *request, enum outcome outcome, const char *detail)
{
	struct buf text = BUF_INIT(MCP_REPLY_BYTES_MAX);
	struct mcp_error error;
	struct reply reply UNCLEARED;
	mcp_error_set(&error, outcome_status(outcome), code_of(outcome), outcome, "%s", detail);
	if (error.status == 503)
		error.retry_after_s = 1;
	mcp_reply_error(&text, (struct slice){ NULL, 0 }, &error, request->id);
	mcp_reply_init(&reply, request, error.status);
	if (error.status == 405)
		reply_header_text(&reply, "Allow", SLICE("POST, OPTIONS"));
	if (error.status == 401)
		mcp_put_challenge(&reply, worker, request);
	if (error.retry_after_s)
		reply_header(&reply, "Retry-After", "%u", error.retry_after_s);
	reply_send_text(request, &reply, "application/json", &text);
}

const struct wire wire_mcp = { refuse_as_jsonrpc };

/* ---------------------------------------------------------------- messages */

void mcp_put_error(struct mcp_message *message, enum reject_reason reason, const struct mcp_error *error)
{
	meter_add(worker_meter(message->worker), METRIC_ID_REJECTED, reason, 0, 1);
	message->status = error->status;
	mcp_reply_error(message->out, message->asked.id, error, message->request->id);
}

static enum mcp_taken answer_error_now(struct mcp_message *message, const struct mcp_error *error)
{
	mcp_put_error(message, REJECT_BAD_REQUEST, error);
	return MCP_ANSWERED;
}

static enum mcp_taken refuse_method(struct mcp_message *message)
{
	struct mcp_error error;
	mcp_error_set(&error, message->era == MCP_MODERN ? 404 : 200, MCP_METHOD_NOT_FOUND, OUTCOME_NOT_FOUND,
		      "Method not found: %.*s.", SLICE_ARG(message->asked.raw_method));
	return answer_error_now(message, &error);
}

static bool is_of_era(enum mcp_method method, enum mcp_era era)
{
	switch (method) {
	case MCP_METHOD_TOOLS_LIST:
	case MCP_METHOD_TOOLS_CALL:
		return true;
	case MCP_METHOD_INITIALIZE:
	case MCP_METHOD_PING:
	case MCP_METHOD_SET_LEVEL:
		return era == MCP_LEGACY;
	case MCP_METHOD_DISCOVER:
	case MCP_METHOD_LISTEN:
		return era == MCP_MODERN;
	default:
		return false;
	}
}

/* The arguments that the call gets: absent and null are none. */
static bool take_arguments(struct mcp_message *message, struct mcp_error *error)
{
	struct slice *arguments = &message->arguments;
	*arguments = message->asked.arguments;
	if (arguments->len == 0 || json_type(*arguments) == JSON_NULL)
		*arguments = SLICE("{}");
	if (json_type(*arguments) == JSON_OBJECT)
		return true;
	mcp_error_set(error, 200, MCP_INVALID_PARAMS, OUTCOME_INVALID_REQUEST, "params.arguments must be an object.");
	return false;
}

/* What a string says, if it says it without escapes, which W3C's texts have no need of; else empty. */
static struct slice plain_text(struct slice raw)
{
	bool plain = raw.len > 2 && json_type(raw) == JSON_STRING && !memchr(raw.at, '\\', raw.len);
	return plain ? (struct slice){ raw.at + 1, raw.len - 2 } : (struct slice){ NULL, 0 };
}

/* The W3C trace that _meta brings is the message's own; a header's is that of the request which carries it, a link. */
static void take_trace(struct mcp_message *message)
{
	struct slice own = caller_traceparent(plain_text(message->asked.traceparent));
	if (!own.len)
		return;
	message->caller.linked = message->caller.traceparent;
	message->caller.traceparent = own;
	message->caller.tracestate = caller_tracestate(plain_text(message->asked.tracestate));
}

static enum mcp_taken take_call(struct mcp_message *message)
{
	struct mcp_error error UNCLEARED;
	message->tool = mcp_find_tool(message->worker, message->asked.name, &error);
	if (!message->tool) {
		mcp_put_error(message,
			      error.outcome == OUTCOME_UNKNOWN_TOOL           ? REJECT_UNKNOWN_TOOL
			      : error.outcome == OUTCOME_UPSTREAM_UNAVAILABLE ? REJECT_LIST_AWAITED
									      : REJECT_BAD_REQUEST,
			      &error);
		return MCP_ANSWERED;
	}
	if (!take_arguments(message, &error) ||
	    (message->era == MCP_MODERN &&
	     !mcp_check_param_headers(message->request, slice_of(message->tool->input_schema), message->arguments,
				      &error)))
		return answer_error_now(message, &error);
	take_trace(message);
	return MCP_CALLS;
}

void mcp_put_list(struct mcp_message *message)
{
	struct mcp_error error;
	if (!mcp_put_tools(message->out, message->rest, message->worker, message->era, &message->asked, &error))
		mcp_put_error(message, REJECT_BAD_REQUEST, &error);
}

/* A request that may be served. */
static enum mcp_taken serve_method(struct mcp_message *message)
{
	const struct mcp_request *asked = &message->asked;
	struct mcp_error error UNCLEARED;
	switch (asked->method) {
	case MCP_METHOD_INITIALIZE:
		mcp_reply_initialize(message->out, message->in_array ? NULL : message->worker, asked);
		return MCP_ANSWERED;
	case MCP_METHOD_PING:
		mcp_reply_result(message->out, asked->id, MCP_LEGACY, SLICE("{}"));
		return MCP_ANSWERED;
	case MCP_METHOD_SET_LEVEL:
		if (!mcp_check_level(asked, &error))
			return answer_error_now(message, &error);
		mcp_reply_result(message->out, asked->id, MCP_LEGACY, SLICE("{}"));
		return MCP_ANSWERED;
	case MCP_METHOD_DISCOVER:
		mcp_reply_discover(message->out, message->worker, asked);
		return MCP_ANSWERED;
	case MCP_METHOD_TOOLS_LIST:
		if (message->in_array)
			return MCP_LISTS;
		mcp_put_list(message);
		return MCP_ANSWERED;
	case MCP_METHOD_TOOLS_CALL:
		return take_call(message);
	case MCP_METHOD_LISTEN:
		return mcp_listen(message->worker, message->request, asked, &error) ? MCP_STREAMS
										    : answer_error_now(message, &error);
	default:
		return refuse_method(message);
	}
}

/* Modern clients say who they are with every request, legacy ones once; here it is for the log. */
static void note_client(struct request *request, const struct mcp_request *asked)
{
	struct slice name, value;
	struct slice info = asked->client.len ? asked->client : asked->introduced;
	struct json_walk walk;
	if (!info.len || json_type(info) != JSON_OBJECT)
		return;
	walk = json_walk(info);
	while (json_next_member(&walk, &name, &value)) {
		if (!json_string_is(name, SLICE("name")) || json_type(value) != JSON_STRING)
			continue;
		size_t len = value.len - 2 < CLIENT_NAME_BYTES ? value.len - 2 : CLIENT_NAME_BYTES - 1;
		memcpy(request->client_name, value.at + 1, len); /* between its quotes, escapes as they are */
		request->client_name[len] = '\0';
	}
}

enum mcp_taken mcp_take_message(struct mcp_message *message, struct slice text)
{
	struct mcp_error error UNCLEARED;
	struct mcp_fault fault = mcp_request_read(text, &message->asked);
	note_client(message->request, &message->asked);
	message->era = mcp_era_of(message->request, &message->asked);
	meter_add(worker_meter(message->worker), METRIC_ID_MCP_MESSAGES, message->asked.method, message->era, 1);
	if (fault.code) {
		mcp_error_set(&error, 400, fault.code, OUTCOME_INVALID_REQUEST, "%s", fault.what);
		return answer_error_now(message, &error);
	}
	if (message->asked.kind != MCP_ASKS)
		return MCP_SILENT;
	if (message->in_array && message->era == MCP_MODERN) {
		mcp_error_set(&error, 400, MCP_INVALID_REQUEST, OUTCOME_INVALID_REQUEST,
			      "2026-07-28 takes one message a request; send no array.");
		return answer_error_now(message, &error);
	}
	if (message->era == MCP_MODERN && !mcp_check_modern(message->request, &message->asked, &error))
		return answer_error_now(message, &error);
	return is_of_era(message->asked.method, message->era) ? serve_method(message) : refuse_method(message);
}

/* ---------------------------------------------------------------- a POST */

/* The word is in lower case, and begins with no byte that 0x20 would change. */
static bool has_word(struct slice text, const char *word)
{
	size_t len = strlen(word);
	for (size_t i = 0; i + len <= text.len; i++)
		if ((text.at[i] | 0x20) == *word && strncasecmp(text.at + i, word, len) == 0)
			return true;
	return false;
}

bool mcp_takes_events(const struct request *request)
{
	return has_word(request->headers[HEADER_ACCEPT], "text/event-stream");
}

/* JSON is for everybody, but for who wants events and nothing else. Most take both, and name JSON first. */
bool mcp_wants_events(const struct request *request)
{
	struct slice accept = request->headers[HEADER_ACCEPT];
	return !has_word(accept, "application/json") && mcp_takes_events(request) && !has_word(accept, "*/*") &&
	       !has_word(accept, "application/*");
}

static void serve_messages(struct worker *worker, struct request *request, const struct caller *caller)
{
	struct slice body = json_trim(buf_slice(&request->body)), version = request->headers[HEADER_MCP_VERSION];
	if (json_type(body) != JSON_ARRAY)
		mcp_serve_message(worker, request, caller);
	else if (version.len && !mcp_version_known(version))
		front_refuse(worker, request, &wire_mcp, REJECT_BAD_REQUEST, OUTCOME_INVALID_REQUEST,
			     "2026-07-28 takes one message a request; send no array.");
	else
		mcp_serve_array(worker, request, caller, body);
}

/* The first list that many a client reads is its last, and a tool that is not known yet may be known in a second. */
static void serve_or_wait(struct worker *worker, struct request *request, const struct caller *caller)
{
	if (!mcp_await_lists(worker, request, caller))
		serve_messages(worker, request, caller);
}

static void serve_post(struct worker *worker, struct request *request)
{
	struct caller caller UNCLEARED;
	if (!mcp_check_token(worker, request)) {
		front_refuse(worker, request, &wire_mcp, REJECT_UNAUTHORIZED, OUTCOME_UNAUTHORIZED,
			     "Authorization: Bearer is missing.");
		return;
	}
	if (front_read_caller(worker, request, &wire_mcp, &caller) && front_body_is_json(worker, request, &wire_mcp) &&
	    front_check_json(worker, request, &wire_mcp, worker_generation(worker)->limits.json_depth))
		serve_or_wait(worker, request, &caller);
}

void mcp_serve(struct worker *worker, struct request *request, struct slice rest)
{
	(void)rest;
	if (request->method == HTTP_POST) {
		serve_post(worker, request);
	} else if (request->method == HTTP_OPTIONS) {
		mcp_preflight(request);
	} else {
		front_refuse(worker, request, &wire_mcp, REJECT_METHOD, OUTCOME_METHOD_NOT_ALLOWED,
			     "Only POST: there are no sessions and no GET stream here.");
	}
}
