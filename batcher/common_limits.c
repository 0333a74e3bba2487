/* SPDX-License-Identifier: Apache-2.0 */
/* common_limits.c: see the header. */
#include "batcher/common_limits.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/loop.h"

TAILQ_HEAD(common_line, common_member);

struct common_limits {
	atomic_size_t holders;
	atomic_size_t members;
	pthread_mutex_t mutex;
	/* by the mutex */
	size_t slots, taken;
	struct common_line line;    /* for slots */
	atomic_size_t items, bytes; /* waiting; written by the mutex, to be read without */
	atomic_uint_fast64_t paused_until_us;
};

struct common_limits *common_limits_new(void)
{
	struct common_limits *limits = calloc(1, sizeof *limits);
	if (!limits)
		return NULL;
	atomic_init(&limits->holders, 1);
	pthread_mutex_init(&limits->mutex, NULL);
	TAILQ_INIT(&limits->line);
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
	assert(TAILQ_EMPTY(&limits->line) && limits->taken == 0);
	pthread_mutex_destroy(&limits->mutex);
	free(limits);
}

void common_join(struct common_member *member, struct common_limits *limits, struct loop *loop)
{
	assert(!member->limits);
	atomic_fetch_add_explicit(&limits->members, 1, memory_order_relaxed);
	*member = (struct common_member){ .limits = common_limits_ref(limits), .loop = loop };
}

void common_leave(struct common_member *member)
{
	struct common_limits *limits = member->limits;
	if (!limits)
		return;
	assert(member->slots == 0);
	common_stop_waiting(member);
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
	return limits->slots > limits->taken ? limits->slots - limits->taken : 0;
}

/* Whether there is a free slot beside those that are kept for who stands ahead. */
static bool is_free_for(const struct common_limits *limits, const struct common_member *member)
{
	size_t spare = count_free(limits);
	const struct common_member *ahead = TAILQ_FIRST(&limits->line);
	for (; spare && ahead && ahead != member; ahead = TAILQ_NEXT(ahead, next))
		spare--;
	return spare > 0;
}

/* The last one in the line that has a slot kept for it: for the one before it nothing has changed. NULL: nobody. */
static struct loop *find_reached(const struct common_limits *limits)
{
	size_t spare = count_free(limits);
	struct common_member *member = TAILQ_FIRST(&limits->line), *reached = NULL;
	for (; spare && member; member = TAILQ_NEXT(member, next), spare--)
		reached = member;
	return reached && spare == 0 ? reached->loop : NULL;
}

static void leave_line(struct common_limits *limits, struct common_member *member)
{
	if (member->waits)
		TAILQ_REMOVE(&limits->line, member, next);
	member->waits = false;
}

/* What woke nobody under the mutex does so now; loops outlive their batchers. */
static void unlock_and_wake(struct common_limits *limits, struct loop *reached)
{
	pthread_mutex_unlock(&limits->mutex);
	if (reached)
		loop_wake(reached);
}

void common_set_slots(struct common_member *member, size_t most)
{
	struct common_limits *limits = member->limits;
	pthread_mutex_lock(&limits->mutex);
	limits->slots = most;
	struct common_member *waiting;
	TAILQ_FOREACH (waiting, &limits->line, next) /* rare: whoever cannot take one finds out by itself */
		loop_wake(waiting->loop);
	pthread_mutex_unlock(&limits->mutex);
}

bool common_take_slot(struct common_member *member)
{
	struct common_limits *limits = member->limits;
	pthread_mutex_lock(&limits->mutex);
	bool taken = is_free_for(limits, member);
	if (taken) {
		leave_line(limits, member);
		limits->taken++;
		member->slots++;
	} else if (!member->waits) {
		TAILQ_INSERT_TAIL(&limits->line, member, next);
		member->waits = true;
	}
	pthread_mutex_unlock(&limits->mutex);
	return taken;
}

void common_give_slot(struct common_member *member)
{
	struct common_limits *limits = member->limits;
	assert(member->slots > 0);
	member->slots--;
	pthread_mutex_lock(&limits->mutex);
	limits->taken--;
	unlock_and_wake(limits, find_reached(limits));
}

void common_stop_waiting(struct common_member *member)
{
	struct common_limits *limits = member->limits;
	if (!limits || !member->waits)
		return;
	pthread_mutex_lock(&limits->mutex);
	leave_line(limits, member);
	unlock_and_wake(limits, find_reached(limits));
}

bool common_slot_is_free(const struct common_member *member)
{
	struct common_limits *limits = member->limits;
	pthread_mutex_lock(&limits->mutex);
	bool is_free = is_free_for(limits, member);
	pthread_mutex_unlock(&limits->mutex);
	return is_free;
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

/* ---------------------------------------------------------------- pauses */

void common_pause(struct common_member *member, uint64_t until_us)
{
	uint_fast64_t before = atomic_load_explicit(&member->limits->paused_until_us, memory_order_relaxed);
	while (before < until_us &&
	       !atomic_compare_exchange_weak_explicit(&member->limits->paused_until_us, &before, until_us,
						      memory_order_relaxed, memory_order_relaxed))
		;
}

uint64_t common_paused_until_us(const struct common_member *member)
{
	return atomic_load_explicit(&member->limits->paused_until_us, memory_order_relaxed);
}
