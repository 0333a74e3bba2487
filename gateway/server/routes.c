/* routes.c: paths to functions. */
#include "gateway/server/routes.h"

#include <stdio.h>

#include "base/log.h"
#include "gateway/rest/embeddings.h"
#include "gateway/admin/export.h"
#include "gateway/mcp/mcp.h"
#include "gateway/admin/pages.h"
#include "gateway/call/front.h"
#include "gateway/call/reply.h"
#include "gateway/rest/call_tool.h"
#include "gateway/call/worker.h"

enum { METHODS_PER_PATH = 2, DECODED_BYTES = 256 };

struct route {
	const char *path; /* a last segment "{}" takes one segment of any name */
	struct {
		enum http_method method; /* GET stands for HEAD too, HTTP_METHOD_COUNT for all */
		route_function *serve;
	} methods[METHODS_PER_PATH];
};

static const struct route data_routes[] = {
	{ "/v1/tools/{}", { { HTTP_POST, rest_call_tool }, { HTTP_GET, page_tool } } },
	{ "/mcp", { { HTTP_METHOD_COUNT, mcp_serve } } },
	{ "/v1/embeddings", { { HTTP_POST, embeddings_serve } } },
	{ "/v1/batch", { { HTTP_POST, rest_call_many } } },
	{ "/v1/tools", { { HTTP_GET, page_tools } } },
	{ "/openapi.json", { { HTTP_GET, page_openapi } } },
	{ "/healthz", { { HTTP_GET, page_healthz } } },
	{ "/readyz", { { HTTP_GET, page_readyz } } },
	{ "/metrics", { { HTTP_GET, page_metrics } } },
	{ "/.well-known/oauth-protected-resource", { { HTTP_GET, mcp_resource_metadata } } },
	{ "/.well-known/oauth-protected-resource/mcp", { { HTTP_GET, mcp_resource_metadata } } },
};

static const struct route admin_routes[] = {
	{ "/", { { HTTP_GET, page_admin_index } } },
	{ "/metrics", { { HTTP_GET, page_metrics } } },
	{ "/healthz", { { HTTP_GET, page_healthz } } },
	{ "/readyz", { { HTTP_GET, page_readyz } } },
	{ "/admin/config", { { HTTP_GET, page_admin_config } } },
	{ "/admin/tools", { { HTTP_GET, page_admin_tools } } },
	{ "/admin/upstreams", { { HTTP_GET, page_admin_upstreams } } },
	{ "/admin/cache", { { HTTP_GET, page_admin_cache }, { HTTP_DELETE, page_admin_purge } } },
	{ "/admin/cache/export", { { HTTP_GET, page_admin_export } } },
	{ "/admin/cache/import", { { HTTP_POST, page_admin_import } } },
	{ "/admin/drain", { { HTTP_POST, page_admin_drain } } },
};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decode (RFC 3986, 2.1) into `place`. False: malformed, or too long for any name of ours. */
static bool decode(struct slice text, char *place, struct slice *decoded)
{
	size_t len = 0;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.at[i];
		if (c == '%') {
			int high = i + 2 < text.len ? hex_digit(text.at[i + 1]) : -1;
			int low = high >= 0 ? hex_digit(text.at[i + 2]) : -1;
			if (low < 0)
				return false;
			c = (char)(high << 4 | low);
			i += 2;
		}
		if (len == DECODED_BYTES)
			return false;
		place[len++] = c;
	}
	*decoded = (struct slice){ place, len };
	return true;
}

