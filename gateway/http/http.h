/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h: the client's side of the wire, one for each worker and listener: connections are accepted here and handed to
 * libmicrohttpd's daemons once their first head has come (accept.c, daemon.c); the guard that the library lacks
 * (guard.c), absolute deadlines against drip-feeding (connection.c), suspend and resume.
 * Hands whole requests to one handler and takes replies, now or later. Knows nothing of tools.
 * Everything here runs on the worker's thread unless said otherwise.
 */
#ifndef JITNEY_GATEWAY_HTTP_HTTP_H
#define JITNEY_GATEWAY_HTTP_HTTP_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/answer.h"
#include "base/blob.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "base/json_arriving.h"
#include "base/loop.h"
#include "gateway/http/settings.h"
#include "metrics/metrics.h"

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_DELETE, HTTP_OPTIONS, HTTP_PATCH, HTTP_METHOD_COUNT };
/* As it stands in a request. Static storage. */
const char *http_method_name(enum http_method method);

enum {
	REQUEST_ID_BYTES = 129,     /* longest id accepted from a caller, NUL included */
	REQUEST_TARGET_BYTES = 1024 /* longest request target, NUL included */
};

/* X(NAME, name, may it come twice?): the headers anybody here looks at, found in one walk over the head. */
/* clang-format off */
#define HTTP_HEADERS(X)                                                                              \
	X(HOST, "host", false)                                                                       \
	X(CONTENT_LENGTH, "content-length", false)                                                   \
	X(TRANSFER_ENCODING, "transfer-encoding", false)                                             \
	X(CONTENT_TYPE, "content-type", false)                                                       \
	X(CONTENT_ENCODING, "content-encoding", false)                                               \
	X(ORIGIN, "origin", false)                                                                   \
	X(SEC_FETCH_SITE, "sec-fetch-site", false)                                                   \
	X(ACCEPT, "accept", true)                                                                    \
	X(AUTHORIZATION, "authorization", false)                                                     \
	X(CACHE_CONTROL, "cache-control", true)                                                      \
	X(IDEMPOTENCY_KEY, "idempotency-key", false)                                                 \
	X(IF_NONE_MATCH, "if-none-match", true)                                                      \
	X(PRIORITY, "priority", true)                                                                \
	X(REQUEST_TIMEOUT, "x-request-timeout-ms", false)                                            \
	X(REQUEST_ID, "x-request-id", false)                                                         \
	X(TRACEPARENT, "traceparent", false)                                                         \
	X(TRACESTATE, "tracestate", true)                                                            \
	X(FORWARDED_PROTO, "x-forwarded-proto", true)                                                \
	X(FORWARDED_HOST, "x-forwarded-host", true)                                                  \
	X(MCP_VERSION, "mcp-protocol-version", false)                                                \
	X(MCP_METHOD, "mcp-method", false)                                                           \
	X(MCP_NAME, "mcp-name", false)
/* clang-format on */

enum http_header {
#define X(name, word, list) HEADER_##name,
	HTTP_HEADERS(X)
#undef X
		HEADER_CACHE_CONTROL_MORE, /* a second Cache-Control line; there is no third */
	HEADER_TENANT,                     /* settings->tenant_header */
	HEADER_COUNT
};

struct http;

enum { CLIENT_NAME_BYTES = 48 };

/* One client's request. Valid from the handler's call until its reply has been sent (finished). */
struct request {
	struct http *http;
	enum http_method method;
	struct slice path;                  /* raw, as sent: no %-decoding; valid as long as the request */
	struct slice query;                 /* raw, without '?'; likewise */
	struct slice headers[HEADER_COUNT]; /* values, blanks around them cut; {NULL, 0}: not sent. Valid likewise */
	struct buf body;                    /* whole; buf_take_blob is the handler's right */
	char id[REQUEST_ID_BYTES];          /* the caller's X-Request-Id if it was fit, else ours */
	uint64_t received_us;               /* when the request was complete */
	uint64_t caller;                    /* number of the connection: who asks, for want of a better name */
	const struct sockaddr *peer; /* the connection's other end: AF_INET, AF_INET6, or AF_UNIX without a name */
	bool from_trusted_proxy;
	/* The handler's: what the request waits for. `gone` is called (once, if set) when the client has left or the
	 * gateway gives up on it before a reply; the handler then owes no reply. */
	void *waits_for;
	void (*gone)(struct request *request);
	/* Answering in pieces: called (if set) when the client has taken some and few bytes are left, from within the
	 * library: it may only note that there is room. */
	void (*drained)(struct request *request);

