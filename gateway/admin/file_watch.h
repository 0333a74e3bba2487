/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file_watch.h: says when what some files hold has changed. Folders are watched, not files: editors write another file
 * and rename it, Kubernetes turns a link (..data) to another folder; all those on the way to a file, since any of them may
 * be replaced, or come later. What is heard only makes it look: whether anything has changed is what the files hold. A
 * burst of writes is one change.
 */
#ifndef JITNEY_GATEWAY_ADMIN_FILE_WATCH_H
#define JITNEY_GATEWAY_ADMIN_FILE_WATCH_H

#include <stdint.h>

#include "base/compiler.h"
#include "base/loop.h"

struct file_watch;

/* `changed` is called from loop_run_timers: once soon, for what may have changed before, then after each change.
 * debounce_us: how long all of them must have been left alone; 0: it is found by how they are written, less than 100
 * ms. The paths are copied. NULL: out of memory, or the kernel refuses. All here on the loop's thread. */
struct file_watch *file_watch_new(struct loop *loop, const char *const *paths, size_t count, uint64_t debounce_us,
				  void (*changed)(void *context), void *context) MUST_CHECK;
/* NULL is allowed. Not from within `changed`. */
void file_watch_free(struct file_watch *watch);
/* Whether it watches just these, so patiently. */
bool file_watch_is_of(const struct file_watch *watch, const char *const *paths, size_t count, uint64_t debounce_us);

#endif
