/* SPDX-License-Identifier: Apache-2.0 */
/* Results and errors as JSON-RPC: what an MCP server said is spliced byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/json.h"
#include "gateway/mcp/mcp_private.h"

#define INFO "\"io.modelcontextprotocol/serverInfo\":" MCP_SERVER_INFO
#define HEAD "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":"

static void expect(struct buf *out, const char *text)
{
	struct json_fault fault;
	assert_string_equal(buf_cstr(out), text);
	assert_true(json_check(buf_slice(out), 32, NULL, &fault));
	buf_reset(out);
}

static void check_modern(const char *result, const char *expected)
{
	struct buf out = BUF_INIT(1 << 16);
	mcp_reply_result(&out, SLICE("7"), MCP_MODERN, slice_of(result));
	expect(&out, expected);
	mcp_reply_result(&out, SLICE("7"), MCP_LEGACY, slice_of(result));
	assert_non_null(strstr(buf_cstr(&out), result));
	buf_fini(&out);
}

static void a_result_is_given_what_a_modern_client_misses(void **state)
{
	(void)state;
	check_modern("{}", HEAD "{\"resultType\":\"complete\",\"_meta\":{" INFO "}}}");
	check_modern(" { \"content\" : [ ] } ",
		     HEAD "{\"resultType\":\"complete\",\"_meta\":{" INFO "},\"content\" : [ ]}}");
	check_modern("{\"content\":[],\"_meta\":{ },\"n\":1.00}",
		     HEAD "{\"resultType\":\"complete\",\"content\":[],\"_meta\":{" INFO "},\"n\":1.00}}");
	check_modern("{\"_meta\": { \"a/b\":1 } }",
		     HEAD "{\"resultType\":\"complete\",\"_meta\": {" INFO ",\"a/b\":1}}}");
}

static void what_is_there_is_left_alone(void **state)
{
	(void)state;
	check_modern("{\"resultType\":\"task\",\"_meta\":{\"io.modelcontextprotocol/serverInfo\":{\"name\":\"x\"}}}",
		     HEAD
		     "{\"resultType\":\"task\",\"_meta\":{\"io.modelcontextprotocol/serverInfo\":{\"name\":\"x\"}}}}");
	check_modern("{\"_meta\":5}", HEAD "{\"resultType\":\"complete\",\"_meta\":5}}");
}

static struct tool tool = { .name = "t", .read_only = true };

static void put(struct buf *out, enum mcp_era era, struct answer *answer)
{
	struct call call = { .tool = &tool, .answer = answer };
	assert_non_null(answer);
	struct pieces rest = { 0 };
	mcp_put_call(out, &rest, SLICE("7"), era, &call, "rid");
	pieces_write_all(&rest, out);
	answer_unref(answer);
}

static void an_mcp_servers_result_goes_through_whole(void **state)
{
	static const char full[] = "{\"content\":[{\"type\":\"x\",\"y\":1e2}],\"isError\":true,\"new\":[1.0]}";
	struct buf out = BUF_INIT(1 << 16);
	(void)state;
	put(&out, MCP_LEGACY, answer_mcp(OUTCOME_TOOL_ERROR, slice_of(full), SLICE(""), true, NULL, "%s", "no"));
	expect(&out, "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"content\":[{\"type\":\"x\",\"y\":1e2}],"
		     "\"isError\":true,\"new\":[1.0]}}");
	buf_fini(&out);
}

static void other_results_become_content(void **state)
{
	struct buf out = BUF_INIT(1 << 16);
	(void)state;
	put(&out, MCP_LEGACY, answer_result(SLICE("{\"a\": 1}"), true, NULL));
	expect(&out, HEAD
	       "{\"content\":[{\"type\":\"text\",\"text\":\"{\\\"a\\\": 1}\"}],\"structuredContent\":{\"a\": 1}}}");
	put(&out, MCP_LEGACY, answer_result(SLICE("\"x\\n\""), true, NULL));
	expect(&out, HEAD "{\"content\":[{\"type\":\"text\",\"text\":\"x\\n\"}]}}");
	put(&out, MCP_LEGACY, answer_result(SLICE("\xff\xfe"), false, "image/gif"));
	expect(&out, HEAD "{\"content\":[{\"type\":\"image\",\"data\":\"//4=\",\"mimeType\":\"image/gif\"}]}}");
	put(&out, MCP_LEGACY, answer_result(SLICE(""), false, "text/plain"));
	expect(&out, HEAD "{\"content\":[{\"type\":\"text\",\"text\":\"\"}]}}");
	buf_fini(&out);
}

static void every_outcome_is_said_as_result_or_error(void **state)
{
	struct buf out = BUF_INIT(1 << 16);
	struct json_fault fault;
	struct slice result, error;
	(void)state;
	for (int i = OUTCOME_OK + 1; i < OUTCOME_COUNT; i++) {
		put(&out, MCP_MODERN, answer_upstream_error((enum outcome)i, 0, 3, SLICE(""), "because %d", i));
		assert_true(json_check(buf_slice(&out), 32, NULL, &fault));
		bool failed = json_member(buf_slice(&out), SLICE("result"), &result);
		bool refused = json_member(buf_slice(&out), SLICE("error"), &error);
		assert_true(failed != refused);
		assert_non_null(strstr(buf_cstr(&out), "\"retryAfterMs\":3000"));
		assert_non_null(strstr(buf_cstr(&out), outcome_word((enum outcome)i)));
		buf_reset(&out);
	}
	buf_fini(&out);
}

static void base64_is_read_strictly(void **state)
{
	static const struct {
		const char *text, *meaning;
	} cases[] = { { "", "" },       { "YQ==", "a" },  { "YWI=", "ab" },     { "YWJj", "abc" },
		      { "YQ=", NULL },  { "YQ", NULL },   { "YW J", NULL },     { " YWJ", NULL },
		      { "Y===", NULL }, { "====", NULL }, { "YQ==YQ==", NULL }, { "YW-_", NULL } };
	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct buf out = BUF_INIT(64);
		bool ok = mcp_from_base64(slice_of(cases[i].text), &out);
		assert_true(ok == (cases[i].meaning != NULL));
		if (ok)
			assert_string_equal(buf_cstr(&out), cases[i].meaning);
		buf_fini(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_result_is_given_what_a_modern_client_misses),
		cmocka_unit_test(what_is_there_is_left_alone),
		cmocka_unit_test(an_mcp_servers_result_goes_through_whole),
		cmocka_unit_test(other_results_become_content),
		cmocka_unit_test(every_outcome_is_said_as_result_or_error),
		cmocka_unit_test(base64_is_read_strictly),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
