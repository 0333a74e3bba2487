/* SPDX-License-Identifier: Apache-2.0 */
/* listeners.c: which sockets there are, whose they are, and who has them beside us. */
#include "gateway/http/listeners.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/service.h"
#include "gateway/http/listen.h"

#define STORE_PREFIX "jitney-" /* of the names under which the service manager keeps what is ours */

/* Who else has a socket. */
enum keeper {
	KEEPER_NOBODY,
	KEEPER_PREDECESSOR, /* a running jitney, which is in charge of it */
	KEEPER_STORE,       /* the service manager, for us: the next start gets it */
	KEEPER_UNIT         /* the service manager, by a socket unit: file and all are its own */
};

struct inherited {
	TAILQ_ENTRY(inherited) next;
	int fd;
	enum keeper keeper;
	char name[LISTENER_NAME_BYTES];
};

struct listener {
	TAILQ_ENTRY(listener) next;
	atomic_size_t holders;         /* a: the list of all, as long as it listens, and whoever names it */
	pthread_mutex_t mutex;         /* of `sockets`, once it is in the list; inside the other one */
	struct listen_address address; /* with texts of its own */
	bool given;                    /* m: to a successor: its file stays */
	size_t exports;                /* m: of its sockets, which somebody has who may become its successor */
	bool open;                     /* m: in the list of all */
	bool leaves;                   /* m: it is closed, and ends when it is exported no more */
	bool file_due;                 /* m: then its file goes, unless it is given */
	enum keeper keeper;
	unsigned workers;
	int *sockets; /* ours, each another one */
	size_t count;
	struct listen_file file;
	char name[LISTENER_NAME_BYTES];
};

struct listeners {
	pthread_mutex_t mutex;
	bool ended;                              /* m: the process ends: nothing is opened any more */
	bool deferred;                           /* m: nothing of ours listens before somebody accepts */
	TAILQ_HEAD(listener_list, listener) all; /* m */
	struct listener_list leaving;            /* m: closed, while exported: a successor may have them, or we again */
	TAILQ_HEAD(, inherited) inherited;       /* m */
};
/* m: under the mutex, which main's loop takes too: nobody waits under it for anything. Not for workers */

/* ---------------------------------------------------------------- names */

/* The address as a name that may stand in $LISTEN_FDNAMES: no colon, nothing but printable characters, and each address
 * has another one: a colon is "_", and what is neither that nor plain stands as %XX. */
static void name_address(const struct listen_address *address, bool admin, char name[LISTENER_NAME_BYTES])
{
	size_t len = (size_t)snprintf(name, LISTENER_NAME_BYTES, STORE_PREFIX "%s", admin ? "admin-" : "");
	for (const char *at = address->text; *at && len + sizeof "%XX" <= LISTENER_NAME_BYTES; at++) {
		bool plain = *at > ' ' && *at <= '~' && *at != '_' && *at != '%';
		if (*at == ':')
			name[len++] = '_';
		else if (plain)
			name[len++] = *at;
		else
			len += (size_t)snprintf(name + len, sizeof "%XX", "%%%02X", (unsigned char)*at);
	}
	name[len] = '\0';
}

static unsigned port_of(int fd)
{
	struct sockaddr_in6 where = { 0 };
	socklen_t len = sizeof where;
	bool is_tcp = getsockname(fd, (struct sockaddr *)&where, &len) == 0 &&
		      (where.sin6_family == AF_INET || where.sin6_family == AF_INET6);
	return is_tcp ? where.sin6_port : 0;
}

/* Whether a socket that we have, or somebody hands over, has this port: then it is no stranger who listens there. */
static bool have_port_locked(struct listeners *listeners, const struct listen_address *address)
{
	const struct listener *listener;
	const struct inherited *inherited;
	unsigned port = address->in6.sin6_port;
	if (address->unix_path || !port)
		return false;
	TAILQ_FOREACH (listener, &listeners->all, next)
		if (port_of(listener->sockets[0]) == port)
			return true;
	TAILQ_FOREACH (listener, &listeners->leaving, next)
		if (port_of(listener->sockets[0]) == port)
			return true;
	TAILQ_FOREACH (inherited, &listeners->inherited, next)
		if (port_of(inherited->fd) == port)
			return true;
	return false;
}

