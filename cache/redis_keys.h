/* redis_keys.h: what things are called in Redis: PREFIX:SCHEME:DIGEST for a value, the digest in hex, and the rest of
 * the fleet's names beside it. Another scheme's keys are never touched. Knows nothing of hiredis. */
#ifndef JITNEY_CACHE_REDIS_KEYS_H
#define JITNEY_CACHE_REDIS_KEYS_H

#include <stdio.h>

#include "cache/key.h"

#define REDIS_KEY_SCHEME "1"

enum { REDIS_PREFIX_BYTES = 64, REDIS_KEY_BYTES = REDIS_PREFIX_BYTES + 2 * KEY_DIGEST_BYTES + 32 };

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

#endif
