/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections of an upstream's pool against a scripted provider: kept, shared, waited for, let go of; and exchanges
 * that are aborted, or whose provider has no address.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/resolve.h"
#include "tests/support/curls_clock.h"
#include "tests/support/proc.h"
#include "tests/support/upstream_world.h"

/* --- a resolver: of provider.test it knows the address, at all others it hangs as a dead name server makes it --- */

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result);

static atomic_int resolver_asked; /* look-ups of provider.test */
static atomic_int resolver_hung;  /* look-ups that are stuck now */
static atomic_bool resolver_free;

/* Preempts the C library's for libcurl too: the test's own symbol is found first. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	if (strncmp(node, "provider.test", 13) == 0) {
		atomic_fetch_add(&resolver_asked, 1);
		*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
		return real("127.0.0.1", service, hints, result);
	}
	atomic_fetch_add(&resolver_hung, 1);
	while (!atomic_load(&resolver_free))
		usleep(1000);
	atomic_fetch_sub(&resolver_hung, 1);
	return EAI_AGAIN;
}

/* Those that are stuck go on, and end. */
static void end_resolvers(void)
{
	uint64_t latest = clock_now_us() + PATIENCE_US;
	atomic_store(&resolver_free, true);
	while (proc_threads("resolver") > 0 && clock_now_us() < latest)
		usleep(1000);
	assert_int_equal(proc_threads("resolver"), 0);
	atomic_store(&resolver_free, false);
}

/* --- a thread that opens something at the very moment a descriptor is closed: it gets the same number --- */

int close(int fd);

static struct {
	struct loop *loop; /* of who listens to what is opened; NULL: nothing is */
	struct loop_watch watch;
	int fd; /* what is opened */
	bool heard;
} successor;

static void successor_ready(struct loop_watch *watch, uint32_t ready)
{
	(void)watch;
	(void)ready;
	successor.heard = true;
}

static bool is_connecting(int fd)
{
	struct sockaddr_storage peer;
	socklen_t bytes = sizeof peer;
	int type = 0;
	socklen_t type_bytes = sizeof type;
	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_bytes) == 0 &&
	       getpeername(fd, (struct sockaddr *)&peer, &bytes) < 0;
}

/* As getaddrinfo above: libcurl's too. */
int close(int fd)
{
	static int (*real)(int);
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "close");
	bool gives_way = successor.loop && is_connecting(fd);
	int result = real(fd);
	if (gives_way) {
		assert_int_equal(fcntl(successor.fd, F_DUPFD_CLOEXEC, fd), fd);
		assert_true(loop_watch(successor.loop, &successor.watch, fd, EPOLLIN));
		successor.loop = NULL;
	}
	return result;
}

/* A port at which connections are neither taken nor refused: `held` fill the line of who waits there. */
static unsigned deaf_port(int held[3])
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t bytes = sizeof address;
	held[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(held[0], (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(listen(held[0], 0), 0);
	assert_int_equal(getsockname(held[0], (struct sockaddr *)&address, &bytes), 0);
	for (int i = 1; i < 3; i++) {
		held[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		connect(held[i], (struct sockaddr *)&address, sizeof address);
	}
	return ntohs(address.sin_port);
}

/*
 * curl closes what it gives up while it connects without a word, and says afterwards that it need not be listened to
 * any more. By then its number may be another thread's; to take it off the loop would be to take off that one's.
 */
static void what_curl_closes_by_itself_is_not_touched_again(void **state)
{
	(void)state;
	struct world world;
	struct completion completion = { 0 };
	int held[3], pair[2];
	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	world_init(&world, &dialect_jsonrpc);
	add_endpoint(&world, deaf_port(held));
	world_open(&world);
	send_many(&world, &completion, 1, true, PATIENCE_US);
	for (int i = 0; i < 5; i++)
		turn(&world);
	successor.watch = (struct loop_watch){ .ready = successor_ready, .fd = -1 };
	successor.fd = pair[0];
	successor.heard = false;
	successor.loop = world.loop;
	upstream_abort(completion.exchange);
	assert_null(successor.loop); /* the socket has been closed */
	assert_int_equal(write(pair[1], "x", 1), 1);
	turn(&world);
	assert_true(successor.heard);
	int fd = successor.watch.fd;
	loop_unwatch(world.loop, &successor.watch);
	close(fd);
	close(pair[0]);
	close(pair[1]);
	for (int i = 0; i < 3; i++)
		close(held[i]);
	world_fini(&world);
}

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

static void an_aborted_exchange_says_nothing_more(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = start_with(&world, hold_then_answer, NULL);
	struct completion completion = { 0 };
	send_many(&world, &completion, 1, true, 10 * CLOCK_US_PER_S);
	uint64_t latest = clock_now_us() + PATIENCE_US;
	while (provider_requests(provider) == 0 && clock_now_us() < latest)
		turn(&world);
	upstream_abort(completion.exchange);
	provider_release(provider, 1);
	for (int i = 0; i < 3; i++)
		turn(&world);
	assert_int_equal(completion.answered, 0);
	assert_false(completion.completed);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_CONNECTIONS, 0, CONNECTION_BUSY), 0);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_CONNECTIONS, 0, CONNECTION_IDLE), 0);
	/* before anything has happened, too */
	send_many(&world, &completion, 1, true, 10 * CLOCK_US_PER_S);
	upstream_abort(completion.exchange);
	turn(&world);
	assert_false(completion.completed);
	end(&world, provider);
}

