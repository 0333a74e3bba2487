/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker_loop.c: one worker's loop turn. The order is the design: what has come in is looked at first, what has been
 * answered is resumed together, then the HTTP library runs once, and last leaves what the new calls made due.
 */
#include "gateway/server/worker_loop.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/crash.h"
#include "gateway/call/await_lists.h"
#include "gateway/call/await_turn.h"
#include "gateway/call/call_trace.h"
#include "gateway/http/listeners.h"
#include "gateway/call/recent_calls.h"
#include "gateway/call/tenants.h"
#include "gateway/mcp/mcp.h"
#include "gateway/tools/registry.h"
#include "gateway/server/adapt.h"
#include "gateway/server/seats.h"
#include "gateway/server/worker_state.h"
#include "upstream/http/transport.h"

enum { KEY_SLOTS = 4096 };
#define EXPIRE_EVERY_US CLOCK_US_PER_S
#define SWEEP_US (CLOCK_US_PER_MS / 2)
#define LAG_WINDOW_US (10 * CLOCK_US_PER_S)
/* After the drain's deadline calls are ended with shutting_down; their replies get this long to be written. */
#define LAST_WORDS_US CLOCK_US_PER_S
/* What providers are told at the end may take so long, of the drain's time. */
#define FAREWELL_US CLOCK_US_PER_S

/* ---------------------------------------------------------------- life */

/* What fails is tried again: publish_load. */
static void adapt_worker(struct worker *worker)
{
	worker_loop_of(worker)->adapted = worker_adapt(worker);
}

struct worker *worker_new(struct gateway *gateway, unsigned index)
{
	struct worker_loop *loop = calloc(1, sizeof *loop);
	if (!loop)
		return NULL;
	struct worker *worker = &loop->worker;
	worker->gateway = gateway;
	worker->index = index;
	TAILQ_INIT(&worker->outgoing);
	TAILQ_INIT(&worker->returned);
	TAILQ_INIT(&worker->recycled);
	call_groups_init(&worker->groups);
	TAILQ_INIT(&worker->listeners);
	TAILQ_INIT(&worker->subscriptions);
	TAILQ_INIT(&worker->list_waits);
	TAILQ_INIT(&worker->lists_due);
	turns_init(&worker->turns);
	worker_init_catalogue(worker, registry_catalogue(gateway->registry));
	worker->adapt = adapt_worker;
	worker->loop = loop_new();
	worker->meter = metrics_meter(gateway->metrics);
	worker->recent = recent_calls_new();
	worker->tenants = tenants_new();
	if (gateway->exporter &&
	    !(worker->trace_book = trace_book_new(gateway->exporter, registry_tool_room(gateway->registry))))
		goto fail;
	trace_book_use(worker, worker_generation(worker)->traces);
	worker->keys = key_maker_new(KEY_SLOTS, worker_generation(worker)->limits.json_depth);
	if (!worker->loop || !worker->meter || !worker->recent || !worker->tenants || !worker->keys)
		goto fail;
	mailbox_init(&worker->mailbox, worker->loop);
	worker->transport =
		transport_new(worker->loop, worker->meter, worker_connections(worker, worker_generation(worker)));
	if (!worker->transport)
		goto fail;
	if (gateway->disk && !(worker->tier = disk_tier_new(gateway->disk, worker->loop, worker->meter)))
		goto fail;
	worker->dispatch = dispatch_new(worker);
	loop->adapted = worker->dispatch && worker_adapt(worker);
	if (!loop->adapted)
		goto fail;
	return worker;
fail:
	worker_free(worker);
	return NULL;
}

static void open_listeners(struct mail *mail)
{
	struct worker_loop *loop = container_of(mail, struct worker_loop, opening);
	loop->open = true;
	for (size_t i = 0; i < loop->seat_count; i++)
		if (!loop->seats[i].leaves)
			http_accept(loop->seats[i].http);
}

void worker_open(struct worker *worker)
{
	struct worker_loop *loop = worker_loop_of(worker);
	assert(!loop->opening.open);
	loop->opening.open = open_listeners;
	mailbox_post(&worker->mailbox, &loop->opening);
}

