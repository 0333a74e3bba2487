/*
 * batcher.c: the front door. A call's way through:
 *
 *     batcher_add -> waiting in a lane -> travelling in a batch -> answered by the upstream's callback
 *                          |                    |
 *                          +---- settled <------+   (expired, refused, no memory, shutting down)
 *
 * Whatever the batcher itself decides is put down first (settle) and told last (tell_settled), when all lanes, batches
 * and heaps are in order again: so a callback may add and cancel as it likes.
 */
#include "batcher/batcher.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/random.h>

#include "batcher/batch.h"
#include "batcher/hunt.h"
#include "batcher/lane.h"
#include "batcher/model.h"
#include "batcher/table.h"
#include "batcher/window.h"

struct batcher {
	struct batch_policy policy; /* max_items capped by what the dialect can carry */
	unsigned label;
	struct loop *loop;
	struct meter *meter;
	struct upstream *upstream;
	uint64_t seed; /* of the tables' hashes */

	struct table lanes;        /* by key; an empty one with nothing in flight is freed by the next tick */
	struct due_heap looks;     /* lanes that may not send yet, or have had news: when to judge them */
	TAILQ_HEAD(, lane) ready;  /* lanes that may send; served round-robin; waits here at the cap of exchanges */
	struct due_heap expiries;  /* items waiting and travelling, by deadline_us */
	struct batch_list flights; /* batches under way */
	size_t in_flight;          /* of those */
	size_t forgotten;          /* of those, to be aborted */
	size_t waiting_items;      /* over all lanes */
	size_t waiting_bytes;
	struct batch_item_list settled; /* to be told */
	struct window_costs costs;      /* over all lanes, since lanes come and go */
	struct model model;             /* likewise */
	size_t travelling;              /* items in batches that somebody waits for */
	uint64_t freed_us;              /* when an exchange last ended */
	struct upstream_call *calls;    /* scratch for upstream_send */
	size_t calls_room;
};

struct batcher *batcher_new(const struct batch_policy *policy, const struct upstream_settings *settings,
			    struct transport *transport, struct loop *loop, struct meter *meter)
{
	assert(policy->max_items >= 1 && policy->max_in_flight >= 1 && settings->dialect->max_calls >= 1);
	struct batcher *batcher = calloc(1, sizeof *batcher);
	if (!batcher)
		return NULL;
	batcher->upstream = upstream_new(settings, transport, loop, meter);
	if (!batcher->upstream) {
		free(batcher);
		return NULL;
	}
	batcher->policy = *policy;
	if (batcher->policy.max_items > settings->dialect->max_calls)
		batcher->policy.max_items = settings->dialect->max_calls;
	model_init(&batcher->model, batcher->policy.max_in_flight);
	batcher->label = settings->label;
	batcher->loop = loop;
	batcher->meter = meter;
	if (getrandom(&batcher->seed, sizeof batcher->seed, GRND_NONBLOCK) != sizeof batcher->seed)
		batcher->seed = (uint64_t)(uintptr_t)batcher ^ clock_now_us(); /* early boot: better than nothing */
	table_init(&batcher->lanes);
	TAILQ_INIT(&batcher->ready);
	TAILQ_INIT(&batcher->flights);
	TAILQ_INIT(&batcher->settled);
	return batcher;
}

/* --- what is learned --- */

#define LONGEST_PAUSE_US (300 * CLOCK_US_PER_S) /* however long the provider asks for */
enum { LEAST_WINDOW_US = 1000 };                /* a shorter wait than this is not worth cutting: a flight lands soon */

static struct window_plan make_plan(const struct batcher *batcher, uint64_t now_us)
{
	const struct model *model = &batcher->model;
	struct window_plan plan = { .singles = model_shuns(model, now_us) };
	if (batcher->policy.mode != BATCH_ADAPTIVE || !model_known(model))
		return plan;
	uint64_t fixed_us = (uint64_t)model->fixed_us;
	plan.slots = model_slots(model);
	plan.useful = model_useful(model);
	plan.share = model_share(model);
	plan.gather_us = fixed_us / 4;
	plan.window_us = fixed_us / 2 > LEAST_WINDOW_US ? fixed_us / 2 : LEAST_WINDOW_US;
	return plan;
}

static struct window_view view_of(const struct batcher *batcher, const struct lane *lane, uint64_t now_us)
{
	struct window_view view = lane_view(lane);
	view.costs = batcher->costs;
	view.busy = batcher->in_flight;
	view.freed_us = batcher->freed_us;
	view.plan = make_plan(batcher, now_us);
	return view;
}

