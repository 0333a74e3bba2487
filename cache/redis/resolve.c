/* resolve.c: getaddrinfo in a detached thread; what it found is handed over under a mutex. */
#include "cache/redis/resolve.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { STACK_BYTES = 256 * 1024 };

/* Shared by the asker and the thread; whoever leaves last frees it. */
struct resolve {
	pthread_mutex_t mutex;
	struct loop *loop;              /* m: NULL: nobody waits any more */
	bool asked;                     /* m: the asker is still there */
	bool running;                   /* m: the thread is */
	enum resolve_state state;       /* m */
	const char *why;                /* m */
	char address[INET6_ADDRSTRLEN]; /* m */
	char host[];                    /* c */
};
/* m under the mutex, c constant */

static void resolve_free(struct resolve *resolve)
{
	pthread_mutex_destroy(&resolve->mutex);
	free(resolve);
}

static bool write_address(const struct addrinfo *info, char address[INET6_ADDRSTRLEN])
{
	const void *raw = info->ai_family == AF_INET6
				  ? (const void *)&((const struct sockaddr_in6 *)(const void *)info->ai_addr)->sin6_addr
				  : (const void *)&((const struct sockaddr_in *)(const void *)info->ai_addr)->sin_addr;
	return inet_ntop(info->ai_family, raw, address, INET6_ADDRSTRLEN) != NULL;
}

static void *look_up(void *context)
{
	struct resolve *resolve = context;
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	char address[INET6_ADDRSTRLEN] = "";
	int code = getaddrinfo(resolve->host, NULL, &hints, &list);
	bool found = code == 0 && list && write_address(list, address);
	if (code == 0)
		freeaddrinfo(list);
	pthread_mutex_lock(&resolve->mutex);
	memcpy(resolve->address, address, sizeof address);
	resolve->state = found ? RESOLVE_FOUND : RESOLVE_FAILED;
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

enum resolve_state resolve_look(struct resolve *resolve, char address[INET6_ADDRSTRLEN], const char **why)
{
	pthread_mutex_lock(&resolve->mutex);
	enum resolve_state state = resolve->state;
	memcpy(address, resolve->address, INET6_ADDRSTRLEN);
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
