/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls_survey.c: a mail to each worker, which fills its part and sends it back. Those that ended are copied last: a call that
 * ends meanwhile is then seen twice rather than not at all, and told once.
 */
#include "gateway/admin/calls_survey.h"

#include <stdlib.h>

#include "gateway/call/reply.h"
#include "gateway/call/under_way.h"
#include "gateway/call/worker.h"

#define PATIENCE_US (2 * CLOCK_US_PER_S)

/* What one worker is asked. */
struct survey_part {
	struct mail mail;
	struct survey *survey;
	struct worker *worker;
	bool home; /* the rest is the asking worker's again */
	size_t count;
	struct recent_call calls[UNDER_WAY_CALLS];
};

struct survey {
	const struct survey_kind *kind;
	void *context;
	struct worker *worker;   /* who asks; the rest is its thread's, but for parts that are out */
	struct request *request; /* NULL: nobody waits any more */
	struct loop_timer timer; /* armed while somebody waits */
	size_t out;
	struct survey_part parts[];
};

static void free_when_over(struct survey *survey)
{
	if (survey->request || survey->out)
		return;
	loop_disarm(survey->worker->loop, &survey->timer);
	loop_timers_release(survey->worker->loop, 1);
	free(survey->context);
	free(survey);
}

/* Whether a call that was under way has ended meanwhile, and is among those of its home that did. */
static bool has_ended(const struct recent_call *call, const struct recent_call *ended, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (ended[i].sent == call->sent)
			return true;
	return false;
}

/* Behind what there is: those of a worker that have ended, and of those under way that are at home there the others. */
static void add_home(const struct survey *survey, unsigned home, struct surveyed *found)
{
	const struct gateway *gateway = survey->worker->gateway;
	struct recent_call *ended = found->calls + found->count;
	size_t count = recent_calls_copy(worker_recent_calls(gateway->workers[home]), ended);
	found->count += count;
	for (unsigned i = 0; i < gateway->config->workers; i++) {
		const struct survey_part *part = &survey->parts[i];
		for (size_t j = 0; part->home && j < part->count; j++)
			if (part->calls[j].home == home && !has_ended(&part->calls[j], ended, count))
				found->calls[found->count++] = part->calls[j];
	}
}

/* found->calls: NULL if memory is out. */
static void gather_calls(const struct survey *survey, bool *told, struct surveyed *found)
{
	unsigned workers = survey->worker->gateway->config->workers;
	size_t kept = 0;
	*found = (struct surveyed){ .told = told };
	found->calls = calloc((size_t)workers * (RECENT_CALLS + NOTABLE_CALLS + UNDER_WAY_CALLS), sizeof *found->calls);
	found->no_memory = !found->calls || !told;
	if (found->no_memory)
		return;
	for (unsigned i = 0; i < workers; i++) {
		told[i] = survey->parts[i].home;
		add_home(survey, i, found);
	}
	for (size_t i = 0; i < found->count; i++)
		if (found->calls[i].under_way || survey->kind->is_wanted(survey->context, &found->calls[i]))
			found->calls[kept++] = found->calls[i];
	found->count = kept;
}

static void reply_found(struct survey *survey)
{
	struct request *request = survey->request;
	bool *told = calloc(survey->worker->gateway->config->workers, sizeof *told);
	struct surveyed found;
	survey->request = NULL;
	request->waits_for = NULL;
	request->gone = NULL;
	gather_calls(survey, told, &found);
	survey->kind->reply(survey->worker, request, survey->context, &found);
	free(found.calls);
	free(told);
	free_when_over(survey);
}

static void patience_ended(struct loop_timer *timer, uint64_t now_us)
{
	(void)now_us;
	reply_found(container_of(timer, struct survey, timer));
}

static void on_left(struct request *request)
{
	struct survey *survey = request->waits_for;
	survey->request = NULL;
	loop_disarm(survey->worker->loop, &survey->timer); /* a part may be out for longer */
	free_when_over(survey);
}

static void came_home(struct mail *mail)
{
	struct survey_part *part = container_of(mail, struct survey_part, mail);
	struct survey *survey = part->survey;
	part->home = true;
	survey->out--;
	if (survey->request && !survey->out)
		reply_found(survey);
	else
		free_when_over(survey);
}

/* On the thread of the worker that is asked; or on main, once that has ended. */
static void fill_part(struct mail *mail)
{
	struct survey_part *part = container_of(mail, struct survey_part, mail);
	const struct survey *survey = part->survey;
	const struct under_way_filter filter = { survey->kind->is_wanted, survey->context };
	part->count = calls_under_way(part->worker, &filter, part->calls);
	mail->open = came_home;
	worker_post(survey->worker, mail);
}

void calls_survey_begin(struct worker *worker, struct request *request, const struct survey_kind *kind, void *context)
{
	unsigned workers = worker->gateway->config->workers;
	struct survey *survey = calloc(1, sizeof *survey + workers * sizeof survey->parts[0]);
	if (!survey || !loop_timers_reserve(worker->loop, 1)) {
		free(survey);
		free(context);
		reply_problem(request, OUTCOME_OVERLOADED, NULL, "The gateway is out of memory.");
		return;
	}
	survey->kind = kind;
	survey->context = context;
	survey->worker = worker;
	survey->request = request;
	survey->timer = LOOP_TIMER_INIT(patience_ended);
	survey->out = workers;
	request->waits_for = survey;
	request->gone = on_left;
	loop_arm(worker->loop, &survey->timer, clock_add(loop_now(worker->loop), PATIENCE_US));
	for (unsigned i = 0; i < workers; i++) {
		struct survey_part *part = &survey->parts[i];
		part->survey = survey;
		part->worker = worker->gateway->workers[i];
		part->mail.open = fill_part;
		worker_post(part->worker, &part->mail);
	}
}
