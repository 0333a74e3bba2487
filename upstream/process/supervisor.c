/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervisor.c: the warden and the keepers, in processes of their own. No memory is allocated, no lock taken, nothing
 * printed: what was forked from a process of many threads may only make system calls.
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

enum { KEEPERS_MAX = 4096, REQUESTS_FD = 3, EXIT_NOT_EXECUTED = 127 };
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

static void hear_children(void)
{
	struct sigaction action = { .sa_handler = ignore_signal };
	sigaction(SIGCHLD, &action, NULL);
}

/* Sleep until fd is readable, a child has news or `until_us` has come. Signals are blocked save in here. fd -1: only
 * the others. Returns whether fd is readable. */
static bool doze(int fd, uint64_t until_us)
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

static void tell(int leash, const struct warden_note *note)
{
	/* A full leash loses a sample: the last note is small, and a gateway that does not read is gone soon. */
	ssize_t sent = send(leash, note, sizeof *note, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)sent;
}

static _Noreturn void give_up(int leash, enum warden_stage stage)
{
	struct warden_note note = { .kind = WARDEN_FAILED, .stage = stage, .error = errno };
	tell(leash, &note);
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
static char **pointers(char *base, uint64_t at, uint64_t count)
{
	char **list = (char **)(void *)(base + at);
	for (uint64_t i = 0; i < count; i++)
		list[i] = base + (uintptr_t)list[i];
	return list;
}

static _Noreturn void run_child(char *base, const int fds[KEEPER_FDS])
{
	const struct keeper_order *order = (const struct keeper_order *)(void *)base;
	int leash = fds[KEEPER_LEASH];
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; i < 3; i++)
		if (dup2(fds[KEEPER_STDIN + i], i) < 0)
			give_up(leash, WARDEN_STAGE_FORK);
	if (order->cwd_at && chdir(base + order->cwd_at) < 0)
		give_up(leash, WARDEN_STAGE_CWD);
	struct rlimit limit = { order->memory_bytes, order->memory_bytes };
	if (order->memory_bytes && setrlimit(RLIMIT_DATA, &limit) < 0)
		give_up(leash, WARDEN_STAGE_LIMIT);
	char **argv = pointers(base, order->argv_at, order->argv_count);
	environ = pointers(base, order->envp_at, order->envp_count);
	reset_signals();
	execvp(argv[0], argv);
	give_up(leash, WARDEN_STAGE_EXEC);
}

/* ---------------------------------------------------------------- its keeper */

struct keeper {
	int leash; /* -1: the gateway let go */
	pid_t child;
	bool stopping;
	uint64_t term_at_us; /* never_us: not meant to, or done */
	uint64_t kill_at_us; /* never_us: not meant to; again and again until the child has ended */
	uint64_t sample_us, sample_at_us;
};

static void begin_stop(struct keeper *keeper, uint64_t grace_us, uint64_t term_us)
{
	keeper->stopping = true;
	keeper->term_at_us = now_us() + grace_us;
	keeper->kill_at_us = keeper->term_at_us + term_us;
}

static void hear_leash(struct keeper *keeper)
{
	struct warden_stop stop;
	ssize_t got = recv(keeper->leash, &stop, sizeof stop, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got == (ssize_t)sizeof stop) {
		begin_stop(keeper, stop.grace_us, stop.term_us);
		return;
	}
	close(keeper->leash);
	keeper->leash = -1;
	if (!keeper->stopping)
		begin_stop(keeper, 0, orphan_term_us);
}

static void sample(struct keeper *keeper)
{
	struct keeper_usage usage = { 0, 0 };
	keeper_measure(&usage);
	struct warden_note note = { .kind = WARDEN_SAMPLE,
				    .pid = keeper->child,
				    .cpu_us = usage.cpu_us,
				    .resident_bytes = usage.resident_bytes };
	tell(keeper->leash, &note);
}

/* A program may leave its group, for ours for instance: then the group is empty, and the child has to be named. */
static void signal_child(const struct keeper *keeper, int number)
{
	kill(-keeper->child, number);
	kill(keeper->child, number);
}

static void do_what_is_due(struct keeper *keeper)
{
	uint64_t now = now_us();
	if (now >= keeper->term_at_us) {
		keeper->term_at_us = never_us;
		signal_child(keeper, SIGTERM);
	}
	if (now >= keeper->kill_at_us) {
		keeper->kill_at_us = now + kill_again_us;
		signal_child(keeper, SIGKILL);
	}
	if (now >= keeper->sample_at_us) {
		keeper->sample_at_us = keeper->leash < 0 ? never_us : now + keeper->sample_us;
		if (keeper->leash >= 0)
			sample(keeper);
	}
}

static uint64_t earliest(const struct keeper *keeper)
{
	uint64_t at = keeper->term_at_us < keeper->kill_at_us ? keeper->term_at_us : keeper->kill_at_us;
	return at < keeper->sample_at_us ? at : keeper->sample_at_us;
}

/* Bury adopted ones; true once the child itself has ended (it is left a zombie, so that its number stays its own). */
static bool child_ended(const struct keeper *keeper)
{
	for (;;) {
		siginfo_t info = { .si_pid = 0 };
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
			return false;
		if (info.si_pid == keeper->child)
			return true;
		waitpid(info.si_pid, NULL, 0);
	}
}