/* The configured caps, or what 413 has made of them. */
static struct batch_policy policy_now(const struct batcher *batcher)
{
	struct batch_policy policy = batcher->policy;
	policy.max_items = model_cap_items(&batcher->model, policy.max_items);
	policy.max_bytes = model_cap_bytes(&batcher->model, policy.max_bytes);
	return policy;
}

static void show_learned(struct batcher *batcher, uint64_t now_us)
{
	struct meter *meter = batcher->meter;
	const struct model *model = &batcher->model;
	struct window_plan plan = make_plan(batcher, now_us);
	uint64_t window_us = plan.window_us && plan.window_us < batcher->policy.window_us ? plan.window_us
											  : batcher->policy.window_us;
	bool singles = plan.singles || window_single(&batcher->policy);
	meter_set(meter, METRIC_ID_BATCH_WINDOW, batcher->label, 0, singles ? 0 : (int64_t)window_us);
	meter_set(meter, METRIC_ID_BATCH_EXCHANGE_COST, batcher->label, 0, (int64_t)model->fixed_us);
	meter_set(meter, METRIC_ID_BATCH_ITEM_COST, batcher->label, 0, (int64_t)model->item_us);
	meter_set(meter, METRIC_ID_BATCH_CONCURRENCY, batcher->label, 0, (int64_t)model_slots(model));
}

static void note_load(struct batcher *batcher, bool landed)
{
	model_load(&batcher->model, batcher->waiting_items + batcher->travelling, landed);
}

/* --- lanes --- */

static struct lane *find_lane(const struct batcher *batcher, struct slice key, uint64_t hash)
{
	for (struct table_node *node = table_first(&batcher->lanes, hash); node; node = table_again(node)) {
		struct lane *lane = container_of(node, struct lane, node);
		if (slice_equal(lane_key(lane), key))
			return lane;
	}
	return NULL;
}

static struct lane *need_lane(struct batcher *batcher, struct slice key)
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

static void free_lane(struct batcher *batcher, struct lane *lane)
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

static void unset_ready(struct batcher *batcher, struct lane *lane)
{
	if (lane->ready)
		TAILQ_REMOVE(&batcher->ready, lane, next);
	lane->ready = false;
}

/* Something about the lane has changed: the next tick judges it. A ready one is judged anyway before it sends; but an
 * empty one must not wait there, at the cap, for longer than its calls did. */
static void news_of(struct batcher *batcher, struct lane *lane)
{
	if (lane->items == 0 && TAILQ_EMPTY(&lane->again)) {
		unset_ready(batcher, lane);
		lane->landed = false; /* those who had gathered have gone another way */
	}
	if (!lane->ready)
		due_set(&batcher->looks, &lane->look, 0);
}

/* Line the lane up to send, or note when to look again, or free it. It must not be ready. */
static void judge(struct batcher *batcher, struct lane *lane, uint64_t now_us)
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
		free_lane(batcher, lane);
		return;
	}
	struct window_view view = view_of(batcher, lane, now_us);
	struct batch_policy policy = policy_now(batcher);
	struct window_verdict verdict = window_judge(&policy, &view, now_us);
	if (verdict.leave)
		set_ready(batcher, lane, now_us);
	else if (verdict.again_us == CLOCK_NEVER)
		due_clear(&batcher->looks, &lane->look);
	else
		due_set(&batcher->looks, &lane->look, verdict.again_us);
}

/* --- where an item is --- */

static void count_waiting(struct batcher *batcher, const struct batch_item *item, int by)
{
	size_t bytes = item->call.arguments.len;
	batcher->waiting_items += (size_t)by;
	batcher->waiting_bytes = by > 0 ? batcher->waiting_bytes + bytes : batcher->waiting_bytes - bytes;
	meter_move(batcher->meter, METRIC_ID_BATCH_WAITING, batcher->label, 0, by);
}

/* Nobody waits for any of this exchange. Aborted by the next tick: we may be within its own callback. */
static void forget(struct batcher *batcher, struct batch *batch)
{
	batch->forgotten = true;
	batcher->forgotten++;
}

/* Out of its batch, in whatever way. */
static void drop(struct batcher *batcher, struct batch *batch, struct batch_item *item)
{
	batch_drop(batch, item);
	batcher->travelling--;
}

static void queue_again(struct batcher *batcher, struct batch *batch)
{
	struct lane *lane = batch->lane;
	batch->queued = true;
	TAILQ_INSERT_TAIL(&lane->again, batch, next);
	news_of(batcher, lane);
}

