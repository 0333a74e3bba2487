/* SPDX-License-Identifier: Apache-2.0 */
/* The command line's fetch: over TCP and unix sockets, and what it says when it fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/provider.h"
#include "upstream/http/client.h"

static enum provider_then echo(struct provider_request *request)
{
	struct slice kind = provider_header(request, "X-Kind");
	size_t line = (size_t)((const char *)memchr(request->head.at, '\r', request->head.len) - request->head.at);
	provider_write(request, "HTTP/1.1 %s\r\nContent-Length: %zu\r\nCache-Status: jitney; hit\r\n\r\n%.*s|%.*s|%.*s",
		       "207 Odd", line + kind.len + request->body.len + 2, (int)line, request->head.at, SLICE_ARG(kind),
		       SLICE_ARG(request->body));
	return PROVIDER_KEEP;
}

static enum provider_then hang(struct provider_request *request)
{
	provider_hold(request);
	return PROVIDER_CLOSE;
}

static void fetch_and_compare(const char *server)
{
	static const struct upstream_header headers[] = { { "X-Kind", "a b" } };
	struct client_request request = { .server = server,
					  .path = "/v1/tools/x%20y?z=1",
					  .method = "PUT",
					  .headers = headers,
					  .header_count = 1,
					  .has_body = true,
					  .body = SLICE("{}"),
					  .timeout_us = 10 * 1000 * 1000 };
	struct client_wanted wanted[] = { { .name = "cache-status" }, { .name = "Age", .value = "stale" } };
	struct client_reply reply = { .body = BUF_INIT(1000), .wanted = wanted, .wanted_count = 2 };
	char error[300] = "";
	if (!client_fetch(&request, &reply, error, sizeof error))
		fail_msg("%s", error);
	assert_int_equal(reply.status, 207);
	assert_string_equal(buf_cstr(&reply.body), "PUT /v1/tools/x%20y?z=1 HTTP/1.1|a b|{}");
	assert_string_equal(wanted[0].value, "jitney; hit");
	assert_string_equal(wanted[1].value, "");
	buf_fini(&reply.body);
}

static void a_server_is_spoken_to_over_tcp(void **state)
{
	(void)state;
	char server[100];
	struct provider *provider = provider_start(echo, NULL);
	snprintf(server, sizeof server, "http://127.0.0.1:%u/", provider_port(provider));
	fetch_and_compare(server);
	snprintf(server, sizeof server, "127.0.0.1:%u", provider_port(provider));
	fetch_and_compare(server);
	provider_stop(provider);
}

static void a_server_is_spoken_to_over_a_unix_socket(void **state)
{
	(void)state;
	char folder[] = "/tmp/jitney-client-XXXXXX", path[60], server[80];
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/socket", folder);
	snprintf(server, sizeof server, "unix:%s", path);
	struct provider *provider = provider_start_unix(path, echo, NULL);
	fetch_and_compare(server);
	provider_stop(provider);
	unlink(path);
	rmdir(folder);
}

static void expect_error(const char *server, size_t cap, uint64_t timeout_us, const char *wanted)
{
	struct client_request request = { .server = server, .path = "/", .method = "GET", .timeout_us = timeout_us };
	struct client_reply reply = { .body = BUF_INIT(cap) };
	char error[300] = "";
	assert_false(client_fetch(&request, &reply, error, sizeof error));
	assert_string_equal(error, wanted);
	buf_fini(&reply.body);
}

static void failures_are_told_in_a_sentence(void **state)
{
	(void)state;
	char server[100], wanted[200];
	struct provider *provider = provider_start(echo, NULL);
	snprintf(server, sizeof server, "http://127.0.0.1:%u", provider_port(provider));
	snprintf(wanted, sizeof wanted, "the answer of %s is over 3 bytes", server);
	expect_error(server, 3, 10 * 1000 * 1000, wanted);
	provider_stop(provider);
	snprintf(wanted, sizeof wanted, "cannot connect to %s: connection refused", server);
	expect_error(server, 100, 10 * 1000 * 1000, wanted);
	expect_error("unix:/nonexistent/socket", 100, 10 * 1000 * 1000,
		     "cannot connect to unix:/nonexistent/socket: no such file or directory");
	provider = provider_start(hang, NULL);
	snprintf(server, sizeof server, "http://127.0.0.1:%u", provider_port(provider));
	snprintf(wanted, sizeof wanted, "%s did not answer within 0.1 s", server);
	expect_error(server, 100, 100 * 1000, wanted);
	provider_stop(provider);
}

static bool read_pause(const char *value, uint64_t *us)
{
	struct client_wanted wanted = { .name = "Retry-After" };
	snprintf(wanted.value, sizeof wanted.value, "%s", value);
	return client_read_pause(&wanted, us);
}

/* Seconds, or a date (RFC 9110, 10.2.3). */
static void what_retry_after_asks_for(void **state)
{
	(void)state;
	enum { S = 1000000 };
	static const struct {
		const char *value;
		uint64_t us;
	} good[] = { { "0", 0 },
		     { "7", 7 * S },
		     { "007", 7 * S },
		     { "3601", UINT64_C(3600) * S },
		     { "99999999999999999999999", UINT64_C(3600) * S },
		     { "Fri, 31 Dec 1999 23:59:59 GMT", 0 },
		     { "Friday, 31-Dec-99 23:59:59 GMT", 0 },
		     { "Fri Dec 31 23:59:59 1999", 0 },
		     { "Fri, 31 Dec 2100 23:59:59 GMT", UINT64_C(3600) * S } };
	static const char *const bad[] = { "", "-1", "1.5", "soon", "5 seconds", "0x10" };
	char date[64];
	uint64_t us;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		assert_true(read_pause(good[i].value, &us));
		assert_int_equal(us, good[i].us);
	}
	us = 1;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (read_pause(bad[i], &us) || us != 1)
			fail_msg("\"%s\" is no wish", bad[i]);
	time_t at = time(NULL) + 300;
	struct tm parts;
	strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&at, &parts));
	assert_true(read_pause(date, &us));
	assert_in_range(us, 1 * S, 300 * S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_server_is_spoken_to_over_tcp),
		cmocka_unit_test(a_server_is_spoken_to_over_a_unix_socket),
		cmocka_unit_test(failures_are_told_in_a_sentence),
		cmocka_unit_test(what_retry_after_asks_for),
	};
	if (!upstream_library_init())
		return 1;
	int failed = cmocka_run_group_tests_name("client", tests, NULL, NULL);
	upstream_library_fini();
	return failed;
}
