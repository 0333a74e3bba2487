/* SPDX-License-Identifier: Apache-2.0 */
/* Where to: choices, ejections, probes and their limits, in a time that the test turns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "upstream/http/endpoint.h"

#define MS CLOCK_US_PER_MS
#define S CLOCK_US_PER_S

struct world {
	struct endpoint_policy policy;
	struct endpoint_set *set;
	uint64_t now_us;
	unsigned changes;
	struct endpoint_pick pick;
};

static void count_change(void *context, struct endpoint *endpoint)
{
	struct world *world = context;
	(void)endpoint;
	world->changes++;
}

static void world_init(struct world *world, enum endpoint_balance balance, size_t count, const unsigned *weights)
{
	*world =
		(struct world){ .policy = endpoint_default_policy, .now_us = 1000 * S, .pick = { .repeatable = true } };
	world->policy.balance = balance;
	world->set = endpoint_set_new(&world->policy, weights, count, 42);
	assert_non_null(world->set);
	world->set->changed = count_change;
	world->set->context = world;
}

static void world_fini(struct world *world)
{
	endpoint_set_free(world->set);
}

/* One request that ends at once; the endpoint that had it, or -1. */
static int ask(struct world *world, enum endpoint_result result, uint64_t took_us)
{
	struct endpoint_visit visit = { 0 };
	struct endpoint *endpoint = endpoint_pick(world->set, &world->pick, world->now_us);
	if (!endpoint)
		return -1;
	endpoint_begin(world->set, &visit, endpoint, world->now_us);
	world->now_us += took_us;
	endpoint_end(world->set, &visit, result, "the test says so", world->now_us);
	return (int)endpoint->index;
}

/* As ask, where `bad` gives `result` and the others answer. */
static int ask_around(struct world *world, unsigned bad, enum endpoint_result result, uint64_t bad_took_us)
{
	struct endpoint_visit visit = { 0 };
	struct endpoint *endpoint = endpoint_pick(world->set, &world->pick, world->now_us);
	if (!endpoint)
		return -1;
	endpoint_begin(world->set, &visit, endpoint, world->now_us);
	bool is_bad = endpoint->index == bad;
	world->now_us += is_bad ? bad_took_us : 10 * MS;
	endpoint_end(world->set, &visit, is_bad ? result : ENDPOINT_ANSWERED, "the test says so", world->now_us);
	return (int)endpoint->index;
}

static enum endpoint_state state_of(const struct world *world, size_t index)
{
	return endpoint_state(&world->set->endpoints[index]);
}

/* --- choosing --- */

static void each_has_its_share(void **state)
{
	(void)state;
	static const unsigned weights[] = { 3, 1, 1 };
	static const enum endpoint_balance balances[] = { BALANCE_ROUND_ROBIN, BALANCE_LEAST_LOADED };
	for (size_t i = 0; i < countof(balances); i++) {
		struct world world;
		unsigned seen[3] = { 0 };
		world_init(&world, balances[i], 3, weights);
		for (int n = 0; n < 500; n++)
			seen[ask(&world, ENDPOINT_ANSWERED, 10 * MS)]++;
		if (balances[i] == BALANCE_ROUND_ROBIN)
			assert_int_equal(seen[0], 300);
		assert_true(seen[1] >= 50 && seen[2] >= 50);
		world_fini(&world);
	}
}

/* Closed loop, `at_once` requests under way; endpoint i takes took_us[i]. Counts requests. */
static void drive(struct world *world, const uint64_t *took_us, size_t at_once, size_t requests, size_t *seen)
{
	static struct endpoint_visit visits[64];
	uint64_t due_us[64];
	memset(visits, 0, sizeof visits);
	for (size_t i = 0; i < at_once; i++)
		due_us[i] = world->now_us;
	for (size_t n = 0; n < requests;) {
		size_t next = 0;
		for (size_t i = 1; i < at_once; i++)
			next = due_us[i] < due_us[next] ? i : next;
		world->now_us = due_us[next];
		endpoint_end(world->set, &visits[next], ENDPOINT_ANSWERED, NULL, world->now_us);
		struct endpoint *endpoint = endpoint_pick(world->set, &world->pick, world->now_us);
		assert_non_null(endpoint);
		endpoint_begin(world->set, &visits[next], endpoint, world->now_us);
		due_us[next] = world->now_us + took_us[endpoint->index];
		seen[endpoint->index]++;
		n++;
	}
	for (size_t i = 0; i < at_once; i++)
		endpoint_end(world->set, &visits[i], ENDPOINT_NOTHING, NULL, world->now_us);
}

