/* SPDX-License-Identifier: Apache-2.0 */
/* graphql_text.c: a reader of GraphQL's executable documents: enough of the grammar to mark names. */
#include "upstream/dialects/graphql_text.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "upstream/dialects/graphql_token.h"

struct fragment {
	struct slice name;
	const char *at;    /* its definition */
	bool root, nested; /* where it is spread */
};

/* A spread: of which fragment, in what. */
struct use {
	struct slice name;
	size_t from; /* fragments[from], or OPERATION */
	bool top;    /* among the first level of fields of it */
};

enum { NAMES_MAX = 1000 }; /* fragments, uses of one document */
#define OPERATION SIZE_MAX

struct reader {
	const char *start, *at;
	struct token token; /* the one to be looked at */
	struct graphql_text *text;
	struct buf *out; /* NULL: nothing is written */
	struct fragment *fragments;
	size_t fragment_count;
	struct use *uses;
	size_t use_count;
	size_t from;  /* what is being read, see struct use */
	bool defined; /* the operation has been read */
	struct dialect_error *error;
};

/* --- tokens --- */

static void look_at(struct reader *reader, const char *at)
{
	reader->at = graphql_skip(at);
	reader->token = graphql_token_at(reader->at);
}

static bool is_sign(const struct reader *reader, const char *sign)
{
	return reader->token.kind == TOKEN_SIGN && slice_equal(reader->token.text, slice_of(sign));
}

static bool is_word(const struct reader *reader, const char *word)
{
	return reader->token.kind == TOKEN_NAME && slice_equal(reader->token.text, slice_of(word));
}

static unsigned line_of(const struct reader *reader)
{
	unsigned line = 1;
	for (const char *at = reader->start; at < reader->at; at++)
		if (*at == '\n')
			line++;
	return line;
}

static bool fail_at(const struct reader *reader, const char *what)
{
	if (reader->error->kind == DIALECT_ERROR_NONE)
		dialect_refuse(reader->error, "", "line %u: %s", line_of(reader), what);
	return false;
}

static bool fail_at_token(const struct reader *reader, const char *wanted)
{
	char what[120];
	if (reader->token.kind == TOKEN_END)
		snprintf(what, sizeof what, "%s expected, the text ends", wanted);
	else
		snprintf(what, sizeof what, "%s expected, not '%.*s'", wanted,
			 reader->token.text.len < 40 ? (int)reader->token.text.len : 40, reader->token.text.at);
	return fail_at(reader, what);
}

/* --- writing --- */

static bool is_wordy(char c)
{
	return is_name_start(c) || is_digit(c) || c == GRAPHQL_MARK || c == '-';
}

/* Append with a blank before it where two tokens would become one. */
static void put_text(struct reader *reader, struct slice text)
{
	struct buf *out = reader->out;
	if (!out || out->failed || text.len == 0)
		return;
	char last = out->len ? out->store->bytes[out->len - 1] : ' ';
	bool marked = last == GRAPHQL_MARK; /* what follows a mark belongs to it */
	if ((is_wordy(last) && !marked && is_wordy(text.at[0])) || (last == '"' && text.at[0] == '"'))
		buf_put_char(out, ' ');
	buf_put(out, text);
}

static void put_mark(struct reader *reader)
{
	static const char mark[] = { GRAPHQL_MARK };
	put_text(reader, (struct slice){ mark, sizeof mark });
}

/* Write the token and go on. */
static void pass_token(struct reader *reader)
{
	put_text(reader, reader->token.text);
	look_at(reader, reader->token.text.at + reader->token.text.len);
}

static void skip_token(struct reader *reader)
{
	look_at(reader, reader->token.text.at + reader->token.text.len);
}

static bool pass_sign(struct reader *reader, const char *sign)
{
	if (!is_sign(reader, sign)) {
		char wanted[] = "'...'";
		snprintf(wanted, sizeof wanted, "'%.3s'", sign);
		return fail_at_token(reader, wanted);
	}
	pass_token(reader);
	return true;
}

static bool pass_name(struct reader *reader)
{
	if (reader->token.kind != TOKEN_NAME)
		return fail_at_token(reader, "a name");
	pass_token(reader);
	return true;
}

/* --- the grammar --- */

