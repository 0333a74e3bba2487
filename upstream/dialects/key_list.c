/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key_list.c: reads by key (key_list.h). Writing leaves all but the key to the rest dialect; reading finds the
 * items in a list while its bytes arrive, or in an object when it is complete.
 */
#include <stdio.h>
#include <stdlib.h>

#include "upstream/dialects/key_list.h"
#include "upstream/dialects/answer_tracker.h"
#include "upstream/dialects/template.h"

/* --- routes --- */

struct key_list_route {
	struct dialect_route base;
	struct dialect_route *rest; /* owned: all but the key */
	bool keyed;                 /* false: a plain tool of the same upstream */
	char *tool;
	char *argument;
	char *parameter; /* percent-encoded */
	char *separator; /* as people write it: what no key may hold; NULL: encoding keeps it apart */
	char *between;   /* as it is sent */
	char *texts[3];  /* what the paths' names are slices of */
	struct json_path list, key, result;
	bool null_missing;
};

static void key_list_route_free(struct dialect_route *base)
{
	if (!base)
		return;
	struct key_list_route *route = container_of(base, struct key_list_route, base);
	dialect_route_unref(route->rest);
	free(route->tool);
	free(route->argument);
	free(route->parameter);
	free(route->separator);
	free(route->between);
	for (size_t i = 0; i < countof(route->texts); i++)
		free(route->texts[i]);
	free(route);
}

/* {name}, {name?} or {arguments} */
static bool names_argument(const char *template, const char *argument)
{
	for (const char *at = template ? strchr(template, '{') : NULL; at; at = strchr(at + 1, '{')) {
		size_t len = strcspn(at + 1, "?}");
		struct slice name = { at + 1, len };
		if (slice_equal(name, slice_of(argument)) || slice_equal(name, SLICE("arguments")))
			return true;
	}
	return false;
}

/* One request has one of everything else. */
static bool check_templates(const struct route_settings *settings, struct dialect_error *error)
{
	const char *argument = settings->key_list->argument;
	bool named = names_argument(settings->path, argument);
	for (size_t i = 0; i < settings->query_count; i++)
		named |= names_argument(settings->query[i].value, argument);
	for (size_t i = 0; i < settings->header_count; i++)
		named |= names_argument(settings->headers[i].value, argument);
	if (named)
		return dialect_refuse(error, "key_list.argument",
				      "it (or {arguments}) may not stand elsewhere in the request, "
				      "for calls with different keys share one");
	if (settings->body && *settings->body)
		return dialect_refuse(error, "key_list", "a request with keys in its query has no body");
	if (settings->http_method && strcmp(settings->http_method, "GET") != 0)
		return dialect_refuse(error, "key_list", "is for method GET");
	if (!settings->repeatable)
		return dialect_refuse(error, "key_list",
				      "needs annotations.read_only or idempotent, for a request that is "
				      "refused for one key is sent again for the others");
	return true;
}

/* What RFC 3986 lets stand in a query as it is, but for what separates parameters. */
static char *encode_separator(const char *separator)
{
	struct buf out = BUF_INIT(SIZE_MAX / 4);
	for (const char *at = separator; *at; at++) {
		if (*separator == '&' || strchr("!$'()*,;:@/?", *at))
			buf_put_char(&out, *at);
		else
			template_percent_encode(&out, (struct slice){ at, 1 });
	}
	char *copy = out.failed ? NULL : strdup(buf_cstr(&out));
	buf_fini(&out);
	return copy;
}

static bool set_separator(struct key_list_route *route, const char *separator, struct dialect_error *error)
{
	for (const char *at = separator; *at; at++)
		if ((unsigned char)*at <= ' ' || (unsigned char)*at >= 0x7f || strchr("\"#<>\\^`{}", *at))
			return dialect_refuse(error, "key_list.separator", "holds a character that no query may hold");
	if (*separator != '&' && !(route->separator = strdup(separator)))
		return dialect_no_memory(error);
	route->between = encode_separator(separator);
	return route->between || dialect_no_memory(error);
}

