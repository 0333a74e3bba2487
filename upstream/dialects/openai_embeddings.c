/*
 * openai_embeddings.c: many calls as one POST {endpoint}/embeddings in OpenAI's published form. Arguments are a
 * request's own members, {model, input, ...}; the result of a call is what the provider would have answered to it
 * alone, embeddings byte for byte, with its share of the exchange's usage (docs/embeddings.md).
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "upstream/dialects/dialect.h"
#include "upstream/upstream.h"

enum {
	MAX_INPUTS = 2048,       /* of one request, as published */
	MAX_TOKENS = 300 * 1000, /* likewise, over all inputs */
	ASCII_PER_TOKEN = 4,     /* the estimate, for texts: characters */
	OTHER_PER_TOKEN = 2,     /* likewise: bytes of what is not ASCII; CJK has three a character */
	WRAPPER_DEPTH = 3        /* the answer, its data, an element: around an embedding */
};

/* --- what a call asks for --- */

enum input_kind { INPUT_NONE, INPUT_TEXT, INPUT_TOKENS, INPUT_TEXTS, INPUT_TOKEN_LISTS };

static bool is_token(struct slice value)
{
	uint64_t number;
	return json_type(value) == JSON_NUMBER && json_u64(value, &number);
}

/* How many elements an array has; 0 if one of them is not `fits`. */
static size_t count_elements(struct slice array, bool (*fits)(struct slice))
{
	struct slice element;
	struct json_walk walk = json_walk(array);
	size_t count = 0;
	for (; json_next_element(&walk, &element); count++)
		if (!fits(element))
			return 0;
	return count;
}

static bool is_text(struct slice value)
{
	return json_type(value) == JSON_STRING &&
	       value.len > 2; /* "" is what the provider refuses, for all in the batch */
}

static bool is_token_list(struct slice value)
{
	return json_type(value) == JSON_ARRAY && count_elements(value, is_token) > 0;
}

/* *count: inputs in it. */
static enum input_kind input_kind(struct slice input, size_t *count)
{
	*count = 1;
	if (input.len == 0)
		return INPUT_NONE;
	if (json_type(input) == JSON_STRING)
		return is_text(input) ? INPUT_TEXT : INPUT_NONE;
	if (json_type(input) != JSON_ARRAY)
		return INPUT_NONE;
	if (is_token_list(input))
		return INPUT_TOKENS;
	if ((*count = count_elements(input, is_text)) > 0)
		return INPUT_TEXTS;
	return (*count = count_elements(input, is_token_list)) > 0 ? INPUT_TOKEN_LISTS : INPUT_NONE;
}

static struct slice find_input(struct slice arguments)
{
	struct slice input = { NULL, 0 };
	json_member(arguments, SLICE("input"), &input);
	return input;
}

/* Tokens that an input (one that check has let pass) is thought to have, at least 1. */
static uint64_t estimate(struct slice input)
{
	if (json_type(input) == JSON_ARRAY)
		return count_elements(input, is_token);
	size_t other = 0;
	for (size_t i = 0; i < input.len; i++)
		other += (unsigned char)input.at[i] >= 0x80;
	return (input.len - other + ASCII_PER_TOKEN - 1) / ASCII_PER_TOKEN +
	       (other + OTHER_PER_TOKEN - 1) / OTHER_PER_TOKEN;
}

static uint64_t estimate_all(struct slice input, enum input_kind kind)
{
	if (kind == INPUT_TEXT || kind == INPUT_TOKENS)
		return estimate(input);
	struct slice element;
	struct json_walk walk = json_walk(input);
	uint64_t tokens = 0;
	while (json_next_element(&walk, &element))
		tokens += estimate(element);
	return tokens;
}

static void put_member(struct buf *out, struct slice raw_name, struct slice value)
{
	buf_put(out, raw_name);
	buf_put_char(out, ':');
	buf_put(out, value);
	buf_put_char(out, ',');
}

/* All members but the input, each with a comma behind it: the known ones in one order, whatever order they came in. */
static void put_settings(struct buf *out, struct slice arguments)
{
	static const char *const known[] = { "\"model\"", "\"encoding_format\"", "\"dimensions\"", "\"user\"" };
	struct slice name, value;
	for (size_t i = 0; i < countof(known); i++)
		if (json_member(arguments, (struct slice){ known[i] + 1, strlen(known[i]) - 2 }, &value))
			put_member(out, slice_of(known[i]), value);
	struct json_walk walk = json_walk(arguments);
	while (json_next_member(&walk, &name, &value))
		if (!json_string_is(name, SLICE("model")) && !json_string_is(name, SLICE("encoding_format")) &&
		    !json_string_is(name, SLICE("dimensions")) && !json_string_is(name, SLICE("user")) &&
		    !json_string_is(name, SLICE("input")))
			put_member(out, name, value);
}

