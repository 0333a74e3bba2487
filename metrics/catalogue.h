/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalogue.h: every metric once: name, type, labels, help. Code, exposition text and docs/metrics.md are made from
 * this table (a test compares the last). A label's values come from closed sets: those below, or the names in the
 * configuration. No caller can make a series.
 */
#ifndef JITNEY_METRICS_CATALOGUE_H
#define JITNEY_METRICS_CATALOGUE_H

/* clang-format off */
/* X(NAME, word): why a request was turned away before it became a call, or a call before it was sent. */
#define REJECT_REASONS(X)                                                                            \
	X(BAD_FRAMING, "bad_framing")           /* Content-Length, Transfer-Encoding, head size do not add up */ \
	X(BAD_HEADER, "bad_header")             /* a header name or value that is not allowed */         \
	X(BAD_TARGET, "bad_target")             /* a path we cannot take */                              \
	X(METHOD, "method")                     /* 405 */                                                \
	X(ORIGIN, "origin")                     /* a Host or Origin that is not allowed */          \
	X(UNAUTHORIZED, "unauthorized")         /* 401 */                                                \
	X(NOT_FOUND, "not_found")               /* no such path */                                       \
	X(UNKNOWN_TOOL, "unknown_tool")                                                                  \
	X(LIST_AWAITED, "list_awaited")                                                                  \
	X(MEDIA_TYPE, "media_type")             /* 415 */                                                \
	X(BAD_JSON, "bad_json")                                                                          \
	X(BAD_REQUEST, "bad_request")           /* JSON, but not what the path wants; a bad header value */ \
	X(BODY_SIZE, "body_size")               /* 413 */                                                \
	X(HEAD_SIZE, "head_size")               /* 431 */                                                \
	X(HEAD_TIMEOUT, "head_timeout")         /* limits.header_timeout */                              \
	X(BODY_TIMEOUT, "body_timeout")         /* limits.body_timeout */                                \
	X(SEND_TIMEOUT, "send_timeout")         /* limits.send_rate: a reply that is taken too slowly */ \
	X(CONNECTIONS, "connections")           /* limits.connections */                                 \
	X(DESCRIPTORS, "descriptors")           /* a connection for which no descriptor is left */       \
	X(IN_FLIGHT, "in_flight")               /* limits.in_flight */                                   \
	X(IN_FLIGHT_BYTES, "in_flight_bytes")   /* limits.in_flight_bytes */                             \
	X(QUEUE_ITEMS, "queue_items")           /* upstreams.*.queue.items */                            \
	X(QUEUE_BYTES, "queue_bytes")           /* upstreams.*.queue.bytes */                            \
	X(SUBSCRIPTIONS, "subscriptions")       /* mcp.subscriptions */                                  \
	X(DEADLINE, "deadline")                 /* the caller's own passed before its body could be looked at */ \
	X(SHUTTING_DOWN, "shutting_down")                                                                \
	X(NO_MEMORY, "no_memory")

#define CACHE_TIERS(X) X(MEMORY, "memory") X(REDIS, "redis") X(DISK, "disk")

#define CACHE_RESULTS(X)                                                                             \
	X(HIT, "hit")                                                                                \
	X(STALE, "stale")     /* served past its time: stale_while_revalidate, stale_if_error, max-stale */ \
	X(MISS, "miss")                                                                              \
	X(BYPASS, "bypass")   /* the caller said no-cache or no-store */                             \
	X(ERROR, "error")

#define EVICT_REASONS(X)                                                                             \
	X(SIZE, "size")         /* to make room */                                                   \
	X(EXPIRED, "expired")                                                                        \
	X(REPLACED, "replaced")                                                                      \
	X(PURGED, "purged")                                                                          \
	X(TOO_LARGE, "too_large") /* never stored */

/* What became of a background refresh that a look-up asked for. */
#define REFRESH_RESULTS(X)                                                                           \
	X(BEGUN, "begun")                                                                            \
	X(SKIPPED, "skipped") /* upstreams.*.refreshes or limits.in_flight were reached, or no memory: the next look-up asks */

/* Why a batch left. */
#define FLUSH_REASONS(X)                                                                             \
	X(IDLE, "idle")         /* nothing was in flight: no wait at all */                          \
	X(LANDED, "landed")     /* a request of the lane completed */                                 \
	X(ITEMS, "items")       /* full by count */                                                  \
	X(BYTES, "bytes")       /* full by bytes */                                                  \
	X(SHARE, "share")       /* its fair share of the outstanding calls, for a free slot of the provider */ \
	X(WINDOW, "window")     /* the window has passed */                                          \
	X(RATE, "rate")         /* the rate of the upstream, or what its refusals taught, lets the next one out */ \
	X(SPLIT, "split")       /* part of a batch that was refused as a whole */                    \
	X(DEADLINE, "deadline") /* the tightest deadline would have been missed */                   \
	X(SINGLE, "single")     /* batching is off, or the dialect sends one call a request */

/* How long a call of a tool takes by itself: at most so long. Tools of one class share requests:
 * batcher/latency_class.h. */
#define LATENCY_CLASSES(X)                                                                           \
	X(20MS, "20ms")                                                                              \
	X(100MS, "100ms")                                                                            \
	X(500MS, "500ms")                                                                            \
	X(2500MS, "2500ms")                                                                          \
	X(SLOWER, "slower")

#define CONNECTION_STATES(X) X(BUSY, "busy") X(IDLE, "idle")

/* How opening an MCP server ended: in which of the protocol's eras (docs/mcp.md), or not. */
#define MCP_OPENINGS(X) X(LEGACY, "legacy") X(MODERN, "modern") X(FAILED, "failed")

