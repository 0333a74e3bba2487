/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call_trace.c: which calls are kept. By chance, or because the caller's own trace is; and, known only at the end, those
 * that one would look for: failed, of unknown outcome, slow for their tool, or part of a request that was refused as a whole.
 */
#include "gateway/call/call_trace.h"

#include <stdlib.h>

#include "base/random.h"
#include "base/utf8.h"
#include "gateway/call/reply.h"
#include "gateway/call/worker.h"
#include "gateway/trace/exporter.h"

enum {
	KNOWN_CALLS = 200,  /* of a tool, before any of them is called slow */
	STEP_SHARE = 16,    /* the line between slow and not moves by so much of itself */
	OTHERS_OF_SLOW = 99 /* calls that are not slow, for one that is */
};

/* Above it one call of a hundred is: it goes up by a step with each that is, and down by one with each 99th that is not. */
struct slow_line {
	uint64_t us;
	uint32_t calls; /* seen, up to KNOWN_CALLS */
	uint32_t below; /* since it last went down */
};

struct trace_book {
	struct exporter *exporter;
	struct random_ids ids; /* for traces and spans, of which providers are told */
	uint64_t threshold;    /* numbers below it are kept */
	bool all;              /* every call is */
	size_t tools;
	struct slow_line slow[]; /* by tool's metrics label */
};

struct trace_book *trace_book_new(struct exporter *exporter, size_t tools)
{
	struct trace_book *book = calloc(1, sizeof *book + tools * sizeof book->slow[0]);
	if (!book || !random_secret(&book->ids, sizeof book->ids)) {
		free(book);
		return NULL;
	}
	book->exporter = exporter;
	book->tools = tools;
	return book;
}

void trace_book_use(struct worker *worker, const struct trace_settings *settings)
{
	struct trace_book *book = trace_route_of(settings, OTLP_TRACES) ? worker->trace_book : NULL;
	if (book) {
		book->threshold = UINT64_MAX / 100 * settings->percent;
		book->all = settings->percent == 100;
	}
	worker->traces = book;
}

void trace_book_free(struct trace_book *book)
{
	free(book);
}

/* Any number but 0. */
static uint64_t draw_number(struct trace_book *book)
{
	uint64_t number = random_ids_next(&book->ids);
	return number ? number : 1;
}

/* Ids, once somebody is told of them. */
static void begin_trace(struct trace_book *book, struct trace_context *trace)
{
	if (trace_context_is_there(trace))
		return;
	trace->trace[0] = draw_number(book);
	trace->trace[1] = draw_number(book);
	trace->span = draw_number(book);
}

void call_trace_begin(struct call *call)
{
	struct trace_book *book = call->home->traces;
	const struct caller *caller = call->caller;
	if (!caller->traceparent.len) {
		call->trace.flags = book->all || draw_number(book) < book->threshold ? TRACE_SAMPLED : 0;
		return; /* ids are made when somebody is told of them */
	}
	const struct trace_context above = trace_context_read(caller->traceparent);
	call->trace = above;
	call->trace.span = draw_number(book);
	call->trace_parent = above.span;
	call->trace_link = trace_context_read(caller->linked);
}

void call_trace_depart(struct call *call)
{
	if (!call->trace_parent && !(call->trace.flags & TRACE_SAMPLED))
		return; /* nobody above or below asks: the request stays as all others are, which is what makes it cheap */
	begin_trace(call->home->traces, &call->trace);
	struct trace_context attempt = call->trace;
	attempt.span = trace_span_below(attempt.span, TRACE_ATTEMPT);
	trace_context_write(&attempt, call->traceparent);
}

/* --- the end --- */

static bool is_slow(struct trace_book *book, unsigned tool, uint64_t us)
{
	struct slow_line *line = tool < book->tools ? &book->slow[tool] : NULL;
	if (!line)
		return false;
	bool above = us > line->us;
	uint64_t step = line->us / STEP_SHARE + 1;
	if (above)
		line->us = line->calls ? line->us + step : us;
	else if (++line->below % OTHERS_OF_SLOW == 0)
		line->us -= line->us > step ? step : 0;
	bool known = line->calls == KNOWN_CALLS;
	line->calls += !known;
	return above && known;
}

