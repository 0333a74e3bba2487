/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection.c: the life of a client's connection: its phases, the absolute deadlines against drip-feeding, and
 * how its end is noticed although the library does not tell.
 */
#include <assert.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "gateway/http/client_address.h"
#include "gateway/http/http_private.h"

/* Watching a connection for its next first byte, or for its end, costs a system call each way, so only one that has
 * been in its phase for this long is watched; a drip that begins earlier is noticed with its next byte. */
#define QUIET_US (250 * CLOCK_US_PER_MS)
/* One that is quiet for so long gives its memory back. The next request on it takes that anew, which costs some page
 * faults. */
#define COLD_AFTER_US (2 * CLOCK_US_PER_S)
/* The same for a request that waits for its reply: most are answered before it pays to watch their clients. */
#define WATCH_AFTER_US (25 * CLOCK_US_PER_MS)
/* One that waits for so long gives back the memory that it does not need meanwhile. */
#define WAIT_COLD_AFTER_US (250 * CLOCK_US_PER_MS)
/* How often slow readers are looked at. */
#define SENDING_CHECK_US CLOCK_US_PER_S

void connection_enter(struct connection *connection, enum phase phase, uint64_t now_us)
{
	struct http *http = connection->http;
	TAILQ_REMOVE(&http->phases[connection->phase], connection, next);
	connection->phase = phase;
	connection->since_us = now_us;
	connection->spared = connection->spared && phase != PHASE_IDLE;
	TAILQ_INSERT_TAIL(&http->phases[phase], connection, next);
}

/* Tell us of the client's end; where the kernel will not, the phase's deadline has to do. */
static void watch_for_end(struct connection *connection)
{
	struct loop *loop = connection->http->loop;
	loop_unwatch(loop, &connection->watch);
	if (!loop_watch(loop, &connection->watch, connection->fd, EPOLLRDHUP | EPOLLONESHOT))
		connection->watch.fd = -1;
}

static void begin_head(struct connection *connection, uint64_t now_us)
{
	watch_for_end(connection);
	connection_enter(connection, PHASE_HEAD, now_us);
}

static void cut_connection(struct connection *connection, uint64_t now_us)
{
	if (!connection->daemon) {
		door_close(connection);
		return;
	}
	loop_unwatch(connection->http->loop, &connection->watch); /* this end is ours */
	connection_enter(connection, PHASE_CUT, now_us);
	shutdown(connection->fd, SHUT_RDWR); /* the library sees the end and closes */
	daemon_run_soon(connection->daemon);
}

/* Whether it is between two requests, and watched. */
static bool is_quiet(const struct connection *connection)
{
	return connection->phase == PHASE_IDLE_WATCHED || connection->phase == PHASE_IDLE_COLD;
}

/* The watched descriptor stirred: a dozing connection begins a head, or the client leaves. */
static void connection_stirred(struct loop_watch *watch, uint32_t events)
{
	struct connection *connection = container_of(watch, struct connection, watch);
	struct http *http = connection->http;
	bool left = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
	loop_unwatch(http->loop, watch);
	struct http_request *http_request = connection->http_request;
	if (http_request && http_request->suspended) {
		if (left && http_request->state != STATE_GONE)
			http_request_left(http_request);
	} else if (left) {
		/* The library reads on edges and can miss an end that came together with bytes: this makes another
		 * edge. What has been received can still be read, so a request sent before the end is served. */
		shutdown(connection->fd, SHUT_RD);
		daemon_run_soon(connection->daemon);
		/* That edge is missed as well if the bytes are read after it: see cut_overdue. */
		connection_enter(connection, PHASE_LEFT, loop_now(http->loop));
	} else if (is_quiet(connection) && door_refuses_next(connection)) {
		cut_connection(connection, loop_now(http->loop));
	} else if (is_quiet(connection)) {
		begin_head(connection, loop_now(http->loop));
	}
}

static _Atomic uint64_t connection_numbers = 1; /* a: over all workers, so that a number names one caller */

