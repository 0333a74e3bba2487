/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rule under random histories, in virtual time: three gateways over one Redis, and what happens to them: fetches
 * and look-ups that overtake each other, stores that come late, purges by every scope, sessions that break, gateways
 * that die, policies that change, a list of purges that is evicted. Redis, and what redis_tracking.c says to it, is a
 * model; the caches, the rule and the values are the real ones.
 *
 * JITNEY_VALIDITY_STEPS: how many; JITNEY_VALIDITY_SEED.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "cache/cache.h"
#include "cache/stored_value.h"
#include "tests/support/cache_ask.h"

#define MS CLOCK_US_PER_MS
#define S CLOCK_US_PER_S
#define UNHEARD_US (2 * S)
#define LATE_US S /* what is sent arrives within, where it arrives at all */
enum { GATEWAYS = 3, TOOLS = 4, KEYS = 24, LOOK_UPS = 16, SENT_MAX = 64, LIST_MAX = 128, PURGES = 4096, SCOPES = 8 };

static const char *const tools[TOOLS] = { "alpha", "beta", "beta_two", "gamma" };

static uint64_t random_state;

static uint64_t draw(uint64_t limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % limit;
}

/* gamma is tagged. */
static bool has_tag(const void *context, const struct key *key, struct slice tag)
{
	(void)context;
	return slice_equal(key_tool(key), SLICE("gamma")) && slice_equal(tag, SLICE("news"));
}

static const struct purge_tags tags = { has_tag, NULL };

/* --- the truth --- */

struct purge_truth {
	uint64_t step, published_us; /* when it was asked for; when Redis had it: CLOCK_NEVER: not yet */
	unsigned by;
	bool lost; /* whoever asked for it died before it was told: nobody else can know */
	size_t len;
	char text[PURGE_TEXT_BYTES];
};

static struct purge_truth truth[PURGES];
static size_t truth_count;

/* --- Redis --- */

struct listed {
	size_t len;
	uint64_t number;
	char text[PURGE_TEXT_BYTES];
};

static struct {
	struct buf values[KEYS];
	struct listed list[LIST_MAX + KEYS]; /* scopes and keys */
	size_t count;
	uint64_t newest;
} redis;

/* --- gateways --- */

struct message {
	uint64_t due_us, number;
	size_t len;
	char text[PURGE_TEXT_BYTES];
};

struct store {
	uint64_t due_us;
	unsigned key;
	struct entry *entry;
};

struct look_up {
	bool busy, fetch; /* else a look-up in Redis */
	unsigned key;
	struct cache_epoch epoch;
	uint64_t asked_step, asked_us, due_us, read_us;
	struct entry *entry; /* of a look-up: what Redis had */
	bool read;
};

struct gateway {
	struct cache *cache;
	bool synced;
	uint64_t poll_us, since_us;
	struct message messages[SENT_MAX];
	size_t message_count;
	struct store stores[SENT_MAX];
	size_t store_count;
	struct look_up look_ups[LOOK_UPS];
	struct cache_policy policies[TOOLS];
	uint64_t policy_us[TOOLS];
};

static struct gateway gateways[GATEWAYS];
static struct key *keys[KEYS];
static uint64_t now_us, step;
static size_t served, hits_outside, refused;

static struct stored_clock clock_of_now(void)
{
	return (struct stored_clock){ now_us, 1700000000 * S + now_us };
}

static unsigned tool_of(unsigned key)
{
	return key % TOOLS;
}

static bool text_covers(const char *text, size_t len, unsigned key)
{
	const struct purge_scope scope = purge_scope_read((struct slice){ text, len });
	return purge_scope_covers(&scope, keys[key], &tags);
}

