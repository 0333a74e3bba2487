/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template.h: compiled templates of the rest dialect: text with `{name}` placeholders that a call's arguments fill in.
 *
 * A placeholder is `{` name `}` or `{` name `?` `}`, the name of the form [A-Za-z_][A-Za-z0-9_.-]*; every other brace
 * is text (so a JSON body is written as it is). `{arguments}` is the whole object. What a value becomes depends on the
 * place:
 *
 *   path     strings unescaped, numbers and booleans by their text, percent-encoded after RFC 3986. A value is one
 *            segment or a part of one: refused are "", slashes of either kind, NUL, objects, arrays, and what makes a
 *            segment that a server may read as "." or ".." (path_guard.h). `{name+}` takes several segments, with "/"
 *            between them, none of them empty. No optional placeholders. The text must be a valid path.
 *   query    the same, objects and arrays as JSON text; the template's own text is encoded too.
 *   header   as in a path, but not encoded; control characters are refused, "" is allowed.
 *   form     of a body of name=value pairs: as in a query, but the template's own text stays as it is; absent and
 *            optional: "". `{arguments}`: all members as pairs.
 *   body     the raw JSON value as it came, quotes and all: {"q": {query}, "n": {count?}}. Never write quotes around
 *            it. Absent and optional: null.
 *   lines    of a body in which a line break has a meaning: as in a body, and no value holds one.
 *
 * Absent means absent or (not in a body) null. An absent argument is refused; if it is optional (`{name?}`) the whole
 * query parameter or header is left out.
 */
#ifndef JITNEY_UPSTREAM_DIALECTS_TEMPLATE_H
#define JITNEY_UPSTREAM_DIALECTS_TEMPLATE_H

#include "base/buf.h"
#include "base/compiler.h"
#include "base/slice.h"
#include "upstream/dialects/error.h"

enum template_place { TEMPLATE_PATH, TEMPLATE_QUERY, TEMPLATE_HEADER, TEMPLATE_BODY, TEMPLATE_LINES, TEMPLATE_FORM };

struct template; /* immutable once made; any thread */

/* Compile a copy of `text`. NULL with `error` set: bad template (what, at which character), or no memory. */
struct template *template_new(const char *text, enum template_place place, struct dialect_error *error) MUST_CHECK;
/* NULL is allowed. */
void template_free(struct template *template);

/* Whether it has no placeholder. */
bool template_is_fixed(const struct template *template);

/* The next placeholder at or after `at`, in a text that template_new takes: its name, a slice of the text. Returns what follows
 * it; NULL: there is none. */
const char *template_next_name(const char *at, enum template_place place, struct slice *name) MUST_CHECK;

/* Whether what the template makes is JSON whatever the arguments are: placeholders stand for whole values. False:
 * `error` says where. Bodies only. */
bool template_check_json(const struct template *template, struct dialect_error *error) MUST_CHECK;

enum template_result {
	TEMPLATE_WRITTEN,
	TEMPLATE_LEFT_OUT, /* an optional argument is absent; what was appended is of no use */
	TEMPLATE_REFUSED   /* *fault says why; what was appended is of no use */
};

struct template_fault {
	struct slice name; /* the argument, a slice of the template */
	bool missing;
	const char *what; /* if not missing: a phrase, "is empty"; static */
};

/* Fill in and append to `out` (look at out->failed afterwards). `arguments`: a checked JSON object. */
enum template_result template_write(const struct template *template, struct slice arguments, struct buf *out,
				    struct template_fault *fault) MUST_CHECK;

/* Line breaks in JSON that was appended from `from` on, where they are blanks between tokens, become plain blanks. */
void template_keep_line(struct buf *out, size_t from);

/* Append text, percent-encoded: unreserved characters (RFC 3986) stay. */
void template_percent_encode(struct buf *out, struct slice text);

#endif
