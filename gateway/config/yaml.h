/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml.h: a YAML text as a tree in which every key and value knows its place. What two readers of YAML could
 * understand differently (anchors, tags, several documents, repeated keys) is refused here.
 */
#ifndef JITNEY_GATEWAY_CONFIG_YAML_H
#define JITNEY_GATEWAY_CONFIG_YAML_H

#include "base/buf.h"
#include "base/compiler.h"
#include "base/slice.h"

struct config_load;

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP, NODE_BAD /* has been complained about: pass over */ };

struct node {
	enum node_kind kind;
	bool plain; /* scalar without quotes */
	bool key_plain;
	unsigned line, column; /* of the value, from 1; columns are characters */
	unsigned key_line, key_column;
	struct slice text;         /* of a scalar; a NUL follows */
	struct slice key;          /* in a map; a NUL follows */
	struct node *first, *next; /* children in the order of the file */
	size_t count;              /* children */
};

enum { NODE_DEPTH = 64 }; /* of nesting, at most */

/* The tree of the file's text, in load's arena. NULL after a syntax error (noted) or out of memory. An empty file is
 * an empty map. */
struct node *node_parse(struct config_load *load, struct slice text) MUST_CHECK;

/* The member of that name; NULL if there is none or `map` is no map or NULL. */
const struct node *node_member(const struct node *map, const char *key);
/* A plain scalar without a value: nothing, ~ or null. */
bool node_is_null(const struct node *node);
/* A plain scalar that YAML reads as true or false, or as a number (also in forms that JSON does not have). */
bool node_is_bool(const struct node *node);
bool node_is_number(const struct node *node);

/* Append as compact JSON; quoted scalars are strings, plain ones what JSON would call them, keys in their order.
 * Notes an error for what YAML readers read differently (yes, 0x10, 080). `where` names the option. */
void node_put_json(struct config_load *load, const struct node *node, const char *where, struct buf *out);

/* The same for "request.path" below a block, which may be NULL; NULL if the file does not have it. */
const struct node *node_find(const struct node *block, const char *path);

#endif
