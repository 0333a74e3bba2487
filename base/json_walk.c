/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_walk.c: reading a text that json_check has accepted: members, elements, strings, integers. Nothing is checked
 * twice; every step stays in bounds and moves on whatever the bytes are.
 */
#include "base/json.h"

#include <sys/types.h>

#include "base/json_chars.h"

enum { MANY_ESCAPES = 8 };

static INLINED const char *skip_blanks(const char *p, const char *end)
{
	while (p < end && json_blank(*p))
		p++;
	return p;
}

#ifdef JSON_SSE2
enum { BLOCK = 64 };

/* What a block's bytes are, a bit each. */
struct block {
	uint64_t quotes, backslashes, opening, closing;
};

/* Where a container is skipped. */
struct skip {
	size_t open; /* brackets */
	bool in_string;
	uint64_t escaped; /* 1: the next byte is */
};

static uint64_t bytes_that_are(__m128i bytes, char c)
{
	return (uint64_t)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(c)));
}

static INLINED struct block read_block(const char *p)
{
	struct block block = { 0 };
	for (unsigned at = 0; at < BLOCK; at += 16) {
		__m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(p + at));
		__m128i brackets = _mm_or_si128(bytes, _mm_set1_epi8(0x20)); /* makes { of [ and } of ], of no other */
		block.quotes |= bytes_that_are(bytes, '"') << at;
		block.backslashes |= bytes_that_are(bytes, '\\') << at;
		block.opening |= bytes_that_are(brackets, '{') << at;
		block.closing |= bytes_that_are(brackets, '}') << at;
	}
	return block;
}

/* The bytes that a backslash stands before; one that is escaped itself escapes nothing. */
static uint64_t escaped_bytes(struct skip *skip, uint64_t backslashes)
{
	uint64_t escaped = skip->escaped;
	skip->escaped = 0;
	for (backslashes &= ~escaped; backslashes;) {
		uint64_t first = backslashes & -backslashes;
		escaped |= first << 1;
		skip->escaped = first >> (BLOCK - 1);
		backslashes &= ~(first | first << 1);
	}
	return escaped;
}

/* The rest of a string that has many escapes, which would stop a search for each. p: no byte that is escaped. */
static const char *skip_escapes(const char *p, const char *end, bool *closed)
{
	struct skip skip = { 0 };
	*closed = true;
	for (; end - p >= BLOCK; p += BLOCK) {
		struct block block = read_block(p);
		uint64_t quotes = block.quotes & ~escaped_bytes(&skip, block.backslashes);
		if (quotes)
			return p + __builtin_ctzll(quotes) + 1;
	}
	*closed = false;
	return p < end ? p + skip.escaped : end;
}
#else
static const char *skip_escapes(const char *p, const char *end, bool *closed)
{
	(void)end;
	*closed = false;
	return p;
}
#endif

/* p: the first backslash of a string. Returns behind the closing quote. */
static const char *skip_escaped(const char *p, const char *end)
{
	bool closed = false;
	int escapes = 0;
	for (; p < end && *p == '\\'; p = json_quote_or_backslash(p, end)) {
		p += end - p > 1 ? 2 : 1;
		if (++escapes == MANY_ESCAPES)
			p = skip_escapes(p, end, &closed);
		if (closed)
			return p;
	}
	return p < end ? p + 1 : end;
}

/* p: behind the opening quote. Returns behind the closing one. */
static INLINED const char *skip_string(const char *p, const char *end)
{
	p = json_quote_or_backslash(p, end);
	if (p < end && *p == '\\')
		return skip_escaped(p, end);
	return p < end ? p + 1 : end;
}

#ifdef JSON_SSE2
/* From each opening quote up to its closing one: the sum, without carry, of all quotes so far (Langdale, Lemire:
 * "Parsing gigabytes of JSON per second", 2019). */
static uint64_t bytes_in_strings(struct skip *skip, uint64_t quotes)
{
	uint64_t inside = quotes;
	for (unsigned width = 1; width < BLOCK; width *= 2)
		inside ^= inside << width;
	if (skip->in_string)
		inside = ~inside;
	skip->in_string = inside >> (BLOCK - 1);
	return inside;
}

/* Of four bytes, by which of them open (bits 4 to 7) and close (bits 0 to 3): how many more are open behind them, and the
 * least on the way. */
#define AFTER1(o, c) (((o)&1) - ((c)&1))
#define AFTER2(o, c) (AFTER1(o, c) + AFTER1((o) >> 1, (c) >> 1))
#define AFTER3(o, c) (AFTER2(o, c) + AFTER1((o) >> 2, (c) >> 2))
#define AFTER4(o, c) (AFTER3(o, c) + AFTER1((o) >> 3, (c) >> 3))
#define LESS(a, b) ((a) < (b) ? (a) : (b))
#define STEP(o, c)                                                                                                     \
	{                                                                                                              \
		AFTER4(o, c), LESS(LESS(AFTER1(o, c), AFTER2(o, c)), LESS(AFTER3(o, c), AFTER4(o, c)))                 \
	}
#define STEPS4(o, c) STEP(o, c), STEP(o, (c) + 1), STEP(o, (c) + 2), STEP(o, (c) + 3)
#define STEPS16(o) STEPS4(o, 0), STEPS4(o, 4), STEPS4(o, 8), STEPS4(o, 12)
#define STEPS64(o) STEPS16(o), STEPS16((o) + 1), STEPS16((o) + 2), STEPS16((o) + 3)
static const struct {
	int8_t more, least;
} bracket_steps[256] = { STEPS64(0), STEPS64(4), STEPS64(8), STEPS64(12) };

