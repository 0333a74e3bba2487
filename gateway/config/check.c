/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c: what the option table cannot say: references between blocks, rules that concern two options, routes.
 * And what follows from a file without mistakes: order, indexes, versions.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <openssl/evp.h>

#include "base/hex.h"
#include "gateway/config/config_private.h"
#include "upstream/authorities.h"

enum { REASON_BYTES = 256 };

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
	const struct listen_address *address = admin ? &config->generation.admin[n] : &config->generation.listen[n];
	const struct node *node = address_node(node_find(root, admin ? "admin.listen" : "listen"), n);
	bool twice = false;
	if (!node) /* a default that an operator's own address stands in the way of */
		node = node_find(root, "listen") ? node_find(root, "listen") : root;
	for (size_t i = 0; i < (admin ? n : 0) && !twice; i++)
		twice = is_same_address(&config->generation.admin[i], address);
	for (size_t i = 0; i < (admin ? config->generation.listen_count : n) && !twice; i++)
		twice = is_same_address(&config->generation.listen[i], address);
	if (twice && address->text)
		config_error_at(load, node, "%s: %s is listened on already", admin ? "admin.listen" : "listen",
				secrets_have(&load->config->secrets, address->text) ? "this address" : address->text);
}

static void check_listeners(struct config_load *load, const struct node *root)
{
	for (size_t i = 0; i < load->config->generation.listen_count; i++)
		check_address(load, root, false, i);
	for (size_t i = 0; i < load->config->generation.admin_count; i++)
		check_address(load, root, true, i);
}

static void check_takeover(struct config_load *load, const struct node *root)
{
	const struct node *node = node_find(root, "takeover.socket");
	const char *socket = load->config->takeover_socket;
	if (node && socket && socket[0] != '/' && strcmp(socket, "auto") != 0 && strcmp(socket, "off") != 0)
		config_error_at(load, node, "takeover.socket: must be auto, off, or an absolute path");
}

static void check_identity(struct config_load *load, const struct node *root)
{
	const struct node *node = node_find(root, "identity.tenant_header");
	bool unix_socket = false;
	for (size_t i = 0; i < load->config->generation.listen_count; i++)
		unix_socket |= load->config->generation.listen[i].unix_path != NULL;
	if (node && load->config->generation.http.tenant_header &&
	    load->config->generation.http.trusted_proxy_count == 0 && !unix_socket &&
	    !node_find(root, "trusted_proxies"))
		config_error_at(load, node,
				"identity.tenant_header: is believed only from trusted_proxies, and there are none");
}

/* --- Upstreams --- */

/* Old files say batch.in_flight. */
static void check_in_flight(struct config_load *load, struct upstream_draft *draft)
{
	const struct node *node = node_find(draft->node, "batch.in_flight");
	const char *name = draft->node->key.at;
	if (!node || draft->in_flight == 0)
		return;
	if (node_find(draft->node, "concurrency"))
		config_error_at(load, node,
				"upstreams.%s.batch.in_flight: is the old name of concurrency, which is given too",
				name);
	else
		config_warning(load, node,
			       "upstreams.%s.batch.in_flight: is now called concurrency; write concurrency: %zu", name,
			       draft->in_flight);
	draft->config.batch.concurrency = draft->in_flight;
}

/* So many connections one worker may need: a connection is one worker's. */
static size_t most_connections(const struct upstream_draft *draft)
{
	return draft->config.batch.concurrency ? draft->config.batch.concurrency : CONCURRENCY_MOST;
}

/* The pool holds whatever the limiter lets out, unless it is given a size. */
static void check_concurrency(struct config_load *load, struct upstream_draft *draft)
{
	check_in_flight(load, draft);
	draft->config.owners = draft->config.owners_asked ? (unsigned)draft->config.owners_asked : 1;
	if (!node_find(draft->node, "pool.max"))
		draft->config.settings.pool_max = most_connections(draft) * draft->config.owners;
}

