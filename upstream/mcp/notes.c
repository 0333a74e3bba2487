/* SPDX-License-Identifier: Apache-2.0 */
/* notes.c: what is said to a server without an answer: replies to its requests, word of calls nobody waits for. */
#include <stdlib.h>

#include "upstream/mcp/control_private.h"

enum { NOTES_MAX = 256 };

struct mcp_notification {
	struct mcp_job job;
	struct buf body;
	const char *method; /* for the modern era's header */
	TAILQ_ENTRY(mcp_notification) next;
};

static void notification_free(struct mcp_notification *note)
{
	struct mcp_control *control = note->job.control;
	TAILQ_REMOVE(&control->notes, note, next);
	control->note_count--;
	buf_fini(&note->body);
	free(note);
}

static bool write_notification(struct mcp_post *post, const struct upstream_call *calls, size_t count,
			       uint64_t first_id, struct encoded_request *request)
{
	struct mcp_notification *note = container_of(mcp_job_of(post), struct mcp_notification, job);
	(void)calls;
	(void)count;
	(void)first_id;
	request->urgent = true;
	mcp_begin_post(request, post->session, note->method, (struct slice){ NULL, 0 });
	buf_put(&request->body, buf_slice(&note->body));
	return !note->body.failed;
}

static void note_completed(void *context, enum outcome outcome)
{
	(void)outcome;
	struct mcp_job *job = context;
	notification_free(container_of(job, struct mcp_notification, job));
}

/* NULL: no memory, or too many are under way: a server that pings without end is not answered without end. */
static struct mcp_notification *notification_new(struct mcp_control *control, const char *method)
{
	static const struct mcp_post_ops ops = { write_notification, mcp_job_ignore, mcp_job_foreign };
	struct mcp_notification *note = control->note_count < NOTES_MAX ? calloc(1, sizeof *note) : NULL;
	if (!note)
		return NULL;
	mcp_job_prepare(&note->job, control, &ops);
	note->job.post.expects = false;
	note->method = method;
	buf_init(&note->body, HTTP_HEADER_BYTES);
	TAILQ_INSERT_TAIL(&control->notes, note, next);
	control->note_count++;
	return note;
}

static void notification_send(struct mcp_notification *note)
{
	static const struct upstream_events events = { .answered = mcp_job_answered, .completed = note_completed };
	if (!mcp_job_send(&note->job, MCP_NOTE_TIMEOUT_US, &events))
		notification_free(note);
}

void mcp_control_foreign(struct mcp_control *control, const struct mcp_message *message)
{
	if (message->kind == MCP_NOTIFICATION) {
		if (mcp_method_is(message, "notifications/tools/list_changed"))
			mcp_control_stale(control);
		return;
	}
	struct mcp_notification *note = control->session.era == MCP_LEGACY ? notification_new(control, "") : NULL;
	if (!note)
		return; /* a modern server may not ask */
	if (mcp_put_reply(&note->body, message))
		meter_add(control->meter, METRIC_ID_MCP_PINGS, control->settings->label, 0, 1);
	notification_send(note);
}

void mcp_control_cancel(struct mcp_control *control, uint64_t id)
{
	if (control->session.era != MCP_LEGACY || control->session.state != MCP_READY)
		return; /* modern: the closed stream has said it */
	struct mcp_notification *note = notification_new(control, "");
	if (!note)
		return;
	mcp_put_cancelled(&note->body, MCP_LEGACY, id);
	notification_send(note);
}

void mcp_notes_drop(struct mcp_control *control)
{
	struct mcp_notification *note;
	while ((note = TAILQ_FIRST(&control->notes))) {
		mcp_job_stop(&note->job);
		notification_free(note);
	}
}
