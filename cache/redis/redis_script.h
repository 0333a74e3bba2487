/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_script.h: a Lua script that Redis remembers: sent whole once (EVAL), by its SHA-1 from then on (EVALSHA), and
 * whole again after Redis has forgotten it (NOSCRIPT: a restart, a failover). One per connection.
 */
#ifndef JITNEY_CACHE_REDIS_REDIS_SCRIPT_H
#define JITNEY_CACHE_REDIS_REDIS_SCRIPT_H

#include <openssl/evp.h>
#include <string.h>

#include "base/hex.h"

struct redis_script {
	const char *text;
	char sha[41]; /* in hex; "": there is no SHA-1 here, it is always sent whole */
	bool known;   /* Redis has it */
};

/* `text` (static) has not been sent yet. */
static inline void redis_script_init(struct redis_script *script, const char *text)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	*script = (struct redis_script){ .text = text };
	if (EVP_Digest(text, strlen(text), digest, &len, EVP_sha1(), NULL) != 1)
		return;
	hex_write(script->sha, digest, len);
}

/* The first two words of its command. */
static inline void redis_script_words(const struct redis_script *script, struct slice words[2])
{
	bool whole = !script->known || !script->sha[0];
	words[0] = whole ? SLICE("EVAL") : SLICE("EVALSHA");
	words[1] = slice_of(whole ? script->text : script->sha);
}

/* How it was answered; `error` NULL: well. True: Redis has forgotten it. */
static inline bool redis_script_answered(struct redis_script *script, const char *error)
{
	bool forgotten = error && strncmp(error, "NOSCRIPT", 8) == 0;
	script->known = !error || (script->known && !forgotten);
	return forgotten;
}

#endif
