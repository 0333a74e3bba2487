/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls_page.c: GET /admin/calls?tool=&tenant=&outcome=&batch_id=&limit=, the last calls of all workers, newest first, each with where
 * its time went; GET /admin/calls/REQUEST_ID, those of one request. docs/api.md has the members.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/json.h"
#include "gateway/admin/pages.h"
#include "gateway/call/recent_calls.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"

enum { PAGE_BYTES_MAX = 16 << 20, CALLS_SHOWN = 100, CALLS_MAX = 10000 };

/* What is asked for; what is empty, or 0, does not matter. */
struct wanted {
	struct slice tool, tenant, request_id;
	bool by_outcome, by_batch;
	enum outcome outcome;
	uint64_t batch_id, limit;
};

static bool read_outcome(struct slice word, enum outcome *outcome)
{
	for (int i = 0; i < OUTCOME_COUNT; i++)
		if (slice_equal(word, slice_of(outcome_word((enum outcome)i)))) {
			*outcome = (enum outcome)i;
			return true;
		}
	return false;
}

enum filter { FILTER_TOOL, FILTER_TENANT, FILTER_OUTCOME, FILTER_BATCH, FILTER_LIMIT, FILTER_COUNT };
enum { FILTER_BYTES = 256 };

/* NULL: it could be read; else what is wrong with it. The texts are what it may point to. */
static const char *read_query(const struct request *request, char texts[FILTER_COUNT][FILTER_BYTES],
			      struct wanted *wanted)
{
	static const char *const names[] = { "tool", "tenant", "outcome", "batch_id", "limit" };
	struct slice values[FILTER_COUNT];
	size_t known = 0;
	for (size_t i = 0; i < FILTER_COUNT; i++) {
		if (!percent_decode(request_query(request, slice_of(names[i])), texts[i], FILTER_BYTES, &values[i]))
			return "The query has a malformed percent-encoding, or too long a value.";
		known += values[i].len > 0;
	}
	struct slice outcome = values[FILTER_OUTCOME], batch = values[FILTER_BATCH], limit = values[FILTER_LIMIT];
	*wanted = (struct wanted){ .tool = values[FILTER_TOOL], .tenant = values[FILTER_TENANT], .limit = CALLS_SHOWN };
	if (known != request_query_count(request))
		return "Only tool, tenant, outcome, batch_id and limit are known, each with a value.";
	if (outcome.len && !(wanted->by_outcome = read_outcome(outcome, &wanted->outcome)))
		return "outcome is one of the words of docs/api.md, such as ok or upstream_timeout.";
	if (batch.len && !(wanted->by_batch = json_u64(batch, &wanted->batch_id)))
		return "batch_id is a number.";
	if (limit.len && (!json_u64(limit, &wanted->limit) || wanted->limit < 1 || wanted->limit > CALLS_MAX))
		return "limit is a number from 1 to 10000.";
	return NULL;
}

/* A name that is longer than what is kept of it is known by its beginning. */
static bool is_of_tenant(const struct recent_call *call, struct slice tenant)
{
	char kept[RECENT_TENANT_BYTES];
	recent_calls_put(kept, sizeof kept, tenant);
	return strcmp(kept, call->tenant) == 0;
}

static bool is_wanted(const struct worker *worker, const struct wanted *wanted, const struct recent_call *call)
{
	const char *name = metrics_label_value(worker_gateway(worker)->metrics, LABEL_TOOL, call->tool);
	return (!wanted->tool.len || slice_equal(wanted->tool, slice_of(name))) &&
	       (!wanted->tenant.len || is_of_tenant(call, wanted->tenant)) &&
	       (!wanted->by_outcome || wanted->outcome == call->outcome) &&
	       (!wanted->by_batch || wanted->batch_id == call->facts.id) &&
	       (!wanted->request_id.len || slice_equal(wanted->request_id, slice_of(call->request_id)));
}

static int newest_first(const void *left, const void *right)
{
	const struct recent_call *a = left, *b = right;
	return (a->ended_us < b->ended_us) - (a->ended_us > b->ended_us);
}

