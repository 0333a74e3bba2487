/* SPDX-License-Identifier: Apache-2.0 */
/*
 * envelope_decode.c: reading with an envelope (envelope.h): finds the list in an answer while its bytes arrive, and
 * for each item the call it belongs to, its status, error and result. Writing is envelope_encode.c's.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "upstream/dialects/envelope_private.h"
#include "upstream/dialects/answer_tracker.h"

struct envelope_decoder {
	struct answer_tracker tracker;
	const struct envelope *envelope;
	struct list_reader list;
	size_t line;    /* NDJSON: where the line under way begins */
	size_t scanned; /* NDJSON: bytes looked at */
	bool answered[];
};

/* What an item says; empty: absent. */
struct item {
	struct slice id, result, status, error;
	uint32_t retry_after_s;
};

static struct dialect_decoder *envelope_decoder_of(const struct dialect *dialect, size_t count, uint64_t first_id,
						   unsigned json_depth, const struct dialect_sink *sink)
{
	struct envelope_decoder *decoder = calloc(1, sizeof *decoder + count * sizeof(bool));
	if (!decoder)
		return NULL;
	decoder->envelope = envelope_of(dialect);
	tracker_init(&decoder->tracker, dialect, count, first_id,
		     json_depth + (unsigned)decoder->envelope->result.count, sink, decoder->answered);
	list_reader_init(&decoder->list);
	if (decoder->envelope->by_id || tracker_by_place(&decoder->tracker, true))
		return &decoder->tracker.base;
	free(decoder);
	return NULL;
}

/* --- an item --- */

static void read_item(const struct envelope *envelope, struct slice element, struct item *item)
{
	uint64_t seconds;
	*item = (struct item){ .id = json_path_at(element, &envelope->id, false),
			       .result = json_path_at(element, &envelope->result, false),
			       .status = json_path_at(element, &envelope->status, false),
			       .error = json_path_at(element, &envelope->error, false) };
	if (item->error.len && json_type(item->error) == JSON_NULL)
		item->error.len = 0;
	if (tracker_number(json_path_at(element, &envelope->retry_after, true), &seconds))
		item->retry_after_s = seconds < UINT32_MAX ? (uint32_t)seconds : UINT32_MAX;
}

/* The item's own status says that it failed. */
static struct answer *status_answer(const struct envelope_decoder *decoder, const struct item *item, unsigned status)
{
	struct dialect_decoder alone = decoder->tracker.base;
	struct buf scratch = BUF_INIT(SIZE_MAX / 4);
	struct slice said = item->error.len ? item->error : item->result;
	alone.status = status;
	alone.retry_after_s = item->retry_after_s;
	struct answer *answer =
		dialect_status_answer(&alone, OUTCOME_TOOL_ERROR, dialect_said(said, decoder->tracker.depth, &scratch));
	buf_fini(&scratch);
	return answer;
}

/* Whether the item says anything for its call; the rest is told by the status of the answer. */
static bool speaks_status(const struct envelope_decoder *decoder, const struct item *item, uint64_t *status)
{
	bool known = tracker_number(item->status, status) && *status >= 100 && *status <= 599;
	if (!known)
		*status = 0;
	/* a status that says that nothing was done is wrong where an item says otherwise */
	return !tracker_failed(&decoder->tracker) || dialect_nothing_done(decoder->tracker.base.status) ||
	       item->error.len || (known && envelope_is_error(decoder->envelope, *status));
}

/* status: the item's own, 0 if it has none. NULL: out of memory. */
static struct answer *item_answer(const struct envelope_decoder *decoder, const struct item *item, uint64_t status)
{
	const struct answer_tracker *tracker = &decoder->tracker;
	if (status && envelope_is_error(decoder->envelope, status))
		return status_answer(decoder, item, (unsigned)status);
	if (item->error.len)
		return tracker_tool_error(tracker, item->retry_after_s, item->error, item->error);
	if (decoder->envelope->status.set && !status)
		return tracker_broken(tracker, "the provider's answer has no status for this call");
	if (item->result.len)
		return tracker_result(tracker, item->result);
	if (status) /* 204 and the like */
		return answer_result(SLICE("null"), true, NULL);
	return tracker_broken(tracker, "the provider's answer has neither a result nor an error");
}

