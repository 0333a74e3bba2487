/* SPDX-License-Identifier: Apache-2.0 */
/* openapi.c: the document, and schemas made parts of it. */
#include "gateway/tools/openapi.h"

#include <stdio.h>

#include "base/compiler.h"
#include "base/json.h"
#include "base/outcome.h"
#include "gateway/tools/schema.h"

enum { SCHEMA_BYTES_MAX = 64 << 20, PLACE_BYTES = 300, PLAIN_BYTES = 64 };

/* One schema of a tool on its way into the document. */
struct embedding {
	struct buf *out;
	const char *tool;
	const char *part;        /* in names of components, behind the tool's: "" or ".output" */
	char place[PLACE_BYTES]; /* JSON pointer to the schema itself, as a fragment */
	struct slice defs[2];    /* its own $defs and definitions; empty: none */
};
static const char *const def_words[] = { "$defs", "definitions" };

/* ---------------------------------------------------------------- references */

/* What OpenAPI allows in names of components, and needs no escape in a pointer. */
static bool is_plain(struct slice name)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.";
	for (size_t i = 0; i < name.len; i++)
		if (!name.at[i] || !strchr(letters, name.at[i]))
			return false;
	return name.len > 0 && name.len <= PLAIN_BYTES;
}

/* The name of a definition's component; another name than a plain one becomes its number. `raw`: without quotes. */
static void put_component(const struct embedding *embedding, struct slice raw, size_t number)
{
	buf_printf(embedding->out, "%s%s.", embedding->tool, embedding->part);
	if (is_plain(raw))
		buf_put(embedding->out, raw);
	else
		buf_printf(embedding->out, "_%zu", number);
}

/* The first step of a pointer that leads to `name`: percent and tilde escapes taken away. */
static bool step_is(struct slice step, struct slice name)
{
	size_t at = 0;
	for (size_t i = 0; i < step.len; at++) {
		char c = step.at[i++];
		if (c == '~' && i < step.len && (step.at[i] == '0' || step.at[i] == '1'))
			c = step.at[i++] == '0' ? '~' : '/';
		else if (c == '%' && i + 1 < step.len && step.at[i] == '2' && (step.at[i + 1] | 0x20) == 'f')
			c = '/', i += 2;
		else if (c == '%' && i + 1 < step.len && step.at[i] == '5' && (step.at[i + 1] | 0x20) == 'b')
			c = '[', i += 2;
		else if (c == '%' && i + 1 < step.len && step.at[i] == '5' && (step.at[i + 1] | 0x20) == 'd')
			c = ']', i += 2;
		if (at >= name.len || name.at[at] != c)
			return false;
	}
	return at == name.len;
}

/* "/$defs/X..." of a pointer (less its #) becomes the component's. False: it leads to none. */
static bool put_reference_to_def(const struct embedding *embedding, struct slice pointer)
{
	for (size_t i = 0; i < countof(def_words); i++) {
		size_t prefix = strlen(def_words[i]) + 2;
		struct slice name, value;
		struct json_walk walk = json_walk(embedding->defs[i]);
		if (!embedding->defs[i].len || pointer.len <= prefix || pointer.at[prefix - 1] != '/' ||
		    memcmp(pointer.at + 1, def_words[i], prefix - 2) != 0)
			continue;
		struct slice rest = { pointer.at + prefix, pointer.len - prefix };
		const char *end = memchr(rest.at, '/', rest.len);
		struct slice step = { rest.at, end ? (size_t)(end - rest.at) : rest.len };
		for (size_t number = 0; json_next_member(&walk, &name, &value); number++) {
			struct slice raw = { name.at + 1, name.len - 2 };
			if (!step_is(step, raw))
				continue;
			buf_put_text(embedding->out, "\"#/components/schemas/");
			put_component(embedding, raw, number);
			buf_put(embedding->out, (struct slice){ step.at + step.len, rest.len - step.len });
			buf_put_char(embedding->out, '"');
			return true;
		}
	}
	return false;
}

/* The value of a $ref: a JSON string. */
static void put_reference(const struct embedding *embedding, struct slice raw)
{
	struct slice text = { raw.at + 1, raw.len - 2 };
	bool local = text.len && text.at[0] == '#' && (text.len == 1 || text.at[1] == '/');
	struct slice pointer = { text.at + 1, text.len ? text.len - 1 : 0 };
	if (!local)
		buf_put(embedding->out, raw);
	else if (!put_reference_to_def(embedding, pointer))
		buf_printf(embedding->out, "\"#%s%.*s\"", embedding->place, SLICE_ARG(pointer));
}

