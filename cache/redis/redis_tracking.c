/* SPDX-License-Identifier: Apache-2.0 */
/* redis_tracking.c: the subscriber, the publisher, and the session that the two make. */
#include "cache/redis/redis_tracking.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "cache/redis/redis_keys.h"
#include "cache/redis/redis_tracking_private.h"
#include "cache/stored_value.h"

enum { CHANNELS = 3 };
#define HEARTBEAT_TIMEOUT_US CLOCK_US_PER_S /* no heartbeat for so long: nothing is heard any more */
#define HOLD_FIRST_US (100 * CLOCK_US_PER_MS)
#define HOLD_LAST_US (60 * CLOCK_US_PER_S)

/* --- jobs --- */

static void end_job(struct redis_command *command, enum command_end end, const redisReply *reply, uint64_t took_us);

struct redis_job *redis_job_take(struct redis_tracking *tracking, enum redis_job_kind kind)
{
	struct redis_job *job = tracking->spare;
	if (!job)
		return NULL;
	tracking->spare = job->next;
	job->command = (struct redis_command){ .done = end_job, .patient = kind != JOB_VERIFY };
	job->kind = kind;
	job->entry = NULL;
	job->notice = NULL;
	job->reading = tracking->reading;
	return job;
}

static void give_back(struct redis_job *job)
{
	struct redis_tracking *tracking = job->tracking;
	entry_unref(job->entry);
	job->entry = NULL;
	if (job->notice)
		tracking->said_spare[tracking->said_spares++] = job->notice;
	job->notice = NULL;
	job->next = tracking->spare;
	tracking->spare = job;
}

bool redis_job_launch(struct redis_job *job, size_t argc, const struct slice *argv, uint64_t now_us)
{
	if (redis_connection_send(job->tracking->publisher, &job->command, argc, argv, now_us))
		return true;
	give_back(job);
	return false;
}

bool redis_job_run(struct redis_tracking *tracking, enum redis_job_kind kind, size_t argc, const struct slice *argv,
		   uint64_t now_us)
{
	struct redis_job *job = redis_job_take(tracking, kind);
	return job && redis_job_launch(job, argc, argv, now_us);
}

/* --- the session --- */

static void log_untracked(struct redis_tracking *tracking, const char *why)
{
	if (strcmp(tracking->logged, why) == 0)
		return;
	snprintf(tracking->logged, sizeof tracking->logged, "%s", why);
	log_message(
		&EVENT_REDIS_UNTRACKED,
		"%s; what other gateways replace is noticed after cache.redis.untracked_ttl until it is heard again",
		why);
}

/* Redis can be reached and still it does not work: not at once again. */
static void hold_session(struct redis_tracking *tracking, uint64_t now_us)
{
	tracking->held_until_us = now_us + tracking->hold_us;
	tracking->hold_us = tracking->hold_us * 2 < HOLD_LAST_US ? tracking->hold_us * 2 : HOLD_LAST_US;
}

/* Nothing is heard any more: the subscriber goes, and the publisher too, unless it can still ask what has been
 * purged. */
static void close_session(struct redis_tracking *tracking, const char *why, bool refused, uint64_t now_us)
{
	if (tracking->closing)
		return;
	if (tracking->synced) {
		validity_lost_sync(cache_rule(tracking->cache), now_us);
		meter_set(tracking->meter, METRIC_ID_REDIS_TRACKING, 0, 0, 0);
	} else if (refused || tracking->channels || tracking->opened) {
		hold_session(tracking, now_us);
	}
	if (tracking->synced || tracking->opened || refused)
		log_untracked(tracking, why);
	tracking->synced = tracking->opened = tracking->tracks = tracking->alive = false;
	tracking->subscriber_id = 0;
	tracking->channels = 0;
	tracking->give_up_us = CLOCK_NEVER;
	tracking->poll_us = 0;
	tracking->closing = true;
	redis_connection_drop(tracking->subscriber, REDIS_TROUBLE_LOST, why, now_us);
	if (!refused)
		redis_connection_drop(tracking->publisher, REDIS_TROUBLE_LOST, why, now_us);
	tracking->closing = false;
}

/* With the question whether the list of purges is there, which also keeps it from being evicted as the one that has not
 * been used for longest. */
