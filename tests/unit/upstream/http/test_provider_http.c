/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The upstream's front door against a scripted provider: what is sent how often, how each way of failing is told,
 * what becomes of connections.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <unistd.h>

#include "tests/support/alloc_fail.h"
#include "tests/support/upstream_world.h"
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

static enum provider_then first_well_then_close(struct provider_request *request)
{
	return request->on_connection == 0 ? answer_well(request) : PROVIDER_CLOSE;
}

static enum provider_then first_well_then_reset(struct provider_request *request)
{
	return request->on_connection == 0 ? answer_well(request) : PROVIDER_RESET;
}

static enum provider_then always_close(struct provider_request *request)
{
	(void)request;
	return PROVIDER_CLOSE;
}

static enum provider_then hold_then_answer(struct provider_request *request)
{
	provider_hold(request);
	return answer_well(request);
}

/* Counts deliveries by id, and lets one connection in ten die under the request, before or after a word of an answer.
 */
enum { STORM_CALLS = 3000 };
struct storm {
	atomic_uint delivered[STORM_CALLS + 1];
};

static enum provider_then answer_or_die(struct provider_request *request)
{
	struct storm *storm = request->context;
	uint64_t id = 0;
	size_t count = read_ids(request->body, &id, 1);
	assert(count == 1 && id >= 1 && id <= STORM_CALLS);
	atomic_fetch_add(&storm->delivered[id], 1);
	switch (request->number % 30) {
	case 7:
		return PROVIDER_CLOSE;
	case 17:
		return PROVIDER_RESET;
	case 27:
		provider_write(request, "HTTP/1.1 200 OK\r\nContent-Le");
		return request->number % 60 < 30 ? PROVIDER_CLOSE : PROVIDER_RESET;
	default:
		return answer_well(request);
	}
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

/* --- a resolver that hangs, as a dead name server makes it --- */

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result);

static atomic_int resolver_hung; /* look-ups that are stuck now */
static atomic_bool resolver_free;

/* Preempts the C library's for libcurl too: the test's own symbol is found first. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
	(void)service;
	(void)hints;
	(void)result;
	(void)node;
	atomic_fetch_add(&resolver_hung, 1);
	while (!atomic_load(&resolver_free))
		usleep(1000);
	atomic_fetch_sub(&resolver_hung, 1);
	return EAI_AGAIN;
}

/* --- tests --- */

static void a_connection_is_kept_and_used_again(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = start_with(&world, answer_well, NULL);
	for (int i = 0; i < 20; i++)
		assert_int_equal(outcome_of(&world, i % 2), OUTCOME_OK);
	assert_int_equal(provider_requests(provider), 20);
	assert_int_equal(provider_connections(provider), 1);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_CONNECTS, 0, 0), 1);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_CONNECTIONS, 0, CONNECTION_IDLE), 1);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_CONNECTIONS, 0, CONNECTION_BUSY), 0);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_REQUESTS, 0, OUTCOME_OK), 20);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_DURATION, 0, 0), 20);
	end(&world, provider);
}

/* A turn may be long, and send and receive in one: an exchange took what it took, not what the turn's begin says. */
static void an_exchange_lands_when_it_does(void **state)
{
	(void)state;
	struct world world;
	uint64_t now_us = CLOCK_US_PER_S, latest = clock_now_us() + PATIENCE_US;
	struct provider *provider = start_with(&world, answer_well, NULL);
	clock_set(now_us);
	struct landing landing = { 0 };
	send_many(&world, &landing, 1, true, PATIENCE_US);
	for (int turns = 0; !landing.landed && turns < 1000; turns++) {
		loop_wait(world.loop, now_us + 20 * CLOCK_US_PER_MS);
		clock_set(now_us += 7); /* the turn goes on */
		transport_tick(world.transport);
	}
	clock_set(0);
	assert_true(landing.landed && clock_now_us() < latest);
	assert_int_equal(landing.landed_us, now_us);
	landing_fini(&landing);
	end(&world, provider);
}

