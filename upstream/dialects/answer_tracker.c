/* SPDX-License-Identifier: Apache-2.0 */
/* answer_tracker.c: which calls of an exchange have their answer, and what is delivered to the rest. */
#include "upstream/dialects/answer_tracker.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum { LOGGED_BYTES = 1000 /* of what was said of a request as a whole */ };

void tracker_init(struct answer_tracker *tracker, const struct dialect *dialect, size_t count, uint64_t first_id,
		  unsigned depth, const struct dialect_sink *sink, bool *answered)
{
	tracker->base.dialect = dialect;
	tracker->base.sink = *sink;
	tracker->count = count;
	tracker->first_id = first_id;
	tracker->depth = depth;
	tracker->answered = answered;
}

static void drop_held(struct answer_tracker *tracker)
{
	for (size_t i = 0; tracker->held && i < tracker->count; i++)
		answer_unref(tracker->held[i]);
	free(tracker->held);
	tracker->held = NULL;
}

void tracker_fini(struct answer_tracker *tracker)
{
	drop_held(tracker);
	json_ahead_end(&tracker->ahead);
	json_scratch_fini(&tracker->scratch);
}

void tracker_head(struct dialect_decoder *base, unsigned status, struct slice content_type, uint32_t retry_after_s)
{
	(void)content_type;
	base->status = status;
	base->retry_after_s = retry_after_s;
}

bool tracker_failed(const struct answer_tracker *tracker)
{
	return tracker->base.status < 200 || tracker->base.status >= 300;
}

bool tracker_number(struct slice raw, uint64_t *number)
{
	if (raw.len >= 2 && json_type(raw) == JSON_STRING)
		raw = (struct slice){ raw.at + 1, raw.len - 2 };
	return raw.len && json_u64(raw, number);
}

bool tracker_find(const struct answer_tracker *tracker, struct slice id, size_t *index)
{
	uint64_t number;
	if (!tracker_number(id, &number) || number < tracker->first_id || number - tracker->first_id >= tracker->count)
		return false;
	*index = (size_t)(number - tracker->first_id);
	return true;
}

bool tracker_is_anothers(const struct answer_tracker *tracker, struct slice id)
{
	uint64_t number;
	return !tracker_failed(tracker) && tracker_number(id, &number);
}

void tracker_note(struct answer_tracker *tracker, const char *what, size_t at)
{
	if (!tracker->fault.what)
		tracker->fault = (struct json_fault){ .what = what, .at = at };
}

bool tracker_check(struct answer_tracker *tracker, struct slice body, struct slice element)
{
	struct json_fault fault;
	size_t at = (size_t)(element.at - body.at);
	if (json_check_ahead(&tracker->ahead, element, at, tracker->depth, &tracker->scratch, &fault)) {
		tracker->sound = element;
		return true;
	}
	tracker->cut = fault.at >= element.len;
	tracker_note(tracker, fault.what, at + fault.at);
	return false;
}

void tracker_look_ahead(struct answer_tracker *tracker, struct slice body, size_t at)
{
	json_look_ahead(&tracker->ahead, (struct slice){ body.at + at, body.len - at }, at, tracker->depth);
}

void tracker_look_ahead_behind_blanks(struct answer_tracker *tracker, struct slice body, size_t at)
{
	at = at < tracker->blank_to ? tracker->blank_to : at;
	while (at < body.len && memchr(" \n\t\r", body.at[at], 4))
		at++;
	tracker->blank_to = at;
	if (at < body.len)
		tracker_look_ahead(tracker, body, at);
}

static void mark_answered(struct answer_tracker *tracker, size_t index)
{
	assert(index < tracker->count && !tracker->answered[index]);
	tracker->answered[index] = true;
	tracker->answered_count++;
}

static void hand_over(struct answer_tracker *tracker, size_t index, struct answer *answer)
{
	mark_answered(tracker, index);
	dialect_emit(&tracker->base, index, answer);
}

void tracker_doubt(struct answer_tracker *tracker, size_t index, struct answer *answer)
{
	const struct dialect_sink *sink = &tracker->base.sink;
	assert(answer->outcome != OUTCOME_OK);
	mark_answered(tracker, index);
	if (sink->doubted)
		sink->doubted(sink->context, index, answer);
	else
		sink->answered(sink->context, index, answer);
}

