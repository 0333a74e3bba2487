/* SPDX-License-Identifier: Apache-2.0 */
/* resolve.c: getaddrinfo in detached threads; what they find is handed over under a mutex. */
#include "base/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STACK_BYTES = 256 * 1024 };

/* m under the mutex, c constant, a atomic: what was written before it is read after it */
struct resolve {
	struct name *name;         /* m: NULL: it came when the name had been looked up, and holds its answer only */
	struct loop *loop;         /* c */
	atomic_int state;          /* a */
	const char *why;           /* by the thread, before state */
	struct resolved resolved;  /* likewise */
	TAILQ_ENTRY(resolve) next; /* m: in name->askers */
};
TAILQ_HEAD(waiters, resolve);

/* A name that waits for a thread, is being looked up, or has been and one who waited has not taken the answer yet: until then
 * it is the answer for all who ask. Those who come that late keep it no longer, or it would never be asked again. */
struct name {
	enum { NAME_WAITS, NAME_RUNS, NAME_ENDED } state; /* m */
	struct waiters waiters;                           /* m: may be empty while it runs */
	TAILQ_ENTRY(name) next;                           /* m */
	char host[];                                      /* c */
};

/* Of the process, since threads are what is to be counted. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static TAILQ_HEAD(, name) names = TAILQ_HEAD_INITIALIZER(names); /* m: oldest first */
static size_t threads;                                           /* m */

/* --- looking up --- */

/* Whether this machine has a way there at all: no packet leaves (RFC 6724, rule 1, asks likewise). */
static bool has_route(const struct addrinfo *info)
{
	int fd = socket(info->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno != EAFNOSUPPORT;
	struct sockaddr_storage address = { 0 };
	memcpy(&address, info->ai_addr, info->ai_addrlen);
	((struct sockaddr_in *)(void *)&address)->sin_port = htons(9); /* at the same place in IPv6's */
	bool way = connect(fd, (const struct sockaddr *)&address, info->ai_addrlen) == 0 ||
		   (errno != ENETUNREACH && errno != EADDRNOTAVAIL && errno != EAFNOSUPPORT);
	close(fd);
	return way;
}

/* Appended; what is neither IPv4 nor IPv6, or is there already, is left out. */
static void add_address(const struct addrinfo *info, struct resolved *resolved)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)info->ai_addr;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)info->ai_addr;
	const void *raw = info->ai_family == AF_INET6  ? (const void *)&v6->sin6_addr
			  : info->ai_family == AF_INET ? (const void *)&v4->sin_addr
						       : NULL;
	char *place = resolved->addresses[resolved->count];
	if (raw && inet_ntop(info->ai_family, raw, place, INET6_ADDRSTRLEN) && !resolved_has(resolved, place))
		resolved->count++;
}

/* Why not; NULL: an address at least was found. */
static const char *find_addresses(const char *host, struct resolved *resolved)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	int code = getaddrinfo(host, NULL, &hints, &list);
	if (code)
		return gai_strerror(code);
	for (const struct addrinfo *info = list; info && resolved->count < RESOLVED_MAX; info = info->ai_next)
		if (has_route(info))
			add_address(info, resolved);
	if (resolved->count == 0) /* whoever tries them is told why not */
		for (const struct addrinfo *info = list; info && resolved->count < RESOLVED_MAX; info = info->ai_next)
			add_address(info, resolved);
	freeaddrinfo(list);
	return resolved->count ? NULL : "the name has no address";
}

static void answer_locked(struct resolve *resolve, const struct resolved *resolved, const char *why)
{
	resolve->resolved = *resolved;
	resolve->why = why;
	atomic_store_explicit(&resolve->state, why ? RESOLVE_FAILED : RESOLVE_FOUND, memory_order_release);
	loop_wake(resolve->loop); /* under the mutex: the loop is alive as long as somebody waits */
}