static void an_exchange_can_be_aborted_from_its_own_answer(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = start_with(&world, answer_well, NULL);
	struct completion completion = { .abort_at_first = true };
	send_many(&world, &completion, 5, true, 10 * CLOCK_US_PER_S);
	wait_answered(&completion);
	for (int i = 0; i < 3; i++)
		turn(&world);
	assert_int_equal(completion.answered, 1);
	assert_false(completion.completed);
	completion_fini(&completion);
	end(&world, provider);
}

static void wait_for_lookups(struct world *world, int count)
{
	uint64_t latest = clock_now_us() + PATIENCE_US;
	while ((read_metric(world, METRIC_ID_UPSTREAM_LOOKUPS, 0, 0) < count || atomic_load(&resolver_hung) < 1) &&
	       clock_now_us() < latest)
		turn(world);
	assert_int_equal(read_metric(world, METRIC_ID_UPSTREAM_LOOKUPS, 0, 0), count);
}

/* One look-up at a time of one name, however many calls come and go: each would be a thread of half a minute. */
static void a_hung_resolver_stalls_nobody(void **state)
{
	(void)state;
	enum { ROUNDS = 10, AT_ONCE = 50 };
	struct world world;
	struct provider *provider = prepare_with(&world, &dialect_jsonrpc, answer_well, NULL);
	world_open(&world);
	struct upstream_settings lost_settings = world.settings;
	static const char *const lost[] = { "http://provider.invalid/rpc" };
	lost_settings.endpoints = lost;
	lost_settings.connect_timeout_us = 2 * PATIENCE_US; /* it is the calls that have no time for more */
	static const unsigned lost_labels[] = { 1 };
	lost_settings.endpoint_labels = lost_labels;
	struct upstream *good = world.upstream;
	struct upstream *bad = upstream_new(&lost_settings, world.transport, world.loop, world.meter);
	static struct completion stuck[AT_ONCE];
	struct completion aborted = { 0 };
	for (int round = 0; round < ROUNDS; round++) {
		world.upstream = bad;
		for (int i = 0; i < AT_ONCE; i++)
			send_many(&world, &stuck[i], 1, i % 2, PATIENCE_US);
		wait_for_lookups(&world, AT_ONCE);
		world.upstream = good;
		assert_int_equal(outcome_of(&world, true), OUTCOME_OK); /* while the other hangs */
		clock_set(clock_now_us() + PATIENCE_US);
		for (int i = 0; i < AT_ONCE; i++) {
			wait_completed(&stuck[i]);
			assert_int_equal(stuck[i].answers[0]->outcome, OUTCOME_UPSTREAM_UNAVAILABLE);
			expect_detail(stuck[i].answers[0], "no connection to http://provider.invalid/rpc in time");
			completion_fini(&stuck[i]);
		}
		clock_set(0);
		assert_int_equal(atomic_load(&resolver_hung), 1); /* it hangs still, and nobody waited for it */
		assert_int_equal(proc_threads("resolver"), 1);
	}
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_UNRESOLVED, 0, 0), ROUNDS * AT_ONCE);
	world.upstream = bad;
	send_many(&world, &aborted, 1, false, PATIENCE_US);
	wait_for_lookups(&world, 1);
	upstream_abort(aborted.exchange);
	turn(&world);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_LOOKUPS, 0, 0), 0);
	world.upstream = good;
	upstream_free(bad);
	end_resolvers();
	end(&world, provider);
}

