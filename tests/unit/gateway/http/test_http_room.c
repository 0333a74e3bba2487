/* SPDX-License-Identifier: Apache-2.0 */
/* What a turn has no room for: large bodies that are to grow wait for one that has, in their order, and it is not held against them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/support/http_world.h"

#define MS CLOCK_US_PER_MS
#define S CLOCK_US_PER_S
#define HOST " HTTP/1.1\r\nHost: h\r\n"

static struct http_world world;

static void send_text(struct client *client, const char *text)
{
	client_send(client, slice_of(text));
}

/* In which others have had all that a turn affords for bodies that grow. */
static void busy_turn(uint64_t us)
{
	world.now_us += us;
	clock_set(world.now_us);
	loop_wait(world.loop, world.now_us);
	while (loop_afford(world.loop, LOOP_MOVES, LOOP_LARGE_BYTES))
		;
	http_turn(world.http, world.now_us);
}

enum { GROWN_BYTES = 240 * 1024, GROWN_PART = 40 * 1024 };

static void send_part(struct client *client)
{
	static char part[GROWN_PART];
	memset(part, 'x', sizeof part);
	client_send(client, (struct slice){ part, sizeof part });
}

/* A client whose body has as much room as it gets without one of a turn's, and two thirds of which are there. */
static void start_one_that_waits_for_room(struct client *client)
{
	world = (struct http_world){ .settings = http_world_settings() };
	world.settings.body_bytes = world.settings.held_bytes = 1024 * 1024;
	assert_true(http_world_start(&world));
	client_open(&world, client);
	send_text(client, "POST /now/1" HOST "Content-Length: 245760\r\n\r\n");
	for (int i = 0; i < 4; i++) {
		send_part(client);
		for (int j = 0; j < 20; j++)
			busy_turn(0);
	}
	size_t held = atomic_load(&world.shared.held_bytes);
	assert_in_range(held, LOOP_LARGE_BYTES, 4 * GROWN_PART - 1);
	/* half a day of it, each of whose turns sees what is due */
	for (int i = 0; i < 24 * 60; i++)
		busy_turn(i % 2 ? 60 * S : 300 * MS);
	assert_int_equal(atomic_load(&world.shared.held_bytes), held);
}

static void assert_large_reply(struct client *client)
{
	struct slice body;
	assert_int_equal(client_reply(&world, client, &body), 200);
	assert_int_equal(body.len, strlen("POST /now/1 ") + GROWN_BYTES);
	assert_int_equal(metrics_read(world.metrics, METRIC_ID_REJECTED, REJECT_BODY_TIMEOUT, 0), 0);
}

static void who_waits_for_room_is_not_cut_off(void **state)
{
	(void)state;
	struct client client;
	start_one_that_waits_for_room(&client);
	http_world_turns(&world, 3);
	http_world_pass(&world, 300 * MS);
	http_world_pass(&world, 29 * S); /* which it has anew */
	for (int i = 0; i < 2; i++) {
		send_part(&client);
		http_world_turns(&world, 5);
	}
	assert_large_reply(&client);
	client_close(&client);
	http_world_stop(&world);
}

static void who_shuts_its_side_while_it_waits_for_room_is_served(void **state)
{
	(void)state;
	struct client client;
	start_one_that_waits_for_room(&client);
	for (int i = 0; i < 2; i++) {
		send_part(&client);
		busy_turn(S);
	}
	assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
	for (int i = 0; i < 100; i++)
		busy_turn(i % 2 ? S : 300 * MS);
	assert_large_reply(&client);
	assert_int_equal(world.gone, 0);
	client_close(&client);
	http_world_stop(&world);
}

