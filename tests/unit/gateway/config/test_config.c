/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration: what a good file means, what is left to defaults, secrets, and memory that runs out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#define json_type json_c_type /* json-c has the name too */
#include <json-c/json.h>
#undef json_type
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/config/config.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/config_tools.h"

#define PROVIDERS                                                                                                      \
	"upstreams: { s: { dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ] },"                                  \
	" r: { dialect: rest, endpoints: [ { url: \"http://h\" } ] } }\n"

/* The contract's example, less what this version refuses. */
static const char contract[] =
	"listen: 127.0.0.1:8080            # or a list\n"
	"admin: { listen: 127.0.0.1:8081 }\n"
	"workers: auto\n"
	"drain_timeout: 10s\n"
	"log: { level: info, format: logfmt, file: stderr, access: true }\n"
	"limits:\n"
	"  body: 8MiB\n"
	"  headers: 8KiB\n"
	"  header_timeout: 5s\n"
	"  body_timeout: 30s\n"
	"  idle_timeout: 75s\n"
	"  connections: 10000\n"
	"  in_flight: 20000\n"
	"  in_flight_bytes: 256MiB\n"
	"  json_depth: 64\n"
	"trusted_proxies: [ 127.0.0.1/32 ]\n"
	"identity: { tenant_header: X-Tenant }\n"
	"cache:\n"
	"  memory: { size: 256MiB }\n"
	"upstreams:\n"
	"  search:\n"
	"    dialect: jsonrpc\n"
	"    endpoints: [ { url: http://127.0.0.1:9001/rpc } ]\n"
	"    headers: { Authorization: \"Bearer ${SEARCH_TOKEN}\" }\n"
	"    batch: { mode: adaptive, items: 100, bytes: 1MiB, window: 5ms }\n"
	"    pool: { min_idle: 2, idle_timeout: 90s, connect_timeout: 2s }\n"
	"    queue: { items: 10000, bytes: 64MiB }\n"
	"    timeout: 10s\n"
	"    answer: 16MiB\n"
	"  weather:\n"
	"    dialect: rest\n"
	"    endpoints: [ { url: http://127.0.0.1:9002/v1 } ]\n"
	"tools:\n"
	"  web_search:\n"
	"    upstream: search\n"
	"    method: web.search\n"
	"    description: Search the web.\n"
	"    input_schema: { type: object, properties: { q: { type: string } }, required: [q] }\n"
	"    annotations: { read_only: true, idempotent: true }\n"
	"    timeout: 5s\n"
	"    cache: { ttl: 5m, stale_while_revalidate: 1m, stale_if_error: 1h, scope: shared, tags: [web] }\n"
	"  forecast:\n"
	"    upstream: weather\n"
	"    request: { method: GET, path: \"/forecast/{city}\", query: { days: \"{days}\" } }\n"
	"    annotations: { read_only: true, idempotent: true }\n"
	"  send_mail:\n"
	"    upstream: weather\n"
	"    request: { method: POST, path: /mail, body: \"{arguments}\" }\n";

/* A configuration that has to be good. */
static struct config *parse(const char *yaml)
{
	struct buf errors = BUF_INIT(1 << 20);
	struct config *config = config_parse("test.yaml", slice_of(yaml), &errors);
	if (!config)
		fail_msg("%s", buf_cstr(&errors));
	assert_int_equal(errors.len, 0);
	buf_fini(&errors);
	return config;
}

static void assert_upstream_is_the_contracts(const struct upstream_config *upstream)
{
	const struct upstream_settings *settings = &upstream->settings;
	assert_string_equal(settings->dialect->name, "jsonrpc");
	assert_int_equal(settings->pool_max, 1000); /* whatever the limiter lets out */
	assert_int_equal(settings->pool_min_idle, 2);
	assert_int_equal(settings->idle_timeout_us, 90000000);
	assert_int_equal(settings->connect_timeout_us, 2000000);
	assert_int_equal(settings->timeout_us, 10000000);
	assert_int_equal(settings->answer_bytes, 16 << 20);
	assert_int_equal(settings->json_depth, 64);
	assert_int_equal(upstream->batch.mode, BATCH_ADAPTIVE);
	assert_int_equal(upstream->batch.max_items, 100);
	assert_int_equal(upstream->batch.max_bytes, 1 << 20);
	assert_int_equal(upstream->batch.window_us, 5000);
	assert_int_equal(upstream->batch.concurrency, 0);
	assert_int_equal(upstream->batch.queue_wait_us, 2000000);
	assert_int_equal(settings->retries.attempts, 2);
	assert_int_equal(settings->retries.backoff_us, 25000);
	assert_int_equal(settings->retries.budget_percent, 20);
	assert_int_equal(upstream->batch.queue_items, 10000);
	assert_int_equal(upstream->batch.queue_bytes, 64 << 20);
}

