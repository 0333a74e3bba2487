/* SPDX-License-Identifier: Apache-2.0 */
/* tools_list.c: what a client asks before it calls: initialize, server/discover, tools/list. */
#include <openssl/evp.h>

#include "base/json.h"
#include "gateway/call/await_lists.h"
#include "gateway/tools/catalogue.h"
#include "gateway/mcp/mcp_private.h"
#include "gateway/call/world.h"

enum {
	/* Widely used clients read the first page only, so it holds what a gateway usually has. */
	PAGE_TOOLS = 500,
	NAME_BYTES = 129, /* of a tool, NUL included */
	CURSOR_BYTES = 256
};

/* What the servers behind say of the use of their tools: of those that have been listed by now. */
static void put_instructions(struct buf *out, const struct worker *worker)
{
	struct slice instructions = catalogue_instructions(worker_catalogue(worker));
	if (!instructions.len)
		return;
	buf_put_text(out, ",\"instructions\":");
	buf_put(out, instructions);
}

void mcp_reply_initialize(struct buf *out, const struct worker *worker, const struct mcp_request *asked)
{
	struct buf proposed = BUF_INIT(NAME_BYTES), result = BUF_INIT(MCP_REPLY_BYTES_MAX);
	if (asked->proposed.len && json_type(asked->proposed) == JSON_STRING)
		json_unescape(asked->proposed, &proposed);
	bool known = !proposed.failed && mcp_version_known(buf_slice(&proposed));
	buf_printf(&result,
		   "{\"protocolVersion\":\"%s\",\"capabilities\":{\"tools\":{},\"logging\":{}},\"serverInfo\":%s",
		   known ? buf_cstr(&proposed) : MCP_VERSION_LEGACY, MCP_SERVER_INFO);
	if (worker)
		put_instructions(&result, worker);
	buf_put_char(&result, '}');
	if (result.failed)
		out->failed = true;
	else
		mcp_reply_result(out, asked->id, MCP_LEGACY, buf_slice(&result));
	buf_fini(&proposed);
	buf_fini(&result);
}

/* What tells a modern client how long it may keep an answer; members follow. The list is the same for everybody. */
static void put_lifetime(struct buf *out, const struct worker *worker)
{
	buf_printf(out, "\"ttlMs\":%llu,\"cacheScope\":\"public\",",
		   (unsigned long long)(worker_generation(worker)->mcp.list_ttl_us / CLOCK_US_PER_MS));
}

void mcp_reply_discover(struct buf *out, const struct worker *worker, const struct mcp_request *asked)
{
	struct buf result = BUF_INIT(MCP_REPLY_BYTES_MAX);
	buf_put_char(&result, '{');
	put_lifetime(&result, worker);
	buf_put_text(&result, "\"supportedVersions\":[\"" MCP_VERSION_MODERN
			      "\"],\"capabilities\":{\"tools\":{\"listChanged\":true},\"logging\":{}}");
	put_instructions(&result, worker);
	buf_put_char(&result, '}');
	if (result.failed)
		out->failed = true;
	else
		mcp_reply_result(out, asked->id, MCP_MODERN, buf_slice(&result));
	buf_fini(&result);
}

/* ---------------------------------------------------------------- pages */

/* A cursor is the name of the last tool of the page before: it stays good when tools come and go. */
static void put_cursor(struct buf *out, const char *name)
{
	unsigned char text[CURSOR_BYTES];
	EVP_EncodeBlock(text, (const unsigned char *)name, (int)strlen(name));
	buf_printf(out, "\"nextCursor\":\"%s\",", (const char *)text);
}

/* The place of the first tool behind the cursor. False: it is none of ours. */
static bool find_page(const struct catalogue *catalogue, struct slice raw, size_t *first)
{
	struct buf text = BUF_INIT(CURSOR_BYTES), name = BUF_INIT(NAME_BYTES);
	size_t low = 0, high = catalogue_count(catalogue);
	bool ok = json_type(raw) == JSON_STRING;
	if (ok) {
		json_unescape(raw, &text);
		ok = !text.failed && text.len && mcp_from_base64(buf_slice(&text), &name) && name.len;
	}
	while (ok && low < high) {
		size_t middle = low + (high - low) / 2;
		if (strcmp(catalogue_nth(catalogue, middle)->name, buf_cstr(&name)) > 0)
			high = middle;
		else
			low = middle + 1;
	}
	*first = low;
	buf_fini(&text);
	buf_fini(&name);
	return ok;
}

