/* pages.c: documents about the gateway, each written from the configuration, the metrics and nothing else. */
#include "gateway/admin/pages.h"

#include <signal.h>
#include <unistd.h>

#include "base/json.h"
#include "gateway/tools/definitions.h"
#include "gateway/admin/purge.h"
#include "gateway/call/front.h"
#include "gateway/call/reply.h"
#include "gateway/call/await_lists.h"
#include "gateway/call/worker.h"

enum { PAGE_BYTES_MAX = 64 << 20 };

static const char json_type_text[] = "application/json";

/* ---------------------------------------------------------------- catalogue */

static void reply_document(struct request *request, const struct document *document)
{
	struct reply reply;
	bool unchanged = reply_none_match(request, document->etag);
	reply_init(&reply, unchanged ? 304 : 200);
	reply_header_text(&reply, "X-Request-Id", slice_of(request->id));
	reply_header_text(&reply, "ETag", slice_of(document->etag));
	reply_header_text(&reply, "Cache-Control", SLICE("no-cache"));
	if (!unchanged) {
		reply.content_type = json_type_text;
		reply.body = blob_slice(document->blob);
		reply.blob = document->blob;
	}
	request_reply(request, &reply);
}

static enum definition_format wanted_format(struct request *request)
{
	struct slice word = request_query(request, SLICE("format"));
	enum definition_format format = definition_format(word);
	if (format == FORMAT_COUNT)
		reply_problem(request, OUTCOME_INVALID_REQUEST, NULL,
			      "format must be one of jitney, mcp, openai, openai-responses, anthropic, gemini.");
	return format;
}

void page_tools(struct worker *worker, struct request *request, struct slice rest)
{
	(void)rest;
	enum definition_format format = wanted_format(request);
	if (format != FORMAT_COUNT)
		reply_document(request, definitions_list(catalogue_definitions(worker->catalogue), format));
}

void page_tool(struct worker *worker, struct request *request, struct slice rest)
{
	const struct tool *tool = catalogue_tool(worker->catalogue, rest);
	if (!tool) {
		reply_answer(request, front_unknown_tool(worker, rest));
		return;
	}
	enum definition_format format = wanted_format(request);
	struct document document;
	if (format == FORMAT_COUNT)
		return;
	if (!definition_name_fits(tool, format)) {
		reply_problem(request, OUTCOME_INVALID_REQUEST, NULL,
			      "The tool's name, or a name in its schema, does not fit the rules of that format.");
		return;
	}
	if (!definitions_tool(worker->gateway->config, tool, format, &document)) {
		reply_problem(request, OUTCOME_OVERLOADED, NULL, "The gateway is out of memory.");
		return;
	}
	reply_document(request, &document);
	blob_unref(document.blob);
}

void page_openapi(struct worker *worker, struct request *request, struct slice rest)
{
	(void)rest;
	reply_document(request, definitions_openapi(catalogue_definitions(worker->catalogue)));
}

/* ---------------------------------------------------------------- health and metrics */

void page_healthz(struct worker *worker, struct request *request, struct slice rest)
{
	struct buf text = BUF_INIT(PAGE_BYTES_MAX);
	(void)worker;
	(void)rest;
	buf_put_text(&text, "{\"status\":\"ok\"}\n");
	reply_text(request, 200, json_type_text, &text);
}

static size_t healthy_endpoints(const struct gateway *gateway, const struct upstream_settings *settings)
{
	size_t healthy = 0;
	for (size_t i = 0; i < settings->endpoint_count; i++)
		healthy += metrics_read(gateway->metrics, METRIC_ID_UPSTREAM_HEALTHY,
					settings->first_endpoint_label + i, 0) > 0;
	return healthy;
}

unsigned redis_workers(const struct gateway *gateway)
{
	int64_t connected = metrics_read(gateway->metrics, METRIC_ID_REDIS_CONNECTED, 0, 0);
	int64_t open = metrics_read(gateway->metrics, METRIC_ID_REDIS_BREAKER, 0, 0);
	return connected > open ? (unsigned)(connected - open) : 0;
}

static void put_redis(struct buf *out, const struct gateway *gateway)
{
	unsigned good = redis_workers(gateway), all = gateway->config->workers;
	buf_printf(out, "\"redis\":{\"status\":\"%s\",\"workers\":%u}",
		   good == all ? "up"
		   : good      ? "degraded"
			       : "down",
		   good);
}

