/* SPDX-License-Identifier: Apache-2.0 */
/* common_limits.c: see the header. */
#include "batcher/common_limits.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/hash_table.h"
#include "base/loop.h"

TAILQ_HEAD(common_line, common_member);

struct common_tool {
	struct table_node node; /* by number */
	struct common_tool *next;
	unsigned number;
	struct costs costs; /* by the mutex */
};

struct common_limits {
	atomic_size_t holders;
	atomic_size_t members;
	pthread_mutex_t mutex;
	/* by the mutex; what is atomic is read without */
	struct limiter limiter;
	struct allowed_rates *allowed;        /* held; NULL: nobody has said them yet */
	const struct common_member *choosing; /* it has a slot, and its tokens are not known yet; NULL: nobody */
	size_t fixed;                         /* slots as they are configured; 0: learned */
	bool begun, closed;                   /* it has been said how many; no more for anybody */
	uint64_t now_us;                      /* the latest that somebody has seen */
	atomic_uint changes;                  /* of the limit, and of why it is what it is */
	atomic_size_t taken, overdue;
	struct common_line line; /* for slots */
	size_t told;             /* of those, at its head, have been woken for a slot that is free for them */
	uint64_t told_us;        /* when time alone will free one, as the first in line has been told; 0: he has not */
	struct loop *teller;     /* of the member that tells gauges; NULL: there is none */
	struct table tools;
	struct common_tool *tool_list;
	atomic_size_t items, bytes; /* waiting */
	atomic_uint_fast64_t held_us;
};

struct common_limits *common_limits_new(void)
{
	struct common_limits *limits = calloc(1, sizeof *limits);
	if (!limits)
		return NULL;
	atomic_init(&limits->holders, 1);
	pthread_mutex_init(&limits->mutex, NULL);
	TAILQ_INIT(&limits->line);
	table_init(&limits->tools);
	return limits;
}

struct common_limits *common_limits_ref(struct common_limits *limits)
{
	atomic_fetch_add_explicit(&limits->holders, 1, memory_order_relaxed);
	return limits;
}

void common_limits_unref(struct common_limits *limits)
{
	if (!limits || atomic_fetch_sub_explicit(&limits->holders, 1, memory_order_acq_rel) > 1)
		return;
	assert(TAILQ_EMPTY(&limits->line) && limits->taken == 0 && limits->overdue == 0);
	for (struct common_tool *tool = limits->tool_list, *next; tool; tool = next) {
		next = tool->next;
		free(tool);
	}
	table_fini(&limits->tools);
	allowed_unref(limits->allowed);
	pthread_mutex_destroy(&limits->mutex);
	free(limits);
}

void common_join(struct common_member *member, struct common_limits *limits, struct loop *loop, bool tells)
{
	assert(!member->limits);
	*member = (struct common_member){ .limits = common_limits_ref(limits), .loop = loop, .tells = tells };
	atomic_fetch_add_explicit(&limits->members, 1, memory_order_relaxed);
	if (!tells)
		return;
	pthread_mutex_lock(&limits->mutex);
	assert(!limits->teller);
	limits->teller = loop;
	pthread_mutex_unlock(&limits->mutex);
}

static void stop_telling(struct common_member *member)
{
	pthread_mutex_lock(&member->limits->mutex);
	member->limits->teller = NULL;
	pthread_mutex_unlock(&member->limits->mutex);
}

void common_leave(struct common_member *member)
{
	struct common_limits *limits = member->limits;
	if (!limits)
		return;
	assert(member->slots == 0);
	common_stop_waiting(member);
	if (member->tells)
		stop_telling(member);
	atomic_fetch_sub_explicit(&limits->members, 1, memory_order_relaxed);
	member->limits = NULL;
	common_limits_unref(limits);
}

size_t common_members(const struct common_member *member)
{
	size_t members = atomic_load_explicit(&member->limits->members, memory_order_relaxed);
	return members ? members : 1;
}

/* ---------------------------------------------------------------- slots */

static size_t count_free(const struct common_limits *limits)
{
	if (limits->closed || !limits->begun || limits->choosing)
		return 0;
	size_t slots = limiter_free_count(&limits->limiter, limits->taken, limits->overdue, limits->now_us);
	size_t allowed = limits->allowed ? allowed_free_count(limits->allowed, limits->now_us) : SIZE_MAX;
	return slots < allowed ? slots : allowed;
}

