/* SPDX-License-Identifier: Apache-2.0 */
/* listen.c: bound sockets. */
#include "gateway/http/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

static socklen_t address_len(const struct listen_address *address)
{
	return address->in6.sin6_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

/* One TCP socket; `shared` sets SO_REUSEPORT. -1 and errno. */
static int open_tcp(const struct listen_address *address, const struct sockaddr_in6 *where, bool shared)
{
	int on = 1;
	int fd = socket(address->in6.sin6_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
	    (!shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0) &&
	    (address->in6.sin6_family == AF_INET || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0) &&
	    bind(fd, (const struct sockaddr *)where, address_len(address)) == 0 &&
	    (!shared || listen(fd, BACKLOG) == 0))
		return fd;
	int saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

/*
 * With SO_REUSEPORT alone a second instance would bind the same port without a word and take half of the connections.
 * A first bind without it is refused if anybody listens there; it also picks the port where 0 was asked for.
 */
static bool open_all_tcp(const struct listen_address *address, int *fds, size_t count)
{
	struct sockaddr_in6 where = address->in6;
	socklen_t len = sizeof where;
	int probe = open_tcp(address, &where, false);
	if (probe < 0)
		return false;
	getsockname(probe, (struct sockaddr *)&where, &len);
	close(probe);
	for (size_t i = 0; i < count; i++) {
		fds[i] = open_tcp(address, &where, true);
		if (fds[i] < 0) {
			int saved = errno;
			while (i--)
				close(fds[i]);
			errno = saved;
			return false;
		}
	}
	return true;
}

/* A socket file that nobody answers on is what a killed process leaves behind. */
static bool is_stale(const struct sockaddr_un *where)
{
	struct stat status;
	if (stat(where->sun_path, &status) < 0 || !S_ISSOCK(status.st_mode))
		return false;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	bool stale = connect(fd, (const struct sockaddr *)where, sizeof *where) < 0 && errno == ECONNREFUSED;
	close(fd);
	return stale;
}

static void remember_file(const char *path, struct listen_file *file)
{
	struct stat status;
	if (stat(path, &status) == 0)
		*file = (struct listen_file){ path, status.st_dev, status.st_ino };
}

static bool open_unix(const struct listen_address *address, int *fds, size_t count, struct listen_file *file)
{
	struct sockaddr_un where = { .sun_family = AF_UNIX };
	size_t len = strlen(address->unix_path);
	if (len >= sizeof where.sun_path) {
		errno = ENAMETOOLONG;
		return false;
	}
	memcpy(where.sun_path, address->unix_path, len + 1);
	fds[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fds[0] < 0)
		return false;
	if (is_stale(&where))
		unlink(where.sun_path);
	size_t opened = 1;
	if (bind(fds[0], (const struct sockaddr *)&where, sizeof where) == 0) {
		if (listen(fds[0], BACKLOG) == 0)
			for (; opened < count && (fds[opened] = fcntl(fds[0], F_DUPFD_CLOEXEC, 0)) >= 0; opened++)
				;
		if (opened == count) {
			remember_file(address->unix_path, file);
			return true;
		}
		unlink(where.sun_path);
	}
	int saved = errno;
	while (opened--)
		close(fds[opened]);
	errno = saved;
	return false;
}

bool listen_open(const struct listen_address *address, int *fds, size_t count, struct listen_file *file, char *error,
		 size_t error_bytes)
{
	*file = (struct listen_file){ 0 };
	if (address->unix_path ? open_unix(address, fds, count, file) : open_all_tcp(address, fds, count))
		return true;
	const char *hint = "";
	if (errno == EADDRINUSE)
		hint = " (is another jitney running?)";
	else if (errno == EACCES)
		hint = " (ports below 1024 need CAP_NET_BIND_SERVICE)";
	snprintf(error, error_bytes, "cannot listen on %s: %s%s", address->text, strerror(errno), hint);
	return false;
}

void listen_text(int fd, const struct listen_address *address, char *text, size_t bytes)
{
	struct sockaddr_in6 where = { 0 };
	socklen_t len = sizeof where;
	char host[INET6_ADDRSTRLEN];
	if (address->unix_path || getsockname(fd, (struct sockaddr *)&where, &len) < 0) {
		snprintf(text, bytes, "%s", address->text);
	} else if (where.sin6_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)&where;
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
		snprintf(text, bytes, "%s:%u", host, ntohs(in->sin_port));
	} else {
		inet_ntop(AF_INET6, &where.sin6_addr, host, sizeof host);
		snprintf(text, bytes, "[%s]:%u", host, ntohs(where.sin6_port));
	}
}

void listen_remove(struct listen_file *file)
{
	struct stat status;
	if (file->path && stat(file->path, &status) == 0 && status.st_dev == file->device &&
	    status.st_ino == file->number)
		unlink(file->path);
	file->path = NULL;
}
