/*
 * tally.h: what decoders have in common that answer call by call: which calls have their answer, what was wrong with
 * the bytes, and what the others are told in the end. A decoder embeds it first.
 */
#ifndef JITNEY_UPSTREAM_DIALECTS_TALLY_H
#define JITNEY_UPSTREAM_DIALECTS_TALLY_H

#include <stdint.h>

#include "base/json.h"
#include "upstream/dialects/dialect.h"

struct tally {
	struct dialect_decoder base;
	uint64_t first_id;
	size_t count;
	size_t answered_count;
	unsigned depth; /* cap for what is checked at once */
	bool broken;    /* cannot be read on */
	struct json_scratch scratch;
	struct json_fault fault; /* the first; what: NULL while nothing was wrong; at: in the body */
	bool *answered;          /* by index; the decoder's */
};

/* The tally is zeroed; `answered`: room for `count`, all false. */
void tally_init(struct tally *tally, const struct dialect *dialect, size_t count, uint64_t first_id, unsigned depth,
		const struct dialect_sink *sink, bool *answered);
void tally_fini(struct tally *tally);

/* struct dialect's head, for dialects whose body tells what it is. */
void tally_head(struct dialect_decoder *base, unsigned status, struct slice content_type, uint32_t retry_after_s);

/* Whether the exchange's status is not 2xx. */
bool tally_failed(const struct tally *tally);
/* Which call a raw id (a number, or a string of digits) means; false: none of ours. */
bool tally_find(const struct tally *tally, struct slice id, size_t *index);
/* A raw number, or a string of digits. */
bool tally_number(struct slice raw, uint64_t *number);

/* The first fault counts. */
void tally_note(struct tally *tally, const char *what, size_t at);
/* Whether `element`, a part of `body`, is JSON. A bad one is passed over: its neighbours are sound and need not suffer,
 * its own call is found missing in the end. */
bool tally_check(struct tally *tally, struct slice body, struct slice element) MUST_CHECK;

/* Hand over the answer to a call that has none. NULL (out of memory) becomes an error. */
void tally_emit(struct tally *tally, size_t index, struct answer *answer);
/* One answer for all calls that have none. Takes the reference. */
void tally_emit_missing(struct tally *tally, struct answer *answer);

/* The provider broke the rules; `what` says how. Never NULL, as the next ones. */
struct answer *tally_broken(const struct tally *tally, const char *what);
/* The tool's own error, one JSON text; its message is quoted: the text itself, or its member message or reason. said:
 * the JSON text that is passed on, mostly the error itself. */
struct answer *tally_tool_error(const struct tally *tally, uint32_t retry_after_s, struct slice error,
				struct slice said);
/* For calls that the whole answer `body` has nothing for. */
struct answer *tally_missing(const struct tally *tally, struct slice body);

/* How the exchange ended. some: a call was answered by the provider itself. */
enum outcome tally_outcome(const struct tally *tally, bool some);

#endif