/* ---------------------------------------------------------------- schemas */

static void put_value(const struct embedding *embedding, struct slice value, bool names);

/* Keywords whose values are data, and whose members are names, not keywords. */
static bool is_data(struct slice name)
{
	return json_string_is(name, SLICE("const")) || json_string_is(name, SLICE("default")) ||
	       json_string_is(name, SLICE("enum")) || json_string_is(name, SLICE("examples")) ||
	       json_string_is(name, SLICE("example"));
}

static bool holds_names(struct slice name)
{
	return json_string_is(name, SLICE("properties")) || json_string_is(name, SLICE("patternProperties")) ||
	       json_string_is(name, SLICE("dependentSchemas")) || json_string_is(name, SLICE("$defs")) ||
	       json_string_is(name, SLICE("definitions"));
}

static bool is_def_word(struct slice name)
{
	return json_string_is(name, SLICE("$defs")) || json_string_is(name, SLICE("definitions"));
}

/* names: the members are named schemas; top: but for the definitions, which are components. Nesting is bounded by what
 * json_check has accepted. */
static void put_object(const struct embedding *embedding, struct slice object, bool names, bool top)
{
	struct slice name, value;
	struct json_walk walk = json_walk(object);
	const char *comma = "";
	buf_put_char(embedding->out, '{');
	while (json_next_member(&walk, &name, &value)) {
		if (top && is_def_word(name) && json_type(value) == JSON_OBJECT)
			continue;
		buf_put_text(embedding->out, comma);
		comma = ",";
		buf_put(embedding->out, name);
		buf_put_char(embedding->out, ':');
		if (!names && json_string_is(name, SLICE("$ref")) && json_type(value) == JSON_STRING)
			put_reference(embedding, value);
		else if (!names && is_data(name))
			buf_put(embedding->out, value);
		else
			put_value(embedding, value, !names && holds_names(name));
	}
	buf_put_char(embedding->out, '}');
}

static void put_value(const struct embedding *embedding, struct slice value, bool names)
{
	struct slice element;
	struct json_walk walk = json_walk(value);
	const char *comma = "";
	if (json_type(value) == JSON_OBJECT) {
		put_object(embedding, value, names, false);
		return;
	}
	if (json_type(value) != JSON_ARRAY) {
		buf_put(embedding->out, value);
		return;
	}
	buf_put_char(embedding->out, '[');
	for (; json_next_element(&walk, &element); comma = ",") {
		buf_put_text(embedding->out, comma);
		put_value(embedding, element, false);
	}
	buf_put_char(embedding->out, ']');
}

static struct embedding embedding_of(struct buf *out, const struct tool *tool, struct slice schema, bool output)
{
	struct embedding embedding = { .out = out, .tool = tool->name, .part = output ? ".output" : "" };
	snprintf(embedding.place, sizeof embedding.place,
		 "/paths/~1v1~1tools~1%.128s/post/%s/content/application~1json/schema", tool->name,
		 output ? "responses/200" : "requestBody");
	for (size_t i = 0; i < countof(def_words); i++)
		if (json_type(schema) != JSON_OBJECT ||
		    !json_member(schema, slice_of(def_words[i]), &embedding.defs[i]) ||
		    json_type(embedding.defs[i]) != JSON_OBJECT)
			embedding.defs[i] = (struct slice){ NULL, 0 };
	return embedding;
}

static void put_schema(struct buf *out, const struct tool *tool, struct slice schema, bool output)
{
	struct embedding embedding = embedding_of(out, tool, schema, output);
	if (json_type(schema) == JSON_OBJECT)
		put_object(&embedding, schema, false, true);
	else
		buf_put(out, schema);
}

static void put_defs(struct buf *out, const struct tool *tool, struct slice schema, bool output)
{
	struct embedding embedding = embedding_of(out, tool, schema, output);
	for (size_t i = 0; i < countof(def_words); i++) {
		struct slice name, value;
		struct json_walk walk = json_walk(embedding.defs[i]);
		for (size_t n = 0; embedding.defs[i].len && json_next_member(&walk, &name, &value); n++) {
			struct slice raw = { name.at + 1, name.len - 2 }, same;
			if (i && embedding.defs[0].len && is_plain(raw) && json_member(embedding.defs[0], raw, &same))
				continue; /* $defs has it */
			buf_put_text(out, ",\"");
			put_component(&embedding, raw, n);
			buf_put_text(out, "\":");
			put_value(&embedding, value, false);
		}
	}
}

