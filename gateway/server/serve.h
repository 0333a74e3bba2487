/* SPDX-License-Identifier: Apache-2.0 */
/* serve.h: the gateway as a process: start, signals, stop. */
#ifndef JITNEY_GATEWAY_SERVER_SERVE_H
#define JITNEY_GATEWAY_SERVER_SERVE_H

/* Run until a signal ends it. Returns the exit code: 0 drained, 1 failed while running, 2 could not start (one line on
 * stderr says why). Main thread. */
int serve(const char *config_path);

#endif
