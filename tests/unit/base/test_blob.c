/* SPDX-License-Identifier: Apache-2.0 */
/* Shared bytes: one copy, many readers, freed by the last. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdint.h>

#include "base/blob.h"
#include "tests/support/alloc_fail.h"

static void a_copy_has_its_own_bytes_and_a_nul_behind_them(void **state)
{
	(void)state;
	char text[] = "a\0b";
	struct blob *blob = blob_copy((struct slice){ text, 3 });
	assert_non_null(blob);
	text[0] = 'x';
	assert_true(slice_equal(blob_slice(blob), SLICE("a\0b")));
	assert_int_equal(blob->bytes[3], '\0');
	blob_unref(blob);
}

static void an_empty_blob_is_a_blob(void **state)
{
	(void)state;
	struct blob *blob = blob_copy((struct slice){ NULL, 0 });
	assert_non_null(blob);
	assert_int_equal(blob->len, 0);
	assert_string_equal(blob->bytes, "");
	blob_unref(blob);
}

static void null_is_carried_along(void **state)
{
	(void)state;
	assert_null(blob_ref(NULL));
	blob_unref(NULL);
	assert_int_equal(blob_slice(NULL).len, 0);
}

static void lengths_that_would_wrap_are_refused(void **state)
{
	(void)state;
	assert_null(blob_alloc(SIZE_MAX));
	assert_null(blob_alloc(SIZE_MAX - sizeof(struct blob)));
}

static void a_failed_allocation_gives_null(void **state)
{
	(void)state;
	alloc_fail_at(1);
	assert_null(blob_alloc(10));
	alloc_fail_at(1);
	assert_null(blob_copy(SLICE("text")));
	alloc_reset();
}

static void *share_and_drop(void *context)
{
	struct blob *blob = context;
	for (int i = 0; i < 10000; i++) {
		struct blob *mine = blob_ref(blob);
		if (mine->bytes[0] != 't')
			return NULL;
		blob_unref(mine);
	}
	blob_unref(blob);
	return context; /* not NULL: fine */
}

static void the_last_of_many_threads_frees_it(void **state)
{
	(void)state;
	enum { THREADS = 4 };
	pthread_t threads[THREADS];
	struct blob *blob = blob_copy(SLICE("text"));
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, share_and_drop, blob_ref(blob)), 0);
	blob_unref(blob); /* leak and use after free are the sanitizers' to see */
	for (int i = 0; i < THREADS; i++) {
		void *ok;
		pthread_join(threads[i], &ok);
		assert_non_null(ok);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_copy_has_its_own_bytes_and_a_nul_behind_them),
		cmocka_unit_test(an_empty_blob_is_a_blob),
		cmocka_unit_test(null_is_carried_along),
		cmocka_unit_test(lengths_that_would_wrap_are_refused),
		cmocka_unit_test(a_failed_allocation_gives_null),
		cmocka_unit_test(the_last_of_many_threads_frees_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