/* A name that is not found is told as such. */
static void a_name_without_an_address_is_told(void **state)
{
	(void)state;
	struct world world;
	world_init(&world, &dialect_jsonrpc);
	world.endpoints[world.settings.endpoint_count++] = "http://provider.invalid/rpc";
	world_open(&world);
	atomic_store(&resolver_free, true);
	struct completion completion = { 0 };
	call_once(&world, &completion, false);
	assert_int_equal(completion.answers[0]->outcome, OUTCOME_UPSTREAM_UNAVAILABLE);
	expect_detail(completion.answers[0], "cannot find the host of http://provider.invalid/rpc");
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_UNRESOLVED, 0, 0), 1);
	completion_fini(&completion);
	end_resolvers();
	end(&world, NULL);
}

static void check_named(const char *host, uint64_t dns_ttl_us, int connections, int look_ups)
{
	enum { AT_ONCE = 5 };
	struct world world;
	struct completion completions[AT_ONCE] = { 0 };
	struct provider *provider = provider_start(hold_then_answer, NULL);
	world_init(&world, &dialect_jsonrpc);
	snprintf(world.urls[0], sizeof world.urls[0], "http://%s:%u/rpc", host, provider_port(provider));
	world.endpoints[world.settings.endpoint_count++] = world.urls[0];
	world.settings.dns_ttl_us = dns_ttl_us;
	world_open(&world);
	atomic_store(&resolver_asked, 0);
	for (int i = 0; i < connections; i++) {
		send_many(&world, &completions[i], 1, false, PATIENCE_US);
		uint64_t latest = clock_now_us() + PATIENCE_US;
		while ((int)provider_requests(provider) <= i && clock_now_us() < latest)
			turn(&world);
		assert_int_equal(provider_requests(provider), i + 1);
	}
	provider_release(provider, (unsigned)connections);
	for (int i = 0; i < connections; i++) {
		wait_completed(&completions[i]);
		assert_int_equal(completions[i].answers[0]->outcome, OUTCOME_OK);
		completion_fini(&completions[i]);
	}
	assert_int_equal(provider_connections(provider), connections);
	assert_int_equal(atomic_load(&resolver_asked), look_ups);
	end(&world, provider);
}

static void a_name_is_looked_up_and_believed_for_a_while(void **state)
{
	(void)state;
	check_named("provider.test", 30 * CLOCK_US_PER_S, 5, 1);
	check_named("provider.test.", 30 * CLOCK_US_PER_S, 5, 1);
	check_named("provider.test", 0, 5, 5); /* asked for each connection */
	check_named("localhost", 0, 5, 0);     /* which curl knows */
	check_named("127.0.0.1", 0, 5, 0);
	check_named("2130706433", 0, 5, 0); /* the same */
}

static void a_hundred_exchanges_run_side_by_side(void **state)
{
	(void)state;
	enum { COUNT = 100 };
	static struct completion completions[COUNT];
	struct world world;
	struct provider *provider = start_with(&world, hold_then_answer, NULL);
	for (int round = 0; round < 2; round++) {
		unsigned before = provider_requests(provider);
		for (int i = 0; i < COUNT; i++)
			send_many(&world, &completions[i], 1, false, PATIENCE_US);
		uint64_t latest = clock_now_us() + PATIENCE_US;
		while (provider_requests(provider) < before + COUNT && clock_now_us() < latest)
			turn(&world);
		assert_int_equal(provider_requests(provider), before + COUNT); /* all held at once */
		assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_CONNECTIONS, 0, CONNECTION_BUSY), COUNT);
		provider_release(provider, COUNT);
		for (int i = 0; i < COUNT; i++) {
			wait_completed(&completions[i]);
			assert_int_equal(completions[i].answers[0]->outcome, OUTCOME_OK);
			completion_fini(&completions[i]);
		}
	}
	assert_int_equal(provider_connections(provider), COUNT); /* the second round used the first one's */
	end(&world, provider);
}