static void assert_top_is_the_contracts(const struct config *config)
{
	assert_int_equal(config->generation.listen_count, 1);
	assert_string_equal(config->generation.listen[0].text, "127.0.0.1:8080");
	assert_int_equal(config->generation.admin_count, 1);
	assert_string_equal(config->generation.admin[0].text, "127.0.0.1:8081");
	assert_in_range(config->workers, 1, 256);
	assert_int_equal(config->generation.drain_timeout_us, 10000000);
	assert_int_equal(config->generation.log.level, LOG_LEVEL_INFO);
	assert_int_equal(config->generation.log.format, LOG_FORMAT_LOGFMT);
	assert_string_equal(config->generation.log.file, "stderr");
	assert_true(config->generation.access_log);
	assert_int_equal(config->generation.http.body_bytes, 8 << 20);
	assert_int_equal(config->generation.http.header_bytes, 8 << 10);
	assert_int_equal(config->generation.http.header_timeout_us, 5000000);
	assert_int_equal(config->generation.http.body_timeout_us, 30000000);
	assert_int_equal(config->generation.http.idle_timeout_us, 75000000);
	assert_int_equal(config->generation.http.connections, 10000);
	assert_int_equal(config->generation.limits.in_flight, 20000);
	assert_int_equal(config->generation.http.held_bytes, 256 << 20);
	assert_int_equal(config->generation.limits.json_depth, 64);
	assert_int_equal(config->generation.memory_bytes, 256 << 20);
}

static void the_contracts_example_means_what_it_says(void **state)
{
	(void)state;
	setenv("SEARCH_TOKEN", "s3cret", 1);
	struct config *config = parse(contract);
	assert_string_equal(config->path, "test.yaml");
	assert_top_is_the_contracts(config);
	assert_int_equal(config->generation.http.trusted_proxy_count, 1);
	assert_int_equal(config->generation.http.trusted_proxies[0].bits, 128);
	assert_string_equal(config->generation.http.tenant_header, "X-Tenant");
	assert_int_equal(config->generation.upstream_count, 2);
	assert_upstream_is_the_contracts(&config->generation.upstreams[0]);
	assert_string_equal(config->generation.upstreams[0].settings.name, "search");
	assert_string_equal(config->generation.upstreams[0].settings.endpoints[0], "http://127.0.0.1:9001/rpc");
	assert_int_equal(config->generation.upstreams[0].settings.header_count, 1);
	assert_string_equal(config->generation.upstreams[0].settings.headers[0].name, "Authorization");
	assert_string_equal(config->generation.upstreams[0].settings.headers[0].value, "Bearer s3cret");
	assert_string_equal(config->generation.upstreams[1].settings.dialect->name, "rest");
	assert_int_equal(config->generation.upstreams[1].settings.label, 1);
	assert_int_equal(config->generation.upstreams[1].settings.endpoint_labels[0], 1);
	config_free(config);
}

static void tools_are_sorted_and_found_by_name(void **state)
{
	(void)state;
	struct config *config = parse(contract);
	static const char *const names[] = { "forecast", "send_mail", "web_search" };
	assert_int_equal(config->generation.tool_count, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_string_equal(config->generation.tools[i].name, names[i]);
		assert_int_equal(config->generation.tools[i].index, i);
		assert_ptr_equal(config_tool(config, names[i]), &config->generation.tools[i]);
	}
	config_free(config);
}

