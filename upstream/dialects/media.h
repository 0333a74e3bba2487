/* SPDX-License-Identifier: Apache-2.0 */
/* media.h: media types, as far as it matters what a body is. Parameters ("; charset=utf-8") do not. */
#ifndef JITNEY_UPSTREAM_DIALECTS_MEDIA_H
#define JITNEY_UPSTREAM_DIALECTS_MEDIA_H

#include <strings.h>

#include "base/slice.h"

/* The type without its parameters and the blanks before them; a slice of it. */
static inline struct slice media_essence(struct slice type)
{
	const char *semicolon = type.len ? memchr(type.at, ';', type.len) : NULL;
	if (semicolon)
		type.len = (size_t)(semicolon - type.at);
	while (type.len && (type.at[type.len - 1] == ' ' || type.at[type.len - 1] == '\t'))
		type.len--;
	return type;
}

/* Whether it is of that name ("application/json"), in whatever letters. */
static inline bool media_is(struct slice type, const char *name)
{
	type = media_essence(type);
	return type.len == strlen(name) && strncasecmp(type.at, name, type.len) == 0;
}

/* JSON's own names, and all that end in +json. */
static inline bool media_is_json(struct slice type)
{
	static const char suffix[] = "+json";
	size_t len = sizeof suffix - 1;
	type = media_essence(type);
	return media_is(type, "application/json") || media_is(type, "text/json") ||
	       (type.len > len && strncasecmp(type.at + type.len - len, suffix, len) == 0);
}

#endif