static void put_disk(struct buf *out, const struct disk_status *status)
{
	static const char *const states[] = { [DISK_STARTING] = "starting", [DISK_UP] = "up", [DISK_AWAY] = "down" };
	buf_printf(out, "\"disk\":{\"status\":\"%s\",\"loading\":%s", states[status->state],
		   status->loading ? "true" : "false");
	if (status->state == DISK_AWAY) {
		buf_put_text(out, ",\"detail\":");
		json_put_string(out, slice_of(status->trouble));
	}
	buf_put_char(out, '}');
}

/* Ready as long as calls are taken, once MCP servers have had the time to say which tools they have: a dead provider is
 * shown, but must not take the others' gateway out of rotation. */
void page_readyz(struct worker *worker, struct request *request, struct slice rest)
{
	const struct gateway *gateway = worker->gateway;
	bool draining = atomic_load_explicit(&gateway->draining, memory_order_relaxed);
	bool ready = !draining && lists_complete(worker);
	struct buf text = BUF_INIT(PAGE_BYTES_MAX);
	(void)rest;
	buf_printf(&text,
		   "{\"status\":\"%s\",\"components\":{\"workers\":{\"status\":\"up\",\"count\":%u},\"upstreams\":{",
		   draining ? "draining"
		   : ready  ? "ready"
			    : "starting",
		   gateway->config->workers);
	for (size_t i = 0; i < gateway->config->upstream_count; i++) {
		const struct upstream_settings *settings = &gateway->config->upstreams[i].settings;
		size_t healthy = healthy_endpoints(gateway, settings);
		if (i)
			buf_put_char(&text, ',');
		json_put_string(&text, slice_of(settings->name));
		buf_printf(&text, ":{\"status\":\"%s\",\"healthy\":%zu,\"endpoints\":%zu", healthy ? "up" : "down",
			   healthy, settings->endpoint_count);
		page_put_listing(&text, worker->catalogue, (unsigned)i);
		buf_put_char(&text, '}');
	}
	buf_put_char(&text, '}');
	if (gateway->config->redis) {
		buf_put_char(&text, ',');
		put_redis(&text, gateway);
	}
	if (gateway->disk) {
		struct disk_status status;
		disk_status(gateway->disk, &status);
		buf_put_char(&text, ',');
		put_disk(&text, &status);
	}
	buf_put_text(&text, "}}\n");
	reply_text(request, ready ? 200 : 503, json_type_text, &text);
}

void page_metrics(struct worker *worker, struct request *request, struct slice rest)
{
	struct buf text = BUF_INIT(PAGE_BYTES_MAX);
	(void)rest;
	metrics_render(worker->gateway->metrics, &text);
	reply_text(request, 200, "text/plain; version=0.0.4; charset=utf-8", &text);
}

/* ---------------------------------------------------------------- admin */

void page_admin_index(struct worker *worker, struct request *request, struct slice rest)
{
	struct buf text = BUF_INIT(PAGE_BYTES_MAX);
	const struct config *config = worker->gateway->config;
	(void)rest;
	buf_printf(
		&text,
		"<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>jitney " JITNEY_VERSION "</title>"
		"<style>body{font:16px/1.5 system-ui;max-width:40em;margin:3em auto;padding:0 1em}</style>"
		"<h1>jitney " JITNEY_VERSION "</h1><p>%zu tools, %zu upstreams, %u workers, up for %llu s.</p><ul>"
		"<li><a href=\"/admin/tools\">tools</a>: all of them, and the lists of MCP servers"
		"<li><a href=\"/admin/upstreams\">upstreams</a>: state, lanes, pools"
		"<li><a href=\"/admin/cache\">cache</a>: what the tiers hold and how they do"
		"<li><a href=\"/admin/config\">config</a>: what is in force, secrets left out"
		"<li><a href=\"/metrics\">metrics</a>, <a href=\"/healthz\">healthz</a>, <a href=\"/readyz\">readyz</a>"
		"</ul></html>\n",
		catalogue_count(worker->catalogue), config->upstream_count, config->workers,
		(unsigned long long)((loop_now(worker->loop) - worker->gateway->started_us) / CLOCK_US_PER_S));
	reply_text(request, 200, "text/html; charset=utf-8", &text);
}

