/* SPDX-License-Identifier: Apache-2.0 */
/* main_thread.c: signals, signs of life, takeovers. */
#include "gateway/server/main_thread.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/service.h"
#include "gateway/admin/reload.h"
#include "gateway/server/worker_loop.h"

enum { TIMERS = 1, SIGNS_A_SPAN = 3 /* of life, in the time that the service manager allows */ };
#define LISTS_LOOK_US (20 * CLOCK_US_PER_MS)

struct main_thread {
	struct gateway *gateway;
	struct takeover *takeover;    /* borrowed; NULL: no predecessor, or it has ended */
	int door;                     /* taken over with the listeners; -1: not, or it is the offer's */
	struct takeover_offer *offer; /* NULL: nothing is offered */
	/* where `door` is; then where the listeners are offered, or were to be: "": nowhere */
	char door_path[TAKEOVER_PATH_BYTES];
	struct loop *loop;
	struct loop_watch signals;
	struct loop_watch predecessor;
	struct loop_timer sign_timer;
	bool stuck;      /* a worker is, and that has been told */
	int signal;      /* that ends the process; 0: none yet */
	pid_t successor; /* that has taken over; 0: none */
};

/* ---------------------------------------------------------------- signals */

static void on_signal(struct loop_watch *watch, uint32_t events)
{
	struct main_thread *main_thread = container_of(watch, struct main_thread, signals);
	struct signalfd_siginfo info;
	(void)events;
	if (read(watch->fd, &info, sizeof info) != sizeof info)
		return;
	int number = (int)info.ssi_signo;
	if (number != SIGUSR1 && number != SIGHUP) {
		main_thread->signal = number;
		return;
	}
	log_reopen();
	log_message(&EVENT_LOG_REOPENED, "signal %s", number == SIGUSR1 ? "USR1" : "HUP");
	if (number == SIGHUP)
		reload_ask(main_thread->gateway->reload, "signal HUP");
}

/* From now on TERM and INT have their default actions. */
static void let_signals_kill(void)
{
	sigset_t again;
	sigemptyset(&again);
	sigaddset(&again, SIGTERM);
	sigaddset(&again, SIGINT);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	pthread_sigmask(SIG_UNBLOCK, &again, NULL);
}

/* ---------------------------------------------------------------- signs of life */

/* Whether every worker has turned since it was asked last; all are asked again. */
static bool workers_turn(const struct main_thread *main_thread, bool *lists_complete)
{
	const struct gateway *gateway = main_thread->gateway;
	bool all = true;
	*lists_complete = true;
	for (unsigned i = 0; i < gateway->config->workers; i++) {
		*lists_complete &= worker_has_lists(gateway->workers[i]);
		all &= worker_ping(gateway->workers[i]);
	}
	return all;
}

static void on_sign_due(struct loop_timer *timer, uint64_t now_us)
{
	struct main_thread *main_thread = container_of(timer, struct main_thread, sign_timer);
	uint64_t every_us = service_watchdog_us() / SIGNS_A_SPAN;
	bool complete, alive = workers_turn(main_thread, &complete);
	if (alive)
		service_tell("WATCHDOG=1");
	else if (!main_thread->stuck)
		log_message(&EVENT_WORKER_STUCK,
			    "a worker's loop has not turned for %.3f s: the service manager gets no sign of life",
			    (double)every_us / CLOCK_US_PER_S);
	main_thread->stuck = !alive;
	loop_arm(main_thread->loop, timer, clock_add(now_us, every_us));
}

/* If the service manager wants any, or the one that a predecessor has left to us. */
static void begin_signs(struct main_thread *main_thread, uint64_t wait_us)
{
	if (service_watchdog_us() != CLOCK_NEVER)
		loop_arm(main_thread->loop, &main_thread->sign_timer, clock_add(loop_now(main_thread->loop), wait_us));
}

/* ---------------------------------------------------------------- the predecessor */

/* The disk tier's folder is one process's, so it waits until the predecessor has ended; then it has its snapshot. */
static void on_predecessor(struct loop_watch *watch, uint32_t events)
{
	struct main_thread *main_thread = container_of(watch, struct main_thread, predecessor);
	const struct gateway *gateway = main_thread->gateway;
	char error[256];
	(void)events;
	if (takeover_hear(main_thread->takeover, error, sizeof error) == TAKEOVER_NOTHING)
		return;
	loop_unwatch(main_thread->loop, watch);
	main_thread->takeover = NULL;
	log_message(&EVENT_PREDECESSOR_ENDED, "all connections and calls are this process's now");
	if (gateway->disk && !disk_start(gateway->disk))
		log_message(&EVENT_DISK_CACHE_UNAVAILABLE, "cannot start its thread: %s", strerror(errno));
}

/* By the generation in force. False: there is none, and it is "". */
static bool find_door(const struct main_thread *main_thread, char path[TAKEOVER_PATH_BYTES])
{
	const struct gateway *gateway = main_thread->gateway;
	struct generation *now = reload_current(gateway->reload);
	bool found = takeover_path(gateway->config, now, path);
	generation_unref(now);
	if (!found)
		path[0] = '\0';
	return found;
}

static void tell_of_predecessor(const struct main_thread *main_thread, bool died)
{
	long pid = (long)takeover_predecessor(main_thread->takeover);
	if (died)
		log_message(&EVENT_PREDECESSOR_DIED,
			    "process %ld has ended in mid hand-over; calls and answers that were only there are lost",
			    pid);
	else
		log_message(&EVENT_TOOK_OVER, "from process %ld", pid);
}

