/* SPDX-License-Identifier: Apache-2.0 */
/* outside.c: values, and the workers' ways to them and back. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/outside_private.h"
#include "tests/support/whose_truth.h"

enum { WORKERS_MAX = 4, WAYS = 256, CHECKSUM_AT = 8, VALUE_BYTES = 1 << 16 };
#define TIMEOUT_US (20 * CLOCK_US_PER_MS)
#define LEASE_US (500 * CLOCK_US_PER_MS)

/* One command on its way there and back. */
struct way {
	enum { WAY_GET, WAY_CLAIM, WAY_PUT, WAY_REMOVE, WAY_RELEASE } what;
	struct tier_lookup *lookup; /* GET, CLAIM */
	struct key *key;            /* owned, but of REMOVE and RELEASE */
	uint8_t digest[KEY_DIGEST_BYTES];
	struct buf bytes; /* PUT: to be stored; GET, CLAIM: what was read */
	bool releases, arrived, lost;
	uint64_t there_us, back_us, until_us;
	enum tier_claim claim;
};

/* One worker's; its ways in the order of sending. */
struct outside_tier {
	struct tier base;
	struct way ways[WAYS];
	size_t count;
	uint64_t last_us;       /* when the last one arrives: none overtakes another */
	uint64_t away_until_us; /* nothing can be asked before */
};

struct outside outside;
static struct outside_tier tiers[WORKERS_MAX];

struct stored_clock outside_clock(void)
{
	uint64_t now_us = clock_now_us();
	return (struct stored_clock){ now_us, UINT64_C(1700000000) * CLOCK_US_PER_S + now_us };
}

/* --- values --- */

struct outside_value *outside_find(const uint8_t *digest)
{
	for (size_t i = 0; i < OUTSIDE_VALUES; i++) {
		struct outside_value *value = &outside.values[i];
		if (value->key && memcmp(value->key->digest, digest, KEY_DIGEST_BYTES) == 0)
			return value;
	}
	return NULL;
}

struct outside_value *outside_place(struct key *key)
{
	struct outside_value *value = outside_find(key->digest);
	for (size_t i = 0; i < OUTSIDE_VALUES && !value; i++)
		if (!outside.values[i].key) {
			value = &outside.values[i];
			value->key = key_ref(key);
			buf_init(&value->bytes, VALUE_BYTES);
		}
	return value;
}

/* --- there --- */

static struct outside_tier *of(struct tier *base)
{
	return container_of(base, struct outside_tier, base);
}

static void claim_there(struct outside_tier *tier, struct way *way, struct outside_value *value)
{
	struct slice bytes = buf_slice(&value->bytes);
	way->claim = CLAIM_HELD;
	if (bytes.len && memcmp(bytes.at + CHECKSUM_AT, way->lookup->seen, sizeof way->lookup->seen) != 0) {
		buf_put(&way->bytes, bytes);
		way->claim = CLAIM_NONE;
	} else if (!value->lease || value->lease_until_us <= clock_now_us()) {
		value->lease = tier;
		value->lease_until_us = clock_now_us() + LEASE_US;
		way->claim = CLAIM_OURS;
	}
}

static void put_there(const struct outside_tier *tier, const struct way *way)
{
	struct outside_value *value = outside_place(way->key);
	if (!value)
		return;
	buf_reset(&value->bytes);
	buf_put(&value->bytes, buf_slice(&way->bytes));
	if (way->releases && value->lease == tier)
		value->lease = NULL;
}

static void arrive(struct outside_tier *tier, struct way *way)
{
	struct outside_value *value = way->key ? outside_place(way->key) : outside_find(way->digest);
	way->arrived = true;
	if (!value)
		return;
	switch (way->what) {
	case WAY_GET:
		buf_put(&way->bytes, buf_slice(&value->bytes));
		break;
	case WAY_CLAIM:
		claim_there(tier, way, value);
		break;
	case WAY_PUT:
		put_there(tier, way);
		break;
	case WAY_REMOVE:
		buf_reset(&value->bytes);
		break;
	case WAY_RELEASE:
		if (value->lease == tier)
			value->lease = NULL;
		break;
	}
}

/* --- back --- */

static void take_out(struct outside_tier *tier, size_t n)
{
	key_unref(tier->ways[n].key);
	buf_fini(&tier->ways[n].bytes);
	tier->count--;
	memmove(&tier->ways[n], &tier->ways[n + 1], (tier->count - n) * sizeof tier->ways[0]);
}

/* As redis_tier.c and disk.c do: what does not add up is a miss, and goes. */
static struct entry *read_value(struct outside_tier *tier, const struct way *way)
{
	const struct stored_clock clock = outside_clock();
	struct entry *entry = NULL;
	struct slice bytes = buf_slice(&way->bytes);
	if (!bytes.len)
		return NULL;
	enum stored_fault fault = stored_value_decode(bytes, way->key, &clock, &entry);
	if (fault == STORED_OK) {
		outside.counts.found++;
		truth_deliver(answer_body(entry->answer));
		truth_deliver(slice_of(entry->answer->detail));
		return entry;
	}
	if (fault == STORED_FOREIGN || fault == STORED_DAMAGED) {
		outside.counts.damaged++;
		tier->base.kind->remove(&tier->base, way->key->digest, clock.now_us);
	}
	return NULL;
}

