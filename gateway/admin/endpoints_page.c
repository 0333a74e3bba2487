/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoints_page.c: an upstream's endpoints as operators see them, and what they may say of them:
 * POST /admin/endpoints/UPSTREAM/INDEX/drain, or undrain.
 */
#include "base/json.h"
#include "gateway/admin/pages.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"

enum { PAGE_BYTES = 16 * 1024 };

/* --- shown --- */

/* As the endpoint's worker sees it; what an operator has said counts at once. */
static enum endpoint_state state_of(const struct gateway *gateway, const struct upstream_settings *settings,
				    size_t index)
{
	size_t label = upstream_endpoint_label(settings, index);
	if (atomic_load(&settings->boards[index]->draining))
		return ENDPOINT_STATE_DRAINING;
	for (size_t i = 0; i < ENDPOINT_STATE_COUNT; i++)
		if (i != ENDPOINT_STATE_DRAINING &&
		    metrics_read(gateway->metrics, METRIC_ID_ENDPOINT_STATE, label, i) > 0)
			return (enum endpoint_state)i;
	return ENDPOINT_STATE_UP;
}

bool page_endpoint_is_usable(const struct gateway *gateway, const struct upstream_settings *settings, size_t index)
{
	size_t label = upstream_endpoint_label(settings, index);
	return metrics_read(gateway->metrics, METRIC_ID_UPSTREAM_HEALTHY, label, 0) > 0 &&
	       state_of(gateway, settings, index) == ENDPOINT_STATE_UP;
}

size_t page_healthy_endpoints(const struct gateway *gateway, const struct upstream_settings *settings)
{
	size_t healthy = 0;
	for (size_t i = 0; i < settings->endpoint_count; i++)
		healthy += metrics_read(gateway->metrics, METRIC_ID_UPSTREAM_HEALTHY,
					upstream_endpoint_label(settings, i), 0) > 0;
	return healthy;
}

/* What its host name stands for. */
static void put_addresses(struct buf *out, struct endpoint_board *board)
{
	struct endpoint_address addresses[ENDPOINT_ADDRESSES];
	size_t count = endpoint_board_addresses(board, addresses);
	for (size_t i = 0; i < count; i++)
		buf_printf(out, "%s{\"address\":\"%s\",\"state\":\"%s\"}", i ? "," : ",\"addresses\":[",
			   addresses[i].text, metric_word(LABEL_ENDPOINT_STATE, addresses[i].state));
	buf_put_text(out, count ? "]" : "");
}

static void put_endpoint(struct buf *out, const struct gateway *gateway, const struct upstream_settings *settings,
			 size_t index)
{
	size_t label = upstream_endpoint_label(settings, index);
	char reason[ENDPOINT_REASON_BYTES];
	uint64_t changed_us = endpoint_board_read(settings->boards[index], reason);
	buf_put_text(out, "{\"url\":");
	json_put_string(out, slice_of(settings->shown[index]));
	buf_printf(out, ",\"healthy\":%s,\"state\":\"%s\",\"weight\":%u,\"requests\":%llu",
		   metrics_read(gateway->metrics, METRIC_ID_UPSTREAM_HEALTHY, label, 0) > 0 ? "true" : "false",
		   metric_word(LABEL_ENDPOINT_STATE, state_of(gateway, settings, index)), settings->weights[index],
		   (unsigned long long)metrics_read_outcomes(gateway->metrics, METRIC_ID_UPSTREAM_REQUESTS, label).all);
	if (changed_us) {
		buf_put_text(out, ",\"changed_at\":");
		page_put_time(out, changed_us);
		buf_put_text(out, ",\"reason\":");
		json_put_string(out, slice_of(reason));
	}
	put_addresses(out, settings->boards[index]);
	if (settings->process) /* a pool of programs has members: how many are in which state */
		page_put_object(out, gateway, "members", METRIC_ID_ENDPOINT_STATE, LABEL_ENDPOINT_STATE, label, true);
	buf_put_char(out, '}');
}

void page_put_endpoints(struct buf *out, const struct gateway *gateway, const struct upstream_settings *settings)
{
	buf_put_text(out, ",\"endpoints\":[");
	for (size_t i = 0; i < settings->endpoint_count; i++) {
		if (i)
			buf_put_char(out, ',');
		put_endpoint(out, gateway, settings, i);
	}
	buf_put_char(out, ']');
}

/* --- said --- */

/* Up to the next slash, which is taken too. */
static struct slice next_segment(struct slice *path)
{
	const char *slash = memchr(path->at, '/', path->len);
	struct slice segment = { path->at, slash ? (size_t)(slash - path->at) : path->len };
	size_t taken = segment.len + (slash != NULL);
	path->at += taken;
	path->len -= taken;
	return segment;
}

static const struct upstream_settings *find_upstream(const struct generation *generation, struct slice name)
{
	for (size_t i = 0; i < generation->upstream_count; i++)
		if (slice_equal(slice_of(generation->upstreams[i].settings.name), name))
			return &generation->upstreams[i].settings;
	return NULL;
}

void page_admin_endpoint(struct worker *worker, struct request *request, struct slice rest)
{
	struct slice name = next_segment(&rest), number = next_segment(&rest);
	const struct upstream_settings *settings = find_upstream(worker_generation(worker), name);
	bool drain = slice_equal(rest, SLICE("drain"));
	uint64_t index;
	if (!page_body_is_empty(worker, request))
		return;
	if (!drain && !slice_equal(rest, SLICE("undrain"))) {
		reply_problem(request, OUTCOME_NOT_FOUND, NULL,
			      "It is /admin/endpoints/UPSTREAM/INDEX/drain, or undrain.");
		return;
	}
	if (!settings || settings->process || !json_u64(number, &index) || index >= settings->endpoint_count) {
		reply_problem(request, OUTCOME_NOT_FOUND, NULL,
			      settings && !settings->process
				      ? "The upstream has no endpoint of this number; the first one is 0."
				      : "There is no such upstream with endpoints.");
		return;
	}
	atomic_store(&settings->boards[index]->draining, drain);
	struct buf text = BUF_INIT(PAGE_BYTES);
	put_endpoint(&text, worker_gateway(worker), settings, (size_t)index);
	buf_put_char(&text, '\n');
	reply_text(request, 200, "application/json", &text);
}
