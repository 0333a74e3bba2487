/* SPDX-License-Identifier: Apache-2.0 */
/* redis_tracking.c: the ear, the mouth, and the session that the two make. */
#include "cache/redis/redis_tracking.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "cache/redis/redis_connection.h"
#include "cache/redis/redis_keys.h"
#include "cache/stored_value.h"

enum { ERRANDS = 1024, SAID_MAX = 64, CHANNELS = 3, SENDER_BYTES = 32, NUMBER_BYTES = 24 };
#define BEAT_US (250 * CLOCK_US_PER_MS)
#define SILENCE_US CLOCK_US_PER_S /* no beat for so long: nothing is heard any more */
#define POLL_LEAST_US (100 * CLOCK_US_PER_MS)
#define HOLD_FIRST_US (100 * CLOCK_US_PER_MS)
#define HOLD_LAST_US (60 * CLOCK_US_PER_S)
#define DAY_MS UINT64_C(86400000)

/* What the mouth is asked to do. */
enum errand_kind {
	ERRAND_TRACK,
	ERRAND_READ,      /* the purges of scopes */
	ERRAND_READ_KEYS, /* those of keys */
	ERRAND_COUNT,     /* are they still there? */
	ERRAND_COUNT_KEYS,
	ERRAND_BEAT,
	ERRAND_VERIFY,
	ERRAND_PURGE,
	ERRAND_DELETE
};

struct errand {
	struct redis_command command;
	struct redis_tracking *tracking;
	enum errand_kind kind;
	struct entry *entry;     /* VERIFY: owned */
	struct purge_news *news; /* PURGE: its place in tracking->said */
	unsigned reading;        /* READ, READ_KEYS: which one; only the last one counts */
	struct errand *next;     /* free */
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
	struct redis_connection *ear, *mouth; /* ear NULL: cache.redis.tracking is off */
	struct redis_command ask_id;          /* the ear's only command */
	char sender[SENDER_BYTES];            /* names this process in its messages */

	/* the list of purges: over the mouth, whether or not there is a session */
	enum knowledge list;
	unsigned reading;   /* the last reading that was begun */
	bool was_empty;     /* the list just read */
	uint64_t keys_read; /* purges of keys are read up to this number */
	uint64_t poll_us;   /* when it is read again while nothing is heard */
	uint64_t say_us;    /* when what could not be told is told again */
	bool plain;         /* Redis runs no scripts for us */
	uint64_t created;   /* the event of our purge of everything that begins a list; 0: none */
	struct purge_news said[SAID_MAX], *said_spare[SAID_MAX];
	size_t said_spares;

	/* of the session under way */
	long long ear_id;   /* 0: not known */
	unsigned channels;  /* the ear's subscriptions that Redis has confirmed */
	bool opened;        /* TRACKING and a first beat are on their way */
	bool tracks, heard; /* each of them has come back */
	bool stands;        /* both have, and the list is read: changes are heard of */
	uint64_t heard_us, beat_us, give_up_us;

	bool closing; /* both are being dropped */
	uint64_t hold_us, held_until_us;
	char told[128]; /* the last reason logged */

	struct errand errands[ERRANDS], *spare;
};

/*
 * KEYS: purges of scopes, of keys, and the value of a key's. ARGV: channel, sender, scope, the largest number known
 * there, and what sort of purge it is: '' is numbered here, a number is told once more under that one, 'create' is of
 * everything, and begins a list where there is none.
 *
 * A list that is not there has been lost (evicted, or all of Redis was): what it held nobody knows here, so it begins
 * with a purge of everything. Numbers far ahead of Redis' own clock are nobody's.
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
	"return text\n";

/* --- errands --- */

static void errand_done(struct redis_command *command, enum command_end end, const redisReply *reply, uint64_t took_us);

static struct errand *take_errand(struct redis_tracking *tracking, enum errand_kind kind)
{
	struct errand *errand = tracking->spare;
	if (!errand)
		return NULL;
	tracking->spare = errand->next;
	errand->command = (struct redis_command){ .done = errand_done };
	errand->kind = kind;
	errand->entry = NULL;
	errand->news = NULL;
	errand->reading = tracking->reading;
	return errand;
}

static void give_back(struct errand *errand)
{
	struct redis_tracking *tracking = errand->tracking;
	entry_unref(errand->entry);
	errand->entry = NULL;
	if (errand->news)
		tracking->said_spare[tracking->said_spares++] = errand->news;
	errand->news = NULL;
	errand->next = tracking->spare;
	tracking->spare = errand;
}

