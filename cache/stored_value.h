/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stored_value.h: an entry as bytes, for tiers outside the process: format number, checksum, key, times by the wall
 * clock, answer, compressed when that is worth it. What is read back is believed only if all of it adds up; whoever
 * can write to the store can still forge a value, so the store must be trusted with answers.
 */
#ifndef JITNEY_CACHE_STORED_VALUE_H
#define JITNEY_CACHE_STORED_VALUE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "cache/memory.h"

/* The same moment on both clocks. */
struct stored_clock {
	uint64_t now_us;  /* monotonic */
	uint64_t wall_us; /* since 1970 UTC */
};

/* Of the layout below: raised with every change, and part of what exports say of themselves. */
enum { STORED_FORMAT = 2 };

enum stored_fault {
	STORED_OK,
	STORED_FOREIGN,  /* not ours, another format, or another key's */
	STORED_DAMAGED,  /* ours once, but cut, changed, or of lengths and times that do not add up */
	STORED_GONE,     /* valid, and past its last use */
	STORED_CLOCK,    /* from the future by more than a minute: the clock of who wrote it, or ours, is wrong */
	STORED_NO_MEMORY /* nothing is wrong with it */
};

/*
 * Append the entry to `out`.
 *
 * compress_bytes  answers of at least this length are compressed (LZ4) if that saves an eighth; 0: never.
 * False: it does not fit into out->max, or memory is out; what was appended means nothing then.
 */
bool stored_value_encode(const struct entry *entry, size_t compress_bytes, const struct stored_clock *clock,
			 struct buf *out) MUST_CHECK;

/*
 * Read one back; OK sets *entry, a new reference, with times by this process's clock. It is never fresh for longer
 * than it was for whoever wrote it, however the clocks differ, and never older than this machine has been up.
 *
 * key  whose value it should be; compared in full.
 */
enum stored_fault stored_value_decode(struct slice bytes, struct key *key, const struct stored_clock *clock,
				      struct entry **entry) MUST_CHECK;

/* The same for whatever key it is, which is made anew from the value's own bytes (key_restore). */
enum stored_fault stored_value_read(struct slice bytes, const struct stored_clock *clock,
				    struct entry **entry) MUST_CHECK;

/* A monotonic time by the wall clock. */
uint64_t stored_wall_us(uint64_t at_us, const struct stored_clock *clock);

enum { STORED_HEAD_BYTES = 128 };
/* Whether a value's first STORED_HEAD_BYTES say that it is this entry, not one stored before or after it. */
bool stored_value_is_of(struct slice start, const struct entry *entry, const struct stored_clock *clock);

#endif
