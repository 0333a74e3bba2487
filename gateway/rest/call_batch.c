/*
 * call_batch.c: POST /v1/batch: many calls in one request, each of which lives and dies alone: own tool, own cache
 * look-up, own flight, own outcome. Answered as one JSON document in the order of asking, or line by line (NDJSON) in
 * the order of finishing.
 */
#include <assert.h>
#include <stdlib.h>
#include <strings.h>

#include "base/json.h"
#include "gateway/call/front.h"
#include "gateway/call/reply.h"
#include "gateway/rest/call_tool.h"
#include "gateway/call/worker.h"

enum { RESULTS_BYTES_MAX = 512 << 20 };

/* One of the calls asked for. */
struct seat {
	struct slice id;   /* raw JSON as it came, or empty */
	struct call *call; /* NULL: refused before it became one, see refusal; or, with NDJSON, written already */
	struct answer *refusal;
	bool away;
};

/* All calls of one request. */
struct group {
	struct worker *worker;
	struct request *request;
	struct blob *body;
	bool ndjson;
	size_t away; /* calls not home yet */
	size_t count;
	struct seat seats[];
};

static void group_free(struct group *group)
{
	for (size_t i = 0; i < group->count; i++) {
		if (group->seats[i].call)
			call_free(group->seats[i].call);
		answer_unref(group->seats[i].refusal);
	}
	blob_unref(group->body);
	free(group);
}

/* ---------------------------------------------------------------- writing */

static void put_result(struct buf *out, const struct answer *answer)
{
	if (answer->json) {
		buf_put_text(out, ",\"result\":");
		buf_put(out, answer_body(answer));
		return;
	}
	/* what is no JSON travels as a string, with its type beside it */
	buf_put_text(out, ",\"content_type\":");
	json_put_string(out, slice_of(answer->content_type));
	buf_put_text(out, ",\"result\":");
	json_put_string(out, answer_body(answer));
}

static void put_seat(struct buf *out, const struct group *group, const struct seat *seat)
{
	const struct call *call = seat->call;
	const struct answer *answer = call ? call->answer : seat->refusal;
	assert(answer);
	buf_put_text(out, "{\"id\":");
	buf_put(out, seat->id.len ? seat->id : SLICE("null"));
	buf_put_text(out, ",\"status\":");
	buf_put_u64(out, outcome_status(answer->outcome));
	if (call && call->source != SOURCE_NONE) {
		buf_put_text(out, ",\"cache\":\"");
		buf_put_text(out, source_word(call->source));
		buf_put_char(out, '"');
	}
	if (answer->outcome == OUTCOME_OK) {
		put_result(out, answer);
	} else {
		buf_put_text(out, ",\"error\":");
		problem_put(out, answer, group->request->id, call);
	}
	buf_put_char(out, '}');
}

/* NDJSON: one line now, and its call is not needed any more. False: memory is out, or the client does not read. */
static bool write_line(struct group *group, struct seat *seat)
{
	struct buf line = BUF_INIT(RESULTS_BYTES_MAX);
	put_seat(&line, group, seat);
	buf_put_char(&line, '\n');
	bool fine = !line.failed && request_stream_put(group->request, buf_slice(&line));
	buf_fini(&line);
	if (seat->call)
		call_free(seat->call);
	seat->call = NULL;
	return fine;
}

static void finish(struct group *group)
{
	struct request *request = group->request;
	if (group->ndjson) {
		request_stream_end(request);
	} else {
		struct buf text = BUF_INIT(RESULTS_BYTES_MAX);
		buf_put_text(&text, "{\"results\":[");
		for (size_t i = 0; i < group->count; i++) {
			if (i)
				buf_put_char(&text, ',');
			put_seat(&text, group, &group->seats[i]);
		}
		buf_put_text(&text, "]}\n");
		reply_text(request, 200, "application/json", &text);
	}
	group_free(group);
}

