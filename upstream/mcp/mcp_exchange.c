/* SPDX-License-Identifier: Apache-2.0 */
/* mcp_exchange.c: calls to an MCP server: sent, told, sent again where that does no harm. */
#include "upstream/mcp/mcp_exchange.h"

#include <assert.h>
#include <stdlib.h>

#include "base/log.h"

enum { RESUMES_MAX = 20 /* of one call's stream */ };
#define LINGER_US (200 * CLOCK_US_PER_MS) /* a stream whose calls are all answered may stay open that long */
#define RESUME_US CLOCK_US_PER_S /* a broken stream is taken up again after that, unless the server says when */
#define RESUME_MIN_US (10 * CLOCK_US_PER_MS)

/* Progress may put its deadline off, so it is minded here and not by the exchanges. */
static bool minds_deadline(const struct ride *ride)
{
	return ride->end_us > ride->deadline_us || ride->extended;
}

/* --- lists --- */

static void leave_list(struct ride *ride)
{
	struct mcp_upstream *upstream = ride->upstream;
	TAILQ_REMOVE(ride->state == RIDE_WAITING ? &upstream->waiting : &upstream->rides, ride, next);
	upstream->waiting_count -= ride->state == RIDE_WAITING;
}

static void set_state(struct ride *ride, enum ride_state state)
{
	struct mcp_upstream *upstream = ride->upstream;
	leave_list(ride);
	ride->state = state;
	TAILQ_INSERT_TAIL(state == RIDE_WAITING ? &upstream->waiting : &upstream->rides, ride, next);
	upstream->waiting_count += state == RIDE_WAITING;
}

/* --- the end of a ride --- */

static void ride_free(struct ride *ride)
{
	struct mcp_upstream *upstream = ride->upstream;
	for (size_t i = 0; i < ride->leg_count; i++) {
		assert(!ride->legs[i].trip);
		answer_unref(ride->legs[i].refusal);
	}
	for (size_t i = 0; i < ride->count; i++) {
		answer_unref(ride->items[i].held);
		if (ride->items[i].route)
			dialect_route_unref(&ride->items[i].route->base);
	}
	leave_list(ride);
	loop_disarm(upstream->base.loop, &ride->timer);
	loop_timers_release(upstream->base.loop, 1);
	buf_fini(&ride->texts);
	free(ride->legs);
	free(ride);
}

static void stop_legs(struct ride *ride)
{
	for (size_t i = 0; i < ride->leg_count; i++) {
		if (ride->legs[i].trip)
			upstream_http.abort(ride->legs[i].trip);
		ride->legs[i].trip = NULL;
	}
}

/* Nobody waits for these calls any more; a legacy server does not take a closed stream for that. */
static void cancel_untold(struct ride *ride)
{
	for (size_t i = 0; i < ride->leg_count; i++) {
		const struct leg *leg = &ride->legs[i];
		for (size_t k = 0; leg->post.first_id && k < leg->count; k++)
			if (!ride->items[leg->first + k].told)
				mcp_control_cancel(&ride->upstream->control, leg->post.first_id + k);
	}
}

void ride_abort(struct ride *ride)
{
	cancel_untold(ride);
	stop_legs(ride);
	ride_free(ride);
}

/* All is said. An exchange ends by itself then, as it should; if it does not, it is ended. */
static void linger(struct ride *ride)
{
	struct loop *loop = ride->upstream->base.loop;
	uint64_t due_us = clock_add(loop_now(loop), LINGER_US);
	if (!ride->timer.place || ride->timer.due_us > due_us)
		loop_arm(loop, &ride->timer, due_us);
}

/* The deadline, if it is minded here and nothing is due sooner. */
static void arm_deadline(struct ride *ride)
{
	if (minds_deadline(ride) && !ride->timer.place && ride->told_count < ride->count)
		loop_arm(ride->upstream->base.loop, &ride->timer, ride->deadline_us);
}

