/* SPDX-License-Identifier: Apache-2.0 */
/*
 * subscriptions.c: subscriptions/listen of 2026-07-28: a stream of events that stays open and says when the list of
 * tools has changed. Bounded in number, kept alive by comments, ended when the gateway drains.
 */
#include <stdlib.h>

#include "base/json.h"
#include "gateway/mcp/mcp_private.h"
#include "gateway/call/worker.h"

#define KEEP_ALIVE_US (15 * CLOCK_US_PER_S) /* below the idle timeouts of usual proxies */
enum { EVENT_BYTES = 2048 };

struct subscription {
	struct worker *worker;
	struct request *request;
	struct catalogue_listener listener; /* in worker->listeners if the client wants to hear of tools */
	struct loop_timer keep_alive;
	bool wants_tools;
	TAILQ_ENTRY(subscription) next; /* in worker->subscriptions */
	size_t id_len;
	char id[MCP_ID_BYTES];
};

/* ---------------------------------------------------------------- events */

void mcp_put_events_head(struct reply *reply)
{
	reply->content_type = "text/event-stream";
	reply_header_text(reply, "Cache-Control", SLICE("no-cache"));
	reply_header_text(reply, "X-Accel-Buffering", SLICE("no"));
}

void mcp_start_events(struct request *request, const struct call *call)
{
	struct reply reply UNCLEARED;
	mcp_reply_init(&reply, request, 200);
	mcp_put_events_head(&reply);
	if (call)
		reply_put_call(&reply, call);
	request_stream_start(request, &reply);
}

void mcp_append_event(struct buf *out, struct slice text)
{
	struct pieces pieces = { .raw = PIECE_EVENT };
	buf_put_text(out, MCP_EVENT_BEGINS);
	pieces_put(&pieces, text);
	pieces_write_all(&pieces, out);
	buf_put_text(out, MCP_EVENT_ENDS);
}

bool mcp_put_event(struct request *request, struct slice text)
{
	struct buf event = BUF_INIT(text.len * 8 + EVENT_BYTES);
	mcp_append_event(&event, text);
	bool ok = !event.failed && request_stream_put(request, buf_slice(&event));
	buf_fini(&event);
	return ok;
}

/* ---------------------------------------------------------------- subscriptions */

static void subscription_free(struct subscription *subscription)
{
	struct worker *worker = subscription->worker;
	loop_disarm(worker->loop, &subscription->keep_alive);
	loop_timers_release(worker->loop, 1);
	if (subscription->wants_tools)
		TAILQ_REMOVE(&worker->listeners, &subscription->listener, next);
	TAILQ_REMOVE(&worker->subscriptions, subscription, next);
	atomic_fetch_sub_explicit(&worker->gateway->subscriptions, 1, memory_order_relaxed);
	meter_move(worker->meter, METRIC_ID_MCP_SUBSCRIPTIONS, 0, 0, -1);
	free(subscription);
}

static void client_left(struct request *request)
{
	subscription_free(request->waits_for);
}

/* What could not be said must not be missing silently: the client sees the stream break, and asks again. */
static void break_off(struct subscription *subscription)
{
	request_stream_abort(subscription->request);
	subscription_free(subscription);
}

static bool notify_client(struct subscription *subscription, const char *method, const char *params)
{
	struct buf text = BUF_INIT(EVENT_BYTES);
	buf_printf(&text, "{\"jsonrpc\":\"2.0\",\"method\":\"%s\",\"params\":{\"_meta\":{", method);
	buf_put_text(&text, "\"io.modelcontextprotocol/subscriptionId\":");
	buf_put(&text, (struct slice){ subscription->id, subscription->id_len });
	buf_printf(&text, "}%s}}", params);
	bool ok = !text.failed && mcp_put_event(subscription->request, buf_slice(&text));
	buf_fini(&text);
	return ok;
}

static void tools_changed(struct catalogue_listener *listener)
{
	struct subscription *subscription = container_of(listener, struct subscription, listener);
	if (!notify_client(subscription, "notifications/tools/list_changed", ""))
		break_off(subscription);
}

