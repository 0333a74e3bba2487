/* SPDX-License-Identifier: Apache-2.0 */
/* takeover.c: the successor's side. It blocks, since the process does nothing else yet. */
#include "gateway/server/takeover.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/fd_message.h"
#include "base/service.h"
#include "gateway/server/takeover_message.h"

enum { ANSWER_S = 5 };

struct takeover {
	struct listeners *listeners;
	int socket;
	struct ucred peer;
	int process; /* of the peer: a descriptor that tells of its end; -1: it has ended already, or the kernel has none */
	bool closed;                    /* its end of the connection is */
	bool died;                      /* before it had handed over all */
	int offered[TAKEOVER_DOOR + 1]; /* a socket of each listener that is offered, and the door; -1: none. Ours */
	char door_path[TAKEOVER_PATH_BYTES];
	bool door_taken;
};

/* ---------------------------------------------------------------- words */

static bool send_message(const struct takeover *takeover, const struct takeover_message *message)
{
	return fd_message_send(takeover->socket, NULL, 0, (struct slice){ (const char *)message, sizeof *message },
			       NULL, 0, 0);
}

/* What comes, if it is of this kind; fds are the caller's. False: none is left; `error` says what came instead. */
static bool hear_message(struct takeover *takeover, enum takeover_kind kind, struct takeover_message *message, int *fds,
			 size_t *count, char *error, size_t error_bytes)
{
	ssize_t got = fd_message_receive(takeover->socket, message, sizeof *message, fds, count);
	if (got < 0 && errno == ECONNRESET) /* it has not read all that we said; what it said is there */
		got = fd_message_receive(takeover->socket, message, sizeof *message, fds, count);
	takeover->closed = got == 0 || (got < 0 && errno == ECONNRESET);
	bool whole = got > 0 && takeover_is_message(message, got);
	if (whole && message->kind == kind)
		return true;
	while (*count)
		close(fds[--*count]);
	if (whole && message->kind == TAKEOVER_REFUSED)
		snprintf(error, error_bytes, "the running gateway refuses: %s", message->text);
	else if (got == 0)
		snprintf(error, error_bytes, "the running gateway has closed the connection");
	else if (got < 0)
		snprintf(error, error_bytes, "the running gateway does not answer: %s", strerror(errno));
	else
		snprintf(error, error_bytes, "the running gateway speaks another version of the takeover protocol");
	return false;
}

static bool ask_peer(struct takeover *takeover, enum takeover_kind word, uint64_t number, enum takeover_kind kind,
		     struct takeover_message *reply, int *fds, size_t *count, char *error, size_t error_bytes)
{
	struct takeover_message message = takeover_message(word, number);
	if (word == TAKEOVER_HELLO)
		snprintf(message.text, sizeof message.text, "%s", JITNEY_VERSION);
	*count = 0;
	/* a refusal may be there although it does not listen to us any more */
	bool sent = send_message(takeover, &message);
	return (sent || errno == EPIPE || errno == ECONNRESET) &&
	       hear_message(takeover, kind, reply, fds, count, error, error_bytes);
}

/* ---------------------------------------------------------------- the beginning */

static bool connect_to(struct takeover *takeover, const char *path, char *error, size_t error_bytes)
{
	struct sockaddr_un where = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = ANSWER_S };
	snprintf(where.sun_path, sizeof where.sun_path, "%s", path);
	takeover->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (takeover->socket < 0 ||
	    setsockopt(takeover->socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0 ||
	    setsockopt(takeover->socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) < 0 ||
	    connect(takeover->socket, (const struct sockaddr *)&where, sizeof where) < 0) {
		snprintf(error, error_bytes, "no gateway to take over from at %s: %s", path, strerror(errno));
		return false;
	}
	if (takeover_find_peer(takeover->socket, &takeover->peer)) {
		takeover->process = (int)syscall(SYS_pidfd_open, takeover->peer.pid, 0);
		takeover->died = takeover->process < 0 && errno == ESRCH;
		return true;
	}
	snprintf(error, error_bytes, "%s belongs to user %u: nothing is taken from strangers", path,
		 (unsigned)takeover->peer.uid);
	return false;
}

static void take_sockets(struct takeover *takeover, const struct takeover_message *offer, const int *fds, size_t count)
{
	if (offer->number <= TAKEOVER_DOOR && takeover->offered[offer->number] < 0)
		takeover->offered[offer->number] = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
	if (offer->number == TAKEOVER_DOOR)
		snprintf(takeover->door_path, sizeof takeover->door_path, "%.*s", TAKEOVER_PATH_BYTES - 1, offer->text);
	for (size_t i = 0; i < count; i++)
		if (offer->number < TAKEOVER_DOOR)
			listeners_inherit(takeover->listeners, fds[i], offer->text, GIVER_PREDECESSOR);
		else
			close(fds[i]);
}

