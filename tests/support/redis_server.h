/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_server.h: Redis for tests: a real redis-server on a unix socket in a directory of its own, and a scripted one,
 * a listening socket in the test's own thread whose every byte the test writes.
 */
#ifndef TESTS_SUPPORT_REDIS_SERVER_H
#define TESTS_SUPPORT_REDIS_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/loop.h"
#include "base/slice.h"
#include "cache/redis/redis_settings.h"

struct redis_server {
	pid_t pid;
	char directory[64];
	char path[96]; /* its socket */
};

/* Whether there is a redis-server to start; tests without one are skipped. */
bool redis_server_exists(void);
/* Start it and wait until it answers. `options`: NULL-terminated words for its command line ("--requirepass", "x"). */
void redis_server_start(struct redis_server *server, const char *const *options);
/* Once more, on the same socket. */
void redis_server_restart(struct redis_server *server, const char *const *options);
/* SIGSTOP, SIGCONT, SIGKILL (and reaped). */
void redis_server_freeze(struct redis_server *server);
void redis_server_thaw(struct redis_server *server);
void redis_server_kill(struct redis_server *server);
/* Killed if it runs, its directory removed. */
void redis_server_finish(struct redis_server *server);
/* One command over a connection of its own; the raw reply's first bytes. Blocks. */
const char *redis_server_ask(struct redis_server *server, size_t argc, const struct slice *argv);

/* Settings for a socket: 64 commands; 5 s for each and for connecting, for a server that is well on a busy machine. */
struct redis_settings redis_settings_for(const char *path);

/* --- scripted --- */

struct redis_script {
	int listen_fd, fd; /* fd -1: nobody is connected */
	char directory[64], path[96];
	char got[65536];
	size_t got_len;
};

void redis_script_start(struct redis_script *script);
/* Take a connection if one waits; read what has come. */
void redis_script_look(struct redis_script *script);
void redis_script_say(struct redis_script *script, struct slice bytes);
void redis_script_hang_up(struct redis_script *script);
void redis_script_finish(struct redis_script *script);

#endif
