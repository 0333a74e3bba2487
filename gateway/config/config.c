/* SPDX-License-Identifier: Apache-2.0 */
/* config.c: the front door of the configuration: a file becomes one frozen struct config, or a list of mistakes. */
#include "gateway/config/config.h"

#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "cache/redis/redis_tls.h"
#include "gateway/config/config_private.h"
#include "gateway/http/listeners.h"
#include "upstream/dialects/dialect.h"
#include "upstream/authorities.h"

enum { MESSAGES_BYTES = 1 << 20 };

static void free_boards(const struct config_drafts *drafts)
{
	for (size_t i = 0; drafts && i < drafts->upstream_count; i++) {
		const struct upstream_settings *settings = &drafts->upstreams[i].config.settings;
		for (size_t j = 0; settings->boards && j < settings->endpoint_count; j++)
			endpoint_board_unref(settings->boards[j]);
	}
}

/* Routes belong to the drafts until the configuration is complete, then to its tools; the drafts stay the same. So do
 * dialects of upstreams' own, which routes point to. */
static void free_routes(const struct config_drafts *drafts)
{
	for (size_t i = 0; drafts && i < drafts->tool_count; i++)
		dialect_route_unref(drafts->tools[i].tool.route);
	for (size_t i = 0; drafts && i < drafts->upstream_count; i++)
		dialect_release(drafts->upstreams[i].own);
	for (size_t i = 0; drafts && i < drafts->upstream_count; i++)
		authorities_free(drafts->upstreams[i].authorities);
}

static void free_all(struct config *config)
{
	free_routes(config->drafts);
	free_boards(config->drafts);
	redis_tls_free(config->drafts ? config->drafts->redis_tls : NULL);
	arena_free(config->arena);
}

void generation_forget_listeners(struct generation *generation)
{
	for (size_t i = 0; i < generation_listeners(generation); i++)
		listener_unref(generation->listeners[i]);
	free(generation->listeners);
	generation->listeners = NULL;
}

struct generation *generation_ref(const struct generation *generation)
{
	struct generation *held = (struct generation *)(uintptr_t)generation; /* all but the count is constant */
	size_t before = atomic_fetch_add_explicit(&held->holders, 1, memory_order_relaxed);
	assert(before > 0);
	return held;
}

void generation_unref(const struct generation *generation)
{
	struct generation *held = (struct generation *)(uintptr_t)generation;
	if (!held)
		return;
	size_t before = atomic_fetch_sub_explicit(&held->holders, 1, memory_order_acq_rel);
	assert(before > 0);
	if (before > 1)
		return;
	if (held->ended)
		held->ended(held);
	generation_forget_listeners(held);
	generation_unkeep(held);
}

void generation_keep(struct generation *generation)
{
	struct config *config = container_of(generation, struct config, generation);
	size_t before = atomic_fetch_add_explicit(&config->supervisors, 1, memory_order_relaxed);
	assert(before > 0);
}

void generation_unkeep(struct generation *generation)
{
	struct config *config = container_of(generation, struct config, generation);
	size_t before = atomic_fetch_sub_explicit(&config->supervisors, 1, memory_order_acq_rel);
	assert(before > 0);
	if (before == 1)
		free_all(config);
}

void config_free(struct config *config)
{
	if (config)
		generation_unref(&config->generation);
}

/* An arena with an empty configuration in it. NULL: out of memory. */
static struct config *make_empty(struct config_load *load)
{
	load->arena = arena_new();
	load->nodes = load->arena ? arena_new() : NULL;
	if (!load->nodes) {
		arena_free(load->arena);
		return NULL;
	}
	load->config = arena_alloc(load->arena, sizeof *load->config);
	load->drafts = arena_alloc(load->arena, sizeof *load->drafts);
	const char *name = arena_text(load->arena, slice_of(load->name));
	if (!name || !load->config || !load->drafts) {
		arena_free(load->arena); /* the nodes': config_parse */
		return NULL;
	}
	atomic_init(&load->config->generation.holders, 1);
	atomic_init(&load->config->supervisors, 1);
	load->config->generation.number = 1;
	load->config->drafts = load->drafts;
	load->config->arena = load->arena;
	load->config->path = name;
	return load->config;
}