static void a_batch_gets_each_call_its_own_answer(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = start_with(&world, answer_in_chunks, NULL);
	struct landing landing = { 0 };
	send_many(&world, &landing, 100, true, 10 * CLOCK_US_PER_S);
	wait_landed(&landing);
	assert_int_equal(landing.answered, 100);
	assert_int_equal(landing.outcome, OUTCOME_OK);
	for (size_t i = 0; i < 100; i++) {
		char wanted[40];
		snprintf(wanted, sizeof wanted, "{\"n\":%zu.50}", i + 1); /* ids begin with 1 */
		assert_int_equal(landing.answers[i]->outcome, OUTCOME_OK);
		assert_string_equal(landing.answers[i]->bytes, wanted);
	}
	assert_int_equal(provider_requests(provider), 1);
	landing_fini(&landing);
	end(&world, provider);
}

static void check_write_on_dying_connection(enum provider_then (*handler)(struct provider_request *))
{
	struct world world;
	struct provider *provider = start_with(&world, handler, NULL);
	assert_int_equal(outcome_of(&world, true), OUTCOME_OK);
	struct landing landing = { 0 };
	call_once(&world, &landing, false);
	assert_int_equal(landing.answers[0]->outcome, OUTCOME_OUTCOME_UNKNOWN);
	assert_int_equal(landing.outcome, OUTCOME_OUTCOME_UNKNOWN);
	expect_detail(landing.answers[0], "whether the call was carried out is not known");
	assert_int_equal(provider_requests(provider), 2);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_REPEATS, 0, 0), 0);
	landing_fini(&landing);
	end(&world, provider);
}

static void a_write_on_a_dying_connection_is_delivered_once(void **state)
{
	(void)state;
	check_write_on_dying_connection(first_well_then_close);
	check_write_on_dying_connection(first_well_then_reset);
}

static void check_read_on_dying_connection(enum provider_then (*handler)(struct provider_request *))
{
	struct world world;
	struct provider *provider = start_with(&world, handler, NULL);
	assert_int_equal(outcome_of(&world, true), OUTCOME_OK);
	assert_int_equal(outcome_of(&world, true), OUTCOME_OK);
	assert_int_equal(provider_requests(provider), 3); /* the second came twice */
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_REPEATS, 0, 0), 1);
	end(&world, provider);
}

static void a_read_on_a_dying_connection_is_sent_once_more(void **state)
{
	(void)state;
	check_read_on_dying_connection(first_well_then_close);
	check_read_on_dying_connection(first_well_then_reset);
}

static void a_new_connection_that_closes_is_not_tried_again(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = start_with(&world, always_close, NULL);
	assert_int_equal(outcome_of(&world, true), OUTCOME_UPSTREAM_ERROR);
	assert_int_equal(outcome_of(&world, false), OUTCOME_OUTCOME_UNKNOWN);
	assert_int_equal(provider_requests(provider), 2);
	end(&world, provider);
}

/* Calls without a body: nothing there that curl could fail to rewind. */
static void a_write_without_a_body_is_delivered_once_too(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = provider_start(first_well_then_close, NULL);
	world_init(&world, &dialect_rest);
	add_endpoint(&world, provider_port(provider));
	world_open(&world);
	assert_int_equal(outcome_of(&world, true), OUTCOME_OK);
	dialect_route_unref(world.route);
	struct dialect_error error = { 0 };
	static const char *const methods[] = { "DELETE", "GET", "POST" };
	for (size_t i = 0; i < countof(methods); i++) {
		struct route_settings route = { .tool = "t", .http_method = methods[i], .path = "/t", .body = "" };
		world.route = dialect_rest.route_new(&route, &error);
		assert_non_null(world.route);
		unsigned before = provider_requests(provider);
		assert_int_equal(outcome_of(&world, false), OUTCOME_OUTCOME_UNKNOWN);
		assert_int_equal(provider_requests(provider), before + 1);
		dialect_route_unref(world.route);
		struct route_settings plain = { .tool = "t" };
		world.route = dialect_rest.route_new(&plain, &error);
		assert_int_equal(outcome_of(&world, true), OUTCOME_OK); /* a connection to die on */
		if (i + 1 < countof(methods))
			dialect_route_unref(world.route);
	}
	end(&world, provider);
}

