/*
 * embeddings.c: POST /v1/embeddings in OpenAI's form. One call per input, so that each is cached by itself, equal ones
 * share a flight, and the batcher cuts and joins as the provider's caps want it; put together again in order. `usage`
 * counts what the provider was asked for on behalf of this request, and nothing twice (docs/embeddings.md).
 */
#include "gateway/rest/embeddings.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "gateway/call/front.h"
#include "gateway/call/reply.h"
#include "gateway/call/worker.h"

enum {
	SETTINGS_BYTES_MAX = 1024, /* all members but the input, since each call carries them */
	REPLY_BYTES_MAX = 512 << 20
};

/* One input. */
struct seat {
	size_t at, len; /* its call's arguments, in group->arguments */
	struct call *call;
	bool away;
};

struct group {
	struct worker *worker;
	struct request *request;
	struct blob *arguments; /* of all calls */
	size_t away;            /* calls not home yet */
	size_t count;
	struct seat seats[];
};

/* What the body asks for: slices of it. */
struct wish {
	struct slice model, input;
	size_t count;        /* inputs */
	struct buf settings; /* all members but the input, each with a comma behind it */
};

static void group_free(struct group *group)
{
	for (size_t i = 0; i < group->count; i++)
		if (group->seats[i].call)
			call_free(group->seats[i].call);
	blob_unref(group->arguments);
	free(group);
}

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
	struct reply reply;
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
	reply_error(request, status, answer->retry_after_s, outcome_word(answer->outcome), answer->detail, said);
}

/* ---------------------------------------------------------------- the answer */

/* What the results of all calls add up to. */
struct sum {
	uint64_t prompt_tokens, total_tokens;
	uint64_t unbilled; /* inputs answered without asking the provider on their behalf */
	bool estimated;
};

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
	struct slice data, element, name, value;
	if (!json_member(result, SLICE("data"), &data))
		return;
	struct json_walk walk = json_walk(data);
	if (!json_next_element(&walk, &element))
		return;
	buf_put_text(out, "{\"index\":");
	buf_put_u64(out, index);
	walk = json_walk(element);
	while (json_next_member(&walk, &name, &value)) {
		if (json_string_is(name, SLICE("index")))
			continue;
		buf_put_char(out, ',');
		buf_put(out, name);
		buf_put_char(out, ':');
		buf_put(out, value);
	}
	buf_put_char(out, '}');
}

