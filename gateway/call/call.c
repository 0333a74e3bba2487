/* SPDX-License-Identifier: Apache-2.0 */
/* call.c: a call at its home worker: look-up, sending, coming home. */
#include "gateway/call/call.h"

#include <assert.h>
#include <stdlib.h>

#include "gateway/call/call_trace.h"
#include "gateway/call/worker.h"

enum {
	KEPT_CALLS = 1024,
	LARGE_BYTES = 512 << 10 /* arguments: to look at them and to send them is not done in the same turn */
};

struct call *call_new(struct worker *home)
{
	assert_owner(worker_owner(home));
	struct call *call = TAILQ_FIRST(&home->recycled);
	if (call) {
		TAILQ_REMOVE(&home->recycled, call, next);
		home->recycled_count--;
	} else {
		call = malloc(sizeof *call);
		if (!call)
			return NULL;
	}
	memset(call, 0, offsetof(struct call, request_id));
	call->home = home;
	call->catalogue = catalogue_hold(home->catalogue, home->index);
	call->started_us = loop_now(home->loop);
	return call;
}

/* ---------------------------------------------------------------- limits.in_flight */

/* One of the places that limits.in_flight has, over all workers. Each worker has a timer reserved for every place, so
 * more calls than places must never be sent: the count is taken first and compared then. */
static bool take_place(struct call *call)
{
	struct gateway *gateway = call->home->gateway;
	assert(!call->placed);
	call->placed = atomic_fetch_add_explicit(&gateway->in_flight, 1, memory_order_relaxed) <
		       atomic_load_explicit(&gateway->places, memory_order_relaxed);
	if (!call->placed)
		atomic_fetch_sub_explicit(&gateway->in_flight, 1, memory_order_relaxed);
	return call->placed;
}

static void leave_place(struct call *call)
{
	if (call->placed)
		atomic_fetch_sub_explicit(&call->home->gateway->in_flight, 1, memory_order_relaxed);
	call->placed = false;
}

static bool is_draining(const struct gateway *gateway)
{
	return atomic_load_explicit(&gateway->draining, memory_order_relaxed);
}

void call_free(struct call *call)
{
	struct worker *home = call->home;
	assert(call->mails_out == 0 && !call->timer.place);
	leave_place(call);
	answer_unref(call->answer);
	entry_unref(call->entry);
	entry_unref(call->fallback);
	entry_unref(call->refreshes);
	key_unref(call->key);
	blob_unref(call->body);
	blob_unref(call->tracestate);
	catalogue_drop(call->catalogue, home->index);
	if (home->recycled_count >= KEPT_CALLS) {
		free(call);
		return;
	}
	TAILQ_INSERT_HEAD(&home->recycled, call, next);
	home->recycled_count++;
}

/* ---------------------------------------------------------------- look-up */

static bool end_answered(struct call *call, struct answer *answer)
{
	call->answer = answer;
	call->ended_us = loop_now(call->home->loop);
	return true;
}

static bool end_refused(struct call *call, enum reject_reason reason, struct answer *answer)
{
	meter_add(call->home->meter, METRIC_ID_REJECTED, reason, 0, 1);
	call->source = SOURCE_NONE;
	return end_answered(call, answer);
}

/* A refusal that may be over in a second. */
static struct answer *turned_away(enum outcome outcome, const char *detail)
{
	return answer_upstream_error(outcome, 0, 1, (struct slice){ NULL, 0 }, "%s", detail);
}

/* The arguments are no JSON, or no object. */
static bool refuse_arguments(struct call *call, enum outcome outcome, const struct json_fault *fault)
{
	if (outcome == OUTCOME_INVALID_JSON)
		return end_refused(call, REJECT_BAD_JSON,
				   answer_error(outcome, "The arguments are not valid JSON: %s at byte %zu.",
						fault->what, fault->at));
	if (outcome == OUTCOME_INVALID_REQUEST)
		return end_refused(
			call, REJECT_BAD_REQUEST,
			answer_error(outcome, "The arguments of a tool must be a JSON object, as {\"name\": value}."));
	return end_refused(call, REJECT_NO_MEMORY, answer_no_memory());
}

