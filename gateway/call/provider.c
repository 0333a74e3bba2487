/* SPDX-License-Identifier: Apache-2.0 */
/* provider.c: the life of a provider over generations. */
#include "gateway/call/provider.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "batcher/allowed_rates.h"
#include "batcher/common_limits.h"
#include "batcher/pauses.h"
#include "gateway/call/dispatch_private.h"
#include "gateway/tools/registry.h"

#define LEAVE_US CLOCK_US_PER_S

/* ---------------------------------------------------------------- the end */

static void free_provider(struct provider *provider)
{
	assert(!provider->batcher && provider->fetches == 0 && atomic_load(&provider->generations) == 0);
	tool_source_free(provider->source);
	common_limits_unref(provider->common);
	pauses_unref(provider->pauses);
	allowed_unref(provider->allowed);
	endpoint_verdicts_unref(provider->now.settings.verdicts);
	generation_unkeep(provider->newest);
	generation_unkeep(provider->kept);
	pthread_mutex_destroy(&provider->mutex);
	free(provider);
}

static bool has_label(const struct provider *provider, enum metric_label kind, unsigned label)
{
	const struct upstream_settings *settings = &provider->upstream->settings;
	if (kind == LABEL_UPSTREAM)
		return settings->label == label;
	for (size_t i = 0; i < settings->endpoint_count; i++)
		if (upstream_endpoint_label(settings, i) == label)
			return true;
	return false;
}

/* The newest other one that has this upstream's label, or this endpoint's, and is open; NULL: there is none. */
static struct provider *find_heir(const struct provider *provider, enum metric_label kind, unsigned label)
{
	struct provider *other;
	TAILQ_FOREACH_REVERSE(other, &provider->dispatch->providers, providers, next)
	if (other != provider && has_label(other, kind, label))
		return other;
	return NULL;
}

/* Of two that have the label this one goes, and the states it has left there with it. */
static void show_heir(const struct provider *provider, struct provider *heir)
{
	struct meter *meter = provider->dispatch->worker->meter;
	unsigned label = provider->upstream->settings.label;
	for (size_t i = 0; i < LIMITER_STATE_COUNT; i++)
		meter_set(meter, METRIC_ID_LIMITER_STATE, label, i, 0);
	for (size_t i = 0; i < LIMITER_REASON_COUNT; i++)
		meter_set(meter, METRIC_ID_LIMITER_REASON, label, i, 0);
	batcher_adjust(heir->batcher, &heir->now.batch);
}

/* What gauges say of a label is not so any more, and would be wrong of who comes back by that name. Those that are moved
 * are level by now, or are still moved by kept connections. */
static void clear_gauges(struct meter *meter, enum metric_label kind, unsigned label)
{
	static const struct {
		enum metric metric;
		enum metric_label kind;
		size_t count;
	} set[] = {
		{ METRIC_ID_UPSTREAM_HEALTHY, LABEL_ENDPOINT, 1 },
		{ METRIC_ID_ENDPOINT_STATE, LABEL_ENDPOINT, ENDPOINT_STATE_COUNT },
		{ METRIC_ID_CONCURRENCY_LIMIT, LABEL_UPSTREAM, 1 },
		{ METRIC_ID_LIMITER_STATE, LABEL_UPSTREAM, LIMITER_STATE_COUNT },
		{ METRIC_ID_LIMITER_REASON, LABEL_UPSTREAM, LIMITER_REASON_COUNT },
		{ METRIC_ID_QUEUE_WAIT, LABEL_UPSTREAM, 1 },
		{ METRIC_ID_RETRY_BUDGET, LABEL_UPSTREAM, 1 },
		{ METRIC_ID_BATCH_WINDOW, LABEL_UPSTREAM, LATENCY_CLASS_COUNT },
		{ METRIC_ID_BATCH_EXCHANGE_COST, LABEL_UPSTREAM, LATENCY_CLASS_COUNT },
		{ METRIC_ID_BATCH_ITEM_COST, LABEL_UPSTREAM, LATENCY_CLASS_COUNT },
		{ METRIC_ID_MCP_READY, LABEL_UPSTREAM, 1 },
		{ METRIC_ID_PROCESSES, LABEL_UPSTREAM, 1 },
		{ METRIC_ID_PROCESS_RESIDENT, LABEL_UPSTREAM, 1 },
	};
	for (size_t i = 0; i < countof(set); i++)
		for (size_t j = 0; set[i].kind == kind && j < set[i].count; j++)
			meter_set(meter, set[i].metric, label, j, 0);
}

static void show_label(const struct provider *provider, enum metric_label kind, unsigned label, bool there)
{
	struct provider *heir = there ? NULL : find_heir(provider, kind, label);
	if (heir && kind == LABEL_UPSTREAM)
		show_heir(provider, heir);
	if (heir)
		return;
	if (!there)
		clear_gauges(provider->dispatch->worker->meter, kind, label);
	metrics_show(provider->gateway->metrics, kind, label, there);
}

