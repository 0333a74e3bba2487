/* SPDX-License-Identifier: Apache-2.0 */
/*
 * accept.c: the listening socket and the door. Connections are accepted by us, a bounded number a turn, counted, and
 * kept here until their first head has come: a silent or dripping one costs no memory of the library, and a head that
 * the library would refuse in its own way is refused in ours. Then the library gets the socket (daemon.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/log.h"
#include "gateway/http/http_private.h"
#include "gateway/http/listen.h"

enum { ACCEPTS_A_TURN = 64, DROPS = 64 /* of a head's length */ };
#define PAUSE_US (100 * CLOCK_US_PER_MS)             /* without even the spare descriptor */
#define SPELL_GAP_US (10 * CLOCK_US_PER_S)           /* a lack after so long without is a new one, and told again */
#define DOOR_EVENTS (EPOLLIN | EPOLLRDHUP | EPOLLET) /* what came is only looked at: it stays readable */

/* Who gets no place is told so whatever it wants; nothing of it is read. */
static void turn_away(struct http *http, int fd)
{
	char id[REQUEST_ID_BYTES], problem[512], text[1024];
	request_id_new(http, id);
	int bytes = snprintf(problem, sizeof problem,
			     "{\"type\":\"urn:jitney:problem:overloaded\",\"title\":\"The gateway is at its limit\","
			     "\"status\":503,\"detail\":\"The gateway has as many connections as limits.connections "
			     "allows.\",\"code\":\"overloaded\",\"request_id\":\"%s\",\"retryable\":true}",
			     id);
	int len = snprintf(text, sizeof text,
			   "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
			   "Content-Length: %d\r\nX-Request-Id: %s\r\nRetry-After: 1\r\nConnection: close\r\n\r\n%s",
			   bytes, id, problem);
	ssize_t sent = send(fd, text, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)sent; /* a new connection has room for it */
	shutdown(fd, SHUT_WR);
	linger_take(http, fd);
}

/* ---------------------------------------------------------------- the door */

void door_close(struct connection *connection)
{
	loop_unwatch(connection->http->loop, &connection->watch);
	close(connection->fd);
	connection_free(connection);
}

static void refuse_head(struct connection *connection, struct http_request *http_request,
			const struct guard_decision *decision)
{
	struct http *http = connection->http;
	http_request->connection = connection;
	http_request_refuse_past_library(http_request, decision);
	loop_unwatch(http->loop, &connection->watch);
	shutdown(connection->fd, SHUT_WR);
	linger_take(http, connection->fd);
	connection_free(connection);
	request_recycle(http, http_request);
}

static void hand_over(struct connection *connection)
{
	struct http *http = connection->http;
	loop_unwatch(http->loop, &connection->watch);
	if (!daemon_hand_over(connection))
		meter_add(http->meter, METRIC_ID_REJECTED, REJECT_NO_MEMORY, 0, 1);
}

/* What the guard, and the library's memory, say of the bytes that have come. False: they are no whole head yet. */
static bool decide_on_head(struct connection *connection, struct http_request *http_request, struct slice bytes,
			   struct guard_decision *decision)
{
	const struct http *http = connection->http;
	struct guard_head head = { 0 };
	bool whole = guard_bytes(bytes, &http_request->request, http->settings->tenant_header,
				 http->settings->header_bytes, &head, decision);
	if (whole && decision->outcome == OUTCOME_OK && !daemon_has_memory(http, connection, &head))
		*decision = too_many_headers;
	return whole;
}

/* Look at the bytes that have come. False: they are no whole head yet. */
static bool evaluate_head(struct connection *connection, struct slice bytes)
{
	struct http *http = connection->http;
	struct http_request *http_request = request_new(http);
	struct guard_decision decision;
	if (!http_request) {
		meter_add(http->meter, METRIC_ID_REJECTED, REJECT_NO_MEMORY, 0, 1);
		door_close(connection);
		return true;
	}
	bool whole = decide_on_head(connection, http_request, bytes, &decision);
	if (whole && decision.outcome != OUTCOME_OK) {
		refuse_head(connection, http_request, &decision);
		return true;
	}
	request_recycle(http, http_request);
	if (whole)
		hand_over(connection);
	return whole;
}

static ssize_t peek_at(const struct connection *connection)
{
	const struct http *http = connection->http;
	return recv(connection->fd, http->peeked, http->peeked_bytes, MSG_PEEK | MSG_DONTWAIT);
}

/* So that the library does not read it, and the kernel does not reset what we have said for the sake of bytes that
 * nobody has read. */
static void drop_unread(const struct connection *connection)
{
	const struct http *http = connection->http;
	for (int i = 0; i < DROPS; i++)
		if (recv(connection->fd, http->peeked, http->peeked_bytes, MSG_DONTWAIT) <= 0)
			return;
}