void tracker_emit(struct answer_tracker *tracker, size_t index, struct answer *answer)
{
	assert(!tracker->by_place || tracker->proven);
	hand_over(tracker, index, answer);
}

void tracker_emit_missing(struct answer_tracker *tracker, struct answer *answer)
{
	for (size_t i = 0; i < tracker->count; i++)
		if (!tracker->answered[i])
			hand_over(tracker, i, answer_ref(answer));
	answer_unref(answer);
}

/* --- by place --- */

bool tracker_by_place(struct answer_tracker *tracker, bool hold)
{
	tracker->by_place = true;
	return !hold || (tracker->held = calloc(tracker->count, sizeof(struct answer *)));
}

/* The place of the list's next item; false: it is one too many. */
static bool next_place(struct answer_tracker *tracker, size_t *place)
{
	assert(tracker->by_place);
	*place = tracker->placed++;
	if (*place < tracker->count)
		return true;
	tracker->broken = true; /* whatever comes, nobody gets any of it */
	return false;
}

void tracker_place(struct answer_tracker *tracker, struct answer *answer)
{
	size_t place;
	if (next_place(tracker, &place) && tracker->held)
		tracker->held[place] = dialect_or_no_memory(answer);
	else
		answer_unref(answer);
}

void tracker_place_nothing(struct answer_tracker *tracker)
{
	size_t place;
	(void)next_place(tracker, &place);
}

bool tracker_prove(struct answer_tracker *tracker, size_t found, size_t wanted)
{
	assert(tracker->by_place);
	tracker->placed = found;
	tracker->proven = found == wanted && !tracker->broken && !tracker->fault.what;
	return tracker->proven;
}

void tracker_end_list(struct answer_tracker *tracker)
{
	struct answer **held = tracker->held;
	if (!held)
		return;
	if (!tracker_prove(tracker, tracker->placed, tracker->count)) {
		drop_held(tracker);
		return;
	}
	tracker->held = NULL;
	for (size_t i = 0; i < tracker->count; i++)
		if (held[i])
			tracker_emit(tracker, i, held[i]);
	free(held);
}

/* --- lists --- */

bool tracker_read_list(struct answer_tracker *tracker, struct list_reader *list, const struct json_path *path,
		       struct slice body, bool last, void (*take)(struct answer_tracker *tracker, struct slice element))
{
	struct slice element;
	size_t at;
	while (!tracker->broken) {
		switch (list_reader_next(list, path, body, last, tracker->depth + 1, &element, &at)) {
		case JSON_SPLIT_MORE:
			if (list->found && json_split_within(&list->split))
				tracker_look_ahead(tracker, body, list->at + list->split.start);
			return true;
		case JSON_SPLIT_END:
			tracker_end_list(tracker);
			return true;
		case JSON_SPLIT_ELEMENT:
			if (tracker_check(tracker, body, element))
				take(tracker, element);
			else if (tracker->by_place)
				tracker_place_nothing(tracker);
			break;
		case JSON_SPLIT_BROKEN:
			tracker_note(tracker, "not JSON", at);
			tracker->broken = true;
			break;
		}
	}
	return false;
}

/* --- answers --- */

struct answer *tracker_result(const struct answer_tracker *tracker, struct slice value)
{
	const struct slice sound = tracker->sound;
	assert(value.len && value.at >= sound.at && value.at + value.len <= sound.at + sound.len);
	return answer_result_in(tracker->base.store, value, true, NULL);
}

struct answer *tracker_made(const struct buf *made)
{
	return made->failed ? NULL : answer_result(buf_slice(made), true, NULL);
}

struct answer *tracker_broken(const struct answer_tracker *tracker, const char *what)
{
	return answer_upstream_error(OUTCOME_UPSTREAM_ERROR, tracker->base.status, 0, (struct slice){ NULL, 0 }, "%s",
				     what);
}

