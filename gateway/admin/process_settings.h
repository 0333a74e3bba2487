/* SPDX-License-Identifier: Apache-2.0 */
/* process_settings.h: what of a generation is not the workers' to take, since it is the process's: at the start, and with
 * each reload. Any thread. */
#ifndef JITNEY_GATEWAY_ADMIN_PROCESS_SETTINGS_H
#define JITNEY_GATEWAY_ADMIN_PROCESS_SETTINGS_H

#include "gateway/config/config.h"

/* The programs behind run as our user, and what they are told to do comes from strangers: unless the operator wants
 * core dumps and debuggers, nobody of our user may read our memory or our environment (/proc/PID/mem, environ, ptrace). */
void process_guard_memory(const struct generation *next);
/* Have as many descriptors as the kernel lets us; where that is less than the generation may want, the log says so, unless
 * the one before wanted as many. workers: that listen. before: NULL: there was none. */
void process_raise_file_limit(unsigned workers, const struct generation *before, const struct generation *next);

#endif
