/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h: every option of the configuration once: path, type, unit, bounds, default, help. Reading, defaults,
 * /admin/config, the JSON Schema and the checks of docs/configuration.md all come from this table. A path's `*` is a
 * name that the operator chooses, `[]` an element of a list.
 */
#ifndef JITNEY_GATEWAY_CONFIG_OPTIONS_H
#define JITNEY_GATEWAY_CONFIG_OPTIONS_H

#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/slice.h"
#include "gateway/config/alert_options.h"
#include "gateway/config/dialects.h"

/* What may stand there, and in which C type it ends up. */
enum option_kind {
	OPTION_BLOCK,    /* map of the options below it */
	OPTION_NAMED,    /* map from chosen names to blocks */
	OPTION_BLOCKS,   /* list of blocks */
	OPTION_BOOL,     /* bool */
	OPTION_COUNT,    /* size_t or unsigned */
	OPTION_WORKERS,  /* unsigned; "auto" is one a CPU */
	OPTION_AUTO,     /* size_t; "auto" is 0 */
	OPTION_PERCENT,  /* unsigned, whole */
	OPTION_DURATION, /* uint64_t, microseconds */
	OPTION_SIZE,     /* size_t, bytes */
	OPTION_RATE,     /* struct rate; bounds are its amount; absent: no limit */
	OPTION_ENUM,     /* unsigned: place in `words` */
	OPTION_WORD,     /* const char *: one of `words` */
	OPTION_TEXT,     /* const char *: bounds are bytes */
	OPTION_FILE, /* likewise, a path: what the file holds belongs to the configuration, and is watched with it */
	OPTION_HEADER_NAME, /* const char * */
	OPTION_ADDRESSES,   /* struct listen_address[]: one, or a list; bounds are elements; "off" where none is allowed
			     */
	OPTION_NETWORKS,    /* struct network[]; bounds are elements */
	OPTION_TEXTS,       /* const char *[]; bounds are elements; of text_bytes at most */
	OPTION_ARGUMENTS,   /* const char *[]: any texts; bounds are elements */
	OPTION_VARIABLES,   /* struct process_variable[]: map; bounds are members */
	OPTION_HEADERS,     /* struct upstream_header[]: map; bounds are members */
	OPTION_TEMPLATES,   /* struct route_pair[]: map; bounds are members */
	OPTION_HEADER_TEMPLATES, /* the same, names are header names */
	OPTION_SCHEMA,           /* const char *: a JSON Schema as JSON text */
	OPTION_OBJECT            /* const char *: a map as JSON text, ${...} in it filled in */
};

struct option {
	const char *path; /* "limits.body", "upstreams.*.endpoints[].url" */
	enum option_kind kind;
	const char *unit;     /* of min and max: "us", "bytes", "elements" or "" */
	uint64_t min, max;    /* inclusive, in `unit`; both 0: no bounds */
	const char *fallback; /* as it would be written; in (brackets): told to people, worked out elsewhere */
	const char *words;    /* of ENUM and WORD: "a|b|c", the enum's order */
	size_t at, bytes;     /* the field in its owner: struct config, upstream_draft, tool_draft or endpoint_draft */
	size_t count_at;      /* of lists: the size_t field that counts */
	size_t text_bytes;    /* of TEXTS: the longest element; the shortest is 1 */
	const char *help;
};

#define OPTION_REQUIRED "(required)"

extern const struct option option_table[];
extern const size_t option_count;

/* The option whose path is `prefix` followed by `key`; NULL if there is none. prefix: "" or ending in a dot. */
const struct option *option_find(const char *prefix, struct slice key);
/* The key that may stand after `prefix` and is nearest to what was typed; NULL if none is near. Static storage. */
const char *option_suggest(const char *prefix, struct slice typed);
/* The rows whose paths are right below `prefix` ("limits.body" is below "limits."), in the order of the table: the first
 * (after: NULL), or the one after another of them. NULL: there are no more. */
const struct option *option_below(const char *prefix, const struct option *after);
#define FOR_OPTIONS_BELOW(option, prefix)                                                                              \
	for (const struct option *(option) = option_below((prefix), NULL); option;                                     \
	     (option) = option_below((prefix), option))
/* The last part of its path: "body" of "limits.body". */
const char *option_key(const struct option *option);
/* The option that a block may be written as alone, as in `webhook: URL`; NULL: it has to be a map. */
const struct option *option_shorthand(const struct option *block);
/* Whether the option's default is a value to be read (and not a remark, or none). */
bool option_has_default(const struct option *option);
/* Append one of its bounds, or what it may be, as the file would have it. */
void option_put_bound(const struct option *option, uint64_t bound, struct buf *out);
/* Whether a reload can change it: it stands in struct generation. False for blocks, upstreams and tools. */
bool option_of_generation(const struct option *option);
/* Whether it can change under an upstream that runs on: then what runs behind it is the same, with other options. False
 * for all but upstreams' own. */
bool option_is_adjustable(const struct option *option);
/* Iterates over "a|b|c". *at starts at option->words; false at the end. */
bool option_next_word(const char **at, struct slice *word);
/* The n-th word, or empty. */
struct slice option_word(const struct option *option, unsigned n);

#define US_MS(n) ((n)*CLOCK_US_PER_MS)
#define US_S(n) ((n)*CLOCK_US_PER_S)
#define US_M(n) US_S((n)*60)
#define US_H(n) US_M((n)*60)
#define US_D(n) US_H((n)*24)
#define B_KIB(n) (UINT64_C(n) << 10)
#define B_MIB(n) (UINT64_C(n) << 20)
#define B_GIB(n) (UINT64_C(n) << 30)

/*
 * B(path, kind, max elements, help)                                           blocks
 * V(path, kind, owner, field, unit, min, max, default, words, help)           one value
 * L(path, kind, owner, field, count field, min, max, default, help)           lists and maps; bounds are elements
 * T(path, owner, field, count field, min, max, max bytes, default, help)      lists of texts; min, max are elements
 * A block stands before what is in it.
 */
