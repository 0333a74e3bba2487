/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any body for POST /v1/batch, over whole workers: the client gets one answer that is JSON (or lines of it), and no
 * call is left behind. The first byte chooses JSON or lines.
 */
#include "base/json.h"
#include "tests/support/front.h"
#include "tests/support/fuzz.h"

static struct front front;

static void start_once(void)
{
	if (front.world.config)
		return;
	front_start(&front, gateway_yaml);
	client_close(&front.client);
}

/* The whole answer: its head says how long it is, or it comes in chunks that end. */
static bool is_complete(struct slice in)
{
	const char *body = memmem(in.at, in.len, "\r\n\r\n", 4);
	const char *length = memmem(in.at, in.len, "Content-Length: ", 16);
	if (!body)
		return false;
	if (length && length < body)
		return in.len - (size_t)(body + 4 - in.at) >= strtoul(length + 16, NULL, 10);
	return in.len >= 5 && memcmp(in.at + in.len - 5, "0\r\n\r\n", 5) == 0;
}

static void check_answer(struct slice in)
{
	struct json_fault fault;
	const char *body = memmem(in.at, in.len, "\r\n\r\n", 4);
	must(in.len > 9 && memcmp(in.at, "HTTP/1.1 ", 9) == 0);
	if (memmem(in.at, (size_t)(body - in.at), "Content-Length: ", 16))
		must(json_check((struct slice){ body + 4, in.len - (size_t)(body + 4 - in.at) }, 80, NULL, &fault));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0 || size > 1 << 14)
		return 0;
	start_once();
	client_open(&front.address, &front.client);
	front_post(&front, "/v1/batch", data[0] % 2 ? "Accept: application/x-ndjson\r\n" : "",
		   (struct slice){ (const char *)data + 1, size - 1 });
	for (int i = 0; i < FRONT_TURNS && !is_complete(buf_slice(&front.client.in)); i++) {
		gateway_pass(&front.world, CLOCK_US_PER_S / 5);
		front_turn(&front, SLICE("{\"n\":1.50}"));
	}
	must(is_complete(buf_slice(&front.client.in)));
	check_answer(buf_slice(&front.client.in));
	client_close(&front.client);
	front_turn(&front, SLICE("{}"));
	gateway_pass(&front.world, CLOCK_US_PER_S);
	front_turn(&front, SLICE("{}"));
	must(atomic_load(&front.world.gateway.in_flight) == 0 && fake_under_way() == 0);
	return 0;
}