static void no_write_is_delivered_twice_in_a_storm_of_dying_connections(void **state)
{
	(void)state;
	enum { AT_ONCE = 20 };
	static struct storm storm;
	static struct landing landings[AT_ONCE];
	struct world world;
	unsigned answered = 0;
	struct provider *provider = start_with(&world, answer_or_die, &storm);
	for (int round = 0; round < STORM_CALLS / AT_ONCE; round++) {
		for (int i = 0; i < AT_ONCE; i++)
			send_many(&world, &landings[i], 1, false, PATIENCE_US);
		for (int i = 0; i < AT_ONCE; i++) {
			wait_landed(&landings[i]);
			enum outcome outcome = landings[i].answers[0]->outcome;
			assert_true(outcome == OUTCOME_OK || outcome == OUTCOME_OUTCOME_UNKNOWN);
			answered += outcome == OUTCOME_OK;
			landing_fini(&landings[i]);
		}
		provider_drop_idle(provider, round % 2);
	}
	unsigned delivered = 0;
	for (int id = 1; id <= STORM_CALLS; id++) {
		assert_true(atomic_load(&storm.delivered[id]) <= 1);
		delivered += atomic_load(&storm.delivered[id]);
	}
	assert_true(answered <= delivered);
	assert_true(answered > STORM_CALLS / 2);
	end(&world, provider);
}

static void a_connection_closed_while_idle_harms_no_write(void **state)
{
	(void)state;
	for (int reset = 0; reset < 2; reset++) {
		struct world world;
		struct provider *provider = start_with(&world, answer_well, NULL);
		assert_int_equal(outcome_of(&world, false), OUTCOME_OK);
		provider_drop_idle(provider, reset);
		/* the FIN is here before the next request: loopback keeps order, and this waits for it */
		for (int i = 0; i < 5; i++)
			turn(&world);
		assert_int_equal(outcome_of(&world, false), OUTCOME_OK);
		assert_int_equal(provider_requests(provider), 2);
		end(&world, provider);
	}
}

/* A port where nobody listens. */
static unsigned closed_port(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	close(fd);
	return ntohs(address.sin_port);
}

static void a_refused_connection_means_nothing_was_sent(void **state)
{
	(void)state;
	struct world world;
	char wanted[200];
	world_init(&world, &dialect_jsonrpc);
	add_endpoint(&world, closed_port());
	world_open(&world);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_HEALTHY, 0, 0), 1);
	struct landing landing = { 0 };
	call_once(&world, &landing, false);
	assert_int_equal(landing.answers[0]->outcome, OUTCOME_UPSTREAM_UNAVAILABLE);
	snprintf(wanted, sizeof wanted, "search: cannot connect to %s: connection refused", world.endpoints[0]);
	assert_string_equal(landing.answers[0]->detail, wanted);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_HEALTHY, 0, 0), 0);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_REQUESTS, 0, OUTCOME_UPSTREAM_UNAVAILABLE), 1);
	landing_fini(&landing);
	end(&world, NULL);
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
	struct landing landing = { 0 };
	call_once(&world, &landing, false);
	assert_int_equal(landing.answers[0]->outcome, OUTCOME_UPSTREAM_UNAVAILABLE);
	expect_detail(landing.answers[0], "in time");
	landing_fini(&landing);
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
	world_init(&world, &dialect_jsonrpc);
	add_endpoint(&world, closed_port());
	add_endpoint(&world, provider_port(provider));
	world_open(&world);
	for (int i = 0; i < 10; i++)
		assert_int_equal(outcome_of(&world, false), OUTCOME_OK); /* nothing was sent: another may do */
	assert_int_equal(provider_requests(provider), 10);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_HEALTHY, 0, 0), 0);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_HEALTHY, 1, 0), 1);
	end(&world, provider);
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
	for (int repeatable = 0; repeatable < 2; repeatable++) {
		struct landing landing = { 0 };
		send_many(&world, &landing, 3, repeatable, 50 * CLOCK_US_PER_MS);
		wait_landed(&landing);
		assert_int_equal(landing.answered, 3);
		assert_int_equal(landing.answers[2]->outcome,
				 repeatable ? OUTCOME_UPSTREAM_TIMEOUT : OUTCOME_OUTCOME_UNKNOWN);
		expect_detail(landing.answers[2], "did not send an answer in time");
		landing_fini(&landing);
	}
	end(&world, provider);
}

