/* SPDX-License-Identifier: Apache-2.0 */
/* under_way.c: a walk over the fetches of a worker, and who waits for them. */
#include "gateway/call/under_way.h"

#include "gateway/call/dispatch_private.h"
#include "gateway/call/reply.h"

enum { FETCHES_LOOKED_AT = 4096, SHARERS_SHOWN = 8 };

/* What its home has said of it before it left, and what its owner knows: nothing that either may be writing. */
static void describe_call(const struct fetch *fetch, const struct call *call, struct recent_call *to)
{
	const struct worker *owner = fetch->provider->dispatch->worker;
	uint64_t now_us = loop_now(owner->loop);
	*to = (struct recent_call){
		.under_way = true,
		.started_us = call->started_us,
		.ended_us = now_us > call->started_us ? now_us : call->started_us,
		.to_wall_us = owner->to_wall_us,
		.look_us = call->look_us,
		.sent = call->sent,
		.tool = call->tool->index,
		.home = call->home->index,
		.looking = fetch->looking,
		.cache = source_word(call->source),
	};
	if (fetch->looking)
		to->look_us = fetch->looked_us && now_us > fetch->looked_us ? now_us - fetch->looked_us : 0;
	else
		to->facts = batch_item_facts(&fetch->item, now_us);
	memcpy(to->request_id, call->request_id, sizeof to->request_id);
	memcpy(to->tenant, call->tenant, sizeof to->tenant);
}

/* Those who wait for one fetch. Returns how many were copied. */
static size_t copy_waiters(const struct fetch *fetch, const struct under_way_filter *filter, struct recent_call *to,
			   size_t room)
{
	const struct waiter *waiter = TAILQ_FIRST(&fetch->flight.waiters);
	size_t count = 0;
	for (int looked = 0; waiter && looked < SHARERS_SHOWN && count < room; looked++) {
		describe_call(fetch, container_of(waiter, struct call, waiter), &to[count]);
		count += filter->is_wanted(filter->context, &to[count]);
		waiter = TAILQ_NEXT(waiter, next);
	}
	return count;
}

size_t calls_under_way(const struct worker *worker, const struct under_way_filter *filter, struct recent_call *to)
{
	assert_owner(worker_owner(worker));
	const struct fetch *fetch = TAILQ_FIRST(&worker->dispatch->under_way);
	size_t count = 0;
	for (int looked = 0; fetch && looked < FETCHES_LOOKED_AT && count < UNDER_WAY_CALLS; looked++) {
		count += copy_waiters(fetch, filter, to + count, UNDER_WAY_CALLS - count);
		fetch = TAILQ_NEXT(fetch, among);
	}
	return count;
}