/* How a session with one ended that is not used any more; refused: the server wishes no DELETE. */
#define MCP_ENDINGS(X) X(ENDED, "ended") X(REFUSED, "refused") X(FAILED, "failed")

#define REDIS_COMMANDS(X)                                                                            \
	X(GET, "get") X(SET, "set") X(DEL, "del") X(PROBE, "probe") X(LEASE, "lease") X(RELEASE, "release")

/* What went wrong between a worker and Redis. None of it costs a caller more than cache.redis.timeout. */
#define REDIS_TROUBLES(X)                                                                            \
	X(RESOLVE, "resolve")     /* the host name has no address */                                 \
	X(CONNECT, "connect")     /* refused, unreachable, or no reply while connecting */           \
	X(AUTH, "auth")           /* wrong password, or no right to do it (NOAUTH, WRONGPASS, NOPERM) */ \
	X(SENTINEL, "sentinel")   /* no Sentinel knows the master, or it is none */                  \
	X(LOST, "lost")           /* the connection broke */                                         \
	X(TIMEOUT, "timeout")     /* no reply within cache.redis.timeout */                          \
	X(PROTOCOL, "protocol")   /* what came is not Redis' protocol, or no reply to that command */ \
	X(LOADING, "loading")     /* it is starting, or a replica without its master (MASTERDOWN), or busy */ \
	X(READONLY, "readonly")   /* a replica */                                                    \
	X(FULL, "full")           /* maxmemory reached (OOM) */                                      \
	X(MISCONF, "misconf")     /* it refuses writes because it cannot save, or has too few replicas */ \
	X(CLUSTER, "cluster")     /* MOVED, ASK: a node of a cluster, which needs a proxy */         \
	X(REFUSED, "refused")     /* any other error reply */                                        \
	X(DAMAGED, "damaged")     /* a value that does not add up: deleted */                        \
	X(FOREIGN, "foreign")     /* a value of another key, format or program: deleted */           \
	X(CLOCK, "clock")         /* a value from the future: another gateway's clock is wrong */

/* Why Redis was not asked although it is configured. */
#define REDIS_SKIPS(X)                                                                               \
	X(DOWN, "down")           /* no connection */                                                \
	X(BREAKER, "breaker")     /* it did not answer lately; a probe will tell when it does again */ \
	X(BUSY, "busy")           /* as many commands unanswered as are allowed */                   \
	X(TOO_LARGE, "too_large") /* longer than cache.redis.max_value: neither stored nor read */   \
	X(NO_MEMORY, "no_memory")

/* What is known of an endpoint of a provider. */
#define ENDPOINT_STATES(X)                                                                           \
	X(UP, "up")                                                                                  \
	X(EJECTED, "ejected")           /* left alone for a while: it failed, or was out of reach */ \
	X(FAILED_CHECK, "failed_check") /* the active checks say no */                               \
	X(DRAINING, "draining")         /* an operator said so */

/* Why an endpoint was ejected. */
#define EJECTIONS(X)                                                                                 \
	X(UNREACHABLE, "unreachable") /* no connection came about */                                 \
	X(FAILURES, "failures")       /* it broke off or did not answer, several times in a row */

/* What an active check found. */
#define CHECK_RESULTS(X) X(OK, "ok") X(FAILED, "failed")

/* Why a call was not let wait for its turn, or any longer. */
#define SHED_REASONS(X)                                                                              \
	X(QUEUE_ITEMS, "queue_items") /* upstreams.*.queue.items */                                  \
	X(QUEUE_BYTES, "queue_bytes") /* upstreams.*.queue.bytes */                                  \
	X(QUEUE_WAIT, "queue_wait")   /* the line was longer than upstreams.*.queue.wait allows */   \
	X(DEADLINE, "deadline")       /* its answer would have come after its deadline */            \
	X(WAITED, "waited")           /* it had waited for upstreams.*.queue.wait */                 \
	X(LATE, "late")               /* its turn came, and too little time was left for an exchange */   \
	X(DISPLACED, "displaced")     /* a more urgent call took its place in a full line */

/* How urgent calls are by what their callers say (Priority, RFC 9218): batcher/bands.h. */
#define PRIORITY_BANDS(X)                                                                            \
	X(URGENT, "urgent")         /* u=0, u=1 */                                                   \
	X(USUAL, "usual")           /* u=2 to u=4; 3 is what a caller has who says nothing */         \
	X(BACKGROUND, "background") /* u=5 to u=7 */

/* What the limiter of exchanges does (batcher/limiter.h), and why its limit is what it is. */
#define LIMITER_STATES(X) X(START, "start") X(STEADY, "steady") X(MORE, "more") X(FEWER, "fewer") X(CUT, "cut")
#define LIMITER_REASONS(X)                                                                           \
	X(CONFIGURED, "configured") /* upstreams.*.concurrency is a number */                        \
	X(INITIAL, "initial")       /* nothing has been learned yet */                               \
	X(ROSE, "rose")             /* more did not queue */                                         \
	X(TRIED, "tried")           /* one more or fewer is being tried, or was in vain */           \
	X(QUEUED, "queued")         /* exchanges queued at the provider */                           \
	X(SLOWER, "slower")         /* a cut had not helped: the provider had become slower itself */

/* Why an attempt to deliver calls to a provider was made, and what came of it. */
#define ATTEMPT_KINDS(X)                                                                             \
	X(FIRST, "first")                                                                            \
	X(FAILOVER, "failover")   /* nothing had been sent: to another endpoint */                   \
	X(RETRY, "retry")         /* it failed before, or was put off */                              \
	X(HEDGE, "hedge")         /* beside one that took its time */                                \
	X(BISECTION, "bisection") /* a part of a batch that was refused as a whole */
