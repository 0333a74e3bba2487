/* SPDX-License-Identifier: Apache-2.0 */
/* routes.c: paths to functions. */
#include "gateway/server/routes.h"

#include <stdio.h>

#include "base/hex.h"
#include "base/log.h"
#include "gateway/access/access.h"
#include "gateway/rest/embeddings.h"
#include "gateway/admin/export.h"
#include "gateway/mcp/mcp.h"
#include "gateway/admin/cache_pages.h"
#include "gateway/admin/dashboard.h"
#include "gateway/admin/health.h"
#include "gateway/admin/pages.h"
#include "gateway/admin/profile_page.h"
#include "gateway/admin/reload.h"
#include "gateway/rest/definitions_pages.h"
#include "gateway/call/await_turn.h"
#include "gateway/call/front.h"
#include "gateway/call/reply.h"
#include "gateway/rest/call_tool.h"
#include "gateway/call/worker.h"

enum { METHODS_PER_PATH = 2, DECODED_BYTES = 256, LOGGED_BYTES = 200 };

struct route {
	struct slice path;       /* a last segment "{}" takes one segment of any name, "{*}" all that is left */
	const struct wire *wire; /* how its clients are told of a problem; NULL: wire_problem */
	struct {
		enum http_method method; /* GET stands for HEAD too, HTTP_METHOD_COUNT for all */
		route_function *serve;
	} methods[METHODS_PER_PATH];
};

static route_function serve_data_metrics;

#define PATH(text)                                                                                                     \
	{                                                                                                              \
		"" text, sizeof(text) - 1                                                                              \
	}

static const struct route data_routes[] = {
	{ PATH("/v1/tools/{}"), NULL, { { HTTP_POST, rest_call_tool }, { HTTP_GET, page_tool } } },
	{ PATH("/mcp"), &wire_mcp, { { HTTP_METHOD_COUNT, mcp_serve } } },
	{ PATH("/v1/embeddings"), &wire_openai, { { HTTP_POST, embeddings_serve } } },
	{ PATH("/v1/batch"), NULL, { { HTTP_POST, rest_call_many } } },
	{ PATH("/v1/tools"), NULL, { { HTTP_GET, page_tools } } },
	{ PATH("/openapi.json"), NULL, { { HTTP_GET, page_openapi } } },
	{ PATH("/healthz"), NULL, { { HTTP_GET, page_healthz } } },
	{ PATH("/readyz"), NULL, { { HTTP_GET, page_readyz } } },
	{ PATH("/metrics"), NULL, { { HTTP_GET, serve_data_metrics } } },
	{ PATH("/.well-known/oauth-protected-resource"), NULL, { { HTTP_GET, mcp_resource_metadata } } },
	{ PATH("/.well-known/oauth-protected-resource/mcp"), NULL, { { HTTP_GET, mcp_resource_metadata } } },
};

static const struct route admin_routes[] = {
	{ PATH("/"), NULL, { { HTTP_GET, page_dashboard } } },
	{ PATH("/dashboard.js"), NULL, { { HTTP_GET, page_dashboard_script } } },
	{ PATH("/dashboard.css"), NULL, { { HTTP_GET, page_dashboard_style } } },
	{ PATH("/metrics"), NULL, { { HTTP_GET, page_metrics } } },
	{ PATH("/healthz"), NULL, { { HTTP_GET, page_healthz } } },
	{ PATH("/readyz"), NULL, { { HTTP_GET, page_readyz } } },
	{ PATH("/admin/config"), NULL, { { HTTP_GET, page_admin_config } } },
	{ PATH("/admin/tools"), NULL, { { HTTP_GET, page_admin_tools } } },
	{ PATH("/admin/tools/{}"), NULL, { { HTTP_POST, rest_call_tool }, { HTTP_GET, page_tool } } },
	{ PATH("/admin/calls"), NULL, { { HTTP_GET, page_admin_calls } } },
	{ PATH("/admin/calls/{*}"), NULL, { { HTTP_GET, page_admin_calls_of } } },
	{ PATH("/admin/alerts"), NULL, { { HTTP_GET, page_admin_alerts } } },
	{ PATH("/admin/stats"), NULL, { { HTTP_GET, page_admin_stats } } },
	{ PATH("/admin/upstreams"), NULL, { { HTTP_GET, page_admin_upstreams } } },
	{ PATH("/admin/cache"), NULL, { { HTTP_GET, page_admin_cache }, { HTTP_DELETE, page_admin_purge } } },
	{ PATH("/admin/cache/count"), NULL, { { HTTP_GET, page_admin_purge_count } } },
	{ PATH("/admin/cache/export"), NULL, { { HTTP_GET, page_admin_export } } },
	{ PATH("/admin/cache/import"), NULL, { { HTTP_POST, page_admin_import } } },
	{ PATH("/admin/endpoints/{*}"), NULL, { { HTTP_POST, page_admin_endpoint } } },
	{ PATH("/admin/reload"), NULL, { { HTTP_POST, page_admin_reload } } },
	{ PATH("/debug/pprof/profile"), NULL, { { HTTP_GET, page_profile } } },
	{ PATH("/debug/pprof/heap"), NULL, { { HTTP_GET, page_heap } } },
	{ PATH("/debug/pprof/threads"), NULL, { { HTTP_GET, page_threads } } },
	{ PATH("/admin/drain"), NULL, { { HTTP_POST, page_admin_drain } } },
};