/* False: it has been given back. */
static bool launch(struct errand *errand, size_t argc, const struct slice *argv, uint64_t now_us)
{
	if (redis_connection_send(errand->tracking->mouth, &errand->command, argc, argv, now_us))
		return true;
	give_back(errand);
	return false;
}

static bool run_errand(struct redis_tracking *tracking, enum errand_kind kind, size_t argc, const struct slice *argv,
		       uint64_t now_us)
{
	struct errand *errand = take_errand(tracking, kind);
	return errand && launch(errand, argc, argv, now_us);
}

/* --- the session --- */

static void tell(struct redis_tracking *tracking, const char *why)
{
	if (strcmp(tracking->told, why) == 0)
		return;
	snprintf(tracking->told, sizeof tracking->told, "%s", why);
	log_message(
		&EVENT_REDIS_UNTRACKED,
		"%s; what other gateways replace is noticed after cache.redis.untracked_ttl until it is heard again",
		why);
}

/* Redis can be reached and still it does not work: not at once again. */
static void hold(struct redis_tracking *tracking, uint64_t now_us)
{
	tracking->held_until_us = now_us + tracking->hold_us;
	tracking->hold_us = tracking->hold_us * 2 < HOLD_LAST_US ? tracking->hold_us * 2 : HOLD_LAST_US;
}

static struct purges *purges_of(const struct redis_tracking *tracking)
{
	return &cache_rule(tracking->cache)->purges;
}

/* Nothing is heard any more: the ear goes, and the mouth too, unless it can still ask what has been purged. */
static void close_session(struct redis_tracking *tracking, const char *why, bool refused, uint64_t now_us)
{
	if (tracking->closing)
		return;
	if (tracking->stands) {
		validity_unheard(cache_rule(tracking->cache), now_us);
		meter_set(tracking->meter, METRIC_ID_REDIS_TRACKING, 0, 0, 0);
	} else if (refused || tracking->channels || tracking->opened) {
		hold(tracking, now_us);
	}
	if (tracking->stands || tracking->opened || refused)
		tell(tracking, why);
	tracking->stands = tracking->opened = tracking->tracks = tracking->heard = false;
	tracking->ear_id = 0;
	tracking->channels = 0;
	tracking->give_up_us = CLOCK_NEVER;
	tracking->poll_us = 0;
	tracking->closing = true;
	redis_connection_drop(tracking->ear, REDIS_TROUBLE_LOST, why, now_us);
	if (!refused)
		redis_connection_drop(tracking->mouth, REDIS_TROUBLE_LOST, why, now_us);
	tracking->closing = false;
}

static bool read_list(struct redis_tracking *tracking, uint64_t now_us);

/* With the question whether the list of purges is there, which also keeps it from being evicted as the one that has not
 * been used for longest. */
static bool send_beat(struct redis_tracking *tracking, uint64_t now_us)
{
	char word[48], channel[REDIS_KEY_BYTES];
	snprintf(word, sizeof word, "beat:%lld", tracking->ear_id);
	const struct slice argv[] = { SLICE("PUBLISH"), redis_name(tracking->settings->prefix, word, channel),
				      SLICE("1") };
	char purges[REDIS_KEY_BYTES];
	char purged[REDIS_KEY_BYTES];
	const struct slice count[] = { SLICE("ZCARD"), redis_name(tracking->settings->prefix, "purges", purges) };
	const struct slice count_keys[] = { SLICE("ZCARD"), redis_name(tracking->settings->prefix, "purged", purged) };
	tracking->beat_us = now_us + BEAT_US;
	return run_errand(tracking, ERRAND_BEAT, countof(argv), argv, now_us) &&
	       run_errand(tracking, ERRAND_COUNT, countof(count), count, now_us) &&
	       run_errand(tracking, ERRAND_COUNT_KEYS, countof(count_keys), count_keys, now_us);
}

/* Both are up and the ear listens: from the reply to TRACKING on it hears of everything. What a list that is read after
 * that reply does not have is heard. */
