/* SPDX-License-Identifier: Apache-2.0 */
/* seats.h: where a worker listens: what the generation says, and what is left of connections of those before. The
 * worker's thread, or main's before it runs. */
#ifndef JITNEY_GATEWAY_SERVER_SEATS_H
#define JITNEY_GATEWAY_SERVER_SEATS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

struct listener;
struct worker;

/* Listen where the generation says, and no more on what it does not say: kept connections of that end with their next
 * reply, or after drain_timeout without a request, event streams at once. False and errno: some of it is still to be
 * done. */
bool worker_take_seats(struct worker *worker) MUST_CHECK;
/* Let those go whose last connection has ended. */
void worker_clear_seats(struct worker *worker);
/* All of them, connections and all. */
void worker_leave_seats(struct worker *worker);
/* One more on a bound socket, which is taken; `admin` picks the paths it serves. It accepts once the worker is open.
 * listener  whose `place` it is; NULL: of no generation, it stays until worker_leave_seats.
 * False: `error` says why. */
bool worker_add_seat(struct worker *worker, int listen_fd, bool admin, struct listener *listener, size_t place,
		     char *error, size_t error_bytes) MUST_CHECK;

#endif
