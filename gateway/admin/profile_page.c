/* SPDX-License-Identifier: Apache-2.0 */
/*
 * profile_page.c: a profile has a thread of its own for the time it takes: it starts the timers, empties the ring, and
 * writes what came of it, while worker 0 does what it always does. One at a time: a second would be in the first one's
 * way. It ends with its asker's connection, and with the gateway.
 */
#include "gateway/admin/profile_page.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/timed_wait.h"
#include "gateway/admin/pages.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"
#include "gateway/profile/profile.h"
#include "gateway/profile/sampler.h"
#include "gateway/profile/symbols.h"

enum { SECONDS_USUAL = 10, SECONDS_MOST = 60, STACKS_BYTES_MAX = 32 << 20, TEXT_BYTES_MAX = 64 << 20 };
#define LOOK_US (500 * CLOCK_US_PER_MS) /* for threads that have come */

/* One profile. Its thread makes the text and posts the mail, its last deed. */
struct profile_run {
	struct worker *worker;
	struct request *request; /* the worker's; NULL: the client has left */
	struct mail mail;
	enum profile_format format;
	uint64_t until_us; /* when it is over at the latest */
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t said;
	bool stop; /* m: nobody wants it any more */
	/* the thread's, and with the mail the worker's */
	struct buf text;
	bool ok;
	char error[160]; /* not ok: why; "" for want of memory */
};

/* --- the thread --- */

/* Until it is time to empty the ring. False: no more is wanted. */
static bool wait_for_more(struct profile_run *run)
{
	pthread_mutex_lock(&run->mutex);
	if (!run->stop)
		timed_wait(&run->said, &run->mutex, clock_now_us() + SAMPLER_DRAIN_MS * CLOCK_US_PER_MS);
	bool stop = run->stop;
	pthread_mutex_unlock(&run->mutex);
	return !stop && !atomic_load(&worker_gateway(run->worker)->draining) && clock_now_us() < run->until_us;
}

static void gather_samples(struct profile_run *run, struct sampler *sampler, struct stacks *stacks)
{
	uint64_t look_us = clock_now_us() + LOOK_US;
	while (wait_for_more(run)) {
		sampler_drain(sampler, stacks);
		if (clock_now_us() < look_us)
			continue;
		sampler_look(sampler);
		look_us = clock_now_us() + LOOK_US;
	}
	sampler_stop(sampler);
	sampler_drain(sampler, stacks);
}

/* False: out of memory. */
static bool write_profile(struct profile_run *run, const struct stacks *stacks, uint64_t lost, uint64_t begun_us)
{
	char title[96];
	struct symbols *symbols = symbols_new();
	if (!symbols)
		return false;
	uint64_t took_us = clock_now_us() - begun_us;
	snprintf(title, sizeof title, "jitney " JITNEY_VERSION ": CPU time of all threads within %.1f s",
		 (double)took_us / 1e6);
	const struct profile profile = {
		.stacks = stacks,
		.namer = symbols_namer(symbols),
		.title = title,
		.kind = "cpu",
		.unit = "nanoseconds",
		.counted = "samples",
		.period = 1000000000 / SAMPLER_HZ,
		.at_us = clock_wall_us() - took_us,
		.duration_us = took_us,
		.lost = stacks->lost + lost,
	};
	bool ok = profile_put(&profile, run->format, &run->text);
	symbols_free(symbols);
	return ok;
}

static void *run_profile(void *context)
{
	struct profile_run *run = context;
	struct stacks stacks;
	uint64_t begun_us = clock_now_us();
	stacks_init(&stacks, STACKS_BYTES_MAX);
	struct sampler *sampler = sampler_start(run->error, sizeof run->error);
	if (sampler) {
		gather_samples(run, sampler, &stacks);
		run->ok = write_profile(run, &stacks, sampler_lost(sampler), begun_us);
	}
	sampler_free(sampler);
	stacks_fini(&stacks);
	worker_post(run->worker, &run->mail);
	return NULL;
}

/* --- the worker --- */

static void free_run(struct profile_run *run)
{
	worker_gateway(run->worker)->profile = NULL;
	pthread_mutex_destroy(&run->mutex);
	pthread_cond_destroy(&run->said);
	buf_fini(&run->text);
	free(run);
}

static void say_stop(struct profile_run *run)
{
	pthread_mutex_lock(&run->mutex);
	run->stop = true;
	pthread_cond_signal(&run->said);
	pthread_mutex_unlock(&run->mutex);
}

