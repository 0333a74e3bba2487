/* SPDX-License-Identifier: Apache-2.0 */
/* Listening sockets: ours, handed over, shared with a process that goes on; and the files of unix sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/http/listen.h"
#include "gateway/http/listeners.h"

enum { WORKERS = 3 };

static char error[256];

static struct listen_address tcp(const char *text, unsigned port)
{
	struct listen_address address = { .text = text };
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&address.in6;
	in->sin_family = AF_INET;
	in->sin_port = htons((uint16_t)port);
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

static unsigned port_of(int fd)
{
	struct sockaddr_in in;
	socklen_t len = sizeof in;
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	return ntohs(in.sin_port);
}

static bool listens(int fd)
{
	int on = 0;
	socklen_t size = sizeof on;
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &size), 0);
	return on;
}

static struct listener *open_one(struct listeners *listeners, const struct listen_address *address, unsigned workers)
{
	struct listener *listener = listeners_open(listeners, address, false, workers, error, sizeof error);
	if (!listener)
		fail_msg("%s", error);
	listener_unref(listener); /* it is held as long as it listens */
	return listener;
}

/* The port of a listener of ours, the first one. */
static unsigned listener_port(struct listener *listener)
{
	int fd = listener_seat(listener, 0);
	unsigned port = port_of(fd);
	close(fd);
	return port;
}

/* All of one process are handed over to another; to be freed. */
static struct listener_export *offer(struct listeners *from, struct listeners *to, enum listener_giver giver,
				     size_t *count)
{
	struct listener_export *sockets = listeners_export(from, count);
	assert_non_null(sockets);
	for (size_t i = 0; i < *count; i++)
		listeners_inherit(to, dup(sockets[i].fd), sockets[i].name, giver);
	return sockets;
}

static void hand_over(struct listeners *from, struct listeners *to, enum listener_giver giver)
{
	size_t count;
	struct listener_export *sockets = offer(from, to, giver, &count);
	listeners_export_free(from, sockets, count);
}

