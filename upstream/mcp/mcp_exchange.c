/* SPDX-License-Identifier: Apache-2.0 */
/* mcp_exchange.c: calls to an MCP server: sent, answers delivered, sent again where that does no harm. */
#include "upstream/mcp/mcp_exchange.h"

#include <assert.h>
#include <stdlib.h>

#include "base/log.h"

enum { RESUMES_MAX = 20 /* of one call's stream */ };
#define LINGER_US (200 * CLOCK_US_PER_MS) /* a stream whose calls are all answered may stay open that long */
#define RESUME_US CLOCK_US_PER_S /* a broken stream is taken up again after that, unless the server says when */
#define RESUME_MIN_US (10 * CLOCK_US_PER_MS)

/* Progress may put its deadline off, so it is minded here and not by the exchanges. */
static bool minds_deadline(const struct mcp_call_set *set)
{
	return set->end_us > set->deadline_us || set->extended;
}

/* --- lists --- */

static void leave_list(struct mcp_call_set *set)
{
	struct mcp_upstream *upstream = set->upstream;
	TAILQ_REMOVE(set->state == SET_WAITING ? &upstream->waiting : &upstream->sets, set, next);
	upstream->waiting_count -= set->state == SET_WAITING;
}

static void set_state(struct mcp_call_set *set, enum mcp_set_state state)
{
	struct mcp_upstream *upstream = set->upstream;
	leave_list(set);
	set->state = state;
	TAILQ_INSERT_TAIL(state == SET_WAITING ? &upstream->waiting : &upstream->sets, set, next);
	upstream->waiting_count += state == SET_WAITING;
}

/* --- the end of a call set --- */

static void free_set(struct mcp_call_set *set)
{
	struct mcp_upstream *upstream = set->upstream;
	for (size_t i = 0; i < set->attempt_count; i++) {
		assert(!set->attempts[i].exchange);
		answer_unref(set->attempts[i].refusal);
	}
	for (size_t i = 0; i < set->count; i++) {
		answer_unref(set->items[i].held);
		if (set->items[i].route)
			dialect_route_unref(&set->items[i].route->base);
	}
	leave_list(set);
	loop_disarm(upstream->base.loop, &set->timer);
	loop_timers_release(upstream->base.loop, 1);
	buf_fini(&set->texts);
	if (set->held)
		transport_let_go_request(upstream->transport, set->held);
	free(set->attempts);
	free(set);
}

static void stop_attempts(struct mcp_call_set *set)
{
	for (size_t i = 0; i < set->attempt_count; i++) {
		if (set->attempts[i].exchange)
			upstream_http.abort(set->attempts[i].exchange);
		set->attempts[i].exchange = NULL;
	}
}

/* Nobody waits for these calls any more; a legacy server does not take a closed stream for that. */
static void cancel_undelivered(struct mcp_call_set *set)
{
	for (size_t i = 0; i < set->attempt_count; i++) {
		const struct mcp_attempt *attempt = &set->attempts[i];
		for (size_t k = 0; attempt->post.first_id && k < attempt->count; k++)
			if (!set->items[attempt->first + k].delivered)
				mcp_control_cancel(&set->upstream->control, attempt->post.first_id + k);
	}
}

void call_set_abort(struct mcp_call_set *set)
{
	cancel_undelivered(set);
	stop_attempts(set);
	free_set(set);
}

/* All is said. An exchange ends by itself then, as it should; if it does not, it is ended. */
static void linger_set(struct mcp_call_set *set)
{
	struct loop *loop = set->upstream->base.loop;
	uint64_t due_us = clock_add(loop_now(loop), LINGER_US);
	if (!set->timer.place || set->timer.due_us > due_us)
		loop_arm(loop, &set->timer, due_us);
}

/* The deadline, if it is minded here and nothing is due sooner. */
static void arm_deadline(struct mcp_call_set *set)
{
	if (minds_deadline(set) && !set->timer.place && set->delivered_count < set->count)
		loop_arm(set->upstream->base.loop, &set->timer, set->deadline_us);
}

static bool is_under_way(const struct mcp_call_set *set)
{
	for (size_t i = 0; i < set->attempt_count; i++)
		if (set->attempts[i].exchange || set->attempts[i].refusal)
			return true;
	return false;
}

