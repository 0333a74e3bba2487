/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embeddings.c: POST /v1/embeddings in OpenAI's form. One call per input, so that each is cached by itself, equal ones
 * share a flight, and the batcher cuts and joins as the provider's caps want it; put together again in order. `usage`
 * counts what the provider was asked for on behalf of this request, and nothing twice (docs/embeddings.md).
 */
#include "gateway/rest/embeddings.h"

#include <stdlib.h>

#include "base/json.h"
#include "gateway/call/call_group.h"
#include "gateway/call/front.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"

enum {
	SETTINGS_BYTES_MAX = 1024, /* all members but the input, since each call carries them */
	ARGUMENTS_BYTES_MAX = 1 << 30,
	MODEL_BYTES_MAX = 64 << 10,
	REPLY_BYTES_MAX = 32 << 20 /* of an error */
};

/* What the results of all calls add up to. */
struct sum {
	uint64_t prompt_tokens, total_tokens;
	uint64_t unbilled; /* inputs answered without asking the provider on their behalf */
	bool estimated;
	uint32_t attempts; /* of the input that needed most */
};

/* What the body asks for; `model` and `input` are slices of it. */
struct embeddings {
	struct slice model, input;
	size_t count;                /* inputs */
	struct buf settings;         /* all members but the input, each with a comma behind it */
	struct catalogue *catalogue; /* held: where `tool` is */
	const struct tool *tool;
	struct sum sum;
	struct buf model_text; /* the first result's, whose answer is gone when it is written; or empty */
};

/* ---------------------------------------------------------------- errors */

/* OpenAI's form. `said`: the provider's own error object, or empty. */
static void reply_error(struct request *request, unsigned status, uint32_t retry_after_s, const char *code,
			const char *message, struct slice said)
{
	struct buf text = BUF_INIT(REPLY_BYTES_MAX);
	buf_put_text(&text, "{\"error\":");
	if (said.len) {
		buf_put(&text, said);
	} else {
		buf_put_text(&text, "{\"message\":");
		json_put_string(&text, slice_of(message));
		buf_put_text(&text, ",\"type\":\"");
		buf_put_text(&text, status == 429  ? "rate_limit_error"
				    : status < 500 ? "invalid_request_error"
						   : "server_error");
		buf_put_text(&text, "\",\"param\":null,\"code\":");
		json_put_string(&text, slice_of(code));
		buf_put_char(&text, '}');
	}
	buf_put_char(&text, '}');
	struct reply reply UNCLEARED;
	reply_init(&reply, status);
	reply_header_text(&reply, "X-Request-Id", slice_of(request->id));
	if (retry_after_s)
		reply_header(&reply, "Retry-After", "%u", retry_after_s);
	reply_send_text(request, &reply, "application/json", &text);
}

static void refuse_as_openai_does(struct worker *worker, struct request *request, enum outcome outcome,
				  const char *detail)
{
	const char *code = outcome == OUTCOME_UNKNOWN_TOOL ? "model_not_found" : outcome_word(outcome);
	(void)worker;
	reply_error(request, outcome_status(outcome), outcome == OUTCOME_OVERLOADED, code, detail,
		    (struct slice){ NULL, 0 });
}

const struct wire wire_openai = { refuse_as_openai_does };

/* A refusal that is about the caller's request keeps the provider's status; one that is about the gateway does not. */
static unsigned status_of(const struct answer *answer)
{
	switch (answer->upstream_status) {
	case 400:
	case 404:
	case 413:
	case 422:
		return answer->upstream_status;
	default:
		return outcome_status(answer->outcome);
	}
}

static void reply_failure(struct request *request, const struct answer *answer)
{
	struct slice said = { NULL, 0 };
	unsigned status = status_of(answer);
	if (answer->json && answer->body_len && json_type(json_trim(answer_body(answer))) == JSON_OBJECT)
		json_member(answer_body(answer), SLICE("error"), &said);
	if (said.len && json_type(said) != JSON_OBJECT)
		said.len = 0;
	if (answer->upstream_status == 401 || answer->upstream_status == 403)
		said.len = 0; /* it is about the gateway's key, which is no business of the caller's */
	reply_error(request, status, answer_come_again_s(answer), outcome_word(answer->outcome), answer->detail, said);
}

