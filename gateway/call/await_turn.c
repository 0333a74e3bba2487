/* SPDX-License-Identifier: Apache-2.0 */
/* await_turn.c: see the header. */
#include "gateway/call/await_turn.h"

#include <stdlib.h>

#include "base/json_arriving.h"
#include "gateway/call/front.h"
#include "gateway/call/worker.h"

enum {
	TURN_BYTES = 512 << 10, /* of bodies, looked at in a turn: some 5 ms where they are canonicalised */
	REQUEST_BYTES = 512     /* what a request costs beside its body, in these terms */
};

struct turn_wait {
	struct worker *worker;
	struct request *request;
	struct turn_body body;
	struct loop_timer timer; /* the caller's own deadline */
	bool large;              /* which list it is in */
	/* a large one, once it is looked at */
	struct json_arriving *arriving; /* or NULL */
	size_t looked;                  /* bytes of the body */
	size_t held;                    /* bytes that looking takes, counted */
	TAILQ_ENTRY(turn_wait) next;
};

static struct turn_wait_list *list_of(const struct turn_wait *wait)
{
	return wait->large ? &wait->worker->turns.large : &wait->worker->turns.waits;
}

static void spend_turn(struct worker *worker, const struct request *request)
{
	worker->turns.budget -= (int64_t)request->body.len + REQUEST_BYTES;
}

/* The request is as if it had just come. */
static void end_wait(struct turn_wait *wait)
{
	struct worker *worker = wait->worker;
	loop_disarm(worker->loop, &wait->timer);
	loop_timers_release(worker->loop, 1);
	TAILQ_REMOVE(list_of(wait), wait, next);
	json_arriving_free(wait->arriving);
	http_release(wait->request->http, wait->held);
	wait->request->waits_for = NULL;
	wait->request->gone = NULL;
	free(wait);
}

static void client_left(struct request *request)
{
	end_wait(request->waits_for);
}

static void refuse_late(struct loop_timer *timer, uint64_t now_us)
{
	struct turn_wait *wait = container_of(timer, struct turn_wait, timer);
	struct turn_wait copy = *wait;
	(void)now_us;
	end_wait(wait);
	front_refuse(copy.worker, copy.request, copy.body.wire, REJECT_DEADLINE, OUTCOME_DEADLINE_EXCEEDED,
		     "The request's own deadline (X-Request-Timeout-Ms) passed before the gateway could look at its "
		     "body; nothing was sent.");
}

/* CLOCK_NEVER: the caller has said none, or nothing that makes sense, which he is told when it is his turn. */
static uint64_t own_deadline_us(const struct request *request)
{
	struct caller caller;
	const char *detail;
	if (caller_read(&caller, request, &detail) != OUTCOME_OK || caller.timeout_us == CLOCK_NEVER)
		return CLOCK_NEVER;
	return clock_add(request->received_us, caller.timeout_us);
}

/* False: out of memory. */
static bool put_aside(struct worker *worker, struct request *request, const struct turn_body *body, bool large)
{
	struct turn_wait *wait = malloc(sizeof *wait);
	if (!wait || !loop_timers_reserve(worker->loop, 1)) {
		free(wait);
		return false;
	}
	*wait = (struct turn_wait){
		.worker = worker,
		.request = request,
		.body = *body,
		.timer = LOOP_TIMER_INIT(refuse_late),
		.large = large,
	};
	TAILQ_INSERT_TAIL(list_of(wait), wait, next);
	uint64_t deadline_us = own_deadline_us(request);
	if (deadline_us != CLOCK_NEVER)
		loop_arm(worker->loop, &wait->timer, deadline_us);
	request->waits_for = wait;
	request->gone = client_left;
	meter_add(worker->meter, METRIC_ID_BODIES_DEFERRED, 0, 0, 1);
	return true;
}

bool turn_await(struct worker *worker, struct request *request, const struct turn_body *body)
{
	assert_owner(worker_owner(worker));
	const struct turn_waits *turns = &worker->turns;
	bool large = body->json_depth && request->body.len > TURN_SLICE_BYTES;
	bool now =
		turns->serving || request->body.len == 0 || (turns->budget > 0 && TAILQ_EMPTY(&turns->waits) && !large);
	if (!now && put_aside(worker, request, body, large))
		return true;
	spend_turn(worker, request);
	return false;
}

void turns_init(struct turn_waits *turns)
{
	TAILQ_INIT(&turns->waits);
	TAILQ_INIT(&turns->large);
	turns->budget = TURN_BYTES;
}

static void serve_now(struct turn_wait *wait)
{
	const struct turn_wait copy = *wait;
	end_wait(wait);
	copy.body.serve(copy.worker, copy.request, SLICE(""));
}

/* What looking takes is held like the body itself. False: there is no room for it. */
static bool hold_scratch(struct turn_wait *wait)
{
	size_t bytes = json_arriving_bytes(wait->arriving);
	if (bytes <= wait->held)
		return true;
	if (!http_hold(wait->request->http, bytes - wait->held, HELD_TO_WAIT))
		return false;
	wait->held = bytes;
	return true;
}

static void refuse_for_room(struct turn_wait *wait)
{
	const struct turn_wait copy = *wait;
	end_wait(wait);
	front_refuse(copy.worker, copy.request, copy.body.wire, REJECT_IN_FLIGHT_BYTES, OUTCOME_OVERLOADED,
		     "The gateway holds as many bytes as limits.in_flight_bytes allows.");
}

/* The next slice of a large body; it is served when its last one has been looked at. */
static void look_on(struct turn_wait *wait)
{
	struct worker *worker = wait->worker;
	struct request *request = wait->request;
	struct slice text = buf_slice(&request->body);
	if (!wait->arriving && !(wait->arriving = json_arriving_new(wait->body.json_depth))) {
		request->body_soundness = JSON_FAULTY;
		request->body_fault = (struct json_fault){ "out of memory", 0, true };
		serve_now(wait);
		return;
	}
	bool whole = text.len - wait->looked <= TURN_SLICE_BYTES;
	wait->looked = whole ? text.len : wait->looked + TURN_SLICE_BYTES;
	text.len = wait->looked;
	worker->turns.budget -= TURN_SLICE_BYTES;
	meter_add(worker->meter, METRIC_ID_BODY_SLICES, 0, 0, 1);
	request->body_depth = wait->body.json_depth;
	request->body_soundness = json_arriving_look(wait->arriving, text, whole, &request->body_fault);
	if (request->body_soundness != JSON_UNDECIDED)
		serve_now(wait);
	else if (!hold_scratch(wait))
		refuse_for_room(wait);
}

void turns_serve(struct worker *worker)
{
	assert_owner(worker_owner(worker));
	struct turn_waits *turns = &worker->turns;
	struct turn_wait *wait;
	turns->budget = TURN_BYTES;
	turns->serving = true;
	if ((wait = TAILQ_FIRST(&turns->large)))
		look_on(wait);
	while (turns->budget > 0 && (wait = TAILQ_FIRST(&turns->waits)))
		serve_now(wait);
	turns->serving = false;
}

bool turns_wait(const struct worker *worker)
{
	return !TAILQ_EMPTY(&worker->turns.waits) || !TAILQ_EMPTY(&worker->turns.large);
}
