/* SPDX-License-Identifier: Apache-2.0 */
/*
 * otlp.c: three spans are made of a call. Names of attributes are those of OpenTelemetry's conventions for HTTP, GenAI and
 * MCP where there is one, else begin with jitney. All messages of a request are in one arena, as protobuf-c wants them.
 */
#include "gateway/trace/otlp.h"

#include <stdio.h>

#include "gateway/trace/otlp.pb-c.h"
#include "gateway/trace/otlp_values.h"

enum { ATTRIBUTES_MOST = 28, SPANS_OF_CALL = 3, TRACE_ID_BYTES = 16, SPAN_ID_BYTES = 8 };

struct encoder {
	struct otlp *otlp;
	struct arena *arena;
	Otlp__Span **spans;
	size_t count;
	char *no_text; /* what protobuf-c takes for an empty string */
};

static const char *const reasons[] = {
#define X(name, word) word,
	TRACE_REASONS(X)
#undef X
};

/* --- spans --- */

static ProtobufCBinaryData put_id(struct encoder *encoder, uint64_t first, uint64_t second, size_t bytes)
{
	ProtobufCBinaryData data = { bytes, arena_alloc(encoder->arena, bytes) };
	for (size_t i = 0; data.data && i < bytes; i++)
		data.data[i] = (uint8_t)((i < 8 ? first : second) >> (56 - 8 * (i % 8)));
	if (!data.data)
		data.len = 0;
	return data;
}

static ProtobufCBinaryData put_trace_id(struct encoder *encoder, const uint64_t trace[2])
{
	return put_id(encoder, trace[0], trace[1], TRACE_ID_BYTES);
}

static ProtobufCBinaryData put_span_id(struct encoder *encoder, uint64_t span)
{
	return span ? put_id(encoder, span, 0, SPAN_ID_BYTES) : (ProtobufCBinaryData){ 0, NULL };
}

/* NULL: out of memory. */
static Otlp__Span *begin_span(struct encoder *encoder, const struct trace_context *context, uint64_t parent,
			      Otlp__SpanKind kind, const char *name)
{
	Otlp__Span *span = arena_alloc(encoder->arena, sizeof *span);
	if (!span)
		return NULL;
	*span = (Otlp__Span)OTLP__SPAN__INIT;
	span->trace_id = put_trace_id(encoder, context->trace);
	span->span_id = put_span_id(encoder, context->span);
	span->parent_span_id = put_span_id(encoder, parent);
	span->flags = context->flags;
	span->kind = kind;
	span->name = (char *)name;
	return span;
}

static void end_span(struct encoder *encoder, Otlp__Span *span, const struct attributes *list, uint64_t from_us,
		     uint64_t to_us)
{
	span->start_time_unix_nano = from_us * 1000;
	span->end_time_unix_nano = (to_us > from_us ? to_us : from_us) * 1000;
	span->attributes = list->all;
	span->n_attributes = list->count;
	encoder->spans[encoder->count++] = span;
}

static void put_status(struct encoder *encoder, Otlp__Span *span, const struct traced_call *call)
{
	bool failed = outcome_is_failure(call->outcome) || call->outcome == OUTCOME_TOOL_ERROR;
	Otlp__Status *status = failed ? arena_alloc(encoder->arena, sizeof *status) : NULL;
	if (!status)
		return;
	*status = (Otlp__Status)OTLP__STATUS__INIT;
	status->code = OTLP__STATUS_CODE__STATUS_CODE_ERROR;
	status->message = call->detail[0] ? (char *)call->detail : encoder->no_text;
	span->status = status;
}

static void add_link(struct encoder *encoder, Otlp__Span *span, const struct trace_context *to)
{
	Otlp__Link *link = arena_alloc(encoder->arena, sizeof *link);
	Otlp__Link **links = arena_array(encoder->arena, span->n_links + 1, sizeof *links);
	if (!link || !links)
		return;
	*link = (Otlp__Link)OTLP__LINK__INIT;
	link->trace_id = put_trace_id(encoder, to->trace);
	link->span_id = put_span_id(encoder, to->span);
	if (span->n_links)
		memcpy(links, span->links, span->n_links * sizeof *links);
	links[span->n_links++] = link;
	span->links = links;
}

static void add_event(struct encoder *encoder, Otlp__Span *span, uint64_t at_us, const char *name,
		      const struct attributes *list)
{
	Otlp__Event *event = arena_alloc(encoder->arena, sizeof *event);
	Otlp__Event **events = arena_array(encoder->arena, 1, sizeof *events);
	if (!event || !events)
		return;
	*event = (Otlp__Event)OTLP__EVENT__INIT;
	event->time_unix_nano = at_us * 1000;
	event->name = (char *)name;
	event->attributes = list->all;
	event->n_attributes = list->count;
	events[0] = event;
	span->events = events;
	span->n_events = 1;
}