static void open_session(struct redis_tracking *tracking, uint64_t now_us)
{
	char id[NUMBER_BYTES], prefix[REDIS_KEY_BYTES];
	if (tracking->opened || tracking->channels < CHANNELS || !redis_connection_is_up(tracking->mouth))
		return;
	int len = snprintf(id, sizeof id, "%lld", tracking->ear_id);
	const struct slice track[] = { SLICE("CLIENT"),     SLICE("TRACKING"),
				       SLICE("ON"),         SLICE("REDIRECT"),
				       { id, (size_t)len }, SLICE("BCAST"),
				       SLICE("PREFIX"),     redis_name(tracking->settings->prefix, "", prefix),
				       SLICE("NOLOOP") };
	tracking->opened = true;
	tracking->list = LIST_UNKNOWN;
	tracking->give_up_us = now_us + SILENCE_US;
	if (!run_errand(tracking, ERRAND_TRACK, countof(track), track, now_us) || !read_list(tracking, now_us) ||
	    !send_beat(tracking, now_us))
		close_session(tracking, "out of memory", false, now_us);
}

static void settle(struct redis_tracking *tracking)
{
	if (tracking->stands || !tracking->tracks || !tracking->heard || tracking->list != LIST_READ)
		return;
	tracking->stands = true;
	tracking->hold_us = HOLD_FIRST_US;
	tracking->give_up_us = CLOCK_NEVER;
	validity_heard(cache_rule(tracking->cache));
	meter_set(tracking->meter, METRIC_ID_REDIS_TRACKING, 0, 0, 1);
	log_message(&EVENT_REDIS_TRACKED, "what other gateways change is heard of");
	tracking->told[0] = '\0';
}

/* --- the list of purges --- */

static uint64_t poll_interval_us(const struct redis_tracking *tracking)
{
	uint64_t half_us = tracking->settings->untracked_us / 2;
	return half_us > POLL_LEAST_US ? half_us : POLL_LEAST_US;
}

/* Scopes, then keys; the second reply ends it. */
static bool read_list(struct redis_tracking *tracking, uint64_t now_us)
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
	tracking->poll_us = now_us + poll_interval_us(tracking);
	tracking->reading++;
	if (!run_errand(tracking, ERRAND_READ, countof(scopes), scopes, now_us) ||
	    !run_errand(tracking, ERRAND_READ_KEYS, countof(keys), keys, now_us))
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
			cache_purge_heard(tracking->cache, text_of(reply->element[i]), number);
		largest = number > largest ? number : largest;
	}
	return largest;
}

static bool is_list(enum command_end end, const redisReply *reply)
{
	return end == COMMAND_ANSWERED && reply->type == REDIS_REPLY_ARRAY;
}

static void scopes_read(struct redis_tracking *tracking, enum command_end end, const redisReply *reply)
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
 * process listens its own list is whole, and is told again. */
static void keys_read(struct redis_tracking *tracking, enum command_end end, const redisReply *reply)
{
	static const struct purge_scope everything;
	if (!is_list(end, reply) || tracking->list != LIST_READING) {
		tracking->list = LIST_UNKNOWN;
		return;
	}
	uint64_t largest = take_list(tracking, reply);
	bool from_start = tracking->keys_read == 0;
	tracking->keys_read = largest > tracking->keys_read ? largest : tracking->keys_read;
	purges_read_end(purges_of(tracking), from_start ? largest : PURGE_NUMBER_MAX);
	bool tells_all = !purges_is_told(purges_of(tracking), (struct slice){ "", 0 });
	if (tracking->was_empty && !tracking->stands && !tells_all)
		tracking->created = cache_purge(tracking->cache, &everything);
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
	(void)run_errand(tracking, ERRAND_DELETE, countof(argv), argv, now_us);
}

/* Its errand, with which `news` comes back. */
static struct errand *take_purge_errand(struct redis_tracking *tracking, struct purge_news *news)
{
	struct errand *errand = take_errand(tracking, ERRAND_PURGE);
	if (errand)
		errand->news = news;
	else
		tracking->said_spare[tracking->said_spares++] = news;
	return errand;
}

