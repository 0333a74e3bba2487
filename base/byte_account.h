/* SPDX-License-Identifier: Apache-2.0 */
/*
 * byte_account.h: bytes that are held, over all threads, and how many may be. Who holds for others counts first, so that
 * what nobody has room for is refused before it takes memory.
 */
#ifndef JITNEY_BASE_BYTE_ACCOUNT_H
#define JITNEY_BASE_BYTE_ACCOUNT_H

#include <stdatomic.h>

#include "base/compiler.h"

struct byte_account {
	atomic_size_t *held; /* a; shared with whoever else holds; NULL: nobody counts */
	size_t limit;        /* bytes */
};

/* Count bytes that are about to be held. False: there is no room, nothing is counted. Any thread. */
static inline bool byte_account_take(const struct byte_account *account, size_t bytes)
{
	if (!account->held)
		return true;
	if (atomic_fetch_add_explicit(account->held, bytes, memory_order_relaxed) + bytes <= account->limit)
		return true;
	atomic_fetch_sub_explicit(account->held, bytes, memory_order_relaxed);
	return false;
}

/* They are held no more. Any thread. */
static inline void byte_account_give(const struct byte_account *account, size_t bytes)
{
	if (account->held)
		atomic_fetch_sub_explicit(account->held, bytes, memory_order_relaxed);
}

#endif