/* Where several workers cannot send to it; NULL: they can. What is promised to the provider is one number for all of them;
 * what only one can know, or decide, needs one owner. */
static const char *refuse_owners(const struct upstream_draft *draft)
{
	const struct upstream_config *upstream = &draft->config;
	const struct dialect *dialect = upstream->settings.dialect;
	if (upstream->settings.process || (dialect && dialect->lists_tools))
		return "for MCP servers and programs, whose sessions and processes one worker has";
	if (dialect && upstream_shares_requests(upstream))
		return "where calls share requests: batches are full because one worker fills them; or set batch.mode: "
		       "off";
	return NULL;
}

/* As many as there are workers, where the provider sees nothing of it: no more requests at once, and no more connections
 * than the file allows. */
static void choose_owners(struct config_load *load, struct upstream_draft *draft)
{
	static const char no_room[] =
		"since each needs as many connections as concurrency allows requests, and pool.max "
		"allows no more";
	struct upstream_config *upstream = &draft->config;
	bool bounded = upstream->batch.concurrency > 0 || node_find(draft->node, "pool.max");
	size_t workers = load->config->workers < OWNERS_MOST ? load->config->workers : OWNERS_MOST;
	size_t room = bounded ? upstream->settings.pool_max / most_connections(draft) : workers;
	const char *where = refuse_owners(draft);
	upstream->owners = where || room < 1 ? 1 : (unsigned)(room < workers ? room : workers);
	upstream->owners_because = where;
	if (!where)
		upstream->owners_because = room >= workers ? "since there are so many workers" : no_room;
	if (!bounded)
		upstream->settings.pool_max = most_connections(draft) * upstream->owners;
}

static void check_owners(struct config_load *load, struct upstream_draft *draft)
{
	const struct node *node = node_find(draft->node, "owners");
	if (draft->config.owners_asked == 0) {
		choose_owners(load, draft);
		return;
	}
	const char *where = draft->config.owners > 1 ? refuse_owners(draft) : NULL;
	if (node && where)
		config_error_at(load, node, "upstreams.%s.owners: is 1 %s", draft->node->key.at, where);
	else if (node && draft->config.owners > 1 &&
		 draft->config.settings.pool_max < most_connections(draft) * draft->config.owners)
		config_error_at(load, node,
				"upstreams.%s.owners: needs pool.max of concurrency x owners at least, which is %zu: a "
				"connection is one worker's",
				draft->node->key.at, most_connections(draft) * draft->config.owners);
}

static void check_shares(struct config_load *load, const struct upstream_draft *draft)
{
	unsigned sum = 0;
	for (size_t band = 0; band < BAND_COUNT; band++)
		sum += draft->config.batch.shares.percent[band];
	if (sum > 100)
		config_error_at(load, node_find(draft->node, "queue.shares"),
				"upstreams.%s.queue.shares: are %u%% together; no more than 100%% can be guaranteed",
				draft->node->key.at, sum);
}

/* They are taken apart now: a file that is changed meanwhile is another one with the next reading. */
static void check_authorities(struct config_load *load, struct upstream_draft *draft)
{
	struct buf pem = BUF_INIT(CONFIG_NAMED_FILE_BYTES);
	char why[256];
	if (!draft->ca_file)
		return;
	const char *wrong = config_read_file(draft->ca_file, CONFIG_NAMED_FILE_BYTES, strerror(EFBIG), &pem);
	if (!wrong && !(draft->authorities = authorities_new(buf_slice(&pem), why, sizeof why)))
		wrong = why;
	if (wrong)
		config_error_at(load, node_find(draft->node, "ca_file"), "upstreams.%s.ca_file: %s",
				draft->node->key.at, wrong);
	buf_fini(&pem);
	draft->config.settings.authorities = draft->authorities;
}

