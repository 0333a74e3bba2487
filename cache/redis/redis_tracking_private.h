/* SPDX-License-Identifier: Apache-2.0 */
/* redis_tracking_private.h: what the session (redis_tracking.c) and the purges (redis_purges.c) share. */
#ifndef JITNEY_CACHE_REDIS_REDIS_TRACKING_PRIVATE_H
#define JITNEY_CACHE_REDIS_REDIS_TRACKING_PRIVATE_H

#include "cache/redis/redis_connection.h"
#include "cache/redis/redis_tracking.h"

enum { JOBS = 1024, SAID_MAX = 64, SENDER_BYTES = 32, NUMBER_BYTES = 24 };
#define HEARTBEAT_US (250 * CLOCK_US_PER_MS)
#define POLL_LEAST_US (100 * CLOCK_US_PER_MS)

/* What the publisher is asked to do. */
enum redis_job_kind {
	JOB_TRACK,
	JOB_READ,      /* the purges of scopes */
	JOB_READ_KEYS, /* those of keys */
	JOB_COUNT,     /* are they still there? */
	JOB_COUNT_KEYS,
	JOB_HEARTBEAT,
	JOB_VERIFY,
	JOB_PURGE,
	JOB_DELETE
};

struct redis_job {
	struct redis_command command;
	struct redis_tracking *tracking;
	enum redis_job_kind kind;
	struct entry *entry;         /* VERIFY: owned */
	struct purge_notice *notice; /* PURGE: its place in tracking->said */
	unsigned reading;            /* READ, READ_KEYS: which one; only the last one counts */
	struct redis_job *next;      /* free */
};

/* The list of purges, as far as this process knows it. */
enum knowledge {
	LIST_UNKNOWN,
	LIST_READING,
	LIST_READ /* all of it, up to the last time it was read, or heard */
};

struct redis_tracking {
	const struct redis_settings *settings;
	struct cache *cache;
	struct loop *loop;
	struct meter *meter;
	struct redis_connection *subscriber, *publisher; /* subscriber NULL: cache.redis.tracking is off */
	struct redis_command ask_id;                     /* the subscriber's only command */
	char sender[SENDER_BYTES];                       /* names this process in its messages */

	/* the list of purges: over the publisher, whether or not there is a session */
	enum knowledge list;
	unsigned reading;   /* the last reading that was begun */
	bool was_empty;     /* the list just read */
	uint64_t keys_read; /* purges of keys are read up to this number */
	uint64_t poll_us;   /* when it is read again while nothing is heard */
	uint64_t say_us;    /* when what could not be published is published again */
	bool plain;         /* Redis runs no scripts for us */
	struct purge_notice said[SAID_MAX], *said_spare[SAID_MAX];
	size_t said_spares;

	/* of the session under way */
	long long subscriber_id; /* 0: not known */
	unsigned channels;       /* the subscriber's subscriptions that Redis has confirmed */
	bool opened;             /* TRACKING and a first heartbeat are on their way */
	bool tracks, alive;      /* each of them has come back */
	bool synced;             /* both have, and the list is read: changes are heard of */
	uint64_t last_heartbeat_us, heartbeat_us, give_up_us;

	bool closing; /* both are being dropped */
	uint64_t hold_us, held_until_us;
	char logged[128]; /* the last reason logged */

	struct redis_job jobs[JOBS], *spare;
};

/* The cache's, which it tells of what it hears. */
static inline struct purges *purges_of(const struct redis_tracking *tracking)
{
	return &cache_rule(tracking->cache)->purges;
}

/* --- redis_tracking.c --- */

/* NULL: all are under way. */
struct redis_job *redis_job_take(struct redis_tracking *tracking, enum redis_job_kind kind) MUST_CHECK;
/* False: it has been given back. */
bool redis_job_launch(struct redis_job *job, size_t argc, const struct slice *argv, uint64_t now_us) MUST_CHECK;
/* Take and launch. */
bool redis_job_run(struct redis_tracking *tracking, enum redis_job_kind kind, size_t argc, const struct slice *argv,
		   uint64_t now_us);

/* --- redis_purges.c --- */

/* How often the list is read while nothing is heard. */
uint64_t redis_purges_poll_us(const struct redis_tracking *tracking);
/* Ask for the list. False: it could not be asked for. */
bool redis_purges_read(struct redis_tracking *tracking, uint64_t now_us);
/* Its two replies: scopes, then keys. */
void redis_purges_scopes_read(struct redis_tracking *tracking, enum command_end end, const redisReply *reply);
void redis_purges_keys_read(struct redis_tracking *tracking, enum command_end end, const redisReply *reply);
/* Tell those that wait, as far as that goes now. */
void redis_purges_send(struct redis_tracking *tracking, uint64_t now_us);
/* What became of one that was published. */
void redis_purges_published(struct redis_job *job, enum command_end end, const redisReply *reply);
/* Another gateway's, from the channel. */
void redis_purges_take(struct redis_tracking *tracking, struct slice message);

#endif
