/* SPDX-License-Identifier: Apache-2.0 */
/* policies.c: see the header. Written from the papers, plain rather than fast. */
#include "bench/policies.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cache_keys.h"

enum { NONE = UINT32_MAX, LISTS = 4, FREQUENCY_MAX = 3 };

static void *must(void *pointer)
{
	if (!pointer)
		abort();
	return pointer;
}

/* --- lists of ids: each id is in one of them, or held by none (0) --- */

static struct {
	uint32_t *newer, *older;
	uint8_t *list, *frequency;
	uint32_t newest[LISTS], oldest[LISTS], count[LISTS];
} held;

static void lists_init(uint32_t id_count)
{
	held.newer = must(calloc(id_count, sizeof *held.newer));
	held.older = must(calloc(id_count, sizeof *held.older));
	held.list = must(calloc(id_count, 1));
	held.frequency = must(calloc(id_count, 1));
	for (size_t i = 0; i < LISTS; i++) {
		held.newest[i] = held.oldest[i] = NONE;
		held.count[i] = 0;
	}
}

static void lists_fini(void)
{
	free(held.newer);
	free(held.older);
	free(held.list);
	free(held.frequency);
}

static void put(uint8_t list, uint32_t id)
{
	held.newer[id] = NONE;
	held.older[id] = held.newest[list];
	if (held.newest[list] == NONE)
		held.oldest[list] = id;
	else
		held.newer[held.newest[list]] = id;
	held.newest[list] = id;
	held.list[id] = list;
	held.count[list]++;
}

static void take(uint32_t id)
{
	uint8_t list = held.list[id];
	uint32_t newer = held.newer[id], older = held.older[id];
	if (newer == NONE)
		held.newest[list] = older;
	else
		held.older[newer] = older;
	if (older == NONE)
		held.oldest[list] = newer;
	else
		held.newer[older] = newer;
	held.list[id] = 0;
	held.count[list]--;
}

static void renew(uint8_t list, uint32_t id)
{
	take(id);
	put(list, id);
}

/* --- the sketch of TinyLFU: four rows of counters up to 15, halved after ten requests for each place --- */

enum { ROWS = 4, COUNTER_MAX = 15, AGE = 10 };

static struct {
	uint8_t *counters;
	uint32_t columns, added, limit;
} sketch;

static void sketch_init(uint32_t room)
{
	for (sketch.columns = 64; sketch.columns < 2 * room;)
		sketch.columns *= 2;
	sketch.counters = must(calloc(ROWS, sketch.columns));
	sketch.added = 0;
	sketch.limit = AGE * room;
}

static uint8_t *counter(uint32_t id, uint32_t row)
{
	return &sketch.counters[row * sketch.columns + (mix64(id * UINT64_C(4) + row) & (sketch.columns - 1))];
}

static uint8_t known(uint32_t id)
{
	uint8_t least = COUNTER_MAX;
	for (uint32_t row = 0; row < ROWS; row++)
		if (*counter(id, row) < least)
			least = *counter(id, row);
	return least;
}

static void note(uint32_t id)
{
	uint8_t least = known(id);
	for (uint32_t row = 0; row < ROWS && least < COUNTER_MAX; row++)
		if (*counter(id, row) == least)
			++*counter(id, row);
	if (++sketch.added < sketch.limit)
		return;
	sketch.added /= 2;
	for (uint32_t i = 0; i < ROWS * sketch.columns; i++)
		sketch.counters[i] /= 2;
}

/* --- policies --- */

size_t run_lru(const struct trace *trace, uint32_t room)
{
	size_t hits = 0;
	lists_init(trace->id_count);
	for (size_t i = 0; i < trace->requests; i++) {
		uint32_t id = trace->ids[i];
		if (held.list[id]) {
			hits++;
			take(id);
		} else if (held.count[1] == room) {
			take(held.oldest[1]);
		}
		put(1, id);
	}
	lists_fini();
	return hits;
}

size_t run_sieve(const struct trace *trace, uint32_t room)
{
	uint32_t hand = NONE;
	size_t hits = 0;
	lists_init(trace->id_count);
	for (size_t i = 0; i < trace->requests; i++) {
		uint32_t id = trace->ids[i];
		if (held.list[id]) {
			hits++;
			held.frequency[id] = 1;
			continue;
		}
		if (held.count[1] == room) {
			uint32_t out = hand == NONE ? held.oldest[1] : hand;
			while (held.frequency[out]) {
				held.frequency[out] = 0;
				out = held.newer[out] == NONE ? held.oldest[1] : held.newer[out];
			}
			hand = held.newer[out];
			take(out);
		}
		held.frequency[id] = 0;
		put(1, id);
	}
	lists_fini();
	return hits;
}

/* Lists of W-TinyLFU: a window, and a segmented LRU of four fifths protected. */
enum { WINDOW = 1, PROBATION, PROTECTED };

static void promote(uint32_t id, uint32_t room)
{
	take(id);
	put(PROTECTED, id);
	if (held.count[PROTECTED] <= room * 4 / 5)
		return;
	uint32_t down = held.oldest[PROTECTED];
	take(down);
	put(PROBATION, down);
}

