/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose answer it is, and whether it is one: bytes that nobody asked for, heads and bodies that break off, a kept
 * connection that dies while nobody listens any more, and what libcurl makes of all that by itself.
 */
#include "tests/support/upstream_world.h"
#include "upstream/http/endpoint.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- handles that are made and thrown away --- */

static atomic_uint handles_made, handles_thrown_away;

/* Preempt libcurl's: the program's own symbols are found first. */
CURL *curl_easy_init(void)
{
	CURL *(*real)(void) = NULL;
	*(void **)&real = dlsym(RTLD_NEXT, "curl_easy_init");
	assert(real);
	atomic_fetch_add(&handles_made, 1);
	return real();
}

void curl_easy_cleanup(CURL *easy)
{
	void (*real)(CURL *) = NULL;
	*(void **)&real = dlsym(RTLD_NEXT, "curl_easy_cleanup");
	assert(real);
	atomic_fetch_add(&handles_thrown_away, 1);
	real(easy);
}

/* --- a socket that is dead by the time it is written to --- */

static _Thread_local bool sends_fail; /* this thread's, the next one */

ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
	static ssize_t (*real)(int, const void *, size_t, int);
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "send");
	if (!sends_fail)
		return real(fd, bytes, len, flags);
	sends_fail = false;
	errno = EPIPE;
	return -1;
}

/* --- bytes that nobody asked for --- */

/* Have the provider say what it says next, and be sure that it has come. `said`: set behind it. */
static void let_speak(struct world *world, struct provider *provider, atomic_bool *said)
{
	uint64_t latest = clock_now_us() + PATIENCE_US;
	provider_release(provider, 1);
	while (!atomic_load(said) && clock_now_us() < latest)
		sched_yield();
	for (int i = 0; i < 5; i++)
		turn(world);
}

/* Answers, and then says something more, once the test lets it. */
static enum provider_then answer_then_speak_out_of_turn(struct provider_request *request)
{
	answer_well(request);
	if (request->number > 0)
		return PROVIDER_KEEP;
	provider_hold(request);
	/* with the id that the next call will have: only the connection can tell that it was not asked for */
	static const char stray[] = "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":\"nobody asked\"}";
	provider_write(request, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(stray), stray);
	atomic_store((atomic_bool *)request->context, true);
	provider_hold(request);
	return PROVIDER_KEEP;
}

static void what_nobody_asked_for_is_nobodys_answer(void **state)
{
	(void)state;
	struct world world;
	atomic_bool said = false;
	struct provider *provider = start_with(&world, answer_then_speak_out_of_turn, &said);
	assert_int_equal(outcome_of(&world, true), OUTCOME_OK);
	let_speak(&world, provider, &said);
	struct completion completion = { 0 };
	call_once(&world, &completion, false);
	assert_int_equal(completion.answers[0]->outcome, OUTCOME_OK);
	assert_string_equal(completion.answers[0]->bytes, "{\"n\":2.50}");
	completion_fini(&completion);
	assert_int_equal(provider_connections(provider), 2);
	end(&world, provider);
}

