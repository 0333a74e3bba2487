/* SPDX-License-Identifier: Apache-2.0 */
/* recent_calls.c: two rings under one lock. */
#include "gateway/call/recent_calls.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct recent_calls {
	pthread_mutex_t mutex;
	uint64_t added, kept; /* since the start: the next place of each ring is that modulo its size */
	struct recent_call all[RECENT_CALLS], notable[NOTABLE_CALLS];
};

struct recent_calls *recent_calls_new(void)
{
	struct recent_calls *recent = calloc(1, sizeof *recent);
	if (recent)
		pthread_mutex_init(&recent->mutex, NULL);
	return recent;
}

void recent_calls_free(struct recent_calls *recent)
{
	if (!recent)
		return;
	pthread_mutex_destroy(&recent->mutex);
	free(recent);
}

void recent_calls_put(char *to, size_t room, struct slice text)
{
	size_t len = text.len < room ? text.len : room - 1;
	while (len < text.len && len && ((unsigned char)text.at[len] & 0xc0) == 0x80)
		len--;
	if (len)
		memcpy(to, text.at, len);
	to[len] = '\0';
}

/* What one would look for an hour later. A tool's own error is the tool's answer, and may be every other call. */
static bool is_notable(const struct recent_call *call)
{
	return (call->outcome != OUTCOME_OK && outcome_is_failure(call->outcome)) ||
	       call->ended_us - call->started_us >= RECENT_SLOW_US;
}

struct recent_call *recent_calls_begin(struct recent_calls *recent)
{
	pthread_mutex_lock(&recent->mutex);
	return &recent->all[recent->added % RECENT_CALLS];
}

void recent_calls_end(struct recent_calls *recent)
{
	struct recent_call *call = &recent->all[recent->added % RECENT_CALLS];
	call->number = recent->added++;
	if (is_notable(call))
		recent->notable[recent->kept++ % NOTABLE_CALLS] = *call;
	pthread_mutex_unlock(&recent->mutex);
}

size_t recent_calls_copy(struct recent_calls *recent, struct recent_call *to)
{
	size_t count = 0;
	pthread_mutex_lock(&recent->mutex);
	for (size_t i = 0; i < RECENT_CALLS && recent->all[i].ended_us; i++)
		to[count++] = recent->all[i];
	for (size_t i = 0; i < NOTABLE_CALLS && recent->notable[i].ended_us; i++)
		if (recent->notable[i].number + RECENT_CALLS < recent->added) /* pushed out of the other one */
			to[count++] = recent->notable[i];
	pthread_mutex_unlock(&recent->mutex);
	return count;
}
