/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The upstream's front door against a scripted provider: what is sent, how each way of failing is told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <unistd.h>

#include "tests/support/alloc_fail.h"
#include "tests/support/curls_clock.h"
#include "tests/support/instructions.h"
#include "tests/support/upstream_world.h"
#include "upstream/http/http_request.h"
#include "upstream/http/endpoint.h"

static enum provider_then answer_in_chunks(struct provider_request *request)
{
	struct words words;
	struct slice all = good_answer(&words, request->body);
	provider_write(request, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (size_t at = 0; at < all.len; at += 7) {
		size_t len = all.len - at < 7 ? all.len - at : 7;
		provider_write(request, "%zx\r\n%.*s\r\n", len, (int)len, all.at + at);
	}
	provider_write(request, "0\r\n\r\n");
	return PROVIDER_KEEP;
}

/* The first call's answer, then nothing more until released, then RST. */
static enum provider_then half_then_reset(struct provider_request *request)
{
	uint64_t ids[MAX_CALLS];
	size_t count = read_ids(request->body, ids, MAX_CALLS);
	assert(count > 0);
	provider_write(
		request,
		"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n[{\"jsonrpc\":\"2.0\",\"id\":%llu,\"result\":1},{\"i",
		(unsigned long long)ids[0]);
	provider_hold(request);
	return PROVIDER_RESET;
}

static enum provider_then answer_endlessly(struct provider_request *request)
{
	provider_write(request, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 10000; i++)
		provider_write(request, "400\r\n%01024d\r\n", 7);
	return PROVIDER_CLOSE;
}

static enum provider_then answer_status(struct provider_request *request)
{
	const char *const *what = request->context; /* status, extra header lines, body */
	provider_write(request, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n%s", what[0], strlen(what[2]), what[1],
		       what[2]);
	return PROVIDER_KEEP;
}

/* Keeps the head of the last request. */
struct seen {
	pthread_mutex_t lock;
	char text[4000];
};

static enum provider_then note_request(struct provider_request *request)
{
	struct seen *seen = request->context;
	pthread_mutex_lock(&seen->lock);
	snprintf(seen->text, sizeof seen->text, "%.*s%.*s", SLICE_ARG(request->head), SLICE_ARG(request->body));
	pthread_mutex_unlock(&seen->lock);
	return answer_well(request);
}

/* A turn may be long, and send and receive in one: an exchange took what it took, not what the turn's begin says. */
static void an_exchange_completes_when_it_does(void **state)
{
	(void)state;
	struct world world;
	uint64_t now_us = CLOCK_US_PER_S, latest = clock_now_us() + PATIENCE_US;
	struct provider *provider = start_with(&world, answer_well, NULL);
	clock_set(now_us);
	struct completion completion = { 0 };
	send_many(&world, &completion, 1, true, PATIENCE_US);
	for (int turns = 0; !completion.completed && turns < 1000; turns++) {
		loop_wait(world.loop, now_us + 20 * CLOCK_US_PER_MS);
		clock_set(now_us += 7); /* the turn goes on */
		transport_tick(world.transport);
	}
	clock_set(0);
	assert_true(completion.completed && clock_now_us() < latest);
	assert_int_equal(completion.completed_us, now_us);
	completion_fini(&completion);
	end(&world, provider);
}

static void a_batch_gets_each_call_its_own_answer(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = start_with(&world, answer_in_chunks, NULL);
	struct completion completion = { 0 };
	send_many(&world, &completion, 100, true, 10 * CLOCK_US_PER_S);
	wait_completed(&completion);
	assert_int_equal(completion.answered, 100);
	assert_int_equal(completion.outcome, OUTCOME_OK);
	for (size_t i = 0; i < 100; i++) {
		char wanted[40];
		snprintf(wanted, sizeof wanted, "{\"n\":%zu.50}", i + 1); /* ids begin with 1 */
		assert_int_equal(completion.answers[i]->outcome, OUTCOME_OK);
		assert_string_equal(completion.answers[i]->bytes, wanted);
	}
	assert_int_equal(provider_requests(provider), 1);
	completion_fini(&completion);
	end(&world, provider);
}

/* A port where nobody listens, nor will: the socket keeps it until it is closed. */
static unsigned closed_port(int *kept)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof address;
	*kept = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(*kept, (struct sockaddr *)&address, len), 0);
	assert_int_equal(getsockname(*kept, (struct sockaddr *)&address, &len), 0);
	return ntohs(address.sin_port);
}

