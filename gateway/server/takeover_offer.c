/* SPDX-License-Identifier: Apache-2.0 */
/* takeover_offer.c: the door of a gateway that runs, and the predecessor's side of a takeover: passive on main's loop. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd_message.h"
#include "base/log.h"
#include "base/service.h"
#include "gateway/http/listen.h"
#include "gateway/server/takeover.h"
#include "gateway/server/takeover_message.h"

enum { DOOR_BACKLOG = 8, DOOR_NAME_BYTES = 64, SOCKET_MODE = 0600 };
#define DOOR_LOCK_US (10 * CLOCK_US_PER_MS)     /* main's loop stands still for it */
#define HELLO_US (5 * CLOCK_US_PER_S)           /* for each word but READY */
#define PATIENCE_MOST_US (900 * CLOCK_US_PER_S) /* for READY */

/* Who wants to take over; one at a time. */
struct handover {
	struct loop_watch watch;
	struct loop_timer timer;
	bool welcome;
	uint64_t ready_us; /* when it must be ready */
	struct listener_export *sockets;
	size_t count, messages;
	struct ucred peer;
};

struct takeover_offer {
	struct loop *loop;
	struct listeners *listeners;
	struct loop_watch door;
	struct handover current; /* watch.fd -1: none is under way */
	bool given;              /* the door is the successor's */
	void (*taken)(void *context, pid_t successor);
	void *context;
	char path[TAKEOVER_PATH_BYTES];
	struct listen_file file;
};

/* ---------------------------------------------------------------- the door */

