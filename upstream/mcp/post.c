/* SPDX-License-Identifier: Apache-2.0 */
/* post.c: the dialect of one MCP exchange: the post writes, its decoder finds messages and says whose they are. */
#include "upstream/mcp/post.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/json_split.h"
#include "upstream/dialects/answer_tracker.h"

enum { EVENT_BYTES = 64 * 1024 * 1024 /* one event at most; the answer's own cap is usually smaller */ };

struct post_decoder {
	struct answer_tracker tracker;
	struct mcp_post *post;
	unsigned json_depth;
	bool events;  /* an event stream */
	bool resumed; /* of a stream that is taken up again: its request holds no call */
	struct sse sse;
	struct json_split split;
	struct buf mended;    /* the last message, if it had to be */
	struct answer *whole; /* an error that names no call: for all that are left */
	bool answered[];
};

void mcp_post_init(struct mcp_post *post, const struct mcp_post_ops *ops, const struct mcp_session *session,
		   uint64_t now_us)
{
	*post = (struct mcp_post){ .route = { .dialect = &mcp_post_dialect },
				   .ops = ops,
				   .session = session,
				   .epoch = session->epoch,
				   .era = session->era,
				   .had_session = mcp_session_has_id(session),
				   .doubtful = mcp_session_doubtful(session, now_us),
				   .expects = true,
				   .retry_ms = UINT64_MAX };
}

static struct mcp_post *post_of(const struct upstream_call *calls)
{
	return container_of((struct dialect_route *)(uintptr_t)calls->route, struct mcp_post, route);
}

/* --- writing --- */

static bool encode_post(const struct upstream_call *calls, size_t count, uint64_t first_id,
			struct encoded_request *request)
{
	struct mcp_post *post = post_of(calls);
	if (!post->first_id)
		post->first_id = first_id;
	return post->ops->write(post, calls, count, first_id, request) && !request->body.failed &&
	       !request->headers.failed;
}

static struct answer *check_post(const struct dialect_route *route, struct slice arguments)
{
	(void)route;
	(void)arguments;
	return NULL;
}

/* --- reading --- */

static struct post_decoder *decoder_of(struct dialect_decoder *base)
{
	return container_of(container_of(base, struct answer_tracker, base), struct post_decoder, tracker);
}

static struct dialect_decoder *decoder_new(size_t count, uint64_t first_id, unsigned json_depth,
					   const struct dialect_sink *sink)
{
	struct post_decoder *decoder = calloc(1, sizeof *decoder + count * sizeof(bool));
	if (!decoder)
		return NULL;
	decoder->json_depth = json_depth;
	tracker_init(&decoder->tracker, &mcp_post_dialect, count, first_id, json_depth + 2, sink, decoder->answered);
	decoder->mended = BUF_INIT(SIZE_MAX / 4);
	sse_init(&decoder->sse, EVENT_BYTES);
	json_split_init(&decoder->split);
	return &decoder->tracker.base;
}

static void decoder_free(struct dialect_decoder *base)
{
	if (!base)
		return;
	struct post_decoder *decoder = decoder_of(base);
	answer_unref(decoder->whole);
	buf_fini(&decoder->mended);
	sse_fini(&decoder->sse);
	tracker_fini(&decoder->tracker);
	free(decoder);
}

static void expect_calls(struct dialect_decoder *base, const struct upstream_call *calls)
{
	struct post_decoder *decoder = decoder_of(base);
	decoder->post = post_of(calls);
	decoder->resumed = decoder->post->first_id > 0;
	if (decoder->resumed) /* it answers under the ids that the stream was begun with */
		decoder->tracker.first_id = decoder->post->first_id;
}

static void take_header(struct dialect_decoder *base, struct slice value)
{
	struct mcp_post *post = decoder_of(base)->post;
	snprintf(post->session_id, sizeof post->session_id, "%.*s", SLICE_ARG(value));
}

static void take_head(struct dialect_decoder *base, unsigned status, struct slice content_type, uint32_t retry_after_s)
{
	static const struct slice stream = { "text/event-stream", 17 };
	struct post_decoder *decoder = decoder_of(base);
	tracker_head(base, status, content_type, retry_after_s);
	decoder->post->status = status;
	decoder->events = content_type.len >= stream.len && strncasecmp(content_type.at, stream.at, stream.len) == 0;
}

