/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_wire.h: stands in for upstream/http/exchange.h and the connections of transport.h: the real upstream and its
 * dialects write requests and read answers, but no byte leaves. The test sees each request's bytes and says what comes
 * back and how. A test program that lists fake_wire.c among its sources gets these instead of the archive's.
 */
#ifndef TESTS_SUPPORT_FAKE_WIRE_H
#define TESTS_SUPPORT_FAKE_WIRE_H

#include "upstream/http/exchange.h"

/* Requests on the wire since the start. */
size_t wire_sent(void);
size_t wire_under_way(void);
/* The nth under way, 0 the oldest. */
struct http_exchange *wire_nth(size_t n);

/* The status of its answer, of which the upstream has heard nothing yet. */
void wire_status(struct http_exchange *exchange, unsigned status);
/* Some more of an answer has come: status, then its bytes bit by bit. */
void wire_grow(struct http_exchange *exchange, unsigned status, struct slice bytes);
/* That was all, or how it broke off. The exchange may be gone, or begun again. */
void wire_end(struct http_exchange *exchange, enum exchange_end end);

#endif
