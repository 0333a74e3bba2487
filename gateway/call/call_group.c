/* SPDX-License-Identifier: Apache-2.0 */
/* call_group.c: see the header. */
#include "gateway/call/call_group_private.h"

#include <assert.h>
#include <stdlib.h>

#include "gateway/call/front.h"
#include "gateway/call/reply.h"
#include "gateway/call/worker.h"

enum {
	TURN_BYTES = 512 << 10,   /* looked at in a turn, by all groups of a worker */
	WINDOW_BYTES = 128 << 10, /* of a stream that its client has not read */
	PART_BYTES_MAX = 512 << 20,
	PAUSE_SHARE = 16 /* of limits.in_flight_bytes: begin no more while so much waits to be written */
};
#define LOOK_AGAIN_US (10 * CLOCK_US_PER_MS)

static struct call_groups *groups_of(const struct call_group *group)
{
	return &group->worker->groups;
}

/* ---------------------------------------------------------------- whose turn it is */

static void leave_queue(struct call_group *group)
{
	if (!group->queued)
		return;
	if (group->starved)
		TAILQ_REMOVE(&groups_of(group)->starved, group, next);
	else
		TAILQ_REMOVE(&groups_of(group)->due, group, next);
	group->queued = group->starved = false;
}

static void queue_group(struct call_group *group)
{
	leave_queue(group);
	TAILQ_INSERT_TAIL(&groups_of(group)->due, group, next);
	group->queued = true;
}

/* There is no room for what it would write next. Nobody says when there is. */
static void starve_group(struct call_group *group)
{
	struct call_groups *groups = groups_of(group);
	leave_queue(group);
	if (!group->starving_us)
		group->starving_us = loop_now(group->worker->loop);
	if (TAILQ_EMPTY(&groups->starved))
		groups->look_us = clock_add(loop_now(group->worker->loop), LOOK_AGAIN_US);
	TAILQ_INSERT_TAIL(&groups->starved, group, next);
	group->queued = group->starved = true;
}

/* Whether it has waited for room, without writing anything, as long as a client may take for a body. */
static bool is_out_of_patience(const struct call_group *group)
{
	return group->starving_us &&
	       loop_now(group->worker->loop) >=
		       clock_add(group->starving_us, worker_generation(group->worker)->http.body_timeout_us);
}

static void spend_bytes(struct call_group *group, size_t bytes)
{
	groups_of(group)->budget -= (int64_t)bytes;
}

static bool has_budget(const struct call_group *group)
{
	return groups_of(group)->budget > 0;
}

/* ---------------------------------------------------------------- life */

static void free_group(struct call_group *group)
{
	leave_queue(group);
	for (size_t i = 0; i < group->begun; i++)
		group_free_item(group, &group->items[i]);
	assert(group->held == 0);
	pieces_fini(&group->rest);
	buf_fini(&group->out);
	group_hold_out(group);
	http_release(group->http, group->count * sizeof group->items[0]);
	if (group->kind->free_context)
		group->kind->free_context(group);
	answer_unref(group->no_room[0]);
	answer_unref(group->no_room[1]);
	blob_unref(group->body);
	free(group);
}

/* Nobody reads the rest: the calls that are away are of no use. */
static void abandon_group(struct call_group *group)
{
	for (size_t i = 0; i < group->begun; i++) {
		struct call_group_item *item = &group->items[i];
		if (item->state != ITEM_AWAY)
			continue;
		front_cancel(item->call, group->request);
		item->call = NULL;
	}
	free_group(group);
}

static void client_left(struct request *request)
{
	abandon_group(request->waits_for);
}

static void client_read(struct request *request)
{
	queue_group(request->waits_for);
}

/* One that has nothing yet. NULL: memory or room is out. */
static struct call_group *new_group(struct worker *worker, struct request *request, const struct call_group_kind *kind,
				    size_t count)
{
	struct call_group *group = NULL;
	if (!http_hold(request->http, count * sizeof group->items[0], HELD_TO_WAIT))
		return NULL;
	group = calloc(1, sizeof *group + count * sizeof group->items[0]);
	if (!group) {
		http_release(request->http, count * sizeof group->items[0]);
		return NULL;
	}
	group->kind = kind;
	group->worker = worker;
	group->request = request;
	group->http = request->http;
	group->count = count;
	buf_init(&group->out, PART_BYTES_MAX);
	TAILQ_INIT(&group->done);
	return group;
}

