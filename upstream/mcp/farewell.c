/* SPDX-License-Identifier: Apache-2.0 */
/*
 * farewell.c: a legacy session that is not used any more costs its server memory until it expires, so it is ended with
 * DELETE: at the stop, and when a new one takes its place, once no call is in it. Best effort: a server that does not
 * pick it (405), or that has forgotten the session itself (404), is not bothered again.
 */
#include <stdlib.h>

#include "base/log.h"
#include "upstream/mcp/control_private.h"

enum { FAREWELLS_MAX = 8 };
#define LOOK_AGAIN_US CLOCK_US_PER_S

struct mcp_farewell {
	struct mcp_job job;
	struct mcp_session session; /* as it was */
	TAILQ_ENTRY(mcp_farewell) next;
};

static void count_ending(const struct mcp_control *control, enum mcp_ending how)
{
	meter_add(control->meter, METRIC_ID_MCP_ENDS, control->settings->label, how, 1);
}

static void note_left(const struct mcp_control *control, const char *why)
{
	struct log_line line UNCLEARED;
	count_ending(control, MCP_ENDING_FAILED);
	if (!log_begin(&line, &EVENT_MCP_SESSION_LEFT))
		return;
	log_cstr(&line, "upstream", control->settings->name);
	log_cstr(&line, "reason", why);
	log_end(&line);
}

static void farewell_free(struct mcp_farewell *farewell)
{
	struct mcp_control *control = farewell->job.control;
	TAILQ_REMOVE(&control->farewells, farewell, next);
	control->farewell_count--;
	free(farewell);
}

static bool write_farewell(struct mcp_post *post, const struct upstream_call *calls, size_t count_of_calls,
			   uint64_t first_id, struct encoded_request *request)
{
	(void)calls;
	(void)count_of_calls;
	(void)first_id;
	request->method = "DELETE";
	request->urgent = true;
	mcp_session_put_headers(post->session, "", (struct slice){ NULL, 0 }, &request->headers);
	return true;
}

static void farewell_completed(void *context, enum outcome outcome)
{
	struct mcp_job *job = context;
	unsigned status = job->post.status;
	(void)outcome;
	if ((status >= 200 && status < 300) || status == 404)
		count_ending(job->control, MCP_ENDING_ENDED);
	else if (status >= 400 && status < 500)
		count_ending(job->control, MCP_ENDING_REFUSED);
	else
		note_left(job->control, job->why[0] ? job->why : "no answer to DELETE");
	job->exchange = NULL;
	farewell_free(container_of(job, struct mcp_farewell, job));
}

static void send_farewell(struct mcp_farewell *farewell, uint64_t timeout_us)
{
	static const struct mcp_post_ops ops = { write_farewell, mcp_job_ignore, mcp_job_foreign };
	static const struct upstream_events events = { .answered = mcp_job_answered, .completed = farewell_completed };
	struct mcp_job *job = &farewell->job;
	mcp_job_prepare(job, job->control, &ops);
	job->post.session = &farewell->session;
	job->post.expects = false;
	if (mcp_job_send(job, timeout_us, &events))
		return;
	note_left(job->control, job->why);
	farewell_free(farewell);
}

void mcp_farewell_due(struct loop_timer *timer, uint64_t now_us)
{
	struct mcp_control *control = container_of(timer, struct mcp_control, farewell_timer);
	struct mcp_farewell *farewell, *after;
	bool more = false;
	for (farewell = TAILQ_FIRST(&control->farewells); farewell; farewell = after) {
		after = TAILQ_NEXT(farewell, next);
		bool in_use = control->events->in_use(control, farewell->session.epoch);
		more |= in_use;
		if (!in_use && !farewell->job.exchange)
			send_farewell(farewell, MCP_NOTE_TIMEOUT_US);
	}
	if (more)
		loop_arm(control->loop, timer, clock_add(now_us, LOOK_AGAIN_US));
}

void mcp_farewell_begin(struct mcp_control *control)
{
	if (!mcp_session_has_id(&control->session))
		return;
	struct mcp_farewell *farewell = NULL;
	if (control->farewell_count < FAREWELLS_MAX)
		farewell = calloc(1, sizeof *farewell);
	if (!farewell) {
		note_left(control, "too many are being ended, or memory is out");
		return;
	}
	farewell->job.control = control;
	farewell->session = control->session;
	TAILQ_INSERT_TAIL(&control->farewells, farewell, next);
	control->farewell_count++;
	loop_arm(control->loop, &control->farewell_timer, loop_now(control->loop));
}

void mcp_farewell_hurry(struct mcp_control *control, uint64_t timeout_us)
{
	struct mcp_farewell *farewell, *after;
	for (farewell = TAILQ_FIRST(&control->farewells); farewell; farewell = after) {
		after = TAILQ_NEXT(farewell, next);
		if (!farewell->job.exchange)
			send_farewell(farewell, timeout_us);
	}
	loop_disarm(control->loop, &control->farewell_timer);
}

void mcp_farewells_drop(struct mcp_control *control)
{
	struct mcp_farewell *farewell;
	loop_disarm(control->loop, &control->farewell_timer);
	while ((farewell = TAILQ_FIRST(&control->farewells))) {
		note_left(control, "the gateway has stopped");
		mcp_job_stop(&farewell->job);
		farewell_free(farewell);
	}
}
