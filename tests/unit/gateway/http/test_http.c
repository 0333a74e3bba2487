/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon of http.h on a real socket, turned by hand: order, fragments, streams, deadlines, limits, the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "tests/support/alloc_fail.h"
#include "gateway/http/guard.h"
#include "tests/support/http_world.h"

#define MS CLOCK_US_PER_MS
#define S CLOCK_US_PER_S
#define HOST " HTTP/1.1\r\nHost: h\r\n"

static struct http_world world;

static void start(void)
{
	world.settings = http_world_settings();
	assert_true(http_world_start(&world));
}

static void send_text(struct client *client, const char *text)
{
	client_send(client, slice_of(text));
}

static void assert_reply(struct client *client, unsigned status, const char *expected)
{
	struct slice body;
	assert_int_equal(client_reply(&world, client, &body), status);
	if (expected) {
		assert_int_equal(body.len, strlen(expected));
		assert_memory_equal(body.at, expected, body.len);
	}
}

/* Turn until so many requests wait. */
static void wait_for_waiting(size_t count)
{
	for (int i = 0; i < 1000 && world.waiting_count != count; i++)
		http_world_turn(&world);
	assert_int_equal(world.waiting_count, count);
}

/* --- requests and replies --- */

static void requests_are_answered_at_once_or_later(void **state)
{
	(void)state;
	struct client client;
	start();
	client_open(&world, &client);
	send_text(&client, "GET /now/1" HOST "\r\n");
	assert_reply(&client, 200, "GET /now/1 ");
	send_text(&client, "POST /later/2" HOST "Content-Length: 5\r\n\r\nhello");
	wait_for_waiting(1);
	assert_int_equal(http_busy(world.http), 1);
	assert_true(atomic_load(&world.shared.held_bytes) > 0);
	http_world_answer(&world, 0);
	assert_reply(&client, 200, "POST /later/2 hello");
	http_world_turns(&world, 3);
	assert_int_equal(http_busy(world.http), 0);
	assert_int_equal(atomic_load(&world.shared.held_bytes), 0);
	assert_int_equal(world.last_status, 200);
	client_close(&client);
	http_world_stop(&world);
}

static void pieces_are_sent_as_they_come(void **state)
{
	(void)state;
	struct client client;
	start();
	client_open(&world, &client);
	send_text(&client, "POST /stream/1" HOST "Content-Length: 2\r\n\r\nab");
	wait_for_waiting(1);
	for (int i = 0; i < 5; i++) {
		size_t before = client.in.len;
		assert_true(request_stream_put(world.waiting[0], SLICE("piece\n")));
		for (int j = 0; j < 100 && client.in.len == before; j++) {
			http_world_turn(&world);
			client_read(&client);
		}
		assert_true(client.in.len > before);
	}
	http_world_answer(&world, 0);
	assert_reply(&client, 200, "piece\npiece\npiece\npiece\npiece\nPOST /stream/1 ab");
	send_text(&client, "GET /now/2" HOST "\r\n"); /* the connection goes on */
	assert_reply(&client, 200, "GET /now/2 ");
	client_close(&client);
	http_world_stop(&world);
}

/* --- clients that leave --- */

static void leave_while_waiting(const char *request, bool half, uint64_t after_us)
{
	struct client client;
	start();
	client_open(&world, &client);
	send_text(&client, request);
	wait_for_waiting(1);
	http_world_pass(&world, after_us);
	http_world_turns(&world, 3);
	if (half)
		shutdown(client.fd, SHUT_WR);
	else
		client_close(&client);
	for (int i = 0; i < 100 && (!world.gone || http_busy(world.http)); i++)
		http_world_pass(&world, MS);
	assert_int_equal(world.gone, 1);
	assert_int_equal(http_busy(world.http), 0);
	assert_int_equal(world.last_status, 499);
	if (half)
		client_close(&client);
	http_world_stop(&world);
}

static void a_client_that_leaves_is_noticed(void **state)
{
	(void)state;
	static const uint64_t waits[] = { 0, 1 * MS, 100 * MS, 100 * S };
	for (size_t i = 0; i < countof(waits); i++)
		for (int half = 0; half < 2; half++) {
			leave_while_waiting("POST /later/1" HOST "Content-Length: 2\r\n\r\nab", half, waits[i]);
			leave_while_waiting("POST /stream/1" HOST "Content-Length: 2\r\n\r\nab", half, waits[i]);
			leave_while_waiting("GET /later/1" HOST "\r\n", half, waits[i]);
		}
}

