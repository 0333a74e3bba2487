/* SPDX-License-Identifier: Apache-2.0 */
/* log_line.c: a line's bytes, escaped, in either form. */
#include "base/log_private.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"

enum {
	END_ROOM = 24,   /* kept free behind the fields for truncated=true and the line's end */
	NUMBER_ROOM = 24 /* the longest number, and quotes */
};

static const char *const level_words[] = { "error", "warn", "info", "debug" };

static bool is_json(const struct log_line *line)
{
	return line->text[0] == '{';
}

static bool has_room(const struct log_line *line, size_t more)
{
	return more <= LOG_LINE_BYTES - END_ROOM - line->len;
}

static void put_bytes(struct log_line *line, const char *at, size_t len)
{
	memcpy(line->text + line->len, at, len);
	line->len += len;
}

static void put_text(struct log_line *line, const char *text)
{
	put_bytes(line, text, strlen(text));
}

static void put_digits(struct log_line *line, uint64_t number, size_t width)
{
	static const char pairs[] =
		"00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
		"49505152535455565758596061626364656667686970717273747576777879808182838485868788899091929394959697"
		"9899";
	char digits[20] UNCLEARED;
	char *end = digits + sizeof digits, *at = end;
	for (; number >= 10; number /= 100) {
		at -= 2;
		memcpy(at, pairs + number % 100 * 2, 2);
	}
	if (number > 0 || at == end)
		*--at = (char)('0' + number);
	while ((size_t)(end - at) < width)
		*--at = '0';
	put_bytes(line, at, (size_t)(end - at));
}

/* 2026-11-21T03:20:00. By arithmetic (days to civil date, after Howard Hinnant), because gmtime_r takes a lock that all
 * threads share. */
static void put_second(struct log_line *line, uint64_t seconds)
{
	uint64_t in_day = seconds % 86400;
	uint64_t day = seconds / 86400 + 719468; /* since 1 March of year 0 */
	uint64_t era = day / 146097, day_of_era = day % 146097;
	uint64_t year = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	uint64_t day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
	uint64_t month = (5 * day_of_year + 2) / 153; /* 0: March */
	const struct {
		uint64_t number;
		size_t width;
		char after;
	} parts[] = {
		{ era * 400 + year + (month >= 10), 4, '-' },
		{ month < 10 ? month + 3 : month - 9, 2, '-' },
		{ day_of_year - (153 * month + 2) / 5 + 1, 2, 'T' },
		{ in_day / 3600, 2, ':' },
		{ in_day / 60 % 60, 2, ':' },
		{ in_day % 60, 2, '.' },
	};
	for (size_t i = 0; i < countof(parts); i++) {
		put_digits(line, parts[i].number, parts[i].width);
		put_bytes(line, &parts[i].after, 1);
	}
}

/* 2026-11-21T03:20:00.123456Z. A thread's lines are mostly of the second of the one before. */
static void put_time(struct log_line *line, uint64_t wall_us)
{
	static _Thread_local struct {
		uint64_t second;
		size_t len; /* 0: none yet */
		char text[32];
	} last;
	uint64_t second = wall_us / CLOCK_US_PER_S;
	size_t before = line->len;
	if (last.len && last.second == second) {
		put_bytes(line, last.text, last.len);
	} else {
		put_second(line, second);
		last.second = second;
		last.len = line->len - before;
		memcpy(last.text, line->text + before, last.len);
	}
	put_digits(line, wall_us % CLOCK_US_PER_S, 6);
	put_bytes(line, "Z", 1);
}

/* Bytes that stand for themselves, whatever is beside them; and those of them that a logfmt value would be misread with. */
enum { PLAIN = 1, PLAIN_IF_QUOTED = 2 };
static const unsigned char plain[256] = {
	[' '] = PLAIN_IF_QUOTED, ['!'] = PLAIN,         ['#' ... '<'] = PLAIN,
	['='] = PLAIN_IF_QUOTED, ['>' ... '['] = PLAIN, [']' ... '~'] = PLAIN,
};

