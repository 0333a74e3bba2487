/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blob.h: refcounted immutable bytes, the one way a body travels between modules and threads.
 * Whoever holds a reference may read; nobody writes once a second reference exists.
 */
#ifndef JITNEY_BASE_BLOB_H
#define JITNEY_BASE_BLOB_H

#include <stdatomic.h>

#include "base/compiler.h"
#include "base/slice.h"

struct blob {
	atomic_uint refs;   /* atomic: last unref frees, on whatever thread */
	atomic_uint takers; /* atomic: replies on their way with these bytes; see gateway/http/held_bytes.c */
	size_t len;         /* constant once shared; bytes */
	char bytes[];       /* constant once shared; a NUL follows the last byte, not counted in len */
};

/* A blob with room for `len` bytes, not initialised, one reference. NULL when out of memory. */
struct blob *blob_alloc(size_t len) MUST_CHECK;
/* A blob holding a copy of `bytes`, one reference. NULL when out of memory. */
struct blob *blob_copy(struct slice bytes) MUST_CHECK;
/* One more reference; returns the same blob. NULL stays NULL. Any thread. */
struct blob *blob_ref(struct blob *blob);
/* One reference less; frees at the last. NULL is allowed. Any thread. */
void blob_unref(struct blob *blob);

/* What is written next, `bytes` at `at`, is megabytes: the kernel hands them out by 4 KiB, at a microsecond or two each, unless
 * it is told. Only pages that lie in it whole, so that nothing more is held; a few megabytes are not worth it. */
void blob_expect_much(void *at, size_t bytes);

/* Its bytes, as long as the reference is held; NULL and 0 for NULL. */
static inline struct slice blob_slice(const struct blob *blob)
{
	return blob ? (struct slice){ blob->bytes, blob->len } : (struct slice){ NULL, 0 };
}

#endif
