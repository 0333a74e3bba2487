/* SPDX-License-Identifier: Apache-2.0 */
/* What tenants have cost: nothing is lost when there are more of them than fit, nor when somebody looks meanwhile. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/spin_bit.h"
#include "gateway/call/tenants.h"

static struct tenant copied[TENANTS_KEPT];
static struct tenant_figures others;

static void count_one(struct tenants *tenants, const char *name, uint64_t errors, uint64_t upstream_us)
{
	const struct tenant_figures came = { 1, errors, upstream_us };
	tenants_count(tenants, slice_of(name), &came, 1000);
}

static size_t copy_all(struct tenants *tenants)
{
	others = (struct tenant_figures){ 0 };
	return tenants_copy(tenants, copied, &others);
}

static const struct tenant *find(const char *name, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(copied[i].name, name) == 0)
			return &copied[i];
	return NULL;
}

static void each_has_its_own(void **state)
{
	(void)state;
	struct tenants *tenants = tenants_new();
	assert_int_equal(copy_all(tenants), 0);
	count_one(tenants, "acme", 0, 100);
	count_one(tenants, "globex", 1, 7);
	count_one(tenants, "acme", 1, 11);
	assert_int_equal(copy_all(tenants), 2);
	const struct tenant *acme = find("acme", 2), *globex = find("globex", 2);
	assert_int_equal(acme->figures.calls, 2);
	assert_int_equal(acme->figures.errors, 1);
	assert_int_equal(acme->figures.upstream_us, 111);
	assert_int_equal(acme->since_us, 1000);
	assert_int_equal(globex->figures.calls, 1);
	assert_int_equal(others.calls, 0);
	tenants_free(tenants);
}

static void who_has_called_longest_ago_makes_room(void **state)
{
	(void)state;
	char name[32];
	struct tenants *tenants = tenants_new();
	for (int i = 0; i < TENANTS_KEPT; i++) {
		snprintf(name, sizeof name, "tenant-%d", i);
		count_one(tenants, name, 1, 10);
	}
	count_one(tenants, "tenant-0", 0, 0);
	assert_int_equal(copy_all(tenants), TENANTS_KEPT);
	assert_int_equal(others.calls, 0);
	count_one(tenants, "another", 0, 5);
	assert_int_equal(copy_all(tenants), TENANTS_KEPT);
	assert_null(find("tenant-1", TENANTS_KEPT));
	assert_int_equal(find("tenant-0", TENANTS_KEPT)->figures.calls, 2);
	assert_int_equal(find("another", TENANTS_KEPT)->figures.calls, 1);
	assert_int_equal(others.calls, 1);
	assert_int_equal(others.errors, 1);
	assert_int_equal(others.upstream_us, 10);
	count_one(tenants, "tenant-1", 0, 3); /* back again: from now on */
	copy_all(tenants);
	assert_int_equal(find("tenant-1", TENANTS_KEPT)->figures.upstream_us, 3);
	assert_int_equal(others.calls, 2);
	tenants_free(tenants);
}

static void a_name_that_is_too_long_is_cut(void **state)
{
	(void)state;
	char name[400] = "";
	struct tenants *tenants = tenants_new();
	memset(name, 'x', sizeof name - 1);
	count_one(tenants, name, 0, 0);
	assert_int_equal(copy_all(tenants), 1);
	assert_int_equal(strlen(copied[0].name), TENANTS_NAME_BYTES - 1);
	tenants_free(tenants);
}

/* Nobody would wake him: were he waited for, this would never end. */
static void a_reader_who_sleeps_is_not_waited_for(void **state)
{
	(void)state;
	struct tenants *tenants = tenants_new();
	struct spin_bit *bit = (struct spin_bit *)tenants; /* its first member */
	count_one(tenants, "acme", 0, 10);
	spin_bit_take(bit);
	for (int i = 0; i < 5; i++)
		count_one(tenants, i % 2 ? "acme" : "globex", 1, 7);
	spin_bit_leave(bit);
	assert_int_equal(copy_all(tenants), 1);
	count_one(tenants, "acme", 0, 10);
	assert_int_equal(copy_all(tenants), 1);
	assert_int_equal(find("acme", 1)->figures.upstream_us, 20);
	assert_int_equal(others.calls, 5);
	assert_int_equal(others.errors, 5);
	assert_int_equal(others.upstream_us, 35);
	count_one(tenants, "acme", 0, 10);
	copy_all(tenants);
	assert_int_equal(others.calls, 5);
	tenants_free(tenants);
}

