/* SPDX-License-Identifier: Apache-2.0 */
/* Child processes: how they begin and end, and that nothing of them is left, however they or the gateway end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/alloc_fail.h"
#include "tests/support/proc.h"
#include "tests/support/process_witness.h"
#include "tests/support/valgrind.h"
#include "upstream/process/fork_server.h"

static bool *forbidden; /* shared with the fork server, which may not fork */

/* Instead of libc's. */
pid_t fork(void)
{
	if (*forbidden) {
		errno = EAGAIN;
		return -1;
	}
	return ((pid_t(*)(void))dlsym(RTLD_NEXT, "fork"))();
}

static size_t count_entries(const char *path)
{
	size_t count = 0;
	DIR *dir = opendir(path);
	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static bool is_gone(long pid)
{
	return kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

static void kill_fork_server(void)
{
	siginfo_t info;
	pid_t pid = proc_child("jitney-fork");
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

/* Past libc, which refuses to touch two of them. */
static void set_all_signals(void (*handler)(int))
{
	const uintptr_t action[8] = { (uintptr_t)handler };
	for (int number = 1; number <= 64; number++)
		if (number != SIGCHLD)
			syscall(SYS_rt_sigaction, number, action, NULL, sizeof(uint64_t));
}

/* Whatever has started this program may have ignored or blocked some. */
static void set_up_signals(void)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGCHLD, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
}

/* ---------------------------------------------------------------- */

static void the_environment_is_clean(void **state)
{
	(void)state;
	static const char *const argv[] = { "sh", "-c", "echo $SECRET-$GIVEN-$HOME-$PWD; set -- /proc/$$/fd/*; echo $#",
					    NULL };
	static const struct process_variable variables[] = { { "GIVEN", "a b" }, { "HOME", "/nowhere" } };
	struct process_settings settings = settings_of(argv);
	struct witness witness;
	settings.variables = variables;
	settings.variable_count = 2;
	settings.cwd = "/usr";
	setenv("SECRET", "hidden", 1);
	assert_true(start(&witness, &settings));
	WAIT_FOR(witness.ended);
	assert_string_equal(buf_cstr(&witness.lines), "-a b-/nowhere-/usr\n4\n");
	forget(&witness);
}

/* Whoever runs as the same user could read it there. */
static void the_gateways_environment_is_not_in_its_helpers(void **state)
{
	(void)state;
	static const char *const argv[] = { "sh", "-c", "cat /proc/$PPID/environ | tr -d '\\0'; echo; cat", NULL };
	struct process_settings settings = settings_of(argv);
	struct witness witness;
	char path[64];
	kill_fork_server(); /* the next one gets the variable */
	setenv("SECRET", "hidden", 1);
	assert_true(start(&witness, &settings));
	say(&witness, "here\n");
	WAIT_FOR(witness.line_count == 1); /* the fork server bears its name by now */
	snprintf(path, sizeof path, "/proc/%d/environ", proc_child("jitney-fork"));
	process_stop(witness.process);
	WAIT_FOR(witness.ended);
	/* valgrind has a stack of its own, with an environment that only it can wipe */
	assert_true(under_valgrind() || !strstr(buf_cstr(&witness.lines), "="));
	FILE *file = fopen(path, "r");
	if (file) { /* by root; nobody else may open it */
		int c;
		while ((c = getc(file)) != EOF && !under_valgrind())
			assert_int_equal(c, 0);
		fclose(file);
	} else {
		assert_int_equal(errno, EACCES);
	}
	forget(&witness);
}

static void signals_and_descriptors_are_as_a_program_expects_them(void **state)
{
	(void)state;
	static const char *const argv[] = {
		"sh", "-c", "set -- /proc/$$/fd/*; echo $#; exec grep -E '^Sig(Blk|Ign)' /proc/self/status", NULL
	};
	struct process_settings settings = settings_of(argv);
	struct witness witness;
	int inherited[2];
	assert_int_equal(pipe(inherited), 0); /* without O_CLOEXEC */
	kill_fork_server();                   /* the next one inherits all this */
	set_all_signals(SIG_IGN);
	assert_true(start(&witness, &settings));
	set_all_signals(SIG_DFL);
	set_up_signals();
	close(inherited[0]);
	close(inherited[1]);
	WAIT_FOR(witness.ended);
	assert_string_equal(buf_cstr(&witness.lines), "4\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
	forget(&witness);
}

static void what_cannot_start_says_why(void **state)
{
	(void)state;
	static const char *const argv[] = { "no-such-program", NULL };
	static const char *const there[] = { "true", NULL };
	struct process_settings settings = settings_of(argv);
	struct witness witness;
	assert_true(start(&witness, &settings));
	WAIT_FOR(witness.ended);
	assert_true(witness.cannot_start);
	assert_string_equal(witness.reason, "cannot execute 'no-such-program': No such file or directory");
	forget(&witness);
	settings = settings_of(there);
	settings.cwd = "/no/such/place";
	assert_true(start(&witness, &settings));
	WAIT_FOR(witness.ended);
	assert_string_equal(witness.reason, "cannot start in cwd '/no/such/place': No such file or directory");
	forget(&witness);
}

static void one_that_will_not_stop_is_killed_with_its_offspring(void **state)
{
	(void)state;
	/* one in its group, one in a session of its own, and one whose parent has left it */
	static const char *const argv[] = { "sh", "-c",
					    "trap '' TERM; sleep 1000 & echo $!; setsid sleep 1000 & echo $!;"
					    "sh -c 'setsid sleep 1000 & echo $!'; while :; do sleep 1000; done",
					    NULL };
	struct process_settings settings = settings_of(argv);
	struct witness witness;
	settings.grace_us = settings.term_us = 10 * CLOCK_US_PER_MS;
	assert_true(start(&witness, &settings));
	WAIT_FOR(witness.line_count == 3);
	process_stop(witness.process);
	WAIT_FOR(witness.ended);
	assert_string_equal(witness.reason, "was killed by signal 9 (Killed)");
	char *at = (char *)(uintptr_t)buf_cstr(&witness.lines);
	for (int i = 0; i < 3; i++)
		assert_true(is_gone(strtol(at, &at, 10)));
	forget(&witness);
}

static void one_that_leaves_its_group_is_killed_all_the_same(void **state)
{
	(void)state;
	/* into the supervisor's group: its own is empty then */
	static const char *const argv[] = { "perl", "-e",
					    "$| = 1; $SIG{TERM} = 'IGNORE'; setpgrp(0, getpgrp(getppid)) or die $!;"
					    "print \"$$\\n\"; sleep 1000 while 1",
					    NULL };
	struct process_settings settings = settings_of(argv);
	struct witness witness;
	settings.grace_us = settings.term_us = 10 * CLOCK_US_PER_MS;
	assert_true(start(&witness, &settings));
	WAIT_FOR(witness.line_count == 1);
	long pid = strtol(buf_cstr(&witness.lines), NULL, 10);
	assert_true(getpgid((pid_t)pid) != pid);
	process_stop(witness.process);
	WAIT_FOR(witness.ended);
	assert_string_equal(witness.reason, "was killed by signal 9 (Killed)");
	assert_true(is_gone(pid));
	forget(&witness);
}

static void a_leader_that_leaves_takes_its_offspring_along(void **state)
{
	(void)state;
	static const char *const argv[] = { "sh", "-c", "setsid sleep 1000 & echo $!; sleep 1000 & echo $!; exit 7",
					    NULL };
	struct process_settings settings = settings_of(argv);
	struct witness witness;
	assert_true(start(&witness, &settings));
	WAIT_FOR(witness.ended);
	assert_string_equal(witness.reason, "exited with status 7");
	char *at = (char *)(uintptr_t)buf_cstr(&witness.lines);
	for (int i = 0; i < 2; i++)
		assert_true(is_gone(strtol(at, &at, 10)));
	forget(&witness);
}

static void cpu_and_memory_of_the_offspring_are_told(void **state)
{
	(void)state;
	static const char *const argv[] = { "sh", "-c", "sh -c 'sh -c \"read stop; :\"; :'; :", NULL };
	struct process_settings settings = settings_of(argv);
	struct witness witness;
	settings.sample_us = 5 * CLOCK_US_PER_MS;
	assert_true(start(&witness, &settings));
	WAIT_FOR(witness.samples >= 20);
	assert_true(witness.resident_bytes > 100 * 1024);
	process_stop(witness.process);
	WAIT_FOR(witness.ended);
	forget(&witness);
}

static void a_child_that_takes_too_much_memory_is_refused_it(void **state)
{
	(void)state;
	static const char *const argv[] = { "/usr/bin/python3", "-c", "print(len(bytearray(1 << 30)))", NULL };
	struct process_settings settings = settings_of(argv);
	struct witness witness;
	if (under_valgrind()) /* which keeps limits to itself */
		skip();
	settings.memory_bytes = 256 << 20;
	assert_true(start(&witness, &settings));
	WAIT_FOR(witness.ended);
	assert_string_equal(witness.reason, "exited with status 1");
	assert_non_null(strstr(buf_cstr(&witness.complaints), "MemoryError"));
	forget(&witness);
}

static void a_killed_fork_server_is_replaced(void **state)
{
	(void)state;
	static const char *const argv[] = { "cat", NULL };
	struct process_settings settings = settings_of(argv);
	struct witness before, after;
	assert_true(start(&before, &settings));
	say(&before, "here\n");
	WAIT_FOR(before.line_count == 1);
	pid_t old = proc_child("jitney-fork");
	kill_fork_server();
	assert_true(start(&after, &settings));
	say(&before, "still here\n"); /* its supervisor needs no fork server */
	say(&after, "new\n");
	WAIT_FOR(before.line_count == 2 && after.line_count == 1);
	assert_int_not_equal(proc_child("jitney-fork"), old);
	process_stop(before.process);
	process_stop(after.process);
	WAIT_FOR(before.ended && after.ended);
	forget(&before);
	forget(&after);
}

/* In a process of its own, which is killed. */
static _Noreturn void be_a_gateway(int report)
{
	static const char *const argv[] = {
		"sh", "-c", "trap '' TERM; setsid sleep 1000 & echo $!; echo $$; while :; do sleep 1000; done", NULL
	};
	struct process_settings settings = settings_of(argv);
	struct witness witness;
	loop = loop_new();
	if (!loop || !start(&witness, &settings))
		_exit(1);
	while (witness.line_count < 2)
		loop_wait(loop, clock_now_us() + CLOCK_US_PER_S);
	struct slice lines = buf_slice(&witness.lines);
	if (write(report, lines.at, lines.len) != (ssize_t)lines.len)
		_exit(1);
	for (;;)
		pause();
}

static void nothing_survives_a_killed_gateway(void **state)
{
	(void)state;
	int pair[2];
	char text[100] = "";
	size_t len = 0;
	assert_true(fork_server_join(PATIENCE_US)); /* the other process makes its own */
	assert_int_equal(pipe(pair), 0);
	pid_t gateway = fork();
	if (gateway == 0)
		be_a_gateway(pair[1]);
	close(pair[1]);
	while (len < sizeof text - 1 && (len == 0 || text[len - 1] != '\n' || memchr(text, '\n', len - 1) == NULL)) {
		ssize_t got = read(pair[0], text + len, sizeof text - 1 - len);
		assert_true(got > 0);
		len += (size_t)got;
	}
	close(pair[0]);
	kill(gateway, SIGKILL);
	waitpid(gateway, NULL, 0);
	char *at = text;
	long grandchild = strtol(at, &at, 10), child = strtol(at, &at, 10);
	WAIT_FOR(is_gone(grandchild) && is_gone(child));
}

/* Starts that end by themselves, crash, are stopped, are killed, are dropped, and cannot start. */
static void one_round(size_t round)
{
	static const char *const cat[] = { "cat", NULL }, *const crash[] = { "sh", "-c", "kill -9 $$", NULL },
				 *const none[] = { "no-such-program", NULL },
				 *const leaver[] = { "sh", "-c", "sleep 1000 & exit 1", NULL };
	static const char *const *const kinds[] = { cat, crash, none, leaver, cat, cat };
	struct process_settings settings = settings_of(kinds[round % countof(kinds)]);
	struct witness witness;
	assert_true(start(&witness, &settings));
	switch (round % countof(kinds)) {
	case 0:
		process_stop(witness.process);
		break;
	case 4:
		process_kill(witness.process);
		break;
	case 5:
		process_free(witness.process);
		witness.process = NULL;
		witness.ended = true;
		break;
	default:
		break;
	}
	WAIT_FOR(witness.ended);
	forget(&witness);
}

static void a_thousand_rounds_leave_nothing(void **state)
{
	(void)state;
	one_round(0);
	size_t fds = count_entries("/proc/self/fd");
	for (size_t round = 0; round < unless_valgrind(1000, 60); round++)
		one_round(round);
	assert_int_equal(count_entries("/proc/self/fd"), fds);
	assert_true(
		fork_server_join(PATIENCE_US)); /* it ends when all its supervisors, and they when all theirs have */
	assert_int_equal(proc_child("jitney-fork"), 0);
	assert_int_equal(count_entries("/proc/self/fd"), fds - 1); /* and the way to it */
	assert_true(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
}

static void a_supervisor_that_cannot_be_made_is_told(void **state)
{
	(void)state;
	static const char *const argv[] = { "cat", NULL };
	struct process_settings settings = settings_of(argv);
	struct witness witness;
	assert_true(start(&witness, &settings)); /* the fork server is there */
	process_stop(witness.process);
	WAIT_FOR(witness.ended);
	forget(&witness);
	*forbidden = true;
	assert_true(start(&witness, &settings));
	WAIT_FOR(witness.ended);
	*forbidden = false;
	assert_true(witness.cannot_start);
	assert_string_equal(witness.reason, "cannot be started: Resource temporarily unavailable");
	forget(&witness);
}

static void a_start_without_memory_starts_nothing(void **state)
{
	(void)state;
	static const char *const argv[] = { "cat", NULL };
	struct process_settings settings = settings_of(argv);
	struct witness witness;
	bool done = false;
	size_t fds = 0;
	for (size_t n = 1; !done; n++) {
		fds = count_entries("/proc/self/fd");
		alloc_fail_at(n);
		done = start(&witness, &settings);
		alloc_reset();
		if (!done)
			assert_int_equal(count_entries("/proc/self/fd"), fds);
		assert_true(n < 100);
	}
	process_stop(witness.process);
	WAIT_FOR(witness.ended);
	forget(&witness);
}

static int set_up(void **state)
{
	(void)state;
	set_up_signals();
	loop = loop_new();
	forbidden = mmap(NULL, sizeof *forbidden, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return loop && forbidden != MAP_FAILED ? 0 : -1;
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
		cmocka_unit_test(the_environment_is_clean),
		cmocka_unit_test(the_gateways_environment_is_not_in_its_helpers),
		cmocka_unit_test(signals_and_descriptors_are_as_a_program_expects_them),
		cmocka_unit_test(what_cannot_start_says_why),
		cmocka_unit_test(one_that_will_not_stop_is_killed_with_its_offspring),
		cmocka_unit_test(one_that_leaves_its_group_is_killed_all_the_same),
		cmocka_unit_test(a_leader_that_leaves_takes_its_offspring_along),
		cmocka_unit_test(cpu_and_memory_of_the_offspring_are_told),
		cmocka_unit_test(a_child_that_takes_too_much_memory_is_refused_it),
		cmocka_unit_test(a_killed_fork_server_is_replaced),
		cmocka_unit_test(nothing_survives_a_killed_gateway),
		cmocka_unit_test(a_thousand_rounds_leave_nothing),
		cmocka_unit_test(a_supervisor_that_cannot_be_made_is_told),
		cmocka_unit_test(a_start_without_memory_starts_nothing),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
