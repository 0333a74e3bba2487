/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tool_labels.h: which metrics label (tool->index) a tool's name has. A name gets one when it is first seen and keeps
 * it as long as the process lives, however often the tool comes and goes: so counters never change their meaning, and a
 * server that invents names cannot grow the metrics. Declared tools have the first ones, by name; behind them each
 * upstream that lists its tools has as many as its max_tools; and behind all there are some for what later generations
 * bring. One thread at a time.
 */
#ifndef JITNEY_GATEWAY_TOOLS_TOOL_LABELS_H
#define JITNEY_GATEWAY_TOOLS_TOOL_LABELS_H

#include "base/compiler.h"
#include "gateway/config/config.h"
#include "metrics/metrics.h"

struct tool_labels;

/* With the declared tools of the first generation, which it numbers. upstreams: how many may ever have a label. NULL:
 * out of memory. */
struct tool_labels *tool_labels_new(struct generation *first, size_t upstreams) MUST_CHECK;
/* Whether all names of the declared tools of a generation that nobody uses yet have a label, or will get one. */
bool tool_labels_have_room(const struct tool_labels *labels, const struct generation *next);
/* Number the declared tools of a generation that nobody uses yet, whose upstreams have their labels. False: there is no
 * room for all of its names, or no memory. */
bool tool_labels_give(struct tool_labels *labels, struct generation *next) MUST_CHECK;
/* After the metrics, which have its names. NULL is allowed. */
void tool_labels_free(struct tool_labels *labels);

/* How many there are, taken or not; and their names, NULL where none is taken: for metrics_names. */
size_t tool_labels_count(const struct tool_labels *labels);
const char *const *tool_labels_names(const struct tool_labels *labels);
/* Names given from now on are told to them. Once. */
void tool_labels_publish(struct tool_labels *labels, struct metrics *metrics);

enum slot_decision { SLOT_FOUND, SLOT_FULL, SLOT_NO_MEMORY };
/* The slot of a tool that the upstream of this label lists, taken now if need be. */
enum slot_decision tool_labels_find(struct tool_labels *labels, unsigned upstream, const char *name,
				    unsigned *index) MUST_CHECK;

#endif
