/* SPDX-License-Identifier: Apache-2.0 */
/* buf.c: the one bounded growing buffer. */
#include "base/buf.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	FIRST_BYTES = 120, /* with the blob's header: one small malloc class */
	LARGE_BYTES = 4 << 20
};

void buf_init(struct buf *buf, size_t max_bytes)
{
	*buf = BUF_INIT(max_bytes);
}

void buf_fini(struct buf *buf)
{
	blob_unref(buf->store);
	*buf = BUF_INIT(buf->max);
}

void buf_reset(struct buf *buf)
{
	buf->len = 0;
	buf->failed = false;
}

/* The store with room for so many bytes; NULL: no memory, and it is as it was. Who shares it has slices of it, and where much
 * is to be moved, blob_alloc knows how. */
static struct blob *stretch_store(const struct buf *buf, size_t bytes)
{
	struct blob *store = buf->store;
	bool shared = store && atomic_load_explicit(&store->refs, memory_order_relaxed) > 1;
	if (!shared && bytes < LARGE_BYTES) {
		struct blob *longer = realloc(store, sizeof *store + bytes + 1);
		if (!store && longer) {
			atomic_init(&longer->refs, 1);
			atomic_init(&longer->takers, 0);
		}
		return longer;
	}
	struct blob *own = blob_alloc(bytes);
	if (!own)
		return NULL;
	if (store)
		memcpy(own->bytes, store->bytes, buf->len);
	blob_unref(store);
	return own;
}

bool buf_grow(struct buf *buf, size_t more)
{
	if (buf->failed)
		return false;
	size_t capacity = buf->store ? buf->store->len : 0;
	if (more <= capacity - buf->len)
		return true;
	if (more > buf->max - buf->len) {
		buf->failed = true;
		return false;
	}
	size_t wanted = buf->len + more;
	size_t grown = capacity ? capacity : FIRST_BYTES;
	while (grown < wanted)
		grown = grown > buf->max / 2 ? buf->max : grown * 2;
	if (grown > buf->max)
		grown = buf->max;
	struct blob *store = NULL;
	if (grown < SIZE_MAX - sizeof *store) /* a max of SIZE_MAX must not wrap around to a small piece */
		store = stretch_store(buf, grown);
	if (!store) {
		buf->failed = true;
		return false;
	}
	store->len = grown;
	buf->store = store;
	return true;
}

void buf_put_u64(struct buf *buf, uint64_t number)
{
	char digits[20];
	size_t at = sizeof digits;
	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	buf_put(buf, (struct slice){ digits + at, sizeof digits - at });
}

void buf_vprintf(struct buf *buf, const char *format, va_list args)
{
	va_list again;
	va_copy(again, args);
	int wanted = vsnprintf(NULL, 0, format, args);
	if (wanted < 0)
		buf->failed = true;
	else if (buf_reserve(buf, (size_t)wanted)) {
		/* the blob keeps one byte behind its capacity for this NUL */
		vsnprintf(buf->store ? buf->store->bytes + buf->len : NULL, buf->store ? (size_t)wanted + 1 : 0, format,
			  again);
		buf->len += (size_t)wanted;
	}
	va_end(again);
}

void buf_printf(struct buf *buf, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	buf_vprintf(buf, format, args);
	va_end(args);
}

const char *buf_cstr(struct buf *buf)
{
	if (!buf->store)
		return "";
	buf->store->bytes[buf->len] = '\0';
	return buf->store->bytes;
}

struct blob *buf_take_blob(struct buf *buf)
{
	if (buf->failed)
		return NULL;
	struct blob *blob = buf->store;
	if (!blob)
		return blob_alloc(0);
	assert(buf->len <= blob->len);
	if (blob->len - buf->len > 4096 && blob->len / 2 > buf->len) {
		/* mostly air: give the rest back, since a blob may live in the cache for long */
		struct blob *trimmed = realloc(blob, sizeof *blob + buf->len + 1);
		if (trimmed)
			blob = trimmed;
	}
	blob->len = buf->len;
	blob->bytes[blob->len] = '\0';
	*buf = BUF_INIT(buf->max);
	return blob;
}
