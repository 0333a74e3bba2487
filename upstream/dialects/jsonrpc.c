/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jsonrpc.c: JSON-RPC 2.0 over HTTP POST. One call is an object, many are an array. Ids are ours: first_id and
 * up, so that an answer finds its call by a subtraction. Arguments and results are spliced as the bytes they came in.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/json_split.h"
#include "upstream/dialects/dialect.h"
#include "upstream/dialects/answer_tracker.h"

enum {
	MAX_CALLS = 10000,
	ENVELOPE_DEPTH = 2 /* the array and the object around a result */
};

/* --- routes --- */

struct jsonrpc_route {
	struct dialect_route base;
	struct blob *middle; /* what stands between the id and the arguments: ,"method":"web.search","params": */
};

static struct dialect_route *jsonrpc_route_new(const struct route_settings *settings, struct dialect_error *error)
{
	struct slice method = slice_of(settings->method ? settings->method : settings->tool);
	if (method.len == 0) {
		dialect_refuse(error, "method", "is empty");
		return NULL;
	}
	struct buf middle = BUF_INIT(SIZE_MAX / 4);
	buf_put_text(&middle, ",\"method\":");
	json_put_string(&middle, method);
	buf_put_text(&middle, ",\"params\":");
	struct jsonrpc_route *route = calloc(1, sizeof *route);
	if (!route || !(route->middle = buf_take_blob(&middle))) {
		dialect_no_memory(error);
		buf_fini(&middle);
		free(route);
		return NULL;
	}
	route->base.dialect = &dialect_jsonrpc;
	return &route->base;
}

static void jsonrpc_route_free(struct dialect_route *base)
{
	if (!base)
		return;
	struct jsonrpc_route *route = container_of(base, struct jsonrpc_route, base);
	blob_unref(route->middle);
	free(route);
}

static struct answer *jsonrpc_check(const struct dialect_route *route, struct slice arguments)
{
	(void)route;
	(void)arguments; /* any object can be params */
	return NULL;
}

/* --- writing --- */

static void put_call(struct buf *body, const struct upstream_call *call, uint64_t id)
{
	const struct jsonrpc_route *route = container_of(call->route, struct jsonrpc_route, base);
	buf_put(body, SLICE("{\"jsonrpc\":\"2.0\",\"id\":"));
	buf_put_u64(body, id);
	buf_put(body, blob_slice(route->middle));
	buf_put(body, call->arguments);
	buf_put_char(body, '}');
}

static bool jsonrpc_encode(const struct upstream_call *calls, size_t count, uint64_t first_id,
			   struct encoded_request *request)
{
	request->method = "POST";
	request->content_type = "application/json";
	if (count > 1)
		buf_put_char(&request->body, '[');
	for (size_t i = 0; i < count; i++) {
		if (i)
			buf_put_char(&request->body, ',');
		put_call(&request->body, &calls[i], first_id + i);
	}
	if (count > 1)
		buf_put_char(&request->body, ']');
	return !request->body.failed;
}

/* --- reading --- */

struct jsonrpc_decoder {
	struct answer_tracker tracker;
	struct json_split split;
	bool refused_whole;             /* one error object spoke for all */
	size_t refusal_at, refusal_len; /* it: where in the body; finish passes it on */
	bool answered[];
};

/* The members of a response object; empty: absent. */
struct response {
	struct slice id, result, error;
};

static struct dialect_decoder *jsonrpc_decoder_new(size_t count, uint64_t first_id, unsigned json_depth,
						   const struct dialect_sink *sink)
{
	struct jsonrpc_decoder *decoder = calloc(1, sizeof *decoder + count * sizeof(bool));
	if (!decoder)
		return NULL;
	tracker_init(&decoder->tracker, &dialect_jsonrpc, count, first_id, json_depth + ENVELOPE_DEPTH, sink,
		     decoder->answered);
	json_split_init(&decoder->split);
	return &decoder->tracker.base;
}

static void read_response(struct slice object, struct response *response)
{
	*response = (struct response){ .id = { NULL, 0 } };
	struct json_walk walk = json_walk(object);
	struct slice name, value;
	while (json_next_member(&walk, &name, &value)) {
		if (json_string_is(name, SLICE("id")))
			response->id = value;
		else if (json_string_is(name, SLICE("result")))
			response->result = value;
		else if (json_string_is(name, SLICE("error")) && json_type(value) != JSON_NULL)
			response->error = value; /* "error": null beside a result is JSON-RPC 1.0's way to say none */
	}
	/* and so is "result": null beside an error */
	if (response->error.len && response->result.len && json_type(response->result) == JSON_NULL)
		response->result.len = 0;
}