/* A repeatable tool's calls get a key; others are only checked. */
static enum outcome identify_call(struct call *call, struct json_fault *fault)
{
	const struct tool *tool = call->tool;
	struct worker *home = call->home;
	if (tool_is_repeatable(tool)) {
		const struct key_parts parts = {
			.tool = slice_of(tool->name),
			.version = slice_of(tool->source),
			.identity = caller_identity(call->caller, tool->scope),
			.arguments = call->arguments,
			.filter = tool->key.ignore_count || tool->key.only_count ? &tool->key : NULL,
			.sound = call->sound,
		};
		return key_make(home->keys, &parts, &call->key, fault);
	}
	if (!call->sound &&
	    !json_check(call->arguments, worker_generation(home)->limits.json_depth, &home->scratch, fault))
		return fault->out_of_memory ? OUTCOME_OVERLOADED : OUTCOME_INVALID_JSON;
	return json_type(json_trim(call->arguments)) == JSON_OBJECT ? OUTCOME_OK : OUTCOME_INVALID_REQUEST;
}

static void refresh_answer(struct call *served);

struct answer *call_not_cached(void)
{
	return answer_error(OUTCOME_NOT_CACHED,
			    "There is no stored answer that this call may have, and it says only-if-cached.");
}

/* True: answered from memory, or the caller wants nothing else. */
static bool look_in_memory(struct call *call)
{
	struct worker *home = call->home;
	const struct cache_directives *directives = &call->caller->directives;
	if (!tool_is_cached(call->tool)) {
		call->source = SOURCE_BYPASS;
	} else {
		const struct cache_ask ask = { &call->tool->cache, directives, &home->tags, loop_now(home->loop) };
		struct cache_found found = cache_find(home->gateway->cache, call->key, &ask, home->meter);
		switch (found.decision) {
		case CACHE_DECISION_HIT:
		case CACHE_DECISION_STALE:
			call->source = found.decision == CACHE_DECISION_HIT ? SOURCE_HIT : SOURCE_STALE;
			call->entry = found.entry;
			if (found.refresh)
				refresh_answer(call);
			return end_answered(call, answer_ref(found.entry->answer));
		case CACHE_DECISION_MISS:
			call->source = SOURCE_MISS;
			call->miss_reason = found.miss_reason;
			call->fallback = found.entry;
			break;
		case CACHE_DECISION_BYPASS:
			call->source = SOURCE_REQUEST;
			break;
		}
	}
	if (directives->only_if_cached && !(home->tier && call->source == SOURCE_MISS))
		return end_answered(call, call_not_cached());
	return false;
}

void call_refuse_json(struct call *call, const struct json_fault *fault)
{
	refuse_arguments(call, fault->out_of_memory ? OUTCOME_OVERLOADED : OUTCOME_INVALID_JSON, fault);
}

bool call_look_up(struct call *call)
{
	struct worker *home = call->home;
	struct gateway *gateway = home->gateway;
	const struct tool *tool = call->tool;
	struct json_fault fault;
	if (home->traces)
		call_trace_begin(call);
	if (json_trim(call->arguments).len == 0)
		call->arguments = SLICE("{}");
	enum outcome outcome = identify_call(call, &fault);
	if (outcome != OUTCOME_OK)
		return refuse_arguments(call, outcome, &fault);
	if (look_in_memory(call))
		return true;
	struct answer *problem = tool->route->dialect->check(tool->route, call->arguments);
	if (problem)
		return end_refused(call, REJECT_BAD_REQUEST, problem);
	if (is_draining(gateway) &&
	    loop_now(home->loop) >= atomic_load_explicit(&gateway->drain_until_us, memory_order_relaxed))
		return end_refused(call, REJECT_SHUTTING_DOWN,
				   turned_away(OUTCOME_SHUTTING_DOWN, "The gateway is shutting down."));
	if (!take_place(call))
		return end_refused(call, REJECT_IN_FLIGHT,
				   turned_away(OUTCOME_OVERLOADED,
					       "The gateway has as many calls in flight as limits.in_flight allows."));
	return false;
}