static void a_tool_has_what_its_block_says(void **state)
{
	(void)state;
	struct config *config = parse(contract);
	const struct tool *tool = config_tool(config, "web_search");
	assert_int_equal(tool->upstream, 0);
	assert_non_null(tool->route);
	assert_string_equal(tool->description, "Search the web.");
	assert_string_equal(tool->input_schema,
			    "{\"type\":\"object\",\"properties\":{\"q\":{\"type\":\"string\"}},\"required\":[\"q\"]}");
	assert_true(tool->read_only && tool->idempotent && tool->open_world && !tool->destructive);
	assert_int_equal(tool->timeout_us, 5000000);
	assert_int_equal(tool->cache.ttl_us, 300000000);
	assert_int_equal(tool->cache.stale_while_revalidate_us, 60000000);
	assert_int_equal(tool->cache.stale_if_error_us, 3600000000);
	assert_int_equal(tool->scope, SCOPE_SHARED);
	assert_int_equal(tool->tag_count, 1);
	assert_string_equal(tool->tags[0], "web");
	config_free(config);
}

static void what_a_file_leaves_out_is_the_contracts_default(void **state)
{
	(void)state;
	struct config *config = parse("");
	assert_top_is_the_contracts(config);
	assert_int_equal(config->generation.http.trusted_proxy_count + config->generation.upstream_count +
				 config->generation.tool_count,
			 0);
	assert_null(config->generation.http.tenant_header);
	config_free(config);
	config = parse(PROVIDERS "tools: { t: { upstream: s } }");
	assert_upstream_is_the_contracts(&config->generation.upstreams[0]);
	const struct tool *tool = &config->generation.tools[0];
	assert_string_equal(tool->description, "");
	assert_string_equal(tool->title, "");
	assert_string_equal(tool->input_schema, "{\"type\":\"object\"}");
	assert_null(tool->output_schema);
	assert_true(!tool->read_only && !tool->idempotent && tool->destructive && tool->open_world);
	assert_int_equal(tool->timeout_us, 10000000);
	assert_int_equal(tool->cache.ttl_us, 0);
	assert_int_equal(tool->scope, SCOPE_CALLER);
	config_free(config);
}

static void some_defaults_follow_from_other_options(void **state)
{
	(void)state;
	struct config *config = parse("upstreams: { s: { dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ], "
				      "timeout: 3s, pool: { max: 1 } } }\n"
				      "tools: { a: { upstream: s, annotations: { read_only: true } },"
				      " b: { upstream: s, annotations: { read_only: true, destructive: true } },"
				      " c: { upstream: s, annotations: { destructive: false } } }\n"
				      "limits: { json_depth: 7 }");
	assert_int_equal(config->generation.upstreams[0].settings.pool_min_idle, 1);
	assert_int_equal(config->generation.upstreams[0].settings.json_depth, 7);
	assert_int_equal(config->generation.tools[0].timeout_us, 3000000);
	assert_false(config->generation.tools[0].destructive);
	assert_true(config->generation.tools[1].destructive);
	assert_false(config->generation.tools[2].destructive);
	config_free(config);
}

static void empty_blocks_of_upstreams_and_tools_are_legal(void **state)
{
	(void)state;
	static const char *const yamls[] = { "upstreams:\ntools:\n", "upstreams: {}\ntools: {}\n", "# nothing\n",
					     "---\n{}\n...\n" };
	for (size_t i = 0; i < countof(yamls); i++)
		config_free(parse(yamls[i]));
}

static void addresses_are_ipv4_ipv6_or_unix(void **state)
{
	(void)state;
	struct config *config =
		parse("listen: [ 0.0.0.0:80, \"[::1]:8080\", \"unix:/run/j.sock\", 127.0.0.1:0, 127.0.0.1:0 ]\n"
		      "admin: { listen: off }");
	struct sockaddr_in in;
	memcpy(&in, &config->generation.listen[0].in6, sizeof in);
	assert_int_equal(config->generation.listen_count, 5);
	assert_int_equal(in.sin_family, AF_INET);
	assert_int_equal(ntohs(in.sin_port), 80);
	assert_int_equal(config->generation.listen[1].in6.sin6_family, AF_INET6);
	assert_int_equal(ntohs(config->generation.listen[1].in6.sin6_port), 8080);
	assert_true(IN6_IS_ADDR_LOOPBACK(&config->generation.listen[1].in6.sin6_addr));
	assert_null(config->generation.listen[1].unix_path);
	assert_string_equal(config->generation.listen[2].unix_path, "/run/j.sock");
	assert_int_equal(config->generation.admin_count, 0);
	config_free(config);
	config = parse("admin: { listen: [] }");
	assert_int_equal(config->generation.admin_count, 0);
	config_free(config);
}

