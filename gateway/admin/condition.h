/* SPDX-License-Identifier: Apache-2.0 */
/*
 * condition.h: who is sick, and by which sign: the one rule, of which the dashboard, `jitney top` and the page without scripts
 * show what came of it.
 */
#ifndef JITNEY_GATEWAY_ADMIN_CONDITION_H
#define JITNEY_GATEWAY_ADMIN_CONDITION_H

#include "base/buf.h"
#include "base/compiler.h"
#include "gateway/admin/alerts.h"
#include "gateway/admin/observation.h"
#include "gateway/config/config.h"

enum condition { CONDITION_WELL, CONDITION_WORRYING, CONDITION_SICK };
enum { CONDITION_SIGN_BYTES = 48, CONDITION_WHY_BYTES = 320 };

struct diagnosis {
	enum condition condition;
	char sign[CONDITION_SIGN_BYTES]; /* some words: "well", "down", "fails 62 %", "1 of 3 away", "slow" */
	char why[CONDITION_WHY_BYTES];   /* what it or its endpoint said last; "": nothing */
	struct alert_requests requests;  /* those of all its endpoints */
	uint64_t since_us; /* wall clock: since when it is not well; 0: it is, or has not been seen before */
};

/* How upstreams have been at the observer's looks. */
struct condition_book;
/* NULL: out of memory. NULL is allowed for free. Main thread. */
struct condition_book *condition_book_new(const struct gateway *gateway) MUST_CHECK;
void condition_book_free(struct condition_book *book);
/* Note how all are now: once a second. The observer's thread. */
void condition_book_look(struct condition_book *book, const struct observation *of);

/* The observer's thread. */
void condition_diagnose(const struct observation *of, const struct upstream_config *upstream,
			struct diagnosis *diagnosis);
/* "well", "worrying", "sick" */
const char *condition_word(enum condition condition);

#endif
