/* SPDX-License-Identifier: Apache-2.0 */
/*
 * whose_provider.h: what providers do with the requests on the fake wire: answer well, in pieces, in any order; leave out,
 * repeat and make up; refuse, hang up, break off anywhere, keep silent, speak out of turn, damage what they say. What
 * they carried out and said is told to whose_truth.h, what they must never see they complain of.
 */
#ifndef TESTS_SUPPORT_WHOSE_PROVIDER_H
#define TESTS_SUPPORT_WHOSE_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>

/* Requests from now on are theirs. `seed` is the test's, and used up by this as well. */
void provider_begin(unsigned *seed);
/* All is well from now on, so that what is under way ends. */
void provider_behave(bool well);
/* Something of the nth request under way: maybe all, maybe some more of its answer. */
void provider_act(size_t n);

/* What they have done since the start. */
struct provider_counts {
	size_t answered, calls, refused, broken, out_of_turn, carried_out, controls, resumed, nameless;
};
struct provider_counts provider_counts(void);

#endif
