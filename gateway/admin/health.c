/* SPDX-License-Identifier: Apache-2.0 */
/* health.c: liveness, readiness with the state of each component, metrics: on both listeners. */
#include "gateway/admin/health.h"

#include "base/json.h"
#include "cache/disk/disk.h"
#include "gateway/admin/observer.h"
#include "gateway/admin/pages.h"
#include "gateway/call/await_lists.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"

enum { PAGE_BYTES_MAX = 64 << 20 };

void page_healthz(struct worker *worker, struct request *request, struct slice rest)
{
	struct buf text = BUF_INIT(PAGE_BYTES_MAX);
	(void)worker;
	(void)rest;
	buf_put_text(&text, "{\"status\":\"ok\"}\n");
	reply_text(request, 200, "application/json", &text);
}

unsigned redis_workers(const struct gateway *gateway)
{
	int64_t connected = metrics_read(gateway->metrics, METRIC_ID_REDIS_CONNECTED, 0, 0);
	int64_t open = metrics_read(gateway->metrics, METRIC_ID_REDIS_BREAKER, 0, 0);
	return connected > open ? (unsigned)(connected - open) : 0;
}

static const char *const disk_words[] = { [DISK_STARTING] = "starting", [DISK_UP] = "up", [DISK_AWAY] = "down" };

const char *health_tier_status(const struct gateway *gateway, enum cache_tier tier)
{
	struct disk_status disk;
	if (tier == TIER_REDIS) {
		unsigned good = redis_workers(gateway);
		return good == gateway->config->workers ? "up" : good ? "degraded" : "down";
	}
	if (tier != TIER_DISK)
		return "up";
	disk_status(gateway->disk, &disk);
	return disk_words[disk.state];
}

void health_put_redis(struct buf *out, const struct gateway *gateway)
{
	buf_printf(out, "\"redis\":{\"status\":\"%s\",\"workers\":%u", health_tier_status(gateway, TIER_REDIS),
		   redis_workers(gateway));
}

void health_put_disk(struct buf *out, const struct disk_status *status)
{
	buf_printf(out, "\"disk\":{\"status\":\"%s\",\"loading\":%s", disk_words[status->state],
		   status->loading ? "true" : "false");
	if (status->state == DISK_AWAY) {
		buf_put_text(out, ",\"detail\":");
		json_put_string(out, slice_of(status->trouble));
	}
}

/* Ready as long as calls are taken, once MCP servers have had the time to say which tools they have: a dead provider is
 * shown, but must not take the others' gateway out of rotation. */
void page_readyz(struct worker *worker, struct request *request, struct slice rest)
{
	const struct gateway *gateway = worker_gateway(worker);
	bool draining = atomic_load_explicit(&gateway->leaving, memory_order_relaxed);
	bool ready = !draining && lists_complete(worker);
	struct buf text = BUF_INIT(PAGE_BYTES_MAX);
	(void)rest;
	buf_printf(&text,
		   "{\"status\":\"%s\",\"components\":{\"workers\":{\"status\":\"up\",\"count\":%u},\"upstreams\":{",
		   draining ? "draining"
		   : ready  ? "ready"
			    : "starting",
		   gateway->config->workers);
	const struct generation *generation = worker_generation(worker);
	for (size_t i = 0; i < generation->upstream_count; i++) {
		const struct upstream_settings *settings = &generation->upstreams[i].settings;
		size_t healthy = page_healthy_endpoints(gateway, settings);
		if (i)
			buf_put_char(&text, ',');
		json_put_string(&text, slice_of(settings->name));
		buf_printf(&text, ":{\"status\":\"%s\",\"healthy\":%zu,\"endpoints\":%zu", healthy ? "up" : "down",
			   healthy, settings->endpoint_count);
		page_put_tool_list(&text, worker_catalogue(worker), (unsigned)i);
		buf_put_char(&text, '}');
	}
	buf_put_char(&text, '}');
	if (generation->redis) {
		buf_put_char(&text, ',');
		health_put_redis(&text, gateway);
		buf_put_char(&text, '}');
	}
	if (gateway->disk) {
		struct disk_status status;
		disk_status(gateway->disk, &status);
		buf_put_char(&text, ',');
		health_put_disk(&text, &status);
		buf_put_char(&text, '}');
	}
	buf_put_text(&text, "}}\n");
	reply_text(request, ready ? 200 : 503, "application/json", &text);
}

static void write_metrics(const struct observation *of, struct buf *out)
{
	metrics_render(of->gateway->metrics, out);
}

static void send_metrics(struct request *request, struct buf *text)
{
	reply_text(request, 200, "text/plain; version=0.0.4; charset=utf-8", text);
}

void page_metrics(struct worker *worker, struct request *request, struct slice rest)
{
	(void)rest;
	observer_reply(worker, request, write_metrics, send_metrics);
}
