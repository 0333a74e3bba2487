/* SPDX-License-Identifier: Apache-2.0 */
/* mcp_message.c: MCP's messages, written and taken apart. What a tool's result becomes is in tool_result.c. */
#include "upstream/mcp/mcp_message.h"

#include <stdlib.h>

#ifndef JITNEY_VERSION
#define JITNEY_VERSION "0"
#endif

enum { ENVELOPE_DEPTH = 1 /* the object around a result */ };

/* --- writing --- */

#define CLIENT_INFO "{\"name\":\"jitney\",\"version\":\"" JITNEY_VERSION "\"}"

/* Up to the params: {"jsonrpc":"2.0","id":7,"method":"tools/list" */
static void put_request(struct buf *out, uint64_t id, const char *method)
{
	buf_put(out, SLICE("{\"jsonrpc\":\"2.0\",\"id\":"));
	buf_put_u64(out, id);
	buf_put(out, SLICE(",\"method\":\""));
	buf_put_text(out, method);
	buf_put_char(out, '"');
}

#define META_MODERN                                                                                                    \
	"\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"" MCP_VERSION_MODERN                                 \
	"\",\"io.modelcontextprotocol/clientInfo\":" CLIENT_INFO ",\"io.modelcontextprotocol/clientCapabilities\":{}"

/* Who speaks which version: part of every modern request's params. */
static void put_meta(struct buf *out)
{
	buf_put(out, SLICE(META_MODERN "}"));
}

/* The same for a call, with what it brings; a legacy call that brings nothing has none. */
static void put_call_meta(struct buf *out, enum mcp_era era, uint64_t id, struct mcp_trace trace, struct mcp_asks asks)
{
	if (era == MCP_LEGACY && !trace.parent.len && !asks.progress)
		return;
	buf_put_char(out, ',');
	buf_put(out, era == MCP_MODERN ? SLICE(META_MODERN) : SLICE("\"_meta\":{"));
	const char *before = era == MCP_MODERN ? "," : "";
	if (era == MCP_MODERN && asks.level >= 1 && asks.level <= MCP_LEVEL_COUNT)
		buf_printf(out, ",\"io.modelcontextprotocol/logLevel\":\"%s\"", mcp_level_name(asks.level));
	if (asks.progress) {
		buf_printf(out, "%s\"progressToken\":", before);
		buf_put_u64(out, id);
		before = ",";
	}
	if (trace.parent.len) {
		buf_printf(out, "%s\"traceparent\":", before);
		json_put_string(out, trace.parent);
	}
	if (trace.parent.len && trace.state.len) {
		buf_put(out, SLICE(",\"tracestate\":"));
		json_put_string(out, trace.state);
	}
	buf_put_char(out, '}');
}

void mcp_put_initialize(struct buf *out, uint64_t id, const char *version)
{
	put_request(out, id, "initialize");
	buf_put(out, SLICE(",\"params\":{\"protocolVersion\":"));
	json_put_string(out, slice_of(version ? version : MCP_VERSION_LEGACY));
	/* no capabilities: servers then ask for no sampling, elicitation or roots */
	buf_put(out, SLICE(",\"capabilities\":{},\"clientInfo\":" CLIENT_INFO "}}"));
}

void mcp_put_initialized(struct buf *out)
{
	buf_put(out, SLICE("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}"));
}

void mcp_put_discover(struct buf *out, uint64_t id)
{
	put_request(out, id, "server/discover");
	buf_put(out, SLICE(",\"params\":{"));
	put_meta(out);
	buf_put(out, SLICE("}}"));
}

void mcp_put_ping(struct buf *out, enum mcp_era era, uint64_t id)
{
	if (era == MCP_MODERN) {
		mcp_put_discover(out, id);
		return;
	}
	put_request(out, id, "ping");
	buf_put_char(out, '}');
}

void mcp_put_tools_list(struct buf *out, enum mcp_era era, uint64_t id, struct slice raw_cursor)
{
	put_request(out, id, "tools/list");
	if (era == MCP_MODERN || raw_cursor.len)
		buf_put(out, SLICE(",\"params\":{"));
	if (raw_cursor.len) {
		buf_put(out, SLICE("\"cursor\":"));
		buf_put(out, raw_cursor);
		if (era == MCP_MODERN)
			buf_put_char(out, ',');
	}
	if (era == MCP_MODERN)
		put_meta(out);
	if (era == MCP_MODERN || raw_cursor.len)
		buf_put_char(out, '}');
	buf_put_char(out, '}');
}

