/* SPDX-License-Identifier: Apache-2.0 */
/* redis_purges.c: the purges of a fleet: published to Redis, read from its list, heard from its channel. */
#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "cache/redis/redis_keys.h"
#include "cache/redis/redis_tracking_private.h"

#define DAY_MS UINT64_C(86400000)

/*
 * KEYS: purges of scopes, of keys, and the value of a key's. ARGV: channel, sender, scope, the largest number known
 * there, and what sort of purge it is: '' is numbered here, a number is published once more under that one, 'create' is of
 * everything, and begins a list where there is none.
 *
 * A list that is not there has been lost (evicted, or all of Redis was): what it held nobody knows here, so it begins
 * with a purge of everything. Numbers far ahead of Redis' own clock are nobody's. The reply: its number, and the one that
 * the same had until then.
 */
static const char purge_script[] =
	"local time = redis.call('TIME')\n"
	"local now = time[1] * 1000 + math.floor(time[2] / 1000)\n"
	"local limit, newest = now + 86400000, 0\n"
	"for i = 1, 2 do\n"
	"  redis.call('ZREMRANGEBYSCORE', KEYS[i], string.format('(%.0f', limit), '+inf')\n"
	"  newest = math.max(newest, redis.call('ZREVRANGE', KEYS[i], 0, 0, 'WITHSCORES')[2] or 0)\n"
	"end\n"
	"local there = redis.call('EXISTS', KEYS[1]) == 1\n"
	"local number, scope = tonumber(ARGV[5]), ARGV[3]\n"
	"if ARGV[5] == 'create' and there then return string.format('%.0f', newest) end\n"
	"if not number then\n"
	"  number = math.max(now, newest + 1, math.min(tonumber(ARGV[4]), limit) + 1)\n"
	"  if not there then\n"
	"    redis.call('ZADD', KEYS[1], string.format('%.0f', number), '')\n"
	"    scope = ''\n"
	"  end\n"
	"end\n"
	"local list, text = KEYS[1], string.format('%.0f', number)\n"
	"if KEYS[3] then\n"
	"  list = KEYS[2]\n"
	"  redis.call('DEL', KEYS[3])\n"
	"elseif redis.call('ZCARD', list) >= 128 and not redis.call('ZSCORE', list, scope) then\n"
	"  redis.call('DEL', list)\n" /* too many to keep apart: from now on it is everything */
	"  number, scope = math.max(number, newest), ''\n"
	"  text = string.format('%.0f', number)\n"
	"end\n"
	"local member = KEYS[3] and ARGV[3] or scope\n"
	"local old = redis.call('ZSCORE', list, member)\n"
	"if not old or tonumber(old) < number then redis.call('ZADD', list, text, member) end\n"
	"if KEYS[3] then redis.call('ZREMRANGEBYRANK', list, 0, -4097) end\n"
	"redis.call('PUBLISH', ARGV[1], ARGV[2] .. ' ' .. text .. ' ' .. scope)\n"
	"return text .. ' ' .. (old or 0)\n";

/* --- the list of purges --- */

uint64_t redis_purges_poll_us(const struct redis_tracking *tracking)
{
	uint64_t half_us = tracking->settings->untracked_us / 2;
	return half_us > POLL_LEAST_US ? half_us : POLL_LEAST_US;
}

bool redis_purges_read(struct redis_tracking *tracking, uint64_t now_us)
{
	char purges[REDIS_KEY_BYTES], purged[REDIS_KEY_BYTES], from[NUMBER_BYTES];
	const char *prefix = tracking->settings->prefix;
	int len = snprintf(from, sizeof from, "(%" PRIu64, tracking->keys_read);
	const struct slice scopes[] = { SLICE("ZRANGE"), redis_name(prefix, "purges", purges), SLICE("0"), SLICE("-1"),
					SLICE("WITHSCORES") };
	const struct slice keys[] = { SLICE("ZRANGEBYSCORE"),
				      redis_name(prefix, "purged", purged),
				      { from, (size_t)len },
				      SLICE("+inf"),
				      SLICE("WITHSCORES") };
	tracking->poll_us = now_us + redis_purges_poll_us(tracking);
	tracking->reading++;
	if (!redis_job_run(tracking, JOB_READ, countof(scopes), scopes, now_us) ||
	    !redis_job_run(tracking, JOB_READ_KEYS, countof(keys), keys, now_us))
		return false;
	tracking->list = LIST_READING;
	return true;
}

