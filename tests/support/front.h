/* SPDX-License-Identifier: Apache-2.0 */
/*
 * front.h: whole workers (gateway_world.h) with a real socket in front of the first one, and one client of it: for
 * tests of what a request does when memory runs out, the clock is turned by hand, or its bytes are anything.
 */
#ifndef TESTS_SUPPORT_FRONT_H
#define TESTS_SUPPORT_FRONT_H

#include <stdio.h>
#include <stdlib.h>

#include "gateway/server/seats.h"
#include "tests/support/gateway_world.h"
#include "tests/support/http_world.h"

enum { FRONT_TURNS = 50, FRONT_HEAD_BYTES = 512 };

struct front {
	struct gateway_world world;
	struct http_world address; /* only where to connect to */
	struct client client;
};

static inline void front_start(struct front *front, const char *yaml)
{
	char error[200] = "";
	struct sockaddr local = { .sa_family = AF_UNIX };
	gateway_start(&front->world, yaml);
	front->world.config->generation.http = http_world_settings();
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	front->address.address_bytes = sizeof front->address.address;
	bool up = fd >= 0 && bind(fd, &local, sizeof(sa_family_t)) == 0 && listen(fd, 8) == 0 &&
		  getsockname(fd, (struct sockaddr *)&front->address.address, &front->address.address_bytes) == 0 &&
		  worker_add_seat(front->world.gateway.workers[0], fd, false, NULL, 0, error, sizeof error);
	if (!up)
		abort();
	worker_open(front->world.gateway.workers[0]);
	client_open(&front->address, &front->client);
}

/* The provider gives `answer` (borrowed) to all calls that it has. */
static inline void front_answer(struct front *front, struct answer *answer)
{
	gateway_settle(&front->world);
	while (fake_under_way()) {
		struct exchange *exchange = fake_nth(0);
		for (size_t i = 0; i < exchange->count; i++)
			fake_answer(exchange, i, answer_ref(answer));
		fake_complete(exchange, OUTCOME_OK);
	}
	gateway_settle(&front->world);
}

static inline struct answer *front_result(struct slice result)
{
	struct answer *answer = answer_result(result, true, NULL);
	if (!answer)
		abort();
	return answer;
}

static inline void front_turn(struct front *front, struct slice result)
{
	struct answer *answer = front_result(result);
	front_answer(front, answer);
	answer_unref(answer);
	client_read(&front->client);
}

static inline void front_stop(struct front *front)
{
	client_close(&front->client);
	gateway_pass(&front->world, CLOCK_US_PER_S);
	for (int i = 0; i < 4; i++)
		front_turn(front, SLICE("{}"));
	gateway_stop(&front->world);
}

static inline void front_post(struct front *front, const char *path, const char *headers, struct slice body)
{
	char head[FRONT_HEAD_BYTES];
	int len = snprintf(head, sizeof head,
			   "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%s"
			   "Content-Length: %zu\r\n\r\n",
			   path, headers, body.len);
	client_send(&front->client, (struct slice){ head, (size_t)len });
	client_send(&front->client, body);
}

static inline bool front_has(const struct front *front, const char *text)
{
	struct slice in = buf_slice(&front->client.in);
	return memmem(in.at, in.len, text, strlen(text)) != NULL;
}

#endif
