/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tool.h: one tool, declared in the configuration or made at run time of what an MCP server lists, and how an upstream
 * that lists its tools shows them. Frozen once made.
 */
#ifndef JITNEY_GATEWAY_CONFIG_TOOL_H
#define JITNEY_GATEWAY_CONFIG_TOOL_H

#include <stdint.h>

#include "base/compiler.h"
#include "cache/cache.h"

struct dialect_route;

enum identity_scope { SCOPE_SHARED, SCOPE_TENANT, SCOPE_CALLER };

/* What a tools: entry says itself, and a server's list therefore does not decide. */
enum overridden {
	OVERRIDES_DESCRIPTION = 1,
	OVERRIDES_TITLE = 2,
	OVERRIDES_INPUT_SCHEMA = 4,
	OVERRIDES_OUTPUT_SCHEMA = 8,
	OVERRIDES_READ_ONLY = 16,
	OVERRIDES_IDEMPOTENT = 32,
	OVERRIDES_DESTRUCTIVE = 64,
	OVERRIDES_OPEN_WORLD = 128,
	OVERRIDES_HINTS = OVERRIDES_READ_ONLY | OVERRIDES_IDEMPOTENT | OVERRIDES_DESTRUCTIVE | OVERRIDES_OPEN_WORLD,
	OVERRIDES_CACHE = 256
};

struct tool {
	const char *name;
	unsigned index;              /* the metrics label */
	bool declared;               /* in the configuration, be it as an entry about a listed one */
	unsigned upstream;           /* index in generation->upstreams */
	uint64_t definition;         /* of listed ones: a digest of all that the server says of it */
	struct dialect_route *route; /* owned */
	const char *description;     /* "" if none */
	const char *title;           /* "" if none */
	const char *input_schema;    /* JSON text of an object; {"type":"object"} if none */
	const char *output_schema;   /* JSON text, or NULL */
	bool read_only, idempotent, destructive, open_world; /* annotations */
	const char *version;       /* changes when method, request or upstream change; shown, knows no secret */
	const char *source;        /* the same with secrets, environment and tags: part of the key, shown to nobody */
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
	unsigned overridden;       /* of a declared tool: enum overridden */
};

/* May a call of it be merged with an identical one, cached, repeated? */
static inline bool tool_is_repeatable(const struct tool *tool)
{
	return tool->read_only || tool->idempotent;
}

/* Are answers of it kept? A negative_ttl alone keeps none. */
static inline bool tool_is_cached(const struct tool *tool)
{
	return tool_is_repeatable(tool) && tool->cache.ttl_us > 0;
}

/* Whether the tag is one of its own, letter by letter. */
static inline bool tool_has_tag(const struct tool *tool, struct slice tag)
{
	for (size_t i = 0; i < tool->tag_count; i++)
		if (slice_equal(slice_of(tool->tags[i]), tag))
			return true;
	return false;
}

/* What callers see of an upstream that lists its tools (dialect->lists_tools). */
enum tool_name_rules { NAMES_PREFIXED, NAMES_PLAIN };
struct exposure {
	enum tool_name_rules names;
	bool only_allowed;        /* what no glob in `allow` matches stays hidden */
	const char *const *allow; /* globs over the server's names */
	size_t allow_count;
	const char *const *deny; /* what one matches stays hidden */
	size_t deny_count;
	size_t max_tools;          /* names it may have in the life of the process */
	bool trust_hints;          /* its readOnlyHint and idempotentHint are believed */
	bool pass_hints;           /* its annotations go on to MCP clients */
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

#endif