void page_admin_config(struct worker *worker, struct request *request, struct slice rest)
{
	struct buf text = BUF_INIT(PAGE_BYTES_MAX);
	(void)rest;
	config_json(worker->gateway->config, &text);
	buf_put_char(&text, '\n');
	reply_text(request, 200, json_type_text, &text);
}

static void put_count(struct buf *out, const struct gateway *gateway, const char *name, enum metric metric,
		      size_t label1, size_t label2)
{
	buf_printf(out, ",\"%s\":%lld", name, (long long)metrics_read(gateway->metrics, metric, label1, label2));
}

/* By class of latency, those that have been used: a fixed part that is known, or calls. */
static void put_classes(struct buf *out, const struct gateway *gateway, size_t index)
{
	static const char *const words[] = {
#define X(name, word) word,
		LATENCY_CLASSES(X)
#undef X
	};
	int64_t waiting = 0, in_flight = 0;
	const char *comma = "";
	buf_put_text(out, ",\"classes\":[");
	for (size_t i = 0; i < LATENCY_CLASS_COUNT; i++) {
		int64_t waits = metrics_read(gateway->metrics, METRIC_ID_BATCH_WAITING, index, i);
		int64_t flies = metrics_read(gateway->metrics, METRIC_ID_BATCH_IN_FLIGHT, index, i);
		waiting += waits;
		in_flight += flies;
		if (!waits && !flies && !metrics_read(gateway->metrics, METRIC_ID_BATCH_EXCHANGE_COST, index, i))
			continue;
		buf_printf(out, "%s{\"class\":\"%s\"", comma, words[i]);
		put_count(out, gateway, "waiting", METRIC_ID_BATCH_WAITING, index, i);
		put_count(out, gateway, "in_flight", METRIC_ID_BATCH_IN_FLIGHT, index, i);
		put_count(out, gateway, "learned_window_us", METRIC_ID_BATCH_WINDOW, index, i);
		put_count(out, gateway, "learned_exchange_us", METRIC_ID_BATCH_EXCHANGE_COST, index, i);
		put_count(out, gateway, "learned_item_us", METRIC_ID_BATCH_ITEM_COST, index, i);
		buf_put_char(out, '}');
		comma = ",";
	}
	buf_printf(out, "],\"waiting\":%lld,\"in_flight\":%lld", (long long)waiting, (long long)in_flight);
}

static void put_upstream(struct buf *out, const struct worker *worker, size_t index)
{
	static const char *const modes[] = {
		[BATCH_ADAPTIVE] = "adaptive", [BATCH_FIXED] = "fixed", [BATCH_OFF] = "off"
	};
	const struct gateway *gateway = worker->gateway;
	const struct upstream_settings *settings = &gateway->config->upstreams[index].settings;
	const struct batch_policy *batch = &gateway->config->upstreams[index].batch;
	buf_put_text(out, "{\"name\":");
	json_put_string(out, slice_of(settings->name));
	buf_printf(out, ",\"dialect\":\"%s\",\"worker\":%u", settings->dialect->name,
		   upstream_owner(gateway, (unsigned)index)->index);
	page_put_endpoints(out, gateway, settings);
	page_put_listing(out, worker->catalogue, (unsigned)index);
	buf_printf(out,
		   ",\"batch\":{\"mode\":\"%s\",\"items\":%zu,\"bytes\":%zu,\"window_us\":%llu,\"concurrency\":%zu}",
		   modes[batch->mode], batch->max_items, batch->max_bytes, (unsigned long long)batch->window_us,
		   batch->concurrency);
	put_classes(out, gateway, index);
	put_count(out, gateway, "bisections", METRIC_ID_BATCH_BISECTIONS, index, 0);
	put_count(out, gateway, "batches", METRIC_ID_BATCH_ITEMS, index, 0);
	put_count(out, gateway, "saved_requests", METRIC_ID_BATCH_SAVED, index, 0);
	put_count(out, gateway, "connections_busy", METRIC_ID_UPSTREAM_CONNECTIONS, index, CONNECTION_BUSY);
	put_count(out, gateway, "connections_idle", METRIC_ID_UPSTREAM_CONNECTIONS, index, CONNECTION_IDLE);
	put_count(out, gateway, "connects", METRIC_ID_UPSTREAM_CONNECTS, index, 0);
	buf_put_char(out, '}');
}