static bool send_heartbeat(struct redis_tracking *tracking, uint64_t now_us)
{
	char word[48], channel[REDIS_KEY_BYTES];
	snprintf(word, sizeof word, "beat:%lld", tracking->subscriber_id);
	const struct slice argv[] = { SLICE("PUBLISH"), redis_name(tracking->settings->prefix, word, channel),
				      SLICE("1") };
	char purges[REDIS_KEY_BYTES];
	char purged[REDIS_KEY_BYTES];
	const struct slice count[] = { SLICE("ZCARD"), redis_name(tracking->settings->prefix, "purges", purges) };
	const struct slice count_keys[] = { SLICE("ZCARD"), redis_name(tracking->settings->prefix, "purged", purged) };
	tracking->heartbeat_us = now_us + HEARTBEAT_US;
	return redis_job_run(tracking, JOB_HEARTBEAT, countof(argv), argv, now_us) &&
	       redis_job_run(tracking, JOB_COUNT, countof(count), count, now_us) &&
	       redis_job_run(tracking, JOB_COUNT_KEYS, countof(count_keys), count_keys, now_us);
}

/* Both are up and the subscriber listens: from the reply to TRACKING on it hears of everything. What a list that is
 * read after that reply does not have is heard. */
static void open_session(struct redis_tracking *tracking, uint64_t now_us)
{
	char id[NUMBER_BYTES], prefix[REDIS_KEY_BYTES];
	if (tracking->opened || tracking->channels < CHANNELS || !redis_connection_is_up(tracking->publisher))
		return;
	int len = snprintf(id, sizeof id, "%lld", tracking->subscriber_id);
	const struct slice track[] = { SLICE("CLIENT"),     SLICE("TRACKING"),
				       SLICE("ON"),         SLICE("REDIRECT"),
				       { id, (size_t)len }, SLICE("BCAST"),
				       SLICE("PREFIX"),     redis_name(tracking->settings->prefix, "", prefix),
				       SLICE("NOLOOP") };
	tracking->opened = true;
	tracking->list = LIST_UNKNOWN;
	tracking->give_up_us = now_us + HEARTBEAT_TIMEOUT_US;
	if (!redis_job_run(tracking, JOB_TRACK, countof(track), track, now_us) ||
	    !redis_purges_read(tracking, now_us) || !send_heartbeat(tracking, now_us))
		close_session(tracking, "out of memory", false, now_us);
}

static void settle_session(struct redis_tracking *tracking)
{
	if (tracking->synced || !tracking->tracks || !tracking->alive || tracking->list != LIST_READ)
		return;
	tracking->synced = true;
	tracking->hold_us = HOLD_FIRST_US;
	tracking->give_up_us = CLOCK_NEVER;
	validity_synced(cache_rule(tracking->cache));
	meter_set(tracking->meter, METRIC_ID_REDIS_TRACKING, 0, 0, 1);
	log_message(&EVENT_REDIS_TRACKED, "what other gateways change is heard of");
	tracking->logged[0] = '\0';
}

/* --- what others change --- */

/* It was stored here a moment ago: is that what was told of? */
static void verify_entry(struct redis_tracking *tracking, struct entry *entry, uint64_t now_us)
{
	char key[REDIS_KEY_BYTES];
	_Static_assert(STORED_HEAD_BYTES == 128, "as GETRANGE asks for");
	const struct slice argv[] = { SLICE("GETRANGE"), redis_key(tracking->settings->prefix, entry->key->digest, key),
				      SLICE("0"), SLICE("127") };
	struct redis_job *job = redis_job_take(tracking, JOB_VERIFY);
	if (job) {
		job->entry = entry_ref(entry);
		if (redis_job_launch(job, countof(argv), argv, now_us))
			return;
	}
	cache_drop(tracking->cache, entry->key->digest);
}

static void take_verified(struct redis_job *job, enum command_end end, const redisReply *reply)
{
	const struct stored_clock clock = { clock_now_us(), clock_wall_us() };
	bool same = end == COMMAND_ANSWERED && reply->type == REDIS_REPLY_STRING &&
		    stored_value_is_of((struct slice){ reply->str, reply->len }, job->entry, &clock);
	if (!same)
		cache_drop(job->tracking->cache, job->entry->key->digest);
}

