/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_split.h: finds the elements of a top-level JSON array while its bytes are still arriving, so that each can be
 * answered before the last has come. It looks at structure only (quotes, escapes, brackets); every element is handed
 * to json_check by whoever takes it. A top-level value that is no array is yielded whole, once it ends.
 */
#ifndef JITNEY_BASE_JSON_SPLIT_H
#define JITNEY_BASE_JSON_SPLIT_H

#include <stdint.h>

#include "base/compiler.h"
#include "base/slice.h"

struct json_split {
	size_t at;      /* bytes looked at so far */
	size_t start;   /* where the element under way begins */
	uint32_t depth; /* open brackets */
	uint8_t state;  /* private */
	bool array;     /* the top-level value is an array */
	bool in_string, escaped;
};

enum json_split_event {
	JSON_SPLIT_MORE,    /* feed more bytes */
	JSON_SPLIT_ELEMENT, /* *element is an array element, or the whole of a top-level value that is no array */
	JSON_SPLIT_END,     /* the top-level value is complete; only blanks may follow */
	JSON_SPLIT_BROKEN   /* cannot be JSON; stays broken */
};

/* Before the first byte of a list. Nothing is to be freed. */
void json_split_init(struct json_split *split);

/* Look on. `text` holds all bytes from the first on (it may have moved and grown since the last call); call again
 * until MORE, END or BROKEN. A top-level number or literal ends only when `last` is true. max_depth bounds nesting.
 * *element is a slice of `text`, trimmed. */
enum json_split_event json_split_next(struct json_split *split, struct slice text, bool last, unsigned max_depth,
				      struct slice *element);

/* Whether an element has begun that has not ended in what was looked at; it begins at split->start. */
bool json_split_within(const struct json_split *split);

#endif
