/* SPDX-License-Identifier: Apache-2.0 */
/* timed_wait.h: conditions that are waited for until a time of clock_now_us, for threads that have no loop. */
#ifndef JITNEY_BASE_TIMED_WAIT_H
#define JITNEY_BASE_TIMED_WAIT_H

#include <pthread.h>
#include <stdint.h>

#include "base/compiler.h"

/* For timed_wait: a step of the wall clock shortens and prolongs no wait. pthread_cond_destroy ends it. */
void timed_wait_init(pthread_cond_t *condition);
/* Until it is signalled, or until_us (CLOCK_NEVER: that never comes). False: the time has come. As with all conditions,
 * true may be said for nothing. The mutex is held, and given up meanwhile. */
bool timed_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t until_us);

#endif
