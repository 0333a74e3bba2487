/* SPDX-License-Identifier: Apache-2.0 */
/* hex.h: hexadecimal digits, and the escapes of URLs that are made of them. */
#ifndef JITNEY_BASE_HEX_H
#define JITNEY_BASE_HEX_H

#include "base/compiler.h"
#include "base/slice.h"

/* 0 to 15, either case; -1: no digit. */
static inline int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that two digits at text[at] stand for; -1: they are not there. */
static inline int hex_byte(struct slice text, size_t at)
{
	int high = at < text.len ? hex_digit(text.at[at]) : -1;
	int low = at + 1 < text.len ? hex_digit(text.at[at + 1]) : -1;
	return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Two digits, lower case, for each of `count` bytes, and a NUL behind them. */
static inline void hex_write(char *to, const unsigned char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		*to++ = "0123456789abcdef"[bytes[i] >> 4];
		*to++ = "0123456789abcdef"[bytes[i] & 15];
	}
	*to = '\0';
}

/* What a part of a URL stands for (percent-encoding, RFC 3986, 2.1): the text itself where nothing in it is encoded, else
 * written to `place`. False: malformed, or more than `room` bytes. */
MUST_CHECK static inline bool percent_decode(struct slice text, char *place, size_t room, struct slice *decoded)
{
	*decoded = text;
	if (!text.len || !memchr(text.at, '%', text.len))
		return true;
	size_t len = 0;
	for (size_t i = 0; i < text.len; i++, len++) {
		int byte = (unsigned char)text.at[i];
		if (byte == '%') {
			byte = hex_byte(text, i + 1);
			i += 2;
		}
		if (byte < 0 || len == room)
			return false;
		place[len] = (char)byte;
	}
	*decoded = (struct slice){ place, len };
	return true;
}

#endif