/* What the script does, without it: the number is this gateway's, by its clock and by what it knows. */
static bool send_plain(struct redis_tracking *tracking, struct purge_news *news, uint64_t now_us)
{
	char list[REDIS_KEY_BYTES], channel[REDIS_KEY_BYTES],
		message[PURGE_TEXT_BYTES + SENDER_BYTES + NUMBER_BYTES + 2];
	const char *prefix = tracking->settings->prefix;
	const struct slice text = { news->text, news->len };
	const struct purge_scope scope = purge_scope_read(text);
	uint64_t next = purges_number(purges_of(tracking)) + 1, wall_ms = clock_wall_us() / CLOCK_US_PER_MS;
	uint8_t digest[KEY_DIGEST_BYTES];
	char number[NUMBER_BYTES];
	if (!news->number)
		news->number = next > wall_ms ? next : wall_ms;
	snprintf(number, sizeof number, "%" PRIu64, news->number);
	int len = snprintf(message, sizeof message, "%s %s %.*s", tracking->sender, number, SLICE_ARG(text));
	bool one = purge_scope_is_key(&scope, digest);
	const struct slice add[] = { SLICE("ZADD"), redis_name(prefix, one ? "purged" : "purges", list),
				     slice_of(number), text };
	const struct slice publish[] = { SLICE("PUBLISH"),
					 redis_name(prefix, "purge", channel),
					 { message, (size_t)len } };
	struct errand *errand = take_purge_errand(tracking, news);
	delete_value(tracking, &scope, now_us);
	return errand && launch(errand, countof(add), add, now_us) &&
	       run_errand(tracking, ERRAND_BEAT, countof(publish), publish, now_us);
}

static bool send_purge(struct redis_tracking *tracking, struct purge_news *news, uint64_t now_us)
{
	char purges[REDIS_KEY_BYTES], purged[REDIS_KEY_BYTES], channel[REDIS_KEY_BYTES], key[REDIS_KEY_BYTES];
	char newest[NUMBER_BYTES], number[NUMBER_BYTES] = "";
	const char *prefix = tracking->settings->prefix;
	const struct slice text = { news->text, news->len };
	const struct purge_scope scope = purge_scope_read(text);
	uint8_t digest[KEY_DIGEST_BYTES];
	bool one = purge_scope_is_key(&scope, digest);
	snprintf(newest, sizeof newest, "%" PRIu64, purges_number(purges_of(tracking)));
	if (news->number)
		snprintf(number, sizeof number, "%" PRIu64, news->number);
	else if (news->event == tracking->created)
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
	struct errand *errand = take_purge_errand(tracking, news);
	return errand && launch(errand, argc, argv, now_us);
}

/* Those that wait. What cannot be sent now waits on. */
static void send_purges(struct redis_tracking *tracking, uint64_t now_us)
{
	if (now_us < tracking->say_us || tracking->list == LIST_UNKNOWN || !redis_connection_is_up(tracking->mouth))
		return;
	while (tracking->said_spares) {
		struct purge_news *news = tracking->said_spare[tracking->said_spares - 1];
		if (!purges_take_waiting(purges_of(tracking), news))
			return;
		tracking->said_spares--;
		if (tracking->plain
			    ? !send_plain(tracking, news, now_us)
			    : !send_purge(tracking, news, now_us)) { /* whoever could not launch it has given it back */
			purges_say_again(purges_of(tracking));
			tracking->say_us = now_us + BEAT_US;
			return;
		}
	}
}

static bool is_passing(enum redis_trouble trouble)
{
	return trouble != REDIS_TROUBLE_REFUSED && trouble != REDIS_TROUBLE_AUTH;
}

static void purge_refused(struct redis_tracking *tracking, const struct purge_news *news, const char *why)
{
	if (!tracking->plain) { /* its user may not, or a proxy does not know scripts */
		tracking->plain = true;
		purges_say_again(purges_of(tracking));
		log_message(&EVENT_REDIS_NO_SCRIPTS,
			    "Redis refused the script that tells the other gateways of a purge (%.100s): "
			    "purges are told without it, in the order of the gateways' clocks",
			    why ? why : "no text");
		return;
	}
	count_purge(tracking, PURGE_FAILED);
	purges_keep_here(purges_of(tracking), (struct slice){ news->text, news->len });
	log_message(&EVENT_PURGE_NOT_SHARED,
		    "Redis refused to tell the other gateways of a purge (%.100s); it holds on this gateway only, "
		    "which leaves alone what Redis has of it until it is restarted",
		    why ? why : "no text");
}

