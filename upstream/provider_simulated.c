/* provider_simulated.c: plays the law of provider_model.h by the loop's clock. No byte is sent. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "base/random.h"
#include "upstream/provider.h"
#include "upstream/provider_model.h"

#define REFUSAL_US 200  /* a provider that refuses does so at once */
#define LONGEST_US 1e15 /* of a law whose figures came from anywhere */

TAILQ_HEAD(job_list, job);

/* One call of a request. */
struct part {
	uint64_t at_us; /* its answer is sent; before what freezes add */
	size_t index;
	bool repeatable;
};

/* One request at the provider. */
struct job {
	struct exchange base; /* what the caller holds */
	struct simulated *simulated;
	const struct upstream_events *events;
	void *context;
	bool aborted; /* nobody is to be told; the provider works on all the same */
	bool holds_slot;
	unsigned refused; /* the status with which it ends as a whole; 0: it is answered */
	bool unreachable; /* nothing was sent */
	struct loop_timer timer;
	TAILQ_ENTRY(job) next;
	uint64_t frozen_us; /* what freezes have added */
	size_t count, told; /* calls; of those, the ones who have their answer or refusal */
	struct part parts[];
};

struct simulated {
	struct upstream base;
	const struct provider_model *model; /* of the present episode */
	uint64_t since_us;                  /* when that began */
	struct loop_timer episode;
	struct answer *answer; /* everybody's */
	uint64_t random;
	double next_us;       /* the rate: when the next request would come if they came evenly */
	size_t busy;          /* slots */
	struct job_list jobs; /* begun */
	struct job_list line; /* for a slot */
};

/* --- the law --- */

static double random_normal(uint64_t *state)
{
	double radius = sqrt(-2 * log(random_part(state)));
	return radius * cos(2 * M_PI * random_part(state)); /* Box and Muller 1958 */
}

static double draw_latency(const struct latency *latency, uint64_t *random)
{
	switch (latency->shape) {
	case LATENCY_BIMODAL:
		return random_part(random) <= latency->share ? latency->high_us : latency->low_us;
	case LATENCY_LOG_NORMAL:
		return latency->low_us * exp(latency->sigma * random_normal(random));
	case LATENCY_LOG_UNIFORM:
		return latency->low_us * pow(latency->high_us / latency->low_us, random_part(random));
	case LATENCY_NONE:
	default:
		return 0;
	}
}

/* By how much a request takes longer than the law's plain parts say. */
static double draw_factor(struct simulated *simulated)
{
	const struct provider_model *model = simulated->model;
	double factor = 1;
	if (model->factors) {
		size_t drawn = (size_t)(random_part(&simulated->random) * (double)model->factor_count);
		factor = model->factors[drawn < model->factor_count ? drawn : model->factor_count - 1];
	}
	if (model->knee && simulated->busy > model->knee)
		factor *= pow((double)simulated->busy / (double)model->knee, 1.5);
	return factor;
}

static int by_time(const void *a, const void *b)
{
	const struct part *x = a, *y = b;
	return x->at_us < y->at_us ? -1 : x->at_us > y->at_us;
}

/* When each call of a request that is begun at begin_us is answered. */
static void plan_answers(struct job *job, uint64_t begin_us)
{
	struct simulated *simulated = job->simulated;
	const struct provider_model *model = simulated->model;
	double factor = draw_factor(simulated), count = (double)job->count, own_us = 0, last_us = 0;
	for (size_t i = 0; i < job->count; i++) {
		double drawn_us = draw_latency(&model->call, &simulated->random);
		own_us = model->in_turn ? own_us + drawn_us : drawn_us;
		double shared_us = (model->item_us + model->square_us * count) * (double)(i + 1);
		double takes_us = fmin(((double)model->fixed_us + shared_us + own_us) * factor, LONGEST_US);
		last_us = takes_us > last_us ? takes_us : last_us;
		job->parts[i].at_us = clock_add(begin_us, (uint64_t)takes_us);
	}
	if (model->streamed && !job->refused)
		qsort(job->parts, job->count, sizeof *job->parts, by_time);
	else
		for (size_t i = 0; i < job->count; i++)
			job->parts[i].at_us = clock_add(begin_us, (uint64_t)last_us);
}

/* Whether the rate lets one more in; it is counted then. */
static bool let_in(struct simulated *simulated, uint64_t now_us)
{
	const struct provider_model *model = simulated->model;
	if (model->rate_per_s <= 0)
		return true;
	double step_us = 1e6 / model->rate_per_s, now = (double)now_us;
	double due_us = simulated->next_us > now ? simulated->next_us : now;
	if (due_us - now > step_us * model->rate_burst)
		return false;
	simulated->next_us = due_us + step_us;
	return true;
}

