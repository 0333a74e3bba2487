/* SPDX-License-Identifier: Apache-2.0 */
/*
 * envelope_encode.c: writing with an envelope: a tool's route (the envelope's item template over the tool's own
 * request) and the one request for many calls. Method, path and headers of an item are what the rest dialect would
 * send.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/json.h"
#include "upstream/dialects/envelope_private.h"
#include "upstream/dialects/template.h"

enum piece_kind {
	PIECE_TEMPLATE, /* text and arguments */
	PIECE_ID,
	PIECE_ID_NUMBER,
	PIECE_TOOL,
	PIECE_METHOD,
	PIECE_PATH,
	PIECE_RELATIVE_PATH,
	PIECE_HEADERS,
	PIECE_BODY,
	PIECE_NEWLINE
};

static const struct {
	const char *text;
	enum piece_kind kind;
} placeholders[] = {
	{ "{id}", PIECE_ID },           { "{id_number}", PIECE_ID_NUMBER }, { "{tool}", PIECE_TOOL },
	{ "{method}", PIECE_METHOD },   { "{path}", PIECE_PATH },           { "{relative_path}", PIECE_RELATIVE_PATH },
	{ "{headers}", PIECE_HEADERS }, { "{headers?}", PIECE_HEADERS },    { "{body}", PIECE_BODY },
	{ "{body?}", PIECE_BODY },
};

struct piece {
	enum piece_kind kind;
	struct template *template;
};

struct envelope_route {
	struct dialect_route base;
	const struct envelope *envelope;
	struct dialect_route *rest; /* owned: method, path, query and headers of the item */
	char *tool;                 /* for messages */
	char *tool_name;            /* as the provider calls it */
	struct piece *pieces;
	size_t piece_count;
	struct template **body; /* lines; one if the framing is JSON */
	size_t body_count;      /* 0: no body */
	unsigned kinds;         /* 1 << kind for each kind of piece there is */
};

/* --- routes --- */

void envelope_route_free(struct dialect_route *base)
{
	if (!base)
		return;
	struct envelope_route *route = container_of(base, struct envelope_route, base);
	dialect_route_unref(route->rest);
	for (size_t i = 0; i < route->piece_count; i++)
		template_free(route->pieces[i].template);
	for (size_t i = 0; i < route->body_count; i++)
		template_free(route->body[i]);
	free(route->pieces);
	free(route->body);
	free(route->tool);
	free(route->tool_name);
	free(route);
}

/* A template of JSON, or (check false) of a part of one. */
static struct template *compile_piece(struct slice text, bool check, const char *option, struct dialect_error *error)
{
	char *copy = strndup(text.at, text.len);
	struct template *template = copy ? template_new(copy, TEMPLATE_BODY, error) : NULL;
	if (template && check && !template_check_json(template, error)) {
		template_free(template);
		template = NULL;
	}
	if (!copy)
		dialect_no_memory(error);
	else if (!template)
		dialect_error_in(error, option);
	free(copy);
	return template;
}

/* The next line that is not empty; the whole text if the framing is JSON. False: none is left. */
static bool next_line(const struct envelope *envelope, struct slice *left, struct slice *line)
{
	while (left->len) {
		const char *newline = envelope->ndjson ? memchr(left->at, '\n', left->len) : NULL;
		size_t len = newline ? (size_t)(newline - left->at) : left->len;
		*line = json_trim((struct slice){ left->at, len });
		len += newline != NULL;
		*left = (struct slice){ left->at + len, left->len - len };
		if (line->len)
			return true;
	}
	return false;
}

static bool set_body(struct envelope_route *route, const char *text, struct dialect_error *error)
{
	struct slice left = slice_of(text), line;
	route->body = calloc(left.len + 1, sizeof(struct template *));
	if (!route->body)
		return dialect_no_memory(error);
	while (next_line(route->envelope, &left, &line)) {
		struct template *template = compile_piece(line, true, "body", error);
		if (!template)
			return false;
		route->body[route->body_count++] = template;
	}
	return true;
}

