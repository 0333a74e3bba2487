/* SPDX-License-Identifier: Apache-2.0 */
/* The pool without a gateway around it: exchanges of many calls, crashes, memory that runs out. The children are
 * scripts of sh and awk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/alloc_fail.h"
#include "upstream/http/transport.h"
#include "upstream/process_settings.h"
#include "upstream/upstream.h"

#define PATIENCE_US (30 * CLOCK_US_PER_S)
enum { CALLS_MAX = 200 };

static const char *const names[] = { "p" };
static const char *const urls[] = { "sh" };
static const size_t owners[] = { 0 };

static struct {
	struct metrics *metrics;
	struct meter *meter;
	struct loop *loop;
	struct transport *transport;
	struct slice arguments;
	struct upstream *upstream;
	struct upstream_settings settings;
	struct process_pool_settings pool;
	struct dialect_route *route;
} world;

/* What became of one exchange. */
struct delivered {
	enum outcome outcomes[CALLS_MAX];
	char details[CALLS_MAX][ANSWER_DETAIL_BYTES];
	size_t answered, completed;
};

static void on_answered(void *context, size_t index, struct answer *answer)
{
	struct delivered *delivered = context;
	delivered->outcomes[index] = answer->outcome;
	snprintf(delivered->details[index], ANSWER_DETAIL_BYTES, "%s", answer->detail);
	delivered->answered++;
	answer_unref(answer);
}

static void on_completed(void *context, enum outcome outcome)
{
	(void)outcome;
	((struct delivered *)context)->completed++;
}

static const struct upstream_events events = { .answered = on_answered, .completed = on_completed };

static void turn(void)
{
	loop_wait(world.loop, clock_now_us() + 20 * CLOCK_US_PER_MS);
	loop_run_timers(world.loop);
}

#define WAIT_FOR(condition)                                                                                            \
	do {                                                                                                           \
		uint64_t until_us = clock_now_us() + PATIENCE_US;                                                      \
		while (!(condition)) {                                                                                 \
			assert_true(clock_now_us() < until_us);                                                        \
			turn();                                                                                        \
		}                                                                                                      \
	} while (0)

static void open_pool(const char *const *argv, size_t max, size_t calls)
{
	static const struct route_settings route = { .tool = "t" };
	struct dialect_error error = { 0 };
	world.pool = (struct process_pool_settings){ .process = { .argv = argv,
								  .grace_us = CLOCK_US_PER_S,
								  .term_us = CLOCK_US_PER_S,
								  .line_bytes = 1 << 20,
								  .queue_bytes = 1 << 20 },
						     .min = 1,
						     .max = max,
						     .calls = calls,
						     .idle_timeout_us = PATIENCE_US,
						     .restart_backoff_us = 1000,
						     .start_timeout_us = PATIENCE_US };
	world.settings = (struct upstream_settings){ .name = "p",
						     .dialect = &dialect_jsonrpc_stdio,
						     .endpoints = urls,
						     .shown = urls,
						     .endpoint_count = 1,
						     .pool_max = max,
						     .timeout_us = PATIENCE_US,
						     .answer_bytes = 1 << 20,
						     .mcp_list_bytes = 1 << 20,
						     .json_depth = 16,
						     .process = &world.pool };
	world.route = dialect_jsonrpc_stdio.route_new(&route, &error);
	assert_non_null(world.route);
	world.upstream = upstream_new(&world.settings, world.transport, world.loop, world.meter);
	assert_non_null(world.upstream);
}

static void close_pool(void)
{
	upstream_free(world.upstream);
	dialect_route_unref(world.route);
}

static struct exchange *send_calls(struct delivered *delivered, size_t count, bool repeatable, struct answer **refusal)
{
	struct upstream_call calls[CALLS_MAX];
	for (size_t i = 0; i < count; i++)
		calls[i] = (struct upstream_call){ .route = world.route,
						   .arguments = world.arguments,
						   .repeatable = repeatable };
	*delivered = (struct delivered){ .answered = 0 };
	return upstream_send(world.upstream, calls, count, CLOCK_NEVER - 1, &events, delivered, refusal);
}

