/* SPDX-License-Identifier: Apache-2.0 */
/* pace.c: the arithmetic of pace.h. */
#include "batcher/pace.h"

#include "base/clock.h"

enum { BURSTS = 10, SMOOTHING = 8 };
#define RAISED (15.0 / 16)
#define LONGEST_GAP_US (10.0 * CLOCK_US_PER_S) /* a quiet hour says nothing of the rate of a busy minute */

void pace_init(struct pace *pace, const struct rate *rate)
{
	*pace = (struct pace){ .step_us = 0 };
	if (rate->amount == 0)
		return;
	uint64_t burst = rate->amount / BURSTS ? rate->amount / BURSTS : 1;
	/* with the burst in it, a period still holds no more than the amount */
	pace->step_us = (double)rate->period_us / (double)(rate->amount - burst + 1);
	pace->burst_us = pace->step_us * (double)(burst - 1);
}

uint64_t pace_free_us(const struct pace *pace)
{
	double free_us = pace->next_us - pace->burst_us;
	if (pace->step_us <= 0 || free_us <= 0)
		return 0;
	return (uint64_t)free_us + ((double)(uint64_t)free_us < free_us);
}

void pace_take(struct pace *pace, uint64_t count, uint64_t now_us)
{
	double now = (double)now_us;
	pace->next_us = (pace->next_us > now ? pace->next_us : now) + pace->step_us * (double)count;
}

void pace_visit(struct pace_learned *learned, uint64_t now_us)
{
	double gap_us = learned->last_us < now_us ? (double)(now_us - learned->last_us) : 0;
	if (gap_us > LONGEST_GAP_US)
		gap_us = LONGEST_GAP_US;
	if (learned->last_us && learned->gap_us > 0)
		learned->gap_us += (gap_us - learned->gap_us) / SMOOTHING;
	else if (learned->last_us)
		learned->gap_us = gap_us;
	learned->last_us = now_us;
}

void pace_refused(struct pace_learned *learned, uint64_t pause_us, uint64_t sent_us, uint64_t now_us)
{
	if (learned->decreased_us && sent_us <= learned->decreased_us)
		return;
	learned->decreased_us = now_us;
	double pace_us = learned->step_us > learned->gap_us ? learned->step_us : learned->gap_us;
	double most_us = pause_us ? (double)pause_us : LONGEST_GAP_US;
	learned->step_us = 2 * pace_us < most_us ? 2 * pace_us : most_us;
}

void pace_passed(struct pace_learned *learned)
{
	learned->step_us *= RAISED;
	if (learned->step_us < (double)CLOCK_US_PER_MS)
		learned->step_us = 0;
}

uint64_t pace_visit_us(const struct pace_learned *learned)
{
	return learned->step_us > 0 ? learned->last_us + (uint64_t)learned->step_us : 0;
}