static void take_key(struct redis_tracking *tracking, struct slice key, uint64_t now_us)
{
	char text[REDIS_KEY_BYTES];
	struct slice prefix = redis_name(tracking->settings->prefix, "", text);
	uint8_t digest[KEY_DIGEST_BYTES];
	if (key.len <= prefix.len ||
	    !purge_read_digest((struct slice){ key.at + prefix.len, key.len - prefix.len }, digest))
		return; /* no value's: a lease's, or the list of purges */
	meter_add(tracking->meter, METRIC_ID_REDIS_INVALIDATIONS, 0, 0, 1);
	if (cache_takes_own_store(tracking->cache, digest, now_us)) {
		validity_replaced(cache_rule(tracking->cache), digest); /* who reads the old one just now */
		return;
	}
	struct entry *entry = cache_replaced(tracking->cache, digest, now_us);
	if (entry)
		verify_entry(tracking, entry, now_us);
	entry_unref(entry);
}

/* A list of keys; nil when the database was emptied. */
static void take_invalidation(struct redis_tracking *tracking, const redisReply *keys, uint64_t now_us)
{
	if (keys->type == REDIS_REPLY_NIL) {
		meter_add(tracking->meter, METRIC_ID_REDIS_INVALIDATIONS, 0, 0, 1);
		validity_forget(cache_rule(tracking->cache));
	}
	for (size_t i = 0; i < keys->elements; i++)
		if (keys->element[i]->str)
			take_key(tracking, (struct slice){ keys->element[i]->str, keys->element[i]->len }, now_us);
}

/* --- the publisher --- */

/* Standing, it finds a list gone: it reads all that is there, and tells what is not. */
static void list_counted(struct redis_tracking *tracking, bool expected, enum command_end end, const redisReply *reply)
{
	bool gone = end == COMMAND_ANSWERED && reply->type == REDIS_REPLY_INTEGER && reply->integer == 0;
	if (!gone || !expected || !tracking->synced)
		return;
	tracking->poll_us = 0;
	tracking->keys_read = 0;
}

static void take_result(struct redis_job *job, enum command_end end, const redisReply *reply)
{
	struct redis_tracking *tracking = job->tracking;
	switch (job->kind) {
	case JOB_TRACK:
		tracking->tracks = end == COMMAND_ANSWERED;
		break;
	case JOB_READ:
		if (job->reading == tracking->reading)
			redis_purges_scopes_read(tracking, end, reply);
		break;
	case JOB_READ_KEYS:
		if (job->reading == tracking->reading)
			redis_purges_keys_read(tracking, end, reply);
		break;
	case JOB_COUNT:
		list_counted(tracking, true, end, reply);
		break;
	case JOB_COUNT_KEYS:
		list_counted(tracking, purges_knows_keys(purges_of(tracking)), end, reply);
		break;
	case JOB_VERIFY:
		take_verified(job, end, reply);
		break;
	case JOB_PURGE:
		redis_purges_published(job, end, reply);
		break;
	case JOB_HEARTBEAT:
	case JOB_DELETE:
		break;
	}
}

static void end_job(struct redis_command *command, enum command_end end, const redisReply *reply, uint64_t took_us)
{
	struct redis_job *job = container_of(command, struct redis_job, command);
	struct redis_tracking *tracking = job->tracking;
	char why[96] = "";
	(void)took_us;
	take_result(job, end, reply);
	bool opens =
		job->kind == JOB_TRACK || job->kind == JOB_HEARTBEAT || (job->kind == JOB_READ && tracking->opened);
	if (opens && end == COMMAND_REFUSED)
		snprintf(why, sizeof why, "Redis refuses what tracking takes: %.60s", reply->str);
	give_back(job);
	if (why[0])
		close_session(tracking, why, true, loop_now(tracking->loop));
	else
		settle_session(tracking);
}

static void publisher_up(void *context, uint64_t now_us)
{
	struct redis_tracking *tracking = context;
	tracking->poll_us = tracking->say_us = 0;
	open_session(tracking, now_us);
}

static void publisher_down(void *context, enum redis_trouble trouble, const char *why, bool was_up, uint64_t now_us)
{
	struct redis_tracking *tracking = context;
	(void)trouble;
	tracking->list = LIST_UNKNOWN;
	tracking->keys_read = 0; /* it may be another Redis next time, and an older one */
	purges_say_again(purges_of(tracking));
	meter_set(tracking->meter, METRIC_ID_REDIS_PURGES_KNOWN, 0, 0, 0);
	if (was_up && tracking->subscriber)
		close_session(tracking, why, false, now_us);
}

static void subscriber_down(void *context, enum redis_trouble trouble, const char *why, bool was_up, uint64_t now_us)
{
	(void)trouble;
	if (was_up)
		close_session(context, why, false, now_us);
}

/* --- the subscriber --- */

