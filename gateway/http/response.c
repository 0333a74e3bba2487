/* SPDX-License-Identifier: Apache-2.0 */
/* response.c: replies into the library's responses, whole or in pieces. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "gateway/http/http_private.h"

enum {
	STREAM_BLOCK_BYTES = 16384,
	STREAM_MAX_BYTES = 64 << 20, /* pieces a slow reader may leave unread */
	STREAM_LOW_BYTES = 64 << 10  /* so few left: time for more */
};

void reply_init(struct reply *reply, unsigned status)
{
	/* not all of it: the values are large and have counts */
	memset(reply, 0, offsetof(struct reply, headers));
	reply->status = status;
}

void reply_header_text(struct reply *reply, const char *name, struct slice value)
{
	assert(reply->header_count < REPLY_HEADERS_MAX);
	size_t len = value.len < REPLY_HEADER_VALUE_BYTES ? value.len : REPLY_HEADER_VALUE_BYTES - 1;
	memcpy(reply->headers[reply->header_count].value, value.at, len);
	reply->headers[reply->header_count].value[len] = '\0';
	reply->headers[reply->header_count++].name = name;
}

void reply_header(struct reply *reply, const char *name, const char *format, ...)
{
	assert(reply->header_count < REPLY_HEADERS_MAX);
	va_list args;
	va_start(args, format);
	vsnprintf(reply->headers[reply->header_count].value, REPLY_HEADER_VALUE_BYTES, format, args);
	va_end(args);
	reply->headers[reply->header_count++].name = name;
}

static void free_answer(void *answer)
{
	answer_unref(answer);
}

static void free_blob(void *blob)
{
	blob_unref(blob);
}

static struct MHD_Response *body_response(const struct reply *reply)
{
	void *bytes = (void *)(uintptr_t)reply->body.at; /* the library takes it as mutable and leaves it alone */
	struct MHD_Response *response;
	if (reply->body.len == 0)
		return MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
	if (reply->answer) {
		response = MHD_create_response_from_buffer_with_free_callback_cls(reply->body.len, bytes, free_answer,
										  answer_ref(reply->answer));
		if (!response)
			answer_unref(reply->answer);
	} else if (reply->blob) {
		response = MHD_create_response_from_buffer_with_free_callback_cls(reply->body.len, bytes, free_blob,
										  blob_ref(reply->blob));
		if (!response)
			blob_unref(reply->blob);
	} else {
		response = MHD_create_response_from_buffer(reply->body.len, bytes, MHD_RESPMEM_MUST_COPY);
	}
	return response;
}

/* Put the head on; takes the response. NULL when memory is out. */
static struct MHD_Response *with_head(struct MHD_Response *response, struct http_request *http_request,
				      const struct reply *reply)
{
	if (!response)
		return NULL;
	const struct http_daemon *daemon = http_request->connection->daemon;
	bool close_after =
		http_request->refused || http_request->request.http->draining || (daemon && daemon_is_outgrown(daemon));
	bool ok = !reply->content_type || MHD_add_response_header(response, "Content-Type", reply->content_type);
	for (size_t i = 0; ok && i < reply->header_count; i++)
		ok = MHD_add_response_header(response, reply->headers[i].name, reply->headers[i].value);
	if (ok && close_after)
		ok = MHD_add_response_header(response, "Connection", "close");
	if (!ok) {
		MHD_destroy_response(response);
		return NULL;
	}
	return response;
}

static void note_answered(struct http_request *http_request, struct MHD_Response *response, unsigned status)
{
	http_request->response = response; /* NULL: the handler call returns MHD_NO and the connection is closed */
	http_request->status = status;
	http_request->state = STATE_ANSWERED;
	http_request_resume(http_request);
}

/* A refusal, small enough for what the socket holds anyway: what it does not take at once is lost. */
static void write_past_library(struct http_request *http_request, const struct reply *reply)
{
	struct buf out = BUF_INIT(1 << 20);
	buf_printf(&out, "HTTP/1.1 %u %s\r\n", reply->status, MHD_get_reason_phrase_for(reply->status));
	if (reply->content_type)
		buf_printf(&out, "Content-Type: %s\r\n", reply->content_type);
	for (size_t i = 0; i < reply->header_count; i++)
		buf_printf(&out, "%s: %s\r\n", reply->headers[i].name, reply->headers[i].value);
	buf_printf(&out, "Content-Length: %zu\r\nConnection: close\r\n\r\n", reply->body.len);
	if (http_request->request.method != HTTP_HEAD)
		buf_put(&out, reply->body);
	struct slice bytes = buf_slice(&out);
	if (!out.failed) {
		ssize_t sent = send(http_request->connection->fd, bytes.at, bytes.len, MSG_DONTWAIT | MSG_NOSIGNAL);
		(void)sent; /* who does not read its replies misses this one */
	}
	buf_fini(&out);
	http_request->status = reply->status;
	http_request->state = STATE_ANSWERED;
}

