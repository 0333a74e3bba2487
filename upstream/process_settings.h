/* SPDX-License-Identifier: Apache-2.0 */
/* process_settings.h: how a program is run, and how many of it: plain data from the configuration. */
#ifndef JITNEY_UPSTREAM_PROCESS_SETTINGS_H
#define JITNEY_UPSTREAM_PROCESS_SETTINGS_H

#include <stddef.h>
#include <stdint.h>

/* A name and value of the child's environment. */
struct process_variable {
	const char *name, *value; /* the value may hold a secret: never logged */
};

/* Constant, borrowed, outlives the process. */
struct process_settings {
	const char *const *argv; /* argv[0]: the program, sought in PATH; NULL-terminated */
	const struct process_variable *variables;
	size_t variable_count;
	const char *cwd; /* NULL: the gateway's */
	const char *program_shown, *cwd_shown; /* what people are told of argv[0] and cwd: no secrets; NULL: they hold none */
	uint64_t memory_bytes; /* writable private memory of each of its processes at most; 0: no limit */
	uint64_t sample_us;    /* how often CPU and memory are looked at; 0: never */
	uint64_t grace_us;     /* when it is stopped: from the end of its stdin to SIGTERM */
	uint64_t term_us;      /* and from there to SIGKILL */
	size_t line_bytes;     /* of stdout; a longer one is dropped and told as `overlong` */
	size_t queue_bytes;    /* waiting to be written to its stdin at most */
};

/* The program's name for logs and errors. */
static inline const char *process_program(const struct process_settings *settings)
{
	return settings->program_shown ? settings->program_shown : settings->argv[0];
}

/* A provider that is a program: dialects mcp-stdio and jsonrpc-stdio. Constant. */
struct process_pool_settings {
	struct process_settings process;
	size_t min, max;             /* processes; min <= max, max >= 1 */
	size_t calls;                /* at once in one of them, >= 1 */
	uint64_t max_calls;          /* in the life of one, then it is replaced; 0: no end */
	uint64_t idle_timeout_us;    /* of those beyond min */
	uint64_t restart_backoff_us; /* after the first failed start; doubles up to 30 s */
	uint64_t start_timeout_us;   /* from the start to the answer to initialize */
};

#endif
