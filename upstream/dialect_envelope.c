/*
 * dialect_envelope.c: reading with an envelope (envelope.h): finds the list in an answer while its bytes arrive, and
 * for each item the call it belongs to, its status, error and result. Writing is envelope_item.c's.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/json_split.h"
#include "upstream/envelope_private.h"

/* Looks for the list: follows a path through objects whose bytes are still arriving. */
struct finder {
	size_t at;                 /* bytes looked at so far */
	size_t key_start, key_end; /* the last string */
	size_t depth;              /* open brackets */
	size_t level;              /* open objects that are on the path */
	bool in_string, escaped;
	bool hit;   /* the next value is on the path */
	bool ended; /* the answer's value is over */
	bool found; /* at is the list's '[' */
};

struct envelope_decoder {
	struct dialect_decoder base;
	const struct envelope *envelope;
	uint64_t first_id;
	size_t count;
	size_t answered_count;
	size_t position; /* of the next item in the list */
	unsigned depth;  /* cap for one item */
	struct finder finder;
	size_t line;    /* NDJSON: where the line under way begins */
	size_t scanned; /* NDJSON: bytes looked at */
	bool list_ended;
	bool broken;             /* cannot be read on */
	struct json_split split; /* of the bytes from the list on */
	struct json_scratch scratch;
	struct json_fault fault; /* what: NULL while nothing was wrong; at: in the body */
	bool answered[];         /* by index */
};

/* What an item says; empty: absent. */
struct item {
	struct slice id, result, status, error;
	uint32_t retry_after_s;
};

static struct dialect_decoder *envelope_decoder_of(const struct dialect *dialect, size_t count, uint64_t first_id,
						   unsigned json_depth, const struct dialect_sink *sink)
{
	struct envelope_decoder *decoder = calloc(1, sizeof *decoder + count * sizeof(bool));
	if (!decoder)
		return NULL;
	decoder->base.dialect = dialect;
	decoder->base.sink = *sink;
	decoder->envelope = envelope_of(dialect);
	decoder->first_id = first_id;
	decoder->count = count;
	decoder->depth = json_depth + (unsigned)decoder->envelope->result.count;
	decoder->finder.hit = true;
	json_split_init(&decoder->split);
	return &decoder->base;
}

static void envelope_head(struct dialect_decoder *base, unsigned status, struct slice content_type,
			  uint32_t retry_after_s)
{
	(void)content_type; /* declared */
	base->status = status;
	base->retry_after_s = retry_after_s;
}

static bool failed_status(const struct envelope_decoder *decoder)
{
	return decoder->base.status < 200 || decoder->base.status >= 300;
}

static void emit(struct envelope_decoder *decoder, size_t index, struct answer *answer)
{
	decoder->answered[index] = true;
	decoder->answered_count++;
	dialect_emit(&decoder->base, index, answer);
}

/* --- an item --- */

/* A number, or a string of digits. */
static bool get_number(struct slice raw, uint64_t *number)
{
	if (raw.len >= 2 && json_type(raw) == JSON_STRING)
		raw = (struct slice){ raw.at + 1, raw.len - 2 };
	return raw.len && json_u64(raw, number);
}

static void read_item(const struct envelope *envelope, struct slice element, struct item *item)
{
	uint64_t seconds;
	*item = (struct item){ .id = envelope_at(element, &envelope->id, false),
			       .result = envelope_at(element, &envelope->result, false),
			       .status = envelope_at(element, &envelope->status, false),
			       .error = envelope_at(element, &envelope->error, false) };
	if (item->error.len && json_type(item->error) == JSON_NULL)
		item->error.len = 0;
	if (get_number(envelope_at(element, &envelope->retry_after, true), &seconds))
		item->retry_after_s = seconds < UINT32_MAX ? (uint32_t)seconds : UINT32_MAX;
}

