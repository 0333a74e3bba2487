/* SPDX-License-Identifier: Apache-2.0 */
/* perf.h: the commands of `jitney perf`. Each returns the process's exit code; argv[0] is the command's name. */
#ifndef JITNEY_GATEWAY_CLI_PERF_PERF_H
#define JITNEY_GATEWAY_CLI_PERF_PERF_H

int perf_benchmark(int argc, char **argv); /* benchmark.c */
int perf_monitor(int argc, char **argv);   /* monitor.c */
int perf_profile(int argc, char **argv);   /* profile.c */

#endif