static void the_slow_one_gets_less(void **state)
{
	(void)state;
	static const uint64_t took_us[] = { 10 * MS, 100 * MS };
	struct world world;
	size_t seen[2] = { 0 };
	world_init(&world, BALANCE_ADAPTIVE, 2, NULL);
	drive(&world, took_us, 8, 4000, seen);
	assert_true(seen[1] * 8 < seen[0]);
	assert_true(seen[1] > 0);
	world_fini(&world);
	world_init(&world, BALANCE_FASTEST, 2, NULL);
	seen[0] = seen[1] = 0;
	drive(&world, took_us, 8, 4000, seen);
	assert_true(seen[1] * 8 < seen[0] && seen[1] > 0);
	world_fini(&world);
}

static void a_slow_one_that_recovers_is_found_out(void **state)
{
	(void)state;
	uint64_t took_us[] = { 10 * MS, 100 * MS };
	struct world world;
	size_t seen[2] = { 0 };
	world_init(&world, BALANCE_ADAPTIVE, 2, NULL);
	drive(&world, took_us, 8, 4000, seen);
	took_us[1] = 10 * MS;
	drive(&world, took_us, 8, 20000, seen);
	seen[0] = seen[1] = 0;
	drive(&world, took_us, 8, 4000, seen);
	assert_true(seen[1] > 1200);
	world_fini(&world);
}

/* The one that never answers has had what went there before anything was known, and no more. */
static void a_black_hole_takes_a_handful(void **state)
{
	(void)state;
	static const uint64_t took_us[] = { 10 * MS, 1000000 * S };
	struct world world;
	size_t seen[2] = { 0 };
	world_init(&world, BALANCE_ADAPTIVE, 2, NULL);
	drive(&world, took_us, 32, 10000, seen);
	assert_true(seen[1] <= 20);
	world_fini(&world);
}

static void a_key_stays_where_it_is(void **state)
{
	(void)state;
	enum { KEYS = 3000 };
	static int before[KEYS];
	struct world world;
	unsigned seen[4] = { 0 };
	world_init(&world, BALANCE_AFFINITY, 4, NULL);
	for (uint64_t key = 0; key < KEYS; key++) {
		world.pick.affinity = key * 7919;
		before[key] = ask(&world, ENDPOINT_ANSWERED, MS);
		assert_int_equal(ask(&world, ENDPOINT_ANSWERED, MS), before[key]);
		seen[before[key]]++;
	}
	for (size_t i = 0; i < 4; i++)
		assert_true(seen[i] > KEYS / 4 - 150 && seen[i] < KEYS / 4 + 150);
	endpoint_drain(world.set, &world.set->endpoints[2], true, world.now_us);
	for (uint64_t key = 0; key < KEYS; key++) {
		world.pick.affinity = key * 7919;
		int now = ask(&world, ENDPOINT_ANSWERED, MS);
		assert_int_not_equal(now, 2);
		if (before[key] != 2)
			assert_int_equal(now, before[key]);
	}
	world_fini(&world);
}

static void what_was_tried_is_not_tried_again_while_there_is_another(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, BALANCE_ROUND_ROBIN, 3, NULL);
	world.pick.tried = 1 << 0 | 1 << 2;
	for (int i = 0; i < 5; i++)
		assert_int_equal(ask(&world, ENDPOINT_ANSWERED, MS), 1);
	assert_true(endpoint_another(world.set, &world.pick, world.now_us));
	world.pick.tried = 7;
	assert_false(endpoint_another(world.set, &world.pick, world.now_us));
	assert_true(ask(&world, ENDPOINT_ANSWERED, MS) >= 0);
	world_fini(&world);
}

/* --- ejection --- */