static enum provider_then hold_then_answer_and_tell(struct provider_request *request)
{
	enum provider_then then = hold_then_answer(request);
	atomic_fetch_add((atomic_uint *)request->context, 1);
	return then;
}

/* In a turn in which the answers of all are there, curl looks at all as it is told of the first, since the time that it gave them
 * for connecting is over: that the loop tells of the others as well is no byte that nobody has asked for. */
static void an_answer_that_curl_has_read_ends_no_kept_connection(void **state)
{
	(void)state;
	enum { COUNT = 20 };
	static struct completion completions[COUNT];
	struct world world;
	atomic_uint answered = 0;
	struct provider *provider = start_with(&world, hold_then_answer_and_tell, &answered);
	for (unsigned round = 1; round <= 2; round++) {
		for (int i = 0; i < COUNT; i++)
			send_many(&world, &completions[i], 1, false, PATIENCE_US);
		uint64_t latest = clock_now_us() + PATIENCE_US;
		while (provider_requests(provider) < round * COUNT && clock_now_us() < latest)
			turn(&world);
		provider_release(provider, COUNT);
		while (atomic_load(&answered) < round * COUNT && clock_now_us() < latest)
			usleep(1000);
		turn_curls_clock(6);
		for (int i = 0; i < COUNT; i++) {
			wait_completed(&completions[i]);
			assert_int_equal(completions[i].answers[0]->outcome, OUTCOME_OK);
			completion_fini(&completions[i]);
		}
	}
	assert_int_equal(provider_connections(provider), COUNT);
	end(&world, provider);
}

/* --- bytes that come at the very moment an answer has been read --- */

ssize_t recv(int fd, void *bytes, size_t len, int flags);

static atomic_bool stray_awaited; /* by the test's thread, as it reads next */
static atomic_bool stray_due;

ssize_t recv(int fd, void *bytes, size_t len, int flags)
{
	ssize_t (*real)(int, void *, size_t, int);
	*(void **)&real = dlsym(RTLD_NEXT, "recv");
	ssize_t got = real(fd, bytes, len, flags);
	struct pollfd more = { .fd = fd, .events = POLLIN };
	if (got > 0 && !(flags & MSG_PEEK) && gettid() == getpid() && atomic_exchange(&stray_awaited, false)) {
		atomic_store(&stray_due, true);
		assert_int_equal(poll(&more, 1, (int)(PATIENCE_US / CLOCK_US_PER_MS)), 1);
	}
	return got;
}

static enum provider_then answer_first_and_go_on(struct provider_request *request)
{
	if (request->number > 0)
		return answer_well(request);
	enum provider_then then = hold_then_answer_and_tell(request);
	uint64_t latest = clock_now_us() + PATIENCE_US;
	while (!atomic_load(&stray_due) && clock_now_us() < latest)
		usleep(1000);
	provider_write(request, "stray");
	return then;
}

/* A connection that is readable is passed over since curl is due, which reads its answer as another request begins. What is there
 * then ends it in the same turn: it could be taken for the next one's answer. */
static void a_connection_that_was_passed_over_ends_with_what_nobody_has_asked_for(void **state)
{
	(void)state;
	struct completion first = { 0 }, second = { 0 };
	struct world world;
	atomic_uint answered = 0;
	struct provider *provider = start_with(&world, answer_first_and_go_on, &answered);
	uint64_t latest = clock_now_us() + PATIENCE_US;
	send_many(&world, &first, 1, false, PATIENCE_US);
	while (provider_requests(provider) == 0 && clock_now_us() < latest)
		turn(&world);
	send_many(&world, &second, 1, false, PATIENCE_US); /* curl is due */
	loop_run_timers(world.loop);
	provider_release(provider, 1);
	while (atomic_load(&answered) == 0 && clock_now_us() < latest)
		usleep(1000);
	turn_curls_clock(6); /* so that it looks at the first one, too */
	atomic_store(&stray_awaited, true);
	turn(&world);
	assert_true(atomic_load(&stray_due));
	while (provider_ended(provider) == 0 && clock_now_us() < latest)
		usleep(1000);
	assert_int_equal(provider_ended(provider), 1);
	wait_completed(&first);
	wait_completed(&second);
	assert_int_equal(first.answers[0]->outcome, OUTCOME_OK);
	assert_int_equal(second.answers[0]->outcome, OUTCOME_OK);
	completion_fini(&first);
	completion_fini(&second);
	end(&world, provider);
}