#define ATTEMPT_RESULTS(X)                                                                           \
	X(OK, "ok")               /* answered, whatever the answer */                                \
	X(FAILED, "failed")       /* sent, and no whole answer came */                               \
	X(UNSENT, "unsent")       /* no connection came about */                                     \
	X(CANCELLED, "cancelled") /* nobody waited any more */

/* What the disk tier's thread does for workers. */
#define DISK_JOBS(X) X(GET, "get") X(PUT, "put") X(REMOVE, "remove") X(PURGE, "purge")

/* What went wrong with the disk tier. None of it costs a caller more than cache.disk.timeout. */
#define DISK_TROUBLES(X)                                                                             \
	X(IN_USE, "in_use")       /* another process has the directory */                            \
	X(FOREIGN, "foreign")     /* another program's file, or a value of another key or format */  \
	X(DAMAGED, "damaged")     /* the file: begun anew */                                         \
	X(VALUE, "value")         /* a value that does not add up: deleted */                        \
	X(FULL, "full")           /* no room on the disk: begun anew */                              \
	X(FAILED, "failed")       /* rights, I/O */                                                  \
	X(CLOCK, "clock")         /* a value from the future: the machine's clock was wrong, or is */ \
	X(NO_MEMORY, "no_memory")

/* Why the disk tier was not asked, or not waited for, or did not take an answer. */
#define DISK_SKIPS(X)                                                                                \
	X(DOWN, "down")           /* not open (yet) */                                               \
	X(SLOW, "slow")           /* its thread hangs at something for longer than cache.disk.timeout */ \
	X(TIMEOUT, "timeout")     /* asked, and no answer within cache.disk.timeout */               \
	X(BUSY, "busy")           /* as much waits as is allowed */                                  \
	X(CHANGING, "changing")   /* a purge, or a change of that very key, is under way */          \
	X(NO_MEMORY, "no_memory")

/* What became of a purge that holds for the whole fleet. */
#define PURGE_DIRECTIONS(X)                                                                                \
	X(SENT, "sent")           /* asked for here, and told to Redis and the others */             \
	X(RECEIVED, "received")   /* asked for on another gateway */                                 \
	X(FAILED, "failed")       /* asked for here, and Redis refused to tell it */

/* What became of a fetch that at most one gateway of the fleet should be making. */
#define LEASE_RESULTS(X)                                                                             \
	X(TAKEN, "taken")         /* this gateway fetches for all */                                 \
	X(WAITED, "waited")       /* another one did, and its answer was served */                   \
	X(EXPIRED, "expired")     /* another one did, and it took too long: fetched here too */

/* Messages of MCP clients: methods that are served, then what else may come. */
#define MCP_METHODS(X)                                                                               \
	X(INITIALIZE, "initialize")                                                                  \
	X(PING, "ping")                                                                              \
	X(DISCOVER, "server/discover")                                                               \
	X(TOOLS_LIST, "tools/list")                                                                  \
	X(TOOLS_CALL, "tools/call")                                                                  \
	X(LISTEN, "subscriptions/listen")                                                            \
	X(SET_LEVEL, "logging/setLevel")                                                             \
	X(NOTIFICATIONS, "notification")                                                             \
	X(RESPONSES, "response")                                                                     \
	X(OTHER, "other")       /* a method that is not served, or no message at all */

/* What a server says of a call under way, and what became of it. */
#define MCP_NOTE_KINDS(X) X(PROGRESS, "progress") X(MESSAGE, "message")
#define MCP_NOTE_RESULTS(X) X(PASSED, "passed") X(DROPPED, "dropped")

/* What a collector is told of, a thread each. */
#define OTLP_SIGNALS(X) X(TRACES, "traces") X(METRICS, "metrics")
/* What became of spans or data points for a collector, and of the requests that carry them. */
#define OTLP_RESULTS(X)                                                                              \
	X(SENT, "sent")                                                                              \
	X(REJECTED, "rejected")       /* the collector took the request without them */              \
	X(FAILED, "failed")           /* it refused the request, or could not be reached, several times */ \
	X(QUEUE_FULL, "queue_full")   /* calls, not spans: they came faster than the collector takes them */
#define OTLP_REQUEST_RESULTS(X)                                                                      \
	X(OK, "ok")                                                                                  \
	X(REPEATED, "repeated")       /* it is sent again */                                         \
	X(FAILED, "failed")

#define RELOAD_RESULTS(X) X(OK, "ok") X(FAILED, "failed")

/* Bounds of the configuration that figures are to be seen against. */
#define LIMITS(X)                                                                                    \
	X(CONNECTIONS, "connections")           /* of jitney_connections */                          \
	X(IN_FLIGHT, "in_flight")               /* of jitney_in_flight_requests */                   \
	X(IN_FLIGHT_BYTES, "in_flight_bytes")   /* of jitney_in_flight_bytes */                      \
	X(CACHE_MEMORY, "cache_memory")         /* of jitney_cache_bytes{tier="memory"} */

/* What the gateway says of itself (gateway/config/alert_options.h has the conditions). In packaging/prometheus they have the
 * same names: JitneyUpstreamDown. */