static void a_client_that_leaves_in_mid_body_is_forgotten(void **state)
{
	(void)state;
	struct client client;
	start();
	client_open(&world, &client);
	send_text(&client, "POST /later/1" HOST "Content-Length: 9000\r\n\r\nab");
	http_world_turns(&world, 5);
	assert_int_equal(http_busy(world.http), 1);
	assert_int_equal(atomic_load(&world.shared.held_bytes), 0); /* what is announced is not held */
	client_close(&client);
	for (int i = 0; i < 100 && http_busy(world.http); i++)
		http_world_pass(&world, 10 * MS);
	assert_int_equal(http_busy(world.http), 0);
	assert_int_equal(world.served + world.refused, 0);
	assert_int_equal(atomic_load(&world.shared.held_bytes), 0);
	http_world_stop(&world);
}

/* --- limits --- */

static void bodies_have_a_limit(void **state)
{
	(void)state;
	struct client client;
	start();
	client_open(&world, &client);
	send_text(&client, "POST /now/1" HOST "Content-Length: 65537\r\n\r\n");
	assert_reply(&client, 413, NULL);
	client_wait_for_end(&world, &client);
	client_close(&client);
	client_open(&world, &client);
	send_text(&client, "POST /now/1" HOST "Transfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 5; i++) {
		char chunk[16384 + 8 + 3];
		memset(chunk, 'x', sizeof chunk);
		memcpy(chunk, "00004000\r\n", 10);
		memcpy(chunk + sizeof chunk - 3, "\r\n", 2);
		client_send(&client, (struct slice){ chunk, 10 });
		memset(chunk, 'x', 16384);
		client_send(&client, (struct slice){ chunk, 16384 });
		send_text(&client, "\r\n");
		http_world_turn(&world);
	}
	send_text(&client, "0\r\n\r\n");
	assert_reply(&client, 413, NULL);
	client_close(&client);
	http_world_stop(&world);
}

/* Not a piece a turn, of which the library takes 7 KB: turns may be long. Nor all of it in one. */
static void a_large_body_that_has_come_is_read_in_few_turns(void **state)
{
	enum { BODY_BYTES = 100000 };
	struct client client;
	struct buf text = BUF_INIT(1 << 20);
	struct slice body;
	unsigned turns = 0;
	(void)state;
	world.settings = http_world_settings();
	world.settings.body_bytes = 2 * BODY_BYTES;
	world.settings.held_bytes = 1 << 20;
	world.local = true;
	assert_true(http_world_start(&world));
	client_open(&world, &client);
	buf_printf(&text, "POST /now/large HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", BODY_BYTES);
	for (int i = 0; i < BODY_BYTES; i++)
		buf_put_char(&text, 'b');
	client_send(&client, buf_slice(&text));
	for (; !world.served; turns++)
		http_world_turn(&world);
	assert_in_range(turns, 2, 6);
	assert_int_equal(client_reply(&world, &client, &body), 200);
	client_close(&client);
	buf_fini(&text);
	http_world_stop(&world);
}

/* Whether a head with this one more line passes; *request as the guard has filled it. */
static bool line_passes(struct slice line, struct request *request)
{
	struct buf bytes = BUF_INIT(4096);
	struct guard_head head = { 0 };
	struct guard_decision decision = { 0 };
	buf_put_text(&bytes, "GET /x HTTP/1.1\r\nHost: a\r\n");
	buf_put(&bytes, line);
	buf_put_text(&bytes, "\r\n\r\n");
	*request = (struct request){ .http = NULL };
	assert_true(guard_bytes(buf_slice(&bytes), request, NULL, 4096, &head, &decision));
	buf_fini(&bytes);
	return decision.outcome == OUTCOME_OK;
}

/* All 256 values at each place of a name and of a value, against the grammar as RFC 9110 writes it (5.1, 5.5,
 * 5.6.2). */
static void look_at_each_byte(char *line)
{
	struct request request;
	const size_t name_len = strcspn(line, ":"), value_at = name_len + 2, len = strlen(line);
	for (size_t at = 0; at < len; at++) {
		for (unsigned c = 0; c < 256; c++) {
			if ((at >= name_len && at < value_at) || c == '\n' || (c == ':' && at < name_len))
				continue;
			char before = line[at];
			bool token = (c && c < 128 && isalnum((int)c)) || (c && strchr("!#$%&'*+-.^_`|~", (int)c));
			bool visible = c == '\t' || (c >= 0x20 && c != 0x7f);
			line[at] = (char)c;
			if (line_passes((struct slice){ line, len }, &request) != (at < name_len ? token : visible))
				fail_msg("byte %u at %zu", c, at);
			line[at] = before;
		}
	}
}

