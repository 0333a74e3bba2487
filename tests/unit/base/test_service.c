/* SPDX-License-Identifier: Apache-2.0 */
/* The service manager: what it reads of us, what we take of it, and what is none of our business. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd_message.h"
#include "base/service.h"

/* --- a service manager that hears one process --- */

static int manager = -1;
static char heard[2048];
static int heard_fds[FD_MESSAGE_MAX];
static size_t heard_count;

static void open_manager(void)
{
	struct sockaddr_un where = { .sun_family = AF_UNIX };
	char name[64];
	int len = snprintf(name, sizeof name, "@jitney-test-service-%d", getpid());
	memcpy(where.sun_path, name, (size_t)len);
	where.sun_path[0] = '\0';
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(manager >= 0);
	assert_int_equal(bind(manager, (struct sockaddr *)&where,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)len)),
			 0);
	setenv("NOTIFY_SOCKET", name, 1);
}

static const char *hear(void)
{
	ssize_t got = fd_message_receive(manager, heard, sizeof heard - 1, heard_fds, &heard_count);
	heard[got < 0 ? 0 : got] = '\0';
	return heard;
}

static void close_manager(void)
{
	service_close();
	close(manager);
}

/* --- tests --- */

static void without_one_nothing_happens(void **state)
{
	int fds[1] = { 0 };
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	service_open();
	assert_false(service_listens());
	assert_true(service_watchdog_us() == CLOCK_NEVER);
	service_tell("READY=1");
	assert_false(service_keep("name", fds, 1));
	setenv("NOTIFY_SOCKET", "relative", 1);
	service_open();
	assert_false(service_listens());
}

static void it_hears_of_us_on_an_abstract_name(void **state)
{
	(void)state;
	open_manager();
	service_open();
	assert_true(service_listens());
	assert_null(getenv("NOTIFY_SOCKET"));
	service_tell("READY=1\nSTATUS=%s", "Serving");
	assert_string_equal(hear(), "READY=1\nSTATUS=Serving");
	struct timespec before, after;
	clock_gettime(CLOCK_MONOTONIC, &before);
	service_tell_reloading();
	clock_gettime(CLOCK_MONOTONIC, &after);
	unsigned long long at_us = 0;
	assert_int_equal(sscanf(hear(), "RELOADING=1\nMONOTONIC_USEC=%llu\n", &at_us), 1);
	assert_in_range(at_us, (unsigned long long)before.tv_sec * 1000000 + (unsigned long long)before.tv_nsec / 1000,
			(unsigned long long)after.tv_sec * 1000000 + (unsigned long long)after.tv_nsec / 1000);
	close_manager();
	service_tell("READY=1"); /* nobody listens any more */
}

static void it_keeps_descriptors_in_several_messages(void **state)
{
	enum { MANY = FD_MESSAGE_MAX + 3 };
	int fds[MANY];
	(void)state;
	open_manager();
	service_open();
	for (int i = 0; i < MANY; i++)
		fds[i] = STDERR_FILENO;
	assert_true(service_keep("jitney-here", fds, MANY));
	size_t count = 0;
	for (int i = 0; i < 2; i++) {
		assert_string_equal(hear(), "FDSTORE=1\nFDPOLL=0\nFDNAME=jitney-here");
		for (count += heard_count; heard_count;)
			close(heard_fds[--heard_count]);
	}
	assert_int_equal(count, MANY);
	service_forget("jitney-here");
	assert_string_equal(hear(), "FDSTOREREMOVE=1\nFDNAME=jitney-here");
	close_manager();
}

static void the_watchdog_is_for_the_process_it_names(void **state)
{
	char pid[32];
	(void)state;
	setenv("WATCHDOG_USEC", "3000000", 1);
	service_open();
	assert_int_equal(service_watchdog_us(), 3000000);
	setenv("WATCHDOG_USEC", "3000000", 1);
	snprintf(pid, sizeof pid, "%d", getpid() + 1);
	setenv("WATCHDOG_PID", pid, 1);
	service_open();
	assert_true(service_watchdog_us() == CLOCK_NEVER);
	assert_null(getenv("WATCHDOG_USEC"));
	setenv("WATCHDOG_USEC", "3x", 1);
	service_open();
	assert_true(service_watchdog_us() == CLOCK_NEVER);
}

struct taken {
	size_t count;
	char names[4][32];
};

static void take(void *context, int fd, const char *name)
{
	struct taken *taken = context;
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	snprintf(taken->names[taken->count++], sizeof taken->names[0], "%s", name);
}

/* In a process of its own: the numbers of descriptors are the protocol. */
static void descriptors_are_handed_over_with_their_names(void **state)
{
	(void)state;
	pid_t child = fork();
	if (child == 0) {
		char pid[32];
		struct taken taken = { 0 };
		int pair[2];
		snprintf(pid, sizeof pid, "%d", getpid());
		setenv("LISTEN_PID", pid, 1);
		setenv("LISTEN_FDS", "2", 1);
		setenv("LISTEN_FDNAMES", "one:two", 1);
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 || dup2(pair[0], 20) < 0 || dup2(pair[1], 21) < 0 ||
		    dup2(20, 3) < 0 || dup2(21, 4) < 0)
			_exit(2);
		service_open();
		service_take_descriptors(take, &taken);
		service_take_descriptors(take, &taken);
		bool good = taken.count == 2 && strcmp(taken.names[0], "one") == 0 &&
			    strcmp(taken.names[1], "two") == 0 && !getenv("LISTEN_FDS");
		_exit(good ? 0 : 1);
	}
	int status = -1;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void those_of_another_process_are_left_alone(void **state)
{
	struct taken taken = { 0 };
	(void)state;
	setenv("LISTEN_PID", "1", 1);
	setenv("LISTEN_FDS", "1", 1);
	service_open();
	service_take_descriptors(take, &taken);
	assert_int_equal(taken.count, 0);
	assert_null(getenv("LISTEN_PID"));
}

static void a_message_that_is_too_large_leaves_nothing_open(void **state)
{
	int pair[2], fds[FD_MESSAGE_MAX], sent[1] = { STDERR_FILENO };
	size_t count = 7;
	char bytes[4];
	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	int before = dup(0);
	close(before);
	assert_true(fd_message_send(pair[0], NULL, 0, (struct slice){ "too long", 8 }, sent, 1, 0));
	assert_int_equal(fd_message_receive(pair[1], bytes, sizeof bytes, fds, &count), -1);
	assert_int_equal(errno, EMSGSIZE);
	assert_int_equal(count, 0);
	int after = dup(0);
	assert_int_equal(after, before); /* the lowest that is free is the same */
	close(after);
	close(pair[0]);
	assert_int_equal(fd_message_receive(pair[1], bytes, sizeof bytes, fds, &count), 0);
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_one_nothing_happens),
		cmocka_unit_test(it_hears_of_us_on_an_abstract_name),
		cmocka_unit_test(it_keeps_descriptors_in_several_messages),
		cmocka_unit_test(the_watchdog_is_for_the_process_it_names),
		cmocka_unit_test(descriptors_are_handed_over_with_their_names),
		cmocka_unit_test(those_of_another_process_are_left_alone),
		cmocka_unit_test(a_message_that_is_too_large_leaves_nothing_open),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
