/* SPDX-License-Identifier: Apache-2.0 */
/* redis_connection.c: commands out, replies in, deadlines, and the loss of a connection. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/random.h"
#include "cache/redis/redis_connection_private.h"
#include "cache/redis/redis_tls.h"

enum {
	READ_BYTES = 64 * 1024,
	READS_PER_TURN = 16,
	FEED_BYTES = 8 * 1024,
	OUT_BYTES_MAX = 16 << 20,  /* unanswered commands, and what of them is not written */
	OUT_BYTES_KEPT = 1 << 20,  /* a burst's memory is given back */
	REPLY_BYTES_MAX = 64 << 20 /* of one reply; a server that sends more is not ours */
};
#define BACKOFF_FIRST_US (50 * CLOCK_US_PER_MS)
#define BACKOFF_LAST_US (800 * CLOCK_US_PER_MS)
#define STEADY_US (5 * CLOCK_US_PER_S) /* up for so long: the next loss is a new one */
#define STALL_US CLOCK_US_PER_S        /* without a reply for so long: the connection is taken for dead */

/* --- losing it --- */

void redis_close_socket(struct redis_connection *connection)
{
	int fd = connection->watch.fd;
	redis_secure_end(connection);
	loop_unwatch(connection->loop, &connection->watch);
	if (fd >= 0)
		close(fd);
	if (connection->reader)
		redisReaderFree(connection->reader);
	connection->reader = NULL;
	connection->subscribed = false;
	connection->out_at = 0;
	connection->out_blocked = false;
	buf_reset(&connection->out);
	resolve_stop(connection->resolve);
	connection->resolve = NULL;
}

static void end_commands(struct redis_connection *connection)
{
	while (connection->slots.count) {
		struct redis_command *command;
		uint64_t sent_us;
		slots_pop(&connection->slots, &command, &sent_us);
		if (command)
			command->done(command, COMMAND_LOST, NULL, 0);
	}
}

/* Half of it for certain, half by chance: workers and gateways that lost Redis together do not come back together. */
static void wait_to_retry(struct redis_connection *connection, uint64_t now_us)
{
	uint64_t wait_us =
		connection->backoff_us / 2 + random_next(&connection->random) % (connection->backoff_us / 2 + 1);
	connection->state_until_us = now_us + wait_us;
	connection->backoff_us *= 2;
	if (connection->backoff_us > BACKOFF_LAST_US)
		connection->backoff_us = BACKOFF_LAST_US;
}

/* Once per kind of failure: a Redis that is away for a night is not a line a second. */
static void log_failure(struct redis_connection *connection, const char *why, bool was_up)
{
	if (!was_up && strcmp(connection->logged, why) == 0)
		return;
	snprintf(connection->logged, sizeof connection->logged, "%s", why);
	log_message(was_up ? &EVENT_REDIS_LOST : &EVENT_REDIS_FAILED, "%s", why);
}

void redis_name_target(const struct redis_connection *connection, char *text, size_t bytes)
{
	if (connection->target.host[0])
		snprintf(text, bytes, "%s:%u", connection->target.host, connection->target.port);
	else
		snprintf(text, bytes, "unix:%s", connection->settings->path);
}

void redis_lose(struct redis_connection *connection, enum redis_trouble trouble, const char *what, uint64_t now_us)
{
	bool was_up = connection->state == STATE_UP;
	char target[REDIS_HOST_BYTES + 16], why[REDIS_WHY_BYTES];
	redis_name_target(connection, target, sizeof target);
	snprintf(why, sizeof why, "%.120s: %s", target, what);
	redis_close_socket(connection);
	if (was_up && now_us - connection->up_us >= STEADY_US)
		connection->backoff_us = BACKOFF_FIRST_US;
	connection->state = STATE_WAITING;
	wait_to_retry(connection, now_us);
	connection->asks_sentinel = connection->settings->sentinel_name != NULL;
	if (connection->asks_sentinel)
		connection->sentinel = (connection->sentinel + 1) % connection->settings->sentinel_count;
	end_commands(connection);
	log_failure(connection, why, was_up);
	if (connection->hooks.down)
		connection->hooks.down(connection->hooks.context, trouble, why, was_up, now_us);
}

void redis_lose_by_errno(struct redis_connection *connection, enum redis_trouble trouble, int code, uint64_t now_us)
{
	char text[128];
	redis_lose(connection, trouble, strerror_r(code, text, sizeof text), now_us);
}