/* Cut the member whose value is `placeholder` out of an object's text. False: it is no member's value. */
static bool drop_member(char *text, const char *placeholder)
{
	char *at = strstr(text, placeholder);
	if (!at)
		return true;
	char *from = at, *to = at + strlen(placeholder);
	while (from > text && from[-1] != ':')
		from--;
	while (from > text && from[-1] != '"')
		from--;
	if (from > text)
		from--;
	while (from > text && from[-1] != '"')
		from--;
	if (from == text)
		return false;
	from--;
	while (from > text && strchr(" \t\r\n", from[-1]))
		from--;
	to += strspn(to, " \t\r\n");
	if (from > text && from[-1] == ',')
		from--;
	else if (*to == ',')
		to++;
	memmove(from, to, strlen(to) + 1);
	return true;
}

static bool add_piece(struct envelope_route *route, enum piece_kind kind, struct slice text,
		      struct dialect_error *error)
{
	struct piece piece = { .kind = kind };
	if (kind == PIECE_TEMPLATE && text.len == 0)
		return true;
	if (kind == PIECE_TEMPLATE && !(piece.template = compile_piece(text, false, "item", error)))
		return false;
	route->kinds |= 1U << kind;
	route->pieces[route->piece_count++] = piece;
	return true;
}

/* One of our own placeholders at `at`: its place in the table, or countof(placeholders). */
static size_t placeholder_at(struct slice at)
{
	size_t i = 0;
	for (; i < countof(placeholders); i++)
		if (at.len >= strlen(placeholders[i].text) &&
		    memcmp(at.at, placeholders[i].text, strlen(placeholders[i].text)) == 0)
			break;
	return i;
}

static bool add_line(struct envelope_route *route, struct slice line, struct dialect_error *error)
{
	struct template *whole = compile_piece(line, true, "item", error);
	if (!whole)
		return false;
	template_free(whole);
	size_t begin = 0, at = 0;
	while (at < line.len) {
		size_t which = placeholder_at((struct slice){ line.at + at, line.len - at });
		if (which == countof(placeholders)) {
			at++;
			continue;
		}
		if (!add_piece(route, PIECE_TEMPLATE, (struct slice){ line.at + begin, at - begin }, error) ||
		    !add_piece(route, placeholders[which].kind, (struct slice){ NULL, 0 }, error))
			return false;
		begin = at += strlen(placeholders[which].text);
	}
	return add_piece(route, PIECE_TEMPLATE, (struct slice){ line.at + begin, line.len - begin }, error);
}

static bool set_item(struct envelope_route *route, char *text, struct dialect_error *error)
{
	struct slice left = slice_of(text), line;
	route->pieces = calloc(left.len + 2, sizeof *route->pieces);
	if (!route->pieces)
		return dialect_no_memory(error);
	while (next_line(route->envelope, &left, &line)) {
		if (route->piece_count && !add_piece(route, PIECE_NEWLINE, (struct slice){ NULL, 0 }, error))
			return false;
		if (!add_line(route, line, error))
			return false;
	}
	return route->piece_count > 0 || dialect_refuse(error, "item", "is empty");
}

static bool has_piece(const struct envelope_route *route, enum piece_kind kind)
{
	return route->kinds & (1U << kind);
}

/* Settings that would do nothing, silently. */
static bool check_used(const struct envelope_route *route, const struct route_settings *settings,
		       struct dialect_error *error)
{
	bool path = has_piece(route, PIECE_PATH) || has_piece(route, PIECE_RELATIVE_PATH);
	if (settings->method && !has_piece(route, PIECE_TOOL))
		return dialect_refuse(error, "method", "does nothing, for the envelope's item has no {tool}");
	if (settings->http_method && !has_piece(route, PIECE_METHOD))
		return dialect_refuse(error, "method", "does nothing, for the envelope's item has no {method}");
	if (settings->path && !path)
		return dialect_refuse(error, "path", "does nothing, for the envelope's item has no {path}");
	if (settings->query_count && !path)
		return dialect_refuse(error, "query", "does nothing, for the envelope's item has no {path}");
	if (settings->header_count && !has_piece(route, PIECE_HEADERS))
		return dialect_refuse(error, "headers", "does nothing, for the envelope's item has no {headers}");
	if (has_piece(route, PIECE_BODY) && !route->body_count)
		return dialect_refuse(error, "body", "is missing, for the envelope's item has {body}");
	return true;
}

