/* SPDX-License-Identifier: Apache-2.0 */
/* Lines that come soon after each other share a write; one that comes alone does not wait for others; many do not rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "tests/support/valgrind.h"

enum {
	LINES = 400,
	APART_US = 100,
	GATHER_US = 2000,
	MANY_BYTES = 1 << 16,  /* log.c: for so many no writer rests */
	FLOOD_BYTES = 3 << 20, /* more than a pipe and both of its buffers */
	LINE_BYTES_LEAST = 50,
	PATIENCE_S = 60
};

static char path[] = "/tmp/jitney-log-XXXXXX";
static const struct log_event event = { LOG_LEVEL_INFO, "line" };

static void open_log(void)
{
	char error[200];
	int file = mkstemp(path);
	assert_true(file >= 0);
	close(file);
	if (!log_open(path, LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, error, sizeof error))
		fail_msg("%s", error);
}

static void close_log(void)
{
	log_close();
	unlink(path);
	snprintf(path + sizeof path - 7, 7, "XXXXXX");
}

/* In place of the C library's: a rest that does not end by its time, only by being woken. */
static atomic_bool rests_are_endless;
static atomic_uint rests;

int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock,
			   const struct timespec *until)
{
	typedef int wait_function(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
	wait_function *real = NULL;
	*(void **)&real = dlsym(RTLD_NEXT, "pthread_cond_clockwait");
	struct timespec late = { until->tv_sec + 3600, until->tv_nsec };
	atomic_fetch_add(&rests, 1); /* under the mutex: who logs after this was seen finds the writer asleep */
	return real(condition, mutex, clock, atomic_load(&rests_are_endless) ? &late : until);
}

/* The log has written one line, and its writer rests for ever. */
static void open_resting(void)
{
	uint64_t until_us = clock_now_us() + PATIENCE_S * CLOCK_US_PER_S;
	atomic_store(&rests, 0);
	atomic_store(&rests_are_endless, true);
	log_message(&event, "%07d", 0);
	while (atomic_load(&rests) == 0 && clock_now_us() < until_us)
		poll(NULL, 0, 1);
	assert_true(atomic_load(&rests) > 0);
}

static off_t size_now(void)
{
	struct stat status;
	assert_int_equal(stat(path, &status), 0);
	return status.st_size;
}

/* This process' write(2)s until now; SIZE_MAX: the kernel does not count them, or valgrind's own are among them. */
static size_t count_writes(void)
{
	char line[80];
	size_t count = SIZE_MAX;
	FILE *file = under_valgrind() ? NULL : fopen("/proc/self/io", "r");
	while (file && count == SIZE_MAX && fgets(line, sizeof line, file))
		if (sscanf(line, "syscw: %zu", &count) != 1)
			count = SIZE_MAX;
	if (file)
		fclose(file);
	return count;
}

/* As many writes as there were rests, and the first. */
static void lines_that_come_soon_share_a_write(void **state)
{
	(void)state;
	open_log();
	size_t before = count_writes();
	if (before == SIZE_MAX) {
		close_log();
		skip();
	}
	uint64_t began_us = clock_now_us();
	for (int i = 0; i < LINES; i++) {
		log_message(&event, "%d", i);
		nanosleep(&(struct timespec){ 0, APART_US * 1000 }, NULL);
	}
	size_t writes = count_writes() - before;
	assert_in_range(writes, 1, 2 + (clock_now_us() - began_us) / GATHER_US);
	close_log();
}

/* Nothing else makes the writer look. */
static void one_that_comes_alone_is_written(void **state)
{
	(void)state;
	open_log();
	for (int i = 0; i < 3; i++) {
		off_t before = size_now();
		uint64_t until_us = clock_now_us() + 20 * CLOCK_US_PER_S;
		log_message(&event, "%d", i);
		while (size_now() == before && clock_now_us() < until_us)
			poll(NULL, 0, 1);
		assert_true(size_now() > before);
		poll(NULL, 0, 5);
	}
	close_log();
}

static void many_end_the_rest(void **state)
{
	(void)state;
	open_log();
	open_resting();
	off_t line = size_now(), lines = 1;
	uint64_t until_us = clock_now_us() + PATIENCE_S * CLOCK_US_PER_S;
	for (; lines * line < MANY_BYTES; lines++) /* all but the last of those that are many */
		log_message(&event, "%07d", (int)lines);
	poll(NULL, 0, 5);
	assert_int_equal(size_now(), line);
	log_message(&event, "%07d", (int)lines++);
	while (size_now() < lines * line && clock_now_us() < until_us)
		poll(NULL, 0, 1);
	assert_int_equal(size_now(), lines * line);
	atomic_store(&rests_are_endless, false);
	close_log();
}

/* What a reader has got. */
struct got {
	size_t lines;
	size_t marks;   /* of those, the ones that say how many are missing */
	size_t missing; /* by their words */
};

static void note_line(struct got *got, const char *line)
{
	const char *count = strstr(line, "event=log_dropped") ? strstr(line, " lines=") : NULL;
	got->lines++;
	got->marks += count != NULL;
	got->missing += count ? strtoul(count + strlen(" lines="), NULL, 10) : 0;
}

/* Read on until so many are said to be missing. */
static void read_until_missing(int reader, size_t missing, struct got *got)
{
	char text[8192];
	size_t len = 0;
	uint64_t until_us = clock_now_us() + PATIENCE_S * CLOCK_US_PER_S;
	while (got->missing < missing && clock_now_us() < until_us) {
		struct pollfd end = { .fd = reader, .events = POLLIN };
		ssize_t count = poll(&end, 1, 100) > 0 ? read(reader, text + len, sizeof text - len - 1) : 0;
		len += count > 0 ? (size_t)count : 0;
		text[len] = '\0';
		char *at = text;
		for (char *newline; (newline = strchr(at, '\n')); at = newline + 1) {
			*newline = '\0';
			note_line(got, at);
		}
		len -= (size_t)(at - text);
		memmove(text, at, len);
	}
}

/* So much waits for the reader: the writer has taken what is many, which is more than a pipe holds. */
static void until_written(int reader, int bytes)
{
	uint64_t until_us = clock_now_us() + PATIENCE_S * CLOCK_US_PER_S;
	int waiting = 0;
	while (waiting < bytes && clock_now_us() < until_us) {
		assert_int_equal(ioctl(reader, FIONREAD, &waiting), 0);
		poll(NULL, 0, 1);
	}
	assert_true(waiting >= bytes);
}

/* While nobody reads, what there is room for is kept and the rest counted. Once somebody reads, what is kept is more than a
 * writer rests for: it comes, and the mark of the loss behind it, though no rest ever ends. */
static void a_reader_that_stalls_gets_what_was_kept_without_a_rest(void **state)
{
	(void)state;
	char error[200];
	uint64_t dropped_before = log_dropped();
	struct got got = { 0 };
	size_t logged = 1;
	int file = mkstemp(path);
	assert_true(file >= 0 && close(file) == 0 && unlink(path) == 0 && mkfifo(path, 0600) == 0);
	int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(reader >= 0);
	if (!log_open(path, LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, error, sizeof error))
		fail_msg("%s", error);
	open_resting();
	for (; logged * LINE_BYTES_LEAST < 2 * MANY_BYTES; logged++)
		log_message(&event, "%07zu", logged);
	until_written(reader, 4096);
	for (; logged * LINE_BYTES_LEAST < FLOOD_BYTES; logged++)
		log_message(&event, "%07zu", logged);
	uint64_t dropped = log_dropped() - dropped_before;
	assert_true(dropped > 0);
	read_until_missing(reader, dropped, &got);
	assert_int_equal(got.missing, dropped);
	assert_int_equal(got.lines - got.marks + dropped, logged);
	atomic_store(&rests_are_endless, false);
	close_log();
	close(reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_that_come_soon_share_a_write),
		cmocka_unit_test(one_that_comes_alone_is_written),
		cmocka_unit_test(many_end_the_rest),
		cmocka_unit_test(a_reader_that_stalls_gets_what_was_kept_without_a_rest),
	};
	return cmocka_run_group_tests_name("lines gather", tests, NULL, NULL);
}
