/* SPDX-License-Identifier: Apache-2.0 */
/* dialect_speeches.h: how a provider of each dialect speaks, for tests that play all of them. */
#ifndef TESTS_SUPPORT_DIALECT_SPEECHES_H
#define TESTS_SUPPORT_DIALECT_SPEECHES_H

#include <stdbool.h>
#include <stddef.h>

#include "upstream/dialects/dialect.h"

struct speech {
	const char *name;
	const char *opens, *closes; /* arguments, around the tag */
	const char *before, *after, *between;
	const char *good, *bad;        /* $I: id, $T: tag, $N: place; bad NULL: an item cannot fail by itself */
	bool keyed;                    /* the items are members of one object */
	bool single;                   /* one call alone is answered without before and after */
	bool placed;                   /* answers stand where their calls stood */
	bool counted;                  /* answers count only if there are as many as calls */
	const char *preset;            /* envelope: whose */
	const char *merge;             /* graphql: how */
	const struct dialect *dialect; /* NULL: made from settings */
};

static const struct speech speeches[] = {
	{ "jsonrpc", "{\"t\":", "}", "[", "]", ",", "{\"jsonrpc\":\"2.0\",\"id\":$I,\"result\":{\"own\":$T}}",
	  "{\"jsonrpc\":\"2.0\",\"id\":$I,\"error\":{\"code\":-32000,\"message\":\"$T\"}}", .single = true,
	  .dialect = &dialect_jsonrpc },
	{ "rest", "{\"t\":", "}", "", "", "", "{\"own\":$T}", NULL, .single = true, .dialect = &dialect_rest },
	{ "envelope", "{\"t\":", "}", "{\"responses\":[", "]}", ",",
	  "{\"id\":\"$I\",\"status\":200,\"body\":{\"own\":$T}}", "{\"id\":\"$I\",\"status\":404,\"body\":{\"no\":$T}}",
	  .preset = "microsoft-graph" },
	{ "envelope", "{\"t\":", "}", "{\"took\":1,\"responses\":[", "]}", ",", "{\"status\":200,\"own\":$T}",
	  "{\"status\":400,\"error\":{\"reason\":\"$T\"}}", .placed = true, .counted = true,
	  .preset = "elasticsearch-msearch" },
	{ "envelope", "{\"index\":\"i\",\"document\":{\"t\":", "}}", "{\"errors\":true,\"items\":[", "]}", ",",
	  "{\"index\":{\"status\":201,\"own\":$T}}", "{\"index\":{\"status\":409,\"error\":{\"reason\":\"$T\"}}}",
	  .placed = true, .counted = true, .preset = "elasticsearch-bulk" },
	{ "openai-embeddings", "{\"model\":\"m\",\"input\":\"", "\"}", "{\"object\":\"list\",\"data\":[",
	  "],\"model\":\"m\",\"usage\":{\"prompt_tokens\":9,\"total_tokens\":9}}", ",",
	  "{\"object\":\"embedding\",\"index\":$N,\"embedding\":[$T]}", .bad = NULL, .counted = true,
	  .dialect = &dialect_openai_embeddings },
	{ "graphql", "{\"id\":", "}", "{\"data\":{", "}}", ",", "\"j$N_user\":{\"own\":$T}", .keyed = true,
	  .merge = "alias" },
	{ "graphql", "{\"id\":", "}", "[", "]", ",", "{\"data\":{\"user\":{\"own\":$T}}}",
	  "{\"errors\":[{\"message\":\"$T\"}]}", .single = true, .placed = true, .counted = true, .merge = "array" },
	{ "key_list", "{\"id\":", "}", "{\"items\":[", "]}", ",", "{\"id\":$T}", .bad = NULL },
};

#endif
