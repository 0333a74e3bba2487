/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sender.h: the way to the collector, one for each signal (traces, metrics): a thread, where it posts to at present, and the
 * rules by which a request goes again or is given up. A collector that is slow, hangs or is gone costs what it is not told,
 * which is counted. Of this folder alone.
 */
#ifndef JITNEY_GATEWAY_TRACE_SENDER_H
#define JITNEY_GATEWAY_TRACE_SENDER_H

#include <pthread.h>
#include <time.h>

#include "base/log.h"
#include "gateway/trace/settings.h"
#include "metrics/metrics.h"

/* What is told, and how it is called. */
struct signal {
	enum otlp_signal number;
	const char *name; /* "traces": the thread's name, too */
	const char *items;
	enum metric metric; /* what became of the items */
	const struct log_event *not_sent, *sent, *rejected;
};

struct sender {
	const struct signal *signal;     /* c */
	void *(*run)(void *job);         /* c: the thread */
	void *job;                       /* c */
	pthread_t thread;                /* main's, and the reload's before that */
	bool started;                    /* likewise */
	pthread_mutex_t mutex;           /* the job's too */
	pthread_cond_t said;             /* something of m has changed */
	struct trace_settings *settings; /* m: with a route for this signal; NULL: it is told to nobody */
	unsigned changes;                /* m: of settings */
	bool stopping;                   /* m: the end has come */
	atomic_bool given_up;            /* a: which cannot wait any longer */
	atomic_uint_fast64_t items[OTLP_RESULT_COUNT], requests[OTLP_REQUEST_RESULT_COUNT]; /* a: what became of them */
	/* the thread's */
	uint64_t random;
	bool failing; /* the last request came to nothing: told once a spell */
};
/* c constant, m: under the mutex, a atomic */

/* False: the kernel has no random numbers. Main thread. */
bool sender_init(struct sender *sender, const struct signal *signal, void *(*run)(void *job), void *job) MUST_CHECK;
void sender_fini(struct sender *sender);
/* Have a thread, if there is none yet. False and errno. Main thread, or the reload's. */
bool sender_start(struct sender *sender) MUST_CHECK;
/* Where to from now on (NULL: nowhere): what is under way goes there with its next try. Likewise. */
void sender_use(struct sender *sender, struct trace_settings *settings);
/* The end has come: no pause is waited for any more. And: it has, by `until` (CLOCK_REALTIME) whatever it takes, or a second
 * later. Main thread. */
void sender_ask_end(struct sender *sender);
void sender_join(struct sender *sender, const struct timespec *until);
/* Bring its counts to the meter. Any thread, one at a time. */
void sender_show(struct sender *sender, struct meter *meter);

/* --- the sender's thread --- */

/* Until something is said, or until_us has come (timed_wait). False: it has. */
bool sender_wait_locked(struct sender *sender, uint64_t until_us);
/* The settings of now, held; NULL: nothing is told. */
struct trace_settings *sender_settings(struct sender *sender);
/* Post it, several times if need be, and count what became of its items. */
void sender_post(struct sender *sender, struct slice body, size_t items);
void sender_count(struct sender *sender, enum otlp_result result, uint64_t items);

#endif
