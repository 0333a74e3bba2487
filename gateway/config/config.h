/*
 * config.h: the configuration, validated and frozen. Read from YAML (options.h has the table of all options); every
 * mistake in the file is reported at once, each with file:line:column. After config_load nothing changes it; modules
 * get the part they need.
 */
#ifndef JITNEY_GATEWAY_CONFIG_CONFIG_H
#define JITNEY_GATEWAY_CONFIG_CONFIG_H

#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/log.h"
#include "batcher/batcher.h"
#include "cache/cache.h"
#include "cache/disk/disk_settings.h"
#include "cache/redis/redis_settings.h"
#include "gateway/http/address.h"
#include "upstream/upstream.h"

enum identity_scope { SCOPE_SHARED, SCOPE_TENANT, SCOPE_CALLER };

/* What a tools: entry says itself, and a server's list therefore does not decide. */
enum said {
	SAID_DESCRIPTION = 1,
	SAID_TITLE = 2,
	SAID_INPUT_SCHEMA = 4,
	SAID_OUTPUT_SCHEMA = 8,
	SAID_READ_ONLY = 16,
	SAID_IDEMPOTENT = 32,
	SAID_DESTRUCTIVE = 64,
	SAID_OPEN_WORLD = 128,
	SAID_HINTS = SAID_READ_ONLY | SAID_IDEMPOTENT | SAID_DESTRUCTIVE | SAID_OPEN_WORLD,
	SAID_CACHE = 256
};

struct tool {
	const char *name;
	unsigned index;              /* the metrics label; of a declared tool also its place in config->tools */
	unsigned upstream;           /* index in config->upstreams */
	struct dialect_route *route; /* owned */
	const char *description;     /* "" if none */
	const char *title;           /* "" if none */
	const char *input_schema;    /* JSON text of an object; {"type":"object"} if none */
	const char *output_schema;   /* JSON text, or NULL */
	bool read_only, idempotent, destructive, open_world; /* annotations */
	const char *version;       /* changes when method, request or upstream change; shown, knows no secret */
	const char *source;        /* the same with secrets and environment: part of the key, shown to nobody */
	uint64_t timeout_us;       /* default: the upstream's */
	struct cache_policy cache; /* ttl_us 0: not cached */
	struct key_filter key;     /* which arguments count, for the cache and for merging */
	enum identity_scope scope;
	const char *const *tags;
	size_t tag_count;
	const char *const *models; /* that POST /v1/embeddings gives to it */
	size_t model_count;        /* 0: all that no other tool names, if it is of an embeddings dialect */
	const char *remote;        /* of an upstream that lists its tools: its own name for this one; else NULL */
	const char *constants;     /* members that every call's arguments have: a JSON object; NULL: none */
	const char *mcp;           /* the tool as MCP callers see it: a JSON object; NULL: as the fields say */
	unsigned said;             /* of a declared tool: enum said */
};

/* May a call of it be merged with an identical one, cached, repeated? */
static inline bool tool_is_repeatable(const struct tool *tool)
{
	return tool->read_only || tool->idempotent;
}

/* What callers see of an upstream that lists its tools (dialect->lists_tools). */
enum naming { NAMES_PREFIXED, NAMES_PLAIN };
struct exposure {
	enum naming names;
	bool only_allowed;        /* what no glob in `allow` matches stays hidden */
	const char *const *allow; /* globs over the server's names */
	size_t allow_count;
	const char *const *deny; /* what one matches stays hidden */
	size_t deny_count;
	size_t max_tools;          /* names it may have in the life of the process */
	bool trust_hints;          /* its readOnlyHint and idempotentHint are believed */
	struct cache_policy cache; /* for tools with readOnlyHint; ttl_us 0: none */
	enum identity_scope scope;
	const char *const *tags;
	size_t tag_count;
	const char *version; /* changes when the upstream does; shown, knows no secret */
	const char *source;  /* the same with secrets and environment: part of keys, shown to nobody */
};

