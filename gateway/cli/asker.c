/* SPDX-License-Identifier: Apache-2.0 */
/* asker.c: the thread that asks a gateway. */
#include "gateway/cli/asker.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/timed_wait.h"

struct asker {
	const struct cli_client *setup; /* c */
	uint64_t interval_us;           /* c */
	int fd;                         /* c: eventfd */
	pthread_t thread;               /* c */
	atomic_bool ending;
	pthread_mutex_t mutex;
	pthread_cond_t changed;      /* m: there is a wish */
	bool calls, paused, at_once; /* m: what is wished for */
	bool has_news;               /* m */
	struct asker_news news;      /* m */
	struct gateway_stats fresh;  /* m: of the last answer, if it has not been taken */
};
/* c constant, m under the mutex */

/* Until the next question is due. The mutex is held, and given up meanwhile. */
static void wait_for_turn(struct asker *asker)
{
	uint64_t due_us = clock_now_us() + asker->interval_us;
	bool due = false;
	while (!atomic_load(&asker->ending) && !asker->at_once && (asker->paused || !due))
		due = !timed_wait(&asker->changed, &asker->mutex, asker->paused ? CLOCK_NEVER : due_us);
	asker->at_once = false;
}

/* The mutex is held. */
static void tell_news(struct asker *asker, const struct asker_news *news, struct gateway_stats *stats)
{
	asker->news = *news;
	asker->has_news = true;
	if (news->answered) {
		struct gateway_stats old = asker->fresh;
		asker->fresh = *stats;
		*stats = old;
	}
	asker_wake(asker);
}

static void *ask_always(void *context)
{
	struct asker *asker = context;
	struct gateway_stats stats = { 0 };
	struct asker_news news;
	pthread_mutex_lock(&asker->mutex);
	while (!atomic_load(&asker->ending)) {
		bool calls = asker->calls;
		pthread_mutex_unlock(&asker->mutex);
		news.error[0] = '\0';
		news.answered = gateway_stats_ask(&stats, asker->setup, calls, &asker->ending, news.error);
		pthread_mutex_lock(&asker->mutex);
		tell_news(asker, &news, &stats);
		wait_for_turn(asker);
	}
	pthread_mutex_unlock(&asker->mutex);
	gateway_stats_fini(&stats);
	return NULL;
}

/* Signals are for the thread that has the terminal. */
static bool start_thread(struct asker *asker)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	bool ok = pthread_create(&asker->thread, NULL, ask_always, asker) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return ok;
}

struct asker *asker_new(const struct cli_client *setup, uint64_t interval_us)
{
	struct asker *asker = calloc(1, sizeof *asker);
	if (!asker)
		return NULL;
	asker->setup = setup;
	asker->interval_us = interval_us;
	asker->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&asker->mutex, NULL);
	timed_wait_init(&asker->changed);
	if (asker->fd >= 0 && start_thread(asker))
		return asker;
	if (asker->fd >= 0)
		close(asker->fd);
	free(asker);
	return NULL;
}

void asker_free(struct asker *asker)
{
	if (!asker)
		return;
	pthread_mutex_lock(&asker->mutex);
	atomic_store(&asker->ending, true);
	pthread_cond_signal(&asker->changed);
	pthread_mutex_unlock(&asker->mutex);
	pthread_join(asker->thread, NULL);
	close(asker->fd);
	gateway_stats_fini(&asker->fresh);
	pthread_cond_destroy(&asker->changed);
	pthread_mutex_destroy(&asker->mutex);
	free(asker);
}

int asker_fd(const struct asker *asker)
{
	return asker->fd;
}

void asker_wake(const struct asker *asker)
{
	uint64_t one = 1;
	ssize_t wrote = write(asker->fd, &one, sizeof one);
	(void)wrote; /* it is readable already, if there was no room */
}

void asker_want(struct asker *asker, bool calls, bool paused)
{
	pthread_mutex_lock(&asker->mutex);
	asker->at_once = !paused;
	asker->calls = calls;
	asker->paused = paused;
	pthread_cond_signal(&asker->changed);
	pthread_mutex_unlock(&asker->mutex);
}

bool asker_take(struct asker *asker, struct asker_news *news, struct gateway_stats *stats)
{
	uint64_t count;
	ssize_t got = read(asker->fd, &count, sizeof count);
	(void)got;
	pthread_mutex_lock(&asker->mutex);
	bool has_news = asker->has_news;
	if (has_news)
		*news = asker->news;
	if (has_news && news->answered) {
		struct gateway_stats old = *stats;
		*stats = asker->fresh;
		asker->fresh = old;
	}
	asker->has_news = false;
	pthread_mutex_unlock(&asker->mutex);
	return has_news;
}
