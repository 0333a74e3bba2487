/* SPDX-License-Identifier: Apache-2.0 */
/* answers.c: what is delivered to the calls of a request: by the decoder, or in place of it. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "upstream/http/http_request.h"

/* When there is no memory even to say it. */
static struct answer unknown_without_memory = {
	.refs = ANSWER_STATIC,
	.outcome = OUTCOME_OUTCOME_UNKNOWN,
	.detail = "Sent, but the gateway had no memory for the answer; whether the call was carried out is not known.",
};

/* Never says that a repeat would be harmless, not even when memory is out. */
static struct answer *unknown_answer(const struct http_upstream *upstream, const struct answer *like,
				     const char *reason)
{
	struct slice said = like ? answer_body(like) : (struct slice){ NULL, 0 };
	struct answer *answer = answer_upstream_error(
		OUTCOME_OUTCOME_UNKNOWN, like ? like->upstream_status : 0, like ? like->retry_after_s : 0, said,
		"%s: %.110s; whether the call was carried out is not known", upstream->base.settings->name, reason);
	if (answer->outcome == OUTCOME_OUTCOME_UNKNOWN)
		return answer;
	answer_unref(answer);
	return answer_ref(&unknown_without_memory);
}

/* Whether a decoder's word leaves open if the call was carried out: no word from the provider at all, or that it ran
 * out of time. A refusal (4xx, 503) or an error of its own does not. */
static bool leaves_open(const struct answer *answer)
{
	switch (answer->outcome) {
	case OUTCOME_UPSTREAM_TIMEOUT:
	case OUTCOME_OVERLOADED: /* the gateway's memory, after the fact */
		return true;
	case OUTCOME_UPSTREAM_ERROR:
		return answer->upstream_status < 300 && answer->body_len == 0;
	default:
		return false;
	}
}

/* Note what the answer's head says of its reuse, before anybody else has the answer. */
static void note_reuse(const struct attempt *attempt, struct answer *answer)
{
	if ((answer->outcome != OUTCOME_OK && answer->outcome != OUTCOME_TOOL_ERROR) || atomic_load(&answer->refs) != 1)
		return;
	answer->reuse_said = attempt->reuse_said;
	answer->reuse_s = attempt->reuse_s;
	answer->age_s = attempt->age_s;
	answer->reuse_no_stale = attempt->reuse_no_stale;
}

static void deliver_answer(struct http_request *request, size_t index, struct answer *answer)
{
	assert(index < request->count && !request->items[index].answered);
	note_reuse(request->speaking, answer);
	request->items[index].answered = true;
	if (request->aborted)
		answer_unref(answer);
	else
		request->events->answered(request->context, index, answer);
}

/* As deliver_answer, for a call that may be sent again. */
static void deliver_refused(struct http_request *request, size_t index, struct answer *answer)
{
	if (request->aborted || !request->events->refused) {
		deliver_answer(request, index, answer);
		return;
	}
	request->items[index].answered = true;
	request->events->refused(request->context, index, answer);
}

void answers_hear(void *context, size_t index, struct answer *answer)
{
	struct attempt *attempt = context;
	struct http_request *request = attempt->request;
	bool again = request->items[index].repeatable || dialect_nothing_done(http_exchange_status(&attempt->exchange));
	request->speaking = attempt;
	if (request->finishing && again) {
		request->items[index].held = answer;
		return;
	}
	if (!request->items[index].repeatable && leaves_open(answer)) {
		struct answer *unknown = unknown_answer(request->upstream, answer, answer->detail);
		answer_unref(answer);
		answer = unknown;
	}
	deliver_answer(request, index, answer);
}

void answers_doubt(void *context, size_t index, struct answer *answer)
{
	struct attempt *attempt = context;
	struct http_request *request = attempt->request;
	if (request->aborted || !request->events->doubted || !request->items[index].repeatable) {
		answers_hear(context, index, answer);
		return;
	}
	request->items[index].answered = true;
	request->events->doubted(request->context, index, answer);
}

/* The head of an answer has come. */
static bool has_begun(const struct http_request *request)
{
	return http_exchange_status(&request->first.exchange) > 0 ||
	       (request->hedge && http_exchange_status(&request->hedge->exchange) > 0);
}

static enum outcome failure_outcome(const struct http_request *request, enum exchange_end end, bool repeatable)
{
	bool sent = request->sent;
	switch (end) {
	case EXCHANGE_NOT_SENT:
	case EXCHANGE_SHUT_OUT:
	case EXCHANGE_STALE:
		if (!sent)
			return OUTCOME_UPSTREAM_UNAVAILABLE;
		break;
	case EXCHANGE_NO_MEMORY:
		if (!sent)
			return OUTCOME_OVERLOADED;
		return repeatable ? OUTCOME_UPSTREAM_ERROR : OUTCOME_OUTCOME_UNKNOWN;
	case EXCHANGE_NO_ROOM:
		return repeatable ? OUTCOME_OVERLOADED : OUTCOME_OUTCOME_UNKNOWN;
	case EXCHANGE_TIMED_OUT:
		return repeatable ? OUTCOME_UPSTREAM_TIMEOUT : OUTCOME_OUTCOME_UNKNOWN;
	case EXCHANGE_COMPLETE:
	case EXCHANGE_BROKE:
	case EXCHANGE_TOO_LARGE:
		break;
	}
	return repeatable ? OUTCOME_UPSTREAM_ERROR : OUTCOME_OUTCOME_UNKNOWN;
}

/* Whether the same call, alone, would fail the same way. */
static bool is_lasting(const struct http_request *request, enum exchange_end end)
{
	const struct http_exchange *exchange = &request->first.exchange;
	if (end == EXCHANGE_TOO_LARGE ||
	    (end == EXCHANGE_BROKE && has_begun(request) && http_exchange_is_coded(exchange)))
		return request->count == 1;
	return request->shut_out > 0 && request->shut_out == request->attempts;
}

