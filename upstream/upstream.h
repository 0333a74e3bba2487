/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upstream.h: the front door of a provider: send some calls in one exchange, get each one's answer as it arrives.
 * Speaks through a dialect (dialect.h) over the worker's transport (transport.h: pooled curl multi). Retries nothing
 * that may have had an effect. Owned by one worker thread; only upstream_settings and routes are shared, read-only.
 */
#ifndef JITNEY_UPSTREAM_UPSTREAM_H
#define JITNEY_UPSTREAM_UPSTREAM_H

#include <stdint.h>

#include "base/answer.h"
#include "base/compiler.h"
#include "base/loop.h"
#include "base/mcp.h"
#include "base/slice.h"
#include "metrics/metrics.h"
#include "upstream/dialects/dialect.h"
#include "upstream/endpoint_settings.h"
#include "upstream/retry_budget.h"

struct authorities;
struct provider_model;
struct process_pool_settings;

/* What is spoken with a provider. */
enum http_version {
	HTTP_VERSION_1_1,
	HTTP_VERSION_AUTO, /* HTTP/2 where TLS agrees on it, else 1.1 */
	HTTP_VERSION_2     /* without TLS too, where nobody can be asked whether it is spoken (RFC 9113, 3.3) */
};

struct upstream_header {
	const char *name;
	const char *value; /* may hold a secret: never logged */
};

/* From the configuration; borrowed, outlives the upstream. Constant but for what upstream_adjust tells of. */
struct upstream_settings {
	const char *name;
	const struct dialect *dialect;
	const char *const *endpoints; /* URLs; http or https; checked by upstream_url_check */
	const char *const *shown;     /* the same for logs, metrics and errors: no secrets; NULL: they hold none */
	size_t endpoint_count;
	const unsigned *weights;                 /* of the endpoints, 1 or more each; NULL: all the same */
	const struct endpoint_policy *balancing; /* NULL: endpoint_default_policy */
	const struct health_settings *health;    /* NULL: no active checks */
	struct endpoint_board **boards;          /* one each, shared with other threads; NULL: nobody looks */
	bool hedge_p95;                          /* a call that takes longer than 95 of 100 is sent anew beside it */
	uint64_t hedge_us;                       /* else one that takes longer than this; 0: none is */
	uint64_t dns_ttl_us; /* how long the addresses of a host are believed; 0: asked for each connection */
	bool one_server;     /* a host is one server, whichever of its addresses is used: it has sessions */
	const struct upstream_header *headers; /* sent with every request */
	size_t header_count;
	const char *deadline_header; /* name of one that says how many milliseconds are left; NULL: none does */
	const struct authorities *authorities; /* who may vouch for the provider (authorities.h); NULL: the system's */
	unsigned http;                         /* enum http_version */
	unsigned label;                        /* metrics index of the upstream */
	/* So many stand for the provider together, on as many workers (0: as 1), and which of them this one is: the first tells
	 * gauges. What it may have at most is its part already, of retries its calls' */
	unsigned parts, part;
	struct endpoint_verdicts
		*verdicts; /* of several with active checks, which the first makes for all; NULL: it does */
	const unsigned *endpoint_labels; /* metrics index of each endpoint; NULL: its place */
	size_t pool_max;                 /* connections at most, >= 1 */
	size_t pool_min_idle;            /* so many are used past idle_timeout, by calls that may be sent again */
	uint64_t idle_timeout_us;        /* a kept connection older than this is not used again */
	uint64_t connect_timeout_us;
	uint64_t timeout_us; /* one exchange at most */
	struct retry_settings retries;
	size_t answer_bytes;      /* cap on one HTTP answer's body */
	unsigned json_depth;      /* cap on the nesting of answers */
	const char *mcp_protocol; /* mcp: "auto" or a version (mcp_session_init); NULL: auto */
	uint64_t
		mcp_progress_us; /* MCP: most of a call whose server reports progress; each report is worth timeout_us */
	size_t mcp_list_bytes;   /* MCP: cap on a list of tools, all pages */
	uint64_t mcp_refresh_us; /* mcp: how old a list of tools may become; 0: it is asked for once a session */
	const struct provider_model *simulated;      /* provider_model.h; NULL: a real provider */
	const struct process_pool_settings *process; /* NULL: over HTTP */
};

/* What metrics call the endpoint of this place. */
static inline unsigned upstream_endpoint_label(const struct upstream_settings *settings, size_t endpoint)
{
	return settings->endpoint_labels ? settings->endpoint_labels[endpoint] : (unsigned)endpoint;
}

/* Whether a URL can be an endpoint: http or https, a host, no user info, query or fragment. Main thread. */
bool upstream_url_check(const char *url, char *error, size_t error_bytes) MUST_CHECK;

/* Whether its host is a name that a name server may have to be asked for, and that may stand for several addresses; not
 * an address, nor localhost (RFC 6761, 6.3), which curl knows. (upstream/http/lookup.c) */
bool upstream_url_is_named(const char *url) MUST_CHECK;

/* Why HTTP/2 cannot be spoken with that URL; NULL: it can. Static. Any thread. (upstream/http/version.c) */
const char *upstream_http2_fault(const char *url);