void mcp_put_tools_call(struct buf *out, enum mcp_era era, uint64_t id, struct slice raw_name, struct slice arguments,
			struct mcp_trace trace, struct mcp_asks asks)
{
	put_request(out, id, "tools/call");
	buf_put(out, SLICE(",\"params\":{\"name\":"));
	buf_put(out, raw_name);
	buf_put(out, SLICE(",\"arguments\":"));
	buf_put(out, arguments);
	put_call_meta(out, era, id, trace, asks);
	buf_put(out, SLICE("}}"));
}

void mcp_put_listen(struct buf *out, uint64_t id)
{
	put_request(out, id, "subscriptions/listen");
	buf_put(out, SLICE(",\"params\":{\"notifications\":{\"toolsListChanged\":true},"));
	put_meta(out);
	buf_put(out, SLICE("}}"));
}

void mcp_put_cancelled(struct buf *out, enum mcp_era era, uint64_t id)
{
	buf_put(out, SLICE("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":"));
	buf_put_u64(out, id);
	buf_put(out, SLICE(",\"reason\":\"nobody waits for it\""));
	if (era == MCP_MODERN) {
		buf_put_char(out, ',');
		put_meta(out);
	}
	buf_put(out, SLICE("}}"));
}

static void put_empty_result(struct buf *out, struct slice raw_id)
{
	buf_put(out, SLICE("{\"jsonrpc\":\"2.0\",\"id\":"));
	buf_put(out, raw_id);
	buf_put(out, SLICE(",\"result\":{}}"));
}

static void put_error(struct buf *out, struct slice raw_id, int code, const char *message)
{
	buf_put(out, SLICE("{\"jsonrpc\":\"2.0\",\"id\":"));
	buf_put(out, raw_id);
	buf_printf(out, ",\"error\":{\"code\":%d,\"message\":", code);
	json_put_string(out, slice_of(message));
	buf_put(out, SLICE("}}"));
}

bool mcp_put_reply(struct buf *out, const struct mcp_message *request)
{
	bool ping = mcp_method_is(request, "ping");
	if (ping)
		put_empty_result(out, request->id);
	else
		put_error(out, request->id, MCP_METHOD_NOT_FOUND,
			  "this client has declared no capabilities and answers ping only");
	return ping;
}

/* --- reading --- */

static void read_members(struct slice object, struct mcp_message *message)
{
	struct json_walk walk = json_walk(object);
	struct slice name, value;
	while (json_next_member(&walk, &name, &value)) {
		if (json_string_is(name, SLICE("id")))
			message->id = value;
		else if (json_string_is(name, SLICE("jsonrpc")))
			message->is_rpc_2 = json_type(value) == JSON_STRING && json_string_is(value, SLICE("2.0"));
		else if (json_string_is(name, SLICE("method")))
			message->method = value;
		else if (json_string_is(name, SLICE("params")))
			message->params = value;
		else if (json_string_is(name, SLICE("result")))
			message->result = value;
		else if (json_string_is(name, SLICE("error")) && json_type(value) != JSON_NULL)
			message->error = value; /* null beside a result is JSON-RPC 1.0's way to say none */
	}
	if (message->error.len && message->result.len && json_type(message->result) == JSON_NULL)
		message->result.len = 0; /* and the other way round */
}

/* NULL, or what is wrong. */
static const char *classify_message(struct mcp_message *message)
{
	bool has_id = message->id.len && json_type(message->id) != JSON_NULL;
	if (has_id && json_type(message->id) != JSON_NUMBER && json_type(message->id) != JSON_STRING)
		return "an id that is neither a number nor a string";
	if (message->method.len) {
		if (json_type(message->method) != JSON_STRING)
			return "a method that is no string";
		message->kind = has_id ? MCP_REQUEST : MCP_NOTIFICATION;
		return NULL;
	}
	if (message->error.len && message->result.len)
		return "a result and an error at once";
	if (!message->error.len && !message->result.len)
		return "neither a method nor a result nor an error";
	message->kind = message->error.len ? MCP_ERROR : MCP_RESULT;
	return message->kind == MCP_RESULT && !has_id ? "a result without an id" : NULL;
}

static bool read_message(struct slice text, unsigned json_depth, struct json_scratch *scratch, struct json_ahead *ahead,
			 struct mcp_message *message, const char **fault)
{
	struct json_fault json_fault;
	*message = (struct mcp_message){ .kind = MCP_NOTIFICATION };
	if (!json_check_ahead(ahead, text, 0, json_depth + ENVELOPE_DEPTH, scratch, &json_fault)) {
		*fault = json_fault.what;
		return false;
	}
	struct slice object = json_trim(text);
	if (json_type(object) != JSON_OBJECT) {
		*fault = "no JSON object";
		return false;
	}
	read_members(object, message);
	*fault = classify_message(message);
	return !*fault;
}

bool mcp_read(struct slice text, unsigned json_depth, struct json_scratch *scratch, struct mcp_message *message,
	      const char **fault)
{
	struct json_ahead nothing = { 0 };
	return read_message(text, json_depth, scratch, &nothing, message, fault);
}

void mcp_look_ahead(struct json_ahead *ahead, struct slice beginning, unsigned json_depth)
{
	json_look_ahead(ahead, beginning, 0, json_depth + ENVELOPE_DEPTH);
}

/* The value of four hexadecimal digits at `at`; -1: they are none. */
static int unit_at(const char *at)
{
	int unit = 0;
	for (int i = 0; i < 4; i++) {
		char c = at[i];
		int digit = c >= '0' && c <= '9'                     ? c - '0'
			    : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
								     : -1;
		if (digit < 0)
			return -1;
		unit = unit * 16 + digit;
	}
	return unit;
}

static bool is_unit(struct slice text, size_t at, int from, int to)
{
	if (at + 6 > text.len || text.at[at] != '\\' || text.at[at + 1] != 'u')
		return false;
	int unit = unit_at(text.at + at + 2);
	return unit >= from && unit <= to;
}

/* Halves of surrogate pairs become U+FFFD, which is as long. A backslash stands in strings only. False: there are none.
 */
static bool mend_surrogates(char *text, size_t len)
{
	struct slice all = { text, len };
	bool some = false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] != '\\')
			continue;
		bool high = is_unit(all, i, 0xD800, 0xDBFF);
		if (high && is_unit(all, i + 6, 0xDC00, 0xDFFF)) {
			i += 11;
		} else if (high || is_unit(all, i, 0xDC00, 0xDFFF)) {
			memcpy(text + i + 2, "fffd", 4);
			some = true;
			i += 5;
		} else {
			i++;
		}
	}
	return some;
}

