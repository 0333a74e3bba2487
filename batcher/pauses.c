/* SPDX-License-Identifier: Apache-2.0 */
/* pauses.c: see the header. That there is none is found without the mutex: it is asked with each call. */
#include "batcher/pauses.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct tool_pause {
	unsigned tool;
	uint64_t until_us; /* 0: unused */
};

struct pauses {
	atomic_size_t holders;
	atomic_uint_fast64_t until_us;       /* written by the mutex */
	atomic_uint_fast64_t tools_until_us; /* likewise: the latest of all tools */
	pthread_mutex_t mutex;
	struct tool_pause tools[PAUSES_TOOLS]; /* by the mutex */
};

struct pauses *pauses_new(void)
{
	struct pauses *pauses = calloc(1, sizeof *pauses);
	if (!pauses)
		return NULL;
	atomic_init(&pauses->holders, 1);
	pthread_mutex_init(&pauses->mutex, NULL);
	return pauses;
}

struct pauses *pauses_ref(struct pauses *pauses)
{
	atomic_fetch_add_explicit(&pauses->holders, 1, memory_order_relaxed);
	return pauses;
}

void pauses_unref(struct pauses *pauses)
{
	if (!pauses || atomic_fetch_sub_explicit(&pauses->holders, 1, memory_order_acq_rel) > 1)
		return;
	pthread_mutex_destroy(&pauses->mutex);
	free(pauses);
}

static void raise_time(atomic_uint_fast64_t *time_us, uint64_t to_us)
{
	if (atomic_load_explicit(time_us, memory_order_relaxed) < to_us)
		atomic_store_explicit(time_us, to_us, memory_order_relaxed);
}

void pauses_prolong(struct pauses *pauses, uint64_t until_us)
{
	pthread_mutex_lock(&pauses->mutex);
	raise_time(&pauses->until_us, until_us);
	pthread_mutex_unlock(&pauses->mutex);
}

/* Its own place, or that of who ends first: most often one who has ended. */
static struct tool_pause *find_place(struct pauses *pauses, unsigned tool)
{
	struct tool_pause *first = pauses->tools;
	for (size_t i = 0; i < PAUSES_TOOLS; i++) {
		struct tool_pause *place = &pauses->tools[i];
		if (place->until_us && place->tool == tool)
			return place;
		first = place->until_us < first->until_us ? place : first;
	}
	return first;
}

void pauses_prolong_tool(struct pauses *pauses, unsigned tool, uint64_t until_us)
{
	pthread_mutex_lock(&pauses->mutex);
	struct tool_pause *place = find_place(pauses, tool);
	if (place->tool != tool || place->until_us < until_us)
		*place = (struct tool_pause){ tool, until_us };
	raise_time(&pauses->tools_until_us, until_us);
	pthread_mutex_unlock(&pauses->mutex);
}

uint64_t pauses_until_us(struct pauses *pauses)
{
	return atomic_load_explicit(&pauses->until_us, memory_order_relaxed);
}

uint64_t pauses_tool_until_us(struct pauses *pauses, unsigned tool, uint64_t now_us)
{
	if (atomic_load_explicit(&pauses->tools_until_us, memory_order_relaxed) <= now_us)
		return 0;
	pthread_mutex_lock(&pauses->mutex);
	const struct tool_pause *place = find_place(pauses, tool);
	uint64_t until_us = place->tool == tool ? place->until_us : 0;
	pthread_mutex_unlock(&pauses->mutex);
	return until_us;
}
