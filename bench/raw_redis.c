/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw_redis.c: what a Redis hit costs beside the raw limit: the same GETs of the same values, pipelined to the same
 * depth over the same socket, by hiredis' blocking loop and by the gateway's tier (which also checks and unpacks the
 * value). They take turns; the median of the CPU time per GET counts, the server's not included. Prints JSON.
 * usage: raw_redis SOCKET [DEPTH [BYTES [GETS]]]
 */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cache/redis/redis_keys.h"
#include "cache/redis/redis_tier.h"
#include "tests/support/cache_keys.h"

enum { KEYS = 1000, ROUNDS = 7 };

static struct key *keys[KEYS];
static char names[KEYS][96];
static size_t name_lengths[KEYS];
static unsigned depth, value_bytes, gets;

static void die(const char *why)
{
	fprintf(stderr, "raw_redis: %s\n", why);
	exit(1);
}

static unsigned number(const char *text)
{
	unsigned long value = strtoul(text, NULL, 10);
	if (!value || value > 100000000)
		die("arguments are numbers from 1 to 100000000");
	return (unsigned)value;
}

/* CPU time used by this thread. */
static uint64_t cpu_us(void)
{
	struct timespec used;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * CLOCK_US_PER_S + (uint64_t)used.tv_nsec / 1000;
}

/* --- hiredis --- */

static double measure_raw(redisContext *context)
{
	uint64_t began = cpu_us();
	for (unsigned done = 0; done < gets; done += depth) {
		for (unsigned i = 0; i < depth; i++) {
			const char *argv[] = { "GET", names[(done + i) % KEYS] };
			const size_t lengths[] = { 3, name_lengths[(done + i) % KEYS] };
			redisAppendCommandArgv(context, 2, argv, lengths);
		}
		for (unsigned i = 0; i < depth; i++) {
			void *reply = NULL;
			if (redisGetReply(context, &reply) != REDIS_OK ||
			    ((redisReply *)reply)->type != REDIS_REPLY_STRING)
				die("a GET failed");
			freeReplyObject(reply);
		}
	}
	return (double)(cpu_us() - began) / gets;
}

/* --- the tier --- */

struct seat {
	struct tier_lookup lookup;
};

static struct loop *loop;
static struct tier *tier;
static unsigned waiting, found;

static void note(struct tier_lookup *lookup, struct entry *entry)
{
	(void)lookup;
	waiting--;
	found += entry != NULL;
	entry_unref(entry);
}

static void turn(void)
{
	loop_wait(loop, tier_deadline(tier));
	tier_tick(tier, loop_now(loop));
}

static double measure_tier(void)
{
	struct seat *seats = calloc(depth, sizeof *seats);
	uint64_t began = cpu_us();
	found = 0;
	for (unsigned done = 0; done < gets; done += depth) {
		for (unsigned i = 0; i < depth; i++) {
			seats[i].lookup = (struct tier_lookup){ .done = note };
			if (!tier_get(tier, &seats[i].lookup, keys[(done + i) % KEYS], loop_now(loop)))
				die("the tier does not look");
			waiting++;
		}
		while (waiting)
			turn();
	}
	double cost = (double)(cpu_us() - began) / gets;
	free(seats);
	if (found < gets)
		die("a value was not found");
	return cost;
}

static void put(unsigned i, const char *prefix)
{
	char *text = malloc(value_bytes + 1);
	if (!text)
		die("no memory");
	for (unsigned at = 0; at < value_bytes; at++)
		text[at] = (char)('a' + mix64(i * value_bytes + at) % 26);
	keys[i] = key_of_id(i + 1);
	struct answer *answer = answer_result((struct slice){ text, value_bytes }, false, "text/plain");
	struct entry *entry = entry_new(keys[i], answer);
	if (!entry)
		die("no memory");
	entry->made_us = entry->stored_us = loop_now(loop);
	entry->fresh_until_us = entry->revalidate_until_us = entry->error_until_us =
		loop_now(loop) + 3600 * CLOCK_US_PER_S;
	if (!tier_put(tier, entry, false, loop_now(loop)))
		die("the tier does not store");
	entry_unref(entry);
	answer_unref(answer);
	free(text);
	name_lengths[i] = (size_t)snprintf(names[i], sizeof names[i], "%s:" REDIS_KEY_SCHEME ":", prefix);
	for (size_t at = 0; at < KEY_DIGEST_BYTES; at++, name_lengths[i] += 2)
		snprintf(names[i] + name_lengths[i], 3, "%02x", keys[i]->digest[at]);
	turn();
}

static int by_size(const void *a, const void *b)
{
	return *(const double *)a < *(const double *)b ? -1 : 1;
}

int main(int argc, char **argv)
{
	static const struct metrics_names no_names;
	struct redis_settings settings = { .prefix = "bench",
					   .timeout_us = 10 * CLOCK_US_PER_S,
					   .connect_timeout_us = 10 * CLOCK_US_PER_S,
					   .max_commands = 4096,
					   .max_value_bytes = 1 << 20 };
	if (argc < 2)
		die("usage: raw_redis SOCKET [DEPTH [BYTES [GETS]]]");
	snprintf(settings.path, sizeof settings.path, "%s", argv[1]);
	depth = number(argc > 2 ? argv[2] : "16");
	value_bytes = number(argc > 3 ? argv[3] : "500");
	gets = number(argc > 4 ? argv[4] : "100000");
	gets -= gets % depth;
	struct metrics *metrics = metrics_new(&no_names);
	struct cache *cache = cache_new(0, NULL);
	struct meter *meter = metrics ? metrics_meter(metrics) : NULL;
	redisContext *context = redisConnectUnix(argv[1]);
	loop = loop_new();
	if (!meter || !cache || !loop || !context || context->err)
		die("no Redis there");
	tier = redis_tier_new(&settings, cache, loop, meter, "bench");
	while (tier && !metrics_read(metrics, METRIC_ID_REDIS_CONNECTED, 0, 0))
		turn();
	for (unsigned i = 0; i < KEYS; i++)
		put(i, settings.prefix);
	while (metrics_read(metrics, METRIC_ID_REDIS_DURATION, REDIS_COMMAND_SET, 0) < KEYS)
		turn();
	double raw[ROUNDS], ours[ROUNDS];
	for (unsigned round = 0; round < ROUNDS; round++) {
		raw[round] = measure_raw(context);
		ours[round] = measure_tier();
	}
	qsort(raw, ROUNDS, sizeof *raw, by_size);
	qsort(ours, ROUNDS, sizeof *ours, by_size);
	printf("{\"depth\":%u,\"bytes\":%u,\"raw_us\":%.3f,\"tier_us\":%.3f,\"ratio\":%.2f}\n", depth, value_bytes,
	       raw[ROUNDS / 2], ours[ROUNDS / 2], ours[ROUNDS / 2] / raw[ROUNDS / 2]);
	tier_free(tier);
	redisFree(context);
	loop_free(loop);
	cache_free(cache);
	metrics_free(metrics);
	for (unsigned i = 0; i < KEYS; i++)
		key_unref(keys[i]);
	return 0;
}
