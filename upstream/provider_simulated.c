/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider_simulated.c: plays the law of provider_model.h by the loop's clock. No byte is sent. Which of several
 * endpoints a request goes to is decided by the very code that decides it over HTTP (http/endpoint.h).
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "base/random.h"
#include "upstream/http/endpoint.h"
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
	struct place *place;
	struct endpoint_visit visit;
	uint64_t tried; /* endpoints, as bits */
	const struct upstream_events *events;
	void *context;
	uint64_t deadline_us;
	bool aborted; /* nobody is to be answered; the provider works on all the same */
	bool holds_slot;
	bool breaks;      /* it ends without an answer */
	unsigned refused; /* the status with which it ends as a whole; 0: it does not */
	bool unreachable; /* nothing was sent */
	struct loop_timer timer;
	TAILQ_ENTRY(job) next;
	uint64_t frozen_us;      /* what freezes have added */
	size_t count, delivered; /* calls; of those, the ones who have their answer or refusal */
	struct part parts[];
};

/* One endpoint. */
struct place {
	struct simulated *simulated;
	const struct provider_model *model; /* of the present episode */
	uint64_t since_us;                  /* when that began */
	struct loop_timer episode;
	double next_us;       /* the rate: when the next request would come if they came evenly */
	size_t busy;          /* slots */
	struct job_list jobs; /* begun */
	struct job_list line; /* for a slot */
};

