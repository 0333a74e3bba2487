/* SPDX-License-Identifier: Apache-2.0 */
/* target.h: a gateway's URL taken apart for whoever talks to it by sockets of his own. */
#ifndef JITNEY_GATEWAY_CLI_PERF_TARGET_H
#define JITNEY_GATEWAY_CLI_PERF_TARGET_H

#include <sys/socket.h>

#include "base/buf.h"
#include "base/compiler.h"

enum { TARGET_HOST_BYTES = 300, TARGET_BASE_BYTES = 512, TARGET_ERROR_BYTES = 600 };

struct target {
	struct sockaddr_storage address;
	unsigned address_len;
	char host[TARGET_HOST_BYTES]; /* for the Host line */
	char base[TARGET_BASE_BYTES]; /* in front of each path, without its last slash */
};

/*
 * "http://HOST:PORT/base", the same without http://, or "unix:/PATH". Host names are looked up, which may take a while; of
 * several addresses the first that is listened at is taken, or else the first. False: `error` says what is wrong with it.
 */
bool target_read(const char *url, struct target *target, char error[TARGET_ERROR_BYTES]) MUST_CHECK;

#endif
