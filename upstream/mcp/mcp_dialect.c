/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mcp_dialect.c: tools of MCP servers over HTTP: their routes. Requests and answers are provider_mcp.c's, because they
 * depend on the session with the server.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "upstream/mcp/param_headers.h"
#include "upstream/mcp/mcp_route.h"

enum { MAX_CALLS = 1000 /* in one array, where arrays are switched on */ };

static bool fill_route(struct mcp_route *route, const struct route_settings *settings)
{
	struct buf name = BUF_INIT(SIZE_MAX / 4);
	size_t headers = 0;
	json_put_string(&name, slice_of(settings->method ? settings->method : settings->tool));
	route->name = buf_take_blob(&name);
	buf_fini(&name);
	if (!route->name)
		return false;
	if (settings->constants && !(route->constants = blob_copy(slice_of(settings->constants))))
		return false;
	if (settings->input_schema && !param_headers_fault(json_trim(slice_of(settings->input_schema)), &headers) &&
	    headers > 0)
		return (route->schema = blob_copy(json_trim(slice_of(settings->input_schema)))) != NULL;
	return true;
}

struct dialect_route *mcp_route_new(const struct dialect *dialect, const struct route_settings *settings,
				    struct dialect_error *error)
{
	if (settings->method && !*settings->method) {
		dialect_refuse(error, "method", "is empty");
		return NULL;
	}
	struct mcp_route *route = calloc(1, sizeof *route);
	if (!route || !fill_route(route, settings)) {
		dialect_no_memory(error);
		mcp_route_free(route ? &route->base : NULL);
		return NULL;
	}
	route->base.dialect = dialect;
	return &route->base;
}

void mcp_route_free(struct dialect_route *base)
{
	if (!base)
		return;
	struct mcp_route *route = container_of(base, struct mcp_route, base);
	blob_unref(route->name);
	blob_unref(route->constants);
	blob_unref(route->schema);
	free(route);
}

static struct dialect_route *route_new(const struct route_settings *settings, struct dialect_error *error)
{
	return mcp_route_new(&dialect_mcp, settings, error);
}

static struct answer *check_call(const struct dialect_route *route, struct slice arguments)
{
	(void)route;
	(void)arguments; /* any object will do; the server knows its schema */
	return NULL;
}

const struct dialect dialect_mcp = {
	.name = "mcp",
	.max_calls = MAX_CALLS,
	.route_new = route_new,
	.route_free = mcp_route_free,
	.check = check_call,
	.lists_tools = true,
};
