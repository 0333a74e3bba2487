/* SPDX-License-Identifier: Apache-2.0 */
/* Tools as documents: every format byte for byte, names that a vendor would not take, the OpenAPI description. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#define json_type json_c_type /* json-c has the name too */
#include <json-c/json.h>
#undef json_type

#include "gateway/tools/definitions.h"
#include "gateway/tools/openapi.h"
#include "tests/support/alloc_fail.h"

/* One tool with all there is to say, one with nothing: its hints are what MCP says of a tool without any. */
static const char yaml[] =
	"listen: 127.0.0.1:0\n"
	"upstreams: { p: { dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ], timeout: 10s } }\n"
	"tools:\n"
	"  find:\n"
	"    upstream: p\n"
	"    title: Find\n"
	"    description: Say \"what\".\n"
	"    input_schema: { type: object, properties: { q: { type: string } } }\n"
	"    output_schema: { type: array }\n"
	"    annotations: { read_only: true }\n"
	"    timeout: 5s\n"
	"    cache: { ttl: 60s, scope: shared }\n"
	"  mail: { upstream: p }\n";

static struct config *config;

static void parse(const char *text)
{
	struct buf errors = BUF_INIT(1 << 20);
	config = config_parse("test.yaml", slice_of(text), &errors);
	if (!config)
		fail_msg("%s", buf_cstr(&errors));
	buf_fini(&errors);
}

#define FIND_INPUT "{\"type\":\"object\",\"properties\":{\"q\":{\"type\":\"string\"}}}"
#define MAIL_INPUT "{\"type\":\"object\"}"
#define MAIL_MENDED "{\"type\":\"object\",\"properties\":{}}" /* OpenAI refuses what has no properties */
#define FIND_SAYS "\"description\":\"Say \\\"what\\\".\""

static const char *const lists[FORMAT_COUNT] = {
	[FORMAT_JITNEY] =
		"{\"tools\":[{\"name\":\"find\",\"title\":\"Find\"," FIND_SAYS ",\"input_schema\":" FIND_INPUT
		",\"output_schema\":{\"type\":\"array\"},\"annotations\":{\"read_only\":true,\"idempotent\":false,"
		"\"destructive\":false,\"open_world\":true},\"upstream\":\"p\",\"timeout_ms\":5000,"
		"\"cache\":{\"ttl_ms\":60000}},{\"name\":\"mail\",\"input_schema\":" MAIL_INPUT
		",\"annotations\":{\"read_only\":false,\"idempotent\":false,\"destructive\":true,\"open_world\":true},"
		"\"upstream\":\"p\",\"timeout_ms\":10000}]}\n",
	[FORMAT_MCP] = "{\"tools\":[{\"name\":\"find\",\"title\":\"Find\"," FIND_SAYS ",\"inputSchema\":" FIND_INPUT
		       ",\"outputSchema\":{\"type\":\"array\"},\"annotations\":{\"readOnlyHint\":true,"
		       "\"idempotentHint\":false,\"destructiveHint\":false,\"openWorldHint\":true}},"
		       "{\"name\":\"mail\",\"inputSchema\":" MAIL_INPUT ",\"annotations\":{\"readOnlyHint\":false,"
		       "\"idempotentHint\":false,\"destructiveHint\":true,\"openWorldHint\":true}}]}\n",
	[FORMAT_OPENAI] =
		"[{\"type\":\"function\",\"function\":{\"name\":\"find\"," FIND_SAYS ",\"parameters\":" FIND_INPUT
		",\"strict\":false}},{\"type\":\"function\",\"function\":{\"name\":\"mail\",\"parameters\":" MAIL_MENDED
		",\"strict\":false}}]\n",
	[FORMAT_OPENAI_RESPONSES] =
		"[{\"type\":\"function\",\"name\":\"find\"," FIND_SAYS ",\"parameters\":" FIND_INPUT
		",\"strict\":false},{\"type\":\"function\",\"name\":\"mail\",\"parameters\":" MAIL_MENDED
		",\"strict\":false}]\n",
	[FORMAT_ANTHROPIC] = "[{\"name\":\"find\"," FIND_SAYS ",\"input_schema\":" FIND_INPUT
			     "},{\"name\":\"mail\",\"input_schema\":" MAIL_MENDED "}]\n",
	[FORMAT_GEMINI] =
		"[{\"functionDeclarations\":[{\"name\":\"find\"," FIND_SAYS ",\"parametersJsonSchema\":" FIND_INPUT
		"},{\"name\":\"mail\",\"parametersJsonSchema\":" MAIL_MENDED "}]}]\n",
};