/* When time alone frees one for who has so many ahead; CLOCK_NEVER: it does not. None is free now. */
static uint64_t next_free_us(const struct common_limits *limits, size_t ahead)
{
	if (limits->closed || limits->choosing)
		return CLOCK_NEVER;
	uint64_t slot_us = limiter_free_us(&limits->limiter, limits->taken, limits->overdue, limits->now_us);
	uint64_t rate_us = limits->allowed ? allowed_free_after_us(limits->allowed, ahead) : 0;
	return slot_us > rate_us ? slot_us : rate_us;
}

/* How many stand ahead of it: all, if it is not in the line. */
static size_t count_ahead(const struct common_limits *limits, const struct common_member *member)
{
	size_t ahead = 0;
	for (const struct common_member *one = TAILQ_FIRST(&limits->line); one && one != member;
	     one = TAILQ_NEXT(one, next))
		ahead++;
	return ahead;
}

static bool is_free_for(const struct common_limits *limits, const struct common_member *member)
{
	return count_free(limits) > count_ahead(limits, member);
}

static void leave_line(struct common_limits *limits, struct common_member *member)
{
	if (!member->waits)
		return;
	size_t ahead = count_ahead(limits, member);
	if (ahead < limits->told)
		limits->told--;
	if (ahead == 0) /* it is another one who is to be told of the time */
		limits->told_us = 0;
	TAILQ_REMOVE(&limits->line, member, next);
	member->waits = false;
}

/* Loops outlive their batchers, and may be woken under the mutex; all but one are. */
static struct loop *wake_all_but(struct loop *last, struct loop *loop)
{
	if (last)
		loop_wake(last);
	return loop;
}

/* Wakes those for whom a slot has become free, and the first in line if time alone will free one: all but the last one that
 * is to be woken, which is returned; NULL: there was nobody. Whoever is told sets a timer of his own. */
static struct loop *tell_line(struct common_limits *limits)
{
	size_t spare = count_free(limits), number = 0;
	struct loop *last = NULL;
	struct common_member *member = TAILQ_FIRST(&limits->line), *first = member;
	for (; member && number < spare; member = TAILQ_NEXT(member, next))
		if (number++ >= limits->told)
			last = wake_all_but(last, member->loop);
	limits->told = number;
	uint64_t free_us = 0;
	if (first && !spare)
		free_us = next_free_us(limits, 0);
	if (free_us && free_us != CLOCK_NEVER && free_us != limits->told_us)
		last = wake_all_but(last, first->loop);
	limits->told_us = free_us;
	return last;
}

/* What is different from `before` the gauges are to tell. */
static struct loop *tell_change(struct common_limits *limits, const struct limiter *before, struct loop *last)
{
	const struct limiter *now = &limits->limiter;
	if (limiter_limit(now) == limiter_limit(before) && now->state == before->state && now->reason == before->reason)
		return last;
	atomic_fetch_add_explicit(&limits->changes, 1, memory_order_relaxed);
	return limits->teller ? wake_all_but(last, limits->teller) : last;
}

static struct common_limits *lock_at(const struct common_member *member, uint64_t now_us)
{
	struct common_limits *limits = member->limits;
	pthread_mutex_lock(&limits->mutex);
	limits->now_us = now_us > limits->now_us ? now_us : limits->now_us;
	return limits;
}

static void unlock_and_wake(struct common_limits *limits, struct loop *last)
{
	pthread_mutex_unlock(&limits->mutex);
	if (last)
		loop_wake(last);
}

void common_set_slots(struct common_member *member, size_t fixed, size_t start)
{
	struct common_limits *limits = member->limits;
	struct loop *last = NULL;
	pthread_mutex_lock(&limits->mutex);
	if (!limits->begun || limits->fixed != fixed) {
		struct limiter before;
		limiter_view(&before, &limits->limiter);
		limiter_init(&limits->limiter, fixed, start);
		limits->fixed = fixed;
		limits->begun = true;
		last = tell_change(limits, &before, tell_line(limits));
	}
	unlock_and_wake(limits, last);
}