/*
 * Texts and token lists cannot stand in one array, nor can what differs in a setting. A call with a list of inputs
 * travels alone: the batcher counts calls, and cannot see how many inputs there are in one.
 */
static void embeddings_group(const struct dialect_route *route, struct slice arguments, struct buf *out)
{
	size_t count;
	(void)route;
	switch (input_kind(find_input(arguments), &count)) {
	case INPUT_NONE:
	case INPUT_TEXT:
		buf_put_char(out, 's');
		break;
	case INPUT_TOKENS:
		buf_put_char(out, 't');
		break;
	case INPUT_TEXTS:
	case INPUT_TOKEN_LISTS:
		dialect_group_alone(out);
		break;
	}
	put_settings(out, arguments);
}

/* --- routes --- */

static struct dialect_route *embeddings_route_new(const struct route_settings *settings, char *error,
						  size_t error_bytes)
{
	(void)settings; /* there is one way to ask */
	struct dialect_route *route = calloc(1, sizeof *route);
	if (!route) {
		snprintf(error, error_bytes, "out of memory");
		return NULL;
	}
	route->dialect = &dialect_openai_embeddings;
	return route;
}

static void embeddings_route_free(struct dialect_route *route)
{
	free(route);
}

static struct answer *embeddings_check(const struct dialect_route *route, struct slice arguments)
{
	struct slice model;
	size_t count;
	(void)route;
	if (!json_member(arguments, SLICE("model"), &model) || !is_text(model))
		return answer_error(OUTCOME_INVALID_REQUEST, "model: must be a model's name");
	if (input_kind(find_input(arguments), &count) == INPUT_NONE)
		return answer_error(OUTCOME_INVALID_REQUEST,
				    "input: must be a text, a list of texts, a list of tokens or a list of such lists, "
				    "none of them empty");
	if (count > MAX_INPUTS)
		return answer_error(OUTCOME_INVALID_REQUEST, "input: has %zu elements; a call may have %d at most",
				    count, MAX_INPUTS);
	return NULL;
}

/* --- writing --- */

static void put_inputs(struct buf *body, struct slice input)
{
	size_t count;
	enum input_kind kind = input_kind(input, &count);
	if (kind == INPUT_TEXTS || kind == INPUT_TOKEN_LISTS)
		input = (struct slice){ input.at + 1, input.len - 2 };
	buf_put(body, input);
}

static bool embeddings_encode(const struct upstream_call *calls, size_t count, uint64_t first_id,
			      struct http_request *request)
{
	(void)first_id; /* an answer names its input by its place */
	request->method = "POST";
	request->content_type = "application/json";
	buf_put_text(&request->target, "/embeddings");
	buf_put_char(&request->body, '{');
	put_settings(&request->body, calls[0].arguments);
	buf_put_text(&request->body, "\"input\":[");
	for (size_t i = 0; i < count; i++) {
		if (i)
			buf_put_char(&request->body, ',');
		put_inputs(&request->body, find_input(calls[i].arguments));
	}
	buf_put_text(&request->body, "]}");
	return !request->body.failed && !request->target.failed;
}

/* --- reading --- */

/* A call as the answer sees it. */
struct expected {
	size_t first, count; /* its inputs' places in the request */
	uint64_t tokens;     /* estimated */
};

struct embeddings_decoder {
	struct dialect_decoder base;
	size_t count;
	unsigned depth;
	struct expected calls[];
};

static struct dialect_decoder *embeddings_decoder_new(size_t count, uint64_t first_id, unsigned json_depth,
						      const struct dialect_sink *sink)
{
	(void)first_id;
	struct embeddings_decoder *decoder = calloc(1, sizeof *decoder + count * sizeof decoder->calls[0]);
	if (!decoder)
		return NULL;
	decoder->base.dialect = &dialect_openai_embeddings;
	decoder->base.sink = *sink;
	decoder->count = count;
	decoder->depth = json_depth + WRAPPER_DEPTH;
	for (size_t i = 0; i < count; i++)
		decoder->calls[i] = (struct expected){ .first = i, .count = 1, .tokens = 1 };
	return &decoder->base;
}

static uint64_t embeddings_tokens(const struct dialect_route *route, struct slice arguments)
{
	(void)route;
	struct slice input = find_input(arguments);
	size_t count;
	return estimate_all(input, input_kind(input, &count));
}

static void embeddings_expect(struct dialect_decoder *base, const struct upstream_call *calls)
{
	struct embeddings_decoder *decoder = container_of(base, struct embeddings_decoder, base);
	size_t first = 0;
	for (size_t i = 0; i < decoder->count; i++) {
		struct expected *expected = &decoder->calls[i];
		struct slice input = find_input(calls[i].arguments);
		enum input_kind kind = input_kind(input, &expected->count);
		assert(kind != INPUT_NONE);
		expected->first = first;
		expected->tokens = estimate_all(input, kind);
		first += expected->count;
	}
}