/* How many of those the value begins with; of which kinds is added to `kinds`. Each byte of most lines is asked so: by fours. */
static size_t count_plain(struct slice value, unsigned *kinds)
{
	const unsigned char *at = (const unsigned char *)value.at, *end = at + value.len;
	unsigned found = 0;
	for (; end - at >= 4 && plain[at[0]] && plain[at[1]] && plain[at[2]] && plain[at[3]]; at += 4)
		found |= plain[at[0]] | plain[at[1]] | plain[at[2]] | plain[at[3]];
	for (; at < end && plain[*at]; at++)
		found |= plain[*at];
	*kinds |= found;
	return value.len - (size_t)(end - at);
}

/* One character of a value, escaped: the bytes consumed. What a terminal or a reader of lines could take for more
 * than text is written \u: control characters (DEL and the C1 block too) and the Unicode line ends. */
static size_t escape_byte(const char *at, size_t left, char out[8], size_t *out_len)
{
	static const char short_forms[] = { ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't', ['"'] = '"', ['\\'] = '\\' };
	unsigned char c = (unsigned char)at[0];
	size_t len = utf8_char(at, left);
	unsigned code = 0;
	if (len == 0)
		code = 0xFFFD;
	else if (c < sizeof short_forms && short_forms[c]) {
		out[0] = '\\';
		out[1] = short_forms[c];
		*out_len = 2;
		return 1;
	} else if (c < 0x20 || c == 0x7F)
		code = c;
	else if (c == 0xC2 && (unsigned char)at[1] < 0xA0)
		code = (unsigned char)at[1];
	else if (c == 0xE2 && at[1] == '\x80' && (at[2] == '\xA8' || at[2] == '\xA9'))
		code = at[2] == '\xA8' ? 0x2028 : 0x2029;
	if (len == 0 || code || c == 0) {
		*out_len = (size_t)snprintf(out, 8, "\\u%04x", code);
		return len ? len : 1;
	}
	memcpy(out, at, len);
	*out_len = len;
	return len;
}

/* Whether a logfmt value would be misread without quotes. */
static bool needs_quotes(struct slice value)
{
	bool empty = value.len == 0;
	while (value.len > 0) {
		char out[8];
		unsigned kinds = 0;
		size_t out_len, step = count_plain(value, &kinds);
		if (kinds & PLAIN_IF_QUOTED)
			return true;
		if (step == value.len)
			return false;
		value = (struct slice){ value.at + step, value.len - step };
		step = escape_byte(value.at, value.len, out, &out_len);
		if (out_len != step)
			return true;
		value = (struct slice){ value.at + step, value.len - step };
	}
	return empty;
}

/* The field's name. False when the line is full: then it and all later fields are left out. */
static bool put_name(struct log_line *line, const char *name)
{
	size_t len = strlen(name);
	if (line->truncated || !has_room(line, len + 4 + NUMBER_ROOM)) {
		line->truncated = true;
		return false;
	}
	bool json = is_json(line);
	char *to = line->text + line->len;
	*to++ = json ? ',' : ' ';
	if (json)
		*to++ = '"';
	memcpy(to, name, len);
	to += len;
	if (json)
		*to++ = '"';
	*to++ = json ? ':' : '=';
	line->len = (size_t)(to - line->text);
	return true;
}

/* A value that stands for itself. False: it does not fit whole. */
static bool put_value(struct log_line *line, struct slice value, bool quoted)
{
	if (!has_room(line, value.len + 2))
		return false;
	char *to = line->text + line->len;
	if (quoted)
		*to++ = '"';
	memcpy(to, value.at, value.len);
	to += value.len;
	if (quoted)
		*to++ = '"';
	line->len = (size_t)(to - line->text);
	return true;
}