static void failures_in_a_row_eject_for_longer_each_time(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, BALANCE_ROUND_ROBIN, 2, NULL);
	unsigned to_bad = 0;
	for (int i = 0; i < 20; i++)
		to_bad += ask_around(&world, 1, ENDPOINT_TIMED_OUT, 100 * MS) == 1;
	assert_int_equal(to_bad, 5);
	assert_int_equal(state_of(&world, 1), ENDPOINT_STATE_EJECTED);
	assert_int_equal(world.changes, 1);
	assert_string_equal(world.set->endpoints[1].reason, "the test says so");
	uint64_t expected_us[] = { 30 * S, 60 * S, 120 * S, 240 * S, 300 * S, 300 * S };
	for (size_t i = 0; i < countof(expected_us); i++) {
		uint64_t left_us = world.set->endpoints[1].until_us - world.now_us;
		assert_true(left_us <= expected_us[i] && left_us + 5 * S > expected_us[i]);
		world.now_us = world.set->endpoints[1].until_us - 1;
		assert_int_equal(ask_around(&world, 1, ENDPOINT_TIMED_OUT, 2 * S), 0);
		world.now_us += 1;
		assert_int_equal(ask_around(&world, 1, ENDPOINT_TIMED_OUT, 2 * S), 1); /* one probe */
		assert_int_equal(ask_around(&world, 1, ENDPOINT_TIMED_OUT, 2 * S), 0);
	}
	world_fini(&world);
}

static void answers_in_between_are_no_row(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, BALANCE_ROUND_ROBIN, 2, NULL);
	for (int i = 0; i < 100; i++)
		ask(&world, i % 10 < 8 ? ENDPOINT_BROKE : ENDPOINT_ANSWERED, MS);
	assert_int_equal(state_of(&world, 0), ENDPOINT_STATE_UP);
	assert_int_equal(state_of(&world, 1), ENDPOINT_STATE_UP);
	world_fini(&world);
}

static void only_one_probe_at_a_time(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, BALANCE_ROUND_ROBIN, 2, NULL);
	while (state_of(&world, 1) == ENDPOINT_STATE_UP)
		ask_around(&world, 1, ENDPOINT_BROKE, MS);
	world.now_us += 31 * S;
	struct endpoint_visit probe = { 0 };
	struct endpoint *endpoint = endpoint_pick(world.set, &world.pick, world.now_us);
	assert_int_equal(endpoint->index, 1);
	endpoint_begin(world.set, &probe, endpoint, world.now_us);
	assert_true(probe.probe);
	for (int i = 0; i < 50; i++)
		assert_int_equal(ask_around(&world, 1, ENDPOINT_BROKE, MS), 0);
	endpoint_end(world.set, &probe, ENDPOINT_NOTHING, NULL,
		     world.now_us); /* nobody waited any more: the next one */
	assert_int_equal(ask(&world, ENDPOINT_ANSWERED, MS), 1);
	assert_int_equal(state_of(&world, 1), ENDPOINT_STATE_UP);
	world_fini(&world);
}

/* A provider has fast tools and slow ones: callers of a slow one with little time say nothing of the endpoint. */
static void a_slow_tool_is_not_measured_by_the_fast_ones(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, BALANCE_ROUND_ROBIN, 2, NULL);
	for (int i = 0; i < 10; i++)
		ask(&world, ENDPOINT_ANSWERED, i % 5 ? 5 * MS : 600 * MS);
	for (int i = 0; i < 40; i++)
		ask(&world, ENDPOINT_ANSWERED, 5 * MS);
	for (int i = 0; i < 20; i++)
		ask(&world, ENDPOINT_TIMED_OUT, 300 * MS);
	assert_int_equal(state_of(&world, 0), ENDPOINT_STATE_UP);
	assert_int_equal(state_of(&world, 1), ENDPOINT_STATE_UP);
	for (int i = 0; i < 10; i++)
		ask(&world, ENDPOINT_TIMED_OUT, 1300 * MS);
	assert_true(state_of(&world, 0) != state_of(&world, 1)); /* that was time enough */
	world_fini(&world);
}

/* A write is lost for good if the probe is not answered. */
static void a_write_is_no_probe_while_reads_may_come(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, BALANCE_ROUND_ROBIN, 2, NULL);
	while (state_of(&world, 1) == ENDPOINT_STATE_UP)
		ask_around(&world, 1, ENDPOINT_TIMED_OUT, 2 * S);
	world.pick.repeatable = false;
	world.now_us = world.set->endpoints[1].until_us;
	assert_int_equal(ask(&world, ENDPOINT_ANSWERED, MS), 0);
	world.now_us += 30 * S;
	assert_int_equal(ask(&world, ENDPOINT_ANSWERED, MS), 1);
	world_fini(&world);
}

