/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unconnected.c: transfers that may share a connection (HTTP/2) and have none yet.
 *
 * Whether a provider shares one is known when the first connection to it is there. Until then libcurl (7.88) puts all but
 * the one that opens it in a line, in which it minds no time of theirs; and of the line, which is one for all hosts, it
 * looks at the first only when something happens: who stands behind those of a host that does not answer is forgotten.
 * So their time is minded here, and who may have been forgotten is put in anew.
 */
#include "upstream/http/transport_private.h"

enum { LOOK_US = 50 * CLOCK_US_PER_MS };

static void timer_fired(struct loop_timer *timer, uint64_t now_us)
{
	struct transport *transport = container_of(timer, struct transport, unconnected.timer);
	transport->unconnected.due = true;
	loop_arm(transport->loop, timer, now_us); /* if the worker has ticked already this turn: the next tick looks */
}

void unconnected_init(struct unconnected *unconnected)
{
	TAILQ_INIT(&unconnected->transfers);
	unconnected->timer = LOOP_TIMER_INIT(timer_fired);
}

static uint64_t waits_until_us(const struct transfer *transfer)
{
	return clock_add(transfer->begun_us, (uint64_t)transfer->connect_timeout_ms * CLOCK_US_PER_MS);
}

void unconnected_add(struct transfer *transfer)
{
	struct transport *transport = transfer->transport;
	uint64_t now_us = loop_now(transport->loop);
	if (transfer->handle->set.version == CURL_HTTP_VERSION_1_1)
		return; /* it opens one itself */
	transfer->unconnected = true;
	transfer->put_in_us = now_us;
	transfer->news_known = transfer->connections->news;
	TAILQ_INSERT_TAIL(&transport->unconnected.transfers, transfer, waiting);
	if (!transport->unconnected.timer.place)
		loop_arm(transport->loop, &transport->unconnected.timer, clock_add(now_us, LOOK_US));
}

void unconnected_remove(struct transfer *transfer)
{
	if (!transfer->unconnected)
		return;
	transfer->unconnected = false;
	TAILQ_REMOVE(&transfer->transport->unconnected.transfers, transfer, waiting);
}

/* Whether a connection of its provider's has come about or gone since curl has looked at it, as far as is known. */
static bool may_be_forgotten(const struct transfer *transfer, uint64_t now_us)
{
	return transfer->opened_count == 0 && transfer->news_known != transfer->connections->news &&
	       clock_add(transfer->put_in_us, LOOK_US) <= now_us;
}

static void look_at(struct transfer *transfer, uint64_t now_us)
{
	if (waits_until_us(transfer) <= now_us)
		transport_end(transfer, CURLE_OPERATION_TIMEDOUT);
	else if (may_be_forgotten(transfer, now_us) && !transport_put_in_anew(transfer))
		transport_end(transfer, CURLE_OUT_OF_MEMORY);
}

void unconnected_look(struct transport *transport)
{
	struct unconnected *unconnected = &transport->unconnected;
	uint64_t now_us = loop_now(transport->loop);
	if (!unconnected->due)
		return;
	unconnected->due = false;
	loop_disarm(transport->loop, &unconnected->timer);
	struct transfer *last = TAILQ_LAST(&unconnected->transfers, transfers), *transfer = NULL, *next;
	for (next = TAILQ_FIRST(&unconnected->transfers); next && transfer != last;) {
		transfer = next;
		next = TAILQ_NEXT(transfer, waiting);
		if (!transfer->done)
			look_at(transfer, now_us);
	}
	if (!TAILQ_EMPTY(&unconnected->transfers) && !unconnected->timer.place)
		loop_arm(transport->loop, &unconnected->timer, clock_add(now_us, LOOK_US));
}
