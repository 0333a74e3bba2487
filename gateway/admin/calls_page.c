/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls_page.c: GET /admin/calls?tool=&tenant=&outcome=&state=&batch_id=&limit=, the calls under way and the last ones of all
 * workers, each with where its time went; GET /admin/calls/REQUEST_ID, those of one request. docs/api.md has the members.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/json.h"
#include "gateway/admin/calls_survey.h"
#include "gateway/admin/pages.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"

enum { PAGE_BYTES_MAX = 16 << 20, CALLS_SHOWN = 100, CALLS_MAX = 10000 };

enum filter { FILTER_TOOL, FILTER_TENANT, FILTER_OUTCOME, FILTER_STATE, FILTER_BATCH, FILTER_LIMIT, FILTER_COUNT };
enum { FILTER_BYTES = 256 };

enum state { STATE_ANY, STATE_UNDER_WAY, STATE_ENDED };

/* What is asked for; what is empty, or 0, does not matter. */
struct wanted {
	const struct metrics *metrics; /* has the tools' names */
	struct slice tool, tenant, request_id;
	bool by_outcome, by_batch;
	enum outcome outcome;
	enum state state;
	uint64_t batch_id, limit;
	char texts[FILTER_COUNT]
		  [FILTER_BYTES]; /* what the slices point to: the request may be gone before the look is over */
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

static bool read_state(struct slice word, enum state *state)
{
	static const char *const words[] = { [STATE_UNDER_WAY] = "under_way", [STATE_ENDED] = "ended" };
	for (int i = STATE_UNDER_WAY; i <= STATE_ENDED; i++)
		if (slice_equal(word, slice_of(words[i]))) {
			*state = (enum state)i;
			return true;
		}
	return false;
}

/* NULL: it could be read; else what is wrong with it. */
static const char *read_query(const struct request *request, struct wanted *wanted)
{
	static const char *const names[] = { "tool", "tenant", "outcome", "state", "batch_id", "limit" };
	struct slice values[FILTER_COUNT];
	size_t known = 0;
	for (size_t i = 0; i < FILTER_COUNT; i++) {
		if (!percent_decode(request_query(request, slice_of(names[i])), wanted->texts[i], FILTER_BYTES,
				    &values[i]))
			return "The query has a malformed percent-encoding, or too long a value.";
		known += values[i].len > 0;
	}
	struct slice outcome = values[FILTER_OUTCOME], batch = values[FILTER_BATCH], limit = values[FILTER_LIMIT];
	wanted->tool = values[FILTER_TOOL];
	wanted->tenant = values[FILTER_TENANT];
	if (known != request_query_count(request))
		return "Only tool, tenant, outcome, state, batch_id and limit are known, each with a value.";
	if (outcome.len && !(wanted->by_outcome = read_outcome(outcome, &wanted->outcome)))
		return "outcome is one of the words of docs/api.md, such as ok or upstream_timeout.";
	if (values[FILTER_STATE].len && !read_state(values[FILTER_STATE], &wanted->state))
		return "state is under_way or ended.";
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

static bool is_wanted(const void *context, const struct recent_call *call)
{
	const struct wanted *wanted = context;
	const char *name = metrics_label_value(wanted->metrics, LABEL_TOOL, call->tool);
	return (!wanted->tool.len || slice_equal(wanted->tool, slice_of(name))) &&
	       (!wanted->tenant.len || is_of_tenant(call, wanted->tenant)) &&
	       (wanted->state == STATE_ANY || (wanted->state == STATE_UNDER_WAY) == call->under_way) &&
	       (!wanted->by_outcome || (!call->under_way && wanted->outcome == call->outcome)) &&
	       (!wanted->by_batch || wanted->batch_id == call->facts.id) &&
	       (!wanted->request_id.len || slice_equal(wanted->request_id, slice_of(call->request_id)));
}

/* Those under way first, the one that has taken longest before all; then those that ended, the newest first. */
static int in_order(const void *left, const void *right)
{
	const struct recent_call *a = left, *b = right;
	if (a->under_way != b->under_way)
		return a->under_way ? -1 : 1;
	if (a->under_way)
		return (a->started_us > b->started_us) - (a->started_us < b->started_us);
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

/* Where it is just now: a word of its time line. */
static const char *stage_word(const struct recent_call *call)
{
	return call->looking ? "look_up" : call->facts.id ? "upstream" : "queue";
}

static void put_call(struct buf *out, const struct wanted *wanted, const struct recent_call *call)
{
	uint64_t at_us = call->started_us + call->to_wall_us;
	buf_put_text(out, "{\"request_id\":");
	json_put_string(out, slice_of(call->request_id));
	buf_put_text(out, ",\"tool\":");
	json_put_string(out, slice_of(metrics_label_value(wanted->metrics, LABEL_TOOL, call->tool)));
	if (call->under_way)
		buf_printf(out, ",\"state\":\"under_way\",\"stage\":\"%s\"", stage_word(call));
	else
		buf_printf(out, ",\"state\":\"ended\",\"outcome\":\"%s\",\"status\":%u,\"bytes\":%llu",
			   outcome_word(call->outcome), call->status, (unsigned long long)call->bytes);
	buf_put_text(out, ",\"started_at\":");
	page_put_time(out, at_us);
	buf_printf(out, ",\"total_us\":%llu,\"cache\":\"%s\"", (unsigned long long)(call->ended_us - call->started_us),
		   call->cache);
	if (call->facts.id)
		buf_printf(out, ",\"batch_id\":%llu,\"batch_size\":%u,\"batch_reason\":\"%s\"",
			   (unsigned long long)call->facts.id, call->facts.items,
			   metric_word(LABEL_FLUSH_REASON, call->facts.reason));
	if (call->facts.id || call->facts.attempts)
		buf_printf(out, ",\"attempts\":%u", call->facts.attempts);
	json_put_text_member(out, "tenant", call->tenant);
	json_put_text_member(out, "detail", call->detail);
	put_timeline(out, call);
	buf_put_char(out, '}');
}

/* The limit is one of those under way and one of those that ended: none of the two hides the other. */
static void put_calls(struct buf *out, const struct wanted *wanted, const struct surveyed *found)
{
	uint64_t shown[2] = { 0, 0 };
	const char *comma = "";
	for (size_t i = 0; i < found->count; i++) {
		if (shown[found->calls[i].under_way]++ >= wanted->limit)
			continue;
		buf_put_text(out, comma);
		put_call(out, wanted, &found->calls[i]);
		comma = ",";
	}
}

static void reply_with_calls(const struct worker *worker, struct request *request, const void *context,
			     const struct surveyed *found)
{
	const struct gateway *gateway = worker_gateway(worker);
	struct buf text = BUF_INIT(PAGE_BYTES_MAX);
	const char *comma = "";
	text.failed = found->no_memory;
	if (found->count)
		qsort(found->calls, found->count, sizeof *found->calls, in_order);
	buf_put_text(&text, "{\"calls\":[");
	put_calls(&text, context, found);
	buf_printf(&text, "],\"in_flight\":%zu,\"silent_workers\":[",
		   atomic_load_explicit(&gateway->in_flight, memory_order_relaxed));
	for (unsigned i = 0; !found->no_memory && i < gateway->config->workers; i++)
		if (!found->told[i]) {
			buf_printf(&text, "%s%u", comma, i);
			comma = ",";
		}
	buf_put_text(&text, "]}\n");
	reply_text(request, 200, "application/json", &text);
}

static const struct survey_kind calls_of_page = { is_wanted, reply_with_calls };

/* NULL: out of memory, and answered. */
static struct wanted *wanted_new(const struct worker *worker, struct request *request, uint64_t limit)
{
	struct wanted *wanted = calloc(1, sizeof *wanted);
	if (!wanted) {
		reply_problem(request, OUTCOME_OVERLOADED, NULL, "The gateway is out of memory.");
		return NULL;
	}
	wanted->metrics = worker_gateway(worker)->metrics;
	wanted->limit = limit;
	return wanted;
}

void page_admin_calls(struct worker *worker, struct request *request, struct slice rest)
{
	struct wanted *wanted = wanted_new(worker, request, CALLS_SHOWN);
	(void)rest;
	if (!wanted)
		return;
	const char *wrong = read_query(request, wanted);
	if (!wrong) {
		calls_survey_begin(worker, request, &calls_of_page, wanted);
		return;
	}
	free(wanted);
	reply_problem(request, OUTCOME_INVALID_REQUEST, NULL, "%s", wrong);
}

/* An id of no call that is kept is an empty list: it may have been pushed out. */
void page_admin_calls_of(struct worker *worker, struct request *request, struct slice rest)
{
	_Static_assert((int)FILTER_BYTES > (int)REQUEST_ID_BYTES, "what is cut is no id");
	struct wanted *wanted = wanted_new(worker, request, CALLS_MAX);
	if (!wanted)
		return;
	recent_calls_put(wanted->texts[0], FILTER_BYTES, rest);
	wanted->request_id = slice_of(wanted->texts[0]);
	calls_survey_begin(worker, request, &calls_of_page, wanted);
}