static void unqueue(struct batch *batch)
{
	TAILQ_REMOVE(&batch->lane->again, batch, next);
	batch->queued = false;
}

/* Its search is over, found or not: whoever is left in it travels together, if anybody is. */
static void end_hunt(struct batcher *batcher, struct batch *batch)
{
	struct batch *left = batch->hunt ? hunt_end(batch->hunt) : NULL;
	batch->hunt = NULL;
	if (left)
		queue_again(batcher, left);
}

/* Nobody waits any more for what was to be sent again. */
static void lose_queued(struct batcher *batcher, struct batch *batch)
{
	struct lane *lane = batch->lane;
	unqueue(batch);
	end_hunt(batcher, batch);
	batch_free(batch);
	news_of(batcher, lane);
}

/* Out of its lane or batch, not by an answer. */
static void withdraw(struct batcher *batcher, struct batch_item *item)
{
	struct lane *lane = item->lane;
	struct batch *batch = item->batch;
	due_clear(&batcher->expiries, &item->expiry);
	if (lane) {
		lane_remove(lane, item);
		count_waiting(batcher, item, -1);
		news_of(batcher, lane);
	} else if (batch) {
		drop(batcher, batch, item);
		if (batch->live == 0 && batch->state == BATCH_SENT)
			forget(batcher, batch);
		else if (batch->live == 0 && batch->queued)
			lose_queued(batcher, batch);
	}
}

/* This is how it ends; tell_settled tells its owner. Takes the reference. The item is nowhere else any more. */
static void settle(struct batcher *batcher, struct batch_item *item, struct answer *answer, struct batch_facts facts)
{
	item->answer = answer;
	item->facts = facts;
	TAILQ_INSERT_TAIL(&batcher->settled, item, next);
}

static void tell_settled(struct batcher *batcher)
{
	struct batch_item *item;
	while ((item = TAILQ_FIRST(&batcher->settled))) {
		TAILQ_REMOVE(&batcher->settled, item, next);
		struct answer *answer = item->answer;
		struct batch_facts facts = item->facts; /* the callback may free the item */
		item->answer = NULL;
		item->answered(item, answer, &facts);
	}
}

static struct batch_facts facts_of(const struct batch_item *item, uint64_t now_us)
{
	if (item->batch)
		return batch_facts(item->batch, item, now_us);
	return (struct batch_facts){ .waited_us = window_elapsed_us(item->added_us, now_us) };
}

/* The provider wants to be left alone for longer than a call can wait. */
static struct answer *paused_answer(const struct lane *lane, uint64_t now_us)
{
	uint64_t wait_us = window_elapsed_us(now_us, lane->paused_until_us);
	return answer_upstream_error(
		OUTCOME_RATE_LIMITED, 0, (uint32_t)(wait_us / CLOCK_US_PER_S + 1), (struct slice){ NULL, 0 },
		"The provider asked for a pause that lasts beyond the call's deadline; it was not sent.");
}

/* --- the front door --- */

static enum outcome refuse(struct batcher *batcher, enum reject_reason reason, const char *text, const char **why)
{
	meter_add(batcher->meter, METRIC_ID_REJECTED, reason, 0, 1);
	*why = text;
	return OUTCOME_OVERLOADED;
}

static void reset_item(struct batch_item *item)
{
	item->lane = NULL;
	item->turn = NULL;
	item->batch = NULL;
	item->answer = NULL;
	item->expiry = (struct due_node){ .listed = false };
	item->urgent = (struct due_node){ .listed = false };
}

enum outcome batcher_add(struct batcher *batcher, struct batch_item *item, uint64_t now_us, const char **why)
{
	size_t bytes = item->call.arguments.len;
	reset_item(item);
	if (batcher->waiting_items >= batcher->policy.queue_items)
		return refuse(batcher, REJECT_QUEUE_ITEMS, "too many calls wait for this provider (queue.items)", why);
	if (bytes > batcher->policy.queue_bytes || batcher->waiting_bytes > batcher->policy.queue_bytes - bytes)
		return refuse(batcher, REJECT_QUEUE_BYTES, "too many bytes wait for this provider (queue.bytes)", why);
	struct lane *lane = need_lane(batcher, item->lane_key);
	if (lane && lane->paused_until_us > now_us && item->deadline_us <= lane->paused_until_us) {
		item->added_us = now_us;
		settle(batcher, item, paused_answer(lane, now_us), facts_of(item, now_us));
		return OUTCOME_OK;
	}
	bool added = lane && lane_add(lane, item, now_us);
	if (lane)
		news_of(batcher, lane); /* a new one that stays empty is freed by the tick */
	if (!added)
		return refuse(batcher, REJECT_NO_MEMORY, "the gateway is out of memory", why);
	due_set(&batcher->expiries, &item->expiry, item->deadline_us);
	count_waiting(batcher, item, 1);
	note_load(batcher, false);
	return OUTCOME_OK;
}

