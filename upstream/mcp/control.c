/* SPDX-License-Identifier: Apache-2.0 */
/* control.c: a server's session, list and stream, kept off the callers' path. */
#include "upstream/mcp/control_private.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

enum { CONTROL_TIMERS = 4 };
#define OPEN_AGAIN_US CLOCK_US_PER_S /* after a failure; doubled with each, up to */
#define OPEN_AGAIN_MAX_US (30 * CLOCK_US_PER_S)
#define SESSION_STEADY_US (10 * CLOCK_US_PER_S) /* a session lost sooner was hardly one; after some of these, */
enum { SHORT_LIVED_FREE = 3 };                  /* the next is not opened at once */
#define LISTEN_AGAIN_US CLOCK_US_PER_S          /* likewise */
#define LISTEN_AGAIN_MAX_US (60 * CLOCK_US_PER_S)
#define LISTEN_STEADY_US (30 * CLOCK_US_PER_S) /* a stream that ends sooner has failed, whatever it said */

static uint64_t backoff_us(uint64_t first_us, uint64_t most_us, unsigned failures)
{
	uint64_t wait_us = first_us;
	while (failures-- > 1 && wait_us < most_us)
		wait_us *= 2;
	return wait_us < most_us ? wait_us : most_us;
}

static void arm_in(struct mcp_control *control, struct loop_timer *timer, uint64_t wait_us)
{
	loop_arm(control->loop, timer, clock_add(loop_now(control->loop), wait_us));
}

static void log_event(const struct mcp_control *control, const struct log_event *event, const char *why)
{
	struct log_line line UNCLEARED;
	if (!log_begin(&line, event))
		return;
	log_cstr(&line, "upstream", control->settings->name);
	if (control->session.state == MCP_READY)
		log_cstr(&line, "protocol",
			 control->session.era == MCP_MODERN ? MCP_VERSION_MODERN : control->session.version);
	log_cstr(&line, "reason", why);
	log_end(&line);
}

/* --- jobs --- */

void mcp_begin_post(struct encoded_request *request, const struct mcp_session *session, const char *method,
		    struct slice raw_name)
{
	request->method = "POST";
	request->content_type = "application/json";
	buf_put_text(&request->headers, "Accept: application/json, text/event-stream\n");
	mcp_session_put_headers(session, method, raw_name, &request->headers);
}

void mcp_begin_get(struct encoded_request *request, const struct mcp_session *session, const char *method,
		   struct slice raw_name)
{
	request->method = "GET";
	buf_put_text(&request->headers, "Accept: text/event-stream\n");
	mcp_session_put_headers(session, method, raw_name, &request->headers);
}

struct mcp_job *mcp_job_of(struct mcp_post *post)
{
	return container_of(post, struct mcp_job, post);
}

void mcp_job_answered(void *context, size_t index, struct answer *answer)
{
	struct mcp_job *job = context;
	(void)index;
	if (answer->outcome != OUTCOME_OK)
		snprintf(job->why, sizeof job->why, "%s", answer->detail);
	answer_unref(answer);
}

void mcp_job_foreign(struct mcp_post *post, const struct mcp_message *message)
{
	mcp_control_foreign(mcp_job_of(post)->control, message);
}

void mcp_job_ignore(struct mcp_post *post, const struct mcp_message *message)
{
	(void)post;
	(void)message; /* a refusal, or the orderly end of a subscription: the end of the exchange follows */
}

void mcp_job_prepare(struct mcp_job *job, struct mcp_control *control, const struct mcp_post_ops *ops)
{
	mcp_post_init(&job->post, ops, &control->session, loop_now(control->loop));
	job->control = control;
	job->heard = false;
	job->why[0] = '\0';
}

bool mcp_job_send(struct mcp_job *job, uint64_t timeout_us, const struct upstream_events *events)
{
	struct mcp_control *control = job->control;
	struct upstream_call call = { .route = &job->post.route, .arguments = SLICE("{}"), .repeatable = true };
	struct answer *refusal = NULL;
	job->exchange = upstream_http.send(control->http, &call, 1, clock_add(loop_now(control->loop), timeout_us),
					   events, job, &refusal);
	if (job->exchange)
		return true;
	snprintf(job->why, sizeof job->why, "%s", refusal->detail);
	answer_unref(refusal);
	return false;
}

