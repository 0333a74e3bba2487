/* SPDX-License-Identifier: Apache-2.0 */
/* simulation.c: workload, completions and the batcher's own deadlines, one after the other by a clock turned by hand. */
#include "gateway/cli/simulation.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/loop.h"
#include "metrics/metrics.h"
#include "upstream/upstream.h"

enum { START_US = 1000000, STUCK_TURNS = 1000000, REFUSED_MOST = 30 };

struct run;

/* One call on its way. */
struct rider {
	struct batch_item item;
	struct run *run;
	uint64_t came_us;
	bool counts;
	struct rider *next; /* among the free ones */
};

/* Times of calls, grown as they come. */
struct times {
	uint32_t *us;
	size_t count, room;
};

struct run {
	const struct simulation *simulation;
	struct simulation_result *result;
	struct upstream_settings settings;
	struct dialect dialect;
	struct metrics *metrics;
	struct loop *loop;
	struct batcher *batcher;
	struct load_player load;
	struct rider *spare;
	char *arguments;
	struct times waited, took, refused;
	size_t travelling;
	size_t ended;                /* calls, since change_us; those refused left out */
	uint64_t counts_since_us;    /* 0: none counts yet */
	uint64_t last_us, closed_us; /* last answer; last call came */
	uint64_t handled;            /* calls that came, and calls that ended, in this turn */
	bool no_memory;
	struct simulation_moment moment; /* since the last one */
	uint64_t took_us;                /* likewise, summed */
	uint64_t watch_at_us, requests_seen, requests_paid;
};

/* --- calls --- */

