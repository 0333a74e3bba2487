/* SPDX-License-Identifier: Apache-2.0 */
/* redis_commands.c: the words of each command of the tier, as Redis gets them. */
#include <stdio.h>

#include "cache/redis/redis_keys.h"
#include "cache/redis/redis_seal.h"
#include "cache/redis/redis_tier_private.h"
#include "cache/stored_value.h"

enum { SCRATCH_KEPT_BYTES = 256 * 1024 };

/* The value if it is another one than was seen; else 1: the lease is the caller's; 0: somebody else's. */
static const char claim_script[] = "local value = redis.call('GETRANGE', KEYS[1], 0, ARGV[4])\n"
				   "if value ~= '' and string.sub(value, 9, 16) ~= ARGV[3] then return value end\n"
				   "if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end\n"
				   "return 0\n";
static const char release_script[] = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end\n"
				     "return redis.call('DEL', KEYS[1])\n";

/* What was fetched, and the end of the lease that kept the others waiting for it. */
static const char store_script[] = "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])\n"
				   "if redis.call('GET', KEYS[2]) == ARGV[3] then redis.call('DEL', KEYS[2]) end\n"
				   "return 1\n";

void redis_tier_scripts_init(struct redis_tier *tier)
{
	redis_script_init(&tier->claim, claim_script);
	redis_script_init(&tier->release, release_script);
	redis_script_init(&tier->store, store_script);
}

static struct slice write_key(const struct redis_tier *tier, const uint8_t *digest, char text[REDIS_KEY_BYTES])
{
	return redis_key(tier->settings->prefix, digest, text);
}

static struct slice put_number(char text[24], uint64_t number)
{
	return (struct slice){ text, (size_t)snprintf(text, 24, "%llu", (unsigned long long)number) };
}

static bool send_words(struct operation *operation, size_t argc, const struct slice *argv)
{
	return redis_connection_send(operation->tier->connection, &operation->command, argc, argv, operation->asked_us);
}

/* The place of the last byte that is asked for: one more than a value of ours has, whose presence tells that it is none.
 * What a stranger has put there, of any size, must not hold up the replies behind it. */
static struct slice put_last(const struct redis_tier *tier, char text[24])
{
	return put_number(text, tier->settings->max_value_bytes);
}

/* `name`'s value; "": there is none. */
static bool send_read(struct operation *operation, struct slice name)
{
	char last[24];
	const struct slice argv[] = { SLICE("GETRANGE"), name, SLICE("0"), put_last(operation->tier, last) };
	return send_words(operation, countof(argv), argv);
}

static bool send_get(struct operation *operation)
{
	char text[REDIS_KEY_BYTES];
	return send_read(operation, write_key(operation->tier, operation->key->digest, text));
}

static bool send_del(struct operation *operation)
{
	char text[REDIS_KEY_BYTES];
	const struct slice argv[] = { SLICE("DEL"), write_key(operation->tier, operation->digest, text) };
	return send_words(operation, countof(argv), argv);
}

static bool send_probe_words(struct operation *operation)
{
	char text[REDIS_KEY_BYTES];
	return send_read(operation, redis_name(operation->tier->settings->prefix, "probe", text));
}

static bool send_claim(struct operation *operation)
{
	struct redis_tier *tier = operation->tier;
	char value[REDIS_KEY_BYTES], lease[REDIS_KEY_BYTES], px[24], last[24];
	const uint8_t *digest = operation->key->digest;
	struct slice argv[] = { { NULL, 0 },
				{ NULL, 0 },
				SLICE("2"),
				write_key(tier, digest, value),
				redis_lease_key(tier->settings->prefix, digest, lease),
				slice_of(tier->token),
				put_number(px, tier->settings->lease_us / CLOCK_US_PER_MS),
				{ (const char *)operation->lookup->seen, sizeof operation->lookup->seen },
				put_last(tier, last) };
	redis_script_words(&tier->claim, argv);
	return send_words(operation, countof(argv), argv);
}

static bool send_release(struct operation *operation)
{
	struct redis_tier *tier = operation->tier;
	char lease[REDIS_KEY_BYTES];
	struct slice argv[] = { { NULL, 0 },
				{ NULL, 0 },
				SLICE("1"),
				redis_lease_key(tier->settings->prefix, operation->digest, lease),
				slice_of(tier->token) };
	redis_script_words(&tier->release, argv);
	return send_words(operation, countof(argv), argv);
}

bool redis_tier_encode(struct redis_tier *tier, const struct entry *entry)
{
	/* not the turn's: see stored_value_is_of */
	const struct stored_clock clock = { clock_now_us(), clock_wall_us() };
	buf_reset(&tier->scratch);
	return stored_value_encode(entry, tier->settings->compress_bytes, &clock, &tier->scratch) &&
	       seal_put(tier->settings, &tier->scratch);
}

static bool send_set_words(struct operation *operation, uint64_t px_ms)
{
	struct redis_tier *tier = operation->tier;
	char key[REDIS_KEY_BYTES], lease[REDIS_KEY_BYTES], px[24];
	struct slice value = buf_slice(&tier->scratch);
	const struct slice plain[] = { SLICE("SET"), write_key(tier, operation->digest, key), value, SLICE("PX"),
				       put_number(px, px_ms) };
	struct slice script[] = { { NULL, 0 },
				  { NULL, 0 },
				  SLICE("2"),
				  plain[1],
				  redis_lease_key(tier->settings->prefix, operation->digest, lease),
				  value,
				  plain[4],
				  slice_of(tier->token) };
	if (!operation->releases)
		return send_words(operation, countof(plain), plain);
	redis_script_words(&tier->store, script);
	return send_words(operation, countof(script), script);
}

static bool send_set(struct operation *operation)
{
	struct redis_tier *tier = operation->tier;
	uint64_t now_us = loop_now(tier->loop), gone_us = entry_gone_us(operation->entry);
	uint64_t px_ms = gone_us > now_us ? (gone_us - now_us) / CLOCK_US_PER_MS : 0;
	operation->asked_us = now_us; /* nobody waits for it */
	bool sent = px_ms && (operation->encoded || redis_tier_encode(tier, operation->entry)) &&
		    send_set_words(operation, px_ms);
	if (sent)
		cache_stores_outside(tier->cache, operation->digest, now_us);
	if (tier->scratch.len > SCRATCH_KEPT_BYTES)
		buf_fini(&tier->scratch);
	return sent;
}

bool redis_operation_send(struct operation *operation)
{
	switch (operation->kind) {
	case REDIS_COMMAND_GET:
		return send_get(operation);
	case REDIS_COMMAND_SET:
		return send_set(operation);
	case REDIS_COMMAND_DEL:
		return send_del(operation);
	case REDIS_COMMAND_LEASE:
		return send_claim(operation);
	case REDIS_COMMAND_RELEASE:
		return send_release(operation);
	default:
		return send_probe_words(operation);
	}
}