/* Whether `path` is the route's; what stands for {} goes to *rest, still encoded. */
static bool matches_route(const struct route *route, struct slice path, struct slice *rest)
{
	struct slice pattern = route->path;
	*rest = (struct slice){ "", 0 };
	if (pattern.at[pattern.len - 1] != '}')
		return slice_equal(path, pattern);
	bool all = pattern.at[pattern.len - 2] == '*';
	size_t stem = pattern.len - (all ? strlen("{*}") : strlen("{}"));
	if (path.len <= stem || memcmp(path.at, pattern.at, stem) != 0 ||
	    (!all && memchr(path.at + stem, '/', path.len - stem)))
		return false;
	*rest = (struct slice){ path.at + stem, path.len - stem };
	return true;
}

static void write_allow(const struct route *route, char *allow, size_t bytes)
{
	size_t len = 0;
	allow[0] = '\0';
	for (int i = 0; i < METHODS_PER_PATH && route->methods[i].serve; i++)
		len += (size_t)snprintf(allow + len, bytes - len, "%s%s", http_method_name(route->methods[i].method),
					route->methods[i].method == HTTP_GET ? ", HEAD, " : ", ");
	snprintf(allow + len, bytes - len, "OPTIONS");
}

static void serve_route(struct worker *worker, struct request *request, const struct route *route, struct slice rest)
{
	char allow[64] UNCLEARED, place[DECODED_BYTES] UNCLEARED;
	struct slice decoded;
	enum http_method method = request->method == HTTP_HEAD ? HTTP_GET : request->method;
	if (!percent_decode(rest, place, sizeof place, &decoded)) {
		meter_add(worker_meter(worker), METRIC_ID_REJECTED, REJECT_BAD_TARGET, 0, 1);
		reply_problem(request, OUTCOME_INVALID_REQUEST, NULL, "The path has a malformed percent-encoding.");
		return;
	}
	for (int i = 0; i < METHODS_PER_PATH && route->methods[i].serve; i++) {
		if (route->methods[i].method == method || route->methods[i].method == HTTP_METHOD_COUNT) {
			route->methods[i].serve(worker, request, decoded);
			return;
		}
	}
	write_allow(route, allow, sizeof allow);
	if (method == HTTP_OPTIONS) {
		struct reply reply UNCLEARED;
		reply_init(&reply, 204);
		reply_header_text(&reply, "Allow", slice_of(allow));
		reply_header_text(&reply, "X-Request-Id", slice_of(request->id));
		request_reply(request, &reply);
		return;
	}
	meter_add(worker_meter(worker), METRIC_ID_REJECTED, REJECT_METHOD, 0, 1);
	reply_problem(request, OUTCOME_METHOD_NOT_ALLOWED, allow, "This path takes %s.", allow);
}

struct routes {
	const struct route *all; /* borrowed: the tables above are static */
	size_t count;
	enum access_listener listener;
};

static const struct routes data = { data_routes, countof(data_routes), ACCESS_DATA };
static const struct routes admin = { admin_routes, countof(admin_routes), ACCESS_ADMIN };

static void refuse_path(struct worker *worker, struct request *request)
{
	front_refuse(worker, request, &wire_problem, REJECT_NOT_FOUND, OUTCOME_NOT_FOUND,
		     "There is nothing at this path; docs/api.md lists what there is.");
}

/* With many tools it is large, and takes a while: not everybody needs to be able to ask for it. */
static void serve_data_metrics(struct worker *worker, struct request *request, struct slice rest)
{
	if (worker_generation(worker)->metrics_on == METRICS_ON_ADMIN)
		refuse_path(worker, request);
	else
		page_metrics(worker, request, rest);
}

/* NULL: there is nothing at this path. */
static const struct route *find_route(const struct routes *routes, const struct request *request, struct slice *rest)
{
	for (size_t i = 0; i < routes->count; i++)
		if (matches_route(&routes->all[i], request->path, rest))
			return &routes->all[i];
	return NULL;
}

static const struct wire *wire_of(const struct route *route)
{
	return route && route->wire ? route->wire : &wire_problem;
}

/* OPTIONS * (RFC 9110, 9.3.7), or a path that is nobody's. */
static void serve_no_route(struct worker *worker, struct request *request)
{
	if (!slice_equal(request->path, SLICE("*"))) {
		refuse_path(worker, request);
		return;
	}
	struct reply reply UNCLEARED;
	reply_init(&reply, 204);
	reply_header_text(&reply, "Allow", SLICE("GET, HEAD, POST, DELETE, OPTIONS"));
	reply_header_text(&reply, "X-Request-Id", slice_of(request->id));
	request_reply(request, &reply);
}