/* ---------------------------------------------------------------- the answer */

static bool is_billed(enum call_source source)
{
	return source == SOURCE_MISS || source == SOURCE_REQUEST || source == SOURCE_BYPASS;
}

static uint64_t number_member(struct slice object, struct slice name)
{
	struct slice raw;
	uint64_t number = 0;
	if (json_type(object) != JSON_OBJECT || !json_member(object, name, &raw) || !json_u64(raw, &number))
		return 0;
	return number;
}

static void add_usage(struct sum *sum, const struct call *call)
{
	struct slice result = answer_body(call->answer), usage, mark;
	if (!is_billed(call->source)) {
		sum->unbilled++;
		return;
	}
	if (json_member(result, SLICE("usage"), &usage)) {
		sum->prompt_tokens += number_member(usage, SLICE("prompt_tokens"));
		sum->total_tokens += number_member(usage, SLICE("total_tokens"));
	}
	sum->estimated |= json_member(result, SLICE("x_jitney"), &mark);
}

/* The only element of a result's data, as the index-th of ours. */
static void put_element(struct buf *out, struct slice result, size_t index)
{
	static const struct slice index_name = { "index", 5 };
	struct slice data, element;
	if (!json_member(result, SLICE("data"), &data))
		return;
	struct json_walk walk = json_walk(data);
	if (!json_next_element(&walk, &element))
		return;
	buf_put_text(out, "{\"index\":");
	buf_put_u64(out, index);
	json_put_members_except(out, element, &index_name, 1);
	buf_put_char(out, '}');
}

static struct embeddings *embeddings_of(const struct call_group *group)
{
	return group->context;
}

static void put_end(struct call_group *group, struct buf *out)
{
	const struct embeddings *embeddings = embeddings_of(group);
	const struct sum *sum = &embeddings->sum;
	buf_put_char(out, ']');
	if (embeddings->model_text.len) {
		buf_put_text(out, ",\"model\":");
		buf_put(out, buf_slice(&embeddings->model_text));
	}
	buf_put_text(out, ",\"usage\":{\"prompt_tokens\":");
	buf_put_u64(out, sum->prompt_tokens);
	buf_put_text(out, ",\"total_tokens\":");
	buf_put_u64(out, sum->total_tokens);
	buf_put_char(out, '}');
	if (!sum->estimated && !sum->unbilled)
		return;
	buf_put_text(out, ",\"x_jitney\":{\"usage_estimated\":true,\"unbilled_inputs\":");
	buf_put_u64(out, sum->unbilled);
	buf_put_char(out, '}');
}

/* Whether the usage is not the provider's own, and how often the inputs were tried. */
static void put_head(struct call_group *group, struct reply *reply)
{
	const struct sum *sum = &embeddings_of(group)->sum;
	if (sum->estimated || sum->unbilled)
		reply_header_text(reply, "X-Usage-Estimated", SLICE("true"));
	reply_put_attempts(reply, group->worker, sum->attempts);
}

static void put_input(struct call_group *group, struct call_group_item *item, struct buf *out, struct pieces *rest)
{
	(void)rest;
	put_element(out, answer_body(item->call->answer), (size_t)(item - group->items));
}

/* One failure fails the request. */
static bool all_are_good(struct call_group *group)
{
	for (size_t i = 0; i < group->count; i++) {
		const struct answer *answer = call_group_answer(&group->items[i]);
		if (answer->outcome != OUTCOME_OK) {
			reply_failure(group->request, answer);
			return false;
		}
	}
	return true;
}

