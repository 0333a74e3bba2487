/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h: a small blocking HTTP fetch: the command line's to a gateway, over TCP or a unix socket, and those of threads
 * that post alerts and traces. Redirects are not followed, certificates are verified. Not for workers.
 */
#ifndef JITNEY_UPSTREAM_HTTP_CLIENT_H
#define JITNEY_UPSTREAM_HTTP_CLIENT_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/slice.h"
#include "upstream/upstream.h"

struct client_request {
	const char *server; /* "http://127.0.0.1:8080", "https://host", or "unix:/run/jitney.sock"; a bare "host:port"
			       is http */
	const char *path;   /* "/v1/tools/web_search?x=y": begins with '/', encoded */
	const char *method;
	const struct upstream_header *headers;
	size_t header_count;
	bool has_body;
	struct slice body;
	uint64_t timeout_us; /* for all of it */
	const char
		*ca_file; /* PEM, read anew each time; who may vouch for the server; NULL: the system's authorities */
	bool status_only; /* what follows the answer's status is not wanted: neither waited for nor checked, nor in `body` */
	/* Set by another thread: nobody wants it any more, and the fetch fails within about a second. NULL: none does. */
	const atomic_bool *cancelled;
};

/* A header the caller is curious about. */
struct client_wanted {
	const char *name;
	char value[512]; /* "" if the answer has none; cut if longer */
};

/* What a Retry-After asks for, a number of seconds or until a date (0 if that is past), of an hour at most, in microseconds. False:
 * it is neither, and *us is as it was. Any thread. */
bool client_read_pause(const struct client_wanted *retry_after, uint64_t *us);

struct client_reply {
	unsigned status; /* set, as `wanted` is, also where the fetch fails behind the head of an answer; else 0 then */
	struct buf body; /* initialised by the caller: its max is the cap; the caller's to free */
	struct client_wanted *wanted; /* by the caller */
	size_t wanted_count;
	/* If set, the body of a 200 goes here, piece by piece, instead of into `body`. False: enough, the fetch fails.
	 */
	bool (*sink)(void *context, struct slice piece);
	void *sink_context;
};

/* False: no whole answer (status_only: no status), `error` is a sentence with the server's name in it ("cannot connect to ...: connection
 * refused"). upstream_library_init first. Any thread. */
bool client_fetch(const struct client_request *request, struct client_reply *reply, char *error,
		  size_t error_bytes) MUST_CHECK;

#endif