static bool ride_under_way(const struct ride *ride)
{
	for (size_t i = 0; i < ride->leg_count; i++)
		if (ride->legs[i].trip || ride->legs[i].refusal)
			return true;
	return false;
}

/* Every callback is over: end the ride if it has nothing left to do. */
static void settle(struct ride *ride)
{
	if (ride->aborted || ride->told_count < ride->count)
		return;
	if (ride_under_way(ride)) {
		linger(ride);
		return;
	}
	const struct upstream_events *events = ride->events;
	void *context = ride->context;
	enum outcome outcome = ride->outcome;
	ride_free(ride);
	events->landed(context, outcome);
}

static void tell(struct ride *ride, size_t index, struct answer *answer, bool refused)
{
	struct ride_item *item = &ride->items[index];
	assert(!item->told);
	item->told = true;
	ride->told_count++;
	if (atomic_load(&answer->refs) == 1) { /* the head of an exchange says nothing of a tool's result */
		answer->reuse_said = false;
		answer->age_s = 0;
	}
	ride->telling = true;
	if (ride->aborted)
		answer_unref(answer);
	else if (refused && ride->events->refused)
		ride->events->refused(ride->context, index, answer);
	else
		ride->events->answered(ride->context, index, answer);
	ride->telling = false;
}

static void tell_rest(struct ride *ride, struct answer *answer, enum outcome outcome)
{
	ride->outcome = outcome;
	for (size_t i = 0; i < ride->count; i++)
		if (!ride->items[i].told)
			tell(ride, i, answer_ref(answer), false);
	answer_unref(answer);
}

void ride_close(struct ride *ride, struct answer *answer)
{
	set_state(ride, RIDE_GOING);
	loop_disarm(ride->upstream->base.loop, &ride->timer);
	tell_rest(ride, answer, OUTCOME_UPSTREAM_UNAVAILABLE);
	settle(ride);
}

/* --- going --- */

static struct slice nothing(void)
{
	return (struct slice){ NULL, 0 };
}

static void leg_answered(void *context, size_t index, struct answer *answer);
static void leg_refused(void *context, size_t index, struct answer *answer);
static void leg_landed(void *context, enum outcome outcome);

/* Send a leg; what hinders it is told from the timer. */
static void leg_go(struct leg *leg)
{
	static const struct upstream_events events = { .answered = leg_answered,
						       .refused = leg_refused,
						       .landed = leg_landed };
	struct ride *ride = leg->ride;
	struct mcp_upstream *upstream = ride->upstream;
	struct upstream_call one = { .route = NULL }, *calls = &one;
	if (leg->count > 1 && !(calls = calloc(leg->count, sizeof *calls))) {
		leg->refusal = answer_error(OUTCOME_OVERLOADED, "the gateway is out of memory");
	} else {
		for (size_t i = 0; i < leg->count; i++)
			calls[i] = (struct upstream_call){
				.route = &leg->post.route,
				.arguments = ride->items[leg->first + i].arguments,
				.repeatable = ride->items[leg->first + i].repeatable || leg->resuming,
				.traceparent = ride->count == 1 ? ride->traceparent : nothing(),
				.idempotency_key = ride->count == 1 ? ride->idempotency_key : nothing(),
				.kind = ride->kind
			};
		leg->trip = upstream_http.send(upstream->http, calls, leg->count, ride->end_us, &events, leg,
					       &leg->refusal);
	}
	if (calls != &one)
		free(calls);
	if (!leg->trip)
		loop_arm(upstream->base.loop, &ride->timer, loop_now(upstream->base.loop));
}

/* `leg` is one of the ride's, and nothing of it is under way. */
static void set_out(struct ride *ride, struct leg *leg, size_t first, size_t count)
{
	struct mcp_upstream *upstream = ride->upstream;
	*leg = (struct leg){ .ride = ride, .first = first, .count = count, .array = count > 1 };
	mcp_post_init(&leg->post, &leg_messages, &upstream->control.session, loop_now(upstream->base.loop));
	leg_go(leg);
}

