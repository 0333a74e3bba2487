/* SPDX-License-Identifier: Apache-2.0 */
/* difference.h: what another reading of the configuration changes, by name. */
#ifndef JITNEY_GATEWAY_CONFIG_DIFFERENCE_H
#define JITNEY_GATEWAY_CONFIG_DIFFERENCE_H

#include "base/buf.h"
#include "base/compiler.h"
#include "gateway/config/config.h"

struct difference {
	struct buf changed; /* JSON: {"tools":{"added":[],"removed":[],"changed":[]},"upstreams":{...},"settings":[]} */
	struct buf needs_restart; /* JSON: names of options that stay as they are until the process starts anew */
	size_t unchanged;         /* tools and upstreams */
	bool any;                 /* something of the generation is another */
	bool same_redis;          /* none of cache.redis is another */
	bool same_memory;         /* cache.memory.size is not another, or cannot become it */
	/* by upstream of the next: the one before with the same name, and the same options but for those that can be
	 * adjusted (option_is_adjustable): what runs behind it runs on. SIZE_MAX: none */
	size_t *same;
};

/* From what is in force (`process` and `before`) to `next`. Fill in *difference, which needs difference_fini in any
 * case. False: out of memory. */
bool difference_find(struct difference *difference, const struct config *process, const struct generation *before,
		     const struct generation *next) MUST_CHECK;
void difference_fini(struct difference *difference);

#endif
