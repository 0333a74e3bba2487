/* provider_simulated.c: exchanges that take the time a formula says, by the loop's clock. No byte is sent. */
#include <assert.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "upstream/provider.h"

TAILQ_HEAD(job_list, job);

/* One request at the provider. */
struct job {
	struct exchange base; /* what the caller holds */
	struct simulated *simulated;
	const struct upstream_events *events;
	void *context;
	size_t count; /* calls */
	bool aborted; /* nobody is to be told; the provider works on all the same */
	struct loop_timer done;
	TAILQ_ENTRY(job) next; /* in simulated->queue */
};

struct simulated {
	struct upstream base;
	struct answer *answer; /* everybody's */
	size_t busy;           /* slots */
	struct job_list queue; /* for a slot */
};

static void start(struct job *job)
{
	const struct provider_model *model = job->simulated->base.settings->simulated;
	uint64_t takes_us = model->fixed_us + (uint64_t)(model->item_us * (double)job->count);
	job->simulated->busy++;
	loop_arm(job->simulated->base.loop, &job->done, clock_add(loop_now(job->simulated->base.loop), takes_us));
}

static void job_free(struct job *job)
{
	loop_disarm(job->simulated->base.loop, &job->done);
	loop_timers_release(job->simulated->base.loop, 1);
	free(job);
}

static void job_done(struct loop_timer *timer, uint64_t now_us)
{
	struct job *job = container_of(timer, struct job, done), *next;
	struct simulated *simulated = job->simulated;
	(void)now_us;
	simulated->busy--;
	if ((next = TAILQ_FIRST(&simulated->queue))) {
		TAILQ_REMOVE(&simulated->queue, next, next);
		start(next);
	}
	for (size_t i = 0; i < job->count && !job->aborted; i++)
		job->events->answered(job->context, i, answer_ref(simulated->answer));
	if (!job->aborted)
		job->events->landed(job->context, OUTCOME_OK);
	job_free(job);
}

static void simulated_free(struct upstream *base)
{
	struct simulated *simulated = container_of(base, struct simulated, base);
	assert(simulated->busy == 0 && TAILQ_EMPTY(&simulated->queue));
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
	TAILQ_INIT(&simulated->queue);
	simulated->answer = answer_result(SLICE("null"), true, NULL);
	if (simulated->answer)
		return &simulated->base;
	free(simulated);
	return NULL;
}

static struct exchange *simulated_send(struct upstream *base, const struct upstream_call *calls, size_t count,
				       uint64_t deadline_us, const struct upstream_events *events, void *context,
				       struct answer **refusal)
{
	struct simulated *simulated = container_of(base, struct simulated, base);
	struct job *job = calloc(1, sizeof *job);
	(void)calls;
	(void)deadline_us; /* the batcher ends its items by itself */
	if (!job || !loop_timers_reserve(base->loop, 1)) {
		free(job);
		*refusal = answer_error(OUTCOME_OVERLOADED, "out of memory");
		return NULL;
	}
	job->simulated = simulated;
	job->events = events;
	job->context = context;
	job->count = count;
	job->done = LOOP_TIMER_INIT(job_done);
	if (simulated->busy < base->settings->simulated->slots)
		start(job);
	else
		TAILQ_INSERT_TAIL(&simulated->queue, job, next);
	return &job->base;
}

static void simulated_abort(struct exchange *exchange)
{
	struct job *job = container_of(exchange, struct job, base);
	job->aborted = true;
}

const struct upstream_kind upstream_simulated = {
	.make = simulated_make,
	.free = simulated_free,
	.send = simulated_send,
	.abort = simulated_abort,
};
