/* SPDX-License-Identifier: Apache-2.0 */
/* Whose thread may touch what: nobody's is everybody's, then one thread's alone, and the next one's once it is given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>

#include "base/loop.h"
#include "base/owner.h"

static void *ask(void *context)
{
	return owner_is_here(context) ? context : NULL;
}

/* Whether another thread may. */
static bool is_free_for_others(const struct owner *owner)
{
	pthread_t thread;
	void *here;
	assert_int_equal(pthread_create(&thread, NULL, ask, (void *)owner), 0);
	assert_int_equal(pthread_join(thread, &here), 0);
	return here;
}

static void what_is_claimed_is_one_threads_until_it_is_released(void **state)
{
	(void)state;
	struct owner owner = { NULL };
	assert_true(owner_is_here(&owner) && is_free_for_others(&owner));
	owner_claim(&owner);
	owner_claim(&owner);
	assert_true(owner_is_here(&owner));
	assert_false(is_free_for_others(&owner));
	owner_release(&owner);
	assert_true(owner_is_here(&owner) && is_free_for_others(&owner));
}

static void a_loop_is_whose_thread_turns_it(void **state)
{
	(void)state;
	struct loop *loop = loop_new();
	assert_non_null(loop);
	assert_true(is_free_for_others(loop_owner(loop)));
	loop_wait(loop, 0);
	assert_true(owner_is_here(loop_owner(loop)));
	assert_false(is_free_for_others(loop_owner(loop)));
	loop_release(loop);
	assert_true(is_free_for_others(loop_owner(loop)));
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_claimed_is_one_threads_until_it_is_released),
		cmocka_unit_test(a_loop_is_whose_thread_turns_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