void batcher_cancel(struct batcher *batcher, struct batch_item *item, uint64_t now_us)
{
	(void)now_us; /* what it leaves behind is the next tick's */
	assert(item->lane || item->batch || item->answer);
	if (!item->answer) {
		withdraw(batcher, item);
		return;
	}
	TAILQ_REMOVE(&batcher->settled, item, next);
	answer_unref(item->answer);
	item->answer = NULL;
}

void batcher_set_deadlines(struct batcher *batcher, struct batch_item *item, uint64_t deadline_us, uint64_t urgent_us)
{
	item->deadline_us = deadline_us;
	item->urgent_us = urgent_us;
	if (item->lane || item->batch)
		due_set(&batcher->expiries, &item->expiry, deadline_us);
	if (!item->lane)
		return;
	lane_set_urgent(item->lane, item, urgent_us);
	news_of(batcher, item->lane);
}

/* --- exchanges --- */

/* The exchange is over, by landing or by our hand. What gathered behind it may go. */
static void end_flight(struct batcher *batcher, struct batch *batch)
{
	struct lane *lane = batch->lane;
	TAILQ_REMOVE(&batcher->flights, batch, next);
	batcher->in_flight--;
	lane->in_flight--;
	if (batch->forgotten)
		batcher->forgotten--;
	lane->landed = true;
	batcher->freed_us = loop_now(batcher->loop);
	note_load(batcher, true);
	show_learned(batcher, batcher->freed_us);
	meter_move(batcher->meter, METRIC_ID_BATCH_IN_FLIGHT, batcher->label, 0, -1);
	news_of(batcher, lane);
	end_hunt(batcher, batch);
	batch_free(batch);
}

/* That this time nothing was sent must not hide that something was before. Takes the reference, gives one. */
static struct answer *whole_story(const struct batch *batch, struct answer *answer)
{
	bool unsent = answer->outcome == OUTCOME_UPSTREAM_UNAVAILABLE || answer->outcome == OUTCOME_OVERLOADED ||
		      answer->outcome == OUTCOME_DEADLINE_EXCEEDED;
	if (!batch->before || !unsent)
		return answer;
	answer_unref(answer);
	return answer_ref(batch->before);
}

static void on_answered(void *context, size_t index, struct answer *answer)
{
	struct batch *batch = context;
	struct batcher *batcher = batch->batcher;
	assert(index < batch->count);
	struct batch_item *item = batch->items[index];
	if (!item) {
		answer_unref(answer); /* expired or cancelled on the way */
		return;
	}
	struct batch_facts facts = batch_facts(batch, item, loop_now(batcher->loop));
	due_clear(&batcher->expiries, &item->expiry);
	answer = whole_story(batch, answer);
	drop(batcher, batch, item);
	item->answered(item, answer, &facts);
}

/* --- refused as a whole --- */

/* How long the provider asks to be left alone; 0: it does not. */
static uint64_t asked_pause_us(const struct answer *answer)
{
	bool busy = answer->upstream_status == 429 || answer->upstream_status == 503;
	uint64_t pause_us = busy ? answer->retry_after_s * CLOCK_US_PER_S : 0;
	return pause_us < LONGEST_PAUSE_US ? pause_us : LONGEST_PAUSE_US;
}

/* Whether a part of the batch may fare better. Credentials, redirects and a provider that is down or slow are the same
 * for every part. */
static bool worth_splitting(const struct answer *answer)
{
	switch (answer->upstream_status) {
	case 401:
	case 403:
	case 407:
	case 408:
	case 429:
	case 502:
	case 503:
	case 504:
		return false;
	default:
		return answer->upstream_status < 300 || answer->upstream_status >= 400;
	}
}

