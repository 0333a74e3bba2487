/* SPDX-License-Identifier: Apache-2.0 */
/* call_messages.c: messages of calls to an MCP server: tools/call as it is written, and what is said of calls under way. */
#include "upstream/mcp/mcp_exchange.h"
#include "upstream/mcp/param_headers.h"

static struct leg *leg_of(struct mcp_post *post)
{
	return container_of(post, struct leg, post);
}

/* What the server gets: the caller's arguments and the route's constants. `merged` holds them if there are any. */
static struct slice full_arguments(const struct ride_item *item, struct buf *merged)
{
	const char *constants = mcp_route_constants(item->route);
	if (!constants)
		return item->arguments;
	dialect_put_arguments(merged, constants, item->arguments);
	return buf_slice(merged);
}

static void put_call(const struct leg *leg, const struct ride_item *item, uint64_t id, struct http_request *request)
{
	struct buf merged = BUF_INIT(SIZE_MAX / 4);
	struct slice arguments = full_arguments(item, &merged);
	enum mcp_era era = leg->post.session->era;
	mcp_put_tools_call(&request->body, era, id, blob_slice(item->route->name), arguments, leg->ride->traceparent,
			   item->asks);
	if (era == MCP_MODERN && item->route->schema && !merged.failed)
		mcp_mirror_put(blob_slice(item->route->schema), arguments, &request->headers);
	request->body.failed |= merged.failed;
	buf_fini(&merged);
}

static void put_calls(const struct leg *leg, uint64_t first_id, struct http_request *request)
{
	struct buf *body = &request->body;
	if (leg->array)
		buf_put_char(body, '[');
	for (size_t i = 0; i < leg->count; i++) {
		if (i)
			buf_put_char(body, ',');
		put_call(leg, &leg->ride->items[leg->first + i], first_id + i, request);
	}
	if (leg->array)
		buf_put_char(body, ']');
}

static bool write_calls(struct mcp_post *post, const struct upstream_call *calls, size_t count, uint64_t first_id,
			struct http_request *request)
{
	const struct leg *leg = leg_of(post);
	const struct ride_item *item = &leg->ride->items[leg->first];
	(void)calls;
	(void)count;
	request->method = leg->resuming ? "GET" : "POST";
	request->content_type = leg->resuming ? NULL : "application/json";
	mcp_put_transport_headers(request);
	mcp_session_put_headers(post->session, "tools/call", blob_slice(item->route->name), &request->headers);
	if (leg->resuming) {
		buf_printf(&request->headers, "Last-Event-ID: %s\n", post->event_id);
		return true;
	}
	put_calls(leg, first_id, request);
	return true;
}

/* Which of the leg's calls a notification speaks of: its token says so, or there is but one. False: of none. */
static bool find_noted(const struct leg *leg, const struct mcp_message *message, enum mcp_note_kind *note,
		       size_t *index)
{
	const struct mcp_asks *asks;
	uint64_t id = leg->post.first_id;
	if (message->kind != MCP_NOTIFICATION || !message->params.len || json_type(message->params) != JSON_OBJECT)
		return false;
	if (mcp_progress_id(message, &id))
		*note = MCP_NOTE_PROGRESS;
	else if (leg->count == 1 && mcp_method_is(message, "notifications/message"))
		*note = MCP_NOTE_MESSAGE;
	else
		return false;
	if (id < leg->post.first_id || id - leg->post.first_id >= leg->count)
		return false;
	*index = leg->first + (size_t)(id - leg->post.first_id);
	asks = &leg->ride->items[*index].asks;
	return !leg->ride->items[*index].told &&
	       (*note == MCP_NOTE_PROGRESS ? asks->progress : asks->level != MCP_LEVEL_NONE);
}

static void put_off_deadline(struct ride *ride)
{
	struct loop *loop = ride->upstream->base.loop;
	uint64_t due_us = clock_add(loop_now(loop), ride->upstream->base.settings->timeout_us);
	uint64_t old_us = ride->deadline_us;
	due_us = due_us < ride->end_us ? due_us : ride->end_us;
	if (due_us <= old_us)
		return;
	ride->deadline_us = due_us;
	ride->extended = true;
	if (ride->timer.place && ride->timer.due_us == old_us)
		loop_arm(loop, &ride->timer, due_us);
}

static void hear_foreign(struct mcp_post *post, const struct mcp_message *message)
{
	struct leg *leg = leg_of(post);
	struct ride *ride = leg->ride;
	enum mcp_note_kind note;
	size_t index;
	if (!find_noted(leg, message, &note, &index))
		mcp_control_foreign(&ride->upstream->control, message);
	else if (!ride->aborted && ride->events->noted)
		ride->events->noted(ride->context, index, note, message->params);
	if (message->kind == MCP_NOTIFICATION && mcp_method_is(message, "notifications/progress"))
		put_off_deadline(ride);
}

const struct mcp_post_ops leg_messages = { .write = write_calls, .foreign = hear_foreign };
