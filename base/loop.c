/* SPDX-License-Identifier: Apache-2.0 */
/* loop.c: epoll, an intrusive binary heap of timers, and an eventfd for wake-ups. */
#include "base/loop.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS_PER_WAIT = 256 };
#define ASLEEP_US 50 /* a wait that took longer has slept */
#define LONG_TURN_US CLOCK_US_PER_MS
#define LONGEST_WAIT_US (60 * CLOCK_US_PER_S)

struct loop {
	struct owner owner;                         /* itself */
	int epoll_fd;                               /* c */
	uint64_t now_us;                            /* o */
	uint64_t turn_us;                           /* o: when the turn began: loop_wait has returned */
	uint64_t late_us;                           /* o: what this turn found may have been ready for so long */
	uint64_t load_us;                           /* o: when `load` was taken last */
	struct loop_load load;                      /* o */
	uint64_t worked_us, worked_at_us;           /* o: this thread's processor time, and when it was asked for */
	uint64_t turn;                              /* o: its number */
	size_t spent;                               /* o: bytes of its work */
	size_t afforded[LOOP_WORKS];                /* o: likewise */
	bool heavy;                                 /* o: a heavy piece has been done in it */
	enum loop_work owed;                        /* o: whose the next heavy piece is; LOOP_WORKS: anybody's */
	uint64_t owed_turn;                         /* o: the turn in which it has asked last */
	struct loop_timer **heap;                   /* o: heap[0] is due first */
	size_t heap_len;                            /* o */
	size_t heap_cap;                            /* o: entries allocated, >= reserved */
	size_t reserved;                            /* o: timers that may be armed at once */
	struct epoll_event events[EVENTS_PER_WAIT]; /* o: what the kernel said this turn */
	int event_count;                            /* o */
	int event_next;                             /* o: first event not dispatched yet */
	struct loop_watch wake;                     /* o */
	size_t watches;                             /* o: the wake included */
	_Atomic bool woken;                         /* a: a wake is under way; coalesces many into one write */
};
/* c constant, o owner thread only, a atomic */
_Static_assert(offsetof(struct loop, owner) == 0, "loop_owner");

/* Nothing is read: the descriptor is watched for edges, and each write is one. Its counter would be full after 2^64 of
 * them. */
static void note_woken(struct loop_watch *watch, uint32_t events)
{
	struct loop *loop = container_of(watch, struct loop, wake);
	(void)events;
	/* A wake between the kernel's word and this exchange writes nothing, yet is not lost: the exchange reads the
	 * waker's own, so all it did before is visible to whoever looks after loop_wait has returned. */
	atomic_exchange(&loop->woken, false);
}

struct loop *loop_new(void)
{
	struct loop *loop = calloc(1, sizeof *loop);
	if (!loop)
		return NULL;
	loop->wake.fd = -1;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	int wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	loop->wake.ready = note_woken;
	if (loop->epoll_fd < 0 || wake_fd < 0 || !loop_watch(loop, &loop->wake, wake_fd, EPOLLIN | EPOLLET)) {
		int saved = errno;
		if (wake_fd >= 0)
			close(wake_fd);
		if (loop->epoll_fd >= 0)
			close(loop->epoll_fd);
		free(loop);
		errno = saved;
		return NULL;
	}
	loop->now_us = loop->turn_us = loop->load_us = clock_now_us();
	loop->owed = LOOP_WORKS;
	return loop;
}

void loop_release(struct loop *loop)
{
	owner_release(&loop->owner);
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	assert_owner(&loop->owner);
	assert(loop->watches == 1);
	close(loop->wake.fd);
	close(loop->epoll_fd);
	free(loop->heap);
	free(loop);
}

bool loop_watch(struct loop *loop, struct loop_watch *watch, int fd, uint32_t events)
{
	assert_owner(&loop->owner);
	struct epoll_event event = { .events = events, .data.ptr = watch };
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		return false;
	watch->fd = fd;
	loop->watches++;
	return true;
}

void loop_rewatch(struct loop *loop, struct loop_watch *watch, uint32_t events)
{
	assert_owner(&loop->owner);
	struct epoll_event event = { .events = events, .data.ptr = watch };
	int result = epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event);
	assert(result == 0 || errno == EBADF || errno == ENOENT);
	(void)result;
}

void loop_unwatch(struct loop *loop, struct loop_watch *watch)
{
	assert_owner(&loop->owner);
	if (watch->fd >= 0) /* EBADF, ENOENT: closed already, which took it out of the epoll set */
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
	loop_forget(loop, watch);
}

void loop_forget(struct loop *loop, struct loop_watch *watch)
{
	assert_owner(&loop->owner);
	if (watch->fd < 0)
		return;
	watch->fd = -1;
	assert(loop->watches > 1);
	loop->watches--;
	for (int i = loop->event_next; i < loop->event_count; i++)
		if (loop->events[i].data.ptr == watch)
			loop->events[i].data.ptr = NULL;
}

/* --- timers: a binary heap whose entries know their place --- */

