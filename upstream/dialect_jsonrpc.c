/*
 * dialect_jsonrpc.c: JSON-RPC 2.0 over HTTP POST. One call is an object, many are an array. Ids are ours: first_id and
 * up, so that an answer finds its call by a subtraction. Arguments and results are spliced as the bytes they came in.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/json_split.h"
#include "upstream/dialect.h"
#include "upstream/upstream.h"

enum {
	MAX_CALLS = 10000,
	ENVELOPE_DEPTH = 2 /* the array and the object around a result */
};

/* --- routes --- */

struct jsonrpc_route {
	struct dialect_route base;
	struct blob *middle; /* what stands between the id and the arguments: ,"method":"web.search","params": */
};

static struct dialect_route *jsonrpc_route_new(const struct route_settings *settings, char *error, size_t error_bytes)
{
	struct slice method = slice_of(settings->method ? settings->method : settings->tool);
	if (method.len == 0) {
		snprintf(error, error_bytes, "method: is empty");
		return NULL;
	}
	struct buf middle = BUF_INIT(SIZE_MAX / 4);
	buf_put_text(&middle, ",\"method\":");
	json_put_string(&middle, method);
	buf_put_text(&middle, ",\"params\":");
	struct jsonrpc_route *route = calloc(1, sizeof *route);
	if (!route || !(route->middle = buf_take_blob(&middle))) {
		snprintf(error, error_bytes, "out of memory");
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
			   struct http_request *request)
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
	struct dialect_decoder base;
	uint64_t first_id;
	size_t count;
	size_t answered_count;
	unsigned depth; /* cap for one response object */
	struct json_split split;
	struct json_scratch scratch;
	bool broken;                    /* cannot be read on */
	bool refused_whole;             /* one error object spoke for all */
	size_t refusal_at, refusal_len; /* it: where in the body; finish passes it on */
	struct json_fault fault;        /* what: NULL while nothing was wrong; at: in the body */
	bool answered[];                /* by index */
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
	decoder->base.dialect = &dialect_jsonrpc;
	decoder->base.sink = *sink;
	decoder->first_id = first_id;
	decoder->count = count;
	decoder->depth = json_depth + ENVELOPE_DEPTH;
	json_split_init(&decoder->split);
	return &decoder->base;
}

static void jsonrpc_head(struct dialect_decoder *base, unsigned status, struct slice content_type,
			 uint32_t retry_after_s)
{
	(void)content_type; /* the body tells */
	base->status = status;
	base->retry_after_s = retry_after_s;
}

static bool failed_status(const struct jsonrpc_decoder *decoder)
{
	return decoder->base.status < 200 || decoder->base.status >= 300;
}

