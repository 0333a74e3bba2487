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

/* Whole characters only, so that what is shown stays valid UTF-8. */
static void copy_cut(char *to, size_t room, struct slice text)
{
	size_t len = text.len < room ? text.len : room - 1;
	while (len < text.len && len && ((unsigned char)text.at[len] & 0xc0) == 0x80)
		len--;
	if (len)
		memcpy(to, text.at, len);
	to[len] = '\0';
}

static void fill_call(struct recent_call *to, const struct call *call, const struct request *request, unsigned status,
		      uint64_t bytes, uint64_t now_us)
{
	to->started_us = call->started_us;
	to->ended_us = call->answer ? call->ended_us : now_us;
	to->look_us = call->look_us;
	to->bytes = bytes;
	to->facts = call->facts;
	to->tool = call->tool->index;
	to->status = status;
	to->outcome = call->answer ? call->answer->outcome : OUTCOME_CANCELLED;
	to->source = call->source;
	memcpy(to->request_id, request->id, sizeof to->request_id);
	to->tenant[0] = to->detail[0] = '\0';
	if (request->from_trusted_proxy)
		copy_cut(to->tenant, sizeof to->tenant, request->headers[HEADER_TENANT]);
	if (call->answer && call->answer->detail[0])
		copy_cut(to->detail, sizeof to->detail, slice_of(call->answer->detail));
}

/* What one would look for an hour later. A tool's own error is the tool's answer, and may be every other call. */
static bool is_notable(const struct recent_call *call)
{
	return (call->outcome != OUTCOME_OK && outcome_is_failure(call->outcome)) ||
	       call->ended_us - call->started_us >= RECENT_SLOW_US;
}

void recent_calls_add(struct recent_calls *recent, const struct call *call, const struct request *request,
		      unsigned status, uint64_t bytes, uint64_t now_us)
{
	pthread_mutex_lock(&recent->mutex);
	struct recent_call *to = &recent->all[recent->added % RECENT_CALLS];
	fill_call(to, call, request, status, bytes, now_us);
	to->number = recent->added++;
	if (is_notable(to))
		recent->notable[recent->kept++ % NOTABLE_CALLS] = *to;
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
