/* simulation.c: arrivals, landings and the batcher's own deadlines, one after the other by a clock turned by hand. */
#include "gateway/cli/simulation.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/loop.h"
#include "metrics/metrics.h"
#include "upstream/upstream.h"

enum { START_US = 1000000 };

struct run;

/* One call on its way. */
struct rider {
	struct batch_item item;
	struct run *run;
	uint64_t came_us;
	struct rider *next; /* among the free ones */
};

struct run {
	const struct simulation *simulation;
	struct simulation_result *result;
	struct upstream_settings settings;
	struct dialect dialect;
	struct metrics *metrics;
	struct loop *loop;
	struct batcher *batcher;
	struct rider *spare;
	char *arguments;
	uint32_t *waited_us, *took_us; /* of those answered */
	size_t travelling;
	uint64_t last_us;
};

static uint32_t clip(uint64_t us)
{
	return us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

static void rider_done(struct batch_item *item, struct answer *answer, const struct batch_facts *facts)
{
	struct rider *rider = container_of(item, struct rider, item);
	struct run *run = rider->run;
	if (answer->outcome == OUTCOME_OK) {
		run->waited_us[run->result->answered] = clip(facts->waited_us);
		run->took_us[run->result->answered] = clip(loop_now(run->loop) - rider->came_us);
		run->result->answered++;
		run->last_us = loop_now(run->loop);
	} else {
		run->result->expired++;
	}
	answer_unref(answer);
	run->travelling--;
	rider->next = run->spare;
	run->spare = rider;
}

static struct rider *rider_new(struct run *run)
{
	struct rider *rider = run->spare;
	if (rider)
		run->spare = rider->next;
	else
		rider = malloc(sizeof *rider);
	if (!rider)
		return NULL;
	memset(rider, 0, sizeof *rider);
	rider->run = run;
	return rider;
}

static bool come_in(struct run *run, uint64_t number, uint64_t now_us)
{
	const struct simulation *simulation = run->simulation;
	struct rider *rider = rider_new(run);
	const char *why;
	if (!rider)
		return false;
	rider->came_us = now_us;
	rider->item.call.arguments = (struct slice){ run->arguments, simulation->argument_bytes };
	rider->item.call.repeatable = true;
	rider->item.deadline_us = rider->item.urgent_us = clock_add(now_us, simulation->timeout_us);
	rider->item.caller = number % simulation->callers + 1;
	rider->item.urgency = 3;
	rider->item.answered = rider_done;
	if (batcher_add(run->batcher, &rider->item, now_us, &why) == OUTCOME_OK) {
		run->travelling++;
		return true;
	}
	run->result->refused++;
	rider->next = run->spare;
	run->spare = rider;
	return true;
}

/* What happens next: an arrival, the provider's answer, or a deadline of the batcher's. */
static uint64_t next_event(const struct run *run, const struct arrivals *arrivals, size_t arrived, uint64_t now_us)
{
	uint64_t next_us = batcher_deadline(run->batcher), timer_us = loop_next_timer(run->loop);
	next_us = timer_us < next_us ? timer_us : next_us;
	if (arrived < arrivals->count) {
		uint64_t comes_us = START_US + arrivals->at_us[arrived] - arrivals->at_us[0];
		next_us = comes_us < next_us ? comes_us : next_us;
	}
	return next_us > now_us ? next_us : now_us;
}

static bool turn_until_done(struct run *run, const struct arrivals *arrivals)
{
	uint64_t now_us = START_US;
	size_t arrived = 0;
	while (arrived < arrivals->count || run->travelling || loop_next_timer(run->loop) != CLOCK_NEVER) {
		now_us = next_event(run, arrivals, arrived, now_us);
		clock_set(now_us);
		loop_wait(run->loop, now_us);
		loop_run_timers(run->loop);
		while (arrived < arrivals->count &&
		       START_US + arrivals->at_us[arrived] - arrivals->at_us[0] <= now_us) {
			if (!come_in(run, arrived, now_us))
				return false;
			arrived++;
		}
		batcher_tick(run->batcher, now_us);
	}
	return true;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static uint64_t percentile(uint32_t *values, size_t count, unsigned percent)
{
	qsort(values, count, sizeof *values, by_value);
	return count ? values[(count - 1) * percent / 100] : 0;
}

static void sum_up(struct run *run)
{
	struct simulation_result *result = run->result;
	result->requests = (uint64_t)metrics_read(run->metrics, METRIC_ID_BATCH_ITEMS, 0, 0);
	result->wait_p50_us = percentile(run->waited_us, result->answered, 50);
	result->wait_p99_us = percentile(run->waited_us, result->answered, 99);
	result->took_p50_us = percentile(run->took_us, result->answered, 50);
	result->took_p99_us = percentile(run->took_us, result->answered, 99);
	result->span_us = run->last_us > START_US ? run->last_us - START_US : 0;
}

static bool set_up(struct run *run, size_t count)
{
	static const char *const simulated[] = { "simulated" };
	static const struct metrics_names names = {
		.tools = simulated, .tool_count = 1, .upstreams = simulated, .upstream_count = 1
	};
	run->dialect = (struct dialect){ .name = "simulated", .max_calls = SIZE_MAX };
	run->settings = (struct upstream_settings){ .name = simulated[0],
						    .dialect = &run->dialect,
						    .simulated = &run->simulation->provider };
	run->arguments = calloc(1, run->simulation->argument_bytes + 1);
	run->waited_us = calloc(count + 1, sizeof *run->waited_us);
	run->took_us = calloc(count + 1, sizeof *run->took_us);
	run->metrics = metrics_new(&names);
	run->loop = loop_new();
	struct meter *meter = run->metrics ? metrics_meter(run->metrics) : NULL;
	if (!run->arguments || !run->waited_us || !run->took_us || !run->loop || !meter)
		return false;
	run->batcher = batcher_new(&run->simulation->policy, &run->settings, NULL, run->loop, meter);
	return run->batcher != NULL;
}

/* Memory ran out half-way: whoever is on the way is let go, and the provider finishes what it has begun. */
static void give_up(struct run *run)
{
	struct answer *answer = answer_error(OUTCOME_OVERLOADED, "out of memory");
	uint64_t due_us;
	batcher_abort_all(run->batcher, answer, loop_now(run->loop));
	answer_unref(answer);
	while ((due_us = loop_next_timer(run->loop)) != CLOCK_NEVER) {
		clock_set(due_us);
		loop_wait(run->loop, due_us);
		loop_run_timers(run->loop);
	}
}

static void clear_up(struct run *run)
{
	struct rider *rider;
	batcher_free(run->batcher);
	metrics_free(run->metrics);
	loop_free(run->loop);
	free(run->arguments);
	free(run->waited_us);
	free(run->took_us);
	while ((rider = run->spare)) {
		run->spare = rider->next;
		free(rider);
	}
}

bool simulation_run(const struct simulation *simulation, const struct arrivals *arrivals,
		    struct simulation_result *result)
{
	struct run run = { .simulation = simulation, .result = result };
	memset(result, 0, sizeof *result);
	clock_set(START_US);
	bool ready = set_up(&run, arrivals->count);
	bool whole = ready && turn_until_done(&run, arrivals);
	if (whole)
		sum_up(&run);
	else if (ready)
		give_up(&run);
	clear_up(&run);
	clock_set(0);
	return whole;
}
