/* SPDX-License-Identifier: Apache-2.0 */
/* redis_tier.c: look-ups and stores over one connection, behind a breaker: what waits, and what becomes of replies. */
#include "cache/redis/redis_tier.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "cache/redis/redis_tier_private.h"
#include "cache/redis/redis_seal.h"
#include "cache/stored_value.h"

enum {
	CHECKSUM_AT = 8,    /* in a value: what tells two of them apart (stored_value.c) */
	WAITING_MAX = 8192, /* look-ups that wait for room, and writes, each: a batch, or several */
};
#define LEASES_AGAIN_US (60 * CLOCK_US_PER_S)

static struct redis_tier *tier_of(struct tier *base)
{
	return container_of(base, struct redis_tier, base);
}

/* --- counting --- */

static void count_trouble(struct redis_tier *tier, enum redis_trouble trouble)
{
	meter_add(tier->meter, METRIC_ID_REDIS_ERRORS, trouble, 0, 1);
}

static void count_skip(struct redis_tier *tier, enum redis_skip skip)
{
	meter_add(tier->meter, METRIC_ID_REDIS_SKIPPED, skip, 0, 1);
}

static void count_result(struct redis_tier *tier, enum cache_result result)
{
	meter_add(tier->meter, METRIC_ID_CACHE_REQUESTS, TIER_REDIS, result, 1);
}

/* After every change of the breaker. */
static void show_breaker(struct redis_tier *tier, bool was_open, const char *why)
{
	bool open = tier->breaker.open;
	if (open == was_open)
		return;
	meter_set(tier->meter, METRIC_ID_REDIS_BREAKER, 0, 0, open);
	if (open)
		log_message(&EVENT_REDIS_BREAKER_OPEN, "%s; calls go on without Redis until it answers", why);
	else
		log_message(&EVENT_REDIS_BREAKER_CLOSED, "Redis answers in time again");
}

/* --- operations --- */

static void take_reply(struct redis_command *command, enum command_end end, const redisReply *reply, uint64_t took_us);

static struct operation *take_operation(struct redis_tier *tier, enum redis_command_kind kind, uint64_t now_us)
{
	struct operation *operation = tier->spare;
	if (operation)
		tier->spare = operation->next_spare;
	else if (tier->used < tier->settings->max_commands + 2 * WAITING_MAX)
		operation = &tier->operations[tier->used++];
	else
		return NULL;
	*operation = (struct operation){ .command.done = take_reply, .tier = tier, .kind = kind, .asked_us = now_us };
	return operation;
}

static void give_back(struct operation *operation)
{
	struct redis_tier *tier = operation->tier;
	key_unref(operation->key);
	entry_unref(operation->entry);
	operation->key = NULL;
	operation->entry = NULL;
	operation->next_spare = tier->spare;
	tier->spare = operation;
}

/* Whether callers may use it now; if not, counted. */
static bool is_usable(struct redis_tier *tier)
{
	if (!redis_connection_is_up(tier->connection))
		count_skip(tier, REDIS_SKIP_DOWN);
	else if (tier->breaker.open)
		count_skip(tier, REDIS_SKIP_BREAKER);
	else
		return true;
	return false;
}

/* --- waiting for room --- */

static bool is_look(const struct operation *operation)
{
	return operation->kind == REDIS_COMMAND_GET || operation->kind == REDIS_COMMAND_LEASE;
}

static void leave_queue(struct operation *operation)
{
	struct redis_tier *tier = operation->tier;
	bool look = is_look(operation);
	TAILQ_REMOVE(look ? &tier->looks : &tier->writes, operation, next);
	*(look ? &tier->look_count : &tier->write_count) -= 1;
	operation->waits = false;
}

/* False: as many wait as may. */
static bool join_queue(struct operation *operation)
{
	struct redis_tier *tier = operation->tier;
	size_t *count = is_look(operation) ? &tier->look_count : &tier->write_count;
	if (*count >= WAITING_MAX)
		return false;
	++*count;
	operation->encoded = false;
	operation->waits = true;
	TAILQ_INSERT_TAIL(is_look(operation) ? &tier->looks : &tier->writes, operation, next);
	return true;
}

