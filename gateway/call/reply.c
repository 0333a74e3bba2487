/* SPDX-License-Identifier: Apache-2.0 */
/* reply.c: answers into replies. */
#include "gateway/call/reply.h"

#include <endian.h>
#include <stdio.h>

#include "base/hex.h"
#include "base/json.h"
#include "gateway/call/world.h"

enum { PROBLEM_BYTES_MAX = 32 << 20 };

static const char problem_type[] = "application/problem+json";

/* The provider of a call by name, if the answer is the provider's doing; else NULL. */
static const char *provider_name(const struct call *call)
{
	switch (call->answer->outcome) {
	case OUTCOME_UPSTREAM_ERROR:
	case OUTCOME_TOOL_ERROR:
	case OUTCOME_OUTCOME_UNKNOWN:
	case OUTCOME_UPSTREAM_UNAVAILABLE:
	case OUTCOME_UPSTREAM_TIMEOUT:
		break;
	case OUTCOME_RATE_LIMITED:
	default:
		if (call->answer->upstream_status == 0)
			return NULL;
	}
	return call_upstream(call)->settings.name;
}

bool reply_may_retry(const struct answer *answer, const struct call *call)
{
	if (!outcome_retryable(answer->outcome))
		return false;
	if (answer->outcome != OUTCOME_UPSTREAM_ERROR && answer->outcome != OUTCOME_UPSTREAM_TIMEOUT)
		return true; /* it was not carried out */
	if (answer->lasting || answer->upstream_status == 401 || answer->upstream_status == 403)
		return false; /* the gateway's credentials, or the answer's length, will not be better next time */
	return !call || tool_is_repeatable(call->tool);
}

void problem_put(struct buf *out, const struct answer *answer, const char *request_id, const struct call *call)
{
	enum outcome outcome = answer->outcome;
	const char *upstream = call ? provider_name(call) : NULL;
	buf_put_text(out, "{\"type\":\"urn:jitney:problem:");
	buf_put_text(out, outcome_word(outcome));
	buf_put_text(out, "\",\"title\":");
	json_put_string(out, slice_of(outcome_title(outcome)));
	buf_printf(out, ",\"status\":%u,\"detail\":", outcome_status(outcome));
	json_put_string(out, slice_of(answer->detail));
	buf_put_text(out, ",\"code\":\"");
	buf_put_text(out, outcome_word(outcome));
	buf_put_text(out, "\",\"request_id\":");
	json_put_string(out, slice_of(request_id));
	buf_put_text(out, reply_may_retry(answer, call) ? ",\"retryable\":true" : ",\"retryable\":false");
	if (answer_come_again_s(answer)) /* an item of a batch has no header */
		buf_printf(out, ",\"retry_after\":%u", answer_come_again_s(answer));
	if (upstream) {
		buf_put_text(out, ",\"upstream\":{\"name\":");
		json_put_string(out, slice_of(upstream));
		if (answer->upstream_status)
			buf_printf(out, ",\"status\":%u", answer->upstream_status);
		if (answer->json && answer->body_len) {
			buf_put_text(out, ",\"error\":");
			buf_put(out, answer_body(answer));
		}
		buf_put_char(out, '}');
	}
	buf_put_char(out, '}');
}

void reply_send_text(struct request *request, struct reply *reply, const char *content_type, struct buf *text)
{
	struct blob *blob = buf_take_blob(text);
	buf_fini(text);
	if (!blob && reply->status < 400) {
		reply_problem(request, OUTCOME_INTERNAL, NULL,
			      "The gateway ran out of memory while it wrote the reply.");
		return;
	}
	if (blob) {
		reply->content_type = content_type;
		reply->body = blob_slice(blob);
		reply->blob = blob;
	}
	request_reply(request, reply);
	blob_unref(blob);
}

static void send_problem(struct request *request, struct reply *reply, const struct answer *answer,
			 const struct call *call)
{
	struct buf text = BUF_INIT(PROBLEM_BYTES_MAX);
	problem_put(&text, answer, request->id, call);
	if (answer_come_again_s(answer))
		reply_header(reply, "Retry-After", "%u", answer_come_again_s(answer));
	reply_send_text(request, reply, problem_type, &text);
}

