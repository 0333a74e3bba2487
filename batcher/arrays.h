/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arrays.h: whether sharing an exchange pays, and how much the provider takes in one. Arithmetic only, no clock.
 *
 * - Arrays that cost as much a call as singles do, or are refused, are switched off for 1 s, then tried again; each
 *   failure doubles the time (Clipper's multiplicative back-off, NSDI 2017). One refusal is no proof: a provider that
 *   fails now and then refuses arrays as it refuses anything. It takes two with no array that passed between them.
 * - 413 halves the caps; arrays near them that pass raise them by 1/64.
 */
#ifndef JITNEY_BATCHER_ARRAYS_H
#define JITNEY_BATCHER_ARRAYS_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct arrays {
	double single_us, share_us;  /* of a call alone; of a call in an array */
	unsigned singles, shares;    /* how many are known, up to COSTS_KNOWN */
	uint64_t singles_until_us;   /* no arrays until then; 0: arrays */
	uint64_t backoff_us;         /* how long next time */
	double cap_items, cap_bytes; /* what 413 taught; 0: nothing */
	unsigned refused;            /* arrays refused whose calls all passed alone, since one passed */
};

void arrays_init(struct arrays *arrays);
/* An exchange of so many took so long, while hardly anything else was under way. */
void arrays_learn(struct arrays *arrays, size_t items, uint64_t took_us, uint64_t now_us);
/* Arrays are refused, or cost more than they save: none for a while. */
void arrays_shun(struct arrays *arrays, uint64_t now_us);
/* An array was refused, all its calls passed alone: none for a while if that is so of arrays, see above. */
void arrays_refused(struct arrays *arrays, uint64_t now_us);
bool arrays_shunned(const struct arrays *arrays, uint64_t now_us);
/* 413 to a batch like this; and one that passed. */
void arrays_too_large(struct arrays *arrays, size_t items, size_t bytes);
void arrays_passed(struct arrays *arrays, size_t items);
size_t arrays_cap_items(const struct arrays *arrays, size_t max);
size_t arrays_cap_bytes(const struct arrays *arrays, size_t max);

#endif