/* Send it, or have it wait its turn; else it is given back. */
static bool launch_operation(struct operation *operation)
{
	struct redis_tier *tier = operation->tier;
	bool first = TAILQ_EMPTY(is_look(operation) ? &tier->looks : &tier->writes);
	bool now = first && redis_connection_has_room(tier->connection);
	if (now ? redis_operation_send(operation) : join_queue(operation))
		return true;
	give_back(operation);
	return false;
}

static bool send_remove(struct redis_tier *tier, const uint8_t *digest, uint64_t now_us)
{
	struct operation *operation = take_operation(tier, REDIS_COMMAND_DEL, now_us);
	if (operation) {
		memcpy(operation->digest, digest, sizeof operation->digest);
		if (launch_operation(operation))
			return true;
	}
	count_skip(tier, REDIS_SKIP_BUSY);
	return false;
}

/* What callers do, for a key that is nobody's: a PING is answered by a cluster's node and by one without the right
 * to read as well. */
static void send_probe(struct redis_tier *tier, uint64_t now_us)
{
	struct operation *operation = take_operation(tier, REDIS_COMMAND_PROBE, now_us);
	if (operation && redis_operation_send(operation))
		return;
	if (operation)
		give_back(operation);
	breaker_probed(&tier->breaker, false, now_us);
}

/* --- replies --- */

/* What a value was worth. NULL: a miss. */
static struct entry *read_value(struct redis_tier *tier, struct key *key, const redisReply *reply, uint64_t now_us)
{
	const struct stored_clock clock = { now_us, clock_wall_us() };
	struct entry *entry = NULL;
	struct slice value = { reply->str, reply->len };
	if (!value.len)
		return NULL;
	if (value.len > tier->settings->max_value_bytes) {
		count_skip(tier, REDIS_SKIP_TOO_LARGE);
		send_remove(tier, key->digest, now_us);
		return NULL;
	}
	enum stored_fault fault =
		seal_take(tier->settings, &value) ? stored_value_decode(value, key, &clock, &entry) : STORED_FOREIGN;
	switch (fault) {
	case STORED_OK:
		return entry;
	case STORED_FOREIGN:
	case STORED_DAMAGED:
		count_trouble(tier, fault == STORED_FOREIGN ? REDIS_TROUBLE_FOREIGN : REDIS_TROUBLE_DAMAGED);
		send_remove(tier, key->digest, now_us);
		break;
	case STORED_CLOCK:
		count_trouble(tier, REDIS_TROUBLE_CLOCK);
		break;
	case STORED_NO_MEMORY:
		count_skip(tier, REDIS_SKIP_NO_MEMORY);
		break;
	case STORED_GONE:
		break;
	}
	return NULL;
}

static enum cache_result result_of(const struct entry *entry, enum redis_trouble trouble, uint64_t now_us)
{
	if (!entry)
		return trouble == REDIS_TROUBLE_COUNT ? CACHE_MISS : CACHE_ERROR;
	return now_us < entry->fresh_until_us ? CACHE_HIT : CACHE_STALE;
}

/* A look-up has ended; `trouble` is REDIS_TROUBLE_COUNT if there was none. */
static void end_get(struct operation *operation, const redisReply *reply, enum redis_trouble trouble)
{
	struct redis_tier *tier = operation->tier;
	struct tier_lookup *lookup = operation->lookup;
	uint64_t now_us = loop_now(tier->loop);
	struct entry *entry = NULL;
	if (operation->kind == REDIS_COMMAND_GET) /* a claim that finds nothing else has seen what it had seen before */
		memset(lookup->seen, 0, sizeof lookup->seen);
	if (trouble == REDIS_TROUBLE_COUNT && reply->type == REDIS_REPLY_STRING)
		entry = read_value(tier, operation->key, reply, now_us);
	if (entry)
		memcpy(lookup->seen, reply->str + CHECKSUM_AT, sizeof lookup->seen);
	if (operation->kind == REDIS_COMMAND_GET || entry) /* a claim's miss has been counted */
		count_result(tier, result_of(entry, trouble, now_us));
	lookup->failed = trouble != REDIS_TROUBLE_COUNT;
	lookup->claim = CLAIM_NONE;
	if (trouble == REDIS_TROUBLE_COUNT && operation->kind == REDIS_COMMAND_LEASE &&
	    reply->type == REDIS_REPLY_INTEGER)
		lookup->claim = reply->integer == 1 ? CLAIM_OURS : CLAIM_HELD;
	lookup->operation = NULL;
	give_back(operation);
	lookup->done(lookup, entry);
}

