/* SPDX-License-Identifier: Apache-2.0 */
/* load_pattern.c: see the header. */
#include "gateway/cli/load_pattern.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

static uint64_t draw_gap_us(struct load_player *player, double rate)
{
	return (uint64_t)(-log(random_part(&player->random)) / rate * 1e6);
}

static void push_turn(const struct load_player *player, struct load_ring *ring, uint64_t caller, uint64_t at_us)
{
	size_t room = player->pattern->callers;
	ring->turns[(ring->first + ring->count++) % room] = (struct load_turn){ at_us, caller };
}

static uint64_t first_turn_us(const struct load_ring *ring)
{
	return ring->count ? ring->turns[ring->first].at_us : CLOCK_NEVER;
}

static uint64_t pop_turn(const struct load_player *player, struct load_ring *ring)
{
	uint64_t caller = ring->turns[ring->first].caller;
	ring->first = (ring->first + 1) % player->pattern->callers;
	ring->count--;
	return caller;
}

static bool init_closed(struct load_player *player, uint64_t start_us)
{
	size_t callers = player->pattern->callers;
	player->soon.turns = calloc(callers, sizeof *player->soon.turns);
	player->later.turns = calloc(callers, sizeof *player->later.turns);
	if (!player->soon.turns || !player->later.turns)
		return false;
	for (size_t i = 0; i < callers; i++)
		push_turn(player, &player->soon, i + 1, start_us);
	return true;
}

/* When the call comes that follows `taken` others, the last of them now. */
static uint64_t following_us(struct load_player *player, uint64_t now_us)
{
	const struct load_pattern *pattern = player->pattern;
	switch (pattern->kind) {
	case LOAD_TIMES:
		if (player->taken == pattern->workload->count)
			return CLOCK_NEVER;
		return player->start_us + pattern->workload->at_us[player->taken] - pattern->workload->at_us[0];
	case LOAD_OPEN:
		return now_us + draw_gap_us(player, pattern->rate);
	case LOAD_BURSTS:
		return player->taken % pattern->burst ? now_us : now_us + (player->taken ? pattern->gap_us : 0);
	case LOAD_CLOSED:
	default:
		return CLOCK_NEVER;
	}
}

bool load_init(struct load_player *player, const struct load_pattern *pattern, uint64_t start_us)
{
	memset(player, 0, sizeof *player);
	player->pattern = pattern;
	player->start_us = start_us;
	player->random = random_seeded(pattern->seed);
	player->next_us = following_us(player, start_us);
	player->flood_us = pattern->flood_rate > 0 ? start_us + draw_gap_us(player, pattern->flood_rate) : CLOCK_NEVER;
	return pattern->kind != LOAD_CLOSED || init_closed(player, start_us);
}

void load_fini(struct load_player *player)
{
	free(player->soon.turns);
	free(player->later.turns);
}

static uint64_t closed_next_us(const struct load_player *player)
{
	uint64_t soon_us = first_turn_us(&player->soon), later_us = first_turn_us(&player->later);
	return soon_us < later_us ? soon_us : later_us;
}

uint64_t load_next_us(const struct load_player *player)
{
	uint64_t next_us = player->pattern->kind == LOAD_CLOSED ? closed_next_us(player) : player->next_us;
	bool over = player->pattern->kind == LOAD_TIMES && next_us == CLOCK_NEVER; /* the flood ends with the log */
	return player->flood_us < next_us && !over ? player->flood_us : next_us;
}

uint64_t load_take(struct load_player *player)
{
	uint64_t now_us = load_next_us(player);
	if (player->flood_us == now_us) {
		player->flood_us = now_us + draw_gap_us(player, player->pattern->flood_rate);
		return LOAD_FLOODER;
	}
	player->taken++;
	if (player->pattern->kind == LOAD_CLOSED) {
		bool soon = first_turn_us(&player->soon) == now_us;
		return pop_turn(player, soon ? &player->soon : &player->later);
	}
	player->next_us = following_us(player, now_us);
	return (player->taken - 1) % player->pattern->callers + 1;
}

void load_ended(struct load_player *player, uint64_t caller, bool answered, uint64_t now_us)
{
	if (player->pattern->kind != LOAD_CLOSED || caller == LOAD_FLOODER)
		return;
	if (answered)
		push_turn(player, &player->soon, caller, now_us + LOAD_THINK_US);
	else
		push_turn(player, &player->later, caller, now_us + LOAD_RETRY_US);
}
