/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.c: the life of a request, from the library's callbacks to the handler and back, and the turn of a listener. How
 * connections come is in accept.c, how they live in connection.c, replies in response.c, the guard in guard.c, the
 * library's daemons in daemon.c; http_private.h draws the states.
 */
#include <assert.h>
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/http/guard.h"
#include "base/hex.h"
#include "base/random.h"
#include "gateway/http/http_private.h"

enum {
	KEPT_BODY_BYTES = 16384, /* body memory a recycled request keeps */
	KEPT_REQUESTS = 256,     /* recycled requests kept */
	FIRST_BODY_BYTES = 4096, /* of a body that has only been announced, what is made room for */
};

/* ---------------------------------------------------------------- requests */

struct http_request *request_new(struct http *http)
{
	struct http_request *http_request = TAILQ_FIRST(&http->recycled);
	if (http_request) {
		TAILQ_REMOVE(&http->recycled, http_request, next);
		http->recycled_count--;
	} else {
		http_request = malloc(sizeof *http_request);
		if (!http_request)
			return NULL;
		buf_init(&http_request->request.body, 0);
	}
	/* all but the big target, whose bytes are set by its length */
	struct buf body = http_request->request.body;
	memset(http_request, 0, offsetof(struct http_request, target));
	body.max = http->settings->body_bytes;
	http_request->request.body = body;
	http_request->request.http = http;
	return http_request;
}

void request_recycle(struct http *http, struct http_request *http_request)
{
	if (http_request->response)
		MHD_destroy_response(http_request->response);
	buf_fini(&http_request->stream);
	if (http_request->request.body.store && http_request->request.body.store->len > KEPT_BODY_BYTES)
		buf_fini(&http_request->request.body);
	buf_reset(&http_request->request.body);
	if (http->recycled_count >= KEPT_REQUESTS) {
		buf_fini(&http_request->request.body);
		free(http_request);
		return;
	}
	TAILQ_INSERT_HEAD(&http->recycled, http_request, next);
	http->recycled_count++;
}

void request_id_new(struct http *http, char id[REQUEST_ID_BYTES])
{
	uint64_t number = htobe64(random_ids_next(&http->ids));
	hex_write(id, (const unsigned char *)&number, sizeof number);
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
	struct http_request *http_request = request_new(http);
	if (!http_request)
		return NULL;
	http_request->mhd = mhd;
	http_request->connection = connection;
	connection->http_request = http_request;
	http_request->target_len = strlen(uri);
	size_t kept = http_request->target_len < sizeof http_request->target ? http_request->target_len
									     : sizeof http_request->target - 1;
	memcpy(http_request->target, uri, kept); /* the library decodes it in place later */
	http_request->target[kept] = '\0';
	http_request->request.caller = connection->number;
	http_request->request.from_trusted_proxy = connection->from_trusted_proxy;
	http_request->request.peer = (const struct sockaddr *)&connection->peer;
	return http_request;
}

