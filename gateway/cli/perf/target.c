/* SPDX-License-Identifier: Apache-2.0 */
/* target.c: http://HOST:PORT/base and unix:/PATH. */
#include "gateway/cli/perf/target.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gateway/cli/perf/wire.h"

enum { LISTENS_WITHIN_MS = 1000 };

/* "host", "host:port", "[v6]", "[v6]:port": its two parts, port 80 if none is named. */
static bool split_authority(struct slice authority, char host[TARGET_HOST_BYTES], char port[8])
{
	const char *end = authority.at + authority.len, *name = authority.at, *name_end = end, *colon = NULL;
	if (authority.len && *name == '[') {
		name_end = memchr(name, ']', authority.len);
		if (!name_end || (name_end + 1 < end && name_end[1] != ':'))
			return false;
		name++;
		colon = name_end + 1 < end ? name_end + 1 : NULL;
	} else if ((colon = memchr(name, ':', authority.len)))
		name_end = colon;
	size_t len = (size_t)(name_end - name), port_len = colon ? (size_t)(end - colon - 1) : 0;
	if (!len || len >= TARGET_HOST_BYTES || (colon && (!port_len || port_len > 5)) || memchr(name, '@', len))
		return false;
	memcpy(host, name, len);
	host[len] = '\0';
	snprintf(port, 8, "%.*s", colon ? (int)port_len : 2, colon ? colon + 1 : "80");
	return strspn(port, "0123456789") == strlen(port);
}

/* Whether somebody listens there, and says so soon. */
static bool is_listened_at(const struct addrinfo *one)
{
	int fd = socket(one->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), fault = 0;
	if (fd < 0)
		return false;
	struct pollfd done = { .fd = fd, .events = POLLOUT };
	socklen_t bytes = sizeof fault;
	bool up = connect(fd, one->ai_addr, one->ai_addrlen) == 0 ||
		  (errno == EINPROGRESS && poll(&done, 1, LISTENS_WITHIN_MS) == 1 &&
		   getsockopt(fd, SOL_SOCKET, SO_ERROR, &fault, &bytes) == 0 && fault == 0);
	close(fd);
	return up;
}

/* A name stands for several addresses, and only some of them may be listened at (localhost: ::1 and 127.0.0.1). */
static const struct addrinfo *choose_address(const struct addrinfo *found)
{
	for (const struct addrinfo *one = found; found->ai_next && one; one = one->ai_next)
		if (is_listened_at(one))
			return one;
	return found;
}

static bool look_up(const char *host, const char *port, struct target *target, char error[TARGET_ERROR_BYTES])
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV };
	const struct addrinfo numeric = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
	struct addrinfo *found = NULL;
	int code = getaddrinfo(host, port, &numeric, &found);
	if (code)
		code = getaddrinfo(host, port, &hints, &found);
	if (code) {
		snprintf(error, TARGET_ERROR_BYTES, "%s: %s", host, gai_strerror(code));
		return false;
	}
	const struct addrinfo *chosen = choose_address(found);
	memcpy(&target->address, chosen->ai_addr, chosen->ai_addrlen);
	target->address_len = chosen->ai_addrlen;
	freeaddrinfo(found);
	return true;
}

static bool read_http(const char *url, const char *rest, struct target *target, char error[TARGET_ERROR_BYTES])
{
	char host[TARGET_HOST_BYTES], port[8];
	size_t len = strcspn(rest, "/?#"), base_len = strlen(rest + len);
	while (base_len && rest[len + base_len - 1] == '/')
		base_len--;
	if (!split_authority((struct slice){ rest, len }, host, port) || base_len >= TARGET_BASE_BYTES ||
	    len >= TARGET_HOST_BYTES || strpbrk(rest, "?# \t\r\n")) {
		snprintf(error, TARGET_ERROR_BYTES, "%.200s: it wants http://HOST:PORT or unix:/PATH", url);
		return false;
	}
	memcpy(target->host, rest, len);
	target->host[len] = '\0';
	memcpy(target->base, rest + len, base_len);
	target->base[base_len] = '\0';
	return look_up(host, port, target, error);
}

bool target_read(const char *url, struct target *target, char error[TARGET_ERROR_BYTES])
{
	*target = (struct target){ .host = "localhost" };
	if (strncmp(url, "unix:", 5) == 0) {
		target->address_len = wire_address(url + 5, true, &target->address);
		if (!target->address_len)
			snprintf(error, TARGET_ERROR_BYTES, "%.200s: the path is too long for a socket", url);
		return target->address_len != 0;
	}
	if (strncmp(url, "https://", 8) == 0) {
		snprintf(error, TARGET_ERROR_BYTES,
			 "%.200s: calls are made over plain HTTP; name the gateway's own listener", url);
		return false;
	}
	return read_http(url, strncmp(url, "http://", 7) == 0 ? url + 7 : url, target, error);
}
