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

enum { ERRANDS = 64, PENDING_MAX = 32, CHANNELS = 3, SENDER_BYTES = 32, NUMBER_BYTES = 24 };
#define BEAT_US (250 * CLOCK_US_PER_MS)
#define SILENCE_US CLOCK_US_PER_S /* no beat for so long: nothing is heard any more */
#define HOLD_FIRST_US (100 * CLOCK_US_PER_MS)
#define HOLD_LAST_US (60 * CLOCK_US_PER_S)

/* What the mouth is asked to do. */
enum errand_kind { ERRAND_TRACK, ERRAND_READ, ERRAND_BEAT, ERRAND_VERIFY, ERRAND_PURGE, ERRAND_DELETE };

struct errand {
	struct redis_command command;
	struct redis_tracking *tracking;
	enum errand_kind kind;
	struct entry *entry; /* VERIFY: owned */
	size_t len;          /* PURGE: of the scope's text */
	char text[PURGE_TEXT_BYTES];
	struct errand *next; /* free */
};

struct pending {
	size_t len;
	char text[PURGE_TEXT_BYTES];
};

struct redis_tracking {
	const struct redis_settings *settings;
	struct cache *cache;
	struct loop *loop;
	struct meter *meter;
	struct purge_tags tags;
	struct redis_connection *ear, *mouth;
	struct redis_command ask_id; /* the ear's only command */
	char sender[SENDER_BYTES];   /* names this process in its messages */

	/* of the session under way */
	long long ear_id;              /* 0: not known */
	unsigned channels;             /* the ear's subscriptions that Redis has confirmed */
	bool opened;                   /* TRACKING, ZRANGE and a first beat are on their way */
	bool tracks, caught_up, heard; /* each of them has come back */
	bool stands;                   /* all of them: changes are heard of */
	uint64_t heard_us, beat_us, give_up_us;

	bool closing; /* both are being dropped */
	bool ever;    /* a session has stood */
	uint64_t hold_us, held_until_us;
	char told[128]; /* the last reason logged */

	struct pending pending[PENDING_MAX]; /* purges not told yet */
	size_t pending_count;
	struct errand errands[ERRANDS], *spare;
};

static const char purge_script[] =
	"local newest = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] or 0\n"
	"local time = redis.call('TIME')\n"
	"local number = math.max(time[1] * 1000 + math.floor(time[2] / 1000), newest + 1, ARGV[4] + 1)\n"
	"local text = string.format('%.0f', number)\n"
	"if KEYS[2] then\n"
	"  redis.call('DEL', KEYS[2])\n"
	"elseif redis.call('ZCARD', KEYS[1]) < 128 or redis.call('ZSCORE', KEYS[1], ARGV[3]) then\n"
	"  redis.call('ZADD', KEYS[1], text, ARGV[3])\n"
	"else\n" /* too many to keep apart: from now on it is everything */
	"  redis.call('DEL', KEYS[1])\n"
	"  redis.call('ZADD', KEYS[1], text, '')\n"
	"end\n"
	"redis.call('PUBLISH', ARGV[1], ARGV[2] .. ' ' .. text .. ' ' .. ARGV[3])\n"
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
	errand->len = 0;
	return errand;
}