static void purge_told(struct errand *errand, enum command_end end, const redisReply *reply)
{
	struct redis_tracking *tracking = errand->tracking;
	const struct purge_news *news = errand->news;
	bool plain = end == COMMAND_ANSWERED && reply->type == REDIS_REPLY_INTEGER; /* ZADD's */
	uint64_t number = plain ? news->number : end == COMMAND_ANSWERED ? read_number(text_of(reply)) : 0;
	if (number) {
		if (news->event != tracking->created && (plain || !news->number))
			count_purge(tracking, PURGE_SENT);
		purges_told(purges_of(tracking), (struct slice){ news->text, news->len }, news->event, number);
	} else if (end == COMMAND_REFUSED && !is_passing(redis_trouble_of(reply))) {
		purge_refused(tracking, news, reply->str);
	} else { /* maybe it was told: twice does no harm */
		purges_say_again(purges_of(tracking));
		tracking->say_us = loop_now(tracking->loop) + BEAT_US;
	}
}

/* "SENDER NUMBER SCOPE" */
static void take_purge(struct redis_tracking *tracking, struct slice message)
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
		cache_purge_heard(tracking->cache, text, number);
		return;
	}
	/* whose number cannot be Redis': what is here is looked up anew, and the list says what was purged */
	validity_forget(cache_rule(tracking->cache));
	tracking->poll_us = 0;
}

/* --- what others change --- */

/* It was stored here a moment ago: is that what was told of? */
static void verify(struct redis_tracking *tracking, struct entry *entry, uint64_t now_us)
{
	char key[REDIS_KEY_BYTES];
	_Static_assert(STORED_HEAD_BYTES == 120, "as GETRANGE asks for");
	const struct slice argv[] = { SLICE("GETRANGE"), redis_key(tracking->settings->prefix, entry->key->digest, key),
				      SLICE("0"), SLICE("119") };
	struct errand *errand = take_errand(tracking, ERRAND_VERIFY);
	if (errand) {
		errand->entry = entry_ref(entry);
		if (launch(errand, countof(argv), argv, now_us))
			return;
	}
	cache_drop(tracking->cache, entry->key->digest);
}

