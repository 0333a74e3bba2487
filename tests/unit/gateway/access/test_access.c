/* SPDX-License-Identifier: Apache-2.0 */
/* Who may: what is a known Host, what is a known Origin, and what is neither, by the table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "gateway/access/access.h"

enum { DATA = 1, ADMIN = 2, BOTH = DATA | ADMIN };

#define PROVIDERS                                                                                                      \
	"\nupstreams: { s: { dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ] } }\ntools: { t: { upstream: s } }\n"
#define NONE ""
#define LISTED "allowed_hosts: [ tools.example ]"
#define OLDER "mcp: { allowed_hosts: [ tools.example ] }"
#define ANY "allowed_hosts: [ \"*\" ]"
#define PAGES "mcp: { allowed_origins: [ \"https://app.example:444\" ] }"
#define ANY_PAGE "mcp: { allowed_origins: [ \"*\" ] }"

static const struct {
	const char *yaml, *host, *origin, *site;
	enum http_method method;
	int may; /* on which listeners */
} cases[] = {
	/* Host */
	{ NONE, "", NULL, NULL, HTTP_POST, BOTH },
	{ NONE, "localhost", NULL, NULL, HTTP_POST, BOTH },
	{ NONE, "LocalHost:1", NULL, NULL, HTTP_POST, BOTH },
	{ NONE, "a.localhost", NULL, NULL, HTTP_POST, BOTH },
	{ NONE, "127.9.9.9:8080", NULL, NULL, HTTP_POST, BOTH },
	{ NONE, "10.0.0.1", NULL, NULL, HTTP_POST, BOTH },
	{ NONE, "[2001:db8::1]:80", NULL, NULL, HTTP_POST, BOTH },
	{ NONE, "[::1", NULL, NULL, HTTP_POST, 0 },
	{ NONE, "[::1]evil.example", NULL, NULL, HTTP_GET, 0 },
	{ NONE, "[::1]@evil.example", NULL, NULL, HTTP_GET, 0 },
	{ NONE, "[::1]:", NULL, NULL, HTTP_GET, BOTH },
	{ NONE, "[fe80::1%25eth0]", NULL, NULL, HTTP_GET, 0 },
	{ NONE, "[localhost]", NULL, NULL, HTTP_GET, 0 },
	{ NONE, "::1", NULL, NULL, HTTP_GET, 0 },
	{ NONE, ":80", NULL, NULL, HTTP_GET, 0 },
	{ NONE, "localhost:1@evil.example", NULL, NULL, HTTP_GET, 0 },
	{ NONE, "localhost:80:80", NULL, NULL, HTTP_GET, 0 },
	{ NONE, "localhost.", NULL, NULL, HTTP_GET, 0 },
	{ NONE, "alocalhost", NULL, NULL, HTTP_GET, 0 },
	{ NONE, "localhost.evil.example", NULL, NULL, HTTP_GET, 0 },
	{ NONE, "127.0.0.1.evil.example", NULL, NULL, HTTP_GET, 0 },
	{ NONE, "0x7f000001", NULL, NULL, HTTP_GET, 0 },
	{ NONE, "tools.example", NULL, NULL, HTTP_GET, 0 },
	{ NONE, "*", NULL, NULL, HTTP_GET, 0 },
	{ LISTED, "Tools.Example:443", NULL, NULL, HTTP_POST, BOTH },
	{ LISTED, "a.tools.example", NULL, NULL, HTTP_POST, 0 },
	{ OLDER, "tools.example", NULL, NULL, HTTP_POST, BOTH },
	{ ANY, "evil.example", NULL, NULL, HTTP_POST, BOTH },
	/* Origin */
	{ NONE, "localhost", "http://localhost:3000", NULL, HTTP_POST, BOTH },
	{ NONE, "localhost", "HTTPS://127.0.0.1", NULL, HTTP_DELETE, BOTH },
	{ NONE, "localhost", "http://[::1]:9", NULL, HTTP_POST, BOTH },
	{ NONE, "10.0.0.1:8081", "http://10.0.0.1:8081", NULL, HTTP_POST, BOTH },
	{ NONE, "10.0.0.1:8081", "http://10.0.0.1:8082", NULL, HTTP_POST, 0 },
	{ NONE, "10.0.0.1", "http://10.0.0.2", NULL, HTTP_GET, 0 },
	{ NONE, "", "http://", NULL, HTTP_POST, 0 },
	{ NONE, "", "http:///", NULL, HTTP_POST, 0 },
	{ NONE, "localhost", "", NULL, HTTP_POST, 0 },
	{ NONE, "localhost", "null", NULL, HTTP_POST, 0 },
	{ NONE, "localhost", "file://localhost", NULL, HTTP_POST, 0 },
	{ NONE, "localhost", "http://evil.example", NULL, HTTP_GET, 0 },
	{ NONE, "localhost", "http://localhost@evil.example", NULL, HTTP_GET, 0 },
	{ NONE, "localhost", "http://localhost:x@evil.example", NULL, HTTP_GET, 0 },
	{ NONE, "localhost", "http://[::1]evil.example", NULL, HTTP_GET, 0 },
	{ NONE, "localhost", "http://[::1]:80@evil.example", NULL, HTTP_GET, 0 },
	{ NONE, "localhost", "http://::1", NULL, HTTP_GET, 0 },
	{ NONE, "evil.example", "http://evil.example", NULL, HTTP_POST, 0 },
	{ LISTED, "localhost", "https://tools.example:8443", NULL, HTTP_POST, BOTH },
	{ LISTED, "localhost", "https://other.example", NULL, HTTP_POST, 0 },
	{ ANY, "evil.example", "http://evil.example", NULL, HTTP_POST, 0 }, /* rebinding */
	{ ANY, "10.0.0.1", "http://10.0.0.1", NULL, HTTP_POST, BOTH },
	{ ANY, "localhost", "http://evil.example", NULL, HTTP_POST, 0 },
	{ PAGES, "localhost", "https://app.example:444", NULL, HTTP_POST, DATA },
	{ PAGES, "localhost", "https://app.example", NULL, HTTP_POST, 0 },
	{ PAGES, "app.example:444", NULL, NULL, HTTP_POST, 0 },
	{ ANY_PAGE, "localhost", "null", NULL, HTTP_POST, DATA },
	/* Sec-Fetch-Site, where there is no Origin */
	{ NONE, "localhost", NULL, "cross-site", HTTP_POST, 0 },
	{ NONE, "localhost", NULL, "same-site", HTTP_DELETE, 0 },
	{ NONE, "localhost", NULL, "cross-site", HTTP_GET, BOTH },
	{ NONE, "localhost", NULL, "same-origin", HTTP_POST, BOTH },
	{ NONE, "localhost", NULL, "none", HTTP_POST, BOTH },
	{ LISTED, "localhost", "https://tools.example", "cross-site", HTTP_POST, BOTH },
};

