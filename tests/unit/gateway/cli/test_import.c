/* SPDX-License-Identifier: Apache-2.0 */
/* Clients' lists of MCP servers become configurations that jitney check accepts, without their secrets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/config/config.h"
#include "gateway/cli/import.h"
#include "tests/support/alloc_fail.h"

static struct buf yaml;
static char error[200];

static bool convert(const char *json)
{
	buf_fini(&yaml);
	yaml = BUF_INIT(1 << 20);
	return import_convert(slice_of(json), "mcp.json", &yaml, error, sizeof error);
}

static void expect_says(const char *text)
{
	if (!strstr(buf_cstr(&yaml), text))
		fail_msg("\"%s\" is not in:\n%s", text, buf_cstr(&yaml));
}

/* The configuration reads back; every variable named in its head is set first. */
static void expect_good(size_t upstreams)
{
	struct buf errors = BUF_INIT(1 << 20);
	char name[100];
	for (const char *at = buf_cstr(&yaml); (at = strstr(at, "\n#   ")); at += 5)
		if (sscanf(at, "\n#   %99[A-Z0-9_]", name) == 1)
			setenv(name, "set", 1);
	struct config *config = config_parse("c", buf_slice(&yaml), &errors);
	if (!config)
		fail_msg("%s\n%s", buf_cstr(&errors), buf_cstr(&yaml));
	assert_int_equal(config->generation.upstream_count, upstreams);
	config_free(config);
	buf_fini(&errors);
}

static void servers_over_http_become_upstreams(void **state)
{
	(void)state;
	assert_true(convert("{\"mcpServers\":{\"web\":{\"type\":\"http\",\"url\":\"https://h/mcp\",\"headers\":{"
			    "\"X-Team\":\"a\\\"b\"}},\"w 2\":{\"serverUrl\":\"http://h2/\"},\"w_2\":{\"httpUrl\":"
			    "\"http://h3/\",\"tools\":5}},\"theme\":1}"));
	expect_says("  web:\n    dialect: mcp\n    endpoints: [ { url: \"https://h/mcp\" } ]\n    headers:\n"
		    "      \"X-Team\": \"a\\\"b\"\n");
	expect_says("# \"w 2\"\n  w_2:\n");
	expect_says("  w_2_2:\n");
	expect_says("# not taken over: \"tools\"\n");
	expect_says("# Not taken over: \"theme\"\n");
	expect_good(3);
}

static void servers_that_are_programs_become_child_processes(void **state)
{
	(void)state;
	assert_true(convert("{\"servers\":{\"fs\":{\"command\":\"npx\",\"args\":[\"-y\",\"x\"],\"env\":{\"LOG\":\"1\"},"
			    "\"cwd\":\"/srv\"}}}"));
	expect_says("  fs:\n    dialect: mcp-stdio\n    command: \"npx\"\n    args: [\"-y\", \"x\"]\n    env:\n"
		    "      \"LOG\": \"1\"\n    cwd: \"/srv\"\n");
	expect_good(1);
}

static void secrets_become_variables(void **state)
{
	(void)state;
	assert_true(
		convert("{\"mcpServers\":{\"git\":{\"command\":\"c\",\"args\":[\"--api-key=HUSH\",\"--token\",\"HUSH\","
			"\"--dir\",\"d\"],\"env\":{\"GITHUB_TOKEN\":\"HUSH\",\"PATH\":\"/bin\",\"MY_PAT\":\"HUSH\"}},"
			"\"web\":{\"url\":\"http://h\",\"headers\":{\"Authorization\":\"Bearer HUSH\"}},"
			"\"q\":{\"url\":\"http://h/?k=HUSH\"},\"u\":{\"url\":\"http://me:HUSH@h/\"}}}"));
	assert_null(strstr(buf_cstr(&yaml), "HUSH"));
	expect_says("[\"--api-key=${GIT_API_KEY}\", \"--token\", \"${GIT_TOKEN}\", \"--dir\", \"d\"]");
	expect_says(
		"\"GITHUB_TOKEN\": \"${GITHUB_TOKEN}\"\n      \"PATH\": \"/bin\"\n      \"MY_PAT\": \"${MY_PAT}\"\n");
	expect_says("\"Authorization\": \"${WEB_AUTHORIZATION}\"");
	expect_says("#   WEB_AUTHORIZATION  a secret of web\n");
}