static void send_well(struct delivered *delivered, size_t count, bool repeatable)
{
	struct answer *refusal = NULL;
	assert_non_null(send_calls(delivered, count, repeatable, &refusal));
}

/* Answers every line, the id taken from it. */
#define ANSWER                                                                                                         \
	"match($0, /\"id\":[0-9]+/) { print \"{\\\"jsonrpc\\\":\\\"2.0\\\",\" substr($0, RSTART, RLENGTH) "            \
	"\",\\\"result\\\":1}\"; fflush() }"
static const char *const echo[] = { "mawk", "-W", "interactive", ANSWER, NULL };
/* Reads one line and falls over. */
static const char *const crash[] = { "sh", "-c", "read line; exit 9", NULL };
/* Complain of what they have read, and fall over: after one call, and with two in them. */
static const char *const quote[] = { "sh", "-c", "read line; echo \"bad: $line\" >&2; exit 9", NULL };
static const char *const quote_two[] = { "sh", "-c", "read line; read next; echo \"bad: $line\" >&2; exit 9", NULL };
/* Never reads a line. */
static const char *const fall[] = { "sh", "-c", "exit 9", NULL };
/* Reads all, says nothing. */
static const char *const mute[] = { "sh", "-c", "while read line; do :; done", NULL };

static int64_t members_shown(enum endpoint_state state)
{
	return metrics_read(world.metrics, METRIC_ID_ENDPOINT_STATE, 0, state);
}

static void many_calls_of_an_exchange_are_answered_by_few_processes(void **state)
{
	(void)state;
	struct delivered delivered;
	open_pool(echo, 3, 10);
	send_well(&delivered, CALLS_MAX, false);
	WAIT_FOR(delivered.completed == 1);
	assert_int_equal(delivered.answered, CALLS_MAX);
	for (size_t i = 0; i < CALLS_MAX; i++)
		assert_int_equal(delivered.outcomes[i], OUTCOME_OK);
	assert_in_range(members_shown(ENDPOINT_STATE_UP), 1, 3);
	assert_int_equal(members_shown(ENDPOINT_STATE_EJECTED), 0);
	close_pool();
}

static void what_was_in_a_process_that_ends_is_not_known(void **state)
{
	(void)state;
	struct delivered delivered;
	open_pool(crash, 1, 10);
	send_well(&delivered, 5, false);
	WAIT_FOR(delivered.completed == 1);
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(delivered.outcomes[i], OUTCOME_OUTCOME_UNKNOWN);
		assert_non_null(strstr(delivered.details[i], "exited with status 9"));
	}
	close_pool();
}

static void last_words_are_told_to_the_call_that_was_alone(void **state)
{
	(void)state;
	struct delivered delivered;
	open_pool(quote, 1, 10);
	send_well(&delivered, 1, false);
	WAIT_FOR(delivered.completed == 1);
	assert_non_null(strstr(delivered.details[0], "exited with status 9 (its last words: bad: {"));
	close_pool();
}

/* They may quote what one of them has sent. */
static void last_words_are_told_to_nobody_else(void **state)
{
	(void)state;
	struct delivered delivered;
	struct answer *refusal = NULL;
	open_pool(quote_two, 1, 10);
	for (int round = 0; round < 2; round++) {
		send_well(&delivered, 2, false);
		WAIT_FOR(delivered.completed == 1);
		for (size_t i = 0; i < 2; i++) {
			assert_non_null(strstr(delivered.details[i], "exited with status 9"));
			assert_null(strstr(delivered.details[i], "bad"));
		}
	}
	/* it falls over again and again: nor is it told to who comes next */
	while (send_calls(&delivered, 2, false, &refusal))
		WAIT_FOR(delivered.completed == 1);
	assert_non_null(strstr(refusal->detail, "exited with status 9"));
	assert_null(strstr(refusal->detail, "bad"));
	answer_unref(refusal);
	close_pool();
}

static void a_repeatable_call_is_sent_twice_at_most(void **state)
{
	(void)state;
	struct delivered delivered;
	open_pool(crash, 1, 10);
	send_well(&delivered, 1, true);
	WAIT_FOR(delivered.completed == 1);
	assert_true(delivered.outcomes[0] == OUTCOME_UPSTREAM_ERROR ||
		    delivered.outcomes[0] == OUTCOME_UPSTREAM_UNAVAILABLE);
	assert_int_equal(metrics_read(world.metrics, METRIC_ID_UPSTREAM_REPEATS, 0, 0), 1);
	close_pool();
}