static void each_byte_of_a_header_is_looked_at(void **state)
{
	(void)state;
	char unknown[] = "Abcdefghijklmnop: abcdefghijklmnopqrs";
	char known[] = "X-Request-Timeout-Ms: 1000", short_one[] = "Accept: a"; /* by eight bytes, and by less */
	look_at_each_byte(unknown);
	look_at_each_byte(known);
	look_at_each_byte(short_one);
}

static void known_headers_are_found_in_any_case(void **state)
{
	(void)state;
	static const char *const names[] = {
#define X(name, word, list) word,
		HTTP_HEADERS(X)
#undef X
	};
	struct request request;
	for (size_t i = 0; i < countof(names); i++) {
		if (i == HEADER_HOST || i == HEADER_CONTENT_LENGTH || i == HEADER_TRANSFER_ENCODING)
			continue; /* their values have rules of their own */
		char line[64];
		size_t len = (size_t)snprintf(line, sizeof line, "%s: v", names[i]);
		for (size_t at = 0; at + 3 < len; at += 2)
			line[at] = (char)toupper((unsigned char)line[at]);
		assert_true(line_passes((struct slice){ line, len }, &request));
		assert_int_equal(request.headers[i].len, 1);
		line[len - 4]++; /* another name, as long */
		assert_true(line_passes((struct slice){ line, len }, &request));
		assert_null(request.headers[i].at);
	}
}

/* front F4: all tenants were one where identity.tenant_header was a header with a meaning of its own. */
static void a_tenant_header_may_have_another_meaning_too(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		enum http_header header;
	} cases[] = { { "X-Forwarded-Host", HEADER_FORWARDED_HOST },
		      { "Host", HEADER_HOST },
		      { "Authorization", HEADER_AUTHORIZATION },
		      { "Priority", HEADER_PRIORITY },
		      { "Cache-Control", HEADER_CACHE_CONTROL } };
	for (size_t i = 0; i < countof(cases); i++) {
		struct client client;
		char request[256];
		bool host = cases[i].header == HEADER_HOST;
		world.settings = http_world_settings();
		world.settings.tenant_header = cases[i].name;
		assert_true(http_world_start(&world));
		client_open(&world, &client);
		snprintf(request, sizeof request,
			 "POST /later/1 HTTP/1.1\r\n%s%s: acme.example\r\nContent-Length: 1\r\n\r\nx",
			 host ? "" : "Host: h\r\n", cases[i].name);
		send_text(&client, request);
		wait_for_waiting(1);
		assert_true(slice_equal(world.waiting[0]->headers[HEADER_TENANT], SLICE("acme.example")));
		assert_true(slice_equal(world.waiting[0]->headers[cases[i].header], SLICE("acme.example")));
		http_world_answer(&world, 0);
		assert_reply(&client, 200, NULL);
		snprintf(request, sizeof request, "GET /now/1" HOST "%s: a\r\n%s: b\r\n\r\n", cases[i].name,
			 cases[i].name);
		send_text(&client, request); /* two tenants are none, though the header may come twice otherwise */
		assert_reply(&client, 400, NULL);
		client_close(&client);
		http_world_stop(&world);
	}
}

static void bytes_held_have_a_limit(void **state)
{
	(void)state;
	enum { BODY = 60000, FIT = 256 * 1024 / BODY };
	struct client clients[FIT + 1];
	char body[BODY];
	memset(body, 'x', sizeof body);
	start();
	for (int i = 0; i <= FIT; i++) {
		client_open(&world, &clients[i]);
		send_text(&clients[i], "POST /later/1" HOST "Content-Length: 60000\r\n\r\n");
		client_send(&clients[i], (struct slice){ body, sizeof body });
		if (i < FIT)
			wait_for_waiting((size_t)i + 1);
	}
	assert_reply(&clients[FIT], 503, NULL);
	assert_int_equal(atomic_load(&world.shared.held_bytes), FIT * BODY);
	for (int i = 0; i < FIT; i++) {
		struct slice said;
		http_world_answer(&world, 0);
		assert_int_equal(client_reply(&world, &clients[i], &said), 200);
		assert_int_equal(said.len, strlen("POST /later/1 ") + BODY);
	}
	for (int i = 0; i <= FIT; i++)
		client_close(&clients[i]);
	http_world_stop(&world);
}

