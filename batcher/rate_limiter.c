/* SPDX-License-Identifier: Apache-2.0 */
/* rate_limiter.c: the arithmetic of rate_limiter.h. */
#include "batcher/rate_limiter.h"

#include <math.h>

#include "base/clock.h"

enum {
	BURSTS = 10,
	SMOOTHING = 8,
	ENOUGH = 8,         /* visits of a run that tell a rate */
	ENOUGH_OF_LATE = 4, /* that passed, likewise, over several runs */
	MOST_OF_LATE = 16,  /* as so many those count that passed before */
	NOTHING_SILENT = 3 /* runs in a row in which nothing passed: an outage, where no pause says when to come back */
};
#define OUTAGE_LOOK_US ((double)CLOCK_US_PER_S) /* longest time between two looks whether it is over, likewise */
#define RUN_US (CLOCK_US_PER_S / 10)            /* while nothing is refused, visits are counted over about so long */
#define RAISED (63.0 / 64)                      /* of the time between visits, with each that passes */
#define RAISED_FAST (15.0 / 16)                 /* likewise, well beyond what was refused last */
#define BEYOND (2.0 / 3)                        /* of the time at which it was refused: well beyond */
#define FAR 2.0                                 /* times that: far below, and asking costs one visit */
#define RAISED_FAR (7.0 / 8)                    /* likewise, far below it */
#define MARGIN 1.06                             /* times the time that a run tells */
#define GUESS_MARGIN 1.15                       /* likewise, if it tells little */
#define DIFFERENT 1.5                           /* times as long: two runs whose difference tells */
#define LONGEST_GAP_US (10.0 * CLOCK_US_PER_S)  /* a quiet hour says nothing of the rate of a busy minute */
/* How long a pace is left alone: a quarter of a second where finding out more costs one visit; where it costs a pause
 * for everybody, so many times that pause: few after a guess, many, and twice as many each time, after more than that. */
#define HOLD_US (CLOCK_US_PER_S / 4)
#define HOLD_MOST_US (300 * CLOCK_US_PER_S)
enum { PAUSES_GUESSED = 8, PAUSES_SURE = 32 };

static double larger_of(double a, double b)
{
	return a > b ? a : b;
}

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

size_t rate_limiter_free_count(const struct rate_limiter *limiter, uint64_t now_us)
{
	double now = (double)now_us, next_us = larger_of(limiter->next_us, now);
	if (limiter->step_us <= 0)
		return SIZE_MAX;
	if (rate_limiter_free_us(limiter) > now_us)
		return 0;
	return 1 + (size_t)((now + limiter->burst_us - next_us) / limiter->step_us);
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
	bool paused = learned->last_us < learned->run_us;
	if (learned->last_us && learned->gap_us > 0 && !paused)
		learned->gap_us += (gap_us - learned->gap_us) / SMOOTHING;
	else if (learned->last_us && !paused)
		learned->gap_us = gap_us;
	learned->last_us = now_us;
	if (now_us < learned->run_us)
		return;
	if (learned->step_us <= 0 && learned->run_us && now_us - learned->run_us > RUN_US) { /* older ones tell less */
		learned->run_us += (now_us - learned->run_us) / 2;
		learned->visits /= 2;
		learned->cut = true;
	}
	learned->full |= learned->run_us == 0;
	if (learned->visits++ == 0 && learned->full)
		learned->run_us = now_us;
}

/* Nothing is known but how often it was visited; if that was seldom, nobody had asked for more. */
static double half_the_rate(const struct learned_rate *learned)
{
	double gap_us = learned->gap_us < OUTAGE_LOOK_US / 2 ? learned->gap_us : OUTAGE_LOOK_US / 2;
	return 2 * larger_of(learned->step_us, gap_us);
}

