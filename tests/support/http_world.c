/* SPDX-License-Identifier: Apache-2.0 */
/* http_world.c: see the header. */
#include "tests/support/http_world.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE = 20000 }; /* turns that nothing may take longer than */

struct http_settings http_world_settings(void)
{
	return (struct http_settings){
		.body_bytes = 64 * 1024,
		.header_bytes = 8192,
		.header_timeout_us = 5 * CLOCK_US_PER_S,
		.body_timeout_us = 30 * CLOCK_US_PER_S,
		.idle_timeout_us = 75 * CLOCK_US_PER_S,
		.send_rate = 16 * 1024,
		.connections = 16,
		.held_bytes = 256 * 1024,
	};
}

/* --- the handler --- */

static void put_what_came(struct buf *out, const struct request *request)
{
	buf_put_text(out, http_method_name(request->method));
	buf_put_char(out, ' ');
	buf_put(out, request->path);
	buf_put_char(out, ' ');
	buf_put(out, buf_slice(&request->body));
}

static void say(struct request *request, unsigned status)
{
	struct buf text = BUF_INIT(1 << 20);
	struct reply reply;
	put_what_came(&text, request);
	struct blob *blob = buf_take_blob(&text);
	buf_fini(&text);
	reply_init(&reply, status);
	if (blob) {
		reply.content_type = "text/plain";
		reply.body = blob_slice(blob);
		reply.blob = blob;
	} else {
		reply.status = 503;
	}
	reply_header(&reply, "X-Request-Id", "%s", request->id);
	request_reply(request, &reply);
	blob_unref(blob);
}

static void forget(struct http_world *world, size_t nth)
{
	world->waiting_count--;
	for (size_t i = nth; i < world->waiting_count; i++)
		world->waiting[i] = world->waiting[i + 1];
}

static void client_left(struct request *request)
{
	struct http_world *world = request->waits_for;
	world->gone++;
	for (size_t i = 0; i < world->waiting_count; i++)
		if (world->waiting[i] == request) {
			forget(world, i);
			return;
		}
	assert(!"gone, and did not wait");
}

static bool starts_with(struct slice text, const char *start)
{
	return text.len >= strlen(start) && memcmp(text.at, start, strlen(start)) == 0;
}

static void serve(void *context, struct request *request)
{
	struct http_world *world = context;
	bool stream = starts_with(request->path, "/stream/");
	world->served++;
	if ((!stream && !starts_with(request->path, "/later/")) || world->waiting_count == HTTP_WORLD_WAITING) {
		say(request, 200);
		return;
	}
	if (stream) {
		struct reply reply;
		reply_init(&reply, 200);
		reply.content_type = "text/plain";
		request_stream_start(request, &reply);
	}
	request->waits_for = world;
	request->gone = client_left;
	world->waiting[world->waiting_count++] = request;
}

static void refuse(void *context, struct request *request, enum outcome outcome, const char *detail)
{
	struct http_world *world = context;
	assert(outcome != OUTCOME_OK && detail);
	world->refused++;
	say(request, outcome_status(outcome));
}

static void finished(void *context, struct request *request, unsigned status, uint64_t bytes)
{
	struct http_world *world = context;
	(void)request;
	(void)bytes;
	world->finished++;
	world->last_status = status;
}

void http_world_answer(struct http_world *world, size_t nth)
{
	struct request *request = world->waiting[nth];
	assert(nth < world->waiting_count);
	forget(world, nth);
	if (!starts_with(request->path, "/stream/")) {
		say(request, 200);
		return;
	}
	struct buf text = BUF_INIT(1 << 20);
	put_what_came(&text, request);
	bool ok = request_stream_put(request, buf_slice(&text));
	(void)ok; /* without memory the answer is short */
	buf_fini(&text);
	request_stream_end(request);
}

/* --- the daemon --- */

/* At a port that is free, or at a name that the kernel picks. */
static int listen_somewhere(struct http_world *world)
{
	struct sockaddr_in inet = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr local = { .sa_family = AF_UNIX };
	struct sockaddr *address = world->local ? &local : (struct sockaddr *)&inet;
	socklen_t bytes = world->local ? sizeof(sa_family_t) : sizeof inet;
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int result = bind(fd, address, bytes);
	assert(result == 0);
	result = listen(fd, 64);
	assert(result == 0);
	world->address_bytes = sizeof world->address;
	result = getsockname(fd, (struct sockaddr *)&world->address, &world->address_bytes);
	assert(result == 0);
	return fd;
}

static void let_go(struct http_world *world)
{
	metrics_free(world->metrics);
	loop_free(world->loop);
	clock_set(0);
}

bool http_world_start(struct http_world *world)
{
	static const struct metrics_names names;
	const struct http_handler handler = { refuse, serve, finished, world };
	const struct http_settings settings = world->settings;
	bool local = world->local;
	char error[200] = "";
	memset(world, 0, sizeof *world);
	world->settings = settings;
	world->local = local;
	world->now_us = 1000 * CLOCK_US_PER_S;
	clock_set(world->now_us);
	world->loop = loop_new();
	world->metrics = metrics_new(&names);
	struct meter *meter = world->metrics ? metrics_meter(world->metrics) : NULL;
	if (world->loop && meter) {
		loop_wait(world->loop, world->now_us);
		world->http = http_start(listen_somewhere(world), false, &world->settings, &world->shared, handler,
					 world->loop, meter, error, sizeof error);
		assert(world->http || *error);
		if (world->http)
			http_accept(world->http);
	}
	if (!world->http)
		let_go(world);
	return world->http;
}