/* ---------------------------------------------------------------- calls */

/* Nobody reads the rest: the calls that are away are of no use. */
static void abandon(struct group *group)
{
	for (size_t i = 0; i < group->count; i++) {
		struct seat *seat = &group->seats[i];
		if (!seat->away)
			continue;
		front_cancel(seat->call);
		seat->call = NULL;
	}
	group_free(group);
}

static void client_left(struct request *request)
{
	abandon(request->waits_for);
}

/* A line could not be kept for the client: an end that looks whole would be a lie, so the connection is cut. */
static void cut_short(struct group *group)
{
	request_stream_abort(group->request);
	abandon(group);
}

static void call_home(struct call *call)
{
	struct group *group = call->context;
	struct seat *seat = &group->seats[call->index];
	seat->away = false;
	group->away--;
	front_count(call);
	front_log_call(call, group->request->id, outcome_status(call->answer->outcome), call->answer->body_len);
	if (group->ndjson && !write_line(group, seat))
		cut_short(group);
	else if (group->away == 0)
		finish(group);
}

static struct answer *item_problem(struct worker *worker, enum reject_reason reason, struct answer *answer)
{
	meter_add(worker->meter, METRIC_ID_REJECTED, reason, 0, 1);
	return answer;
}

struct item {
	struct slice id, tool, arguments; /* raw JSON; empty: not there */
};

/* NULL, or what is wrong with an element of "calls". */
static struct answer *read_item(struct worker *worker, struct slice element, size_t index, struct item *item)
{
	struct slice name, value;
	if (json_type(element) != JSON_OBJECT)
		return item_problem(worker, REJECT_BAD_REQUEST,
				    answer_error(OUTCOME_INVALID_REQUEST, "calls[%zu] must be an object.", index));
	struct json_walk walk = json_walk(element);
	while (json_next_member(&walk, &name, &value)) {
		if (json_string_is(name, SLICE("id")))
			item->id = value;
		else if (json_string_is(name, SLICE("tool")))
			item->tool = value;
		else if (json_string_is(name, SLICE("arguments")))
			item->arguments = value;
		else
			return item_problem(
				worker, REJECT_BAD_REQUEST,
				answer_error(
					OUTCOME_INVALID_REQUEST,
					"calls[%zu] has the unknown member %.*s; id, tool and arguments are known.",
					index, name.len > 60 ? 60 : (int)name.len, name.at));
	}
	if (item->id.len && json_type(item->id) != JSON_STRING && json_type(item->id) != JSON_NUMBER) {
		item->id.len = 0;
		return item_problem(
			worker, REJECT_BAD_REQUEST,
			answer_error(OUTCOME_INVALID_REQUEST, "calls[%zu].id must be a string or a number.", index));
	}
	if (!item->tool.len || json_type(item->tool) != JSON_STRING)
		return item_problem(
			worker, REJECT_BAD_REQUEST,
			answer_error(OUTCOME_INVALID_REQUEST, "calls[%zu].tool must be a tool's name.", index));
	return NULL;
}

/* NULL: *refusal says so. */
static const struct tool *find_tool(struct worker *worker, struct slice raw_name, struct answer **refusal)
{
	struct buf name = BUF_INIT(1024);
	json_unescape(raw_name, &name);
	const struct tool *tool = name.failed ? NULL : catalogue_tool(worker->catalogue, buf_slice(&name));
	if (!tool)
		*refusal = front_unknown_tool(worker, name.failed ? raw_name : buf_slice(&name));
	buf_fini(&name);
	return tool;
}

