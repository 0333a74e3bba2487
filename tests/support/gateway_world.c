/* SPDX-License-Identifier: Apache-2.0 */
/* gateway_world.c: see the header. */
#include "tests/support/gateway_world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/call/provider.h"
#include "gateway/tools/registry.h"

/* The calls of a chain home -> owner -> home, and a cancel behind it. */
enum { ROUNDS = 4 };

const char gateway_yaml[] = "listen: 127.0.0.1:0\n"
			    "workers: 2\n"
			    "limits: { in_flight: 8 }\n"
			    "trusted_proxies: [ 127.0.0.1/32 ]\n"
			    "identity: { tenant_header: X-Tenant }\n"
			    "cache: { memory: { size: 16MiB } }\n"
			    "upstreams:\n"
			    "  near: { dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ], timeout: 10s }\n"
			    "  far: { dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ], timeout: 10s }\n"
			    "tools:\n"
			    "  cached:\n"
			    "    upstream: near\n"
			    "    annotations: { read_only: true }\n"
			    "    timeout: 5s\n"
			    "    cache: { ttl: 60s, stale_while_revalidate: 30s, stale_if_error: 1h, scope: shared }\n"
			    "  far_cached:\n"
			    "    upstream: far\n"
			    "    annotations: { read_only: true }\n"
			    "    timeout: 5s\n"
			    "    cache: { ttl: 60s, scope: shared }\n"
			    "  tenants:\n"
			    "    upstream: near\n"
			    "    annotations: { read_only: true }\n"
			    "    timeout: 5s\n"
			    "    cache: { ttl: 60s, scope: tenant }\n"
			    "  merged: { upstream: near, timeout: 5s, annotations: { idempotent: true } }\n"
			    "  far_merged: { upstream: far, timeout: 5s, annotations: { idempotent: true } }\n"
			    "  write: { upstream: near, timeout: 5s }\n"
			    "  far_write: { upstream: far, timeout: 5s }\n";

static struct config *read_config(const char *yaml)
{
	struct buf errors = BUF_INIT(1 << 20);
	struct config *config = config_parse("test.yaml", slice_of(yaml), &errors);
	if (!config)
		fprintf(stderr, "%s", buf_cstr(&errors));
	assert(config);
	buf_fini(&errors);
	return config;
}

void gateway_start(struct gateway_world *world, const char *yaml)
{
	gateway_start_with(world, read_config(yaml));
}

struct config *gateway_config(const char *yaml)
{
	return read_config(yaml);
}

void gateway_start_with(struct gateway_world *world, struct config *config)
{
	fake_reset();
	memset(world, 0, sizeof *world);
	world->now_us = 1000 * CLOCK_US_PER_S;
	clock_set(world->now_us);
	world->config = config;
	struct gateway *gateway = &world->gateway;
	gateway->registry = registry_new(world->config);
	assert(gateway->registry);
	registry_fill_names(gateway->registry, &world->names);
	gateway->config = world->config;
	gateway->started_us = world->now_us;
	gateway->metrics = metrics_new(&world->names);
	bool attached = gateway->metrics && registry_attach(gateway->registry, gateway->metrics);
	assert(attached);
	gateway->cache = cache_new(world->config->generation.memory_bytes, gateway->metrics);
	gateway->workers = calloc(world->config->workers, sizeof(struct worker *));
	gateway->refreshes = calloc(registry_upstream_room(gateway->registry), sizeof *gateway->refreshes);
	bool seated = gateway_seat(gateway, &world->config->generation, NULL);
	assert(gateway->cache && gateway->workers && gateway->refreshes && seated);
	for (unsigned i = 0; i < world->config->workers; i++) {
		gateway->workers[i] = worker_new(gateway, i);
		assert(gateway->workers[i]);
	}
}

