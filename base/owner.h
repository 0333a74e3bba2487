/* SPDX-License-Identifier: Apache-2.0 */
/*
 * owner.h: "the owner's thread only", checked. What belongs to one thread has a struct owner, or the loop's it lives on
 * (loop_owner), and its functions say assert_owner. While nobody owns it (before its thread has begun, after that is
 * joined, and mostly in tests) whoever has it may use it, one thread at a time. On in release: it costs a load and a
 * compare.
 */
#ifndef JITNEY_BASE_OWNER_H
#define JITNEY_BASE_OWNER_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Each thread has its own, at an address of its own. */
extern _Thread_local char owner_thread;

struct owner {
	_Atomic(const char *) thread; /* a: written by the owner alone; NULL: nobody's */
};

/* By its owner's thread, or while it is nobody's. */
static inline bool owner_is_here(const struct owner *owner)
{
	const char *thread = atomic_load_explicit(&owner->thread, memory_order_relaxed);
	return !thread || thread == &owner_thread;
}
#define assert_owner(owner) assert(owner_is_here(owner))

/* It is this thread's from now on. Again changes nothing. */
static inline void owner_claim(struct owner *owner)
{
	assert_owner(owner);
	atomic_store_explicit(&owner->thread, &owner_thread, memory_order_relaxed);
}

/* It is nobody's. By its owner, last: whoever joins the thread may go on with it. */
static inline void owner_release(struct owner *owner)
{
	assert_owner(owner);
	atomic_store_explicit(&owner->thread, NULL, memory_order_relaxed);
}

#endif