static void no_more_connections_than_the_pool_allows(void **state)
{
	(void)state;
	enum { COUNT = 20 };
	static struct completion completions[COUNT];
	struct world world;
	struct provider *provider = prepare_with(&world, &dialect_jsonrpc, answer_well, NULL);
	world.settings.pool_max = 3;
	world_open(&world);
	for (int i = 0; i < COUNT; i++)
		send_many(&world, &completions[i], 1, false, PATIENCE_US);
	upstream_abort(completions[10].exchange); /* it waits: no trace of it */
	for (int i = 0; i < COUNT; i++) {
		if (i == 10)
			continue;
		wait_completed(&completions[i]);
		assert_int_equal(completions[i].answers[0]->outcome, OUTCOME_OK);
		completion_fini(&completions[i]);
	}
	assert_int_equal(provider_requests(provider), COUNT - 1);
	assert_int_equal(provider_connections(provider), 3);
	end(&world, provider);
}

static void waiting_for_the_pool_in_vain_means_nothing_was_sent(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = prepare_with(&world, &dialect_jsonrpc, hold_then_answer, NULL);
	world.settings.pool_max = 1;
	world_open(&world);
	struct completion first = { 0 }, second = { 0 };
	send_many(&world, &first, 1, false, PATIENCE_US);
	send_many(&world, &second, 1, false, 30 * CLOCK_US_PER_MS);
	wait_completed(&second);
	assert_int_equal(second.answers[0]->outcome, OUTCOME_UPSTREAM_UNAVAILABLE);
	expect_detail(second.answers[0], "pool.max");
	provider_release(provider, 1);
	wait_completed(&first);
	assert_int_equal(first.answers[0]->outcome, OUTCOME_OK);
	completion_fini(&first);
	completion_fini(&second);
	assert_int_equal(provider_requests(provider), 1);
	end(&world, provider);
}

/* curl counts idle time in whole seconds. */
static void min_idle_connections_are_used_past_their_time_by_what_may_be_repeated(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = prepare_with(&world, &dialect_jsonrpc, answer_well, NULL);
	world.settings.idle_timeout_us = 1;
	world.settings.pool_min_idle = 1;
	world_open(&world);
	assert_int_equal(outcome_of(&world, true), OUTCOME_OK);
	turn_curls_clock(3);
	assert_int_equal(outcome_of(&world, true), OUTCOME_OK);
	assert_int_equal(provider_connections(provider), 1);
	turn_curls_clock(3);
	assert_int_equal(outcome_of(&world, false), OUTCOME_OK);
	assert_int_equal(provider_connections(provider), 2);
	world.settings.pool_min_idle = 0;
	turn_curls_clock(3);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_connection_is_kept_and_used_again),
		cmocka_unit_test(an_aborted_exchange_says_nothing_more),
		cmocka_unit_test(an_exchange_can_be_aborted_from_its_own_answer),
		cmocka_unit_test(a_hung_resolver_stalls_nobody),
		cmocka_unit_test(a_name_without_an_address_is_told),
		cmocka_unit_test(a_name_is_looked_up_and_believed_for_a_while),
		cmocka_unit_test(a_hundred_exchanges_run_side_by_side),
		cmocka_unit_test(an_answer_that_curl_has_read_ends_no_kept_connection),
		cmocka_unit_test(a_connection_that_was_passed_over_ends_with_what_nobody_has_asked_for),
		cmocka_unit_test(no_more_connections_than_the_pool_allows),
		cmocka_unit_test(waiting_for_the_pool_in_vain_means_nothing_was_sent),
		cmocka_unit_test(min_idle_connections_are_used_past_their_time_by_what_may_be_repeated),
		cmocka_unit_test(kept_connections_outlive_their_upstream),
		cmocka_unit_test(what_curl_closes_by_itself_is_not_touched_again),
	};
	return run_with_upstream("upstream", tests, countof(tests));
}
