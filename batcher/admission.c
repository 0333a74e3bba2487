/* SPDX-License-Identifier: Apache-2.0 */
/* admission.c: the arithmetic of admission.h. */
#include "batcher/admission.h"

#include <math.h>

#include "base/clock.h"

enum {
	SHORT = 20, /* a line of this part of `wait` is short */
	CALM = 2    /* nobody refused for this part of it: the load has gone */
};

static uint64_t smaller_of(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t larger_of(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static double exchange_us(const struct admission_view *view, size_t items)
{
	return view->fixed_us + view->item_us * (double)items;
}

/* What those under way take, as far as is known, of which the first to leave wait for the end: not what the exchange takes
 * in which they leave then, of which nobody may know anything if there was none as large. */
static double under_way_us(const struct admission_view *view, double exchange)
{
	double round_trip = (double)view->round_trip_us;
	return round_trip > 0 && round_trip < exchange ? round_trip : exchange;
}

/* Each slot takes a batch of what there is, and then the next: evenly over the slots, which stay as many, or double. */
uint64_t admission_line_us(const struct admission_view *view, size_t calls)
{
	size_t share = larger_of(1, smaller_of(view->batch, (calls + view->slots - 1) / view->slots));
	double exchange = exchange_us(view, share), rounds = (double)calls / (double)share / (double)view->slots;
	if (view->doubles)
		rounds = log2(1 + (double)calls / (double)(view->slots * view->batch));
	double first = rounds < 1 ? rounds : 1;
	double us = first * under_way_us(view, exchange) + (rounds - first) * exchange;
	return us < (double)CLOCK_NEVER / 2 ? (uint64_t)us : CLOCK_NEVER / 2;
}

static uint64_t short_line_us(const struct admission *admission, const struct admission_view *view)
{
	uint64_t exchange = larger_of(view->round_trip_us, (uint64_t)exchange_us(view, 1));
	return larger_of(admission->wait_us / SHORT, exchange);
}

uint64_t admission_bound_us(const struct admission *admission)
{
	return admission->wait_us ? larger_of(admission->wait_us, admission->bound_us) : CLOCK_NEVER;
}

bool admission_stands(const struct admission *admission, uint64_t now_us)
{
	return clock_add(admission->short_us, admission_bound_us(admission)) < now_us;
}

/* That it is short while others are refused is their doing, not the load's. */
void admission_empty(struct admission *admission, uint64_t now_us)
{
	bool calm = clock_add(admission->refused_us, admission->wait_us / CALM) < now_us;
	if (calm || !admission_stands(admission, now_us))
		admission->short_us = now_us;
}

static struct admission_decision refuse_call(struct admission *admission, enum shed_reason reason, uint64_t line_us,
					     uint64_t allowed_us, uint64_t now_us)
{
	admission->refused_us = now_us;
	return (struct admission_decision){ .reason = reason, .wait_us = line_us, .retry_us = line_us - allowed_us };
}

struct admission_decision admission_evaluate(struct admission *admission, const struct admission_view *view,
					     uint64_t now_us)
{
	if (exchange_us(view, 1) <= 0)
		return (struct admission_decision){ .admitted = true };
	uint64_t line_us = admission_line_us(view, view->ahead);
	uint64_t short_us = short_line_us(admission, view);
	if (admission_line_us(view, view->waiting) <= short_us)
		admission_empty(admission, now_us);
	admission->bound_us = (uint64_t)exchange_us(view, 1);
	uint64_t allowed_us = admission_bound_us(admission);
	if (admission_stands(admission, now_us))
		allowed_us = smaller_of(allowed_us, short_us);
	if (line_us > allowed_us)
		return refuse_call(admission, SHED_QUEUE_WAIT, line_us, allowed_us, now_us);
	/* with nothing ahead it is sent, however little time there is: what is known may be wrong, and is found out
	 * so */
	uint64_t round_trip_us = larger_of(view->round_trip_us, (uint64_t)exchange_us(view, 1));
	uint64_t spare_us =
		view->deadline_us > clock_add(now_us, round_trip_us) ? view->deadline_us - now_us - round_trip_us : 0;
	if (view->ahead > 0 && line_us > spare_us)
		return refuse_call(admission, SHED_DEADLINE, line_us, spare_us, now_us);
	return (struct admission_decision){ .admitted = true, .wait_us = line_us };
}