/* What may not be served, whatever the code thinks. When it was asked for is in the answer's body. */
static void check_served(unsigned g, unsigned key, const struct entry *entry, const struct cache_ask *ask,
			 enum cache_decision decision)
{
	struct slice body = answer_body(entry->answer);
	char text[48] = "";
	memcpy(text, body.at, body.len < sizeof text ? body.len : sizeof text - 1);
	char *end;
	uint64_t asked = strtoull(text + 1, &end, 10), asked_us = strtoull(end + 1, NULL, 10);
	uint64_t age_us = now_us - entry->stored_us;
	for (size_t i = 0; i < truth_count; i++) {
		const struct purge_truth *purge = &truth[i];
		bool known = purge->by == g || (purge->published_us != CLOCK_NEVER &&
						now_us > purge->published_us + UNHEARD_US + LATE_US);
		if (purge->step > asked && known && !purge->lost && text_covers(purge->text, purge->len, key))
			fail_msg(
				"step %llu: gateway %u serves what was asked for at %llu and purged at %llu by %u: %.*s",
				(unsigned long long)step, g, (unsigned long long)asked, (unsigned long long)purge->step,
				purge->by, (int)purge->len, purge->text);
	}
	const struct cache_policy *policy = ask->policy;
	uint64_t most_us = policy->ttl_us + (decision == CACHE_DECISION_STALE ? policy->stale_while_revalidate_us : 0);
	if (age_us > most_us)
		fail_msg("step %llu: %llu us old, %llu allowed", (unsigned long long)step, (unsigned long long)age_us,
			 (unsigned long long)most_us);
	if (ask->directives->has_max_age && now_us - asked_us > ask->directives->max_age_us)
		fail_msg("step %llu: older than its caller wishes", (unsigned long long)step);
	served++;
}

/* --- purges --- */

/* Returns the number that it had before; 0: none. */
static uint64_t note_redis(const char *text, size_t len, uint64_t number)
{
	struct listed *place = NULL;
	for (size_t i = 0; i < redis.count && !place; i++)
		if (redis.list[i].len == len && memcmp(redis.list[i].text, text, len) == 0)
			place = &redis.list[i];
	if (!place) {
		place = &redis.list[redis.count++];
		place->number = 0;
	}
	uint64_t before = place->number;
	place->len = len;
	memcpy(place->text, text, len);
	place->number = number > place->number ? number : place->number;
	redis.newest = number > redis.newest ? number : redis.newest;
	return before;
}

static void break_session(unsigned g);

/* The script: returns the number. *before: what the same had until then. */
static uint64_t publish_redis(unsigned g, const struct purge_notice *notice, uint64_t *before)
{
	uint64_t ms = (1700000000 * S + now_us) / MS, known = purges_number(&cache_rule(gateways[g].cache)->purges);
	uint64_t number = ms > redis.newest + 1 ? ms : redis.newest + 1;
	struct slice text = { notice->text, notice->len };
	number = notice->number ? notice->number : known + 1 > number ? known + 1 : number;
	if (!redis.count && !notice->number) {
		note_redis("", 0, number);
		text.len = 0;
	}
	*before = note_redis(text.at, text.len, number);
	for (unsigned key = 0; key < KEYS; key++) {
		char own[PURGE_TEXT_BYTES];
		if (slice_equal(purge_key_write(keys[key]->digest, own), text))
			buf_reset(&redis.values[key]);
	}
	for (unsigned other = 0; other < GATEWAYS; other++) {
		struct gateway *to = &gateways[other];
		if (other == g || !to->synced)
			continue;
		if (to->message_count == SENT_MAX) {
			break_session(other); /* as Redis does with one who does not read */
			continue;
		}
		struct message *message = &to->messages[to->message_count++];
		*message = (struct message){ now_us + draw(LATE_US / 2), number, text.len, "" };
		memcpy(message->text, text.at, text.len);
	}
	return number;
}

static void publish_waiting(unsigned g)
{
	struct purges *purges = &cache_rule(gateways[g].cache)->purges;
	struct purge_notice notice;
	while (purges_take_waiting(purges, &notice)) {
		uint64_t before, number = publish_redis(g, &notice, &before);
		purges_published(purges, (struct slice){ notice.text, notice.len }, notice.event, number, before);
		for (size_t i = 0; i < truth_count; i++)
			if (truth[i].by == g && truth[i].published_us == CLOCK_NEVER)
				truth[i].published_us = now_us; /* several of one scope are told as one */
	}
}

