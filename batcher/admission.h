/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admission.h: whether a call may wait at all. One per upstream. Arithmetic only, no clock.
 *
 * What waits ahead of a call, and what the limiter lets through, give the time to its answer. A call whose answer would
 * come too late is refused at once, while there is time to do something else, and told when to come back; not when it
 * is too late. Work that nobody waits for is the worst a full provider can be given.
 *
 * The line is bounded by a time (`wait`), not only by a count. A burst may use all of it. A line that stands, one that
 * has not been short for that whole time, holds nobody's burst: it only makes everybody late (CoDel's idea, RFC 8289).
 * Then only a twentieth of it, or one exchange's time, may stand, until nobody has been refused for half of it.
 */
#ifndef JITNEY_BATCHER_ADMISSION_H
#define JITNEY_BATCHER_ADMISSION_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "metrics/catalogue.h"

/* What is known as a call comes in. Zeroed: nothing, and it is admitted. */
struct admission_view {
	size_t ahead;    /* calls that leave before it */
	size_t waiting;  /* calls that wait in all */
	size_t batch;    /* calls that may share an exchange, >= 1 */
	size_t slots;    /* exchanges at once, >= 1 */
	bool doubles;    /* and twice as many with each exchange's time, as far as is known */
	double fixed_us; /* what an exchange takes, */
	double item_us;  /* and each call in it on top; both 0: not known. Before any has completed: as long as the
				 * oldest has been under way, so long they take at least */
	uint64_t round_trip_us; /* what exchanges take of late, queued at the provider or not */
	uint64_t deadline_us;   /* the call's; CLOCK_NEVER: none */
};

struct admission {
	uint64_t wait_us;    /* longest line, as configured; 0: no bound but deadlines */
	uint64_t bound_us;   /* that, or one exchange's time if that is longer */
	uint64_t short_us;   /* when the line was last short, and nobody had been refused for a while */
	uint64_t refused_us; /* when somebody was */
};

struct admission_decision {
	bool admitted;
	enum shed_reason reason; /* if not */
	uint64_t wait_us;        /* how long it would have waited, or will */
	uint64_t retry_us;       /* if not: when to come back, from now */
};

/* How long so many calls take to leave. */
uint64_t admission_line_us(const struct admission_view *view, size_t calls);
struct admission_decision admission_evaluate(struct admission *admission, const struct admission_view *view,
					     uint64_t now_us);
/* Whether the line stands: then the newest call leaves first, since it is the one that can still be on time. */
bool admission_stands(const struct admission *admission, uint64_t now_us);
/* How long a call may wait; CLOCK_NEVER: until its deadline. */
uint64_t admission_bound_us(const struct admission *admission);
/* Nobody waits. */
void admission_empty(struct admission *admission, uint64_t now_us);

#endif
