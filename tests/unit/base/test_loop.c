/* SPDX-License-Identifier: Apache-2.0 */
/* The loop: timers in order, wake-ups coalesced, stale events dropped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/loop.h"

struct probe {
	struct loop_timer timer;
	uint64_t fired_at;
	int order;
};
static int fired;

static void note_fire(struct loop_timer *timer, uint64_t now_us)
{
	struct probe *probe = container_of(timer, struct probe, timer);
	probe->fired_at = now_us;
	probe->order = fired++;
}

static void timers_fire_in_order_of_due_time(void **state)
{
	(void)state;
	enum { COUNT = 500 };
	static struct probe probes[COUNT];
	struct loop *loop = loop_new();
	assert_non_null(loop);
	assert_true(loop_timers_reserve(loop, COUNT));
	clock_set(1000);
	unsigned seed = 7;
	for (int i = 0; i < COUNT; i++) {
		probes[i].timer = LOOP_TIMER_INIT(note_fire);
		loop_arm(loop, &probes[i].timer, 2000 + (uint64_t)(rand_r(&seed) % 1000));
	}
	/* move some, disarm every fifth */
	for (int i = 0; i < COUNT; i += 3)
		loop_arm(loop, &probes[i].timer, 2000 + (uint64_t)(rand_r(&seed) % 1000));
	for (int i = 0; i < COUNT; i += 5)
		loop_disarm(loop, &probes[i].timer);
	fired = 0;
	for (uint64_t now = 1990; now < 3010; now += 10) {
		clock_set(now);
		loop_wait(loop, now);
		loop_run_timers(loop);
	}
	assert_int_equal(fired, COUNT - COUNT / 5);
	for (int i = 0; i < COUNT; i++) {
		if (i % 5 == 0) {
			assert_int_equal(probes[i].fired_at, 0);
			continue;
		}
		assert_true(probes[i].fired_at >= probes[i].timer.due_us);
		assert_true(probes[i].fired_at < probes[i].timer.due_us + 10);
		for (int j = 0; j < i; j++)
			if (j % 5 && probes[j].timer.due_us < probes[i].timer.due_us)
				assert_true(probes[j].order < probes[i].order);
	}
	clock_set(0);
	loop_free(loop);
}

static struct loop *rearming_loop;
static int rearmed;
static void rearm_at_once(struct loop_timer *timer, uint64_t now_us)
{
	rearmed++;
	loop_arm(rearming_loop, timer, now_us);
}

static void a_timer_that_rearms_itself_does_not_hold_the_loop(void **state)
{
	(void)state;
	rearming_loop = loop_new();
	assert_true(loop_timers_reserve(rearming_loop, 1));
	struct loop_timer timer = LOOP_TIMER_INIT(rearm_at_once);
	loop_arm(rearming_loop, &timer, 1);
	loop_wait(rearming_loop, 0);
	rearmed = 0;
	loop_run_timers(rearming_loop);
	assert_int_equal(rearmed, 1);
	loop_disarm(rearming_loop, &timer);
	loop_free(rearming_loop);
}

static void *wake_many_times(void *loop)
{
	for (int i = 0; i < 1000; i++)
		loop_wake(loop);
	return NULL;
}

/* On a machine that was started five minutes ago, an answer of an hour ago (its provider's `Age`) has a time too. */
static void what_is_older_than_the_machines_run_has_a_time(void **state)
{
	(void)state;
	assert_true(clock_now_us() > UINT64_C(365) * 24 * 3600 * CLOCK_US_PER_S);
}

static void a_wake_from_another_thread_ends_the_wait(void **state)
{
	(void)state;
	struct loop *loop = loop_new();
	pthread_t thread;
	for (int i = 0; i < 50; i++) {
		pthread_create(&thread, NULL, wake_many_times, loop);
		loop_wait(loop, clock_now_us() + 30 * CLOCK_US_PER_S);
		pthread_join(thread, NULL);
		loop_wait(loop, 0); /* what is left of the thousand */
	}
	loop_free(loop);
}

struct pipe_probe {
	struct loop_watch watch;
	struct pipe_probe *other;
	int ready;
	int write_fd;
};
static struct loop *pipe_loop;

static void unwatch_the_other(struct loop_watch *watch, uint32_t events)
{
	struct pipe_probe *probe = container_of(watch, struct pipe_probe, watch);
	(void)events;
	probe->ready++;
	loop_unwatch(pipe_loop, &probe->other->watch);
}

static void an_event_of_an_unwatched_descriptor_is_dropped(void **state)
{
	(void)state;
	pipe_loop = loop_new();
	struct pipe_probe probes[2] = { 0 };
	for (int i = 0; i < 2; i++) {
		int ends[2];
		assert_int_equal(pipe(ends), 0);
		probes[i].other = &probes[1 - i];
		probes[i].write_fd = ends[1];
		probes[i].watch.ready = unwatch_the_other;
		assert_true(loop_watch(pipe_loop, &probes[i].watch, ends[0], EPOLLIN));
		assert_int_equal(write(ends[1], "x", 1), 1);
	}
	int fds[2] = { probes[0].watch.fd, probes[1].watch.fd };
	loop_wait(pipe_loop, 0);
	assert_int_equal(probes[0].ready + probes[1].ready, 1);
	for (int i = 0; i < 2; i++) {
		loop_unwatch(pipe_loop, &probes[i].watch);
		close(fds[i]);
		close(probes[i].write_fd);
	}
	loop_free(pipe_loop);
}