struct connection *connection_new(struct http *http, int fd, const struct sockaddr_in6 *peer)
{
	struct connection *connection = calloc(1, sizeof *connection);
	if (!connection)
		return NULL;
	connection->http = http;
	connection->fd = fd;
	connection->number = atomic_fetch_add_explicit(&connection_numbers, 1, memory_order_relaxed);
	connection->peer = *peer;
	connection->from_trusted_proxy = client_is_proxy(http->settings, (const struct sockaddr *)peer);
	connection->watch.fd = -1;
	connection->phase = PHASE_ARRIVED;
	connection->since_us = loop_now(http->loop);
	TAILQ_INSERT_TAIL(&http->phases[PHASE_ARRIVED], connection, next);
	meter_add(http->meter, METRIC_ID_CONNECTIONS_TOTAL, 0, 0, 1);
	meter_move(http->meter, METRIC_ID_CONNECTIONS, 0, 0, 1);
	if (peer->sin6_family != AF_UNIX) {
		int on = 1; /* answers are written whole: waiting to fill a segment only delays them */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	}
	return connection;
}

void connections_use_settings(struct http *http)
{
	struct connection *connection;
	for (int phase = 0; phase < PHASE_COUNT; phase++)
		TAILQ_FOREACH (connection, &http->phases[phase], next)
			connection->from_trusted_proxy =
				client_is_proxy(http->settings, (const struct sockaddr *)&connection->peer);
}

void connection_free(struct connection *connection)
{
	struct http *http = connection->http;
	TAILQ_REMOVE(&http->phases[connection->phase], connection, next);
	free(connection);
	atomic_fetch_sub_explicit(http->places, 1, memory_order_relaxed);
	meter_move(http->meter, METRIC_ID_CONNECTIONS, 0, 0, -1);
}

void connection_notify(void *context, struct MHD_Connection *mhd, void **socket_context,
		       enum MHD_ConnectionNotificationCode code)
{
	struct http *http = context;
	struct connection *connection = *socket_context;
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		assert(http->handed);
		*socket_context = http->handed;
		http->handed->watch = (struct loop_watch){ connection_stirred, -1 };
		http->handed = NULL;
		return;
	}
	loop_unwatch(http->loop, &connection->watch);
	/* The library is to tell of a request's end first. Where it fails twice at one head (0.9.75: more arguments than
	 * its memory has records for, and more lines after them) it does not. */
	void *untold = connection->http_request;
	if (untold)
		request_completed(http, mhd, &untold, MHD_REQUEST_TERMINATED_WITH_ERROR);
	daemon_let_go(connection->daemon);
	connection_free(connection);
}

/* A connection quiet since it was last answered: watch it for its next head. */
static void watch_idle(struct connection *connection, uint64_t now_us)
{
	/* one whose next head has begun already (and which the library may have given up without a word, for want of
	 * memory), and one that cannot be watched, are held to the tighter deadline */
	if (!connection->http_request &&
	    loop_watch(connection->http->loop, &connection->watch, connection->fd, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT))
		connection_enter(connection, PHASE_IDLE_WATCHED, now_us);
	else
		begin_head(connection, now_us);
}

/* It stays as old as it is. What the library may have read of a next head is left to it. */
static void cool_down(struct connection *connection)
{
	if (door_is_between_requests(connection))
		daemon_give_memory_back(connection);
	connection_enter(connection, PHASE_IDLE_COLD, connection->since_us);
}

/* Its request waits on. */
static void cool_wait(struct connection *connection)
{
	daemon_give_memory_back(connection);
	connection_enter(connection, PHASE_WATCHING_COLD, connection->since_us);
}

static void slow_down(struct connection *connection, uint64_t now_us)
{
	watch_for_end(connection);
	connection_enter(connection, PHASE_SLOW_BODY, now_us);
}

