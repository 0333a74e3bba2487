/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml.c: libyaml's events into a tree. Events rather than libyaml's own documents, because those have
 * forgotten by then whether a node carried an anchor or a tag.
 */
#include "gateway/config/yaml.h"

#include <stdlib.h>
#include <yaml.h>

#include "base/json.h"
#include "base/utf8.h"
#include "gateway/config/config_private.h"

struct reader {
	struct config_load *load;
	yaml_parser_t parser;
	struct slice text;
};

/* --- The tree --- */

/* libyaml gives no mark for bytes that are no UTF-8, only their offset. */
static void note_bad_bytes(struct reader *reader)
{
	unsigned line = 1, column = 1;
	for (size_t i = 0; i < reader->parser.problem_offset && i < reader->text.len; i++) {
		bool new_line = reader->text.at[i] == '\n';
		line += new_line;
		if (new_line)
			column = 1;
		else if (((unsigned char)reader->text.at[i] & 0xc0) != 0x80)
			column++;
	}
	config_error(reader->load, line, column, "not valid YAML: %s", reader->parser.problem);
}

static void note_syntax(struct reader *reader)
{
	const yaml_parser_t *parser = &reader->parser;
	unsigned line = (unsigned)parser->problem_mark.line + 1, column = (unsigned)parser->problem_mark.column + 1;
	if (parser->error == YAML_READER_ERROR)
		note_bad_bytes(reader);
	else if (parser->error == YAML_MEMORY_ERROR || !parser->problem)
		config_error(reader->load, 0, 0, "out of memory");
	else if (parser->context && parser->context_mark.line + 1 < line)
		config_error(reader->load, line, column, "not valid YAML: %s (%s that begins in line %zu)",
			     parser->problem, parser->context, parser->context_mark.line + 1);
	else
		config_error(reader->load, line, column, "not valid YAML: %s", parser->problem);
}

static bool next_event(struct reader *reader, yaml_event_t *event)
{
	if (yaml_parser_parse(&reader->parser, event))
		return true;
	note_syntax(reader);
	return false;
}

static struct node *build_node(struct reader *reader, const yaml_event_t *event, unsigned depth);

static void note_anchor_and_tag(struct reader *reader, struct node *node, const yaml_char_t *anchor,
				const yaml_char_t *tag)
{
	static const char long_form[] = "tag:yaml.org,2002:"; /* which is written !! */
	if (!anchor && !tag)
		return;
	if (anchor)
		config_error_at(reader->load, node, "anchors (&%s) are not supported: write the value out",
				(const char *)anchor);
	if (tag) {
		bool known = strncmp((const char *)tag, long_form, sizeof long_form - 1) == 0;
		config_error_at(reader->load, node, "tags (%s%s) are not supported: remove it", known ? "!!" : "",
				(const char *)tag + (known ? sizeof long_form - 1 : 0));
	}
	node->kind = NODE_BAD;
}

static bool build_scalar(struct reader *reader, struct node *node, const yaml_event_t *event)
{
	struct slice text = { (const char *)event->data.scalar.value, event->data.scalar.length };
	node->kind = NODE_SCALAR;
	node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	node->text = (struct slice){ arena_text(reader->load->arena, text), text.len };
	note_anchor_and_tag(reader, node, event->data.scalar.anchor, event->data.scalar.tag);
	return node->text.at != NULL;
}

static bool build_list(struct reader *reader, struct node *node, const yaml_event_t *start, unsigned depth)
{
	struct node **end = &node->first;
	node->kind = NODE_LIST;
	note_anchor_and_tag(reader, node, start->data.sequence_start.anchor, start->data.sequence_start.tag);
	for (;;) {
		yaml_event_t event;
		if (!next_event(reader, &event))
			return false;
		bool last = event.type == YAML_SEQUENCE_END_EVENT;
		struct node *child = last ? NULL : build_node(reader, &event, depth + 1);
		yaml_event_delete(&event);
		if (!child)
			return last;
		*end = child;
		end = &child->next;
		node->count++;
	}
}

/* The value that belongs to `key`, which has just been read. */
static struct node *build_member(struct reader *reader, const struct node *key, unsigned depth)
{
	yaml_event_t event;
	if (!next_event(reader, &event))
		return NULL;
	struct node *value = build_node(reader, &event, depth);
	yaml_event_delete(&event);
	if (!value)
		return NULL;
	value->key_line = key->line;
	value->key_column = key->column;
	value->key_plain = key->plain;
	value->key = key->text;
	if (key->kind == NODE_LIST || key->kind == NODE_MAP)
		config_error_at(reader->load, key, "a key must be a word, not a list or a map");
	bool merges = key->kind == NODE_SCALAR && key->plain && slice_equal(key->text, SLICE("<<"));
	if (merges) /* YAML 1.1's */
		config_error_at(reader->load, key, "merge keys (<<) are not supported: write the members out");
	if (key->kind != NODE_SCALAR || merges)
		value->kind = NODE_BAD;
	return value;
}

