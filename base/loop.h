/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h: one thread's epoll, its timers and its wake-up. Passive modules hand it descriptors and due times; only the
 * worker turns it: it is that thread's (owner.h) from the first loop_wait on until loop_release. The clock is read when
 * a turn begins, and again (loop_refresh) where time that is measured begins or ends; what runs between sees the same
 * now.
 */
#ifndef JITNEY_BASE_LOOP_H
#define JITNEY_BASE_LOOP_H

#include <stdint.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/owner.h"

struct loop;

/* A descriptor somebody listens to. Embedded in its owner; alive until loop_unwatch or loop_forget. */
struct loop_watch {
	void (*ready)(struct loop_watch *watch, uint32_t events); /* EPOLL* bits; may unwatch itself and others */
	int fd;                                                   /* -1: not watched */
};

/* Something due at a time. Embedded in its owner; init to LOOP_TIMER_INIT. */
struct loop_timer {
	void (*fire)(struct loop_timer *timer, uint64_t now_us); /* not armed any more when called; may arm again */
	uint64_t due_us;
	size_t place; /* index in the heap + 1; 0: not armed */
};
#define LOOP_TIMER_INIT(fire_function) ((struct loop_timer){ (fire_function), CLOCK_NEVER, 0 })

/* NULL and errno when the kernel or memory refuses. */
struct loop *loop_new(void) MUST_CHECK;
/* Whose it is, and with it all that lives on it. */
static inline const struct owner *loop_owner(const struct loop *loop)
{
	return (const struct owner *)loop; /* it begins with it */
}
/* The thread that turns it will not turn it again, and ends. */
void loop_release(struct loop *loop);
/* No watch may be left (asserted); timers are forgotten. NULL is allowed. */
void loop_free(struct loop *loop);

/* Listen to fd for `events` (EPOLLIN|EPOLLOUT|EPOLLRDHUP|EPOLLET|EPOLLONESHOT...). False and errno on refusal. */
bool loop_watch(struct loop *loop, struct loop_watch *watch, int fd, uint32_t events) MUST_CHECK;
/* Change what is listened for. A descriptor that has been closed meanwhile is not an error. */
void loop_rewatch(struct loop *loop, struct loop_watch *watch, uint32_t events);
/* Listen no more; an event of this turn that has not been dispatched yet is dropped. Allowed if not watched,
 * or if the descriptor has been closed already and nobody can have opened another since. */
void loop_unwatch(struct loop *loop, struct loop_watch *watch);
/* Likewise, of a descriptor that has been closed. It is not touched: its number may be another's now. */
void loop_forget(struct loop *loop, struct loop_watch *watch);

/* Arm or move. Never fails: the heap's room is reserved by loop_timers_reserve. */
void loop_arm(struct loop *loop, struct loop_timer *timer, uint64_t due_us);
/* Allowed if not armed. */
void loop_disarm(struct loop *loop, struct loop_timer *timer);
/* Room for `more` timers beyond those reserved so far; called where the timer's owner is made. False: out of memory. */
bool loop_timers_reserve(struct loop *loop, size_t more) MUST_CHECK;
/* Give back what a timer's owner had reserved. */
void loop_timers_release(struct loop *loop, size_t count);

/* When the next timer is due; CLOCK_NEVER: none is armed. */
uint64_t loop_next_timer(const struct loop *loop);
/* The time of this turn, or of the last loop_refresh in it. */
uint64_t loop_now(const struct loop *loop);
/* How long what is dispatched now may have been ready already while this loop was busy with something else, or was kept
 * from running. Whoever evaluates how long others took takes it into account. */
uint64_t loop_lag(const struct loop *loop);
/* For whoever turns the clock by hand: this turn comes so much later than what is due in it. */
void loop_set_late(struct loop *loop, uint64_t late_us);
/* Read the clock again: an answer may come in the very turn that has sent the question. Returns loop_now(). */
uint64_t loop_refresh(struct loop *loop);

/* Wait until something is ready, a timer is due, somebody wakes, or `latest_us` has come; read the clock; dispatch
 * descriptors. Timers are run by loop_run_timers so that the worker decides the order. */
void loop_wait(struct loop *loop, uint64_t latest_us);
/* Run the timers due at loop_now(), at most as many as were armed on entry, so none can starve the loop. */
void loop_run_timers(struct loop *loop);
/* How the time between two waits was spent: since the last call, in microseconds. */
struct loop_load {
	uint64_t busy_us;    /* outside loop_wait */
	uint64_t longest_us; /* the longest single turn: whatever else became ready meanwhile had to wait for it */
	/* the processor's time of the one that took most of it, of those of a millisecond and more; at most a
	 * millisecond too much: what is longer than it is time that the machine gave to others */
	uint64_t worked_us;
	uint64_t span_us; /* all of it, waiting included */
};
struct loop_load loop_take_load(struct loop *loop);

/* The number of this turn. */
uint64_t loop_turn(const struct loop *loop);
/* Bytes that were read or looked at in this turn, by whoever can go on in the next one: so that many who have much to
 * say at the same time do not make one long turn. Level-triggered readers just return, and are called again. */
void loop_spend(struct loop *loop, size_t bytes);
/* Whether it is enough for this turn. */
bool loop_spent(const struct loop *loop);
/* LOOP_LARGE_BYTES, LOOP_HEAVY_BYTES: see loop_afford */
enum { LOOP_TURN_BYTES = 512 * 1024, LOOP_LARGE_BYTES = 64 * 1024, LOOP_HEAVY_BYTES = 512 * 1024 };

/* What is done with large pieces, each of them at once, beside reading. */
enum loop_work {
	LOOP_WRITES,  /* requests to providers that are written */
	LOOP_MOVES,   /* bodies of clients that get more room */
	LOOP_REPLIES, /* replies that begin */
	LOOP_WORKS
};
/* Before a large piece of so many bytes is done. True: do it, its bytes are spent. False: ask again in the next turn, which
 * comes at once. In a turn each kind of work has LOOP_TURN_BYTES, with one piece beyond that; of pieces of
 * LOOP_HEAVY_BYTES or more all kinds have one together, in turns. What is smaller than LOOP_LARGE_BYTES is done at once:
 * nobody asks. */
bool loop_afford(struct loop *loop, enum loop_work work, size_t bytes) MUST_CHECK;
/* Bytes of it that were afforded in this turn. */
size_t loop_afforded(const struct loop *loop, enum loop_work work);

/* Make a loop_wait of another thread return soon. Coalesced: many wakes are one. What the waker did before the call
 * is visible after that loop_wait, so look at mailboxes and flags there. Any thread, signal handlers too. */
void loop_wake(struct loop *loop);

#endif
