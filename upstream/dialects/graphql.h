/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graphql.h: the graphql dialect's settings: how many operations of independent callers become one request. An
 * upstream has a dialect of its own made from them. docs/graphql.md describes it.
 */
#ifndef JITNEY_UPSTREAM_DIALECTS_GRAPHQL_H
#define JITNEY_UPSTREAM_DIALECTS_GRAPHQL_H

#include "base/compiler.h"

struct dialect;

enum { GRAPHQL_DEFAULT_MAX = 20 };

/* As configured; NULL or 0: not said. */
struct graphql_settings {
	const char *merge; /* alias (default): one document with aliased fields; array: a list of operations; off */
	unsigned max;      /* calls in one request; default GRAPHQL_DEFAULT_MAX */
};

/* Immutable; any thread. NULL: out of memory. */
struct dialect *graphql_new(const struct graphql_settings *settings) MUST_CHECK;
/* No route or decoder of it may be left. NULL is allowed. */
void graphql_free(struct dialect *dialect);

#endif
