/* SPDX-License-Identifier: Apache-2.0 */
/* member.c: MCP over stdio (2025-11-25, "stdio": one message a line) and plain JSON-RPC 2.0 by lines. */
#include "upstream/process/member.h"

#include <stdarg.h>
#include <stdio.h>
#include <assert.h>
#include <stdlib.h>

#include "base/log.h"
#include "upstream/provider.h"
#include "upstream/dialects/answer_tracker.h"

enum { MESSAGE_BYTES = 4096, MEMBER_TIMERS = 3, NOISE_BYTES_MAX = 16 << 20 /* a second */ };
#define LIST_TIMEOUT_US (30 * CLOCK_US_PER_S)
#define PING_TIMEOUT_US (10 * CLOCK_US_PER_S)
#define OVERLONG_TIMEOUT_US (5 * CLOCK_US_PER_S) /* from the cap of a line to its end */

/* --- saying something --- */

/* One message of ours. A queue that is full loses it: the process is not reading, and calls will tell. */
static bool say_message(struct member *member, struct buf *message)
{
	buf_put_char(message, '\n');
	bool said = !message->failed && process_say(member->process, buf_slice(message));
	if (said)
		process_flush(member->process);
	buf_fini(message);
	return said;
}

static void greet_process(struct member *member)
{
	struct buf message = BUF_INIT(MESSAGE_BYTES);
	member->handshake_id = process_pool_id(member->pool);
	if (member->pool->era == MCP_MODERN)
		mcp_put_discover(&message, member->handshake_id);
	else
		mcp_put_initialize(&message, member->handshake_id, member->pool->pinned);
	if (!say_message(member, &message))
		member_kill(member, "it does not read what it is sent");
}

static void reply_to(struct member *member, const struct mcp_message *request)
{
	struct buf message = BUF_INIT(MESSAGE_BYTES);
	mcp_put_reply(&message, request);
	if (!say_message(member, &message))
		pool_noise(member->pool);
}

/* --- its tools --- */

static void end_list(struct member *member)
{
	member->list_id = 0;
	if (member->state != MEMBER_STARTING)
		loop_disarm(member->pool->loop, &member->timer);
}

static void list_failed(struct member *member, const char *why)
{
	end_list(member);
	mcp_tools_fini(&member->tools);
	pool_list_failed(member->pool, why);
}

static void ask_for_page(struct member *member)
{
	struct buf message = BUF_INIT(MESSAGE_BYTES + member->tools.cursor.len);
	member->list_id = process_pool_id(member->pool);
	mcp_put_tools_list(&message, member->pool->era, member->list_id, buf_slice(&member->tools.cursor));
	if (say_message(member, &message))
		loop_arm(member->pool->loop, &member->timer, clock_add(loop_now(member->pool->loop), LIST_TIMEOUT_US));
	else
		list_failed(member, "it does not read what it is sent");
}

void member_list(struct member *member)
{
	mcp_tools_fini(&member->tools);
	mcp_tools_init(&member->tools, member->pool->settings->mcp_list_bytes, false);
	ask_for_page(member);
}

static void take_page(struct member *member, const struct mcp_message *message)
{
	char why[MCP_LIST_WHY_BYTES];
	end_list(member);
	switch (mcp_tools_take(&member->tools, message)) {
	case MCP_PAGE_BAD:
		memcpy(why, member->tools.why, sizeof why);
		list_failed(member, why);
		break;
	case MCP_PAGE_MORE:
		ask_for_page(member);
		break;
	case MCP_PAGE_LAST:
		pool_listed(member);
		mcp_tools_fini(&member->tools);
		break;
	}
}

/* --- its handshake --- */

/* Whether the answer names a version that we speak. */
static bool handshake_fits(const struct member *member, const struct mcp_message *message)
{
	struct slice version = mcp_result_member(message, "protocolVersion");
	struct buf text = BUF_INIT(64);
	if (member->pool->era == MCP_MODERN)
		return mcp_lists_version(mcp_result_member(message, "supportedVersions"), MCP_MODERN);
	if (version.len && json_type(version) == JSON_STRING)
		json_unescape(version, &text);
	bool known = mcp_version_known(buf_slice(&text));
	buf_fini(&text);
	return known;
}