static struct config *config_of(const char *yaml)
{
	struct buf text = BUF_INIT(4096), errors = BUF_INIT(4096);
	buf_put_text(&text, yaml);
	buf_put_text(&text, PROVIDERS);
	struct config *config = config_parse("test.yaml", buf_slice(&text), &errors);
	if (!config)
		fail_msg("%s", buf_cstr(&errors));
	buf_fini(&text);
	buf_fini(&errors);
	return config;
}

static void who_may(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct config *config = config_of(cases[i].yaml);
		struct access_denial denial;
		struct request request = { .method = cases[i].method };
		request.headers[HEADER_HOST] = slice_of(cases[i].host);
		if (cases[i].origin)
			request.headers[HEADER_ORIGIN] = slice_of(cases[i].origin);
		if (cases[i].site)
			request.headers[HEADER_SEC_FETCH_SITE] = slice_of(cases[i].site);
		int may = access_allows(&config->generation, &request, ACCESS_DATA, &denial) ? DATA : 0;
		may |= access_allows(&config->generation, &request, ACCESS_ADMIN, &denial) ? ADMIN : 0;
		if (may != cases[i].may)
			fail_msg("case %zu (Host %s, Origin %s): %d, not %d", i, cases[i].host,
				 cases[i].origin ? cases[i].origin : "-", may, cases[i].may);
		if (may != BOTH) {
			assert_int_equal(denial.outcome, OUTCOME_FORBIDDEN);
			assert_int_equal(denial.reason, REJECT_ORIGIN);
		}
		config_free(config);
	}
}

static void a_long_name_is_shown_cut(void **state)
{
	(void)state;
	char host[5000];
	struct access_denial denial;
	struct config *config = config_of(NONE);
	struct request request = { .method = HTTP_GET };
	memset(host, 'a', sizeof host);
	request.headers[HEADER_HOST] = (struct slice){ host, sizeof host };
	assert_false(access_allows(&config->generation, &request, ACCESS_DATA, &denial));
	assert_non_null(strstr(denial.detail, "allowed_hosts"));
	config_free(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_may),
		cmocka_unit_test(a_long_name_is_shown_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
