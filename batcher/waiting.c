/* waiting.c: the lanes: found, made, freed; and which of them may send, or when to look again. */
#include "batcher/batcher_private.h"

static struct lane *find_lane(const struct batcher *batcher, struct slice key, uint64_t hash)
{
	for (struct table_node *node = table_first(&batcher->lanes, hash); node; node = table_again(node)) {
		struct lane *lane = container_of(node, struct lane, node);
		if (slice_equal(lane_key(lane), key))
			return lane;
	}
	return NULL;
}

struct lane *waiting_lane(struct batcher *batcher, struct slice key)
{
	uint64_t hash = table_hash(batcher->seed, key);
	struct lane *lane = find_lane(batcher, key, hash);
	if (lane)
		return lane;
	lane = lane_new(key, batcher->seed);
	if (!lane)
		return NULL;
	table_insert(&batcher->lanes, &lane->node, hash);
	return lane;
}

void waiting_free(struct batcher *batcher, struct lane *lane)
{
	due_clear(&batcher->looks, &lane->look);
	table_remove(&batcher->lanes, &lane->node);
	lane_free(lane);
}

static void set_ready(struct batcher *batcher, struct lane *lane, uint64_t now_us)
{
	due_clear(&batcher->looks, &lane->look);
	TAILQ_INSERT_TAIL(&batcher->ready, lane, next);
	lane->ready = true;
	lane->ready_us = now_us;
}

void waiting_hold(struct batcher *batcher, struct lane *lane)
{
	if (lane->ready)
		TAILQ_REMOVE(&batcher->ready, lane, next);
	lane->ready = false;
}

void waiting_news(struct batcher *batcher, struct lane *lane)
{
	if (lane->items == 0 && TAILQ_EMPTY(&lane->again)) {
		waiting_hold(batcher, lane);
		lane->landed = false; /* those who had gathered have gone another way */
	}
	if (!lane->ready)
		due_set(&batcher->looks, &lane->look, 0);
}

void waiting_judge(struct batcher *batcher, struct lane *lane, uint64_t now_us)
{
	if (lane->paused_until_us > now_us) {
		due_set(&batcher->looks, &lane->look, lane->paused_until_us);
		return;
	}
	if (!TAILQ_EMPTY(&lane->again)) {
		set_ready(batcher, lane, now_us);
		return;
	}
	if (lane->items == 0 && lane->in_flight == 0) {
		waiting_free(batcher, lane);
		return;
	}
	struct window_view view = learned_view(batcher, lane, now_us);
	struct batch_policy policy = learned_policy(batcher);
	struct window_verdict verdict = window_judge(&policy, &view, now_us);
	if (verdict.leave)
		set_ready(batcher, lane, now_us);
	else if (verdict.again_us == CLOCK_NEVER)
		due_clear(&batcher->looks, &lane->look);
	else
		due_set(&batcher->looks, &lane->look, verdict.again_us);
}

void waiting_count(struct batcher *batcher, const struct batch_item *item, int by)
{
	size_t bytes = item->call.arguments.len;
	batcher->waiting_items += (size_t)by;
	batcher->waiting_bytes = by > 0 ? batcher->waiting_bytes + bytes : batcher->waiting_bytes - bytes;
	meter_move(batcher->meter, METRIC_ID_BATCH_WAITING, batcher->label, 0, by);
}
