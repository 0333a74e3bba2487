/* SPDX-License-Identifier: Apache-2.0 */
/*
 * takeover.h: one jitney takes over from another that runs: the same listening sockets, so that nobody's connection is
 * refused or dropped from a queue. They speak over a unix socket ("the door"), one message each way at a time:
 *
 *   successor                                predecessor
 *   HELLO how long it may take       ->
 *                                    <-      WELCOME how many messages of sockets there are
 *   ASK n                            ->
 *                                    <-      OFFER a listener's name, with up to 128 descriptors
 *   (starts all it has, accepts nothing yet; whatever ends it here, the predecessor goes on)
 *   READY which listeners it uses    ->
 *                                    <-      YOURS: it accepts no more, and drains; where its service manager hears
 *   (accepts; reads the end of the connection when the predecessor has ended)
 *
 * Instead of any answer there may come REFUSED, and why. Main thread.
 */
#ifndef JITNEY_GATEWAY_SERVER_TAKEOVER_H
#define JITNEY_GATEWAY_SERVER_TAKEOVER_H

#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "base/loop.h"
#include "gateway/config/config.h"
#include "gateway/http/listeners.h"

enum { TAKEOVER_PATH_BYTES = 108 };

/* Where the door of a gateway is that was started with `config` and listens by `now`. False: it has none: it is switched
 * off, or there is no place for it that a successor would know, since the port is chosen by the kernel. */
bool takeover_path(const struct config *config, const struct generation *now, char path[TAKEOVER_PATH_BYTES]);

/* --- the predecessor's side --- */

struct takeover_offer;

/*
 * Offer the listeners at the door on `path`; fd: the door, where it has been taken over itself (taken), else -1.
 * taken    called when a successor is ready; the listeners that it uses are marked as given. It accepts as soon as it
 *          hears so, which is when `taken` returns.
 * NULL     `error` says why.
 */
struct takeover_offer *takeover_offer_new(struct loop *loop, struct listeners *listeners, const char *path, int fd,
					  void (*taken)(void *context, pid_t successor), void *context, char *error,
					  size_t error_bytes) MUST_CHECK;
/* Whether somebody has come by the door who is not done yet. NULL is allowed. */
bool takeover_offer_is_asked(const struct takeover_offer *offer);
/* Close the door, and remove its file unless it is the successor's. What connection there is to him stays: he reads of
 * our end. NULL is allowed. */
void takeover_offer_free(struct takeover_offer *offer);

/* --- the successor's side --- */

struct takeover;

enum takeover_news {
	TAKEOVER_NOTHING,
	TAKEOVER_GIVEN_UP, /* the predecessor waits no more: it goes on, and we must end */
	TAKEOVER_DIED      /* it has ended: nobody else serves */
};

/* Ask at the door of `path`, and inherit what is offered: all of it, or, if the predecessor dies over it (takeover_hear
 * says so), what it has handed over until then. patience_us: how long the start may take. NULL: `error` says why. Blocks,
 * for seconds at most. */
struct takeover *takeover_begin(const char *path, uint64_t patience_us, struct listeners *listeners, char *error,
				size_t error_bytes) MUST_CHECK;
/* To be watched for reading; then what news there is. */
int takeover_socket(const struct takeover *takeover);
enum takeover_news takeover_hear(struct takeover *takeover, char *error, size_t error_bytes);
/* Whether one of its listeners is in use here, or it has died, so that nobody else serves. */
bool takeover_is_useful(const struct takeover *takeover);
/* Say that we are ready; its service manager is ours from then on (service_adopt). False: the predecessor is still in
 * charge, `error` says why. Blocks, for seconds at most. */
bool takeover_finish(struct takeover *takeover, char *error, size_t error_bytes) MUST_CHECK;
/* Who it is, or was. */
pid_t takeover_predecessor(const struct takeover *takeover);
/* The door itself, if that is where `path` is; the caller's, before takeover_finish, which says so. -1: it is elsewhere.
 */
int takeover_take_door(struct takeover *takeover, const char *path);
/* NULL is allowed. */
void takeover_free(struct takeover *takeover);

#endif