void mcp_job_stop(struct mcp_job *job)
{
	if (job->exchange)
		upstream_http.abort(job->exchange);
	job->exchange = NULL;
}

/* --- opening --- */

static void show_state(struct mcp_control *control)
{
	bool ready = control->session.state == MCP_READY;
	meter_set(control->meter, METRIC_ID_MCP_READY, control->settings->label, 0, ready);
}

static void on_opened(struct mcp_control *control)
{
	bool modern = control->session.era == MCP_MODERN;
	control->open_failures = control->listen_failures = 0;
	control->opened_us = loop_now(control->loop);
	meter_add(control->meter, METRIC_ID_MCP_OPENS, control->settings->label,
		  modern ? MCP_OPENING_MODERN : MCP_OPENING_LEGACY, 1);
	show_state(control);
	log_event(control, &EVENT_MCP_OPENED, NULL);
	if (control->watcher)
		arm_in(control, &control->list_timer, 0);
	if (control->session.list_changed && control->watcher)
		arm_in(control, &control->listen_timer, 0);
	control->events->turned(control);
}

static void open_failed(struct mcp_control *control)
{
	/* the first failure of a row is news, the others are noise */
	if (control->open_failures++ == 0)
		log_event(control, &EVENT_MCP_NOT_OPENED, control->session.why);
	meter_add(control->meter, METRIC_ID_MCP_OPENS, control->settings->label, MCP_OPENING_FAILED, 1);
	show_state(control);
	arm_in(control, &control->open_timer, backoff_us(OPEN_AGAIN_US, OPEN_AGAIN_MAX_US, control->open_failures));
	if (control->watcher)
		control->watcher->tools_failed(control->watcher->context, control->session.why);
	control->events->turned(control);
}

static void take_step(struct mcp_control *control);

static void go_on_opening(struct mcp_control *control)
{
	if (control->session.state == MCP_READY)
		on_opened(control);
	else if (control->session.state == MCP_FAILED)
		open_failed(control);
	else
		take_step(control);
}

static bool write_step(struct mcp_post *post, const struct upstream_call *calls, size_t count, uint64_t first_id,
		       struct encoded_request *request)
{
	const struct mcp_session *session = &mcp_job_of(post)->control->session;
	(void)calls;
	(void)count;
	request->urgent = true;
	mcp_begin_post(request, session, "server/discover", (struct slice){ NULL, 0 });
	mcp_session_put(session, first_id, &request->body);
	return true;
}

static void on_step_message(struct mcp_post *post, const struct mcp_message *message)
{
	struct mcp_job *job = mcp_job_of(post);
	struct mcp_reply reply = { post->status, message, slice_of(post->session_id), NULL };
	job->heard = true;
	mcp_take_instructions(message, &job->control->instructions);
	mcp_session_heard(&job->control->session, &reply, loop_now(job->control->loop));
}

static void step_completed(void *context, enum outcome outcome)
{
	struct mcp_job *job = context;
	struct mcp_control *control = job->control;
	(void)outcome;
	job->exchange = NULL;
	if (!job->heard) { /* no message: the status speaks, or the silence */
		struct mcp_reply reply = { job->post.status, NULL, { NULL, 0 }, job->why };
		mcp_session_heard(&control->session, &reply, loop_now(control->loop));
	}
	go_on_opening(control);
}

static void take_step(struct mcp_control *control)
{
	static const struct mcp_post_ops ops = { write_step, on_step_message, mcp_job_foreign };
	static const struct upstream_events events = { .answered = mcp_job_answered, .completed = step_completed };
	struct mcp_job *job = &control->opener;
	mcp_job_prepare(job, control, &ops);
	job->post.expects = control->session.state != MCP_CONFIRMING;
	if (mcp_job_send(job, control->settings->timeout_us, &events))
		return;
	struct mcp_reply reply = { 0, NULL, { NULL, 0 }, job->why };
	mcp_session_heard(&control->session, &reply, loop_now(control->loop));
	go_on_opening(control); /* FAILED: no recursion */
}

static void open_due(struct loop_timer *timer, uint64_t now_us)
{
	struct mcp_control *control = container_of(timer, struct mcp_control, open_timer);
	if (control->opener.exchange || control->session.state == MCP_READY)
		return;
	mcp_farewell_begin(control);
	mcp_session_open(&control->session, now_us);
	go_on_opening(control);
}

