/* SPDX-License-Identifier: Apache-2.0 */
/* pool.c: how many processes there are, which one a call goes into, and what becomes of it when that one ends.
 */
#include "upstream/process/pool.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/random.h"
#include "upstream/process/member.h"

#define STEADY_US (5 * CLOCK_US_PER_S) /* one that ends sooner, without an answer to any call, has not started well */
#define BACKOFF_MAX_US (30 * CLOCK_US_PER_S)
enum { FAILURES_REFUSE = 2, FAILURES_COUNTED = 16, SILENT_TIMEOUTS = 3, COMPLAINTS_PER_S = 20, POOL_TIMERS = 3 };

/* ---------------------------------------------------------------- what is to be seen */

void pool_count(const struct process_pool *pool, enum metric metric)
{
	meter_add(pool->meter, metric, pool->settings->label, 0, 1);
}

void pool_noise(struct process_pool *pool)
{
	pool_count(pool, METRIC_ID_PROCESS_UNPARSED_LINES);
}

static void log_process(const struct process_pool *pool, const struct log_event *event, const char *reason,
			uint64_t lived_us)
{
	struct log_line line UNCLEARED;
	if (!log_begin(&line, event))
		return;
	log_cstr(&line, "upstream", pool->settings->name);
	log_cstr(&line, "command", process_program(&pool->own->process));
	log_cstr(&line, "reason", reason);
	log_seconds(&line, "after", lived_us);
	log_end(&line);
}

static void log_left_out(struct process_pool *pool)
{
	if (pool->complaints_left_out)
		log_message(&EVENT_PROCESS_STDERR_LEFT_OUT, "%s: %u lines of its stderr are left out here",
			    pool->settings->name, pool->complaints_left_out);
	pool->complaints_left_out = 0;
}

void pool_member_complained(struct member *member, struct slice text)
{
	struct process_pool *pool = member->pool;
	struct log_line line UNCLEARED;
	uint64_t now_us = loop_now(pool->loop);
	pool_count(pool, METRIC_ID_PROCESS_STDERR);
	if (now_us >= clock_add(pool->complaints_since_us, CLOCK_US_PER_S)) {
		log_left_out(pool);
		pool->complaints_since_us = now_us;
		pool->complaints = 0;
	}
	if (++pool->complaints > COMPLAINTS_PER_S) {
		pool->complaints_left_out++;
		return;
	}
	if (!log_begin(&line, &EVENT_PROCESS_STDERR))
		return;
	log_cstr(&line, "upstream", pool->settings->name);
	log_u64(&line, "pid", (uint64_t)process_pid(member->process));
	log_text(&line, "text", text);
	log_end(&line);
}

/* ---------------------------------------------------------------- when there is none */

static struct answer *trouble_answer(const struct process_pool *pool, enum outcome outcome, const char *trouble,
				     const char *rest, uint32_t retry_after_s)
{
	return answer_upstream_error(outcome, 0, retry_after_s, SLICE(""), "%.40s: its process %.110s%s",
				     pool->settings->name, trouble, rest);
}

/* It waited for a process, and there is no hope of one now. */
static void refuse_waiting(struct process_pool *pool)
{
	struct pool_call *call;
	while ((call = TAILQ_FIRST(&pool->waiting))) {
		TAILQ_REMOVE(&pool->waiting, call, next);
		call->waits = false;
		call->answered(call, trouble_answer(pool, OUTCOME_UPSTREAM_UNAVAILABLE, pool->trouble,
						    "; run it by hand to see", 0));
	}
}

/* ---------------------------------------------------------------- how many there are */

struct pool_counts {
	size_t live, ready, starting, retiring, busy, room; /* room: of ready ones, busy included */
	size_t deaf;                                        /* not live, but in somebody's place */
};

static struct pool_counts count_members(const struct process_pool *pool)
{
	struct pool_counts counts = { 0 };
	const struct member *member;
	TAILQ_FOREACH (member, &pool->members, next) {
		counts.deaf += member_is_deaf(member);
		counts.retiring += !member->stopped && !member_is_deaf(member) && member->state == MEMBER_RETIRING;
		if (member->stopped || member_is_deaf(member) || member->state >= MEMBER_RETIRING)
			continue;
		counts.live++;
		counts.busy += member->busy;
		if (member->state == MEMBER_READY) {
			counts.ready++;
			counts.room += pool->own->calls;
		} else {
			counts.starting++;
		}
	}
	return counts;
}