static void who_comes_back_starts_slowly(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, BALANCE_ROUND_ROBIN, 2, NULL);
	while (state_of(&world, 1) == ENDPOINT_STATE_UP)
		ask_around(&world, 1, ENDPOINT_TIMED_OUT, 2 * S);
	world.now_us += 31 * S;
	assert_int_equal(ask(&world, ENDPOINT_ANSWERED, MS), 1);
	unsigned early = 0, late = 0;
	for (int i = 0; i < 100; i++)
		early += ask(&world, ENDPOINT_ANSWERED, MS) == 1;
	world.now_us += 10 * S;
	for (int i = 0; i < 100; i++)
		late += ask(&world, ENDPOINT_ANSWERED, MS) == 1;
	assert_true(early >= 3 && early <= 20);
	assert_true(late >= 48 && late <= 52);
	world_fini(&world);
}

static void the_last_one_is_never_ejected(void **state)
{
	(void)state;
	struct world world;
	for (size_t count = 1; count <= 4; count++) {
		world_init(&world, BALANCE_ROUND_ROBIN, count, NULL);
		world.policy.share = 100;
		for (int i = 0; i < 200; i++)
			assert_true(ask(&world, ENDPOINT_TIMED_OUT, 2 * S) >= 0);
		size_t up = 0;
		for (size_t i = 0; i < count; i++)
			up += state_of(&world, i) == ENDPOINT_STATE_UP;
		assert_int_equal(up, 1);
		world_fini(&world);
	}
}

static void no_more_than_their_share_is_ejected(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, BALANCE_ROUND_ROBIN, 7, NULL);
	for (int i = 0; i < 500; i++)
		ask(&world, ENDPOINT_BROKE, MS);
	size_t ejected = 0;
	for (size_t i = 0; i < 7; i++)
		ejected += state_of(&world, i) == ENDPOINT_STATE_EJECTED;
	assert_int_equal(ejected, 3);
	world_fini(&world);
}

/* --- out of reach --- */

static void who_cannot_be_reached_is_left_alone_at_once(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, BALANCE_ROUND_ROBIN, 2, NULL);
	unsigned to_bad = 0;
	for (int i = 0; i < 500; i++) /* 5 s, all in all: 10 ms each */
		to_bad += ask_around(&world, 0, ENDPOINT_UNREACHABLE, MS) == 0;
	assert_true(to_bad >= 4 && to_bad <= 6); /* the first one, and a probe a second */
	assert_int_equal(state_of(&world, 0), ENDPOINT_STATE_EJECTED);
	assert_true(world.set->endpoints[0].until_us > world.now_us + 20 * S); /* five in a row by now */
	world_fini(&world);
}

/* Ten that leave together and find nobody are one event. */
static void a_burst_that_fails_is_one_failure(void **state)
{
	(void)state;
	struct world world;
	struct endpoint_visit visits[10] = { 0 };
	world_init(&world, BALANCE_ROUND_ROBIN, 2, NULL);
	for (size_t i = 0; i < 10; i++)
		endpoint_begin(world.set, &visits[i], &world.set->endpoints[0], world.now_us);
	for (size_t i = 0; i < 10; i++)
		endpoint_end(world.set, &visits[i], ENDPOINT_UNREACHABLE, "refused", world.now_us);
	assert_int_equal(world.set->endpoints[0].failed, 1);
	assert_int_equal(world.set->endpoints[0].until_us, world.now_us + S);
	world_fini(&world);
}

static void when_all_are_out_of_reach_calls_are_told_at_once(void **state)
{
	(void)state;
	for (size_t count = 1; count <= 3; count++) {
		struct world world;
		unsigned tries = 0, refused = 0;
		world_init(&world, BALANCE_ADAPTIVE, count, NULL);
		for (int i = 0; i < 1000; i++, world.now_us += 10 * MS)
			*(ask(&world, ENDPOINT_UNREACHABLE, 0) < 0 ? &refused : &tries) += 1;
		assert_true(tries <= 6 * count + 10 * count); /* ten seconds: one probe each of every second */
		assert_true(tries >= 10);
		assert_int_equal(tries + refused, 1000);
		uint64_t usable_us = endpoint_usable_us(world.set, world.now_us);
		assert_true(usable_us <= world.now_us + S);
		world.now_us += 31 * S;
		assert_true(ask(&world, ENDPOINT_ANSWERED, MS) >= 0);
		assert_true(ask(&world, ENDPOINT_ANSWERED, MS) >= 0); /* it is back */
		world_fini(&world);
	}
}

