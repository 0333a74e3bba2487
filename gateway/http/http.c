/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.c: the life of a request, from the library's callbacks to the handler and back, and the turn of a listener. How
 * connections come is in accept.c, how they live in connection.c, replies in response.c, the guard in guard.c, the
 * library's daemons in daemon.c; http_private.h draws the states.
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
	KEPT_BODY_BYTES = 16384, /* body memory a recycled request keeps */
	KEPT_REQUESTS = 256,     /* recycled requests kept */
	FIRST_BODY_BYTES = 4096, /* of a body that has only been announced, what is made room for */
};

/* ---------------------------------------------------------------- requests */

struct waiting *request_new(struct http *http)
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

void request_recycle(struct http *http, struct waiting *waiting)
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

void request_id_new(struct http *http, char id[REQUEST_ID_BYTES])
{
	uint64_t number = next_random(&http->next_id);
	for (size_t i = 0; i < 16; i++) /* not printf: every request has one */
		id[i] = "0123456789abcdef"[number >> (60 - 4 * i) & 15];
	id[16] = '\0';
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
	request_id_new(http, request->id);
}

/* The request line has been read; what is returned becomes the handler's context. */
void *request_first_line(void *context, const char *uri, struct MHD_Connection *mhd)
{
	struct http *http = context;
	struct connection *connection =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
	struct waiting *waiting = request_new(http);
	if (!waiting)
		return NULL;
	waiting->mhd = mhd;
	waiting->connection = connection;
	connection->waiting = waiting;
	waiting->target_len = strlen(uri);
	size_t kept = waiting->target_len < sizeof waiting->target ? waiting->target_len : sizeof waiting->target - 1;
	memcpy(waiting->target, uri, kept); /* the library decodes it in place later */
	waiting->target[kept] = '\0';
	waiting->request.caller = connection->number;
	waiting->request.from_trusted_proxy = connection->from_trusted_proxy;
	waiting->request.peer = (const struct sockaddr *)&connection->peer;
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

static void begin_refusal(struct http *http, struct waiting *waiting, enum reject_reason reason)
{
	meter_add(http->meter, METRIC_ID_REJECTED, reason, 0, 1);
	waiting->refused = true;
	waiting->known = true;
	waiting->state = STATE_SERVING;
	waiting->request.received_us = loop_now(http->loop);
}

static enum MHD_Result refuse(struct http *http, struct waiting *waiting, enum outcome outcome,
			      enum reject_reason reason, const char *detail)
{
	connection_enter(waiting->connection, PHASE_SERVED, loop_now(http->loop));
	begin_refusal(http, waiting, reason);
	http->handler.refuse(http->handler.context, &waiting->request, outcome, detail);
	if (waiting->body_due)
		linger(http, waiting->connection->fd);
	return queue(waiting);
}

void waiting_refuse_past_library(struct waiting *waiting, const struct guard_verdict *verdict)
{
	struct http *http = waiting->request.http;
	const struct connection *connection = waiting->connection;
	set_request_id(http, &waiting->request);
	waiting->request.peer = (const struct sockaddr *)&connection->peer;
	waiting->request.caller = connection->number;
	waiting->request.from_trusted_proxy = connection->from_trusted_proxy;
	waiting->past_library = true;
	begin_refusal(http, waiting, verdict->reason);
	http->handler.refuse(http->handler.context, &waiting->request, verdict->outcome, verdict->detail);
	http->handler.finished(http->handler.context, &waiting->request, waiting->status, waiting->reply_bytes);
	waiting->known = false; /* `finished` has been called */
}

/* There is no memory for a reply's head: the library would close without a word. Nothing is being sent on the
 * connection, so the refusal is written past it. */
static enum MHD_Result refuse_without_memory(struct http *http, struct waiting *waiting)
{

	int fd = waiting->connection->fd;
	connection_enter(waiting->connection, PHASE_SERVED, loop_now(http->loop));
	waiting_refuse_past_library(waiting, &too_many_headers);
	waiting->state = STATE_GONE;
	shutdown(fd, SHUT_WR);
	linger(http, fd);
	return MHD_NO;
}

/* A body is coming. Room is made for what an ordinary one takes; more as it comes. False: out of memory. */
static bool expect_body(struct waiting *waiting, const struct guard_head *head)
{
	struct buf *body = &waiting->request.body;
	waiting->body_due = head->chunked || head->length > 0;
	if (head->has_length)
		body->max = head->length < body->max ? (size_t)head->length : body->max;
	return buf_reserve(body, head->length < FIRST_BODY_BYTES ? (size_t)head->length : FIRST_BODY_BYTES);
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
	if (!daemon_has_memory(settings, &head))
		return refuse_without_memory(http, waiting);
	if (verdict.outcome != OUTCOME_OK)
		return refuse(http, waiting, verdict.outcome, verdict.reason, verdict.detail);
	if (head.length > settings->body_bytes) {
		waiting->body_due = true;
		return refuse(http, waiting, OUTCOME_PAYLOAD_TOO_LARGE, REJECT_BODY_SIZE,
			      "The body is larger than limits.body.");
	}
	if (!expect_body(waiting, &head))
		return refuse(http, waiting, OUTCOME_OVERLOADED, REJECT_NO_MEMORY, "The gateway is out of memory.");
	if (head.length > HELD_FROM_BYTES && !held_has_room(http, head.length))
		return refuse(http, waiting, OUTCOME_OVERLOADED, REJECT_IN_FLIGHT_BYTES,
			      "The gateway holds as many bytes as limits.in_flight_bytes allows.");
	connection_enter(waiting->connection, PHASE_BODY, loop_now(http->loop));
	return MHD_YES;
}

/* Room for more of the body, counted before it is taken. */
static bool make_room(struct waiting *waiting, size_t more)
{
	struct buf *body = &waiting->request.body;
	size_t before = body->store ? body->store->len : 0, wanted = body->len + more;
	if (wanted <= before)
		return true;
	if (wanted > body->max)
		return false;
	size_t grown = 2 * before < wanted ? wanted : 2 * before;
	grown = grown < body->max ? grown : body->max;
	if (grown > HELD_FROM_BYTES && grown > waiting->held && !held_try(waiting, grown - waiting->held))
		return false;
	if (!buf_reserve(body, grown - body->len))
		return false;
	if (body->store->len > waiting->held && waiting->held)
		held_add(waiting, body->store->len - waiting->held);
	return true;
}

static enum MHD_Result body_piece(struct http *http, struct waiting *waiting, const char *bytes, size_t *len)
{
	struct buf *body = &waiting->request.body;
	waiting->received += *len;
	if (!waiting->overflown && make_room(waiting, *len)) {
		buf_put(body, (struct slice){ bytes, *len });
	} else if (!waiting->overflown) {
		waiting->overflown = true;
		buf_fini(body);
		held_let_go(waiting);
	}
	*len = 0;
	/* The reply can only come at the body's end; who sends without end is dropped. */
	if (waiting->received <= 2 * (uint64_t)http->settings->body_bytes + 65536)
		return MHD_YES;
	meter_add(http->meter, METRIC_ID_REJECTED, REJECT_BODY_SIZE, 0, 1);
	return MHD_NO;
}

void waiting_park(struct waiting *waiting)
{
	MHD_suspend_connection(waiting->mhd);
	waiting->parked = true;
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

enum MHD_Result request_handle(void *context, struct MHD_Connection *mhd, const char *url, const char *method,
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
	meter_add(http->meter, METRIC_ID_CLIENTS_GONE, 0, 0, 1);
	void (*gone)(struct request *) = waiting->request.gone;
	waiting->request.gone = NULL;
	waiting->request.drained = NULL;
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
		struct connection *connection = waiting->connection;
		TAILQ_REMOVE(&http->resume, waiting, next);
		waiting->resume_due = false;
		waiting->parked = false;
		loop_unwatch(http->loop, &connection->watch);
		if (connection->phase != PHASE_SERVED)
			connection_enter(connection, PHASE_SERVED, loop_now(http->loop));
		MHD_resume_connection(waiting->mhd);
		daemon_run_soon(connection->daemon);
	}
}

void request_completed(void *context, struct MHD_Connection *mhd, void **request_context,
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
	loop_unwatch(http->loop, &waiting->connection->watch);
	waiting->connection->waiting = NULL;
	if (request->gone) { /* died while answering in pieces */
		meter_add(http->meter, METRIC_ID_CLIENTS_GONE, 0, 0, 1);
		request->gone(request);
	}
	if (waiting->known)
		http->handler.finished(http->handler.context, request, sent ? waiting->status : 499,
				       waiting->reply_bytes);
	if (waiting->head_seen)
		http->busy--;
	else if (waiting->connection->phase != PHASE_CUT && /* else it is counted already */
		 (code == MHD_REQUEST_TERMINATED_WITH_ERROR || code == MHD_REQUEST_TERMINATED_COMPLETED_OK))
		/* The library refused the head itself, one that is not its connection's first: a Content-Length that is
		 * no number, a head larger than its memory. */
		meter_add(http->meter, METRIC_ID_REJECTED, REJECT_BAD_FRAMING, 0, 1);
	held_let_go(waiting);
	connection_enter(waiting->connection, PHASE_IDLE, loop_now(http->loop));
	request_recycle(http, waiting);
}

/* ---------------------------------------------------------------- the listener */

static struct http *http_new(const struct http_settings *settings, struct http_shared *shared,
			     struct http_handler handler, struct loop *loop, struct meter *meter)
{
	struct http *http = calloc(1, sizeof *http);
	if (!http)
		return NULL;
	http->settings = settings;
	http->shared = shared;
	http->handler = handler;
	http->loop = loop;
	http->meter = meter;
	for (int i = 0; i < PHASE_COUNT; i++)
		TAILQ_INIT(&http->phases[i]);
	TAILQ_INIT(&http->roomy);
	TAILQ_INIT(&http->full);
	TAILQ_INIT(&http->due);
	TAILQ_INIT(&http->resume);
	TAILQ_INIT(&http->lingering);
	TAILQ_INIT(&http->recycled);
	if (getrandom(&http->next_id, sizeof http->next_id, 0) != sizeof http->next_id)
		http->next_id = clock_wall_us() ^ (uint64_t)(uintptr_t)http;
	return http;
}

struct http *http_start(int listen_fd, bool admin, const struct http_settings *settings, struct http_shared *shared,
			struct http_handler handler, struct loop *loop, struct meter *meter, char *error,
			size_t error_bytes)
{
	struct http *http = http_new(settings, shared, handler, loop, meter);
	if (!http) {
		snprintf(error, error_bytes, "out of memory");
		close(listen_fd);
		return NULL;
	}
	http->places = admin ? &shared->admin_connections : &shared->connections;
	http->place_limit = admin ? HTTP_ADMIN_CONNECTIONS : settings->connections;
	if (!accept_start(http, listen_fd, error, error_bytes)) {
		free(http);
		return NULL;
	}
	if (!daemons_start(http)) {
		snprintf(error, error_bytes, "libmicrohttpd cannot start a daemon");
		accept_stop(http);
		free(http);
		return NULL;
	}
	return http;
}

void http_turn(struct http *http, uint64_t now_us)
{
	accept_turn(http, now_us);
	connections_turn(http, now_us);
	linger_turn(http, now_us);
	resume_all(http);
	daemons_turn(http);
	held_show(http);
}

uint64_t http_deadline(struct http *http, uint64_t now_us)
{
	if (TAILQ_FIRST(&http->due) || TAILQ_FIRST(&http->resume))
		return now_us;
	const uint64_t deadlines[] = { accept_deadline(http), connections_deadline(http), linger_deadline(http) };
	uint64_t earliest = CLOCK_NEVER;
	for (size_t i = 0; i < countof(deadlines); i++)
		earliest = deadlines[i] < earliest ? deadlines[i] : earliest;
	return earliest;
}

void http_drain(struct http *http)
{
	if (http->draining)
		return;
	http->draining = true;
	accept_drain(http);
}

void http_refuse(struct http *http)
{
	http->refusing = true;
}

size_t http_busy(const struct http *http)
{
	return http->busy;
}

/* The library aborts the process if it is stopped with a suspended connection. */
static void give_up_all(struct http *http)
{
	http->stopping = true;
	for (int phase = 0; phase < PHASE_COUNT; phase++) {
		struct connection *connection;
		TAILQ_FOREACH (connection, &http->phases[phase], next) {
			struct waiting *waiting = connection->waiting;
			if (waiting && waiting->parked && waiting->state != STATE_GONE && !waiting->resume_due)
				waiting_left(waiting);
		}
	}
	resume_all(http);
}

void http_stop(struct http *http)
{
	if (!http)
		return;
	http_drain(http);
	http_refuse(http);
	accept_stop(http);
	give_up_all(http);
	daemons_stop(http);
	linger_stop(http);
	struct waiting *waiting;
	while ((waiting = TAILQ_FIRST(&http->recycled))) {
		TAILQ_REMOVE(&http->recycled, waiting, next);
		buf_fini(&waiting->request.body);
		free(waiting);
	}
	held_show(http);
	free(http);
}
