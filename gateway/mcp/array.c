/* SPDX-License-Identifier: Apache-2.0 */
/*
 * array.c: a POST with an array of messages (2025-03-26 and before). Each lives and dies alone; the responses stand in
 * the order of asking, in an array or as events. Small ones are kept as they are made; lists of tools, which may be
 * megabytes each, are written when it is their turn, and few are.
 */
#include "base/json.h"
#include "gateway/call/call_group.h"
#include "gateway/call/front.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"
#include "gateway/mcp/mcp_private.h"

enum { LISTS_MAX = 100, RESPONSE_BYTES_MAX = 64 << 10 };

static struct mcp_message message_of(struct call_group *group, struct buf *out)
{
	return (struct mcp_message){ .worker = group->worker,
				     .request = group->request,
				     .in_array = true,
				     .caller = group->caller,
				     .out = out };
}

/* An item that is answered keeps its response. */
static void keep_response(struct call_group *group, struct call_group_item *item, struct buf *text)
{
	struct buf event = BUF_INIT(2 * RESPONSE_BYTES_MAX);
	bool events = group->kind->streams && text->len;
	if (events)
		mcp_append_event(&event, buf_slice(text));
	item->own = buf_take_blob(events && !text->failed ? &event : text);
	buf_fini(&event);
}

static void refuse_list(struct mcp_message *message)
{
	struct mcp_error error;
	mcp_error_set(&error, 200, MCP_INVALID_REQUEST, OUTCOME_INVALID_REQUEST,
		      "An array may ask for %d lists at most.", LISTS_MAX);
	mcp_put_error(message, REJECT_BAD_REQUEST, &error);
}

static void begin_message(struct call_group *group, struct call_group_item *item)
{
	struct buf text = BUF_INIT(RESPONSE_BYTES_MAX);
	struct mcp_message message = message_of(group, &text);
	enum mcp_taken taken = mcp_take_message(&message, item->text);
	item->id = message.asked.id;
	item->tag = (unsigned char)message.era;
	switch (taken) {
	case MCP_CALLS:
		call_group_call(group, item, message.tool, &message.caller, message.arguments, group->body);
		break;
	case MCP_LISTS:
		item->made = MCP_LIST_OUT_BYTES;
		if (group->counted++ < LISTS_MAX)
			break;
		refuse_list(&message);
		/* fall through */
	case MCP_ANSWERED:
	case MCP_STREAMS:
		keep_response(group, item, &text);
		break;
	case MCP_SILENT:
		item->silent = true;
		break;
	}
	buf_fini(&text);
}

/* No call could be made, or no response be kept: memory was out. */
static void put_refusal(struct call_group *group, const struct call_group_item *item, struct buf *out)
{
	const struct answer *answer = call_group_answer(item);
	struct mcp_error error;
	mcp_error_set(&error, 200, 503, OUTCOME_OVERLOADED, "%s",
		      answer ? answer->detail : "The gateway is out of memory.");
	mcp_reply_error(out, item->id, &error, group->request->id);
}

static void put_list(struct call_group *group, const struct call_group_item *item, struct buf *out, struct pieces *rest)
{
	struct mcp_message message = message_of(group, out);
	message.rest = rest;
	message.era = (enum mcp_era)item->tag;
	if (mcp_request_read(item->text, &message.asked).code == 0)
		mcp_put_list(&message);
}

static void put_response(struct call_group *group, struct call_group_item *item, struct buf *out, struct pieces *rest)
{
	if (item->call)
		mcp_put_call_of_array(out, rest, item->id, item->call, group->request->id);
	else if (item->refusal || !item->made)
		put_refusal(group, item, out);
	else
		put_list(group, item, out, rest);
}

/* What stands in `out` of a response has no line ends. */
static void put_event(struct call_group *group, struct call_group_item *item, struct buf *out, struct pieces *rest)
{
	rest->raw = PIECE_EVENT;
	buf_put_text(out, MCP_EVENT_BEGINS);
	put_response(group, item, out, rest);
	pieces_put_text(rest, MCP_EVENT_ENDS);
}

static void put_array_head(struct call_group *group, struct reply *reply)
{
	mcp_put_cors(reply, group->request);
}

static void put_event_head(struct call_group *group, struct reply *reply)
{
	mcp_put_cors(reply, group->request);
	mcp_put_events_head(reply);
}

static void reply_nothing(struct call_group *group)
{
	struct buf none = BUF_INIT(0);
	mcp_reply_text(group->request, 202, &none, NULL);
}

static const struct call_group_kind as_array = {
	.order = GROUP_AS_ASKED,
	.content_type = "application/json",
	.opening = "[",
	.between = ",",
	.closing = "]",
	.begin = begin_message,
	.put = put_response,
	.put_head = put_array_head,
	.reply_nothing = reply_nothing,
};

static const struct call_group_kind as_events = {
	.order = GROUP_AS_ASKED,
	.streams = true,
	.content_type = "text/event-stream",
	.opening = "",
	.between = "",
	.closing = "",
	.begin = begin_message,
	.put = put_event,
	.put_head = put_event_head,
	.reply_nothing = reply_nothing,
};

void mcp_serve_array(struct worker *worker, struct request *request, const struct caller *caller, struct slice text)
{
	size_t count = json_count(text);
	if (count == 0) {
		front_refuse(worker, request, &wire_mcp, REJECT_BAD_REQUEST, OUTCOME_INVALID_REQUEST,
			     "The array is empty.");
		return;
	}
	if (count > worker_generation(worker)->limits.in_flight) {
		front_refuse(worker, request, &wire_mcp, REJECT_BAD_REQUEST, OUTCOME_PAYLOAD_TOO_LARGE,
			     "There are more messages in the array than limits.in_flight allows at once.");
		return;
	}
	struct call_group *group = call_group_new(worker, request, mcp_wants_events(request) ? &as_events : &as_array,
						  caller, text, false, count, NULL);
	if (group)
		call_group_start(group);
	else
		front_refuse_for_memory(worker, request, &wire_mcp);
}
