/* SPDX-License-Identifier: Apache-2.0 */
/* message.c: one JSON-RPC message of a client, read in one walk over each of its objects. */
#include "gateway/mcp/message.h"

#include "base/json.h"
#include "base/mcp.h"

static const struct {
	struct slice word;
	enum mcp_method method;
} methods[] = {
#define X(name, word) { { word, sizeof(word) - 1 }, MCP_METHOD_##name },
	MCP_METHODS(X)
#undef X
};

static const struct mcp_fault no_fault;

static struct mcp_fault refuse_invalid(const char *what)
{
	return (struct mcp_fault){ MCP_INVALID_REQUEST, what };
}

static enum mcp_method method_by_name(struct slice raw)
{
	/* the last words of the table stand for what has no method of its own */
	for (size_t i = 0; i < MCP_METHOD_NOTIFICATIONS; i++)
		if (json_string_is(raw, methods[i].word))
			return methods[i].method;
	return MCP_METHOD_OTHER;
}

static void read_meta(struct slice meta, struct mcp_request *asked)
{
	struct slice name, value;
	struct json_walk walk = json_walk(meta);
	asked->has_meta = true;
	while (json_next_member(&walk, &name, &value)) {
		if (json_string_is(name, SLICE("io.modelcontextprotocol/protocolVersion")))
			asked->version = value;
		else if (json_string_is(name, SLICE("io.modelcontextprotocol/clientCapabilities")))
			asked->capabilities = value;
		else if (json_string_is(name, SLICE("io.modelcontextprotocol/clientInfo")))
			asked->client = value;
		else if (json_string_is(name, SLICE("io.modelcontextprotocol/logLevel")))
			asked->log_level = value;
		else if (json_string_is(name, SLICE("progressToken")))
			asked->token = value;
		else if (json_string_is(name, SLICE("traceparent")))
			asked->traceparent = value;
		else if (json_string_is(name, SLICE("tracestate")))
			asked->tracestate = value;
	}
}

static void read_params(struct slice params, struct mcp_request *asked)
{
	struct slice name, value;
	struct json_walk walk = json_walk(params);
	while (json_next_member(&walk, &name, &value)) {
		if (json_string_is(name, SLICE("name")))
			asked->name = value;
		else if (json_string_is(name, SLICE("arguments")))
			asked->arguments = value;
		else if (json_string_is(name, SLICE("cursor")))
			asked->cursor = value;
		else if (json_string_is(name, SLICE("notifications")))
			asked->wanted = value;
		else if (json_string_is(name, SLICE("protocolVersion")))
			asked->proposed = value;
		else if (json_string_is(name, SLICE("level")))
			asked->level = value;
		else if (json_string_is(name, SLICE("clientInfo")))
			asked->introduced = value;
		else if (json_string_is(name, SLICE("_meta")) && json_type(value) == JSON_OBJECT)
			read_meta(value, asked);
	}
}

/* The members that every message has. */
struct envelope {
	struct slice version, id, method, params;
	bool result;
};

static void read_envelope(struct slice text, struct envelope *envelope)
{
	struct slice name, value;
	struct json_walk walk = json_walk(text);
	while (json_next_member(&walk, &name, &value)) {
		if (json_string_is(name, SLICE("jsonrpc")))
			envelope->version = value;
		else if (json_string_is(name, SLICE("id")))
			envelope->id = value;
		else if (json_string_is(name, SLICE("method")))
			envelope->method = value;
		else if (json_string_is(name, SLICE("params")))
			envelope->params = value;
		else if (json_string_is(name, SLICE("result")) || json_string_is(name, SLICE("error")))
			envelope->result = true;
	}
}

static struct mcp_fault read_id(struct slice id, struct mcp_request *asked)
{
	if (id.len == 0)
		return no_fault;
	if (json_type(id) != JSON_STRING && json_type(id) != JSON_NUMBER)
		return refuse_invalid("\"id\" must be a string or a number.");
	if (id.len > MCP_ID_BYTES)
		return refuse_invalid("\"id\" is longer than 256 bytes.");
	asked->id = id;
	return no_fault;
}

struct mcp_fault mcp_request_read(struct slice text, struct mcp_request *asked)
{
	struct envelope envelope = { 0 };
	*asked = (struct mcp_request){ .method = MCP_METHOD_OTHER };
	if (json_type(text) != JSON_OBJECT)
		return refuse_invalid(
			"A message is a JSON object, {\"jsonrpc\": \"2.0\", \"id\", \"method\", \"params\"}.");
	read_envelope(text, &envelope);
	struct mcp_fault fault = read_id(envelope.id, asked);
	if (fault.code)
		return fault;
	if (envelope.version.len == 0 || !json_string_is(envelope.version, SLICE("2.0")))
		return refuse_invalid("\"jsonrpc\" must be \"2.0\".");
	if (envelope.method.len == 0 && envelope.result) {
		asked->kind = MCP_REPLIES;
		asked->method = MCP_METHOD_RESPONSES;
		return no_fault;
	}
	if (envelope.method.len == 0 || json_type(envelope.method) != JSON_STRING)
		return refuse_invalid("\"method\" must be a string.");
	if (envelope.method.len > MCP_METHOD_BYTES)
		return refuse_invalid("\"method\" is longer than 128 bytes.");
	asked->raw_method = envelope.method;
	asked->kind = asked->id.len ? MCP_ASKS : MCP_TELLS;
	asked->method = asked->id.len ? method_by_name(envelope.method) : MCP_METHOD_NOTIFICATIONS;
	if (envelope.params.len == 0)
		return no_fault;
	if (json_type(envelope.params) != JSON_OBJECT)
		return (struct mcp_fault){ MCP_INVALID_PARAMS, "\"params\" must be an object." };
	read_params(envelope.params, asked);
	return no_fault;
}