static void an_answer_over_the_cap_is_cut_off(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = start_with(&world, answer_endlessly, NULL);
	struct landing landing = { 0 };
	call_once(&world, &landing, true);
	assert_int_equal(landing.answers[0]->outcome, OUTCOME_UPSTREAM_ERROR);
	expect_detail(landing.answers[0], "over the cap of 1048576 bytes");
	landing_fini(&landing);
	end(&world, provider);
}

static void calls_answered_before_a_reset_keep_their_answers(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = start_with(&world, half_then_reset, NULL);
	struct landing landing = { 0 };
	send_many(&world, &landing, 3, false, 10 * CLOCK_US_PER_S);
	uint64_t latest = clock_now_us() + PATIENCE_US;
	while (landing.answered == 0 && clock_now_us() < latest)
		turn(&world);
	/* the first is there while the others' bytes are still to come */
	assert_int_equal(landing.answered, 1);
	assert_false(landing.landed);
	assert_string_equal(landing.answers[0]->bytes, "1");
	provider_release(provider, 1);
	wait_landed(&landing);
	assert_int_equal(landing.answered, 3);
	assert_int_equal(landing.answers[1]->outcome, OUTCOME_OUTCOME_UNKNOWN);
	assert_int_equal(landing.answers[2]->outcome, OUTCOME_OUTCOME_UNKNOWN);
	expect_detail(landing.answers[1], "broke off before the whole answer");
	landing_fini(&landing);
	end(&world, provider);
}

static enum outcome outcome_of_status(const char *const what[3], bool repeatable, uint32_t *retry_after_s)
{
	struct world world;
	struct provider *provider = start_with(&world, answer_status, (void *)(uintptr_t)what);
	struct landing landing = { 0 };
	call_once(&world, &landing, repeatable);
	enum outcome outcome = landing.answers[0]->outcome;
	*retry_after_s = landing.answers[0]->retry_after_s;
	assert_int_equal(landing.answers[0]->upstream_status, strtoul(what[0], NULL, 10));
	landing_fini(&landing);
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

static void an_aborted_exchange_says_nothing_more(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = start_with(&world, hold_then_answer, NULL);
	struct landing landing = { 0 };
	send_many(&world, &landing, 1, true, 10 * CLOCK_US_PER_S);
	uint64_t latest = clock_now_us() + PATIENCE_US;
	while (provider_requests(provider) == 0 && clock_now_us() < latest)
		turn(&world);
	upstream_abort(landing.exchange);
	provider_release(provider, 1);
	for (int i = 0; i < 3; i++)
		turn(&world);
	assert_int_equal(landing.answered, 0);
	assert_false(landing.landed);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_CONNECTIONS, 0, CONNECTION_BUSY), 0);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_CONNECTIONS, 0, CONNECTION_IDLE), 0);
	/* before anything has happened, too */
	send_many(&world, &landing, 1, true, 10 * CLOCK_US_PER_S);
	upstream_abort(landing.exchange);
	turn(&world);
	assert_false(landing.landed);
	end(&world, provider);
}

static void an_exchange_can_be_aborted_from_its_own_answer(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = start_with(&world, answer_well, NULL);
	struct landing landing = { .abort_at_first = true };
	send_many(&world, &landing, 5, true, 10 * CLOCK_US_PER_S);
	uint64_t latest = clock_now_us() + PATIENCE_US;
	while (landing.answered == 0 && clock_now_us() < latest)
		turn(&world);
	for (int i = 0; i < 3; i++)
		turn(&world);
	assert_int_equal(landing.answered, 1);
	assert_false(landing.landed);
	landing_fini(&landing);
	end(&world, provider);
}