/* What falls out of the window challenges the one that would have to go. */
static void admit(uint32_t main_room)
{
	uint32_t id = held.oldest[WINDOW], victim = held.oldest[PROBATION];
	take(id);
	if (held.count[PROBATION] + held.count[PROTECTED] == main_room) {
		if (victim == NONE)
			victim = held.oldest[PROTECTED];
		if (known(id) <= known(victim))
			return;
		take(victim);
	}
	put(PROBATION, id);
}

size_t run_tinylfu(const struct trace *trace, uint32_t room)
{
	uint32_t window = room / 100 ? room / 100 : 1;
	size_t hits = 0;
	lists_init(trace->id_count);
	sketch_init(room);
	for (size_t i = 0; i < trace->requests; i++) {
		uint32_t id = trace->ids[i];
		note(id);
		hits += held.list[id] != 0;
		if (held.list[id] == WINDOW)
			renew(WINDOW, id);
		else if (held.list[id])
			promote(id, room - window);
		else
			put(WINDOW, id);
		if (held.count[WINDOW] > window)
			admit(room - window);
	}
	free(sketch.counters);
	lists_fini();
	return hits;
}

enum { SMALL = 1, MAIN };

/* The oldest of main that has not been asked for since its last round; NONE: main is empty. */
static uint32_t oldest_unloved(void)
{
	uint32_t id;
	while ((id = held.oldest[MAIN]) != NONE && held.frequency[id]) {
		held.frequency[id]--;
		renew(MAIN, id);
	}
	return id;
}

static void make_room(uint32_t room)
{
	uint32_t out = oldest_unloved(), id = held.oldest[SMALL];
	if (held.count[SMALL] < room / 10) {
		take(out);
		return;
	}
	take(id);
	bool full = held.count[MAIN] >= room - room / 10;
	if (!full || known(id) > known(out)) {
		if (full)
			take(out);
		held.frequency[id] = 0;
		put(MAIN, id);
	}
}

size_t run_filtered(const struct trace *trace, uint32_t room)
{
	size_t hits = 0;
	lists_init(trace->id_count);
	sketch_init(room);
	for (size_t i = 0; i < trace->requests; i++) {
		uint32_t id = trace->ids[i];
		note(id);
		if (held.list[id]) {
			hits++;
			held.frequency[id] += held.frequency[id] < FREQUENCY_MAX;
			continue;
		}
		while (held.count[SMALL] + held.count[MAIN] >= room)
			make_room(room);
		held.frequency[id] = 0;
		put(SMALL, id);
	}
	free(sketch.counters);
	lists_fini();
	return hits;
}

/* --- Belady: what is held, the one needed last on top; outdated places are skipped when they surface --- */

static struct {
	uint64_t *places; /* next use << 32 | id */
	size_t count;
} heap;

static void heap_push(uint64_t value)
{
	size_t i = heap.count++;
	for (; i && heap.places[(i - 1) / 2] < value; i = (i - 1) / 2)
		heap.places[i] = heap.places[(i - 1) / 2];
	heap.places[i] = value;
}

static uint64_t heap_pop(void)
{
	uint64_t top = heap.places[0], value = heap.places[--heap.count];
	size_t i = 0;
	for (size_t child; (child = 2 * i + 1) < heap.count; i = child) {
		if (child + 1 < heap.count && heap.places[child + 1] > heap.places[child])
			child++;
		if (heap.places[child] <= value)
			break;
		heap.places[i] = heap.places[child];
	}
	heap.places[i] = value;
	return top;
}

/* For each request, when its id is asked for next; NONE: never. */
static uint32_t *next_uses(const struct trace *trace)
{
	uint32_t *next = must(calloc(trace->requests, sizeof *next));
	uint32_t *last = must(malloc(trace->id_count * sizeof *last));
	memset(last, 0xFF, trace->id_count * sizeof *last);
	for (size_t i = trace->requests; i-- > 0; last[trace->ids[i]] = (uint32_t)i)
		next[i] = last[trace->ids[i]];
	free(last);
	return next;
}

size_t run_best(const struct trace *trace, uint32_t room)
{
	uint32_t *next = next_uses(trace);
	uint32_t *held_until = must(calloc(trace->id_count, sizeof *held_until)); /* its next use; 0: not held */
	size_t hits = 0, count = 0;
	heap.places = must(calloc(trace->requests + 1, sizeof *heap.places));
	heap.count = 0;
	for (size_t i = 0; i < trace->requests; i++) {
		uint32_t id = trace->ids[i];
		bool hit = held_until[id];
		hits += hit;
		count += !hit;
		held_until[id] = next[i];
		heap_push((uint64_t)next[i] << 32 | id);
		while (count > room) {
			uint64_t top = heap_pop();
			if (held_until[(uint32_t)top] != top >> 32)
				continue;
			held_until[(uint32_t)top] = 0;
			count--;
		}
	}
	free(next);
	free(held_until);
	free(heap.places);
	return hits;
}