struct answer *tracker_tool_error(const struct answer_tracker *tracker, uint32_t retry_after_s, struct slice error,
				  struct slice said)
{
	struct buf message = BUF_INIT(SIZE_MAX / 4);
	struct slice raw = error;
	if (json_type(raw) == JSON_OBJECT && !json_member(error, SLICE("message"), &raw) &&
	    !json_member(error, SLICE("reason"), &raw))
		raw = SLICE("\"\"");
	if (json_type(raw) == JSON_STRING)
		json_unescape(raw, &message);
	bool has_message = !message.failed && message.len;
	struct answer *answer = answer_upstream_error(OUTCOME_TOOL_ERROR, tracker->base.status, retry_after_s, said,
						      "the tool answered%s%s", has_message ? ": " : " with an error",
						      has_message ? buf_cstr(&message) : "");
	buf_fini(&message);
	return answer;
}

/* Who looks for the reason finds it in the log, where callers do not read. */
static void log_refusal(const struct answer_tracker *tracker, struct slice said)
{
	struct log_line line UNCLEARED;
	if (!log_begin(&line, &EVENT_REQUEST_REFUSED))
		return;
	log_cstr(&line, "dialect", tracker->base.dialect->name);
	log_u64(&line, "status", tracker->base.status);
	log_u64(&line, "calls", tracker->count);
	log_text(&line, "said", (struct slice){ said.at, said.len < LOGGED_BYTES ? said.len : LOGGED_BYTES });
	log_end(&line);
}

/* What calls are shown of it: one JSON text, or empty. The slice points into `said` or `scratch`. */
static struct slice shown_text(const struct answer_tracker *tracker, struct slice said, struct buf *scratch)
{
	if (tracker->count <= 1 || json_trim(said).len == 0)
		return dialect_said(said, tracker->depth, scratch);
	log_refusal(tracker, said);
	return SLICE("\"not shown: it may be about another call of the same request\"");
}

struct answer *tracker_refusal(const struct answer_tracker *tracker, enum outcome outcome, struct slice said,
			       const char *format, ...)
{
	char what[ANSWER_DETAIL_BYTES], many[48] = "";
	struct buf scratch = BUF_INIT(SIZE_MAX / 4);
	va_list args;
	if (tracker->count > 1)
		snprintf(many, sizeof many, "; the request held %zu calls", tracker->count);
	va_start(args, format);
	vsnprintf(what, sizeof what - strlen(many), format, args);
	va_end(args);
	struct answer *answer = answer_upstream_error(outcome, tracker->base.status, tracker->base.retry_after_s,
						      shown_text(tracker, said, &scratch), "%s%s", what, many);
	buf_fini(&scratch);
	return answer;
}

struct answer *tracker_status_refusal(const struct answer_tracker *tracker, enum outcome refusal, struct slice said)
{
	char sentence[ANSWER_DETAIL_BYTES];
	dialect_status_sentence(tracker->base.status, sentence);
	return tracker_refusal(tracker, dialect_status_outcome(tracker->base.status, refusal), said, "%s", sentence);
}

/* Which fault it is that leaves a call of a whole answer without one. */
static struct answer *unproven_outcome(const struct answer_tracker *tracker)
{
	return tracker_refusal(tracker, OUTCOME_UPSTREAM_ERROR, (struct slice){ NULL, 0 },
			       "the provider's list has %s%zu items, and no item says whose it is",
			       tracker->placed > tracker->count ? "at least " : "", tracker->placed);
}

struct answer *tracker_missing(const struct answer_tracker *tracker, struct slice body)
{
	const struct slice nothing = { NULL, 0 };
	if (tracker_failed(tracker))
		return tracker_status_refusal(tracker, OUTCOME_UPSTREAM_ERROR, body);
	if (json_trim(body).len == 0)
		return tracker_broken(tracker, "the provider's answer is empty");
	if (tracker->fault.what)
		return tracker_refusal(tracker, OUTCOME_UPSTREAM_ERROR, nothing,
				       "the provider's answer cannot be read: %s at byte %zu", tracker->fault.what,
				       tracker->fault.at);
	if (tracker->by_place && !tracker->proven)
		return unproven_outcome(tracker);
	return tracker_broken(tracker, "the provider's answer has nothing for this call");
}

enum outcome tracker_outcome(const struct answer_tracker *tracker, bool some)
{
	if (some && !tracker->broken)
		return OUTCOME_OK;
	if (tracker_failed(tracker))
		return dialect_status_outcome(tracker->base.status, OUTCOME_UPSTREAM_ERROR);
	return OUTCOME_UPSTREAM_ERROR;
}