/* Where the time went, in order; what is left is the gateway's own: waiting for the loop, looking in memory, replying. */
static void put_timeline(struct buf *out, const struct recent_call *call)
{
	const struct {
		const char *what;
		uint64_t us;
	} parts[] = { { "look_up", call->look_us },
		      { "queue", call->facts.waited_us },
		      { "upstream", call->facts.upstream_us } };
	uint64_t left_us = call->ended_us - call->started_us;
	buf_put_text(out, ",\"timeline\":[");
	for (size_t i = 0; i < countof(parts); i++) {
		uint64_t us = parts[i].us < left_us ? parts[i].us : left_us;
		if (us)
			buf_printf(out, "{\"what\":\"%s\",\"us\":%llu},", parts[i].what, (unsigned long long)us);
		left_us -= us;
	}
	buf_printf(out, "{\"what\":\"gateway\",\"us\":%llu}]", (unsigned long long)left_us);
}

static void put_call(struct buf *out, const struct worker *worker, const struct recent_call *call)
{
	uint64_t at_us = call->started_us + call->to_wall_us;
	buf_put_text(out, "{\"request_id\":");
	json_put_string(out, slice_of(call->request_id));
	buf_put_text(out, ",\"tool\":");
	json_put_string(out, slice_of(metrics_label_value(worker_gateway(worker)->metrics, LABEL_TOOL, call->tool)));
	buf_printf(out, ",\"outcome\":\"%s\",\"status\":%u,\"started_at\":", outcome_word(call->outcome), call->status);
	page_put_time(out, at_us);
	buf_printf(out, ",\"total_us\":%llu,\"cache\":\"%s\",\"bytes\":%llu",
		   (unsigned long long)(call->ended_us - call->started_us), call->cache,
		   (unsigned long long)call->bytes);
	if (call->facts.id)
		buf_printf(out, ",\"batch_id\":%llu,\"batch_size\":%u,\"batch_reason\":\"%s\",\"attempts\":%u",
			   (unsigned long long)call->facts.id, call->facts.items,
			   metric_word(LABEL_FLUSH_REASON, call->facts.reason), call->facts.attempts);
	json_put_text_member(out, "tenant", call->tenant);
	json_put_text_member(out, "detail", call->detail);
	put_timeline(out, call);
	buf_put_char(out, '}');
}

/* Of all workers, what is wanted, newest first. False: out of memory. */
static bool gather_calls(const struct worker *worker, const struct wanted *wanted, struct recent_call **calls,
			 size_t *count)
{
	const struct gateway *gateway = worker_gateway(worker);
	size_t room = (size_t)gateway->config->workers * (RECENT_CALLS + NOTABLE_CALLS), got = 0;
	*count = 0;
	if (!(*calls = calloc(room, sizeof **calls)))
		return false;
	for (unsigned i = 0; i < gateway->config->workers; i++)
		got += recent_calls_copy(worker_recent_calls(gateway->workers[i]), *calls + got);
	for (size_t i = 0; i < got; i++)
		if (is_wanted(worker, wanted, &(*calls)[i]))
			(*calls)[(*count)++] = (*calls)[i];
	qsort(*calls, *count, sizeof **calls, newest_first);
	return true;
}

static void reply_with_calls(struct worker *worker, struct request *request, const struct wanted *wanted)
{
	struct recent_call *calls;
	size_t count;
	struct buf text = BUF_INIT(PAGE_BYTES_MAX);
	text.failed = !gather_calls(worker, wanted, &calls, &count);
	buf_put_text(&text, "{\"calls\":[");
	for (size_t i = 0; i < count && i < wanted->limit; i++) {
		buf_put_text(&text, i ? "," : "");
		put_call(&text, worker, &calls[i]);
	}
	free(calls);
	buf_put_text(&text, "]}\n");
	reply_text(request, 200, "application/json", &text);
}

void page_admin_calls(struct worker *worker, struct request *request, struct slice rest)
{
	struct wanted wanted;
	char texts[FILTER_COUNT][FILTER_BYTES];
	(void)rest;
	const char *wrong = read_query(request, texts, &wanted);
	if (wrong)
		reply_problem(request, OUTCOME_INVALID_REQUEST, NULL, "%s", wrong);
	else
		reply_with_calls(worker, request, &wanted);
}

/* An id of no call that is kept is an empty list: it may have been pushed out. */
void page_admin_calls_of(struct worker *worker, struct request *request, struct slice rest)
{
	const struct wanted wanted = { .request_id = rest, .limit = CALLS_MAX };
	reply_with_calls(worker, request, &wanted);
}
