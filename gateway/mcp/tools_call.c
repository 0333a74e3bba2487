/*
 * tools_call.c: tools/call, alone or in an array, by the path of every call: call_look_up, call_send, call_cancel. Each
 * call of an array lives and dies alone; the responses stand in the order of asking.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/json.h"
#include "gateway/mcp/mcp_private.h"
#include "gateway/call/front.h"
#include "gateway/call/reply.h"
#include "gateway/call/worker.h"

struct mcp_exchange *mcp_exchange_new(struct worker *worker, struct request *request, size_t count)
{
	struct mcp_exchange *exchange = calloc(1, sizeof *exchange + count * sizeof exchange->seats[0]);
	if (!exchange)
		return NULL;
	exchange->worker = worker;
	exchange->request = request;
	exchange->count = count;
	exchange->body = buf_take_blob(&request->body);
	for (size_t i = 0; i < count; i++)
		buf_init(&exchange->seats[i].text, MCP_REPLY_BYTES_MAX);
	if (exchange->body)
		return exchange;
	free(exchange);
	return NULL;
}

void mcp_exchange_free(struct mcp_exchange *exchange)
{
	for (size_t i = 0; i < exchange->count; i++) {
		if (exchange->seats[i].call)
			call_free(exchange->seats[i].call);
		buf_fini(&exchange->seats[i].text);
	}
	blob_unref(exchange->body);
	free(exchange);
}

/* ---------------------------------------------------------------- answering */

static void put_seat(struct buf *out, const struct mcp_exchange *exchange, const struct mcp_seat *seat)
{
	if (seat->call)
		mcp_reply_call(out, seat->id, seat->era, seat->call, exchange->request->id);
	else if (seat->text.failed)
		out->failed = true;
	else
		buf_put(out, buf_slice(&seat->text));
}

/* All responses: one, or an array of those that there are. Nothing, if there are none. */
static void put_all(struct buf *out, const struct mcp_exchange *exchange)
{
	const char *before = "[";
	if (!exchange->array) {
		if (!exchange->seats[0].silent)
			put_seat(out, exchange, &exchange->seats[0]);
		return;
	}
	for (size_t i = 0; i < exchange->count; i++) {
		if (exchange->seats[i].silent)
			continue;
		buf_put_text(out, before);
		put_seat(out, exchange, &exchange->seats[i]);
		before = ",";
	}
	if (out->len)
		buf_put_char(out, ']');
}

/* The only call of a request gives its reply headers, and is logged and given back when that has been sent. */
static struct call *take_only_call(struct mcp_exchange *exchange)
{
	if (exchange->array)
		return NULL;
	struct call *call = exchange->seats[0].call;
	exchange->seats[0].call = NULL;
	exchange->request->logged = call;
	return call;
}

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

static void finish(struct mcp_exchange *exchange)
{
	struct buf text = BUF_INIT(MCP_REPLY_BYTES_MAX);
	unsigned status = exchange->array || !exchange->seats[0].status ? 200 : exchange->seats[0].status;
	put_all(&text, exchange);
	struct call *call = take_only_call(exchange);
	exchange->request->waits_for = NULL;
	if (text.len == 0 && !text.failed)
		mcp_reply_text(exchange->request, 202, &text, NULL);
	else if (exchange->started || (exchange->events && status == 200))
		send_events(exchange, &text, call);
	else
		mcp_reply_text(exchange->request, status, &text, call);
	mcp_exchange_free(exchange);
}

/* ---------------------------------------------------------------- calls */

/* A modern client that closes its stream has cancelled; a legacy one could not get the answer any more, since nothing
 * is resumed here. */
static void client_left(struct request *request)
{
	struct mcp_exchange *exchange = request->waits_for;
	for (size_t i = 0; i < exchange->count; i++) {
		struct mcp_seat *seat = &exchange->seats[i];
		if (!seat->away)
			continue;
		front_cancel(seat->call);
		seat->call = NULL;
	}
	mcp_exchange_free(exchange);
}