static struct answer *failure_answer(const struct http_request *request, enum exchange_end end, enum outcome outcome,
				     const char *reason)
{
	struct answer *answer = answer_error(outcome, "%s: %s", request->upstream->base.settings->name, reason);
	if (answer->outcome == OUTCOME_UPSTREAM_UNAVAILABLE ||
	    answer->outcome == OUTCOME_UPSTREAM_ERROR) /* else it may be the one for want of memory, which is shared */
		answer->lasting = is_lasting(request, end);
	return answer;
}

/* One answer for all calls of one kind that have none yet. whole: those that are repeatable may be sent again. */
static void fail_items(struct http_request *request, bool repeatable, enum exchange_end end, bool whole,
		       const char *reason)
{
	enum outcome outcome = failure_outcome(request, end, repeatable);
	struct answer *answer = NULL;
	for (size_t i = 0; i < request->count && !request->aborted; i++) {
		if (request->items[i].answered || request->items[i].repeatable != repeatable)
			continue;
		if (!answer && outcome == OUTCOME_OUTCOME_UNKNOWN)
			answer = unknown_answer(request->upstream, NULL, reason);
		else if (!answer)
			answer = failure_answer(request, end, outcome, reason);
		if (whole)
			deliver_refused(request, i, answer_ref(answer));
		else
			deliver_answer(request, i, answer_ref(answer));
	}
	answer_unref(answer);
}

void answers_fail(struct http_request *request, enum exchange_end end, const char *reason)
{
	request->delivering = true;
	/* by something in it, perhaps; who cannot be reached has not looked at it */
	bool whole = failure_outcome(request, end, true) == OUTCOME_UPSTREAM_ERROR && end != EXCHANGE_NO_MEMORY &&
		     end != EXCHANGE_NOT_SENT && end != EXCHANGE_SHUT_OUT;
	if (request->count == 1 && has_begun(request))
		whole = false; /* that one call has an answer, which is as bad the next time */
	fail_items(request, true, end, whole, reason);
	fail_items(request, false, end, false, reason);
	http_request_complete(request, failure_outcome(request, end, request->repeatable));
}

void answers_give_head(struct attempt *attempt)
{
	if (attempt->headed)
		return;
	attempt->headed = true;
	const struct http_exchange *exchange = &attempt->exchange;
	const struct dialect *dialect = attempt->decoder->dialect;
	struct slice wanted;
	if (dialect->wanted_header && http_exchange_header(exchange, dialect->wanted_header, &wanted))
		dialect->header(attempt->decoder, wanted);
	dialect->head(attempt->decoder, http_exchange_status(exchange), http_exchange_content_type(exchange),
		      http_exchange_retry_after_s(exchange));
	attempt->reuse_said =
		http_exchange_reuse(exchange, &attempt->reuse_s, &attempt->age_s, &attempt->reuse_no_stale);
}

/* A result is its call's own. So is a tool's error that no other call of the exchange was given. */
static bool is_own(const struct http_request *request, const struct answer *answer)
{
	if (answer->outcome == OUTCOME_OK)
		return true;
	return answer->outcome == OUTCOME_TOOL_ERROR && request->count > 1 && atomic_load(&answer->refs) == 1;
}

/* What the decoder said last of the calls that may be sent again, now that it is known whether all of it failed. What
 * is a call's own is delivered even then: as a refusal of the whole, others would be told of it. */
static void deliver_held(struct http_request *request, bool whole)
{
	for (size_t i = 0; i < request->count; i++) /* all before the first is given away */
		request->items[i].own = request->items[i].held && is_own(request, request->items[i].held);
	for (size_t i = 0; i < request->count; i++) {
		struct answer *answer = request->items[i].held;
		request->items[i].held = NULL;
		if (answer && whole && !request->items[i].own)
			deliver_refused(request, i, answer);
		else if (answer)
			deliver_answer(request, i, answer);
	}
}

/*
 * Whether bytes may follow that the next one to use the connection would take for its answer. What nobody could read
 * was said, perhaps, of the provider's own accord just after the request had left, and the answer is still to come. And
 * there are providers that send a body where HTTP has none: with HEAD, and with a 204 that says how long it is. And 408
 * says that no request has come: it was sent of an idle connection, on which ours has come meanwhile.
 */
static bool may_have_more_to_say(const struct attempt *attempt, enum outcome outcome)
{
	const struct http_exchange *exchange = &attempt->exchange;
	unsigned status = http_exchange_status(exchange);
	struct slice value;
	if (strcmp(exchange->method, "HEAD") == 0 || status == 408)
		return true;
	if (status == 204 || status == 304)
		return http_exchange_header(exchange, "Transfer-Encoding", &value) ||
		       (http_exchange_header(exchange, "Content-Length", &value) && !slice_equal(value, SLICE("0")));
	return outcome == OUTCOME_UPSTREAM_ERROR && status < 300;
}

void answers_finish(struct attempt *attempt)
{
	struct http_request *request = attempt->request;
	request->delivering = true;
	answers_give_head(attempt);
	request->finishing = true;
	attempt->decoder->store = request->endless ? NULL : attempt->exchange.answer.store;
	enum outcome outcome =
		attempt->decoder->dialect->finish(attempt->decoder, buf_slice(&attempt->exchange.answer));
	request->finishing = false;
	request->speaking = attempt;
	if (may_have_more_to_say(attempt, outcome))
		transport_distrust(&attempt->exchange.transfer);
	deliver_held(request, outcome != OUTCOME_OK);
	http_request_complete(request, outcome);
}
