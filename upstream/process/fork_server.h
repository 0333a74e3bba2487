/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork_server.h: who makes child processes, and who sees to it that none survives. A small process, the fork server, is
 * forked once; it forks a supervisor for each child, and the supervisor is the parent of the child and the heir
 * (subreaper) of all that the child leaves behind. The gateway holds a control socket to each supervisor, on which the
 * supervisor reports, and whose end (a stop, a crash, a kill -9 of the gateway) ends the child with all its offspring.
 *
 *   gateway ---- requests ----> fork server (own session; one process, no memory to speak of)
 *      |                          | fork
 *      `----- control, pipes ---> supervisor ---> child (own process group) ---> grandchildren
 *
 * So a spawn costs the caller's thread a few system calls and never a fork of the gateway, and no descriptor, signal
 * mask or lock of the gateway reaches a child.
 */
#ifndef JITNEY_UPSTREAM_PROCESS_FORK_SERVER_H
#define JITNEY_UPSTREAM_PROCESS_FORK_SERVER_H

#include <stdint.h>

#include "base/compiler.h"

/* What to start. Borrowed for the time of fork_server_spawn. */
struct fork_server_order {
	const char *const *argv; /* argv[0]: the program, sought in the child's PATH; NULL-terminated */
	const char *const *envp; /* all of the child's environment, NULL-terminated */
	const char *cwd;         /* NULL: the gateway's when the fork server was made */
	uint64_t memory_bytes;   /* of writable private memory (RLIMIT_DATA) a process of it; 0: no limit */
	uint64_t sample_us;      /* how often the supervisor reports CPU and memory; 0: never */
};

/* The gateway's ends, all non-blocking and close-on-exec. The receiver closes them. */
struct fork_server_child {
	int control_fd;                     /* struct child_report to be read, struct child_stop to be written */
	int stdin_fd, stdout_fd, stderr_fd; /* pipes */
};

enum child_report_kind {
	CHILD_STARTED, /* pid */
	CHILD_FAILED,  /* error, stage: the program could not be executed; EXITED follows */
	CHILD_SAMPLE,  /* cpu_us, resident_bytes: of the child and all its living offspring */
	CHILD_EXITED   /* status: as of waitpid; nothing of the child is left. The last note */
};
enum child_stage { STAGE_FORK, STAGE_CWD, STAGE_LIMIT, STAGE_EXEC };

/* One message of the control socket each way: SOCK_SEQPACKET keeps them apart. */
struct child_report {
	uint32_t kind;
	uint32_t stage;
	int32_t pid, error, status;
	uint64_t cpu_us, resident_bytes;
};
struct child_stop {
	uint64_t grace_us; /* from now to SIGTERM for the process group; the caller closes stdin meanwhile */
	uint64_t term_us;  /* from there to SIGKILL for all offspring */
};

/* Ask for a child. False: `error` says why (descriptors, memory, the fork server is busy); nothing was started. Makes
 * the fork server at the first call and again if it was killed. Any thread; blocks for no more than a fork. */
bool fork_server_spawn(const struct fork_server_order *order, struct fork_server_child *child, char *error,
		       size_t error_bytes) MUST_CHECK;

/* Wait until all children and the fork server are gone; their control sockets must have been closed, or they have been
 * told to stop. False: some were left after timeout_us (they have been given up to their supervisors). Main thread, at
 * the end; a later fork_server_spawn makes a new one. */
bool fork_server_join(uint64_t timeout_us);

#endif
