/* SPDX-License-Identifier: Apache-2.0 */
/*
 * whose_truth.h: what really happened, told apart by moments, for a test of whose answer is whose: what providers were
 * asked and for whom, what they said, which writes they carried out, what was purged and when that was known here. What
 * the code under test thinks of any of it is not asked.
 *
 * Numbers stand in arguments and answers, so that every byte that a caller gets can be traced:
 *   question  six digits, 1 or 2 first: what is asked, of which tool; one that begins with 2 is a write, and asked once
 *   caller     six digits, 7 first: who asked, which the cache's key leaves to the identity of the caller
 *   fetch     - and ten digits: which answer of a provider's this is
 */
#ifndef TESTS_SUPPORT_WHOSE_TRUTH_H
#define TESTS_SUPPORT_WHOSE_TRUTH_H

#include "base/buf.h"
#include "cache/purges.h"

enum {
	FIRST_READ = 100000,
	FIRST_WRITE = 200000,
	FIRST_ASKER = 700000,
	ASKERS = 6,
	WRITES_MAX = 60000,
	TOOL_READS = 8 /* questions there are of one tool that reads */
};
#define FIRST_FETCH UINT64_C(1000000000)

/* All numbers in some bytes, in their order. */
struct whose_number {
	enum whose_kind { WHOSE_QUESTION, WHOSE_ASKER, WHOSE_FETCH } kind;
	uint64_t number;
};
/* *at: where to go on, 0 at first. False: there are no more. */
bool whose_next(struct slice text, size_t *at, struct whose_number *number);

static inline bool whose_is_write(uint64_t question)
{
	return question >= FIRST_WRITE;
}

/* A scenario begins. */
void truth_begin(void);
/* A scenario is over: its memory is given back. */
void truth_end(void);

/* Rises with every call: whatever happens gets one. */
uint64_t truth_moment(void);

/* --- what providers said --- */

struct truth_fetch {
	uint64_t question, caller; /* caller 0: not told */
	uint64_t begun;            /* when the request had set out */
	uint64_t asked_us;         /* the same by the clock */
	uint64_t said_us;
	uint64_t delivered;        /* when a tier outside gave it out last; 0: never */
	bool damaged;              /* it was not what the provider meant to say */
	bool moved;                /* the upstream had other endpoints then: another provider said it */
	bool reuse_said, no_stale; /* the answer's headers spoke of its reuse */
	uint64_t reuse_us, age_us; /* likewise: for how long, and how old it was */
};
/* A new one, which is being said now; returns the number that stands for it. */
uint64_t truth_say(uint64_t question, uint64_t caller, uint64_t begun, uint64_t asked_us);
/* All that stand in this text are being said now. */
void truth_say_now(struct slice text, uint64_t now_us);
/* NULL: there is no such number. */
struct truth_fetch *truth_fetch(uint64_t number);
/* A tier outside gives out what this body holds. */
void truth_deliver(struct slice body);

/* Bytes of an answer to this question have been changed: what it says of it may be wrong, but not another's. */
void truth_garble(uint64_t question);
bool truth_is_garbled(uint64_t question);

/* --- writes --- */

struct truth_write {
	unsigned on_its_way; /* how often it has left and may have arrived, less what was said to be undone */
	bool carried_out;
};
struct truth_write *truth_write(uint64_t question);

/* --- purges --- */

/* Everything asked for before now is purged, as far as this scope covers it. Returns its number. */
size_t truth_purge(const struct purge_scope *scope);
/* The gateway knows of it from now on / it may not know of it any more, and nobody can tell it. */
void truth_know(size_t purge);
void truth_lose(size_t purge);

/* Whether whoever knows of the purge with this text knows of that one: it is the same, or of everything. */
bool truth_is_told_by(size_t purge, struct slice text);

/* Who holds an answer against the purges. */
struct truth_key {
	const char *tool;
	bool tagged; /* with the tag "news" */
	const uint8_t *digest;
};
/* A purge that covers the key, came after `begun` and was known before `by`; its number + 1, 0: there is none. */
size_t truth_find_purge(const struct truth_key *key, uint64_t begun, uint64_t by);
/* The same for people. */
void truth_put_purge(size_t purge, struct buf *out);

#endif
