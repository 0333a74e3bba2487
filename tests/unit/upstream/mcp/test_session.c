/* SPDX-License-Identifier: Apache-2.0 */
/* Opening an MCP server in either era, with the server played by hand; tool lists and mirrored arguments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdint.h>
#include <stdio.h>

#include "base/clock.h"
#include "upstream/mcp/param_headers.h"
#include "upstream/mcp/session.h"
#include "upstream/mcp/list_tools.h"

static struct mcp_session session;
static uint64_t now_us = 1000000;

static void hear_with_id(unsigned status, const char *text, const char *id)
{
	struct mcp_message message;
	const char *fault;
	struct mcp_reply reply = { status, NULL, slice_of(id), text ? NULL : "no answer" };
	if (text) {
		assert_true(mcp_read(slice_of(text), 32, NULL, &message, &fault));
		reply.message = &message;
	}
	mcp_session_heard(&session, &reply, now_us);
}

static void hear(unsigned status, const char *text)
{
	hear_with_id(status, text, NULL);
}

static void open_as(const char *protocol)
{
	mcp_session_init(&session, protocol);
	mcp_session_open(&session, now_us);
}

#define DISCOVERED                                                                                                     \
	"{\"id\":1,\"result\":{\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":{\"tools\":{\"listChanged\":"   \
	"true}}}}"
#define INITIALIZED "{\"id\":2,\"result\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"tools\":{}}}}"
#define NO_METHOD "{\"id\":1,\"error\":{\"code\":-32601,\"message\":\"m\"}}"

static void a_modern_server_is_ready_after_the_probe(void **state)
{
	(void)state;
	open_as("auto");
	assert_int_equal(session.state, MCP_PROBING);
	hear(200, DISCOVERED);
	assert_int_equal(session.state, MCP_READY);
	assert_int_equal(session.era, MCP_MODERN);
	assert_true(session.list_changed);
	open_as("auto");
	hear(400, "{\"id\":1,\"error\":{\"code\":-32020,\"message\":\"m\"}}");
	assert_int_equal(session.state, MCP_READY);
}

static void open_legacy(void)
{
	open_as("auto");
	hear(200, NO_METHOD);
	assert_int_equal(session.state, MCP_INITIALIZING);
	hear_with_id(200, INITIALIZED, "s-1");
	assert_int_equal(session.state, MCP_CONFIRMING);
	hear(202, NULL);
	assert_int_equal(session.state, MCP_READY);
	assert_int_equal(session.era, MCP_LEGACY);
}

static void a_legacy_server_is_initialized_after_the_probe(void **state)
{
	static const unsigned refusals[] = { 200, 400, 404, 405, 406, 415 };
	(void)state;
	open_legacy();
	assert_string_equal(session.version, "2025-06-18");
	assert_string_equal(session.id, "s-1");
	assert_false(session.list_changed);
	for (size_t i = 0; i < countof(refusals); i++) {
		open_as("auto");
		hear(refusals[i], refusals[i] == 200 ? NO_METHOD : NULL);
		assert_int_equal(session.state, MCP_INITIALIZING);
	}
	open_as("auto");
	hear(400, "{\"id\":1,\"error\":{\"code\":-32022,\"message\":\"m\",\"data\":{\"supported\":[\"2025-11-25\"]}}}");
	assert_int_equal(session.state, MCP_INITIALIZING);
}

static void what_says_nothing_of_the_era_fails_the_opening(void **state)
{
	static const unsigned statuses[] = { 0, 401, 403, 429, 500, 503 };
	(void)state;
	for (size_t i = 0; i < countof(statuses); i++) {
		open_as("auto");
		hear(statuses[i], NULL);
		assert_int_equal(session.state, MCP_FAILED);
		assert_string_not_equal(session.why, "");
	}
	open_as("2025-11-25");
	assert_int_equal(session.state, MCP_INITIALIZING);
	hear(200, "{\"id\":2,\"result\":{\"protocolVersion\":\"1999-01-01\"}}");
	assert_int_equal(session.state, MCP_FAILED);
	open_as("2025-11-25");
	hear_with_id(200, INITIALIZED, "a b");
	assert_int_equal(session.state, MCP_FAILED);
	open_as("2025-11-25");
	hear(200, INITIALIZED);
	hear(500, NULL);
	assert_int_equal(session.state, MCP_FAILED);
}

static void a_pin_needs_no_probe(void **state)
{
	(void)state;
	open_as("2026-07-28");
	assert_int_equal(session.state, MCP_READY);
	assert_int_equal(session.era, MCP_MODERN);
	open_as("2025-03-26");
	struct buf out = BUF_INIT(1000);
	mcp_session_put(&session, 9, &out);
	assert_non_null(strstr(buf_cstr(&out), "\"protocolVersion\":\"2025-03-26\""));
	buf_fini(&out);
}

static void a_decision_holds_for_an_hour(void **state)
{
	(void)state;
	open_legacy();
	assert_true(mcp_session_lost(&session, session.epoch));
	mcp_session_open(&session, now_us + MCP_VERDICT_US - 1);
	assert_int_equal(session.state, MCP_INITIALIZING);
	open_legacy();
	assert_true(mcp_session_lost(&session, session.epoch));
	mcp_session_open(&session, now_us + MCP_VERDICT_US);
	assert_int_equal(session.state, MCP_PROBING);
}

static void a_session_is_lost_once(void **state)
{
	(void)state;
	open_legacy();
	assert_true(mcp_session_refused(mcp_session_has_id(&session), 404, 0, false));
	assert_true(mcp_session_refused(mcp_session_has_id(&session), 404, 0, true));
	assert_true(mcp_session_refused(mcp_session_has_id(&session), 400, -32000, false));
	assert_false(mcp_session_refused(mcp_session_has_id(&session), 400, -32000, true));
	assert_false(mcp_session_refused(mcp_session_has_id(&session), 400, MCP_INVALID_PARAMS, false));
	assert_false(mcp_session_refused(mcp_session_has_id(&session), 200, 0, false));
	unsigned epoch = session.epoch;
	assert_true(mcp_session_lost(&session, epoch));
	assert_false(mcp_session_lost(&session, epoch));
	mcp_session_open(&session, now_us);
	hear(200, INITIALIZED);
	hear(202, NULL);
	assert_false(mcp_session_lost(&session, epoch));
	assert_false(mcp_session_refused(mcp_session_has_id(&session), 404, 0, false)); /* this one has no id */
	mcp_session_doubt(&session, now_us);
	assert_true(mcp_session_doubtful(&session, now_us + 1));
	assert_false(mcp_session_doubtful(&session, now_us + 60000000));
}

