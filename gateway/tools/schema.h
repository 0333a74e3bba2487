/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema.h: JSON Schemas of tools' arguments, made fit for those who read less of JSON Schema than there is: OpenAI,
 * Anthropic and Gemini refuse a request with all its tools for one schema they cannot take. Texts in, texts out; all
 * schemas given here are JSON that json_check has accepted.
 */
#ifndef JITNEY_GATEWAY_TOOLS_SCHEMA_H
#define JITNEY_GATEWAY_TOOLS_SCHEMA_H

#include "base/buf.h"
#include "base/slice.h"

/* Whether it says {"type":"object", ...}: MCP asks for that, and clients drop the whole list for one that does not. */
bool schema_is_object(struct slice schema);

/* What is wrong with it beyond mending: a phrase (static), or NULL. */
const char *schema_fault(struct slice schema);

/*
 * Append the schema as vendors take it: type: object and properties are there; anyOf, oneOf and allOf at the top are
 * merged into properties; null as a schema or keyword is gone; arrays say something of their items. Byte for byte as it
 * came where nothing is wrong with it. An empty one, or one that schema_fault complains about, becomes that of any
 * object.
 */
void schema_put_mended(struct buf *out, struct slice schema);

/* Append a tool's schema for them; NULL: it has none. mended: it is fit already (a listed tool's is). */
void schema_put_for_vendors(struct buf *out, const char *schema, bool mended);

/* Append the schema less the properties that `constants` (a JSON object) names, and their mention in required. */
void schema_put_without(struct buf *out, struct slice schema, struct slice constants);

/* Whether all names of properties, at any depth, are [A-Za-z0-9_.-]{1,64}, as Anthropic wants them. */
bool schema_names_are_plain(struct slice schema);

#endif