static void count_call(const struct mcp_exchange *exchange, const struct call *call)
{
	front_count(call);
	if (exchange->array)
		front_log_call(call, exchange->request->id, outcome_status(call->answer->outcome),
			       call->answer->body_len);
}

static void call_home(struct call *call)
{
	struct mcp_exchange *exchange = call->context;
	exchange->seats[call->index].away = false;
	exchange->away--;
	count_call(exchange, call);
	if (exchange->away == 0)
		finish(exchange);
}

static void seat_error(struct mcp_exchange *exchange, struct mcp_seat *seat, enum reject_reason reason,
		       const struct mcp_error *error)
{
	meter_add(exchange->worker->meter, METRIC_ID_REJECTED, reason, 0, 1);
	seat->status = error->status;
	mcp_reply_error(&seat->text, seat->id, error, exchange->request->id);
}

/* The arguments that the call gets: absent and null are none. False: answered. */
static bool take_arguments(struct mcp_exchange *exchange, struct mcp_seat *seat, const struct mcp_request *asked,
			   struct slice *arguments)
{
	struct mcp_error error;
	*arguments = asked->arguments;
	if (arguments->len == 0 || json_type(*arguments) == JSON_NULL)
		*arguments = SLICE("{}");
	if (json_type(*arguments) == JSON_OBJECT)
		return true;
	mcp_error_set(&error, 200, MCP_INVALID_PARAMS, OUTCOME_INVALID_REQUEST, "params.arguments must be an object.");
	seat_error(exchange, seat, REJECT_BAD_REQUEST, &error);
	return false;
}

/* The W3C trace that _meta brings, where no header does. */
static void take_trace(struct asker *asker, const struct mcp_request *asked)
{
	struct slice raw = asked->traceparent;
	if (asker->traceparent.len == 0 && raw.len > 2 && json_type(raw) == JSON_STRING)
		asker->traceparent = asker_traceparent((struct slice){ raw.at + 1, raw.len - 2 });
}

void mcp_call_tool(struct mcp_exchange *exchange, struct mcp_seat *seat, const struct mcp_request *asked,
		   const struct asker *asker)
{
	struct worker *worker = exchange->worker;
	struct mcp_error error;
	struct slice arguments;
	struct asker own = *asker;
	const struct tool *tool = mcp_find_tool(worker, asked->name, &error);
	if (!tool) {
		bool unknown = error.outcome == OUTCOME_UNKNOWN_TOOL;
		seat_error(exchange, seat, unknown ? REJECT_UNKNOWN_TOOL : REJECT_BAD_REQUEST, &error);
		return;
	}
	if (!take_arguments(exchange, seat, asked, &arguments))
		return;
	if (seat->era == MCP_MODERN &&
	    !mcp_check_mirrored(exchange->request, slice_of(tool->input_schema), arguments, &error)) {
		seat_error(exchange, seat, REJECT_BAD_REQUEST, &error);
		return;
	}
	struct call *call = seat->call = call_new(worker);
	if (!call) {
		mcp_error_set(&error, 503, 503, OUTCOME_OVERLOADED, "The gateway is out of memory.");
		seat_error(exchange, seat, REJECT_NO_MEMORY, &error);
		return;
	}
	take_trace(&own, asked);
	call->tool = tool;
	call->asker = &own;
	call->arguments = arguments;
	call->done = call_home;
	call->context = exchange;
	call->index = (size_t)(seat - exchange->seats);
	mcp_note_asks(exchange, seat, asked, call);
	if (call_look_up(call)) {
		count_call(exchange, call);
		return;
	}
	seat->away = true;
	exchange->away++;
	call_send(call, exchange->body);
}

void mcp_exchange_settle(struct mcp_exchange *exchange)
{
	if (exchange->away == 0) {
		finish(exchange);
		return;
	}
	exchange->request->waits_for = exchange;
	exchange->request->gone = client_left;
}
