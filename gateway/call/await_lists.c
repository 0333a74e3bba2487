/* SPDX-License-Identifier: Apache-2.0 */
/* await_lists.c: who waits for the first lists, for how long, and what wakes him. */
#include "gateway/call/await_lists.h"

#include <stdlib.h>

#include "gateway/call/worker.h"

enum { REST_BYTES = 256, SERVED_A_TURN = 16 };
#define WORTH_US CLOCK_US_PER_MS /* what is left of a deadline is not waited for if it is less */

struct lists_wait {
	struct worker *worker;
	struct request *request;
	route_function *serve;
	struct loop_timer timer; /* the latest moment; not armed once it is due */
	bool due;                /* in worker->lists_due */
	TAILQ_ENTRY(lists_wait) next;
	size_t rest_len;
	char rest[REST_BYTES];
};

/* ---------------------------------------------------------------- which lists */

static bool is_awaited(const struct worker *worker, unsigned upstream)
{
	return catalogue_status(worker->catalogue, upstream).state == TOOL_LIST_AWAITED;
}

/* It has not spoken: what it said before the start is in force, but it may have more tools by now. */
static bool is_silent(const struct worker *worker, unsigned upstream)
{
	return is_awaited(worker, upstream) || catalogue_status(worker->catalogue, upstream).state == TOOL_LIST_KEPT;
}

static bool may_hold(const struct upstream_config *upstream, struct slice tool)
{
	size_t prefix = strlen(upstream->settings.name);
	if (upstream->exposure.names != NAMES_PREFIXED)
		return true;
	return tool.len > prefix + 2 && memcmp(tool.at, upstream->settings.name, prefix) == 0 &&
	       memcmp(tool.at + prefix, "__", 2) == 0;
}

bool lists_may_hold(const struct worker *worker, struct slice tool, unsigned *upstream)
{
	const struct generation *generation = worker_generation(worker);
	for (unsigned i = 0; i < generation->upstream_count; i++) {
		if (!is_silent(worker, i) || !may_hold(&generation->upstreams[i], tool))
			continue;
		*upstream = i;
		return true;
	}
	return false;
}

static uint64_t grace_end_us(const struct worker *worker)
{
	return clock_add(worker->gateway->started_us, worker_generation(worker)->mcp.await_lists_us);
}

bool lists_known(const struct worker *worker)
{
	for (unsigned i = 0; i < worker_generation(worker)->upstream_count; i++)
		if (is_awaited(worker, i))
			return false;
	return true;
}

bool lists_complete(const struct worker *worker)
{
	return loop_now(worker->loop) >= grace_end_us(worker) || lists_known(worker);
}

/* Until when to wait; 0: not at all. */
static uint64_t wait_until_us(const struct worker *worker, const struct request *request,
			      const struct lists_awaited *awaited)
{
	const struct generation *generation = worker_generation(worker);
	uint64_t until_us = clock_add(loop_now(worker->loop), awaited->timeout_us);
	unsigned upstream;
	if (!awaited->tool.len)
		return lists_complete(worker) ? 0 : until_us < grace_end_us(worker) ? until_us : grace_end_us(worker);
	if (!lists_may_hold(worker, awaited->tool, &upstream))
		return 0;
	uint64_t tool_us = clock_add(request->received_us, generation->upstreams[upstream].settings.timeout_us);
	until_us = until_us < tool_us ? until_us : tool_us;
	bool failed = *catalogue_status(worker->catalogue, upstream).why != '\0';
	return failed && until_us > grace_end_us(worker) ? grace_end_us(worker) : until_us;
}

/* ---------------------------------------------------------------- waiting */

static void wait_free(struct lists_wait *wait)
{
	struct worker *worker = wait->worker;
	loop_disarm(worker->loop, &wait->timer);
	loop_timers_release(worker->loop, 1);
	TAILQ_REMOVE(wait->due ? &worker->lists_due : &worker->list_waits, wait, next);
	free(wait);
}

static void client_left(struct request *request)
{
	wait_free(request->waits_for);
}

static void serve_again(struct lists_wait *wait)
{
	struct lists_wait copy = *wait;
	wait_free(wait);
	copy.request->waits_for = NULL;
	copy.request->gone = NULL;
	copy.serve(copy.worker, copy.request, (struct slice){ copy.rest, copy.rest_len });
}

/* It is served when it is its turn: many wait for the same list, or for the same moment. */
static void make_due(struct lists_wait *wait)
{
	struct worker *worker = wait->worker;
	loop_disarm(worker->loop, &wait->timer);
	TAILQ_REMOVE(&worker->list_waits, wait, next);
	TAILQ_INSERT_TAIL(&worker->lists_due, wait, next);
	wait->due = true;
}

static void wait_due(struct loop_timer *timer, uint64_t now_us)
{
	(void)now_us;
	make_due(container_of(timer, struct lists_wait, timer));
}

bool lists_await(struct worker *worker, struct request *request, const struct lists_awaited *awaited,
		 route_function *serve, struct slice rest)
{
	assert_owner(worker_owner(worker));
	uint64_t until_us = wait_until_us(worker, request, awaited);
	if (until_us < clock_add(loop_now(worker->loop), WORTH_US) || rest.len > REST_BYTES ||
	    atomic_load_explicit(&worker->gateway->draining, memory_order_relaxed))
		return false;
	struct lists_wait *wait = calloc(1, sizeof *wait);
	if (!wait || !loop_timers_reserve(worker->loop, 1)) {
		free(wait);
		return false;
	}
	wait->worker = worker;
	wait->request = request;
	wait->serve = serve;
	wait->timer = LOOP_TIMER_INIT(wait_due);
	wait->rest_len = rest.len;
	if (rest.len)
		memcpy(wait->rest, rest.at, rest.len);
	TAILQ_INSERT_TAIL(&worker->list_waits, wait, next);
	loop_arm(worker->loop, &wait->timer, until_us);
	request->waits_for = wait;
	request->gone = client_left;
	return true;
}

void lists_changed(struct worker *worker)
{
	assert_owner(worker_owner(worker));
	struct lists_wait *wait;
	while ((wait = TAILQ_FIRST(&worker->list_waits)))
		make_due(wait);
}

void lists_serve(struct worker *worker)
{
	assert_owner(worker_owner(worker));
	struct lists_wait *wait;
	for (int i = 0; i < SERVED_A_TURN && (wait = TAILQ_FIRST(&worker->lists_due)); i++)
		serve_again(wait);
}

bool lists_due(const struct worker *worker)
{
	return !TAILQ_EMPTY(&worker->lists_due);
}
