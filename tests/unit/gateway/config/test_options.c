/* SPDX-License-Identifier: Apache-2.0 */
/* The option table: its bounds hold, and the schema and the documentation know every option. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#define json_type json_c_type /* json-c has the name too */
#include <json-c/json.h>
#undef json_type
#include <stdio.h>
#include <stdlib.h>

#include "gateway/config/config.h"
#include "gateway/config/options.h"

/* The rest of `path` as nested flow maps around `value`: "limits: { body: 1B }". `more` stands beside the last key. */
static void put_nested(struct buf *out, const char *path, const char *more, struct slice value)
{
	unsigned depth = 0;
	for (const char *dot; (dot = strchr(path, '.')); path = dot + 1, depth++)
		buf_printf(out, "%.*s: { ", (int)(dot - path), path);
	buf_printf(out, "%s%s: %.*s", more, path, SLICE_ARG(value));
	while (depth--)
		buf_put_text(out, " }");
}

/* Options of providers that list their tools. */
static bool is_of_mcp(const char *path)
{
	static const char *const starts[] = { "upstreams.*.names",      "upstreams.*.expose",
					      "upstreams.*.max_tools",  "upstreams.*.trust_hints",
					      "upstreams.*.pass_hints", "upstreams.*.progress_timeout",
					      "upstreams.*.cache",      "tools.*.tool",
					      "upstreams.*.max_list",   "upstreams.*.tools_refresh",
					      "tools.*.arguments" };
	for (size_t i = 0; i < countof(starts); i++)
		if (strncmp(path, starts[i], strlen(starts[i])) == 0)
			return true;
	return false;
}

static bool is_of_programs(const char *path)
{
	return strcmp(path, "upstreams.*.memory") == 0 || strcmp(path, "upstreams.*.pool.min") == 0 ||
	       strstr(path, ".pool.calls") || strstr(path, ".pool.max_calls") || strstr(path, ".restart_backoff") ||
	       strstr(path, ".start_timeout");
}

static bool is_key_list(const char *path)
{
	return strncmp(path, "tools.*.request.key_list.", 25) == 0;
}

static bool is_owners(const char *path)
{
	return strcmp(path, "upstreams.*.owners") == 0;
}

/* Of a cache, and not its ttl, which all the others of it want. */
static bool wants_ttl(const char *path)
{
	return strstr(path, "*.cache.") && !strstr(path, ".cache.ttl");
}

/* The one that knows it. */
static const char *dialect_of(const char *path)
{
	return is_of_mcp(path)                                   ? "mcp"
	       : strncmp(path, "upstreams.*.envelope.", 21) == 0 ? "envelope"
	       : strncmp(path, "upstreams.*.graphql.", 20) == 0  ? "graphql"
	       : is_key_list(path) || is_owners(path)            ? "rest"
								 : "jsonrpc";
}

static void put_upstream(struct buf *out, const char *path, struct slice value)
{
	const char *more = strstr(path, "pool.min")                                       ? "max: 10000, "
			   : strstr(path, "health.tcp")                                   ? "path: /h, "
			   : strstr(path, "health.path") || strstr(path, "health.method") ? ""
			   : strstr(path, "health.")                                      ? "tcp: true, "
			   : strstr(path, "ejection.base")                                ? "max: 1d, "
			   : strstr(path, "ejection.max")                                 ? "base: 100ms, "
			   : strstr(path, "envelope.")                                    ? "preset: odata-json, "
			   : wants_ttl(path)                                              ? "ttl: 1s, "
											  : "";
	bool program = is_of_programs(path);
	buf_printf(out, "upstreams: { s: { dialect: %s, %s, ",
		   strstr(path, ".start_timeout") ? "mcp-stdio"
		   : program                      ? "jsonrpc-stdio"
						  : dialect_of(path),
		   program ? "command: cat" : "endpoints: [ { url: \"http://h\" } ]");
	if (strstr(path, "*.cache."))
		buf_put_text(out, "trust_hints: true, ");
	put_nested(out, path + 12, more, value);
	buf_put_text(out, " } }\n");
}

static void put_tool(struct buf *out, const char *path, struct slice value)
{
	buf_printf(out, "upstreams: { s: { dialect: %s, endpoints: [ { url: \"http://h\" } ] } }\ntools: { t: { ",
		   dialect_of(path));
	if (strcmp(path, "tools.*.upstream") != 0)
		buf_put_text(out, "upstream: s, ");
	if (is_key_list(path) || strncmp(path, "tools.*.cache.", 14) == 0)
		buf_put_text(out, "annotations: { read_only: true }, ");
	put_nested(out, path + 8,
		   wants_ttl(path)                  ? "ttl: 1s, "
		   : strstr(path, "list.parameter") ? "argument: id, "
		   : strstr(path, "list.argument")  ? "parameter: ids, "
		   : is_key_list(path)              ? "parameter: ids, argument: id, "
						    : "",
		   value);
	buf_put_text(out, " } }\n");
}