void redis_connection_drop(struct redis_connection *connection, enum redis_trouble trouble, const char *why,
			   uint64_t now_us)
{
	if (connection->state != STATE_WAITING)
		redis_lose(connection, trouble, why, now_us);
}

/* --- out --- */

static void put_command(struct buf *out, size_t argc, const struct slice *argv)
{
	buf_put_char(out, '*');
	buf_put_u64(out, argc);
	for (size_t i = 0; i < argc; i++) {
		buf_put(out, SLICE("\r\n$"));
		buf_put_u64(out, argv[i].len);
		buf_put(out, SLICE("\r\n"));
		buf_put(out, argv[i]);
	}
	buf_put(out, SLICE("\r\n"));
}

bool redis_append(struct redis_connection *connection, size_t argc, const struct slice *argv, size_t *bytes)
{
	struct buf *out = &connection->out;
	size_t before = out->len;
	put_command(out, argc, argv);
	if (out->failed) {
		out->failed = false;
		out->len = before;
		return false;
	}
	*bytes = out->len - before;
	return true;
}

void redis_await(struct redis_connection *connection, bool writable)
{
	connection->out_blocked = writable;
	loop_rewatch(connection->loop, &connection->watch, writable ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void flush_commands(struct redis_connection *connection, uint64_t now_us)
{
	struct buf *out = &connection->out;
	struct slice rest = buf_slice(out);
	rest.at += connection->out_at;
	rest.len -= connection->out_at;
	if (!rest.len)
		return;
	ssize_t sent = redis_wire_write(connection, rest);
	if (sent < 0 && errno != EAGAIN && errno != EINTR) {
		redis_lose_by_wire(connection, errno, now_us);
		return;
	}
	connection->out_at += sent > 0 ? (size_t)sent : 0;
	bool all = connection->out_at == out->len;
	if (all) {
		if (out->len > OUT_BYTES_KEPT)
			buf_fini(out);
		buf_reset(out);
		connection->out_at = 0;
	}
	if (all == connection->out_blocked)
		redis_await(connection, !all);
}

bool redis_connection_has_room(const struct redis_connection *connection)
{
	return connection->state == STATE_UP && !connection->subscribed &&
	       connection->slots.count < connection->slots.cap && connection->slots.bytes < OUT_BYTES_MAX;
}

bool redis_connection_send(struct redis_connection *connection, struct redis_command *command, size_t argc,
			   const struct slice *argv, uint64_t now_us)
{
	assert_owner(loop_owner(connection->loop));
	size_t bytes;
	assert(!command->slot);
	if (!redis_connection_has_room(connection) || !redis_append(connection, argc, argv, &bytes))
		return false;
	slots_push(&connection->slots, command, bytes, now_us);
	return true;
}

void redis_connection_cancel(struct redis_command *command)
{
	slots_give_up(command);
}

bool redis_connection_subscribe(struct redis_connection *connection, const char *channel)
{
	assert_owner(loop_owner(connection->loop));
	const struct slice argv[] = { SLICE("SUBSCRIBE"), slice_of(channel) };
	size_t bytes;
	if (connection->state != STATE_UP || !redis_append(connection, countof(argv), argv, &bytes))
		return false;
	connection->subscribed = true;
	return true;
}

/* --- in --- */

static void take_reply(struct redis_connection *connection, const redisReply *reply, uint64_t now_us)
{
	struct redis_command *command;
	uint64_t sent_us;
	if (connection->state == STATE_SETTING_UP) {
		redis_set_up_reply(connection, reply, now_us);
	} else if (connection->slots.count) {
		slots_pop(&connection->slots, &command, &sent_us);
		if (command)
			command->done(command, reply->type == REDIS_REPLY_ERROR ? COMMAND_REFUSED : COMMAND_ANSWERED,
				      reply, now_us - sent_us);
	} else if (connection->subscribed && reply->type == REDIS_REPLY_ARRAY) {
		if (connection->hooks.message)
			connection->hooks.message(connection->hooks.context, reply, now_us);
	} else {
		/* an error nobody asked for is how Redis says "max number of clients reached" */
		char why[REDIS_WHY_BYTES];
		snprintf(why, sizeof why, "a reply came that nothing had asked for: %.100s",
			 reply->str ? reply->str : "(no text)");
		redis_lose(connection, REDIS_TROUBLE_PROTOCOL, why, now_us);
	}
}

/* Whole replies among what was read. The socket may be gone after any of them, and another reader in its place. */
static void take_replies(struct redis_connection *connection, uint64_t now_us)
{
	redisReader *reader = connection->reader;
	while (connection->reader == reader) {
		void *reply = NULL;
		if (redisReaderGetReply(reader, &reply) != REDIS_OK) {
			redis_lose(connection, REDIS_TROUBLE_PROTOCOL, reader->errstr, now_us);
			return;
		}
		if (!reply)
			break;
		take_reply(connection, reply, now_us);
		freeReplyObject(reply);
	}
	if (connection->reader == reader && reader->len > REPLY_BYTES_MAX)
		redis_lose(connection, REDIS_TROUBLE_PROTOCOL, "a reply is longer than 64 MiB", now_us);
}

/* In pieces: after each reply the reader moves all that it has not looked at yet. */
static void feed_reader(struct redis_connection *connection, struct slice bytes, uint64_t now_us)
{
	const redisReader *reader = connection->reader;
	while (bytes.len && connection->reader == reader) {
		size_t piece = bytes.len < FEED_BYTES ? bytes.len : FEED_BYTES;
		if (redisReaderFeed(connection->reader, bytes.at, piece) != REDIS_OK) {
			redis_lose(connection, REDIS_TROUBLE_LOST, "out of memory for its reply", now_us);
			return;
		}
		bytes.at += piece;
		bytes.len -= piece;
		take_replies(connection, now_us);
	}
}

/* False: there is no more for now, or the socket is gone. */
static bool read_some(struct redis_connection *connection, uint64_t now_us)
{
	char bytes[READ_BYTES];
	const redisReader *reader = connection->reader;
	ssize_t len = redis_wire_read(connection, bytes, sizeof bytes);
	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (len < 0)
		redis_lose_by_wire(connection, errno, now_us);
	else if (len == 0)
		redis_lose(connection, REDIS_TROUBLE_LOST, "the server closed the connection", now_us);
	else
		feed_reader(connection, (struct slice){ bytes, (size_t)len }, now_us);
	return len > 0 && connection->reader == reader;
}

/* All that is there, within bounds: what has been answered in time must not count as overdue because it was not
 * read. */
static void read_replies(struct redis_connection *connection, uint64_t now_us)
{
	int i = 0;
	while (read_some(connection, now_us) && (++i < READS_PER_TURN || redis_wire_has_more(connection)))
		continue;
}

static void socket_ready(struct loop_watch *watch, uint32_t events)
{
	struct redis_connection *connection = container_of(watch, struct redis_connection, watch);
	uint64_t now_us = loop_now(connection->loop);
	if (connection->state == STATE_CONNECTING) {
		redis_connect_ended(connection, now_us);
		return;
	}
	if (connection->state == STATE_SECURING) {
		redis_connect_secured(connection, now_us);
		return;
	}
	if (events & EPOLLOUT)
		flush_commands(connection, now_us);
	if (watch->fd >= 0 && (events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
		read_replies(connection, now_us);
}

/* --- the turn --- */

static void state_timed_out(struct redis_connection *connection, uint64_t now_us)
{
	if (connection->state == STATE_WAITING) {
		redis_connect(connection, now_us);
	} else if (connection->state == STATE_RESOLVING) {
		redis_lose(connection, REDIS_TROUBLE_RESOLVE, "its name was not resolved within connect_timeout",
			   now_us);
	} else if (connection->state == STATE_CONNECTING) {
		redis_connect_failed(connection, "no connection within connect_timeout", now_us);
	} else if (connection->state == STATE_SECURING) {
		redis_lose(connection, REDIS_TROUBLE_CONNECT,
			   "connected, but no TLS within connect_timeout; does it speak TLS here?", now_us);
	} else {
		redis_lose(connection, REDIS_TROUBLE_CONNECT, "connected, but no reply within connect_timeout", now_us);
	}
}

static uint64_t stall_us(const struct redis_connection *connection)
{
	uint64_t twice = 2 * connection->settings->timeout_us;
	return twice > STALL_US ? twice : STALL_US;
}

static void end_overdue(struct redis_connection *connection, uint64_t now_us)
{
	struct redis_command *command;
	uint64_t timeout_us = connection->settings->timeout_us;
	if (now_us < timeout_us)
		return;
	while ((command = slots_take_overdue(&connection->slots, now_us - timeout_us)))
		command->done(command, COMMAND_OVERDUE, NULL, timeout_us);
	if (clock_add(slots_oldest_us(&connection->slots), stall_us(connection)) <= now_us)
		redis_lose(connection, REDIS_TROUBLE_LOST, "it takes commands and does not answer them", now_us);
}

void redis_connection_tick(struct redis_connection *connection, uint64_t now_us)
{
	assert_owner(loop_owner(connection->loop));
	if (connection->state == STATE_RESOLVING)
		redis_connect_resolved(connection, now_us);
	if (connection->state_until_us <= now_us)
		state_timed_out(connection, now_us);
	if (connection->state == STATE_UP)
		end_overdue(connection, now_us);
	if (connection->state >= STATE_SETTING_UP && !connection->out_blocked)
		flush_commands(connection, now_us);
}

uint64_t redis_connection_deadline(const struct redis_connection *connection)
{
	uint64_t deadline = connection->state_until_us;
	if (connection->state >= STATE_SETTING_UP && !connection->out_blocked && connection->out.len)
		return 0;
	uint64_t overdue = clock_add(slots_next_us(&connection->slots), connection->settings->timeout_us);
	uint64_t stalled = clock_add(slots_oldest_us(&connection->slots), stall_us(connection));
	deadline = overdue < deadline ? overdue : deadline;
	return stalled < deadline ? stalled : deadline;
}

/* --- life --- */

struct redis_connection *redis_connection_new(struct loop *loop, const struct redis_settings *settings,
					      const char *client_name, const struct redis_hooks *hooks)
{
	struct redis_connection *connection = calloc(1, sizeof *connection);
	if (!connection)
		return NULL;
	if (settings->tls && !(connection->tls = redis_tls_copy(settings->tls))) {
		free(connection);
		return NULL;
	}
	if (!slots_init(&connection->slots, settings->max_commands)) {
		redis_tls_free(connection->tls);
		free(connection);
		return NULL;
	}
	connection->loop = loop;
	connection->settings = settings;
	connection->client_name = client_name;
	connection->hooks = *hooks;
	connection->backoff_us = BACKOFF_FIRST_US;
	connection->asks_sentinel = settings->sentinel_name != NULL;
	connection->random = clock_wall_us() ^ (uint64_t)(uintptr_t)connection;
	connection->watch = (struct loop_watch){ socket_ready, -1 };
	buf_init(&connection->out, OUT_BYTES_MAX + OUT_BYTES_MAX);
	return connection;
}

void redis_connection_free(struct redis_connection *connection)
{
	if (!connection)
		return;
	connection->state = STATE_WAITING;
	end_commands(connection);
	redis_close_socket(connection);
	buf_fini(&connection->out);
	slots_fini(&connection->slots);
	redis_tls_free(connection->tls);
	free(connection);
}

bool redis_connection_is_up(const struct redis_connection *connection)
{
	return connection->state == STATE_UP;
}

/* --- error replies --- */

enum redis_trouble redis_trouble_of(const redisReply *reply)
{
	static const struct {
		const char *prefix;
		enum redis_trouble trouble;
	} known[] = {
		{ "NOAUTH", REDIS_TROUBLE_AUTH },         { "WRONGPASS", REDIS_TROUBLE_AUTH },
		{ "NOPERM", REDIS_TROUBLE_AUTH },         { "LOADING", REDIS_TROUBLE_LOADING },
		{ "MASTERDOWN", REDIS_TROUBLE_LOADING },  { "BUSY", REDIS_TROUBLE_LOADING },
		{ "READONLY", REDIS_TROUBLE_READONLY },   { "OOM", REDIS_TROUBLE_FULL },
		{ "MISCONF", REDIS_TROUBLE_MISCONF },     { "NOREPLICAS", REDIS_TROUBLE_MISCONF },
		{ "MOVED", REDIS_TROUBLE_CLUSTER },       { "ASK ", REDIS_TROUBLE_CLUSTER },
		{ "CLUSTERDOWN", REDIS_TROUBLE_CLUSTER },
	};
	for (size_t i = 0; i < countof(known); i++)
		if (reply->str && strncmp(reply->str, known[i].prefix, strlen(known[i].prefix)) == 0)
			return known[i].trouble;
	return REDIS_TROUBLE_REFUSED;
}
