/* SPDX-License-Identifier: Apache-2.0 */
/* provider.c: the life of a provider over generations. */
#include "gateway/call/provider.h"

#include <assert.h>
#include <stdlib.h>

#include "gateway/call/dispatch_private.h"
#include "gateway/tools/registry.h"

#define LEAVE_US CLOCK_US_PER_S

/* ---------------------------------------------------------------- the end */

static void free_provider(struct provider *provider)
{
	assert(!provider->batcher && provider->fetches == 0 && atomic_load(&provider->generations) == 0);
	tool_source_free(provider->source);
	generation_unkeep(provider->kept);
	free(provider);
}

void provider_close(struct provider *provider)
{
	assert(provider->fetches == 0);
	TAILQ_REMOVE(&provider->dispatch->providers, provider, next);
	batcher_free(provider->batcher);
	provider->batcher = NULL;
	provider->dispatch = NULL;
	if (provider->retired)
		free_provider(provider);
}

bool provider_close_if_over(struct provider *provider)
{
	if (!provider->retired || provider->fetches || !batcher_is_quiet(provider->batcher))
		return false;
	if (!provider->leaves) /* an MCP server is told that the session ends */
		batcher_leave(provider->batcher, LEAVE_US);
	provider->leaves = true;
	if (batcher_leaving(provider->batcher))
		return false;
	provider_close(provider);
	return true;
}

/* The owner's thread. A call of a later generation may have joined a fetch that goes by this one: then it waits. */
static void retire_provider(struct mail *mail)
{
	struct provider *provider = container_of(mail, struct provider, retire);
	provider->retired = true;
	if (!provider->batcher)
		free_provider(provider);
	else
		provider_close_if_over(provider);
}

static void provider_unref(struct provider *provider)
{
	if (!provider || atomic_fetch_sub_explicit(&provider->generations, 1, memory_order_acq_rel) > 1)
		return;
	struct gateway *gateway = provider->gateway;
	if (!gateway->settled)
		mailbox_post(&upstream_owner(gateway, provider->upstream)->mailbox, &provider->retire);
	else if (provider->batcher)
		provider->retired = true; /* its worker will be freed */
	else
		free_provider(provider);
}

static void let_go(struct generation *generation)
{
	for (size_t i = 0; i < generation->upstream_count; i++)
		provider_unref(generation->upstreams[i].provider);
}

/* ---------------------------------------------------------------- the beginning */

struct provider *provider_ref(struct provider *provider)
{
	atomic_fetch_add_explicit(&provider->generations, 1, memory_order_relaxed);
	return provider;
}

static struct provider *provider_new(struct gateway *gateway, struct generation *generation,
				     const struct upstream_config *upstream)
{
	struct provider *provider = calloc(1, sizeof *provider);
	if (!provider)
		return NULL;
	bool lists = upstream->settings.dialect->lists_tools;
	if (lists && !(provider->source = tool_source_new(gateway->registry, upstream))) {
		free(provider);
		return NULL;
	}
	atomic_init(&provider->generations, 1);
	provider->gateway = gateway;
	provider->upstream = upstream;
	provider->kept = generation;
	provider->retire.open = retire_provider;
	generation_keep(generation);
	return provider;
}

bool gateway_seat(struct gateway *gateway, struct generation *next)
{
	next->ended = let_go;
	for (size_t i = 0; i < next->upstream_count; i++) {
		struct upstream_config *upstream = &next->upstreams[i];
		if (upstream->provider)
			continue;
		upstream->provider = provider_new(gateway, next, upstream);
		if (!upstream->provider)
			return false;
		upstream->source = upstream->provider->source;
	}
	return true;
}

/* ---------------------------------------------------------------- at its worker */

/* The same service behind it: what that allows does not begin anew. */
static bool is_same_service(const struct upstream_settings *a, const struct upstream_settings *b)
{
	bool same = a->label == b->label && a->endpoint_count == b->endpoint_count && !a->process == !b->process;
	for (size_t i = 0; same && i < a->endpoint_count; i++)
		same = strcmp(a->endpoints[i], b->endpoints[i]) == 0;
	return same;
}

/* The one that was opened last for the service of this one; NULL: it is the first. */
static struct provider *find_before(const struct dispatch *dispatch, const struct provider *provider)
{
	struct provider *before;
	TAILQ_FOREACH_REVERSE(before, &dispatch->providers, providers, next)
	if (is_same_service(&before->upstream->settings, &provider->upstream->settings))
		return before;
	return NULL;
}

bool provider_open(struct provider *provider, struct dispatch *dispatch)
{
	struct worker *worker = dispatch->worker;
	const struct upstream_config *upstream = provider->upstream;
	if (provider->batcher)
		return true;
	assert(worker_owns(worker, upstream));
	provider->batcher =
		batcher_new(&upstream->batch, &upstream->settings, worker->transport, worker->loop, worker->meter);
	if (!provider->batcher)
		return false;
	struct provider *before = find_before(dispatch, provider);
	if (before)
		batcher_follow(provider->batcher, before->batcher);
	provider->dispatch = dispatch;
	TAILQ_INSERT_TAIL(&dispatch->providers, provider, next);
	if (provider->source)
		batcher_watch(provider->batcher, tool_source_watcher(provider->source));
	return true;
}

bool dispatch_open(struct dispatch *dispatch, const struct generation *generation)
{
	struct worker *worker = dispatch->worker;
	bool all = true;
	for (size_t i = 0; i < generation->upstream_count; i++) {
		const struct upstream_config *upstream = &generation->upstreams[i];
		if (worker_owns(worker, upstream) && !provider_open(upstream->provider, dispatch))
			all = false;
	}
	return all;
}