static struct answer *broken_answer(const struct envelope_decoder *decoder, const char *what)
{
	return answer_upstream_error(OUTCOME_UPSTREAM_ERROR, decoder->base.status, 0, (struct slice){ NULL, 0 }, "%s",
				     what);
}

/* The item's own status says that it failed. */
static struct answer *status_answer(const struct envelope_decoder *decoder, const struct item *item, unsigned status)
{
	struct dialect_decoder alone = decoder->base;
	struct buf scratch = BUF_INIT(SIZE_MAX / 4);
	struct slice said = item->error.len ? item->error : item->result;
	alone.status = status;
	alone.retry_after_s = item->retry_after_s;
	struct answer *answer =
		dialect_status_answer(&alone, OUTCOME_TOOL_ERROR, dialect_said(said, decoder->depth, &scratch));
	buf_fini(&scratch);
	return answer;
}

static struct answer *tool_error(const struct envelope_decoder *decoder, const struct item *item)
{
	struct buf message = BUF_INIT(SIZE_MAX / 4);
	struct slice raw = item->error;
	if (json_type(raw) == JSON_OBJECT && !json_member(item->error, SLICE("message"), &raw) &&
	    !json_member(item->error, SLICE("reason"), &raw))
		raw = SLICE("\"\"");
	if (json_type(raw) == JSON_STRING)
		json_unescape(raw, &message);
	bool told = !message.failed && message.len;
	struct answer *answer = answer_upstream_error(OUTCOME_TOOL_ERROR, decoder->base.status, item->retry_after_s,
						      item->error, "the tool answered%s%s",
						      told ? ": " : " with an error", told ? buf_cstr(&message) : "");
	buf_fini(&message);
	return answer;
}

static void answer_call(struct envelope_decoder *decoder, size_t index, const struct item *item)
{
	const struct envelope *envelope = decoder->envelope;
	uint64_t status = 0;
	bool known = get_number(item->status, &status) && status >= 100 && status <= 599;
	if (decoder->answered[index])
		return; /* the first one counts */
	if (known && envelope_is_error(envelope, status))
		emit(decoder, index, status_answer(decoder, item, (unsigned)status));
	else if (item->error.len)
		emit(decoder, index, tool_error(decoder, item));
	else if (failed_status(decoder))
		return; /* finish answers by the status */
	else if (envelope->status.set && !known)
		emit(decoder, index, broken_answer(decoder, "the provider's answer has no status for this call"));
	else if (item->result.len)
		emit(decoder, index, answer_result(item->result, true, NULL));
	else if (known) /* 204 and the like */
		emit(decoder, index, answer_result(SLICE("null"), true, NULL));
	else
		emit(decoder, index, broken_answer(decoder, "the provider's answer has neither a result nor an error"));
}

/* Which call an id means; false: none of ours. */
static bool find_index(const struct envelope_decoder *decoder, struct slice id, size_t *index)
{
	uint64_t number;
	if (!get_number(id, &number) || number < decoder->first_id || number - decoder->first_id >= decoder->count)
		return false;
	*index = (size_t)(number - decoder->first_id);
	return true;
}

static void note_fault(struct envelope_decoder *decoder, const char *what, size_t at)
{
	if (!decoder->fault.what)
		decoder->fault = (struct json_fault){ .what = what, .at = at };
}

/* One complete item. A bad one is passed over: its neighbours are sound, its own call is found missing in the end. */
static void take_element(struct envelope_decoder *decoder, struct slice body, struct slice element)
{
	struct json_fault fault;
	struct item item;
	size_t index = decoder->position++;
	if (!json_check(element, decoder->depth, &decoder->scratch, &fault)) {
		note_fault(decoder, fault.what, (size_t)(element.at - body.at) + fault.at);
		return;
	}
	read_item(decoder->envelope, element, &item);
	if (decoder->envelope->by_id ? find_index(decoder, item.id, &index) : index < decoder->count)
		answer_call(decoder, index, &item);
}

