/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listening.h: on which addresses a generation of the configuration is listened on, in difference to the one before it:
 * what is new is opened before anything is closed, what stays keeps its sockets and those who queue there.
 */
#ifndef JITNEY_GATEWAY_CALL_LISTENING_H
#define JITNEY_GATEWAY_CALL_LISTENING_H

#include "base/compiler.h"
#include "gateway/call/world.h"

/* Open what `next` says and nobody listens on yet, and hold all of it there. False: `error` says why; nothing is left
 * open. Main thread, or the one that brings generations. */
bool gateway_listen(struct gateway *gateway, struct generation *next, char *error, size_t error_bytes) MUST_CHECK;
/* `next` is in force: listen no more on what only `before` has. Workers take those that are queued. Likewise. */
void gateway_unlisten(struct gateway *gateway, const struct generation *before, const struct generation *next);
/* In the log: what is listened on from now on, and what no more; `before` may be NULL. Before that is closed. Likewise. */
void gateway_announce(const struct generation *before, const struct generation *next);
/* Whether the generation is listened on there. Any thread. */
bool listening_has(const struct generation *generation, const struct listener *listener);

#endif
