/* SPDX-License-Identifier: Apache-2.0 */
/* ready.c: whose turn it is to send. */
#include "batcher/ready.h"

#include <assert.h>
#include <stdlib.h>

#include "batcher/lane.h"

void ready_init(struct ready_line *line, uint64_t seed)
{
	TAILQ_INIT(&line->turns);
	table_init(&line->callers);
	line->seed = seed;
}

void ready_fini(struct ready_line *line)
{
	assert(TAILQ_EMPTY(&line->turns));
	table_fini(&line->callers);
}

static struct ready_turn *find_turn(const struct ready_line *line, uint64_t caller)
{
	struct table_node *node = table_first(&line->callers, table_hash_number(line->seed, caller));
	for (; node; node = table_again(node)) {
		struct ready_turn *turn = container_of(node, struct ready_turn, node);
		if (turn->caller == caller)
			return turn;
	}
	return NULL;
}

/* A turn that others may join must not live in one of its lanes. */
static struct ready_turn *begin_turn(struct ready_line *line, struct lane *lane, const uint64_t *caller,
				     uint64_t now_us)
{
	struct ready_turn *turn = caller ? malloc(sizeof *turn) : NULL;
	bool of_one = turn != NULL;
	if (!turn)
		turn = &lane->own_turn;
	*turn = (struct ready_turn){ .of_one = of_one, .since_us = now_us };
	TAILQ_INIT(&turn->lanes);
	if (!of_one && lane->owed > 0) { /* it goes on with the turn it had */
		turn->since_us = lane->owed_since_us;
		TAILQ_INSERT_HEAD(&line->turns, turn, next);
	} else {
		TAILQ_INSERT_TAIL(&line->turns, turn, next);
	}
	if (of_one) {
		turn->caller = *caller;
		table_insert(&line->callers, &turn->node, table_hash_number(line->seed, *caller));
	}
	return turn;
}

static void end_turn(struct ready_line *line, struct ready_turn *turn)
{
	TAILQ_REMOVE(&line->turns, turn, next);
	if (!turn->of_one)
		return;
	table_remove(&line->callers, &turn->node);
	free(turn);
}

void ready_add(struct ready_line *line, struct lane *lane, const uint64_t *caller, uint64_t now_us)
{
	assert(!lane->turn);
	struct ready_turn *turn = caller ? find_turn(line, *caller) : NULL;
	lane->turn = turn ? turn : begin_turn(line, lane, caller, now_us);
	TAILQ_INSERT_TAIL(&lane->turn->lanes, lane, next);
}

void ready_remove(struct ready_line *line, struct lane *lane)
{
	struct ready_turn *turn = lane->turn;
	TAILQ_REMOVE(&turn->lanes, lane, next);
	lane->turn = NULL;
	if (TAILQ_EMPTY(&turn->lanes))
		end_turn(line, turn);
}

void ready_weigh(struct lane *lane, size_t weight)
{
	if (lane->owed == 0)
		lane->owed = weight;
}

void ready_serve(struct ready_line *line, struct lane *lane, uint64_t now_us)
{
	struct ready_turn *turn = lane->turn;
	lane->owed_since_us = turn->since_us;
	lane->owed -= lane->owed > 0;
	turn->since_us = now_us;
	TAILQ_REMOVE(&line->turns, turn, next);
	TAILQ_INSERT_TAIL(&line->turns, turn, next);
	ready_remove(line, lane);
}

bool ready_is_of(const struct lane *lane, uint64_t caller)
{
	return lane->turn->of_one && lane->turn->caller == caller;
}

struct lane *ready_first(const struct ready_line *line)
{
	const struct ready_turn *turn = TAILQ_FIRST(&line->turns);
	return turn ? TAILQ_FIRST(&turn->lanes) : NULL;
}

uint64_t ready_since_us(const struct ready_line *line)
{
	return TAILQ_FIRST(&line->turns)->since_us;
}