void reply_answer(struct request *request, struct answer *answer)
{
	struct reply reply UNCLEARED;
	reply_init(&reply, outcome_status(answer->outcome));
	reply_header_text(&reply, "X-Request-Id", slice_of(request->id));
	send_problem(request, &reply, answer, NULL);
	answer_unref(answer);
}

void reply_problem(struct request *request, enum outcome outcome, const char *allow, const char *format, ...)
{
	char detail[ANSWER_DETAIL_BYTES];
	va_list args;
	va_start(args, format);
	vsnprintf(detail, sizeof detail, format, args);
	va_end(args);
	bool wait_a_little = outcome == OUTCOME_OVERLOADED || outcome == OUTCOME_SHUTTING_DOWN;
	struct answer *answer =
		answer_upstream_error(outcome, 0, wait_a_little ? 1 : 0, (struct slice){ NULL, 0 }, "%s", detail);
	struct reply reply UNCLEARED;
	reply_init(&reply, outcome_status(outcome));
	reply_header_text(&reply, "X-Request-Id", slice_of(request->id));
	if (allow)
		reply_header_text(&reply, "Allow", slice_of(allow));
	if (outcome == OUTCOME_UNAUTHORIZED)
		reply_header_text(&reply, "WWW-Authenticate", SLICE("Bearer"));
	send_problem(request, &reply, answer, NULL);
	answer_unref(answer);
}

void reply_text(struct request *request, unsigned status, const char *content_type, struct buf *text)
{
	struct reply reply UNCLEARED;
	reply_init(&reply, status);
	reply_header_text(&reply, "X-Request-Id", slice_of(request->id));
	reply_send_text(request, &reply, content_type, text);
}

/* ---------------------------------------------------------------- calls */

const char *source_word(enum call_source source)
{
	switch (source) {
	case SOURCE_HIT:
		return "hit";
	case SOURCE_STALE:
		return "stale";
	case SOURCE_MISS:
		return "miss";
	case SOURCE_COLLAPSED:
		return "collapsed";
	case SOURCE_REQUEST:
	case SOURCE_BYPASS:
		return "bypass";
	case SOURCE_NONE:
		break;
	}
	return "none";
}

/* Text into a header's value without the cost of printf: a hit writes three of these. */
struct value {
	size_t len;
	char text[REPLY_HEADER_VALUE_BYTES];
};

static void value_text(struct value *value, const char *text)
{
	size_t len = strlen(text);
	memcpy(value->text + value->len, text, len);
	value->len += len;
}

static void value_number(struct value *value, int64_t number)
{
	char digits[20];
	size_t at = sizeof digits;
	uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
	do {
		digits[--at] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest);
	if (number < 0)
		value->text[value->len++] = '-';
	memcpy(value->text + value->len, digits + at, sizeof digits - at);
	value->len += sizeof digits - at;
}

/* As Server-Timing wants it: "12.345". */
static void value_milliseconds(struct value *value, uint64_t us)
{
	const char decimals[] = { '.', (char)('0' + us % 1000 / 100), (char)('0' + us % 100 / 10),
				  (char)('0' + us % 10) };
	value_number(value, (int64_t)(us / 1000));
	memcpy(value->text + value->len, decimals, sizeof decimals);
	value->len += sizeof decimals;
}

/* RFC 9211, 2.2: why it was fetched. */
static void value_miss_reason(struct value *value, enum cache_miss_reason reason)
{
	value_text(value, reason == MISS_ANSWER ? "fwd=miss" : reason == MISS_FRESHNESS ? "fwd=stale" : "fwd=request");
}

static void put_cache_status(struct reply *reply, const struct call *call)
{
	struct value value UNCLEARED;
	value.len = 0;
	value_text(&value, "jitney; ");
	switch (call->source) {
	case SOURCE_NONE:
		return;
	case SOURCE_HIT:
	case SOURCE_STALE:
		value_text(&value, call->fell_back ? "fwd=stale; ttl=" : "hit; ttl=");
		value_number(&value, cache_ttl_s(call->entry, &call->tool->cache, call->ended_us));
		value_text(&value, call->tier == TIER_REDIS  ? "; detail=redis"
				   : call->tier == TIER_DISK ? "; detail=disk"
							     : "; detail=memory");
		break;
	case SOURCE_MISS:
		value_miss_reason(&value, call->miss_reason);
		break;
	case SOURCE_COLLAPSED:
		value_miss_reason(&value, call->miss_reason);
		value_text(&value, call->entry ? "; collapsed; detail=redis" : "; collapsed");
		break;
	case SOURCE_REQUEST:
		value_text(&value, "fwd=request");
		break;
	case SOURCE_BYPASS:
		value_text(&value, "fwd=bypass");
		break;
	}
	if (call->stored)
		value_text(&value, "; stored");
	reply_header_text(reply, "Cache-Status", (struct slice){ value.text, value.len });
	if (!call->entry)
		return;
	value.len = 0;
	value_number(&value, (int64_t)cache_age_s(call->entry, call->ended_us));
	reply_header_text(reply, "Age", (struct slice){ value.text, value.len });
}