static void take_client_id(struct redis_command *command, enum command_end end, const redisReply *reply,
			   uint64_t took_us)
{
	struct redis_tracking *tracking = container_of(command, struct redis_tracking, ask_id);
	const char *prefix = tracking->settings->prefix;
	char word[48], purge[REDIS_KEY_BYTES], heartbeat[REDIS_KEY_BYTES];
	(void)took_us;
	if (end == COMMAND_LOST) /* publisher_down or subscriber_down says so */
		return;
	if (end != COMMAND_ANSWERED || reply->type != REDIS_REPLY_INTEGER) {
		close_session(tracking, end == COMMAND_REFUSED ? reply->str : "Redis does not answer CLIENT ID", true,
			      loop_now(tracking->loop));
		return;
	}
	tracking->subscriber_id = reply->integer;
	tracking->give_up_us = loop_now(tracking->loop) + HEARTBEAT_TIMEOUT_US;
	snprintf(word, sizeof word, "beat:%lld", tracking->subscriber_id);
	redis_name(prefix, "purge", purge);
	redis_name(prefix, word, heartbeat);
	if (!redis_connection_subscribe(tracking->subscriber, "__redis__:invalidate") ||
	    !redis_connection_subscribe(tracking->subscriber, purge) ||
	    !redis_connection_subscribe(tracking->subscriber, heartbeat))
		close_session(tracking, "out of memory", false, loop_now(tracking->loop));
}

static void subscriber_up(void *context, uint64_t now_us)
{
	struct redis_tracking *tracking = context;
	const struct slice argv[] = { SLICE("CLIENT"), SLICE("ID") };
	tracking->ask_id = (struct redis_command){ .done = take_client_id };
	if (!redis_connection_send(tracking->subscriber, &tracking->ask_id, countof(argv), argv, now_us))
		close_session(tracking, "out of memory", false, now_us);
}

static void take_message(struct redis_tracking *tracking, struct slice channel, const redisReply *payload,
			 uint64_t now_us)
{
	char purge[REDIS_KEY_BYTES];
	if (slice_equal(channel, SLICE("__redis__:invalidate"))) {
		take_invalidation(tracking, payload, now_us);
	} else if (slice_equal(channel, redis_name(tracking->settings->prefix, "purge", purge))) {
		if (payload->str)
			redis_purges_take(tracking, (struct slice){ payload->str, payload->len });
	} else {
		tracking->alive = true;
		tracking->last_heartbeat_us = now_us;
		settle_session(tracking);
	}
}

static void subscriber_heard(void *context, const redisReply *reply, uint64_t now_us)
{
	struct redis_tracking *tracking = context;
	if (reply->elements < 3 || !reply->element[0]->str || !reply->element[1]->str)
		return;
	const redisReply *kind = reply->element[0], *channel = reply->element[1];
	if (slice_equal((struct slice){ kind->str, kind->len }, SLICE("message"))) {
		take_message(tracking, (struct slice){ channel->str, channel->len }, reply->element[2], now_us);
	} else if (slice_equal((struct slice){ kind->str, kind->len }, SLICE("subscribe"))) {
		tracking->channels++;
		open_session(tracking, now_us);
	}
}

/* --- the turn --- */

/* There is no session for now: Redis will not have one. The publisher goes on alone. */
static bool is_held(const struct redis_tracking *tracking, uint64_t now_us)
{
	return !tracking->subscriber || now_us < tracking->held_until_us;
}

/* Whether the list is to be read: nothing is heard, or Redis has lost it, or an answer came that knows more. */
static bool wants_list(const struct redis_tracking *tracking, uint64_t now_us)
{
	const struct purges *purges = purges_of(tracking);
	bool ahead = atomic_load_explicit(&purges->ahead, memory_order_relaxed) > purges_number(purges);
	if (!redis_connection_is_up(tracking->publisher) || tracking->list == LIST_READING)
		return false;
	if (ahead && now_us + redis_purges_poll_us(tracking) >= tracking->poll_us + POLL_LEAST_US / 2)
		return true;
	return tracking->poll_us <= now_us && (!tracking->synced || tracking->poll_us == 0);
}

static void mind_session(struct redis_tracking *tracking, uint64_t now_us)
{
	if (tracking->synced && now_us >= tracking->last_heartbeat_us + HEARTBEAT_TIMEOUT_US)
		close_session(tracking, "Redis was silent for a second", false, now_us);
	else if (now_us >= tracking->give_up_us)
		close_session(tracking, "Redis does not tell what is published there", true, now_us);
	if (tracking->synced && now_us >= tracking->heartbeat_us && !send_heartbeat(tracking, now_us))
		tracking->heartbeat_us = now_us + HEARTBEAT_US;
}