/* A legacy server is told that all is well, a modern one what it may tell. */
static bool reply_to_handshake(struct member *member)
{
	struct buf message = BUF_INIT(MESSAGE_BYTES);
	if (member->pool->era == MCP_MODERN) {
		member->listen_id = process_pool_id(member->pool);
		mcp_put_listen(&message, member->listen_id);
	} else {
		mcp_put_initialized(&message);
	}
	return say_message(member, &message);
}

static void take_handshake(struct member *member, const struct mcp_message *message)
{
	bool modern = member->pool->era == MCP_MODERN, fits = handshake_fits(member, message);
	member->handshake_id = 0;
	mcp_take_instructions(message, &member->pool->instructions);
	if (!fits)
		member_kill(member, "its answer to %s names no protocol version that is %s",
			    modern ? "server/discover" : "initialize", modern ? "configured" : "known");
	else if (reply_to_handshake(member))
		pool_member_ready(member);
	else
		member_kill(member, "it does not read what it is sent");
}

static void on_time(struct loop_timer *timer, uint64_t now_us)
{
	struct member *member = container_of(timer, struct member, timer);
	(void)now_us;
	if (member->state == MEMBER_STARTING)
		member_kill(member, "no answer to %s within %.1f s",
			    member->pool->era == MCP_MODERN ? "server/discover" : "initialize",
			    (double)member->pool->own->start_timeout_us / (double)CLOCK_US_PER_S);
	else
		list_failed(member, "no answer to tools/list in time");
}

/* Every line is a sign of life. */
static void note_life(struct member *member)
{
	member->silent_timeouts = 0;
	if (member->ping_id)
		loop_disarm(member->pool->loop, &member->ping);
}

void member_doubt(struct member *member)
{
	struct process_pool *pool = member->pool;
	struct buf message = BUF_INIT(MESSAGE_BYTES);
	if (member->ping.place || member->stopped)
		return;
	if (!pool->mcp) { /* nothing to ask with */
		member_kill(member, "it let %u calls time out and said nothing", member->silent_timeouts);
		return;
	}
	member->ping_id = process_pool_id(pool);
	mcp_put_ping(&message, pool->era, member->ping_id);
	if (say_message(member, &message))
		loop_arm(pool->loop, &member->ping, clock_add(loop_now(pool->loop), PING_TIMEOUT_US));
	else
		member_kill(member, "it let %u calls time out and does not read what it is sent",
			    member->silent_timeouts);
}

static void on_ping(struct loop_timer *timer, uint64_t now_us)
{
	struct member *member = container_of(timer, struct member, ping);
	(void)now_us;
	member_kill(member, "it let %u calls time out, said nothing, and did not answer a ping within %d s",
		    member->silent_timeouts, (int)(PING_TIMEOUT_US / CLOCK_US_PER_S));
}

/* --- what it says --- */

static struct answer *rpc_answer(const struct mcp_message *message)
{
	static const struct answer_tracker no_tracker;
	return message->kind == MCP_RESULT ? answer_result(message->result, true, NULL)
					   : tracker_tool_error(&no_tracker, 0, message->error, message->error);
}

static struct answer *answer_of(const struct process_pool *pool, const struct mcp_message *message)
{
	return pool->mcp ? mcp_answer(message, pool->settings->json_depth, 0) : rpc_answer(message);
}

/* NULL: out of memory. */
static bool answer_call(struct member *member, uint64_t id, struct answer *answer)
{
	return pool_member_answered(member, id,
				    answer ? answer
					   : answer_error(OUTCOME_UPSTREAM_ERROR,
							  "the gateway had no memory left for the provider's answer"));
}

/* What it says names this id. */
static void note_id(struct member *member, uint64_t id)
{
	if (!call_ids_is_guess(&member->pool->ids, id) || ++member->guesses <= MEMBER_GUESSES_MAX || member->stopped)
		return;
	member_kill(member, "it answered %u requests that it was never sent", member->guesses);
}