static void put_out(struct post_decoder *decoder, size_t index, const struct mcp_message *message)
{
	struct mcp_post *post = decoder->post;
	if (!post->ops->heard) {
		tracker_emit(&decoder->tracker, index,
			     mcp_answer(message, decoder->json_depth, decoder->tracker.base.status));
		return;
	}
	post->ops->heard(post, message);
	tracker_emit(&decoder->tracker, index, answer_result(SLICE("{}"), true, NULL));
}

/* An error under no id of ours: about the request as a whole. */
static void note_whole(struct post_decoder *decoder, const struct mcp_message *message)
{
	const struct answer_tracker *tracker = &decoder->tracker;
	if (decoder->whole)
		return;
	if (tracker_failed(tracker))
		decoder->whole = tracker_status_refusal(tracker, OUTCOME_UPSTREAM_ERROR, message->error);
	else if (tracker->count > 1)
		decoder->whole = tracker_refusal(tracker, OUTCOME_UPSTREAM_ERROR, message->error,
						 "the MCP server refused the request as a whole");
	else
		decoder->whole = mcp_answer(message, decoder->json_depth, tracker->base.status);
}

/* Under an id that is none of ours: whether it is about another request. In a stream that was taken up again all such is:
 * its own request holds no call that could be refused, and what it goes on with may be another's. */
static bool is_anothers(const struct post_decoder *decoder, const struct mcp_message *message)
{
	return tracker_is_anothers(&decoder->tracker, message->id) ||
	       (decoder->resumed && !tracker_failed(&decoder->tracker));
}

/* One answer where several were asked for speaks of all, whatever id it has. */
static void note_code(struct post_decoder *decoder, const struct mcp_message *message, bool ours)
{
	struct mcp_post *post = decoder->post;
	bool lone = !decoder->events && !decoder->split.array;
	post->error_code = mcp_error_code(message);
	if (!ours || lone)
		post->whole_code = post->error_code;
}

static void take_answer(struct post_decoder *decoder, const struct mcp_message *message)
{
	struct mcp_post *post = decoder->post;
	unsigned status = decoder->tracker.base.status;
	size_t index;
	bool ours = tracker_find(&decoder->tracker, message->id, &index);
	if (ours ? decoder->answered[index] : is_anothers(decoder, message))
		return; /* the first one counts; and what a stream says that was taken up in the wrong place does not */
	if (message->kind == MCP_ERROR)
		note_code(decoder, message, ours);
	/* 400 and 404 are MCP's own ways to say an error; what else fails is HTTP's: busy, forbidden, broken */
	bool spoken = !tracker_failed(&decoder->tracker) || status == 400 || status == 404;
	if (ours && spoken && !mcp_session_refused(post->had_session, status, post->error_code, post->doubtful))
		put_out(decoder, index, message);
	else if (message->kind == MCP_ERROR && !decoder->split.array)
		note_whole(decoder, message);
}

/* It fails its own call, if it says which that is; the others may still be answered. */
static void take_broken(struct post_decoder *decoder, struct slice text, const char *fault, size_t at)
{
	struct answer_tracker *tracker = &decoder->tracker;
	uint64_t id;
	tracker_note(tracker, fault, at);
	if (!mcp_id_of_broken(text, &id) || id < tracker->first_id || id - tracker->first_id >= tracker->count ||
	    decoder->answered[id - tracker->first_id] || decoder->post->ops->heard)
		return;
	tracker_emit(tracker, (size_t)(id - tracker->first_id), mcp_broken_answer(fault));
}

static void take_message(struct post_decoder *decoder, struct slice text, size_t at)
{
	struct mcp_message message;
	const char *fault;
	if (!mcp_read_mended(text, decoder->json_depth, &decoder->tracker.scratch, &decoder->tracker.ahead,
			     &decoder->mended, &message, &fault)) {
		take_broken(decoder, text, fault, at);
		return;
	}
	if (message.kind == MCP_REQUEST || message.kind == MCP_NOTIFICATION)
		decoder->post->ops->foreign(decoder->post, &message);
	else
		take_answer(decoder, &message);
}

