/* SPDX-License-Identifier: Apache-2.0 */
/* check_endpoints.c: what the options of an upstream's endpoints ask of each other, and the settings that follow. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "gateway/config/config_private.h"

enum { REASON_BYTES = 200 };

static void check_urls(struct config_load *load, struct upstream_draft *draft)
{
	const struct node *list = node_find(draft->node, "endpoints");
	size_t i = 0;
	for (const struct node *child = list ? list->first : NULL; child && i < draft->endpoint_count;
	     child = child->next, i++) {
		const char *url = draft->endpoints[i].url;
		const struct node *node = node_find(child, "url");
		char error[REASON_BYTES] = "";
		if (!url || !node)
			continue;
		/* the reason may quote the URL, which may hold a secret */
		bool secret = secrets_have(&load->config->secrets, url);
		if (!upstream_url_check(url, error, sizeof error))
			config_error_at(load, node, "upstreams.%s.endpoints[%zu].url: %s", draft->node->key.at, i,
					secret ? "what ${...} stands for is not a URL of an endpoint" : error);
		for (size_t j = 0; j < i; j++)
			if (draft->endpoints[j].url && strcmp(draft->endpoints[j].url, url) == 0)
				config_error_at(load, node, "upstreams.%s.endpoints[%zu].url: is there twice",
						draft->node->key.at, i);
	}
}

/* One of path, method and tcp says how. */
static void check_health(struct config_load *load, const struct upstream_draft *draft)
{
	const struct node *node = node_find(draft->node, "health"), *path = node_find(draft->node, "health.path");
	const struct health_settings *health = &draft->health;
	if (!node || node->kind != NODE_MAP)
		return;
	int ways = (health->path != NULL) + (health->method != NULL) + health->tcp;
	if (ways != 1 && !node_find(node, "path") + !node_find(node, "method") + !node_find(node, "tcp") != 2)
		config_error_key(load, node, "upstreams.%s.health: needs one of path, method and tcp, and no more",
				 draft->node->key.at);
	if (path && health->path && health->path[0] != '/')
		config_error_at(load, path, "upstreams.%s.health.path: must begin with /", draft->node->key.at);
	for (const char *at = health->path; path && at && *at; at++)
		if ((unsigned char)*at <= 0x20 || (unsigned char)*at >= 0x7f || *at == '#') {
			config_error_at(load, path,
					"upstreams.%s.health.path: holds a byte that must be percent-encoded",
					draft->node->key.at);
			break;
		}
}

static void check_ejection(struct config_load *load, const struct upstream_draft *draft)
{
	const struct endpoint_policy *policy = &draft->config.balancing;
	const struct node *max = node_find(draft->node, "ejection.max"),
			  *base = node_find(draft->node, "ejection.base");
	if ((max || base) && policy->max_us < policy->base_us)
		config_error_at(load, max ? max : base, "upstreams.%s.ejection.%s: max is less than base",
				draft->node->key.at, max ? "max" : "base");
}

/* Whether its one endpoint may turn out to be several. */
static bool has_name(const struct upstream_draft *draft)
{
	const char *url = draft->endpoint_count ? draft->endpoints[0].url : NULL;
	return url && draft->config.settings.dns_ttl_us > 0 && upstream_url_is_named(url);
}

/* "off", "p95" or a duration into the settings. */
static void check_hedge(struct config_load *load, struct upstream_draft *draft)
{
	struct upstream_settings *settings = &draft->config.settings;
	const struct node *node = node_find(draft->node, "hedge");
	uint64_t us = 0;
	if (!draft->hedge || strcmp(draft->hedge, "off") == 0)
		return;
	settings->hedge_p95 = strcmp(draft->hedge, "p95") == 0;
	const char *wrong = settings->hedge_p95 ? NULL : value_duration(slice_of(draft->hedge), &us);
	if (node && (wrong || (!settings->hedge_p95 && (us < CLOCK_US_PER_MS || us > 60 * CLOCK_US_PER_S))))
		config_error_at(load, node, "upstreams.%s.hedge: must be off, p95, or a duration of 1ms to 1m",
				draft->node->key.at);
	else if (node && draft->endpoint_count < 2 && !has_name(draft))
		config_error_at(load, node, "upstreams.%s.hedge: there is no second endpoint to ask",
				draft->node->key.at);
	settings->hedge_us = us;
}

