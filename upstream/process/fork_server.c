/* SPDX-License-Identifier: Apache-2.0 */
/* fork_server.c: the gateway's side: makes the fork server, writes orders, hands over descriptors. supervisor.c is the
 * other side. */
#include "upstream/process/fork_server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd_message.h"
#include "upstream/process/supervisor.h"

/* One a process, like the children it stands for: two fork servers could not tell whose orphans are whose. */
static struct {
	pthread_mutex_t mutex;
	int requests; /* m: -1: no fork server */
	pid_t pid;    /* m: 0: no fork server, or reaped */
} fork_server = { .mutex = PTHREAD_MUTEX_INITIALIZER, .requests = -1 };
/* m: under the mutex, which is held for a fork or a sendmsg that does not block */

static bool complain_of(char *error, size_t error_bytes, const char *what)
{
	snprintf(error, error_bytes, "%s: %s", what, strerror(errno));
	return false;
}

/* --- the fork server itself --- */

/* Under the mutex. */
static void forget_locked(void)
{
	if (fork_server.requests >= 0)
		close(fork_server.requests);
	fork_server.requests = -1;
	if (fork_server.pid && waitpid(fork_server.pid, NULL, WNOHANG) != 0)
		fork_server.pid = 0;
}

/* Under the mutex. False and errno. */
static bool make_locked(void)
{
	int pair[2];
	sigset_t all, before;
	if (fork_server.requests >= 0)
		return true;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return false;
	sigfillset(&all); /* no handler of ours may run in the fork server */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid_t pid = fork();
	int fault = errno;
	if (pid == 0) {
		close(pair[0]);
		run_fork_server(pair[1]);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		errno = fault;
		return false;
	}
	fork_server.requests = pair[0];
	fork_server.pid = pid;
	return true;
}

/* Hand the descriptors over. Under the mutex. False and errno. */
static bool send_locked(const int fds[FD_COUNT])
{
	return fd_message_send(fork_server.requests, NULL, 0, (struct slice){ "", 1 }, fds, FD_COUNT, MSG_DONTWAIT);
}

/* A fork server that was killed is found out here and made anew, once. False and errno. */
static bool request_child(const int fds[FD_COUNT])
{
	pthread_mutex_lock(&fork_server.mutex);
	bool sent = make_locked() && send_locked(fds);
	if (!sent && (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN)) {
		forget_locked();
		sent = make_locked() && send_locked(fds);
	}
	int fault = errno;
	pthread_mutex_unlock(&fork_server.mutex);
	errno = fault;
	return sent;
}

/* Where nobody tells when a process ends (no pidfd: valgrind): it is looked at. */
static bool look_for_exit(pid_t pid, uint64_t timeout_us)
{
	uint64_t end_us = clock_add(clock_now_us(), timeout_us);
	siginfo_t info = { .si_pid = 0 };
	while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0) {
		if (clock_now_us() >= end_us)
			return false;
		poll(NULL, 0, 1);
	}
	return true;
}

static bool await_exit(pid_t pid, uint64_t timeout_us)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return errno == ENOSYS ? look_for_exit(pid, timeout_us) : errno == ESRCH;
	struct pollfd poll_fd = { fd, POLLIN, 0 };
	uint64_t end_us = clock_add(clock_now_us(), timeout_us);
	int got;
	do {
		uint64_t now_us = clock_now_us();
		got = poll(&poll_fd, 1, now_us < end_us ? (int)((end_us - now_us) / CLOCK_US_PER_MS) + 1 : 0);
	} while (got < 0 && errno == EINTR);
	close(fd);
	return got > 0;
}

bool fork_server_join(uint64_t timeout_us)
{
	pthread_mutex_lock(&fork_server.mutex);
	forget_locked();
	pid_t pid = fork_server.pid;
	bool gone = !pid || await_exit(pid, timeout_us);
	if (pid && gone)
		waitpid(pid, NULL, 0);
	fork_server.pid = 0;
	pthread_mutex_unlock(&fork_server.mutex);
	return gone;
}

/* --- orders --- */

struct sizes {
	uint64_t argv, envp, texts;
};

static void add_sizes(const char *const *texts, uint64_t *count, uint64_t *bytes)
{
	for (*count = 0; texts[*count]; ++*count)
		*bytes += strlen(texts[*count]) + 1;
}

