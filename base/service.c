/* SPDX-License-Identifier: Apache-2.0 */
/* service.c: sd_notify(3) and sd_listen_fds(3), as their manual pages describe them. */
#include "base/service.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd_message.h"

enum { FIRST_DESCRIPTOR = 3, DESCRIPTORS_MAX = 8192, TEXT_BYTES = 1024, NAMES_BYTES = 65536 };

static struct {
	atomic_int socket; /* a: -1: nobody listens; what else there is of it, c, was there before */
	char path[sizeof((struct sockaddr_un *)0)->sun_path]; /* as it was said; "": nowhere */
	struct sockaddr_un address;
	socklen_t address_bytes;
	uint64_t watchdog_us;
	size_t descriptors; /* handed over and not taken yet */
	char *names;        /* of them, with colons between; owned, or NULL */
} service = { .socket = -1, .watchdog_us = CLOCK_NEVER };

/* ---------------------------------------------------------------- the environment */

/* A decimal number; 0: it is none. */
static uint64_t read_number(const char *name)
{
	const char *text = getenv(name);
	char *end;
	if (!text || *text < '0' || *text > '9')
		return 0;
	errno = 0;
	uint64_t number = strtoull(text, &end, 10);
	return *end || errno ? 0 : number;
}

/* A path, or @ and an abstract name. */
static void open_socket(const char *path)
{
	size_t len = path ? strlen(path) : 0;
	struct timeval patience = { .tv_sec = 1 };
	if (len < 2 || len >= sizeof service.address.sun_path || !strchr("/@", *path))
		return;
	service.address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(service.address.sun_path, path, len);
	if (*path == '@')
		service.address.sun_path[0] = '\0';
	service.address_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (*path == '/'));
	memcpy(service.path, path, len + 1);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	service.socket = fd;
}

/* Programs that we run would take for theirs what is meant for us. */
static void clear_environment(void)
{
	static const char *const ours[] = { "NOTIFY_SOCKET", "WATCHDOG_USEC",  "WATCHDOG_PID",   "LISTEN_PID",
					    "LISTEN_FDS",    "LISTEN_FDNAMES", "LISTEN_PIDFDID", "FDSTORE" };
	for (size_t i = 0; i < countof(ours); i++)
		unsetenv(ours[i]);
}

void service_open(void)
{
	uint64_t pid = (uint64_t)getpid(), watched = read_number("WATCHDOG_PID");
	open_socket(getenv("NOTIFY_SOCKET"));
	uint64_t watchdog_us = read_number("WATCHDOG_USEC");
	service.watchdog_us = watchdog_us && (!watched || watched == pid) ? watchdog_us : CLOCK_NEVER;
	uint64_t descriptors = read_number("LISTEN_PID") == pid ? read_number("LISTEN_FDS") : 0;
	service.descriptors = descriptors <= DESCRIPTORS_MAX ? descriptors : 0;
	const char *names = getenv("LISTEN_FDNAMES");
	service.names = names && service.descriptors ? strndup(names, NAMES_BYTES) : NULL;
	clear_environment();
}

void service_close(void)
{
	if (service.socket >= 0)
		close(service.socket);
	free(service.names);
	service.socket = -1;
	service.path[0] = '\0';
	service.names = NULL;
}

bool service_listens(void)
{
	return service.socket >= 0;
}

const char *service_address(void)
{
	return service.path;
}

void service_adopt(const char *address, uint64_t watchdog_us)
{
	if (service.socket < 0)
		open_socket(address);
	if (watchdog_us && service.watchdog_us == CLOCK_NEVER && strcmp(service.path, address) == 0)
		service.watchdog_us = watchdog_us;
}

uint64_t service_watchdog_us(void)
{
	return service.watchdog_us;
}

void service_take_descriptors(void (*take)(void *context, int fd, const char *name), void *context)
{
	char *rest = service.names;
	for (size_t i = 0; i < service.descriptors; i++) {
		int fd = FIRST_DESCRIPTOR + (int)i;
		const char *name = rest ? strsep(&rest, ":") : "";
		int flags = fcntl(fd, F_GETFL);
		if (flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
			continue;
		take(context, fd, name);
	}
	service.descriptors = 0;
}

/* ---------------------------------------------------------------- telling */

static void send_text(const char *text, const int *fds, size_t count)
{
	/* what is not heard has no remedy here: it is the service manager's to wonder */
	if (service.socket >= 0 && !fd_message_send(service.socket, &service.address, service.address_bytes,
						    (struct slice){ text, strlen(text) }, fds, count, 0))
		return;
}

void service_tell(const char *format, ...)
{
	char text[TEXT_BYTES];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	send_text(text, NULL, 0);
}

void service_tell_reloading(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	service_tell("RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=Reading the configuration anew",
		     (unsigned long long)now.tv_sec * CLOCK_US_PER_S + (unsigned long long)now.tv_nsec / 1000);
}

bool service_keep(const char *name, const int *fds, size_t count)
{
	char text[TEXT_BYTES];
	/* FDPOLL=0: a listening socket is not over because an event says so */
	snprintf(text, sizeof text, "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
	for (size_t at = 0; at < count; at += FD_MESSAGE_MAX)
		send_text(text, fds + at, count - at < FD_MESSAGE_MAX ? count - at : FD_MESSAGE_MAX);
	return service_listens();
}

void service_forget(const char *name)
{
	service_tell("FDSTOREREMOVE=1\nFDNAME=%s", name);
}