bool main_thread_take_over(struct main_thread *main_thread, char *error, size_t error_bytes)
{
	enum takeover_news news;
	bool complete = false;
	snprintf(error, error_bytes, "a signal has ended the start; the running gateway goes on");
	do {
		loop_wait(main_thread->loop, clock_add(loop_now(main_thread->loop), LISTS_LOOK_US));
		news = takeover_hear(main_thread->takeover, error, error_bytes);
		workers_turn(main_thread, &complete);
	} while (!complete && news == TAKEOVER_NOTHING && !main_thread->signal);
	if (news == TAKEOVER_GIVEN_UP || main_thread->signal)
		return false;
	if (find_door(main_thread, main_thread->door_path))
		main_thread->door = takeover_take_door(main_thread->takeover, main_thread->door_path);
	if (news != TAKEOVER_DIED && !takeover_finish(main_thread->takeover, error, error_bytes)) {
		news = takeover_hear(main_thread->takeover, error, error_bytes);
		if (news != TAKEOVER_DIED)
			return false;
	}
	tell_of_predecessor(main_thread, news == TAKEOVER_DIED);
	/* the predecessor has given the last one; and workers have just been asked, who need time to turn */
	begin_signs(main_thread, service_watchdog_us() / SIGNS_A_SPAN);
	if (loop_watch(main_thread->loop, &main_thread->predecessor, takeover_socket(main_thread->takeover), EPOLLIN))
		return true;
	snprintf(error, error_bytes, "cannot watch the running gateway: %s", strerror(errno));
	return false;
}

/* ---------------------------------------------------------------- a successor */

static void on_taken(void *context, pid_t successor)
{
	struct main_thread *main_thread = context;
	main_thread->successor = successor;
}

void main_thread_offer(struct main_thread *main_thread)
{
	char path[TAKEOVER_PATH_BYTES], error[256];
	bool any = find_door(main_thread, path), same = strcmp(path, main_thread->door_path) == 0;
	if (main_thread->door >= 0 && !same) { /* a reload came between */
		close(main_thread->door);
		main_thread->door = -1;
	}
	memcpy(main_thread->door_path, path, sizeof path);
	if (!any)
		return;
	main_thread->offer = takeover_offer_new(main_thread->loop, main_thread->gateway->listeners, path,
						main_thread->door, on_taken, main_thread, error, sizeof error);
	main_thread->door = -1;
	if (!main_thread->offer)
		log_message(&EVENT_TAKEOVER_NOT_OFFERED, "%s", error);
}

/* A successor finds the door by the first address that we listen on, and that may be another one since a reload. Who has
 * come by the old door is heard to the end. */
static void move_door(struct main_thread *main_thread)
{
	struct takeover_offer *before = main_thread->offer;
	char path[TAKEOVER_PATH_BYTES];
	find_door(main_thread, path);
	if (main_thread->successor || takeover_offer_is_asked(before) || strcmp(path, main_thread->door_path) == 0)
		return;
	main_thread->offer = NULL;
	main_thread_offer(main_thread);
	takeover_offer_free(before);
}

/* ---------------------------------------------------------------- life */

bool main_thread_run(struct main_thread *main_thread)
{
	while (!main_thread->signal && !main_thread->successor) {
		loop_wait(main_thread->loop, CLOCK_NEVER);
		loop_run_timers(main_thread->loop);
		move_door(main_thread);
	}
	loop_disarm(main_thread->loop, &main_thread->sign_timer);
	let_signals_kill();
	if (main_thread->signal)
		log_message(&EVENT_DRAINING, "signal %s; a second one ends at once", strsignal(main_thread->signal));
	else
		log_message(&EVENT_DRAINING, "process %ld has taken over", (long)main_thread->successor);
	takeover_offer_free(main_thread->offer);
	main_thread->offer = NULL;
	return main_thread->signal != 0;
}

void main_thread_wait(struct main_thread *main_thread, uint64_t us)
{
	uint64_t until_us = clock_add(loop_now(main_thread->loop), us);
	while (loop_now(main_thread->loop) < until_us)
		loop_wait(main_thread->loop, until_us);
}

struct main_thread *main_thread_new(struct gateway *gateway, const sigset_t *signals, struct takeover *takeover)
{
	struct main_thread *main_thread = calloc(1, sizeof *main_thread);
	if (!main_thread)
		return NULL;
	main_thread->gateway = gateway;
	main_thread->takeover = takeover;
	main_thread->door = -1;
	main_thread->signals = (struct loop_watch){ on_signal, -1 };
	main_thread->predecessor = (struct loop_watch){ on_predecessor, -1 };
	main_thread->sign_timer = LOOP_TIMER_INIT(on_sign_due);
	main_thread->loop = loop_new();
	int fd = signalfd(-1, signals, SFD_NONBLOCK | SFD_CLOEXEC);
	if (!main_thread->loop || fd < 0 || !loop_timers_reserve(main_thread->loop, TIMERS) ||
	    !loop_watch(main_thread->loop, &main_thread->signals, fd, EPOLLIN)) {
		if (fd >= 0)
			close(fd);
		main_thread_free(main_thread);
		return NULL;
	}
	reload_wake(gateway->reload, main_thread->loop);
	begin_signs(main_thread, 0);
	return main_thread;
}

void main_thread_free(struct main_thread *main_thread)
{
	if (!main_thread)
		return;
	takeover_offer_free(main_thread->offer);
	if (main_thread->door >= 0)
		close(main_thread->door);
	if (main_thread->loop)
		loop_unwatch(main_thread->loop, &main_thread->predecessor);
	int fd = main_thread->signals.fd;
	if (fd >= 0) {
		loop_unwatch(main_thread->loop, &main_thread->signals);
		close(fd);
	}
	loop_free(main_thread->loop);
	free(main_thread);
}