static bool take_all(struct takeover *takeover, uint64_t patience_us, char *error, size_t error_bytes)
{
	struct takeover_message reply;
	int fds[FD_MESSAGE_MAX];
	size_t count;
	if (!ask_peer(takeover, TAKEOVER_HELLO, patience_us, TAKEOVER_WELCOME, &reply, fds, &count, error, error_bytes))
		return false;
	for (uint64_t n = 0, messages = reply.number; n < messages; n++) {
		if (!ask_peer(takeover, TAKEOVER_ASK, n, TAKEOVER_OFFER, &reply, fds, &count, error, error_bytes))
			return false;
		if (count)
			take_sockets(takeover, &reply, fds, count);
	}
	return true;
}

/* Whether it has ended, and does not only speak to us no more: then nobody else serves, and what it listened on is free.
 * Its end of the connection may be closed a little before all else. */
static bool has_died(const struct takeover *takeover)
{
	struct pollfd end = { .fd = takeover->process, .events = POLLIN };
	return takeover->closed && (takeover->died || (end.fd >= 0 && poll(&end, 1, ANSWER_S * 1000) > 0));
}

struct takeover *takeover_begin(const char *path, uint64_t patience_us, struct listeners *listeners, char *error,
				size_t error_bytes)
{
	struct takeover *takeover = calloc(1, sizeof *takeover);
	snprintf(error, error_bytes, "out of memory");
	if (!takeover)
		return NULL;
	takeover->listeners = listeners;
	takeover->process = takeover->socket = -1;
	for (size_t i = 0; i < countof(takeover->offered); i++)
		takeover->offered[i] = -1;
	bool connected = connect_to(takeover, path, error, error_bytes);
	bool whole = connected && take_all(takeover, patience_us, error, error_bytes);
	takeover->died = connected && !whole && has_died(takeover);
	if (whole || takeover->died)
		return takeover;
	takeover_free(takeover);
	return NULL;
}

/* ---------------------------------------------------------------- the end */

int takeover_socket(const struct takeover *takeover)
{
	return takeover->socket;
}

enum takeover_news takeover_hear(struct takeover *takeover, char *error, size_t error_bytes)
{
	struct takeover_message message;
	int fds[FD_MESSAGE_MAX];
	size_t count;
	char byte;
	ssize_t got = recv(takeover->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	if (got < 0 && errno == EAGAIN)
		return TAKEOVER_NOTHING;
	if (got <= 0)
		return TAKEOVER_DIED;
	if (hear_message(takeover, TAKEOVER_YOURS, &message, fds, &count, error, error_bytes))
		return TAKEOVER_NOTHING;
	return TAKEOVER_GIVEN_UP;
}

/* A bit for each listener that is in use here. */
static uint64_t used_bits(const struct takeover *takeover)
{
	uint64_t bits = 0;
	for (unsigned i = 0; i < TAKEOVER_DOOR; i++)
		if (takeover->offered[i] >= 0 && listeners_have(takeover->listeners, takeover->offered[i]))
			bits |= UINT64_C(1) << i;
	return bits;
}

bool takeover_is_useful(const struct takeover *takeover)
{
	return takeover->died || used_bits(takeover) != 0;
}

bool takeover_finish(struct takeover *takeover, char *error, size_t error_bytes)
{
	struct takeover_message reply;
	int fds[FD_MESSAGE_MAX];
	size_t count;
	uint64_t bits = used_bits(takeover) | (uint64_t)takeover->door_taken << TAKEOVER_DOOR;
	if (!ask_peer(takeover, TAKEOVER_READY, bits, TAKEOVER_YOURS, &reply, fds, &count, error, error_bytes))
		return false;
	service_adopt(reply.text, reply.number);
	return true;
}

pid_t takeover_predecessor(const struct takeover *takeover)
{
	return takeover->peer.pid;
}

int takeover_take_door(struct takeover *takeover, const char *path)
{
	int fd = takeover->offered[TAKEOVER_DOOR];
	if (strcmp(takeover->door_path, path) != 0)
		return -1;
	takeover->offered[TAKEOVER_DOOR] = -1;
	takeover->door_taken = fd >= 0;
	return fd;
}

void takeover_free(struct takeover *takeover)
{
	if (!takeover)
		return;
	for (size_t i = 0; i < countof(takeover->offered); i++)
		if (takeover->offered[i] >= 0)
			close(takeover->offered[i]);
	if (takeover->socket >= 0)
		close(takeover->socket);
	if (takeover->process >= 0)
		close(takeover->process);
	free(takeover);
}