static bool set_path(struct key_list_route *route, size_t which, const char *text, const char *option,
		     struct json_path *path, struct dialect_error *error)
{
	const char *what;
	if (text && !(route->texts[which] = strdup(text)))
		return dialect_no_memory(error);
	if (json_path_set(path, route->texts[which], &what))
		return true;
	return dialect_refuse(error, option, "%s", what);
}

static char *encode_name(const char *name)
{
	struct buf out = BUF_INIT(SIZE_MAX / 4);
	template_percent_encode(&out, slice_of(name));
	char *copy = out.failed ? NULL : strdup(buf_cstr(&out));
	buf_fini(&out);
	return copy;
}

static bool set_keyed(struct key_list_route *route, const struct route_settings *settings, struct dialect_error *error)
{
	const struct key_list_settings *keys = settings->key_list;
	route->keyed = true;
	route->argument = strdup(keys->argument);
	route->parameter = encode_name(keys->parameter);
	route->null_missing = keys->missing && strcmp(keys->missing, "null") == 0;
	if (!route->argument || !route->parameter)
		return dialect_no_memory(error);
	return check_templates(settings, error) &&
	       set_separator(route, keys->separator ? keys->separator : ",", error) &&
	       set_path(route, 0, keys->list ? keys->list : ".", "key_list.list", &route->list, error) &&
	       set_path(route, 1, keys->key, "key_list.key", &route->key, error) &&
	       set_path(route, 2, keys->result ? keys->result : ".", "key_list.result", &route->result, error);
}

static struct dialect_route *key_list_route_new(const struct route_settings *settings, struct dialect_error *error)
{
	struct route_settings rest = *settings;
	struct key_list_route *route = calloc(1, sizeof *route);
	if (!route || !(route->tool = strdup(settings->tool))) {
		dialect_no_memory(error);
		free(route);
		return NULL;
	}
	dialect_route_init(&route->base, settings->own);
	if (settings->key_list && !rest.http_method)
		rest.http_method = "GET";
	if ((!settings->key_list || set_keyed(route, settings, error)) &&
	    (route->rest = dialect_rest.route_new(&rest, error)))
		return &route->base;
	dialect_route_unref(&route->base);
	return NULL;
}

/* --- keys --- */

/* The keys of some calls in the order of their texts. */
struct key {
	size_t at, len; /* in keys->texts */
	size_t call;
};
struct keys {
	struct buf texts;
	struct key *sorted;
	size_t count;
};

/* Append a key's text: 7 and "7" are one. False: it is neither a number nor a string. */
static bool put_key(struct buf *out, struct slice raw)
{
	if (raw.len && json_type(raw) == JSON_STRING)
		json_unescape(raw, out);
	else if (raw.len && json_type(raw) == JSON_NUMBER)
		buf_put(out, raw);
	else
		return false;
	return true;
}

static struct slice key_text(const struct keys *keys, const struct key *key)
{
	return (struct slice){ buf_slice(&keys->texts).at + key->at, key->len };
}

