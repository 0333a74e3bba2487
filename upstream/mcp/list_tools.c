/* SPDX-License-Identifier: Apache-2.0 */
/* list_tools.c: tools/list, page by page. */
#include "upstream/mcp/list_tools.h"

#include <stdio.h>

#include "base/clock.h"
#include "upstream/mcp/param_headers.h"

enum { CURSOR_BYTES = 64 * 1024 };
#define SETTLE_US (100 * CLOCK_US_PER_MS) /* servers say list_changed in bursts */
#define GAP_MAX_US (10 * CLOCK_US_PER_S)
#define TTL_MIN_US (5 * CLOCK_US_PER_S) /* a server's ttlMs may not make us ask more often */
#define RETRY_US (2 * CLOCK_US_PER_S)   /* after a failure; doubled with each, up to the refresh, or */
#define RETRY_MAX_US (30 * CLOCK_US_PER_S)
#define CALM_GAPS 4                      /* after so many gaps without a word it is a calm server again */
#define CALM_MIN_US (8 * CLOCK_US_PER_S) /* but not sooner: each list is held by the calls that began with it */

uint64_t mcp_list_limiter_due(const struct mcp_list_limiter *limiter, uint64_t now_us)
{
	uint64_t soon_us = clock_add(now_us, SETTLE_US);
	uint64_t allowed_us = limiter->asked_us ? clock_add(limiter->asked_us, limiter->gap_us) : 0;
	return soon_us > allowed_us ? soon_us : allowed_us;
}

void mcp_list_limiter_asked(struct mcp_list_limiter *limiter, uint64_t now_us)
{
	uint64_t calm_us = CALM_GAPS * limiter->gap_us > CALM_MIN_US ? CALM_GAPS * limiter->gap_us : CALM_MIN_US;
	bool calm = !limiter->asked_us || now_us >= clock_add(limiter->asked_us, calm_us);
	limiter->gap_us = calm ? SETTLE_US : 2 * limiter->gap_us;
	if (limiter->gap_us > GAP_MAX_US)
		limiter->gap_us = GAP_MAX_US;
	limiter->asked_us = now_us;
}

uint64_t mcp_list_refresh_us(uint64_t refresh_us, uint64_t ttl_ms)
{
	uint64_t wait_us = refresh_us ? refresh_us : UINT64_MAX;
	uint64_t ttl_us = ttl_ms < UINT64_MAX / CLOCK_US_PER_MS ? ttl_ms * CLOCK_US_PER_MS : UINT64_MAX;
	if (ttl_us == 0 ||
	    ttl_us >= wait_us) /* 0 means that it may change at any time, not that we should ask for ever */
		return wait_us;
	return ttl_us < TTL_MIN_US ? TTL_MIN_US : ttl_us;
}

uint64_t mcp_list_retry_us(uint64_t refresh_us, unsigned failures)
{
	uint64_t wait_us = RETRY_US, most_us = RETRY_MAX_US;
	if (refresh_us && refresh_us < most_us)
		most_us = refresh_us;
	while (failures-- > 1 && wait_us < most_us)
		wait_us *= 2;
	return wait_us < most_us ? wait_us : most_us;
}

void mcp_tools_init(struct mcp_tools *tools, size_t max_bytes, bool param_headers)
{
	*tools = (struct mcp_tools){ .param_headers = param_headers, .ttl_ms = UINT64_MAX };
	buf_init(&tools->list, max_bytes);
	buf_init(&tools->cursor, CURSOR_BYTES);
	buf_init(&tools->earlier, CURSOR_BYTES);
	buf_put_char(&tools->list, '[');
}

void mcp_tools_fini(struct mcp_tools *tools)
{
	buf_fini(&tools->list);
	buf_fini(&tools->cursor);
	buf_fini(&tools->earlier);
}

/* NULL: it can be used. */
static const char *tool_fault(const struct mcp_tools *tools, struct slice tool)
{
	struct slice name, schema, execution, support;
	size_t count;
	if (json_type(tool) != JSON_OBJECT || !json_member(tool, SLICE("name"), &name) ||
	    json_type(name) != JSON_STRING || name.len <= 2)
		return "a tool without a name";
	if (json_member(tool, SLICE("execution"), &execution) && json_type(execution) == JSON_OBJECT &&
	    json_member(execution, SLICE("taskSupport"), &support) && json_type(support) == JSON_STRING &&
	    json_string_is(support, SLICE("required")))
		return "it can only be called as a task";
	if (tools->param_headers && json_member(tool, SLICE("inputSchema"), &schema))
		return param_headers_fault(schema, &count);
	return NULL;
}