/* A configuration in which only this option says anything of interest. */
static void put_yaml(struct buf *out, const char *path, struct slice value)
{
	if (strncmp(path, "upstreams.*.endpoints[].", 24) == 0 && strcmp(path + 24, "url") != 0) {
		buf_printf(out, "upstreams: { s: { dialect: rest, endpoints: [ { url: \"http://h\", %s: %.*s } ] } }\n",
			   path + 24, SLICE_ARG(value));
	} else if (strncmp(path, "upstreams.*.", 12) == 0) {
		put_upstream(out, path, value);
	} else if (strncmp(path, "tools.*.", 8) == 0) {
		put_tool(out, path, value);
	} else if (strncmp(path, "cache.redis.sentinel.", 21) == 0) {
		bool name = strcmp(path + 21, "name") == 0, nodes = strcmp(path + 21, "nodes") == 0;
		buf_printf(out, "cache: { redis: { sentinel: { %s%s%s: %.*s } } }\n", name ? "" : "name: m, ",
			   nodes ? "" : "nodes: [ h ], ", path + 21, SLICE_ARG(value));
	} else if (strncmp(path, "cache.disk.", 11) == 0 && strcmp(path, "cache.disk.path") != 0) {
		buf_printf(out, "cache: { disk: { path: /d, %s: %.*s } }\n", path + 11, SLICE_ARG(value));
	} else if (strncmp(path, "cache.redis.", 12) == 0 && strcmp(path, "cache.redis.url") != 0) {
		bool user = strcmp(path + 12, "username") == 0;
		buf_printf(out, "cache: { redis: { url: redis://h, %s%s: %.*s } }\n", user ? "password: p, " : "",
			   path + 12, SLICE_ARG(value));
	} else {
		put_nested(out, path, "", value);
	}
}

static void assert_error(const struct option *option, struct slice value, const char *expected)
{
	struct buf yaml = BUF_INIT(1 << 20), errors = BUF_INIT(1 << 20);
	put_yaml(&yaml, option->path, value);
	struct config *config = config_parse("c", buf_slice(&yaml), &errors);
	if (expected ? !strstr(buf_cstr(&errors), expected) : !config)
		fail_msg("%s: %.60s: %s", option->path, buf_cstr(&yaml), buf_cstr(&errors));
	config_free(config);
	buf_fini(&yaml);
	buf_fini(&errors);
}

static void assert_number(const struct option *option, uint64_t number, const char *expected)
{
	char text[32];
	const char *unit = option->kind == OPTION_DURATION ? "us" : option->kind == OPTION_SIZE ? "B" : "";
	snprintf(text, sizeof text, "%lu%s", (unsigned long)number, unit);
	assert_error(option, slice_of(text), expected);
}

static void numbers_are_held_to_their_bounds(void **state)
{
	(void)state;
	unsigned checked = 0;
	for (size_t i = 0; i < option_count; i++) {
		const struct option *option = &option_table[i];
		if (option->kind != OPTION_COUNT && option->kind != OPTION_WORKERS && option->kind != OPTION_DURATION &&
		    option->kind != OPTION_SIZE)
			continue;
		assert_true(option->max > option->min);
		assert_number(option, option->min, NULL);
		assert_number(option, option->max, NULL);
		assert_number(option, option->max + 1, "must be between");
		if (option->min > 0)
			assert_number(option, option->min - 1, "must be between");
		checked++;
	}
	assert_in_range(checked, 25, option_count);
}

static void texts_are_held_to_their_length(void **state)
{
	(void)state;
	for (size_t i = 0; i < option_count; i++) {
		const struct option *option = &option_table[i];
		if ((option->kind != OPTION_TEXT && option->kind != OPTION_FILE) || strstr(option->path, "[]"))
			continue;
		char *text = malloc(option->max + 1);
		memset(text, 'x', option->max + 1);
		assert_error(option, (struct slice){ text, option->max + 1 }, "bytes long");
		if (option->min > 0)
			assert_error(option, SLICE("\"\""), "bytes long");
		free(text);
	}
}

static void lists_and_maps_are_held_to_their_number(void **state)
{
	(void)state;
	for (size_t i = 0; i < option_count; i++) {
		const struct option *option = &option_table[i];
		bool map = option->kind == OPTION_HEADERS || option->kind == OPTION_TEMPLATES ||
			   option->kind == OPTION_HEADER_TEMPLATES || option->kind == OPTION_NAMED;
		bool list = option->kind == OPTION_ADDRESSES || option->kind == OPTION_NETWORKS ||
			    option->kind == OPTION_TEXTS;
		if (!map && !list)
			continue;
		struct buf value = BUF_INIT(1 << 20);
		buf_put_text(&value, map ? "{" : "[");
		for (uint64_t n = 0; n <= option->max; n++)
			buf_printf(&value, map ? "k%lu: x, " : "x%lu, ", (unsigned long)n);
		buf_put_text(&value, map ? "}" : "]");
		if (option->kind != OPTION_NAMED || strcmp(option->path, "tools") == 0)
			assert_error(option, buf_slice(&value), "are allowed");
		buf_fini(&value);
	}
}