static void check_upstream(struct config_load *load, struct upstream_draft *draft)
{
	struct upstream_settings *settings = &draft->config.settings;
	struct batch_policy *policy = &draft->config.batch;
	check_concurrency(load, draft);
	check_shares(load, draft);
	const struct node *idle = node_find(draft->node, "pool.min_idle");
	if (!idle)
		settings->pool_min_idle = settings->pool_max < 2 ? settings->pool_max : 2;
	else if (settings->pool_min_idle > settings->pool_max)
		config_error_at(load, idle, "upstreams.%s.pool.min_idle: is more than pool.max, which is %zu",
				draft->node->key.at, settings->pool_max);
	settings->name = draft->node->key.at;
	check_authorities(load, draft);
	config_check_dialect(load, draft);
	config_check_exposure(load, draft);
	if (settings->dialect)
		policy->max_tokens = settings->dialect->max_tokens;
	if (settings->dialect && policy->tokens.amount && !settings->dialect->tokens)
		config_error_at(load, node_find(draft->node, "rate.tokens"),
				"upstreams.%s.rate.tokens: the dialect %s does not estimate tokens",
				draft->config.settings.name, settings->dialect->name);
	if (settings->dialect && settings->dialect->max_bytes && policy->max_bytes > settings->dialect->max_bytes)
		policy->max_bytes = settings->dialect->max_bytes;
	config_check_program(load, draft);
	config_check_endpoints(load, draft);
	check_owners(load, draft);
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
	const struct node *node = node_find(draft->node, "upstream");
	if (draft->upstream && node && !find_upstream(load->drafts, draft->upstream))
		config_error_at(load, node, "tools.%s.upstream: there is no upstream \"%.*s\"", draft->node->key.at,
				CONFIG_NAME_BYTES, node->text.at);
}

/* Each name once, in one of the lists. */
static void check_key(struct config_load *load, const struct tool_draft *draft)
{
	const struct key_filter *key = &draft->tool.key;
	const struct node *lists[] = { node_find(draft->node, "cache.key.ignore"),
				       node_find(draft->node, "cache.key.only") };
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
	const struct node *cache = node_find(draft->node, "cache");
	const struct node *scope = node_find(draft->node, "cache.scope");
	const char *name = draft->node->key.at;
	const struct upstream_draft *upstream = draft->upstream ? find_upstream(load->drafts, draft->upstream) : NULL;
	bool hinted = upstream && upstream->config.exposure.trust_hints; /* the server's list will say */
	if (cache && draft->tool.cache.ttl_us && !tool_is_repeatable(&draft->tool) && !hinted)
		config_error_key(load, cache, "%s has a cache but is not declared annotations.read_only or idempotent",
				 name);
	if (scope && draft->tool.scope == SCOPE_TENANT && !load->config->generation.http.tenant_header)
		config_error_at(load, scope, "tools.%s.cache.scope: tenant needs identity.tenant_header", name);
}

static void check_schema(struct config_load *load, const struct tool_draft *draft)
{
	const struct node *schema = node_find(draft->node, "input_schema");
	const struct node *type = node_find(schema, "type");
	if (!schema || schema->kind != NODE_MAP)
		return;
	if (!type || type->kind != NODE_SCALAR || !slice_equal(type->text, SLICE("object")))
		config_error_at(load, type ? type : schema,
				"tools.%s.input_schema: needs type: object, for arguments are one",
				draft->node->key.at);
}

static void check_tool(struct config_load *load, struct tool_draft *draft)
{
	check_upstream_name(load, draft);
	check_cache(load, draft);
	check_key(load, draft);
	check_schema(load, draft);
	config_check_arguments(load, draft);
	struct upstream_draft *upstream = draft->upstream ? find_upstream(load->drafts, draft->upstream) : NULL;
	if (upstream && upstream->config.settings.dialect && !arena_failed(load->arena))
		config_check_route(load, draft, upstream);
}

