/* SPDX-License-Identifier: Apache-2.0 */
/* call_messages.c: messages of calls to an MCP server: tools/call as it is written, and what is said of calls under
 * way. */
#include "upstream/mcp/mcp_exchange.h"
#include "upstream/mcp/param_headers.h"

static struct mcp_attempt *attempt_of(struct mcp_post *post)
{
	return container_of(post, struct mcp_attempt, post);
}

/* What the server gets: the caller's arguments and the route's constants. `merged` holds them if there are any. */
static struct slice full_arguments(const struct mcp_set_item *item, struct buf *merged)
{
	const char *constants = mcp_route_constants(item->route);
	if (!constants)
		return item->arguments;
	dialect_put_arguments(merged, constants, item->arguments);
	return buf_slice(merged);
}

static void put_call(const struct mcp_attempt *attempt, const struct mcp_set_item *item, uint64_t id,
		     struct encoded_request *request)
{
	struct buf merged = BUF_INIT(SIZE_MAX / 4);
	struct slice arguments = full_arguments(item, &merged);
	enum mcp_era era = attempt->post.session->era;
	mcp_put_tools_call(&request->body, era, id, blob_slice(item->route->name), arguments, attempt->set->trace,
			   item->asks);
	if (era == MCP_MODERN && item->route->schema && !merged.failed)
		param_headers_put(blob_slice(item->route->schema), arguments, &request->headers);
	request->body.failed |= merged.failed;
	buf_fini(&merged);
}

static void put_calls(const struct mcp_attempt *attempt, uint64_t first_id, struct encoded_request *request)
{
	struct buf *body = &request->body;
	if (attempt->array)
		buf_put_char(body, '[');
	for (size_t i = 0; i < attempt->count; i++) {
		if (i)
			buf_put_char(body, ',');
		put_call(attempt, &attempt->set->items[attempt->first + i], first_id + i, request);
	}
	if (attempt->array)
		buf_put_char(body, ']');
}

static bool write_calls(struct mcp_post *post, const struct upstream_call *calls, size_t count, uint64_t first_id,
			struct encoded_request *request)
{
	const struct mcp_attempt *attempt = attempt_of(post);
	const struct mcp_set_item *item = &attempt->set->items[attempt->first];
	(void)calls;
	(void)count;
	struct slice name = blob_slice(item->route->name);
	if (attempt->resuming) {
		mcp_begin_get(request, post->session, "tools/call", name);
		buf_printf(&request->headers, "Last-Event-ID: %s\n", post->event_id);
		return true;
	}
	mcp_begin_post(request, post->session, "tools/call", name);
	put_calls(attempt, first_id, request);
	return true;
}

/* Which of the attempt's calls a notification speaks of: its token says so, or there is but one. False: of none. */
static bool find_notified(const struct mcp_attempt *attempt, const struct mcp_message *message,
			  enum mcp_notification_kind *note, size_t *index)
{
	const struct mcp_asks *asks;
	uint64_t id = attempt->post.first_id;
	if (message->kind != MCP_NOTIFICATION || !message->params.len || json_type(message->params) != JSON_OBJECT)
		return false;
	if (mcp_progress_id(message, &id))
		*note = MCP_NOTIFICATION_PROGRESS;
	else if (attempt->count == 1 && mcp_method_is(message, "notifications/message"))
		*note = MCP_NOTIFICATION_MESSAGE;
	else
		return false;
	if (id < attempt->post.first_id || id - attempt->post.first_id >= attempt->count)
		return false;
	*index = attempt->first + (size_t)(id - attempt->post.first_id);
	asks = &attempt->set->items[*index].asks;
	return !attempt->set->items[*index].delivered &&
	       (*note == MCP_NOTIFICATION_PROGRESS ? asks->progress : asks->level != MCP_LEVEL_NONE);
}

static void put_off_deadline(struct mcp_call_set *set)
{
	struct loop *loop = set->upstream->base.loop;
	uint64_t due_us = clock_add(loop_now(loop), set->upstream->base.settings->timeout_us);
	uint64_t old_us = set->deadline_us;
	due_us = due_us < set->end_us ? due_us : set->end_us;
	if (due_us <= old_us)
		return;
	set->deadline_us = due_us;
	set->extended = true;
	if (set->timer.place && set->timer.due_us == old_us)
		loop_arm(loop, &set->timer, due_us);
}

static void on_foreign(struct mcp_post *post, const struct mcp_message *message)
{
	struct mcp_attempt *attempt = attempt_of(post);
	struct mcp_call_set *set = attempt->set;
	enum mcp_notification_kind note;
	size_t index;
	if (!find_notified(attempt, message, &note, &index))
		mcp_control_foreign(&set->upstream->control, message);
	else if (!set->aborted && set->events->on_notification)
		set->events->on_notification(set->context, index, note, message->params);
	if (message->kind == MCP_NOTIFICATION && mcp_method_is(message, "notifications/progress"))
		put_off_deadline(set);
}

const struct mcp_post_ops mcp_attempt_messages = { .write = write_calls, .foreign = on_foreign };
