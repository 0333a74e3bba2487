/*
 * http.c: one libmicrohttpd daemon on a worker's loop. The life of a connection (its phases and their deadlines) comes
 * first, then the life of a request, then replies, then the daemon. The guard is in http_guard.c.
 *
 *   connection:  IDLE --(quiet for a while)--> DOZING --(a byte)--> HEAD --(whole head)--> BODY --(whole body)--> SERVED
 *                  ^                                                              (after a while: SLOW_BODY)       |
 *                  +------------------ reply sent ------------------ (after a while without a reply: WATCHED) -----+
 *                DOZING, HEAD, SLOW_BODY --(the client leaves)--> LEFT --(nothing whole came)--> CUT
 *   request:     READING -> SERVING -> ANSWERED                     (replied from within the handler)
 *                           SERVING -> SUSPENDED -> ANSWERED        (later; resumed with the others once a turn)
 *                                      SUSPENDED -> GONE            (the client left: closed without a reply)
 */
#include "gateway/http.h"

#include <assert.h>
#include <microhttpd.h>
#include <linux/tcp.h> /* glibc's own tcp_info ends before tcpi_bytes_received */
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/config.h"
#include "gateway/http_guard.h"

enum {
	STREAM_BLOCK_BYTES = 16384,
	STREAM_MAX_BYTES = 64 << 20, /* pieces a slow reader may leave unread */
	KEPT_BODY_BYTES = 16384,     /* body memory a recycled request keeps */
	KEPT_REQUESTS = 256,         /* recycled requests kept */
	SPARE_CONNECTIONS = 64,      /* beyond the cap, to be told 503 */
	HELD_FROM_BYTES = 4096,      /* smaller bodies count only once their call waits: connections bound them */
};
/* Watching a connection for its next first byte, or for its end, costs a system call each way, so only one that has been
 * in its phase for this long is watched; a drip that begins earlier is noticed with its next byte. */
#define QUIET_US (250 * CLOCK_US_PER_MS)
/* The same for a request that waits for its reply: most are answered before it pays to watch their clients. */
#define WATCH_AFTER_US (2 * CLOCK_US_PER_MS)

enum phase {
	PHASE_IDLE, PHASE_DOZING, PHASE_HEAD, PHASE_BODY, PHASE_SLOW_BODY, PHASE_SERVED, PHASE_WATCHED,
	PHASE_LEFT, PHASE_CUT, PHASE_COUNT
};

struct connection {
	TAILQ_ENTRY(connection) next;   /* in http->phases[phase], oldest first */
	struct http *http;
	enum phase phase;
	int fd;
	uint64_t since_us;              /* when the phase began: a list is ordered by it, since it only gets tails */
	uint64_t number;
	bool from_trusted_proxy;
	bool surplus;                   /* opened beyond limits.connections */
	bool answered_before;           /* bytes have been received that were not the next head's */
	struct loop_watch watch;        /* DOZING: for a byte; HEAD, SLOW_BODY, WATCHED: for the client leaving */
	struct waiting *waiting;        /* SUSPENDED: the request; else NULL */
};
TAILQ_HEAD(connections, connection);

enum request_state { STATE_READING, STATE_SERVING, STATE_SUSPENDED, STATE_ANSWERED, STATE_GONE };

/* A request with what only this file needs. */
struct waiting {
	struct request request;         /* what others see */
	enum request_state state;
	bool refused;                   /* answered in the first call: nothing after the head is read */
	bool overflown;                 /* a chunked body outgrew the limit: the rest is read and dropped */
	bool head_seen;                 /* the whole head has come: counted in http->busy */
	bool known;                     /* serve or refuse has seen it: `finished` is owed */
	bool parked;                    /* the library holds it suspended */
	bool resume_due;                /* in http->resume */
	bool streaming, stream_ended;
	struct buf stream;              /* pieces not yet given to the library */
	size_t stream_at;               /* bytes of it that have been */
	size_t held;                    /* bytes counted in shared->held_bytes */
	uint64_t received;              /* body bytes seen, dropped ones too */
	unsigned status;                /* of the reply */
	uint64_t reply_bytes;
	struct MHD_Response *response;  /* ANSWERED: to be queued by the next handler call */
	struct MHD_Connection *mhd;
	struct connection *connection;
	size_t target_len;              /* as it came */
	char target[REQUEST_TARGET_BYTES];
	TAILQ_ENTRY(waiting) next;      /* in http->resume, or http->recycled */
};
TAILQ_HEAD(waitings, waiting);