/* One more than there are is enough at a time, and before the last place is taken. */
static size_t wanted_members(const struct process_pool *pool, const struct pool_counts *counts)
{
	bool crowded = !TAILQ_EMPTY(&pool->waiting) || (counts->room && counts->busy * 4 > counts->room * 3);
	size_t want = counts->live, least = pool->own->min;
	if (crowded && counts->starting == 0)
		want++;
	size_t most = pool->own->max > counts->deaf ? pool->own->max - counts->deaf : 0;
	if (want > most)
		want = most;
	if (least == 0 && (pool->unlisted || counts->retiring))
		least = 1; /* somebody has to tell the tools; and the one that has reached max_calls goes only when there is another */
	least = least < most ? least : most;
	return want < least ? least : want;
}

/* How many members are fit, by the words of endpoints: those that take calls are up, those that are to go draining; and
 * those that are missing because programs have failed, ejected. */
static void show_fitness(const struct process_pool *pool)
{
	struct pool_counts counts = count_members(pool);
	size_t want = pool->failures ? wanted_members(pool, &counts) : 0;
	const size_t shown[ENDPOINT_STATE_COUNT] = {
		[ENDPOINT_STATE_UP] = counts.ready,
		[ENDPOINT_STATE_EJECTED] = want > counts.live ? want - counts.live : 0,
		[ENDPOINT_STATE_DRAINING] = counts.retiring,
	};
	for (size_t i = 0; i < ENDPOINT_STATE_COUNT; i++)
		meter_set(pool->meter, METRIC_ID_ENDPOINT_STATE, upstream_endpoint_label(pool->settings, 0), i,
			  (int64_t)shown[i]);
}

static void show_pool(struct process_pool *pool)
{
	size_t count = 0, ready = 0;
	uint64_t cpu_us = pool->cpu_gone_us, resident_bytes = 0;
	const struct member *member;
	TAILQ_FOREACH (member, &pool->members, next) {
		count++;
		if (member->state == MEMBER_READY || member->state == MEMBER_RETIRING)
			ready++;
		cpu_us += member->cpu_us;
		resident_bytes += member->resident_bytes;
	}
	unsigned label = pool->settings->label;
	meter_set(pool->meter, METRIC_ID_PROCESSES, label, 0, (int64_t)count);
	meter_set(pool->meter, METRIC_ID_PROCESS_CPU, label, 0, (int64_t)cpu_us);
	meter_set(pool->meter, METRIC_ID_PROCESS_RESIDENT, label, 0, (int64_t)resident_bytes);
	if (pool->settings->endpoint_count == 0)
		return;
	show_fitness(pool);
	pool_show_members(pool);
	meter_set(pool->meter, METRIC_ID_UPSTREAM_HEALTHY, upstream_endpoint_label(pool->settings, 0), 0,
		  ready > 0 || pool->failures == 0);
}

static uint64_t jitter_time(struct process_pool *pool, uint64_t us)
{
	return us / 2 + random_next(&pool->random) % (us / 2 + 1);
}

static uint64_t backoff_us(struct process_pool *pool)
{
	uint64_t us = pool->own->restart_backoff_us;
	if (pool->failures == 0)
		return 0;
	for (unsigned i = 1; i < pool->failures && us < BACKOFF_MAX_US; i++)
		us *= 2;
	return jitter_time(pool, us < BACKOFF_MAX_US ? us : BACKOFF_MAX_US);
}

static void note_failure(struct process_pool *pool)
{
	if (pool->failures < FAILURES_COUNTED)
		pool->failures++;
	pool->not_before_us = clock_add(loop_now(pool->loop), backoff_us(pool));
}

/* A server that does not come up cannot list its tools. */
static void note_no_list(struct process_pool *pool)
{
	struct pool_counts counts = count_members(pool);
	if (pool->mcp && pool->watcher && counts.ready + counts.retiring == 0)
		pool->watcher->tools_failed(pool->watcher->context, pool->trouble);
}

/* False: it came to nothing. */
static bool start_one(struct process_pool *pool)
{
	struct member *member = member_start(pool);
	if (!member) {
		note_failure(pool);
		log_process(pool, &EVENT_PROCESS_NOT_STARTED, pool->trouble, 0);
		note_no_list(pool);
		return false;
	}
	pool_count(pool, METRIC_ID_PROCESS_STARTS);
	TAILQ_INSERT_TAIL(&pool->members, member, next);
	return true;
}

static void stop_member(struct member *member)
{
	member->state = MEMBER_LEAVING;
	member_stop(member);
}

