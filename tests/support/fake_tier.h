/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_tier.h: a tier behind memory that answers when the test says so, one a worker of the world. One file a program
 * includes it, in the place of gateway_test.h.
 */
#ifndef TESTS_SUPPORT_FAKE_TIER_H
#define TESTS_SUPPORT_FAKE_TIER_H

#include "tests/support/gateway_test.h"

#define S CLOCK_US_PER_S
enum { WORKERS = 2 };

/* One worker's. */
struct fake_tier {
	struct tier base;
	struct tier_lookup *lookup; /* the one under way */
	struct key *key;
	size_t asked, cancelled, stored, removed;
	bool away; /* every look-up is a miss at once */
	size_t claimed, released;
};

static struct fake_tier tiers[WORKERS];

static inline struct fake_tier *of(struct tier *tier)
{
	return container_of(tier, struct fake_tier, base);
}

static inline bool fake_get(struct tier *tier, struct tier_lookup *lookup, struct key *key, uint64_t now_us)
{
	struct fake_tier *fake = of(tier);
	(void)now_us;
	if (fake->away)
		return false;
	assert_null(fake->lookup);
	fake->asked++;
	fake->lookup = lookup;
	fake->key = key_ref(key);
	lookup->operation = fake;
	return true;
}

static inline struct tier_lookup *forget(struct fake_tier *fake)
{
	struct tier_lookup *lookup = fake->lookup;
	lookup->operation = NULL;
	fake->lookup = NULL;
	key_unref(fake->key);
	return lookup;
}

static inline void fake_cancel(struct tier *tier, struct tier_lookup *lookup)
{
	assert_ptr_equal(of(tier)->lookup, lookup);
	of(tier)->cancelled++;
	forget(of(tier));
}

static inline bool fake_claim(struct tier *tier, struct tier_lookup *lookup, struct key *key, uint64_t now_us)
{
	(void)now_us;
	if (of(tier)->away)
		return false;
	of(tier)->claimed++;
	of(tier)->lookup = lookup;
	of(tier)->key = key_ref(key);
	lookup->operation = of(tier);
	return true;
}

static inline void fake_release(struct tier *tier, const uint8_t *digest, uint64_t now_us)
{
	(void)digest;
	(void)now_us;
	of(tier)->released++;
}

static inline bool fake_put(struct tier *tier, struct entry *entry, unsigned how, uint64_t now_us)
{
	(void)entry;
	(void)now_us;
	of(tier)->stored++;
	of(tier)->released += how & TIER_RELEASES ? 1 : 0;
	return true;
}

static inline bool fake_remove(struct tier *tier, const uint8_t *digest, uint64_t now_us)
{
	(void)digest;
	(void)now_us;
	of(tier)->removed++;
	return true;
}

static inline void fake_tick(struct tier *tier, uint64_t now_us)
{
	(void)tier;
	(void)now_us;
}

static inline uint64_t fake_deadline(const struct tier *tier)
{
	(void)tier;
	return CLOCK_NEVER;
}

static inline void fake_free(struct tier *tier)
{
	assert_null(of(tier)->lookup);
}

static const struct tier_kind fake_kind = {
	.label = TIER_REDIS,
	.get = fake_get,
	.cancel = fake_cancel,
	.put = fake_put,
	.remove = fake_remove,
	.claim = fake_claim,
	.release = fake_release,
	.tick = fake_tick,
	.deadline = fake_deadline,
	.free = fake_free,
};

static inline void start_with(const char *yaml)
{
	gateway_start(&world, yaml);
	memset(tiers, 0, sizeof tiers);
	for (unsigned i = 0; i < world.config->workers; i++) {
		tiers[i].base.kind = &fake_kind;
		tiers[i].base.owner = worker_owner(world.gateway.workers[i]);
		world.gateway.workers[i]->tier = &tiers[i].base;
	}
}

/* The tier has nothing. */
static inline void miss(struct fake_tier *fake)
{
	struct tier_lookup *lookup = forget(fake);
	lookup->done(lookup, NULL);
	gateway_settle(&world);
}

/* The tier has what `ask` will take for its own, stored `age_us` ago and fresh for `fresh_us` from then. */
static inline void hit(struct fake_tier *fake, const struct ask *ask, uint64_t age_us, uint64_t fresh_us)
{
	struct answer *answer = answer_result(slice_of(ask->arguments), true, NULL);
	struct entry *entry = entry_new(fake->key, answer);
	answer_unref(answer);
	entry->made_us = entry->stored_us = world.now_us - age_us;
	entry->fresh_until_us = entry->stored_us + fresh_us;
	entry->revalidate_until_us = entry->fresh_until_us + 30 * S;
	entry->error_until_us = entry->fresh_until_us + 3600 * S;
	struct tier_lookup *lookup = forget(fake);
	lookup->done(lookup, entry);
	gateway_settle(&world);
}

static inline void ask_settled(struct ask *ask, unsigned worker, const char *tool, unsigned tag)
{
	ask_once(&world, ask, worker, tool, tag);
	gateway_settle(&world);
}

/* A world in which the first caller has asked, and the tier is looked in for him. */
static inline void start_asked(struct ask *ask, unsigned worker)
{
	start_with(gateway_yaml);
	ask_settled(ask, worker, "cached", 1);
}

static inline void start_fleet(void)
{
	start_with(gateway_yaml);
	for (unsigned i = 0; i < WORKERS; i++) {
		tiers[i].base.claim_us = S;
		assert_true(loop_timers_reserve(world.gateway.workers[i]->loop, 16));
	}
}

/* What became of the claim. */
static inline void answer_claim(struct fake_tier *fake, enum tier_claim claim)
{
	struct tier_lookup *lookup = forget(fake);
	lookup->claim = claim;
	lookup->done(lookup, NULL);
	gateway_settle(&world);
}

#endif
