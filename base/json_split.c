/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_split.c: finds the elements of an array while it arrives. A machine over the bytes that have not been looked at
 * yet; all it remembers is in struct json_split, so no byte is looked at twice.
 */
#include "base/json_split.h"

#include "base/json.h"
#include "base/json_chars.h"

enum state {
	STATE_BEGIN,   /* nothing but blanks so far */
	STATE_FIRST,   /* behind the array's bracket: an element or its end */
	STATE_ELEMENT, /* behind a comma: an element */
	STATE_NESTED,  /* within a string, object or array */
	STATE_SCALAR,  /* within a number or literal */
	STATE_AFTER,   /* behind an element: a comma or the array's end */
	STATE_DONE,    /* behind the top-level value */
	STATE_BROKEN
};

void json_split_init(struct json_split *split)
{
	*split = (struct json_split){ .state = STATE_BEGIN };
}

static enum json_split_event break_off(struct json_split *split)
{
	split->state = STATE_BROKEN;
	return JSON_SPLIT_BROKEN;
}

static void skip_blanks(struct json_split *split, struct slice text)
{
	while (split->at < text.len && json_blank(text.at[split->at]))
		split->at++;
}

/* The value under way ends here: hand it out. */
static enum json_split_event yield_element(struct json_split *split, struct slice text, struct slice *element)
{
	*element = json_trim((struct slice){ text.at + split->start, split->at - split->start });
	split->state = split->array ? STATE_AFTER : STATE_DONE;
	return JSON_SPLIT_ELEMENT;
}

/* One more bracket is open. False when that is too deep. */
static bool open_bracket(struct json_split *split, unsigned max_depth)
{
	if (split->depth >= max_depth)
		return false;
	split->depth++;
	return true;
}

/* Within a string: go behind its closing quote, or to the end of what there is. */
static void skip_string(struct json_split *split, struct slice text)
{
	const char *end = text.at + text.len, *p = text.at + split->at;
	while (p < end && split->in_string) {
		if (split->escaped) {
			split->escaped = false;
			p++;
			continue;
		}
		p = json_quote_or_backslash(p, end);
		if (p == end)
			break;
		split->escaped = *p == '\\';
		split->in_string = split->escaped;
		p++;
	}
	split->at = (size_t)(p - text.at);
}

/* One byte within an object or array, outside of its strings. False: nested too deeply. */
static bool step_nested(struct json_split *split, char c, unsigned max_depth)
{
	if (c == '"')
		split->in_string = true;
	else if (c == '[' || c == '{')
		return open_bracket(split, max_depth);
	else if (c == ']' || c == '}')
		split->depth--;
	return true;
}

static enum json_split_event in_nested(struct json_split *split, struct slice text, unsigned max_depth,
				       struct slice *element)
{
	uint32_t outside = split->array ? 1 : 0;
	for (;;) {
		if (split->in_string)
			skip_string(split, text);
		if (!split->in_string && split->depth == outside)
			return yield_element(split, text, element);
		if (split->at == text.len)
			return JSON_SPLIT_MORE;
		if (!step_nested(split, text.at[split->at++], max_depth))
			return break_off(split);
	}
}

static enum json_split_event in_scalar(struct json_split *split, struct slice text, bool last, struct slice *element)
{
	for (; split->at < text.len; split->at++) {
		char c = text.at[split->at];
		if (split->array && (c == ',' || c == ']' || json_blank(c)))
			return yield_element(split, text, element);
		if (c == '"' || c == '[' || c == '{' || c == ']' || c == '}' || c == ',')
			return break_off(split);
	}
	if (split->array || !last)
		return JSON_SPLIT_MORE;
	return yield_element(split, text, element);
}

/* The first byte of a value. False: it cannot be one, or is nested too deeply. */
static bool begin_value(struct json_split *split, char first, unsigned max_depth)
{
	split->start = split->at;
	split->in_string = first == '"';
	split->state = STATE_NESTED;
	if (first == '[' || first == '{') {
		if (!open_bracket(split, max_depth))
			return false;
	} else if (!split->in_string) {
		split->state = STATE_SCALAR;
		return first != ']' && first != '}' && first != ',' && first != ':';
	}
	split->at++;
	return true;
}

/* The first byte of all. */
static bool begin_text(struct json_split *split, char first, unsigned max_depth)
{
	if (first != '[')
		return begin_value(split, first, max_depth);
	split->array = true;
	split->state = STATE_FIRST;
	split->at++;
	return open_bracket(split, max_depth);
}

static bool behind_element(struct json_split *split, char c)
{
	split->at++;
	split->state = c == ',' ? STATE_ELEMENT : STATE_DONE;
	if (c == ']')
		split->depth--;
	return c == ',' || c == ']';
}

/* The first byte that is no blank, where no value is under way. False: it cannot be JSON. */
static bool step_between(struct json_split *split, char c, unsigned max_depth)
{
	switch ((enum state)split->state) {
	case STATE_BEGIN:
		return begin_text(split, c, max_depth);
	case STATE_FIRST:
		if (c == ']')
			return behind_element(split, c);
		return begin_value(split, c, max_depth);
	case STATE_ELEMENT:
		return begin_value(split, c, max_depth);
	case STATE_AFTER:
		return behind_element(split, c);
	default:
		return false;
	}
}

enum json_split_event json_split_next(struct json_split *split, struct slice text, bool last, unsigned max_depth,
				      struct slice *element)
{
	while (split->state != STATE_BROKEN) {
		enum json_split_event event = JSON_SPLIT_MORE;
		if (split->state == STATE_NESTED)
			event = in_nested(split, text, max_depth, element);
		else if (split->state == STATE_SCALAR)
			event = in_scalar(split, text, last, element);
		else
			skip_blanks(split, text);
		if (event != JSON_SPLIT_MORE)
			return event;
		if (split->at == text.len) {
			if (split->state == STATE_DONE)
				return JSON_SPLIT_END;
			return last ? break_off(split) : JSON_SPLIT_MORE;
		}
		if (!step_between(split, text.at[split->at], max_depth))
			return break_off(split);
	}
	return JSON_SPLIT_BROKEN;
}

bool json_split_within(const struct json_split *split)
{
	return split->state == STATE_NESTED || split->state == STATE_SCALAR;
}