/* A number that Redis can have given: its clock, with a day's grace. 0: it cannot. */
static uint64_t read_number(struct slice text)
{
	uint64_t number = 0, most = clock_wall_us() / CLOCK_US_PER_MS + DAY_MS;
	for (size_t i = 0; i < text.len; i++) {
		if (text.at[i] < '0' || text.at[i] > '9' || number > PURGE_NUMBER_MAX)
			return 0;
		number = number * 10 + (uint64_t)(text.at[i] - '0');
	}
	return number <= PURGE_NUMBER_MAX && number <= most ? number : 0;
}

static struct slice text_of(const redisReply *reply)
{
	return (struct slice){ reply->str ? reply->str : "", reply->str ? reply->len : 0 };
}

/* Returns the largest number in it. */
static uint64_t take_list(struct redis_tracking *tracking, const redisReply *reply)
{
	uint64_t largest = 0;
	for (size_t i = 0; i + 1 < reply->elements; i += 2) {
		uint64_t number = read_number(text_of(reply->element[i + 1]));
		if (number)
			cache_purge_received(tracking->cache, text_of(reply->element[i]), number);
		largest = number > largest ? number : largest;
	}
	return largest;
}

static bool is_list(enum command_end end, const redisReply *reply)
{
	return end == COMMAND_ANSWERED && reply->type == REDIS_REPLY_ARRAY;
}

void redis_purges_scopes_read(struct redis_tracking *tracking, enum command_end end, const redisReply *reply)
{
	if (!is_list(end, reply)) {
		tracking->list = LIST_UNKNOWN;
		return;
	}
	purges_read_begin(purges_of(tracking));
	tracking->was_empty = reply->elements == 0;
	take_list(tracking, reply);
}

/* One that has lost its list while nobody listened may have lost any purge: everything older is refused. While this
 * process listens its own list is whole, and is published again. */
void redis_purges_keys_read(struct redis_tracking *tracking, enum command_end end, const redisReply *reply)
{
	if (!is_list(end, reply) || tracking->list != LIST_READING) {
		tracking->list = LIST_UNKNOWN;
		return;
	}
	uint64_t largest = take_list(tracking, reply);
	bool from_start = tracking->keys_read == 0;
	tracking->keys_read = largest > tracking->keys_read ? largest : tracking->keys_read;
	purges_read_end(purges_of(tracking), from_start ? largest : PURGE_NUMBER_MAX);
	bool publish_all = !purges_is_published(purges_of(tracking), (struct slice){ "", 0 });
	if (tracking->was_empty && !tracking->synced && !publish_all)
		purges_begin(purges_of(tracking));
	tracking->list = LIST_READ;
	meter_set(tracking->meter, METRIC_ID_REDIS_PURGES_KNOWN, 0, 0, 1);
}

/* --- purges --- */

static void count_purge(struct redis_tracking *tracking, enum purge_way way)
{
	meter_add(tracking->meter, METRIC_ID_REDIS_PURGES, way, 0, 1);
}

static void delete_value(struct redis_tracking *tracking, const struct purge_scope *scope, uint64_t now_us)
{
	char key[REDIS_KEY_BYTES];
	uint8_t digest[KEY_DIGEST_BYTES];
	if (!purge_scope_is_key(scope, digest))
		return;
	const struct slice argv[] = { SLICE("DEL"), redis_key(tracking->settings->prefix, digest, key) };
	/* if not: it is refused here as long as the purge is remembered */
	(void)redis_job_run(tracking, JOB_DELETE, countof(argv), argv, now_us);
}