struct http {
	struct MHD_Daemon *daemon;
	const struct http_settings *settings;
	struct http_shared *shared;
	struct http_handler handler;
	struct loop *loop;
	struct meter *meter;
	struct loop_watch ready;        /* the daemon's own epoll */
	bool run_due;                   /* something for MHD_run to do */
	bool draining;
	bool refusing;                  /* what comes now is answered 503 at once: nothing is suspended any more */
	struct connections phases[PHASE_COUNT];
	struct waitings resume;         /* answered or gone while suspended: resumed together once a turn */
	struct waitings recycled;
	size_t recycled_count;
	size_t busy;
	uint64_t next_id;               /* for X-Request-Id */
	int listen_fd;                  /* while draining: quiesced, closed by http_stop; else -1 */
};

/* ---------------------------------------------------------------- connections */

static void enter(struct connection *connection, enum phase phase, uint64_t now_us)
{
	struct http *http = connection->http;
	TAILQ_REMOVE(&http->phases[connection->phase], connection, next);
	connection->phase = phase;
	connection->since_us = now_us;
	TAILQ_INSERT_TAIL(&http->phases[phase], connection, next);
}

static void request_left(struct waiting *waiting);

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
	enter(connection, PHASE_HEAD, now_us);
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
			request_left(connection->waiting);
	} else if (left) {
		/* The library reads on edges and can miss an end that came together with bytes: this makes another edge.
		 * What has been received can still be read, so a request sent before the end is served. */
		shutdown(connection->fd, SHUT_RD);
		http->run_due = true;
		/* That edge is missed as well if the bytes are read after it: see cut_left. */
		enter(connection, PHASE_LEFT, loop_now(http->loop));
	} else if (connection->phase == PHASE_DOZING) {
		begin_head(connection, loop_now(http->loop));
	}
}

static bool peer_is_trusted(const struct http_settings *settings, const struct sockaddr *peer)
{
	struct in6_addr address;
	if (!peer || peer->sa_family == AF_UNIX)
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
		return; /* its first request is refused: see first_byte_of_head */
	const union MHD_ConnectionInfo *peer = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	connection->http = http;
	connection->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	connection->number = atomic_fetch_add_explicit(&connection_numbers, 1, memory_order_relaxed);
	connection->from_trusted_proxy = peer_is_trusted(http->settings, peer ? peer->client_addr : NULL);
	connection->watch = (struct loop_watch){ connection_stirred, -1 };
	connection->phase = PHASE_IDLE;
	connection->since_us = loop_now(http->loop);
	TAILQ_INSERT_TAIL(&http->phases[PHASE_IDLE], connection, next);
	connection->surplus = atomic_fetch_add_explicit(&http->shared->connections, 1, memory_order_relaxed) >=
	                      http->settings->connections;
	meter_add(http->meter, METRIC_ID_CONNECTIONS_TOTAL, 0, 0, 1);
	meter_move(http->meter, METRIC_ID_CONNECTIONS, 0, 0, 1);
	if (peer && peer->client_addr && peer->client_addr->sa_family != AF_UNIX) {
		int on = 1; /* answers are written whole: waiting to fill a segment only delays them */
		setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	}
}

static void connection_closed(struct http *http, struct connection *connection)
{
	if (!connection)
		return;
	loop_unwatch(http->loop, &connection->watch);
	TAILQ_REMOVE(&http->phases[connection->phase], connection, next);
	free(connection);
	atomic_fetch_sub_explicit(&http->shared->connections, 1, memory_order_relaxed);
	meter_move(http->meter, METRIC_ID_CONNECTIONS, 0, 0, -1);
}

