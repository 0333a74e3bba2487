/* SPDX-License-Identifier: Apache-2.0 */
/* blob.c: refcounted immutable bytes. */
#include "base/blob.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20, HUGE_FROM_BYTES = 2 * HUGE_PAGE };

void blob_expect_much(void *at, size_t bytes)
{
	if (bytes < HUGE_FROM_BYTES)
		return;
	uintptr_t begin = ((uintptr_t)at + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
	uintptr_t end = ((uintptr_t)at + bytes) / HUGE_PAGE * HUGE_PAGE;
	madvise((void *)begin, end - begin, MADV_HUGEPAGE); /* a wish: no kernel has to grant it */
}

struct blob *blob_alloc(size_t len)
{
	if (len > SIZE_MAX - sizeof(struct blob) - 1)
		return NULL;
	struct blob *blob = malloc(sizeof *blob + len + 1);
	if (!blob)
		return NULL;
	atomic_init(&blob->refs, 1);
	atomic_init(&blob->takers, 0);
	blob->len = len;
	blob_expect_much(blob, sizeof *blob + len);
	blob->bytes[len] = '\0';
	return blob;
}

struct blob *blob_copy(struct slice bytes)
{
	struct blob *blob = blob_alloc(bytes.len);
	if (blob && bytes.len)
		memcpy(blob->bytes, bytes.at, bytes.len);
	return blob;
}

struct blob *blob_ref(struct blob *blob)
{
	if (blob)
		atomic_fetch_add_explicit(&blob->refs, 1, memory_order_relaxed);
	return blob;
}

void blob_unref(struct blob *blob)
{
	if (blob && atomic_fetch_sub_explicit(&blob->refs, 1, memory_order_acq_rel) == 1)
		free(blob);
}