/* What it begins with that stands for itself. False: the line is full, and the value is cut here. */
static bool put_plain(struct log_line *line, struct slice *value)
{
	unsigned kinds = 0;
	size_t count = count_plain(*value, &kinds), room = LOG_LINE_BYTES - END_ROOM - line->len - 1;
	bool all = count <= room;
	put_bytes(line, value->at, all ? count : room);
	*value = (struct slice){ value->at + count, value->len - count };
	return all;
}

void log_text(struct log_line *line, const char *name, struct slice value)
{
	unsigned kinds = 0;
	if (!put_name(line, name))
		return;
	bool whole = value.len > 0 && count_plain(value, &kinds) == value.len;
	if (whole && put_value(line, value, is_json(line) || (kinds & PLAIN_IF_QUOTED)))
		return;
	bool quoted = is_json(line) || needs_quotes(value);
	if (quoted)
		put_bytes(line, "\"", 1);
	while (value.len > 0) {
		char out[8];
		line->truncated = !put_plain(line, &value);
		if (line->truncated || value.len == 0)
			break;
		size_t out_len, step = escape_byte(value.at, value.len, out, &out_len);
		if (!has_room(line, out_len + 1)) {
			line->truncated = true; /* the value is cut here, and nothing follows it */
			break;
		}
		put_bytes(line, out, out_len);
		value = (struct slice){ value.at + step, value.len - step };
	}
	if (quoted)
		put_bytes(line, "\"", 1);
}

void log_cstr(struct log_line *line, const char *name, const char *value)
{
	if (value)
		log_text(line, name, slice_of(value));
}

void log_word(struct log_line *line, const char *name, const char *word)
{
	if (put_name(line, name) && !put_value(line, slice_of(word), is_json(line)))
		assert(!"behind a name there is room for any word");
}

/* Level and event. A thread's lines are mostly of the event of the one before. At a line's begin there is room. */
static void put_event(struct log_line *line, const struct log_event *event)
{
	static _Thread_local struct {
		const char *name; /* not the event, which may be somebody's who has it on the stack */
		enum log_level level;
		bool json;
		size_t len;
		char text[80];
	} last;
	size_t before = line->len;
	if (last.name == event->name && last.level == event->level && last.json == is_json(line)) {
		put_bytes(line, last.text, last.len);
		return;
	}
	log_word(line, "level", level_words[event->level]);
	log_word(line, "event", event->name);
	assert(!line->truncated && line->len - before <= sizeof last.text);
	last.name = event->name;
	last.level = event->level;
	last.json = is_json(line);
	last.len = line->len - before;
	memcpy(last.text, line->text + before, last.len);
}

void log_u64(struct log_line *line, const char *name, uint64_t value)
{
	if (put_name(line, name))
		put_digits(line, value, 1);
}

void log_seconds(struct log_line *line, const char *name, uint64_t value_us)
{
	if (!put_name(line, name))
		return;
	put_digits(line, value_us / CLOCK_US_PER_S, 1);
	put_bytes(line, ".", 1);
	put_digits(line, value_us % CLOCK_US_PER_S, 6);
}

#define X(ID, NAME, LEVEL, FIELDS, WHEN) const struct log_event EVENT_##ID = { LOG_LEVEL_##LEVEL, NAME };
LOG_EVENTS(X)
#undef X

void log_line_start(struct log_line *line, const struct log_event *event, enum log_format format)
{
	bool json = format == LOG_FORMAT_JSON;
	line->len = 0;
	line->truncated = false;
	put_text(line, json ? "{\"ts\":\"" : "ts=");
	put_time(line, clock_wall_us());
	put_text(line, json ? "\"" : "");
	put_event(line, event);
}

void log_line_finish(struct log_line *line)
{
	bool json = is_json(line);
	if (line->truncated)
		put_text(line, json ? ",\"truncated\":true" : " truncated=true");
	put_text(line, json ? "}\n" : "\n");
	assert(line->len <= LOG_LINE_BYTES);
}
