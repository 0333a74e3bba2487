/* SPDX-License-Identifier: Apache-2.0 */
/* secrets.h: which texts of a configuration came from ${...}, so that they are never shown. */
#ifndef JITNEY_GATEWAY_CONFIG_SECRETS_H
#define JITNEY_GATEWAY_CONFIG_SECRETS_H

#include "base/arena.h"

struct secret;

/* Zero-initialise; what it remembers is the arena's. */
struct secrets {
	struct secret *first;
};

/* `text` (the very pointer) is not to be shown. Memory that is out shows in the arena. */
void secrets_add(struct secrets *secrets, struct arena *arena, const char *text);
bool secrets_have(const struct secrets *secrets, const char *text);
/* What messages may say in its place: itself, or ***. */
const char *secrets_shown(const struct secrets *secrets, const char *text);

#endif