static void secrets_are_found_by_what_they_look_like(void **state)
{
	(void)state;
	assert_true(convert(
		"{\"mcpServers\":{\"pg\":{\"command\":\"docker\",\"args\":[\"run\",\"-e\",\"DB_PASSWORD=HUSH\","
		"\"-e\",\"MODE=fast\",\"-k\",\"HUSH\",\"-p\",\"8080:80\",\"-p\",\"HUSH\",\"-p\",\"HUSH2\",\"--header\",\"Authorization: Bearer HUSH\","
		"\"postgresql://me:HUSH@db/x\",\"sk-HUSH\",\"HUSH5aB6cD7eF8gH9iJ0kL1\","
		"\"@modelcontextprotocol/server-filesystem@2026.8.1\",\"https://h/a@b\"],"
		"\"env\":{\"DATABASE_URL\":\"mysql://u:HUSH@h\",\"N\":5}},"
		"\"url\":{\"url\":\"http://h\",\"headers\":{\"X\":\"ghp_HUSH\"}},"
		"\"other\":{\"command\":\"c\",\"env\":{\"DATABASE_URL\":\"mysql://u:HUSH2@h\"}},"
		"\"same\":{\"command\":\"c\",\"env\":{\"DATABASE_URL\":\"mysql://u:HUSH@h\"}}}}"));
	assert_null(strstr(buf_cstr(&yaml), "HUSH"));
	expect_says(
		"\"DB_PASSWORD=${PG_DB_PASSWORD}\", \"-e\", \"MODE=fast\", \"-k\", \"${PG_KEY}\", \"-p\", \"8080:80\", "
		"\"-p\", \"${PG_PASSWORD}\", \"-p\", \"${PG_PASSWORD_2}\", \"--header\", \"Authorization: ${PG_AUTHORIZATION}\", "
		"\"${PG_SECRET}\", \"${PG_SECRET_2}\", \"${PG_SECRET_3}\"");
	expect_says("\"@modelcontextprotocol/server-filesystem@2026.8.1\", \"https://h/a@b\"]");
	expect_says("\"DATABASE_URL\": \"${DATABASE_URL}\"\n      \"N\": \"5\"\n");
	expect_says("\"X\": \"${URL_X}\"");
	expect_says(
		"  other:\n    dialect: mcp-stdio\n    command: \"c\"\n    env:\n      \"DATABASE_URL\": \"${DATABASE_URL_2}\"");
	expect_says(
		"  same:\n    dialect: mcp-stdio\n    command: \"c\"\n    env:\n      \"DATABASE_URL\": \"${DATABASE_URL}\"");
}

/* YAML takes U+0085, U+2028 and U+2029 for ends of lines: what is behind one in a comment would be options. */
static void no_line_break_of_the_file_gets_into_ours(void **state)
{
	(void)state;
	assert_true(convert(
		"{\"mcpServers\":{\"a\\u2028  evil:\\n    dialect: rest\":{\"url\":\"http://h\",\"x\\u0085y\":1,"
		"\"headers\":{\"H\":\"v\\u2029w\"}}},\"top\\u2028upstreams:\":1}"));
	assert_null(strstr(buf_cstr(&yaml), "\xE2\x80\xA8"));
	assert_null(strstr(buf_cstr(&yaml), "\xE2\x80\xA9"));
	assert_null(strstr(buf_cstr(&yaml), "\xC2\x85"));
	assert_null(strstr(buf_cstr(&yaml), "\n    dialect: rest"));
	expect_says("\"v\\u2029w\"");
	assert_true(import_convert(SLICE("{\"mcpServers\":{\"a\":{\"url\":\"http://h\"}}}"),
				   "x\xE2\x80\xA8upstreams:\n", &yaml, error, sizeof error));
	expect_says("# Made from \"x\\xe2\\x80\\xa8upstreams:\\x0a\" by jitney import.\n");
}

static void a_clients_timeout_is_taken_over(void **state)
{
	static const struct {
		const char *timeout, *line;
	} rows[] = {
		{ "60", "    timeout: 60000ms\n" },      { "600000", "    timeout: 600000ms\n" },
		{ "0.5", "    timeout: 500ms\n" },       { "99999999999", "    timeout: 3600000ms\n" },
		{ "1e400", "    timeout: 3600000ms\n" },
	};
	static const char *const none[] = { "0", "-5", "\"60\"", "null", "0.0001", "{}" };
	char text[200];
	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		snprintf(text, sizeof text, "{\"servers\":{\"a\":{\"url\":\"http://h\",\"timeout\":%s}}}",
			 rows[i].timeout);
		assert_true(convert(text));
		expect_says(rows[i].line);
		expect_good(1);
	}
	for (size_t i = 0; i < countof(none); i++) {
		snprintf(text, sizeof text, "{\"servers\":{\"a\":{\"url\":\"http://h\",\"timeout\":%s}}}", none[i]);
		assert_true(convert(text));
		assert_null(strstr(buf_cstr(&yaml), "timeout"));
	}
}