static void on_left(struct request *request)
{
	struct profile_run *run = request->waits_for;
	run->request = NULL;
	say_stop(run);
}

static void reply_with_profile(struct profile_run *run)
{
	struct request *request = run->request;
	struct reply reply UNCLEARED;
	if (!run->ok && run->error[0]) {
		reply_problem(request, OUTCOME_INTERNAL, NULL, "There is no profile: %s.", run->error);
		return;
	}
	run->text.failed = run->text.failed || !run->ok;
	reply_init(&reply, 200);
	reply_header_text(&reply, "X-Request-Id", slice_of(request->id));
	reply_header_text(&reply, "Cache-Control", SLICE("no-store"));
	if (run->format == PROFILE_PPROF)
		reply_header_text(&reply, "Content-Disposition", SLICE("attachment; filename=\"profile.pb.gz\""));
	reply_send_text(request, &reply, profile_content_type(run->format), &run->text);
}

static void profile_came(struct mail *mail)
{
	struct profile_run *run = container_of(mail, struct profile_run, mail);
	pthread_join(run->thread, NULL); /* the mail was its last deed */
	if (run->request) {
		run->request->waits_for = NULL;
		reply_with_profile(run);
	}
	free_run(run);
}

static struct profile_run *new_run(struct worker *worker, struct request *request)
{
	struct profile_run *run = calloc(1, sizeof *run);
	if (!run)
		return NULL;
	run->worker = worker;
	run->request = request;
	run->mail.open = profile_came;
	buf_init(&run->text, TEXT_BYTES_MAX);
	pthread_mutex_init(&run->mutex, NULL);
	timed_wait_init(&run->said);
	worker_gateway(worker)->profile = run;
	return run;
}

static bool read_query(const struct request *request, unsigned *seconds, enum profile_format *format)
{
	struct slice how_long = request_query(request, SLICE("seconds")),
		     form = request_query(request, SLICE("format"));
	uint64_t number = SECONDS_USUAL;
	*format = PROFILE_PPROF;
	if (how_long.len && (!json_u64(how_long, &number) || number < 1 || number > SECONDS_MOST))
		return false;
	*seconds = (unsigned)number;
	return (!form.len || profile_format_of(form, format)) &&
	       request_query_count(request) == (size_t)(how_long.len > 0) + (form.len > 0);
}

/* There is one under way: when it will be over. */
static void refuse_second(const struct profile_run *run, struct request *request, uint64_t now_us)
{
	uint64_t left_us = run->until_us > now_us ? run->until_us - now_us : 0;
	unsigned left_s = (unsigned)(left_us / CLOCK_US_PER_S) + 1;
	reply_answer(request,
		     answer_upstream_error(OUTCOME_RATE_LIMITED, 0, left_s, SLICE(""),
					   "A profile is being taken, one at a time; it is over in %u s.", left_s));
}

void page_profile(struct worker *worker, struct request *request, struct slice rest)
{
	unsigned seconds;
	enum profile_format format;
	struct reply reply UNCLEARED;
	(void)rest;
	if (!read_query(request, &seconds, &format)) {
		reply_problem(
			request, OUTCOME_INVALID_REQUEST, NULL,
			"seconds is a number from 1 to %d, format one of pprof, folded and svg; nothing else is known.",
			SECONDS_MOST);
		return;
	}
	if (request->method == HTTP_HEAD) {
		reply_init(&reply, 200);
		request_reply(request, &reply);
		return;
	}
	if (worker_gateway(worker)->profile) {
		refuse_second(worker_gateway(worker)->profile, request, worker_now(worker));
		return;
	}
	struct profile_run *run = new_run(worker, request);
	if (run) {
		run->format = format;
		run->until_us = clock_now_us() + seconds * CLOCK_US_PER_S;
	}
	if (!run || pthread_create(&run->thread, NULL, run_profile, run) != 0) {
		if (run)
			free_run(run);
		reply_problem(request, OUTCOME_OVERLOADED, NULL, "The gateway is out of memory or threads.");
		return;
	}
	pthread_setname_np(run->thread, "profile");
	request->waits_for = run;
	request->gone = on_left;
}

void profile_end(struct gateway *gateway)
{
	struct profile_run *run = gateway->profile;
	if (!run)
		return;
	struct worker *worker = run->worker;
	say_stop(run);
	while (gateway->profile) /* until its mail has come */
		worker_await_mail(worker);
}
