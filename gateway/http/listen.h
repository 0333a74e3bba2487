/* SPDX-License-Identifier: Apache-2.0 */
/* listen.h: bound sockets: TCP (several workers share a port by SO_REUSEPORT) and unix. Main thread. */
#ifndef JITNEY_GATEWAY_HTTP_LISTEN_H
#define JITNEY_GATEWAY_HTTP_LISTEN_H

#include <sys/types.h>

#include "base/compiler.h"
#include "gateway/http/address.h"

/* The file of a unix socket that listen_open has made. No path: none (TCP, or removed). */
struct listen_file {
	const char *path; /* the address's */
	dev_t device;
	ino_t number;
};

/*
 * Bind and listen, `count` sockets of one address into fds (a unix socket is one, duplicated). A port or path that
 * somebody else serves is refused, another instance of ours too. A stale unix socket is replaced; *file is its name.
 * False: `error` says what and why; nothing is left open.
 */
bool listen_open(const struct listen_address *address, int *fds, size_t count, struct listen_file *file, char *error,
		 size_t error_bytes) MUST_CHECK;
/* Where a bound socket really listens, as it is written in the configuration. */
void listen_text(int fd, const struct listen_address *address, char *text, size_t bytes);
/* Remove a unix socket's file, once; not one that another instance has put in its place. To be called while the socket
 * still listens: a name whose socket refuses is taken over by whoever starts next. */
void listen_remove(struct listen_file *file);

#endif