static void verified(struct errand *errand, enum command_end end, const redisReply *reply)
{
	const struct stored_clock clock = { clock_now_us(), clock_wall_us() };
	bool same = end == COMMAND_ANSWERED && reply->type == REDIS_REPLY_STRING &&
		    stored_value_is_of((struct slice){ reply->str, reply->len }, errand->entry, &clock);
	if (!same)
		cache_drop(errand->tracking->cache, errand->entry->key->digest);
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
		verify(tracking, entry, now_us);
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

/* --- the mouth --- */

/* Standing, it finds a list gone: it reads all that is there, and tells what is not. */
static void list_counted(struct redis_tracking *tracking, bool expected, enum command_end end, const redisReply *reply)
{
	bool gone = end == COMMAND_ANSWERED && reply->type == REDIS_REPLY_INTEGER && reply->integer == 0;
	if (!gone || !expected || !tracking->stands)
		return;
	tracking->poll_us = 0;
	tracking->keys_read = 0;
}

static void take_result(struct errand *errand, enum command_end end, const redisReply *reply)
{
	struct redis_tracking *tracking = errand->tracking;
	switch (errand->kind) {
	case ERRAND_TRACK:
		tracking->tracks = end == COMMAND_ANSWERED;
		break;
	case ERRAND_READ:
		if (errand->reading == tracking->reading)
			scopes_read(tracking, end, reply);
		break;
	case ERRAND_READ_KEYS:
		if (errand->reading == tracking->reading)
			keys_read(tracking, end, reply);
		break;
	case ERRAND_COUNT:
		list_counted(tracking, true, end, reply);
		break;
	case ERRAND_COUNT_KEYS:
		list_counted(tracking, purges_knows_keys(purges_of(tracking)), end, reply);
		break;
	case ERRAND_VERIFY:
		verified(errand, end, reply);
		break;
	case ERRAND_PURGE:
		purge_told(errand, end, reply);
		break;
	case ERRAND_BEAT:
	case ERRAND_DELETE:
		break;
	}
}

static void errand_done(struct redis_command *command, enum command_end end, const redisReply *reply, uint64_t took_us)
{
	struct errand *errand = container_of(command, struct errand, command);
	struct redis_tracking *tracking = errand->tracking;
	char why[96] = "";
	(void)took_us;
	take_result(errand, end, reply);
	bool opens = errand->kind == ERRAND_TRACK || errand->kind == ERRAND_BEAT ||
		     (errand->kind == ERRAND_READ && tracking->opened);
	if (opens && end == COMMAND_REFUSED)
		snprintf(why, sizeof why, "Redis refuses what tracking takes: %.60s", reply->str);
	give_back(errand);
	if (why[0])
		close_session(tracking, why, true, loop_now(tracking->loop));
	else
		settle(tracking);
}

static void mouth_up(void *context, uint64_t now_us)
{
	struct redis_tracking *tracking = context;
	tracking->poll_us = tracking->say_us = 0;
	open_session(tracking, now_us);
}

static void mouth_down(void *context, enum redis_trouble trouble, const char *why, bool was_up, uint64_t now_us)
{
	struct redis_tracking *tracking = context;
	(void)trouble;
	tracking->list = LIST_UNKNOWN;
	tracking->keys_read = 0; /* it may be another Redis next time, and an older one */
	purges_say_again(purges_of(tracking));
	meter_set(tracking->meter, METRIC_ID_REDIS_PURGES_KNOWN, 0, 0, 0);
	if (was_up && tracking->ear)
		close_session(tracking, why, false, now_us);
}

static void ear_down(void *context, enum redis_trouble trouble, const char *why, bool was_up, uint64_t now_us)
{
	(void)trouble;
	if (was_up)
		close_session(context, why, false, now_us);
}

/* --- the ear --- */

static void id_told(struct redis_command *command, enum command_end end, const redisReply *reply, uint64_t took_us)
{
	struct redis_tracking *tracking = container_of(command, struct redis_tracking, ask_id);
	const char *prefix = tracking->settings->prefix;
	char word[48], purge[REDIS_KEY_BYTES], beat[REDIS_KEY_BYTES];
	(void)took_us;
	if (end == COMMAND_LOST) /* either_down says so */
		return;
	if (end != COMMAND_ANSWERED || reply->type != REDIS_REPLY_INTEGER) {
		close_session(tracking, end == COMMAND_REFUSED ? reply->str : "Redis does not answer CLIENT ID", true,
			      loop_now(tracking->loop));
		return;
	}
	tracking->ear_id = reply->integer;
	tracking->give_up_us = loop_now(tracking->loop) + SILENCE_US;
	snprintf(word, sizeof word, "beat:%lld", tracking->ear_id);
	redis_name(prefix, "purge", purge);
	redis_name(prefix, word, beat);
	if (!redis_connection_subscribe(tracking->ear, "__redis__:invalidate") ||
	    !redis_connection_subscribe(tracking->ear, purge) || !redis_connection_subscribe(tracking->ear, beat))
		close_session(tracking, "out of memory", false, loop_now(tracking->loop));
}

static void ear_up(void *context, uint64_t now_us)
{
	struct redis_tracking *tracking = context;
	const struct slice argv[] = { SLICE("CLIENT"), SLICE("ID") };
	tracking->ask_id = (struct redis_command){ .done = id_told };
	if (!redis_connection_send(tracking->ear, &tracking->ask_id, countof(argv), argv, now_us))
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
			take_purge(tracking, (struct slice){ payload->str, payload->len });
	} else {
		tracking->heard = true;
		tracking->heard_us = now_us;
		settle(tracking);
	}
}

static void ear_heard(void *context, const redisReply *reply, uint64_t now_us)
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

/* There is no session for now: Redis will not have one. The mouth goes on alone. */
static bool is_held(const struct redis_tracking *tracking, uint64_t now_us)
{
	return !tracking->ear || now_us < tracking->held_until_us;
}

/* Whether the list is to be read: nothing is heard, or Redis has lost it, or an answer came that knows more. */
static bool wants_list(const struct redis_tracking *tracking, uint64_t now_us)
{
	const struct purges *purges = purges_of(tracking);
	bool ahead = atomic_load_explicit(&purges->ahead, memory_order_relaxed) > purges_number(purges);
	if (!redis_connection_is_up(tracking->mouth) || tracking->list == LIST_READING)
		return false;
	if (ahead && now_us + poll_interval_us(tracking) >= tracking->poll_us + POLL_LEAST_US / 2)
		return true;
	return tracking->poll_us <= now_us && (!tracking->stands || tracking->poll_us == 0);
}