/* Every callback is over: end the set if it has nothing left to do. */
static void settle_set(struct mcp_call_set *set)
{
	if (set->aborted || set->delivered_count < set->count)
		return;
	if (is_under_way(set)) {
		linger_set(set);
		return;
	}
	const struct upstream_events *events = set->events;
	void *context = set->context;
	enum outcome outcome = set->outcome;
	free_set(set);
	events->completed(context, outcome);
}

static void deliver_answer(struct mcp_call_set *set, size_t index, struct answer *answer, bool refused)
{
	struct mcp_set_item *item = &set->items[index];
	assert(!item->delivered);
	item->delivered = true;
	set->delivered_count++;
	if (atomic_load(&answer->refs) == 1) { /* the head of an exchange says nothing of a tool's result */
		answer->reuse_said = false;
		answer->age_s = 0;
	}
	set->delivering = true;
	if (set->aborted)
		answer_unref(answer);
	else if (refused && set->events->refused)
		set->events->refused(set->context, index, answer);
	else
		set->events->answered(set->context, index, answer);
	set->delivering = false;
}

static void deliver_rest(struct mcp_call_set *set, struct answer *answer, enum outcome outcome)
{
	set->outcome = outcome;
	for (size_t i = 0; i < set->count; i++)
		if (!set->items[i].delivered)
			deliver_answer(set, i, answer_ref(answer), false);
	answer_unref(answer);
}

void call_set_close(struct mcp_call_set *set, struct answer *answer)
{
	set_state(set, SET_GOING);
	loop_disarm(set->upstream->base.loop, &set->timer);
	deliver_rest(set, answer, OUTCOME_UPSTREAM_UNAVAILABLE);
	settle_set(set);
}

/* --- going --- */

static void attempt_answered(void *context, size_t index, struct answer *answer);
static void attempt_refused(void *context, size_t index, struct answer *answer);
static void attempt_completed(void *context, enum outcome outcome);

/* Send an attempt; what hinders it is told from the timer. */
static void attempt_go(struct mcp_attempt *attempt)
{
	static const struct upstream_events events = { .answered = attempt_answered,
						       .refused = attempt_refused,
						       .completed = attempt_completed };
	struct mcp_call_set *set = attempt->set;
	struct mcp_upstream *upstream = set->upstream;
	struct upstream_call one = { .route = NULL }, *calls = &one;
	if (attempt->count > 1 && !(calls = calloc(attempt->count, sizeof *calls))) {
		attempt->refusal = answer_no_memory();
	} else {
		for (size_t i = 0; i < attempt->count; i++)
			calls[i] = (struct upstream_call){ .route = &attempt->post.route,
							   .arguments = set->items[attempt->first + i].arguments,
							   .repeatable = set->items[attempt->first + i].repeatable ||
									 attempt->resuming,
							   .traceparent = set->trace.parent,
							   .tracestate = set->trace.state,
							   .idempotency_key = set->idempotency_key,
							   .kind = set->kind };
		attempt->exchange = upstream_http.send(upstream->http, calls, attempt->count, set->end_us, &events,
						       attempt, &attempt->refusal);
	}
	if (calls != &one)
		free(calls);
	if (!attempt->exchange)
		loop_arm(upstream->base.loop, &set->timer, loop_now(upstream->base.loop));
}

/* `attempt` is one of the set's, and nothing of it is under way. */
static void set_out(struct mcp_call_set *set, struct mcp_attempt *attempt, size_t first, size_t count)
{
	struct mcp_upstream *upstream = set->upstream;
	*attempt = (struct mcp_attempt){ .set = set, .first = first, .count = count, .array = count > 1 };
	mcp_post_init(&attempt->post, &mcp_attempt_messages, &upstream->control.session, loop_now(upstream->base.loop));
	attempt_go(attempt);
}

void call_set_go(struct mcp_call_set *set)
{
	struct mcp_upstream *upstream = set->upstream;
	bool arrays = upstream->control.session.era == MCP_LEGACY && !upstream->arrays_refused;
	set_state(set, SET_GOING);
	set->attempt_count = 0;
	loop_disarm(upstream->base.loop, &set->timer);
	for (size_t i = 0; i < set->count;) {
		size_t end = i;
		while (end < set->count && !set->items[end].delivered && (arrays || end == i))
			end++;
		if (end > i)
			set_out(set, &set->attempts[set->attempt_count++], i, end - i);
		i = end > i ? end : i + 1;
	}
	arm_deadline(set);
}

