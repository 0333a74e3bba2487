/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_embeddings.c: many calls as one POST {endpoint}/embeddings in OpenAI's published form. Arguments are a
 * request's own members, {model, input, ...}; the result of a call is what the provider would have answered to it
 * alone, embeddings byte for byte, with its share of the exchange's usage (docs/embeddings.md).
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "upstream/dialects/answer_tracker.h"

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

/* How many elements an array has; 0 if one of them does not fit. */
static size_t count_fitting(struct slice array, bool (*fits)(struct slice))
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
	return json_type(value) == JSON_ARRAY && count_fitting(value, is_token) > 0;
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
	if ((*count = count_fitting(input, is_text)) > 0)
		return INPUT_TEXTS;
	return (*count = count_fitting(input, is_token_list)) > 0 ? INPUT_TOKEN_LISTS : INPUT_NONE;
}

static struct slice find_input(struct slice arguments)
{
	struct slice input = { NULL, 0 };
	json_member(arguments, SLICE("input"), &input);
	return input;
}

/* Tokens that an input (one that check has let pass) is thought to have, at least 1. */
static uint64_t estimate_tokens(struct slice input)
{
	if (json_type(input) == JSON_ARRAY)
		return count_fitting(input, is_token);
	size_t other = 0;
	for (size_t i = 0; i < input.len; i++)
		other += (unsigned char)input.at[i] >= 0x80;
	return (input.len - other + ASCII_PER_TOKEN - 1) / ASCII_PER_TOKEN +
	       (other + OTHER_PER_TOKEN - 1) / OTHER_PER_TOKEN;
}

