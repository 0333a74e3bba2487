/* SPDX-License-Identifier: Apache-2.0 */
/* What one upstream finds by its checks another one of the same provider believes, and nothing else of it changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>

#include "upstream/http/verdicts.h"

enum { COUNT = 3, TOLD = 2000 };

static struct endpoint_set *make(size_t count)
{
	struct endpoint_set *set = endpoint_set_new(&endpoint_default_policy, NULL, count, 1);
	assert_non_null(set);
	return set;
}

static void what_has_failed_is_believed_until_it_is_good_again(void **state)
{
	(void)state;
	struct endpoint_verdicts *verdicts = endpoint_verdicts_new();
	struct endpoint_set *first = make(COUNT), *second = make(COUNT);
	unsigned heard = 0;
	assert_non_null(verdicts);
	endpoint_checked(first, &first->endpoints[1], false, "its check: no", 5);
	verdicts_hear(verdicts, second, &heard, 6);
	assert_int_equal(endpoint_state(&second->endpoints[1]), ENDPOINT_STATE_UP); /* not told yet */
	verdicts_tell(verdicts, first);
	verdicts_hear(verdicts, second, &heard, 7);
	for (size_t i = 0; i < COUNT; i++)
		assert_int_equal(second->endpoints[i].check_failed, i == 1);
	assert_string_equal(second->endpoints[1].reason, "its check: no");
	assert_int_equal(second->endpoints[1].changed_us, 7);
	verdicts_hear(verdicts, second, &heard, 8);
	assert_int_equal(second->endpoints[1].changed_us, 7);
	endpoint_checked(first, &first->endpoints[1], true, "HTTP status 200", 9);
	verdicts_tell(verdicts, first);
	verdicts_hear(verdicts, second, &heard, 9);
	assert_int_equal(endpoint_state(&second->endpoints[1]), ENDPOINT_STATE_UP);
	assert_int_equal(second->endpoints[1].back_us, 9); /* and begins slowly */
	endpoint_set_free(first);
	endpoint_set_free(second);
	endpoint_verdicts_unref(verdicts);
	endpoint_verdicts_unref(NULL);
}

/* Each looks hosts up for itself: the places in the two sets need not be the same. */
static void endpoints_are_told_by_their_keys(void **state)
{
	(void)state;
	struct endpoint_verdicts *verdicts = endpoint_verdicts_new();
	struct endpoint_set *first = make(COUNT), *second = make(COUNT);
	unsigned heard = 0;
	assert_non_null(verdicts);
	endpoint_leave(&second->endpoints[0]);
	endpoint_join(&second->endpoints[0], first->endpoints[2].key, false, 1);
	endpoint_leave(&second->endpoints[2]);
	endpoint_checked(first, &first->endpoints[2], false, "its check: no", 5);
	endpoint_checked(first, &first->endpoints[0], false, "its check: no", 5);
	endpoint_leave(&first->endpoints[0]);
	verdicts_tell(verdicts, first);
	verdicts_hear(verdicts, second, &heard, 6);
	assert_true(second->endpoints[0].check_failed);
	assert_false(second->endpoints[1].check_failed);
	assert_false(second->endpoints[2].check_failed); /* it is not there */
	endpoint_set_free(first);
	endpoint_set_free(second);
	endpoint_verdicts_unref(verdicts);
}

/* What cannot be reached from here is not there because it can be from elsewhere. */
static void what_is_out_of_reach_does_not_come_back_by_others_checks(void **state)
{
	(void)state;
	struct endpoint_verdicts *verdicts = endpoint_verdicts_new();
	struct endpoint_set *first = make(COUNT), *second = make(COUNT);
	struct endpoint_visit visit = { NULL };
	unsigned heard = 0;
	assert_non_null(verdicts);
	endpoint_begin(second, &visit, &second->endpoints[0], 10);
	endpoint_end(second, &visit, ENDPOINT_UNREACHABLE, "connection refused", 11);
	assert_true(second->endpoints[0].unreachable);
	verdicts_tell(verdicts, first);
	verdicts_hear(verdicts, second, &heard, 12);
	assert_true(second->endpoints[0].unreachable);
	endpoint_set_free(first);
	endpoint_set_free(second);
	endpoint_verdicts_unref(verdicts);
}

static void *tell(void *context)
{
	struct endpoint_verdicts *verdicts = context;
	struct endpoint_set *first = endpoint_set_new(&endpoint_default_policy, NULL, COUNT, 1);
	for (size_t i = 0; first && i <= TOLD; i++) {
		endpoint_checked(first, &first->endpoints[0], i % 2 == 0, "its check", i);
		verdicts_tell(verdicts, first);
	}
	endpoint_set_free(first);
	endpoint_verdicts_unref(verdicts);
	return NULL;
}

static void threads_hear_the_last_word(void **state)
{
	(void)state;
	struct endpoint_verdicts *verdicts = endpoint_verdicts_new();
	struct endpoint_set *second = make(COUNT);
	pthread_t thread;
	unsigned heard = 0;
	assert_non_null(verdicts);
	assert_int_equal(pthread_create(&thread, NULL, tell, endpoint_verdicts_ref(verdicts)), 0);
	for (size_t i = 0; i < TOLD; i++)
		verdicts_hear(verdicts, second, &heard, i);
	pthread_join(thread, NULL);
	verdicts_hear(verdicts, second, &heard, TOLD);
	assert_false(second->endpoints[0].check_failed);
	assert_int_equal(heard, TOLD + 1);
	endpoint_set_free(second);
	endpoint_verdicts_unref(verdicts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_has_failed_is_believed_until_it_is_good_again),
		cmocka_unit_test(endpoints_are_told_by_their_keys),
		cmocka_unit_test(what_is_out_of_reach_does_not_come_back_by_others_checks),
		cmocka_unit_test(threads_hear_the_last_word),
	};
	return cmocka_run_group_tests_name("verdicts", tests, NULL, NULL);
}
