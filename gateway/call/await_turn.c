/* SPDX-License-Identifier: Apache-2.0 */
/* await_turn.c: see the header. */
#include "gateway/call/await_turn.h"

#include <stdlib.h>

#include "gateway/call/front.h"

enum {
	TURN_BYTES = 512 << 10, /* of bodies, looked at in a turn: some 5 ms where they are canonicalised */
	REQUEST_BYTES = 512     /* what a request costs beside its body, in these terms */
};

struct turn_wait {
	struct worker *worker;
	struct request *request;
	const struct wire *wire;
	route_function *serve;
	struct loop_timer timer; /* the caller's own deadline */
	TAILQ_ENTRY(turn_wait) next;
};

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
	TAILQ_REMOVE(&worker->turns.waits, wait, next);
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
	front_refuse(copy.worker, copy.request, copy.wire, REJECT_DEADLINE, OUTCOME_DEADLINE_EXCEEDED,
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
static bool put_aside(struct worker *worker, struct request *request, const struct wire *wire, route_function *serve)
{
	struct turn_wait *wait = malloc(sizeof *wait);
	if (!wait || !loop_timers_reserve(worker->loop, 1)) {
		free(wait);
		return false;
	}
	*wait = (struct turn_wait){ worker, request, wire, serve, LOOP_TIMER_INIT(refuse_late), { 0 } };
	TAILQ_INSERT_TAIL(&worker->turns.waits, wait, next);
	uint64_t deadline_us = own_deadline_us(request);
	if (deadline_us != CLOCK_NEVER)
		loop_arm(worker->loop, &wait->timer, deadline_us);
	request->waits_for = wait;
	request->gone = client_left;
	meter_add(worker->meter, METRIC_ID_BODIES_DEFERRED, 0, 0, 1);
	return true;
}

bool turn_await(struct worker *worker, struct request *request, const struct wire *wire, route_function *serve)
{
	const struct turn_waits *turns = &worker->turns;
	bool now = turns->serving || request->body.len == 0 || (turns->budget > 0 && TAILQ_EMPTY(&turns->waits));
	if (!now && put_aside(worker, request, wire, serve))
		return true;
	spend_turn(worker, request);
	return false;
}

void turns_init(struct turn_waits *turns)
{
	TAILQ_INIT(&turns->waits);
	turns->budget = TURN_BYTES;
}

void turns_serve(struct worker *worker)
{
	struct turn_waits *turns = &worker->turns;
	struct turn_wait *wait;
	turns->budget = TURN_BYTES;
	turns->serving = true;
	while (turns->budget > 0 && (wait = TAILQ_FIRST(&turns->waits))) {
		const struct turn_wait copy = *wait;
		end_wait(wait);
		copy.serve(copy.worker, copy.request, SLICE(""));
	}
	turns->serving = false;
}

bool turns_wait(const struct worker *worker)
{
	return !TAILQ_EMPTY(&worker->turns.waits);
}
