/* SPDX-License-Identifier: Apache-2.0 */
/* valgrind.h: whether a test program runs under valgrind (./dev memcheck): for the few figures that mean nothing there. */
#ifndef TESTS_SUPPORT_VALGRIND_H
#define TESTS_SUPPORT_VALGRIND_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Its heap has other overheads, it keeps descriptors of its own, and takes tens of times as long. */
static inline bool under_valgrind(void)
{
	const char *preloaded = getenv("LD_PRELOAD");
	return preloaded && strstr(preloaded, "vgpreload");
}

/* Whether what this process asks the heap for is what the heap takes: not with a sanitizer's or valgrind's. */
static inline bool heap_is_own(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return false;
#else
	return !under_valgrind();
#endif
}

/* How often something is done whose number is a matter of patience. */
static inline size_t unless_valgrind(size_t usual, size_t there)
{
	return under_valgrind() ? there : usual;
}

#endif