static void read_list(unsigned g)
{
	static const struct purge_scope everything;
	struct gateway *gateway = &gateways[g];
	struct purges *purges = &cache_rule(gateway->cache)->purges;
	uint64_t keys_from = 0;
	purges_read_begin(purges);
	for (size_t i = 0; i < redis.count; i++) {
		const struct purge_scope scope =
			purge_scope_read((struct slice){ redis.list[i].text, redis.list[i].len });
		keys_from = scope.key.len && redis.list[i].number > keys_from ? redis.list[i].number : keys_from;
	}
	for (size_t i = 0; i < redis.count; i++)
		cache_purge_received(gateway->cache, (struct slice){ redis.list[i].text, redis.list[i].len },
				     redis.list[i].number);
	purges_read_end(purges, keys_from);
	if (!redis.count && !gateway->synced)
		cache_purge(gateway->cache, &everything);
	publish_waiting(g);
	gateway->poll_us = now_us + UNHEARD_US / 2;
}

static struct purge_scope draw_scope(char text[PURGE_TEXT_BYTES])
{
	const struct purge_scope scopes[SCOPES] = {
		{ .tool = SLICE("alpha") },
		{ .tool = SLICE("beta") },
		{ .prefix = SLICE("beta") },
		{ .tag = SLICE("news") },
		{ .tool = SLICE("gamma"), .tag = SLICE("news") },
		{ .tool = { NULL, 0 } },
		{ .tool = { NULL, 0 } },
	};
	uint64_t which = draw(40);
	if (which == 0)
		return scopes[SCOPES - 1]; /* everything */
	if (which < 16)
		return scopes[which % 5];
	purge_key_write(keys[draw(KEYS)]->digest, text);
	return purge_scope_read((struct slice){ text, 4 + 2 * KEY_DIGEST_BYTES + 1 });
}

static void purge(unsigned g)
{
	char text[PURGE_TEXT_BYTES];
	const struct purge_scope scope = draw_scope(text);
	/* old ones whose answers cannot live any more make room */
	if (truth_count == PURGES) {
		memmove(truth, truth + PURGES / 2, PURGES / 2 * sizeof *truth);
		truth_count = PURGES / 2;
	}
	struct purge_truth *fact = &truth[truth_count++];
	*fact = (struct purge_truth){ .step = step, .published_us = CLOCK_NEVER, .by = g };
	fact->len = purge_scope_write(&scope, fact->text).len;
	cache_purge(gateways[g].cache, &scope);
	if (gateways[g].synced)
		publish_waiting(g);
}

/* --- fetches and look-ups --- */

static struct cache_directives draw_directives(void)
{
	struct cache_directives directives = { 0 };
	directives.has_max_age = draw(4) == 0;
	directives.max_age_us = draw(20) * S;
	return directives;
}

static void ask(unsigned g, unsigned key)
{
	struct gateway *gateway = &gateways[g];
	const struct cache_directives directives = draw_directives();
	const struct cache_ask asks = { &gateway->policies[tool_of(key)], &directives, &tags, now_us };
	struct cache_found found = cache_find(gateway->cache, keys[key], &asks, NULL);
	if (found.decision == CACHE_DECISION_HIT || found.decision == CACHE_DECISION_STALE)
		check_served(g, key, found.entry, &asks, found.decision);
	if (found.refresh)
		cache_refreshed(found.entry);
	entry_unref(found.entry);
	struct look_up *look_up = &gateway->look_ups[draw(LOOK_UPS)];
	if (look_up->busy)
		return;
	*look_up = (struct look_up){
		.busy = true, .fetch = draw(3) == 0, .key = key, .asked_step = step, .asked_us = now_us
	};
	look_up->epoch = cache_epoch_now(gateway->cache, keys[key]);
	look_up->read_us = now_us + draw(200 * MS);
	look_up->due_us = look_up->read_us + draw(400 * MS);
}

