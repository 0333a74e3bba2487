/*
 * config_check.c: what the option table cannot say: references between blocks, rules that concern two options, routes.
 * And what follows from a file without mistakes: order, indexes, versions.
 */
#include <stdio.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "gateway/config_private.h"

enum { REASON_BYTES = 256 };

/* The node of "request.path" below a block; NULL if the file does not have it. */
static const struct node *find(const struct node *block, const char *path)
{
	char key[64];
	while (block && *path) {
		size_t len = strcspn(path, ".");
		if (len >= sizeof key)
			return NULL;
		memcpy(key, path, len);
		key[len] = '\0';
		block = node_member(block, key);
		path += len + (path[len] == '.');
	}
	return block;
}

/* --- Listeners, identity --- */

static bool is_same_address(const struct listen_address *a, const struct listen_address *b)
{
	if (a->unix_path || b->unix_path)
		return a->unix_path && b->unix_path && strcmp(a->unix_path, b->unix_path) == 0;
	return a->in6.sin6_port != 0 && memcmp(&a->in6, &b->in6, sizeof a->in6) == 0;
}

/* The node that the n-th address of a list was read from; NULL: it is a default. */
static const struct node *address_node(const struct node *list, size_t n)
{
	if (!list || list->kind != NODE_LIST)
		return list;
	const struct node *child = list->first;
	while (child && n--)
		child = child->next;
	return child;
}

/* Complains about the n-th address of `admin` (or of listen, when `admin` is false) if an earlier one is the same. */
static void check_address(struct config_load *load, const struct node *root, bool admin, size_t n)
{
	const struct config *config = load->config;
	const struct listen_address *address = admin ? &config->admin[n] : &config->listen[n];
	const struct node *node = address_node(find(root, admin ? "admin.listen" : "listen"), n);
	bool twice = false;
	if (!node) /* a default that an operator's own address stands in the way of */
		node = find(root, "listen") ? find(root, "listen") : root;
	for (size_t i = 0; i < (admin ? n : 0) && !twice; i++)
		twice = is_same_address(&config->admin[i], address);
	for (size_t i = 0; i < (admin ? config->listen_count : n) && !twice; i++)
		twice = is_same_address(&config->listen[i], address);
	if (twice && address->text)
		config_error_at(load, node, "%s: %s is listened on already", admin ? "admin.listen" : "listen",
				arena_is_secret(load->arena, address->text) ? "this address" : address->text);
}

static void check_listeners(struct config_load *load, const struct node *root)
{
	for (size_t i = 0; i < load->config->listen_count; i++)
		check_address(load, root, false, i);
	for (size_t i = 0; i < load->config->admin_count; i++)
		check_address(load, root, true, i);
}

static void check_identity(struct config_load *load, const struct node *root)
{
	const struct node *node = find(root, "identity.tenant_header");
	bool unix_socket = false;
	for (size_t i = 0; i < load->config->listen_count; i++)
		unix_socket |= load->config->listen[i].unix_path != NULL;
	if (node && load->config->tenant_header && load->config->trusted_proxy_count == 0 && !unix_socket &&
	    !find(root, "trusted_proxies"))
		config_error_at(load, node,
				"identity.tenant_header: is believed only from trusted_proxies, and there are none");
}

/* --- Upstreams --- */

static void check_urls(struct config_load *load, struct upstream_draft *draft)
{
	const struct node *list = find(draft->node, "endpoints");
	size_t i = 0;
	for (const struct node *child = list ? list->first : NULL; child && i < draft->endpoint_count;
	     child = child->next, i++) {
		const char *url = draft->endpoints[i].url;
		const struct node *node = find(child, "url");
		char error[REASON_BYTES] = "";
		if (!url || !node)
			continue;
		/* the reason may quote the URL, which may hold a secret */
		bool secret = arena_is_secret(load->arena, url);
		if (!upstream_url_check(url, error, sizeof error))
			config_error_at(load, node, "upstreams.%s.endpoints[%zu].url: %s", draft->node->key.at, i,
					secret ? "what ${...} stands for is not a URL of an endpoint" : error);
		for (size_t j = 0; j < i; j++)
			if (draft->endpoints[j].url && strcmp(draft->endpoints[j].url, url) == 0)
				config_error_at(load, node, "upstreams.%s.endpoints[%zu].url: is there twice",
						draft->node->key.at, i);
	}
}