/* ---------------------------------------------------------------- what comes from outside */

static bool is_same_socket(int a, int b)
{
	struct stat one, other;
	return fstat(a, &one) == 0 && fstat(b, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

static enum keeper find_keeper(enum listener_giver giver, const char *name)
{
	if (giver == GIVER_PREDECESSOR)
		return KEEPER_PREDECESSOR;
	return strncmp(name, STORE_PREFIX, sizeof STORE_PREFIX - 1) == 0 ? KEEPER_STORE : KEEPER_UNIT;
}

static bool is_inherited(const struct listeners *listeners, int fd)
{
	const struct inherited *inherited;
	TAILQ_FOREACH (inherited, &listeners->inherited, next)
		if (is_same_socket(inherited->fd, fd))
			return true;
	return false;
}

void listeners_inherit(struct listeners *listeners, int fd, const char *name, enum listener_giver giver)
{
	pthread_mutex_lock(&listeners->mutex);
	listeners->deferred |= giver == GIVER_PREDECESSOR;
	struct inherited *inherited = is_inherited(listeners, fd) ? NULL : calloc(1, sizeof *inherited);
	if (inherited) {
		inherited->fd = fd;
		inherited->keeper = find_keeper(giver, name);
		snprintf(inherited->name, sizeof inherited->name, "%s", name);
		TAILQ_INSERT_TAIL(&listeners->inherited, inherited, next);
	} else {
		close(fd);
	}
	pthread_mutex_unlock(&listeners->mutex);
}

void listeners_take_charge(struct listeners *listeners)
{
	struct listener *listener;
	pthread_mutex_lock(&listeners->mutex);
	listeners->deferred = false;
	TAILQ_FOREACH (listener, &listeners->all, next)
		if (listener->keeper == KEEPER_PREDECESSOR)
			listener->keeper = KEEPER_NOBODY;
	pthread_mutex_unlock(&listeners->mutex);
}

size_t listeners_drop_unused(struct listeners *listeners, char name[LISTENER_NAME_BYTES])
{
	struct inherited *inherited;
	size_t count = 0;
	pthread_mutex_lock(&listeners->mutex);
	for (; (inherited = TAILQ_FIRST(&listeners->inherited)); count++) {
		TAILQ_REMOVE(&listeners->inherited, inherited, next);
		snprintf(name, LISTENER_NAME_BYTES, "%s", inherited->name);
		if (inherited->keeper == KEEPER_STORE)
			service_forget(inherited->name);
		close(inherited->fd);
		free(inherited);
	}
	pthread_mutex_unlock(&listeners->mutex);
	return count;
}

/* False: out of memory. */
static bool add_socket(struct listener *listener, int fd)
{
	int *grown = realloc(listener->sockets, (listener->count + 1) * sizeof *grown);
	if (!grown)
		return false;
	listener->sockets = grown;
	grown[listener->count++] = fd;
	return true;
}

/* False: out of memory. */
static bool claim_inherited_locked(struct listeners *listeners, struct listener *listener)
{
	if (listener->address.unix_path && access(listener->address.unix_path, F_OK) < 0)
		return true; /* its file was removed: nobody finds that socket any more */
	struct inherited *inherited = TAILQ_FIRST(&listeners->inherited), *behind;
	for (; inherited; inherited = behind) {
		behind = TAILQ_NEXT(inherited, next);
		if (strcmp(inherited->name, listener->name) != 0 && !listen_is(inherited->fd, &listener->address))
			continue;
		if (!add_socket(listener, inherited->fd))
			return false;
		listener->keeper = inherited->keeper;
		TAILQ_REMOVE(&listeners->inherited, inherited, next);
		free(inherited);
	}
	return true;
}

/* ---------------------------------------------------------------- listeners */

struct listeners *listeners_new(void)
{
	struct listeners *listeners = calloc(1, sizeof *listeners);
	if (!listeners)
		return NULL;
	pthread_mutex_init(&listeners->mutex, NULL);
	TAILQ_INIT(&listeners->all);
	TAILQ_INIT(&listeners->leaving);
	TAILQ_INIT(&listeners->inherited);
	return listeners;
}

static void close_sockets(struct listener *listener)
{
	pthread_mutex_lock(&listener->mutex);
	while (listener->count)
		close(listener->sockets[--listener->count]);
	pthread_mutex_unlock(&listener->mutex);
}

static void free_listener(struct listener *listener)
{
	close_sockets(listener);
	pthread_mutex_destroy(&listener->mutex);
	free(listener->sockets);
	free((char *)(uintptr_t)listener->address.text);
	free((char *)(uintptr_t)listener->address.unix_path);
	free(listener);
}

struct listener *listener_ref(struct listener *listener)
{
	atomic_fetch_add_explicit(&listener->holders, 1, memory_order_relaxed);
	return listener;
}

void listener_unref(struct listener *listener)
{
	if (listener && atomic_fetch_sub_explicit(&listener->holders, 1, memory_order_acq_rel) == 1)
		free_listener(listener);
}

static struct listener *new_listener(const struct listen_address *address, bool admin, unsigned workers)
{
	struct listener *listener = calloc(1, sizeof *listener);
	if (!listener)
		return NULL;
	atomic_init(&listener->holders, 1);
	pthread_mutex_init(&listener->mutex, NULL);
	listener->address = *address;
	listener->address.text = strdup(address->text);
	listener->address.unix_path = address->unix_path ? strdup(address->unix_path) : NULL;
	listener->workers = workers;
	name_address(address, admin, listener->name);
	if (listener->address.text && (!address->unix_path || listener->address.unix_path))
		return listener;
	free_listener(listener);
	return NULL;
}

/* Sockets of our own, where those inherited are not one for each worker. False: `error` says why. */
static bool fill_listener(struct listener *listener, bool beside, char *error, size_t error_bytes)
{
	size_t wanted = listener->workers > listener->count ? listener->workers - listener->count : 0, opened;
	int *fds = wanted ? calloc(wanted, sizeof *fds) : NULL;
	if (!wanted || !fds) {
		snprintf(error, error_bytes, "out of memory");
		return !wanted;
	}
	if (listener->count)
		opened = listen_beside(listener->sockets[0], fds, wanted);
	else
		opened = listen_open(&listener->address, beside, fds, wanted, &listener->file, error, error_bytes);
	for (size_t i = 0; i < opened; i++)
		if (!add_socket(listener, fds[i]))
			close(fds[i]);
	free(fds);
	return listener->count > 0;
}

/* Whether who comes by its address finds it. */
static bool is_found(const struct listener *listener)
{
	return !listener->address.unix_path || listen_has_file(&listener->file);
}

/* One that was closed while it is exported; NULL: there is none of this name. */
static struct listener *open_again(struct listeners *listeners, const char *name)
{
	struct listener *listener;
	pthread_mutex_lock(&listeners->mutex);
	TAILQ_FOREACH (listener, &listeners->leaving, next)
		if (strcmp(listener->name, name) == 0 && is_found(listener))
			break;
	if (listener && !listeners->ended) {
		TAILQ_REMOVE(&listeners->leaving, listener, next);
		TAILQ_INSERT_TAIL(&listeners->all, listener, next);
		listener->open = true;
		listener->leaves = listener->file_due = false;
		listener_ref(listener);
	}
	bool ended = listeners->ended;
	pthread_mutex_unlock(&listeners->mutex);
	return ended ? NULL : listener;
}

static void end_listener_locked(struct listener *listener)
{
	if (listener->file_due && !listener->given)
		listen_remove(&listener->file);
	close_sockets(listener);
	listener_unref(listener);
}

static void close_listener_locked(struct listeners *listeners, struct listener *listener, bool stays)
{
	if (!listener->open) /* a reload had begun before the end of all */
		return;
	listener->open = false;
	stays |= listener->given;
	TAILQ_REMOVE(&listeners->all, listener, next);
	if (!stays && listener->keeper == KEEPER_STORE) {
		service_forget(listener->name);
		listener->keeper = KEEPER_NOBODY;
	}
	listener->file_due = !stays && listener->keeper != KEEPER_UNIT && listener->keeper != KEEPER_PREDECESSOR;
	listener->leaves = listener->exports > 0;
	if (listener->leaves)
		TAILQ_INSERT_TAIL(&listeners->leaving, listener, next);
	else
		end_listener_locked(listener);
}

/* From now on it is one of all; its sockets from the n-th on are new. False: nothing is opened any more, and it is gone. */
static bool add_listener(struct listeners *listeners, struct listener *listener, size_t n)
{
	pthread_mutex_lock(&listeners->mutex);
	bool ended = listeners->ended;
	for (; !ended && !listeners->deferred && n < listener->count; n++)
		listen_now(listener->sockets[n]);
	TAILQ_INSERT_TAIL(&listeners->all, listener, next);
	listener->open = true;
	if (ended)
		close_listener_locked(listeners, listener, false);
	else
		listener_ref(listener);
	pthread_mutex_unlock(&listeners->mutex);
	return !ended;
}

struct listener *listeners_open(struct listeners *listeners, const struct listen_address *address, bool admin,
				unsigned workers, char *error, size_t error_bytes)
{
	struct listener *listener = new_listener(address, admin, workers), *again;
	snprintf(error, error_bytes, "out of memory");
	if (!listener)
		return NULL;
	again = open_again(listeners, listener->name);
	if (again) {
		free_listener(listener);
		return again;
	}
	pthread_mutex_lock(&listeners->mutex);
	bool ok = claim_inherited_locked(listeners, listener), beside = have_port_locked(listeners, address);
	size_t claimed = listener->count;
	pthread_mutex_unlock(&listeners->mutex);
	if (claimed)
		listen_find_file(&listener->address, &listener->file);
	if (!ok || !fill_listener(listener, beside, error, error_bytes)) {
		free_listener(listener);
		return NULL;
	}
	snprintf(error, error_bytes, "cannot listen on %s: the gateway ends", address->text);
	return add_listener(listeners, listener, claimed) ? listener : NULL;
}

size_t listener_seats(struct listener *listener)
{
	pthread_mutex_lock(&listener->mutex);
	size_t seats = listener->count > listener->workers ? listener->count : listener->workers;
	pthread_mutex_unlock(&listener->mutex);
	return seats;
}

int listener_seat(struct listener *listener, size_t n)
{
	pthread_mutex_lock(&listener->mutex);
	errno = EBADF;
	int fd = listener->count ? fcntl(listener->sockets[n % listener->count], F_DUPFD_CLOEXEC, 0) : -1;
	pthread_mutex_unlock(&listener->mutex);
	return fd;
}

unsigned listener_workers(const struct listener *listener)
{
	return listener->workers;
}

void listener_text(struct listener *listener, char *text, size_t bytes)
{
	pthread_mutex_lock(&listener->mutex);
	listen_text(listener->count ? listener->sockets[0] : -1, &listener->address, text, bytes);
	pthread_mutex_unlock(&listener->mutex);
}

struct listener *listeners_find(struct listeners *listeners, const struct listen_address *address, bool admin)
{
	struct listener *listener;
	char name[LISTENER_NAME_BYTES];
	name_address(address, admin, name);
	pthread_mutex_lock(&listeners->mutex);
	TAILQ_FOREACH (listener, &listeners->all, next)
		if (strcmp(listener->name, name) == 0)
			break;
	if (listener)
		listener_ref(listener);
	pthread_mutex_unlock(&listeners->mutex);
	return listener;
}

void listeners_close(struct listeners *listeners, struct listener *listener)
{
	pthread_mutex_lock(&listeners->mutex);
	close_listener_locked(listeners, listener, false);
	pthread_mutex_unlock(&listeners->mutex);
}

/* What somebody else has too. */
static bool is_shared(const struct listener *listener)
{
	return listener->given || listener->keeper != KEEPER_NOBODY;
}

static void close_locked(struct listeners *listeners, bool shared_too)
{
	struct listener *listener, *behind;
	for (listener = TAILQ_FIRST(&listeners->all); listener; listener = behind) {
		bool shared = is_shared(listener);
		behind = TAILQ_NEXT(listener, next);
		if (shared_too || !shared)
			close_listener_locked(listeners, listener, shared);
	}
}

bool listeners_end(struct listeners *listeners)
{
	pthread_mutex_lock(&listeners->mutex);
	listeners->ended = true;
	close_locked(listeners, false);
	bool some = !TAILQ_EMPTY(&listeners->all);
	pthread_mutex_unlock(&listeners->mutex);
	return some;
}

bool listeners_have(struct listeners *listeners, int fd)
{
	const struct listener *listener;
	bool found = false;
	if (!listeners)
		return false;
	pthread_mutex_lock(&listeners->mutex);
	TAILQ_FOREACH (listener, &listeners->all, next)
		for (size_t i = 0; !found && i < listener->count; i++)
			found = is_same_socket(listener->sockets[i], fd);
	pthread_mutex_unlock(&listeners->mutex);
	return found;
}

void listeners_free(struct listeners *listeners)
{
	char name[LISTENER_NAME_BYTES];
	if (!listeners)
		return;
	listeners_drop_unused(listeners, name);
	close_locked(listeners, true);
	pthread_mutex_destroy(&listeners->mutex);
	free(listeners);
}

/* ---------------------------------------------------------------- what goes outside */

static bool export_socket(struct listener *listener, size_t n, struct listener_export *out)
{
	snprintf(out->name, sizeof out->name, "%s", listener->name);
	out->fd = fcntl(listener->sockets[n], F_DUPFD_CLOEXEC, 0);
	if (out->fd < 0)
		return false;
	out->listener = listener_ref(listener);
	listener->exports++;
	return true;
}

struct listener_export *listeners_export(struct listeners *listeners, size_t *count)
{
	struct listener *listener;
	size_t all = 0;
	bool ok = true;
	*count = 0;
	pthread_mutex_lock(&listeners->mutex);
	TAILQ_FOREACH (listener, &listeners->all, next)
		all += listener->count;
	struct listener_export *sockets = calloc(all + 1, sizeof *sockets);
	TAILQ_FOREACH (listener, &listeners->all, next)
		for (size_t i = 0; sockets && ok && i < listener->count; i++)
			*count += ok = export_socket(listener, i, &sockets[*count]);
	pthread_mutex_unlock(&listeners->mutex);
	if (ok)
		return sockets;
	listeners_export_free(listeners, sockets, *count);
	return NULL;
}

void listeners_give(struct listeners *listeners, const struct listener_export *socket)
{
	pthread_mutex_lock(&listeners->mutex);
	socket->listener->given = true;
	pthread_mutex_unlock(&listeners->mutex);
}

void listeners_export_free(struct listeners *listeners, struct listener_export *sockets, size_t count)
{
	pthread_mutex_lock(&listeners->mutex);
	for (size_t i = 0; sockets && i < count; i++) {
		struct listener *listener = sockets[i].listener;
		if (!--listener->exports && listener->leaves) {
			TAILQ_REMOVE(&listeners->leaving, listener, next);
			end_listener_locked(listener);
		}
		close(sockets[i].fd);
		listener_unref(listener);
	}
	pthread_mutex_unlock(&listeners->mutex);
	free(sockets);
}

void listeners_store(struct listeners *listeners)
{
	struct listener *listener;
	pthread_mutex_lock(&listeners->mutex);
	TAILQ_FOREACH (listener, &listeners->all, next)
		if (listener->keeper == KEEPER_NOBODY &&
		    service_keep(listener->name, listener->sockets, listener->count))
			listener->keeper = KEEPER_STORE;
	pthread_mutex_unlock(&listeners->mutex);
}