bool mcp_read_mended(struct slice text, unsigned json_depth, struct json_scratch *scratch, struct json_ahead *ahead,
		     struct buf *mended, struct mcp_message *message, const char **fault)
{
	if (read_message(text, json_depth, scratch, ahead, message, fault))
		return true;
	if (!memmem(text.at, text.len, "\\u", 2))
		return false;
	buf_reset(mended);
	buf_put(mended, text);
	return !mended->failed && mend_surrogates(mended->store->bytes, mended->len) &&
	       mcp_read(buf_slice(mended), json_depth, scratch, message, fault);
}

bool mcp_method_is(const struct mcp_message *message, const char *method)
{
	return message->method.len && json_string_is(message->method, slice_of(method));
}

static bool number_of(struct slice raw, uint64_t *id)
{
	if (raw.len >= 2 && raw.at[0] == '"') /* some servers make strings of numbers */
		raw = (struct slice){ raw.at + 1, raw.len - 2 };
	return raw.len && json_u64(raw, id);
}

bool mcp_id(const struct mcp_message *message, uint64_t *id)
{
	return number_of(message->id, id);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct slice cut_blanks(struct slice text)
{
	while (text.len && is_blank(text.at[0]))
		text = (struct slice){ text.at + 1, text.len - 1 };
	while (text.len && is_blank(text.at[text.len - 1]))
		text.len--;
	return text;
}

/* Takes a word away from the front, blanks around it too. */
static bool take_front(struct slice *text, struct slice word)
{
	if (text->len < word.len || memcmp(text->at, word.at, word.len) != 0)
		return false;
	*text = cut_blanks((struct slice){ text->at + word.len, text->len - word.len });
	return true;
}

static bool take_back(struct slice *text, struct slice word)
{
	if (text->len < word.len || memcmp(text->at + text->len - word.len, word.at, word.len) != 0)
		return false;
	*text = cut_blanks((struct slice){ text->at, text->len - word.len });
	return true;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* What comes after the bracket and "jsonrpc", which may be there. False: neither is, or what is there is something
 * else. */
static bool skip_version(struct slice *text)
{
	enum { START_BYTES = 128 };
	text->len = text->len < START_BYTES ? text->len : START_BYTES;
	*text = cut_blanks(*text);
	if (!take_front(text, SLICE("{")))
		return false;
	return !take_front(text, SLICE("\"jsonrpc\"")) ||
	       (take_front(text, SLICE(":")) && take_front(text, SLICE("\"2.0\"")) && take_front(text, SLICE(",")));
}

bool mcp_asks_at_start(struct slice text)
{
	return skip_version(&text) && take_front(&text, SLICE("\"method\""));
}

bool mcp_id_at_start(struct slice text, uint64_t *id)
{
	if (!skip_version(&text) || !take_front(&text, SLICE("\"id\"")) || !take_front(&text, SLICE(":")))
		return false;
	size_t digits = 0;
	while (digits < text.len && is_digit(text.at[digits]))
		digits++;
	struct slice rest = cut_blanks((struct slice){ text.at + digits, text.len - digits });
	return digits && rest.len && rest.at[0] == ',' && json_u64((struct slice){ text.at, digits }, id);
}

/* The last bracket closes the message itself, and a number before it can be in no string: so it is the message's id. */
bool mcp_id_at_end(struct slice text, uint64_t *id)
{
	text = cut_blanks(text);
	if (!take_back(&text, SLICE("}")))
		return false;
	size_t digits = 0;
	while (digits < text.len && is_digit(text.at[text.len - 1 - digits]))
		digits++;
	struct slice number = { text.at + text.len - digits, digits };
	text = cut_blanks((struct slice){ text.at, text.len - digits });
	return digits && take_back(&text, SLICE(":")) && take_back(&text, SLICE("\"id\"")) &&
	       take_back(&text, SLICE(",")) && json_u64(number, id);
}

/* A request or a notification has ids of its own. */
bool mcp_id_of_broken(struct slice text, uint64_t *id)
{
	return !memmem(text.at, text.len, "\"method\"", strlen("\"method\"")) &&
	       (mcp_id_at_start(text, id) || mcp_id_at_end(text, id));
}

bool mcp_progress_id(const struct mcp_message *message, uint64_t *id)
{
	struct slice token;
	return mcp_method_is(message, "notifications/progress") && message->params.len &&
	       json_type(message->params) == JSON_OBJECT &&
	       json_member(message->params, SLICE("progressToken"), &token) && number_of(token, id);
}

void mcp_error_put_text(const struct mcp_message *message, struct buf *out)
{
	struct slice raw;
	if (message->error.len && json_type(message->error) == JSON_OBJECT &&
	    json_member(message->error, SLICE("message"), &raw) && json_type(raw) == JSON_STRING)
		json_unescape(raw, out);
}

int mcp_error_code(const struct mcp_message *message)
{
	struct slice raw;
	uint64_t number;
	if (!message->error.len || json_type(message->error) != JSON_OBJECT ||
	    !json_member(message->error, SLICE("code"), &raw) || json_type(raw) != JSON_NUMBER)
		return 0;
	bool negative = raw.at[0] == '-';
	if (negative)
		raw = (struct slice){ raw.at + 1, raw.len - 1 };
	if (!json_u64(raw, &number) || number > 1000000000)
		return 0;
	return negative ? -(int)number : (int)number;
}

void mcp_take_instructions(const struct mcp_message *answer, struct buf *text)
{
	struct slice raw = mcp_result_member(answer, "instructions");
	buf_reset(text);
	if (!raw.len || json_type(raw) != JSON_STRING)
		return;
	json_unescape(raw, text);
	if (text->failed) {
		buf_reset(text);
		return;
	}
	if (text->len <= MCP_INSTRUCTIONS_BYTES)
		return;
	text->len = MCP_INSTRUCTIONS_BYTES;
	while (text->len && ((unsigned char)text->store->bytes[text->len] & 0xc0) == 0x80)
		text->len--; /* in mid-character */
}

struct slice mcp_result_member(const struct mcp_message *message, const char *name)
{
	struct slice value = { NULL, 0 };
	if (!message->result.len || json_type(message->result) != JSON_OBJECT ||
	    !json_member(message->result, slice_of(name), &value))
		return (struct slice){ NULL, 0 };
	return value;
}

bool mcp_lists_version(struct slice versions, enum mcp_era era)
{
	struct slice raw;
	if (versions.len == 0 || json_type(versions) != JSON_ARRAY)
		return false;
	struct json_walk walk = json_walk(versions);
	while (json_next_element(&walk, &raw)) {
		if (json_type(raw) != JSON_STRING)
			continue;
		struct slice text = { raw.at + 1, raw.len - 2 };
		if (era == MCP_MODERN ? slice_equal(text, SLICE(MCP_VERSION_MODERN)) : mcp_version_known(text))
			return true;
	}
	return false;
}