static bool can_connect(unsigned port)
{
	struct listen_address address = tcp("", port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool good = connect(fd, (struct sockaddr *)&address.in6, sizeof(struct sockaddr_in)) == 0;
	close(fd);
	return good;
}

/* --- tests --- */

static void each_worker_has_a_socket_and_a_stranger_none(void **state)
{
	struct listeners *ours = listeners_new(), *others = listeners_new();
	struct listen_address any = tcp("127.0.0.1:0", 0);
	(void)state;
	struct listener *listener = open_one(ours, &any, WORKERS);
	assert_int_equal(listener_seats(listener), WORKERS);
	assert_ptr_equal(listeners_find(ours, &any, false), listener);
	listener_unref(listener);
	assert_null(listeners_find(ours, &any, true));
	unsigned port = listener_port(listener);
	struct listen_address taken = tcp("127.0.0.1:n", port);
	assert_null(listeners_open(others, &taken, false, WORKERS, error, sizeof error));
	assert_non_null(strstr(error, "another jitney"));
	open_one(ours, &taken, 1); /* beside ourselves is another thing: a listener that is about to go */
	listeners_free(ours);
	assert_false(can_connect(port));
	listeners_free(others);
}

static void what_is_handed_over_is_used_by_address_or_name(void **state)
{
	struct listeners *old = listeners_new(), *new = listeners_new();
	struct listen_address any = tcp("127.0.0.1:0", 0);
	char name[LISTENER_NAME_BYTES];
	(void)state;
	struct listener *first = open_one(old, &any, WORKERS);
	unsigned port = listener_port(first);
	struct listen_address other = tcp("127.0.0.1:elsewhere", 0), fixed = tcp("127.0.0.1:n", port);
	open_one(old, &other, WORKERS);
	hand_over(old, new, GIVER_PREDECESSOR);
	hand_over(old, new, GIVER_PREDECESSOR); /* twice the same is once */
	struct listener *same = open_one(new, &fixed, WORKERS);
	assert_int_equal(listener_port(same), port);
	assert_int_equal(listener_seats(same), WORKERS);
	struct listener *found = listeners_find(old, &other, false);
	assert_int_equal(listener_port(open_one(new, &other, WORKERS)), listener_port(found));
	listener_unref(found);
	assert_int_equal(listeners_drop_unused(new, name), 0);
	listeners_free(old);
	assert_true(can_connect(port)); /* the queue is not dropped with its predecessor */
	listeners_free(new);
	assert_false(can_connect(port));
}

static void what_nobody_wants_is_dropped(void **state)
{
	struct listeners *old = listeners_new(), *new = listeners_new();
	struct listen_address any = tcp("127.0.0.1:0", 0);
	char name[LISTENER_NAME_BYTES];
	(void)state;
	unsigned port = listener_port(open_one(old, &any, 2));
	hand_over(old, new, GIVER_MANAGER);
	assert_int_equal(listeners_drop_unused(new, name), 2);
	assert_string_equal(name, "jitney-127.0.0.1_0");
	assert_true(can_connect(port));
	listeners_free(old);
	assert_false(can_connect(port));
	listeners_free(new);
}

static void more_workers_get_more_sockets_which_listen_only_when_the_old_one_has_gone(void **state)
{
	struct listeners *old = listeners_new(), *new = listeners_new();
	struct listen_address any = tcp("127.0.0.1:0", 0);
	(void)state;
	open_one(old, &any, 1);
	hand_over(old, new, GIVER_PREDECESSOR);
	struct listener *listener = open_one(new, &any, 2);
	int fds[2] = { listener_seat(listener, 0), listener_seat(listener, 1) };
	assert_int_equal(listener_seats(listener), 2);
	assert_int_equal(port_of(fds[0]), port_of(fds[1]));
	assert_true(listens(fds[0]));
	assert_false(listens(fds[1])); /* else it would get a share of the connections, which nobody takes yet */
	close(fds[0]);
	close(fds[1]);
	listeners_free(new);
	listeners_free(old);
}

static void fewer_workers_serve_all_sockets(void **state)
{
	struct listeners *old = listeners_new(), *new = listeners_new();
	struct listen_address any = tcp("127.0.0.1:0", 0);
	(void)state;
	open_one(old, &any, WORKERS);
	hand_over(old, new, GIVER_PREDECESSOR);
	assert_int_equal(listener_seats(open_one(new, &any, 1)), WORKERS);
	listeners_free(new);
	listeners_free(old);
}

static void a_socket_that_lets_nobody_beside_it_is_shared(void **state)
{
	struct listeners *listeners = listeners_new();
	struct listen_address any = tcp("127.0.0.1:0", 0);
	(void)state;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); /* as a socket unit makes it */
	assert_int_equal(bind(fd, (struct sockaddr *)&any.in6, sizeof(struct sockaddr_in)), 0);
	assert_int_equal(listen(fd, 4), 0);
	struct listen_address fixed = tcp("127.0.0.1:n", port_of(fd));
	listeners_inherit(listeners, fd, "jitney.socket", GIVER_MANAGER);
	struct listener *listener = open_one(listeners, &fixed, WORKERS);
	assert_int_equal(listener_seats(listener), WORKERS);
	for (unsigned i = 0; i < WORKERS; i++) {
		int seat = listener_seat(listener, i);
		assert_true(listens(seat));
		assert_true(listeners_have(listeners, seat));
		close(seat);
	}
	assert_true(listeners_end(listeners)); /* it outlives us */
	listeners_free(listeners);
}

/* --- files --- */

static char directory[] = "/tmp/jitney-test-listeners-XXXXXX", path[sizeof directory + 8];

static struct listen_address unix_address(void)
{
	snprintf(path, sizeof path, "%s/s", directory);
	return (struct listen_address){ .text = "unix:s", .unix_path = path };
}

static bool is_there(void)
{
	return access(path, F_OK) == 0;
}

static int make_directory(void **state)
{
	(void)state;
	return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(directory);
}

static void a_file_goes_with_its_listener(void **state)
{
	struct listeners *listeners = listeners_new();
	struct listen_address address = unix_address();
	(void)state;
	struct listener *listener = open_one(listeners, &address, WORKERS);
	assert_true(is_there());
	listeners_close(listeners, listener);
	assert_false(is_there());
	open_one(listeners, &address, 1);
	assert_false(listeners_end(listeners));
	assert_false(is_there());
	listeners_free(listeners);
}