/* Whether some bracket stays open all through the block: then they are counted, four bytes at a time. */
static bool stays_open(struct skip *skip, uint64_t opening, uint64_t closing)
{
	size_t open = skip->open;
	for (unsigned at = 0; at < BLOCK; at += 4) {
		unsigned step = (unsigned)(opening >> at & 15) << 4 | (unsigned)(closing >> at & 15);
		if ((ssize_t)open + bracket_steps[step].least <= 0)
			return false;
		open += (size_t)(ssize_t)bracket_steps[step].more;
	}
	skip->open = open;
	return true;
}

/* Take the brackets in their order. Returns the bytes up to behind the last one of all, or the whole block. */
static size_t count_brackets(struct skip *skip, uint64_t opening, uint64_t closing)
{
	if (stays_open(skip, opening, closing))
		return BLOCK;
	for (uint64_t left = opening | closing; left; left &= left - 1) {
		skip->open += left & -left & opening ? 1 : SIZE_MAX;
		if (skip->open == 0)
			return (size_t)__builtin_ctzll(left) + 1;
	}
	return BLOCK;
}

/* Whole blocks, as long as there are any and a bracket is open; then out of the string that this ended in. */
static const char *skip_blocks(const char *p, const char *end, size_t *open)
{
	struct skip skip = { .open = *open };
	while (skip.open && end - p >= BLOCK) {
		struct block block = read_block(p);
		uint64_t quotes = block.quotes & ~escaped_bytes(&skip, block.backslashes);
		uint64_t outside = ~bytes_in_strings(&skip, quotes);
		uint64_t opening = block.opening & outside, closing = block.closing & outside;
		size_t more = (size_t)__builtin_popcountll(opening), less = (size_t)__builtin_popcountll(closing);
		if (less < skip.open) {
			skip.open += more - less;
			p += BLOCK;
		} else {
			p += count_brackets(&skip, opening, closing);
		}
	}
	*open = skip.open;
	return skip.open && skip.in_string ? skip_string(p + skip.escaped, end) : p;
}
#endif

/* As far as `until`, or the end of a string that goes on behind it. p: outside of strings. */
static INLINED const char *skip_bytes(const char *p, const char *until, const char *end, size_t *open)
{
	while (*open && p < until) {
		char c = *p++;
		if (c == '"')
			p = skip_string(p, end);
		else if (c == '{' || c == '[')
			++*open;
		else if (c == '}' || c == ']')
			--*open;
	}
	return p;
}

/* p: behind the opening bracket. Returns behind the one that closes it. */
static const char *skip_container(const char *p, const char *end)
{
	size_t open = 1;
#ifdef JSON_SSE2
	if (end - p > BLOCK) { /* most are small, and done with before a block would pay */
		p = skip_bytes(p, p + BLOCK, end, &open);
		p = skip_blocks(p, end, &open);
	}
#endif
	return skip_bytes(p, end, end, &open);
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

/* The same of a string's body that is longer than the text: some of it has to be escapes. */
static APART bool means_text(struct slice body, struct slice text)
{
	const char *p = body.at, *end = p + body.len;
	size_t seen = 0;
	if (!memchr(p, '\\', body.len))
		return false;
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

/* Names are looked for by asking this of one after the other: most that are another one differ in length or first byte. */
bool json_string_is(struct slice raw, struct slice text)
{
	struct slice body = string_body(raw);
	if (body.len < text.len)
		return false; /* escapes are longer than what they mean */
	if (text.len && *body.at != *text.at && *body.at != '\\')
		return false;
	if (body.len > text.len)
		return means_text(body, text);
	return slice_equal(body, text) && !memchr(body.at, '\\', body.len);
}

/* The bytes up to the first backslash go to `to`, which has room for all. Returns where it stands, or `end`. */
static const char *copy_plain(const char *p, const char *end, char **to)
{
#ifdef JSON_SSE2
	for (; end - p >= 16; p += 16, *to += 16) {
		__m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
		_mm_storeu_si128((__m128i *)(void *)*to, bytes); /* what is too much is written over */
		unsigned stops = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')));
		if (stops) {
			*to += __builtin_ctz(stops);
			return p + __builtin_ctz(stops);
		}
	}
#endif
	while (p < end && *p != '\\')
		*(*to)++ = *p++;
	return p;
}

/* Nothing is longer for being decoded. */
size_t json_unescape_to(struct slice raw, char *to)
{
	struct slice body = string_body(raw);
	const char *p = body.at, *end = p + body.len, *from = to;
	while ((p = copy_plain(p, end, &to)) < end) {
		char decoded[4], letter = end - p > 1 ? json_escape_letter(p[1]) : '\0';
		size_t len;
		if (letter) { /* nearly all of them, and a text may have a million */
			*to++ = letter;
			p += 2;
			continue;
		}
		p += decode_escape(p, end, decoded, &len);
		memcpy(to, decoded, len);
		to += len;
	}
	return (size_t)(to - from);
}

void json_unescape(struct slice raw, struct buf *out)
{
	struct slice body = string_body(raw);
	const char *p = body.at, *end = p + body.len, *backslash;
	if (!body.len)
		return;
	if (body.len <= out->max - out->len && buf_reserve(out, body.len)) {
		out->len += json_unescape_to(raw, out->store->bytes + out->len);
		return;
	}
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
