/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path_guard.h: whether a provider may read a path as one that climbs out of where it was meant to stay. Servers, and
 * the proxies before them, decode a path once or more often before they resolve its dots, some take a backslash for a
 * slash, and some cut a segment at ';': a path that climbs in any of these readings is no path of ours.
 */
#ifndef JITNEY_UPSTREAM_DIALECTS_PATH_GUARD_H
#define JITNEY_UPSTREAM_DIALECTS_PATH_GUARD_H

#include "base/buf.h"
#include "base/compiler.h"
#include "base/slice.h"

/* Looks at a path while it is written, each segment once. A segment climbs if a piece of it, between slashes of either
 * kind, is "." or ".." as it stands or percent-decoded up to four times. */
struct path_guard {
	size_t from; /* where the segment under way begins, in `out` */
};

/* More of the path has been appended to `out`; last: all of it. False: a segment that has ended climbs. True, with
 * out->failed set, without the memory to decode it. */
bool path_guard_passes(struct path_guard *guard, struct buf *out, bool last) MUST_CHECK;

#endif