struct call_group *call_group_new(struct worker *worker, struct request *request, const struct call_group_kind *kind,
				  const struct caller *caller, struct slice list, bool only, size_t count,
				  void *context)
{
	assert_owner(worker_owner(worker));
	size_t at = (size_t)(list.at - buf_slice(&request->body).at);
	struct call_group *group = new_group(worker, request, kind, count);
	struct blob *body = group ? buf_take_blob(&request->body) : NULL;
	if (!body) {
		if (group)
			http_release(request->http, count * sizeof group->items[0]);
		free(group);
		return NULL;
	}
	group->body = body;
	group->caller = *caller;
	group->context = context;
	list.at = body->bytes + at;
	spend_bytes(group, list.len); /* its elements were counted */
	if (only && count)
		group->items[0].text = list;
	else
		group->walk = json_walk(list);
	return group;
}

/* ---------------------------------------------------------------- items begin and end */

static void finish_item(struct call_group *group, struct call_group_item *item)
{
	struct call *call = item->call;
	item->state = ITEM_DONE;
	group_hold_item(group, item);
	if (group->kind->order == GROUP_AS_DONE)
		TAILQ_INSERT_TAIL(&group->done, item, next);
	if (group->kind->item_done) {
		group->kind->item_done(group, item);
		spend_bytes(group, call ? call->answer->body_len : 0);
	}
	if (!call)
		return;
	front_count(call);
	front_record_call(call, group->request, outcome_status(call->answer->outcome), call->answer->body_len);
}

static void call_home(struct call *call)
{
	struct call_group *group = call->context;
	struct call_group_item *item = &group->items[call->index];
	group->away--;
	finish_item(group, item);
	queue_group(group);
}

void call_group_refuse(struct call_group_item *item, struct answer *refusal)
{
	item->refusal = refusal;
}

const struct answer *call_group_answer(const struct call_group_item *item)
{
	return item->call ? item->call->answer : item->refusal;
}

void call_group_call(struct call_group *group, struct call_group_item *item, const struct tool *tool,
		     const struct caller *caller, struct slice arguments, struct blob *body)
{
	struct call *call = item->call = call_new(group->worker);
	if (!call) {
		call_group_refuse(item, answer_no_memory());
		return;
	}
	call->tool = tool;
	call->caller = caller;
	call->arguments = arguments;
	call->sound = true; /* of the body, or made of its parts */
	call->done = call_home;
	call->context = group;
	call->index = (size_t)(item - group->items);
	if (call_look_up(call))
		return;
	item->state = ITEM_AWAY;
	item->sent = true;
	group->away++;
	call_send(call, body);
}

/* Not while much waits for those before it, or for the client. */
static bool may_begin(const struct call_group *group)
{
	return group->begun < group->count &&
	       (group->kind->order == GROUP_TOGETHER || group->held < group_limit_bytes(group) / PAUSE_SHARE);
}

static void begin_items(struct call_group *group)
{
	while (may_begin(group) && has_budget(group)) {
		struct call_group_item *item = &group->items[group->begun++];
		if (!item->text.at && !json_next_element(&group->walk, &item->text))
			assert(!"fewer elements than were counted");
		spend_bytes(group, GROUP_ITEM_BYTES + item->text.len);
		group->kind->begin(group, item);
		if (item->state == ITEM_NEW)
			finish_item(group, item);
	}
}

/* ---------------------------------------------------------------- writing */

/* How a step of writing ended. */
enum step {
	STEP_ON,      /* there may be more */
	STEP_WAITS,   /* for a call, or for the client */
	STEP_STARVED, /* for room */
	STEP_BROKEN,  /* memory is out, or the stream takes nothing */
	STEP_ENDED    /* the reply is complete */
};

static void start_reply(struct call_group *group, struct reply *reply)
{
	reply_init(reply, 200);
	reply_header_text(reply, "X-Request-Id", slice_of(group->request->id));
	if (group->kind->put_head)
		group->kind->put_head(group, reply);
}

static void start_stream(struct call_group *group)
{
	struct reply reply UNCLEARED;
	start_reply(group, &reply);
	reply.content_type = group->kind->content_type;
	group->streaming = true;
	request_stream_start(group->request, &reply);
	group->request->drained = client_read;
}

/* Give `out` to the stream, as far as the client reads. Its bytes are counted already. */
static enum step flush_out(struct call_group *group)
{
	struct request *request = group->request;
	while (group->out_at < group->out.len) {
		size_t unread = request_stream_unread(request), count = group->out.len - group->out_at;
		if (unread >= WINDOW_BYTES)
			return STEP_WAITS;
		if (count > WINDOW_BYTES - unread)
			count = WINDOW_BYTES - unread;
		if (!request_stream_put(request, (struct slice){ buf_slice(&group->out).at + group->out_at, count }))
			return STEP_BROKEN;
		group->out_at += count;
		spend_bytes(group, count);
	}
	group_empty_out(group);
	return STEP_ON;
}

