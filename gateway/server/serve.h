/* SPDX-License-Identifier: Apache-2.0 */
/* serve.h: the gateway as a process: start, signals, stop. */
#ifndef JITNEY_GATEWAY_SERVER_SERVE_H
#define JITNEY_GATEWAY_SERVER_SERVE_H

#include <stdbool.h>

struct serve_options {
	const char *config_path;
	bool takeover;    /* from a running gateway */
	const char *door; /* where it is asked; NULL: as the configuration says */
};

/* Run until a signal ends it, or a successor has taken over. Returns the exit code: 0 drained, 1 failed while running,
 * 2 could not start (one line on stderr says why). Main thread. */
int serve(const struct serve_options *options);

#endif
