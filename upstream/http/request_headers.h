/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request_headers.h: the headers of an upstream's requests, most particular first: the tool's, the configured ones, ours.
 * Most requests of an upstream have the same ones: those lines are made once and shared.
 */
#ifndef JITNEY_UPSTREAM_HTTP_REQUEST_HEADERS_H
#define JITNEY_UPSTREAM_HTTP_REQUEST_HEADERS_H

#include "base/answer.h"
#include "base/compiler.h"

struct curl_slist;
struct http_exchange;
struct encoded_request;
struct upstream_call;
struct upstream_settings;

enum { STANDING_HEADERS = 2 }; /* kinds of requests an upstream has: with a body and without */

/* Embedded in an upstream; its worker's. */
struct http_headers {
	const struct upstream_settings *settings;
	struct standing {
		const char *content_type, *accept; /* static; what they were made for */
		struct curl_slist *lines;          /* NULL: this place is free */
	} standing[STANDING_HEADERS];
};

/* Nothing is made yet. The settings outlive it. */
void http_headers_init(struct http_headers *headers, const struct upstream_settings *settings);
/* No exchange may be under way with them. */
void http_headers_fini(struct http_headers *headers);

/*
 * Give the exchange its headers.
 *
 * request  encoded: its body's size and its particular headers count.
 * only     the one call that travels, whose traceparent, tracestate and Idempotency-Key go along; NULL: there are many.
 * Returns NULL, or why not: a header with a control character in it, or no memory.
 */
struct answer *http_headers_write(struct http_headers *headers, struct http_exchange *exchange,
				  const struct encoded_request *request, const struct upstream_call *only) MUST_CHECK;

#endif
