/* SPDX-License-Identifier: Apache-2.0 */
/* show.c: the configuration in force as JSON, by the option table. What may be a secret is shown as "***". */
#include <arpa/inet.h>

#include "base/json.h"
#include "gateway/config/config_private.h"

struct writer {
	const struct config *config;        /* what the process is made of */
	const struct config *now;           /* whose generation is shown; often the same */
	const struct config_drafts *drafts; /* of `now` */
	struct buf *out;
	bool bare;    /* secrets too: for comparing, never for showing */
	bool lasting; /* without what is adjustable */
};

static void put_members(const struct writer *writer, const char *prefix, const void *owner);

static bool is_hidden(const struct writer *writer, const char *text)
{
	return !writer->bare &&
	       (secrets_have(&writer->config->secrets, text) || secrets_have(&writer->now->secrets, text));
}

static void put_text(const struct writer *writer, const char *text)
{
	json_put_string(writer->out, is_hidden(writer, text) ? SLICE("***") : slice_of(text));
}

static uint64_t get_number(const struct option *option, const void *owner)
{
	const char *at = (const char *)owner + option->at;
	uint64_t value = 0;
	unsigned small;
	if (option->bytes == sizeof small) {
		memcpy(&small, at, sizeof small);
		return small;
	}
	memcpy(&value, at, option->bytes);
	return value;
}

static void put_network(struct buf *out, const struct network *network)
{
	char host[INET6_ADDRSTRLEN] = "";
	bool v4 = IN6_IS_ADDR_V4MAPPED(&network->address) && network->bits >= 96;
	if (v4)
		inet_ntop(AF_INET, network->address.s6_addr + 12, host, sizeof host);
	else
		inet_ntop(AF_INET6, &network->address, host, sizeof host);
	buf_printf(out, "\"%s/%u\"", host, network->bits - (v4 ? 96 : 0));
}

static void put_list(const struct writer *writer, const struct option *option, const void *items, size_t count)
{
	buf_put_char(writer->out, '[');
	for (size_t i = 0; i < count; i++) {
		if (i)
			buf_put_char(writer->out, ',');
		if (option->kind == OPTION_ADDRESSES)
			put_text(writer, ((const struct listen_address *)items)[i].text);
		else if (option->kind == OPTION_NETWORKS)
			put_network(writer->out, &((const struct network *)items)[i]);
		else
			put_text(writer, ((const char *const *)items)[i]);
	}
	buf_put_char(writer->out, ']');
}

/* The kinds of pairs do not have their values at the same place. */
static const char *pair_value(const struct option *option, const struct upstream_header *header,
			      const struct route_pair *pair)
{
	return option->kind == OPTION_HEADERS ? header->value : pair->value;
}

static void put_pairs(const struct writer *writer, const struct option *option, const void *items, size_t count)
{
	buf_put_char(writer->out, '{');
	for (size_t i = 0; i < count; i++) {
		const struct upstream_header *header = (const struct upstream_header *)items + i;
		const struct route_pair *pair = (const struct route_pair *)items + i;
		bool query = option->kind == OPTION_TEMPLATES;
		if (i)
			buf_put_char(writer->out, ',');
		json_put_string(writer->out, slice_of(option->kind == OPTION_HEADERS ? header->name : pair->name));
		buf_put_char(writer->out, ':');
		put_text(writer, query || writer->bare ? pair_value(option, header, pair) : "***");
	}
	buf_put_char(writer->out, '}');
}

static void put_blocks(const struct writer *writer, const struct upstream_draft *draft)
{
	buf_put_char(writer->out, '[');
	for (size_t i = 0; i < draft->endpoint_count; i++) {
		if (i)
			buf_put_char(writer->out, ',');
		put_members(writer, "upstreams.*.endpoints[].", &draft->endpoints[i]);
	}
	buf_put_char(writer->out, ']');
}

static void put_named(const struct writer *writer, const struct option *option)
{
	bool tools = strcmp(option->path, "tools") == 0;
	size_t count = tools ? writer->drafts->tool_count : writer->drafts->upstream_count;
	buf_put_char(writer->out, '{');
	for (size_t i = 0; i < count; i++) {
		const char *name =
			tools ? writer->drafts->tools[i].tool.name : writer->drafts->upstreams[i].config.settings.name;
		if (i)
			buf_put_char(writer->out, ',');
		json_put_string(writer->out, slice_of(name));
		buf_put_char(writer->out, ':');
		if (tools)
			put_members(writer, "tools.*.", &writer->drafts->tools[i]);
		else
			put_members(writer, "upstreams.*.", &writer->drafts->upstreams[i]);
	}
	buf_put_char(writer->out, '}');
}

