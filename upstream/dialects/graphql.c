/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graphql.c: GraphQL over HTTP POST. One call is an operation with its variables. Many are one document whose
 * root fields, variables and fragments carry the call's number ("j3_user"), or a list of operations where the server
 * takes one (graphql.h). An answer's values go back byte for byte, errors to the call that path[0] names.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "upstream/dialects/graphql.h"
#include "upstream/dialects/graphql_text.h"
#include "upstream/dialects/answer_tracker.h"

enum {
	MAX_CALLS = 1000,
	WRAPPER_DEPTH = 4 /* the list, a response, its errors, an error: around a path */
};

enum merge { MERGE_ALIAS, MERGE_ARRAY, MERGE_OFF };

struct graphql {
	struct dialect dialect;
	enum merge merge;
};

static const struct graphql *graphql_of(const struct dialect *dialect)
{
	return container_of(dialect, const struct graphql, dialect);
}

/* --- routes --- */

struct graphql_route {
	struct dialect_route base;
	char *tool;
	char *document;
	struct buf quoted; /* the document as a JSON string */
	struct graphql_text text;
	bool shares; /* may stand in one document with others */
};

static void graphql_route_free(struct dialect_route *base)
{
	if (!base)
		return;
	struct graphql_route *route = container_of(base, struct graphql_route, base);
	graphql_text_fini(&route->text);
	buf_fini(&route->quoted);
	free(route->document);
	free(route->tool);
	free(route);
}

static bool fill_route(struct graphql_route *route, const struct route_settings *settings, struct dialect_error *error)
{
	if (!settings->operation) {
		dialect_refuse(error, "operation", "is missing: a query or mutation with $variables");
		return false;
	}
	route->tool = strdup(settings->tool);
	route->document = strdup(settings->operation);
	json_put_string(&route->quoted, slice_of(settings->operation));
	if (!route->tool || !route->document || route->quoted.failed) {
		dialect_no_memory(error);
		return false;
	}
	if (!graphql_text_read(route->document, &route->text, error)) {
		dialect_error_in(error, "operation");
		return false;
	}
	route->shares = settings->repeatable && !route->text.alone;
	return true;
}

static struct dialect_route *graphql_route_new(const struct route_settings *settings, struct dialect_error *error)
{
	struct graphql_route *route = calloc(1, sizeof *route);
	if (!route) {
		dialect_no_memory(error);
		return NULL;
	}
	dialect_route_init(&route->base, settings->own);
	route->quoted = BUF_INIT(SIZE_MAX / 4);
	if (fill_route(route, settings, error))
		return &route->base;
	dialect_route_unref(&route->base);
	return NULL;
}

static bool find_argument(struct slice arguments, const struct graphql_variable *variable, struct slice *value)
{
	return json_member(arguments, variable->name, value);
}

static struct answer *graphql_check(const struct dialect_route *base, struct slice arguments)
{
	const struct graphql_route *route = container_of(base, struct graphql_route, base);
	for (size_t i = 0; i < route->text.variable_count; i++) {
		const struct graphql_variable *variable = &route->text.variables[i];
		struct slice value;
		if (variable->required &&
		    (!find_argument(arguments, variable, &value) || json_type(value) == JSON_NULL))
			return answer_error(OUTCOME_INVALID_REQUEST,
					    "argument '%.*s' is missing; tool '%s' needs it in its operation",
					    SLICE_ARG(variable->name), route->tool);
	}
	return NULL;
}

/*
 * One document has one kind of operation. And it fails as a whole where one call's variables do not fit, or where null
 * takes the way up to its root, so only calls that may be sent again share one.
 */
static void graphql_group(const struct dialect_route *base, struct slice arguments, struct buf *out)
{
	const struct graphql_route *route = container_of(base, struct graphql_route, base);
	(void)arguments;
	if (graphql_of(base->dialect)->merge != MERGE_ALIAS)
		buf_put_char(out, 'a');
	else if (route->shares)
		buf_put_char(out, route->text.mutation ? 'm' : 'q');
	else
		dialect_group_alone(out);
}

/* --- writing --- */

static void put_name(struct buf *out, size_t call)
{
	buf_put_char(out, 'j');
	buf_put_u64(out, call);
	buf_put_char(out, '_');
}

