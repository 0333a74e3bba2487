/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_arriving.h: whether a text is JSON, found out while it arrives, or in slices over many turns of a loop: what
 * json_check says of the whole, fault and place included. Each byte is looked at once, but for those of a name or number
 * that was cut off: at most as often again.
 */
#ifndef JITNEY_BASE_JSON_ARRIVING_H
#define JITNEY_BASE_JSON_ARRIVING_H

#include "base/compiler.h"
#include "base/json.h"

/* Members of objects that are open at once: each takes memory until its object closes. */
enum { JSON_OPEN_MAX = 512 * 1024 };

enum json_verdict {
	JSON_UNDECIDED, /* more has to come, or to be looked at */
	JSON_SOUND,     /* the whole text is one JSON value */
	JSON_FAULTY     /* it is none, whatever comes; stays so */
};

struct json_arriving;

/* NULL when out of memory. */
struct json_arriving *json_arriving_new(unsigned max_depth) MUST_CHECK;
/* NULL is allowed. */
void json_arriving_free(struct json_arriving *arriving);

/* Look on. `text` holds all bytes from the first on that may be looked at: as many as before or more, perhaps elsewhere;
 * whole: nothing comes behind. JSON_FAULTY: *fault (out of memory included). */
enum json_verdict json_arriving_look(struct json_arriving *arriving, struct slice text, bool whole,
				     struct json_fault *fault) MUST_CHECK;
/* Bytes of memory that it takes, itself included. */
size_t json_arriving_bytes(const struct json_arriving *arriving);

#endif
