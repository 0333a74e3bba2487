/* SPDX-License-Identifier: Apache-2.0 */
/* policies.h: eviction policies to set beside the memory tier's, on traces of numbered keys whose entries have one
 * size. */
#ifndef JITNEY_BENCH_POLICIES_H
#define JITNEY_BENCH_POLICIES_H

#include <stddef.h>
#include <stdint.h>

struct trace {
	uint32_t *ids; /* what is asked for, one after the other */
	size_t requests;
	uint32_t id_count; /* ids are below it */
};

/* Hits among all requests, with room for `room` entries. Out of memory: abort. */
size_t run_lru(const struct trace *trace, uint32_t room);
/* Zhang et al., "SIEVE is simpler than LRU", NSDI 2024. */
size_t run_sieve(const struct trace *trace, uint32_t room);
/* Einziger, Friedman, Manes, "TinyLFU: a highly efficient cache admission policy", ACM TOS 2017: a window of 1 %. */
size_t run_tinylfu(const struct trace *trace, uint32_t room);
/* S3-FIFO's queues, but what leaves the small one gets into main only if a sketch knows it better than main's oldest:
 * what the memory tier would be with an admission filter in place of its ghosts. */
size_t run_filtered(const struct trace *trace, uint32_t room);
/* Belady, "A study of replacement algorithms", 1966: who knows the future. */
size_t run_best(const struct trace *trace, uint32_t room);

#endif
