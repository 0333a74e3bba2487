/* SPDX-License-Identifier: Apache-2.0 */
/* process.h: what the system says of this process. Of this folder alone; outsiders use metrics.h. Any thread. */
#ifndef JITNEY_METRICS_PROCESS_H
#define JITNEY_METRICS_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

/* What /proc/self/stat says; see proc(5). */
struct process {
	uint64_t threads;
	uint64_t start_ticks; /* since boot */
	uint64_t virtual_bytes;
	uint64_t resident_pages;
};

/* False: the system does not say. */
bool process_read(struct process *process) MUST_CHECK;
/* metrics_descriptors'. */
void process_descriptors(uint64_t *open, uint64_t *most);
/* When this process started, wall clock in microseconds; 0 when the system does not say. */
uint64_t process_start_us(void);

#endif
