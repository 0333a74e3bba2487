/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway_world.h: whole workers in the test's own thread, over a fake upstream and a clock turned by hand, without
 * sockets: made from the text of a configuration, turned when the test says so.
 */
#ifndef TESTS_SUPPORT_GATEWAY_WORLD_H
#define TESTS_SUPPORT_GATEWAY_WORLD_H

#include "gateway/server/worker_loop.h"
#include "tests/support/fake_upstream.h"

struct gateway_world {
	struct config *config;
	struct gateway gateway;
	struct metrics_names names;
	uint64_t now_us;
};

/*
 * Two workers, at most 8 calls in flight. Upstream "near" is worker 0's, "far" worker 1's.
 * Tools: cached (near: ttl 60s, stale-while-revalidate 30s, stale-if-error 1h), far_cached (ttl 60s), tenants (near, by
 * tenant), merged and far_merged (idempotent, not cached), write and far_write (neither). Each may take 5 s.
 */
extern const char gateway_yaml[];

/* The test's configuration must be good. The clock starts at 1000 s. */
void gateway_start(struct gateway_world *world, const char *yaml);
/* In two steps, for a test that changes what no file can say. The configuration is taken. */
struct config *gateway_config(const char *yaml);
void gateway_start_with(struct gateway_world *world, struct config *config);
/* Asserts that no call is under way anywhere and nothing is in the post. */
void gateway_stop(struct gateway_world *world);

/* The clock goes on, every worker sees it; nobody is turned. */
void gateway_pass(struct gateway_world *world, uint64_t us);
/* One turn of one worker, without waiting. */
void gateway_turn(struct gateway_world *world, unsigned worker);
/* Turns of all workers, in their order, until mails to and fro have arrived. */
void gateway_settle(struct gateway_world *world);

int64_t gateway_metric(const struct gateway_world *world, enum metric metric, size_t label1, size_t label2);

/* --- callers --- */

/* One who asks, and what became of it. `ended` is how often it was told: 1, or 0 after ask_cancel. */
struct ask {
	unsigned worker; /* its home */
	const char *tool;
	struct caller caller;
	char arguments[32];
	const char *text;  /* instead of them, of any length; NULL: none */
	struct call *call; /* NULL: ended or cancelled */
	unsigned ended;
	enum outcome outcome;
	uint32_t retry_after_s;
	enum call_source source;
	struct batch_facts facts;
	bool stored;
	bool has_entry; /* an entry of the cache came with it */
	bool own;       /* the answer was its own arguments: what fake_echo says */
};

/* Caller number 1, without any directives; arguments {"tag":N}. To be changed before ask_send. */
void ask_init(struct ask *ask, unsigned worker, const char *tool, unsigned tag);
/* Look up and, if need be, send; ended at once if the look-up was enough. False: memory was out before it began. */
bool ask_send(struct gateway_world *world, struct ask *ask);
/* Both. */
void ask_once(struct gateway_world *world, struct ask *ask, unsigned worker, const char *tool, unsigned tag);
/* It must be under way. */
void ask_cancel(struct ask *ask);

#endif