static enum provider_then time_out_idle(struct provider_request *request)
{
	answer_well(request);
	if (request->number > 0)
		return PROVIDER_KEEP;
	provider_hold(request);
	provider_write(request, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
	atomic_store((atomic_bool *)request->context, true);
	return PROVIDER_CLOSE;
}

static void a_408_on_an_idle_connection_harms_no_write(void **state)
{
	(void)state;
	struct world world;
	atomic_bool said = false;
	struct provider *provider = start_with(&world, time_out_idle, &said);
	assert_int_equal(outcome_of(&world, false), OUTCOME_OK);
	let_speak(&world, provider, &said);
	assert_int_equal(outcome_of(&world, false), OUTCOME_OK);
	assert_int_equal(provider_requests(provider), 2);
	end(&world, provider);
}

/* --- heads that break off --- */

static enum provider_then say_and_close(struct provider_request *request)
{
	provider_write(request, "%s", (const char *)request->context);
	return PROVIDER_CLOSE;
}

static void check_said_to(const char *said, bool repeatable, enum outcome wanted)
{
	struct world world;
	struct provider *provider = prepare_with(&world, &dialect_rest, say_and_close, (void *)(uintptr_t)said);
	world_open(&world);
	enum outcome outcome = outcome_of(&world, repeatable);
	if (outcome != wanted)
		fail_msg("\"%s\" is %s for a %s", said, outcome_word(outcome), repeatable ? "read" : "write");
	end(&world, provider);
}

static void check_said(const char *said, enum outcome read, enum outcome write)
{
	check_said_to(said, true, read);
	check_said_to(said, false, write);
}

static void a_head_that_breaks_off_is_no_answer(void **state)
{
	(void)state;
	static const char *const broken[] = {
		"HTTP/1.1 200 OK\r\nContent-Le",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
		"HTTP/1.1 204 No Content\r\n",
		"HTTP/1.1 200 OK\r\n",
		"HTTP/1.1 200 OK",
		"HTTP/1.1 100 Continue\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Le",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		"",
	};
	for (size_t i = 0; i < countof(broken); i++)
		check_said(broken[i], OUTCOME_UPSTREAM_ERROR, OUTCOME_OUTCOME_UNKNOWN);
	static const char *const whole[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{}",
		"HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2\r\n{}\r\n0\r\nX: 1\r\n\r\n",
	};
	for (size_t i = 0; i < countof(whole); i++)
		check_said(whole[i], OUTCOME_OK, OUTCOME_OK);
}

/* A provider that said no has said so: nothing was carried out, whatever the rest of the head would have been. */
static void a_no_is_a_no_however_it_ends(void **state)
{
	(void)state;
	check_said("HTTP/1.1 503 Away\r\nContent-Le", OUTCOME_UPSTREAM_UNAVAILABLE, OUTCOME_UPSTREAM_UNAVAILABLE);
}

/* --- answers in hand --- */

/* Two of three answers, whole, and the end of the connection in the same breath. */
static enum provider_then two_of_three_then_close(struct provider_request *request)
{
	uint64_t ids[MAX_CALLS];
	struct words words = { 0 };
	size_t count = read_ids(request->body, ids, MAX_CALLS);
	assert(count == 3);
	say(&words,
	    "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n[{\"jsonrpc\":\"2.0\",\"id\":%llu,\"result\":1},"
	    "{\"jsonrpc\":\"2.0\",\"id\":%llu,\"result\":2},{\"js",
	    (unsigned long long)ids[0], (unsigned long long)ids[1]);
	provider_write(request, "%s", words.at);
	return *(bool *)request->context ? PROVIDER_RESET : PROVIDER_CLOSE;
}

static void answers_that_came_whole_before_the_break_are_delivered(void **state)
{
	(void)state;
	bool reset = false;
	struct world world;
	struct provider *provider = start_with(&world, two_of_three_then_close, &reset);
	for (int round = 0; round < 10; round++) {
		struct completion completion = { 0 };
		send_many(&world, &completion, 3, false, PATIENCE_US);
		uint64_t latest = clock_now_us() + PATIENCE_US;
		/* not one turn until all is there: answers and end are met in the same one */
		while (provider_requests(provider) == (unsigned)round && clock_now_us() < latest)
			turn(&world);
		while (provider_ended(provider) == (unsigned)round && clock_now_us() < latest)
			sched_yield();
		assert_int_equal(provider_ended(provider), (unsigned)round + 1);
		wait_completed(&completion);
		assert_int_equal(completion.answered, 3);
		assert_int_equal(completion.answers[0]->outcome, OUTCOME_OK);
		assert_int_equal(completion.answers[1]->outcome, OUTCOME_OK);
		assert_string_equal(completion.answers[1]->bytes, "2");
		assert_int_equal(completion.answers[2]->outcome, OUTCOME_OUTCOME_UNKNOWN);
		completion_fini(&completion);
	}
	end(&world, provider);
}

/* --- libcurl's second thoughts --- */

/* Answers one request. The next one finds the listener gone and its connection dying. */
struct mortal {
	pthread_t thread;
	int fd;
	unsigned port;
	atomic_uint answered;
};

static void read_head(int fd)
{
	char bytes[8192];
	size_t len = 0;
	while (len < sizeof bytes) {
		ssize_t got = recv(fd, bytes + len, sizeof bytes - len, 0);
		if (got <= 0)
			return;
		len += (size_t)got;
		if (memmem(bytes, len, "\r\n\r\n", 4))
			return;
	}
}

static void *live_and_die(void *context)
{
	struct mortal *mortal = context;
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
	int fd = accept(mortal->fd, NULL, NULL);
	read_head(fd);
	send(fd, answer, strlen(answer), MSG_NOSIGNAL);
	read_head(fd);
	close(mortal->fd); /* nobody will answer a second attempt */
	close(fd);
	return NULL;
}

/* Has answered before it was asked; the second time it waits for that. Then it waits for the end. */
static void *answer_at_once(void *context)
{
	struct mortal *mortal = context;
	int fd = accept(mortal->fd, NULL, NULL);
	for (int id = 1; id <= 2; id++) {
		char answer[200];
		const char *body = id == 1 ? "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1}"
					   : "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":2}";
		int len = snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
				   strlen(body), body);
		send(fd, answer, (size_t)len, MSG_NOSIGNAL);
		atomic_fetch_add(&mortal->answered, 1);
		for (int heads = id == 1 ? 2 : 1; heads; heads--)
			read_head(fd);
	}
	close(mortal->fd);
	close(fd);
	return NULL;
}