static void expect_headers(const char *method, struct slice name, const char *lines)
{
	struct buf out = BUF_INIT(1000);
	mcp_session_put_headers(&session, method, name, &out);
	assert_string_equal(buf_cstr(&out), lines);
	buf_fini(&out);
}

static void each_era_has_its_headers(void **state)
{
	(void)state;
	struct slice none = { NULL, 0 };
	open_legacy();
	expect_headers("tools/call", SLICE("\"x\""), "MCP-Protocol-Version: 2025-06-18\nMcp-Session-Id: s-1\n");
	open_as("2026-07-28");
	expect_headers("tools/list", none, "MCP-Protocol-Version: 2026-07-28\nMcp-Method: tools/list\n");
	expect_headers("tools/call", SLICE("\"h\\u00e9\""),
		       "MCP-Protocol-Version: 2026-07-28\nMcp-Method: tools/call\nMcp-Name: =?base64?aMOp?=\n");
}

/* --- mirrored arguments --- */

#define PROPERTIES(text) SLICE("{\"type\":\"object\",\"properties\":{" text "}}")

static void only_valid_annotations_are_accepted(void **state)
{
	static const struct slice good[] = {
		PROPERTIES("\"a\":{\"type\":\"string\",\"x-mcp-header\":\"A\"}"),
		PROPERTIES("\"a\":{\"type\":\"object\",\"properties\":{\"b\":{\"type\":\"integer\",\"x-mcp-header\":"
			   "\"B\"}}}"),
		PROPERTIES("\"x-mcp-header\":{\"type\":\"string\",\"default\":{\"x-mcp-header\":\"A\"}}"),
		PROPERTIES("\"a\":{\"type\":\"string\"}"),
	};
	static const struct slice bad[] = {
		PROPERTIES("\"a\":{\"type\":\"number\",\"x-mcp-header\":\"A\"}"),
		PROPERTIES("\"a\":{\"type\":[\"string\"],\"x-mcp-header\":\"A\"}"),
		PROPERTIES("\"a\":{\"type\":\"string\",\"x-mcp-header\":\"\"}"),
		PROPERTIES("\"a\":{\"type\":\"string\",\"x-mcp-header\":\"A B\"}"),
		PROPERTIES("\"a\":{\"type\":\"string\",\"x-mcp-header\":\"A\\r\\nB\"}"),
		PROPERTIES("\"a\":{\"type\":\"string\",\"x-mcp-header\":7}"),
		PROPERTIES("\"a\":{\"type\":\"string\",\"x-mcp-header\":\"A\"},\"b\":{\"type\":\"string\",\"x-mcp-"
			   "header\":\"a\"}"),
		PROPERTIES("\"a\":{\"type\":\"array\",\"items\":{\"type\":\"string\",\"x-mcp-header\":\"A\"}}"),
		PROPERTIES("\"a\":{\"allOf\":[{\"type\":\"string\",\"x-mcp-header\":\"A\"}]}"),
		SLICE("{\"type\":\"string\",\"x-mcp-header\":\"A\"}"),
		SLICE("{\"type\":\"object\",\"$defs\":{\"a\":{\"type\":\"string\",\"x-mcp-header\":\"A\"}}}"),
	};
	size_t count;
	(void)state;
	for (size_t i = 0; i < countof(good); i++) {
		assert_null(param_headers_fault(good[i], &count));
		assert_int_equal(count, i < 2);
	}
	for (size_t i = 0; i < countof(bad); i++)
		assert_non_null(param_headers_fault(bad[i], &count));
}

