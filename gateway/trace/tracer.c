/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tracer.c: a queue under a short mutex, and the exporter's thread. It takes what has come within a second, or a requestful,
 * and posts it; what the collector asks to have again (429, 502, 503, 504, or no answer) goes again a few times, with its
 * Retry-After or a pause that doubles; meanwhile the queue fills up, and what has no room is dropped.
 */
#include "gateway/trace/tracer.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "gateway/trace/otlp.h"
#include "upstream/http/client.h"

enum { REQUEST_CALLS = 512, REQUEST_BYTES_MAX = 16 << 20, ANSWER_BYTES_MAX = 64 * 1024, TRIES = 5, HEADERS_OWN = 1 };
#define GATHER_US CLOCK_US_PER_S      /* how long calls are gathered for a request */
#define POST_US (10 * CLOCK_US_PER_S) /* one try */
#define FIRST_PAUSE_US CLOCK_US_PER_S /* before the second try */
#define LONGEST_PAUSE_US (30 * CLOCK_US_PER_S)
#define LAST_WORDS_US (2 * CLOCK_US_PER_S) /* what is queued at the end may take so long */

struct tracer {
	const struct trace_settings *settings;
	struct meter *meter; /* the thread's */
	pthread_t thread;
	bool started;
	pthread_mutex_t mutex;
	pthread_cond_t said;
	struct traced_calls queue; /* m */
	size_t queued;             /* m: calls in it */
	bool stopping;             /* m: no call comes any more */
	atomic_bool given_up;      /* a: the end cannot wait any longer */
	/* the thread's */
	struct otlp otlp;
	uint64_t random;
	bool failing; /* the last request came to nothing: told once a spell */
};

/* --- any thread --- */

struct tracer *tracer_new(const struct trace_settings *settings, struct metrics *metrics)
{
	pthread_condattr_t clock;
	struct tracer *tracer = calloc(1, sizeof *tracer);
	if (!tracer)
		return NULL;
	tracer->settings = tracer->otlp.settings = settings;
	tracer->meter = metrics_meter(metrics);
	if (!tracer->meter || getrandom(&tracer->otlp.seed, sizeof tracer->otlp.seed, 0) < 0) {
		free(tracer);
		return NULL;
	}
	tracer->random = random_seeded(tracer->otlp.seed);
	TAILQ_INIT(&tracer->queue);
	pthread_mutex_init(&tracer->mutex, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&tracer->said, &clock);
	pthread_condattr_destroy(&clock);
	return tracer;
}

static void free_calls(struct traced_calls *calls)
{
	struct traced_call *call;
	while ((call = TAILQ_FIRST(calls))) {
		TAILQ_REMOVE(calls, call, next);
		free(call);
	}
}

void tracer_free(struct tracer *tracer)
{
	if (!tracer)
		return;
	free_calls(&tracer->queue);
	pthread_mutex_destroy(&tracer->mutex);
	pthread_cond_destroy(&tracer->said);
	free(tracer);
}

unsigned tracer_percent(const struct tracer *tracer)
{
	return tracer->settings->percent;
}

void tracer_keep(struct tracer *tracer, const struct traced_call *call, struct meter *meter)
{
	struct traced_call *copy = malloc(sizeof *copy);
	if (copy) {
		*copy = *call;
		pthread_mutex_lock(&tracer->mutex);
		bool room = tracer->queued < TRACER_QUEUE_CALLS;
		if (room) {
			TAILQ_INSERT_TAIL(&tracer->queue, copy, next);
			if (++tracer->queued == REQUEST_CALLS)
				pthread_cond_signal(&tracer->said);
		}
		pthread_mutex_unlock(&tracer->mutex);
		if (room)
			return;
		free(copy);
	}
	meter_add(meter, METRIC_ID_OTLP_SPANS, OTLP_QUEUE_FULL, 0, 1);
}

/* --- the thread --- */

static struct timespec moment_in(uint64_t us)
{
	struct timespec moment;
	clock_gettime(CLOCK_MONOTONIC, &moment);
	uint64_t ns = (uint64_t)moment.tv_nsec + us % CLOCK_US_PER_S * 1000;
	moment.tv_sec += (time_t)(us / CLOCK_US_PER_S + ns / 1000000000);
	moment.tv_nsec = (long)(ns % 1000000000);
	return moment;
}