static void complete(unsigned g, struct look_up *look_up)
{
	struct gateway *gateway = &gateways[g];
	char text[48];
	snprintf(text, sizeof text, "[%llu,%llu]", (unsigned long long)look_up->asked_step,
		 (unsigned long long)look_up->asked_us);
	struct answer *answer = answer_result(slice_of(text), true, NULL);
	const struct cache_fill fill = {
		&gateway->policies[tool_of(look_up->key)], 0, look_up->asked_us, now_us, &look_up->epoch, &tags
	};
	struct entry *entry;
	bool drop;
	cache_store_entry(gateway->cache, keys[look_up->key], answer, &fill, NULL, &entry, &drop);
	if (entry && gateway->store_count < SENT_MAX)
		gateway->stores[gateway->store_count++] =
			(struct store){ now_us + draw(LATE_US / 2), look_up->key, entry };
	else
		entry_unref(entry);
	answer_unref(answer);
}

static void take_found(unsigned g, struct look_up *look_up)
{
	struct gateway *gateway = &gateways[g];
	const struct cache_directives directives = draw_directives();
	const struct cache_ask asks = { &gateway->policies[tool_of(look_up->key)], &directives, &tags, now_us };
	if (!look_up->entry)
		return;
	if (cache_validity(gateway->cache, look_up->entry, &look_up->epoch, &asks) == STILL_VALID) {
		cache_admit(gateway->cache, look_up->entry, &look_up->epoch, &tags);
		struct cache_found found = cache_evaluate(look_up->entry, &asks);
		if (found.decision == CACHE_DECISION_HIT || found.decision == CACHE_DECISION_STALE) {
			check_served(g, look_up->key, found.entry, &asks, found.decision);
			hits_outside++;
		}
		if (found.refresh)
			cache_refreshed(found.entry);
		entry_unref(found.entry);
	} else {
		refused++;
	}
	entry_unref(look_up->entry);
	look_up->entry = NULL;
}

static void go_on(unsigned g, struct look_up *look_up)
{
	const struct stored_clock clock = clock_of_now();
	if (look_up->busy && !look_up->fetch && !look_up->read && now_us >= look_up->read_us) {
		look_up->read = true;
		struct slice value = buf_slice(&redis.values[look_up->key]);
		if (value.len && stored_value_decode(value, keys[look_up->key], &clock, &look_up->entry) != STORED_OK)
			look_up->entry = NULL;
	}
	if (!look_up->busy || now_us < look_up->due_us)
		return;
	if (look_up->fetch)
		complete(g, look_up);
	else
		take_found(g, look_up);
	look_up->busy = false;
}

static void replaced(unsigned by, unsigned key)
{
	for (unsigned g = 0; g < GATEWAYS; g++)
		if (g != by && gateways[g].synced)
			entry_unref(cache_replaced(gateways[g].cache, keys[key]->digest, now_us));
}

/* What is due of it: stores, messages, look_ups, polls. */
static void turn(unsigned g)
{
	struct gateway *gateway = &gateways[g];
	const struct stored_clock clock = clock_of_now();
	for (size_t i = 0; i < gateway->store_count;) {
		struct store *store = &gateway->stores[i];
		if (now_us < store->due_us) {
			i++;
			continue;
		}
		buf_reset(&redis.values[store->key]);
		assert_true(stored_value_encode(store->entry, 0, &clock, &redis.values[store->key]));
		replaced(g, store->key);
		entry_unref(store->entry);
		*store = gateway->stores[--gateway->store_count];
	}
	while (gateway->message_count && now_us >= gateway->messages[0].due_us) { /* in order */
		struct message message = gateway->messages[0];
		gateway->message_count--;
		memmove(gateway->messages, gateway->messages + 1, gateway->message_count * sizeof message);
		cache_purge_received(gateway->cache, (struct slice){ message.text, message.len }, message.number);
	}
	for (size_t i = 0; i < LOOK_UPS; i++)
		go_on(g, &gateway->look_ups[i]);
	if (!gateway->synced && now_us >= gateway->poll_us && draw(2))
		read_list(g);
	if (gateway->synced && !redis.count)
		read_list(g); /* its list is whole */
	cache_sweep(gateway->cache, &tags, 0);
}

/* --- what happens to them --- */

static void break_session(unsigned g)
{
	gateways[g].synced = false;
	gateways[g].message_count = 0;
	validity_lost_sync(cache_rule(gateways[g].cache), now_us);
	gateways[g].poll_us = now_us + draw(UNHEARD_US / 2);
}

