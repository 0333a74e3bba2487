/* SPDX-License-Identifier: Apache-2.0 */
/* route.h: what serves a path: all that a face's header needs of a worker (worker.h has the rest). */
#ifndef JITNEY_GATEWAY_CALL_ROUTE_H
#define JITNEY_GATEWAY_CALL_ROUTE_H

#include <stdint.h>

#include "base/compiler.h"
#include "base/slice.h"

struct gateway;
struct request;
struct worker;

/* What a path does. `rest`: what stood for {} in the route's pattern, decoded; empty if it has none. Worker's thread. */
typedef void route_function(struct worker *worker, struct request *request, struct slice rest);

#endif
