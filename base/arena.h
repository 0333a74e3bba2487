/*
 * arena.h: the memory of one configuration, given back all at once. It also remembers which of its strings
 * came from ${...}, so that they are never shown.
 */
#ifndef JITNEY_BASE_ARENA_H
#define JITNEY_BASE_ARENA_H

#include <stdarg.h>

#include "base/compiler.h"
#include "base/slice.h"

struct config_arena;
struct config_drafts; /* config_private.h */

/* NULL when out of memory. */
struct config_arena *arena_new(void) MUST_CHECK;
/* NULL is fine. */
void arena_free(struct config_arena *arena);

/* Zeroed, aligned for anything. NULL when out of memory; arena_failed is true from then on. bytes may be 0. */
void *arena_alloc(struct config_arena *arena, size_t bytes);
/* An array; NULL too when count * bytes is beyond size_t. */
void *arena_array(struct config_arena *arena, size_t count, size_t bytes);
/* A copy with a NUL behind it. NULL when out of memory. */
char *arena_text(struct config_arena *arena, struct slice text);
/* A formatted string. "" when out of memory. */
const char *arena_printf(struct config_arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);
bool arena_failed(const struct config_arena *arena);

/* `text` (the very pointer) is not to be shown. */
void arena_mark_secret(struct config_arena *arena, const char *text);
bool arena_is_secret(const struct config_arena *arena, const char *text);

/* What the file said, block by block: kept for config_json. */
void arena_keep_drafts(struct config_arena *arena, const struct config_drafts *drafts);
const struct config_drafts *arena_drafts(const struct config_arena *arena);

#endif
