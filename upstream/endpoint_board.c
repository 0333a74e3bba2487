/* SPDX-License-Identifier: Apache-2.0 */
/* endpoint_board.c: what other threads may see of an endpoint, and say of it (endpoint_settings.h). */
#include "upstream/endpoint_settings.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

struct endpoint_board *endpoint_board_new(bool draining)
{
	struct endpoint_board *board = calloc(1, sizeof *board);
	if (!board)
		return NULL;
	atomic_init(&board->holders, 1);
	atomic_init(&board->draining, draining);
	board->written = draining;
	pthread_mutex_init(&board->mutex, NULL);
	return board;
}

struct endpoint_board *endpoint_board_ref(struct endpoint_board *board)
{
	atomic_fetch_add_explicit(&board->holders, 1, memory_order_relaxed);
	return board;
}

void endpoint_board_unref(struct endpoint_board *board)
{
	if (!board || atomic_fetch_sub_explicit(&board->holders, 1, memory_order_acq_rel) > 1)
		return;
	pthread_mutex_destroy(&board->mutex);
	free(board->processes);
	free(board);
}

void endpoint_board_write(struct endpoint_board *board, const char *reason)
{
	pthread_mutex_lock(&board->mutex);
	board->changed_us = clock_wall_us();
	snprintf(board->reason, sizeof board->reason, "%s", reason);
	pthread_mutex_unlock(&board->mutex);
}

uint64_t endpoint_board_read(struct endpoint_board *board, char *reason)
{
	pthread_mutex_lock(&board->mutex);
	uint64_t changed_us = board->changed_us;
	memcpy(reason, board->reason, sizeof board->reason);
	pthread_mutex_unlock(&board->mutex);
	return changed_us;
}

void endpoint_board_show(struct endpoint_board *board, const struct endpoint_address *addresses, size_t count)
{
	assert(count <= ENDPOINT_ADDRESSES);
	pthread_mutex_lock(&board->mutex);
	board->address_count = count;
	memcpy(board->addresses, addresses, count * sizeof *addresses);
	pthread_mutex_unlock(&board->mutex);
}

size_t endpoint_board_addresses(struct endpoint_board *board, struct endpoint_address *addresses)
{
	pthread_mutex_lock(&board->mutex);
	size_t count = board->address_count;
	memcpy(addresses, board->addresses, count * sizeof *addresses);
	pthread_mutex_unlock(&board->mutex);
	return count;
}

void endpoint_board_show_processes(struct endpoint_board *board, const struct endpoint_process *processes, size_t count)
{
	count = count < ENDPOINT_PROCESSES ? count : ENDPOINT_PROCESSES;
	pthread_mutex_lock(&board->mutex);
	if (count && !board->processes)
		board->processes = calloc(ENDPOINT_PROCESSES, sizeof *board->processes);
	board->process_count = board->processes ? count : 0;
	if (board->process_count)
		memcpy(board->processes, processes, count * sizeof *processes);
	pthread_mutex_unlock(&board->mutex);
}

size_t endpoint_board_processes(struct endpoint_board *board, struct endpoint_process *processes)
{
	pthread_mutex_lock(&board->mutex);
	size_t count = board->process_count;
	if (count)
		memcpy(processes, board->processes, count * sizeof *processes);
	pthread_mutex_unlock(&board->mutex);
	return count;
}
