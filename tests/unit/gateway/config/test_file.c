/* SPDX-License-Identifier: Apache-2.0 */
/* Reading what the configuration is made of: what has an end is read to it, what has none is given up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "gateway/config/config_private.h"

enum { LENGTH = 100 * 1000, MOST = 1 << 20 };

static uint64_t pause_us; /* the process stands still for so long behind each read */

/* Instead of the C library's: the program's own symbol is found first. */
ssize_t read(int fd, void *bytes, size_t size)
{
	ssize_t got = syscall(SYS_read, fd, bytes, size);
	if (pause_us)
		clock_set(clock_now_us() + pause_us);
	return got;
}

static const char *read_slowly(const char *path, struct buf *out)
{
	pause_us = 6 * CLOCK_US_PER_S;
	const char *wrong = config_read_file(path, MOST, "is too large", out);
	pause_us = 0;
	clock_set(0);
	return wrong;
}

static void a_file_is_read_to_its_end_however_long_the_process_stands_still(void **state)
{
	(void)state;
	static char text[LENGTH];
	char path[] = "/tmp/jitney-file-XXXXXX";
	struct buf out = BUF_INIT(MOST);
	int fd = mkstemp(path);
	memset(text, 'x', LENGTH);
	assert_int_equal(write(fd, text, LENGTH), LENGTH);
	close(fd);
	const char *wrong = read_slowly(path, &out);
	unlink(path);
	if (wrong)
		fail_msg("it %s", wrong);
	assert_int_equal(out.len, LENGTH);
	buf_fini(&out);
}

static void what_does_not_end_is_given_up(void **state)
{
	(void)state;
	struct buf out = BUF_INIT(MOST);
	assert_string_equal(read_slowly("/dev/zero", &out), "is no regular file, and has not ended within 5 s");
	buf_fini(&out);
	struct buf other = BUF_INIT(MOST);
	clock_set(CLOCK_US_PER_S); /* no time passes */
	assert_string_equal(config_read_file("/dev/zero", MOST, "is too large", &other), "is too large");
	clock_set(0);
	buf_fini(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_is_read_to_its_end_however_long_the_process_stands_still),
		cmocka_unit_test(what_does_not_end_is_given_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