static void a_refused_connection_means_nothing_was_sent(void **state)
{
	(void)state;
	struct world world;
	char wanted[200];
	int kept;
	world_init(&world, &dialect_jsonrpc);
	add_endpoint(&world, closed_port(&kept));
	world_open(&world);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_HEALTHY, 0, 0), 1);
	struct completion completion = { 0 };
	call_once(&world, &completion, false);
	assert_int_equal(completion.answers[0]->outcome, OUTCOME_UPSTREAM_UNAVAILABLE);
	snprintf(wanted, sizeof wanted, "search: cannot connect to %s: connection refused", world.endpoints[0]);
	assert_string_equal(completion.answers[0]->detail, wanted);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_HEALTHY, 0, 0), 0);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_REQUESTS, 0, OUTCOME_UPSTREAM_UNAVAILABLE), 1);
	completion_fini(&completion);
	end(&world, NULL);
	close(kept);
}

/* A listener whose queue is full takes no further connection and refuses none. */
static void a_connection_that_does_not_come_about_is_given_up(void **state)
{
	(void)state;
	enum { CROWD = 8 };
	struct world world;
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof address;
	int crowd[CROWD], fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(fd, 0), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	for (int i = 0; i < CROWD; i++) {
		crowd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		(void)!connect(crowd[i], (struct sockaddr *)&address, len);
	}
	world_init(&world, &dialect_jsonrpc);
	add_endpoint(&world, ntohs(address.sin_port));
	world.settings.connect_timeout_us = 60 * CLOCK_US_PER_MS;
	world_open(&world);
	struct completion completion = { 0 };
	call_once(&world, &completion, false);
	assert_int_equal(completion.answers[0]->outcome, OUTCOME_UPSTREAM_UNAVAILABLE);
	expect_detail(completion.answers[0], "in time");
	completion_fini(&completion);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_HEALTHY, 0, 0), 0);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_CONNECTIONS, 0, CONNECTION_IDLE), 0);
	end(&world, NULL);
	for (int i = 0; i < CROWD; i++)
		close(crowd[i]);
	close(fd);
}

static void a_dead_endpoint_is_passed_over_and_tried_again(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = provider_start(answer_well, NULL);
	int kept;
	world_init(&world, &dialect_jsonrpc);
	add_endpoint(&world, closed_port(&kept));
	add_endpoint(&world, provider_port(provider));
	world_open(&world);
	for (int i = 0; i < 10; i++)
		assert_int_equal(outcome_of(&world, false), OUTCOME_OK); /* nothing was sent: another may do */
	assert_int_equal(provider_requests(provider), 10);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_HEALTHY, 0, 0), 0);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_HEALTHY, 1, 0), 1);
	end(&world, provider);
	close(kept);
}

static void endpoints_take_turns(void **state)
{
	(void)state;
	struct world world;
	struct provider *first = provider_start(answer_well, NULL), *second = provider_start(answer_well, NULL);
	world_init(&world, &dialect_jsonrpc);
	add_endpoint(&world, provider_port(first));
	add_endpoint(&world, provider_port(second));
	struct endpoint_policy in_turn = endpoint_default_policy;
	in_turn.balance = BALANCE_ROUND_ROBIN;
	world.settings.balancing = &in_turn;
	world_open(&world);
	for (int i = 0; i < 10; i++)
		assert_int_equal(outcome_of(&world, true), OUTCOME_OK);
	assert_int_equal(provider_requests(first), 5);
	assert_int_equal(provider_requests(second), 5);
	end(&world, first);
	provider_stop(second);
}