static void on_refused(void *context, size_t index, struct answer *answer)
{
	struct batch *batch = context;
	struct batcher *batcher = batch->batcher;
	struct batch_item *item = batch->items[index];
	uint64_t pause_us = asked_pause_us(answer);
	uint64_t until_us = clock_add(loop_now(batcher->loop), pause_us);
	bool again = pause_us ? item && item->deadline_us > until_us : batch->count > 1 && worth_splitting(answer);
	if (pause_us && batch->lane->paused_until_us < until_us)
		batch->lane->paused_until_us = until_us;
	if (!item || !again) {
		batch->told = true;
		on_answered(context, index, answer);
		return;
	}
	if (batch->refusal)
		answer_unref(answer);
	else
		batch->refusal = answer;
}

/* No memory to send them again: they are told what the provider said. */
static void tell_refusal(struct batcher *batcher, struct batch *batch, struct answer *refusal, uint64_t now_us)
{
	for (size_t i = 0; i < batch->count; i++) {
		struct batch_item *item = batch->items[i];
		if (!item)
			continue;
		struct batch_facts facts = facts_of(item, now_us);
		due_clear(&batcher->expiries, &item->expiry);
		drop(batcher, batch, item);
		settle(batcher, item, answer_ref(refusal), facts);
	}
}

/* Whether it was put off only, not carried out in any part. */
static bool pause_asked(const struct batch *batch)
{
	return !batch->refusal || asked_pause_us(batch->refusal) > 0;
}

/* Up to `most` of those who live move into a batch of their own, to be sent again. */
static void requeue(struct batcher *batcher, struct batch *batch, size_t most, size_t room, struct hunt *hunt)
{
	struct batch *other = batch_new(batcher, batch->lane, room);
	if (!other)
		return;
	for (size_t i = 0; i < batch->count && other->live < most; i++) {
		struct batch_item *item = batch->items[i];
		if (!item)
			continue;
		batch_drop(batch, item);
		batch_put(other, item);
	}
	other->hunt = hunt;
	other->before = batch->before         ? answer_ref(batch->before)
			: !pause_asked(batch) ? answer_ref(batch->refusal)
					      : NULL;
	queue_again(batcher, other);
}

/* Those who wait and cannot wait that long are told now. */
static void refuse_hurried(struct batcher *batcher, struct lane *lane, uint64_t now_us)
{
	struct batch_item *item = TAILQ_FIRST(&lane->arrivals), *after;
	for (; item; item = after) {
		after = TAILQ_NEXT(item, arrival);
		if (item->deadline_us > lane->paused_until_us)
			continue;
		struct batch_facts facts = facts_of(item, now_us);
		withdraw(batcher, item);
		settle(batcher, item, paused_answer(lane, now_us), facts);
	}
}

static void pause_lane(struct batcher *batcher, struct batch *batch, uint64_t now_us)
{
	struct lane *lane = batch->lane;
	if (batch->live > 0) {
		struct hunt *hunt = batch->hunt;
		size_t room = hunt || batcher->policy.max_items < batch->live ? batch->live : batcher->policy.max_items;
		batch->hunt = NULL;
		requeue(batcher, batch, batch->live, room, hunt);
		if (batch->live > 0) /* no memory */
			batch->hunt = hunt;
	}
	refuse_hurried(batcher, lane, now_us);
	unset_ready(batcher, lane);
	news_of(batcher, lane);
}

/* The next try of a hunt, or its end. */
static void go_on(struct batcher *batcher, struct batch *batch, uint64_t now_us)
{
	struct hunt *hunt = batch->hunt;
	bool no_memory;
	struct batch *next = hunt_next(hunt, &no_memory);
	if (no_memory)
		tell_refusal(batcher, hunt->suspects, hunt->refusal, now_us);
	if (!next) {
		end_hunt(batcher, batch);
		return;
	}
	batch->hunt = NULL;
	queue_again(batcher, next);
}

/* Too large for the provider: both halves may fit, so there is no culprit to look for. */
static void halve(struct batcher *batcher, struct batch *batch)
{
	model_too_large(&batcher->model, batch->count, batch->bytes);
	size_t half = (batch->live + 1) / 2;
	requeue(batcher, batch, half, half, NULL);
	if (batch->live > 0)
		requeue(batcher, batch, batch->live, batch->live, NULL);
}

static void split(struct batcher *batcher, struct batch *batch, uint64_t now_us)
{
	meter_add(batcher->meter, METRIC_ID_BATCH_BISECTIONS, batcher->label, 0, 1);
	if (batch->refusal->upstream_status == 413) {
		halve(batcher, batch);
		end_hunt(batcher, batch);
	} else if (batch->hunt) {
		hunt_narrow(batch->hunt, batch);
		go_on(batcher, batch, now_us);
	} else if ((batch->hunt = hunt_begin(batch, batch->refusal))) {
		go_on(batcher, batch, now_us);
	}
	if (batch->live > 0)
		tell_refusal(batcher, batch, batch->refusal, now_us);
}

