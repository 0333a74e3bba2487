/* SPDX-License-Identifier: Apache-2.0 */
/* traffic.c: HTTP/1.1 load over sockets of its own. */
#include "gateway/cli/perf/traffic.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <unistd.h>

enum {
	EVENTS = 256,
	SWEEP_US = 100000,    /* how often deadlines are looked at */
	CONNECT_US = 10000000 /* at_once: all connections stand within this */
};

const char *const traffic_failure_words[TRAFFIC_FAILURE_COUNT] = {
#define X(name, word) word,
	TRAFFIC_FAILURES(X)
#undef X
};

struct caller {
	STAILQ_ENTRY(caller) next; /* while idle */
	int fd;                    /* -1: not connected */
	bool connected;            /* the kernel has said so */
	bool busy;                 /* a call is under way */
	uint64_t number;           /* of that call */
	uint64_t due_us, deadline_us;
	struct wire_buf out, in;
	size_t sent;
	struct wire_message message;
};

struct traffic {
	const struct traffic_settings *settings;
	struct traffic_counts *counts;
	int epoll;
	struct caller *callers;
	STAILQ_HEAD(idle, caller) idle;
	STAILQ_HEAD(resting, caller) resting; /* could not connect: idle again when deadlines are looked at */
};

/* --- one call ------------------------------------------------------------------------------------------------ */

static void drop_connection(struct caller *caller)
{
	if (caller->fd >= 0)
		close(caller->fd); /* leaves the epoll set with it */
	caller->fd = -1;
	caller->connected = false;
	caller->in.len = 0;
	caller->message = (struct wire_message){ 0 };
}

static bool start_connect(struct traffic *traffic, struct caller *caller)
{
	const struct traffic_settings *settings = traffic->settings;
	/* A unix socket is connected at once, or waits a moment for room in the backlog: let it block. TCP must not. */
	int no_wait = settings->address.ss_family == AF_UNIX ? 0 : SOCK_NONBLOCK;
	caller->fd = socket(settings->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | no_wait, 0);
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = caller };
	if (caller->fd < 0 ||
	    (connect(caller->fd, (const struct sockaddr *)&settings->address, settings->address_len) < 0 &&
	     errno != EINPROGRESS) ||
	    epoll_ctl(traffic->epoll, EPOLL_CTL_ADD, caller->fd, &event) < 0) {
		drop_connection(caller);
		return false;
	}
	return true;
}

static void end_call(struct traffic *traffic, struct caller *caller, bool rests, uint64_t now_us)
{
	caller->busy = false;
	traffic->counts->ended++;
	traffic->counts->end_us = now_us;
	if (rests)
		STAILQ_INSERT_TAIL(&traffic->resting, caller, next);
	else
		STAILQ_INSERT_TAIL(&traffic->idle, caller, next);
}

/* Who cannot connect tries again a while later, or a gateway that starts anew would drown all else in such failures. */
static void fail_call(struct traffic *traffic, struct caller *caller, enum traffic_failure failure, uint64_t now_us)
{
	drop_connection(caller);
	if (!caller->busy)
		return;
	traffic->counts->failures[failure]++;
	end_call(traffic, caller, failure == TRAFFIC_CONNECT, now_us);
}

static void take_answer(struct traffic *traffic, struct caller *caller, uint64_t now_us)
{
	struct wire_message *message = &caller->message;
	if (message->status <= 0 || message->status >= TRAFFIC_STATUSES) {
		fail_call(traffic, caller, TRAFFIC_PROTOCOL, now_us);
		return;
	}
	traffic->counts->statuses[message->status]++;
	traffic->counts->answered++;
	uint64_t took_us = now_us > caller->due_us ? now_us - caller->due_us : 0;
	const struct traffic_answer answer = { caller->number, took_us, message, caller->in.at };
	traffic->settings->answered(traffic->settings->context, &answer);
	bool last = message->close;
	wire_drop(&caller->in, message->wire_len);
	*message = (struct wire_message){ 0 };
	if (last)
		drop_connection(caller);
	end_call(traffic, caller, false, now_us);
}

/* --- socket events ------------------------------------------------------------------------------------------- */

