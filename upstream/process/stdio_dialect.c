/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stdio_dialect.c: calls as lines for a child process: JSON-RPC 2.0 with a method of its own for each tool
 * (jsonrpc-stdio), or MCP's tools/call (mcp-stdio). Answers come line by line, to member.c.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "upstream/dialects/dialect.h"
#include "upstream/dialects/template.h"
#include "upstream/mcp/mcp_message.h"
#include "upstream/upstream.h"

enum { MAX_CALLS = 1000 };

struct stdio_route {
	struct dialect_route base;
	struct blob *name; /* the method, or the server's name of the tool: a JSON string */
	char *constants;   /* or NULL */
};

static void stdio_route_free(struct dialect_route *base)
{
	if (!base)
		return;
	struct stdio_route *route = container_of(base, struct stdio_route, base);
	blob_unref(route->name);
	free(route->constants);
	free(route);
}

static struct dialect_route *new_route(const struct dialect *dialect, const struct route_settings *settings,
				       struct dialect_error *error)
{
	struct slice name = slice_of(settings->method ? settings->method : settings->tool);
	struct buf raw = BUF_INIT(SIZE_MAX / 4);
	if (name.len == 0) {
		dialect_refuse(error, "method", "is empty");
		return NULL;
	}
	struct stdio_route *route = calloc(1, sizeof *route);
	json_put_string(&raw, name);
	if (route && (route->name = buf_take_blob(&raw)) &&
	    (!settings->constants || (route->constants = strdup(settings->constants)))) {
		route->base.dialect = dialect;
		return &route->base;
	}
	dialect_no_memory(error);
	buf_fini(&raw);
	stdio_route_free(route ? &route->base : NULL);
	return NULL;
}

static struct dialect_route *jsonrpc_stdio_route_new(const struct route_settings *settings, struct dialect_error *error)
{
	return new_route(&dialect_jsonrpc_stdio, settings, error);
}

static struct dialect_route *mcp_stdio_route_new(const struct route_settings *settings, struct dialect_error *error)
{
	return new_route(&dialect_mcp_stdio, settings, error);
}

static struct answer *stdio_check(const struct dialect_route *route, struct slice arguments)
{
	(void)route;
	(void)arguments; /* any object can be sent */
	return NULL;
}

static void put_jsonrpc(struct buf *body, const struct stdio_route *route, struct slice arguments, uint64_t id)
{
	buf_put(body, SLICE("{\"jsonrpc\":\"2.0\",\"id\":"));
	buf_put_u64(body, id);
	buf_put(body, SLICE(",\"method\":"));
	buf_put(body, blob_slice(route->name));
	buf_put(body, SLICE(",\"params\":"));
	dialect_put_arguments(body, route->constants, arguments);
	buf_put_char(body, '}');
}

static void put_mcp(struct buf *body, const struct stdio_route *route, const struct upstream_call *call, uint64_t id,
		    enum mcp_era era)
{
	struct buf all = BUF_INIT(SIZE_MAX / 4);
	struct slice arguments = call->arguments;
	if (route->constants) {
		dialect_put_arguments(&all, route->constants, arguments);
		body->failed |= all.failed;
		arguments = buf_slice(&all);
	}
	const struct mcp_trace trace = { call->traceparent, call->tracestate };
	mcp_put_tools_call(body, era, id, blob_slice(route->name), arguments, trace, call->asks);
	buf_fini(&all);
}

bool dialect_put_line(const struct upstream_call *call, uint64_t id, enum mcp_era era, struct buf *body)
{
	const struct stdio_route *route = container_of(call->route, struct stdio_route, base);
	size_t start = body->len;
	if (route->base.dialect == &dialect_mcp_stdio)
		put_mcp(body, route, call, id, era);
	else
		put_jsonrpc(body, route, call->arguments, id);
	template_keep_line(body, start); /* a line ends at its end only */
	buf_put_char(body, '\n');
	return !body->failed;
}

static bool stdio_encode(const struct upstream_call *calls, size_t count, uint64_t first_id,
			 struct encoded_request *request)
{
	for (size_t i = 0; i < count; i++)
		if (!dialect_put_line(&calls[i], first_id + i, MCP_LEGACY, &request->body))
			return false;
	return true;
}

/* No decoder: nothing of this goes over HTTP. */
const struct dialect dialect_jsonrpc_stdio = {
	.name = "jsonrpc-stdio",
	.max_calls = MAX_CALLS,
	.route_new = jsonrpc_stdio_route_new,
	.route_free = stdio_route_free,
	.check = stdio_check,
	.encode = stdio_encode,
};

const struct dialect dialect_mcp_stdio = {
	.name = "mcp-stdio",
	.max_calls = MAX_CALLS,
	.route_new = mcp_stdio_route_new,
	.route_free = stdio_route_free,
	.check = stdio_check,
	.encode = stdio_encode,
	.lists_tools = true,
};