void common_close(struct common_member *member)
{
	pthread_mutex_lock(&member->limits->mutex);
	member->limits->closed = true;
	pthread_mutex_unlock(&member->limits->mutex);
}

struct allowed_rates *common_agree_rates(struct common_member *member, struct allowed_rates *allowed)
{
	struct common_limits *limits = member->limits;
	pthread_mutex_lock(&limits->mutex);
	if (!limits->allowed)
		limits->allowed = allowed_ref(allowed);
	struct allowed_rates *agreed = limits->allowed;
	pthread_mutex_unlock(&limits->mutex);
	return agreed;
}

bool common_take_slot(struct common_member *member, uint64_t now_us)
{
	struct common_limits *limits = lock_at(member, now_us);
	bool taken = is_free_for(limits, member);
	if (taken && limits->allowed) /* its upstream before a reload is asked on, and may have been faster */
		taken = allowed_take(limits->allowed, limits->now_us);
	if (taken) {
		leave_line(limits, member);
		atomic_fetch_add_explicit(&limits->taken, 1, memory_order_relaxed);
		member->slots++;
		if (limits->allowed && allowed_counts_tokens(limits->allowed))
			limits->choosing = member;
	} else if (!member->waits) {
		TAILQ_INSERT_TAIL(&limits->line, member, next);
		member->waits = true;
	}
	unlock_and_wake(limits, tell_line(limits));
	return taken;
}

static void end_choice(struct common_limits *limits, const struct common_member *member)
{
	if (limits->choosing == member)
		limits->choosing = NULL;
}

size_t common_sent(struct common_member *member, uint64_t now_us)
{
	struct common_limits *limits = lock_at(member, now_us);
	end_choice(limits, member);
	struct limiter before;
	size_t under_way = limits->taken;
	limiter_view(&before, &limits->limiter);
	limiter_sent(&limits->limiter, under_way - 1, limits->overdue, limits->now_us);
	unlock_and_wake(limits, tell_change(limits, &before, tell_line(limits)));
	return under_way;
}

void common_note_overdue(struct common_member *member, bool heard, uint64_t now_us)
{
	struct common_limits *limits = lock_at(member, now_us);
	atomic_fetch_add_explicit(&limits->overdue, 1, memory_order_relaxed);
	if (!heard)
		limiter_overdue(&limits->limiter);
	unlock_and_wake(limits, tell_line(limits));
}

static void drop_slot(struct common_limits *limits, struct common_member *member)
{
	assert(member->slots > 0);
	member->slots--;
	atomic_fetch_sub_explicit(&limits->taken, 1, memory_order_relaxed);
}

void common_return_slot(struct common_member *member, uint64_t now_us)
{
	struct common_limits *limits = lock_at(member, now_us);
	end_choice(limits, member);
	drop_slot(limits, member);
	if (limits->allowed)
		allowed_give_back(limits->allowed);
	unlock_and_wake(limits, tell_line(limits));
}

void common_give_slot(struct common_member *member, bool overdue, uint64_t now_us)
{
	struct common_limits *limits = lock_at(member, now_us);
	drop_slot(limits, member);
	atomic_fetch_sub_explicit(&limits->overdue, overdue, memory_order_relaxed);
	unlock_and_wake(limits, tell_line(limits));
}

void common_stop_waiting(struct common_member *member)
{
	struct common_limits *limits = member->limits;
	if (!limits || !member->waits)
		return;
	pthread_mutex_lock(&limits->mutex);
	leave_line(limits, member);
	unlock_and_wake(limits, tell_line(limits));
}

uint64_t common_free_us(const struct common_member *member, uint64_t now_us)
{
	const struct common_limits *limits = lock_at(member, now_us);
	uint64_t free_us = CLOCK_NEVER;
	if (is_free_for(limits, member))
		free_us = 0;
	else if (!count_free(limits))
		free_us = next_free_us(limits, count_ahead(limits, member));
	pthread_mutex_unlock(&member->limits->mutex);
	return free_us;
}

size_t common_under_way(const struct common_member *member)
{
	return atomic_load_explicit(&member->limits->taken, memory_order_relaxed);
}

size_t common_overdue(const struct common_member *member)
{
	return atomic_load_explicit(&member->limits->overdue, memory_order_relaxed);
}

/* ---------------------------------------------------------------- what is learned */