static void give_back(struct errand *errand)
{
	entry_unref(errand->entry);
	errand->entry = NULL;
	errand->next = errand->tracking->spare;
	errand->tracking->spare = errand;
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

/* Nothing is heard any more: both connections go. */
static void close_session(struct redis_tracking *tracking, const char *why, uint64_t now_us)
{
	if (tracking->closing)
		return;
	if (tracking->stands) {
		cache_untracked(tracking->cache, now_us);
		meter_set(tracking->meter, METRIC_ID_REDIS_TRACKING, 0, 0, 0);
	} else if (tracking->channels || tracking->opened) {
		hold(tracking, now_us);
	}
	if (tracking->stands || tracking->opened)
		tell(tracking, why);
	tracking->stands = tracking->opened = tracking->tracks = tracking->caught_up = tracking->heard = false;
	tracking->ear_id = 0;
	tracking->channels = 0;
	tracking->give_up_us = CLOCK_NEVER;
	tracking->closing = true;
	redis_connection_drop(tracking->ear, REDIS_TROUBLE_LOST, why, now_us);
	redis_connection_drop(tracking->mouth, REDIS_TROUBLE_LOST, why, now_us);
	tracking->closing = false;
}

static bool send_beat(struct redis_tracking *tracking, uint64_t now_us)
{
	char word[48], channel[REDIS_KEY_BYTES];
	snprintf(word, sizeof word, "beat:%lld", tracking->ear_id);
	const struct slice argv[] = { SLICE("PUBLISH"), redis_name(tracking->settings->prefix, word, channel),
				      SLICE("1") };
	tracking->beat_us = now_us + BEAT_US;
	return run_errand(tracking, ERRAND_BEAT, countof(argv), argv, now_us);
}

/* Both are up and the ear listens: from the reply to TRACKING on it hears of everything. */
static void open_session(struct redis_tracking *tracking, uint64_t now_us)
{
	char id[NUMBER_BYTES], prefix[REDIS_KEY_BYTES], purges[REDIS_KEY_BYTES];
	if (tracking->opened || tracking->channels < CHANNELS || !redis_connection_is_up(tracking->mouth))
		return;
	int len = snprintf(id, sizeof id, "%lld", tracking->ear_id);
	const struct slice track[] = { SLICE("CLIENT"),     SLICE("TRACKING"),
				       SLICE("ON"),         SLICE("REDIRECT"),
				       { id, (size_t)len }, SLICE("BCAST"),
				       SLICE("PREFIX"),     redis_name(tracking->settings->prefix, "", prefix),
				       SLICE("NOLOOP") };
	const struct slice read[] = { SLICE("ZRANGE"), redis_name(tracking->settings->prefix, "purges", purges),
				      SLICE("0"), SLICE("-1"), SLICE("WITHSCORES") };
	tracking->opened = true;
	tracking->give_up_us = now_us + SILENCE_US;
	if (!run_errand(tracking, ERRAND_TRACK, countof(track), track, now_us) ||
	    !run_errand(tracking, ERRAND_READ, countof(read), read, now_us) || !send_beat(tracking, now_us))
		close_session(tracking, "out of memory", now_us);
}

static void send_pending(struct redis_tracking *tracking, uint64_t now_us);

static void settle(struct redis_tracking *tracking, uint64_t now_us)
{
	if (tracking->stands || !tracking->tracks || !tracking->caught_up || !tracking->heard)
		return;
	tracking->stands = tracking->ever = true;
	tracking->hold_us = HOLD_FIRST_US;
	tracking->give_up_us = CLOCK_NEVER;
	cache_tracked(tracking->cache);
	meter_set(tracking->meter, METRIC_ID_REDIS_TRACKING, 0, 0, 1);
	log_message(&EVENT_REDIS_TRACKED, "what other gateways change is heard of");
	tracking->told[0] = '\0';
	send_pending(tracking, now_us);
}

/* --- purges --- */

static void count_purge(struct redis_tracking *tracking, enum purge_way way)
{
	meter_add(tracking->meter, METRIC_ID_REDIS_PURGES, way, 0, 1);
}

static void remember(struct redis_tracking *tracking, struct slice text)
{
	for (size_t i = 0; i < tracking->pending_count; i++)
		if (slice_equal((struct slice){ tracking->pending[i].text, tracking->pending[i].len }, text))
			return;
	if (tracking->pending_count == PENDING_MAX) { /* rather too much */
		tracking->pending_count = 0;
		text.len = 0;
	}
	struct pending *pending = &tracking->pending[tracking->pending_count++];
	pending->len = text.len;
	memcpy(pending->text, text.len ? text.at : "", text.len);
}

static bool send_purge(struct redis_tracking *tracking, struct slice text, uint64_t now_us)
{
	char purges[REDIS_KEY_BYTES], channel[REDIS_KEY_BYTES], key[REDIS_KEY_BYTES], newest[NUMBER_BYTES];
	const char *prefix = tracking->settings->prefix;
	const struct purge_scope scope = purge_scope_read(text);
	uint8_t digest[KEY_DIGEST_BYTES];
	bool one = scope.key.len && cache_read_digest(scope.key, digest);
	snprintf(newest, sizeof newest, "%" PRIu64, purges_newest(cache_purges(tracking->cache)));
	struct slice argv[9] = { SLICE("EVAL"), slice_of(purge_script), one ? SLICE("2") : SLICE("1"),
				 redis_name(prefix, "purges", purges) };
	size_t argc = 4;
	if (one)
		argv[argc++] = redis_key(prefix, digest, key);
	argv[argc++] = redis_name(prefix, "purge", channel);
	argv[argc++] = slice_of(tracking->sender);
	argv[argc++] = text;
	argv[argc++] = slice_of(newest);
	struct errand *errand = take_errand(tracking, ERRAND_PURGE);
	if (!errand)
		return false;
	errand->len = text.len;
	memcpy(errand->text, text.len ? text.at : "", text.len);
	return launch(errand, argc, argv, now_us);
}

static void send_pending(struct redis_tracking *tracking, uint64_t now_us)
{
	while (tracking->stands && tracking->pending_count) {
		const struct pending *last = &tracking->pending[tracking->pending_count - 1];
		if (!send_purge(tracking, (struct slice){ last->text, last->len }, now_us))
			return;
		tracking->pending_count--;
	}
}

static void purge_told(struct errand *errand, enum command_end end, const redisReply *reply)
{
	struct redis_tracking *tracking = errand->tracking;
	struct slice text = { errand->text, errand->len };
	const struct purge_scope scope = purge_scope_read(text);
	uint64_t number = end == COMMAND_ANSWERED && reply->str ? strtoull(reply->str, NULL, 10) : 0;
	if (number) {
		count_purge(tracking, PURGE_SENT);
		if (!scope.key.len)
			purges_add(cache_purges(tracking->cache), text, number);
	} else if (end == COMMAND_OVERDUE || end == COMMAND_LOST) {
		remember(tracking, text); /* maybe it was told: twice does no harm */
	} else {
		count_purge(tracking, PURGE_FAILED);
		cache_recall_all(tracking->cache);
		log_message(&EVENT_PURGE_NOT_SHARED,
			    "Redis refused the script that tells the other gateways of a purge (%.100s); "
			    "it holds on this gateway only",
			    reply->str ? reply->str : "no text");
	}
}

bool redis_tracking_purge(struct redis_tracking *tracking, const struct purge_scope *scope, uint64_t now_us)
{
	char bytes[PURGE_TEXT_BYTES];
	struct slice text = purge_scope_write(scope, bytes);
	if (!tracking->ever)
		return false;
	if (!scope->key.len)
		purges_add_next(cache_purges(tracking->cache), text);
	if (!tracking->stands || !send_purge(tracking, text, now_us))
		remember(tracking, text);
	return true;
}

static void delete_value(struct redis_tracking *tracking, const uint8_t *digest, uint64_t now_us)
{
	char key[REDIS_KEY_BYTES];
	const struct slice argv[] = { SLICE("DEL"), redis_key(tracking->settings->prefix, digest, key) };
	if (!run_errand(tracking, ERRAND_DELETE, countof(argv), argv, now_us))
		cache_recall_all(tracking->cache);
}

/* "SENDER GENERATION SCOPE" */
static void take_purge(struct redis_tracking *tracking, struct slice message, uint64_t now_us)
{
	size_t sender_len = strlen(tracking->sender);
	const char *blank = memchr(message.at, ' ', message.len);
	if (!blank || (message.len > sender_len && message.at[sender_len] == ' ' &&
		       memcmp(message.at, tracking->sender, sender_len) == 0))
		return; /* ours: known already, and what was stored since is newer */
	char *end;
	uint64_t number = strtoull(blank + 1, &end, 10); /* the reader puts a NUL behind every string */
	const char *limit = message.at + message.len;
	struct slice text = { limit, 0 };
	if (end < limit && *end == ' ')
		text = (struct slice){ end + 1, (size_t)(limit - end - 1) };
	const struct purge_scope scope = purge_scope_read(text);
	uint8_t digest[KEY_DIGEST_BYTES];
	count_purge(tracking, PURGE_RECEIVED);
	if (scope.key.len && cache_read_digest(scope.key, digest)) {
		/* what has landed here just now may have been stored after the other's DEL */
		if (cache_purge_digest(tracking->cache, digest))
			delete_value(tracking, digest, now_us);
		return;
	}
	purges_add(cache_purges(tracking->cache), text, number);
	cache_purge_scope(tracking->cache, &scope, &tracking->tags);
}

static void take_purges(struct redis_tracking *tracking, const redisReply *reply)
{
	for (size_t i = 0; i + 1 < reply->elements; i += 2) {
		const redisReply *text = reply->element[i], *number = reply->element[i + 1];
		if (text->str && number->str)
			purges_add(cache_purges(tracking->cache), (struct slice){ text->str, text->len },
				   strtoull(number->str, NULL, 10));
	}
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
	    !cache_read_digest((struct slice){ key.at + prefix.len, key.len - prefix.len }, digest))
		return; /* no value's: a lease's, or the list of purges */
	meter_add(tracking->meter, METRIC_ID_REDIS_INVALIDATIONS, 0, 0, 1);
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
		cache_purge(tracking->cache, NULL, NULL, (struct slice){ "", 0 });
	}
	for (size_t i = 0; i < keys->elements; i++)
		if (keys->element[i]->str)
			take_key(tracking, (struct slice){ keys->element[i]->str, keys->element[i]->len }, now_us);
}

