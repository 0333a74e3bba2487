/* SPDX-License-Identifier: Apache-2.0 */
/* worker.c: what a worker is asked, and its catalogue: how it gets another one, and what it knows of its tools. */
#include "gateway/call/worker.h"

#include <unistd.h>

#include "gateway/call/await_lists.h"
#include "gateway/call/call_trace.h"
#include "gateway/call/provider.h"

struct gateway *worker_gateway(const struct worker *worker)
{
	return worker->gateway;
}

struct catalogue *worker_catalogue(const struct worker *worker)
{
	return worker->catalogue;
}

struct catalogue *worker_hold_catalogue(const struct worker *worker)
{
	return catalogue_hold(worker->catalogue, worker->index);
}

void worker_drop_catalogue(const struct worker *worker, struct catalogue *catalogue)
{
	catalogue_drop(catalogue, worker->index);
}

const struct generation *worker_generation(const struct worker *worker)
{
	return catalogue_made_for(worker->catalogue);
}

struct meter *worker_meter(const struct worker *worker)
{
	return worker->meter;
}

uint64_t worker_now(const struct worker *worker)
{
	return loop_now(worker->loop);
}

struct recent_calls *worker_recent_calls(const struct worker *worker)
{
	return worker->recent;
}

struct tenants *worker_tenants(const struct worker *worker)
{
	return worker->tenants;
}

void worker_post(struct worker *worker, struct mail *mail)
{
	mailbox_post(&worker->mailbox, mail);
}

void worker_await_mail(struct worker *worker)
{
	if (mailbox_open(&worker->mailbox) == 0)
		usleep(1000);
}

/* Of a tool that is not there any more, or not as it was when it said this, nobody knows which tags it had: rather too
 * much is purged than what was to be, and came back with an earlier configuration. */
static bool has_tag(const void *context, const struct key *key, struct slice tag)
{
	const struct worker *worker = context;
	const struct tool *tool = catalogue_tool(worker->catalogue, key_tool(key));
	return !tool || !slice_equal(slice_of(tool->source), key_version(key)) || tool_has_tag(tool, tag);
}

size_t worker_connections(const struct worker *worker, const struct generation *generation)
{
	size_t connections = 0;
	for (size_t i = 0; i < generation->upstream_count; i++) {
		const struct upstream_config *upstream = &generation->upstreams[i];
		unsigned parts = upstream_parts(worker->gateway, upstream);
		if (worker_owns(worker, upstream))
			connections += (upstream->settings.pool_max + parts - 1) / parts;
	}
	return connections;
}

/* What of the generation is ours runs from now on, called or not: servers are to be asked for their tools. */
static void use_generation(struct worker *worker)
{
	const struct generation *generation = worker_generation(worker);
	transport_grow(worker->transport, worker_connections(worker, generation));
	trace_book_use(worker, generation->traces);
	if (!dispatch_open(worker->dispatch, generation))
		meter_add(worker->meter, METRIC_ID_REJECTED, REJECT_NO_MEMORY, 0, 1);
	worker->adapt(worker);
}

/* Takes the enforced reference that came with it. */
static void use_catalogue(struct worker *worker, struct catalogue *next)
{
	struct catalogue *before = worker->catalogue;
	bool changed = catalogue_generation(next) != catalogue_generation(before);
	worker->catalogue = catalogue_hold(next, worker->index);
	if (catalogue_made_for(next) != catalogue_made_for(before))
		use_generation(worker);
	catalogue_drop(before, worker->index);
	catalogue_retire(before);
	struct catalogue_listener *listener = TAILQ_FIRST(&worker->listeners);
	while (changed && listener) {
		struct catalogue_listener *behind = TAILQ_NEXT(listener, next);
		listener->changed(listener);
		listener = behind;
	}
	lists_changed(worker);
}

void worker_take_catalogue(struct worker *worker)
{
	assert_owner(worker_owner(worker));
	unsigned published = atomic_load_explicit(&worker->gateway->catalogues, memory_order_acquire);
	if (published == worker->seen_catalogues)
		return;
	worker->seen_catalogues = published;
	struct catalogue *next = atomic_exchange_explicit(&worker->offered, NULL, memory_order_acq_rel);
	if (next)
		use_catalogue(worker, next);
}

static void take_offer(struct mail *mail)
{
	struct worker *worker = container_of(mail, struct worker, offer);
	atomic_store_explicit(&worker->offer_posted, false, memory_order_release); /* the box is done with it */
	worker_take_catalogue(worker);
}

void gateway_offer_catalogue(void *gateway_of_workers, struct catalogue *catalogue)
{
	struct gateway *gateway = gateway_of_workers;
	unsigned count = gateway->config->workers;
	for (unsigned i = 0; i < count; i++)
		catalogue_retire(atomic_exchange_explicit(&gateway->workers[i]->offered, catalogue_enforce(catalogue),
							  memory_order_acq_rel));
	catalogue_retire(
		atomic_exchange_explicit(&gateway->observed, catalogue_enforce(catalogue), memory_order_acq_rel));
	atomic_fetch_add_explicit(&gateway->catalogues, 1, memory_order_release);
	for (unsigned i = 0; i < count; i++)
		if (!atomic_exchange_explicit(&gateway->workers[i]->offer_posted, true, memory_order_acq_rel))
			mailbox_post(&gateway->workers[i]->mailbox, &gateway->workers[i]->offer);
}

void worker_init_catalogue(struct worker *worker, struct catalogue *first)
{
	worker->catalogue = catalogue_hold(catalogue_enforce(first), worker->index);
	worker->offer.open = take_offer;
	worker->tags = (struct purge_tags){ has_tag, worker };
}