static void notify_connection(void *context, struct MHD_Connection *mhd, void **socket_context,
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
	bool begun = !connection->answered_before && getsockopt(connection->fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
	             size >= offsetof(struct tcp_info, tcpi_segs_out) && info.tcpi_bytes_received > 0;
	/* one that cannot be watched is held to the tighter deadline */
	if (begun || !loop_watch(http->loop, &connection->watch, connection->fd, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT))
		begin_head(connection, now_us);
	else
		enter(connection, PHASE_DOZING, now_us);
}

static void slow_down(struct connection *connection, uint64_t now_us)
{
	watch_for_end(connection);
	enter(connection, PHASE_SLOW_BODY, now_us);
}

/* How long a body may still take once it is slow. */
static uint64_t slow_body_us(const struct http *http)
{
	uint64_t limit = http->settings->body_timeout_us;
	return limit > QUIET_US ? limit - QUIET_US : 0;
}

/* Cut off the connections of a phase that have been in it for longer than `limit_us`. */
static void cut_overdue(struct http *http, enum phase phase, uint64_t limit_us, enum reject_reason reason, uint64_t now_us)
{
	struct connection *connection;
	while ((connection = TAILQ_FIRST(&http->phases[phase])) && clock_add(connection->since_us, limit_us) <= now_us) {
		meter_add(http->meter, METRIC_ID_REJECTED, reason, 0, 1);
		enter(connection, PHASE_CUT, now_us);
		shutdown(connection->fd, SHUT_RDWR); /* the library sees the end and closes */
		http->run_due = true;
	}
}

/* Clients that have left, whose last bytes made no whole request and whose end the library has missed. */
static void cut_left(struct http *http, uint64_t now_us)
{
	struct connection *connection;
	while ((connection = TAILQ_FIRST(&http->phases[PHASE_LEFT])) && clock_add(connection->since_us, QUIET_US) <= now_us) {
		enter(connection, PHASE_CUT, now_us);
		shutdown(connection->fd, SHUT_RDWR);
		http->run_due = true;
	}
}

static uint64_t phase_deadline(const struct http *http, enum phase phase, uint64_t limit_us)
{
	const struct connection *first = TAILQ_FIRST(&http->phases[phase]);
	return first ? clock_add(first->since_us, limit_us) : CLOCK_NEVER;
}

/* ---------------------------------------------------------------- requests */

static void hold(struct http *http, struct waiting *waiting, size_t bytes)
{
	atomic_fetch_add_explicit(&http->shared->held_bytes, bytes, memory_order_relaxed);
	waiting->held += bytes;
	meter_move(http->meter, METRIC_ID_IN_FLIGHT_BYTES, 0, 0, (int64_t)bytes);
}

/* The check and the addition are two steps: workers that race may overshoot by a body each. */
static bool try_hold(struct http *http, struct waiting *waiting, size_t bytes)
{
	size_t held = atomic_load_explicit(&http->shared->held_bytes, memory_order_relaxed);
	if (held + bytes > http->settings->held_bytes)
		return false;
	hold(http, waiting, bytes);
	return true;
}

static void let_go(struct http *http, struct waiting *waiting)
{
	if (!waiting->held)
		return;
	atomic_fetch_sub_explicit(&http->shared->held_bytes, waiting->held, memory_order_relaxed);
	meter_move(http->meter, METRIC_ID_IN_FLIGHT_BYTES, 0, 0, -(int64_t)waiting->held);
	waiting->held = 0;
}

static struct waiting *waiting_new(struct http *http)
{
	struct waiting *waiting = TAILQ_FIRST(&http->recycled);
	if (waiting) {
		TAILQ_REMOVE(&http->recycled, waiting, next);
		http->recycled_count--;
	} else {
		waiting = malloc(sizeof *waiting);
		if (!waiting)
			return NULL;
		buf_init(&waiting->request.body, 0);
	}
	/* all but the big target, whose bytes are set by its length */
	struct buf body = waiting->request.body;
	memset(waiting, 0, offsetof(struct waiting, target));
	body.max = http->settings->body_bytes;
	waiting->request.body = body;
	waiting->request.http = http;
	return waiting;
}

static void waiting_free(struct http *http, struct waiting *waiting)
{
	if (waiting->response)
		MHD_destroy_response(waiting->response);
	buf_fini(&waiting->stream);
	if (waiting->request.body.store && waiting->request.body.store->len > KEPT_BODY_BYTES)
		buf_fini(&waiting->request.body);
	buf_reset(&waiting->request.body);
	if (http->recycled_count >= KEPT_REQUESTS) {
		buf_fini(&waiting->request.body);
		free(waiting);
		return;
	}
	TAILQ_INSERT_HEAD(&http->recycled, waiting, next);
	http->recycled_count++;
}

/* splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): ids that do not repeat
 * within 2^64 and do not tell how many there were. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

static void set_request_id(struct http *http, struct request *request)
{
	struct slice given = request->headers[HEADER_REQUEST_ID];
	bool fit = given.len > 0 && given.len < REQUEST_ID_BYTES;
	for (size_t i = 0; fit && i < given.len; i++)
		fit = given.at[i] > 0x20 && given.at[i] < 0x7f && given.at[i] != '"' && given.at[i] != '\\';
	if (fit) {
		memcpy(request->id, given.at, given.len);
		request->id[given.len] = '\0';
		return;
	}
	uint64_t number = next_random(&http->next_id);
	for (int i = 15; i >= 0; i--, number >>= 4)
		request->id[i] = "0123456789abcdef"[number & 15];
	request->id[16] = '\0';
}

/* The request line has been read; what is returned becomes the handler's context. */
static void *first_line(void *context, const char *uri, struct MHD_Connection *mhd)
{
	struct http *http = context;
	struct connection *connection =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
	if (!connection)
		return NULL;
	struct waiting *waiting = waiting_new(http);
	if (!waiting)
		return NULL;
	waiting->mhd = mhd;
	waiting->connection = connection;
	waiting->target_len = strlen(uri);
	size_t kept = waiting->target_len < sizeof waiting->target ? waiting->target_len : sizeof waiting->target - 1;
	memcpy(waiting->target, uri, kept); /* the library decodes it in place later */
	waiting->target[kept] = '\0';
	waiting->request.caller = connection->number;
	waiting->request.from_trusted_proxy = connection->from_trusted_proxy;
	return waiting;
}

static enum MHD_Result queue(struct waiting *waiting)
{
	struct MHD_Response *response = waiting->response;
	if (!response)
		return MHD_NO;
	waiting->response = NULL;
	enum MHD_Result result = MHD_queue_response(waiting->mhd, waiting->status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result refuse(struct http *http, struct waiting *waiting, enum outcome outcome,
                              enum reject_reason reason, const char *detail)
{
	meter_add(http->meter, METRIC_ID_REJECTED, reason, 0, 1);
	enter(waiting->connection, PHASE_SERVED, loop_now(http->loop));
	waiting->refused = true;
	waiting->known = true;
	waiting->state = STATE_SERVING;
	waiting->request.received_us = loop_now(http->loop);
	http->handler.refuse(http->handler.context, &waiting->request, outcome, detail);
	return queue(waiting);
}

/* The whole head is there, nothing after it has been looked at. Refusing here ends the connection. */
static enum MHD_Result head_complete(struct http *http, struct waiting *waiting, const char *method, const char *version)
{
	const struct http_settings *settings = http->settings;
	struct request *request = &waiting->request;
	struct guard_head head = { 0 };
	size_t kept = waiting->target_len < sizeof waiting->target ? waiting->target_len : sizeof waiting->target - 1;
	waiting->head_seen = true;
	http->busy++;
	loop_unwatch(http->loop, &waiting->connection->watch);
	struct guard_verdict verdict =
		guard_request(waiting->mhd, request, method, version, (struct slice){ waiting->target, kept },
	                      waiting->target_len, settings->tenant_header, settings->header_bytes, &head);
	set_request_id(http, request);
	if (verdict.outcome != OUTCOME_OK)
		return refuse(http, waiting, verdict.outcome, verdict.reason, verdict.detail);
	if (waiting->connection->surplus &&
	    atomic_load_explicit(&http->shared->connections, memory_order_relaxed) > settings->connections)
		return refuse(http, waiting, OUTCOME_OVERLOADED, REJECT_CONNECTIONS,
		              "The gateway has as many connections as limits.connections allows.");
	if (head.length > settings->body_bytes)
		return refuse(http, waiting, OUTCOME_PAYLOAD_TOO_LARGE, REJECT_BODY_SIZE,
		              "The body is larger than limits.body.");
	if (head.length > HELD_FROM_BYTES && !try_hold(http, waiting, (size_t)head.length))
		return refuse(http, waiting, OUTCOME_OVERLOADED, REJECT_IN_FLIGHT_BYTES,
		              "The gateway holds as many bytes as limits.in_flight_bytes allows.");
	if (head.length && !buf_reserve(&request->body, (size_t)head.length))
		return refuse(http, waiting, OUTCOME_OVERLOADED, REJECT_NO_MEMORY, "The gateway is out of memory.");
	enter(waiting->connection, PHASE_BODY, loop_now(http->loop));
	return MHD_YES;
}

static enum MHD_Result body_piece(struct http *http, struct waiting *waiting, const char *bytes, size_t *len)
{
	struct buf *body = &waiting->request.body;
	waiting->received += *len;
	if (!waiting->overflown) {
		size_t before = body->store ? body->store->len : 0;
		buf_put(body, (struct slice){ bytes, *len });
		size_t after = body->store ? body->store->len : 0;
		/* a chunked body is counted as its buffer grows */
		if (body->failed || (after > before && after > HELD_FROM_BYTES && after > waiting->held &&
		                     !try_hold(http, waiting, after - waiting->held))) {
			waiting->overflown = true;
			buf_fini(body);
		}
	}
	*len = 0;
	/* The reply can only come at the body's end; who sends without end is dropped. */
	return waiting->received > 2 * (uint64_t)http->settings->body_bytes + 65536 ? MHD_NO : MHD_YES;
}


static void stop_watching(struct waiting *waiting)
{
	loop_unwatch(waiting->request.http->loop, &waiting->connection->watch);
	waiting->connection->waiting = NULL;
}

static void park(struct waiting *waiting)
{
	MHD_suspend_connection(waiting->mhd);
	waiting->parked = true;
	waiting->connection->waiting = waiting;
	enter(waiting->connection, PHASE_SERVED, loop_now(waiting->request.http->loop));
}

/* No reply for a while: from now on its client's end is noticed at once. */
static void begin_watching(struct connection *connection, uint64_t now_us)
{
	if (connection->waiting)
		watch_for_end(connection);
	enter(connection, PHASE_WATCHED, now_us);
}

static enum MHD_Result body_complete(struct http *http, struct waiting *waiting)
{
	loop_unwatch(http->loop, &waiting->connection->watch);
	enter(waiting->connection, PHASE_SERVED, loop_now(http->loop));
	waiting->state = STATE_SERVING;
	waiting->known = true;
	waiting->request.received_us = loop_now(http->loop);
	if (waiting->overflown) {
		bool large = waiting->received > http->settings->body_bytes;
		meter_add(http->meter, METRIC_ID_REJECTED, large ? REJECT_BODY_SIZE : REJECT_IN_FLIGHT_BYTES, 0, 1);
		http->handler.refuse(http->handler.context, &waiting->request,
		                      large ? OUTCOME_PAYLOAD_TOO_LARGE : OUTCOME_OVERLOADED,
		                      large ? "The body is larger than limits.body."
		                            : "The gateway holds as many bytes as limits.in_flight_bytes allows.");
	} else if (http->refusing) {
		meter_add(http->meter, METRIC_ID_REJECTED, REJECT_SHUTTING_DOWN, 0, 1);
		http->handler.refuse(http->handler.context, &waiting->request, OUTCOME_SHUTTING_DOWN,
		                     "The gateway is shutting down.");
	} else {
		http->handler.serve(http->handler.context, &waiting->request);
	}
	if (waiting->state == STATE_ANSWERED)
		return queue(waiting);
	if (waiting->state == STATE_GONE)
		return MHD_NO;
	waiting->state = STATE_SUSPENDED;
	if (!waiting->held)
		hold(http, waiting, (size_t)waiting->received);
	park(waiting);
	return MHD_YES;
}

static enum MHD_Result handle(void *context, struct MHD_Connection *mhd, const char *url, const char *method,
                              const char *version, const char *upload, size_t *upload_len, void **request_context)
{
	struct http *http = context;
	struct waiting *waiting = *request_context;
	(void)mhd;
	(void)url;
	if (!waiting)
		return MHD_NO; /* out of memory when it began */
	switch (waiting->state) {
	case STATE_READING:
		if (!waiting->head_seen)
			return head_complete(http, waiting, method, version);
		return *upload_len ? body_piece(http, waiting, upload, upload_len) : body_complete(http, waiting);
	case STATE_ANSWERED:
		return queue(waiting);
	case STATE_SERVING:
	case STATE_SUSPENDED:
	case STATE_GONE:
		break;
	}
	return MHD_NO;
}

static void resume_later(struct waiting *waiting)
{
	struct http *http = waiting->request.http;
	if (!waiting->parked || waiting->resume_due)
		return;
	waiting->resume_due = true;
	TAILQ_INSERT_TAIL(&http->resume, waiting, next);
}

/* The client has left, or is given up on. */
static void request_left(struct waiting *waiting)
{
	struct http *http = waiting->request.http;
	waiting->connection->waiting = NULL;
	meter_add(http->meter, METRIC_ID_CLIENTS_GONE, 0, 0, 1);
	void (*gone)(struct request *) = waiting->request.gone;
	waiting->request.gone = NULL;
	waiting->state = STATE_GONE;
	waiting->stream_ended = true;
	if (gone)
		gone(&waiting->request);
	resume_later(waiting);
}

static void resume_all(struct http *http)
{
	struct waiting *waiting;
	while ((waiting = TAILQ_FIRST(&http->resume))) {
		TAILQ_REMOVE(&http->resume, waiting, next);
		waiting->resume_due = false;
		waiting->parked = false;
		stop_watching(waiting);
		MHD_resume_connection(waiting->mhd);
		http->run_due = true;
	}
}

static void notify_completed(void *context, struct MHD_Connection *mhd, void **request_context,
                             enum MHD_RequestTerminationCode code)
{
	struct http *http = context;
	struct waiting *waiting = *request_context;
	(void)mhd;
	*request_context = NULL;
	if (!waiting)
		return;
	struct request *request = &waiting->request;
	bool sent = code == MHD_REQUEST_TERMINATED_COMPLETED_OK && waiting->status && waiting->state == STATE_ANSWERED;
	if (waiting->resume_due)
		TAILQ_REMOVE(&http->resume, waiting, next);
	stop_watching(waiting);
	if (request->gone) { /* died while answering in pieces */
		meter_add(http->meter, METRIC_ID_CLIENTS_GONE, 0, 0, 1);
		request->gone(request);
	}
	if (waiting->known)
		http->handler.finished(http->handler.context, request, sent ? waiting->status : 499,
		                        waiting->reply_bytes);
	if (waiting->head_seen)
		http->busy--;
	else if (code == MHD_REQUEST_TERMINATED_COMPLETED_OK)
		/* The library refused the head itself: a Content-Length that is no number, a head larger than its pool. */
		meter_add(http->meter, METRIC_ID_REJECTED, REJECT_BAD_FRAMING, 0, 1);
	let_go(http, waiting);
	waiting->connection->answered_before = true;
	enter(waiting->connection, PHASE_IDLE, loop_now(http->loop));
	waiting_free(http, waiting);
}

/* ---------------------------------------------------------------- replies */

void reply_init(struct reply *reply, unsigned status)
{
	/* not all of it: the values are large and have counts */
	memset(reply, 0, offsetof(struct reply, headers));
	reply->status = status;
}

void reply_header_text(struct reply *reply, const char *name, struct slice value)
{
	assert(reply->header_count < REPLY_HEADERS_MAX);
	size_t len = value.len < REPLY_HEADER_VALUE_BYTES ? value.len : REPLY_HEADER_VALUE_BYTES - 1;
	memcpy(reply->headers[reply->header_count].value, value.at, len);
	reply->headers[reply->header_count].value[len] = '\0';
	reply->headers[reply->header_count++].name = name;
}

void reply_header(struct reply *reply, const char *name, const char *format, ...)
{
	assert(reply->header_count < REPLY_HEADERS_MAX);
	va_list args;
	va_start(args, format);
	vsnprintf(reply->headers[reply->header_count].value, REPLY_HEADER_VALUE_BYTES, format, args);
	va_end(args);
	reply->headers[reply->header_count++].name = name;
}

static void free_answer(void *answer)
{
	answer_unref(answer);
}

static void free_blob(void *blob)
{
	blob_unref(blob);
}

static struct MHD_Response *body_response(const struct reply *reply)
{
	void *bytes = (void *)(uintptr_t)reply->body.at; /* the library takes it as mutable and leaves it alone */
	struct MHD_Response *response;
	if (reply->body.len == 0)
		return MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
	if (reply->answer) {
		response = MHD_create_response_from_buffer_with_free_callback_cls(reply->body.len, bytes, free_answer,
		                                                                  answer_ref(reply->answer));
		if (!response)
			answer_unref(reply->answer);
	} else if (reply->blob) {
		response = MHD_create_response_from_buffer_with_free_callback_cls(reply->body.len, bytes, free_blob,
		                                                                  blob_ref(reply->blob));
		if (!response)
			blob_unref(reply->blob);
	} else {
		response = MHD_create_response_from_buffer(reply->body.len, bytes, MHD_RESPMEM_MUST_COPY);
	}
	return response;
}

/* Put the head on; takes the response. NULL when memory is out. */
static struct MHD_Response *with_head(struct MHD_Response *response, struct waiting *waiting, const struct reply *reply)
{
	if (!response)
		return NULL;
	bool close_after = reply->close || waiting->refused || waiting->request.http->draining;
	bool fine = !reply->content_type || MHD_add_response_header(response, "Content-Type", reply->content_type);
	for (size_t i = 0; fine && i < reply->header_count; i++)
		fine = MHD_add_response_header(response, reply->headers[i].name, reply->headers[i].value);
	if (fine && close_after)
		fine = MHD_add_response_header(response, "Connection", "close");
	if (!fine) {
		MHD_destroy_response(response);
		return NULL;
	}
	return response;
}

static void answered(struct waiting *waiting, struct MHD_Response *response, unsigned status)
{
	waiting->response = response; /* NULL: the handler call returns MHD_NO and the connection is closed */
	waiting->status = status;
	waiting->state = STATE_ANSWERED;
	resume_later(waiting);
}

void request_reply(struct request *request, const struct reply *reply)
{
	struct waiting *waiting = container_of(request, struct waiting, request);
	assert(waiting->state == STATE_SERVING || waiting->state == STATE_SUSPENDED);
	request->gone = NULL;
	waiting->reply_bytes = reply->body.len;
	answered(waiting, with_head(body_response(reply), waiting, reply), reply->status);
}

/* The library asks for the next piece. */
static ssize_t read_stream(void *context, uint64_t position, char *out, size_t max)
{
	struct waiting *waiting = context;
	(void)position;
	size_t left = waiting->stream.len - waiting->stream_at;
	if (waiting->state == STATE_GONE)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (left == 0) {
		if (waiting->stream_ended)
			return MHD_CONTENT_READER_END_OF_STREAM;
		park(waiting);
		return 0;
	}
	size_t count = left < max ? left : max;
	memcpy(out, buf_slice(&waiting->stream).at + waiting->stream_at, count);
	waiting->stream_at += count;
	if (waiting->stream_at == waiting->stream.len) {
		buf_reset(&waiting->stream);
		waiting->stream_at = 0;
	}
	return (ssize_t)count;
}

void request_stream_start(struct request *request, const struct reply *reply)
{
	struct waiting *waiting = container_of(request, struct waiting, request);
	assert(waiting->state == STATE_SERVING || waiting->state == STATE_SUSPENDED);
	buf_init(&waiting->stream, STREAM_MAX_BYTES);
	waiting->streaming = true;
	struct MHD_Response *response =
		MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, read_stream, waiting, NULL);
	answered(waiting, with_head(response, waiting, reply), reply->status);
}

/* A reader that is always a little behind never empties the stream: what it has read must not fill it. Moved once it is
 * the larger half, so that a byte is moved once on average. */
static void forget_read(struct waiting *waiting)
{
	struct buf *stream = &waiting->stream;
	if (waiting->stream_at <= stream->len / 2)
		return;
	stream->len -= waiting->stream_at;
	memmove(stream->store->bytes, stream->store->bytes + waiting->stream_at, stream->len);
	waiting->stream_at = 0;
}

bool request_stream_put(struct request *request, struct slice piece)
{
	struct waiting *waiting = container_of(request, struct waiting, request);
	assert(waiting->streaming && !waiting->stream_ended);
	forget_read(waiting);
	buf_put(&waiting->stream, piece);
	waiting->reply_bytes += piece.len;
	resume_later(waiting);
	return !waiting->stream.failed;
}

void request_stream_end(struct request *request)
{
	struct waiting *waiting = container_of(request, struct waiting, request);
	request->gone = NULL;
	waiting->stream_ended = true;
	resume_later(waiting);
}

void request_stream_abort(struct request *request)
{
	struct waiting *waiting = container_of(request, struct waiting, request);
	request->gone = NULL;
	waiting->state = STATE_GONE;
	resume_later(waiting);
}

/* ---------------------------------------------------------------- the daemon */

static void daemon_ready(struct loop_watch *watch, uint32_t events)
{
	(void)events;
	container_of(watch, struct http, ready)->run_due = true;
}

static size_t memory_limit(const struct http_settings *settings)
{
	/* The pool holds the head, its parsed headers and the reply's head. The library clears what was used of it for
	 * each request, so more is not free. */
	return settings->header_bytes * 2 + 2048;
}

struct http *http_start(int listen_fd, const struct http_settings *settings, struct http_shared *shared,
                        struct http_handler handler, struct loop *loop, struct meter *meter,
                        char *error, size_t error_bytes)
{
	struct http *http = calloc(1, sizeof *http);
	if (!http) {
		snprintf(error, error_bytes, "out of memory");
		close(listen_fd);
		return NULL;
	}
	http->settings = settings;
	http->shared = shared;
	http->handler = handler;
	http->loop = loop;
	http->meter = meter;
	http->listen_fd = -1;
	for (int i = 0; i < PHASE_COUNT; i++)
		TAILQ_INIT(&http->phases[i]);
	TAILQ_INIT(&http->resume);
	TAILQ_INIT(&http->recycled);
	http->ready = (struct loop_watch){ daemon_ready, -1 };
	if (getrandom(&http->next_id, sizeof http->next_id, 0) != sizeof http->next_id)
		http->next_id = clock_wall_us() ^ (uint64_t)(uintptr_t)http;

	unsigned idle_s = (unsigned)((settings->idle_timeout_us + CLOCK_US_PER_S - 1) / CLOCK_US_PER_S);
	http->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, handle, http,
		MHD_OPTION_LISTEN_SOCKET, listen_fd,
		MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
		MHD_OPTION_STRICT_FOR_CLIENT, 0, /* its own refusals come with two status lines; the guard does it */
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)(settings->connections + SPARE_CONNECTIONS),
		MHD_OPTION_CONNECTION_TIMEOUT, idle_s,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, memory_limit(settings),
		MHD_OPTION_NOTIFY_CONNECTION, notify_connection, http,
		MHD_OPTION_NOTIFY_COMPLETED, notify_completed, http,
		MHD_OPTION_URI_LOG_CALLBACK, first_line, http,
		MHD_OPTION_END);
	if (!http->daemon) {
		snprintf(error, error_bytes, "libmicrohttpd cannot start a daemon");
		close(listen_fd);
		free(http);
		return NULL;
	}
	int epoll_fd = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	if (!loop_watch(loop, &http->ready, epoll_fd, EPOLLIN)) {
		snprintf(error, error_bytes, "cannot watch the daemon: %m");
		MHD_stop_daemon(http->daemon);
		free(http);
		return NULL;
	}
	return http;
}

