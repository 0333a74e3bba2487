/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_connection_private.h: what redis_connection.c (commands, replies, deadlines, loss) and redis_connect.c (from
 * nothing to a connection that is set up) share. Nobody else includes it.
 */
#ifndef JITNEY_CACHE_REDIS_REDIS_CONNECTION_PRIVATE_H
#define JITNEY_CACHE_REDIS_REDIS_CONNECTION_PRIVATE_H

#include "base/buf.h"
#include "base/resolve.h"
#include "cache/redis/redis_connection.h"
#include "cache/redis/redis_slots.h"

enum { REDIS_WHY_BYTES = 256 };

enum redis_state { STATE_WAITING, STATE_RESOLVING, STATE_CONNECTING, STATE_SECURING, STATE_SETTING_UP, STATE_UP };

/* What a reply during set-up belongs to, in the order of sending. */
enum redis_step { STEP_AUTH, STEP_SELECT, STEP_SETNAME, STEP_ROLE, STEP_SENTINEL };

struct redis_connection {
	struct loop *loop;
	const struct redis_settings *settings;
	const char *client_name;
	struct redis_hooks hooks;

	enum redis_state state;
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
	struct resolved resolved; /* the target's addresses, of which the first `tried` have been */
	size_t tried;

	struct loop_watch watch;
	redisReader *reader;   /* NULL: no socket */
	struct redis_tls *tls; /* its own; NULL: in the clear */
	struct ssl_st *ssl;    /* likewise */
	char tls_why[160];     /* what TLS has failed of */
	struct buf out;
	size_t out_at;    /* bytes of out already written */
	bool out_blocked; /* the socket took no more: EPOLLOUT is awaited */
	bool subscribed;
	enum redis_step steps[4];
	size_t step_count, step_at;

	struct redis_slots slots;
	char logged[REDIS_WHY_BYTES]; /* the last failure in the log */
};

/* --- redis_connection.c --- */

/* The attempt, or the connection, has ended: close, end what is under way, tell, and wait to try again. */
void redis_lose(struct redis_connection *connection, enum redis_trouble trouble, const char *what, uint64_t now_us);
/* The same with the system's words. */
void redis_lose_by_errno(struct redis_connection *connection, enum redis_trouble trouble, int code, uint64_t now_us);
void redis_close_socket(struct redis_connection *connection);
/* What this attempt goes to, for people. */
void redis_name_target(const struct redis_connection *connection, char *text, size_t bytes);
/* All of a command or nothing of it. *bytes: how long it is. False: no memory, or too much waits already. */
bool redis_append(struct redis_connection *connection, size_t argc, const struct slice *argv, size_t *bytes) MUST_CHECK;
/* What the socket is watched for: replies, and whether it takes more. */
void redis_await(struct redis_connection *connection, bool writable);

/* --- redis_wire.c --- */

/* As recv and send; EPROTO: TLS has failed, which redis_lose_by_wire knows to tell. */
ssize_t redis_wire_read(struct redis_connection *connection, char *bytes, size_t len);
ssize_t redis_wire_write(struct redis_connection *connection, struct slice bytes);
/* Bytes have been received that the socket does not tell of any more. */
bool redis_wire_has_more(const struct redis_connection *connection);
void redis_lose_by_wire(struct redis_connection *connection, int code, uint64_t now_us);
/* TLS over the connected socket. False: out of memory. */
bool redis_secure_begin(struct redis_connection *connection) MUST_CHECK;
/* 1: it stands; 0: it waits for the socket; -1: it has failed, tls_why says of what. */
int redis_secure_step(struct redis_connection *connection);
/* Allowed without one. */
void redis_secure_end(struct redis_connection *connection);

/* --- redis_connect.c --- */

/* Begin an attempt. */
void redis_connect(struct redis_connection *connection, uint64_t now_us);
/* RESOLVING: is there an address? */
void redis_connect_resolved(struct redis_connection *connection, uint64_t now_us);
/* CONNECTING: this address did not work. On to the next one, or the attempt is lost. */
void redis_connect_failed(struct redis_connection *connection, const char *why, uint64_t now_us);
/* CONNECTING: the socket says that it has ended, well or not. */
void redis_connect_ended(struct redis_connection *connection, uint64_t now_us);
/* SECURING: the socket is ready. */
void redis_connect_secured(struct redis_connection *connection, uint64_t now_us);
/* SETTING_UP: the next reply. */
void redis_set_up_reply(struct redis_connection *connection, const redisReply *reply, uint64_t now_us);

#endif