void call_set_wait(struct mcp_call_set *set)
{
	set_state(set, SET_WAITING);
	set->attempt_count = 0;
	loop_arm(set->upstream->base.loop, &set->timer, set->deadline_us);
}

struct answer *mcp_closed_answer(const struct mcp_upstream *upstream, const char *why)
{
	return answer_error(OUTCOME_UPSTREAM_UNAVAILABLE, "%s: %.150s", upstream->base.settings->name, why);
}

/* --- what an attempt hears --- */

/* Whether the stream broke off before this answer came, and can be taken up again. */
static bool may_resume(const struct mcp_attempt *attempt, const struct answer *answer)
{
	const struct mcp_call_set *set = attempt->set;
	bool cut = answer->outcome == OUTCOME_UPSTREAM_ERROR || answer->outcome == OUTCOME_OUTCOME_UNKNOWN;
	return cut && answer->body_len == 0 && set->attempt_count == 1 && attempt->post.event_id[0] &&
	       attempt->post.era == MCP_LEGACY && attempt->post.status >= 200 && attempt->post.status < 300 &&
	       attempt->resumes < RESUMES_MAX && loop_now(set->upstream->base.loop) < set->deadline_us;
}

/* Whether the server would not take an array, and so has run none of it. */
static bool array_refused(const struct mcp_attempt *attempt)
{
	return attempt->array && !attempt->post.refused_session &&
	       (attempt->post.status == 400 || attempt->post.whole_code == MCP_INVALID_REQUEST);
}

static void take_answer(struct mcp_attempt *attempt, size_t index, struct answer *answer, bool refused)
{
	struct mcp_call_set *set = attempt->set;
	struct mcp_set_item *item = &set->items[attempt->first + index];
	if (item->delivered) { /* before the stream broke off; the one that goes on from there speaks of all its calls */
		assert(attempt->resuming);
		answer_unref(answer);
		return;
	}
	bool final = answer->outcome == OUTCOME_OK || answer->outcome == OUTCOME_TOOL_ERROR ||
		     answer->outcome == OUTCOME_INVALID_REQUEST;
	if (attempt->resuming && item->held && !final) {
		answer_unref(answer); /* of the way back only: what the first way said still holds */
		return;
	}
	if (!attempt->resuming &&
	    (attempt->post.refused_session || array_refused(attempt) || may_resume(attempt, answer))) {
		assert(!item->held);
		item->held = answer;
		item->refused = refused;
		return;
	}
	answer_unref(item->held);
	item->held = NULL;
	deliver_answer(set, attempt->first + index, answer, refused);
	if (!set->aborted && set->delivered_count == set->count)
		linger_set(set);
}

static void attempt_answered(void *context, size_t index, struct answer *answer)
{
	struct mcp_attempt *attempt = context;
	take_answer(attempt, index, answer, false);
}

static void attempt_refused(void *context, size_t index, struct answer *answer)
{
	struct mcp_attempt *attempt = context;
	take_answer(attempt, index, answer, !attempt->resuming);
}

/* A call that the server refused together with its session. Repeatable: it goes again. Else: nothing ran, and its
 * caller is told so; what is not declared harmless is never sent twice. */
static void deliver_writes(struct mcp_attempt *attempt)
{
	struct mcp_call_set *set = attempt->set;
	for (size_t i = attempt->first; i < attempt->first + attempt->count; i++) {
		struct mcp_set_item *item = &set->items[i];
		if (item->delivered || item->repeatable)
			continue;
		deliver_answer(
			set, i,
			mcp_closed_answer(
				set->upstream,
				"the server had forgotten its MCP session, and refused the call unseen; a new session "
				"is being opened: send the call again"),
			false);
	}
}

static void forget_held(struct mcp_call_set *set)
{
	for (size_t i = 0; i < set->count; i++) {
		answer_unref(set->items[i].held);
		set->items[i].held = NULL;
	}
}

