/* member.c: MCP over stdio (2025-11-25, "stdio": one message a line) and plain JSON-RPC 2.0 by lines. */
#include "upstream/process/member.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "upstream/dialects/tally.h"

enum { MESSAGE_BYTES = 4096 };
#define LIST_TIMEOUT_US (30 * CLOCK_US_PER_S)

/* --- saying something --- */

/* One message of ours. A queue that is full loses it: the process is not reading, and calls will tell. */
static bool say(struct member *member, struct buf *message)
{
	buf_put_char(message, '\n');
	bool said = !message->failed && process_put(member->process, buf_slice(message));
	if (said)
		process_flush(member->process);
	buf_fini(message);
	return said;
}

static void greet(struct member *member)
{
	struct buf message = BUF_INIT(MESSAGE_BYTES);
	member->greeting_id = process_pool_ids(member->pool, 1);
	if (member->pool->era == MCP_MODERN)
		mcp_put_discover(&message, member->greeting_id);
	else
		mcp_put_initialize(&message, member->greeting_id, member->pool->pinned);
	if (!say(member, &message))
		member_kill(member);
}

static void reply(struct member *member, const struct mcp_message *request)
{
	struct buf message = BUF_INIT(MESSAGE_BYTES);
	mcp_put_reply(&message, request);
	if (!say(member, &message))
		pool_noise(member->pool);
}

/* --- its tools --- */

static void list_failed(struct member *member, const char *why)
{
	const struct upstream_watcher *watcher = member->pool->watcher;
	member->list_id = 0;
	loop_disarm(member->pool->loop, &member->timer);
	mcp_tools_fini(&member->tools);
	if (watcher)
		watcher->tools_failed(watcher->context, why);
}

static void ask_for_page(struct member *member)
{
	struct buf message = BUF_INIT(MESSAGE_BYTES + member->tools.cursor.len);
	member->list_id = process_pool_ids(member->pool, 1);
	mcp_put_tools_list(&message, member->pool->era, member->list_id, buf_slice(&member->tools.cursor));
	if (say(member, &message))
		loop_arm(member->pool->loop, &member->timer, clock_add(loop_now(member->pool->loop), LIST_TIMEOUT_US));
	else
		list_failed(member, "it does not read what it is sent");
}

static void list_now(struct member *member)
{
	if (member->list_changed)
		mcp_list_pace_asked(&member->pool->pace, loop_now(member->pool->loop));
	member->list_again = member->list_changed = false;
	mcp_tools_fini(&member->tools);
	mcp_tools_init(&member->tools, member->pool->settings->mcp_list_bytes, false);
	ask_for_page(member);
}

/* False: it is not to be asked, or it is not the time. */
static bool may_list(const struct member *member)
{
	return member->pool->mcp && member->pool->watcher && member->state != MEMBER_STARTING && !member->stopped;
}

void member_list_soon(struct member *member)
{
	uint64_t now_us = loop_now(member->pool->loop);
	if (may_list(member) && !member->list_id && !member->timer.place)
		loop_arm(member->pool->loop, &member->timer, mcp_list_pace_due(&member->pool->pace, now_us));
}

/* It says that its list has changed. */
static void list_changed(struct member *member)
{
	struct process_pool *pool = member->pool;
	if (!may_list(member))
		return;
	member->list_again = member->list_id != 0;
	if (member->list_again || member->timer.place)
		return;
	member->list_changed = true;
	loop_arm(pool->loop, &member->timer, mcp_list_pace_due(&pool->pace, loop_now(pool->loop)));
}

static void take_page(struct member *member, const struct mcp_message *message)
{
	const struct upstream_watcher *watcher = member->pool->watcher;
	const char *why = NULL;
	loop_disarm(member->pool->loop, &member->timer);
	switch (mcp_tools_take(&member->tools, message, &why)) {
	case MCP_PAGE_BAD:
		list_failed(member, why);
		break;
	case MCP_PAGE_MORE:
		ask_for_page(member);
		return;
	case MCP_PAGE_LAST:
		member->list_id = 0;
		member->pool->unlisted = false;
		if (watcher)
			watcher->tools(watcher->context, mcp_tools_list(&member->tools));
		mcp_tools_fini(&member->tools);
		break;
	}
	if (member->list_again)
		list_changed(member);
}

/* --- its handshake --- */

/* Whether the answer names a version that we speak. */
static bool greeting_fits(const struct member *member, const struct mcp_message *message)
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
static bool reply_to_greeting(struct member *member)
{
	struct buf message = BUF_INIT(MESSAGE_BYTES);
	if (member->pool->era == MCP_MODERN) {
		member->listen_id = process_pool_ids(member->pool, 1);
		mcp_put_listen(&message, member->listen_id);
	} else {
		mcp_put_initialized(&message);
	}
	return say(member, &message);
}

static void greeted(struct member *member, const struct mcp_message *message)
{
	bool modern = member->pool->era == MCP_MODERN, fits = greeting_fits(member, message);
	member->greeting_id = 0;
	if (!fits) {
		snprintf(member->last_words, sizeof member->last_words,
			 "its answer to %s names no protocol version that is %s",
			 modern ? "server/discover" : "initialize", modern ? "configured" : "known");
		member->last_words_len = strlen(member->last_words);
	}
	if (fits && reply_to_greeting(member))
		pool_member_ready(member);
	else
		member_kill(member);
}

static void on_time(struct loop_timer *timer, uint64_t now_us)
{
	struct member *member = container_of(timer, struct member, timer);
	(void)now_us;
	if (member->state == MEMBER_STARTING) {
		snprintf(member->last_words, sizeof member->last_words, "no answer to %s within %.1f s",
			 member->pool->era == MCP_MODERN ? "server/discover" : "initialize",
			 (double)member->pool->own->start_timeout_us / (double)CLOCK_US_PER_S);
		member->last_words_len = strlen(member->last_words);
		member_kill(member);
	} else if (member->list_id) {
		list_failed(member, "no answer to tools/list in time");
	} else {
		list_now(member);
	}
}