static bool flush_out(struct caller *caller)
{
	while (caller->sent < caller->out.len) {
		ssize_t done = send(caller->fd, caller->out.at + caller->sent, caller->out.len - caller->sent,
				    MSG_NOSIGNAL | MSG_DONTWAIT);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return errno == EAGAIN;
		caller->sent += (size_t)done;
	}
	return true;
}

static void on_readable(struct traffic *traffic, struct caller *caller, uint64_t now_us)
{
	bool open = wire_receive(&caller->in, caller->fd);
	if (caller->busy && caller->in.len > 0) {
		enum wire_state state = wire_read(&caller->message, &caller->in, traffic->settings->no_body);
		if (state == WIRE_BROKEN) {
			fail_call(traffic, caller, TRAFFIC_PROTOCOL, now_us);
			return;
		}
		if (state == WIRE_WHOLE)
			take_answer(traffic, caller, now_us);
	}
	if (!caller->busy && caller->in.len > 0) /* nobody has asked for that: it must not be the next call's answer */
		drop_connection(caller);
	if (!open && caller->fd >= 0)
		fail_call(traffic, caller, caller->connected ? TRAFFIC_CLOSED : TRAFFIC_CONNECT, now_us);
}

static void on_event(struct traffic *traffic, struct caller *caller, uint32_t events, uint64_t now_us)
{
	if (caller->fd < 0)
		return;
	if ((events & EPOLLOUT) && !(events & (EPOLLERR | EPOLLHUP)))
		caller->connected = true;
	if ((events & EPOLLOUT) && caller->busy && !flush_out(caller)) {
		fail_call(traffic, caller, caller->connected ? TRAFFIC_CLOSED : TRAFFIC_CONNECT, now_us);
		return;
	}
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP))
		on_readable(traffic, caller, now_us);
}

/* epoll_wait counts in milliseconds: a call that begins a part of one late would be told as one that took so much longer. */
static void await_events(const struct traffic *traffic, uint64_t wait_us)
{
	struct pollfd readable = { .fd = traffic->epoll, .events = POLLIN };
	const struct timespec wait = { (time_t)(wait_us / 1000000), (long)(wait_us % 1000000 * 1000) };
	ppoll(&readable, 1, &wait, NULL);
}

static void poll_once(struct traffic *traffic, uint64_t wait_us)
{
	struct epoll_event events[EVENTS];
	if (wait_us > 0 && wait_us < SWEEP_US) {
		await_events(traffic, wait_us);
		wait_us = 0;
	}
	int count = epoll_wait(traffic->epoll, events, EVENTS, (int)(wait_us / 1000));
	uint64_t now_us = wire_now_us();
	for (int i = 0; i < count; i++)
		on_event(traffic, events[i].data.ptr, events[i].events, now_us);
}

/* --- the loop ------------------------------------------------------------------------------------------------ */

static uint64_t next_due_us(const struct traffic *traffic)
{
	const struct traffic_settings *settings = traffic->settings;
	const struct traffic_counts *counts = traffic->counts;
	if (settings->due_us)
		return counts->start_us + settings->due_us(settings->context, counts->begun);
	if (settings->rate <= 0)
		return counts->start_us;
	return counts->start_us + (uint64_t)((double)counts->begun * 1e6 / settings->rate);
}

static bool may_begin(const struct traffic *traffic, uint64_t now_us)
{
	const struct traffic_settings *settings = traffic->settings;
	if (settings->calls && traffic->counts->begun >= settings->calls)
		return false;
	return !settings->seconds_us || now_us - traffic->counts->start_us < settings->seconds_us;
}

static void begin_call(struct traffic *traffic, struct caller *caller, uint64_t now_us)
{
	const struct traffic_settings *settings = traffic->settings;
	struct traffic_counts *counts = traffic->counts;
	caller->busy = true;
	caller->due_us = settings->rate > 0 || settings->due_us ? next_due_us(traffic) : now_us;
	caller->deadline_us = now_us + settings->timeout_us;
	caller->out.len = caller->sent = 0;
	caller->number = settings->write(settings->context, counts->begun++, &caller->out);
	if (caller->fd < 0 && !start_connect(traffic, caller))
		fail_call(traffic, caller, TRAFFIC_CONNECT, now_us);
	else if (!flush_out(caller))
		fail_call(traffic, caller, caller->connected ? TRAFFIC_CLOSED : TRAFFIC_CONNECT, now_us);
}