void ride_go(struct ride *ride)
{
	struct mcp_upstream *upstream = ride->upstream;
	bool arrays = upstream->control.session.era == MCP_LEGACY && !upstream->arrays_refused;
	set_state(ride, RIDE_GOING);
	ride->leg_count = 0;
	loop_disarm(upstream->base.loop, &ride->timer);
	for (size_t i = 0; i < ride->count;) {
		size_t end = i;
		while (end < ride->count && !ride->items[end].told && (arrays || end == i))
			end++;
		if (end > i)
			set_out(ride, &ride->legs[ride->leg_count++], i, end - i);
		i = end > i ? end : i + 1;
	}
	arm_deadline(ride);
}

void ride_wait(struct ride *ride)
{
	set_state(ride, RIDE_WAITING);
	ride->leg_count = 0;
	loop_arm(ride->upstream->base.loop, &ride->timer, ride->deadline_us);
}

struct answer *ride_closed_answer(const struct mcp_upstream *upstream, const char *why)
{
	return answer_error(OUTCOME_UPSTREAM_UNAVAILABLE, "%s: %.150s", upstream->base.settings->name, why);
}

/* --- what a leg hears --- */

/* Whether the stream broke off before this answer came, and can be taken up again. */
static bool may_resume(const struct leg *leg, const struct answer *answer)
{
	const struct ride *ride = leg->ride;
	bool cut = answer->outcome == OUTCOME_UPSTREAM_ERROR || answer->outcome == OUTCOME_OUTCOME_UNKNOWN;
	return cut && answer->body_len == 0 && ride->leg_count == 1 && leg->post.event_id[0] &&
	       leg->post.era == MCP_LEGACY && leg->post.status >= 200 && leg->post.status < 300 &&
	       leg->resumes < RESUMES_MAX && loop_now(ride->upstream->base.loop) < ride->deadline_us;
}

/* Whether the server would not take an array, and so has run none of it. */
static bool array_refused(const struct leg *leg)
{
	return leg->array && !leg->post.refused_session &&
	       (leg->post.status == 400 || leg->post.error_code == MCP_INVALID_REQUEST);
}

static void hear_answer(struct leg *leg, size_t index, struct answer *answer, bool refused)
{
	struct ride *ride = leg->ride;
	struct ride_item *item = &ride->items[leg->first + index];
	if (item->told) { /* before the stream broke off; the one that goes on from there speaks of all its calls */
		assert(leg->resuming);
		answer_unref(answer);
		return;
	}
	bool final = answer->outcome == OUTCOME_OK || answer->outcome == OUTCOME_TOOL_ERROR ||
		     answer->outcome == OUTCOME_INVALID_REQUEST;
	if (leg->resuming && item->held && !final) {
		answer_unref(answer); /* of the way back only: what the first way said still holds */
		return;
	}
	if (!leg->resuming && (leg->post.refused_session || array_refused(leg) || may_resume(leg, answer))) {
		assert(!item->held);
		item->held = answer;
		item->refused = refused;
		return;
	}
	answer_unref(item->held);
	item->held = NULL;
	tell(ride, leg->first + index, answer, refused);
	if (!ride->aborted && ride->told_count == ride->count)
		linger(ride);
}

static void leg_answered(void *context, size_t index, struct answer *answer)
{
	struct leg *leg = context;
	hear_answer(leg, index, answer, false);
}

static void leg_refused(void *context, size_t index, struct answer *answer)
{
	struct leg *leg = context;
	hear_answer(leg, index, answer, !leg->resuming);
}

/* A call that the server refused together with its session. Repeatable: it goes again. Else: nothing ran, and its
 * caller is told so; what is not declared harmless is never sent twice. */
