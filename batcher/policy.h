/* SPDX-License-Identifier: Apache-2.0 */
/* policy.h: how an upstream's calls are batched, as the configuration says it. */
#ifndef JITNEY_BATCHER_POLICY_H
#define JITNEY_BATCHER_POLICY_H

#include <stddef.h>
#include <stdint.h>

#include "batcher/bands.h"
#include "batcher/rate_limiter.h"

enum { CONCURRENCY_MOST = 1000 }; /* exchanges at once, however it is learned */

enum batch_mode {
	BATCH_ADAPTIVE, /* no wait when idle; else as above */
	BATCH_FIXED,    /* always gathers for the whole window */
	BATCH_OFF       /* every call by itself */
};

/* From the configuration; constant, borrowed, outlives the batcher. */
struct batch_policy {
	enum batch_mode mode;
	size_t max_items;          /* calls in one batch, >= 1 */
	size_t max_bytes;          /* bytes of arguments in one batch; a larger call travels alone */
	uint64_t max_tokens;       /* estimated tokens in one batch, likewise; 0: no cap */
	uint64_t window_us;        /* longest time a call gathers while it could leave */
	size_t concurrency;        /* exchanges at once; 0: learned, see limiter.h */
	size_t queue_items;        /* calls waiting at most */
	size_t queue_bytes;        /* bytes of arguments waiting at most */
	struct band_shares shares; /* guaranteed to bands of urgency while calls wait */
	uint64_t queue_wait_us;    /* a call that would wait longer is refused at once; 0: only its deadline counts */
	struct rate requests;      /* what the provider allows: exchanges */
	struct rate tokens;        /* likewise: tokens, as the dialect estimates them */
};

#endif
