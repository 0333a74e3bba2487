/* SPDX-License-Identifier: Apache-2.0 */
/* A repeat over a real socket, from the first byte to the last: our own code allocates nothing for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/server/seats.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/gateway_world.h"

enum { PATIENCE = 20000, REPEATS = 100 };

static struct gateway_world world;
static struct sockaddr_in address;

static void listen_here(void)
{
	socklen_t len = sizeof address;
	char error[200] = "";
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	world.config->generation.http = (struct http_settings){
		.body_bytes = 64 * 1024,
		.header_bytes = 8192,
		.header_timeout_us = 5 * CLOCK_US_PER_S,
		.body_timeout_us = 30 * CLOCK_US_PER_S,
		.send_rate = 16 * 1024,
		.idle_timeout_us = 75 * CLOCK_US_PER_S,
		.connections = 16,
		.held_bytes = 256 * 1024,
	};
	if (!worker_add_seat(world.gateway.workers[0], fd, false, NULL, 0, error, sizeof error))
		fail_msg("%s", error);
	worker_open(world.gateway.workers[0]);
}

static int connect_here(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

/* Send a request and turn until its answer, of `reply_bytes` at most, has come and ended with `end`. */
static void exchange(int fd, const char *request, char *reply, size_t reply_bytes, const char *end)
{
	size_t len = 0;
	assert_int_equal(send(fd, request, strlen(request), 0), strlen(request));
	for (int turns = 0; turns < PATIENCE; turns++) {
		gateway_turn(&world, 0);
		if (fake_nth(0))
			fake_finish(fake_nth(0));
		ssize_t got = recv(fd, reply + len, reply_bytes - 1 - len, MSG_DONTWAIT);
		assert_true(got > 0 || (got < 0 && errno == EAGAIN));
		len += got > 0 ? (size_t)got : 0;
		reply[len] = '\0';
		if (strstr(reply, end))
			return;
	}
	fail_msg("no answer: %s", reply);
}

#define REQUEST(extra)                                                                                                 \
	"POST /v1/tools/cached HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" extra                \
	"Content-Length: 9\r\n\r\n{\"tag\":7}"

static int start(void **state)
{
	char error[200];
	(void)state;
	gateway_start(&world, gateway_yaml);
	assert_true(log_open("/dev/null", LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, error, sizeof error));
	listen_here();
	return 0;
}

static int stop(void **state)
{
	(void)state;
	struct worker *worker = world.gateway.workers[0];
	worker_leave_seats(worker);
	gateway_stop(&world);
	log_close();
	return 0;
}

static void a_repeat_allocates_nothing_of_ours(void **state)
{
	(void)state;
	char reply[4096];
	int fd = connect_here();
	exchange(fd, REQUEST(""), reply, sizeof reply, "{\"tag\":7}");
	assert_non_null(strstr(reply, "fwd=miss; stored"));
	exchange(fd, REQUEST(""), reply, sizeof reply, "{\"tag\":7}"); /* fills what is kept for the next */
	assert_non_null(strstr(reply, "; hit; ttl="));
	alloc_reset();
	for (int i = 0; i < REPEATS; i++)
		exchange(fd, REQUEST(""), reply, sizeof reply, "{\"tag\":7}");
	assert_int_equal(alloc_count(), 0);
	assert_non_null(strstr(reply, "; hit; ttl="));
	assert_int_equal(fake_sent(), 1);
	close(fd);
}

static void who_has_the_bytes_gets_304_without_them(void **state)
{
	(void)state;
	char reply[4096], etag[32], request[512];
	int fd = connect_here();
	exchange(fd, REQUEST(""), reply, sizeof reply, "{\"tag\":7}");
	const char *at = strstr(reply, "ETag: \"");
	assert_non_null(at);
	assert_int_equal(sscanf(at, "ETag: %31[^\r]", etag), 1);
	snprintf(request, sizeof request,
		 "POST /v1/tools/cached HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
		 "If-None-Match: \"x\", W/%s\r\nContent-Length: 9\r\n\r\n{\"tag\":7}",
		 etag);
	exchange(fd, request, reply, sizeof reply, "\r\n\r\n");
	assert_memory_equal(reply, "HTTP/1.1 304 ", 13);
	assert_non_null(strstr(reply, etag));
	assert_non_null(strstr(reply, "; hit; ttl="));
	assert_string_equal(strstr(reply, "\r\n\r\n"), "\r\n\r\n");
	/* and the connection goes on as if nothing had been */
	exchange(fd, REQUEST("If-None-Match: \"other\"\r\n"), reply, sizeof reply, "{\"tag\":7}");
	assert_memory_equal(reply, "HTTP/1.1 200 ", 13);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_repeat_allocates_nothing_of_ours, start, stop),
		cmocka_unit_test_setup_teardown(who_has_the_bytes_gets_304_without_them, start, stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
