/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.h: one child process on the loop: lines to its stdin, lines from its stdout and stderr, its CPU and memory,
 * and how it ended. Knows nothing of calls. Started by the fork server (fork_server.h), which sees to it that nothing
 * of it survives. Owned by one thread; it never waits.
 */
#ifndef JITNEY_UPSTREAM_PROCESS_PROCESS_H
#define JITNEY_UPSTREAM_PROCESS_PROCESS_H

#include <stdint.h>
#include <sys/queue.h>

#include "base/compiler.h"
#include "base/loop.h"
#include "base/slice.h"
#include "upstream/process_settings.h"

/* Which of the gateway's own variables a child gets besides those configured. NULL-terminated, by name. */
extern const char *const process_inherited[];

enum { PROCESS_REASON_BYTES = 320, PROCESS_TAIL_BYTES = 64 };

struct process;

/* A line for a child's stdin, newline included. It stays where its owner has it: embedded there, `text` filled in. */
struct process_line {
	struct slice text;
	size_t written;      /* bytes of it that the child may have read */
	bool queued, copied; /* copied: the process's own */
	TAILQ_ENTRY(process_line) next;
};

/* What is counted while it is held. */
enum process_holds { PROCESS_HOLDS_SAID, PROCESS_HOLDS_QUEUED };

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
	/* So many bytes will be gathered: of a line of stdout (false: it is given up, as if it were too long), or of copies
	 * that wait for stdin (false: the queue is full). And: they are no more. From within process_say, process_flush
	 * and process_take_back too. NULL: nobody counts. */
	bool (*hold)(void *context, enum process_holds what, size_t bytes);
	void (*let_go)(void *context, enum process_holds what, size_t bytes);
	/* It has closed its stdin or stdout: process_takes_lines says no from now on. It has been stopped, with its grace. */
	void (*deafened)(void *context);
	/* The beginning of a line of stdout that has not ended; borrowed. It is that of the next `line`, or `overlong`. */
	void (*line_under_way)(void *context, struct slice beginning);
};

/* NULL: `error` says why (descriptors or memory are out). The loop outlives it. */
struct process *process_start(const struct process_settings *settings, struct loop *loop,
			      const struct process_events *events, void *context, char *error,
			      size_t error_bytes) MUST_CHECK;
/* No callback follows. If it still runs it is stopped behind our back, with its grace. NULL is allowed. */
void process_free(struct process *process);

/* Queue a line for its stdin; process_flush writes it. Its text is borrowed until it has left, process_take_back, or the
 * end. False: the queue is full, nothing was queued; or its stdin is closed. */
bool process_put(struct process *process, struct process_line *line) MUST_CHECK;
/* The same with a copy of `text` (whole lines). False also: memory is out, or there is no room for it (hold). */
bool process_say(struct process *process, struct slice text) MUST_CHECK;
/* The text is going to be no more. A line of which nothing was written never will be; the rest of one that has begun to
 * leave is copied, so that it ends: without memory for that the process is stopped. Does no harm to what is not queued. */
void process_take_back(struct process *process, struct process_line *line);
void process_flush(struct process *process);
/* Whether it can still be given lines: it may have closed its stdin, or its stdout, and live on for a while. */
bool process_takes_lines(const struct process *process);
/* Bytes that wait to be written. */
size_t process_unwritten(const struct process *process);

/* Close its stdin, then SIGTERM, then SIGKILL, as in the settings; `ended` follows. Twice does no harm. */
void process_stop(struct process *process);
/* The same without any grace. */
void process_kill(struct process *process);

/* 0: not known yet. */
int process_pid(const struct process *process);

#endif
