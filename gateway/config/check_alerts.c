/* SPDX-License-Identifier: Apache-2.0 */
/* check_alerts.c: alerts: what its options mean together. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "gateway/config/config_private.h"

enum { REASON_BYTES = 200 };

static const char *wrong_with_url(const char *url)
{
	size_t scheme = strncmp(url, "http://", 7) == 0 ? 7 : strncmp(url, "https://", 8) == 0 ? 8 : 0;
	if (!scheme)
		return "must begin with http:// or https://";
	if (strcspn(url + scheme, "/?") == 0)
		return "has no host";
	for (const char *c = url; *c; c++)
		if (*c <= ' ' || *c == '\x7f' || *c == '#')
			return "holds a blank, a # or a control character: write it percent-encoded";
	return memchr(url + scheme, '@', strcspn(url + scheme, "/?")) ? "must not hold a user: use headers" : NULL;
}

/* The host, port and path, by the rules for all URLs that are asked, none of which has a query. */
static bool check_without_query(struct config_load *load, const char *url, char error[REASON_BYTES])
{
	char *plain = arena_text(load->arena, (struct slice){ url, strcspn(url, "?") });
	return !plain || upstream_url_check(plain, error, REASON_BYTES);
}

/* It is read with each post: a renewed one needs no reload. */
static void check_authorities(struct config_load *load, const struct node *root)
{
	const struct alert_webhook_options *webhook = &load->config->generation.webhook;
	const struct node *node = node_find(root, "alerts.webhook.ca_file");
	if (!webhook->ca_file)
		return;
	if (!webhook->url || strncmp(webhook->url, "https://", 8) != 0)
		config_error_key(load, node, "alerts.webhook.ca_file is for a URL that begins with https://");
	else if (access(webhook->ca_file, R_OK) < 0)
		config_error_at(load, node, "alerts.webhook.ca_file: %s", strerror(errno));
}

static void check_webhook(struct config_load *load, const struct node *root)
{
	const struct node *node = node_find(root, "alerts.webhook.url");
	const char *url = load->config->generation.webhook.url;
	const char *wrong = url && *url ? wrong_with_url(url) : NULL;
	node = node ? node : node_find(root, "alerts.webhook");
	char error[REASON_BYTES] = "";
	if (wrong)
		config_error_at(load, node, "alerts.webhook: the URL %s", wrong);
	else if (url && *url && !check_without_query(load, url, error))
		config_error_at(load, node, "alerts.webhook: the URL is none: %s", error);
	else if ((!url || !*url) && load->config->generation.webhook.header_count)
		config_error_key(load, node_find(root, "alerts.webhook.headers"),
				 "alerts.webhook.headers are of no use without a url");
	check_authorities(load, root);
}

/* It is legal, and maybe meant: but then the warning could be 0. */
static void check_order(struct config_load *load, const struct node *root, enum alert alert, const char *word)
{
	const struct alert_options *options = &load->config->generation.alerts[alert];
	bool falls = alert == ALERT_RETRY_BUDGET_SPENT || alert == ALERT_HIT_RATIO_FELL;
	char path[64];
	snprintf(path, sizeof path, "alerts.%s", word);
	const struct node *node = node_find(root, path);
	if (!node || !options->warning || !options->critical)
		return;
	if (falls ? options->critical >= options->warning : options->critical <= options->warning)
		config_warning(load, node, "alerts.%s: critical comes before warning, so it never fires as a warning",
			       word);
}

void config_check_alerts(struct config_load *load, const struct node *root)
{
	static const char *const words[] = {
#define X(name, word) word,
		ALERTS(X)
#undef X
	};
	check_webhook(load, root);
	for (enum alert alert = 0; alert < ALERT_COUNT; alert++)
		check_order(load, root, alert, words[alert]);
}