#define ALERTS(X)                                                                                    \
	X(ERRORS, "errors")                                                                          \
	X(P99, "p99")                                                                                \
	X(TOOL_FAILS, "tool_fails")                                                                  \
	X(OUTCOME_UNKNOWN, "outcome_unknown")                                                        \
	X(REFUSES, "refuses")                                                                        \
	X(ENDPOINT_EJECTED, "endpoint_ejected")                                                      \
	X(UPSTREAM_DOWN, "upstream_down")                                                            \
	X(LINE_STANDS, "line_stands")                                                                \
	X(SHEDS, "sheds")                                                                            \
	X(RETRY_BUDGET_SPENT, "retry_budget_spent")                                                  \
	X(PROCESS_RESTARTS, "process_restarts")                                                      \
	X(TOOLS_STALE, "tools_stale")                                                                \
	X(TOOL_CHANGED, "tool_changed")                                                              \
	X(HIT_RATIO_FELL, "hit_ratio_fell")                                                          \
	X(REDIS_DOWN, "redis_down")                                                                  \
	X(REDIS_BREAKER_OPEN, "redis_breaker_open")                                                  \
	X(DISK_CACHE_FAILS, "disk_cache_fails")                                                      \
	X(MEMORY_NEAR_BOUND, "memory_near_bound")                                                    \
	X(CONNECTIONS_NEAR_BOUND, "connections_near_bound")                                          \
	X(DESCRIPTORS_NEAR_BOUND, "descriptors_near_bound")                                          \
	X(LOOP_LAG, "loop_lag")                                                                      \
	X(WORKER_FULL, "worker_full")                                                                \
	X(RELOAD_FAILED, "reload_failed")                                                            \
	X(LOG_LOSES_LINES, "log_loses_lines")
#define ALERT_SEVERITIES(X) X(WARNING, "warning") X(CRITICAL, "critical")

/* What became of a post to alerts.webhook. */
#define ALERT_POSTS(X)                                                                               \
	X(OK, "ok")                                                                                  \
	X(RETRIED, "retried")     /* it was not taken, and is tried again */                         \
	X(FAILED, "failed")       /* it was never taken, and is given up */                          \
	X(DROPPED, "dropped")     /* too many waited: the oldest was given up */

/* legacy: up to 2025-11-25; modern: 2026-07-28. */
#define MCP_ERAS(X) X(LEGACY, "legacy") X(MODERN, "modern")

/* Which set a label draws from. */
enum metric_label {
	LABEL_NONE,
	LABEL_TOOL,        /* tools of the configuration */
	LABEL_UPSTREAM,    /* upstreams of the configuration */
	LABEL_ENDPOINT,    /* all endpoints, numbered through; prints upstream= and endpoint= */
	LABEL_WORKER,      /* worker threads, by number */
	LABEL_OUTCOME,     /* base/outcome.h */
	LABEL_REJECT_REASON,
	LABEL_TIER,
	LABEL_CACHE_RESULT,
	LABEL_EVICT_REASON,
	LABEL_FLUSH_REASON,
	LABEL_REFRESH_RESULT,
	LABEL_CONNECTION_STATE,
	LABEL_MCP_OPENING,
	LABEL_MCP_ENDING,
	LABEL_REDIS_COMMAND,
	LABEL_REDIS_TROUBLE,
	LABEL_REDIS_SKIP,
	LABEL_DISK_JOB,
	LABEL_DISK_TROUBLE,
	LABEL_DISK_SKIP,
	LABEL_PURGE_DIRECTION,
	LABEL_LEASE_RESULT,
	LABEL_MCP_METHOD,
	LABEL_MCP_ERA,
	LABEL_MCP_NOTE,
	LABEL_MCP_NOTE_RESULT,
	LABEL_LATENCY_CLASS,
	LABEL_ENDPOINT_STATE,
	LABEL_EJECTION,
	LABEL_CHECK_RESULT,
	LABEL_SHED_REASON,
	LABEL_BAND,
	LABEL_LIMITER_STATE,
	LABEL_LIMITER_REASON,
	LABEL_RELOAD_RESULT,
	LABEL_OTLP_SIGNAL,
	LABEL_OTLP_RESULT,
	LABEL_OTLP_REQUEST_RESULT,
	LABEL_LIMIT,
	LABEL_ALERT,
	LABEL_ALERT_SEVERITY,
	LABEL_ALERT_POST,
	LABEL_ATTEMPT, /* kind and result in one, see attempt_label; prints kind= and outcome= */
	LABEL_KIND_COUNT
};

enum metric_type {
	METRIC_COUNTER,
	METRIC_COUNTER_SECONDS,  /* in microseconds, exposed in seconds */
	METRIC_GAUGE,            /* the sum over the threads' parts */
	METRIC_GAUGE_RATIO,      /* likewise; set in millionths */
	METRIC_GAUGE_SECONDS,    /* likewise; set in microseconds, exposed in seconds */
	METRIC_SECONDS,          /* histogram; observed in microseconds, exposed in seconds */
	METRIC_ITEMS,            /* histogram of counts: 1, 2, 4 ... 1024 */
	METRIC_BYTES             /* histogram of bytes: 256 ... 16 MiB by factors of 4 */
};

