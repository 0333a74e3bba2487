/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_seal.h: 32 bytes behind a value, made with cache.redis.secret (HMAC, RFC 2104, over SHA-256): who cannot make them
 * cannot make answers, though he can write to this Redis. The fleet's prefix is part of what is signed, the key of the value.
 */
#ifndef JITNEY_CACHE_REDIS_REDIS_SEAL_H
#define JITNEY_CACHE_REDIS_REDIS_SEAL_H

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "cache/redis/redis_settings.h"

enum { SEAL_BYTES = 32 };

/* False: out of memory. */
static inline bool seal_make(const struct redis_settings *settings, struct slice value, unsigned char seal[SEAL_BYTES])
{
	/* two keys of one secret: values, and nothing else that may be signed with it one day */
	unsigned char key[SEAL_BYTES];
	char purpose[160];
	unsigned len = 0;
	int purpose_len = snprintf(purpose, sizeof purpose, "jitney value %s", settings->prefix);
	return HMAC(EVP_sha256(), settings->secret, (int)strlen(settings->secret), (const unsigned char *)purpose,
		    (size_t)purpose_len, key, &len) &&
	       HMAC(EVP_sha256(), key, sizeof key, (const unsigned char *)value.at, value.len, seal, &len);
}

/* Appends it, if there is a secret. False: no room, or no memory. */
static inline bool seal_put(const struct redis_settings *settings, struct buf *value)
{
	unsigned char seal[SEAL_BYTES];
	if (!settings->secret)
		return true;
	if (!seal_make(settings, buf_slice(value), seal))
		return false;
	buf_put(value, (struct slice){ (const char *)seal, sizeof seal });
	return !value->failed;
}

/* Takes it off, if there is a secret. False: it is not there, or not of these bytes. */
static inline bool seal_take(const struct redis_settings *settings, struct slice *value)
{
	unsigned char seal[SEAL_BYTES];
	if (!settings->secret)
		return true;
	if (value->len < SEAL_BYTES)
		return false;
	value->len -= SEAL_BYTES;
	return seal_make(settings, *value, seal) && CRYPTO_memcmp(seal, value->at + value->len, SEAL_BYTES) == 0;
}

#endif
