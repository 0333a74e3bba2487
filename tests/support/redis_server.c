/* SPDX-License-Identifier: Apache-2.0 */
/* redis_server.c: a real Redis, and a scripted one. */
#include "tests/support/redis_server.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORDS_MAX = 32, PATIENCE_MS = 10000 };

bool redis_server_exists(void)
{
	return access("/usr/bin/redis-server", X_OK) == 0;
}

static void make_directory(char directory[64], char path[96])
{
	snprintf(directory, 64, "/tmp/jitney-redis-XXXXXX");
	char *made = mkdtemp(directory);
	assert(made);
	(void)made;
	snprintf(path, 96, "%s/s", directory);
}

static void nap(void)
{
	const struct timespec ms = { 0, 2000000 };
	nanosleep(&ms, NULL);
}

static void launch(struct redis_server *server, const char *const *options)
{
	const char *words[WORDS_MAX] = { "redis-server", "--port",     "0",      "--unixsocket",    server->path,
					 "--save",       "",           "--dir",  server->directory, "--daemonize",
					 "no",           "--loglevel", "warning" };
	size_t count = 13;
	for (; options && *options; options++)
		words[count++] = *options;
	server->pid = fork();
	assert(server->pid >= 0);
	if (server->pid == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 1);
		dup2(null, 2);
		execv("/usr/bin/redis-server", (char *const *)(uintptr_t)words);
		_exit(127);
	}
	for (int waited = 0; waited < PATIENCE_MS; waited += 2) {
		redisContext *context = redisConnectUnix(server->path);
		bool ok = context && !context->err;
		redisReply *reply = ok ? redisCommand(context, "PING") : NULL;
		if (reply)
			freeReplyObject(reply);
		if (context)
			redisFree(context);
		if (reply)
			return;
		nap();
	}
	assert(!"redis-server did not start");
}

void redis_server_start(struct redis_server *server, const char *const *options)
{
	make_directory(server->directory, server->path);
	launch(server, options);
}

void redis_server_restart(struct redis_server *server, const char *const *options)
{
	launch(server, options);
}

void redis_server_freeze(struct redis_server *server)
{
	kill(server->pid, SIGSTOP);
	waitpid(server->pid, NULL, WUNTRACED);
}

void redis_server_thaw(struct redis_server *server)
{
	kill(server->pid, SIGCONT);
}

void redis_server_kill(struct redis_server *server)
{
	if (server->pid <= 0)
		return;
	kill(server->pid, SIGKILL);
	waitpid(server->pid, NULL, 0);
	server->pid = 0;
}

void redis_server_finish(struct redis_server *server)
{
	redis_server_kill(server);
	unlink(server->path);
	rmdir(server->directory);
}

const char *redis_server_ask(struct redis_server *server, size_t argc, const struct slice *argv)
{
	static char text[256];
	const char *words[WORDS_MAX];
	size_t lengths[WORDS_MAX];
	for (size_t i = 0; i < argc; i++) {
		words[i] = argv[i].at;
		lengths[i] = argv[i].len;
	}
	redisContext *context = redisConnectUnix(server->path);
	assert(context && !context->err);
	redisReply *reply = redisCommandArgv(context, (int)argc, words, lengths);
	assert(reply);
	if (reply->type == REDIS_REPLY_INTEGER)
		snprintf(text, sizeof text, "%lld", reply->integer);
	else
		snprintf(text, sizeof text, "%s", reply->str ? reply->str : "");
	freeReplyObject(reply);
	redisFree(context);
	return text;
}

struct redis_settings redis_settings_for(const char *path)
{
	struct redis_settings settings = {
		.prefix = "t",
		.timeout_us = 5 * CLOCK_US_PER_S,
		.connect_timeout_us = 5 * CLOCK_US_PER_S,
		.max_commands = 64,
		.max_value_bytes = 1 << 20,
		.compress_bytes = 1024,
	};
	snprintf(settings.path, sizeof settings.path, "%s", path);
	return settings;
}

/* --- scripted --- */

void redis_script_start(struct redis_script *script)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	memset(script, 0, sizeof *script);
	make_directory(script->directory, script->path);
	memcpy(address.sun_path, script->path, strlen(script->path) + 1);
	script->fd = -1;
	script->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int ok = bind(script->listen_fd, (const struct sockaddr *)&address, sizeof address) == 0 &&
		 listen(script->listen_fd, 8) == 0;
	assert(ok);
	(void)ok;
}

void redis_script_look(struct redis_script *script)
{
	if (script->fd < 0) {
		script->fd = accept4(script->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		script->got_len = 0;
	}
	if (script->fd < 0)
		return;
	ssize_t len = recv(script->fd, script->got + script->got_len, sizeof script->got - 1 - script->got_len, 0);
	if (len > 0)
		script->got_len += (size_t)len;
	script->got[script->got_len] = '\0';
	if (len == 0)
		redis_script_hang_up(script);
}

void redis_script_say(struct redis_script *script, struct slice bytes)
{
	ssize_t sent = send(script->fd, bytes.at, bytes.len, MSG_NOSIGNAL);
	assert(sent == (ssize_t)bytes.len);
	(void)sent;
}

void redis_script_hang_up(struct redis_script *script)
{
	if (script->fd >= 0)
		close(script->fd);
	script->fd = -1;
}

void redis_script_finish(struct redis_script *script)
{
	redis_script_hang_up(script);
	close(script->listen_fd);
	unlink(script->path);
	rmdir(script->directory);
}
