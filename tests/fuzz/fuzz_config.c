/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a configuration: no crash, no leak, and either a configuration or at least one line that says why not.
 * What a good one shows of itself is JSON.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"
#include "gateway/config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct config *config)
{
	struct buf shown = BUF_INIT(64 << 20);
	struct json_fault fault;
	config_json(config, &config->generation, &shown);
	if (!json_check(buf_slice(&shown), 100, NULL, &fault))
		abort();
	for (size_t i = 0; i < config->generation.tool_count; i++) {
		const struct tool *tool = &config->generation.tools[i];
		bool sorted = i == 0 || strcmp(config->generation.tools[i - 1].name, tool->name) < 0;
		if (!sorted || tool->index != i || !tool->route || tool->upstream >= config->generation.upstream_count)
			abort();
	}
	buf_fini(&shown);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	struct buf errors = BUF_INIT(1 << 20);
	if (!ready) { /* ${file:/dev/stdin} must not wait for the terminal */
		int null = open("/dev/null", O_RDONLY);
		dup2(null, STDIN_FILENO);
		setenv("TOKEN", "t", 1);
		ready = true;
	}
	struct config *config = config_parse("fuzz", (struct slice){ (const char *)data, size }, &errors);
	if ((config == NULL) != (errors.len > 0))
		abort();
	if (config)
		check(config);
	config_free(config);
	buf_fini(&errors);
	return 0;
}