/* --- a call's --- */

static void put_tool(struct attributes *list, const struct traced_call *call)
{
	attributes_put_text(list, "gen_ai.operation.name", "execute_tool");
	attributes_put_text(list, "gen_ai.tool.name", call->tool);
	attributes_put_text(list, "mcp.method.name", call->mcp_method);
	if (call->outcome != OUTCOME_OK)
		attributes_put_text(list, "error.type", outcome_word(call->outcome));
}

static void put_call_span(struct encoder *encoder, const struct traced_call *call)
{
	const char *name =
		arena_printf(encoder->arena, "%s %s", call->mcp_method ? call->mcp_method : "execute_tool", call->tool);
	Otlp__Span *span = begin_span(encoder, &call->context, call->parent, OTLP__SPAN_KIND__SPAN_KIND_SERVER, name);
	struct attributes list = attributes_begin(encoder->arena, ATTRIBUTES_MOST);
	if (!span)
		return;
	put_tool(&list, call);
	attributes_put_text(&list, "http.request.method", "POST");
	attributes_put_text(&list, "http.route", call->route);
	attributes_put_number(&list, "http.response.status_code", call->status);
	attributes_put_number(&list, "http.response.body.size", call->bytes);
	attributes_put_text(&list, "network.protocol.name", "http");
	attributes_put_text(&list, "jitney.request_id", call->request_id);
	attributes_put_text(&list, "jitney.tenant", call->tenant);
	attributes_put_text(&list, "jitney.cache", call->cache);
	attributes_put_text(&list, "jitney.kept", reasons[call->reason]);
	if (call->look_us)
		attributes_put_seconds(&list, "jitney.look_up_seconds", call->look_us);
	put_status(encoder, span, call);
	span->trace_state = (char *)call->state;
	if (trace_context_is_there(&call->link))
		add_link(encoder, span, &call->link);
	end_span(encoder, span, &list, call->started_us, call->started_us + call->total_us);
}

/* "waited 2.1 ms, left with 30 others": what of a call's time was the bus. */
static void add_departure(struct encoder *encoder, Otlp__Span *span, const struct traced_call *call)
{
	struct attributes list = attributes_begin(encoder->arena, ATTRIBUTES_MOST);
	attributes_put_text(&list, "jitney.message",
			    arena_printf(encoder->arena, "waited %.1f ms, left with %u others",
					 (double)call->waited_us / 1e3, call->items - 1));
	attributes_put_seconds(&list, "jitney.waited_seconds", call->waited_us);
	attributes_put_number(&list, "jitney.batch.others", call->items - 1);
	add_event(encoder, span, call->left_us, "left", &list);
}

static void put_exchange(struct attributes *list, const struct traced_call *call)
{
	attributes_put_text(list, "jitney.upstream", call->upstream);
	attributes_put_text(list, "jitney.dialect", call->dialect);
	attributes_put_text(list, "network.transport", call->stdio ? "pipe" : "tcp");
	attributes_put_number(list, "jitney.batch.id", call->batch);
	attributes_put_number(list, "jitney.batch.size", call->items);
	attributes_put_text(list, "jitney.batch.reason", call->left_for);
}

static struct trace_context exchange_context(const struct encoder *encoder, const struct traced_call *call)
{
	uint64_t number = encoder->otlp->seed ^ (call->batch * UINT64_C(0xd1342543de82ef95));
	return (struct trace_context){
		.trace = { trace_span_below(number, TRACE_EXCHANGE), call->batch },
		.span = trace_span_below(number, TRACE_EXCHANGE_SPAN),
		.flags = TRACE_SAMPLED,
	};
}

static struct trace_context attempt_context(const struct traced_call *call)
{
	struct trace_context context = call->context;
	context.span = trace_span_below(context.span, TRACE_ATTEMPT);
	return context;
}

static void put_attempt_span(struct encoder *encoder, const struct traced_call *call)
{
	const struct trace_context context = attempt_context(call), exchange = exchange_context(encoder, call);
	Otlp__Span *span =
		begin_span(encoder, &context, call->context.span,
			   call->shared ? OTLP__SPAN_KIND__SPAN_KIND_INTERNAL : OTLP__SPAN_KIND__SPAN_KIND_CLIENT,
			   arena_printf(encoder->arena, "%s %s", call->dialect, call->upstream));
	struct attributes list = attributes_begin(encoder->arena, ATTRIBUTES_MOST);
	if (!span)
		return;
	put_tool(&list, call);
	put_exchange(&list, call);
	if (call->attempts > 1)
		attributes_put_number(&list, "http.request.resend_count", call->attempts - 1);
	attributes_put_text(&list, "jitney.joined", call->shared ? "another call's" : NULL);
	put_status(encoder, span, call);
	add_departure(encoder, span, call);
	if (call->items > 1)
		add_link(encoder, span, &exchange);
	/* who joined a flight may have come after it had left */
	uint64_t from_us = call->left_us > call->started_us ? call->left_us : call->started_us;
	end_span(encoder, span, &list, from_us, call->left_us + call->upstream_us);
}