static void a_hung_resolver_stalls_nobody(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = provider_start(answer_well, NULL);
	world_init(&world, &dialect_jsonrpc);
	add_endpoint(&world, provider_port(provider));
	world_open(&world);
	struct upstream_settings lost_settings = world.settings;
	static const char *const lost[] = { "http://provider.invalid/rpc" };
	lost_settings.endpoints = lost;
	lost_settings.first_endpoint_label = 1;
	struct upstream *good = world.upstream;
	struct upstream *bad = upstream_new(&lost_settings, world.transport, world.loop, world.meter);
	struct landing stuck = { 0 }, aborted = { 0 };
	world.upstream = bad;
	send_many(&world, &stuck, 1, false, 150 * CLOCK_US_PER_MS);
	send_many(&world, &aborted, 1, false, 10 * CLOCK_US_PER_S);
	uint64_t latest = clock_now_us() + PATIENCE_US;
	while (atomic_load(&resolver_hung) < 2 && clock_now_us() < latest)
		turn(&world);
	assert_int_equal(atomic_load(&resolver_hung), 2);
	upstream_abort(aborted.exchange);
	world.upstream = good;
	assert_int_equal(outcome_of(&world, true), OUTCOME_OK); /* while the other hangs */
	wait_landed(&stuck);
	assert_int_equal(stuck.answers[0]->outcome, OUTCOME_UPSTREAM_UNAVAILABLE);
	expect_detail(stuck.answers[0], "no connection to http://provider.invalid/rpc in time");
	assert_int_equal(atomic_load(&resolver_hung), 2); /* it hangs still, and nobody waited for it */
	landing_fini(&stuck);
	upstream_free(bad);
	atomic_store(&resolver_free, true);
	while (atomic_load(&resolver_hung) > 0 && clock_now_us() < latest)
		usleep(1000);
	end(&world, provider);
}

static void a_hundred_exchanges_run_side_by_side(void **state)
{
	(void)state;
	enum { COUNT = 100 };
	static struct landing landings[COUNT];
	struct world world;
	struct provider *provider = start_with(&world, hold_then_answer, NULL);
	for (int round = 0; round < 2; round++) {
		unsigned before = provider_requests(provider);
		for (int i = 0; i < COUNT; i++)
			send_many(&world, &landings[i], 1, false, PATIENCE_US);
		uint64_t latest = clock_now_us() + PATIENCE_US;
		while (provider_requests(provider) < before + COUNT && clock_now_us() < latest)
			turn(&world);
		assert_int_equal(provider_requests(provider), before + COUNT); /* all held at once */
		assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_CONNECTIONS, 0, CONNECTION_BUSY), COUNT);
		provider_release(provider, COUNT);
		for (int i = 0; i < COUNT; i++) {
			wait_landed(&landings[i]);
			assert_int_equal(landings[i].answers[0]->outcome, OUTCOME_OK);
			landing_fini(&landings[i]);
		}
	}
	assert_int_equal(provider_connections(provider), COUNT); /* the second round used the first one's */
	end(&world, provider);
}

static void no_more_connections_than_the_pool_allows(void **state)
{
	(void)state;
	enum { COUNT = 20 };
	static struct landing landings[COUNT];
	struct world world;
	struct provider *provider = provider_start(answer_well, NULL);
	world_init(&world, &dialect_jsonrpc);
	add_endpoint(&world, provider_port(provider));
	world.settings.pool_max = 3;
	world_open(&world);
	for (int i = 0; i < COUNT; i++)
		send_many(&world, &landings[i], 1, false, PATIENCE_US);
	upstream_abort(landings[10].exchange); /* it waits: no trace of it */
	for (int i = 0; i < COUNT; i++) {
		if (i == 10)
			continue;
		wait_landed(&landings[i]);
		assert_int_equal(landings[i].answers[0]->outcome, OUTCOME_OK);
		landing_fini(&landings[i]);
	}
	assert_int_equal(provider_requests(provider), COUNT - 1);
	assert_int_equal(provider_connections(provider), 3);
	end(&world, provider);
}

static void waiting_for_the_pool_in_vain_means_nothing_was_sent(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = provider_start(hold_then_answer, NULL);
	world_init(&world, &dialect_jsonrpc);
	add_endpoint(&world, provider_port(provider));
	world.settings.pool_max = 1;
	world_open(&world);
	struct landing first = { 0 }, second = { 0 };
	send_many(&world, &first, 1, false, PATIENCE_US);
	send_many(&world, &second, 1, false, 30 * CLOCK_US_PER_MS);
	wait_landed(&second);
	assert_int_equal(second.answers[0]->outcome, OUTCOME_UPSTREAM_UNAVAILABLE);
	expect_detail(second.answers[0], "pool.max");
	provider_release(provider, 1);
	wait_landed(&first);
	assert_int_equal(first.answers[0]->outcome, OUTCOME_OK);
	landing_fini(&first);
	landing_fini(&second);
	assert_int_equal(provider_requests(provider), 1);
	end(&world, provider);
}