static void raise_time(atomic_uint_fast64_t *time_us, uint64_t to_us)
{
	uint_fast64_t before = atomic_load_explicit(time_us, memory_order_relaxed);
	while (before < to_us && !atomic_compare_exchange_weak_explicit(time_us, &before, to_us, memory_order_relaxed,
									memory_order_relaxed))
		;
}

void common_note_held(struct common_member *member, uint64_t now_us)
{
	raise_time(&member->limits->held_us, now_us);
}

uint64_t common_held_us(const struct common_member *member)
{
	return atomic_load_explicit(&member->limits->held_us, memory_order_relaxed);
}

static struct common_tool *need_tool(struct common_limits *limits, unsigned number)
{
	uint64_t hash = table_hash_number(0, number); /* the configuration numbers them, not callers */
	for (struct table_node *node = table_first(&limits->tools, hash); node; node = table_again(node)) {
		struct common_tool *tool = container_of(node, struct common_tool, node);
		if (tool->number == number)
			return tool;
	}
	struct common_tool *tool = calloc(1, sizeof *tool);
	if (!tool)
		return NULL;
	tool->number = number;
	tool->next = limits->tool_list;
	limits->tool_list = tool;
	table_insert(&limits->tools, &tool->node, hash);
	return tool;
}

struct common_tool *common_find_tool(struct common_member *member, unsigned number, struct costs *costs)
{
	struct common_limits *limits = member->limits;
	pthread_mutex_lock(&limits->mutex);
	struct common_tool *tool = need_tool(limits, number);
	if (tool)
		*costs = tool->costs;
	pthread_mutex_unlock(&limits->mutex);
	return tool;
}

bool common_completed(struct common_member *member, struct common_tool *tool, struct limiter_sample *sample,
		      struct costs *costs, uint64_t now_us)
{
	struct common_limits *limits = lock_at(member, now_us);
	struct limiter before;
	limiter_view(&before, &limits->limiter);
	sample->costs = &tool->costs;
	limiter_completed(&limits->limiter, sample, limits->now_us);
	*costs = tool->costs;
	bool forgotten = limits->limiter.forgot_us != before.forgot_us;
	unlock_and_wake(limits, tell_change(limits, &before, tell_line(limits)));
	return forgotten;
}

bool common_has_changed(const struct common_member *member)
{
	return atomic_load_explicit(&member->limits->changes, memory_order_relaxed) != member->seen;
}

void common_look(struct common_member *member, struct limiter *view)
{
	struct common_limits *limits = member->limits;
	pthread_mutex_lock(&limits->mutex);
	limiter_view(view, &limits->limiter);
	member->seen = atomic_load_explicit(&limits->changes, memory_order_relaxed);
	pthread_mutex_unlock(&limits->mutex);
}

/* ---------------------------------------------------------------- the queue */

bool common_enter_queue(struct common_member *member, size_t bytes, size_t most_items, size_t most_bytes)
{
	struct common_limits *limits = member->limits;
	pthread_mutex_lock(&limits->mutex);
	size_t items_now = atomic_load_explicit(&limits->items, memory_order_relaxed),
	       bytes_now = atomic_load_explicit(&limits->bytes, memory_order_relaxed);
	bool fits = items_now < most_items && bytes <= most_bytes && bytes_now <= most_bytes - bytes;
	if (fits) {
		atomic_store_explicit(&limits->items, items_now + 1, memory_order_relaxed);
		atomic_store_explicit(&limits->bytes, bytes_now + bytes, memory_order_relaxed);
	}
	pthread_mutex_unlock(&limits->mutex);
	return fits;
}

void common_leave_queue(struct common_member *member, size_t bytes)
{
	struct common_limits *limits = member->limits;
	pthread_mutex_lock(&limits->mutex);
	atomic_fetch_sub_explicit(&limits->items, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&limits->bytes, bytes, memory_order_relaxed);
	pthread_mutex_unlock(&limits->mutex);
}

size_t common_waiting_items(const struct common_member *member)
{
	return atomic_load_explicit(&member->limits->items, memory_order_relaxed);
}

size_t common_waiting_bytes(const struct common_member *member)
{
	return atomic_load_explicit(&member->limits->bytes, memory_order_relaxed);
}