bool mcp_put_tools(struct buf *out, struct pieces *rest, const struct worker *worker, enum mcp_era era,
		   const struct mcp_request *asked, struct mcp_error *error)
{
	const struct catalogue *catalogue = worker_catalogue(worker);
	const struct definitions *definitions = catalogue_definitions(catalogue);
	size_t first = 0, count = catalogue_count(catalogue);
	if (asked->cursor.len && !find_page(catalogue, asked->cursor, &first)) {
		mcp_error_set(error, 200, MCP_INVALID_PARAMS, OUTCOME_INVALID_REQUEST,
			      "params.cursor is not one that tools/list has given (nextCursor).");
		return false;
	}
	size_t last = count - first > PAGE_TOOLS ? first + PAGE_TOOLS : count;
	mcp_reply_head(out, asked->id);
	buf_put_text(out, mcp_own_result(era));
	if (era == MCP_MODERN)
		put_lifetime(out, worker);
	if (last < count)
		put_cursor(out, catalogue_nth(catalogue, last - 1)->name);
	buf_put_text(out, "\"tools\":[");
	rest->keeps = blob_ref(definitions_list(definitions, FORMAT_MCP)->blob);
	pieces_put(rest, definitions_mcp_range(definitions, first, last));
	pieces_put_text(rest, "]}}");
	return true;
}

static bool awaits_lists(struct worker *worker, struct request *request, const struct caller *caller, struct slice text)
{
	struct mcp_request asked;
	struct buf name = BUF_INIT(NAME_BYTES);
	bool waits = false;
	if (json_type(text) != JSON_OBJECT || mcp_request_read(text, &asked).code || asked.kind != MCP_ASKS)
		return false;
	struct lists_awaited awaited = { .timeout_us = caller->timeout_us };
	if (asked.method == MCP_METHOD_TOOLS_CALL && asked.name.len && json_type(asked.name) == JSON_STRING) {
		json_unescape(asked.name, &name);
		awaited.tool = buf_slice(&name);
		waits = awaited.tool.len && !name.failed && !catalogue_tool(worker_catalogue(worker), awaited.tool);
	}
	waits |= asked.method == MCP_METHOD_TOOLS_LIST;
	waits = waits && lists_await(worker, request, &awaited, mcp_serve, SLICE(""));
	buf_fini(&name);
	return waits;
}

bool mcp_await_lists(struct worker *worker, struct request *request, const struct caller *caller)
{
	struct slice body = json_trim(buf_slice(&request->body)), element;
	struct json_walk walk = json_walk(body);
	if (lists_known(worker))
		return false;
	if (json_type(body) != JSON_ARRAY)
		return awaits_lists(worker, request, caller, body);
	while (json_next_element(&walk, &element))
		if (awaits_lists(worker, request, caller, element))
			return true;
	return false;
}

const struct tool *mcp_find_tool(const struct worker *worker, struct slice raw_name, struct mcp_error *error)
{
	if (raw_name.len == 0 || json_type(raw_name) != JSON_STRING) {
		mcp_error_set(error, 200, MCP_INVALID_PARAMS, OUTCOME_INVALID_REQUEST,
			      "params.name must be the name of a tool.");
		return NULL;
	}
	struct buf name = BUF_INIT(NAME_BYTES);
	json_unescape(raw_name, &name);
	const struct tool *tool = name.failed ? NULL : catalogue_tool(worker_catalogue(worker), buf_slice(&name));
	unsigned upstream;
	bool awaited = !tool && !name.failed && lists_may_hold(worker, buf_slice(&name), &upstream);
	buf_fini(&name);
	if (awaited) {
		const char *why = catalogue_status(worker_catalogue(worker), upstream).why;
		mcp_error_set(error, 200, 503, OUTCOME_UPSTREAM_UNAVAILABLE,
			      "%s: it has not said yet which tools it has%s%.150s",
			      worker_generation(worker)->upstreams[upstream].settings.name, *why ? ": " : "", why);
		error->retry_after_s = 1;
	} else if (!tool)
		mcp_error_set(error, 200, MCP_INVALID_PARAMS, OUTCOME_UNKNOWN_TOOL,
			      "Unknown tool: %.*s; tools/list has those there are.",
			      raw_name.len > 80 ? 80 : (int)raw_name.len, raw_name.at);
	return tool;
}