/* How much is left of a limit for a phase that begins when the one before it has been quiet for long enough. */
static uint64_t after_quiet(uint64_t limit_us)
{
	return limit_us > QUIET_US ? limit_us - QUIET_US : 0;
}

/* Whether it has bytes that nobody has looked at: it is the gateway that was late, then (it was stopped, or the machine is
 * busy). Once a request: who drips shall not live on it. */
static bool is_unread(const struct connection *connection)
{
	int bytes = 0;
	return connection->daemon && !connection->spared && ioctl(connection->fd, FIONREAD, &bytes) == 0 && bytes > 0;
}

/* How long a connection may be without a request. */
static uint64_t idle_limit_us(const struct http *http)
{
	uint64_t limit_us = http->settings->idle_timeout_us;
	return http->idle_most_us && http->idle_most_us < limit_us ? http->idle_most_us : limit_us;
}

/* Cut off the connections of a phase that have been in it for longer than `limit_us`; REJECT_REASON_COUNT: that is
 * nothing to be counted. */
static void cut_overdue(struct http *http, enum phase phase, uint64_t limit_us, enum reject_reason reason,
			uint64_t now_us)
{
	struct connection *connection;
	while ((connection = TAILQ_FIRST(&http->phases[phase])) &&
	       clock_add(connection->since_us, limit_us) <= now_us) {
		if (is_unread(connection)) {
			connection->spared = true;
			daemon_run_soon(connection->daemon);
			connection_enter(connection, phase, now_us);
			continue;
		}
		if (!connection->daemon && (door_serves(connection) || connection->phase != phase))
			continue; /* likewise */
		if (reason != REJECT_REASON_COUNT)
			meter_add(http->meter, METRIC_ID_REJECTED, reason, 0, 1);
		cut_connection(connection, now_us);
	}
}

/* No reply for a while: from now on its client's end is noticed at once. A reply for a while: it is a slow reader's. */
static void served_for_long(struct connection *connection, uint64_t now_us)
{
	struct http_request *http_request = connection->http_request;
	if (http_request && http_request->suspended) {
		watch_for_end(connection);
		connection_enter(connection, PHASE_WATCHING_CLIENT, now_us);
		return;
	}
	if (http_request)
		http_request->sending_from = http_request->stream_taken;
	connection_enter(connection, PHASE_SENDING, now_us);
}

/* Whether a reply is taken too slowly: limits.send_rate, after limits.body_timeout. Of a stream what has been taken so
 * far counts; of another reply nothing is known until all of it has been, and all of it counts. */
static bool is_overdue(const struct connection *connection, uint64_t now_us)
{
	const struct http_settings *settings = connection->http->settings;
	const struct http_request *http_request = connection->http_request;
	uint64_t us = now_us - connection->since_us;
	if (us <= settings->body_timeout_us)
		return false;
	uint64_t bytes = 0;
	if (http_request)
		bytes = http_request->streaming ? http_request->stream_taken - http_request->sending_from
						: http_request->reply_bytes;
	return (double)bytes < (double)settings->send_rate * (double)(us - settings->body_timeout_us) / CLOCK_US_PER_S;
}

/* Each has a deadline of its own, so all are looked at, but not often: there are few. */
static void cut_slow_readers(struct http *http, uint64_t now_us)
{
	struct connection *connection = TAILQ_FIRST(&http->phases[PHASE_SENDING]), *behind;
	if (!connection || http->sending_check_us > now_us)
		return;
	http->sending_check_us = clock_add(now_us, SENDING_CHECK_US);
	for (; connection; connection = behind) {
		behind = TAILQ_NEXT(connection, next);
		if (is_overdue(connection, now_us)) {
			meter_add(http->meter, METRIC_ID_REJECTED, REJECT_SEND_TIMEOUT, 0, 1);
			cut_connection(connection, now_us);
		}
	}
}

