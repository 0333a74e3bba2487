/* SPDX-License-Identifier: Apache-2.0 */
/* The caller: urgency, deadline, trace, cache directives and identity, as they are read from a request's headers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "gateway/call/caller.h"

static struct request request;
static struct caller caller;
static const char *detail;

static enum outcome read_header(enum http_header header, const char *value)
{
	memset(&request, 0, sizeof request);
	request.caller = 7;
	if (value)
		request.headers[header] = slice_of(value);
	detail = NULL;
	return caller_read(&caller, &request, &detail);
}

static void without_headers_everything_has_its_default(void **state)
{
	(void)state;
	assert_int_equal(read_header(HEADER_HOST, NULL), OUTCOME_OK);
	assert_int_equal(caller.urgency, 3);
	assert_int_equal(caller.number, 7);
	assert_true(caller.timeout_us == CLOCK_NEVER);
	assert_int_equal(caller.traceparent.len, 0);
	assert_int_equal(caller.idempotency_key.len, 0);
	assert_false(caller.directives.no_cache || caller.directives.no_store || caller.directives.only_if_cached ||
		     caller.directives.has_max_age);
}

static void urgency_is_the_member_u(void **state)
{
	(void)state;
	static const struct {
		const char *value;
		unsigned urgency;
	} table[] = {
		{ "u=0", 0 },  { "u=7", 7 },       { "u=1, i", 1 }, { "i, u=5", 5 },   { "i,u=5", 5 }, { "u=2;a=b", 2 },
		{ "u=8", 3 },  { "u=-1", 3 },      { "u=10", 3 },   { "u", 3 },        { "u=", 3 },    { "U=1", 3 },
		{ "xu=1", 3 }, { "urgency=1", 3 }, { "", 3 },       { "nonsense", 3 }, { "u=1.5", 3 },
	};
	for (size_t i = 0; i < countof(table); i++) {
		assert_int_equal(read_header(HEADER_PRIORITY, table[i].value), OUTCOME_OK);
		assert_int_equal(caller.urgency, table[i].urgency);
	}
}

static void a_timeout_is_whole_milliseconds(void **state)
{
	(void)state;
	static const struct {
		const char *value;
		uint64_t timeout_us; /* 0: refused */
	} table[] = {
		{ "1", 1000 },       { "250", 250000 }, { "999999999", UINT64_C(999999999000) },
		{ "007", 7000 },     { "0", 0 },        { "", 0 },
		{ "1000000000", 0 }, { "-1", 0 },       { "+1", 0 },
		{ "1.5", 0 },        { "1s", 0 },       { "1 2", 0 },
	};
	for (size_t i = 0; i < countof(table); i++) {
		enum outcome outcome = read_header(HEADER_REQUEST_TIMEOUT, table[i].value);
		assert_int_equal(outcome, table[i].timeout_us ? OUTCOME_OK : OUTCOME_INVALID_REQUEST);
		if (table[i].timeout_us)
			assert_true(caller.timeout_us == table[i].timeout_us);
		else
			assert_non_null(strstr(detail, "X-Request-Timeout-Ms"));
	}
}