static void mortal_start(struct mortal *mortal, void *(*live)(void *))
{
	atomic_init(&mortal->answered, 0);
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof address;
	mortal->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(mortal->fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(mortal->fd, 8), 0);
	assert_int_equal(getsockname(mortal->fd, (struct sockaddr *)&address, &len), 0);
	mortal->port = ntohs(address.sin_port);
	assert_int_equal(pthread_create(&mortal->thread, NULL, live, mortal), 0);
}

/* The first endpoint dies under a request on a kept connection and takes no other; the second one is well. */
static void check_mortal(bool repeatable, enum outcome wanted, unsigned other_saw)
{
	struct world world;
	struct mortal mortal;
	struct provider *other = provider_start(say_and_close, (char[]){ "HTTP/1.1 204 No Content\r\n\r\n" });
	mortal_start(&mortal, live_and_die);
	world_init(&world, &dialect_rest);
	add_endpoint(&world, mortal.port);
	add_endpoint(&world, provider_port(other));
	struct endpoint_policy in_turn = endpoint_default_policy;
	in_turn.balance = BALANCE_ROUND_ROBIN;
	world.settings.balancing = &in_turn;
	world.settings.retries = (struct retry_settings){ .attempts = 2, .budget_percent = 20 };
	world_open(&world);
	assert_int_equal(outcome_of(&world, true), OUTCOME_OK); /* the first's turn */
	assert_int_equal(outcome_of(&world, true), OUTCOME_OK); /* the second's */
	struct completion completion = { 0 };
	call_once(&world, &completion, repeatable);
	if (completion.answers[0]->outcome != wanted)
		fail_msg("%s: %s", outcome_word(completion.answers[0]->outcome), completion.answers[0]->detail);
	completion_fini(&completion);
	assert_int_equal(provider_requests(other), other_saw);
	pthread_join(mortal.thread, NULL);
	end(&world, other);
}

static void curls_own_second_attempt_is_not_made(void **state)
{
	(void)state;
	check_mortal(true, OUTCOME_OK, 2); /* a read goes to the other endpoint */
	check_mortal(false, OUTCOME_OUTCOME_UNKNOWN, 1);
}

/* Answers every second request of its connection, and dies under the other, before or after a word of an answer. */
static enum provider_then answer_every_second(struct provider_request *request)
{
	if (request->on_connection == 0)
		return answer_well(request);
	if (request->number % 4 < 2)
		provider_write(request, "HTTP/1.1 200 OK\r\nContent-Le");
	return request->number % 8 < 4 ? PROVIDER_CLOSE : PROVIDER_RESET;
}