static void put_sum(struct buf *out, const struct sum *sum)
{
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

/* True: the usage is not the provider's own. */
static bool put_reply(struct buf *out, const struct group *group)
{
	struct sum sum = { 0 };
	struct slice model;
	buf_put_text(out, "{\"object\":\"list\",\"data\":[");
	for (size_t i = 0; i < group->count; i++) {
		if (i)
			buf_put_char(out, ',');
		put_element(out, answer_body(group->seats[i].call->answer), i);
		add_usage(&sum, group->seats[i].call);
	}
	buf_put_char(out, ']');
	if (json_member(answer_body(group->seats[0].call->answer), SLICE("model"), &model)) {
		buf_put_text(out, ",\"model\":");
		buf_put(out, model);
	}
	put_sum(out, &sum);
	buf_put_char(out, '}');
	return sum.estimated || sum.unbilled;
}

static const struct answer *first_failure(const struct group *group)
{
	for (size_t i = 0; i < group->count; i++)
		if (group->seats[i].call->answer->outcome != OUTCOME_OK)
			return group->seats[i].call->answer;
	return NULL;
}

static void reply_success(const struct group *group)
{
	struct request *request = group->request;
	struct buf text = BUF_INIT(REPLY_BYTES_MAX);
	bool estimated = put_reply(&text, group);
	struct reply reply;
	reply_init(&reply, 200);
	reply_header_text(&reply, "X-Request-Id", slice_of(request->id));
	if (estimated)
		reply_header_text(&reply, "X-Usage-Estimated", SLICE("true"));
	reply_send_text(request, &reply, "application/json", &text);
}

static void finish(struct group *group)
{
	const struct answer *failure = first_failure(group);
	if (failure)
		reply_failure(group->request, failure);
	else
		reply_success(group);
	group_free(group);
}

/* ---------------------------------------------------------------- calls */

static void client_left(struct request *request)
{
	struct group *group = request->waits_for;
	for (size_t i = 0; i < group->count; i++) {
		struct seat *seat = &group->seats[i];
		if (!seat->away)
			continue;
		front_cancel(seat->call);
		seat->call = NULL;
	}
	group_free(group);
}

static void count_call(const struct group *group, const struct call *call)
{
	front_count(call);
	front_log_call(call, group->request->id, outcome_status(call->answer->outcome), call->answer->body_len);
}

static void call_home(struct call *call)
{
	struct group *group = call->context;
	group->seats[call->index].away = false;
	group->away--;
	count_call(group, call);
	if (group->away == 0)
		finish(group);
}

/* Look all of them up before any is sent: there is no way back from sending. False: out of memory. */
static bool make_calls(struct group *group, const struct tool *tool, const struct asker *asker)
{
	for (size_t i = 0; i < group->count; i++) {
		struct seat *seat = &group->seats[i];
		struct call *call = seat->call = call_new(group->worker);
		if (!call)
			return false;
		call->tool = tool;
		call->asker = asker;
		call->arguments = (struct slice){ group->arguments->bytes + seat->at, seat->len };
		call->done = call_home;
		call->context = group;
		call->index = i;
	}
	return true;
}

static void send_calls(struct group *group)
{
	for (size_t i = 0; i < group->count; i++) {
		struct seat *seat = &group->seats[i];
		if (call_look_up(seat->call)) {
			count_call(group, seat->call);
			continue;
		}
		seat->away = true;
		group->away++;
		call_send(seat->call, group->arguments);
	}
}

/* ---------------------------------------------------------------- the request */

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

static size_t count_inputs(struct slice input)
{
	struct slice element;
	struct json_walk walk = json_walk(input);
	size_t count = 0;
	if (!is_list(input))
		return 1;
	while (json_next_element(&walk, &element))
		count++;
	return count;
}

static void read_members(struct slice body, struct wish *wish)
{
	struct slice name, value;
	struct json_walk walk = json_walk(body);
	while (json_next_member(&walk, &name, &value)) {
		if (json_string_is(name, SLICE("input"))) {
			wish->input = value;
			continue;
		}
		if (json_string_is(name, SLICE("model")))
			wish->model = value;
		buf_put(&wish->settings, name);
		buf_put_char(&wish->settings, ':');
		buf_put(&wish->settings, value);
		buf_put_char(&wish->settings, ',');
	}
}

/* False: answered. */
static bool read_wish(struct worker *worker, struct request *request, struct wish *wish)
{
	struct slice body = buf_slice(&request->body);
	if (!front_check_json(worker, request, &wire_openai, worker->gateway->config->limits.json_depth))
		return false;
	if (json_type(json_trim(body)) != JSON_OBJECT)
		return front_refuse(worker, request, &wire_openai, REJECT_BAD_REQUEST, OUTCOME_INVALID_REQUEST,
				    "The body must be an object, {\"model\": ..., \"input\": ...}.");
	read_members(body, wish);
	if (wish->settings.failed)
		return front_refuse(worker, request, &wire_openai, REJECT_BAD_REQUEST, OUTCOME_INVALID_REQUEST,
				    "All members but the input together may have 1024 bytes.");
	if (wish->model.len == 0 || json_type(wish->model) != JSON_STRING)
		return front_refuse(worker, request, &wire_openai, REJECT_BAD_REQUEST, OUTCOME_INVALID_REQUEST,
				    "model: must be a model's name.");
	if (wish->input.len == 0)
		return front_refuse(worker, request, &wire_openai, REJECT_BAD_REQUEST, OUTCOME_INVALID_REQUEST,
				    "input: is missing.");
	wish->count = count_inputs(wish->input);
	if (wish->count > worker->gateway->config->limits.in_flight)
		return front_refuse(worker, request, &wire_openai, REJECT_BAD_REQUEST, OUTCOME_PAYLOAD_TOO_LARGE,
				    "There are more inputs than limits.in_flight allows at once.");
	return true;
}

static void put_arguments(struct buf *out, struct seat *seat, const struct wish *wish, struct slice input)
{
	seat->at = out->len;
	buf_put_char(out, '{');
	buf_put(out, buf_slice(&wish->settings));
	buf_put_text(out, "\"input\":");
	buf_put(out, input);
	buf_put_char(out, '}');
	seat->len = out->len - seat->at;
}

/* NULL: out of memory. */
static struct group *group_new(struct worker *worker, struct request *request, const struct wish *wish)
{
	struct group *group = calloc(1, sizeof *group + wish->count * sizeof group->seats[0]);
	if (!group)
		return NULL;
	group->worker = worker;
	group->request = request;
	group->count = wish->count;
	struct buf arguments = BUF_INIT(SIZE_MAX / 4);
	struct slice element;
	struct json_walk walk = json_walk(wish->input);
	if (!is_list(wish->input))
		put_arguments(&arguments, &group->seats[0], wish, wish->input);
	else
		for (size_t i = 0; json_next_element(&walk, &element); i++)
			put_arguments(&arguments, &group->seats[i], wish, element);
	group->arguments = buf_take_blob(&arguments);
	buf_fini(&arguments);
	if (group->arguments)
		return group;
	group_free(group);
	return NULL;
}

static void serve_wish(struct worker *worker, struct request *request, const struct wish *wish,
		       const struct asker *asker)
{
	const struct tool *tool = find_tool(worker->catalogue, wish->model);
	if (!tool) {
		front_refuse(worker, request, &wire_openai, REJECT_UNKNOWN_TOOL, OUTCOME_UNKNOWN_TOOL,
			     "No tool of this gateway serves embeddings of this model.");
		return;
	}
	struct group *group = group_new(worker, request, wish);
	if (!group || !make_calls(group, tool, asker)) {
		if (group)
			group_free(group);
		front_refuse_for_memory(worker, request, &wire_openai);
		return;
	}
	send_calls(group);
	if (group->away == 0) {
		finish(group);
		return;
	}
	request->waits_for = group;
	request->gone = client_left;
}

void embeddings_serve(struct worker *worker, struct request *request, struct slice rest)
{
	struct asker asker;
	struct wish wish = { .settings = BUF_INIT(SETTINGS_BYTES_MAX) };
	(void)rest;
	if (!front_body_is_json(worker, request, &wire_openai) ||
	    !front_read_asker(worker, request, &wire_openai, &asker))
		return;
	if (read_wish(worker, request, &wish))
		serve_wish(worker, request, &wish, &asker);
	buf_fini(&wish.settings);
}