bool mcp_control_is_ready(const struct mcp_control *control, const char **why)
{
	const struct mcp_session *session = &control->session;
	*why = session->state == MCP_FAILED ? session->why : NULL;
	return session->state == MCP_READY;
}

bool mcp_control_want(struct mcp_control *control, const char **why)
{
	const enum mcp_state state = control->session.state;
	/* sooner than the backoff would have it, but no server is asked more than once a second */
	uint64_t latest_us = clock_add(loop_now(control->loop), OPEN_AGAIN_US);
	if ((state == MCP_FAILED || state == MCP_IDLE) && control->open_timer.due_us > latest_us)
		loop_arm(control->loop, &control->open_timer, latest_us);
	return mcp_control_is_ready(control, why);
}

/* A server that forgets each session at once must not be made to open them one after the other. */
static uint64_t wait_to_reopen_us(struct mcp_control *control)
{
	bool steady = loop_now(control->loop) >= clock_add(control->opened_us, SESSION_STEADY_US);
	control->short_lived = steady ? 0 : control->short_lived + 1;
	if (control->short_lived <= SHORT_LIVED_FREE)
		return 0;
	return backoff_us(OPEN_AGAIN_US, OPEN_AGAIN_MAX_US, control->short_lived - SHORT_LIVED_FREE);
}

bool mcp_control_blames_request(const struct mcp_control *control, unsigned epoch)
{
	return control->lost_by_400 && control->session.state == MCP_READY && control->session.epoch == epoch &&
	       loop_now(control->loop) < clock_add(control->opened_us, SESSION_STEADY_US);
}

void mcp_control_lost(struct mcp_control *control, unsigned epoch, unsigned status)
{
	if (!mcp_session_lost(&control->session, epoch))
		return;
	control->lost_by_400 = status == 400;
	meter_add(control->meter, METRIC_ID_MCP_LOST, control->settings->label, 0, 1);
	log_event(control, &EVENT_MCP_SESSION_LOST, NULL);
	show_state(control);
	mcp_job_stop(&control->listener);
	arm_in(control, &control->open_timer, wait_to_reopen_us(control));
}

/* Whether a job was refused because its session is gone. In two sessions one after the other: that is about the
 * request, which the server does not know. */
static bool lost_session(struct mcp_job *job)
{
	bool again = job->refused;
	job->refused = job->post.refused_session;
	return job->refused && !again;
}

/* --- the list of tools --- */

static void list_again_in(struct mcp_control *control, uint64_t wait_us)
{
	uint64_t due_us = clock_add(loop_now(control->loop), wait_us);
	if (!control->list_timer.place || control->list_timer.due_us > due_us)
		loop_arm(control->loop, &control->list_timer, due_us);
}

static void log_list(struct mcp_control *control)
{
	const struct mcp_tools *tools = &control->tools;
	struct log_line line UNCLEARED;
	bool changed = !control->list_shown || control->list_failures > 0 || tools->dropped != control->last_dropped;
	control->list_shown = true;
	control->last_dropped = tools->dropped;
	if (!log_begin(&line, changed ? &EVENT_MCP_TOOLS_LISTED : &EVENT_MCP_TOOLS_LISTED_AGAIN))
		return;
	log_cstr(&line, "upstream", control->settings->name);
	log_u64(&line, "tools", tools->count);
	if (tools->dropped) {
		log_u64(&line, "left_out", tools->dropped);
		log_cstr(&line, "reason", tools->why_dropped);
	}
	log_end(&line);
}

static void list_complete(struct mcp_control *control)
{
	const struct mcp_tools *tools = &control->tools;
	uint64_t wait_us = mcp_list_refresh_us(control->settings->mcp_refresh_us, tools->ttl_ms);
	log_list(control);
	control->list_failures = 0;
	if (wait_us != UINT64_MAX)
		list_again_in(control, wait_us);
	if (control->list_again)
		mcp_control_stale(control);
	if (control->watcher)
		control->watcher->tools(control->watcher->context, mcp_tools_list(tools),
					buf_slice(&control->instructions));
}

static void list_failed(struct mcp_control *control, const char *why)
{
	if (control->list_failures++ == 0)
		log_event(control, &EVENT_MCP_TOOLS_NOT_LISTED, why);
	list_again_in(control, mcp_list_retry_us(control->settings->mcp_refresh_us, control->list_failures));
	if (control->watcher)
		control->watcher->tools_failed(control->watcher->context, why);
}

