/* SPDX-License-Identifier: Apache-2.0 */
/* cli_client.h: what commands that talk to a gateway have in common: options, one request, problems in one line. */
#ifndef JITNEY_GATEWAY_CLI_CLI_CLIENT_H
#define JITNEY_GATEWAY_CLI_CLI_CLIENT_H

#include <stdint.h>

#include "upstream/http/client.h"

enum { CLI_HEADERS_MAX = 32 };

/* Whom a command talks to unless told otherwise. */
struct cli_server {
	const char *variable; /* of the environment */
	const char *url;      /* if that is not set */
	uint64_t timeout_s;
};

struct cli_client {
	const char *server;
	const char *format;
	uint64_t timeout_us;
	uint64_t limit; /* 0: none */
	bool verbose, help;
	struct upstream_header headers[CLI_HEADERS_MAX + 1]; /* one more for Content-Type */
	size_t header_count;
};

/* Says so on standard error; returns the exit code. */
int cli_wrong_usage(const char *command, const char *what);
/* Seconds between two looks at a gateway. NULL, or what is wrong. */
const char *cli_read_interval(const char *text, uint64_t *us) MUST_CHECK;

/* For a command with options of its own beside these: begin with what holds if nothing is said; then take one that getopt
 * has read, by its letter (u, t, H, n, f, v, h). NULL, or what is wrong, for any other letter too. */
void cli_begin_options(const struct cli_server *usual, struct cli_client *setup);
const char *cli_take_option(int option, struct cli_client *setup) MUST_CHECK;
/* NULL, or what is wrong. `letters`: which options there are, as for getopt; help ends the reading. */
const char *cli_read_options(int argc, char **argv, const struct cli_server *usual, const char *letters,
			     struct cli_client *setup) MUST_CHECK;
/* Append the path under which a tool is called, whatever its name holds: percent-encoded. */
void cli_put_tool_path(struct buf *path, struct slice tool);
/* Send it; a failure or a problem is told on standard error. Returns the exit code: 0 for a 200. */
int cli_fetch(const struct client_request *request, struct client_reply *reply, const struct cli_client *setup);

#endif
