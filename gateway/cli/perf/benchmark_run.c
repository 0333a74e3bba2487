/* SPDX-License-Identifier: Apache-2.0 */
/* benchmark_run.c: one step after the other, with an eye on the gateway's memory. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "gateway/cli/asker.h"
#include "gateway/cli/perf/benchmark.h"
#include "gateway/cli/perf/latencies.h"
#include "gateway/cli/text_table.h"

enum { LOOK_US = 100000, REPORT_US = 500000, ASK_US = 500000, SETTLE_S = 1, DESCRIPTORS_BESIDE = 64 };

/* Of a sweep's fastest rate, what the steps after it ask for. */
static const double sweep_shares[] = { 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1 };
#define BAD_SHARE_MAX 0.001 /* of a step's calls, if it is to count for a bound */

static atomic_bool interrupted; /* without a lock, so that a signal handler may set it */

static void note_interrupt(int number)
{
	(void)number;
	atomic_store(&interrupted, true);
}

/* A benchmark under way. */
struct run {
	const struct benchmark *benchmark;
	struct bench_result *result;
	struct latencies *latencies; /* of the step */
	uint64_t refused;            /* in it */
	double rate;                 /* of the step */
	size_t step, steps;
	uint64_t began_us, looked_us, reported_us;
	bool report;
	struct asker *asker; /* NULL: the gateway's memory is not known */
	struct gateway_stats stats;
};

/* --- the gateway's memory --- */

static double resident_bytes(const struct gateway_stats *stats)
{
	return stats_count(stats_member(stats->root, "process"), "rss_bytes");
}

/* Before the load. That nobody tells is no reason not to go on. */
static void begin_memory(struct run *run)
{
	char error[STATS_ERROR_BYTES];
	struct bench_result *result = run->result;
	struct buf version = BUF_INIT(RESULT_TEXT_BYTES);
	if (!gateway_stats_ask(&run->stats, &run->benchmark->admin, false, &interrupted, error)) {
		if (interrupted)
			return;
		fprintf(stderr, "jitney perf: memory is not measured: %s; --admin URL names the admin listener\n",
			error);
		return;
	}
	struct slice text = stats_text(run->stats.root, "version", &version);
	snprintf(result->version, sizeof result->version, "%.*s", SLICE_ARG(text));
	buf_fini(&version);
	result->rss_idle = result->rss_loaded = resident_bytes(&run->stats);
	run->asker = asker_new(&run->benchmark->admin, ASK_US);
}

static void look_at_memory(struct run *run)
{
	struct asker_news news;
	if (run->asker && asker_take(run->asker, &news, &run->stats) && news.answered)
		run->result->rss_loaded = fmax(run->result->rss_loaded, resident_bytes(&run->stats));
}

/* A while after the load, so that what a burst took has been given back. */
static void end_memory(struct run *run)
{
	char error[STATS_ERROR_BYTES];
	const struct timespec pause = { .tv_sec = SETTLE_S };
	if (run->asker) {
		look_at_memory(run);
		asker_free(run->asker);
		if (!interrupted)
			nanosleep(&pause, NULL);
		if (!interrupted && gateway_stats_ask(&run->stats, &run->benchmark->admin, false, &interrupted, error))
			run->result->rss_after = resident_bytes(&run->stats);
		run->result->rss_loaded = fmax(run->result->rss_loaded, run->result->rss_after);
	}
	gateway_stats_fini(&run->stats);
}

/* --- a step --- */

static uint64_t write_call(void *context, uint64_t sequence, struct wire_buf *out)
{
	const struct run *run = context;
	call_list_write(&run->benchmark->calls, &run->benchmark->target, sequence, out);
	return sequence;
}

static void take_answer(void *context, const struct traffic_answer *answer)
{
	struct run *run = context;
	latencies_add(run->latencies, answer->took_us);
	run->refused += answer->message->status >= 400;
}

static uint64_t find_due_us(void *context, uint64_t sequence)
{
	const struct call_list *calls = &((const struct run *)context)->benchmark->calls;
	return calls->calls[sequence < calls->count ? sequence : calls->count - 1].at_us;
}

static void report_progress(const struct run *run, uint64_t now_us)
{
	struct text_cell rate, p99;
	text_cell_put(&rate, SLICE("as fast as answers come"));
	if (run->rate > 0)
		text_cell_number(&rate, run->rate);
	text_cell_time(&p99, (double)latencies_quantile(run->latencies, 0.99));
	fprintf(stderr, "\rstep %zu of %zu, %s%s: %.0f s, %llu answered, p99 %s\033[K", run->step, run->steps,
		rate.text, run->rate > 0 ? "/s" : "", (double)(now_us - run->began_us) / 1e6,
		(unsigned long long)run->latencies->count, p99.text);
}

static bool go_on(void *context, uint64_t now_us)
{
	struct run *run = context;
	if (now_us - run->looked_us >= LOOK_US) {
		run->looked_us = now_us;
		look_at_memory(run);
	}
	if (run->report && now_us - run->reported_us >= REPORT_US) {
		run->reported_us = now_us;
		report_progress(run, now_us);
	}
	return !interrupted;
}

