/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervisor.c: the fork server and the supervisors, in processes of their own. No memory is allocated, no lock taken,
 * nothing printed: what was forked from a process of many threads may only make system calls.
 */
#include "upstream/process/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "upstream/process/fork_server.h"

enum { SUPERVISORS_MAX = 4096, REQUESTS_FD = 3, EXIT_NOT_EXECUTED = 127 };
/* When the gateway is gone without a word: its children may write down what they hold, not more. */
static const uint64_t orphan_term_us = 1000000;
static const uint64_t kill_again_us = 100000; /* a child that has not ended is killed again after that */
static const uint64_t never_us = UINT64_MAX;

static uint64_t now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void ignore_signal(int number)
{
	(void)number; /* only to end a ppoll */
}

static void watch_children(void)
{
	struct sigaction action = { .sa_handler = ignore_signal };
	sigaction(SIGCHLD, &action, NULL);
}

/* Sleep until fd is readable, a child has news or `until_us` has come. Signals are blocked save in here. fd -1: only
 * the others. Returns whether fd is readable. */
static bool doze_until(int fd, uint64_t until_us)
{
	struct pollfd poll_fd = { fd, POLLIN, 0 };
	struct timespec wait, *timeout = NULL;
	sigset_t blocked;
	sigfillset(&blocked);
	sigdelset(&blocked, SIGCHLD);
	if (until_us != never_us) {
		uint64_t now = now_us(), left = until_us > now ? until_us - now : 0;
		wait = (struct timespec){ (time_t)(left / 1000000), (long)(left % 1000000) * 1000 };
		timeout = &wait;
	}
	return ppoll(&poll_fd, 1, timeout, &blocked) > 0;
}

/* ---------------------------------------------------------------- the child */

static void report_to_gateway(int control, const struct child_report *note)
{
	/* A full control socket loses a sample: the last note is small, and a gateway that does not read is gone
	 * soon. */
	ssize_t sent = send(control, note, sizeof *note, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)sent;
}

static void report_failure(int control, enum child_stage stage)
{
	struct child_report note = { .kind = CHILD_FAILED, .stage = stage, .error = errno };
	report_to_gateway(control, &note);
}

static _Noreturn void give_up(int control, enum child_stage stage)
{
	report_failure(control, stage);
	_exit(EXIT_NOT_EXECUTED);
}

/* All of them, whatever the gateway has inherited: past libc, which keeps two real-time signals to itself and would
 * leave them ignored if somebody above had ignored all. */
static void reset_signals(void)
{
	static const uint64_t defaults[8]; /* the kernel's struct sigaction, in any layout: SIG_DFL, no flags */
	enum { SET_BYTES = 8 };
	sigset_t none;
	for (int number = 1; number <= SET_BYTES * 8; number++)
		syscall(SYS_rt_sigaction, number, defaults, NULL, (size_t)SET_BYTES);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Offsets become pointers, in our private copy of the order. */
static char **fix_pointers(char *base, uint64_t at, uint64_t count)
{
	char **list = (char **)(void *)(base + at);
	for (uint64_t i = 0; i < count; i++)
		list[i] = base + (uintptr_t)list[i];
	return list;
}

static _Noreturn void run_child(char *base, const int fds[FD_COUNT])
{
	const struct supervisor_order *order = (const struct supervisor_order *)(void *)base;
	int control = fds[FD_CONTROL];
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; i < 3; i++)
		if (dup2(fds[FD_STDIN + i], i) < 0)
			give_up(control, STAGE_FORK);
	if (order->cwd_at && chdir(base + order->cwd_at) < 0)
		give_up(control, STAGE_CWD);
	struct rlimit limit = { order->memory_bytes, order->memory_bytes };
	if (order->memory_bytes && setrlimit(RLIMIT_DATA, &limit) < 0)
		give_up(control, STAGE_LIMIT);
	char **argv = fix_pointers(base, order->argv_at, order->argv_count);
	environ = fix_pointers(base, order->envp_at, order->envp_count);
	reset_signals();
	execvp(argv[0], argv);
	give_up(control, STAGE_EXEC);
}

/* ---------------------------------------------------------------- its supervisor */

struct supervisor {
	int control; /* -1: the gateway let go */
	pid_t child;
	bool stopping;
	uint64_t term_at_us; /* never_us: not meant to, or done */
	uint64_t kill_at_us; /* never_us: not meant to; again and again until the child has ended */
	uint64_t sample_us, sample_at_us;
};

