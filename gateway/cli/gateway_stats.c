/* SPDX-License-Identifier: Apache-2.0 */
/* gateway_stats.c: GET /admin/stats and /admin/calls, asked and read. */
#include "gateway/cli/gateway_stats.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"

enum { PAGE_BYTES_MAX = 64 << 20, DEPTH = 64, NUMBER_BYTES = 40, CALLS_ASKED = 600 };

const struct cli_server admin_server = { "JITNEY_ADMIN_URL", "http://127.0.0.1:8081", 5 };

/* --- read --- */

bool stats_number(struct slice object, const char *name, double *number)
{
	struct slice value;
	char digits[NUMBER_BYTES];
	if (!object.len || !json_member(object, slice_of(name), &value) || json_type(value) != JSON_NUMBER ||
	    value.len >= sizeof digits)
		return false;
	memcpy(digits, value.at, value.len);
	digits[value.len] = '\0';
	*number = strtod(digits, NULL);
	return true;
}

double stats_count(struct slice object, const char *name)
{
	double number;
	return stats_number(object, name, &number) ? number : 0;
}

void stats_put_time(struct slice object, const char *name, struct text_cell *cell)
{
	double us;
	if (stats_number(object, name, &us))
		text_cell_time(cell, us);
	else
		text_cell_none(cell);
}

void stats_put_share(struct slice object, const char *name, struct text_cell *cell)
{
	double share;
	if (stats_number(object, name, &share))
		text_cell_share(cell, share);
	else
		text_cell_none(cell);
}

struct slice stats_member(struct slice object, const char *name)
{
	struct slice value;
	if (!object.len || !json_member(object, slice_of(name), &value) || json_type(value) > JSON_ARRAY)
		return SLICE("");
	return value;
}

struct slice stats_text(struct slice object, const char *name, struct buf *text)
{
	struct slice value;
	buf_reset(text);
	if (object.len && json_member(object, slice_of(name), &value) && json_type(value) == JSON_STRING)
		json_unescape(value, text);
	return buf_slice(text);
}

bool gateway_stats_follow(const struct gateway_stats *now, const struct gateway_stats *before, double *span_s)
{
	if (!now->root.len || !before->root.len)
		return false;
	*span_s = now->at_s - before->at_s;
	return *span_s > 0 &&
	       stats_count(stats_member(now->root, "process"), "pid") ==
		       stats_count(stats_member(before->root, "process"), "pid") &&
	       stats_count(now->root, "uptime_s") >= stats_count(before->root, "uptime_s");
}

/* --- ask --- */

static bool ask_page(const char *path, const struct cli_client *setup, const atomic_bool *cancelled, struct buf *page,
		     char error[STATS_ERROR_BYTES])
{
	struct json_fault fault;
	const struct client_request request = {
		.server = setup->server,
		.path = path,
		.method = "GET",
		.headers = setup->headers,
		.header_count = setup->header_count,
		.timeout_us = setup->timeout_us,
		.cancelled = cancelled,
	};
	struct client_reply reply = { .body = *page };
	buf_reset(&reply.body);
	bool ok = client_fetch(&request, &reply, error, STATS_ERROR_BYTES);
	*page = reply.body;
	if (!ok)
		return false;
	struct slice body = json_trim(buf_slice(page));
	if (reply.status == 200 && json_check(body, DEPTH, NULL, &fault) && json_type(body) == JSON_OBJECT)
		return true;
	snprintf(error, STATS_ERROR_BYTES, "%s answers %s with %u; is it a jitney's admin listener?", setup->server,
		 path, reply.status);
	return false;
}

/* Pages begin empty, and keep their memory from one look to the next. */
static void prepare_pages(struct gateway_stats *stats)
{
	if (!stats->page.max)
		buf_init(&stats->page, PAGE_BYTES_MAX);
	if (!stats->calls_page.max)
		buf_init(&stats->calls_page, PAGE_BYTES_MAX);
	stats->root = stats->calls = SLICE("");
	stats->at_s = 0;
}

bool gateway_stats_ask(struct gateway_stats *stats, const struct cli_client *setup, bool with_calls,
		       const atomic_bool *cancelled, char error[STATS_ERROR_BYTES])
{
	char path[48];
	prepare_pages(stats);
	if (!ask_page("/admin/stats", setup, cancelled, &stats->page, error))
		return false;
	snprintf(path, sizeof path, "/admin/calls?limit=%d", CALLS_ASKED);
	if (with_calls && !ask_page(path, setup, cancelled, &stats->calls_page, error))
		return false;
	stats->root = json_trim(buf_slice(&stats->page));
	if (with_calls)
		stats->calls = stats_member(json_trim(buf_slice(&stats->calls_page)), "calls");
	if (stats_number(stats->root, "at", &stats->at_s))
		return true;
	snprintf(error, STATS_ERROR_BYTES, "%s answers /admin/stats without a time; is it a jitney's admin listener?",
		 setup->server);
	stats->root = stats->calls = SLICE("");
	return false;
}

void gateway_stats_fini(struct gateway_stats *stats)
{
	buf_fini(&stats->page);
	buf_fini(&stats->calls_page);
	*stats = (struct gateway_stats){ 0 };
}