static void a_program_that_does_not_stay_up_is_refused_at_once(void **state)
{
	(void)state;
	struct delivered delivered;
	struct answer *refusal = NULL;
	open_pool(fall, 1, 10);
	WAIT_FOR(metrics_read(world.metrics, METRIC_ID_PROCESS_CRASHES, 0, 0) >= 8); /* the backoff has grown */
	assert_int_equal(members_shown(ENDPOINT_STATE_UP), 0);
	WAIT_FOR(members_shown(ENDPOINT_STATE_EJECTED) == 1); /* it is started again and again */
	struct exchange *exchange = send_calls(&delivered, 1, false, &refusal);
	assert_null(exchange);
	assert_int_equal(refusal->outcome, OUTCOME_UPSTREAM_UNAVAILABLE);
	assert_non_null(strstr(refusal->detail, "exited with status 9"));
	assert_true(refusal->retry_after_s > 0);
	answer_unref(refusal);
	close_pool();
}

static void an_aborted_exchange_says_no_more(void **state)
{
	(void)state;
	struct delivered delivered, other;
	struct answer *refusal = NULL;
	open_pool(echo, 1, 1);
	struct exchange *exchange = send_calls(&delivered, 3, false, &refusal);
	send_well(&other, 1, false);
	upstream_forget(exchange, 1);
	upstream_abort(exchange);
	WAIT_FOR(other.completed == 1);
	assert_int_equal(delivered.answered + delivered.completed, 0);
	assert_int_equal(other.outcomes[0], OUTCOME_OK);
	close_pool();
}

/* A lone call that the batch gives up when its time is over, a moment before the exchange's own timer. */
static void who_lets_aborted_calls_time_out_is_doubted_too(void **state)
{
	(void)state;
	struct delivered delivered;
	open_pool(mute, 1, 10);
	for (int i = 0; i < 3; i++) {
		struct answer *refusal = NULL;
		assert_int_equal(metrics_read(world.metrics, METRIC_ID_PROCESS_CRASHES, 0, 0), 0);
		struct exchange *exchange = send_calls(&delivered, 1, false, &refusal);
		assert_non_null(exchange);
		WAIT_FOR(upstream_sent(exchange));
		clock_set(loop_now(world.loop) + PATIENCE_US);
		loop_refresh(world.loop);
		upstream_abort(exchange);
		clock_set(0);
		loop_refresh(world.loop);
	}
	WAIT_FOR(metrics_read(world.metrics, METRIC_ID_PROCESS_CRASHES, 0, 0) == 1);
	close_pool();
}

static void a_call_without_memory_is_shed(void **state)
{
	(void)state;
	bool done = false;
	open_pool(echo, 1, 100);
	for (size_t n = 1; !done; n++) {
		struct delivered delivered;
		struct answer *refusal = NULL;
		alloc_fail_at(n);
		struct exchange *exchange = send_calls(&delivered, 3, false, &refusal);
		if (exchange)
			WAIT_FOR(delivered.completed == 1);
		done = alloc_count() < n;
		alloc_reset();
		if (exchange)
			assert_int_equal(delivered.answered, 3);
		else
			answer_unref(refusal);
		assert_true(n < 200);
	}
	close_pool();
}

