/* redis_connection.c: from an address to a connection that is set up, and again; commands out, replies in. */
#include "cache/redis_connection.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "cache/redis_slots.h"
#include "cache/resolve.h"

enum {
	READ_BYTES = 64 * 1024,
	OUT_BYTES_MAX = 16 << 20,   /* unanswered commands, and what of them is not written */
	OUT_BYTES_KEPT = 1 << 20,   /* a burst's memory is given back */
	REPLY_BYTES_MAX = 64 << 20, /* of one reply; a server that sends more is not ours */
	WHY_BYTES = 256,
	SETUP_ARGS = 3
};
#define BACKOFF_FIRST_US (50 * CLOCK_US_PER_MS)
#define BACKOFF_LAST_US (800 * CLOCK_US_PER_MS)
#define STEADY_US (5 * CLOCK_US_PER_S) /* up for so long: the next loss is a new one */
#define STALL_US CLOCK_US_PER_S        /* without a reply for so long: the connection is taken for dead */

enum state { STATE_WAITING, STATE_RESOLVING, STATE_CONNECTING, STATE_SETTING_UP, STATE_UP };

/* What a reply during set-up belongs to, in the order of sending. */
enum step { STEP_AUTH, STEP_SELECT, STEP_SETNAME, STEP_ROLE, STEP_SENTINEL };

struct redis_connection {
	struct loop *loop;
	const struct redis_settings *settings;
	const char *client_name;
	struct redis_hooks hooks;

	enum state state;
	uint64_t state_until_us; /* WAITING: try again; else give up this attempt; UP: never */
	uint64_t backoff_us;
	uint64_t up_us; /* since when */
	uint64_t ups;
	uint64_t random;

	bool asks_sentinel; /* this attempt's connection is to a Sentinel */
	size_t sentinel;    /* which one */
	struct redis_node master;
	struct redis_node target; /* of this attempt, for people too */
	struct resolve *resolve;

	struct loop_watch watch;
	redisReader *reader; /* NULL: no socket */
	struct buf out;
	size_t out_at;    /* bytes of out already written */
	bool out_blocked; /* the socket took no more: EPOLLOUT is awaited */
	bool subscribed;
	enum step steps[4];
	size_t step_count, step_at;

	struct redis_slots slots;
	char told[WHY_BYTES]; /* the last failure in the log */
};

/* --- losing it --- */

/* xorshift64*: jitter only. */
static uint64_t random_below(struct redis_connection *connection, uint64_t limit)
{
	uint64_t x = connection->random;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	connection->random = x;
	return (x * UINT64_C(0x2545F4914F6CDD1D) >> 16) % limit;
}

static void close_socket(struct redis_connection *connection)
{
	int fd = connection->watch.fd;
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
	uint64_t wait_us = connection->backoff_us / 2 + random_below(connection, connection->backoff_us / 2 + 1);
	connection->state_until_us = now_us + wait_us;
	connection->backoff_us *= 2;
	if (connection->backoff_us > BACKOFF_LAST_US)
		connection->backoff_us = BACKOFF_LAST_US;
}

/* Once per kind of failure: a Redis that is away for a night is not a line a second. */
static void log_failure(struct redis_connection *connection, const char *why, bool was_up)
{
	if (!was_up && strcmp(connection->told, why) == 0)
		return;
	snprintf(connection->told, sizeof connection->told, "%s", why);
	log_message(LOG_LEVEL_WARN, was_up ? "redis_lost" : "redis_failed", "%s", why);
}

static void name_target(const struct redis_connection *connection, char *text, size_t bytes)
{
	if (connection->target.host[0])
		snprintf(text, bytes, "%s:%u", connection->target.host, connection->target.port);
	else
		snprintf(text, bytes, "unix:%s", connection->settings->path);
}

