/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dispatch_private.h: what dispatch.c (flights, batchers, completion), dispatch_tier.c (a fetch before it boards a batch),
 * provider.c and under_way.c (what there is just now) share. Nobody else includes it.
 */
#ifndef JITNEY_GATEWAY_CALL_DISPATCH_PRIVATE_H
#define JITNEY_GATEWAY_CALL_DISPATCH_PRIVATE_H

#include <sys/queue.h>

#include "batcher/batcher.h"
#include "cache/cache.h"
#include "cache/flight.h"
#include "cache/tier.h"
#include "gateway/call/call.h"
#include "gateway/call/dispatch.h"
#include "gateway/call/provider.h"
#include "gateway/call/worker.h"
#include "upstream/process_settings.h"

/* One fetch under way: a flight of calls and its seat in a batch. */
struct fetch {
	struct flight flight; /* who waits; keyed if it may be shared */
	struct batch_item item;
	struct provider *provider;
	const struct tool *tool;
	struct blob *body;  /* keeps item.call.arguments alive: the call that led may leave before the fetch ends */
	struct blob *group; /* item.lane_key's bytes; NULL: shares its lane with all others */
	bool store;         /* the answer may go into the cache */
	/* before it boards a batch: dispatch_tier.c's */
	bool looking;              /* asks the tier outside, or waits for another gateway: not in the batcher yet */
	bool waited;               /* another gateway was fetching it */
	const struct tier *leased; /* by which the other gateways wait for this one: to be released there; NULL: none */
	unsigned polls;            /* how often it has looked what the other one is at */
	struct tier_lookup lookup; /* under way, if it asks */
	struct loop_timer poll;    /* armed, if it waits */
	uint64_t wait_until_us;    /* 0: it has not asked for the lease yet */
	struct cache_epoch epoch;  /* before the look-up, then before the fetch */
	uint64_t looked_us;        /* when it began */
	struct blob *tracestate;   /* NULL: none */
	char traceparent[56];
	char idempotency_key[256];
	TAILQ_ENTRY(fetch) among; /* in dispatch->under_way */
	TAILQ_ENTRY(fetch) next;  /* in dispatch->recycled or, while looking, dispatch->looking */
};
TAILQ_HEAD(fetches, fetch);

/* An upstream's options, as the newest generation has them: those that are adjustable (option_is_adjustable). What is
 * pointed to is the provider's own, or of the first generation; lists of endpoints are the newest one's. */
struct adjusted_options {
	struct upstream_settings settings;
	struct batch_policy batch;
	struct endpoint_policy balancing;
	struct health_settings health;
	struct process_pool_settings process;
	unsigned weights[ENDPOINTS_MOST];
};

struct provider {
	atomic_size_t generations;              /* a: that have it */
	struct gateway *gateway;                /* c */
	struct generation *kept;                /* c: where its options stand */
	const struct upstream_config *upstream; /* c: in `kept`, as it was first */
	struct tool_source *source;             /* c: owned; NULL: it lists no tools */
	struct mail retire;                     /* posted when the last generation has ended */
	unsigned part;                          /* c: of its upstream, which its owner has */
	struct common_limits *common;           /* c: held; NULL: it has all of its upstream */
	struct pauses *pauses;         /* c: held; of its service, by all parts and those before and after it */
	struct allowed_rates *allowed; /* c: held; likewise */
	struct provider *const *parts; /* c: all of the upstream, its first one's own; live as long as a generation */
	pthread_mutex_t mutex;
	struct provider_failure failure; /* m */
	/* all below: the owner's thread */
	struct adjusted_options now; /* by which it runs */
	struct generation *newest;   /* kept: where its endpoints stand */
	struct dispatch *dispatch;   /* NULL: not open */
	struct batcher *batcher;     /* likewise */
	bool changed;                /* something was added or cancelled since its last tick */
	bool retired;                /* no generation has it */
	bool leaves;                 /* and its server has been told */
	size_t fetches;              /* that go by it */
	TAILQ_ENTRY(provider) next;  /* in dispatch->providers while open */
};
/* a: atomic, c: constant, m: under the mutex */
TAILQ_HEAD(providers, provider);

struct dispatch {
	struct worker *worker;
	struct flights *flights;
	struct providers providers; /* the open ones, by when they were opened */
	size_t provider_count;      /* of them */
	struct provider *first;     /* who goes first: behind who wrote large requests last; NULL: the list's first */
	struct fetches under_way;   /* all there are, the oldest first */
	struct fetches looking;     /* in the tier behind memory */
	struct fetches recycled;
	size_t recycled_count;
	size_t busy;
};

/* --- dispatch.c --- */

/* The call has its answer and goes home. Takes `answer`. */
void dispatch_send_home(struct dispatch *dispatch, struct call *call, struct answer *answer);
/* Into the batcher. */
void dispatch_depart(struct dispatch *dispatch, struct fetch *fetch, uint64_t now_us);
/* The tool of one who waits becomes the fetch's. False: nobody does. */
bool dispatch_take_tool(struct fetch *fetch);
/* Nobody waits any more: out of the table, and gone. */
void dispatch_end_fetch(struct dispatch *dispatch, struct fetch *fetch);

/* --- provider.c --- */

/* The part of an upstream that is this worker's, which owns one. */
struct provider *provider_here(const struct worker *worker, const struct upstream_config *upstream);
/* Open it if it is not open. False: out of memory. */
bool provider_open(struct provider *provider, struct dispatch *dispatch) MUST_CHECK;
/* Close and free it if it is retired and carries nothing any more. True: it is gone. */
bool provider_close_if_over(struct provider *provider);
/* This answer is no success: remember why. */
void provider_note_failure(struct provider *provider, const struct answer *answer);
/* The worker ends: close it. It is freed with the last generation that has it. */
void provider_close(struct provider *provider);

/* --- dispatch_tier.c --- */

/* Look in the tier behind memory. True: the fetch goes on by itself. */
bool dispatch_look(struct dispatch *dispatch, struct fetch *fetch, uint64_t now_us);
/* No look-up, and the leader wants no fetch: serve who can be served, depart for the others. */
void dispatch_go_on(struct dispatch *dispatch, struct fetch *fetch, uint64_t now_us);
/* The fetch looks no more, whatever for. Allowed if it does not. */
void dispatch_stop_looking(struct dispatch *dispatch, struct fetch *fetch);
/* It has been fetched, or will not be: the other gateways need not wait any more. Allowed without a lease. */
void dispatch_release(struct dispatch *dispatch, struct fetch *fetch);

#endif
