/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose answer, of programs that speak by lines: a child (this program itself, --child) answers in any order, twice,
 * late, under ids that nobody or somebody else has, or not at all, and dies. Between its answers it writes what looks like
 * answers to the calls before and after, as lines of a document or of a log. Each call gets its own answer or none.
 *
 * JITNEY_LINES_EXCHANGES: how many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"
#include "tests/support/valgrind.h"
#include "upstream/process_settings.h"
#include "upstream/upstream.h"

#define PATIENCE_US (60 * CLOCK_US_PER_S)
/* on a machine that is busy with other things, too */
#define CALL_US (unless_valgrind(2, 20) * CLOCK_US_PER_S)
enum { AT_ONCE = 24, EXCHANGES = 400, CALLS_MOST = 5 };

/* --- the child --- */

struct asked {
	unsigned long long id, k;
};

static uint64_t dice_state;

static unsigned roll_dice(unsigned sides)
{
	dice_state ^= dice_state << 13;
	dice_state ^= dice_state >> 7;
	dice_state ^= dice_state << 17;
	return (unsigned)(dice_state % sides);
}

static void say_result(unsigned long long id, const char *result)
{
	printf("{\"jsonrpc\":\"2.0\",\"id\":%llu,\"result\":%s}\n", id, result);
}

/* Whoever numbers calls one by one has others' here. A few: who guesses a hundred times is not listened to any more. */
static void say_to_neighbours(unsigned long long id)
{
	for (unsigned long long n = 1; n <= 3 && n < id; n++) {
		say_result(id + n, "\"the next one's\"");
		say_result(id - n, "\"the one's before\"");
	}
}

/* What looks like the id and is none. */
static void say_under_no_id(unsigned long long id)
{
	printf("{\"jsonrpc\":\"2.0\",\"id\":-%llu,\"result\":\"minus\"}\n", id);
	printf("{\"jsonrpc\":\"2.0\",\"id\":null,\"result\":\"null\"}\n");
	printf("{\"jsonrpc\":\"2.0\",\"id\":[%llu],\"result\":\"list\"}\n", id);
	printf("{\"jsonrpc\":\"2.0\",\"id\":%llu.5,\"result\":\"half\"}\n", id);
	printf("{\"jsonrpc\":\"2.0\",\"result\":\"none\"}\n");
}

/* False: not at all. */
static bool answer_call(const struct asked *asked)
{
	char own[40];
	snprintf(own, sizeof own, "{\"k\":%llu}", asked->k);
	switch (roll_dice(60)) {
	case 0:
		return false;
	case 1: /* twice */
		say_result(asked->id, own);
		say_result(asked->id, "\"again\"");
		break;
	case 2: /* of nobody's, before its own */
		say_result(asked->id + 100000, "\"nobody\"");
		say_result(asked->id, own);
		break;
	case 3:
		say_under_no_id(asked->id);
		say_result(asked->id, own);
		break;
	case 4: /* with bytes around it that are no answer */
		printf("noise\n\n{\"half\":\n[]\n{\"jsonrpc\":\"2.0\",\"method\":\"note\",\"params\":{\"id\":%llu}}\n",
		       asked->id);
		say_result(asked->id, own);
		break;
	case 6: /* as a text, as some servers do it */
		printf("{\"jsonrpc\":\"2.0\",\"id\":\"%llu\",\"result\":%s}\n", asked->id, own);
		break;
	case 5: /* a question of its own, under that id */
		printf("{\"jsonrpc\":\"2.0\",\"id\":%llu,\"method\":\"ping\"}\n", asked->id);
		say_result(asked->id, own);
		break;
	case 7: /* within a document over several lines */
		printf("{\n  \"jsonrpc\": \"2.0\",\n  \"id\": %llu,\n  \"result\": [\n", asked->id);
		say_to_neighbours(asked->id);
		printf("  ]\n}\n");
		say_result(asked->id, own);
		break;
	case 8: /* in what a caller has sent, which is logged */
		printf("debug: called with k=\n");
		say_to_neighbours(asked->id);
		say_result(asked->id, own);
		break;
	default:
		say_result(asked->id, own);
	}
	return true;
}

static void die_or_repeat(struct asked *before)
{
	if (roll_dice(400) == 0)
		_exit(3);
	if (before->id && roll_dice(10) == 0) /* long answered, or given up */
		say_result(before->id, "\"late\"");
}

static int play_child(const char *seed)
{
	enum { HELD_MOST = 64, LINE_BYTES = 300 };
	struct asked held[HELD_MOST], before = { 0, 0 };
	size_t count = 0;
	char line[LINE_BYTES];
	dice_state = strtoull(seed, NULL, 10) ^ (uint64_t)getpid() << 20 ^ 1;
	setvbuf(stdin, NULL, _IONBF, 0);
	for (;;) {
		struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
		bool more = poll(&in, 1, count ? (int)roll_dice(4) : -1) > 0;
		if (more && count < HELD_MOST) {
			if (!fgets(line, sizeof line, stdin))
				return 0;
			const char *id = strstr(line, "\"id\":"), *k = strstr(line, "\"k\":");
			if (!id || !k) /* word of a call that is given up */
				continue;
			held[count++] = (struct asked){ strtoull(id + 5, NULL, 10), strtoull(k + 4, NULL, 10) };
			if (roll_dice(3))
				continue;
		}
		size_t at = count ? roll_dice((unsigned)count) : 0;
		die_or_repeat(&before);
		if (count && answer_call(&held[at]))
			before = held[at];
		else if (!count)
			continue;
		held[at] = held[--count];
		fflush(stdout);
	}
}

/* --- the gateway's side --- */

