/* SPDX-License-Identifier: Apache-2.0 */
/* target.c: http://HOST:PORT/base and unix:/PATH. */
#include "gateway/cli/perf/target.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "gateway/cli/perf/wire.h"

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
	memcpy(&target->address, found->ai_addr, found->ai_addrlen);
	target->address_len = found->ai_addrlen;
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
