/* SPDX-License-Identifier: Apache-2.0 */
/* cache_control.c: #cache-directive of RFC 9111, 5.2: tokens, quoted strings, delta-seconds. */
#include "base/cache_control.h"

#include <string.h>
#include <strings.h>

/* RFC 9111, 1.2.2: what a delta-seconds too large to be represented counts as. */
#define DELTA_SECONDS_MAX (UINT64_C(1) << 31)

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_token(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool take_char(struct slice *rest, char c)
{
	if (!rest->len || *rest->at != c)
		return false;
	rest->at++;
	rest->len--;
	return true;
}

static struct slice take_while(struct slice *rest, bool (*belongs)(char c))
{
	struct slice run = { rest->at, 0 };
	while (run.len < rest->len && belongs(rest->at[run.len]))
		run.len++;
	rest->at += run.len;
	rest->len -= run.len;
	return run;
}

/* After the opening quote. False: no closing one. */
static bool take_quoted(struct slice *rest, struct slice *value)
{
	for (size_t i = 0; i < rest->len; i++) {
		if (rest->at[i] == '\\') {
			i++;
		} else if (rest->at[i] == '"') {
			*value = (struct slice){ rest->at, i };
			rest->at += i + 1;
			rest->len -= i + 1;
			return true;
		}
	}
	return false;
}

/* Spaces around '=' are not in the grammar, but are meant well. */
static bool take_directive(struct slice *rest, struct cache_directive *directive)
{
	*directive = (struct cache_directive){ .name = take_while(rest, is_token) };
	take_while(rest, is_space);
	if (!directive->name.len)
		return false;
	if (!take_char(rest, '='))
		return true;
	directive->has_value = true;
	take_while(rest, is_space);
	if (take_char(rest, '"')) {
		if (!take_quoted(rest, &directive->value))
			return false;
	} else {
		directive->value = take_while(rest, is_token);
	}
	take_while(rest, is_space);
	return true;
}

bool cache_directive_next(struct slice *rest, struct cache_directive *directive, bool *broken)
{
	do
		take_while(rest, is_space);
	while (take_char(rest, ','));
	*broken = false;
	if (!rest->len)
		return false;
	*broken = !take_directive(rest, directive) || (rest->len && *rest->at != ',');
	return !*broken;
}

bool cache_directive_is(const struct cache_directive *directive, const char *name)
{
	return directive->name.len == strlen(name) && strncasecmp(directive->name.at, name, directive->name.len) == 0;
}

bool cache_directive_seconds(const struct cache_directive *directive, uint64_t *seconds)
{
	size_t digits = 0;
	*seconds = 0;
	for (size_t i = 0; i < directive->value.len; i++) {
		char c = directive->value.at[i];
		if (c == '\\' && i + 1 < directive->value.len)
			c = directive->value.at[++i];
		if (c < '0' || c > '9')
			return false;
		*seconds = *seconds * 10 + (uint64_t)(c - '0');
		if (*seconds > DELTA_SECONDS_MAX)
			*seconds = DELTA_SECONDS_MAX;
		digits++;
	}
	return digits > 0;
}