static bool write_list(struct mcp_post *post, const struct upstream_call *calls, size_t count, uint64_t first_id,
		       struct encoded_request *request)
{
	const struct mcp_control *control = mcp_job_of(post)->control;
	(void)calls;
	(void)count;
	request->urgent = true;
	mcp_begin_post(request, &control->session, "tools/list", (struct slice){ NULL, 0 });
	mcp_put_tools_list(&request->body, control->session.era, first_id, buf_slice(&control->tools.cursor));
	return !control->tools.cursor.failed;
}

/* What a page said is kept for when the exchange is over: then the next may go. */
static void on_list_message(struct mcp_post *post, const struct mcp_message *message)
{
	struct mcp_job *job = mcp_job_of(post);
	struct mcp_tools *tools = &job->control->tools;
	job->heard = true;
	if (mcp_tools_take(tools, message) == MCP_PAGE_BAD)
		snprintf(job->why, sizeof job->why, "%s", tools->why);
}

static void ask_page(struct mcp_control *control);

static void end_list(struct mcp_control *control, const char *why)
{
	bool complete = !why;
	if (complete)
		list_complete(control);
	else
		list_failed(control, why);
	control->list_again = false;
	mcp_tools_fini(&control->tools);
}

static bool list_ended(const struct mcp_tools *tools)
{
	struct slice list = mcp_tools_list(tools);
	return tools->pages > 0 && list.len >= 2 && list.at[list.len - 1] == ']';
}

static void page_completed(void *context, enum outcome outcome)
{
	struct mcp_job *job = context;
	struct mcp_control *control = job->control;
	(void)outcome;
	job->exchange = NULL;
	if (lost_session(job)) {
		mcp_tools_fini(&control->tools);
		mcp_control_lost(control, job->post.epoch, job->post.status); /* the new session begins with a list */
		if (control->session.state == MCP_READY)
			list_again_in(control, 0); /* it has begun already, and found this one under way */
		return;
	}
	if (job->post.refused_session)
		job->refused = false; /* should it be the session after all, the next try will find out */
	if (job->why[0] || !job->heard)
		end_list(control, job->why[0] ? job->why : "tools/list was not answered");
	else if (list_ended(&control->tools))
		end_list(control, NULL);
	else
		ask_page(control);
}

static void ask_page(struct mcp_control *control)
{
	static const struct mcp_post_ops ops = { write_list, on_list_message, mcp_job_foreign };
	static const struct upstream_events events = { .answered = mcp_job_answered, .completed = page_completed };
	mcp_job_prepare(&control->lister, control, &ops);
	if (!mcp_job_send(&control->lister, control->settings->timeout_us, &events))
		end_list(control, control->lister.why);
}

static void list_due(struct loop_timer *timer, uint64_t now_us)
{
	struct mcp_control *control = container_of(timer, struct mcp_control, list_timer);
	if (control->session.state != MCP_READY)
		return; /* it will be asked for when the session is there */
	if (control->lister.exchange) {
		control->list_again = true;
		return;
	}
	if (control->list_changed)
		mcp_list_limiter_asked(&control->limiter, now_us);
	control->list_changed = false;
	mcp_tools_init(&control->tools, control->settings->mcp_list_bytes, control->session.era == MCP_MODERN);
	ask_page(control);
}

void mcp_control_stale(struct mcp_control *control)
{
	if (control->lister.exchange) {
		control->list_again = true;
	} else if (control->watcher) {
		uint64_t now_us = loop_now(control->loop);
		control->list_again = false;
		control->list_changed = true;
		list_again_in(control, mcp_list_limiter_due(&control->limiter, now_us) - now_us);
	}
}

/* --- the stream of the server's own messages --- */

static bool write_listen(struct mcp_post *post, const struct upstream_call *calls, size_t count, uint64_t first_id,
			 struct encoded_request *request)
{
	const struct mcp_session *session = &mcp_job_of(post)->control->session;
	(void)calls;
	(void)count;
	request->endless = true;
	if (session->era == MCP_MODERN) {
		mcp_begin_post(request, session, "subscriptions/listen", (struct slice){ NULL, 0 });
		mcp_put_listen(&request->body, first_id);
	} else {
		mcp_begin_get(request, session, "subscriptions/listen", (struct slice){ NULL, 0 });
	}
	return true;
}