/* Begin what is due. Callers that fail at once come back to the idle ones: look at each at most once. */
static void begin_due(struct traffic *traffic, uint64_t now_us)
{
	for (size_t i = 0; i < traffic->settings->callers; i++) {
		struct caller *caller = STAILQ_FIRST(&traffic->idle);
		if (!caller || !may_begin(traffic, now_us) || next_due_us(traffic) > now_us)
			return;
		STAILQ_REMOVE_HEAD(&traffic->idle, next);
		begin_call(traffic, caller, now_us);
	}
}

/* Ends the calls whose time is over; who could not connect may try again. */
static void end_late_calls(struct traffic *traffic, uint64_t now_us)
{
	STAILQ_CONCAT(&traffic->idle, &traffic->resting);
	for (size_t i = 0; i < traffic->settings->callers; i++) {
		struct caller *caller = &traffic->callers[i];
		if (caller->busy && caller->deadline_us <= now_us)
			fail_call(traffic, caller, TRAFFIC_TIMEOUT, now_us);
	}
}

static uint64_t choose_wait_us(const struct traffic *traffic, uint64_t now_us)
{
	uint64_t wait_us = SWEEP_US;
	if (!STAILQ_EMPTY(&traffic->idle) && may_begin(traffic, now_us)) {
		uint64_t due_us = next_due_us(traffic);
		wait_us = due_us > now_us ? due_us - now_us : 0;
	}
	return wait_us < SWEEP_US ? wait_us : SWEEP_US;
}

static void connect_all(struct traffic *traffic)
{
	uint64_t limit_us = wire_now_us() + CONNECT_US;
	for (size_t i = 0; i < traffic->settings->callers; i++)
		start_connect(traffic, &traffic->callers[i]);
	for (size_t i = 0; i < traffic->settings->callers && wire_now_us() < limit_us;) {
		if (traffic->callers[i].connected || traffic->callers[i].fd < 0)
			i++;
		else
			poll_once(traffic, SWEEP_US);
	}
}

static bool goes_on(const struct traffic *traffic, uint64_t now_us)
{
	const struct traffic_settings *settings = traffic->settings;
	return !settings->going_on || settings->going_on(settings->context, now_us);
}

static void run_load(struct traffic *traffic)
{
	if (traffic->settings->at_once)
		connect_all(traffic);
	uint64_t now_us = wire_now_us(), swept_us = now_us;
	traffic->counts->start_us = traffic->counts->end_us = now_us;
	while ((may_begin(traffic, now_us) || traffic->counts->ended < traffic->counts->begun) &&
	       goes_on(traffic, now_us)) {
		begin_due(traffic, now_us);
		poll_once(traffic, choose_wait_us(traffic, now_us));
		now_us = wire_now_us();
		if (now_us - swept_us >= SWEEP_US) {
			end_late_calls(traffic, now_us);
			swept_us = now_us;
		}
	}
}

bool traffic_run(const struct traffic_settings *settings, struct traffic_counts *counts)
{
	struct traffic traffic = { .settings = settings, .counts = counts, .epoll = epoll_create1(EPOLL_CLOEXEC) };
	*counts = (struct traffic_counts){ 0 };
	STAILQ_INIT(&traffic.idle);
	STAILQ_INIT(&traffic.resting);
	traffic.callers = calloc(settings->callers, sizeof *traffic.callers);
	bool ready = traffic.callers && traffic.epoll >= 0;
	for (size_t i = 0; ready && i < settings->callers; i++) {
		traffic.callers[i].fd = -1;
		STAILQ_INSERT_TAIL(&traffic.idle, &traffic.callers[i], next);
	}
	if (ready)
		run_load(&traffic);
	for (size_t i = 0; ready && i < settings->callers; i++) {
		drop_connection(&traffic.callers[i]);
		wire_free(&traffic.callers[i].out);
		wire_free(&traffic.callers[i].in);
	}
	free(traffic.callers);
	if (traffic.epoll >= 0)
		close(traffic.epoll);
	return ready;
}
