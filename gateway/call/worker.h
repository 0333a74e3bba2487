/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.h: what a call sees of the world: the gateway, which all workers share, and the worker it is at home with: a
 * thread that owns whole a loop, its listeners' daemons, its HTTP client, the batchers of its upstreams and a mailbox.
 * All workers are alike; worker 0 also serves the admin listeners, drops what has expired, and hears what other gateways
 * change. How a worker runs is in server/worker_loop.h.
 */
#ifndef JITNEY_GATEWAY_CALL_WORKER_H
#define JITNEY_GATEWAY_CALL_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/loop.h"
#include "cache/cache.h"
#include "cache/disk/disk.h"
#include "cache/redis/redis_tracking.h"
#include "cache/tier.h"
#include "gateway/call/call.h"
#include "gateway/call/call_group.h"
#include "gateway/tools/catalogue.h"
#include "gateway/config/config.h"
#include "gateway/call/dispatch.h"
#include "gateway/http/http.h"
#include "base/mailbox.h"
#include "metrics/metrics.h"

struct export;
struct listener;
struct history;
struct listeners;
struct profile_run;
struct recent_calls;
struct registry;
struct reload;
struct worker;

/* What all workers share: frozen, or atomic. Made and freed by serve.c. */
struct gateway {
	const struct config *config;           /* c: what the process is made of; the rest is worker_generation's */
	struct metrics *metrics;               /* c; safe inside */
	struct history *history;               /* worker 0's once the threads run: what the metrics were */
	struct cache *cache;                   /* c; safe inside */
	struct listeners *listeners;           /* c; safe inside: the sockets; workers have descriptors of their own */
	struct export *export;                 /* worker 0's; NULL: none is under way */
	struct profile_run *profile;           /* worker 0's; NULL: none is under way */
	struct disk *disk;                     /* c; safe inside; NULL: no disk tier */
	atomic_bool redis;                     /* a: there is a Redis tier */
	struct registry *registry;             /* c; safe inside */
	struct reload *reload;                 /* c; safe inside; NULL: the generation stays */
	struct worker **workers;               /* c: config->workers of them */
	uint64_t started_us;                   /* c */
	struct http_shared http_shared;        /* a */
	atomic_uint catalogues;                /* a: rises when all workers have been offered the next one */
	atomic_size_t subscriptions;           /* a: streams of subscriptions/listen open */
	atomic_size_t in_flight;               /* a: calls sent to an owner and not returned */
	atomic_size_t places;                  /* a: so many at most: what all workers are ready for */
	atomic_size_t *refreshes;              /* a: background refreshes under way, by the upstream's label */
	bool settled;                          /* main's: the threads are joined, and nothing is under way any more */
	atomic_uint_fast64_t drain_timeout_us; /* a */
	atomic_bool leaving;                   /* a: a stop has been asked for: who asks for readiness is told */
	atomic_bool draining;                  /* a: set once by the main thread, or by nobody */
	atomic_uint_fast64_t drain_until_us;   /* a: set before draining */
	/* a: set before draining: until then open connections are awaited, since a successor takes their clients' next */
	atomic_uint_fast64_t clients_until_us;
	atomic_uint refusing; /* a: workers that take nothing any more; all of them: the loops may end */
};
/* c constant once the threads run, a atomic */

TAILQ_HEAD(calls, call);
TAILQ_HEAD(subscriptions, subscription);
TAILQ_HEAD(list_waits, lists_wait);

TAILQ_HEAD(turn_wait_list, turn_wait);

/* Requests put aside because a turn has looked at enough bodies (await_turn.c). */
struct turn_waits {
	struct turn_wait_list waits; /* in the order of coming */
	struct turn_wait_list large; /* likewise; the first is being looked at, a slice a turn */
	int64_t budget;              /* bytes that this turn may still look at */
	bool serving;                /* one of them has its turn */
};

/* Where a worker listens. */
struct seat {
	struct http *http;
	struct listener *listener; /* held; NULL: a test's own socket */
	size_t place;              /* of the listener's seats */
	bool leaves;               /* it is listened on no more, and ends with its last connection */
};

/* The longest turns of a time. */
struct worker_lag {
	uint64_t longest_us, worked_us; /* as in struct loop_load */
};

