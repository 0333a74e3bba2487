/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.h: a strict RFC 8259 scanner that yields slices of the text it was given, never a tree. Results and arguments
 * are spliced as the bytes they came in, so numbers keep their digits.
 *
 * Refused beyond the grammar, because two readers would not agree on the meaning: invalid UTF-8 (overlong forms and
 * surrogates too), lone \u surrogates, duplicate member names (compared after unescaping, per object), nesting deeper
 * than asked for; and because of what it costs: very many names out of order (JSON_UNSORTED_MAX). Numbers are checked
 * for form only; their text is kept.
 */
#ifndef JITNEY_BASE_JSON_H
#define JITNEY_BASE_JSON_H

#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/json_write.h"
#include "base/slice.h"

enum json_type { JSON_OBJECT, JSON_ARRAY, JSON_STRING, JSON_NUMBER, JSON_TRUE, JSON_FALSE, JSON_NULL };

/* Nesting is never followed further than this, whatever max_depth says. */
enum { JSON_DEPTH_MAX = 1000 };
/* Members of objects of more than 32 whose names do not ascend, in one text: they have to be sorted, and more would hold
 * the thread up. Names that ascend, and small objects, cost nothing and may be as many as fit. */
enum { JSON_UNSORTED_MAX = 128 * 1024 };

/* What was wrong and where. `what` is static, a phrase for a sentence ("duplicate member name"). */
struct json_fault {
	const char *what;
	size_t at;          /* byte offset in the text */
	bool out_of_memory; /* ours: nothing is known to be wrong with the text */
};

/* Scratch memory of the scanner (names of open objects), reused between calls; one per thread. Zero-initialise.
 * What a huge text took is given back at the end of its call. */
struct json_scratch {
	void *memory;
	size_t bytes;
};
void json_scratch_fini(struct json_scratch *scratch);

/* Whether `text` is exactly one JSON value (blanks around it allowed) nested at most max_depth deep ([] is depth 1).
 * Texts of 2 GiB and more are refused. Linear time but for the sort of an object's names (n log n). On false *fault
 * is set ("out of memory" included). scratch may be NULL: then memory is allocated and freed here. */
bool json_check(struct slice text, unsigned max_depth, struct json_scratch *scratch,
		struct json_fault *fault) MUST_CHECK;

/* As json_check, and append the canonical form to `out`: no insignificant blanks, members sorted by the bytes of
 * their unescaped names, strings with the shortest escapes (\" \\ \b \f \n \r \t, \u00xx for other controls, all else
 * as UTF-8), numbers as they were written. Two texts with the same canonical form mean the same to every reader;
 * the converse does not hold (1 and 1.0 differ), which costs a cache hit and never an answer. After RFC 8785, less
 * its number printing. Never longer than the text. False with *fault: the text was refused and `out` is as it was, or
 * `out` had no room (out_of_memory). */
bool json_canonical(struct slice text, unsigned max_depth, struct json_scratch *scratch, struct buf *out,
		    struct json_fault *fault) MUST_CHECK;

/* --- Walking a text that json_check has accepted. On any other text the results are undefined (but in bounds). --- */

/* The text without the blanks around it. */
struct slice json_trim(struct slice text);
/* Type of a value by its first byte. `value` is trimmed and not empty. */
enum json_type json_type(struct slice value);

/* Iterates over an object or an array. */
struct json_walk {
	const char *at, *end;
};
/* `value`: an object or array, trimmed or not. */
struct json_walk json_walk(struct slice value);
/* Next member: its name with the quotes, raw; its value, trimmed. False at the end. */
bool json_next_member(struct json_walk *walk, struct slice *raw_name, struct slice *value);
/* Next element, trimmed. False at the end. */
bool json_next_element(struct json_walk *walk, struct slice *value);
/* How many elements an array has. */
size_t json_count(struct slice array);
/* The value of member `name` (unescaped text) of an object. False if there is none. */
bool json_member(struct slice object, struct slice name, struct slice *value);

/* Whether a raw JSON string (with quotes) means exactly `text`. */
bool json_string_is(struct slice raw, struct slice text);
/* Append the unescaped UTF-8 of a raw JSON string (with quotes). May append NUL bytes. */
void json_unescape(struct slice raw, struct buf *out);
/* The same to a place that has room for raw.len bytes. Returns how many were written. */
size_t json_unescape_to(struct slice raw, char *to);
/* A raw number or its text as an unsigned integer. False if it is not a plain non-negative integer or too large. */
bool json_u64(struct slice raw, uint64_t *number);

/* --- Writing; the rest is base/json_write.h, which has no name that json-c has too --- */

/* Append the members of a checked object, as they came, each with a comma before it, but for those of these names. */
void json_put_members_except(struct buf *out, struct slice object, const struct slice *names, size_t name_count);

#endif
