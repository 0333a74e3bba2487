/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key.h: what makes two calls the same call: tool and its version, canonical arguments, identity scope. The bytes of
 * all of it are in the key and compared in full, so that a collision costs a hit and never serves a wrong answer;
 * their SHA-256 names the entry in tiers outside the process.
 */
#ifndef JITNEY_CACHE_KEY_H
#define JITNEY_CACHE_KEY_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/json.h"
#include "base/outcome.h"
#include "base/slice.h"

enum {
	KEY_DIGEST_BYTES = 32,
	KEY_SCHEME = 1, /* first byte of a key: to be raised when anything about the bytes of keys changes */
	/* the same of one whose arguments are longer than KEY_SPELLED_BYTES: for them it has the SHA-256 of their bytes, as
	 * they are spelled. To put so many into their canonical form would hold a worker up, and to keep them would cost
	 * their memory twice; two spellings of such arguments are two calls */
	KEY_SCHEME_SPELLED = 2,
	KEY_SPELLED_BYTES = 256 * 1024
};

/* Refcounted, immutable. */
struct key {
	atomic_uint refs;
	uint8_t digest[KEY_DIGEST_BYTES]; /* SHA-256 of bytes: the same in every process */
	uint64_t hash; /* digest mixed with a per-process secret: for tables in memory, never shown */
	size_t len;
	char bytes[]; /* scheme, tool, version, identity, arguments (each with its length) */
};

/* Which of a call's arguments count, by the names of the object's own members; at most one of the lists is used. */
struct key_filter {
	const char *const *ignore; /* all but these count */
	size_t ignore_count;
	const char *const *only; /* these count, others do not */
	size_t only_count;
};

/* What a key is made of. All borrowed. */
struct key_parts {
	struct slice tool;    /* its name */
	struct slice version; /* of its definition: changes when method or template or upstream change */
	struct slice
		identity; /* by the tool's cache scope: "" shared, else tenant or caller, as the gateway wrote it */
	struct slice arguments;          /* raw JSON text; an object */
	const struct key_filter *filter; /* NULL: all arguments count. `version` differs where the filter does */
	bool sound;                      /* the arguments have been checked: they are JSON */
};

/* Take a reference (NULL stays NULL), and give one back: the last frees it. NULL is allowed. Any thread. */
struct key *key_ref(struct key *key);
void key_unref(struct key *key);
static inline bool key_equal(const struct key *a, const struct key *b)
{
	return a == b || (a->hash == b->hash && a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0);
}

/* A key from its bytes, as another process made them. NULL: out of memory, or *wrong: they are no key of this version,
 * or not what the digest (KEY_DIGEST_BYTES) is of. */
struct key *key_restore(struct slice bytes, const uint8_t *digest, bool *wrong) MUST_CHECK;

/* The hash of the key with this digest (KEY_DIGEST_BYTES), in this process. */
uint64_t key_hash(const uint8_t *digest);

/* The name of the tool that a key was made of; empty for bytes that key_make has not made. */
struct slice key_tool(const struct key *key);
/* And of which version of it; empty: the key is none. */
struct slice key_version(const struct key *key);

/*
 * Makes keys, and remembers the last ones by the raw bytes they were made from, so that a repeat of the very same
 * bytes is not parsed again. The memory is a pure function's: it never needs invalidating. One per thread.
 */
struct key_maker;

enum { KEY_MEMO_BYTES = 2048 };
/* `slots` remembered calls (rounded up to a power of two; 0: none) of at most KEY_MEMO_BYTES raw bytes each; arguments
 * nested at most max_depth deep. NULL when out of memory. */
struct key_maker *key_maker_new(size_t slots, unsigned max_depth) MUST_CHECK;
/* So deep from now on. Fewer than before: what is remembered is forgotten, since it may be deeper. */
void key_maker_set_depth(struct key_maker *maker, unsigned max_depth);
void key_maker_free(struct key_maker *maker);

/*
 * The key of a call; *key is a new reference.
 * Returns OUTCOME_INVALID_JSON (arguments are not one JSON text, *fault says why), OUTCOME_INVALID_REQUEST (JSON, but
 * not an object), OUTCOME_OVERLOADED (out of memory).
 */
enum outcome key_make(struct key_maker *maker, const struct key_parts *parts, struct key **key,
		      struct json_fault *fault) MUST_CHECK;

#endif