static bool is_declared(const struct reader *reader, struct slice name)
{
	for (size_t i = 0; i < reader->text->variable_count; i++)
		if (slice_equal(reader->text->variables[i].name, name))
			return true;
	return false;
}

static bool read_variable(struct reader *reader)
{
	pass_token(reader);
	put_mark(reader);
	if (reader->out && reader->token.kind == TOKEN_NAME && !is_declared(reader, reader->token.text))
		return fail_at(reader, "a variable that the operation does not declare");
	return pass_name(reader);
}

static bool read_value(struct reader *reader, unsigned depth)
{
	if (depth > GRAPHQL_DEPTH)
		return fail_at(reader, "nested too deep");
	if (is_sign(reader, "$"))
		return read_variable(reader);
	const char *close = is_sign(reader, "[") ? "]" : is_sign(reader, "{") ? "}" : NULL;
	if (!close) {
		if (reader->token.kind != TOKEN_NAME && reader->token.kind != TOKEN_NUMBER &&
		    reader->token.kind != TOKEN_STRING)
			return fail_at_token(reader, "a value");
		pass_token(reader);
		return true;
	}
	pass_token(reader);
	while (!is_sign(reader, close)) {
		if (*close == '}' && (!pass_name(reader) || !pass_sign(reader, ":")))
			return false;
		if (!read_value(reader, depth + 1))
			return false;
	}
	pass_token(reader);
	return true;
}

static bool read_arguments(struct reader *reader)
{
	if (!is_sign(reader, "("))
		return true;
	pass_token(reader);
	do {
		if (!pass_name(reader) || !pass_sign(reader, ":") || !read_value(reader, 0))
			return false;
	} while (!is_sign(reader, ")"));
	pass_token(reader);
	return true;
}

/* *some: there was one. */
static bool read_directives(struct reader *reader, bool *some)
{
	while (is_sign(reader, "@")) {
		*some = true;
		pass_token(reader);
		if (!pass_name(reader) || !read_arguments(reader))
			return false;
	}
	return true;
}

static bool note_use(struct reader *reader, bool top)
{
	if (reader->out)
		return true; /* noted the first time */
	if (reader->use_count == NAMES_MAX)
		return fail_at(reader, "too many fragment spreads");
	reader->uses[reader->use_count++] =
		(struct use){ .name = reader->token.text, .from = reader->from, .top = top };
	return true;
}

static bool read_selections(struct reader *reader, bool top, bool root, unsigned depth);

static bool read_spread(struct reader *reader, bool top, bool root, unsigned depth)
{
	bool directed = false;
	pass_token(reader);
	if (reader->token.kind == TOKEN_NAME && !is_word(reader, "on")) {
		put_mark(reader);
		if (!note_use(reader, top))
			return false;
		pass_token(reader);
		if (!read_directives(reader, &directed))
			return false;
		reader->text->may_be_empty |= root;
		return true;
	}
	if (is_word(reader, "on")) {
		pass_token(reader);
		if (!pass_name(reader))
			return false;
	}
	reader->text->may_be_empty |= root;
	return read_directives(reader, &directed) && read_selections(reader, top, root, depth + 1);
}

/* A root field answers under the mark and its own name. */
static bool read_field(struct reader *reader, bool root, unsigned depth)
{
	bool directed = false;
	struct slice name = reader->token.text;
	if (reader->token.kind != TOKEN_NAME)
		return fail_at_token(reader, "a field");
	if (root)
		put_mark(reader);
	pass_token(reader);
	if (is_sign(reader, ":")) {
		pass_token(reader);
		if (!pass_name(reader))
			return false;
	} else if (root) {
		put_text(reader, SLICE(":"));
		put_text(reader, name);
	}
	if (!read_arguments(reader) || !read_directives(reader, &directed))
		return false;
	reader->text->may_be_empty |= root && directed;
	return !is_sign(reader, "{") || read_selections(reader, false, false, depth + 1);
}

static bool read_selection_list(struct reader *reader, bool top, bool root, unsigned depth)
{
	do {
		bool good = is_sign(reader, "...") ? read_spread(reader, top, root, depth)
						   : read_field(reader, root, depth);
		if (!good)
			return false;
	} while (!is_sign(reader, "}"));
	return true;
}

