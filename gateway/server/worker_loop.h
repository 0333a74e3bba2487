/* SPDX-License-Identifier: Apache-2.0 */
/* worker_loop.h: how a worker runs: made, given its listeners, started, turned, drained, settled. */
#ifndef JITNEY_GATEWAY_SERVER_WORKER_LOOP_H
#define JITNEY_GATEWAY_SERVER_WORKER_LOOP_H

#include "gateway/call/worker.h"

/* A worker without listeners. NULL when memory is out or the kernel refuses. Main thread. */
struct worker *worker_new(struct gateway *gateway, unsigned index) MUST_CHECK;
/* Start the thread: it runs until the gateway drains and nothing is left to do. False and errno. Main thread. */
bool worker_start(struct worker *worker) MUST_CHECK;
/* Its thread has ended. Once, after worker_start. Main thread. */
void worker_join(struct worker *worker);
/* Accept on all listeners from the next turn on. Once, any thread. */
void worker_open(struct worker *worker);
/* Whether the loop has turned since the last time it was asked, and ask again; true the first time. Main thread. */
bool worker_ping(struct worker *worker);
/* Whether it had, as of the last ping, all lists of tools that clients would wait for. Any thread. */
bool worker_has_lists(struct worker *worker);
/* One turn of the loop, which waits until `latest_us` at most. For the thread itself, and for tests that turn workers
 * by hand. */
void worker_turn(struct worker *worker, uint64_t latest_us);
/* After all threads were joined: open what is still in the post and end it. True when there was nothing left; calls
 * may go to and fro between workers, so settle all of them until all say so. Main thread. */
bool worker_settle(struct worker *worker) MUST_CHECK;
/* After the thread was joined, or never started. NULL is allowed. */
void worker_free(struct worker *worker);

#endif