/* The item's text for this tool, without the optional members it has no use for. */
static char *item_text(const struct envelope_route *route, const struct route_settings *settings,
		       struct dialect_error *error)
{
	const char *item = route->envelope->settings->item;
	bool replaced = settings->body && !strstr(item, "{body}") && !strstr(item, "{body?}");
	if (replaced && route->envelope->by_id) {
		dialect_refuse(error, "body",
			       "the envelope's item has no {body}, and an item of the tool's own would lack {id}");
		return NULL;
	}
	char *text = strdup(replaced ? "{body}" : item);
	if (!text) {
		dialect_no_memory(error);
		return NULL;
	}
	if ((route->body_count || drop_member(text, "{body?}")) &&
	    (route->body_count || settings->header_count || drop_member(text, "{headers?}")))
		return text;
	dialect_refuse(error, "item", "{body?} and {headers?} stand for a member's whole value only");
	free(text);
	return NULL;
}

static bool has_default_body(const char *method)
{
	return !method || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;
}

static bool fill_route(struct envelope_route *route, const struct route_settings *settings, struct dialect_error *error)
{
	struct route_settings rest = *settings;
	rest.body = ""; /* it is ours to write */
	route->tool = strdup(settings->tool);
	route->tool_name = strdup(settings->method ? settings->method : settings->tool);
	if (!route->tool || !route->tool_name)
		return dialect_no_memory(error);
	if (!(route->rest = dialect_rest.route_new(&rest, error)))
		return false;
	const char *body = settings->body                            ? settings->body
			   : has_default_body(settings->http_method) ? "{arguments}"
								     : "";
	if (!set_body(route, body, error))
		return false;
	char *text = item_text(route, settings, error);
	bool good = text && set_item(route, text, error) && check_used(route, settings, error);
	free(text);
	return good;
}

struct dialect_route *envelope_route_new(const struct route_settings *settings, struct dialect_error *error)
{
	struct envelope_route *route = calloc(1, sizeof *route);
	if (!route) {
		dialect_no_memory(error);
		return NULL;
	}
	dialect_route_init(&route->base, settings->own);
	route->envelope = envelope_of(settings->own);
	if (fill_route(route, settings, error))
		return &route->base;
	dialect_route_unref(&route->base);
	return NULL;
}

/* --- writing --- */

/* One call being written. */
struct writing {
	const struct envelope_route *route; /* borrowed: this lives while a function runs */
	struct slice arguments;
	uint64_t id;
	struct encoded_request *inner; /* what the rest dialect would send */
	struct buf *out;
	struct template_fault fault;
	const char *where; /* of the fault */
};

static bool put_template(struct writing *writing, const struct template *template, const char *where)
{
	size_t from = writing->out->len;
	writing->where = where;
	if (template_write(template, writing->arguments, writing->out, &writing->fault) != TEMPLATE_WRITTEN)
		return false;
	if (writing->route->envelope->ndjson)
		template_keep_line(writing->out, from);
	return true;
}

static bool put_body(struct writing *writing)
{
	for (size_t i = 0; i < writing->route->body_count; i++) {
		if (i)
			buf_put_char(writing->out, '\n');
		if (!put_template(writing, writing->route->body[i], "body"))
			return false;
	}
	return true;
}

/* "Name: value\n" lines as members of an object. */
static void put_headers(const struct writing *writing)
{
	struct slice left = buf_slice(&writing->inner->headers);
	bool typed = false, first = true;
	buf_put_char(writing->out, '{');
	while (left.len) {
		size_t len = (size_t)((const char *)memchr(left.at, '\n', left.len) - left.at);
		size_t name = (size_t)((const char *)memchr(left.at, ':', len) - left.at);
		typed |= name == strlen("Content-Type") && strncasecmp(left.at, "Content-Type", name) == 0;
		if (!first)
			buf_put_char(writing->out, ',');
		first = false;
		json_put_string(writing->out, (struct slice){ left.at, name });
		buf_put_char(writing->out, ':');
		json_put_string(writing->out, (struct slice){ left.at + name + 2, len - name - 2 });
		left = (struct slice){ left.at + len + 1, left.len - len - 1 };
	}
	if (writing->route->body_count && !typed)
		buf_put_text(writing->out, first ? "\"Content-Type\":\"application/json\""
						 : ",\"Content-Type\":\"application/json\"");
	buf_put_char(writing->out, '}');
}

