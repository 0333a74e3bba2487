/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arrays.h: whether sharing an exchange pays, and how much the provider takes in one. Arithmetic only, no clock.
 *
 * - Arrays that cost as much a call as singles do, or are refused, are switched off for 1 s, then tried again; each
 *   failure doubles the time (Clipper's multiplicative back-off, NSDI 2017). One refusal is no proof: a provider that
 *   fails now and then refuses arrays as it refuses anything. It takes two with no array that passed between them.
 * - So do arrays that are answered when their slowest call is done, where a few calls are very slow: alone such a call
 *   holds no slot for long (limiter.h), in an array it holds all the others. Eight calls alone that overtake an array
 *   tell. If an array is far slower than it should be and no call went alone, eight are sent alone to see.
 * - What was switched off is tried again in small: one array at a time, of eight calls at first, twice as many after four
 *   that were well.
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
	size_t trial;                /* calls of an array at most while arrays are tried again; 0: they are not */
	unsigned trial_passed;       /* arrays of about that size that were well */
	bool trial_out;              /* one is under way */
	double alone_us;             /* of calls alone of late, under any load: how long each held its slot */
	unsigned alone;              /* how many that is of, up to COSTS_KNOWN */
	uint64_t alone_count;        /* all of them */
	double company_us;           /* how long an array held its slot for each of its calls, of late; 0: not known */
	uint64_t explores_until_us;  /* calls go alone until then, or until it is known what that takes */
	uint64_t explore_us;         /* not again before */
	uint64_t explore_rest_us;    /* and how long it rests then */
	unsigned refused;            /* arrays refused whose calls all passed alone, since one passed */
};

void arrays_init(struct arrays *arrays);
/* An exchange of so many took so long, while hardly anything else was under way. */
void arrays_learn(struct arrays *arrays, size_t items, uint64_t took_us, uint64_t now_us);
/* An array has left. Returns what arrays_company wants to know of it. */
uint64_t arrays_sent(struct arrays *arrays);
/* It is over, in whatever way. */
void arrays_ended(struct arrays *arrays);
/* A call alone has held a slot for so long. */
void arrays_alone(struct arrays *arrays, double held_us, uint64_t now_us);
/* An array has completed. */
struct arrays_company {
	size_t items;
	uint64_t sent_count; /* what arrays_sent returned */
	double held_us;      /* its slot: less and less as its calls were answered */
	uint64_t alone_us;   /* a call alone takes no longer than so, if it is not far past its time */
	bool late;           /* far beyond what it should take */
};
void arrays_company(struct arrays *arrays, const struct arrays_company *company, uint64_t now_us);
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
