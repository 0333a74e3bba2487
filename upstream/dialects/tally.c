/* SPDX-License-Identifier: Apache-2.0 */
/* tally.c: which calls of an exchange have their answer, and how the rest is told. */
#include "upstream/dialects/tally.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

enum { LOGGED_BYTES = 1000 /* of what was said of a request as a whole */ };

void tally_init(struct tally *tally, const struct dialect *dialect, size_t count, uint64_t first_id, unsigned depth,
		const struct dialect_sink *sink, bool *answered)
{
	tally->base.dialect = dialect;
	tally->base.sink = *sink;
	tally->count = count;
	tally->first_id = first_id;
	tally->depth = depth;
	tally->answered = answered;
}

static void drop_held(struct tally *tally)
{
	for (size_t i = 0; tally->held && i < tally->count; i++)
		answer_unref(tally->held[i]);
	free(tally->held);
	tally->held = NULL;
}

void tally_fini(struct tally *tally)
{
	drop_held(tally);
	json_scratch_fini(&tally->scratch);
}

void tally_head(struct dialect_decoder *base, unsigned status, struct slice content_type, uint32_t retry_after_s)
{
	(void)content_type;
	base->status = status;
	base->retry_after_s = retry_after_s;
}

bool tally_failed(const struct tally *tally)
{
	return tally->base.status < 200 || tally->base.status >= 300;
}

bool tally_number(struct slice raw, uint64_t *number)
{
	if (raw.len >= 2 && json_type(raw) == JSON_STRING)
		raw = (struct slice){ raw.at + 1, raw.len - 2 };
	return raw.len && json_u64(raw, number);
}

bool tally_find(const struct tally *tally, struct slice id, size_t *index)
{
	uint64_t number;
	if (!tally_number(id, &number) || number < tally->first_id || number - tally->first_id >= tally->count)
		return false;
	*index = (size_t)(number - tally->first_id);
	return true;
}

void tally_note(struct tally *tally, const char *what, size_t at)
{
	if (!tally->fault.what)
		tally->fault = (struct json_fault){ .what = what, .at = at };
}

bool tally_check(struct tally *tally, struct slice body, struct slice element)
{
	struct json_fault fault;
	if (json_check(element, tally->depth, &tally->scratch, &fault)) {
		tally->sound = element;
		return true;
	}
	tally_note(tally, fault.what, (size_t)(element.at - body.at) + fault.at);
	return false;
}

static void mark(struct tally *tally, size_t index)
{
	assert(index < tally->count && !tally->answered[index]);
	tally->answered[index] = true;
	tally->answered_count++;
}

static void hand_over(struct tally *tally, size_t index, struct answer *answer)
{
	mark(tally, index);
	dialect_emit(&tally->base, index, answer);
}

void tally_doubt(struct tally *tally, size_t index, struct answer *answer)
{
	const struct dialect_sink *sink = &tally->base.sink;
	assert(answer->outcome != OUTCOME_OK);
	mark(tally, index);
	if (sink->doubted)
		sink->doubted(sink->context, index, answer);
	else
		sink->answered(sink->context, index, answer);
}

void tally_emit(struct tally *tally, size_t index, struct answer *answer)
{
	assert(!tally->by_place || tally->proven);
	hand_over(tally, index, answer);
}

void tally_emit_missing(struct tally *tally, struct answer *answer)
{
	for (size_t i = 0; i < tally->count; i++)
		if (!tally->answered[i])
			hand_over(tally, i, answer_ref(answer));
	answer_unref(answer);
}

/* --- by place --- */

bool tally_by_place(struct tally *tally, bool hold)
{
	tally->by_place = true;
	return !hold || (tally->held = calloc(tally->count, sizeof(struct answer *)));
}

/* The place of the list's next item; false: it is one too many. */
static bool next_place(struct tally *tally, size_t *place)
{
	assert(tally->by_place);
	*place = tally->placed++;
	if (*place < tally->count)
		return true;
	tally->broken = true; /* whatever comes, nobody gets any of it */
	return false;
}

void tally_place(struct tally *tally, struct answer *answer)
{
	size_t place;
	if (next_place(tally, &place) && tally->held)
		tally->held[place] = dialect_or_no_memory(answer);
	else
		answer_unref(answer);
}

void tally_place_nothing(struct tally *tally)
{
	size_t place;
	(void)next_place(tally, &place);
}

bool tally_prove(struct tally *tally, size_t found, size_t wanted)
{
	assert(tally->by_place);
	tally->placed = found;
	tally->proven = found == wanted && !tally->broken && !tally->fault.what;
	return tally->proven;
}

void tally_end_list(struct tally *tally)
{
	struct answer **held = tally->held;
	if (!held)
		return;
	if (!tally_prove(tally, tally->placed, tally->count)) {
		drop_held(tally);
		return;
	}
	tally->held = NULL;
	for (size_t i = 0; i < tally->count; i++)
		if (held[i])
			tally_emit(tally, i, held[i]);
	free(held);
}

/* --- lists --- */

