/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tools_call.c: a POST with one message; its tools/call takes the path of every call: call_look_up, call_send,
 * call_cancel. What its server says before the result goes out as events (notifications.c).
 */
#include <stdlib.h>

#include "base/json.h"
#include "gateway/call/call_group.h"
#include "gateway/call/front.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"
#include "gateway/mcp/mcp_private.h"

/* NULL: out of memory. Takes the request's body. */
static struct mcp_exchange *new_exchange(struct worker *worker, struct request *request)
{
	struct mcp_exchange *exchange = calloc(1, sizeof *exchange);
	if (!exchange)
		return NULL;
	exchange->worker = worker;
	exchange->request = request;
	exchange->events = mcp_wants_events(request);
	exchange->listens = mcp_takes_events(request);
	exchange->body = buf_take_blob(&request->body);
	if (exchange->body)
		return exchange;
	free(exchange);
	return NULL;
}

static void free_exchange(struct mcp_exchange *exchange)
{
	if (exchange->call)
		call_free(exchange->call);
	blob_unref(exchange->body);
	free(exchange);
}

/* ---------------------------------------------------------------- answering */

/* Around a response, whose `text` has no line ends. */
static void make_event(struct buf *text, struct pieces *rest)
{
	struct buf event = BUF_INIT(MCP_REPLY_BYTES_MAX);
	buf_put_text(&event, MCP_EVENT_BEGINS);
	buf_put(&event, buf_slice(text));
	event.failed |= text->failed;
	buf_fini(text);
	*text = event;
	pieces_put_text(rest, MCP_EVENT_ENDS);
}

static void send_event(struct mcp_exchange *exchange, const struct buf *event, const struct call *call)
{
	struct request *request = exchange->request;
	if (!exchange->started)
		mcp_start_events(request, call);
	if (event->failed || !request_stream_put(request, buf_slice(event)))
		request_stream_abort(request); /* an end that looks whole would be a lie */
	else
		request_stream_end(request);
}

static void put_long_head(struct call_group *group, struct reply *reply)
{
	mcp_put_cors(reply, group->request);
	if (group->request->logged)
		reply_put_call(reply, group->request->logged);
}

static void put_long_event_head(struct call_group *group, struct reply *reply)
{
	put_long_head(group, reply);
	mcp_put_events_head(reply);
}

static const struct call_group_kind as_long_text = {
	.order = GROUP_AS_ASKED,
	.streams = true,
	.content_type = "application/json",
	.opening = "",
	.between = "",
	.closing = "",
	.put_head = put_long_head,
};

static const struct call_group_kind as_long_event = {
	.order = GROUP_AS_ASKED,
	.streams = true,
	.content_type = "text/event-stream",
	.opening = "",
	.between = "",
	.closing = "",
	.put_head = put_long_event_head,
};

/* What is long is written by pieces. False: it is not, or memory is out for that. */
static bool send_long(struct mcp_exchange *exchange, bool event, struct buf *text, struct pieces *rest)
{
	return text->len + pieces_left(rest) > CALL_GROUP_WHOLE_BYTES &&
	       call_group_write(exchange->worker, exchange->request, event ? &as_long_event : &as_long_text,
				exchange->body, exchange->started, text, rest);
}

/* Reply with `text` and `rest` behind it, which are emptied. The call gives the reply its headers, and is logged and
 * given back when that has been sent. */
static void finish_exchange(struct mcp_exchange *exchange, unsigned status, struct buf *text, struct pieces *rest)
{
	struct request *request = exchange->request;
	struct call *call = exchange->call;
	bool event = exchange->started || (exchange->events && status == 200);
	exchange->call = NULL;
	request->logged = call;
	request->waits_for = NULL;
	if (event)
		make_event(text, rest);
	if (!send_long(exchange, event, text, rest)) {
		pieces_write_all(rest, text);
		if (event)
			send_event(exchange, text, call);
		else
			mcp_reply_text(request, status, text, call);
	}
	buf_fini(text);
	pieces_fini(rest);
	free_exchange(exchange);
}

static void answer_call(struct mcp_exchange *exchange)
{
	struct buf text = BUF_INIT(MCP_REPLY_BYTES_MAX);
	struct pieces rest = { .raw = exchange->started || exchange->events ? PIECE_EVENT : PIECE_RAW };
	front_count(exchange->call);
	mcp_put_call(&text, &rest, exchange->id, exchange->era, exchange->call, exchange->request->id);
	finish_exchange(exchange, 200, &text, &rest);
}

/* ---------------------------------------------------------------- the call */

/* A modern client that closes its stream has cancelled; a legacy one could not get the answer any more, since nothing
 * is resumed here. */
static void client_left(struct request *request)
{
	struct mcp_exchange *exchange = request->waits_for;
	front_cancel(exchange->call, request);
	exchange->call = NULL;
	free_exchange(exchange);
}

static void call_home(struct call *call)
{
	answer_call(call->context);
}

static void make_call(struct mcp_exchange *exchange, struct mcp_message *message)
{
	struct call *call = exchange->call = call_new(exchange->worker);
	if (!call) {
		struct mcp_error error;
		mcp_error_set(&error, 503, 503, OUTCOME_OVERLOADED, "The gateway is out of memory.");
		mcp_put_error(message, REJECT_NO_MEMORY, &error);
		finish_exchange(exchange, error.status, message->out, message->rest);
		return;
	}
	call->tool = message->tool;
	call->caller = &message->caller;
	call->arguments = message->arguments;
	call->sound = true; /* a part of the body */
	call->done = call_home;
	call->context = exchange;
	mcp_ask_notifications(exchange, &message->asked, call);
	if (call_look_up(call)) {
		answer_call(exchange);
		return;
	}
	exchange->request->waits_for = exchange;
	exchange->request->gone = client_left;
	call_send(call, exchange->body);
}

/* ---------------------------------------------------------------- the message */

void mcp_serve_message(struct worker *worker, struct request *request, const struct caller *caller)
{
	struct mcp_exchange *exchange = new_exchange(worker, request);
	if (!exchange) {
		front_refuse_for_memory(worker, request, &wire_mcp);
		return;
	}
	struct buf text = BUF_INIT(MCP_REPLY_BYTES_MAX);
	struct pieces rest = { .raw = exchange->events ? PIECE_EVENT : PIECE_RAW };
	struct mcp_message message = {
		.worker = worker, .request = request, .caller = *caller, .out = &text, .rest = &rest
	};
	enum mcp_taken taken = mcp_take_message(&message, json_trim(blob_slice(exchange->body)));
	exchange->id = message.asked.id;
	exchange->era = message.era;
	switch (taken) {
	case MCP_CALLS:
		make_call(exchange, &message);
		break;
	case MCP_STREAMS:
		free_exchange(exchange);
		break;
	case MCP_SILENT:
		free_exchange(exchange);
		mcp_reply_text(request, 202, &text, NULL);
		break;
	case MCP_ANSWERED:
	case MCP_LISTS:
		finish_exchange(exchange, message.status ? message.status : 200, &text, &rest);
		break;
	}
	buf_fini(&text);
}