/* The schema of its arguments as vendors take it, in a buffer to be ended. */
static struct slice input_schema(const struct tool *tool, struct buf *mended)
{
	*mended = BUF_INIT(SCHEMA_BYTES_MAX);
	schema_put_for_vendors(mended, tool->input_schema, tool->mcp != NULL);
	return json_trim(buf_slice(mended));
}

/* ---------------------------------------------------------------- the document */

static bool takes_arguments(const struct tool *tool)
{
	struct slice properties;
	struct slice schema = slice_of(tool->input_schema);
	if (!json_member(schema, SLICE("properties"), &properties))
		return true; /* nothing is said: anything may come */
	struct slice name, value;
	struct json_walk walk = json_walk(properties);
	return json_type(properties) == JSON_OBJECT && json_next_member(&walk, &name, &value);
}

static void put_operation(struct buf *out, const struct tool *tool)
{
	struct buf mended;
	struct slice input = input_schema(tool, &mended);
	buf_put_text(out, "\"/v1/tools/");
	buf_put_text(out, tool->name); /* [A-Za-z0-9_.-]: needs no escape anywhere */
	buf_put_text(out, "\":{\"post\":{\"operationId\":");
	json_put_string(out, slice_of(tool->name));
	json_put_text_member(out, "summary", *tool->title ? tool->title : tool->name);
	json_put_text_member(out, "description", tool->description);
	/* Tool servers' clients want no requestBody where there are no arguments. */
	if (takes_arguments(tool)) {
		buf_put_text(out, ",\"requestBody\":{\"content\":{\"application/json\":{\"schema\":");
		put_schema(out, tool, input, false);
		buf_put_text(out, "}}}");
	}
	buf_put_text(out, ",\"responses\":{\"200\":{\"description\":\"The tool's "
			  "result\",\"content\":{\"application/json\":{\"schema\":");
	put_schema(out, tool, json_trim(tool->output_schema ? slice_of(tool->output_schema) : SLICE("{}")), true);
	buf_put_text(out, "}}},\"default\":{\"$ref\":\"#/components/responses/Problem\"}}}}");
	out->failed |= mended.failed;
	buf_fini(&mended);
}

static void put_components(struct buf *out, const struct tool *tool)
{
	struct buf mended;
	struct slice input = input_schema(tool, &mended);
	if (takes_arguments(tool))
		put_defs(out, tool, input, false);
	if (tool->output_schema)
		put_defs(out, tool, json_trim(slice_of(tool->output_schema)), true);
	out->failed |= mended.failed;
	buf_fini(&mended);
}

void openapi_put(struct buf *out, const struct tool *const *tools, size_t count)
{
	buf_put_text(out, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"jitney\",\"version\":\"" JITNEY_VERSION
			  "\",\"description\":\"Every tool behind this gateway, one operation each.\"},\"paths\":{");
	for (size_t i = 0; i < count; i++) {
		if (i)
			buf_put_char(out, ',');
		put_operation(out, tools[i]);
	}
	buf_put_text(
		out,
		"},\"components\":{\"responses\":{\"Problem\":{\"description\":\"An RFC 9457 problem\",\"content\":"
		"{\"application/problem+json\":{\"schema\":{\"$ref\":\"#/components/schemas/Problem\"}}}}},"
		"\"schemas\":{\"Problem\":{\"type\":\"object\",\"properties\":{\"type\":{\"type\":\"string\"},"
		"\"title\":{\"type\":\"string\"},\"status\":{\"type\":\"integer\"},\"detail\":{\"type\":\"string\"},"
		"\"code\":{\"type\":\"string\",\"enum\":[");
	for (int i = OUTCOME_OK + 1; i < OUTCOME_CANCELLED; i++)
		buf_printf(out, "%s\"%s\"", i > OUTCOME_OK + 1 ? "," : "", outcome_word((enum outcome)i));
	buf_put_text(out, "]},\"request_id\":{\"type\":\"string\"},\"retryable\":{\"type\":\"boolean\"},"
			  "\"retry_after\":{\"type\":\"integer\"},"
			  "\"upstream\":{\"type\":\"object\"}},"
			  "\"required\":[\"type\",\"title\",\"status\",\"code\",\"request_id\",\"retryable\"]}");
	for (size_t i = 0; i < count; i++)
		put_components(out, tools[i]);
	buf_put_text(out, "}}}\n");
}
