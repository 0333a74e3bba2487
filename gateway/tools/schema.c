/* SPDX-License-Identifier: Apache-2.0 */
/* schema.c: schemas walked keyword by keyword, copied with what has to be mended. */
#include "gateway/tools/schema.h"

#include "base/compiler.h"
#include "base/json.h"
#include "gateway/tools/name_map.h"

enum { SCHEMA_BYTES_MAX = 64 << 20, PLAIN_NAME_BYTES = 64 };

/* What stands behind a keyword. */
enum content { CONTENT_DATA, CONTENT_SCHEMA, CONTENT_SCHEMAS, CONTENT_NAMED };

static const struct {
	const char *keyword;
	enum content content;
} keywords[] = {
	{ "properties", CONTENT_NAMED },
	{ "patternProperties", CONTENT_NAMED },
	{ "$defs", CONTENT_NAMED },
	{ "definitions", CONTENT_NAMED },
	{ "dependentSchemas", CONTENT_NAMED },
	{ "anyOf", CONTENT_SCHEMAS },
	{ "oneOf", CONTENT_SCHEMAS },
	{ "allOf", CONTENT_SCHEMAS },
	{ "prefixItems", CONTENT_SCHEMAS },
	{ "items", CONTENT_SCHEMA },
	{ "additionalProperties", CONTENT_SCHEMA },
	{ "not", CONTENT_SCHEMA },
	{ "if", CONTENT_SCHEMA },
	{ "then", CONTENT_SCHEMA },
	{ "else", CONTENT_SCHEMA },
	{ "contains", CONTENT_SCHEMA },
	{ "propertyNames", CONTENT_SCHEMA },
	{ "unevaluatedProperties", CONTENT_SCHEMA },
	{ "unevaluatedItems", CONTENT_SCHEMA },
};

static enum content content_of(struct slice keyword)
{
	for (size_t i = 0; i < countof(keywords); i++)
		if (json_string_is(keyword, slice_of(keywords[i].keyword)))
			return keywords[i].content;
	return CONTENT_DATA;
}

static bool is_type(struct slice value, enum json_type type)
{
	return value.len > 0 && json_type(value) == type;
}

/* The member, if it is of that type; else empty. */
static struct slice find_member(struct slice object, const char *name, enum json_type type)
{
	struct slice value;
	if (is_type(object, JSON_OBJECT) && json_member(object, slice_of(name), &value) && is_type(value, type))
		return value;
	return (struct slice){ NULL, 0 };
}

/* Whether the schema's type is this, or a list with it. */
static bool has_type(struct slice schema, const char *type)
{
	struct slice element, list = find_member(schema, "type", JSON_ARRAY);
	struct json_walk walk = json_walk(list);
	while (list.len && json_next_element(&walk, &element))
		if (is_type(element, JSON_STRING) && json_string_is(element, slice_of(type)))
			return true;
	struct slice word = find_member(schema, "type", JSON_STRING);
	return word.len && json_string_is(word, slice_of(type));
}

bool schema_is_object(struct slice schema)
{
	schema = json_trim(schema);
	return find_member(schema, "type", JSON_STRING).len && has_type(schema, "object");
}

const char *schema_fault(struct slice schema)
{
	struct slice type;
	schema = json_trim(schema);
	if (!is_type(schema, JSON_OBJECT) || !json_member(schema, SLICE("type"), &type) || is_type(type, JSON_NULL))
		return NULL;
	return has_type(schema, "object") ? NULL : "its inputSchema is not of type object, and arguments are one";
}

/* ---------------------------------------------------------------- mending */

struct mender {
	struct buf out;
	bool changed;
};

static void put_schema(struct mender *mender, struct slice schema);

static void put_member(struct mender *mender, bool *first, struct slice name)
{
	if (!*first)
		buf_put_char(&mender->out, ',');
	*first = false;
	buf_put(&mender->out, name);
	buf_put_char(&mender->out, ':');
}

static void put_schemas(struct mender *mender, struct slice list)
{
	struct slice element;
	struct json_walk walk = json_walk(list);
	buf_put_char(&mender->out, '[');
	for (bool first = true; json_next_element(&walk, &element); first = false) {
		if (!first)
			buf_put_char(&mender->out, ',');
		put_schema(mender, element);
	}
	buf_put_char(&mender->out, ']');
}

static void put_named(struct mender *mender, struct slice map)
{
	struct slice name, value;
	bool first = true;
	struct json_walk walk = json_walk(map);
	buf_put_char(&mender->out, '{');
	while (json_next_member(&walk, &name, &value)) {
		put_member(mender, &first, name);
		put_schema(mender, value);
	}
	buf_put_char(&mender->out, '}');
}

static void put_content(struct mender *mender, enum content content, struct slice value)
{
	if (content == CONTENT_NAMED && is_type(value, JSON_OBJECT))
		put_named(mender, value);
	else if (content == CONTENT_SCHEMAS && is_type(value, JSON_ARRAY))
		put_schemas(mender, value);
	else if (content == CONTENT_SCHEMA)
		put_schema(mender, value);
	else
		buf_put(&mender->out, value);
}