/* Process-wide start and end of the HTTP client library; once, main thread, before any thread and after all. */
bool upstream_library_init(void) MUST_CHECK;
void upstream_library_fini(void);
/* After the last upstream is gone: wait until its child processes are too. False: some were left after timeout_us, to
 * the supervisors that see them out. Main thread. */
bool upstream_await_children(uint64_t timeout_us);

/* For a provider that lists its own tools (MCP). Called on the owner's thread, from within transport_tick or loop
 * dispatch, any number of times. */
struct upstream_watcher {
	/* Its tools now: one JSON array of MCP Tool objects, all pages, bytes as they came; and what it says of their
	 * use (text, mcp_take_instructions; empty: nothing). Both borrowed. */
	void (*tools)(void *context, struct slice tools, struct slice instructions);
	/* It does not list them now; what it listed last stays in use. why: for people. */
	void (*tools_failed)(void *context, const char *why);
	void *context;
};

struct transport; /* http/transport.h: one per worker */
/* It keeps so many connections at least, from now on. The worker's thread. */
void transport_grow(struct transport *transport, size_t max_connections);

struct upstream;
struct exchange; /* one request under way */

/* Callbacks run on the owner's thread, from within transport_tick or loop dispatch, never from within upstream_send. */
struct upstream_events {
	/* Call `index` is answered; `answer` is the receiver's reference. Exactly once for each call of the exchange.
	 */
	void (*answered)(void *context, size_t index, struct answer *answer);
	/* Instead of `answered`, for a call whose exchange failed as a whole after it was sent (refused, cut off, not
	 * to be read; a single call's: not once its answer had begun), and that may be sent again: it is repeatable, or
	 * the status says that nothing was carried out (dialect_nothing_done). This is what it would have been told.
	 * NULL: answered it is. */
	void (*refused)(void *context, size_t index, struct answer *answer);
	/* Instead of `answered`, for a repeatable call that was answered only because of others in the exchange, as it
	 * may be (dialect_sink): it is to be sent again alone. `answer` is an error, for when it cannot. NULL: answered
	 * it is. */
	void (*doubted)(void *context, size_t index, struct answer *answer);
	/* Word of call `index`, which has no answer yet, as it asked for: the params of the notification, one JSON
	 * object, borrowed. Any number of times. No call may be made, forgotten or aborted in here. NULL: nobody
	 * listens. */
	void (*on_notification)(void *context, size_t index, enum mcp_notification_kind note, struct slice params);
	/* All calls have been answered or refused; the exchange is gone. `outcome`: OK if the provider answered the
	 * request as a whole, else why not. Once, last. */
	void (*completed)(void *context, enum outcome outcome);
};

/* NULL when out of memory. The transport outlives it. */
struct upstream *upstream_new(const struct upstream_settings *settings, struct transport *transport, struct loop *loop,
			      struct meter *meter) MUST_CHECK;
/* No exchange may be under way. NULL is allowed. */
void upstream_free(struct upstream *upstream);

/* What its settings say has changed: numbers, and what the balancing, the checks and the pool point to; nothing else. */
void upstream_adjust(struct upstream *upstream);

/* What is left for repeats; its own. */
struct retry_budget *upstream_retry_budget(struct upstream *upstream);

/* Start to list the provider's tools, and keep the list current. Once, before any call; a provider that lists none says
 * nothing. `watcher` is borrowed and outlives the upstream. */
void upstream_watch(struct upstream *upstream, const struct upstream_watcher *watcher);

/* No call will come any more, and none is under way: say what is left to say to the provider (MCP: that its session has
 * ended). Once; it takes timeout_us at most, of the loop's turns. */
void upstream_leave(struct upstream *upstream, uint64_t timeout_us);
/* Whether that is still under way. */
bool upstream_leaving(const struct upstream *upstream);

/*
 * Send 1..dialect->max_calls calls as one HTTP exchange.
 * deadline_us  the exchange ends then (or after settings->timeout_us, whichever is sooner), monotonic.
 * Returns the exchange, or NULL with *refusal set (one answer, the caller's reference, which speaks for all calls):
 *   out of memory, or a call the dialect cannot write.
 * Outcomes of calls: OK, TOOL_ERROR (with what the provider said), RATE_LIMITED (429), UPSTREAM_ERROR,
 *   UPSTREAM_UNAVAILABLE (nothing was sent; 503), UPSTREAM_TIMEOUT, and for a call that is not repeatable, sent, and
 *   then without an answer: OUTCOME_UNKNOWN. A call that is not repeatable is carried out at most once.
 */
struct exchange *upstream_send(struct upstream *upstream, const struct upstream_call *calls, size_t count,
			       uint64_t deadline_us, const struct upstream_events *events, void *context,
			       struct answer **refusal) MUST_CHECK;
/* Nobody waits any more: end it, no callback follows. The connection is closed. */
void upstream_abort(struct exchange *exchange);
/* Nobody waits for this one of its calls any more, which has no answer yet, and others have none either. The provider
 * is told if it can be (MCP over stdio); `answered` may be called for it or not. */
void upstream_forget(struct exchange *exchange, size_t index);
/* Whether a byte of it may have reached the provider. False: whatever it carries has had no effect, and may be sent
 * anew. */
bool upstream_sent(const struct exchange *exchange);
/* How many attempts to deliver it have been made so far: failover and hedges count; 1 at least. Not
 * after `completed`. */
size_t upstream_attempts(const struct exchange *exchange);

#endif