static bool is_believed(const struct member *member)
{
	return member->guesses <= MEMBER_GUESSES_MAX;
}

/* These take a line and return whether it was one that somebody waits for. */

/* Request `id` was answered with what is no answer. */
static bool fail_broken(struct member *member, uint64_t id, const char *fault)
{
	pool_noise(member->pool);
	if (id == 0 || id == member->handshake_id || id == member->listen_id)
		return false;
	if (id == member->list_id)
		list_failed(member, fault);
	else
		return answer_call(member, id, mcp_broken_answer(fault));
	return true;
}

static bool take_answer(struct member *member, const struct mcp_message *message)
{
	uint64_t id;
	if (!mcp_id(message, &id) || id == 0) {
		pool_noise(member->pool);
		return false;
	}
	note_id(member, id);
	if (!message->is_rpc_2)
		return fail_broken(member, id, "there is no \"jsonrpc\": \"2.0\" in it");
	if (id == member->handshake_id)
		take_handshake(member, message);
	else if (id == member->listen_id)
		member->listen_id = 0; /* it will tell of no changes */
	else if (id == member->ping_id)
		member->ping_id = 0;
	else if (id == member->list_id)
		take_page(member, message);
	else
		return answer_call(member, id, answer_of(member->pool, message));
	return true;
}

/* An answer that cannot be read fails its call at once, if it says whose it was to be. */
static bool take_broken(struct member *member, struct slice line, const char *fault)
{
	uint64_t id;
	if (mcp_id_of_broken(line, &id))
		return fail_broken(member, id, fault);
	pool_noise(member->pool);
	return false;
}

static bool take_line(struct member *member, struct slice line)
{
	struct process_pool *pool = member->pool;
	struct mcp_message message;
	const char *fault;
	uint64_t id;
	if (!mcp_read_mended(line, pool->settings->json_depth, &pool->scratch, &member->ahead, &pool->mended, &message,
			     &fault))
		return take_broken(member, line, fault);
	switch (message.kind) {
	case MCP_RESULT:
	case MCP_ERROR:
		return take_answer(member, &message);
	case MCP_REQUEST:
		reply_to(member, &message);
		return false;
	case MCP_NOTIFICATION:
		if (mcp_progress_id(&message, &id))
			note_id(member, id);
		if (mcp_method_is(&message, "notifications/tools/list_changed"))
			pool_list_changed(pool);
		else
			pool_member_notification(member, &message);
		return false;
	}
	return false;
}

/* Reading lines that nobody waits for takes time from the worker's other callers: a program that writes hardly anything
 * else is not kept. */
static void charge_noise(struct member *member, size_t bytes)
{
	uint64_t now_us = loop_now(member->pool->loop);
	if (now_us >= clock_add(member->noise_since_us, CLOCK_US_PER_S)) {
		member->noise_since_us = now_us;
		member->noise_bytes = 0;
	}
	member->noise_bytes += bytes;
	if (member->noise_bytes > NOISE_BYTES_MAX && !member->stopped)
		member_kill(member, "it wrote %d MiB within a second that were no answers", NOISE_BYTES_MAX >> 20);
}

static bool on_line(void *context, struct slice line)
{
	struct member *member = context;
	note_life(member);
	if (is_believed(member) && take_line(member, line))
		return true;
	charge_noise(member, line.len);
	return false;
}

/* --- an answer that is too long --- */

/* Request `id` was answered with it. */
static void fail_overlong(struct member *member, uint64_t id)
{
	const struct upstream_settings *settings = member->pool->settings;
	member->overlong_delivered = true;
	if (id == member->handshake_id && id)
		member_kill(member, "its answer to %s is longer than %zu bytes (upstreams.*.answer)",
			    member->pool->era == MCP_MODERN ? "server/discover" : "initialize", settings->answer_bytes);
	else if (id == member->list_id && id)
		list_failed(member, "its answer to tools/list is longer than a line may be (upstreams.*.answer)");
	else
		pool_member_answered(member, id,
				     member->no_room ? answer_error(OUTCOME_UPSTREAM_ERROR,
								    "%s: limits.in_flight_bytes has no room for its "
								    "answer",
								    settings->name)
						     : answer_error(OUTCOME_UPSTREAM_ERROR,
								    "%s: the answer is longer than %zu bytes "
								    "(upstreams.*.answer)",
								    settings->name, settings->answer_bytes));
}