/* Each refusal halves what was before, which counts as no more than a few: a rate may have become far less. */
static void count_let_in(struct learned_rate *learned, double took_us, uint64_t pause_us)
{
	double let_in = learned->let_in / 2 + learned->passed;
	double part = let_in > MOST_OF_LATE ? MOST_OF_LATE / let_in : 1;
	learned->let_in_us = pause_us ? 0 : (learned->let_in_us / 2 + took_us) * part;
	learned->let_in = pause_us ? 0 : let_in * part;
}

/* A run is too short to tell a rate. Where a refusal costs but itself, several in a row do: what the provider has let in over
 * all of them. One that refuses now and then, however seldom it is visited, is not visited ever more seldom. */
static double step_of_late(const struct learned_rate *learned)
{
	if (learned->step_us <= 0 || learned->let_in < ENOUGH_OF_LATE)
		return half_the_rate(learned);
	return larger_of(learned->step_us, MARGIN * learned->let_in_us / learned->let_in);
}

/* Of a run that began with credit nobody knows: it lets in no more than what passed, and no less than that over the run
 * and the pause together. In the middle between the two; of what came as it liked, no more than half is believed. */
static double guess_step(const struct learned_rate *learned, double took_us, double passed, double pause_us)
{
	double visited_us = took_us / passed, middle_us = GUESS_MARGIN * sqrt(took_us * (took_us + pause_us)) / passed;
	return larger_of(middle_us, learned->step_us > 0 ? visited_us : 2 * visited_us);
}

/* What the run that a refusal has just ended tells of the time between visits that pass. */
static double step_of_run(struct learned_rate *learned, double took_us, double passed, double pause_us, bool *sure)
{
	*sure = true;
	double mean_us = took_us / passed;
	if (!learned->full) /* it began with nothing left, as it has ended */
		return MARGIN * mean_us;
	double longer_us = took_us - learned->full_us, more = passed - learned->full_passed;
	bool differs = took_us > DIFFERENT * learned->full_us || DIFFERENT * took_us < learned->full_us;
	if (learned->full_passed > 0 && differs && longer_us * more > 0 && longer_us / more > mean_us)
		return MARGIN * longer_us / more;
	*sure = false;
	learned->full_us = took_us;
	learned->full_passed = learned->cut ? 0 : passed; /* of a part of it nobody knows with what credit that began */
	return guess_step(learned, took_us, passed, pause_us);
}

static uint64_t hold_for_us(const struct learned_rate *learned, uint64_t pause_us, bool sure)
{
	if (pause_us == 0)
		return HOLD_US;
	uint64_t for_us = pause_us * (sure ? PAUSES_SURE : PAUSES_GUESSED), longer_us = sure ? 2 * learned->hold_us : 0;
	for_us = for_us > longer_us ? for_us : longer_us;
	return for_us < HOLD_MOST_US ? for_us : HOLD_MOST_US;
}

static void begin_run(struct learned_rate *learned, uint64_t pause_us, bool sure, uint64_t now_us)
{
	learned->hold_us = hold_for_us(learned, pause_us, sure);
	learned->run_us = clock_add(now_us, pause_us);
	learned->hold_until_us = clock_add(learned->run_us, learned->hold_us);
	learned->visits = learned->passed = 0;
	learned->held_us = 0;
	learned->cut = false;
	learned->full = pause_us > 0;
}

/* The first visit since the last refusal, and the pause that came with it, is refused as well. */
static bool is_refused_again(const struct learned_rate *learned, uint64_t sent_us)
{
	bool first = learned->visits <= 1 || (learned->full && sent_us <= learned->run_us);
	return learned->step_us > 0 && learned->passed == 0 && sent_us >= learned->run_us && first;
}