static void time_running_out_is_told_by_what_was_sent(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = start_with(&world, hold_then_answer, NULL);
	for (unsigned repeatable = 0; repeatable < 2; repeatable++) {
		struct completion completion = { 0 };
		uint64_t latest = clock_now_us() + PATIENCE_US;
		send_many(&world, &completion, 3, repeatable, PATIENCE_US);
		while (provider_requests(provider) == repeatable && clock_now_us() < latest)
			turn(&world);
		clock_set(clock_now_us() + 2 * PATIENCE_US);
		turn_curls_clock(2 * PATIENCE_US / CLOCK_US_PER_S);
		for (int turns = 0; !completion.completed && turns < 1000; turns++)
			turn(&world);
		clock_set(0);
		assert_true(completion.completed);
		assert_int_equal(completion.answered, 3);
		assert_int_equal(completion.answers[2]->outcome,
				 repeatable ? OUTCOME_UPSTREAM_TIMEOUT : OUTCOME_OUTCOME_UNKNOWN);
		expect_detail(completion.answers[2], "did not send an answer in time");
		completion_fini(&completion);
	}
	end(&world, provider);
}

static void an_answer_over_the_cap_is_cut_off(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = start_with(&world, answer_endlessly, NULL);
	struct completion completion = { 0 };
	call_once(&world, &completion, true);
	assert_int_equal(completion.answers[0]->outcome, OUTCOME_UPSTREAM_ERROR);
	expect_detail(completion.answers[0], "over the cap of 1048576 bytes");
	completion_fini(&completion);
	end(&world, provider);
}

static void calls_answered_before_a_reset_keep_their_answers(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = start_with(&world, half_then_reset, NULL);
	struct completion completion = { 0 };
	send_many(&world, &completion, 3, false, 10 * CLOCK_US_PER_S);
	wait_answered(&completion);
	/* the first is there while the others' bytes are still to come */
	assert_int_equal(completion.answered, 1);
	assert_false(completion.completed);
	assert_string_equal(completion.answers[0]->bytes, "1");
	provider_release(provider, 1);
	wait_completed(&completion);
	assert_int_equal(completion.answered, 3);
	assert_int_equal(completion.answers[1]->outcome, OUTCOME_OUTCOME_UNKNOWN);
	assert_int_equal(completion.answers[2]->outcome, OUTCOME_OUTCOME_UNKNOWN);
	expect_detail(completion.answers[1], "broke off before the whole answer");
	completion_fini(&completion);
	end(&world, provider);
}

static enum outcome outcome_of_status(const char *const what[3], bool repeatable, uint32_t *retry_after_s)
{
	struct world world;
	struct provider *provider = start_with(&world, answer_status, (void *)(uintptr_t)what);
	struct completion completion = { 0 };
	call_once(&world, &completion, repeatable);
	enum outcome outcome = completion.answers[0]->outcome;
	*retry_after_s = completion.answers[0]->retry_after_s;
	assert_int_equal(completion.answers[0]->upstream_status, strtoul(what[0], NULL, 10));
	completion_fini(&completion);
	end(&world, provider);
	return outcome;
}