static void begin_stop(struct supervisor *supervisor, uint64_t grace_us, uint64_t term_us)
{
	supervisor->stopping = true;
	supervisor->term_at_us = now_us() + grace_us;
	supervisor->kill_at_us = supervisor->term_at_us + term_us;
}

static void read_control(struct supervisor *supervisor)
{
	struct child_stop stop;
	ssize_t got = recv(supervisor->control, &stop, sizeof stop, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got == (ssize_t)sizeof stop) {
		begin_stop(supervisor, stop.grace_us, stop.term_us);
		return;
	}
	close(supervisor->control);
	supervisor->control = -1;
	if (!supervisor->stopping)
		begin_stop(supervisor, 0, orphan_term_us);
}

static void report_sample(struct supervisor *supervisor)
{
	struct supervisor_usage usage = { 0, 0 };
	supervisor_measure(&usage);
	struct child_report note = { .kind = CHILD_SAMPLE,
				     .pid = supervisor->child,
				     .cpu_us = usage.cpu_us,
				     .resident_bytes = usage.resident_bytes };
	report_to_gateway(supervisor->control, &note);
}

/* A program may leave its group, for ours for instance: then the group is empty, and the child has to be named. */
static void signal_child(const struct supervisor *supervisor, int number)
{
	kill(-supervisor->child, number);
	kill(supervisor->child, number);
}

static void do_what_is_due(struct supervisor *supervisor)
{
	uint64_t now = now_us();
	if (now >= supervisor->term_at_us) {
		supervisor->term_at_us = never_us;
		signal_child(supervisor, SIGTERM);
	}
	if (now >= supervisor->kill_at_us) {
		supervisor->kill_at_us = now + kill_again_us;
		signal_child(supervisor, SIGKILL);
	}
	if (now >= supervisor->sample_at_us) {
		supervisor->sample_at_us = supervisor->control < 0 ? never_us : now + supervisor->sample_us;
		if (supervisor->control >= 0)
			report_sample(supervisor);
	}
}

static uint64_t earliest_us(const struct supervisor *supervisor)
{
	uint64_t at = supervisor->term_at_us < supervisor->kill_at_us ? supervisor->term_at_us : supervisor->kill_at_us;
	return at < supervisor->sample_at_us ? at : supervisor->sample_at_us;
}

/* Bury adopted ones; true once the child itself has ended (it is left a zombie, so that its number stays its own). */
static bool child_ended(const struct supervisor *supervisor)
{
	for (;;) {
		siginfo_t info = { .si_pid = 0 };
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
			return false;
		if (info.si_pid == supervisor->child)
			return true;
		waitpid(info.si_pid, NULL, 0);
	}
}

/* The child has ended: its group, and whatever else it left, follow. Returns its status. */
static int clear_away(const struct supervisor *supervisor)
{
	int status = 0, one;
	pid_t pid;
	kill(-supervisor->child, SIGKILL);
	waitpid(supervisor->child, &status, 0);
	for (;;) {
		supervisor_kill_children(NULL, 0);
		pid = waitpid(-1, &one, 0);
		if (pid < 0 && errno != EINTR)
			return status; /* ECHILD: nobody is left */
	}
}

static _Noreturn void keep_child(struct supervisor *supervisor)
{
	while (!child_ended(supervisor)) {
		if (doze_until(supervisor->control, earliest_us(supervisor)))
			read_control(supervisor);
		do_what_is_due(supervisor);
	}
	struct child_report note = { .kind = CHILD_EXITED, .pid = supervisor->child };
	note.status = clear_away(supervisor);
	if (supervisor->control >= 0)
		report_to_gateway(supervisor->control, &note);
	_exit(0);
}

