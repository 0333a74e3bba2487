/* SPDX-License-Identifier: Apache-2.0 */
/* How many workers send to an upstream, where the file leaves that to the gateway. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "gateway/config/config.h"

/* More than one only where the provider sees nothing of it; and it is said why. */
static void owners_are_as_many_as_change_nothing(void **state)
{
	(void)state;
#define OWNED(workers, options)                                                                                        \
	"workers: " workers                                                                                            \
	"\nupstreams: { s: { dialect: rest, endpoints: [ { url: \"http://h\" } ], owners: auto" options " } }"
	static const struct {
		const char *text;
		unsigned owners;
		size_t pool_max;
		const char *because;
	} cases[] = {
		{ OWNED("4", ""), 4, 4000, "since there are so many workers" },
		{ OWNED("200", ""), 64, 64000, "since there are so many workers" },
		{ OWNED("1", ""), 1, 1000, "since there are so many workers" },
		{ OWNED("4", ", pool: { max: 3999 }"), 3, 3999, "since each needs as many connections" },
		{ OWNED("4", ", pool: { max: 10 }"), 1, 10, "since each needs as many connections" },
		{ OWNED("4", ", concurrency: 5"), 1, 5, "since each needs as many connections" },
		{ OWNED("4", ", concurrency: 5, pool: { max: 12 }"), 2, 12, "since each needs as many connections" },
		{ OWNED("4", ", concurrency: 5, pool: { max: 20 }"), 4, 20, "since there are so many workers" },
		{ OWNED("4", ", rate: { requests: 9/s }"), 4, 4000, "since there are so many workers" },
		{ OWNED("4", ", health: { tcp: true }"), 4, 4000, "since there are so many workers" },
		{ "workers: 4\nupstreams: { s: { dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ], owners: auto } }",
		  1, 1000, "where calls share requests" },
		{ "workers: 4\nupstreams: { s: { dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ], owners: auto, "
		  "batch: { mode: off } } }",
		  4, 4000, "since there are so many workers" },
		{ "workers: 4\nupstreams: { s: { dialect: mcp, endpoints: [ { url: \"http://h\" } ], owners: auto } }",
		  1, 1000, "for MCP servers" },
		{ "workers: 4\nupstreams: { s: { dialect: rest, endpoints: [ { url: \"http://h\" } ] } }", 1, 1000,
		  NULL },
		{ "workers: 4\nupstreams: { s: { dialect: rest, endpoints: [ { url: \"http://h\" } ], owners: 3 } }", 3,
		  3000, NULL },
	};
	for (size_t i = 0; i < countof(cases); i++) {
		struct buf errors = BUF_INIT(1 << 20);
		struct config *config = config_parse("test.yaml", slice_of(cases[i].text), &errors);
		assert_string_equal(buf_cstr(&errors), "");
		assert_non_null(config);
		const struct upstream_config *upstream = &config->generation.upstreams[0];
		struct buf said = BUF_INIT(1 << 10);
		assert_int_equal(upstream->owners, cases[i].owners);
		assert_int_equal(upstream->settings.pool_max, cases[i].pool_max);
		upstream_put_owners(&said, upstream);
		if (cases[i].because)
			assert_non_null(strstr(buf_cstr(&said), cases[i].because));
		else
			assert_int_equal(said.len, 0);
		buf_fini(&said);
		buf_fini(&errors);
		config_free(config);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(owners_are_as_many_as_change_nothing),
	};
	return cmocka_run_group_tests_name("owners", tests, NULL, NULL);
}