static void annotated_arguments_become_headers(void **state)
{
	static const struct slice schema = PROPERTIES(
		"\"s\":{\"type\":\"string\",\"x-mcp-header\":\"S\"},"
		"\"o\":{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"integer\",\"x-mcp-header\":\"N\"}}},"
		"\"b\":{\"type\":\"boolean\",\"x-mcp-header\":\"B\"},\"z\":{\"type\":\"string\",\"x-mcp-header\":\"Z\"}"
		","
		"\"y\":{\"type\":\"string\",\"x-mcp-header\":\"Y\"}");
	struct buf lines = BUF_INIT(1000);
	(void)state;
	param_headers_put(schema, SLICE("{\"z\":null,\"s\":\" a\\n\",\"o\":{\"n\":42},\"b\":true,\"q\":1}"), &lines);
	assert_string_equal(buf_cstr(&lines), "Mcp-Param-S: =?base64?IGEK?=\nMcp-Param-N: 42\nMcp-Param-B: true\n");
	buf_fini(&lines);
}

/* Processor time of writing the header of a tool that has so many properties more. */
static uint64_t header_among_us(unsigned properties, struct slice arguments)
{
	struct buf schema = BUF_INIT(SIZE_MAX / 4), lines = BUF_INIT(1000);
	buf_put_text(&schema, "{\"type\":\"object\",\"properties\":{");
	for (unsigned i = 0; i < properties; i++)
		buf_printf(&schema, "\"p%u\":{\"type\":\"string\"},", i);
	buf_put_text(&schema, "\"s\":{\"type\":\"string\",\"x-mcp-header\":\"S\"}}}");
	uint64_t began_us = clock_thread_us();
	param_headers_put(buf_slice(&schema), arguments, &lines);
	uint64_t took_us = clock_thread_us() - began_us;
	assert_string_equal(buf_cstr(&lines), "Mcp-Param-S: x\n");
	buf_fini(&schema);
	buf_fini(&lines);
	return took_us;
}

/* All arguments were gone through for each property of the schema: 100,000 of them and 500 properties took a second of the worker. */
static void only_annotated_arguments_are_looked_for(void **state)
{
	struct buf arguments = BUF_INIT(SIZE_MAX / 4);
	(void)state;
	buf_put_char(&arguments, '{');
	for (unsigned i = 0; i < 100000; i++)
		buf_printf(&arguments, "\"a%u\":1,", i);
	buf_put_text(&arguments, "\"s\":\"x\"}");
	uint64_t one_us = header_among_us(0, buf_slice(&arguments)) + 1000;
	assert_in_range(header_among_us(500, buf_slice(&arguments)), 0, 20 * one_us);
	buf_fini(&arguments);
}

/* --- lists --- */

