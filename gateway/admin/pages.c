/* SPDX-License-Identifier: Apache-2.0 */
/* pages.c: the admin listener's pages about upstreams, and the drain. */
#include "gateway/admin/pages.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/json.h"
#include "gateway/call/front.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"

enum { PAGE_BYTES_MAX = 64 << 20 };

void page_put_count(struct buf *out, const struct gateway *gateway, const char *name, enum metric metric, size_t label1,
		    size_t label2)
{
	buf_printf(out, ",\"%s\":%lld", name, (long long)metrics_read(gateway->metrics, metric, label1, label2));
}

void page_put_counts(struct buf *out, const struct gateway *gateway, enum metric metric, enum metric_label label,
		     size_t at)
{
	for (size_t i = 0; i < metric_word_count(label); i++)
		buf_printf(out, ",\"%s\":%lld", metric_word(label, i),
			   (long long)metrics_read_by(gateway->metrics, metric, label, i, at));
}

void page_put_object(struct buf *out, const struct gateway *gateway, const char *name, enum metric metric,
		     enum metric_label label, size_t at, bool all)
{
	const char *comma = "";
	buf_printf(out, ",\"%s\":{", name);
	for (size_t i = 0; i < metric_word_count(label); i++) {
		int64_t count = metrics_read_by(gateway->metrics, metric, label, i, at);
		if (!count && !all)
			continue;
		buf_printf(out, "%s\"%s\":%lld", comma, metric_word(label, i), (long long)count);
		comma = ",";
	}
	buf_put_char(out, '}');
}

void page_put_time(struct buf *out, uint64_t wall_us)
{
	buf_printf(out, "%llu.%03llu", (unsigned long long)(wall_us / CLOCK_US_PER_S),
		   (unsigned long long)(wall_us % CLOCK_US_PER_S / CLOCK_US_PER_MS));
}

const char *page_print_span(char text[PAGE_SPAN_BYTES], double us)
{
	if (us < (double)CLOCK_US_PER_S)
		snprintf(text, PAGE_SPAN_BYTES, "%.0f ms", us / 1e3);
	else
		snprintf(text, PAGE_SPAN_BYTES, "%.1f s", us / 1e6);
	return text;
}

/* Of a gauge that is 1 for one of its label's values, that one's word. */
static const char *word_of(const struct gateway *gateway, enum metric metric, size_t at, enum metric_label label)
{
	size_t i = 0, count = metric_word_count(label);
	while (i + 1 < count && metrics_read_by(gateway->metrics, metric, label, i, at) <= 0)
		i++;
	return metric_word(label, i);
}

/* By how urgent they say they are: who waits, whose turn has come, who was refused. */
static void put_bands(struct buf *out, const struct gateway *gateway, size_t index)
{
	buf_put_text(out, ",\"bands\":{");
	for (size_t i = 0; i < metric_word_count(LABEL_BAND); i++) {
		buf_printf(out, "%s\"%s\":{\"waiting\":%lld", i ? "," : "", metric_word(LABEL_BAND, i),
			   (long long)metrics_read(gateway->metrics, METRIC_ID_BAND_WAITING, index, i));
		page_put_count(out, gateway, "sent", METRIC_ID_BAND_SENT, index, i);
		page_put_count(out, gateway, "shed", METRIC_ID_BAND_SHED, index, i);
		buf_put_char(out, '}');
	}
	buf_put_char(out, '}');
}

/* How many at once and why, how long the line is, what is left for repeats. */
static void put_flow(struct buf *out, const struct gateway *gateway, size_t index, long long waiting,
		     long long in_flight)
{
	buf_printf(out, ",\"limiter\":{\"in_flight\":%lld", in_flight);
	page_put_count(out, gateway, "limit", METRIC_ID_CONCURRENCY_LIMIT, index, 0);
	buf_printf(out, ",\"state\":\"%s\",\"reason\":\"%s\"}",
		   word_of(gateway, METRIC_ID_LIMITER_STATE, index, LABEL_LIMITER_STATE),
		   word_of(gateway, METRIC_ID_LIMITER_REASON, index, LABEL_LIMITER_REASON));
	buf_printf(out, ",\"line\":{\"waiting\":%lld", waiting);
	page_put_count(out, gateway, "expected_wait_us", METRIC_ID_QUEUE_WAIT, index, 0);
	page_put_object(out, gateway, "shed", METRIC_ID_SHED, LABEL_SHED_REASON, index, true);
	put_bands(out, gateway, index);
	buf_printf(out, "},\"retry_budget\":{\"left\":%.3f}",
		   (double)metrics_read(gateway->metrics, METRIC_ID_RETRY_BUDGET, index, 0) / 1e6);
}