/* Gather for a while; then those that make one request. False: it is the end, and there are none. */
static bool take_calls(struct tracer *tracer, struct traced_calls *calls)
{
	const struct timespec until = moment_in(GATHER_US);
	int result = 0;
	TAILQ_INIT(calls);
	pthread_mutex_lock(&tracer->mutex);
	while (!tracer->stopping && tracer->queued < REQUEST_CALLS && result == 0)
		result = pthread_cond_timedwait(&tracer->said, &tracer->mutex, &until);
	for (size_t i = 0; i < REQUEST_CALLS && tracer->queued; i++, tracer->queued--) {
		struct traced_call *call = TAILQ_FIRST(&tracer->queue);
		TAILQ_REMOVE(&tracer->queue, call, next);
		TAILQ_INSERT_TAIL(calls, call, next);
	}
	bool more = !tracer->stopping || !TAILQ_EMPTY(calls);
	pthread_mutex_unlock(&tracer->mutex);
	return more;
}

/* False: it is the end, and there is no time for another try. */
static bool pause_for(struct tracer *tracer, uint64_t us)
{
	const struct timespec until = moment_in(us);
	int result = 0;
	pthread_mutex_lock(&tracer->mutex);
	while (!tracer->stopping && result == 0)
		result = pthread_cond_timedwait(&tracer->said, &tracer->mutex, &until);
	bool stopping = tracer->stopping;
	pthread_mutex_unlock(&tracer->mutex);
	return !stopping;
}

static void count_spans(struct tracer *tracer, enum otlp_result result, uint64_t spans)
{
	if (spans)
		meter_add(tracer->meter, METRIC_ID_OTLP_SPANS, result, 0, spans);
}

static void tell_failure(struct tracer *tracer, const char *why)
{
	if (!tracer->failing)
		log_message(&EVENT_TRACES_NOT_SENT, "%s: %s", tracer->settings->shown, why);
	tracer->failing = true;
}

static void tell_success(struct tracer *tracer)
{
	if (tracer->failing)
		log_message(&EVENT_TRACES_SENT, "%s takes traces again", tracer->settings->shown);
	tracer->failing = false;
}

enum verdict { TAKEN, REFUSED, AGAIN };

/* How it went with an answer: `why` says what is wrong with it. */
static enum verdict judge_answer(struct tracer *tracer, const struct client_reply *reply, size_t spans, char *why,
				 size_t why_bytes)
{
	uint64_t rejected;
	char said[128];
	if (reply->status == 429 || (reply->status >= 502 && reply->status <= 504)) {
		snprintf(why, why_bytes, "status %u", reply->status);
		return AGAIN;
	}
	if (reply->status < 200 || reply->status > 299) {
		snprintf(why, why_bytes, "status %u", reply->status);
		return REFUSED;
	}
	/* Whoever takes all may say so in any form: the status counts */
	if (!otlp_read_answer(buf_slice(&reply->body), &rejected, said, sizeof said))
		rejected = 0;
	rejected = rejected < spans ? rejected : spans;
	if (rejected)
		log_message(&EVENT_TRACES_REJECTED, "%s did not take %" PRIu64 " of %zu spans: %s",
			    tracer->settings->shown, rejected, spans, said);
	count_spans(tracer, OTLP_REJECTED, rejected);
	count_spans(tracer, OTLP_SENT, spans - rejected);
	return TAKEN;
}

/* The collector's wish, or twice as long as before, a little more or less, so that a fleet does not come together. */
static uint64_t choose_pause(struct tracer *tracer, const char *retry_after, unsigned tries)
{
	char *end;
	unsigned long seconds = strtoul(retry_after, &end, 10);
	uint64_t us = (FIRST_PAUSE_US << tries) / 2;
	us += (uint64_t)((double)us * random_part(&tracer->random));
	if (end != retry_after && *end == '\0')
		us = seconds < LONGEST_PAUSE_US / CLOCK_US_PER_S ? seconds * CLOCK_US_PER_S : LONGEST_PAUSE_US;
	return us < LONGEST_PAUSE_US ? us : LONGEST_PAUSE_US;
}

