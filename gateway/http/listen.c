/* SPDX-License-Identifier: Apache-2.0 */
/* listen.c: bound sockets. */
#include "gateway/http/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

enum { PATH_BYTES = sizeof(((struct sockaddr_un *)NULL)->sun_path), LOCK_LOOK_US = 1000 };
#define LOCK_PATIENCE_US CLOCK_US_PER_S /* others hold it for microseconds */

/* What is left of the patience, of whoever waits: who has met a folder that stays locked waits for none until he gets one. */
static _Atomic uint64_t lock_patience_us = LOCK_PATIENCE_US;

/* One TCP socket; `shared` sets SO_REUSEPORT. -1 and errno. */
static int open_tcp(const struct sockaddr_in6 *where, bool shared)
{
	int on = 1;
	bool four = where->sin6_family == AF_INET;
	int fd = socket(where->sin6_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
	    (!shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0) &&
	    (four || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0) &&
	    bind(fd, (const struct sockaddr *)where, four ? sizeof(struct sockaddr_in) : sizeof *where) == 0)
		return fd;
	int saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

bool listen_now(int fd)
{
	return listen(fd, BACKLOG) == 0;
}

/* False and errno: none is left open. */
static bool open_shared_tcp(const struct sockaddr_in6 *where, int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		fds[i] = open_tcp(where, true);
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

/*
 * With SO_REUSEPORT alone a second instance would bind the same port without a word and take half of the connections.
 * A first bind without it is refused if anybody listens there; it also picks the port where 0 was asked for.
 */
static bool open_all_tcp(const struct listen_address *address, bool beside, int *fds, size_t count)
{
	struct sockaddr_in6 where = address->in6;
	socklen_t len = sizeof where;
	if (!beside) {
		int probe = open_tcp(&where, false);
		if (probe < 0)
			return false;
		getsockname(probe, (struct sockaddr *)&where, &len);
		close(probe);
	}
	return open_shared_tcp(&where, fds, count);
}

size_t listen_beside(int fd, int *fds, size_t count)
{
	struct sockaddr_in6 where = { 0 };
	socklen_t len = sizeof where, size = sizeof(int);
	int shared = 0;
	if (getsockname(fd, (struct sockaddr *)&where, &len) < 0 || where.sin6_family == AF_UNIX ||
	    getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &shared, &size) < 0 || !shared)
		return 0;
	return open_shared_tcp(&where, fds, count) ? count : 0;
}

/* Who listens at a unix path. 0: nobody does, or the kernel does not say. */
static pid_t find_holder(const char *path)
{
	struct sockaddr_un where = { .sun_family = AF_UNIX };
	struct ucred peer = { .pid = 0 };
	socklen_t size = sizeof peer;
	snprintf(where.sun_path, sizeof where.sun_path, "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	if (connect(fd, (const struct sockaddr *)&where, sizeof where) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		peer.pid = 0;
	close(fd);
	return peer.pid;
}

/* Whether a killed process has left the file behind: no socket has it. One that has, listening or about to, refuses who
 * comes as another kind, and nobody gets into its queue. */
static bool is_left(const struct sockaddr_un *where)
{
	struct stat status;
	if (stat(where->sun_path, &status) < 0 || !S_ISSOCK(status.st_mode))
		return false;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool left = fd >= 0 && connect(fd, (const struct sockaddr *)where, sizeof *where) < 0 && errno == ECONNREFUSED;
	if (fd >= 0)
		close(fd);
	return left;
}

/* False: it is locked, and we do not wait for it any more; or it cannot be. */
static bool lock_in_time(int fd, uint64_t most_us)
{
	uint64_t left_us = atomic_load(&lock_patience_us), waited_us = 0;
	bool locked;
	if (most_us > left_us)
		most_us = left_us;
	while (!(locked = flock(fd, LOCK_EX | LOCK_NB) == 0) && errno == EWOULDBLOCK && waited_us < most_us) {
		usleep(LOCK_LOOK_US);
		waited_us += LOCK_LOOK_US;
	}
	atomic_store(&lock_patience_us, locked ? LOCK_PATIENCE_US : left_us > waited_us ? left_us - waited_us : 0);
	return locked;
}

/* Of those who start at once nobody takes for left what another is making: they come to its folder one after the other, as
 * long as the descriptor is open. One that cannot be locked, or that a stranger keeps locked, is no reason not to start. */
static int lock_folder(const char *path, uint64_t most_us)
{
	char folder[PATH_BYTES];
	const char *slash = strrchr(path, '/');
	snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || lock_in_time(fd, most_us))
		return fd;
	close(fd);
	return -1;
}

bool listen_bind(int fd, const char *path, bool replace, uint64_t most_us)
{
	struct sockaddr_un where = { .sun_family = AF_UNIX };
	if (strlen(path) >= PATH_BYTES) {
		errno = ENAMETOOLONG;
		return false;
	}
	snprintf(where.sun_path, sizeof where.sun_path, "%s", path);
	int lock = lock_folder(path, most_us);
	if (replace && is_left(&where))
		unlink(path);
	int why = bind(fd, (const struct sockaddr *)&where, sizeof where) < 0 ? errno : 0;
	if (lock >= 0)
		close(lock);
	errno = why;
	return !why;
}

void listen_find_file(const struct listen_address *address, struct listen_file *file)
{
	struct stat status;
	*file = (struct listen_file){ 0 };
	if (address->unix_path && stat(address->unix_path, &status) == 0)
		*file = (struct listen_file){ address->unix_path, status.st_dev, status.st_ino };
}

/* -1 and errno. */
static int open_unix(const struct listen_address *address, struct listen_file *file)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (listen_bind(fd, address->unix_path, true, LOCK_PATIENCE_US)) {
		listen_find_file(address, file);
		return fd;
	}
	int saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

/* What may be wrong, whose it is, and what to do. */
static void find_hint(const struct listen_address *address, int error, char *hint, size_t bytes)
{
	struct stat status;
	bool used = error == EADDRINUSE, file = used && address->unix_path;
	/* the kernel may not say: a queue is full, it does not listen yet, or it is out of this one's namespace */
	pid_t holder = file ? find_holder(address->unix_path) : 0;
	if (file && (lstat(address->unix_path, &status) < 0 || !S_ISSOCK(status.st_mode)))
		snprintf(hint, bytes, " (there is something that is no socket; remove it, or write another path)");
	else if (holder == getpid())
		snprintf(hint, bytes, " (this process listens there already: write it once)");
	else if (holder)
		snprintf(hint, bytes, " (process %ld listens there: again when it has ended, or write another path)",
			 (long)holder);
	else
		snprintf(hint, bytes, "%s",
			 used              ? " (is another jitney running?)"
			 : error == EACCES ? " (ports below 1024 need CAP_NET_BIND_SERVICE)"
					   : "");
}

size_t listen_open(const struct listen_address *address, bool beside, int *fds, size_t count, struct listen_file *file,
		   char *error, size_t error_bytes)
{
	*file = (struct listen_file){ 0 };
	if (address->unix_path ? (fds[0] = open_unix(address, file)) >= 0 : open_all_tcp(address, beside, fds, count))
		return address->unix_path ? 1 : count;
	int why = errno;
	char hint[120];
	find_hint(address, why, hint, sizeof hint);
	snprintf(error, error_bytes, "cannot listen on %s: %s%s", address->text, strerror(why), hint);
	return 0;
}

bool listen_is(int fd, const struct listen_address *address)
{
	union {
		struct sockaddr_un un;
		struct sockaddr_in6 in6;
		struct sockaddr_in in;
	} at;
	socklen_t len = sizeof at, size = sizeof(int);
	int listens = 0;
	memset(&at, 0, sizeof at);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 || !listens ||
	    getsockname(fd, (struct sockaddr *)&at, &len) < 0)
		return false;
	if (address->unix_path)
		return at.un.sun_family == AF_UNIX &&
		       strncmp(at.un.sun_path, address->unix_path, sizeof at.un.sun_path) == 0;
	if (at.in6.sin6_family != address->in6.sin6_family || at.in6.sin6_port != address->in6.sin6_port ||
	    !at.in6.sin6_port)
		return false;
	const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)&address->in6;
	return at.in6.sin6_family == AF_INET
		       ? at.in.sin_addr.s_addr == in->sin_addr.s_addr
		       : memcmp(&at.in6.sin6_addr, &address->in6.sin6_addr, sizeof at.in6.sin6_addr) == 0;
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

bool listen_has_file(const struct listen_file *file)
{
	struct stat status;
	return file->path && stat(file->path, &status) == 0 && status.st_dev == file->device &&
	       status.st_ino == file->number;
}

void listen_remove(struct listen_file *file)
{
	if (listen_has_file(file))
		unlink(file->path);
	file->path = NULL;
}
