/* SPDX-License-Identifier: Apache-2.0 */
/* tool_result.c: what becomes of a tool's MCP result: the form that REST callers get, and the outcome. */
#include "upstream/mcp/mcp_message.h"

/* A text that is longer, as it is spelled, is not read to find out whether it is JSON, which would hold the worker up: it
 * is a text. */
enum {
	JSON_TEXT_BYTES = 2 << 20,
	SAID_BYTES = 400, /* of an error's text, in its detail */
	SAID_SPELLED_BYTES = 4096
};

/* The members of a CallToolResult that matter here; empty: absent. */
struct tool_result {
	struct slice full, content, structured, type;
	bool is_error;
};

static void read_result(struct slice full, struct tool_result *result)
{
	*result = (struct tool_result){ .full = full };
	struct json_walk walk = json_walk(full);
	struct slice name, value;
	while (json_next_member(&walk, &name, &value)) {
		if (json_string_is(name, SLICE("content")))
			result->content = value;
		else if (json_string_is(name, SLICE("structuredContent")) && json_type(value) != JSON_NULL)
			result->structured = value;
		else if (json_string_is(name, SLICE("isError")))
			result->is_error = json_type(value) == JSON_TRUE;
		else if (json_string_is(name, SLICE("resultType")))
			result->type = value;
	}
}

/* The raw text of one content block. False: it is no text. */
static bool block_text(struct slice block, struct slice *raw)
{
	struct slice type;
	return json_type(block) == JSON_OBJECT && json_member(block, SLICE("type"), &type) &&
	       json_type(type) == JSON_STRING && json_string_is(type, SLICE("text")) &&
	       json_member(block, SLICE("text"), raw) && json_type(*raw) == JSON_STRING;
}

struct texts {
	size_t count;      /* of text blocks */
	size_t others;     /* blocks of other kinds */
	struct slice raw;  /* of the last one, with its quotes */
	struct buf joined; /* unescaped, by line feeds; see join_texts */
};

static void count_texts(struct slice content, struct texts *texts)
{
	struct slice block;
	if (!content.len || json_type(content) != JSON_ARRAY)
		return;
	struct json_walk walk = json_walk(content);
	while (json_next_element(&walk, &block)) {
		bool text = block_text(block, &texts->raw);
		texts->count += text;
		texts->others += !text;
	}
}

/* All of them, once, for who needs them so: a result may be megabytes. */
static struct slice join_texts(struct slice content, struct texts *texts)
{
	struct slice block, raw;
	struct json_walk walk = json_walk(content);
	size_t count = 0;
	if (texts->joined.len)
		return buf_slice(&texts->joined);
	if (texts->count == 1)
		json_unescape(texts->raw, &texts->joined);
	while (texts->count > 1 && count < texts->count && json_next_element(&walk, &block)) {
		if (!block_text(block, &raw))
			continue;
		if (count++)
			buf_put_char(&texts->joined, '\n');
		json_unescape(raw, &texts->joined);
	}
	return buf_slice(&texts->joined);
}

/* Of a result that is nothing but texts. One without escapes is as it stands in the result. */
static struct slice plain_text(struct slice content, struct texts *texts)
{
	struct slice inner = { texts->raw.at + 1, texts->raw.len - 2 };
	if (texts->count == 1 && (!inner.len || !memchr(inner.at, '\\', inner.len)))
		return inner;
	return join_texts(content, texts);
}

/* The form for REST callers. */
struct rest_form {
	struct slice body; /* empty: raw */
	struct slice raw;  /* a text that is decoded where it is kept */
	bool json;
	const char *content_type;
};

static const char text_type[] = "text/plain; charset=utf-8";

/* A lone text with escapes, too long to be read. */
static bool is_long(const struct texts *texts)
{
	return texts->count == 1 && texts->raw.len > JSON_TEXT_BYTES && memchr(texts->raw.at, '\\', texts->raw.len);
}

static struct rest_form plain_form(const struct tool_result *result, struct texts *texts, unsigned json_depth)
{
	struct json_fault fault;
	if (result->structured.len)
		return (struct rest_form){ .body = result->structured, .json = true };
	if (!result->content.len)
		return (struct rest_form){ .body = result->full, .json = true };
	if (!texts->count || texts->others)
		return (struct rest_form){ .body = result->content, .json = true };
	if (is_long(texts))
		return (struct rest_form){ .raw = texts->raw, .content_type = text_type };
	struct slice text = plain_text(result->content, texts);
	if (texts->count == 1 && texts->raw.len <= JSON_TEXT_BYTES && json_check(text, json_depth, NULL, &fault))
		return (struct rest_form){ .body = text, .json = true };
	return (struct rest_form){ .body = text, .content_type = text_type };
}

/* Errors carry JSON only: a lone text that is none stays the JSON string it was, several are the content list. */
static struct slice error_body(const struct tool_result *result, struct texts *texts, unsigned json_depth)
{
	struct rest_form form = plain_form(result, texts, json_depth);
	if (form.json)
		return form.body;
	return texts->count == 1 ? texts->raw : result->content;
}

