/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The batcher's promises over 10,000 random lives: random policies, callers, lanes, sizes, deadlines, cancels, answer
 * orders, refusals, callbacks that come back in. A scenario that fails names its number; it alone decides what happens.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/batcher_world.h"
#include "tests/support/valgrind.h"

enum { SCENARIOS = 10000, STEPS = 70, CALLS = 60, KEYS = 3, CALLERS = 4 };

enum state {
	FRESH,   /* not used yet */
	REFUSED, /* by batcher_add */
	LIVE,    /* must be answered, once */
	CANCELLED,
	ENDED
};

struct life {
	struct probe probe;
	enum state state;
	bool sent;
	enum outcome delivered; /* what the upstream said, once it did; OUTCOME_COUNT before */
};

static struct world world;
static struct life lives[CALLS];
static unsigned scenario, seed;
static size_t used, sent_items, refused_adds, quiet_since;
static bool aborting;
static uint64_t flew_us[KEYS], full_us; /* when something of a key was last seen under way; and as much as may be */

#define CHECK(condition)                                                                                               \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			fail_msg("scenario %u: %s", scenario, #condition);                                             \
	} while (0)

static unsigned roll(unsigned sides)
{
	return (unsigned)rand_r(&seed) % sides;
}

static struct life *life_of_call(const struct fake_call *call)
{
	return container_of((char *)(uintptr_t)call->arguments.at, struct life, probe.arguments[0]);
}

static struct life *life_of(struct probe *probe)
{
	return container_of(probe, struct life, probe);
}

static struct life *random_live(void)
{
	for (unsigned tries = 0; used && tries < 8; tries++) {
		struct life *life = &lives[roll((unsigned)used)];
		if (life->state == LIVE)
			return life;
	}
	return NULL;
}

static size_t live_count(void)
{
	size_t count = 0;
	for (size_t i = 0; i < used; i++)
		count += lives[i].state == LIVE;
	return count;
}

/* --- what happens --- */

static void check_end(struct life *life)
{
	const struct probe *probe = &life->probe;
	bool late = probe->item.deadline_us <= world.now_us;
	CHECK(life->state == LIVE);
	CHECK(probe->answered == 1);
	CHECK(probe->outcome != OUTCOME_OK || probe->own);
	CHECK((probe->facts.id != 0) == life->sent);
	CHECK((probe->facts.items != 0) == life->sent);
	if (life->delivered != OUTCOME_COUNT)
		CHECK(probe->outcome == life->delivered);
	else if (probe->outcome == OUTCOME_DEADLINE_EXCEEDED)
		CHECK(!life->sent && late);
	else if (probe->outcome == OUTCOME_UPSTREAM_TIMEOUT)
		CHECK(life->sent && late && probe->item.call.repeatable);
	else if (probe->outcome == OUTCOME_OUTCOME_UNKNOWN)
		CHECK(life->sent && late && !probe->item.call.repeatable);
	else if (probe->outcome == OUTCOME_OVERLOADED)
		CHECK(!life->sent && probe->retry_after_s > 0);
	else if (probe->outcome == OUTCOME_SHUTTING_DOWN)
		CHECK(aborting);
	else
		CHECK(probe->outcome == OUTCOME_UPSTREAM_UNAVAILABLE && !life->sent);
}

static void add_one(void);

static void cancel_one(void)
{
	struct life *life = random_live();
	if (!life)
		return;
	life->state = CANCELLED;
	batcher_cancel(world.batcher, &life->probe.item, world.now_us);
	quiet_since = 0;
}

static void on_end(struct probe *probe)
{
	struct life *life = life_of(probe);
	check_end(life);
	life->state = ENDED;
	if (roll(8) == 0 && !aborting)
		add_one();
	if (roll(8) == 0)
		cancel_one();
}

static void add_one(void)
{
	if (used == CALLS)
		return;
	struct life *life = &lives[used];
	struct probe *probe = &life->probe;
	call_init(&world, probe, (unsigned)used++);
	size_t tag_bytes = probe->item.call.arguments.len;
	size_t bytes = tag_bytes + roll((unsigned)(sizeof probe->arguments - tag_bytes));
	memset(probe->arguments + tag_bytes, ' ', bytes - tag_bytes);
	probe->item.call.arguments.len = bytes;
	probe->item.call.repeatable = roll(2);
	probe->item.caller = roll(CALLERS);
	probe->item.urgency = (uint8_t)roll(8);
	probe->key[0] = (char)('a' + roll(KEYS));
	if (roll(2))
		probe->item.deadline_us = world.now_us + roll(20000);
	if (roll(3) == 0)
		probe->item.urgent_us = world.now_us + roll(8000);
	probe->then = on_end;
	life->delivered = OUTCOME_COUNT;
	life->state = LIVE;
	if (call_add(probe) != OUTCOME_OK) {
		life->state = REFUSED;
		refused_adds++;
	}
	quiet_since = 0;
}

