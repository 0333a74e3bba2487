/* SPDX-License-Identifier: Apache-2.0 */
/* benchmark.h: a benchmark under way: calls to a gateway, at one rate or at many, and its memory meanwhile. */
#ifndef JITNEY_GATEWAY_CLI_PERF_BENCHMARK_H
#define JITNEY_GATEWAY_CLI_PERF_BENCHMARK_H

#include "gateway/cli/perf/call_list.h"
#include "gateway/cli/perf/result.h"

/* What is to be done; constant while it runs. */
struct benchmark {
	struct cli_client client; /* whom calls go to */
	struct cli_client admin;  /* whose memory is looked at */
	struct target target;
	struct call_list calls;
	uint64_t callers, count; /* count: calls at most; 0: as many as the time allows */
	double rate;             /* calls a second; 0: as fast as answers come */
	uint64_t seconds_us;     /* of each step; 0: a log's own time */
	bool sweep;
};

/*
 * Do it. Progress goes to standard error, if that is a terminal. SIGINT ends it with what has been measured so far
 * (result->interrupted). upstream_library_init first. False: it could not begin, and `error` says why.
 */
bool benchmark_run(const struct benchmark *benchmark, struct bench_result *result,
		   char error[CALL_LIST_ERROR_BYTES]) MUST_CHECK;

#endif