void gateway_stop(struct gateway_world *world)
{
	struct gateway *gateway = &world->gateway;
	for (unsigned i = 0; i < world->config->workers; i++) {
		assert(mailbox_open(&gateway->workers[i]->mailbox) == 0);
		assert(dispatch_busy(gateway->workers[i]->dispatch) == 0);
	}
	assert(atomic_load(&gateway->in_flight) == 0);
	assert(gateway_metric(world, METRIC_ID_IN_FLIGHT, 0, 0) == 0);
	gateway->settled = true;
	for (unsigned i = 0; i < world->config->workers; i++)
		worker_free(gateway->workers[i]);
	for (size_t i = 0; i < registry_upstream_room(gateway->registry); i++)
		assert(atomic_load(&gateway->refreshes[i]) == 0);
	free(gateway->refreshes);
	free(gateway->workers);
	catalogue_retire(atomic_exchange(&gateway->observed, NULL)); /* no observer runs here to take it */
	cache_free(gateway->cache);
	metrics_free(gateway->metrics);
	registry_free(gateway->registry);
	config_free(world->config);
	clock_set(0);
}

void gateway_pass(struct gateway_world *world, uint64_t us)
{
	world->now_us += us;
	clock_set(world->now_us);
	for (unsigned i = 0; i < world->config->workers; i++)
		loop_wait(world->gateway.workers[i]->loop, world->now_us);
}

void gateway_turn(struct gateway_world *world, unsigned worker)
{
	worker_turn(world->gateway.workers[worker], world->now_us);
}

void gateway_settle(struct gateway_world *world)
{
	for (int round = 0; round < ROUNDS; round++)
		for (unsigned i = 0; i < world->config->workers; i++)
			gateway_turn(world, i);
}

int64_t gateway_metric(const struct gateway_world *world, enum metric metric, size_t label1, size_t label2)
{
	return metrics_read(world->gateway.metrics, metric, label1, label2);
}

/* --- callers --- */

static struct slice arguments_of(const struct ask *ask)
{
	return slice_of(ask->text ? ask->text : ask->arguments);
}

static void note_end(struct ask *ask)
{
	struct call *call = ask->call;
	ask->ended++;
	ask->outcome = call->answer->outcome;
	ask->retry_after_s = call->answer->retry_after_s;
	ask->source = call->source;
	ask->stored = call->stored;
	ask->facts = call->facts;
	ask->has_entry = call->entry != NULL;
	ask->own = slice_equal(answer_body(call->answer), arguments_of(ask));
	ask->call = NULL;
	call_free(call);
}

static void call_done(struct call *call)
{
	note_end(call->context);
}

void ask_init(struct ask *ask, unsigned worker, const char *tool, unsigned tag)
{
	memset(ask, 0, sizeof *ask);
	ask->worker = worker;
	ask->tool = tool;
	ask->caller =
		(struct caller){ .timeout_us = CLOCK_NEVER, .number = 1, .urgency = 3, .tenant_len = 1, .name_len = 1 };
	ask->caller.tenant[0] = 't';
	ask->caller.name[0] = 'c';
	snprintf(ask->arguments, sizeof ask->arguments, "{\"tag\":%u}", tag);
}

bool ask_send(struct gateway_world *world, struct ask *ask)
{
	struct call *call = call_new(world->gateway.workers[ask->worker]);
	if (!call)
		return false;
	ask->call = call;
	call->tool = catalogue_tool(call->catalogue, slice_of(ask->tool));
	assert(call->tool);
	call->caller = &ask->caller;
	call->arguments = arguments_of(ask);
	call->done = call_done;
	call->context = ask;
	if (call_look_up(call)) {
		note_end(ask);
		return true;
	}
	struct blob *body = blob_copy(call->arguments);
	if (!body) {
		call_free(call);
		ask->call = NULL;
		return false;
	}
	call->arguments = blob_slice(body);
	unsigned before = ask->ended;
	call_send(call, body);
	assert(ask->ended == before);
	blob_unref(body);
	return true;
}

void ask_cancel(struct ask *ask)
{
	call_cancel(ask->call);
	ask->call = NULL;
}

void ask_once(struct gateway_world *world, struct ask *ask, unsigned worker, const char *tool, unsigned tag)
{
	ask_init(ask, worker, tool, tag);
	bool sent = ask_send(world, ask);
	assert(sent);
}