void page_admin_upstreams(struct worker *worker, struct request *request, struct slice rest)
{
	struct buf text = BUF_INIT(PAGE_BYTES_MAX);
	(void)rest;
	buf_put_text(&text, "{\"upstreams\":[");
	for (size_t i = 0; i < worker->gateway->config->upstream_count; i++) {
		if (i)
			buf_put_char(&text, ',');
		put_upstream(&text, worker, i);
	}
	buf_put_text(&text, "]}\n");
	reply_text(request, 200, json_type_text, &text);
}

/* By reason, those that are not zero. */
static void put_reasons(struct buf *out, const struct gateway *gateway, const char *name, enum metric metric,
			const char *const *words, size_t count)
{
	bool first = true;
	buf_printf(out, ",\"%s\":{", name);
	for (size_t i = 0; i < count; i++) {
		long long times = metrics_read(gateway->metrics, metric, i, 0);
		if (times)
			buf_printf(out, "%s\"%s\":%lld", first ? "" : ",", words[i], times);
		first = first && !times;
	}
	buf_put_char(out, '}');
}

static void put_redis_cache(struct buf *out, const struct gateway *gateway)
{
#define X(name, word) word,
	static const char *const results[] = { CACHE_RESULTS(X) };
	static const char *const troubles[] = { REDIS_TROUBLES(X) };
	static const char *const skips[] = { REDIS_SKIPS(X) };
#undef X
	buf_put_char(out, ',');
	put_redis(out, gateway);
	out->len--; /* its closing brace: there is more to say here */
	for (size_t i = 0; i < countof(results); i++)
		put_count(out, gateway, results[i], METRIC_ID_CACHE_REQUESTS, TIER_REDIS, i);
	buf_printf(out, ",\"tracking\":%s",
		   metrics_read(gateway->metrics, METRIC_ID_REDIS_TRACKING, 0, 0) ? "true" : "false");
	put_count(out, gateway, "stored", METRIC_ID_REDIS_DURATION, REDIS_COMMAND_SET, 0);
	put_count(out, gateway, "connects", METRIC_ID_REDIS_CONNECTS, 0, 0);
	put_reasons(out, gateway, "errors", METRIC_ID_REDIS_ERRORS, troubles, countof(troubles));
	put_reasons(out, gateway, "skipped", METRIC_ID_REDIS_SKIPPED, skips, countof(skips));
	buf_put_char(out, '}');
}

static void put_disk_cache(struct buf *out, const struct gateway *gateway)
{
#define X(name, word) word,
	static const char *const results[] = { CACHE_RESULTS(X) };
	static const char *const troubles[] = { DISK_TROUBLES(X) };
	static const char *const skips[] = { DISK_SKIPS(X) };
#undef X
	struct disk_status status;
	disk_status(gateway->disk, &status);
	buf_put_char(out, ',');
	put_disk(out, &status);
	out->len--; /* its closing brace: there is more to say here */
	buf_printf(out, ",\"entries\":%llu,\"bytes\":%llu,\"capacity_bytes\":%llu,\"loaded\":%llu",
		   (unsigned long long)status.entries, (unsigned long long)status.bytes,
		   (unsigned long long)status.capacity_bytes, (unsigned long long)status.loaded);
	for (size_t i = 0; i < countof(results); i++)
		put_count(out, gateway, results[i], METRIC_ID_CACHE_REQUESTS, TIER_DISK, i);
	put_count(out, gateway, "stored", METRIC_ID_DISK_DURATION, DISK_JOB_PUT, 0);
	put_reasons(out, gateway, "errors", METRIC_ID_DISK_ERRORS, troubles, countof(troubles));
	put_reasons(out, gateway, "skipped", METRIC_ID_DISK_SKIPPED, skips, countof(skips));
	buf_put_char(out, '}');
}