static void a_loop_knows_how_busy_it_was(void **state)
{
	(void)state;
	clock_set(1000);
	struct loop *loop = loop_new();
	assert_non_null(loop);
	for (uint64_t now = 1000; now < 10000; now += 1000) { /* 100 us of work, 900 of waiting */
		clock_set(now + 100);
		loop_wait(loop, 0);
		clock_set(now + 1000);
		loop_refresh(loop);
		loop_wait(loop, 0); /* what was refreshed is work too */
	}
	struct loop_load load = loop_take_load(loop);
	assert_int_equal(load.busy_us, 9000);
	assert_int_equal(load.longest_us, 900);
	assert_int_equal(load.span_us, 9000);
	clock_set(20000); /* a long turn */
	loop_wait(loop, 0);
	load = loop_take_load(loop);
	assert_int_equal(load.longest_us, 10000);
	assert_int_equal(load.busy_us, 10000);
	assert_int_equal(loop_take_load(loop).busy_us, 0);
	clock_set(0);
	loop_free(loop);
}

/* The loop turns. */
static void turn(struct loop *loop)
{
	clock_set(clock_now_us() + 1);
	loop_wait(loop, clock_now_us());
}

static void each_work_has_so_many_bytes_a_turn(void **state)
{
	(void)state;
	clock_set(1000);
	struct loop *loop = loop_new();
	assert_non_null(loop);
	const size_t half = LOOP_TURN_BYTES / 2;
	for (int round = 0; round < 2; round++) {
		turn(loop);
		assert_true(loop_afford(loop, LOOP_WRITES, half));
		assert_true(loop_afford(loop, LOOP_WRITES, half + 1));
		assert_false(loop_afford(loop, LOOP_WRITES, 1));
		assert_true(loop_afford(loop, LOOP_MOVES, half)); /* another's */
		assert_true(loop_afford(loop, LOOP_REPLIES, half));
	}
	loop_free(loop);
	clock_set(0);
}

/* However large; and nobody is left out who asks for it turn after turn. */
static void of_heavy_pieces_there_is_one_a_turn_for_all_in_turns(void **state)
{
	(void)state;
	enum { TURNS = 12 };
	unsigned done[LOOP_WORKS] = { 0 };
	clock_set(1000);
	struct loop *loop = loop_new();
	assert_non_null(loop);
	for (int i = 0; i < TURNS; i++) {
		unsigned before = done[LOOP_WRITES] + done[LOOP_MOVES] + done[LOOP_REPLIES];
		turn(loop);
		for (int work = 0; work < LOOP_WORKS; work++)
			for (int again = 0; again < 2; again++)
				done[work] += loop_afford(loop, (enum loop_work)work, 64 * LOOP_HEAVY_BYTES);
		assert_int_equal(done[LOOP_WRITES] + done[LOOP_MOVES] + done[LOOP_REPLIES], before + 1);
	}
	for (int work = 0; work < LOOP_WORKS; work++)
		assert_in_range(done[work], 2, TURNS / 2);
	loop_free(loop);
	clock_set(0);
}

/* Whose turn it was has left. */
static void a_heavy_piece_is_kept_for_nobody_who_asks_no_more(void **state)
{
	(void)state;
	clock_set(1000);
	struct loop *loop = loop_new();
	assert_non_null(loop);
	turn(loop);
	assert_true(loop_afford(loop, LOOP_WRITES, LOOP_HEAVY_BYTES));
	assert_false(loop_afford(loop, LOOP_REPLIES, LOOP_HEAVY_BYTES));
	turn(loop);
	assert_false(loop_afford(loop, LOOP_WRITES, LOOP_HEAVY_BYTES));
	assert_true(loop_afford(loop, LOOP_WRITES, LOOP_HEAVY_BYTES - 1));
	turn(loop);
	assert_true(loop_afford(loop, LOOP_WRITES, LOOP_HEAVY_BYTES));
	loop_free(loop);
	clock_set(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers_fire_in_order_of_due_time),
		cmocka_unit_test(a_loop_knows_how_busy_it_was),
		cmocka_unit_test(a_timer_that_rearms_itself_does_not_hold_the_loop),
		cmocka_unit_test(what_is_older_than_the_machines_run_has_a_time),
		cmocka_unit_test(a_wake_from_another_thread_ends_the_wait),
		cmocka_unit_test(an_event_of_an_unwatched_descriptor_is_dropped),
		cmocka_unit_test(each_work_has_so_many_bytes_a_turn),
		cmocka_unit_test(of_heavy_pieces_there_is_one_a_turn_for_all_in_turns),
		cmocka_unit_test(a_heavy_piece_is_kept_for_nobody_who_asks_no_more),
	};
	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
