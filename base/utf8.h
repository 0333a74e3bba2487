/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.h: for those who copy text that others wrote: one character of UTF-8 (RFC 3629) at a time, control bytes, blanks. */
#ifndef JITNEY_BASE_UTF8_H
#define JITNEY_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

/* The text behind the byte order mark that editors on Windows begin files with (U+FEFF), if it begins with one. */
static inline struct slice utf8_without_mark(struct slice text)
{
	if (text.len >= 3 && memcmp(text.at, "\xEF\xBB\xBF", 3) == 0)
		return (struct slice){ text.at + 3, text.len - 3 };
	return text;
}

/* Whether a control byte other than a tab is in it: no header's value may hold one (RFC 9110, 5.5). */
static inline bool text_has_control(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (((unsigned char)text.at[i] < 0x20 && text.at[i] != '\t') || text.at[i] == 0x7f)
			return true;
	return false;
}

/* Without the blanks and tabs around it, which mean nothing in HTTP (RFC 9110, 5.6.3). */
static inline struct slice text_trim(struct slice text)
{
	for (; text.len && (text.at[0] == ' ' || text.at[0] == '\t'); text.at++, text.len--)
		;
	while (text.len && (text.at[text.len - 1] == ' ' || text.at[text.len - 1] == '\t'))
		text.len--;
	return text;
}

/* Whether at[1..count] are continuation bytes and at[1] lies in low..high. */
static inline bool utf8_tail(const unsigned char *at, size_t count, unsigned char low, unsigned char high)
{
	if (at[1] < low || at[1] > high)
		return false;
	for (size_t i = 2; i <= count; i++)
		if ((at[i] & 0xC0) != 0x80)
			return false;
	return true;
}

/* Length in bytes of the valid character that starts at `text`, of which `len` bytes are there; 0 if there is none:
 * nothing left, a stray or missing continuation byte, an overlong form, a surrogate, beyond U+10FFFF. */
static inline size_t utf8_char(const char *text, size_t len)
{
	const unsigned char *at = (const unsigned char *)text;
	if (len == 0)
		return 0;
	if (at[0] < 0x80)
		return 1;
	if (at[0] >= 0xC2 && at[0] <= 0xDF)
		return len >= 2 && utf8_tail(at, 1, 0x80, 0xBF) ? 2 : 0;
	if ((at[0] & 0xF0) == 0xE0)
		return len >= 3 && utf8_tail(at, 2, at[0] == 0xE0 ? 0xA0 : 0x80, at[0] == 0xED ? 0x9F : 0xBF) ? 3 : 0;
	if (at[0] >= 0xF0 && at[0] <= 0xF4)
		return len >= 4 && utf8_tail(at, 3, at[0] == 0xF0 ? 0x90 : 0x80, at[0] == 0xF4 ? 0x8F : 0xBF) ? 4 : 0;
	return 0;
}

/* Copy as valid UTF-8, up to the last character that fits with a NUL behind it; a byte that belongs to none becomes
 * '?'. `to` may be the text itself. */
static inline void utf8_copy(char *to, size_t room, struct slice text)
{
	size_t len = 0;
	while (text.len) {
		size_t bytes = utf8_char(text.at, text.len), taken = bytes ? bytes : 1;
		if (len + taken >= room)
			break;
		memmove(to + len, bytes ? text.at : "?", taken);
		len += taken;
		text.at += taken;
		text.len -= taken;
	}
	to[len] = '\0';
}

#endif