/* It reads nothing: what waits for it is counted, and beyond the bound nothing does. */
static void what_waits_for_a_program_that_does_not_read_is_counted(void **state)
{
	static const char *const idle[] = { "sleep", "1000", NULL };
	enum { LINE = 40 * 1000, LIMIT = 1024 * 1024, MANY = 60 };
	static struct delivered delivered[MANY];
	struct exchange *exchanges[MANY];
	struct answer *refusal = NULL;
	char *text = malloc(LINE);
	atomic_size_t held = 0;
	const struct byte_account account = { &held, LIMIT };
	size_t sent = 0;
	(void)state;
	assert_non_null(text);
	snprintf(text, LINE, "{\"a\":\"%0*d\"}", LINE - 20, 0);
	transport_set_account(world.transport, &account);
	open_pool(idle, 1, MANY);
	world.arguments = slice_of(text);
	while (sent < MANY && (exchanges[sent] = send_calls(&delivered[sent], 1, false, &refusal))) {
		sent++;
		assert_true(atomic_load(&held) >= sent * (LINE - 100) && atomic_load(&held) <= LIMIT);
		turn();
	}
	assert_in_range(sent, 10, LIMIT / LINE);
	assert_int_equal(refusal->outcome, OUTCOME_OVERLOADED);
	assert_non_null(strstr(refusal->detail, "limits.in_flight_bytes"));
	answer_unref(refusal);
	while (sent)
		upstream_abort(exchanges[--sent]);
	assert_int_equal(atomic_load(&held), 0);
	close_pool();
	free(text);
}

/* A call that is said not to have been sent must not be carried out once its program reads again. */
static void what_was_given_up_unsent_never_leaves(void **state)
{
	static const char *const late[] = {
		"sh", "-c", "while [ ! -e \"$0\" ]; do sleep 0.05; done; exec mawk -W interactive '" ANSWER "'", NULL,
		NULL
	};
	enum { LARGE = 300 * 1000 };
	struct delivered first, second, third;
	struct answer *refusal = NULL;
	char path[] = "/tmp/test_pool_XXXXXX", *text = malloc(LARGE);
	(void)state;
	int fd = mkstemp(path);
	assert_true(text && fd >= 0);
	unlink(path);
	snprintf(text, LARGE, "{\"a\":\"%0*d\"}", LARGE - 20, 0);
	const char *argv[countof(late)];
	memcpy(argv, late, sizeof late);
	argv[3] = path;
	open_pool(argv, 1, 10);
	world.arguments = slice_of(text); /* more than a pipe holds */
	struct exchange *begun = send_calls(&first, 1, false, &refusal);
	WAIT_FOR(upstream_sent(begun));
	world.arguments = SLICE("{}");
	struct exchange *unsent = send_calls(&second, 1, false, &refusal);
	assert_false(upstream_sent(unsent));
	upstream_abort(unsent);
	upstream_abort(begun);
	memset(text, '\n', LARGE);
	send_well(&third, 1, false);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	WAIT_FOR(third.completed == 1);
	assert_int_equal(third.outcomes[0], OUTCOME_OK);
	/* the first call's answer, which nobody waits for, is the only line too many */
	assert_int_equal(metrics_read(world.metrics, METRIC_ID_PROCESS_UNPARSED_LINES, 0, 0), 1);
	unlink(path);
	close(fd);
	close_pool();
	free(text);
}

static int set_up(void **state)
{
	static const struct metrics_names of = { .upstreams = names,
						 .upstream_count = 1,
						 .endpoints = urls,
						 .endpoint_upstreams = owners,
						 .endpoint_count = 1 };
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	world.loop = loop_new();
	world.metrics = metrics_new(&of);
	world.meter = world.metrics ? metrics_meter(world.metrics) : NULL;
	world.arguments = SLICE("{}");
	world.transport = world.loop && world.meter ? transport_new(world.loop, world.meter, 1) : NULL;
	return world.transport ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	transport_free(world.transport);
	loop_free(world.loop);
	metrics_free(world.metrics);
	return upstream_await_children(PATIENCE_US) ? 0 : -1;
}

#define WITH_POOL(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_POOL(many_calls_of_an_exchange_are_answered_by_few_processes),
		WITH_POOL(what_was_in_a_process_that_ends_is_not_known),
		WITH_POOL(last_words_are_told_to_the_call_that_was_alone),
		WITH_POOL(last_words_are_told_to_nobody_else),
		WITH_POOL(a_repeatable_call_is_sent_twice_at_most),
		WITH_POOL(a_program_that_does_not_stay_up_is_refused_at_once),
		WITH_POOL(an_aborted_exchange_says_no_more),
		WITH_POOL(who_lets_aborted_calls_time_out_is_doubted_too),
		WITH_POOL(a_call_without_memory_is_shed),
		WITH_POOL(what_waits_for_a_program_that_does_not_read_is_counted),
		WITH_POOL(what_was_given_up_unsent_never_leaves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