static void with_a_connector_no_call_is_sent_to_find_out(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, BALANCE_ROUND_ROBIN, 2, NULL);
	world.set->connects = true;
	unsigned to_bad = 0;
	for (int i = 0; i < 10000; i++)
		to_bad += ask_around(&world, 0, ENDPOINT_UNREACHABLE, MS) == 0;
	assert_int_equal(to_bad, 1);
	endpoint_checked(world.set, &world.set->endpoints[0], true, "a connection came about", world.now_us);
	assert_int_equal(state_of(&world, 0), ENDPOINT_STATE_UP);
	to_bad = 0;
	for (int i = 0; i < 200; i++)
		to_bad += ask(&world, ENDPOINT_ANSWERED, MS) == 0;
	assert_true(to_bad > 5);
	world_fini(&world);
}

static void note_unreachable(void *context, struct endpoint *endpoint)
{
	*(bool *)context = endpoint->unreachable;
}

/* Ejected for failures, and then nobody is there: whoever is to try the connection must hear of it, since no call
 * does. */
static void who_was_ejected_and_is_gone_is_tried_by_the_connector(void **state)
{
	(void)state;
	struct world world;
	bool changed = false;
	world_init(&world, BALANCE_ROUND_ROBIN, 2, NULL);
	world.set->connects = true;
	while (state_of(&world, 0) == ENDPOINT_STATE_UP)
		ask_around(&world, 0, ENDPOINT_BROKE, MS);
	for (int i = 0; i < 5; i++) { /* the other one goes too */
		struct endpoint_visit visit = { 0 };
		endpoint_begin(world.set, &visit, &world.set->endpoints[1], world.now_us += S);
		endpoint_end(world.set, &visit, ENDPOINT_UNREACHABLE, "nobody there", world.now_us);
	}
	assert_true(world.set->endpoints[1].unreachable);
	world.now_us = world.set->endpoints[0].until_us;
	world.set->changed = note_unreachable;
	world.set->context = &changed;
	assert_int_equal(ask(&world, ENDPOINT_UNREACHABLE, MS), 0);
	assert_true(world.set->endpoints[0].unreachable);
	assert_true(changed);
	world_fini(&world);
}

/* --- checks, drains, panic --- */

static void failed_checks_and_drains_keep_calls_away(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, BALANCE_ADAPTIVE, 4, NULL);
	endpoint_checked(world.set, &world.set->endpoints[0], false, "status 500", world.now_us);
	endpoint_drain(world.set, &world.set->endpoints[1], true, world.now_us);
	assert_int_equal(state_of(&world, 0), ENDPOINT_STATE_FAILED_CHECK);
	assert_int_equal(state_of(&world, 1), ENDPOINT_STATE_DRAINING);
	for (int i = 0; i < 200; i++)
		assert_true(ask(&world, ENDPOINT_ANSWERED, MS) >= 2);
	endpoint_checked(world.set, &world.set->endpoints[0], true, "status 200", world.now_us);
	endpoint_drain(world.set, &world.set->endpoints[1], false, world.now_us);
	bool seen[4] = { false };
	for (int i = 0; i < 2000; i++)
		seen[ask(&world, ENDPOINT_ANSWERED, MS)] = true;
	assert_true(seen[0] && seen[1] && seen[2] && seen[3]);
	world_fini(&world);
}

/* The log said "state=ejected reason=its check was answered with HTTP status 200". */
static void a_good_check_is_not_why_it_is_ejected(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, BALANCE_ROUND_ROBIN, 2, NULL);
	for (int i = 0; i < 20; i++)
		ask_around(&world, 1, ENDPOINT_TIMED_OUT, 100 * MS);
	endpoint_checked(world.set, &world.set->endpoints[1], false, "status 500", world.now_us);
	assert_int_equal(state_of(&world, 1), ENDPOINT_STATE_FAILED_CHECK);
	endpoint_checked(world.set, &world.set->endpoints[1], true, "status 200", world.now_us);
	assert_int_equal(state_of(&world, 1), ENDPOINT_STATE_EJECTED);
	assert_non_null(strstr(world.set->endpoints[1].reason, "calls had failed"));
	world_fini(&world);
}