static void mind_session(struct redis_tracking *tracking, uint64_t now_us)
{
	if (tracking->stands && now_us >= tracking->heard_us + SILENCE_US)
		close_session(tracking, "Redis was silent for a second", false, now_us);
	else if (now_us >= tracking->give_up_us)
		close_session(tracking, "Redis does not tell what is published there", true, now_us);
	if (tracking->stands && now_us >= tracking->beat_us && !send_beat(tracking, now_us))
		tracking->beat_us = now_us + BEAT_US;
}

void redis_tracking_tick(struct redis_tracking *tracking, uint64_t now_us)
{
	if (tracking->ear && tracking->held_until_us && now_us >= tracking->held_until_us) {
		tracking->held_until_us = 0; /* once more, from the beginning */
		redis_connection_drop(tracking->mouth, REDIS_TROUBLE_LOST, "tracking is tried again", now_us);
	}
	if (!is_held(tracking, now_us))
		mind_session(tracking, now_us);
	if (wants_list(tracking, now_us))
		(void)read_list(tracking, now_us); /* if not: at the next poll */
	send_purges(tracking, now_us);
	if (!is_held(tracking, now_us))
		redis_connection_tick(tracking->ear, now_us);
	redis_connection_tick(tracking->mouth, now_us);
}

static uint64_t least(const uint64_t *dues, size_t count)
{
	uint64_t deadline = CLOCK_NEVER;
	for (size_t i = 0; i < count; i++)
		deadline = dues[i] < deadline ? dues[i] : deadline;
	return deadline;
}

uint64_t redis_tracking_deadline(const struct redis_tracking *tracking)
{
	uint64_t now_us = loop_now(tracking->loop);
	bool held = is_held(tracking, now_us), up = redis_connection_is_up(tracking->mouth);
	bool polls = up && !tracking->stands && tracking->list != LIST_READING;
	bool says = up && tracking->list != LIST_UNKNOWN && tracking->said_spares &&
		    atomic_load_explicit(&purges_of(tracking)->waiting, memory_order_relaxed);
	const uint64_t dues[] = {
		redis_connection_deadline(tracking->mouth),
		polls ? tracking->poll_us : CLOCK_NEVER,
		says ? tracking->say_us : CLOCK_NEVER,
		held ? CLOCK_NEVER : redis_connection_deadline(tracking->ear),
		held ? CLOCK_NEVER : tracking->give_up_us,
		held && tracking->ear ? tracking->held_until_us : CLOCK_NEVER,
		tracking->stands ? tracking->beat_us : CLOCK_NEVER,
		tracking->stands ? tracking->heard_us + SILENCE_US : CLOCK_NEVER,
	};
	return least(dues, countof(dues));
}

/* --- life --- */

struct redis_tracking *redis_tracking_new(const struct redis_settings *settings, struct cache *cache, struct loop *loop,
					  struct meter *meter)
{
	struct redis_tracking *tracking = calloc(1, sizeof *tracking);
	if (!tracking)
		return NULL;
	const struct redis_hooks ear = { ear_up, ear_down, ear_heard, tracking };
	const struct redis_hooks mouth = { mouth_up, mouth_down, NULL, tracking };
	tracking->settings = settings;
	tracking->cache = cache;
	tracking->loop = loop;
	tracking->meter = meter;
	tracking->hold_us = HOLD_FIRST_US;
	tracking->give_up_us = CLOCK_NEVER;
	snprintf(tracking->sender, sizeof tracking->sender, "%" PRIx64 "-%" PRIx64, clock_wall_us(),
		 (uint64_t)(uintptr_t)tracking ^ (clock_now_us() << 20));
	for (size_t i = 0; i < ERRANDS; i++) {
		tracking->errands[i].tracking = tracking;
		tracking->errands[i].next = tracking->spare;
		tracking->spare = &tracking->errands[i];
	}
	for (size_t i = 0; i < SAID_MAX; i++)
		tracking->said_spare[tracking->said_spares++] = &tracking->said[i];
	if (settings->tracking)
		tracking->ear = redis_connection_new(loop, settings, "jitney-ear", &ear);
	tracking->mouth = redis_connection_new(loop, settings, "jitney-mouth", &mouth);
	if (tracking->mouth && (tracking->ear || !settings->tracking))
		return tracking;
	redis_tracking_free(tracking);
	return NULL;
}

void redis_tracking_free(struct redis_tracking *tracking)
{
	if (!tracking)
		return;
	tracking->closing = true;
	redis_connection_free(tracking->ear);
	redis_connection_free(tracking->mouth);
	free(tracking);
}