static enum redis_trouble trouble_of(const struct operation *operation, enum command_end end, const redisReply *reply)
{
	if (end == COMMAND_OVERDUE)
		return REDIS_TROUBLE_TIMEOUT;
	if (end == COMMAND_LOST)
		return REDIS_TROUBLE_LOST;
	if (end == COMMAND_REFUSED)
		return redis_trouble_of(reply);
	static const int types[REDIS_COMMAND_COUNT] = {
		[REDIS_COMMAND_GET] = REDIS_REPLY_STRING,    [REDIS_COMMAND_SET] = REDIS_REPLY_STATUS,
		[REDIS_COMMAND_DEL] = REDIS_REPLY_INTEGER,   [REDIS_COMMAND_PROBE] = REDIS_REPLY_STRING,
		[REDIS_COMMAND_LEASE] = REDIS_REPLY_INTEGER, [REDIS_COMMAND_RELEASE] = REDIS_REPLY_INTEGER,
	};
	if (operation->kind == REDIS_COMMAND_SET && operation->releases)
		return reply->type == REDIS_REPLY_INTEGER ? REDIS_TROUBLE_COUNT : REDIS_TROUBLE_PROTOCOL;
	if (operation->kind == REDIS_COMMAND_LEASE && reply->type == REDIS_REPLY_STRING)
		return REDIS_TROUBLE_COUNT;
	bool asks = operation->kind == REDIS_COMMAND_GET || operation->kind == REDIS_COMMAND_PROBE;
	bool fits = reply->type == types[operation->kind] || (asks && reply->type == REDIS_REPLY_NIL);
	return fits ? REDIS_TROUBLE_COUNT : REDIS_TROUBLE_PROTOCOL;
}

/* A Redis that cannot store may still be read: that is no reason to leave it alone. */
static bool hinders_reading(enum redis_trouble trouble)
{
	return trouble != REDIS_TROUBLE_READONLY && trouble != REDIS_TROUBLE_FULL && trouble != REDIS_TROUBLE_MISCONF;
}

static void report_breaker(struct redis_tier *tier, enum redis_trouble trouble, const char *text, uint64_t now_us)
{
	bool was_open = tier->breaker.open;
	if (trouble == REDIS_TROUBLE_TIMEOUT)
		breaker_timed_out(&tier->breaker, now_us);
	else if (trouble == REDIS_TROUBLE_COUNT)
		breaker_succeeded(&tier->breaker);
	else if (hinders_reading(trouble) && trouble != REDIS_TROUBLE_LOST)
		breaker_failed(&tier->breaker, now_us);
	if (trouble == REDIS_TROUBLE_TIMEOUT)
		text = "no reply within cache.redis.timeout";
	else if (trouble == REDIS_TROUBLE_CLUSTER)
		text = "this is a node of a Redis Cluster (MOVED or ASK); put a proxy that speaks to the cluster "
		       "before it, "
		       "and name that in cache.redis.url";
	show_breaker(tier, was_open, text);
}

/* NULL: it is none. */
static struct redis_script *script_of(struct redis_tier *tier, const struct operation *operation)
{
	if (operation->kind == REDIS_COMMAND_LEASE)
		return &tier->claim;
	if (operation->kind == REDIS_COMMAND_RELEASE)
		return &tier->release;
	return operation->kind == REDIS_COMMAND_SET && operation->releases ? &tier->store : NULL;
}

