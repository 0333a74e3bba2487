/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world.h: what is behind a request, for the faces that serve it: the gateway, which all workers share, and what they may
 * ask of the worker that serves it. What a worker is made of is seen by calls (worker.h) and by whoever runs it.
 */
#ifndef JITNEY_GATEWAY_CALL_WORLD_H
#define JITNEY_GATEWAY_CALL_WORLD_H

#include <stdatomic.h>

#include "gateway/config/config.h"
#include "gateway/http/http.h"
#include "gateway/tools/catalogue.h"
#include "metrics/metrics.h"

struct cache;
struct disk;
struct export;
struct exporter;
struct listeners;
struct mail;
struct observer;
struct profile_run;
struct recent_calls;
struct registry;
struct reload;
struct tenants;
struct worker;

/* What all workers share: frozen, or atomic. Made and freed by serve.c. */
struct gateway {
	const struct config *config;    /* c: what the process is made of; the rest is worker_generation's */
	struct metrics *metrics;        /* c; safe inside */
	struct cache *cache;            /* c; safe inside */
	struct listeners *listeners;    /* c; safe inside: the sockets; workers have descriptors of their own */
	struct export *export;          /* worker 0's; NULL: none is under way */
	struct profile_run *profile;    /* worker 0's; NULL: none is under way */
	struct disk *disk;              /* c; safe inside; NULL: no disk tier */
	atomic_bool redis;              /* a: there is a Redis tier */
	struct registry *registry;      /* c; safe inside */
	struct reload *reload;          /* c; safe inside; NULL: the generation stays */
	struct worker **workers;        /* c: config->workers of them */
	uint64_t started_us;            /* c */
	struct http_shared http_shared; /* a */
	struct exporter *exporter;      /* c; safe inside; NULL: a test's */
	struct observer *observer;      /* c; safe inside: admin/observer.h */
	_Atomic(struct catalogue *)
		observed;            /* a: a reference to the newest one, for the observer; NULL: it has that */
	atomic_uint catalogues;      /* a: rises when all workers have been offered the next one */
	atomic_size_t subscriptions; /* a: streams of subscriptions/listen open */
	atomic_size_t in_flight;     /* a: calls sent to an owner and not returned */
	atomic_size_t places;        /* a: so many at most: what all workers are ready for */
	atomic_size_t *refreshes;    /* a: background refreshes under way, by the upstream's label */
	bool settled;                /* main's: the threads are joined, and nothing is under way any more */
	atomic_uint_fast64_t drain_timeout_us; /* a */
	atomic_bool leaving;                   /* a: a stop has been asked for: who asks for readiness is told */
	atomic_bool draining;                  /* a: set once by the main thread, or by nobody */
	atomic_uint_fast64_t drain_until_us;   /* a: set before draining */
	/* a: set before draining: until then open connections are awaited, since a successor takes their clients' next */
	atomic_uint_fast64_t clients_until_us;
	atomic_uint refusing; /* a: workers that take nothing any more; all of them: the loops may end */
};
/* c constant once the threads run, a atomic */

/* --- Of the worker that serves a request: its thread, if nothing else is said --- */

/* What all workers share. Any thread. */
struct gateway *worker_gateway(const struct worker *worker);
/* The current one; borrowed until the request is served. */
struct catalogue *worker_catalogue(const struct worker *worker);
/* The current one, held; and a hold given back, NULL is allowed. */
struct catalogue *worker_hold_catalogue(const struct worker *worker);
void worker_drop_catalogue(const struct worker *worker, struct catalogue *catalogue);
/* The generation of the configuration that is in force: for whoever asks now. A call goes by the one it began with.
 * Borrowed until the worker takes another catalogue. */
const struct generation *worker_generation(const struct worker *worker);
struct meter *worker_meter(const struct worker *worker);
/* When its turn began, monotonic microseconds. */
uint64_t worker_now(const struct worker *worker);
/* Its calls that ended. Any thread. */
struct recent_calls *worker_recent_calls(const struct worker *worker);
/* What tenants have cost here. Any thread. */
struct tenants *worker_tenants(const struct worker *worker);
/* The mail is opened by the worker's thread. Any thread. */
void worker_post(struct worker *worker, struct mail *mail);
/* Open what is in its post; if nothing is, rest for a millisecond. Main thread, after its own was joined. */
void worker_await_mail(struct worker *worker);

/* How many workers own an upstream: each has a part of it, the parts are numbered from 0. Any thread. */
static inline unsigned upstream_parts(const struct gateway *gateway, const struct upstream_config *upstream)
{
	unsigned workers = gateway->config->workers;
	unsigned owners = upstream->owners ? upstream->owners : 1;
	return owners < workers ? owners : workers;
}

/* The index of the worker that owns a part of an upstream, in every generation that has so many. Any thread. */
static inline unsigned upstream_owner_index(const struct gateway *gateway, const struct upstream_config *upstream,
					    unsigned part)
{
	return (unsigned)((upstream->settings.label + part) % gateway->config->workers);
}

#endif
