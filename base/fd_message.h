/* SPDX-License-Identifier: Apache-2.0 */
/* fd_message.h: one message over a unix socket, and descriptors with it (SCM_RIGHTS). Any thread. */
#ifndef JITNEY_BASE_FD_MESSAGE_H
#define JITNEY_BASE_FD_MESSAGE_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "base/compiler.h"
#include "base/slice.h"

enum { FD_MESSAGE_MAX = 128 }; /* descriptors in one message; the kernel's bound is 253 */

/* Send it. fds stay the caller's. to: NULL: the socket is connected. flags: MSG_DONTWAIT, or 0. False and errno. */
bool fd_message_send(int socket, const struct sockaddr_un *to, socklen_t to_bytes, struct slice bytes, const int *fds,
		     size_t count, int flags) MUST_CHECK;
/* Receive one, of `size` bytes at most. fds: *count of them, close-on-exec, the caller's to close. Returns its bytes, 0 at
 * the end of the connection; -1 and errno, EMSGSIZE for one that is larger, or has more descriptors: none is kept. */
ssize_t fd_message_receive(int socket, void *bytes, size_t size, int fds[FD_MESSAGE_MAX], size_t *count) MUST_CHECK;

#endif