	void *logged; /* the handler's, for `finished` */
	/* The handler's: whether the body is JSON nested at most so deep, if that has been looked at */
	enum json_soundness body_soundness;
	struct json_fault body_fault; /* JSON_FAULTY: why */
	unsigned body_depth;
	char client_name[CLIENT_NAME_BYTES]; /* for the log: what an MCP client calls itself, cut; "": it does not */
};

/* A header that is not among those above, by its name in any case: how often it came. *value: the first, blanks around
 * it cut; valid like the request. */
size_t request_header(const struct request *request, struct slice name, struct slice *value);
enum { REQUEST_CLIENT_BYTES = 46 }; /* INET6_ADDRSTRLEN */

/* The client's address as text: the connection's other end, or, where that is a trusted proxy, whom X-Forwarded-For
 * names. Empty: not known (a unix socket). In `text` or in the request. */
struct slice request_client(const struct request *request, char text[REQUEST_CLIENT_BYTES]);
/* The value of a parameter of the query, as sent; empty if there is none. Valid like the request. */
struct slice request_query(const struct request *request, struct slice name);
/* How many parameters the query has, known or not. */
size_t request_query_count(const struct request *request);

/* --- Replies --- */

enum { REPLY_HEADERS_MAX = 16, REPLY_HEADER_VALUE_BYTES = 256 };

struct reply {
	unsigned status;
	/* The body is one of: bytes of an answer or a blob (a reference is taken, nothing is copied), or none. With 304
	 * its length is told and nothing of it is sent (RFC 9110, 8.6). */
	struct slice body;
	struct answer *answer;    /* keeps body alive, or NULL */
	struct blob *blob;        /* keeps body alive, or NULL */
	const char *content_type; /* NULL: no body */
	size_t header_count;
	struct {
		const char *name; /* static */
		char value[REPLY_HEADER_VALUE_BYTES];
	} headers[REPLY_HEADERS_MAX];
};

/* A reply without body and headers. */
void reply_init(struct reply *reply, unsigned status);
/* A header; its value printf-like; cut if too long, left out beyond REPLY_HEADERS_MAX (our bug: asserts). */
void reply_header(struct reply *reply, const char *name, const char *format, ...) PRINTF_LIKE(3, 4);
/* The same for a value that is there already: no formatting. */
void reply_header_text(struct reply *reply, const char *name, struct slice value);

/* Answer a request, from within the handler or later (same thread). The reply is used up, nothing of it is kept but
 * references on answer and blob. Out of memory: the connection is closed. The request must not be touched any more. */
void request_reply(struct request *request, const struct reply *reply);

/* Answer in pieces (NDJSON): the head now, then pieces, then the end. `reply` has no body. After request_stream_end,
 * or after `gone`, the request must not be touched any more. A piece is refused (false) when memory is out. */
void request_stream_start(struct request *request, const struct reply *reply);
bool request_stream_put(struct request *request, struct slice piece);
/* Bytes of it that the client has not taken yet: who makes more than it reads waits until there are few. */
size_t request_stream_unread(const struct request *request);
void request_stream_end(struct request *request);
/* Break the answer off: the client sees a connection that ended too early. Likewise. */
void request_stream_abort(struct request *request);

/* --- The daemon --- */

/* What the workers' daemons share. Zero-initialise. */
struct http_shared {
	atomic_size_t connections;       /* a: open now on data listeners, over all workers */
	atomic_size_t admin_connections; /* a: likewise on admin listeners: those have places of their own */
	atomic_size_t held_bytes; /* a: bytes of bodies being gathered or held for calls, of replies not taken yet */
};

