/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arrays.h: whether sharing an exchange pays, and how much the provider takes in one. Arithmetic only, no clock.
 *
 * - Arrays that cost as much a call as singles do, or are refused, are switched off for 1 s, then tried again; each
 *   failure doubles the time (Clipper's multiplicative back-off, NSDI 2017). One refusal is no proof: a provider that
 *   fails now and then refuses arrays as it refuses anything. It takes two with no array that passed between them.
 * - So do arrays that are answered when their slowest call is done, where a few calls are very slow: alone such a call
 *   holds no slot for long (limiter.h), in an array it holds all the others. Eight calls alone that overtake an array
 *   tell. If no call went alone, eight are sent alone to see: when an array is far slower than it should be, when it takes
 *   LONG and nobody knows what a call takes alone, or when what is known of that, be it of one call, says that arrays do
 *   not pay. In the last case those count that left after the arrays of before were gone.
 * - Arrays that were switched off for that reason are not tried again while calls alone are still now and then far past
 *   their time: of the latest CALM none may be, since an array of many would wait for it.
 * - What was switched off is tried again in small: one array at a time, of eight calls at first, twice as many after four
 *   that were well; or after more, if calls come too seldom for such long ones. Where the provider counts requests, what
 *   leaves alone meanwhile costs as much of that as an array: none does while the arrays are well, and calls alone need not be
 *   calm first, since to see that takes hundreds of them.
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
	unsigned trial_passed;       /* arrays that were well, those of about that size counted more */
	bool trial_out;              /* one is under way */
	uint64_t off_us;             /* when they were last switched off, having been on without restraint; 0: never */
	bool doubted;                /* the trial has begun anew, since the provider may have stood still */
	double alone_us;             /* of calls alone of late, under any load: how long each held its slot */
	unsigned alone;              /* how many that is of, up to COSTS_KNOWN */
	double company_us;           /* how long an array held its slot for each of its calls, of late; 0: not known */
	uint64_t explores_until_us;  /* calls go alone until then, or until it is known what that takes */
	uint64_t explore_for_us;     /* that long, and again from when the first of them has completed */
	uint64_t ahead_until_us;     /* arrays that left before may hold those up until then; 0: they do not */
	uint64_t measures_us;        /* what left before then may have been held up so, and does not count */
	bool suspected;              /* it was one of many, of which others were well: it proves nothing */
	uint64_t explore_us;         /* not again before */
	uint64_t explore_rest_us;    /* and how long it rests then */
	uint64_t company_off_us; /* arrays are off since then because calls wait for the slowest one; 0: they are not */
	uint64_t alone_sent;     /* calls that have left alone */
	uint64_t alone_done;     /* of those, the newest that has completed */
	uint64_t slow_number;    /* and the newest that was far past its time while later ones were not */
	unsigned refused;        /* arrays refused whose calls all passed alone, since one passed */
};

/* Nothing is known. */
void arrays_init(struct arrays *arrays);
/* It is another provider now. */
void arrays_forget(struct arrays *arrays);
/* Calls that were in another class come into this one, and bring along what is known there; if they share it with others,
 * only if nothing is known here. */
void arrays_inherit(struct arrays *arrays, const struct arrays *from, bool shared);
/* An exchange of so many took so long, while hardly anything else was under way. */
void arrays_learn(struct arrays *arrays, size_t items, uint64_t took_us, uint64_t now_us);
/* An array has left. Returns the number of the call alone that left last. */
uint64_t arrays_sent(struct arrays *arrays);
/* It is over, in whatever way. */
void arrays_ended(struct arrays *arrays);
/* One of any class that left at sent_us is over, and so many are still under way. */
void arrays_made_way(struct arrays *arrays, uint64_t sent_us, size_t left, uint64_t now_us);
/* A call alone has left. Returns its number. */
uint64_t arrays_sent_alone(struct arrays *arrays);
/* The call alone of this number is far past its time. It counts if many that left later have completed: a queue holds up
 * all. Returns whether it does. */
bool arrays_slow_alone(struct arrays *arrays, uint64_t number);
/* Whether arrays are off because calls in them wait for the slowest one, and it is time to see if that is still so:
 * arrays_slow_alone is to be told of those that are under way, then arrays_review decides. */
bool arrays_wants_review(const struct arrays *arrays, uint64_t now_us);
/* paced: the provider has shown that it counts requests. */
void arrays_review(struct arrays *arrays, bool paced, uint64_t now_us);
/* The call alone of that number has held a slot for so long, from sent_us on. */
void arrays_alone(struct arrays *arrays, uint64_t number, uint64_t sent_us, double held_us, uint64_t now_us);
/* An array has completed. */
struct arrays_company {
	size_t items;
	uint64_t sent_number; /* what arrays_sent returned */
	double held_us;       /* its slot: less and less as its calls were answered */
	uint64_t explore_us;  /* that long it takes to see what calls take alone */
	uint64_t others_us; /* when the last array under way, of any class, is far past its time, as far as is known */
	bool late;          /* far beyond what it should take */
	bool unmeasured;    /* all its calls are of one tool, of which none has ever gone alone */
	bool at_end;        /* its calls were answered when the last one was done */
};
void arrays_company(struct arrays *arrays, const struct arrays_company *company, uint64_t now_us);
/* Arrays are refused, or cost more than they save: none for a while. */
void arrays_shun(struct arrays *arrays, uint64_t now_us);
/* An array was refused, all its calls passed alone: none for a while if that is so of arrays, see above. */
void arrays_refused(struct arrays *arrays, uint64_t now_us);
bool arrays_shunned(const struct arrays *arrays, uint64_t now_us);
/* Whether calls may leave in arrays while one that is tried is under way: in the latest ones a call took less than the step_us
 * that lie between two requests, 0 if nothing does. */
bool arrays_outpace(const struct arrays *arrays, double step_us, uint64_t now_us);
/* Whether that is only to see what calls take alone: it is over in a moment. */
bool arrays_explore(const struct arrays *arrays, uint64_t now_us);
/* 413 to a batch like this; and one that passed. */
void arrays_too_large(struct arrays *arrays, size_t items, size_t bytes);
void arrays_passed(struct arrays *arrays, size_t items);
size_t arrays_cap_items(const struct arrays *arrays, size_t max);
size_t arrays_cap_bytes(const struct arrays *arrays, size_t max);

#endif
