/* SPDX-License-Identifier: Apache-2.0 */
/* json_path.c: paths of member names into JSON. */
#include "upstream/dialects/json_path.h"

#include <strings.h>

#include "base/json.h"

bool json_path_set(struct json_path *path, const char *text, const char **what)
{
	*path = (struct json_path){ .set = text != NULL };
	if (!text || strcmp(text, ".") == 0)
		return true;
	for (const char *at = text;; at++) {
		size_t len = strcspn(at, ".");
		if (len == 0 || path->count == JSON_PATH_NAMES) {
			*what = len ? "more than 8 names" : "an empty name (names have one dot between them)";
			return false;
		}
		path->names[path->count++] = (struct slice){ at, len };
		at += len;
		if (!*at)
			return true;
	}
}

static bool is_named(struct slice raw, struct slice name, bool any_case)
{
	if (slice_equal(name, SLICE("*")))
		return true;
	if (any_case)
		return raw.len == name.len + 2 && strncasecmp(raw.at + 1, name.at, name.len) == 0;
	return json_string_is(raw, name);
}

static bool find_member(struct slice object, struct slice name, bool any_case, struct slice *value)
{
	struct slice raw;
	for (struct json_walk walk = json_walk(object); json_next_member(&walk, &raw, value);)
		if (is_named(raw, name, any_case))
			return true;
	return false;
}

struct slice json_path_at(struct slice value, const struct json_path *path, bool any_case)
{
	static const struct slice nothing = { NULL, 0 };
	if (!path->set)
		return nothing;
	for (size_t i = 0; i < path->count; i++)
		if (json_type(value) != JSON_OBJECT || !find_member(value, path->names[i], any_case, &value))
			return nothing;
	return value;
}