static void tell_writes(struct leg *leg)
{
	struct ride *ride = leg->ride;
	for (size_t i = leg->first; i < leg->first + leg->count; i++) {
		struct ride_item *item = &ride->items[i];
		if (item->told || item->repeatable)
			continue;
		tell(ride, i,
		     ride_closed_answer(
			     ride->upstream,
			     "the server had forgotten its MCP session, and refused the call unseen; a new session "
			     "is being opened: send the call again"),
		     false);
	}
}

static void forget_held(struct ride *ride)
{
	for (size_t i = 0; i < ride->count; i++) {
		answer_unref(ride->items[i].held);
		ride->items[i].held = NULL;
	}
}

static void tell_held(struct leg *leg)
{
	struct ride *ride = leg->ride;
	for (size_t i = leg->first; i < leg->first + leg->count; i++) {
		struct answer *answer = ride->items[i].held;
		ride->items[i].held = NULL;
		if (answer && !ride->items[i].told)
			tell(ride, i, answer, ride->items[i].refused);
		else
			answer_unref(answer);
	}
}

static bool holds(const struct leg *leg)
{
	for (size_t i = leg->first; i < leg->first + leg->count; i++)
		if (leg->ride->items[i].held)
			return true;
	return false;
}

static bool another_leg(const struct leg *leg)
{
	const struct ride *ride = leg->ride;
	for (size_t i = 0; i < ride->leg_count; i++)
		if (&ride->legs[i] != leg && (ride->legs[i].trip || ride->legs[i].refusal))
			return true;
	return false;
}

/* The session was gone: true if the ride goes on in another. */
static bool go_again(struct leg *leg)
{
	struct ride *ride = leg->ride;
	struct mcp_upstream *upstream = ride->upstream;
	mcp_control_lost(&upstream->control, leg->post.epoch);
	tell_writes(leg);
	if (ride->aborted || ride->told_count == ride->count || ride->again || another_leg(leg))
		return false;
	ride->again = true;
	forget_held(ride);
	ride_wait(ride);
	const char *why;
	if (mcp_control_want(&upstream->control, &why))
		ride_go(ride);
	return true;
}

/* Its calls that have no answer set out, each alone. The other legs go on: each has calls of its own, so there is room. */
static void split_leg(struct leg *leg)
{
	struct ride *ride = leg->ride;
	bool reused = false;
	for (size_t i = leg->first, end = leg->first + leg->count; i < end; i++) {
		if (ride->items[i].told)
			continue;
		set_out(ride, reused ? &ride->legs[ride->leg_count++] : leg, i, 1);
		reused = true;
	}
	arm_deadline(ride);
}

/* The server takes no arrays: true if the calls go one by one. */
static bool go_singly(struct leg *leg)
{
	struct ride *ride = leg->ride;
	ride->upstream->arrays_refused = true;
	log_message(&EVENT_MCP_ARRAYS_REFUSED,
		    "upstream %s takes no JSON-RPC arrays: calls go one by one from now on (batch.mode: off says so)",
		    ride->upstream->base.settings->name);
	for (size_t i = leg->first; i < leg->first + leg->count; i++) {
		struct ride_item *item = &ride->items[i];
		struct answer *answer = item->held;
		item->held = NULL;
		if (answer && !item->repeatable)
			tell(ride, i, answer, false);
		else
			answer_unref(answer);
	}
	if (ride->aborted || ride->told_count == ride->count)
		return false;
	split_leg(leg);
	return true;
}

static void wait_to_resume(struct leg *leg)
{
	struct ride *ride = leg->ride;
	struct loop *loop = ride->upstream->base.loop;
	uint64_t wait_us = leg->post.retry_ms == UINT64_MAX ? RESUME_US : leg->post.retry_ms * CLOCK_US_PER_MS;
	if (leg->post.retry_ms != UINT64_MAX && leg->post.retry_ms > UINT64_MAX / CLOCK_US_PER_MS)
		wait_us = CLOCK_NEVER;
	if (wait_us < RESUME_MIN_US)
		wait_us = RESUME_MIN_US;
	uint64_t due_us = clock_add(loop_now(loop), wait_us);
	set_state(ride, RIDE_RESUMING);
	loop_arm(loop, &ride->timer, due_us < ride->deadline_us ? due_us : ride->deadline_us);
}