static void statuses_become_outcomes(void **state)
{
	(void)state;
	uint32_t retry;
	static const char *const limited[] = { "429 Too Many", "Retry-After: 7\r\n", "" };
	assert_int_equal(outcome_of_status(limited, true, &retry), OUTCOME_RATE_LIMITED);
	assert_int_equal(retry, 7);
	static const char *const away[] = { "503 Away", "Retry-After: Fri, 31 Dec 2100 23:59:59 GMT\r\n", "{}" };
	assert_int_equal(outcome_of_status(away, false, &retry), OUTCOME_UPSTREAM_UNAVAILABLE);
	assert_int_equal(retry, 6 * 3600); /* ours at most */
	static const char *const slow[] = { "504 Slow", "", "" };
	assert_int_equal(outcome_of_status(slow, true, &retry), OUTCOME_UPSTREAM_TIMEOUT);
	assert_int_equal(outcome_of_status(slow, false, &retry), OUTCOME_OUTCOME_UNKNOWN);
	static const char *const moved[] = { "302 Found", "Location: http://127.0.0.1:1/\r\n", "" };
	assert_int_equal(outcome_of_status(moved, true, &retry), OUTCOME_UPSTREAM_ERROR);
	static const char *const broken[] = { "500 Oops", "", "oops" };
	assert_int_equal(outcome_of_status(broken, false, &retry), OUTCOME_UPSTREAM_ERROR);
	static const char *const empty[] = { "200 OK", "", "" };
	assert_int_equal(outcome_of_status(empty, true, &retry), OUTCOME_UPSTREAM_ERROR);
	assert_int_equal(outcome_of_status(empty, false, &retry), OUTCOME_OUTCOME_UNKNOWN);
	static const char *const garbage[] = { "200 OK", "", "[{]" };
	assert_int_equal(outcome_of_status(garbage, false, &retry), OUTCOME_OUTCOME_UNKNOWN);
}

static void headers_are_ours_unless_the_operator_says_otherwise(void **state)
{
	(void)state;
	static struct seen seen = { .lock = PTHREAD_MUTEX_INITIALIZER };
	static const struct upstream_header headers[] = { { "Authorization", "Bearer s3cret" },
							  { "content-type", "application/json-rpc" },
							  { "X-Empty", "" } };
	struct world world;
	struct provider *provider = prepare_with(&world, &dialect_jsonrpc, note_request, &seen);
	world.settings.headers = headers;
	world.settings.header_count = countof(headers);
	world_open(&world);
	struct upstream_call call = { .route = world.route,
				      .arguments = SLICE("{\"q\":1.10}"),
				      .repeatable = false,
				      .traceparent = SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
				      .idempotency_key = SLICE("key-1") };
	struct answer *refusal = NULL;
	struct completion completion = { .world = &world };
	assert_non_null(upstream_send(world.upstream, &call, 1, CLOCK_NEVER, &events, &completion, &refusal));
	wait_completed(&completion);
	completion_fini(&completion);
	static const char *const wanted[] = {
		"POST /rpc HTTP/1.1\r\n",
		"\r\nAuthorization: Bearer s3cret\r\n",
		"\r\ncontent-type: application/json-rpc\r\n",
		"\r\nX-Empty:\r\n",
		"\r\nAccept: application/json",
		"\r\nContent-Length: ",
		"\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
		"\r\nIdempotency-Key: key-1\r\n",
		"\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"t\",\"params\":{\"q\":1.10}}"
	};
	static const char *const unwanted[] = { "Expect", "Content-Type", "Accept-Encoding", "Transfer-Encoding",
						"User-Agent" };
	for (size_t i = 0; i < countof(wanted); i++)
		if (!strstr(seen.text, wanted[i]))
			fail_msg("%s is not in %s", wanted[i], seen.text);
	for (size_t i = 0; i < countof(unwanted); i++)
		if (strstr(seen.text, unwanted[i]))
			fail_msg("%s is in %s", unwanted[i], seen.text);
	call.idempotency_key = SLICE("key\r\nEvil: 1");
	assert_null(upstream_send(world.upstream, &call, 1, CLOCK_NEVER, &events, &completion, &refusal));
	assert_int_equal(refusal->outcome, OUTCOME_INVALID_REQUEST);
	answer_unref(refusal);
	end(&world, provider);
}