static void take_tools(struct mcp_tools *tools, struct slice array)
{
	struct slice tool;
	struct json_walk walk = json_walk(array);
	while (tools->count <= MCP_TOOLS_MAX && json_next_element(&walk, &tool)) {
		const char *fault = tool_fault(tools, tool);
		if (fault) {
			tools->dropped++;
			tools->why_dropped = fault;
			continue;
		}
		if (tools->count++)
			buf_put_char(&tools->list, ',');
		buf_put(&tools->list, tool);
	}
}

static void take_ttl(struct mcp_tools *tools, struct slice raw)
{
	uint64_t ms;
	if (raw.len && json_type(raw) == JSON_NUMBER && json_u64(raw, &ms) && ms < tools->ttl_ms)
		tools->ttl_ms = ms;
}

static enum mcp_page refuse_list(struct mcp_tools *tools, const char *what)
{
	snprintf(tools->why, sizeof tools->why, "%s", what);
	return MCP_PAGE_BAD;
}

/* The server answers that it cannot: in its own words. */
static enum mcp_page take_refusal(struct mcp_tools *tools, const struct mcp_message *answer)
{
	struct buf said = BUF_INIT(SIZE_MAX / 4);
	mcp_error_put_text(answer, &said);
	snprintf(tools->why, sizeof tools->why, "tools/list: the server answered with error %d: %.150s",
		 mcp_error_code(answer), said.len && !said.failed ? buf_cstr(&said) : "no message");
	buf_fini(&said);
	return MCP_PAGE_BAD;
}

static void keep_cursor(struct buf *place, struct slice cursor)
{
	buf_reset(place);
	buf_put(place, cursor);
}

/* The next page's cursor, or the end. A circle of any length is found, with one cursor kept: R. P. Brent, An improved Monte
 * Carlo factorization algorithm, BIT 20 (1980), 176-184. */
static enum mcp_page turn_page(struct mcp_tools *tools, struct slice next)
{
	if (!next.len || json_type(next) == JSON_NULL) {
		buf_put_char(&tools->list, ']');
		return tools->list.failed ? refuse_list(tools, "its list of tools is too large") : MCP_PAGE_LAST;
	}
	if (json_type(next) != JSON_STRING)
		return refuse_list(tools, "its nextCursor is no string");
	if (slice_equal(next, buf_slice(&tools->earlier)))
		return refuse_list(tools, "its list of tools goes round in circles: a page's nextCursor is that of one before");
	if (tools->pages >= MCP_PAGES_MAX)
		return refuse_list(tools, "its list of tools has too many pages");
	keep_cursor(&tools->cursor, next);
	if ((tools->pages & (tools->pages - 1)) == 0)
		keep_cursor(&tools->earlier, next);
	return tools->cursor.failed || tools->earlier.failed ? refuse_list(tools, "its nextCursor is too long") : MCP_PAGE_MORE;
}

enum mcp_page mcp_tools_take(struct mcp_tools *tools, const struct mcp_message *answer)
{
	struct slice array = mcp_result_member(answer, "tools");
	tools->pages++;
	if (answer->kind == MCP_ERROR)
		return take_refusal(tools, answer);
	if (answer->kind != MCP_RESULT || !array.len || json_type(array) != JSON_ARRAY)
		return refuse_list(tools, "its answer to tools/list has no list of tools");
	take_tools(tools, array);
	take_ttl(tools, mcp_result_member(answer, "ttlMs"));
	if (tools->list.failed)
		return refuse_list(tools, "its list of tools is too large");
	if (tools->count > MCP_TOOLS_MAX)
		return refuse_list(tools, "it lists too many tools");
	return turn_page(tools, mcp_result_member(answer, "nextCursor"));
}

struct slice mcp_tools_list(const struct mcp_tools *tools)
{
	return buf_slice(&tools->list);
}