static void a_traceparent_that_is_none_is_as_if_it_had_not_come(void **state)
{
	(void)state;
	static const char good[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
	static const char *const bad[] = {
		"",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
		"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
	};
	assert_int_equal(read_header(HEADER_TRACEPARENT, good), OUTCOME_OK);
	assert_true(slice_equal(caller.traceparent, slice_of(good)));
	for (size_t i = 0; i < countof(bad); i++) {
		assert_int_equal(read_header(HEADER_TRACEPARENT, bad[i]), OUTCOME_OK);
		assert_int_equal(caller.traceparent.len, 0);
	}
}

static void two_lines_of_cache_control_count_together(void **state)
{
	(void)state;
	memset(&request, 0, sizeof request);
	request.headers[HEADER_CACHE_CONTROL] = SLICE("no-cache, max-age=60");
	request.headers[HEADER_CACHE_CONTROL_MORE] = SLICE("no-store, max-age=30");
	assert_int_equal(caller_read(&caller, &request, &detail), OUTCOME_OK);
	assert_true(caller.directives.no_cache && caller.directives.no_store && caller.directives.has_max_age);
	assert_int_equal(caller.directives.max_age_us, 30 * CLOCK_US_PER_S); /* the stricter one */
	request.headers[HEADER_CACHE_CONTROL_MORE] = SLICE("max-age=x");
	assert_int_equal(caller_read(&caller, &request, &detail), OUTCOME_INVALID_REQUEST);
	assert_non_null(strstr(detail, "Cache-Control"));
}

static void an_idempotency_key_has_255_bytes_at_most(void **state)
{
	(void)state;
	char key[257];
	memset(key, 'k', sizeof key);
	key[255] = '\0';
	assert_int_equal(read_header(HEADER_IDEMPOTENCY_KEY, key), OUTCOME_OK);
	assert_int_equal(caller.idempotency_key.len, 255);
	key[255] = 'k';
	key[256] = '\0';
	assert_int_equal(read_header(HEADER_IDEMPOTENCY_KEY, key), OUTCOME_INVALID_REQUEST);
}

/* --- identity --- */

static char kept[2][256];
static size_t kept_len[2];

/* What keeps this pair apart from others, kept as number `at`. */
static void keep_identity(int at, enum identity_scope scope, const char *tenant, const char *credential, bool trusted)
{
	memset(&request, 0, sizeof request);
	request.from_trusted_proxy = trusted;
	if (tenant)
		request.headers[HEADER_TENANT] = slice_of(tenant);
	if (credential)
		request.headers[HEADER_AUTHORIZATION] = slice_of(credential);
	assert_int_equal(caller_read(&caller, &request, &detail), OUTCOME_OK);
	struct slice identity = caller_identity(&caller, scope);
	assert_in_range(identity.len, 0, sizeof kept[at]);
	memcpy(kept[at], identity.at, identity.len);
	kept_len[at] = identity.len;
}

static bool same(void)
{
	return kept_len[0] == kept_len[1] && memcmp(kept[0], kept[1], kept_len[0]) == 0;
}

static void a_shared_tool_has_no_identity(void **state)
{
	(void)state;
	keep_identity(0, SCOPE_SHARED, "a", "Bearer x", true);
	assert_int_equal(kept_len[0], 0);
}

static void a_tenant_is_his_name_from_a_trusted_proxy(void **state)
{
	(void)state;
	keep_identity(0, SCOPE_TENANT, "acme", "Bearer x", true);
	assert_int_equal(kept_len[0], 5);
	assert_memory_equal(kept[0], "tacme", 5);
	keep_identity(1, SCOPE_TENANT, "acme", "Bearer y", true);
	assert_true(same());
	keep_identity(1, SCOPE_TENANT, "other", NULL, true);
	assert_false(same());
	keep_identity(1, SCOPE_TENANT, "acme", NULL, false); /* anybody can say so */
	assert_false(same());
	assert_int_equal(kept_len[1], 1);
}

static void a_caller_is_tenant_and_credential(void **state)
{
	(void)state;
	keep_identity(0, SCOPE_CALLER, "acme", "Bearer x", true);
	assert_int_equal(kept_len[0], 1 + 4 + 1 + 32);
	assert_memory_equal(kept[0], "cacme\0", 6);
	assert_null(memmem(kept[0], kept_len[0], "Bearer", 6)); /* its hash only */
	keep_identity(1, SCOPE_CALLER, "acme", "Bearer x", true);
	assert_true(same());
	keep_identity(1, SCOPE_CALLER, "acme", "Bearer y", true);
	assert_false(same());
	keep_identity(1, SCOPE_CALLER, "acm", "Bearer x", true);
	assert_false(same());
	keep_identity(1, SCOPE_CALLER, "acme", NULL, true);
	assert_false(same());
	keep_identity(0, SCOPE_TENANT, "acme", NULL, true);
	assert_false(same()); /* a tenant is never a caller */
}

static void a_tenants_name_has_128_bytes_at_most(void **state)
{
	(void)state;
	char name[130];
	memset(name, 'n', sizeof name);
	name[128] = '\0';
	keep_identity(0, SCOPE_CALLER, name, "Bearer x", true); /* the longest identity there is */
	assert_int_equal(kept_len[0], 1 + 128 + 1 + 32);
	name[128] = 'n';
	name[129] = '\0';
	request.headers[HEADER_TENANT] = slice_of(name);
	assert_int_equal(caller_read(&caller, &request, &detail), OUTCOME_INVALID_REQUEST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_headers_everything_has_its_default),
		cmocka_unit_test(urgency_is_the_member_u),
		cmocka_unit_test(a_timeout_is_whole_milliseconds),
		cmocka_unit_test(a_traceparent_that_is_none_is_as_if_it_had_not_come),
		cmocka_unit_test(two_lines_of_cache_control_count_together),
		cmocka_unit_test(an_idempotency_key_has_255_bytes_at_most),
		cmocka_unit_test(a_shared_tool_has_no_identity),
		cmocka_unit_test(a_tenant_is_his_name_from_a_trusted_proxy),
		cmocka_unit_test(a_caller_is_tenant_and_credential),
		cmocka_unit_test(a_tenants_name_has_128_bytes_at_most),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