static int compare_keys(struct slice a, struct slice b)
{
	int order = memcmp(a.at, b.at, a.len < b.len ? a.len : b.len);
	return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int by_text(const void *a, const void *b, void *keys)
{
	return compare_keys(key_text(keys, a), key_text(keys, b));
}

static void keys_fini(struct keys *keys)
{
	buf_fini(&keys->texts);
	free(keys->sorted);
	*keys = (struct keys){ .count = 0 };
}

/* False: out of memory, keys_fini is still to be called. */
static bool keys_init(struct keys *keys, const struct upstream_call *calls, size_t count)
{
	*keys = (struct keys){ .texts = BUF_INIT(SIZE_MAX / 4), .sorted = calloc(count, sizeof *keys->sorted) };
	if (!keys->sorted)
		return false;
	for (size_t i = 0; i < count; i++) {
		const struct key_list_route *route = container_of(calls[i].route, struct key_list_route, base);
		struct slice raw = { NULL, 0 };
		size_t at = keys->texts.len;
		json_member(calls[i].arguments, slice_of(route->argument), &raw);
		put_key(&keys->texts, raw);
		keys->sorted[i] = (struct key){ .at = at, .len = keys->texts.len - at, .call = i };
	}
	keys->count = count;
	if (keys->texts.failed)
		return false;
	qsort_r(keys->sorted, count, sizeof *keys->sorted, by_text, keys);
	return true;
}

/* The first one that is not before `text`. */
static size_t keys_find(const struct keys *keys, struct slice text)
{
	size_t from = 0, to = keys->count;
	while (from < to) {
		size_t middle = from + (to - from) / 2;
		if (compare_keys(key_text(keys, &keys->sorted[middle]), text) < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

/* --- writing --- */

/* Each key once. */
static void put_keys(struct buf *target, const struct key_list_route *route, const struct keys *keys)
{
	struct slice before = { NULL, 0 };
	bool queried = target->len && memchr(target->store->bytes, '?', target->len);
	buf_put_char(target, queried ? '&' : '?');
	buf_put_text(target, route->parameter);
	buf_put_char(target, '=');
	for (size_t i = 0; i < keys->count; i++) {
		struct slice text = key_text(keys, &keys->sorted[i]);
		if (i && slice_equal(text, before))
			continue;
		if (i)
			buf_put_text(target, route->between);
		template_percent_encode(target, text);
		before = text;
	}
}

static bool key_list_encode(const struct upstream_call *calls, size_t count, uint64_t first_id,
			    struct encoded_request *request)
{
	const struct key_list_route *route = container_of(calls[0].route, struct key_list_route, base);
	struct upstream_call inner = calls[0];
	struct keys keys;
	inner.route = route->rest;
	if (!dialect_rest.encode(&inner, 1, first_id, request))
		return false;
	if (!route->keyed)
		return true;
	bool good = keys_init(&keys, calls, count);
	if (good)
		put_keys(&request->target, route, &keys);
	keys_fini(&keys);
	return good && !request->target.failed;
}

/* NULL if the key will do. */
static struct answer *check_key(const struct key_list_route *route, struct slice arguments, size_t *encoded)
{
	struct slice raw = { NULL, 0 };
	struct buf text = BUF_INIT(SIZE_MAX / 4), target = BUF_INIT(SIZE_MAX / 4);
	const char *wrong = NULL;
	json_member(arguments, slice_of(route->argument), &raw);
	if (raw.len == 0 || json_type(raw) == JSON_NULL)
		wrong = "is missing";
	else if (!put_key(&text, raw))
		wrong = "must be a string or a number";
	else if (text.len == 0 && !text.failed)
		wrong = "is empty";
	else if (route->separator && strstr(buf_cstr(&text), route->separator))
		wrong = "holds what separates keys from each other";
	else if (!text.failed && memchr(text.store->bytes, '\0', text.len))
		wrong = "holds a NUL";
	template_percent_encode(&target, buf_slice(&text));
	*encoded = target.len;
	bool failed = text.failed || target.failed;
	buf_fini(&text);
	buf_fini(&target);
	if (failed)
		return answer_no_memory();
	if (!wrong)
		return NULL;
	return answer_error(OUTCOME_INVALID_REQUEST, "argument '%s' %s; it is the key of tool '%s'", route->argument,
			    wrong, route->tool);
}

/* The address without keys has a quarter of the room, so that any keys that the batcher lets together fit in. */
static struct answer *check_target(const struct key_list_route *route, struct slice arguments, size_t key_bytes)
{
	enum { BASE_BYTES = HTTP_TARGET_BYTES - 3 * KEY_LIST_BYTES };
	struct upstream_call call = { .route = route->rest, .arguments = arguments };
	struct encoded_request trial = { .target = BUF_INIT(SIZE_MAX / 4),
					 .headers = BUF_INIT(SIZE_MAX / 4),
					 .body = BUF_INIT(SIZE_MAX / 4) };
	bool written = dialect_rest.encode(&call, 1, 1, &trial);
	size_t bytes = trial.target.len + strlen(route->parameter) + 2;
	buf_fini(&trial.target);
	buf_fini(&trial.headers);
	buf_fini(&trial.body);
	if (!written)
		return answer_no_memory();
	if (bytes <= BASE_BYTES && bytes + key_bytes <= HTTP_TARGET_BYTES)
		return NULL;
	return answer_error(
		OUTCOME_INVALID_REQUEST,
		"the arguments make an address of %zu bytes for tool '%s', %zu of them the key's; %d is the "
		"most, and %d without the key",
		bytes + key_bytes, route->tool, key_bytes, HTTP_TARGET_BYTES, BASE_BYTES);
}

static struct answer *key_list_check(const struct dialect_route *base, struct slice arguments)
{
	const struct key_list_route *route = container_of(base, struct key_list_route, base);
	size_t key_bytes;
	struct answer *refusal = dialect_rest.check(route->rest, arguments);
	if (refusal || !route->keyed)
		return refusal;
	if ((refusal = check_key(route, arguments, &key_bytes)))
		return refusal;
	return check_target(route, arguments, key_bytes);
}

/* The tool and all arguments but the key. */
static void key_list_group(const struct dialect_route *base, struct slice arguments, struct buf *out)
{
	const struct key_list_route *route = container_of(base, struct key_list_route, base);
	if (!route->keyed) {
		dialect_group_alone(out);
		return;
	}
	struct buf canonical = BUF_INIT(SIZE_MAX / 4);
	struct json_fault fault;
	if (!json_canonical(arguments, JSON_DEPTH_MAX, NULL, &canonical, &fault))
		out->failed = true;
	json_put_string(out, slice_of(route->tool));
	struct json_walk walk = json_walk(canonical.failed ? SLICE("{}") : buf_slice(&canonical));
	struct slice name, value;
	while (!out->failed && json_next_member(&walk, &name, &value)) {
		if (json_string_is(name, slice_of(route->argument)))
			continue;
		buf_put(out, name);
		buf_put(out, value);
	}
	buf_fini(&canonical);
}

/* --- reading --- */

struct key_list_decoder {
	struct answer_tracker tracker;
	const struct key_list_route *route; /* held; NULL before expect */
	struct dialect_decoder *plain;      /* one call's, should its tool be a plain one; NULL else */
	struct keys keys;
	bool no_memory; /* for keys */
	struct list_reader list;
	struct buf scratch;
	bool answered[];
};

static void key_list_decoder_free(struct dialect_decoder *base)
{
	if (!base)
		return;
	struct key_list_decoder *decoder = container_of(base, struct key_list_decoder, tracker.base);
	dialect_rest.decoder_free(decoder->plain);
	if (decoder->route)
		dialect_route_unref(&decoder->route->base);
	keys_fini(&decoder->keys);
	buf_fini(&decoder->scratch);
	tracker_fini(&decoder->tracker);
	free(decoder);
}

static struct dialect_decoder *key_list_decoder_of(const struct dialect *dialect, size_t count, uint64_t first_id,
						   unsigned json_depth, const struct dialect_sink *sink)
{
	struct key_list_decoder *decoder = calloc(1, sizeof *decoder + count * sizeof(bool));
	if (!decoder)
		return NULL;
	tracker_init(&decoder->tracker, dialect, count, first_id, json_depth + JSON_PATH_NAMES + 1, sink,
		     decoder->answered);
	list_reader_init(&decoder->list);
	decoder->scratch = BUF_INIT(SIZE_MAX / 4);
	if (count > 1 || (decoder->plain = dialect_rest.decoder_new(count, first_id, json_depth, sink)))
		return &decoder->tracker.base;
	key_list_decoder_free(&decoder->tracker.base);
	return NULL;
}

static void key_list_expect(struct dialect_decoder *base, const struct upstream_call *calls)
{
	struct key_list_decoder *decoder = container_of(base, struct key_list_decoder, tracker.base);
	decoder->route = container_of(dialect_route_ref(calls[0].route), struct key_list_route, base);
	if (!decoder->route->keyed) {
		struct upstream_call plain = calls[0];
		plain.route = decoder->route->rest;
		dialect_rest.expect(decoder->plain, &plain);
		return;
	}
	dialect_rest.decoder_free(decoder->plain);
	decoder->plain = NULL;
	decoder->no_memory = !keys_init(&decoder->keys, calls, decoder->tracker.count);
}

static void key_list_header(struct dialect_decoder *base, struct slice value)
{
	struct key_list_decoder *decoder = container_of(base, struct key_list_decoder, tracker.base);
	if (decoder->plain)
		dialect_rest.header(decoder->plain, value);
}

static void key_list_head(struct dialect_decoder *base, unsigned status, struct slice content_type,
			  uint32_t retry_after_s)
{
	struct key_list_decoder *decoder = container_of(base, struct key_list_decoder, tracker.base);
	tracker_head(base, status, content_type, retry_after_s);
	if (decoder->plain)
		dialect_rest.head(decoder->plain, status, content_type, retry_after_s);
}

/* An item for all calls that asked for its key; the first of a key counts. */
static void take_item(struct key_list_decoder *decoder, struct slice raw_key, struct slice item)
{
	struct answer_tracker *tracker = &decoder->tracker;
	buf_reset(&decoder->scratch);
	if (!put_key(&decoder->scratch, raw_key))
		return;
	if (decoder->scratch.failed) {
		decoder->no_memory = true;
		return;
	}
	struct slice text = buf_slice(&decoder->scratch), result = json_path_at(item, &decoder->route->result, false);
	const struct keys *keys = &decoder->keys;
	for (size_t i = keys_find(keys, text); i < keys->count; i++) {
		const struct key *key = &keys->sorted[i];
		if (!slice_equal(key_text(keys, key), text))
			break;
		if (!tracker->answered[key->call])
			tracker_emit(
				tracker, key->call,
				result.len ? tracker_result(tracker, result)
					   : tracker_broken(tracker, "the provider's item for this key has no result"));
	}
}

static bool is_ours(const struct key_list_decoder *decoder)
{
	return decoder->route && !decoder->no_memory && !tracker_failed(&decoder->tracker);
}

static void take_element(struct answer_tracker *tracker, struct slice element)
{
	struct key_list_decoder *decoder = container_of(tracker, struct key_list_decoder, tracker);
	take_item(decoder, json_path_at(element, &decoder->route->key, false), element);
}

static bool read_list(struct key_list_decoder *decoder, struct slice body, bool last)
{
	return tracker_read_list(&decoder->tracker, &decoder->list, &decoder->route->list, body, last, take_element);
}

static bool key_list_feed(struct dialect_decoder *base, struct slice body)
{
	struct key_list_decoder *decoder = container_of(base, struct key_list_decoder, tracker.base);
	if (decoder->plain)
		return dialect_rest.feed(decoder->plain, body);
	if (!is_ours(decoder))
		return true;
	if (decoder->route->key.set)
		return read_list(decoder, body, false);
	tracker_look_ahead_behind_blanks(&decoder->tracker, body, 0);
	return true;
}

/* Items by their names in an object. False: there is no such object. */
static bool read_object(struct key_list_decoder *decoder, struct slice body)
{
	struct answer_tracker *tracker = &decoder->tracker;
	if (!tracker_check(tracker, body, json_trim(body)))
		return true;
	struct slice object = json_path_at(json_trim(body), &decoder->route->list, false), name, value;
	if (object.len == 0 || json_type(object) != JSON_OBJECT)
		return false;
	struct json_walk walk = json_walk(object);
	while (json_next_member(&walk, &name, &value))
		take_item(decoder, name, value);
	return true;
}

/* What is said in place of the items concerns all calls. */
static struct answer *no_items_answer(const struct key_list_decoder *decoder, struct slice body)
{
	return tracker_refusal(&decoder->tracker, OUTCOME_UPSTREAM_ERROR, body, "the provider's answer has no %s at %s",
			       decoder->route->key.set ? "list" : "object", decoder->route->texts[0]);
}

/* Sorted: if any differ, the first and the last do. */
static bool in_company(const struct keys *keys)
{
	return !slice_equal(key_text(keys, &keys->sorted[0]), key_text(keys, &keys->sorted[keys->count - 1]));
}

/* A key that is not in an answer to it alone, which was read to its end. */
static struct answer *absent_answer(const struct key_list_decoder *decoder)
{
	if (decoder->route->null_missing)
		return answer_result(SLICE("null"), true, NULL);
	return answer_upstream_error(OUTCOME_TOOL_ERROR, decoder->tracker.base.status, 0, (struct slice){ NULL, 0 },
				     "the provider has nothing under this key: it is not in its answer");
}

/* A key that is not in an answer that was read to its end. Many a provider has pages and leaves out what is beyond the
 * first: that a key does not exist is believed when it was asked for alone. */
static void deliver_absent(struct key_list_decoder *decoder, size_t index)
{
	struct answer_tracker *tracker = &decoder->tracker;
	if (in_company(&decoder->keys))
		tracker_doubt(tracker, index,
			      tracker_broken(tracker,
					     "the provider's answer to several keys has nothing under this one, and "
					     "it could not be asked for alone"));
	else
		tracker_emit(tracker, index, absent_answer(decoder));
}

/* A call alone that is refused is refused for its own sake. */
static enum outcome finish_failed(struct key_list_decoder *decoder, struct slice body)
{
	struct answer_tracker *tracker = &decoder->tracker;
	enum outcome refusal = tracker->count == 1 ? OUTCOME_TOOL_ERROR : OUTCOME_UPSTREAM_ERROR;
	tracker_emit_missing(tracker, tracker_status_refusal(tracker, refusal, body));
	enum outcome outcome = dialect_status_outcome(tracker->base.status, refusal);
	return outcome == OUTCOME_TOOL_ERROR ? OUTCOME_OK : outcome;
}

static enum outcome finish_read(struct key_list_decoder *decoder, struct slice body)
{
	struct answer_tracker *tracker = &decoder->tracker;
	bool found;
	if (decoder->route->key.set) {
		read_list(decoder, body, true);
		found = decoder->list.found;
	} else {
		found = read_object(decoder, body);
	}
	bool whole =
		found && !tracker->broken && !tracker->fault.what && (!decoder->route->key.set || decoder->list.ended);
	bool some = tracker->answered_count > 0 || whole;
	for (size_t i = 0; i < tracker->count && (decoder->no_memory || whole); i++)
		if (!tracker->answered[i] && decoder->no_memory)
			tracker_emit(tracker, i, NULL);
		else if (!tracker->answered[i])
			deliver_absent(decoder, i);
	if (tracker->answered_count < tracker->count)
		tracker_emit_missing(tracker, found || tracker->broken || json_trim(body).len == 0
						      ? tracker_missing(tracker, body)
						      : no_items_answer(decoder, body));
	return tracker_outcome(tracker, some);
}

static enum outcome key_list_finish(struct dialect_decoder *base, struct slice body)
{
	struct key_list_decoder *decoder = container_of(base, struct key_list_decoder, tracker.base);
	struct answer_tracker *tracker = &decoder->tracker;
	if (decoder->plain)
		return dialect_rest.finish(decoder->plain, body);
	if (tracker_failed(tracker))
		return finish_failed(decoder, body);
	if (is_ours(decoder))
		return finish_read(decoder, body);
	for (size_t i = 0; i < tracker->count; i++)
		if (!tracker->answered[i])
			tracker_emit(tracker, i, NULL);
	return OUTCOME_OK; /* the provider did its part */
}

const struct dialect dialect_key_list = {
	.name = "rest",
	.max_calls = KEY_LIST_MAX,
	.max_bytes = KEY_LIST_BYTES,
	.route_new = key_list_route_new,
	.route_free = key_list_route_free,
	.check = key_list_check,
	.group = key_list_group,
	.encode = key_list_encode,
	.decoder_of = key_list_decoder_of,
	.expect = key_list_expect,
	.wanted_header = "Content-Length",
	.header = key_list_header,
	.head = key_list_head,
	.feed = key_list_feed,
	.finish = key_list_finish,
	.decoder_free = key_list_decoder_free,
	.release = key_list_free,
};

struct dialect *key_list_new(size_t max_calls)
{
	struct dialect *dialect = malloc(sizeof *dialect);
	if (!dialect)
		return NULL;
	*dialect = dialect_key_list;
	dialect->max_calls = max_calls < KEY_LIST_MAX ? max_calls : KEY_LIST_MAX;
	return dialect;
}

void key_list_free(struct dialect *dialect)
{
	free(dialect);
}
