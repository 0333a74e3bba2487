/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.h: what a call sees of the worker it is at home with: a thread that owns whole a loop, an HTTP client, the
 * batchers of its upstreams and a mailbox. All workers are alike; worker 0 also drops what has expired, and hears what
 * other gateways change. How a worker runs, and where it listens, is in server/worker_state.h, which holds one of
 * these in each of its own.
 */
#ifndef JITNEY_GATEWAY_CALL_WORKER_H
#define JITNEY_GATEWAY_CALL_WORKER_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "base/loop.h"
#include "cache/cache.h"
#include "cache/disk/disk.h"
#include "cache/redis/redis_tracking.h"
#include "cache/tier.h"
#include "gateway/call/call.h"
#include "gateway/call/call_group.h"
#include "gateway/call/dispatch.h"
#include "gateway/call/world.h"
#include "base/mailbox.h"
#include "metrics/metrics.h"

struct trace_book;

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

struct worker {
	struct gateway *gateway;             /* c */
	unsigned index;                      /* c: in gateway->workers */
	struct mailbox mailbox;              /* mailbox */
	_Atomic(struct catalogue *) offered; /* a: an enforced reference, to be taken; NULL: none */
	atomic_bool offer_posted;            /* a: `offer` is in the mailbox */
	struct mail offer;
	void (*adapt)(struct worker *worker); /* c: another generation is in force: server/adapt.h */
	/* all below: the owner thread's */
	struct loop *loop;
	uint64_t to_wall_us; /* what to add to the loop's time for the wall clock's: once a second anew */
	struct meter *meter;
	struct trace_book *traces;     /* NULL: calls are not traced */
	struct trace_book *trace_book; /* the same for when they are; NULL: a test's */
	struct recent_calls *recent;   /* its calls that ended; safe inside: pages of worker 0 copy it */
	struct tenants *tenants;       /* what tenants have cost; likewise, the observer copies it */
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
	uint64_t sent;         /* calls of ours that have left memory behind, since the start */
	struct calls outgoing; /* calls for other workers: posted at the end of the turn */
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

/* Which part of an upstream is this worker's, in every generation; if it is none of upstream_parts, none is. Any thread. */
static inline unsigned worker_part(const struct worker *worker, const struct upstream_config *upstream)
{
	unsigned workers = worker->gateway->config->workers;
	return (unsigned)((worker->index + workers - upstream->settings.label % workers) % workers);
}

/* Whether it sends calls to that upstream. Any thread. */
static inline bool worker_owns(const struct worker *worker, const struct upstream_config *upstream)
{
	return worker_part(worker, upstream) < upstream_parts(worker->gateway, upstream);
}

/* Connections that it may need for a generation's upstreams. */
size_t worker_connections(const struct worker *worker, const struct generation *generation);

/*
 * Who sends a call. Where several workers may: equal calls must meet, so the key's hash names one; what has no key stays
 * with its home if that is one of them. The same each time it is asked of a call that has been looked up. Any thread.
 */
static inline struct worker *call_owner(const struct call *call)
{
	const struct gateway *gateway = call->home->gateway;
	const struct upstream_config *upstream = call_upstream(call);
	unsigned parts = upstream_parts(gateway, upstream), part = 0;
	if (parts > 1) /* the low bits choose the place in a worker's table of flights */
		part = (call->key ? (unsigned)(call->key->hash >> 32) : worker_part(call->home, upstream)) % parts;
	return gateway->workers[upstream_owner_index(gateway, upstream, part)];
}

#endif