static void keep_alive(struct loop_timer *timer, uint64_t now_us)
{
	struct subscription *subscription = container_of(timer, struct subscription, keep_alive);
	if (request_stream_put(subscription->request, SLICE(": still here\n\n")))
		loop_arm(subscription->worker->loop, timer, now_us + KEEP_ALIVE_US);
	else
		break_off(subscription);
}

static struct subscription *subscription_new(struct worker *worker, struct request *request, struct slice id,
					     bool wants_tools)
{
	struct subscription *subscription = calloc(1, sizeof *subscription);
	if (!subscription || !loop_timers_reserve(worker->loop, 1)) {
		free(subscription);
		return NULL;
	}
	subscription->worker = worker;
	subscription->request = request;
	subscription->listener.changed = tools_changed;
	subscription->keep_alive = LOOP_TIMER_INIT(keep_alive);
	subscription->wants_tools = wants_tools;
	subscription->id_len = id.len;
	memcpy(subscription->id, id.at, id.len);
	TAILQ_INSERT_TAIL(&worker->subscriptions, subscription, next);
	if (wants_tools)
		TAILQ_INSERT_TAIL(&worker->listeners, &subscription->listener, next);
	loop_arm(worker->loop, &subscription->keep_alive, loop_now(worker->loop) + KEEP_ALIVE_US);
	meter_move(worker->meter, METRIC_ID_MCP_SUBSCRIPTIONS, 0, 0, 1);
	return subscription;
}

static bool refuse_subscription(struct mcp_error *error, enum outcome outcome, const char *message)
{
	mcp_error_set(error, 200, (int)outcome_status(outcome), outcome, "%s", message);
	error->retry_after_s = 1;
	return false;
}

/* A place among those that may be open. False: *error. */
static bool take_place(struct worker *worker, struct mcp_error *error)
{
	struct gateway *gateway = worker->gateway;
	if (atomic_load_explicit(&gateway->draining, memory_order_relaxed))
		return refuse_subscription(error, OUTCOME_SHUTTING_DOWN, "The gateway is shutting down.");
	if (atomic_fetch_add_explicit(&gateway->subscriptions, 1, memory_order_relaxed) <
	    worker_generation(worker)->mcp.subscriptions)
		return true;
	atomic_fetch_sub_explicit(&gateway->subscriptions, 1, memory_order_relaxed);
	meter_add(worker->meter, METRIC_ID_REJECTED, REJECT_SUBSCRIPTIONS, 0, 1);
	return refuse_subscription(error, OUTCOME_OVERLOADED, "As many streams are open as mcp.subscriptions allows.");
}

bool mcp_listen(struct worker *worker, struct request *request, const struct mcp_request *asked,
		struct mcp_error *error)
{
	assert_owner(worker_owner(worker));
	struct slice tools;
	if (asked->wanted.len == 0 || json_type(asked->wanted) != JSON_OBJECT) {
		mcp_error_set(error, 200, MCP_INVALID_PARAMS, OUTCOME_INVALID_REQUEST,
			      "params.notifications must be an object, such as {\"toolsListChanged\": true}.");
		return false;
	}
	bool wants_tools =
		json_member(asked->wanted, SLICE("toolsListChanged"), &tools) && json_type(tools) == JSON_TRUE;
	if (!take_place(worker, error))
		return false;
	struct subscription *subscription = subscription_new(worker, request, asked->id, wants_tools);
	if (!subscription) {
		atomic_fetch_sub_explicit(&worker->gateway->subscriptions, 1, memory_order_relaxed);
		return refuse_subscription(error, OUTCOME_OVERLOADED, "The gateway is out of memory.");
	}
	mcp_start_events(request, NULL);
	request->waits_for = subscription;
	request->gone = client_left;
	if (!notify_client(subscription, "notifications/subscriptions/acknowledged",
			   wants_tools ? ",\"notifications\":{\"toolsListChanged\":true}" : ",\"notifications\":{}"))
		break_off(subscription);
	return true;
}

void mcp_end_subscriptions(struct worker *worker, const struct http *http)
{
	assert_owner(worker_owner(worker));
	struct subscription *subscription, *next;
	for (subscription = TAILQ_FIRST(&worker->subscriptions); subscription; subscription = next) {
		next = TAILQ_NEXT(subscription, next);
		if (http && subscription->request->http != http)
			continue;
		request_stream_end(subscription->request);
		subscription_free(subscription);
	}
}