/* Pages are few and shared; what is posted may bring an answer of any size. */
static bool is_shed(const struct routes *routes, const struct request *request)
{
	return routes->listener == ACCESS_DATA && request->method == HTTP_POST && http_full(request->http);
}

static route_function serve_data_again;

/* How deep the JSON may be nested that its bodies are; 0: there is nobody who reads it. */
static unsigned json_depth(const struct worker *worker, const struct route *route)
{
	if (!route)
		return 0;
	bool batch = route->methods[0].serve == rest_call_many;
	return worker_generation(worker)->limits.json_depth + (batch ? REST_BATCH_WRAPPED : 0);
}

/* Not too many bodies in one turn. What the admin listener takes is small, or streamed. */
static bool awaits_turn(struct worker *worker, struct request *request, const struct routes *routes,
			const struct route *route)
{
	const struct turn_body body = { wire_of(route), serve_data_again, json_depth(worker, route) };
	return routes->listener == ACCESS_DATA && turn_await(worker, request, &body);
}

static void serve_found(struct worker *worker, struct request *request, const struct routes *routes)
{
	struct slice rest;
	struct access_denial denial;
	const struct route *route = find_route(routes, request, &rest);
	worker_take_catalogue(worker);
	if (!access_allows(worker_generation(worker), request, routes->listener, &denial)) {
		request->headers[HEADER_ORIGIN] = (struct slice){ NULL, 0 }; /* the page is not to read the answer */
		front_refuse(worker, request, wire_of(route), denial.reason, denial.outcome, "%s", denial.detail);
	} else if (is_shed(routes, request)) {
		front_refuse(worker, request, wire_of(route), REJECT_IN_FLIGHT_BYTES, OUTCOME_OVERLOADED,
			     "The gateway holds as many bytes as limits.in_flight_bytes allows, replies that clients "
			     "are slow to take included.");
	} else if (awaits_turn(worker, request, routes, route)) {
		return;
	} else if (route) {
		serve_route(worker, request, route, rest);
	} else {
		serve_no_route(worker, request);
	}
}

static void serve_data_again(struct worker *worker, struct request *request, struct slice rest)
{
	(void)rest;
	serve_found(worker, request, &data);
}

void routes_serve_data(void *context, struct request *request)
{
	serve_found(context, request, &data);
}

void routes_serve_admin(void *context, struct request *request)
{
	serve_found(context, request, &admin);
}

/* The head cannot be trusted, so nobody's page is to read the answer. */
void routes_refuse(void *context, struct request *request, enum outcome outcome, const char *detail)
{
	struct slice rest;
	request->headers[HEADER_ORIGIN] = (struct slice){ NULL, 0 };
	wire_of(find_route(&data, request, &rest))->refuse(context, request, outcome, detail);
}

/* Who only looks, every few seconds and for ever: a line each would bury those that matter. */
static bool is_probe(const struct request *request)
{
	static const char *const probes[] = { "/healthz", "/readyz", "/metrics" };
	bool one = false;
	for (size_t i = 0; i < countof(probes); i++)
		one = one || slice_equal(request->path, slice_of(probes[i]));
	return one;
}

/* Something is to be done, and the query says to what (DELETE /admin/cache?tag=news). Only operators' ones: in a query to
 * the data listener there may be anything. */
static bool is_order(const struct request *request)
{
	static const struct slice admin_paths = PATH("/admin/");
	return request->query.len && request->method != HTTP_GET && request->method != HTTP_HEAD &&
	       request->path.len > admin_paths.len && memcmp(request->path.at, admin_paths.at, admin_paths.len) == 0;
}

static struct slice cut_text(struct slice text)
{
	return text.len > LOGGED_BYTES ? (struct slice){ text.at, LOGGED_BYTES } : text;
}

void routes_finished(void *context, struct request *request, unsigned status, uint64_t bytes)
{
	struct worker *worker = context;
	if (request->logged) {
		front_finished(request, status, bytes);
		return;
	}
	const struct log_event *event = is_probe(request) && status < 400 ? &EVENT_PROBE : &EVENT_REQUEST;
	if (!worker_generation(worker)->access_log)
		return;
	struct log_line line UNCLEARED;
	if (!log_begin(&line, event))
		return;
	log_cstr(&line, "request_id", request->id);
	front_log_client(&line, request);
	log_cstr(&line, "method", http_method_name(request->method));
	log_text(&line, "path", cut_text(request->path));
	if (is_order(request))
		log_text(&line, "query", cut_text(request->query));
	log_u64(&line, "status", status);
	log_u64(&line, "bytes", bytes);
	log_seconds(&line, "seconds", worker_now(worker) - request->received_us);
	log_end(&line);
}