static void headers_are_ours_unless_the_operator_says_otherwise(void **state)
{
	(void)state;
	static struct seen seen = { .lock = PTHREAD_MUTEX_INITIALIZER };
	static const struct upstream_header headers[] = { { "Authorization", "Bearer s3cret" },
							  { "content-type", "application/json-rpc" },
							  { "X-Empty", "" } };
	struct world world;
	struct provider *provider = provider_start(note_request, &seen);
	world_init(&world, &dialect_jsonrpc);
	add_endpoint(&world, provider_port(provider));
	world.settings.headers = headers;
	world.settings.header_count = countof(headers);
	world_open(&world);
	struct upstream_call call = { .route = world.route,
				      .arguments = SLICE("{\"q\":1.10}"),
				      .repeatable = false,
				      .traceparent = SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
				      .idempotency_key = SLICE("key-1") };
	struct answer *refusal = NULL;
	struct landing landing = { .world = &world };
	assert_non_null(upstream_send(world.upstream, &call, 1, CLOCK_NEVER, &events, &landing, &refusal));
	wait_landed(&landing);
	landing_fini(&landing);
	static const char *const wanted[] = {
		"POST /rpc HTTP/1.1\r\n",
		"\r\nAuthorization: Bearer s3cret\r\n",
		"\r\ncontent-type: application/json-rpc\r\n",
		"\r\nX-Empty:\r\n",
		"\r\nUser-Agent: jitney/",
		"\r\nAccept: application/json",
		"\r\nContent-Length: ",
		"\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
		"\r\nIdempotency-Key: key-1\r\n",
		"\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"t\",\"params\":{\"q\":1.10}}"
	};
	static const char *const unwanted[] = { "Expect", "Content-Type", "Accept-Encoding", "Transfer-Encoding" };
	for (size_t i = 0; i < countof(wanted); i++)
		if (!strstr(seen.text, wanted[i]))
			fail_msg("%s is not in %s", wanted[i], seen.text);
	for (size_t i = 0; i < countof(unwanted); i++)
		if (strstr(seen.text, unwanted[i]))
			fail_msg("%s is in %s", unwanted[i], seen.text);
	call.idempotency_key = SLICE("key\r\nEvil: 1");
	assert_null(upstream_send(world.upstream, &call, 1, CLOCK_NEVER, &events, &landing, &refusal));
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
	struct landing landing = { .world = &world };
	assert_non_null(upstream_send(world.upstream, &call, 1, CLOCK_NEVER, &events, &landing, &refusal));
	wait_landed(&landing);
	landing_fini(&landing);
	static const char wanted[] = "GET /v1/forecast/a%3B..%3Fb?unit%20s=%C2%B0C HTTP/1.1\r\n";
	if (strncmp(seen.text, wanted, strlen(wanted)) != 0)
		fail_msg("not %s but %s", wanted, seen.text);
	assert_null(strstr(seen.text, "Content-"));
	call.arguments = SLICE("{}");
	assert_null(upstream_send(world.upstream, &call, 1, CLOCK_NEVER, &events, &landing, &refusal));
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
	struct landing landing = { .world = &world };
	assert_null(upstream_send(world.upstream, &call, 1, loop_now(world.loop), &events, &landing, &refusal));
	assert_int_equal(refusal->outcome, OUTCOME_DEADLINE_EXCEEDED);
	answer_unref(refusal);
	end(&world, provider);
}

/* curl counts idle time in whole seconds of its own clock, which no test can turn. */
static void min_idle_connections_are_used_past_their_time_by_what_may_be_repeated(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = provider_start(answer_well, NULL);
	world_init(&world, &dialect_jsonrpc);
	add_endpoint(&world, provider_port(provider));
	world.settings.idle_timeout_us = 1;
	world.settings.pool_min_idle = 1;
	world_open(&world);
	assert_int_equal(outcome_of(&world, true), OUTCOME_OK);
	usleep(2100 * 1000);
	assert_int_equal(outcome_of(&world, true), OUTCOME_OK);
	assert_int_equal(provider_connections(provider), 1);
	usleep(2100 * 1000);
	assert_int_equal(outcome_of(&world, false), OUTCOME_OK);
	assert_int_equal(provider_connections(provider), 2);
	world.settings.pool_min_idle = 0;
	usleep(2100 * 1000);
	assert_int_equal(outcome_of(&world, true), OUTCOME_OK);
	assert_int_equal(provider_connections(provider), 3);
	end(&world, provider);
}