static bool is_envelope(const char *dialect)
{
	return dialect && strcmp(dialect, dialect_envelope.name) == 0;
}

/* The upstream's own dialect, from its envelope block. */
static void compile_envelope(struct config_load *load, struct upstream_draft *draft, const struct node *block)
{
	char error[REASON_BYTES] = "", part[64];
	envelope_fill(&draft->envelope);
	draft->enveloped = envelope_new(&draft->envelope, error, sizeof error);
	if (draft->enveloped)
		return;
	/* the reason begins with the option it is about */
	snprintf(part, sizeof part, "%.*s", (int)strcspn(error, ":"), error);
	const struct node *node = find(block, part);
	if (node)
		config_error_at(load, node, "upstreams.%s.envelope.%s", draft->node->key.at, error);
	else
		config_error_key(load, block, "upstreams.%s.envelope.%s", draft->node->key.at, error);
}

static void check_envelope(struct config_load *load, struct upstream_draft *draft)
{
	const struct node *block = find(draft->node, "envelope");
	const struct node *type = find(block, "content_type");
	const char *wrong = draft->envelope.content_type ? value_header(slice_of(draft->envelope.content_type)) : NULL;
	if (wrong && type)
		config_error_at(load, type, "upstreams.%s.envelope.content_type: %s", draft->node->key.at, wrong);
	if (block && draft->dialect && !is_envelope(draft->dialect))
		config_error_key(load, block, "upstreams.%s.envelope: is for dialect envelope, not %s",
				 draft->node->key.at, draft->dialect);
	else if (!block && is_envelope(draft->dialect))
		config_error_key(load, draft->node, "upstreams.%s.envelope is missing: dialect envelope needs it",
				 draft->node->key.at);
	else if (block && draft->dialect && block->kind == NODE_MAP && !draft->faulty && !arena_failed(load->arena))
		compile_envelope(load, draft, block);
}

static void check_upstream(struct config_load *load, struct upstream_draft *draft)
{
	struct upstream_settings *settings = &draft->config.settings;
	struct batch_policy *policy = &draft->config.batch;
	const struct node *idle = find(draft->node, "pool.min_idle");
	const struct node *dialect = find(draft->node, "dialect");
	if (!idle)
		settings->pool_min_idle = settings->pool_max < 2 ? settings->pool_max : 2;
	else if (settings->pool_min_idle > settings->pool_max)
		config_error_at(load, idle, "upstreams.%s.pool.min_idle: is more than pool.max, which is %zu",
				draft->node->key.at, settings->pool_max);
	settings->name = draft->node->key.at;
	settings->dialect = draft->dialect ? dialect_find(slice_of(draft->dialect)) : NULL;
	if (draft->dialect && !settings->dialect && dialect)
		config_error_at(load, dialect, "upstreams.%s.dialect: %s is not supported by this version (%s)",
				draft->node->key.at, draft->dialect, JITNEY_VERSION);
	check_envelope(load, draft);
	if (is_envelope(draft->dialect))
		settings->dialect = draft->enveloped;
	if (settings->dialect && settings->dialect->max_bytes && policy->max_bytes > settings->dialect->max_bytes)
		policy->max_bytes = settings->dialect->max_bytes;
	check_urls(load, draft);
}

/* --- Tools --- */

static struct upstream_draft *find_upstream(const struct config_drafts *drafts, const char *name)
{
	for (size_t i = 0; i < drafts->upstream_count; i++)
		if (strcmp(drafts->upstreams[i].node->key.at, name) == 0)
			return &drafts->upstreams[i];
	return NULL;
}

/* Whether the name stands below upstreams at all, even in a block that has been complained about. */
static void check_upstream_name(struct config_load *load, const struct tool_draft *draft)
{
	const struct node *node = find(draft->node, "upstream");
	if (draft->upstream && node && !find_upstream(load->drafts, draft->upstream))
		config_error_at(load, node, "tools.%s.upstream: there is no upstream \"%.*s\"", draft->node->key.at,
				CONFIG_NAME_BYTES, node->text.at);
}