/* --- the mouth --- */

static void errand_done(struct redis_command *command, enum command_end end, const redisReply *reply, uint64_t took_us)
{
	struct errand *errand = container_of(command, struct errand, command);
	struct redis_tracking *tracking = errand->tracking;
	uint64_t now_us = loop_now(tracking->loop);
	bool good = end == COMMAND_ANSWERED;
	char why[96] = "";
	(void)took_us;
	if (errand->kind == ERRAND_VERIFY)
		verified(errand, end, reply);
	else if (errand->kind == ERRAND_PURGE)
		purge_told(errand, end, reply);
	else if (errand->kind == ERRAND_DELETE && !good)
		cache_recall_all(tracking->cache);
	else if (errand->kind == ERRAND_TRACK)
		tracking->tracks = good;
	else if (errand->kind == ERRAND_READ)
		tracking->caught_up = good && reply->type == REDIS_REPLY_ARRAY;
	if (errand->kind == ERRAND_READ && tracking->caught_up)
		take_purges(tracking, reply);
	bool opens = errand->kind == ERRAND_TRACK || errand->kind == ERRAND_READ || errand->kind == ERRAND_BEAT;
	if (opens && end == COMMAND_REFUSED)
		snprintf(why, sizeof why, "Redis refuses what tracking takes: %.60s", reply->str);
	give_back(errand);
	if (why[0])
		close_session(tracking, why, now_us);
	else
		settle(tracking, now_us);
}

