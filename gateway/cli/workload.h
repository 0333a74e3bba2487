/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workload.h: where the calls of a simulation come from: an access log of this gateway (logfmt or JSON lines), or a
 * generated load. Reads whole files; for `jitney simulate` only.
 */
#ifndef JITNEY_GATEWAY_CLI_WORKLOAD_H
#define JITNEY_GATEWAY_CLI_WORKLOAD_H

#include <stdio.h>

#include "base/compiler.h"
#include "base/slice.h"
#include "gateway/cli/load_pattern.h"
#include "upstream/provider_model.h"

/* What a log says: when calls came that went on to the provider (those answered from a cache or joined to another's
 * flight did not), and what its requests took. */
struct log_reading {
	struct workload workload;
	size_t lines, calls; /* read; calls in them, served from wherever */
	size_t requests;     /* to the provider that the log tells of */
	bool fitted; /* provider is from at least 8 requests of the log: fixed_us, item_us, and as factors how much
		      * longer or shorter than those say each one took */
	struct provider_model provider;
	double *factors; /* its */
};

/* tool: only its calls; NULL: all. False: `error` says why (cannot be read, no such calls, memory). */
bool workload_read(FILE *log, const char *tool, struct log_reading *reading, char *error,
		   size_t error_bytes) MUST_CHECK;

/* Each call of a log, whatever it was answered from, as its line stands there: when it began (microseconds since 1970) and
 * its tool. `take` returns false for want of memory. False: `error` says why (cannot be read, no calls, memory). */
bool workload_each_call(FILE *log, bool (*take)(void *context, uint64_t began_us, struct slice tool), void *context,
			char *error, size_t error_bytes) MUST_CHECK;

/* `rate` calls a second on average, at random (a Poisson process), the same for the same seed. False: out of memory. */
bool workload_generate(double rate, double seconds, uint64_t seed, struct workload *workload) MUST_CHECK;

/* Free its times; it is empty then. */
void workload_fini(struct workload *workload);
/* The arrivals too. */
void log_reading_fini(struct log_reading *reading);

#endif