static enum verdict post_once(struct tracer *tracer, struct slice body, size_t spans, struct client_wanted *wanted,
			      char *why, size_t why_bytes)
{
	const struct trace_settings *settings = tracer->settings;
	struct upstream_header headers[TRACE_HEADERS_MOST + HEADERS_OWN] = { { "Content-Type",
									       "application/x-protobuf" } };
	for (size_t i = 0; i < settings->header_count; i++)
		headers[HEADERS_OWN + i] = settings->headers[i];
	const struct client_request request = {
		.server = settings->server,
		.path = settings->path,
		.method = "POST",
		.headers = headers,
		.header_count = HEADERS_OWN + settings->header_count,
		.has_body = true,
		.body = body,
		.timeout_us = POST_US,
		.cancelled = &tracer->given_up,
	};
	struct client_reply reply = { .body = BUF_INIT(ANSWER_BYTES_MAX), .wanted = wanted, .wanted_count = 1 };
	wanted->value[0] = '\0';
	enum verdict verdict = AGAIN;
	if (client_fetch(&request, &reply, why, why_bytes))
		verdict = judge_answer(tracer, &reply, spans, why, why_bytes);
	buf_fini(&reply.body);
	return verdict;
}

static void post_spans(struct tracer *tracer, struct slice body, size_t spans)
{
	struct client_wanted retry_after = { .name = "Retry-After" };
	enum verdict verdict = AGAIN;
	char why[256];
	for (unsigned tries = 1; verdict == AGAIN; tries++) {
		verdict = post_once(tracer, body, spans, &retry_after, why, sizeof why);
		bool again = verdict == AGAIN && tries < TRIES && !atomic_load(&tracer->given_up);
		meter_add(tracer->meter, METRIC_ID_OTLP_REQUESTS,
			  verdict == TAKEN ? OTLP_REQUEST_OK
			  : again          ? OTLP_REQUEST_REPEATED
					   : OTLP_REQUEST_FAILED,
			  0, 1);
		if (again && pause_for(tracer, choose_pause(tracer, retry_after.value, tries)))
			continue;
		if (verdict == AGAIN)
			verdict = REFUSED;
	}
	if (verdict == TAKEN) {
		tell_success(tracer);
		return;
	}
	count_spans(tracer, OTLP_FAILED, spans);
	tell_failure(tracer, why);
}

static void *run_tracer(void *context)
{
	struct tracer *tracer = context;
	struct traced_calls calls;
	meter_claim(tracer->meter);
	while (take_calls(tracer, &calls)) {
		struct buf body = BUF_INIT(REQUEST_BYTES_MAX);
		size_t spans = TAILQ_EMPTY(&calls) ? 0 : otlp_put_request(&tracer->otlp, &calls, &body);
		if (spans)
			post_spans(tracer, buf_slice(&body), spans);
		else if (!TAILQ_EMPTY(&calls))
			count_spans(tracer, OTLP_FAILED, 1);
		buf_fini(&body);
		free_calls(&calls);
	}
	meter_release(tracer->meter);
	return NULL;
}

/* --- the main thread --- */

bool tracer_start(struct tracer *tracer)
{
	int result = pthread_create(&tracer->thread, NULL, run_tracer, tracer);
	tracer->started = result == 0;
	errno = result;
	if (tracer->started)
		pthread_setname_np(tracer->thread, "traces");
	return tracer->started;
}

void tracer_stop(struct tracer *tracer)
{
	struct timespec until;
	if (!tracer || !tracer->started)
		return;
	pthread_mutex_lock(&tracer->mutex);
	tracer->stopping = true;
	pthread_cond_signal(&tracer->said);
	pthread_mutex_unlock(&tracer->mutex);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += LAST_WORDS_US / CLOCK_US_PER_S;
	if (pthread_timedjoin_np(tracer->thread, NULL, &until) != 0) {
		atomic_store(&tracer->given_up, true);
		pthread_join(tracer->thread, NULL);
	}
	tracer->started = false;
}
