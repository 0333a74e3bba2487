/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_wire.h: stands in for upstream/http/exchange.h and transport.h: the real upstream and its dialects write requests
 * and read answers, but no byte leaves. The test sees each request's bytes and says what comes back and how. A test
 * program that lists fake_wire.c among its sources gets these instead of the archive's.
 *
 * Requests travel over connections that are kept and used again, unless the upstream distrusts them: what a provider
 * says behind an answer (wire_leave) is what the next one to use the connection hears first.
 */
#ifndef TESTS_SUPPORT_FAKE_WIRE_H
#define TESTS_SUPPORT_FAKE_WIRE_H

#include "upstream/http/exchange.h"

/* Everything back to the start, as gateway_start wants it: nothing may be under way. */
void fake_reset(void);
/* Called with each request as it sets out, and before its end is told; NULL: nobody is. */
void wire_watch(void (*begun)(struct http_exchange *exchange), void (*ending)(struct http_exchange *exchange));

/* Requests on the wire since the start. */
size_t wire_sent(void);
size_t wire_under_way(void);
/* The nth under way, 0 the oldest. */
struct http_exchange *wire_nth(size_t n);

/* The status of its answer, of which the upstream has heard nothing yet. */
void wire_status(struct http_exchange *exchange, unsigned status);
/* Its Content-Type, application/json unless said otherwise: static. */
void wire_content_type(struct http_exchange *exchange, const char *type);
/* Its header Mcp-Session-Id: static. */
void wire_session(struct http_exchange *exchange, const char *id);
/* Its headers speak of its reuse so: see http_exchange_reuse. Before any of it has come. */
struct wire_reuse {
	bool said, no_stale;
	uint32_t seconds, age;
};
void wire_reuse(struct http_exchange *exchange, struct wire_reuse reuse);
/* The request's header Last-Event-ID; empty: it has none. */
const char *wire_last_event_id(struct http_exchange *exchange);
/* Some more of an answer has come: status, then its bytes bit by bit. */
void wire_grow(struct http_exchange *exchange, unsigned status, struct slice bytes);
/* That was all, or how it broke off. The exchange may be gone, or begun again. */
void wire_end(struct http_exchange *exchange, enum exchange_end end);

/* What the test notes of a request under way; zeros as it sets out. */
struct wire_note {
	uint64_t moment, moment_us; /* when it set out, by whoever counts moments, and by the clock */
	struct buf rest;            /* of its answer, to be said later; freed with the request */
	enum exchange_end end;      /* and then */
};
struct wire_note *wire_note(struct http_exchange *exchange);

/* To be said on its connection before anything else, because an earlier request has not read it: empty, as a rule. */
struct slice wire_left(const struct http_exchange *exchange);
/* Behind the answer, of which the end is still to come, follow these bytes, instead of what was left before. */
void wire_leave(struct http_exchange *exchange, struct slice bytes);

#endif