static void embeddings_head(struct dialect_decoder *base, unsigned status, struct slice content_type,
			    uint32_t retry_after_s)
{
	(void)content_type; /* the body tells */
	base->status = status;
	base->retry_after_s = retry_after_s;
}

static bool embeddings_feed(struct dialect_decoder *base, struct slice body)
{
	(void)base;
	(void)body; /* usage comes after the data, and belongs into every result */
	return true;
}

/* A successful answer's parts; empty: not there. */
struct reading {
	struct slice data, model, usage;
	struct slice *elements; /* by the input's place; empty: missing */
	size_t element_count;
};

/* Shares out the exchange's tokens. Cumulative, so that the shares of all calls add up to the total exactly. */
struct share {
	uint64_t before, own, all; /* estimated tokens: of the calls before, of this one, of all */
};

static uint64_t share_of(uint64_t total, const struct share *share)
{
	unsigned __int128 upto = (unsigned __int128)total * (share->before + share->own) / share->all;
	unsigned __int128 before = (unsigned __int128)total * share->before / share->all;
	return (uint64_t)(upto - before);
}

static void put_count(struct buf *out, const struct reading *reading, const char *name, const struct share *share)
{
	struct slice raw;
	uint64_t total;
	if (!json_member(reading->usage, slice_of(name), &raw) || !json_u64(raw, &total))
		return;
	buf_printf(out, "%s\"%s\":", out->store->bytes[out->len - 1] == '{' ? "" : ",", name);
	buf_put_u64(out, share_of(total, share));
}

static void put_usage(struct buf *out, const struct reading *reading, const struct share *share)
{
	if (reading->usage.len == 0 || json_type(reading->usage) != JSON_OBJECT)
		return;
	buf_put_text(out, ",\"usage\":");
	if (share->own == share->all) { /* a call that travelled alone: not an estimate */
		buf_put(out, reading->usage);
		return;
	}
	buf_put_char(out, '{');
	if (out->failed)
		return;
	put_count(out, reading, "prompt_tokens", share);
	put_count(out, reading, "total_tokens", share);
	buf_put_text(out, "},\"x_jitney\":{\"usage_estimated\":true}");
}

/* An element of "data" with another index; all else as it came. */
static void put_element(struct buf *out, struct slice element, size_t index)
{
	struct slice name, value;
	struct json_walk walk = json_walk(element);
	buf_put_text(out, "{\"index\":");
	buf_put_u64(out, index);
	while (json_next_member(&walk, &name, &value)) {
		if (json_string_is(name, SLICE("index")))
			continue;
		buf_put_char(out, ',');
		buf_put(out, name);
		buf_put_char(out, ':');
		buf_put(out, value);
	}
	buf_put_char(out, '}');
}

static struct answer *broken_answer(const struct embeddings_decoder *decoder, const char *what)
{
	return answer_upstream_error(OUTCOME_UPSTREAM_ERROR, decoder->base.status, 0, (struct slice){ NULL, 0 }, "%s",
				     what);
}

/* NULL: out of memory. */
static struct answer *result_of(const struct reading *reading, const struct expected *call, const struct share *share)
{
	struct buf out = BUF_INIT(SIZE_MAX / 4);
	buf_put_text(&out, "{\"object\":\"list\",\"data\":[");
	for (size_t i = 0; i < call->count; i++) {
		if (i)
			buf_put_char(&out, ',');
		put_element(&out, reading->elements[call->first + i], i);
	}
	buf_put_char(&out, ']');
	if (reading->model.len) {
		buf_put_text(&out, ",\"model\":");
		buf_put(&out, reading->model);
	}
	put_usage(&out, reading, share);
	buf_put_char(&out, '}');
	struct answer *answer = out.failed ? NULL : answer_result(buf_slice(&out), true, NULL);
	buf_fini(&out);
	return answer;
}

static bool is_complete(const struct reading *reading, const struct expected *call)
{
	for (size_t i = 0; i < call->count; i++)
		if (reading->elements[call->first + i].len == 0)
			return false;
	return true;
}

/* Returns how many calls have a result. */
static size_t emit_results(const struct embeddings_decoder *decoder, const struct reading *reading)
{
	struct share share = { 0 };
	size_t results = 0;
	for (size_t i = 0; i < decoder->count; i++)
		share.all += decoder->calls[i].tokens;
	for (size_t i = 0; i < decoder->count; i++) {
		const struct expected *call = &decoder->calls[i];
		bool complete = is_complete(reading, call);
		share.own = call->tokens;
		results += complete;
		dialect_emit(&decoder->base, i,
			     complete ? result_of(reading, call, &share)
				      : broken_answer(decoder, "the provider's answer has no embedding for this call"));
		share.before += share.own;
	}
	return results;
}

