/*
 * hit_ratio.c: how often the memory tier has what is asked for, beside LRU, FIFO and the best that anyone could do who
 * knows the future (Belady). Traces are made up and the same in every run; all entries have one size.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cache/memory.h"
#include "tests/support/cache_keys.h"

enum { REQUESTS = 1000000, KEYS = 100000, NONE = UINT32_MAX };

struct trace {
	uint32_t *ids; /* REQUESTS of them */
	uint32_t id_count;
};

static void *must(void *pointer)
{
	if (!pointer)
		abort();
	return pointer;
}

/* --- traces --- */

static uint64_t dice;

static double roll(void)
{
	return (double)(mix64(dice++) >> 11) / (double)(UINT64_C(1) << 53);
}

static double weights[KEYS]; /* cumulative */

static uint32_t roll_zipf(void)
{
	double at = roll() * weights[KEYS - 1];
	uint32_t low = 0, high = KEYS - 1;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (weights[middle] < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static const struct shape {
	const char *name;
	double exponent; /* of the Zipf part */
	double once;     /* share of requests for keys that never come again */
	bool pairs;      /* those are asked for twice, one right after the other */
	unsigned scan;   /* after so many requests, as many for keys that never come again */
	unsigned loop;   /* every second request goes round and round over so many keys */
} shapes[] = {
	{ .name = "Zipf 0.8", .exponent = 0.8 },
	{ .name = "Zipf 1.0", .exponent = 1.0 },
	{ .name = "Zipf 1.0, 30 % once", .exponent = 1.0, .once = 0.3 },
	{ .name = "Zipf 1.0, 30 % twice", .exponent = 1.0, .once = 0.3, .pairs = true },
	{ .name = "Zipf 1.0, scans", .exponent = 1.0, .scan = 25000 },
	{ .name = "Zipf 1.0, a loop", .exponent = 1.0, .loop = 15000 },
};

static uint32_t roll_id(struct trace *trace, const struct shape *shape, size_t i)
{
	if (shape->pairs && i % 2 && trace->ids[i - 1] >= KEYS)
		return trace->ids[i - 1];
	if (shape->loop && i % 2)
		return (uint32_t)(KEYS + i / 2 % shape->loop);
	bool once = shape->scan && i / shape->scan % 2;
	once |= !(shape->pairs && i % 2) && roll() < shape->once;
	return once ? trace->id_count++ : roll_zipf();
}

static void make_trace(struct trace *trace, const struct shape *shape)
{
	double sum = 0;
	for (uint32_t i = 0; i < KEYS; i++)
		weights[i] = sum += pow(i + 1, -shape->exponent);
	trace->id_count = KEYS + shape->loop;
	for (size_t i = 0; i < REQUESTS; i++)
		trace->ids[i] = roll_id(trace, shape, i);
}

/* --- policies: hits among all requests, with room for `room` entries --- */

/* A ring of ids through `end`, newest after it; older[id] NONE: not held. A hit makes new, if `renew`. */
static size_t run_ring(const struct trace *trace, uint32_t room, bool renew)
{
	uint32_t end = trace->id_count, held = 0;
	uint32_t *older = must(malloc((end + 1) * sizeof *older));
	uint32_t *newer = must(malloc((end + 1) * sizeof *newer));
	size_t hits = 0;
	memset(older, 0xFF, end * sizeof *older);
	older[end] = newer[end] = end;
	for (size_t i = 0; i < REQUESTS; i++) {
		uint32_t id = trace->ids[i], out = NONE;
		if (older[id] != NONE) {
			hits++;
			if (!renew)
				continue;
			out = id;
		} else if (held < room) {
			held++;
		} else {
			out = newer[end];
		}
		if (out != NONE) {
			newer[older[out]] = newer[out];
			older[newer[out]] = older[out];
			older[out] = NONE;
		}
		older[id] = older[end];
		newer[id] = end;
		newer[older[end]] = id;
		older[end] = id;
	}
	free(older);
	free(newer);
	return hits;
}

static size_t run_lru(const struct trace *trace, uint32_t room)
{
	return run_ring(trace, room, true);
}

static size_t run_fifo(const struct trace *trace, uint32_t room)
{
	return run_ring(trace, room, false);
}

/* What is held, the one needed last on top. Outdated places are skipped when they surface. */
static uint64_t heap[REQUESTS + 1]; /* next use << 32 | id */
static size_t heap_count;

static void heap_push(uint64_t value)
{
	size_t i = heap_count++;
	for (; i && heap[(i - 1) / 2] < value; i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = value;
}

static uint64_t heap_pop(void)
{
	uint64_t top = heap[0], value = heap[--heap_count];
	size_t i = 0;
	for (size_t child; (child = 2 * i + 1) < heap_count; i = child) {
		if (child + 1 < heap_count && heap[child + 1] > heap[child])
			child++;
		if (heap[child] <= value)
			break;
		heap[i] = heap[child];
	}
	heap[i] = value;
	return top;
}

static size_t run_best(const struct trace *trace, uint32_t room)
{
	static uint32_t next[REQUESTS];
	uint32_t *last = must(malloc(trace->id_count * sizeof *last));
	uint32_t *held_until = must(calloc(trace->id_count, sizeof *held_until)); /* its next use; 0: not held */
	size_t hits = 0, held = 0;
	heap_count = 0;
	memset(last, 0xFF, trace->id_count * sizeof *last);
	for (size_t i = REQUESTS; i-- > 0; last[trace->ids[i]] = (uint32_t)i)
		next[i] = last[trace->ids[i]];
	for (size_t i = 0; i < REQUESTS; i++) {
		uint32_t id = trace->ids[i];
		bool hit = held_until[id];
		hits += hit;
		held += !hit;
		held_until[id] = next[i];
		heap_push((uint64_t)next[i] << 32 | id);
		while (held > room) {
			uint64_t top = heap_pop();
			if (held_until[(uint32_t)top] != top >> 32)
				continue;
			held_until[(uint32_t)top] = 0;
			held--;
		}
	}
	free(last);
	free(held_until);
	return hits;
}

/* A memory with room for so many entries of this size: what an empty one holds are its tables. */
static struct memory *memory_for(uint32_t room, size_t entry_size_bytes)
{
	size_t bytes = room * entry_size_bytes;
	for (int i = 0; i < 4; i++) {
		struct memory *memory = must(memory_new(bytes, 1));
		bytes = room * entry_size_bytes + memory_stats(memory).bytes;
		memory_free(memory);
	}
	return must(memory_new(bytes, 1));
}

static size_t run_jitney(const struct trace *trace, uint32_t room)
{
	struct answer *answer = must(answer_result(SLICE("{\"temperature\":21}"), true, NULL));
	struct key *key = key_of_id(0);
	struct entry *entry = must(entry_new(key, answer));
	struct memory *memory = memory_for(room, entry_bytes(entry));
	entry_unref(entry);
	key_unref(key);
	size_t hits = 0;
	for (size_t i = 0; i < REQUESTS; i++) {
		key = key_of_id(trace->ids[i]);
		entry = memory_get(memory, key, 0);
		if (entry) {
			hits++;
		} else {
			entry = must(entry_new(key, answer));
			entry->fresh_until_us = UINT64_MAX;
			memory_put(memory, entry);
		}
		entry_unref(entry);
		key_unref(key);
	}
	memory_free(memory);
	answer_unref(answer);
	return hits;
}

int main(void)
{
	static const uint32_t rooms[] = { 1000, 10000 };
	static size_t (*const runs[])(const struct trace *, uint32_t) = { run_jitney, run_lru, run_fifo, run_best };
	struct trace trace = { .ids = must(malloc(REQUESTS * sizeof(uint32_t))) };
	printf("hits in percent of %d requests, %d keys\n\n", REQUESTS, KEYS);
	printf("%-20s %6s %8s %8s %8s %8s\n", "trace", "room", "jitney", "LRU", "FIFO", "Belady");
	for (size_t i = 0; i < countof(shapes); i++) {
		make_trace(&trace, &shapes[i]);
		for (size_t j = 0; j < countof(rooms); j++) {
			printf("%-20s %6u", shapes[i].name, rooms[j]);
			for (size_t k = 0; k < countof(runs); k++)
				printf(" %8.1f", 100.0 * (double)runs[k](&trace, rooms[j]) / REQUESTS);
			putchar('\n');
		}
	}
	free(trace.ids);
	return 0;
}