static void connections_have_a_limit(void **state)
{
	(void)state;
	struct client clients[18];
	start();
	for (size_t i = 0; i < countof(clients); i++) {
		client_open(&world, &clients[i]);
		http_world_turns(&world, 2);
	}
	for (size_t i = 0; i < countof(clients); i++)
		send_text(&clients[i], "GET /now/1" HOST "\r\n");
	size_t refused = 0;
	for (size_t i = 0; i < countof(clients); i++) {
		struct slice body;
		unsigned status = client_reply(&world, &clients[i], &body);
		assert_true(status == 200 || status == 503);
		refused += status == 503;
	}
	assert_int_equal(refused, 2);
	for (size_t i = 0; i < countof(clients); i++)
		client_close(&clients[i]);
	http_world_stop(&world);
}

static void when_all_have_left_there_is_room_again(void **state)
{
	(void)state;
	struct client clients[120];
	start();
	for (size_t i = 0; i < countof(clients); i++) {
		client_open(&world, &clients[i]);
		http_world_turns(&world, 2);
	}
	for (size_t i = 0; i < countof(clients); i++)
		client_close(&clients[i]);
	http_world_turns(&world, 5);
	for (size_t i = 0; i < 3; i++) {
		client_open(&world, &clients[i]);
		send_text(&clients[i], "GET /now/1" HOST "\r\n");
		assert_reply(&clients[i], 200, "GET /now/1 ");
		client_close(&clients[i]);
	}
	http_world_stop(&world);
}

/* --- deadlines --- */

static void a_head_that_drips_is_cut_off(void **state)
{
	(void)state;
	struct client client;
	start();
	client_open(&world, &client);
	http_world_turns(&world, 2);
	http_world_pass(&world, 300 * MS);
	for (int i = 0; i < 6 && !client.ended; i++) {
		send_text(&client, i ? "x" : "GET /now/");
		http_world_turns(&world, 2);
		http_world_pass(&world, 900 * MS);
		client_read(&client);
		assert_true(i > 4 || !client.ended);
	}
	client_wait_for_end(&world, &client);
	assert_int_equal(metrics_read(world.metrics, METRIC_ID_REJECTED, REJECT_HEAD_TIMEOUT, 0), 1);
	client_close(&client);
	http_world_stop(&world);
}

static void a_body_that_drips_is_cut_off(void **state)
{
	(void)state;
	struct client client;
	start();
	client_open(&world, &client);
	send_text(&client, "POST /now/1" HOST "Content-Length: 100\r\n\r\n");
	http_world_turns(&world, 3);
	http_world_pass(&world, 300 * MS);
	for (int i = 0; i < 30; i++) {
		client_read(&client);
		assert_false(client.ended);
		send_text(&client, "x");
		http_world_pass(&world, S);
	}
	client_wait_for_end(&world, &client);
	assert_int_equal(metrics_read(world.metrics, METRIC_ID_REJECTED, REJECT_BODY_TIMEOUT, 0), 1);
	client_close(&client);
	http_world_stop(&world);
}

/* --- the end --- */

static void the_daemon_stops_whatever_waits(void **state)
{
	(void)state;
	static const char *const requests[] = {
		"POST /later/1" HOST "Content-Length: 2\r\n\r\nab",
		"GET /stream/1" HOST "\r\n",
		"GET /now/1" HOST "\r\n",
		"POST /later/1" HOST "Content-Length: 9\r\n\r\nab",
		"GET /la",
		"GET /later/1" HOST "\r\nGET /now/2" HOST "\r\n",
	};
	for (uint64_t after_us = 0; after_us < 10 * S; after_us = after_us * 30 + MS) {
		struct client clients[countof(requests)];
		start();
		for (size_t i = 0; i < countof(requests); i++) {
			client_open(&world, &clients[i]);
			send_text(&clients[i], requests[i]);
		}
		wait_for_waiting(3);
		http_world_pass(&world, after_us);
		http_world_stop(&world); /* asserts that all counts are back */
		assert_int_equal(world.gone, 3);
		for (size_t i = 0; i < countof(requests); i++)
			client_close(&clients[i]);
	}
}

