/* SPDX-License-Identifier: Apache-2.0 */
/* pages.c: the admin listener's pages about upstreams, and the drain. */
#include "gateway/admin/pages.h"

#include <signal.h>
#include <unistd.h>

#include "base/json.h"
#include "gateway/call/front.h"
#include "gateway/call/reply.h"
#include "gateway/call/worker.h"

enum { PAGE_BYTES_MAX = 64 << 20 };

size_t page_count_parameters(const struct request *request)
{
	size_t count = request->query.len > 0;
	for (size_t i = 0; i < request->query.len; i++)
		count += request->query.at[i] == '&';
	return count;
}

void page_put_count(struct buf *out, const struct gateway *gateway, const char *name, enum metric metric, size_t label1,
		    size_t label2)
{
	buf_printf(out, ",\"%s\":%lld", name, (long long)metrics_read(gateway->metrics, metric, label1, label2));
}

#define X(name, word) word,
static const char *const limiter_states[] = { LIMITER_STATES(X) };
static const char *const limiter_reasons[] = { LIMITER_REASONS(X) };
static const char *const shed_reasons[] = { SHED_REASONS(X) };
static const char *const band_words[] = { PRIORITY_BANDS(X) };
#undef X

/* Of a gauge that is 1 for one of its values, that one's word. */
static const char *word_of(const struct gateway *gateway, enum metric metric, size_t index, const char *const *words,
			   size_t count)
{
	size_t i = 0;
	while (i + 1 < count && metrics_read(gateway->metrics, metric, index, i) <= 0)
		i++;
	return words[i];
}

/* By how urgent they say they are: who waits, whose turn has come, who was refused. */
static void put_bands(struct buf *out, const struct gateway *gateway, size_t index)
{
	buf_put_text(out, ",\"bands\":{");
	for (size_t i = 0; i < countof(band_words); i++) {
		buf_printf(out, "%s\"%s\":{\"waiting\":%lld", i ? "," : "", band_words[i],
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
		   word_of(gateway, METRIC_ID_LIMITER_STATE, index, limiter_states, countof(limiter_states)),
		   word_of(gateway, METRIC_ID_LIMITER_REASON, index, limiter_reasons, countof(limiter_reasons)));
	buf_printf(out, ",\"line\":{\"waiting\":%lld", waiting);
	page_put_count(out, gateway, "expected_wait_us", METRIC_ID_QUEUE_WAIT, index, 0);
	buf_put_text(out, ",\"shed\":{");
	for (size_t i = 0; i < countof(shed_reasons); i++)
		buf_printf(out, "%s\"%s\":%lld", i ? "," : "", shed_reasons[i],
			   (long long)metrics_read(gateway->metrics, METRIC_ID_SHED, index, i));
	buf_put_char(out, '}');
	put_bands(out, gateway, index);
	buf_printf(out, "},\"retry_budget\":{\"left\":%.3f}",
		   (double)metrics_read(gateway->metrics, METRIC_ID_RETRY_BUDGET, index, 0) / 1e6);
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
	const struct gateway *gateway = worker->gateway;
	const struct upstream_config *upstream = &worker_generation(worker)->upstreams[index];
	const struct upstream_settings *settings = &upstream->settings;
	const struct batch_policy *batch = &upstream->batch;
	size_t label = settings->label;
	buf_put_text(out, "{\"name\":");
	json_put_string(out, slice_of(settings->name));
	buf_printf(out, ",\"dialect\":\"%s\",\"worker\":%u", settings->dialect->name,
		   upstream_owner(gateway, upstream)->index);
	page_put_endpoints(out, gateway, settings);
	page_put_tool_list(out, worker->catalogue, (unsigned)index);
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

void page_admin_drain(struct worker *worker, struct request *request, struct slice rest)
{
	struct buf text = BUF_INIT(PAGE_BYTES_MAX);
	(void)rest;
	if (!page_body_is_empty(worker, request))
		return;
	buf_put_text(&text, "{\"status\":\"draining\"}\n");
	reply_text(request, 202, "application/json", &text);
	kill(getpid(), SIGTERM); /* the main thread waits for it: one way to shut down, not two */
}