/* Its job, with which `news` comes back. */
static struct redis_job *take_purge_job(struct redis_tracking *tracking, struct purge_notice *notice)
{
	struct redis_job *job = redis_job_take(tracking, JOB_PURGE);
	if (job)
		job->notice = notice;
	else
		tracking->said_spare[tracking->said_spares++] = notice;
	return job;
}

/* What the script does, without it: the number is this gateway's, by its clock and by what it knows. */
static bool send_plain(struct redis_tracking *tracking, struct purge_notice *notice, uint64_t now_us)
{
	char list[REDIS_KEY_BYTES], channel[REDIS_KEY_BYTES],
		message[PURGE_TEXT_BYTES + SENDER_BYTES + NUMBER_BYTES + 2];
	const char *prefix = tracking->settings->prefix;
	const struct slice text = { notice->text, notice->len };
	const struct purge_scope scope = purge_scope_read(text);
	uint64_t next = purges_number(purges_of(tracking)) + 1, wall_ms = clock_wall_us() / CLOCK_US_PER_MS;
	uint8_t digest[KEY_DIGEST_BYTES];
	char number[NUMBER_BYTES];
	if (!notice->number)
		notice->number = next > wall_ms ? next : wall_ms;
	snprintf(number, sizeof number, "%" PRIu64, notice->number);
	int len = snprintf(message, sizeof message, "%s %s %.*s", tracking->sender, number, SLICE_ARG(text));
	bool one = purge_scope_is_key(&scope, digest);
	const struct slice add[] = { SLICE("ZADD"), redis_name(prefix, one ? "purged" : "purges", list),
				     slice_of(number), text };
	const struct slice publish[] = { SLICE("PUBLISH"),
					 redis_name(prefix, "purge", channel),
					 { message, (size_t)len } };
	struct redis_job *job = take_purge_job(tracking, notice);
	delete_value(tracking, &scope, now_us);
	return job && redis_job_launch(job, countof(add), add, now_us) &&
	       redis_job_run(tracking, JOB_HEARTBEAT, countof(publish), publish, now_us);
}

static bool send_purge(struct redis_tracking *tracking, struct purge_notice *notice, uint64_t now_us)
{
	char purges[REDIS_KEY_BYTES], purged[REDIS_KEY_BYTES], channel[REDIS_KEY_BYTES], key[REDIS_KEY_BYTES];
	char newest[NUMBER_BYTES], number[NUMBER_BYTES] = "";
	const char *prefix = tracking->settings->prefix;
	const struct slice text = { notice->text, notice->len };
	const struct purge_scope scope = purge_scope_read(text);
	uint8_t digest[KEY_DIGEST_BYTES];
	bool one = purge_scope_is_key(&scope, digest);
	snprintf(newest, sizeof newest, "%" PRIu64, purges_number(purges_of(tracking)));
	if (notice->number)
		snprintf(number, sizeof number, "%" PRIu64, notice->number);
	else if (notice->begins)
		snprintf(number, sizeof number, "create");
	struct slice argv[11] = { SLICE("EVAL"), slice_of(purge_script), one ? SLICE("3") : SLICE("2"),
				  redis_name(prefix, "purges", purges), redis_name(prefix, "purged", purged) };
	size_t argc = 5;
	if (one)
		argv[argc++] = redis_key(prefix, digest, key);
	argv[argc++] = redis_name(prefix, "purge", channel);
	argv[argc++] = slice_of(tracking->sender);
	argv[argc++] = text;
	argv[argc++] = slice_of(newest);
	argv[argc++] = slice_of(number);
	struct redis_job *job = take_purge_job(tracking, notice);
	return job && redis_job_launch(job, argc, argv, now_us);
}

void redis_purges_send(struct redis_tracking *tracking, uint64_t now_us)
{
	if (now_us < tracking->say_us || tracking->list == LIST_UNKNOWN || !redis_connection_is_up(tracking->publisher))
		return;
	while (tracking->said_spares) {
		struct purge_notice *notice = tracking->said_spare[tracking->said_spares - 1];
		if (!purges_take_waiting(purges_of(tracking), notice))
			return;
		tracking->said_spares--;
		if (tracking->plain ? !send_plain(tracking, notice, now_us)
				    : !send_purge(tracking, notice,
						  now_us)) { /* whoever could not launch it has given it back */
			purges_say_again(purges_of(tracking));
			tracking->say_us = now_us + HEARTBEAT_US;
			return;
		}
	}
}

