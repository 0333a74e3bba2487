/* SPDX-License-Identifier: Apache-2.0 */
/* whose_mcp.c: see the header. */
#include "tests/support/whose_mcp.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"

enum { WORDS = 4096 };

static unsigned *seed;

static unsigned roll(unsigned sides)
{
	return (unsigned)rand_r(seed) % sides;
}

void whose_mcp_begin(unsigned *the_seed)
{
	seed = the_seed;
}

static void say(struct http_exchange *exchange, unsigned status, struct slice body)
{
	if (body.len)
		wire_grow(exchange, status, body);
	else
		wire_status(exchange, status);
	wire_end(exchange, EXCHANGE_COMPLETE);
}

static bool is_method(struct slice method, const char *name)
{
	return json_string_is(method, slice_of(name));
}

static void put_tool(struct buf *out, const char *name, bool reads)
{
	buf_printf(out,
		   "{\"name\":\"%s\",\"description\":\"Number %u.\",\"inputSchema\":{\"type\":\"object\"},"
		   "\"annotations\":{\"readOnlyHint\":%s}}",
		   name, roll(3), reads ? "true" : "false");
}

/* What is listed changes from time to time; what callers use stays. */
static void put_tools(struct buf *out)
{
	buf_put_text(out, "{\"tools\":[");
	put_tool(out, "get", true);
	buf_put_char(out, ',');
	put_tool(out, "all", true);
	buf_put_char(out, ',');
	put_tool(out, "put", false);
	if (roll(2)) {
		buf_put_char(out, ',');
		put_tool(out, "more", roll(2));
	}
	buf_put_text(out, "]}");
}

static void put_result(struct buf *out, struct slice method)
{
	if (is_method(method, "initialize"))
		buf_put_text(out, "{\"protocolVersion\":\"2025-03-26\",\"capabilities\":{\"tools\":{}},\"serverInfo\":"
				  "{\"name\":\"s\",\"version\":\"1\"}}");
	else if (is_method(method, "tools/list"))
		put_tools(out);
	else
		buf_put_text(out, "{}");
}

bool whose_mcp_control(struct http_exchange *exchange, const struct heard *heard)
{
	struct slice body = buf_slice(&exchange->body), method, id;
	struct buf out = BUF_INIT(WORDS);
	if (heard->count)
		return false;
	if (!body.len || !json_member(body, SLICE("method"), &method)) {
		say(exchange, 405, (struct slice){ NULL, 0 }); /* no stream of its own */
		return true;
	}
	if (!json_member(body, SLICE("id"), &id)) {
		say(exchange, 202, (struct slice){ NULL, 0 });
		return true;
	}
	if (is_method(method, "initialize") && roll(3))
		wire_session(exchange, "session");
	buf_printf(&out, "{\"jsonrpc\":\"2.0\",\"id\":%.*s,\"result\":", SLICE_ARG(id));
	put_result(&out, method);
	buf_put_char(&out, '}');
	say(exchange, 200, buf_slice(&out));
	buf_fini(&out);
	return true;
}

bool whose_mcp_refuses(struct http_exchange *exchange, const struct heard *heard)
{
	unsigned what = roll(60);
	if (what > 1 || (what == 1 && heard->count == 1))
		return false;
	say(exchange, what ? 400 : 404,
	    SLICE("{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,\"message\":\"no\"}}"));
	return true;
}

/* Each message an event, the whole array one, or plain JSON. */
void whose_mcp_dress(struct http_exchange *exchange, struct buf *body)
{
	struct buf events = BUF_INIT(SIZE_MAX / 4);
	struct slice all = buf_slice(body), element;
	if (roll(2))
		return;
	wire_content_type(exchange, "text/event-stream");
	if (all.at[0] == '[') {
		struct json_walk walk = json_walk(all);
		while (json_next_element(&walk, &element))
			buf_printf(&events, "data: %.*s\n\n", SLICE_ARG(element));
	} else {
		buf_printf(&events, ": hello\ndata: %.*s\r\n\r\n", SLICE_ARG(all));
	}
	buf_reset(body);
	buf_put(body, buf_slice(&events));
	buf_fini(&events);
}