/* F11: the file was the successor's by the time the old one removed it. */
static void a_file_that_a_successor_has_stays(void **state)
{
	struct listeners *old = listeners_new(), *new = listeners_new();
	struct listen_address address = unix_address();
	(void)state;
	size_t count;
	open_one(old, &address, WORKERS);
	struct listener_export *sockets = offer(old, new, GIVER_PREDECESSOR, &count);
	int seat = listener_seat(open_one(new, &address, 1), 0);
	listeners_give(old, &sockets[0]);
	listeners_export_free(old, sockets, count);
	assert_true(listeners_end(old));
	assert_true(listeners_have(old, seat));
	close(seat);
	listeners_free(old);
	assert_true(is_there());
	listeners_take_charge(new);
	assert_false(listeners_end(new));
	assert_false(is_there());
	listeners_free(new);
}

static void a_successor_that_fails_leaves_the_file(void **state)
{
	struct listeners *old = listeners_new(), *new = listeners_new();
	struct listen_address address = unix_address();
	(void)state;
	open_one(old, &address, WORKERS);
	hand_over(old, new, GIVER_PREDECESSOR);
	open_one(new, &address, WORKERS);
	listeners_free(new);
	assert_true(is_there());
	listeners_free(old);
	assert_false(is_there());
}

/* A reload of the old one while the new one starts: who gets the file is known at the end of that. */
static void a_file_that_may_be_a_successors_stays_till_that_is_known(void **state)
{
	struct listen_address address = unix_address();
	(void)state;
	for (int given = 0; given < 2; given++) {
		struct listeners *old = listeners_new(), *new = listeners_new();
		size_t count;
		struct listener *closed = open_one(old, &address, 1);
		struct listener_export *sockets = offer(old, new, GIVER_PREDECESSOR, &count);
		open_one(new, &address, 1);
		listeners_close(old, closed);
		assert_true(is_there());
		if (given)
			listeners_give(old, &sockets[0]);
		listeners_export_free(old, sockets, count);
		assert_int_equal(is_there(), given);
		if (given)
			listeners_take_charge(new);
		listeners_free(new);
		listeners_free(old);
		assert_false(is_there());
	}
}

/* A reload between the last word of a takeover and the end: what is given away is no more ours to take back. */
static void a_file_that_was_given_outlives_that_it_is_closed(void **state)
{
	struct listeners *old = listeners_new(), *new = listeners_new();
	struct listen_address address = unix_address();
	size_t count;
	(void)state;
	struct listener *closed = open_one(old, &address, 1);
	struct listener_export *sockets = offer(old, new, GIVER_PREDECESSOR, &count);
	open_one(new, &address, 1);
	listeners_give(old, &sockets[0]);
	listeners_export_free(old, sockets, count);
	listeners_close(old, closed);
	assert_true(is_there());
	listeners_take_charge(new);
	listeners_free(new);
	listeners_free(old);
	assert_false(is_there());
}

/* Nobody answers there, and yet nobody has left it. */
static void a_path_that_does_not_listen_yet_is_somebodys(void **state)
{
	struct listeners *old = listeners_new(), *new = listeners_new(), *third = listeners_new();
	struct listen_address any = tcp("127.0.0.1:0", 0), address = unix_address();
	(void)state;
	open_one(old, &any, 1);
	hand_over(old, new, GIVER_PREDECESSOR);
	int seat = listener_seat(open_one(new, &address, 1), 0);
	assert_false(listens(seat));
	assert_null(listeners_open(third, &address, false, 1, error, sizeof error));
	assert_non_null(strstr(error, "in use"));
	assert_null(listeners_open(old, &address, false, 1, error, sizeof error));
	assert_true(listen_now(seat));
	assert_true(listen_is(seat, &address) && is_there());
	close(seat);
	listeners_free(third);
	listeners_free(new);
	listeners_free(old);
	assert_false(is_there());
}

