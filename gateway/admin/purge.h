/*
 * purge.h: the disk's part of a purge: its thread does it, and the operator is answered when it is done, or has been
 * waited for long enough. The worker's thread.
 */
#ifndef JITNEY_GATEWAY_ADMIN_PURGE_H
#define JITNEY_GATEWAY_ADMIN_PURGE_H

#include "base/buf.h"
#include "cache/disk/disk.h"
#include "gateway/call/worker.h"

struct purging;

/* Begin; `names` is taken, see struct disk_purge. NULL: out of memory, and the disk is emptied instead. */
struct purging *purging_begin(struct worker *worker, int what, struct buf *names);
/* Reply to the request once the disk has done its part; `purged`: how many went from memory. */
void purging_reply(struct purging *purging, struct request *request, size_t purged);

#endif