/* A Redis that runs no scripts (its user may not, a proxy cannot) is as good as ever without leases. */
static void script_answered(struct redis_tier *tier, const struct operation *operation, enum command_end end,
			    const redisReply *reply, uint64_t now_us)
{
	struct redis_script *script = script_of(tier, operation);
	if (end != COMMAND_ANSWERED && end != COMMAND_REFUSED)
		return;
	bool refused = end == COMMAND_REFUSED;
	if (redis_script_answered(script, refused ? reply->str : NULL) || !refused)
		return;
	if (!tier->leases_from_us)
		log_message(&EVENT_REDIS_NO_LEASES,
			    "Redis refused the script of cache.redis.lease (%.100s): every gateway fetches for itself",
			    reply->str);
	tier->leases_from_us = now_us + LEASES_AGAIN_US;
}

static void end_probe(struct redis_tier *tier, enum redis_trouble trouble, uint64_t now_us)
{
	bool was_open = tier->breaker.open;
	breaker_probed(&tier->breaker, trouble == REDIS_TROUBLE_COUNT, now_us);
	show_breaker(tier, was_open, "");
}

/* A reply that came, or did not. */
static void take_reply(struct redis_command *command, enum command_end end, const redisReply *reply, uint64_t took_us)
{
	struct operation *operation = container_of(command, struct operation, command);
	struct redis_tier *tier = operation->tier;
	uint64_t now_us = loop_now(tier->loop);
	enum redis_trouble trouble = trouble_of(operation, end, reply);
	meter_observe(tier->meter, METRIC_ID_REDIS_DURATION, operation->kind, took_us);
	bool script = script_of(tier, operation) != NULL;
	if (script)
		script_answered(tier, operation, end, reply, now_us);
	bool unknown = script && end == COMMAND_REFUSED && strncmp(reply->str, "NOSCRIPT", 8) == 0;
	if (unknown && !operation->again && (operation->lookup || !is_look(operation))) {
		operation->again = true;
		operation->encoded = false;
		if (redis_operation_send(operation)) /* whole, this time */
			return;
	}
	if (unknown)
		end = COMMAND_LOST, trouble = REDIS_TROUBLE_LOST;
	else if (trouble != REDIS_TROUBLE_COUNT)
		count_trouble(tier, trouble);
	if (operation->kind == REDIS_COMMAND_PROBE)
		end_probe(tier, trouble, now_us);
	else if (!script || end != COMMAND_REFUSED)
		report_breaker(tier, trouble, end == COMMAND_REFUSED ? reply->str : "replies make no sense", now_us);
	bool wrong_server = trouble == REDIS_TROUBLE_READONLY && tier->settings->sentinel_name;
	if (operation->lookup)
		end_get(operation, reply, trouble);
	else
		give_back(operation);
	if (wrong_server)
		redis_connection_drop(tier->connection, REDIS_TROUBLE_READONLY,
				      "it is a replica now; Sentinel will be asked for the master", now_us);
}

/* --- what the cache asks of it --- */

static bool look_up(struct redis_tier *tier, enum redis_command_kind kind, struct tier_lookup *lookup, struct key *key,
		    uint64_t now_us)
{
	struct operation *operation = take_operation(tier, kind, now_us);
	assert(!lookup->operation);
	if (operation) {
		operation->lookup = lookup;
		operation->key = key_ref(key);
		if (launch_operation(operation)) {
			lookup->operation = operation;
			return true;
		}
	}
	count_skip(tier, REDIS_SKIP_BUSY);
	return false;
}

static bool redis_get(struct tier *base, struct tier_lookup *lookup, struct key *key, uint64_t now_us)
{
	return is_usable(tier_of(base)) && look_up(tier_of(base), REDIS_COMMAND_GET, lookup, key, now_us);
}

static void redis_cancel(struct tier *base, struct tier_lookup *lookup)
{
	struct operation *operation = lookup->operation;
	(void)base;
	lookup->operation = NULL;
	if (operation->waits)
		leave_queue(operation);
	redis_connection_cancel(&operation->command);
	give_back(operation);
}