/* --- finding the list --- */

static void in_string(struct finder *finder, char c)
{
	if (finder->escaped)
		finder->escaped = false;
	else if (c == '\\')
		finder->escaped = true;
	else if (c == '"') {
		finder->in_string = false;
		finder->key_end = finder->at + 1;
	}
}

static bool is_key(const struct finder *finder, const struct envelope_path *path, struct slice body)
{
	if (finder->depth != finder->level || finder->level == 0 || finder->level > path->count ||
	    finder->key_end < finder->key_start + 2)
		return false;
	struct slice key = { body.at + finder->key_start, finder->key_end - finder->key_start };
	return json_string_is(key, path->names[finder->level - 1]);
}

static void open_bracket(struct finder *finder, const struct envelope_path *path, char c)
{
	bool on_path = finder->hit;
	finder->hit = false;
	if (on_path && c == '[' && finder->level == path->count) {
		finder->found = true;
		return;
	}
	if (on_path && c == '{' && finder->level < path->count)
		finder->level++;
	finder->depth++;
}

static void close_bracket(struct finder *finder)
{
	if (finder->depth == finder->level && finder->level)
		finder->level--;
	if (finder->depth)
		finder->depth--;
	finder->ended = finder->depth == 0;
}

static void look_at(struct finder *finder, const struct envelope_path *path, struct slice body)
{
	char c = body.at[finder->at];
	switch (c) {
	case '"':
		finder->hit = false;
		finder->in_string = true;
		finder->key_start = finder->at;
		finder->key_end = 0;
		break;
	case ':':
		finder->hit = is_key(finder, path, body);
		break;
	case '{':
	case '[':
		open_bracket(finder, path, c);
		break;
	case '}':
	case ']':
		close_bracket(finder);
		break;
	case ' ':
	case '\t':
	case '\r':
	case '\n':
		break;
	default:
		finder->hit = false;
	}
}

/* True: finder->at is the list's first byte. */
static bool find_list(struct finder *finder, const struct envelope_path *path, struct slice body)
{
	while (!finder->found && !finder->ended && finder->at < body.len) {
		if (finder->in_string)
			in_string(finder, body.at[finder->at]);
		else
			look_at(finder, path, body);
		if (!finder->found)
			finder->at++;
	}
	return finder->found;
}

/* --- reading on --- */

static bool read_list(struct envelope_decoder *decoder, struct slice body, bool last)
{
	struct slice element;
	if (!find_list(&decoder->finder, &decoder->envelope->list, body))
		return true;
	struct slice list = { body.at + decoder->finder.at, body.len - decoder->finder.at };
	while (!decoder->list_ended && !decoder->broken) {
		switch (json_split_next(&decoder->split, list, last, decoder->depth + 1, &element)) {
		case JSON_SPLIT_MORE:
			return true;
		case JSON_SPLIT_ELEMENT:
			take_element(decoder, body, element);
			break;
		case JSON_SPLIT_END:
			decoder->list_ended = true;
			break;
		case JSON_SPLIT_BROKEN:
			/* behind the list's end, at what follows it in the object around it */
			decoder->list_ended = decoder->split.array && decoder->split.depth == 0;
			decoder->broken = !decoder->list_ended;
			if (decoder->broken)
				note_fault(decoder, "not JSON", decoder->finder.at + decoder->split.at);
			break;
		}
	}
	return !decoder->broken;
}

static void take_line(struct envelope_decoder *decoder, struct slice body, size_t end)
{
	struct slice line = json_trim((struct slice){ body.at + decoder->line, end - decoder->line });
	if (line.len)
		take_element(decoder, body, line);
	decoder->line = end;
}