static void put_quantity(const struct writer *writer, const struct option *option, uint64_t value)
{
	buf_put_char(writer->out, '"');
	if (option->kind == OPTION_DURATION)
		value_put_duration(writer->out, value);
	else
		value_put_size(writer->out, value);
	buf_put_char(writer->out, '"');
}

static void put_rate(const struct writer *writer, const char *at)
{
	struct rate rate;
	memcpy(&rate, at, sizeof rate);
	buf_put_char(writer->out, '"');
	value_put_rate(writer->out, &rate);
	buf_put_char(writer->out, '"');
}

static void put_block(const struct writer *writer, const struct option *option, const void *owner)
{
	struct buf prefix = BUF_INIT(128);
	buf_printf(&prefix, "%s.", option->path);
	if (prefix.failed)
		writer->out->failed = true;
	else
		put_members(writer, buf_cstr(&prefix), owner);
	buf_fini(&prefix);
}

/* Another content of the file is another value of the option that names it. */
static void put_hash_of_file(const struct writer *writer, const char *path)
{
	const struct generation *generation = &writer->now->generation;
	for (size_t i = 0; i < generation->file_count; i++)
		if (generation->files[i].hash && strcmp(generation->files[i].path, path) == 0)
			buf_put_text(writer->out, generation->files[i].hash);
}

/* What is kept as a text, or as a list with its count. */
static void put_kept(const struct writer *writer, const struct option *option, const void *owner)
{
	const char *at = (const char *)owner + option->at;
	const char *text = NULL;
	const void *items = NULL;
	size_t count = 0;
	if (option->bytes == sizeof text) {
		memcpy(&text, at, sizeof text);
		memcpy(&items, at, sizeof items);
		memcpy(&count, (const char *)owner + option->count_at, sizeof count);
	}
	switch (option->kind) {
	case OPTION_OBJECT:
		return is_hidden(writer, text) ? put_text(writer, text) : buf_put_text(writer->out, text);
	case OPTION_SCHEMA:
		return buf_put_text(writer->out, text);
	case OPTION_ADDRESSES:
	case OPTION_NETWORKS:
	case OPTION_TEXTS:
	case OPTION_ARGUMENTS:
		return put_list(writer, option, items, count);
	case OPTION_HEADERS:
	case OPTION_TEMPLATES:
	case OPTION_HEADER_TEMPLATES:
	case OPTION_VARIABLES:
		return put_pairs(writer, option, items, count);
	case OPTION_FILE:
		put_text(writer, text);
		return writer->bare ? put_hash_of_file(writer, text) : (void)0;
	default:
		return put_text(writer, text);
	}
}

static void put_value(const struct writer *writer, const struct option *option, const void *owner)
{
	if (owner == writer->config && option_of_generation(option))
		owner = writer->now;
	const char *at = (const char *)owner + option->at;
	switch (option->kind) {
	case OPTION_BLOCK:
		return put_block(writer, option, owner);
	case OPTION_NAMED:
		return put_named(writer, option);
	case OPTION_BLOCKS:
		return put_blocks(writer, owner);
	case OPTION_BOOL:
		return buf_put_text(writer->out, *(const bool *)at ? "true" : "false");
	case OPTION_COUNT:
	case OPTION_WORKERS:
		return buf_put_u64(writer->out, get_number(option, owner));
	case OPTION_AUTO:
		if (get_number(option, owner) == 0)
			return buf_put_text(writer->out, "\"auto\"");
		return buf_put_u64(writer->out, get_number(option, owner));
	case OPTION_PERCENT:
		return buf_printf(writer->out, "\"%llu%%\"", (unsigned long long)get_number(option, owner));
	case OPTION_DURATION:
	case OPTION_SIZE:
		return put_quantity(writer, option, get_number(option, owner));
	case OPTION_RATE:
		return put_rate(writer, at);
	case OPTION_ENUM:
		return json_put_string(writer->out, option_word(option, (unsigned)get_number(option, owner)));
	default:
		return put_kept(writer, option, owner);
	}
}