/* ---------------------------------------------------------------- there and back */

static void open_at_owner(struct mail *mail)
{
	struct call *call = container_of(mail, struct call, mail);
	dispatch_take(call_owner(call)->dispatch, call);
}

static void open_cancel_at_home(struct mail *mail);

static void open_cancel_at_owner(struct mail *mail)
{
	struct call *call = container_of(mail, struct call, cancel_mail);
	dispatch_cancel(call_owner(call)->dispatch, call);
	mail->open = open_cancel_at_home;
	mailbox_post(&call->home->mailbox, mail);
}

static void keep_text(char *place, size_t bytes, struct slice text)
{
	if (text.len >= bytes)
		text.len = 0;
	memcpy(place, text.len ? text.at : "", text.len);
	place[text.len] = '\0';
}

/* Who shares a request with a write is a question of who asks. */
static void keep_identity(struct call *call, const struct caller *caller)
{
	call->identity = (struct slice){ NULL, 0 };
	if (tool_is_repeatable(call->tool))
		return;
	memcpy(call->identity_bytes, caller->name, caller->name_len);
	call->identity = (struct slice){ call->identity_bytes, caller->name_len };
}

/* Whose it is, for pages; the request may be gone before the call is over. */
static void keep_request(struct call *call, const struct request *request)
{
	call->request_id[0] = call->tenant[0] = '\0';
	if (!request)
		return;
	keep_text(call->request_id, sizeof call->request_id, slice_of(request->id));
	if (request->from_trusted_proxy)
		recent_calls_put(call->tenant, sizeof call->tenant, request->headers[HEADER_TENANT]);
}

void call_send(struct call *call, struct blob *body)
{
	assert_owner(worker_owner(call->home));
	struct worker *home = call->home;
	const struct caller *caller = call->caller;
	struct worker *owner = call_owner(call);
	call->body = blob_ref(body);
	call->wanted_us =
		caller->timeout_us == CLOCK_NEVER ? CLOCK_NEVER : clock_add(call->started_us, caller->timeout_us);
	call->own_deadline = caller->timeout_us < call->tool->timeout_us;
	call->deadline_us =
		clock_add(call->started_us, call->own_deadline ? caller->timeout_us : call->tool->timeout_us);
	keep_identity(call, caller);
	keep_request(call, caller->request);
	call->sent = ++home->sent;
	call->caller_number = caller->number;
	call->urgency = caller->urgency;
	call->directives = caller->directives;
	if (home->traces)
		call_trace_depart(call);
	else
		keep_text(call->traceparent, sizeof call->traceparent, caller->traceparent);
	if (caller->tracestate.len)
		call->tracestate = blob_copy(caller->tracestate); /* without memory it goes without */
	keep_text(call->idempotency_key, sizeof call->idempotency_key, caller->idempotency_key);
	call->caller = NULL;
	assert(call->placed);
	meter_move(home->meter, METRIC_ID_IN_FLIGHT, 0, 0, 1);
	call->mails_out++;
	call->posted = owner != home || call->arguments.len > LARGE_BYTES;
	if (!call->posted) {
		dispatch_take(home->dispatch, call);
		return;
	}
	TAILQ_INSERT_TAIL(&home->outgoing, call, next);
}

void call_post_outgoing(struct worker *home)
{
	assert_owner(worker_owner(home));
	struct call *call;
	while ((call = TAILQ_FIRST(&home->outgoing))) {
		TAILQ_REMOVE(&home->outgoing, call, next);
		call->mail.open = open_at_owner;
		mailbox_post(&call_owner(call)->mailbox, &call->mail);
	}
}

void call_cancel(struct call *call)
{
	assert_owner(worker_owner(call->home));
	struct worker *home = call->home;
	struct worker *owner = call_owner(call);
	call->abandoned = true;
	if (!call->posted) {
		dispatch_cancel(home->dispatch, call);
		return;
	}
	call_post_outgoing(home); /* the call itself may be among them: it goes first */
	call->mails_out++;
	call->cancel_mail.open = open_cancel_at_owner;
	mailbox_post(&owner->mailbox, &call->cancel_mail);
}