/* X(NAME, name without "jitney_", type, first label, second label, help) */
#define METRIC_CATALOGUE(X)                                                                                            \
	X(REQUESTS, "requests_total", COUNTER, TOOL, OUTCOME, "Calls answered, by tool and outcome.")                  \
	X(REQUEST_DURATION, "request_duration_seconds", SECONDS, TOOL, NONE, "From the whole request to its answer, per call.") \
	X(IN_FLIGHT, "in_flight_requests", GAUGE, NONE, NONE, "Calls accepted and not answered yet.")                  \
	X(IN_FLIGHT_BYTES, "in_flight_bytes", GAUGE, NONE, NONE, "Bytes held for clients: arguments, requests made of them, answers on their way, and replies not taken yet.") \
	X(REPLY_BYTES, "reply_bytes", GAUGE, NONE, NONE, "Of these, replies that clients have not taken yet.")         \
	X(ANSWER_BYTES, "answer_bytes", GAUGE, NONE, NONE, "Of these, answers of providers that have not come whole yet.") \
	X(LIMITS, "limits", GAUGE, LIMIT, NONE, "The bound in force, as configured.")                                  \
	X(REJECTED, "rejected_total", COUNTER, REJECT_REASON, NONE, "Requests and calls refused, by reason.")          \
	X(MCP_MESSAGES, "mcp_messages_total", COUNTER, MCP_METHOD, MCP_ERA, "Messages of MCP clients, by method and era of the protocol.") \
	X(MCP_NOTES, "mcp_notifications_total", COUNTER, MCP_NOTE, MCP_NOTE_RESULT, "Word of calls under way for those who asked: on its way to the client, or dropped because that is behind.") \
	X(CONFIG_GENERATION, "config_generation", GAUGE, NONE, NONE, "Number of the configuration's generation in force; 1: the one the process began with.") \
	X(CONFIG_RELOADS, "config_reloads_total", COUNTER, RELOAD_RESULT, NONE, "Times the configuration was read anew, by result.") \
	X(CONFIG_LAST_RELOAD_SUCCESS, "config_last_reload_success", GAUGE, NONE, NONE, "1 if the last one was good, or there was none; 0: the file is not in order, and the generation before stays.") \
	X(CONFIG_LAST_RELOAD, "config_last_reload_timestamp_seconds", GAUGE_SECONDS, NONE, NONE, "When that was; when the process began, if there was none.") \
	X(MCP_SUBSCRIPTIONS, "mcp_subscriptions", GAUGE, NONE, NONE, "Streams of subscriptions/listen open.")            \
	X(CONNECTIONS, "connections", GAUGE, NONE, NONE, "Client connections open.")                                   \
	X(CONNECTIONS_TOTAL, "connections_total", COUNTER, NONE, NONE, "Client connections accepted.")                 \
	X(CLIENTS_GONE, "clients_gone_total", COUNTER, NONE, NONE, "Clients that left before their answer.")           \
	X(BODIES_DEFERRED, "bodies_deferred_total", COUNTER, NONE, NONE, "Requests whose body was looked at in a later turn of the loop: enough had come together for one.") \
	X(BODY_SLICES, "body_slices_total", COUNTER, NONE, NONE, "Slices of at most 256 KiB, a turn each, in which large bodies were looked at.") \
	X(CACHE_REQUESTS, "cache_requests_total", COUNTER, TIER, CACHE_RESULT, "Look-ups, by tier and result.")        \
	X(CACHE_ENTRIES, "cache_entries", GAUGE, TIER, NONE, "Answers held.")                                          \
	X(CACHE_BYTES, "cache_bytes", GAUGE, TIER, NONE, "Bytes accounted for them: key, body, bookkeeping.")          \
	X(CACHE_EVICTIONS, "cache_evictions_total", COUNTER, TIER, EVICT_REASON, "Answers dropped or not stored, by reason.") \
	X(CACHE_REFRESHES, "cache_refreshes_total", COUNTER, UPSTREAM, REFRESH_RESULT, "Background refreshes of kept answers, by result.") \
	X(COALESCED, "coalesced_total", COUNTER, TOOL, NONE, "Calls that joined a flight of the same call.")           \
	X(BATCH_ITEMS, "batch_items", ITEMS, UPSTREAM, NONE, "Calls per request to the provider.")                     \
	X(BATCH_BYTES, "batch_bytes", BYTES, UPSTREAM, NONE, "Bytes of arguments per request to the provider.")        \
	X(BATCH_WAIT, "batch_wait_seconds", SECONDS, UPSTREAM, NONE, "From entering a lane to leaving it, per call.")  \
	X(BATCH_FLUSHES, "batch_flushes_total", COUNTER, UPSTREAM, FLUSH_REASON, "Batches that left, by reason.")      \
	X(BATCH_SAVED, "batch_saved_requests_total", COUNTER, UPSTREAM, NONE, "Requests the provider did not get, because calls shared one.") \
	X(BATCH_WAITING, "batch_waiting_items", GAUGE, UPSTREAM, LATENCY_CLASS, "Calls waiting in lanes, by class of latency.")                      \
	X(BATCH_IN_FLIGHT, "batch_in_flight", GAUGE, UPSTREAM, LATENCY_CLASS, "Requests to the provider under way, by class of latency.")            \
	X(BATCH_WINDOW, "batch_window_seconds", GAUGE_SECONDS, UPSTREAM, LATENCY_CLASS, "Longest wait for company, as learned.")  \
	X(BATCH_EXCHANGE_COST, "batch_exchange_cost_seconds", GAUGE_SECONDS, UPSTREAM, LATENCY_CLASS, "Learned fixed part of a request's time.") \
	X(BATCH_ITEM_COST, "batch_item_cost_seconds", GAUGE_SECONDS, UPSTREAM, LATENCY_CLASS, "Learned part of it for each call.") \
	X(CONCURRENCY_LIMIT, "concurrency_limit", GAUGE, UPSTREAM, NONE, "Requests to the provider that may be under way at once, as configured or learned.") \
	X(TOOL_ALONE, "tool_alone_seconds", GAUGE_SECONDS, TOOL, NONE, "Learned time of one call by itself, which decides its class of latency.") \
	X(BATCH_PACED, "batch_paced_seconds", SECONDS, UPSTREAM, NONE, "How long a request that could have left was held by the rate.") \
	X(BATCH_BISECTIONS, "batch_bisections_total", COUNTER, UPSTREAM, NONE, "Times a batch refused as a whole was split.") \
	X(UPSTREAM_REQUESTS, "upstream_requests_total", COUNTER, ENDPOINT, OUTCOME, "Requests to providers, by outcome of the exchange.") \
	X(UPSTREAM_DURATION, "upstream_duration_seconds", SECONDS, UPSTREAM, NONE, "From sending to the last byte, per exchange.") \
	X(UPSTREAM_CONNECTIONS, "upstream_connections", GAUGE, UPSTREAM, CONNECTION_STATE, "Connections to providers, by state.") \
	X(UPSTREAM_CONNECTS, "upstream_connects_total", COUNTER, UPSTREAM, NONE, "Connections opened; what refused one counts too.") \
	X(UPSTREAM_MULTIPLEXED, "upstream_multiplexed_total", COUNTER, UPSTREAM, NONE, "Requests that the provider answered over HTTP/2.") \
	X(UPSTREAM_LOOKUPS, "upstream_lookups_waiting", GAUGE, UPSTREAM, NONE, "Requests to the provider that wait for the addresses of its host.") \
	X(UPSTREAM_UNRESOLVED, "upstream_unresolved_total", COUNTER, UPSTREAM, NONE, "Requests for which they were not found, or not in time.") \
	X(UPSTREAM_HEALTHY, "upstream_healthy", GAUGE, ENDPOINT, NONE, "1 if the last exchange reached the endpoint, 0 if not; 1 before the first.") \
	X(UPSTREAM_REPEATS, "upstream_repeats_total", COUNTER, UPSTREAM, NONE, "Exchanges sent once more because a kept connection had died (repeatable calls only).") \
	X(ENDPOINT_STATE, "endpoint_state", GAUGE, ENDPOINT, ENDPOINT_STATE, "1 for the state an endpoint is in; of a program, how many of its processes are in each.") \
	X(ENDPOINT_EJECTIONS, "endpoint_ejections_total", COUNTER, ENDPOINT, EJECTION, "Times an endpoint was ejected, by reason.") \
	X(ENDPOINT_CHECKS, "endpoint_checks_total", COUNTER, ENDPOINT, CHECK_RESULT, "Active checks of endpoints, and connections tried to those out of reach, by result.") \
	X(ATTEMPTS, "attempts_total", COUNTER, UPSTREAM, ATTEMPT, "Attempts to deliver calls to a provider, by why they were made and what came of them.") \
	X(LIMITER_STATE, "concurrency_state", GAUGE, UPSTREAM, LIMITER_STATE, "1 for what the limiter of requests under way does.") \
	X(LIMITER_REASON, "concurrency_reason", GAUGE, UPSTREAM, LIMITER_REASON, "1 for the reason of the last change of concurrency_limit.") \
	X(SHED, "shed_total", COUNTER, UPSTREAM, SHED_REASON, "Calls that were not let wait for their turn, or any longer, by reason.") \
	X(BAND_WAITING, "band_waiting_items", GAUGE, UPSTREAM, BAND, "Calls waiting in lanes, by how urgent they are.") \
	X(BAND_SENT, "band_sent_total", COUNTER, UPSTREAM, BAND, "Calls whose turn has come, by how urgent they are.") \
	X(BAND_SHED, "band_shed_total", COUNTER, UPSTREAM, BAND, "Calls counted in shed_total, by how urgent they are.") \
	X(QUEUE_WAIT, "queue_wait_seconds", GAUGE_SECONDS, UPSTREAM, NONE, "How long a call that came last was reckoned to wait for its turn.") \
	X(RETRY_BUDGET, "retry_budget_ratio", GAUGE_RATIO, UPSTREAM, NONE, "What is left of the budget for repeats, 0 to 1.") \
	X(UPSTREAM_TOOLS, "upstream_tools", GAUGE, UPSTREAM, NONE, "Tools of it that callers see.")                    \
	X(UPSTREAM_TOOLS_REFUSED, "upstream_tools_refused", GAUGE, UPSTREAM, NONE, "Tools that it lists and that were refused: see /admin/tools.") \
	X(UPSTREAM_TOOLS_STALE, "upstream_tools_stale", GAUGE, UPSTREAM, NONE, "1 while it does not list its tools and its last list stays in use.") \
	X(UPSTREAM_LISTS, "upstream_lists_total", COUNTER, UPSTREAM, NONE, "Lists of its tools that were read.")       \
	X(TOOL_DEFINITION_CHANGES, "tool_definition_changes_total", COUNTER, UPSTREAM, NONE, "Times the server changed what it says of a tool that it had listed (event=tool_changed).") \
	X(UPSTREAM_LIST_FAILURES, "upstream_list_failures_total", COUNTER, UPSTREAM, NONE, "Times it did not list its tools, or the list could not be read.") \
	X(MCP_OPENS, "upstream_mcp_opens_total", COUNTER, UPSTREAM, MCP_OPENING, "MCP servers over HTTP opened (discovered or initialized), by era, or that it failed.") \
	X(MCP_LOST, "upstream_mcp_sessions_lost_total", COUNTER, UPSTREAM, NONE, "MCP sessions that the server did not know any more.") \
	X(MCP_ENDS, "upstream_mcp_session_ends_total", COUNTER, UPSTREAM, MCP_ENDING, "MCP sessions not used any more that were ended with DELETE, that the server does not let clients end, or that were left to expire.") \
	X(MCP_READY, "upstream_mcp_ready", GAUGE, UPSTREAM, NONE, "1 if the MCP server is open for calls.") \
	X(MCP_PINGS, "upstream_mcp_pings_total", COUNTER, UPSTREAM, NONE, "Pings of MCP servers answered.") \
	X(PROCESSES, "upstream_processes", GAUGE, UPSTREAM, NONE, "Child processes running.")                          \
	X(PROCESS_STARTS, "upstream_process_starts_total", COUNTER, UPSTREAM, NONE, "Child processes started.")        \
	X(PROCESS_CRASHES, "upstream_process_crashes_total", COUNTER, UPSTREAM, NONE, "Child processes that ended though nobody had stopped them.") \
	X(PROCESS_CPU, "upstream_process_cpu_seconds", GAUGE_SECONDS, UPSTREAM, NONE, "CPU time that child processes and their offspring have used, ended ones included.") \
	X(PROCESS_RESIDENT, "upstream_process_resident_bytes", GAUGE, UPSTREAM, NONE, "Memory that child processes and their offspring hold now.") \
	X(PROCESS_UNPARSED_LINES, "upstream_process_unparsed_lines_total", COUNTER, UPSTREAM, NONE, "Lines of child processes that were no answer to a call under way, and messages they did not take.") \
	X(PROCESS_STDERR, "upstream_process_stderr_lines_total", COUNTER, UPSTREAM, NONE, "Lines child processes wrote to stderr.") \
	X(REDIS_UP, "redis_up", GAUGE, NONE, NONE, "1 if Redis is configured and answers.")                            \
	X(REDIS_CONNECTED, "redis_connected_workers", GAUGE, NONE, NONE, "Workers with a connection to Redis.")        \
	X(REDIS_BREAKER, "redis_breaker_open_workers", GAUGE, NONE, NONE, "Workers that leave Redis alone because it did not answer.") \
	X(REDIS_DURATION, "redis_duration_seconds", SECONDS, REDIS_COMMAND, NONE, "From sending a command to its reply.") \
	X(REDIS_CONNECTS, "redis_connects_total", COUNTER, NONE, NONE, "Connections to Redis made and set up.")       \
	X(REDIS_ERRORS, "redis_errors_total", COUNTER, REDIS_TROUBLE, NONE, "What went wrong with Redis, by reason.")  \
	X(REDIS_SKIPPED, "redis_skipped_total", COUNTER, REDIS_SKIP, NONE, "Look-ups and stores that did not go to Redis, by reason.") \
	X(DISK_UP, "disk_up", GAUGE, NONE, NONE, "1 if a disk tier is configured and open.")                           \
	X(DISK_DURATION, "disk_duration_seconds", SECONDS, DISK_JOB, NONE, "What the disk tier's thread takes for a job, waiting not included.") \
	X(DISK_ERRORS, "disk_errors_total", COUNTER, DISK_TROUBLE, NONE, "What went wrong with the disk tier, by reason.") \
	X(DISK_SKIPPED, "disk_skipped_total", COUNTER, DISK_SKIP, NONE, "Look-ups and stores that the disk tier was spared, by reason.") \
	X(REDIS_TRACKING, "redis_tracking", GAUGE, NONE, NONE, "1 while what other gateways replace and purge is heard of.") \
	X(REDIS_INVALIDATIONS, "redis_invalidations_total", COUNTER, NONE, NONE, "Values in Redis of which this gateway was told that they had changed.") \
	X(REDIS_PURGES_KNOWN, "redis_purges_known", GAUGE, NONE, NONE, "1 while this process knows what the fleet has purged.") \
	X(REDIS_PURGES, "redis_purges_total", COUNTER, PURGE_DIRECTION, NONE, "Purges published to the other gateways, or heard from them.") \
	X(REDIS_LEASES, "redis_leases_total", COUNTER, LEASE_RESULT, NONE, "Fetches that one gateway makes for the fleet, by what became of them here.") \
	X(OTLP_SPANS, "otlp_spans_total", COUNTER, OTLP_RESULT, NONE, "Spans for the collector, by what became of them.") \
	X(OTLP_POINTS, "otlp_points_total", COUNTER, OTLP_RESULT, NONE, "Data points of metrics for the collector, by what became of them.") \
	X(OTLP_REQUESTS, "otlp_requests_total", COUNTER, OTLP_SIGNAL, OTLP_REQUEST_RESULT, "Requests to the collector, each try.") \
	X(LOG_DROPPED, "log_dropped_total", COUNTER, NONE, NONE, "Log lines lost because the writer could not keep up or could not write.") \
	X(ALERTS_FIRING, "alerts_firing", GAUGE, ALERT, ALERT_SEVERITY, "Of how many subjects (tools, upstreams ...) the alert fires.") \
	X(ALERTS_POSTED, "alert_posts_total", COUNTER, ALERT_POST, NONE, "Posts to alerts.webhook, by what became of them.") \
	X(LOOP_TURNS, "loop_turns_total", COUNTER, NONE, NONE, "Turns of the workers' loops.") \
	X(WORKER_BUSY, "worker_busy_ratio", GAUGE_RATIO, WORKER, NONE, "Share of the last second in which the worker did not wait; at 1 its core is full.") \
	X(WORKER_LAG, "worker_loop_lag_seconds", GAUGE_SECONDS, WORKER, NONE, "The longest turn of the worker's loop within the last 10 to 20 s: for so long all else of it waited.") \
	X(WORKER_TURN_CPU, "worker_turn_cpu_seconds", GAUGE_SECONDS, WORKER, NONE, "The processor time of the turn that took most of it within the last 10 to 20 s, of those of a millisecond and more; far below the lag: the machine let others run.")
