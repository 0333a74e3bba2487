/* SPDX-License-Identifier: Apache-2.0 */
/* graphql_token.h: the tokens of a GraphQL document (October 2021, section 2.1). */
#ifndef JITNEY_UPSTREAM_DIALECTS_GRAPHQL_TOKEN_H
#define JITNEY_UPSTREAM_DIALECTS_GRAPHQL_TOKEN_H

#include "base/slice.h"

enum token_kind { TOKEN_END, TOKEN_NAME, TOKEN_NUMBER, TOKEN_STRING, TOKEN_SIGN, TOKEN_BAD };

/* Its text is a slice of the document. */
struct token {
	enum token_kind kind;
	struct slice text;
};

/* Behind blanks, commas and comments. */
const char *graphql_skip(const char *at);
/* The token that begins there: its text is a slice of the document. BAD: a string that does not end, or no token. */
struct token graphql_token_at(const char *at);

/* Whether a name may begin with it; digits may follow. */
static inline bool is_name_start(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* ASCII's ten. */
static inline bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

#endif
