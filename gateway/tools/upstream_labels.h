/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upstream_labels.h: which metrics labels upstreams and their endpoints have. A name gets one when it is first seen and
 * keeps it as long as the process lives, in whichever generations it comes and goes: so counters never change their
 * meaning. Beside those of the first generation there is room for some more. One thread at a time.
 */
#ifndef JITNEY_GATEWAY_TOOLS_UPSTREAM_LABELS_H
#define JITNEY_GATEWAY_TOOLS_UPSTREAM_LABELS_H

#include "base/compiler.h"
#include "gateway/config/config.h"
#include "metrics/metrics.h"

struct upstream_labels;

/* With those of the first generation, which are given. NULL: out of memory. */
struct upstream_labels *upstream_labels_new(struct generation *first) MUST_CHECK;
/* After the metrics, which have its names. NULL is allowed. */
void upstream_labels_free(struct upstream_labels *labels);
/* How many upstreams may ever have one. */
size_t upstream_labels_room(const struct upstream_labels *labels);
/* The part of the names that is about upstreams and endpoints, for metrics_new. */
void upstream_labels_fill_names(const struct upstream_labels *labels, struct metrics_names *names);
/* Names given from now on are told to them. Once. */
void upstream_labels_publish(struct upstream_labels *labels, struct metrics *metrics);
/* Number the upstreams and endpoints of a generation that nobody uses yet. False: there is no room for all of its
 * names, or no memory; then it cannot be used. */
bool upstream_labels_give(struct upstream_labels *labels, struct generation *next) MUST_CHECK;

#endif