/* Each name once, in one of the lists. */
static void check_key(struct config_load *load, const struct tool_draft *draft)
{
	const struct key_filter *key = &draft->tool.key;
	const struct node *lists[] = { find(draft->node, "cache.key.ignore"), find(draft->node, "cache.key.only") };
	const char *const *names[] = { key->ignore, key->only };
	const size_t counts[] = { key->ignore_count, key->only_count };
	if (lists[0] && counts[0] && counts[1])
		config_error_key(load, lists[0],
				 "tools.%s.cache.key.ignore: has no use beside only, which leaves out all others",
				 draft->node->key.at);
	for (size_t i = 0; i < countof(lists); i++)
		for (size_t j = 0; lists[i] && j < counts[i]; j++)
			for (size_t k = 0; k < j; k++)
				if (strcmp(names[i][j], names[i][k]) == 0)
					config_error_key(load, lists[i], "tools.%s.cache.key.%s: has \"%.64s\" twice",
							 draft->node->key.at, i ? "only" : "ignore", names[i][j]);
}

static void check_cache(struct config_load *load, const struct tool_draft *draft)
{
	const struct node *cache = find(draft->node, "cache");
	const struct node *scope = find(draft->node, "cache.scope");
	const char *name = draft->node->key.at;
	if (cache && draft->tool.cache.ttl_us && !tool_is_repeatable(&draft->tool))
		config_error_key(load, cache, "%s has a cache but is not declared annotations.read_only or idempotent",
				 name);
	if (scope && draft->tool.scope == SCOPE_TENANT && !load->config->tenant_header)
		config_error_at(load, scope, "tools.%s.cache.scope: tenant needs identity.tenant_header", name);
}

static void check_schema(struct config_load *load, const struct tool_draft *draft)
{
	const struct node *schema = find(draft->node, "input_schema");
	const struct node *type = find(schema, "type");
	if (!schema || schema->kind != NODE_MAP)
		return;
	if (!type || type->kind != NODE_SCALAR || !slice_equal(type->text, SLICE("object")))
		config_error_at(load, type ? type : schema,
				"tools.%s.input_schema: needs type: object, for arguments are one",
				draft->node->key.at);
}

static bool is_embeddings(const char *dialect)
{
	return strcmp(dialect, dialect_openai_embeddings.name) == 0;
}

/* There is one way to ask for embeddings; and only they know models. */
static bool check_models(struct config_load *load, const struct tool_draft *draft, const char *dialect)
{
	const struct node *models = find(draft->node, "models"), *method = find(draft->node, "method");
	const struct node *request = find(draft->node, "request");
	if (models && draft->tool.model_count && !is_embeddings(dialect))
		config_error_key(load, models, "tools.%s.models: is for dialect openai-embeddings, not %s",
				 draft->node->key.at, dialect);
	else if (is_embeddings(dialect) && (method || request))
		config_error_key(load, method ? method : request, "tools.%s.%s: dialect %s has no use for it",
				 draft->node->key.at, method ? "method" : "request", dialect);
	else
		return true;
	return false;
}

/* Options of the other dialect would do nothing, silently. */
static bool check_dialect_options(struct config_load *load, const struct tool_draft *draft, const char *dialect)
{
	bool rest = strcmp(dialect, "rest") == 0;
	const struct node *wrong = find(draft->node, rest ? "method" : "request");
	if (!wrong || is_envelope(dialect))
		return true;
	if (rest)
		config_error_key(load, wrong, "tools.%s.method: is for dialect jsonrpc; a rest tool has request.method",
				 draft->node->key.at);
	else
		config_error_key(load, wrong, "tools.%s.request: is for dialect rest; a %s tool has method",
				 draft->node->key.at, dialect);
	return false;
}

static void compile_route(struct config_load *load, struct tool_draft *draft, const struct dialect *dialect)
{
	char error[REASON_BYTES] = "";
	draft->request.tool = draft->node->key.at;
	draft->request.envelope = dialect;
	draft->tool.route = dialect->route_new(&draft->request, error, sizeof error);
	if (draft->tool.route)
		return;
	/* the reason begins with the part it is about: "path: ...", "query.days: ..." */
	const struct node *request = find(draft->node, "request"), *method = find(draft->node, "method");
	char part[64];
	snprintf(part, sizeof part, "%.*s", (int)strcspn(error, ":"), error);
	const struct node *node = find(request, part);
	if (node)
		config_error_at(load, node, "tools.%s.request.%s", draft->node->key.at, error);
	else
		config_error_key(load,
				 request  ? request
				 : method ? method
					  : draft->node,
				 "tools.%s: %s", draft->node->key.at, error);
}