void http_turn(struct http *http, uint64_t now_us)
{
	struct connection *connection;
	while ((connection = TAILQ_FIRST(&http->phases[PHASE_IDLE])) && clock_add(connection->since_us, QUIET_US) <= now_us)
		doze(connection, now_us);
	while ((connection = TAILQ_FIRST(&http->phases[PHASE_BODY])) && clock_add(connection->since_us, QUIET_US) <= now_us)
		slow_down(connection, now_us);
	while ((connection = TAILQ_FIRST(&http->phases[PHASE_SERVED])) &&
	       clock_add(connection->since_us, WATCH_AFTER_US) <= now_us)
		begin_watching(connection, now_us);
	cut_overdue(http, PHASE_HEAD, http->settings->header_timeout_us, REJECT_HEAD_TIMEOUT, now_us);
	cut_overdue(http, PHASE_SLOW_BODY, slow_body_us(http), REJECT_BODY_TIMEOUT, now_us);
	cut_left(http, now_us);
	resume_all(http);
	unsigned long long wait_ms;
	if (!http->run_due && MHD_get_timeout(http->daemon, &wait_ms) == MHD_YES && wait_ms == 0)
		http->run_due = true;
	if (!http->run_due)
		return;
	http->run_due = false;
	MHD_run(http->daemon);
}