static void below_half_the_checks_are_not_believed(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, BALANCE_ROUND_ROBIN, 4, NULL);
	for (size_t i = 0; i < 3; i++)
		endpoint_checked(world.set, &world.set->endpoints[i], false, "status 500", world.now_us);
	unsigned seen[4] = { 0 };
	for (int i = 0; i < 400; i++)
		seen[ask(&world, ENDPOINT_ANSWERED, MS)]++;
	for (size_t i = 0; i < 4; i++)
		assert_true(seen[i] > 0);
	world_fini(&world);
}

static void a_drained_provider_takes_nothing(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, BALANCE_ADAPTIVE, 2, NULL);
	for (size_t i = 0; i < 2; i++)
		endpoint_drain(world.set, &world.set->endpoints[i], true, world.now_us);
	assert_int_equal(ask(&world, ENDPOINT_ANSWERED, MS), -1);
	assert_true(endpoint_usable_us(world.set, world.now_us) == CLOCK_NEVER);
	world_fini(&world);
}

/* --- random histories --- */

/* A choice for a request; whoever can be used is one. */
static struct endpoint *pick_any(struct world *world, size_t count)
{
	bool help = false;
	world->pick = (struct endpoint_pick){ .tried = (uint64_t)random() & 63 & (uint64_t)random(),
					      .affinity = (uint64_t)random(),
					      .repeatable = random() % 2 };
	struct endpoint *endpoint = endpoint_pick(world->set, &world->pick, world->now_us);
	for (size_t i = 0; i < count; i++)
		help |= !world->set->endpoints[i].draining && !world->set->endpoints[i].unreachable &&
			!world->set->endpoints[i].check_failed;
	assert_true(endpoint || !help);
	assert_true(!endpoint || !endpoint->draining);
	return endpoint;
}

/* Whatever happens: there is a choice unless all are drained or out of reach; when all is well again, all are used. */
static void no_history_is_a_trap(void **state)
{
	(void)state;
	enum { VISITS = 40 };
	srandom(7);
	for (int round = 0; round < 300; round++) {
		struct world world;
		struct endpoint_visit visits[VISITS] = { 0 };
		size_t count = 1 + (size_t)random() % 6;
		world_init(&world, (enum endpoint_balance)(round % 5), count, NULL);
		world.policy.share = (size_t)random() % 101;
		for (int step = 0; step < 2000; step++) {
			struct endpoint *any = &world.set->endpoints[(size_t)random() % count];
			struct endpoint_visit *visit = &visits[random() % VISITS];
			world.now_us += (uint64_t)random() % (200 * MS);
			if (random() % 100 == 0)
				endpoint_checked(world.set, any, random() % 2, "", world.now_us);
			if (random() % 100 == 0)
				endpoint_drain(world.set, any, random() % 4 == 0, world.now_us);
			if (visit->endpoint) {
				endpoint_end(world.set, visit, (enum endpoint_result)(random() % 5), "", world.now_us);
				continue;
			}
			struct endpoint *endpoint = pick_any(&world, count);
			if (endpoint)
				endpoint_begin(world.set, visit, endpoint, world.now_us);
		}
		for (size_t i = 0; i < VISITS; i++)
			endpoint_end(world.set, &visits[i], ENDPOINT_NOTHING, NULL, world.now_us);
		for (size_t i = 0; i < count; i++) {
			endpoint_checked(world.set, &world.set->endpoints[i], true, "", world.now_us);
			endpoint_drain(world.set, &world.set->endpoints[i], false, world.now_us);
			assert_int_equal(world.set->endpoints[i].under_way, 0);
			assert_false(world.set->endpoints[i].probing);
		}
		world.pick = (struct endpoint_pick){ .repeatable = true };
		for (int i = 0; i < 400; i++, world.now_us += S)
			assert_true(ask(&world, ENDPOINT_ANSWERED, MS) >= 0);
		for (size_t i = 0; i < count; i++)
			assert_int_equal(state_of(&world, i), ENDPOINT_STATE_UP);
		world_fini(&world);
	}
}

