/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graphql_text.h: an operation's text (GraphQL October 2021, section 2), read so that many can stand in one document:
 * its root fields, variables and fragments are found and marked, each mark to be replaced with what tells one call's
 * names from another's. Blanks, commas and comments go; strings stay as they are.
 */
#ifndef JITNEY_UPSTREAM_DIALECTS_GRAPHQL_TEXT_H
#define JITNEY_UPSTREAM_DIALECTS_GRAPHQL_TEXT_H

#include "base/buf.h"
#include "upstream/dialects/error.h"
#include "base/compiler.h"

enum { GRAPHQL_MARK = 1, GRAPHQL_DEPTH = 64 }; /* a byte that no document holds; nesting of selections and values */

struct graphql_variable {
	struct slice name; /* of the document */
	bool required;     /* neither null nor a default will do */
};

/* `document` must outlive it. Texts hold marks. */
struct graphql_text {
	bool mutation;
	bool may_be_empty;      /* a directive may leave out all root fields */
	const char *alone;      /* why it cannot stand in one document with others, static; NULL: it can */
	struct buf definitions; /* $MARKid:ID!... ; empty: no variables */
	struct buf selection;   /* MARKuser:user(id:$MARKid){name} */
	struct buf fragments;   /* fragment MARKf on User{...} */
	struct graphql_variable *variables;
	size_t variable_count;
};

/* One query or mutation, and the fragments it uses. False with `error` set (a phrase that says what is wrong and in
 * which line): no such document, a subscription, or no memory. Call graphql_text_fini in either case. */
bool graphql_text_read(const char *document, struct graphql_text *text, struct dialect_error *error) MUST_CHECK;
void graphql_text_fini(struct graphql_text *text);

#endif