/* A try has landed and was not refused in a way that narrows the search. */
static void end_try(struct batcher *batcher, struct batch *batch, enum outcome outcome, uint64_t now_us)
{
	struct hunt *hunt = batch->hunt;
	bool last = hunt->suspects->live == 0;
	if (outcome != OUTCOME_OK || batch->told) {
		end_hunt(batcher, batch); /* found; or something else is wrong */
		return;
	}
	hunt->accepted |= batch->count > 1;
	/* All passed alone, no array did, and nobody else was in the one refused: it was for being an array. */
	if (last && hunt->all && !hunt->accepted)
		model_shun(&batcher->model, now_us);
	go_on(batcher, batch, now_us);
}

static void learn(struct batcher *batcher, const struct batch *batch, uint64_t now_us)
{
	uint64_t took_us = window_elapsed_us(batch->sent_us, now_us);
	window_learn(&batcher->costs, took_us);
	model_learn(&batcher->model, batch->count, took_us, batch->under_way, now_us);
	model_passed(&batcher->model, batch->count);
}

static void on_landed(void *context, enum outcome outcome)
{
	struct batch *batch = context;
	struct batcher *batcher = batch->batcher;
	uint64_t now_us = loop_now(batcher->loop);
	if (outcome == OUTCOME_OK)
		learn(batcher, batch, now_us);
	if (batch->lane->paused_until_us > now_us)
		pause_lane(batcher, batch, now_us);
	if (batch->live > 0) /* the refused ones: all others have been answered */
		split(batcher, batch, now_us);
	else if (batch->hunt)
		end_try(batcher, batch, outcome, now_us);
	end_flight(batcher, batch);
}

static const struct upstream_events events = { .answered = on_answered, .refused = on_refused, .landed = on_landed };

static void abort_forgotten(struct batcher *batcher)
{
	struct batch *batch = TAILQ_FIRST(&batcher->flights);
	while (batch && batcher->forgotten > 0) {
		struct batch *after = TAILQ_NEXT(batch, next);
		if (batch->forgotten) {
			upstream_abort(batch->exchange);
			end_flight(batcher, batch);
		}
		batch = after;
	}
}

/* --- a batch leaves --- */

/* Room in the scratch for so many calls. False: out of memory. */
static bool reserve_calls(struct batcher *batcher, size_t count)
{
	if (count <= batcher->calls_room)
		return true;
	struct upstream_call *calls = reallocarray(batcher->calls, count, sizeof *calls);
	if (!calls)
		return false;
	batcher->calls = calls;
	batcher->calls_room = count;
	return true;
}

/* Next one out of the lane; still in the heap of deadlines. */
static void take(struct batcher *batcher, struct batch_item *item, uint64_t now_us)
{
	lane_take(item->lane, item, now_us);
	count_waiting(batcher, item, -1);
}

static void fill(struct batcher *batcher, struct batch *batch, uint64_t now_us)
{
	struct batch_policy policy = policy_now(batcher);
	struct batch_item *item;
	while ((item = lane_next(batch->lane)) && batch_fits(batch, &policy, item->call.arguments.len)) {
		take(batcher, item, now_us);
		batcher->calls[batch->count] = item->call;
		batch_put(batch, item);
		batcher->travelling++;
	}
}

/* No memory for the batch: those who would have travelled are told. */
static void shed(struct batcher *batcher, struct lane *lane, size_t count, uint64_t now_us)
{
	while (count-- > 0) {
		struct batch_item *item = lane_next(lane);
		take(batcher, item, now_us);
		due_clear(&batcher->expiries, &item->expiry);
		meter_add(batcher->meter, METRIC_ID_REJECTED, REJECT_NO_MEMORY, 0, 1);
		settle(batcher, item,
		       answer_error(OUTCOME_OVERLOADED, "The gateway is out of memory; try again later."),
		       facts_of(item, now_us));
	}
}

