/* SPDX-License-Identifier: Apache-2.0 */
/* pool_tools.c: the list of tools of a pool's program: which process is asked for it, when, and when again. */
#include "upstream/process/member.h"

/* Not before `due_us`, and not later than it was due already. */
static void list_at(struct process_pool *pool, uint64_t due_us)
{
	if (pool->mcp && pool->watcher && !pool->freeing && (!pool->list.place || pool->list.due_us > due_us))
		loop_arm(pool->loop, &pool->list, due_us);
}

void pool_list_soon(struct process_pool *pool)
{
	list_at(pool, mcp_list_limiter_due(&pool->pace, loop_now(pool->loop)));
}

void pool_list_changed(struct process_pool *pool)
{
	pool->list_changed = true;
	pool_list_soon(pool);
}

void pool_on_list(struct loop_timer *timer, uint64_t now_us)
{
	struct process_pool *pool = container_of(timer, struct process_pool, list);
	struct member *member, *fit = NULL;
	TAILQ_FOREACH (member, &pool->members, next) {
		if (member->list_id && !member->stopped) {
			list_at(pool, clock_add(now_us, CLOCK_US_PER_S)); /* it may have changed since it was asked */
			return;
		}
		if (!fit && !member->stopped && (member->state == MEMBER_READY || member->state == MEMBER_RETIRING))
			fit = member;
	}
	pool->list_waits = !fit;
	if (!fit)
		return;
	if (pool->list_changed)
		mcp_list_limiter_asked(&pool->pace, now_us);
	pool->list_changed = false;
	member_list(fit);
}

void pool_listed(struct member *member)
{
	struct process_pool *pool = member->pool;
	uint64_t wait_us = mcp_list_refresh_us(pool->settings->mcp_refresh_us, member->tools.ttl_ms);
	pool->unlisted = false;
	pool->list_failures = 0;
	if (wait_us != UINT64_MAX)
		list_at(pool, clock_add(loop_now(pool->loop), wait_us));
	pool->watcher->tools(pool->watcher->context, mcp_tools_list(&member->tools), buf_slice(&pool->instructions));
}

void pool_list_failed(struct process_pool *pool, const char *why)
{
	uint64_t wait_us = mcp_list_retry_us(pool->settings->mcp_refresh_us, ++pool->list_failures);
	list_at(pool, clock_add(loop_now(pool->loop), wait_us));
	pool->watcher->tools_failed(pool->watcher->context, why);
}
