/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The linker's --wrap sends every allocation of the program's own objects here first, before the C library or a
 * sanitizer serves it. Counters are atomic because workers and mailboxes allocate on several threads.
 */
#include "tests/support/alloc_fail.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static atomic_size_t allocations;
static atomic_size_t failing_one; /* the value of `allocations` that fails; 0 = none */

void alloc_fail_at(size_t nth)
{
	atomic_store(&failing_one, nth ? atomic_load(&allocations) + nth : 0);
}

size_t alloc_count(void)
{
	return atomic_load(&allocations);
}

void alloc_reset(void)
{
	atomic_store(&failing_one, 0);
	atomic_store(&allocations, 0);
}

static bool this_one_fails(void)
{
	size_t number = atomic_fetch_add(&allocations, 1) + 1;
	if (number != atomic_load(&failing_one))
		return false;
	errno = ENOMEM;
	return true;
}

/* The names are the linker's: __real_X is X itself. */
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return this_one_fails() ? NULL : __real_malloc(size);
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
	return this_one_fails() ? NULL : __real_calloc(count, size);
}

void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size)
{
	return this_one_fails() ? NULL : __real_realloc(old, size);
}

void *__real_reallocarray(void *old, size_t count, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
	return this_one_fails() ? NULL : __real_reallocarray(old, count, size);
}

void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	return this_one_fails() ? NULL : __real_aligned_alloc(alignment, size);
}

int __real_posix_memalign(void **out, size_t alignment, size_t size);
int __wrap_posix_memalign(void **out, size_t alignment, size_t size);
int __wrap_posix_memalign(void **out, size_t alignment, size_t size)
{
	return this_one_fails() ? ENOMEM : __real_posix_memalign(out, alignment, size);
}

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text)
{
	return this_one_fails() ? NULL : __real_strdup(text);
}

char *__real_strndup(const char *text, size_t max_bytes);
char *__wrap_strndup(const char *text, size_t max_bytes);
char *__wrap_strndup(const char *text, size_t max_bytes)
{
	return this_one_fails() ? NULL : __real_strndup(text, max_bytes);
}