/* Where sockets that are one user's lie; the first of several that the service manager has made. */
static struct slice find_place(void)
{
	static const char *const places[] = { "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "TMPDIR" };
	for (size_t i = 0; i < countof(places); i++) {
		const char *place = getenv(places[i]);
		if (place && *place == '/')
			return (struct slice){ place, strcspn(place, ":") };
	}
	return SLICE("/tmp");
}

/* The end of an address, which tells more than its beginning, as a file's name. */
static void name_file(const char *address, char name[DOOR_NAME_BYTES])
{
	size_t len = strlen(address);
	snprintf(name, DOOR_NAME_BYTES, "%s", address + (len >= DOOR_NAME_BYTES ? len - DOOR_NAME_BYTES + 1 : 0));
	for (char *at = name; *at; at++)
		if (*at == '/' || *at == ':')
			*at = '_';
}

bool takeover_path(const struct config *config, const struct generation *now, char path[TAKEOVER_PATH_BYTES])
{
	const struct listen_address *first = &now->listen[0];
	char name[DOOR_NAME_BYTES];
	if (strcmp(config->takeover_socket, "auto") != 0) {
		snprintf(path, TAKEOVER_PATH_BYTES, "%s", config->takeover_socket);
		return strcmp(path, "off") != 0;
	}
	if (!first->unix_path && !first->in6.sin6_port)
		return false;
	name_file(first->text, name);
	struct slice place = find_place();
	int len;
	do {
		len = snprintf(path, TAKEOVER_PATH_BYTES, "%.*s/jitney-%u-%s.takeover", (int)place.len, place.at,
			       (unsigned)geteuid(), name);
		place = SLICE("/tmp"); /* where the path of a socket may not be that long */
	} while (len >= TAKEOVER_PATH_BYTES);
	return true;
}

/* ---------------------------------------------------------------- one takeover */

static void end_handover(struct takeover_offer *offer, bool leave_open)
{
	struct handover *handover = &offer->current;
	int fd = handover->watch.fd;
	loop_disarm(offer->loop, &handover->timer);
	loop_unwatch(offer->loop, &handover->watch);
	if (!leave_open)
		close(fd);
	listeners_export_free(offer->listeners, handover->sockets, handover->count);
	handover->sockets = NULL;
}

static bool send_answer(int fd, const struct takeover_message *message, const int *fds, size_t count)
{
	return fd_message_send(fd, NULL, 0, (struct slice){ (const char *)message, sizeof *message }, fds, count,
			       MSG_DONTWAIT);
}

static void refuse_peer(int fd, const char *why)
{
	struct takeover_message message = takeover_message(TAKEOVER_REFUSED, 0);
	snprintf(message.text, sizeof message.text, "%s", why);
	if (!send_answer(fd, &message, NULL, 0))
		return; /* it has left */
}

/* We go on. */
static void fail_handover(struct takeover_offer *offer, const char *why)
{
	log_message(&EVENT_TAKEOVER_FAILED, "process %ld %s; this one goes on", (long)offer->current.peer.pid, why);
	refuse_peer(offer->current.watch.fd, why);
	end_handover(offer, false);
}

static void on_late(struct loop_timer *timer, uint64_t now_us)
{
	struct takeover_offer *offer = container_of(timer, struct takeover_offer, current.timer);
	(void)now_us;
	fail_handover(offer, offer->current.welcome ? "was not ready in time" : "did not say what it wants in time");
}

/* The number of the n-th socket's listener: names that differ before it. */
static uint64_t listener_number(const struct handover *handover, size_t n)
{
	uint64_t number = 0;
	for (size_t i = 1; i <= n; i++)
		number += strcmp(handover->sockets[i].name, handover->sockets[i - 1].name) != 0;
	return number;
}

/* Where the n-th message's sockets begin, and how many they are: of one listener, as many as fit. */
static size_t find_message(const struct handover *handover, size_t n, size_t *at)
{
	size_t count = 0;
	for (*at = 0; *at < handover->count; *at += count) {
		for (count = 1; count < FD_MESSAGE_MAX && *at + count < handover->count &&
				strcmp(handover->sockets[*at].name, handover->sockets[*at + count].name) == 0;)
			count++;
		if (!n--)
			return count;
	}
	return 0;
}

static size_t count_messages(const struct handover *handover)
{
	size_t count = 0, at;
	while (find_message(handover, count, &at))
		count++;
	return count;
}

static bool welcome_peer(struct takeover_offer *offer, const struct takeover_message *message)
{
	struct handover *handover = &offer->current;
	struct takeover_message reply;
	uint64_t patience_us = message->number < PATIENCE_MOST_US ? message->number : PATIENCE_MOST_US;
	handover->sockets = listeners_export(offer->listeners, &handover->count);
	if (!handover->sockets)
		return false;
	handover->messages = count_messages(handover);
	handover->welcome = true;
	handover->ready_us = clock_add(loop_now(offer->loop), patience_us);
	loop_arm(offer->loop, &handover->timer, handover->ready_us);
	log_message(&EVENT_TAKEOVER_ASKED, "process %ld, jitney %s", (long)handover->peer.pid, message->text);
	reply = takeover_message(TAKEOVER_WELCOME, handover->messages + 1);
	snprintf(reply.text, sizeof reply.text, "%s", JITNEY_VERSION);
	return send_answer(handover->watch.fd, &reply, NULL, 0);
}

static bool offer_sockets(struct takeover_offer *offer, uint64_t n)
{
	const struct handover *handover = &offer->current;
	struct takeover_message reply = takeover_message(TAKEOVER_OFFER, TAKEOVER_DOOR);
	int fds[FD_MESSAGE_MAX] = { offer->door.fd };
	size_t at = 0, count = 1;
	if (n < handover->messages) {
		count = find_message(handover, n, &at);
		for (size_t i = 0; i < count; i++)
			fds[i] = handover->sockets[at + i].fd;
		reply.number = listener_number(handover, at);
		snprintf(reply.text, sizeof reply.text, "%s", handover->sockets[at].name);
	} else {
		snprintf(reply.text, sizeof reply.text, "%s", offer->path);
	}
	return send_answer(handover->watch.fd, &reply, fds, count);
}

/* The one point of no return: before it we go on whatever happens, after it the successor does. */
static bool yield_listeners(struct takeover_offer *offer, uint64_t used)
{
	const struct handover *handover = &offer->current;
	uint64_t watchdog_us = service_watchdog_us();
	struct takeover_message reply = takeover_message(TAKEOVER_YOURS, watchdog_us == CLOCK_NEVER ? 0 : watchdog_us);
	pid_t successor = handover->peer.pid;
	snprintf(reply.text, sizeof reply.text, "%s", service_address());
	if (!send_answer(handover->watch.fd, &reply, NULL, 0))
		return false;
	service_tell("MAINPID=%ld", (long)successor); /* before he tells what only the main process may */
	for (size_t i = 0; i < handover->count; i++)
		if (used >> listener_number(handover, i) & 1)
			listeners_give(offer->listeners, &handover->sockets[i]);
	offer->given = used >> TAKEOVER_DOOR & 1;
	log_message(&EVENT_TAKEN_OVER, "by process %ld", (long)successor);
	end_handover(offer, true);
	offer->taken(offer->context, successor);
	return true;
}

static void on_message(struct loop_watch *watch, uint32_t events)
{
	struct takeover_offer *offer = container_of(watch, struct takeover_offer, current.watch);
	struct takeover_message message;
	int fds[FD_MESSAGE_MAX];
	size_t count;
	bool ok = false;
	(void)events;
	ssize_t got = fd_message_receive(watch->fd, &message, sizeof message, fds, &count);
	while (count)
		close(fds[--count]);
	if (got < 0 && errno == EAGAIN)
		return;
	if (got == 0 || (got < 0 && errno == ECONNRESET)) {
		fail_handover(offer, "has ended before it was ready");
		return;
	}
	if (!takeover_is_message(&message, got)) {
		fail_handover(offer, "speaks another version of the takeover protocol");
		return;
	}
	if (message.kind == TAKEOVER_HELLO && !offer->current.welcome)
		ok = welcome_peer(offer, &message);
	else if (message.kind == TAKEOVER_ASK && offer->current.welcome)
		ok = offer_sockets(offer, message.number);
	else if (message.kind == TAKEOVER_READY && offer->current.welcome)
		ok = yield_listeners(offer, message.number);
	if (!ok)
		fail_handover(offer, "said what was not expected, or could not be answered");
}

/* ---------------------------------------------------------------- who comes */

static void on_knock(struct loop_watch *watch, uint32_t events)
{
	struct takeover_offer *offer = container_of(watch, struct takeover_offer, door);
	struct handover *handover = &offer->current;
	struct ucred peer;
	(void)events;
	int fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	const char *why = !takeover_find_peer(fd, &peer) ? "you are not of the running gateway's user"
			  : handover->watch.fd >= 0      ? "another takeover is under way"
							 : NULL;
	if (!why && !loop_watch(offer->loop, &handover->watch, fd, EPOLLIN))
		why = "the running gateway is out of descriptors";
	if (why) {
		log_message(&EVENT_TAKEOVER_FAILED, "process %ld was refused: %s", (long)peer.pid, why);
		refuse_peer(fd, why);
		close(fd);
		return;
	}
	handover->welcome = false;
	handover->peer = peer;
	loop_arm(offer->loop, &handover->timer, clock_add(loop_now(offer->loop), HELLO_US));
}

/* Whether it is a socket's name, and of one of us: else it is not ours to replace. */
static bool is_our_socket(const char *path)
{
	struct stat status;
	return lstat(path, &status) == 0 && S_ISSOCK(status.st_mode) && takeover_trusts(status.st_uid);
}

/* -1 and errno. */
static int make_door(const char *path)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	/* the file gets this mode when it is made: there is no moment at which others may connect */
	if (fchmod(fd, SOCKET_MODE) == 0 && listen_bind(fd, path, is_our_socket(path), DOOR_LOCK_US) &&
	    listen(fd, DOOR_BACKLOG) == 0)
		return fd;
	int saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

struct takeover_offer *takeover_offer_new(struct loop *loop, struct listeners *listeners, const char *path, int fd,
					  void (*taken)(void *context, pid_t successor), void *context, char *error,
					  size_t error_bytes)
{
	struct takeover_offer *offer = calloc(1, sizeof *offer);
	struct listen_address address = { .unix_path = path };
	if (fd < 0)
		fd = make_door(path);
	else /* taken over: who connects is told by the kernel of this process, not of the one that made the door */
		(void)!listen(fd, DOOR_BACKLOG); /* it listens already: if not, the one before is named on */
	if (!offer)
		goto fail;
	if (fd < 0 || !loop_timers_reserve(loop, 1))
		goto fail;
	offer->loop = loop;
	offer->listeners = listeners;
	offer->taken = taken;
	offer->context = context;
	snprintf(offer->path, sizeof offer->path, "%s", path);
	listen_find_file(&address, &offer->file);
	offer->file.path = offer->path;
	offer->door = (struct loop_watch){ on_knock, -1 };
	offer->current.watch = (struct loop_watch){ on_message, -1 };
	offer->current.timer = LOOP_TIMER_INIT(on_late);
	if (loop_watch(loop, &offer->door, fd, EPOLLIN))
		return offer;
fail:
	snprintf(error, error_bytes, "%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	free(offer);
	return NULL;
}

bool takeover_offer_is_asked(const struct takeover_offer *offer)
{
	return offer && offer->current.watch.fd >= 0;
}

void takeover_offer_free(struct takeover_offer *offer)
{
	if (!offer)
		return;
	if (offer->current.watch.fd >= 0)
		fail_handover(offer, "is refused: the running gateway ends");
	int fd = offer->door.fd;
	loop_unwatch(offer->loop, &offer->door);
	if (!offer->given)
		listen_remove(&offer->file);
	close(fd);
	free(offer);
}