static void answer_call(struct jsonrpc_decoder *decoder, size_t index, const struct response *response)
{
	if (decoder->tracker.answered[index])
		return; /* the first one counts */
	if (response->error.len && response->result.len)
		tracker_emit(
			&decoder->tracker, index,
			tracker_broken(&decoder->tracker, "the provider's answer has a result and an error at once"));
	else if (response->error.len)
		tracker_emit(&decoder->tracker, index,
			     tracker_tool_error(&decoder->tracker, 0, response->error, response->error));
	else if (tracker_failed(&decoder->tracker) && !dialect_nothing_done(decoder->tracker.base.status))
		return; /* finish answers by the status. One that says that nothing was done is wrong where there is a
			 * result: the call would be sent again */
	else if (response->result.len)
		tracker_emit(&decoder->tracker, index, tracker_result(&decoder->tracker, response->result));
	else
		tracker_emit(
			&decoder->tracker, index,
			tracker_broken(&decoder->tracker, "the provider's answer has neither a result nor an error"));
}

/* One error object, which names none of our calls, speaks for all of them. */
static void refuse_whole(struct jsonrpc_decoder *decoder, struct slice error)
{
	struct answer_tracker *tracker = &decoder->tracker;
	if (tracker_failed(tracker)) {
		tracker_emit_missing(tracker, tracker_status_refusal(tracker, OUTCOME_UPSTREAM_ERROR, error));
		return;
	}
	struct answer *said = tracker_tool_error(tracker, 0, error, error);
	tracker_emit_missing(tracker,
			     tracker_refusal(tracker, OUTCOME_UPSTREAM_ERROR, error,
					     "the provider refused the request as a whole%s%s",
					     tracker->count == 1 ? "; " : "", tracker->count == 1 ? said->detail : ""));
	answer_unref(said);
}

static void note_refusal(struct jsonrpc_decoder *decoder, struct slice body, struct slice error)
{
	if (decoder->refused_whole)
		return;
	decoder->refused_whole = true;
	decoder->refusal_at = (size_t)(error.at - body.at);
	decoder->refusal_len = error.len;
}

static void take_element(struct jsonrpc_decoder *decoder, struct slice body, struct slice element)
{
	struct answer_tracker *tracker = &decoder->tracker;
	if (!tracker_check(tracker, body, element))
		return;
	if (json_type(element) != JSON_OBJECT) {
		tracker_note(tracker, "not a response object", (size_t)(element.at - body.at));
		return;
	}
	struct response response;
	size_t index;
	read_response(element, &response);
	if (tracker_find(tracker, response.id, &index))
		answer_call(decoder, index, &response);
	else if (response.error.len && !decoder->split.array && !tracker_is_anothers(tracker, response.id))
		note_refusal(decoder, body, response.error);
}

static bool read_on(struct jsonrpc_decoder *decoder, struct slice body, bool last)
{
	struct slice element;
	while (!decoder->tracker.broken) {
		switch (json_split_next(&decoder->split, body, last, decoder->tracker.depth, &element)) {
		case JSON_SPLIT_MORE:
			if (json_split_within(&decoder->split))
				tracker_look_ahead(&decoder->tracker, body, decoder->split.start);
			return true;
		case JSON_SPLIT_ELEMENT:
			take_element(decoder, body, element);
			break;
		case JSON_SPLIT_END:
			return true;
		case JSON_SPLIT_BROKEN:
			tracker_note(&decoder->tracker, "not JSON", decoder->split.at);
			decoder->tracker.broken = true;
			break;
		}
	}
	return false;
}

static bool jsonrpc_feed(struct dialect_decoder *base, struct slice body)
{
	struct jsonrpc_decoder *decoder = container_of(base, struct jsonrpc_decoder, tracker.base);
	return read_on(decoder, body, false);
}

static enum outcome jsonrpc_finish(struct dialect_decoder *base, struct slice body)
{
	struct jsonrpc_decoder *decoder = container_of(base, struct jsonrpc_decoder, tracker.base);
	struct answer_tracker *tracker = &decoder->tracker;
	read_on(decoder, body, true);
	if (decoder->refused_whole)
		refuse_whole(decoder, (struct slice){ body.at + decoder->refusal_at, decoder->refusal_len });
	bool some = tracker->answered_count > 0 && !decoder->refused_whole;
	if (tracker->answered_count < tracker->count)
		tracker_emit_missing(tracker, tracker_missing(tracker, body));
	return tracker_outcome(tracker, some);
}

static void jsonrpc_decoder_free(struct dialect_decoder *base)
{
	if (!base)
		return;
	struct jsonrpc_decoder *decoder = container_of(base, struct jsonrpc_decoder, tracker.base);
	tracker_fini(&decoder->tracker);
	free(decoder);
}

const struct dialect dialect_jsonrpc = {
	.name = "jsonrpc",
	.max_calls = MAX_CALLS,
	.route_new = jsonrpc_route_new,
	.route_free = jsonrpc_route_free,
	.check = jsonrpc_check,
	.encode = jsonrpc_encode,
	.decoder_new = jsonrpc_decoder_new,
	.head = tracker_head,
	.feed = jsonrpc_feed,
	.finish = jsonrpc_finish,
	.decoder_free = jsonrpc_decoder_free,
};
