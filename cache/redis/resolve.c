/* SPDX-License-Identifier: Apache-2.0 */
/* resolve.c: getaddrinfo in a detached thread; what it found is handed over under a mutex. */
#include "cache/redis/resolve.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { STACK_BYTES = 256 * 1024 };

/* Shared by the caller and the thread; whoever leaves last frees it. */
struct resolve {
	pthread_mutex_t mutex;
	struct loop *loop;        /* m: NULL: nobody waits any more */
	bool asked;               /* m: the caller is still there */
	bool running;             /* m: the thread is */
	enum resolve_state state; /* m */
	const char *why;          /* m */
	struct resolved resolved; /* m */
	char host[];              /* c */
};
/* m under the mutex, c constant */

static void resolve_free(struct resolve *resolve)
{
	pthread_mutex_destroy(&resolve->mutex);
	free(resolve);
}

/* Appended; what is neither IPv4 nor IPv6 is left out. */
static void add_address(const struct addrinfo *info, struct resolved *resolved)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)info->ai_addr;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)info->ai_addr;
	const void *raw = info->ai_family == AF_INET6  ? (const void *)&v6->sin6_addr
			  : info->ai_family == AF_INET ? (const void *)&v4->sin_addr
						       : NULL;
	char *place = resolved->addresses[resolved->count];
	if (raw && inet_ntop(info->ai_family, raw, place, INET6_ADDRSTRLEN))
		resolved->count++;
}

static void *look_up(void *context)
{
	struct resolve *resolve = context;
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	struct resolved resolved = { 0 };
	int code = getaddrinfo(resolve->host, NULL, &hints, &list);
	for (const struct addrinfo *info = code ? NULL : list; info && resolved.count < RESOLVED_MAX;
	     info = info->ai_next)
		add_address(info, &resolved);
	if (code == 0)
		freeaddrinfo(list);
	pthread_mutex_lock(&resolve->mutex);
	resolve->resolved = resolved;
	resolve->state = resolved.count ? RESOLVE_FOUND : RESOLVE_FAILED;
	resolve->why = code ? gai_strerror(code) : "the name has no address";
	if (resolve->loop)
		loop_wake(resolve->loop); /* under the mutex: the loop is alive as long as somebody waits */
	resolve->running = false;
	bool last = !resolve->asked;
	pthread_mutex_unlock(&resolve->mutex);
	if (last)
		resolve_free(resolve);
	return NULL;
}

struct resolve *resolve_start(const char *host, struct loop *loop)
{
	size_t len = strlen(host);
	struct resolve *resolve = calloc(1, sizeof *resolve + len + 1);
	pthread_attr_t attributes;
	pthread_t thread;
	if (!resolve)
		return NULL;
	memcpy(resolve->host, host, len + 1);
	resolve->loop = loop;
	resolve->asked = resolve->running = true;
	pthread_mutex_init(&resolve->mutex, NULL);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	int code = pthread_create(&thread, &attributes, look_up, resolve);
	pthread_attr_destroy(&attributes);
	if (code == 0)
		return resolve;
	resolve_free(resolve);
	return NULL;
}

enum resolve_state resolve_look(struct resolve *resolve, struct resolved *resolved, const char **why)
{
	pthread_mutex_lock(&resolve->mutex);
	enum resolve_state state = resolve->state;
	*resolved = resolve->resolved;
	*why = resolve->why;
	pthread_mutex_unlock(&resolve->mutex);
	return state;
}

void resolve_stop(struct resolve *resolve)
{
	if (!resolve)
		return;
	pthread_mutex_lock(&resolve->mutex);
	resolve->loop = NULL;
	resolve->asked = false;
	bool last = !resolve->running;
	pthread_mutex_unlock(&resolve->mutex);
	if (last)
		resolve_free(resolve);
}
