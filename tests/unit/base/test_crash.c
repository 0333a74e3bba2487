/* SPDX-License-Identifier: Apache-2.0 */
/* The last line of a process that dies of a signal. Each dies in a child of the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/log.h"

static bool sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return true;
#else
	return false;
#endif
}

/* What `die` makes a child say on stderr; its status. The child's log is stderr, or a file at `path`. */
static int last_words(void (*die)(void), const char *path, char *text, size_t bytes)
{
	int pair[2], status;
	char error[100];
	size_t len = 0;
	ssize_t got;
	assert_int_equal(pipe(pair), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct rlimit none = { 0, 0 };
		setrlimit(RLIMIT_CORE, &none);
		dup2(pair[1], STDERR_FILENO);
		close(pair[0]);
		for (int number = 1; number < 32; number++) /* cmocka's */
			if (!sanitized())
				signal(number, SIG_DFL);
		crash_handler_install();
		if (!log_open(path ? path : "stderr", LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT, error, sizeof error))
			_exit(99);
		die();
		_exit(98);
	}
	close(pair[1]);
	while (len < bytes - 1 && (got = read(pair[0], text + len, bytes - 1 - len)) > 0)
		len += (size_t)got;
	text[len] = '\0';
	close(pair[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void *volatile nowhere;

static void write_nowhere(void)
{
	*(volatile int *)nowhere = 1;
}

static volatile int depth_reached;

static int dive(int depth) /* NOLINT(misc-no-recursion) */
{
	volatile char frame[4096];
	frame[0] = (char)depth;
	depth_reached = depth;
	return depth < 0 ? 0 : dive(depth + 1) + frame[0];
}

static void *dive_for_ever(void *context)
{
	(void)context;
	crash_handler_thread();
	depth_reached = dive(0);
	return NULL;
}

static void overflow_in_a_thread(void)
{
	pthread_t thread;
	if (pthread_create(&thread, NULL, dive_for_ever, NULL) == 0)
		pthread_join(thread, NULL);
}

static void quit(void)
{
	kill(getpid(), SIGQUIT);
	pause();
}

static void survive(void)
{
	raise(SIGUSR2);
	raise(SIGXFSZ);
	_exit(7);
}

static size_t count_lines(const char *text)
{
	size_t count = 0;
	while ((text = strchr(text, '\n'))) {
		count++;
		text++;
	}
	return count;
}

static void it_says_what_it_dies_of_and_dies_of_it(void **state)
{
	(void)state;
	const struct {
		void (*die)(void);
		int number;
		const char *says;
	} ends[] = { { write_nowhere, SIGSEGV, "name=\"Segmentation fault\" address=0x0 backtrace=" },
		     { overflow_in_a_thread, SIGSEGV, "name=\"Segmentation fault\" address=0x" },
		     { abort, SIGABRT, "name=Aborted sender=" },
		     { quit, SIGQUIT, "name=Quit sender=" } };
	for (size_t i = 0; i < countof(ends); i++) {
		char text[10000];
		if (sanitized() && ends[i].number == SIGSEGV)
			continue; /* the sanitizer's to tell */
		int status = last_words(ends[i].die, NULL, text, sizeof text);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == ends[i].number);
		if (sanitized() && ends[i].number == SIGABRT)
			continue;
		assert_int_equal(count_lines(text), 1);
		assert_non_null(strstr(text, " level=error event=died signal="));
		assert_non_null(strstr(text, ends[i].says));
		assert_non_null(strstr(text, "+0x")); /* of a module */
	}
}

static void it_says_so_in_the_log_and_on_stderr(void **state)
{
	(void)state;
	char path[] = "/tmp/jitney-crash-XXXXXX", text[10000], logged[10000];
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	int status = last_words(quit, path, text, sizeof text);
	ssize_t got = read(fd, logged, sizeof logged - 1);
	close(fd);
	unlink(path);
	assert_true(WIFSIGNALED(status) && got > 0);
	logged[got] = '\0';
	assert_string_equal(logged, text);
	assert_non_null(strstr(text, "event=died"));
}

static void what_is_no_reason_to_end_does_not_end_it(void **state)
{
	(void)state;
	char text[1000];
	int status = last_words(survive, NULL, text, sizeof text);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	assert_string_equal(text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_says_what_it_dies_of_and_dies_of_it),
		cmocka_unit_test(it_says_so_in_the_log_and_on_stderr),
		cmocka_unit_test(what_is_no_reason_to_end_does_not_end_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
