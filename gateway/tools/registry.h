/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry.h: keeps the catalogue. Hears from MCP upstreams which tools they have, makes a new catalogue of it and
 * gives it to all workers. That takes milliseconds where lists are long, so it has a thread of its own; what comes in
 * while it works goes into one catalogue. An upstream that fails, or whose list cannot be read, keeps its last one,
 * marked stale, and delays nobody.
 */
#ifndef JITNEY_GATEWAY_TOOLS_REGISTRY_H
#define JITNEY_GATEWAY_TOOLS_REGISTRY_H

#include "base/compiler.h"
#include "gateway/tools/catalogue.h"
#include "gateway/config/config.h"
#include "metrics/metrics.h"
#include "upstream/upstream.h"

struct registry;
/* Takes every catalogue after the first, with a reference of its own if it keeps it. The registry's thread. */
typedef void registry_offer(void *context, struct catalogue *catalogue);

/* With a first catalogue of the declared tools. It holds the generation. NULL: out of memory. Main thread, as all
 * here unless said otherwise. */
struct registry *registry_new(const struct config *config) MUST_CHECK;
/* After the workers and the metrics are gone; the thread has been stopped or never started. NULL is fine. */
void registry_free(struct registry *registry);

/* Fill in the tools' part of the names, for metrics_new. */
void registry_fill_names(const struct registry *registry, struct metrics_names *names);
/* Count there. Once. False: out of memory. */
bool registry_attach(struct registry *registry, struct metrics *metrics) MUST_CHECK;

/* Take the lists of before the start, if they are kept (mcp.lists): in force until the servers speak. Once, after
 * registry_attach and before any worker is made; says in the log what became of it. */
void registry_load(struct registry *registry);

/* The first catalogue, for workers to begin with; borrowed. Before the thread starts. */
struct catalogue *registry_catalogue(const struct registry *registry);
/* To be told about this upstream's tools (upstream_watch): takes its news on any thread, and only copies them there. */
const struct upstream_watcher *registry_watcher(struct registry *registry, unsigned upstream);

/* Start the thread, which offers catalogues there; none is started where no upstream lists its tools. False and
 * errno. */
bool registry_start(struct registry *registry, registry_offer *offer, void *context) MUST_CHECK;
/* End it; lists are written where they are kept. False: the disk hangs and so does the thread, which is left alone: nothing
 * that it uses may be freed. Workers may still be running. Fine if it was not started. */
bool registry_stop(struct registry *registry) MUST_CHECK;

/* One turn of the thread, for itself and for tests that start none: take the news there are, and if they change
 * anything, offer a new catalogue. `offer` NULL: to nobody. Returns false when memory was out: then the
 * news are kept for the next turn. */
bool registry_turn(struct registry *registry, registry_offer *offer, void *context);

#endif
