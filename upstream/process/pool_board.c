/* SPDX-License-Identifier: Apache-2.0 */
/* pool_board.c: each process of a pool as operators see it. */
#include "base/clock.h"
#include "upstream/process/member.h"

static const char *state_word(enum member_state state)
{
	static const char *const words[] = { [MEMBER_STARTING] = "starting",
					     [MEMBER_READY] = "ready",
					     [MEMBER_RETIRING] = "retiring",
					     [MEMBER_LEAVING] = "leaving" };
	return words[state];
}

void pool_show_members(const struct process_pool *pool)
{
	struct endpoint_process shown[ENDPOINT_PROCESSES];
	struct endpoint_board *board = pool->settings->boards ? pool->settings->boards[0] : NULL;
	const struct member *member;
	size_t count = 0;
	if (!board)
		return;
	TAILQ_FOREACH (member, &pool->members, next) {
		if (!member->process || process_pid(member->process) <= 0 || count == ENDPOINT_PROCESSES)
			continue; /* it is about to be there */
		shown[count++] = (struct endpoint_process){ .pid = process_pid(member->process),
							    .state = state_word(member->state),
							    .started_us = member->started_wall_us,
							    .calls = member->busy,
							    .served = member->served,
							    .cpu_us = member->cpu_us,
							    .resident_bytes = member->resident_bytes };
	}
	endpoint_board_show_processes(board, shown, count);
}
