/* SPDX-License-Identifier: Apache-2.0 */
/* perf.h: the commands of `jitney perf`. Each returns the process's exit code; argv[0] is the command's name. */
#ifndef JITNEY_GATEWAY_CLI_PERF_PERF_H
#define JITNEY_GATEWAY_CLI_PERF_PERF_H

#include "base/compiler.h"
#include "base/slice.h"

int perf_benchmark(int argc, char **argv); /* benchmark.c */
int perf_monitor(int argc, char **argv);   /* monitor.c */
int perf_profile(int argc, char **argv);   /* profile.c */

/* What a command has found out, into a file, or onto standard output (path: NULL). False: it is not all there, and standard
 * error was told why. */
bool perf_write(const char *path, struct slice bytes) MUST_CHECK;

#endif