static void networks_of_ipv4_are_mapped_into_ipv6(void **state)
{
	(void)state;
	struct config *config = parse("trusted_proxies: [ 10.0.0.0/8, \"fd00::/8\", 192.0.2.1, \"::/0\" ]");
	static const struct {
		const char *address;
		unsigned bits;
	} expected[] = { { "::ffff:10.0.0.0", 104 }, { "fd00::", 8 }, { "::ffff:192.0.2.1", 128 }, { "::", 0 } };
	assert_int_equal(config->generation.http.trusted_proxy_count, countof(expected));
	for (size_t i = 0; i < countof(expected); i++) {
		struct in6_addr address;
		assert_int_equal(inet_pton(AF_INET6, expected[i].address, &address), 1);
		assert_memory_equal(&address, &config->generation.http.trusted_proxies[i].address, sizeof address);
		assert_int_equal(config->generation.http.trusted_proxies[i].bits, expected[i].bits);
	}
	config_free(config);
}

static void durations_and_sizes_have_their_units(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t value;
	} ttls[] = { { "0", 0 },          { "250us", 250 },     { "5ms", 5000 },           { "10s", 10000000 },
		     { "2m", 120000000 }, { "1h", 3600000000 }, { "\"1d\"", 86400000000 }, { "0s", 0 } },
	  sizes[] = { { "0", 0 },          { "512B", 512 }, { "8KiB", 8192 },       { "1MiB", 1 << 20 },
		      { "1GiB", 1 << 30 }, { "8kB", 8000 }, { "\"3MB\"", 3000000 }, { "1GB", 1000000000 } };
	char yaml[512];
	for (size_t i = 0; i < countof(ttls); i++) {
		snprintf(yaml, sizeof yaml,
			 PROVIDERS
			 "tools: { t: { upstream: s, annotations: { read_only: true }, cache: { ttl: %s } } }",
			 ttls[i].text);
		struct config *config = parse(yaml);
		assert_int_equal(config->generation.tools[0].cache.ttl_us, ttls[i].value);
		config_free(config);
		snprintf(yaml, sizeof yaml, "cache: { memory: { size: %s } }", sizes[i].text);
		config = parse(yaml);
		assert_int_equal(config->generation.memory_bytes, sizes[i].value);
		config_free(config);
	}
}

static void a_schema_keeps_its_types_and_order(void **state)
{
	(void)state;
	struct config *config = parse(
		PROVIDERS "tools:\n"
			  "  t:\n"
			  "    upstream: s\n"
			  "    input_schema:\n"
			  "      zebra: 1.50\n"
			  "      type: object\n"
			  "      alpha: [ '1', \"true\", 1, -2e3, true, null, ~, y, 2024-01-01, \"a\\\"b\\nü\" ]\n"
			  "      empty: {}\n"
			  "      none: []\n"
			  "      nothing:\n"
			  "      pattern: ^\\$\\{x}$\n"
			  "      text: |\n"
			  "        two\n"
			  "        lines\n"
			  "    output_schema: { type: array }\n");
	assert_string_equal(config->generation.tools[0].input_schema,
			    "{\"zebra\":1.50,\"type\":\"object\",\"alpha\":[\"1\",\"true\",1,-2e3,true,null,null,\"y\","
			    "\"2024-01-01\",\"a\\\"b\\nü\"],\"empty\":{},\"none\":[],\"nothing\":null,"
			    "\"pattern\":\"^\\\\$\\\\{x}$\",\"text\":\"two\\nlines\\n\"}");
	assert_string_equal(config->generation.tools[0].output_schema, "{\"type\":\"array\"}");
	config_free(config);
}

