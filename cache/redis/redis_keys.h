/* SPDX-License-Identifier: Apache-2.0 */
/* redis_keys.h: what things are called in Redis: PREFIX:SCHEME:DIGEST for a value, the digest in hex, and the rest of
 * the fleet's names beside it. Another scheme's keys are never touched. Knows nothing of hiredis. */
#ifndef JITNEY_CACHE_REDIS_REDIS_KEYS_H
#define JITNEY_CACHE_REDIS_REDIS_KEYS_H

#include <stdio.h>

#include "cache/key.h"

#define REDIS_KEY_SCHEME "1"

enum { REDIS_PREFIX_BYTES = 64, REDIS_KEY_BYTES = 2 * REDIS_PREFIX_BYTES + 2 * KEY_DIGEST_BYTES + 32 };

/* PREFIX:SCHEME:word. */
static inline struct slice redis_name(const char *prefix, const char *word, char text[REDIS_KEY_BYTES])
{
	int len = snprintf(text, REDIS_KEY_BYTES, "%.*s:" REDIS_KEY_SCHEME ":%.*s", REDIS_PREFIX_BYTES, prefix,
			   2 * KEY_DIGEST_BYTES, word);
	return (struct slice){ text, (size_t)len };
}

/* The key of the value with this digest. */
static inline struct slice redis_key(const char *prefix, const uint8_t *digest, char text[REDIS_KEY_BYTES])
{
	static const char digits[] = "0123456789abcdef";
	struct slice key = redis_name(prefix, "", text);
	for (size_t i = 0; i < KEY_DIGEST_BYTES; i++) {
		text[key.len++] = digits[digest[i] >> 4];
		text[key.len++] = digits[digest[i] & 15];
	}
	return key;
}

/* Who fetches it: not among the tracked names, and, by the braces, in the value's slot of a cluster. */
static inline struct slice redis_lease_key(const char *prefix, const uint8_t *digest, char text[REDIS_KEY_BYTES])
{
	char value[REDIS_KEY_BYTES];
	struct slice key = redis_key(prefix, digest, value);
	int len =
		snprintf(text, REDIS_KEY_BYTES, "%.*s:lease:{%.*s}", REDIS_PREFIX_BYTES, prefix, (int)key.len, key.at);
	return (struct slice){ text, (size_t)len };
}

#endif
