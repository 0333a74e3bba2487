/* SPDX-License-Identifier: Apache-2.0 */
/* slice.h: a borrowed run of bytes. It owns nothing; whoever hands one out says how long it lives. */
#ifndef JITNEY_BASE_SLICE_H
#define JITNEY_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
	const char *at; /* not NUL-terminated; may be NULL when len is 0 */
	size_t len;     /* bytes */
};

/* A string literal as a slice, its length known to the compiler. */
#define SLICE(literal) ((struct slice){ "" literal, sizeof(literal) - 1 })

/* A text as a slice, up to its NUL; empty for NULL. */
static inline struct slice slice_of(const char *text)
{
	return (struct slice){ text, text ? strlen(text) : 0 };
}

/* The same bytes. */
static inline bool slice_equal(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* How often the byte is in it. */
static inline size_t slice_count(struct slice slice, char byte)
{
	size_t count = 0;
	for (size_t i = 0; i < slice.len; i++)
		count += slice.at[i] == byte;
	return count;
}

/* For printf: "%.*s", SLICE_ARG(s). Clamped, because a length beyond int would turn negative: "no limit". */
#define SLICE_ARG(s) (int)((s).len < 0x7fffffff ? (s).len : 0x7fffffff), (s).len ? (s).at : ""

#endif
