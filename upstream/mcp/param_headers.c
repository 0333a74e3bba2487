/* SPDX-License-Identifier: Apache-2.0 */
/* param_headers.c: x-mcp-header annotations: found, evaluated, followed. */
#include "upstream/mcp/param_headers.h"

#include <strings.h>

#include "base/json.h"
#include "base/mcp.h"

/* --- header values --- */

static bool plain_value(struct slice text)
{
	static const struct slice mark = { "=?base64?", 9 };
	if (text.len && (text.at[0] == ' ' || text.at[text.len - 1] == ' '))
		return false;
	if (text.len >= mark.len && strncasecmp(text.at, mark.at, mark.len) == 0)
		return false; /* would be decoded */
	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.at[i] < 0x20 || (unsigned char)text.at[i] > 0x7e)
			return false;
	return true;
}

static void put_base64(struct buf *out, struct slice bytes)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	for (size_t i = 0; i < bytes.len; i += 3) {
		unsigned left = bytes.len - i < 3 ? (unsigned)(bytes.len - i) : 3, group = 0;
		for (unsigned k = 0; k < 3; k++)
			group = group << 8 | (k < left ? (unsigned char)bytes.at[i + k] : 0u);
		for (unsigned k = 0; k < 4; k++)
			buf_put_char(out, k <= left ? digits[group >> (18 - 6 * k) & 63] : '=');
	}
}

void mcp_header_put(struct buf *out, struct slice text)
{
	if (plain_value(text)) {
		buf_put(out, text);
		return;
	}
	buf_put_text(out, "=?base64?");
	put_base64(out, text);
	buf_put_text(out, "?=");
}

/* --- schemas --- */

struct survey {
	struct slice names[MCP_MIRROR_MAX]; /* raw, of headers */
	size_t count;
	const char *fault;
};

/* RFC 9110's token, in a raw JSON string: no character of it needs an escape. */
static bool is_token(struct slice raw)
{
	if (raw.len < 3)
		return false;
	for (size_t i = 1; i + 1 < raw.len; i++) {
		char c = raw.at[i];
		bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		if (!alnum && (c == '\0' || !strchr("!#$%&'*+-.^_`|~", c)))
			return false;
	}
	return true;
}

static bool is_primitive(struct slice schema)
{
	struct slice type;
	return json_member(schema, SLICE("type"), &type) && json_type(type) == JSON_STRING &&
	       (json_string_is(type, SLICE("string")) || json_string_is(type, SLICE("integer")) ||
		json_string_is(type, SLICE("boolean")));
}

static void note_annotation(struct survey *survey, struct slice schema, struct slice raw, bool reachable)
{
	if (!reachable)
		survey->fault = "x-mcp-header where it is not reached through properties alone";
	else if (json_type(raw) != JSON_STRING || !is_token(raw))
		survey->fault = "x-mcp-header that is no header name";
	else if (!is_primitive(schema))
		survey->fault = "x-mcp-header on a property whose type is not string, integer or boolean";
	else if (survey->count == MCP_MIRROR_MAX)
		survey->fault = "too many x-mcp-header";
	for (size_t i = 0; i < survey->count && !survey->fault; i++)
		if (survey->names[i].len == raw.len && strncasecmp(survey->names[i].at, raw.at, raw.len) == 0)
			survey->fault = "the same x-mcp-header twice";
	if (!survey->fault)
		survey->names[survey->count++] = raw;
}

/* Members whose values are data, not schemas. */
static bool holds_data(struct slice name)
{
	return json_string_is(name, SLICE("default")) || json_string_is(name, SLICE("const")) ||
	       json_string_is(name, SLICE("enum")) || json_string_is(name, SLICE("examples"));
}

/* Members whose values are objects of named schemas. */
static bool holds_named(struct slice name)
{
	return json_string_is(name, SLICE("patternProperties")) || json_string_is(name, SLICE("$defs")) ||
	       json_string_is(name, SLICE("definitions")) || json_string_is(name, SLICE("dependentSchemas"));
}

/* Nesting is bounded by what json_check has accepted. reachable: through "properties" only; root: not a property. */
static void survey_schema(struct survey *survey, struct slice schema, bool reachable, bool root);

static void survey_named(struct survey *survey, struct slice named, bool reachable)
{
	struct slice name, value;
	if (json_type(named) != JSON_OBJECT)
		return;
	struct json_walk walk = json_walk(named);
	while (!survey->fault && json_next_member(&walk, &name, &value))
		survey_schema(survey, value, reachable, false);
}

static void survey_schema(struct survey *survey, struct slice schema, bool reachable, bool root)
{
	struct slice name, value;
	if (json_type(schema) == JSON_ARRAY) { /* allOf and its like */
		struct json_walk walk = json_walk(schema);
		while (!survey->fault && json_next_element(&walk, &value))
			survey_schema(survey, value, false, false);
		return;
	}
	if (json_type(schema) != JSON_OBJECT)
		return;
	struct json_walk walk = json_walk(schema);
	while (!survey->fault && json_next_member(&walk, &name, &value)) {
		if (json_string_is(name, SLICE("x-mcp-header")))
			note_annotation(survey, schema, value, reachable && !root);
		else if (json_string_is(name, SLICE("properties")))
			survey_named(survey, value, reachable);
		else if (holds_named(name))
			survey_named(survey, value, false);
		else if (!holds_data(name))
			survey_schema(survey, value, false, false);
	}
}

const char *param_headers_fault(struct slice schema, size_t *count)
{
	struct survey survey = { .count = 0 };
	survey_schema(&survey, schema, true, true);
	*count = survey.count;
	return survey.fault;
}

/* --- calls --- */

static void put_line(struct slice header, struct slice value, struct buf *lines)
{
	struct buf text = BUF_INIT(SIZE_MAX / 4);
	enum json_type type = json_type(value);
	if (type == JSON_STRING) {
		json_unescape(value, &text);
		value = buf_slice(&text);
	}
	if (text.failed) {
		lines->failed = true;
	} else if (type != JSON_NULL && type != JSON_OBJECT && type != JSON_ARRAY) {
		buf_put_text(lines, "Mcp-Param-");
		buf_put(lines, (struct slice){ header.at + 1, header.len - 2 });
		buf_put_text(lines, ": ");
		mcp_header_put(lines, value);
		buf_put_char(lines, '\n');
	}
	buf_fini(&text);
}

static void unescape_name(struct slice raw, struct buf *name)
{
	buf_reset(name);
	json_unescape(raw, name);
}

void param_headers_put(struct slice schema, struct slice arguments, struct buf *lines)
{
	struct slice properties, raw_name, property, header, value;
	if (json_type(schema) != JSON_OBJECT || json_type(arguments) != JSON_OBJECT ||
	    !json_member(schema, SLICE("properties"), &properties) || json_type(properties) != JSON_OBJECT)
		return;
	struct buf name = BUF_INIT(SIZE_MAX / 4);
	struct json_walk walk = json_walk(properties);
	while (json_next_member(&walk, &raw_name, &property)) {
		if (json_type(property) != JSON_OBJECT || !mcp_may_mirror(property))
			continue;
		unescape_name(raw_name, &name);
		if (!json_member(arguments, buf_slice(&name), &value))
			continue;
		if (json_member(property, SLICE("x-mcp-header"), &header))
			put_line(header, value, lines);
		param_headers_put(property, value, lines);
	}
	lines->failed |= name.failed;
	buf_fini(&name);
}
