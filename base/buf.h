/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.h: the one bounded growing buffer. Failure is sticky: write ten fields, look at `failed` once.
 * It grows inside a blob, so that what was gathered can be handed on without a copy.
 */
#ifndef JITNEY_BASE_BUF_H
#define JITNEY_BASE_BUF_H

#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include "base/blob.h"

struct buf {
	struct blob *store; /* NULL until the first byte; if others have it too it is left to them, to grow */
	size_t len;         /* bytes written; store->len is the capacity until buf_take_blob */
	size_t max;         /* bytes it may grow to */
	bool failed;        /* out of memory or over max: all later writes are ignored */
};

#define BUF_INIT(max_bytes) ((struct buf){ NULL, 0, (max_bytes), false })

/* Empty, growing up to max_bytes. Allocates nothing. */
void buf_init(struct buf *buf, size_t max_bytes);
/* Give the memory back; the buffer is empty and usable again. */
void buf_fini(struct buf *buf);
/* Forget the bytes and the failure, keep the memory. */
void buf_reset(struct buf *buf);
/* buf_reserve's work where there is no room yet. */
bool buf_grow(struct buf *buf, size_t more);

/* Room for `more` bytes after len. False (and failed) when over max or out of memory. */
static inline bool buf_reserve(struct buf *buf, size_t more)
{
	return (buf->store && !buf->failed && more <= buf->store->len - buf->len) || buf_grow(buf, more);
}

/* Append; what has no room is not put, not in part either, and the buffer has failed. These are here so that a
 * literal's length is known where it is put: most of a reply is literals. */
static inline void buf_put(struct buf *buf, struct slice bytes)
{
	if (bytes.len == 0 || !buf_reserve(buf, bytes.len))
		return;
	memcpy(buf->store->bytes + buf->len, bytes.at, bytes.len);
	buf->len += bytes.len;
}

/* As buf_put: one byte. */
static inline void buf_put_char(struct buf *buf, char c)
{
	if (buf_reserve(buf, 1))
		buf->store->bytes[buf->len++] = c;
}

/* As buf_put: up to its NUL; nothing for NULL. */
static inline void buf_put_text(struct buf *buf, const char *text)
{
	buf_put(buf, slice_of(text));
}

/* In decimal digits; as printf would. */
void buf_put_u64(struct buf *buf, uint64_t number);
void buf_printf(struct buf *buf, const char *format, ...) PRINTF_LIKE(2, 3);
void buf_vprintf(struct buf *buf, const char *format, va_list args) PRINTF_LIKE(2, 0);

/* What has been written so far; valid until the next write. */
static inline struct slice buf_slice(const struct buf *buf)
{
	return buf->store ? (struct slice){ buf->store->bytes, buf->len } : (struct slice){ "", 0 };
}

/* The bytes with a NUL behind them (not counted); valid until the next write. "" when out of memory. */
const char *buf_cstr(struct buf *buf);

/* The gathered bytes as a blob of exactly len bytes, without a copy; the buffer is empty afterwards.
 * NULL when the buffer has failed or memory is out. */
struct blob *buf_take_blob(struct buf *buf) MUST_CHECK;

#endif