/* top: the first level of what is being read. root: its fields are the operation's own. */
static bool read_selections(struct reader *reader, bool top, bool root, unsigned depth)
{
	if (depth > GRAPHQL_DEPTH)
		return fail_at(reader, "nested too deep");
	if (!pass_sign(reader, "{") || !read_selection_list(reader, top, root, depth))
		return false;
	pass_token(reader);
	return true;
}

/* *required: it cannot be null. */
static bool read_type(struct reader *reader, bool *required, unsigned depth)
{
	bool inner;
	if (depth > GRAPHQL_DEPTH)
		return fail_at(reader, "nested too deep");
	if (is_sign(reader, "[")) {
		pass_token(reader);
		if (!read_type(reader, &inner, depth + 1) || !pass_sign(reader, "]"))
			return false;
	} else if (!pass_name(reader)) {
		return false;
	}
	*required = is_sign(reader, "!");
	if (*required)
		pass_token(reader);
	return true;
}

static bool read_definition(struct reader *reader)
{
	struct graphql_text *text = reader->text;
	bool directed = false;
	if (!pass_sign(reader, "$"))
		return false;
	put_mark(reader);
	struct graphql_variable *variable = &text->variables[text->variable_count];
	variable->name = reader->token.text;
	if (reader->token.kind == TOKEN_NAME && is_declared(reader, variable->name))
		return fail_at(reader, "a variable that is there twice");
	if (!pass_name(reader) || !pass_sign(reader, ":") || !read_type(reader, &variable->required, 0))
		return false;
	if (is_sign(reader, "=")) {
		variable->required = false;
		pass_token(reader);
		if (!read_value(reader, 0))
			return false;
	}
	text->variable_count++;
	return read_directives(reader, &directed);
}

static bool read_definitions(struct reader *reader)
{
	if (!is_sign(reader, "("))
		return true;
	skip_token(reader);
	reader->out = &reader->text->definitions;
	do {
		if (!read_definition(reader))
			return false;
	} while (!is_sign(reader, ")"));
	skip_token(reader);
	return true;
}

/* The root's fields without the braces around them; read a second time, for the spreads only. */
static bool read_root(struct reader *reader)
{
	const char *begin = reader->at;
	for (int round = 0; round < 2; round++) {
		look_at(reader, begin);
		reader->out = NULL;
		if (!pass_sign(reader, "{"))
			return false;
		reader->out = round ? &reader->text->selection : NULL;
		if (!read_selection_list(reader, true, true, 0))
			return false;
		skip_token(reader);
	}
	reader->out = NULL;
	return true;
}

static bool read_operation(struct reader *reader)
{
	bool directed = false;
	if (reader->defined)
		return fail_at(reader, "a second operation; a tool has one");
	reader->defined = true;
	reader->from = OPERATION;
	if (is_word(reader, "subscription"))
		return fail_at(reader, "a subscription; only queries and mutations have one answer");
	reader->text->mutation = is_word(reader, "mutation");
	if (!is_sign(reader, "{")) {
		skip_token(reader);
		if (reader->token.kind == TOKEN_NAME)
			skip_token(reader);
		if (!read_definitions(reader))
			return false;
		reader->out = NULL;
		if (!read_directives(reader, &directed))
			return false;
	}
	if (directed)
		reader->text->alone = "its operation has directives";
	return read_root(reader);
}

/* Written with its marks if reader->out is set. */
static bool read_fragment(struct reader *reader, bool root)
{
	bool directed = false;
	pass_token(reader);
	put_mark(reader);
	if (!pass_name(reader))
		return false;
	if (!is_word(reader, "on"))
		return fail_at_token(reader, "'on'");
	pass_token(reader);
	return pass_name(reader) && read_directives(reader, &directed) && read_selections(reader, true, root, 0);
}

static bool note_fragment(struct reader *reader)
{
	if (reader->fragment_count == NAMES_MAX)
		return fail_at(reader, "too many fragments");
	struct token name = graphql_token_at(graphql_skip(reader->at + reader->token.text.len));
	for (size_t i = 0; i < reader->fragment_count; i++)
		if (slice_equal(reader->fragments[i].name, name.text))
			return fail_at(reader, "a fragment that is there twice");
	reader->from = reader->fragment_count++;
	reader->fragments[reader->from] = (struct fragment){ .name = name.text, .at = reader->at };
	return read_fragment(reader, false);
}