/* null as a keyword's value says nothing, unless it is a value itself. */
static bool says_nothing(struct slice name, struct slice value)
{
	return is_type(value, JSON_NULL) && !json_string_is(name, SLICE("const")) &&
	       !json_string_is(name, SLICE("default"));
}

/* Its keywords; `top`: but for those that put_top writes. */
static void put_keywords(struct mender *mender, struct slice schema, bool *first, bool top)
{
	static const char *const merged[] = { "type", "properties", "required", "anyOf", "oneOf", "allOf" };
	struct slice name, value;
	struct json_walk walk = json_walk(schema);
	while (json_next_member(&walk, &name, &value)) {
		bool skip = says_nothing(name, value);
		mender->changed |= skip;
		for (size_t i = 0; top && i < countof(merged); i++)
			skip |= json_string_is(name, slice_of(merged[i]));
		if (skip)
			continue;
		put_member(mender, first, name);
		put_content(mender, content_of(name), value);
	}
}

/* A schema anywhere below the top. */
static void put_schema(struct mender *mender, struct slice schema)
{
	struct slice items;
	bool first = true;
	if (is_type(schema, JSON_NULL)) {
		mender->changed = true;
		buf_put_text(&mender->out, "{}");
		return;
	}
	if (!is_type(schema, JSON_OBJECT)) {
		buf_put(&mender->out, schema);
		return;
	}
	buf_put_char(&mender->out, '{');
	put_keywords(mender, schema, &first, false);
	bool bare = !json_member(schema, SLICE("items"), &items) || is_type(items, JSON_NULL);
	if (bare && has_type(schema, "array") && !json_member(schema, SLICE("prefixItems"), &items)) {
		mender->changed = true;
		put_member(mender, &first, SLICE("\"items\""));
		buf_put_text(&mender->out, "{}");
	}
	buf_put_char(&mender->out, '}');
}

/* ---------------------------------------------------------------- the top */

/* The schema itself, and those that stand beside it in allOf, anyOf, oneOf. */
enum { PARTS_MAX = 64 };
struct parts {
	struct slice schemas[PARTS_MAX];
	bool all[PARTS_MAX]; /* holds for every call: what it requires is required */
	size_t count;
};

static void gather_parts(struct parts *parts, struct slice schema)
{
	static const char *const lists[] = { "allOf", "anyOf", "oneOf" };
	struct slice element;
	parts->schemas[0] = schema;
	parts->all[0] = true;
	parts->count = 1;
	for (size_t i = 0; i < countof(lists); i++) {
		struct slice list = find_member(schema, lists[i], JSON_ARRAY);
		struct json_walk walk = json_walk(list);
		while (list.len && parts->count < PARTS_MAX && json_next_element(&walk, &element)) {
			parts->schemas[parts->count] = element;
			parts->all[parts->count++] = i == 0;
		}
	}
}

/* Each name once, of the first part that has it: a part may hold as many as a server likes, so they are looked up. */
static void put_properties(struct mender *mender, const struct parts *parts)
{
	struct slice name, value;
	struct name_map there;
	bool first = true;
	name_map_init(&there);
	buf_put_text(&mender->out, "\"properties\":{");
	for (size_t i = 0; i < parts->count; i++) {
		struct slice properties = find_member(parts->schemas[i], "properties", JSON_OBJECT);
		struct json_walk walk = json_walk(properties);
		while (properties.len && json_next_member(&walk, &name, &value)) {
			if (name_map_add(&there, name, 0))
				continue;
			put_member(mender, &first, name);
			put_schema(mender, value);
		}
	}
	buf_put_char(&mender->out, '}');
	mender->out.failed |= there.failed;
	name_map_fini(&there);
}

static void put_required(struct mender *mender, const struct parts *parts)
{
	struct slice name;
	struct name_map there;
	bool first = true;
	name_map_init(&there);
	for (size_t i = 0; i < parts->count; i++) {
		struct slice required = find_member(parts->schemas[i], "required", JSON_ARRAY);
		struct json_walk walk = json_walk(required);
		while (parts->all[i] && required.len && json_next_element(&walk, &name)) {
			if (!is_type(name, JSON_STRING) || name_map_add(&there, name, 0))
				continue;
			buf_put_text(&mender->out, first ? ",\"required\":[" : ",");
			buf_put(&mender->out, name);
			first = false;
		}
	}
	if (!first)
		buf_put_char(&mender->out, ']');
	mender->out.failed |= there.failed;
	name_map_fini(&there);
}

static bool top_is_valid(struct slice schema)
{
	struct slice value;
	return schema_is_object(schema) && find_member(schema, "properties", JSON_OBJECT).len &&
	       !json_member(schema, SLICE("anyOf"), &value) && !json_member(schema, SLICE("oneOf"), &value) &&
	       !json_member(schema, SLICE("allOf"), &value);
}

