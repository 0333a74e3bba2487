/* SPDX-License-Identifier: Apache-2.0 */
/* supervisor.h: the fork server's side of fork_server.h: what runs in the forked processes. Private to fork_server.c
 * and supervisor.c. */
#ifndef JITNEY_UPSTREAM_PROCESS_SUPERVISOR_H
#define JITNEY_UPSTREAM_PROCESS_SUPERVISOR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* An order as it travels, in a memory file: this head, then argv, envp and texts. Places are offsets into it. */
struct supervisor_order {
	uint64_t bytes; /* of the whole */
	uint64_t argv_at, argv_count;
	uint64_t envp_at, envp_count; /* argv and envp: count offsets and a 0 each, 8 bytes an entry */
	uint64_t cwd_at;              /* 0: none */
	uint64_t memory_bytes, sample_us;
};

/* The descriptors that travel with it, in this order. */
enum supervisor_fd { FD_ORDER, FD_CONTROL, FD_STDIN, FD_STDOUT, FD_STDERR, FD_COUNT };

/* What a process and its living offspring use. */
struct supervisor_usage {
	uint64_t cpu_us, resident_bytes;
};

/* The fork server's whole life. Like all of this it uses nothing but system calls: it may have been forked from a
 * process of many threads. `requests`: messages with FD_COUNT descriptors each; the end of it is the end. */
_Noreturn void run_fork_server(int requests);

/* --- supervisor_proc.c --- */

/* SIGKILL all children of this process, adopted ones included, save those listed. */
void supervisor_kill_children(const pid_t *spared, size_t spared_count);
/* Sum over all descendants of this process. */
void supervisor_measure(struct supervisor_usage *usage);

#endif
