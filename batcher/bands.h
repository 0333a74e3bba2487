/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bands.h: whose calls leave first, by how urgent they say they are. Arithmetic only, no clock.
 *
 * The urgencies of RFC 9218 (`Priority: u=0..7`) are three bands: 0 and 1 are urgent, 2 to 4 (3 is what a caller has who
 * says nothing) usual, 5 to 7 background. Each band is guaranteed a share of what leaves as long as it has calls that
 * wait; what is not guaranteed to anybody, or not used, is the most urgent one's. So no flood of background calls delays
 * an urgent one by more than their share, and no flood of urgent ones starves the rest.
 */
#ifndef JITNEY_BATCHER_BANDS_H
#define JITNEY_BATCHER_BANDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "metrics/catalogue.h" /* priority_band */

enum { BAND_TURN = 100 }; /* hundredths */
enum { URGENCY_COUNT = 8, URGENCY_USUAL = 3, URGENCY_LAST = URGENCY_COUNT - 1 };

/* Guaranteed, per cent; together 100 at most. */
struct band_shares {
	unsigned percent[BAND_COUNT];
};

/* Who has had less than its share, of those that wait. Zeroed: nobody. */
struct band_turns {
	int owed[BAND_COUNT]; /* hundredths of a turn */
};

/* How many of each wait. */
struct band_counts {
	size_t of[BAND_COUNT];
};

/* Of a call's urgency (RFC 9218). */
enum priority_band band_of(uint8_t urgency);
/* Whether anybody may be owed a turn, whoever waits. */
static inline bool bands_anybody_owed(const struct band_turns *turns)
{
	int most = 0;
	for (int band = 0; band < BAND_COUNT; band++)
		most = turns->owed[band] > most ? turns->owed[band] : most;
	return most >= BAND_TURN;
}
/* Which band is next by its guarantee; BAND_COUNT: none is owed a turn, the most urgent goes first. */
enum priority_band bands_owed(const struct band_turns *turns, const struct band_counts *waiting);
/* The most urgent that waits; BAND_COUNT: nobody does. */
enum priority_band bands_most_urgent(const struct band_counts *waiting);
/* One of this band leaves; waiting: as it was before that. */
void bands_take(struct band_turns *turns, const struct band_shares *shares, const struct band_counts *waiting,
		enum priority_band band);
/* How many leave before one more of this band, of those that wait, at most: no more than its share lets through. */
size_t bands_ahead(const struct band_shares *shares, const struct band_counts *waiting, enum priority_band band);
/* From which band a call has to make room for one more of `band` in a line that is full: from the least urgent that has
 * more than its share of the `most`. BAND_COUNT: from none, the newcomer has to go. */
enum priority_band bands_victim(const struct band_shares *shares, const struct band_counts *waiting,
				enum priority_band band, size_t most);

#endif