static bool put_piece(struct writing *writing, const struct piece *piece)
{
	struct buf *out = writing->out;
	struct slice target = buf_slice(&writing->inner->target);
	switch (piece->kind) {
	case PIECE_TEMPLATE:
		return put_template(writing, piece->template, "item");
	case PIECE_ID:
		buf_printf(out, "\"%llu\"", (unsigned long long)writing->id);
		return true;
	case PIECE_ID_NUMBER:
		buf_put_u64(out, writing->id);
		return true;
	case PIECE_TOOL:
		json_put_string(out, slice_of(writing->route->tool_name));
		return true;
	case PIECE_METHOD:
		json_put_string(out, slice_of(writing->inner->method));
		return true;
	case PIECE_PATH:
		json_put_string(out, target);
		return true;
	case PIECE_RELATIVE_PATH:
		json_put_string(out, (struct slice){ target.at + 1, target.len - 1 });
		return true;
	case PIECE_HEADERS:
		put_headers(writing);
		return true;
	case PIECE_BODY:
		return put_body(writing);
	case PIECE_NEWLINE:
		buf_put_char(out, '\n');
		return true;
	}
	return true;
}

/* False: an argument does not do (writing->fault), or no memory (then out or inner has failed). */
static bool put_item(struct writing *writing)
{
	const struct envelope_route *route = writing->route;
	struct upstream_call inner = { .route = route->rest, .arguments = writing->arguments };
	buf_reset(&writing->inner->target);
	buf_reset(&writing->inner->headers);
	if (!dialect_rest.encode(&inner, 1, writing->id, writing->inner))
		return false;
	for (size_t i = 0; i < route->piece_count; i++)
		if (!put_piece(writing, &route->pieces[i]))
			return false;
	return !writing->out->failed;
}

static struct answer *argument_answer(const struct writing *writing)
{
	const struct template_fault *fault = &writing->fault;
	return answer_error(OUTCOME_INVALID_REQUEST, "argument '%.*s' %s; tool '%s' needs it in its %s",
			    SLICE_ARG(fault->name), fault->missing ? "is missing" : fault->what, writing->route->tool,
			    writing->where);
}

static struct encoded_request inner_request(void)
{
	return (struct encoded_request){ .target = BUF_INIT(HTTP_TARGET_BYTES),
					 .headers = BUF_INIT(HTTP_HEADER_BYTES),
					 .body = BUF_INIT(0) };
}

static void inner_fini(struct encoded_request *inner)
{
	buf_fini(&inner->target);
	buf_fini(&inner->headers);
}

struct answer *envelope_check(const struct dialect_route *base, struct slice arguments)
{
	const struct envelope_route *route = container_of(base, const struct envelope_route, base);
	struct answer *refusal = dialect_rest.check(route->rest, arguments);
	if (refusal)
		return refusal;
	struct encoded_request inner = inner_request();
	struct buf out = BUF_INIT(SIZE_MAX / 4);
	struct writing writing = { .route = route, .arguments = arguments, .inner = &inner, .out = &out };
	if (!put_item(&writing))
		refusal = writing.fault.name.len ? argument_answer(&writing) : answer_no_memory();
	inner_fini(&inner);
	buf_fini(&out);
	return refusal;
}

static bool put_items(const struct upstream_call *calls, size_t count, uint64_t first_id, struct buf *out)
{
	struct encoded_request inner = inner_request();
	bool good = true;
	for (size_t i = 0; good && i < count; i++) {
		const struct envelope_route *route = container_of(calls[i].route, const struct envelope_route, base);
		struct writing writing = {
			.route = route, .arguments = calls[i].arguments, .id = first_id + i, .inner = &inner, .out = out
		};
		if (i && !route->envelope->ndjson)
			buf_put_char(out, ',');
		good = put_item(&writing);
		if (route->envelope->ndjson)
			buf_put_char(out, '\n');
	}
	inner_fini(&inner);
	return good && !out->failed;
}

bool envelope_encode(const struct upstream_call *calls, size_t count, uint64_t first_id,
		     struct encoded_request *request)
{
	const struct envelope *envelope = envelope_of(calls[0].route->dialect);
	request->method = envelope->settings->method;
	request->content_type = envelope->settings->content_type;
	request->accept = ACCEPT_ANYTHING; /* newline-delimited JSON has no one name */
	buf_put_text(&request->target, envelope->settings->path);
	buf_put_text(&request->headers, envelope->settings->headers);
	buf_put(&request->body, envelope->before);
	if (!envelope->ndjson)
		buf_put_char(&request->body, '[');
	if (!put_items(calls, count, first_id, &request->body))
		return false;
	if (!envelope->ndjson)
		buf_put_char(&request->body, ']');
	buf_put(&request->body, envelope->after);
	return !request->body.failed && !request->target.failed && !request->headers.failed;
}
