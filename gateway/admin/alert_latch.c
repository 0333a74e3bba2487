/* SPDX-License-Identifier: Apache-2.0 */
/* alert_latch.c: a threshold with a hold time and hysteresis. */
#include "gateway/admin/alert_latch.h"

#include "base/clock.h"

#define CLEAR_AT_MOST_US (60 * CLOCK_US_PER_S)
static const double clearly = 0.8;

bool alert_is_beyond(double value, double threshold, bool falls)
{
	return threshold > 0 && (falls ? value < threshold : value >= threshold);
}

static bool is_clear(double value, double threshold, bool falls)
{
	return threshold <= 0 || (falls ? value >= threshold / clearly : value < threshold * clearly);
}

bool alert_latch_turn(struct alert_latch *latch, double value, double threshold, bool falls, uint64_t hold_us,
		      uint64_t now_us)
{
	bool wants = latch->fires ? is_clear(value, threshold, falls) : alert_is_beyond(value, threshold, falls);
	if (!wants) {
		latch->since_us = 0;
		return false;
	}
	if (latch->fires && hold_us > CLEAR_AT_MOST_US)
		hold_us = CLEAR_AT_MOST_US;
	if (!latch->since_us)
		latch->since_us = now_us;
	if (now_us - latch->since_us < hold_us)
		return false;
	*latch = (struct alert_latch){ .fires = !latch->fires };
	return true;
}
