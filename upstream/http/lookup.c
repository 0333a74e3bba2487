/* SPDX-License-Identifier: Apache-2.0 */
/* lookup.c: host and port of an URL, looked up, as an entry of libcurl's own cache of names. */
#include "upstream/http/lookup.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "upstream/upstream.h"

struct lookup {
	char *host, *port; /* curl's */
	struct resolve *resolve;
};

/* The caller's to free, by curl_free. NULL: out of memory; the URL itself is one that curl has taken. */
static char *part_of(const char *url, CURLUPart part)
{
	CURLU *parsed = curl_url();
	char *text = NULL;
	if (parsed && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK)
		curl_url_get(parsed, part, &text, CURLU_DEFAULT_PORT);
	curl_url_cleanup(parsed);
	return text;
}

static bool is_address(const char *host)
{
	struct in_addr address;
	return host[0] == '[' || inet_pton(AF_INET, host, &address) == 1;
}

static bool is_localhost(const char *host)
{
	static const char localhost[] = ".localhost";
	size_t len = strlen(host), tail = sizeof localhost - 1;
	return strcasecmp(host, localhost + 1) == 0 || (len > tail && strcasecmp(host + len - tail, localhost) == 0);
}

bool upstream_url_is_named(const char *url)
{
	char *host = part_of(url, CURLUPART_HOST);
	bool needed = host && !is_address(host) && !is_localhost(host);
	curl_free(host);
	return needed;
}

struct lookup *lookup_start(const char *url, struct loop *loop)
{
	struct lookup *lookup = calloc(1, sizeof *lookup);
	if (!lookup)
		return NULL;
	lookup->host = part_of(url, CURLUPART_HOST);
	lookup->port = part_of(url, CURLUPART_PORT);
	lookup->resolve = lookup->host && lookup->port ? resolve_start(lookup->host, loop) : NULL;
	if (lookup->resolve)
		return lookup;
	lookup_stop(lookup);
	return NULL;
}

static struct curl_slist *make_list(struct buf *line)
{
	struct curl_slist *list = line->failed ? NULL : curl_slist_append(NULL, buf_cstr(line));
	buf_fini(line);
	return list;
}

static void put_address(struct buf *line, const char *address)
{
	buf_printf(line, strchr(address, ':') ? "[%s]" : "%s", address);
}

/* "+host:port:192.0.2.1,[2001:db8::1]": the plus lets it age as what curl has looked up itself. */
struct curl_slist *lookup_entry(const struct lookup *lookup, const struct resolved *resolved)
{
	struct buf line = BUF_INIT(SIZE_MAX / 4);
	buf_printf(&line, "+%s:%s:", lookup->host, lookup->port);
	for (size_t i = 0; i < resolved->count; i++) {
		buf_put_text(&line, i ? "," : "");
		put_address(&line, resolved->addresses[i]);
	}
	return make_list(&line);
}

/* "::192.0.2.1:": any host and port, to that host and the same port. */
struct curl_slist *lookup_connect_to(const char *address)
{
	struct buf line = BUF_INIT(SIZE_MAX / 4);
	buf_put_text(&line, "::");
	put_address(&line, address);
	buf_put_text(&line, ":");
	return make_list(&line);
}

enum resolve_state lookup_look(const struct lookup *lookup, struct resolved *resolved)
{
	const char *why;
	return resolve_look(lookup->resolve, resolved, &why);
}

void lookup_stop(struct lookup *lookup)
{
	if (!lookup)
		return;
	resolve_stop(lookup->resolve);
	curl_free(lookup->host);
	curl_free(lookup->port);
	free(lookup);
}
