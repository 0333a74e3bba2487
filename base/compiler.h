/* SPDX-License-Identifier: Apache-2.0 */
/* compiler.h: the attributes the house style uses, named once. */
#ifndef JITNEY_BASE_COMPILER_H
#define JITNEY_BASE_COMPILER_H

#include <stdbool.h>
#include <stddef.h>

#define MUST_CHECK __attribute__((warn_unused_result))
/*
 * On a large variable of which only the counted part is ever read: the build clears what is on the stack
 * (-ftrivial-auto-var-init=zero), which for a reply's 4 KiB of headers is more work than writing them.
 */
#if defined(__has_attribute) && __has_attribute(uninitialized)
#define UNCLEARED __attribute__((uninitialized))
#else
#define UNCLEARED
#endif
/* On a function of a hot loop that two callers have: gcc would then call it, and pass by memory what stays in registers. */
#define INLINED inline __attribute__((always_inline))
/* On a function that one which is called often seldom calls: put into it, it would have that save registers, and guard its
 * stack, each time. */
#define APART __attribute__((noinline))
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))
/* clang-format off */
#define container_of(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))
/* clang-format on */
#define countof(array) (sizeof(array) / sizeof((array)[0]))

#endif
