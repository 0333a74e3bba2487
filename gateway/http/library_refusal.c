/* SPDX-License-Identifier: Apache-2.0 */
/*
 * library_refusal.c: what the library refuses itself, in HTML: a head, or a chunked body, that it read before we could
 * look at it (guard.h). It tells its log first, within MHD_run, but not of which connection. If only one can be meant,
 * that one is answered by us, past the library, whose own words then find the socket shut. If several can, it stays the
 * library's: nobody is shut out for what another has sent.
 */
#include <stdio.h>
#include <string.h>

#include "gateway/http/http_private.h"

/* What it says first, of 0.9.75 as of 1.0; its arguments are an unsigned status and a text. Should another version say
 * it otherwise, its pages are HTML. */
static const char announcement[] = "Error processing request (HTTP response code is %u";

/* Whether the library may be in the middle of a head of it, or of a chunked body. What nobody can know counts. */
static bool may_be_meant(const struct connection *connection)
{
	const struct http_request *http_request = connection->http_request;
	switch (connection->phase) {
	case PHASE_IDLE:
	case PHASE_IDLE_WATCHED:
	case PHASE_IDLE_COLD:
	case PHASE_HEAD:
	case PHASE_LEFT:
		return http_request || !door_is_between_requests(connection);
	case PHASE_BODY:
	case PHASE_SLOW_BODY:
		return connection->chunked;
	case PHASE_ARRIVED:
	case PHASE_PUT_OFF:
	case PHASE_PROCESSING:
	case PHASE_WATCHING_CLIENT:
	case PHASE_WATCHING_COLD:
	case PHASE_SENDING:
	case PHASE_CUT:
	case PHASE_COUNT:
		break;
	}
	return false;
}

/* NULL: none, or more than one. */
static struct connection *find_meant(struct http *http)
{
	struct connection *connection, *found = NULL;
	for (int phase = 0; phase < PHASE_COUNT; phase++)
		TAILQ_FOREACH (connection, &http->phases[phase], next) {
			if (connection->daemon != http->running || !may_be_meant(connection))
				continue;
			if (found)
				return NULL;
			found = connection;
		}
	return found;
}

static struct guard_decision decide_by(unsigned status)
{
	switch (status) {
	case MHD_HTTP_URI_TOO_LONG:
	case MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE:
		return (struct guard_decision){ OUTCOME_HEADERS_TOO_LARGE, REJECT_HEAD_SIZE,
						"The request head is larger than limits.headers." };
	default:
		return (struct guard_decision){ OUTCOME_INVALID_REQUEST, REJECT_BAD_FRAMING,
						"The request's framing cannot be read (RFC 9112)." };
	}
}

/* The library knows of http_request, and ends it; or it has not seen its first line, and it is NULL. */
static void answer_past_library(struct connection *connection, const struct guard_decision *decision)
{
	struct http *http = connection->http;
	struct http_request *known = connection->http_request, *http_request = known ? known : request_new(http);
	if (!http_request)
		return; /* out of memory: in the library's words, then */
	http_request->connection = connection;
	connection_enter(connection, PHASE_CUT, loop_now(http->loop));
	loop_unwatch(http->loop, &connection->watch);
	http_request_refuse_past_library(http_request, decision);
	shutdown(connection->fd, SHUT_WR);
	linger(http, connection->fd);
	if (!known)
		request_recycle(http, http_request);
}

void library_says(void *context, const char *format, va_list arguments)
{
	struct http *http = context;
	if (!http->running || strncmp(format, announcement, sizeof announcement - 1) != 0)
		return;
	struct connection *meant = find_meant(http);
	if (!meant)
		return;
	struct guard_decision decision = decide_by(va_arg(arguments, unsigned));
	answer_past_library(meant, &decision);
}