/* What a write that died leaves in its handle (curl 8.7 and on wants to rewind the body first) spoils nobody's request. */
static void a_handle_whose_write_failed_is_as_good_as_new(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = start_with(&world, answer_every_second, NULL);
	unsigned before = atomic_load(&handles_thrown_away);
	for (unsigned i = 0; i < 40; i++) {
		assert_int_equal(outcome_of(&world, false), OUTCOME_OK);
		assert_int_equal(outcome_of(&world, false), OUTCOME_OUTCOME_UNKNOWN);
		assert_int_equal(provider_requests(provider), 2 * i + 2); /* each once */
	}
	assert_int_equal(atomic_load(&handles_thrown_away), before);
	end(&world, provider);
}

static enum provider_then answer_the_first(struct provider_request *request)
{
	if (request->on_connection == 0)
		return answer_well(request);
	return request->number % 2 ? PROVIDER_CLOSE : PROVIDER_RESET;
}

/* So often that libcurl counts further than it can (it gives a handle up the sixth time). */
static void check_kept(enum provider_then (*handler)(struct provider_request *request), bool repeatable)
{
	enum { CALLS = 40 };
	struct world world;
	struct provider *provider = start_with(&world, handler, NULL);
	assert_int_equal(outcome_of(&world, repeatable), OUTCOME_OK);
	for (unsigned i = 0; i < CALLS; i++) {
		sends_fail = handler == answer_well;
		assert_int_equal(outcome_of(&world, repeatable), OUTCOME_OK);
	}
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_REPEATS, 0, 0), CALLS);
	assert_int_equal(read_metric(&world, METRIC_ID_ATTEMPTS, 0, attempt_label(ATTEMPT_FIRST, ATTEMPT_RESULT_OK)),
			 CALLS + 1);
	assert_int_equal(provider_requests(provider), handler == answer_well ? CALLS + 1 : 2 * CALLS + 1);
	end(&world, provider);
}

static void a_kept_connection_that_dies_is_held_against_nobody(void **state)
{
	(void)state;
	check_kept(answer_the_first, true); /* when it was sent */
	check_kept(answer_well, true);      /* before */
	check_kept(answer_well, false);
}

/* The answer is read in the same breath as the request is written, while the loop still asks whether one can write. */
static void a_connection_whose_answer_was_there_at_once_is_kept(void **state)
{
	(void)state;
	struct world world;
	struct mortal provider;
	mortal_start(&provider, answer_at_once);
	world_init(&world, &dialect_jsonrpc);
	add_endpoint(&world, provider.port);
	world_open(&world);
	struct completion completion = { 0 };
	send_many(&world, &completion, 1, false, PATIENCE_US);
	transport_tick(world.transport); /* it connects */
	uint64_t latest = clock_now_us() + PATIENCE_US;
	while (!atomic_load(&provider.answered) && clock_now_us() < latest)
		sched_yield();
	wait_completed(&completion);
	assert_string_equal(completion.answers[0]->bytes, "1");
	completion_fini(&completion);
	turn(&world); /* nothing has happened on the connection, so nothing is to be done about it */
	assert_int_equal(outcome_of(&world, false), OUTCOME_OK);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_CONNECTS, 0, 0), 1);
	end(&world, NULL);
	pthread_join(provider.thread, NULL);
}

/* --- one handle, requests of every kind --- */

/* Request line and body of the last request. */
struct spoken {
	pthread_mutex_t lock;
	char text[300];
};

