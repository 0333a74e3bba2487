/* SPDX-License-Identifier: Apache-2.0 */
/* upstream.c: the front door of a provider: picks its kind (provider.h) and holds what all kinds have in common. */
#include "upstream/upstream.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdio.h>
#include <strings.h>

#include "upstream/provider.h"

/* --- the library, URLs --- */

bool upstream_library_init(void)
{
	return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

void upstream_library_fini(void)
{
	curl_global_cleanup();
}

static bool has_part(CURLU *url, CURLUPart part)
{
	char *text = NULL;
	bool there = curl_url_get(url, part, &text, 0) == CURLUE_OK && text && *text;
	curl_free(text);
	return there;
}

static const char *url_fault(CURLU *parsed, const char *url)
{
	CURLUcode code = curl_url_set(parsed, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME);
	if (code == CURLUE_OUT_OF_MEMORY)
		return "out of memory";
	if (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0)
		return "does not begin with http:// or https://";
	if (code != CURLUE_OK)
		return curl_url_strerror(code);
	if (!has_part(parsed, CURLUPART_HOST))
		return "names no host";
	if (has_part(parsed, CURLUPART_USER) || has_part(parsed, CURLUPART_PASSWORD))
		return "holds credentials: put them into headers, where they are kept secret";
	if (strchr(url, '?') || strchr(url, '#'))
		return "has a query or fragment: an endpoint is scheme, host, port and path";
	for (const char *at = url; *at; at++)
		if ((unsigned char)*at <= 0x20 || (unsigned char)*at >= 0x7f)
			return "holds a blank, a control character or a byte that must be percent-encoded";
	return NULL;
}

bool upstream_url_check(const char *url, char *error, size_t error_bytes)
{
	CURLU *parsed = curl_url();
	const char *fault = parsed ? url_fault(parsed, url) : "out of memory";
	curl_url_cleanup(parsed);
	if (fault)
		snprintf(error, error_bytes, "%s", fault);
	return fault == NULL;
}

/* --- the door --- */

static const struct upstream_kind *kind_of(const struct upstream_settings *settings)
{
	if (settings->simulated)
		return &upstream_simulated;
	if (settings->process)
		return &upstream_process;
	return settings->dialect == &dialect_mcp ? &upstream_mcp : &upstream_http;
}

/* What a quiet provider may be asked again at all is one for all parts. */
static size_t reserve_of(const struct upstream_settings *settings)
{
	return settings->parts > 1 ? RETRY_RESERVE / settings->parts : RETRY_RESERVE;
}

struct upstream *upstream_new(const struct upstream_settings *settings, struct transport *transport, struct loop *loop,
			      struct meter *meter)
{
	const struct upstream_kind *kind = kind_of(settings);
	struct upstream *upstream = kind->make(settings, transport, loop, meter);
	if (!upstream)
		return NULL;
	upstream->kind = kind;
	retry_budget_init(&upstream->retry_budget, &settings->retries, reserve_of(settings));
	return upstream;
}

void upstream_adjust(struct upstream *upstream)
{
	retry_budget_adjust(&upstream->retry_budget, &upstream->settings->retries, reserve_of(upstream->settings));
	if (upstream->kind->adjust)
		upstream->kind->adjust(upstream);
}

struct retry_budget *upstream_retry_budget(struct upstream *upstream)
{
	return &upstream->retry_budget;
}

void upstream_free(struct upstream *upstream)
{
	if (upstream)
		upstream->kind->free(upstream);
}

void upstream_watch(struct upstream *upstream, const struct upstream_watcher *watcher)
{
	assert_owner(loop_owner(upstream->loop));
	if (upstream->kind->watch)
		upstream->kind->watch(upstream, watcher);
}

void upstream_leave(struct upstream *upstream, uint64_t timeout_us)
{
	assert_owner(loop_owner(upstream->loop));
	if (upstream->kind->leave)
		upstream->kind->leave(upstream, timeout_us);
}

bool upstream_leaving(const struct upstream *upstream)
{
	return upstream->kind->leaving && upstream->kind->leaving(upstream);
}

struct exchange *upstream_send(struct upstream *upstream, const struct upstream_call *calls, size_t count,
			       uint64_t deadline_us, const struct upstream_events *events, void *context,
			       struct answer **refusal)
{
	assert_owner(loop_owner(upstream->loop));
	assert(count > 0 && count <= upstream->settings->dialect->max_calls);
	if (deadline_us <= loop_now(upstream->loop)) {
		*refusal = answer_error(OUTCOME_DEADLINE_EXCEEDED, "the deadline passed before the call was sent");
		return NULL;
	}
	struct exchange *exchange = upstream->kind->send(upstream, calls, count, deadline_us, events, context, refusal);
	if (exchange)
		exchange->kind = upstream->kind;
	return exchange;
}

void upstream_abort(struct exchange *exchange)
{
	exchange->kind->abort(exchange);
}

void upstream_forget(struct exchange *exchange, size_t index)
{
	if (exchange->kind->forget)
		exchange->kind->forget(exchange, index);
}

struct answer *upstream_no_room(const struct upstream_settings *settings)
{
	return answer_upstream_error(OUTCOME_OVERLOADED, 0, 1, (struct slice){ NULL, 0 },
				     "%s: the gateway holds as many bytes as limits.in_flight_bytes allows, and had no "
				     "room for the request",
				     settings->name);
}

bool upstream_may_repeat(struct upstream *upstream, size_t calls)
{
	return retry_budget_take(&upstream->retry_budget, calls);
}

bool upstream_sent(const struct exchange *exchange)
{
	return !exchange->kind->sent || exchange->kind->sent(exchange);
}

size_t upstream_attempts(const struct exchange *exchange)
{
	return exchange->kind->attempts ? exchange->kind->attempts(exchange) : 1;
}