/* Options that say nothing: texts that are absent, and blocks that do not apply to this tool. */
static bool is_silent(const struct option *option, const void *owner)
{
	const struct tool_draft *tool = owner;
	const struct upstream_draft *upstream = owner;
	const char *text;
	struct rate rate;
	if (strncmp(option->path, "upstreams.*.", strlen("upstreams.*.")) == 0 && !strchr(option->path, '[') &&
	    config_is_foreign(upstream, option))
		return true;
	switch (option->kind) {
	case OPTION_RATE:
		memcpy(&rate, (const char *)owner + option->at, sizeof rate);
		return rate.amount == 0;
	case OPTION_WORD:
	case OPTION_TEXT:
	case OPTION_FILE:
	case OPTION_HEADER_NAME:
	case OPTION_OBJECT:
	case OPTION_SCHEMA:
		memcpy(&text, (const char *)owner + option->at, sizeof text);
		return text == NULL;
	case OPTION_BLOCK:
		if (strcmp(option->path, "cache.disk") == 0)
			return !((const struct config *)owner)->disk;
		if (strcmp(option->path, "cache.redis") == 0)
			return !((const struct config *)owner)->generation.redis;
		if (strcmp(option->path, "cache.redis.sentinel") == 0)
			return !((const struct config *)owner)->generation.redis->sentinel_name;
		return (strcmp(option->path, "upstreams.*.rate") == 0 && !upstream->config.batch.requests.amount &&
			!upstream->config.batch.tokens.amount) ||
		       (strncmp(option->path, "upstreams.*.", 12) == 0 &&
			config_dialect_hides(upstream->dialect, option->path + 12)) ||
		       (strcmp(option->path, "tools.*.request.key_list") == 0 &&
			!tool->own_settings.key_list.parameter) ||
		       (strcmp(option->path, "upstreams.*.cache") == 0 &&
			upstream->config.exposure.cache.ttl_us == 0) ||
		       (strcmp(option->path, "tools.*.cache") == 0 && tool->tool.cache.ttl_us == 0) ||
		       (strcmp(option->path, "tools.*.request") == 0 && tool->request.http_method == NULL);
	default:
		return false;
	}
}

static void put_members(const struct writer *writer, const char *prefix, const void *owner)
{
	bool first = true;
	buf_put_char(writer->out, '{');
	FOR_OPTIONS_BELOW (option, prefix) {
		bool now = option_of_generation(option) || strncmp(option->path, "cache.redis", 11) == 0;
		const void *whose = owner == writer->config && now ? writer->now : owner;
		if ((writer->lasting && option_is_adjustable(option)) || is_silent(option, whose))
			continue;
		if (!first)
			buf_put_char(writer->out, ',');
		first = false;
		json_put_string(writer->out, slice_of(option_key(option)));
		buf_put_char(writer->out, ':');
		put_value(writer, option, owner);
	}
	buf_put_char(writer->out, '}');
}

void config_json(const struct config *process, const struct generation *generation, struct buf *out)
{
	const struct config *now = container_of(generation, const struct config, generation);
	struct writer writer = { process, now, now->drafts, out, false, false };
	put_members(&writer, "", process);
}

/* Not of those that a text is filled in with: a secret is often short enough to be found by its digest. */
static void put_files(const struct writer *writer)
{
	const struct generation *generation = &writer->now->generation;
	const char *comma = "";
	for (size_t i = 0; i < generation->file_count; i++) {
		const struct config_file *file = &generation->files[i];
		if (!file->hash || is_hidden(writer, file->path))
			continue;
		buf_put_text(writer->out, comma);
		json_put_string(writer->out, slice_of(file->path));
		buf_put_char(writer->out, ':');
		json_put_string(writer->out, slice_of(file->hash));
		comma = ",";
	}
}

void config_page(const struct config *process, const struct generation *generation, struct buf *out)
{
	const struct config *now = container_of(generation, const struct config, generation);
	struct writer writer = { process, now, now->drafts, out, false, false };
	config_json(process, generation, out);
	if (out->len) /* the brace that ends it comes later */
		out->len--;
	buf_put_text(out, ",\"files\":{");
	put_files(&writer);
	buf_put_text(out, "}}");
}

/* ---------------------------------------------------------------- for comparing */

void config_put_upstream(const struct config *config, size_t index, bool lasting, struct buf *out)
{
	struct writer writer = { config, config, config->drafts, out, true, lasting };
	put_members(&writer, "upstreams.*.", &config->drafts->upstreams[index]);
}

void config_put_tool(const struct config *config, size_t index, struct buf *out)
{
	struct writer writer = { config, config, config->drafts, out, true, false };
	put_members(&writer, "tools.*.", &config->drafts->tools[index]);
}

void config_put_setting(const struct config *config, const struct option *option, struct buf *out)
{
	struct writer writer = { config, config, config->drafts, out, true, false };
	if (is_silent(option, config))
		buf_put_text(out, "null");
	else
		put_value(&writer, option, config);
}
