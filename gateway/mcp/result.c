/* SPDX-License-Identifier: Apache-2.0 */
/* result.c: results and errors as JSON-RPC responses. What an MCP server said is spliced, never written anew; what is
 * long is noted in pieces. */
#include <stdio.h>
#include <strings.h>

#include "base/json.h"
#include "gateway/mcp/mcp_private.h"
#include "gateway/call/reply.h"

enum {
	SAID_BYTES = 2000, /* of a provider's error, for the model */
	FAILURE_BYTES_MAX = 64 << 10
};

void mcp_error_set(struct mcp_error *error, unsigned status, int code, enum outcome outcome, const char *format, ...)
{
	va_list args;
	*error = (struct mcp_error){ .status = status, .code = code, .outcome = outcome };
	va_start(args, format);
	vsnprintf(error->message, sizeof error->message, format, args);
	va_end(args);
}

static void put_head(struct buf *out, struct slice id)
{
	buf_put_text(out, "{\"jsonrpc\":\"2.0\",\"id\":");
	buf_put(out, id.len ? id : SLICE("null"));
}

void mcp_reply_error(struct buf *out, struct slice id, const struct mcp_error *error, const char *request_id)
{
	put_head(out, id);
	buf_printf(out, ",\"error\":{\"code\":%d,\"message\":", error->code);
	json_put_string(out, slice_of(error->message));
	buf_printf(out, ",\"data\":{\"code\":\"%s\",\"request_id\":", outcome_word(error->outcome));
	json_put_string(out, slice_of(request_id));
	buf_put_text(out, outcome_retryable(error->outcome) ? ",\"retryable\":true" : ",\"retryable\":false");
	if (error->retry_after_s)
		buf_printf(out, ",\"retryAfterMs\":%llu", (unsigned long long)error->retry_after_s * 1000);
	if (error->requested.len) {
		buf_put_text(out, ",\"supported\":[\"" MCP_VERSION_MODERN "\"],\"requested\":");
		buf_put(out, error->requested);
	}
	buf_put_text(out, "}}}");
}

/* ---------------------------------------------------------------- results */

#define SERVER_INFO "\"io.modelcontextprotocol/serverInfo\":" MCP_SERVER_INFO

/* What stands between the brackets of an object or array. */
static struct slice strip_brackets(struct slice value)
{
	struct slice text = json_trim(value);
	return json_trim((struct slice){ text.at + 1, text.len - 2 });
}

/* What of a modern result decides what is missing. */
struct modern_marks {
	bool typed;        /* has a resultType */
	struct slice meta; /* its _meta; empty: none */
};

/* In one walk: a result may be megabytes. */
static struct modern_marks find_marks(struct slice result)
{
	struct modern_marks marks = { false, { NULL, 0 } };
	struct json_walk walk = json_walk(result);
	struct slice name, value;
	while (json_next_member(&walk, &name, &value)) {
		if (json_string_is(name, SLICE("resultType")))
			marks.typed = true;
		else if (json_string_is(name, SLICE("_meta")))
			marks.meta = value;
	}
	return marks;
}

/* serverInfo and then what `object` has, as one object. */
static void put_with_info(struct pieces *to, struct slice object)
{
	struct slice inner = strip_brackets(object);
	pieces_put_text(to, inner.len ? "{" SERVER_INFO "," : "{" SERVER_INFO);
	pieces_put(to, inner);
	pieces_put_text(to, "}");
}

/* The result with what 2026-07-28 wants in every one. */
static void put_modern(struct pieces *to, struct slice result)
{
	struct slice whole = strip_brackets(result), info;
	struct modern_marks marks = find_marks(result);
	pieces_put_text(to, marks.typed ? "{" : "{\"resultType\":\"complete\",");
	if (!marks.meta.len) {
		pieces_put_text(to, whole.len ? "\"_meta\":{" SERVER_INFO "}," : "\"_meta\":{" SERVER_INFO "}");
		pieces_put(to, whole);
	} else if (json_type(marks.meta) != JSON_OBJECT ||
		   json_member(marks.meta, SLICE("io.modelcontextprotocol/serverInfo"), &info)) {
		pieces_put(to, whole);
	} else {
		const char *after = marks.meta.at + marks.meta.len;
		pieces_put(to, (struct slice){ whole.at, (size_t)(marks.meta.at - whole.at) });
		put_with_info(to, marks.meta);
		pieces_put(to, (struct slice){ after, (size_t)(whole.at + whole.len - after) });
	}
	pieces_put_text(to, "}");
}

/* Behind the head: what follows "result". */
static void put_result(struct pieces *to, enum mcp_era era, struct slice result)
{
	if (era == MCP_MODERN)
		put_modern(to, result);
	else
		pieces_put(to, result);
	pieces_put_text(to, "}");
}

