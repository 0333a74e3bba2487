/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rest.c: one call is one plain HTTP request, made from templates (template.h) over the call's arguments:
 * method, path, query, headers, body. The answer's body is the result, byte for byte.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/json_arriving.h"
#include "upstream/dialects/dialect.h"
#include "upstream/dialects/media.h"
#include "upstream/dialects/template.h"

/* --- routes --- */

struct pair {
	char *name; /* query: percent-encoded */
	struct template *value;
};

struct rest_route {
	struct dialect_route base;
	const char *method; /* static */
	char *tool;
	struct template *path;
	struct pair *query;
	size_t query_count;
	struct pair *headers;
	size_t header_count;
	struct template *body; /* NULL: none */
};

struct method {
	const char *name;
	bool default_body, may_have_body;
};
static const struct method methods[] = {
	{ "POST", true, true },  { "GET", false, true },    { "PUT", true, true },
	{ "PATCH", true, true }, { "DELETE", false, true }, { "HEAD", false, false },
};

static void free_pairs(struct pair *pairs, size_t count)
{
	for (size_t i = 0; pairs && i < count; i++) {
		free(pairs[i].name);
		template_free(pairs[i].value);
	}
	free(pairs);
}

static void rest_route_free(struct dialect_route *base)
{
	if (!base)
		return;
	struct rest_route *route = container_of(base, struct rest_route, base);
	free_pairs(route->query, route->query_count);
	free_pairs(route->headers, route->header_count);
	template_free(route->path);
	template_free(route->body);
	free(route->tool);
	free(route);
}

/* Compile one template; `option` is where it stands. */
static struct template *compile_template(const char *text, enum template_place place, const char *option,
					 struct dialect_error *error)
{
	struct template *template = template_new(text, place, error);
	if (!template)
		dialect_error_in(error, option);
	return template;
}

/* The same for an element of a map. */
static struct template *compile_pair(const struct route_pair *pair, enum template_place place, const char *map,
				     struct dialect_error *error)
{
	char option[sizeof error->part];
	snprintf(option, sizeof option, "%s.%s", map, pair->name);
	return compile_template(pair->value, place, option, error);
}

/* The percent-encoded form of a query parameter's name or a tool's name, with `before` in front. NULL: no memory. */
static char *encode_text(const char *before, const char *text)
{
	struct buf out = BUF_INIT(SIZE_MAX / 4);
	buf_put_text(&out, before);
	template_percent_encode(&out, slice_of(text));
	char *copy = out.failed ? NULL : strdup(buf_cstr(&out));
	buf_fini(&out);
	return copy;
}

static bool set_method(struct rest_route *route, const char *name, const struct method **found,
		       struct dialect_error *error)
{
	for (size_t i = 0; i < countof(methods); i++) {
		if (strcmp(name, methods[i].name) != 0)
			continue;
		*found = &methods[i];
		route->method = methods[i].name;
		return true;
	}
	dialect_refuse(error, "method", "'%s' is not one of POST, GET, PUT, PATCH, DELETE, HEAD", name);
	return false;
}

static bool set_path(struct rest_route *route, const struct route_settings *settings, struct dialect_error *error)
{
	if (settings->path) {
		route->path = compile_template(settings->path, TEMPLATE_PATH, "path", error);
		return route->path != NULL;
	}
	char *path = encode_text("/", settings->tool);
	if (!path)
		return dialect_no_memory(error);
	route->path = compile_template(path, TEMPLATE_PATH, "path", error);
	free(path);
	return route->path != NULL;
}

static bool set_query(struct rest_route *route, const struct route_settings *settings, struct dialect_error *error)
{
	route->query = calloc(settings->query_count + 1, sizeof *route->query);
	if (!route->query)
		return dialect_no_memory(error);
	for (size_t i = 0; i < settings->query_count; i++) {
		const struct route_pair *from = &settings->query[i];
		struct pair *pair = &route->query[route->query_count++];
		if (!(pair->name = encode_text("", from->name)))
			return dialect_no_memory(error);
		if (!(pair->value = compile_pair(from, TEMPLATE_QUERY, "query", error)))
			return false;
	}
	return true;
}