static struct answer *stray_answer(const struct member *member, const struct pool_call *call)
{
	const struct upstream_settings *settings = member->pool->settings;
	return answer_error(call->repeatable ? OUTCOME_UPSTREAM_ERROR : OUTCOME_OUTCOME_UNKNOWN,
			    "%s: an answer is longer than %zu bytes (upstreams.*.answer) and says not whose it is%s",
			    settings->name, settings->answer_bytes,
			    call->repeatable ? "" : "; whether the call was carried out is not known");
}

/* It may have been anybody's. Counted: those that come in meanwhile are not in question. */
static void fail_all(struct member *member)
{
	member->overlong_delivered = true;
	for (size_t left = member->busy; left > 0 && !TAILQ_EMPTY(&member->calls); left--) {
		const struct pool_call *call = TAILQ_FIRST(&member->calls);
		member_cancel(member, call);
		pool_member_answered(member, call->id, stray_answer(member, call));
	}
	if (member->list_id)
		fail_overlong(member, member->list_id);
	if (member->handshake_id)
		fail_overlong(member, member->handshake_id);
}

/* The only request that waits for an answer; 0: there are several, or none. */
static uint64_t only_request(const struct member *member)
{
	size_t own = (member->handshake_id != 0) + (member->list_id != 0);
	if (member->busy + own != 1)
		return 0;
	return member->busy ? TAILQ_FIRST(&member->calls)->id : member->list_id | member->handshake_id;
}

/* Others' answers are behind it. */
static void on_overlong_time(struct loop_timer *timer, uint64_t now_us)
{
	struct member *member = container_of(timer, struct member, overlong);
	(void)now_us;
	if (!member->overlong_delivered)
		fail_all(member);
	member_kill(member, "it wrote a line longer than %zu bytes (upstreams.*.answer) and did not end it within %d s",
		    member->pool->settings->answer_bytes, (int)(OVERLONG_TIMEOUT_US / CLOCK_US_PER_S));
}

/* Whose answer it was is said at its beginning or at its end, or there is but one that waits. Else it is
 * everybody's. */
static void on_overlong(void *context, struct slice text, bool ended)
{
	struct member *member = context;
	struct process_pool *pool = member->pool;
	uint64_t id;
	if (ended) {
		loop_disarm(pool->loop, &member->overlong);
		if (member->overlong_delivered)
			return;
		if (mcp_id_at_end(text, &id))
			fail_overlong(member, id);
		else
			fail_all(member);
		return;
	}
	pool_noise(pool);
	json_ahead_end(&member->ahead);
	if (!member->stopped)
		loop_arm(pool->loop, &member->overlong, clock_add(loop_now(pool->loop), OVERLONG_TIMEOUT_US));
	member->overlong_delivered = mcp_asks_at_start(text);
	if (!member->overlong_delivered && (mcp_id_at_start(text, &id) || (id = only_request(member))))
		fail_overlong(member, id);
}

static void on_complained(void *context, struct slice line)
{
	struct member *member = context;
	member->last_words_len = line.len < LAST_WORDS_BYTES ? line.len : LAST_WORDS_BYTES;
	memcpy(member->last_words, line.at, member->last_words_len);
	member->last_words_id = member->busy == 1 && !member->ambiguous ? TAILQ_FIRST(&member->calls)->id : 0;
	member->last_words_open = member->served == 0;
	pool_member_complained(member, line);
}

static void on_sampled(void *context, uint64_t cpu_us, uint64_t resident_bytes)
{
	struct member *member = context;
	if (cpu_us > member->cpu_us)
		member->cpu_us = cpu_us;
	member->resident_bytes = resident_bytes;
	pool_member_sampled(member);
}

