/* SPDX-License-Identifier: Apache-2.0 */
/*
 * freshness.c: whether and for how long a provider's headers let its answer be used again (RFC 9111). What they forbid
 * is forbidden for all calls of an exchange: its one head speaks for all of its body.
 */
#include <curl/curl.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/cache_control.h"
#include "upstream/http/exchange.h"

struct reuse {
	bool said, forbidden, no_stale;
	bool shared_said, private_said; /* s-maxage, max-age */
	uint64_t shared_s, private_s;
};

/* The n-th line of a header; NULL: there is none. */
static const char *find_header(const struct http_exchange *exchange, const char *name, size_t n)
{
	struct curl_header *found;
	if (curl_easy_header(exchange->transfer.easy, name, n, CURLH_HEADER, -1, &found) != CURLHE_OK)
		return NULL;
	return found->value[0] == '\r' ? "" : found->value; /* curl 7.88 leaves the CR of an empty one */
}

/* Of two that differ the shorter one counts; one that cannot be read makes the answer stale (RFC 9111, 4.2.1). */
static void shorten_limit(struct reuse *reuse, bool *said, uint64_t *limit_s, const struct cache_directive *directive)
{
	uint64_t seconds;
	if (!cache_directive_seconds(directive, &seconds)) {
		reuse->forbidden = true;
		return;
	}
	if (!*said || seconds < *limit_s)
		*limit_s = seconds;
	*said = reuse->said = true;
}

static void apply_directive(struct reuse *reuse, const struct cache_directive *directive)
{
	if (cache_directive_is(directive, "s-maxage")) {
		shorten_limit(reuse, &reuse->shared_said, &reuse->shared_s, directive);
		reuse->no_stale = true; /* 5.2.2.10 */
	} else if (cache_directive_is(directive, "max-age")) {
		shorten_limit(reuse, &reuse->private_said, &reuse->private_s, directive);
	} else if (cache_directive_is(directive, "must-revalidate") ||
		   cache_directive_is(directive, "proxy-revalidate")) {
		reuse->no_stale = true;
	} else if (cache_directive_is(directive, "no-store") || cache_directive_is(directive, "no-cache") ||
		   cache_directive_is(directive, "private")) {
		reuse->forbidden = true; /* with field names too: 5.2.2.4 and 5.2.2.7 allow it */
	}
}

static void read_cache_control(const struct http_exchange *exchange, struct reuse *reuse)
{
	const char *line;
	for (size_t n = 0; (line = find_header(exchange, "Cache-Control", n)); n++) {
		struct slice rest = slice_of(line);
		struct cache_directive directive;
		bool broken;
		while (cache_directive_next(&rest, &directive, &broken))
			apply_directive(reuse, &directive);
		reuse->forbidden |= broken;
	}
}

/* Expires less Date. A date that is none has passed long ago (5.3). */
static void read_expires(const struct http_exchange *exchange, struct reuse *reuse)
{
	const char *expires = find_header(exchange, "Expires", 0), *date = find_header(exchange, "Date", 0);
	if (!expires)
		return;
	time_t end = curl_getdate(expires, NULL), start = date ? curl_getdate(date, NULL) : time(NULL);
	reuse->said = reuse->private_said = true;
	reuse->private_s = end > start && start >= 0 ? (uint64_t)(end - start) : 0;
}

static uint64_t age_s(const struct http_exchange *exchange)
{
	const char *text = find_header(exchange, "Age", 0);
	uint64_t seconds = 0;
	const struct cache_directive age = { .value = slice_of(text ? text : "0") };
	return cache_directive_seconds(&age, &seconds) ? seconds : 0; /* 5.1: one that is none is ignored */
}

static bool varies_with_everything(const struct http_exchange *exchange)
{
	const char *line;
	for (size_t n = 0; (line = find_header(exchange, "Vary", n)); n++)
		if (strchr(line, '*'))
			return true;
	return false;
}

bool http_line_is_of(struct slice line, struct slice name)
{
	return line.len > name.len && line.at[name.len] == ':' && strncasecmp(line.at, name.at, name.len) == 0;
}

/* Date says nothing where Expires does not. */
bool http_line_is_of_reuse(struct slice line)
{
	return http_line_is_of(line, SLICE("Cache-Control")) || http_line_is_of(line, SLICE("Expires")) ||
	       http_line_is_of(line, SLICE("Vary")) || http_line_is_of(line, SLICE("Age"));
}

bool http_exchange_reuse(const struct http_exchange *exchange, uint32_t *seconds, uint32_t *age, bool *no_stale)
{
	struct reuse reuse = { 0 };
	*seconds = UINT32_MAX;
	*age = 0;
	*no_stale = false;
	if (exchange->reuse_unsaid)
		return false;
	read_cache_control(exchange, &reuse);
	if (!reuse.shared_said && !reuse.private_said)
		read_expires(exchange, &reuse);
	reuse.forbidden |= varies_with_everything(exchange);
	uint64_t limit_s = UINT32_MAX, old_s = age_s(exchange);
	if (reuse.shared_said || reuse.private_said) {
		limit_s = reuse.shared_said ? reuse.shared_s : reuse.private_s;
		limit_s = limit_s > old_s ? limit_s - old_s : 0;
	}
	*age = old_s < UINT32_MAX ? (uint32_t)old_s : UINT32_MAX;
	*seconds = reuse.forbidden ? 0 : limit_s < UINT32_MAX ? (uint32_t)limit_s : UINT32_MAX;
	*no_stale = reuse.no_stale;
	return reuse.said || reuse.forbidden || reuse.no_stale;
}
