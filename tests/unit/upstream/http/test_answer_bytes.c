/* SPDX-License-Identifier: Apache-2.0 */
/* Large answers that come together: their bytes are counted before they are held, and a turn looks at few of them. */
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "tests/support/upstream_world.h"

enum {
	LARGE = 600 * 1000,
	COUNT = 6,
	LIMIT = 1024 * 1024,
	PIECES = 2000,
	IN_PIECES = 24,
	LONG = 2 << 20,
	ENDLESS = 64 << 20
};

/* The provider's side: an answer of LARGE bytes, whose last byte waits for provider_release. */
static atomic_uint held_back, sent_whole;

static void write_answer(struct provider_request *request, const char *text)
{
	static char filler[1000];
	uint64_t id = 0;
	memset(filler, 'x', sizeof filler - 1);
	read_ids(request->body, &id, 1);
	char head[80];
	int len = snprintf(head, sizeof head, "{\"jsonrpc\":\"2.0\",\"id\":%llu,\"result\":\"%s",
			   (unsigned long long)id, text);
	size_t fillers = LARGE / (sizeof filler - 1);
	provider_write(request, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
		       (size_t)len + fillers * (sizeof filler - 1) + 2, head);
	for (size_t i = 0; i < fillers; i++)
		provider_write(request, "%s", filler);
	provider_write(request, "\"");
}

static enum provider_then answer_in_two(struct provider_request *request)
{
	write_answer(request, "");
	atomic_fetch_add(&held_back, 1);
	provider_hold(request);
	provider_write(request, "}");
	atomic_fetch_add(&sent_whole, 1);
	return PROVIDER_KEEP;
}

/* Chunks of a byte each, as many as are read at once. In one go: what the kernel takes bit by bit may reach the gateway in
 * parts, and then the last parts of many are read in one turn. */
static enum provider_then answer_in_pieces(struct provider_request *request)
{
	static const char piece[] = "1\r\nx\r\n";
	enum { PIECE_LEN = sizeof piece - 1 };
	char pieces[PIECES * PIECE_LEN + 1] = "";
	uint64_t id = 0;
	read_ids(request->body, &id, 1);
	atomic_fetch_add(&held_back, 1);
	provider_hold(request);
	char head[80];
	int len = snprintf(head, sizeof head, "{\"jsonrpc\":\"2.0\",\"id\":%llu,\"result\":\"", (unsigned long long)id);
	for (size_t i = 0; i < PIECES; i++)
		memcpy(pieces + i * PIECE_LEN, piece, PIECE_LEN);
	provider_write(
		request,
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n"
		"%s2\r\n\"}\r\n0\r\n\r\n",
		(unsigned)len, head, pieces);
	atomic_fetch_add(&sent_whole, 1);
	return PROVIDER_KEEP;
}

static struct provider *start_answering(struct world *world, enum provider_then (*answer)(struct provider_request *))
{
	struct provider *provider = start_with(world, answer, NULL);
	atomic_store(&held_back, 0);
	atomic_store(&sent_whole, 0);
	return provider;
}

static struct provider *start(struct world *world)
{
	return start_answering(world, answer_in_two);
}

/* Another turn, until somebody has seen to it. */
static bool go_on(struct world *world, uint64_t latest_us)
{
	turn(world);
	return clock_now_us() < latest_us;
}

static int64_t gathered(const struct world *world)
{
	return metrics_read(world->metrics, METRIC_ID_ANSWER_BYTES, 0, 0);
}

static size_t completion_of(const struct completion *completions, size_t count)
{
	size_t completed = 0;
	for (size_t i = 0; i < count; i++)
		completed += completions[i].completed;
	return completed;
}

static void test_a_turn_looks_at_few(void **state)
{
	struct world world;
	static struct completion completions[COUNT];
	struct provider *provider = start(&world);
	uint64_t latest_us = clock_now_us() + PATIENCE_US;
	(void)state;
	for (size_t i = 0; i < COUNT; i++)
		send_many(&world, &completions[i], 1, true, PATIENCE_US);
	while ((atomic_load(&held_back) < COUNT || gathered(&world) < COUNT * (LARGE - LARGE / 20)) &&
	       go_on(&world, latest_us))
		continue;
	provider_release(provider, COUNT);
	while (atomic_load(&sent_whole) < COUNT && clock_now_us() < latest_us)
		sched_yield();
	for (size_t before = 0; before < COUNT; before = completion_of(completions, COUNT)) {
		assert_true(go_on(&world, latest_us));
		assert_true(completion_of(completions, COUNT) <= before + 1); /* each is more than a turn's worth */
	}
	for (size_t i = 0; i < COUNT; i++) {
		assert_int_equal(completions[i].answers[0]->outcome, OUTCOME_OK);
		completion_fini(&completions[i]);
	}
	assert_int_equal(gathered(&world), 0);
	world_fini(&world);
	provider_stop(provider);
}

