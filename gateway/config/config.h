/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h: the configuration, validated and frozen. Read from YAML (options.h has the table of all options); every
 * mistake in the file is reported at once, each with file:line:column. After config_load nothing changes it; modules
 * get the part they need.
 */
#ifndef JITNEY_GATEWAY_CONFIG_CONFIG_H
#define JITNEY_GATEWAY_CONFIG_CONFIG_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/log.h"
#include "batcher/policy.h"
#include "cache/cache.h"
#include "cache/disk/disk_settings.h"
#include "cache/redis/redis_settings.h"
#include "gateway/config/alert_options.h"
#include "gateway/http/settings.h"
#include "gateway/config/secrets.h"
#include "gateway/config/tool.h"
#include "upstream/upstream.h"

struct config_drafts;  /* config_private.h */
struct trace_settings; /* gateway/trace/settings.h */

struct upstream_config {
	struct upstream_settings settings;
	struct endpoint_policy balancing; /* as in settings.balancing */
	struct batch_policy batch;
	unsigned writes;            /* enum write_sharing */
	size_t refreshes;           /* background refreshes at once */
	unsigned owners;            /* workers that may send to it, if there are so many */
	size_t owners_asked;        /* as configured; 0: auto */
	const char *owners_because; /* auto: "beside health, ...": why it is so many; NULL: a number was given */
	struct exposure exposure;
	/* what runs by it, set before it is used: the same in every generation in which its options are the same */
	struct provider *provider;  /* gateway/call/provider.h */
	struct tool_source *source; /* gateway/tools/registry.h; NULL: it lists no tools */
};

/* "upstreams.NAME.owners: auto is 4 since there are so many workers"; nothing, if a number was given. */
void upstream_put_owners(struct buf *out, const struct upstream_config *upstream);
/* Whether several calls may share a request to it: what fails the request then fails them all. And how many at most. */
bool upstream_shares_requests(const struct upstream_config *upstream);
size_t upstream_request_calls(const struct upstream_config *upstream);
/* With whose calls one of this tool may share a request, as far as batch.writes has a say. */
enum company { COMPANY_OF_ANYBODY, COMPANY_OF_ONE_CALLER, COMPANY_OF_NOBODY };
enum company tool_company(const struct tool *tool, const struct upstream_config *upstream);
/* The dialect of a tool whose calls do not all fit into one request, by name; NULL: they do. */
const char *tool_grouping_dialect(const struct tool *tool);

/* Whether replies to calls tell how they came about. */
enum reply_headers { REPLY_HEADERS_FULL, REPLY_HEADERS_MINIMAL };

enum { OWNERS_MOST = 64 };             /* of one upstream */
enum { CONFIG_FILE_BYTES = 16 << 20 }; /* a longer one, or any that it names, is refused */

/* A file that the configuration names for what it holds, by ${file:...} or an option that is a file. */
struct config_file {
	const char *path;
	const char *hash; /* of what it held when it was read; NULL: that stands in values, or it could not be read */
};

/* Which listeners serve /metrics. */
enum metrics_on { METRICS_ON_BOTH, METRICS_ON_ADMIN };

/*
 * What the gateway is told to do, in difference to what the process is made of: upstreams, tools, who may call.
 * Immutable once it is in use, and held by whoever borrows of it: a catalogue of its tools, a listing, the process. The
 * last one out frees it, and the file it was read from with it.
 */
