/* SPDX-License-Identifier: Apache-2.0 */
/* bands.c: the arithmetic of bands.h. */
#include "batcher/bands.h"

#include <assert.h>

enum { OWED_MOST = 2 * BAND_TURN, URGENT_LAST = 1, USUAL_LAST = 4 };

enum priority_band band_of(uint8_t urgency)
{
	assert(urgency < URGENCY_COUNT);
	return urgency <= URGENT_LAST ? BAND_URGENT : urgency <= USUAL_LAST ? BAND_USUAL : BAND_BACKGROUND;
}

enum priority_band bands_owed(const struct band_turns *turns, const struct band_counts *waiting)
{
	enum priority_band owed = BAND_COUNT;
	int most = BAND_TURN - 1;
	for (int band = 0; band < BAND_COUNT; band++) {
		if (waiting->of[band] == 0 || turns->owed[band] <= most)
			continue;
		most = turns->owed[band];
		owed = (enum priority_band)band;
	}
	return owed;
}

enum priority_band bands_most_urgent(const struct band_counts *waiting)
{
	for (int band = 0; band < BAND_COUNT; band++)
		if (waiting->of[band] > 0)
			return (enum priority_band)band;
	return BAND_COUNT;
}

/* What a band does not wait for is not saved up for it. */
void bands_take(struct band_turns *turns, const struct band_shares *shares, const struct band_counts *waiting,
		enum priority_band band)
{
	for (int i = 0; i < BAND_COUNT; i++) {
		int owed = turns->owed[i] + (int)shares->percent[i] - (i == (int)band ? BAND_TURN : 0);
		turns->owed[i] = waiting->of[i] == 0 || owed < 0 ? 0 : owed < OWED_MOST ? owed : OWED_MOST;
	}
}

size_t bands_ahead(const struct band_shares *shares, const struct band_counts *waiting, enum priority_band band)
{
	size_t as_urgent = 0, percent = 100;
	for (int i = 0; i < BAND_COUNT; i++) {
		if (i <= (int)band)
			as_urgent += waiting->of[i];
		else if (waiting->of[i] > 0)
			percent -= shares->percent[i];
	}
	size_t by_urgency = percent ? as_urgent * 100 / percent : SIZE_MAX;
	size_t by_share = shares->percent[band] ? waiting->of[band] * 100 / shares->percent[band] : SIZE_MAX;
	return by_urgency < by_share ? by_urgency : by_share;
}

enum priority_band bands_victim(const struct band_shares *shares, const struct band_counts *waiting,
				enum priority_band band, size_t most)
{
	bool within_share = waiting->of[band] * 100 < shares->percent[band] * most;
	int last = within_share ? -1 : (int)band; /* its own share is kept for it, even by those more urgent */
	for (int i = BAND_COUNT - 1; i > last; i--)
		if (i != (int)band && waiting->of[i] * 100 > shares->percent[i] * most)
			return (enum priority_band)i;
	return BAND_COUNT;
}