static struct definitions *write_definitions(void)
{
	const struct tool *tools[8];
	assert_in_range(config->generation.tool_count, 0, countof(tools));
	for (size_t i = 0; i < config->generation.tool_count; i++)
		tools[i] = &config->generation.tools[i];
	return definitions_new(&config->generation, tools, config->generation.tool_count);
}

static void assert_document(const struct document *document, const char *expected)
{
	assert_string_equal(document->blob->bytes, expected);
	assert_int_equal(document->blob->len, strlen(expected));
	assert_int_equal(strlen(document->etag), 18);
	assert_true(document->etag[0] == '"' && document->etag[17] == '"');
}

static void every_format_is_written_to_the_byte(void **state)
{
	(void)state;
	parse(yaml);
	struct definitions *definitions = write_definitions();
	assert_non_null(definitions);
	for (int i = 0; i < FORMAT_COUNT; i++)
		assert_document(definitions_list(definitions, (enum definition_format)i), lists[i]);
	definitions_unref(definitions);
	config_free(config);
}

static void one_tool_is_written_as_in_the_list(void **state)
{
	(void)state;
	parse(yaml);
	struct document document;
	for (int i = 0; i < FORMAT_COUNT; i++)
		for (size_t t = 0; t < config->generation.tool_count; t++) {
			assert_true(definitions_tool(&config->generation, &config->generation.tools[t],
						     (enum definition_format)i, &document));
			char *bytes = document.blob->bytes;
			size_t len = document.blob->len;
			assert_int_equal(bytes[len - 1], '\n');
			assert_non_null(memmem(lists[i], strlen(lists[i]), bytes, len - 1));
			blob_unref(document.blob);
		}
	config_free(config);
}

static void formats_have_words(void **state)
{
	(void)state;
	assert_int_equal(definition_format(SLICE("")), FORMAT_JITNEY);
	assert_int_equal(definition_format(SLICE("jitney")), FORMAT_JITNEY);
	assert_int_equal(definition_format(SLICE("openai-responses")), FORMAT_OPENAI_RESPONSES);
	assert_int_equal(definition_format(SLICE("gemini")), FORMAT_GEMINI);
	assert_int_equal(definition_format(SLICE("OpenAI")), FORMAT_COUNT);
	assert_int_equal(definition_format(SLICE("openai ")), FORMAT_COUNT);
}

static void a_name_that_a_vendor_would_not_take_is_left_out(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		const char *fits; /* J M O R A G: by first letters, R for openai-responses */
	} table[] = {
		{ "search", "JMORAG" },
		{ "web.search", "JMG" },
		{ "_private", "JMORAG" },
		{ "9lives", "JMORA" },
		{ "-dash", "JMORA" },
		{ "a23456789012345678901234567890123456789012345678901234567890123X", "JMORAG" }, /* 64 */
	};
	for (size_t i = 0; i < countof(table); i++) {
		const struct tool tool = { .name = table[i].name };
		for (int format = 0; format < FORMAT_COUNT; format++) {
			bool fits = strchr(table[i].fits, "JMORAG"[format]);
			assert_int_equal(definition_name_fits(&tool, (enum definition_format)format), fits);
		}
	}
	const struct tool longer = { .name = "a23456789012345678901234567890123456789012345678901234567890123XY" };
	assert_false(definition_name_fits(&longer, FORMAT_OPENAI));
	assert_false(definition_name_fits(&longer, FORMAT_OPENAI_RESPONSES));
	assert_true(definition_name_fits(&longer, FORMAT_MCP));
}

/* The member at a path of names, which must be there. */
static struct json_object *at(struct json_object *object, const char *const *path)
{
	for (; *path; path++)
		if (!json_object_object_get_ex(object, *path, &object))
			fail_msg("no member %s", *path);
	return object;
}
#define AT(object, ...) at((object), (const char *const[]){ __VA_ARGS__, NULL })