/* Seat one element: refused, answered from memory, or on its way. */
static void seat_item(struct group *group, size_t index, struct slice element, const struct asker *asker)
{
	struct worker *worker = group->worker;
	struct seat *seat = &group->seats[index];
	struct item item = { 0 };
	seat->refusal = read_item(worker, element, index, &item);
	seat->id = item.id;
	if (seat->refusal)
		return;
	const struct tool *tool = find_tool(worker, item.tool, &seat->refusal);
	if (!tool)
		return;
	struct call *call = call_new(worker);
	if (!call) {
		seat->refusal = answer_error(OUTCOME_OVERLOADED, "The gateway is out of memory.");
		return;
	}
	seat->call = call;
	call->tool = tool;
	call->asker = asker;
	call->arguments = item.arguments.len ? item.arguments : SLICE("{}");
	call->done = call_home;
	call->context = group;
	call->index = index;
	if (call_look_up(call)) {
		front_count(call);
		front_log_call(call, group->request->id, outcome_status(call->answer->outcome), call->answer->body_len);
		return;
	}
	seat->away = true;
	group->away++;
	call_send(call, group->body);
}

/* ---------------------------------------------------------------- the request */

/* The whole body: {"calls": [...]} and nothing else. False: answered. */
static bool find_calls(struct worker *worker, struct request *request, struct slice *calls)
{
	struct slice body = buf_slice(&request->body), name, value;
	/* the wrapper is three deep: the body, its calls, one of them */
	if (!front_check_json(worker, request, &wire_problem, worker->gateway->config->limits.json_depth + 3))
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

static bool wants_lines(const struct request *request)
{
	struct slice accept = request->headers[HEADER_ACCEPT];
	static const char type[] = "application/x-ndjson";
	for (size_t i = 0; i + sizeof type - 1 <= accept.len; i++)
		if (strncasecmp(accept.at + i, type, sizeof type - 1) == 0)
			return true;
	return false;
}

static size_t count_elements(struct slice array)
{
	struct slice element;
	struct json_walk walk = json_walk(array);
	size_t count = 0;
	while (json_next_element(&walk, &element))
		count++;
	return count;
}

/* The head, and a line for each call that has its answer already. False: cut short, and the group is gone. */
static bool start_lines(struct group *group)
{
	struct reply reply;
	reply_init(&reply, 200);
	reply.content_type = "application/x-ndjson";
	reply_header_text(&reply, "X-Request-Id", slice_of(group->request->id));
	request_stream_start(group->request, &reply);
	for (size_t i = 0; i < group->count; i++) {
		if (!group->seats[i].away && !write_line(group, &group->seats[i])) {
			cut_short(group);
			return false;
		}
	}
	return true;
}

void rest_call_many(struct worker *worker, struct request *request, struct slice rest)
{
	struct slice calls, element;
	struct asker asker;
	(void)rest;
	if (!front_body_is_json(worker, request, &wire_problem) ||
	    !front_read_asker(worker, request, &wire_problem, &asker) || !find_calls(worker, request, &calls))
		return;
	size_t count = count_elements(calls);
	if (count > worker->gateway->config->limits.in_flight) {
		front_refuse(worker, request, &wire_problem, REJECT_BAD_REQUEST, OUTCOME_PAYLOAD_TOO_LARGE,
			     "There are more calls in the batch than limits.in_flight allows at once.");
		return;
	}
	size_t calls_at = (size_t)(calls.at - buf_slice(&request->body).at);
	struct group *group = calloc(1, sizeof *group + count * sizeof group->seats[0]);
	struct blob *body = buf_take_blob(&request->body);
	if (!group || !body) {
		free(group);
		blob_unref(body);
		front_refuse_for_memory(worker, request, &wire_problem);
		return;
	}
	group->worker = worker;
	group->request = request;
	group->body = body;
	group->ndjson = wants_lines(request);
	group->count = count;
	struct json_walk walk = json_walk((struct slice){ body->bytes + calls_at, calls.len });
	for (size_t i = 0; json_next_element(&walk, &element); i++)
		seat_item(group, i, element, &asker);
	request->waits_for = group;
	if (group->ndjson && !start_lines(group))
		return;
	if (group->away == 0)
		finish(group);
	else
		request->gone = client_left;
}
