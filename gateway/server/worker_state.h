/* SPDX-License-Identifier: Apache-2.0 */
/* worker_state.h: a worker as whoever runs it sees it: its thread, where it listens, what it tells of itself. */
#ifndef JITNEY_GATEWAY_SERVER_WORKER_STATE_H
#define JITNEY_GATEWAY_SERVER_WORKER_STATE_H

#include <pthread.h>

#include "gateway/call/worker.h"

struct listener;

/* Where a worker listens. */
struct seat {
	struct http *http;
	struct listener *listener; /* held; NULL: it is of no generation */
	size_t place;              /* of the listener's seats */
	bool leaves;               /* it is listened on no more, and ends with its last connection */
};

/* The longest turns of a time. */
struct worker_lag {
	uint64_t longest_us, worked_us; /* as in struct loop_load */
};

struct worker_loop {
	struct worker worker;       /* what calls see of it */
	pthread_t thread;           /* c: main's, to join */
	struct mail opening;        /* accept from now on: worker_open */
	struct mail ping;           /* worker_ping */
	atomic_bool pinged;         /* a: `ping` is in the mailbox */
	atomic_bool lists_complete; /* a: as of the last ping: lists_complete() */
	atomic_size_t places;       /* a: limits.in_flight as it has made ready for */
	/* all below: the owner thread's */
	bool adapted;                       /* it is what the generation says; else it is tried again */
	size_t own_timers;                  /* reserved for calls */
	const struct redis_settings *redis; /* what tier and tracking were made from; NULL: there are none of Redis */
	/* data listeners first, then (worker 0) the admin's; then those that a reload has brought */
	struct seat *seats;
	size_t seat_count;
	bool open;            /* clients are served: what is new accepts at once */
	uint64_t sweep_us;    /* worker 0's: when it goes on sweeping memory; 0: not before there is something */
	uint64_t load_due_us; /* when how busy the loop is has to be told again */
	uint64_t lag_due_us;  /* when its longest turns are begun anew */
	struct worker_lag lag, lag_before; /* since then, and in the time before */
};
/* c constant once the threads run, a atomic */

/* A worker is always one of a worker_loop. */
static inline struct worker_loop *worker_loop_of(struct worker *worker)
{
	return container_of(worker, struct worker_loop, worker);
}

#endif
