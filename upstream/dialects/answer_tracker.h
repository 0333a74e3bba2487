/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer_tracker.h: what decoders have in common that answer call by call: which calls have their answer, what was
 * wrong with the bytes, and what the others are told in the end. A decoder embeds it first.
 *
 * Two rules have their one place here.
 *   Whose answer is it?   An item that names its call (by id, key or alias) is handed over at once: tracker_emit. One that
 *                         only stands where its call stood is held (tracker_place) until the list has ended, each of its
 *                         items was sound and there are as many as calls; else no call gets any of them.
 *   Who may read it?      What is said of an exchange as a whole may hold any caller's arguments. It goes to a call that
 *                         was alone; calls that were not are told the status and how many they were: tracker_refusal.
 */
#ifndef JITNEY_UPSTREAM_DIALECTS_ANSWER_TRACKER_H
#define JITNEY_UPSTREAM_DIALECTS_ANSWER_TRACKER_H

#include <stdint.h>

#include "base/json.h"
#include "base/json_arriving.h"
#include "upstream/dialects/dialect.h"
#include "upstream/dialects/list_reader.h"

struct answer_tracker {
	struct dialect_decoder base;
	uint64_t first_id;
	size_t count;
	size_t answered_count;
	unsigned depth; /* cap for what is checked at once */
	bool broken;    /* cannot be read on */
	bool cut;       /* what tracker_check has not let pass last ends in mid-value: what follows may belong to it */
	struct json_scratch scratch;
	struct json_ahead ahead; /* of the part of the body that has not ended */
	size_t blank_to;         /* where the last of the blanks before it ended that have been passed over */
	struct json_fault fault; /* the first; what: NULL while nothing was wrong; at: in the body */
	struct slice sound;      /* the last part of the body that tracker_check has let pass */
	bool *answered;          /* by index; the decoder's */
	bool by_place;           /* items do not name their calls */
	bool proven;             /* by_place: the list was whole, and as long as it should be */
	size_t placed;           /* items of the list so far */
	struct answer **held;    /* by place, until it is proven; NULL: none is held by this tracker */
};

/* The tracker is zeroed; `answered`: room for `count`, all false. */
void tracker_init(struct answer_tracker *tracker, const struct dialect *dialect, size_t count, uint64_t first_id,
		  unsigned depth, const struct dialect_sink *sink, bool *answered);
void tracker_fini(struct answer_tracker *tracker);

/* struct dialect's head, for dialects whose body tells what it is. */
void tracker_head(struct dialect_decoder *base, unsigned status, struct slice content_type, uint32_t retry_after_s);

/* Whether the exchange's status is not 2xx. */
bool tracker_failed(const struct answer_tracker *tracker);
/* Which call a raw id (a number, or a string of digits) means; false: none of ours. */
bool tracker_find(const struct answer_tracker *tracker, struct slice id, size_t *index);
/* Of an id that is none of ours: whether it is such as ours are, so that what stands under it, an error too, is said to
 * another request. A status that says no is about this one, whatever id stands with it. */
bool tracker_is_anothers(const struct answer_tracker *tracker, struct slice id);
/* A raw number, or a string of digits. */
bool tracker_number(struct slice raw, uint64_t *number);

/* The first fault counts. */
void tracker_note(struct answer_tracker *tracker, const char *what, size_t at);
/* Whether `element`, a part of `body`, is JSON. A bad one is passed over: its neighbours are sound and need not suffer,
 * its own call is found missing in the end. */
bool tracker_check(struct answer_tracker *tracker, struct slice body, struct slice element) MUST_CHECK;

/* That part has not ended yet, and begins here: what there is of it is looked at. */
void tracker_look_ahead(struct answer_tracker *tracker, struct slice body, size_t at);
/* The same, of the first value from there on, which follows blanks. They are passed over once, however often there is more
 * of the body; `at` never becomes less. */
void tracker_look_ahead_behind_blanks(struct answer_tracker *tracker, struct slice body, size_t at);

/* Hand over the answer to a call that has none. NULL (out of memory) becomes an error. Not by place, unless proven. */
void tracker_emit(struct answer_tracker *tracker, size_t index, struct answer *answer);
/* One answer for all calls that have none. Takes the reference. */
void tracker_emit_missing(struct answer_tracker *tracker, struct answer *answer);

/* The same for what cannot be believed in company: dialect_sink's doubted. `answer` is an error. */
void tracker_doubt(struct answer_tracker *tracker, size_t index, struct answer *answer);

/* Right after tracker_init: items are matched by their places. hold: tracker_place is going to be used. False: no
 * memory. */
bool tracker_by_place(struct answer_tracker *tracker, bool hold) MUST_CHECK;
/* The list's next item is this; NULL (out of memory) becomes an error. */
void tracker_place(struct answer_tracker *tracker, struct answer *answer);
/* The list's next item says nothing for its call, which is told in the end. */
void tracker_place_nothing(struct answer_tracker *tracker);
/* The list has ended: hand over what is held, if that is proven now. Any number of times. */
void tracker_end_list(struct answer_tracker *tracker);
/* A whole list has `found` sound items where `wanted` belong. True: places are proven, tracker_emit may be used. */
bool tracker_prove(struct answer_tracker *tracker, size_t found, size_t wanted);

/* Read on in the list at `path` of an answer (list_reader.h): each sound element goes to `take`, and each that is not
 * sound is passed over. False: the rest is not worth reading. */
bool tracker_read_list(struct answer_tracker *tracker, struct list_reader *list, const struct json_path *path,
		       struct slice body, bool last,
		       void (*take)(struct answer_tracker *tracker, struct slice element));

/* A result: one JSON value within what tracker_check has let pass last; so no byte is a result that was not looked at.
 * NULL: out of memory. */
struct answer *tracker_result(const struct answer_tracker *tracker, struct slice value) MUST_CHECK;
/* The same, put together from values that have passed; buf is left as it is. NULL: it has failed, or out of memory. */
struct answer *tracker_made(const struct buf *made) MUST_CHECK;

/* The provider broke the rules; `what` says how. Never NULL, as the next ones. */
struct answer *tracker_broken(const struct answer_tracker *tracker, const char *what);
/* The tool's own error, one JSON text; its message is quoted: the text itself, or its member message or reason. said:
 * the JSON text that is passed on, mostly the error itself. */
struct answer *tracker_tool_error(const struct answer_tracker *tracker, uint32_t retry_after_s, struct slice error,
				  struct slice said);
/* For calls that the whole answer `body` has nothing for. */
struct answer *tracker_missing(const struct answer_tracker *tracker, struct slice body);

/* About the exchange as a whole, for all calls that tracker_emit_missing reaches. `said`: what the provider said, any
 * bytes; `what`: a phrase. Never NULL. */
struct answer *tracker_refusal(const struct answer_tracker *tracker, enum outcome outcome, struct slice said,
			       const char *format, ...) PRINTF_LIKE(4, 5);
/* The same for a status that is not 2xx; `refusal` as in dialect_status_outcome. */
struct answer *tracker_status_refusal(const struct answer_tracker *tracker, enum outcome refusal, struct slice said);

/* How the exchange ended. some: a call was answered by the provider itself. */
enum outcome tracker_outcome(const struct answer_tracker *tracker, bool some);

#endif
