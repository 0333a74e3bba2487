/*
 * http.c: one libmicrohttpd daemon on a worker's loop: the life of a request, then the daemon. The lives of connections
 * are in connection.c, replies in response.c, the guard in guard.c; http_private.h draws the states.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/http/guard.h"
#include "gateway/http/http_private.h"

enum {
	KEPT_BODY_BYTES = 16384,                /* body memory a recycled request keeps */
	KEPT_REQUESTS = 256,                    /* recycled requests kept */
	SPARE_CONNECTIONS = 64,                 /* beyond the cap, to be told 503 */
	RECORDS_BYTES = 8 * GUARD_RECORD_BYTES, /* memory for headers beyond their bytes */
	REPLY_HEAD_BYTES = 768,                 /* memory for a reply's head */
	REFUSAL_HEAD_BYTES = 512,               /* the same for a problem */
};

/* ---------------------------------------------------------------- requests */

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

size_t request_header(const struct request *request, struct slice name, struct slice *value)
{
	return guard_find_header(container_of(request, struct waiting, request)->mhd, name, value);
}

struct slice request_query(const struct request *request, struct slice name)
{
	const char *at = request->query.at, *end = at + request->query.len;
	while (at < end) {
		const char *stop = memchr(at, '&', (size_t)(end - at));
		if (!stop)
			stop = end;
		if ((size_t)(stop - at) > name.len && memcmp(at, name.at, name.len) == 0 && at[name.len] == '=')
			return (struct slice){ at + name.len + 1, (size_t)(stop - at) - name.len - 1 };
		at = stop + 1;
	}
	return (struct slice){ "", 0 };
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
	connection_enter(waiting->connection, PHASE_SERVED, loop_now(http->loop));
	waiting->refused = true;
	waiting->known = true;
	waiting->state = STATE_SERVING;
	waiting->request.received_us = loop_now(http->loop);
	http->handler.refuse(http->handler.context, &waiting->request, outcome, detail);
	if (waiting->body_due)
		linger(http, waiting->connection->fd);
	return queue(waiting);
}

/*
 * What a connection has to keep a request's head, its records and the reply's head in. The library clears all of it for
 * every request and an idle connection holds on to it, so it is made no larger than a head as long as limits.headers
 * with few headers needs: 9.9 KiB an idle connection, against 18.6 when it was twice the head. A head with many
 * headers has less room, see guard_head.memory.
 */
static size_t memory_limit(const struct http_settings *settings)
{
	return settings->header_bytes + RECORDS_BYTES + REPLY_HEAD_BYTES;
}

/* There is not even memory for a reply's head: the library would close without a word. Nothing is being sent on the
 * connection, so the refusal is written past it. */
static enum MHD_Result refuse_without_memory(struct http *http, struct waiting *waiting)
{
	static const char text[] =
		"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: application/problem+json\r\n"
		"Connection: close\r\n\r\n" /* its end is the connection's */
		"{\"type\":\"urn:jitney:problem:headers_too_large\",\"title\":\"The request head is too large\","
		"\"status\":431,\"detail\":\"The request head has too many headers for limits.headers.\","
		"\"code\":\"headers_too_large\",\"retryable\":false}";
	int fd = waiting->connection->fd;
	meter_add(http->meter, METRIC_ID_REJECTED, REJECT_HEAD_SIZE, 0, 1);
	connection_enter(waiting->connection, PHASE_SERVED, loop_now(http->loop));
	waiting->state = STATE_GONE;
	ssize_t sent = send(fd, text, sizeof text - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)sent; /* who does not read its replies misses this one */
	shutdown(fd, SHUT_WR);
	linger(http, fd);
	return MHD_NO;
}