static void fill_step(const struct run *run, const struct traffic_counts *counts, struct bench_step *step)
{
	const struct latencies *latencies = run->latencies;
	uint64_t end_us = interrupted ? wire_now_us() : counts->end_us;
	step->rate = run->rate;
	step->seconds = (double)(end_us - counts->start_us) / 1e6;
	step->calls = counts->ended;
	step->answered = counts->answered;
	step->refused = run->refused;
	memcpy(step->failures, counts->failures, sizeof step->failures);
	memcpy(step->statuses, counts->statuses, sizeof step->statuses);
	step->p50_us = latencies_quantile(latencies, 0.5);
	step->p90_us = latencies_quantile(latencies, 0.9);
	step->p99_us = latencies_quantile(latencies, 0.99);
	step->p999_us = latencies_quantile(latencies, 0.999);
	step->max_us = latencies->most_us;
	step->mean_us = latencies->count ? latencies->sum_us / latencies->count : 0;
	for (size_t i = 0; i < CURVE_POINTS; i++)
		step->curve_us[i] = latencies_quantile(latencies, result_shares[i]);
}

/* False: no memory or descriptors. */
static bool run_step(struct run *run, double rate)
{
	const struct benchmark *benchmark = run->benchmark;
	bool timed = benchmark->calls.timed;
	struct traffic_counts counts;
	const struct traffic_settings settings = {
		.address = benchmark->target.address,
		.address_len = benchmark->target.address_len,
		.callers = benchmark->callers,
		.calls = benchmark->count ? benchmark->count
			 : timed          ? benchmark->calls.count
					  : 0,
		.seconds_us = benchmark->seconds_us,
		.timeout_us = benchmark->client.timeout_us,
		.rate = rate,
		.context = run,
		.write = write_call,
		.answered = take_answer,
		.due_us = timed ? find_due_us : NULL,
		.going_on = go_on,
	};
	*run->latencies = (struct latencies){ 0 };
	run->refused = 0;
	run->rate = rate;
	run->step++;
	run->began_us = run->reported_us = wire_now_us();
	if (!traffic_run(&settings, &counts))
		return false;
	if (run->report)
		fputs("\r\033[K", stderr);
	fill_step(run, &counts, &run->result->steps[run->result->step_count++]);
	return true;
}

/* --- all steps --- */

/* The fastest rate whose p99 was below each bound. */
static void find_bounds(struct bench_result *result)
{
	for (size_t i = 0; i < result->step_count; i++) {
		const struct bench_step *step = &result->steps[i];
		if (step->rate <= 0 || (double)step_bad_calls(step) > BAD_SHARE_MAX * (double)step->calls)
			continue;
		for (size_t bound = 0; bound < BOUNDS_COUNT; bound++)
			if (step->answered && (double)step->p99_us <= 1000 * result_bounds_ms[bound])
				result->under[bound] = fmax(result->under[bound], step_good_rate(step));
	}
}

/* How fast at all, then at shares of that. */
static bool run_sweep(struct run *run)
{
	run->steps = 1 + countof(sweep_shares);
	if (!run_step(run, 0))
		return false;
	double fastest = step_good_rate(&run->result->steps[0]);
	for (size_t i = 0; fastest > 0 && !interrupted && i < countof(sweep_shares); i++)
		if (!run_step(run, fastest * sweep_shares[i]))
			return false;
	find_bounds(run->result);
	return true;
}

/* As many descriptors as callers need, if they may be had. */
static bool have_descriptors(const struct benchmark *benchmark, char error[CALL_LIST_ERROR_BYTES])
{
	struct rlimit limit;
	rlim_t wanted = benchmark->callers + DESCRIPTORS_BESIDE;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
		return true;
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= wanted)
		return true;
	snprintf(error, CALL_LIST_ERROR_BYTES, "%llu callers need %llu descriptors, and %llu are allowed (ulimit -n)",
		 (unsigned long long)benchmark->callers, (unsigned long long)wanted,
		 (unsigned long long)limit.rlim_cur);
	return false;
}

bool benchmark_run(const struct benchmark *benchmark, struct bench_result *result, char error[CALL_LIST_ERROR_BYTES])
{
	struct run run = { .benchmark = benchmark, .result = result, .steps = 1, .report = isatty(STDERR_FILENO) };
	struct sigaction action = { .sa_handler = note_interrupt, .sa_flags = (int)SA_RESETHAND }, before;
	if (!have_descriptors(benchmark, error))
		return false;
	run.latencies = calloc(1, sizeof *run.latencies);
	atomic_store(&interrupted, false);
	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, &before);
	begin_memory(&run);
	bool ok = run.latencies && (benchmark->sweep ? run_sweep(&run) : run_step(&run, benchmark->rate));
	end_memory(&run);
	sigaction(SIGINT, &before, NULL);
	result->interrupted = interrupted;
	free(run.latencies);
	if (!ok)
		snprintf(error, CALL_LIST_ERROR_BYTES, "out of memory or descriptors");
	return ok;
}
