/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the file of an MCP client: no crash, and either a reason or a text that `jitney check` takes or says
 * what is wrong with: a header that no request can have, say, is for people to mend.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/config/config.h"
#include "gateway/cli/import.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void set_variables(const char *yaml)
{
	char name[100];
	for (const char *at = yaml; (at = strstr(at, "\n#   ")); at += 5)
		if (sscanf(at, "\n#   %99[A-Za-z0-9_]", name) == 1)
			setenv(name, "set", 1);
}

static void check(struct buf *yaml)
{
	struct buf errors = BUF_INIT(1 << 20);
	set_variables(buf_cstr(yaml));
	struct config *config = config_parse("fuzz", buf_slice(yaml), &errors);
	if (!config && !errors.len)
		abort();
	config_free(config);
	buf_fini(&errors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char error[200] = "";
	struct buf yaml = BUF_INIT(16 << 20);
	bool converted =
		import_convert((struct slice){ (const char *)data, size }, "mcp.json", &yaml, error, sizeof error);
	if (!converted && !error[0])
		abort();
	if (converted)
		check(&yaml);
	buf_fini(&yaml);
	return 0;
}