static void listen_completed(void *context, enum outcome outcome)
{
	struct mcp_job *job = context;
	struct mcp_control *control = job->control;
	unsigned status = job->post.status;
	(void)outcome;
	job->exchange = NULL;
	if (control->session.state != MCP_READY || job->post.epoch != control->session.epoch)
		return;
	if (lost_session(job)) {
		mcp_control_lost(control, job->post.epoch, job->post.status);
		return;
	}
	if ((status >= 400 && status < 500 && status != 429) || job->post.error_code == MCP_METHOD_NOT_FOUND)
		return; /* it does not want to be listened to; the list is refreshed from time to time */
	if (status >= 200 && status < 300) {
		if (loop_now(control->loop) >= clock_add(control->listening_since_us, LISTEN_STEADY_US))
			control->listen_failures = 0;
		mcp_control_stale(control); /* something may have been said meanwhile */
	}
	control->listen_failures++;
	arm_in(control, &control->listen_timer,
	       backoff_us(LISTEN_AGAIN_US, LISTEN_AGAIN_MAX_US, control->listen_failures));
}

static void listen_due(struct loop_timer *timer, uint64_t now_us)
{
	static const struct mcp_post_ops ops = { write_listen, mcp_job_ignore, mcp_job_foreign };
	static const struct upstream_events events = { .answered = mcp_job_answered, .completed = listen_completed };
	struct mcp_control *control = container_of(timer, struct mcp_control, listen_timer);
	control->listening_since_us = now_us;
	if (control->session.state != MCP_READY || control->listener.exchange)
		return;
	mcp_job_prepare(&control->listener, control, &ops);
	control->listener.post.expects = control->session.era == MCP_MODERN;
	control->listener.post.endless = true;
	if (!mcp_job_send(&control->listener, control->settings->timeout_us, &events))
		arm_in(control, timer, LISTEN_AGAIN_MAX_US);
}

/* --- life --- */

bool mcp_control_init(struct mcp_control *control, const struct upstream_settings *settings, struct upstream *http,
		      struct loop *loop, struct meter *meter, const struct mcp_control_events *events)
{
	if (!loop_timers_reserve(loop, CONTROL_TIMERS))
		return false;
	*control = (struct mcp_control){ .settings = settings,
					 .http = http,
					 .loop = loop,
					 .meter = meter,
					 .events = events,
					 .open_timer = LOOP_TIMER_INIT(open_due),
					 .list_timer = LOOP_TIMER_INIT(list_due),
					 .listen_timer = LOOP_TIMER_INIT(listen_due),
					 .farewell_timer = LOOP_TIMER_INIT(mcp_farewell_due) };
	TAILQ_INIT(&control->notes);
	TAILQ_INIT(&control->farewells);
	buf_init(&control->instructions, SIZE_MAX / 4);
	mcp_session_init(&control->session, settings->mcp_protocol);
	show_state(control);
	arm_in(control, &control->open_timer, 0);
	return true;
}

void mcp_control_watch(struct mcp_control *control, const struct upstream_watcher *watcher)
{
	assert(!control->watcher);
	control->watcher = watcher;
	if (control->session.state == MCP_READY)
		arm_in(control, &control->list_timer, 0);
}

/* Nothing is begun any more. */
static void end_jobs(struct mcp_control *control)
{
	mcp_job_stop(&control->opener);
	mcp_job_stop(&control->listener);
	if (control->lister.exchange)
		mcp_tools_fini(&control->tools);
	mcp_job_stop(&control->lister);
	loop_disarm(control->loop, &control->open_timer);
	loop_disarm(control->loop, &control->list_timer);
	loop_disarm(control->loop, &control->listen_timer);
}

void mcp_control_leave(struct mcp_control *control, uint64_t timeout_us)
{
	end_jobs(control);
	mcp_farewell_begin(control);
	mcp_session_end(&control->session);
	mcp_farewell_hurry(control, timeout_us);
}

bool mcp_control_leaving(const struct mcp_control *control)
{
	return !TAILQ_EMPTY(&control->farewells);
}

void mcp_control_fini(struct mcp_control *control)
{
	end_jobs(control);
	mcp_notes_drop(control);
	mcp_farewells_drop(control);
	loop_timers_release(control->loop, CONTROL_TIMERS);
	buf_fini(&control->instructions);
}