/* What a killed process has left is replaced by one of all who start at once. */
static void of_many_who_replace_a_file_one_does(void **state)
{
	enum { ROUNDS = 50, MANY = 6 };
	struct listen_address address = unix_address();
	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		int start[2], told[2], stay[2], good = 0;
		char byte;
		struct listen_file file;
		int left;
		assert_int_equal(listen_open(&address, false, &left, 1, &file, error, sizeof error), 1);
		close(left);
		assert_true(pipe(start) == 0 && pipe(told) == 0 && pipe(stay) == 0);
		pid_t children[MANY];
		for (int i = 0; i < MANY; i++)
			if ((children[i] = fork()) == 0) {
				int fd;
				close(start[1]);
				close(stay[1]);
				byte = read(start[0], &byte, 1) == 0 &&
				       listen_open(&address, false, &fd, 1, &file, error, sizeof error) == 1 &&
				       listen_now(fd);
				_exit(write(told[1], &byte, 1) != 1 || read(stay[0], &byte, 1) != 0);
			}
		close(start[0]);
		close(start[1]);
		for (int i = 0; i < MANY; i++) {
			assert_int_equal(read(told[0], &byte, 1), 1);
			good += byte;
		}
		assert_int_equal(good, 1);
		close(stay[0]);
		close(stay[1]);
		for (int i = 0; i < MANY; i++)
			assert_int_equal(waitpid(children[i], NULL, 0), children[i]);
		close(told[0]);
		close(told[1]);
	}
	unlink(path);
}

/* By its number: a path may be the predecessor's, which gives away only what it had when it was asked. */
static void who_has_a_path_is_named(void **state)
{
	(void)state;
	struct listeners *ours = listeners_new();
	struct listen_address address = unix_address();
	char number[40];
	int ready[2], stay[2];
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(stay), 0);
	pid_t child = fork();
	if (child == 0) {
		struct listeners *theirs = listeners_new();
		char byte = listeners_open(theirs, &address, false, 1, error, sizeof error) ? 'y' : 'n';
		close(stay[1]);
		_exit(write(ready[1], &byte, 1) != 1 || read(stay[0], &byte, 1) != 0);
	}
	close(stay[0]);
	char byte = 'n';
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(byte, 'y');
	assert_null(listeners_open(ours, &address, false, 1, error, sizeof error));
	snprintf(number, sizeof number, "process %ld listens there", (long)child);
	assert_non_null(strstr(error, number));
	close(stay[1]);
	assert_int_equal(waitpid(child, NULL, 0), child);
	open_one(ours, &address, 1); /* what it says to do */
	assert_null(listeners_open(ours, &address, false, 1, error, sizeof error));
	assert_non_null(strstr(error, "this process"));
	close(ready[0]);
	close(ready[1]);
	listeners_free(ours);
}

/* A reload takes an address out and the next one puts it back, while a successor may have it. */
static void what_is_closed_and_exported_can_be_opened_again(void **state)
{
	struct listen_address addresses[] = { unix_address(), tcp("127.0.0.1:0", 0) };
	(void)state;
	for (int i = 0; i < 4; i++) {
		const struct listen_address *address = &addresses[i / 2];
		struct listeners *old = listeners_new(), *new = listeners_new();
		bool given = i & 1, file = address->unix_path;
		size_t count;
		struct listener *closed = open_one(old, address, 1);
		struct listener_export *sockets = offer(old, new, GIVER_PREDECESSOR, &count);
		open_one(new, address, 1);
		listeners_close(old, closed);
		assert_null(listeners_find(old, address, false));
		assert_ptr_equal(open_one(old, address, 1), closed);
		int seat = listener_seat(closed, 0);
		assert_true(listens(seat) && listeners_have(old, seat));
		if (given)
			listeners_give(old, &sockets[0]);
		listeners_export_free(old, sockets, count);
		assert_true(listens(seat) && listeners_have(old, seat));
		assert_int_equal(is_there(), file);
		close(seat);
		assert_int_equal(listeners_end(old), given);
		assert_int_equal(is_there(), file && given);
		if (given)
			listeners_take_charge(new);
		listeners_free(new);
		listeners_free(old);
		assert_false(is_there());
	}
}

/* Its file is gone, so nobody would find it. */
static void what_is_closed_and_lost_is_made_anew(void **state)
{
	struct listeners *old = listeners_new();
	struct listen_address address = unix_address();
	size_t count;
	(void)state;
	struct listener *closed = open_one(old, &address, 1);
	struct listener_export *sockets = listeners_export(old, &count);
	assert_non_null(sockets);
	listeners_close(old, closed);
	unlink(path);
	assert_ptr_not_equal(open_one(old, &address, 1), closed);
	listeners_export_free(old, sockets, count);
	assert_true(is_there());
	listeners_free(old);
}

