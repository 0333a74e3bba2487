/* SPDX-License-Identifier: Apache-2.0 */
/* envelope_private.h: what the files of the envelope dialect share. Nobody else includes it. */
#ifndef JITNEY_UPSTREAM_DIALECTS_ENVELOPE_PRIVATE_H
#define JITNEY_UPSTREAM_DIALECTS_ENVELOPE_PRIVATE_H

#include "upstream/dialects/dialect.h"
#include "upstream/dialects/envelope.h"
#include "upstream/dialects/json_path.h"

enum { ENVELOPE_RANGES = 16, ENVELOPE_MAX_CALLS = 10000 };

/* Of an item's status. */
struct envelope_range {
	unsigned from, to; /* inclusive */
};

/* Immutable. Texts belong to the settings. */
struct envelope {
	struct dialect dialect;
	const struct envelope_settings *settings;
	bool ndjson;        /* the request */
	bool answer_ndjson; /* the answer */
	bool by_id;
	struct slice before, after; /* the request's body around the list */
	struct json_path list, id, result, status, error, retry_after;
	struct envelope_range errors[ENVELOPE_RANGES];
	size_t error_count;
};

/* `dialect` is an envelope's (envelope_new). */
static inline const struct envelope *envelope_of(const struct dialect *dialect)
{
	return container_of(dialect, const struct envelope, dialect);
}

/* Whether an item of this status is its call's failure. */
bool envelope_is_error(const struct envelope *envelope, uint64_t status);

/* --- envelope_encode.c --- */

/* struct dialect's functions of these names. */
struct dialect_route *envelope_route_new(const struct route_settings *settings, struct dialect_error *error);
void envelope_route_free(struct dialect_route *base);
struct answer *envelope_check(const struct dialect_route *base, struct slice arguments);
bool envelope_encode(const struct upstream_call *calls, size_t count, uint64_t first_id,
		     struct encoded_request *request);

#endif