void request_reply(struct request *request, const struct reply *reply)
{
	assert_owner(loop_owner(request->http->loop));
	struct http_request *http_request = container_of(request, struct http_request, request);
	assert(http_request->state == STATE_SERVING || http_request->state == STATE_SUSPENDED);
	request->gone = NULL;
	http_request->reply_bytes = reply->status == 304 ? 0 : reply->body.len;
	if (http_request->past_library) {
		write_past_library(http_request, reply);
		return;
	}
	if (http_request->reply_bytes)
		held_reply(http_request, reply);
	note_answered(http_request, with_head(body_response(reply), http_request, reply), reply->status);
}

/* The library asks for the next piece. */
static ssize_t read_stream(void *context, uint64_t position, char *out, size_t max)
{
	struct http_request *http_request = context;
	(void)position;
	size_t left = http_request->stream.len - http_request->stream_at;
	if (http_request->state == STATE_GONE)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (left == 0) {
		if (http_request->stream_ended)
			return MHD_CONTENT_READER_END_OF_STREAM;
		if (http_request->request.http->stopping)
			return MHD_CONTENT_READER_END_WITH_ERROR;
		http_request_suspend(http_request);
		return 0;
	}
	size_t count = left < max ? left : max;
	memcpy(out, buf_slice(&http_request->stream).at + http_request->stream_at, count);
	http_request->stream_at += count;
	http_request->stream_taken += count;
	if (http_request->stream_at == http_request->stream.len) {
		buf_reset(&http_request->stream);
		http_request->stream_at = 0;
	}
	if (http_request->request.drained && left - count <= STREAM_LOW_BYTES)
		http_request->request.drained(&http_request->request);
	return (ssize_t)count;
}

void request_stream_start(struct request *request, const struct reply *reply)
{
	assert_owner(loop_owner(request->http->loop));
	struct http_request *http_request = container_of(request, struct http_request, request);
	assert(http_request->state == STATE_SERVING || http_request->state == STATE_SUSPENDED);
	buf_init(&http_request->stream, STREAM_MAX_BYTES);
	http_request->streaming = true;
	struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES,
									  read_stream, http_request, NULL);
	note_answered(http_request, with_head(response, http_request, reply), reply->status);
}

/* A reader that is always a little behind never empties the stream: what it has read must not fill it. Moved once it is
 * the larger half, so that a byte is moved once on average. */
static void forget_read(struct http_request *http_request)
{
	struct buf *stream = &http_request->stream;
	if (http_request->stream_at <= stream->len / 2)
		return;
	stream->len -= http_request->stream_at;
	memmove(stream->store->bytes, stream->store->bytes + http_request->stream_at, stream->len);
	http_request->stream_at = 0;
}

bool request_stream_put(struct request *request, struct slice piece)
{
	assert_owner(loop_owner(request->http->loop));
	struct http_request *http_request = container_of(request, struct http_request, request);
	assert(http_request->streaming && !http_request->stream_ended);
	forget_read(http_request);
	buf_put(&http_request->stream, piece);
	held_stream(http_request, http_request->stream.store ? http_request->stream.store->len : 0);
	http_request->reply_bytes += piece.len;
	http_request_resume(http_request);
	return !http_request->stream.failed;
}

size_t request_stream_unread(const struct request *request)
{
	const struct http_request *http_request = (const struct http_request *)(uintptr_t)container_of(
		(struct request *)(uintptr_t)request, struct http_request, request);
	return http_request->stream.len - http_request->stream_at;
}

void request_stream_end(struct request *request)
{
	assert_owner(loop_owner(request->http->loop));
	struct http_request *http_request = container_of(request, struct http_request, request);
	request->gone = NULL;
	request->drained = NULL;
	http_request->stream_ended = true;
	http_request_resume(http_request);
}

void request_stream_abort(struct request *request)
{
	assert_owner(loop_owner(request->http->loop));
	struct http_request *http_request = container_of(request, struct http_request, request);
	request->gone = NULL;
	request->drained = NULL;
	http_request->state = STATE_GONE;
	http_request_resume(http_request);
}