static void clients_variables_become_ours(void **state)
{
	(void)state;
	assert_true(
		convert("{\"inputs\":[{\"id\":\"gh-token\"}],\"servers\":{\"a\":{\"url\":\"http://h\",\"headers\":{"
			"\"Authorization\":\"Bearer ${input:gh-token}\",\"B\":\"${env:B}${C:-d}$\",\"D\":\"${\"}}}}"));
	expect_says("\"Bearer ${GH_TOKEN}\"");
	expect_says("\"${B}${C}$\"");
	expect_says("\"D\": \"$${\"");
	expect_says("#   GH_TOKEN  an input of a\n#   B  a variable of a\n#   C  a variable (the file has a default) "
		    "of a\n");
	expect_good(1);
}

static void what_cannot_run_is_commented_out(void **state)
{
	(void)state;
	assert_true(
		convert("{\"mcpServers\":{\"off\":{\"url\":\"http://h\",\"disabled\":true},\"old\":{\"type\":\"sse\","
			"\"url\":\"http://h/sse\"},\"none\":{},\"odd\":7,\"q\":{\"url\":\"http://h/?q\"}}}"));
	expect_says("  # switched off: disabled in the file\n  # off:\n  #   dialect: mcp\n");
	expect_says("  # switched off: type sse");
	expect_says("  # switched off: neither command nor url is there\n  # none:\n");
	expect_says("  # switched off: its url cannot be an endpoint");
	expect_good(0);
}

/* It was left out without a word: a server without its arguments is another server. */
static void what_has_another_form_is_told_as_not_taken_over(void **state)
{
	(void)state;
	assert_true(
		convert("{\"mcpServers\":{\"a\":{\"command\":\"/bin/a\",\"args\":\"-v\",\"env\":[\"A=1\"],\"cwd\":5,"
			"\"url\":\"http://h/\",\"headers\":{\"X\":\"y\"}},"
			"\"b\":{\"url\":\"http://h/\",\"headers\":\"X: y\",\"args\":[\"x\"]}}}"));
	expect_says("# not taken over: \"args\" \"env\" \"cwd\" \"url\" \"headers\"\n");
	expect_says("# not taken over: \"args\" \"headers\"\n");
}

static void comments_and_commas_that_editors_allow_are_read(void **state)
{
	(void)state;
	assert_true(convert("// list\n{ \"mcp\": { \"servers\": { /* one */ \"a\": { \"url\": \"http://h//*,]\\\",}\", "
			    "}, }, }, }\n"));
	expect_says("  a:\n");
	assert_true(convert("{\"servers\":{\"a\":{\"url\":\"http://h\"}}} // the end\n/* really */\n"));
	assert_true(convert("\xEF\xBB\xBF{\"servers\":{\"a\":{\"url\":\"http://h\"}}}"));
	assert_true(convert("{\"context_servers\":{\"z\":{\"url\":\"http://h/a,]\"}}}"));
	expect_says("http://h/a,]");
}

static void what_is_no_such_file_is_refused(void **state)
{
	(void)state;
	static const char *const bad[] = { "",
					   "[]",
					   "7",
					   "{",
					   "{}",
					   "{\"mcpServers\":{}}",
					   "{\"mcpServers\":[]}",
					   "/*",
					   "{\"mcpServers\":{\"a\":{}},,}",
					   "{\"mcpServers\":{\"a\":{}}} x",
					   "{\"mcpServers\":{\"a\":{}}}{}" };
	for (size_t i = 0; i < countof(bad); i++) {
		assert_false(convert(bad[i]));
		assert_true(*error);
	}
}

static void any_allocation_may_fail(void **state)
{
	(void)state;
	bool ok = false;
	for (size_t n = 1; !ok; n++) {
		assert_in_range(n, 1, 1000);
		alloc_fail_at(n);
		ok = convert(
			"{\"mcpServers\":{\"git\":{\"command\":\"c\",\"args\":[\"--token\",\"HUSH\"]},\"w\":{\"url\":"
			"\"http://h\",\"headers\":{\"Authorization\":\"HUSH\",\"X\":\"${env:Y}\"}}}}");
		alloc_reset();
		assert_null(strstr(buf_cstr(&yaml), "HUSH"));
	}
	expect_says("${GIT_TOKEN}");
	expect_says("${W_AUTHORIZATION}");
	buf_fini(&yaml);
}

/* --- a file that is meant to harm --- */

static struct buf text = BUF_INIT(4 << 20);

