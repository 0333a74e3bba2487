/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main_thread.h: what the main thread does while the workers run: it hears signals, gives the service manager signs of
 * life as long as every worker's loop turns, takes over from a predecessor, and offers the listeners to a successor. A
 * loop of its own. Main thread.
 */
#ifndef JITNEY_GATEWAY_SERVER_MAIN_THREAD_H
#define JITNEY_GATEWAY_SERVER_MAIN_THREAD_H

#include <signal.h>

#include "gateway/call/world.h"
#include "gateway/server/takeover.h"

struct main_thread;

/* signals: to be heard, blocked in all threads. takeover: borrowed; NULL: there is no predecessor. NULL and errno when
 * the kernel or memory refuses. */
struct main_thread *main_thread_new(struct gateway *gateway, const sigset_t *signals,
				    struct takeover *takeover) MUST_CHECK;
/* Wait until the workers, which run and accept nothing, have the lists of tools that clients would wait for; then the
 * predecessor leaves the listeners to us. False: it goes on, or a signal has ended this; `error` says why. */
bool main_thread_take_over(struct main_thread *main_thread, char *error, size_t error_bytes) MUST_CHECK;
/* Offer the listeners to a successor from now on, in main_thread_run also where a reload has moved the door to; a place
 * where that is not possible is told in the log. */
void main_thread_offer(struct main_thread *main_thread);
/* Until a signal ends it (true), or a successor has taken over (false). In the first case a second signal ends the
 * process at once, by its default action, from then on. */
bool main_thread_run(struct main_thread *main_thread);
/* After main_thread_run: wait so long. Reloads are still heard of, and a signal ends the process. */
void main_thread_wait(struct main_thread *main_thread, uint64_t us);
/* NULL is allowed. */
void main_thread_free(struct main_thread *main_thread);

#endif