static bool can_resume(const struct leg *leg)
{
	bool resumable = false;
	for (size_t i = leg->first; i < leg->first + leg->count; i++)
		resumable |= leg->ride->items[i].held && may_resume(leg, leg->ride->items[i].held);
	return resumable;
}

static void leg_landed(void *context, enum outcome outcome)
{
	struct leg *leg = context;
	struct ride *ride = leg->ride;
	struct loop *loop = ride->upstream->base.loop;
	leg->trip = NULL;
	ride->outcome = outcome;
	if (loop_now(loop) >= ride->deadline_us && outcome != OUTCOME_OK && leg->post.first_id && leg->post.status)
		for (size_t i = 0; i < leg->count; i++) /* it timed out: nobody will read what comes */
			mcp_control_cancel(&ride->upstream->control, leg->post.first_id + i);
	if (leg->post.error_code == MCP_HEADER_MISMATCH)
		mcp_control_stale(&ride->upstream->control); /* it mirrors other arguments than we know of */
	if (ride->aborted || !holds(leg)) {
		settle(ride);
		return;
	}
	if (leg->post.refused_session && leg->resuming) {
		mcp_control_lost(&ride->upstream->control, leg->post.epoch);
	} else if (leg->post.refused_session) {
		if (go_again(leg))
			return;
		if (ride->again && leg->post.status == 400)
			mcp_session_doubt(&ride->upstream->control.session, loop_now(loop));
	} else if (array_refused(leg)) {
		if (go_singly(leg))
			return;
	} else if (can_resume(leg)) {
		wait_to_resume(leg);
		return;
	}
	tell_held(leg);
	settle(ride);
}

/* --- the timer: what could not be done where it was found --- */

static void resume(struct ride *ride)
{
	struct leg *leg = &ride->legs[0];
	struct loop *loop = ride->upstream->base.loop;
	set_state(ride, RIDE_GOING);
	if (loop_now(loop) >= ride->deadline_us) {
		tell_held(leg);
		settle(ride);
		return;
	}
	leg->resuming = true;
	leg->resumes++;
	leg->post.error_code = 0;
	leg->post.status = 0;
	leg->post.refused_session = false;
	leg_go(leg);
	arm_deadline(ride);
}

static void tell_refusals(struct ride *ride)
{
	for (size_t i = 0; i < ride->leg_count; i++) {
		struct leg *leg = &ride->legs[i];
		struct answer *refusal = leg->refusal;
		leg->refusal = NULL;
		for (size_t k = leg->first; refusal && k < leg->first + leg->count; k++)
			if (!ride->items[k].told)
				tell(ride, k, answer_ref(refusal), false);
		if (refusal)
			ride->outcome = refusal->outcome;
		answer_unref(refusal);
	}
}

static struct answer *late_answer(const struct ride *ride, const struct ride_item *item, bool sent)
{
	const char *name = ride->upstream->base.settings->name;
	if (!sent)
		return answer_error(OUTCOME_UPSTREAM_UNAVAILABLE, "%s: the call could not be sent in time", name);
	if (item->repeatable)
		return answer_error(OUTCOME_UPSTREAM_TIMEOUT, "%s: the server did not answer in time", name);
	return answer_error(OUTCOME_OUTCOME_UNKNOWN,
			    "%s: the server did not answer in time; whether the call was carried out is not known",
			    name);
}