static void put_top(struct mender *mender, struct slice schema)
{
	bool first = false;
	struct parts parts;
	gather_parts(&parts, schema);
	mender->changed = true;
	buf_put_text(&mender->out, "{\"type\":\"object\",");
	put_properties(mender, &parts);
	put_required(mender, &parts);
	put_keywords(mender, schema, &first, true);
	buf_put_char(&mender->out, '}');
}

void schema_put_mended(struct buf *out, struct slice schema)
{
	struct mender mender = { BUF_INIT(SCHEMA_BYTES_MAX), false };
	schema = json_trim(schema);
	if (!is_type(schema, JSON_OBJECT) || schema_fault(schema)) {
		buf_put_text(out, "{\"type\":\"object\",\"properties\":{}}");
		return;
	}
	if (top_is_valid(schema))
		put_schema(&mender, schema);
	else
		put_top(&mender, schema);
	out->failed |= mender.out.failed;
	buf_put(out, mender.changed ? buf_slice(&mender.out) : schema);
	buf_fini(&mender.out);
}

void schema_put_for_vendors(struct buf *out, const char *schema, bool mended)
{
	if (mended)
		buf_put_text(out, schema);
	else
		schema_put_mended(out, slice_of(schema ? schema : "{}"));
}

/* ---------------------------------------------------------------- hiding */

/* Without memory for the name it stays hidden: nobody misses what he cannot set. */
static bool names_member(struct slice object, struct slice raw_name)
{
	struct buf name = BUF_INIT(SCHEMA_BYTES_MAX);
	struct slice value;
	json_unescape(raw_name, &name);
	bool is = name.failed || json_member(object, buf_slice(&name), &value);
	buf_fini(&name);
	return is;
}

static void put_without(struct buf *out, struct slice properties, struct slice constants)
{
	const char *comma = "";
	struct slice name, value;
	struct json_walk walk = json_walk(properties);
	buf_put_char(out, '{');
	while (json_next_member(&walk, &name, &value)) {
		if (names_member(constants, name))
			continue;
		buf_put_text(out, comma);
		buf_put(out, name);
		buf_put_char(out, ':');
		buf_put(out, value);
		comma = ",";
	}
	buf_put_char(out, '}');
}

static void put_list_without(struct buf *out, struct slice required, struct slice constants)
{
	const char *comma = "";
	struct slice name;
	struct json_walk walk = json_walk(required);
	buf_put_char(out, '[');
	while (json_next_element(&walk, &name)) {
		if (is_type(name, JSON_STRING) && names_member(constants, name))
			continue;
		buf_put_text(out, comma);
		buf_put(out, name);
		comma = ",";
	}
	buf_put_char(out, ']');
}

void schema_put_without(struct buf *out, struct slice schema, struct slice constants)
{
	const char *comma = "";
	struct slice name, value;
	schema = json_trim(schema);
	if (!is_type(schema, JSON_OBJECT)) {
		buf_put(out, schema);
		return;
	}
	struct json_walk walk = json_walk(schema);
	buf_put_char(out, '{');
	while (json_next_member(&walk, &name, &value)) {
		buf_put_text(out, comma);
		buf_put(out, name);
		buf_put_char(out, ':');
		if (json_string_is(name, SLICE("properties")) && is_type(value, JSON_OBJECT))
			put_without(out, value, constants);
		else if (json_string_is(name, SLICE("required")) && is_type(value, JSON_ARRAY))
			put_list_without(out, value, constants);
		else
			buf_put(out, value);
		comma = ",";
	}
	buf_put_char(out, '}');
}

/* ---------------------------------------------------------------- names */

static bool is_plain(struct slice raw_name)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
	for (size_t i = 1; i + 1 < raw_name.len; i++)
		if (!raw_name.at[i] || !strchr(letters, raw_name.at[i]))
			return false;
	return raw_name.len > 2 && raw_name.len - 2 <= PLAIN_NAME_BYTES;
}

static bool content_is_plain(enum content content, bool properties, struct slice value)
{
	struct slice name, inner;
	struct json_walk walk = json_walk(value);
	if (content == CONTENT_SCHEMA)
		return schema_names_are_plain(value);
	if (content == CONTENT_SCHEMAS && is_type(value, JSON_ARRAY))
		while (json_next_element(&walk, &inner))
			if (!schema_names_are_plain(inner))
				return false;
	if (content == CONTENT_NAMED && is_type(value, JSON_OBJECT))
		while (json_next_member(&walk, &name, &inner))
			if ((properties && !is_plain(name)) || !schema_names_are_plain(inner))
				return false;
	return true;
}

bool schema_names_are_plain(struct slice schema)
{
	struct slice name, value;
	schema = json_trim(schema);
	if (!is_type(schema, JSON_OBJECT))
		return true;
	struct json_walk walk = json_walk(schema);
	while (json_next_member(&walk, &name, &value))
		if (!content_is_plain(content_of(name), json_string_is(name, SLICE("properties")), value))
			return false;
	return true;
}