/* A text with its marks replaced. */
static void put_marked(struct buf *out, const struct buf *marked, size_t call)
{
	struct slice left = buf_slice(marked);
	while (left.len) {
		const char *mark = memchr(left.at, GRAPHQL_MARK, left.len);
		size_t len = mark ? (size_t)(mark - left.at) : left.len;
		buf_put(out, (struct slice){ left.at, len });
		if (mark)
			put_name(out, call);
		len += mark != NULL;
		left = (struct slice){ left.at + len, left.len - len };
	}
}

/* "name":value for each variable that has one, with commas between. call: SIZE_MAX for names as they are. */
static void put_variables(struct buf *out, const struct upstream_call *of, size_t call, bool *first)
{
	const struct graphql_route *route = container_of(of->route, struct graphql_route, base);
	for (size_t i = 0; i < route->text.variable_count; i++) {
		const struct graphql_variable *variable = &route->text.variables[i];
		struct slice value;
		if (!find_argument(of->arguments, variable, &value))
			continue;
		buf_put_text(out, *first ? "\"" : ",\"");
		*first = false;
		if (call != SIZE_MAX)
			put_name(out, call);
		buf_put(out, variable->name);
		buf_put_text(out, "\":");
		buf_put(out, value);
	}
}

static void put_operation(struct buf *out, const struct upstream_call *call)
{
	const struct graphql_route *route = container_of(call->route, struct graphql_route, base);
	bool first = true;
	buf_put_text(out, "{\"query\":");
	buf_put(out, buf_slice(&route->quoted));
	buf_put_text(out, ",\"variables\":{");
	put_variables(out, call, SIZE_MAX, &first);
	buf_put_text(out, "}}");
}

static void put_part(struct buf *document, const struct upstream_call *calls, size_t count, const char *open,
		     size_t part, const char *close)
{
	bool begun = false;
	for (size_t i = 0; i < count; i++) {
		const struct graphql_route *route = container_of(calls[i].route, struct graphql_route, base);
		const struct buf *const parts[] = { &route->text.definitions, &route->text.selection,
						    &route->text.fragments };
		if (parts[part]->len == 0)
			continue;
		buf_put_text(document, begun ? " " : open);
		begun = true;
		put_marked(document, parts[part], i);
	}
	if (begun)
		buf_put_text(document, close);
}

static void put_merged(struct buf *out, const struct upstream_call *calls, size_t count)
{
	const struct graphql_route *route = container_of(calls[0].route, struct graphql_route, base);
	struct buf document = BUF_INIT(out->max);
	bool first = true;
	buf_put_text(&document, route->text.mutation ? "mutation" : "query");
	put_part(&document, calls, count, "(", 0, ")");
	put_part(&document, calls, count, "{", 1, "}");
	put_part(&document, calls, count, "", 2, "");
	out->failed |= document.failed;
	buf_put_text(out, "{\"query\":");
	json_put_string(out, buf_slice(&document));
	buf_put_text(out, ",\"variables\":{");
	for (size_t i = 0; i < count; i++)
		put_variables(out, &calls[i], i, &first);
	buf_put_text(out, "}}");
	buf_fini(&document);
}

static bool graphql_encode(const struct upstream_call *calls, size_t count, uint64_t first_id,
			   struct encoded_request *request)
{
	bool array = graphql_of(calls[0].route->dialect)->merge == MERGE_ARRAY;
	struct buf *body = &request->body;
	(void)first_id; /* an answer names its call by its place, so that equal batches are equal documents */
	request->method = "POST";
	request->content_type = "application/json";
	buf_put_text(&request->headers, "Accept: application/graphql-response+json, application/json;q=0.9\n");
	if (count > 1 && !array) {
		put_merged(body, calls, count);
		return !body->failed && !request->headers.failed;
	}
	for (size_t i = 0; i < count; i++) {
		if (count > 1)
			buf_put_char(body, i ? ',' : '[');
		put_operation(body, &calls[i]);
	}
	if (count > 1)
		buf_put_char(body, ']');
	return !body->failed && !request->headers.failed;
}

/* --- reading --- */

struct graphql_decoder {
	struct answer_tracker tracker;
	enum merge merge;
	struct list_reader list; /* of responses */
	bool *may_be_empty;      /* by index; behind answered */
	bool answered[];
};

/* A response; empty: absent, null or (errors) without any. */
struct response {
	struct slice data, errors;
};

