/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dashboard.c: the admin listener's own page. What it says stands in it as tables, for readers without scripts; with scripts
 * dashboard/dashboard.js draws the views from /admin/stats and /admin/calls. Both files are in the binary. Nothing of another
 * origin is loaded, and no other page may frame it.
 */
#include "gateway/admin/dashboard.h"

#include "gateway/admin/condition.h"
#include "gateway/admin/observer.h"
#include "gateway/admin/pages.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"
#include "metrics/history.h"

enum { PAGE_BYTES_MAX = 64 << 20, TOOLS_SHOWN = 1000 };

/* The build says where the files lie; checkers run at the top of the tree. */
#ifndef DASHBOARD_FOLDER
#define DASHBOARD_FOLDER "gateway/admin/dashboard"
#endif
/* clang-format off */
#define EMBED(name, file)                                                                                     \
	extern const char(name)[], name##_end[];                                                              \
	__asm__(".pushsection .rodata\n.global " #name ", " #name "_end\n.hidden " #name ", " #name "_end\n"   \
		#name ":\n.incbin \"" DASHBOARD_FOLDER "/" file "\"\n" #name "_end:\n.popsection\n")
/* clang-format on */
EMBED(dashboard_script, "dashboard.js");
EMBED(dashboard_style, "dashboard.css");

static void reply_with(struct request *request, const char *content_type, struct buf *text)
{
	struct reply reply UNCLEARED;
	reply_init(&reply, 200);
	reply_header_text(&reply, "X-Request-Id", slice_of(request->id));
	reply_header_text(
		&reply, "Content-Security-Policy",
		SLICE("default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"));
	reply_header_text(&reply, "X-Content-Type-Options", SLICE("nosniff"));
	reply_header_text(&reply, "Referrer-Policy", SLICE("no-referrer"));
	reply_header_text(&reply, "Cache-Control", SLICE("no-cache"));
	reply_send_text(request, &reply, content_type, text);
}

static void put_text(struct buf *out, const char *text)
{
	for (; *text; text++)
		switch (*text) {
		case '<':
			buf_put_text(out, "&lt;");
			break;
		case '&':
			buf_put_text(out, "&amp;");
			break;
		case '"':
			buf_put_text(out, "&quot;");
			break;
		default:
			buf_put_char(out, *text);
		}
}

static void put_microseconds(struct buf *out, int64_t us)
{
	if (us < 0)
		buf_put_text(out, "<td>–");
	else
		buf_printf(out, "<td>%.1f ms", (double)us / 1000);
}

static void put_upstream(struct buf *out, const struct observation *of, const struct upstream_config *upstream,
			 const struct diagnosis *diagnosis)
{
	const struct gateway *gateway = of->gateway;
	const struct upstream_settings *settings = &upstream->settings;
	size_t healthy = page_healthy_endpoints(gateway, settings), label = settings->label;
	buf_put_text(out, "<tr><th scope=row>");
	put_text(out, settings->name);
	buf_printf(out, "<td class=text><span class=%s>%s</span><td>%zu of %zu<td>%lld",
		   diagnosis->condition == CONDITION_SICK ? "bad"
		   : diagnosis->condition                 ? "warn"
							  : "good",
		   diagnosis->sign, healthy, settings->endpoint_count,
		   (long long)metrics_read(gateway->metrics, METRIC_ID_BATCH_ITEMS, label, 0));
	put_microseconds(out, history_quantile_of(of->history, METRIC_ID_UPSTREAM_DURATION, label, 0.5));
	put_microseconds(out, history_quantile_of(of->history, METRIC_ID_UPSTREAM_DURATION, label, 0.99));
	buf_put_text(out, "<td class=\"text long\">");
	put_text(out, diagnosis->why);
}

/* The sick first. */
static void put_upstreams(struct buf *out, const struct observation *of)
{
	const struct generation *generation = catalogue_made_for(of->catalogue);
	buf_put_text(
		out,
		"<div class=scroll><table><caption>Upstreams, the sick first</caption><thead><tr><th scope=col>upstream"
		"<th scope=col class=text>state<th scope=col>endpoints up<th scope=col>requests<th scope=col>p50"
		"<th scope=col>p99<th scope=col class=text>why<tbody>");
	for (int condition = CONDITION_SICK; condition >= CONDITION_WELL; condition--)
		for (size_t i = 0; i < generation->upstream_count; i++) {
			struct diagnosis diagnosis UNCLEARED;
			condition_diagnose(of, &generation->upstreams[i], &diagnosis);
			if ((int)diagnosis.condition == condition)
				put_upstream(out, of, &generation->upstreams[i], &diagnosis);
		}
	buf_put_text(out, "</table></div>");
}

static void put_tool(struct buf *out, const struct observation *of, const struct tool *tool)
{
	const struct gateway *gateway = of->gateway;
	buf_put_text(out, "<tr><th scope=row>");
	put_text(out, tool->name);
	buf_printf(out, "<td>%lld",
		   (long long)metrics_read(gateway->metrics, METRIC_ID_REQUEST_DURATION, tool->index, 0));
	put_microseconds(out, history_quantile_of(of->history, METRIC_ID_REQUEST_DURATION, tool->index, 0.5));
	put_microseconds(out, history_quantile_of(of->history, METRIC_ID_REQUEST_DURATION, tool->index, 0.99));
}

/* What scripts replace. */
static void put_tables(struct buf *out, const struct observation *of)
{
	put_upstreams(out, of);
	buf_put_text(out, "<div class=scroll><table><caption>Tools</caption><thead><tr><th scope=col>tool"
			  "<th scope=col>calls<th scope=col>p50<th scope=col>p99<tbody>");
	size_t count = catalogue_count(of->catalogue);
	for (size_t i = 0; i < count && i < TOOLS_SHOWN; i++)
		put_tool(out, of, catalogue_nth(of->catalogue, i));
	buf_put_text(out, "</table></div>");
	if (count > TOOLS_SHOWN)
		buf_printf(out, "<p>and %zu more", count - TOOLS_SHOWN);
}

/* "1 tool, ", "2 tools, " */
static void put_count(struct buf *out, size_t count, const char *what)
{
	buf_printf(out, "%zu %s%s, ", count, what, count == 1 ? "" : "s");
}

static void write_page(const struct observation *of, struct buf *out)
{
	static const char *const views[] = { "overview", "upstreams", "bus",       "cache",
					     "tools",    "calls",     "processes", "alerts" };
	buf_put_text(out, "<!doctype html><html lang=en><meta charset=utf-8><title>jitney</title>"
			  "<meta name=viewport content=\"width=device-width,initial-scale=1\">"
			  "<link rel=icon href=\"data:,\"><link rel=stylesheet href=dashboard.css>"
			  "<script src=dashboard.js defer></script><header><h1>jitney " JITNEY_VERSION
			  "</h1><nav hidden aria-label=views>");
	for (size_t i = 0; i < countof(views); i++)
		buf_printf(out, "<a href=\"#%s\">%s</a>", views[i], views[i]);
	buf_put_text(out, "</nav><span id=state></span></header><main>");
	put_tables(out, of);
	buf_put_text(out, "<p>");
	put_count(out, catalogue_count(of->catalogue), "tool");
	put_count(out, catalogue_made_for(of->catalogue)->upstream_count, "upstream");
	put_count(out, of->gateway->config->workers, "worker");
	buf_printf(out,
		   "up for %llu s.<p>As JSON: <a href=admin/stats>stats</a>, "
		   "<a href=admin/alerts>alerts</a>, <a href=admin/calls>calls</a>, <a href=admin/tools>tools</a>, "
		   "<a href=admin/upstreams>upstreams</a>, <a href=admin/cache>cache</a>, "
		   "<a href=admin/config>config</a>; <a href=metrics>metrics</a>, "
		   "<a href=healthz>healthz</a>, <a href=readyz>readyz</a></main></html>\n",
		   (unsigned long long)((of->now_us - of->gateway->started_us) / CLOCK_US_PER_S));
}

static void send_page(struct request *request, struct buf *text)
{
	reply_with(request, "text/html; charset=utf-8", text);
}

void page_dashboard(struct worker *worker, struct request *request, struct slice rest)
{
	(void)rest;
	observer_reply(worker, request, write_page, send_page);
}

static void reply_with_file(struct request *request, const char *content_type, const char *at, const char *end)
{
	struct buf text = BUF_INIT(PAGE_BYTES_MAX);
	buf_put(&text, (struct slice){ at, (size_t)(end - at) });
	reply_with(request, content_type, &text);
}

void page_dashboard_script(struct worker *worker, struct request *request, struct slice rest)
{
	(void)worker;
	(void)rest;
	reply_with_file(request, "text/javascript; charset=utf-8", dashboard_script, dashboard_script_end);
}

void page_dashboard_style(struct worker *worker, struct request *request, struct slice rest)
{
	(void)worker;
	(void)rest;
	reply_with_file(request, "text/css; charset=utf-8", dashboard_style, dashboard_style_end);
}
