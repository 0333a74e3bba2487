/* SPDX-License-Identifier: Apache-2.0 */
/* check_redis.c: cache.redis: what its options mean together, and the settings that follow. */
#include <string.h>

#include "cache/redis/redis_tls.h"
#include "gateway/config/config_private.h"

static bool is_prefix(const char *prefix)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.:";
	return prefix[strspn(prefix, letters)] == '\0';
}

static void check_sentinels(struct config_load *load, const struct node *node)
{
	const struct config *config = load->config;
	struct redis_node ignored;
	for (size_t i = 0; i < config->generation.redis_options.sentinel_node_count; i++) {
		const char *text = config->generation.redis_options.sentinel_nodes[i];
		const char *wrong = text ? redis_node_parse(slice_of(text), SENTINEL_PORT, &ignored) : NULL;
		if (wrong)
			config_error_at(load, node, "cache.redis.sentinel.nodes[%zu] %s", i, wrong);
	}
}

/* `wanted`: by the URL's scheme; a Sentinel has none. What the files hold is read now, so that `check` says what is
 * wrong with them. */
static void check_tls(struct config_load *load, const struct node *redis, bool wanted)
{
	static const char *const names[] = { "ca_file", "cert_file", "key_file", "server_name" };
	const struct config *config = load->config;
	const struct redis_tls_files files = { config->generation.redis_options.ca_file,
					       config->generation.redis_options.cert_file,
					       config->generation.redis_options.key_file };
	char why[512];
	for (size_t i = 0; !wanted && i < countof(names); i++)
		if (node_member(redis, names[i]))
			config_error_key(
				load, node_member(redis, names[i]),
				"cache.redis.%s: is for TLS: a url that begins with rediss://, or sentinel with "
				"ca_file",
				names[i]);
	if (!files.cert_file != !files.key_file)
		config_error_key(load, redis, "cache.redis.cert_file and key_file go together");
	else if (wanted && !(load->drafts->redis_tls = redis_tls_new(&files, why, sizeof why)))
		config_error_key(load, redis, "cache.redis.%s", why);
}

void config_check_redis(struct config_load *load, const struct node *redis)
{
	const struct config *config = load->config;
	const struct node *url = node_member(redis, "url"), *sentinel = node_member(redis, "sentinel");
	struct redis_url parsed = { 0 };
	if (!url && !sentinel)
		config_error_key(load, redis, "cache.redis needs a url, or sentinel");
	if (url && sentinel)
		config_error_key(load, url,
				 "cache.redis.url and cache.redis.sentinel exclude each other: Sentinel says "
				 "where the server is");
	const char *wrong = url && config->generation.redis_options.url
				    ? redis_url_parse(slice_of(config->generation.redis_options.url), &parsed)
				    : NULL;
	if (wrong)
		config_error_at(load, url, "cache.redis.url %s", wrong);
	if (config->generation.redis_options.prefix && !is_prefix(config->generation.redis_options.prefix))
		config_error_at(load, node_member(redis, "prefix"),
				"cache.redis.prefix may have only A-Z a-z 0-9 _ - . :");
	if (node_member(redis, "username") && !node_member(redis, "password") && !wrong && !(url && parsed.password[0]))
		config_error_key(load, node_member(redis, "username"),
				 "cache.redis.username is of no use without a password");
	if (sentinel)
		check_sentinels(load, sentinel);
	check_tls(load, redis, parsed.tls || (sentinel && config->generation.redis_options.ca_file));
}

/* The URL's, unless the option of its own is set. NULL: neither. Shown to nobody. */
static const char *choose_secret(struct config_load *load, const char *option, const char *from_url)
{
	const char *text = option;
	if (!text && from_url[0])
		text = arena_printf(load->arena, "%s", from_url);
	if (text)
		secrets_add(&load->config->secrets, load->arena, text);
	return text;
}

static void read_sentinels(struct config_load *load, struct redis_settings *settings)
{
	const struct config *config = load->config;
	size_t count = config->generation.redis_options.sentinel_node_count;
	struct redis_node *nodes = arena_array(load->arena, count, sizeof *nodes);
	if (!nodes)
		return;
	for (size_t i = 0; i < count; i++)
		if (redis_node_parse(slice_of(config->generation.redis_options.sentinel_nodes[i]), SENTINEL_PORT,
				     &nodes[i]))
			return;
	settings->sentinel_name = config->generation.redis_options.sentinel_name;
	settings->sentinel_password = choose_secret(load, config->generation.redis_options.sentinel_password, "");
	settings->sentinels = nodes;
	settings->sentinel_count = count;
}

void config_finish_redis(struct config_load *load)
{
	struct config *config = load->config;
	struct redis_url url = { 0 };
	const char *text = config->generation.redis_options.url;
	if (!text && !config->generation.redis_options.sentinel_node_count)
		return;
	struct redis_settings *settings = arena_alloc(load->arena, sizeof *settings);
	if (!settings || (text && redis_url_parse(slice_of(text), &url)))
		return;
	*settings = (struct redis_settings){
		.node = url.node,
		.database = url.database ? url.database : config->generation.redis_options.database,
		.username = config->generation.redis_options.username,
		.tls = load->drafts->redis_tls,
		.server_name = config->generation.redis_options.server_name,
		.prefix = config->generation.redis_options.prefix,
		.timeout_us = config->generation.redis_options.timeout_us,
		.connect_timeout_us = config->generation.redis_options.connect_timeout_us,
		.max_commands = config->generation.redis_options.in_flight,
		.max_value_bytes = config->generation.redis_options.max_value_bytes,
		.compress_bytes = config->generation.redis_options.compress_bytes,
		.tracking = config->generation.redis_options.tracking,
		.untracked_us = config->generation.redis_options.untracked_us,
		.lease_us = config->generation.redis_options.lease_us,
	};
	memcpy(settings->path, url.path, sizeof settings->path);
	if (!settings->username && url.username[0])
		settings->username = arena_printf(load->arena, "%s", url.username);
	settings->secret = choose_secret(load, config->generation.redis_options.secret, "");
	settings->password = choose_secret(load, config->generation.redis_options.password, url.password);
	if (text && url.password[0])
		secrets_add(&load->config->secrets, load->arena, text);
	if (config->generation.redis_options.sentinel_node_count)
		read_sentinels(load, settings);
	config->generation.redis = settings;
}
