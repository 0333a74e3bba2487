/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider.h: what runs behind an upstream: its batcher with all that has been learned, its connections, session or
 * processes, and what it has said of its tools. It belongs to every generation in which the upstream is the same, though
 * options of it may be adjusted, and to one worker, which opens it when it is first needed. An upstream with several owners
 * has one for each of them, a part of it, with connections and lanes of its own; what is promised to the provider is one
 * number for all parts (batcher/common_limits.h). When the last generation that has it has ended (so
 * no call can know it any more), it is closed: once what it still carries for nobody is gone.
 */
#ifndef JITNEY_GATEWAY_CALL_PROVIDER_H
#define JITNEY_GATEWAY_CALL_PROVIDER_H

#include "base/answer.h"
#include "base/compiler.h"
#include "gateway/config/config.h"

struct dispatch;
struct gateway;
struct provider;

/* What runs behind an upstream of the generation in force runs behind this one of the next, too: it is the same but for
 * adjustable options, by which it goes on once its owner has taken the generation. The thread that brings generations. */
void provider_adopt(struct upstream_config *next, const struct upstream_config *before);
/* Give every upstream of a generation that nobody uses yet a provider, but for those that have one, whose reference the
 * generation takes over. Its upstreams have their labels. All are let go when it ends, also if this fails. `before`: the
 * one in force, NULL: none; what its providers have said of pauses, and been sent of their rates, counts on. False: out of
 * memory. Main thread, or the one that brings generations. */
bool gateway_seat(struct gateway *gateway, struct generation *next, const struct generation *before) MUST_CHECK;
/* Open those of this generation that are the dispatch's and not open yet. False: out of memory for some: they are tried again
 * with the next call. The worker's thread. */
bool dispatch_open(struct dispatch *dispatch, const struct generation *generation) MUST_CHECK;

/* The last call that failed by its fault, or was refused on its behalf. */
struct provider_failure {
	uint64_t at_us; /* since 1970; 0: none has */
	enum outcome outcome;
	char detail[ANSWER_DETAIL_BYTES]; /* what its caller was told */
};

/* The newest one of all parts. An upstream's first part; any thread, its generation is held. */
void provider_last_failure(struct provider *provider, struct provider_failure *failure);
/* For how long yet the provider has asked to be left alone altogether; 0: it may be visited. Any thread, likewise. */
uint64_t provider_pause_us(const struct provider *provider, uint64_t now_us);

#endif
