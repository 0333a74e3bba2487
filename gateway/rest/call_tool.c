/* SPDX-License-Identifier: Apache-2.0 */
/* call_tool.c: POST /v1/tools/{tool}. */
#include "gateway/rest/call_tool.h"

#include "base/json.h"
#include "gateway/call/await_lists.h"
#include "gateway/call/front.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"

static void answer_request(struct request *request, struct call *call)
{
	request->waits_for = NULL;
	request->logged = call; /* given back once the reply has been sent */
	front_count(call);
	reply_call(request, call);
}

static void call_done(struct call *call)
{
	answer_request(call->context, call);
}

static void client_left(struct request *request)
{
	front_cancel(request->waits_for, request);
}

/* NULL: answered. */
static struct call *make_call(struct worker *worker, struct request *request, const struct tool *tool,
			      const struct caller *caller)
{
	struct call *call = call_new(worker);
	if (!call) {
		front_refuse_for_memory(worker, request, &wire_problem);
		return NULL;
	}
	call->tool = tool;
	call->caller = caller;
	call->arguments = buf_slice(&request->body);
	call->done = call_done;
	call->context = request;
	call->sound = request->body_soundness == JSON_SOUND;
	if (request->body_soundness == JSON_FAULTY)
		call_refuse_json(call, &request->body_fault);
	else if (!call_look_up(call))
		return call;
	answer_request(request, call);
	return NULL;
}

void rest_call_tool(struct worker *worker, struct request *request, struct slice tool_name)
{
	const struct tool *tool = catalogue_tool(worker_catalogue(worker), tool_name);
	struct caller caller UNCLEARED;
	unsigned upstream;
	if (!tool && !lists_may_hold(worker, tool_name, &upstream)) {
		reply_answer(request, front_unknown_tool(worker, tool_name));
		return;
	}
	if (!front_body_is_json(worker, request, &wire_problem) ||
	    !front_read_caller(worker, request, &wire_problem, &caller))
		return;
	if (!tool) {
		const struct lists_awaited awaited = { tool_name, caller.timeout_us };
		if (!lists_await(worker, request, &awaited, rest_call_tool, tool_name))
			reply_answer(request, front_unknown_tool(worker, tool_name));
		return;
	}
	struct call *call = make_call(worker, request, tool, &caller);
	if (!call)
		return;
	/* From here on the bytes belong to the call: a flight may carry them on after this request has gone. */
	struct blob *body = buf_take_blob(&request->body);
	if (!body) {
		call_free(call);
		front_refuse_for_memory(worker, request, &wire_problem);
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