/* The upstream took none of it; its answer speaks for all. Takes the reference. */
static void settle_refused(struct batcher *batcher, struct batch *batch, struct answer *refusal, uint64_t now_us)
{
	refusal = whole_story(batch, refusal);
	for (size_t i = 0; i < batch->count; i++) {
		struct batch_item *item = batch->items[i];
		struct batch_facts facts = facts_of(item, now_us);
		due_clear(&batcher->expiries, &item->expiry);
		drop(batcher, batch, item);
		settle(batcher, item, answer_ref(refusal), facts);
	}
	answer_unref(refusal);
	end_hunt(batcher, batch);
	batch_free(batch);
}

static void count_sent(struct batcher *batcher, const struct batch *batch, enum flush_reason reason)
{
	struct meter *meter = batcher->meter;
	meter_observe(meter, METRIC_ID_BATCH_ITEMS, batcher->label, batch->count);
	meter_observe(meter, METRIC_ID_BATCH_BYTES, batcher->label, batch->bytes);
	for (size_t i = 0; i < batch->count; i++)
		meter_observe(meter, METRIC_ID_BATCH_WAIT, batcher->label,
			      window_elapsed_us(batch->items[i]->added_us, batch->sent_us));
	meter_add(meter, METRIC_ID_BATCH_FLUSHES, batcher->label, reason, 1);
	meter_add(meter, METRIC_ID_BATCH_SAVED, batcher->label, 0, batch->count - 1);
	meter_move(meter, METRIC_ID_BATCH_IN_FLIGHT, batcher->label, 0, 1);
}

/* One batch out of a lane that has calls waiting: sent, or its calls are settled. */
/* How many calls it may take: no more than its share, so that something is left for the other slots. */
static size_t batch_limit(const struct batcher *batcher, enum flush_reason reason, uint64_t now_us)
{
	size_t most = policy_now(batcher).max_items;
	size_t share = make_plan(batcher, now_us).share;
	if (reason == FLUSH_SINGLE)
		return 1;
	return share > 0 && share < most ? share : most;
}

/* Out it goes, or its calls are told why not. */
static void send_filled(struct batcher *batcher, struct batch *batch, enum flush_reason reason, uint64_t now_us)
{
	struct answer *refusal = NULL;
	struct exchange *exchange = upstream_send(batcher->upstream, batcher->calls, batch->count, batch->deadline_us,
						  &events, batch, &refusal);
	if (!exchange) {
		settle_refused(batcher, batch, refusal, now_us);
		return;
	}
	batch_sent(batch, exchange, now_us);
	TAILQ_INSERT_TAIL(&batcher->flights, batch, next);
	batcher->in_flight++;
	batch->lane->in_flight++;
	batch->under_way = batcher->in_flight;
	count_sent(batcher, batch, reason);
}

static void send_batch(struct batcher *batcher, struct lane *lane, enum flush_reason reason, uint64_t now_us)
{
	size_t most = batch_limit(batcher, reason, now_us);
	size_t room = lane->items < most ? lane->items : most;
	struct batch *batch = reserve_calls(batcher, room) ? batch_new(batcher, lane, room) : NULL;
	lane->landed = false;
	if (!batch) {
		shed(batcher, lane, room, now_us);
		return;
	}
	fill(batcher, batch, now_us);
	send_filled(batcher, batch, reason, now_us);
}

/* Those who left on the way leave no gaps. */
static void close_up(struct batcher *batcher, struct batch *batch)
{
	size_t live = 0;
	batch->bytes = 0;
	for (size_t i = 0; i < batch->count; i++) {
		struct batch_item *item = batch->items[i];
		if (!item)
			continue;
		item->index = live;
		batch->items[live] = item;
		batch->bytes += item->call.arguments.len;
		batcher->calls[live++] = item->call;
	}
	batch->count = live;
}

/* What was refused is sent again, before all that waits. A batch that had to pause takes along what fits. */
static void send_again(struct batcher *batcher, struct lane *lane, uint64_t now_us)
{
	struct batch *batch = TAILQ_FIRST(&lane->again);
	if (model_shuns(&batcher->model, now_us) && batch->live > 1 && !batch->hunt) {
		requeue(batcher, batch, 1, 1, NULL);
		batch = TAILQ_LAST(&lane->again, batch_queue);
	}
	unqueue(batch);
	if (!reserve_calls(batcher, batch->room)) {
		struct answer *refusal =
			answer_error(OUTCOME_OVERLOADED, "The gateway is out of memory; try again later.");
		tell_refusal(batcher, batch, refusal, now_us);
		answer_unref(refusal);
		end_hunt(batcher, batch);
		batch_free(batch);
		return;
	}
	close_up(batcher, batch);
	if (!batch->hunt && !batch->before && !model_shuns(&batcher->model, now_us))
		fill(batcher, batch, now_us);
	send_filled(batcher, batch, FLUSH_SPLIT, now_us);
}