enum reject_reason {
#define X(name, word) REJECT_##name,
	REJECT_REASONS(X)
#undef X
	REJECT_REASON_COUNT
};
enum cache_tier {
#define X(name, word) TIER_##name,
	CACHE_TIERS(X)
#undef X
	CACHE_TIER_COUNT
};
enum cache_result {
#define X(name, word) CACHE_##name,
	CACHE_RESULTS(X)
#undef X
	CACHE_RESULT_COUNT
};
enum evict_reason {
#define X(name, word) EVICT_##name,
	EVICT_REASONS(X)
#undef X
	EVICT_REASON_COUNT
};
enum flush_reason {
#define X(name, word) FLUSH_##name,
	FLUSH_REASONS(X)
#undef X
	FLUSH_REASON_COUNT
};
enum refresh_result {
#define X(name, word) REFRESH_##name,
	REFRESH_RESULTS(X)
#undef X
	REFRESH_RESULT_COUNT
};
enum latency_class {
#define X(name, word) CLASS_##name,
	LATENCY_CLASSES(X)
#undef X
	LATENCY_CLASS_COUNT
};
enum connection_state {
#define X(name, word) CONNECTION_##name,
	CONNECTION_STATES(X)
#undef X
	CONNECTION_STATE_COUNT
};
enum mcp_opening {
#define X(name, word) MCP_OPENING_##name,
	MCP_OPENINGS(X)
#undef X
	MCP_OPENING_COUNT
};
enum mcp_ending {
#define X(name, word) MCP_ENDING_##name,
	MCP_ENDINGS(X)
#undef X
	MCP_ENDING_COUNT
};
enum redis_command_kind {
#define X(name, word) REDIS_COMMAND_##name,
	REDIS_COMMANDS(X)
#undef X
	REDIS_COMMAND_COUNT
};
enum redis_trouble {
#define X(name, word) REDIS_TROUBLE_##name,
	REDIS_TROUBLES(X)
#undef X
	REDIS_TROUBLE_COUNT
};
enum redis_skip {
#define X(name, word) REDIS_SKIP_##name,
	REDIS_SKIPS(X)
#undef X
	REDIS_SKIP_COUNT
};
enum disk_job {
#define X(name, word) DISK_JOB_##name,
	DISK_JOBS(X)
#undef X
	DISK_JOB_COUNT
};
enum disk_trouble {
#define X(name, word) DISK_TROUBLE_##name,
	DISK_TROUBLES(X)
#undef X
	DISK_TROUBLE_COUNT
};
enum disk_skip {
#define X(name, word) DISK_SKIP_##name,
	DISK_SKIPS(X)
#undef X
	DISK_SKIP_COUNT
};
enum purge_way {
#define X(name, word) PURGE_##name,
	PURGE_DIRECTIONS(X)
#undef X
	PURGE_DIRECTION_COUNT
};
enum lease_result {
#define X(name, word) LEASE_##name,
	LEASE_RESULTS(X)
#undef X
	LEASE_RESULT_COUNT
};
enum mcp_method {
#define X(name, word) MCP_METHOD_##name,
	MCP_METHODS(X)
#undef X
	MCP_METHOD_COUNT
};
enum otlp_signal {
#define X(name, word) OTLP_##name,
	OTLP_SIGNALS(X)
#undef X
	OTLP_SIGNAL_COUNT
};
enum otlp_result {
#define X(name, word) OTLP_##name,
	OTLP_RESULTS(X)
#undef X
	OTLP_RESULT_COUNT
};
enum otlp_request_result {
#define X(name, word) OTLP_REQUEST_##name,
	OTLP_REQUEST_RESULTS(X)
#undef X
	OTLP_REQUEST_RESULT_COUNT
};
enum reload_result {
#define X(name, word) RELOAD_##name,
	RELOAD_RESULTS(X)
#undef X
	RELOAD_RESULT_COUNT
};
enum alert {
#define X(name, word) ALERT_##name,
	ALERTS(X)
#undef X
	ALERT_COUNT
};
enum alert_severity {
#define X(name, word) ALERT_SEVERITY_##name,
	ALERT_SEVERITIES(X)
#undef X
	ALERT_SEVERITY_COUNT
};
enum alert_post {
#define X(name, word) ALERT_POST_##name,
	ALERT_POSTS(X)
#undef X
	ALERT_POST_COUNT
};
enum limit {
#define X(name, word) LIMIT_##name,
	LIMITS(X)
#undef X
	LIMIT_COUNT
};
enum mcp_notification_result {
#define X(name, word) MCP_NOTE_##name,
	MCP_NOTE_RESULTS(X)
#undef X
	MCP_NOTE_RESULT_COUNT
};
enum mcp_era {
#define X(name, word) MCP_##name,
	MCP_ERAS(X)
#undef X
	MCP_ERA_COUNT
};
enum endpoint_state {
#define X(name, word) ENDPOINT_STATE_##name,
	ENDPOINT_STATES(X)
#undef X
	ENDPOINT_STATE_COUNT
};
enum ejection {
#define X(name, word) EJECTION_##name,
	EJECTIONS(X)
#undef X
	EJECTION_COUNT
};
enum check_result {
#define X(name, word) CHECK_##name,
	CHECK_RESULTS(X)
#undef X
	CHECK_RESULT_COUNT
};
enum shed_reason {
#define X(name, word) SHED_##name,
	SHED_REASONS(X)
#undef X
	SHED_REASON_COUNT
};
enum priority_band {
#define X(name, word) BAND_##name,
	PRIORITY_BANDS(X)
#undef X
	BAND_COUNT
};
enum limiter_state {
#define X(name, word) LIMITER_##name,
	LIMITER_STATES(X)
#undef X
	LIMITER_STATE_COUNT
};
enum limiter_reason {
#define X(name, word) LIMITER_##name,
	LIMITER_REASONS(X)
#undef X
	LIMITER_REASON_COUNT
};
enum attempt_kind {
#define X(name, word) ATTEMPT_##name,
	ATTEMPT_KINDS(X)
#undef X
	ATTEMPT_KIND_COUNT
};
enum attempt_result {
#define X(name, word) ATTEMPT_RESULT_##name,
	ATTEMPT_RESULTS(X)
#undef X
	ATTEMPT_RESULT_COUNT
};
/* Both in one label of a metric: of LABEL_ATTEMPT. */
static inline unsigned attempt_label(enum attempt_kind kind, enum attempt_result result)
{
	return (unsigned)kind * ATTEMPT_RESULT_COUNT + (unsigned)result;
}
enum metric {
#define X(id, name, type, label1, label2, help) METRIC_ID_##id,
	METRIC_CATALOGUE(X)
#undef X
	METRIC_ID_COUNT
};
/* clang-format on */

#endif
