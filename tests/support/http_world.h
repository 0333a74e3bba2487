/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_world.h: a real daemon of http.h on a socket of this machine, turned by hand in the test's thread, with clients
 * that never block. Its handler says what came:
 *
 *   /now/...      answered at once: the method, a blank, the target, a blank, the body
 *   /later/...    the same, when the test says so (http_world_answer)
 *   /stream/...   a head at once; pieces when the test says so
 */
#ifndef TESTS_SUPPORT_HTTP_WORLD_H
#define TESTS_SUPPORT_HTTP_WORLD_H

#include <sys/socket.h>

#include "gateway/http/http.h"

enum { HTTP_WORLD_WAITING = 64 };

struct http_world {
	/* set before http_world_start */
	struct http_settings settings; /* http_world_settings, changed or not */
	bool local;                    /* on a unix socket: takes no port for each client */
	/* set by it */
	struct http_shared shared;
	struct loop *loop;
	struct metrics *metrics;
	struct http *http;
	uint64_t now_us;
	struct sockaddr_storage address;
	socklen_t address_bytes;
	struct request *waiting[HTTP_WORLD_WAITING]; /* later and stream, oldest first */
	size_t waiting_count;
	size_t served, refused, gone, finished;
	unsigned last_status; /* that `finished` was told */
};

/* A client's connection. */
struct client {
	int fd;
	struct buf in; /* what came */
	size_t read;   /* bytes of it that have been looked at */
	bool ended;    /* the other side has closed */
};

/* Bodies of 64 KiB, heads of 8 KiB, timeouts of 5, 30 and 75 s, 16 connections, 256 KiB held. */
struct http_settings http_world_settings(void);
/* False: memory is out. */
bool http_world_start(struct http_world *world);
/* Ends the daemon; asserts that nothing is counted any more. */
void http_world_stop(struct http_world *world);
void http_world_turn(struct http_world *world);
void http_world_turns(struct http_world *world, unsigned count);
void http_world_pass(struct http_world *world, uint64_t us);
/* Answer the nth of those that wait; a stream is given one piece and ended. */
void http_world_answer(struct http_world *world, size_t nth);

void client_open(struct http_world *world, struct client *client);
void client_close(struct client *client);
/* All of it: there must be room in the kernel. */
void client_send(struct client *client, struct slice bytes);
/* Take what has come. */
void client_read(struct client *client);
/* A whole reply, if one is there: its status, and its body (valid until the next read); else 0. Turns nothing. */
unsigned client_take(struct client *client, struct slice *body);
/* Turn until a whole reply has come. 0: the connection has ended. */
unsigned client_reply(struct http_world *world, struct client *client, struct slice *body);
/* Turn until the other side has closed; asserts that it does. */
void client_wait_for_end(struct http_world *world, struct client *client);

#endif