void mcp_reply_head(struct buf *out, struct slice id)
{
	put_head(out, id);
	buf_put_text(out, ",\"result\":");
}

void mcp_reply_result(struct buf *out, struct slice id, enum mcp_era era, struct slice result)
{
	struct pieces pieces = { 0 };
	mcp_reply_head(out, id);
	put_result(&pieces, era, result);
	pieces_write_all(&pieces, out);
}

/* ---------------------------------------------------------------- calls */

static bool type_begins(const char *type, const char *family)
{
	return strncasecmp(type, family, strlen(family)) == 0;
}

/* What is no text: an image or a sound by its name, anything else as an embedded resource. */
static void put_binary(struct pieces *to, const struct answer *answer)
{
	bool image = type_begins(answer->content_type, "image/"), audio = type_begins(answer->content_type, "audio/");
	pieces_put_text(to, image   ? "{\"type\":\"image\",\"data\":\""
			    : audio ? "{\"type\":\"audio\",\"data\":\""
				    : "{\"type\":\"resource\",\"resource\":{\"uri\":\"jitney:result\",\"blob\":\"");
	pieces_put_base64(to, answer_body(answer));
	pieces_put_text(to, "\",\"mimeType\":");
	pieces_put_string(to, slice_of(answer->content_type));
	pieces_put_text(to, image || audio ? "}" : "}}");
}

static void put_text(struct pieces *to, struct slice text)
{
	pieces_put_text(to, "{\"type\":\"text\",\"text\":");
	pieces_put_string(to, text);
	pieces_put_text(to, "}");
}

/* A tool's result that came as no MCP result, but for its last bracket: text, and the same as structure where it is an
 * object. */
static void put_content(struct pieces *to, const struct answer *answer)
{
	struct slice body = answer_body(answer), value = json_trim(body);
	pieces_put_text(to, "\"content\":[");
	if (!answer->json && (type_begins(answer->content_type, "image/") ||
			      type_begins(answer->content_type, "audio/") || !json_utf8(body))) {
		put_binary(to, answer);
	} else if (answer->json && json_type(value) == JSON_STRING) {
		pieces_put_text(to, "{\"type\":\"text\",\"text\":");
		pieces_put(to, value);
		pieces_put_text(to, "}");
	} else {
		put_text(to, body);
	}
	pieces_put_text(to, "]");
	if (answer->json && json_type(value) == JSON_OBJECT) {
		pieces_put_text(to, ",\"structuredContent\":");
		pieces_put(to, value);
	}
}

const char *mcp_own_result(enum mcp_era era)
{
	return era == MCP_MODERN ? "{\"resultType\":\"complete\",\"_meta\":{" SERVER_INFO "}," : "{";
}

/* What went wrong and what to do, for a model to read. */
static void write_advice(struct buf *text, const struct call *call)
{
	const struct answer *answer = call->answer;
	buf_put_text(text, answer->detail);
	if (answer->json && answer->body_len) {
		struct slice said = answer_body(answer);
		buf_put_text(text, "\nThe provider said: ");
		buf_put(text, (struct slice){ said.at, said.len < SAID_BYTES ? said.len : SAID_BYTES });
	}
	if (answer->outcome == OUTCOME_OUTCOME_UNKNOWN ||
	    (answer->outcome == OUTCOME_UPSTREAM_TIMEOUT && !tool_is_repeatable(call->tool)))
		buf_put_text(text, "\nThe call may have taken effect: check before you repeat it.");
	else if (reply_may_retry(answer, call) && answer->retry_after_s)
		buf_printf(text, "\nThe same call may be tried again in %u s.", answer->retry_after_s);
	else if (reply_may_retry(answer, call))
		buf_put_text(text, "\nThe same call may be tried again.");
}

static void write_failure(struct buf *out, const struct call *call, const char *request_id)
{
	const struct answer *answer = call->answer;
	struct buf text = BUF_INIT(SAID_BYTES + 2 * ANSWER_DETAIL_BYTES);
	write_advice(&text, call);
	buf_put_text(out, "{\"content\":[{\"type\":\"text\",\"text\":");
	json_put_string(out, buf_slice(&text));
	buf_fini(&text);
	buf_printf(out, "}],\"isError\":true,\"_meta\":{\"jitney/error\":{\"code\":\"%s\",\"request_id\":",
		   outcome_word(answer->outcome));
	json_put_string(out, slice_of(request_id));
	buf_put_text(out, reply_may_retry(answer, call) ? ",\"retryable\":true" : ",\"retryable\":false");
	if (answer->retry_after_s)
		buf_printf(out, ",\"retryAfterMs\":%llu", (unsigned long long)answer->retry_after_s * 1000);
	if (call->facts.attempts > 1)
		buf_printf(out, ",\"attempts\":%u", call->facts.attempts);
	buf_put_text(out, "}}}");
}