void connections_turn(struct http *http, uint64_t now_us)
{
	struct connection *connection;
	uint64_t due_us = http->connections_due_us;
	http->connections_due_us = 0;
	if (now_us < due_us)
		return;
	while ((connection = TAILQ_FIRST(&http->phases[PHASE_IDLE])) &&
	       clock_add(connection->since_us, QUIET_US) <= now_us)
		watch_idle(connection, now_us);
	while ((connection = TAILQ_FIRST(&http->phases[PHASE_IDLE_WATCHED])) &&
	       clock_add(connection->since_us, COLD_AFTER_US) <= now_us)
		cool_down(connection);
	while ((connection = TAILQ_FIRST(&http->phases[PHASE_BODY])) &&
	       clock_add(connection->since_us, QUIET_US) <= now_us)
		slow_down(connection, now_us);
	while ((connection = TAILQ_FIRST(&http->phases[PHASE_PROCESSING])) &&
	       clock_add(connection->since_us, WATCH_AFTER_US) <= now_us)
		served_for_long(connection, now_us);
	while ((connection = TAILQ_FIRST(&http->phases[PHASE_WATCHING_CLIENT])) &&
	       clock_add(connection->since_us, WAIT_COLD_AFTER_US) <= now_us)
		cool_wait(connection);
	const struct http_settings *settings = http->settings;
	cut_overdue(http, PHASE_ARRIVED, settings->header_timeout_us, REJECT_HEAD_TIMEOUT, now_us);
	cut_overdue(http, PHASE_HEAD, settings->header_timeout_us, REJECT_HEAD_TIMEOUT, now_us);
	cut_overdue(http, PHASE_SLOW_BODY, after_quiet(settings->body_timeout_us), REJECT_BODY_TIMEOUT, now_us);
	cut_overdue(http, PHASE_IDLE_WATCHED, after_quiet(idle_limit_us(http)), REJECT_REASON_COUNT, now_us);
	cut_overdue(http, PHASE_IDLE_COLD, after_quiet(idle_limit_us(http)), REJECT_REASON_COUNT, now_us);
	/* clients that have left, whose last bytes made no whole request and whose end the library has missed */
	cut_overdue(http, PHASE_LEFT, QUIET_US, REJECT_REASON_COUNT, now_us);
	cut_slow_readers(http, now_us);
}

/* The earlier one of `us` and when the oldest connection of a phase has been in it for `limit_us`. */
static inline uint64_t earlier_of(uint64_t us, const struct http *http, enum phase phase, uint64_t limit_us)
{
	const struct connection *first = TAILQ_FIRST(&http->phases[phase]);
	if (!first)
		return us;
	uint64_t due_us = clock_add(first->since_us, limit_us);
	return due_us < us ? due_us : us;
}

uint64_t connections_deadline(struct http *http)
{
	const struct http_settings *settings = http->settings;
	uint64_t idle_us = after_quiet(idle_limit_us(http));
	uint64_t us = TAILQ_EMPTY(&http->phases[PHASE_SENDING]) ? CLOCK_NEVER : http->sending_check_us;
	us = earlier_of(us, http, PHASE_IDLE, QUIET_US);
	us = earlier_of(us, http, PHASE_BODY, QUIET_US);
	us = earlier_of(us, http, PHASE_PROCESSING, WATCH_AFTER_US);
	us = earlier_of(us, http, PHASE_WATCHING_CLIENT, WAIT_COLD_AFTER_US);
	us = earlier_of(us, http, PHASE_ARRIVED, settings->header_timeout_us);
	us = earlier_of(us, http, PHASE_HEAD, settings->header_timeout_us);
	us = earlier_of(us, http, PHASE_SLOW_BODY, after_quiet(settings->body_timeout_us));
	us = earlier_of(us, http, PHASE_IDLE_WATCHED, idle_us < COLD_AFTER_US ? idle_us : COLD_AFTER_US);
	us = earlier_of(us, http, PHASE_IDLE_COLD, idle_us);
	us = earlier_of(us, http, PHASE_LEFT, QUIET_US);
	return http->connections_due_us = us;
}