struct delivered {
	unsigned long long first; /* k of its calls: from here on */
	size_t count, answered;
	bool completed;
	char arguments[CALLS_MOST][40];
};

static struct {
	struct loop *loop;
	struct metrics *metrics;
	struct upstream *upstream;
	struct dialect_route *route;
	unsigned long long next_k;
	size_t good, failed;
} world;

static void on_answered(void *context, size_t index, struct answer *answer)
{
	struct delivered *delivered = context;
	char own[40];
	assert_true(index < delivered->count && !delivered->completed);
	snprintf(own, sizeof own, "{\"k\":%llu}", delivered->first + index);
	if (answer->outcome == OUTCOME_OK && !slice_equal(answer_body(answer), slice_of(own)))
		fail_msg("%s was given %.*s", own, SLICE_ARG(answer_body(answer)));
	world.good += answer->outcome == OUTCOME_OK;
	world.failed += answer->outcome != OUTCOME_OK;
	delivered->answered++;
	answer_unref(answer);
}

static void on_completed(void *context, enum outcome outcome)
{
	struct delivered *delivered = context;
	(void)outcome;
	assert_int_equal(delivered->answered, delivered->count);
	assert_false(delivered->completed);
	delivered->completed = true;
}

static const struct upstream_events events = { .answered = on_answered, .completed = on_completed };

static void send_some(struct delivered *delivered)
{
	struct upstream_call calls[CALLS_MOST];
	struct answer *refusal = NULL;
	*delivered = (struct delivered){ .first = world.next_k, .count = 1 + roll_dice(CALLS_MOST) };
	world.next_k += delivered->count;
	for (size_t i = 0; i < delivered->count; i++) {
		snprintf(delivered->arguments[i], sizeof delivered->arguments[i], "{\"k\":%llu}", delivered->first + i);
		calls[i] =
			(struct upstream_call){ .route = world.route, .arguments = slice_of(delivered->arguments[i]) };
	}
	if (upstream_send(world.upstream, calls, delivered->count, loop_refresh(world.loop) + CALL_US, &events,
			  delivered, &refusal))
		return;
	delivered->completed = true; /* all children are being started again */
	world.failed += delivered->count;
	answer_unref(refusal);
}

static size_t exchanges_to_run(void)
{
	const char *wanted = getenv("JITNEY_LINES_EXCHANGES");
	return wanted ? strtoul(wanted, NULL, 10) : unless_valgrind(EXCHANGES, EXCHANGES / 10);
}

static void run_calls(void)
{
	const size_t most = exchanges_to_run();
	static struct delivered delivered[AT_ONCE];
	uint64_t until_us = clock_now_us() + PATIENCE_US;
	size_t sent = 0, under_way = 0;
	for (size_t i = 0; i < AT_ONCE; i++)
		delivered[i].completed = true;
	do {
		under_way = 0;
		for (size_t i = 0; i < AT_ONCE; i++) {
			if (delivered[i].completed && sent < most) {
				send_some(&delivered[i]);
				sent++;
			}
			under_way += !delivered[i].completed;
		}
		loop_wait(world.loop, clock_now_us() + 5 * CLOCK_US_PER_MS);
		loop_run_timers(world.loop);
		assert_true(clock_now_us() < until_us);
	} while (under_way > 0 || sent < most);
}

/* by its name: under valgrind the link itself leads to valgrind */
static char program[4096];
static const char *const child_argv[] = { program, "--child", "7", NULL }, *const names[] = { "p" },
			 *const urls[] = { "self" };
static struct process_pool_settings pool = { .process = { .argv = child_argv,
							  .grace_us = CLOCK_US_PER_S,
							  .term_us = CLOCK_US_PER_S,
							  .line_bytes = 1 << 20,
							  .queue_bytes = 1 << 20 },
					     .min = 2,
					     .max = 3,
					     .calls = 16,
					     .idle_timeout_us = PATIENCE_US,
					     .restart_backoff_us = 1000,
					     .start_timeout_us = PATIENCE_US };

static void each_call_gets_its_own_line_or_none(void **state)
{
	static const size_t owners[] = { 0 };
	static const struct route_settings route = { .tool = "t" };
	struct dialect_error error = { 0 };
	const struct upstream_settings settings = { .name = "p",
						    .dialect = &dialect_jsonrpc_stdio,
						    .endpoints = urls,
						    .shown = urls,
						    .endpoint_count = 1,
						    .pool_max = 3,
						    .timeout_us = CALL_US,
						    .answer_bytes = 1 << 20,
						    .json_depth = 16,
						    .process = &pool };
	(void)state;
	assert_true(readlink("/proc/self/exe", program, sizeof program - 1) > 0);
	dice_state = 42;
	world.next_k = 1;
	world.loop = loop_new();
	world.metrics = metrics_new(&(struct metrics_names){ .upstreams = names,
							     .upstream_count = 1,
							     .endpoints = urls,
							     .endpoint_upstreams = owners,
							     .endpoint_count = 1 });
	world.route = dialect_jsonrpc_stdio.route_new(&route, &error);
	world.upstream = upstream_new(&settings, NULL, world.loop, metrics_meter(world.metrics));
	assert_non_null(world.upstream);
	run_calls();
	assert_int_equal(world.good + world.failed, world.next_k - 1);
	assert_true(world.good > world.failed && world.failed > 0);
	upstream_free(world.upstream);
	assert_true(upstream_await_children(PATIENCE_US));
	dialect_route_unref(world.route);
	loop_free(world.loop);
	metrics_free(world.metrics);
}

int main(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[1], "--child") == 0)
		return play_child(argv[2]);
	const struct CMUnitTest tests[] = { cmocka_unit_test(each_call_gets_its_own_line_or_none) };
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