void redis_tracking_tick(struct redis_tracking *tracking, uint64_t now_us)
{
	assert_owner(loop_owner(tracking->loop));
	if (tracking->subscriber && tracking->held_until_us && now_us >= tracking->held_until_us) {
		tracking->held_until_us = 0; /* once more, from the beginning */
		redis_connection_drop(tracking->publisher, REDIS_TROUBLE_LOST, "tracking is tried again", now_us);
	}
	if (!is_held(tracking, now_us))
		mind_session(tracking, now_us);
	if (wants_list(tracking, now_us))
		(void)redis_purges_read(tracking, now_us); /* if not: at the next poll */
	redis_purges_send(tracking, now_us);
	if (!is_held(tracking, now_us))
		redis_connection_tick(tracking->subscriber, now_us);
	redis_connection_tick(tracking->publisher, now_us);
}

static uint64_t least_of(const uint64_t *dues, size_t count)
{
	uint64_t deadline = CLOCK_NEVER;
	for (size_t i = 0; i < count; i++)
		deadline = dues[i] < deadline ? dues[i] : deadline;
	return deadline;
}

uint64_t redis_tracking_deadline(const struct redis_tracking *tracking)
{
	uint64_t now_us = loop_now(tracking->loop);
	bool held = is_held(tracking, now_us), up = redis_connection_is_up(tracking->publisher);
	bool polls = up && !tracking->synced && tracking->list != LIST_READING;
	bool says = up && tracking->list != LIST_UNKNOWN && tracking->said_spares &&
		    atomic_load_explicit(&purges_of(tracking)->waiting, memory_order_relaxed);
	const uint64_t dues[] = {
		redis_connection_deadline(tracking->publisher),
		polls ? tracking->poll_us : CLOCK_NEVER,
		says ? tracking->say_us : CLOCK_NEVER,
		held ? CLOCK_NEVER : redis_connection_deadline(tracking->subscriber),
		held ? CLOCK_NEVER : tracking->give_up_us,
		held && tracking->subscriber ? tracking->held_until_us : CLOCK_NEVER,
		tracking->synced ? tracking->heartbeat_us : CLOCK_NEVER,
		tracking->synced ? tracking->last_heartbeat_us + HEARTBEAT_TIMEOUT_US : CLOCK_NEVER,
	};
	return least_of(dues, countof(dues));
}

/* --- life --- */

struct redis_tracking *redis_tracking_new(const struct redis_settings *settings, struct cache *cache, struct loop *loop,
					  struct meter *meter)
{
	assert(cache_publishes_purges(cache) && (!settings->tracking || validity_is_shared(cache_rule(cache))));
	struct redis_tracking *tracking = calloc(1, sizeof *tracking);
	if (!tracking)
		return NULL;
	const struct redis_hooks subscriber = { subscriber_up, subscriber_down, subscriber_heard, tracking };
	const struct redis_hooks publisher = { publisher_up, publisher_down, NULL, tracking };
	tracking->settings = settings;
	tracking->cache = cache;
	tracking->loop = loop;
	tracking->meter = meter;
	tracking->hold_us = HOLD_FIRST_US;
	tracking->give_up_us = CLOCK_NEVER;
	snprintf(tracking->sender, sizeof tracking->sender, "%" PRIx64 "-%" PRIx64, clock_wall_us(),
		 (uint64_t)(uintptr_t)tracking ^ (clock_now_us() << 20));
	for (size_t i = 0; i < JOBS; i++) {
		tracking->jobs[i].tracking = tracking;
		tracking->jobs[i].next = tracking->spare;
		tracking->spare = &tracking->jobs[i];
	}
	for (size_t i = 0; i < SAID_MAX; i++)
		tracking->said_spare[tracking->said_spares++] = &tracking->said[i];
	if (settings->tracking)
		tracking->subscriber = redis_connection_new(loop, settings, "jitney-subscriber", &subscriber);
	tracking->publisher = redis_connection_new(loop, settings, "jitney-publisher", &publisher);
	if (tracking->publisher && (tracking->subscriber || !settings->tracking))
		return tracking;
	redis_tracking_free(tracking);
	return NULL;
}

void redis_tracking_free(struct redis_tracking *tracking)
{
	if (!tracking)
		return;
	tracking->closing = true;
	redis_connection_free(tracking->subscriber);
	redis_connection_free(tracking->publisher);
	free(tracking);
}
