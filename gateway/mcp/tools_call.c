/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tools_call.c: a POST with one message; its tools/call takes the path of every call: call_look_up, call_send,
 * call_cancel. What its server says before the result goes out as events (notifications.c).
 */
#include <stdlib.h>

#include "base/json.h"
#include "gateway/call/front.h"
#include "gateway/call/reply.h"
#include "gateway/call/worker.h"
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

static void send_events(struct mcp_exchange *exchange, struct buf *text, const struct call *call)
{
	struct request *request = exchange->request;
	if (!exchange->started)
		mcp_start_events(request, call);
	if (text->failed || !mcp_put_event(request, buf_slice(text)))
		request_stream_abort(request); /* an end that looks whole would be a lie */
	else
		request_stream_end(request);
	buf_fini(text);
}

/* Reply with `text`, which is emptied. The call gives the reply its headers, and is logged and given back when that has
 * been sent. */
static void finish_exchange(struct mcp_exchange *exchange, unsigned status, struct buf *text)
{
	struct request *request = exchange->request;
	struct call *call = exchange->call;
	exchange->call = NULL;
	request->logged = call;
	request->waits_for = NULL;
	if (exchange->started || (exchange->events && status == 200))
		send_events(exchange, text, call);
	else
		mcp_reply_text(request, status, text, call);
	free_exchange(exchange);
}

static void answer_call(struct mcp_exchange *exchange)
{
	struct buf text = BUF_INIT(MCP_REPLY_BYTES_MAX);
	front_count(exchange->call);
	mcp_reply_call(&text, exchange->id, exchange->era, exchange->call, exchange->request->id);
	finish_exchange(exchange, 200, &text);
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
		finish_exchange(exchange, error.status, message->out);
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
	struct mcp_message message = { .worker = worker, .request = request, .caller = *caller, .out = &text };
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
		finish_exchange(exchange, message.status ? message.status : 200, &text);
		break;
	}
	buf_fini(&text);
}
