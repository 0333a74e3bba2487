/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the Nth allocation fail, to test what shedding a call when memory is out really does.
 *
 * Unit tests link it without asking (tests/local.mk). It sees malloc, calloc, realloc, reallocarray, aligned_alloc,
 * posix_memalign, strdup and strndup called by jitney's own code and by the test, from every thread; not those
 * made inside shared libraries (cmocka, json-c, curl). Works under the sanitizers. The loop to write:
 *
 *	for (size_t n = 1; !done; n++) {
 *		alloc_fail_at(n);
 *		done = front_door(...) == OUTCOME_OK;	// must be OUTCOME_NOMEM until then, and leak nothing
 *		alloc_reset();
 *	}
 */
#ifndef TESTS_SUPPORT_ALLOC_FAIL_H
#define TESTS_SUPPORT_ALLOC_FAIL_H

#include <stdbool.h>
#include <stddef.h>

/* Fail one allocation: the nth from now (1 = the next one), once; 0 = none. */
void alloc_fail_at(size_t nth);

/* Allocations asked for since the last alloc_reset (or the start), the failed one included; frees are not counted. */
size_t alloc_count(void);

/* No failure pending, count back to zero. */
void alloc_reset(void);

/* Run with each allocation failing in turn, until there are no more of them. Returns how many there were. */
static inline size_t alloc_fail_each(void (*run)(void))
{
	size_t nth = 0;
	bool failed = true;
	while (failed) {
		alloc_reset();
		alloc_fail_at(++nth);
		run();
		failed = alloc_count() >= nth;
		alloc_reset();
	}
	return nth - 1;
}

#endif