/* The whole head is there, nothing after it has been looked at. Refusing here ends the connection. */
static enum MHD_Result head_complete(struct http *http, struct waiting *waiting, const char *method,
				     const char *version)
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
	if (head.memory + REFUSAL_HEAD_BYTES > memory_limit(settings))
		return refuse_without_memory(http, waiting);
	if (verdict.outcome == OUTCOME_OK && head.memory + REPLY_HEAD_BYTES > memory_limit(settings))
		verdict =
			(struct guard_verdict){ OUTCOME_HEADERS_TOO_LARGE, REJECT_HEAD_SIZE,
						"The request head has too many headers for limits.headers: each counts "
						"64 bytes more than its text, of which 512 are free." };
	if (verdict.outcome != OUTCOME_OK)
		return refuse(http, waiting, verdict.outcome, verdict.reason, verdict.detail);
	waiting->body_due = head.chunked || head.length > 0;
	if (waiting->connection->surplus &&
	    atomic_load_explicit(&http->shared->connections, memory_order_relaxed) > settings->connections)
		return refuse(http, waiting, OUTCOME_OVERLOADED, REJECT_CONNECTIONS,
			      "The gateway has as many connections as limits.connections allows.");
	if (head.length > settings->body_bytes)
		return refuse(http, waiting, OUTCOME_PAYLOAD_TOO_LARGE, REJECT_BODY_SIZE,
			      "The body is larger than limits.body.");
	if (head.length > HELD_FROM_BYTES && !held_try(waiting, (size_t)head.length))
		return refuse(http, waiting, OUTCOME_OVERLOADED, REJECT_IN_FLIGHT_BYTES,
			      "The gateway holds as many bytes as limits.in_flight_bytes allows.");
	if (head.length && !buf_reserve(&request->body, (size_t)head.length))
		return refuse(http, waiting, OUTCOME_OVERLOADED, REJECT_NO_MEMORY, "The gateway is out of memory.");
	connection_enter(waiting->connection, PHASE_BODY, loop_now(http->loop));
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
				     !held_try(waiting, after - waiting->held))) {
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

void waiting_park(struct waiting *waiting)
{
	MHD_suspend_connection(waiting->mhd);
	waiting->parked = true;
	waiting->connection->waiting = waiting;
	connection_enter(waiting->connection, PHASE_SERVED, loop_now(waiting->request.http->loop));
}

static enum MHD_Result body_complete(struct http *http, struct waiting *waiting)
{
	loop_unwatch(http->loop, &waiting->connection->watch);
	connection_enter(waiting->connection, PHASE_SERVED, loop_now(http->loop));
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
		held_add(waiting, (size_t)waiting->received);
	waiting_park(waiting);
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

void waiting_resume(struct waiting *waiting)
{
	struct http *http = waiting->request.http;
	if (!waiting->parked || waiting->resume_due)
		return;
	waiting->resume_due = true;
	TAILQ_INSERT_TAIL(&http->resume, waiting, next);
}

/* The client has left, or is given up on. */
void waiting_left(struct waiting *waiting)
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
	waiting_resume(waiting);
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
	else if (code == MHD_REQUEST_TERMINATED_WITH_ERROR || code == MHD_REQUEST_TERMINATED_COMPLETED_OK)
		/* The library refused the head itself: a Content-Length that is no number, a head larger than its pool.
		 */
		meter_add(http->meter, METRIC_ID_REJECTED, REJECT_BAD_FRAMING, 0, 1);
	held_let_go(waiting);
	waiting->connection->answered_before = true;
	connection_enter(waiting->connection, PHASE_IDLE, loop_now(http->loop));
	waiting_free(http, waiting);
}

/* ---------------------------------------------------------------- the daemon */

static void daemon_ready(struct loop_watch *watch, uint32_t events)
{
	(void)events;
	container_of(watch, struct http, ready)->run_due = true;
}

struct http *http_start(int listen_fd, const struct http_settings *settings, struct http_shared *shared,
			struct http_handler handler, struct loop *loop, struct meter *meter, char *error,
			size_t error_bytes)
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
	TAILQ_INIT(&http->lingering);
	TAILQ_INIT(&http->recycled);
	http->ready = (struct loop_watch){ daemon_ready, -1 };
	if (getrandom(&http->next_id, sizeof http->next_id, 0) != sizeof http->next_id)
		http->next_id = clock_wall_us() ^ (uint64_t)(uintptr_t)http;

	unsigned idle_s = (unsigned)((settings->idle_timeout_us + CLOCK_US_PER_S - 1) / CLOCK_US_PER_S);
	http->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, handle, http, MHD_OPTION_LISTEN_SOCKET,
		listen_fd, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_STRICT_FOR_CLIENT,
		0, /* its own refusals come with two status lines; the guard does it */
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)(settings->connections + SPARE_CONNECTIONS),
		MHD_OPTION_CONNECTION_TIMEOUT, idle_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT, memory_limit(settings),
		MHD_OPTION_NOTIFY_CONNECTION, connection_notify, http, MHD_OPTION_NOTIFY_COMPLETED, notify_completed,
		http, MHD_OPTION_URI_LOG_CALLBACK, first_line, http, MHD_OPTION_END);
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
	connections_turn(http, now_us);
	linger_turn(http, now_us);
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
	uint64_t deadline = connections_deadline(http), lingering = linger_deadline(http);
	deadline = lingering < deadline ? lingering : deadline;
	unsigned long long wait_ms;
	if (MHD_get_timeout(http->daemon, &wait_ms) == MHD_YES &&
	    clock_add(now_us, wait_ms * CLOCK_US_PER_MS) < deadline)
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
		TAILQ_FOREACH (connection, &http->phases[phase], next)
			if (connection->waiting)
				waiting_left(connection->waiting);
	resume_all(http);
	MHD_run(http->daemon);
	loop_unwatch(http->loop, &http->ready);
	MHD_stop_daemon(http->daemon);
	if (http->listen_fd >= 0)
		close(http->listen_fd);
	linger_stop(http);
	struct waiting *waiting;
	while ((waiting = TAILQ_FIRST(&http->recycled))) {
		TAILQ_REMOVE(&http->recycled, waiting, next);
		buf_fini(&waiting->request.body);
		free(waiting);
	}
	free(http);
}