/* --- what it says --- */

static struct answer *rpc_answer(const struct mcp_message *message)
{
	static const struct tally no_tally;
	return message->kind == MCP_RESULT ? answer_result(message->result, true, NULL)
					   : tally_tool_error(&no_tally, 0, message->error, message->error);
}

static struct answer *answer_of(const struct process_pool *pool, const struct mcp_message *message)
{
	struct answer *answer = pool->mcp ? mcp_answer(message, pool->settings->json_depth, 0) : rpc_answer(message);
	return answer ? answer
		      : answer_error(OUTCOME_UPSTREAM_ERROR,
				     "the gateway had no memory left for the provider's answer");
}

static void take_answer(struct member *member, const struct mcp_message *message)
{
	uint64_t id;
	if (!mcp_id(message, &id) || id == 0)
		pool_noise(member->pool);
	else if (id == member->greeting_id)
		greeted(member, message);
	else if (id == member->listen_id)
		member->listen_id = 0; /* it will tell of no changes */
	else if (id == member->list_id)
		take_page(member, message);
	else
		pool_member_answered(member, id, answer_of(member->pool, message));
}

static void on_line(void *context, struct slice line)
{
	struct member *member = context;
	struct process_pool *pool = member->pool;
	struct mcp_message message;
	const char *fault;
	member->silent_timeouts = 0;
	if (!mcp_read(line, pool->settings->json_depth, &pool->scratch, &message, &fault)) {
		pool_noise(pool);
		return;
	}
	switch (message.kind) {
	case MCP_RESULT:
	case MCP_ERROR:
		take_answer(member, &message);
		break;
	case MCP_REQUEST:
		reply(member, &message);
		break;
	case MCP_NOTIFICATION:
		if (mcp_method_is(&message, "notifications/tools/list_changed"))
			list_changed(member);
		else
			pool_member_noted(member, &message);
		break;
	}
}

/* Whose answer it was is said at its beginning or at its end, or there is but one call. */
static void on_overlong(void *context, struct slice text, bool ended)
{
	struct member *member = context;
	const struct pool_call *first = TAILQ_FIRST(&member->calls);
	uint64_t id;
	if (!ended) {
		pool_noise(member->pool);
		member->overlong_told = false;
	}
	if (member->overlong_told)
		return;
	if (!(ended ? mcp_id_at_end(text, &id) : mcp_id_at_start(text, &id))) {
		if (member->busy != 1 || ended)
			return;
		id = first->id;
	}
	member->overlong_told = true;
	pool_member_answered(member, id,
			     answer_error(OUTCOME_UPSTREAM_ERROR,
					  "%s: the answer is longer than %zu bytes (upstreams.*.answer)",
					  member->pool->settings->name, member->pool->settings->answer_bytes));
}

static void on_complained(void *context, struct slice line)
{
	struct member *member = context;
	member->last_words_len = line.len < LAST_WORDS_BYTES ? line.len : LAST_WORDS_BYTES;
	memcpy(member->last_words, line.at, member->last_words_len);
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
	if (member->list_id)
		list_failed(member, reason);
	pool_member_ended(member, cannot_start, reason);
}

static const struct process_events events = { on_line, on_overlong, on_complained, on_sampled, on_ended };

/* --- life --- */

struct member *member_start(struct process_pool *pool)
{
	char error[PROCESS_REASON_BYTES];
	struct member *member = calloc(1, sizeof *member);
	if (!member || !loop_timers_reserve(pool->loop, 1)) {
		snprintf(pool->trouble, sizeof pool->trouble, "cannot be started: out of memory");
		free(member);
		return NULL;
	}
	member->pool = pool;
	member->timer = LOOP_TIMER_INIT(on_time);
	member->started_us = member->idle_since_us = loop_now(pool->loop);
	TAILQ_INIT(&member->calls);
	mcp_tools_init(&member->tools, 0, false);
	member->process = process_start(&pool->own->process, pool->loop, &events, member, error, sizeof error);
	if (!member->process) {
		snprintf(pool->trouble, sizeof pool->trouble, "%s", error);
		loop_timers_release(pool->loop, 1);
		free(member);
		return NULL;
	}
	if (pool->mcp) {
		loop_arm(pool->loop, &member->timer, clock_add(member->started_us, pool->own->start_timeout_us));
		greet(member);
	} else {
		member->state = MEMBER_READY;
	}
	return member;
}

void member_free(struct member *member)
{
	loop_disarm(member->pool->loop, &member->timer);
	loop_timers_release(member->pool->loop, 1);
	process_free(member->process);
	mcp_tools_fini(&member->tools);
	free(member);
}

bool member_give(struct member *member, struct pool_call *call)
{
	call->begins_at = process_queued(member->process);
	return process_put(member->process, call->line);
}

void member_cancel(struct member *member, const struct pool_call *call)
{
	if (!member->pool->mcp || member->stopped)
		return;
	struct buf message = BUF_INIT(MESSAGE_BYTES);
	mcp_put_cancelled(&message, member->pool->era, call->id);
	if (!say(member, &message))
		pool_noise(member->pool);
}

void member_stop(struct member *member)
{
	member->stopped = true;
	loop_disarm(member->pool->loop, &member->timer);
	process_stop(member->process);
}

void member_kill(struct member *member)
{
	member->stopped = true;
	loop_disarm(member->pool->loop, &member->timer);
	process_kill(member->process);
}
