/* SPDX-License-Identifier: Apache-2.0 */
/* Child processes: what is said to them, and what they say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>

#include "tests/support/process_witness.h"
#include "upstream/process/fork_server.h"

static void lines_go_in_and_come_out(void **state)
{
	(void)state;
	static const char *const argv[] = { "cat", NULL };
	struct process_settings settings = settings_of(argv);
	struct witness witness;
	assert_true(start(&witness, &settings));
	say(&witness, "one\ntwo\r\n\nthr");
	WAIT_FOR(witness.line_count == 2);
	say(&witness, "ee\n");
	WAIT_FOR(witness.line_count == 3);
	assert_string_equal(buf_cstr(&witness.lines), "one\ntwo\nthree\n");
	process_stop(witness.process);
	process_stop(witness.process);
	WAIT_FOR(witness.ended);
	assert_string_equal(witness.reason, "exited with status 0");
	forget(&witness);
}

static void a_reader_that_is_slow_gets_all_of_it(void **state)
{
	(void)state;
	static const char *const argv[] = { "sh", "-c", "read go; cat", NULL };
	struct process_settings settings = settings_of(argv);
	struct witness witness;
	assert_true(start(&witness, &settings));
	char line[10001];
	memset(line, 'x', sizeof line - 2);
	line[sizeof line - 2] = '\n';
	line[sizeof line - 1] = '\0';
	size_t put = 0;
	while (process_say(witness.process, slice_of(line))) {
		put++;
		process_flush(witness.process);
	}
	assert_in_range(put, 100, 200);
	assert_true(witness.held > 0 && process_unwritten(witness.process) > 0);
	WAIT_FOR(process_unwritten(witness.process) == 0);
	WAIT_FOR(witness.line_count == put - 1);
	assert_int_equal(witness.held, 0);
	process_stop(witness.process);
	WAIT_FOR(witness.ended);
	forget(&witness);
}

/* What has not begun to leave never does; what has is whole, although its owner is gone. */
static void lines_can_be_taken_back(void **state)
{
	(void)state;
	static const char *const argv[] = { "sh", "-c", "read go; cat", NULL };
	static char texts[3][200001];
	struct process_settings settings = settings_of(argv);
	struct process_line lines[3] = { 0 };
	struct witness witness;
	assert_true(start(&witness, &settings));
	for (size_t i = 0; i < countof(lines); i++) {
		memset(texts[i], 'a' + (int)i, sizeof texts[i] - 1);
		texts[i][sizeof texts[i] - 1] = '\n';
		lines[i].text = (struct slice){ texts[i], sizeof texts[i] };
	}
	say(&witness, "go\n");
	for (size_t i = 0; i < countof(lines); i++)
		assert_true(process_put(witness.process, &lines[i]));
	process_flush(witness.process);
	assert_true(lines[0].queued && lines[0].written > 0 && lines[1].queued && lines[1].written == 0);
	for (size_t i = 0; i < 2; i++) {
		process_take_back(witness.process, &lines[i]);
		process_take_back(witness.process, &lines[i]);
		memset(texts[i], 'x', sizeof texts[i]);
	}
	WAIT_FOR(witness.line_count == 2);
	assert_int_equal(witness.lines.len, 2 * sizeof texts[0]);
	assert_null(memchr(witness.lines.store->bytes, 'x', witness.lines.len));
	assert_int_equal(witness.lines.store->bytes[0], 'a');
	assert_int_equal(witness.lines.store->bytes[sizeof texts[0]], 'c');
	assert_int_equal(process_unwritten(witness.process), 0);
	forget(&witness);
}

static void a_line_without_room_is_dropped_and_told(void **state)
{
	struct witness witness;
	const char *const argv[] = {
		"sh", "-c", "for n in 800 3000; do head -c ${n}000 /dev/zero | tr '\\0' x; echo; done; echo short", NULL
	};
	struct process_settings settings = settings_of(argv);
	settings.line_bytes = 1 << 24;
	(void)state;
	assert_true(start(&witness, &settings));
	witness.room = 1 << 20;
	WAIT_FOR(witness.ended);
	assert_int_equal(witness.line_count, 2); /* the one there was room for, and the short one */
	assert_int_equal(witness.lines.len, 800 * 1000 + 1 + sizeof "short");
	assert_int_equal(witness.overlong, 1);
	assert_int_equal(witness.held, 0);
	forget(&witness);
}

static void an_overlong_line_is_dropped_and_told(void **state)
{
	(void)state;
	static const char *const argv[] = {
		"sh", "-c", "echo before; head -c 2000000 /dev/zero | tr '\\0' x; echo 'the end'; echo after", NULL
	};
	struct process_settings settings = settings_of(argv);
	struct witness witness;
	assert_true(start(&witness, &settings));
	WAIT_FOR(witness.ended);
	assert_int_equal(witness.overlong, 1);
	assert_int_equal(strlen(witness.tail), PROCESS_TAIL_BYTES);
	assert_string_equal(strchr(witness.tail, 't'), "the end");
	assert_string_equal(buf_cstr(&witness.lines), "before\nafter\n");
	forget(&witness);
}

static void the_last_words_come_before_the_end(void **state)
{
	(void)state;
	static const char *const argv[] = { "sh", "-c", "echo said; echo 'no such thing' >&2; printf last >&2; exit 3",
					    NULL };
	struct process_settings settings = settings_of(argv);
	struct witness witness;
	assert_true(start(&witness, &settings));
	WAIT_FOR(witness.ended);
	assert_string_equal(buf_cstr(&witness.lines), "said\n");
	assert_string_equal(buf_cstr(&witness.complaints), "no such thing\nlast\n");
	assert_string_equal(witness.reason, "exited with status 3");
	assert_false(witness.cannot_start);
	forget(&witness);
}

static int set_up(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	loop = loop_new();
	return loop ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	loop_free(loop);
	return fork_server_join(PATIENCE_US) ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_go_in_and_come_out),
		cmocka_unit_test(a_reader_that_is_slow_gets_all_of_it),
		cmocka_unit_test(lines_can_be_taken_back),
		cmocka_unit_test(an_overlong_line_is_dropped_and_told),
		cmocka_unit_test(a_line_without_room_is_dropped_and_told),
		cmocka_unit_test(the_last_words_come_before_the_end),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
