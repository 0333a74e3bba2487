/* SPDX-License-Identifier: Apache-2.0 */
/* pool_calls.c: which member of a pool a call goes into, and how it is taken out again. */
#include "upstream/process/member.h"

static struct pool_call_bucket *bucket_of(struct process_pool *pool, uint64_t id)
{
	return &pool->by_id[id % SAME_IDS];
}

void pool_take_out(struct pool_call *call)
{
	struct member *member = call->member;
	process_take_back(member->process, &call->line);
	TAILQ_REMOVE(&member->calls, call, next);
	LIST_REMOVE(call, alike);
	member->busy--;
	member->idle_since_us = loop_now(member->pool->loop);
	call->member = NULL;
}

/* It waits again, before all others. */
static void put_back(struct pool_call *call)
{
	struct process_pool *pool = call->member->pool;
	pool_take_out(call);
	call->waits = true;
	TAILQ_INSERT_HEAD(&pool->waiting, call, next);
}

static bool give_call(struct member *member, struct pool_call *call)
{
	if (!member_give(member, call))
		return false;
	call->member = member;
	TAILQ_INSERT_TAIL(&member->calls, call, next);
	LIST_INSERT_HEAD(bucket_of(member->pool, call->id), call, alike);
	member->busy++;
	member->served++;
	member->dirty = true;
	if (member->pool->own->max_calls && member->served >= member->pool->own->max_calls &&
	    member->state == MEMBER_READY)
		member->state = MEMBER_RETIRING;
	return true;
}

bool process_pool_sent(const struct pool_call *call)
{
	return call->repeated || (call->member && call->line.written > 0);
}

struct member *pool_pick_member(const struct process_pool *pool)
{
	struct member *member, *best = NULL, *spare = NULL;
	TAILQ_FOREACH (member, &pool->members, next) {
		if (member->busy >= pool->own->calls || member->stopped || member_is_deaf(member))
			continue;
		if (member->state == MEMBER_READY && (!best || member->busy < best->busy))
			best = member;
		if (member->state == MEMBER_RETIRING && (!spare || member->busy < spare->busy))
			spare = member;
	}
	return best ? best : spare;
}

bool pool_place_call(struct process_pool *pool, struct pool_call *call)
{
	struct member *member = pool_pick_member(pool);
	return member && give_call(member, call);
}

static void flush_later(struct process_pool *pool)
{
	if (!pool->flush.place)
		loop_arm(pool->loop, &pool->flush, loop_now(pool->loop));
}

void pool_place_waiting(struct process_pool *pool)
{
	struct pool_call *call;
	struct member *member;
	while ((call = TAILQ_FIRST(&pool->waiting)) && (member = pool_pick_member(pool))) {
		TAILQ_REMOVE(&pool->waiting, call, next); /* first: it goes into the member's list by the same link */
		if (!give_call(member, call)) {
			TAILQ_INSERT_HEAD(&pool->waiting, call, next);
			return;
		}
		call->waits = false;
		flush_later(pool);
	}
}

struct pool_call *pool_find_call(const struct member *member, uint64_t id)
{
	struct pool_call *call;
	LIST_FOREACH (call, bucket_of(member->pool, id), alike)
		if (call->id == id && call->member == member)
			break;
	return call;
}

static bool id_is_under_way(struct process_pool *pool, uint64_t id)
{
	struct member *member;
	TAILQ_FOREACH (member, &pool->members, next)
		if (id == member->handshake_id || id == member->listen_id || id == member->list_id ||
		    id == member->ping_id || pool_find_call(member, id))
			return true;
	return false;
}

uint64_t process_pool_id(struct process_pool *pool)
{
	uint64_t id;
	do /* a subscription may have been open for as many calls as there are ids */
		id = call_ids_next(&pool->ids);
	while (id_is_under_way(pool, id));
	return id;
}

void pool_take_back(struct member *member, bool unread)
{
	struct pool_call *call, *before = TAILQ_LAST(&member->calls, pool_call_list);
	while ((call = before)) {
		before = TAILQ_PREV(call, pool_call_list, next);
		bool sent = !unread && process_pool_sent(call);
		if (sent && (!call->repeatable || call->repeated))
			continue;
		put_back(call);
		call->repeated |= sent;
		if (sent)
			pool_count(member->pool, METRIC_ID_UPSTREAM_REPEATS);
	}
}

void pool_member_deaf(struct member *member)
{
	struct pool_call *call, *before = TAILQ_LAST(&member->calls, pool_call_list);
	if (!member_is_deaf(member))
		return;
	while ((call = before)) {
		before = TAILQ_PREV(call, pool_call_list, next);
		if (!call->line.written)
			put_back(call);
	}
	loop_arm(member->pool->loop, &member->pool->timer, loop_now(member->pool->loop));
}
