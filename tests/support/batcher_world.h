/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batcher_world.h: a batcher with all it needs (loop, metrics, fake upstream, clock turned by hand), and calls that
 * remember how they ended. For the tests of the batcher.
 */
#ifndef TESTS_SUPPORT_BATCHER_WORLD_H
#define TESTS_SUPPORT_BATCHER_WORLD_H

#include "base/loop.h"
#include "batcher/batcher.h"
#include "tests/support/fake_upstream.h"

struct world {
	struct batch_policy policy;
	struct dialect dialect;
	struct upstream_settings settings;
	struct loop *loop;
	struct metrics *metrics;
	struct batcher *batcher;
	uint64_t now_us;
};

/* One call of a test. Zeroed, then call_init. */
struct probe {
	struct batch_item item;
	struct world *world;
	char arguments[32]; /* its tag: nobody else has it */
	char key[16];
	unsigned answered;    /* times */
	enum outcome outcome; /* of the last answer */
	uint32_t retry_after_s;
	bool own;  /* the answer, or what the provider said of an error, was its own arguments */
	bool mute; /* or nothing, in its detail either */
	struct batch_facts facts;
	void (*then)(struct probe *probe); /* called from within answered; NULL: none */
};

/* adaptive, 10 items, 1000 bytes, 5 ms, 4 in flight, 100 calls and 10000 bytes waiting */
struct batch_policy world_policy(void);
/* The clock stands at 1 s. Asserts that all could be made. */
void world_start(struct world *world, const struct batch_policy *policy, size_t max_calls);
/* Asserts that the batcher is empty and that the gauges say so. */
void world_stop(struct world *world);
/* Time goes on; a loop turn begins. */
void world_pass(struct world *world, uint64_t us);
/* Tick at the time that it is. */
void world_tick(struct world *world);
int64_t world_metric(const struct world *world, enum metric metric, size_t label2);
int64_t world_flushes(const struct world *world, enum flush_reason reason);

/* A call of caller 1, urgency 3, lane "key", repeatable, due in a minute and in no hurry; its tag is made of `tag`. */
void call_init(struct world *world, struct probe *probe, unsigned tag);
/* batcher_add now. */
enum outcome call_add(struct probe *probe);
/* call_init and call_add, which must be OK, for `count` calls with tags from `tag` on. */
void calls_add(struct world *world, struct probe *probes, size_t count, unsigned tag);

#endif