/* False: mistakes noted, or out of memory. */
static bool fill_config(struct config_load *load, struct slice text)
{
	struct node *root = node_parse(load, text);
	if (!root)
		return false;
	config_read(load, root);
	config_check(load, root);
	return load->fault_total == 0 && !arena_failed(load->arena) && !arena_failed(load->nodes) &&
	       config_finish(load);
}

const char *config_hash(struct config_load *load, struct slice text)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	char hex[2 * EVP_MAX_MD_SIZE + 1];
	size_t len = 0;
	if (EVP_Q_digest(NULL, "SHA256", NULL, text.at, text.len, digest, &len) != 1)
		return NULL;
	hex_write(hex, digest, len);
	return arena_text(load->arena, slice_of(hex));
}

/* False: out of memory. */
static bool note_text(struct config_load *load, struct slice text)
{
	load->config->generation.bytes = text.len;
	load->config->generation.hash = config_hash(load, text);
	return load->config->generation.hash != NULL;
}

static void put_files(const struct generation *generation, struct buf *files)
{
	for (size_t i = 0; i < generation->file_count; i++) {
		buf_put_text(files, generation->files[i].path);
		buf_put_char(files, '\0');
	}
}

/* files: NULL, or where the files that it names are appended, each with a NUL behind it. */
static struct config *parse_text(const char *name, struct slice text, struct buf *errors, struct buf *files)
{
	struct config_load *load = calloc(1, sizeof *load);
	struct config *config = NULL;
	if (load) {
		load->name = name;
		load->warnings = (struct buf)BUF_INIT(MESSAGES_BYTES);
		config = make_empty(load);
	}
	bool good = config && note_text(load, text) && fill_config(load, text);
	if (config && files)
		put_files(&config->generation, files);
	if (config && !good) {
		config_errors_put(load, errors);
		if (load->fault_total == 0 || arena_failed(load->arena) || arena_failed(load->nodes))
			buf_printf(errors, "%s: out of memory\n", name);
		config_free(config);
		config = NULL;
	} else if (!good) {
		buf_printf(errors, "%s: out of memory\n", name);
	}
	if (good && load->warnings.len)
		config->warnings = arena_text(load->arena, buf_slice(&load->warnings));
	if (load) {
		arena_free(load->nodes);
		buf_fini(&load->warnings);
	}
	free(load);
	return config;
}

struct config *config_parse(const char *name, struct slice text, struct buf *errors)
{
	return parse_text(name, text, errors, NULL);
}

struct config *config_load(const char *path, struct buf *errors)
{
	return config_load_noting(path, errors, NULL);
}

struct config *config_load_noting(const char *path, struct buf *errors, struct buf *files)
{
	struct buf text = BUF_INIT(CONFIG_FILE_BYTES);
	struct config *config = NULL;
	const char *wrong = config_read_file(path, CONFIG_FILE_BYTES, strerror(EFBIG), &text);
	if (!wrong)
		config = parse_text(path, buf_slice(&text), errors, files);
	else
		buf_printf(errors, "%s: %s\n", path, wrong);
	buf_fini(&text);
	return config;
}

void upstream_put_owners(struct buf *out, const struct upstream_config *upstream)
{
	if (upstream->owners_because)
		buf_printf(out, "upstreams.%s.owners: auto is %u %s", upstream->settings.name, upstream->owners,
			   upstream->owners_because);
}

bool upstream_shares_requests(const struct upstream_config *upstream)
{
	return upstream->batch.mode != BATCH_OFF && upstream->batch.max_items > 1 &&
	       upstream->settings.dialect->max_calls > 1 && !upstream->settings.process;
}

size_t upstream_request_calls(const struct upstream_config *upstream)
{
	size_t most = upstream->settings.dialect->max_calls;
	if (!upstream_shares_requests(upstream))
		return 1;
	return upstream->batch.max_items < most ? upstream->batch.max_items : most;
}

enum company tool_company(const struct tool *tool, const struct upstream_config *upstream)
{
	if (tool_is_repeatable(tool) || upstream->writes == WRITES_OF_ANY || !upstream_shares_requests(upstream))
		return COMPANY_OF_ANYBODY;
	return upstream->writes == WRITES_ALONE ? COMPANY_OF_NOBODY : COMPANY_OF_ONE_CALLER;
}

const char *tool_grouping_dialect(const struct tool *tool)
{
	return tool->route && tool->route->dialect->group ? tool->route->dialect->name : NULL;
}