static void the_openapi_description_has_an_operation_for_each_tool(void **state)
{
	(void)state;
	parse(yaml);
	struct definitions *definitions = write_definitions();
	assert_non_null(definitions);
	struct json_object *root = json_tokener_parse(definitions_openapi(definitions)->blob->bytes);
	assert_non_null(root);
	assert_string_equal(json_object_get_string(AT(root, "openapi")), "3.1.0");
	assert_int_equal(json_object_object_length(AT(root, "paths")), 2);
	struct json_object *find = AT(root, "paths", "/v1/tools/find", "post");
	assert_string_equal(json_object_get_string(AT(find, "operationId")), "find");
	assert_string_equal(json_object_get_string(AT(find, "summary")), "Find");
	const char *schema = json_object_to_json_string_ext(
		AT(find, "requestBody", "content", "application/json", "schema"), JSON_C_TO_STRING_PLAIN);
	assert_string_equal(schema, FIND_INPUT);
	const char *result = json_object_to_json_string_ext(
		AT(find, "responses", "200", "content", "application/json", "schema"), JSON_C_TO_STRING_PLAIN);
	assert_string_equal(result, "{\"type\":\"array\"}");
	struct json_object *codes = AT(root, "components", "schemas", "Problem", "properties", "code", "enum");
	assert_int_equal(json_object_array_length(codes), OUTCOME_CANCELLED - OUTCOME_OK - 1);
	json_object_put(root);
	definitions_unref(definitions);
	config_free(config);
}

/* Each schema is a document of its own, whose references would point to nothing in the whole. */
static void references_in_schemas_lead_somewhere_in_the_openapi_description(void **state)
{
	(void)state;
	static const char schema[] =
		"{\"type\":\"object\",\"$defs\":{\"A\":{\"properties\":{\"b\":{\"$ref\":\"#/$defs/B\"}}},\"B\":{\"type\":"
		"\"string\"},\"C[int]\":{}},\"properties\":{\"a\":{\"$ref\":\"#/$defs/A\"},\"deep\":{\"$ref\":"
		"\"#/$defs/A/properties/b\"},\"c\":{\"$ref\":\"#/$defs/C%5Bint%5D\"},\"again\":{\"$ref\":\"#\"},\"like\":{"
		"\"$ref\":\"#/properties/a\"},\"far\":{\"$ref\":\"https://x/y\"},\"$ref\":{\"const\":{\"$ref\":\"#/z\"}},"
		"\"$defs\":{\"type\":\"null\"}}}";
	static const char *const expected[] = {
		"\"a\":{\"$ref\":\"#/components/schemas/t.A\"}",
		"\"deep\":{\"$ref\":\"#/components/schemas/t.A/properties/b\"}",
		"\"c\":{\"$ref\":\"#/components/schemas/t._2\"}",
		"\"again\":{\"$ref\":\"#/paths/~1v1~1tools~1t/post/requestBody/content/application~1json/schema\"}",
		"\"like\":{\"$ref\":\"#/paths/~1v1~1tools~1t/post/requestBody/content/application~1json/schema/properties/"
		"a\"}",
		"\"far\":{\"$ref\":\"https://x/y\"}",
		"\"$ref\":{\"const\":{\"$ref\":\"#/z\"}},\"$defs\":{\"type\":\"null\"}}}",
		",\"t.A\":{\"properties\":{\"b\":{\"$ref\":\"#/components/schemas/t.B\"}}},\"t.B\":{\"type\":\"string\"},"
		"\"t._2\":{}",
		",\"t.output.A\":{\"properties\":{\"b\":{\"$ref\":\"#/components/schemas/t.output.B\"}}}",
	};
	const struct tool tool = {
		.name = "t", .title = "", .description = "", .input_schema = schema, .output_schema = schema
	};
	const struct tool *tools[] = { &tool };
	struct buf out = BUF_INIT(1 << 20);
	openapi_put(&out, tools, 1);
	for (size_t i = 0; i < countof(expected); i++)
		if (!strstr(buf_cstr(&out), expected[i]))
			fail_msg("no %s in %s", expected[i], buf_cstr(&out));
	struct json_object *root = json_tokener_parse(buf_cstr(&out));
	assert_non_null(root);
	json_object_put(root);
	buf_fini(&out);
}

static void without_memory_there_are_no_definitions_and_no_leak(void **state)
{
	(void)state;
	struct definitions *definitions = NULL;
	parse(yaml);
	for (size_t n = 1; !definitions; n++) {
		assert_in_range(n, 1, 200);
		alloc_fail_at(n);
		definitions = write_definitions();
		alloc_reset();
	}
	definitions_unref(definitions);
	config_free(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_format_is_written_to_the_byte),
		cmocka_unit_test(one_tool_is_written_as_in_the_list),
		cmocka_unit_test(formats_have_words),
		cmocka_unit_test(a_name_that_a_vendor_would_not_take_is_left_out),
		cmocka_unit_test(the_openapi_description_has_an_operation_for_each_tool),
		cmocka_unit_test(references_in_schemas_lead_somewhere_in_the_openapi_description),
		cmocka_unit_test(without_memory_there_are_no_definitions_and_no_leak),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