/* Those nobody needs any more. Returns when the next one is due. */
static uint64_t stop_idlers(struct process_pool *pool, const struct pool_counts *counts)
{
	uint64_t now_us = loop_now(pool->loop), next_us = CLOCK_NEVER;
	size_t spare = counts->ready > pool->own->min ? counts->ready - pool->own->min : 0;
	struct member *member;
	TAILQ_FOREACH (member, &pool->members, next) {
		if (member->stopped || member->busy)
			continue;
		if (member->state == MEMBER_LEAVING) {
			stop_member(member);
		} else if (member->state == MEMBER_READY && spare) {
			uint64_t due_us = clock_add(member->idle_since_us, pool->own->idle_timeout_us);
			spare--;
			if (due_us <= now_us)
				stop_member(member);
			else if (due_us < next_us)
				next_us = due_us;
		}
	}
	return next_us;
}

/* After every change: calls to where there is room, processes to where they are needed. */
static void settle_pool(struct process_pool *pool)
{
	uint64_t now_us = loop_now(pool->loop), next_us;
	if (pool->freeing)
		return;
	pool_place_waiting(pool);
	struct pool_counts counts = count_members(pool);
	size_t want = wanted_members(pool, &counts);
	while (counts.live < want && pool->not_before_us <= now_us && start_one(pool)) {
		pool_place_waiting(pool);
		counts = count_members(pool);
	}
	if (counts.live == 0 && pool->not_before_us > now_us && pool->failures >= FAILURES_REFUSE)
		refuse_waiting(pool);
	next_us = stop_idlers(pool, &counts);
	if (counts.live < want && pool->not_before_us < next_us)
		next_us = pool->not_before_us;
	if (next_us == CLOCK_NEVER)
		loop_disarm(pool->loop, &pool->timer);
	else
		loop_arm(pool->loop, &pool->timer, next_us);
	show_pool(pool);
}

static void on_time(struct loop_timer *timer, uint64_t now_us)
{
	(void)now_us;
	settle_pool(container_of(timer, struct process_pool, timer));
}

static void on_flush(struct loop_timer *timer, uint64_t now_us)
{
	(void)now_us;
	process_pool_flush(container_of(timer, struct process_pool, flush));
}

/* ---------------------------------------------------------------- what members tell */

/* Those that have reached max_calls have waited for this. */
static void let_retire(struct process_pool *pool)
{
	struct member *member;
	TAILQ_FOREACH (member, &pool->members, next)
		if (member->state == MEMBER_RETIRING)
			member->state = MEMBER_LEAVING;
}

void pool_member_ready(struct member *member)
{
	struct process_pool *pool = member->pool;
	bool first = true;
	const struct member *other;
	loop_disarm(pool->loop, &member->timer);
	TAILQ_FOREACH (other, &pool->members, next)
		first = first && other->state == MEMBER_STARTING;
	member->state = MEMBER_READY;
	member->idle_since_us = loop_now(pool->loop);
	log_process(pool, &EVENT_PROCESS_READY, NULL, loop_now(pool->loop) - member->started_us);
	let_retire(pool);
	if (first || pool->list_waits)
		pool_list_soon(pool);
	settle_pool(pool);
}

/* Progress names its call. A log message does not: it is the call's that is alone in the process, if no other can have
 * left it behind. */
void pool_member_notification(struct member *member, const struct mcp_message *message)
{
	struct pool_call *call = NULL;
	uint64_t id;
	if (!message->params.len || json_type(message->params) != JSON_OBJECT)
		return;
	if (mcp_progress_id(message, &id)) {
		if ((call = pool_find_call(member, id)) && call->asks.progress)
			call->on_notification(call, MCP_NOTIFICATION_PROGRESS, message->params);
	} else if (member->busy == 1 && !member->ambiguous && mcp_method_is(message, "notifications/message")) {
		call = TAILQ_FIRST(&member->calls);
		if (call->asks.level != MCP_LEVEL_NONE)
			call->on_notification(call, MCP_NOTIFICATION_MESSAGE, message->params);
	}
}

bool pool_member_answered(struct member *member, uint64_t id, struct answer *answer)
{
	struct process_pool *pool = member->pool;
	struct pool_call *call = pool_find_call(member, id);
	if (!call) {
		answer_unref(answer); /* nobody waits for it any more, or it was never asked */
		pool_noise(pool);
		return false;
	}
	bool leaves = member->state == MEMBER_LEAVING && member->busy == 1;
	pool_take_out(call);
	member->useful = true;
	call->answered(call, answer);
	bool may_idle_too_long = member->busy == 0 && !pool->timer.place;
	if (!TAILQ_EMPTY(&pool->waiting) || leaves || may_idle_too_long)
		settle_pool(pool);
	return true;
}

