/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_settings.h: where Redis is and how it is spoken to: what the configuration says, and the reading of its URL.
 * Knows nothing of hiredis, so that the gateway's configuration can hold it.
 */
#ifndef JITNEY_CACHE_REDIS_REDIS_SETTINGS_H
#define JITNEY_CACHE_REDIS_REDIS_SETTINGS_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/slice.h"

enum { REDIS_PORT = 6379, SENTINEL_PORT = 26379, REDIS_HOST_BYTES = 254, REDIS_PATH_BYTES = 108 };

struct redis_tls;

struct redis_node {
	char host[REDIS_HOST_BYTES]; /* a name, or an address without brackets */
	uint16_t port;
};

/* Frozen; outlives every connection made from it. */
struct redis_settings {
	struct redis_node node;      /* host "": see path */
	char path[REDIS_PATH_BYTES]; /* of a unix socket; "": none */
	unsigned database;
	const char *username;      /* NULL: none, which is the user "default" */
	const char *password;      /* NULL: no AUTH */
	const char *sentinel_name; /* of the master, as the Sentinels know it; NULL: node or path is the server */
	const struct redis_node *sentinels;
	size_t sentinel_count;
	const char *sentinel_password; /* NULL: no AUTH there */
	const struct redis_tls
		*tls; /* NULL: in the clear; of the servers, and of the Sentinels; each connection copies it */
	const char *server_name;     /* what the certificate must be for; NULL: the node's host */
	const char *secret;          /* values are signed with it; NULL: not signed */
	const char *prefix;          /* of every key */
	uint64_t timeout_us;         /* from sending a command to its reply */
	uint64_t connect_timeout_us; /* of each step to a connection: resolve, connect, set up */
	size_t max_commands;         /* unanswered at once, per connection; more are refused */
	size_t max_value_bytes;      /* longer ones are not stored */
	size_t compress_bytes;       /* bodies of at least this length are compressed; 0: none */
	bool tracking;               /* hear what others change: redis_tracking.h */
	uint64_t untracked_us;       /* for how long memory is believed while that is not heard */
	uint64_t lease_us; /* how long one gateway may keep the others from fetching the same; 0: not at all */
};

/* What a URL says. Only what stands in it is set. */
struct redis_url {
	struct redis_node node;
	char path[REDIS_PATH_BYTES];
	bool tls; /* rediss:// */
	unsigned database;
	char username[256]; /* "": none */
	char password[512]; /* "": none */
};

/*
 * Read redis:// or rediss:// and [USER[:PASSWORD]@]HOST[:PORT][/DATABASE], redis://HOST, unix:PATH or unix:PATH?db=N; user and password
 * may be percent-encoded, an IPv6 address stands in brackets.
 * Returns NULL, or what is wrong and what to do (a phrase, static storage, nothing of the URL in it).
 */
const char *redis_url_parse(struct slice text, struct redis_url *url) MUST_CHECK;
/* HOST[:PORT] or [ADDRESS]:PORT. The same return. */
const char *redis_node_parse(struct slice text, uint16_t default_port, struct redis_node *node) MUST_CHECK;

#endif