/* The child has ended: its group, and whatever else it left, follow. Returns its status. */
static int clear_away(const struct keeper *keeper)
{
	int status = 0, one;
	pid_t pid;
	kill(-keeper->child, SIGKILL);
	waitpid(keeper->child, &status, 0);
	for (;;) {
		keeper_kill_children(NULL, 0);
		pid = waitpid(-1, &one, 0);
		if (pid < 0 && errno != EINTR)
			return status; /* ECHILD: nobody is left */
	}
}

static _Noreturn void keep(struct keeper *keeper)
{
	while (!child_ended(keeper)) {
		if (doze(keeper->leash, earliest(keeper)))
			hear_leash(keeper);
		do_what_is_due(keeper);
	}
	struct warden_note note = { .kind = WARDEN_EXITED, .pid = keeper->child };
	note.status = clear_away(keeper);
	if (keeper->leash >= 0)
		tell(keeper->leash, &note);
	_exit(0);
}

/* The order, mapped so that we may write into our copy. */
static char *map_order(int fd)
{
	struct keeper_order head;
	if (pread(fd, &head, sizeof head, 0) != (ssize_t)sizeof head)
		return NULL;
	void *base = mmap(NULL, head.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	return base == MAP_FAILED ? NULL : base;
}

static _Noreturn void run_keeper(const int fds[KEEPER_FDS])
{
	int leash = fds[KEEPER_LEASH];
	prctl(PR_SET_NAME, "jitney-keeper");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	char *base = map_order(fds[KEEPER_ORDER]);
	pid_t child = base ? fork() : -1;
	if (child < 0)
		give_up(leash, WARDEN_STAGE_FORK);
	if (child == 0)
		run_child(base, fds);
	setpgid(child, child); /* both sides do it: whoever comes first */
	for (int i = KEEPER_STDIN; i < KEEPER_FDS; i++)
		close(fds[i]);
	close(fds[KEEPER_ORDER]);
	struct warden_note note = { .kind = WARDEN_STARTED, .pid = child };
	tell(leash, &note);
	uint64_t sample_us = ((const struct keeper_order *)(void *)base)->sample_us;
	struct keeper keeper = { .leash = leash,
				 .child = child,
				 .term_at_us = never_us,
				 .kill_at_us = never_us,
				 .sample_us = sample_us,
				 .sample_at_us = sample_us ? now_us() + sample_us : never_us };
	keep(&keeper);
}

/* ---------------------------------------------------------------- the warden */

static pid_t keepers[KEEPERS_MAX]; /* in the warden's process only */
static size_t keeper_count;

static void forget_keeper(pid_t pid)
{
	for (size_t i = 0; i < keeper_count; i++)
		if (keepers[i] == pid) {
			keepers[i] = keepers[--keeper_count];
			return;
		}
}

/* A keeper that was killed leaves its child's offspring to us. False: no child is left. */
static bool bury(void)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		forget_keeper(pid);
		if (!WIFEXITED(status))
			keeper_kill_children(keepers, keeper_count);
	}
	return pid == 0;
}

/* KEEPER_FDS descriptors. 0: nothing to take now. -1: the end. */
static int take_request(int requests, int fds[KEEPER_FDS])
{
	char byte;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * KEEPER_FDS)];
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
	if (!head || head->cmsg_len != CMSG_LEN(sizeof(int) * KEEPER_FDS))
		return 0; /* out of descriptors: the kernel has closed them, which the gateway sees */
	memcpy(fds, CMSG_DATA(head), sizeof(int) * KEEPER_FDS);
	return 1;
}

static void start_keeper(int requests, const int fds[KEEPER_FDS])
{
	pid_t pid = keeper_count < KEEPERS_MAX ? fork() : -1;
	if (pid == 0) {
		close(requests);
		run_keeper(fds);
	}
	if (pid > 0)
		keepers[keeper_count++] = pid;
	for (int i = 0; i < KEEPER_FDS; i++)
		close(fds[i]); /* without a keeper the gateway reads the end of the leash */
}

/*
 * The children run as the same user, and this process and the keepers are copies of the gateway: its environment is
 * wiped out, and nobody may look into their memory, through /proc or as a debugger. Executing a program undoes this for
 * the program itself.
 */
static void hide(void)
{
	static char *nothing[] = { NULL };
	prctl(PR_SET_DUMPABLE, 0);
	for (char **variable = environ; variable && *variable; variable++)
		explicit_bzero(*variable, strlen(*variable));
	environ = nothing;
}

/* Nothing of the gateway's but the socket: not its terminal, its session, its descriptors. */
static void leave_home(int requests)
{
	hide();
	setsid();
	prctl(PR_SET_NAME, "jitney-warden");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	hear_children();
	dup2(requests, REQUESTS_FD);
	fcntl(REQUESTS_FD, F_SETFD, FD_CLOEXEC);
	close_range(REQUESTS_FD + 1, ~0u, 0);
	int nowhere = open("/dev/null", O_RDWR);
	for (int i = 0; i < 3 && nowhere >= 0; i++)
		dup2(nowhere, i);
	if (nowhere > REQUESTS_FD)
		close(nowhere);
}

_Noreturn void keeper_warden(int requests)
{
	int fds[KEEPER_FDS];
	bool open = true;
	leave_home(requests);
	for (;;) {
		bool some = bury();
		if (!open && !some)
			_exit(0);
		if (!doze(open ? REQUESTS_FD : -1, never_us))
			continue;
		int got = take_request(REQUESTS_FD, fds);
		if (got > 0)
			start_keeper(REQUESTS_FD, fds);
		else if (got < 0)
			open = false;
	}
}
