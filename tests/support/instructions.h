/* SPDX-License-Identifier: Apache-2.0 */
/*
 * instructions.h: how many instructions a piece of work takes: counted in a child, step by step, so that they hold still on
 * a busy machine. Some 100,000 a second: for small pieces.
 */
#ifndef TESTS_SUPPORT_INSTRUCTIONS_H
#define TESTS_SUPPORT_INSTRUCTIONS_H

#include <signal.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/valgrind.h"

#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define INSTRUCTIONS_TELL 1 /* and not of a sanitizer's, or of a build without optimization */
#else
#define INSTRUCTIONS_TELL 0
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#undef INSTRUCTIONS_TELL
#define INSTRUCTIONS_TELL 0
#endif
#endif

/* The child's part: stops before the work and behind it. */
static inline void do_traced(void (*work)(const void *), const void *context)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		_exit(1);
	raise(SIGSTOP);
	work(context);
	raise(SIGSTOP);
	_exit(0);
}

/* 0: they cannot be counted here, or would be valgrind's own. */
static inline uint64_t count_instructions(void (*work)(const void *), const void *context)
{
	uint64_t count = 0;
	int status = 0;
	pid_t child = INSTRUCTIONS_TELL && !under_valgrind() ? fork() : -1;
	if (child < 0)
		return 0;
	if (child == 0)
		do_traced(work, context);
	waitpid(child, &status, 0);
	while (WIFSTOPPED(status) && (count == 0 || WSTOPSIG(status) == SIGTRAP) &&
	       ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0 && waitpid(child, &status, 0) == child)
		count++;
	bool whole = WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP;
	if (!WIFEXITED(status)) {
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
	}
	return whole ? count : 0;
}

#endif