static void check_deadline_header(struct config_load *load, const struct upstream_draft *draft)
{
	const struct upstream_settings *settings = &draft->config.settings;
	const struct node *node = node_find(draft->node, "deadline_header");
	if (!node || !settings->deadline_header)
		return;
	const char *wrong = value_header_name(slice_of(settings->deadline_header));
	if (!wrong && config_is_reserved_header(settings->deadline_header))
		wrong = "is written by jitney itself";
	for (size_t i = 0; !wrong && i < settings->header_count; i++)
		if (strcasecmp(settings->headers[i].name, settings->deadline_header) == 0)
			wrong = "is one of the headers too";
	if (wrong)
		config_error_at(load, node, "upstreams.%s.deadline_header: %s", draft->node->key.at, wrong);
}

/* auto: where there is no TLS, nobody asks for it. */
static void check_http(struct config_load *load, const struct upstream_draft *draft)
{
	unsigned http = draft->config.settings.http;
	const struct node *node = node_find(draft->node, "http");
	const char *fault = http == HTTP_VERSION_AUTO ? upstream_http2_fault("https://") : NULL;
	for (size_t i = 0; http == HTTP_VERSION_2 && i < draft->endpoint_count && !fault; i++)
		fault = draft->endpoints[i].url ? upstream_http2_fault(draft->endpoints[i].url) : NULL;
	if (node && fault)
		config_error_at(load, node, "upstreams.%s.http: %s", draft->node->key.at, fault);
}

void config_check_endpoints(struct config_load *load, struct upstream_draft *draft)
{
	check_deadline_header(load, draft);
	check_http(load, draft);
	check_urls(load, draft);
	check_health(load, draft);
	check_ejection(load, draft);
	check_hedge(load, draft);
}

/* --- what follows --- */

/* A URL for everybody's eyes, callers' too. What ${...} filled in may be a secret, and a token stands in the path, so
 * the path is left out then; the number tells endpoints apart that differ in nothing else. NULL: out of memory. */
static const char *shown_url(struct config_load *load, const char *url, size_t index)
{
	if (!secrets_have(&load->config->secrets, url))
		return url;
	size_t host = strcspn(url, ":") + strlen("://");
	size_t path = host + strcspn(url + host, "/");
	if (index == 0)
		return arena_printf(load->arena, "%.*s/***", (int)path, url);
	return arena_printf(load->arena, "%.*s/***#%zu", (int)path, url, index + 1);
}

static bool finish_urls(struct config_load *load, struct upstream_draft *draft)
{
	struct upstream_settings *settings = &draft->config.settings;
	const char **urls = arena_array(load->arena, draft->endpoint_count, sizeof *urls);
	const char **shown = arena_array(load->arena, draft->endpoint_count, sizeof *shown);
	unsigned *weights = arena_array(load->arena, draft->endpoint_count, sizeof *weights);
	if (!urls || !shown || !weights)
		return false;
	for (size_t i = 0; i < draft->endpoint_count; i++) {
		urls[i] = draft->endpoints[i].url;
		weights[i] = draft->endpoints[i].weight;
		shown[i] = settings->process ? secrets_shown(&load->config->secrets, urls[i])
					     : shown_url(load, urls[i], i);
		if (!shown[i])
			return false;
	}
	settings->endpoints = urls;
	settings->shown = shown;
	settings->weights = weights;
	settings->endpoint_count = draft->endpoint_count;
	return true;
}

bool config_finish_endpoints(struct config_load *load, struct upstream_draft *draft)
{
	struct upstream_settings *settings = &draft->config.settings;
	struct endpoint_board **boards = arena_array(load->arena, draft->endpoint_count, sizeof *boards);
	if (!boards || !finish_urls(load, draft))
		return false;
	settings->boards = boards; /* config.c lets them go */
	for (size_t i = 0; i < draft->endpoint_count; i++)
		if (!(boards[i] = endpoint_board_new(draft->endpoints[i].drain)))
			return false;
	settings->balancing = &draft->config.balancing; /* drafts live as long as the configuration */
	if (draft->health.path || draft->health.method || draft->health.tcp)
		settings->health = &draft->health;
	return true;
}
