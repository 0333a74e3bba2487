/* SPDX-License-Identifier: Apache-2.0 */
/* front.c: see the header. */
#include "gateway/call/front.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/log.h"
#include "gateway/call/await_lists.h"
#include "gateway/call/call_trace.h"
#include "gateway/call/recent_calls.h"
#include "gateway/call/reply.h"
#include "gateway/call/tenants.h"
#include "gateway/call/worker.h"

/* ---------------------------------------------------------------- refusals */

static void refuse_as_problem(struct worker *worker, struct request *request, enum outcome outcome, const char *detail)
{
	(void)worker;
	reply_problem(request, outcome, NULL, "%s", detail);
}

const struct wire wire_problem = { refuse_as_problem };

bool front_refuse(struct worker *worker, struct request *request, const struct wire *wire, enum reject_reason reason,
		  enum outcome outcome, const char *format, ...)
{
	assert_owner(worker_owner(worker));
	char detail[ANSWER_DETAIL_BYTES];
	va_list args;
	va_start(args, format);
	vsnprintf(detail, sizeof detail, format, args);
	va_end(args);
	meter_add(worker->meter, METRIC_ID_REJECTED, reason, 0, 1);
	wire->refuse(worker, request, outcome, detail);
	return false;
}

bool front_refuse_for_memory(struct worker *worker, struct request *request, const struct wire *wire)
{
	return front_refuse(worker, request, wire, REJECT_NO_MEMORY, OUTCOME_OVERLOADED,
			    "The gateway is out of memory.");
}

/* ---------------------------------------------------------------- before */

/* "application/json", or any "...+json", with or without parameters. */
bool front_is_json_type(struct slice type)
{
	static const struct slice plain = { "application/json", 16 };
	if (slice_equal(type, plain))
		return true; /* as nearly everybody writes it */
	size_t len = 0;
	while (len < type.len && type.at[len] != ';' && type.at[len] != ' ')
		len++;
	if (len == plain.len && strncasecmp(type.at, plain.at, len) == 0)
		return true;
	return len > 5 && strncasecmp(type.at + len - 5, "+json", 5) == 0;
}

bool front_body_is_json(struct worker *worker, struct request *request, const struct wire *wire)
{
	assert_owner(worker_owner(worker));
	struct slice type = request->headers[HEADER_CONTENT_TYPE];
	struct slice coding = request->headers[HEADER_CONTENT_ENCODING];
	if (coding.len && !(coding.len == 8 && strncasecmp(coding.at, "identity", 8) == 0))
		return front_refuse(worker, request, wire, REJECT_MEDIA_TYPE, OUTCOME_UNSUPPORTED_MEDIA_TYPE,
				    "Content-Encoding is not taken here; send the body as it is.");
	if (request->body.len == 0 || (type.len && front_is_json_type(type)))
		return true;
	return front_refuse(worker, request, wire, REJECT_MEDIA_TYPE, OUTCOME_UNSUPPORTED_MEDIA_TYPE,
			    "The body must be JSON: send it with the header Content-Type: application/json.");
}

bool front_check_json(struct worker *worker, struct request *request, const struct wire *wire, unsigned depth)
{
	assert_owner(worker_owner(worker));
	struct json_fault fault = request->body_fault;
	bool known = request->body_soundness != JSON_UNDECIDED && request->body_depth == depth;
	if (known ? request->body_soundness == JSON_SOUND
		  : json_check(buf_slice(&request->body), depth, &worker->scratch, &fault))
		return true;
	if (fault.out_of_memory)
		return front_refuse_for_memory(worker, request, wire);
	return front_refuse(worker, request, wire, REJECT_BAD_JSON, OUTCOME_INVALID_JSON,
			    "The body is not valid JSON: %s at byte %zu.", fault.what, fault.at);
}

bool front_read_caller(struct worker *worker, struct request *request, const struct wire *wire, struct caller *caller)
{
	assert_owner(worker_owner(worker));
	const char *detail;
	enum outcome outcome = caller_read(caller, request, &detail);
	if (outcome != OUTCOME_OK)
		return front_refuse(worker, request, wire, REJECT_BAD_REQUEST, outcome, "%s", detail);
	uint64_t waited_us = loop_now(worker->loop) - request->received_us; /* for lists: await_lists.h */
	if (caller->timeout_us != CLOCK_NEVER)
		caller->timeout_us = caller->timeout_us > waited_us ? caller->timeout_us - waited_us : 1;
	return true;
}

/* Nobody knows whether there is such a tool. */
static struct answer *not_listed_yet(struct worker *worker, unsigned upstream)
{
	const char *why = catalogue_status(worker->catalogue, upstream).why;
	meter_add(worker->meter, METRIC_ID_REJECTED, REJECT_LIST_AWAITED, 0, 1);
	return answer_upstream_error(
		OUTCOME_UPSTREAM_UNAVAILABLE, 0, 1, SLICE(""), "%s: it has not said yet which tools it has%s%.150s",
		worker_generation(worker)->upstreams[upstream].settings.name, *why ? ": " : "", why);
}

struct answer *front_unknown_tool(struct worker *worker, struct slice name)
{
	assert_owner(worker_owner(worker));
	unsigned upstream;
	if (lists_may_hold(worker, name, &upstream))
		return not_listed_yet(worker, upstream);
	meter_add(worker->meter, METRIC_ID_REJECTED, REJECT_UNKNOWN_TOOL, 0, 1);
	return answer_error(OUTCOME_UNKNOWN_TOOL, "There is no tool \"%.*s\"; GET /v1/tools lists them.",
			    name.len > 80 ? 80 : (int)name.len, name.at);
}

/* ---------------------------------------------------------------- after */

