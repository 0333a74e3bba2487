/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common_limits.c: what the limits that several owners of an upstream share cost a call: all that a call asks of them, by 1,
 * 2, ... threads that do nothing else, which is the worst that can be. CPU a call of each thread, and calls a second of all.
 *
 *     build/bench/common_limits [THREADS]
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/loop.h"
#include "batcher/common_limits.h"

enum { CALLS = 1000000, HOLDS = 6, THREADS_MOST = 64, ITEMS_MOST = 10000, BYTES_MOST = 1 << 20, CALL_BYTES = 100 };

static struct common_limits *limits;
static pthread_barrier_t ready;
static atomic_uint_fast64_t cpu_ns;

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void must(bool true_here)
{
	if (!true_here)
		abort();
}

/* What the batcher asks for a call that travels alone: a place in the queue and away from it, a slot, that it has left, how
 * long it took, and the slot back. A constant time, so that nothing seems to queue and nobody waits for a slot. */
static void pass_call(struct common_member *member, struct common_tool *tool, uint64_t at_us)
{
	struct costs costs;
	must(common_enter_queue(member, CALL_BYTES, ITEMS_MOST, BYTES_MOST));
	must(common_take_slot(member, at_us));
	common_leave_queue(member, CALL_BYTES);
	double under_way = (double)common_sent(member, at_us);
	struct limiter_sample sample = { .items = 1, .took_us = 1000, .under_way = under_way, .sent_us = at_us };
	must(!common_completed(member, tool, &sample, &costs, at_us + 1000));
	common_give_slot(member, false, at_us + 1000);
}

static void *pass_calls(void *context)
{
	struct common_member member = { 0 };
	struct costs costs;
	(void)context;
	struct loop *loop = loop_new();
	must(loop);
	common_join(&member, limits, loop, false);
	common_set_slots(&member, 0, LIMITER_START_SINGLE);
	struct common_tool *tool = common_find_tool(&member, 0, &costs);
	must(tool);
	pthread_barrier_wait(&ready);
	uint64_t began_ns = now_ns(CLOCK_THREAD_CPUTIME_ID);
	for (uint64_t i = 0; i < CALLS; i++)
		pass_call(&member, tool, CLOCK_US_PER_S + i);
	atomic_fetch_add(&cpu_ns, now_ns(CLOCK_THREAD_CPUTIME_ID) - began_ns);
	pthread_barrier_wait(&ready); /* loops outlive all members */
	common_leave(&member);
	loop_free(loop);
	return NULL;
}

static void measure(unsigned count)
{
	pthread_t threads[THREADS_MOST];
	limits = common_limits_new();
	must(limits && pthread_barrier_init(&ready, NULL, count) == 0);
	atomic_store(&cpu_ns, 0);
	uint64_t began_ns = now_ns(CLOCK_MONOTONIC);
	for (unsigned i = 0; i < count; i++)
		must(pthread_create(&threads[i], NULL, pass_calls, NULL) == 0);
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	double calls = (double)count * CALLS, took_s = (double)(now_ns(CLOCK_MONOTONIC) - began_ns) / 1e9;
	pthread_barrier_destroy(&ready);
	common_limits_unref(limits);
	printf("%u thread%s: %.0f ns of CPU a call, %.0f each time the limits are held; %.2f M calls/s\n", count,
	       count == 1 ? "" : "s", (double)atomic_load(&cpu_ns) / calls,
	       (double)atomic_load(&cpu_ns) / calls / HOLDS, calls / took_s / 1e6);
}

int main(int argc, char **argv)
{
	unsigned most = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 2;
	if (argc > 2 || most < 1 || most > THREADS_MOST) {
		fprintf(stderr, "usage: common_limits [THREADS]\n");
		return 2;
	}
	for (unsigned count = 1; count <= most; count *= 2)
		measure(count);
	return 0;
}