static void on_ended(void *context, bool cannot_start, const char *reason)
{
	struct member *member = context;
	pool_member_ended(member, cannot_start, reason);
}

static bool on_hold(void *context, enum process_holds what, size_t bytes)
{
	struct member *member = context;
	if (what == PROCESS_HOLDS_QUEUED)
		return transport_hold_request(member->pool->transport, bytes);
	member->no_room = !transport_hold(member->pool->transport, bytes);
	return !member->no_room;
}

static void on_let_go(void *context, enum process_holds what, size_t bytes)
{
	struct member *member = context;
	if (what == PROCESS_HOLDS_QUEUED)
		transport_let_go_request(member->pool->transport, bytes);
	else
		transport_let_go(member->pool->transport, bytes);
}

static void on_line_under_way(void *context, struct slice beginning)
{
	struct member *member = context;
	mcp_look_ahead(&member->ahead, beginning, member->pool->settings->json_depth);
}

static void on_deafened(void *context)
{
	pool_member_deaf(context);
}

static const struct process_events events = { on_line, on_overlong, on_complained, on_sampled,       on_ended,
					      on_hold, on_let_go,   on_deafened,   on_line_under_way };

/* --- life --- */

struct member *member_start(struct process_pool *pool)
{
	char error[PROCESS_REASON_BYTES];
	struct member *member = calloc(1, sizeof *member);
	if (!member || !loop_timers_reserve(pool->loop, MEMBER_TIMERS)) {
		snprintf(pool->trouble, sizeof pool->trouble, "cannot be started: out of memory");
		free(member);
		return NULL;
	}
	member->pool = pool;
	member->timer = LOOP_TIMER_INIT(on_time);
	member->ping = LOOP_TIMER_INIT(on_ping);
	member->overlong = LOOP_TIMER_INIT(on_overlong_time);
	member->started_us = member->idle_since_us = loop_now(pool->loop);
	member->started_wall_us = clock_wall_us();
	TAILQ_INIT(&member->calls);
	mcp_tools_init(&member->tools, 0, false);
	member->process = process_start(&pool->own->process, pool->loop, &events, member, error, sizeof error);
	if (!member->process) {
		snprintf(pool->trouble, sizeof pool->trouble, "%s", error);
		loop_timers_release(pool->loop, MEMBER_TIMERS);
		free(member);
		return NULL;
	}
	if (pool->mcp) {
		loop_arm(pool->loop, &member->timer, clock_add(member->started_us, pool->own->start_timeout_us));
		greet_process(member);
	} else {
		member->state = MEMBER_READY;
	}
	return member;
}

static void disarm_all(struct member *member)
{
	loop_disarm(member->pool->loop, &member->timer);
	loop_disarm(member->pool->loop, &member->ping);
	loop_disarm(member->pool->loop, &member->overlong);
}

void member_free(struct member *member)
{
	assert(TAILQ_EMPTY(&member->calls));
	disarm_all(member);
	loop_timers_release(member->pool->loop, MEMBER_TIMERS);
	process_free(member->process);
	mcp_tools_fini(&member->tools);
	json_ahead_end(&member->ahead);
	free(member);
}

bool member_give(struct member *member, struct pool_call *call)
{
	return process_put(member->process, &call->line);
}

bool member_is_deaf(const struct member *member)
{
	return !member->stopped && member->state != MEMBER_STARTING && !process_takes_lines(member->process);
}

void member_cancel(struct member *member, const struct pool_call *call)
{
	if (!member->pool->mcp || member->stopped || call->line.written == 0)
		return;
	struct buf message = BUF_INIT(MESSAGE_BYTES);
	mcp_put_cancelled(&message, member->pool->era, call->id);
	if (!say_message(member, &message))
		pool_noise(member->pool);
}

void member_stop(struct member *member)
{
	member->stopped = true;
	disarm_all(member);
	process_stop(member->process);
}

void member_kill(struct member *member, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	if (!member->killed[0])
		vsnprintf(member->killed, sizeof member->killed, format, args);
	va_end(args);
	member->stopped = true;
	disarm_all(member);
	process_kill(member->process);
}
