/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the list of tools of an MCP server, under a configuration that overrides, renames and hides some: no
 * crash; tools have names that callers can use, each once, or there is a reason; all documents about them are JSON.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "gateway/tools/definitions.h"
#include "gateway/tools/mcp_tool_list.h"
#include "tests/support/fuzz.h"

static const char yaml[] =
	"upstreams:\n"
	"  s: { dialect: mcp, endpoints: [ { url: 'http://h/mcp' } ], trust_hints: true, max_tools: 8,\n"
	"       expose: { deny: [ 'hid*' ] }, cache: { ttl: 1m } }\n"
	"tools:\n"
	"  mine: { upstream: s, tool: a, arguments: { k: 1 }, title: T }\n"
	"  s__b: { upstream: s, description: other, annotations: { read_only: true } }\n";

static void check_json(struct slice text)
{
	struct json_fault fault;
	must(json_check(text, 1000, NULL, &fault));
}

static void check_documents(const struct config *config, const struct mcp_tool_list *tool_list)
{
	const struct tool **tools = calloc(tool_list->count + 1, sizeof *tools);
	must(tools != NULL);
	for (size_t i = 0; i < tool_list->count; i++)
		tools[i] = &tool_list->tools[i];
	struct definitions *definitions = definitions_new(&config->generation, tools, tool_list->count);
	must(definitions != NULL);
	for (unsigned format = 0; format < FORMAT_COUNT; format++)
		check_json(blob_slice(definitions_list(definitions, (enum definition_format)format)->blob));
	check_json(blob_slice(definitions_openapi(definitions)->blob));
	definitions_unref(definitions);
	free(tools);
}

static void check_list(const struct config *config, const struct mcp_tool_list *tool_list)
{
	for (size_t i = 0; i < tool_list->count; i++) {
		const char *name = tool_list->tools[i].name;
		must(name[0] && strlen(name) <= 128 && tool_list->tools[i].route);
		must(strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == strlen(name));
		for (size_t j = 0; j < i; j++)
			must(strcmp(name, tool_list->tools[j].name) != 0);
	}
	for (size_t i = 0; i < tool_list->refused_count; i++)
		must(tool_list->refused[i].why[0] != '\0');
	check_documents(config, tool_list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf errors = BUF_INIT(1 << 20);
	char error[200] = "";
	struct slice text = { (const char *)data, size };
	struct config *config = config_parse("fuzz", slice_of(yaml), &errors);
	must(config != NULL);
	struct tool_labels *slots = tool_labels_new(&config->generation, 1);
	must(slots != NULL);
	struct mcp_tool_list *tool_list =
		mcp_tool_list_new(&config->generation, 0, text, slots, NULL, error, sizeof error);
	must(tool_list || error[0]);
	if (tool_list) {
		must(mcp_tool_list_is_of(tool_list, text));
		check_list(config, tool_list);
	}
	mcp_tool_list_unref(tool_list);
	tool_labels_free(slots);
	config_free(config);
	buf_fini(&errors);
	return 0;
}