/* Who may share a request with a call that may not be sent twice: a request that fails, fails for all in it. The order
 * is the option's. */
enum write_sharing { WRITES_OF_ONE_CALLER, WRITES_OF_ANY, WRITES_ALONE };

struct upstream_config {
	struct upstream_settings settings;
	struct batch_policy batch;
	unsigned writes;  /* enum write_sharing */
	size_t refreshes; /* background refreshes at once */
	struct exposure exposure;
};

struct config {
	const char *path; /* of the file, as given */
	const char *warnings; /* what ought to be written another way, a line each, for stderr; NULL: nothing */
	struct listen_address *listen;
	size_t listen_count;
	struct listen_address *admin;
	size_t admin_count; /* 0: no admin listener */
	unsigned workers;   /* >= 1; auto has been resolved */
	uint64_t drain_timeout_us;
	bool core_dumps; /* and whatever else looks into the process */
	struct {
		enum log_level level;
		enum log_format format;
		const char *file; /* "stderr", "stdout" or a path */
		bool access;
	} log;
	struct {
		size_t body_bytes;
		size_t header_bytes;
		uint64_t header_timeout_us;
		uint64_t body_timeout_us;
		size_t send_rate; /* bytes a second */
		uint64_t idle_timeout_us;
		size_t connections;
		size_t in_flight;
		size_t in_flight_bytes;
		unsigned json_depth;
	} limits;
	struct network *trusted_proxies;
	size_t trusted_proxy_count;
	const char *tenant_header; /* NULL: none */
	const char *const *hosts;  /* names it may be reached by, beside loopback names and IP addresses; "*": any */
	size_t host_count;
	struct {
		const char *const *hosts; /* the same as `hosts` above, where it stood before */
		size_t host_count;
		const char *const *origins; /* beside loopback ones; "*": any */
		size_t origin_count;
		const char *issuer;   /* NULL: none */
		size_t subscriptions; /* open at once, over all workers */
		uint64_t await_lists_us;
		uint64_t list_ttl_us; /* what clients are told of tools/list */
	} mcp;
	size_t memory_bytes; /* cache.memory.size; 0: no memory tier */
	struct {
		const char *url, *username, *password, *prefix;
		uint64_t timeout_us, connect_timeout_us, untracked_us, lease_us;
		bool tracking;
		unsigned database;
		size_t max_value_bytes, compress_bytes, in_flight;
		const char *sentinel_name, *sentinel_password;
		const char *const *sentinel_nodes;
		size_t sentinel_node_count;
	} redis_options;                   /* cache.redis as written; see redis */
	struct redis_settings *redis;      /* NULL: no Redis tier */
	struct disk_settings disk_options; /* cache.disk as written; see disk */
	struct disk_settings *disk;        /* NULL: no disk tier */
	struct upstream_config *upstreams;
	size_t upstream_count;
	struct tool *tools; /* sorted by name */
	size_t tool_count;
	struct config_arena *arena; /* owns every string and array above */
};

/*
 * Read and check a file. NULL: `errors` has one line for each mistake, "file:line:column: message", in file order
 * (or one line "file: message" if it cannot be read); at most 100, then a line that says how many more.
 * ${NAME} is the environment's, ${file:PATH} a file's content less its last newline; in values only, once.
 */
struct config *config_load(const char *path, struct buf *errors) MUST_CHECK;
/* The same from a text in memory; `name` stands for the file in messages. */
struct config *config_parse(const char *name, struct slice text, struct buf *errors) MUST_CHECK;
void config_free(struct config *config);

/* Whether the programs of upstreams that are child processes can be found. Errors as above, without a line: they say
 * something of this machine. */
bool config_programs(const struct config *config, struct buf *errors);

/* Append what is in force, defaults filled in, secrets shown as "***", as one JSON object: /admin/config. */
void config_json(const struct config *config, struct buf *out);
/* Append the JSON Schema (2020-12) of the file, made from the option table: `jitney check --schema`. */
void config_schema(struct buf *out);

#endif