static void answer_ping(struct mail *mail)
{
	struct worker_loop *loop = container_of(mail, struct worker_loop, ping);
	atomic_store(&loop->lists_complete, lists_complete(&loop->worker));
	atomic_store(&loop->pinged, false);
}

bool worker_ping(struct worker *worker)
{
	struct worker_loop *loop = worker_loop_of(worker);
	if (atomic_exchange(&loop->pinged, true))
		return false;
	loop->ping.open = answer_ping;
	mailbox_post(&worker->mailbox, &loop->ping);
	return true;
}

bool worker_has_lists(struct worker *worker)
{
	return atomic_load(&worker_loop_of(worker)->lists_complete);
}

/* ---------------------------------------------------------------- the turn */

static uint64_t next_deadline(struct worker *worker, uint64_t now_us)
{
	const struct worker_loop *loop = worker_loop_of(worker);
	if (turns_wait(worker) || lists_due(worker) || transport_waits(worker->transport))
		return now_us;
	uint64_t deadline = dispatch_deadline(worker->dispatch), groups_due = call_groups_deadline(worker);
	deadline = groups_due < deadline ? groups_due : deadline;
	for (size_t i = 0; i < loop->seat_count; i++) {
		uint64_t due = http_deadline(loop->seats[i].http, now_us);
		deadline = due < deadline ? due : deadline;
	}
	if (worker->tier) {
		uint64_t due = tier_deadline(worker->tier);
		deadline = due < deadline ? due : deadline;
	}
	if (worker->tracking) {
		uint64_t due = redis_tracking_deadline(worker->tracking);
		deadline = due < deadline ? due : deadline;
	}
	if (loop->sweep_us && loop->sweep_us < deadline)
		deadline = loop->sweep_us;
	return deadline;
}

/* Let what is due leave, and its answers, if they are there already, be known. What leaves now is timed from now. */
static void move_calls(struct worker *worker)
{
	dispatch_tick(worker->dispatch, loop_refresh(worker->loop));
	transport_tick(worker->transport);
	call_finish_returned(worker);
	call_post_outgoing(worker);
}

/* What has been purged leaves memory by and by: a little a turn, and as long again for all else. */
static void sweep_memory(struct worker *worker)
{
	struct worker_loop *loop = worker_loop_of(worker);
	if (loop_now(worker->loop) < loop->sweep_us)
		return;
	bool more = cache_sweep(worker->gateway->cache, &worker->tags, clock_now_us() + SWEEP_US);
	loop->sweep_us = more ? clock_now_us() + SWEEP_US : 0;
}

/* Listeners take turns in being the first: what a turn has room for (loop_afford) would be the first one's always. Each is so
 * for as many turns as there are kinds of work, which take turns as well. */
static void serve_seats(struct worker *worker, uint64_t now_us)
{
	const struct worker_loop *loop = worker_loop_of(worker);
	uint64_t first = loop_turn(worker->loop) / LOOP_WORKS;
	for (size_t i = 0; i < loop->seat_count; i++)
		http_turn(loop->seats[(first + i) % loop->seat_count].http, now_us);
}

void worker_turn(struct worker *worker, uint64_t latest_us)
{
	uint64_t deadline = next_deadline(worker, loop_now(worker->loop));
	loop_wait(worker->loop, deadline < latest_us ? deadline : latest_us);
	uint64_t now_us = loop_now(worker->loop);
	meter_add(worker->meter, METRIC_ID_LOOP_TURNS, 0, 0, 1);
	mailbox_open(&worker->mailbox);
	transport_tick(worker->transport);
	loop_run_timers(worker->loop);
	move_calls(worker);
	call_groups_turn(worker, now_us); /* with what came home: it leaves in this turn */
	lists_serve(worker);              /* before those that come now */
	turns_serve(worker);
	serve_seats(worker, now_us);
	if (worker->tier)
		tier_tick(worker->tier, now_us);
	if (worker->tracking)
		redis_tracking_tick(worker->tracking, now_us);
	call_groups_turn(worker, now_us);
	if (worker->index == 0)
		sweep_memory(worker);
	move_calls(worker);
}