/* By class of latency, those that have been used: a fixed part that is known, or calls. */
static void put_classes(struct buf *out, const struct gateway *gateway, size_t index)
{
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
		buf_printf(out, "%s{\"class\":\"%s\"", comma, metric_word(LABEL_LATENCY_CLASS, i));
		page_put_count(out, gateway, "waiting", METRIC_ID_BATCH_WAITING, index, i);
		page_put_count(out, gateway, "in_flight", METRIC_ID_BATCH_IN_FLIGHT, index, i);
		page_put_count(out, gateway, "learned_window_us", METRIC_ID_BATCH_WINDOW, index, i);
		page_put_count(out, gateway, "learned_exchange_us", METRIC_ID_BATCH_EXCHANGE_COST, index, i);
		page_put_count(out, gateway, "learned_item_us", METRIC_ID_BATCH_ITEM_COST, index, i);
		buf_put_char(out, '}');
		comma = ",";
	}
	buf_printf(out, "],\"waiting\":%lld,\"in_flight\":%lld", (long long)waiting, (long long)in_flight);
	put_flow(out, gateway, index, (long long)waiting, (long long)in_flight);
}

static void put_upstream(struct buf *out, const struct worker *worker, size_t index)
{
	static const char *const modes[] = {
		[BATCH_ADAPTIVE] = "adaptive", [BATCH_FIXED] = "fixed", [BATCH_OFF] = "off"
	};
	const struct gateway *gateway = worker_gateway(worker);
	const struct upstream_config *upstream = &worker_generation(worker)->upstreams[index];
	const struct upstream_settings *settings = &upstream->settings;
	const struct batch_policy *batch = &upstream->batch;
	size_t label = settings->label;
	buf_put_text(out, "{\"name\":");
	json_put_string(out, slice_of(settings->name));
	buf_printf(out, ",\"dialect\":\"%s\",\"worker\":%u,\"owners\":%u", settings->dialect->name,
		   upstream_owner_index(gateway, upstream, 0), upstream_parts(gateway, upstream));
	if (upstream->owners_because) {
		buf_put_text(out, ",\"owners_because\":");
		json_put_string(out, slice_of(upstream->owners_because));
	}
	page_put_endpoints(out, gateway, settings);
	page_put_tool_list(out, worker_catalogue(worker), (unsigned)index);
	buf_printf(out,
		   ",\"batch\":{\"mode\":\"%s\",\"items\":%zu,\"bytes\":%zu,\"window_us\":%llu,\"concurrency\":%zu}",
		   modes[batch->mode], batch->max_items, batch->max_bytes, (unsigned long long)batch->window_us,
		   batch->concurrency);
	put_classes(out, gateway, label);
	page_put_count(out, gateway, "bisections", METRIC_ID_BATCH_BISECTIONS, label, 0);
	page_put_count(out, gateway, "batches", METRIC_ID_BATCH_ITEMS, label, 0);
	page_put_count(out, gateway, "saved_requests", METRIC_ID_BATCH_SAVED, label, 0);
	page_put_count(out, gateway, "connections_busy", METRIC_ID_UPSTREAM_CONNECTIONS, label, CONNECTION_BUSY);
	page_put_count(out, gateway, "connections_idle", METRIC_ID_UPSTREAM_CONNECTIONS, label, CONNECTION_IDLE);
	page_put_count(out, gateway, "connects", METRIC_ID_UPSTREAM_CONNECTS, label, 0);
	buf_put_char(out, '}');
}

void page_admin_upstreams(struct worker *worker, struct request *request, struct slice rest)
{
	struct buf text = BUF_INIT(PAGE_BYTES_MAX);
	(void)rest;
	buf_put_text(&text, "{\"upstreams\":[");
	for (size_t i = 0; i < worker_generation(worker)->upstream_count; i++) {
		if (i)
			buf_put_char(&text, ',');
		put_upstream(&text, worker, i);
	}
	buf_put_text(&text, "]}\n");
	reply_text(request, 200, "application/json", &text);
}

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
	if (!front_check_json(worker, request, &wire_problem, worker_generation(worker)->limits.json_depth))
		return false;
	struct json_walk walk = json_walk(body);
	if (json_type(body) == JSON_OBJECT && !json_next_member(&walk, &name, &value))
		return true;
	return front_refuse(worker, request, &wire_problem, REJECT_BAD_REQUEST, OUTCOME_INVALID_REQUEST,
			    "The body must be {}, or none; nothing was done.");
}

void page_send_json(struct request *request, struct buf *text)
{
	reply_text(request, 200, "application/json", text);
}

void page_admin_drain(struct worker *worker, struct request *request, struct slice rest)
{
	struct buf text = BUF_INIT(PAGE_BYTES_MAX);
	(void)rest;
	if (!page_body_is_empty(worker, request))
		return;
	buf_put_text(&text, "{\"status\":\"draining\"}\n");
	reply_text(request, 202, "application/json", &text);
	if (!atomic_exchange(&worker_gateway(worker)->leaving, true)) /* a second signal would end all at once */
		kill(getpid(), SIGTERM); /* the main thread waits for it: one way to shut down, not two */
}
