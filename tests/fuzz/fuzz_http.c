/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes, in any fragments, into a connection of a real daemon: no crash, no hang, every request that reaches the
 * handler ends once, and when the client has left nothing is counted any more. The first byte of the input seeds the
 * fragments; the rest is sent.
 */
#include "tests/support/fuzz.h"
#include "tests/support/http_world.h"

enum { TURNS_MAX = 5000 };

static struct http_world world;

static void start_once(void)
{
	if (world.http)
		return;
	world.settings = http_world_settings();
	world.local = true;
	must(http_world_start(&world));
}

static void answer_all(void)
{
	while (world.waiting_count) {
		http_world_answer(&world, 0);
		http_world_turns(&world, 2);
	}
}

static void send_fragments(struct client *client, unsigned seed, struct slice bytes)
{
	while (bytes.len) {
		size_t most = seed % 3 ? bytes.len : 16;
		size_t len = 1 + (size_t)rand_r(&seed) % (most < bytes.len ? most : bytes.len);
		client_send(client, (struct slice){ bytes.at, len });
		bytes.at += len;
		bytes.len -= len;
		http_world_turns(&world, 1 + (unsigned)rand_r(&seed) % 2);
		if (rand_r(&seed) % 4 == 0)
			answer_all();
	}
}

static void nothing_may_be_left(void)
{
	for (int i = 0; atomic_load(&world.shared.connections); i++) {
		must(i < TURNS_MAX);
		answer_all();
		http_world_pass(&world, 10 * CLOCK_US_PER_MS);
	}
	must(http_busy(world.http) == 0);
	must(atomic_load(&world.shared.held_bytes) == 0);
	must(world.finished == world.served + world.refused);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct client client;
	if (size == 0 || size > 1 << 16)
		return 0;
	start_once();
	client_open(&world, &client);
	send_fragments(&client, data[0], (struct slice){ (const char *)data + 1, size - 1 });
	http_world_turns(&world, 3);
	answer_all();
	client_read(&client);
	client_close(&client);
	nothing_may_be_left();
	return 0;
}