static void deliver_held(struct mcp_attempt *attempt)
{
	struct mcp_call_set *set = attempt->set;
	for (size_t i = attempt->first; i < attempt->first + attempt->count; i++) {
		struct answer *answer = set->items[i].held;
		set->items[i].held = NULL;
		if (answer && !set->items[i].delivered)
			deliver_answer(set, i, answer, set->items[i].refused);
		else
			answer_unref(answer);
	}
}

static bool holds_answers(const struct mcp_attempt *attempt)
{
	for (size_t i = attempt->first; i < attempt->first + attempt->count; i++)
		if (attempt->set->items[i].held)
			return true;
	return false;
}

static bool has_other_attempt(const struct mcp_attempt *attempt)
{
	const struct mcp_call_set *set = attempt->set;
	for (size_t i = 0; i < set->attempt_count; i++)
		if (&set->attempts[i] != attempt && (set->attempts[i].exchange || set->attempts[i].refusal))
			return true;
	return false;
}

/* The session was gone: true if the set goes on in another. */
static bool go_again(struct mcp_attempt *attempt)
{
	struct mcp_call_set *set = attempt->set;
	struct mcp_upstream *upstream = set->upstream;
	mcp_control_lost(&upstream->control, attempt->post.epoch, attempt->post.status);
	deliver_writes(attempt);
	if (set->aborted || set->delivered_count == set->count || set->again || has_other_attempt(attempt))
		return false;
	set->again = true;
	forget_held(set);
	call_set_wait(set);
	const char *why;
	if (mcp_control_want(&upstream->control, &why))
		call_set_go(set);
	return true;
}

/* Its calls that have no answer set out, each alone. The other attempts go on: each has its own calls, so there is
 * room. */
static void split_attempt(struct mcp_attempt *attempt)
{
	struct mcp_call_set *set = attempt->set;
	bool reused = false;
	for (size_t i = attempt->first, end = attempt->first + attempt->count; i < end; i++) {
		if (set->items[i].delivered)
			continue;
		set_out(set, reused ? &set->attempts[set->attempt_count++] : attempt, i, 1);
		reused = true;
	}
	arm_deadline(set);
}

/* The server takes no arrays: true if the calls go one by one. */
static bool go_singly(struct mcp_attempt *attempt)
{
	struct mcp_call_set *set = attempt->set;
	set->upstream->arrays_refused = true;
	log_message(&EVENT_MCP_ARRAYS_REFUSED,
		    "upstream %s takes no JSON-RPC arrays: calls go one by one from now on (batch.mode: off says so)",
		    set->upstream->base.settings->name);
	for (size_t i = attempt->first; i < attempt->first + attempt->count; i++) {
		struct mcp_set_item *item = &set->items[i];
		struct answer *answer = item->held;
		item->held = NULL;
		if (answer && !item->repeatable)
			deliver_answer(set, i, answer, false);
		else
			answer_unref(answer);
	}
	if (set->aborted || set->delivered_count == set->count)
		return false;
	split_attempt(attempt);
	return true;
}

static void wait_to_resume(struct mcp_attempt *attempt)
{
	struct mcp_call_set *set = attempt->set;
	struct loop *loop = set->upstream->base.loop;
	uint64_t wait_us = attempt->post.retry_ms == UINT64_MAX ? RESUME_US : attempt->post.retry_ms * CLOCK_US_PER_MS;
	if (attempt->post.retry_ms != UINT64_MAX && attempt->post.retry_ms > UINT64_MAX / CLOCK_US_PER_MS)
		wait_us = CLOCK_NEVER;
	if (wait_us < RESUME_MIN_US)
		wait_us = RESUME_MIN_US;
	uint64_t due_us = clock_add(loop_now(loop), wait_us);
	set_state(set, SET_RESUMING);
	loop_arm(loop, &set->timer, due_us < set->deadline_us ? due_us : set->deadline_us);
}

static bool can_resume(const struct mcp_attempt *attempt)
{
	bool resumable = false;
	for (size_t i = attempt->first; i < attempt->first + attempt->count; i++)
		resumable |= attempt->set->items[i].held && may_resume(attempt, attempt->set->items[i].held);
	return resumable;
}

