/*
 * envelope_decode.c: reading with an envelope (envelope.h): finds the list in an answer while its bytes arrive, and
 * for each item the call it belongs to, its status, error and result. Writing is envelope_encode.c's.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "upstream/dialects/envelope_private.h"
#include "upstream/dialects/list_reader.h"
#include "upstream/dialects/tally.h"

struct envelope_decoder {
	struct tally tally;
	const struct envelope *envelope;
	size_t position; /* of the next item in the list */
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
	tally_init(&decoder->tally, dialect, count, first_id, json_depth + (unsigned)decoder->envelope->result.count,
		   sink, decoder->answered);
	list_reader_init(&decoder->list);
	return &decoder->tally.base;
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
	if (tally_number(json_path_at(element, &envelope->retry_after, true), &seconds))
		item->retry_after_s = seconds < UINT32_MAX ? (uint32_t)seconds : UINT32_MAX;
}

/* The item's own status says that it failed. */
static struct answer *status_answer(const struct envelope_decoder *decoder, const struct item *item, unsigned status)
{
	struct dialect_decoder alone = decoder->tally.base;
	struct buf scratch = BUF_INIT(SIZE_MAX / 4);
	struct slice said = item->error.len ? item->error : item->result;
	alone.status = status;
	alone.retry_after_s = item->retry_after_s;
	struct answer *answer =
		dialect_status_answer(&alone, OUTCOME_TOOL_ERROR, dialect_said(said, decoder->tally.depth, &scratch));
	buf_fini(&scratch);
	return answer;
}

static void answer_call(struct envelope_decoder *decoder, size_t index, const struct item *item)
{
	const struct envelope *envelope = decoder->envelope;
	uint64_t status = 0;
	bool known = tally_number(item->status, &status) && status >= 100 && status <= 599;
	if (decoder->tally.answered[index])
		return; /* the first one counts */
	if (known && envelope_is_error(envelope, status))
		tally_emit(&decoder->tally, index, status_answer(decoder, item, (unsigned)status));
	else if (item->error.len)
		tally_emit(&decoder->tally, index,
			   tally_tool_error(&decoder->tally, item->retry_after_s, item->error, item->error));
	else if (tally_failed(&decoder->tally))
		return; /* finish answers by the status */
	else if (envelope->status.set && !known)
		tally_emit(&decoder->tally, index,
			   tally_broken(&decoder->tally, "the provider's answer has no status for this call"));
	else if (item->result.len)
		tally_emit(&decoder->tally, index, answer_result(item->result, true, NULL));
	else if (known) /* 204 and the like */
		tally_emit(&decoder->tally, index, answer_result(SLICE("null"), true, NULL));
	else
		tally_emit(&decoder->tally, index,
			   tally_broken(&decoder->tally, "the provider's answer has neither a result nor an error"));
}

static void take_element(struct envelope_decoder *decoder, struct slice body, struct slice element)
{
	struct item item;
	size_t index = decoder->position++;
	if (!tally_check(&decoder->tally, body, element))
		return;
	read_item(decoder->envelope, element, &item);
	if (decoder->envelope->by_id ? tally_find(&decoder->tally, item.id, &index) : index < decoder->tally.count)
		answer_call(decoder, index, &item);
}

/* --- reading on --- */

static bool read_list(struct envelope_decoder *decoder, struct slice body, bool last)
{
	struct tally *tally = &decoder->tally;
	struct slice element;
	size_t at;
	while (!tally->broken) {
		switch (list_reader_next(&decoder->list, &decoder->envelope->list, body, last, tally->depth + 1,
					 &element, &at)) {
		case JSON_SPLIT_MORE:
		case JSON_SPLIT_END:
			return true;
		case JSON_SPLIT_ELEMENT:
			take_element(decoder, body, element);
			break;
		case JSON_SPLIT_BROKEN:
			tally_note(tally, "not JSON", at);
			tally->broken = true;
			break;
		}
	}
	return false;
}

static void take_line(struct envelope_decoder *decoder, struct slice body, size_t end)
{
	struct slice line = json_trim((struct slice){ body.at + decoder->line, end - decoder->line });
	if (line.len)
		take_element(decoder, body, line);
	decoder->line = end;
}

static bool read_lines(struct envelope_decoder *decoder, struct slice body, bool last)
{
	while (decoder->scanned < body.len) {
		const char *newline = memchr(body.at + decoder->scanned, '\n', body.len - decoder->scanned);
		decoder->scanned = newline ? (size_t)(newline - body.at) + 1 : body.len;
		if (newline)
			take_line(decoder, body, decoder->scanned);
	}
	if (last)
		take_line(decoder, body, body.len);
	return true;
}

static bool read_on(struct envelope_decoder *decoder, struct slice body, bool last)
{
	if (decoder->envelope->answer_ndjson)
		return read_lines(decoder, body, last);
	return read_list(decoder, body, last);
}

static bool envelope_feed(struct dialect_decoder *base, struct slice body)
{
	return read_on(container_of(base, struct envelope_decoder, tally.base), body, false);
}

/* --- the end --- */

/* An answer without the list: what it says instead concerns all calls. */
static struct answer *no_list_answer(const struct envelope_decoder *decoder, struct slice body)
{
	const char *list = decoder->envelope->settings->list;
	const struct tally *tally = &decoder->tally;
	struct buf scratch = BUF_INIT(SIZE_MAX / 4);
	struct answer *answer = answer_upstream_error(
		OUTCOME_UPSTREAM_ERROR, tally->base.status, 0, dialect_said(body, tally->depth, &scratch),
		"the provider refused the request as a whole: its answer has no list %s%s",
		strcmp(list, ".") == 0 ? "" : "at ", strcmp(list, ".") == 0 ? "" : list);
	buf_fini(&scratch);
	return answer;
}

static struct answer *missing_answer(const struct envelope_decoder *decoder, struct slice body)
{
	if (!tally_failed(&decoder->tally) && json_trim(body).len && !decoder->envelope->answer_ndjson &&
	    !decoder->list.found)
		return no_list_answer(decoder, body);
	return tally_missing(&decoder->tally, body);
}

static enum outcome envelope_finish(struct dialect_decoder *base, struct slice body)
{
	struct envelope_decoder *decoder = container_of(base, struct envelope_decoder, tally.base);
	struct tally *tally = &decoder->tally;
	read_on(decoder, body, true);
	bool some = tally->answered_count > 0;
	if (tally->answered_count < tally->count)
		tally_emit_missing(tally, missing_answer(decoder, body));
	return tally_outcome(tally, some);
}

static void envelope_decoder_free(struct dialect_decoder *base)
{
	if (!base)
		return;
	struct envelope_decoder *decoder = container_of(base, struct envelope_decoder, tally.base);
	tally_fini(&decoder->tally);
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
	.head = tally_head,
	.feed = envelope_feed,
	.finish = envelope_finish,
	.decoder_free = envelope_decoder_free,
	.release = envelope_free,
};
