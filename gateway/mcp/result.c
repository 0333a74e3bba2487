/* SPDX-License-Identifier: Apache-2.0 */
/* result.c: results and errors as JSON-RPC responses. What an MCP server said is spliced, never written anew. */
#include <openssl/evp.h>
#include <stdio.h>
#include <strings.h>

#include "base/json.h"
#include "gateway/mcp/mcp_private.h"
#include "gateway/call/reply.h"

enum { SAID_BYTES = 2000 }; /* of a provider's error, for the model */

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

static const char server_info[] = "\"io.modelcontextprotocol/serverInfo\":" MCP_SERVER_INFO;

/* What stands between the brackets of an object or array. */
static struct slice strip_quotes(struct slice value)
{
	struct slice text = json_trim(value);
	return json_trim((struct slice){ text.at + 1, text.len - 2 });
}

/* `first` and then what `object` has, as one object. */
static void put_before(struct buf *out, const char *first, struct slice object)
{
	struct slice rest = strip_quotes(object);
	buf_put_char(out, '{');
	buf_put_text(out, first);
	if (rest.len)
		buf_put_char(out, ',');
	buf_put(out, rest);
	buf_put_char(out, '}');
}

/* The result with what 2026-07-28 wants in every one. */
static void put_modern(struct buf *out, struct slice result)
{
	struct slice type, meta = { NULL, 0 }, info;
	bool typed = json_member(result, SLICE("resultType"), &type);
	bool has_meta = json_member(result, SLICE("_meta"), &meta);
	buf_put_char(out, '{');
	if (!typed)
		buf_put_text(out, "\"resultType\":\"complete\",");
	if (!has_meta) {
		buf_put_text(out, "\"_meta\":{");
		buf_put_text(out, server_info);
		buf_put_text(out, strip_quotes(result).len ? "}," : "}");
		buf_put(out, strip_quotes(result));
	} else if (json_type(meta) != JSON_OBJECT ||
		   json_member(meta, SLICE("io.modelcontextprotocol/serverInfo"), &info)) {
		buf_put(out, strip_quotes(result));
	} else {
		struct slice whole = strip_quotes(result);
		buf_put(out, (struct slice){ whole.at, (size_t)(meta.at - whole.at) });
		put_before(out, server_info, meta);
		const char *after = meta.at + meta.len;
		buf_put(out, (struct slice){ after, (size_t)(whole.at + whole.len - after) });
	}
	buf_put_char(out, '}');
}

void mcp_reply_result(struct buf *out, struct slice id, enum mcp_era era, struct slice result)
{
	put_head(out, id);
	buf_put_text(out, ",\"result\":");
	if (era == MCP_MODERN)
		put_modern(out, result);
	else
		buf_put(out, result);
	buf_put_char(out, '}');
}

/* ---------------------------------------------------------------- calls */

static void put_text_content(struct buf *out, struct slice text)
{
	buf_put_text(out, "{\"content\":[{\"type\":\"text\",\"text\":");
	json_put_string(out, text);
	buf_put_text(out, "}]");
}

static void put_base64(struct buf *out, struct slice bytes)
{
	enum { BLOCK = 3 * 1024 };
	unsigned char text[BLOCK / 3 * 4 + 1];
	for (size_t at = 0; at < bytes.len; at += BLOCK) {
		size_t count = bytes.len - at < BLOCK ? bytes.len - at : BLOCK;
		int len = EVP_EncodeBlock(text, (const unsigned char *)bytes.at + at, (int)count);
		buf_put(out, (struct slice){ (const char *)text, (size_t)len });
	}
}

static bool type_begins(const char *type, const char *family)
{
	return strncasecmp(type, family, strlen(family)) == 0;
}

/* What is no text: an image or a sound by its name, anything else as an embedded resource. */
static void put_binary(struct buf *out, const struct answer *answer)
{
	bool image = type_begins(answer->content_type, "image/"), audio = type_begins(answer->content_type, "audio/");
	buf_put_text(out, "{\"content\":[{\"type\":\"");
	buf_put_text(out, image   ? "image\",\"data\":\""
			  : audio ? "audio\",\"data\":\""
				  : "resource\",\"resource\":{\"uri\":\"jitney:result\",\"blob\":\"");
	put_base64(out, answer_body(answer));
	buf_put_text(out, "\",\"mimeType\":");
	json_put_string(out, slice_of(answer->content_type));
	buf_put_text(out, image || audio ? "}]" : "}}]");
}

/* A tool's result that came as no MCP result: text, and the same as structure where it is an object. */
static void put_content(struct buf *out, const struct answer *answer)
{
	struct slice body = answer_body(answer);
	if (!answer->json) {
		if (type_begins(answer->content_type, "image/") || type_begins(answer->content_type, "audio/") ||
		    !json_utf8(body))
			put_binary(out, answer);
		else
			put_text_content(out, body);
	} else if (json_type(json_trim(body)) == JSON_STRING) {
		buf_put_text(out, "{\"content\":[{\"type\":\"text\",\"text\":");
		buf_put(out, json_trim(body));
		buf_put_text(out, "}]");
	} else {
		put_text_content(out, body);
		if (json_type(json_trim(body)) == JSON_OBJECT) {
			buf_put_text(out, ",\"structuredContent\":");
			buf_put(out, json_trim(body));
		}
	}
	buf_put_char(out, '}');
}

/* What went wrong and what to do, for a model to read. */
static void write_failure(struct buf *text, const struct call *call)
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

static void put_failure(struct buf *out, const struct call *call, const char *request_id)
{
	const struct answer *answer = call->answer;
	struct buf text = BUF_INIT(SAID_BYTES + 2 * ANSWER_DETAIL_BYTES);
	write_failure(&text, call);
	put_text_content(out, buf_slice(&text));
	buf_fini(&text);
	buf_printf(out, ",\"isError\":true,\"_meta\":{\"jitney/error\":{\"code\":\"%s\",\"request_id\":",
		   outcome_word(answer->outcome));
	json_put_string(out, slice_of(request_id));
	buf_put_text(out, reply_may_retry(answer, call) ? ",\"retryable\":true" : ",\"retryable\":false");
	if (answer->retry_after_s)
		buf_printf(out, ",\"retryAfterMs\":%llu", (unsigned long long)answer->retry_after_s * 1000);
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

void mcp_reply_call(struct buf *out, struct slice id, enum mcp_era era, const struct call *call, const char *request_id)
{
	const struct answer *answer = call->answer;
	struct mcp_error error;
	if (answer_full(answer).len) {
		mcp_reply_result(out, id, era, answer_full(answer));
		return;
	}
	if (answer->outcome != OUTCOME_OK && is_protocol_error(answer, &error)) {
		mcp_reply_error(out, id, &error, request_id);
		return;
	}
	struct buf result = BUF_INIT(MCP_REPLY_BYTES_MAX);
	if (answer->outcome == OUTCOME_OK)
		put_content(&result, answer);
	else
		put_failure(&result, call, request_id);
	if (result.failed)
		out->failed = true;
	else
		mcp_reply_result(out, id, era, buf_slice(&result));
	buf_fini(&result);
}