/* Texts from `to` on, their places into `places`. Returns where the next text goes. */
static uint64_t put_texts(char *base, uint64_t places_at, const char *const *texts, uint64_t to)
{
	uint64_t *places = (uint64_t *)(void *)(base + places_at);
	for (; *texts; texts++) {
		size_t bytes = strlen(*texts) + 1;
		memcpy(base + to, *texts, bytes);
		*places++ = to;
		to += bytes;
	}
	*places = 0;
	return to;
}

static void write_order(char *base, const struct supervisor_order *head, const struct fork_server_order *order)
{
	memcpy(base, head, sizeof *head);
	uint64_t to = head->envp_at + (head->envp_count + 1) * sizeof(uint64_t);
	to = put_texts(base, head->argv_at, order->argv, to);
	to = put_texts(base, head->envp_at, order->envp, to);
	if (order->cwd)
		memcpy(base + to, order->cwd, strlen(order->cwd) + 1);
}

/* The order in a memory file, whatever its size: a message has a limit. -1 and errno. */
static int order_file(const struct fork_server_order *order)
{
	struct supervisor_order head = { .memory_bytes = order->memory_bytes, .sample_us = order->sample_us };
	uint64_t texts = 0;
	add_sizes(order->argv, &head.argv_count, &texts);
	add_sizes(order->envp, &head.envp_count, &texts);
	head.argv_at = sizeof head;
	head.envp_at = head.argv_at + (head.argv_count + 1) * sizeof(uint64_t);
	uint64_t texts_at = head.envp_at + (head.envp_count + 1) * sizeof(uint64_t);
	head.cwd_at = order->cwd ? texts_at + texts : 0;
	head.bytes = texts_at + texts + (order->cwd ? strlen(order->cwd) + 1 : 0);
	int fd = memfd_create("jitney-order", MFD_CLOEXEC);
	if (fd < 0)
		return -1;
	void *base = MAP_FAILED;
	if (ftruncate(fd, (off_t)head.bytes) == 0)
		base = mmap(NULL, head.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED) {
		int fault = errno;
		close(fd);
		errno = fault;
		return -1;
	}
	write_order(base, &head, order);
	munmap(base, head.bytes);
	return fd;
}

/* --- descriptors --- */

static void close_all(const int *fds, size_t count)
{
	int fault = errno;
	for (size_t i = 0; i < count; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	errno = fault;
}

/* A pipe; `near` is the gateway's end and does not block, the child's does. */
static bool open_pipe(int *read_fd, int *write_fd, int *near)
{
	int pair[2];
	if (pipe2(pair, O_CLOEXEC) < 0)
		return false;
	*read_fd = pair[0];
	*write_fd = pair[1];
	return fcntl(*near, F_SETFL, O_NONBLOCK) == 0;
}

static bool open_control(int *near, int *far)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return false;
	*near = pair[0];
	*far = pair[1];
	return true;
}

bool fork_server_spawn(const struct fork_server_order *order, struct fork_server_child *child, char *error,
		       size_t error_bytes)
{
	int far[FD_COUNT] = { -1, -1, -1, -1, -1 }, near[FD_COUNT] = { -1, -1, -1, -1, -1 };
	bool ok = false;
	if ((far[FD_ORDER] = order_file(order)) < 0)
		complain_of(error, error_bytes, "cannot make a memory file for a child process");
	else if (!open_control(&near[FD_CONTROL], &far[FD_CONTROL]) ||
		 !open_pipe(&far[FD_STDIN], &near[FD_STDIN], &near[FD_STDIN]) ||
		 !open_pipe(&near[FD_STDOUT], &far[FD_STDOUT], &near[FD_STDOUT]) ||
		 !open_pipe(&near[FD_STDERR], &far[FD_STDERR], &near[FD_STDERR]))
		complain_of(error, error_bytes, "cannot make the pipes of a child process");
	else if (!request_child(far))
		complain_of(error, error_bytes, "cannot ask for a child process");
	else
		ok = true;
	close_all(far, FD_COUNT);
	if (!ok) {
		close_all(near, FD_COUNT);
		return false;
	}
	*child = (struct fork_server_child){ near[FD_CONTROL], near[FD_STDIN], near[FD_STDOUT], near[FD_STDERR] };
	return true;
}
