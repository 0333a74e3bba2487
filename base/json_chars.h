/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_chars.h: the characters of a JSON string, one step at a time: runs of plain bytes, escapes. For the rest of
 * UTF-8 see utf8.h.
 * Private to base/json*.c. Every step is in bounds whatever the bytes are.
 */
#ifndef JITNEY_BASE_JSON_CHARS_H
#define JITNEY_BASE_JSON_CHARS_H

#include <stdint.h>
#include <string.h>

#include "base/compiler.h"

/* JSON_PORTABLE takes the fallback on every machine, so that it can be tested on this one. */
#if defined(__SSE2__) && !defined(JSON_PORTABLE)
#define JSON_SSE2
#include <emmintrin.h>
#endif

/* Stands between tokens. Most bytes do not, and are told so by the first comparison. */
static inline bool json_blank(char c)
{
	return (unsigned char)c <= ' ' && (c == ' ' || c == '\n' || c == '\t' || c == '\r');
}

/* Neither quote, backslash nor control, and ASCII. */
static inline bool json_plain(char c)
{
	unsigned char byte = (unsigned char)c;
	return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

/* `byte` in each of the eight bytes. */
static inline uint64_t json_spread(unsigned char byte)
{
	return UINT64_C(0x0101010101010101) * byte;
}

/* Whether a byte of `word` is zero. */
static inline bool json_has_zero(uint64_t word)
{
	return ((word - json_spread(0x01)) & ~word & json_spread(0x80)) != 0;
}

/* The first byte from p on that is not plain, or `end`. */
static inline const char *json_plain_end(const char *p, const char *end)
{
#ifdef JSON_SSE2
	for (; end - p >= 16; p += 16) {
		__m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
		__m128i marks = _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')),
					     _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')));
		/* a signed comparison: bytes from 0x80 on are negative, and so below the blank too */
		unsigned stops =
			(unsigned)_mm_movemask_epi8(_mm_or_si128(marks, _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20))));
		if (stops)
			return p + __builtin_ctz(stops);
	}
#else
	for (; end - p >= 8; p += 8) {
		uint64_t word;
		memcpy(&word, p, sizeof word);
		if ((word & json_spread(0x80)) || ((word - json_spread(0x20)) & json_spread(0x80)) ||
		    json_has_zero(word ^ json_spread('"')) || json_has_zero(word ^ json_spread('\\')))
			break;
	}
#endif
	while (p < end && json_plain(*p))
		p++;
	return p;
}

/* The first quote or backslash from p on, or `end`. For text whose strings need no more checking. */
static inline const char *json_quote_or_backslash(const char *p, const char *end)
{
#ifdef JSON_SSE2
	for (; end - p >= 16; p += 16) {
		__m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
		unsigned stops = (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')),
									  _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'))));
		if (stops)
			return p + __builtin_ctz(stops);
	}
#else
	for (; end - p >= 8; p += 8) {
		uint64_t word;
		memcpy(&word, p, sizeof word);
		if (json_has_zero(word ^ json_spread('"')) || json_has_zero(word ^ json_spread('\\')))
			break;
	}
#endif
	while (p < end && *p != '"' && *p != '\\')
		p++;
	return p;
}

/* Write a code point (no surrogate, at most U+10FFFF) as UTF-8. Returns its bytes, 1 to 4. */
static inline size_t json_utf8_write(char to[4], uint32_t code)
{
	if (code < 0x80) {
		to[0] = (char)code;
		return 1;
	}
	size_t len = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
	for (size_t i = len - 1; i > 0; i--, code >>= 6)
		to[i] = (char)(0x80 | (code & 0x3F));
	to[0] = (char)((0xF00 >> len) | code);
	return len;
}

/* The four hex digits at p, -1 when they are not. */
static inline int32_t json_hex4(const char *p, const char *end)
{
	int32_t value = 0;
	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		char c = p[i], letter = (char)(c | 0x20);
		if (c >= '0' && c <= '9')
			value = value * 16 + (c - '0');
		else if (letter >= 'a' && letter <= 'f')
			value = value * 16 + (letter - 'a' + 10);
		else
			return -1;
	}
	return value;
}

/* What a backslash before this letter means; NUL: no escape of one letter. */
static inline char json_escape_letter(char c)
{
	static const char meanings[128] = { ['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
					    ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t' };
	return (unsigned char)c < sizeof meanings ? meanings[(unsigned char)c] : '\0';
}

/* Read the escape whose backslash is at p. Returns its bytes (2, 6, or 12 for a surrogate pair); 0: not one, or a
 * lone surrogate. */
static inline size_t json_escape_read(const char *p, const char *end, uint32_t *code)
{
	if (end - p < 2)
		return 0;
	if (p[1] != 'u') {
		*code = (unsigned char)json_escape_letter(p[1]);
		return *code ? 2 : 0;
	}
	int32_t unit = json_hex4(p + 2, end);
	if (unit < 0 || (unit >= 0xDC00 && unit <= 0xDFFF))
		return 0;
	*code = (uint32_t)unit;
	if (unit < 0xD800 || unit > 0xDFFF)
		return 6;
	if (end - p < 12 || p[6] != '\\' || p[7] != 'u')
		return 0;
	int32_t low = json_hex4(p + 8, end);
	if (low < 0xDC00 || low > 0xDFFF)
		return 0;
	*code = 0x10000 + (((uint32_t)unit - 0xD800) << 10) + ((uint32_t)low - 0xDC00);
	return 12;
}

/* Write a code point as it stands in a canonical string: escaped only where it must be, and then in the shortest way.
 * Returns its bytes, at most 6; never more than any other spelling of it takes. */
static inline size_t json_escape_write(char to[6], uint32_t code)
{
	static const char hex[] = "0123456789abcdef";
	if (code >= 0x20 && code != '"' && code != '\\')
		return json_utf8_write(to, code);
	to[0] = '\\';
	static const char letters[0x20] = { ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't' };
	to[1] = code >= 0x20 ? (char)code : letters[code];
	if (to[1])
		return 2;
	memcpy(to + 1, "u00", 3);
	to[4] = hex[code >> 4];
	to[5] = hex[code & 15];
	return 6;
}

#endif