static bool is_passing(enum redis_trouble trouble)
{
	return trouble != REDIS_TROUBLE_REFUSED && trouble != REDIS_TROUBLE_AUTH;
}

static void purge_refused(struct redis_tracking *tracking, const struct purge_notice *notice, const char *why)
{
	if (!tracking->plain) { /* its user may not, or a proxy does not know scripts */
		tracking->plain = true;
		purges_say_again(purges_of(tracking));
		log_message(&EVENT_REDIS_NO_SCRIPTS,
			    "Redis refused the script that tells the other gateways of a purge (%.100s): "
			    "purges are published without it, in the order of the gateways' clocks",
			    why ? why : "no text");
		return;
	}
	count_purge(tracking, PURGE_FAILED);
	purges_keep_here(purges_of(tracking), (struct slice){ notice->text, notice->len });
	log_message(&EVENT_PURGE_NOT_SHARED,
		    "Redis refused to tell the other gateways of a purge (%.100s); it holds on this gateway only, "
		    "which leaves alone what Redis has of it until it is restarted",
		    why ? why : "no text");
}

/* "NUMBER BEFORE", or one number: nothing was there. */
static uint64_t read_published(struct slice reply, uint64_t *before)
{
	const char *blank = memchr(reply.at, ' ', reply.len);
	size_t len = blank ? (size_t)(blank - reply.at) : reply.len;
	*before = blank ? read_number((struct slice){ blank + 1, reply.len - len - 1 }) : 0;
	return read_number((struct slice){ reply.at, len });
}

void redis_purges_published(struct redis_job *job, enum command_end end, const redisReply *reply)
{
	struct redis_tracking *tracking = job->tracking;
	const struct purge_notice *notice = job->notice;
	bool plain = end == COMMAND_ANSWERED && reply->type == REDIS_REPLY_INTEGER; /* ZADD's */
	/* ZADD says that the same was there, not since when */
	uint64_t before = plain && reply->integer == 0 ? PURGE_NUMBER_MAX : 0, number = plain ? notice->number : 0;
	if (end == COMMAND_ANSWERED && !plain)
		number = read_published(text_of(reply), &before);
	if (number) {
		bool news = purges_published(purges_of(tracking), (struct slice){ notice->text, notice->len },
					     notice->event, number, before);
		if (news && !notice->begins && (plain || !notice->number))
			count_purge(tracking, PURGE_SENT);
	} else if (end == COMMAND_REFUSED && !is_passing(redis_trouble_of(reply))) {
		purge_refused(tracking, notice, reply->str);
	} else { /* maybe it was published: twice does no harm */
		purges_say_again(purges_of(tracking));
		tracking->say_us = loop_now(tracking->loop) + HEARTBEAT_US;
	}
}

/* "SENDER NUMBER SCOPE" */
void redis_purges_take(struct redis_tracking *tracking, struct slice message)
{
	size_t sender_len = strlen(tracking->sender);
	const char *end = message.at + message.len, *blank = memchr(message.at, ' ', message.len);
	if (!blank || (message.len > sender_len && message.at[sender_len] == ' ' &&
		       memcmp(message.at, tracking->sender, sender_len) == 0))
		return; /* ours, which is known already */
	const char *second = memchr(blank + 1, ' ', (size_t)(end - blank - 1));
	struct slice text = { second ? second + 1 : end, second ? (size_t)(end - second - 1) : 0 };
	uint64_t number = read_number((struct slice){ blank + 1, (size_t)((second ? second : end) - blank - 1) });
	count_purge(tracking, PURGE_RECEIVED);
	if (number) {
		cache_purge_received(tracking->cache, text, number);
		return;
	}
	/* whose number cannot be Redis': what is here is looked up anew, and the list says what was purged */
	validity_forget(cache_rule(tracking->cache));
	tracking->poll_us = 0;
}