static void on_send(const struct exchange *exchange)
{
	size_t most =
		world.policy.max_items < world.dialect.max_calls ? world.policy.max_items : world.dialect.max_calls;
	size_t bytes = 0;
	uint64_t latest_us = 0;
	CHECK(exchange->count <= (world.policy.mode == BATCH_OFF ? 1 : most));
	CHECK(fake_under_way() <= world.policy.concurrency);
	char key = life_of_call(&exchange->calls[0])->probe.key[0];
	for (size_t i = 0; i < exchange->count; i++) {
		struct life *life = life_of_call(&exchange->calls[i]);
		const struct batch_item *item = &life->probe.item;
		CHECK(life->state == LIVE && !life->sent);
		CHECK(life->probe.key[0] == key);
		CHECK(exchange->calls[i].repeatable == item->call.repeatable);
		CHECK(item->deadline_us > world.now_us);
		life->sent = true;
		bytes += exchange->calls[i].arguments.len;
		latest_us = item->deadline_us > latest_us ? item->deadline_us : latest_us;
	}
	CHECK(bytes <= world.policy.max_bytes || exchange->count == 1);
	CHECK(exchange->deadline_us == latest_us);
	sent_items += exchange->count;
}

static void answer_one(struct exchange *exchange, size_t index)
{
	struct life *life = life_of_call(&exchange->calls[index]);
	life->delivered = roll(4) ? OUTCOME_OK : OUTCOME_TOOL_ERROR;
	if (life->delivered == OUTCOME_OK)
		fake_echo(exchange, index);
	else
		fake_answer(exchange, index, answer_error(OUTCOME_TOOL_ERROR, "no"));
	quiet_since = 0;
}

static void answer_some(void)
{
	if (!fake_under_way())
		return;
	struct exchange *exchange = fake_nth(roll((unsigned)fake_under_way()));
	if (exchange->answered == exchange->count) {
		fake_complete(exchange, roll(4) ? OUTCOME_OK : OUTCOME_UPSTREAM_ERROR);
		quiet_since = 0;
		return;
	}
	size_t index = roll((unsigned)exchange->count);
	while (exchange->calls[index].answered)
		index = (index + 1) % exchange->count;
	answer_one(exchange, index);
}

static void move_deadlines(void)
{
	struct life *life = random_live();
	if (!life)
		return;
	uint64_t deadline_us = world.now_us + roll(20000);
	batcher_set_deadlines(world.batcher, &life->probe.item, deadline_us, roll(2) ? deadline_us : CLOCK_NEVER);
	quiet_since = 0;
}

/* --- what must hold after a tick in which nothing came back in --- */

static bool flies(char key)
{
	for (size_t i = 0; i < fake_under_way(); i++)
		if (life_of_call(&fake_nth(i)->calls[0])->probe.key[0] == key)
			return true;
	return false;
}

static void note_flights(void)
{
	for (char key = 0; key < KEYS; key++)
		if (flies((char)('a' + key)))
			flew_us[(unsigned)key] = world.now_us;
	if (fake_under_way() == world.policy.concurrency)
		full_us = world.now_us;
}

/* With nothing under way, since when it could have left. */
static uint64_t idle_since_us(const struct life *life)
{
	uint64_t since_us = life->probe.item.added_us, flew = flew_us[(unsigned)(life->probe.key[0] - 'a')];
	since_us = flew > since_us ? flew : since_us;
	return full_us > since_us ? full_us : since_us;
}

static void check_rest(void)
{
	CHECK(batcher_deadline(world.batcher) > world.now_us);
	note_flights();
	for (size_t i = 0; i < used; i++) {
		const struct life *life = &lives[i];
		if (life->state != LIVE)
			continue;
		CHECK(life->probe.item.deadline_us > world.now_us);
		if (life->sent || fake_under_way() == world.policy.concurrency)
			continue;
		/* it waits though there is room: not where it would be alone */
		CHECK(world.policy.mode != BATCH_OFF);
		/* once the provider is known, it may gather for longer: until a flight completes, and those are back who were in it */
		bool known = world.policy.mode == BATCH_ADAPTIVE && fake_sent() >= 8;
		CHECK(world.policy.mode == BATCH_FIXED || flies(life->probe.key[0]) ||
		      (known && world.now_us - idle_since_us(life) < world.policy.window_us));
		CHECK(known || world.now_us - life->probe.item.added_us < world.policy.window_us);
	}
}