static void a_rest_request_goes_where_its_templates_say(void **state)
{
	(void)state;
	static struct seen seen = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct world world;
	struct dialect_error error = { 0 };
	struct provider *provider = provider_start(note_request, &seen);
	world_init(&world, &dialect_rest);
	dialect_route_unref(world.route);
	static const struct route_pair query[] = { { "days", "{days?}" }, { "unit s", "{u}" } };
	struct route_settings route = {
		.tool = "t", .http_method = "GET", .path = "/forecast/{q}", .query = query, .query_count = 2
	};
	world.route = dialect_rest.route_new(&route, &error);
	assert_non_null(world.route);
	world.settings.endpoint_count = 1;
	snprintf(world.urls[0], sizeof world.urls[0], "http://127.0.0.1:%u/v1/", provider_port(provider));
	world.endpoints[0] = world.urls[0];
	world_open(&world);
	struct upstream_call call = { .route = world.route,
				      .arguments = SLICE("{\"q\":\"a;..?b\",\"u\":\"\\u00b0C\"}"),
				      .repeatable = true };
	struct answer *refusal = NULL;
	struct completion completion = { .world = &world };
	assert_non_null(upstream_send(world.upstream, &call, 1, CLOCK_NEVER, &events, &completion, &refusal));
	wait_completed(&completion);
	completion_fini(&completion);
	static const char wanted[] = "GET /v1/forecast/a%3B..%3Fb?unit%20s=%C2%B0C HTTP/1.1\r\n";
	if (strncmp(seen.text, wanted, strlen(wanted)) != 0)
		fail_msg("not %s but %s", wanted, seen.text);
	assert_null(strstr(seen.text, "Content-"));
	call.arguments = SLICE("{}");
	assert_null(upstream_send(world.upstream, &call, 1, CLOCK_NEVER, &events, &completion, &refusal));
	assert_int_equal(refusal->outcome, OUTCOME_INVALID_REQUEST);
	assert_string_equal(refusal->detail, "argument 'q' is missing; tool 't' needs it in its path");
	answer_unref(refusal);
	end(&world, provider);
}

static void a_passed_deadline_is_not_sent(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = start_with(&world, answer_well, NULL);
	struct upstream_call call = { .route = world.route, .arguments = SLICE("{}") };
	struct answer *refusal = NULL;
	struct completion completion = { .world = &world };
	assert_null(upstream_send(world.upstream, &call, 1, loop_now(world.loop), &events, &completion, &refusal));
	assert_int_equal(refusal->outcome, OUTCOME_DEADLINE_EXCEEDED);
	answer_unref(refusal);
	end(&world, provider);
}

/* Send and receive with the nth allocation failing, for all n: never a crash, never a false word, nothing lost. */
static void running_out_of_memory_sheds_calls(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = start_with(&world, answer_in_chunks, NULL);
	unsigned clean = 0;
	for (size_t n = 1; clean < 3; n++) {
		bool repeatable = n % 2;
		struct upstream_call calls[3];
		for (size_t i = 0; i < 3; i++)
			calls[i] = (struct upstream_call){ .route = world.route,
							   .arguments = SLICE("{}"),
							   .repeatable = repeatable };
		struct completion completion = { .world = &world };
		struct answer *refusal = NULL;
		unsigned before = provider_requests(provider);
		loop_wait(world.loop, 0);
		alloc_reset();
		alloc_fail_at(n);
		struct exchange *exchange =
			upstream_send(world.upstream, calls, 3, CLOCK_NEVER, &events, &completion, &refusal);
		if (exchange)
			wait_completed(&completion);
		bool failed = alloc_count() >= n;
		alloc_reset();
		clean += !failed;
		if (!exchange) {
			assert_non_null(refusal);
			answer_unref(refusal);
			continue;
		}
		assert_int_equal(completion.answered, 3);
		unsigned sent = provider_requests(provider) - before;
		assert_true(sent <= 1);
		for (size_t i = 0; i < 3; i++) {
			enum outcome outcome = completion.answers[i]->outcome;
			if (sent && !repeatable && outcome != OUTCOME_OK)
				assert_int_equal(outcome, OUTCOME_OUTCOME_UNKNOWN);
			if (!failed)
				assert_int_equal(outcome, OUTCOME_OK);
		}
		completion_fini(&completion);
		assert_true(n < 500);
	}
	end(&world, provider);
}