static void lose(struct redis_connection *connection, enum redis_trouble trouble, const char *what, uint64_t now_us)
{
	bool was_up = connection->state == STATE_UP;
	char target[REDIS_HOST_BYTES + 16], why[WHY_BYTES];
	name_target(connection, target, sizeof target);
	snprintf(why, sizeof why, "%.120s: %s", target, what);
	close_socket(connection);
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

static void lose_by_errno(struct redis_connection *connection, enum redis_trouble trouble, int code, uint64_t now_us)
{
	char text[128];
	lose(connection, trouble, strerror_r(code, text, sizeof text), now_us);
}

void redis_connection_drop(struct redis_connection *connection, enum redis_trouble trouble, const char *why,
			   uint64_t now_us)
{
	if (connection->state != STATE_WAITING)
		lose(connection, trouble, why, now_us);
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

/* All of it or nothing. *bytes: how long it is. False: no memory, or too much waits already. */
static bool append_command(struct redis_connection *connection, size_t argc, const struct slice *argv, size_t *bytes)
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

static void await(struct redis_connection *connection, bool writable)
{
	connection->out_blocked = writable;
	loop_rewatch(connection->loop, &connection->watch, writable ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void flush(struct redis_connection *connection, uint64_t now_us)
{
	struct buf *out = &connection->out;
	struct slice rest = buf_slice(out);
	rest.at += connection->out_at;
	rest.len -= connection->out_at;
	if (!rest.len)
		return;
	ssize_t sent = send(connection->watch.fd, rest.at, rest.len, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN && errno != EINTR) {
		lose_by_errno(connection, REDIS_TROUBLE_LOST, errno, now_us);
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
		await(connection, !all);
}

bool redis_connection_send(struct redis_connection *connection, struct redis_command *command, size_t argc,
			   const struct slice *argv, uint64_t now_us)
{
	size_t bytes;
	assert(!command->slot);
	if (connection->state != STATE_UP || connection->subscribed ||
	    connection->slots.count == connection->slots.cap || connection->slots.bytes >= OUT_BYTES_MAX ||
	    !append_command(connection, argc, argv, &bytes))
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
	const struct slice argv[] = { SLICE("SUBSCRIBE"), slice_of(channel) };
	size_t bytes;
	if (connection->state != STATE_UP || !append_command(connection, countof(argv), argv, &bytes))
		return false;
	connection->subscribed = true;
	return true;
}

/* --- set-up --- */

static bool send_step(struct redis_connection *connection, enum step step, size_t argc, const struct slice *argv)
{
	size_t bytes;
	connection->steps[connection->step_count++] = step;
	return append_command(connection, argc, argv, &bytes);
}

static bool send_auth(struct redis_connection *connection, const char *username, const char *password)
{
	struct slice argv[SETUP_ARGS] = { SLICE("AUTH") };
	size_t argc = 1;
	if (!password)
		return true;
	if (username)
		argv[argc++] = slice_of(username);
	argv[argc++] = slice_of(password);
	return send_step(connection, STEP_AUTH, argc, argv);
}

static bool send_server_steps(struct redis_connection *connection)
{
	const struct redis_settings *settings = connection->settings;
	char number[16];
	snprintf(number, sizeof number, "%u", settings->database);
	const struct slice choose[] = { SLICE("SELECT"), slice_of(number) };
	const struct slice name[] = { SLICE("CLIENT"), SLICE("SETNAME"), slice_of(connection->client_name) };
	const struct slice role[] = { SLICE("ROLE") };
	return send_auth(connection, settings->username, settings->password) &&
	       (!settings->database || send_step(connection, STEP_SELECT, countof(choose), choose)) &&
	       send_step(connection, STEP_SETNAME, countof(name), name) &&
	       (!settings->sentinel_name || send_step(connection, STEP_ROLE, countof(role), role));
}

static bool send_sentinel_steps(struct redis_connection *connection)
{
	const struct slice ask[] = { SLICE("SENTINEL"), SLICE("get-master-addr-by-name"),
				     slice_of(connection->settings->sentinel_name) };
	return send_auth(connection, NULL, connection->settings->sentinel_password) &&
	       send_step(connection, STEP_SENTINEL, countof(ask), ask);
}

static void begin_set_up(struct redis_connection *connection, uint64_t now_us)
{
	connection->state = STATE_SETTING_UP;
	connection->state_until_us = now_us + connection->settings->connect_timeout_us;
	connection->step_count = connection->step_at = 0;
	await(connection, false);
	if (connection->asks_sentinel ? !send_sentinel_steps(connection) : !send_server_steps(connection))
		lose(connection, REDIS_TROUBLE_CONNECT, "out of memory", now_us);
}

/* The Sentinel has told where the master is: the next attempt goes there, at once. */
static void found_master(struct redis_connection *connection, const redisReply *reply, uint64_t now_us)
{
	char node[REDIS_HOST_BYTES + 16];
	bool pair = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 && reply->element[0]->str &&
		    reply->element[1]->str;
	if (pair) {
		bool v6 = strchr(reply->element[0]->str, ':') != NULL;
		snprintf(node, sizeof node, "%s%s%s:%s", v6 ? "[" : "", reply->element[0]->str, v6 ? "]" : "",
			 reply->element[1]->str);
	}
	if (!pair || redis_node_parse(slice_of(node), REDIS_PORT, &connection->master)) {
		lose(connection, REDIS_TROUBLE_SENTINEL,
		     "this Sentinel does not know a master of that name (cache.redis.sentinel.name)", now_us);
		return;
	}
	close_socket(connection);
	connection->state = STATE_WAITING;
	connection->state_until_us = now_us;
	connection->asks_sentinel = false;
}

static void refused_step(struct redis_connection *connection, enum step step, const redisReply *reply, uint64_t now_us)
{
	static const char *const names[] = {
		[STEP_AUTH] = "AUTH (cache.redis.username, password)",
		[STEP_SELECT] = "SELECT (the number in cache.redis.url)",
		[STEP_SETNAME] = "CLIENT SETNAME",
		[STEP_ROLE] = "ROLE",
		[STEP_SENTINEL] = "SENTINEL get-master-addr-by-name",
	};
	char why[WHY_BYTES];
	snprintf(why, sizeof why, "%s was answered with: %.150s", names[step], reply->str);
	enum redis_trouble trouble = redis_trouble_of(reply);
	if (step == STEP_AUTH)
		trouble = REDIS_TROUBLE_AUTH;
	lose(connection, trouble, why, now_us);
}

static bool says_master(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_ARRAY && reply->elements && reply->element[0]->str &&
	       strcmp(reply->element[0]->str, "master") == 0;
}

static void come_up(struct redis_connection *connection, uint64_t now_us)
{
	char target[REDIS_HOST_BYTES + 16];
	connection->state = STATE_UP;
	connection->state_until_us = CLOCK_NEVER;
	connection->up_us = now_us;
	connection->ups++;
	name_target(connection, target, sizeof target);
	if (connection->ups == 1 || connection->told[0])
		log_message(LOG_LEVEL_INFO, "redis_connected", "%s as %s", target, connection->client_name);
	connection->told[0] = '\0';
	if (connection->hooks.up)
		connection->hooks.up(connection->hooks.context, now_us);
}

static void take_step(struct redis_connection *connection, const redisReply *reply, uint64_t now_us)
{
	if (connection->step_at == connection->step_count) {
		lose(connection, REDIS_TROUBLE_PROTOCOL, "a reply came that nothing had asked for", now_us);
		return;
	}
	enum step step = connection->steps[connection->step_at++];
	bool refused = reply->type == REDIS_REPLY_ERROR;
	if (step == STEP_SETNAME && refused && strncmp(reply->str, "NOAUTH", 6) != 0)
		refused = false; /* a managed Redis may forbid CLIENT: a name is not worth a cache */
	if (refused)
		refused_step(connection, step, reply, now_us);
	else if (step == STEP_SENTINEL)
		found_master(connection, reply, now_us);
	else if (step == STEP_ROLE && !says_master(reply))
		lose(connection, REDIS_TROUBLE_SENTINEL, "what Sentinel names as the master says it is none", now_us);
	else if (connection->step_at == connection->step_count)
		come_up(connection, now_us);
}

/* --- in --- */

static void take_reply(struct redis_connection *connection, const redisReply *reply, uint64_t now_us)
{
	struct redis_command *command;
	uint64_t sent_us;
	if (connection->state == STATE_SETTING_UP) {
		take_step(connection, reply, now_us);
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
		char why[WHY_BYTES];
		snprintf(why, sizeof why, "a reply came that nothing had asked for: %.100s",
			 reply->str ? reply->str : "(no text)");
		lose(connection, REDIS_TROUBLE_PROTOCOL, why, now_us);
	}
}

/* Whole replies among what was read. The socket may be gone after any of them, and another reader in its place. */
static void take_replies(struct redis_connection *connection, uint64_t now_us)
{
	redisReader *reader = connection->reader;
	while (connection->reader == reader) {
		void *reply = NULL;
		if (redisReaderGetReply(reader, &reply) != REDIS_OK) {
			lose(connection, REDIS_TROUBLE_PROTOCOL, reader->errstr, now_us);
			return;
		}
		if (!reply)
			break;
		take_reply(connection, reply, now_us);
		freeReplyObject(reply);
	}
	if (connection->reader == reader && reader->len > REPLY_BYTES_MAX)
		lose(connection, REDIS_TROUBLE_PROTOCOL, "a reply is longer than 64 MiB", now_us);
}

static void read_some(struct redis_connection *connection, uint64_t now_us)
{
	char bytes[READ_BYTES];
	ssize_t len = recv(connection->watch.fd, bytes, sizeof bytes, 0);
	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (len < 0)
		lose_by_errno(connection, REDIS_TROUBLE_LOST, errno, now_us);
	else if (len == 0)
		lose(connection, REDIS_TROUBLE_LOST, "the server closed the connection", now_us);
	else if (redisReaderFeed(connection->reader, bytes, (size_t)len) != REDIS_OK)
		lose(connection, REDIS_TROUBLE_LOST, "out of memory for its reply", now_us);
	else
		take_replies(connection, now_us);
}

static void socket_ready(struct loop_watch *watch, uint32_t events)
{
	struct redis_connection *connection = container_of(watch, struct redis_connection, watch);
	uint64_t now_us = loop_now(connection->loop);
	if (connection->state == STATE_CONNECTING) {
		int code = 0;
		socklen_t len = sizeof code;
		if (getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0)
			code = errno;
		if (code)
			lose_by_errno(connection, REDIS_TROUBLE_CONNECT, code, now_us);
		else
			begin_set_up(connection, now_us);
		return;
	}
	if (events & EPOLLOUT)
		flush(connection, now_us);
	if (watch->fd >= 0 && (events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
		read_some(connection, now_us);
}

/* --- connecting --- */

static void connect_socket(struct redis_connection *connection, const struct sockaddr *address, socklen_t len,
			   uint64_t now_us)
{
	int one = 1;
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		lose_by_errno(connection, REDIS_TROUBLE_CONNECT, errno, now_us);
		return;
	}
	if (address->sa_family != AF_UNIX) { /* neither is worth failing for */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
	}
	bool begun = connect(fd, address, len) == 0 || errno == EINPROGRESS;
	int code = begun ? 0 : errno;
	if (begun && !loop_watch(connection->loop, &connection->watch, fd, EPOLLIN | EPOLLOUT))
		code = errno;
	if (!code && !(connection->reader = redisReaderCreate()))
		code = ENOMEM;
	if (code) {
		if (connection->watch.fd < 0)
			close(fd);
		lose_by_errno(connection, REDIS_TROUBLE_CONNECT, code, now_us);
		return;
	}
	connection->state = STATE_CONNECTING;
	connection->state_until_us = now_us + connection->settings->connect_timeout_us;
}

static void connect_unix(struct redis_connection *connection, uint64_t now_us)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_Static_assert(REDIS_PATH_BYTES <= sizeof address.sun_path, "a path fits");
	memcpy(address.sun_path, connection->settings->path, REDIS_PATH_BYTES);
	connect_socket(connection, (const struct sockaddr *)&address, sizeof address, now_us);
}

/* False: `literal` is a name, not an address. */
static bool connect_literal(struct redis_connection *connection, const char *literal, uint64_t now_us)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(connection->target.port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(connection->target.port) };
	if (inet_pton(AF_INET, literal, &v4.sin_addr) == 1)
		connect_socket(connection, (const struct sockaddr *)&v4, sizeof v4, now_us);
	else if (inet_pton(AF_INET6, literal, &v6.sin6_addr) == 1)
		connect_socket(connection, (const struct sockaddr *)&v6, sizeof v6, now_us);
	else
		return false;
	return true;
}

static void choose_target(struct redis_connection *connection)
{
	const struct redis_settings *settings = connection->settings;
	if (!settings->sentinel_name)
		connection->target = settings->node;
	else
		connection->target =
			connection->asks_sentinel ? settings->sentinels[connection->sentinel] : connection->master;
}

static void try_to_connect(struct redis_connection *connection, uint64_t now_us)
{
	choose_target(connection);
	if (!connection->target.host[0])
		return connect_unix(connection, now_us);
	if (connect_literal(connection, connection->target.host, now_us))
		return;
	connection->resolve = resolve_start(connection->target.host, connection->loop);
	if (!connection->resolve)
		return lose(connection, REDIS_TROUBLE_RESOLVE, "no thread to resolve the name in", now_us);
	connection->state = STATE_RESOLVING;
	connection->state_until_us = now_us + connection->settings->connect_timeout_us;
}

static void look_at_resolve(struct redis_connection *connection, uint64_t now_us)
{
	char address[INET6_ADDRSTRLEN];
	const char *why;
	enum resolve_state state = resolve_look(connection->resolve, address, &why);
	if (state == RESOLVE_PENDING)
		return;
	resolve_stop(connection->resolve);
	connection->resolve = NULL;
	if (state == RESOLVE_FAILED)
		lose(connection, REDIS_TROUBLE_RESOLVE, why, now_us);
	else if (!connect_literal(connection, address, now_us))
		lose(connection, REDIS_TROUBLE_RESOLVE, "the name's address is neither IPv4 nor IPv6", now_us);
}

/* --- the turn --- */

static void state_timed_out(struct redis_connection *connection, uint64_t now_us)
{
	if (connection->state == STATE_WAITING) {
		try_to_connect(connection, now_us);
	} else if (connection->state == STATE_RESOLVING) {
		lose(connection, REDIS_TROUBLE_RESOLVE, "its name was not resolved within connect_timeout", now_us);
	} else if (connection->state == STATE_CONNECTING) {
		lose(connection, REDIS_TROUBLE_CONNECT, "no connection within connect_timeout", now_us);
	} else {
		lose(connection, REDIS_TROUBLE_CONNECT, "connected, but no reply within connect_timeout", now_us);
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
		lose(connection, REDIS_TROUBLE_LOST, "it takes commands and does not answer them", now_us);
}

void redis_connection_tick(struct redis_connection *connection, uint64_t now_us)
{
	if (connection->state == STATE_RESOLVING)
		look_at_resolve(connection, now_us);
	if (connection->state_until_us <= now_us)
		state_timed_out(connection, now_us);
	if (connection->state == STATE_UP)
		end_overdue(connection, now_us);
	if (connection->state >= STATE_SETTING_UP && !connection->out_blocked)
		flush(connection, now_us);
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
	if (!slots_init(&connection->slots, settings->max_commands)) {
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
	close_socket(connection);
	buf_fini(&connection->out);
	slots_fini(&connection->slots);
	free(connection);
}

bool redis_connection_is_up(const struct redis_connection *connection)
{
	return connection->state == STATE_UP;
}

size_t redis_connection_pending(const struct redis_connection *connection)
{
	return connection->slots.count;
}

uint64_t redis_connection_count(const struct redis_connection *connection)
{
	return connection->ups;
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