static void check_tool(struct config_load *load, struct tool_draft *draft)
{
	check_upstream_name(load, draft);
	check_cache(load, draft);
	check_key(load, draft);
	check_schema(load, draft);
	struct upstream_draft *upstream = draft->upstream ? find_upstream(load->drafts, draft->upstream) : NULL;
	const struct dialect *dialect = upstream ? upstream->config.settings.dialect : NULL;
	if (!dialect || !check_models(load, draft, dialect->name) ||
	    !check_dialect_options(load, draft, dialect->name) || arena_failed(load->arena))
		return;
	if (!draft->faulty) /* else a template may be missing, and what is left would mislead */
		compile_route(load, draft, dialect);
}

void config_check(struct config_load *load, const struct node *root)
{
	check_listeners(load, root);
	check_identity(load, root);
	for (size_t i = 0; i < load->drafts->upstream_count; i++)
		check_upstream(load, &load->drafts->upstreams[i]);
	for (size_t i = 0; i < load->drafts->tool_count; i++)
		check_tool(load, &load->drafts->tools[i]);
}

/* A URL for everybody's eyes, callers' too. What ${...} filled in may be a secret, and a token stands in the path, so
 * the path is left out then; the number tells endpoints apart that differ in nothing else. NULL: out of memory. */
static const char *shown_url(struct config_load *load, const char *url, size_t index)
{
	if (!arena_is_secret(load->arena, url))
		return url;
	size_t host = strcspn(url, ":") + strlen("://");
	size_t path = host + strcspn(url + host, "/");
	if (index == 0)
		return arena_printf(load->arena, "%.*s/***", (int)path, url);
	return arena_printf(load->arena, "%.*s/***#%zu", (int)path, url, index + 1);
}

/* --- What follows --- */

static bool finish_upstreams(struct config_load *load)
{
	struct config *config = load->config;
	struct config_drafts *drafts = load->drafts;
	unsigned endpoints = 0;
	config->upstreams = arena_array(load->arena, drafts->upstream_count, sizeof *config->upstreams);
	for (size_t i = 0; config->upstreams && i < drafts->upstream_count; i++) {
		struct upstream_draft *draft = &drafts->upstreams[i];
		struct upstream_settings *settings = &draft->config.settings;
		const char **urls = arena_array(load->arena, draft->endpoint_count, sizeof *urls);
		const char **shown = arena_array(load->arena, draft->endpoint_count, sizeof *shown);
		if (!urls || !shown)
			return false;
		for (size_t j = 0; j < draft->endpoint_count; j++) {
			urls[j] = draft->endpoints[j].url;
			shown[j] = shown_url(load, urls[j], j);
			if (!shown[j])
				return false;
		}
		settings->endpoints = urls;
		settings->shown = shown;
		settings->endpoint_count = draft->endpoint_count;
		settings->label = (unsigned)i;
		settings->first_endpoint_label = endpoints;
		settings->json_depth = config->limits.json_depth;
		endpoints += (unsigned)draft->endpoint_count;
		config->upstreams[i] = draft->config;
		config->upstream_count = i + 1;
	}
	return config->upstreams != NULL;
}

static void hash_text(XXH3_state_t *hash, const char *text)
{
	uint64_t len = text ? strlen(text) : UINT64_MAX; /* no value is not the empty value */
	XXH3_128bits_update(hash, &len, sizeof len);
	if (text)
		XXH3_128bits_update(hash, text, len);
}

/* Secrets change nothing about what a tool means, and have no place in a version that callers see. */
static void hash_pairs(struct config_load *load, XXH3_state_t *hash, const struct route_pair *pairs, size_t count)
{
	XXH3_128bits_update(hash, &count, sizeof count);
	for (size_t i = 0; i < count; i++) {
		hash_text(hash, pairs[i].name);
		hash_text(hash, arena_is_secret(load->arena, pairs[i].value) ? "${}" : pairs[i].value);
	}
}

static void hash_names(XXH3_state_t *hash, const char *const *names, size_t count)
{
	XXH3_128bits_update(hash, &count, sizeof count);
	for (size_t i = 0; i < count; i++)
		hash_text(hash, names[i]);
}