static void attempt_completed(void *context, enum outcome outcome)
{
	struct mcp_attempt *attempt = context;
	struct mcp_call_set *set = attempt->set;
	struct loop *loop = set->upstream->base.loop;
	attempt->exchange = NULL;
	set->outcome = outcome;
	if (loop_now(loop) >= set->deadline_us && outcome != OUTCOME_OK && attempt->post.first_id &&
	    attempt->post.status)
		for (size_t i = 0; i < attempt->count; i++) /* it timed out: nobody will read what comes */
			mcp_control_cancel(&set->upstream->control, attempt->post.first_id + i);
	if (attempt->post.error_code == MCP_HEADER_MISMATCH)
		mcp_control_stale(&set->upstream->control); /* it mirrors other arguments than we know of */
	if (set->aborted || !holds_answers(attempt)) {
		settle_set(set);
		return;
	}
	if (attempt->post.refused_session && attempt->post.status == 400 &&
	    mcp_control_blames_request(&set->upstream->control, attempt->post.epoch)) {
		mcp_session_doubt(&set->upstream->control.session, loop_now(loop));
	} else if (attempt->post.refused_session && attempt->resuming) {
		mcp_control_lost(&set->upstream->control, attempt->post.epoch, attempt->post.status);
	} else if (attempt->post.refused_session) {
		if (go_again(attempt))
			return;
		if (set->again && attempt->post.status == 400)
			mcp_session_doubt(&set->upstream->control.session, loop_now(loop));
	} else if (array_refused(attempt)) {
		if (go_singly(attempt))
			return;
	} else if (can_resume(attempt)) {
		wait_to_resume(attempt);
		return;
	}
	deliver_held(attempt);
	settle_set(set);
}

/* --- the timer: what could not be done where it was found --- */

static void resume_set(struct mcp_call_set *set)
{
	struct mcp_attempt *attempt = &set->attempts[0];
	struct loop *loop = set->upstream->base.loop;
	set_state(set, SET_GOING);
	if (loop_now(loop) >= set->deadline_us) {
		deliver_held(attempt);
		settle_set(set);
		return;
	}
	attempt->resuming = true;
	attempt->resumes++;
	attempt->post.error_code = attempt->post.whole_code = 0;
	attempt->post.status = 0;
	attempt->post.refused_session = false;
	attempt_go(attempt);
	arm_deadline(set);
}

/* What could not even be sent. Of a stream that was to be taken up again its calls have been sent before: what was said
 * of them then stands. */
static void deliver_refusals(struct mcp_call_set *set)
{
	for (size_t i = 0; i < set->attempt_count; i++) {
		struct mcp_attempt *attempt = &set->attempts[i];
		struct answer *refusal = attempt->refusal;
		attempt->refusal = NULL;
		if (refusal && attempt->resuming)
			deliver_held(attempt);
		for (size_t k = attempt->first; refusal && k < attempt->first + attempt->count; k++)
			if (!set->items[k].delivered)
				deliver_answer(set, k, answer_ref(refusal), false);
		if (refusal)
			set->outcome = refusal->outcome;
		answer_unref(refusal);
	}
}

static struct answer *late_answer(const struct mcp_call_set *set, const struct mcp_set_item *item, bool sent)
{
	const char *name = set->upstream->base.settings->name;
	if (!sent)
		return answer_error(OUTCOME_UPSTREAM_UNAVAILABLE, "%s: the call could not be sent in time", name);
	if (item->repeatable)
		return answer_error(OUTCOME_UPSTREAM_TIMEOUT, "%s: the server did not answer in time", name);
	return answer_error(OUTCOME_OUTCOME_UNKNOWN,
			    "%s: the server did not answer in time; whether the call was carried out is not known",
			    name);
}

/* Its time is up, and no progress has put that off. */
static void time_out(struct mcp_call_set *set)
{
	for (size_t l = 0; l < set->attempt_count; l++) {
		const struct mcp_attempt *attempt = &set->attempts[l];
		bool sent = attempt->exchange && upstream_http.sent(attempt->exchange);
		for (size_t i = attempt->first; sent && i < attempt->first + attempt->count; i++)
			if (!set->items[i].delivered)
				mcp_control_cancel(&set->upstream->control,
						   attempt->post.first_id + i - attempt->first);
		for (size_t i = attempt->first; !set->aborted && i < attempt->first + attempt->count; i++)
			if (!set->items[i].delivered)
				deliver_answer(set, i, late_answer(set, &set->items[i], sent), false);
	}
	set->outcome = OUTCOME_UPSTREAM_TIMEOUT;
}