/* What the gateway itself did not let happen is an error of the protocol; what a model can do something about is a
 * result (clients hand the one to their program, the other to the model). */
static bool is_protocol_error(const struct answer *answer, struct mcp_error *error)
{
	switch (answer->outcome) {
	case OUTCOME_RATE_LIMITED:
		if (answer->upstream_status)
			return false; /* the provider's own limit */
		break;
	case OUTCOME_OVERLOADED:
	case OUTCOME_SHUTTING_DOWN:
	case OUTCOME_UNAUTHORIZED:
	case OUTCOME_FORBIDDEN:
	case OUTCOME_INTERNAL:
		break;
	default:
		return false;
	}
	int code = answer->outcome == OUTCOME_INTERNAL ? MCP_INTERNAL_ERROR : (int)outcome_status(answer->outcome);
	mcp_error_set(error, 200, code, answer->outcome, "%s", answer->detail);
	error->retry_after_s = answer_come_again_s(answer);
	return true;
}

/* Short: its place is `out`. */
static void put_failure(struct buf *out, struct slice id, enum mcp_era era, const struct call *call,
			const char *request_id)
{
	struct buf result = BUF_INIT(FAILURE_BYTES_MAX);
	write_failure(&result, call, request_id);
	if (result.failed)
		out->failed = true;
	else
		mcp_reply_result(out, id, era, buf_slice(&result));
	buf_fini(&result);
}

static void put_digits(struct pieces *to, uint32_t number)
{
	static const char *const digits[] = { "0", "1", "2", "3", "4", "5", "6", "7", "8", "9" };
	if (number >= 10)
		put_digits(to, number / 10);
	pieces_put_text(to, digits[number % 10]);
}

/* A legacy result, and in its _meta how often its call was tried. */
static void put_attempted(struct pieces *to, struct slice result, uint32_t attempts)
{
	struct slice whole = strip_brackets(result), meta = find_marks(result).meta;
	struct slice inner =
		meta.len && json_type(meta) == JSON_OBJECT ? strip_brackets(meta) : (struct slice){ NULL, 0 };
	if (meta.len && json_type(meta) != JSON_OBJECT) { /* no room of ours */
		pieces_put(to, result);
		return;
	}
	pieces_put_text(to, "{");
	if (meta.len)
		pieces_put(to, (struct slice){ whole.at, (size_t)(meta.at - whole.at) });
	pieces_put_text(to, meta.len ? "{\"jitney/attempts\":" : "\"_meta\":{\"jitney/attempts\":");
	put_digits(to, attempts);
	pieces_put_text(to, inner.len ? "," : "");
	pieces_put(to, inner);
	pieces_put_text(to, meta.len || !whole.len ? "}" : "},");
	const char *after = meta.len ? meta.at + meta.len : whole.at;
	pieces_put(to, (struct slice){ after, (size_t)(whole.at + whole.len - after) });
	pieces_put_text(to, "}");
}

void mcp_put_call(struct buf *out, struct pieces *rest, struct slice id, enum mcp_era era, const struct call *call,
		  const char *request_id)
{
	const struct answer *answer = call->answer;
	struct mcp_error error;
	if (answer_full(answer).len) {
		mcp_reply_head(out, id);
		put_result(rest, era, answer_full(answer));
	} else if (answer->outcome == OUTCOME_OK) {
		mcp_reply_head(out, id);
		pieces_put_text(rest, mcp_own_result(era));
		put_content(rest, answer);
		pieces_put_text(rest, "}}");
	} else if (is_protocol_error(answer, &error)) {
		mcp_reply_error(out, id, &error, request_id);
	} else {
		put_failure(out, id, era, call, request_id);
	}
}

void mcp_put_call_of_array(struct buf *out, struct pieces *rest, struct slice id, const struct call *call,
			   const char *request_id)
{
	const struct answer *answer = call->answer;
	uint32_t attempts = call->facts.attempts;
	if (attempts <= 1 || answer->outcome != OUTCOME_OK) {
		mcp_put_call(out, rest, id, MCP_LEGACY, call, request_id);
		return;
	}
	mcp_reply_head(out, id);
	if (answer_full(answer).len) {
		put_attempted(rest, answer_full(answer), attempts);
		pieces_put_text(rest, "}");
		return;
	}
	buf_printf(out, "{\"_meta\":{\"jitney/attempts\":%u},", attempts);
	put_content(rest, answer);
	pieces_put_text(rest, "}}");
}
