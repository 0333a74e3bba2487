/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hit_ratio.c: how often the memory tier has what is asked for, beside other policies (policies.h) and the best that
 * anyone could do who knows the future. Traces are made up and the same in every run; all entries have one size.
 * Usage: hit_ratio [REQUESTS], a million each by default; the tables of docs/caching.md are of three.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/policies.h"
#include "cache/memory.h"
#include "tests/support/cache_keys.h"

enum { REQUESTS = 1000000, KEYS = 100000 };

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
	unsigned drift;  /* after so many requests every key is as popular as the next one was */
	double loop;     /* goes round and round over so many keys for each place there is */
	double looping;  /* share of requests that do */
} shapes[] = {
	{ .name = "Zipf 0.8", .exponent = 0.8 },
	{ .name = "Zipf 1.0", .exponent = 1.0 },
	{ .name = "Zipf 0.9, 30 % once", .exponent = 0.9, .once = 0.3 },
	{ .name = "Zipf 1.0, 60 % once", .exponent = 1.0, .once = 0.6 },
	{ .name = "Zipf 1.0, 30 % twice", .exponent = 1.0, .once = 0.3, .pairs = true },
	{ .name = "Zipf 1.0, scans", .exponent = 1.0, .scan = 25000 },
	{ .name = "Zipf 1.0, drifting", .exponent = 1.0, .drift = 30 },
	{ .name = "Zipf 1.0, loop of 1.2", .exponent = 1.0, .loop = 1.2, .looping = 0.5 },
	{ .name = "Zipf 1.0, loop of 2", .exponent = 1.0, .loop = 2, .looping = 0.5 },
	{ .name = "loop of 1.2", .exponent = 1.0, .loop = 1.2, .looping = 1 },
};

static uint32_t roll_id(struct trace *trace, const struct shape *shape, size_t i, uint32_t loop, uint32_t *at)
{
	if (shape->pairs && i % 2 && trace->ids[i - 1] >= KEYS)
		return trace->ids[i - 1];
	if (loop && roll() < shape->looping)
		return KEYS + (*at)++ % loop;
	bool once = shape->scan && i / shape->scan % 2;
	once |= !(shape->pairs && i % 2) && roll() < shape->once;
	if (once)
		return trace->id_count++;
	return (roll_zipf() + (shape->drift ? (uint32_t)(i / shape->drift) : 0)) % KEYS;
}

static void make_trace(struct trace *trace, const struct shape *shape, uint32_t room)
{
	double sum = 0;
	uint32_t loop = (uint32_t)(shape->loop * room), at = 0;
	dice = 0;
	for (uint32_t i = 0; i < KEYS; i++)
		weights[i] = sum += pow(i + 1, -shape->exponent);
	trace->id_count = KEYS + loop;
	for (size_t i = 0; i < trace->requests; i++)
		trace->ids[i] = roll_id(trace, shape, i, loop, &at);
}

/* --- the tier itself --- */

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
	for (size_t i = 0; i < trace->requests; i++) {
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

int main(int argc, char **argv)
{
	static const uint32_t rooms[] = { 1000, 10000 };
	static const struct {
		const char *name;
		size_t (*run)(const struct trace *trace, uint32_t room);
	} policies[] = { { "jitney", run_jitney },     { "LRU", run_lru },           { "SIEVE", run_sieve },
			 { "W-TinyLFU", run_tinylfu }, { "filtered", run_filtered }, { "Belady", run_best } };
	struct trace trace = { .requests = argc > 1 ? strtoul(argv[1], NULL, 10) : REQUESTS };
	trace.ids = must(calloc(trace.requests + 1, sizeof *trace.ids));
	printf("hits in percent of %zu requests, %d keys\n\n%-22s %6s", trace.requests, KEYS, "trace", "room");
	for (size_t i = 0; i < countof(policies); i++)
		printf(" %9s", policies[i].name);
	putchar('\n');
	for (size_t i = 0; i < countof(shapes) * countof(rooms); i++) {
		uint32_t room = rooms[i % countof(rooms)];
		make_trace(&trace, &shapes[i / countof(rooms)], room);
		printf("%-22s %6u", shapes[i / countof(rooms)].name, room);
		for (size_t j = 0; j < countof(policies); j++) {
			printf(" %9.1f", 100.0 * (double)policies[j].run(&trace, room) / (double)trace.requests);
			fflush(stdout);
		}
		putchar('\n');
	}
	free(trace.ids);
	return 0;
}
