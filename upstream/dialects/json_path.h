/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_path.h: where a value stands in an answer: member names with dots between ("done.calls"), "." for the value
 * itself; "*" is an object's first member, whatever its name.
 */
#ifndef JITNEY_UPSTREAM_DIALECTS_JSON_PATH_H
#define JITNEY_UPSTREAM_DIALECTS_JSON_PATH_H

#include "base/compiler.h"
#include "base/slice.h"

enum { JSON_PATH_NAMES = 8 };

/* The names are slices of the text it was made from. */
struct json_path {
	bool set;
	size_t count; /* 0: the value itself */
	struct slice names[JSON_PATH_NAMES];
};

/* `text` NULL: a path that is not set. False: *what is wrong with the text, static. */
bool json_path_set(struct json_path *path, const char *text, const char **what) MUST_CHECK;
/* The value at a path; empty if it is not there or the path is not set. `value`: checked JSON. any_case: ASCII case
 * does not matter. */
struct slice json_path_at(struct slice value, const struct json_path *path, bool any_case);

#endif
