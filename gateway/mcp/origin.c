/* SPDX-License-Identifier: Apache-2.0 */
/*
 * origin.c: CORS, for pages that may use /mcp (access/access.h says which may), and for clients without a token where an
 * issuer is configured: the way to get one (RFC 9728).
 */
#include <strings.h>

#include "base/json.h"
#include "gateway/mcp/mcp_private.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"

enum { CHALLENGE_HOST_BYTES = 120 /* longer names do not fit the header's value */ };

static const char metadata_path[] = "/.well-known/oauth-protected-resource";

static bool same_text(struct slice a, const char *b)
{
	return a.len == strlen(b) && strncasecmp(a.at, b, a.len) == 0;
}

/* ---------------------------------------------------------------- CORS */

void mcp_put_cors(struct reply *reply, const struct request *request)
{
	struct slice origin = request->headers[HEADER_ORIGIN];
	if (!origin.at)
		return;
	reply_header_text(reply, "Access-Control-Allow-Origin", origin);
	reply_header_text(reply, "Vary", SLICE("Origin"));
	reply_header_text(reply, "Access-Control-Expose-Headers",
			  SLICE("Mcp-Session-Id, WWW-Authenticate, X-Request-Id, Cache-Status, Age, Server-Timing, "
				"Retry-After, X-Attempts, X-Batch-Size, X-Batch-Id"));
}

void mcp_preflight(struct request *request)
{
	struct reply reply UNCLEARED;
	mcp_reply_init(&reply, request, 204);
	reply_header_text(&reply, "Allow", SLICE("POST, OPTIONS"));
	if (request->headers[HEADER_ORIGIN].at) {
		reply_header_text(&reply, "Access-Control-Allow-Methods", SLICE("POST, GET, DELETE, OPTIONS"));
		/* the star takes in Mcp-Param-*, whose names nobody knows before; it never stands for Authorization */
		reply_header_text(&reply, "Access-Control-Allow-Headers",
				  SLICE("*, Authorization, Content-Type, Accept, MCP-Protocol-Version, Mcp-Method, "
					"Mcp-Name, Mcp-Session-Id, Last-Event-ID, X-Request-Id"));
		reply_header_text(&reply, "Access-Control-Max-Age", SLICE("7200"));
	}
	request_reply(request, &reply);
}

/* ---------------------------------------------------------------- tokens */

bool mcp_check_token(const struct worker *worker, const struct request *request)
{
	struct slice credential = request->headers[HEADER_AUTHORIZATION];
	return !worker_generation(worker)->mcp.issuer ||
	       (credential.len > 7 && strncasecmp(credential.at, "bearer ", 7) == 0);
}

/* The first of a list: the client's own, as the proxy nearest to it wrote it. */
static struct slice first_of(struct slice list)
{
	const char *comma = list.len ? memchr(list.at, ',', list.len) : NULL;
	size_t len = comma ? (size_t)(comma - list.at) : list.len;
	while (len && list.at[len - 1] == ' ')
		len--;
	return (struct slice){ list.at, len };
}

static bool is_authority(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]", text.at[i]))
			return false;
	return text.len > 0;
}

/* Append scheme and authority by which the client reached us, as far as we can know. False: we cannot. */
static bool put_base(struct buf *out, const struct request *request)
{
	struct slice scheme = { NULL, 0 }, host = { NULL, 0 };
	if (request->from_trusted_proxy) {
		scheme = first_of(request->headers[HEADER_FORWARDED_PROTO]);
		host = first_of(request->headers[HEADER_FORWARDED_HOST]);
	}
	if (host.len == 0)
		host = request->headers[HEADER_HOST];
	if (!is_authority(host))
		return false;
	buf_put_text(out, same_text(scheme, "https") ? "https://" : "http://");
	buf_put(out, host);
	return true;
}

void mcp_put_challenge(struct reply *reply, const struct worker *worker, const struct request *request)
{
	struct buf base = BUF_INIT(CHALLENGE_HOST_BYTES);
	if (worker_generation(worker)->mcp.issuer && put_base(&base, request) && !base.failed)
		reply_header(reply, "WWW-Authenticate", "Bearer resource_metadata=\"%s%s/mcp\"", buf_cstr(&base),
			     metadata_path);
	else
		reply_header_text(reply, "WWW-Authenticate", SLICE("Bearer"));
	buf_fini(&base);
}

void mcp_resource_metadata(struct worker *worker, struct request *request, struct slice rest)
{
	const char *issuer = worker_generation(worker)->mcp.issuer;
	struct buf base = BUF_INIT(REQUEST_TARGET_BYTES), text = BUF_INIT(MCP_REPLY_BYTES_MAX);
	(void)rest;
	if (!issuer || !put_base(&base, request)) {
		meter_add(worker_meter(worker), METRIC_ID_REJECTED, REJECT_NOT_FOUND, 0, 1);
		reply_problem(request, OUTCOME_NOT_FOUND, NULL,
			      "No authorization server is configured (mcp.issuer): nothing to log in to.");
	} else {
		buf_put(&base, SLICE("/mcp"));
		buf_put_text(&text, "{\"resource\":");
		json_put_string(&text, buf_slice(&base));
		buf_put_text(&text, ",\"authorization_servers\":[");
		json_put_string(&text, slice_of(issuer));
		buf_put_text(&text, "],\"bearer_methods_supported\":[\"header\"],\"resource_name\":\"jitney\"}\n");
		struct reply reply UNCLEARED;
		reply_init(&reply, 200);
		reply_header_text(&reply, "X-Request-Id", slice_of(request->id));
		reply_header_text(&reply, "Access-Control-Allow-Origin", SLICE("*")); /* it is public */
		reply_send_text(request, &reply, "application/json", &text);
	}
	buf_fini(&base);
	buf_fini(&text);
}
