/* SPDX-License-Identifier: Apache-2.0 */
/* request_headers.c: who may say what in a request's head, and the lines that all requests of an upstream share. */
#include "upstream/http/request_headers.h"

#include <assert.h>
#include <curl/curl.h>
#include <strings.h>

#include "upstream/http/exchange.h"
#include "upstream/upstream.h"

/* libcurl asks for a "100 Continue" only with bodies over a megabyte, and then waits a second for it. Every line in the
 * list of headers is compared with each header that curl would add, 2,700 instructions for this one, so the line that
 * takes the question back is sent only where there would be one. */
enum { EXPECTS_FROM_BYTES = 512 * 1024 };

/* Whether header lines ("Name: value\n") hold one of this name. */
static bool lines_have(struct slice lines, struct slice name)
{
	while (lines.len) {
		const char *newline = memchr(lines.at, '\n', lines.len);
		size_t line = newline ? (size_t)(newline - lines.at) + 1 : lines.len;
		if (line > name.len && lines.at[name.len] == ':' && strncasecmp(lines.at, name.at, name.len) == 0)
			return true;
		lines.at += line;
		lines.len -= line;
	}
	return false;
}

static bool settings_have(const struct upstream_settings *settings, const char *name)
{
	for (size_t i = 0; i < settings->header_count; i++)
		if (strcasecmp(settings->headers[i].name, name) == 0)
			return true;
	return false;
}

struct writer {
	const struct upstream_settings *settings;
	struct http_exchange *exchange;
	struct slice particular; /* the tool's lines */
	struct answer *refusal;  /* the first thing that went wrong */
};

static void put_header(struct writer *writer, struct slice name, const struct slice *value)
{
	bool no_memory;
	if (writer->refusal || http_exchange_put_header(writer->exchange, name, value, &no_memory))
		return;
	writer->refusal = no_memory ? answer_no_memory()
				    : answer_error(OUTCOME_INVALID_REQUEST,
						   "header '%.*s' holds a line break or another control character",
						   SLICE_ARG(name));
}

/* Whether the operator has set it, for the upstream or for the tool. */
static bool is_taken(const struct writer *writer, const char *name)
{
	return settings_have(writer->settings, name) || lines_have(writer->particular, slice_of(name));
}

/* One of ours, unless the operator has set it. NULL: curl's own is not wanted. */
static void put_default(struct writer *writer, const char *name, const char *value)
{
	struct slice text = slice_of(value);
	if (!is_taken(writer, name))
		put_header(writer, slice_of(name), value ? &text : NULL);
}

static void put_particular(struct writer *writer)
{
	struct slice left = writer->particular;
	while (left.len) {
		const char *newline = memchr(left.at, '\n', left.len);
		const char *colon = memchr(left.at, ':', left.len);
		assert(newline && colon && colon < newline);
		struct slice value = { colon + 1, (size_t)(newline - colon - 1) };
		put_header(writer, (struct slice){ left.at, (size_t)(colon - left.at) }, &value);
		left.len -= (size_t)(newline + 1 - left.at);
		left.at = newline + 1;
	}
}

static void put_configured(struct writer *writer)
{
	for (size_t i = 0; i < writer->settings->header_count; i++) {
		struct slice name = slice_of(writer->settings->headers[i].name),
			     value = slice_of(writer->settings->headers[i].value);
		if (!lines_have(writer->particular, name))
			put_header(writer, name, &value);
	}
}

/* What a single call brings along. The operator's own line of that name stands: two would be read as either. */
static void put_forwarded(struct writer *writer, const char *name, struct slice value)
{
	if (value.len && !is_taken(writer, name))
		put_header(writer, slice_of(name), &value);
}

static const char *accept_of(const struct encoded_request *request)
{
	return request->accept ? request->accept : "application/json";
}

static void put_all(struct writer *writer, const struct encoded_request *request, const struct upstream_call *only)
{
	put_particular(writer);
	put_configured(writer);
	put_default(writer, "Content-Type", request->content_type);
	put_default(writer, "Accept", accept_of(request));
	if (request->body.len >= EXPECTS_FROM_BYTES)
		put_default(writer, "Expect", NULL);
	if (only) {
		put_forwarded(writer, "traceparent", only->traceparent);
		put_forwarded(writer, "tracestate", only->tracestate);
		put_forwarded(writer, "Idempotency-Key", only->idempotency_key);
	}
}

/* ---------------------------------------------------------------- the lines that are shared */

/* Whether nothing but its kind makes this request's head. */
static bool is_common(const struct encoded_request *request, const struct upstream_call *only)
{
	return request->headers.len == 0 && request->body.len < EXPECTS_FROM_BYTES &&
	       !(only && (only->traceparent.len || only->idempotency_key.len));
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* The place of this kind of request, or a free one; NULL: it has come after others. */
static struct standing *find_standing(struct http_headers *headers, const struct encoded_request *request)
{
	for (size_t i = 0; i < STANDING_HEADERS; i++) {
		struct standing *standing = &headers->standing[i];
		if (!standing->lines || (same_text(standing->content_type, request->content_type) &&
					 same_text(standing->accept, accept_of(request))))
			return standing;
	}
	return NULL;
}

void http_headers_init(struct http_headers *headers, const struct upstream_settings *settings)
{
	*headers = (struct http_headers){ .settings = settings };
}

void http_headers_fini(struct http_headers *headers)
{
	for (size_t i = 0; i < STANDING_HEADERS; i++)
		curl_slist_free_all(headers->standing[i].lines);
}

struct answer *http_headers_write(struct http_headers *headers, struct http_exchange *exchange,
				  const struct encoded_request *request, const struct upstream_call *only)
{
	struct writer writer = { headers->settings, exchange, buf_slice(&request->headers), NULL };
	struct standing *standing = is_common(request, only) ? find_standing(headers, request) : NULL;
	if (!standing || !standing->lines)
		put_all(&writer, request, only);
	if (!standing || writer.refusal)
		return writer.refusal;
	if (!standing->lines) {
		*standing = (struct standing){ request->content_type, accept_of(request), exchange->headers };
		exchange->headers = NULL;
	}
	exchange->standing = standing->lines;
	return NULL;
}