/* A reload may be under way then. */
static void nothing_is_opened_after_the_end_and_nothing_closed_twice(void **state)
{
	struct listeners *listeners = listeners_new();
	struct listen_address any = tcp("127.0.0.1:0", 0), address = unix_address();
	char text[64];
	(void)state;
	struct listener *closed = listener_ref(open_one(listeners, &any, 1));
	struct listener *other = listener_ref(open_one(listeners, &address, 1));
	assert_false(listeners_end(listeners));
	assert_null(listeners_open(listeners, &address, false, 1, error, sizeof error));
	assert_non_null(strstr(error, "the gateway ends"));
	assert_false(is_there());
	listener_text(closed, text, sizeof text);
	listeners_close(listeners, closed);
	listeners_close(listeners, other);
	assert_int_equal(listener_seat(closed, 0), -1);
	listener_unref(closed);
	listener_unref(other);
	listeners_free(listeners);
}

static struct listeners *looked_at; /* while somebody has the folder; NULL: nobody has */
static int looks;

/* In place of the C library's. */
int flock(int fd, int operation)
{
	size_t count;
	if (!looked_at)
		return (int)syscall(SYS_flock, fd, operation);
	looks++;
	struct listener_export *sockets = listeners_export(looked_at, &count); /* as main's loop does meanwhile */
	listeners_export_free(looked_at, sockets, count);
	errno = EWOULDBLOCK;
	return -1;
}

int usleep(useconds_t us)
{
	return looked_at ? 0 : poll(NULL, 0, (int)us / 1000);
}

/* Who waits for a stranger's lock holds nobody up, and all who wait do so for a second in all. */
static void a_folder_that_a_stranger_locks_is_waited_for_once(void **state)
{
	struct listeners *listeners = listeners_new();
	struct listen_address any = tcp("127.0.0.1:0", 0), address = unix_address();
	(void)state;
	alarm(60);
	looked_at = listeners;
	struct listener *first = open_one(listeners, &address, 1);
	assert_in_range(looks, 100, 1001);
	for (int i = 0, before = looks; i < 30; i++) {
		listeners_close(listeners, first);
		first = open_one(listeners, &address, 1);
		assert_int_equal(looks, before + i + 1);
	}
	looked_at = NULL; /* he gives it back */
	listeners_close(listeners, first);
	first = open_one(listeners, &address, 1);
	listeners_close(listeners, first);
	looked_at = listeners;
	looks = 0;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(listen_bind(fd, path, true, 10000));
	assert_in_range(looks, 2, 11);
	unlink(path);
	close(fd);
	looked_at = NULL;
	open_one(listeners, &any, 1);
	alarm(0);
	listeners_free(listeners);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_worker_has_a_socket_and_a_stranger_none),
		cmocka_unit_test(what_is_handed_over_is_used_by_address_or_name),
		cmocka_unit_test(what_nobody_wants_is_dropped),
		cmocka_unit_test(more_workers_get_more_sockets_which_listen_only_when_the_old_one_has_gone),
		cmocka_unit_test(fewer_workers_serve_all_sockets),
		cmocka_unit_test(a_socket_that_lets_nobody_beside_it_is_shared),
		cmocka_unit_test(a_file_goes_with_its_listener),
		cmocka_unit_test(a_file_that_a_successor_has_stays),
		cmocka_unit_test(a_successor_that_fails_leaves_the_file),
		cmocka_unit_test(a_file_that_may_be_a_successors_stays_till_that_is_known),
		cmocka_unit_test(a_file_that_was_given_outlives_that_it_is_closed),
		cmocka_unit_test(a_path_that_does_not_listen_yet_is_somebodys),
		cmocka_unit_test(of_many_who_replace_a_file_one_does),
		cmocka_unit_test(who_has_a_path_is_named),
		cmocka_unit_test(what_is_closed_and_exported_can_be_opened_again),
		cmocka_unit_test(what_is_closed_and_lost_is_made_anew),
		cmocka_unit_test(nothing_is_opened_after_the_end_and_nothing_closed_twice),
		cmocka_unit_test(a_folder_that_a_stranger_locks_is_waited_for_once),
	};
	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
