/* SPDX-License-Identifier: Apache-2.0 */
/*
 * held_bytes.c: the bytes held for clients, over all workers: bodies being gathered or http_request, replies that their
 * clients have not taken. What several clients take of the same answer is counted once.
 */
#include "gateway/http/http_private.h"

/* The number of replies on their way that share these bytes, or NULL: they are the library's own copy. */
static atomic_uint *takers_of(struct http_request *http_request)
{
	if (http_request->sent_answer)
		return &http_request->sent_answer->takers;
	return http_request->sent_blob ? &http_request->sent_blob->takers : NULL;
}

static size_t shared_bytes(const struct http_request *http_request)
{
	return http_request->sent_answer ? answer_held_bytes(http_request->sent_answer) : http_request->sent_blob->len;
}

static void count_bytes(struct http_request *http_request, int64_t bytes)
{
	struct http *http = http_request->request.http;
	if (bytes > 0)
		atomic_fetch_add_explicit(&http->shared->held_bytes, (size_t)bytes, memory_order_relaxed);
	else
		atomic_fetch_sub_explicit(&http->shared->held_bytes, (size_t)-bytes, memory_order_relaxed);
	http->held_moved += bytes;
}

static void count_reply(struct http_request *http_request, int64_t bytes)
{
	count_bytes(http_request, bytes);
	http_request->request.http->reply_moved += bytes;
}

void held_show(struct http *http)
{
	if (http->held_moved)
		meter_move(http->meter, METRIC_ID_IN_FLIGHT_BYTES, 0, 0, http->held_moved);
	if (http->reply_moved)
		meter_move(http->meter, METRIC_ID_REPLY_BYTES, 0, 0, http->reply_moved);
	http->held_moved = http->reply_moved = 0;
}

void held_add(struct http_request *http_request, size_t bytes)
{
	http_request->held += bytes;
	count_bytes(http_request, (int64_t)bytes);
}

bool held_has_room(const struct http *http, uint64_t bytes)
{
	return atomic_load_explicit(&http->shared->held_bytes, memory_order_relaxed) + bytes <=
	       http->settings->held_bytes;
}

bool held_try(struct http_request *http_request, size_t bytes)
{
	if (!held_has_room(http_request->request.http, bytes))
		return false;
	held_add(http_request, bytes);
	return true;
}

void held_reply(struct http_request *http_request, const struct reply *reply)
{
	if (reply->body.len <= HELD_FROM_BYTES)
		return;
	http_request->sent_answer = reply->answer ? answer_ref(reply->answer) : NULL;
	http_request->sent_blob = reply->answer ? NULL : blob_ref(reply->blob);
	atomic_uint *takers = takers_of(http_request);
	if (!takers)
		held_stream(http_request, reply->body.len);
	else if (atomic_fetch_add_explicit(takers, 1, memory_order_acq_rel) == 0)
		count_reply(http_request, (int64_t)shared_bytes(http_request));
}

void held_stream(struct http_request *http_request, size_t bytes)
{
	if (bytes <= HELD_FROM_BYTES || bytes <= http_request->reply_held)
		return;
	count_reply(http_request, (int64_t)(bytes - http_request->reply_held));
	http_request->reply_held = bytes;
}

void held_let_go(struct http_request *http_request)
{
	atomic_uint *takers = takers_of(http_request);
	if (takers && atomic_fetch_sub_explicit(takers, 1, memory_order_acq_rel) == 1)
		count_reply(http_request, -(int64_t)shared_bytes(http_request));
	answer_unref(http_request->sent_answer);
	blob_unref(http_request->sent_blob);
	http_request->sent_answer = NULL;
	http_request->sent_blob = NULL;
	if (http_request->reply_held)
		count_reply(http_request, -(int64_t)http_request->reply_held);
	if (http_request->held)
		count_bytes(http_request, -(int64_t)http_request->held);
	http_request->held = http_request->reply_held = 0;
}

bool http_full(const struct http *http)
{
	return atomic_load_explicit(&http->shared->held_bytes, memory_order_relaxed) > http->settings->held_bytes;
}

/* ---------------------------------------------------------------- for replies that are not handed over yet */

bool http_hold(struct http *http, size_t bytes, enum held_for what)
{
	size_t limit = http->settings->held_bytes;
	size_t held = atomic_load_explicit(&http->shared->held_bytes, memory_order_relaxed);
	if (what == HELD_TO_WRITE)
		limit += limit / 8;
	if (held + bytes > limit)
		return false;
	http_hold_anyway(http, bytes);
	return true;
}

void http_hold_anyway(struct http *http, size_t bytes)
{
	atomic_fetch_add_explicit(&http->shared->held_bytes, bytes, memory_order_relaxed);
	http->held_moved += (int64_t)bytes;
	http->reply_moved += (int64_t)bytes;
}

void http_release(struct http *http, size_t bytes)
{
	atomic_fetch_sub_explicit(&http->shared->held_bytes, bytes, memory_order_relaxed);
	http->held_moved -= (int64_t)bytes;
	http->reply_moved -= (int64_t)bytes;
}

/* Whoever is the first counts it and whoever is the last takes it off, in whatever order they come and fail. */
bool http_hold_answer(struct http *http, struct answer *answer)
{
	if (atomic_fetch_add_explicit(&answer->takers, 1, memory_order_acq_rel) > 0)
		return true;
	http_hold_anyway(http, answer_held_bytes(answer));
	if (!http_full(http))
		return true;
	http_release_answer(http, answer);
	return false;
}

void http_release_answer(struct http *http, struct answer *answer)
{
	if (atomic_fetch_sub_explicit(&answer->takers, 1, memory_order_acq_rel) == 1)
		http_release(http, answer_held_bytes(answer));
}
