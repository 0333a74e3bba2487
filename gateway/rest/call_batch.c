/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call_batch.c: POST /v1/batch: many calls in one request, each of which lives and dies alone: own tool, own cache
 * look-up, own flight, own outcome. Answered as one JSON document in the order of asking, or line by line (NDJSON) in
 * the order of finishing.
 */
#include <strings.h>

#include "base/json.h"
#include "gateway/call/call_group.h"
#include "gateway/call/front.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"
#include "gateway/rest/call_tool.h"

/* ---------------------------------------------------------------- one call */

static struct answer *refuse_item(struct worker *worker, struct answer *answer)
{
	meter_add(worker_meter(worker), METRIC_ID_REJECTED, REJECT_BAD_REQUEST, 0, 1);
	return answer;
}

struct wanted {
	struct slice id, tool, arguments; /* raw JSON; empty: not there */
};

/* NULL, or what is wrong with an element of "calls". */
static struct answer *read_item(struct worker *worker, struct slice element, size_t index, struct wanted *wanted)
{
	struct slice name, value;
	if (json_type(element) != JSON_OBJECT)
		return refuse_item(worker,
				   answer_error(OUTCOME_INVALID_REQUEST, "calls[%zu] must be an object.", index));
	struct json_walk walk = json_walk(element);
	while (json_next_member(&walk, &name, &value)) {
		if (json_string_is(name, SLICE("id")))
			wanted->id = value;
		else if (json_string_is(name, SLICE("tool")))
			wanted->tool = value;
		else if (json_string_is(name, SLICE("arguments")))
			wanted->arguments = value;
		else
			return refuse_item(
				worker,
				answer_error(
					OUTCOME_INVALID_REQUEST,
					"calls[%zu] has the unknown member %.*s; id, tool and arguments are known.",
					index, name.len > 60 ? 60 : (int)name.len, name.at));
	}
	if (wanted->id.len && json_type(wanted->id) != JSON_STRING && json_type(wanted->id) != JSON_NUMBER) {
		wanted->id.len = 0;
		return refuse_item(worker, answer_error(OUTCOME_INVALID_REQUEST,
							"calls[%zu].id must be a string or a number.", index));
	}
	if (!wanted->tool.len || json_type(wanted->tool) != JSON_STRING)
		return refuse_item(
			worker, answer_error(OUTCOME_INVALID_REQUEST, "calls[%zu].tool must be a tool's name.", index));
	return NULL;
}

/* NULL: *refusal says so. */
static const struct tool *find_tool(struct worker *worker, struct slice raw_name, struct answer **refusal)
{
	struct buf name = BUF_INIT(1024);
	json_unescape(raw_name, &name);
	const struct tool *tool = name.failed ? NULL : catalogue_tool(worker_catalogue(worker), buf_slice(&name));
	if (!tool)
		*refusal = front_unknown_tool(worker, name.failed ? raw_name : buf_slice(&name));
	buf_fini(&name);
	return tool;
}

static void begin_item(struct call_group *group, struct call_group_item *item)
{
	struct wanted wanted = { 0 };
	struct answer *refusal = read_item(group->worker, item->text, (size_t)(item - group->items), &wanted);
	const struct tool *tool = refusal ? NULL : find_tool(group->worker, wanted.tool, &refusal);
	item->id = wanted.id;
	if (tool)
		call_group_call(group, item, tool, &group->caller,
				wanted.arguments.len ? wanted.arguments : SLICE("{}"), group->body);
	else
		call_group_refuse(item, refusal);
}

/* ---------------------------------------------------------------- writing */

static void put_item(const struct call_group *group, const struct call_group_item *item, struct buf *out,
		     struct pieces *rest, const char *after)
{
	const struct call *call = item->call;
	const struct answer *answer = call_group_answer(item);
	buf_put_text(out, "{\"id\":");
	buf_put(out, item->id.len ? item->id : SLICE("null"));
	buf_put_text(out, ",\"status\":");
	buf_put_u64(out, outcome_status(answer->outcome));
	if (call && call->source != SOURCE_NONE) {
		buf_put_text(out, ",\"cache\":\"");
		buf_put_text(out, source_word(call->source));
		buf_put_char(out, '"');
	}
	if (call && call->facts.attempts > 1) { /* an item has no X-Attempts */
		buf_put_text(out, ",\"attempts\":");
		buf_put_u64(out, call->facts.attempts);
	}
	if (answer->outcome != OUTCOME_OK) {
		buf_put_text(out, ",\"error\":");
		problem_put(out, answer, group->request->id, call);
	} else if (answer->json) {
		buf_put_text(out, ",\"result\":");
		pieces_put(rest, answer_body(answer));
	} else { /* what is no JSON travels as a string, with its type beside it */
		buf_put_text(out, ",\"content_type\":");
		json_put_string(out, slice_of(answer->content_type));
		buf_put_text(out, ",\"result\":");
		pieces_put_string(rest, answer_body(answer));
	}
	pieces_put_text(rest, after);
}