/* Judged again now that there is room: the hurried one may have left since. */
static void serve(struct batcher *batcher, struct lane *lane, uint64_t now_us)
{
	if (lane->paused_until_us > now_us || !TAILQ_EMPTY(&lane->again)) {
		unset_ready(batcher, lane);
		if (lane->paused_until_us <= now_us)
			send_again(batcher, lane, now_us);
		judge(batcher, lane, now_us);
		return;
	}
	struct window_view view = view_of(batcher, lane, now_us);
	struct batch_policy policy = policy_now(batcher);
	struct window_verdict verdict = window_judge(&policy, &view, now_us);
	bool held = lane->ready_us < now_us; /* it was due before, and waited for another lane's flight to land */
	unset_ready(batcher, lane);
	if (verdict.leave) {
		bool waited = verdict.reason == FLUSH_IDLE && held;
		send_batch(batcher, lane, waited ? FLUSH_LANDED : verdict.reason, now_us);
	}
	judge(batcher, lane, now_us);
}

static void flush(struct batcher *batcher, uint64_t now_us)
{
	while (due_first_us(&batcher->looks) <= now_us)
		judge(batcher, container_of(batcher->looks.root, struct lane, look), now_us);
	while (batcher->in_flight < batcher->policy.max_in_flight && !TAILQ_EMPTY(&batcher->ready))
		serve(batcher, TAILQ_FIRST(&batcher->ready), now_us);
}

/* --- time --- */

static struct answer *expired_answer(const struct batch_item *item)
{
	if (!item->batch)
		return answer_error(OUTCOME_DEADLINE_EXCEEDED, "The call's deadline passed before it could be sent.");
	if (item->call.repeatable)
		return answer_error(OUTCOME_UPSTREAM_TIMEOUT,
				    "The provider did not answer before the call's deadline.");
	return answer_error(OUTCOME_OUTCOME_UNKNOWN, "The call was sent, but no answer came before its deadline; "
						     "it may have taken effect.");
}

static void expire(struct batcher *batcher, uint64_t now_us)
{
	while (due_first_us(&batcher->expiries) <= now_us) {
		struct batch_item *item = container_of(batcher->expiries.root, struct batch_item, expiry);
		struct answer *answer = expired_answer(item);
		struct batch_facts facts = facts_of(item, now_us);
		withdraw(batcher, item);
		settle(batcher, item, answer, facts);
	}
}

void batcher_tick(struct batcher *batcher, uint64_t now_us)
{
	expire(batcher, now_us);
	abort_forgotten(batcher);
	flush(batcher, now_us);
	tell_settled(batcher);
}

uint64_t batcher_deadline(const struct batcher *batcher)
{
	bool room = batcher->in_flight < batcher->policy.max_in_flight;
	if (batcher->forgotten > 0 || !TAILQ_EMPTY(&batcher->settled) || (room && !TAILQ_EMPTY(&batcher->ready)))
		return 0;
	uint64_t look_us = due_first_us(&batcher->looks);
	uint64_t expiry_us = due_first_us(&batcher->expiries);
	return look_us < expiry_us ? look_us : expiry_us;
}

/* --- the end --- */

void batcher_abort_all(struct batcher *batcher, struct answer *answer, uint64_t now_us)
{
	struct due_node *node;
	while ((node = batcher->expiries.root)) { /* every item that waits or travels is in there */
		struct batch_item *item = container_of(node, struct batch_item, expiry);
		struct batch_facts facts = facts_of(item, now_us);
		withdraw(batcher, item);
		settle(batcher, item, answer_ref(answer), facts);
	}
	/* all answered, yet not landed: nobody waits for those either */
	struct batch *batch;
	TAILQ_FOREACH (batch, &batcher->flights, next) {
		if (!batch->forgotten)
			forget(batcher, batch);
	}
	abort_forgotten(batcher);
	tell_settled(batcher);
}

void batcher_free(struct batcher *batcher)
{
	if (!batcher)
		return;
	assert(batcher->waiting_items == 0 && batcher->in_flight == 0);
	while (batcher->looks.root) /* empty lanes that no tick has freed yet */
		free_lane(batcher, container_of(batcher->looks.root, struct lane, look));
	assert(batcher->lanes.count == 0);
	table_fini(&batcher->lanes);
	upstream_free(batcher->upstream);
	free(batcher->calls);
	free(batcher);
}