static bool read_document(struct reader *reader)
{
	while (reader->token.kind != TOKEN_END) {
		bool good;
		if (is_word(reader, "fragment"))
			good = note_fragment(reader);
		else if (is_sign(reader, "{") || is_word(reader, "query") || is_word(reader, "mutation") ||
			 is_word(reader, "subscription"))
			good = read_operation(reader);
		else
			good = fail_at_token(reader, "a query or a mutation");
		if (!good)
			return false;
	}
	return reader->defined || fail_at(reader, "no operation");
}

/* --- fragments: where they are spread --- */

static struct fragment *find_fragment(const struct reader *reader, struct slice name)
{
	for (size_t i = 0; i < reader->fragment_count; i++)
		if (slice_equal(reader->fragments[i].name, name))
			return &reader->fragments[i];
	return NULL;
}

/* True: something new was learned. */
static bool follow_use(const struct reader *reader, const struct use *use, struct fragment *fragment)
{
	bool operation = use->from == OPERATION;
	const struct fragment *from = operation ? NULL : &reader->fragments[use->from];
	bool root = use->top && (operation || from->root);
	bool nested = !use->top || (!operation && from->nested);
	bool changed = (root && !fragment->root) || (nested && !fragment->nested);
	fragment->root |= root;
	fragment->nested |= nested;
	return changed;
}

static bool follow_uses(struct reader *reader)
{
	bool changed = true;
	while (changed) {
		changed = false;
		for (size_t i = 0; i < reader->use_count; i++) {
			struct fragment *fragment = find_fragment(reader, reader->uses[i].name);
			if (!fragment) {
				reader->at = reader->uses[i].name.at;
				return fail_at(reader, "a fragment that is not defined");
			}
			changed |= follow_use(reader, &reader->uses[i], fragment);
		}
	}
	return true;
}

static bool write_fragments(struct reader *reader)
{
	for (size_t i = 0; i < reader->fragment_count; i++) {
		const struct fragment *fragment = &reader->fragments[i];
		if (fragment->root && fragment->nested)
			reader->text->alone = "a fragment of its root is spread below it as well";
		look_at(reader, fragment->at);
		reader->from = i;
		reader->out = &reader->text->fragments;
		if (!read_fragment(reader, fragment->root))
			return false;
	}
	return true;
}

/* Control characters are for us; and what is not UTF-8 would not be what was sent. */
static bool check_bytes(struct reader *reader)
{
	for (; *reader->at; reader->at++)
		if ((unsigned char)*reader->at < 0x20 && !strchr("\t\r\n", *reader->at))
			return fail_at(reader, "a control character");
	return json_utf8(slice_of(reader->start)) || fail_at(reader, "not UTF-8");
}

/* No fewer than it has variables. */
static size_t count_signs(const char *document)
{
	size_t count = 0;
	for (const char *at = document; (at = strchr(at, '$')); at++)
		count++;
	return count;
}

bool graphql_text_read(const char *document, struct graphql_text *text, struct dialect_error *error)
{
	enum { TEXT_BYTES = 1 << 20 };
	struct reader reader = { .start = document, .at = document, .text = text, .error = error };
	*text = (struct graphql_text){ .definitions = BUF_INIT(TEXT_BYTES),
				       .selection = BUF_INIT(TEXT_BYTES),
				       .fragments = BUF_INIT(TEXT_BYTES) };
	error->kind = DIALECT_ERROR_NONE;
	text->variables = calloc(count_signs(document) + 1, sizeof *text->variables);
	reader.fragments = calloc(NAMES_MAX, sizeof *reader.fragments);
	reader.uses = calloc(NAMES_MAX, sizeof *reader.uses);
	bool memory = text->variables && reader.fragments && reader.uses;
	bool good = memory && check_bytes(&reader);
	if (good)
		look_at(&reader, document);
	good = good && read_document(&reader) && follow_uses(&reader) && write_fragments(&reader);
	memory = memory && !text->definitions.failed && !text->selection.failed && !text->fragments.failed;
	if (!memory)
		dialect_no_memory(error);
	free(reader.fragments);
	free(reader.uses);
	return good && memory;
}

void graphql_text_fini(struct graphql_text *text)
{
	buf_fini(&text->definitions);
	buf_fini(&text->selection);
	buf_fini(&text->fragments);
	free(text->variables);
	text->variables = NULL;
}