struct generation {
	struct upstream_config *upstreams;
	size_t upstream_count;
	struct tool *tools; /* sorted by name */
	size_t tool_count;
	const char *const *hosts; /* names it may be reached by, beside loopback names and IP addresses; "*": any */
	size_t host_count;
	struct {
		const char *const *hosts; /* the same as `hosts` above, where it stood before */
		size_t host_count;
		const char *const *origins; /* beside loopback ones; "*": any */
		size_t origin_count;
		const char *issuer;   /* NULL: none */
		size_t subscriptions; /* open at once, over all workers */
		uint64_t await_lists_us;
		const char *lists;       /* a file; NULL: lists are not kept over a restart */
		const char *lists_shown; /* what messages call it */
		uint64_t list_ttl_us;    /* what clients are told of tools/list */
	} mcp;
	struct listen_address *listen;
	size_t listen_count;
	struct listen_address *admin;
	size_t admin_count;          /* 0: no admin listener */
	struct listener **listeners; /* those of listen, then of admin, open: set before it is used. Held */
	struct http_settings http;   /* limits of requests, trusted_proxies, identity */
	struct {
		size_t in_flight;
		unsigned json_depth;
	} limits;
	struct {
		enum log_level level;
		enum log_format format;
		const char *file; /* "stderr", "stdout" or a path */
	} log;
	uint64_t drain_timeout_us, drain_notice_us;
	bool core_dumps;        /* and whatever else looks into the process */
	unsigned reply_headers; /* enum reply_headers */
	size_t memory_bytes;    /* cache.memory.size; 0: no memory tier */
	struct {
		const char *url, *username, *password, *prefix;
		const char *ca_file, *cert_file, *key_file, *server_name, *secret;
		uint64_t timeout_us, connect_timeout_us, untracked_us, lease_us;
		bool tracking;
		unsigned database;
		size_t max_value_bytes, compress_bytes, in_flight;
		const char *sentinel_name, *sentinel_password;
		const char *const *sentinel_nodes;
		size_t sentinel_node_count;
	} redis_options;              /* cache.redis as written; see redis */
	struct redis_settings *redis; /* NULL: no Redis tier */
	struct generation *redis_of;  /* kept: where `redis` stands, if that is an older one; else NULL */
	struct alert_options alerts[ALERT_COUNT];
	struct alert_webhook_options webhook;
	struct {
		const char *endpoint; /* NULL: the environment's; "off": none */
		const struct upstream_header *headers;
		size_t header_count;
		unsigned percent;
		bool metrics;
		const char *ca_file, *compression; /* NULL: the environment's */
	} tracing;                                 /* tracing.otlp as written; see traces */
	const struct trace_settings *traces;       /* NULL: calls are not traced */
	unsigned metrics_on;                       /* enum metrics_on */
	bool access_log;                           /* a line in the log for each request */
	bool watch;                                /* the file, and those it names, are watched */
	const char *debounce;                      /* as written */
	uint64_t debounce_us;                      /* 0: it is found by how they are written */
	const struct config_file *files;           /* that it names for what they hold, each once */
	size_t file_count;
	size_t bytes;         /* of the file */
	const char *hash;     /* likewise: SHA-256, 64 hexadecimal digits */
	uint64_t number;      /* 1: the one the process began with */
	uint64_t loaded_us;   /* wall clock; 0: it is not in use yet */
	const char *asked_by; /* "start", "signal HUP", "POST /admin/reload" ...: static storage; NULL likewise */
	/* Called once when the last holder has left, on his thread; NULL: nobody cares. */
	void (*ended)(struct generation *generation);
	atomic_size_t holders; /* a: all else is constant once it is in use */
};

/* One more holder, who must see it held until this has returned; and one less. Any thread. NULL is allowed for
 * unref. */
struct generation *generation_ref(const struct generation *generation);
void generation_unref(const struct generation *generation);
/* How many there are in generation->listeners; and end them, as far as it holds them. */
static inline size_t generation_listeners(const struct generation *generation)
{
	return generation->listeners ? generation->listen_count + generation->admin_count : 0;
}
void generation_forget_listeners(struct generation *generation);
/* What it says stays readable, though it may end: for an upstream that runs by its options in later generations too.
 * Any thread. */
void generation_keep(struct generation *generation);
void generation_unkeep(struct generation *generation);

/* What the process is made of, which nothing changes while it runs, and a generation. */
struct config {
	const char *path;            /* of the file, as given */
	const char *warnings;        /* what ought to be written another way, a line each, for stderr; NULL: nothing */
	unsigned workers;            /* >= 1; auto has been resolved */
	const char *takeover_socket; /* as written: a path, "auto" or "off" */
	struct disk_settings disk_options;  /* cache.disk as written; see disk */
	struct disk_settings *disk;         /* NULL: no disk tier */
	struct generation generation;       /* whose last holder frees all of this */
	atomic_size_t supervisors;          /* a: generation_keep's, and one for all holders of the generation */
	struct arena *arena;                /* owns every string and array above */
	struct secrets secrets;             /* those of them that are never shown */
	const struct config_drafts *drafts; /* what the file said, block by block: for config_json */
};

/*
 * Read and check a file. NULL: `errors` has one line for each mistake, "file:line:column: message", in file order
 * (or one line "file: message" if it cannot be read); at most 100, then a line that says how many more.
 * ${NAME} is the environment's, ${file:PATH} a file's content less its last newline; in values only, once.
 */
struct config *config_load(const char *path, struct buf *errors) MUST_CHECK;
/* The same, and append what files it names for what they hold, each with a NUL behind it: of one that is refused, too. */
struct config *config_load_noting(const char *path, struct buf *errors, struct buf *files) MUST_CHECK;
/* The same as config_load from a text in memory; `name` stands for the file in messages. */
struct config *config_parse(const char *name, struct slice text, struct buf *errors) MUST_CHECK;
/* The reader's hold on it ends: it is freed with the last holder of its generation. NULL is allowed. */
void config_free(struct config *config);

/* Whether the programs of upstreams that are child processes can be found. Errors as above, without a line: they say
 * something of this machine. */
bool config_programs(const struct config *config, struct buf *errors);

/* Append what is in force, defaults filled in, secrets shown as "***", as one JSON object, which can be read as a
 * configuration again; and with one member more, files, digests of those that options name: /admin/config. */
void config_json(const struct config *process, const struct generation *generation, struct buf *out);
void config_page(const struct config *process, const struct generation *generation, struct buf *out);
/* Append the JSON Schema (2020-12) of the file, made from the option table: `jitney check --schema`. */
void config_schema(struct buf *out);

#endif