static struct dialect_decoder *graphql_decoder_of(const struct dialect *dialect, size_t count, uint64_t first_id,
						  unsigned json_depth, const struct dialect_sink *sink)
{
	struct graphql_decoder *decoder = calloc(1, sizeof *decoder + 2 * count * sizeof(bool));
	if (!decoder)
		return NULL;
	tracker_init(&decoder->tracker, dialect, count, first_id, json_depth + WRAPPER_DEPTH, sink, decoder->answered);
	decoder->may_be_empty = decoder->answered + count;
	decoder->merge = count == 1 ? MERGE_OFF : graphql_of(dialect)->merge;
	list_reader_init(&decoder->list);
	if (decoder->merge != MERGE_ARRAY || tracker_by_place(&decoder->tracker, true))
		return &decoder->tracker.base;
	free(decoder);
	return NULL;
}

static void graphql_expect(struct dialect_decoder *base, const struct upstream_call *calls)
{
	struct graphql_decoder *decoder = container_of(base, struct graphql_decoder, tracker.base);
	for (size_t i = 0; i < decoder->tracker.count; i++)
		decoder->may_be_empty[i] = container_of(calls[i].route, struct graphql_route, base)->text.may_be_empty;
}

/* False: it is no response. */
static bool read_response(struct slice object, struct response *response)
{
	struct slice first;
	*response = (struct response){ .data = { NULL, 0 } };
	if (json_type(object) != JSON_OBJECT)
		return false;
	bool data = json_member(object, SLICE("data"), &response->data);
	bool errors = json_member(object, SLICE("errors"), &response->errors);
	if (data && json_type(response->data) == JSON_NULL)
		response->data.len = 0;
	if (errors && json_type(response->errors) != JSON_ARRAY)
		response->errors.len = 0;
	struct json_walk walk = json_walk(response->errors.len ? response->errors : SLICE("[]"));
	if (!json_next_element(&walk, &first))
		response->errors.len = 0;
	return data || response->errors.len;
}

/* Whether a response speaks for itself, or the status does. GraphQL over HTTP: a request that cannot be carried out is
 * 4xx with errors and no data; what was carried out in part may have a failing status and data. */
static bool status_allows(const struct answer_tracker *tracker, const struct response *response)
{
	return !tracker_failed(tracker) || response->data.len ||
	       dialect_status_outcome(tracker->base.status, OUTCOME_TOOL_ERROR) == OUTCOME_TOOL_ERROR;
}

static struct slice first_error(struct slice errors)
{
	struct slice error = SLICE("null");
	struct json_walk walk = json_walk(errors);
	return json_next_element(&walk, &error) ? error : SLICE("null");
}

/* Its errors and the data that came with them. `errors`, `data`: texts; data may be empty. */
static struct answer *errors_answer(const struct answer_tracker *tracker, struct slice errors, struct slice data)
{
	struct buf said = BUF_INIT(SIZE_MAX / 4);
	buf_put_text(&said, "{\"errors\":");
	buf_put(&said, errors);
	if (data.len) {
		buf_put_text(&said, ",\"data\":");
		buf_put(&said, data);
	}
	buf_put_char(&said, '}');
	struct answer *answer = tracker_tool_error(tracker, tracker->base.retry_after_s, first_error(errors),
						   said.failed ? (struct slice){ NULL, 0 } : buf_slice(&said));
	buf_fini(&said);
	return answer;
}

/* A response that is one call's. */
static struct answer *response_answer(const struct answer_tracker *tracker, const struct response *response)
{
	if (response->errors.len)
		return errors_answer(tracker, response->errors, response->data);
	return response->data.len ? tracker_result(tracker, response->data) : answer_result(SLICE("null"), true, NULL);
}

/* One response of a list. Servers give a list the status of one of them. */
static void take_response(struct answer_tracker *tracker, struct slice element)
{
	struct response response;
	bool read = read_response(element, &response);
	if (read && status_allows(tracker, &response))
		tracker_place(tracker, response_answer(tracker, &response));
	else if (read || tracker_failed(tracker))
		tracker_place_nothing(tracker); /* finish answers by the status */
	else
		tracker_place(tracker, tracker_broken(tracker, "the provider's answer has neither data nor errors"));
}

static bool read_list(struct graphql_decoder *decoder, struct slice body, bool last)
{
	static const struct json_path whole = { .set = true };
	return tracker_read_list(&decoder->tracker, &decoder->list, &whole, body, last, take_response);
}

static bool graphql_feed(struct dialect_decoder *base, struct slice body)
{
	struct graphql_decoder *decoder = container_of(base, struct graphql_decoder, tracker.base);
	if (decoder->merge == MERGE_ARRAY)
		return read_list(decoder, body, false);
	tracker_look_ahead_behind_blanks(&decoder->tracker, body, 0); /* errors may stand behind the data */
	return true;
}