static bool build_map(struct reader *reader, struct node *node, const yaml_event_t *start, unsigned depth)
{
	struct node **end = &node->first;
	node->kind = NODE_MAP;
	note_anchor_and_tag(reader, node, start->data.mapping_start.anchor, start->data.mapping_start.tag);
	for (;;) {
		yaml_event_t event;
		if (!next_event(reader, &event))
			return false;
		bool last = event.type == YAML_MAPPING_END_EVENT;
		struct node *key = last ? NULL : build_node(reader, &event, depth + 1);
		yaml_event_delete(&event);
		if (last)
			return true;
		struct node *value = key ? build_member(reader, key, depth + 1) : NULL;
		if (!value)
			return false;
		*end = value;
		end = &value->next;
		node->count++;
	}
}

static int by_key_then_place(const void *a, const void *b)
{
	const struct node *x = *(const struct node *const *)a, *y = *(const struct node *const *)b;
	size_t shorter = x->key.len < y->key.len ? x->key.len : y->key.len;
	int order = shorter ? memcmp(x->key.at, y->key.at, shorter) : 0;
	if (order == 0 && x->key.len != y->key.len)
		order = x->key.len < y->key.len ? -1 : 1;
	if (order == 0 && x->key_line != y->key_line)
		order = x->key_line < y->key_line ? -1 : 1;
	if (order == 0)
		order = x->key_column < y->key_column ? -1 : x->key_column > y->key_column;
	return order;
}

static bool refuse_duplicates(struct config_load *load, const struct node *map)
{
	if (map->count < 2)
		return true;
	struct node **members = calloc(map->count, sizeof *members);
	if (!members)
		return false;
	size_t count = 0;
	for (struct node *child = map->first; child; child = child->next)
		if (child->key.at)
			members[count++] = child;
	qsort(members, count, sizeof *members, by_key_then_place);
	for (size_t i = 1, first = 0; i < count; i++) {
		if (!slice_equal(members[i]->key, members[first]->key)) {
			first = i;
			continue;
		}
		config_error_key(load, members[i], "duplicate key \"%.*s\": it is already in line %u",
				 CONFIG_NAME_BYTES, members[i]->key.at, members[first]->key_line);
		members[i]->kind = NODE_BAD;
	}
	free(members);
	return true;
}

/* The node that starts with this event; NULL: an error was noted, or no memory. */
static struct node *build_node(struct reader *reader, const yaml_event_t *event, unsigned depth)
{
	struct node *node = arena_alloc(reader->load->nodes, sizeof *node);
	if (!node)
		return NULL;
	node->line = (unsigned)event->start_mark.line + 1;
	node->column = (unsigned)event->start_mark.column + 1;
	if (depth > NODE_DEPTH) {
		config_error_at(reader->load, node, "nested deeper than %d", NODE_DEPTH);
		return NULL;
	}
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return build_scalar(reader, node, event) ? node : NULL;
	case YAML_SEQUENCE_START_EVENT:
		return build_list(reader, node, event, depth) ? node : NULL;
	case YAML_MAPPING_START_EVENT:
		return build_map(reader, node, event, depth) && refuse_duplicates(reader->load, node) ? node : NULL;
	default: /* an alias: nothing else can stand here */
		config_error_at(reader->load, node, "aliases (*%s) are not supported: write the value out",
				(const char *)event->data.alias.anchor);
		node->kind = NODE_BAD;
		return node;
	}
}

/* From behind the stream's start: the first document, and nothing behind it. */
static struct node *build_document(struct reader *reader)
{
	yaml_event_t event;
	struct node *root = NULL;
	for (;;) {
		if (!next_event(reader, &event))
			return NULL;
		yaml_event_type_t type = event.type;
		bool again = type == YAML_DOCUMENT_START_EVENT && root;
		if (again)
			config_error(reader->load, (unsigned)event.start_mark.line + 1,
				     (unsigned)event.start_mark.column + 1,
				     "a second document begins here: a file holds one");
		bool node = type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT &&
			    type != YAML_DOCUMENT_END_EVENT && type != YAML_STREAM_END_EVENT;
		if (node)
			root = build_node(reader, &event, 0);
		yaml_event_delete(&event);
		if (again || (node && !root) || type == YAML_STREAM_END_EVENT)
			break;
	}
	return root;
}

struct node *node_parse(struct config_load *load, struct slice text)
{
	text = utf8_without_mark(text); /* libyaml, told the encoding, takes the mark for a character */
	struct reader reader = { .load = load, .text = text };
	if (!yaml_parser_initialize(&reader.parser))
		return NULL;
	yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&reader.parser, (const unsigned char *)(text.len ? text.at : ""), text.len);
	struct node *root = build_document(&reader);
	yaml_parser_delete(&reader.parser);
	if (root || load->fault_total)
		return root;
	root = arena_alloc(load->nodes, sizeof *root); /* an empty file: all defaults */
	if (root)
		*root = (struct node){ .kind = NODE_MAP, .line = 1, .column = 1 };
	return root;
}

