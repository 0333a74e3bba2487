/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tier.h: the interface of a tier outside the process (Redis, and what may come behind or beside it: a disk): looked up
 * without blocking, within a budget of its own, and good for nothing but speed: whatever is wrong with it is a miss.
 * One instance per worker, used by that worker's thread only.
 */
#ifndef JITNEY_CACHE_TIER_H
#define JITNEY_CACHE_TIER_H

#include <stdint.h>

#include "base/compiler.h"
#include "base/owner.h"
#include "cache/memory.h"

/* Who fetches what is not there, where several gateways share the tier. */
enum tier_claim {
	CLAIM_NONE, /* everybody for himself */
	CLAIM_OURS, /* this one; tier_release when it has stored it, or will not */
	CLAIM_HELD  /* another one does just now: ask again a little later */
};

/* One look-up under way. Embedded in its owner; `done` set, the rest the tier's. */
struct tier_lookup {
	/* Once, unless cancelled; never from within tier_get. `entry` is the callee's reference, in no memory tier yet,
	 * fresh or past its time; NULL: a miss, for whatever reason. May start look-ups and stores. */
	void (*done)(struct tier_lookup *lookup, struct entry *entry);
	void *operation;       /* NULL: not under way */
	bool failed;           /* set before done is called: the tier did not answer, or not well */
	enum tier_claim claim; /* of tier_claim: set before done is called */
	uint8_t seen[8];       /* the tier's: which value the last look-up has found; zeros: none */
};

/* How an answer is stored. */
enum {
	TIER_RELEASES = 1, /* the claim of its fetch too, in one */
	/* its look-up failed: what is there may be what nobody can read in time. It is stored even if the tier is left
	 * alone just now, or nothing would ever take the place of that */
	TIER_REPLACES = 2
};

struct tier;

struct tier_kind {
	enum cache_tier label; /* of metrics, and of Cache-Status' detail */
	bool (*get)(struct tier *tier, struct tier_lookup *lookup, struct key *key, uint64_t now_us);
	void (*cancel)(struct tier *tier, struct tier_lookup *lookup);
	bool (*put)(struct tier *tier, struct entry *entry, unsigned how, uint64_t now_us);
	bool (*remove)(struct tier *tier, const uint8_t *digest, uint64_t now_us);
	/* NULL: nobody shares it */
	bool (*claim)(struct tier *tier, struct tier_lookup *lookup, struct key *key, uint64_t now_us);
	void (*release)(struct tier *tier, const uint8_t *digest, uint64_t now_us); /* NULL: without claim */
	void (*tick)(struct tier *tier, uint64_t now_us);
	uint64_t (*deadline)(const struct tier *tier);
	void (*free)(struct tier *tier);
};

/* The first member of every tier. */
struct tier {
	const struct tier_kind *kind;
	const struct owner *owner; /* its worker's */
	uint64_t claim_us; /* a claim ends by itself after so long, and is waited for no longer; 0: nobody claims */
};

/* Look a key up (a reference is taken). False: it is a miss, told at once, done will not be called: the tier is away,
 * or has enough to do. */
static inline bool MUST_CHECK tier_get(struct tier *tier, struct tier_lookup *lookup, struct key *key, uint64_t now_us)
{
	assert_owner(tier->owner);
	return tier->kind->get(tier, lookup, key, now_us);
}

/* Nobody wants it any more; done is not called. Allowed if not under way. */
static inline void tier_cancel(struct tier *tier, struct tier_lookup *lookup)
{
	if (lookup->operation)
		tier->kind->cancel(tier, lookup);
}

/* Store until its entry_gone_us; `how` is TIER_RELEASES and TIER_REPLACES, or neither. What becomes of it nobody is
 * told. False: it will not be stored, and a claim is still there. A reference is taken if need be. */
static inline bool tier_put(struct tier *tier, struct entry *entry, unsigned how, uint64_t now_us)
{
	assert_owner(tier->owner);
	return tier->kind->put(tier, entry, how, now_us);
}

/* Drop what is stored under a key's digest (KEY_DIGEST_BYTES). False: it may stay there, for now nothing can be done.
 */
static inline bool tier_remove(struct tier *tier, const uint8_t *digest, uint64_t now_us)
{
	assert_owner(tier->owner);
	return tier->kind->remove(tier, digest, now_us);
}

/* Look once more, and if there is nothing but what the last look-up found, claim the fetch; lookup->claim says with
 * what success. False: everybody for himself, done will not be called. */
static inline bool MUST_CHECK tier_claim(struct tier *tier, struct tier_lookup *lookup, struct key *key,
					 uint64_t now_us)
{
	assert_owner(tier->owner);
	return tier->kind->claim && tier->kind->claim(tier, lookup, key, now_us);
}

/* The claim is over, and nothing was stored. A claim that is not released ends by itself. */
static inline void tier_release(struct tier *tier, const uint8_t *digest, uint64_t now_us)
{
	assert_owner(tier->owner);
	tier->kind->release(tier, digest, now_us);
}

/* Once a turn, after all that asks and stores: send it, end what is overdue. */
static inline void tier_tick(struct tier *tier, uint64_t now_us)
{
	assert_owner(tier->owner);
	tier->kind->tick(tier, now_us);
}

/* When tick has something to do at the latest. */
static inline uint64_t tier_deadline(const struct tier *tier)
{
	return tier->kind->deadline(tier);
}

/* No look-up may be under way. NULL is allowed. */
static inline void tier_free(struct tier *tier)
{
	if (tier)
		tier->kind->free(tier);
}

#endif