/* --- exchanges --- */

static bool is_exchange_known(const struct otlp *otlp, uint64_t batch)
{
	for (size_t i = 0; i < OTLP_EXCHANGES_KNOWN; i++)
		if (otlp->exchanges[i] == batch)
			return true;
	return false;
}

/* One for all calls of it that are kept and known by now; those that come later refer to it. */
static void put_exchange_span(struct encoder *encoder, const struct traced_call *first)
{
	struct otlp *otlp = encoder->otlp;
	const struct trace_context context = exchange_context(encoder, first);
	if (first->items < 2 || is_exchange_known(otlp, first->batch))
		return;
	Otlp__Span *span = begin_span(encoder, &context, 0, OTLP__SPAN_KIND__SPAN_KIND_INTERNAL,
				      arena_printf(encoder->arena, "exchange %s", first->upstream));
	struct attributes list = attributes_begin(encoder->arena, ATTRIBUTES_MOST);
	if (!span)
		return;
	uint64_t until_us = first->left_us + first->upstream_us;
	for (const struct traced_call *call = first; call; call = TAILQ_NEXT(call, next)) {
		if (call->batch != first->batch)
			continue;
		const struct trace_context attempt = attempt_context(call);
		add_link(encoder, span, &attempt);
		until_us = call->left_us + call->upstream_us > until_us ? call->left_us + call->upstream_us : until_us;
	}
	put_exchange(&list, first);
	attributes_put_number(&list, "jitney.batch.kept", span->n_links);
	otlp->exchanges[otlp->exchange_next++ % OTLP_EXCHANGES_KNOWN] = first->batch;
	end_span(encoder, span, &list, first->left_us, until_us);
}

/* --- requests --- */

static void put_spans(struct encoder *encoder, const struct traced_calls *calls)
{
	const struct traced_call *call;
	TAILQ_FOREACH (call, calls, next) {
		put_call_span(encoder, call);
		if (!call->batch)
			continue;
		put_attempt_span(encoder, call);
		put_exchange_span(encoder, call);
	}
}

static void pack_request(struct encoder *encoder, const struct trace_settings *settings, struct buf *out)
{
	struct otlp_origin origin;
	Otlp__ScopeSpans scope_spans = OTLP__SCOPE_SPANS__INIT, *scopes[] = { &scope_spans };
	Otlp__ResourceSpans resource_spans = OTLP__RESOURCE_SPANS__INIT, *resources[] = { &resource_spans };
	Otlp__ExportTraceServiceRequest request = OTLP__EXPORT_TRACE_SERVICE_REQUEST__INIT;
	otlp_put_origin(encoder->arena, settings, encoder->otlp->instance, &origin);
	scope_spans.scope = origin.scope;
	scope_spans.spans = encoder->spans;
	scope_spans.n_spans = encoder->count;
	resource_spans.resource = origin.resource;
	resource_spans.scope_spans = scopes;
	resource_spans.n_scope_spans = 1;
	request.resource_spans = resources;
	request.n_resource_spans = 1;
	otlp_pack(encoder->arena, &request.base, out);
}

size_t otlp_put_request(struct otlp *otlp, const struct trace_settings *settings, const struct traced_calls *calls,
			struct buf *out)
{
	size_t most = 0;
	const struct traced_call *call;
	TAILQ_FOREACH (call, calls, next)
		most += SPANS_OF_CALL;
	struct encoder encoder = { .otlp = otlp, .arena = arena_new() };
	if (!encoder.arena)
		return 0;
	encoder.no_text = arena_text(encoder.arena, SLICE(""));
	encoder.spans = arena_array(encoder.arena, most, sizeof *encoder.spans);
	if (encoder.spans && encoder.no_text) {
		put_spans(&encoder, calls);
		pack_request(&encoder, settings, out);
	} else {
		out->failed = true;
	}
	arena_free(encoder.arena);
	return out->failed ? 0 : encoder.count;
}

bool otlp_read_answer(struct slice body, uint64_t *rejected, char *why, size_t why_bytes)
{
	*rejected = 0;
	*why = '\0';
	Otlp__ExportResponse *answer = otlp__export_response__unpack(NULL, body.len, (const uint8_t *)body.at);
	if (!answer)
		return false;
	const Otlp__ExportPartialSuccess *part = answer->partial_success;
	if (part && part->rejected > 0)
		*rejected = (uint64_t)part->rejected;
	if (part)
		snprintf(why, why_bytes, "%s", part->error_message);
	otlp__export_response__free_unpacked(answer, NULL);
	return true;
}