/* --- What it says --- */

const struct node *node_member(const struct node *map, const char *key)
{
	if (!map || map->kind != NODE_MAP)
		return NULL;
	for (const struct node *child = map->first; child; child = child->next)
		if (child->kind != NODE_BAD && slice_equal(child->key, slice_of(key)))
			return child;
	return NULL;
}

static bool is_one_of(struct slice text, const char *const *words)
{
	while (*words && !slice_equal(text, slice_of(*words)))
		words++;
	return *words != NULL;
}

bool node_is_null(const struct node *node)
{
	static const char *const words[] = { "", "~", "null", "Null", "NULL", NULL };
	return node->kind == NODE_SCALAR && node->plain && is_one_of(node->text, words);
}

bool node_is_bool(const struct node *node)
{
	static const char *const words[] = { "true", "True", "TRUE", "false", "False", "FALSE", NULL };
	return node->kind == NODE_SCALAR && node->plain && is_one_of(node->text, words);
}

static const char *skip_set(const char *at, const char *set)
{
	return at + strspn(at, set);
}

/* Number as JSON writes it. */
static bool is_json_number(const char *at)
{
	static const char digits[] = "0123456789";
	at += *at == '-';
	if (*at == '0')
		at++;
	else if (skip_set(at, digits) == at)
		return false;
	else
		at = skip_set(at, digits);
	if (*at == '.') {
		if (skip_set(at + 1, digits) == at + 1)
			return false;
		at = skip_set(at + 1, digits);
	}
	if (*at == 'e' || *at == 'E') {
		at += 1 + (at[1] == '-' || at[1] == '+');
		if (skip_set(at, digits) == at)
			return false;
		at = skip_set(at, digits);
	}
	return *at == '\0';
}

/* Number to some reader of YAML (1.1 or 1.2), but not as JSON writes it: +1, 080, 0x10, 1_000, .5, .inf */
static bool is_odd_number(const char *at)
{
	static const char *const words[] = { ".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN", NULL };
	at += *at == '-' || *at == '+';
	if (is_one_of(slice_of(at), words))
		return true;
	if (at[0] == '0' && (at[1] == 'x' || at[1] == 'o' || at[1] == 'b'))
		return at[2] && *skip_set(at + 2, "0123456789abcdefABCDEF_") == '\0';
	const char *digits = *at == '.' ? at + 1 : at;
	if (*digits < '0' || *digits > '9')
		return false;
	const char *end = skip_set(at, "0123456789_");
	end = *end == '.' ? skip_set(end + 1, "0123456789_") : end;
	if (*end == 'e' || *end == 'E') {
		end += 1 + (end[1] == '-' || end[1] == '+');
		end = skip_set(end, "0123456789");
	}
	return *end == '\0';
}

bool node_is_number(const struct node *node)
{
	return node->kind == NODE_SCALAR && node->plain &&
	       (is_json_number(node->text.at) || is_odd_number(node->text.at));
}

/* --- As JSON --- */

static void put_scalar(struct config_load *load, const struct node *node, const char *where, struct buf *out)
{
	static const char *const doubtful[] = { "yes", "Yes", "YES", "no",  "No",  "NO", "on",
						"On",  "ON",  "off", "Off", "OFF", NULL };
	if (node_is_null(node))
		buf_put(out, SLICE("null"));
	else if (node_is_bool(node))
		buf_put_text(out, node->text.at[0] == 't' || node->text.at[0] == 'T' ? "true" : "false");
	else if (node->plain && is_json_number(node->text.at))
		buf_put(out, node->text);
	else if (node->plain && (is_one_of(node->text, doubtful) || is_odd_number(node->text.at)))
		config_error_at(
			load, node, "%s: readers of YAML disagree about %s: write it in quotes%s", where, node->text.at,
			is_odd_number(node->text.at) ? ", or as a plain decimal number" : ", or as true or false");
	else
		json_put_string(out, node->text);
}

void node_put_json(struct config_load *load, const struct node *node, const char *where, struct buf *out)
{
	bool map = node->kind == NODE_MAP;
	if (node->kind == NODE_SCALAR)
		put_scalar(load, node, where, out);
	if (node->kind == NODE_SCALAR || node->kind == NODE_BAD)
		return;
	buf_put_char(out, map ? '{' : '[');
	for (const struct node *child = node->first; child; child = child->next) {
		if (child != node->first)
			buf_put_char(out, ',');
		if (map) {
			json_put_string(out, child->key);
			buf_put_char(out, ':');
		}
		node_put_json(load, child, where, out);
	}
	buf_put_char(out, map ? '}' : ']');
}

const struct node *node_find(const struct node *block, const char *path)
{
	char key[64];
	while (block && *path) {
		size_t len = strcspn(path, ".");
		if (len >= sizeof key)
			return NULL;
		memcpy(key, path, len);
		key[len] = '\0';
		block = node_member(block, key);
		path += len + (path[len] == '.');
	}
	return block;
}