static void keep_place(struct post_decoder *decoder)
{
	struct mcp_post *post = decoder->post;
	memcpy(post->event_id, decoder->sse.id, decoder->sse.id_len);
	post->event_id[decoder->sse.id_len] = '\0';
	post->retry_ms = decoder->sse.retry_ms;
}

static bool read_events(struct post_decoder *decoder, struct slice body, bool last)
{
	struct slice data;
	enum sse_step step;
	while ((step = sse_next(&decoder->sse, body, last, &data)) == SSE_DATA) {
		keep_place(decoder); /* before the message: it may be the end of the call */
		take_message(decoder, data, decoder->sse.at);
	}
	keep_place(decoder);
	decoder->tracker.base.kept_bytes = decoder->sse.data.len + decoder->mended.len;
	if (step == SSE_MORE)
		mcp_look_ahead(&decoder->tracker.ahead, sse_under_way(&decoder->sse, body), decoder->json_depth);
	if (step == SSE_LARGE) {
		tracker_note(&decoder->tracker, "an event too large", decoder->sse.at);
		decoder->tracker.broken = true;
	}
	return step != SSE_LARGE;
}

/* What there is of an element that has not ended. */
static void look_at_element(struct post_decoder *decoder, struct slice body)
{
	size_t start = decoder->split.start;
	if (json_split_within(&decoder->split))
		mcp_look_ahead(&decoder->tracker.ahead, (struct slice){ body.at + start, body.len - start },
			       decoder->json_depth);
}

/* One object, or an array of them. */
static bool read_json(struct post_decoder *decoder, struct slice body, bool last)
{
	struct answer_tracker *tracker = &decoder->tracker;
	struct slice element;
	while (!tracker->broken) {
		switch (json_split_next(&decoder->split, body, last, tracker->depth, &element)) {
		case JSON_SPLIT_ELEMENT:
			take_message(decoder, element, (size_t)(element.at - body.at));
			break;
		case JSON_SPLIT_MORE:
			look_at_element(decoder, body);
			return true;
		case JSON_SPLIT_END:
			return true;
		case JSON_SPLIT_BROKEN:
			tracker_note(tracker, "not JSON", decoder->split.at);
			tracker->broken = true;
			break;
		}
	}
	return false;
}

static bool read_on(struct post_decoder *decoder, struct slice body, bool last)
{
	if (!decoder->post->expects && !decoder->post->endless)
		return false;
	return decoder->events ? read_events(decoder, body, last) : read_json(decoder, body, last);
}

static bool feed_body(struct dialect_decoder *base, struct slice body)
{
	return read_on(decoder_of(base), body, false);
}

static size_t consumed_bytes(struct dialect_decoder *base)
{
	struct post_decoder *decoder = decoder_of(base);
	size_t count = decoder->events ? decoder->sse.at : 0;
	sse_dropped(&decoder->sse, count);
	return count;
}

static enum outcome finish_body(struct dialect_decoder *base, struct slice body)
{
	struct post_decoder *decoder = decoder_of(base);
	struct answer_tracker *tracker = &decoder->tracker;
	struct mcp_post *post = decoder->post;
	read_on(decoder, body, true);
	post->refused_session = mcp_session_refused(post->had_session, base->status, post->error_code, post->doubtful);
	bool some = tracker->answered_count > 0;
	if (!post->expects && !tracker_failed(tracker)) {
		tracker_emit(tracker, 0, answer_result(SLICE("{}"), true, NULL)); /* it is one message */
		return OUTCOME_OK;
	}
	if (tracker->answered_count < tracker->count) {
		struct answer *left = decoder->whole ? decoder->whole : tracker_missing(tracker, body);
		decoder->whole = NULL;
		tracker_emit_missing(tracker, left);
	}
	return tracker_outcome(tracker, some);
}

const struct dialect mcp_post_dialect = {
	.name = "mcp",
	.max_calls = 10000,
	.check = check_post,
	.encode = encode_post,
	.decoder_new = decoder_new,
	.expect = expect_calls,
	.wanted_header = "Mcp-Session-Id",
	.header = take_header,
	.head = take_head,
	.feed = feed_body,
	.consumed = consumed_bytes,
	.finish = finish_body,
	.decoder_free = decoder_free,
};
