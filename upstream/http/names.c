/* SPDX-License-Identifier: Apache-2.0 */
/* names.c: transfers that wait for the addresses of a host, and hosts whose addresses are looked up anew by and by. */
#include "upstream/http/lookup.h"
#include "upstream/http/transport_private.h"

static void timer_fired(struct loop_timer *timer, uint64_t now_us)
{
	struct transport *transport = container_of(timer, struct transport, names.timer);
	loop_arm(transport->loop, timer, now_us); /* if the worker has ticked already this turn: the next tick looks */
}

void names_init(struct names *names)
{
	TAILQ_INIT(&names->transfers);
	TAILQ_INIT(&names->watches);
	names->timer = LOOP_TIMER_INIT(timer_fired);
}

bool names_awaited(const struct names *names)
{
	return !TAILQ_EMPTY(&names->transfers) || !TAILQ_EMPTY(&names->watches) || names->timer.place;
}

/* --- transfers that wait --- */

/* The host's addresses have been found while curl was about to ask for them. */
static bool go_by_known(struct transfer *transfer)
{
	transfer->connect_to = transfer->found ? transfer->found(transfer, NULL) : NULL;
	return transfer->connect_to && transport_put_in(transfer);
}

void names_wait(struct transfer *transfer)
{
	struct transport *transport = transfer->transport;
	char *url = NULL;
	if (go_by_known(transfer))
		return;
	curl_easy_getinfo(transfer->easy, CURLINFO_EFFECTIVE_URL, &url);
	transfer->lookup = lookup_start(url, transport->loop);
	if (transfer->lookup) {
		TAILQ_INSERT_TAIL(&transport->names.transfers, transfer, waiting);
		connections_show_lookups(transfer->connections, 1);
		return;
	}
	transfer->starved = true;
	transport_end(transfer, CURLE_COULDNT_RESOLVE_HOST);
}

void names_forget(struct transfer *transfer)
{
	if (!transfer->lookup)
		return;
	lookup_stop(transfer->lookup);
	transfer->lookup = NULL;
	TAILQ_REMOVE(&transfer->transport->names.transfers, transfer, waiting);
	connections_show_lookups(transfer->connections, -1);
}

static uint64_t waits_until_us(const struct transfer *transfer)
{
	long ms = transfer->timeout_ms < transfer->connect_timeout_ms ? transfer->timeout_ms
								      : transfer->connect_timeout_ms;
	return transfer->begun_us + (uint64_t)ms * CLOCK_US_PER_MS;
}

/* With all of the addresses, which are believed from now on for as long as its owner says. */
static bool set_addresses(struct transfer *transfer, const struct resolved *resolved)
{
	transfer->addresses = lookup_entry(transfer->lookup, resolved);
	if (!transfer->addresses || curl_easy_setopt(transfer->easy, CURLOPT_RESOLVE, transfer->addresses) != CURLE_OK)
		return false;
	HANDLE_SET(transfer->handle, DNS_CACHE_TIMEOUT, dns_cache_s, -1L); /* they have just been found */
	return true;
}

static bool start_again(struct transfer *transfer, const struct resolved *resolved)
{
	transfer->connect_to = transfer->found ? transfer->found(transfer, resolved) : NULL;
	bool set = transfer->connect_to || set_addresses(transfer, resolved);
	names_forget(transfer);
	return set && transport_put_in(transfer);
}

static void give_up(struct transfer *transfer, enum resolve_state state)
{
	names_forget(transfer);
	meter_add(transfer->connections->meter, METRIC_ID_UPSTREAM_UNRESOLVED, transfer->connections->label, 0, 1);
	transport_end(transfer, state == RESOLVE_FAILED ? CURLE_COULDNT_RESOLVE_HOST : CURLE_OPERATION_TIMEDOUT);
}

static void look_for_transfer(struct transfer *transfer)
{
	bool late = waits_until_us(transfer) <= loop_now(transfer->transport->loop);
	struct resolved resolved;
	enum resolve_state state = lookup_look(transfer->lookup, &resolved);
	if (state == RESOLVE_PENDING && !late)
		return;
	if (state != RESOLVE_FOUND || late) {
		give_up(transfer, state);
	} else if (!start_again(transfer, &resolved)) {
		transfer->starved = true;
		transport_end(transfer, CURLE_OPERATION_TIMEDOUT);
	}
}

/* --- hosts that are watched --- */

static void watch_due(struct loop_timer *timer, uint64_t now_us)
{
	struct name_watch *watch = container_of(timer, struct name_watch, timer);
	struct transport *transport = watch->connections->transport;
	(void)now_us;
	watch->lookup = lookup_start(watch->url, transport->loop);
	if (watch->lookup)
		TAILQ_INSERT_TAIL(&transport->names.watches, watch, next);
	else
		name_watch_in(watch, watch->every_us);
}

bool name_watch_init(struct name_watch *watch)
{
	watch->timer = LOOP_TIMER_INIT(watch_due);
	return loop_timers_reserve(watch->connections->transport->loop, 1);
}

void name_watch_in(struct name_watch *watch, uint64_t us)
{
	struct loop *loop = watch->connections->transport->loop;
	uint64_t at_us = clock_add(loop_now(loop), us);
	if (!watch->lookup && (!watch->timer.place || watch->timer.due_us > at_us))
		loop_arm(loop, &watch->timer, at_us);
}

void name_watch_put_off(struct name_watch *watch)
{
	struct loop *loop = watch->connections->transport->loop;
	if (!watch->lookup)
		loop_arm(loop, &watch->timer, clock_add(loop_now(loop), watch->every_us));
}

static void end_watch(struct name_watch *watch)
{
	if (!watch->lookup)
		return;
	TAILQ_REMOVE(&watch->connections->transport->names.watches, watch, next);
	lookup_stop(watch->lookup);
	watch->lookup = NULL;
}

void name_watch_fini(struct name_watch *watch)
{
	struct loop *loop = watch->connections->transport->loop;
	end_watch(watch);
	loop_disarm(loop, &watch->timer);
	loop_timers_release(loop, 1);
}

static void look_for_watch(struct name_watch *watch)
{
	struct resolved resolved;
	enum resolve_state state = lookup_look(watch->lookup, &resolved);
	if (state == RESOLVE_PENDING)
		return;
	end_watch(watch);
	name_watch_in(watch, watch->every_us);
	if (state == RESOLVE_FOUND)
		watch->found(watch, &resolved);
	else
		meter_add(watch->connections->meter, METRIC_ID_UPSTREAM_UNRESOLVED, watch->connections->label, 0, 1);
}

/* --- both --- */

void names_look(struct transport *transport)
{
	struct names *names = &transport->names;
	uint64_t first_us = CLOCK_NEVER;
	struct transfer *transfer = TAILQ_FIRST(&names->transfers), *after;
	for (; transfer; transfer = after) {
		after = TAILQ_NEXT(transfer, waiting);
		look_for_transfer(transfer);
		if (transfer->lookup && waits_until_us(transfer) < first_us)
			first_us = waits_until_us(transfer);
	}
	struct name_watch *watch = TAILQ_FIRST(&names->watches), *next;
	for (; watch; watch = next) {
		next = TAILQ_NEXT(watch, next);
		look_for_watch(watch);
	}
	if (first_us == CLOCK_NEVER)
		loop_disarm(transport->loop, &names->timer);
	else
		loop_arm(transport->loop, &names->timer, first_us);
}