static void come_back(struct outside_tier *tier, size_t n, bool in_time)
{
	struct way *way = &tier->ways[n];
	struct tier_lookup *lookup = way->lookup;
	struct entry *entry = NULL;
	if (!lookup) {
		take_out(tier, n);
		return;
	}
	memset(lookup->seen, 0, sizeof lookup->seen);
	lookup->claim = in_time && way->what == WAY_CLAIM ? way->claim : CLAIM_NONE;
	lookup->failed = !in_time;
	if (in_time)
		entry = read_value(tier, way); /* may send a removal behind it: `way` stays where it is */
	if (entry)
		memcpy(lookup->seen, buf_slice(&way->bytes).at + CHECKSUM_AT, sizeof lookup->seen);
	lookup->operation = NULL;
	take_out(tier, n);
	lookup->done(lookup, entry);
}

static bool is_overdue(const struct way *way, uint64_t now_us)
{
	return now_us >= way->until_us && (way->lookup || way->lost);
}

static void tick(struct tier *base, uint64_t now_us)
{
	struct outside_tier *tier = of(base);
	for (size_t n = 0; n < tier->count; n++)
		if (!tier->ways[n].arrived && !tier->ways[n].lost && now_us >= tier->ways[n].there_us)
			arrive(tier, &tier->ways[n]);
	for (size_t n = 0; n < tier->count;) {
		const struct way *way = &tier->ways[n];
		bool back = way->arrived && now_us >= way->back_us;
		if (!back && !is_overdue(way, now_us)) {
			n++;
			continue;
		}
		come_back(tier, n, back && now_us < way->until_us);
		n = 0; /* whoever heard it may have asked again */
	}
}

/* --- the face --- */

static struct way *send_way(struct outside_tier *tier, uint64_t now_us)
{
	if (now_us < tier->away_until_us || tier->count == WAYS)
		return NULL;
	struct way *way = &tier->ways[tier->count++];
	uint64_t there_us = now_us + outside_roll(outside_roll(60) ? 3000 : (unsigned)OUTSIDE_LATE_US);
	tier->last_us = there_us > tier->last_us ? there_us : tier->last_us;
	*way = (struct way){ .bytes = BUF_INIT(VALUE_BYTES),
			     .there_us = tier->last_us,
			     .back_us = tier->last_us + outside_roll(3000),
			     .until_us = now_us + TIMEOUT_US,
			     .lost = outside.kind == OUTSIDE_REDIS && outside_roll(40) == 0 };
	return way;
}

static bool look(struct tier *base, struct tier_lookup *lookup, struct key *key, uint64_t now_us, bool claims)
{
	struct way *way = send_way(of(base), now_us);
	assert(!lookup->operation);
	if (!way)
		return false;
	way->what = claims ? WAY_CLAIM : WAY_GET;
	way->lookup = lookup;
	way->key = key_ref(key);
	lookup->operation = base;
	return true;
}

static bool get(struct tier *base, struct tier_lookup *lookup, struct key *key, uint64_t now_us)
{
	return look(base, lookup, key, now_us, false);
}

static bool claim(struct tier *base, struct tier_lookup *lookup, struct key *key, uint64_t now_us)
{
	return look(base, lookup, key, now_us, true);
}

static void cancel(struct tier *base, struct tier_lookup *lookup)
{
	struct outside_tier *tier = of(base);
	size_t n = 0;
	while (n < tier->count && tier->ways[n].lookup != lookup)
		n++;
	assert(n < tier->count);
	lookup->operation = NULL;
	take_out(tier, n);
}

static bool put(struct tier *base, struct entry *entry, unsigned how, uint64_t now_us)
{
	const struct stored_clock clock = outside_clock();
	struct way *way = send_way(of(base), now_us);
	if (!way)
		return false;
	way->what = WAY_PUT;
	way->key = key_ref(entry->key);
	way->releases = how & TIER_RELEASES;
	if (stored_value_encode(entry, outside_roll(2) ? 16 : 0, &clock, &way->bytes))
		return true;
	take_out(of(base), of(base)->count - 1);
	return false;
}

static bool send_digest(struct tier *base, const uint8_t *digest, uint64_t now_us, bool releases)
{
	struct way *way = send_way(of(base), now_us);
	if (!way)
		return false;
	way->what = releases ? WAY_RELEASE : WAY_REMOVE;
	memcpy(way->digest, digest, sizeof way->digest);
	return true;
}

static bool remove_key(struct tier *base, const uint8_t *digest, uint64_t now_us)
{
	return send_digest(base, digest, now_us, false);
}