static void on_set_timer(struct loop_timer *timer, uint64_t now_us)
{
	struct mcp_call_set *set = container_of(timer, struct mcp_call_set, timer);
	if (set->aborted) {
		call_set_abort(set);
		return;
	}
	if (set->state == SET_RESUMING) {
		resume_set(set);
		return;
	}
	if (set->state == SET_WAITING) {
		call_set_close(set, mcp_closed_answer(set->upstream, "its MCP session could not be opened in time"));
		return;
	}
	deliver_refusals(set);
	if (!set->aborted && minds_deadline(set) && now_us >= set->deadline_us)
		time_out(set);
	if (!set->aborted && set->delivered_count == set->count)
		stop_attempts(set); /* all is said; the server keeps the stream open for nothing */
	if (!set->aborted)
		arm_deadline(set);
	settle_set(set);
}

/* --- the front door's functions --- */

bool call_set_asks_progress(const struct mcp_call_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		if (set->items[i].asks.progress)
			return true;
	return false;
}

/* For which there is room. */
static struct slice copy_text(struct mcp_call_set *set, struct slice text)
{
	const char *at = set->texts.store->bytes + set->texts.len;
	buf_put(&set->texts, text);
	return (struct slice){ at, text.len };
}

/* Room for all texts, counted beside what the calls hold and what is sent. NULL, or why not. */
static struct answer *make_room(struct mcp_call_set *set, const struct upstream_call *calls)
{
	struct mcp_upstream *upstream = set->upstream;
	size_t bytes = calls[0].traceparent.len + calls[0].tracestate.len + calls[0].idempotency_key.len;
	for (size_t i = 0; i < set->count; i++)
		bytes += calls[i].arguments.len;
	if (bytes >= HELD_FROM_BYTES && !transport_hold_request(upstream->transport, bytes))
		return upstream_no_room(upstream->base.settings);
	set->held = bytes >= HELD_FROM_BYTES ? bytes : 0;
	set->texts.max = bytes + 1; /* not the next power of two */
	return buf_reserve(&set->texts, bytes + 1) ? NULL : answer_no_memory();
}

static void copy_texts(struct mcp_call_set *set, const struct upstream_call *calls)
{
	for (size_t i = 0; i < set->count; i++) {
		const char *at = set->texts.store->bytes + set->texts.len;
		buf_put(&set->texts, calls[i].arguments);
		set->items[i].arguments = (struct slice){ at, calls[i].arguments.len };
		set->items[i].route = mcp_route_of(dialect_route_ref(calls[i].route));
		set->items[i].repeatable = calls[i].repeatable;
		set->items[i].asks = calls[i].asks;
	}
	if (set->count == 1) {
		set->trace.parent = copy_text(set, calls[0].traceparent);
		set->trace.state = copy_text(set, calls[0].tracestate);
		set->idempotency_key = copy_text(set, calls[0].idempotency_key);
	}
}

/* NULL: out of memory. */
static struct mcp_call_set *alloc_set(struct mcp_upstream *upstream, size_t count)
{
	struct mcp_call_set *set = calloc(1, sizeof *set + count * sizeof(struct mcp_set_item));
	if (!set)
		return NULL;
	if (!(set->attempts = calloc(count, sizeof *set->attempts)) || !loop_timers_reserve(upstream->base.loop, 1)) {
		free(set->attempts);
		free(set);
		return NULL;
	}
	return set;
}

struct mcp_call_set *call_set_new(struct mcp_upstream *upstream, const struct upstream_call *calls, size_t count,
				  struct answer **refusal)
{
	struct mcp_call_set *set = alloc_set(upstream, count);
	if (!set) {
		*refusal = answer_no_memory();
		return NULL;
	}
	set->upstream = upstream;
	set->count = count;
	set->kind = calls[0].kind;
	set->timer = LOOP_TIMER_INIT(on_set_timer);
	buf_init(&set->texts, SIZE_MAX / 4);
	set->state = SET_GOING;
	TAILQ_INSERT_TAIL(&upstream->sets, set, next);
	*refusal = make_room(set, calls);
	if (*refusal) {
		free_set(set);
		return NULL;
	}
	copy_texts(set, calls);
	return set;
}
