/*
 * transport.h: one worker's HTTP client: a curl multi handle on the worker's loop, recycled easy handles, shared TLS
 * sessions. Knows bytes and connections, nothing of tools. Owned by one thread.
 */
#ifndef JITNEY_UPSTREAM_TRANSPORT_H
#define JITNEY_UPSTREAM_TRANSPORT_H

#include "base/compiler.h"
#include "base/loop.h"
#include "metrics/metrics.h"

struct transport;

/* max_connections: over all its upstreams, kept and busy. NULL when out of memory. */
struct transport *transport_new(struct loop *loop, struct meter *meter, size_t max_connections) MUST_CHECK;
/* No exchange may be under way. NULL is fine. */
void transport_free(struct transport *transport);
/* Once a loop turn, after sockets have been dispatched: run due transfers' timers, collect those that finished, call
 * their events. */
void transport_tick(struct transport *transport);

#endif