static struct call_group_item *next_item(struct call_group *group)
{
	if (group->kind->order == GROUP_AS_DONE)
		return TAILQ_FIRST(&group->done);
	if (group->written == group->begun || group->items[group->written].state != ITEM_DONE)
		return NULL;
	return &group->items[group->written];
}

static void end_item(struct call_group *group, struct call_group_item *item)
{
	if (group->kind->order == GROUP_AS_DONE)
		TAILQ_REMOVE(&group->done, item, next);
	item->state = ITEM_WRITTEN;
	group_free_item(group, item);
	pieces_fini(&group->rest);
	group->written++;
	group->writing = NULL;
}

/* A piece of what is long of an item. */
static enum step put_piece(struct call_group *group)
{
	size_t bytes = pieces_next(&group->rest);
	if (!group_has_room(group, bytes))
		return is_out_of_patience(group) ? STEP_BROKEN : STEP_STARVED;
	group->starving_us = 0;
	pieces_write(&group->rest, &group->out);
	group_hold_out(group);
	spend_bytes(group, bytes);
	if (!pieces_next(&group->rest))
		end_item(group, group->writing);
	return STEP_ON;
}

/* What is not long is written at once, where there is room. */
static void put_rest(struct call_group *group)
{
	size_t bytes = pieces_left(&group->rest);
	if (bytes > PIECE_BYTES || !group_has_room(group, bytes))
		return;
	pieces_write_all(&group->rest, &group->out);
	spend_bytes(group, bytes);
	end_item(group, group->writing);
}

/* The most that put() makes of it, for what is not copied by pieces. */
static size_t estimate_item(const struct call_group *group, const struct call_group_item *item)
{
	const struct answer *answer = call_group_answer(item);
	unsigned copies = group->kind->copies;
	if (answer && answer->outcome != OUTCOME_OK && !copies)
		copies = 1; /* a problem has all that the provider said */
	return GROUP_ITEM_BYTES + item->made + (item->own ? item->own->len : 0) +
	       (answer ? copies * answer_held_bytes(answer) : 0);
}

/* An item, or how it begins. */
static enum step put_item(struct call_group *group, struct call_group_item *item)
{
	struct buf *out = &group->out;
	size_t bytes = estimate_item(group, item);
	if (item->silent) {
		end_item(group, item);
		return STEP_ON;
	}
	if (!group_has_room(group, bytes)) {
		/* an answer so large may never find room; anything else finds it, unless nobody lets go of what he
		 * has */
		if ((bytes <= group_limit_bytes(group) / 8 || !item->call) && !is_out_of_patience(group))
			return STEP_STARVED;
		group_give_item_up(group, item);
	}
	group->starving_us = 0;
	buf_put_text(out, group->any_written ? group->kind->between : group->kind->opening);
	group->any_written = true;
	if (item->own)
		buf_put(out, blob_slice(item->own));
	else
		group->kind->put(group, item, out, &group->rest);
	spend_bytes(group, GROUP_ITEM_BYTES);
	group->writing = item;
	put_rest(group);
	group_hold_out(group);
	return STEP_ON;
}

/* Everything is written but for the end. */
static enum step close_reply(struct call_group *group)
{
	struct reply reply UNCLEARED;
	if (!group->closed) {
		group->closed = true;
		if (!group->any_written)
			buf_put_text(&group->out, group->kind->opening);
		if (group->kind->put_end)
			group->kind->put_end(group, &group->out);
		buf_put_text(&group->out, group->kind->closing);
		return STEP_ON;
	}
	if (group->streaming) {
		request_stream_end(group->request);
		return STEP_ENDED;
	}
	start_reply(group, &reply);
	reply_send_text(group->request, &reply, group->kind->content_type, &group->out);
	return STEP_ENDED;
}

static enum step reply_early(struct call_group *group)
{
	bool all = group->begun == group->count && group->away == 0;
	if (group->kind->order == GROUP_TOGETHER && !group->said_done) {
		if (!all)
			return STEP_WAITS;
		group->said_done = true;
		if (group->kind->all_done && !group->kind->all_done(group))
			return STEP_ENDED;
	}
	if (all && group->written == group->count && !group->any_written && group->kind->reply_nothing) {
		group->kind->reply_nothing(group);
		return STEP_ENDED;
	}
	return STEP_ON;
}

/* Not before it is known that there is something to say, where a reply may have nothing. */
static bool wants_stream(const struct call_group *group)
{
	return group->out.len > CALL_GROUP_WHOLE_BYTES ||
	       (group->kind->streams && (group->out.len || !group->kind->reply_nothing));
}