/* --- jobs --- */

/* When the present episode ends. */
static uint64_t episode_end_us(const struct simulated *simulated)
{
	return simulated->model->lasts_us ? clock_add(simulated->since_us, simulated->model->lasts_us) : CLOCK_NEVER;
}

static void arm(struct job *job)
{
	loop_arm(job->simulated->base.loop, &job->timer, clock_add(job->parts[job->told].at_us, job->frozen_us));
}

static void start(struct job *job)
{
	struct simulated *simulated = job->simulated;
	uint64_t begin_us = loop_now(simulated->base.loop);
	if (simulated->model->state == PROVIDER_FROZEN)
		begin_us = episode_end_us(simulated);
	simulated->busy++;
	job->holds_slot = true;
	TAILQ_INSERT_TAIL(&simulated->jobs, job, next);
	plan_answers(job, begin_us);
	arm(job);
}

static void job_free(struct job *job)
{
	loop_disarm(job->simulated->base.loop, &job->timer);
	loop_timers_release(job->simulated->base.loop, 1);
	free(job);
}

static bool has_slot(const struct simulated *simulated)
{
	return !simulated->model->slots || simulated->busy < simulated->model->slots;
}

static void start_waiting(struct simulated *simulated)
{
	struct job *job;
	while ((job = TAILQ_FIRST(&simulated->line)) && has_slot(simulated)) {
		TAILQ_REMOVE(&simulated->line, job, next);
		start(job);
	}
}

/* What those who have no answer yet are told of the whole. */
static struct answer *whole_answer(const struct job *job)
{
	if (job->unreachable)
		return answer_error(OUTCOME_UPSTREAM_UNAVAILABLE, "The provider cannot be reached.");
	enum outcome outcome = job->refused == 429 ? OUTCOME_RATE_LIMITED : OUTCOME_UPSTREAM_ERROR;
	uint32_t retry_after_s = job->refused == 429 ? job->simulated->model->retry_after_s : 0;
	return answer_upstream_error(outcome, job->refused, retry_after_s, (struct slice){ NULL, 0 },
				     "The provider refused the request as a whole.");
}

/* It is out of the provider's hands already: whoever is left is told, and the exchange is over. */
static void end_refused(struct job *job)
{
	struct answer *answer = whole_answer(job);
	enum outcome outcome = answer->outcome;
	for (; job->told < job->count && !job->aborted; job->told++) {
		const struct part *part = &job->parts[job->told];
		bool again = part->repeatable && !job->unreachable && job->events->refused;
		if (again)
			job->events->refused(job->context, part->index, answer_ref(answer));
		else if (!part->repeatable && !job->unreachable && job->refused == 0)
			job->events->answered(job->context, part->index,
					      answer_error(OUTCOME_OUTCOME_UNKNOWN, "The provider broke off."));
		else
			job->events->answered(job->context, part->index, answer_ref(answer));
	}
	answer_unref(answer);
	if (!job->aborted)
		job->events->landed(job->context, outcome);
	job_free(job);
}

/* Its slot, if it has one, is the next one's. */
static void leave_provider(struct job *job)
{
	struct simulated *simulated = job->simulated;
	TAILQ_REMOVE(&simulated->jobs, job, next);
	if (!job->holds_slot)
		return;
	simulated->busy--;
	start_waiting(simulated);
}

static void job_due(struct loop_timer *timer, uint64_t now_us)
{
	struct job *job = container_of(timer, struct job, timer);
	struct simulated *simulated = job->simulated;
	if (simulated->model->state == PROVIDER_FROZEN && !job->unreachable) {
		job->frozen_us = clock_add(job->frozen_us, episode_end_us(simulated) - simulated->since_us);
		arm(job);
		return;
	}
	if (job->refused || job->unreachable) {
		leave_provider(job);
		end_refused(job);
		return;
	}
	while (job->told < job->count && clock_add(job->parts[job->told].at_us, job->frozen_us) <= now_us) {
		size_t index = job->parts[job->told++].index;
		if (!job->aborted)
			job->events->answered(job->context, index, answer_ref(simulated->answer));
	}
	if (job->told < job->count) {
		arm(job);
		return;
	}
	leave_provider(job);
	if (!job->aborted)
		job->events->landed(job->context, OUTCOME_OK);
	job_free(job);
}

/* --- episodes --- */

static void break_off(struct simulated *simulated)
{
	struct job_list broken = TAILQ_HEAD_INITIALIZER(broken);
	struct job *job;
	TAILQ_CONCAT(&broken, &simulated->jobs, next);
	TAILQ_CONCAT(&broken, &simulated->line, next);
	simulated->busy = 0;
	while ((job = TAILQ_FIRST(&broken))) {
		TAILQ_REMOVE(&broken, job, next);
		end_refused(job);
	}
}

