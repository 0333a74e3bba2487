/* SPDX-License-Identifier: Apache-2.0 */
/* Bands of urgency: whatever waits, each band has its share, and what is left is the most urgent one's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "batcher/bands.h"
#include "tests/support/batcher_world.h"

static const struct band_shares usual = { { [BAND_URGENT] = 50, [BAND_USUAL] = 20, [BAND_BACKGROUND] = 5 } };

static void urgencies_are_three_bands(void **state)
{
	(void)state;
	static const enum priority_band bands[URGENCY_COUNT] = { BAND_URGENT,     BAND_URGENT,    BAND_USUAL,
								 BAND_USUAL,      BAND_USUAL,     BAND_BACKGROUND,
								 BAND_BACKGROUND, BAND_BACKGROUND };
	for (uint8_t urgency = 0; urgency < URGENCY_COUNT; urgency++)
		assert_int_equal(band_of(urgency), bands[urgency]);
	assert_int_equal(band_of(URGENCY_USUAL), BAND_USUAL);
}

static enum priority_band take_next(struct band_turns *turns, const struct band_shares *shares,
				    const struct band_counts *waiting)
{
	enum priority_band band = bands_owed(turns, waiting);
	if (band == BAND_COUNT)
		band = bands_most_urgent(waiting);
	if (band != BAND_COUNT)
		bands_take(turns, shares, waiting, band);
	return band;
}

/* Over random shares and random spans in which some bands wait and some do not: in each span a band that waits for all of
 * it has its share, but for two turns. */
static void each_that_waits_has_its_share(void **state)
{
	(void)state;
	unsigned seed = 1;
	struct band_turns turns = { { 0 } };
	for (unsigned span = 0; span < 3000; span++) {
		struct band_counts waiting = { { 0 } }, taken = { { 0 } };
		struct band_shares shares = usual;
		if (span % 3 == 0) {
			shares.percent[0] = (unsigned)rand_r(&seed) % 60;
			shares.percent[1] = (unsigned)rand_r(&seed) % 30;
			shares.percent[2] = (unsigned)rand_r(&seed) % 10;
		}
		for (int band = 0; band < BAND_COUNT; band++)
			waiting.of[band] = (unsigned)rand_r(&seed) % 2 * 1000;
		size_t length = (unsigned)rand_r(&seed) % 400;
		for (size_t i = 0; i < length; i++) {
			enum priority_band band = take_next(&turns, &shares, &waiting);
			if (band != BAND_COUNT)
				taken.of[band]++;
		}
		size_t guaranteed = 0;
		for (int band = 0; band < BAND_COUNT; band++) {
			guaranteed += waiting.of[band] ? taken.of[band] : 0;
			if (waiting.of[band])
				assert_true((taken.of[band] + 2) * 100 >= length * shares.percent[band]);
			else
				assert_int_equal(taken.of[band], 0);
		}
		enum priority_band first = bands_most_urgent(&waiting);
		assert_int_equal(guaranteed, first == BAND_COUNT ? 0 : length);
		/* nobody but the most urgent has more than its share */
		for (int band = (int)first + 1; band < BAND_COUNT; band++)
			assert_true(taken.of[band] * 100 <= length * shares.percent[band] + 300);
	}
}

static void a_full_line_makes_room_from_the_least_urgent(void **state)
{
	(void)state;
	struct band_counts flood = { { 0, 10, 90 } };
	assert_int_equal(bands_victim(&usual, &flood, BAND_URGENT, 100), BAND_BACKGROUND);
	assert_int_equal(bands_victim(&usual, &flood, BAND_USUAL, 100), BAND_BACKGROUND);
	assert_int_equal(bands_victim(&usual, &flood, BAND_BACKGROUND, 100), BAND_COUNT);
	struct band_counts urgent = { { 98, 0, 2 } };
	assert_int_equal(bands_victim(&usual, &urgent, BAND_URGENT, 100), BAND_COUNT); /* 2 % are within their share */
	assert_int_equal(bands_victim(&usual, &urgent, BAND_BACKGROUND, 100), BAND_URGENT);
	assert_int_equal(bands_victim(&usual, &urgent, BAND_USUAL, 100), BAND_URGENT);
}

static void what_is_ahead_is_what_is_as_urgent_or_what_the_share_lets_through(void **state)
{
	(void)state;
	struct band_counts waiting = { { 0, 0, 950 } };
	assert_int_equal(bands_ahead(&usual, &waiting, BAND_URGENT), 0);
	assert_int_equal(bands_ahead(&usual, &waiting, BAND_BACKGROUND), 950);
	waiting = (struct band_counts){ { 950, 0, 10 } };
	assert_int_equal(bands_ahead(&usual, &waiting, BAND_URGENT), 1000); /* 5 % of what leaves is not theirs */
	assert_int_equal(bands_ahead(&usual, &waiting, BAND_BACKGROUND), 200);
}

/* --- over lanes: calls of different credentials share nothing --- */

enum { LANES = 40 };
static struct world world;
static struct probe background[LANES], urgent[LANES];

static void add(struct probe *probe, unsigned tag, uint8_t urgency)
{
	call_init(&world, probe, tag);
	probe->key[0] = (char)('A' + tag % LANES);
	probe->item.urgency = urgency;
	assert_int_equal(call_add(probe), OUTCOME_OK);
}

static void lanes_of_urgent_calls_go_before_all_but_the_share_of_the_others(void **state)
{
	(void)state;
	struct batch_policy policy = world_policy();
	policy.concurrency = 1;
	policy.shares = usual;
	world_start(&world, &policy, 1);
	for (unsigned i = 0; i < LANES; i++)
		add(&background[i], i, 7);
	world_tick(&world);
	for (unsigned i = 0; i < LANES; i++)
		add(&urgent[i], LANES + i, 0);
	size_t sent = 0, answered = 0;
	while (fake_nth(0)) {
		fake_finish(fake_nth(0));
		world_tick(&world);
		sent++;
		if (sent != LANES)
			continue;
		for (unsigned i = 0; i < LANES; i++)
			answered += background[i].answered;
		assert_in_range(answered, 2, 4); /* the one that was under way, and 5 % */
	}
	assert_int_equal(sent, 2 * LANES);
	world_stop(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(urgencies_are_three_bands),
		cmocka_unit_test(each_that_waits_has_its_share),
		cmocka_unit_test(a_full_line_makes_room_from_the_least_urgent),
		cmocka_unit_test(what_is_ahead_is_what_is_as_urgent_or_what_the_share_lets_through),
		cmocka_unit_test(lanes_of_urgent_calls_go_before_all_but_the_share_of_the_others),
	};
	return cmocka_run_group_tests_name("bands", tests, NULL, NULL);
}
