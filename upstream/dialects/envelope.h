/* SPDX-License-Identifier: Apache-2.0 */
/*
 * envelope.h: a provider's own batch shape, declared instead of programmed: where calls go in one request and where
 * their answers are in its answer. docs/envelope.md describes it. An envelope is a dialect of its own (with its own
 * max_calls), made from the settings of one upstream.
 *
 * Items are answered while bytes arrive in every shape: NDJSON by lines, a list by its elements, from the moment the
 * member that holds it begins (a list that stands behind other members is found when these have passed).
 */
#ifndef JITNEY_UPSTREAM_DIALECTS_ENVELOPE_H
#define JITNEY_UPSTREAM_DIALECTS_ENVELOPE_H

#include "base/compiler.h"
#include "upstream/dialects/error.h"

struct dialect;

/* As configured; NULL or 0: not said. Paths are member names with dots between; "*" is an object's only member, "."
 * the value itself. */
struct envelope_settings {
	const char *preset; /* one of ENVELOPE_PRESETS */

	/* the request */
	const char *method;       /* POST, PUT or PATCH; default POST */
	const char *path;         /* appended to the endpoint's URL; default "" */
	const char *content_type; /* default application/json, or application/x-ndjson */
	const char *headers;      /* presets only: "Name: value\n" lines */
	const char *framing;      /* json (default) or ndjson */
	const char *body;         /* json: JSON with {items} where the list goes; default {items} */
	const char *item;         /* template of one call; ndjson: one or more lines */
	unsigned max;             /* calls in one request; default 100 */

	/* the answer */
	const char *answer_framing; /* json (default) or ndjson */
	const char *list;           /* path of the list of items; default "." */
	const char *match;          /* id or position; default: id if there is a path for it */
	const char *id;             /* path in an item */
	const char *result;         /* path in an item; default "." */
	const char *status;         /* path of an HTTP status in an item; default: none */
	const char *errors;         /* statuses that mean failure: "400-599, 207"; default all but 200-299 */
	const char *error;          /* path of an error in an item; default: none */
	const char *retry_after;    /* path of seconds in an item, case-insensitive; default: none */
};

#define ENVELOPE_PRESETS "microsoft-graph|elasticsearch-msearch|elasticsearch-bulk|odata-json"

/* Fill in what is not said: from the preset, then the defaults. `preset` is NULL or one of ENVELOPE_PRESETS. */
void envelope_fill(struct envelope_settings *settings);

/* Compile filled settings, which are borrowed and must outlive it. NULL with `error` set, beginning with the option it
 * is about ("item: ..."). The result is immutable; any thread. */
struct dialect *envelope_new(const struct envelope_settings *settings, struct dialect_error *error) MUST_CHECK;
/* No route or decoder of it may be left. NULL is allowed. */
void envelope_free(struct dialect *dialect);

#endif