/* Read while its bytes are at hand: all results at once would hold the worker up. */
static void add_result(struct call_group *group, struct call_group_item *item)
{
	struct embeddings *embeddings = embeddings_of(group);
	struct slice model;
	if (item->call && item->call->facts.attempts > embeddings->sum.attempts)
		embeddings->sum.attempts = item->call->facts.attempts;
	if (!item->call || item->call->answer->outcome != OUTCOME_OK)
		return;
	add_usage(&embeddings->sum, item->call);
	if (item == group->items && json_member(answer_body(item->call->answer), SLICE("model"), &model) &&
	    model.len <= MODEL_BYTES_MAX)
		buf_put(&embeddings->model_text, model);
}

/* ---------------------------------------------------------------- the request */

static const char no_tool[] = "No tool of this gateway serves embeddings of this model.";

static const struct tool *find_tool(const struct catalogue *catalogue, struct slice model)
{
	const struct tool *any = NULL;
	for (size_t i = 0; i < catalogue_count(catalogue); i++) {
		const struct tool *tool = catalogue_nth(catalogue, i);
		if (tool->route->dialect != &dialect_openai_embeddings)
			continue;
		if (tool->model_count == 0 && !any)
			any = tool;
		for (size_t j = 0; j < tool->model_count; j++)
			if (json_string_is(model, slice_of(tool->models[j])))
				return tool;
	}
	return any;
}

/* A list of tokens is one input; any other list is as many as it has elements. */
static bool is_list(struct slice input)
{
	struct slice first;
	struct json_walk walk = json_walk(input);
	return json_type(input) == JSON_ARRAY && json_next_element(&walk, &first) && json_type(first) != JSON_NUMBER;
}

static void read_members(struct slice body, struct embeddings *embeddings)
{
	struct slice name, value;
	struct json_walk walk = json_walk(body);
	while (json_next_member(&walk, &name, &value)) {
		if (json_string_is(name, SLICE("input"))) {
			embeddings->input = value;
			continue;
		}
		if (json_string_is(name, SLICE("model")))
			embeddings->model = value;
		buf_put(&embeddings->settings, name);
		buf_put_char(&embeddings->settings, ':');
		buf_put(&embeddings->settings, value);
		buf_put_char(&embeddings->settings, ',');
	}
}

/* False: answered. */
static bool read_body(struct worker *worker, struct request *request, struct embeddings *embeddings)
{
	struct slice body = buf_slice(&request->body);
	if (!front_check_json(worker, request, &wire_openai, worker_generation(worker)->limits.json_depth))
		return false;
	if (json_type(json_trim(body)) != JSON_OBJECT)
		return front_refuse(worker, request, &wire_openai, REJECT_BAD_REQUEST, OUTCOME_INVALID_REQUEST,
				    "The body must be an object, {\"model\": ..., \"input\": ...}.");
	read_members(body, embeddings);
	if (embeddings->settings.failed)
		return front_refuse(worker, request, &wire_openai, REJECT_BAD_REQUEST, OUTCOME_INVALID_REQUEST,
				    "All members but the input together may have 1024 bytes.");
	if (embeddings->model.len == 0 || json_type(embeddings->model) != JSON_STRING)
		return front_refuse(worker, request, &wire_openai, REJECT_BAD_REQUEST, OUTCOME_INVALID_REQUEST,
				    "model: must be a model's name.");
	if (embeddings->input.len == 0)
		return front_refuse(worker, request, &wire_openai, REJECT_BAD_REQUEST, OUTCOME_INVALID_REQUEST,
				    "input: is missing.");
	embeddings->count = is_list(embeddings->input) ? json_count(embeddings->input) : 1;
	if (embeddings->count > worker_generation(worker)->limits.in_flight)
		return front_refuse(worker, request, &wire_openai, REJECT_BAD_REQUEST, OUTCOME_PAYLOAD_TOO_LARGE,
				    "There are more inputs than limits.in_flight allows at once.");
	return true;
}