/* Its time is up, and no progress has put that off. */
static void time_out(struct ride *ride)
{
	for (size_t l = 0; l < ride->leg_count; l++) {
		const struct leg *leg = &ride->legs[l];
		bool sent = leg->trip && upstream_http.sent(leg->trip);
		for (size_t i = leg->first; sent && i < leg->first + leg->count; i++)
			if (!ride->items[i].told)
				mcp_control_cancel(&ride->upstream->control, leg->post.first_id + i - leg->first);
		for (size_t i = leg->first; !ride->aborted && i < leg->first + leg->count; i++)
			if (!ride->items[i].told)
				tell(ride, i, late_answer(ride, &ride->items[i], sent), false);
	}
	ride->outcome = OUTCOME_UPSTREAM_TIMEOUT;
}

static void ride_due(struct loop_timer *timer, uint64_t now_us)
{
	struct ride *ride = container_of(timer, struct ride, timer);
	if (ride->aborted) {
		ride_abort(ride);
		return;
	}
	if (ride->state == RIDE_RESUMING) {
		resume(ride);
		return;
	}
	if (ride->state == RIDE_WAITING) {
		ride_close(ride, ride_closed_answer(ride->upstream, "its MCP session could not be opened in time"));
		return;
	}
	tell_refusals(ride);
	if (!ride->aborted && minds_deadline(ride) && now_us >= ride->deadline_us)
		time_out(ride);
	if (!ride->aborted && ride->told_count == ride->count)
		stop_legs(ride); /* all is said; the server keeps the stream open for nothing */
	if (!ride->aborted)
		arm_deadline(ride);
	settle(ride);
}

/* --- the front door's functions --- */

bool ride_asks_progress(const struct ride *ride)
{
	for (size_t i = 0; i < ride->count; i++)
		if (ride->items[i].asks.progress)
			return true;
	return false;
}

static bool copy_texts(struct ride *ride, const struct upstream_call *calls)
{
	size_t bytes = calls[0].traceparent.len + calls[0].idempotency_key.len;
	for (size_t i = 0; i < ride->count; i++)
		bytes += calls[i].arguments.len;
	if (!buf_reserve(&ride->texts, bytes + 1))
		return false;
	for (size_t i = 0; i < ride->count; i++) {
		const char *at = ride->texts.store->bytes + ride->texts.len;
		buf_put(&ride->texts, calls[i].arguments);
		ride->items[i].arguments = (struct slice){ at, calls[i].arguments.len };
		ride->items[i].route = mcp_route_of(dialect_route_ref(calls[i].route));
		ride->items[i].repeatable = calls[i].repeatable;
		ride->items[i].asks = calls[i].asks;
	}
	const char *at = ride->texts.store->bytes + ride->texts.len;
	buf_put(&ride->texts, calls[0].traceparent);
	buf_put(&ride->texts, calls[0].idempotency_key);
	if (ride->count == 1) {
		ride->traceparent = (struct slice){ at, calls[0].traceparent.len };
		ride->idempotency_key = (struct slice){ at + calls[0].traceparent.len, calls[0].idempotency_key.len };
	}
	return true;
}

struct ride *ride_new(struct mcp_upstream *upstream, const struct upstream_call *calls, size_t count)
{
	struct ride *ride = calloc(1, sizeof *ride + count * sizeof(struct ride_item));
	if (!ride)
		return NULL;
	if (!(ride->legs = calloc(count, sizeof *ride->legs)) || !loop_timers_reserve(upstream->base.loop, 1)) {
		free(ride->legs);
		free(ride);
		return NULL;
	}
	ride->upstream = upstream;
	ride->count = count;
	ride->kind = calls[0].kind;
	ride->timer = LOOP_TIMER_INIT(ride_due);
	buf_init(&ride->texts, SIZE_MAX / 4);
	ride->state = RIDE_GOING;
	TAILQ_INSERT_TAIL(&upstream->rides, ride, next);
	if (copy_texts(ride, calls))
		return ride;
	ride_free(ride);
	return NULL;
}