/* ---------------------------------------------------------------- the end */

static bool all_quiet(struct worker *worker)
{
	const struct worker_loop *loop = worker_loop_of(worker);
	if (dispatch_busy(worker->dispatch) || atomic_load(&worker->gateway->in_flight))
		return false;
	for (size_t i = 0; i < loop->seat_count; i++)
		if (http_busy(loop->seats[i].http))
			return false;
	return true;
}

/* Whether somebody is connected who is to be awaited: his next request is answered with Connection: close, and the one
 * after that goes to a successor, where closing now might cross a request that is on its way. */
static bool awaits_clients(const struct worker *worker)
{
	const struct gateway *gateway = worker->gateway;
	return loop_now(worker->loop) < atomic_load(&gateway->clients_until_us) &&
	       atomic_load(&gateway->http_shared.connections) + atomic_load(&gateway->http_shared.admin_connections);
}

/* Take nothing any more. Once nobody does and nobody waits, no mail can come, and the loops may end. */
static bool all_done(struct worker *worker, bool *refusing)
{
	struct gateway *gateway = worker->gateway;
	const struct worker_loop *loop = worker_loop_of(worker);
	if (!all_quiet(worker) || (!*refusing && awaits_clients(worker)))
		return false;
	if (!*refusing) {
		for (size_t i = 0; i < loop->seat_count; i++)
			http_refuse(loop->seats[i].http);
		atomic_fetch_add(&gateway->refusing, 1);
		*refusing = true;
		for (unsigned i = 0; i < gateway->config->workers; i++)
			loop_wake(gateway->workers[i]->loop);
	}
	return atomic_load(&gateway->refusing) == gateway->config->workers && all_quiet(worker);
}

/* Tell providers that it is over, as far as there is time. */
static void leave_providers(struct worker *worker, uint64_t latest_us)
{
	uint64_t now_us = loop_now(worker->loop), until_us = clock_add(now_us, FAREWELL_US);
	until_us = until_us < latest_us ? until_us : latest_us;
	if (until_us <= now_us || dispatch_busy(worker->dispatch))
		return;
	dispatch_leave(worker->dispatch, until_us - now_us);
	while (dispatch_leaving(worker->dispatch) && loop_now(worker->loop) < until_us)
		worker_turn(worker, until_us);
}

/* Finish what is in flight, at most until the drain's deadline; then say shutting_down to the rest. */
static void drain_worker(struct worker *worker)
{
	struct gateway *gateway = worker->gateway;
	const struct worker_loop *loop = worker_loop_of(worker);
	uint64_t until_us = atomic_load(&gateway->drain_until_us);
	bool aborted = false, refusing = false;
	for (size_t i = 0; i < loop->seat_count; i++)
		http_drain(loop->seats[i].http, listeners_have(gateway->listeners, http_socket(loop->seats[i].http)));
	mcp_end_subscriptions(worker, NULL);
	lists_changed(worker);
	while (!all_done(worker, &refusing) && loop_now(worker->loop) < clock_add(until_us, LAST_WORDS_US)) {
		if (!aborted && loop_now(worker->loop) >= until_us) {
			struct answer *answer =
				answer_upstream_error(OUTCOME_SHUTTING_DOWN, 0, 1, (struct slice){ NULL, 0 },
						      "The gateway is shutting down.");
			dispatch_abort_all(worker->dispatch, answer, loop_now(worker->loop));
			answer_unref(answer);
			aborted = true;
		}
		/* in_flight is everybody's: look again soon even if nothing stirs here */
		worker_turn(worker, loop_now(worker->loop) + 20 * CLOCK_US_PER_MS);
	}
	leave_providers(worker, clock_add(until_us, LAST_WORDS_US));
}

static uint64_t longer_of(uint64_t a_us, uint64_t b_us)
{
	return a_us > b_us ? a_us : b_us;
}