/* ---------------------------------------------------------------- word of a call on its way */

enum { NOTES_OUT_MAX = 16 /* of one call; a home that is so far behind does without */, NOTE_BYTES_MAX = 64 * 1024 };

/* Posted before the call's own return by the same thread, so it is opened while the call is still there. */
struct call_mail {
	struct mail mail;
	struct call *call;
	enum mcp_notification_kind note;
	size_t len;
	char params[];
};

static void notify_home(struct call *call, enum mcp_notification_kind note, struct slice params)
{
	if (!call->abandoned)
		call->on_notification(call, note, params);
}

static void open_notification(struct mail *mail)
{
	struct call_mail *letter = container_of(mail, struct call_mail, mail);
	atomic_fetch_sub_explicit(&letter->call->notes_out, 1, memory_order_relaxed);
	notify_home(letter->call, letter->note, (struct slice){ letter->params, letter->len });
	free(letter);
}

void call_notify(struct call *call, struct worker *owner, enum mcp_notification_kind note, struct slice params)
{
	assert_owner(worker_owner(owner));
	struct call_mail *letter = NULL;
	if (owner == call->home) {
		notify_home(call, note, params);
		return;
	}
	if (params.len <= NOTE_BYTES_MAX &&
	    atomic_load_explicit(&call->notes_out, memory_order_relaxed) < NOTES_OUT_MAX)
		letter = malloc(sizeof *letter + params.len);
	if (!letter) {
		meter_add(owner->meter, METRIC_ID_MCP_NOTES, note, MCP_NOTE_DROPPED, 1);
		return;
	}
	*letter = (struct call_mail){ .mail.open = open_notification, .call = call, .note = note, .len = params.len };
	memcpy(letter->params, params.at, params.len);
	atomic_fetch_add_explicit(&call->notes_out, 1, memory_order_relaxed);
	mailbox_post(&call->home->mailbox, &letter->mail);
}

/* Upstream trouble may be covered by an answer past its time (RFC 5861, 4). */
static bool may_fall_back(enum outcome outcome)
{
	return outcome == OUTCOME_UPSTREAM_ERROR || outcome == OUTCOME_UPSTREAM_UNAVAILABLE ||
	       outcome == OUTCOME_UPSTREAM_TIMEOUT || outcome == OUTCOME_DEADLINE_EXCEEDED ||
	       outcome == OUTCOME_RATE_LIMITED || outcome == OUTCOME_OVERLOADED || outcome == OUTCOME_SHUTTING_DOWN;
}

static void fall_back(struct call *call)
{
	answer_unref(call->answer);
	call->answer = answer_ref(call->fallback->answer);
	call->entry = call->fallback;
	call->fallback = NULL;
	call->fell_back = true;
	call->source = SOURCE_STALE;
	meter_add(call->home->meter, METRIC_ID_CACHE_REQUESTS, call->tier, CACHE_STALE, 1);
}

/* Home again, with a result. */
static void came_home(struct call *call)
{
	struct worker *home = call->home;
	call->mails_out--;
	call->ended_us = loop_now(home->loop);
	leave_place(call);
	meter_move(home->meter, METRIC_ID_IN_FLIGHT, 0, 0, -1);
	if (call->refresh)
		refresh_answer(call);
	if (call->abandoned) {
		if (call->mails_out == 0)
			call_free(call);
		return;
	}
	enum outcome outcome = call->answer->outcome;
	if (call->own_deadline && outcome == OUTCOME_UPSTREAM_TIMEOUT && call->ended_us >= call->deadline_us) {
		/* it was not the provider that was slow, but the caller that was in a hurry */
		answer_unref(call->answer);
		call->answer = answer_error(
			OUTCOME_DEADLINE_EXCEEDED,
			"The call's own deadline (X-Request-Timeout-Ms) passed before the provider answered.");
	}
	const struct cache_ask ask = { &call->tool->cache, &call->directives, &home->tags, call->ended_us };
	if (call->fallback && may_fall_back(outcome) && cache_covers_error(home->gateway->cache, call->fallback, &ask))
		fall_back(call);
	call->done(call);
}