/* Whether the provider lets nothing in at all, however seldom it is visited. */
static bool note_outage(struct learned_rate *learned, uint64_t pause_us, uint64_t sent_us)
{
	if (!is_refused_again(learned, sent_us) || learned->outage_us > 0) {
		learned->nothing = 0;
		learned->before_us = learned->step_us;
		learned->outage = false;
		return false;
	}
	learned->nothing++;
	bool seldom = learned->step_us >= OUTAGE_LOOK_US / 2; /* else it may only be too often still */
	learned->outage |= pause_us || (seldom && learned->nothing >= NOTHING_SILENT);
	return learned->outage;
}

/* Looked at once a pause whether it is over. */
static void look_again(struct learned_rate *learned, uint64_t pause_us, uint64_t now_us)
{
	double twice_us = 2 * learned->step_us;
	learned->step_us = pause_us ? (double)pause_us : twice_us < OUTAGE_LOOK_US ? twice_us : OUTAGE_LOOK_US;
	begin_run(learned, pause_us, false, now_us);
}

/* It lets visits in again, as often as it had before, as far as is known. */
static void end_outage(struct learned_rate *learned)
{
	learned->outage_us = learned->step_us;
	learned->step_us = learned->before_us;
	learned->outage = false;
	learned->run_us = learned->hold_until_us = 0;
	learned->visits = learned->passed = 0;
}

void learned_rate_refused(struct learned_rate *learned, uint64_t pause_us, uint64_t sent_us, uint64_t now_us)
{
	if (learned->decreased_us && sent_us <= learned->decreased_us)
		return;
	learned->decreased_us = now_us;
	if (note_outage(learned, pause_us, sent_us)) {
		look_again(learned, pause_us, now_us);
		return;
	}
	double took_us = sent_us > learned->run_us ? (double)(sent_us - learned->run_us) : 0;
	double most_us = pause_us ? (double)pause_us : LONGEST_GAP_US;
	bool sure = false;
	count_let_in(learned, took_us, pause_us);
	double step_us = learned->visits > ENOUGH
				 ? step_of_run(learned, took_us, learned->visits - 1.0, (double)pause_us, &sure)
				 : step_of_late(learned);
	if (learned->held_us > 0 && step_us > learned->held_us) { /* that much it has let in, and for long */
		step_us = learned->held_us;
		sure = true;
	}
	if (learned->outage_us > step_us && learned->visits <= ENOUGH) /* what was before the outage is too fast now */
		step_us = learned->outage_us;
	learned->refused_us = learned->step_us;
	learned->step_us = step_us < most_us ? step_us : most_us;
	begin_run(learned, pause_us, sure, now_us);
}

/* Of the time between visits, as one passes. Close to the pace that was refused last it is raised slowly; where nobody
 * pauses for a refusal, far below it at once. */
static double choose_raise(const struct learned_rate *learned)
{
	if (learned->step_us < BEYOND * learned->refused_us)
		return RAISED_FAST;
	return !learned->full && learned->step_us > FAR * learned->refused_us ? RAISED_FAR : RAISED;
}

void learned_rate_passed(struct learned_rate *learned, uint64_t sent_us, uint64_t now_us)
{
	if (sent_us >= learned->run_us) {
		learned->passed++;
		learned->nothing = 0;
		if (learned->outage)
			end_outage(learned);
		else if (learned->passed > ENOUGH)
			learned->outage_us = 0;
	}
	if (now_us < learned->hold_until_us)
		return;
	if (learned->full && learned->step_us > 0 &&
	    learned->held_us <= 0) { /* less than it lets in: its credit is full */
		learned->held_us = learned->step_us;
		learned->run_us = learned->visits = 0;
	}
	learned->step_us *= choose_raise(learned);
	if (learned->step_us < (double)CLOCK_US_PER_MS)
		learned->step_us = 0;
}

void learned_rate_forget(struct learned_rate *learned)
{
	*learned = (struct learned_rate){ .last_us = learned->last_us, .decreased_us = learned->decreased_us };
}

uint64_t learned_rate_visit_us(const struct learned_rate *learned)
{
	return learned->step_us > 0 ? learned->last_us + (uint64_t)learned->step_us : 0;
}