static enum step write_step(struct call_group *group)
{
	struct call_group_item *item;
	enum step early = group->any_written ? STEP_ON : reply_early(group);
	if (early != STEP_ON)
		return early;
	if (group->out.failed)
		return STEP_BROKEN;
	if (!group->streaming && wants_stream(group))
		start_stream(group);
	if (group->streaming && group->out.len >= (group->closed ? 1 : PIECE_BYTES)) {
		enum step flushed = flush_out(group);
		if (flushed != STEP_ON)
			return flushed;
	}
	if (group->writing)
		return put_piece(group);
	if ((item = next_item(group)))
		return put_item(group, item);
	return group->written == group->count ? close_reply(group) : STEP_WAITS;
}

/* What has been made is on its way before anything is waited for; without room for more, a reply that was to go out
 * whole must not be in the way of others. */
static enum step send_what_there_is(struct call_group *group, enum step step)
{
	if (group->out.failed)
		return STEP_BROKEN;
	if (step == STEP_STARVED && !group->streaming && group->out.len)
		start_stream(group);
	return group->streaming && flush_out(group) == STEP_BROKEN ? STEP_BROKEN : step;
}

static enum step write_items(struct call_group *group)
{
	enum step step;
	while ((step = write_step(group)) == STEP_ON && has_budget(group))
		;
	return step == STEP_WAITS || step == STEP_STARVED ? send_what_there_is(group, step) : step;
}

/* An end that looks whole would be a lie, so the connection is cut; a reply that has not begun can still say so. */
static void break_off(struct call_group *group)
{
	if (group->streaming)
		request_stream_abort(group->request);
	else
		reply_problem(
			group->request, OUTCOME_INTERNAL, NULL,
			"The gateway ran out of memory while it wrote the reply; calls may have been carried out.");
	abandon_group(group);
}

static void advance_group(struct call_group *group)
{
	leave_queue(group);
	begin_items(group);
	switch (write_items(group)) {
	case STEP_ON:
		queue_group(group);
		break;
	case STEP_WAITS:
		if (may_begin(group))
			queue_group(group);
		break;
	case STEP_STARVED:
		starve_group(group);
		break;
	case STEP_BROKEN:
		break_off(group);
		break;
	case STEP_ENDED:
		free_group(group);
		break;
	}
}

void call_group_start(struct call_group *group)
{
	assert_owner(worker_owner(group->worker));
	group->request->waits_for = group;
	group->request->gone = client_left;
	advance_group(group);
}

/* The item whose reply it is is half written: nothing is left to begin. */
static void adopt_reply(struct call_group *group, struct buf *head, struct pieces *rest)
{
	struct call_group_item *item = &group->items[0];
	group->begun = 1;
	group->any_written = true;
	group->writing = item;
	group->out = *head;
	group->rest = *rest;
	buf_init(head, head->max);
	*rest = (struct pieces){ 0 };
	item->state = ITEM_DONE;
	item->call = group->request->logged;
	item->lent = true;
	group_hold_item(group, item);
	group_hold_out(group);
}

bool call_group_write(struct worker *worker, struct request *request, const struct call_group_kind *kind,
		      struct blob *body, bool begun, struct buf *head, struct pieces *rest)
{
	assert_owner(worker_owner(worker));
	assert(kind->streams && kind->order == GROUP_AS_ASKED && !kind->reply_nothing);
	struct call_group *group = head->failed ? NULL : new_group(worker, request, kind, 1);
	if (!group)
		return false;
	group->body = blob_ref(body);
	group->streaming = begun;
	if (begun)
		request->drained = client_read;
	adopt_reply(group, head, rest);
	call_group_start(group);
	return true;
}

/* ---------------------------------------------------------------- the worker's */

void call_groups_init(struct call_groups *groups)
{
	TAILQ_INIT(&groups->due);
	TAILQ_INIT(&groups->starved);
	groups->look_us = CLOCK_NEVER;
}

void call_groups_turn(struct worker *worker, uint64_t now_us)
{
	assert_owner(worker_owner(worker));
	struct call_groups *groups = &worker->groups;
	struct call_group *group;
	groups->budget = groups->budget < 0 ? groups->budget + TURN_BYTES : TURN_BYTES; /* debts are paid off */
	while (now_us >= groups->look_us && (group = TAILQ_FIRST(&groups->starved)))
		queue_group(group);
	if (TAILQ_EMPTY(&groups->starved))
		groups->look_us = CLOCK_NEVER;
	struct call_group *last = TAILQ_LAST(&groups->due, call_group_list);
	while (last && groups->budget > 0 && (group = TAILQ_FIRST(&groups->due))) {
		bool was_last = group == last; /* each once: who comes again comes in the next turn */
		advance_group(group);
		if (was_last)
			break;
	}
}

uint64_t call_groups_deadline(const struct worker *worker)
{
	return TAILQ_EMPTY(&worker->groups.due) ? worker->groups.look_us : 0;
}