static enum trace_reason choose_reason(struct trace_book *book, const struct call *call)
{
	enum outcome outcome = call->answer->outcome;
	bool slow = is_slow(book, call->tool->index, call->ended_us - call->started_us);
	if (outcome == OUTCOME_OUTCOME_UNKNOWN)
		return TRACE_UNKNOWN;
	if (outcome_is_failure(outcome))
		return TRACE_FAILED;
	if (call->facts.bisected)
		return TRACE_BISECTED;
	if (call->trace.flags & TRACE_SAMPLED)
		return TRACE_SAMPLED_CALL;
	return slow ? TRACE_SLOW : TRACE_NOT_KEPT;
}

static const char *route_of(const struct request *request, bool *mcp)
{
	static const struct slice tools = { "/v1/tools/", 10 };
	*mcp = slice_equal(request->path, SLICE("/mcp"));
	if (*mcp)
		return "/mcp";
	if (request->path.len > tools.len && memcmp(request->path.at, tools.at, tools.len) == 0)
		return "/v1/tools/{tool}";
	return slice_equal(request->path, SLICE("/v1/batch")) ? "/v1/batch" : "/v1/embeddings";
}

/* What is known of any call, also of one that is away. */
static void describe_call(struct traced_call *to, const struct call *call, const struct request *request,
			  uint64_t ended_us)
{
	const struct metrics *metrics = call->home->gateway->metrics;
	const struct upstream_settings *upstream = &call_upstream(call)->settings;
	bool mcp;
	to->context = call->trace;
	begin_trace(call->home->traces, &to->context);
	to->parent = call->trace_parent;
	to->link = call->trace_link;
	to->total_us = ended_us - call->started_us;
	to->started_us = clock_wall_us() - (loop_now(call->home->loop) - call->started_us);
	to->tool = metrics_label_value(metrics, LABEL_TOOL, call->tool->index);
	to->upstream = metrics_label_value(metrics, LABEL_UPSTREAM, upstream->label);
	to->dialect = upstream->process ? "stdio" : upstream->dialect->name;
	to->stdio = upstream->process != NULL;
	to->route = route_of(request, &mcp);
	to->mcp_method = mcp ? "tools/call" : NULL;
	utf8_copy(to->request_id, sizeof to->request_id, slice_of(request->id));
	if (call->tracestate)
		utf8_copy(to->state, sizeof to->state, blob_slice(call->tracestate));
	else if (call->trace_parent && !mcp)
		utf8_copy(to->state, sizeof to->state, caller_tracestate(request->headers[HEADER_TRACESTATE]));
	if (request->from_trusted_proxy)
		utf8_copy(to->tenant, sizeof to->tenant, request->headers[HEADER_TENANT]);
}

static void describe_journey(struct traced_call *to, const struct call *call)
{
	const struct batch_facts *facts = &call->facts;
	to->look_us = call->look_us;
	to->waited_us = facts->waited_us;
	to->upstream_us = facts->upstream_us;
	to->batch = facts->id;
	to->items = facts->items;
	to->left_for = facts->id ? metric_word(LABEL_FLUSH_REASON, facts->reason) : NULL;
	to->attempts = facts->attempts;
	to->shared = call->source == SOURCE_COLLAPSED;
	if (facts->id)
		to->left_us = to->started_us + facts->left_us - call->started_us;
}

void call_trace_end(const struct call *call, const struct request *request, unsigned status, uint64_t bytes)
{
	struct worker *home = call->home;
	enum trace_reason reason = choose_reason(home->traces, call);
	if (reason == TRACE_NOT_KEPT)
		return;
	struct traced_call traced = { .reason = reason,
				      .outcome = call->answer->outcome,
				      .status = status,
				      .bytes = bytes,
				      .cache = source_word(call->source) };
	describe_call(&traced, call, request, call->ended_us);
	describe_journey(&traced, call);
	utf8_copy(traced.detail, sizeof traced.detail, slice_of(call->answer->detail));
	exporter_keep(home->traces->exporter, &traced, home->meter);
}

/* What its owner knows of it is not to be read: it may be at work on it. */
void call_trace_cancelled(const struct call *call, const struct request *request)
{
	struct worker *home = call->home;
	if (!(call->trace.flags & TRACE_SAMPLED))
		return;
	struct traced_call traced = { .reason = TRACE_SAMPLED_CALL,
				      .outcome = OUTCOME_CANCELLED,
				      .status = outcome_status(OUTCOME_CANCELLED),
				      .cache = source_word(SOURCE_NONE) };
	describe_call(&traced, call, request, loop_now(home->loop));
	exporter_keep(home->traces->exporter, &traced, home->meter);
}
