/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notifications.c: word of calls under way. What an MCP server says of a call before its result
 * (notifications/progress, notifications/message) goes on to the client that asked for it, which turns its answer into
 * a stream of events. A client that is behind gets less of it; its result it gets all the same.
 */
#include "base/json.h"
#include "gateway/mcp/mcp_private.h"
#include "gateway/call/world.h"

enum {
	TOKEN_BYTES = 256,
	LEVEL_BYTES = 16,
	UNREAD_BYTES_MAX = 256 * 1024, /* of a client's stream; then it is behind */
	NOTE_BYTES_MAX = 128 * 1024
};

static uint8_t level_of(struct slice raw)
{
	struct buf name = BUF_INIT(LEVEL_BYTES);
	if (raw.len && json_type(raw) == JSON_STRING)
		json_unescape(raw, &name);
	uint8_t level = name.failed ? MCP_LEVEL_NONE : mcp_level_of(buf_slice(&name));
	buf_fini(&name);
	return level;
}

bool mcp_check_level(const struct mcp_request *asked, struct mcp_error *error)
{
	if (level_of(asked->level) != MCP_LEVEL_NONE)
		return true;
	mcp_error_set(error, 200, MCP_INVALID_PARAMS, OUTCOME_INVALID_REQUEST,
		      "params.level must be debug, info, notice, warning, error, critical, alert or emergency.");
	return false;
}

/* ---------------------------------------------------------------- passing on */

/* The params as they came, but for the token, which is the client's own. */
static void put_params(struct buf *out, struct slice params, struct slice token)
{
	struct slice name, value;
	const char *before = "";
	struct json_walk walk = json_walk(params);
	buf_put_char(out, '{');
	if (token.len) {
		buf_put_text(out, "\"progressToken\":");
		buf_put(out, token);
		before = ",";
	}
	while (json_next_member(&walk, &name, &value)) {
		if (json_string_is(name, SLICE("progressToken")))
			continue;
		buf_put_text(out, before);
		buf_put(out, name);
		buf_put_char(out, ':');
		buf_put(out, value);
		before = ",";
	}
	buf_put_char(out, '}');
}

/* Whether the message is as grave as the caller wants it to be. */
static bool grave_enough(const struct call *call, struct slice params)
{
	struct slice level;
	if (call->asks.level == MCP_LEVEL_UNASKED)
		return true;
	return json_member(params, SLICE("level"), &level) && level_of(level) >= call->asks.level;
}

static bool put_notification(struct mcp_exchange *exchange, enum mcp_notification_kind note, struct slice params,
			     struct slice token)
{
	struct buf text = BUF_INIT(NOTE_BYTES_MAX);
	buf_printf(&text, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/%s\",\"params\":",
		   note == MCP_NOTIFICATION_PROGRESS ? "progress" : "message");
	put_params(&text, params, token);
	buf_put_char(&text, '}');
	bool ok = !text.failed;
	if (ok && !exchange->started) {
		exchange->started = true;
		mcp_start_events(exchange->request, NULL);
	}
	if (ok)
		ok = mcp_put_event(exchange->request, buf_slice(&text));
	buf_fini(&text);
	return ok;
}

static void send_notification(struct call *call, enum mcp_notification_kind note, struct slice params)
{
	struct mcp_exchange *exchange = call->context;
	struct slice none = { NULL, 0 };
	if (note == MCP_NOTIFICATION_MESSAGE && !grave_enough(call, params))
		return;
	bool behind = exchange->started && request_stream_unread(exchange->request) > UNREAD_BYTES_MAX;
	bool passed = !behind && put_notification(exchange, note, params,
						  note == MCP_NOTIFICATION_PROGRESS ? exchange->token : none);
	meter_add(worker_meter(exchange->worker), METRIC_ID_MCP_NOTES, note,
		  passed ? MCP_NOTE_PASSED : MCP_NOTE_DROPPED, 1);
}

/* ---------------------------------------------------------------- asking */

static bool is_token(struct slice raw)
{
	return raw.len && raw.len <= TOKEN_BYTES && (json_type(raw) == JSON_STRING || json_type(raw) == JSON_NUMBER);
}

void mcp_ask_notifications(struct mcp_exchange *exchange, const struct mcp_request *asked, struct call *call)
{
	if (!exchange->listens)
		return;
	if (is_token(asked->token))
		exchange->token = asked->token;
	call->asks.progress = exchange->token.len > 0;
	/* a legacy client that has set no level hears what its server says by itself: no session knows of another */
	call->asks.level = exchange->era == MCP_LEGACY ? MCP_LEVEL_UNASKED : level_of(asked->log_level);
	call->on_notification = send_notification;
}
