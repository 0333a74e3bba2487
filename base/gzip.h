/* SPDX-License-Identifier: Apache-2.0 */
/* gzip.h: bytes as gzip has them (RFC 1952). */
#ifndef JITNEY_BASE_GZIP_H
#define JITNEY_BASE_GZIP_H

#include "base/buf.h"
#include "base/compiler.h"
#include "base/slice.h"

/* Append `bytes`, compressed. False: out of memory, over out's bound, or 4 GiB and more; what stands there then is of no
 * use. Any thread. */
bool gzip_put(struct slice bytes, struct buf *out) MUST_CHECK;

#endif