static void urls_that_cannot_be_endpoints_are_refused(void **state)
{
	(void)state;
	static const char *const good[] = { "http://127.0.0.1:9001/rpc", "https://example.com", "http://[::1]:80/v1/" };
	static const char *const bad[] = { "ftp://example.com/",
					   "example.com",
					   "http://",
					   "http://u:p@example.com/",
					   "http://u@example.com",
					   "http://example.com/?a=b",
					   "http://example.com/#x",
					   "http://example.com/a b",
					   "http://example.com:99999/",
					   "",
					   "file:///etc/passwd",
					   "http://example.com/\n" };
	char error[200] = "";
	for (size_t i = 0; i < countof(good); i++)
		if (!upstream_url_check(good[i], error, sizeof error))
			fail_msg("%s: %s", good[i], error);
	for (size_t i = 0; i < countof(bad); i++) {
		error[0] = '\0';
		if (upstream_url_check(bad[i], error, sizeof error))
			fail_msg("%s was taken", bad[i]);
		assert_true(error[0] != '\0');
	}
}

static volatile uint64_t hashed;

static void hash_a_key(const void *text)
{
	hashed = hash_arguments(*(const struct slice *)text);
}

static void hash_an_address(const void *text)
{
	hashed = hash_text(*(const struct slice *)text);
}

/* What it is hashed for is one of a few numbers, but all of it counts, and at a length its hash is what it was. */
static void a_long_key_is_hashed_quickly(void **state)
{
	(void)state;
	static char at[20003], other[sizeof at];
	const struct slice text = { at, sizeof at }, same = { other, sizeof at }, short_one = { at, 4095 };
	for (size_t i = 0; i < sizeof at; i++)
		at[i] = other[i] = (char)(i * 7 + i / 256);
	assert_true(hash_arguments(text) == hash_arguments(same));
	assert_true(hash_arguments(short_one) == hash_text(short_one));
	for (size_t i = 0; i < sizeof at; i++) {
		other[i]++;
		assert_false(hash_arguments(text) == hash_arguments(same));
		other[i]--;
	}
	const uint64_t by_words = count_instructions(hash_a_key, &text),
		       by_bytes = count_instructions(hash_an_address, &text);
	if (by_words && by_bytes)
		assert_in_range(by_words, 0, by_bytes / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_long_key_is_hashed_quickly),
		cmocka_unit_test(an_exchange_completes_when_it_does),
		cmocka_unit_test(a_batch_gets_each_call_its_own_answer),
		cmocka_unit_test(a_refused_connection_means_nothing_was_sent),
		cmocka_unit_test(a_connection_that_does_not_come_about_is_given_up),
		cmocka_unit_test(a_dead_endpoint_is_passed_over_and_tried_again),
		cmocka_unit_test(endpoints_take_turns),
		cmocka_unit_test(time_running_out_is_told_by_what_was_sent),
		cmocka_unit_test(an_answer_over_the_cap_is_cut_off),
		cmocka_unit_test(calls_answered_before_a_reset_keep_their_answers),
		cmocka_unit_test(statuses_become_outcomes),
		cmocka_unit_test(headers_are_ours_unless_the_operator_says_otherwise),
		cmocka_unit_test(a_rest_request_goes_where_its_templates_say),
		cmocka_unit_test(a_passed_deadline_is_not_sent),
		cmocka_unit_test(running_out_of_memory_sheds_calls),
		cmocka_unit_test(urls_that_cannot_be_endpoints_are_refused),
	};
	return run_with_upstream("upstream", tests, countof(tests));
}
