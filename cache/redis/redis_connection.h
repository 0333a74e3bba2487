/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_connection.h: one connection to Redis, kept up: resolve, ask Sentinel, connect, set up (AUTH, SELECT, CLIENT
 * SETNAME), and again with jittered backoff whenever it is lost. Commands are pipelined and leave together once a turn:
 * at most one read and one write a turn. Every command has a deadline, which hiredis 0.14 does not know of.
 *
 * Any number of connections may live on one loop; each belongs to that loop's thread. One that subscribes gets its
 * messages by hook; a RESP2 connection that has subscribed takes no other command.
 *
 * Nothing here blocks. Of hiredis only the reader of replies is used: its async context asserts when a server sends a
 * reply that nobody asked for, and allocates for every command.
 */
#ifndef JITNEY_CACHE_REDIS_REDIS_CONNECTION_H
#define JITNEY_CACHE_REDIS_REDIS_CONNECTION_H

#include <hiredis/hiredis.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/loop.h"
#include "base/slice.h"
#include "cache/redis/redis_settings.h"
#include "metrics/catalogue.h"

struct redis_connection;
struct redis_slot;

/* How a command ended. */
enum command_end {
	COMMAND_ANSWERED, /* reply is there, and is no error */
	COMMAND_REFUSED,  /* reply is an error: see redis_trouble_of */
	COMMAND_OVERDUE,  /* no reply within settings->timeout_us; one that comes later is dropped. Not if it is patient */
	COMMAND_LOST      /* the connection broke before the reply */
};

/* A command under way. Embedded in its owner; set `done`, the rest is the connection's. */
struct redis_command {
	/* Called once, unless cancelled, never from within redis_connection_send. `reply` is borrowed for the call;
	 * NULL for OVERDUE and LOST. May send more commands; may not free the connection. */
	void (*done)(struct redis_command *command, enum command_end end, const redisReply *reply, uint64_t took_us);
	struct redis_slot *slot; /* NULL: not under way */
	bool patient;            /* nobody's call waits for it: a late reply will do, as long as the connection lasts */
};

/* What its owner is told. Each may be NULL. None may free the connection. */
struct redis_hooks {
	/* Connected and set up; what is sent here goes before all else. Also after each reconnect: subscriptions and
	 * tracking begin anew here. */
	void (*up)(void *context, uint64_t now_us);
	/* It was up and is lost, or could not be made. Its commands have ended before this. `why` says it for people.
	 */
	void (*down)(void *context, enum redis_trouble trouble, const char *why, bool was_up, uint64_t now_us);
	/* A reply of a subscription: an array ["message", channel, payload] or its like. */
	void (*message)(void *context, const redisReply *reply, uint64_t now_us);
	void *context;
};

/*
 * Nothing is connected before the first tick.
 *
 * client_name  for CLIENT SETNAME; without blanks. Borrowed, as settings are: both outlive the connection.
 * NULL when memory is out. Main thread, or the loop's.
 */
struct redis_connection *redis_connection_new(struct loop *loop, const struct redis_settings *settings,
					      const char *client_name, const struct redis_hooks *hooks) MUST_CHECK;
/* Commands under way end as LOST; no hook is called. NULL is allowed. */
void redis_connection_free(struct redis_connection *connection);

/* Commands are taken. */
bool redis_connection_is_up(const struct redis_connection *connection);

/*
 * Queue a command; it leaves at the next tick.
 *
 * argv    copied.
 * now_us  from when on its reply is waited for; earlier if it has waited elsewhere.
 * False when it is not up, or has max_commands (or 16 MiB of them) unanswered: nothing has happened.
 */
bool redis_connection_send(struct redis_connection *connection, struct redis_command *command, size_t argc,
			   const struct slice *argv, uint64_t now_us) MUST_CHECK;
/* Whether a command would be taken now. */
bool redis_connection_has_room(const struct redis_connection *connection);
/* Its owner does not want the reply any more; done is not called. Allowed if not under way. */
void redis_connection_cancel(struct redis_command *command);
/* SUBSCRIBE to a channel; from the `up` hook, or later. False: it is not up. */
bool redis_connection_subscribe(struct redis_connection *connection, const char *channel) MUST_CHECK;
/* Give the connection up and make it anew (a read-only replica where a master should be, say). From anywhere. */
void redis_connection_drop(struct redis_connection *connection, enum redis_trouble trouble, const char *why,
			   uint64_t now_us);

/* Once a turn, after all that queues: connect, end what is overdue, write. */
void redis_connection_tick(struct redis_connection *connection, uint64_t now_us);
/* When tick has something to do at the latest. */
uint64_t redis_connection_deadline(const struct redis_connection *connection);

/* What an error reply means. */
enum redis_trouble redis_trouble_of(const redisReply *reply);

#endif