void front_count(const struct call *call)
{
	struct meter *meter = call->home->meter;
	meter_add(meter, METRIC_ID_REQUESTS, call->tool->index, call->answer->outcome, 1);
	meter_observe(meter, METRIC_ID_REQUEST_DURATION, call->tool->index, call->ended_us - call->started_us);
}

/* Empty: no trusted proxy names one. */
static struct slice tenant_of(const struct request *request)
{
	return request->from_trusted_proxy ? request->headers[HEADER_TENANT] : (struct slice){ NULL, 0 };
}

/* What its tenant has to answer for. */
static void count_tenant(const struct call *call, const struct request *request)
{
	struct slice tenant = tenant_of(request);
	if (!tenant.len)
		return;
	const struct batch_facts *facts = &call->facts;
	bool own = call->source != SOURCE_COLLAPSED && facts->items > 0;
	const struct tenant_figures came = { .calls = 1,
					     .errors = outcome_is_failure(call->answer->outcome),
					     .upstream_us = own ? facts->upstream_us / facts->items : 0 };
	tenants_count(call->home->tenants, tenant, &came, loop_now(call->home->loop) + call->home->to_wall_us);
}

/* What is known of any call, also of one that is away: then all else of it is its owner's. */
static struct recent_call *begin_memory(const struct call *call, const struct request *request, uint64_t ended_us)
{
	struct recent_call *to = recent_calls_begin(call->home->recent);
	to->started_us = call->started_us;
	to->ended_us = ended_us;
	to->to_wall_us = call->home->to_wall_us;
	to->tool = call->tool->index;
	to->sent = call->sent;
	memcpy(to->request_id, request->id, sizeof to->request_id);
	to->tenant[0] = to->detail[0] = '\0';
	if (tenant_of(request).len)
		recent_calls_put(to->tenant, sizeof to->tenant, tenant_of(request));
	return to;
}

/* As its caller saw it. */
static void remember_call(const struct call *call, const struct request *request, unsigned status, uint64_t bytes)
{
	struct recent_call *to = begin_memory(call, request, call->ended_us);
	to->look_us = call->look_us;
	to->bytes = bytes;
	to->facts = call->facts;
	to->status = status;
	to->outcome = call->answer->outcome;
	to->cache = source_word(call->source);
	if (call->answer->detail[0])
		recent_calls_put(to->detail, sizeof to->detail, slice_of(call->answer->detail));
	recent_calls_end(call->home->recent);
}

static void remember_cancelled(const struct call *call, const struct request *request)
{
	struct recent_call *to = begin_memory(call, request, loop_now(call->home->loop));
	to->look_us = to->bytes = 0;
	to->facts = (struct batch_facts){ 0 };
	to->status = outcome_status(OUTCOME_CANCELLED);
	to->outcome = OUTCOME_CANCELLED;
	to->cache = source_word(SOURCE_NONE);
	recent_calls_end(call->home->recent);
}

void front_cancel(struct call *call, const struct request *request)
{
	struct worker *home = call->home;
	meter_add(home->meter, METRIC_ID_REQUESTS, call->tool->index, OUTCOME_CANCELLED, 1);
	remember_cancelled(call, request);
	if (tenant_of(request).len)
		tenants_count(home->tenants, tenant_of(request), &(struct tenant_figures){ .calls = 1 },
			      loop_now(home->loop) + home->to_wall_us);
	if (home->traces)
		call_trace_cancelled(call, request);
	call_cancel(call);
}

void front_log_client(struct log_line *line, const struct request *request)
{
	char text[REQUEST_CLIENT_BYTES];
	struct slice address = request_client(request, text);
	if (tenant_of(request).len)
		log_text(line, "tenant", tenant_of(request));
	if (address.len)
		log_text(line, "client", address);
	if (request->client_name[0])
		log_cstr(line, "mcp_client", request->client_name);
}

static void log_call(const struct call *call, const struct request *request, unsigned status, uint64_t bytes)
{
	if (!catalogue_made_for(call->catalogue)->access_log)
		return;
	struct log_line line UNCLEARED; /* behind the question: what is on the stack is set to zero first, all of it */
	if (!log_begin(&line, &EVENT_CALL))
		return;
	log_cstr(&line, "request_id", request->id);
	front_log_client(&line, request);
	log_cstr(&line, "tool", call->tool->name);
	log_word(&line, "outcome", outcome_word(call->answer->outcome));
	log_u64(&line, "status", status);
	log_word(&line, "cache", source_word(call->source));
	log_u64(&line, "bytes", bytes);
	log_seconds(&line, "seconds", call->ended_us - call->started_us);
	if (call->facts.attempts > 1)
		log_u64(&line, "attempts", call->facts.attempts);
	if (call->facts.id) {
		log_u64(&line, "batch_id", call->facts.id);
		log_u64(&line, "batch_items", call->facts.items);
		log_seconds(&line, "queue_seconds", call->facts.waited_us);
		log_seconds(&line, "upstream_seconds", call->facts.upstream_us);
	}
	if (call->traceparent[0])
		log_text(&line, "trace_id", (struct slice){ call->traceparent + 3, 32 });
	if (call->answer->detail[0])
		log_cstr(&line, "detail", call->answer->detail);
	log_end(&line);
}

void front_record_call(const struct call *call, const struct request *request, unsigned status, uint64_t bytes)
{
	remember_call(call, request, status, bytes);
	count_tenant(call, request);
	if (call->home->traces)
		call_trace_end(call, request, status, bytes);
	log_call(call, request, status, bytes);
}

void front_finished(struct request *request, unsigned status, uint64_t bytes)
{
	struct call *call = request->logged;
	front_record_call(call, request, status, bytes);
	call_free(call);
}
