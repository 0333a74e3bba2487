/* SPDX-License-Identifier: Apache-2.0 */
/* access.c: Host and Origin. */
#include "gateway/access/access.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <strings.h>

enum { HOST_BYTES = 256, SHOWN_BYTES = 60 };

/* ---------------------------------------------------------------- names */

/* ":" and digits, or nothing. */
static bool is_port(struct slice text)
{
	for (size_t i = 1; i < text.len; i++)
		if (text.at[i] < '0' || text.at[i] > '9')
			return false;
	return text.len == 0 || text.at[0] == ':';
}

static bool is_six(struct slice host)
{
	return host.len && memchr(host.at, ':', host.len);
}

/* The host of an authority without its port, and without the brackets of an IPv6 address. "?", which is nobody's name,
 * for what is no host and port: whoever reads more leniently must not read another host in it. */
static struct slice host_of(struct slice authority)
{
	bool brackets = authority.len && authority.at[0] == '[';
	const char *end = authority.len ? memchr(authority.at, brackets ? ']' : ':', authority.len) : NULL;
	if (!end)
		return brackets ? SLICE("?") : authority;
	size_t before = (size_t)(end - authority.at), behind = before + brackets;
	struct slice host = { authority.at + brackets, before - brackets };
	bool ok = host.len && is_six(host) == brackets &&
		  is_port((struct slice){ authority.at + behind, authority.len - behind });
	return ok ? host : SLICE("?");
}

static bool same_text(struct slice a, struct slice b)
{
	return a.len == b.len && strncasecmp(a.at, b.at, a.len) == 0;
}

static bool is_listed(const char *const *list, size_t count, struct slice text)
{
	for (size_t i = 0; i < count; i++)
		if (same_text(text, slice_of(list[i])))
			return true;
	return false;
}

static bool has_star(const char *const *list, size_t count)
{
	return is_listed(list, count, SLICE("*"));
}

/* localhost and what is below it (RFC 6761, 6.3). */
static bool is_localhost(struct slice host)
{
	static const char suffix[] = ".localhost";
	size_t len = sizeof suffix - 1;
	return same_text(host, slice_of(suffix + 1)) ||
	       (host.len > len && strncasecmp(host.at + host.len - len, suffix, len) == 0);
}

/* *loopback: 127.0.0.0/8 or ::1. */
static bool is_address(struct slice host, bool *loopback)
{
	char text[HOST_BYTES];
	struct in6_addr six;
	struct in_addr four;
	if (host.len == 0 || host.len >= sizeof text)
		return false;
	memcpy(text, host.at, host.len);
	text[host.len] = '\0';
	if (inet_pton(AF_INET, text, &four) == 1) {
		*loopback = ntohl(four.s_addr) >> 24 == 127;
		return true;
	}
	if (inet_pton(AF_INET6, text, &six) == 1) {
		*loopback = IN6_IS_ADDR_LOOPBACK(&six);
		return true;
	}
	return false;
}

/* By name; mcp.allowed_hosts is the older place for the same list. */
static bool is_allowed_host(const struct generation *generation, struct slice host)
{
	return is_listed(generation->hosts, generation->host_count, host) ||
	       is_listed(generation->mcp.hosts, generation->mcp.host_count, host);
}

/* ---------------------------------------------------------------- Host and Origin */

/* A name that an attacker's DNS cannot point here: rebinding needs a name of his own, so an address is none. */
static bool is_known_host(const struct generation *generation, struct slice host)
{
	bool loopback;
	return host.len == 0 || is_localhost(host) || is_address(host, &loopback) ||
	       is_allowed_host(generation, host) || has_star(generation->hosts, generation->host_count) ||
	       has_star(generation->mcp.hosts, generation->mcp.host_count);
}

/* What is behind http:// or https://; empty: the origin is of another kind, or null. */
static struct slice authority_of(struct slice origin)
{
	static const char *const schemes[] = { "http://", "https://" };
	for (size_t i = 0; i < countof(schemes); i++) {
		size_t len = strlen(schemes[i]);
		if (origin.len > len && strncasecmp(origin.at, schemes[i], len) == 0)
			return (struct slice){ origin.at + len, origin.len - len };
	}
	return (struct slice){ NULL, 0 };
}

/* "*" among the hosts says that any name may point here, not that any page may use it. */
static bool is_known_origin(const struct generation *generation, const struct request *request,
			    enum access_listener listener)
{
	struct slice origin = request->headers[HEADER_ORIGIN], authority = authority_of(origin);
	struct slice host = host_of(authority);
	bool loopback = false, address = is_address(host, &loopback);
	if (authority.len && (is_localhost(host) || loopback || is_allowed_host(generation, host)))
		return true;
	if (address && same_text(authority, request->headers[HEADER_HOST]))
		return true; /* a page of ours; a name would not prove that */
	return listener == ACCESS_DATA && (is_listed(generation->mcp.origins, generation->mcp.origin_count, origin) ||
					   has_star(generation->mcp.origins, generation->mcp.origin_count));
}

static bool changes_something(const struct request *request)
{
	return request->method != HTTP_GET && request->method != HTTP_HEAD && request->method != HTTP_OPTIONS;
}

/* Fetch Metadata: the browser's own word about where the request comes from, which no page can change. */
static bool comes_from_elsewhere(const struct request *request)
{
	struct slice site = request->headers[HEADER_SEC_FETCH_SITE];
	return same_text(site, SLICE("cross-site")) || same_text(site, SLICE("same-site"));
}

static bool deny_access(struct access_denial *denial, const char *format, ...) PRINTF_LIKE(2, 3);
static bool deny_access(struct access_denial *denial, const char *format, ...)
{
	va_list args;
	denial->reason = REJECT_ORIGIN;
	denial->outcome = OUTCOME_FORBIDDEN;
	va_start(args, format);
	vsnprintf(denial->detail, sizeof denial->detail, format, args);
	va_end(args);
	return false;
}

static int show_text(struct slice text)
{
	return text.len < SHOWN_BYTES ? (int)text.len : SHOWN_BYTES;
}

bool access_allows(const struct generation *generation, const struct request *request, enum access_listener listener,
		   struct access_denial *denial)
{
	struct slice host = request->headers[HEADER_HOST], origin = request->headers[HEADER_ORIGIN];
	if (!is_known_host(generation, host_of(host)))
		return deny_access(
			denial,
			"The Host \"%.*s\" is not known here; allowed_hosts in the gateway's configuration lists "
			"the names it may be reached by.",
			show_text(host), host.at);
	if (origin.at && !is_known_origin(generation, request, listener))
		return deny_access(
			denial,
			"Pages of \"%.*s\" may not use this; allowed_hosts%s in the gateway's configuration lists "
			"the hosts whose pages may.",
			show_text(origin), origin.at, listener == ACCESS_DATA ? " (or mcp.allowed_origins)" : "");
	if (!origin.at && changes_something(request) && comes_from_elsewhere(request))
		return deny_access(denial,
				   "A page of another site sent this, by its Sec-Fetch-Site, and does not say which.");
	return true;
}
