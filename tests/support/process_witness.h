/* SPDX-License-Identifier: Apache-2.0 */
/* process_witness.h: a child process, and what it told. To be included by one test program's file, behind cmocka.h. */
#ifndef JITNEY_TESTS_SUPPORT_PROCESS_WITNESS_H
#define JITNEY_TESTS_SUPPORT_PROCESS_WITNESS_H

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "upstream/process/process.h"

#define PATIENCE_US (30 * CLOCK_US_PER_S)

/* One child and what it told. */
struct witness {
	struct process *process;
	struct buf lines, complaints; /* each with a newline */
	size_t line_count, overlong, samples;
	size_t held, room;                 /* bytes of lines; of them at most */
	char tail[PROCESS_TAIL_BYTES + 1]; /* of the last overlong line */
	uint64_t resident_bytes;
	bool ended, cannot_start;
	char reason[PROCESS_REASON_BYTES];
};

static struct loop *loop;

static bool on_line(void *context, struct slice line)
{
	struct witness *witness = context;
	witness->line_count++;
	buf_put(&witness->lines, line);
	buf_put_char(&witness->lines, '\n');
	return true;
}

static void on_overlong(void *context, struct slice text, bool ended)
{
	struct witness *witness = context;
	witness->overlong += !ended;
	if (ended)
		snprintf(witness->tail, sizeof witness->tail, "%.*s", SLICE_ARG(text));
}

static void on_complained(void *context, struct slice line)
{
	struct witness *witness = context;
	buf_put(&witness->complaints, line);
	buf_put_char(&witness->complaints, '\n');
}

static void on_sampled(void *context, uint64_t cpu_us, uint64_t resident_bytes)
{
	struct witness *witness = context;
	(void)cpu_us;
	witness->samples++;
	witness->resident_bytes = resident_bytes;
}

static void on_ended(void *context, bool cannot_start, const char *reason)
{
	struct witness *witness = context;
	assert_false(witness->ended);
	witness->ended = true;
	witness->cannot_start = cannot_start;
	snprintf(witness->reason, sizeof witness->reason, "%s", reason);
	process_free(witness->process);
	witness->process = NULL;
}

static bool on_hold(void *context, enum process_holds what, size_t bytes)
{
	struct witness *witness = context;
	(void)what;
	if (witness->held + bytes > witness->room)
		return false;
	witness->held += bytes;
	return true;
}

static void on_let_go(void *context, enum process_holds what, size_t bytes)
{
	struct witness *witness = context;
	(void)what;
	assert_true(bytes <= witness->held);
	witness->held -= bytes;
}

static void on_line_under_way(void *context, struct slice beginning)
{
	(void)context;
	assert_true(beginning.len > 0 && !memchr(beginning.at, '\n', beginning.len));
}

static void on_deafened(void *context)
{
	const struct witness *witness = context;
	assert_false(process_takes_lines(witness->process));
}

static const struct process_events events = { on_line, on_overlong, on_complained, on_sampled,       on_ended,
					      on_hold, on_let_go,   on_deafened,   on_line_under_way };

static struct process_settings settings_of(const char *const *argv)
{
	return (struct process_settings){ .argv = argv,
					  .grace_us = PATIENCE_US,
					  .term_us = PATIENCE_US,
					  .line_bytes = 256 * 1024,
					  .queue_bytes = 1024 * 1024 };
}

static bool start(struct witness *witness, const struct process_settings *settings)
{
	char error[200];
	*witness = (struct witness){ .room = 1 << 24, .lines = BUF_INIT(1 << 24), .complaints = BUF_INIT(1 << 24) };
	witness->process = process_start(settings, loop, &events, witness, error, sizeof error);
	return witness->process != NULL;
}

static void forget(struct witness *witness)
{
	process_free(witness->process);
	buf_fini(&witness->lines);
	buf_fini(&witness->complaints);
}

#define WAIT_FOR(condition)                                                                                            \
	do {                                                                                                           \
		uint64_t until_us = clock_now_us() + PATIENCE_US;                                                      \
		while (!(condition)) {                                                                                 \
			assert_true(clock_now_us() < until_us);                                                        \
			loop_wait(loop, clock_now_us() + 20 * CLOCK_US_PER_MS);                                        \
		}                                                                                                      \
	} while (0)

static void say(struct witness *witness, const char *text)
{
	assert_true(process_say(witness->process, slice_of(text)));
	process_flush(witness->process);
}

#endif