static void check_reload(struct config_load *load, const struct node *root)
{
	struct generation *generation = &load->config->generation;
	const struct node *node = node_find(root, "reload.debounce");
	if (!generation->debounce || strcmp(generation->debounce, "auto") == 0)
		return;
	const char *wrong = value_duration(slice_of(generation->debounce), &generation->debounce_us);
	if (node &&
	    (wrong || generation->debounce_us < CLOCK_US_PER_MS || generation->debounce_us > 60 * CLOCK_US_PER_S))
		config_error_at(load, node, "reload.debounce: must be auto, or a duration of 1ms to 1m");
}

void config_check(struct config_load *load, const struct node *root)
{
	check_listeners(load, root);
	check_identity(load, root);
	check_takeover(load, root);
	config_check_mcp(load, root);
	config_check_alerts(load, root);
	check_reload(load, root);
	config_check_tracing(load, root);
	if (node_find(root, "cache.redis") && node_find(root, "cache.redis")->kind == NODE_MAP)
		config_check_redis(load, node_find(root, "cache.redis"));
	if (node_find(root, "cache.disk") && node_find(root, "cache.disk")->kind == NODE_MAP)
		config_check_disk(load, root, node_find(root, "cache.disk"));
	for (size_t i = 0; i < load->drafts->upstream_count; i++)
		check_upstream(load, &load->drafts->upstreams[i]);
	config_check_prefixes(load);
	for (size_t i = 0; i < load->drafts->tool_count; i++)
		check_tool(load, &load->drafts->tools[i]);
}

/* --- What follows --- */

/*
 * Two digests of the same definition. The version is shown to callers and knows no secret: it says what a tool means.
 * The source is part of every key and shown to nobody: it also says whose answers they are, since the account behind
 * a token, or the database that a program's environment names, decides what comes back. SHA-256, because what it is
 * made of must not be guessed back from it.
 */
struct hashing {
	EVP_MD_CTX *context;
	const struct config_load *load;
	bool source; /* with secrets, and with what only they who run the provider know */
	bool failed;
};

static void hash_bytes(struct hashing *hash, const void *bytes, size_t len)
{
	hash->failed = hash->failed || EVP_DigestUpdate(hash->context, bytes, len) != 1;
}

static void hash_count(struct hashing *hash, uint64_t count)
{
	hash_bytes(hash, &count, sizeof count);
}

static void hash_text(struct hashing *hash, const char *text)
{
	hash_count(hash, text ? strlen(text) : UINT64_MAX); /* no value is not the empty value */
	if (text)
		hash_bytes(hash, text, strlen(text));
}

/* What may be a secret. */
static void hash_private(struct hashing *hash, const char *text)
{
	bool hidden = text && !hash->source && secrets_have(&hash->load->config->secrets, text);
	hash_text(hash, hidden ? "${}" : text);
}

static void hash_pairs(struct hashing *hash, const struct route_pair *pairs, size_t count)
{
	hash_count(hash, count);
	for (size_t i = 0; i < count; i++) {
		hash_text(hash, pairs[i].name);
		hash_private(hash, pairs[i].value);
	}
}

static void hash_names(struct hashing *hash, const char *const *names, size_t count)
{
	hash_count(hash, count);
	for (size_t i = 0; i < count; i++)
		hash_text(hash, names[i]);
}

/* Every text that the options right below `prefix` have set in `owner`. */
static void hash_texts(struct hashing *hash, const char *prefix, const void *owner)
{
	FOR_OPTIONS_BELOW (option, prefix) {
		const char *text;
		if (option->kind != OPTION_TEXT && option->kind != OPTION_FILE && option->kind != OPTION_WORD)
			continue;
		memcpy(&text, (const char *)owner + option->at, sizeof text);
		hash_text(hash, text);
	}
}

/* The blocks that only the upstream's dialect knows. */
static void hash_dialect(struct hashing *hash, const struct upstream_draft *draft)
{
	const struct config_dialect *dialect = config_dialect_find(draft->dialect);
	for (const char *const *option = dialect->options; option && *option; option++)
		hash_texts(hash, arena_printf(hash->load->arena, "upstreams.*.%s.", *option), draft);
}