/* What curl wanted to do a while after it had connected (another address might have been quicker) is done: it looks at the
 * connection then, and reads what is there, whatever the turn has read already. */
static void outwait_connecting(struct world *world)
{
	uint64_t over_us = clock_now_us() + 300 * CLOCK_US_PER_MS; /* CURL_HET_DEFAULT is 200 */
	while (clock_now_us() < over_us)
		turn(world);
	turn(world);
	turn(world);
}

/* Each takes a while however short it is, and 24 x 2,000 of them came together. */
static void test_a_turn_takes_few_pieces(void **state)
{
	struct world world;
	static struct completion completions[IN_PIECES];
	struct provider *provider = start_answering(&world, answer_in_pieces);
	uint64_t latest_us = clock_now_us() + PATIENCE_US;
	(void)state;
	for (size_t i = 0; i < IN_PIECES; i++)
		send_many(&world, &completions[i], 1, true, PATIENCE_US);
	while (atomic_load(&held_back) < IN_PIECES && go_on(&world, latest_us))
		continue;
	outwait_connecting(&world);
	provider_release(provider, IN_PIECES);
	while (atomic_load(&sent_whole) < IN_PIECES && clock_now_us() < latest_us)
		sched_yield();
	for (size_t before = 0; before < IN_PIECES; before = completion_of(completions, IN_PIECES)) {
		assert_true(go_on(&world, latest_us));
		assert_true(completion_of(completions, IN_PIECES) <= before + 8000 / PIECES);
	}
	for (size_t i = 0; i < IN_PIECES; i++) {
		assert_int_equal(completions[i].answers[0]->outcome, OUTCOME_OK);
		completion_fini(&completions[i]);
	}
	world_fini(&world);
	provider_stop(provider);
}

static void expect_no_room(const struct completion *completion, bool repeatable)
{
	assert_int_equal(completion->answers[0]->outcome, repeatable ? OUTCOME_OVERLOADED : OUTCOME_OUTCOME_UNKNOWN);
	expect_detail(completion->answers[0], "limits.in_flight_bytes");
}

static void test_what_has_no_room_is_refused(void **state)
{
	struct world world;
	static struct completion completions[COUNT];
	atomic_size_t held = 0;
	const struct byte_account account = { &held, LIMIT };
	struct provider *provider = start(&world);
	uint64_t latest_us = clock_now_us() + PATIENCE_US;
	(void)state;
	transport_set_account(world.transport, &account);
	for (size_t i = 0; i < COUNT; i++)
		send_many(&world, &completions[i], 1, i % 2 == 0, PATIENCE_US);
	while (completion_of(completions, COUNT) < COUNT - 1 && go_on(&world, latest_us))
		assert_true(atomic_load(&held) <= LIMIT);
	assert_int_equal(completion_of(completions, COUNT), COUNT - 1);
	while (gathered(&world) < LARGE - LARGE / 20 && go_on(&world, latest_us))
		continue;
	provider_release(provider, COUNT);
	while (completion_of(completions, COUNT) < COUNT && go_on(&world, latest_us))
		continue;
	size_t ok = 0;
	for (size_t i = 0; i < COUNT; i++) {
		if (completions[i].answers[0]->outcome == OUTCOME_OK)
			ok++;
		else
			expect_no_room(&completions[i], i % 2 == 0);
		completion_fini(&completions[i]);
	}
	assert_int_equal(ok, 1);
	assert_int_equal(metrics_read(world.metrics, METRIC_ID_REJECTED, REJECT_IN_FLIGHT_BYTES, 0), COUNT - 1);
	assert_int_equal(atomic_load(&held), 0);
	assert_int_equal(gathered(&world), 0);
	world_fini(&world);
	provider_stop(provider);
}

/* Twice as long as an answer must be to stay where it has come. The second half waits for provider_release. */
static enum provider_then answer_at_length(struct provider_request *request)
{
	uint64_t id = 0;
	char *text = malloc(LONG + 1);
	assert_non_null(text);
	memset(text, 'x', LONG);
	text[LONG] = '\0';
	read_ids(request->body, &id, 1);
	char head[80];
	int len = snprintf(head, sizeof head, "{\"jsonrpc\":\"2.0\",\"id\":%llu,\"result\":\"", (unsigned long long)id);
	provider_write(request,
		       "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s%.*s",
		       (size_t)len + LONG + 2, head, LONG / 2, text);
	provider_hold(request);
	provider_write(request, "%s\"}", text + LONG / 2);
	free(text);
	return PROVIDER_KEEP;
}

