/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.h: one child process on the loop: lines to its stdin, lines from its stdout and stderr, its CPU and memory,
 * and how it ended. Knows nothing of calls. Started by the fork server (fork_server.h), which sees to it that nothing
 * of it survives. Owned by one thread; it never waits.
 */
#ifndef JITNEY_UPSTREAM_PROCESS_PROCESS_H
#define JITNEY_UPSTREAM_PROCESS_PROCESS_H

#include <stdint.h>

#include "base/compiler.h"
#include "base/loop.h"
#include "base/slice.h"
#include "upstream/process_settings.h"

/* Which of the gateway's own variables a child gets besides those configured. NULL-terminated, by name. */
extern const char *const process_inherited[];

enum { PROCESS_REASON_BYTES = 320, PROCESS_TAIL_BYTES = 64 };

struct process;

/* Called from loop dispatch, never from within a function of this file. process_free may be called in `ended` only. */
struct process_events {
	/* A line of stdout without its end; borrowed. Returns whether it was of use: what says nothing of use is read
	 * less of in one turn of the loop. */
	bool (*line)(void *context, struct slice line);
	/* A line of stdout is longer than line_bytes and is lost: its beginning; later, once it has ended, the last
	 * PROCESS_TAIL_BYTES of it. Borrowed. */
	void (*overlong)(void *context, struct slice text, bool ended);
	/* A line of stderr, cut at 1 KiB. */
	void (*complained)(void *context, struct slice line);
	/* Of it and all its offspring: CPU since its start, memory now. */
	void (*sampled)(void *context, uint64_t cpu_us, uint64_t resident_bytes);
	/* It is gone, with all it left behind, and all it has written has been told. Once, last. `reason`: a phrase
	 * ("exited with status 1", "was killed by signal 9"), valid in here only; cannot_start: it could not even be
	 * executed. */
	void (*ended)(void *context, bool cannot_start, const char *reason);
	/* So many bytes of a line will be gathered; false: it is given up, as if it were too long. And: they are no more.
	 * NULL: nobody counts. */
	bool (*hold)(void *context, size_t bytes);
	void (*let_go)(void *context, size_t bytes);
	/* The beginning of a line of stdout that has not ended; borrowed. It is that of the next `line`, or `overlong`. */
	void (*line_under_way)(void *context, struct slice beginning);
};

/* NULL: `error` says why (descriptors or memory are out). The loop outlives it. */
struct process *process_start(const struct process_settings *settings, struct loop *loop,
			      const struct process_events *events, void *context, char *error,
			      size_t error_bytes) MUST_CHECK;
/* No callback follows. If it still runs it is stopped behind our back, with its grace. NULL is allowed. */
void process_free(struct process *process);

/* Queue bytes (whole lines) for its stdin; process_flush writes them. False: the queue is full or memory is out,
 * nothing was queued; or its stdin is closed. */
bool process_put(struct process *process, struct slice bytes) MUST_CHECK;
void process_flush(struct process *process);
/* Bytes ever queued and ever written: a line queued when `queued` was N has begun to leave once written > N. */
uint64_t process_queued(const struct process *process);
uint64_t process_written(const struct process *process);

/* Close its stdin, then SIGTERM, then SIGKILL, as in the settings; `ended` follows. Twice does no harm. */
void process_stop(struct process *process);
/* The same without any grace. */
void process_kill(struct process *process);

/* 0: not known yet. */
int process_pid(const struct process *process);

#endif