void http_world_stop(struct http_world *world)
{
	http_stop(world->http);
	assert(world->waiting_count == 0);
	assert(world->finished == world->served + world->refused);
	assert(atomic_load(&world->shared.connections) == 0 && atomic_load(&world->shared.held_bytes) == 0);
	assert(metrics_read(world->metrics, METRIC_ID_CONNECTIONS, 0, 0) == 0);
	assert(metrics_read(world->metrics, METRIC_ID_IN_FLIGHT_BYTES, 0, 0) == 0);
	let_go(world);
}

void http_world_turn(struct http_world *world)
{
	loop_wait(world->loop, world->now_us);
	loop_run_timers(world->loop);
	http_turn(world->http, world->now_us);
}

void http_world_turns(struct http_world *world, unsigned count)
{
	while (count--)
		http_world_turn(world);
}

void http_world_pass(struct http_world *world, uint64_t us)
{
	world->now_us += us;
	clock_set(world->now_us);
	http_world_turn(world);
}

/* --- clients --- */

void client_open(struct http_world *world, struct client *client)
{
	int fd = socket(world->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	*client = (struct client){ fd, BUF_INIT(64 << 20), 0, false };
	int result = connect(client->fd, (struct sockaddr *)&world->address, world->address_bytes);
	assert(result == 0);
	result = fcntl(client->fd, F_SETFL, O_NONBLOCK);
	assert(result == 0);
}

void client_close(struct client *client)
{
	close(client->fd);
	buf_fini(&client->in);
}

void client_send(struct client *client, struct slice bytes)
{
	while (bytes.len) {
		ssize_t sent = send(client->fd, bytes.at, bytes.len, MSG_NOSIGNAL);
		if (sent < 0)
			break; /* the other side has closed: its business */
		bytes.at += sent;
		bytes.len -= (size_t)sent;
	}
}

void client_read(struct client *client)
{
	char bytes[65536];
	ssize_t count;
	while ((count = recv(client->fd, bytes, sizeof bytes, 0)) > 0)
		buf_put(&client->in, (struct slice){ bytes, (size_t)count });
	assert(!client->in.failed);
	if (count == 0 || errno == ECONNRESET)
		client->ended = true;
}

static void wait_for_more(struct http_world *world, struct client *client, unsigned *patience)
{
	assert(--*patience);
	http_world_turn(world);
	client_read(client);
	sched_yield();
}

/* The length of a chunked body at `at`, coding included, once it is whole; else 0. The bytes are moved together. */
static size_t read_chunks(char *at, size_t len, struct slice *body)
{
	size_t from = 0;
	*body = (struct slice){ at, 0 };
	for (;;) {
		char *end = memmem(at + from, len - from, "\r\n", 2);
		if (!end)
			return 0;
		size_t size = strtoul(at + from, NULL, 16), start = (size_t)(end - at) + 2;
		if (len < start + size + 2)
			return 0;
		if (size == 0)
			return start + 2;
		from = start + size + 2;
	}
}

static void join_chunks(char *at, struct slice *body)
{
	size_t from = 0, size;
	while ((size = strtoul(at + from, NULL, 16))) {
		from += (size_t)((char *)memmem(at + from, 20, "\r\n", 2) - (at + from)) + 2;
		memmove(at + body->len, at + from, size);
		body->len += size;
		from += size + 2;
	}
}

unsigned client_take(struct client *client, struct slice *body)
{
	const char *text = buf_cstr(&client->in);
	char *head = (char *)(uintptr_t)text + client->read;
	size_t left = client->in.len - client->read;
	char *end = memmem(head, left, "\r\n\r\n", 4);
	if (!end)
		return 0;
	size_t head_len = (size_t)(end - head) + 4, body_bytes;
	if (memmem(head, head_len, "Transfer-Encoding: chunked", 26)) {
		body_bytes = read_chunks(head + head_len, left - head_len, body);
		if (!body_bytes)
			return 0;
		join_chunks(head + head_len, body);
	} else {
		char *length = memmem(head, head_len, "Content-Length: ", 16);
		assert(length);
		body_bytes = strtoul(length + 16, NULL, 10);
		if (left < head_len + body_bytes)
			return 0;
		*body = (struct slice){ head + head_len, body_bytes };
	}
	assert(memcmp(head, "HTTP/1.1 ", 9) == 0);
	client->read += head_len + body_bytes;
	return (unsigned)strtoul(head + 9, NULL, 10);
}

unsigned client_reply(struct http_world *world, struct client *client, struct slice *body)
{
	unsigned patience = PATIENCE, status;
	while (!(status = client_take(client, body))) {
		if (client->ended)
			return 0;
		wait_for_more(world, client, &patience);
	}
	return status;
}

void client_wait_for_end(struct http_world *world, struct client *client)
{
	unsigned patience = PATIENCE;
	while (!client->ended)
		wait_for_more(world, client, &patience);
}
