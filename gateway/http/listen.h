/* SPDX-License-Identifier: Apache-2.0 */
/* listen.h: bound sockets: TCP (several workers share a port by SO_REUSEPORT) and unix. Whose they are: listeners.h. */
#ifndef JITNEY_GATEWAY_HTTP_LISTEN_H
#define JITNEY_GATEWAY_HTTP_LISTEN_H

#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "gateway/http/address.h"

enum { BACKLOG = 1024 }; /* connections that the kernel queues */

/* The file of a unix socket. No path: none (TCP, or removed). */
struct listen_file {
	const char *path; /* the address's */
	dev_t device;
	ino_t number;
};

/*
 * Bind, to listen_now: `count` sockets of one address into fds, of a unix path only one. Returns how many. A port or path
 * that somebody else serves is refused, another instance of ours too, unless `beside` says that it is us. What
 * a killed process has left at a unix path is replaced; *file is its name. 0: `error` says what and why; nothing is left open.
 */
size_t listen_open(const struct listen_address *address, bool beside, int *fds, size_t count, struct listen_file *file,
		   char *error, size_t error_bytes) MUST_CHECK;
/* Likewise more sockets beside a TCP one that listens already, if it lets others: returns how many of `count` there are
 * now in fds. */
size_t listen_beside(int fd, int *fds, size_t count);
/* Give a unix socket its path, in one step for all who ask here; `replace`: in place of what a killed process has left, as
 * against one that is bound and does not listen yet. Where a stranger keeps the folder locked it waits for so long at most,
 * and a process for a second in all. False and errno. */
bool listen_bind(int fd, const char *path, bool replace, uint64_t most_us) MUST_CHECK;
/* From now on whoever connects is queued, until he is accepted. Allowed if it listens already. False and errno. */
bool listen_now(int fd);
/* Whether it is a socket that listens on this address. Port 0 is nobody's. */
bool listen_is(int fd, const struct listen_address *address);
/* Where a bound socket really listens, as it is written in the configuration. */
void listen_text(int fd, const struct listen_address *address, char *text, size_t bytes);
/* The file that a unix address has now. */
void listen_find_file(const struct listen_address *address, struct listen_file *file);
/* Whether it is there, and nobody has put his own in its place. */
bool listen_has_file(const struct listen_file *file);
/* Remove a unix socket's file, once; not one that another instance has put in its place. To be called while the socket
 * is still open: the file of one that is not is taken over by whoever starts next. */
void listen_remove(struct listen_file *file);

#endif