static enum mcp_page take_page(struct mcp_tools *tools, const char *text)
{
	struct mcp_message message;
	const char *fault;
	assert_true(mcp_read(slice_of(text), 32, NULL, &message, &fault));
	enum mcp_page page = mcp_tools_take(tools, &message);
	assert_true((page == MCP_PAGE_BAD) == (tools->why[0] != '\0'));
	return page;
}

static void pages_become_one_list_without_what_nobody_can_call(void **state)
{
	struct mcp_tools tools;
	(void)state;
	mcp_tools_init(&tools, 10000, true);
	assert_int_equal(take_page(&tools,
				   "{\"id\":1,\"result\":{\"tools\":[{\"name\":\"a\", \"x\":1.0},{\"title\":\"none\"}],"
				   "\"nextCursor\":\"c1\",\"ttlMs\":9000}}"),
			 MCP_PAGE_MORE);
	assert_true(slice_equal(buf_slice(&tools.cursor), SLICE("\"c1\"")));
	assert_int_equal(take_page(&tools,
				   "{\"id\":2,\"result\":{\"tools\":["
				   "{\"name\":\"t\",\"execution\":{\"taskSupport\":\"required\"}},"
				   "{\"name\":\"h\",\"inputSchema\":{\"type\":\"object\",\"x-mcp-header\":\"H\"}},"
				   "{\"name\":\"b\",\"execution\":{\"taskSupport\":\"optional\"}}],\"ttlMs\":8000}}"),
			 MCP_PAGE_LAST);
	assert_true(slice_equal(mcp_tools_list(&tools),
				SLICE("[{\"name\":\"a\", \"x\":1.0},"
				      "{\"name\":\"b\",\"execution\":{\"taskSupport\":\"optional\"}}]")));
	assert_int_equal(tools.dropped, 3);
	assert_int_equal(tools.ttl_ms, 8000);
	mcp_tools_fini(&tools);
}

static void a_list_without_an_end_is_given_up(void **state)
{
	struct mcp_tools tools;
	(void)state;
	mcp_tools_init(&tools, 10000, false);
	assert_int_equal(take_page(&tools, "{\"id\":1,\"result\":{\"tools\":[],\"nextCursor\":\"c\"}}"), MCP_PAGE_MORE);
	assert_int_equal(take_page(&tools, "{\"id\":1,\"result\":{\"tools\":[],\"nextCursor\":\"c\"}}"), MCP_PAGE_BAD);
	mcp_tools_fini(&tools);
	mcp_tools_init(&tools, 10000, false);
	enum mcp_page page = MCP_PAGE_MORE;
	size_t pages = 0;
	while (page == MCP_PAGE_MORE) {
		char text[100];
		snprintf(text, sizeof text, "{\"id\":1,\"result\":{\"tools\":[],\"nextCursor\":\"%zu\"}}", pages++);
		page = take_page(&tools, text);
	}
	assert_int_equal(page, MCP_PAGE_BAD);
	assert_int_equal(pages, MCP_PAGES_MAX);
	mcp_tools_fini(&tools);
	mcp_tools_init(&tools, 20, false);
	assert_int_equal(take_page(&tools, "{\"id\":1,\"result\":{\"tools\":[{\"name\":\"0123456789abcdef\"}]}}"),
			 MCP_PAGE_BAD);
	mcp_tools_fini(&tools);
	mcp_tools_init(&tools, 20, false);
	assert_int_equal(take_page(&tools, "{\"id\":1,\"result\":{\"tools\":{}}}"), MCP_PAGE_BAD);
	mcp_tools_fini(&tools);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_modern_server_is_ready_after_the_probe),
		cmocka_unit_test(a_legacy_server_is_initialized_after_the_probe),
		cmocka_unit_test(what_says_nothing_of_the_era_fails_the_opening),
		cmocka_unit_test(a_pin_needs_no_probe),
		cmocka_unit_test(a_decision_holds_for_an_hour),
		cmocka_unit_test(a_session_is_lost_once),
		cmocka_unit_test(each_era_has_its_headers),
		cmocka_unit_test(only_valid_annotations_are_accepted),
		cmocka_unit_test(annotated_arguments_become_headers),
		cmocka_unit_test(only_annotated_arguments_are_looked_for),
		cmocka_unit_test(pages_become_one_list_without_what_nobody_can_call),
		cmocka_unit_test(a_list_without_an_end_is_given_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