/* To move and to copy it would be the longest part of a turn. It is counted before it is there: that memory may be used. */
static void test_a_long_answer_stays_where_it_has_come(void **state)
{
	struct world world;
	static struct completion completions[2];
	struct provider *provider = prepare_with(&world, &dialect_jsonrpc, answer_at_length, NULL);
	(void)state;
	world.settings.answer_bytes = 4 << 20;
	uint64_t latest_us = clock_now_us() + PATIENCE_US;
	world_open(&world);
	for (size_t i = 0; i < countof(completions); i++) {
		send_many(&world, &completions[i], 1, true, PATIENCE_US);
		while (gathered(&world) < LONG && go_on(&world, latest_us))
			continue;
		assert_false(completions[i].completed);
		provider_release(provider, 1);
		wait_completed(&completions[i]);
		const struct answer *answer = completions[i].answers[0];
		assert_int_equal(answer->outcome, OUTCOME_OK);
		assert_non_null(answer->store);
		assert_int_equal(answer_body(answer).len, LONG + 2);
		assert_memory_equal(answer_body(answer).at, "\"xxx", 4);
	}
	for (size_t i = 0; i < countof(completions); i++) {
		struct slice body = answer_body(completions[i].answers[0]);
		assert_memory_equal(body.at + body.len - 4, "xxx\"", 4);
		completion_fini(&completions[i]);
	}
	world_fini(&world);
	provider_stop(provider);
}

/* The first one asked is answered in a few bytes, once it is released; whoever comes after it, with ENDLESS at once. */
static enum provider_then answer_endlessly(struct provider_request *request)
{
	enum { PIECE = 1 << 20 };
	if (request->number == 0) {
		atomic_fetch_add(&held_back, 1);
		enum provider_then then = hold_then_answer(request);
		atomic_fetch_add(&sent_whole, 1);
		return then;
	}
	uint64_t id = 0;
	char *text = malloc(PIECE + 1);
	assert_non_null(text);
	memset(text, 'x', PIECE);
	text[PIECE] = '\0';
	read_ids(request->body, &id, 1);
	char head[80];
	int len = snprintf(head, sizeof head, "{\"jsonrpc\":\"2.0\",\"id\":%llu,\"result\":\"", (unsigned long long)id);
	provider_write(request, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
		       (size_t)len + ENDLESS + 2, head);
	for (size_t i = 0; i < ENDLESS; i += PIECE)
		provider_write(request, "%s", text);
	provider_write(request, "\"}");
	free(text);
	return PROVIDER_KEEP;
}

/* Turns, each of which finds what the providers can have written meanwhile, until so much is gathered; how many. */
static unsigned turns_until(struct world *world, size_t bytes, const struct completion *completion)
{
	unsigned turns = 0;
	uint64_t latest_us = clock_now_us() + PATIENCE_US;
	for (; gathered(world) < (int64_t)bytes && !completion->completed && go_on(world, latest_us); turns++)
		nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
	return turns;
}

/* Those whose answers come as quickly as they are read do not keep another's from being read. */
static void test_a_short_answer_is_read_between_long_ones(void **state)
{
	enum { LONG_ONES = 2 };
	struct world world;
	static struct completion small, large[LONG_ONES];
	struct provider *provider = prepare_with(&world, &dialect_jsonrpc, answer_endlessly, NULL);
	uint64_t latest_us = clock_now_us() + PATIENCE_US;
	(void)state;
	world.settings.answer_bytes = 2 * ENDLESS;
	world_open(&world);
	atomic_store(&held_back, 0);
	atomic_store(&sent_whole, 0);
	send_many(&world, &small, 1, true, PATIENCE_US);
	while (atomic_load(&held_back) < 1 && go_on(&world, latest_us))
		continue;
	outwait_connecting(&world);
	for (size_t i = 0; i < LONG_ONES; i++)
		send_many(&world, &large[i], 1, true, PATIENCE_US);
	turns_until(&world, ENDLESS / 4, &small);
	provider_release(provider, 1);
	while (atomic_load(&sent_whole) < 1 && clock_now_us() < latest_us)
		sched_yield();
	assert_in_range(turns_until(&world, SIZE_MAX / 2, &small), 1, 2 * LONG_ONES + 2);
	assert_int_equal(small.answers[0]->outcome, OUTCOME_OK);
	for (size_t i = 0; i < LONG_ONES; i++)
		upstream_abort(large[i].exchange);
	completion_fini(&small);
	world_fini(&world);
	provider_stop(provider);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_long_answer_stays_where_it_has_come),
		cmocka_unit_test(test_a_short_answer_is_read_between_long_ones),
		cmocka_unit_test(test_a_turn_looks_at_few),
		cmocka_unit_test(test_a_turn_takes_few_pieces),
		cmocka_unit_test(test_what_has_no_room_is_refused),
	};
	return run_with_upstream("answer bytes", tests, countof(tests));
}