static bool redis_put(struct tier *base, struct entry *entry, unsigned how, uint64_t now_us)
{
	struct redis_tier *tier = tier_of(base);
	bool anyway = how & TIER_REPLACES && redis_connection_is_up(tier->connection);
	if (entry_gone_us(entry) < now_us + CLOCK_US_PER_MS || !(anyway || is_usable(tier)))
		return false;
	if (!redis_tier_encode(tier, entry)) {
		/* what is there is outdated all the same */
		count_skip(tier, REDIS_SKIP_TOO_LARGE);
		send_remove(tier, entry->key->digest, now_us);
		return false;
	}
	struct operation *operation = take_operation(tier, REDIS_COMMAND_SET, now_us);
	if (operation) {
		operation->entry = entry_ref(entry);
		operation->releases = how & TIER_RELEASES;
		operation->encoded = true;
		memcpy(operation->digest, entry->key->digest, sizeof operation->digest);
		if (launch_operation(operation))
			return true;
	}
	count_skip(tier, REDIS_SKIP_BUSY);
	return false;
}

static bool remove_key(struct tier *base, const uint8_t *digest, uint64_t now_us)
{
	struct redis_tier *tier = tier_of(base);
	return is_usable(tier) && send_remove(tier, digest, now_us);
}

static bool redis_claim(struct tier *base, struct tier_lookup *lookup, struct key *key, uint64_t now_us)
{
	struct redis_tier *tier = tier_of(base);
	if (tier->settings->lease_us < CLOCK_US_PER_MS || now_us < tier->leases_from_us || !is_usable(tier))
		return false;
	return look_up(tier, REDIS_COMMAND_LEASE, lookup, key, now_us);
}

static void redis_release(struct tier *base, const uint8_t *digest, uint64_t now_us)
{
	struct redis_tier *tier = tier_of(base);
	if (!is_usable(tier))
		return;
	struct operation *operation = take_operation(tier, REDIS_COMMAND_RELEASE, now_us);
	if (operation)
		memcpy(operation->digest, digest, sizeof operation->digest);
	if (!operation || !launch_operation(operation))
		count_skip(tier, REDIS_SKIP_BUSY);
}

/* It has waited for as long as Redis may hold up a call, or for nothing. */
static void end_waiting(struct operation *operation)
{
	struct redis_tier *tier = operation->tier;
	struct tier_lookup *lookup = operation->lookup;
	bool counts = operation->kind == REDIS_COMMAND_GET;
	count_skip(tier, REDIS_SKIP_BUSY);
	leave_queue(operation);
	give_back(operation);
	if (!lookup)
		return;
	if (counts)
		count_result(tier, CACHE_ERROR);
	lookup->failed = true;
	lookup->claim = CLAIM_NONE;
	lookup->operation = NULL;
	lookup->done(lookup, NULL);
}

static void send_waiting(struct redis_tier *tier, struct operations *queue)
{
	struct operation *operation;
	while ((operation = TAILQ_FIRST(queue)) && redis_connection_has_room(tier->connection)) {
		if (!redis_operation_send(operation))
			end_waiting(operation);
		else
			leave_queue(operation);
	}
}

/* Those that wait, as far as there is room; look-ups no longer than their callers do. */
static void move_waiting(struct redis_tier *tier, uint64_t now_us)
{
	struct operation *operation;
	bool up = redis_connection_is_up(tier->connection);
	send_waiting(tier, &tier->looks);
	while ((operation = TAILQ_FIRST(&tier->looks)) &&
	       (!up || now_us >= clock_add(operation->asked_us, tier->settings->timeout_us)))
		end_waiting(operation);
	send_waiting(tier, &tier->writes);
	while (!up && (operation = TAILQ_FIRST(&tier->writes)))
		end_waiting(operation);
}

static void redis_tick(struct tier *base, uint64_t now_us)
{
	struct redis_tier *tier = tier_of(base);
	if (redis_connection_is_up(tier->connection) && breaker_wants_probe(&tier->breaker, now_us))
		send_probe(tier, now_us);
	move_waiting(tier, now_us);
	redis_connection_tick(tier->connection, now_us);
}

