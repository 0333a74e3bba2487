/* SPDX-License-Identifier: Apache-2.0 */
/* Lines that come soon after each other share a write; one that comes alone does not wait for others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

enum { LINES = 400, APART_US = 100, GATHER_US = 2000 };

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

static off_t size_now(void)
{
	struct stat status;
	assert_int_equal(stat(path, &status), 0);
	return status.st_size;
}

/* This process' write(2)s until now; SIZE_MAX: the kernel does not count them. */
static size_t count_writes(void)
{
	char line[80];
	size_t count = SIZE_MAX;
	FILE *file = fopen("/proc/self/io", "r");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_that_come_soon_share_a_write),
		cmocka_unit_test(one_that_comes_alone_is_written),
	};
	return cmocka_run_group_tests_name("lines gather", tests, NULL, NULL);
}