/* Whether `path` is the route's; what stands for {} goes to *rest, still encoded. */
static bool matches(const struct route *route, struct slice path, struct slice *rest)
{
	struct slice pattern = slice_of(route->path);
	*rest = (struct slice){ "", 0 };
	if (pattern.at[pattern.len - 1] != '}')
		return slice_equal(path, pattern);
	size_t stem = pattern.len - 2;
	if (path.len <= stem || memcmp(path.at, pattern.at, stem) != 0 || memchr(path.at + stem, '/', path.len - stem))
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
	char allow[64], place[DECODED_BYTES];
	struct slice decoded = rest;
	enum http_method method = request->method == HTTP_HEAD ? HTTP_GET : request->method;
	if (memchr(rest.at, '%', rest.len) && !decode(rest, place, &decoded)) {
		meter_add(worker->meter, METRIC_ID_REJECTED, REJECT_BAD_TARGET, 0, 1);
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
		struct reply reply;
		reply_init(&reply, 204);
		reply_header_text(&reply, "Allow", slice_of(allow));
		reply_header_text(&reply, "X-Request-Id", slice_of(request->id));
		request_reply(request, &reply);
		return;
	}
	meter_add(worker->meter, METRIC_ID_REJECTED, REJECT_METHOD, 0, 1);
	reply_problem(request, OUTCOME_METHOD_NOT_ALLOWED, allow, "This path takes %s.", allow);
}

static void serve(struct worker *worker, struct request *request, const struct route *routes, size_t count)
{
	struct slice rest;
	for (size_t i = 0; i < count; i++) {
		if (matches(&routes[i], request->path, &rest)) {
			serve_route(worker, request, &routes[i], rest);
			return;
		}
	}
	if (slice_equal(request->path, SLICE("*"))) { /* OPTIONS * (RFC 9110, 9.3.7) */
		struct reply reply;
		reply_init(&reply, 204);
		reply_header_text(&reply, "Allow", SLICE("GET, HEAD, POST, DELETE, OPTIONS"));
		reply_header_text(&reply, "X-Request-Id", slice_of(request->id));
		request_reply(request, &reply);
		return;
	}
	meter_add(worker->meter, METRIC_ID_REJECTED, REJECT_NOT_FOUND, 0, 1);
	reply_problem(request, OUTCOME_NOT_FOUND, NULL,
		      "There is nothing at this path; docs/api.md lists what there is.");
}

/* Pages are few and shared; what is posted may bring an answer of any size. */
static bool turned_away(struct worker *worker, struct request *request)
{
	if (request->method != HTTP_POST || !http_full(request->http))
		return false;
	meter_add(worker->meter, METRIC_ID_REJECTED, REJECT_IN_FLIGHT_BYTES, 0, 1);
	reply_problem(request, OUTCOME_OVERLOADED, NULL,
		      "The gateway holds as many bytes as limits.in_flight_bytes allows, replies that clients are slow "
		      "to take included.");
	return true;
}

void routes_serve_data(void *context, struct request *request)
{
	if (turned_away(context, request))
		return;
	serve(context, request, data_routes, countof(data_routes));
}

void routes_serve_admin(void *context, struct request *request)
{
	/* Only browsers send Origin, and what a page somewhere makes an operator's browser send is not the operator. */
	if (request->headers[HEADER_ORIGIN].at && request->method != HTTP_GET && request->method != HTTP_HEAD) {
		reply_problem(request, OUTCOME_FORBIDDEN, NULL,
			      "Requests that change something are not taken from web pages.");
		return;
	}
	serve(context, request, admin_routes, countof(admin_routes));
}

void routes_refuse(void *context, struct request *request, enum outcome outcome, const char *detail)
{
	(void)context;
	reply_problem(request, outcome, NULL, "%s", detail);
}

void routes_finished(void *context, struct request *request, unsigned status, uint64_t bytes)
{
	struct worker *worker = context;
	struct log_line line;
	if (request->logged) {
		front_finished(request, status, bytes);
		return;
	}
	if (!worker->gateway->config->log.access || !log_begin(&line, LOG_LEVEL_INFO, "request"))
		return;
	log_cstr(&line, "request_id", request->id);
	log_cstr(&line, "method", http_method_name(request->method));
	log_text(&line, "path", request->path.len > 200 ? (struct slice){ request->path.at, 200 } : request->path);
	log_u64(&line, "status", status);
	log_u64(&line, "bytes", bytes);
	log_seconds(&line, "seconds", loop_now(worker->loop) - request->received_us);
	log_end(&line);
}
