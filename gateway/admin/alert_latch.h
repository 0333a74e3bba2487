/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alert_latch.h: when an alert fires and when it is over: neither at once, so that what comes and goes tells nobody. Knows
 * values and times, nothing else.
 */
#ifndef JITNEY_GATEWAY_ADMIN_ALERT_LATCH_H
#define JITNEY_GATEWAY_ADMIN_ALERT_LATCH_H

#include <stdbool.h>
#include <stdint.h>

/* One subject's, of one severity. Zeroed: it does not fire. */
struct alert_latch {
	uint64_t since_us; /* since when the value has asked for a change; 0: it does not */
	bool fires;
};

/* A value is beyond the threshold (0: never); of what falls (what is left of something) below it. */
bool alert_is_beyond(double value, double threshold, bool falls);

/* Another value, now. It fires when the value has been beyond its threshold for `hold_us`, and is over when it has been on
 * this side of it by a fifth for as long, a minute at most. True: that has changed. */
bool alert_latch_turn(struct alert_latch *latch, double value, double threshold, bool falls, uint64_t hold_us,
		      uint64_t now_us);

#endif
