/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sampler.h: where the threads of this process are, each time one has used so much CPU time. A timer of each thread's
 * own CPU clock sends it SIGPROF; the handler walks its stack into a ring that whoever profiles empties. A thread that
 * waits is not disturbed. While nobody samples there is no timer, and nothing of this costs anything.
 */
#ifndef JITNEY_GATEWAY_PROFILE_SAMPLER_H
#define JITNEY_GATEWAY_PROFILE_SAMPLER_H

#include "gateway/profile/stacks.h"

enum {
	SAMPLER_HZ = 100,       /* samples of a second of CPU time */
	SAMPLER_THREADS = 1024, /* others are not sampled */
	SAMPLER_DRAIN_MS = 50   /* so often it has to be emptied, or samples are lost on a machine of many CPUs */
};

struct sampler;

/* Begin with all threads that there are. NULL: `error` says why (the kernel gives no timers, another one is under way).
 * Any thread; the same one calls all below. */
struct sampler *sampler_start(char *error, size_t error_bytes) MUST_CHECK;
/* Threads that have come since are sampled from now on. */
void sampler_look(struct sampler *sampler);
/* What has been sampled since the last time, in nanoseconds of CPU time. The roots are names of threads, which live as
 * long as the sampler. */
void sampler_drain(struct sampler *sampler, struct stacks *to);
/* No more: timers are gone, what has been sampled is still there to be drained. */
void sampler_stop(struct sampler *sampler);
/* Samples that found the ring full. */
uint64_t sampler_lost(const struct sampler *sampler);
/* Stops it too. NULL is allowed. */
void sampler_free(struct sampler *sampler);

#endif
