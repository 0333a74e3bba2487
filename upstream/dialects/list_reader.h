/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list_reader.h: the elements of an array that stands somewhere in an answer, while the answer's bytes arrive: follows
 * a path of member names, then splits. A list behind other members is found when these have passed.
 */
#ifndef JITNEY_UPSTREAM_DIALECTS_LIST_READER_H
#define JITNEY_UPSTREAM_DIALECTS_LIST_READER_H

#include "base/json_split.h"
#include "upstream/dialects/json_path.h"

struct list_reader {
	size_t at;                 /* bytes looked at so far; once found, the list's '[' */
	size_t key_start, key_end; /* the last string */
	size_t depth;              /* open brackets */
	size_t level;              /* open objects that are on the path */
	bool in_string, escaped;
	bool hit;   /* the next value is on the path */
	bool over;  /* the answer's value has ended */
	bool found; /* the list has begun */
	bool ended;
	struct json_split split; /* of the bytes from the list on */
};

/* Before the first byte. Nothing is to be freed. */
void list_reader_init(struct list_reader *reader);

/* As json_split_next, of the array at `path` (names only, no "*"). MORE also where there is no such list; END when the
 * list has ended, whatever comes behind it. BROKEN: *at is the place in `body`. */
enum json_split_event list_reader_next(struct list_reader *reader, const struct json_path *path, struct slice body,
				       bool last, unsigned max_depth, struct slice *element, size_t *at);

#endif