/* --- an aliased document's answer --- */

/* What belongs to one call. */
struct part {
	struct buf data, errors; /* members and elements, with commas between */
};

/* "j3_user", raw: call 3 and what is behind it with the quote ('user"'). False: no alias of ours, as "j03_user" is none. */
static bool split_alias(const struct answer_tracker *tracker, struct slice raw, size_t *call, struct slice *name)
{
	const char *at = raw.at + 2, *end = raw.at + raw.len;
	size_t number = 0;
	if (raw.len < 2 || raw.at[0] != '"' || raw.at[1] != 'j')
		return false;
	for (; at < end && *at >= '0' && *at <= '9' && number <= MAX_CALLS; at++)
		number = number * 10 + (size_t)(*at - '0');
	bool plain = at == raw.at + 3 || raw.at[2] != '0';
	if (at == raw.at + 2 || at == end || *at != '_' || !plain || number >= tracker->count)
		return false;
	*call = number;
	*name = (struct slice){ at + 1, (size_t)(end - at - 1) };
	return true;
}

static void put_comma(struct buf *out)
{
	if (out->len)
		buf_put_char(out, ',');
}

static void take_data(const struct answer_tracker *tracker, struct slice data, struct part *parts)
{
	struct json_walk walk = json_walk(data);
	struct slice raw, value, name;
	size_t call;
	while (json_next_member(&walk, &raw, &value)) {
		if (!split_alias(tracker, raw, &call, &name))
			continue;
		put_comma(&parts[call].data);
		buf_put_char(&parts[call].data, '"');
		buf_put(&parts[call].data, name);
		buf_put_char(&parts[call].data, ':');
		buf_put(&parts[call].data, value);
	}
}

static void put_path(struct buf *out, struct slice path, struct slice name)
{
	struct json_walk walk = json_walk(path);
	struct slice element;
	buf_put_text(out, "[\"");
	buf_put(out, name);
	for (bool first = true; json_next_element(&walk, &element); first = false) {
		if (first)
			continue;
		buf_put_char(out, ',');
		buf_put(out, element);
	}
	buf_put_char(out, ']');
}

/* An error as the call alone would have got it: its own name in the path; no places in a text it does not know. */
static void put_error(struct buf *out, struct slice error, struct slice path, struct slice name)
{
	static const struct slice own[] = { { "path", 4 }, { "locations", 9 } };
	put_comma(out);
	buf_put_text(out, "{\"path\":");
	put_path(out, path, name);
	json_put_members_except(out, error, own, countof(own));
	buf_put_char(out, '}');
}

/* False: an error that is about the request as a whole. */
static bool take_errors(const struct answer_tracker *tracker, struct slice errors, struct part *parts)
{
	struct json_walk walk = json_walk(errors.len ? errors : SLICE("[]"));
	struct slice error, path, raw, name;
	size_t call;
	while (json_next_element(&walk, &error)) {
		if (json_type(error) != JSON_OBJECT || !json_member(error, SLICE("path"), &path) ||
		    json_type(path) != JSON_ARRAY)
			return false;
		struct json_walk steps = json_walk(path);
		if (!json_next_element(&steps, &raw) || !split_alias(tracker, raw, &call, &name))
			return false;
		put_error(&parts[call].errors, error, path, name);
	}
	return true;
}

/* NULL: out of memory. */
static struct answer *part_answer(const struct graphql_decoder *decoder, size_t call, const struct part *part)
{
	const struct answer_tracker *tracker = &decoder->tracker;
	struct buf data = BUF_INIT(SIZE_MAX / 4), errors = BUF_INIT(SIZE_MAX / 4);
	struct answer *answer = NULL;
	buf_put_char(&data, '{');
	buf_put(&data, buf_slice(&part->data));
	buf_put_char(&data, '}');
	buf_put_char(&errors, '[');
	buf_put(&errors, buf_slice(&part->errors));
	buf_put_char(&errors, ']');
	if (part->data.failed || part->errors.failed || data.failed || errors.failed)
		answer = NULL;
	else if (part->errors.len)
		answer = errors_answer(tracker, buf_slice(&errors), buf_slice(&data));
	else if (part->data.len || decoder->may_be_empty[call])
		answer = tracker_made(&data);
	else
		answer = tracker_broken(tracker, "the provider's answer has nothing for this call");
	buf_fini(&data);
	buf_fini(&errors);
	return answer;
}