size_t request_header(const struct request *request, struct slice name, struct slice *value)
{
	return guard_find_header(container_of(request, struct http_request, request)->mhd, name, value);
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

size_t request_query_count(const struct request *request)
{
	return request->query.len ? slice_count(request->query, '&') + 1 : 0;
}

static enum MHD_Result queue_reply(struct http_request *http_request)
{
	struct MHD_Response *response = http_request->response;
	if (!response)
		return MHD_NO;
	http_request->response = NULL;
	enum MHD_Result result = MHD_queue_response(http_request->mhd, http_request->status, response);
	MHD_destroy_response(response);
	return result;
}

static void begin_refusal(struct http *http, struct http_request *http_request, enum reject_reason reason)
{
	meter_add(http->meter, METRIC_ID_REJECTED, reason, 0, 1);
	http_request->refused = true;
	http_request->known = true;
	http_request->state = STATE_SERVING;
	http_request->request.received_us = loop_now(http->loop);
}

static enum MHD_Result refuse_body(struct http *http, struct http_request *http_request, enum outcome outcome,
				   enum reject_reason reason, const char *detail)
{
	connection_enter(http_request->connection, PHASE_PROCESSING, loop_now(http->loop));
	begin_refusal(http, http_request, reason);
	http->handler.refuse(http->handler.context, &http_request->request, outcome, detail);
	if (http_request->body_due)
		linger(http, http_request->connection->fd);
	return queue_reply(http_request);
}

void http_request_refuse_past_library(struct http_request *http_request, const struct guard_decision *decision)
{
	struct http *http = http_request->request.http;
	const struct connection *connection = http_request->connection;
	set_request_id(http, &http_request->request);
	http_request->request.peer = (const struct sockaddr *)&connection->peer;
	http_request->request.caller = connection->number;
	http_request->request.from_trusted_proxy = connection->from_trusted_proxy;
	http_request->past_library = true;
	begin_refusal(http, http_request, decision->reason);
	http->handler.refuse(http->handler.context, &http_request->request, decision->outcome, decision->detail);
	http->handler.finished(http->handler.context, &http_request->request, http_request->status,
			       http_request->reply_bytes);
	http_request->known = false; /* `finished` has been called */
}

/* There is no memory for a reply's head: the library would close without a word. Nothing is being sent on the
 * connection, so the refusal is written past it. */
static enum MHD_Result refuse_without_memory(struct http *http, struct http_request *http_request)
{

	int fd = http_request->connection->fd;
	connection_enter(http_request->connection, PHASE_PROCESSING, loop_now(http->loop));
	http_request_refuse_past_library(http_request, &too_many_headers);
	http_request->state = STATE_GONE;
	shutdown(fd, SHUT_WR);
	linger(http, fd);
	return MHD_NO;
}

/* A body is coming. Room is made for what an ordinary one takes; more as it comes. False: out of memory. */
static bool expect_body(struct http_request *http_request, const struct guard_head *head)
{
	struct buf *body = &http_request->request.body;
	http_request->body_due = head->chunked || head->length > 0;
	if (head->has_length)
		body->max = head->length < body->max ? (size_t)head->length : body->max;
	return buf_reserve(body, head->length < FIRST_BODY_BYTES ? (size_t)head->length : FIRST_BODY_BYTES);
}

static void count_head(struct http_request *http_request, const struct guard_head *head)
{
	struct connection *connection = http_request->connection;
	connection->consumed +=
		MHD_get_connection_info(http_request->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)->header_size;
	connection->chunked |= head->chunked;
}

/* The whole head is there, nothing after it has been looked at. Refusing here ends the connection. */
static enum MHD_Result head_complete(struct http *http, struct http_request *http_request, const char *method,
				     const char *version)
{
	const struct http_settings *settings = http->settings;
	struct request *request = &http_request->request;
	struct guard_head head = { 0 };
	size_t kept = http_request->target_len < sizeof http_request->target ? http_request->target_len
									     : sizeof http_request->target - 1;
	http_request->head_seen = true;
	http->head_came = true;
	if (!http_request->connection->consumed)
		http_request->connection->memory = method; /* a connection's memory begins with its first head */
	http->busy++;
	loop_unwatch(http->loop, &http_request->connection->watch);
	struct guard_decision decision =
		guard_request(http_request->mhd, request, method, version, (struct slice){ http_request->target, kept },
			      http_request->target_len, settings->tenant_header, settings->header_bytes, &head);
	set_request_id(http, request);
	count_head(http_request, &head);
	if (!daemon_has_memory(http, http_request->connection, &head))
		return refuse_without_memory(http, http_request);
	if (decision.outcome != OUTCOME_OK)
		return refuse_body(http, http_request, decision.outcome, decision.reason, decision.detail);
	if (head.length > settings->body_bytes) {
		http_request->body_due = true;
		return refuse_body(http, http_request, OUTCOME_PAYLOAD_TOO_LARGE, REJECT_BODY_SIZE,
				   "The body is larger than limits.body.");
	}
	if (!expect_body(http_request, &head))
		return refuse_body(http, http_request, OUTCOME_OVERLOADED, REJECT_NO_MEMORY,
				   "The gateway is out of memory.");
	if (head.length > HELD_FROM_BYTES && !held_has_room(http, head.length))
		return refuse_body(http, http_request, OUTCOME_OVERLOADED, REJECT_IN_FLIGHT_BYTES,
				   "The gateway holds as many bytes as limits.in_flight_bytes allows.");
	connection_enter(http_request->connection, PHASE_BODY, loop_now(http->loop));
	return MHD_YES;
}

/* From http->resume on, in a turn that has room for it. */
static void wait_for_turn(struct http_request *http_request)
{
	MHD_suspend_connection(http_request->mhd);
	http_request->suspended = true;
	http_request_resume(http_request);
}

/* How much room a body gets when there is too little. */
static size_t grown_room(const struct buf *body, size_t wanted)
{
	size_t before = body->store ? body->store->len : 0;
	size_t grown = 2 * before < wanted ? wanted : 2 * before;
	return grown < body->max ? grown : body->max;
}

/* Whether the body is large and about to be moved, and this turn has moved enough. */
static bool waits_to_grow(struct http *http, const struct http_request *http_request, size_t more)
{
	const struct buf *body = &http_request->request.body;
	size_t before = body->store ? body->store->len : 0, wanted = body->len + more;
	if (before < LOOP_LARGE_BYTES || wanted <= before || wanted > body->max || http_request->overflown ||
	    http->refusing)
		return false;
	return !loop_afford(http->loop, LOOP_MOVES, grown_room(body, wanted));
}

/* Room for more of the body, counted before it is taken. */
static bool make_room(struct http_request *http_request, size_t more)
{
	struct buf *body = &http_request->request.body;
	size_t before = body->store ? body->store->len : 0, wanted = body->len + more;
	if (wanted <= before)
		return true;
	if (wanted > body->max)
		return false;
	size_t grown = grown_room(body, wanted);
	if (grown > HELD_FROM_BYTES && grown > http_request->held &&
	    !held_try(http_request, grown - http_request->held))
		return false;
	if (!buf_reserve(body, grown - body->len))
		return false;
	if (body->store->len > http_request->held && http_request->held)
		held_add(http_request, body->store->len - http_request->held);
	return true;
}

/* Until a turn has room for a piece of its body, which the library gives again then. The wait is the gateway's: nobody is cut
 * off for it, nor taken for one that has left, and the body's time begins anew after it. That is at most once each time the
 * body's room doubles, so who drips does not live on it. */
static void put_off(struct http *http, struct http_request *http_request, size_t piece_bytes)
{
	http_request->piece_bytes = piece_bytes;
	loop_unwatch(http->loop, &http_request->connection->watch);
	connection_enter(http_request->connection, PHASE_PUT_OFF, loop_now(http->loop));
	wait_for_turn(http_request);
}

static enum MHD_Result body_piece(struct http *http, struct http_request *http_request, const char *bytes, size_t *len)
{
	struct buf *body = &http_request->request.body;
	if (http_request->connection->phase == PHASE_CUT)
		return MHD_NO; /* what came before is read nevertheless */
	if (!http_request->may_grow && waits_to_grow(http, http_request, *len)) {
		put_off(http, http_request, *len);
		return MHD_YES;
	}
	http_request->may_grow = false;
	http_request->received += *len;
	http->body_read += *len;
	http_request->connection->consumed += *len;
	if (!http_request->overflown && make_room(http_request, *len)) {
		buf_put(body, (struct slice){ bytes, *len });
	} else if (!http_request->overflown) {
		http_request->overflown = true;
		buf_fini(body);
		held_let_go(http_request);
	}
	*len = 0;
	/* The reply can only come at the body's end; who sends without end is dropped. */
	if (http_request->received <= 2 * (uint64_t)http->settings->body_bytes + 65536)
		return MHD_YES;
	meter_add(http->meter, METRIC_ID_REJECTED, REJECT_BODY_SIZE, 0, 1);
	return MHD_NO;
}

void http_request_suspend(struct http_request *http_request)
{
	MHD_suspend_connection(http_request->mhd);
	http_request->suspended = true;
	connection_enter(http_request->connection, PHASE_PROCESSING, loop_now(http_request->request.http->loop));
}

/* Whether the whole reply is there, a large one, of which the kernel takes as much as it may at once, and this turn has begun
 * enough of them. */
static bool waits_to_begin(struct http *http, const struct http_request *http_request)
{
	return http_request->reply_bytes >= LOOP_LARGE_BYTES && http_request->state == STATE_ANSWERED &&
	       !http_request->streaming && !http->refusing &&
	       !loop_afford(http->loop, LOOP_REPLIES, (size_t)http_request->reply_bytes);
}

static enum MHD_Result body_complete(struct http *http, struct http_request *http_request)
{
	loop_unwatch(http->loop, &http_request->connection->watch);
	connection_enter(http_request->connection, PHASE_PROCESSING, loop_now(http->loop));
	http_request->state = STATE_SERVING;
	http_request->known = true;
	http_request->request.received_us = loop_now(http->loop);
	if (http_request->overflown) {
		bool large = http_request->received > http->settings->body_bytes;
		meter_add(http->meter, METRIC_ID_REJECTED, large ? REJECT_BODY_SIZE : REJECT_IN_FLIGHT_BYTES, 0, 1);
		http->handler.refuse(http->handler.context, &http_request->request,
				     large ? OUTCOME_PAYLOAD_TOO_LARGE : OUTCOME_OVERLOADED,
				     large ? "The body is larger than limits.body."
					   : "The gateway holds as many bytes as limits.in_flight_bytes allows.");
	} else if (http->refusing) {
		meter_add(http->meter, METRIC_ID_REJECTED, REJECT_SHUTTING_DOWN, 0, 1);
		http->handler.refuse(http->handler.context, &http_request->request, OUTCOME_SHUTTING_DOWN,
				     "The gateway is shutting down.");
	} else {
		http->handler.serve(http->handler.context, &http_request->request);
	}
	if (http_request->state == STATE_ANSWERED && !waits_to_begin(http, http_request))
		return queue_reply(http_request);
	if (http_request->state == STATE_GONE)
		return MHD_NO;
	if (http_request->state == STATE_ANSWERED) {
		wait_for_turn(http_request);
		return MHD_YES;
	}
	http_request->state = STATE_SUSPENDED;
	if (!http_request->held)
		held_add(http_request, (size_t)http_request->received);
	http_request_suspend(http_request);
	return MHD_YES;
}

enum MHD_Result request_handle(void *context, struct MHD_Connection *mhd, const char *url, const char *method,
			       const char *version, const char *upload, size_t *upload_len, void **request_context)
{
	struct http *http = context;
	struct http_request *http_request = *request_context;
	(void)mhd;
	(void)url;
	if (!http_request)
		return MHD_NO; /* out of memory when it began */
	switch (http_request->state) {
	case STATE_READING:
		if (!http_request->head_seen)
			return head_complete(http, http_request, method, version);
		return *upload_len ? body_piece(http, http_request, upload, upload_len)
				   : body_complete(http, http_request);
	case STATE_ANSWERED:
		return queue_reply(http_request);
	case STATE_SERVING:
	case STATE_SUSPENDED:
	case STATE_GONE:
		break;
	}
	return MHD_NO;
}

void http_request_resume(struct http_request *http_request)
{
	struct http *http = http_request->request.http;
	if (!http_request->suspended || http_request->resume_due)
		return;
	http_request->resume_due = true;
	TAILQ_INSERT_TAIL(&http->resume, http_request, next);
}

/* The client has left, or is given up on. */
void http_request_left(struct http_request *http_request)
{
	struct http *http = http_request->request.http;
	meter_add(http->meter, METRIC_ID_CLIENTS_GONE, 0, 0, 1);
	void (*gone)(struct request *) = http_request->request.gone;
	http_request->request.gone = NULL;
	http_request->request.drained = NULL;
	http_request->state = STATE_GONE;
	http_request->stream_ended = true;
	if (gone)
		gone(&http_request->request);
	http_request_resume(http_request);
}

static void resume_request(struct http *http, struct http_request *http_request)
{
	struct connection *connection = http_request->connection;
	TAILQ_REMOVE(&http->resume, http_request, next);
	http_request->resume_due = false;
	http_request->suspended = false;
	enum phase phase = http_request->state == STATE_READING ? PHASE_BODY : PHASE_PROCESSING;
	loop_unwatch(http->loop, &connection->watch);
	if (connection->phase != phase)
		connection_enter(connection, phase, loop_now(http->loop));
	MHD_resume_connection(http_request->mhd);
	daemon_run_soon(connection->daemon);
}

/* Whether this turn has no room for what it waits for. */
static bool waits_on(struct http *http, struct http_request *http_request)
{
	if (http_request->state != STATE_READING)
		return waits_to_begin(http, http_request);
	http_request->may_grow = !waits_to_grow(http, http_request, http_request->piece_bytes);
	return !http_request->may_grow;
}

/* Who has waited longest is asked first, and before all who come now: which connections the library serves first is always
 * the same, and those would have each turn's room for themselves. */
static void resume_all(struct http *http)
{
	struct http_request *http_request, *behind;
	for (http_request = TAILQ_FIRST(&http->resume); http_request; http_request = behind) {
		behind = TAILQ_NEXT(http_request, next);
		if (!waits_on(http, http_request))
			resume_request(http, http_request);
	}
}

void request_completed(void *context, struct MHD_Connection *mhd, void **request_context,
		       enum MHD_RequestTerminationCode code)
{
	struct http *http = context;
	struct http_request *http_request = *request_context;
	(void)mhd;
	*request_context = NULL;
	if (!http_request)
		return;
	struct request *request = &http_request->request;
	bool sent = code == MHD_REQUEST_TERMINATED_COMPLETED_OK && http_request->status &&
		    http_request->state == STATE_ANSWERED;
	if (http_request->resume_due)
		TAILQ_REMOVE(&http->resume, http_request, next);
	loop_unwatch(http->loop, &http_request->connection->watch);
	http_request->connection->http_request = NULL;
	if (request->gone) { /* died while answering in pieces */
		meter_add(http->meter, METRIC_ID_CLIENTS_GONE, 0, 0, 1);
		request->gone(request);
	}
	if (http_request->known)
		http->handler.finished(http->handler.context, request, sent ? http_request->status : 499,
				       http_request->reply_bytes);
	if (http_request->head_seen)
		http->busy--;
	else if (http_request->connection->phase != PHASE_CUT && /* else it is counted already */
		 (code == MHD_REQUEST_TERMINATED_WITH_ERROR || code == MHD_REQUEST_TERMINATED_COMPLETED_OK))
		/* The library refused the head itself, one that is not its connection's first: a Content-Length that is
		 * no number, a head larger than its memory. */
		meter_add(http->meter, METRIC_ID_REJECTED, REJECT_BAD_FRAMING, 0, 1);
	held_let_go(http_request);
	connection_enter(http_request->connection, PHASE_IDLE, loop_now(http->loop));
	request_recycle(http, http_request);
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
	if (!random_secret(&http->ids, sizeof http->ids))
		http->ids = (struct random_ids){ random_fresh(http), random_fresh(&http->ids) };
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
	http->admin = admin;
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

void http_use(struct http *http, const struct http_settings *settings)
{
	http->settings = settings;
	if (!accept_make_room(http)) /* heads longer than before wait at the door until their time is over */
		meter_add(http->meter, METRIC_ID_REJECTED, REJECT_NO_MEMORY, 0, 1);
	daemons_use_settings(http);
	connections_use_settings(http);
}

void http_turn(struct http *http, uint64_t now_us)
{
	assert_owner(loop_owner(http->loop));
	accept_turn(http, now_us);
	resume_all(http);
	daemons_turn(http);
	connections_turn(http, now_us); /* after what has come was read: a late turn is not the client's fault */
	linger_turn(http, now_us);
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

void http_accept(struct http *http)
{
	accept_begin(http);
}

int http_socket(const struct http *http)
{
	return http->listen_fd;
}

void http_drain(struct http *http, bool shared)
{
	assert_owner(loop_owner(http->loop));
	if (http->draining)
		return;
	http->draining = true;
	accept_drain(http, shared);
}

void http_retire(struct http *http, uint64_t idle_us)
{
	http->idle_most_us = idle_us ? idle_us : 1;
	http_drain(http, false);
}

bool http_is_empty(const struct http *http)
{
	for (int phase = 0; phase < PHASE_COUNT; phase++)
		if (!TAILQ_EMPTY(&http->phases[phase]))
			return false;
	return TAILQ_EMPTY(&http->lingering);
}

void http_refuse(struct http *http)
{
	assert_owner(loop_owner(http->loop));
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
			struct http_request *http_request = connection->http_request;
			if (http_request && http_request->suspended && http_request->state != STATE_GONE &&
			    !http_request->resume_due)
				http_request_left(http_request);
		}
	}
	resume_all(http);
}

void http_stop(struct http *http)
{
	if (!http)
		return;
	http_drain(http, true);
	http_refuse(http);
	accept_stop(http);
	give_up_all(http);
	daemons_stop(http);
	linger_stop(http);
	struct http_request *http_request;
	while ((http_request = TAILQ_FIRST(&http->recycled))) {
		TAILQ_REMOVE(&http->recycled, http_request, next);
		buf_fini(&http_request->request.body);
		free(http_request);
	}
	held_show(http);
	free(http);
}