static void variables_and_files_fill_in_any_value_once(void **state)
{
	(void)state;
	char folder[] = "/tmp/test_config.XXXXXX", path[64], yaml[1024];
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/key", folder);
	FILE *file = fopen(path, "w");
	fputs("from file: ${A}\n\n", file);
	fclose(file);
	setenv("A", "va: {l}ue", 1);
	setenv("EMPTY", "", 1);
	setenv("N", "3", 1);
	setenv("T", "7s", 1);
	/* the second file path is relative to the configuration's own folder */
	snprintf(yaml, sizeof yaml,
		 PROVIDERS
		 "workers: ${N}\ndrain_timeout: \"${T}\"\nlog: { access: \"${YES}\" }\n"
		 "tools: { t: { upstream: s, description: \"<${A}|${EMPTY}|$${A}|$A|${file:%s}|${file:key}>\" } }\n",
		 path);
	setenv("YES", "true", 1);
	snprintf(path, sizeof path, "%s/jitney.yaml", folder);
	struct buf errors = BUF_INIT(65536);
	struct config *config = config_parse(path, slice_of(yaml), &errors);
	if (!config)
		fail_msg("%s", buf_cstr(&errors));
	assert_int_equal(config->workers, 3);
	assert_int_equal(config->generation.drain_timeout_us, 7000000);
	assert_string_equal(config->generation.tools[0].description,
			    "<va: {l}ue||${A}|$A|from file: ${A}\n|from file: ${A}\n>");
	config_free(config);
	buf_fini(&errors);
	snprintf(path, sizeof path, "%s/key", folder);
	unlink(path);
	rmdir(folder);
}

/* The version of tool t in a configuration made of these pieces. */
static void get_version(const char *upstream, const char *tool, char version[64])
{
	char yaml[1024];
	snprintf(yaml, sizeof yaml, "upstreams: { s: { %s } }\ntools: { t: { upstream: s, %s } }", upstream, tool);
	struct config *config = parse(yaml);
	snprintf(version, 64, "%s", config->generation.tools[0].version);
	config_free(config);
}

static void a_version_changes_with_what_is_called_and_only_then(void **state)
{
	(void)state;
	static const char upstream[] =
		"dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ], headers: { K: \"${KEY}\" }";
	static const struct {
		const char *upstream, *tool;
	} others[] = {
		{ upstream, "method: b" },
		{ "dialect: jsonrpc, endpoints: [ { url: \"http://i\" } ], headers: { K: \"${KEY}\" }", "method: a" },
		{ "dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ], headers: { K: x }", "method: a" },
		{ "dialect: rest, endpoints: [ { url: \"http://h\" } ], headers: { K: \"${KEY}\" }", "title: a" },
		{ "dialect: rest, endpoints: [ { url: \"http://h\" } ]", "request: { path: /a }" },
		{ "dialect: rest, endpoints: [ { url: \"http://h\" } ]", "request: { path: /a, body: \"\" }" },
		{ "dialect: rest, endpoints: [ { url: \"http://h\" } ]", "request: { path: /a, query: { a: b } }" },
		{ "dialect: rest, endpoints: [ { url: \"http://h\" } ]", "request: { path: /a, headers: { a: b } }" },
		{ "dialect: rest, endpoints: [ { url: \"http://h\" } ]", "request: { path: /a, method: PUT }" },
		{ upstream, "method: a, cache: { ttl: 0, key: { ignore: [ a ] } }" },
		{ upstream, "method: a, cache: { ttl: 0, key: { ignore: [ b ] } }" },
		{ upstream, "method: a, cache: { ttl: 0, key: { only: [ a ] } }" },
		{ upstream, "method: a, cache: { ttl: 0, key: { only: [ a, b ] } }" },
	};
	char versions[countof(others) + 1][64], again[64];
	setenv("KEY", "one", 1);
	get_version(upstream, "method: a", versions[0]);
	for (size_t i = 0; i < countof(others); i++) {
		get_version(others[i].upstream, others[i].tool, versions[i + 1]);
		for (size_t j = 0; j <= i; j++)
			assert_string_not_equal(versions[j], versions[i + 1]);
	}
	setenv("KEY", "two", 1); /* a new credential, a new text: the same calls */
	get_version(upstream, "method: a, description: new, timeout: 1s", again);
	assert_string_equal(versions[0], again);
}