/* One answer for all: it cannot be told whose fault it is. */
static enum outcome refuse_whole(struct answer_tracker *tracker, const struct response *response)
{
	tracker_emit_missing(tracker, tracker_refusal(tracker, OUTCOME_UPSTREAM_ERROR, response->errors,
						      "the provider refused the request as a whole"));
	return OUTCOME_UPSTREAM_ERROR;
}

static enum outcome finish_parts(struct graphql_decoder *decoder, const struct response *response)
{
	struct answer_tracker *tracker = &decoder->tracker;
	enum outcome outcome = OUTCOME_OK;
	struct part *parts = calloc(tracker->count, sizeof *parts);
	for (size_t i = 0; parts && i < tracker->count; i++)
		parts[i] = (struct part){ BUF_INIT(SIZE_MAX / 4), BUF_INIT(SIZE_MAX / 4) };
	if (parts && !take_errors(tracker, response->errors, parts)) {
		outcome = refuse_whole(tracker, response);
	} else {
		if (parts)
			take_data(tracker, response->data, parts);
		for (size_t i = 0; i < tracker->count; i++)
			tracker_emit(tracker, i, parts ? part_answer(decoder, i, &parts[i]) : NULL);
	}
	for (size_t i = 0; parts && i < tracker->count; i++) {
		buf_fini(&parts[i].data);
		buf_fini(&parts[i].errors);
	}
	free(parts);
	return outcome;
}

/* --- the end --- */

static enum outcome finish_missing(struct graphql_decoder *decoder, struct slice body)
{
	struct answer_tracker *tracker = &decoder->tracker;
	bool some = tracker->answered_count > 0;
	if (tracker->answered_count < tracker->count)
		tracker_emit_missing(tracker, tracker_missing(tracker, body));
	return tracker_outcome(tracker, some);
}

static enum outcome graphql_finish(struct dialect_decoder *base, struct slice body)
{
	struct graphql_decoder *decoder = container_of(base, struct graphql_decoder, tracker.base);
	struct answer_tracker *tracker = &decoder->tracker;
	struct response response;
	if (decoder->merge == MERGE_ARRAY)
		read_list(decoder, body, true);
	if (tracker->answered_count || (decoder->merge == MERGE_ARRAY && decoder->list.found) ||
	    json_trim(body).len == 0 || !tracker_check(tracker, body, json_trim(body)))
		return finish_missing(decoder, body);
	if (!read_response(json_trim(body), &response) || !status_allows(tracker, &response))
		return finish_missing(decoder, body);
	if (tracker->count == 1) {
		tracker_emit(tracker, 0, response_answer(tracker, &response));
		return OUTCOME_OK;
	}
	if (decoder->merge == MERGE_ALIAS && response.data.len && json_type(response.data) == JSON_OBJECT)
		return finish_parts(decoder, &response);
	return response.errors.len ? refuse_whole(tracker, &response) : finish_missing(decoder, body);
}

static void graphql_decoder_free(struct dialect_decoder *base)
{
	if (!base)
		return;
	struct graphql_decoder *decoder = container_of(base, struct graphql_decoder, tracker.base);
	tracker_fini(&decoder->tracker);
	free(decoder);
}

const struct dialect dialect_graphql = {
	.name = "graphql",
	.max_calls = MAX_CALLS,
	.route_new = graphql_route_new,
	.route_free = graphql_route_free,
	.check = graphql_check,
	.group = graphql_group,
	.encode = graphql_encode,
	.decoder_of = graphql_decoder_of,
	.expect = graphql_expect,
	.head = tracker_head,
	.feed = graphql_feed,
	.finish = graphql_finish,
	.decoder_free = graphql_decoder_free,
	.release = graphql_free,
};

struct dialect *graphql_new(const struct graphql_settings *settings)
{
	struct graphql *graphql = calloc(1, sizeof *graphql);
	if (!graphql)
		return NULL;
	const char *merge = settings->merge ? settings->merge : "alias";
	graphql->dialect = dialect_graphql;
	graphql->merge = strcmp(merge, "off") == 0     ? MERGE_OFF
			 : strcmp(merge, "array") == 0 ? MERGE_ARRAY
						       : MERGE_ALIAS;
	graphql->dialect.max_calls = graphql->merge == MERGE_OFF ? 1
				     : settings->max             ? settings->max
								 : GRAPHQL_DEFAULT_MAX;
	return &graphql->dialect;
}

void graphql_free(struct dialect *dialect)
{
	if (dialect)
		free(container_of(dialect, struct graphql, dialect));
}
