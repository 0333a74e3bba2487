/* call_tool.c: POST /v1/tools/{tool}. */
#include "gateway/rest/call_tool.h"

#include <strings.h>

#include "gateway/call/reply.h"
#include "gateway/call/worker.h"

/* "application/json", or any "...+json", with or without parameters. */
static bool is_json_type(struct slice type)
{
	size_t len = 0;
	while (len < type.len && type.at[len] != ';' && type.at[len] != ' ')
		len++;
	if (len == 16 && strncasecmp(type.at, "application/json", 16) == 0)
		return true;
	return len > 5 && strncasecmp(type.at + len - 5, "+json", 5) == 0;
}

const char *rest_media_complaint(const struct request *request)
{
	struct slice type = request->headers[HEADER_CONTENT_TYPE];
	struct slice coding = request->headers[HEADER_CONTENT_ENCODING];
	if (coding.len && !(coding.len == 8 && strncasecmp(coding.at, "identity", 8) == 0))
		return "Content-Encoding is not taken here; send the body as it is.";
	if (request->body.len == 0 || (type.len && is_json_type(type)))
		return NULL;
	return "The body must be JSON: send it with the header Content-Type: application/json.";
}

bool rest_body_is_json(struct worker *worker, struct request *request)
{
	const char *complaint = rest_media_complaint(request);
	if (!complaint)
		return true;
	meter_add(worker->meter, METRIC_ID_REJECTED, REJECT_MEDIA_TYPE, 0, 1);
	reply_problem(request, OUTCOME_UNSUPPORTED_MEDIA_TYPE, NULL, "%s", complaint);
	return false;
}

bool rest_read_asker(struct worker *worker, struct request *request, struct asker *asker)
{
	const char *detail;
	enum outcome outcome = asker_read(asker, request, &detail);
	if (outcome == OUTCOME_OK)
		return true;
	meter_add(worker->meter, METRIC_ID_REJECTED, REJECT_BAD_REQUEST, 0, 1);
	reply_problem(request, outcome, NULL, "%s", detail);
	return false;
}

void rest_count(const struct call *call)
{
	struct meter *meter = call->home->meter;
	meter_add(meter, METRIC_ID_REQUESTS, call->tool->index, call->answer->outcome, 1);
	meter_observe(meter, METRIC_ID_REQUEST_DURATION, call->tool->index, call->ended_us - call->started_us);
}

static void answer_request(struct request *request, struct call *call)
{
	request->waits_for = NULL;
	request->logged = call; /* given back once the reply has been sent */
	rest_count(call);
	reply_call(request, call);
}

static void call_done(struct call *call)
{
	answer_request(call->context, call);
}

static void client_left(struct request *request)
{
	struct call *call = request->waits_for;
	meter_add(call->home->meter, METRIC_ID_REQUESTS, call->tool->index, OUTCOME_CANCELLED, 1);
	call_cancel(call);
}

void rest_call_tool(struct worker *worker, struct request *request, struct slice tool_name)
{
	const struct tool *tool = catalogue_tool(worker->catalogue, tool_name);
	if (!tool) {
		meter_add(worker->meter, METRIC_ID_REJECTED, REJECT_UNKNOWN_TOOL, 0, 1);
		reply_problem(request, OUTCOME_UNKNOWN_TOOL, NULL,
			      "There is no tool \"%.*s\"; GET /v1/tools lists them.",
			      tool_name.len > 80 ? 80 : (int)tool_name.len, tool_name.at);
		return;
	}
	struct asker asker;
	if (!rest_body_is_json(worker, request) || !rest_read_asker(worker, request, &asker))
		return;
	struct call *call = call_new(worker);
	if (!call) {
		reply_problem(request, OUTCOME_OVERLOADED, NULL, "The gateway is out of memory.");
		return;
	}
	call->tool = tool;
	call->asker = &asker;
	call->arguments = buf_slice(&request->body);
	call->done = call_done;
	call->context = request;
	if (call_look_up(call)) {
		answer_request(request, call);
		return;
	}
	/* From here on the bytes belong to the call: a flight may carry them on after this request has gone. */
	struct blob *body = buf_take_blob(&request->body);
	if (!body) {
		call_free(call);
		reply_problem(request, OUTCOME_OVERLOADED, NULL, "The gateway is out of memory.");
		return;
	}
	call->arguments = json_trim(blob_slice(body));
	if (call->arguments.len == 0)
		call->arguments = SLICE("{}");
	request->waits_for = call;
	request->gone = client_left;
	call_send(call, body);
	blob_unref(body);
}

void rest_log_call(const struct call *call, const char *request_id, unsigned status, uint64_t bytes)
{
	struct log_line line;
	if (!call->home->gateway->config->log.access || !log_begin(&line, LOG_LEVEL_INFO, "call"))
		return;
	log_cstr(&line, "request_id", request_id);
	log_cstr(&line, "tool", call->tool->name);
	log_cstr(&line, "outcome", outcome_word(call->answer->outcome));
	log_u64(&line, "status", status);
	log_cstr(&line, "cache", source_word(call->source));
	log_u64(&line, "bytes", bytes);
	log_seconds(&line, "seconds", call->ended_us - call->started_us);
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

void rest_finished(struct worker *worker, struct request *request, unsigned status, uint64_t bytes)
{
	struct call *call = request->logged;
	(void)worker;
	rest_log_call(call, request->id, status, bytes);
	call_free(call);
}