static void mouth_up(void *context, uint64_t now_us)
{
	open_session(context, now_us);
}

static void either_down(void *context, enum redis_trouble trouble, const char *why, bool was_up, uint64_t now_us)
{
	(void)trouble;
	if (was_up)
		close_session(context, why, now_us);
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
		hold(tracking, loop_now(tracking->loop));
		tell(tracking, end == COMMAND_REFUSED ? reply->str : "Redis does not answer CLIENT ID");
		close_session(tracking, "CLIENT ID", loop_now(tracking->loop));
		return;
	}
	tracking->ear_id = reply->integer;
	tracking->give_up_us = loop_now(tracking->loop) + SILENCE_US;
	snprintf(word, sizeof word, "beat:%lld", tracking->ear_id);
	redis_name(prefix, "purge", purge);
	redis_name(prefix, word, beat);
	if (!redis_connection_subscribe(tracking->ear, "__redis__:invalidate") ||
	    !redis_connection_subscribe(tracking->ear, purge) || !redis_connection_subscribe(tracking->ear, beat))
		close_session(tracking, "out of memory", loop_now(tracking->loop));
}

static void ear_up(void *context, uint64_t now_us)
{
	struct redis_tracking *tracking = context;
	const struct slice argv[] = { SLICE("CLIENT"), SLICE("ID") };
	tracking->ask_id = (struct redis_command){ .done = id_told };
	if (!redis_connection_send(tracking->ear, &tracking->ask_id, countof(argv), argv, now_us))
		close_session(tracking, "out of memory", now_us);
}