static void emit(struct jsonrpc_decoder *decoder, size_t index, struct answer *answer)
{
	decoder->answered[index] = true;
	decoder->answered_count++;
	dialect_emit(&decoder->base, index, answer);
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

/* Which call an id means; false: none of ours. */
static bool find_index(const struct jsonrpc_decoder *decoder, struct slice id, size_t *index)
{
	if (id.len == 0)
		return false;
	if (json_type(id) == JSON_STRING)
		id = (struct slice){ id.at + 1, id.len - 2 };
	uint64_t number;
	if (!json_u64(id, &number) || number < decoder->first_id || number - decoder->first_id >= decoder->count)
		return false;
	*index = (size_t)(number - decoder->first_id);
	return true;
}

static struct answer *tool_error(const struct jsonrpc_decoder *decoder, struct slice error)
{
	struct buf message = BUF_INIT(SIZE_MAX / 4);
	struct slice raw;
	if (json_type(error) == JSON_OBJECT && json_member(error, SLICE("message"), &raw) &&
	    json_type(raw) == JSON_STRING)
		json_unescape(raw, &message);
	struct answer *answer;
	if (!message.failed && message.len)
		answer = answer_upstream_error(OUTCOME_TOOL_ERROR, decoder->base.status, 0, error,
					       "the tool answered: %s", buf_cstr(&message));
	else
		answer = answer_upstream_error(OUTCOME_TOOL_ERROR, decoder->base.status, 0, error,
					       "the tool answered with an error");
	buf_fini(&message);
	return answer;
}

static struct answer *broken_answer(const struct jsonrpc_decoder *decoder, const char *what)
{
	return answer_upstream_error(OUTCOME_UPSTREAM_ERROR, decoder->base.status, 0, (struct slice){ NULL, 0 }, "%s",
				     what);
}

static void answer_call(struct jsonrpc_decoder *decoder, size_t index, const struct response *response)
{
	if (decoder->answered[index])
		return; /* the first one counts */
	if (response->error.len && response->result.len)
		emit(decoder, index, broken_answer(decoder, "the provider's answer has a result and an error at once"));
	else if (response->error.len)
		emit(decoder, index, tool_error(decoder, response->error));
	else if (failed_status(decoder))
		return; /* finish answers by the status */
	else if (response->result.len)
		emit(decoder, index, answer_result(response->result, true, NULL));
	else
		emit(decoder, index, broken_answer(decoder, "the provider's answer has neither a result nor an error"));
}

/* One answer for all calls that have none. Takes the reference. */
static void emit_missing(struct jsonrpc_decoder *decoder, struct answer *answer)
{
	for (size_t i = 0; i < decoder->count; i++)
		if (!decoder->answered[i])
			emit(decoder, i, answer_ref(answer));
	answer_unref(answer);
}

/* One error object, which names none of our calls, speaks for all of them. */
static void refuse_whole(struct jsonrpc_decoder *decoder, struct slice error)
{
	if (failed_status(decoder)) {
		emit_missing(decoder, dialect_status_answer(&decoder->base, OUTCOME_UPSTREAM_ERROR, error));
		return;
	}
	struct answer *said = tool_error(decoder, error);
	emit_missing(decoder, answer_upstream_error(OUTCOME_UPSTREAM_ERROR, decoder->base.status, 0, error,
						    "the provider refused the request as a whole; %s", said->detail));
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

static void note_fault(struct jsonrpc_decoder *decoder, const char *what, size_t at)
{
	if (!decoder->fault.what)
		decoder->fault = (struct json_fault){ .what = what, .at = at };
}

/*
 * One complete element. A bad one is passed over: strings and brackets around it were whole, so its neighbours are
 * sound and need not suffer; its own call is found missing in the end.
 */
static void take_element(struct jsonrpc_decoder *decoder, struct slice body, struct slice element)
{
	struct json_fault fault;
	if (!json_check(element, decoder->depth, &decoder->scratch, &fault)) {
		note_fault(decoder, fault.what, (size_t)(element.at - body.at) + fault.at);
		return;
	}
	if (json_type(element) != JSON_OBJECT) {
		note_fault(decoder, "not a response object", (size_t)(element.at - body.at));
		return;
	}
	struct response response;
	size_t index;
	read_response(element, &response);
	if (find_index(decoder, response.id, &index))
		answer_call(decoder, index, &response);
	else if (response.error.len && !decoder->split.array)
		note_refusal(decoder, body, response.error);
}

static bool read_on(struct jsonrpc_decoder *decoder, struct slice body, bool last)
{
	struct slice element;
	while (!decoder->broken) {
		switch (json_split_next(&decoder->split, body, last, decoder->depth, &element)) {
		case JSON_SPLIT_MORE:
			return true;
		case JSON_SPLIT_ELEMENT:
			take_element(decoder, body, element);
			break;
		case JSON_SPLIT_END:
			return true;
		case JSON_SPLIT_BROKEN:
			note_fault(decoder, "not JSON", decoder->split.at);
			decoder->broken = true;
			break;
		}
	}
	return false;
}

static bool jsonrpc_feed(struct dialect_decoder *base, struct slice body)
{
	struct jsonrpc_decoder *decoder = container_of(base, struct jsonrpc_decoder, base);
	return read_on(decoder, body, false);
}

static struct answer *missing_answer(const struct jsonrpc_decoder *decoder, struct slice body, struct buf *scratch)
{
	if (failed_status(decoder))
		return dialect_status_answer(&decoder->base, OUTCOME_UPSTREAM_ERROR,
					     dialect_said(body, decoder->depth, scratch));
	struct slice nothing = { NULL, 0 };
	if (json_trim(body).len == 0)
		return broken_answer(decoder, "the provider's answer is empty");
	if (decoder->fault.what)
		return answer_upstream_error(OUTCOME_UPSTREAM_ERROR, decoder->base.status, 0, nothing,
					     "the provider's answer cannot be read: %s at byte %zu",
					     decoder->fault.what, decoder->fault.at);
	return broken_answer(decoder, "the provider's answer has nothing for this call");
}

static enum outcome jsonrpc_finish(struct dialect_decoder *base, struct slice body)
{
	struct jsonrpc_decoder *decoder = container_of(base, struct jsonrpc_decoder, base);
	read_on(decoder, body, true);
	if (decoder->refused_whole)
		refuse_whole(decoder, (struct slice){ body.at + decoder->refusal_at, decoder->refusal_len });
	bool some = decoder->answered_count > 0 && !decoder->refused_whole;
	if (decoder->answered_count < decoder->count) {
		struct buf scratch = BUF_INIT(SIZE_MAX / 4);
		emit_missing(decoder, missing_answer(decoder, body, &scratch));
		buf_fini(&scratch);
	}
	if (some && !decoder->broken)
		return OUTCOME_OK;
	if (failed_status(decoder))
		return dialect_status_outcome(base->status, OUTCOME_UPSTREAM_ERROR);
	return OUTCOME_UPSTREAM_ERROR;
}

static void jsonrpc_decoder_free(struct dialect_decoder *base)
{
	if (!base)
		return;
	struct jsonrpc_decoder *decoder = container_of(base, struct jsonrpc_decoder, base);
	json_scratch_fini(&decoder->scratch);
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
	.head = jsonrpc_head,
	.feed = jsonrpc_feed,
	.finish = jsonrpc_finish,
	.decoder_free = jsonrpc_decoder_free,
};
