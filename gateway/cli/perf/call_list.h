/* SPDX-License-Identifier: Apache-2.0 */
/* call_list.h: what a benchmark calls: one call, the lines of a file, or the tools and times of an access log. */
#ifndef JITNEY_GATEWAY_CLI_PERF_CALL_LIST_H
#define JITNEY_GATEWAY_CLI_PERF_CALL_LIST_H

#include "gateway/cli/cli_client.h"
#include "gateway/cli/perf/target.h"
#include "gateway/cli/perf/wire.h"

enum { CALL_LIST_ERROR_BYTES = 700 };

struct listed_call {
	size_t path, path_len, body, body_len; /* in `text` */
	uint64_t at_us;                        /* of a log: since its first call */
};

/* Zero-initialise. */
struct call_list {
	struct buf text;
	struct listed_call *calls;
	size_t count, room;
	bool timed;         /* calls have times */
	uint64_t distinct;  /* > 0: "%d" in a body is the call's number modulo this */
	struct buf headers; /* lines that all requests have */
};

/* One way to fill it; false: `error` says what is wrong, with the file and line. `arguments` is JSON text. */
bool call_list_one(struct call_list *list, const char *tool, const char *arguments,
		   char error[CALL_LIST_ERROR_BYTES]) MUST_CHECK;
/* Lines of {"tool": NAME, "arguments": {...}}; "-" is standard input. */
bool call_list_file(struct call_list *list, const char *path, char error[CALL_LIST_ERROR_BYTES]) MUST_CHECK;
/* All calls that an access log tells of, `speed` times as fast as they came, each with the same arguments: those that
 * were made are not in it. */
bool call_list_log(struct call_list *list, const char *path, const char *arguments, double speed,
		   char error[CALL_LIST_ERROR_BYTES]) MUST_CHECK;
void call_list_fini(struct call_list *list);

/* What all requests say: Host, and the headers of the command line. */
void call_list_address(struct call_list *list, const struct target *target, const struct cli_client *setup);
/* Append the request of call `sequence`; after the last call of the list comes the first one again. */
void call_list_write(const struct call_list *list, const struct target *target, uint64_t sequence,
		     struct wire_buf *out);

#endif
