/*
 * connection.c: the life of a client's connection: its phases, the absolute deadlines against drip-feeding, and
 * how its end is noticed although the library does not tell.
 */
#include <linux/tcp.h> /* glibc's own tcp_info ends before tcpi_bytes_received */
#include <stdlib.h>
#include <sys/socket.h>

#include "gateway/config/config.h"
#include "gateway/http/http_private.h"

/* Watching a connection for its next first byte, or for its end, costs a system call each way, so only one that has
 * been in its phase for this long is watched; a drip that begins earlier is noticed with its next byte. */
#define QUIET_US (250 * CLOCK_US_PER_MS)
/* The same for a request that waits for its reply: most are answered before it pays to watch their clients. */
#define WATCH_AFTER_US (25 * CLOCK_US_PER_MS)

void connection_enter(struct connection *connection, enum phase phase, uint64_t now_us)
{
	struct http *http = connection->http;
	TAILQ_REMOVE(&http->phases[connection->phase], connection, next);
	connection->phase = phase;
	connection->since_us = now_us;
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

/* The watched descriptor stirred: a dozing connection begins a head, or the client leaves. */
static void connection_stirred(struct loop_watch *watch, uint32_t events)
{
	struct connection *connection = container_of(watch, struct connection, watch);
	struct http *http = connection->http;
	bool left = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
	loop_unwatch(http->loop, watch);
	if (connection->waiting) {
		if (left)
			waiting_left(connection->waiting);
	} else if (left) {
		/* The library reads on edges and can miss an end that came together with bytes: this makes another
		 * edge. What has been received can still be read, so a request sent before the end is served. */
		shutdown(connection->fd, SHUT_RD);
		http->run_due = true;
		/* That edge is missed as well if the bytes are read after it: see cut_left. */
		connection_enter(connection, PHASE_LEFT, loop_now(http->loop));
	} else if (connection->phase == PHASE_DOZING) {
		begin_head(connection, loop_now(http->loop));
	}
}

static bool peer_is_trusted(const struct http_settings *settings, const struct sockaddr *peer)
{
	struct in6_addr address;
	if (!peer)
		return false; /* who is not known is not trusted */
	if (peer->sa_family == AF_UNIX)
		return true; /* who may open the socket's file is the operator's choice */
	if (peer->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)peer;
		memset(&address, 0, sizeof address);
		address.s6_addr[10] = address.s6_addr[11] = 0xff;
		memcpy(address.s6_addr + 12, &in->sin_addr, 4);
	} else if (peer->sa_family == AF_INET6) {
		address = ((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr;
	} else {
		return false;
	}
	for (size_t i = 0; i < settings->trusted_proxy_count; i++) {
		const struct network *network = &settings->trusted_proxies[i];
		unsigned whole = network->bits / 8, rest = network->bits % 8;
		unsigned char mask = (unsigned char)(0xff00 >> rest);
		if (memcmp(&address, &network->address, whole) == 0 &&
		    (rest == 0 || ((address.s6_addr[whole] ^ network->address.s6_addr[whole]) & mask) == 0))
			return true;
	}
	return false;
}

static _Atomic uint64_t connection_numbers = 1; /* a: over all workers, so that a number names one caller */

static void connection_opened(struct http *http, struct MHD_Connection *mhd, void **socket_context)
{
	struct connection *connection = calloc(1, sizeof *connection);
	*socket_context = connection;
	if (!connection)
		return; /* its first request is refused: see first_line in http.c */
	/* From libmicrohttpd 1.0 on each answer lies where the one before it lay: read it before the next question. */
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const struct sockaddr *peer = info ? info->client_addr : NULL;
	connection->http = http;
	connection->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	connection->number = atomic_fetch_add_explicit(&connection_numbers, 1, memory_order_relaxed);
	connection->from_trusted_proxy = peer_is_trusted(http->settings, peer);
	connection->watch = (struct loop_watch){ connection_stirred, -1 };
	connection->phase = PHASE_IDLE;
	connection->since_us = loop_now(http->loop);
	TAILQ_INSERT_TAIL(&http->phases[PHASE_IDLE], connection, next);
	connection->surplus = atomic_fetch_add_explicit(&http->shared->connections, 1, memory_order_relaxed) >=
			      http->settings->connections;
	meter_add(http->meter, METRIC_ID_CONNECTIONS_TOTAL, 0, 0, 1);
	meter_move(http->meter, METRIC_ID_CONNECTIONS, 0, 0, 1);
	if (peer && peer->sa_family != AF_UNIX) {
		int on = 1; /* answers are written whole: waiting to fill a segment only delays them */
		setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	}
}

static void connection_closed(struct http *http, struct connection *connection)
{
	/* At its limit, or out of descriptors, the library listens again only at the start of its next run. */
	http->run_due = true;
	if (!connection)
		return;
	loop_unwatch(http->loop, &connection->watch);
	TAILQ_REMOVE(&http->phases[connection->phase], connection, next);
	free(connection);
	atomic_fetch_sub_explicit(&http->shared->connections, 1, memory_order_relaxed);
	meter_move(http->meter, METRIC_ID_CONNECTIONS, 0, 0, -1);
}

void connection_notify(void *context, struct MHD_Connection *mhd, void **socket_context,
		       enum MHD_ConnectionNotificationCode code)
{
	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		connection_opened(context, mhd, socket_context);
	else
		connection_closed(context, *socket_context);
}

/* A connection quiet since it was opened or last answered: has a head begun meanwhile? If the kernel can tell, for a
 * new connection it has as soon as any byte came. */
static void doze(struct connection *connection, uint64_t now_us)
{
	struct http *http = connection->http;
	struct tcp_info info;
	socklen_t size = sizeof info;
	bool begun = !connection->answered_before &&
		     getsockopt(connection->fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
		     size >= offsetof(struct tcp_info, tcpi_segs_out) && info.tcpi_bytes_received > 0;
	/* one that cannot be watched is held to the tighter deadline */
	if (begun || !loop_watch(http->loop, &connection->watch, connection->fd, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT))
		begin_head(connection, now_us);
	else
		connection_enter(connection, PHASE_DOZING, now_us);
}

static void slow_down(struct connection *connection, uint64_t now_us)
{
	watch_for_end(connection);
	connection_enter(connection, PHASE_SLOW_BODY, now_us);
}

/* How long a body may still take once it is slow. */
static uint64_t slow_body_us(const struct http *http)
{
	uint64_t limit = http->settings->body_timeout_us;
	return limit > QUIET_US ? limit - QUIET_US : 0;
}

/* Cut off the connections of a phase that have been in it for longer than `limit_us`. */
static void cut_overdue(struct http *http, enum phase phase, uint64_t limit_us, enum reject_reason reason,
			uint64_t now_us)
{
	struct connection *connection;
	while ((connection = TAILQ_FIRST(&http->phases[phase])) &&
	       clock_add(connection->since_us, limit_us) <= now_us) {
		meter_add(http->meter, METRIC_ID_REJECTED, reason, 0, 1);
		connection_enter(connection, PHASE_CUT, now_us);
		shutdown(connection->fd, SHUT_RDWR); /* the library sees the end and closes */
		http->run_due = true;
	}
}

/* Clients that have left, whose last bytes made no whole request and whose end the library has missed. */
static void cut_left(struct http *http, uint64_t now_us)
{
	struct connection *connection;
	while ((connection = TAILQ_FIRST(&http->phases[PHASE_LEFT])) &&
	       clock_add(connection->since_us, QUIET_US) <= now_us) {
		connection_enter(connection, PHASE_CUT, now_us);
		shutdown(connection->fd, SHUT_RDWR);
		http->run_due = true;
	}
}

/* No reply for a while: from now on its client's end is noticed at once. */
static void begin_watching(struct connection *connection, uint64_t now_us)
{
	if (connection->waiting)
		watch_for_end(connection);
	connection_enter(connection, PHASE_WATCHED, now_us);
}

void connections_turn(struct http *http, uint64_t now_us)
{
	struct connection *connection;
	while ((connection = TAILQ_FIRST(&http->phases[PHASE_IDLE])) &&
	       clock_add(connection->since_us, QUIET_US) <= now_us)
		doze(connection, now_us);
	while ((connection = TAILQ_FIRST(&http->phases[PHASE_BODY])) &&
	       clock_add(connection->since_us, QUIET_US) <= now_us)
		slow_down(connection, now_us);
	while ((connection = TAILQ_FIRST(&http->phases[PHASE_SERVED])) &&
	       clock_add(connection->since_us, WATCH_AFTER_US) <= now_us)
		begin_watching(connection, now_us);
	cut_overdue(http, PHASE_HEAD, http->settings->header_timeout_us, REJECT_HEAD_TIMEOUT, now_us);
	cut_overdue(http, PHASE_SLOW_BODY, slow_body_us(http), REJECT_BODY_TIMEOUT, now_us);
	cut_left(http, now_us);
}

uint64_t connections_deadline(const struct http *http)
{
	const struct {
		enum phase phase;
		uint64_t limit_us;
	} limits[] = {
		{ PHASE_IDLE, QUIET_US },         { PHASE_HEAD, http->settings->header_timeout_us },
		{ PHASE_BODY, QUIET_US },         { PHASE_SLOW_BODY, slow_body_us(http) },
		{ PHASE_SERVED, WATCH_AFTER_US }, { PHASE_LEFT, QUIET_US },
	};
	uint64_t deadline = CLOCK_NEVER;
	for (size_t i = 0; i < countof(limits); i++) {
		const struct connection *first = TAILQ_FIRST(&http->phases[limits[i].phase]);
		uint64_t due = first ? clock_add(first->since_us, limits[i].limit_us) : CLOCK_NEVER;
		deadline = due < deadline ? due : deadline;
	}
	return deadline;
}