static void release(struct tier *base, const uint8_t *digest, uint64_t now_us)
{
	send_digest(base, digest, now_us, true);
}

static uint64_t deadline(const struct tier *base)
{
	(void)base;
	return CLOCK_NEVER; /* the test turns */
}

static void free_tier(struct tier *base)
{
	assert(of(base)->count == 0);
}

static const struct tier_kind redis_like = { TIER_REDIS, get,     cancel, put,      remove_key,
					     claim,      release, tick,   deadline, free_tier };
static const struct tier_kind disk_like = { TIER_DISK, get,  cancel, put,      remove_key,
					    NULL,      NULL, tick,   deadline, free_tier };

/* --- life --- */

void outside_begin(enum outside_kind kind, unsigned *seed)
{
	outside = (struct outside){ .kind = kind, .seed = seed, .counts = outside.counts };
	fleet_begin();
}

static void forget_value(struct outside_value *value)
{
	key_unref(value->key);
	buf_fini(&value->bytes);
	*value = (struct outside_value){ NULL };
}

void outside_end(void)
{
	assert(!outside.world);
	for (size_t i = 0; i < OUTSIDE_VALUES; i++)
		if (outside.values[i].key)
			forget_value(&outside.values[i]);
}

void outside_attach(struct gateway_world *world)
{
	bool leases = outside.kind == OUTSIDE_REDIS && outside_roll(2);
	outside.world = world;
	if (outside.kind == OUTSIDE_NONE)
		return;
	memset(tiers, 0, sizeof tiers);
	assert(world->config->workers <= WORKERS_MAX);
	for (unsigned i = 0; i < world->config->workers; i++) {
		struct worker *worker = world->gateway.workers[i];
		tiers[i].base.kind = outside.kind == OUTSIDE_REDIS ? &redis_like : &disk_like;
		tiers[i].base.owner = worker_owner(worker);
		tiers[i].base.claim_us = leases ? LEASE_US : 0;
		worker->tier = &tiers[i].base;
		bool reserved = loop_timers_reserve(worker->loop, world->config->generation.limits.in_flight);
		assert(reserved);
	}
	fleet_attach();
}

void outside_detach(void)
{
	for (unsigned i = 0; outside.kind != OUTSIDE_NONE && i < outside.world->config->workers; i++)
		while (tiers[i].count) {
			assert(!tiers[i].ways[0].lookup);
			if (outside.kind == OUTSIDE_DISK && !tiers[i].ways[0].arrived)
				arrive(&tiers[i], &tiers[i].ways[0]);
			take_out(&tiers[i], 0);
		}
	if (outside.kind != OUTSIDE_NONE)
		fleet_detach();
	outside.world = NULL;
}

void outside_turn(void)
{
	if (outside.kind != OUTSIDE_NONE)
		fleet_turn();
}

static struct outside_value *draw_value(void)
{
	struct outside_value *value = &outside.values[outside_roll(OUTSIDE_VALUES)];
	for (size_t i = 0; i < OUTSIDE_VALUES && !buf_slice(&value->bytes).len; i++)
		value = &outside.values[(size_t)(value + 1 - outside.values) % OUTSIDE_VALUES];
	return buf_slice(&value->bytes).len ? value : NULL;
}

/* A stranger says that it is newer than any purge there will be. */
static void lie_of_number(struct outside_value *value)
{
	const struct stored_clock clock = outside_clock();
	struct entry *entry = NULL;
	if (stored_value_decode(buf_slice(&value->bytes), value->key, &clock, &entry) != STORED_OK)
		return;
	entry->number += UINT64_C(1) << 40;
	buf_reset(&value->bytes);
	bool fits = stored_value_encode(entry, 0, &clock, &value->bytes);
	assert(fits);
	entry_unref(entry);
}

static void damage(struct outside_value *value)
{
	unsigned how = outside_roll(4);
	if (how == 0) {
		buf_reset(&value->bytes); /* evicted */
	} else if (how == 1) {
		value->bytes.store->bytes[outside_roll((unsigned)value->bytes.len)] ^= (char)(1 + outside_roll(255));
	} else if (how == 2) {
		lie_of_number(value);
	} else { /* a stranger's reply: what stands under one key is another's */
		const struct outside_value *other = draw_value();
		struct buf copy = BUF_INIT(VALUE_BYTES);
		buf_put(&copy, buf_slice(&other->bytes));
		buf_reset(&value->bytes);
		buf_put(&value->bytes, buf_slice(&copy));
		buf_fini(&copy);
	}
}

void outside_stir(void)
{
	if (outside.kind == OUTSIDE_NONE)
		return;
	struct outside_value *value = draw_value();
	unsigned what = outside_roll(20);
	if (what == 0)
		tiers[outside_roll(outside.world->config->workers)].away_until_us =
			clock_now_us() + outside_roll(2 * CLOCK_US_PER_S);
	else if (what <= 2 && value)
		damage(value);
	else
		fleet_stir();
}

struct outside_counts outside_counts(void)
{
	return outside.counts;
}
