/* SPDX-License-Identifier: Apache-2.0 */
/* address.h: addresses as the configuration names them: where to listen, whom to trust. */
#ifndef JITNEY_GATEWAY_HTTP_ADDRESS_H
#define JITNEY_GATEWAY_HTTP_ADDRESS_H

#include <netinet/in.h>

/* Where to listen. */
struct listen_address {
	const char *text;        /* as written: "127.0.0.1:8080", "[::1]:8080", "unix:/run/jitney.sock" */
	const char *unix_path;   /* NULL: TCP */
	struct sockaddr_in6 in6; /* TCP: family AF_INET6, or AF_INET laid over it; port 0: the kernel picks */
};

/* One CIDR block. IPv4 as ::ffff:a.b.c.d with 96 more bits. */
struct network {
	struct in6_addr address;
	unsigned bits;
};

#endif