static uint64_t estimate_all(struct slice input, enum input_kind kind)
{
	if (kind == INPUT_TEXT || kind == INPUT_TOKENS)
		return estimate_tokens(input);
	struct slice element;
	struct json_walk walk = json_walk(input);
	uint64_t tokens = 0;
	while (json_next_element(&walk, &element))
		tokens += estimate_tokens(element);
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

static struct dialect_route *embeddings_route_new(const struct route_settings *settings, struct dialect_error *error)
{
	(void)settings; /* there is one way to ask */
	struct dialect_route *route = calloc(1, sizeof *route);
	if (!route) {
		dialect_no_memory(error);
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
			      struct encoded_request *request)
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
	struct answer_tracker tracker;
	bool *answered; /* behind calls */
	struct expected calls[];
};

static struct dialect_decoder *embeddings_decoder_new(size_t count, uint64_t first_id, unsigned json_depth,
						      const struct dialect_sink *sink)
{
	struct embeddings_decoder *decoder =
		calloc(1, sizeof *decoder + count * (sizeof decoder->calls[0] + sizeof(bool)));
	if (!decoder)
		return NULL;
	decoder->answered = (bool *)&decoder->calls[count];
	tracker_init(&decoder->tracker, &dialect_openai_embeddings, count, first_id, json_depth + WRAPPER_DEPTH, sink,
		     decoder->answered);
	for (size_t i = 0; i < count; i++)
		decoder->calls[i] = (struct expected){ .first = i, .count = 1, .tokens = 1 };
	if (tracker_by_place(&decoder->tracker, false))
		return &decoder->tracker.base;
	free(decoder);
	return NULL;
}

static struct embeddings_decoder *decoder_of(struct dialect_decoder *base)
{
	return container_of(base, struct embeddings_decoder, tracker.base);
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
	struct embeddings_decoder *decoder = decoder_of(base);
	size_t first = 0;
	for (size_t i = 0; i < decoder->tracker.count; i++) {
		struct expected *expected = &decoder->calls[i];
		struct slice input = find_input(calls[i].arguments);
		enum input_kind kind = input_kind(input, &expected->count);
		assert(kind != INPUT_NONE);
		expected->first = first;
		expected->tokens = estimate_all(input, kind);
		first += expected->count;
	}
}

static bool embeddings_feed(struct dialect_decoder *base, struct slice body)
{
	/* usage comes after the data, and belongs into every result */
	tracker_look_ahead(container_of(base, struct answer_tracker, base), body, 0);
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
	static const struct slice index_name = { "index", 5 };
	buf_put_text(out, "{\"index\":");
	buf_put_u64(out, index);
	json_put_members_except(out, element, &index_name, 1);
	buf_put_char(out, '}');
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
	struct answer *answer = tracker_made(&out);
	buf_fini(&out);
	return answer;
}

static void emit_results(struct embeddings_decoder *decoder, const struct reading *reading)
{
	struct share share = { 0 };
	size_t count = decoder->tracker.count;
	for (size_t i = 0; i < count; i++)
		share.all += decoder->calls[i].tokens;
	for (size_t i = 0; i < count; i++) {
		share.own = decoder->calls[i].tokens;
		tracker_emit(&decoder->tracker, i, result_of(reading, &decoder->calls[i], &share));
		share.before += share.own;
	}
}

/* Elements by their index, which is the place of their input; each place has exactly one. *wrong: an element that is
 * none, or of no place, or of one that is taken. Returns how many have found their places. */
static size_t place_elements(struct reading *reading, bool *wrong)
{
	struct slice element, raw, embedding;
	struct json_walk walk = json_walk(reading->data);
	uint64_t index;
	size_t found = 0;
	for (*wrong = false; json_next_element(&walk, &element);) {
		bool placed = json_type(element) == JSON_OBJECT && json_member(element, SLICE("index"), &raw) &&
			      json_type(raw) == JSON_NUMBER && json_u64(raw, &index) &&
			      index < reading->element_count && json_member(element, SLICE("embedding"), &embedding) &&
			      !reading->elements[index].len;
		*wrong |= !placed;
		if (placed)
			reading->elements[index] = element;
		found += placed;
	}
	return found;
}

/* NULL, or what is wrong with the body. */
static struct answer *read_body(struct answer_tracker *tracker, struct slice body, struct reading *reading)
{
	body = json_trim(body);
	if (body.len == 0 || !tracker_check(tracker, body, body))
		return tracker_missing(tracker, body);
	if (json_type(body) != JSON_OBJECT || !json_member(body, SLICE("data"), &reading->data) ||
	    json_type(reading->data) != JSON_ARRAY)
		return tracker_refusal(tracker, OUTCOME_UPSTREAM_ERROR, body,
				       "the provider's answer has no list \"data\"");
	json_member(body, SLICE("model"), &reading->model);
	json_member(body, SLICE("usage"), &reading->usage);
	return NULL;
}

static enum outcome finish_well(struct embeddings_decoder *decoder, struct slice body)
{
	struct answer_tracker *tracker = &decoder->tracker;
	const struct expected *last = &decoder->calls[tracker->count - 1];
	struct reading reading = { .element_count = last->first + last->count };
	bool wrong;
	struct answer *problem = read_body(tracker, body, &reading);
	if (problem) {
		tracker_emit_missing(tracker, problem);
		return OUTCOME_UPSTREAM_ERROR;
	}
	reading.elements = calloc(reading.element_count, sizeof *reading.elements);
	if (!reading.elements) {
		tracker_emit_missing(tracker, dialect_or_no_memory(NULL));
		return OUTCOME_OK; /* the provider did its part */
	}
	size_t found = place_elements(&reading, &wrong);
	bool proven = !wrong && tracker_prove(tracker, found, reading.element_count);
	if (proven)
		emit_results(decoder, &reading);
	else
		tracker_emit_missing(
			tracker, tracker_refusal(tracker, OUTCOME_UPSTREAM_ERROR, (struct slice){ NULL, 0 },
						 "the provider's answer has embeddings for %zu inputs of %zu%s", found,
						 reading.element_count, wrong ? ", and others that are nobody's" : ""));
	free(reading.elements);
	return proven ? OUTCOME_OK : OUTCOME_UPSTREAM_ERROR;
}

/* What a refusal says about a call that was alone is about that call; else only that one of them is to blame. */
static enum outcome embeddings_finish(struct dialect_decoder *base, struct slice body)
{
	struct embeddings_decoder *decoder = decoder_of(base);
	struct answer_tracker *tracker = &decoder->tracker;
	if (!tracker_failed(tracker))
		return finish_well(decoder, body);
	enum outcome refusal = tracker->count == 1 ? OUTCOME_TOOL_ERROR : OUTCOME_UPSTREAM_ERROR;
	tracker_emit_missing(tracker, tracker_status_refusal(tracker, refusal, body));
	return dialect_status_outcome(base->status, refusal);
}

static void embeddings_decoder_free(struct dialect_decoder *base)
{
	if (!base)
		return;
	tracker_fini(&decoder_of(base)->tracker);
	free(decoder_of(base));
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
	.head = tracker_head,
	.feed = embeddings_feed,
	.finish = embeddings_finish,
	.decoder_free = embeddings_decoder_free,
};
