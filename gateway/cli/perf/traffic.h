/* SPDX-License-Identifier: Apache-2.0 */
/*
 * traffic.h: HTTP/1.1 load: so many callers, each on a kept connection with one call under way, as fast as answers come or
 * when calls are due. Bounded in time and in count. One thread; for bench/load and `jitney perf benchmark`.
 *
 *   idle -> (due) -> sent -> answered or failed -> idle; could not connect -> rests for up to 100 ms -> idle
 */
#ifndef JITNEY_GATEWAY_CLI_PERF_TRAFFIC_H
#define JITNEY_GATEWAY_CLI_PERF_TRAFFIC_H

#include <sys/socket.h>

#include "gateway/cli/perf/wire.h"

enum { TRAFFIC_CALLERS_MAX = 60000, TRAFFIC_STATUSES = 1000 };

/* How a call can fail without an answer. */
#define TRAFFIC_FAILURES(X) X(CONNECT, "connect") X(CLOSED, "closed") X(TIMEOUT, "timeout") X(PROTOCOL, "protocol")
enum traffic_failure {
#define X(name, word) TRAFFIC_##name,
	TRAFFIC_FAILURES(X)
#undef X
		TRAFFIC_FAILURE_COUNT
};
extern const char *const traffic_failure_words[TRAFFIC_FAILURE_COUNT];

/* A whole answer; valid during the call of `answered`. */
struct traffic_answer {
	uint64_t number;  /* what `write` has returned */
	uint64_t took_us; /* since the call was due, not since it was sent: a late start is the caller's wait as well */
	const struct wire_message *message;
	const char *bytes; /* head and body: head_len, body_len of the message */
};

struct traffic_settings {
	struct sockaddr_storage address;
	unsigned address_len;
	size_t callers;
	uint64_t calls;      /* at most; 0: as many as seconds_us allows */
	uint64_t seconds_us; /* no new calls after this; 0: until all calls are done */
	uint64_t timeout_us; /* one call at most */
	double rate;         /* calls a second over all callers; 0: as fast as answers come */
	bool at_once;        /* connect all, then begin */
	bool no_body;        /* HEAD */
	void *context;
	/* Append the whole request of call `sequence` (from 0); returns a number that comes back with its answer. */
	uint64_t (*write)(void *context, uint64_t sequence, struct wire_buf *out);
	void (*answered)(void *context, const struct traffic_answer *answer);
	/* When call `sequence` is due, microseconds from the begin, never falling; NULL: by `rate`. */
	uint64_t (*due_us)(void *context, uint64_t sequence);
	/* Asked each turn, ten times a second at least; false: all ends now, calls under way are not counted. NULL: true. */
	bool (*going_on)(void *context, uint64_t now_us);
};

struct traffic_counts {
	uint64_t start_us, end_us; /* first call due, last call answered */
	uint64_t begun, ended, answered;
	uint64_t failures[TRAFFIC_FAILURE_COUNT], statuses[TRAFFIC_STATUSES];
};

/* Returns when all is done. False: no memory or descriptors to begin with. `settings` is constant meanwhile, and
 * `counts` may be read by the callbacks. */
bool traffic_run(const struct traffic_settings *settings, struct traffic_counts *counts);

#endif
