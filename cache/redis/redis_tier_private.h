/* SPDX-License-Identifier: Apache-2.0 */
/* redis_tier_private.h: the tier and its operations, for redis_tier.c and redis_commands.c. */
#ifndef JITNEY_CACHE_REDIS_REDIS_TIER_PRIVATE_H
#define JITNEY_CACHE_REDIS_REDIS_TIER_PRIVATE_H

#include <stdio.h>
#include <sys/queue.h>

#include "base/breaker.h"
#include "base/buf.h"
#include "cache/redis/redis_connection.h"
#include "cache/redis/redis_script.h"
#include "cache/redis/redis_tier.h"

enum { NAME_BYTES = 64, TOKEN_BYTES = 48 };

/* A command, under way or waiting for room, with what it is for. */
struct operation {
	struct redis_command command;
	struct redis_tier *tier;
	enum redis_command_kind kind;
	struct tier_lookup *lookup;       /* GET, LEASE: NULL once cancelled */
	struct key *key;                  /* GET, LEASE: owned */
	struct entry *entry;              /* SET: owned */
	bool releases;                    /* SET: the lease of its fetch, too */
	bool encoded;                     /* SET: its value is in tier->scratch, for now */
	uint8_t digest[KEY_DIGEST_BYTES]; /* SET, DEL, RELEASE */
	uint64_t asked_us;
	bool waits;                  /* in one of the tier's queues */
	bool again;                  /* its script was unknown, and is sent whole */
	TAILQ_ENTRY(operation) next; /* while it waits */
	struct operation *next_spare;
};
TAILQ_HEAD(operations, operation);

struct redis_tier {
	struct tier base;
	const struct redis_settings *settings;
	struct cache *cache;
	struct loop *loop;
	struct meter *meter;
	struct redis_connection *connection;
	struct breaker breaker;
	struct operation *operations, *spare;
	struct operations looks, writes; /* that wait: look-ups go first, somebody waits for them */
	size_t look_count, write_count;
	size_t used;        /* operations that have ever been taken: memory is touched as it is needed */
	struct buf scratch; /* a value being encoded */
	char name[NAME_BYTES];
	struct redis_script claim, release, store;
	char token[TOKEN_BYTES]; /* in this worker's leases; one will do, since a worker fetches a key once at a time */
	uint64_t leases_from_us; /* Redis has refused a lease: none before then */
};

/* The scripts that Redis runs for the tier, ready to be asked for. */
void redis_tier_scripts_init(struct redis_tier *tier);
/* An entry's bytes as Redis gets them, in tier->scratch. False: too long, or no memory. */
bool redis_tier_encode(struct redis_tier *tier, const struct entry *entry) MUST_CHECK;
/* Its command, now. False: it could not be sent. */
bool redis_operation_send(struct operation *operation) MUST_CHECK;

#endif