/* One answer for all. Takes the reference. */
static void emit_all(const struct embeddings_decoder *decoder, struct answer *answer)
{
	for (size_t i = 0; i < decoder->count; i++)
		dialect_emit(&decoder->base, i, answer_ref(answer));
	answer_unref(answer);
}

/* Elements by their index, not by where they stand; the first of an index counts. */
static void place_elements(struct reading *reading)
{
	struct slice element, raw, embedding;
	struct json_walk walk = json_walk(reading->data);
	uint64_t index;
	while (json_next_element(&walk, &element))
		if (json_type(element) == JSON_OBJECT && json_member(element, SLICE("index"), &raw) &&
		    json_type(raw) == JSON_NUMBER && json_u64(raw, &index) && index < reading->element_count &&
		    json_member(element, SLICE("embedding"), &embedding) && !reading->elements[index].len)
			reading->elements[index] = element;
}

/* False: *what is wrong with the body. */
static bool read_body(const struct embeddings_decoder *decoder, struct slice body, struct reading *reading,
		      struct answer **problem)
{
	struct json_fault fault;
	body = json_trim(body);
	if (body.len == 0) {
		*problem = broken_answer(decoder, "the provider's answer is empty");
		return false;
	}
	if (!json_check(body, decoder->depth, NULL, &fault)) {
		*problem = answer_upstream_error(
			OUTCOME_UPSTREAM_ERROR, decoder->base.status, 0, (struct slice){ NULL, 0 },
			"the provider's answer cannot be read: %s at byte %zu", fault.what, fault.at);
		return false;
	}
	if (json_type(body) != JSON_OBJECT || !json_member(body, SLICE("data"), &reading->data) ||
	    json_type(reading->data) != JSON_ARRAY) {
		struct buf scratch = BUF_INIT(SIZE_MAX / 4);
		*problem = answer_upstream_error(OUTCOME_UPSTREAM_ERROR, decoder->base.status, 0,
						 dialect_said(body, decoder->depth, &scratch),
						 "the provider's answer has no list \"data\"");
		buf_fini(&scratch);
		return false;
	}
	json_member(body, SLICE("model"), &reading->model);
	json_member(body, SLICE("usage"), &reading->usage);
	return true;
}

static enum outcome finish_well(const struct embeddings_decoder *decoder, struct slice body)
{
	const struct expected *last = &decoder->calls[decoder->count - 1];
	struct reading reading = { .element_count = last->first + last->count };
	struct answer *problem;
	if (!read_body(decoder, body, &reading, &problem)) {
		emit_all(decoder, problem);
		return OUTCOME_UPSTREAM_ERROR;
	}
	reading.elements = calloc(reading.element_count, sizeof *reading.elements);
	if (!reading.elements) {
		for (size_t i = 0; i < decoder->count; i++)
			dialect_emit(&decoder->base, i, NULL);
		return OUTCOME_OK; /* the provider did its part */
	}
	place_elements(&reading);
	size_t results = emit_results(decoder, &reading);
	free(reading.elements);
	return results ? OUTCOME_OK : OUTCOME_UPSTREAM_ERROR;
}

/* What a refusal says about a call that was alone is about that call; else only that one of them is to blame. */
static enum outcome embeddings_finish(struct dialect_decoder *base, struct slice body)
{
	const struct embeddings_decoder *decoder = container_of(base, struct embeddings_decoder, base);
	if (base->status >= 200 && base->status < 300)
		return finish_well(decoder, body);
	enum outcome refusal = decoder->count == 1 ? OUTCOME_TOOL_ERROR : OUTCOME_UPSTREAM_ERROR;
	struct buf scratch = BUF_INIT(SIZE_MAX / 4);
	emit_all(decoder, dialect_status_answer(base, refusal, dialect_said(body, decoder->depth, &scratch)));
	buf_fini(&scratch);
	return dialect_status_outcome(base->status, refusal);
}

static void embeddings_decoder_free(struct dialect_decoder *base)
{
	if (base)
		free(container_of(base, struct embeddings_decoder, base));
}

const struct dialect dialect_openai_embeddings = {
	.name = "openai-embeddings",
	.max_calls = MAX_INPUTS,
	.max_tokens = MAX_TOKENS,
	.route_new = embeddings_route_new,
	.route_free = embeddings_route_free,
	.check = embeddings_check,
	.tokens = embeddings_tokens,
	.group = embeddings_group,
	.encode = embeddings_encode,
	.decoder_new = embeddings_decoder_new,
	.expect = embeddings_expect,
	.head = embeddings_head,
	.feed = embeddings_feed,
	.finish = embeddings_finish,
	.decoder_free = embeddings_decoder_free,
};