static void heap_put(struct loop *loop, size_t at, struct loop_timer *timer)
{
	loop->heap[at] = timer;
	timer->place = at + 1;
}

static void heap_up(struct loop *loop, size_t at, struct loop_timer *timer)
{
	while (at > 0) {
		size_t parent = (at - 1) / 2;
		if (loop->heap[parent]->due_us <= timer->due_us)
			break;
		heap_put(loop, at, loop->heap[parent]);
		at = parent;
	}
	heap_put(loop, at, timer);
}

static void heap_down(struct loop *loop, size_t at, struct loop_timer *timer)
{
	for (;;) {
		size_t child = 2 * at + 1;
		if (child >= loop->heap_len)
			break;
		if (child + 1 < loop->heap_len && loop->heap[child + 1]->due_us < loop->heap[child]->due_us)
			child++;
		if (timer->due_us <= loop->heap[child]->due_us)
			break;
		heap_put(loop, at, loop->heap[child]);
		at = child;
	}
	heap_put(loop, at, timer);
}

static void heap_settle(struct loop *loop, size_t at, struct loop_timer *timer)
{
	if (at > 0 && loop->heap[(at - 1) / 2]->due_us > timer->due_us)
		heap_up(loop, at, timer);
	else
		heap_down(loop, at, timer);
}

bool loop_timers_reserve(struct loop *loop, size_t more)
{
	assert_owner(&loop->owner);
	size_t wanted = loop->reserved + more;
	if (wanted > loop->heap_cap) {
		size_t cap = loop->heap_cap ? loop->heap_cap * 2 : 64;
		if (cap < wanted)
			cap = wanted;
		struct loop_timer **heap = realloc(loop->heap, cap * sizeof(struct loop_timer *));
		if (!heap)
			return false;
		loop->heap = heap;
		loop->heap_cap = cap;
	}
	loop->reserved = wanted;
	return true;
}

void loop_timers_release(struct loop *loop, size_t count)
{
	assert_owner(&loop->owner);
	assert(count <= loop->reserved);
	loop->reserved -= count;
}

void loop_arm(struct loop *loop, struct loop_timer *timer, uint64_t due_us)
{
	assert_owner(&loop->owner);
	timer->due_us = due_us;
	if (timer->place) {
		heap_settle(loop, timer->place - 1, timer);
		return;
	}
	assert(loop->heap_len < loop->reserved);
	heap_up(loop, loop->heap_len++, timer);
}

void loop_disarm(struct loop *loop, struct loop_timer *timer)
{
	assert_owner(&loop->owner);
	if (!timer->place)
		return;
	size_t at = timer->place - 1;
	timer->place = 0;
	struct loop_timer *last = loop->heap[--loop->heap_len];
	if (last != timer)
		heap_settle(loop, at, last);
}

uint64_t loop_next_timer(const struct loop *loop)
{
	return loop->heap_len ? loop->heap[0]->due_us : CLOCK_NEVER;
}

uint64_t loop_now(const struct loop *loop)
{
	return loop->now_us;
}

uint64_t loop_refresh(struct loop *loop)
{
	assert_owner(&loop->owner);
	return loop->now_us = clock_now_us();
}

uint64_t loop_lag(const struct loop *loop)
{
	return loop->late_us + (clock_by_hand() ? 0 : loop->now_us - loop->turn_us);
}

void loop_set_late(struct loop *loop, uint64_t late_us)
{
	assert_owner(&loop->owner);
	loop->late_us = late_us;
}

/* A wait that did not have to sleep found what had become ready during the turn before; one that slept for longer than it
 * was to was not woken in time. */
static void note_late(struct loop *loop, uint64_t before_us, uint64_t wanted_us)
{
	uint64_t slept_us = loop->now_us - before_us;
	if (clock_by_hand())
		return;
	if (slept_us < ASLEEP_US)
		loop->late_us = loop->now_us - loop->turn_us;
	else
		loop->late_us = slept_us > wanted_us ? slept_us - wanted_us : 0;
}

uint64_t loop_turn(const struct loop *loop)
{
	return loop->turn;
}

void loop_spend(struct loop *loop, size_t bytes)
{
	assert_owner(&loop->owner);
	loop->spent += bytes;
}

bool loop_spent(const struct loop *loop)
{
	assert_owner(&loop->owner);
	return loop->spent >= LOOP_TURN_BYTES;
}

/* Whether a heavy piece may be done now. Who is sent away has the next one, if he still asks for it then. */
static bool afford_heavy(struct loop *loop, enum loop_work work)
{
	if (loop->owed_turn + 1 < loop->turn)
		loop->owed = LOOP_WORKS;
	bool others = loop->heavy || (loop->owed != LOOP_WORKS && loop->owed != work);
	if (others && loop->owed == LOOP_WORKS)
		loop->owed = work;
	if (others && loop->owed == work)
		loop->owed_turn = loop->turn;
	if (others)
		return false;
	loop->heavy = true;
	loop->owed = LOOP_WORKS;
	return true;
}

