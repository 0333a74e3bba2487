/* SPDX-License-Identifier: Apache-2.0 */
/* graphql_token.c: the lexer of GraphQL documents. */
#include "upstream/dialects/graphql_token.h"

const char *graphql_skip(const char *at)
{
	for (;;) {
		at += strspn(at, " \t\r\n,");
		if (strncmp(at, "\xEF\xBB\xBF", 3) == 0)
			at += 3;
		else if (*at == '#')
			at += strcspn(at, "\r\n");
		else
			return at;
	}
}

/* Behind the string that begins at `at`; NULL: it does not end. */
static const char *string_end(const char *at)
{
	if (strncmp(at, "\"\"\"", 3) == 0) {
		for (at += 3; *at; at++) {
			if (strncmp(at, "\\\"\"\"", 4) == 0)
				at += 3;
			else if (strncmp(at, "\"\"\"", 3) == 0)
				return at + 3;
		}
		return NULL;
	}
	for (at++; *at && *at != '\n' && *at != '\r'; at++) {
		if (*at == '"')
			return at + 1;
		if (*at == '\\' && at[1])
			at++;
	}
	return NULL;
}

struct token graphql_token_at(const char *at)
{
	const char *end = at;
	enum token_kind kind = TOKEN_BAD;
	if (!*at)
		return (struct token){ TOKEN_END, { at, 0 } };
	if (is_name_start(*at)) {
		kind = TOKEN_NAME;
		while (is_name_start(*end) || is_digit(*end))
			end++;
	} else if (is_digit(*at) || *at == '-') {
		kind = TOKEN_NUMBER;
		for (end++; is_digit(*end) || is_name_start(*end) || *end == '.' ||
			    ((*end == '+' || *end == '-') && (end[-1] == 'e' || end[-1] == 'E'));)
			end++;
	} else if (*at == '"') {
		kind = string_end(at) ? TOKEN_STRING : TOKEN_BAD;
		end = kind == TOKEN_STRING ? string_end(at) : at + 1;
	} else if (strncmp(at, "...", 3) == 0) {
		kind = TOKEN_SIGN;
		end = at + 3;
	} else {
		kind = strchr("!$&():=@[]{|}", *at) ? TOKEN_SIGN : TOKEN_BAD;
		end = at + 1;
	}
	return (struct token){ kind, { at, (size_t)(end - at) } };
}