static void put_element(struct call_group *group, struct call_group_item *item, struct buf *out, struct pieces *rest)
{
	put_item(group, item, out, rest, "}");
}

/* Lines end where we end them: what a provider's JSON has of its own stands between values. */
static void put_line(struct call_group *group, struct call_group_item *item, struct buf *out, struct pieces *rest)
{
	size_t from = out->len;
	rest->raw = PIECE_LINE;
	put_item(group, item, out, rest, "}\n");
	for (size_t i = from; i < out->len; i++)
		if (out->store->bytes[i] == '\n' || out->store->bytes[i] == '\r')
			out->store->bytes[i] = ' ';
}

static const struct call_group_kind as_document = {
	.order = GROUP_AS_ASKED,
	.content_type = "application/json",
	.opening = "{\"results\":[",
	.between = ",",
	.closing = "]}\n",
	.begin = begin_item,
	.put = put_element,
};

static const struct call_group_kind as_lines = {
	.order = GROUP_AS_DONE,
	.streams = true,
	.content_type = "application/x-ndjson",
	.opening = "",
	.between = "",
	.closing = "",
	.begin = begin_item,
	.put = put_line,
};

/* ---------------------------------------------------------------- the request */

/* The whole body: {"calls": [...]} and nothing else. False: answered. */
static bool find_calls(struct worker *worker, struct request *request, struct slice *calls)
{
	struct slice body = buf_slice(&request->body), name, value;
	if (!front_check_json(worker, request, &wire_problem,
			      worker_generation(worker)->limits.json_depth + REST_BATCH_WRAPPED))
		return false;
	calls->len = 0;
	if (json_type(json_trim(body)) != JSON_OBJECT)
		return front_refuse(worker, request, &wire_problem, REJECT_BAD_REQUEST, OUTCOME_INVALID_REQUEST,
				    "The body must be an object, {\"calls\": [...]}.");
	struct json_walk walk = json_walk(body);
	while (json_next_member(&walk, &name, &value)) {
		if (!json_string_is(name, SLICE("calls")))
			return front_refuse(worker, request, &wire_problem, REJECT_BAD_REQUEST, OUTCOME_INVALID_REQUEST,
					    "The body has a member that is not known; only \"calls\" is.");
		*calls = value;
	}
	if (calls->len == 0 || json_type(*calls) != JSON_ARRAY)
		return front_refuse(worker, request, &wire_problem, REJECT_BAD_REQUEST, OUTCOME_INVALID_REQUEST,
				    "\"calls\" must be an array of {\"id\", \"tool\", \"arguments\"}.");
	return true;
}

/* What stands behind a media type, up to the next one: whether its weight is 0, which says that it is not wanted (RFC 9110,
 * 12.4.2). */
static bool is_unwanted(struct slice parameters)
{
	for (size_t i = 0; i + 3 <= parameters.len && parameters.at[i] != ','; i++) {
		const char *at = parameters.at + i, *end = parameters.at + parameters.len;
		if (*at != ';')
			continue;
		do
			at++;
		while (at < end && (*at == ' ' || *at == '\t'));
		if (end - at < 3 || (*at != 'q' && *at != 'Q') || at[1] != '=' || at[2] != '0')
			continue;
		for (at += 3; at < end && (*at == '.' || *at == '0');)
			at++;
		return at == end || *at < '1' || *at > '9';
	}
	return false;
}

static bool wants_lines(const struct request *request)
{
	struct slice accept = request->headers[HEADER_ACCEPT];
	static const char type[] = "application/x-ndjson";
	for (size_t i = 0; i + sizeof type - 1 <= accept.len; i++) {
		struct slice rest = { accept.at + i + sizeof type - 1, accept.len - i - (sizeof type - 1) };
		if (strncasecmp(accept.at + i, type, sizeof type - 1) == 0)
			return !is_unwanted(rest);
	}
	return false;
}

void rest_call_many(struct worker *worker, struct request *request, struct slice rest)
{
	struct slice calls;
	struct caller caller;
	(void)rest;
	if (!front_body_is_json(worker, request, &wire_problem) ||
	    !front_read_caller(worker, request, &wire_problem, &caller) || !find_calls(worker, request, &calls))
		return;
	size_t count = json_count(calls);
	if (count > worker_generation(worker)->limits.in_flight) {
		front_refuse(worker, request, &wire_problem, REJECT_BAD_REQUEST, OUTCOME_PAYLOAD_TOO_LARGE,
			     "There are more calls in the batch than limits.in_flight allows at once.");
		return;
	}
	struct call_group *group = call_group_new(worker, request, wants_lines(request) ? &as_lines : &as_document,
						  &caller, calls, false, count, NULL);
	if (group)
		call_group_start(group);
	else
		front_refuse_for_memory(worker, request, &wire_problem);
}