static void take_element(struct answer_tracker *tracker, struct slice element)
{
	struct envelope_decoder *decoder = container_of(tracker, struct envelope_decoder, tracker);
	struct item item;
	uint64_t status = 0;
	size_t index;
	read_item(decoder->envelope, element, &item);
	bool spoken = speaks_status(decoder, &item, &status);
	if (!decoder->envelope->by_id && spoken)
		tracker_place(tracker, item_answer(decoder, &item, status));
	else if (!decoder->envelope->by_id)
		tracker_place_nothing(tracker);
	else if (spoken && tracker_find(tracker, item.id, &index) &&
		 !tracker->answered[index]) /* the first one counts */
		tracker_emit(tracker, index, item_answer(decoder, &item, status));
}

/* --- reading on --- */

static void take_line(struct envelope_decoder *decoder, struct slice body, size_t end)
{
	struct answer_tracker *tracker = &decoder->tracker;
	struct slice line = json_trim((struct slice){ body.at + decoder->line, end - decoder->line });
	if (line.len && tracker_check(tracker, body, line))
		take_element(tracker, line);
	else if (line.len && tracker->by_place)
		tracker_place_nothing(tracker);
	else if (line.len && tracker->cut)
		tracker->broken = true; /* a value over several lines: one of them may look like another call's item */
	decoder->line = end;
}

/* Lines end where the answer does: the last one may have come without its end. */
static bool read_lines(struct envelope_decoder *decoder, struct slice body, bool last)
{
	while (decoder->scanned < body.len && !decoder->tracker.broken) {
		const char *newline = memchr(body.at + decoder->scanned, '\n', body.len - decoder->scanned);
		decoder->scanned = newline ? (size_t)(newline - body.at) + 1 : body.len;
		if (newline)
			take_line(decoder, body, decoder->scanned);
	}
	if (!last && !decoder->tracker.broken) /* what there is of a line that has not ended */
		tracker_look_ahead_behind_blanks(&decoder->tracker, body, decoder->line);
	if (last && !decoder->tracker.broken) {
		take_line(decoder, body, body.len);
		tracker_end_list(&decoder->tracker);
	}
	return !decoder->tracker.broken;
}

static bool read_on(struct envelope_decoder *decoder, struct slice body, bool last)
{
	if (decoder->envelope->answer_ndjson)
		return read_lines(decoder, body, last);
	return tracker_read_list(&decoder->tracker, &decoder->list, &decoder->envelope->list, body, last, take_element);
}

static bool envelope_feed(struct dialect_decoder *base, struct slice body)
{
	return read_on(container_of(base, struct envelope_decoder, tracker.base), body, false);
}

/* --- the end --- */

/* An answer without the list: what it says instead concerns all calls. */
static struct answer *no_list_answer(const struct envelope_decoder *decoder, struct slice body)
{
	const char *list = decoder->envelope->settings->list;
	bool top = strcmp(list, ".") == 0;
	return tracker_refusal(&decoder->tracker, OUTCOME_UPSTREAM_ERROR, body,
			       "the provider refused the request as a whole: its answer has no list %s%s",
			       top ? "" : "at ", top ? "" : list);
}

static struct answer *missing_answer(const struct envelope_decoder *decoder, struct slice body)
{
	if (!tracker_failed(&decoder->tracker) && json_trim(body).len && !decoder->envelope->answer_ndjson &&
	    !decoder->list.found)
		return no_list_answer(decoder, body);
	return tracker_missing(&decoder->tracker, body);
}

static enum outcome envelope_finish(struct dialect_decoder *base, struct slice body)
{
	struct envelope_decoder *decoder = container_of(base, struct envelope_decoder, tracker.base);
	struct answer_tracker *tracker = &decoder->tracker;
	read_on(decoder, body, true);
	bool some = tracker->answered_count > 0;
	if (tracker->answered_count < tracker->count)
		tracker_emit_missing(tracker, missing_answer(decoder, body));
	return tracker_outcome(tracker, some);
}

static void envelope_decoder_free(struct dialect_decoder *base)
{
	if (!base)
		return;
	struct envelope_decoder *decoder = container_of(base, struct envelope_decoder, tracker.base);
	tracker_fini(&decoder->tracker);
	free(decoder);
}

const struct dialect dialect_envelope = {
	.name = "envelope",
	.max_calls = ENVELOPE_MAX_CALLS,
	.route_new = envelope_route_new,
	.route_free = envelope_route_free,
	.check = envelope_check,
	.encode = envelope_encode,
	.decoder_of = envelope_decoder_of,
	.head = tracker_head,
	.feed = envelope_feed,
	.finish = envelope_finish,
	.decoder_free = envelope_decoder_free,
	.release = envelope_free,
};