/* An empty one too, and one that is a part of another, and whatever bytes. */
static void each_name_is_its_own_whatever_it_holds(void **state)
{
	(void)state;
	static const char *const names[] = {
		"", "a", "aa", "calls", "\"},{", "\xff", "\xfe", "\x01", "a\n", "\\u0061"
	};
	struct tenants *tenants = tenants_new();
	for (unsigned turn = 0; turn < 2; turn++)
		for (unsigned i = 0; i < countof(names); i++)
			count_one(tenants, names[i], 0, i);
	size_t count = copy_all(tenants);
	assert_int_equal(count, countof(names));
	for (unsigned i = 0; i < countof(names); i++)
		assert_int_equal(find(names[i], count)->figures.upstream_us, 2 * i);
	tenants_free(tenants);
}

/* Ten thousand come and go, of which some come back: calls stay whole. */
static void sums_stay_whole_whoever_makes_room(void **state)
{
	(void)state;
	enum { NAMES = 10000, CALLS = 50000 };
	char name[32];
	struct tenants *tenants = tenants_new();
	for (unsigned i = 0; i < CALLS; i++) {
		snprintf(name, sizeof name, "tenant-%u", i * i % NAMES);
		count_one(tenants, name, i % 3 == 0, i);
		if (i % 10000)
			continue;
		size_t count = copy_all(tenants);
		for (size_t j = 0; j < count; j++)
			tenant_figures_add(&others, &copied[j].figures);
		assert_int_equal(others.calls, i + 1);
		assert_int_equal(others.errors, i / 3 + 1);
		assert_int_equal(others.upstream_us, (uint64_t)i * (i + 1) / 2);
	}
	tenants_free(tenants);
}

static atomic_bool over;

static void *look_on(void *context)
{
	static struct tenant seen[TENANTS_KEPT];
	while (!atomic_load(&over)) {
		struct tenant_figures rest = { 0 };
		size_t count = tenants_copy(context, seen, &rest);
		for (size_t i = 0; i < count; i++)
			assert_int_equal(seen[i].figures.upstream_us, 3 * seen[i].figures.calls);
		assert_int_equal(rest.upstream_us, 3 * rest.calls);
	}
	return NULL;
}

static void who_looks_meanwhile_sees_whole_rows_and_loses_nothing(void **state)
{
	(void)state;
	enum { CALLS = 200000, NAMES = 2 * TENANTS_KEPT };
	pthread_t thread;
	struct tenants *tenants = tenants_new();
	assert_int_equal(pthread_create(&thread, NULL, look_on, tenants), 0);
	char name[32];
	for (unsigned i = 0; i < CALLS; i++) {
		snprintf(name, sizeof name, "tenant-%u", i * 7919 % NAMES);
		count_one(tenants, name, 0, 3);
	}
	atomic_store(&over, true);
	pthread_join(thread, NULL);
	count_one(tenants, "last", 0, 3); /* what had no place finds it now */
	size_t count = copy_all(tenants);
	for (size_t i = 0; i < count; i++)
		tenant_figures_add(&others, &copied[i].figures);
	assert_int_equal(others.calls, CALLS + 1);
	assert_int_equal(others.upstream_us, 3 * (CALLS + 1));
	tenants_free(tenants);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_has_its_own),
		cmocka_unit_test(who_has_called_longest_ago_makes_room),
		cmocka_unit_test(a_name_that_is_too_long_is_cut),
		cmocka_unit_test(a_reader_who_sleeps_is_not_waited_for),
		cmocka_unit_test(each_name_is_its_own_whatever_it_holds),
		cmocka_unit_test(sums_stay_whole_whoever_makes_room),
		cmocka_unit_test(who_looks_meanwhile_sees_whole_rows_and_loses_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
