/* SPDX-License-Identifier: Apache-2.0 */
/* answers.c: what the calls of a delivery are told: by the decoder, or in place of it. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "upstream/http/delivery.h"

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

static void tell_call(struct delivery *delivery, size_t index, struct answer *answer)
{
	assert(index < delivery->count && !delivery->items[index].answered);
	note_reuse(delivery->speaking, answer);
	delivery->items[index].answered = true;
	if (delivery->aborted)
		answer_unref(answer);
	else
		delivery->events->answered(delivery->context, index, answer);
}

/* As tell, for a call that may be sent again. */
static void tell_refused(struct delivery *delivery, size_t index, struct answer *answer)
{
	if (delivery->aborted || !delivery->events->refused) {
		tell_call(delivery, index, answer);
		return;
	}
	delivery->items[index].answered = true;
	delivery->events->refused(delivery->context, index, answer);
}

void answers_hear(void *context, size_t index, struct answer *answer)
{
	struct attempt *attempt = context;
	struct delivery *delivery = attempt->delivery;
	bool again =
		delivery->items[index].repeatable || dialect_nothing_done(http_exchange_status(&attempt->exchange));
	delivery->speaking = attempt;
	if (delivery->finishing && again) {
		delivery->items[index].held = answer;
		return;
	}
	if (!delivery->items[index].repeatable && leaves_open(answer)) {
		struct answer *unknown = unknown_answer(delivery->upstream, answer, answer->detail);
		answer_unref(answer);
		answer = unknown;
	}
	tell_call(delivery, index, answer);
}

void answers_doubt(void *context, size_t index, struct answer *answer)
{
	struct attempt *attempt = context;
	struct delivery *delivery = attempt->delivery;
	if (delivery->aborted || !delivery->events->doubted || !delivery->items[index].repeatable) {
		answers_hear(context, index, answer);
		return;
	}
	delivery->items[index].answered = true;
	delivery->events->doubted(delivery->context, index, answer);
}

static enum outcome failure_outcome(const struct delivery *delivery, enum exchange_end end, bool repeatable)
{
	bool sent = delivery->sent;
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

static struct answer *failure_answer(const struct delivery *delivery, enum outcome outcome, const char *reason)
{
	struct answer *answer = answer_error(outcome, "%s: %s", delivery->upstream->base.settings->name, reason);
	if (answer->outcome ==
	    OUTCOME_UPSTREAM_UNAVAILABLE) /* else it may be the one for want of memory, which is shared */
		answer->lasting = delivery->shut_out > 0 && delivery->shut_out == delivery->attempts;
	return answer;
}

/* One answer for all calls of one kind that have none yet. whole: those that are repeatable may be sent again. */
static void fail_items(struct delivery *delivery, bool repeatable, enum outcome outcome, bool whole, const char *reason)
{
	struct answer *answer = NULL;
	for (size_t i = 0; i < delivery->count && !delivery->aborted; i++) {
		if (delivery->items[i].answered || delivery->items[i].repeatable != repeatable)
			continue;
		if (!answer && outcome == OUTCOME_OUTCOME_UNKNOWN)
			answer = unknown_answer(delivery->upstream, NULL, reason);
		else if (!answer)
			answer = failure_answer(delivery, outcome, reason);
		if (whole)
			tell_refused(delivery, i, answer_ref(answer));
		else
			tell_call(delivery, i, answer_ref(answer));
	}
	answer_unref(answer);
}

/* The head of an answer has come. */
static bool has_begun(const struct delivery *delivery)
{
	return http_exchange_status(&delivery->first.exchange) > 0 ||
	       (delivery->hedge && http_exchange_status(&delivery->hedge->exchange) > 0);
}

void answers_fail(struct delivery *delivery, enum exchange_end end, const char *reason)
{
	delivery->telling = true;
	/* by something in it, perhaps; who cannot be reached has not looked at it */
	bool whole = failure_outcome(delivery, end, true) == OUTCOME_UPSTREAM_ERROR && end != EXCHANGE_NO_MEMORY &&
		     end != EXCHANGE_NOT_SENT && end != EXCHANGE_SHUT_OUT;
	if (delivery->count == 1 && has_begun(delivery))
		whole = false; /* that one call has an answer, which is as bad the next time */
	fail_items(delivery, true, failure_outcome(delivery, end, true), whole, reason);
	fail_items(delivery, false, failure_outcome(delivery, end, false), false, reason);
	delivery_land(delivery, failure_outcome(delivery, end, delivery->repeatable));
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
static bool is_own(const struct delivery *delivery, const struct answer *answer)
{
	if (answer->outcome == OUTCOME_OK)
		return true;
	return answer->outcome == OUTCOME_TOOL_ERROR && delivery->count > 1 && atomic_load(&answer->refs) == 1;
}

/* What the decoder said last of the calls that may be sent again, now that it is known whether all of it failed. What
 * is a call's own is told to it even then: as a refusal of the whole, others would be told of it. */
static void tell_held(struct delivery *delivery, bool whole)
{
	for (size_t i = 0; i < delivery->count; i++) /* all before the first is given away */
		delivery->items[i].own = delivery->items[i].held && is_own(delivery, delivery->items[i].held);
	for (size_t i = 0; i < delivery->count; i++) {
		struct answer *answer = delivery->items[i].held;
		delivery->items[i].held = NULL;
		if (answer && whole && !delivery->items[i].own)
			tell_refused(delivery, i, answer);
		else if (answer)
			tell_call(delivery, i, answer);
	}
}

/*
 * Whether bytes may follow that the next one to use the connection would take for its answer. What nobody could read
 * was said, perhaps, of the provider's own accord just after the request had left, and the answer is still to come. And
 * there are providers that send a body where HTTP has none: with HEAD, and with a 204 that says how long it is.
 */
static bool may_have_more_to_say(const struct attempt *attempt, enum outcome outcome)
{
	const struct http_exchange *exchange = &attempt->exchange;
	unsigned status = http_exchange_status(exchange);
	struct slice value;
	if (strcmp(exchange->method, "HEAD") == 0)
		return true;
	if (status == 204 || status == 304)
		return http_exchange_header(exchange, "Transfer-Encoding", &value) ||
		       (http_exchange_header(exchange, "Content-Length", &value) && !slice_equal(value, SLICE("0")));
	return outcome == OUTCOME_UPSTREAM_ERROR && status < 300;
}

void answers_finish(struct attempt *attempt)
{
	struct delivery *delivery = attempt->delivery;
	delivery->telling = true;
	answers_give_head(attempt);
	delivery->finishing = true;
	enum outcome outcome =
		attempt->decoder->dialect->finish(attempt->decoder, buf_slice(&attempt->exchange.answer));
	delivery->finishing = false;
	delivery->speaking = attempt;
	if (may_have_more_to_say(attempt, outcome))
		transport_distrust(&attempt->exchange.transfer);
	tell_held(delivery, outcome != OUTCOME_OK);
	delivery_land(delivery, outcome);
}
