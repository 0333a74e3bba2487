/* SPDX-License-Identifier: Apache-2.0 */
/* recent_calls.c: two rings under one bit. Should a reader that was put to sleep have it, one call is not remembered. */
#include "gateway/call/recent_calls.h"

#include <stdlib.h>
#include <string.h>

#include "base/spin_bit.h"

enum { COPIED_AT_ONCE = 16 };

struct recent_calls {
	struct spin_bit bit;
	bool remembering;     /* the worker's: it has the bit */
	uint64_t added, kept; /* since the start: the next place of each ring is that modulo its size */
	struct recent_call all[RECENT_CALLS], notable[NOTABLE_CALLS];
	struct recent_call nowhere; /* filled when the bit was not to be had */
};

struct recent_calls *recent_calls_new(void)
{
	struct recent_calls *recent = calloc(1, sizeof *recent);
	if (recent)
		spin_bit_init(&recent->bit);
	return recent;
}

void recent_calls_free(struct recent_calls *recent)
{
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
	recent->remembering = spin_bit_try(&recent->bit);
	return recent->remembering ? &recent->all[recent->added % RECENT_CALLS] : &recent->nowhere;
}

void recent_calls_end(struct recent_calls *recent)
{
	if (!recent->remembering)
		return;
	struct recent_call *call = &recent->all[recent->added % RECENT_CALLS];
	call->number = recent->added++;
	if (is_notable(call))
		recent->notable[recent->kept++ % NOTABLE_CALLS] = *call;
	spin_bit_leave(&recent->bit);
}

/* A few places of a ring at a time, so that the worker has its turn between. Behind `before`, what the other ring still has
 * is left out. */
static size_t copy_ring(struct recent_calls *recent, const struct recent_call *ring, size_t places, uint64_t before,
			struct recent_call *to)
{
	size_t count = 0;
	for (size_t i = 0; i < places; i += COPIED_AT_ONCE) {
		spin_bit_take(&recent->bit);
		for (size_t j = i; j < i + COPIED_AT_ONCE; j++)
			if (ring[j].ended_us && ring[j].number < before)
				to[count++] = ring[j];
		spin_bit_leave(&recent->bit);
	}
	return count;
}

size_t recent_calls_copy(struct recent_calls *recent, struct recent_call *to)
{
	_Static_assert(RECENT_CALLS % COPIED_AT_ONCE == 0 && NOTABLE_CALLS % COPIED_AT_ONCE == 0, "whole pieces");
	size_t count = copy_ring(recent, recent->all, RECENT_CALLS, UINT64_MAX, to);
	uint64_t oldest = UINT64_MAX; /* of the ring of all, as it was copied: what is as young has been copied there */
	for (size_t i = 0; i < count; i++)
		oldest = to[i].number < oldest ? to[i].number : oldest;
	return count + copy_ring(recent, recent->notable, NOTABLE_CALLS, oldest, to + count);
}