static struct json_object *member(struct json_object *object, const char *path)
{
	struct json_object *found = NULL;
	assert_int_equal(json_pointer_get(object, path, &found), 0);
	return found;
}

static void what_is_in_force_can_be_shown_without_secrets(void **state)
{
	(void)state;
	setenv("SEARCH_TOKEN", "s3cret", 1);
	struct config *config = parse(contract);
	struct buf out = BUF_INIT(1 << 20);
	config_json(config, &config->generation, &out);
	assert_null(strstr(buf_cstr(&out), "s3cret"));
	struct json_object *shown = json_tokener_parse(buf_cstr(&out));
	assert_non_null(shown);
	assert_string_equal(json_object_get_string(member(shown, "/upstreams/search/headers/Authorization")), "***");
	assert_string_equal(json_object_get_string(member(shown, "/upstreams/weather/pool/idle_timeout")), "90s");
	assert_string_equal(json_object_get_string(member(shown, "/limits/body")), "8MiB");
	assert_string_equal(json_object_get_string(member(shown, "/tools/web_search/cache/scope")), "shared");
	assert_string_equal(json_object_get_string(member(shown, "/trusted_proxies/0")), "127.0.0.1/32");
	assert_int_equal(json_object_get_int(member(shown, "/workers")), (int)config->workers);
	json_object_put(shown);
	buf_fini(&out);
	config_free(config);
}

/* What is shown, less its secrets, is a configuration again, and means the same. */
static void what_is_shown_can_be_read_again(void **state)
{
	(void)state;
	struct config *config = parse(contract);
	struct buf first = BUF_INIT(1 << 20), second = BUF_INIT(1 << 20);
	config_json(config, &config->generation, &first);
	struct config *again = parse(buf_cstr(&first));
	config_json(again, &again->generation, &second);
	assert_string_equal(buf_cstr(&first), buf_cstr(&second));
	config_free(config);
	config_free(again);
	buf_fini(&first);
	buf_fini(&second);
}

static void without_memory_there_is_no_configuration_and_no_leak(void **state)
{
	(void)state;
	static const char *const yamls[] = {
		contract, "workers: 0\nfoo: 1\nfoo: 2\nlog: { file: \"${SEARCH_TOKEN}\", x: *y }\n"
	};
	setenv("SEARCH_TOKEN", "s3cret", 1);
	for (size_t i = 0; i < countof(yamls); i++) {
		bool done = false;
		for (size_t n = 1; !done; n++) {
			struct buf errors = BUF_INIT(65536);
			alloc_reset();
			alloc_fail_at(n);
			struct config *config = config_parse("c", slice_of(yamls[i]), &errors);
			done = alloc_count() < n;
			alloc_reset();
			if (!done && config)
				assert_int_equal(errors.len, 0); /* whatever failed was not needed */
			if (done)
				assert_int_equal(config != NULL, i == 0);
			config_free(config);
			buf_fini(&errors);
			assert_in_range(n, 1, 2000);
		}
	}
}

static void constants_are_filled_in_and_not_shown(void **state)
{
	(void)state;
	setenv("JITNEY_TEST_SECRET", "hu\"hush", 1);
	struct config *config = parse(
		"upstreams: { m: { dialect: mcp, endpoints: [ { url: \"http://h\" } ] } }\n"
		"tools: { m__t: { upstream: m, arguments: { key: \"${JITNEY_TEST_SECRET}\", n: [ 1.50, true, null ] } "
		"},\n"
		"  u: { upstream: m, tool: t, arguments: { a: \"b\" } } }\n");
	assert_string_equal(config->generation.tools[0].constants, "{\"key\":\"hu\\\"hush\",\"n\":[1.50,true,null]}");
	assert_string_equal(config->generation.tools[0].remote, "t");
	assert_string_equal(config->generation.tools[1].remote, "t");
	struct buf shown = BUF_INIT(1 << 20);
	config_json(config, &config->generation, &shown);
	assert_null(strstr(buf_cstr(&shown), "\"hush"));
	assert_non_null(strstr(buf_cstr(&shown), "\"arguments\":\"***\""));
	assert_non_null(strstr(buf_cstr(&shown), "\"arguments\":{\"a\":\"b\"}"));
	buf_fini(&shown);
	config_free(config);
}

