/* SPDX-License-Identifier: Apache-2.0 */
/* arena.h: memory of many small pieces that is given back all at once. One thread. */
#ifndef JITNEY_BASE_ARENA_H
#define JITNEY_BASE_ARENA_H

#include <stdarg.h>

#include "base/compiler.h"
#include "base/slice.h"

struct arena;

/* NULL when out of memory. */
struct arena *arena_new(void) MUST_CHECK;
/* NULL is allowed. */
void arena_free(struct arena *arena);

/* Zeroed, aligned for anything. NULL when out of memory; arena_failed is true from then on. bytes may be 0. */
void *arena_alloc(struct arena *arena, size_t bytes);
/* An array; NULL too when count * bytes is beyond size_t. */
void *arena_array(struct arena *arena, size_t count, size_t bytes);
/* A copy with a NUL behind it. NULL when out of memory. */
char *arena_text(struct arena *arena, struct slice text);
/* A formatted string. "" when out of memory. */
const char *arena_printf(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);
bool arena_failed(const struct arena *arena);

#endif