static void begin_episode(struct simulated *simulated, const struct provider_model *model, uint64_t now_us)
{
	simulated->model = model;
	simulated->since_us = now_us;
	if (model->lasts_us && model->then)
		loop_arm(simulated->base.loop, &simulated->episode, episode_end_us(simulated));
	if (model->state == PROVIDER_DOWN)
		break_off(simulated);
	start_waiting(simulated);
}

static void episode_over(struct loop_timer *timer, uint64_t now_us)
{
	struct simulated *simulated = container_of(timer, struct simulated, episode);
	begin_episode(simulated, simulated->model->then, now_us);
}

/* --- the kind --- */

static void free_jobs(struct job_list *jobs)
{
	struct job *job;
	while ((job = TAILQ_FIRST(jobs))) {
		assert(job->aborted);
		TAILQ_REMOVE(jobs, job, next);
		job_free(job);
	}
}

static void simulated_free(struct upstream *base)
{
	struct simulated *simulated = container_of(base, struct simulated, base);
	free_jobs(&simulated->jobs);
	free_jobs(&simulated->line);
	loop_disarm(base->loop, &simulated->episode);
	loop_timers_release(base->loop, 1);
	answer_unref(simulated->answer);
	free(simulated);
}

static struct upstream *simulated_make(const struct upstream_settings *settings, struct transport *transport,
				       struct loop *loop, struct meter *meter)
{
	(void)transport;
	(void)meter;
	struct simulated *simulated = calloc(1, sizeof *simulated);
	if (!simulated)
		return NULL;
	simulated->base.settings = settings;
	simulated->base.loop = loop;
	simulated->random = random_seeded(settings->simulated->seed);
	simulated->episode = LOOP_TIMER_INIT(episode_over);
	TAILQ_INIT(&simulated->jobs);
	TAILQ_INIT(&simulated->line);
	simulated->answer = answer_result(SLICE("null"), true, NULL);
	if (simulated->answer && loop_timers_reserve(loop, 1)) {
		begin_episode(simulated, settings->simulated, clock_now_us());
		return &simulated->base;
	}
	answer_unref(simulated->answer);
	free(simulated);
	return NULL;
}

static struct job *job_new(struct simulated *simulated, const struct upstream_call *calls, size_t count)
{
	struct job *job = calloc(1, sizeof *job + count * sizeof *job->parts);
	if (!job || !loop_timers_reserve(simulated->base.loop, 1)) {
		free(job);
		return NULL;
	}
	job->simulated = simulated;
	job->count = count;
	job->timer = LOOP_TIMER_INIT(job_due);
	for (size_t i = 0; i < count; i++) {
		job->parts[i].index = i;
		job->parts[i].repeatable = calls[i].repeatable;
	}
	return job;
}

/* Refused without any work: no slot is needed. */
static void turn_away(struct job *job, uint64_t now_us)
{
	for (size_t i = 0; i < job->count; i++)
		job->parts[i].at_us = clock_add(now_us, REFUSAL_US);
	TAILQ_INSERT_TAIL(&job->simulated->jobs, job, next);
	arm(job);
}

static struct exchange *simulated_send(struct upstream *base, const struct upstream_call *calls, size_t count,
				       uint64_t deadline_us, const struct upstream_events *events, void *context,
				       struct answer **refusal)
{
	struct simulated *simulated = container_of(base, struct simulated, base);
	uint64_t now_us = loop_now(base->loop);
	struct job *job = job_new(simulated, calls, count);
	(void)deadline_us; /* the batcher ends its items by itself */
	if (!job) {
		*refusal = answer_error(OUTCOME_OVERLOADED, "out of memory");
		return NULL;
	}
	job->events = events;
	job->context = context;
	job->unreachable = simulated->model->state == PROVIDER_DOWN;
	if (!job->unreachable && !let_in(simulated, now_us))
		job->refused = 429;
	if (job->unreachable || job->refused) {
		turn_away(job, now_us);
		return &job->base;
	}
	if (simulated->model->failing > 0 && random_part(&simulated->random) <= simulated->model->failing)
		job->refused = 500;
	if (has_slot(simulated))
		start(job);
	else
		TAILQ_INSERT_TAIL(&simulated->line, job, next);
	return &job->base;
}

static void simulated_abort(struct exchange *exchange)
{
	struct job *job = container_of(exchange, struct job, base);
	job->aborted = true;
}

static bool simulated_sent(const struct exchange *exchange)
{
	return !container_of(exchange, const struct job, base)->unreachable;
}

const struct upstream_kind upstream_simulated = {
	.make = simulated_make,
	.free = simulated_free,
	.send = simulated_send,
	.abort = simulated_abort,
	.sent = simulated_sent,
};
