/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider.h: what a kind of provider (over HTTP, as child processes) does behind the front door of upstream.h. Private to
 * upstream/: one file a kind, chosen by upstream.c from the settings.
 */
#ifndef JITNEY_UPSTREAM_PROVIDER_H
#define JITNEY_UPSTREAM_PROVIDER_H

#include "upstream/upstream.h"

/* Each function keeps the promise of upstream.h's function of the same name. */
struct upstream_kind {
	struct upstream *(*make)(const struct upstream_settings *settings, struct transport *transport,
				 struct loop *loop, struct meter *meter);
	void (*free)(struct upstream *upstream);
	void (*adjust)(struct upstream *upstream); /* NULL: it looks at its settings each time */
	/* The deadline has not passed, count is within the dialect's cap. */
	struct exchange *(*send)(struct upstream *upstream, const struct upstream_call *calls, size_t count,
				 uint64_t deadline_us, const struct upstream_events *events, void *context,
				 struct answer **refusal);
	void (*abort)(struct exchange *exchange);
	void (*forget)(struct exchange *exchange, size_t index); /* NULL: an answer that comes is dropped above */
	bool (*sent)(const struct exchange *exchange);           /* NULL: always */
	size_t (*attempts)(const struct exchange *exchange);     /* NULL: one */
	void (*watch)(struct upstream *upstream, const struct upstream_watcher *watcher); /* NULL: lists no tools */
	void (*leave)(struct upstream *upstream, uint64_t timeout_us);                    /* NULL: nothing to say */
	bool (*leaving)(const struct upstream *upstream);                                 /* with leave */
};

/* Each kind embeds these first in its own. `make` sets settings and loop; upstream.c the rest. */
struct upstream {
	const struct upstream_kind *kind;
	const struct upstream_settings *settings;
	struct loop *loop;
	struct retry_budget retry_budget; /* every repeat asks it: failover and hedges here, the rest in the batcher */
};
struct exchange {
	const struct upstream_kind *kind;
};

/* Whether so many calls may be sent once more: they are taken from the upstream's budget. */
bool upstream_may_repeat(struct upstream *upstream, size_t calls) MUST_CHECK;

/* Bytes of an answer that are about to be gathered, by any kind of provider. False: limits.in_flight_bytes has no room for
 * them; that is counted, they are not. NULL: nobody counts. (upstream/http/transport.c) */
bool transport_hold(struct transport *transport, size_t bytes) MUST_CHECK;
void transport_let_go(struct transport *transport, size_t bytes);
enum { HELD_FROM_BYTES = 16 * 1024 };
/* The same for bytes of a request that is about to be written, a copy of what its calls hold; from HELD_FROM_BYTES on. */
bool transport_hold_request(struct transport *transport, size_t bytes) MUST_CHECK;
void transport_let_go_request(struct transport *transport, size_t bytes);

/* What a call is told when that has no room for it: it was not sent. Never NULL. */
struct answer *upstream_no_room(const struct upstream_settings *settings);

extern const struct upstream_kind upstream_http;
extern const struct upstream_kind upstream_mcp;
extern const struct upstream_kind upstream_simulated;
extern const struct upstream_kind upstream_process;

#endif