static bool read_lines(struct envelope_decoder *decoder, struct slice body, bool last)
{
	while (decoder->scanned < body.len) {
		const char *newline = memchr(body.at + decoder->scanned, '\n', body.len - decoder->scanned);
		decoder->scanned = newline ? (size_t)(newline - body.at) + 1 : body.len;
		if (newline)
			take_line(decoder, body, decoder->scanned);
	}
	if (last)
		take_line(decoder, body, body.len);
	return true;
}

static bool read_on(struct envelope_decoder *decoder, struct slice body, bool last)
{
	if (decoder->envelope->answer_ndjson)
		return read_lines(decoder, body, last);
	return read_list(decoder, body, last);
}

static bool envelope_feed(struct dialect_decoder *base, struct slice body)
{
	return read_on(container_of(base, struct envelope_decoder, base), body, false);
}

/* --- the end --- */

/* An answer without the list: what it says instead concerns all calls. */
static struct answer *no_list_answer(const struct envelope_decoder *decoder, struct slice said)
{
	const char *list = decoder->envelope->settings->list;
	return answer_upstream_error(OUTCOME_UPSTREAM_ERROR, decoder->base.status, 0, said,
				     "the provider refused the request as a whole: its answer has no list %s%s",
				     strcmp(list, ".") == 0 ? "" : "at ", strcmp(list, ".") == 0 ? "" : list);
}

static struct answer *missing_answer(const struct envelope_decoder *decoder, struct slice body, struct buf *scratch)
{
	if (failed_status(decoder))
		return dialect_status_answer(&decoder->base, OUTCOME_UPSTREAM_ERROR,
					     dialect_said(body, decoder->depth, scratch));
	if (json_trim(body).len == 0)
		return broken_answer(decoder, "the provider's answer is empty");
	if (!decoder->envelope->answer_ndjson && !decoder->finder.found)
		return no_list_answer(decoder, dialect_said(body, decoder->depth, scratch));
	if (decoder->fault.what)
		return answer_upstream_error(OUTCOME_UPSTREAM_ERROR, decoder->base.status, 0, (struct slice){ NULL, 0 },
					     "the provider's answer cannot be read: %s at byte %zu",
					     decoder->fault.what, decoder->fault.at);
	return broken_answer(decoder, "the provider's answer has nothing for this call");
}

/* One answer for all calls that have none. */
static void emit_missing(struct envelope_decoder *decoder, struct slice body)
{
	struct buf scratch = BUF_INIT(SIZE_MAX / 4);
	struct answer *answer = missing_answer(decoder, body, &scratch);
	for (size_t i = 0; i < decoder->count; i++)
		if (!decoder->answered[i])
			emit(decoder, i, answer_ref(answer));
	answer_unref(answer);
	buf_fini(&scratch);
}

static enum outcome envelope_finish(struct dialect_decoder *base, struct slice body)
{
	struct envelope_decoder *decoder = container_of(base, struct envelope_decoder, base);
	read_on(decoder, body, true);
	bool some = decoder->answered_count > 0;
	if (decoder->answered_count < decoder->count)
		emit_missing(decoder, body);
	if (some && !decoder->broken)
		return OUTCOME_OK;
	if (failed_status(decoder))
		return dialect_status_outcome(base->status, OUTCOME_UPSTREAM_ERROR);
	return OUTCOME_UPSTREAM_ERROR;
}

static void envelope_decoder_free(struct dialect_decoder *base)
{
	if (!base)
		return;
	struct envelope_decoder *decoder = container_of(base, struct envelope_decoder, base);
	json_scratch_fini(&decoder->scratch);
	free(decoder);
}

const struct dialect dialect_envelope = {
	.name = "envelope",
	.max_calls = ENVELOPE_MAX_CALLS,
	.route_new = envelope_route_new,
	.route_free = envelope_route_free,
	.check = envelope_check,
	.encode = envelope_encode,
	.decoder_of = envelope_decoder_of,
	.head = envelope_head,
	.feed = envelope_feed,
	.finish = envelope_finish,
	.decoder_free = envelope_decoder_free,
};
