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

enum json_soundness {
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
 * whole: nothing comes behind (blanks at the end may have been cut off). JSON_FAULTY: *fault (out of memory included). */
enum json_soundness json_arriving_look(struct json_arriving *arriving, struct slice text, bool whole,
				       struct json_fault *fault) MUST_CHECK;
/*
 * The same for whoever meets values one after the other, and looks at most of them whole, once they have ended: at one of
 * which so much is there before its end it looks ahead, so that not all of it is left to look at then.
 */
enum { JSON_AHEAD_BYTES = 64 * 1024 };
struct json_ahead {
	struct json_arriving *arriving; /* NULL: nothing is looked at ahead */
	size_t at;                      /* the place of the value that is, in whatever it is a part of */
};
/* A value has not ended, and this is its beginning. */
void json_look_ahead(struct json_ahead *ahead, struct slice beginning, size_t at, unsigned max_depth);
/* json_check of a value that has ended, with what is known of it. Ends what was looked at ahead. */
bool json_check_ahead(struct json_ahead *ahead, struct slice value, size_t at, unsigned max_depth,
		      struct json_scratch *scratch, struct json_fault *fault) MUST_CHECK;
/* Forget what was looked at ahead, if anything. */
void json_ahead_end(struct json_ahead *ahead);

/* Bytes of memory that it takes, itself included. */
size_t json_arriving_bytes(const struct json_arriving *arriving);

#endif
