/* SPDX-License-Identifier: Apache-2.0 */
/*
 * allowed_rates.h: how often a provider may be visited, and with how many tokens, as it is configured. That is one number
 * for all that visit it: each batcher on whichever worker, and those that a reload puts in their place, so that a new one
 * does not begin with what the one before has spent. Any thread.
 *
 * A request is taken before it is made, so of K takers at once no more pass than are left. Its tokens are known only as it
 * leaves: they are a debt that the next ones wait for (rate_limiter.h).
 */
#ifndef JITNEY_BATCHER_ALLOWED_RATES_H
#define JITNEY_BATCHER_ALLOWED_RATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "batcher/rate_limiter.h"

struct allowed_rates;

/* No limit; one reference. NULL: out of memory. */
struct allowed_rates *allowed_new(void) MUST_CHECK;
/* Another reference; and one given back, NULL is allowed. */
struct allowed_rates *allowed_ref(struct allowed_rates *allowed);
void allowed_unref(struct allowed_rates *allowed);

/* These from now on (amount 0: no limit): what has gone until now counts as it did. */
void allowed_adjust(struct allowed_rates *allowed, const struct rate *requests, const struct rate *tokens);
/* One request more. False: none is left now; see allowed_free_us. */
bool allowed_take(struct allowed_rates *allowed, uint64_t now_us) MUST_CHECK;
/* It was not made. */
void allowed_give_back(struct allowed_rates *allowed);
/* It had so many tokens. */
void allowed_spend_tokens(struct allowed_rates *allowed, uint64_t tokens, uint64_t now_us);
/* Whether tokens are counted. */
bool allowed_counts_tokens(const struct allowed_rates *allowed);

/* When the next one may be taken, if nobody is faster; 0, or a time that has passed: now. */
uint64_t allowed_free_us(const struct allowed_rates *allowed);
/* Likewise when so many others have gone before. */
uint64_t allowed_free_after_us(struct allowed_rates *allowed, size_t ahead);
/* How many may be taken now; SIZE_MAX: no limit. */
size_t allowed_free_count(struct allowed_rates *allowed, uint64_t now_us);

#endif
