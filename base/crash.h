/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash.h: the last line of a process that dies of a signal: which one, where, and the way there. It goes to the log
 * (past its queue) and, if that is a file, to stderr; then the process dies of the signal, as it would have.
 */
#ifndef JITNEY_BASE_CRASH_H
#define JITNEY_BASE_CRASH_H

/* Hear every signal whose default is the end of the process, save those that a service manager or a terminal sends to
 * end it (TERM, INT, HUP, KILL), those that somebody else hears already (a sanitizer), PIPE and USR1; and ignore USR2
 * and XFSZ, which is no reason to end: a file that may not grow fails its write. Once, main thread, before others are
 * made. */
void crash_handler_install(void);
/* Give this thread a stack for the handler, so that it can tell of an overflow of the thread's own. Any thread, once;
 * without it all else is told. */
void crash_handler_thread(void);

#endif
