/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retry.c: what failed by no fault of its own is tried once more. A provider that restarts, or an overloaded proxy
 * before it, fails for a moment and whatever it is asked: the same request a little later fares better. Those that
 * failed together must not all come back together, so each batch rests for a random part of the backoff (full jitter:
 * Brooker, "Exponential Backoff And Jitter", 2015). Sent again is only what may be: repeatable, or never sent at all.
 */
#include "batcher/batcher_private.h"

#include "base/random.h"

/* The provider, or who stands before it, is not there for the moment; not: this call cannot be answered. One that says
 * when to come back (Retry-After) is asked then, see refused.c. */
static bool is_passing(const struct batch *batch, const struct answer *answer)
{
	if (answer->retry_after_s > 0 || answer->lasting)
		return false;
	switch (answer->upstream_status) {
	case 429: /* it comes back no sooner than what is learned of the rate allows, rate_limiter.h */
	case 502:
	case 503:
	case 504:
		return true;
	case 0: /* no connection, or it broke before an answer. A batch that breaks is searched for the call that did it */
		return answer->outcome == OUTCOME_UPSTREAM_UNAVAILABLE ||
		       (answer->outcome == OUTCOME_UPSTREAM_ERROR && batch->count == 1 && answer->body_len == 0);
	default:
		return false;
	}
}

bool retry_keeps(struct batcher *batcher, struct batch *batch, size_t index, struct answer *answer)
{
	const struct batch_item *item = batch->items[index];
	size_t attempts = upstream_attempts(batch->exchange);
	bool unsent = !batch->before && !upstream_sent(batch->exchange);
	if (!item || batch->bisection || (!item->call.repeatable && !unsent) || !is_passing(batch, answer) ||
	    item->attempts + attempts >= batcher->retries->attempts)
		return false;
	if (!batch->retry_us) /* one draw for all that are to travel together */
		batch->retry_us = 1 + retry_backoff_us(batcher->retries, (unsigned)(item->attempts + attempts + 1),
						       random_next(&batcher->random));
	if (clock_add(loop_now(batcher->loop), batch->retry_us) >= item->deadline_us)
		return false;
	batch->unsent = unsent;
	refused_keep(batch, batch->items[index], answer);
	return true;
}

void retry_completed(struct batcher *batcher, struct batch *batch, uint64_t now_us)
{
	struct batch *other = NULL;
	if (retry_budget_take(upstream_retry_budget(batcher->upstream), batch->live))
		other = refused_part(batcher, batch, batch->live, batch->live, NULL);
	if (!other) {
		refused_deliver(batcher, batch, batch->refusal, now_us);
		return;
	}
	other->paid = true;
	batch->lane->resting++;
	due_set(&batcher->resting, &other->rest, clock_add(now_us, batch->retry_us));
	for (size_t i = 0; i < other->count; i++)
		ending_put_off(batcher, other->items[i], other->rest.at_us);
}

static void end_rest(struct batcher *batcher, struct batch *batch)
{
	due_clear(&batcher->resting, &batch->rest);
	batch->lane->resting--;
}

void retry_lose(struct batcher *batcher, struct batch *batch)
{
	struct lane *lane = batch->lane;
	end_rest(batcher, batch);
	batch_free(batch);
	waiting_mark_dirty(batcher, lane);
}

void retry_wake(struct batcher *batcher, uint64_t now_us)
{
	while (due_first_us(&batcher->resting) <= now_us) {
		struct batch *batch = container_of(batcher->resting.root, struct batch, rest);
		end_rest(batcher, batch);
		refused_again(batcher, batch);
	}
}