static void kept_connections_outlive_their_upstream(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = start_with(&world, answer_well, NULL);
	assert_int_equal(outcome_of(&world, true), OUTCOME_OK);
	upstream_free(world.upstream);
	world.upstream = NULL;
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_CONNECTIONS, 0, CONNECTION_IDLE), 1);
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
		struct landing landing = { .world = &world };
		struct answer *refusal = NULL;
		unsigned before = provider_requests(provider);
		loop_wait(world.loop, 0);
		alloc_reset();
		alloc_fail_at(n);
		struct exchange *exchange =
			upstream_send(world.upstream, calls, 3, CLOCK_NEVER, &events, &landing, &refusal);
		if (exchange)
			wait_landed(&landing);
		bool failed = alloc_count() >= n;
		alloc_reset();
		clean += !failed;
		if (!exchange) {
			assert_non_null(refusal);
			answer_unref(refusal);
			continue;
		}
		assert_int_equal(landing.answered, 3);
		unsigned sent = provider_requests(provider) - before;
		assert_true(sent <= 1);
		for (size_t i = 0; i < 3; i++) {
			enum outcome outcome = landing.answers[i]->outcome;
			if (sent && !repeatable && outcome != OUTCOME_OK)
				assert_int_equal(outcome, OUTCOME_OUTCOME_UNKNOWN);
			if (!failed)
				assert_int_equal(outcome, OUTCOME_OK);
		}
		landing_fini(&landing);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_connection_is_kept_and_used_again),
		cmocka_unit_test(an_exchange_lands_when_it_does),
		cmocka_unit_test(a_batch_gets_each_call_its_own_answer),
		cmocka_unit_test(a_write_on_a_dying_connection_is_delivered_once),
		cmocka_unit_test(a_write_without_a_body_is_delivered_once_too),
		cmocka_unit_test(a_read_on_a_dying_connection_is_sent_once_more),
		cmocka_unit_test(a_new_connection_that_closes_is_not_tried_again),
		cmocka_unit_test(no_write_is_delivered_twice_in_a_storm_of_dying_connections),
		cmocka_unit_test(a_connection_closed_while_idle_harms_no_write),
		cmocka_unit_test(a_refused_connection_means_nothing_was_sent),
		cmocka_unit_test(a_connection_that_does_not_come_about_is_given_up),
		cmocka_unit_test(a_dead_endpoint_is_passed_over_and_tried_again),
		cmocka_unit_test(endpoints_take_turns),
		cmocka_unit_test(time_running_out_is_told_by_what_was_sent),
		cmocka_unit_test(an_answer_over_the_cap_is_cut_off),
		cmocka_unit_test(calls_answered_before_a_reset_keep_their_answers),
		cmocka_unit_test(statuses_become_outcomes),
		cmocka_unit_test(an_aborted_exchange_says_nothing_more),
		cmocka_unit_test(an_exchange_can_be_aborted_from_its_own_answer),
		cmocka_unit_test(a_hung_resolver_stalls_nobody),
		cmocka_unit_test(a_hundred_exchanges_run_side_by_side),
		cmocka_unit_test(no_more_connections_than_the_pool_allows),
		cmocka_unit_test(waiting_for_the_pool_in_vain_means_nothing_was_sent),
		cmocka_unit_test(headers_are_ours_unless_the_operator_says_otherwise),
		cmocka_unit_test(a_rest_request_goes_where_its_templates_say),
		cmocka_unit_test(a_passed_deadline_is_not_sent),
		cmocka_unit_test(min_idle_connections_are_used_past_their_time_by_what_may_be_repeated),
		cmocka_unit_test(kept_connections_outlive_their_upstream),
		cmocka_unit_test(running_out_of_memory_sheds_calls),
		cmocka_unit_test(urls_that_cannot_be_endpoints_are_refused),
	};
	signal(SIGPIPE, SIG_IGN);
	if (!upstream_library_init())
		return 1;
	int failed = cmocka_run_group_tests_name("upstream", tests, NULL, NULL);
	upstream_library_fini();
	return failed;
}