/* The tool of the catalogue of today: it may have become another one since the request began. */
static const struct tool *tool_of_today(struct call_group *group)
{
	struct embeddings *embeddings = embeddings_of(group);
	struct worker *worker = group->worker;
	if (embeddings->catalogue != worker_catalogue(worker)) {
		worker_drop_catalogue(worker, embeddings->catalogue);
		embeddings->catalogue = worker_hold_catalogue(worker);
		embeddings->tool = find_tool(worker_catalogue(worker), embeddings->model);
	}
	return embeddings->tool;
}

/* Each call carries its own arguments: the settings and one input. */
static void begin_input(struct call_group *group, struct call_group_item *item)
{
	const struct tool *tool = tool_of_today(group);
	struct buf arguments = BUF_INIT(ARGUMENTS_BYTES_MAX);
	buf_put_char(&arguments, '{');
	buf_put(&arguments, buf_slice(&embeddings_of(group)->settings));
	buf_put_text(&arguments, "\"input\":");
	buf_put(&arguments, item->text);
	buf_put_char(&arguments, '}');
	struct blob *body = buf_take_blob(&arguments);
	buf_fini(&arguments);
	if (!body)
		call_group_refuse(item, answer_no_memory());
	else if (!tool)
		call_group_refuse(item, answer_error(OUTCOME_UNKNOWN_TOOL, "%s", no_tool));
	else
		call_group_call(group, item, tool, &group->caller, blob_slice(body), body);
	blob_unref(body);
}

static void free_context(struct embeddings *embeddings, const struct worker *worker)
{
	worker_drop_catalogue(worker, embeddings->catalogue);
	buf_fini(&embeddings->settings);
	buf_fini(&embeddings->model_text);
	free(embeddings);
}

static void free_group_context(struct call_group *group)
{
	free_context(embeddings_of(group), group->worker);
}

static const struct call_group_kind together = {
	.order = GROUP_TOGETHER,
	.copies = 1,
	.content_type = "application/json",
	.opening = "{\"object\":\"list\",\"data\":[",
	.between = ",",
	.closing = "}",
	.begin = begin_input,
	.put = put_input,
	.put_head = put_head,
	.put_end = put_end,
	.item_done = add_result,
	.all_done = all_are_good,
	.free_context = free_group_context,
};

/* False: answered. */
static bool start_group(struct worker *worker, struct request *request, struct embeddings *embeddings)
{
	struct caller caller;
	if (!front_read_caller(worker, request, &wire_openai, &caller) || !read_body(worker, request, embeddings))
		return false;
	embeddings->tool = find_tool(worker_catalogue(worker), embeddings->model);
	if (!embeddings->tool)
		return front_refuse(worker, request, &wire_openai, REJECT_UNKNOWN_TOOL, OUTCOME_UNKNOWN_TOOL, "%s",
				    no_tool);
	struct slice body = buf_slice(&request->body);
	size_t model_at = (size_t)(embeddings->model.at - body.at);
	struct call_group *group = call_group_new(worker, request, &together, &caller, embeddings->input,
						  !is_list(embeddings->input), embeddings->count, embeddings);
	if (!group)
		return front_refuse_for_memory(worker, request, &wire_openai);
	embeddings->model.at = group->body->bytes + model_at;
	call_group_start(group);
	return true;
}

void embeddings_serve(struct worker *worker, struct request *request, struct slice rest)
{
	(void)rest;
	if (!front_body_is_json(worker, request, &wire_openai))
		return;
	struct embeddings *embeddings = calloc(1, sizeof *embeddings);
	if (!embeddings) {
		front_refuse_for_memory(worker, request, &wire_openai);
		return;
	}
	embeddings->catalogue = worker_hold_catalogue(worker);
	buf_init(&embeddings->settings, SETTINGS_BYTES_MAX);
	buf_init(&embeddings->model_text, MODEL_BYTES_MAX);
	if (!start_group(worker, request, embeddings))
		free_context(embeddings, worker);
}