static void open_session(unsigned g)
{
	if (gateways[g].synced)
		return;
	read_list(g);
	gateways[g].synced = true;
	validity_synced(cache_rule(gateways[g].cache));
}

static void draw_policy(unsigned g, unsigned tool)
{
	gateways[g].policies[tool] = (struct cache_policy){ .ttl_us = (1 + draw(60)) * S,
							    .stale_while_revalidate_us = draw(20) * S,
							    .stale_if_error_us = draw(60) * S };
}

static void begin_gateway(unsigned g)
{
	memset(&gateways[g], 0, sizeof gateways[g]);
	gateways[g].cache = cache_new(1 << 20, NULL);
	cache_publish_purges(gateways[g].cache, true);
	validity_share(cache_rule(gateways[g].cache), UNHEARD_US);
	for (unsigned tool = 0; tool < TOOLS; tool++)
		draw_policy(g, tool);
}

static void end_gateway(unsigned g)
{
	for (size_t i = 0; i < LOOK_UPS; i++)
		entry_unref(gateways[g].look_ups[i].entry);
	for (size_t i = 0; i < gateways[g].store_count; i++)
		entry_unref(gateways[g].stores[i].entry);
	cache_free(gateways[g].cache);
	for (size_t i = 0; i < truth_count; i++) {
		truth[i].lost |= truth[i].by == g && truth[i].published_us == CLOCK_NEVER;
		truth[i].by = truth[i].by == g ? GATEWAYS : truth[i].by; /* the next one knows what others know */
	}
}

static void step_once(void)
{
	unsigned g = (unsigned)draw(GATEWAYS);
	uint64_t what = draw(10000);
	step++;
	now_us += draw(20 * MS);
	clock_set(now_us);
	for (unsigned each = 0; each < GATEWAYS; each++)
		turn(each);
	if (what < 9000)
		ask(g, (unsigned)draw(KEYS));
	else if (what < 9600)
		purge(g);
	else if (what < 9700)
		draw_policy(g, (unsigned)draw(TOOLS));
	else if (what < 9760)
		break_session(g);
	else if (what < 9985)
		open_session(g);
	else if (what < 9990) {
		end_gateway(g);
		begin_gateway(g);
	} else if (what < 9995)
		redis.count = 0; /* evicted */
}

static void nothing_purged_and_nothing_too_old_is_ever_served(void **state)
{
	const char *steps = getenv("JITNEY_VALIDITY_STEPS"), *seed = getenv("JITNEY_VALIDITY_SEED");
	uint64_t most = steps ? strtoull(steps, NULL, 10) : 500000;
	struct key_maker *maker = key_maker_new(0, 8);
	(void)state;
	random_state = seed ? strtoull(seed, NULL, 10) : 20261130;
	now_us = 1000 * S;
	clock_set(now_us);
	for (unsigned i = 0; i < KEYS; i++) {
		char arguments[32];
		struct json_fault fault;
		snprintf(arguments, sizeof arguments, "{\"id\":%u}", i);
		const struct key_parts parts = { .tool = slice_of(tools[tool_of(i)]),
						 .arguments = slice_of(arguments) };
		assert_int_equal(key_make(maker, &parts, &keys[i], &fault), OUTCOME_OK);
		buf_init(&redis.values[i], 1 << 16);
	}
	for (unsigned g = 0; g < GATEWAYS; g++)
		begin_gateway(g);
	while (step < most)
		step_once();
	print_message("%llu steps: %zu served, %zu of them from outside, %zu refused\n", (unsigned long long)step,
		      served, hits_outside, refused);
	assert_true(served > most / 50 && hits_outside > most / 1000 && refused > most / 1000);
	for (unsigned g = 0; g < GATEWAYS; g++)
		end_gateway(g);
	for (unsigned i = 0; i < KEYS; i++) {
		key_unref(keys[i]);
		buf_fini(&redis.values[i]);
	}
	key_maker_free(maker);
	clock_set(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_purged_and_nothing_too_old_is_ever_served),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