struct worker {
	struct gateway *gateway;             /* c */
	unsigned index;                      /* c: in gateway->workers */
	pthread_t thread;                    /* c: main's, to join */
	struct mailbox mailbox;              /* mailbox */
	_Atomic(struct catalogue *) offered; /* a: an enforced reference, to be taken; NULL: none */
	atomic_bool offer_posted;            /* a: `offer` is in the mailbox */
	struct mail offer;
	struct mail opening;                  /* accept from now on: worker_open */
	struct mail ping;                     /* worker_ping */
	atomic_bool pinged;                   /* a: `ping` is in the mailbox */
	atomic_bool lists_complete;           /* a: as of the last ping: lists_complete() */
	atomic_size_t places;                 /* a: limits.in_flight as it has made ready for */
	bool (*adapt)(struct worker *worker); /* c: become what the generation says (server/adapt.h) */
	/* all below: the owner thread's */
	struct loop *loop;
	bool adapted;        /* it has; else it is tried again */
	size_t own_timers;   /* reserved for calls */
	uint64_t to_wall_us; /* what to add to the loop's time for the wall clock's: once a second anew */
	const struct redis_settings *redis; /* what tier and tracking were made from; NULL: there are none of Redis */
	struct meter *meter;
	struct recent_calls *recent; /* its calls that ended; safe inside: pages of worker 0 copy it */
	struct key_maker *keys;
	struct json_scratch scratch;
	struct transport *transport;
	struct dispatch *dispatch;
	struct purge_tags tags;          /* which tool has which tag, by `catalogue` */
	struct tier *tier;               /* behind the memory tier; NULL: none */
	struct redis_tracking *tracking; /* worker 0's: the fleet over one Redis; NULL: none */
	struct catalogue *catalogue;     /* held, and enforced: the current one */
	unsigned seen_catalogues;        /* of gateway->catalogues */
	struct catalogue_listeners listeners;
	struct subscriptions subscriptions; /* open streams of subscriptions/listen (subscriptions.c) */
	struct list_waits list_waits;       /* requests that wait for MCP servers' first lists (await_lists.c) */
	struct list_waits lists_due;        /* those of them that need not wait any more */
	struct turn_waits turns;
	struct seat
		*seats; /* data listeners first, then (worker 0) the admin's; then those that a reload has brought */
	size_t seat_count;
	bool open;            /* clients are served: what is new accepts at once */
	uint64_t sweep_us;    /* worker 0's: when it goes on sweeping memory; 0: not before there is something */
	uint64_t load_due_us; /* when how busy the loop is has to be told again */
	uint64_t lag_due_us;  /* when its longest turns are begun anew */
	struct worker_lag lag, lag_before; /* since then, and in the time before */
	struct calls outgoing;             /* calls for other workers: posted at the end of the turn */
	struct calls returned; /* calls of ours whose owner is this worker too: home at the end of the turn */
	struct calls recycled; /* call objects to be used again */
	size_t recycled_count;
	struct call_groups groups; /* with something to do */
};

/* Its offer mail and what knows its tools; for worker_new, which has zeroed it and given it a catalogue. */
void worker_init_catalogue(struct worker *worker, struct catalogue *first);
/* This is the catalogue from now on, of all workers of a struct gateway: the registry's registry_offer. All
 * are offered it before any may take it, and each takes it before its next request: so once one worker has shown a
 * list, every worker serves it. One that has not been taken yet is replaced. References are taken. Any one thread. */
void gateway_offer_catalogue(void *gateway_of_workers, struct catalogue *catalogue);
/* Take the one that is offered, if there is one. The worker's thread, between two requests. */
void worker_take_catalogue(struct worker *worker);

/* Whose it is, and with it its calls, dispatch, daemons and all they use. */
static inline const struct owner *worker_owner(const struct worker *worker)
{
	return loop_owner(worker->loop);
}

/* The generation of the configuration that is in force: for whoever asks now. A call goes by the one it began with.
 * Worker's thread; borrowed until it takes another catalogue. */
static inline const struct generation *worker_generation(const struct worker *worker)
{
	return catalogue_made_for(worker->catalogue);
}

/* The upstream of a call's tool, as of the generation that the call began with. Any thread. */
static inline const struct upstream_config *call_upstream(const struct call *call)
{
	return &catalogue_made_for(call->catalogue)->upstreams[call->tool->upstream];
}

/* Which worker owns an upstream, in every generation; and whether this one does. Any thread. */
static inline struct worker *upstream_owner(const struct gateway *gateway, const struct upstream_config *upstream)
{
	return gateway->workers[upstream->settings.label % gateway->config->workers];
}

static inline bool worker_owns(const struct worker *worker, const struct upstream_config *upstream)
{
	return upstream->settings.label % worker->gateway->config->workers == worker->index;
}

static inline struct worker *call_owner(const struct call *call)
{
	return upstream_owner(call->home->gateway, call_upstream(call));
}

#endif