static void note_time(struct run *run, struct times *times, uint64_t us)
{
	if (times->count == times->room) {
		size_t room = times->room ? times->room * 2 : 1024;
		uint32_t *more = realloc(times->us, room * sizeof *more);
		if (!more) {
			run->no_memory = true;
			return;
		}
		times->us = more;
		times->room = room;
	}
	times->us[times->count++] = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

static void put_back(struct run *run, struct rider *rider)
{
	rider->next = run->spare;
	run->spare = rider;
}

/* What the gateway itself said, without having sent it. */
static bool is_refusal(enum outcome outcome, bool sent)
{
	return !sent && (outcome == OUTCOME_OVERLOADED || outcome == OUTCOME_RATE_LIMITED);
}

static bool is_measured(const struct run *run, uint64_t caller)
{
	return caller != LOAD_FLOODER || run->simulation->load.flood_rate <= 0;
}

/* Whether calls still come. */
static bool load_lasts(const struct run *run)
{
	const struct simulation_result *result = run->result;
	size_t calls = run->simulation->calls; /* those refused are cheap, and overload has many */
	bool enough = calls && (result->came - result->refused >= calls || result->came >= REFUSED_MOST * calls);
	return !enough && load_next_us(&run->load) != CLOCK_NEVER;
}

/* A call has ended. waited_us: in its lane. */
static void count_end(struct run *run, const struct rider *rider, enum outcome outcome, bool sent, uint64_t waited_us)
{
	uint64_t now_us = loop_now(run->loop), took_us = now_us - rider->came_us;
	struct simulation_result *result = run->result;
	run->handled++;
	bool refusal = is_refusal(outcome, sent);
	if (now_us >= START_US + run->simulation->change_us && !refusal)
		run->ended++;
	if (outcome == OUTCOME_OK) {
		run->moment.answered++;
		run->took_us += took_us;
	} else {
		run->moment.others++;
	}
	load_ended(&run->load, rider->item.caller, outcome == OUTCOME_OK, now_us);
	bool measured = is_measured(run, rider->item.caller);
	if (outcome == OUTCOME_OK && measured && run->counts_since_us && load_lasts(run))
		result->answered_meanwhile++;
	if (!rider->counts)
		return;
	result->outcomes[outcome]++;
	result->cycles_us += took_us + (outcome == OUTCOME_OK ? LOAD_THINK_US : LOAD_RETRY_US);
	if (outcome == OUTCOME_OK) {
		result->answered++;
		note_time(run, &run->waited, waited_us);
		note_time(run, &run->took, took_us);
		run->last_us = now_us;
	} else if (refusal) {
		result->refused++;
		note_time(run, &run->refused, took_us);
	} else {
		result->failed++;
	}
}

static void rider_done(struct batch_item *item, struct answer *answer, const struct batch_facts *facts)
{
	struct rider *rider = container_of(item, struct rider, item);
	struct run *run = rider->run;
	count_end(run, rider, answer->outcome, facts->items > 0, facts->waited_us);
	answer_unref(answer);
	run->travelling--;
	put_back(run, rider);
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

static bool come_in(struct run *run, uint64_t now_us)
{
	const struct simulation *simulation = run->simulation;
	struct rider *rider = rider_new(run);
	const char *why;
	if (!rider)
		return false;
	rider->came_us = load_next_us(&run->load); /* it waits from then on, whatever the gateway is busy with */
	rider->item.call.arguments = (struct slice){ run->arguments, simulation->argument_bytes };
	rider->item.call.repeatable = true;
	rider->item.deadline_us = rider->item.urgent_us = clock_add(rider->came_us, simulation->timeout_us);
	rider->item.caller = load_take(&run->load);
	rider->item.urgency =
		is_measured(run, rider->item.caller) ? simulation->load.urgency : simulation->load.flood_urgency;
	rider->item.answered = rider_done;
	rider->counts =
		run->counts_since_us && (rider->item.caller != LOAD_FLOODER || simulation->load.flood_rate <= 0);
	run->result->came += rider->counts;
	run->moment.came++;
	run->result->all_calls++;
	run->handled++;
	run->closed_us = rider->came_us;
	enum outcome outcome = batcher_add(run->batcher, &rider->item, now_us, &why);
	if (outcome == OUTCOME_OK) {
		run->travelling++;
		return true;
	}
	count_end(run, rider, outcome, false, 0);
	put_back(run, rider);
	return true;
}

/* --- time --- */

static uint64_t requests_made(const struct run *run)
{
	return (uint64_t)metrics_read(run->metrics, METRIC_ID_BATCH_ITEMS, 0, 0);
}

/* From here on calls count, if it is time. */
static void begin_counting(struct run *run, uint64_t now_us)
{
	const struct simulation *simulation = run->simulation;
	uint64_t change_us = START_US + simulation->change_us;
	if (run->counts_since_us || now_us < change_us)
		return;
	bool enough = simulation->settle_calls && run->ended >= simulation->settle_calls;
	if (enough || now_us >= change_us + simulation->settle_us)
		run->counts_since_us = now_us;
}

static bool goes_on(const struct run *run)
{
	return run->travelling > 0 || load_lasts(run);
}

static int64_t most_of(const struct run *run, enum metric metric)
{
	int64_t most = 0;
	for (size_t i = 0; i < LATENCY_CLASS_COUNT; i++) {
		int64_t one = metrics_read(run->metrics, metric, 0, i);
		most = one > most ? one : most;
	}
	return most;
}

static int64_t sum_of(const struct run *run, enum metric metric)
{
	int64_t sum = 0;
	for (size_t i = 0; i < LATENCY_CLASS_COUNT; i++)
		sum += metrics_read(run->metrics, metric, 0, i);
	return sum;
}

static void report_moment(struct run *run, uint64_t now_us)
{
	const struct simulation *simulation = run->simulation;
	struct simulation_moment *moment = &run->moment;
	if (!simulation->watch || now_us < run->watch_at_us)
		return;
	uint64_t requests = requests_made(run);
	moment->at_us = now_us - START_US;
	moment->requests = requests - run->requests_seen;
	moment->took_us = moment->answered ? run->took_us / moment->answered : 0;
	moment->waiting = sum_of(run, METRIC_ID_BATCH_WAITING);
	moment->under_way = sum_of(run, METRIC_ID_BATCH_IN_FLIGHT);
	moment->concurrency = metrics_read(run->metrics, METRIC_ID_CONCURRENCY_LIMIT, 0, 0);
	moment->window_us = most_of(run, METRIC_ID_BATCH_WINDOW);
	simulation->watch(simulation->watch_context, moment);
	memset(moment, 0, sizeof *moment);
	run->took_us = 0;
	run->requests_seen = requests;
	run->watch_at_us = now_us + simulation->watch_us;
}

/* What happens next: an arrival, the provider's answer, or a deadline of the batcher's. CLOCK_NEVER: nothing. */
static uint64_t next_event_us(const struct run *run)
{
	uint64_t next_us = batcher_deadline(run->batcher), timer_us = loop_next_timer(run->loop);
	next_us = timer_us < next_us ? timer_us : next_us;
	uint64_t comes_us = load_lasts(run) ? load_next_us(&run->load) : CLOCK_NEVER;
	return comes_us < next_us ? comes_us : next_us;
}

/* One turn of the worker's loop. False: out of memory. */
static bool run_turn(struct run *run, uint64_t now_us)
{
	clock_set(now_us);
	loop_refresh(run->loop);
	begin_counting(run, now_us);
	loop_run_timers(run->loop);
	while (load_lasts(run) && load_next_us(&run->load) <= now_us)
		if (!come_in(run, now_us))
			return false;
	batcher_tick(run->batcher, now_us);
	report_moment(run, now_us);
	return !run->no_memory;
}

/* What the last turn has cost the gateway itself: until then no other begins. */
static uint64_t own_time_us(struct run *run)
{
	const struct simulation *simulation = run->simulation;
	if (!simulation->call_us && !simulation->request_us)
		return 0;
	uint64_t requests = requests_made(run);
	uint64_t us = run->handled * simulation->call_us / 2 + (requests - run->requests_paid) * simulation->request_us;
	run->handled = 0;
	run->requests_paid = requests;
	return us;
}

static bool turn_until_done(struct run *run)
{
	uint64_t now_us = START_US, busy_us = 0;
	unsigned idle_turns = 0;
	while (goes_on(run)) {
		uint64_t next_us = next_event_us(run), before_us = now_us;
		now_us = next_us > now_us + busy_us ? next_us : now_us + busy_us;
		loop_set_late(run->loop, now_us > next_us ? now_us - next_us : 0);
		idle_turns = now_us == before_us ? idle_turns + 1 : 0;
		run->result->stuck = now_us == CLOCK_NEVER || idle_turns > STUCK_TURNS;
		if (run->result->stuck)
			return true;
		if (!run_turn(run, now_us))
			return false;
		busy_us = own_time_us(run);
	}
	return true;
}

/* --- the whole --- */

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

/* `times` are sorted. */
static uint64_t percentile_of(const struct times *times, unsigned percent)
{
	return times->count ? times->us[(times->count - 1) * percent / 100] : 0;
}

static void sort_times(struct times *times)
{
	if (times->count)
		qsort(times->us, times->count, sizeof *times->us, by_value);
}

static void sum_up(struct run *run)
{
	struct simulation_result *result = run->result;
	uint64_t since_us = run->counts_since_us;
	result->requests = requests_made(run);
	sort_times(&run->waited);
	sort_times(&run->took);
	sort_times(&run->refused);
	result->wait_p50_us = percentile_of(&run->waited, 50);
	result->wait_p99_us = percentile_of(&run->waited, 99);
	result->took_p50_us = percentile_of(&run->took, 50);
	result->took_p99_us = percentile_of(&run->took, 99);
	result->refused_p50_us = percentile_of(&run->refused, 50);
	result->span_us = run->last_us > since_us ? run->last_us - since_us : 0;
	result->coming_us = run->closed_us > since_us ? run->closed_us - since_us : 0;
}

static bool set_up(struct run *run)
{
	static const char *const simulated[] = { "simulated" };
	static const struct metrics_names names = {
		.tools = simulated, .tool_count = 1, .upstreams = simulated, .upstream_count = 1
	};
	run->dialect = (struct dialect){ .name = "simulated", .max_calls = SIZE_MAX };
	run->settings = (struct upstream_settings){ .name = simulated[0],
						    .retries = { 2, 25 * CLOCK_US_PER_MS, 20 },
						    .dialect = &run->dialect,
						    .simulated = &run->simulation->provider };
	bool loaded = load_init(&run->load, &run->simulation->load, START_US);
	run->arguments = calloc(1, run->simulation->argument_bytes + 1);
	run->metrics = metrics_new(&names);
	run->loop = loop_new();
	struct meter *meter = run->metrics ? metrics_meter(run->metrics) : NULL;
	if (!loaded || !run->arguments || !run->loop || !meter)
		return false;
	run->batcher = batcher_new(&run->simulation->policy, &run->settings, NULL, run->loop, meter);
	return run->batcher != NULL;
}

/* Whoever is still on the way (memory ran out, or the run is stuck) is let go, and so is what has not completed. */
static void end_all(struct run *run)
{
	struct answer *answer = answer_error(OUTCOME_SHUTTING_DOWN, "the simulation has ended");
	batcher_abort_all(run->batcher, answer, loop_now(run->loop));
	answer_unref(answer);
}

static void clear_up(struct run *run)
{
	struct rider *rider;
	batcher_free(run->batcher);
	metrics_free(run->metrics);
	loop_free(run->loop);
	load_fini(&run->load);
	free(run->arguments);
	free(run->waited.us);
	free(run->took.us);
	free(run->refused.us);
	while ((rider = run->spare)) {
		run->spare = rider->next;
		free(rider);
	}
}

bool simulation_run(const struct simulation *simulation, struct simulation_result *result)
{
	struct run run = { .simulation = simulation, .result = result, .watch_at_us = START_US };
	memset(result, 0, sizeof *result);
	clock_set(START_US);
	bool ready = set_up(&run);
	bool whole = ready && turn_until_done(&run);
	if (whole)
		sum_up(&run);
	if (ready)
		end_all(&run);
	clear_up(&run);
	clock_set(0);
	return whole;
}