/* As much of a long text as is said of it. */
static struct slice start_of_text(struct texts *texts)
{
	json_unescape((struct slice){ texts->raw.at, SAID_SPELLED_BYTES }, &texts->joined);
	return buf_slice(&texts->joined);
}

static struct answer *error_result(const struct tool_result *result, struct texts *texts, unsigned json_depth)
{
	static const struct slice nothing = { "an error without a text", 23 };
	struct slice body = error_body(result, texts, json_depth);
	struct slice said = is_long(texts) ? start_of_text(texts)
			    : texts->count ? join_texts(result->content, texts)
					   : nothing;
	if (texts->joined.failed)
		return answer_no_memory();
	said = said.len ? said : nothing;
	return answer_mcp(OUTCOME_TOOL_ERROR, result->full, body, true, NULL, "the tool answered: %.*s",
			  said.len < SAID_BYTES ? (int)said.len : SAID_BYTES, said.at);
}

static struct answer *good_result(const struct tool_result *result, struct texts *texts, unsigned json_depth)
{
	struct rest_form form = plain_form(result, texts, json_depth);
	if (texts->joined.failed)
		return answer_no_memory();
	if (form.raw.len)
		return answer_mcp_text(result->full, form.raw, form.content_type);
	return answer_mcp(OUTCOME_OK, result->full, form.body, form.json, form.content_type, "%s", "");
}

static struct answer *complete_answer(const struct tool_result *result, unsigned json_depth)
{
	struct texts texts = { .joined = BUF_INIT(SIZE_MAX / 4) };
	count_texts(result->content, &texts);
	struct answer *answer =
		result->is_error ? error_result(result, &texts, json_depth) : good_result(result, &texts, json_depth);
	buf_fini(&texts.joined);
	return answer;
}

/* A result that is not the end of the call; nobody here could go on with it. */
static struct answer *unfinished_answer(const struct tool_result *result, unsigned status)
{
	if (json_string_is(result->type, SLICE("input_required")))
		return answer_upstream_error(OUTCOME_TOOL_ERROR, status, 0, result->full,
					     "the tool asks its user for input in mid-call, which no caller of this "
					     "gateway can give: call it with all it needs, or deny the tool");
	if (json_string_is(result->type, SLICE("task")))
		return answer_upstream_error(OUTCOME_TOOL_ERROR, status, 0, result->full,
					     "the tool answered with a task to be asked for later, which no caller of "
					     "this gateway can do: deny the tool");
	return answer_upstream_error(OUTCOME_TOOL_ERROR, status, 0, result->full,
				     "the tool's result is of a type (%.*s) that this gateway does not know",
				     result->type.len < 40 ? (int)result->type.len : 40, result->type.at);
}

static struct answer *result_answer(struct slice full, unsigned json_depth, unsigned status)
{
	struct tool_result result;
	if (json_type(full) != JSON_OBJECT)
		return answer_upstream_error(OUTCOME_UPSTREAM_ERROR, status, 0, full,
					     "the provider's result is no object, as a tool's must be in MCP");
	read_result(full, &result);
	/* absent in the legacy era, required in the modern one, where servers forget it */
	if (result.type.len &&
	    (json_type(result.type) != JSON_STRING || !json_string_is(result.type, SLICE("complete"))))
		return unfinished_answer(&result, status);
	return complete_answer(&result, json_depth);
}

/* --- errors --- */

static enum outcome error_outcome(int code)
{
	switch (code) {
	case MCP_INVALID_PARAMS:
		return OUTCOME_INVALID_REQUEST;
	case MCP_PARSE_ERROR:
	case MCP_INVALID_REQUEST:
	case MCP_METHOD_NOT_FOUND:
	case MCP_HEADER_MISMATCH:
	case MCP_CAPABILITY_MISSING:
	case MCP_VERSION_UNSUPPORTED:
		return OUTCOME_UPSTREAM_ERROR;
	default:
		return OUTCOME_TOOL_ERROR;
	}
}

static struct answer *error_answer(const struct mcp_message *message, unsigned status)
{
	struct buf said = BUF_INIT(SIZE_MAX / 4);
	int code = mcp_error_code(message);
	mcp_error_put_text(message, &said);
	struct answer *answer = answer_upstream_error(error_outcome(code), status, 0, message->error,
						      "the MCP server answered with error %d: %.400s", code,
						      said.len && !said.failed ? buf_cstr(&said) : "no message");
	buf_fini(&said);
	return answer;
}

struct answer *mcp_answer(const struct mcp_message *message, unsigned json_depth, unsigned status)
{
	if (message->kind == MCP_ERROR)
		return error_answer(message, status);
	return result_answer(message->result, json_depth, status);
}

struct answer *mcp_broken_answer(const char *fault)
{
	return answer_error(OUTCOME_UPSTREAM_ERROR, "the server has answered, but not in JSON that can be read: %s",
			    fault);
}