struct simulated {
	struct upstream base;
	struct answer *answer; /* everybody's */
	uint64_t random;
	struct endpoint_set *set;
	size_t count;
	struct place places[];
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
static double draw_factor(struct place *place)
{
	const struct provider_model *model = place->model;
	double factor = 1;
	if (model->factors) {
		size_t drawn = (size_t)(random_part(&place->simulated->random) * (double)model->factor_count);
		factor = model->factors[drawn < model->factor_count ? drawn : model->factor_count - 1];
	}
	if (model->knee && place->busy > model->knee)
		factor *= pow((double)place->busy / (double)model->knee, 1.5);
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
	const struct provider_model *model = job->place->model;
	uint64_t *random = &job->place->simulated->random;
	double factor = draw_factor(job->place), count = (double)job->count, own_us = 0, last_us = 0;
	for (size_t i = 0; i < job->count; i++) {
		double drawn_us = draw_latency(&model->call, random);
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
static bool let_in(struct place *place, uint64_t now_us)
{
	const struct provider_model *model = place->model;
	if (model->rate_per_s <= 0)
		return true;
	double step_us = 1e6 / model->rate_per_s, now = (double)now_us;
	double due_us = place->next_us > now ? place->next_us : now;
	if (due_us - now > step_us * model->rate_burst)
		return false;
	place->next_us = due_us + step_us;
	return true;
}

/* --- jobs --- */

static struct loop *loop_of(const struct job *job)
{
	return job->place->simulated->base.loop;
}

/* When the present episode ends. */
static uint64_t episode_end_us(const struct place *place)
{
	return place->model->lasts_us ? clock_add(place->since_us, place->model->lasts_us) : CLOCK_NEVER;
}

static void arm_job(struct job *job)
{
	loop_arm(loop_of(job), &job->timer, clock_add(job->parts[job->delivered].at_us, job->frozen_us));
}

static void start_job(struct job *job)
{
	struct place *place = job->place;
	uint64_t begin_us = loop_now(loop_of(job));
	if (place->model->state == PROVIDER_FROZEN)
		begin_us = episode_end_us(place);
	place->busy++;
	job->holds_slot = true;
	TAILQ_INSERT_TAIL(&place->jobs, job, next);
	plan_answers(job, begin_us);
	arm_job(job);
}

static void job_free(struct job *job)
{
	struct loop *loop = loop_of(job);
	loop_disarm(loop, &job->timer);
	loop_timers_release(loop, 1);
	free(job);
}

static bool has_slot(const struct place *place)
{
	return !place->model->slots || place->busy < place->model->slots;
}

static void start_waiting(struct place *place)
{
	struct job *job;
	while ((job = TAILQ_FIRST(&place->line)) && has_slot(place)) {
		TAILQ_REMOVE(&place->line, job, next);
		start_job(job);
	}
}

/* The endpoint has nothing more to do with it. */
static void end_visit(struct job *job, enum endpoint_result result)
{
	endpoint_end(job->place->simulated->set, &job->visit, result, NULL, loop_now(loop_of(job)));
}

/* Ended without any work, or before it: no slot is needed. */
static void turn_away(struct job *job, uint64_t at_us)
{
	for (size_t i = 0; i < job->count; i++)
		job->parts[i].at_us = at_us;
	TAILQ_INSERT_TAIL(&job->place->jobs, job, next);
	arm_job(job);
}

/* It has come to an endpoint, which does with it what it does at the time. */
static void arrive_at(struct job *job, struct place *place, uint64_t now_us)
{
	const struct provider_model *model = place->model;
	job->place = place;
	job->unreachable = model->state == PROVIDER_DOWN || model->state == PROVIDER_HOLE;
	job->breaks = model->state == PROVIDER_BREAKS;
	if (!job->unreachable && !job->breaks && !let_in(place, now_us))
		job->refused = 429;
	if (job->unreachable || job->breaks || job->refused) {
		turn_away(job, clock_add(now_us, model->state == PROVIDER_HOLE ? PROVIDER_HOLE_US : REFUSAL_US));
		return;
	}
	if (model->failing > 0 && random_part(&place->simulated->random) <= model->failing)
		job->refused = 500;
	if (has_slot(place))
		start_job(job);
	else
		TAILQ_INSERT_TAIL(&place->line, job, next);
}

/* To the endpoint that shall have it. False: there is none. */
static bool go_somewhere(struct simulated *simulated, struct job *job, uint64_t now_us)
{
	struct endpoint_pick pick = { .tried = job->tried, .repeatable = true };
	for (size_t i = 0; i < job->count; i++)
		pick.repeatable = pick.repeatable && job->parts[i].repeatable;
	if (job->tried && !endpoint_another(simulated->set, &pick, now_us))
		return false;
	struct endpoint *endpoint = endpoint_pick(simulated->set, &pick, now_us);
	if (!endpoint)
		return false;
	job->tried |= UINT64_C(1) << endpoint->index;
	endpoint_begin(simulated->set, &job->visit, endpoint, now_us);
	arrive_at(job, &simulated->places[endpoint->index], now_us);
	if (endpoint->unreachable && !job->unreachable) /* a connection came about, whatever its answer will be */
		endpoint_checked(simulated->set, endpoint, true, NULL, now_us);
	return true;
}

/* What those who have no answer yet are told of the whole. */
static struct answer *whole_answer(const struct job *job)
{
	if (job->unreachable)
		return answer_error(OUTCOME_UPSTREAM_UNAVAILABLE, "The provider cannot be reached.");
	enum outcome outcome = job->refused == 429 ? OUTCOME_RATE_LIMITED : OUTCOME_UPSTREAM_ERROR;
	uint32_t retry_after_s = job->refused == 429 ? job->place->model->retry_after_s : 0;
	return answer_upstream_error(outcome, job->refused, retry_after_s, (struct slice){ NULL, 0 },
				     "The provider refused the request as a whole.");
}

static void deliver_refusal(struct job *job, const struct part *part, struct answer *answer)
{
	bool again = part->repeatable && !job->unreachable && job->events->refused;
	if (again)
		job->events->refused(job->context, part->index, answer_ref(answer));
	else if (!part->repeatable && job->breaks)
		job->events->answered(job->context, part->index,
				      answer_error(OUTCOME_OUTCOME_UNKNOWN, "The provider broke off."));
	else
		job->events->answered(job->context, part->index, answer_ref(answer));
}

/* It is out of the provider's hands already: whoever is left has it delivered, and the exchange is over. */
static void end_refused(struct job *job)
{
	uint64_t now_us = loop_now(loop_of(job));
	end_visit(job, job->unreachable ? ENDPOINT_UNREACHABLE : job->refused ? ENDPOINT_ANSWERED : ENDPOINT_BROKE);
	if (job->unreachable && !job->aborted && go_somewhere(job->place->simulated, job, now_us))
		return;
	struct answer *answer = whole_answer(job);
	enum outcome outcome = answer->outcome;
	for (; job->delivered < job->count && !job->aborted; job->delivered++)
		deliver_refusal(job, &job->parts[job->delivered], answer);
	answer_unref(answer);
	if (!job->aborted)
		job->events->completed(job->context, outcome);
	job_free(job);
}

/* Its slot, if it has one, is the next one's. */
static void leave_provider(struct job *job)
{
	struct place *place = job->place;
	TAILQ_REMOVE(&place->jobs, job, next);
	if (!job->holds_slot)
		return;
	job->holds_slot = false;
	place->busy--;
	start_waiting(place);
}

static void end_answered(struct job *job)
{
	leave_provider(job);
	end_visit(job, ENDPOINT_ANSWERED);
	if (!job->aborted)
		job->events->completed(job->context, OUTCOME_OK);
	job_free(job);
}

static void job_due(struct loop_timer *timer, uint64_t now_us)
{
	struct job *job = container_of(timer, struct job, timer);
	struct place *place = job->place;
	if (place->model->state == PROVIDER_FROZEN && !job->unreachable) {
		job->frozen_us = clock_add(job->frozen_us, episode_end_us(place) - place->since_us);
		arm_job(job);
		return;
	}
	if (job->refused || job->unreachable || job->breaks) {
		leave_provider(job);
		end_refused(job);
		return;
	}
	while (job->delivered < job->count && clock_add(job->parts[job->delivered].at_us, job->frozen_us) <= now_us) {
		size_t index = job->parts[job->delivered++].index;
		if (!job->aborted)
			job->events->answered(job->context, index, answer_ref(place->simulated->answer));
	}
	if (job->delivered < job->count)
		arm_job(job);
	else
		end_answered(job);
}

/* --- episodes --- */

static void break_off(struct place *place)
{
	struct job_list broken = TAILQ_HEAD_INITIALIZER(broken);
	struct job *job;
	TAILQ_CONCAT(&broken, &place->jobs, next);
	TAILQ_CONCAT(&broken, &place->line, next);
	place->busy = 0;
	while ((job = TAILQ_FIRST(&broken))) {
		TAILQ_REMOVE(&broken, job, next);
		job->holds_slot = false;
		job->refused = 0;
		job->breaks = !job->unreachable;
		end_refused(job);
	}
}

static void begin_episode(struct place *place, const struct provider_model *model, uint64_t now_us)
{
	place->model = model;
	place->since_us = now_us;
	if (model->lasts_us && model->then)
		loop_arm(place->simulated->base.loop, &place->episode, episode_end_us(place));
	if (model->state == PROVIDER_DOWN || model->state == PROVIDER_HOLE)
		break_off(place);
	start_waiting(place);
}

static void episode_over(struct loop_timer *timer, uint64_t now_us)
{
	struct place *place = container_of(timer, struct place, episode);
	begin_episode(place, place->model->then, now_us);
}

/* --- the kind --- */

static void free_jobs(struct job_list *jobs)
{
	struct job *job;
	while ((job = TAILQ_FIRST(jobs))) {
		assert(job->aborted);
		TAILQ_REMOVE(jobs, job, next);
		end_visit(job, ENDPOINT_NOTHING);
		job_free(job);
	}
}

static void simulated_free(struct upstream *base)
{
	struct simulated *simulated = container_of(base, struct simulated, base);
	for (size_t i = 0; i < simulated->count; i++) {
		struct place *place = &simulated->places[i];
		free_jobs(&place->jobs);
		free_jobs(&place->line);
		loop_disarm(base->loop, &place->episode);
	}
	loop_timers_release(base->loop, simulated->count);
	endpoint_set_free(simulated->set);
	answer_unref(simulated->answer);
	free(simulated);
}

static void make_place(struct simulated *simulated, struct place *place, const struct provider_model *model)
{
	place->simulated = simulated;
	place->episode = LOOP_TIMER_INIT(episode_over);
	TAILQ_INIT(&place->jobs);
	TAILQ_INIT(&place->line);
	begin_episode(place, model, clock_now_us());
}

static struct upstream *simulated_make(const struct upstream_settings *settings, struct transport *transport,
				       struct loop *loop, struct meter *meter)
{
	(void)transport;
	(void)meter;
	size_t count = 0;
	for (const struct provider_model *model = settings->simulated; model; model = model->beside)
		count++;
	struct simulated *simulated = calloc(1, sizeof *simulated + count * sizeof *simulated->places);
	if (!simulated)
		return NULL;
	simulated->base.settings = settings;
	simulated->base.loop = loop;
	simulated->random = random_seeded(settings->simulated->seed);
	simulated->count = count;
	simulated->answer = answer_result(SLICE("null"), true, NULL);
	simulated->set = endpoint_set_new(settings->balancing ? settings->balancing : &endpoint_default_policy,
					  settings->weights, count, settings->simulated->seed);
	if (!simulated->answer || !simulated->set || !loop_timers_reserve(loop, count)) {
		endpoint_set_free(simulated->set);
		answer_unref(simulated->answer);
		free(simulated);
		return NULL;
	}
	const struct provider_model *model = settings->simulated;
	for (size_t i = 0; i < count; i++, model = model->beside)
		make_place(simulated, &simulated->places[i], model);
	return &simulated->base;
}

static struct job *job_new(const struct simulated *simulated, const struct upstream_call *calls, size_t count)
{
	struct job *job = calloc(1, sizeof *job + count * sizeof *job->parts);
	if (!job || !loop_timers_reserve(simulated->base.loop, 1)) {
		free(job);
		return NULL;
	}
	job->count = count;
	job->timer = LOOP_TIMER_INIT(job_due);
	for (size_t i = 0; i < count; i++) {
		job->parts[i].index = i;
		job->parts[i].repeatable = calls[i].repeatable;
	}
	return job;
}

static struct answer *none_usable(const struct simulated *simulated, uint64_t now_us)
{
	uint64_t usable_us = endpoint_usable_us(simulated->set, now_us);
	uint64_t wait_us = usable_us > now_us && usable_us != CLOCK_NEVER ? usable_us - now_us : 0;
	return answer_upstream_error(OUTCOME_UPSTREAM_UNAVAILABLE, 0, (uint32_t)(wait_us / CLOCK_US_PER_S + 1),
				     (struct slice){ NULL, 0 }, "No endpoint of the provider can be used.");
}

static struct exchange *simulated_send(struct upstream *base, const struct upstream_call *calls, size_t count,
				       uint64_t deadline_us, const struct upstream_events *events, void *context,
				       struct answer **refusal)
{
	struct simulated *simulated = container_of(base, struct simulated, base);
	uint64_t now_us = loop_now(base->loop);
	struct job *job = job_new(simulated, calls, count);
	if (!job) {
		*refusal = answer_error(OUTCOME_OVERLOADED, "out of memory");
		return NULL;
	}
	job->deadline_us = deadline_us; /* the batcher ends its items by itself */
	job->events = events;
	job->context = context;
	if (go_somewhere(simulated, job, now_us))
		return &job->base;
	*refusal = none_usable(simulated, now_us);
	loop_timers_release(base->loop, 1);
	free(job);
	return NULL;
}

static void simulated_abort(struct exchange *exchange)
{
	struct job *job = container_of(exchange, struct job, base);
	job->aborted = true;
	bool late = loop_now(loop_of(job)) >= job->deadline_us;
	end_visit(job, late ? ENDPOINT_TIMED_OUT : ENDPOINT_NOTHING);
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