/* Nobody wants it any more, or all have taken the answer. */
static void drop_unwanted_locked(struct name *name)
{
	if (name->state == NAME_RUNS || !TAILQ_EMPTY(&name->waiters))
		return;
	TAILQ_REMOVE(&names, name, next);
	free(name);
}

static void end_name_locked(struct name *name, const struct resolved *resolved, const char *why)
{
	struct resolve *resolve;
	name->state = NAME_ENDED;
	TAILQ_FOREACH (resolve, &name->waiters, next)
		answer_locked(resolve, resolved, why);
	drop_unwanted_locked(name);
}

/* The first that waits for a thread; NULL: none, and the thread counts no more. */
static struct name *take_waiting_locked(void)
{
	struct name *name;
	TAILQ_FOREACH (name, &names, next)
		if (name->state == NAME_WAITS)
			break;
	if (name)
		name->state = NAME_RUNS;
	else
		threads--;
	return name;
}

static void *look_up(void *context)
{
	struct name *name = context;
	pthread_setname_np(pthread_self(), "resolver");
	while (name) {
		struct resolved resolved = { 0 };
		const char *why = find_addresses(name->host, &resolved);
		pthread_mutex_lock(&mutex);
		end_name_locked(name, &resolved, why);
		name = take_waiting_locked();
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

static bool start_thread_locked(struct name *name)
{
	pthread_attr_t attributes;
	pthread_t thread;
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	bool started = pthread_create(&thread, &attributes, look_up, name) == 0;
	pthread_attr_destroy(&attributes);
	name->state = started ? NAME_RUNS : NAME_WAITS;
	threads += started;
	return started;
}

/* --- asking --- */

static struct name *find_name_locked(const char *host)
{
	struct name *name;
	TAILQ_FOREACH (name, &names, next)
		if (strcmp(name->host, host) == 0)
			return name;
	return NULL;
}

/* NULL: no memory, or no thread. */
static struct name *add_name_locked(const char *host)
{
	size_t len = strlen(host);
	struct name *name = calloc(1, sizeof *name + len + 1);
	if (!name)
		return NULL;
	memcpy(name->host, host, len + 1);
	TAILQ_INIT(&name->waiters);
	if (threads < RESOLVE_THREADS && !start_thread_locked(name)) {
		free(name);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&names, name, next);
	return name;
}

static void join_locked(struct resolve *resolve, struct name *name)
{
	if (name->state == NAME_ENDED) {
		const struct resolve *first = TAILQ_FIRST(&name->waiters);
		answer_locked(resolve, &first->resolved, first->why);
		return;
	}
	resolve->name = name;
	TAILQ_INSERT_TAIL(&name->waiters, resolve, next);
}

struct resolve *resolve_start(const char *host, struct loop *loop)
{
	struct resolve *resolve = calloc(1, sizeof *resolve);
	if (!resolve)
		return NULL;
	resolve->loop = loop;
	pthread_mutex_lock(&mutex);
	struct name *name = find_name_locked(host);
	if (!name)
		name = add_name_locked(host);
	if (name)
		join_locked(resolve, name);
	pthread_mutex_unlock(&mutex);
	if (name)
		return resolve;
	free(resolve);
	return NULL;
}

enum resolve_state resolve_look(const struct resolve *resolve, struct resolved *resolved, const char **why)
{
	enum resolve_state state = (enum resolve_state)atomic_load_explicit(&resolve->state, memory_order_acquire);
	if (state == RESOLVE_PENDING)
		return state;
	*resolved = resolve->resolved;
	*why = resolve->why;
	return state;
}

void resolve_stop(struct resolve *resolve)
{
	if (!resolve)
		return;
	pthread_mutex_lock(&mutex);
	struct name *name = resolve->name;
	if (name) {
		TAILQ_REMOVE(&name->waiters, resolve, next);
		drop_unwanted_locked(name);
	}
	pthread_mutex_unlock(&mutex);
	free(resolve);
}
