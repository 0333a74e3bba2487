/* SPDX-License-Identifier: Apache-2.0 */
/* call_group_held.c: what a group holds: counted before it is held, and what is said instead where there is no room. */
#include "gateway/call/call_group_private.h"
#include "gateway/call/front.h"
#include "gateway/call/worker.h"

size_t group_limit_bytes(const struct call_group *group)
{
	return worker_generation(group->worker)->http.held_bytes;
}

/* What is said instead of an answer for which there is no room; counted. A reference is given. */
static struct answer *no_room(struct call_group *group, bool unknown)
{
	struct answer **problem = &group->no_room[unknown];
	if (!*problem)
		*problem =
			unknown ? answer_error(
					  OUTCOME_OUTCOME_UNKNOWN,
					  "The call was carried out, but limits.in_flight_bytes has no room for its "
					  "answer.")
				: answer_upstream_error(OUTCOME_OVERLOADED, 0, 1, (struct slice){ NULL, 0 },
							"limits.in_flight_bytes has no room for the answer; ask for it "
							"alone, or with fewer others.");
	meter_add(group->worker->meter, METRIC_ID_REJECTED, REJECT_IN_FLIGHT_BYTES, 0, 1);
	return answer_ref(*problem);
}

/* The item's answer finds no room: what its caller is told instead. A call that was sent has been carried out. */
static void replace_answer(struct call_group *group, struct call_group_item *item)
{
	struct call *call = item->call;
	answer_unref(call->answer);
	call->answer = no_room(group, item->sent && !tool_is_repeatable(call->tool));
	entry_unref(call->entry);
	if (call->entry)
		call->source = SOURCE_NONE;
	call->entry = NULL;
}

void group_hold_item(struct call_group *group, struct call_group_item *item)
{
	struct call *call = item->call;
	size_t bytes = call ? answer_held_bytes(call->answer) : item->own ? item->own->len : 0;
	item->held = GROUP_ITEM_BYTES + (call ? sizeof *call : 0);
	if (call && bytes > GROUP_SMALL_BYTES)
		item->answer_held = http_hold_answer(group->http, call->answer);
	if (call && bytes > GROUP_SMALL_BYTES && !item->answer_held && !item->lent)
		replace_answer(group, item);
	else if (!item->answer_held)
		item->held += bytes;
	http_hold_anyway(group->http, item->held);
	group->held += item->held + (item->answer_held ? bytes : 0);
}

static void release_item(struct call_group *group, struct call_group_item *item)
{
	group->held -= item->held;
	http_release(group->http, item->held);
	if (item->answer_held) {
		group->held -= answer_held_bytes(item->call->answer);
		http_release_answer(group->http, item->call->answer);
	}
	item->held = 0;
	item->answer_held = false;
}

void group_free_item(struct call_group *group, struct call_group_item *item)
{
	release_item(group, item);
	if (item->call && !item->lent)
		call_free(item->call);
	answer_unref(item->refusal);
	blob_unref(item->own);
	item->call = NULL;
	item->refusal = NULL;
	item->own = NULL;
}

void group_give_item_up(struct call_group *group, struct call_group_item *item)
{
	release_item(group, item);
	if (item->call) {
		replace_answer(group, item);
	} else {
		blob_unref(item->own);
		answer_unref(item->refusal);
		item->own = NULL;
		item->refusal = no_room(group, false);
	}
	group_hold_item(group, item);
}

void group_hold_out(struct call_group *group)
{
	size_t bytes = group->out.store ? group->out.store->len : 0;
	if (bytes > group->out_held)
		http_hold_anyway(group->http, bytes - group->out_held);
	else
		http_release(group->http, group->out_held - bytes);
	group->out_held = bytes;
}

void group_empty_out(struct call_group *group)
{
	if (group->out.store && group->out.store->len > 2 * (size_t)PIECE_BYTES)
		buf_fini(&group->out);
	buf_reset(&group->out);
	group->out_at = 0;
	group_hold_out(group);
}

bool group_has_room(struct call_group *group, size_t bytes)
{
	size_t spare = group->out.store ? group->out.store->len - group->out.len : 0;
	if (bytes <= spare)
		return true;
	if (!http_hold(group->http, bytes - spare, HELD_TO_WRITE))
		return false;
	http_release(group->http, bytes - spare); /* group_hold_out counts what it really takes */
	return true;
}
