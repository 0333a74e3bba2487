/* SPDX-License-Identifier: Apache-2.0 */
/* fd_message.c: sendmsg and recvmsg with SCM_RIGHTS. */
#include "base/fd_message.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int) * FD_MESSAGE_MAX)];
};

bool fd_message_send(int socket, const struct sockaddr_un *to, socklen_t to_bytes, struct slice bytes, const int *fds,
		     size_t count, int flags)
{
	union control control;
	struct iovec vector = { (char *)(uintptr_t)bytes.at, bytes.len };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
	if (to) {
		message.msg_name = (struct sockaddr_un *)(uintptr_t)to;
		message.msg_namelen = to_bytes;
	}
	if (count > FD_MESSAGE_MAX) {
		errno = EMSGSIZE;
		return false;
	}
	if (count) {
		memset(&control, 0, sizeof control);
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		struct cmsghdr *head = CMSG_FIRSTHDR(&message);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof(int) * count);
		memcpy(CMSG_DATA(head), fds, sizeof(int) * count);
	}
	ssize_t sent;
	do
		sent = sendmsg(socket, &message, flags | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent == (ssize_t)bytes.len;
}

static size_t take_descriptors(struct msghdr *message, int fds[FD_MESSAGE_MAX])
{
	size_t count = 0;
	for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head; head = CMSG_NXTHDR(message, head)) {
		if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
			continue;
		size_t more = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds + count, CMSG_DATA(head), more * sizeof(int));
		count += more;
	}
	return count;
}

ssize_t fd_message_receive(int socket, void *bytes, size_t size, int fds[FD_MESSAGE_MAX], size_t *count)
{
	union control control;
	struct iovec vector = { bytes, size };
	struct msghdr message = { .msg_iov = &vector,
				  .msg_iovlen = 1,
				  .msg_control = control.bytes,
				  .msg_controllen = sizeof control.bytes };
	ssize_t got;
	*count = 0;
	do
		got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return got;
	*count = take_descriptors(&message, fds);
	if (!(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return got;
	while (*count)
		close(fds[--*count]);
	errno = EMSGSIZE;
	return -1;
}