void pool_member_sampled(struct member *member)
{
	struct process_pool *pool = member->pool;
	uint64_t limit = pool->own->process.memory_bytes;
	if (limit && member->resident_bytes > limit && member->state == MEMBER_READY) {
		member->state = MEMBER_RETIRING;
		log_process(pool, &EVENT_PROCESS_TOO_LARGE, "it holds more than upstreams.*.memory",
			    loop_now(pool->loop) - member->started_us);
		settle_pool(pool);
	}
	show_pool(pool);
}

/* ---------------------------------------------------------------- how they end */

static void append_words(char trouble[TROUBLE_BYTES], const struct member *member)
{
	size_t len = strlen(trouble);
	if (member->last_words_len)
		snprintf(trouble + len, TROUBLE_BYTES - len, " (its last words: %.*s)", (int)member->last_words_len,
			 member->last_words);
}

/* Its last words are for the call that they can only be about. */
static struct answer *lost_answer(const struct member *member, const struct pool_call *call)
{
	const struct process_pool *pool = member->pool;
	char trouble[TROUBLE_BYTES];
	memcpy(trouble, pool->trouble, sizeof trouble);
	if (member->last_words_id == call->id)
		append_words(trouble, member);
	if (call->repeatable)
		return trouble_answer(pool, OUTCOME_UPSTREAM_ERROR, trouble, "; so did another one with this call", 0);
	return trouble_answer(pool, OUTCOME_OUTCOME_UNKNOWN, trouble, "; whether the call was carried out is not known",
			      0);
}

static void report_trouble(struct process_pool *pool, const struct member *member, const char *reason,
			   uint64_t lived_us)
{
	char logged[TROUBLE_BYTES];
	snprintf(logged, sizeof logged, "%s%.160s", member->killed[0] ? "was ended by the gateway: " : "",
		 member->killed[0] ? member->killed : reason);
	memcpy(pool->trouble, logged, sizeof logged);
	append_words(logged, member);
	if (member->last_words_open)
		append_words(pool->trouble, member);
	log_process(pool, member->state == MEMBER_STARTING ? &EVENT_PROCESS_NOT_STARTED : &EVENT_PROCESS_CRASHED,
		    logged, lived_us);
}

static void answer_lost_calls(struct member *member)
{
	struct pool_call *call;
	while ((call = TAILQ_FIRST(&member->calls))) {
		pool_take_out(call);
		call->answered(call, lost_answer(member, call));
	}
}

void pool_member_ended(struct member *member, bool cannot_start, const char *reason)
{
	struct process_pool *pool = member->pool;
	uint64_t lived_us = loop_now(pool->loop) - member->started_us;
	bool starting = member->state == MEMBER_STARTING || cannot_start;
	bool meant = member->state == MEMBER_LEAVING;
	TAILQ_REMOVE(&pool->members, member, next);
	member->stopped = true;
	pool->cpu_gone_us += member->cpu_us;
	if (!meant) {
		pool_count(pool, METRIC_ID_PROCESS_CRASHES);
		report_trouble(pool, member, reason, lived_us);
		if (starting || (!member->useful && lived_us < STEADY_US))
			note_failure(pool);
		else
			pool->failures = 0; /* what fells it may be a call: the others need it back at once */
	}
	pool_take_back(member, cannot_start);
	answer_lost_calls(member);
	if (member->list_id && meant)
		pool_list_soon(pool); /* another one will tell */
	else if (member->list_id)
		pool_list_failed(pool, pool->trouble);
	member_free(member);
	if (!meant && starting)
		note_no_list(pool);
	struct pool_counts counts = count_members(pool);
	if (counts.live == 0 && !meant && starting)
		refuse_waiting(pool);
	settle_pool(pool);
}

/* ---------------------------------------------------------------- the front door */

enum mcp_era process_pool_era(const struct process_pool *pool)
{
	return pool->era;
}

struct answer *process_pool_refusal(struct process_pool *pool)
{
	uint64_t now_us = loop_now(pool->loop);
	if (pool->failures < FAILURES_REFUSE || pool->not_before_us <= now_us || pool_pick_member(pool))
		return NULL;
	struct pool_counts counts = count_members(pool);
	if (counts.live)
		return NULL;
	char rest[64];
	uint64_t wait_us = pool->not_before_us - now_us;
	snprintf(rest, sizeof rest, "; tried again in %.1f s", (double)wait_us / (double)CLOCK_US_PER_S);
	return trouble_answer(pool, OUTCOME_UPSTREAM_UNAVAILABLE, pool->trouble, rest,
			      (uint32_t)(wait_us / CLOCK_US_PER_S) + 1);
}

