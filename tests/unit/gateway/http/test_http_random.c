/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pipelined requests in random fragments over several connections, answered at once, later or in pieces, by seed, some
 * clients leaving in between: every reply comes, in order, and right; and in the end nothing is counted any more.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "tests/support/http_world.h"

enum { ROUNDS = 300, CLIENTS = 3, REQUESTS = 8, BODY_MAX = 2000 };

static struct http_world world;
static unsigned seed;

/* A client with what it will send and what it must get. */
struct talker {
	struct client client;
	struct buf out; /* all requests, one behind the other */
	size_t sent;
	struct buf expected[REQUESTS]; /* bodies of the replies */
	size_t count, answered;
	bool left;
};

static unsigned pick(unsigned below)
{
	return (unsigned)rand_r(&seed) % below;
}

/* The bytes of a chunked body, in chunks of any size. */
static void put_chunks(struct buf *out, struct slice body)
{
	while (body.len) {
		size_t len = 1 + pick((unsigned)body.len);
		buf_printf(out, pick(2) ? "%zx\r\n" : "%04zX\r\n", len);
		buf_put(out, (struct slice){ body.at, len });
		buf_put_text(out, "\r\n");
		body.at += len;
		body.len -= len;
	}
	buf_put_text(out, "0\r\n\r\n");
}

static void put_request(struct talker *talker, unsigned number)
{
	static const char *const places[] = { "now", "later", "stream" };
	struct buf *out = &talker->out, *expected = &talker->expected[number];
	char body[BODY_MAX];
	size_t len = pick(4) ? pick(40) : pick(BODY_MAX);
	for (size_t i = 0; i < len; i++)
		body[i] = (char)(pick(3) ? 'a' + pick(26) : pick(256));
	struct slice text = { body, len };
	const char *place = places[pick(3)];
	unsigned kind = pick(3);
	buf_printf(out, "%s /%s/%u HTTP/1.1\r\nHost: h\r\n", kind ? "POST" : "GET", place, number);
	buf_printf(expected, "%s /%s/%u ", kind ? "POST" : "GET", place, number);
	if (pick(2))
		buf_printf(out, "X-Filler: %0*u\r\n", 1 + (int)pick(300), 7);
	if (kind == 0) {
		buf_put_text(out, "\r\n");
		return;
	}
	buf_put(expected, text);
	if (kind == 1) {
		buf_printf(out, "Content-Length: %zu\r\n\r\n", len);
		buf_put(out, text);
	} else {
		buf_put_text(out, "Transfer-Encoding: chunked\r\n\r\n");
		put_chunks(out, text);
	}
}

static void talker_start(struct talker *talker)
{
	memset(talker, 0, sizeof *talker);
	buf_init(&talker->out, 1 << 20);
	talker->count = 1 + pick(REQUESTS);
	for (unsigned i = 0; i < talker->count; i++) {
		buf_init(&talker->expected[i], 1 << 20);
		put_request(talker, i);
	}
	client_open(&world, &talker->client);
}

static void talker_stop(struct talker *talker)
{
	if (!talker->left)
		client_close(&talker->client);
	for (size_t i = 0; i < talker->count; i++)
		buf_fini(&talker->expected[i]);
	buf_fini(&talker->out);
}

static void send_some(struct talker *talker)
{
	size_t left = talker->out.len - talker->sent;
	if (left == 0 || talker->left)
		return;
	size_t most = pick(2) ? 20 : 2000;
	size_t len = 1 + pick((unsigned)(left < most ? left : most));
	client_send(&talker->client, (struct slice){ buf_slice(&talker->out).at + talker->sent, len });
	talker->sent += len;
}

static void turn_some(void)
{
	for (unsigned turns = pick(3); turns > 0; turns--)
		http_world_turn(&world);
	if (pick(4) == 0)
		http_world_pass(&world, pick(5) ? pick(5000) : pick(400000));
	if (world.waiting_count && pick(4) == 0)
		http_world_answer(&world, pick((unsigned)world.waiting_count));
}

static bool all_sent(const struct talker *talkers)
{
	for (int i = 0; i < CLIENTS; i++)
		if (!talkers[i].left && talkers[i].sent < talkers[i].out.len)
			return false;
	return true;
}

static bool all_answered(struct talker *talkers)
{
	bool all = true;
	for (int i = 0; i < CLIENTS; i++) {
		struct talker *talker = &talkers[i];
		if (talker->left)
			continue;
		struct slice body;
		client_read(&talker->client);
		while (talker->answered < talker->count && client_take(&talker->client, &body) == 200) {
			struct slice expected = buf_slice(&talker->expected[talker->answered++]);
			assert_int_equal(body.len, expected.len);
			assert_memory_equal(body.at, expected.at, body.len);
		}
		assert_false(talker->client.ended);
		all = all && talker->answered == talker->count;
	}
	return all;
}

static void one_round(void)
{
	static struct talker talkers[CLIENTS];
	unsigned patience = 200000;
	for (int i = 0; i < CLIENTS; i++)
		talker_start(&talkers[i]);
	while (!all_sent(talkers)) {
		struct talker *talker = &talkers[pick(CLIENTS)];
		send_some(talker);
		turn_some();
		if (pick(100) == 0 && !talker->left) {
			client_close(&talker->client);
			talker->left = true;
		}
	}
	while (!all_answered(talkers)) {
		turn_some();
		assert_true(--patience);
	}
	for (int i = 0; i < CLIENTS; i++)
		talker_stop(&talkers[i]);
}

static void pipelined_fragments_are_answered_in_order(void **state)
{
	(void)state;
	world.settings = http_world_settings();
	/* they do drip, and wait for each other */
	world.settings.header_timeout_us = world.settings.body_timeout_us = 3600 * CLOCK_US_PER_S;
	world.settings.idle_timeout_us = 3600 * CLOCK_US_PER_S;
	assert_true(http_world_start(&world));
	for (unsigned round = 1; round <= ROUNDS; round++) {
		seed = round;
		one_round();
	}
	assert_int_equal(world.refused, 0);
	assert_true(world.gone > 0);
	assert_true(world.served > 2 * ROUNDS);
	for (int i = 0; i < 1000 && (http_busy(world.http) || atomic_load(&world.shared.connections)); i++)
		http_world_pass(&world, 10 * CLOCK_US_PER_MS);
	assert_int_equal(http_busy(world.http), 0);
	assert_int_equal(atomic_load(&world.shared.connections), 0);
	assert_int_equal(atomic_load(&world.shared.held_bytes), 0);
	http_world_stop(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(pipelined_fragments_are_answered_in_order) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
