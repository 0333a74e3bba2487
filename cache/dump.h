/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dump.h: answers as text, to carry them from one gateway to another: a head line that tells versions, a line for each
 * answer (a stored value in base64), an end line that tells how many there were. docs/caching.md describes it.
 */
#ifndef JITNEY_CACHE_DUMP_H
#define JITNEY_CACHE_DUMP_H

#include "base/buf.h"
#include "base/compiler.h"
#include "cache/memory.h"

enum { DUMP_VERSION = 1 };

/* Append a line. A failure is the buffer's. An answer that cannot be written is left out: false. */
void dump_put_head(struct buf *out);
bool dump_put_entry(struct buf *out, const struct entry *entry);
void dump_put_end(struct buf *out, size_t count);

/* Whether a line, without its end, is the head of a dump that can be read here; else `why` is a sentence. */
bool dump_check_head(struct slice line, char *why, size_t why_bytes) MUST_CHECK;
bool dump_is_end(struct slice line, size_t *count);

enum dump_fault {
	DUMP_OK,
	DUMP_GONE,     /* it is past its last use */
	DUMP_DAMAGED,  /* cut or changed, or from a clock that is wrong */
	DUMP_NO_MEMORY /* nothing is wrong with it */
};
/* OK: *entry, a new reference, in no tier. */
enum dump_fault dump_read_entry(struct slice line, struct entry **entry) MUST_CHECK;

#endif
