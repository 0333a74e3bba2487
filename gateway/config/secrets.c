/* SPDX-License-Identifier: Apache-2.0 */
/* secrets.c: a list: there are few. */
#include "gateway/config/secrets.h"

struct secret {
	struct secret *next;
	const char *text;
};

void secrets_add(struct secrets *secrets, struct arena *arena, const char *text)
{
	struct secret *secret = arena_alloc(arena, sizeof *secret);
	if (!secret)
		return;
	*secret = (struct secret){ secrets->first, text };
	secrets->first = secret;
}

bool secrets_have(const struct secrets *secrets, const char *text)
{
	const struct secret *secret = secrets->first;
	while (secret && secret->text != text)
		secret = secret->next;
	return secret != NULL;
}

const char *secrets_shown(const struct secrets *secrets, const char *text)
{
	return secrets_have(secrets, text) ? "***" : text;
}