static void tick(void)
{
	quiet_since = 1; /* whatever changes something puts it back to 0 */
	world_tick(&world);
	if (quiet_since)
		check_rest();
}

/* --- a scenario --- */

static void random_policy(struct batch_policy *policy, size_t *max_calls)
{
	*policy = (struct batch_policy){
		.mode = (enum batch_mode)roll(3),
		.max_items = 1 + roll(12),
		.max_bytes = 10 + roll(200),
		.window_us = roll(5000),
		.concurrency = 1 + roll(4),
		.queue_items = 1 + roll(40),
		.queue_bytes = 50 + roll(600),
	};
	*max_calls = 1 + roll(16);
}

static void step(void)
{
	switch (roll(20)) {
	case 0:
		cancel_one();
		break;
	case 1:
		move_deadlines();
		break;
	case 2:
		fake_refuse(1, OUTCOME_UPSTREAM_UNAVAILABLE);
		break;
	case 3:
	case 4:
	case 5:
		world_pass(&world, roll(3000));
		break;
	case 6:
	case 7:
	case 8:
	case 9:
		tick();
		break;
	case 10:
	case 11:
	case 12:
	case 13:
	case 14:
		answer_some();
		break;
	default:
		add_one();
		break;
	}
}

/* Only batcher_deadline says when to tick, and the provider answers: all must come to an end. */
static void run_out(void)
{
	unsigned turns = 0;
	while (live_count() > 0 || fake_under_way() > 0) {
		CHECK(turns++ < 10000);
		uint64_t due_us = batcher_deadline(world.batcher);
		if (due_us > world.now_us && fake_under_way() > 0) {
			answer_some();
			continue;
		}
		CHECK(due_us != CLOCK_NEVER);
		if (due_us > world.now_us)
			world_pass(&world, due_us - world.now_us);
		tick();
	}
}

static void abort_everything(void)
{
	struct answer *answer = answer_error(OUTCOME_SHUTTING_DOWN, "bye");
	aborting = true;
	batcher_abort_all(world.batcher, answer, world.now_us);
	CHECK(atomic_load(&answer->refs) == 1);
	answer_unref(answer);
	CHECK(fake_under_way() == 0);
	CHECK(live_count() == 0);
}

static void check_metrics(void)
{
	int64_t flushes = 0;
	for (size_t reason = 0; reason < FLUSH_REASON_COUNT; reason++)
		flushes += world_flushes(&world, (enum flush_reason)reason);
	int64_t sent = (int64_t)fake_sent(), items = (int64_t)sent_items;
	CHECK(flushes == sent);
	CHECK(world_metric(&world, METRIC_ID_BATCH_ITEMS, 0) == sent);
	CHECK(world_metric(&world, METRIC_ID_BATCH_BYTES, 0) == sent);
	CHECK(world_metric(&world, METRIC_ID_BATCH_WAIT, 0) == items);
	CHECK(world_metric(&world, METRIC_ID_BATCH_SAVED, 0) == items - sent);
	int64_t refused = metrics_read(world.metrics, METRIC_ID_REJECTED, REJECT_QUEUE_ITEMS, 0) +
			  metrics_read(world.metrics, METRIC_ID_REJECTED, REJECT_QUEUE_BYTES, 0);
	CHECK(refused == (int64_t)refused_adds);
}

static void check_ends(void)
{
	for (size_t i = 0; i < used; i++) {
		CHECK(lives[i].state != LIVE);
		CHECK(lives[i].probe.answered == (lives[i].state == ENDED));
	}
}

static void run_scenario(void)
{
	struct batch_policy policy;
	size_t max_calls;
	seed = scenario;
	used = sent_items = refused_adds = 0;
	full_us = 0;
	memset(flew_us, 0, sizeof flew_us);
	aborting = false;
	memset(lives, 0, sizeof lives);
	random_policy(&policy, &max_calls);
	world_start(&world, &policy, max_calls);
	fake_on_send(on_send);
	for (unsigned i = 0; i < STEPS; i++)
		step();
	if (roll(4) == 0)
		abort_everything();
	else
		run_out();
	check_ends();
	check_metrics();
	world_stop(&world);
}

static void every_call_ends_once_with_its_own_outcome(void **state)
{
	(void)state;
	for (scenario = 0; scenario < unless_valgrind(SCENARIOS, SCENARIOS / 50); scenario++)
		run_scenario();
}

int main(int argc, char **argv)
{
	if (argc > 1) { /* one scenario, for the debugger */
		scenario = (unsigned)strtoul(argv[1], NULL, 10);
		run_scenario();
		return 0;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_call_ends_once_with_its_own_outcome),
	};
	return cmocka_run_group_tests_name("batcher, random", tests, NULL, NULL);
}