/* clang-format off */
#define OPTION_TABLE(B, V, L, T)                                                                                       \
	L("listen", ADDRESSES, config, generation.listen, generation.listen_count, 1, 16, "127.0.0.1:8080",                                  \
	  "Where callers connect: ADDRESS:PORT, [IPV6]:PORT or unix:PATH; one, or a list.")                            \
	T("allowed_hosts", config, generation.hosts, generation.host_count, 0, 256, 255, NULL,                                               \
	  "Names that the gateway may be reached by, and whose pages may use it, beside localhost and IP addresses; "  \
	  "\"*\": any name (pages still need theirs).")                                                                \
	B("admin", BLOCK, 0, "The listener for operators.")                                                            \
	L("admin.listen", ADDRESSES, config, generation.admin, generation.admin_count, 0, 16, "127.0.0.1:8081",                              \
	  "Where operators connect; off: no admin listener.")                                                          \
	V("admin.metrics", ENUM, config, generation.metrics_on, "", 0, 0, "both", "both|admin",                                   \
	  "Which listeners serve /metrics: data and admin, or admin alone.")                                           \
	B("takeover", BLOCK, 0, "How a new process takes over from this one.")                                         \
	V("takeover.socket", TEXT, config, takeover_socket, "bytes", 1, 107, "auto", NULL,                             \
	  "Where a new process asks for the listeners (jitney serve --takeover): an absolute path, off, or auto: a "   \
	  "name made of the first address of listen, in $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR, $TMPDIR or /tmp.")        \
	V("workers", WORKERS, config, workers, "", 1, 256, "auto", NULL,                                               \
	  "Worker threads; auto: one for each CPU this process may use.")                                              \
	V("drain_timeout", DURATION, config, generation.drain_timeout_us, "us", 0, US_H(1), "10s", NULL,                          \
	  "How long a stop waits for calls in flight before it ends them.")                                            \
	V("drain_notice", DURATION, config, generation.drain_notice_us, "us", 0, US_M(10), "0s", NULL,                 \
	  "Before that: how long /readyz says 503 while all calls are still taken, on new connections too, so that "   \
	  "who asks for it goes elsewhere first.")                                                                     \
	V("core_dumps", BOOL, config, generation.core_dumps, "", 0, 0, "false", NULL,                                             \
	  "Let core dumps be written and debuggers attach. Then programs of the gateway's user, those that it runs "   \
	  "included, can read its memory and environment, secrets and all.")                                           \
	V("reply_headers", ENUM, config, generation.reply_headers, "", 0, 0, "full", "full|minimal",                              \
	  "Whether replies to calls say where the answer comes from and how long it took (Cache-Status, Age, "         \
	  "Server-Timing, X-Attempts, X-Batch-*), or only what a client acts on.")                                     \
	B("log", BLOCK, 0, "What is logged, how and where.")                                                           \
	V("log.level", ENUM, config, generation.log.level, "", 0, 0, "info", "error|warn|info|debug",                             \
	  "The least important level that is written.")                                                                \
	V("log.format", ENUM, config, generation.log.format, "", 0, 0, "logfmt", "logfmt|json",                                   \
	  "One line per event, in this form.")                                                                         \
	V("log.file", TEXT, config, generation.log.file, "bytes", 1, 4096, "stderr", NULL,                                        \
	  "stderr, stdout, or a path that is appended to.")                                                            \
	V("log.access", BOOL, config, generation.access_log, "", 0, 0, "true", NULL, "One line per finished request.")            \
	B("tracing", BLOCK, 0, "What a collector (OpenTelemetry) is told: where the time of single calls went, and metrics.")                      \
	B("tracing.otlp", BLOCK, 0, "By OpenTelemetry's protocol (OTLP), over HTTP with protobuf.")                    \
	V("tracing.otlp.endpoint", TEXT, config, generation.tracing.endpoint, "bytes", 1, 2048, "($OTEL_EXPORTER_OTLP_ENDPOINT)", \
	  NULL, "URL of the collector, to which /v1/traces and /v1/metrics are added; off: none, whatever the environment says.")       \
	L("tracing.otlp.headers", HEADERS, config, generation.tracing.headers, generation.tracing.header_count, 0, 32,                       \
	  NULL, "Headers sent with every request to the collector; without any, those of $OTEL_EXPORTER_OTLP_HEADERS.") \
	V("tracing.otlp.ca_file", FILE, config, generation.tracing.ca_file, "bytes", 1, 4096,                          \
	  "($OTEL_EXPORTER_OTLP_CERTIFICATE)", NULL,                                                                   \
	  "Who may vouch for a collector at https, as PEM; without either, the system's authorities.")                 \
	V("tracing.otlp.compression", WORD, config, generation.tracing.compression, "", 0, 0,                          \
	  "($OTEL_EXPORTER_OTLP_COMPRESSION)", "none|gzip", "Whether requests to the collector are compressed.")       \
	V("tracing.otlp.sample", PERCENT, config, generation.tracing.percent, "", 0, 100, "1%", NULL,                             \
	  "Of the calls whose caller does not say (traceparent) whether they are traced; failed, slow and split ones always are.") \
	V("tracing.otlp.metrics", BOOL, config, generation.tracing.metrics, "", 0, 0, "false", NULL,                   \
	  "All metrics of /metrics are sent there too, every minute or as $OTEL_METRIC_EXPORT_INTERVAL says.")         \
	B("limits", BLOCK, 0, "What a client may ask of the gateway.")                                                 \
	V("limits.body", SIZE, config, generation.http.body_bytes, "bytes", 1, B_GIB(1), "8MiB", NULL,                          \
	  "The longest request body; more is refused with 413.")                                                       \
	V("limits.headers", SIZE, config, generation.http.header_bytes, "bytes", B_KIB(1), B_MIB(1), "8KiB", NULL,              \
	  "The longest request head, of at most a header for every 98 bytes of this; more is refused with 431.")       \
	V("limits.header_timeout", DURATION, config, generation.http.header_timeout_us, "us", US_MS(1), US_M(10), "5s", NULL,   \
	  "From the first byte of a request to the end of its head; and from a new connection to its first byte.")     \
	V("limits.body_timeout", DURATION, config, generation.http.body_timeout_us, "us", US_MS(1), US_H(1), "30s", NULL,       \
	  "From the end of a request's head to the end of its body.")                                                  \
	V("limits.send_rate", SIZE, config, generation.http.send_rate, "bytes", 1, B_GIB(1), "16KiB", NULL,                     \
	  "Bytes a second of a reply that a client must take, once body_timeout is over; who is slower is cut off.")   \
	V("limits.idle_timeout", DURATION, config, generation.http.idle_timeout_us, "us", US_MS(1), US_D(1), "75s", NULL,       \
	  "How long a client's connection may stay open between requests.")                                            \
	V("limits.connections", COUNT, config, generation.http.connections, "", 1, 1000000, "10000", NULL,                      \
	  "Client connections at once, over all workers; one more is answered with 503 and closed. Admin listeners "   \
	  "have 64 places of their own.")                                                                              \
	V("limits.in_flight", COUNT, config, generation.limits.in_flight, "", 1, 10000000, "20000", NULL,                         \
	  "Calls at once; one more is refused with 503.")                                                              \
	V("limits.in_flight_bytes", SIZE, config, generation.http.held_bytes, "bytes", B_KIB(1), B_GIB(1024), "256MiB",    \
	  NULL,                                                                                                        \
	  "Bytes held for clients at once: request bodies, providers' answers as they arrive, and replies they are "   \
	  "slow to take; calls beyond it are refused with 503.")                                                       \
	V("limits.json_depth", COUNT, config, generation.limits.json_depth, "", 2, 1000, "64", NULL,                              \
	  "How deep JSON may be nested, in requests and in providers' answers.")                                       \
	L("trusted_proxies", NETWORKS, config, generation.http.trusted_proxies, generation.http.trusted_proxy_count, 0, 256, "[]",                     \
	  "Networks (ADDRESS/BITS) whose tenant header is believed, and whose X-Forwarded-Proto and X-Forwarded-Host, "\
	  "in the URLs that MCP clients are told; no other forwarding header is looked at.")                           \
	B("identity", BLOCK, 0, "Who is calling.")                                                                     \
	V("identity.tenant_header", HEADER_NAME, config, generation.http.tenant_header, "bytes", 1, 64, NULL, NULL,                    \
	  "The request header that names the tenant; believed only from trusted_proxies.")                             \
	ALERT_ROWS(B, V, L, T)                                                                                         \
	B("reload", BLOCK, 0, "When this file is read anew, beside SIGHUP and POST /admin/reload.")                    \
	V("reload.watch", BOOL, config, generation.watch, "", 0, 0, "false", NULL,                                     \
	  "When it changes, or a file that it names: by ${file:…}, ca_file, cert_file or key_file.")                                                         \
	V("reload.debounce", TEXT, config, generation.debounce, "bytes", 1, 16, "auto", NULL,                          \
	  "auto, or 1ms to 1m: how long all of them must have been left alone before that.")                          \
	B("mcp", BLOCK, 0, "The endpoint /mcp for MCP clients.")                                                       \
	T("mcp.allowed_hosts", config, generation.mcp.hosts, generation.mcp.host_count, 0, 256, 255, NULL,                                   \
	  "The older place of allowed_hosts: both lists count.")                      \
	T("mcp.allowed_origins", config, generation.mcp.origins, generation.mcp.origin_count, 0, 256, 300, NULL,                             \
	  "Origins of web pages that may use the data listener, beside those of allowed_hosts; \"*\": any.")                                 \
	V("mcp.issuer", TEXT, config, generation.mcp.issuer, "bytes", 1, 2048, NULL, NULL,                                        \
	  "URL of the authorization server that clients are sent to; set: /mcp wants a bearer token.")                 \
	V("mcp.subscriptions", COUNT, config, generation.mcp.subscriptions, "", 0, 1000000, "1000", NULL,                         \
	  "Streams of subscriptions/listen at once; one more is refused.")                                             \
	V("mcp.await_lists", DURATION, config, generation.mcp.await_lists_us, "us", 0, US_M(10), "10s", NULL,                     \
	  "After the start: how long tools/list, /readyz and calls of tools not listed yet wait for the first lists of " \
	  "MCP servers.")                                                                                              \
	V("mcp.lists", TEXT, config, generation.mcp.lists, "bytes", 1, 2048, NULL, NULL,                               \
	  "A file for the last lists of MCP servers, so that their tools are there right after a restart; without it " \
	  "mcp.lists in cache.disk.path, if there is a disk tier.")                                                    \
	V("mcp.list_ttl", DURATION, config, generation.mcp.list_ttl_us, "us", 0, US_D(1), "1m", NULL,                             \
	  "How long clients may keep the list of tools (ttlMs of 2026-07-28).")                                        \
	B("cache", BLOCK, 0, "Where answers are kept.")                                                                \
	B("cache.memory", BLOCK, 0, "The tier in this process.")                                                       \
	V("cache.memory.size", SIZE, config, generation.memory_bytes, "bytes", 0, B_GIB(1024), "256MiB", NULL,                    \
	  "Memory for answers, keys and bookkeeping; 0: no memory tier.")                                              \
	B("cache.disk", BLOCK, 0, "The tier that outlives a restart on one machine; without it there is none.")        \
	V("cache.disk.path", TEXT, config, disk_options.path, "bytes", 1, 2048, OPTION_REQUIRED, NULL,                 \
	  "A directory for this gateway alone; made if its parent is there.")                                          \
	V("cache.disk.size", SIZE, config, disk_options.size_bytes, "bytes", B_MIB(1), B_GIB(1024), "1GiB", NULL,      \
	  "What its file may grow to.")                                                                                \
	V("cache.disk.timeout", DURATION, config, disk_options.timeout_us, "us", US_MS(1), US_S(10), "20ms", NULL,     \
	  "The longest that the disk may hold up a call; while it hangs it is left alone.")                            \
	V("cache.disk.snapshot", DURATION, config, disk_options.snapshot_us, "us", 0, US_S(600), "5s", NULL,           \
	  "The longest that writing memory's answers may take at the end; 0: not written, nor loaded at the start.")   \
	V("cache.disk.compress", SIZE, config, disk_options.compress_bytes, "bytes", 0, B_GIB(1), "4KiB", NULL,        \
	  "Answers from this length on are compressed (LZ4); 0: none.")                                                \
	B("cache.redis", BLOCK, 0, "The tier shared by several gateways; without it there is none.")                   \
	V("cache.redis.url", TEXT, config, generation.redis_options.url, "bytes", 1, 2048, NULL, NULL,                            \
	  "redis[s]://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE] or unix:PATH[?db=N]; required without sentinel.")          \
	V("cache.redis.ca_file", FILE, config, generation.redis_options.ca_file, "bytes", 1, 4096, NULL, NULL,                    \
	  "TLS: PEM, who may vouch for the server; without it the system's authorities. With sentinel it asks for TLS.") \
	V("cache.redis.cert_file", FILE, config, generation.redis_options.cert_file, "bytes", 1, 4096, NULL, NULL,                \
	  "TLS: PEM, the certificate this gateway shows, and those between it and its authority.")                     \
	V("cache.redis.key_file", FILE, config, generation.redis_options.key_file, "bytes", 1, 4096, NULL, NULL,                  \
	  "TLS: PEM, the key of cert_file.")                                                                           \
	V("cache.redis.server_name", TEXT, config, generation.redis_options.server_name, "bytes", 1, 253, NULL, NULL,             \
	  "TLS: the name the server's certificate must be for; without it the host of the URL, or of the node.")       \
	V("cache.redis.secret", TEXT, config, generation.redis_options.secret, "bytes", 16, 511, NULL, NULL,                      \
	  "Values are signed with it (HMAC-SHA-256), and others are refused: the same in the whole fleet.")            \
	V("cache.redis.username", TEXT, config, generation.redis_options.username, "bytes", 1, 255, NULL, NULL,                   \
	  "For AUTH; else what the URL says, else the user named default.")                                            \
	V("cache.redis.password", TEXT, config, generation.redis_options.password, "bytes", 1, 511, NULL, NULL,                   \
	  "For AUTH; else what the URL says.")                                                                         \
	V("cache.redis.database", COUNT, config, generation.redis_options.database, "", 0, 65535, "0", NULL,                      \
	  "For SELECT, where the URL names none.")                                                                     \
	V("cache.redis.prefix", TEXT, config, generation.redis_options.prefix, "bytes", 1, 64, "jitney", NULL,                    \
	  "Of every key: A-Z a-z 0-9 _ - . :, so that several fleets may share a Redis.")                              \
	V("cache.redis.timeout", DURATION, config, generation.redis_options.timeout_us, "us", US_MS(1), US_S(10), "20ms", NULL,   \
	  "The longest that Redis may hold up a call, once; then it is left alone until it answers.")                  \
	V("cache.redis.connect_timeout", DURATION, config, generation.redis_options.connect_timeout_us, "us", US_MS(10), US_S(60),\
	  "1s", NULL, "For each step to a connection: resolve, connect, set up. No call waits for it.")                \
	V("cache.redis.in_flight", COUNT, config, generation.redis_options.in_flight, "", 16, 65536, "8192", NULL,                \
	  "Commands without a reply, per worker; more wait their turn, within `timeout`.")                                       \
	V("cache.redis.max_value", SIZE, config, generation.redis_options.max_value_bytes, "bytes", 1024, B_MIB(16), "1MiB", NULL,\
	  "The longest value that is stored, or read, after compression.")                                             \
	V("cache.redis.compress", SIZE, config, generation.redis_options.compress_bytes, "bytes", 0, B_GIB(1), "4KiB", NULL,      \
	  "Answers from this length on are compressed (LZ4); 0: none.")                                                \
	V("cache.redis.tracking", BOOL, config, generation.redis_options.tracking, "", 0, 0, "true", NULL,                        \
	  "Hear what other gateways replace and purge (Redis 6 or later); false: memory keeps it to its end.")         \
	V("cache.redis.untracked_ttl", DURATION, config, generation.redis_options.untracked_us, "us", 0, US_D(1), "5s", NULL,     \
	  "How long memory is believed while that is not heard, because Redis is away, say.")                          \
	V("cache.redis.lease", DURATION, config, generation.redis_options.lease_us, "us", 0, US_S(60), "2s", NULL,                \
	  "How long one gateway's fetch keeps the others from fetching the same; 0: not at all.")                      \
	B("cache.redis.sentinel", BLOCK, 0, "Ask Redis Sentinel where the master is.")                                 \
	V("cache.redis.sentinel.name", TEXT, config, generation.redis_options.sentinel_name, "bytes", 1, 255, OPTION_REQUIRED,    \
	  NULL, "The master's name, as the Sentinels know it.")                                                        \
	T("cache.redis.sentinel.nodes", config, generation.redis_options.sentinel_nodes,                                          \
	  generation.redis_options.sentinel_node_count, 1, 32, 300, OPTION_REQUIRED, "The Sentinels: HOST[:PORT], port 26379.")        \
	V("cache.redis.sentinel.password", TEXT, config, generation.redis_options.sentinel_password, "bytes", 1, 511, NULL, NULL, \
	  "For AUTH with the Sentinels themselves.")                                                                   \
	B("upstreams", NAMED, 1000, "The providers of tools, by name ([A-Za-z0-9_-], at most 64 bytes).")              \
	V("upstreams.*.dialect", WORD, upstream_draft, dialect, "", 0, 0, OPTION_REQUIRED,                             \
	  DIALECT_WORDS, DIALECT_HELP)                                                                                 \
	DIALECT_UPSTREAM_ROWS(B, V, L, T)                                                                              \
	L("upstreams.*.endpoints", BLOCKS, upstream_draft, endpoints, endpoint_count, 1, 64, NULL,          \
	  "The provider's addresses.")                                                                                 \
	V("upstreams.*.endpoints[].url", TEXT, endpoint_draft, url, "bytes", 1, 2048, OPTION_REQUIRED, NULL,           \
	  "http:// or https:// URL without user, query or fragment.")                                                  \
	V("upstreams.*.endpoints[].weight", COUNT, endpoint_draft, weight, "", 1, 100, "1", NULL,                      \
	  "How much of the calls it gets beside the others; of a name with several addresses, each of them.")                                                          \
	V("upstreams.*.endpoints[].drain", BOOL, endpoint_draft, drain, "", 0, 0, "false", NULL,                       \
	  "No new calls go there.")                                                                                    \
	V("upstreams.*.balance", ENUM, upstream_draft, config.balancing.balance, "", 0, 0, "adaptive",                 \
	  "adaptive|fastest|least_loaded|round_robin|affinity",                                                        \
	  "Which endpoint a request goes to. adaptive: of two at random the one with the smaller product of latency "  \
	  "and requests under way.")                                                                                   \
	V("upstreams.*.affinity", ENUM, upstream_draft, config.balancing.affinity, "", 0, 0, "caller", "caller|key",   \
	  "balance: affinity: what always goes to the same endpoint, a caller's calls, or those of the same arguments.")                                  \
	B("upstreams.*.health", BLOCK, 0, "Active checks of the endpoints; one of path, method and tcp says how.")     \
	V("upstreams.*.health.path", TEXT, upstream_draft, health.path, "bytes", 1, 1024, NULL, NULL,                  \
	  "GET this path of the endpoint's host; a status of 200 to 399 is well.")                                     \
	V("upstreams.*.health.method", WORD, upstream_draft, health.method, "", 0, 0, NULL, "ping",                    \
	  "POST this JSON-RPC method to the endpoint; any status below 500 is well.")                                  \
	V("upstreams.*.health.tcp", BOOL, upstream_draft, health.tcp, "", 0, 0, "false", NULL,                         \
	  "Connect only; with https, TLS too.")                                                                        \
	V("upstreams.*.health.interval", DURATION, upstream_draft, health.interval_us, "us", US_MS(50), US_H(1), "5s", \
	  NULL, "From one check to the next, give or take a tenth.")                                                   \
	V("upstreams.*.health.timeout", DURATION, upstream_draft, health.timeout_us, "us", US_MS(10), US_M(1), "1s",   \
	  NULL, "A check that takes longer has failed.")                                                               \
	V("upstreams.*.health.rise", COUNT, upstream_draft, health.rise, "", 1, 100, "2", NULL,                        \
	  "Good checks in a row before a failed endpoint is used again.")                                              \
	V("upstreams.*.health.fall", COUNT, upstream_draft, health.fall, "", 1, 100, "3", NULL,                        \
	  "Failed checks in a row before an endpoint is used no more.")                                                \
	B("upstreams.*.ejection", BLOCK, 0, "When an endpoint that fails calls is left alone.")                        \
	V("upstreams.*.ejection.failures", COUNT, upstream_draft, config.balancing.failures, "", 1, 1000, "5", NULL,   \
	  "Resets, time-outs and failed connections in a row, with no answer in between; answers are no failures.")    \
	V("upstreams.*.ejection.base", DURATION, upstream_draft, config.balancing.base_us, "us", US_MS(100), US_H(1),  \
	  "30s", NULL, "How long, the first time; twice as long each further time.")                                   \
	V("upstreams.*.ejection.max", DURATION, upstream_draft, config.balancing.max_us, "us", US_MS(100), US_D(1),    \
	  "5m", NULL, "How long at most.")                                                                             \
	V("upstreams.*.ejection.share", PERCENT, upstream_draft, config.balancing.share, "", 0, 100, "50%", NULL,      \
	  "Of the endpoints that may be ejected for failures at once; the last one never is.")                         \
	V("upstreams.*.hedge", TEXT, upstream_draft, hedge, "bytes", 1, 32, "off", NULL,                               \
	  "off, p95 or a duration: a single repeatable call without an answer by then is sent to another endpoint too; "  \
	  "the first answer wins.")                                                                                    \
	V("upstreams.*.dns_ttl", DURATION, upstream_draft, config.settings.dns_ttl_us, "us", 0, US_D(1), "30s", NULL,  \
	  "How long the addresses of an endpoint's host are believed; each of them is an endpoint of its own. 0: asked for "  \
	  "each connection, and the first that can be reached is used.")                                               \
	V("upstreams.*.deadline_header", TEXT, upstream_draft, config.settings.deadline_header, "bytes", 1, 64, NULL,  \
	  NULL, "Name of a header that tells the provider how many milliseconds it has for each request.")             \
	L("upstreams.*.headers", HEADERS, upstream_draft, config.settings.headers, config.settings.header_count, 0,    \
	  64,                                                                                                          \
	  NULL, "Headers sent with every request to the provider.")                                                    \
	V("upstreams.*.http", ENUM, upstream_draft, config.settings.http, "", 0, 0, "1.1", "1.1|auto|2",                \
	  "What is spoken with the provider. auto: HTTP/2 where TLS agrees on it, many requests on one connection. 2: without "    \
	  "TLS too, to a provider known to speak it.")                                                                   \
	V("upstreams.*.ca_file", FILE, upstream_draft, ca_file, "bytes", 1, 4096, "(the system's)",    \
	  NULL, "PEM file: the provider's certificate must come from one of these authorities, and no others count.")  \
	V("upstreams.*.protocol", WORD, upstream_draft, config.settings.mcp_protocol, "", 0, 0, "(auto)",              \
	  "auto|2026-07-28|2025-11-25|2025-06-18|2025-03-26|2024-11-05",                                               \
	  "dialects mcp, mcp-stdio: the version of MCP that the server speaks; auto: it is asked, a process with initialize.")                                \
	V("upstreams.*.tools_refresh", DURATION, upstream_draft, config.settings.mcp_refresh_us, "us", 0, US_D(1),     \
	  "5m", NULL,                                                                                                  \
	  "MCP: how old the server's list of tools may become; 0: it is read once a session, or a process.")                 \
	B("upstreams.*.batch", BLOCK, 0, "When gathered calls leave together.")                                        \
	V("upstreams.*.batch.mode", ENUM, upstream_draft, config.batch.mode, "", 0, 0, "adaptive",                     \
	  "adaptive|fixed|off",                                                                                        \
	  "adaptive: no wait when idle; fixed: always gather for the whole window; off: every call by itself. "        \
	  "dialect mcp: off unless set; else calls go as JSON-RPC arrays.")                                            \
	V("upstreams.*.batch.items", COUNT, upstream_draft, config.batch.max_items, "", 1, 10000, "100", NULL,         \
	  "Calls in one batch at most.")                                                                               \
	V("upstreams.*.batch.bytes", SIZE, upstream_draft, config.batch.max_bytes, "bytes", 1, B_GIB(1), "1MiB", NULL, \
	  "Bytes of arguments in one batch at most; a larger call travels alone.")                                     \
	V("upstreams.*.batch.window", DURATION, upstream_draft, config.batch.window_us, "us", 0, US_S(10), "5ms",      \
	  NULL,                                                                                                        \
	  "The longest time a call gathers while it could leave.")                                                     \
	V("upstreams.*.batch.writes", ENUM, upstream_draft, config.writes, "", 0, 0, "caller", "caller|any|alone",       \
	  "Whose calls may share a request with calls of a tool that is neither read_only nor idempotent: those of one " \
	  "caller; any; or none, each goes alone.")                                                                    \
	V("upstreams.*.batch.in_flight", COUNT, upstream_draft, in_flight, "", 0, 1000, "0", NULL,                     \
	  "Old name of concurrency, as a number; 0: concurrency counts.")                                                  \
	V("upstreams.*.concurrency", AUTO, upstream_draft, config.batch.concurrency, "", 1, 1000, "auto", NULL,        \
	  "Requests to the provider at once; auto: learned from how long they take, up to 1000.")                      \
	B("upstreams.*.retries", BLOCK, 0, "When a call that may be repeated is sent again.")                          \
	V("upstreams.*.retries.attempts", COUNT, upstream_draft, config.settings.retries.attempts, "", 1, 10, "2",     \
	  NULL, "How often a call is tried at most, the first time included; 1: never again.")                         \
	V("upstreams.*.retries.backoff", DURATION, upstream_draft, config.settings.retries.backoff_us, "us", 0,        \
	  US_S(10), "25ms", NULL,                                                                                      \
	  "Wait before the second try: a random part of it; doubles with each further one.")                           \
	V("upstreams.*.retries.budget", PERCENT, upstream_draft, config.settings.retries.budget_percent, "", 0, 100,   \
	  "20%", NULL,                                                                                                 \
	  "Calls that may be sent again, as a share of all calls sent: failover, retry, hedge and bisection together.") \
	B("upstreams.*.rate", BLOCK, 0, "What the provider allows: requests are paced ahead of its refusal.")          \
	V("upstreams.*.rate.requests", RATE, upstream_draft, config.batch.requests, "", 1, 1000000000, NULL, NULL,     \
	  "Requests, such as 60/min: no span of that length holds more. Calls gather while they wait.")                \
	V("upstreams.*.rate.tokens", RATE, upstream_draft, config.batch.tokens, "", 1, 1000000000000, NULL, NULL,      \
	  "Tokens as estimated, such as 1000000/min; only for dialects that estimate them (openai-embeddings).")       \
	B("upstreams.*.pool", BLOCK, 0, "Connections to the provider, or its processes.")                                                \
	V("upstreams.*.pool.max", COUNT, upstream_draft, config.settings.pool_max, "", 1, 10000,                       \
	  "(follows concurrency)", NULL,                                                                               \
	  "Connections at most, or processes (then the default is 4).")                                                                                      \
	V("upstreams.*.pool.min_idle", COUNT, upstream_draft, config.settings.pool_min_idle, "", 0, 10000,             \
	  "(2, or max if that is less)",                                                                               \
	  NULL,                                                                                                        \
	  "So many connections are used past idle_timeout, for up to 5 minutes, by calls that may be repeated; others " \
	  "never. None is opened ahead. At most max.")                                                   \
	V("upstreams.*.pool.min", COUNT, upstream_draft, process.min, "", 0, 1000, "1", NULL,                          \
	  "Processes started with the gateway and kept running; at most max.")                                         \
	V("upstreams.*.pool.calls", COUNT, upstream_draft, process.calls, "", 1, 100000, "64", NULL,                   \
	  "Calls in one process at once; when all are full, one more is started, up to max.")                          \
	V("upstreams.*.pool.max_calls", COUNT, upstream_draft, process.max_calls, "", 0, UINT64_C(1000000000000), "0", \
	  NULL, "Calls in the life of a process, then it is replaced; 0: no end.")                                     \
	V("upstreams.*.pool.restart_backoff", DURATION, upstream_draft, process.restart_backoff_us, "us", US_MS(1),    \
	  US_S(30), "200ms", NULL,                                                                                     \
	  "Wait after a start that came to nothing; doubles up to 30s, each with jitter.")                             \
	V("upstreams.*.pool.start_timeout", DURATION, upstream_draft, process.start_timeout_us, "us", US_MS(10),       \
	  US_M(10), "30s", NULL, "dialect mcp-stdio: from the start of a process to its answer to initialize.")        \
	V("upstreams.*.pool.idle_timeout", DURATION, upstream_draft, config.settings.idle_timeout_us, "us", US_MS(1),  \
	  US_D(1),                                                                                                     \
	  "90s", NULL,                                                                                                 \
	  "A connection that was idle longer is not used again; keep it below the provider's own timeout. A process "  \
	  "beyond min that was idle longer is stopped (then the default is 10m).")            \
	V("upstreams.*.pool.connect_timeout", DURATION, upstream_draft, config.settings.connect_timeout_us, "us",      \
	  US_MS(1),                                                                                                    \
	  US_M(1), "2s", NULL, "For name, TCP and TLS together.")                                                      \
	B("upstreams.*.queue", BLOCK, 0, "Calls waiting for their turn; beyond it they are refused with 503.")         \
	V("upstreams.*.queue.items", COUNT, upstream_draft, config.batch.queue_items, "", 1, 10000000, "10000", NULL,  \
	  "Calls waiting at most.")                                                                                    \
	V("upstreams.*.queue.bytes", SIZE, upstream_draft, config.batch.queue_bytes, "bytes", 1, B_GIB(64), "64MiB",   \
	  NULL,                                                                                                        \
	  "Bytes of arguments waiting at most.")                                                                       \
	V("upstreams.*.queue.wait", DURATION, upstream_draft, config.batch.queue_wait_us, "us", US_MS(1), US_H(1),     \
	  "2s", NULL, "The longest time a call waits for its turn; one that would wait longer is refused at once.")     \
	B("upstreams.*.queue.shares", BLOCK, 0,                                                                        \
	  "What is guaranteed to calls by their Priority (RFC 9218) while they wait; together 100% at most. What is not " \
	  "used or guaranteed is the most urgent ones'.")                                                              \
	V("upstreams.*.queue.shares.urgent", PERCENT, upstream_draft, config.batch.shares.percent[BAND_URGENT], "", 0, \
	  100, "50%", NULL, "u=0 and u=1.")                                                                            \
	V("upstreams.*.queue.shares.usual", PERCENT, upstream_draft, config.batch.shares.percent[BAND_USUAL], "", 0,   \
	  100, "20%", NULL, "u=2 to u=4; 3 is what a caller has who says nothing.")                                    \
	V("upstreams.*.queue.shares.background", PERCENT, upstream_draft,                                              \
	  config.batch.shares.percent[BAND_BACKGROUND], "", 0, 100, "5%", NULL, "u=5 to u=7.")                         \
	V("upstreams.*.timeout", DURATION, upstream_draft, config.settings.timeout_us, "us", US_MS(1), US_H(1), "10s", \
	  NULL,                                                                                                        \
	  "For one request to the provider, from connecting to the last byte of the answer (MCP: then the default is 60s).")                          \
	V("upstreams.*.answer", SIZE, upstream_draft, config.settings.answer_bytes, "bytes", B_KIB(1), B_GIB(1),       \
	  "16MiB", NULL,                                                                                               \
	  "The longest body of one answer (of a whole batch); more is refused.")                                       \
	V("upstreams.*.refreshes", COUNT, upstream_draft, config.refreshes, "", 0, 100000, "32", NULL,                 \
	  "Background refreshes of kept answers at once; one more is left out until a later call.")                    \
	V("upstreams.*.owners", AUTO, upstream_draft, config.owners_asked, "", 1, 64, "1", NULL,                       \
	  "Workers that send to it, if there are so many. For more calls a second than one core sends, of calls that travel " \
	  "alone over HTTP. auto: all of them, where that changes nothing for the provider; else 1 (jitney explain and " \
	  "/admin/upstreams say why).")                                                                                \
	V("upstreams.*.command", TEXT, upstream_draft, command, "bytes", 1, 4096, NULL, NULL,                          \
	  "dialects mcp-stdio, jsonrpc-stdio: the program, sought in PATH. No shell.")                                 \
	L("upstreams.*.args", ARGUMENTS, upstream_draft, args, arg_count, 0, 1000, NULL, "Its arguments.")             \
	L("upstreams.*.env", VARIABLES, upstream_draft, process.process.variables, process.process.variable_count, 0,  \
	  1000, NULL,                                                                                                  \
	  "Its environment, besides HOME, LANG, LC_ALL, LC_CTYPE, LOGNAME, PATH, SHELL, TERM, TMPDIR, TZ and USER.")   \
	V("upstreams.*.cwd", TEXT, upstream_draft, cwd, "bytes", 1, 4096, "(the gateway's)", NULL,                     \
	  "The directory it starts in.")                                                                               \
	V("upstreams.*.memory", SIZE, upstream_draft, process.process.memory_bytes, "bytes", 0, B_GIB(1024), "0",      \
	  NULL,                                                                                                        \
	  "Memory of a process: more is refused to it (RLIMIT_DATA), and one that holds more is replaced; 0: no limit.") \
	V("upstreams.*.names", ENUM, upstream_draft, config.exposure.names, "", 0, 0, "prefixed", "prefixed|plain",    \
	  "MCP: a tool is called UPSTREAM__TOOL, or as the server calls it; a tools: entry may name it otherwise.")     \
	B("upstreams.*.expose", BLOCK, 0, "MCP: which of the server's tools callers see; a tools: entry is always seen.") \
	T("upstreams.*.expose.allow", upstream_draft, config.exposure.allow, config.exposure.allow_count, 0,           \
	  1000, 256, NULL,                                                                                             \
	  "Only tools whose name at the server matches one of these globs (* any text, ? one character).")             \
	T("upstreams.*.expose.deny", upstream_draft, config.exposure.deny, config.exposure.deny_count, 0, 1000, 256,   \
	  "[]", "But none whose name at the server matches one of these.")                                             \
	V("upstreams.*.progress_timeout", DURATION, upstream_draft, config.settings.mcp_progress_us, "us", 0, US_D(1),  \
	  "10m", NULL,                                                                                                 \
	  "MCP: a call whose client asks for progress may take this long: each report of the server's gives it timeout " \
	  "anew. Not beyond a deadline of the caller's.")                                                              \
	V("upstreams.*.max_list", SIZE, upstream_draft, config.settings.mcp_list_bytes, "bytes", B_KIB(1), B_MIB(64),  \
	  "4MiB", NULL, "MCP: bytes of its list of tools, all pages; a longer one is refused, and the last one stays.") \
	V("upstreams.*.max_tools", COUNT, upstream_draft, config.exposure.max_tools, "", 1, 4096, "256", NULL,         \
	  "MCP: names that its list may bring up in the life of the process; tools beyond it are refused.")            \
	V("upstreams.*.trust_hints", BOOL, upstream_draft, config.exposure.trust_hints, "", 0, 0, "false", NULL,        \
	  "MCP: believe readOnlyHint and idempotentHint: calls of such tools may be merged and repeated.")             \
	V("upstreams.*.pass_hints", BOOL, upstream_draft, config.exposure.pass_hints, "", 0, 0, "true", NULL,          \
	  "MCP: pass the server's annotations on to MCP clients, some of which run tools unasked because of them.")     \
	B("upstreams.*.cache", BLOCK, 0, "MCP: keeps answers of tools with readOnlyHint; needs trust_hints: true.")     \
	V("upstreams.*.cache.ttl", DURATION, upstream_draft, config.exposure.cache.ttl_us, "us", 0, US_D(365),         \
	  OPTION_REQUIRED, NULL, "How long an answer is fresh; 0: not kept.")                                          \
	V("upstreams.*.cache.stale_while_revalidate", DURATION, upstream_draft,                                        \
	  config.exposure.cache.stale_while_revalidate_us, "us", 0, US_D(365), "0", NULL,                              \
	  "How much longer it is served while a new one is fetched.")                                                  \
	V("upstreams.*.cache.stale_if_error", DURATION, upstream_draft, config.exposure.cache.stale_if_error_us, "us", \
	  0, US_D(365), "0", NULL, "How much longer it is served when the provider fails.")                            \
	V("upstreams.*.cache.scope", ENUM, upstream_draft, config.exposure.scope, "", 0, 0, "caller",                  \
	  "shared|tenant|caller",                                                                                      \
	  "Who gets the kept answer: everybody, callers of one tenant, or the same caller only.")                      \
	T("upstreams.*.cache.tags", upstream_draft, config.exposure.tags, config.exposure.tag_count, 0, 32, 64,        \
	  NULL, "Words by which operators drop cached answers.")                                                       \
	B("tools", NAMED, 10000, "The tools, by name ([A-Za-z0-9_.-], at most 128 bytes; at most 64 is wise).")        \
	V("tools.*.upstream", TEXT, tool_draft, upstream, "bytes", 1, 64, OPTION_REQUIRED, NULL,                       \
	  "The name of the upstream that runs it.")                                                                    \
	V("tools.*.method", TEXT, tool_draft, request.method, "bytes", 1, 256, "(the tool's name)", NULL,              \
	  "dialect jsonrpc: the method; envelope: {tool} of the item.")                                                \
	DIALECT_TOOL_ROWS(B, V, L, T)                                                                                  \
	V("tools.*.tool", TEXT, tool_draft, remote, "bytes", 1, 256, "(its name, less UPSTREAM__)", NULL,              \
	  "MCP: the server's name of the tool. What the entry does not say is as the server's list has it.")            \
	V("tools.*.arguments", OBJECT, tool_draft, tool.constants, "", 0, 0, NULL, NULL,                               \
	  "MCP: constant arguments that every call has; callers neither see nor override them.")                       \
	V("tools.*.description", TEXT, tool_draft, tool.description, "bytes", 0, 65536, NULL, NULL,                    \
	  "What it does, for the model that picks tools.")                                                             \
	V("tools.*.title", TEXT, tool_draft, tool.title, "bytes", 0, 256, NULL, NULL, "A name for people.")            \
	V("tools.*.input_schema", SCHEMA, tool_draft, tool.input_schema, "", 0, 0, "(type: object)", NULL,             \
	  "JSON Schema of the arguments; its type is object.")                                                         \
	V("tools.*.output_schema", SCHEMA, tool_draft, tool.output_schema, "", 0, 0, NULL, NULL,                       \
	  "JSON Schema of the result.")                                                                                \
	B("tools.*.annotations", BLOCK, 0, "What a call does to the world. Only what is declared is believed.")        \
	V("tools.*.annotations.read_only", BOOL, tool_draft, tool.read_only, "", 0, 0, "false", NULL,                  \
	  "It changes nothing: calls may be cached, merged and repeated.")                                             \
	V("tools.*.annotations.idempotent", BOOL, tool_draft, tool.idempotent, "", 0, 0, "false", NULL,                \
	  "A second call like the first changes nothing more: calls may be cached, merged and repeated.")              \
	V("tools.*.annotations.destructive", BOOL, tool_draft, tool.destructive, "", 0, 0, "(true unless read_only)",  \
	  NULL,                                                                                                        \
	  "It may destroy something; passed on to callers.")                                                           \
	V("tools.*.annotations.open_world", BOOL, tool_draft, tool.open_world, "", 0, 0, "true", NULL,                 \
	  "It reaches beyond a closed set of things, such as the web; passed on to callers.")                          \
	V("tools.*.timeout", DURATION, tool_draft, tool.timeout_us, "us", US_MS(1), US_H(1),                           \
	  "(the upstream's timeout)", NULL,                                                                            \
	  "For one call, waiting included.")                                                                           \
	B("tools.*.request", BLOCK, 0, "dialects rest, envelope: a call's request; {name} stands for an argument.")    \
	V("tools.*.request.method", WORD, tool_draft, request.http_method, "", 0, 0, "(POST)",                         \
	  "GET|POST|PUT|PATCH|DELETE|HEAD", "The HTTP method.")                                                        \
	V("tools.*.request.path", TEXT, tool_draft, request.path, "bytes", 1, 4096, "(/ and the tool's name)", NULL,   \
	  "Path template, appended to the endpoint's URL.")                                                            \
	L("tools.*.request.query", TEMPLATES, tool_draft, request.query, request.query_count, 0, 64, NULL,             \
	  "Query parameters, each a template.")                                                                        \
	L("tools.*.request.headers", HEADER_TEMPLATES, tool_draft, request.headers, request.header_count, 0, 64, NULL, \
	  "Headers, each a template.")                                                                                 \
	V("tools.*.request.body", TEXT, tool_draft, request.body, "bytes", 0, 65536,                                   \
	  "({arguments} for POST, PUT and PATCH, else none)", NULL, "Body template; {arguments} is the whole object.") \
	DIALECT_REQUEST_ROWS(B, V, L, T)                                                                               \
	B("tools.*.cache", BLOCK, 0, "Keeps answers of a tool that is read_only or idempotent.")                       \
	V("tools.*.cache.ttl", DURATION, tool_draft, tool.cache.ttl_us, "us", 0, US_D(365), OPTION_REQUIRED, NULL,     \
	  "How long an answer is fresh; 0: not kept.")                                                                 \
	V("tools.*.cache.stale_while_revalidate", DURATION, tool_draft, tool.cache.stale_while_revalidate_us, "us", 0, \
	  US_D(365),                                                                                                   \
	  "0", NULL, "How much longer it is served while a new one is fetched.")                                       \
	V("tools.*.cache.stale_if_error", DURATION, tool_draft, tool.cache.stale_if_error_us, "us", 0, US_D(365), "0", \
	  NULL,                                                                                                        \
	  "How much longer it is served when the provider fails.")                                                     \
	V("tools.*.cache.negative_ttl", DURATION, tool_draft, tool.cache.negative_ttl_us, "us", 0, US_D(365), "0",     \
	  NULL,                                                                                                        \
	  "How long a refusal by the tool itself (tool_error) is kept; 0: not.")                                       \
	V("tools.*.cache.max_entry", SIZE, tool_draft, tool.cache.max_entry_bytes, "bytes", 0, B_GIB(1), "0", NULL,    \
	  "The longest answer that is kept; 0: no limit but the tier's.")                                              \
	V("tools.*.cache.provider_headers", BOOL, tool_draft, tool.cache.provider_headers, "", 0, 0, "false", NULL,    \
	  "The provider's Cache-Control, Expires, Age and Vary may shorten the ttl or forbid keeping.")                \
	B("tools.*.cache.key", BLOCK, 0, "Which arguments make two calls the same; else all of them do.")              \
	T("tools.*.cache.key.ignore", tool_draft, tool.key.ignore, tool.key.ignore_count, 0, 64, 256, NULL,            \
	  "Arguments that make no difference to the answer.")                                                          \
	T("tools.*.cache.key.only", tool_draft, tool.key.only, tool.key.only_count, 0, 64, 256, NULL,                  \
	  "The only arguments that make a difference.")                                                                \
	V("tools.*.cache.scope", ENUM, tool_draft, tool.scope, "", 0, 0, "caller", "shared|tenant|caller",             \
	  "Who gets the kept answer: everybody, callers of one tenant, or the same caller only.")                      \
	T("tools.*.cache.tags", tool_draft, tool.tags, tool.tag_count, 0, 32, 64, NULL,                                \
	  "Words by which operators drop cached answers.")
/* clang-format on */

#endif