static void put_number(struct reply *reply, const char *name, uint64_t number)
{
	struct value value UNCLEARED;
	value.len = 0;
	value_number(&value, (int64_t)number);
	reply_header_text(reply, name, (struct slice){ value.text, value.len });
}

static void put_timing(struct reply *reply, const struct call *call)
{
	struct value value UNCLEARED;
	if (call->facts.attempts > 1)
		put_number(reply, "X-Attempts", call->facts.attempts);
	if (!call->facts.id && !call->entry)
		return;
	value.len = 0;
	value_text(&value, "cache;dur=");
	value_milliseconds(&value, call->look_us);
	if (call->facts.id) {
		value_text(&value, ", queue;dur=");
		value_milliseconds(&value, call->facts.waited_us);
		value_text(&value, ", upstream;dur=");
		value_milliseconds(&value, call->facts.upstream_us);
	}
	reply_header_text(reply, "Server-Timing", (struct slice){ value.text, value.len });
	if (!call->facts.id)
		return;
	put_number(reply, "X-Batch-Size", call->facts.items);
	put_number(reply, "X-Batch-Id", call->facts.id);
}

bool reply_none_match(const struct request *request, const char *etag)
{
	struct slice value = request->headers[HEADER_IF_NONE_MATCH];
	size_t len = strlen(etag);
	if (slice_equal(value, SLICE("*")))
		return true;
	for (size_t i = 0; i + len <= value.len; i++)
		if (memcmp(value.at + i, etag, len) == 0)
			return true;
	return false;
}

/* The tag of the answer's bytes, for as long as it is kept. True: the caller has them. */
static bool put_etag(struct request *request, struct reply *reply, const struct call *call)
{
	char etag[2 + 16 + 1] = "\"";
	if (!call->entry && !call->stored)
		return false;
	uint64_t tag = htobe64(answer_tag(call->answer));
	hex_write(etag + 1, (const unsigned char *)&tag, sizeof tag);
	etag[17] = '"';
	etag[18] = '\0';
	reply_header_text(reply, "ETag", slice_of(etag));
	return reply_none_match(request, etag);
}

void reply_put_call(struct reply *reply, const struct call *call)
{
	if (worker_generation(call->home)->reply_headers == REPLY_HEADERS_MINIMAL)
		return;
	put_cache_status(reply, call);
	put_timing(reply, call);
}

void reply_put_attempts(struct reply *reply, const struct worker *home, uint32_t most)
{
	if (most > 1 && worker_generation(home)->reply_headers != REPLY_HEADERS_MINIMAL)
		put_number(reply, "X-Attempts", most);
}

void reply_call(struct request *request, const struct call *call)
{
	struct answer *answer = call->answer;
	struct reply reply UNCLEARED;
	reply_init(&reply, outcome_status(answer->outcome));
	reply_header_text(&reply, "X-Request-Id", slice_of(request->id));
	reply_put_call(&reply, call);
	if (answer->outcome != OUTCOME_OK) {
		send_problem(request, &reply, answer, call);
		return;
	}
	if (answer_full(answer).len && slice_equal(request_query(request, SLICE("full")), SLICE("1"))) {
		reply.content_type = "application/json"; /* another form of it, so not under its tag */
		reply.body = answer_full(answer);
		reply.answer = answer;
	} else {
		bool unchanged = put_etag(request, &reply, call);
		reply.status = unchanged ? 304 : reply.status;
		reply.content_type = unchanged ? NULL : answer->content_type;
		reply.body = answer_body(answer); /* a 304 tells its length */
		reply.answer = answer;
	}
	request_reply(request, &reply);
}
