/* SPDX-License-Identifier: Apache-2.0 */
/* arena.c: chunks in a list, filled from the front; a large piece gets a chunk of its own. */
#include "base/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { CHUNK_BYTES = 16384, ALIGNMENT = 16 };

struct chunk {
	struct chunk *next;
	size_t used, bytes; /* of data */
	_Alignas(ALIGNMENT) char data[];
};

struct arena {
	struct chunk *chunks; /* the first is being filled */
	bool failed;
};

struct arena *arena_new(void)
{
	return calloc(1, sizeof(struct arena));
}

void arena_free(struct arena *arena)
{
	if (!arena)
		return;
	for (struct chunk *chunk = arena->chunks, *next; chunk; chunk = next) {
		next = chunk->next;
		free(chunk);
	}
	free(arena);
}

static struct chunk *add_chunk(struct arena *arena, size_t least)
{
	size_t bytes = least > CHUNK_BYTES ? least : CHUNK_BYTES;
	struct chunk *chunk = calloc(1, sizeof *chunk + bytes);
	if (!chunk)
		return NULL;
	chunk->bytes = bytes;
	chunk->next = arena->chunks;
	arena->chunks = chunk;
	return chunk;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
	struct chunk *chunk = arena->chunks;
	if (bytes > SIZE_MAX / 2) {
		arena->failed = true;
		return NULL;
	}
	bytes = (bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
	if (!chunk || bytes > chunk->bytes - chunk->used)
		chunk = add_chunk(arena, bytes);
	if (!chunk) {
		arena->failed = true;
		return NULL;
	}
	void *memory = chunk->data + chunk->used;
	chunk->used += bytes;
	return memory;
}

void *arena_array(struct arena *arena, size_t count, size_t bytes)
{
	size_t total;
	if (__builtin_mul_overflow(count, bytes, &total)) {
		arena->failed = true;
		return NULL;
	}
	return arena_alloc(arena, total);
}

char *arena_text(struct arena *arena, struct slice text)
{
	char *copy = arena_alloc(arena, text.len + 1);
	if (copy && text.len)
		memcpy(copy, text.at, text.len);
	return copy;
}

const char *arena_printf(struct arena *arena, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	char *text = arena_alloc(arena, len < 0 ? 1 : (size_t)len + 1);
	if (!text || len < 0)
		return "";
	va_start(args, format);
	vsnprintf(text, (size_t)len + 1, format, args);
	va_end(args);
	return text;
}

bool arena_failed(const struct arena *arena)
{
	return arena->failed;
}
