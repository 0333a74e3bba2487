/* SPDX-License-Identifier: Apache-2.0 */
/* redis_connect.c: from nothing to a connection that is set up: Sentinel, resolver, socket, AUTH and the like. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "cache/redis/redis_connection_private.h"

enum { SETUP_ARGS = 3, READER_BYTES_KEPT = 256 * 1024 };

/* --- set-up --- */

static bool send_step(struct redis_connection *connection, enum redis_step step, size_t argc, const struct slice *argv)
{
	size_t bytes;
	connection->steps[connection->step_count++] = step;
	return redis_append(connection, argc, argv, &bytes);
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
	redis_await(connection, false);
	if (connection->asks_sentinel ? !send_sentinel_steps(connection) : !send_server_steps(connection))
		redis_lose(connection, REDIS_TROUBLE_CONNECT, "out of memory", now_us);
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
		redis_lose(connection, REDIS_TROUBLE_SENTINEL,
			   "this Sentinel does not know a master of that name (cache.redis.sentinel.name)", now_us);
		return;
	}
	redis_close_socket(connection);
	connection->state = STATE_WAITING;
	connection->state_until_us = now_us;
	connection->asks_sentinel = false;
}

static void refused_step(struct redis_connection *connection, enum redis_step step, const redisReply *reply,
			 uint64_t now_us)
{
	static const char *const names[] = {
		[STEP_AUTH] = "AUTH (cache.redis.username, password)",
		[STEP_SELECT] = "SELECT (the number in cache.redis.url)",
		[STEP_SETNAME] = "CLIENT SETNAME",
		[STEP_ROLE] = "ROLE",
		[STEP_SENTINEL] = "SENTINEL get-master-addr-by-name",
	};
	char why[REDIS_WHY_BYTES];
	snprintf(why, sizeof why, "%s was answered with: %.150s", names[step], reply->str);
	enum redis_trouble trouble = redis_trouble_of(reply);
	if (step == STEP_AUTH)
		trouble = REDIS_TROUBLE_AUTH;
	redis_lose(connection, trouble, why, now_us);
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
	redis_name_target(connection, target, sizeof target);
	if (connection->ups == 1 || connection->logged[0])
		log_message(&EVENT_REDIS_CONNECTED, "%s as %s", target, connection->client_name);
	connection->logged[0] = '\0';
	if (connection->hooks.up)
		connection->hooks.up(connection->hooks.context, now_us);
}

void redis_set_up_reply(struct redis_connection *connection, const redisReply *reply, uint64_t now_us)
{
	if (connection->step_at == connection->step_count) {
		redis_lose(connection, REDIS_TROUBLE_PROTOCOL, "a reply came that nothing had asked for", now_us);
		return;
	}
	enum redis_step step = connection->steps[connection->step_at++];
	bool refused = reply->type == REDIS_REPLY_ERROR;
	if (step == STEP_SETNAME && refused && strncmp(reply->str, "NOAUTH", 6) != 0)
		refused = false; /* a managed Redis may forbid CLIENT: a name is not worth a cache */
	if (refused)
		refused_step(connection, step, reply, now_us);
	else if (step == STEP_SENTINEL)
		found_master(connection, reply, now_us);
	else if (step == STEP_ROLE && !says_master(reply))
		redis_lose(connection, REDIS_TROUBLE_SENTINEL, "what Sentinel names as the master says it is none",
			   now_us);
	else if (connection->step_at == connection->step_count)
		come_up(connection, now_us);
}

/* --- connecting --- */

static void failed_by_errno(struct redis_connection *connection, int code, uint64_t now_us)
{
	char text[128];
	redis_connect_failed(connection, strerror_r(code, text, sizeof text), now_us);
}

static void connect_socket(struct redis_connection *connection, const struct sockaddr *address, socklen_t len,
			   uint64_t now_us)
{
	int one = 1;
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		failed_by_errno(connection, errno, now_us);
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
		failed_by_errno(connection, code, now_us);
		return;
	}
	connection->reader->maxbuf = READER_BYTES_KEPT; /* else it gives its memory back after every few replies */
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

/* A name stands for several addresses, and only some of them may be listened at (localhost: ::1 and 127.0.0.1). */
static void connect_next(struct redis_connection *connection, uint64_t now_us)
{
	const char *address = connection->resolved.addresses[connection->tried++];
	if (!connect_literal(connection, address, now_us))
		redis_lose(connection, REDIS_TROUBLE_RESOLVE, "the name's address is neither IPv4 nor IPv6", now_us);
}

void redis_connect_failed(struct redis_connection *connection, const char *why, uint64_t now_us)
{
	if (connection->tried == connection->resolved.count) {
		redis_lose(connection, REDIS_TROUBLE_CONNECT, why, now_us);
		return;
	}
	redis_close_socket(connection);
	connect_next(connection, now_us);
}

void redis_connect(struct redis_connection *connection, uint64_t now_us)
{
	choose_target(connection);
	connection->resolved.count = connection->tried = 0;
	if (!connection->target.host[0])
		return connect_unix(connection, now_us);
	if (connect_literal(connection, connection->target.host, now_us))
		return;
	connection->resolve = resolve_start(connection->target.host, connection->loop);
	if (!connection->resolve)
		return redis_lose(connection, REDIS_TROUBLE_RESOLVE, "no thread to resolve the name in", now_us);
	connection->state = STATE_RESOLVING;
	connection->state_until_us = now_us + connection->settings->connect_timeout_us;
}

void redis_connect_resolved(struct redis_connection *connection, uint64_t now_us)
{
	const char *why;
	enum resolve_state state = resolve_look(connection->resolve, &connection->resolved, &why);
	if (state == RESOLVE_PENDING)
		return;
	resolve_stop(connection->resolve);
	connection->resolve = NULL;
	if (state == RESOLVE_FAILED)
		redis_lose(connection, REDIS_TROUBLE_RESOLVE, why, now_us);
	else
		connect_next(connection, now_us);
}

void redis_connect_ended(struct redis_connection *connection, uint64_t now_us)
{
	int code = 0;
	socklen_t len = sizeof code;
	if (getsockopt(connection->watch.fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0)
		code = errno;
	if (code) {
		failed_by_errno(connection, code, now_us);
	} else if (!connection->settings->tls) {
		begin_set_up(connection, now_us);
	} else if (!redis_secure_begin(connection)) {
		redis_lose(connection, REDIS_TROUBLE_CONNECT, "out of memory", now_us);
	} else {
		connection->state = STATE_SECURING;
		connection->state_until_us = now_us + connection->settings->connect_timeout_us;
		redis_connect_secured(connection, now_us);
	}
}

void redis_connect_secured(struct redis_connection *connection, uint64_t now_us)
{
	char why[sizeof connection->tls_why];
	int result = redis_secure_step(connection);
	memcpy(why, connection->tls_why, sizeof why);
	if (result > 0)
		begin_set_up(connection, now_us);
	else if (result < 0)
		redis_lose(connection, REDIS_TROUBLE_CONNECT, why, now_us);
}