/* As many servers as there are characters of three bytes from U+4E00 on, each name of one: all become ___. */
static void names_that_become_the_same_are_told_apart(void **state)
{
	(void)state;
	enum { SERVERS = 12000 };
	buf_reset(&text);
	buf_put_text(&text, "{\"mcpServers\":{");
	for (unsigned i = 0; i < SERVERS; i++) {
		unsigned c = 0x4E00 + i;
		buf_printf(&text, "%s\"%c%c%c\":{\"command\":\"x\"}", i ? "," : "", (char)(0xE0 | c >> 12),
			   (char)(0x80 | (c >> 6 & 0x3F)), (char)(0x80 | (c & 0x3F)));
	}
	buf_put_text(&text, "}}");
	assert_true(convert(buf_cstr(&text)));
	expect_says("\n  ___:\n");
	expect_says("\n  ____2:\n");
	expect_says("\n  ____12000:\n");
	buf_fini(&text);
}

/* Each is another secret of the same flag. */
static void many_secrets_are_told_apart(void **state)
{
	(void)state;
	enum { SECRETS = 60000 };
	buf_reset(&text);
	buf_put_text(&text, "{\"mcpServers\":{\"s\":{\"command\":\"x\",\"args\":[\"--token\",\"hush\"");
	for (unsigned i = 0; i < SECRETS; i++)
		buf_printf(&text, ",\"--token\",\"hush%u\"", i);
	buf_put_text(&text, ",\"--token\",\"hush7\"]}}}");
	buf_fini(&yaml);
	yaml = BUF_INIT(16 << 20);
	assert_true(import_convert(buf_slice(&text), "mcp.json", &yaml, error, sizeof error));
	expect_says("\"--token\", \"${S_TOKEN}\", \"--token\", \"${S_TOKEN_2}\"");
	expect_says("\"${S_TOKEN_60001}\", \"--token\", \"${S_TOKEN_9}\"]");
	assert_null(strstr(buf_cstr(&yaml), "hush"));
	buf_fini(&text);
}

static void what_opens_doors_in_an_url_is_not_printed(void **state)
{
	(void)state;
	assert_true(convert(
		"{\"mcpServers\":{\"z\":{\"url\":\"https://mcp.example.com/api/mcp/s/NDk4ZjQyYmQtYmI0Zi00YzA2/mcp\"},"
		"\"c\":{\"url\":\"https://h/server/550e8400-e29b-41d4-a716-446655440000\"},"
		"\"p\":{\"url\":\"https://h/v1/models/\"},\"v\":{\"url\":\"https://h/${input:a/b}/x\"}}}"));
	expect_says("\"https://mcp.example.com/api/mcp/s/${Z_URL}/mcp\"");
	expect_says("\"https://h/server/${C_URL}\"");
	expect_says("\"https://h/v1/models/\"");
	expect_says("\"https://h/${A_B}/x\"");
	assert_null(strstr(buf_cstr(&yaml), "NDk4"));
	assert_null(strstr(buf_cstr(&yaml), "550e"));
	expect_good(4);
}

/* C1 controls, marks of direction, what is no character and what is no UTF-8: YAML refuses some, terminals obey others. */
static void what_is_no_text_is_escaped(void **state)
{
	(void)state;
	assert_true(convert(
		"{\"mcpServers\":{\"a\":{\"command\":\"a\xC2\x9B\x33\x31m\xE2\x80\xAE\xEF\xBB\xBF\xEF\xBF\xBE\","
		"\"args\":[\"\xC3\xBC\",\"\\u0007\\u007f\"]}}}"));
	expect_says("command: \"a\\u009B31m\\u202E\\uFEFF\\uFFFE\"");
	expect_says("\"\xC3\xBC\"");
	for (const char *at = buf_cstr(&yaml); *at; at++)
		assert_true((unsigned char)*at >= 0x20 || *at == '\n');
	assert_null(strstr(buf_cstr(&yaml), "\x7f"));
	expect_good(1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(servers_over_http_become_upstreams),
		cmocka_unit_test(servers_that_are_programs_become_child_processes),
		cmocka_unit_test(secrets_become_variables),
		cmocka_unit_test(secrets_are_found_by_what_they_look_like),
		cmocka_unit_test(no_line_break_of_the_file_gets_into_ours),
		cmocka_unit_test(a_clients_timeout_is_taken_over),
		cmocka_unit_test(clients_variables_become_ours),
		cmocka_unit_test(what_cannot_run_is_commented_out),
		cmocka_unit_test(what_has_another_form_is_told_as_not_taken_over),
		cmocka_unit_test(comments_and_commas_that_editors_allow_are_read),
		cmocka_unit_test(what_is_no_such_file_is_refused),
		cmocka_unit_test(any_allocation_may_fail),
		cmocka_unit_test(names_that_become_the_same_are_told_apart),
		cmocka_unit_test(many_secrets_are_told_apart),
		cmocka_unit_test(what_opens_doors_in_an_url_is_not_printed),
		cmocka_unit_test(what_is_no_text_is_escaped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