void process_pool_put(struct process_pool *pool, struct pool_call *call)
{
	assert_owner(loop_owner(pool->loop));
	call->member = NULL;
	call->waits = call->repeated = false;
	if (TAILQ_EMPTY(&pool->waiting) && pool_place_call(pool, call)) {
		struct pool_counts counts = count_members(pool);
		if (counts.live < wanted_members(pool, &counts))
			loop_arm(pool->loop, &pool->timer, loop_now(pool->loop));
		return;
	}
	call->waits = true;
	TAILQ_INSERT_TAIL(&pool->waiting, call, next);
	loop_arm(pool->loop, &pool->timer, loop_now(pool->loop)); /* not here: a start may tell at once */
}

void process_pool_flush(struct process_pool *pool)
{
	assert_owner(loop_owner(pool->loop));
	struct member *member;
	TAILQ_FOREACH (member, &pool->members, next) {
		if (!member->dirty)
			continue;
		member->dirty = false;
		process_flush(member->process);
		pool_member_deaf(member); /* if that has shown it to be */
	}
}

/* One that answers nobody and says nothing may not be there any more. */
static void note_timeout(struct member *member)
{
	if (++member->silent_timeouts >= SILENT_TIMEOUTS && !member->stopped)
		member_doubt(member);
}

void process_pool_forget(struct process_pool *pool, struct pool_call *call, bool timed_out)
{
	assert_owner(loop_owner(pool->loop));
	struct member *member = call->member;
	if (call->waits) {
		TAILQ_REMOVE(&pool->waiting, call, next);
		call->waits = false;
	}
	if (!member)
		return;
	pool_take_out(call);
	member->ambiguous |= call->line.written > 0;
	member_cancel(member, call);
	if (timed_out)
		note_timeout(member);
	loop_arm(pool->loop, &pool->timer, loop_now(pool->loop)); /* there is room now */
}

void process_pool_watch(struct process_pool *pool, const struct upstream_watcher *watcher)
{
	assert_owner(loop_owner(pool->loop));
	pool->watcher = watcher;
	pool->unlisted = pool->mcp;
	loop_arm(pool->loop, &pool->timer, loop_now(pool->loop)); /* with min: 0 one is started to list them */
	pool_list_soon(pool);
}

struct process_pool *process_pool_new(const struct upstream_settings *settings, struct transport *transport,
				      struct loop *loop, struct meter *meter)
{
	struct process_pool *pool = calloc(1, sizeof *pool);
	if (!pool || !call_ids_init(&pool->ids) || !loop_timers_reserve(loop, POOL_TIMERS)) {
		free(pool);
		return NULL;
	}
	pool->settings = settings;
	pool->own = settings->process;
	pool->mcp = settings->dialect->lists_tools;
	pool->pinned =
		settings->mcp_protocol && strcmp(settings->mcp_protocol, "auto") != 0 ? settings->mcp_protocol : NULL;
	pool->era = pool->pinned && strcmp(pool->pinned, MCP_VERSION_MODERN) == 0 ? MCP_MODERN : MCP_LEGACY;
	pool->transport = transport;
	pool->loop = loop;
	pool->meter = meter;
	pool->mended = BUF_INIT(SIZE_MAX / 4);
	pool->instructions = BUF_INIT(SIZE_MAX / 4);
	pool->timer = LOOP_TIMER_INIT(on_time);
	pool->flush = LOOP_TIMER_INIT(on_flush);
	pool->list = LOOP_TIMER_INIT(pool_on_list);
	TAILQ_INIT(&pool->members);
	TAILQ_INIT(&pool->waiting);
	pool->random = random_fresh(pool);
	assert(pool->own->min <= pool->own->max && pool->own->calls > 0);
	loop_arm(loop, &pool->timer, 0); /* with the first turn */
	show_pool(pool);
	return pool;
}

void process_pool_free(struct process_pool *pool)
{
	assert_owner(loop_owner(pool->loop));
	struct member *member;
	assert(TAILQ_EMPTY(&pool->waiting));
	pool->freeing = true;
	while ((member = TAILQ_FIRST(&pool->members))) {
		assert(member->busy == 0);
		TAILQ_REMOVE(&pool->members, member, next);
		member_free(member);
	}
	loop_disarm(pool->loop, &pool->timer);
	loop_disarm(pool->loop, &pool->flush);
	loop_disarm(pool->loop, &pool->list);
	loop_timers_release(pool->loop, POOL_TIMERS);
	json_scratch_fini(&pool->scratch);
	buf_fini(&pool->mended);
	buf_fini(&pool->instructions);
	free(pool);
}