/* An upstream that has left is neither sick nor well: its gauges are not there, or whoever looks at them for signs of
 * sickness would find it sick for ever. */
static void show_gone(const struct provider *provider, bool gone)
{
	const struct upstream_settings *settings = &provider->upstream->settings;
	if (provider->part > 0) /* its gauges are the first part's */
		return;
	show_label(provider, LABEL_UPSTREAM, settings->label, !gone);
	for (size_t i = 0; i < settings->endpoint_count; i++)
		show_label(provider, LABEL_ENDPOINT, upstream_endpoint_label(settings, i), !gone);
}

void provider_close(struct provider *provider)
{
	assert(provider->fetches == 0);
	show_gone(provider, true);
	if (provider->dispatch->first == provider)
		provider->dispatch->first = TAILQ_NEXT(provider, next);
	TAILQ_REMOVE(&provider->dispatch->providers, provider, next);
	provider->dispatch->provider_count--;
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

static struct worker *owner_of(const struct provider *provider)
{
	const struct gateway *gateway = provider->gateway;
	return gateway->workers[upstream_owner_index(gateway, provider->upstream, provider->part)];
}

static void unref_part(struct provider *provider)
{
	if (atomic_fetch_sub_explicit(&provider->generations, 1, memory_order_acq_rel) > 1)
		return;
	struct gateway *gateway = provider->gateway;
	if (!gateway->settled)
		mailbox_post(&owner_of(provider)->mailbox, &provider->retire);
	else if (provider->batcher)
		provider->retired = true; /* its worker will be freed */
	else
		free_provider(provider);
}

static void provider_unref(struct provider *provider)
{
	if (!provider)
		return;
	struct provider *const *parts = provider->parts;
	for (unsigned i = upstream_parts(provider->gateway, provider->upstream); i-- > 1;)
		unref_part(parts[i]);
	unref_part(provider); /* last: what it has of them is gone with it */
}

static void let_go(struct generation *generation)
{
	for (size_t i = 0; i < generation->upstream_count; i++)
		provider_unref(generation->upstreams[i].provider);
	if (generation->redis_of)
		generation_unkeep(generation->redis_of);
}

/* ---------------------------------------------------------------- the beginning */

/* Of an endpoint that goes on: drained or not, where the file says so anew; else what an operator has said since stays. */
static void adopt_board(struct endpoint_board **next, struct endpoint_board *before)
{
	bool drain = (*next)->written;
	if (before->written != drain)
		atomic_store(&before->draining, drain);
	before->written = drain;
	endpoint_board_unref(*next);
	*next = endpoint_board_ref(before);
}

static void adopt_boards(struct upstream_settings *next, const struct upstream_settings *before)
{
	for (size_t i = 0; i < next->endpoint_count; i++)
		for (size_t j = 0; j < before->endpoint_count; j++)
			if (strcmp(next->endpoints[i], before->endpoints[j]) == 0)
				adopt_board(&next->boards[i], before->boards[j]);
}

void provider_adopt(struct upstream_config *next, const struct upstream_config *before)
{
	const struct provider *first = before->provider;
	for (unsigned i = 0; i < upstream_parts(first->gateway, before); i++)
		atomic_fetch_add_explicit(&first->parts[i]->generations, 1, memory_order_relaxed);
	next->provider = before->provider;
	next->source = before->source;
	if (before->settings.boards)
		adopt_boards(&next->settings, &before->settings);
}

/* What is pointed to stays where it is, and as it is, but for the endpoints; all else is what it says now. */
static struct upstream_settings adjust_settings(struct adjusted_options *now, const struct upstream_settings *to)
{
	const struct upstream_settings *was = &now->settings;
	struct upstream_settings settings = *to;
	_Static_assert(sizeof settings == 296, "a new member: if it is a pointer, what is it to become here?");
	settings.name = was->name;
	settings.dialect = was->dialect;
	settings.headers = was->headers;
	settings.authorities = was->authorities;
	settings.mcp_protocol = was->mcp_protocol;
	settings.simulated = was->simulated;
	settings.weights = to->weights ? now->weights : NULL;
	settings.balancing = to->balancing ? &now->balancing : NULL;
	settings.health = to->health ? &now->health : NULL;
	settings.verdicts = was->verdicts;
	settings.process = to->process ? &now->process : NULL;
	return settings;
}

/* Of so many, what is left for one part. All parts together have no more than that. */
static size_t part_of(size_t all, const struct upstream_settings *settings)
{
	return all / settings->parts + (settings->part < all % settings->parts);
}

static void adjust_options(struct adjusted_options *now, const struct upstream_config *upstream)
{
	const struct upstream_settings *to = &upstream->settings;
	unsigned parts = now->settings.parts, part = now->settings.part;
	assert(to->endpoint_count <= ENDPOINTS_MOST);
	const char *path = now->health.path, *method = now->health.method;
	struct process_settings process = now->process.process;
	if (to->weights)
		memcpy(now->weights, to->weights, to->endpoint_count * sizeof *now->weights);
	if (to->balancing)
		now->balancing = *to->balancing;
	if (to->health)
		now->health = *to->health;
	now->health.path = path;
	now->health.method = method;
	if (to->process)
		now->process = *to->process;
	now->process.process = process;
	now->settings = adjust_settings(now, to);
	now->settings.parts = parts;
	now->settings.part = part;
	now->settings.pool_max = part_of(to->pool_max, &now->settings);
	now->settings.pool_min_idle = part_of(to->pool_min_idle, &now->settings);
	now->batch = upstream->batch;
}

/* The first ones. */
static void take_options(struct adjusted_options *now, const struct upstream_config *upstream, unsigned parts,
			 unsigned part)
{
	now->settings = upstream->settings;
	now->settings.parts = parts;
	now->settings.part = part;
	if (upstream->settings.health)
		now->health = *upstream->settings.health;
	if (upstream->settings.process)
		now->process = *upstream->settings.process;
	adjust_options(now, upstream);
}

/* `room`: for the list of all parts, behind it. */
static struct provider *part_new(struct gateway *gateway, struct generation *generation,
				 const struct upstream_config *upstream, unsigned part, unsigned room)
{
	struct provider *provider = calloc(1, sizeof *provider + room * sizeof(struct provider *));
	if (!provider)
		return NULL;
	provider->part = part;
	atomic_init(&provider->generations, 1);
	pthread_mutex_init(&provider->mutex, NULL);
	provider->gateway = gateway;
	provider->upstream = upstream;
	provider->kept = provider->newest = generation;
	provider->retire.open = retire_provider;
	take_options(&provider->now, upstream, upstream_parts(gateway, upstream), part);
	generation_keep(provider->kept);
	generation_keep(provider->newest);
	return provider;
}

/* The same service behind it: what that allows does not begin anew. */
static bool is_same_service(const struct upstream_settings *a, const struct upstream_settings *b)
{
	bool same = a->label == b->label && a->endpoint_count == b->endpoint_count && !a->process == !b->process;
	for (size_t i = 0; same && i < a->endpoint_count; i++)
		same = strcmp(a->endpoints[i], b->endpoints[i]) == 0;
	return same;
}

/* What is the same service in the generation in force (NULL: there is none); NULL: there is none of it. */
static struct provider *find_same(const struct upstream_config *upstream, const struct generation *before)
{
	for (size_t i = 0; before && i < before->upstream_count; i++)
		if (is_same_service(&before->upstreams[i].settings, &upstream->settings))
			return before->upstreams[i].provider;
	return NULL;
}

/* What the service has said of pauses, and what it has been sent, counts for all parts as it did for those before them.
 * False: out of memory. */
static bool share_promises(struct provider *const *parts, unsigned count, const struct generation *before)
{
	struct provider *same = find_same(parts[0]->upstream, before);
	struct pauses *pauses = same ? pauses_ref(same->pauses) : pauses_new();
	struct allowed_rates *allowed = same ? allowed_ref(same->allowed) : allowed_new();
	bool shared = pauses && allowed;
	for (unsigned i = 0; shared && i < count; i++) {
		parts[i]->pauses = pauses_ref(pauses);
		parts[i]->allowed = allowed_ref(allowed);
	}
	pauses_unref(pauses);
	allowed_unref(allowed);
	return shared;
}

/* What all parts are to have in common. False: out of memory. */
static bool unite_parts(struct provider *const *parts, unsigned count)
{
	bool checked = parts[0]->now.settings.health != NULL;
	struct common_limits *common = common_limits_new();
	struct endpoint_verdicts *verdicts = checked ? endpoint_verdicts_new() : NULL;
	bool united = common && (verdicts || !checked);
	for (unsigned i = 0; united && i < count; i++) {
		parts[i]->common = common_limits_ref(common);
		parts[i]->now.settings.verdicts = endpoint_verdicts_ref(verdicts);
	}
	common_limits_unref(common);
	endpoint_verdicts_unref(verdicts);
	return united;
}

/* NULL: out of memory. */
static struct provider *provider_new(struct gateway *gateway, struct generation *generation,
				     const struct upstream_config *upstream, const struct generation *before)
{
	unsigned count = upstream_parts(gateway, upstream), made = 1;
	struct provider *first = part_new(gateway, generation, upstream, 0, count);
	if (!first)
		return NULL;
	struct provider **parts = (struct provider **)(first + 1);
	parts[0] = first;
	while (made < count && (parts[made] = part_new(gateway, generation, upstream, made, 0)))
		made++;
	for (unsigned i = 0; i < made; i++)
		parts[i]->parts = parts;
	bool lists = upstream->settings.dialect->lists_tools;
	if (made == count && share_promises(parts, count, before) && (count == 1 || unite_parts(parts, count)) &&
	    (!lists || (first->source = tool_source_new(gateway->registry, upstream))))
		return first;
	while (made-- > 0) {
		atomic_store(&parts[made]->generations, 0);
		free_provider(parts[made]);
	}
	return NULL;
}

struct provider *provider_here(const struct worker *worker, const struct upstream_config *upstream)
{
	assert(worker_owns(worker, upstream));
	return upstream->provider->parts[worker_part(worker, upstream)];
}

bool gateway_seat(struct gateway *gateway, struct generation *next, const struct generation *before)
{
	next->ended = let_go;
	for (size_t i = 0; i < next->upstream_count; i++) {
		struct upstream_config *upstream = &next->upstreams[i];
		if (upstream->provider)
			continue;
		upstream->provider = provider_new(gateway, next, upstream, before);
		if (!upstream->provider)
			return false;
		upstream->source = upstream->provider->source;
	}
	return true;
}

/* ---------------------------------------------------------------- its last failure */

void provider_note_failure(struct provider *provider, const struct answer *answer)
{
	if (!outcome_is_failure(answer->outcome))
		return;
	pthread_mutex_lock(&provider->mutex);
	provider->failure.at_us = clock_wall_us();
	provider->failure.outcome = answer->outcome;
	memcpy(provider->failure.detail, answer->detail, sizeof provider->failure.detail);
	pthread_mutex_unlock(&provider->mutex);
}

static void take_newer_failure(struct provider *part, struct provider_failure *failure)
{
	pthread_mutex_lock(&part->mutex);
	if (part->failure.at_us > failure->at_us)
		*failure = part->failure;
	pthread_mutex_unlock(&part->mutex);
}

void provider_last_failure(struct provider *provider, struct provider_failure *failure)
{
	unsigned parts = upstream_parts(provider->gateway, provider->upstream);
	*failure = (struct provider_failure){ .at_us = 0 };
	for (unsigned i = 0; i < parts; i++)
		take_newer_failure(provider->parts[i], failure);
}

uint64_t provider_pause_us(const struct provider *provider, uint64_t now_us)
{
	uint64_t until_us = pauses_until_us(provider->pauses);
	return until_us > now_us ? until_us - now_us : 0;
}

/* ---------------------------------------------------------------- at its worker */

/* The one that was opened last for the service of this one; NULL: it is the first. */
static struct provider *find_before(const struct dispatch *dispatch, const struct provider *provider)
{
	struct provider *before;
	TAILQ_FOREACH_REVERSE(before, &dispatch->providers, providers, next)
	if (is_same_service(&before->now.settings, &provider->now.settings))
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
	provider->batcher = batcher_new(&provider->now.batch, &provider->now.settings, worker->transport, worker->loop,
					worker->meter);
	if (!provider->batcher)
		return false;
	batcher_share_pauses(provider->batcher, provider->pauses);
	batcher_share_rates(provider->batcher, provider->allowed);
	if (provider->common)
		batcher_join(provider->batcher, provider->common);
	struct provider *before = find_before(dispatch, provider);
	if (before)
		batcher_follow(provider->batcher, before->batcher);
	provider->dispatch = dispatch;
	TAILQ_INSERT_TAIL(&dispatch->providers, provider, next);
	dispatch->provider_count++;
	show_gone(provider, false);
	if (provider->source)
		batcher_watch(provider->batcher, tool_source_watcher(provider->source));
	return true;
}

/* Go on by the options of a newer generation: adjustable ones may be other ones, its endpoints among them, no others are. */
static void adjust_provider(struct provider *provider, const struct generation *generation,
			    const struct upstream_config *upstream)
{
	struct generation *before = provider->newest;
	provider->newest = (struct generation *)(uintptr_t)generation; /* all but the count is constant */
	generation_keep(provider->newest);
	adjust_options(&provider->now, upstream);
	if (provider->batcher) {
		batcher_adjust(provider->batcher, &provider->now.batch);
		provider->changed = true;
	}
	generation_unkeep(before);
}

bool dispatch_open(struct dispatch *dispatch, const struct generation *generation)
{
	struct worker *worker = dispatch->worker;
	bool all = true;
	for (size_t i = 0; i < generation->upstream_count; i++) {
		const struct upstream_config *upstream = &generation->upstreams[i];
		if (!worker_owns(worker, upstream))
			continue;
		struct provider *provider = provider_here(worker, upstream);
		adjust_provider(provider, generation, upstream);
		if (!provider_open(provider, dispatch))
			all = false;
	}
	return all;
}
