/* SPDX-License-Identifier: Apache-2.0 */
/* seats.c: see the header. */
#include "gateway/server/seats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/call/listening.h"
#include "gateway/http/listeners.h"
#include "gateway/mcp/mcp.h"
#include "gateway/server/routes.h"
#include "gateway/server/worker_state.h"

enum { ERROR_BYTES = 256 };

/* ---------------------------------------------------------------- one */

/* NULL: `error` says why. Takes the descriptor. */
static struct http *serve_socket(struct worker *worker, int listen_fd, bool admin, char *error, size_t error_bytes)
{
	const struct http_handler handler = {
		.refuse = routes_refuse,
		.serve = admin ? routes_serve_admin : routes_serve_data,
		.finished = routes_finished,
		.context = worker,
	};
	return http_start(listen_fd, admin, &worker_generation(worker)->http, &worker->gateway->http_shared, handler,
			  worker->loop, worker->meter, error, error_bytes);
}

bool worker_add_seat(struct worker *worker, int listen_fd, bool admin, struct listener *listener, size_t place,
		     char *error, size_t error_bytes)
{
	struct worker_loop *loop = worker_loop_of(worker);
	struct seat *grown = realloc(loop->seats, (loop->seat_count + 1) * sizeof *grown);
	if (!grown) {
		close(listen_fd);
		snprintf(error, error_bytes, "out of memory");
		return false;
	}
	loop->seats = grown;
	struct http *http = serve_socket(worker, listen_fd, admin, error, error_bytes);
	if (!http)
		return false;
	grown[loop->seat_count++] = (struct seat){ http, listener ? listener_ref(listener) : NULL, place, false };
	if (loop->open)
		http_accept(http);
	return true;
}

/* Its place in the list is the next one's. */
static void end_seat(struct worker_loop *loop, size_t at)
{
	struct seat seat = loop->seats[at];
	loop->seat_count--;
	memmove(loop->seats + at, loop->seats + at + 1, (loop->seat_count - at) * sizeof *loop->seats);
	http_stop(seat.http);
	listener_unref(seat.listener);
}

/* ---------------------------------------------------------------- all */

static bool has_seat(const struct worker_loop *loop, const struct listener *listener, size_t place)
{
	for (size_t i = 0; i < loop->seat_count; i++)
		if (loop->seats[i].listener == listener && loop->seats[i].place == place && !loop->seats[i].leaves)
			return true;
	return false;
}

/* Those of the listener's that are this worker's. False: not all; errno says why. */
static bool take_seats_at(struct worker *worker, struct listener *listener, bool admin)
{
	char error[ERROR_BYTES];
	bool all = true;
	for (size_t place = worker->index; place < listener_seats(listener); place += listener_workers(listener)) {
		if (has_seat(worker_loop_of(worker), listener, place))
			continue;
		int fd = listener_seat(listener, place);
		if (fd < 0 && errno == EBADF) /* another generation is in force already, without it */
			return all;
		all = fd >= 0 && worker_add_seat(worker, fd, admin, listener, place, error, sizeof error) && all;
	}
	return all;
}

static void retire_seats(struct worker *worker)
{
	const struct generation *generation = worker_generation(worker);
	struct worker_loop *loop = worker_loop_of(worker);
	for (size_t i = 0; i < loop->seat_count; i++) {
		struct seat *seat = &loop->seats[i];
		if (!seat->listener || seat->leaves || listening_has(generation, seat->listener))
			continue;
		seat->leaves = true;
		http_retire(seat->http, generation->drain_timeout_us);
		mcp_end_subscriptions(worker, seat->http);
	}
}

bool worker_take_seats(struct worker *worker)
{
	const struct generation *generation = worker_generation(worker);
	bool all = true;
	for (size_t i = 0; i < generation_listeners(generation); i++) {
		struct listener *listener = generation->listeners[i];
		if (worker->index < listener_workers(listener))
			all = take_seats_at(worker, listener, i >= generation->listen_count) && all;
	}
	retire_seats(worker); /* what is new is there before anything goes */
	return all;
}

void worker_clear_seats(struct worker *worker)
{
	struct worker_loop *loop = worker_loop_of(worker);
	for (size_t i = loop->seat_count; i--;)
		if (loop->seats[i].leaves && http_is_empty(loop->seats[i].http))
			end_seat(loop, i);
}

void worker_leave_seats(struct worker *worker)
{
	struct worker_loop *loop = worker_loop_of(worker);
	while (loop->seat_count)
		end_seat(loop, loop->seat_count - 1);
	free(loop->seats);
	loop->seats = NULL;
}