static void every_default_is_within_its_bounds(void **state)
{
	(void)state;
	for (size_t i = 0; i < option_count; i++)
		if (option_has_default(&option_table[i]))
			assert_error(&option_table[i], slice_of(option_table[i].fallback), NULL);
}

static void every_option_has_help_that_ends_in_a_full_stop(void **state)
{
	(void)state;
	for (size_t i = 0; i < option_count; i++) {
		const char *help = option_table[i].help;
		assert_true(help && help[0] && help[strlen(help) - 1] == '.');
	}
}

static void suggestions_are_near_and_supported(void **state)
{
	(void)state;
	assert_string_equal(option_suggest("", SLICE("tool")), "tools");
	assert_string_equal(option_suggest("", SLICE("upsteram")), "upstreams");
	assert_string_equal(option_suggest("tools.*.cache.", SLICE("tll")), "ttl");
	assert_null(option_suggest("", SLICE("x")));
	assert_string_equal(option_suggest("cache.", SLICE("redi")), "redis");
	assert_null(option_suggest("", SLICE("a key that is much too long to be worth comparing")));
}

/* --- Files beside the table --- */

static void read_file(const char *path, struct buf *text)
{
	char full[4096], block[4096];
	const char *folder = getenv("srcdir");
	snprintf(full, sizeof full, "%s/%s", folder ? folder : ".", path);
	FILE *file = fopen(full, "r");
	if (!file)
		fail_msg("%s cannot be opened (run from the top of the tree, or set srcdir)", full);
	for (size_t got; (got = fread(block, 1, sizeof block, file)) > 0;)
		buf_put(text, (struct slice){ block, got });
	fclose(file);
}

static void the_committed_schema_is_the_one_the_table_makes(void **state)
{
	(void)state;
	struct buf made = BUF_INIT(1 << 20), committed = BUF_INIT(1 << 20);
	config_schema(&made);
	buf_put_char(&made, '\n');
	read_file("docs/jitney.schema.json", &committed);
	assert_string_equal(buf_cstr(&made),
			    buf_cstr(&committed)); /* else: jitney check --schema > docs/jitney.schema.json */
	buf_fini(&made);
	buf_fini(&committed);
}

/* The schema of the option: down the properties, past chosen names and lists. */
static struct json_object *schema_of(struct json_object *schema, const char *path)
{
	char key[64];
	while (schema && *path) {
		size_t len = strcspn(path, ".");
		bool list = len > 2 && path[len - 1] == ']';
		snprintf(key, sizeof key, "%.*s", (int)(list ? len - 2 : len), path);
		if (strcmp(key, "*") == 0)
			schema = json_object_object_get(schema, "additionalProperties");
		else
			schema = json_object_object_get(json_object_object_get(schema, "properties"), key);
		if (list)
			schema = json_object_object_get(schema, "items");
		path += len + (path[len] == '.');
	}
	return schema;
}

static void the_schema_describes_every_option(void **state)
{
	(void)state;
	struct buf made = BUF_INIT(1 << 20);
	config_schema(&made);
	struct json_object *schema = json_tokener_parse(buf_cstr(&made));
	assert_non_null(schema);
	for (size_t i = 0; i < option_count; i++) {
		struct json_object *one = schema_of(schema, option_table[i].path);
		if (!one)
			fail_msg("%s is not in the schema", option_table[i].path);
		const char *description = json_object_get_string(json_object_object_get(one, "description"));
		assert_ptr_equal(strstr(description, option_table[i].help), description);
	}
	json_object_put(schema);
	buf_fini(&made);
}

/* docs/configuration.md has a row for each option: | `path` | ... | with its default and its bounds. */
static void the_documentation_describes_every_option(void **state)
{
	(void)state;
	struct buf text = BUF_INIT(1 << 20);
	read_file("docs/configuration.md", &text);
	for (size_t i = 0; i < option_count; i++) {
		const struct option *option = &option_table[i];
		char row[160];
		snprintf(row, sizeof row, "\n| `%s` |", option->path);
		const char *found = strstr(buf_cstr(&text), row);
		if (!found)
			fail_msg("docs/configuration.md has no row that starts with | `%s` |", option->path);
		snprintf(row, sizeof row, "| `%s` |", option->fallback ? option->fallback : "");
		const char *fallback = strstr(found + 1, row);
		if (option_has_default(option) && (!fallback || fallback > strchr(found + 1, '\n')))
			fail_msg("docs/configuration.md: the row of %s lacks its default, %s", option->path, row);
	}
	buf_fini(&text);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_held_to_their_bounds),
		cmocka_unit_test(texts_are_held_to_their_length),
		cmocka_unit_test(lists_and_maps_are_held_to_their_number),
		cmocka_unit_test(every_default_is_within_its_bounds),
		cmocka_unit_test(every_option_has_help_that_ends_in_a_full_stop),
		cmocka_unit_test(suggestions_are_near_and_supported),
		cmocka_unit_test(the_committed_schema_is_the_one_the_table_makes),
		cmocka_unit_test(the_schema_describes_every_option),
		cmocka_unit_test(the_documentation_describes_every_option),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