static void a_draining_daemon_ends_its_connections(void **state)
{
	(void)state;
	struct client client;
	start();
	client_open(&world, &client);
	send_text(&client, "GET /later/1" HOST "\r\n");
	wait_for_waiting(1);
	http_drain(world.http, false);
	http_world_answer(&world, 0);
	assert_reply(&client, 200, "GET /later/1 ");
	client_wait_for_end(&world, &client);
	client_close(&client);
	http_world_stop(&world);
}

/* --- memory --- */

/* One request while the nth allocation fails. How many there were. */
static size_t starve(const char *request, size_t nth)
{
	struct client client;
	struct slice body;
	alloc_reset();
	alloc_fail_at(nth);
	world.settings = http_world_settings();
	if (!http_world_start(&world)) {
		alloc_reset();
		return 0;
	}
	client_open(&world, &client);
	send_text(&client, request);
	for (int i = 0; i < 20; i++)
		http_world_turn(&world);
	while (world.waiting_count)
		http_world_answer(&world, 0);
	for (int i = 0; i < 5; i++)
		http_world_turn(&world);
	size_t count = alloc_count();
	alloc_reset();
	unsigned status = client_reply(&world, &client, &body); /* an answer or an end: else this asserts */
	assert_true(status == 0 || status == 200 || status == 503);
	assert_true(nth || status == 200);
	client_close(&client);
	http_world_stop(&world);
	return count;
}

static void without_memory_a_client_gets_an_answer_or_an_end(void **state)
{
	(void)state;
	static const char *const requests[] = {
		"POST /later/1" HOST "Content-Length: 2\r\n\r\nab",
		"POST /now/1" HOST "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
		"POST /stream/1" HOST "Content-Length: 2\r\n\r\nab",
	};
	for (size_t i = 0; i < countof(requests); i++) {
		size_t count = starve(requests[i], 0);
		assert_in_range(count, 5, 100);
		for (size_t nth = 1; nth <= count; nth++)
			starve(requests[i], nth);
	}
}

/* More of them than one wait of the loop brings: it is the gateway that was away (stopped, or without a core). */
static void heads_that_have_come_are_read_however_late(void **state)
{
	enum { CLIENTS = 300 };
	static struct client clients[CLIENTS];
	world = (struct http_world){ .settings = http_world_settings(), .local = true };
	struct slice body;
	(void)state;
	world.settings.connections = CLIENTS;
	assert_true(http_world_start(&world));
	for (int i = 0; i < CLIENTS; i++) {
		client_open(&world, &clients[i]);
		http_world_turn(&world);
	}
	for (int i = 0; i < CLIENTS; i++)
		client_send(&clients[i], SLICE("GET /now/x HTTP/1.1\r\nHost: localhost\r\n\r\n"));
	http_world_pass(&world, 2 * world.settings.header_timeout_us);
	for (int i = 0; i < CLIENTS; i++) {
		assert_int_equal(client_reply(&world, &clients[i], &body), 200);
		client_close(&clients[i]);
	}
	assert_int_equal(metrics_read(world.metrics, METRIC_ID_REJECTED, REJECT_HEAD_TIMEOUT, 0), 0);
	http_world_stop(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_answered_at_once_or_later),
		cmocka_unit_test(pieces_are_sent_as_they_come),
		cmocka_unit_test(a_client_that_leaves_is_noticed),
		cmocka_unit_test(a_client_that_leaves_in_mid_body_is_forgotten),
		cmocka_unit_test(bodies_have_a_limit),
		cmocka_unit_test(a_large_body_that_has_come_is_read_in_few_turns),
		cmocka_unit_test(bytes_held_have_a_limit),
		cmocka_unit_test(each_byte_of_a_header_is_looked_at),
		cmocka_unit_test(known_headers_are_found_in_any_case),
		cmocka_unit_test(a_tenant_header_may_have_another_meaning_too),
		cmocka_unit_test(connections_have_a_limit),
		cmocka_unit_test(when_all_have_left_there_is_room_again),
		cmocka_unit_test(a_head_that_drips_is_cut_off),
		cmocka_unit_test(a_body_that_drips_is_cut_off),
		cmocka_unit_test(the_daemon_stops_whatever_waits),
		cmocka_unit_test(a_draining_daemon_ends_its_connections),
		cmocka_unit_test(without_memory_a_client_gets_an_answer_or_an_end),
		cmocka_unit_test(heads_that_have_come_are_read_however_late),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