/* Tell once a second how busy the loop is, and how long it kept others waiting. */
static void publish_load(struct worker *worker)
{
	struct worker_loop *loop = worker_loop_of(worker);
	uint64_t now_us = loop_now(worker->loop);
	if (now_us < loop->load_due_us)
		return;
	loop->load_due_us = clock_add(now_us, CLOCK_US_PER_S);
	worker->to_wall_us = clock_wall_us() - clock_now_us();
	if (!loop->adapted)
		adapt_worker(worker);
	worker_clear_seats(worker);
	struct loop_load load = loop_take_load(worker->loop);
	uint64_t ratio = load.span_us ? load.busy_us * CLOCK_US_PER_S / load.span_us : 0; /* exposed in millionths */
	if (now_us >= loop->lag_due_us) {
		loop->lag_due_us = clock_add(now_us, LAG_WINDOW_US);
		loop->lag_before = loop->lag;
		loop->lag = (struct worker_lag){ 0 };
	}
	loop->lag.longest_us = longer_of(load.longest_us, loop->lag.longest_us);
	loop->lag.worked_us = longer_of(load.worked_us, loop->lag.worked_us);
	meter_set(worker->meter, METRIC_ID_WORKER_BUSY, worker->index, 0, (int64_t)ratio);
	meter_set(worker->meter, METRIC_ID_WORKER_LAG, worker->index, 0,
		  (int64_t)longer_of(loop->lag.longest_us, loop->lag_before.longest_us));
	meter_set(worker->meter, METRIC_ID_WORKER_TURN_CPU, worker->index, 0,
		  (int64_t)longer_of(loop->lag.worked_us, loop->lag_before.worked_us));
}

static void *run_worker(void *context)
{
	struct worker *worker = context;
	struct gateway *gateway = worker->gateway;
	uint64_t expire_us = 0;
	crash_handler_thread();
	meter_claim(worker->meter);
	worker->to_wall_us = clock_wall_us() - clock_now_us();
	while (!atomic_load_explicit(&gateway->draining, memory_order_acquire)) {
		worker_turn(worker, loop_now(worker->loop) + EXPIRE_EVERY_US);
		publish_load(worker);
		if (worker->index == 0 && loop_now(worker->loop) >= expire_us) {
			cache_tick(gateway->cache, loop_now(worker->loop));
			expire_us = loop_now(worker->loop) + EXPIRE_EVERY_US;
		}
	}
	drain_worker(worker);
	worker_leave_seats(worker);
	meter_release(worker->meter);
	loop_release(worker->loop); /* main settles the rest */
	return NULL;
}

bool worker_start(struct worker *worker)
{
	struct worker_loop *loop = worker_loop_of(worker);
	int result = pthread_create(&loop->thread, NULL, run_worker, worker);
	if (result) {
		errno = result;
		return false;
	}
	char name[16];
	snprintf(name, sizeof name, "worker %u", worker->index);
	pthread_setname_np(loop->thread, name);
	return true;
}

void worker_join(struct worker *worker)
{
	pthread_join(worker_loop_of(worker)->thread, NULL);
}

bool worker_settle(struct worker *worker)
{
	struct answer *answer = answer_error(OUTCOME_SHUTTING_DOWN, "The gateway is shutting down.");
	size_t opened = mailbox_open(&worker->mailbox);
	dispatch_abort_all(worker->dispatch, answer, loop_now(worker->loop));
	answer_unref(answer);
	bool quiet = opened == 0 && TAILQ_EMPTY(&worker->returned);
	call_finish_returned(worker);
	call_post_outgoing(worker);
	return quiet;
}

void worker_free(struct worker *worker)
{
	if (!worker)
		return;
	worker_leave_seats(worker); /* the thread was never started */
	dispatch_free(worker->dispatch);
	tier_free(worker->tier);
	redis_tracking_free(worker->tracking);
	transport_free(worker->transport);
	struct call *call;
	while ((call = TAILQ_FIRST(&worker->recycled))) {
		TAILQ_REMOVE(&worker->recycled, call, next);
		free(call);
	}
	catalogue_drop(worker->catalogue, worker->index);
	catalogue_retire(worker->catalogue);
	recent_calls_free(worker->recent);
	tenants_free(worker->tenants);
	trace_book_free(worker->trace_book);
	key_maker_free(worker->keys);
	json_scratch_fini(&worker->scratch);
	loop_free(worker->loop);
	free(worker_loop_of(worker));
}
