/* SPDX-License-Identifier: Apache-2.0 */
/* tools_page.c: what became of the lists of upstreams that say themselves which tools they have. */
#include "gateway/admin/pages.h"

#include "base/json.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"

enum { PAGE_BYTES_MAX = 64 << 20 };

static const char *state_word(enum tool_list_state state)
{
	static const char *const words[] = { [TOOL_LIST_DECLARED] = "declared",
					     [TOOL_LIST_AWAITED] = "awaited",
					     [TOOL_LIST_KEPT] = "kept",
					     [TOOL_LIST_FRESH] = "fresh",
					     [TOOL_LIST_STALE] = "stale" };
	return words[state];
}

void page_put_tool_list(struct buf *out, const struct catalogue *catalogue, unsigned upstream)
{
	struct tool_list_status status = catalogue_status(catalogue, upstream);
	if (status.state == TOOL_LIST_DECLARED)
		return;
	buf_printf(out, ",\"tools\":{\"list\":\"%s\",\"shown\":%zu,\"refused\":%zu", state_word(status.state),
		   status.tools, status.refused_count);
	json_put_text_member(out, "why", status.why);
	buf_put_char(out, '}');
}

static void put_tool(struct buf *out, const struct generation *generation, const struct tool *tool)
{
	buf_put_text(out, "{\"name\":");
	json_put_string(out, slice_of(tool->name));
	json_put_text_member(out, "upstream", generation->upstreams[tool->upstream].settings.name);
	json_put_text_member(out, "tool", tool->remote);
	buf_printf(out, ",\"repeatable\":%s,\"cache_ttl_ms\":%llu,\"version\":\"%s\"}",
		   tool_is_repeatable(tool) ? "true" : "false",
		   (unsigned long long)(tool->cache.ttl_us / CLOCK_US_PER_MS), tool->version);
}

static void put_upstream(struct buf *out, const struct worker *worker, unsigned upstream)
{
	struct tool_list_status status = catalogue_status(worker_catalogue(worker), upstream);
	buf_put_text(out, "{\"upstream\":");
	json_put_string(out, slice_of(worker_generation(worker)->upstreams[upstream].settings.name));
	buf_printf(out, ",\"list\":\"%s\",\"shown\":%zu", state_word(status.state), status.tools);
	if (status.listed_us)
		buf_printf(out, ",\"age_ms\":%llu",
			   (unsigned long long)((worker_now(worker) - status.listed_us) / CLOCK_US_PER_MS));
	json_put_text_member(out, "why", status.why);
	buf_put_text(out, ",\"refused\":[");
	for (size_t i = 0; i < status.refused_count; i++) {
		buf_put_text(out, i ? ",{\"tool\":" : "{\"tool\":");
		json_put_string(out, slice_of(status.refused[i].name));
		buf_put_text(out, ",\"why\":");
		json_put_string(out, slice_of(status.refused[i].why));
		buf_put_char(out, '}');
	}
	buf_put_text(out, "]}");
}

void page_admin_tools(struct worker *worker, struct request *request, struct slice rest)
{
	struct buf text = BUF_INIT(PAGE_BYTES_MAX);
	const struct catalogue *catalogue = worker_catalogue(worker);
	const char *comma = "";
	(void)rest;
	buf_put_text(&text, "{\"tools\":[");
	for (size_t i = 0; i < catalogue_count(catalogue); i++) {
		buf_put_text(&text, i ? "," : "");
		put_tool(&text, worker_generation(worker), catalogue_nth(catalogue, i));
	}
	buf_put_text(&text, "],\"lists\":[");
	for (unsigned i = 0; i < worker_generation(worker)->upstream_count; i++) {
		if (catalogue_status(catalogue, i).state == TOOL_LIST_DECLARED)
			continue;
		buf_put_text(&text, comma);
		put_upstream(&text, worker, i);
		comma = ",";
	}
	buf_put_text(&text, "]}\n");
	reply_text(request, 200, "application/json", &text);
}
