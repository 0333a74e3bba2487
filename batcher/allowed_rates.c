/* SPDX-License-Identifier: Apache-2.0 */
/* allowed_rates.c: see the header. That there is no limit is found without the mutex: it is asked with each call. */
#include "batcher/allowed_rates.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"

struct allowed_rates {
	atomic_size_t holders;
	/* written by the mutex */
	atomic_bool limited, counts_tokens;
	atomic_uint_fast64_t free_us;
	pthread_mutex_t mutex;
	struct rate_limiter requests, tokens; /* by the mutex */
};

struct allowed_rates *allowed_new(void)
{
	struct allowed_rates *allowed = calloc(1, sizeof *allowed);
	if (!allowed)
		return NULL;
	atomic_init(&allowed->holders, 1);
	pthread_mutex_init(&allowed->mutex, NULL);
	return allowed;
}

struct allowed_rates *allowed_ref(struct allowed_rates *allowed)
{
	atomic_fetch_add_explicit(&allowed->holders, 1, memory_order_relaxed);
	return allowed;
}

void allowed_unref(struct allowed_rates *allowed)
{
	if (!allowed || atomic_fetch_sub_explicit(&allowed->holders, 1, memory_order_acq_rel) > 1)
		return;
	pthread_mutex_destroy(&allowed->mutex);
	free(allowed);
}

static bool is_limited(const struct allowed_rates *allowed)
{
	return atomic_load_explicit(&allowed->limited, memory_order_relaxed);
}

static uint64_t both_free_us(const struct allowed_rates *allowed)
{
	uint64_t requests_us = rate_limiter_free_us(&allowed->requests),
		 tokens_us = rate_limiter_free_us(&allowed->tokens);
	return requests_us > tokens_us ? requests_us : tokens_us;
}

static void unlock_and_tell(struct allowed_rates *allowed)
{
	atomic_store_explicit(&allowed->free_us, both_free_us(allowed), memory_order_relaxed);
	pthread_mutex_unlock(&allowed->mutex);
}

void allowed_adjust(struct allowed_rates *allowed, const struct rate *requests, const struct rate *tokens)
{
	pthread_mutex_lock(&allowed->mutex);
	rate_limiter_adjust(&allowed->requests, requests);
	rate_limiter_adjust(&allowed->tokens, tokens);
	atomic_store_explicit(&allowed->limited, requests->amount || tokens->amount, memory_order_relaxed);
	atomic_store_explicit(&allowed->counts_tokens, tokens->amount > 0, memory_order_relaxed);
	unlock_and_tell(allowed);
}

/* Nothing is counted where there is no limit: what a reload limits begins then. */
bool allowed_take(struct allowed_rates *allowed, uint64_t now_us)
{
	if (!is_limited(allowed))
		return true;
	pthread_mutex_lock(&allowed->mutex);
	bool taken = both_free_us(allowed) <= now_us;
	if (taken)
		rate_limiter_take(&allowed->requests, 1, now_us);
	unlock_and_tell(allowed);
	return taken;
}

void allowed_give_back(struct allowed_rates *allowed)
{
	if (!is_limited(allowed))
		return;
	pthread_mutex_lock(&allowed->mutex);
	allowed->requests.next_us -= allowed->requests.step_us;
	unlock_and_tell(allowed);
}

void allowed_spend_tokens(struct allowed_rates *allowed, uint64_t tokens, uint64_t now_us)
{
	if (!allowed_counts_tokens(allowed))
		return;
	pthread_mutex_lock(&allowed->mutex);
	rate_limiter_take(&allowed->tokens, tokens, now_us);
	unlock_and_tell(allowed);
}

bool allowed_counts_tokens(const struct allowed_rates *allowed)
{
	return atomic_load_explicit(&allowed->counts_tokens, memory_order_relaxed);
}

uint64_t allowed_free_us(const struct allowed_rates *allowed)
{
	return atomic_load_explicit(&allowed->free_us, memory_order_relaxed);
}

uint64_t allowed_free_after_us(struct allowed_rates *allowed, size_t ahead)
{
	if (!is_limited(allowed))
		return 0;
	pthread_mutex_lock(&allowed->mutex);
	uint64_t free_us = clock_add(both_free_us(allowed), (uint64_t)((double)ahead * allowed->requests.step_us));
	pthread_mutex_unlock(&allowed->mutex);
	return free_us;
}

size_t allowed_free_count(struct allowed_rates *allowed, uint64_t now_us)
{
	if (!is_limited(allowed))
		return SIZE_MAX;
	pthread_mutex_lock(&allowed->mutex);
	size_t count = both_free_us(allowed) > now_us ? 0 : rate_limiter_free_count(&allowed->requests, now_us);
	pthread_mutex_unlock(&allowed->mutex);
	return count;
}