/* What decides who answers, and is no part of what a tool means. */
static void hash_source(struct hashing *hash, const struct upstream_draft *from)
{
	const struct upstream_settings *upstream = &from->config.settings;
	const struct process_settings *process = upstream->process ? &upstream->process->process : NULL;
	hash_text(hash, from->ca_file);
	hash_count(hash, process ? process->variable_count : 0);
	for (size_t i = 0; process && i < process->variable_count; i++) {
		hash_text(hash, process->variables[i].name);
		hash_text(hash, process->variables[i].value);
	}
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Which they are, in whatever order. */
static void hash_endpoints(struct hashing *hash, const struct upstream_settings *upstream)
{
	size_t count = upstream->endpoint_count;
	const char **sorted = arena_array(hash->load->nodes, count, sizeof *sorted);
	hash->failed |= count && !sorted;
	if (hash->failed || !count)
		return;
	memcpy(sorted, upstream->endpoints, count * sizeof *sorted);
	qsort(sorted, count, sizeof *sorted, compare_texts);
	for (size_t i = 0; i < count; i++)
		hash_text(hash, sorted[i]);
}

static void hash_upstream(struct hashing *hash, const struct upstream_draft *from)
{
	const struct upstream_settings *upstream = &from->config.settings;
	hash_text(hash, upstream->name);
	hash_text(hash, upstream->dialect->name);
	hash_endpoints(hash, upstream);
	for (size_t i = 0; i < from->arg_count; i++)
		hash_private(hash, from->args[i]);
	hash_text(hash, from->cwd);
	for (size_t i = 0; i < upstream->header_count; i++)
		hash_pairs(hash, &(struct route_pair){ upstream->headers[i].name, upstream->headers[i].value }, 1);
	if (hash->source)
		hash_source(hash, from);
	hash_dialect(hash, from);
}

static bool begin_digest(struct hashing *hash, const struct config_load *load, bool source)
{
	*hash = (struct hashing){ .context = EVP_MD_CTX_new(), .load = load, .source = source };
	return hash->context && EVP_DigestInit_ex2(hash->context, EVP_sha256(), NULL) == 1;
}

enum { DIGEST_BYTES = 16 }; /* of SHA-256's: what they name was not chosen by anybody who gains from a collision */

/* 32 hexadecimal digits. NULL: out of memory. */
static const char *end_digest(struct config_load *load, struct hashing *hash)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	char text[2 * EVP_MAX_MD_SIZE + 1];
	unsigned len = 0;
	bool ok = !hash->failed && EVP_DigestFinal_ex(hash->context, digest, &len) == 1;
	EVP_MD_CTX_free(hash->context);
	hex_write(text, digest, len);
	return ok ? arena_printf(load->arena, "%.*s", 2 * DIGEST_BYTES, text) : NULL;
}

static const char *digest_upstream(struct config_load *load, const struct upstream_draft *draft, bool source)
{
	struct hashing hash;
	if (!begin_digest(&hash, load, source))
		return NULL;
	hash_upstream(&hash, draft);
	return end_digest(load, &hash);
}

/* Endpoints are numbered through. False: out of memory. */
static bool number_endpoints(struct config_load *load, struct upstream_settings *settings, unsigned first)
{
	unsigned *labels = arena_array(load->arena, settings->endpoint_count, sizeof *labels);
	for (size_t i = 0; labels && i < settings->endpoint_count; i++)
		labels[i] = first + (unsigned)i;
	settings->endpoint_labels = labels;
	return labels != NULL;
}