static uint64_t redis_deadline(const struct tier *base)
{
	const struct redis_tier *tier = container_of(base, const struct redis_tier, base);
	uint64_t due = redis_connection_deadline(tier->connection);
	const struct operation *first = TAILQ_FIRST(&tier->looks);
	uint64_t waited = first ? clock_add(first->asked_us, tier->settings->timeout_us) : CLOCK_NEVER;
	if ((first || !TAILQ_EMPTY(&tier->writes)) && redis_connection_has_room(tier->connection))
		return 0;
	due = waited < due ? waited : due;
	uint64_t probe = redis_connection_is_up(tier->connection) ? breaker_deadline(&tier->breaker) : CLOCK_NEVER;
	return probe < due ? probe : due;
}

/* --- life --- */

static void came_up(void *context, uint64_t now_us)
{
	struct redis_tier *tier = context;
	bool was_open = tier->breaker.open;
	(void)now_us;
	meter_add(tier->meter, METRIC_ID_REDIS_CONNECTS, 0, 0, 1);
	meter_set(tier->meter, METRIC_ID_REDIS_CONNECTED, 0, 0, 1);
	/* it has just answered what sets a connection up: as good as a probe */
	breaker_probed(&tier->breaker, true, now_us);
	show_breaker(tier, was_open, "");
}

static void went_down(void *context, enum redis_trouble trouble, const char *why, bool was_up, uint64_t now_us)
{
	struct redis_tier *tier = context;
	(void)why;
	(void)was_up;
	(void)now_us;
	count_trouble(tier, trouble);
	meter_set(tier->meter, METRIC_ID_REDIS_CONNECTED, 0, 0, 0);
}

static void free_tier(struct tier *base)
{
	struct redis_tier *tier = tier_of(base);
	struct operation *operation;
	redis_connection_free(tier->connection);
	assert(TAILQ_EMPTY(&tier->looks));
	while ((operation = TAILQ_FIRST(&tier->writes))) {
		leave_queue(operation);
		give_back(operation);
	}
	buf_fini(&tier->scratch);
	free(tier->operations);
	free(tier);
}

static const struct tier_kind redis_kind = {
	.label = TIER_REDIS,
	.get = redis_get,
	.cancel = redis_cancel,
	.put = redis_put,
	.remove = remove_key,
	.claim = redis_claim,
	.release = redis_release,
	.tick = redis_tick,
	.deadline = redis_deadline,
	.free = free_tier,
};

struct tier *redis_tier_new(const struct redis_settings *settings, struct cache *cache, struct loop *loop,
			    struct meter *meter, const char *name)
{
	struct redis_tier *tier = calloc(1, sizeof *tier);
	if (!tier)
		return NULL;
	const struct redis_hooks hooks = { came_up, went_down, NULL, tier };
	tier->base.kind = &redis_kind;
	tier->base.owner = loop_owner(loop);
	tier->base.claim_us = settings->lease_us;
	tier->settings = settings;
	tier->cache = cache;
	tier->loop = loop;
	tier->meter = meter;
	breaker_init(&tier->breaker);
	buf_init(&tier->scratch, settings->max_value_bytes);
	snprintf(tier->name, sizeof tier->name, "%s", name);
	snprintf(tier->token, sizeof tier->token, "%llx-%llx", (unsigned long long)clock_wall_us(),
		 (unsigned long long)((uintptr_t)tier ^ clock_now_us() << 20));
	redis_tier_scripts_init(tier);
	TAILQ_INIT(&tier->looks);
	TAILQ_INIT(&tier->writes);
	tier->operations = calloc(settings->max_commands + 2 * WAITING_MAX, sizeof *tier->operations);
	tier->connection = redis_connection_new(loop, settings, tier->name, &hooks);
	if (!tier->operations || !tier->connection) {
		free_tier(&tier->base);
		return NULL;
	}
	return &tier->base;
}