static enum provider_then note_and_answer(struct provider_request *request)
{
	struct spoken *spoken = request->context;
	const char *end = memchr(request->head.at, '\r', request->head.len);
	pthread_mutex_lock(&spoken->lock);
	snprintf(spoken->text, sizeof spoken->text, "%.*s|%.*s|%.*s", (int)(end - request->head.at), request->head.at,
		 SLICE_ARG(provider_header(request, "Content-Length")), SLICE_ARG(request->body));
	pthread_mutex_unlock(&spoken->lock);
	if (memcmp(request->head.at, "HEAD", 4) == 0)
		provider_write(request, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
	else
		provider_answer(request, "200 OK", "application/json", SLICE("{}"));
	return PROVIDER_KEEP;
}

/* What one request sets on the handle is nothing the next one comes by. */
static void a_handle_keeps_nothing_of_the_request_before(void **state)
{
	(void)state;
	static struct spoken spoken = { .lock = PTHREAD_MUTEX_INITIALIZER };
	static const struct {
		const char *method, *path, *body, *seen;
	} kinds[] = {
		{ "GET", "/a", NULL, "GET /rpc/a HTTP/1.1||" },
		{ "POST", NULL, "{\"n\":1}", "POST /rpc/t HTTP/1.1|7|{\"n\":1}" },
		{ "DELETE", "/b", NULL, "DELETE /rpc/b HTTP/1.1||" },
		{ "HEAD", NULL, NULL, "HEAD /rpc/t HTTP/1.1||" },
		{ "PUT", NULL, "{}", "PUT /rpc/t HTTP/1.1|2|{}" },
		{ "POST", NULL, "", "POST /rpc/t HTTP/1.1|0|" },
	};
	struct world world;
	struct provider *provider = prepare_with(&world, &dialect_rest, note_and_answer, &spoken);
	world_open(&world);
	unsigned before = atomic_load(&handles_made);
	for (size_t i = 0; i < 2 * countof(kinds) * countof(kinds); i++) { /* each after each */
		size_t kind = i % 2 ? i / 2 % countof(kinds) : i / 2 / countof(kinds);
		struct dialect_error error = { 0 };
		struct route_settings route = { .tool = "t",
						.http_method = kinds[kind].method,
						.path = kinds[kind].path,
						.body = kinds[kind].body };
		dialect_route_unref(world.route);
		world.route = dialect_rest.route_new(&route, &error);
		assert_non_null(world.route);
		assert_int_equal(outcome_of(&world, i % 3), OUTCOME_OK);
		pthread_mutex_lock(&spoken.lock);
		assert_string_equal(spoken.text, kinds[kind].seen);
		pthread_mutex_unlock(&spoken.lock);
	}
	assert_int_equal(atomic_load(&handles_made), before + 1);
	end(&world, provider);
}

/* --- what had left --- */

static void a_call_that_waits_has_not_been_sent(void **state)
{
	(void)state;
	struct world world;
	atomic_bool said = false;
	struct provider *provider = start_with(&world, answer_then_speak_out_of_turn, &said);
	world.settings.pool_max = 1;
	struct completion first = { 0 }, second = { 0 };
	send_many(&world, &first, 1, false, PATIENCE_US);
	send_many(&world, &second, 1, false, PATIENCE_US);
	assert_false(upstream_sent(first.exchange));
	assert_false(upstream_sent(second.exchange));
	uint64_t latest = clock_now_us() + PATIENCE_US;
	while (provider_requests(provider) == 0 && clock_now_us() < latest)
		turn(&world);
	assert_true(first.completed || upstream_sent(first.exchange));
	wait_completed(&first);
	wait_completed(&second);
	completion_fini(&first);
	completion_fini(&second);
	end(&world, provider);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_nobody_asked_for_is_nobodys_answer),
		cmocka_unit_test(a_408_on_an_idle_connection_harms_no_write),
		cmocka_unit_test(a_head_that_breaks_off_is_no_answer),
		cmocka_unit_test(a_no_is_a_no_however_it_ends),
		cmocka_unit_test(answers_that_came_whole_before_the_break_are_delivered),
		cmocka_unit_test(curls_own_second_attempt_is_not_made),
		cmocka_unit_test(a_handle_whose_write_failed_is_as_good_as_new),
		cmocka_unit_test(a_kept_connection_that_dies_is_held_against_nobody),
		cmocka_unit_test(a_connection_whose_answer_was_there_at_once_is_kept),
		cmocka_unit_test(a_handle_keeps_nothing_of_the_request_before),
		cmocka_unit_test(a_call_that_waits_has_not_been_sent),
	};
	return run_with_upstream("http faults", tests, countof(tests));
}
