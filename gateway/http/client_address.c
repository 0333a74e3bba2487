/* SPDX-License-Identifier: Apache-2.0 */
/* client_address.c: the peer of a connection, and behind trusted proxies the client that X-Forwarded-For names. */
#include "gateway/http/client_address.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/utf8.h"
#include "gateway/http/http_private.h"

/* As ::ffff:a.b.c.d. */
static void map_four(const struct in_addr *four, struct in6_addr *address)
{
	memset(address, 0, sizeof *address);
	address->s6_addr[10] = address->s6_addr[11] = 0xff;
	memcpy(address->s6_addr + 12, four, sizeof *four);
}

/* False: neither family. */
static bool read_peer(const struct sockaddr *peer, struct in6_addr *address)
{
	if (peer->sa_family == AF_INET6)
		*address = ((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr;
	else if (peer->sa_family == AF_INET)
		map_four(&((const struct sockaddr_in *)(const void *)peer)->sin_addr, address);
	return peer->sa_family == AF_INET6 || peer->sa_family == AF_INET;
}

static bool read_text(struct slice text, struct in6_addr *address)
{
	char copy[INET6_ADDRSTRLEN];
	struct in_addr four;
	if (text.len == 0 || text.len >= sizeof copy)
		return false;
	memcpy(copy, text.at, text.len);
	copy[text.len] = '\0';
	if (inet_pton(AF_INET, copy, &four) != 1)
		return inet_pton(AF_INET6, copy, address) == 1;
	map_four(&four, address);
	return true;
}

static bool network_covers(const struct network *network, const struct in6_addr *address)
{
	unsigned whole = network->bits / 8, rest = network->bits % 8;
	unsigned char mask = (unsigned char)(0xff00 >> rest);
	return memcmp(address, &network->address, whole) == 0 &&
	       (rest == 0 || ((address->s6_addr[whole] ^ network->address.s6_addr[whole]) & mask) == 0);
}

static bool is_proxy(const struct http_settings *settings, const struct in6_addr *address)
{
	for (size_t i = 0; i < settings->trusted_proxy_count; i++)
		if (network_covers(&settings->trusted_proxies[i], address))
			return true;
	return false;
}

bool client_is_proxy(const struct http_settings *settings, const struct sockaddr *peer)
{
	struct in6_addr address;
	if (peer->sa_family == AF_UNIX)
		return true; /* who may open the socket's file is the operator's choice */
	return read_peer(peer, &address) && is_proxy(settings, &address);
}

/*
 * The last address that no trusted proxy has: what stands before it its sender may have made up. Each proxy appends
 * whom it heard, so the last element is the word of the one at the other end of our connection.
 */
static struct slice forwarded_for(const struct http_settings *settings, struct slice list)
{
	struct in6_addr address;
	struct slice found = { NULL, 0 };
	while (list.len) {
		const char *comma = memrchr(list.at, ',', list.len);
		size_t before = comma ? (size_t)(comma - list.at) : 0, skip = comma ? before + 1 : 0;
		struct slice last = text_trim((struct slice){ list.at + skip, list.len - skip });
		if (!read_text(last, &address))
			break;
		found = last;
		if (!is_proxy(settings, &address))
			break;
		list.len = before;
	}
	return found;
}

/* inet_ntop prints by snprintf: a third of all that a line of the log took. */
static struct slice write_ipv4(const struct in_addr *address, char text[REQUEST_CLIENT_BYTES])
{
	const unsigned char *bytes = (const unsigned char *)address;
	char *to = text;
	for (size_t i = 0; i < 4; i++) {
		unsigned byte = bytes[i];
		if (i > 0)
			*to++ = '.';
		if (byte >= 100)
			*to++ = (char)('0' + byte / 100);
		if (byte >= 10)
			*to++ = (char)('0' + byte / 10 % 10);
		*to++ = (char)('0' + byte % 10);
	}
	*to = '\0';
	return (struct slice){ text, (size_t)(to - text) };
}

struct slice request_client(const struct request *request, char text[REQUEST_CLIENT_BYTES])
{
	struct slice list, found = { NULL, 0 };
	const struct sockaddr *peer = request->peer;
	if (request->from_trusted_proxy && request_header(request, SLICE("x-forwarded-for"), &list) == 1)
		found = forwarded_for(request->http->settings, list);
	if (found.len || !peer || peer->sa_family == AF_UNIX)
		return found;
	if (peer->sa_family == AF_INET)
		return write_ipv4(&((const struct sockaddr_in *)(const void *)peer)->sin_addr, text);
	const struct sockaddr_in6 *peer6 = (const void *)peer;
	return slice_of(inet_ntop(AF_INET6, &peer6->sin6_addr, text, REQUEST_CLIENT_BYTES));
}