/* Of a TCP connection the kernel says what has been read. Of a unix socket it says at which byte a peek would begin, which
 * is fewer the more has been read since we said so (socket(7), SO_PEEK_OFF): from PEEKS_FROM on, less what had been read. */
enum { PEEKS_FROM = INT_MAX };

static void set_peek_offset(const struct connection *connection, int offset)
{
	if (connection->peer.sin6_family == AF_UNIX)
		setsockopt(connection->fd, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset);
}

void door_count_reads(const struct connection *connection)
{
	bool countable = connection->consumed < PEEKS_FROM;
	set_peek_offset(connection, countable ? PEEKS_FROM - (int)connection->consumed : -1);
}

/* How many bytes the library has read. False: nobody knows. */
static bool count_read(const struct connection *connection, uint64_t *bytes)
{
	struct tcp_info info = { 0 };
	socklen_t size = sizeof info, offset_size = sizeof(int);
	int unread = 0, offset = 0;
	if (connection->peer.sin6_family == AF_UNIX) {
		bool known =
			getsockopt(connection->fd, SOL_SOCKET, SO_PEEK_OFF, &offset, &offset_size) == 0 && offset > 0;
		*bytes = (uint64_t)(PEEKS_FROM - offset);
		return known;
	}
	if (getsockopt(connection->fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0 ||
	    ioctl(connection->fd, FIONREAD, &unread) < 0)
		return false;
	*bytes = info.tcpi_bytes_received - (uint64_t)unread;
	return true;
}

bool door_is_between_requests(const struct connection *connection)
{
	uint64_t bytes;
	return !connection->chunked && count_read(connection, &bytes) && bytes == connection->consumed;
}

/* What the library has not read of a connection between two requests. */
static ssize_t peek_at_next(const struct connection *connection)
{
	set_peek_offset(connection, -1);
	ssize_t got = peek_at(connection);
	door_count_reads(connection);
	return got;
}

bool door_refuses_next(struct connection *connection)
{
	struct http *http = connection->http;
	struct guard_decision decision;
	ssize_t got = door_is_between_requests(connection) ? peek_at_next(connection) : 0;
	struct http_request *http_request = got > 0 ? request_new(http) : NULL;
	if (!http_request)
		return false;
	bool refused =
		decide_on_head(connection, http_request, (struct slice){ http->peeked, (size_t)got }, &decision) &&
		decision.outcome != OUTCOME_OK;
	if (refused) {
		http_request->connection = connection;
		http_request_refuse_past_library(http_request, &decision);
		drop_unread(connection);
	}
	request_recycle(http, http_request);
	return refused;
}

/* Whether the connection still stands at the door. `ended`: the client sends no more. */
static bool look_at(struct connection *connection, bool ended)
{
	struct http *http = connection->http;
	ssize_t got = peek_at(connection);
	if (got > 0 && evaluate_head(connection, (struct slice){ http->peeked, (size_t)got }))
		return false;
	if (ended || got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
		door_close(connection);
		return false;
	}
	if (got > 0 && connection->phase == PHASE_ARRIVED)
		connection_enter(connection, PHASE_HEAD, loop_now(http->loop));
	return true;
}

bool door_serves(struct connection *connection)
{
	return !look_at(connection, false);
}

static void door_stirred(struct loop_watch *watch, uint32_t events)
{
	look_at(container_of(watch, struct connection, watch), events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
}

/* ---------------------------------------------------------------- the listening socket */

static void take_connection(struct http *http, int fd, const struct sockaddr_in6 *peer)
{
	size_t limit = http->admin ? HTTP_ADMIN_CONNECTIONS : http->settings->connections;
	if (atomic_fetch_add_explicit(http->places, 1, memory_order_relaxed) >= limit) {
		atomic_fetch_sub_explicit(http->places, 1, memory_order_relaxed);
		meter_add(http->meter, METRIC_ID_REJECTED, REJECT_CONNECTIONS, 0, 1);
		turn_away(http, fd);
		return;
	}
	struct connection *connection = connection_new(http, fd, peer);
	if (!connection) {
		atomic_fetch_sub_explicit(http->places, 1, memory_order_relaxed);
		meter_add(http->meter, METRIC_ID_REJECTED, REJECT_NO_MEMORY, 0, 1);
		close(fd);
		return;
	}
	connection->watch = (struct loop_watch){ door_stirred, -1 };
	if (look_at(connection, false) && !loop_watch(http->loop, &connection->watch, fd, DOOR_EVENTS)) {
		meter_add(http->meter, METRIC_ID_REJECTED, REJECT_NO_MEMORY, 0, 1);
		door_close(connection);
	}
}

static int accept_one(struct http *http, struct sockaddr_in6 *peer)
{
	socklen_t bytes = sizeof *peer;
	memset(peer, 0, sizeof *peer);
	return accept4(http->listen_fd, (struct sockaddr *)peer, &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static void pause_accepting(struct http *http)
{
	loop_unwatch(http->loop, &http->listener);
	http->paused_until_us = clock_add(loop_now(http->loop), PAUSE_US);
}

static bool have_spare(struct http *http)
{
	if (http->spare_fd < 0)
		http->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return http->spare_fd >= 0;
}

static void report_shortage(struct http *http)
{
	uint64_t now_us = loop_now(http->loop);
	if (!http->starved_us || http->starved_us + SPELL_GAP_US <= now_us)
		log_message(&EVENT_OUT_OF_DESCRIPTORS,
			    "%s: new connections are turned away until there are descriptors again; raise the limit on "
			    "open files, or lower limits.connections",
			    strerror(errno));
	http->starved_us = now_us;
}

/* No descriptor for a connection that waits: it is accepted with the spare one and turned away, since a listening
 * socket that is left alone stays readable and keeps the loop busy. False: not even that is possible. */
static bool accept_with_spare(struct http *http)
{
	struct sockaddr_in6 peer;
	report_shortage(http);
	if (!have_spare(http))
		return false;
	close(http->spare_fd);
	http->spare_fd = -1;
	int fd = accept_one(http, &peer);
	bool accepted = fd >= 0, none = !accepted && errno == EAGAIN;
	if (accepted) {
		meter_add(http->meter, METRIC_ID_REJECTED, REJECT_DESCRIPTORS, 0, 1);
		close(fd);
	}
	have_spare(http); /* another thread may have been quicker: accept_turn tries again */
	return accepted || none;
}

static void accept_some(struct loop_watch *watch, uint32_t events)
{
	struct http *http = container_of(watch, struct http, listener);
	struct sockaddr_in6 peer;
	(void)events;
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		int fd = accept_one(http, &peer);
		if (fd >= 0) {
			take_connection(http, fd, &peer);
		} else if (errno == EAGAIN || errno == EINVAL || errno == EBADF) {
			return; /* none waits; or another worker that shares it, a unix socket, has shut it down */
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			if (!accept_with_spare(http)) {
				pause_accepting(http);
				return;
			}
		}
		/* else that client has left again, or was refused by a firewall: the next */
	}
}

bool accept_make_room(struct http *http)
{
	size_t wanted = http->settings->header_bytes + 1;
	char *room = wanted > http->peeked_bytes ? realloc(http->peeked, wanted) : http->peeked;
	if (!room)
		return false;
	http->peeked = room;
	http->peeked_bytes = wanted > http->peeked_bytes ? wanted : http->peeked_bytes;
	return true;
}

bool accept_start(struct http *http, int listen_fd, char *error, size_t error_bytes)
{
	http->listen_fd = listen_fd;
	http->listener = (struct loop_watch){ accept_some, -1 };
	http->paused_until_us = CLOCK_NEVER;
	http->spare_fd = -1;
	if (accept_make_room(http) && have_spare(http))
		return true;
	snprintf(error, error_bytes, "out of memory or descriptors: %m");
	accept_stop(http);
	return false;
}

void accept_begin(struct http *http)
{
	http->paused_until_us = 0;
}

/* False: not now. A socket that listens already is none the worse for it. */
static bool watch_listener(struct http *http)
{
	return listen_now(http->listen_fd) && loop_watch(http->loop, &http->listener, http->listen_fd, EPOLLIN);
}

void accept_turn(struct http *http, uint64_t now_us)
{
	if (http->spare_fd < 0)
		have_spare(http);
	if (http->paused_until_us > now_us)
		return;
	http->paused_until_us = CLOCK_NEVER;
	if (!http->draining && !watch_listener(http))
		http->paused_until_us = clock_add(now_us, PAUSE_US);
}

uint64_t accept_deadline(const struct http *http)
{
	return http->paused_until_us;
}

void accept_drain(struct http *http, bool shared)
{
	for (int i = 0; !shared && i < BACKLOG / ACCEPTS_A_TURN; i++)
		accept_some(&http->listener, EPOLLIN);
	loop_unwatch(http->loop, &http->listener);
	http->paused_until_us = CLOCK_NEVER;
	/* Not shut down: that would be the end of a socket that another process, or worker, listens on too. */
	close(http->listen_fd);
	http->listen_fd = -1;
}

void accept_stop(struct http *http)
{
	static const enum phase phases[] = { PHASE_ARRIVED, PHASE_HEAD };
	loop_unwatch(http->loop, &http->listener);
	for (size_t i = 0; i < countof(phases); i++) {
		struct connection *connection = TAILQ_FIRST(&http->phases[phases[i]]), *behind;
		for (; connection; connection = behind) {
			behind = TAILQ_NEXT(connection, next);
			if (!connection->daemon)
				door_close(connection);
		}
	}
	if (http->listen_fd >= 0)
		close(http->listen_fd);
	if (http->spare_fd >= 0)
		close(http->spare_fd);
	free(http->peeked);
	http->listen_fd = http->spare_fd = -1;
	http->peeked = NULL;
}
