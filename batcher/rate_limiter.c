/* SPDX-License-Identifier: Apache-2.0 */
/* rate_limiter.c: the arithmetic of rate_limiter.h. */
#include "batcher/rate_limiter.h"

#include "base/clock.h"

enum { BURSTS = 10, SMOOTHING = 8 };
#define RAISED (15.0 / 16)
#define LONGEST_GAP_US (10.0 * CLOCK_US_PER_S) /* a quiet hour says nothing of the rate of a busy minute */

void rate_limiter_init(struct rate_limiter *limiter, const struct rate *rate)
{
	*limiter = (struct rate_limiter){ .step_us = 0 };
	if (rate->amount == 0)
		return;
	uint64_t burst = rate->amount / BURSTS ? rate->amount / BURSTS : 1;
	/* with the burst in it, a period still holds no more than the amount */
	limiter->step_us = (double)rate->period_us / (double)(rate->amount - burst + 1);
	limiter->burst_us = limiter->step_us * (double)(burst - 1);
}

void rate_limiter_adjust(struct rate_limiter *limiter, const struct rate *rate)
{
	double next_us = limiter->next_us;
	rate_limiter_init(limiter, rate);
	limiter->next_us = next_us;
}

uint64_t rate_limiter_free_us(const struct rate_limiter *limiter)
{
	double free_us = limiter->next_us - limiter->burst_us;
	if (limiter->step_us <= 0 || free_us <= 0)
		return 0;
	return (uint64_t)free_us + ((double)(uint64_t)free_us < free_us);
}

void rate_limiter_take(struct rate_limiter *limiter, uint64_t count, uint64_t now_us)
{
	double now = (double)now_us;
	limiter->next_us = (limiter->next_us > now ? limiter->next_us : now) + limiter->step_us * (double)count;
}

void learned_rate_visit(struct learned_rate *learned, uint64_t now_us)
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

void learned_rate_refused(struct learned_rate *learned, uint64_t pause_us, uint64_t sent_us, uint64_t now_us)
{
	if (learned->decreased_us && sent_us <= learned->decreased_us)
		return;
	learned->decreased_us = now_us;
	double pace_us = learned->step_us > learned->gap_us ? learned->step_us : learned->gap_us;
	double most_us = pause_us ? (double)pause_us : LONGEST_GAP_US;
	learned->step_us = 2 * pace_us < most_us ? 2 * pace_us : most_us;
}

void learned_rate_passed(struct learned_rate *learned)
{
	learned->step_us *= RAISED;
	if (learned->step_us < (double)CLOCK_US_PER_MS)
		learned->step_us = 0;
}

uint64_t learned_rate_visit_us(const struct learned_rate *learned)
{
	return learned->step_us > 0 ? learned->last_us + (uint64_t)learned->step_us : 0;
}
