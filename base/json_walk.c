/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_walk.c: reading a text that json_check has accepted: members, elements, strings, integers. Nothing is checked
 * twice; every step stays in bounds and moves on whatever the bytes are.
 */
#include "base/json.h"

#include "base/json_chars.h"

static const char *skip_blanks(const char *p, const char *end)
{
	while (p < end && json_blank(*p))
		p++;
	return p;
}

/* p: behind the opening quote. Returns behind the closing one. */
static const char *skip_string(const char *p, const char *end)
{
	while ((p = json_quote_or_backslash(p, end)) < end && *p == '\\')
		p += end - p > 1 ? 2 : 1;
	return p < end ? p + 1 : end;
}

/* p: behind the opening bracket. Returns behind the one that closes it. */
static const char *skip_container(const char *p, const char *end)
{
	for (size_t open = 1; open && p < end;) {
		char c = *p++;
		if (c == '"')
			p = skip_string(p, end);
		else if (c == '{' || c == '[')
			open++;
		else if (c == '}' || c == ']')
			open--;
	}
	return p;
}

/* p: the value's first byte, before `end`. Returns behind its last; always further than p. */
static const char *skip_value(const char *p, const char *end)
{
	char first = *p++;
	if (first == '"')
		return skip_string(p, end);
	if (first == '{' || first == '[')
		return skip_container(p, end);
	while (p < end && *p != ',' && *p != '}' && *p != ']' && !json_blank(*p))
		p++;
	return p;
}

/* To the first byte of the next name or element. False at the end. */
static bool next_item(struct json_walk *walk)
{
	walk->at = skip_blanks(walk->at, walk->end);
	if (walk->at < walk->end && *walk->at == ',')
		walk->at = skip_blanks(walk->at + 1, walk->end);
	return walk->at < walk->end;
}

/* Take the value that begins at walk->at. */
static struct slice take_value(struct json_walk *walk)
{
	const char *from = walk->at;
	walk->at = skip_value(from, walk->end);
	return (struct slice){ from, (size_t)(walk->at - from) };
}

struct slice json_trim(struct slice text)
{
	if (text.len == 0)
		return text;
	const char *end = text.at + text.len, *at = skip_blanks(text.at, end);
	while (end > at && json_blank(end[-1]))
		end--;
	return (struct slice){ at, (size_t)(end - at) };
}

enum json_type json_type(struct slice value)
{
	switch (value.len ? value.at[0] : 'n') {
	case '{':
		return JSON_OBJECT;
	case '[':
		return JSON_ARRAY;
	case '"':
		return JSON_STRING;
	case 't':
		return JSON_TRUE;
	case 'f':
		return JSON_FALSE;
	case 'n':
		return JSON_NULL;
	default:
		return JSON_NUMBER;
	}
}

struct json_walk json_walk(struct slice value)
{
	value = json_trim(value);
	if (value.len < 2)
		return (struct json_walk){ value.at, value.at };
	return (struct json_walk){ value.at + 1, value.at + value.len - 1 };
}

bool json_next_member(struct json_walk *walk, struct slice *raw_name, struct slice *value)
{
	if (!next_item(walk) || *walk->at != '"')
		return false;
	*raw_name = take_value(walk);
	walk->at = skip_blanks(walk->at, walk->end);
	if (walk->at == walk->end || *walk->at != ':')
		return false;
	walk->at = skip_blanks(walk->at + 1, walk->end);
	if (walk->at == walk->end)
		return false;
	*value = take_value(walk);
	return true;
}

bool json_next_element(struct json_walk *walk, struct slice *value)
{
	if (!next_item(walk))
		return false;
	*value = take_value(walk);
	return true;
}

bool json_member(struct slice object, struct slice name, struct slice *value)
{
	struct json_walk walk = json_walk(object);
	struct slice raw_name, found;
	while (json_next_member(&walk, &raw_name, &found)) {
		if (json_string_is(raw_name, name)) {
			*value = found;
			return true;
		}
	}
	return false;
}

/* Without the quotes. */
static struct slice string_body(struct slice raw)
{
	return raw.len < 2 ? (struct slice){ "", 0 } : (struct slice){ raw.at + 1, raw.len - 2 };
}

/* Decode the escape at `p` into UTF-8. Returns the bytes read; what is no escape stands for itself. */
static size_t decode_escape(const char *p, const char *end, char to[4], size_t *len)
{
	uint32_t code;
	size_t read = json_escape_read(p, end, &code);
	if (read == 0) {
		code = '\\';
		read = 1;
	}
	*len = json_utf8_write(to, code);
	return read;
}

size_t json_count(struct slice array)
{
	struct slice element;
	struct json_walk walk = json_walk(array);
	size_t count = 0;
	while (json_next_element(&walk, &element))
		count++;
	return count;
}

bool json_string_is(struct slice raw, struct slice text)
{
	struct slice body = string_body(raw);
	const char *p = body.at, *end = p + body.len;
	if (body.len < text.len)
		return false; /* escapes are longer than what they mean */
	if (body.len == text.len)
		return slice_equal(body, text) && !memchr(p, '\\', body.len);
	if ((text.len && *p != '\\' && *p != *text.at) || !memchr(p, '\\', body.len))
		return false;
	size_t seen = 0;
	while (p < end) {
		char decoded[4] = { *p };
		size_t len = 1;
		p += *p == '\\' ? decode_escape(p, end, decoded, &len) : 1;
		if (len > text.len - seen || memcmp(text.at + seen, decoded, len) != 0)
			return false;
		seen += len;
	}
	return seen == text.len;
}

void json_unescape(struct slice raw, struct buf *out)
{
	struct slice body = string_body(raw);
	const char *p = body.at, *end = p + body.len, *backslash;
	while (p < end && (backslash = memchr(p, '\\', (size_t)(end - p)))) {
		char decoded[4];
		size_t len;
		buf_put(out, (struct slice){ p, (size_t)(backslash - p) });
		p = backslash + decode_escape(backslash, end, decoded, &len);
		buf_put(out, (struct slice){ decoded, len });
	}
	buf_put(out, (struct slice){ p, (size_t)(end - p) });
}

bool json_u64(struct slice raw, uint64_t *number)
{
	uint64_t sum = 0;
	if (raw.len == 0 || (raw.len > 1 && raw.at[0] == '0'))
		return false;
	for (size_t i = 0; i < raw.len; i++) {
		if (raw.at[i] < '0' || raw.at[i] > '9')
			return false;
		if (__builtin_mul_overflow(sum, 10, &sum) ||
		    __builtin_add_overflow(sum, (uint64_t)(raw.at[i] - '0'), &sum))
			return false;
	}
	*number = sum;
	return true;
}

void json_put_members_except(struct buf *out, struct slice object, const struct slice *names, size_t name_count)
{
	struct json_walk walk = json_walk(object);
	struct slice name, value;
	while (json_next_member(&walk, &name, &value)) {
		size_t i = 0;
		while (i < name_count && !json_string_is(name, names[i]))
			i++;
		if (i < name_count)
			continue;
		buf_put_char(out, ',');
		buf_put(out, name);
		buf_put_char(out, ':');
		buf_put(out, value);
	}
}
