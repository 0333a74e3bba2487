/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider_mcp.c: the kind of provider that is an MCP server over HTTP. Calls travel as tools/call (mcp_exchange.h) over
 * upstream_http's kind, which brings pool, endpoints, deadlines and the rule that a write is sent once; control.h
 * keeps the session and the list of tools.
 */
#include <assert.h>
#include <stdlib.h>

#include "upstream/mcp/mcp_exchange.h"

/* The session is there, or will not be for now. */
static void control_turned(struct mcp_control *control)
{
	struct mcp_upstream *upstream = container_of(control, struct mcp_upstream, control);
	const char *why;
	bool ready = mcp_control_is_ready(control, &why);
	if (!ready && !why)
		return;
	/* counted: a callback may end sets and begin others */
	for (size_t left = upstream->waiting_count; left > 0 && !TAILQ_EMPTY(&upstream->waiting); left--) {
		struct mcp_call_set *set = TAILQ_FIRST(&upstream->waiting);
		if (ready) {
			call_set_go(set);
			continue;
		}
		call_set_close(set, mcp_closed_answer(upstream, why));
	}
}

static bool session_in_use(const struct mcp_control *control, unsigned epoch)
{
	const struct mcp_upstream *upstream = container_of(control, const struct mcp_upstream, control);
	const struct mcp_call_set *set;
	TAILQ_FOREACH (set, &upstream->sets, next)
		for (size_t i = 0; i < set->attempt_count; i++)
			if (set->attempts[i].post.epoch == epoch)
				return true;
	return false;
}

static struct exchange *mcp_send(struct upstream *base, const struct upstream_call *calls, size_t count,
				 uint64_t deadline_us, const struct upstream_events *events, void *context,
				 struct answer **refusal)
{
	struct mcp_upstream *upstream = container_of(base, struct mcp_upstream, base);
	const char *why;
	bool ready = mcp_control_want(&upstream->control, &why);
	if (why) {
		*refusal = mcp_closed_answer(upstream, why);
		return NULL;
	}
	struct mcp_call_set *set = call_set_new(upstream, calls, count, refusal);
	if (!set)
		return NULL;
	uint64_t latest_us = clock_add(loop_now(base->loop), base->settings->timeout_us);
	set->deadline_us = deadline_us < latest_us ? deadline_us : latest_us;
	uint64_t end_us = clock_add(loop_now(base->loop), base->settings->mcp_progress_us);
	set->end_us = call_set_asks_progress(set) && end_us > set->deadline_us ? end_us : set->deadline_us;
	set->events = events;
	set->context = context;
	if (ready)
		call_set_go(set);
	else
		call_set_wait(set);
	return &set->base;
}

static void mcp_abort(struct exchange *exchange)
{
	struct mcp_call_set *set = container_of(exchange, struct mcp_call_set, base);
	struct loop *loop = set->upstream->base.loop;
	set->aborted = true;
	if (set->delivering)
		loop_arm(loop, &set->timer, loop_now(loop)); /* an exchange is in mid-callback: not from here */
	else
		call_set_abort(set);
}

static bool mcp_sent(const struct exchange *exchange)
{
	const struct mcp_call_set *set = container_of(exchange, const struct mcp_call_set, base);
	bool sent = set->again || set->state == SET_RESUMING;
	for (size_t i = 0; i < set->attempt_count && set->state == SET_GOING; i++) {
		const struct mcp_attempt *attempt = &set->attempts[i];
		sent |= attempt->exchange ? upstream_http.sent(attempt->exchange) : !attempt->refusal;
	}
	return sent;
}

static void mcp_free(struct upstream *base)
{
	struct mcp_upstream *upstream = container_of(base, struct mcp_upstream, base);
	struct mcp_call_set *set, *after;
	assert(TAILQ_EMPTY(&upstream->waiting));
	for (set = TAILQ_FIRST(&upstream->sets); set; set = after) {
		after = TAILQ_NEXT(set, next);
		assert(set->aborted); /* in mid-callback, its timer still to come */
		call_set_abort(set);
	}
	mcp_control_fini(&upstream->control);
	upstream_http.free(upstream->http);
	free(upstream);
}

static void set_inner(struct mcp_upstream *upstream)
{
	const struct upstream_settings *settings = upstream->base.settings;
	upstream->inner = *settings;
	upstream->inner.dialect = &mcp_post_dialect;
	upstream->inner.one_server = true;
	if (settings->mcp_progress_us > settings->timeout_us) /* each exchange is given its own deadline */
		upstream->inner.timeout_us = settings->mcp_progress_us;
}

static void mcp_adjust(struct upstream *base)
{
	struct mcp_upstream *upstream = container_of(base, struct mcp_upstream, base);
	set_inner(upstream);
	upstream_http.adjust(upstream->http);
}

static struct upstream *mcp_make(const struct upstream_settings *settings, struct transport *transport,
				 struct loop *loop, struct meter *meter)
{
	static const struct mcp_control_events events = { control_turned, session_in_use };
	struct mcp_upstream *upstream = calloc(1, sizeof *upstream);
	if (!upstream)
		return NULL;
	upstream->base.settings = settings;
	upstream->base.loop = loop;
	upstream->transport = transport;
	upstream->meter = meter;
	set_inner(upstream);
	TAILQ_INIT(&upstream->sets);
	TAILQ_INIT(&upstream->waiting);
	upstream->http = upstream_http.make(&upstream->inner, transport, loop, meter);
	if (upstream->http && mcp_control_init(&upstream->control, settings, upstream->http, loop, meter, &events))
		return &upstream->base;
	if (upstream->http)
		upstream_http.free(upstream->http);
	free(upstream);
	return NULL;
}

static void mcp_watch(struct upstream *base, const struct upstream_watcher *watcher)
{
	struct mcp_upstream *upstream = container_of(base, struct mcp_upstream, base);
	mcp_control_watch(&upstream->control, watcher);
}

static void mcp_leave(struct upstream *base, uint64_t timeout_us)
{
	mcp_control_leave(&container_of(base, struct mcp_upstream, base)->control, timeout_us);
}

static bool mcp_leaving(const struct upstream *base)
{
	return mcp_control_leaving(&container_of(base, const struct mcp_upstream, base)->control);
}

const struct upstream_kind upstream_mcp = {
	.make = mcp_make,
	.free = mcp_free,
	.adjust = mcp_adjust,
	.send = mcp_send,
	.abort = mcp_abort,
	.sent = mcp_sent,
	.watch = mcp_watch,
	.leave = mcp_leave,
	.leaving = mcp_leaving,
};
