/* SPDX-License-Identifier: Apache-2.0 */
/* hex.h: hexadecimal digits, and the escapes of URLs that are made of them. */
#ifndef JITNEY_BASE_HEX_H
#define JITNEY_BASE_HEX_H

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

#endif