static void who_drips_does_not_live_on_waiting_for_room(void **state)
{
	(void)state;
	struct client client;
	start_one_that_waits_for_room(&client);
	http_world_turns(&world, 3);
	http_world_pass(&world, 300 * MS);
	for (int i = 0; i < 30; i++) {
		client_read(&client);
		assert_false(client.ended);
		send_text(&client, "x");
		busy_turn(S);
	}
	client_wait_for_end(&world, &client);
	assert_int_equal(metrics_read(world.metrics, METRIC_ID_REJECTED, REJECT_BODY_TIMEOUT, 0), 1);
	client_close(&client);
	http_world_stop(&world);
}

/* --- in their order --- */

/* One that has sent so much of its request. */
struct sender {
	struct client client;
	size_t body, sent;
};

static void send_head(struct sender *sender, size_t body)
{
	char head[100];
	snprintf(head, sizeof head, "POST /now/1" HOST "Content-Length: %zu\r\n\r\n", body);
	sender->body = body;
	send_text(&sender->client, head);
}

/* As much of the body as the kernel takes. */
static void send_on(struct sender *sender)
{
	static char bytes[65536];
	while (sender->sent < sender->body) {
		size_t left = sender->body - sender->sent;
		ssize_t sent = send(sender->client.fd, bytes, left < sizeof bytes ? left : sizeof bytes, MSG_NOSIGNAL);
		if (sent <= 0)
			return;
		sender->sent += (size_t)sent;
	}
}

enum { IN_A_DAEMON = 128, MANY = 110 };

/* They send on, and there is a turn. How many of the first `count` have been answered. */
static size_t turn_of_senders(struct sender *senders, size_t count)
{
	size_t answered = 0;
	for (size_t i = 0; i < count; i++)
		send_on(&senders[i]);
	send_on(&senders[IN_A_DAEMON]);
	http_world_turn(&world);
	for (size_t i = 0; i < count; i++) {
		client_read(&senders[i].client);
		answered += senders[i].client.in.len > 0;
	}
	return answered;
}

/* The library's daemons take 128 connections each, and the first one's come first in each turn. They have more to move than the
 * turns have room for. */
static void who_waits_longest_is_the_first_to_have_room(void **state)
{
	static struct sender senders[IN_A_DAEMON + 1];
	struct client *single = &senders[IN_A_DAEMON].client;
	(void)state;
	world = (struct http_world){ .settings = http_world_settings(), .local = true };
	world.settings.connections = IN_A_DAEMON + 1;
	world.settings.body_bytes = 1024 * 1024;
	world.settings.held_bytes = 256 * 1024 * 1024;
	assert_true(http_world_start(&world));
	for (size_t i = 0; i <= IN_A_DAEMON; i++) {
		client_open(&world, &senders[i].client);
		send_text(&senders[i].client, "GET /now/" HOST "\r\n");
		assert_int_equal(client_reply(&world, &senders[i].client, &(struct slice){ NULL, 0 }), 200);
		buf_reset(&senders[i].client.in);
		senders[i].client.read = 0;
	}
	for (size_t i = 0; i < MANY; i++)
		send_head(&senders[i], 480 * 1024);
	send_head(&senders[IN_A_DAEMON], 200 * 1024);
	size_t answered = 0;
	for (int i = 0; i < 20000 && single->in.len == 0; i++) {
		answered = turn_of_senders(senders, MANY);
		client_read(single);
	}
	assert_true(single->in.len > 0);
	assert_in_range(answered, 0, MANY / 4);
	for (int i = 0; i < 20000 && answered < MANY; i++)
		answered = turn_of_senders(senders, MANY);
	assert_int_equal(answered, MANY);
	for (size_t i = 0; i <= IN_A_DAEMON; i++)
		client_close(&senders[i].client);
	http_world_stop(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_waits_for_room_is_not_cut_off),
		cmocka_unit_test(who_shuts_its_side_while_it_waits_for_room_is_served),
		cmocka_unit_test(who_drips_does_not_live_on_waiting_for_room),
		cmocka_unit_test(who_waits_longest_is_the_first_to_have_room),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