static void hash_envelope(XXH3_state_t *hash, const struct envelope_settings *envelope)
{
	const char *const texts[] = { envelope->preset,       envelope->method,     envelope->path,
				      envelope->content_type, envelope->headers,    envelope->framing,
				      envelope->body,         envelope->item,       envelope->answer_framing,
				      envelope->list,         envelope->match,      envelope->id,
				      envelope->result,       envelope->status,     envelope->errors,
				      envelope->error,        envelope->retry_after };
	for (size_t i = 0; i < countof(texts); i++)
		hash_text(hash, texts[i]);
}

static const char *tool_version(struct config_load *load, const struct tool_draft *draft,
				const struct upstream_draft *from)
{
	const struct upstream_settings *upstream = &from->config.settings;
	XXH3_state_t hash;
	XXH3_128bits_reset(&hash);
	hash_text(&hash, upstream->name);
	hash_text(&hash, upstream->dialect->name);
	for (size_t i = 0; i < upstream->endpoint_count; i++)
		hash_text(&hash, upstream->endpoints[i]);
	for (size_t i = 0; i < upstream->header_count; i++)
		hash_pairs(load, &hash, &(struct route_pair){ upstream->headers[i].name, upstream->headers[i].value },
			   1);
	if (from->enveloped)
		hash_envelope(&hash, &from->envelope);
	hash_text(&hash, draft->request.method);
	hash_text(&hash, draft->request.http_method);
	hash_text(&hash, draft->request.path);
	hash_text(&hash, draft->request.body);
	hash_pairs(load, &hash, draft->request.query, draft->request.query_count);
	hash_pairs(load, &hash, draft->request.headers, draft->request.header_count);
	hash_names(&hash, draft->tool.key.ignore, draft->tool.key.ignore_count);
	hash_names(&hash, draft->tool.key.only, draft->tool.key.only_count);
	XXH128_hash_t digest = XXH3_128bits_digest(&hash);
	return arena_printf(load->arena, "%016llx%016llx", (unsigned long long)digest.high64,
			    (unsigned long long)digest.low64);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct tool_draft *)a)->node->key.at, ((const struct tool_draft *)b)->node->key.at);
}

/* For config_json: what the dialect did in place of what the file does not say. */
static void fill_request(struct config_load *load, struct tool_draft *draft, const struct dialect *dialect)
{
	bool rest = strcmp(dialect->name, "rest") == 0;
	if (is_envelope(dialect->name))
		return; /* what the item does not name has no meaning */
	if (!rest && !is_embeddings(dialect->name) && !draft->request.method)
		draft->request.method = draft->tool.name;
	if (rest && !draft->request.http_method)
		draft->request.http_method = "POST";
	if (rest && !draft->request.path)
		draft->request.path = arena_printf(load->arena, "/%s", draft->tool.name);
}

static void finish_tool(struct config_load *load, struct tool_draft *draft, unsigned index)
{
	struct tool *tool = &draft->tool;
	const struct upstream_draft *upstream = find_upstream(load->drafts, draft->upstream);
	tool->name = draft->node->key.at;
	tool->index = index;
	tool->upstream = (unsigned)(upstream - load->drafts->upstreams);
	if (!tool->description)
		tool->description = "";
	if (!tool->title)
		tool->title = "";
	if (!tool->input_schema)
		tool->input_schema = "{\"type\":\"object\"}";
	if (!find(draft->node, "annotations.destructive"))
		tool->destructive = !tool->read_only;
	if (!tool->timeout_us)
		tool->timeout_us = upstream->config.settings.timeout_us;
	tool->version = tool_version(load, draft, upstream);
	fill_request(load, draft, upstream->config.settings.dialect);
}

bool config_finish(struct config_load *load)
{
	struct config *config = load->config;
	struct config_drafts *drafts = load->drafts;
	if (!finish_upstreams(load))
		return false;
	if (drafts->tool_count)
		qsort(drafts->tools, drafts->tool_count, sizeof *drafts->tools, by_name);
	config->tools = arena_array(load->arena, drafts->tool_count, sizeof *config->tools);
	if (!config->tools)
		return false;
	for (size_t i = 0; i < drafts->tool_count; i++) {
		finish_tool(load, &drafts->tools[i], (unsigned)i);
		config->tools[i] = drafts->tools[i].tool;
	}
	config->tool_count = drafts->tool_count;
	return !arena_failed(load->arena);
}