/* The order, mapped so that we may write into our copy. */
static char *map_order(int fd)
{
	struct supervisor_order head;
	if (pread(fd, &head, sizeof head, 0) != (ssize_t)sizeof head)
		return NULL;
	void *base = mmap(NULL, head.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	return base == MAP_FAILED ? NULL : base;
}

static _Noreturn void run_supervisor(const int fds[FD_COUNT])
{
	int control = fds[FD_CONTROL];
	prctl(PR_SET_NAME, "jitney-superv");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	char *base = map_order(fds[FD_ORDER]);
	pid_t child = base ? fork() : -1;
	if (child < 0)
		give_up(control, STAGE_FORK);
	if (child == 0)
		run_child(base, fds);
	setpgid(child, child); /* both sides do it: whoever comes first */
	for (int i = FD_STDIN; i < FD_COUNT; i++)
		close(fds[i]);
	close(fds[FD_ORDER]);
	struct child_report note = { .kind = CHILD_STARTED, .pid = child };
	report_to_gateway(control, &note);
	uint64_t sample_us = ((const struct supervisor_order *)(void *)base)->sample_us;
	struct supervisor supervisor = { .control = control,
					 .child = child,
					 .term_at_us = never_us,
					 .kill_at_us = never_us,
					 .sample_us = sample_us,
					 .sample_at_us = sample_us ? now_us() + sample_us : never_us };
	keep_child(&supervisor);
}

/* ---------------------------------------------------------------- the fork server */

static pid_t supervisors[SUPERVISORS_MAX]; /* in the fork server's process only */
static size_t supervisor_count;

static void forget_supervisor(pid_t pid)
{
	for (size_t i = 0; i < supervisor_count; i++)
		if (supervisors[i] == pid) {
			supervisors[i] = supervisors[--supervisor_count];
			return;
		}
}

/* A supervisor that was killed leaves its child's offspring to us. False: no child is left. */
static bool bury_children(void)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		forget_supervisor(pid);
		if (!WIFEXITED(status))
			supervisor_kill_children(supervisors, supervisor_count);
	}
	return pid == 0;
}

/* FD_COUNT descriptors. 0: nothing to take now. -1: the end. */
static int take_request(int requests, int fds[FD_COUNT])
{
	char byte;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * FD_COUNT)];
	} control;
	struct iovec vector = { &byte, 1 };
	struct msghdr message = { .msg_iov = &vector,
				  .msg_iovlen = 1,
				  .msg_control = control.bytes,
				  .msg_controllen = sizeof control.bytes };
	ssize_t got = recvmsg(requests, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	const struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	if (got == 0)
		return -1;
	if (!head || head->cmsg_len != CMSG_LEN(sizeof(int) * FD_COUNT))
		return 0; /* out of descriptors: the kernel has closed them, which the gateway sees */
	memcpy(fds, CMSG_DATA(head), sizeof(int) * FD_COUNT);
	return 1;
}

static void start_supervisor(int requests, const int fds[FD_COUNT])
{
	errno = EAGAIN;
	pid_t pid = supervisor_count < SUPERVISORS_MAX ? fork() : -1;
	if (pid == 0) {
		close(requests);
		run_supervisor(fds);
	}
	if (pid > 0)
		supervisors[supervisor_count++] = pid;
	else
		report_failure(fds[FD_CONTROL], STAGE_FORK);
	for (int i = 0; i < FD_COUNT; i++)
		close(fds[i]); /* without a supervisor the gateway reads the end of the control socket */
}

/*
 * The children run as the same user, and this process and the supervisors are copies of the gateway: its environment is
 * wiped out, and nobody may look into their memory, through /proc or as a debugger. Executing a program undoes this for
 * the program itself.
 */
static void hide_memory(void)
{
	static char *nothing[] = { NULL };
	prctl(PR_SET_DUMPABLE, 0);
	for (char **variable = environ; variable && *variable; variable++)
		explicit_bzero(*variable, strlen(*variable));
	environ = nothing;
}

/* A listener or a control socket that stayed open here would outlive the gateway: where the system call is forbidden (an old
 * seccomp filter) they are closed one by one. */
static void close_from(int first)
{
	if (close_range((unsigned)first, ~0u, 0) == 0)
		return;
	for (int fd = first, end = (int)sysconf(_SC_OPEN_MAX); fd < end; fd++)
		close(fd);
}

/* Nothing of the gateway's but the socket: not its terminal, its session, its descriptors. */
static void leave_home(int requests)
{
	hide_memory();
	setsid();
	prctl(PR_SET_NAME, "jitney-fork");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	watch_children();
	dup2(requests, REQUESTS_FD);
	fcntl(REQUESTS_FD, F_SETFD, FD_CLOEXEC);
	close_from(REQUESTS_FD + 1);
	int nowhere = open("/dev/null", O_RDWR);
	for (int i = 0; i < 3 && nowhere >= 0; i++)
		dup2(nowhere, i);
	if (nowhere > REQUESTS_FD)
		close(nowhere);
}

_Noreturn void run_fork_server(int requests)
{
	int fds[FD_COUNT];
	bool open = true;
	leave_home(requests);
	for (;;) {
		bool some = bury_children();
		if (!open && !some)
			_exit(0);
		if (!doze_until(open ? REQUESTS_FD : -1, never_us))
			continue;
		int got = take_request(REQUESTS_FD, fds);
		if (got > 0)
			start_supervisor(REQUESTS_FD, fds);
		else if (got < 0)
			open = false;
	}
}