bool tally_read_list(struct tally *tally, struct list_reader *list, const struct json_path *path, struct slice body,
		     bool last, void (*take)(struct tally *tally, struct slice element))
{
	struct slice element;
	size_t at;
	while (!tally->broken) {
		switch (list_reader_next(list, path, body, last, tally->depth + 1, &element, &at)) {
		case JSON_SPLIT_MORE:
			return true;
		case JSON_SPLIT_END:
			tally_end_list(tally);
			return true;
		case JSON_SPLIT_ELEMENT:
			if (tally_check(tally, body, element))
				take(tally, element);
			else if (tally->by_place)
				tally_place_nothing(tally);
			break;
		case JSON_SPLIT_BROKEN:
			tally_note(tally, "not JSON", at);
			tally->broken = true;
			break;
		}
	}
	return false;
}

/* --- answers --- */

struct answer *tally_result(const struct tally *tally, struct slice value)
{
	const struct slice sound = tally->sound;
	assert(value.len && value.at >= sound.at && value.at + value.len <= sound.at + sound.len);
	return answer_result(value, true, NULL);
}

struct answer *tally_made(const struct buf *made)
{
	return made->failed ? NULL : answer_result(buf_slice(made), true, NULL);
}

struct answer *tally_broken(const struct tally *tally, const char *what)
{
	return answer_upstream_error(OUTCOME_UPSTREAM_ERROR, tally->base.status, 0, (struct slice){ NULL, 0 }, "%s",
				     what);
}

struct answer *tally_tool_error(const struct tally *tally, uint32_t retry_after_s, struct slice error,
				struct slice said)
{
	struct buf message = BUF_INIT(SIZE_MAX / 4);
	struct slice raw = error;
	if (json_type(raw) == JSON_OBJECT && !json_member(error, SLICE("message"), &raw) &&
	    !json_member(error, SLICE("reason"), &raw))
		raw = SLICE("\"\"");
	if (json_type(raw) == JSON_STRING)
		json_unescape(raw, &message);
	bool told = !message.failed && message.len;
	struct answer *answer = answer_upstream_error(OUTCOME_TOOL_ERROR, tally->base.status, retry_after_s, said,
						      "the tool answered%s%s", told ? ": " : " with an error",
						      told ? buf_cstr(&message) : "");
	buf_fini(&message);
	return answer;
}

/* Who looks for the reason finds it in the log, where callers do not read. */
static void log_refusal(const struct tally *tally, struct slice said)
{
	struct log_line line UNCLEARED;
	if (!log_begin(&line, &EVENT_REQUEST_REFUSED))
		return;
	log_cstr(&line, "dialect", tally->base.dialect->name);
	log_u64(&line, "status", tally->base.status);
	log_u64(&line, "calls", tally->count);
	log_text(&line, "said", (struct slice){ said.at, said.len < LOGGED_BYTES ? said.len : LOGGED_BYTES });
	log_end(&line);
}

/* What calls are shown of it: one JSON text, or empty. The slice points into `said` or `scratch`. */
static struct slice shown(const struct tally *tally, struct slice said, struct buf *scratch)
{
	if (tally->count <= 1 || json_trim(said).len == 0)
		return dialect_said(said, tally->depth, scratch);
	log_refusal(tally, said);
	return SLICE("\"not shown: it may be about another call of the same request\"");
}

struct answer *tally_refusal(const struct tally *tally, enum outcome outcome, struct slice said, const char *format,
			     ...)
{
	char what[ANSWER_DETAIL_BYTES], many[48] = "";
	struct buf scratch = BUF_INIT(SIZE_MAX / 4);
	va_list args;
	if (tally->count > 1)
		snprintf(many, sizeof many, "; the request held %zu calls", tally->count);
	va_start(args, format);
	vsnprintf(what, sizeof what - strlen(many), format, args);
	va_end(args);
	struct answer *answer = answer_upstream_error(outcome, tally->base.status, tally->base.retry_after_s,
						      shown(tally, said, &scratch), "%s%s", what, many);
	buf_fini(&scratch);
	return answer;
}

struct answer *tally_status_refusal(const struct tally *tally, enum outcome refusal, struct slice said)
{
	char sentence[ANSWER_DETAIL_BYTES];
	dialect_status_sentence(tally->base.status, sentence);
	return tally_refusal(tally, dialect_status_outcome(tally->base.status, refusal), said, "%s", sentence);
}

/* Which fault it is that leaves a call of a whole answer without one. */
static struct answer *unproven(const struct tally *tally)
{
	return tally_refusal(tally, OUTCOME_UPSTREAM_ERROR, (struct slice){ NULL, 0 },
			     "the provider's list has %s%zu items, and no item says whose it is",
			     tally->placed > tally->count ? "at least " : "", tally->placed);
}

struct answer *tally_missing(const struct tally *tally, struct slice body)
{
	const struct slice nothing = { NULL, 0 };
	if (tally_failed(tally))
		return tally_status_refusal(tally, OUTCOME_UPSTREAM_ERROR, body);
	if (json_trim(body).len == 0)
		return tally_broken(tally, "the provider's answer is empty");
	if (tally->fault.what)
		return tally_refusal(tally, OUTCOME_UPSTREAM_ERROR, nothing,
				     "the provider's answer cannot be read: %s at byte %zu", tally->fault.what,
				     tally->fault.at);
	if (tally->by_place && !tally->proven)
		return unproven(tally);
	return tally_broken(tally, "the provider's answer has nothing for this call");
}

enum outcome tally_outcome(const struct tally *tally, bool some)
{
	if (some && !tally->broken)
		return OUTCOME_OK;
	if (tally_failed(tally))
		return dialect_status_outcome(tally->base.status, OUTCOME_UPSTREAM_ERROR);
	return OUTCOME_UPSTREAM_ERROR;
}