static void open_at_home(struct mail *mail)
{
	came_home(container_of(mail, struct call, mail));
}

static void open_cancel_at_home(struct mail *mail)
{
	struct call *call = container_of(mail, struct call, cancel_mail);
	call->mails_out--;
	if (call->mails_out == 0)
		call_free(call);
}

void call_return(struct call *call, struct worker *owner)
{
	assert_owner(worker_owner(owner));
	if (owner == call->home) {
		TAILQ_INSERT_TAIL(&owner->returned, call, next);
		return;
	}
	call->mail.open = open_at_home;
	mailbox_post(&call->home->mailbox, &call->mail);
}

void call_finish_returned(struct worker *home)
{
	assert_owner(worker_owner(home));
	struct call *call;
	while ((call = TAILQ_FIRST(&home->returned))) {
		TAILQ_REMOVE(&home->returned, call, next);
		came_home(call);
	}
}

/* ---------------------------------------------------------------- background refresh */

/* Whether one more background refresh of this upstream may begin; then it is counted. None does while draining: there
 * is nobody to profit from it, and the end would wait for it. */
static bool claim_refresh(struct gateway *gateway, const struct upstream_config *upstream)
{
	atomic_size_t *refreshes = &gateway->refreshes[upstream->settings.label];
	if (is_draining(gateway))
		return false;
	if (atomic_fetch_add_explicit(refreshes, 1, memory_order_relaxed) < upstream->refreshes)
		return true;
	atomic_fetch_sub_explicit(refreshes, 1, memory_order_relaxed);
	return false;
}

static void release_refresh(struct gateway *gateway, const struct upstream_config *upstream)
{
	atomic_fetch_sub_explicit(&gateway->refreshes[upstream->settings.label], 1, memory_order_relaxed);
}

static void refresh_done(struct call *call)
{
	release_refresh(call->home->gateway, call_upstream(call));
	cache_refreshed(call->refreshes);
	call_free(call);
}

/* A call like `served`, for nobody but the cache. False: out of memory or of places. */
static bool send_refresh(const struct call *served)
{
	struct call *call = call_new(served->home);
	struct blob *body = blob_copy(served->arguments);
	/* served from memory before it was sent, or from a tier behind it */
	uint64_t caller_number = served->caller ? served->caller->number : served->caller_number;
	if (!call || !body || !take_place(call)) {
		if (call)
			call_free(call);
		blob_unref(body);
		return false;
	}
	struct caller background = { .timeout_us = CLOCK_NEVER, .number = caller_number, .urgency = 7 };
	background.directives.no_cache = true;
	if (call->catalogue != served->catalogue) { /* a later one came while the call was away */
		catalogue_drop(call->catalogue, call->home->index);
		call->catalogue = catalogue_hold(served->catalogue, call->home->index);
	}
	call->tool = served->tool;
	call->caller = &background;
	call->arguments = blob_slice(body);
	call->key = key_ref(served->key);
	call->refreshes = entry_ref(served->entry);
	call->source = SOURCE_REQUEST;
	call->done = refresh_done;
	call_send(call, body);
	blob_unref(body);
	return true;
}

/* `served` has an answer that is past its time (RFC 5861, 3) or nearly so, and its caller is the one to fetch anew.
 * Nobody waits for it. */
static void refresh_answer(struct call *served)
{
	struct gateway *gateway = served->home->gateway;
	const struct upstream_config *upstream = call_upstream(served);
	bool begun = claim_refresh(gateway, upstream);
	if (begun && !send_refresh(served)) {
		release_refresh(gateway, upstream);
		begun = false;
	}
	if (!begun)
		cache_refreshed(served->entry);
	meter_add(served->home->meter, METRIC_ID_CACHE_REFRESHES, upstream->settings.label,
		  begun ? REFRESH_BEGUN : REFRESH_SKIPPED, 1);
}
