/* mcp.c: /mcp: what must hold of a request, and its messages, each to its method. */
#include "gateway/mcp/mcp.h"

#include <strings.h>

#include "base/json.h"
#include "gateway/mcp/mcp_private.h"
#include "gateway/call/front.h"
#include "gateway/call/reply.h"
#include "gateway/call/worker.h"

/* ---------------------------------------------------------------- replies */

void mcp_reply_init(struct reply *reply, const struct request *request, unsigned status)
{
	reply_init(reply, status);
	reply_header_text(reply, "X-Request-Id", slice_of(request->id));
	mcp_put_cors(reply, request);
}

void mcp_reply_text(struct request *request, unsigned status, struct buf *text, const struct call *call)
{
	struct reply reply;
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
	struct reply reply;
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

static void seat_error(struct mcp_exchange *exchange, struct mcp_seat *seat, const struct mcp_error *error)
{
	meter_add(exchange->worker->meter, METRIC_ID_REJECTED, REJECT_BAD_REQUEST, 0, 1);
	seat->status = error->status;
	mcp_reply_error(&seat->text, seat->id, error, exchange->request->id);
}

static void refuse_method(struct mcp_exchange *exchange, struct mcp_seat *seat, const struct mcp_request *asked)
{
	struct mcp_error error;
	mcp_error_set(&error, seat->era == MCP_MODERN ? 404 : 200, MCP_METHOD_NOT_FOUND, OUTCOME_NOT_FOUND,
		      "Method not found: %.*s.", SLICE_ARG(asked->raw_method));
	seat_error(exchange, seat, &error);
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

/* A request that may be served. True: its stream has taken the HTTP request over. */
static bool serve_method(struct mcp_exchange *exchange, struct mcp_seat *seat, const struct mcp_request *asked,
			 const struct asker *asker)
{
	struct worker *worker = exchange->worker;
	struct mcp_error error;
	switch (asked->method) {
	case MCP_METHOD_INITIALIZE:
		mcp_reply_initialize(&seat->text, asked);
		return false;
	case MCP_METHOD_PING:
		mcp_reply_result(&seat->text, seat->id, MCP_LEGACY, SLICE("{}"));
		return false;
	case MCP_METHOD_SET_LEVEL:
		if (mcp_check_level(asked, &error))
			mcp_reply_result(&seat->text, seat->id, MCP_LEGACY, SLICE("{}"));
		else
			seat_error(exchange, seat, &error);
		return false;
	case MCP_METHOD_DISCOVER:
		mcp_reply_discover(&seat->text, worker, asked);
		return false;
	case MCP_METHOD_TOOLS_LIST:
		if (!mcp_reply_tools(&seat->text, worker, seat->era, asked, &error))
			seat_error(exchange, seat, &error);
		return false;
	case MCP_METHOD_TOOLS_CALL:
		mcp_call_tool(exchange, seat, asked, asker);
		return false;
	case MCP_METHOD_LISTEN:
		if (mcp_listen(worker, exchange->request, asked, &error))
			return true;
		seat_error(exchange, seat, &error);
		return false;
	default:
		refuse_method(exchange, seat, asked);
		return false;
	}
}

/* One message. True: its stream has taken the HTTP request over. */
static bool take_message(struct mcp_exchange *exchange, struct mcp_seat *seat, struct slice text,
			 const struct asker *asker)
{
	struct mcp_request asked;
	struct mcp_error error;
	struct mcp_fault fault = mcp_request_read(text, &asked);
	seat->id = asked.id;
	seat->era = mcp_era_of(exchange->request, &asked);
	meter_add(exchange->worker->meter, METRIC_ID_MCP_MESSAGES, asked.method, seat->era, 1);
	if (fault.code) {
		mcp_error_set(&error, 400, fault.code, OUTCOME_INVALID_REQUEST, "%s", fault.what);
		seat_error(exchange, seat, &error);
		return false;
	}
	if (asked.kind != MCP_ASKS) {
		seat->silent = true;
		return false;
	}
	if (exchange->array && seat->era == MCP_MODERN) {
		mcp_error_set(&error, 400, MCP_INVALID_REQUEST, OUTCOME_INVALID_REQUEST,
			      "2026-07-28 takes one message a request; send no array.");
		seat_error(exchange, seat, &error);
		return false;
	}
	if (seat->era == MCP_MODERN && !mcp_check_modern(exchange->request, &asked, &error)) {
		seat_error(exchange, seat, &error);
		return false;
	}
	if (!is_of_era(asked.method, seat->era)) {
		refuse_method(exchange, seat, &asked);
		return false;
	}
	return serve_method(exchange, seat, &asked, asker);
}

/* ---------------------------------------------------------------- a POST */

static bool has_word(struct slice text, const char *word)
{
	size_t len = strlen(word);
	for (size_t i = 0; i + len <= text.len; i++)
		if (strncasecmp(text.at + i, word, len) == 0)
			return true;
	return false;
}

static bool takes_events(const struct request *request)
{
	return has_word(request->headers[HEADER_ACCEPT], "text/event-stream");
}

/* JSON is for everybody, but for who wants events and nothing else. */
static bool wants_events(const struct request *request)
{
	struct slice accept = request->headers[HEADER_ACCEPT];
	return takes_events(request) && !has_word(accept, "application/json") && !has_word(accept, "*/*") &&
	       !has_word(accept, "application/*");
}

/* How many messages the body has. False: answered. */
static bool count_messages(struct worker *worker, struct request *request, size_t *count, bool *array)
{
	struct slice body = json_trim(buf_slice(&request->body)), element;
	*array = json_type(body) == JSON_ARRAY;
	*count = 1;
	if (!*array)
		return true;
	*count = 0;
	struct json_walk walk = json_walk(body);
	while (json_next_element(&walk, &element))
		++*count;
	struct slice version = request->headers[HEADER_MCP_VERSION];
	if (version.len && !mcp_version_known(version))
		return front_refuse(worker, request, &wire_mcp, REJECT_BAD_REQUEST, OUTCOME_INVALID_REQUEST,
				    "2026-07-28 takes one message a request; send no array.");
	if (*count == 0)
		return front_refuse(worker, request, &wire_mcp, REJECT_BAD_REQUEST, OUTCOME_INVALID_REQUEST,
				    "The array is empty.");
	if (*count > worker->gateway->config->limits.in_flight)
		return front_refuse(worker, request, &wire_mcp, REJECT_BAD_REQUEST, OUTCOME_PAYLOAD_TOO_LARGE,
				    "There are more messages in the array than limits.in_flight allows at once.");
	return true;
}

static void serve_messages(struct worker *worker, struct request *request, const struct asker *asker)
{
	size_t count;
	bool array;
	struct slice element;
	if (!count_messages(worker, request, &count, &array))
		return;
	struct mcp_exchange *exchange = mcp_exchange_new(worker, request, count);
	if (!exchange) {
		front_refuse_for_memory(worker, request, &wire_mcp);
		return;
	}
	struct slice body = json_trim(blob_slice(exchange->body));
	exchange->array = array;
	exchange->events = wants_events(request);
	exchange->listens = takes_events(request);
	if (!array) {
		if (take_message(exchange, &exchange->seats[0], body, asker))
			mcp_exchange_free(exchange);
		else
			mcp_exchange_settle(exchange);
		return;
	}
	struct json_walk walk = json_walk(body);
	for (size_t i = 0; json_next_element(&walk, &element); i++)
		(void)take_message(exchange, &exchange->seats[i], element, asker); /* no stream in an array */
	mcp_exchange_settle(exchange);
}

static void serve_post(struct worker *worker, struct request *request)
{
	struct asker asker;
	if (!mcp_check_token(worker, request)) {
		front_refuse(worker, request, &wire_mcp, REJECT_UNAUTHORIZED, OUTCOME_UNAUTHORIZED,
			     "Authorization: Bearer is missing.");
		return;
	}
	if (front_read_asker(worker, request, &wire_mcp, &asker) && front_body_is_json(worker, request, &wire_mcp) &&
	    front_check_json(worker, request, &wire_mcp, worker->gateway->config->limits.json_depth))
		serve_messages(worker, request, &asker);
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
