/* SPDX-License-Identifier: Apache-2.0 */
/* Flights: one for each key, found until taken out; waiters in order, free to leave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "cache/flight.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/cache_keys.h"

static void a_flight_is_found_by_an_equal_key_until_it_is_taken_out(void **state)
{
	(void)state;
	struct flights *flights = flights_new();
	struct key *key = key_of_id(1), *equal = key_of_id(1), *other = key_of_id(2);
	struct flight flight;
	assert_non_null(flights);
	assert_null(flights_find(flights, key));
	flights_add(flights, &flight, key);
	assert_int_equal(atomic_load(&key->refs), 2);
	assert_ptr_equal(flights_find(flights, equal), &flight);
	assert_null(flights_find(flights, other));
	flights_remove(flights, &flight);
	assert_null(flights_find(flights, equal));
	assert_null(flight.key);
	assert_int_equal(atomic_load(&key->refs), 1);
	flights_remove(flights, &flight);
	key_unref(key);
	key_unref(equal);
	key_unref(other);
	flights_free(flights);
	flights_free(NULL);
}

static void keys_of_the_same_hash_do_not_share_a_flight(void **state)
{
	(void)state;
	enum { COUNT = 5 };
	struct flights *flights = flights_new();
	struct key *keys[COUNT];
	struct flight all[COUNT];
	for (unsigned i = 0; i < COUNT; i++) {
		keys[i] = key_with_hash(i, 16, 42);
		assert_null(flights_find(flights, keys[i]));
		flights_add(flights, &all[i], keys[i]);
	}
	flights_remove(flights, &all[2]); /* from the middle of the chain */
	for (unsigned i = 0; i < COUNT; i++) {
		assert_ptr_equal(flights_find(flights, keys[i]), i == 2 ? NULL : &all[i]);
		flights_remove(flights, &all[i]);
		key_unref(keys[i]);
	}
	flights_free(flights);
}

static void a_flight_without_a_key_is_never_found_but_carries_waiters(void **state)
{
	(void)state;
	struct flights *flights = flights_new();
	struct flight flight;
	struct waiter waiter = { .flight = NULL };
	flights_add(flights, &flight, NULL);
	flight_join(&flight, &waiter);
	assert_ptr_equal(flight_take(&flight), &waiter);
	flights_remove(flights, &flight);
	flights_free(flights);
}

static void waiters_are_taken_in_the_order_they_came_and_may_leave(void **state)
{
	(void)state;
	enum { COUNT = 5 };
	struct flights *flights = flights_new();
	struct key *key = key_of_id(1);
	struct flight flight;
	struct waiter waiters[COUNT] = { 0 };
	flights_add(flights, &flight, key);
	assert_null(flight_take(&flight));
	for (int i = 0; i < COUNT; i++)
		flight_join(&flight, &waiters[i]);
	assert_int_equal(flight.waiter_count, COUNT);
	flight_leave(&waiters[0]);
	flight_leave(&waiters[3]);
	flight_leave(&waiters[3]);
	assert_int_equal(flight.waiter_count, 3);
	flights_remove(flights, &flight); /* whoever comes now starts anew; those waiting go on waiting */
	assert_ptr_equal(flight_take(&flight), &waiters[1]);
	assert_null(waiters[1].flight);
	assert_ptr_equal(flight_take(&flight), &waiters[2]);
	assert_ptr_equal(flight_take(&flight), &waiters[4]);
	assert_null(flight_take(&flight));
	key_unref(key);
	flights_free(flights);
}

static void fill_and_empty(struct flights *flights, size_t count)
{
	struct flight *all = test_calloc(count, sizeof *all);
	for (size_t i = 0; i < count; i++) {
		struct key *key = key_of_id(i);
		flights_add(flights, &all[i], key);
		key_unref(key);
	}
	for (size_t i = 0; i < count; i++) {
		struct key *key = key_of_id(i);
		assert_ptr_equal(flights_find(flights, key), &all[i]);
		key_unref(key);
	}
	for (size_t i = 0; i < count; i++)
		flights_remove(flights, &all[i]);
	test_free(all);
}

static void thousands_of_flights_are_all_found(void **state)
{
	(void)state;
	struct flights *flights = flights_new();
	fill_and_empty(flights, 5000);
	fill_and_empty(flights, 5000);
	flights_free(flights);
}

static void without_memory_the_table_does_not_grow_but_works(void **state)
{
	(void)state;
	enum { COUNT = 65, FIRST_BUCKETS = 64 };
	struct flights *flights = flights_new();
	struct flight all[COUNT];
	struct key *keys[COUNT];
	for (unsigned i = 0; i < COUNT; i++)
		keys[i] = key_of_id(i);
	alloc_reset();
	for (unsigned i = 0; i < FIRST_BUCKETS; i++)
		flights_add(flights, &all[i], keys[i]);
	assert_int_equal(alloc_count(), 0);
	alloc_fail_at(1);
	flights_add(flights, &all[FIRST_BUCKETS], keys[FIRST_BUCKETS]);
	assert_int_equal(alloc_count(), 1);
	alloc_reset();
	for (unsigned i = 0; i < COUNT; i++) {
		assert_ptr_equal(flights_find(flights, keys[i]), &all[i]);
		flights_remove(flights, &all[i]);
		key_unref(keys[i]);
	}
	flights_free(flights);
}

static void a_table_is_made_whole_or_not_at_all(void **state)
{
	(void)state;
	struct flights *flights = NULL;
	size_t failures = 0;
	while (!flights) {
		alloc_fail_at(failures + 1);
		flights = flights_new();
		alloc_reset();
		failures += !flights;
	}
	assert_int_equal(failures, 2);
	flights_free(flights);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flight_is_found_by_an_equal_key_until_it_is_taken_out),
		cmocka_unit_test(keys_of_the_same_hash_do_not_share_a_flight),
		cmocka_unit_test(a_flight_without_a_key_is_never_found_but_carries_waiters),
		cmocka_unit_test(waiters_are_taken_in_the_order_they_came_and_may_leave),
		cmocka_unit_test(thousands_of_flights_are_all_found),
		cmocka_unit_test(without_memory_the_table_does_not_grow_but_works),
		cmocka_unit_test(a_table_is_made_whole_or_not_at_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