bool loop_afford(struct loop *loop, enum loop_work work, size_t bytes)
{
	assert_owner(&loop->owner);
	if (loop->afforded[work] >= LOOP_TURN_BYTES || (bytes >= LOOP_HEAVY_BYTES && !afford_heavy(loop, work)))
		return false;
	loop->afforded[work] += bytes;
	return true;
}

size_t loop_afforded(const struct loop *loop, enum loop_work work)
{
	assert_owner(&loop->owner);
	return loop->afforded[work];
}

static void read_worked(struct loop *loop, uint64_t now_us)
{
	loop->worked_us = clock_thread_us();
	loop->worked_at_us = now_us;
}

static void end_turn(struct loop *loop, uint64_t now_us)
{
	uint64_t us = now_us - loop->turn_us, worked_us = loop->worked_us;
	loop->load.busy_us += us;
	loop->load.longest_us = us > loop->load.longest_us ? us : loop->load.longest_us;
	if (us < LONG_TURN_US || clock_by_hand())
		return;
	read_worked(loop, now_us);
	worked_us = loop->worked_us - worked_us;
	loop->load.worked_us = worked_us > loop->load.worked_us ? worked_us : loop->load.worked_us;
}

/* How much the thread has worked must be known where a turn begins that may become long; that costs a system call, so
 * the answer holds for as long as nothing that matters can have been added to it. */
static void begin_turn(struct loop *loop)
{
	loop->turn_us = loop->now_us;
	loop->turn++;
	loop->spent = 0;
	memset(loop->afforded, 0, sizeof loop->afforded);
	loop->heavy = false;
	if (loop->now_us - loop->worked_at_us >= LONG_TURN_US)
		read_worked(loop, loop->now_us);
}

struct loop_load loop_take_load(struct loop *loop)
{
	assert_owner(&loop->owner);
	struct loop_load load = loop->load;
	load.span_us = loop->turn_us - loop->load_us;
	loop->load = (struct loop_load){ 0 };
	loop->load_us = loop->turn_us;
	return load;
}

/* Microseconds epoll may sleep; 0 to look only. */
static uint64_t wait_us(const struct loop *loop, uint64_t now, uint64_t latest_us)
{
	uint64_t timer_us = loop_next_timer(loop), until = timer_us < latest_us ? timer_us : latest_us;
	uint64_t wait = until > now ? until - now : 0;
	return wait < LONGEST_WAIT_US ? wait : LONGEST_WAIT_US;
}

static int poll_events(struct loop *loop, uint64_t wait)
{
	/* A batching window of 300 us is worth having: epoll_pwait2 counts nanoseconds (Linux 5.11). */
	struct timespec timeout = { (time_t)(wait / CLOCK_US_PER_S), (long)(wait % CLOCK_US_PER_S) * 1000 };
	int count = epoll_pwait2(loop->epoll_fd, loop->events, EVENTS_PER_WAIT, &timeout, NULL);
	if (count < 0 &&
	    errno == EINTR) /* stopped, and what has come meanwhile goes before all that is overdue by now */
		count = epoll_wait(loop->epoll_fd, loop->events, EVENTS_PER_WAIT, 0);
	if (count >= 0 || errno != ENOSYS)
		return count;
	/* older kernels, valgrind: whole milliseconds, rounded up so that a timer is due when we are back */
	int ms = (int)((wait + CLOCK_US_PER_MS - 1) / CLOCK_US_PER_MS);
	return epoll_wait(loop->epoll_fd, loop->events, EVENTS_PER_WAIT, ms);
}

void loop_wait(struct loop *loop, uint64_t latest_us)
{
	owner_claim(&loop->owner);
	uint64_t now_us = clock_now_us();
	end_turn(loop, now_us);
	uint64_t wait = wait_us(loop, now_us, latest_us);
	int count = poll_events(loop, wait);
	loop_refresh(loop);
	note_late(loop, now_us, wait);
	begin_turn(loop);
	loop->event_count = count > 0 ? count : 0;
	for (loop->event_next = 0; loop->event_next < loop->event_count;) {
		struct epoll_event *event = &loop->events[loop->event_next++];
		struct loop_watch *watch = event->data.ptr;
		if (watch)
			watch->ready(watch, event->events);
	}
	loop->event_count = 0;
}

void loop_run_timers(struct loop *loop)
{
	assert_owner(&loop->owner);
	/* The budget: timers that arm each other anew, due at once, cannot keep the loop here. */
	size_t budget = loop->heap_len;
	while (budget-- && loop->heap_len && loop->heap[0]->due_us <= loop->now_us) {
		struct loop_timer *timer = loop->heap[0];
		loop_disarm(loop, timer);
		timer->fire(timer, loop->now_us);
	}
}

void loop_wake(struct loop *loop)
{
	if (atomic_exchange(&loop->woken, true))
		return;
	uint64_t one = 1;
	int saved = errno;
	ssize_t wrote = write(loop->wake.fd, &one, sizeof one);
	(void)wrote; /* it cannot fail: see note_woken */
	errno = saved;
}
