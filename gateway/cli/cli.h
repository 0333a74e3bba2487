/* SPDX-License-Identifier: Apache-2.0 */
/* cli.h: the commands beside `serve`. Each returns the process's exit code: 0 well, 1 failed, 2 wrong usage or config.
 */
#ifndef JITNEY_GATEWAY_CLI_CLI_H
#define JITNEY_GATEWAY_CLI_CLI_H

enum { EXIT_USAGE = 2 };
#define CLI_DEFAULT_CONFIG "/etc/jitney/jitney.yaml"

/* argv[0] is the command's name. */
int cli_serve(int argc, char **argv);
int cli_check(int argc, char **argv);
int cli_explain(int argc, char **argv); /* explain.c */
int cli_call(int argc, char **argv);
int cli_tools(int argc, char **argv);
int cli_cache(int argc, char **argv);  /* cli_cache.c */
int cli_reload(int argc, char **argv); /* cli_reload.c */
int cli_import(int argc, char **argv);
int cli_simulate(int argc, char **argv); /* simulate.c */
int cli_top(int argc, char **argv);      /* top/top.c */
int cli_perf(int argc, char **argv);     /* perf/perf.c */

struct config;
/* Print what is different in the gateway whose admin listener is at url. Returns the exit code. cli_reload.c */
int cli_print_against(const struct config *config, const char *url);

#endif