/* Addresses of a name come and go. */
static void who_is_absent_is_neither_chosen_nor_counted(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, BALANCE_ROUND_ROBIN, 4, NULL);
	struct endpoint *all = world.set->endpoints;
	endpoint_leave(&all[1]);
	endpoint_leave(&all[2]);
	assert_int_equal(endpoint_count(world.set), 2);
	for (int i = 0; i < 20; i++) {
		int index = ask(&world, ENDPOINT_ANSWERED, MS);
		assert_true(index == 0 || index == 3);
	}
	/* one of two is half: no panic, though four have room */
	endpoint_checked(world.set, &all[0], false, "its check", world.now_us);
	for (int i = 0; i < 20; i++)
		assert_int_equal(ask(&world, ENDPOINT_ANSWERED, MS), 3);
	endpoint_checked(world.set, &all[0], true, "its check", world.now_us);
	/* what was under way as it left is no failure of whoever comes in its place, and it may finish */
	struct endpoint_visit visit = { 0 };
	unsigned changes = world.changes;
	endpoint_begin(world.set, &visit, &all[3], world.now_us);
	endpoint_leave(&all[3]);
	world.now_us += 100 * S;
	endpoint_end(world.set, &visit, ENDPOINT_UNREACHABLE, "gone", world.now_us);
	assert_int_equal(world.changes, changes);
	endpoint_join(&all[3], 77, true, world.now_us);
	assert_int_equal(state_of(&world, 3), ENDPOINT_STATE_UP);
	int slow = 0;
	for (int i = 0; i < 110; i++)
		slow += ask(&world, ENDPOINT_ANSWERED, 1) == 3;
	assert_in_range(slow, 8, 14); /* a tenth of its weight at first */
	world_fini(&world);
}

/* The same address has the same keys, wherever in the set it stands. */
static void a_key_follows_its_address(void **state)
{
	(void)state;
	enum { KEYS = 200 };
	struct world world;
	uint64_t owners[KEYS];
	world_init(&world, BALANCE_AFFINITY, 4, NULL);
	for (int round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 4; i++) {
			endpoint_leave(&world.set->endpoints[i]);
			endpoint_join(&world.set->endpoints[i], 1000 + (round ? 3 - i : i), false, world.now_us);
		}
		for (int i = 0; i < KEYS; i++) {
			world.pick.affinity = (uint64_t)i * 7919 + 1;
			uint64_t owner = world.set->endpoints[ask(&world, ENDPOINT_ANSWERED, MS)].key;
			assert_true(round == 0 || owners[i] == owner);
			owners[i] = owner;
		}
	}
	world_fini(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_has_its_share),
		cmocka_unit_test(the_slow_one_gets_less),
		cmocka_unit_test(a_slow_one_that_recovers_is_found_out),
		cmocka_unit_test(a_black_hole_takes_a_handful),
		cmocka_unit_test(a_key_stays_where_it_is),
		cmocka_unit_test(what_was_tried_is_not_tried_again_while_there_is_another),
		cmocka_unit_test(failures_in_a_row_eject_for_longer_each_time),
		cmocka_unit_test(answers_in_between_are_no_row),
		cmocka_unit_test(a_slow_tool_is_not_measured_by_the_fast_ones),
		cmocka_unit_test(only_one_probe_at_a_time),
		cmocka_unit_test(a_write_is_no_probe_while_reads_may_come),
		cmocka_unit_test(who_comes_back_starts_slowly),
		cmocka_unit_test(the_last_one_is_never_ejected),
		cmocka_unit_test(no_more_than_their_share_is_ejected),
		cmocka_unit_test(who_cannot_be_reached_is_left_alone_at_once),
		cmocka_unit_test(a_burst_that_fails_is_one_failure),
		cmocka_unit_test(when_all_are_out_of_reach_calls_are_told_at_once),
		cmocka_unit_test(with_a_connector_no_call_is_sent_to_find_out),
		cmocka_unit_test(who_was_ejected_and_is_gone_is_tried_by_the_connector),
		cmocka_unit_test(failed_checks_and_drains_keep_calls_away),
		cmocka_unit_test(a_good_check_is_not_why_it_is_ejected),
		cmocka_unit_test(below_half_the_checks_are_not_believed),
		cmocka_unit_test(a_drained_provider_takes_nothing),
		cmocka_unit_test(no_history_is_a_trap),
		cmocka_unit_test(who_is_absent_is_neither_chosen_nor_counted),
		cmocka_unit_test(a_key_follows_its_address),
	};
	return cmocka_run_group_tests_name("endpoint", tests, NULL, NULL);
}
