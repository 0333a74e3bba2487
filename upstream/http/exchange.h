/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange.h: one HTTP exchange: a request's bytes out, an answer's bytes in, and an exact word on how far it
 * came. Knows nothing of calls. A request leaves once: libcurl's own silent repeat over a second connection is stopped.
 */
#ifndef JITNEY_UPSTREAM_HTTP_EXCHANGE_H
#define JITNEY_UPSTREAM_HTTP_EXCHANGE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/slice.h"
#include "upstream/http/transport.h"

struct authorities; /* upstream/authorities.h */
struct curl_slist;

/* How far it came. */
enum exchange_end {
	EXCHANGE_COMPLETE, /* a whole answer, whatever its status */
	EXCHANGE_NOT_SENT, /* no byte of the request has left: resolving, connecting or TLS failed */
	EXCHANGE_SHUT_OUT, /* likewise, or the provider broke the handshake off before it read any: one of the two does not
			     * take the other's certificate, or they do not speak the same TLS. Until somebody mends it */
	EXCHANGE_STALE,    /* a kept connection died before a byte of the answer; what was sent may have been seen */
	EXCHANGE_TIMED_OUT, /* sent; no whole answer in time */
	EXCHANGE_BROKE,     /* sent; the connection died or what came was not HTTP */
	EXCHANGE_TOO_LARGE, /* the answer's body is over the cap */
	EXCHANGE_NO_ROOM,   /* sent; limits.in_flight_bytes has no room for the answer */
	EXCHANGE_NO_MEMORY  /* ours, or no descriptor was left: says nothing of the provider; see http_exchange_sent */
};

/* An endpoint's URL, taken apart once: curl would do it anew for each exchange, at 5 % of its whole work. */
struct http_url;
struct http_url *http_url_new(const char *text) MUST_CHECK; /* checked by upstream_url_check. NULL: out of memory */
void http_url_free(struct http_url *url);                   /* no exchange may be under way with it. NULL is allowed */

struct http_exchange {
	struct transfer transfer; /* transport and connections set by the owner */

	/* --- the owner's, set before http_exchange_begin, unchanged until it has ended --- */
	void (*grown)(struct http_exchange *exchange); /* status, content type and some of the body are there */
	void (*ended)(struct http_exchange *exchange, enum exchange_end end); /* may begin it again or fini it */
	const char *method;                                                   /* static */
	const char *url;                                                      /* NUL-terminated */
	const struct http_url *parsed; /* of url, if that is an endpoint's own; else NULL */
	const char *endpoint;          /* the same without what a call's arguments made of it: for people */
	struct curl_slist *headers;    /* by http_exchange_put_header; freed by http_exchange_fini */
	struct curl_slist *standing;   /* instead of those: borrowed from the upstream (request_headers.h) */
	const char *deadline_header;   /* name of one that says how many milliseconds it has; NULL: none does */
	struct buf body;               /* of the request; freed by http_exchange_fini */
	bool has_body;
	unsigned http;                         /* enum http_version */
	bool connect_only;                     /* a connection is all that is wanted: no request leaves */
	const struct authorities *authorities; /* who may vouch for the provider; NULL: the system's */
	uint64_t connect_timeout_us;
	uint64_t dns_ttl_us;      /* an older look-up of the host is not believed */
	uint64_t idle_timeout_us; /* a kept connection older than this is not used */

	/* --- the answer --- */
	struct buf answer; /* its max is the cap; freed by http_exchange_fini */

	/* --- its own --- */
	struct curl_slist *deadline; /* that one line, the others after it; NULL: none is said */
	bool let_out;                /* a connection was there and the request was let out */
	bool held_back;              /* curl wanted to let it out a second time */
	bool shut_out;               /* EXCHANGE_SHUT_OUT: what was let out has not been read */
	bool head_whole;             /* the blank line that ends the answer's head has come */
	bool reuse_unsaid;           /* known: no line of any head so far speaks of the answer's reuse */
	bool coding_unsaid;          /* known: likewise of its Content-Encoding */
	size_t head_bytes;           /* of its head, of those of interim answers, and of its trailers, so far */
	bool too_large, no_room, no_memory;
	size_t beside; /* bytes that its owner keeps of the answer */
	size_t held;   /* bytes of those and of `answer` that are counted (transport_hold) */
};

/* Append a request header. An empty value is sent as such; NULL takes back a header that curl would add. False: a
 * control character in it (name and value must be one line), or no memory: *no_memory says which. */
bool http_exchange_put_header(struct http_exchange *exchange, struct slice name, const struct slice *value,
			      bool *no_memory) MUST_CHECK;

/* Send it: `ended` follows, from transport_tick. After EXCHANGE_NOT_SENT or EXCHANGE_STALE it may begin again.
 * fresh: over a connection of its own making; over HTTP/2 any new one will do. timeout_us: for all of it. False: out of memory. */
bool http_exchange_begin(struct http_exchange *exchange, bool fresh, uint64_t timeout_us) MUST_CHECK;

/* From `grown`: the first `count` bytes of the answer are not needed any more and stop counting against its cap. */
void http_exchange_forget(struct http_exchange *exchange, size_t count);

/* From `grown`: so many bytes of what has come are kept by the owner, beside the answer. They count as it does: without room for
 * them the exchange ends as if there were none for the answer. */
void http_exchange_keep(struct http_exchange *exchange, size_t bytes);

/* End it if it is under way; `ended` does not follow. What it has sent and answered can be asked about no more. */
void http_exchange_stop(struct http_exchange *exchange);

/* End it if it is under way, free all. Zeroed memory will do. */
void http_exchange_fini(struct http_exchange *exchange);

/* --- Questions, from `grown` and `ended` --- */

unsigned http_exchange_status(const struct http_exchange *exchange); /* 0: no answer */
/* Empty if there is none. Valid as a header is. */
struct slice http_exchange_content_type(const struct http_exchange *exchange);
/* The first header of this name; false: none. Valid until the exchange begins again or ends. */
bool http_exchange_header(const struct http_exchange *exchange, const char *name, struct slice *value);
uint32_t http_exchange_retry_after_s(const struct http_exchange *exchange);
/* What the answer's headers say about its reuse by a shared cache; false: nothing. RFC 9111, 3 and 4.2: Cache-Control
 * (s-maxage before max-age; no-store, no-cache, private and what cannot be read: not at all), else Expires less Date;
 * less Age; Vary: *: not at all. Rounded down. *no_stale: not past that time either. (freshness.c) */
bool http_exchange_reuse(const struct http_exchange *exchange, uint32_t *seconds, uint32_t *age, bool *no_stale);
/* Whether a line of a head is that of the header of that name. */
bool http_line_is_of(struct slice line, struct slice name);
/* Or one that http_exchange_reuse reads. */
bool http_line_is_of_reuse(struct slice line);
/* Whether the head of an answer has come whole, whatever became of the rest. */
bool http_exchange_is_answered(const struct http_exchange *exchange);
/* Whether the answer has a Content-Encoding, which was not asked for and which nobody here takes off. */
bool http_exchange_is_coded(const struct http_exchange *exchange);
/* Whether a byte of the request may have reached the provider. */
bool http_exchange_sent(const struct http_exchange *exchange);
/* Whether the time ran out (as against a refusal) when it was not sent. */
bool http_exchange_was_slow(const struct http_exchange *exchange);
/* Append what went wrong, for people, after the name of the provider: "cannot connect to URL: connection refused". */
void http_exchange_put_reason(const struct http_exchange *exchange, enum exchange_end end, struct buf *out);

#endif