/* RFC 9110 token */
static bool is_token(const char *name)
{
	for (const char *at = name; *at; at++)
		if ((unsigned char)*at <= 0x20 || (unsigned char)*at >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", *at))
			return false;
	return *name != '\0';
}

/* Headers that say where a request ends or whose connection it is: ours alone. */
static bool is_framing(const char *name)
{
	static const char *const framing[] = {
		"Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Upgrade", "Expect", "TE", "Trailer"
	};
	for (size_t i = 0; i < countof(framing); i++)
		if (strcasecmp(name, framing[i]) == 0)
			return true;
	return false;
}

static bool set_headers(struct rest_route *route, const struct route_settings *settings, struct dialect_error *error)
{
	route->headers = calloc(settings->header_count + 1, sizeof *route->headers);
	if (!route->headers)
		return dialect_no_memory(error);
	for (size_t i = 0; i < settings->header_count; i++) {
		const struct route_pair *from = &settings->headers[i];
		if (!is_token(from->name) || is_framing(from->name)) {
			char option[sizeof error->part];
			snprintf(option, sizeof option, "headers.%s", from->name);
			return dialect_refuse(error, option, "%s",
					      is_token(from->name) ? "the gateway sets this header itself"
								   : "not a header name");
		}
		struct pair *pair = &route->headers[route->header_count++];
		if (!(pair->name = strdup(from->name)))
			return dialect_no_memory(error);
		if (!(pair->value = compile_pair(from, TEMPLATE_HEADER, "headers", error)))
			return false;
	}
	return true;
}

/* What a body is made of, by the Content-Type among the tool's headers. */
enum body_kind {
	BODY_JSON,
	BODY_LINES, /* of JSON */
	BODY_FORM,
	BODY_PLAIN, /* text without a form of its own: values stand in it as JSON */
	BODY_OTHER  /* nobody here knows how to write a value into it so that it stays one */
};

static enum body_kind kind_of(struct slice type)
{
	static const struct {
		const char *name;
		enum body_kind kind;
	} kinds[] = {
		{ "application/x-www-form-urlencoded", BODY_FORM },
		{ "application/x-ndjson", BODY_LINES },
		{ "application/ndjson", BODY_LINES },
		{ "application/jsonl", BODY_LINES },
		{ "application/x-jsonlines", BODY_LINES },
		{ "text/plain", BODY_PLAIN },
	};
	if (media_is_json(type))
		return BODY_JSON;
	for (size_t i = 0; i < countof(kinds); i++)
		if (media_is(type, kinds[i].name))
			return kinds[i].kind;
	return BODY_OTHER;
}

static const char *content_type_of(const struct route_settings *settings)
{
	const char *type = NULL;
	for (size_t i = 0; i < settings->header_count; i++)
		if (strcasecmp(settings->headers[i].name, "Content-Type") == 0)
			type = type ? "of which there are two" : settings->headers[i].value;
	return type ? type : "application/json";
}

/* A line of JSON, or a whole text of it. */
static bool check_json(struct slice text, struct dialect_error *error)
{
	char *copy = strndup(text.at, text.len);
	if (!copy)
		return dialect_no_memory(error);
	struct template *template = template_new(copy, TEMPLATE_BODY, error);
	bool good = template && template_check_json(template, error);
	template_free(template);
	free(copy);
	if (!good)
		dialect_error_in(error, "body");
	return good;
}

static bool check_lines(const char *text, struct dialect_error *error)
{
	for (const char *at = text; *at; at += strspn(at, "\r\n")) {
		size_t len = strcspn(at, "\r\n");
		if (!check_json((struct slice){ at, len }, error))
			return false;
		at += len;
	}
	return true;
}

/* That no value can become more than a value. */
static bool check_body(const struct rest_route *route, enum body_kind kind, const char *text, const char *type,
		       struct dialect_error *error)
{
	switch (kind) {
	case BODY_JSON:
		return check_json(slice_of(text), error);
	case BODY_LINES:
		return check_lines(text, error);
	case BODY_FORM:
	case BODY_PLAIN:
		return true;
	case BODY_OTHER:
		break;
	}
	if (template_is_fixed(route->body))
		return true;
	dialect_refuse(error, "body",
		       "arguments can be written into JSON, lines of JSON, a form (application/x-www-form-urlencoded) "
		       "and text/plain, not into Content-Type %.60s",
		       type);
	return false;
}

static bool set_body(struct rest_route *route, const struct method *method, const struct route_settings *settings,
		     struct dialect_error *error)
{
	const char *text = settings->body, *type = content_type_of(settings);
	enum body_kind kind = kind_of(slice_of(type));
	if (!text)
		text = method->default_body ? "{arguments}" : "";
	if (!*text)
		return true;
	if (!method->may_have_body) {
		dialect_refuse(error, "body", "a %s request has none", method->name);
		return false;
	}
	enum template_place place = kind == BODY_FORM                          ? TEMPLATE_FORM
				    : kind == BODY_LINES || kind == BODY_PLAIN ? TEMPLATE_LINES
									       : TEMPLATE_BODY;
	route->body = compile_template(text, place, "body", error);
	return route->body && check_body(route, kind, text, type, error);
}

static struct dialect_route *rest_route_new(const struct route_settings *settings, struct dialect_error *error)
{
	struct rest_route *route = calloc(1, sizeof *route);
	if (!route || !(route->tool = strdup(settings->tool))) {
		dialect_no_memory(error);
		free(route);
		return NULL;
	}
	route->base.dialect = &dialect_rest;
	const struct method *method;
	if (set_method(route, settings->http_method ? settings->http_method : "POST", &method, error) &&
	    set_path(route, settings, error) && set_query(route, settings, error) &&
	    set_headers(route, settings, error) && set_body(route, method, settings, error))
		return &route->base;
	rest_route_free(&route->base);
	return NULL;
}

/* --- writing --- */

/* Where writing stopped, for the sentence in the refusal. */
struct place {
	const char *kind; /* "path" */
	const char *name; /* of the query parameter or header; "" */
	struct template_fault fault;
};

static bool write_query(const struct rest_route *route, struct slice arguments, struct buf *target, struct place *place)
{
	char separator = '?';
	for (size_t i = 0; i < route->query_count; i++) {
		const struct pair *pair = &route->query[i];
		size_t before = target->len;
		*place = (struct place){ .kind = "query parameter ", .name = pair->name };
		buf_put_char(target, separator);
		buf_put_text(target, pair->name);
		buf_put_char(target, '=');
		switch (template_write(pair->value, arguments, target, &place->fault)) {
		case TEMPLATE_WRITTEN:
			separator = '&';
			break;
		case TEMPLATE_LEFT_OUT:
			target->len = before;
			break;
		case TEMPLATE_REFUSED:
			return false;
		}
	}
	return true;
}

static bool write_headers(const struct rest_route *route, struct slice arguments, struct buf *headers,
			  struct place *place)
{
	for (size_t i = 0; i < route->header_count; i++) {
		const struct pair *pair = &route->headers[i];
		size_t before = headers->len;
		*place = (struct place){ .kind = "header ", .name = pair->name };
		buf_put_text(headers, pair->name);
		buf_put_text(headers, ": ");
		switch (template_write(pair->value, arguments, headers, &place->fault)) {
		case TEMPLATE_WRITTEN:
			buf_put_char(headers, '\n');
			break;
		case TEMPLATE_LEFT_OUT:
			headers->len = before;
			break;
		case TEMPLATE_REFUSED:
			return false;
		}
	}
	return true;
}

/* Fill in all templates. False: an argument does not do, *place says which and where. */
static bool write_request(const struct rest_route *route, struct slice arguments, struct encoded_request *request,
			  struct place *place)
{
	*place = (struct place){ .kind = "path", .name = "" };
	if (template_write(route->path, arguments, &request->target, &place->fault) != TEMPLATE_WRITTEN)
		return false;
	if (!write_query(route, arguments, &request->target, place) ||
	    !write_headers(route, arguments, &request->headers, place))
		return false;
	*place = (struct place){ .kind = "body", .name = "" };
	return !route->body ||
	       template_write(route->body, arguments, &request->body, &place->fault) == TEMPLATE_WRITTEN;
}

static struct answer *argument_answer(const struct rest_route *route, const struct place *place)
{
	const struct template_fault *fault = &place->fault;
	if (fault->missing)
		return answer_error(OUTCOME_INVALID_REQUEST,
				    "argument '%.*s' is missing; tool '%s' needs it in its %s%s",
				    SLICE_ARG(fault->name), route->tool, place->kind, place->name);
	return answer_error(OUTCOME_INVALID_REQUEST, "argument '%.*s' %s; tool '%s' cannot put it in its %s%s",
			    SLICE_ARG(fault->name), fault->what, route->tool, place->kind, place->name);
}

static struct answer *size_answer(const struct rest_route *route, const struct encoded_request *request)
{
	if (request->target.failed || request->headers.failed)
		return answer_no_memory();
	if (request->target.len > HTTP_TARGET_BYTES)
		return answer_error(OUTCOME_INVALID_REQUEST,
				    "the arguments make an address of %zu bytes for tool '%s'; %d is the most",
				    request->target.len, route->tool, HTTP_TARGET_BYTES);
	if (request->headers.len > HTTP_HEADER_BYTES)
		return answer_error(OUTCOME_INVALID_REQUEST,
				    "the arguments make %zu bytes of headers for tool '%s'; %d is the most",
				    request->headers.len, route->tool, HTTP_HEADER_BYTES);
	return NULL;
}

static struct answer *rest_check(const struct dialect_route *base, struct slice arguments)
{
	const struct rest_route *route = container_of(base, struct rest_route, base);
	/* The request is written for a trial: one way to write it means one opinion on what can be written. But for its body, in
	 * which there is no room: megabytes of arguments would be copied only to be thrown away, and it has no cap here. */
	struct encoded_request trial = { .target = BUF_INIT(SIZE_MAX / 4),
					 .headers = BUF_INIT(SIZE_MAX / 4),
					 .body = BUF_INIT(0) };
	struct place place;
	struct answer *refusal = write_request(route, arguments, &trial, &place) ? size_answer(route, &trial)
										 : argument_answer(route, &place);
	buf_fini(&trial.target);
	buf_fini(&trial.headers);
	buf_fini(&trial.body);
	return refusal;
}

static bool rest_encode(const struct upstream_call *calls, size_t count, uint64_t first_id,
			struct encoded_request *request)
{
	(void)count; /* max_calls is 1 */
	(void)first_id;
	const struct rest_route *route = container_of(calls[0].route, struct rest_route, base);
	struct place place;
	request->method = route->method;
	request->content_type = route->body ? "application/json" : NULL;
	request->accept = ACCEPT_ANYTHING;
	return write_request(route, calls[0].arguments, request, &place) && !request->target.failed &&
	       !request->headers.failed && !request->body.failed;
}

/* --- reading --- */

struct rest_decoder {
	struct dialect_decoder base;
	unsigned json_depth;
	bool no_body;                 /* the request's method has none in its answer */
	bool sized;                   /* the provider said how long the body is */
	bool typed;                   /* the provider named a content type */
	bool json;                    /* and it is JSON's */
	struct json_ahead ahead;      /* of the body, if it may be JSON */
	char type[ANSWER_TYPE_BYTES]; /* NUL-terminated */
};

static struct dialect_decoder *rest_decoder_new(size_t count, uint64_t first_id, unsigned json_depth,
						const struct dialect_sink *sink)
{
	(void)count;
	(void)first_id;
	struct rest_decoder *decoder = calloc(1, sizeof *decoder);
	if (!decoder)
		return NULL;
	decoder->base.dialect = &dialect_rest;
	decoder->base.sink = *sink;
	decoder->json_depth = json_depth;
	return &decoder->base;
}

/* It goes into a header of our answer: anything odd becomes octet-stream. */
static void keep_type(struct rest_decoder *decoder, struct slice type)
{
	bool plain = type.len < sizeof decoder->type;
	for (size_t i = 0; plain && i < type.len; i++)
		plain = (unsigned char)type.at[i] >= 0x20 && (unsigned char)type.at[i] < 0x7f;
	snprintf(decoder->type, sizeof decoder->type, "%.*s", plain ? (int)type.len : 24,
		 plain ? type.at : "application/octet-stream");
}

static void rest_expect(struct dialect_decoder *base, const struct upstream_call *calls)
{
	struct rest_decoder *decoder = container_of(base, struct rest_decoder, base);
	decoder->no_body = strcmp(container_of(calls[0].route, struct rest_route, base)->method, "HEAD") == 0;
}

/* Content-Length */
static void rest_header(struct dialect_decoder *base, struct slice value)
{
	container_of(base, struct rest_decoder, base)->sized = value.len > 0;
}

static void rest_head(struct dialect_decoder *base, unsigned status, struct slice content_type, uint32_t retry_after_s)
{
	struct rest_decoder *decoder = container_of(base, struct rest_decoder, base);
	base->status = status;
	base->retry_after_s = retry_after_s;
	decoder->typed = content_type.len > 0;
	decoder->json = decoder->typed && media_is_json(content_type);
	keep_type(decoder, content_type.len ? content_type : SLICE("application/octet-stream"));
}

static bool rest_feed(struct dialect_decoder *base, struct slice body)
{
	struct rest_decoder *decoder = container_of(base, struct rest_decoder, base);
	/* one call: nothing is complete before the end */
	if ((decoder->json || !decoder->typed) && base->status >= 200 && base->status < 300)
		json_look_ahead(&decoder->ahead, body, 0, decoder->json_depth);
	return true;
}

static struct answer *broken_answer(const struct rest_decoder *decoder, const struct json_fault *fault)
{
	return answer_upstream_error(OUTCOME_UPSTREAM_ERROR, decoder->base.status, 0, (struct slice){ NULL, 0 },
				     "the provider's answer says it is JSON and is not: %s at byte %zu", fault->what,
				     fault->at);
}

/* Nothing at all is a result where it was meant: no text is JSON that was cut before its first byte. */
static struct answer *empty_answer(const struct rest_decoder *decoder)
{
	bool meant = decoder->no_body || decoder->sized || decoder->base.status == 204 || decoder->base.status == 205;
	const struct json_fault fault = { .what = "it is empty" };
	if (decoder->json && !meant)
		return broken_answer(decoder, &fault);
	return answer_result(SLICE("null"), true, NULL);
}

/* Whether a whole body is a result, and of which kind. */
static struct answer *result_answer(struct rest_decoder *decoder, struct slice body)
{
	struct json_fault fault;
	if (body.len == 0)
		return empty_answer(decoder);
	if (decoder->typed && !decoder->json)
		return answer_result_in(decoder->base.store, body, false, decoder->type);
	if (json_check_ahead(&decoder->ahead, body, 0, decoder->json_depth, NULL, &fault))
		return answer_result_in(decoder->base.store, body, true, NULL);
	if (fault.out_of_memory)
		return NULL;
	if (!decoder->typed)
		return answer_result_in(decoder->base.store, body, false, decoder->type);
	return broken_answer(decoder, &fault);
}

static enum outcome rest_finish(struct dialect_decoder *base, struct slice body)
{
	struct rest_decoder *decoder = container_of(base, struct rest_decoder, base);
	struct answer *answer;
	if (base->status >= 200 && base->status < 300) {
		answer = result_answer(decoder, body);
	} else {
		struct buf scratch = BUF_INIT(SIZE_MAX / 4);
		struct slice said = dialect_said(body, decoder->json_depth, &scratch);
		answer = dialect_status_answer(base, OUTCOME_TOOL_ERROR, said);
		buf_fini(&scratch);
	}
	enum outcome outcome = answer ? answer->outcome : OUTCOME_UPSTREAM_ERROR;
	dialect_emit(base, 0, answer);
	/* a tool that says no has answered the request as a whole */
	return outcome == OUTCOME_TOOL_ERROR ? OUTCOME_OK : outcome;
}

static void rest_decoder_free(struct dialect_decoder *base)
{
	if (!base)
		return;
	struct rest_decoder *decoder = container_of(base, struct rest_decoder, base);
	json_ahead_end(&decoder->ahead);
	free(decoder);
}

const struct dialect dialect_rest = {
	.name = "rest",
	.max_calls = 1,
	.route_new = rest_route_new,
	.route_free = rest_route_free,
	.check = rest_check,
	.encode = rest_encode,
	.decoder_new = rest_decoder_new,
	.expect = rest_expect,
	.wanted_header = "Content-Length",
	.header = rest_header,
	.head = rest_head,
	.feed = rest_feed,
	.finish = rest_finish,
	.decoder_free = rest_decoder_free,
};
