/* tally.c: which calls of an exchange have their answer, and how the rest is told. */
#include "upstream/dialects/tally.h"

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

void tally_fini(struct tally *tally)
{
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
	if (json_check(element, tally->depth, &tally->scratch, &fault))
		return true;
	tally_note(tally, fault.what, (size_t)(element.at - body.at) + fault.at);
	return false;
}

void tally_emit(struct tally *tally, size_t index, struct answer *answer)
{
	tally->answered[index] = true;
	tally->answered_count++;
	dialect_emit(&tally->base, index, answer);
}

void tally_emit_missing(struct tally *tally, struct answer *answer)
{
	for (size_t i = 0; i < tally->count; i++)
		if (!tally->answered[i])
			tally_emit(tally, i, answer_ref(answer));
	answer_unref(answer);
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

/* A failing status speaks for itself; what the provider said goes with it. */
static struct answer *failed_answer(const struct tally *tally, struct slice body)
{
	struct buf scratch = BUF_INIT(SIZE_MAX / 4);
	struct answer *answer =
		dialect_status_answer(&tally->base, OUTCOME_UPSTREAM_ERROR, dialect_said(body, tally->depth, &scratch));
	buf_fini(&scratch);
	return answer;
}

struct answer *tally_missing(const struct tally *tally, struct slice body)
{
	if (tally_failed(tally))
		return failed_answer(tally, body);
	if (json_trim(body).len == 0)
		return tally_broken(tally, "the provider's answer is empty");
	if (tally->fault.what)
		return answer_upstream_error(OUTCOME_UPSTREAM_ERROR, tally->base.status, 0, (struct slice){ NULL, 0 },
					     "the provider's answer cannot be read: %s at byte %zu", tally->fault.what,
					     tally->fault.at);
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
