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
struct tool_source;
/* Takes every catalogue after the first, with a reference of its own if it keeps it. The registry's thread. */
typedef void registry_offer(void *context, struct catalogue *catalogue);

/* With a first catalogue of the declared tools. It numbers the first generation, and holds it. NULL: out of memory.
 * Main thread, as all here unless said otherwise. */
struct registry *registry_new(struct config *config) MUST_CHECK;
/* After the workers and the metrics are gone; the thread has been stopped or never started. NULL is allowed. */
void registry_free(struct registry *registry);

/* Fill in the names of tools, upstreams and endpoints, for metrics_new. */
void registry_fill_names(const struct registry *registry, struct metrics_names *names);
/* Count there. Once. False: out of memory. */
bool registry_attach(struct registry *registry, struct metrics *metrics) MUST_CHECK;

/* Take the lists of before the start, if they are kept (mcp.lists): in force until the servers speak. Once, after
 * registry_attach and before any worker is made; says in the log what became of it. */
void registry_load(struct registry *registry);

/* The first catalogue, for workers to begin with; borrowed. Before the thread starts. */
struct catalogue *registry_catalogue(const struct registry *registry);
/* How many upstreams may ever have a metrics label. */
size_t registry_upstream_room(const struct registry *registry);
/* How many tools may ever have one. */
size_t registry_tool_room(const struct registry *registry);

/* --- Sources: what the upstreams that list their tools have said, one as long as the upstream runs --- */

/* The upstream's name and label must outlive it. NULL: out of memory. Any thread. */
struct tool_source *tool_source_new(struct registry *registry, const struct upstream_config *upstream) MUST_CHECK;
/* After its upstream, and the last generation that has it. NULL is allowed. Any thread. */
void tool_source_free(struct tool_source *source);
/* For upstream_watch: takes its news on any thread, and only copies them there. */
const struct upstream_watcher *tool_source_watcher(struct tool_source *source);

/* --- The next generation: by one thread, which is neither a worker nor the registry's own --- */

/* Number the upstreams, endpoints and tools of a generation that nobody uses yet. False: there is no label left for
 * some of its names, or no memory. */
bool registry_number(struct registry *registry, struct generation *next) MUST_CHECK;
/* It is in force from now on: its catalogue has been offered to all workers when this returns. Its sources are set.
 * False: out of memory; the one before stays. */
bool registry_use(struct registry *registry, struct generation *next) MUST_CHECK;

/* Start the thread, which offers catalogues there; none is started as long as no upstream lists its tools. False and
 * errno. */
bool registry_start(struct registry *registry, registry_offer *offer, void *context) MUST_CHECK;
/* End it; lists are written where they are kept. False: the disk hangs and so does the thread, which is left alone:
 * nothing that it uses may be freed. Workers may still be running. Allowed if it was not started. */
bool registry_stop(struct registry *registry) MUST_CHECK;

/* One turn of the thread, for itself and for tests that start none: take the news there are, and if they change
 * anything, offer a new catalogue. `offer` NULL: to nobody. Returns false when memory was out: then the
 * news are kept for the next turn. */
bool registry_turn(struct registry *registry, registry_offer *offer, void *context);

#endif