/* One upstream with these lines in it. */
static struct config *parse_upstream(const char *lines, struct buf *errors)
{
	char yaml[600];
	snprintf(yaml, sizeof yaml,
		 "upstreams:\n  u:\n    dialect: rest\n    endpoints: [ { url: http://127.0.0.1:1 } ]\n%s", lines);
	return config_parse("test.yaml", slice_of(yaml), errors);
}

static void the_pool_follows_concurrency(void **state)
{
	struct buf errors = BUF_INIT(1 << 20);
	(void)state;
	struct config *config = parse_upstream("    concurrency: 77\n", &errors);
	assert_non_null(config);
	assert_int_equal(config->generation.upstreams[0].batch.concurrency, 77);
	assert_int_equal(config->generation.upstreams[0].settings.pool_max, 77);
	assert_null(config->warnings);
	config_free(config);
	config = parse_upstream("    concurrency: auto\n    pool: { max: 5 }\n    retries: { budget: 0% }\n", &errors);
	assert_non_null(config);
	assert_int_equal(config->generation.upstreams[0].batch.concurrency, 0);
	assert_int_equal(config->generation.upstreams[0].settings.pool_max, 5);
	assert_int_equal(config->generation.upstreams[0].settings.retries.budget_percent, 0);
	config_free(config);
	buf_fini(&errors);
}

static void the_old_name_of_concurrency_is_understood_and_warned_of(void **state)
{
	struct buf errors = BUF_INIT(1 << 20);
	(void)state;
	struct config *config = parse_upstream("    batch: { in_flight: 12 }\n", &errors);
	assert_non_null(config);
	assert_int_equal(errors.len, 0);
	assert_int_equal(config->generation.upstreams[0].batch.concurrency, 12);
	assert_string_equal(config->warnings, "test.yaml:5:14: warning: upstreams.u.batch.in_flight: is now called "
					      "concurrency; write concurrency: 12\n");
	config_free(config);
	assert_null(parse_upstream("    batch: { in_flight: 12 }\n    concurrency: 3\n", &errors));
	assert_non_null(strstr(buf_cstr(&errors), "is the old name of concurrency, which is given too"));
	buf_fini(&errors);
}

static void a_share_needs_its_sign(void **state)
{
	struct buf errors = BUF_INIT(1 << 20);
	(void)state;
	assert_null(parse_upstream("    retries: { budget: 20 }\n", &errors));
	assert_non_null(strstr(buf_cstr(&errors), "must be a share, a whole number and %, such as 20%"));
	assert_null(parse_upstream("    retries: { budget: 101% }\n", &errors));
	assert_null(parse_upstream("    retries: { budget: 2.5% }\n", &errors));
	buf_fini(&errors);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_contracts_example_means_what_it_says),
		cmocka_unit_test(tools_are_sorted_and_found_by_name),
		cmocka_unit_test(a_tool_has_what_its_block_says),
		cmocka_unit_test(what_a_file_leaves_out_is_the_contracts_default),
		cmocka_unit_test(some_defaults_follow_from_other_options),
		cmocka_unit_test(empty_blocks_of_upstreams_and_tools_are_legal),
		cmocka_unit_test(addresses_are_ipv4_ipv6_or_unix),
		cmocka_unit_test(networks_of_ipv4_are_mapped_into_ipv6),
		cmocka_unit_test(durations_and_sizes_have_their_units),
		cmocka_unit_test(a_schema_keeps_its_types_and_order),
		cmocka_unit_test(variables_and_files_fill_in_any_value_once),
		cmocka_unit_test(a_version_changes_with_what_is_called_and_only_then),
		cmocka_unit_test(what_is_in_force_can_be_shown_without_secrets),
		cmocka_unit_test(the_pool_follows_concurrency),
		cmocka_unit_test(the_old_name_of_concurrency_is_understood_and_warned_of),
		cmocka_unit_test(a_share_needs_its_sign),
		cmocka_unit_test(what_is_shown_can_be_read_again),
		cmocka_unit_test(without_memory_there_is_no_configuration_and_no_leak),
		cmocka_unit_test(constants_are_filled_in_and_not_shown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
