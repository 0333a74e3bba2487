/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listeners.h: every socket that this process listens on, by address: bound by us, or taken over from whoever listened
 * before us (a running jitney, the service manager). A socket may be shared with another process: closing it ends
 * nobody's queue but the last one's, shutting it down would end all of them. Safe inside: any thread.
 */
#ifndef JITNEY_GATEWAY_HTTP_LISTENERS_H
#define JITNEY_GATEWAY_HTTP_LISTENERS_H

#include <stddef.h>

#include "base/compiler.h"
#include "gateway/http/address.h"

enum { LISTENER_NAME_BYTES = 256 }; /* as long as the service manager takes a name */

struct listeners;
struct listener; /* one address */

/* NULL: out of memory. */
struct listeners *listeners_new(void) MUST_CHECK;
/* Close all that is left. NULL is allowed. */
void listeners_free(struct listeners *listeners);

/* --- what comes from outside --- */

/* Who hands a socket over, and has it too. */
enum listener_giver {
	GIVER_MANAGER,    /* the service manager: it keeps the socket over our end */
	GIVER_PREDECESSOR /* a running jitney: it is still in charge, until listeners_take_charge */
};
/* A bound socket that is handed over, which is taken: for the address that it is bound to, or whose name this is. Kept
 * until listeners_drop_unused. From a predecessor: what is opened besides listens only when somebody accepts
 * (http_accept), so that nobody queues where nobody may ever look. */
void listeners_inherit(struct listeners *listeners, int fd, const char *name, enum listener_giver giver);
/* The predecessor has left it to us: files of unix sockets are ours to remove from now on. */
void listeners_take_charge(struct listeners *listeners);
/* Close what no listeners_open has asked for; returns how many sockets there were, and the name of one of them. */
size_t listeners_drop_unused(struct listeners *listeners, char name[LISTENER_NAME_BYTES]);

/* --- listeners --- */

/*
 * Listen on an address for so many workers: with what is inherited first, then with sockets of our own. A port or path
 * that somebody else serves is refused, another instance of ours too. NULL: `error` says what and why; nothing is left
 * open. It listens until listeners_close, and is held for the caller. One that was closed
 * while it is exported is opened again.
 */
struct listener *listeners_open(struct listeners *listeners, const struct listen_address *address, bool admin,
				unsigned workers, char *error, size_t error_bytes) MUST_CHECK;
/* It can be named as long as somebody holds it, though it may listen no more. Any thread. NULL is allowed for unref. */
struct listener *listener_ref(struct listener *listener);
void listener_unref(struct listener *listener);
/* How many descriptors workers have to listen on, one for each of them at least: the n-th is for worker n % workers. */
size_t listener_seats(struct listener *listener);
unsigned listener_workers(const struct listener *listener);
/* A descriptor for the n-th, the caller's to close. -1 and errno: EBADF when it listens no more. */
int listener_seat(struct listener *listener, size_t n) MUST_CHECK;
/* Where it really listens, as it is written in the configuration. */
void listener_text(struct listener *listener, char *text, size_t bytes);
/* The one with this address, for this purpose, held; NULL: none. */
struct listener *listeners_find(struct listeners *listeners, const struct listen_address *address, bool admin);
/* Listen no more: a unix socket's file goes, unless another instance has put its own in its place; the service manager
 * forgets it. What workers have of it is theirs to close. While it is exported its file stays: it may be a successor's.
 * One that is closed already stays so. */
void listeners_close(struct listeners *listeners, struct listener *listener);
/* At the end of the process: listen no more on what ends with it. What a successor has, and what the service manager
 * keeps, stays with them, with its file: whether there is such. It is closed when nobody uses it any more. Nothing is opened
 * from then on. */
bool listeners_end(struct listeners *listeners);
/* Whether the socket is one of those that are still there. NULL: none is. */
bool listeners_have(struct listeners *listeners, int fd);

/* --- what goes outside --- */

/* A socket to be handed over. */
struct listener_export {
	int fd;
	char name[LISTENER_NAME_BYTES]; /* the listener's: several may be of one */
	struct listener *listener;      /* held */
};
/* All sockets there are; *count, to be freed with listeners_export_free. NULL: out of memory or descriptors. */
struct listener_export *listeners_export(struct listeners *listeners, size_t *count) MUST_CHECK;
/* A successor has the listener of this socket too: from now on its file is his. */
void listeners_give(struct listeners *listeners, const struct listener_export *socket);
/* Close them; those that were closed here meanwhile, and not opened again, end now, and the file of what was not given goes.
 * NULL is allowed. */
void listeners_export_free(struct listeners *listeners, struct listener_export *sockets, size_t count);

/* Have the service manager keep what it does not keep yet, so that a restart finds it (base/service.h). */
void listeners_store(struct listeners *listeners);

#endif