void page_admin_cache(struct worker *worker, struct request *request, struct slice rest)
{
	static const char *const reasons[] = {
#define X(name, word) word,
		EVICT_REASONS(X)
	};
	static const char *const results[] = { CACHE_RESULTS(X) };
#undef X
	struct memory_stats stats = cache_memory_stats(worker->gateway->cache);
	struct buf text = BUF_INIT(PAGE_BYTES_MAX);
	(void)rest;
	buf_printf(&text, "{\"memory\":{\"entries\":%llu,\"bytes\":%llu,\"capacity_bytes\":%llu,\"evictions\":{",
		   (unsigned long long)stats.entries, (unsigned long long)stats.bytes,
		   (unsigned long long)stats.capacity_bytes);
	for (size_t i = 0; i < EVICT_REASON_COUNT; i++)
		buf_printf(&text, "%s\"%s\":%llu", i ? "," : "", reasons[i], (unsigned long long)stats.evictions[i]);
	buf_put_char(&text, '}');
	for (size_t i = 0; i < countof(results); i++)
		put_count(&text, worker->gateway, results[i], METRIC_ID_CACHE_REQUESTS, TIER_MEMORY, i);
	buf_put_char(&text, '}');
	if (worker->gateway->config->redis)
		put_redis_cache(&text, worker->gateway);
	if (worker->gateway->disk)
		put_disk_cache(&text, worker->gateway);
	buf_put_text(&text, "}\n");
	reply_text(request, 200, json_type_text, &text);
}

/* A typing error in what to purge must not purge everything. */
static bool read_purge(const struct request *request, struct purge_scope *scope)
{
	struct slice query = request->query;
	*scope = (struct purge_scope){ request_query(request, SLICE("tool")), request_query(request, SLICE("prefix")),
				       request_query(request, SLICE("tag")), request_query(request, SLICE("key")) };
	size_t known = (scope->tool.len > 0) + (scope->prefix.len > 0) + (scope->tag.len > 0) + (scope->key.len > 0);
	size_t given = query.len > 0;
	for (size_t i = 0; i < query.len; i++)
		given += query.at[i] == '&';
	return known == given;
}

/* What changes something takes a body of nothing or {}, as JSON: a form, which any page can send, is neither. False:
 * answered. */
bool page_body_is_empty(struct worker *worker, struct request *request)
{
	struct slice body = json_trim(buf_slice(&request->body)), name, value;
	struct slice type = request->headers[HEADER_CONTENT_TYPE];
	if (type.len && !front_is_json_type(type))
		return front_refuse(worker, request, &wire_problem, REJECT_MEDIA_TYPE, OUTCOME_UNSUPPORTED_MEDIA_TYPE,
				    "This takes Content-Type: application/json, with the body {} or none.");
	if (!front_body_is_json(worker, request, &wire_problem))
		return false;
	if (!body.len)
		return true;
	if (!front_check_json(worker, request, &wire_problem, worker->gateway->config->limits.json_depth))
		return false;
	struct json_walk walk = json_walk(body);
	if (json_type(body) == JSON_OBJECT && !json_next_member(&walk, &name, &value))
		return true;
	return front_refuse(worker, request, &wire_problem, REJECT_BAD_REQUEST, OUTCOME_INVALID_REQUEST,
			    "The body must be {}, or none; nothing was done.");
}

/* DELETE /admin/cache?tool=&prefix=&tag=&key=: what matches all that is given; nothing given: everything. */
void page_admin_purge(struct worker *worker, struct request *request, struct slice rest)
{
	struct purge_scope scope;
	uint8_t digest[KEY_DIGEST_BYTES];
	(void)rest;
	if (!page_body_is_empty(worker, request))
		return;
	if (!read_purge(request, &scope)) {
		reply_problem(request, OUTCOME_INVALID_REQUEST, NULL,
			      "Only tool, prefix, tag and key are known; nothing was purged.");
		return;
	}
	if (scope.tool.len && !catalogue_tool(worker->catalogue, scope.tool)) {
		reply_problem(request, OUTCOME_UNKNOWN_TOOL, NULL, "There is no such tool; nothing was purged.");
		return;
	}
	if (scope.key.len && !purge_read_digest(scope.key, digest)) {
		reply_problem(request, OUTCOME_INVALID_REQUEST, NULL,
			      "A key is a SHA-256 in 64 hexadecimal digits; nothing was purged.");
		return;
	}
	purge_and_reply(worker, request, &scope);
}

void page_admin_drain(struct worker *worker, struct request *request, struct slice rest)
{
	struct buf text = BUF_INIT(PAGE_BYTES_MAX);
	(void)rest;
	if (!page_body_is_empty(worker, request))
		return;
	buf_put_text(&text, "{\"status\":\"draining\"}\n");
	reply_text(request, 202, json_type_text, &text);
	kill(getpid(), SIGTERM); /* the main thread waits for it: one way to shut down, not two */
}
