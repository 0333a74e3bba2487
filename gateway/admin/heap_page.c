/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap_page.c: GET /debug/pprof/heap?format=, who holds memory, by the accounts that the gateway keeps anyway. What no
 * account has (code, stacks, connections, what the allocator has not given back) is the rest of the resident memory.
 */
#include "gateway/admin/pages.h"
#include "gateway/admin/profile_page.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"
#include "gateway/profile/profile.h"

enum { TEXT_BYTES_MAX = 1 << 20, STACKS_BYTES_MAX = 64 * 1024 };

/* An account, and where it belongs: a name is a place, as an address is in the code. */
struct holder {
	const char *name, *part_of;
	int64_t bytes;
};

static int64_t read_gauge(const struct worker *worker, enum metric metric, size_t label)
{
	return metrics_read(worker_gateway(worker)->metrics, metric, label, 0);
}

/* Gauges of several threads are read one after the other: a difference may be below nothing for a moment. */
static int64_t or_nothing(int64_t bytes)
{
	return bytes > 0 ? bytes : 0;
}

enum { HOLDERS = 5 };
static void fill_holders(const struct worker *worker, struct holder holders[HOLDERS])
{
	int64_t resident = (int64_t)metrics_resident_bytes();
	int64_t held = read_gauge(worker, METRIC_ID_IN_FLIGHT_BYTES, 0);
	int64_t replies = read_gauge(worker, METRIC_ID_REPLY_BYTES, 0);
	int64_t answers = read_gauge(worker, METRIC_ID_ANSWER_BYTES, 0);
	int64_t cache = read_gauge(worker, METRIC_ID_CACHE_BYTES, TIER_MEMORY);
	holders[0] = (struct holder){ "memory_tier", "cache", cache };
	holders[1] = (struct holder){ "requests", "in_flight", or_nothing(held - replies - answers) };
	holders[2] = (struct holder){ "answers_arriving", "in_flight", answers };
	holders[3] = (struct holder){ "replies_not_taken", "in_flight", replies };
	holders[4] =
		(struct holder){ "rest_of_resident_memory", "not_in_accounts", or_nothing(resident - held - cache) };
}

static struct symbol name_holder(void *context, uintptr_t address)
{
	(void)context;
	return (struct symbol){ (const char *)address, 0, 0 };
}

static void put_json(struct buf *out, const struct holder holders[HOLDERS])
{
	buf_printf(out, "{\"resident_bytes\":%llu,\"holders\":[", (unsigned long long)metrics_resident_bytes());
	for (int i = 0; i < HOLDERS; i++)
		buf_printf(out, "%s{\"name\":\"%s\",\"part_of\":\"%s\",\"bytes\":%lld}", i ? "," : "", holders[i].name,
			   holders[i].part_of, (long long)holders[i].bytes);
	buf_put_text(out, "]}\n");
}

static void put_profile(struct buf *out, const struct holder holders[HOLDERS], enum profile_format format)
{
	struct stacks stacks;
	stacks_init(&stacks, STACKS_BYTES_MAX);
	for (int i = 0; i < HOLDERS; i++) {
		const uintptr_t frames[] = { (uintptr_t)holders[i].name, (uintptr_t)holders[i].part_of };
		stacks_add(&stacks, NULL, frames, countof(frames), (uint64_t)holders[i].bytes);
	}
	const struct profile profile = {
		.stacks = &stacks,
		.namer = { .name = name_holder },
		.title = "jitney " JITNEY_VERSION ": who holds memory, by the gateway's accounts",
		.kind = "inuse_space",
		.unit = "bytes",
		.at_us = clock_wall_us(),
		.lost = stacks.lost,
	};
	out->failed = !profile_put(&profile, format, out) || out->failed;
	stacks_fini(&stacks);
}

void page_heap(struct worker *worker, struct request *request, struct slice rest)
{
	struct slice form = request_query(request, SLICE("format"));
	bool json = slice_equal(form, SLICE("json"));
	enum profile_format format = PROFILE_PPROF;
	struct holder holders[HOLDERS];
	struct buf text = BUF_INIT(TEXT_BYTES_MAX);
	(void)rest;
	/* gc: `go tool pprof` sends it to Go's programs */
	size_t known = (form.len > 0) + (request_query(request, SLICE("gc")).len > 0);
	if ((form.len && !json && !profile_format_of(form, &format)) || request_query_count(request) != known) {
		reply_problem(request, OUTCOME_INVALID_REQUEST, NULL,
			      "format is one of pprof, folded, svg and json; nothing else is known.");
		return;
	}
	metrics_refresh(worker_gateway(worker)->metrics);
	fill_holders(worker, holders);
	if (json)
		put_json(&text, holders);
	else
		put_profile(&text, holders, format);
	reply_text(request, 200, json ? "application/json" : profile_content_type(format), &text);
}