uint64_t http_deadline(struct http *http, uint64_t now_us)
{
	if (http->run_due || TAILQ_FIRST(&http->resume))
		return now_us;
	uint64_t deadline = phase_deadline(http, PHASE_IDLE, QUIET_US);
	uint64_t head = phase_deadline(http, PHASE_HEAD, http->settings->header_timeout_us);
	uint64_t body = phase_deadline(http, PHASE_BODY, QUIET_US);
	uint64_t slow = phase_deadline(http, PHASE_SLOW_BODY, slow_body_us(http));
	uint64_t served = phase_deadline(http, PHASE_SERVED, WATCH_AFTER_US);
	uint64_t left = phase_deadline(http, PHASE_LEFT, QUIET_US);
	deadline = left < deadline ? left : deadline;
	deadline = served < deadline ? served : deadline;
	deadline = head < deadline ? head : deadline;
	deadline = slow < deadline ? slow : deadline;
	deadline = body < deadline ? body : deadline;
	unsigned long long wait_ms;
	if (MHD_get_timeout(http->daemon, &wait_ms) == MHD_YES && clock_add(now_us, wait_ms * CLOCK_US_PER_MS) < deadline)
		deadline = now_us + wait_ms * CLOCK_US_PER_MS;
	return deadline;
}

void http_drain(struct http *http)
{
	if (http->draining)
		return;
	http->draining = true;
	http->listen_fd = MHD_quiesce_daemon(http->daemon);
	/* Without this new connects would queue in the kernel until they time out. */
	if (http->listen_fd >= 0)
		shutdown(http->listen_fd, SHUT_RDWR);
}

void http_refuse(struct http *http)
{
	http->refusing = true;
}

size_t http_busy(const struct http *http)
{
	return http->busy;
}

void http_stop(struct http *http)
{
	if (!http)
		return;
	http_drain(http);
	http_refuse(http);
	/* The library aborts the process if it is stopped with a suspended connection. */
	struct connection *connection;
	for (enum phase phase = PHASE_SERVED; phase <= PHASE_WATCHED; phase++)
		TAILQ_FOREACH(connection, &http->phases[phase], next)
			if (connection->waiting)
				request_left(connection->waiting);
	resume_all(http);
	MHD_run(http->daemon);
	loop_unwatch(http->loop, &http->ready);
	MHD_stop_daemon(http->daemon);
	if (http->listen_fd >= 0)
		close(http->listen_fd);
	struct waiting *waiting;
	while ((waiting = TAILQ_FIRST(&http->recycled))) {
		TAILQ_REMOVE(&http->recycled, waiting, next);
		buf_fini(&waiting->request.body);
		free(waiting);
	}
	free(http);
}