static void take_message(struct redis_tracking *tracking, struct slice channel, const redisReply *payload,
			 uint64_t now_us)
{
	char purge[REDIS_KEY_BYTES];
	if (slice_equal(channel, SLICE("__redis__:invalidate"))) {
		take_invalidation(tracking, payload, now_us);
	} else if (slice_equal(channel, redis_name(tracking->settings->prefix, "purge", purge))) {
		if (payload->str)
			take_purge(tracking, (struct slice){ payload->str, payload->len }, now_us);
	} else {
		tracking->heard = true;
		tracking->heard_us = now_us;
		settle(tracking, now_us);
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

void redis_tracking_tick(struct redis_tracking *tracking, uint64_t now_us)
{
	if (now_us < tracking->held_until_us)
		return;
	if (tracking->stands && now_us >= tracking->heard_us + SILENCE_US)
		close_session(tracking, "Redis was silent for a second", now_us);
	else if (now_us >= tracking->give_up_us)
		close_session(tracking, "Redis does not tell what is published there", now_us);
	if (tracking->stands && now_us >= tracking->beat_us) {
		send_pending(tracking, now_us);
		if (!send_beat(tracking, now_us))
			tracking->beat_us = now_us + BEAT_US;
	}
	if (now_us < tracking->held_until_us)
		return;
	redis_connection_tick(tracking->ear, now_us);
	redis_connection_tick(tracking->mouth, now_us);
}

uint64_t redis_tracking_deadline(const struct redis_tracking *tracking)
{
	uint64_t deadline = tracking->give_up_us;
	if (tracking->held_until_us > loop_now(tracking->loop))
		return tracking->held_until_us;
	const uint64_t dues[] = {
		tracking->stands ? tracking->beat_us : CLOCK_NEVER,
		tracking->stands ? tracking->heard_us + SILENCE_US : CLOCK_NEVER,
		redis_connection_deadline(tracking->ear),
		redis_connection_deadline(tracking->mouth),
	};
	for (size_t i = 0; i < countof(dues); i++)
		deadline = dues[i] < deadline ? dues[i] : deadline;
	return deadline;
}

/* --- life --- */

struct redis_tracking *redis_tracking_new(const struct redis_settings *settings, struct cache *cache, struct loop *loop,
					  struct meter *meter, const struct purge_tags *tags)
{
	struct redis_tracking *tracking = calloc(1, sizeof *tracking);
	if (!tracking)
		return NULL;
	const struct redis_hooks ear = { ear_up, either_down, ear_heard, tracking };
	const struct redis_hooks mouth = { mouth_up, either_down, NULL, tracking };
	tracking->settings = settings;
	tracking->cache = cache;
	tracking->loop = loop;
	tracking->meter = meter;
	tracking->tags = *tags;
	tracking->hold_us = HOLD_FIRST_US;
	tracking->give_up_us = CLOCK_NEVER;
	snprintf(tracking->sender, sizeof tracking->sender, "%" PRIx64 "-%" PRIx64, clock_wall_us(),
		 (uint64_t)(uintptr_t)tracking ^ (clock_now_us() << 20));
	for (size_t i = 0; i < ERRANDS; i++) {
		tracking->errands[i].tracking = tracking;
		tracking->errands[i].next = tracking->spare;
		tracking->spare = &tracking->errands[i];
	}
	tracking->ear = redis_connection_new(loop, settings, "jitney-ear", &ear);
	tracking->mouth = redis_connection_new(loop, settings, "jitney-mouth", &mouth);
	if (tracking->ear && tracking->mouth)
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