static bool finish_upstreams(struct config_load *load)
{
	struct config *config = load->config;
	struct config_drafts *drafts = load->drafts;
	unsigned endpoints = 0;
	config->generation.upstreams =
		arena_array(load->arena, drafts->upstream_count, sizeof *config->generation.upstreams);
	for (size_t i = 0; config->generation.upstreams && i < drafts->upstream_count; i++) {
		struct upstream_draft *draft = &drafts->upstreams[i];
		struct upstream_settings *settings = &draft->config.settings;
		if (config_is_program(draft) && !config_finish_program(load, draft))
			return false;
		if (!config_finish_endpoints(load, draft))
			return false;
		settings->label = (unsigned)i;
		if (!number_endpoints(load, settings, endpoints))
			return false;
		settings->json_depth = config->generation.limits.json_depth;
		draft->config.exposure.version = digest_upstream(load, draft, false);
		draft->config.exposure.source = digest_upstream(load, draft, true);
		if (!draft->config.exposure.version || !draft->config.exposure.source)
			return false;
		endpoints += (unsigned)draft->endpoint_count;
		config->generation.upstreams[i] = draft->config;
		config->generation.upstream_count = i + 1;
	}
	return config->generation.upstreams != NULL;
}

static const char *digest_tool(struct config_load *load, const struct tool_draft *draft,
			       const struct upstream_draft *from, bool source)
{
	struct hashing hash;
	if (!begin_digest(&hash, load, source))
		return NULL;
	hash_upstream(&hash, from);
	hash_text(&hash, draft->request.operation);
	hash_texts(&hash, "tools.*.request.key_list.", draft);
	hash_text(&hash, draft->request.method);
	hash_text(&hash, draft->request.http_method);
	hash_text(&hash, draft->request.path);
	hash_text(&hash, draft->request.body);
	hash_pairs(&hash, draft->request.query, draft->request.query_count);
	hash_pairs(&hash, draft->request.headers, draft->request.header_count);
	hash_names(&hash, draft->tool.key.ignore, draft->tool.key.ignore_count);
	hash_names(&hash, draft->tool.key.only, draft->tool.key.only_count);
	if (draft->tool.constants)
		hash_text(&hash, draft->tool.constants);
	/* which purges reach its answers: with other tags they are other answers */
	if (source && draft->tool.tag_count)
		hash_names(&hash, draft->tool.tags, draft->tool.tag_count);
	return end_digest(load, &hash);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct tool_draft *)a)->node->key.at, ((const struct tool_draft *)b)->node->key.at);
}

static void finish_tool(struct config_load *load, struct tool_draft *draft, unsigned index)
{
	struct tool *tool = &draft->tool;
	const struct upstream_draft *upstream = find_upstream(load->drafts, draft->upstream);
	tool->name = draft->node->key.at;
	tool->index = index;
	tool->declared = true;
	tool->overridden = config_overridden(draft);
	tool->upstream = (unsigned)(upstream - load->drafts->upstreams);
	if (!tool->description)
		tool->description = "";
	if (!tool->title)
		tool->title = "";
	if (!tool->input_schema)
		tool->input_schema = "{\"type\":\"object\"}";
	if (!node_find(draft->node, "annotations.destructive"))
		tool->destructive = !tool->read_only;
	if (!tool->timeout_us)
		tool->timeout_us = upstream->config.settings.timeout_us;
	tool->version = digest_tool(load, draft, upstream, false);
	tool->source = digest_tool(load, draft, upstream, true);
	config_fill_request(load, draft, upstream->config.settings.dialect);
}

bool config_finish(struct config_load *load)
{
	struct config *config = load->config;
	struct config_drafts *drafts = load->drafts;
	config_finish_redis(load);
	config_finish_disk(load);
	config_finish_tracing(load);
	if (!finish_upstreams(load))
		return false;
	if (drafts->tool_count)
		qsort(drafts->tools, drafts->tool_count, sizeof *drafts->tools, by_name);
	config->generation.tools = arena_array(load->arena, drafts->tool_count, sizeof *config->generation.tools);
	if (!config->generation.tools)
		return false;
	for (size_t i = 0; i < drafts->tool_count; i++) {
		finish_tool(load, &drafts->tools[i], (unsigned)i);
		config->generation.tools[i] = drafts->tools[i].tool;
		if (!config->generation.tools[i].version || !config->generation.tools[i].source)
			return false;
	}
	config->generation.tool_count = drafts->tool_count;
	return !arena_failed(load->arena);
}
