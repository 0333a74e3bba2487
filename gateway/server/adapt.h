/* SPDX-License-Identifier: Apache-2.0 */
/* adapt.h: a worker becomes what the generation of the configuration says that it has taken. */
#ifndef JITNEY_GATEWAY_SERVER_ADAPT_H
#define JITNEY_GATEWAY_SERVER_ADAPT_H

#include <stdbool.h>

#include "base/compiler.h"

struct worker;

/* Limits, listeners, Redis: as worker_generation has them. What stays the same is not touched, so it may be
 * called again. False: memory is out, or the kernel refuses; some of it is as it was. The worker's thread. */
bool worker_adapt(struct worker *worker) MUST_CHECK;

#endif