struct http_handler {
	/* A request that cannot be served was met while it was read; `detail` is static. Reply at once. */
	void (*refuse)(void *context, struct request *request, enum outcome outcome, const char *detail);
	/* A whole request has come. Reply now (request_reply) or later; set request->gone before returning if later. */
	void (*serve)(void *context, struct request *request);
	/* The end of a request that `serve` or `refuse` has seen: its reply has been sent (status), or could not be
	 * (status 499: the client left). For the access log. */
	void (*finished)(void *context, struct request *request, unsigned status, uint64_t bytes);
	void *context;
};

enum { HTTP_ADMIN_CONNECTIONS = 64 }; /* places of admin listeners, beside limits.connections */

/* What the library says, with its file and line, before the process must end. */
typedef void http_panic(void *context, const char *file, unsigned line, const char *reason);
/* Before anything else here. */
void http_library_init(http_panic *panic);

/* To serve `listen_fd`, which is taken, from http_accept on; `admin`: its connections count by themselves. settings,
 * shared: borrowed. NULL with `error` set. */
struct http *http_start(int listen_fd, bool admin, const struct http_settings *settings, struct http_shared *shared,
			struct http_handler handler, struct loop *loop, struct meter *meter, char *error,
			size_t error_bytes) MUST_CHECK;
/* Accept connections from now on. Where the kernel refuses to watch the socket it is tried again. */
void http_accept(struct http *http);
/* The socket it listens on; -1: it listens no more. */
int http_socket(const struct http *http);
/* Others from now on, borrowed in place of those before: of connections that are open, too. Where limits.headers has
 * grown, kept connections end with their next reply, since their memory is as it was. */
void http_use(struct http *http, const struct http_settings *settings);
/* Descriptors that `listeners` of these take at most, over all workers, beside connections. */
size_t http_descriptors(const struct http_settings *settings, size_t listeners);

/* Once a loop turn: cut off what is past its deadline, resume every request that has been answered, let the library
 * read and write. Calls handler->serve. */
void http_turn(struct http *http, uint64_t now_us);
/* When http_turn has to be called at the latest. */
uint64_t http_deadline(struct http *http, uint64_t now_us);

/* Take no new connections; replies from now on end their connection. The listening socket is closed; `shared`: somebody
 * else goes on listening on it, and gets those that are queued; else they are accepted first. */
void http_drain(struct http *http, bool shared);
/* Drain it, and keep nobody who is quiet: a connection without a request is cut after idle_us. */
void http_retire(struct http *http, uint64_t idle_us);
/* Whether no connection is left. */
bool http_is_empty(const struct http *http);
/* From now on answer what comes on kept connections with 503 (shutting_down), without asking the handler to serve it.
 */
void http_refuse(struct http *http);
/* Whether more bytes are held than settings->held_bytes: replies that their clients do not take are counted, but cannot
 * be refused any more. What may lead to further ones can. */
bool http_full(const struct http *http);
/* Requests whose head is complete and whose reply has not been sent. */
size_t http_busy(const struct http *http);
/* End at once: every waiting request gets its `gone`, connections are closed. NULL is allowed. */
void http_stop(struct http *http);

/* --- What is held for replies that are not handed over yet --- */

/* Up to limits.in_flight_bytes for what waits to become a reply; up to an eighth more for what a reply is made of
 * while it is written, so that what is held can be written when nothing more may be held. */
enum held_for { HELD_TO_WAIT, HELD_TO_WRITE };

/* Count bytes before they are held. False: there is no room, nothing is counted. */
bool http_hold(struct http *http, size_t bytes, enum held_for what) MUST_CHECK;
/* Count them although there may be no room: for the little that must be kept. */
void http_hold_anyway(struct http *http, size_t bytes);
void http_release(struct http *http, size_t bytes);
/* The same for an answer, HELD_TO_WAIT: what several replies hold of it is counted once. Takes no reference. */
bool http_hold_answer(struct http *http, struct answer *answer) MUST_CHECK;
void http_release_answer(struct http *http, struct answer *answer);

#endif
